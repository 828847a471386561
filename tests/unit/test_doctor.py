"""What `ofgtp doctor` makes of a host, told by made-up facts; and how it reads the host's tools."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)
from pathlib import Path
from typing import Any

import pytest

from ofgtp import cli
from ofgtp.control.host import proof, survey
from ofgtp.core.doctor import of_controller, of_gateway, of_host, of_pfcp, of_switch
from ofgtp.core.doctor.facts import (
    Chain,
    Controller,
    Interface,
    Jumped,
    Reach,
    Route,
    Socket,
    Switch,
)
from ofgtp.core.doctor.finding import Finding, Verdict
from ofgtp.core.doctor.of_firewall import blocked, closes, firewall
from ofgtp.core.errors import OfgtpError
from ofgtp.core.model import AccessRoute, Pfcp
from ofgtp.core.packets import frames
from ofgtp.core.rules.terms import longest_headers
from ofgtp.southbound import ovstools
from tests.support.lab import gateway

ROOT = Path(__file__).parents[2]
GW = gateway()
HOST_GW = gateway(core_port="host", next_hop=None)
HOST_GW6 = replace(
    HOST_GW,
    core_ip6=IPv6Interface("2001:db8:b::1/64"),
    ue_pools6=(IPv6Network("2001:db8:a::/48"),),
)
OVSDB = GW.ovsdb
SWITCH = Switch(
    OVSDB,
    version="3.1.0",
    datapath_types=["netdev", "system"],
    interface_types=["gtpu", "patch"],
    bridges={"br-ofgtp": "gw1"},
    ports={"eth1": "br-ofgtp", "eth2": "br-ofgtp"},
)
ETH1, ETH2 = Interface("eth1", "up", 1544), Interface("eth2", "up", 1500)
URL = "http://127.0.0.1:8080"
AWAY = Controller(URL, error=f"no answer at {URL}: is ofgtp running?")
REPORT: dict[str, Any] = {
    "name": "gw1",
    "connected": True,
    "in_sync": True,
    "problem": None,
    "next_hop": {"ip": "10.2.0.2", "mac": "52:54:00:00:00:03", "state": "resolved"},
    "lease": {"seconds": 10, "seconds_left": 9.5, "renewals": 7, "expiries": 0},
}
RUNS = Controller(URL, health={"store": "ok"}, gateways={"gw1": REPORT})
OK, WARNING, FAILED, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.FAILED, Verdict.SKIPPED


def judged(finding: Finding, verdict: Verdict, *parts: str) -> None:
    """The verdict is this one, and text and remedy name these; what is wrong has a remedy."""
    assert finding.verdict is verdict, finding
    told = "\n".join((finding.text, *finding.remedy))
    assert all(part in told for part in parts), finding
    assert bool(finding.remedy) == (verdict in (WARNING, FAILED)), finding


def test_root_and_programs() -> None:
    judged(of_host.root(True), OK)
    judged(of_host.root(False), FAILED, "sudo ofgtp doctor")
    judged(of_host.programs([]), OK)
    judged(
        of_host.programs(["nft", "ovs-ofctl", "ovs-vsctl"]),
        FAILED,
        "apt-get install nftables openvswitch-switch",
    )


def test_configuration() -> None:
    path = "/etc/ofgtp/ofgtp.toml"
    names = ["gw1", "gw2", "gw3", "gw4"]
    good = of_host.configuration(path, None, names, True)
    judged(good, OK, "gateways gw1, gw2, gw3 and 1 more")
    missing = of_host.configuration(path, "cannot be read", [], False)
    judged(missing, FAILED, "is not there", f"install -D -m 644 etc/ofgtp.toml {path}")
    wrong = of_host.configuration(path, f"{path}:6: gateway.x: unknown key", [], True)
    judged(wrong, FAILED, ":6: gateway.x", "ofgtp check-config")


def test_store() -> None:
    judged(of_host.store("/var/lib/ofgtp", 1 << 40, None), OK)
    judged(of_host.store("/var/lib/ofgtp", 5 << 20, None), WARNING, "5 MB", "df -h /var/lib/ofgtp")
    judged(of_host.store("/x", None, "/x cannot be written"), FAILED, "mkdir -p /x")


def test_the_switch() -> None:
    judged(of_switch.ovsdb(SWITCH), OK, OVSDB)
    judged(of_switch.vswitchd(SWITCH), OK)
    judged(of_switch.datapath(SWITCH), OK)
    gone = replace(SWITCH, ovsdb_error="x does not exist", daemon_error="y")
    judged(of_switch.ovsdb(gone), FAILED, "x does not exist", "restart openvswitch-switch")
    judged(of_switch.vswitchd(gone), FAILED, "y", "ovs-vswitchd.log")
    bare = replace(SWITCH, datapath_types=["system"], interface_types=["vxlan"])
    judged(of_switch.datapath(bare), FAILED, "netdev", "gtpu ports")


@pytest.mark.parametrize(
    ("version", "verdict", "part"),
    [
        ("3.1.0", OK, "13 known faults"),
        ("3.5.0", OK, "11 known faults"),
        ("4.0.0", OK, "11 known faults"),
        ("3.3.1", WARNING, "tests run on 3.1, 3.5, 4.0"),
        ("2.12.1", FAILED, "2.13 is the first"),
        ("2.13.0", WARNING, "known faults"),
        (None, WARNING, "(unknown)"),
    ],
)
def test_version(version: str | None, verdict: Verdict, part: str) -> None:
    judged(of_switch.version(replace(SWITCH, version=version)), verdict, part)


def test_leftover() -> None:
    assert of_switch.leftover(SWITCH, proof.BRIDGE) is None
    left = replace(SWITCH, bridges={proof.BRIDGE: proof.BRIDGE})
    found = of_switch.leftover(left, proof.BRIDGE)
    assert found is not None
    judged(found, WARNING, "ofgtp doctor --packet")


def test_nftables() -> None:
    judged(of_host.nftables(None, "6.1.0"), OK, "6.1.0")
    judged(of_host.nftables("Error: unknown chain hook", "5.10.0"), FAILED, "5.10.0", "5.16")


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", None])
def test_an_address_to_listen_on(address: str | None) -> None:
    taken = [Socket("tcp", address, 8080, "nginx", 17)]

    def listens(sockets: list[Socket], controller: Controller) -> Finding:
        return of_host.listens("listen", "listen", "127.0.0.1", 8080, sockets, controller)

    judged(listens([], AWAY), OK, "is free")
    judged(listens(taken, RUNS), OK, "nginx (pid 17)")
    judged(listens(taken, replace(AWAY, refuses=True)), OK)
    judged(listens(taken, AWAY), FAILED, "127.0.0.1:8080 is taken by nginx (pid 17)")
    judged(listens([], RUNS), FAILED, "systemctl restart ofgtp")
    others = [
        Socket("udp", address, 8080, "x", 1),
        Socket("tcp", address, 8081, "x", 1),
        Socket("tcp", "192.0.2.1", 8080, "x", 1),
    ]
    judged(listens(others, AWAY), OK, "is free")


N4 = IPv4Address("10.3.0.1")
PFCP = Pfcp(N4, (IPv4Network("10.3.0.0/24"),), N4)
NODE: dict[str, Any] = {
    "problem": None,
    "associations": [{"node_id": "smf", "ip": "10.3.0.5", "state": "up", "heard_at": "12:00"}],
    "refused": [],
    "strangers": [],
    "network_instances": [],
}


def test_where_pfcp_is_heard() -> None:
    def at(
        *sockets: Socket, here: Any = (N4,), controller: Any = AWAY, node: Any = None
    ) -> Finding:
        return of_pfcp.address(PFCP, here, sockets, controller, node)

    held = Socket("udp", "10.3.0.1", 8805, "open5gs-upfd", 9)
    judged(at(), OK, "10.3.0.1, UDP port 8805 is free")
    judged(at(here=()), FAILED, "no address of this host", "ip -br addr")
    judged(at(held, controller=RUNS, node=NODE), OK, "the controller's")
    away = NODE | {"problem": "cannot listen"}
    judged(at(held, controller=RUNS, node=away), FAILED, "open5gs-upfd", "ss -lunp")
    judged(at(held), SKIPPED, "open5gs-upfd")
    judged(at(controller=RUNS, node=away), FAILED, "nobody listens", "systemctl restart ofgtp")
    elsewhere = Socket("udp", "10.1.0.1", 8805, "x", 1), Socket("tcp", None, 8805, "x", 1)
    judged(at(*elsewhere), OK, "is free")
    judged(at(replace(held, address=None), controller=RUNS, node=away), FAILED, "is taken by")


def test_control_planes() -> None:
    def judge(verdict: Verdict, *parts: str, **changes: Any) -> None:
        judged(of_pfcp.control_planes(NODE | changes), verdict, *parts)

    judge(OK, "smf (up, last heard 12:00)")
    judged(of_pfcp.control_planes(None), SKIPPED)
    judge(FAILED, "cannot listen", "ofgtp pfcp", problem="cannot listen")
    judge(WARNING, "none has asked", "tcpdump", associations=[])
    strangers = [{"ip": "10.9.0.7"}]
    judge(FAILED, "10.9.0.7", "`peers`", associations=[], strangers=strangers)
    judge(OK, "smf", strangers=strangers)
    refused = [{"ip": "10.3.0.9", "reason": "Association Setup Request: no"}]
    judge(FAILED, "10.3.0.9", "Setup Request: no", associations=[], refused=refused)
    down = [{"node_id": "smf", "ip": "10.3.0.5", "state": "down", "heard_at": None}]
    judge(WARNING, "smf (down, last heard never)", "ping 10.3.0.5", associations=down)


def test_network_instances() -> None:
    some = replace(PFCP, network_instances=("internet", "IMS"))

    def judge(verdict: Verdict, text: str, *names: tuple[str, bool], pfcp: Pfcp = some) -> None:
        named = [{"name": name, "known": known} for name, known in names]
        node = NODE | {"network_instances": named}
        judged(of_pfcp.network_instances(pfcp, node), verdict, text)

    judge(OK, "any is taken", pfcp=PFCP)
    judge(SKIPPED, "since ofgtp has started")
    judge(WARNING, "asked for IMS since", ("internet", True))
    judge(OK, "internet, IMS", ("internet", True), ("ims", True))
    judge(FAILED, "refused: corp", ("internet", True), ("corp", False))
    judged(of_pfcp.network_instances(some, None), SKIPPED)


def test_others_that_speak_gtp_u() -> None:
    judged(of_host.gtp_port([], [], [GW]), OK)
    judged(of_host.gtp_port([Socket("udp", "192.0.2.1", 2152, "x", 1)], [], [GW]), OK)
    for address in (None, "0.0.0.0", "10.1.0.1"):
        taken = [Socket("udp", address, 2152, "osmo-ggsn", 5)]
        judged(of_host.gtp_port(taken, [], [GW]), WARNING, "osmo-ggsn (pid 5)")
    judged(of_host.gtp_port([], ["gtp0"], [GW]), WARNING, "ip link del gtp0")


def one(findings: list[Finding]) -> Finding:
    (found,) = findings
    return found


def test_others_rules_on_our_ports() -> None:
    ours = Chain("netdev", "ofgtp_br-ofgtp", "access_in", "ingress", "drop", ("eth1",))
    judged(one(firewall([ours], [], [GW])), OK, "no other rules")
    theirs = Chain("netdev", "mine", "c", "ingress", "accept", ("lo", "eth1"))
    found = one(firewall([ours, theirs], [], [GW]))
    judged(found, WARNING, "nft list chain netdev mine c", "reads packets before it")
    out = replace(theirs, hook="egress")
    assert "before it" not in one(firewall([out], [], [GW])).text
    judged(one(firewall([replace(theirs, devices=("br-ofgtp",))], [], [GW])), WARNING, "br-ofgtp")
    judged(one(firewall([replace(theirs, devices=("eth9",))], [], [GW])), OK)


FORWARD = Chain("inet", "filter", "forward", "forward", "drop")


def test_rules_on_what_is_routed() -> None:
    judged(one(firewall([FORWARD], [], [GW])), OK, "GTP-U does not pass it")
    judged(
        one(firewall([FORWARD], [], [HOST_GW])),
        WARNING,
        "nft insert rule inet filter forward iifname br-ofgtp-c accept",
        "nft insert rule inet filter forward oifname br-ofgtp-c accept",
    )
    theirs = Chain("ip", "filter", "FORWARD", "forward", "drop")
    judged(one(firewall([theirs], [], [HOST_GW])), WARNING, "iptables -I FORWARD -i br-ofgtp-c -j")
    rejects = replace(FORWARD, policy="accept", rules=['iifname "x" accept', "counter reject"])
    judged(one(firewall([rejects], [], [HOST_GW])), WARNING, "drops by default")
    judged(one(firewall([replace(FORWARD, policy="accept")], [], [HOST_GW])), OK)
    both = ['iifname "br-ofgtp-c" counter accept', 'oifname "br-ofgtp-c" accept', "drop"]
    judged(one(firewall([replace(FORWARD, rules=both)], [], [HOST_GW])), OK)
    pools = ["ip saddr 10.45.0.0/16 accept", "ip daddr 10.45.0.0/16 accept"]
    judged(one(firewall([replace(FORWARD, rules=pools)], [], [HOST_GW])), OK)
    judged(one(firewall([replace(FORWARD, rules=both[:1])], [], [HOST_GW])), WARNING)
    dropped = ['iifname "br-ofgtp-c" drop', 'oifname "br-ofgtp-c" accept']
    judged(one(firewall([replace(FORWARD, rules=dropped)], [], [HOST_GW])), WARNING)
    judged(one(firewall([], ["filter"], [HOST_GW])), WARNING, "iptables-legacy -S FORWARD")


def test_rules_on_ipv6_that_is_routed() -> None:
    of_ipv6 = Chain("ip6", "filter", "FORWARD", "forward", "drop")
    judged(one(firewall([of_ipv6], [], [HOST_GW])), OK)
    judged(one(firewall([of_ipv6], [], [HOST_GW6])), WARNING, "ip6tables -I FORWARD -i br-ofgtp-c")
    ipv4, ipv6 = (
        [f"{family} {end} {pool} accept" for end in ("saddr", "daddr")]
        for family, pool in (("ip", "10.45.0.0/16"), ("ip6", "2001:db8:a::/48"))
    )
    for rules, verdict in ((ipv4, WARNING), (ipv6, WARNING), (ipv4 + ipv6, OK)):
        judged(one(firewall([replace(FORWARD, rules=rules)], [], [HOST_GW6])), verdict)
    judged(one(firewall([replace(of_ipv6, rules=ipv6)], [], [HOST_GW6])), OK)
    ip4 = Chain("ip", "filter", "FORWARD", "forward", "drop", rules=ipv4)
    judged(one(firewall([ip4], [], [HOST_GW6])), OK)


def test_rules_that_do_no_harm() -> None:
    judged(one(firewall([], ["filter"], [GW])), OK)
    daemon = Chain("inet", "firewalld", "filter_INPUT", "input", "accept")
    judged(one(firewall([daemon], [], [GW])), OK, "firewalld is active")


REST_CUT = Reach("REST", "127.0.0.1:8080", "dropped")
OPENFLOW_CUT = Reach("OpenFlow", "127.0.0.1:6653", "refused")
INPUT = Chain("inet", "filter", "input", "input", "drop")


def test_rules_on_what_the_host_sends_to_itself() -> None:
    reached = replace(REST_CUT, state="open")
    judged(one(firewall([INPUT], [], [GW], [reached])), OK, "not in the way")
    cut = one(firewall([INPUT, FORWARD], [], [GW], [REST_CUT, OPENFLOW_CUT]))
    judged(
        cut,
        FAILED,
        "REST at 127.0.0.1:8080 and OpenFlow at 127.0.0.1:6653",
        "dropped by inet filter input (its policy)",
        "nft insert rule inet filter input iifname lo accept",
    )
    assert len(cut.remedy) == 1
    out = Chain("ip", "filter", "OUTPUT", "output", "accept", rules=["tcp dport 6653 drop"])
    refused = one(firewall([out], [], [GW], [OPENFLOW_CUT]))
    judged(
        refused,
        FAILED,
        "is refused by ip filter OUTPUT (rule: tcp dport 6653 drop)",
        "iptables -I OUTPUT -o lo -j ACCEPT",
    )
    raw = Chain("ip6", "raw", "PREROUTING", "prerouting", "drop")
    judged(one(firewall([raw], [], [GW], [REST_CUT])), FAILED, "ip6tables -t raw -I PREROUTING -i")
    old = one(firewall([], ["filter"], [GW], [REST_CUT]))
    judged(old, FAILED, "by old iptables", "iptables-legacy -I INPUT -i lo")
    judged(one(firewall([], [], [GW], [REST_CUT])), FAILED, "nft list ruleset")
    assert blocked([cut]) is cut
    warned = firewall([FORWARD], [], [HOST_GW])
    assert blocked(warned) is None
    judged(of_controller.controller(AWAY, True, cut), FAILED, "see `firewall`", "iifname lo accept")
    away = of_report(connected=False, problem="the switch has not connected by OpenFlow yet")
    judged(of_controller.connected(GW, away, cut), FAILED, "see `firewall`", "iifname lo accept")
    judged(of_controller.connected(GW, RUNS, cut), OK)
    held = [Socket("tcp", "127.0.0.1", 8080, "ryu-manager", 17)]
    found = of_host.listens("listen", "listen", "127.0.0.1", 8080, held, AWAY, cut)
    judged(found, FAILED, "is not reached: see `firewall`")


@pytest.mark.parametrize(
    ("rule", "meets"),
    [
        ("drop", True),
        ("counter reject with icmp port-unreachable", True),
        ('iifname "lo" drop', True),
        ('iifname "eth0" drop', False),
        ("tcp dport 8080 drop", True),
        ("tcp dport { 22, 8000-8100 } reject with tcp reset", True),
        ("tcp dport { 22, 443 } drop", False),
        ("udp dport 8080 drop", False),
        ("ct state invalid drop", False),
        ("tcp dport 8080 accept", False),
    ],
)
def test_the_rule_that_cuts_the_host_off_is_named(rule: str, meets: bool) -> None:
    chain = replace(INPUT, policy="accept", rules=["ct state invalid drop", rule, "accept"])
    found = one(firewall([chain], [], [GW], [REST_CUT]))
    named = f"is dropped by inet filter input (rule: {rule})"
    judged(found, FAILED, named if meets else "a rule that is not found")


@pytest.mark.parametrize(("asked", "meets"), [("", True), ('iifname "eth0"', False)])
def test_a_rule_in_a_chain_that_another_leads_to(asked: str, meets: bool) -> None:
    jumped = [Jumped("mine", asked, "tcp dport 22 drop"), Jumped("mine", asked, "reject")]
    chain = replace(INPUT, policy="accept", rules=["jump mine"], jumped=jumped)
    found = one(firewall([chain], [], [GW], [REST_CUT]))
    named = "is dropped by inet filter input (rule: reject, in chain mine)"
    judged(found, FAILED, named if meets else "a rule that is not found")


def test_rules_on_arp() -> None:
    arp = Chain("arp", "filter", "INPUT", "input", "drop")
    judged(
        one(firewall([arp], [], [GW])),
        WARNING,
        "no answer",
        "nft insert rule arp filter INPUT iifname br-ofgtp accept",
    )
    judged(one(firewall([replace(arp, policy="accept")], [], [GW])), OK)


def test_a_restart_that_ends_tunnels_says_so() -> None:
    hung = of_controller.controller(replace(AWAY, hangs=True), True)
    assert "systemctl restart ofgtp" in hung.warned(False).remedy
    told = [line for line in hung.warned(True).remedy if "restart ofgtp" in line]
    assert told == [
        'systemctl restart ofgtp   # a restart ends all tunnels (ownership = "controller")'
    ]
    held = [Socket("tcp", "127.0.0.1", 8080, "x", 17)]
    taken = of_host.listens("listen", "listen", "127.0.0.1", 8080, held, AWAY).warned(True)
    assert any(
        "if it is an ofgtp that hangs; a restart ends all tunnels" in e for e in taken.remedy
    )


def test_host_services() -> None:
    served = [
        Socket("tcp", "0.0.0.0", 22, "sshd", 1),
        Socket("udp", None, 53, "dnsmasq", 2),
        Socket("tcp", "127.0.0.1", 8080, "ryu-manager", 3),
        Socket("tcp", "::1", 25, "exim", 4),
    ]
    judged(of_gateway.host_services(HOST_GW, served), OK, "no service")
    open_ = replace(HOST_GW, host_services="allow")
    found = of_gateway.host_services(open_, served)
    judged(found, WARNING, "dnsmasq (udp 53), sshd (tcp 22)", 'host_services = "deny"')
    assert "8080" not in found.text
    judged(of_gateway.host_services(open_, served[2:]), OK)


def test_controller() -> None:
    judged(of_controller.controller(RUNS, True), OK, URL)
    judged(of_controller.controller(AWAY, True), FAILED, "no answer", "systemctl start ofgtp")
    judged(of_controller.controller(AWAY, False), SKIPPED, "nothing is installed yet")
    judged(of_controller.controller(replace(AWAY, refuses=True), False), FAILED, "--token-file")
    judged(
        of_controller.controller(replace(AWAY, hangs=True), True), FAILED, "systemctl restart ofgtp"
    )
    full = replace(RUNS, health={"store": "disk full"})
    judged(of_controller.controller(full, True), FAILED, "disk full")


def of_report(**changes: Any) -> Controller:
    return replace(RUNS, gateways={"gw1": {**REPORT, **changes}})


def test_connected() -> None:
    judged(of_controller.connected(GW, RUNS), OK)
    judged(of_controller.connected(GW, of_report(in_sync=False)), WARNING)
    away = of_report(connected=False, problem="no ovsdb-server")
    judged(of_controller.connected(GW, away), FAILED, "no ovsdb-server", "br-ofgtp")
    judged(of_controller.connected(GW, of_report(problem="interface eth1 does not exist")), FAILED)
    judged(of_controller.connected(gateway(name="new"), RUNS), FAILED, "no gateway new", "restart")


def test_next_hop() -> None:
    judged(of_controller.next_hop(GW, REPORT), OK, "52:54:00:00:00:03")
    judged(of_controller.next_hop(HOST_GW, {**REPORT, "next_hop": None}), SKIPPED)
    for state in ("unresolved", "stale"):
        report = {**REPORT, "next_hop": {"ip": "10.2.0.2", "mac": None, "state": state}}
        judged(of_controller.next_hop(GW, report), FAILED, "tcpdump -eni eth2 arp")


def test_peers() -> None:
    hop = {"ip": "10.1.0.2", "mac": "52:54:00:00:00:02"}
    peer = {"gateway": "gw1", "ip": "10.1.0.2", "state": "up", "next_hop": hop}
    other = {**peer, "gateway": "gw2", "state": "down"}
    silent = [{**peer, "ip": f"10.1.0.{n}", "next_hop": {**hop, "mac": None}} for n in range(5)]

    def of(peers: list[dict[str, Any]], **changes: Any) -> Finding:
        return of_controller.peers(GW, {**REPORT, **changes}, peers)

    judged(of([]), OK)
    judged(of([peer, other]), OK, "1 peer,")
    down = {"up": 1, "unknown": 0, "down": 1}
    judged(of([{**peer, "state": "down"}], paths=down), WARNING, "1 of 2 peers does", "10.1.0.2")
    alone = {"up": 0, "unknown": 0, "down": 1}
    judged(of([{**peer, "state": "down"}], paths=alone), FAILED, "1 of 1 peer does", "10.1.0.2")
    hops = {"resolved": 0, "unresolved": 5, "stale": 0}
    judged(of(silent, neighbours=hops), WARNING, "5 of 5", "10.1.0.2 and 2 more", "eth1")
    judged(of([{**peer, "next_hop": None}], unrouted=["8.8.8.8"]), WARNING, "access_routes")


def test_a_peer_behind_a_router_may_be_behind_a_firewall() -> None:
    hop = {"ip": "10.1.0.254", "mac": "52:54:00:00:00:02"}
    near = {"gateway": "gw1", "ip": "10.1.0.254", "state": "up", "next_hop": hop}
    far = {**near, "ip": "10.9.0.2"}
    judged(of_controller.peers(GW, REPORT, [near, far]), OK, "source_port = 2152")
    for of, peers in ((GW, [near]), (replace(GW, source_port=2152), [near, far])):
        judged(of_controller.peers(of, REPORT, peers), OK, "known")
        assert "source_port" not in of_controller.peers(of, REPORT, peers).text


def test_lease_and_forwarding() -> None:
    lease = REPORT["lease"]
    judged(of_controller.lease(REPORT), OK, "10 s left of 10")
    judged(of_controller.lease({"lease": None}), OK)
    judged(of_controller.lease({"lease": {**lease, "seconds_left": None}}), SKIPPED)
    judged(
        of_controller.lease({"lease": {**lease, "seconds_left": 0.0}}),
        FAILED,
        "nothing is forwarded",
    )
    judged(of_controller.lease({"lease": {**lease, "expiries": 2}}), WARNING, "2 times")
    judged(of_controller.forwarding(None), FAILED, "systemctl start ofgtp")
    judged(of_controller.forwarding(0), WARNING, "0 sessions")


def test_losses() -> None:
    ways = {"uplink": {"packets": 70_000, "bytes": 0}, "downlink": {"packets": 30_000, "bytes": 0}}

    def lost(**drops: int) -> Finding:
        report = {"forwarded": ways, "drops": {"unknown_ue": 10**6, **drops}}
        return of_controller.losses(GW, report)

    judged(lost(), OK)
    judged(lost(access_overrun=100, tunnel_error=100, core_not_taken=100), OK)
    judged(lost(access_overrun=101), WARNING, "101 frames came by eth1 faster than")
    judged(lost(core_overrun=999), WARNING, "by eth2", "core_overrun")
    judged(lost(core_not_taken=101, access_overrun=101), WARNING, "too long", "ethtool -K eth2")
    judged(lost(tunnel_error=101), WARNING, "coverage/show", "tcpdump -vni eth1")
    judged(of_controller.losses(GW, {"forwarded": ways, "drops": None}), SKIPPED)


def test_flows() -> None:
    judged(of_controller.flows("br", [], []), OK)
    found = of_controller.flows("br", ["table=30 a", "table=70 b"], ["table=1 c"])
    judged(found, FAILED, "lacks 2 flows and has 1 too many; the first: table=30 a")
    judged(of_controller.flows("br", [], ["table=1 c"]), FAILED, "lacks 0 flows", "table=1 c")


def test_bridge() -> None:
    judged(of_gateway.bridge(GW, SWITCH), OK, "is there")
    judged(of_gateway.bridge(GW, replace(SWITCH, bridges={}, ports={})), OK, "not there yet")
    judged(of_gateway.bridge(GW, replace(SWITCH, bridges={"br-ofgtp": None})), FAILED, "del-br")
    foreign = replace(SWITCH, bridges={"br-ofgtp": "old"})
    judged(of_gateway.bridge(GW, foreign), FAILED, "ofgtp gateway remove old")
    taken = replace(SWITCH, bridges={"br0": None}, ports={"eth2": "br0"})
    judged(of_gateway.bridge(GW, taken), FAILED, "ovs-vsctl del-port br0 eth2")


def test_how_the_ports_are_read() -> None:
    fast = replace(GW, port_type="afxdp", pmd_cores=(2, 3))
    switch = replace(SWITCH, interface_types=("afxdp", "gtpu"))
    judged(of_gateway.reading(GW, switch, None), OK, "by AF_PACKET")
    judged(of_gateway.reading(fast, switch, None), OK, "a core that the switch chooses")
    judged(of_gateway.reading(fast, replace(switch, pmd_cores=[2, 3]), None), OK, "cores 2, 3")
    theirs = of_gateway.reading(fast, replace(switch, pmd_cores=[0]), None)
    judged(theirs, WARNING, "ovs-vsctl remove Open_vSwitch . other_config pmd-cpu-mask")
    assert "[2, 3]" in theirs.text and "[0]" in theirs.text
    without = replace(switch, interface_types=("gtpu",))
    judged(of_gateway.reading(fast, without, None), FAILED, 'ports = "af_packet"')
    judged(of_gateway.reading(fast, switch, "no AF_XDP here"), FAILED, "no AF_XDP here")


def test_port() -> None:
    judged(of_gateway.port("access port", ETH1, True), OK)
    veth = replace(ETH1, kind="veth")
    judged(of_gateway.port("access port", veth, True), OK, "ethtool -K")
    assert "ethtool" not in of_gateway.port("access port", veth, True, completes=True).text
    judged(of_gateway.port("core port", Interface("eth9", "missing"), True), FAILED, "core_port")
    refused = replace(ETH1, refusal="interface eth1 carries the host's address")
    judged(of_gateway.port("access port", refused, True), FAILED, "ip addr show dev eth1")
    down = replace(ETH1, link="down")
    judged(of_gateway.port("access port", down, False), OK, "sets it up when it starts")
    judged(of_gateway.port("access port", down, True), FAILED, "ip link set dev eth1 up")
    judged(of_gateway.port("access port", replace(ETH1, link="no carrier"), False), FAILED, "cable")
    judged(of_gateway.port("access port", replace(ETH1, xdp=True), True), WARNING, "xdp off")
    judged(of_gateway.port("access port", replace(ETH1, filters=True), True), WARNING, "tc filter")


def test_offloads() -> None:
    on = replace(ETH1, offloads={"gro": "on", "lro": "off"})
    judged(of_gateway.offloads([ETH1, ETH2], True), OK)
    judged(of_gateway.offloads([on, ETH2], False), OK, "turns them off")
    judged(of_gateway.offloads([on, ETH2], True), FAILED, "ethtool -K eth1 gro off")


@pytest.mark.parametrize(
    ("access", "core", "verdict", "part"),
    [
        (1544, 1500, OK, "1508"),
        (1500, None, OK, "1464"),
        (1543, 1500, WARNING, "8 octets short on N3"),
        (1536, 1500, WARNING, "8 octets short on N3"),
        (1535, 1500, WARNING, "more than 1499 octets"),
        (1500, 1500, WARNING, "ip link set dev eth1 mtu 1544"),
        (600, 1500, FAILED, "too small"),
        (1500, 1400, WARNING, "from UEs of more than 1400 octets do not fit eth2 (too_big_uplink)"),
        (1500, 1400, WARNING, "ip link set dev eth2 mtu 1464"),
        (1500, 1463, WARNING, "or give UEs an MTU of 1463 or less"),
        (1544, 1464, WARNING, "ip link set dev eth2 mtu 1500"),
        (9000, 1499, WARNING, "ip link set dev eth2 mtu 1500"),
        (9000, 1500, OK, "of 8964 octets fit a tunnel, those of more than 1500 from UEs not eth2"),
        (1508, 1464, WARNING, "from UEs of more than 1464"),
        (1508, 1472, WARNING, "8 octets short on N3"),
    ],
)
def test_mtu(access: int, core: int | None, verdict: Verdict, part: str) -> None:
    far = None if core is None else replace(ETH2, mtu=core)
    judged(of_gateway.mtu(replace(ETH1, mtu=access), far), verdict, part)


@pytest.mark.parametrize(
    ("access", "verdict", "part"),
    [
        (1564, OK, "packets of 1508 octets"),
        (1563, WARNING, "8 octets short on N3"),
        (1544, WARNING, "ip link set dev eth1 mtu 1564"),
        (1343, FAILED, "so 1344 here"),
    ],
)
def test_mtu_where_tunnels_may_be_over_ipv6(access: int, verdict: Verdict, part: str) -> None:
    tunnel = longest_headers(replace(GW, access_ip6=IPv6Interface("fd01::1/64")))
    found = of_gateway.mtu(replace(ETH1, mtu=access), ETH2, ipv6=True, tunnel=tunnel)
    judged(found, verdict, part)


def test_addresses() -> None:
    ours, theirs = IPv4Interface("10.1.0.1/24"), IPv4Interface("10.1.0.1/16")
    judged(of_gateway.addresses(GW, {}, False), OK, "free")
    judged(of_gateway.addresses(GW, {"br-ofgtp": [ours]}, True), OK)
    judged(of_gateway.addresses(GW, {"br-ofgtp": []}, True), FAILED, "does not carry 10.1.0.1/24")
    judged(of_gateway.addresses(GW, {"eth9": [theirs]}, False), FAILED, "is on eth9")
    judged(of_gateway.addresses(HOST_GW, {"br-ofgtp": [ours]}, True), FAILED, "br-ofgtp-c")


@pytest.mark.parametrize(
    ("to", "device", "ours", "of", "verdict"),
    [
        ("10.1.0.0/24", "br-ofgtp", False, GW, OK),
        ("10.1.0.0/24", "eth9", False, GW, FAILED),
        ("10.1.0.128/25", "eth9", False, GW, FAILED),
        ("10.0.0.0/8", "eth9", False, GW, OK),
        ("0.0.0.0/0", "eth9", False, GW, OK),
        ("10.9.1.0/24", "eth9", False, GW, FAILED),
        ("10.9.1.0/24", "eth9", True, GW, OK),
        ("10.45.0.0/16", "eth9", False, GW, OK),
        ("10.45.0.0/16", "eth9", False, HOST_GW, FAILED),
    ],
)
def test_routes(to: str, device: str, ours: bool, of: Any, verdict: Verdict) -> None:
    far = AccessRoute(IPv4Network("10.9.0.0/16"), IPv4Address("10.1.0.254"))
    found = of_gateway.routes(
        replace(of, access_routes=(far,)), [Route(IPv4Network(to), device, ours)]
    )
    judged(found, verdict)
    if verdict is FAILED:
        assert found.remedy == (f"ip route del {to} dev eth9",)


def test_routing_of_ipv6() -> None:
    assert of_gateway.routing6(HOST_GW, "eth0", []) is None
    assert of_gateway.routing6(replace(HOST_GW6, core_port="eth2"), "eth0", []) is None

    def found(device: str | None, commands: list[str]) -> Finding:
        finding = of_gateway.routing6(HOST_GW6, device, commands)
        assert finding is not None
        return finding

    judged(found("eth0", []), OK, "eth0 lets packets for UEs in")
    judged(found("eth0", ["sysctl -w x=1"]), FAILED, "off on eth0", "sysctl -w x=1")
    judged(found(None, []), WARNING, "no IPv6 default route", "disable_ipv6")


def test_routing() -> None:
    judged(of_gateway.routing(GW, "eth0", False), SKIPPED)
    judged(of_gateway.routing(HOST_GW, "eth0", True), OK)
    off = of_gateway.routing(HOST_GW, "eth0", False)
    judged(off, FAILED, "sysctl -w net.ipv4.conf.eth0.forwarding=1")


def test_rules() -> None:
    judged(of_gateway.rules(True, True, False), OK)
    judged(of_gateway.rules(True, False, True), OK)
    judged(of_gateway.rules(True, False, False), WARNING, "systemctl start ofgtp")
    judged(of_gateway.rules(False, False, False), FAILED, "systemctl start ofgtp")
    judged(of_gateway.rules(False, False, True), FAILED, "journalctl")


def test_packet() -> None:
    judged(of_gateway.packet([]), OK)
    judged(of_gateway.packet(["downlink: a", "uplink: b"]), FAILED, "downlink: a; uplink: b")


# --- reading the host's tools


def test_sockets_are_read() -> None:
    found = survey.read_sockets(
        'tcp LISTEN 0 128 127.0.0.1:8080 0.0.0.0:* users:(("ryu-manager",pid=7,fd=9))\n'
        "udp UNCONN 0 0 *:2152 *:*\n"
        'tcp LISTEN 0 5 [::1]:53 [::]:* users:(("a b",pid=8,fd=1),("c",pid=9,fd=1))\n'
        'udp UNCONN 0 0 10.0.0.1%eth0:68 0.0.0.0:* users:(("dhclient",pid=5,fd=1))\n'
        'tcp LISTEN 6 5 10.0.0.1:80 0.0.0.0:* users:(("hung",pid=6,fd=1))\n'
    )
    assert found == [
        Socket("tcp", "127.0.0.1", 8080, "ryu-manager", 7),
        Socket("udp", None, 2152, "another program", None),
        Socket("tcp", "::1", 53, "a b", 8),
        Socket("udp", "10.0.0.1", 68, "dhclient", 5),
        Socket("tcp", "10.0.0.1", 80, "hung", 6, full=True),
    ]


def test_chains_are_read() -> None:
    found = survey.read_chains(
        """\
table netdev t {
\tchain in {
\t\ttype filter hook ingress devices = { lo, eth1 } priority filter; policy drop;
\t}
\tchain out {
\t\ttype filter hook egress device "eth2" priority filter; policy accept;
\t}
}
table ip filter {
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
\tchain DOCKER {
\t}
}
"""
    )
    assert found == [
        Chain("netdev", "t", "in", "ingress", "drop", ("lo", "eth1")),
        Chain("netdev", "t", "out", "egress", "accept", ("eth2",)),
        Chain("ip", "filter", "FORWARD", "forward", "drop"),
    ]


def test_rules_are_read() -> None:
    found = survey.read_rules(
        """\
table inet filter {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tct state established accept
\t\tcounter reject with icmpx admin-prohibited
\t}
}
"""
    )
    assert found == ["ct state established accept", "counter reject with icmpx admin-prohibited"]
    assert closes(replace(INPUT, policy="accept", rules=found))
    assert not closes(replace(INPUT, policy="accept", rules=found[:1]))
    assert not closes(replace(INPUT, policy="accept", rules=["tcp dport 22 drop"]))


def test_differences_are_read() -> None:
    """Ours alone, and not those that are named on both sides."""
    missing, surplus = ovstools.read_difference(
        "+table=30 cookie=0xf67030000000007 a\n"
        "-table=70 cookie=0xf67030000000008 b\n"
        "-table=99 cookie=0x1 c\n"
        "+table=10 cookie=0xf67010000000000 ip_frag\n"
        "-table=10 cookie=0xf67010000000000 ip_frag\n"
    )
    assert missing == ["table=30 cookie=0xf67030000000007 a"]
    assert surplus == ["table=70 cookie=0xf67030000000008 b"]


# --- what a proof sees in a packet

PACKET = frames.udp_frame(
    "02:00:00:00:00:01", "02:00:00:00:00:02", proof.SERVER, proof.UE, 7, 7, b"x"
)[14:]
TUNNELLED = frames.udp_frame(
    "02:00:00:00:00:01",
    "02:00:00:00:00:02",
    IPv4Address("192.0.2.1"),
    IPv4Address("192.0.2.2"),
    2152,
    2152,
    proof.t_pdu(1, PACKET),
)


def changed(place: int, data: bytes) -> bytes:
    return TUNNELLED[:place] + data + TUNNELLED[place + len(data) :]


@pytest.mark.parametrize(
    ("frame", "wrong"),
    [
        (TUNNELLED, []),
        (changed(40, b"\0\0"), []),
        (changed(40, b"\0\1"), ["UDP checksum"]),
        (changed(24, b"\0\1"), ["IPv4 header checksum"]),
        (changed(46, b"\0\0\0\2"), ["UDP checksum", "GTP-U header"]),
        (changed(44, b"\0\0"), ["UDP checksum", "GTP-U header"]),
        (changed(38, b"\0\0"), ["UDP length", "UDP checksum"]),
        (changed(len(TUNNELLED) - 1, b"y"), ["UDP checksum", "content"]),
    ],
)
def test_what_is_wrong_with_a_tunnelled_packet(frame: bytes, wrong: list[str]) -> None:
    found = list(proof.faults_of(frame, PACKET, 1))
    assert len(found) == len(wrong), found
    assert all(part in text for part, text in zip(wrong, found, strict=True)), found


def test_a_free_network() -> None:
    first, second, *_ = map(IPv4Network, proof.ACCESS_NETS)
    anywhere = Route(IPv4Network("0.0.0.0/0"), "eth0", False)
    assert proof.free_network([anywhere]) == first
    assert proof.free_network([Route(IPv4Network("192.0.2.0/25"), "eth0", False)]) == second
    taken = [Route(IPv4Network(net), "eth0", False) for net in ("192.0.0.0/8", "198.0.0.0/8")]
    with pytest.raises(OfgtpError, match="routes to all of"):
        proof.free_network(taken)


# --- the command, for somebody who is not root


@pytest.mark.parametrize("as_json", [True, False])
def test_not_root(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    as_json: bool,
) -> None:
    """What needs no root is told all the same."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("OFGTP_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setattr(sys, "argv", ["ofgtp", "doctor", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    if as_json:
        found = json.loads(printed.out)
        assert found["well"] is False
        verdicts = {each["check"]: each["verdict"] for each in found["checks"]}
        assert verdicts["root"] == verdicts["configuration"] == "failed"
        assert verdicts["all else"] == "skipped"
    else:
        first, remedy, *_, last = printed.out.splitlines()
        assert first.startswith("FAILED   root ")
        assert remedy.strip() == "do:  sudo ofgtp doctor"
        assert last.endswith("2 FAILED, 1 skipped")


def test_not_root_the_store_is_not_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is root's, and whether another user may write there says nothing."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("OFGTP_CONFIG", str(ROOT / "etc" / "ofgtp.toml"))
    monkeypatch.setattr(sys, "argv", ["ofgtp", "doctor", "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    found = {
        each["check"]: each["verdict"] for each in json.loads(capsys.readouterr().out)["checks"]
    }
    assert list(found) == ["root", "programs", "configuration", "all else"]
    assert (found["configuration"], found["all else"]) == ("ok", "skipped")


# --- IPv6

CORE6 = IPv6Interface("2001:db8:c::1/64")
POOL6 = IPv6Network("2001:db8:a::/48")
GW6 = gateway(ue_pools6=(POOL6,), core_ip6=CORE6, next_hop6=IPv6Address("2001:db8:c::2"))
HOST_GW6 = replace(GW6, core_port="host", next_hop=None, next_hop6=None)


def test_a_next_hop_of_ipv6() -> None:
    hop = {"ip": "2001:db8:c::2", "mac": "52:54:00:00:00:03", "state": "resolved"}
    for of, report in ((GW, REPORT), (HOST_GW6, {**REPORT, "next_hop6": None})):
        assert of_controller.next_hop6(of, report) is None

    def found(shown: dict[str, Any]) -> Finding:
        finding = of_controller.next_hop6(GW6, {**REPORT, **shown})
        assert finding is not None and finding.check == "next hop IPv6"
        return finding

    judged(found({"next_hop6": hop}), OK, "2001:db8:c::2 is at 52:54:00:00:00:03")
    silent = found({"next_hop6": {**hop, "mac": None, "state": "unresolved"}})
    judged(silent, FAILED, "no IPv6 packets leave", "tcpdump -eni eth2 icmp6", "`next_hop6`")
    judged(found({"next_hop6": {**hop, "state": "stale"}}), FAILED, "does not answer", "any more")
    judged(found({}), SKIPPED, "older")


def test_an_address_of_ipv6_that_the_host_has() -> None:
    ours, other = IPv4Interface("10.1.0.1/24"), IPv6Interface("2001:db8:c::1/128")
    judged(of_gateway.addresses(GW6, {"br-ofgtp": [ours]}, True), OK)
    clash = of_gateway.addresses(GW6, {"br-ofgtp": [ours], "eth9": [other]}, True)
    judged(clash, FAILED, "2001:db8:c::1 (core_ip6) is on eth9", "ip addr del")
    near = IPv6Interface("2001:db8:c::9/64")
    judged(of_gateway.addresses(GW6, {"br-ofgtp": [ours], "eth9": [near]}, True), OK)
    on_core = {"br-ofgtp": [ours], "br-ofgtp-c": [IPv4Interface("10.2.0.1/24")]}
    judged(of_gateway.addresses(HOST_GW6, on_core, True), FAILED, f"does not carry {CORE6}")
    both = {**on_core, "br-ofgtp-c": [*on_core["br-ofgtp-c"], CORE6]}
    judged(of_gateway.addresses(HOST_GW6, both, True), OK, f"{CORE6} on br-ofgtp-c")


@pytest.mark.parametrize(
    ("access", "core", "verdict", "part"),
    [
        (1544, 1500, OK, "packets of 1508 octets"),
        (1323, 1280, FAILED, "ip link set dev eth1 mtu 1324"),
        (1324, 1279, FAILED, "ip link set dev eth2 mtu 1280"),
        (1324, 1280, WARNING, "packets from UEs of more than 1280 octets"),
        (1323, None, FAILED, "nobody is told to send less"),
    ],
)
def test_the_least_mtu_of_ipv6(access: int, core: int | None, verdict: Verdict, part: str) -> None:
    far = None if core is None else replace(ETH2, mtu=core)
    near = replace(ETH1, mtu=access)
    judged(of_gateway.mtu(near, far, ipv6=True), verdict, part)
    assert "IPv6" not in of_gateway.mtu(near, far).text


@pytest.mark.parametrize(
    ("to", "verdict"), [("2001:db8:a:1::/64", FAILED), ("2001:db8::/32", OK), ("::/0", OK)]
)
def test_a_route_of_ipv6_that_leads_away(to: str, verdict: Verdict) -> None:
    route = Route(ip_network(to), "eth9", ours=False)
    found = of_gateway.routes(HOST_GW6, [route])
    judged(found, verdict, "ip -6 route del" if verdict is FAILED else "nothing leads away")
    judged(of_gateway.routes(GW6, [route]), OK)


def test_what_is_sent_by_ipv6() -> None:
    macs = ("02:00:00:00:00:01", "02:00:00:00:00:02")
    packet = frames.udp_frame(*macs, proof.UE6, proof.SERVER6, 7, 7, b"text")[14:]
    assert len(packet) == 52 and packet[4:6] == bytes([0, 12])
    assert frames.checksum(packet[8:40] + bytes([0, 0, 0, 12, 0, 0, 0, 17]) + packet[40:]) == 0
    assert proof.UE6 in proof.UE_PREFIX and proof.UE_PREFIX.subnet_of(proof.UE_POOL6)
    documentation = IPv6Network("2001:db8::/32")
    for address in (proof.UE6, proof.SERVER6, proof.CORE_IP6.ip):
        assert address in documentation
    assert proof.SERVER6 not in proof.UE_POOL6 and proof.CORE_IP6.ip not in proof.UE_POOL6
    of_ipv6 = [Route(documentation, "eth9", ours=False)]
    assert str(proof.free_network(of_ipv6)) == proof.ACCESS_NETS[0], "it is of the other version"
