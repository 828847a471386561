"""T-PDUs with extension headers (TS 29.281, 5.2.1), but for the PDU Session Container: dropped,
counted by type, and where one of them demands comprehension answered with a Supported Extension
Headers Notification (7.2.3)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ofgtp.control.peers.signalling import NOTIFICATIONS
from tests.support import gtpu, tshark
from tests.support.answers import NOTIFICATION, Counted, Hearing, Said, add_peers, judge, said
from tests.support.gtpu import ERROR_INDICATION, PN, E, S
from tests.support.lab import Lab
from tests.support.site import ACCESS_IP, ENB_IP, PDN_IP, Site

pytestmark = pytest.mark.switch

UE, TEID = "10.45.0.2", 0x1001
TYPES = (0x01, 0x03, 0x20, 0x40, 0x81, 0x82, 0x83, 0x84, 0xC0, 0xFF)
TTLS = (1, 64, 100, 128)
HEADER = b"\x01\x08\x68\x00"
"""An extension header of one unit, after which none follows; not a container, whatever its type."""
INNER = gtpu.ipv4(UE, PDN_IP)
(EACH_RATE, EACH_BURST), (ALL_RATE, ALL_BURST) = NOTIFICATIONS
NOT_SENT = "supported_extension_headers_notification_not_sent"
NOTICE = "supported_extension_headers_notification"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        site.session(UE, teid=TEID, downlink=0x2001)
        yield site
        site.alive()
        site.check_sent()
        assert judge(site)


@pytest.fixture(scope="module")
def hear(site: Site) -> Hearing:
    return Hearing(site)


@pytest.fixture(scope="module")
def strangers(site: Site) -> Iterator[str]:
    """Addresses of the base station's, each a peer with a limit of its own that is not used up."""
    return add_peers(site.lab)


def resolved(site: Site, hear: Hearing, peer: str) -> str:
    """The peer, after the gateway has found its MAC address: from then on answers come at once."""
    site.enb.send(site.t_pdu(0x0DEAD, INNER, source=peer))
    assert hear.wait(1, ERROR_INDICATION)[0].to == peer
    return peer


def extended(
    site: Site, flags: int, kind: int, body: bytes, *, teid: int = TEID, source: str = ENB_IP["enb"]
) -> bytes:
    """A T-PDU whose next extension header is of that type; `body` is all that follows."""
    octets = gtpu.t_pdu(teid, body, flags=gtpu.PLAIN | flags, extension=kind)
    return site.from_enb(octets, source=source)


@pytest.mark.parametrize(
    "flags", (E, E | PN, E | S, E | S | PN), ids=["E", "E+PN", "E+S", "E+S+PN"]
)
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: f"{kind:#04x}")
def test_each_type(
    site: Site, hear: Hearing, strangers: Iterator[str], kind: int, flags: int
) -> None:
    """With S set the switch takes the first type off: it may be one that demands comprehension."""
    peer = resolved(site, hear, next(strangers))
    hidden = bool(flags & S)
    packets = [gtpu.ipv4(UE, PDN_IP, ttl=ttl) for ttl in TTLS]
    frames = [extended(site, flags, kind, HEADER + packet, source=peer) for packet in packets]
    count = Counted(site.lab)
    with site.counted(extension_header=len(frames)):
        told = hear.after(*frames)
    assert site.uplink() == []
    assert count.extensions == {"hidden" if hidden else f"{kind:#04x}": len(frames)}
    wanted = len(frames) if hidden or kind & 0x80 else 0
    assert all(is_notification(each, peer) for each in told)
    assert count.sent.get(NOTICE, 0) == len(told)
    assert len(told) + count.ignored.get(NOT_SENT, 0) == wanted
    assert bool(told) == bool(wanted), "the limit is not used up"


def is_notification(message: Said, peer: str) -> bool:
    """S set, TEID 0, and the list of the extension headers that we know."""
    octets = bytes.fromhex("321f 0007 00000000 0000 00 00 8d 01 85")
    return (message.octets, message.to, message.ports, message.source) == (
        octets,
        peer,
        (2152, 2152),
        ACCESS_IP,
    )


def test_tshark_reads_it_so(site: Site, hear: Hearing, strangers: Iterator[str]) -> None:
    peer = resolved(site, hear, next(strangers))
    site.enb.send(extended(site, E, 0xC0, HEADER + INNER, source=peer))
    hear.wait(1, NOTIFICATION)
    names = ("gtp.message", "gtp.teid", "gtp.flags", "ip.dst")
    row = tshark.rows(site.enb.seen[-1:], names)
    assert row == [["0x1f", "0x00000000", "0x32", peer]]


CONTAINER = b"\x01\x10\x09"
"""The type of the next extension header follows."""

CHAINS: dict[str, tuple[int, bytes, dict[str, int], bool]] = {
    "a demanding one behind others": (
        0x40,
        b"\x01\x08\x68\x20" + b"\x01\x01\x00\xc0" + b"\x02\0\0\0\0\0\0\x00",
        {"0x40": 1, "0x20": 1, "0xc0": 1},
        True,
    ),
    "none that demands": (0x40, b"\x01\x08\x68\x20" + HEADER, {"0x40": 1, "0x20": 1}, False),
    "twice the same": (0xC0, b"\x01\x10\x09\xc0" + HEADER, {"0xc0": 2}, True),
    "length 0": (0xC0, b"\x00\x10\x09\x00", {"unreadable": 1}, False),
    "longer than the packet": (0xC0, b"\xff\x10\x09\x00", {"unreadable": 1}, False),
    "behind a container": (0x85, CONTAINER + b"\x40" + HEADER, {"0x85": 1, "0x40": 1}, False),
    "a demanding one behind it": (0x85, CONTAINER + b"\xc0" + HEADER, {"0x85": 1, "0xc0": 1}, True),
    "behind a long container": (
        0x85,
        b"\x07\x18\x09" + b"\x45" * 24 + b"\x40" + HEADER,
        {"0x85": 1, "0x40": 1},
        False,
    ),
    "a demanding one behind it, long": (
        0x85,
        b"\x04\x17\x09" + b"\x45" * 12 + b"\xc0" + HEADER,
        {"0x85": 1, "0xc0": 1},
        True,
    ),
    "two containers": (0x85, CONTAINER + b"\x85" + CONTAINER + b"\0", {"0x85": 2}, False),
    "a container behind it": (
        0x40,
        b"\x01\x08\x68\x85" + CONTAINER + b"\0",
        {"0x40": 1, "0x85": 1},
        False,
    ),
    "endless": (0x40, b"\x01\x00\x00\x40" * 40, {"unreadable": 1}, False),
}


@pytest.mark.parametrize(("kind", "chain", "types", "answered"), CHAINS.values(), ids=CHAINS.keys())
def test_chains(
    site: Site,
    hear: Hearing,
    strangers: Iterator[str],
    kind: int,
    chain: bytes,
    types: dict[str, int],
    answered: bool,
) -> None:
    """Each packet is counted once as dropped, readable or not."""
    peer, count = resolved(site, hear, next(strangers)), Counted(site.lab)
    behind = kind == 0x85
    with site.counted(extension_chain=behind, extension_header=not behind):
        told = hear.after(extended(site, E, kind, chain + INNER, source=peer))
    assert [is_notification(each, peer) for each in told] == [True] * answered
    assert count.extensions == types


NONE = {"E": E, "E+PN": E | PN, "E+S": E | S, "E+S+PN": E | S | PN, "PN": PN}
"""Flags by which there is room for an extension header's type, and none need follow (TS 29.281, 5.1
and 5.2.1): with E the type says so, with PN alone it says nothing."""
none = pytest.mark.parametrize("flags", NONE.values(), ids=NONE.keys())


@none
def test_no_more_extension_headers(site: Site, hear: Hearing, flags: int) -> None:
    """Whatever TTL, identification, sequence and N-PDU number, which are taken for other things."""
    count = Counted(site.lab)
    packets, frames = [], []
    for ttl in range(1, 256):
        for ident in (ttl, 0x4001, 0x60FF):
            packets.append(gtpu.ipv4(UE, PDN_IP, ttl=ttl, id=ident, tos=ttl & 0xFC))
            octets = gtpu.message(
                gtpu.T_PDU,
                TEID,
                packets[-1],
                flags=gtpu.PLAIN | flags,
                sequence=(ttl << 8 | ident & 0xFF),
                npdu=ttl ^ 0xFF,
                extension=0 if flags & E else ttl,
            )
            frames.append(site.from_enb(octets))
    with site.counted():
        assert sorted(frame[14:] for frame in site.uplink(*frames)) == sorted(packets)
    assert (hear.after(), count.extensions) == ([], {})


@none
def test_no_more_extension_headers_at_every_size(site: Site, flags: int) -> None:
    """But for a packet of fewer than 24 octets with E and S, which nobody sends."""
    hidden = flags & E and flags & S
    sizes = (*(() if hidden else (20, 21, 23)), 24, 27, 28, 46, 84, 1460)
    packets = [gtpu.ipv4(UE, PDN_IP, size=size, ttl=ttl) for size in sizes for ttl in TTLS]
    frames = [extended(site, flags, 0, packet) for packet in packets]
    assert sorted(frame[14:] for frame in site.uplink(*frames)) == sorted(packets)
    if hidden:
        with site.counted(bad_inner=2):
            short = [gtpu.ipv4(UE, PDN_IP, size=size) for size in (20, 23)]
            assert site.uplink(*(extended(site, flags, 0, packet) for packet in short)) == []


@none
def test_and_no_ip_packet(site: Site, flags: int) -> None:
    """With E and S it may as well be an extension header."""
    hidden = flags & E and flags & S
    bodies = [bytes([first]) + bytes(59) for first in (0x00, 0x05, 0x30, 0x55, 0x70, 0xFF)]
    with site.counted(**{"extension_header" if hidden else "not_ip": len(bodies)}):
        assert site.uplink(*(extended(site, flags, 0, body) for body in bodies)) == []


@none
def test_of_another_ue_or_none(
    site: Site, hear: Hearing, strangers: Iterator[str], flags: int
) -> None:
    """The guards stand behind it."""
    peer = resolved(site, hear, next(strangers))
    frames = [
        extended(site, flags, 0, gtpu.ipv4("10.45.0.99", PDN_IP), source=peer),
        extended(site, flags, 0, INNER, teid=0x0BAD, source=peer),
        extended(site, flags, 0, gtpu.ipv4(UE, ACCESS_IP), source=peer),
    ]
    with site.counted(
        no_uplink_session=2, seen_spoofed_source=1, seen_unknown_teid=1, protected_destination=1
    ):
        [told] = hear.after(*frames)
    assert (told.kind, told.to) == (ERROR_INDICATION, peer)
    assert site.uplink() == []


@none
def test_classes_of_them_are_few(site: Site, flags: int) -> None:
    """Whatever sizes and identifications; TTL and protocol stand in the cache."""
    site.lab.appctl("revalidator/purge")
    packets = [
        gtpu.ipv4(UE, PDN_IP, ttl=ttl, id=number << 4, size=28 + number)
        for number in range(1, 200)
        for ttl in (63, 128)
    ]
    frames = [extended(site, flags, 0, packet) for packet in packets]
    assert sorted(frame[14:] for frame in site.uplink(*frames)) == sorted(packets)
    shown = site.lab.appctl("dpctl/dump-flows").splitlines()
    assert len([line for line in shown if f"tun_id={TEID:#x}" in line]) < 20


@pytest.mark.parametrize("flags", (E, E | S))
@pytest.mark.parametrize("kind", (0x40, 0xC0))
def test_of_no_session(
    site: Site, hear: Hearing, strangers: Iterator[str], kind: int, flags: int
) -> None:
    """What it carries does not matter then: an Error Indication, and nothing else."""
    peer, count = resolved(site, hear, next(strangers)), Counted(site.lab)
    with site.counted(extension_header=1):
        frame = extended(site, flags, kind, HEADER + INNER, teid=0x0BAD, source=peer)
        [told] = hear.after(frame)
    assert (told.kind, told.octets[12:17], told.to) == (
        ERROR_INDICATION,
        b"\x10\x00\x00\x0b\xad",
        peer,
    )
    assert (count.sent, count.extensions) == ({"error_indication": 1}, {})


def test_the_tunnel_goes_on(site: Site, hear: Hearing) -> None:
    """Packets without extension headers pass before, between and behind those with."""
    plain = site.t_pdu(TEID, INNER)
    frames = [extended(site, E, 0x40, HEADER + INNER), plain] * 10
    assert [frame[14:] for frame in site.uplink(*frames)] == [INNER] * 10


def test_limit_for_one_peer(site: Site, hear: Hearing, strangers: Iterator[str]) -> None:
    """1,000 as fast as the switch takes them, from one."""
    peer = resolved(site, hear, next(strangers))
    frame = extended(site, E, 0xC0, HEADER + INNER, source=peer)
    start, count = time.monotonic(), Counted(site.lab)
    told: list[Said] = []
    with site.counted(extension_header=1000):
        for _ in range(25):
            told += hear.after(*[frame] * 40)
    seconds = time.monotonic() - start
    assert EACH_BURST - 1 <= len(told) <= EACH_BURST + EACH_RATE * seconds + 1
    assert count.sent == {NOTICE: len(told)}
    shown = count.extensions["0xc0"]
    assert shown == len(told) + count.ignored[NOT_SENT]
    assert shown < 250 + 200 * seconds, "the switch shows some of them to the controller"


def test_limit_for_all_peers(site: Site, hear: Hearing, strangers: Iterator[str]) -> None:
    peers = [resolved(site, hear, next(strangers)) for _ in range(30)]
    hear.after()
    start, count = time.monotonic(), Counted(site.lab)
    told: list[Said] = []
    frames = [extended(site, E, 0xC0, HEADER + INNER, source=peer) for peer in peers]
    for _ in range(5):
        site.enb.send(*frames)
        told += said(site.enb.all(0.02), [NOTIFICATION])
    told += said(hear.fence(), [NOTIFICATION])
    seconds = time.monotonic() - start
    assert 20 < len(told) <= ALL_BURST + ALL_RATE * seconds + 1
    assert count.sent == {NOTICE: len(told)}
