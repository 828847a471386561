"""What is wrong with a gateway: judged here, for the API, the command, the page and doctor alike.

Facts come in as `GET /v1/gateways` and `GET /v1/pfcp` show them; what an operator should know of
them goes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ofgtp.core.model import GTPU_PORT

Facts = Mapping[str, Any]

NAMED = 3
"""So many of several alike are named."""


class Level(StrEnum):
    """How bad it is."""

    BAD = "bad"
    """Packets of all UEs are lost now, or of all that have one IP version; or what was asked for
    is not done."""
    WARNING = "warning"
    """Some base stations or sessions are concerned, or it may pass by itself."""


class What(StrEnum):
    """What it is about."""

    DISCONNECTED = "disconnected"
    PROBLEM = "problem"
    COMPARING = "comparing"
    LINK_ACCESS = "link_access"
    LINK_CORE = "link_core"
    NEXT_HOP = "next_hop"
    NEXT_HOP6 = "next_hop6"
    LEASE = "lease"
    PATHS_DOWN = "paths_down"
    UNRESOLVED = "unresolved"
    UNROUTED = "unrouted"
    FAILED = "failed"
    ERROR_INDICATED = "error_indicated"
    PENDING = "pending"
    PFCP = "pfcp"
    CONTROL_PLANE = "control_plane"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong; `do` is what to type or to look at, if there is something."""

    what: What
    level: Level
    text: str
    do: str = ""


def troubles(gateway: Facts, node: Facts | None = None) -> list[Trouble]:
    """What is wrong with a gateway, the worst first; `node` is its part in PFCP, if it has one.

    What `gateway` does not tell (as a controller of an earlier release) is not judged.
    """
    found = [*_of_switch(gateway), *_of_ports(gateway), *_of_next_hops(gateway)]
    found += [*_of_peers(gateway), *_of_sessions(gateway)]
    found += [] if node is None else of_control_planes(node)
    return sorted(found, key=lambda trouble: trouble.level is not Level.BAD)


def shown(found: Iterable[Trouble]) -> list[dict[str, str]]:
    """As the API tells of them."""
    return [
        {"what": str(each.what), "level": str(each.level), "text": each.text, "do": each.do}
        for each in found
    ]


def _of_switch(gateway: Facts) -> Iterator[Trouble]:
    problem = gateway.get("problem")
    if not gateway.get("connected", True):
        text = str(problem or "the switch is not connected")
        yield Trouble(What.DISCONNECTED, Level.BAD, text, "journalctl -u ofgtp -n 50")
    elif problem:
        yield Trouble(What.PROBLEM, Level.BAD, str(problem))
    elif not gateway.get("in_sync", True):
        text = "the switch's flows are being compared with the sessions"
        yield Trouble(What.COMPARING, Level.WARNING, text)
    lease = gateway.get("lease")
    if lease is not None and lease["seconds_left"] is not None and lease["seconds_left"] <= 0:
        text = "the lease has run out: nothing is forwarded"
        do = "was the controller held up, or OpenFlow cut? See the events lease_expired"
        yield Trouble(What.LEASE, Level.BAD, text, do)


def _of_ports(gateway: Facts) -> Iterator[Trouble]:
    for side, what in (("access", What.LINK_ACCESS), ("core", What.LINK_CORE)):
        facts = gateway.get(side)
        if facts is None:
            continue
        link, port = facts["link"], facts.get("device", facts["port"])
        if link == "no carrier":
            do = "look at the cable, or at the other end"
            yield Trouble(what, Level.BAD, f"{port} has no carrier", do)
        elif link == "down":
            yield Trouble(what, Level.BAD, f"{port} is down", f"ip link set dev {port} up")
        elif link == "missing" and gateway.get("connected", True):
            yield Trouble(what, Level.BAD, f"the host has no interface {port}")


def _next_hops(gateway: Facts) -> Iterator[tuple[What, Facts, str]]:
    """Those that UEs' packets may go to, and how each is asked for its MAC address: of an IP
    version that no UE can have there are none."""
    pools = gateway.get("ue_pools")
    for what, how, mark in (
        (What.NEXT_HOP, "ARP", "."),
        (What.NEXT_HOP6, "neighbour discovery", ":"),
    ):
        hop = gateway.get(what)
        if hop is not None and (pools is None or any(mark in pool for pool in pools)):
            yield what, hop, how


def _of_next_hops(gateway: Facts) -> Iterator[Trouble]:
    port = (gateway.get("core") or {}).get("port", "the core port")
    for what, hop, how in _next_hops(gateway):
        if not gateway.get("connected", True) or hop["state"] == "resolved":
            continue
        kind = "arp" if what is What.NEXT_HOP else "icmp6"
        do = f"is the router up? tcpdump -eni {port} {kind}"
        if hop["state"] == "stale":
            text = f"the next hop {hop['ip']} does not answer {how} on {port} any more"
            text += f"; packets still go to its last MAC address, {hop['mac']}"
        else:
            packets = "IPv6 packets" if what is What.NEXT_HOP6 else "uplink packets"
            text = f"the next hop {hop['ip']} has not answered {how} on {port}: no {packets} leave"
        yield Trouble(what, Level.BAD, text, do)


def _of_peers(gateway: Facts) -> Iterator[Trouble]:
    port = (gateway.get("access") or {}).get("port", "the access port")
    paths = gateway.get("paths") or {}
    if down := paths.get("down", 0):
        all_ = sum(paths.values())
        text = f"{_of(down, all_, 'peer')} not answer Echo Requests any more"
        level = Level.BAD if down == all_ else Level.WARNING
        do = f"ofgtp peer list --state down; tcpdump -ni {port} udp port {GTPU_PORT}"
        yield Trouble(What.PATHS_DOWN, level, text, do)
    hops = gateway.get("neighbours") or {}
    if gateway.get("connected", True) and (unresolved := hops.get("unresolved", 0)):
        by, kinds = "ARP", "arp"
        if (gateway.get("access") or {}).get("ip6"):
            by, kinds = "ARP or neighbour discovery", "arp or icmp6"
        text = f"{_of(unresolved, sum(hops.values()), 'next hop')} not answer {by} on {port}"
        text += " (no downlink goes there)"
        do = f"tcpdump -eni {port} {kinds}"
        yield Trouble(What.UNRESOLVED, Level.WARNING, text, do)
    unrouted: Sequence[str] = gateway.get("unrouted") or ()
    if unrouted:
        named = ", ".join(unrouted[:NAMED])
        more = f" and {len(unrouted) - NAMED} more" if len(unrouted) > NAMED else ""
        text = f"no route on the access side leads to {named}{more}: no downlink goes there"
        do = "access_routes of the gateway in ofgtp.toml, and: ofgtp reload"
        yield Trouble(What.UNROUTED, Level.WARNING, text, do)


def _of_sessions(gateway: Facts) -> Iterator[Trouble]:
    sessions = gateway.get("sessions") or {}
    for state, what, level, text in (
        ("failed", What.FAILED, Level.BAD, "failed: the switch refused the flows"),
        (
            "error_indicated",
            What.ERROR_INDICATED,
            Level.WARNING,
            "stopped by Error Indications: their base stations do not know the tunnels",
        ),
        ("pending", What.PENDING, Level.WARNING, "pending: not confirmed by the switch yet"),
    ):
        if count := sessions.get(state, 0):
            do = f"ofgtp session list --state {state}"
            yield Trouble(what, level, f"{_count(count, 'session')} {text}", do)


def of_control_planes(node: Facts) -> Iterator[Trouble]:
    """What is wrong with a gateway's part in PFCP."""
    if node["problem"] is not None:
        yield Trouble(What.PFCP, Level.BAD, f"PFCP: {node['problem']}")
    down = [_plane(each) for each in node["associations"] if each["state"] == "down"]
    if down:
        who = f"control plane {down[0]}" if len(down) == 1 else _count(len(down), "control plane")
        verb = "answers" if len(down) == 1 else "answer"
        yield Trouble(What.CONTROL_PLANE, Level.BAD, f"{who} {verb} no heartbeats", "ofgtp pfcp")


def _plane(association: Facts) -> str:
    name, ip = association["node_id"], association["ip"]
    return str(name) if name == ip else f"{name} ({ip})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _of(some: int, all_: int, noun: str) -> str:
    return f"{some} of {_count(all_, noun)} {'does' if some == 1 else 'do'}"
