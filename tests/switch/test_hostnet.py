"""Addresses, routes, settings and offloads of the host, in a namespace beside a real switch."""

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import AccessRoute
from ofgtp.southbound import hostnet
from ofgtp.southbound.ovsdb import Ovsdb
from tests.support.lab import Lab

pytestmark = pytest.mark.switch

NEIGHBOUR = "0e:00:00:00:00:01"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(switch=False) as lab, lab.inside("gw"):
        yield lab


def ip(lab: Lab, *words: str) -> list[dict[str, Any]]:
    out = lab.exec("gw", ["ip", "-json", *words]).stdout
    return [entry for entry in json.loads(out or "[]") if entry]


def make_device(lab: Lab, name: str) -> None:
    """A device that stands in for one of the bridge's own."""
    lab.link("gw", name, "pdn", name)
    lab.exec("gw", ["ip", "link", "set", name, "down"])


def test_what_an_interface_is(lab: Lab) -> None:
    assert hostnet.exists("eth1") and not hostnet.exists("eth7")
    assert hostnet.mac("eth1") == lab.mac("gw", "eth1")
    assert hostnet.mtu("eth1") == 1500
    assert hostnet.is_up("eth1")
    lab.exec("gw", ["ip", "link", "set", "eth1", "down", "mtu", "1400"])
    assert hostnet.mtu("eth1") == 1400
    assert not hostnet.is_up("eth1")
    assert hostnet.ensure_up("eth1")
    assert hostnet.is_up("eth1")
    assert not hostnet.ensure_up("eth1")
    for ask in (hostnet.mac, hostnet.mtu, hostnet.is_up, hostnet.port_refusal):
        with pytest.raises(GatewayNotReady, match="interface eth7 does not exist"):
            ask("eth7")


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        (["ip addr add 192.0.2.7/24 dev eth1"], "carries the host's address 192.0.2.7"),
        (["ip addr add 169.254.1.1/16 scope link dev eth1"], "address 169.254.1.1"),
        (["ip -6 addr add 2001:db8::7/64 dev eth1 nodad"], "address 2001:db8::7"),
        (["ip route add default dev eth1"], "a default route of the host goes out"),
        (["ip route add default dev eth1 table 77"], "a default route of the host goes out"),
        (["ip -6 route add default via fe80::1 dev eth1"], "a default route of the host goes out"),
        (
            ["ip link add br9 type bridge", "ip link set eth1 master br9"],
            "belongs to br9",
        ),
        (
            ["ip link add link eth1 name mv0 type macvlan"],
            r"interface mv0 \(macvlan\) stands on eth1",
        ),
    ],
)
def test_port_that_the_host_uses_is_refused(lab: Lab, commands: list[str], reason: str) -> None:
    lab.exec("gw", ["sysctl", "-qw", "net.ipv6.conf.eth1.disable_ipv6=0"])
    assert hostnet.port_refusal("eth1") is None
    for command in commands:
        lab.exec("gw", command.split())
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(hostnet.port_refusal("eth1"))
    assert hostnet.port_refusal("eth2") is None


def test_loopback_is_refused(lab: Lab) -> None:
    assert hostnet.port_refusal("lo") == "interface lo is the loopback"


def test_link_local_ipv6_and_routes_that_are_not_default_are_no_reason(lab: Lab) -> None:
    lab.exec("gw", ["sysctl", "-qw", "net.ipv6.conf.eth1.disable_ipv6=0"])
    lab.exec("gw", ["ip", "-6", "addr", "add", "fe80::7/64", "dev", "eth1", "nodad"])
    lab.exec("gw", ["ip", "route", "add", "198.51.100.0/24", "dev", "eth1"])
    assert hostnet.port_refusal("eth1") is None


def test_veth_whose_peer_is_here_is_no_reason(lab: Lab) -> None:
    lab.exec("gw", ["ip", "link", "add", "eth8", "type", "veth", "peer", "name", "eth9"])
    assert hostnet.port_refusal("eth8") is None


def test_address_is_made_once_and_replaces_an_old_one(lab: Lab) -> None:
    make_device(lab, "br-x.1")
    first, second = IPv4Interface("10.1.0.1/24"), IPv4Interface("10.1.0.1/16")
    assert hostnet.ensure_address("br-x.1", first)
    assert hostnet.is_up("br-x.1")
    assert not hostnet.ensure_address("br-x.1", first)
    assert hostnet.ensure_address("br-x.1", second)
    (link,) = ip(lab, "-4", "addr", "show", "dev", "br-x.1")
    (info,) = link["addr_info"]
    assert (info["local"], info["prefixlen"]) == ("10.1.0.1", 16)


@pytest.mark.parametrize("forward", [True, False])
def test_settings_of_our_devices(lab: Lab, forward: bool) -> None:
    lab.exec("gw", ["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=0"])
    lab.exec("gw", ["sysctl", "-qw", f"net.ipv4.conf.default.forwarding={int(not forward)}"])
    make_device(lab, "br-x.1")  # a dot, which sysctl's own notation would take for a slash
    assert hostnet.ensure_device_settings("br-x.1", forward=forward)
    assert not hostnet.ensure_device_settings("br-x.1", forward=forward)
    ipv4 = Path("/proc/sys/net/ipv4/conf/br-x.1")
    read = {name: (ipv4 / name).read_text().strip() for name in ("arp_ignore", "forwarding")}
    assert read == {"arp_ignore": "1", "forwarding": str(int(forward))}
    hostnet.ensure_up("br-x.1")
    assert ip(lab, "-6", "addr", "show", "dev", "br-x.1") == []
    with pytest.raises(GatewayNotReady, match="br-y/arp_ignore"):
        hostnet.ensure_device_settings("br-y", forward=forward)


def test_access_routes_follow_the_configuration(lab: Lab) -> None:
    make_device(lab, "br-ofgtp")
    hostnet.ensure_address("br-ofgtp", IPv4Interface("10.1.0.1/24"))
    lab.exec("gw", ["ip", "route", "add", "203.0.113.0/24", "dev", "br-ofgtp"])
    a = AccessRoute(IPv4Network("10.9.0.0/16"), IPv4Address("10.1.0.254"))
    b = AccessRoute(IPv4Network("10.8.0.1/32"), IPv4Address("10.1.0.254"))
    c = AccessRoute(IPv4Network("10.8.0.1/32"), IPv4Address("10.1.0.253"))

    def routes() -> dict[object, object]:
        found = ip(lab, "route", "show", "dev", "br-ofgtp")
        return {r["dst"]: r.get("gateway") for r in found if r.get("protocol") != "kernel"}

    other = {"203.0.113.0/24": None}
    assert hostnet.ensure_routes(lab.gateway(access_routes=(a, b)), NEIGHBOUR)
    assert routes() == {"10.9.0.0/16": "10.1.0.254", "10.8.0.1": "10.1.0.254", **other}
    assert not hostnet.ensure_routes(lab.gateway(access_routes=(a, b)), NEIGHBOUR)
    assert hostnet.ensure_routes(lab.gateway(access_routes=(c,)), NEIGHBOUR)
    assert routes() == {"10.8.0.1": "10.1.0.253", **other}
    assert hostnet.ensure_routes(lab.gateway(), NEIGHBOUR)
    assert routes() == other


def test_host_core_routes(lab: Lab) -> None:
    pools = (IPv4Network("10.45.0.0/16"), IPv4Network("10.46.0.0/24"))
    gateway = lab.gateway(core_port="host", next_hop=None, ue_pools=pools)
    for name in (gateway.bridge, gateway.core_device):
        make_device(lab, name)
    hostnet.ensure_address(gateway.core_device, gateway.core_ip)
    assert hostnet.ensure_routes(gateway, NEIGHBOUR)
    assert not hostnet.ensure_routes(gateway, NEIGHBOUR)
    for pool in pools:
        (route,) = ip(lab, "route", "get", str(pool[9]))
        assert (route["gateway"], route["dev"]) == ("169.254.0.1", "br-ofgtp-c")
    (entry,) = ip(lab, "neigh", "show", "dev", "br-ofgtp-c")
    assert (entry["lladdr"], entry["state"]) == (NEIGHBOUR, ["PERMANENT"])
    assert hostnet.ensure_routes(gateway, "0e:00:00:00:00:02")
    (entry,) = ip(lab, "neigh", "show", "dev", "br-ofgtp-c")
    assert entry["lladdr"] == "0e:00:00:00:00:02"


def test_route_of_the_host_is_not_taken_over(lab: Lab) -> None:
    gateway = lab.gateway(core_port="host", next_hop=None)
    for name in (gateway.bridge, gateway.core_device):
        make_device(lab, name)
    hostnet.ensure_address(gateway.core_device, gateway.core_ip)
    lab.exec("gw", ["ip", "route", "add", "10.45.0.0/16", "dev", "eth2"])
    with pytest.raises(GatewayNotReady, match=r"route to 10.45.0.0/16 of its own \(dev eth2\)"):
        hostnet.ensure_routes(gateway, NEIGHBOUR)
    (route,) = ip(lab, "route", "show", "exact", "10.45.0.0/16")
    assert route["dev"] == "eth2"


def test_ips_own_words(lab: Lab) -> None:
    far = AccessRoute(IPv4Network("10.9.0.0/16"), IPv4Address("192.0.2.254"))
    make_device(lab, "br-ofgtp")
    hostnet.ensure_address("br-ofgtp", IPv4Interface("10.1.0.1/24"))
    with pytest.raises(GatewayNotReady, match="Nexthop has invalid gateway"):
        hostnet.ensure_routes(lab.gateway(access_routes=(far,)), NEIGHBOUR)


def test_offloads_are_turned_off_and_back_on(lab: Lab) -> None:
    lab.exec("gw", ["ethtool", "-K", "eth1", "gro", "on"])
    assert hostnet.offloads("eth1") == {"gro": "on"}  # LRO and hardware GRO of a veth are fixed
    assert hostnet.offloads_off("eth1") == {"gro": "on"}
    assert hostnet.offloads("eth1") == {"gro": "off"}
    assert hostnet.offloads_off("eth1") == {}
    hostnet.restore_offloads("eth1", {})
    assert hostnet.offloads("eth1") == {"gro": "off"}
    hostnet.restore_offloads("eth1", {"gro": "on"})
    assert hostnet.offloads("eth1") == {"gro": "on"}


def test_local_device_of_a_real_bridge(lab: Lab) -> None:
    """Its MAC is the one asked for, its MTU the ports', and it answers on its address."""
    lab.start_switch()
    for dev in ("eth1", "eth2"):
        lab.exec("gw", ["ip", "link", "set", dev, "mtu", "1460"])
    gateway = lab.gateway()
    db = Ovsdb(lab.ovsdb)
    facts = db.ensure(gateway, nonce="a")
    assert not hostnet.is_up(gateway.bridge)
    hostnet.ensure_address(gateway.bridge, gateway.access_ip)
    hostnet.ensure_device_settings(gateway.bridge, forward=False)
    assert hostnet.mac(gateway.bridge) == facts.local_mac
    assert hostnet.mtu(gateway.bridge) == 1460
    lab.ofctl("add-flow", gateway.bridge, "in_port=1,actions=LOCAL")
    lab.ofctl("add-flow", gateway.bridge, "in_port=LOCAL,actions=1")
    lab.exec("enb", ["ping", "-c1", "-W20", "10.1.0.1"])
    db.remove(gateway)
    db.close()
    assert not hostnet.exists(gateway.bridge)
