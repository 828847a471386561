"""The gateway is a router: it takes 1 off the TTL, and tells senders whose packets end here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import CORE_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
UE_5G, UP_5G, DOWN_5G = "10.45.0.3", 0x1003, 0x2003


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        site = Site(lab, lab.config(decrement_ttl=True))
        site.ready()
        site.session(UE, teid=UP, downlink=DOWN)
        site.session(UE_5G, teid=UP_5G, downlink=DOWN_5G, qfi=9, qfi_required=False)
        site.warm("enb", UE, DOWN)
        yield site


def less(packet: bytes) -> bytes:
    made = IP(packet)
    made.ttl -= 1
    del made.chksum
    return bytes(made)


@pytest.mark.parametrize("ttl", [2, 64, 79, 80, 96, 111, 128, 255])
def test_once_less_both_ways(site: Site, ttl: int) -> None:
    up = gtpu.ipv4(UE, PDN_IP, ttl=ttl)
    [frame] = site.uplink(site.t_pdu(UP, up))
    assert frame[14:] == less(up)
    down = gtpu.ipv4(PDN_IP, UE, ttl=ttl)
    [frame] = site.downlink(site.to_ue(down))
    assert gtpu.decode(frame).inner == less(down)


@pytest.mark.parametrize(("ue", "teid", "down"), [(UE, UP, DOWN), (UE_5G, UP_5G, DOWN_5G)])
@pytest.mark.parametrize("ttl", [0, 1])
def test_a_ue_is_told(site: Site, ue: str, teid: int, down: int, ttl: int) -> None:
    packet = gtpu.ipv4(ue, PDN_IP, ttl=ttl)
    site.enb.all(0.05)
    with site.counted(ttl_expired=1):
        assert site.uplink(site.t_pdu(teid, packet)) == []
    if ttl == 0:
        return
    told: list[bytes] = []

    def comes() -> bool:
        told.extend(frame for frame in site.enb.all(0.05) if is_gtpu(frame, down))
        return bool(told)

    until(comes, "the UE is told")
    inner = gtpu.decode(told[0]).inner
    answer = IP(inner[inner.index(b"\x45") :])
    assert (answer.src, answer.dst, answer[ICMP].type, answer[ICMP].code) == (CORE_IP, ue, 11, 0)
    assert bytes(answer[ICMP].payload)[:28] == packet[:28]


def test_a_sender_in_the_core_network_is_told(site: Site) -> None:
    packet = gtpu.ipv4(PDN_IP, UE, ttl=1)
    with site.counted(ttl_expired=1):
        got = site.back(site.to_ue(packet))
    told = [IP(frame[14:]) for frame in [*got, *site.pdn.all(0.3)] if frame[12:14] == b"\x08\0"]
    assert [(each.src, each.dst, each[ICMP].type) for each in told] == [(CORE_IP, PDN_IP, 11)]


def test_the_gateway_itself_is_no_hop(site: Site) -> None:
    """What is for its own addresses is not sent on."""
    ping = bytes(IP(src=PDN_IP, dst=CORE_IP, ttl=1) / ICMP() / bytes(20))
    with site.counted():
        [frame] = [f for f in site.back(site.to_ue(ping)) if f[12:14] == b"\x08\0"]
    assert IP(frame[14:])[ICMP].type == 0


def test_trace_says_so(site: Site) -> None:
    """`ofgtp trace` of what ends here, and of what does not."""
    for ttl, reason in (("1", "ttl_expired"), ("2", None)):
        config = f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml"
        argv = ["env", config, str(OFGTP), "trace", UE, "--json", "--ttl", ttl]
        done = site.lab.exec("gw", argv, check=False)
        ways = json.loads(done.stdout)["ways"]
        assert [way["reason"] for way in ways] == [reason] * 2
        for way in ways if reason else ():
            assert "its TTL of 1 ends here" in way["says"] and "traceroute" in way["do"]
