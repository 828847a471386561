"""UEs' IPv6 by ports that AF_XDP reads: neighbour discovery, what fits, checksums that senders
leave to their cards, and how it is spread over the cores."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.support import ownership as own
from tests.support.lab import Lab, Response
from tests.support.traffic import Host, World, until
from tests.support.ue import Ue, carried

pytestmark = pytest.mark.switch

CORE, HOP = "2001:db8:c::1", "2001:db8:c::2"
POOL, PREFIX, UE = "2001:db8:a::/48", "2001:db8:a:1::/64", "2001:db8:a:1::7"
TEID, DOWN = 0x1001, 0x2001
WAYS = ("br-ofgtp-n0", "br-ofgtp-n1")
LEASE = ("netdev", "ofgtp_br-ofgtp", "lease")
SENT = 200
UES = 64
"""The kernel's hash has a seed by chance: of so many one way has less than a fifth never."""


@dataclass
class Scene:
    lab: Lab
    gw: World
    ue: Ue
    enb: Host
    pdn: Host

    def session(self, number: int) -> Response:
        """With a prefix of its own; the first is the UE's that has a stack."""
        body = {
            "ue_ip": f"10.45.1.{number}",
            "ue_ipv6": f"2001:db8:a:{number:x}::/64",
            "uplink": {"teid": TEID - 1 + number},
            "downlink": {"teid": DOWN - 1 + number, "remote_ip": "10.1.0.2"},
        }
        return self.gw.put(f"s{number}", body)

    def to_ue(self, packet: Packet) -> bytes:
        return bytes(Ether(src=self.pdn.mac, dst=self.gw.core_mac) / packet)


def config(lab: Lab, cores: str, owner: str = own.SWITCH) -> str:
    text = lab.config(
        controller=f"{owner}\npmd_cores = {cores}",
        gateway=f'core_ip6 = "{CORE}/64"\nnext_hop6 = "{HOP}"',
    )
    return text.replace('["10.45.0.0/16"]', f'["10.45.0.0/16", "{POOL}"]')


def start(lab: Lab, cores: str, owner: str = own.SWITCH) -> None:
    lab.start_controller(config(lab, cores, owner))
    until(lambda: own.in_sync6(lab), "in sync, and the next hops answer")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """With a thread on each of two cores; the hosts at both ends have stacks that leave checksums,
    and the cutting of long packets, to cards."""
    with Lab(ipv6=True) as lab:
        lab.ports, lab.environment["OFGTP_TEST_NO_PMD"] = "afxdp", ""
        lab.exec("pdn", ["ip", "addr", "add", f"{HOP}/64", "dev", "eth0", "nodad"])
        lab.exec("pdn", ["ip", "route", "add", POOL, "via", CORE])
        for name in ("enb", "pdn"):
            lab.exec(name, ["ethtool", "-K", "eth0", "tx", "on", "tso", "on", "gso", "on"])
        start(lab, "[0, 1]")
        with Ue(lab, [f"{UE}/64"], teid=TEID, downlink=DOWN) as ue:
            scene = Scene(lab, World(lab), ue, Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", HOP))
            for number in range(1, UES + 1):
                answer = scene.session(number)
                assert answer.status == 201, answer.body
            yield scene


def packet(*layers: Packet, dst: str, src: str = HOP) -> Packet:
    made = IPv6(src=src, dst=dst)
    for layer in layers:
        made /= layer
    return IPv6(bytes(made))


def received(lab: Lab) -> Counter[str]:
    """Frames that the switch has had by each port."""
    lab.cache_follows()
    found = re.findall(r"port +\"?([\w-]+)\"?: rx pkts=(\d+)", lab.ofctl("dump-ports", own.BRIDGE))
    names = dict(re.findall(r"(\d+)\(([\w-]+)\)", lab.ofctl("show", own.BRIDGE)))
    return Counter({names.get(port, port): int(count) for port, count in found})


def ways(scene: Scene, frames: list[bytes], what: str) -> list[int]:
    """How many of them came by each way; all have come to the base station then."""
    before = received(scene.lab)
    scene.enb.port.drain()
    scene.pdn.port.send(*frames)
    payloads = {frame[-16:] for frame in frames}
    got: set[bytes] = set()
    for each in scene.enb.port.receive(
        len(frames), want=lambda frame: frame[-16:] in payloads, timeout=10
    ):
        got.add(each[-16:])
    assert len(got) == len(frames), f"{what}: {len(frames) - len(got)} are lost"
    came = received(scene.lab) - before
    return [came[way] for way in WAYS]


def marked(number: int) -> Packet:
    return Raw(f"packet {number:09d}".encode())


def test_real_stacks_both_ways(scene: Scene) -> None:
    lab = scene.lab
    for name, to in (("ue", HOP), ("pdn", UE)):
        until(lambda name=name, to=to: pings(lab, name, to), f"{name} reaches {to}")
    carried(lab, "ue", "pdn", HOP)
    carried(lab, "pdn", "ue", UE)


def pings(lab: Lab, name: str, to: str) -> bool:
    return not lab.exec(name, ["ping", "-c1", "-W2", to], check=False).returncode


def test_ues_share_the_ways(scene: Scene) -> None:
    frames = [
        scene.to_ue(packet(UDP(), marked(n), dst=f"2001:db8:a:{n % UES + 1:x}::{n + 0x10:x}"))
        for n in range(SENT)
    ]
    came = ways(scene, frames, "the UEs")
    print(came)
    assert min(came) >= 0.2 * sum(came) and sum(came) >= SENT


def test_all_of_one_ue_goes_one_way(scene: Scene) -> None:
    """So that it stays in order, whichever of its addresses it is for."""
    frames = [
        scene.to_ue(packet(UDP(), marked(1000 + n), dst=f"2001:db8:a:3:{n:x}::{n:x}"))
        for n in range(SENT)
    ]
    came = ways(scene, frames, "one UE")
    assert max(came) >= SENT and min(came) < 5, came


def test_neighbours_are_answered(scene: Scene) -> None:
    """Each, and one that looks whether somebody has the address, too."""
    head = Ether(src=scene.pdn.mac, dst="33:33:ff:00:00:01")
    for number in range(20):
        source = f"2001:db8:c::{number + 0x100:x}" if number else "::"
        asked = IPv6(src=source, dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=CORE)
        if number:
            asked /= ICMPv6NDOptSrcLLAddr(lladdr=scene.pdn.mac)
        scene.pdn.port.drain()
        scene.pdn.port.send(bytes(head / asked))
        to = source if number else "ff02::1"
        [frame] = scene.pdn.port.receive(
            1, want=lambda f, to=to: ICMPv6ND_NA in Ether(f) and Ether(f)[IPv6].dst == to
        )
        assert (Ether(frame).src, Ether(frame)[ICMPv6ND_NA].tgt) == (scene.gw.core_mac, CORE)


def test_too_big(scene: Scene) -> None:
    frame = scene.to_ue(packet(UDP(), Raw(bytes(1465 - 48)), dst=UE))
    scene.pdn.port.drain()
    scene.pdn.port.send(frame)
    [told] = scene.pdn.port.receive(1, want=lambda f: ICMPv6PacketTooBig in Ether(f))
    read = Ether(told)
    assert (read[IPv6].src, read[IPv6].dst, read[ICMPv6PacketTooBig].mtu) == (CORE, HOP, 1464)


def test_nothing_is_changed_by_a_restart_and_one_way_is_enough(scene: Scene) -> None:
    lab = scene.lab
    lab.stop_controller()
    log = own.Log(lab)
    start(lab, "[0, 1]")
    assert "nftables" not in log.text(), "the rules are as they were"
    lab.stop_controller()
    start(lab, "[0]")
    rules = lab.exec("gw", ["nft", "list", "ruleset"]).stdout
    assert "jhash" not in rules and 'fwd to "br-ofgtp-n0h"' in rules
    for name, to in (("ue", HOP), ("pdn", UE)):
        until(lambda name=name, to=to: pings(lab, name, to), f"{name} reaches {to}")
    carried(lab, "ue", "pdn", HOP)
    test_neighbours_are_answered(scene)
    test_too_big(scene)


def test_the_hosts_part_of_the_lease_is_for_ipv6_too(scene: Scene) -> None:
    """Nothing reaches the switch without it, while the flows are there."""
    lab = scene.lab
    lab.stop_controller()
    start(lab, "[0]", "lease_seconds = 60")
    assert scene.session(1).status == 201
    ends = ("ue", HOP), ("pdn", UE)
    for end in ends:
        until(lambda end=end: pings(lab, *end), f"{end} before")
    assert lab.controller is not None
    lab.controller.send_signal(signal.SIGSTOP)  # it would renew it
    try:
        lab.exec("gw", ["nft", "flush", "set", *LEASE])
        assert not any(pings(lab, *end) for end in ends)
        lab.exec("gw", ["nft", "add", "element", *LEASE, '{ "eth1", "eth2" }'])
        for end in ends:
            until(lambda end=end: pings(lab, *end), f"{end} with it")
    finally:
        lab.controller.send_signal(signal.SIGCONT)
