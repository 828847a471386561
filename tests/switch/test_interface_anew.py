"""An interface under a gateway's port that is made anew, moved or renamed: the port follows it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from scapy.layers.l2 import ARP, Ether

from ofgtp.southbound.ovsdb import derived_macs
from tests.support import ownership as own
from tests.support.lab import PORTS, Lab
from tests.support.traffic import Host, World, ip, until
from tests.support.watch import Stream

pytestmark = pytest.mark.switch

UE, PDN = "10.45.0.2", "10.2.0.2"
BACK_S = 20.0
"""Packets pass again within this time, on a machine that has much to do."""

FAR = {"eth1": ("enb", "10.1.0.2/24"), "eth2": ("pdn", "10.2.0.2/24")}
"""What is at the other end of each port, and its address."""


@dataclass
class Scene:
    lab: Lab
    gw: World
    mode: str

    def passes(self, timeout: float = BACK_S) -> None:
        """Packets pass both ways, by what the ports' interfaces are now."""
        enb, pdn = Host(self.lab, "enb", "10.1.0.2"), Host(self.lab, "pdn", PDN)
        up, down, deadline = ip(UE, PDN), ip(PDN, UE), time.monotonic() + timeout
        gone = went = False
        while not (gone and went):
            assert time.monotonic() < deadline, f"not within {timeout} s: {gone}, {went}"
            gateway = World(self.lab)  # which asks for its MAC addresses, as a host does by ARP
            enb.port.send(gateway.tunnel(enb, 1, up))
            gone = gone or pdn.got(up, timeout=0.1) is not None
            pdn.port.send(bytes(Ether(src=pdn.mac, dst=gateway.core_mac) / down))
            went = went or enb.got(down, timeout=0.1) is not None
        for host in (enb, pdn):
            host.port.close()

    def anew(self, port: str, *, kept: bool) -> None:
        """Delete an interface, and make it again; with `kept` both ends keep their MAC address."""
        far, address = FAR[port]
        macs = self.lab.mac("gw", port), self.lab.mac(far)
        self.lab.exec("gw", ["ip", "link", "del", port])
        self.lab.link("gw", port, far, "eth0", macs if kept else None)
        self.lab.exec("gw", ["ethtool", "-K", port, "gro", "on"])
        self.lab.exec(far, ["ip", "addr", "add", address, "dev", "eth0"])
        if far == "pdn":
            self.lab.exec(far, ["ip", "route", "add", "10.45.0.0/16", "via", "10.2.0.1"])

    def flows(self) -> dict[str, tuple[int, float]]:
        """The sessions' flows -> what they have counted, and how long they are there, in s."""
        text = self.lab.ofctl(
            "dump-flows", own.BRIDGE, "cookie=0xf67030000000000/0xffffff0000000000"
        )
        found = {}
        for line in text.splitlines():
            stats = re.search(r"duration=([\d.]+)s, table=(\d+), n_packets=(\d+)", line)
            if stats:
                found[stats[2]] = int(stats[3]), float(stats[1])
        return found

    def sockets(self) -> dict[int, str]:
        """By which socket the switch reads each interface (by its number); or, where it reads veths
        that are joined to them, which of these are there."""
        if PORTS:
            return {self.number(port): str(self.number(self.lab.end(port))) for port in FAR}
        lines = self.lab.exec("gw", ["cat", "/proc/net/packet"]).stdout.splitlines()[1:]
        return {int(words[4]): words[8] for words in map(str.split, lines) if words[3] == "0003"}

    def number(self, device: str) -> int:
        return int(self.lab.exec("gw", ["cat", f"/sys/class/net/{device}/ifindex"]).stdout)

    def shown(self, device: str) -> dict[str, Any]:
        text = self.lab.exec("gw", ["ip", "-json", "-d", "link", "show", "dev", device]).stdout
        return dict(json.loads(text)[0])

    def gro(self, device: str) -> str:
        features = self.lab.exec("gw", ["ethtool", "-k", device]).stdout
        return re.findall(r"generic-receive-offload: (\w+)", features)[0]

    def as_ever(self, *ports: str) -> None:
        """What ofgtp sets of its interfaces is set."""
        for port in ports:
            until(lambda port=port: self.gro(port) == "off", f"GRO of {port} is off")
            assert self.shown(port)["promiscuity"] >= 1
        rules = self.lab.exec("gw", ["nft", "list", "ruleset"]).stdout
        for port in ("eth1", "eth2"):
            assert f'hook ingress device "{port}"' in rules
        until(lambda: self.gw.report()["in_sync"] and not self.gw.report()["problem"], "all well")


def scene_of(lab: Lab, mode: str) -> Scene:
    for port in ("eth1", "eth2"):
        lab.exec("gw", ["ethtool", "-K", port, "gro", "on"])
    own.start(lab, mode)
    made = Scene(lab, World(lab), mode)
    made.gw.session("a", UE, 1, 101)
    made.passes()
    return made


@pytest.fixture(params=["controller", "switch"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab() as lab:
        yield scene_of(lab, request.param)


@pytest.mark.parametrize("kept", [True, False], ids=["same MAC", "other MAC"])
@pytest.mark.parametrize("port", ["eth1", "eth2"])
def test_an_interface_made_anew(scene: Scene, port: str, kept: bool) -> None:
    lab, other = scene.lab, {"eth1": "eth2", "eth2": "eth1"}[port]
    before, socket, log = scene.flows(), scene.sockets()[scene.number(other)], own.Log(lab)
    assert len(before) == 2
    scene.anew(port, kept=kept)
    done = time.monotonic()
    own.until(lambda: log.events("repaired"), "event `repaired`", timeout=BACK_S)
    scene.passes()
    print(f"{port}, {scene.mode}: packets pass after {time.monotonic() - done:.2f} s")
    how = "joined again" if PORTS else "its port with it"
    assert f"what=interface {port} was made anew, and {how}" in log.events("repaired")[0]
    assert len(log.events("repaired")) == 1, log.events("repaired")
    scene.as_ever("eth1", "eth2")
    # Nothing else was touched: sessions' flows, what they count, and the other port.
    lab.cache_follows()
    after = scene.flows()
    assert all(after[table][0] > before[table][0] for table in before), (before, after)
    assert all(after[table][1] > before[table][1] for table in before)
    assert scene.sockets()[scene.number(other)] == socket
    ofport = lab.vsctl("get", "Interface", lab.end(port), "ofport").strip()
    assert ofport == {"eth1": "1", "eth2": "2"}[port]
    time.sleep(4)  # a look or two later
    assert len(log.events("repaired")) == 1, log.events("repaired")


# --- one gateway through all else that may happen to its interfaces


@pytest.fixture(scope="module")
def one() -> Iterator[Scene]:
    with Lab() as lab:
        lab.add_namespace("away")
        yield scene_of(lab, "switch")


def told(scene: Scene, log: own.Log, what: str, *, flows_gone: bool = False) -> None:
    """The event that says it, and no other that says anything was repaired but the flows."""
    own.until(lambda: log.events("repaired"), "event `repaired`", timeout=BACK_S)
    scene.passes()
    said = log.events("repaired")
    # They may go in two goes: while the bridge is made, the first of them are there already.
    assert bool(said[1:]) == flows_gone, said
    assert all("somebody removed flows" in each for each in said[1:]), said
    assert f"what={what}" in said[0]


@pytest.mark.parametrize("port", ["eth1", "eth2"])
def test_an_interface_that_was_in_another_namespace(one: Scene, port: str) -> None:
    """Its number is the same then, but the switch does not read it any more."""
    lab, number, flows, log = one.lab, one.number(port), one.flows(), own.Log(one.lab)
    socket = one.sockets()[number]
    lab.exec("gw", ["ip", "link", "set", port, "netns", lab.namespace("away")])
    lab.exec("away", ["ip", "link", "set", port, "netns", lab.namespace("gw")])
    if PORTS:
        own.until(lambda: log.events("repaired"), "event `repaired`", timeout=BACK_S)
        one.passes()
    else:
        # none reads it, or, if ofgtp has been quick, another one does
        assert one.number(port) == number and one.sockets().get(number) != socket
        told(one, log, f"interface {port} was made anew")
    one.as_ever("eth1", "eth2")
    assert all(one.flows()[table][1] > flows[table][1] for table in flows)
    kept = lab.vsctl("get", "Interface", lab.end(port), "external_ids:ofgtp-gro")
    assert kept.strip() == "on", "the interface is the same, and what it had before is known"


def test_another_interface_under_the_name(one: Scene) -> None:
    """As when udev swaps two names: the switch would read on from the one that had it."""
    lab, log, flows = one.lab, own.Log(one.lab), one.flows()
    mac = lab.mac("enb")
    lab.link("gw", "new", "enb", "new")
    lab.exec("gw", ["ethtool", "-K", "new", "gro", "on"])
    swap = "ip link set {0} down; ip link set {0} name {1}; ip link set {1} up"
    lab.exec("gw", ["sh", "-c", f"{swap.format('eth1', 'old')}; {swap.format('new', 'eth1')}"])
    lab.exec("enb", ["sh", "-c", f"{swap.format('eth0', 'old')}; {swap.format('new', 'eth0')}"])
    lab.exec("enb", ["ip", "link", "set", "old", "address", "02:00:00:00:00:77"])
    lab.exec("enb", ["ip", "link", "set", "eth0", "address", mac])
    lab.exec("enb", ["ip", "addr", "flush", "dev", "old"])
    lab.exec("enb", ["ip", "addr", "add", "10.1.0.2/24", "dev", "eth0"])
    told(one, log, "interface eth1 was made anew")
    one.as_ever("eth1", "eth2")
    assert one.number("old") not in one.sockets()
    assert all(one.flows()[table][1] > flows[table][1] for table in flows)
    lab.exec("gw", ["ip", "link", "del", "old"])


def test_an_interface_with_another_mtu(one: Scene) -> None:
    """What fits its tunnels is another size, and senders are told that."""
    lab, log = one.lab, own.Log(one.lab)
    one.anew("eth1", kept=True)
    for name, dev in (("gw", "eth1"), ("enb", "eth0")):
        lab.exec(name, ["ip", "link", "set", dev, "mtu", "1400"])
    told(one, log, "interface eth1 was made anew")
    until(lambda: one.gw.report()["access"]["mtu"] == 1400, "the MTU is known")
    until(one.gw.in_sync, "the flows fit it")


@pytest.mark.parametrize("port", ["eth1", "eth2"])
def test_an_interface_with_another_mac_address(one: Scene, port: str) -> None:
    """It is the same interface; hosts and routers are told by ARP, since they have it cached."""
    lab, (far, _) = one.lab, FAR[port]
    ours, wire, log = {"eth1": "10.1.0.1", "eth2": "10.2.0.1"}[port], lab.port(far), own.Log(lab)
    mac = f"02:00:00:00:01:0{port[-1]}"
    seen = {"eth1": derived_macs(mac)[0], "eth2": mac}[port]
    lab.exec("gw", ["ip", "link", "set", port, "address", mac])
    announced = wire.receive(3, want=lambda frame: announces(frame, ours, seen), timeout=BACK_S)
    assert len(announced) == 3
    until(one.gw.in_sync, "the flows fit it")
    one.passes()
    assert not [event for event in log.events("repaired") if "made anew" in event]


def announces(frame: bytes, address: str, mac: str) -> bool:
    """Whether it is an ARP announcement that `mac` has `address` (RFC 5227, 2.3)."""
    said = Ether(frame).getlayer(ARP)
    if said is None or (said.op, said.psrc, said.hwsrc) != (1, address, mac):
        return False
    return bool(said.pdst == address)


@pytest.mark.skipif(bool(PORTS), reason="veths are ports of the bridge, which stay what they are")
def test_a_port_that_has_another_number_in_the_datapath() -> None:
    """Packets under way do not go where the port of its former number is: the cache of Open
    vSwitch 3.1 knows uplink packets by that, and cannot be changed."""
    with Lab() as lab:
        lab.vsctl("add-br", "theirs", "--", "set", "Bridge", "theirs", "datapath_type=netdev")
        scene = scene_of(lab, "switch")
        before = numbers(lab)
        enb, pdn = Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN)
        packet = ip(UE, PDN)
        frame = scene.gw.tunnel(enb, 1, packet)
        with Stream(enb, frame, packet, pdn) as stream:
            until(lambda: stream.arrives() > 20, "uplink passes")
            lab.vsctl("del-br", "theirs")
            lab.exec(
                "gw", ["ip", "link", "set", "eth2", "netns", lab.namespace("pdn"), "name", "x"]
            )
            lab.exec(
                "pdn", ["ip", "link", "set", "x", "netns", lab.namespace("gw"), "name", "eth2"]
            )
            until(
                lambda: numbers(lab).get("eth2", before["eth2"]) != before["eth2"],
                "the port is made anew",
                timeout=BACK_S,
            )
            until(lambda: stream.arrives() > 20, "uplink passes again", timeout=BACK_S)


def numbers(lab: Lab) -> dict[str, int]:
    """Port -> its number in the datapath."""
    found = re.findall(r"(\S+) \d+/(\d+): ", lab.appctl("dpif/show"))
    return {name: int(number) for name, number in found}


def test_a_switch_that_was_away_meanwhile(one: Scene) -> None:
    """It opens what is there when it starts: it is not said to have lost what it never had."""
    lab, log = one.lab, own.Log(one.lab)
    lab.stop_vswitchd()
    time.sleep(4)  # the controller looks, and finds no switch
    lab.start_vswitchd()
    until(one.gw.in_sync, "the switch is back")
    one.passes()
    time.sleep(4)
    assert not [event for event in log.events("repaired") if "made anew" in event]

    lab.stop_vswitchd()
    one.anew("eth1", kept=False)
    lab.start_vswitchd()
    one.passes()
    until(one.gw.in_sync, "the switch is back")
    one.as_ever("eth1", "eth2")


def replaced(lab: Lab, device: str) -> None:
    """Put another interface in the place of the device, however quick the switch mends it."""
    both = f"link del {device}\nlink add {device} type bridge\n"

    def made() -> bool:
        return lab.exec("gw", ["ip", "-batch", "-"], check=False, stdin=both).returncode == 0

    until(made, f"a bridge has the name {device}")


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "replaced"])
def test_the_bridges_own_interface(one: Scene, again: bool) -> None:
    """It goes with the bridge, which is made anew: nothing less has the switch open it."""
    lab, log = one.lab, own.Log(one.lab)
    if again:
        replaced(lab, own.BRIDGE)
        until(lambda: "in the way" in str(one.gw.report()["problem"]), "it is in the way")
    lab.exec("gw", ["ip", "link", "del", own.BRIDGE])
    told(one, log, f"interface {own.BRIDGE} was made anew", flows_gone=True)
    one.as_ever("eth1", "eth2")
    until(one.gw.in_sync, "the flows are back")
    for port in ("eth1", "eth2"):
        assert (
            lab.vsctl("get", "Interface", lab.end(port), "external_ids:ofgtp-gro").strip() == "on"
        )


# --- while the controller is away


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "crashed"])
def test_while_the_controller_is_away(scene: Scene, crash: bool) -> None:
    lab, before = scene.lab, scene.flows()
    if crash:
        own.crash(lab)
    else:
        lab.stop_controller()
    for port in ("eth1", "eth2"):
        scene.anew(port, kept=True)
    log = own.Log(lab)
    own.start(lab, scene.mode)
    if scene.mode == "controller":
        assert own.sessions(lab) == {}
        scene.gw.session("a", UE, 1, 101)
    else:
        assert all(scene.flows()[table][1] > before[table][1] for table in before)
    scene.passes()
    scene.as_ever("eth1", "eth2")
    if not PORTS and (scene.mode == "switch" or crash):
        said = " ".join(log.events("repaired"))
        assert "interface eth1" in said and "interface eth2" in said


# --- core_port = "host"


@pytest.fixture(scope="module")
def routed() -> Iterator[Scene]:
    """The host is the router; its interface towards the packet data network is eth2."""
    with Lab() as lab:
        lab.exec("gw", ["ip", "addr", "add", "10.2.0.1/24", "dev", "eth2"])
        lab.exec("gw", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        core = 'core_port = "host"\ncore_ip = "10.3.0.1/24"'
        lab.start_controller(lab.config(core=core, controller=own.SWITCH))
        made = Scene(lab, World(lab), "switch")
        made.gw.session("a", UE, 1, 101)
        made.gw.ping(Host(lab, "enb", "10.1.0.2"), 1, UE, PDN)
        yield made


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_the_internal_port_of_the_core_side(routed: Scene, how: str) -> None:
    lab, log, flows, device = routed.lab, own.Log(routed.lab), routed.flows(), "br-ofgtp-c"
    if how == "replaced":
        replaced(lab, device)
        until(lambda: "in the way" in str(routed.gw.report()["problem"]), "it is in the way")
    lab.exec("gw", ["ip", "link", "del", device])
    own.until(lambda: log.events("repaired"), "event `repaired`", timeout=BACK_S)
    assert f"interface {device} was made anew" in log.events("repaired")[0]
    routed.gw.ping(Host(lab, "enb", "10.1.0.2"), 1, UE, PDN)
    until(routed.gw.in_sync, "the flows fit")
    assert all(routed.flows()[table][1] > flows[table][1] for table in flows)
    assert f"dev {device}" in lab.exec("gw", ["ip", "route", "get", UE]).stdout
