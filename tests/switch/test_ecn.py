"""Congestion marks (ECN) that routers set on T-PDUs on their way to the gateway: what they make of
the UE's packet, by RFC 6040, whatever form its tunnel's header has and whatever its TTL."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import UDP, IPv6
from scapy.packet import Raw
from scapy.utils import checksum

from tests.support import gtpu
from tests.support.answers import Hearing
from tests.support.gtpu import PN, E, S
from tests.support.lab import Lab
from tests.support.site import PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

UE, TEID = "10.45.0.2", 0x1001
NOT_ECT, ECT_1, ECT_0, CE = range(4)
ALL = list(itertools.product(range(4), repeat=2))
"""Outer and inner."""
TTLS = (1, 8, 63, 64, 79, 80, 95, 96, 100, 111, 112, 128, 255)
DSCPS = (0, 0x2E, 0x15, 0x3F)


def container(units: int = 1) -> bytes:
    """An uplink container (TS 38.415, 5.5.2.2) of that many units."""
    return bytes([units, 0x10, 9]) + b"\xa5" * (4 * units - 4) + b"\0"


FORMS: dict[str, tuple[int, int, bytes]] = {
    "plain": (0, 0, b""),
    "S": (S, 0, b""),
    "S+PN": (S | PN, 0, b""),
    **{
        f"{name}, {units} units": (flags, 0x85, container(units))
        for name, flags in (("E", E), ("E+PN", E | PN), ("E+S", E | S), ("E+S+PN", E | S | PN))
        for units in (1, 2, 3, 5, 7)
    },
}
"""Flags, type of the first extension header, and the header."""
form = pytest.mark.parametrize("name", FORMS)


def decapsulated(outer: int, inner: int) -> int | None:
    """RFC 6040, figure 4; None: dropped."""
    table = {
        NOT_ECT: {NOT_ECT: NOT_ECT, ECT_0: NOT_ECT, ECT_1: NOT_ECT, CE: None},
        ECT_0: {NOT_ECT: ECT_0, ECT_0: ECT_0, ECT_1: ECT_1, CE: CE},
        ECT_1: {NOT_ECT: ECT_1, ECT_0: ECT_1, ECT_1: ECT_1, CE: CE},
        CE: {NOT_ECT: CE, ECT_0: CE, ECT_1: CE, CE: CE},
    }
    return table[inner][outer]


def test_the_figure_says_what_is_sure() -> None:
    assert [pair for pair in ALL if decapsulated(*pair) is None] == [(CE, NOT_ECT)]
    assert all(decapsulated(outer, CE) == CE for outer in range(4))
    assert all(decapsulated(CE, inner) == CE for inner in (ECT_0, ECT_1, CE))
    assert all(decapsulated(NOT_ECT, inner) == inner for inner in range(4))


@pytest.fixture(scope="module", autouse=True)
def sessions(site: Site) -> None:
    site.session(UE, teid=TEID, downlink=0x2001, qfi=9, qfi_required=False)


def tunnelled(site: Site, name: str, inner: bytes, tos: int, *, teid: int = TEID) -> bytes:
    """A T-PDU of that form; `tos` is the outer one."""
    flags, kind, header = FORMS[name]
    octets = gtpu.t_pdu(teid, header + inner, flags=gtpu.PLAIN | flags, extension=kind)
    return site.from_enb(octets, tos=tos)


def with_ecn(packet: bytes, ecn: int) -> bytes:
    """The IPv4 packet with these two bits, and its header's checksum for them."""
    changed = IP(packet)
    changed.tos = changed.tos & ~3 | ecn
    del changed.chksum
    return bytes(changed)


def check(site: Site, name: str, packets: Sequence[tuple[int, bytes]]) -> None:
    """Send (outer TOS, inner packet); each comes out as it shall, or is counted."""
    dropped = [1 for tos, inner in packets if decapsulated(tos & 3, inner[1] & 3) is None]
    with site.counted(not_ecn_capable=len(dropped)):
        sent(site, name, packets)


def sent(site: Site, name: str, packets: Sequence[tuple[int, bytes]]) -> None:
    """Each comes out as it shall."""
    made = [(decapsulated(tos & 3, inner[1] & 3), inner) for tos, inner in packets]
    wanted = [with_ecn(inner, ecn) for ecn, inner in made if ecn is not None]
    frames = [tunnelled(site, name, inner, tos) for tos, inner in packets]
    got = [frame[14:] for frame in site.uplink(*frames)]
    assert sorted(got) == sorted(wanted)
    assert all(checksum(packet[: 4 * (packet[0] & 0xF)]) == 0 for packet in got)


@form
def test_all_pairs(site: Site, name: str) -> None:
    """At every class of TTL, whatever the DSCP inside and outside."""
    packets = [
        (
            outer | DSCPS[number % 4] << 2,
            gtpu.ipv4(UE, PDN_IP, ttl=ttl, tos=inner | DSCPS[number // 4 % 4] << 2, id=number),
        )
        for number, (ttl, (outer, inner)) in enumerate(itertools.product(TTLS, ALL))
    ]
    check(site, name, packets)


@pytest.mark.parametrize("outer", range(4))
def test_every_inner_tos(site: Site, outer: int) -> None:
    check(site, "plain", [(outer, gtpu.ipv4(UE, PDN_IP, tos=tos, ttl=128)) for tos in range(256)])


@form
@pytest.mark.parametrize("size", (20, 21, 28, 1000, "mtu"))
def test_every_size(site: Site, name: str, size: int | str) -> None:
    flags, _, header = FORMS[name]
    fits = 1500 - gtpu.OVERHEAD - 4 * bool(flags) - len(header)
    octets = fits if size == "mtu" else int(size)
    check(
        site,
        name,
        [
            (outer, gtpu.ipv4(UE, PDN_IP, size=octets, ttl=ttl, tos=inner, proto=17))
            for ttl in (64, 100, 128)
            for outer, inner in ALL
        ],
    )


@pytest.mark.parametrize(
    "header",
    (
        {"flags": "MF", "id": 7},
        {"frag": 100, "id": 7},
        {"flags": "DF", "id": 0xFFFF},
        {"options": [Raw(b"\x94\x04\x00\x00" * 10)]},
        {"proto": 50},
    ),
    ids=("first-fragment", "last-fragment", "DF", "options", "ESP"),
)
def test_inner_headers_of_every_kind(site: Site, header: dict[str, object]) -> None:
    for name in ("plain", "S", "E, 1 units", "E+S, 3 units"):
        packets = [
            (outer, gtpu.ipv4(UE, PDN_IP, size=200, ttl=ttl, tos=inner, **header))  # type: ignore[arg-type]
            for ttl in (64, 100, 128)
            for outer, inner in ALL
        ]
        check(site, name, packets)


def test_protocol_0_keeps_what_it_has(site: Site) -> None:
    """No packet is of it; Open vSwitch writes to no header that says so."""
    for outer, inner in ALL:
        packet = gtpu.ipv4(UE, PDN_IP, tos=inner, proto=0)
        kept = [] if decapsulated(outer, inner) is None else [packet]
        frame = tunnelled(site, "plain", packet, outer)
        assert [each[14:] for each in site.uplink(frame)] == kept


def test_a_wrong_inner_checksum_stays_wrong(site: Site) -> None:
    """The change of the mark is added to it, and no more: who hides damage spreads it."""
    right = gtpu.ipv4(UE, PDN_IP, tos=ECT_0)
    wrong = right[:10] + bytes([right[10] ^ 0x40]) + right[11:]
    [frame] = site.uplink(tunnelled(site, "plain", wrong, CE))
    wanted = with_ecn(right, CE)
    assert frame[14:] == wanted[:10] + bytes([wanted[10] ^ 0x40]) + wanted[11:]


def test_a_wrong_outer_checksum_gets_nothing_through(site: Site) -> None:
    """Though the outer header and the port are written to before it is unwrapped."""
    frame = tunnelled(site, "plain", gtpu.ipv4(UE, PDN_IP, tos=ECT_0), CE)
    for place in (24, 40):
        damaged = bytearray(frame)
        damaged[place] ^= 0x40
        assert site.uplink(bytes(damaged)) == []
    assert len(site.uplink(frame)) == 1
    none = frame[:40] + bytes(2) + frame[42:]
    assert len(site.uplink(none)) == 1, "a UDP checksum of zero is none"


@pytest.mark.parametrize("name", ("plain", "S", "E, 1 units", "E+S, 1 units"))
def test_ipv6_inside(site: Site, name: str) -> None:
    """It is no session's yet; what cannot bear the mark is counted as that."""
    packets = [
        bytes(IPv6(src="2001:db8::2", dst="2001:db8::1", tc=0x40 | inner) / UDP() / bytes(40))
        for _, inner in ALL
    ]
    frames = [
        tunnelled(site, name, packet, outer)
        for (outer, _), packet in zip(ALL, packets, strict=True)
    ]
    with site.counted(not_ecn_capable=1, inner_ipv6=15):
        assert site.uplink(*frames) == []


@pytest.mark.parametrize("outer", range(4))
def test_signalling_is_answered_as_ever(site: Site, outer: int) -> None:
    """By port 2152, and to the port it came from."""
    number = 0x4000 + outer
    octets = gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32, sequence=number)
    site.enb.all()
    site.enb.send(site.from_enb(octets, tos=outer, source_port=40000 + outer))

    def answer() -> list[bytes]:
        found = site.enb.all(0.02)
        return [frame for frame in found if frame[42:44] == b"\x32\x02"]

    [frame] = until(answer, "the answer")
    assert frame[34:38] == (2152).to_bytes(2, "big") + (40000 + outer).to_bytes(2, "big")
    assert int.from_bytes(frame[50:52], "big") == number


def test_of_no_session(site: Site) -> None:
    """Its sender is told so, marked or not, unless its packet is not capable of ECN."""
    hear = Hearing(site)
    frames = [
        tunnelled(site, "plain", gtpu.ipv4(UE, PDN_IP, tos=inner), outer, teid=0xBAD)
        for outer, inner in ((NOT_ECT, NOT_ECT), (CE, ECT_0), (CE, NOT_ECT), (ECT_1, ECT_0))
    ]
    with site.counted(no_uplink_session=3, seen_unknown_teid=3, not_ecn_capable=1):
        told = [hear.after(frame) for frame in frames]
    assert [[each.kind for each in said] for said in told] == [
        *([gtpu.ERROR_INDICATION], [gtpu.ERROR_INDICATION], [], [gtpu.ERROR_INDICATION])
    ]


# --- the switch's cache


def cached(site: Site) -> list[str]:
    """The classes of the session's uplink, in all passes."""
    shown = site.lab.appctl("dpctl/dump-flows").splitlines()
    return [line for line in shown if f"tun_id={TEID:#x}" in line]


def test_what_is_not_marked_costs_nothing_more(site: Site) -> None:
    """As many classes, passes and actions, whatever ECN the UE's packet has."""
    site.lab.appctl("revalidator/purge")
    sent(site, "plain", [(0, gtpu.ipv4(UE, PDN_IP, ttl=128, tos=tos)) for tos in range(256)])
    lines = cached(site)
    assert len(lines) == 2, lines
    assert not [
        line for line in lines if re.search(r"ipv4\([^)]*tos|set\((ipv4|udp|skb_mark)", line)
    ]
    whole = site.lab.appctl("dpctl/dump-flows").splitlines()
    [first] = {line.partition("actions:")[2] for line in whole if "tnl_pop" in line}
    assert re.fullmatch(r"tnl_pop\(\d+\)", first)


def test_classes_of_what_is_marked_are_few(site: Site) -> None:
    """For each mark two as without, and of the last as many as inner ECN and protocols."""
    site.lab.appctl("revalidator/purge")
    rng = random.Random(6040)
    packets = [
        (
            outer,
            gtpu.ipv4(
                UE,
                f"198.51.100.{rng.randrange(256)}",
                ttl=128,
                tos=inner | rng.randrange(64) << 2,
                id=rng.randrange(65536),
                size=rng.randrange(28, 1000),
            ),
        )
        for outer, inner in ALL * 16
    ]
    sent(site, "plain", packets)
    lines = cached(site)
    assert len(lines) == 4 + 1 + 1 + 4 + 4, "four first passes; and then by what is asked for"


@pytest.mark.parametrize("name", ("plain", "E, 1 units"))
@pytest.mark.parametrize("ttl", (64, 100, 128))
def test_sessions_come_and_go_under_marked_traffic(site: Site, ttl: int, name: str) -> None:
    """What the switch has cached for it follows, whatever the mark."""
    ue, teid = f"10.45.1.{ttl}", 0x1100 + ttl
    packets = [(outer, gtpu.ipv4(ue, PDN_IP, ttl=ttl, tos=ECT_0)) for outer in range(4)]
    frames = [tunnelled(site, name, inner, outer, teid=teid) for outer, inner in packets]
    wanted = sorted(with_ecn(inner, decapsulated(outer, ECT_0) or 0) for outer, inner in packets)

    def passed() -> list[bytes]:
        return sorted(frame[14:] for frame in site.uplink(*frames * 10))

    for _ in range(2):
        assert passed() == []
        session = site.session(ue, teid=teid, downlink=teid)
        until(lambda: passed() == sorted(wanted * 10), "the cache follows")
        assert passed() == sorted(wanted * 10)
        site.delete(session)
        until(lambda: passed() == [], "the cache follows")


def test_between_ues() -> None:
    """Down again: what bears the mark by then leaves by the rules of the downlink."""
    with Lab() as lab:
        site = Site(lab, lab.config(gateway='ue_to_ue = "route"'))
        site.ready()
        site.session(UE, teid=TEID, downlink=0x2001)
        site.session("10.45.0.3", teid=0x1002, downlink=0x2002, qfi=9)
        site.session("10.45.0.4", teid=0x1003, downlink=0x2003)
        for far, teid, at in (("10.45.0.3", 0x2002, 8), ("10.45.0.4", 0x2003, 0)):
            for outer, inner in ALL:
                packet = gtpu.ipv4(UE, far, tos=inner)
                site.enb.all()
                site.uplink(tunnelled(site, "plain", packet, outer))
                site.downlink()
                got = [f[42 + 8 + at :] for f in site.enb.seen if is_gtpu(f, teid)]
                site.enb.seen.clear()
                ecn = decapsulated(outer, inner)
                assert got == ([] if ecn is None else [with_ecn(packet, ecn)]), (outer, inner)
        site.alive()


def test_the_marks_never_leave_the_switch(site: Site) -> None:
    """No packet has one of the ports that marked ones are unwrapped by."""
    ports = [port.to_bytes(2, "big") for port in (61521, 61523)]
    for wire in (site.enb, site.pdn):
        assert wire.seen
        assert not [f for f in wire.seen if f[34:36] in ports or f[36:38] in ports]


def test_who_sends_to_these_ports_gets_nothing_through(site: Site) -> None:
    inner = gtpu.ipv4(UE, PDN_IP, tos=ECT_0)
    for port in (61521, 61523):
        frame = site.from_enb(gtpu.t_pdu(TEID, inner), port=port)
        with site.counted(access_other=1):
            assert site.uplink(frame) == []
