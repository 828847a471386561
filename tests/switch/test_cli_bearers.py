"""`ofgtp bearer` and what else makes a session more than a tunnel pair, as its users type it: what
real packets meet afterwards."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Packet

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
VOICE_UP, VOICE_DOWN = 0x1002, 0x2002
ENB, OTHER = ENB_IP["enb"], ENB_IP["enb2"]
ADD_VOICE = (
    f"bearer add phone voice --precedence 10 --uplink-teid {VOICE_UP} --teid {VOICE_DOWN}"
    f' --peer {ENB} --filter "permit out udp from any 5004-5060 to assigned"'
)


class Ofgtp:
    """The command on the gateway's host, and packets beside it."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def __call__(self, command: str, code: int = 0) -> str:
        """Run it; what it prints, or the error."""
        env = f"OFGTP_CONFIG={self.site.lab.dir}/ofgtp.toml"
        argv = ["env", env, str(OFGTP), *shlex.split(command)]
        done = self.site.lab.exec("gw", argv, check=False, timeout=120)
        assert done.returncode == code, (command, done)
        return done.stdout if code == 0 else done.stderr

    def json(self, command: str) -> Any:
        return json.loads(self(f"{command} --json"))

    def teid_of(self, layer: Packet) -> int | None:
        """By which tunnel a packet to the UE leaves; None: it does not."""
        packet = bytes(IP(src=PDN_IP, dst=UE) / layer / bytes(40))
        got = [gtpu.decode(frame) for frame in self.site.downlink(self.site.to_ue(packet))]
        assert [each.inner for each in got] in ([], [packet])
        return got[0].teid if got else None

    def passes(self, teid: int, layer: Packet, wanted: bool) -> None:
        """Packets of the UE in that tunnel go to the core, or they do not."""
        packet = bytes(IP(src=UE, dst=PDN_IP) / layer / bytes(40))
        self.site.cache_follows(self.site.t_pdu(teid, packet), passes=wanted)


VOICE_TO_UE = UDP(sport=5004, dport=40000)
VOICE_FROM_UE = UDP(sport=40000, dport=5004)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab)
        site.ready()
        yield site


@pytest.fixture
def ofgtp(site: Site) -> Iterator[Ofgtp]:
    """With session `phone`, of one tunnel pair."""
    command = Ofgtp(site)
    command(f"session add phone --ue-ip {UE} --uplink-teid {UP} --teid {DOWN} --peer {ENB}")
    site.warm("enb", UE, DOWN)
    yield command
    command("session delete phone")


def test_a_bearer_s_life(ofgtp: Ofgtp) -> None:
    assert ofgtp.teid_of(VOICE_TO_UE) == DOWN
    ofgtp(ADD_VOICE)
    assert ofgtp.teid_of(VOICE_TO_UE) == VOICE_DOWN
    assert ofgtp.teid_of(UDP(sport=6000, dport=40000)) == ofgtp.teid_of(ICMP()) == DOWN
    ofgtp.passes(VOICE_UP, VOICE_FROM_UE, True)
    ofgtp.passes(VOICE_UP, ICMP(), False)
    ofgtp.passes(UP, ICMP(), True)

    ofgtp("bearer set phone voice --gate uplink")
    assert ofgtp.teid_of(VOICE_TO_UE) is None
    ofgtp.passes(VOICE_UP, VOICE_FROM_UE, True)
    ofgtp("bearer set phone voice --gate closed")
    ofgtp.passes(VOICE_UP, VOICE_FROM_UE, False)
    ofgtp('bearer set phone voice --gate open --filter "permit out icmp from any to assigned"')
    ofgtp.passes(VOICE_UP, VOICE_FROM_UE, False)
    ofgtp.passes(VOICE_UP, ICMP(), True)
    assert (ofgtp.teid_of(VOICE_TO_UE), ofgtp.teid_of(ICMP())) == (DOWN, VOICE_DOWN)

    ofgtp("bearer set phone voice --idle")
    assert ofgtp.teid_of(ICMP()) is None
    ofgtp("bearer set phone voice --shared")
    assert ofgtp.teid_of(ICMP()) == DOWN
    ofgtp("bearer set phone voice --uplink-teid shared")
    ofgtp.passes(VOICE_UP, ICMP(), False)
    assert ofgtp("bearer delete phone voice") == "voice: deleted\n"
    assert ofgtp("bearer list phone") == ""
    ofgtp.passes(UP, ICMP(), True)


def test_counters_of_bearers(ofgtp: Ofgtp) -> None:
    ofgtp(ADD_VOICE)
    ofgtp.teid_of(VOICE_TO_UE)
    ofgtp.site.lab.appctl("revalidator/purge")
    before = ofgtp.json("bearer list phone")["items"][0]["counters"]["downlink"]["packets"]
    for _ in range(5):
        ofgtp.teid_of(VOICE_TO_UE)
    ofgtp.site.lab.appctl("revalidator/purge")
    after = ofgtp.json("bearer list phone")["items"][0]["counters"]["downlink"]["packets"]
    assert after - before == 5
    row = ofgtp("bearer list phone").splitlines()[1].split()
    assert row[row.index("to") + 4 :][:2] == ["0", str(after)], row
    assert f"down: {after} packets" in ofgtp("session show phone")


def test_rates_hold(ofgtp: Ofgtp) -> None:
    """A burst of 25 kbit is what the least rate lets through at once."""
    many = [VOICE_TO_UE / bytes(1000)] * 40
    frames = [ofgtp.site.to_ue(bytes(IP(src=PDN_IP, dst=UE) / layer)) for layer in many]
    assert len(ofgtp.site.downlink(*frames)) == 40
    ofgtp(f"{ADD_VOICE} --mbr-downlink 1")
    assert len(ofgtp.site.downlink(*frames)) < 10
    ofgtp("bearer set phone voice --mbr-downlink none")
    assert len(ofgtp.site.downlink(*frames)) == 40
    ofgtp("session set phone --ambr-downlink 1")
    assert len(ofgtp.site.downlink(*frames)) < 10
    ofgtp("session set phone --ambr-downlink none")
    assert len(ofgtp.site.downlink(*frames)) == 40


def test_routes_with_filters(ofgtp: Ofgtp) -> None:
    own = f"{UE} encap gtp id {DOWN:#x} dst {ENB} lid {UP:#x} dev gw1"
    voice = (
        f"{UE} from 10.2.0.0/24 proto udp sport 5004-5060 encap gtp id {VOICE_DOWN:#x} dst {ENB}"
        f" lid {VOICE_UP:#x} dev gw1 metric 10"
    )
    assert ofgtp(f"route add {voice}") == ""
    assert ofgtp(f"route show {UE}").splitlines() == [own, voice]
    assert (ofgtp.teid_of(VOICE_TO_UE), ofgtp.teid_of(ICMP())) == (VOICE_DOWN, DOWN)
    ofgtp.passes(VOICE_UP, VOICE_FROM_UE, True)
    ofgtp.passes(VOICE_UP, ICMP(), False)
    ofgtp(f"route add {UE} proto icmp encap gtp id {VOICE_DOWN:#x} dst {ENB} metric 10")
    assert ofgtp.teid_of(ICMP()) == VOICE_DOWN
    ofgtp.passes(VOICE_UP, ICMP(), True)
    ofgtp(f"route del {UE} from 10.2.0.0/24 proto udp sport 5004-5060")
    assert (ofgtp.teid_of(VOICE_TO_UE), ofgtp.teid_of(ICMP())) == (DOWN, VOICE_DOWN)
    ofgtp(f"route change {UE} proto icmp encap gtp idle")
    assert ofgtp.teid_of(ICMP()) is None
    ofgtp(f"route del {UE} proto icmp")
    assert ofgtp(f"route show {UE}").splitlines() == [own]
    assert ofgtp.teid_of(ICMP()) == DOWN


def test_a_tunnel_that_is_deleted_by_its_teid(ofgtp: Ofgtp) -> None:
    ofgtp(ADD_VOICE)
    ofgtp.passes(VOICE_UP, VOICE_FROM_UE, True)
    assert len(ofgtp("tunnel list gw1").splitlines()) == 3  # with the site's own session
    ofgtp(f"tunnel delete gw1 v1 {VOICE_UP}")
    ofgtp.passes(VOICE_UP, VOICE_FROM_UE, False)
    ofgtp.passes(UP, VOICE_FROM_UE, True)
    assert ofgtp.teid_of(VOICE_TO_UE) == DOWN


def test_a_framed_route_and_a_relay_with_breakout(ofgtp: Ofgtp) -> None:
    site = ofgtp.site
    behind = gtpu.ipv4(PDN_IP, "10.60.0.9")
    assert site.downlink(site.to_ue(behind)) == []
    ofgtp("session set phone --framed-route 10.60.0.0/24")
    assert [gtpu.decode(f).inner for f in site.downlink(site.to_ue(behind))] == [behind]
    ofgtp("session set phone --framed-route none")
    assert site.downlink(site.to_ue(behind)) == []
    ofgtp(
        f"session set phone --core-peer {OTHER} --core-remote-teid 0x6001 --core-teid 0x5001"
        " --breakout 10.2.0.0/24"
    )
    ofgtp.passes(UP, ICMP(), True)
    far = site.t_pdu(UP, gtpu.ipv4(UE, "198.51.100.7"))
    assert site.uplink(far) == []
    back = site.t_pdu(0x5001, gtpu.ipv4("198.51.100.7", UE), enb="enb2")

    def comes_back() -> bool:
        site.enbs["enb2"].send(back)
        return any(is_gtpu(each, DOWN) for each in site.enb.all(0.05))

    until(comes_back, "what comes from the core's peer goes to the UE")
    ofgtp("session set phone --no-core --breakout none")
    site.cache_follows(far, passes=True)
