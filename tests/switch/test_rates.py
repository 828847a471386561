"""Rates on a real switch: policed by meters, changed in place, counted, and taken away."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from scapy.layers.inet import IP, UDP

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import BRIDGE, ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
VIDEO = {
    "id": "video",
    "precedence": 10,
    "filters": ["permit out udp from any 7000 to assigned"],
    "uplink": {"teid": 0x1002},
    "downlink": {"teid": 0x2002, "remote_ip": ENB_IP["enb"]},
}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        yield site


@pytest.fixture
def limited(site: Site) -> Iterator[str]:
    name = site.session(UE, teid=UP, downlink=DOWN, bearers=[VIDEO])
    site.warm("enb", UE, DOWN)
    yield name
    site.delete(name)


def meters(site: Site) -> dict[int, tuple[int, int]]:
    """Number -> rate and burst of the meters that are sessions'."""
    shown = site.lab.ofctl("dump-meters", BRIDGE)
    found = re.findall(r"meter=(\d+) kbps.*?\n.*?rate=(\d+) burst_size=(\d+)", shown)
    return {int(number): (int(rate), int(burst)) for number, rate, burst in found}


class Passed(NamedTuple):
    """IP octets that pass of those that were sent in so many seconds."""

    octets: int
    sent: int
    seconds: float

    def nearly_all(self) -> bool:
        """Whether they pass unhindered."""
        return self.octets >= 0.9 * self.sent

    def within(self, kbps: int) -> bool:
        """Whether they are what a rate lets pass, with its burst of a quarter of a second, and not
        a small part of that."""
        most = kbps * 125 * (self.seconds + 0.25)
        return 0.3 * most < self.octets <= 1.05 * most + 2_000 < 0.8 * self.sent


def octets(site: Site, direction: str, port: int) -> Passed:
    """What passes of 3 MB that are sent at 16 Mbit/s at most."""
    if direction == "uplink":
        packet = bytes(IP(src=UE, dst=PDN_IP) / UDP(sport=9, dport=port) / bytes(972))
        frame = site.t_pdu(0x1002 if port == 7000 else UP, packet)
        sender, wire = site.enb, site.pdn
    else:
        packet = bytes(IP(src=PDN_IP, dst=UE) / UDP(sport=port, dport=9) / bytes(972))
        frame, sender, wire = site.to_ue(packet), site.pdn, site.enb
    wire.all()
    start, passed = time.monotonic(), 0
    for _ in range(750):
        sender.send(*[frame] * 4)
        time.sleep(0.002)
        passed += sum(len(packet) for got in wire.all(0.0001) if len(got) > 900)
    seconds = time.monotonic() - start
    passed += sum(len(packet) for got in wire.all(0.2) if len(got) > 900)
    return Passed(passed, 3_000 * len(packet), seconds)


@pytest.mark.parametrize("direction", ["uplink", "downlink"])
def test_mbr_and_ambr(site: Site, limited: str, direction: str) -> None:
    """What passes is the burst and the rate, of a bearer's own traffic and of all together."""
    rate = {f"{direction}_kbps": 2000}
    free = octets(site, direction, 7000)
    assert free.nearly_all(), free
    site.patch(limited, {"bearers": [VIDEO | {"mbr": rate}]})
    held = octets(site, direction, 7000)
    assert held.within(2000), held
    other = octets(site, direction, 7001)
    assert other.nearly_all(), other
    site.patch(limited, {"ambr": rate, "bearers": [VIDEO]})
    for port in (7000, 7001):
        held = octets(site, direction, port)
        assert held.within(2000), held
    site.patch(limited, {"ambr": None})
    free = octets(site, direction, 7000)
    assert free.nearly_all(), free
    assert meters(site) == {}


def test_changed_in_place(site: Site, limited: str) -> None:
    site.patch(limited, {"ambr": {"uplink_kbps": 1000, "downlink_kbps": 100_000}})
    [up, down] = sorted(meters(site))
    assert meters(site) == {up: (1000, 250), down: (100_000, 25_000)}
    slow = octets(site, "uplink", 7000)
    assert slow.within(1000), slow
    flows = site.lab.ofctl("dump-flows", BRIDGE, "table=31") + site.lab.ofctl(
        "dump-flows", BRIDGE, "table=32"
    )
    site.patch(limited, {"ambr": {"uplink_kbps": 50_000, "downlink_kbps": 100_000}})
    assert meters(site)[up] == (50_000, 12_500)
    fast = octets(site, "uplink", 7000)
    assert fast.nearly_all(), fast
    assert re.findall("reg6=[^,]*", flows)


def test_rates_come_and_go_with_the_session(site: Site) -> None:
    name = site.session(UE, teid=UP, downlink=DOWN, ambr={"uplink_kbps": 1000})
    assert len(meters(site)) == 1
    site.delete(name)
    assert meters(site) == {}


def test_a_tiny_rate_lets_something_through(site: Site, limited: str) -> None:
    site.patch(limited, {"ambr": {"uplink_kbps": 1, "downlink_kbps": 1}})
    packet = gtpu.ipv4(UE, PDN_IP, size=1400)
    assert site.uplink(site.t_pdu(UP, packet))
    assert [f for f in site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, UE, size=1400))) if is_gtpu(f)]


def test_a_restart_of_the_switch_brings_them_back(site: Site, limited: str) -> None:
    site.patch(limited, {"ambr": {"uplink_kbps": 1000}})
    before = meters(site)
    assert len(before) == 1
    site.lab.stop_vswitchd()
    site.lab.start_vswitchd()
    until(lambda: site.gateway()["in_sync"], "in sync again", 30)
    assert meters(site) == before


def test_what_is_over_is_counted(site: Site, limited: str) -> None:
    site.patch(limited, {"ambr": {"uplink_kbps": 100}})
    packet = gtpu.ipv4(UE, PDN_IP, size=1400)
    before = site.gateway()["drops"]["rate_exceeded"]
    passed = len([f for f in site.uplink(*[site.t_pdu(UP, packet)] * 30) if len(f) > 1000])
    assert 0 < passed < 10
    lost = 30 - passed
    until(lambda: site.gateway()["drops"]["rate_exceeded"] - before == lost, "all counted")
