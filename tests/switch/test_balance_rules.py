"""Of sessions of rules, too, every frame that comes in has one end, and that has a name."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, TCP, UDP

from tests.support import gtpu
from tests.support.balance import ENDS, balanced, settled
from tests.support.gtpu import PLAIN, E, S
from tests.support.lab import Lab
from tests.support.site import ENB_IP, PDN_IP, Site

pytestmark = pytest.mark.switch

UE, OTHER, RATED, ROUTED = "10.45.0.2", "10.45.0.3", "10.45.0.4", "192.168.7.9"
UP, VOICE, WEB, RATED_UP = 0x1001, 0x1101, 0x1102, 0x1004
FROM_RAN, FROM_CORE, IDLE_RAN, IDLE_CORE = 0x5001, 0x5002, 0x5003, 0x5004
EACH = 3
"""Frames of each kind."""
BEARERS = [
    {
        "id": "voice",
        "precedence": 10,
        "filters": ["permit out udp from any 5004 to assigned"],
        "uplink": {"teid": VOICE},
        "downlink": {"teid": 0x2101, "remote_ip": ENB_IP["enb"]},
    },
    {
        "id": "web",
        "precedence": 20,
        "filters": ["permit out tcp from any 80 to assigned"],
        "uplink": {"teid": WEB},
        "gate": "closed",
    },
    {
        "id": "idle",
        "precedence": 30,
        "filters": ["permit out udp from any 7000 to assigned"],
        "downlink": None,
    },
]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """With sessions of each sort."""
    with Lab() as lab:
        site = Site(lab, lab.config(decrement_ttl=True))
        site.ready()
        site.session(
            UE, teid=UP, downlink=0x2001, bearers=BEARERS, framed_routes=["192.168.7.0/24"]
        )
        site.session(OTHER, teid=0x1003, downlink=0x2003)
        site.session(
            RATED,
            teid=RATED_UP,
            downlink=0x2004,
            ambr={"uplink_kbps": 64, "downlink_kbps": 64},
        )
        for name, teid, core, far in (
            ("relay", FROM_RAN, FROM_CORE, {"teid": 0x2005, "remote_ip": ENB_IP["enb"]}),
            ("idle-relay", IDLE_RAN, IDLE_CORE, None),
        ):
            body = {
                "id": name,
                "uplink": {"teid": teid},
                "downlink": far,
                "core": {"teid": core, "remote_teid": teid + 0x1000, "remote_ip": ENB_IP["enb"]},
            }
            assert lab.http("PUT", f"/v1/sessions/{name}", body).status == 201
        yield site
        site.alive()


def udp(source: str, target: str, sport: int = 9, dport: int = 9, **fields: int) -> bytes:
    return bytes(IP(src=source, dst=target, **fields) / UDP(sport=sport, dport=dport) / bytes(60))


def tcp(source: str, target: str, sport: int = 9, dport: int = 9) -> bytes:
    return bytes(IP(src=source, dst=target) / TCP(sport=sport, dport=dport) / bytes(60))


def access_kinds(site: Site) -> Iterator[tuple[str, bytes]]:
    """Frames for the access port, each with what becomes of it."""
    yield "packets uplink", site.t_pdu(UP, udp(UE, PDN_IP))
    yield "packets uplink", site.t_pdu(UP, udp(ROUTED, PDN_IP))
    yield "packets uplink", site.t_pdu(VOICE, udp(UE, PDN_IP, dport=5004))
    yield "drops wrong_bearer", site.t_pdu(VOICE, udp(UE, PDN_IP, dport=5005))
    yield "drops wrong_bearer", site.t_pdu(VOICE, tcp(UE, PDN_IP, dport=5004))
    yield "drops gate_closed", site.t_pdu(WEB, tcp(UE, PDN_IP, dport=80))
    yield "drops no_uplink_session", site.t_pdu(VOICE, udp(OTHER, PDN_IP, dport=5004))
    yield "drops ue_to_ue", site.t_pdu(0x1003, udp(OTHER, ROUTED))
    yield "drops ue_to_ue", site.t_pdu(0x1003, udp(OTHER, UE))
    yield "drops ttl_expired", site.t_pdu(UP, udp(UE, PDN_IP, ttl=0))
    yield "drops ttl_expired", site.t_pdu(0x1003, udp(OTHER, PDN_IP, ttl=0))
    # a relay without a tunnel to the base station, by the short way and the long one
    for flags in (PLAIN, PLAIN | S):
        yield "drops idle_ue", site.t_pdu(IDLE_CORE, udp(PDN_IP, UE), flags=flags)


def core_kinds(site: Site) -> Iterator[tuple[str, bytes]]:
    """Likewise for the core port."""
    yield "packets downlink", site.to_ue(udp(PDN_IP, UE))
    yield "packets downlink", site.to_ue(udp(PDN_IP, ROUTED))
    yield "packets downlink", site.to_ue(udp(PDN_IP, UE, sport=5004))
    yield "drops gate_closed", site.to_ue(tcp(PDN_IP, UE, sport=80))
    yield "drops idle_ue", site.to_ue(udp(PDN_IP, UE, sport=7000))
    yield "drops core_other", site.to_ue(udp(PDN_IP, "192.168.8.9"))
    for ue in (UE, ROUTED, OTHER):
        for ttl in (0, 1):
            yield "drops ttl_expired", site.to_ue(udp(PDN_IP, ue, ttl=ttl))
        # what is too big is nothing else, whatever would have become of it
        yield "drops too_big", site.to_ue(sized(udp(PDN_IP, ue), 1500))
    for packet in (udp(PDN_IP, UE, sport=5004), udp(PDN_IP, UE, sport=7000)):
        yield "drops too_big", site.to_ue(sized(packet, 1500))
    yield "drops too_big", site.to_ue(sized(tcp(PDN_IP, UE, sport=80), 1500))


def sized(packet: bytes, size: int) -> bytes:
    """The same with so many octets."""
    it = IP(packet)
    del it.len, it.chksum
    return bytes(it / bytes(size - len(packet)))


@pytest.mark.parametrize("port", ["access", "core"])
def test_each_kind_has_its_name(site: Site, port: str) -> None:
    kinds = list({"access": access_kinds, "core": core_kinds}[port](site))
    before = settled(site)
    wire = {"access": site.enb, "core": site.pdn}[port]
    for _, frame in kinds:
        wire.send(*[frame] * EACH)
        time.sleep(0.005)
    found = balanced(site, before)
    ends = {n: c for n, c in found.items() if n.startswith(ENDS) and n != "own arp"}
    assert ends == Counter(name for name, _ in kinds for _ in range(EACH))


def test_what_the_gateway_answers_a_ue_is_downlink(site: Site) -> None:
    """Time Exceeded leaves in the UE's tunnel, and has come in by no port."""
    before = settled(site)
    site.enb.send(*[site.t_pdu(0x1003, udp(OTHER, PDN_IP, ttl=1))] * EACH)
    now = settled(site)
    now.subtract(before)
    assert (now["drops", "ttl_expired"], now["packets", "downlink"]) == (EACH, EACH)


@pytest.mark.parametrize("flags", [PLAIN, PLAIN | S, PLAIN | E])
@pytest.mark.parametrize("teid", [FROM_RAN, FROM_CORE])
def test_what_a_relay_sends_on_is_uplink_and_downlink(site: Site, teid: int, flags: int) -> None:
    before = settled(site)
    container = b"\x01\x10\x09\x00" if flags & E else b""
    message = gtpu.t_pdu(teid, container + udp(UE, PDN_IP), flags=flags, extension=0x85)
    site.enb.send(*[site.from_enb(message)] * EACH)
    now = settled(site)
    now.subtract(before)
    assert (now["packets", "uplink"], now["packets", "downlink"]) == (EACH, EACH)
    assert not [key for key, count in now.items() if key[0] == "drops" and count]


@pytest.mark.parametrize("way", ["uplink", "downlink"])
def test_what_is_over_a_rate(site: Site, way: str) -> None:
    """It is not among what was forwarded."""
    before, sent = settled(site), 400
    if way == "uplink":
        frame = site.t_pdu(RATED_UP, sized(udp(RATED, PDN_IP), 1000))
    else:
        frame = site.to_ue(sized(udp(PDN_IP, RATED), 1000))
    wire = site.enb if way == "uplink" else site.pdn
    for _ in range(sent // 20):
        wire.send(*[frame] * 20)
        time.sleep(0.01)
    found = balanced(site, before)
    assert 0 < found[f"packets {way}"] < sent / 4
    # On a busy machine the port's queue is full at times.
    overrun = found.get(f"drops {'access' if way == 'uplink' else 'core'}_not_taken", 0)
    assert found["drops rate_exceeded"] == sent - overrun - found[f"packets {way}"]
    assert overrun < sent / 2
