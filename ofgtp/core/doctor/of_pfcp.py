"""Checks of a gateway's PFCP: its address and port, its control planes, network instances."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from ofgtp.core.doctor.facts import Controller, Socket
from ofgtp.core.doctor.finding import (
    LOG,
    RELOAD,
    RESTART,
    Finding,
    failed,
    ok,
    skipped,
    some,
    warning,
)
from ofgtp.core.model import Pfcp
from ofgtp.core.pfcp.node.actions import PORT


def address(
    pfcp: Pfcp,
    here: Collection[IPv4Address],
    sockets: Sequence[Socket],
    controller: Controller,
    node: Mapping[str, Any] | None,
) -> Finding:
    """Where it listens is an address of this host, and its port is free, or the controller's."""
    check, at = "pfcp address", f"{pfcp.listen}, UDP port {PORT}"
    if pfcp.listen not in here:
        text = f"{pfcp.listen} is no address of this host: no control plane is heard"
        return failed(check, text, "ip -br addr   # then add it there, or change `listen`")
    holder = next((each for each in sockets if _holds(each, pfcp.listen)), None)
    if node is not None and node["problem"] is None and holder is not None:
        return ok(check, f"{at} is the controller's")
    if holder is not None and controller.error is None:
        text = f"{at} is taken by {holder.process}: no control plane is heard"
        return failed(check, text, f"ss -lunp 'sport = :{PORT}'   # stop that program")
    if holder is not None:
        return skipped(check, f"{at} is held by {holder.process}; is it the controller?")
    if controller.error is None:
        return failed(check, f"nobody listens at {at}, though the controller runs", RESTART, LOG)
    return ok(check, f"{at} is free")


def control_planes(node: Mapping[str, Any] | None) -> Finding:
    """Whether they are associated, and answer heartbeats."""
    check = "control planes"
    if node is None:
        return skipped(check, "the running controller's file is an older one, without this PFCP")
    if node["problem"] is not None:
        return failed(check, str(node["problem"]), "ofgtp pfcp")
    strangers = [each["ip"] for each in node["strangers"]]
    associated = node["associations"]
    if not associated and strangers:
        text = f"none is associated; {', '.join(strangers)} asked, outside `peers`: not answered"
        return failed(check, text, "add it to `peers` of [gateway.pfcp]", RELOAD)
    if not associated and node["refused"]:
        last = node["refused"][-1]
        text = f"none is associated; {last['ip']} was refused last: {last['reason']}"
        return failed(check, text, "ofgtp pfcp")
    if not associated:
        look = f"tcpdump -ni any udp port {PORT}   # does anything arrive?"
        return warning(check, "none is associated, and none has asked", look)
    names = [_heard(each) for each in associated]
    down = [each for each in associated if each["state"] == "down"]
    if down:
        text = f"{some('control plane', names)}: not all answer heartbeats"
        return warning(check, text, f"ping {down[0]['ip']}", f"tcpdump -ni any udp port {PORT}")
    return ok(check, f"associated: {some('control plane', names)}")


def _heard(association: Mapping[str, Any]) -> str:
    return (
        f"{association['node_id']} ({association['state']}, last heard"
        f" {association['heard_at'] or 'never'})"
    )


def network_instances(pfcp: Pfcp, node: Mapping[str, Any] | None) -> Finding:
    """Those that control planes name against those that are there."""
    check = "network instances"
    if not pfcp.network_instances:
        return ok(check, "any is taken (network_instances is empty)")
    if node is None:
        return skipped(check, "only the controller knows which are asked for")
    named = {each["name"].lower() for each in node["network_instances"]}
    unknown = [each["name"] for each in node["network_instances"] if not each["known"]]
    if unknown:
        text = f"asked for, and refused: {', '.join(unknown)}"
        correct = "add them to `network_instances`, or correct the control plane"
        return failed(check, text, correct, RELOAD)
    if not named:
        return skipped(check, "no control plane has named one since ofgtp has started")
    idle = [name for name in pfcp.network_instances if name.lower() not in named]
    if idle:
        text = f"no control plane has asked for {', '.join(idle)} since ofgtp has started"
        return warning(check, text, "ofgtp pfcp --json   # what do they ask for?")
    return ok(check, f"all are asked for: {', '.join(pfcp.network_instances)}")


def _holds(socket: Socket, ip: IPv4Address) -> bool:
    near = (None, str(ip), "0.0.0.0", "::")
    return socket.protocol == "udp" and socket.port == PORT and socket.address in near
