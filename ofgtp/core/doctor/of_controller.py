"""Checks of the controller, by what its API says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ofgtp.core.doctor.facts import Controller
from ofgtp.core.doctor.finding import (
    LOG,
    RELOAD,
    RESTART,
    START,
    Finding,
    count,
    failed,
    ok,
    skipped,
    some,
    warning,
)
from ofgtp.core.model import GTPU_PORT, Gateway
from ofgtp.core.troubles import Level, Trouble, What, troubles

LOSSES_OF = 1000
"""One of so many may be lost before somebody is told."""


def controller(found: Controller, installed: bool, blocked: Finding | None = None) -> Finding:
    """`blocked` is the finding that says that the host's rules keep us away from it."""
    check = "controller"
    if found.error is not None and blocked is not None:
        return failed(check, f"{found.error}: see `firewall`", *blocked.remedy)
    if found.error is not None:
        if found.refuses:
            return failed(
                check, f"it runs, but refuses: {found.error}", "ofgtp doctor --token-file FILE"
            )
        if found.hangs:
            return failed(check, found.error, LOG, RESTART)
        if not installed:
            return skipped(check, f"not running, and nothing is installed yet: {START}")
        return failed(check, found.error, START, LOG)
    health = found.health or {}
    if health.get("store", "ok") != "ok":
        return failed(check, f"its session store: {health['store']}", LOG)
    return ok(check, f"it runs and answers at {found.url}")


def connected(gateway: Gateway, found: Controller, blocked: Finding | None = None) -> Finding:
    """`blocked` is the finding that says that the host's rules keep the switch away from it."""
    check = "connected"
    report = found.gateways.get(gateway.name)
    if report is None:
        text = f"the running controller has no gateway {gateway.name}: its file is an older one"
        return failed(check, text, RESTART)
    wrong = _first(report, What.DISCONNECTED, What.PROBLEM, What.COMPARING)
    if wrong is None:
        return ok(check, "the switch is connected and in sync")
    if wrong.what is What.COMPARING:
        return _judged(check, wrong, "ofgtp status --watch")
    if blocked is not None:
        return failed(check, f"{wrong.text}: see `firewall`", *blocked.remedy)
    return _judged(check, wrong, LOG, f"ovs-vsctl get-controller {gateway.bridge}")


def _first(report: Mapping[str, Any], *about: What) -> Trouble | None:
    """What is wrong of these, as everything else judges it; None: nothing."""
    return next((each for each in troubles(report) if each.what in about), None)


def _judged(check: str, wrong: Trouble, *remedy: str) -> Finding:
    return (failed if wrong.level is Level.BAD else warning)(check, wrong.text, *remedy)


def next_hop(gateway: Gateway, report: Mapping[str, Any]) -> Finding:
    check, hop = "next hop", report["next_hop"]
    if hop is None:
        return skipped(check, "the host's own routes decide")
    wrong = _first(report, What.NEXT_HOP)
    if wrong is not None:
        return _judged(
            check,
            wrong,
            f"tcpdump -eni {gateway.core_port} arp   # is it asked, and does it answer?",
            "is `next_hop` the router's address, and `core_ip` in its subnet?",
        )
    if hop["state"] == "resolved":
        return ok(check, f"{hop['ip']} is at {hop['mac']}")
    return skipped(check, f"{hop['ip']} has not answered ARP, and no UE needs it")


def next_hop6(gateway: Gateway, report: Mapping[str, Any]) -> Finding | None:
    """None: the gateway has no IPv6, or the host's own routes decide, as `next_hop` says."""
    check, hop = "next hop IPv6", report.get("next_hop6")
    if gateway.next_hop6 is None:
        return None
    if hop is None:
        return skipped(check, "the running controller knows of none: its file is an older one")
    wrong = _first(report, What.NEXT_HOP6)
    if wrong is not None:
        return _judged(
            check,
            wrong,
            f"tcpdump -eni {gateway.core_port} icmp6   # is it asked, and does it answer?",
            "is `next_hop6` the router's address, and `core_ip6` in its subnet?",
        )
    if hop["state"] == "resolved":
        return ok(check, f"{hop['ip']} is at {hop['mac']}")
    return skipped(check, f"{hop['ip']} has not answered neighbour discovery, and no UE needs it")


def peers(
    gateway: Gateway, report: Mapping[str, Any], found: Sequence[Mapping[str, Any]]
) -> Finding:
    check = "peers"
    mine = [peer for peer in found if peer["gateway"] == gateway.name]
    if not mine:
        return ok(check, "no session names a peer yet")
    kinds = "arp" if gateway.access_ip6 is None else "arp or icmp6"
    for about, remedies in (
        (What.UNROUTED, ("add them to `access_routes` of the gateway", RELOAD)),
        (What.UNRESOLVED, (f"tcpdump -eni {gateway.access_port} {kinds}",)),
        (What.PATHS_DOWN, (f"tcpdump -ni {gateway.access_port} udp port {GTPU_PORT}",)),
    ):
        if (wrong := _first(report, about)) is not None:
            silent = _NAMES[about](mine)
            named = replace(wrong, text=f"{wrong.text}: {some('peer', silent)}")
            return _judged(check, named if silent else wrong, *remedies)
    text = f"{count(mine, 'peer')}, and their MAC addresses are known"
    if gateway.source_port is None and any(
        peer["next_hop"] and peer["next_hop"]["ip"] != peer["ip"] for peer in mine
    ):
        text += (
            ". A NAT or stateful firewall on the way to one lets T-PDUs in if they come from port"
            f" {GTPU_PORT}: source_port = {GTPU_PORT}"
        )
    return ok(check, text)


def _unresolved(peers: Sequence[Mapping[str, Any]]) -> list[str]:
    return [peer["ip"] for peer in peers if peer["next_hop"] and peer["next_hop"]["mac"] is None]


_NAMES: dict[What, Callable[[Sequence[Mapping[str, Any]]], list[str]]] = {
    What.UNROUTED: lambda peers: [],  # it names them itself
    What.UNRESOLVED: _unresolved,
    What.PATHS_DOWN: lambda peers: [peer["ip"] for peer in peers if peer["state"] == "down"],
}


def lease(report: Mapping[str, Any]) -> Finding:
    check, found = "lease", report["lease"]
    if found is None:
        return ok(check, 'none: ownership = "switch"')
    if found["seconds_left"] is None:
        return skipped(check, "it has not begun")
    if (wrong := _first(report, What.LEASE)) is not None:
        return _judged(check, wrong, LOG, RESTART)
    if found["expiries"]:
        text = f"renewed, but it ran out {found['expiries']} times: traffic stopped meanwhile"
        return warning(check, text, "a longer `lease_seconds`", LOG)
    return ok(check, f"renewed, {found['seconds_left']:.0f} s left of {found['seconds']}")


def losses(gateway: Gateway, report: Mapping[str, Any]) -> Finding:
    """Frames that never met a flow, each kind against all that the gateway has forwarded."""
    check, drops = "losses", report["drops"]
    if drops is None:
        return skipped(check, "the switch does not tell what it has dropped")
    forwarded = sum(way["packets"] for way in report["forwarded"].values())
    many = {name for name, count in drops.items() if count * LOSSES_OF > forwarded}
    ports = (("access", gateway.access_port), ("core", gateway.core_device))
    for port, device in ports:
        if (name := f"{port}_not_taken") in many:
            text = f"{drops[name]} frames by {device} were too long for the switch ({name})"
            merged = (
                f"ethtool -K {device} gro off lro off   # and, of a veth, the other end: tx off"
            )
            return warning(check, text, merged)
    for port, device in ports:
        if (name := f"{port}_overrun") in many:
            text = (
                f"{drops[name]} frames came by {device} faster than the switch took them ({name})"
            )
            return warning(
                check, text, "ofgtp status --watch   # does it go on?", "top -bHn1 | grep ovs"
            )
    if "tunnel_error" in many:
        text = f"{drops['tunnel_error']} GTP-U packets were refused by Open vSwitch (tunnel_error)"
        look = f"tcpdump -vni {gateway.access_port} udp port {GTPU_PORT}   # checksums? IP options?"
        container = "ethtool -K eth0 tx off   # in a base station's container, if it is in one"
        container += '; or ports = "afxdp"'
        remedies = ["ovs-appctl coverage/show | grep drop", look]
        return warning(check, text, *remedies, *[container] * (not gateway.veths))
    return ok(check, "hardly any frame was lost before it met a flow")


def forwarding(sessions: int | None) -> Finding:
    """What the switch does without a controller: by how many sessions' flows it forwards."""
    if sessions is None:
        return failed("forwarding", "the switch forwards nothing", START, LOG)
    text = f"without its controller the switch forwards: {sessions} sessions"
    return warning("forwarding", text, START)


def flows(bridge: str, missing: Sequence[str], surplus: Sequence[str]) -> Finding:
    """What the switch lacks, and what it has of ours beside what it should have."""
    if not missing and not surplus:
        return ok("flows", "the switch has exactly the flows that it should have")
    text = (
        f"{bridge} lacks {count(missing, 'flow')} and has {len(surplus)} too many; the first: "
        f"{(missing or surplus)[0]}"
    )
    return failed("flows", text, RESTART, LOG)
