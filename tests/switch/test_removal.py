"""`ofgtp gateway remove`: after it the host is as it was before."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ofgtp.southbound.ovsdb import Ovsdb
from tests.support.lab import PORTS, Lab

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
SETTINGS = "gro on, promisc off" if PORTS else "gro on"
VETHS = ["gw1: veths deleted"] if PORTS else []
STATE = """
ip -brief address
ip -json link show eth1 | grep -o PROMISC
ip -json link show eth2 | grep -o PROMISC
ip -4 route show table all
ip -6 route show table main
sysctl net.ipv6 | grep -v -e stable_secret -e flush -e br-ofgtp
ip neigh show nud permanent
nft list ruleset
ethtool --show-features eth1 | grep -E 'generic-receive-offload|large-receive|rx-gro-hw'
ethtool --show-features eth2 | grep -E 'generic-receive-offload|large-receive|rx-gro-hw'
"""
HOST_CORE = (
    'core_port = "host"\ncore_ip = "10.2.0.1/24"\nmasquerade = true\n'
    'core_ip6 = "2001:db8:c::1/64"\nmasquerade6 = true'
)
POOLS = 'ue_pools = ["10.45.0.0/16"'
KEPT = 'ownership = "switch"'  # so that a clean stop leaves everything to be removed
ACCESS_ROUTE = 'access_routes = [{to = "10.9.0.0/16", via = "10.1.0.254"}]'


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.exec("gw", ["ethtool", "-K", "eth1", "gro", "on"])
        lab.exec("gw", ["ethtool", "-K", "eth2", "gro", "on"])
        yield lab


def state(lab: Lab) -> str:
    """What the host's tools show, and what OVSDB holds."""
    tables = ("Bridge", "Port", "Interface", "Controller")
    rows = [lab.vsctl("--columns=external_ids", "list", table) for table in tables]
    return lab.exec("gw", ["sh", "-c", STATE]).stdout + "".join(rows)


def remove(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = [f"OFGTP_CONFIG={lab.dir}/ofgtp.toml"]
    command = ["env", *environment, str(OFGTP), "gateway", "remove", *arguments]
    return lab.exec("gw", command, check=False)


@pytest.mark.parametrize("core", ["port", "host"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_the_host_is_as_it_was(lab: Lab, core: str, stop: signal.Signals) -> None:
    before = state(lab)
    text = lab.config(controller=KEPT, gateway=ACCESS_ROUTE)
    if core == "host":
        text = lab.config(controller=KEPT, core=HOST_CORE, gateway=ACCESS_ROUTE)
        text = text.replace(POOLS, f'{POOLS}, "2001:db8:a::/48"')
    lab.start_controller(text)
    lab.stop_controller(stop)
    during = state(lab)
    for made in ("br-ofgtp", "10.9.0.0/16 via 10.1.0.254", "table netdev", "ofgtp-gro=on"):
        assert made in during
    assert ("10.45.0.0/16 via 169.254.0.1" in during) == (core == "host")
    assert during.count("masquerade") == (2 if core == "host" else 0)
    assert ("2001:db8:a::/48 via fe80::1 dev br-ofgtp-c" in during) == (core == "host")

    result = remove(lab, "gw1")
    assert (result.returncode, result.stderr) == (0, "")
    told = [f"gw1: eth1: {SETTINGS} again"]
    if core == "port":
        told.append(f"gw1: eth2: {SETTINGS} again")
    told.append("gw1: bridge br-ofgtp deleted, and with it its ports, addresses and routes")
    told += VETHS
    told.append("gw1: nftables tables deleted")
    assert result.stdout.splitlines() == told
    assert state(lab) == before

    again = remove(lab, "--all")
    assert again.returncode == 0
    assert again.stdout == "gw1: nothing was left to take back\n"


@pytest.mark.skipif(bool(PORTS), reason="what is kept of veths does not say of which interface")
def test_an_interface_that_is_no_port_any_more_is_as_it_was(lab: Lab) -> None:
    """By another configuration, without a removal before: nobody else would know how it was."""
    lab.start_controller(lab.config(controller=KEPT))
    features = ["ethtool", "--show-features", "eth2"]
    merges = "generic-receive-offload: on"
    assert merges not in lab.exec("gw", features).stdout
    lab.stop_controller()
    lab.start_controller(lab.config(controller=KEPT, core=HOST_CORE.partition("core_ip6")[0]))
    assert merges in lab.exec("gw", features).stdout
    assert "eth2 is no port any more, and as it was" in lab.controller_log.read_text()


def test_nothing_happens_while_the_controller_runs(lab: Lab) -> None:
    lab.start_controller(lab.config(controller=KEPT))
    during = state(lab)
    result = remove(lab, "gw1")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("ofgtp: the controller seems to run (tcp:127.0.0.1:6653: ")
    assert result.stderr.count("\n") == 1
    assert state(lab) == during
    assert lab.http("GET", "/v1/health").status == 200


def test_a_controller_that_starts_meanwhile_gives_up(lab: Lab) -> None:
    """The removal holds the controller's address until it is done."""
    lab.start_controller(lab.config(controller=KEPT))
    lab.stop_controller()
    vswitchd = lab._daemons["ovs-vswitchd"].pid
    os.kill(vswitchd, signal.SIGSTOP)  # so that the removal has to wait
    try:
        command = ["env", f"OFGTP_CONFIG={lab.dir}/ofgtp.toml", str(OFGTP)]
        removal = lab.spawn("gw", [*command, "gateway", "remove", "gw1"], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while "br-ofgtp" in lab.vsctl("--no-wait", "list-br"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        removal.send_signal(signal.SIGSTOP)  # a controller takes its time to start
        ryu_manager = str(OFGTP.parent / "ryu-manager")
        started = lab.exec("gw", [*command[:-1], ryu_manager, "ofgtp.app"], check=False)
        assert started.returncode == 2
        assert "cannot listen there" in started.stderr
        removal.send_signal(signal.SIGCONT)
        assert removal.wait(60) == 1
        error = removal.stderr.read()
        assert b"its interface is still there" in error and error.count(b"\n") == 1
    finally:
        os.kill(vswitchd, signal.SIGCONT)
    result = remove(lab, "gw1")
    told = [*VETHS, "gw1: nftables tables deleted"]
    assert (result.returncode, result.stdout.splitlines()) == (0, told)


def test_a_failure_half_way_is_repeated(lab: Lab) -> None:
    before = state(lab)
    lab.start_controller(lab.config(controller=KEPT))
    lab.stop_controller()
    lab.vsctl("add-port", "br-ofgtp", "extra", "--", "set", "Interface", "extra", "type=internal")
    result = remove(lab, "gw1")
    assert result.returncode == 1
    assert result.stdout == f"gw1: eth1: {SETTINGS} again\ngw1: eth2: {SETTINGS} again\n"
    assert result.stderr.startswith("ofgtp: gw1: bridge br-ofgtp holds port extra")
    assert result.stderr.count("\n") == 1
    assert "br-ofgtp" in state(lab) and "table netdev" in state(lab)

    lab.vsctl("del-port", "br-ofgtp", "extra")
    assert remove(lab, "gw1").returncode == 0
    assert state(lab) == before


def test_what_is_remembered_is_not_lost_with_a_port(lab: Lab) -> None:
    """A port that is not here may be in another namespace: its row is its only memory."""
    lab.start_controller(lab.config(controller=KEPT))
    lab.stop_controller()
    result = remove(lab, "gw1")
    assert result.returncode == 0
    lab.start_controller(lab.config(controller=KEPT))
    lab.stop_controller()
    lab.exec("gw", ["ip", "link", "set", "eth1", "down"])
    lab.exec("gw", ["ip", "link", "set", "eth1", "name", "away"])
    result = remove(lab, "gw1")
    assert (result.returncode, result.stdout) == (1, "")
    assert "has port eth1, which is not on this host" in result.stderr
    gateway = lab.gateway()
    db = Ovsdb(lab.ovsdb)
    try:
        assert db.recall(gateway)[lab.end("eth1")]["gro"] == "on"
    finally:
        db.close()
