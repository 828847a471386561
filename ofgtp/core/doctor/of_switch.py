"""Checks of the Open vSwitch that the gateways' bridges are in."""

from __future__ import annotations

from ofgtp.core.doctor.facts import Switch
from ofgtp.core.doctor.finding import RESTART_OVS, Finding, failed, ok, warning
from ofgtp.core.flows import faults


def ovsdb(switch: Switch) -> Finding:
    if switch.ovsdb_error is None:
        return ok("ovsdb", f"ovsdb-server answers at {switch.ovsdb}")
    return failed(
        "ovsdb",
        f"no ovsdb-server at {switch.ovsdb}: {switch.ovsdb_error}",
        RESTART_OVS,
        "systemctl status ovsdb-server",
    )


def vswitchd(switch: Switch) -> Finding:
    if switch.daemon_error is None:
        return ok("vswitchd", "ovs-vswitchd answers")
    return failed(
        "vswitchd",
        f"ovs-vswitchd does not answer: {switch.daemon_error}",
        RESTART_OVS,
        "tail -n 30 /var/log/openvswitch/ovs-vswitchd.log",
    )


def version(switch: Switch) -> Finding:
    number, check = faults.parse(switch.version), "version"
    known = faults.of(number)
    text = f"Open vSwitch {switch.version or '(unknown)'}"
    if number is not None and number < faults.GTPU_SINCE:
        first = ".".join(map(str, faults.GTPU_SINCE))
        return failed(check, f"{text} has no GTP-U: {first} is the first", "apt-get upgrade")
    remedied = f"{len(known)} known faults, all worked around"
    if number not in faults.TRIED:
        tried = ", ".join(".".join(map(str, each)) for each in faults.TRIED)
        return warning(check, f"{text}: {remedied}; ofgtp's tests run on {tried}", "ofgtp status")
    return ok(check, f"{text}: {remedied}")


def datapath(switch: Switch) -> Finding:
    lacks = []
    if "netdev" not in switch.datapath_types:
        lacks.append("the userspace datapath (netdev)")
    if "gtpu" not in switch.interface_types:
        lacks.append("gtpu ports")
    if lacks:
        text = f"this Open vSwitch lacks {' and '.join(lacks)}"
        return failed("datapath", text, "apt-get install --reinstall openvswitch-switch")
    return ok("datapath", "netdev and gtpu ports are available")


def leftover(switch: Switch, bridge: str) -> Finding | None:
    """What an interrupted `--packet` has left behind."""
    if bridge not in switch.bridges:
        return None
    text = f"bridge {bridge} was left by an `ofgtp doctor --packet` that was killed"
    return warning("leftover", text, "ofgtp doctor --packet   # takes it away first")
