"""Messages that cannot be read are dropped and counted by reason, and never answered."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.support import gtpu
from tests.support.gtpu import PLAIN, PN, E, S
from tests.support.lab import Lab
from tests.support.peer import echo, metric, pong, read
from tests.support.site import Site, until

pytestmark = pytest.mark.switch

UE, TEID = "10.45.0.2", 0x1001
_marks = itertools.count(0xF000)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        site.session(UE, teid=TEID, downlink=0x2001)
        yield site
        site.alive()
        site.check_sent()


def dropped(site: Site, frames: list[bytes], **reasons: int) -> None:
    """Send these: they are counted so by REST and by the metrics, and nothing comes back."""
    if "tunnel_error" in reasons:
        site.settled()
    before = exported(site, reasons)
    with site.counted(**reasons):
        site.enb.all()
        site.enb.send(*frames)
        got = []
        for _ in range(2):  # the first may overtake within a batch of the switch
            mark = next(_marks)
            peer = f"10.1.0.{16 + mark % 8}"  # the switch limits each eighth of the addresses
            site.enb.send(site.from_enb(echo(mark), source=peer))

            def marked(mark: int = mark, peer: str = peer) -> bool:
                got.extend(filter(None, map(read, site.enb.all(0.005))))
                return any((each.sequence, each.peer) == (mark, peer) for each in got)

            until(marked, "the Echo Request behind them is answered")
    ours = [each for each in got if each.kind != gtpu.ECHO_REQUEST]
    assert [each for each in ours if (each.sequence or 0) < 0xF000] == []
    wanted = {reason: count + reasons[reason] for reason, count in before.items()}
    until(lambda: exported(site, reasons) == wanted, f"the metrics count {reasons}")


def exported(site: Site, reasons: dict[str, int]) -> dict[str, float]:
    drops = [each for each in reasons if not each.startswith("seen_")]
    return {each: metric(site.lab, "ofgtp_drops_total", reason=each) for each in drops}


VERSIONS = [version for version in range(8) if version != 1]
KINDS = (1, 2, 26, 31, 254, 255, 0, 77)


@pytest.mark.parametrize("version", VERSIONS)
def test_another_version(site: Site, version: int) -> None:
    """With PT set and clear, of signalling and of T-PDUs of a session."""
    frames = []
    for pt in (0x10, 0):
        for kind in KINDS:
            head = version << 5 | pt
            frames += [
                site.from_enb(gtpu.message(kind, 0, b"\x0e\x00" + bytes(12), flags=head | S)),
                site.from_enb(gtpu.message(kind, TEID, gtpu.ipv4(UE, "10.2.0.2"), flags=head)),
            ]
    dropped(site, frames, wrong_version=len(frames))


@pytest.mark.parametrize("flags", (0x20, 0x22, 0x2F))
def test_gtp_prime(site: Site, flags: int) -> None:
    frames = []
    for kind in KINDS:
        for teid, body in ((0, b"\x0e\x00" + bytes(12)), (TEID, gtpu.ipv4(UE, "10.2.0.2"))):
            frames.append(site.from_enb(gtpu.message(kind, teid, body, flags=flags)))
    dropped(site, frames, gtp_prime=len(frames))


@pytest.mark.parametrize("flags", (PLAIN, PLAIN | S, PLAIN | E | S, PLAIN | PN))
def test_an_unknown_type(site: Site, flags: int) -> None:
    kinds = (0, 3, 4, 7, 16, 25, 27, 30, 32, 50, 100, 128, 240, 241, 252)
    frames = [site.from_enb(gtpu.message(kind, 0, bytes(12), flags=flags)) for kind in kinds]
    dropped(site, frames, unknown_type=len(frames))


@pytest.mark.parametrize("length", (0x10, 0x100, 0xFFFF))
def test_a_length_of_more_than_there_is(site: Site, length: int) -> None:
    messages = [
        gtpu.message(kind, teid, b"\x0e\x00", flags=flags, length=length)
        for kind, teid, flags in ((1, 0, PLAIN | S), (1, 0, PLAIN), (31, 0, PLAIN | S))
    ]
    messages.append(gtpu.message(254, TEID, b"", length=length))
    dropped(site, [site.from_enb(each) for each in messages], bad_length=len(messages))


def test_a_length_of_less_than_its_header(site: Site) -> None:
    messages = [echo(9, flags=PLAIN | flags, length=3) for flags in (S, PN, E, E | S)]
    dropped(site, [site.from_enb(each) for each in messages], too_short=len(messages))


def test_a_truncated_optional_part(site: Site) -> None:
    """The header ends within the sequence number, its Length rightly so."""
    frames = []
    for flags in (S, PN, S | PN, E, E | S):
        for size in range(4):
            head = gtpu.message(1, 0, bytes(size), length=size)
            frames.append(site.from_enb(bytes([PLAIN | flags]) + head[1:]))
    dropped(site, frames, too_short=len(frames))


def test_extension_headers_that_are_cut_off(site: Site) -> None:
    bodies = (b"", b"\x01", b"\x01\x00\x00", b"\x02\x00\x00\x00", b"\xff" + bytes(40))
    flags = PLAIN | E | S
    frames = [site.from_enb(echo(5, body, flags=flags, extension=0x20)) for body in bodies]
    frames.append(site.from_enb(echo(5, b"\x01\x00\x00\xc0", flags=flags, extension=0x20)))
    dropped(site, frames, too_short=len(frames))


def test_extension_headers_of_length_0(site: Site) -> None:
    bodies = (bytes(1), bytes(4), b"\x01\x00\x00\xc0" + bytes(8))
    flags = PLAIN | E | S
    frames = [site.from_enb(echo(5, body, flags=flags, extension=0x20)) for body in bodies]
    dropped(site, frames, bad_extension=len(frames))


def test_an_end_marker_of_no_tunnel(site: Site) -> None:
    dropped(site, [site.from_enb(gtpu.message(gtpu.END_MARKER, 0))], bad_teid=1)


@pytest.mark.parametrize("source", ("127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255"))
def test_of_what_is_no_host(site: Site, source: str) -> None:
    dropped(site, [site.from_enb(echo(6), source=source)] * 2, bad_frame=2)


def test_of_a_group_mac(site: Site) -> None:
    frames = [
        site.from_enb(echo(6), eth_src=mac) for mac in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01")
    ]
    dropped(site, frames, bad_frame=len(frames))


def test_what_nobody_answers(site: Site) -> None:
    """Good messages that ask for no answer, from a peer that was not asked."""
    messages = [
        pong(1),
        gtpu.message(gtpu.ERROR_INDICATION, 0, flags=PLAIN | S),
        gtpu.message(31, 0, b"\x8d\x01\x85", flags=PLAIN | S),
        gtpu.message(gtpu.END_MARKER, TEID),
        gtpu.message(gtpu.END_MARKER, 0x7777_7777),
    ]
    dropped(site, [site.from_enb(each, source="10.1.0.44") for each in messages])


@pytest.mark.parametrize("padded", (False, True), ids=("bare", "padded"))
def test_shorter_than_a_header(site: Site, padded: bool) -> None:
    """The switch itself drops what ends before the mandatory header does, before any flow."""
    whole = echo(7)
    cut = [site.from_enb(whole[:size]) for size in range(8)]
    rest = [site.from_enb(whole[:size]) for size in range(8, 12)]
    if padded:
        cut, rest = ([frame.ljust(60, b"\0") for frame in some] for some in (cut, rest))
    before = switch_drops(site, "tunnel_pop_error")
    dropped(site, cut, tunnel_error=len(cut))
    until(lambda: switch_drops(site, "tunnel_pop_error") == before + 8, "the switch counts them")
    dropped(site, rest, bad_length=len(rest))


@pytest.mark.parametrize("padded", (False, True), ids=("bare", "padded"))
@pytest.mark.parametrize("flags", (PLAIN, PLAIN | S, PLAIN | S | PN))
def test_a_t_pdu_of_hardly_anything(site: Site, flags: int, padded: bool) -> None:
    """What it carries is taken for Ethernet, and is no whole header of that: dropped by the switch,
    before any flow. From 14 octets on it meets flows, but is no IP packet before it has 20."""
    inner = gtpu.ipv4(UE, "10.2.0.2")
    short = [site.from_enb(gtpu.t_pdu(0x9999, inner[:size], flags=flags)) for size in range(14)]
    if padded:
        short = [frame.ljust(60, b"\0") for frame in short]
    before = switch_drops(site, "rx_invalid_packet")
    dropped(site, short, tunnel_error=len(short))
    until(lambda: switch_drops(site, "rx_invalid_packet") == before + 14, "the switch counts them")
    longer = [site.from_enb(gtpu.t_pdu(0, inner[:size], flags=flags)) for size in (14, 19, 20)]
    dropped(site, longer, bad_inner=3)


def switch_drops(site: Site, reason: str) -> int:
    """Open vSwitch's own count of what it dropped before any flow."""
    found = site.gateway()["switch_drops"]
    samples = f'ofgtp_switch_drops_total{{ovsdb="{site.lab.ovsdb}",reason="{reason}"}} '
    shown = site.lab.http("GET", "/metrics").body.decode()
    value = next(line for line in shown.splitlines() if line.startswith(samples)).split()[-1]
    assert float(value) >= found[reason]
    return int(found[reason])


def test_a_wrong_udp_length(site: Site) -> None:
    """The switch decapsulates such a packet all the same; what UDP does not hold is not read."""
    frames = []
    for size in (0, 7, 200, 0xFFFF):
        packet = Ether(site.from_enb(echo(8)))
        packet[UDP].len = size
        packet[UDP].chksum = 0
        frames.append(bytes(packet))
    assert IP in Ether(frames[0])
    dropped(site, frames, bad_frame=len(frames))
