"""What docs/bearers.md says of the limits of relays, and of who keeps a TTL, with real packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP

from tests.support import gtpu
from tests.support.gtpu import PLAIN, E, S
from tests.support.lab import Lab
from tests.support.site import ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

UE, OTHER_UE, FAR = "10.45.0.9", "10.45.0.8", "198.51.100.7"
UP, DOWN, CORE_UP, CORE = 0x1009, 0x2009, 0x6009, 0x5009
CE, ECT_0 = 3, 2
UPLINK, DELAYED = bytes.fromhex("01100900"), bytes.fromhex("0212090000000700")
DOWNLINK, REFLECTIVE = bytes.fromhex("01000c00"), bytes.fromhex("01004c00")
"""Containers with QFI 9 and 12; one with a delay of 7 ms, one with RQI."""
NO_IP = b"\xa5" * 60


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab, lab.config(gateway='ue_to_ue = "route"', decrement_ttl=True))
        site.ready()
        yield site


@pytest.fixture
def relay(site: Site) -> Iterator[str]:
    name = relay_of(site)
    yield name
    site.delete(name)


def relay_of(site: Site, **members: Any) -> str:
    body = {
        "id": "relay",
        "uplink": {"teid": UP},
        "downlink": {"teid": DOWN, "remote_ip": ENB_IP["enb"]},
        "core": {"teid": CORE, "remote_teid": CORE_UP, "remote_ip": ENB_IP["enb2"]},
        **members,
    }
    answer = site.lab.http("PUT", "/v1/sessions/relay", body)
    assert answer.status == 201 and answer.json()["state"] == "active", answer.body
    if "qfi" in members:
        packet = extended(UP, UPLINK, gtpu.ipv4(UE, FAR))
    else:
        packet = gtpu.t_pdu(UP, gtpu.ipv4(UE, FAR))
    until(lambda: onward(site, packet), "the relay works")
    until(lambda: back(site, gtpu.t_pdu(CORE, gtpu.ipv4(FAR, UE))), "and the other way")
    return "relay"


def extended(teid: int, container: bytes, inner: bytes, flags: int = E) -> bytes:
    return gtpu.message(gtpu.T_PDU, teid, container + inner, flags=PLAIN | flags, extension=0x85)


def onward(site: Site, message: bytes, **outer: int) -> list[bytes]:
    """What comes out on the core side of what the base station sends, as GTP-U messages."""
    return _through(site, message, CORE_UP, "enb", "enb2", **outer)


def back(site: Site, message: bytes, **outer: int) -> list[bytes]:
    """What comes out at the base station of what the core side sends."""
    return _through(site, message, DOWN, "enb2", "enb", **outer)


def _through(
    site: Site, message: bytes, teid: int, sender: str, receiver: str, **outer: int
) -> list[bytes]:
    site.enbs[receiver].all()
    site.enbs[sender].send(site.from_enb(message, enb=sender, **outer))
    site.uplink()
    got = [each for each in site.enbs[receiver].all(0.05) if is_gtpu(each, teid)]
    return [each[42 : 14 + int.from_bytes(each[16:18], "big")] for each in got]


def test_the_short_way_takes_what_is_no_ip(site: Site, relay: str) -> None:
    with site.counted():
        assert onward(site, gtpu.t_pdu(UP, NO_IP)) == [gtpu.t_pdu(CORE_UP, NO_IP)]
        assert back(site, extended(CORE, REFLECTIVE, NO_IP)) == [extended(DOWN, REFLECTIVE, NO_IP)]


@pytest.mark.parametrize(("flags", "outer"), [(S, {}), (0, {"tos": CE}), (0, {"tos": 1})])
def test_the_long_way_takes_ip_alone(site: Site, relay: str, flags: int, outer: Any) -> None:
    with site.counted(not_ip=1):
        assert onward(site, gtpu.t_pdu(UP, NO_IP, flags=PLAIN | flags), **outer) == []
    packet = gtpu.ipv4(UE, FAR, ttl=1, tos=ECT_0)
    [got] = onward(site, gtpu.t_pdu(UP, packet, flags=PLAIN | flags), **outer)
    assert got[0] == PLAIN and IP(got[8:]).ttl == 1


@pytest.mark.parametrize(
    ("container", "left"), [(UPLINK, UPLINK), (DELAYED, UPLINK), (REFLECTIVE, DOWNLINK)]
)
def test_a_marked_container_keeps_qfi_and_type(
    site: Site, relay: str, container: bytes, left: bytes
) -> None:
    packet = gtpu.ipv4(FAR, UE, tos=ECT_0)
    [got] = back(site, extended(CORE, container, packet), tos=CE)
    marked = bytes(IP(gtpu.ipv4(FAR, UE, tos=CE)))
    assert got == extended(DOWN, left, marked)[:8] + bytes.fromhex("00000085") + left + marked


def test_numbered_with_a_container(site: Site, relay: str) -> None:
    packet = gtpu.ipv4(FAR, UE)
    [got] = back(site, extended(CORE, UPLINK, packet, E | S))
    assert got == extended(DOWN, UPLINK, packet)[:8] + bytes.fromhex("00000085") + UPLINK + packet
    with site.counted(extension_header=1):
        assert back(site, extended(CORE, DOWNLINK, packet, E | S)) == []


def test_breakout_with_a_qfi(site: Site) -> None:
    """The check is for what leaves here, not for what goes on; the source is for both."""
    name = relay_of(site, ue_ip=UE, breakout=["10.2.0.0/24"], qfi=9, qfi_check=True)
    wrong = bytes.fromhex("01100800")
    local, far = gtpu.ipv4(UE, PDN_IP, ttl=2), gtpu.ipv4(UE, FAR, ttl=1)
    [frame] = site.uplink(site.from_enb(extended(UP, UPLINK, local)))
    assert IP(frame[14:]).ttl == 1
    with site.counted(wrong_qfi=1):
        assert site.uplink(site.from_enb(extended(UP, wrong, local))) == []
    with site.counted(container_missing=1):
        assert site.uplink(site.t_pdu(UP, local)) == []
    with site.counted():
        [got] = onward(site, extended(UP, wrong, far))
        assert got[12:] == wrong + far
        assert onward(site, gtpu.t_pdu(UP, far)) == [gtpu.t_pdu(CORE_UP, far)]
    with site.counted(no_uplink_session=1, seen_spoofed_source=1):
        assert onward(site, extended(UP, UPLINK, gtpu.ipv4(OTHER_UE, FAR))) == []
    site.delete(name)


def test_from_ue_to_ue_the_ttl_stays(site: Site) -> None:
    names = [
        site.session(UE, teid=UP, downlink=DOWN),
        site.session(OTHER_UE, teid=0x1008, downlink=0x2008),
    ]
    site.warm("enb", UE, DOWN)
    packet = gtpu.ipv4(OTHER_UE, UE, ttl=1)
    with site.counted():
        [frame] = site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, UE, ttl=2)))
        assert IP(gtpu.decode(frame).inner).ttl == 1
        site.enb.all()
        site.uplink(site.t_pdu(0x1008, packet))
        [frame] = [f for f in site.enb.all(0.05) if is_gtpu(f, DOWN)]
        assert gtpu.decode(frame).inner == packet
    for name in names:
        site.delete(name)
