"""`ofgtp doctor` on a host where one thing after the other is really broken."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import greenlet
import pytest
from eventlet import hubs
from scapy.layers.l2 import ARP, Ether

from ofgtp.control.host import proof
from ofgtp.control.host.proof import Proof
from ofgtp.core.flows import faults
from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import ACCESS_IP, BRIDGE, ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
KEPT = 'ownership = "switch"'
UE = "10.45.0.7"


@dataclass
class Report:
    """What `ofgtp doctor --json` printed."""

    code: int
    checks: list[dict[str, Any]]

    def one(self, check: str) -> dict[str, Any]:
        (found,) = (each for each in self.checks if each["check"] == check)
        return found

    def verdicts(self, verdict: str) -> set[str]:
        return {each["check"] for each in self.checks if each["verdict"] == verdict}


def command(lab: Lab, *arguments: str) -> list[str]:
    return ["env", f"OFGTP_CONFIG={lab.dir}/ofgtp.toml", str(OFGTP), "doctor", *arguments]


def doctor(lab: Lab, *arguments: str) -> Report:
    done = lab.exec("gw", command(lab, "--json", *arguments), check=False)
    assert done.stderr == "" and done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert found["well"] == (done.returncode == 0)
    for each in found["checks"]:
        assert (each["verdict"] in ("failed", "warning")) == bool(each["remedy"]), each
    return Report(done.returncode, found["checks"])


def remains(lab: Lab) -> str:
    """What a proof may leave: it is to be as it was."""
    shown = lab.exec("gw", ["sh", "-c", "ip -br addr; ip route show table all; nft list ruleset"])
    return shown.stdout + lab.vsctl("list-br") + lab.vsctl("--columns=name", "list", "Interface")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(switch=False) as lab:
        yield lab


@pytest.fixture(scope="module")
def site(lab: Lab) -> Site:
    """A gateway at work, with one session; the tests before this saw the host without it."""
    if not lab._daemons:
        lab.start_switch()
    site = Site(lab, lab.config(controller=KEPT))
    site.ready()
    site.session(UE, teid=7, downlink=107)
    return site


# --- before installation; in this order


def test_before_anything_is_there(lab: Lab) -> None:
    text = lab.exec("gw", command(lab), check=False)
    assert text.returncode == 1
    assert "FAILED   configuration" in text.stdout
    assert "do:  install -D -m 644 etc/ofgtp.toml" in text.stdout

    (lab.dir / "ofgtp.toml").write_text(lab.config())
    report = doctor(lab)
    assert report.verdicts("failed") == {"ovsdb"}
    assert report.one("ovsdb")["remedy"][0] == "systemctl restart openvswitch-switch"
    assert report.one("configuration")["text"].endswith("ofgtp.toml: gateway gw1")


def test_before_installation(lab: Lab) -> None:
    lab.start_switch()
    before = remains(lab)
    report = doctor(lab, "--packet")
    assert report.code == 0
    assert report.verdicts("failed") == set()
    assert report.verdicts("warning") == {"mtu"}
    assert report.verdicts("skipped") == {"controller", "rules", "flows"}
    assert report.one("packet")["verdict"] == "ok"
    version = report.one("version")
    assert version["verdict"] == "ok", "this version is one of those that are tried"
    assert version["text"].startswith(f"Open vSwitch {lab.switch_version}: ")
    assert remains(lab) == before


def test_a_proof_sees_a_wrong_checksum(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the remedy a switch that has the fault shows it, and no other."""
    monkeypatch.setattr(proof.netfilter, "apply", lambda *_: False)
    before = remains(lab)
    with lab.inside("gw"), Proof(lab.ovsdb) as tried:
        wrong = tried.run()
    faulty = faults.UDP_CHECKSUM.affects(faults.parse(lab.switch_version))
    assert len(wrong) == 2 * faulty
    for each, version in zip(wrong, ("", "IPv6, "), strict=False):
        assert each.startswith(f"{version}downlink: its UDP checksum is wrong (0x")
    assert remains(lab) == before


def test_a_proof_sees_that_ipv6_does_not_pass(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of IPv6 alone, whose UE has another prefix than its session."""
    monkeypatch.setattr(proof, "UE_PREFIX", IPv6Network("2001:db8:d0c:2::/64"))
    monkeypatch.setattr(proof, "PATIENCE_S", 2.0)
    with lab.inside("gw"), Proof(lab.ovsdb) as tried:
        wrong = tried.run()
    assert wrong == [
        "IPv6, downlink: no packet came out of the tunnel's port",
        "IPv6, uplink: no packet came out of the tunnel",
    ]


# --- with a gateway at work


def test_all_is_well(site: Site) -> None:
    lab = site.lab
    text = lab.exec("gw", command(lab), check=False)
    assert text.returncode == 0, text.stdout
    assert "FAILED" not in text.stdout
    report = doctor(lab)
    assert report.verdicts("skipped") == set()
    assert report.verdicts("warning") == {"mtu"}
    for check in (
        "controller",
        "connected",
        "rules",
        "flows",
        "next hop",
        "peers",
        "lease",
        "losses",
    ):
        assert report.one(check)["verdict"] == "ok"
    assert "pid" in report.one("openflow")["text"]


def test_a_packet_beside_a_gateway_at_work(site: Site) -> None:
    """The proof shares the switch with it, whose traffic goes on but for a packet now and then."""
    lab, before = site.lab, remains(site.lab)
    up, down = site.t_pdu(7, gtpu.ipv4(UE, PDN_IP)), site.to_ue(gtpu.ipv4(PDN_IP, UE))
    running = lab.spawn("gw", command(lab, "--packet", "--json"), stdout=subprocess.PIPE)
    site.pdn.all(), site.enb.all()
    sent, got = 0, {"up": 0, "down": 0}
    while running.poll() is None:
        site.enb.send(up)
        site.pdn.send(down)
        sent += 1
        got["up"] += sum(frame[12:14] == b"\x08\x00" for frame in site.pdn.all(0.003))
        got["down"] += sum(is_gtpu(frame, 107) for frame in site.enb.all(0.003))
    got["up"] += sum(frame[12:14] == b"\x08\x00" for frame in site.pdn.all(0.2))
    got["down"] += sum(is_gtpu(frame, 107) for frame in site.enb.all(0.2))
    assert sent > 20
    assert min(got.values()) >= 0.9 * sent, f"of {sent} packets: {got}"
    assert len(site.uplink(up)) == len(site.downlink(down)) == 1
    found = json.loads(running.stdout.read())
    (packet,) = (each for each in found["checks"] if each["check"] == "packet")
    assert packet["verdict"] == "ok", packet
    assert remains(lab) == before
    assert site.gateway()["in_sync"] and site.gateway()["repairs"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_proof_that_is_interrupted(site: Site, number: signal.Signals) -> None:
    lab, before = site.lab, remains(site.lab)
    running = lab.spawn("gw", command(lab, "--packet"), stdout=subprocess.DEVNULL)
    until(lambda: proof.BRIDGE in lab.vsctl("list-br"), "the proof's bridge is there")
    running.send_signal(number)
    assert running.wait(60) == (130 if number is not signal.SIGKILL else -number)
    if number is signal.SIGKILL:
        report = doctor(lab, "--packet")
        assert report.one("leftover")["remedy"][0].startswith("ofgtp doctor --packet")
        assert report.one("packet")["verdict"] == "ok"
    assert remains(lab) == before


def test_a_proof_that_is_interrupted_in_the_hub_s_own_books(site: Site) -> None:
    """What eventlet leaves of a wait when a signal comes between its steps: a listener for a
    file that is long closed, and whose number the next file gets."""
    lab, before = site.lab, remains(site.lab)
    with lab.inside("gw"), pytest.raises(KeyboardInterrupt), Proof(lab.ovsdb) as running:
        assert running.run() == []
        current, (reads, writes) = greenlet.getcurrent(), os.pipe()
        hubs.get_hub().add(hubs.get_hub().READ, reads, current.switch, current.throw, print)
        os.close(reads)
        os.close(writes)
        raise KeyboardInterrupt
    assert remains(lab) == before


def test_another_proof_is_under_way(site: Site) -> None:
    with site.lab.inside("gw"), Proof(site.lab.ovsdb):
        report = doctor(site.lab, "--packet")
    assert "another `ofgtp doctor --packet` is under way" in report.one("packet")["text"]


def test_no_carrier(site: Site) -> None:
    lab = site.lab
    lab.exec("enb", ["ip", "link", "set", "eth0", "down"])
    try:
        until(lambda: site.gateway()["access"]["link"] == "no carrier", "it is seen")
        report = doctor(lab)
    finally:
        lab.exec("enb", ["ip", "link", "set", "eth0", "up"])
    assert report.verdicts("failed") == {"access port"}
    assert "eth1 is up, but has no carrier" in report.one("access port")["text"]


def test_an_address_and_a_route_of_the_host(site: Site) -> None:
    lab = site.lab
    lab.exec("gw", ["ip", "addr", "add", "192.0.2.7/24", "dev", "eth2"])
    lab.exec("gw", ["ip", "route", "add", "10.1.0.64/26", "dev", "lo"])
    try:
        until(lambda: site.gateway()["problem"], "the controller sees it")
        report = doctor(lab)
    finally:
        lab.exec("gw", ["ip", "route", "del", "10.1.0.64/26", "dev", "lo"])
        lab.exec("gw", ["ip", "addr", "del", "192.0.2.7/24", "dev", "eth2"])
    assert report.verdicts("failed") == {"core port", "routes", "connected"}
    assert "carries the host's address 192.0.2.7" in report.one("core port")["text"]
    assert report.one("routes")["remedy"] == ["ip route del 10.1.0.64/26 dev lo"]
    until(lambda: site.gateway()["problem"] is None, "it is over")


@contextmanager
def openflow_cut(site: Site) -> Iterator[None]:
    """The controller and the switch do not hear each other; neither knows it at first."""
    cut = "table ip cut { chain c { type filter hook input priority 0; tcp dport 6653 drop; }; }"
    lab = site.lab
    lab.exec("gw", ["nft", cut])
    try:
        yield
    finally:
        lab.exec("gw", ["nft", "delete table ip cut"])
        until(lambda: site.gateway()["in_sync"], "it is repaired", timeout=20)


def test_a_flow_deleted_and_one_added_by_hand(site: Site) -> None:
    """Ours are seen; another's flow is nobody's business here."""
    lab = site.lab
    lab.ofctl("add-flow", BRIDGE, "table=99,cookie=0x1,priority=7,actions=drop")
    assert doctor(lab).one("flows")["verdict"] == "ok"
    with openflow_cut(site):
        lab.ofctl("del-flows", BRIDGE, f"table=30,ip,nw_src={UE}")
        lab.ofctl("add-flow", BRIDGE, "table=30,cookie=0xf67030000000063,priority=3,actions=drop")
        report = doctor(lab)
    assert report.one("flows")["verdict"] == "failed"
    text = report.one("flows")["text"]
    assert "br-ofgtp lacks 1 flow and has 1 too many" in text and f"nw_src={UE}" in text
    lab.ofctl("del-flows", BRIDGE, "table=99")


@contextmanager
def rules(site: Site, text: str) -> Iterator[None]:
    """A table of somebody's; the gateway is in sync again afterwards."""
    _, family, name, *_ = text.split()
    site.lab.exec("gw", ["nft", text])
    try:
        yield
    finally:
        site.lab.exec("gw", ["nft", f"delete table {family} {name}"])
        until(lambda: site.gateway()["in_sync"], "it is repaired", timeout=30)


INPUT = "table inet theirs { chain input { type filter hook input priority 0; policy drop; }; }"
OUTPUT = (
    "table ip filter { chain OUTPUT { type filter hook output priority 0; "
    "tcp dport { 6653, 8080 } counter reject with tcp reset; }; }"
)


def test_a_host_that_does_not_reach_itself(site: Site) -> None:
    """What it says helps, and to restart the controller is none of it."""
    with rules(site, INPUT):
        report = doctor(site.lab)
        found = report.one("firewall")
        assert found["verdict"] == "failed"
        assert "REST at 127.0.0.1:8080 and OpenFlow at 127.0.0.1:6653" in found["text"]
        assert "dropped by inet theirs input" in found["text"]
        for check in ("controller", "listen", "openflow"):
            assert "see `firewall`" in report.one(check)["text"]
        said = [line for each in report.checks for line in each["remedy"]]
        assert not [line for line in said if "restart" in line or "systemctl" in line], said
        (remedy,) = found["remedy"]
        site.lab.exec("gw", ["sh", "-c", remedy])
        until(lambda: site.gateway()["in_sync"], "it is connected again", timeout=30)
        until(lambda: site.gateway()["next_hop"]["state"] == "resolved", "the next hop answers")
        report = doctor(site.lab)
        assert report.verdicts("failed") == set()
        assert "inet theirs input drops by default, and is not" in report.one("firewall")["text"]


def test_a_host_that_refuses_itself(site: Site) -> None:
    with rules(site, OUTPUT):
        report = doctor(site.lab)
    assert "is refused by ip filter OUTPUT" in report.one("firewall")["text"]
    assert report.one("firewall")["remedy"][0].startswith("iptables -I OUTPUT -o lo -j ACCEPT")


def test_a_rule_that_cuts_the_host_off_is_named(site: Site) -> None:
    """In a chain that another leads to; beside rules that have nothing to do with it."""
    theirs = (
        "table inet theirs { chain services { tcp dport 22 drop; tcp dport { 6653, 8080 } drop; };"
        " chain closed { drop; }; chain input { type filter hook input priority 0; policy accept;"
        ' iifname "nothere" jump closed; jump services; }; }'
    )
    with rules(site, theirs):
        text = doctor(site.lab).one("firewall")["text"]
    rule = "tcp dport { 6653, 8080 } drop, in chain services"
    assert text.endswith(f"is dropped by inet theirs input (rule: {rule})")
    until(lambda: site.gateway()["next_hop"]["state"] == "resolved", "the next hop answers")


def test_a_cut_that_is_there_for_new_connections_only(site: Site) -> None:
    """The next connection would not come about, though all is well now."""
    new = INPUT.replace("policy drop;", "policy accept; tcp dport 6653 tcp flags syn drop;")
    with rules(site, new):
        report = doctor(site.lab)
    assert report.verdicts("failed") == {"firewall"}
    assert "OpenFlow at 127.0.0.1:6653, is dropped" in report.one("firewall")["text"]
    assert report.one("connected")["verdict"] == "ok"


def test_rules_that_keep_arp_from_the_host(site: Site) -> None:
    mac, wire = site.enb_mac["enb"], site.lab.port("enb")
    asked = ARP(op=1, hwsrc=mac, psrc=ENB_IP["enb"], pdst=ACCESS_IP)

    def answered() -> bool:
        wire.drain()
        wire.send(bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / asked))
        answers = [Ether(frame) for frame in wire.receive(quiet=0.3)]
        return any(ARP in each and each[ARP].op == 2 for each in answers)

    until(answered, "ARP is answered")
    arp = "table arp theirs { chain in { type filter hook input priority 0; policy drop; }; }"
    with rules(site, arp):
        found = doctor(site.lab).one("firewall")
        assert found["verdict"] == "warning"
        assert not answered()
        site.lab.exec("gw", ["sh", "-c", found["remedy"][0]])
        until(answered, "ARP is answered again")


def test_filters_of_tc(site: Site) -> None:
    lab, filters = site.lab, "dev eth2 egress protocol ip u32 match u32 0 0 flowid 1:1"
    lab.exec("gw", ["tc", "qdisc", "add", "dev", "eth2", "clsact"])
    lab.exec("gw", ["tc", "filter", "add", *filters.split()])
    try:
        found = doctor(lab).one("core port")
    finally:
        lab.exec("gw", ["tc", "qdisc", "del", "dev", "eth2", "clsact"])
    assert (found["verdict"], found["remedy"]) == ("warning", ["tc filter show dev eth2 egress"])


def test_a_controller_that_hangs(site: Site) -> None:
    """Where a restart ends all tunnels, that is said; it is no firewall."""
    lab, path = site.lab, site.lab.dir / "ofgtp.toml"
    kept = path.read_text()
    assert lab.controller is not None
    lab.controller.send_signal(signal.SIGSTOP)
    try:
        assert "systemctl restart ofgtp" in doctor(lab).one("controller")["remedy"]
        path.write_text(kept.replace(KEPT, 'ownership = "controller"'))
        report = doctor(lab)
    finally:
        lab.controller.send_signal(signal.SIGCONT)
        path.write_text(kept)
    said = [line for each in report.checks for line in each["remedy"] if "restart ofgtp" in line]
    assert said and all(
        line.endswith('ends all tunnels (ownership = "controller")') for line in said
    )
    assert report.one("firewall")["verdict"] == "ok"
    until(lambda: site.gateway()["in_sync"], "it goes on", timeout=30)


# --- without its controller; in this order


def answers(lab: Lab, port: int) -> bool:
    with lab.inside("gw"), socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_controller_is_killed_and_nftables_flushed(site: Site) -> None:
    lab = site.lab
    lab.stop_controller(signal.SIGKILL)
    report = doctor(lab)
    assert report.verdicts("failed") == {"controller"}
    assert report.one("controller")["remedy"] == [
        "systemctl start ofgtp",
        "journalctl -u ofgtp -n 50",
    ]
    assert report.one("forwarding")["verdict"] == "warning"
    assert report.one("forwarding")["text"].endswith("forwards: 2 sessions")
    assert report.one("flows")["verdict"] == "skipped"
    assert report.one("rules")["verdict"] == "ok"

    lab.exec("gw", ["nft", "flush chain netdev ofgtp_br-ofgtp access_out"])
    assert doctor(lab).one("rules")["verdict"] == "warning"
    lab.exec("gw", ["nft", "flush ruleset"])
    stranger = lab.spawn("gw", [sys.executable, "-m", "http.server", "8080", "-b", "127.0.0.1"])
    until(lambda: answers(lab, 8080), "another program listens")
    report = doctor(lab)
    stranger.kill()
    stranger.wait()
    assert report.verdicts("failed") == {"controller", "rules", "listen"}
    assert f"(pid {stranger.pid})" in report.one("listen")["text"]
    assert "is not ofgtp's API" in report.one("controller")["text"]
    assert "missing" in report.one("rules")["text"]


def test_what_the_controller_puts_right_is_well_again(site: Site) -> None:
    lab = site.lab
    lab.start_controller(lab.config(controller=KEPT))
    until(lambda: site.gateway()["next_hop"]["state"] == "resolved", "the next hop answers")
    assert doctor(lab).verdicts("failed") == set()


def test_open_vswitch_is_stopped(site: Site) -> None:
    lab = site.lab
    lab.stop_vswitchd()
    report = doctor(lab, "--packet")
    assert {"vswitchd"} <= report.verdicts("failed") <= {"vswitchd", "connected", "addresses"}
    assert report.one("packet")["verdict"] == "skipped"
    lab.stop_ovsdb()
    (lab.dir / "db.sock").unlink(missing_ok=True)
    assert "ovsdb" in doctor(lab).verdicts("failed")
