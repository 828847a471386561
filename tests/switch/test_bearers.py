"""Bearers on a real switch: filters choose the tunnel downlink, and are held to uplink."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Packet

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import ENB_IP, PDN_IP, Site, until

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
        for packet in (other, voice):  # in the session's own tunnel each may go
            assert [f[14:] for f in site.uplink(site.t_pdu(UP, packet))] == [packet]
    site.check_sent()


def test_fragments_match_no_filter_with_ports(site: Site, bearers: str) -> None:
    first = up(UDP(sport=40000, dport=5004), flags="MF")
    with site.counted(wrong_bearer=1):
        assert site.uplink(site.t_pdu(0x1002, first)) == []
    assert teid_of(site, down(UDP(sport=5004, dport=40000), flags="MF")) == DOWN


def test_qos_flows(site: Site) -> None:
    """One tunnel, two QFIs: of each packet the QFI of the bearer whose filters match it."""
    flow = {"id": "voice", "precedence": 10, "qfi": 1, "filters": VOICE["filters"]}
    name = site.session(UE, teid=UP, downlink=DOWN, qfi=9, qfi_check=True, bearers=[flow])
    site.warm("enb", UE, DOWN)
    for port, qfi, other in ((5004, 1, 9), (6000, 9, 1)):
        [frame] = site.downlink(site.to_ue(down(UDP(sport=port, dport=40000))))
        assert gtpu.decode(frame).inner[:4] == bytes([1, 0, qfi, 0])
        packet = up(UDP(sport=40000, dport=port))
        for sent, passes in ((qfi, True), (other, False)):
            body = bytes([1, 0x10, sent, 0]) + packet
            message = gtpu.t_pdu(UP, body, flags=gtpu.PLAIN | gtpu.E, extension=0x85)
            with site.counted(wrong_qfi=not passes):
                got = site.uplink(site.from_enb(message))
            assert [f[14:] for f in got] == [packet] * passes
    site.delete(name)


def test_a_bearer_whose_peer_does_not_know_it(site: Site, bearers: str) -> None:
    """An Error Indication stops that bearer alone."""
    elements = b"\x10" + (0x2002).to_bytes(4, "big") + b"\x85\0\x04" + bytes([10, 1, 0, 2])
    said = gtpu.message(gtpu.ERROR_INDICATION, 0, elements, flags=gtpu.PLAIN | gtpu.S)
    site.enb.send(site.from_enb(said))

    def indicated() -> dict[str, bool]:
        shown = site.lab.http("GET", f"/v1/sessions/{bearers}/bearers").json()["items"]
        return {each["id"]: each["error_indicated"] for each in shown}

    until(lambda: indicated() == {"voice": True, "web": False}, "the bearer is stopped")
    with site.counted(error_indicated=1):
        assert site.downlink(site.to_ue(down(UDP(sport=5004, dport=40000)))) == []
    assert teid_of(site, down(TCP(sport=80, dport=40000))) == 0x2003
    site.patch(bearers, {"bearers": [VOICE, WEB]})
    assert teid_of(site, down(UDP(sport=5004, dport=40000))) == 0x2002


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


def test_framed_routes(site: Site) -> None:
    """Packets of a network behind the UE are as its own, to filters too."""
    name = site.session(
        UE, teid=UP, downlink=DOWN, bearers=[VOICE], framed_routes=["192.168.7.0/24"]
    )
    site.warm("enb", UE, DOWN)
    voice = down(UDP(sport=5004, dport=40000), dst="192.168.7.9")
    assert teid_of(site, voice) == 0x2002
    assert teid_of(site, down(ICMP(), dst="192.168.7.200")) == DOWN
    packet = up(UDP(sport=40000, dport=5004), src="192.168.7.9")
    for teid in (0x1002, UP):
        assert [f[14:] for f in site.uplink(site.t_pdu(teid, packet))] == [packet]
    beside = up(ICMP(), src="192.168.8.9")
    with site.counted(no_uplink_session=1, seen_spoofed_source=1):
        assert site.uplink(site.t_pdu(UP, beside)) == []
    site.delete(name)
    with site.counted(core_other=1):
        assert site.downlink(site.to_ue(voice)) == []
