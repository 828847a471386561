"""UEs with IPv6, by a real switch and real packets: alone and beside IPv4."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import UpFeatures
from tests.support import gtpu, smf, tshark
from tests.support.lab import Lab
from tests.support.site import ENB_IP, Site, answer6, is_gtpu, until
from tests.support.smf import ControlPlane, PfcpSession

pytestmark = pytest.mark.switch

CORE, HOP = "2001:db8:c::1", "2001:db8:c::2"
POOL, PREFIX, UE, PDN = (
    "2001:db8:a::/48",
    "2001:db8:a:1::/64",
    "2001:db8:a:1::7",
    "2001:db8:ffff::1",
)
UE4 = "10.45.0.2"
UP, DOWN = 0x1001, 0x2001


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        smf.n4(lab)
        config = lab.config(gateway=smf.CONFIG).replace(
            'ue_pools = ["10.45.0.0/16"]',
            f'ue_pools = ["10.45.0.0/16", "{POOL}"]\ncore_ip6 = "{CORE}/64"\nnext_hop6 = "{HOP}"',
        )
        site = Site(lab, config)
        site.ready()
        answer6(site, HOP, CORE)
        site.session(UE4, teid=UP, downlink=DOWN, ue_ipv6=PREFIX)
        yield site
        site.alive()
        site.check_sent()


def packet(*layers: Packet, src: str = UE, dst: str = PDN, hops: int = 64) -> bytes:
    made = IPv6(src=src, dst=dst, hlim=hops)
    for layer in layers or (UDP(sport=4000, dport=5000), Raw(bytes(40))):
        made /= layer
    return bytes(made)


PACKETS = {
    "UDP": packet(),
    "TCP": packet(TCP(sport=1, dport=80), Raw(b"x")),
    "ping": packet(ICMPv6EchoRequest(data=b"hello")),
    "options": packet(IPv6ExtHdrHopByHop(), UDP(), Raw(b"x")),
    "first fragment": packet(IPv6ExtHdrFragment(m=1, nh=17), UDP(), Raw(bytes(40))),
    "later fragment": packet(IPv6ExtHdrFragment(offset=6, nh=17), Raw(bytes(40))),
    "ESP": packet(Raw(bytes(60))),
    "no next header": bytes(IPv6(src=UE, dst=PDN, nh=59)),
    **{f"hop limit {hops}": packet(hops=hops) for hops in (1, 63, 64, 100, 255)},
}


@pytest.mark.parametrize("name", PACKETS)
@pytest.mark.parametrize("flags", (gtpu.PLAIN, gtpu.PLAIN | 2, gtpu.PLAIN | 1, gtpu.PLAIN | 3))
def test_uplink(site: Site, name: str, flags: int) -> None:
    with site.counted():
        [frame] = site.uplink(site.t_pdu(UP, PACKETS[name], flags=flags))
    assert frame[14:] == PACKETS[name]
    assert (Ether(frame).dst, Ether(frame).src) == (site.pdn_mac, site.core_mac)


@pytest.mark.parametrize("name", PACKETS)
def test_downlink(site: Site, name: str) -> None:
    inner = bytearray(PACKETS[name])
    inner[8:24], inner[24:40] = inner[24:40], inner[8:24]
    frame = bytes(Ether(src=site.pdn_mac, dst=site.core_mac, type=0x86DD)) + bytes(inner)
    [got] = [gtpu.decode(each) for each in site.downlink(frame)]
    assert (got.teid, got.inner) == (DOWN, bytes(inner))


def test_ipv4_beside_it(site: Site) -> None:
    inner = gtpu.ipv4(UE4, "10.2.0.2")
    assert [frame[14:] for frame in site.uplink(site.t_pdu(UP, inner))] == [inner]


@pytest.mark.parametrize("source", ("2001:db8:a:2::7", "fe80::1", "::"))
def test_spoofed(site: Site, source: str) -> None:
    with site.counted(no_uplink_session=1, seen_spoofed_source=1):
        assert site.uplink(site.t_pdu(UP, packet(src=source))) == []


def test_the_gateway_answers_neighbours_and_pings(site: Site) -> None:
    head = Ether(src=site.pdn_mac, dst="33:33:ff:00:00:01")
    asked = head / IPv6(src=HOP, dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=CORE)
    asked /= ICMPv6NDOptSrcLLAddr(lladdr=site.pdn_mac)
    read = heard(site, bytes(asked), ICMPv6ND_NA)
    told = read[ICMPv6ND_NA]
    assert (read.src, read.dst) == (site.core_mac, site.pdn_mac)
    assert (read[IPv6].src, read[IPv6].dst, read[IPv6].hlim) == (CORE, HOP, 255)
    assert (told.tgt, told.R, told.S, told.O) == (CORE, 1, 1, 1)
    assert read[ICMPv6NDOptDstLLAddr].lladdr == site.core_mac
    probe = head / IPv6(src="::", dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=CORE)
    read = heard(site, bytes(probe), ICMPv6ND_NA)
    assert (read.dst, read[IPv6].dst, read[ICMPv6ND_NA].S) == ("33:33:00:00:00:01", "ff02::1", 0)
    ping = Ether(src=site.pdn_mac, dst=site.core_mac) / IPv6(src=HOP, dst=CORE)
    read = heard(site, bytes(ping / ICMPv6EchoRequest(id=7, seq=9, data=b"abc")), ICMPv6EchoReply)
    assert (read[IPv6].src, read[IPv6].dst) == (CORE, HOP)
    assert bytes(read[ICMPv6EchoReply].data) == b"abc"


@pytest.mark.parametrize(("qfi", "mtu"), ((None, 1464), (9, 1456), (10, 1456)))
def test_too_big_downlink(site: Site, qfi: int | None, mtu: int) -> None:
    """Its sender is told what fits this UE's tunnel."""
    site.session(UE4, teid=UP, downlink=DOWN, ue_ipv6=PREFIX, qfi=qfi, qfi_required=False)
    site.empty_cache()
    sent = packet(UDP(), Raw(bytes(mtu - 48 + 1)), src=PDN, dst=UE)
    head = bytes(Ether(src=site.pdn_mac, dst=site.core_mac, type=0x86DD))
    read = heard(site, head + sent, ICMPv6PacketTooBig)
    assert (read[IPv6].src, read[IPv6].dst, read[ICMPv6PacketTooBig].mtu) == (CORE, PDN, mtu)
    fits = packet(UDP(), Raw(bytes(mtu - 48)), src=PDN, dst=UE)
    [got] = [gtpu.decode(each) for each in site.downlink(head + fits)]
    assert got.inner[-mtu:] == fits


@pytest.fixture(scope="module")
def cp(site: Site) -> Iterator[ControlPlane]:
    with ControlPlane(site.lab) as cp:
        answer = cp.associate()
        assert answer.cause == 1
        assert {UpFeatures.FRRT, UpFeatures.IP6PL} <= {*UpFeatures(answer.up_features or 0)}
        yield cp
        assert smf.judge(cp)


_seids = itertools.count(0x7000)


def asked(cp: ControlPlane, ue: v.UeIpAddress) -> PfcpSession:
    """A session of 5G with this address, as a core asks for it."""
    pdrs = smf.uplink(9, qer_ids=(1,)), smf.downlink(UE4, qer_ids=(1,))
    down = pdrs[1]._replace(pdi=pdrs[1].pdi._replace(ue_ip_address=ue))
    fars = smf.to_core(), smf.to_tunnel(0x3001, ENB_IP["enb"])
    return cp.establish((pdrs[0], down), fars, create_qers=(smf.qer(9),))


@pytest.mark.parametrize("ipv4", (IPv4Address("10.45.0.9"), None))
def test_a_control_plane_gives_a_prefix(
    site: Site, cp: ControlPlane, ipv4: IPv4Address | None
) -> None:
    ue = v.UeIpAddress(ipv4, IPv6Address("2001:db8:a:9::"), destination=True)
    session = asked(cp, ue)
    teid = session.teids[1]
    sent = packet(src="2001:db8:a:9::1")
    container = bytes((1, 0x10, 9, 0))
    t_pdu = gtpu.message(gtpu.T_PDU, teid, container + sent, flags=0x34, extension=0x85)
    assert [f[14:] for f in site.uplink(site.from_enb(t_pdu))] == [sent]
    back = packet(src=PDN, dst="2001:db8:a:9:1:2:3:4")
    frame = bytes(Ether(src=site.pdn_mac, dst=site.core_mac, type=0x86DD)) + back
    [got] = [gtpu.decode(f) for f in site.downlink(frame) if is_gtpu(f, 0x3001)]
    assert got.inner == bytes((1, 0, 9, 0)) + back
    shown = site.lab.http("GET", f"/v1/sessions/pfcp-{session.up_seid:016x}").json()
    assert shown["ue_ipv6"] == "2001:db8:a:9::/64"
    assert shown.get("ue_ip") == (None if ipv4 is None else str(ipv4))
    assert session.delete().cause == 1
    with site.counted(unknown_ue=1):
        site.pdn.send(frame)


@pytest.mark.parametrize(
    ("ipv6", "more"),
    [
        ("2001:db8:b::", {}),
        ("2001:db8:8847::", {}),
        ("2001:db8:a:1::", {}),
        ("2001:db8:a::", {"prefix_length": 40}),
    ],
)
def test_a_prefix_that_cannot_be(
    site: Site, cp: ControlPlane, ipv6: str, more: dict[str, Any]
) -> None:
    ue = v.UeIpAddress(None, IPv6Address(ipv6), destination=True, **more)
    pdrs = smf.uplink(), smf.downlink(UE4)
    down = pdrs[1]._replace(pdi=pdrs[1].pdi._replace(ue_ip_address=ue))
    fars = smf.to_core(), smf.to_tunnel(0x3002, ENB_IP["enb"])
    _, answer = PfcpSession(cp, next(_seids)).establish((pdrs[0], down), fars)
    assert answer.cause != 1


def heard(site: Site, frame: bytes, layer: type[Packet]) -> Packet:
    site.pdn.all()
    site.pdn.send(frame)
    got: list[Packet] = []

    def come() -> bool:
        octets = [each for each in site.pdn.all(0.1) if layer in Ether(each)]
        got.extend(map(Ether, octets))
        assert tshark.complaints(octets) == []
        return bool(got)

    until(come, layer.__name__)
    return got[0]
