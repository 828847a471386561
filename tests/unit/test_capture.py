"""What of the access side is a session's: in Python, and by the kernel's filter, run here."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_RS,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from ofgtp.core.model import FTeid
from ofgtp.core.packets.capture import TUNNELS_MAX, Instruction, Seen, Watch, kernel_filter
from ofgtp.core.sessions.detail import BEARERS_MAX
from tests.support import gtpu

UE, OTHER = "10.45.0.2", "10.45.0.3"
GATEWAY, ENB, ENB2 = "10.1.0.1", "10.1.0.2", "10.1.0.3"
UP, DOWN = 0x1001, 0x2001
MACS = {"eth_src": "02:00:00:00:00:01", "eth_dst": "02:00:00:00:00:02"}
UNKNOWN_TUNNEL = b"\x10" + bytes([0, 0, 0x20, 0x01]) + b"\x85\x00\x04" + IPv4Address(ENB).packed
PREFIX, UE6, HOST6 = IPv6Network("2001:db8:a:1::/64"), "2001:db8:a:1::7", "2001:db8:ffff::1"
ENDS = Ether(src=MACS["eth_src"], dst=MACS["eth_dst"])
GATEWAY6, ENB6, OTHER_ENB6 = "2001:db8:ac::1", "2001:db8:ac::2", "2001:db8:ac::3"
UNKNOWN_TUNNEL6 = UNKNOWN_TUNNEL[:5] + b"\x85\x00\x10" + IPv6Address(ENB6).packed
PING = bytes(IP(src=UE, dst="10.2.0.2") / ICMP(type=8, id=1, seq=7))


def watch() -> Watch:
    local = frozenset((IPv4Address(GATEWAY), IPv6Address(GATEWAY6)))
    ours = Watch(local, IPv4Address(UE), {UP})
    for enb in (IPv4Address(ENB), IPv6Address(ENB6)):
        ours.downlink.add(FTeid(DOWN, enb))
        ours.peers.add(enb)
    return ours


def up(gtp: bytes, *, enb: str = ENB, **more: int) -> bytes:
    return gtpu.datagram(gtp, source=enb, destination=GATEWAY, **MACS, **more)


def down(gtp: bytes, *, enb: str = ENB) -> bytes:
    return gtpu.datagram(gtp, source=GATEWAY, destination=enb, **MACS)


def over6(gtp: bytes, source: str = ENB6, destination: str = GATEWAY6, **ports: int) -> bytes:
    udp = UDP(**{"sport": 2152, "dport": 2152, **ports})
    return bytes(ENDS / IPv6(src=source, dst=destination) / udp / gtp)


def inner(source: str, destination: str) -> bytes:
    return gtpu.ipv4(source, destination)


def run(program: list[Instruction], frame: bytes) -> bool:
    """What the kernel does with a filter of classic BPF (the instructions that are used)."""
    at = a = x = 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == 0x06:
            return bool(k)
        if code in (0x15, 0x45):
            at += yes if (a == k if code == 0x15 else a & k) else no
            continue
        if code == 0x54:
            a &= k
            continue
        if code == 0x01:
            x = k
            continue
        start = k + (x if code in (0x40, 0x48, 0x50) else 0)
        size = {0x40: 4, 0x28: 2, 0x48: 2, 0x30: 1, 0x50: 1, 0xB1: 1}[code]
        if start + size > len(frame):
            return False
        value = int.from_bytes(frame[start : start + size], "big")
        if code == 0xB1:
            x = (value & 0xF) * 4
        else:
            a = value


OURS = {
    "ping": up(gtpu.t_pdu(UP, PING)),
    "with a sequence number": up(gtpu.t_pdu(UP, PING, flags=0x32)),
    "another's address in our tunnel": up(gtpu.t_pdu(UP, inner("192.168.1.1", "10.2.0.2"))),
    "our address in another tunnel": up(gtpu.t_pdu(0x7777, PING)),
    "that, with a sequence number": up(gtpu.t_pdu(0x7777, PING, flags=0x32)),
    "that, with a QFI": up(
        gtpu.t_pdu(0x7777, b"\x01\x10\x09\x00" + PING, flags=0x34, extension=0x85)
    ),
    "with IPv4 options outside": up(gtpu.t_pdu(UP, PING), options=b"\x01\x01\x01\x00"),
    "to the UE": down(gtpu.t_pdu(DOWN, inner("10.2.0.2", UE))),
    "to the UE by a new tunnel": down(gtpu.t_pdu(0x3001, inner("10.2.0.2", UE)), enb=ENB2),
    "End Marker": down(gtpu.message(gtpu.END_MARKER, DOWN)),
    "Error Indication of ours": up(gtpu.message(gtpu.ERROR_INDICATION, 0, UNKNOWN_TUNNEL)),
    "Echo Request": up(gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32)),
    "Echo Request to it": down(gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32)),
    "over IPv6": over6(gtpu.t_pdu(UP, PING)),
    "over IPv6, our address in another tunnel": over6(gtpu.t_pdu(0x7777, PING)),
    "over IPv6, with a QFI": over6(
        gtpu.t_pdu(0x7777, b"\x01\x10\x09\x00" + PING, flags=0x34, extension=0x85)
    ),
    "over IPv6, to the UE": over6(gtpu.t_pdu(DOWN, inner("10.2.0.2", UE)), GATEWAY6, ENB6),
    "over IPv6, End Marker": over6(gtpu.message(gtpu.END_MARKER, DOWN), GATEWAY6, ENB6),
    "over IPv6, Error Indication": over6(gtpu.message(gtpu.ERROR_INDICATION, 0, UNKNOWN_TUNNEL6)),
    "over IPv6, Echo Request": over6(gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32)),
}
OTHERS = {
    "another tunnel": up(gtpu.t_pdu(0x1003, inner(OTHER, "10.2.0.2"))),
    "to another UE": down(gtpu.t_pdu(0x2003, inner("10.2.0.2", OTHER))),
    "our downlink TEID at another peer": down(gtpu.t_pdu(DOWN, inner("10.2.0.2", OTHER)), enb=ENB2),
    "our downlink TEID, but up": up(gtpu.t_pdu(DOWN, inner(OTHER, "10.2.0.2"))),
    "Echo of another peer": up(gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32), enb=ENB2),
    "Error Indication of another peer": up(
        gtpu.message(gtpu.ERROR_INDICATION, 0, UNKNOWN_TUNNEL), enb=ENB2
    ),
    "not to the gateway": gtpu.datagram(
        gtpu.t_pdu(UP, PING), source=ENB, destination="10.1.0.9", **MACS
    ),
    "another port": gtpu.datagram(
        gtpu.t_pdu(UP, PING), source=ENB, destination=GATEWAY, port=53, source_port=53, **MACS
    ),
    "TCP": bytes(Ether() / IP(src=ENB, dst=GATEWAY) / TCP(sport=2152, dport=2152) / PING),
    "ARP": bytes(Ether() / ARP()),
    "a fragment": up(gtpu.t_pdu(UP, PING), frag=10),
    "cut off": up(gtpu.t_pdu(UP, PING))[:45],
    "nothing": b"",
    "over IPv6, another tunnel": over6(gtpu.t_pdu(0x1003, inner(OTHER, "10.2.0.2"))),
    "over IPv6, Echo of another peer": over6(
        gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32), OTHER_ENB6
    ),
    "over IPv6, not to the gateway": over6(gtpu.t_pdu(UP, PING), ENB6, OTHER_ENB6),
    "over IPv6, another port": over6(gtpu.t_pdu(UP, PING), sport=53, dport=53),
    "over IPv6, TCP": bytes(ENDS / IPv6(src=ENB6, dst=GATEWAY6) / TCP(dport=2152) / PING),
    "over IPv6, cut off": over6(gtpu.t_pdu(UP, PING))[:69],
}


def test_what_is_the_session_s() -> None:
    for name, frame in OURS.items():
        assert watch().look(frame) is not None, name
    for name, frame in OTHERS.items():
        assert watch().look(frame) is None, name


def test_the_kernel_passes_all_of_it() -> None:
    program = kernel_filter(IPv4Address(UE), watch().teids)
    for name, frame in OURS.items():
        assert run(program, frame), name


def test_the_kernel_keeps_the_others_away() -> None:
    program = kernel_filter(IPv4Address(UE), watch().teids)
    of_ipv6 = ("over IPv6, another tunnel", "over IPv6, another port", "over IPv6, TCP")
    names = ("another tunnel", "to another UE", "another port", "TCP", "ARP", "a fragment")
    for name in (*names, *of_ipv6):
        assert not run(program, OTHERS[name]), name
    assert not run(program, b"")


@given(st.binary(max_size=80), st.sampled_from([up, down, over6]), st.booleans())
def test_any_bytes(octets: bytes, way: object, as_gtpu: bool) -> None:
    """Nothing is raised, and what is wanted is passed by the kernel."""
    frame = way(octets) if as_gtpu else octets  # type: ignore[operator]
    program = kernel_filter(IPv4Address(UE), watch().teids)
    if watch().look(frame) is not None:
        assert run(program, frame)


@given(
    st.integers(0x30, 0x37),
    st.sampled_from([UP, DOWN, 0, 0x7777]),
    st.binary(max_size=60),
    st.sampled_from([up, down, over6]),
)
def test_any_t_pdu(flags: int, teid: int, octets: bytes, way: object) -> None:
    for kind in (gtpu.T_PDU, gtpu.ERROR_INDICATION, gtpu.END_MARKER):
        frame = way(gtpu.message(kind, teid, octets, flags=flags))  # type: ignore[operator]
        program = kernel_filter(IPv4Address(UE), watch().teids)
        if watch().look(frame) is not None:
            assert run(program, frame)


def told(frame: bytes) -> str:
    found = watch().look(frame)
    assert found is not None
    return str(found)


def test_in_words() -> None:
    assert told(OURS["ping"]) == (
        "up   10.1.0.2 0x1001 ICMP 10.45.0.2 > 10.2.0.2 echo request 7, 28"
    )
    syn = bytes(IP(src=UE, dst="192.0.2.1") / TCP(sport=40000, dport=443, flags="S"))
    assert told(up(gtpu.t_pdu(UP, syn))) == (
        "up   10.1.0.2 0x1001 TCP 10.45.0.2:40000 > 192.0.2.1:443 [S], 40"
    )
    dns = bytes(IP(src=UE, dst="192.0.2.1") / UDP(sport=40000, dport=53))
    assert "UDP 10.45.0.2:40000 > 192.0.2.1:53, 28" in told(up(gtpu.t_pdu(UP, dns)))
    assert told(OURS["our address in another tunnel"]).endswith("(another TEID)")
    assert told(OURS["another's address in our tunnel"]).endswith("(not the UE's address)")
    assert told(OURS["End Marker"]) == "down 10.1.0.2 0x2001 End Marker"
    assert told(OURS["Error Indication of ours"]).endswith("Error Indication for TEID 0x2001")
    part = IP(src=UE, dst="192.0.2.1", frag=3, proto=17) / (b"x" * 8)
    assert "UDP 10.45.0.2 > 192.0.2.1 fragment, 28" in told(up(gtpu.t_pdu(UP, bytes(part))))
    for unread in (b"\x50" + bytes(39), b"\x60" + bytes(38), b"\x45" + bytes(18)):
        assert told(up(gtpu.t_pdu(UP, unread))) == "up   10.1.0.2 0x1001 T-PDU"


def test_a_handover_is_followed() -> None:
    ours = watch()
    old_end = gtpu.message(gtpu.END_MARKER, 0x3001)
    assert ours.look(down(old_end, enb=ENB2)) is None
    moved = ours.look(OURS["to the UE by a new tunnel"])
    assert isinstance(moved, Seen) and moved.remark == "new tunnel"
    assert 0x3001 in ours.teids and run(kernel_filter(ours.ue, ours.teids), down(old_end, enb=ENB2))
    assert ours.look(down(old_end, enb=ENB2)) is not None
    assert ours.look(OTHERS["Echo of another peer"]) is not None, "it is the session's now"


def test_by_the_address_alone() -> None:
    ours = replace(watch(), uplink=set(), downlink=set(), peers=set())
    seen = ours.look(OURS["ping"])
    assert seen is not None and seen.remark == "", "which TEID is right is not known"
    assert ours.look(OURS["to the UE"]) is not None
    assert ours.look(OTHERS["another tunnel"]) is None


def test_a_relay_has_no_ue() -> None:
    """Its T-PDUs are known by their TEIDs alone, whatever is in them."""
    ours = replace(watch(), ue=None, downlink={FTeid(DOWN, IPv4Address(ENB))}, peers=set())
    program = kernel_filter(None, ours.teids)
    anything = gtpu.t_pdu(UP, inner("172.16.0.1", "172.16.0.2"))
    for frame in (
        up(anything),
        down(gtpu.t_pdu(DOWN, b"\x00" * 40)),
        up(gtpu.t_pdu(UP, b"ab")),
    ):
        seen = ours.look(frame)
        assert seen is not None and seen.remark == ""
        assert run(program, frame)
    for name in ("another tunnel", "our address in another tunnel"):
        frame = {**OURS, **OTHERS}[name]
        assert ours.look(frame) is None and not run(program, frame), name
    for name in ("End Marker", "Error Indication of ours"):
        assert ours.look(OURS[name]) is not None and run(program, OURS[name]), name


def test_who_may_send_by_which_tunnel() -> None:
    """Networks behind the UE may, and anybody by a relay's core side."""
    ours = watch()
    ours.uplink.add(0x5001)
    ours.behind, ours.anybodys = (IPv4Network("10.60.0.0/24"),), frozenset({0x5001})
    for teid, source, remark in (
        (UP, "10.60.0.9", ""),
        (UP, "10.61.0.9", "not the UE's address"),
        (0x5001, "192.0.2.1", ""),
        (UP, UE, ""),
    ):
        seen = ours.look(up(gtpu.t_pdu(teid, inner(source, "10.2.0.2"))))
        assert seen is not None and seen.remark == remark, (hex(teid), source)


def test_the_most_tunnels_of_a_session_fit_into_the_kernel_s_filter() -> None:
    """Its jumps reach 255 instructions far."""
    teids = range(1, BEARERS_MAX + 3 + TUNNELS_MAX)
    for prefix in (PREFIX, IPv6Network("2001:db8:a:1::7")):
        program = kernel_filter(IPv4Address(UE), teids, prefix)
        assert all(0 <= yes <= 255 and 0 <= no <= 255 for _, yes, no, _ in program)
        assert run(program, up(gtpu.t_pdu(teids[0], PING)))
        assert run(program, up(gtpu.t_pdu(teids[-1], PING)))


# --- IPv6


def of_both() -> Watch:
    return replace(watch(), ue6=PREFIX)


def of_ipv6() -> Watch:
    return replace(of_both(), ue=None)


def inner6(*layers: Packet, source: str = UE6, destination: str = HOST6, tc: int = 0) -> bytes:
    made = IPv6(src=source, dst=destination, tc=tc)
    for layer in layers or (UDP(sport=4000, dport=53), Raw(b"x")):
        made /= layer
    return bytes(made)


SIX = inner6()
OURS_6 = {
    "in our tunnel": up(gtpu.t_pdu(UP, SIX)),
    "another address of the prefix": up(gtpu.t_pdu(0x7777, inner6(source="2001:db8:a:1:f:f:f:f"))),
    "with a sequence number": up(gtpu.t_pdu(0x7777, SIX, flags=0x32)),
    "with a QFI": up(gtpu.t_pdu(0x7777, b"\x01\x10\x09\x00" + SIX, flags=0x34, extension=0x85)),
    "to the UE": down(gtpu.t_pdu(DOWN, inner6(source=HOST6, destination=UE6))),
    "by a new tunnel": down(gtpu.t_pdu(0x3001, inner6(source=HOST6, destination=UE6)), enb=ENB2),
}
OTHERS_6 = {
    "another prefix": up(gtpu.t_pdu(0x1003, inner6(source="2001:db8:a:2::7"))),
    "to another prefix": down(gtpu.t_pdu(0x2003, inner6(source=HOST6, destination="2001:db8::1"))),
    "a link-local source": up(gtpu.t_pdu(0x1003, inner6(source="fe80::7"))),
    "IPv4": up(gtpu.t_pdu(0x1003, inner(OTHER, "10.2.0.2"))),
    "no payload": up(gtpu.t_pdu(0x1003, b"")),
}


def test_ipv6_of_the_session() -> None:
    for ours in (of_both, of_ipv6):
        program = kernel_filter(ours().ue, ours().teids, PREFIX)
        for name, frame in OURS_6.items():
            assert ours().look(frame) is not None and run(program, frame), name
        for name, frame in OTHERS_6.items():
            assert ours().look(frame) is None and not run(program, frame), name
    program = kernel_filter(of_both().ue, of_both().teids, PREFIX)
    for name, frame in OURS.items():
        assert of_both().look(frame) is not None and run(program, frame), f"IPv4: {name}"
    another = up(gtpu.t_pdu(0x7777, PING))
    assert of_ipv6().look(another) is None


def test_a_prefix_of_any_length() -> None:
    for length in (32, 48, 56, 60, 64, 65, 96, 127, 128):
        prefix = IPv6Network(
            (int(IPv6Network("2001:db8:a:1::6/128").network_address), length), False
        )
        ours = replace(of_ipv6(), ue6=prefix)
        program = kernel_filter(None, ours.teids, prefix)
        first, last = str(prefix[0]), str(prefix[-1])
        for source in (first, last):
            frame = up(gtpu.t_pdu(0x7777, inner6(source=source)))
            assert ours.look(frame) is not None and run(program, frame), source
        for source in (prefix[0] - 1, prefix[-1] + 1):
            sent = inner6(source=str(source), destination="2001:4860::1")
            frame = up(gtpu.t_pdu(0x7777, sent))
            assert ours.look(frame) is None and not run(program, frame), source


@given(
    st.integers(0x30, 0x37),
    st.sampled_from([UP, DOWN, 0x7777]),
    st.binary(max_size=90),
    st.sampled_from([b"", SIX[:24], SIX[:40], b"\x01\x10\x09\x00" + SIX[:24]]),
    st.sampled_from([up, down]),
)
def test_any_t_pdu_of_ipv6(flags: int, teid: int, more: bytes, begin: bytes, way: object) -> None:
    """Nothing is raised, and what is wanted is passed by the kernel."""
    frame = way(gtpu.message(gtpu.T_PDU, teid, begin + more, flags=flags))  # type: ignore[operator]
    program = kernel_filter(IPv4Address(UE), of_both().teids, PREFIX)
    if of_both().look(frame) is not None:
        assert run(program, frame)


def test_ipv6_in_words() -> None:
    def said(packet: bytes) -> str:
        found = of_both().look(up(gtpu.t_pdu(UP, packet)))
        assert found is not None
        return str(found).removeprefix("up   10.1.0.2 0x1001 ")

    ping = inner6(ICMPv6EchoRequest(id=1, seq=7))
    assert said(ping) == f"ICMPv6 {UE6} > {HOST6} echo request 7, 48"
    syn = TCP(sport=40000, dport=443, flags="S")
    assert said(inner6(syn)) == f"TCP [{UE6}]:40000 > [{HOST6}]:443 [S], 60"
    assert f"TCP [{UE6}]:40000 > [{HOST6}]:443 [S]" in said(inner6(IPv6ExtHdrHopByHop(), syn))
    authenticated = bytes([6, 4]) + bytes(22) + bytes(syn)  # RFC 4302, 2
    header = bytes(IPv6(src=UE6, dst=HOST6, nh=51, plen=len(authenticated)))
    assert f"TCP [{UE6}]:40000 > [{HOST6}]:443 [S]" in said(header + authenticated)
    first = inner6(IPv6ExtHdrFragment(m=1), UDP(sport=1, dport=53), Raw(bytes(8)))
    assert f"UDP [{UE6}]:1 > [{HOST6}]:53, 64" in said(first)
    later = inner6(IPv6ExtHdrFragment(offset=6, nh=17), Raw(bytes(16)))
    assert said(later) == f"UDP {UE6} > {HOST6} fragment, 64"
    assert "ICMPv6 " in (big := said(inner6(ICMPv6PacketTooBig()))) and "packet too big" in big
    solicited = inner6(ICMPv6ND_RS(), source="fe80::7", destination="ff02::2")
    assert said(solicited) == "ICMPv6 fe80::7 > ff02::2 router solicitation, 48"
    assert said(inner6(source="2001:db8:a:2::7")).endswith("(not the UE's address)")
    seen = of_both().look(up(gtpu.t_pdu(UP, inner6(tc=46 << 2))))
    assert seen is not None and seen.inner is not None and seen.inner.dscp == 46
    assert said(PING).startswith("ICMP 10.45.0.2 > 10.2.0.2 echo request 7")
