"""Echo Requests of peers are answered, whoever asks (TS 29.281, 7.2.1 and 7.2.2)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from scapy.contrib.gtp import GTP_U_Header, GTPEchoResponse, IE_Recovery
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.support import gtpu, tshark
from tests.support.gtpu import PLAIN, PN, E, S
from tests.support.lab import Lab
from tests.support.peer import RECOVERY, Said, echo, metric, peers, read
from tests.support.site import ACCESS_IP, ENB_IP, UDP_CHECKSUM_RIGHT, Site, until

pytestmark = pytest.mark.switch

STRANGER, FAR = "10.1.0.77", "10.9.0.5"
ROUTER_MAC = "06:00:00:00:00:fe"
PRIVATE = bytes.fromhex("ff000612340a0b0c0d")
"""A Private Extension (8.6): extension identifier and value."""
_marks = itertools.count(0xF000)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """At the end every message that it sent is judged by tshark."""
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        yield site
        site.alive()
        sent = [frame for frame in site.enb.seen if read(frame) is not None]
        assert len([frame for frame in sent if frame[43] == gtpu.ECHO_RESPONSE]) > 50
        assert tshark.complaints(sent) == []


def answers(site: Site, *frames: bytes) -> list[Said]:
    """Send these, and return the Echo Responses to them.

    An Echo Request behind them is known to be answered: what has come by then is all.
    """
    site.enb.all()
    site.enb.send(*frames)
    got: list[Said] = []
    for _ in range(2):  # the first may overtake within a batch of the switch
        mark = next(_marks)
        peer = f"10.1.0.{16 + mark % 8}"  # the switch limits each eighth of the addresses
        site.enb.send(site.from_enb(echo(mark), source=peer))

        def marked(mark: int = mark, peer: str = peer) -> bool:
            got.extend(filter(None, map(read, site.enb.all(0.005))))
            return any((each.sequence, each.peer) == (mark, peer) for each in got)

        until(marked, "the Echo Request behind them is answered")
    responses = [each for each in got if each.kind == gtpu.ECHO_RESPONSE]
    return [each for each in responses if each.sequence is None or each.sequence < 0xF000]


def check(site: Site, said: Said, *, sequence: int, peer: str, port: int, mac: str) -> None:
    """An Echo Response to that peer, as strictly as the standard has it."""
    assert (said.eth_src, said.eth_dst) == (site.local_mac, mac)
    assert (said.source, said.peer) == (ACCESS_IP, peer)
    assert (said.source_port, said.port) == (gtpu.PORT, port)
    assert (said.kind, said.flags, said.teid) == (gtpu.ECHO_RESPONSE, S, 0)
    assert (said.sequence, said.ies) == (sequence, RECOVERY)


def answered(site: Site, frame: bytes, sequence: int) -> None:
    """It gets one answer, back to where it came from."""
    (said,) = answers(site, frame)
    asked = Ether(frame)
    check(
        site,
        said,
        sequence=sequence,
        peer=asked[IP].src,
        port=asked[UDP].sport,
        mac=asked.src,
    )


@pytest.mark.parametrize("port", (2152, 5555, 1, 1024, 65535))
def test_to_the_port_it_came_from(site: Site, port: int) -> None:
    answered(site, site.from_enb(echo(0x4242, RECOVERY), source_port=port), 0x4242)


@pytest.mark.parametrize("sequence", (0, 1, 0x7FFF, 0x8000, 0xEFFF))
def test_with_its_sequence_number(site: Site, sequence: int) -> None:
    answered(site, site.from_enb(echo(sequence)), sequence)


def test_the_highest_sequence_number(site: Site) -> None:
    site.enb.all()
    site.enb.send(site.from_enb(echo(0xFFFF), source_port=7000))
    got: list[Said] = []

    def come() -> list[Said]:
        got.extend(each for each in map(read, site.enb.all(0.01)) if each and each.port == 7000)
        return got

    (said,) = until(come, "it is answered")
    mac = site.enb_mac["enb"]
    check(site, said, sequence=0xFFFF, peer=ENB_IP["enb"], port=7000, mac=mac)


def test_of_a_peer_without_a_session(site: Site) -> None:
    """Nor has it ever answered ARP: the answer goes to where the request came from."""
    mac = "06:00:00:00:00:77"
    answered(site, site.from_enb(echo(0x77), source=STRANGER, eth_src=mac, source_port=3333), 0x77)
    assert STRANGER not in peers(site.lab)


def test_by_a_router(site: Site) -> None:
    """No route of the gateway leads there, but the router that the request came by knows one."""
    answered(site, site.from_enb(echo(0x99), source=FAR, eth_src=ROUTER_MAC, ttl=63), 0x99)


@pytest.mark.parametrize("ies", (b"", RECOVERY, PRIVATE, RECOVERY + PRIVATE, b"\x0e", b"\x63abc"))
def test_whatever_information_elements(site: Site, ies: bytes) -> None:
    """None of them means anything to the receiver; nor can one that is unreadable spoil it."""
    answered(site, site.from_enb(echo(0x0101, ies)), 0x0101)


EXTENSIONS = {
    "none": (0, b""),
    "PDCP PDU number": (0xC0, b"\x01\x12\x34\x00"),
    "long": (0x20, b"\x02abcdef\x00"),
    "two": (0x20, b"\x01ab\x85\x01\x10\x09\x00"),
    "UDP port": (0x40, b"\x01\x12\x34\x00"),
}


@pytest.mark.parametrize("name", EXTENSIONS)
@pytest.mark.parametrize("flags", (E | S, E | S | PN))
def test_with_extension_headers(site: Site, name: str, flags: int) -> None:
    extension, header = EXTENSIONS[name]
    request = echo(0x2468, header + RECOVERY, flags=PLAIN | flags, extension=extension, npdu=7)
    answered(site, site.from_enb(request), 0x2468)


@pytest.mark.parametrize("flags", (S, S | PN))
def test_with_an_npdu_number(site: Site, flags: int) -> None:
    answered(site, site.from_enb(echo(0x1357, flags=PLAIN | flags, npdu=9)), 0x1357)


@pytest.mark.parametrize("flags", (0, PN, E, E | PN))
def test_without_a_sequence_number(site: Site, flags: int) -> None:
    """The standard demands S (5.1), and so the answer has it."""
    answered(site, site.from_enb(echo(0x1234, flags=PLAIN | flags)), 0)


def test_with_a_teid(site: Site) -> None:
    answered(site, site.from_enb(echo(0x0202, teid=0x1001)), 0x0202)


def test_with_the_spare_bit_set(site: Site) -> None:
    """Its receiver shall not look at it (5.1)."""
    answered(site, site.from_enb(echo(0x0303, flags=PLAIN | S | 0x08)), 0x0303)


def test_with_octets_behind_it(site: Site) -> None:
    answered(site, site.from_enb(echo(0x0404, RECOVERY) + bytes(30)), 0x0404)


@pytest.mark.parametrize("size", (100, 1400))
def test_a_long_one(site: Site, size: int) -> None:
    private = b"\xff" + (size - 3).to_bytes(2, "big") + bytes(size - 3)
    answered(site, site.from_enb(echo(0x0505, private)), 0x0505)


@pytest.mark.parametrize("chksum", (None, 0))
def test_with_and_without_udp_checksum(site: Site, chksum: int | None) -> None:
    frame = Ether(site.from_enb(echo(0x0606, RECOVERY)))
    if chksum is not None:
        frame[UDP].chksum = chksum
    answered(site, bytes(frame), 0x0606)


def test_padded_to_the_smallest_frame(site: Site) -> None:
    frame = site.from_enb(echo(0x0707))
    answered(site, frame + bytes(60 - len(frame)), 0x0707)


@pytest.mark.parametrize("tos", (0xB8, 0x01))
def test_with_the_requests_dscp(site: Site, tos: int) -> None:
    (said,) = answers(site, site.from_enb(echo(0x0808), tos=tos))
    assert Ether(said.frame)[IP].tos == tos & 0xFC, "its congestion bits are none of the answer's"


def test_duplicated(site: Site) -> None:
    frames = [site.from_enb(echo(0x0909, RECOVERY), source_port=4000)] * 3
    got = answers(site, *frames)
    assert [(each.sequence, each.port) for each in got] == [(0x0909, 4000)] * 3


def test_many_at_once(site: Site) -> None:
    """Each gets its own answer: none is mixed up with another."""
    asked = {(0x3000 + n, 6000 + n, f"10.1.0.{100 + n}") for n in range(24)}
    frames = [site.from_enb(echo(s), source_port=p, source=ip) for s, p, ip in asked]
    got = answers(site, *frames)
    assert {(each.sequence, each.port, each.peer) for each in got} == asked
    assert len(got) == len(asked)


def test_the_answer_as_others_read_it(site: Site) -> None:
    (said,) = answers(site, site.from_enb(echo(0x4321, RECOVERY), source_port=5555))
    response = Ether(said.frame)
    header = GTP_U_Header(bytes(response[UDP].payload))
    assert GTPEchoResponse in header
    assert (header.S, header.E, header.PN, header.seq, header.teid) == (1, 0, 0, 0x4321, 0)
    (ie,) = header[GTPEchoResponse].IE_list
    assert isinstance(ie, IE_Recovery)
    assert ie.restart_counter == 0
    fields = [
        f"gtp.{name}" for name in ("message", "flags", "teid", "seq_number", "recovery", "length")
    ]
    fields += ["udp.checksum.status", "ip.checksum.status", "_ws.expert.severity", "ip.id"]
    (row,) = tshark.rows([said.frame], fields)
    *head, udp, ip, expert, _ = row
    assert head == ["0x02", "0x32", "0x00000000", "0x4321", "0", "6"]
    assert udp in UDP_CHECKSUM_RIGHT
    assert (ip, expert) == ("1", "")
    assert response[IP].flags.DF


def test_it_is_counted_and_noted(site: Site) -> None:
    def counted() -> tuple[float, ...]:
        name = "ofgtp_gtpu_messages_total"
        ways = (("echo_request", "received"), ("echo_response", "sent"))
        return tuple(metric(site.lab, name, type=t, direction=d) for t, d in ways)

    before = counted()
    answers(site, *[site.from_enb(echo(0x0A0A))] * 5)
    assert counted() == tuple(count + 7 for count in before), "five, and two marks"
    peer = peers(site.lab)[ENB_IP["enb"]]
    assert peer["echo_heard_at"] is not None
    assert peer["state"] == "unknown", "to be asked is not to be answered"


def test_to_a_wrong_address_or_port_it_is_none(site: Site) -> None:
    """Only what comes to our address, port and MAC is ours."""
    frames = [
        site.from_enb(echo(0x0B0B), destination="10.1.0.200"),
        site.from_enb(echo(0x0B0B), port=2153),
        site.from_enb(echo(0x0B0B), port=2123),
        site.from_enb(echo(0x0B0B), eth_dst="06:00:00:00:00:01"),
    ]
    assert answers(site, *frames) == []


@pytest.mark.parametrize("source", ("127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255"))
def test_from_what_is_no_host_it_is_not_answered(site: Site, source: str) -> None:
    before = site.counters().get("bad_frame", 0)
    assert answers(site, site.from_enb(echo(0x0C0C), source=source)) == []
    until(lambda: site.counters().get("bad_frame") == before + 1, "it is counted")


def test_from_our_own_address_it_makes_no_loop(site: Site) -> None:
    """An answer to ourselves would come in again."""
    got = answers(site, site.from_enb(echo(0x0D0D), source=ACCESS_IP))
    assert len(got) <= 1


def test_with_a_wrong_udp_checksum_it_is_not_answered(site: Site) -> None:
    frame = Ether(site.from_enb(echo(0x0E0E)))
    frame[UDP].chksum = 0x1234
    assert answers(site, bytes(frame)) == []
