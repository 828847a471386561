"""`ofgtp pfcp`: the control planes, and why one is not answered as it should be."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ofgtp.cli import output
from ofgtp.cli.errors import EXIT_FAILED, EXIT_NOT_FOUND, CliError
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import GATEWAY
from ofgtp.core.troubles import of_control_planes

PORT = 8805
LAST = 5
"""Refusals that are shown of a gateway; of a control plane all that are kept."""

Json = dict[str, Any]


@click.command(
    epilog="""\b
Examples:
  ofgtp pfcp               who is associated, and what was refused last
  ofgtp pfcp 10.3.0.5      one control plane: by Node ID, or by its address
  ofgtp pfcp --json""",
)
@click.argument("control_plane", metavar="[NODE]", required=False)
@click.option("--gateway", type=GATEWAY, help="This gateway alone.")
@api_options
def pfcp(control_plane: str | None, gateway: str | None) -> None:
    """Show the control planes (SMF, SGW-C, PGW-C) that use PFCP.

    For each gateway: where it listens, which control planes are associated, whether they answer
    heartbeats, and how many sessions they have; then what keeps others from being associated: the
    last requests that were refused, in words, and who sends messages that are not answered. With
    NODE one control plane, and what its requests were answered.

    \b
    Exit codes: 0 all that are associated answer heartbeats; 1 one does not, or
    the gateway cannot be asked; 4 no such control plane or gateway.
    """
    from ofgtp.cli.api import Api

    with Api() as api:
        nodes = [*api.items("/v1/pfcp")]
    if gateway is not None:
        nodes = [node for node in nodes if node["gateway"] == gateway]
        if not nodes:
            raise CliError(f"no gateway {gateway} speaks PFCP (ofgtp gateway list)", EXIT_NOT_FOUND)
    if control_plane is not None:
        _one(nodes, control_plane)
        return
    if output.wants_json():
        output.listing(nodes)
    elif not nodes:
        output.note("no gateway speaks PFCP: [gateway.pfcp] in ofgtp.toml gives it an address")
    else:
        for place, node in enumerate(nodes):
            if place:
                output.say()
            _show(node)
    if any(map(list, map(of_control_planes, nodes))):
        sys.exit(EXIT_FAILED)


def line(node: Json) -> str:
    """A gateway's control planes in one line."""
    states = [each["state"] for each in node["associations"]]
    shown = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    there = ", ".join(shown) or "no control plane is associated"
    sessions = sum(each["sessions"] for each in node["associations"])
    return f"{there}; {_count(sessions, 'session')}" if states else there


def _show(node: Json) -> None:
    began = f", since {_at(node['recovery_time'])}"
    at = f"{node['listen']} UDP port {PORT}"
    output.say(f"{node['gateway']}: user plane node {node['node_id']} at {at}{began}")
    if node["problem"] is not None:
        output.say(f"NOT WELL  {node['problem']}")
    rows = [
        (
            each["node_id"],
            each["ip"],
            each["state"],
            each["sessions"],
            _ago(each["heard_at"]),
            _at(each["recovery_time"]),
            sum(one["count"] for one in each["answers"] if one["cause"] != 1),
        )
        for each in node["associations"]
    ]
    head = ("CONTROL PLANE", "ADDRESS", "STATE", ">SESSIONS", "HEARD", "BEGAN", ">REFUSED")
    if rows:
        output.table(head, rows)
    else:
        output.say("no control plane is associated")
    for each in node["refused"][-LAST:]:
        output.say(f"refused   {_at(each['at'])} {each['ip']}: {each['reason']}")
    for reason in _unanswered(node):
        output.say(f"silent    {reason}")
    for hint in hints(node):
        output.say(f"do:       {hint}")


def _unanswered(node: Json) -> Iterator[str]:
    """Messages that were not answered."""
    for each in node["strangers"]:
        times, ago = _count(each["messages"], "message"), _ago(each["heard_at"])
        yield f"{each['ip']} is none of peers: {times}, the last {ago}"
    others = [f"{each['count']} {each['reason']}" for each in _dropped(node)]
    if others:
        yield f"dropped: {', '.join(others)} (docs/metrics.md)"


def _dropped(node: Json) -> list[Json]:
    return [each for each in node["dropped"] if each["reason"] != "not_allowed"]


def hints(node: Json) -> Iterator[str]:
    """What to do about what keeps control planes away."""
    if node["problem"] is not None:
        yield f"ip -br addr   # is {node['listen']} there? ss -lunp 'sport = :{PORT}'   # who else?"
        return
    if node["strangers"] and not node["associations"]:
        ip = node["strangers"][0]["ip"]
        yield f"if {ip} is your control plane: add it to `peers` of [gateway.pfcp]; ofgtp reload"
    if not node["received"] and not node["strangers"]:
        yield (
            f"nothing has come yet: tcpdump -ni any udp port {PORT}   # does it arrive? Is this"
            f" host's firewall open for it, and is {node['listen']} what the control plane has?"
        )
    down = [each for each in node["associations"] if each["state"] == "down"]
    if down:
        yield f"ping {down[0]['ip']}; tcpdump -ni any udp port {PORT}   # does it answer?"
    unknown = [each["name"] for each in node["network_instances"] if not each["known"]]
    if unknown:
        names = ", ".join(unknown)
        yield f"add to `network_instances` what is asked for: {names}; then: ofgtp reload"


def _one(nodes: Sequence[Json], name: str) -> None:
    found = [
        (node, each)
        for node in nodes
        for each in node["associations"]
        if name.lower() in (each["node_id"].lower(), each["ip"])
    ]
    if not found:
        said = [each for node in nodes for each in node["refused"] if each["ip"] == name]
        strangers = [each for node in nodes for each in node["strangers"] if each["ip"] == name]
        why = f": {said[-1]['reason']}" if said else ""
        if strangers:
            why = ": it is none of `peers`, and is not answered"
        raise CliError(f"no control plane {name} is associated{why}", EXIT_NOT_FOUND)
    if output.wants_json():
        output.listing({"gateway": node["gateway"], **each} for node, each in found)
    else:
        for place, (node, each) in enumerate(found):
            if place:
                output.say()
            _details(node, each)
    if any(each["state"] == "down" for _, each in found):
        sys.exit(EXIT_FAILED)


def _details(node: Json, each: Json) -> None:
    output.pairs(
        [
            ("control plane", _name(each)),
            ("gateway", f"{node['gateway']}, as {node['node_id']}"),
            ("state", each["state"]),
            ("heard", _ago(each["heard_at"])),
            ("began", _at(each["recovery_time"])),
            ("sessions", each["sessions"]),
        ]
    )
    rows = [
        (one["message"], one["count"], one["cause"], _meaning(one["cause"]))
        for one in each["answers"]
    ]
    if rows:
        output.say()
        output.table(("MESSAGE", ">ANSWERS", ">CAUSE", "THAT IS"), rows)
    for error in each["errors"]:
        output.say(f"refused   {_at(error['at'])} {error['reason']}")


def _meaning(cause: int) -> str:
    from ofgtp.core.pfcp.wire.causes import Cause

    return Cause(cause).name.replace("_", " ").lower() if cause in {*Cause} else ""


def _name(association: Json) -> str:
    node_id, ip = association["node_id"], association["ip"]
    return str(node_id) if node_id == ip else f"{node_id} ({ip})"


def _at(text: str) -> str:
    """A time of the API's, where the operator is."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"


def _ago(text: str | None) -> str:
    if text is None:
        return "never"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    return f"{max(seconds, 0):.0f} s ago"


def _count(count: int, noun: str) -> str:
    return f"{output.number(count)} {noun}{'' if count == 1 else 's'}"
