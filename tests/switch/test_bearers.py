"""Bearers on a real switch: filters choose the tunnel downlink, and are held to uplink."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Packet

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import ENB_IP, PDN_IP, Site

pytestmark = pytest.mark.switch

UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
VOICE = {
    "id": "voice",
    "precedence": 10,
    "filters": ["permit out udp from 10.2.0.0/24 5004-5060 to assigned"],
    "uplink": {"teid": 0x1002},
    "downlink": {"teid": 0x2002, "remote_ip": ENB_IP["enb"]},
}
WEB = {
    "id": "web",
    "precedence": 20,
    "filters": [{"protocol": "tcp", "remote_ports": "80,443,8000-8080"}],
    "downlink": {"teid": 0x2003, "remote_ip": ENB_IP["enb"]},
}
MARKED = {"id": "marked", "precedence": 5, "filters": [{"dscp": 46}]}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab)
        site.ready()
        yield site


@pytest.fixture
def bearers(site: Site) -> Iterator[str]:
    name = site.session(UE, teid=UP, downlink=DOWN, bearers=[VOICE, WEB])
    site.warm("enb", UE, DOWN)
    yield name
    site.delete(name)


def down(layer: Packet, **ip: Any) -> bytes:
    return bytes(IP(**({"src": PDN_IP, "dst": UE, "ttl": 64} | ip)) / layer / bytes(30))


def up(layer: Packet, **ip: Any) -> bytes:
    return bytes(IP(**({"src": UE, "dst": PDN_IP, "ttl": 64} | ip)) / layer / bytes(30))


def teid_of(site: Site, packet: bytes) -> int:
    [frame] = site.downlink(site.to_ue(packet))
    got = gtpu.decode(frame)
    assert got.inner == packet
    return got.teid


@pytest.mark.parametrize(
    ("layer", "teid"),
    [
        (UDP(sport=5004, dport=40000), 0x2002),
        (UDP(sport=5060, dport=40000), 0x2002),
        (UDP(sport=5061, dport=40000), DOWN),
        (UDP(sport=5003, dport=40000), DOWN),
        (TCP(sport=80, dport=40000), 0x2003),
        (TCP(sport=8000, dport=40000), 0x2003),
        (TCP(sport=8080, dport=40000), 0x2003),
        (TCP(sport=8081, dport=40000), DOWN),
        (TCP(sport=5004, dport=40000), DOWN),
        (ICMP(), DOWN),
    ],
)
def test_downlink(site: Site, bearers: str, layer: Packet, teid: int) -> None:
    assert teid_of(site, down(layer)) == teid


def test_uplink(site: Site, bearers: str) -> None:
    voice = up(UDP(sport=40000, dport=5004))
    for ttl in (64, 100, 128):
        voice = up(UDP(sport=40000, dport=5004), ttl=ttl)
        assert [f[14:] for f in site.uplink(site.t_pdu(0x1002, voice))] == [voice]
        other = up(UDP(sport=40000, dport=6000), ttl=ttl)
        with site.counted(wrong_bearer=1):
            assert site.uplink(site.t_pdu(0x1002, other)) == []
        assert [f[14:] for f in site.uplink(site.t_pdu(UP, other))] == [other]
    site.check_sent()


def test_change_under_traffic(site: Site, bearers: str) -> None:
    """Closed, open again, and other filters: held at once."""
    packet = up(UDP(sport=40000, dport=5004), ttl=128)
    frame = site.t_pdu(0x1002, packet)
    assert site.uplink(*[frame] * 20)
    for change, passes in (
        ({"gate": "closed"}, False),
        ({"gate": "open"}, True),
        ({"filters": ["permit out udp from any 6000 to assigned"]}, False),
        ({"filters": VOICE["filters"]}, True),
        ({"mbr": {"uplink_kbps": 50000}}, True),
        ({"gate": "downlink"}, False),
        ({}, True),
    ):
        site.patch(bearers, {"bearers": [VOICE | change, WEB]})
        site.cache_follows(frame, passes=passes)
        assert len(site.uplink(*[frame] * 20)) == 20 * passes, change
