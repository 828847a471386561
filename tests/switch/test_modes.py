"""The gateway's modes of configuration, each with real packets both ways."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.support.lab import Lab
from tests.support.site import is_echo, is_gtpu
from tests.support.traffic import Host, World, inner, ip, until

KEPT = 'ownership = "switch"'  # sessions outlive a stop
OWN = ["br-ofgtp-e", "br-ofgtp-g", "br-ofgtp-i", "br-ofgtp-o", "br-ofgtp-t"]

pytestmark = pytest.mark.switch

UE, UE2, UE3 = "10.45.0.2", "10.45.0.3", "10.45.0.4"
PDN = "10.2.0.2"
EXPEDITED = 46


@dataclass
class Scene:
    lab: Lab
    gw: World
    enb: Host
    enb2: Host
    pdn: Host

    def sessions(self) -> None:
        """Two UEs at one base station, a third at another."""
        self.gw.session("a", UE, 1, 101, "10.1.0.2")
        self.gw.session("b", UE2, 2, 102, "10.1.0.2")
        self.gw.session("c", UE3, 3, 103, "10.1.0.3")


def scene(lab: Lab) -> Scene:
    enb, enb2 = Host(lab, "enb", "10.1.0.2"), Host(lab, "enb2", "10.1.0.3")
    return Scene(lab, World(lab), enb, enb2, Host(lab, "pdn", PDN))


# --- core_port = "host"

HOST_CORE = 'core_port = "host"\ncore_ip = "10.3.0.1/24"'


@pytest.fixture(scope="module")
def host() -> Iterator[Scene]:
    """eth2 is an interface of the host's own, and the host is a router."""
    with Lab(enbs=2) as lab:
        lab.exec("gw", ["ip", "addr", "add", "10.2.0.1/24", "dev", "eth2"])
        lab.exec("gw", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        lab.start_controller(lab.config(core=HOST_CORE))
        made = scene(lab)
        made.sessions()
        yield made


def proc(lab: Lab, path: str) -> str:
    with lab.inside("gw"):
        return Path("/proc/sys/net", path).read_text().strip()


def test_host_core_device_and_routes(host: Scene) -> None:
    assert "10.3.0.1/24" in host.lab.exec("gw", ["ip", "addr", "show", "br-ofgtp-c"]).stdout
    for address in (UE, "10.45.255.254"):
        assert "dev br-ofgtp-c" in host.lab.exec("gw", ["ip", "route", "get", address]).stdout
    assert proc(host.lab, "ipv4/conf/br-ofgtp-c/forwarding") == "1"
    assert proc(host.lab, "ipv4/conf/br-ofgtp/forwarding") == "0"
    assert host.lab.exec("gw", ["ip", "addr", "show", "br-ofgtp"]).stdout.count("inet ") == 1


def test_host_core_routes_both_ways_with_one_hop(host: Scene) -> None:
    reply = host.gw.ping(host.enb, 1, UE, PDN)
    assert inner(reply)[IP].ttl == 63
    sent = ip(UE, PDN, ttl=77)
    assert host.gw.up(host.enb, 1, sent, host.pdn)[IP].ttl == 76
    sent = ip(PDN, UE, ttl=99)
    got = host.gw.down(host.pdn, sent, host.enb, to_mac=host.lab.mac("gw", "eth2"))
    assert (inner(got)[IP].ttl, got[GTP_U_Header].teid) == (98, 101)
    assert inner(got)[IP].src == PDN


def test_host_core_reaches_the_host_itself(host: Scene) -> None:
    """The host is the UE's router, with addresses of its own on other interfaces."""
    assert inner(host.gw.ping(host.enb, 1, UE, "10.2.0.1"))[IP].src == "10.2.0.1"


def test_host_core_fragments_or_refuses_what_does_not_fit(host: Scene) -> None:
    """The host is the router: it knows the MTU of the way to the UEs, and does what routers do.
    So the session has used what went on, and nothing else."""

    def used() -> tuple[int, int]:
        host.lab.appctl("revalidator/purge")  # brings counts up to date
        seen = host.lab.http("GET", "/v1/sessions/a").json()["counters"]["downlink"]
        return seen["packets"], seen["bytes"]

    was = used()
    shown = host.lab.exec("gw", ["ip", "link", "show", "br-ofgtp-c"]).stdout
    assert " mtu 1464 " in shown
    to, before = host.lab.mac("gw", "eth2"), host.gw.drops("too_big")
    large = IP(src=PDN, dst=UE) / UDP(sport=9, dport=9) / Raw(bytes(1437))
    assert len(large) == 1465
    large.flags = "DF"
    host.pdn.port.send(bytes(Ether(src=host.pdn.mac, dst=to) / large))
    (told,) = host.pdn.port.receive(1, want=lambda frame: Ether(frame).haslayer(ICMP))
    assert (Ether(told)[ICMP].type, Ether(told)[ICMP].code) == (3, 4)
    assert Ether(told)[ICMP].nexthopmtu == 1464
    large.flags = 0
    host.enb.port.drain()
    host.pdn.port.send(bytes(Ether(src=host.pdn.mac, dst=to) / large))
    frames = host.enb.port.receive(2, want=lambda frame: is_gtpu(frame) and not is_echo(frame))
    assert sum(len(inner(Ether(frame))) - 20 for frame in frames) == len(large) - 20
    assert host.gw.drops("too_big") == before
    until(lambda: used() == (was[0] + 2, was[1] + len(large) + 20), "two fragments are counted")


def test_host_core_has_no_neighbour_entry_per_ue(host: Scene) -> None:
    before = host.gw.drops("unknown_ue")
    to = host.lab.mac("gw", "eth2")
    for part in range(8):  # no more at once than the host's queue to the switch holds
        for number in range(1, 251):
            sent = ip(PDN, f"10.45.{8 + part}.{number}")
            host.pdn.port.send(bytes(Ether(src=host.pdn.mac, dst=to) / sent))
        host.lab.appctl("revalidator/purge")  # so that they are counted
        until(
            lambda wanted=before + 250 * (part + 1): host.gw.drops("unknown_ue") >= wanted,
            "all of them reach the bridge",
        )
    shown = host.lab.exec("gw", ["ip", "neigh", "show", "dev", "br-ofgtp-c"]).stdout
    assert shown.splitlines() == [line for line in shown.splitlines() if "169.254.0.1 " in line]
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize("target", ["10.1.0.1", "10.1.0.3", "10.3.0.1"])
def test_ue_does_not_reach_the_access_side_through_the_host(host: Scene, target: str) -> None:
    """Neither as it is, nor by GTP-U of its own, with another UE's TEID."""
    before = host.gw.drops("protected_destination")
    forged = ip(UE3, PDN)
    attack = IP(src=UE, dst=target) / UDP(sport=2152, dport=2152) / GTP_U_Header(teid=3) / forged
    plain = ip(UE, target)
    for packet in (attack, plain):
        host.enb.port.send(host.gw.tunnel(host.enb, 1, packet))
    until(lambda: host.gw.drops("protected_destination") == before + 2, "both are dropped")
    assert host.pdn.got(forged, timeout=0.3) is None
    assert host.enb2.got(plain, timeout=0.1) is None


def test_gtpu_to_another_address_of_the_host_is_not_decapsulated(host: Scene) -> None:
    forged = ip(UE3, PDN)
    for target in ("10.2.0.1", "10.3.0.255"):
        attack = (
            IP(src=UE, dst=target) / UDP(sport=2152, dport=2152) / GTP_U_Header(teid=3) / forged
        )
        host.enb.port.send(host.gw.tunnel(host.enb, 1, attack))
    assert host.pdn.got(forged, timeout=0.6) is None
    assert host.gw.get("c")["counters"]["uplink"]["packets"] == 0


def test_without_masquerade_the_ue_keeps_its_address(host: Scene) -> None:
    assert host.gw.up(host.enb, 1, ip(UE, PDN), host.pdn)[IP].src == UE


@pytest.fixture(scope="module")
def masquerade() -> Iterator[Scene]:
    with Lab(enbs=2) as lab:
        lab.exec("gw", ["ip", "addr", "add", "10.2.0.1/24", "dev", "eth2"])
        lab.exec("gw", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        lab.exec("pdn", ["ip", "route", "del", "10.45.0.0/16"])
        lab.start_controller(lab.config(core=HOST_CORE, gateway="masquerade = true"))
        made = scene(lab)
        made.sessions()
        yield made


def test_masquerade(masquerade: Scene) -> None:
    """The core host has no route to UEs, sees the gateway host, and its answers come back."""
    got = masquerade.gw.up(masquerade.enb, 1, ip(UE, PDN), masquerade.pdn)
    assert got[IP].src == "10.2.0.1"
    assert inner(masquerade.gw.ping(masquerade.enb, 1, UE, PDN))[IP].src == PDN
    assert inner(masquerade.gw.ping(masquerade.enb2, 3, UE3, PDN))[IP].src == PDN


def test_masquerade_spares_what_goes_to_the_bridge(masquerade: Scene) -> None:
    """A packet from a pool's address that the host routes to a UE keeps its source."""
    sent = ip("10.45.200.9", UE)
    to = masquerade.lab.mac("gw", "eth2")
    got = masquerade.gw.down(masquerade.pdn, sent, masquerade.enb, to_mac=to)
    assert inner(got)[IP].src == "10.45.200.9"


# --- access_routes, access_allow, ue_to_ue, dscp

FAR = "10.9.0.2"


@dataclass
class Routed:
    scene: Scene
    far: Host
    router_mac: str


@pytest.fixture(scope="module")
def routed() -> Iterator[Routed]:
    """All options at once: a base station behind a router, one that is not allowed."""
    with Lab(enbs=3) as lab:
        for name in ("router", "far"):
            lab.add_namespace(name)
        lab.link("router", "eth0", "lan", "router")
        lab.exec("lan", ["ip", "link", "set", "router", "master", "br0"])
        lab.link("router", "eth1", "far", "eth0")
        lab.exec("router", ["ip", "addr", "add", "10.1.0.254/24", "dev", "eth0"])
        lab.exec("router", ["ip", "addr", "add", "10.9.0.1/24", "dev", "eth1"])
        lab.exec("router", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        lab.exec("far", ["ip", "addr", "add", f"{FAR}/24", "dev", "eth0"])
        lab.exec("far", ["ip", "route", "add", "default", "via", "10.9.0.1"])
        options = """
access_routes = [{to = "10.9.0.0/16", via = "10.1.0.254"}]
access_allow = ["10.1.0.2/31", "10.9.0.0/24"]
ue_to_ue = "route"
dscp = 34
"""
        lab.start_controller(lab.config(gateway=options))
        made = scene(lab)
        made.sessions()
        made.gw.session("far", "10.45.0.9", 9, 109, FAR)
        yield Routed(made, Host(lab, "far", FAR), lab.mac("router", "eth1"))


def test_access_route_to_a_peer_beyond_a_router(routed: Routed) -> None:
    world, far = routed.scene, routed.far
    got = world.gw.up(far, 9, ip("10.45.0.9", PDN), world.pdn, via=routed.router_mac)
    assert got[IP].src == "10.45.0.9"
    got = world.gw.down(world.pdn, ip(PDN, "10.45.0.9"), far)
    assert (got[IP].src, got[IP].dst, got[GTP_U_Header].teid) == ("10.1.0.1", FAR, 109)
    world.gw.ping(far, 9, "10.45.0.9", PDN, via=routed.router_mac)


def test_access_allow(routed: Routed) -> None:
    world = routed.scene
    stranger = Host(world.lab, "enb3", "10.1.0.4")
    before = world.gw.drops("access_denied")
    packets = [ip(UE, PDN) for _ in range(7)]
    for packet in packets:
        stranger.port.send(world.gw.tunnel(stranger, 1, packet))
    until(lambda: world.gw.drops("access_denied") == before + 7, "each is counted")
    assert all(world.pdn.got(packet, timeout=0.05) is None for packet in packets)
    for enb, teid, ue in ((world.enb, 1, UE), (world.enb2, 3, UE3)):
        world.gw.up(enb, teid, ip(ue, PDN), world.pdn)
    assert world.gw.drops("access_denied") == before + 7


@pytest.mark.parametrize(
    ("target", "at", "teid"), [(UE2, "enb", 102), (UE3, "enb2", 103), (UE, "enb", 101)]
)
def test_ue_to_ue_is_routed(routed: Routed, target: str, at: str, teid: int) -> None:
    """To one at the same base station, to one at another, and to oneself; with the right TEID."""
    world = routed.scene
    enb = {"enb": world.enb, "enb2": world.enb2}[at]
    for near in (UE, target):  # resolves the base stations: see the next test
        world.gw.down(world.pdn, ip(PDN, near), enb if near == target else world.enb)
    sent = ip(UE, target)
    frame = world.gw.tunnel(world.enb, 1, sent)
    got = enb.reached(sent, lambda: world.enb.port.send(frame))
    assert (got[GTP_U_Header].teid, inner(got)[IP].src) == (teid, UE)
    back = ip(target, UE)
    uplink = {UE: 1, UE2: 2, UE3: 3}[target]
    frame = world.gw.tunnel(enb, uplink, back)
    got = world.enb.reached(back, lambda: enb.port.send(frame))
    assert (got[GTP_U_Header].teid, inner(got)[IP].dst) == (101, UE)


def test_ue_to_ue_resolves_the_base_station(routed: Routed) -> None:
    world = routed.scene
    world.gw.session("late", "10.45.0.8", 8, 108, "10.1.0.4")
    sent = ip(UE, "10.45.0.8")
    frame = world.gw.tunnel(world.enb, 1, sent)
    Host(world.lab, "enb3", "10.1.0.4").reached(sent, lambda: world.enb.port.send(frame))


def test_ue_to_ue_without_a_session(routed: Routed) -> None:
    world = routed.scene
    before = world.gw.drops("unknown_ue")
    world.enb.port.send(world.gw.tunnel(world.enb, 1, ip(UE, "10.45.99.99")))
    until(lambda: world.gw.drops("unknown_ue") == before + 1, "it is dropped")


@pytest.mark.parametrize("inner_dscp", [0, EXPEDITED])
def test_dscp_is_the_number(routed: Routed, inner_dscp: int) -> None:
    world = routed.scene
    got = world.gw.down(world.pdn, ip(PDN, UE, tos=inner_dscp << 2), world.enb)
    assert (got[IP].tos >> 2, inner(got)[IP].tos >> 2) == (34, inner_dscp)


# --- the defaults


@pytest.fixture(scope="module")
def plain() -> Iterator[Scene]:
    with Lab(enbs=2) as lab:
        lab.start_controller(lab.config(controller=KEPT))
        made = scene(lab)
        made.sessions()
        yield made


def test_ue_to_ue_is_denied_by_default(plain: Scene) -> None:
    before = plain.gw.drops("ue_to_ue")
    sent = [ip(UE, UE2), ip(UE, UE3), ip(UE, "10.45.99.99")]
    for packet in sent:
        plain.enb.port.send(plain.gw.tunnel(plain.enb, 1, packet))
    until(lambda: plain.gw.drops("ue_to_ue") == before + 3, "each is counted")
    assert plain.enb.got(sent[0], timeout=0.2) is None
    assert plain.enb2.got(sent[1], timeout=0.1) is None


@pytest.mark.parametrize("dscp", [0, EXPEDITED, 63])
def test_dscp_is_inherited_by_default(plain: Scene, dscp: int) -> None:
    got = plain.gw.down(plain.pdn, ip(PDN, UE, tos=dscp << 2), plain.enb)
    assert (got[IP].tos >> 2, inner(got)[IP].tos >> 2) == (dscp, dscp)


def test_physical_core_leaves_the_ttl(plain: Scene) -> None:
    assert plain.gw.up(plain.enb, 1, ip(UE, PDN, ttl=77), plain.pdn)[IP].ttl == 77
    got = plain.gw.down(plain.pdn, ip(PDN, UE, ttl=99), plain.enb)
    assert inner(got)[IP].ttl == 99


def test_core_and_options_change_with_a_restart(plain: Scene) -> None:
    """From a core port to the host's routing and back; what the first made is taken away."""
    lab = plain.lab
    lab.stop_controller()
    lab.start_controller(lab.config(controller=KEPT, core=HOST_CORE))
    ports = sorted(["br-ofgtp-c", *OWN, lab.end("eth1")])
    assert sorted(lab.vsctl("list-ports", "br-ofgtp").split()) == ports
    lab.exec("gw", ["ip", "addr", "add", "10.2.0.1/24", "dev", "eth2"])
    lab.exec("gw", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    plain.gw.ping(plain.enb, 1, UE, PDN)
    lab.exec("gw", ["ip", "addr", "del", "10.2.0.1/24", "dev", "eth2"])
    lab.stop_controller()
    lab.start_controller(lab.config(controller=KEPT))
    ports = sorted([*OWN, lab.end("eth1"), lab.end("eth2")])
    assert sorted(lab.vsctl("list-ports", "br-ofgtp").split()) == ports
    plain.gw.ping(plain.enb, 1, UE, PDN)


# --- several gateways

SECOND = """
[[gateway]]
name = "gw2"
ovsdb = "{ovsdb}"
openflow = "tcp:127.0.0.1:6654"
bridge = "br-two"
access_port = "eth3"
access_ip = "10.11.0.1/24"
core_port = "eth4"
core_ip = "10.12.0.1/24"
next_hop = "10.12.0.2"
ue_pools = ["10.46.0.0/16"]
"""


def test_several_gateways() -> None:
    """One whose port is missing does not hold up the other, and works when the port comes."""
    with Lab() as lab:
        for name in ("enb-b", "pdn-b"):
            lab.add_namespace(name)
        lab.link("gw", "eth4", "pdn-b", "eth0")
        lab.exec("pdn-b", ["ip", "addr", "add", "10.12.0.2/24", "dev", "eth0"])
        lab.exec("pdn-b", ["ip", "route", "add", "10.46.0.0/16", "via", "10.12.0.1"])
        lab.start_controller(lab.config() + SECOND.format(ovsdb=lab.ovsdb), status=503)
        one, two = World(lab), World(lab, "gw2", "br-two")
        enb, pdn = Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN)

        def first_connected() -> bool:
            return bool(one.report()["connected"])

        until(first_connected, "the first connects")
        one.session("a", UE, 1, 101)
        one.ping(enb, 1, UE, PDN)
        health = lab.http("GET", "/v1/health")
        by_name = {each["name"]: each for each in health.json()["gateways"]}
        assert health.status == 503
        assert by_name["gw1"]["connected"] and by_name["gw1"]["problem"] is None
        assert not by_name["gw2"]["connected"]
        assert by_name["gw2"]["problem"] == "interface eth3 does not exist"
        early = two.session("b", "10.46.0.2", 1, 101, "10.11.0.2")
        assert early["state"] == "pending"

        lab.link("gw", "eth3", "enb-b", "eth0")
        lab.exec("enb-b", ["ip", "addr", "add", "10.11.0.2/24", "dev", "eth0"])
        lab.wait_health(200)
        until(lambda: two.state("b") == "active", "the early session is installed")
        enb_b, pdn_b = Host(lab, "enb-b", "10.11.0.2"), Host(lab, "pdn-b", "10.12.0.2")
        for world, station, core, ue, far in (
            (one, enb, pdn, UE, PDN),
            (two, enb_b, pdn_b, "10.46.0.2", "10.12.0.2"),
        ):
            world.ping(station, 1, ue, far)
            world.down(core, ip(far, ue), station)
            # marked on the way (ECN): by gtpu ports that both have under one UDP port
            capable = ip(ue, far, ttl=96, tos=2)
            marked = Ether(world.tunnel(station, 1, capable))
            marked[IP].tos = 3
            del marked[IP].chksum
            sends = partial(station.port.send, bytes(marked))
            assert core.reached(capable, sends)[IP].tos == 3
        # the same TEID in both, and no packet of one in the other
        stray = ip("10.46.0.2", PDN)
        before = one.drops("no_uplink_session")
        enb.port.send(one.tunnel(enb, 1, stray))
        until(lambda: one.drops("no_uplink_session") == before + 1, "it is dropped")
        access = ip("10.46.0.2", "10.1.0.2")
        before = two.drops("protected_destination")
        enb_b.port.send(two.tunnel(enb_b, 1, access))
        until(lambda: two.drops("protected_destination") == before + 1, "the other's access too")
        unnamed = lab.http("POST", "/v1/sessions", {"ue_ip": "10.45.0.77"})
        assert unnamed.status == 422 and unnamed.json()["errors"][0]["loc"] == "gateway"
        assert one.flows("table=30") != two.flows("table=30")
        assert one.difference() == two.difference() == []
