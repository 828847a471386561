"""`ofgtp session`: sessions as the API has them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from ofgtp.cli import detail, output
from ofgtp.cli.api import Api
from ofgtp.cli.deletion import delete_each
from ofgtp.cli.errors import EXIT_NOT_FOUND, EXIT_UNREACHABLE, CliError
from ofgtp.cli.groups import InOrder
from ofgtp.cli.settings import api_options
from ofgtp.cli.transfer import export_sessions, import_sessions
from ofgtp.cli.values import (
    ADDRESS,
    ADDRESS_OR_NONE,
    ANY_ADDRESS,
    GATEWAY,
    PIN,
    QOS,
    SESSION,
    TEID,
    UE,
    Number,
    by_ue,
    ues_of,
)
from ofgtp.core.model import QFI_MAX

AGAIN_S = 1.0
"""Pause before a broken stream of events is opened again, in seconds."""


@click.group(cls=InOrder, short_help="Sessions: add, change, show, delete, import, export.")
def session() -> None:
    """Sessions: add, change, show, delete, watch, import, export.

    SESSION is an id, or the UE's address: IPv4, or any of its IPv6 prefix.
    """


def _qos_options(command: Any) -> Any:
    """What is said of the PDU Session Container; None where it is not said."""
    for option in (
        click.option(
            "--qfi-check/--no-qfi-check",
            default=None,
            help="Drop uplink packets whose container has another QFI.",
        ),
        click.option(
            "--qfi-required/--qfi-optional",
            default=None,
            help="Drop uplink packets without a container and those with one of PDU type 0, or take"
            " them. Else required.",
        ),
        click.option("--rqi/--no-rqi", default=None, help="Set the Reflective QoS Indicator."),
        click.option(
            "--qfi",
            metavar="N",
            type=Number(1, QFI_MAX),
            help="5G: the QFI of the PDU Session Container.",
        ),
    ):
        command = option(command)
    return command


def _tunnel_options(command: Any) -> Any:
    for option in (
        click.option(
            "--uplink-peer", type=ADDRESS, help="Take uplink packets from this peer alone."
        ),
        click.option(
            "--uplink-teid", type=TEID, help="TEID of the uplink, at the gateway. Else chosen."
        ),
        click.option("--teid", type=TEID, help="TEID of the downlink, at the peer."),
        click.option("--peer", type=ANY_ADDRESS, help="Where the downlink goes: the gNB or eNB."),
        click.option("--gateway", type=GATEWAY, help="May be left out where there is one."),
    ):
        command = option(command)
    return command


@session.command(
    epilog="""\b
Examples:
  ofgtp session add phone-1 --ue-ip 10.45.0.7 --peer 10.1.0.2 --teid 0x2001
  ofgtp session add phone-2 --ue-ip 10.45.0.9 --qfi 9          5G
  ofgtp session add --ue-ip 10.45.0.8          idle; the id is made up
  ofgtp session add phone-3 --ue-ipv6 2001:db8:a:1::/64     IPv6 alone
  ofgtp session add sgw-1 --peer 10.1.0.2 --teid 0x2001 \\
    --core-peer 10.9.0.2 --core-remote-teid 0x6001      a relay"""
)
@click.argument("session_id", metavar="[ID]", required=False)
@click.option(
    "--ue-ip",
    type=ADDRESS,
    help="The UE's address. A UE with --ue-ipv6, or a relay, can do without.",
)
@_tunnel_options
@_qos_options
@detail.detail_options
@api_options
def add(session_id: str | None, ue_ip: str | None, **given: Any) -> None:
    """Add a session. Without --peer and --teid the UE is idle. Without --qfi it is of 4G.

    Refused if the id, the UE's address or a tunnel is in use. A relay (--core-peer) sends what
    comes from the peer on in another tunnel, and back. Bearers: ofgtp bearer add.
    """
    with Api() as api:
        _told(api.send("POST", "/v1/sessions", _body(session_id, ue_ip, **given)))


@session.command(
    "set",
    epilog="""\b
Examples:
  ofgtp session set phone-1 --peer 10.1.0.3 --teid 0x2002     handover
  ofgtp session set phone-1 --idle                            no downlink
  ofgtp session set phone-1 --idle --buffer 32      and packets are held
  ofgtp session set phone-1 --uplink-peer 10.1.0.3            from there alone
  ofgtp session set phone-1 --uplink-peer any                 from any peer again
  ofgtp session set phone-1 --peer 10.1.0.9 --teid 7 --no-qfi     from 5G to 4G
  ofgtp session set phone-1 --quota 10G --threshold 1G        octets, both ways""",
)
@click.argument("name", metavar="SESSION", type=SESSION)
@click.option(
    "--ue-ip", type=ADDRESS_OR_NONE, help="Another address for the UE, or none: IPv6 alone."
)
@click.option("--idle", is_flag=True, help="Nothing is sent to the UE any more.")
@click.option("--peer", type=ANY_ADDRESS, help="Where the downlink goes: the gNB or eNB.")
@click.option("--teid", type=TEID, help="TEID of the downlink, at the peer.")
@click.option("--uplink-teid", type=TEID, help="Another TEID of the uplink, at the gateway.")
@click.option(
    "--uplink-peer", metavar="IP|any", type=PIN, help="Take uplink packets from this peer alone."
)
@_qos_options
@click.option("--no-qfi", is_flag=True, help="4G: no PDU Session Container any more.")
@detail.detail_options
@click.option(
    "--no-core", is_flag=True, help="No relay any more: what comes goes to the core port."
)
@click.option("--create", is_flag=True, help="Add the session if there is none; needs --ue-ip.")
@click.option("--gateway", type=GATEWAY, help="With --create: where.")
@api_options
def set_(name: str, idle: bool, no_qfi: bool, no_core: bool, create: bool, **given: Any) -> None:
    """Change a session: handover, going idle. What is not named stays as it is.

    Prefixes that are given replace those that there are; none takes them away.
    """
    pin = given["uplink_peer"]
    given["uplink_peer"] = None if pin == "any" else pin
    if idle and (given["peer"] or given["teid"]):
        raise click.UsageError("--idle, or --peer and --teid, but not both")
    change: dict[str, Any] = _qos(given)
    if no_qfi and change:
        raise click.UsageError("--no-qfi goes without --qfi, --rqi, --qfi-… of any kind")
    if no_qfi:
        change["qfi"] = None
    change |= detail.change_of(given)
    if no_core and "core" in change:
        raise click.UsageError("--no-core goes without --core-…")
    if no_core:
        change["core"] = None
    if create and {given["ue_ip"], given["ue_ipv6"]} <= {None, detail.NONE}:
        raise click.UsageError("--create needs --ue-ip or --ue-ipv6")
    if given["gateway"] and not create:
        raise click.UsageError("--gateway goes with --create: a session stays on its gateway")
    if given["ue_ip"] == detail.NONE:
        given["ue_ip"] = change["ue_ip"] = None
    elif given["ue_ip"]:
        change["ue_ip"] = given["ue_ip"]
    down = {"teid": given["teid"], "remote_ip": given["peer"]}
    if idle or any(down.values()):
        change["downlink"] = None if idle else _some(down)
    up = _some({"teid": given["uplink_teid"], "remote_ip": given["uplink_peer"]})
    if pin == "any":
        up["remote_ip"] = None
    if up:
        change["uplink"] = up
    if not change:
        raise click.UsageError("say what to change: --peer, --teid, --idle, --qfi, …")
    with Api() as api:
        try:
            _told(api.send("PATCH", api.path_of(name), change))
        except CliError as error:
            if error.code != EXIT_NOT_FOUND:
                raise
            if not create:
                hint = f"add it: ofgtp session add {name} --ue-ip …, or --create"
                raise CliError(f"{error}: {hint}", EXIT_NOT_FOUND) from error
            _told(api.send("POST", "/v1/sessions", _body(name, **given)))


def _body(session_id: str | None, ue_ip: str | None, **given: Any) -> dict[str, Any]:
    further = detail.change_of(given)
    if ue_ip is None and not further.keys() & {"core", "ue_ipv6"}:
        raise click.UsageError(
            "Missing option '--ue-ip': only a relay (--core-peer), or a UE with --ue-ipv6, has none"
        )
    if (given["peer"] is None) != (given["teid"] is None):
        raise click.UsageError("--peer and --teid go together: the downlink needs both")
    qos = _qos(given)
    if qos and "qfi" not in qos:
        raise click.UsageError("--rqi and --qfi-… go with --qfi in a session that is new")
    down = {"teid": given["teid"], "remote_ip": given["peer"]}
    up = _some({"teid": given["uplink_teid"], "remote_ip": given["uplink_peer"]})
    body = {"id": session_id, "gateway": given["gateway"], "ue_ip": ue_ip, **qos}
    return _some({**body, "uplink": up or None, "downlink": _some(down) or None, **further})


def _qos(given: dict[str, Any]) -> dict[str, Any]:
    return _some({name: given[name] for name in QOS})


def _some(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _told(answer: dict[str, Any] | None) -> None:
    assert answer is not None
    if output.wants_json():
        output.document(answer)
        return
    up, down = answer["uplink"], answer["downlink"]
    parts = [" and ".join(ues_of(answer)) or "a relay"]
    if up:
        parts.append(f"uplink TEID {output.teid(up['teid'])} at {up['local_ip']}")
    if down is None:
        parts.append("no downlink: idle")
    else:
        parts.append(f"downlink TEID {output.teid(down['teid'])} at {down['remote_ip']}")
    if answer.get("qfi"):
        parts.append(f"QFI {answer['qfi']}")
    further = detail.in_short(answer)
    output.say(f"{answer['id']}: {answer['state']}: {', '.join(parts)}{further}")
    warn_unless_active(answer)


def warn_unless_active(answer: dict[str, Any]) -> None:
    """Say on standard error why a session that was taken does not work (yet)."""
    if answer["state"] == "pending":
        output.note("the switch has not confirmed it: it is away or slow; see ofgtp gateway list")
    elif answer["state"] != "active":
        output.note(f"{answer['state']}: {answer['reason']}")


@session.command()
@click.argument("name", metavar="SESSION", type=SESSION)
@click.option("--flows", is_flag=True, help="Show its OpenFlow flows too.")
@click.option(
    "--rules", is_flag=True, help="Show the PDRs, FARs and QERs of its control plane too."
)
@api_options
def show(name: str, flows: bool, rules: bool) -> None:
    """Show a session: tunnels, state, counters."""
    from ofgtp.cli import pfcp_rules

    with Api() as api:
        path = api.path_of(name)
        found = api.get(path)
        if flows:
            found["flows"] = api.get(f"{path}/flows")["items"]
        if rules:
            found["rules"] = api.get(f"{path}/rules")
    if output.wants_json():
        output.document(found)
        return
    up, down, counters = found["uplink"], found["downlink"], found["counters"]
    to_ue = f"{_teids(down['teid'])} at {down['remote_ip']}" if down else "none: the UE is idle"
    output.pairs(
        (
            ("session", found["id"]),
            ("gateway", found["gateway"]),
            ("UE", " and ".join(ues_of(found)) or "none: a relay"),
            ("state", found["state"]),
            ("reason", found["reason"]),
            ("owner", _owner(found)),
            ("uplink", up and f"{_teids(up['teid'])} at {up['local_ip']}, {_pinned(up)}"),
            ("downlink", to_ue),
            ("QFI", _contained(found)),
            *detail.facts(found),
            ("sent up", _since(counters["uplink"])),
            ("sent down", _sent_down(found)),
            ("created", _when(found["created_at"])),
            ("changed", _when(found["updated_at"])),
        )
    )
    if rules:
        output.say()
        for line in pfcp_rules.lines(found["rules"]):
            output.say(line)
    kind = "PDR" if found.get("owner") else "bearer"
    for flow in found.get("flows", ()):
        of = f" of {kind} {flow['bearer']}" if flow.get("bearer") else ""
        output.say(f"\n{flow['direction']} flow{of}, {_counted(flow)}:\n  {flow['flow']}")


def _pinned(uplink: dict[str, Any]) -> str:
    return f"from {uplink['remote_ip']} alone" if uplink["remote_ip"] else "from any peer"


def _owner(session: dict[str, Any]) -> str | None:
    """The control plane that alone may change it; None if the API may."""
    owner = session.get("owner")
    if owner is None:
        return None
    return f"{owner['node_id']} by PFCP, SEID {owner['cp_seid']}, ours {owner['up_seid']}"


def _contained(session: dict[str, Any]) -> str | None:
    """What is asked of PDU Session Containers; None if there are none."""
    if not session.get("qfi"):
        return None
    rqi = " with RQI" if session["rqi"] else ""
    need = "required" if session["qfi_required"] else "optional"
    qfis = "this QFI alone" if session["qfi_check"] else "any QFI"
    return f"{session['qfi']}{rqi} downlink; uplink a container is {need}, of {qfis}"


def _teids(value: int) -> str:
    return f"TEID {output.teid(value)} ({value})"


def _counted(counter: dict[str, int]) -> str:
    return f"{output.number(counter['packets'])} packets, {output.size(counter['bytes'])}"


def _sent_down(session: dict[str, Any]) -> str:
    one_way = not (session.get("bearers") or session.get("core"))
    sent = _since(session["counters"]["downlink"])
    if session["downlink"] is None and one_way:
        return f"{sent}; nothing while the UE is idle"
    if session["state"] == "error_indicated" and one_way:
        return f"{sent}; now nothing: its peer does not know the tunnel"
    return sent


def _since(counter: dict[str, int]) -> str:
    made = output.duration(counter["duration_seconds"])
    return f"{_counted(counter)} since the session was made, {made} ago"


def _when(moment: str) -> str:
    return f"{moment[:19].replace('T', ' ')} UTC, {output.ago(moment)}"


@session.command("list")
@click.option("--gateway", type=GATEWAY, help="Of this gateway.")
@click.option(
    "--ue-ip", "ue", type=UE, help="Of this UE: its address, or IPv6 prefixes in this one."
)
@click.option("--teid", type=TEID, help="With this TEID at the gateway, be it a bearer's.")
@click.option(
    "--peer", type=ANY_ADDRESS, help="With this peer: of uplink, downlink, a bearer, or a relay's."
)
@click.option(
    "--state",
    type=click.Choice(["active", "pending", "failed", "error_indicated"]),
    metavar="STATE",
    help="active, pending, failed or error_indicated.",
)
@click.option("--limit", metavar="N", type=Number(1), help="So many at most.")
@api_options
def list_(limit: int | None, ue: str | None, **filters: str | int | None) -> None:
    """List sessions: all, or those that match.

    A session's bearers stand below it, each with its gate in place of the state.
    """
    with Api() as api:
        several = filters["gateway"] is None and len(api.get("/v1/gateways")["items"]) > 1
        found = api.sessions(limit, **filters, **by_ue(ue))
        if output.wants_json():
            output.listing(found)
            return
        head = ["SESSION", "GATEWAY", "UE", "STATE", "UPLINK", "DOWNLINK"]
        if not several:
            head.remove("GATEWAY")
        rows = (row for each in found for row in _rows(each, several))
        output.table(head, rows, empty="no sessions")


def _rows(each: dict[str, Any], several: bool) -> Iterator[list[str | None]]:
    up, down = each["uplink"], each["downlink"]
    gateway = [each["gateway"]] if several else []
    to_ue = f"{output.teid(down['teid'])} to {down['remote_ip']}" if down else "idle"
    qfi = f", QFI {each['qfi']}" if each.get("qfi") else ""
    from_ue = f"{output.teid(up['teid'])}{detail.pinned(up)}" if up else None
    tunnels = [from_ue, f"{to_ue}{qfi}{detail.in_short(each)}"]
    yield [each["id"], *gateway, ", ".join(ues_of(each)) or None, each["state"], *tunnels]
    for bearer in each.get("bearers") or ():
        name, state, *tunnels = detail.bearer_row(bearer)
        yield [name, *(None for _ in gateway), None, state, *tunnels]


@session.command()
@click.argument("names", metavar="SESSION...", nargs=-1, required=True, type=SESSION)
@api_options
def delete(names: tuple[str, ...]) -> None:
    """Delete sessions. Tries all of them, also when one cannot be deleted."""
    with Api() as api:
        delete_each(names, lambda name: (found := api.id_of(name), api.delete(found)))


@session.command(short_help="Follow what happens, as it happens.")
@click.argument("name", metavar="[SESSION]", required=False, type=SESSION)
@click.option("--gateway", type=GATEWAY, help="Of this gateway alone.")
@api_options
def watch(name: str | None, gateway: str | None) -> None:
    """Follow what happens to SESSION, or to all sessions, gateways and peers. Ctrl-C ends it.

    Survives a restart of ofgtp. With --json: one event a line (NDJSON).
    """
    with Api() as api:
        if gateway is not None:
            api.need_gateway(gateway)
        # Only a session that is there can be found by its UE's address.
        wanted = {"session": name and api.id_of(name), "gateway": gateway}
        for event in _events(api):
            if any(event.get(key) != value for key, value in wanted.items() if value):
                continue
            if output.wants_json():
                output.line(event)
            else:
                output.say(_sentence(event))
                sys.stdout.flush()


def _events(api: Api) -> Iterator[dict[str, Any]]:
    """All events from now on; the stream is opened again when it breaks."""
    stood = broken = False
    while True:
        try:
            for event in api.events():
                if event["kind"] != "open":
                    yield event
                    continue
                if broken or not stood:
                    output.note("it is there again" if broken else f"events of {api.url}:")
                stood, broken = True, False
        except CliError as error:
            if not stood or error.code != EXIT_UNREACHABLE:
                raise
            if not broken:
                output.note(f"ofgtp: {error}; trying again")
            broken = True
            time.sleep(AGAIN_S)


def _sentence(event: dict[str, Any]) -> str:
    from datetime import datetime

    at = datetime.fromisoformat(event["at"]).astimezone()
    facts = (f"{key}={value}" for key, value in event.items() if key not in ("at", "kind"))
    return f"{at:%H:%M:%S}  {event['kind']:<16}  {' '.join(facts)}"


session.add_command(import_sessions)
session.add_command(export_sessions)
