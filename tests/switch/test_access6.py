"""GTP-U over IPv6, by a real switch and real packets, beside IPv4."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Creation, Interface
from tests.support import gtpu, smf, tshark
from tests.support import ownership as own
from tests.support.command import at_switch
from tests.support.lab import Lab
from tests.support.peer import metric
from tests.support.site import PDN_IP, Site, answer6, is_gtpu6, until

pytestmark = pytest.mark.switch

ACCESS6, ENB6, OTHER6 = "2001:db8:ac::1", "2001:db8:ac::2", "2001:db8:ac:0:8000:ffff:feed:2"
CORE, HOP = "2001:db8:c::1", "2001:db8:c::2"
UE, UE4, UE_QFI, UE_EVEN = "10.45.0.2", "10.45.0.3", "10.45.0.9", "10.45.0.10"
DOWN = 0xA1B2_C3D4
ENB6_V4 = "10.1.0.2"
FAR_NET, ROUTER, FAR6 = "2001:db8:77::/48", "2001:db8:ac::fe", "2001:db8:77:1::5"
"""Base stations behind a router."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        smf.n4(lab)
        of_ipv6 = f'access_ip6 = "{ACCESS6}/64"\naccess_routes = ['
        of_ipv6 += f'{{to = "{FAR_NET}", via = "{ROUTER}"}}, '
        of_ipv6 += '{to = "10.9.0.0/16", via = "10.1.0.254"}]'
        config = lab.config(controller=own.SWITCH, gateway=of_ipv6 + smf.CONFIG)
        ues6 = f'["10.45.0.0/16", "2001:db8:a::/48"]\ncore_ip6 = "{CORE}/64"\nnext_hop6 = "{HOP}"'
        site = Site(lab, config.replace('["10.45.0.0/16"]', ues6))
        site.ready()
        answer6(site, HOP, CORE)
        site.session(UE, teid=0x1001, downlink=DOWN, peer=ENB6)
        site.session(UE4, teid=0x1002, downlink=0x2002)
        site.session(UE_QFI, teid=0x1009, downlink=DOWN + 1, peer=ENB6, qfi=9)
        site.session(UE_EVEN, teid=0x100A, downlink=DOWN + 2, peer=ENB6, qfi=10)
        resolve(site)
        yield site
        site.alive()
        site.check_sent()


def resolve(site: Site, peer: str = ENB6, ue: str = UE, *, hop: str | None = None) -> None:
    """Send to a UE until its base station, which answers the switch's question, gets it; or until
    its router does."""
    hop = hop or peer

    def arrived() -> bool:
        site.pdn.send(site.to_ue(gtpu.ipv4(PDN_IP, ue)))
        frames = site.enb.all(0.05)
        for frame in frames:
            read = Ether(frame)
            if ICMPv6ND_NS in read and read[ICMPv6ND_NS].tgt == hop:
                site.enb.send(neighbour(site, hop, read))
        return any(is_gtpu6(frame) and frame[63] == gtpu.T_PDU for frame in frames)

    until(arrived, f"downlink packets reach {peer}")


def down(site: Site, *frames: bytes) -> list[bytes]:
    """T-PDUs over IPv6 that packets from the core host become; the gateway may ask its peers
    something meanwhile."""
    return [each for each in site.downlink(*frames) if is_gtpu6(each) and each[63] == gtpu.T_PDU]


def down_without_marker(site: Site, inner: bytes) -> list[bytes]:
    got: list[bytes] = []

    def come() -> bool:
        site.pdn.send(site.to_ue(inner))
        frames = site.enb.all(0.05)
        got.extend(each for each in frames if is_gtpu6(each) and each[63] == gtpu.T_PDU)
        return bool(got)

    until(come, "it is forwarded on")
    return got[:1]


def udp(source: str, ue: str, sport: int) -> bytes:
    """A packet to a UE from a port, which bearers' filters ask for."""
    return bytes(IP(src=source, dst=ue) / UDP(sport=sport, dport=4000) / Raw(bytes(20)))


def bearers(site: Site, session: str, *wanted: tuple[int, dict[str, Any] | None]) -> None:
    """Give a session bearers, by their port at the far end, with tunnels of their own."""
    made = [
        {
            "id": f"of-{port}",
            "precedence": port,
            "filters": [{"protocol": "udp", "remote_ports": str(port)}],
            "downlink": far,
            **({"qfi": 9} if port % 2 else {}),
        }
        for port, far in wanted
    ]
    site.patch(session, {"bearers": made})


def teids(site: Site, ue: str, *ports: int) -> list[int]:
    """In which tunnels packets come to a UE, by their port at the far end."""
    found = []
    for port in ports:
        (got,) = down(site, site.to_ue(udp(PDN_IP, ue, port)))
        assert got.endswith(udp(PDN_IP, ue, port))
        assert got[62] == (0x34 if port % 2 else 0x30), "with a container, or without"
        found.append(int.from_bytes(got[66:70], "big"))
    return found


@pytest.mark.parametrize("far", (DOWN + 0x60, None))
def test_bearers_have_tunnels_of_their_own(site: Site, far: int | None) -> None:
    """Also while the session itself is idle; a handover changes all, and a rate is kept to."""
    ue = "10.45.0.60"
    name = site.session(ue, teid=0x1060, downlink=far, peer=ENB6)

    def at(teid: int, peer: str = ENB6) -> dict[str, Any]:
        return {"teid": teid, "remote_ip": peer}

    try:
        bearers(site, name, (6000, at(DOWN + 0x61)), (6001, at(DOWN + 0x62)))
        site.lab.cache_follows()
        assert teids(site, ue, 6000, 6001) == [DOWN + 0x61, DOWN + 0x62]
        if far is not None:
            assert teids(site, ue, 6002) == [far]
        bearers(site, name, (6000, at(DOWN + 0x63)), (6001, at(DOWN + 0x62)))
        site.lab.cache_follows()
        assert teids(site, ue, 6000, 6001) == [DOWN + 0x63, DOWN + 0x62]
        mixed = {"downlink": at(DOWN + 0x64, ENB6_V4)}
        answer = site.lab.http("PATCH", f"/v1/sessions/{name}", mixed)
        assert answer.status == 422, answer.body
        assert answer.json()["errors"][0]["loc"] == "bearers.0.downlink.remote_ip"
        body = b"\x10" + (DOWN + 0x63).to_bytes(4, "big") + b"\x85\x00\x10"
        said = gtpu.message(gtpu.ERROR_INDICATION, 0, body + IPv6Address(ENB6).packed, flags=0x32)
        site.enb.send(from_enb6(site, said))
        shown = f"/v1/sessions/{name}/bearers/of-6000"
        until(lambda: site.lab.http("GET", shown).json()["error_indicated"], "it is stopped")
        assert site.lab.http("GET", shown).json()["downlink"] == at(DOWN + 0x63)
        site.lab.cache_follows()
        assert down(site, site.to_ue(udp(PDN_IP, ue, 6000))) == []
        assert teids(site, ue, 6001) == [DOWN + 0x62]
    finally:
        site.delete(name)


def heard(site: Site, kind: int, *, peer: str = ENB6) -> bytes:
    """The next message of a type to a peer, as GTP-U's octets."""
    got: list[bytes] = []

    def there() -> bool:
        for frame in site.enb.all(0.05):
            if is_gtpu6(frame) and frame[63] == kind and Ether(frame)[IPv6].dst == peer:
                got.append(frame[62:])
        return bool(got)

    until(there, f"message {kind} to {peer}")
    return got[0]


def peer_of(site: Site, ip: str) -> dict[str, Any] | None:
    items = site.lab.http("GET", "/v1/peers").json()["items"]
    return next((each for each in items if each["ip"] == ip), None)


def from_enb6(site: Site, payload: bytes, *, src: str = ENB6, **changes: Any) -> bytes:
    udp = UDP(sport=2152, dport=2152, **changes)
    ends = Ether(src=site.enb_mac["enb"], dst=site.local_mac)
    return bytes(ends / IPv6(src=src, dst=ACCESS6) / udp / Raw(payload))


def t_pdu6(site: Site, teid: int, inner: bytes, *, flags: int = gtpu.PLAIN, **udp: Any) -> bytes:
    return from_enb6(site, gtpu.t_pdu(teid, inner, flags=flags), **udp)


@pytest.mark.parametrize("ttl", (1, 63, 64, 96, 128, 255))
@pytest.mark.parametrize("flags", (gtpu.PLAIN, gtpu.PLAIN | gtpu.S, gtpu.PLAIN | gtpu.PN))
def test_uplink(site: Site, ttl: int, flags: int) -> None:
    inner = gtpu.ipv4(UE, PDN_IP, ttl=ttl)
    with site.counted():
        (got,) = site.uplink(t_pdu6(site, 0x1001, inner, flags=flags))
    assert got[14:] == inner


def test_uplink_without_checksum(site: Site) -> None:
    """RFC 6935 lets a tunnel do so; the other end decides what it takes."""
    inner = gtpu.ipv4(UE, PDN_IP)
    (got,) = site.uplink(t_pdu6(site, 0x1001, inner, chksum=0))
    assert got[14:] == inner


def test_uplink_with_a_wrong_checksum_is_dropped(site: Site) -> None:
    frame = bytearray(t_pdu6(site, 0x1001, gtpu.ipv4(UE, PDN_IP)))
    frame[60] ^= 1
    assert site.uplink(bytes(frame)) == []


def test_both_versions_of_one_teid(site: Site) -> None:
    """A TEID is ours, at whichever address a T-PDU comes."""
    inner = gtpu.ipv4(UE, PDN_IP)
    got = site.uplink(site.t_pdu(0x1001, inner), t_pdu6(site, 0x1001, inner))
    assert [frame[14:] for frame in got] == [inner, inner]


def test_spoofed_and_unknown(site: Site) -> None:
    spoofed = t_pdu6(site, 0x1001, gtpu.ipv4(UE4, PDN_IP))
    unknown = t_pdu6(site, 0x7777, gtpu.ipv4(UE, PDN_IP))
    with site.counted(no_uplink_session=2, ignore=("seen_unknown_teid", "seen_spoofed_source")):
        assert site.uplink(spoofed, unknown) == []


@pytest.mark.parametrize("size", (28, 41, 84, 1000, 1399, 1444))
@pytest.mark.parametrize("ue", (UE, UE_QFI, UE_EVEN))
def test_downlink(site: Site, ue: str, size: int) -> None:
    """All octets right, and the checksum, which tshark judges when all is done."""
    contained = 0 if ue == UE else 8
    inner = gtpu.ipv4(PDN_IP, ue, size=size - contained, tos=0xB8)
    with site.counted():
        (got,) = down(site, site.to_ue(inner))
    packet = Ether(got)
    outer, udp = packet[IPv6], packet[UDP]
    assert (outer.src, outer.dst, outer.nh, outer.tc) == (ACCESS6, ENB6, 17, 0xB8)
    assert (udp.sport, udp.dport, udp.len) == (2152, 2152, outer.plen)
    teid = DOWN + (UE, UE_QFI, UE_EVEN).index(ue)
    octet = {UE: None, UE_QFI: 9, UE_EVEN: 10}[ue]
    body = inner
    if octet is not None:
        body = bytes([0, 0, 0, 0x85, 1, 0, octet, 0]) + inner
    flags = 0x30 if octet is None else 0x34
    wanted = bytes([flags, 255]) + len(body).to_bytes(2, "big") + teid.to_bytes(4, "big") + body
    assert got[62:] == wanted


@pytest.mark.parametrize("ue", (UE, UE_QFI, UE_EVEN))
def test_any_content(site: Site, ue: str) -> None:
    """Of all sizes: the checksum is right (`check_sent`, too), and the packet what it was."""
    chance = random.Random(ue)
    inner = []
    for _ in range(70):
        body = Raw(chance.randbytes(chance.randint(1, 1371)))
        inner.append(bytes(IP(src=PDN_IP, dst=ue, proto=253, tos=0xB8) / body))
    got = down(site, *map(site.to_ue, inner))
    assert len(got) == len(inner)
    for frame, packet in zip(got, inner, strict=True):
        gtpu.check_frame(frame)
        assert frame.endswith(packet)


@pytest.mark.parametrize("ue", (UE, UE_QFI, UE_EVEN))
def test_a_checksum_that_would_be_0(site: Site, ue: str) -> None:
    """That would be none, which IPv6 forbids (RFC 8200, 8.1): it is sent as 0xffff."""

    def checksum(word: bytes) -> bytes:
        packet = IP(src=PDN_IP, dst=ue, proto=253, tos=0xB8) / Raw(word + bytes(30))
        (got,) = down(site, site.to_ue(bytes(packet)))
        gtpu.check_frame(got)
        return got[60:62]

    # What is left to the greatest sum comes in, instead of 0.
    assert checksum(checksum(bytes(2))) == b"\xff\xff"


def test_too_big(site: Site) -> None:
    """What would not fit with IPv6's headers."""
    with site.counted(too_big=1):
        assert down(site, site.to_ue(gtpu.ipv4(PDN_IP, UE, size=1445, flags="DF"))) == []


def test_traffic_is_counted_without_outer_headers(site: Site) -> None:
    """What goes to peers of either version; Site's own packets go over IPv4."""

    def counted() -> tuple[int, int]:
        kinds = ("ofgtp_packets_total", "ofgtp_bytes_total")
        packets, octets = (metric(site.lab, kind, direction="downlink") for kind in kinds)
        return int(packets), int(octets)

    before = counted()
    assert len(down(site, *[site.to_ue(gtpu.ipv4(PDN_IP, UE, size=1000))] * 50)) == 50

    def all_are() -> bool:
        packets, octets = (now - then for now, then in zip(counted(), before, strict=True))
        return packets > 50 and octets == 50 * (1000 + 14) + (packets - 50) * (84 + 14)

    until(all_are, "all are counted, of a frame's size each")


def test_ipv4_peers_are_served_as_before(site: Site) -> None:
    inner = gtpu.ipv4(PDN_IP, UE4)
    (got,) = site.downlink(site.to_ue(inner))
    assert gtpu.decode(got).inner == inner


def test_handover_between_the_versions(site: Site) -> None:
    """Each tunnel that is left gets an End Marker (TS 29.281, 7.3.2)."""
    inner = gtpu.ipv4(PDN_IP, UE4)
    site.patch(f"ue-{UE4}", {"downlink": {"teid": 0x5005, "remote_ip": ENB6}})
    site.lab.cache_follows()
    (got,) = down(site, site.to_ue(inner))
    assert got[66:70] == (0x5005).to_bytes(4, "big")
    site.enb.all()
    site.patch(f"ue-{UE4}", {"downlink": {"teid": 0x2002, "remote_ip": "10.1.0.2"}})
    marker = heard(site, gtpu.END_MARKER)
    assert marker[4:8] == (0x5005).to_bytes(4, "big")
    site.lab.cache_follows()
    frames = [each for each in site.downlink(site.to_ue(inner)) if gtpu.decode(each).kind == 255]
    assert [gtpu.decode(each).teid for each in frames] == [0x2002]


@pytest.mark.parametrize("ecn", (0, 1, 3))
def test_echo_requests_are_answered(site: Site, ecn: int) -> None:
    site.enb.all()
    asked = gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32, sequence=0x4711 + ecn)
    frame = bytearray(from_enb6(site, asked))
    frame[15] |= ecn << 4
    site.enb.send(bytes(frame))
    answer = heard(site, gtpu.ECHO_RESPONSE)
    assert answer[8:10] == (0x4711 + ecn).to_bytes(2, "big")


def test_paths_and_next_hops(site: Site) -> None:
    """A new peer is asked by neighbour discovery and Echo Request; its answer brings it up."""
    site.enb.all()
    site.session("10.45.0.5", teid=0x1005, downlink=0x5055, peer=OTHER6)
    assert (found := peer_of(site, OTHER6)) is not None
    assert (found["state"], found["sessions"]) == ("unknown", 1)
    resolve(site, OTHER6, "10.45.0.5")
    request = heard(site, gtpu.ECHO_REQUEST, peer=OTHER6)
    said = gtpu.message(gtpu.ECHO_RESPONSE, 0, b"\x0e\x00", flags=0x32, sequence=0)
    said = said[:8] + request[8:10] + said[10:]
    site.enb.send(from_enb6(site, said, src=OTHER6))
    until(lambda: (peer_of(site, OTHER6) or {})["state"] == "up", "the path is up")
    found = peer_of(site, OTHER6)
    assert found is not None
    assert found["next_hop"]["mac"] == site.enb_mac["enb"]
    site.delete("ue-10.45.0.5")
    assert peer_of(site, OTHER6) is None


def test_peers_beyond_the_access_subnet(site: Site) -> None:
    """By the router of an access route, both ways; and what is told them."""
    ue = "10.45.0.70"
    name = site.session(ue, teid=0x1070, downlink=DOWN + 0x70, peer=FAR6)
    resolve(site, FAR6, ue, hop=ROUTER)
    inner = gtpu.ipv4(PDN_IP, ue)
    (got,) = down(site, site.to_ue(inner))
    assert got[14 + 24 : 14 + 40] == IPv6Address(FAR6).packed
    assert got[:6] == bytes.fromhex(site.enb_mac["enb"].replace(":", ""))
    assert got.endswith(inner)
    up = gtpu.ipv4(ue, PDN_IP)
    (got,) = site.uplink(t_pdu6(site, 0x1070, up, src=FAR6))
    assert got[14:] == up
    found = peer_of(site, FAR6)
    assert found is not None
    assert found["next_hop"] == {"ip": ROUTER, "mac": site.enb_mac["enb"]}
    until(lambda: heard(site, gtpu.ECHO_REQUEST, peer=FAR6), "it is asked whether it is there")

    def told() -> bool:
        site.enb.send(t_pdu6(site, 0xDEAD_0070, up, src=FAR6))
        frames = site.enb.all(0.05)
        mine = (frame for frame in frames if is_gtpu6(frame) and frame[63] == gtpu.ERROR_INDICATION)
        return any(Ether(frame)[IPv6].dst == FAR6 for frame in mine)

    until(told, "an Error Indication")
    listed = site.lab.exec("gw", ["ip", "-6", "route", "show", "dev", own.BRIDGE]).stdout
    assert f"{FAR_NET} via {ROUTER}" in listed
    site.delete(name)


def test_an_error_indication_stops_the_downlink(site: Site) -> None:
    name = site.session("10.45.0.6", teid=0x1006, downlink=0x6066, peer=ENB6)
    packet = site.to_ue(gtpu.ipv4(PDN_IP, "10.45.0.6"))
    assert len(down(site, packet)) == 1
    body = b"\x10" + (0x6066).to_bytes(4, "big") + b"\x85\x00\x10" + IPv6Address(ENB6).packed
    said = gtpu.message(gtpu.ERROR_INDICATION, 0, body, flags=0x32)
    site.enb.send(from_enb6(site, said))

    def state() -> str:
        return str(site.lab.http("GET", f"/v1/sessions/{name}").json()["state"])

    until(lambda: state() == "error_indicated", "the session is error_indicated")
    site.lab.cache_follows()
    with site.counted(error_indicated=1):
        assert down(site, packet) == []
    site.delete(name)


@pytest.mark.parametrize("peer", (ENB6, OTHER6))
@pytest.mark.parametrize("ttl", (64, 128))
def test_a_peer_is_told_of_an_unknown_tunnel(site: Site, peer: str, ttl: int) -> None:
    """By an Error Indication (TS 29.281, 7.3.1): to the first T-PDU, once a second one has come."""
    teid = 0xDEAD_0000 + ttl
    inner = gtpu.ipv4(UE, PDN_IP, ttl=ttl)
    expected = b"\x10" + teid.to_bytes(4, "big") + b"\x85\x00\x10" + IPv6Address(ACCESS6).packed
    said: list[bytes] = []

    def told() -> bool:
        site.enb.send(t_pdu6(site, teid, inner, src=peer))
        for frame in site.enb.all(0.05):
            read = Ether(frame)
            if ICMPv6ND_NS in read and read[ICMPv6ND_NS].tgt == peer:
                site.enb.send(neighbour(site, peer, read))
            elif is_gtpu6(frame) and frame[63] == gtpu.ERROR_INDICATION:
                said.append(frame)
        return bool(said)

    until(told, "an Error Indication")
    assert Ether(said[0])[IPv6].dst == peer
    assert said[0].endswith(expected)
    gtpu.check_frame(said[0])
    # The flow that showed who sent it goes by itself.
    until(lambda: "meter_id=" not in site.lab.ofctl("dump-flows", own.BRIDGE), "nothing is shown")
    assert own.in_sync(site.lab)


def neighbour(site: Site, peer: str, asked: Any) -> bytes:
    """A peer's answer to a Neighbour Solicitation."""
    told = ICMPv6ND_NA(tgt=peer, S=1, O=1)
    told /= ICMPv6NDOptDstLLAddr(lladdr=site.enb_mac["enb"])
    ends = Ether(src=site.enb_mac["enb"], dst=asked.src)
    return bytes(ends / IPv6(src=peer, dst=asked[IPv6].src, hlim=255) / told)


def test_a_peer_is_told_of_a_header_that_is_not_understood(site: Site) -> None:
    """By a Supported Extension Headers Notification (TS 29.281, 7.2.3)."""
    data = gtpu.t_pdu(0x1001, gtpu.ipv4(UE, PDN_IP), flags=gtpu.PLAIN | gtpu.E)
    data = data[:8] + bytes((0, 0, 0, 0xC1, 1, 0, 0, 0)) + data[8:]
    data = data[:2] + (len(data) - 8).to_bytes(2, "big") + data[4:]

    def told() -> bool:
        site.enb.send(from_enb6(site, data))
        frames = site.enb.all(0.05)
        return any(is_gtpu6(frame) and frame[63] == 31 for frame in frames)

    until(told, "a notification")


def test_an_ipv6_peer_is_not_the_ipv4_peer_whose_octets_it_ends_in(site: Site) -> None:
    """A session that takes packets from one peer alone."""
    name = site.session("10.45.0.33", teid=0x1033, downlink=0x2033, pinned=ENB6_V4)
    inner = gtpu.ipv4("10.45.0.33", PDN_IP)
    site.cache_follows(site.t_pdu(0x1033, inner), passes=True)
    like = str(IPv6Address(int(IPv6Address("2001:db8:ac::")) | 0x0A010002))
    with site.counted(no_uplink_session=2, seen_wrong_peer=2):
        for source in (ENB6, like):
            assert site.uplink(t_pdu6(site, 0x1033, inner, src=source)) == []
    site.delete(name)


def test_neighbours_and_ping(site: Site) -> None:
    mac = site.enb_mac["enb"]
    asked = ICMPv6ND_NS(tgt=ACCESS6) / ICMPv6NDOptSrcLLAddr(lladdr=mac)
    group = "ff02::1:ff00:1"
    ends = Ether(src=mac, dst="33:33:ff:00:00:01") / IPv6(src=ENB6, dst=group, hlim=255)
    ping = Ether(src=mac, dst=site.local_mac) / IPv6(src=ENB6, dst=ACCESS6)
    site.enb.all()
    site.enb.send(bytes(ends / asked), bytes(ping / ICMPv6EchoRequest(data=b"hello")))
    got: list[Any] = []

    def answered() -> bool:
        got.extend(Ether(frame) for frame in site.enb.all(0.05))
        return any(ICMPv6ND_NA in each for each in got) and any(
            ICMPv6EchoReply in each for each in got
        )

    until(answered, "the gateway answers")
    told = next(each for each in got if ICMPv6ND_NA in each)
    assert told[ICMPv6NDOptDstLLAddr].lladdr == site.local_mac


def test_fragments_are_dropped(site: Site) -> None:
    ends = Ether(src=site.enb_mac["enb"], dst=site.local_mac)
    header = IPv6(src=ENB6, dst=ACCESS6) / IPv6ExtHdrFragment(m=1, nh=17)
    with site.counted(outer_fragment=1):
        site.uplink(bytes(ends / header / UDP(sport=2152, dport=2152) / Raw(bytes(64))))


def test_congestion_marks(site: Site) -> None:
    """RFC 6040 over IPv6, too."""
    inner = gtpu.ipv4(UE, PDN_IP, tos=2)
    frame = bytearray(t_pdu6(site, 0x1001, inner))
    frame[15] |= 3 << 4
    (got,) = site.uplink(bytes(frame))
    assert IP(got[14:]).tos & 3 == 3


def test_sessions_are_shown(site: Site) -> None:
    shown = site.lab.http("GET", f"/v1/sessions/ue-{UE}").json()
    assert shown["downlink"] == {"teid": DOWN, "remote_ip": ENB6}
    listed = site.lab.http("GET", f"/v1/sessions?peer={ENB6}").json()["items"]
    assert {each["ue_ip"] for each in listed} == {UE, UE_QFI, UE_EVEN}


@pytest.mark.parametrize(("ue", "by_api"), [(UE, True), (UE_QFI, True), (UE, False)])
def test_a_trace(site: Site, ue: str, by_api: bool) -> None:
    """Both ways, by the API or by the switch alone."""
    options = () if by_api else ("--url", "http://127.0.0.1:9")
    code, out, err = at_switch(site.lab, "--json", "trace", ue, *options)
    assert code in (0, 1), err  # what was lately seen of others' packets is told as well
    told = json.loads(out)
    assert told["known_by"] == ("api" if by_api else "switch")
    ways = {way["direction"]: way for way in told["ways"]}
    assert ways["uplink"]["packet"]["peer"] == ENB6
    assert [way["delivered"] for way in ways.values()] == [True, True]
    assert f"for {ENB6}, in tunnel" in ways["downlink"]["says"]
    said = " ".join(step["says"] for way in ways.values() for step in way["steps"])
    assert f"GTP-U to {ACCESS6}, and {ENB6} may send it" in said
    assert f"peer {ENB6}" in said
    assert f"{ACCESS6} > {ENB6}" in said


def test_a_trace_to_a_peer_that_does_not_answer(site: Site) -> None:
    name = site.session("10.45.0.80", teid=0x1080, downlink=DOWN + 0x80, peer="2001:db8:ac::80")
    code, out, _ = at_switch(site.lab, "--json", "trace", name)
    site.delete(name)
    down = next(way for way in json.loads(out)["ways"] if way["direction"] == "downlink")
    assert (code, down["delivered"], down["reason"]) == (1, False, "no_arp")
    assert "does not answer neighbour discovery on eth1" in down["says"]
    assert down["run"] == "tcpdump -ni eth1 icmp6"


def test_status_has_both_addresses(site: Site) -> None:
    code, out, _ = at_switch(site.lab, "status")
    assert code in (0, 1), "the next hop, which nobody is here, may not answer"
    assert f"{ACCESS6}/64" in out


def test_a_capture(site: Site) -> None:
    """What passes of a session, as GTP-U, though the switch sends it as GRE."""
    program = str(Path(sys.executable).parent / "ofgtp")
    command = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", program, "--json", "capture"]
    pipe = subprocess.PIPE
    capture = site.lab.spawn("gw", [*command, "-c", "2", UE], stdout=pipe, stderr=pipe, text=True)
    assert capture.stdout is not None and capture.stderr is not None
    assert "Ctrl-C ends it" in capture.stderr.readline()
    up, to_ue = gtpu.ipv4(UE, PDN_IP), gtpu.ipv4(PDN_IP, UE)
    assert len(site.uplink(t_pdu6(site, 0x1001, up))) == 1
    assert len(down(site, site.to_ue(to_ue))) == 1
    out, _ = capture.communicate(timeout=20)
    found = [json.loads(line) for line in out.splitlines()]
    assert [(each["way"], each["peer"], each["teid"], each["kind"]) for each in found] == [
        ("up", ENB6, 0x1001, "T-PDU"),
        ("down", ENB6, DOWN, "T-PDU"),
    ]


def test_conflicts_and_refusals(site: Site) -> None:
    body: dict[str, Any] = {
        "ue_ip": "10.45.0.77",
        "uplink": {"teid": 0x1077},
        "downlink": {"teid": DOWN, "remote_ip": ENB6},
    }

    def asked(**members: Any) -> tuple[int, str]:
        answer = site.lab.http("POST", "/v1/sessions", body | members)
        return answer.status, answer.json()["errors"][0]["loc"]

    assert asked() == (409, "downlink")
    for wrong in ("fe80::1", ACCESS6, "2001:db8:5::1", "::ffff:10.1.0.2", "ff02::1"):
        far = {"teid": 5, "remote_ip": wrong}
        assert asked(downlink=far) == (422, "downlink.remote_ip"), wrong


def test_a_control_plane_may_name_ipv6(site: Site) -> None:
    """F-TEIDs of both versions (CHV4, CHV6), a gNB that has IPv6, and the rules after a restart."""
    ue = "10.45.0.20"
    with smf.associated(site.lab) as cp:
        up = smf.uplink(9, qer_ids=(1,))
        both = v.ChooseFTeid(ipv4=True, ipv6=True, choose_id=5)
        up = up._replace(pdi=up.pdi._replace(local_fteid=both))
        far = smf.to_tunnel(0x7007, ENB6_V4)
        outer = v.OuterHeaderCreation(Creation.GTPU_UDP_IPV6, 0x7007, None, IPv6Address(ENB6))
        parameters = far.forwarding_parameters
        assert parameters is not None
        far = far._replace(forwarding_parameters=parameters._replace(outer_header_creation=outer))
        asked = smf.PfcpSession(cp, 0x6601)
        pdrs = up, smf.downlink(ue, qer_ids=(1,))
        _, answer = asked.establish(pdrs, (smf.to_core(), far), create_qers=(smf.qer(9),))
        assert answer.cause == 1, answer
        [created] = answer.created_pdrs
        assert str(created.local_fteid.ipv6) == ACCESS6
        teid = created.local_fteid.teid
        sent = gtpu.ipv4(ue, PDN_IP)
        container = bytes((1, 0x10, 9, 0))
        t_pdu = gtpu.message(gtpu.T_PDU, teid, container + sent, flags=0x34, extension=0x85)
        (got,) = site.uplink(from_enb6(site, t_pdu))
        assert got[14:] == sent
        back = gtpu.ipv4(PDN_IP, ue)
        (got,) = down(site, site.to_ue(back))
        assert (got[66:70], got[-len(back) :]) == ((0x7007).to_bytes(4, "big"), back)
        shown = site.lab.http("GET", f"/v1/sessions/pfcp-{asked.up_seid:016x}/rules").json()
        assert {"teid": 0x7007, "remote_ip": ENB6} in [each["tunnel"] for each in shown["fars"]]
        _, out, _ = at_switch(site.lab, "--json", "trace", ue)
        assert [way["packet"].get("peer") for way in json.loads(out)["ways"]] == [ENB6, None]
        assert asked.delete().cause == 1


def test_a_control_plane_answers_router_solicitations_over_ipv6(site: Site) -> None:
    """Its tunnel is to an IPv6 address: the solicitation goes there, after a restart as well."""
    with smf.associated(site.lab) as cp:
        ue = v.UeIpAddress(None, IPv6Address("2001:db8:a:9::"), destination=True)
        up, down = smf.uplink(), smf.downlink(UE)
        down = down._replace(pdi=down.pdi._replace(ue_ip_address=ue))
        rule = (v.SdfFilter("permit out 58 from ff02::2/128 to assigned"),)
        pdi = g.Pdi(Interface.ACCESS, up.pdi.local_fteid, sdf_filters=rule)
        asks = g.CreatePdr(4, 100, pdi, None, 3)
        outer = v.OuterHeaderCreation(Creation.GTPU_UDP_IPV6, 0x7009, None, IPv6Address(ENB6))
        to = g.ForwardingParameters(Interface.CP_FUNCTION, None, outer)
        fars = smf.to_core(), smf.idle(), g.CreateFar(3, Action.FORW, to)
        asked = smf.PfcpSession(cp, 0x6602)
        _, answer = asked.establish((up, down, asks), fars)
        assert answer.cause == 1, answer
        teid = answer.created_pdrs[0].local_fteid.teid
        solicitation = bytes(IPv6(src="fe80::7", dst="ff02::2", hlim=255) / ICMPv6ND_RS())

        def carried() -> bool:
            site.enb.send(t_pdu6(site, teid, solicitation))
            frames = [f for f in site.enb.all(0.3) if is_gtpu6(f) and f[63] == gtpu.T_PDU]
            wanted = (0x7009).to_bytes(4, "big")
            return any(f[66:70] == wanted and f.endswith(solicitation) for f in frames)

        until(carried, "the control plane gets it")
        site.lab.stop_controller()
        site.lab.start_controller((site.lab.dir / "ofgtp.toml").read_text())
        until(lambda: site.gateway()["in_sync"], "in sync")
        until(carried, "it gets it again")
        assert asked.delete().cause == 1


def test_a_restart_changes_nothing(site: Site) -> None:
    """With the tunnels the switch's own: the flows of before are known, and the peers."""
    inner = gtpu.ipv4(PDN_IP, UE)
    name = site.session("10.45.0.61", teid=0x1061, downlink=DOWN + 0x65, peer=ENB6)
    bearers(site, name, (6000, {"teid": DOWN + 0x66, "remote_ip": ENB6}))
    known = site.lab.ofctl("--no-stats", "dump-flows", "br-ofgtp", "table=70")
    site.lab.stop_controller()
    (got,) = down_without_marker(site, inner)
    assert got.endswith(inner)
    site.lab.start_controller((site.lab.dir / "ofgtp.toml").read_text())
    until(lambda: site.gateway()["in_sync"], "in sync")
    assert site.lab.ofctl("--no-stats", "dump-flows", "br-ofgtp", "table=70") == known
    found = peer_of(site, ENB6)
    assert found is not None
    assert found["sessions"] == 4
    assert len(down(site, site.to_ue(inner))) == 1
    assert teids(site, "10.45.0.61", 6000, 6002) == [DOWN + 0x66, DOWN + 0x65]
    site.delete(name)


def test_tshark_finds_checksums_good(site: Site) -> None:
    down(site, site.to_ue(gtpu.ipv4(PDN_IP, UE)))
    rows = list(tshark.rows(site.enb.seen, ["udp.checksum.status"], "ipv6 && udp.dstport == 2152"))
    assert rows
    assert {row[0].split(",")[0] for row in rows if row[0]} == {"1"}


def test_a_host_that_cannot_make_it_stays_with_ipv4(tmp_path: Path) -> None:
    """As an nft would that does not know what is asked of it: a reason, and IPv4 goes on; and what
    is mended is taken up again."""
    tool = tmp_path / "nft"
    refusing = tmp_path / "refusing"
    refusing.touch()
    tool.write_text(f"""#!/bin/bash
if [ "$1" = -f ] && [ -e {refusing} ]; then
    asked=$(cat)
    [[ $asked != *carried* ]] || {{ echo "Error: syntax error, unexpected goto" >&2; exit 1; }}
    exec {shutil.which("nft")} "$@" <<<"$asked"
fi
exec {shutil.which("nft")} "$@"
""")
    tool.chmod(0o755)
    with Lab() as lab:
        lab.environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
        config = lab.config(controller=own.SWITCH, gateway=f'access_ip6 = "{ACCESS6}/64"')
        site = Site(lab, config)
        site.ready()
        said = site.gateway()["problem"]
        assert "peers have IPv4 only" in said and "syntax error" in said, said
        body = {
            "ue_ip": UE,
            "uplink": {"teid": 0x1001},
            "downlink": {"teid": DOWN, "remote_ip": ENB6},
        }
        answer = lab.http("PUT", "/v1/sessions/six", body)
        assert answer.status == 503 and "peers have IPv4 only" in str(answer.json())
        assert lab.http("GET", "/v1/sessions/six").status == 404
        site.session(UE4, teid=0x1002, downlink=0x2002)
        inner = gtpu.ipv4(PDN_IP, UE4)
        (got,) = site.downlink(site.to_ue(inner))
        assert got.endswith(inner)
        refusing.unlink()
        until(lambda: site.gateway()["problem"] is None, "it is taken up again", timeout=60)
        site.session(UE, teid=0x1001, downlink=DOWN, peer=ENB6)
        resolve(site)
        site.alive()
