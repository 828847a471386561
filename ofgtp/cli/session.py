"""`ofgtp session`: sessions as the API has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ofgtp.cli import detail, output
from ofgtp.cli.api import Api
from ofgtp.cli.deletion import delete_each, delete_many, yes_option
from ofgtp.cli.errors import EXIT_NOT_FOUND, CliError
from ofgtp.cli.events import show as show_events
from ofgtp.cli.groups import InOrder
from ofgtp.cli.settings import api_options
from ofgtp.cli.transfer import export_sessions, import_sessions
from ofgtp.cli.values import (
    ADDRESS,
    ADDRESS_OR_NONE,
    ANY_ADDRESS,
    GATEWAY,
    PEER,
    PIN,
    QOS,
    SESSION,
    TEID,
    UE,
    Number,
    by_ue,
    is_ue,
    ues_of,
)
from ofgtp.core.model import QFI_MAX

WIDE = (">UP PKTS", ">UP", ">DOWN PKTS", ">DOWN", "OWNER", "CHANGED")
"""Further columns of a wide list."""


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
@click.option(
    "--create", is_flag=True, help="Add the session if there is none; needs --ue-ip or --ue-ipv6."
)
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
                new = f"--ue-ip {name}" if is_ue(name) else f"{name} --ue-ip …"
                hint = f"add it: ofgtp session add {new}, or --create"
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
    "--peer", type=PEER, help="With this peer: of uplink, downlink, a bearer, or a relay's."
)
@click.option(
    "--state",
    type=click.Choice(["active", "pending", "failed", "error_indicated"]),
    metavar="STATE",
    help="active, pending, failed or error_indicated.",
)
@click.option("--limit", metavar="N", type=Number(1), help="So many at most.")
@click.option("-w", "--wide", is_flag=True, help="With counters, times and owners.")
@api_options
def list_(limit: int | None, ue: str | None, wide: bool, **filters: str | int | None) -> None:
    """List sessions: all, or those that match.

    A session's bearers stand below it, each with its gate in place of the state.

    The counters of --wide are packets and octets, uplink and downlink, since the session was made.
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
        if wide:
            head[-2:-2] = WIDE
        rows = (row for each in found for row in _rows(each, several, wide))
        output.table(head, rows, empty="no sessions")


def _rows(each: dict[str, Any], several: bool, wide: bool) -> Iterator[list[str | None]]:
    up, down = each["uplink"], each["downlink"]
    gateway = [each["gateway"]] if several else []
    to_ue = f"{output.teid(down['teid'])} to {down['remote_ip']}" if down else "idle"
    qfi = f", QFI {each['qfi']}" if each.get("qfi") else ""
    from_ue = f"{output.teid(up['teid'])}{detail.pinned(up)}" if up else None
    tunnels = [from_ue, f"{to_ue}{qfi}{detail.in_short(each)}"]
    further = _wide(each["counters"]) if wide else []
    if wide:
        owner = each.get("owner")
        further += [owner["node_id"] if owner else "REST", output.ago(each["updated_at"])]
    names = [each["id"], *gateway, ", ".join(ues_of(each)) or None, each["state"]]
    yield [*names, *further, *tunnels]
    for bearer in each.get("bearers") or ():
        name, state, *tunnels = detail.bearer_row(bearer)
        further = [*_wide(bearer["counters"]), None, None] if wide else []
        yield [name, *(None for _ in gateway), None, state, *further, *tunnels]


def _wide(counters: dict[str, Any] | None) -> list[str | None]:
    """Packets and octets, uplink and downlink; of a bearer they may not be known."""
    if counters is None:
        return [None] * 4
    ways = (counters[way] for way in ("uplink", "downlink"))
    shown = ((output.number(each["packets"]), output.size(each["bytes"])) for each in ways)
    return [cell for pair in shown for cell in pair]


@session.command()
@click.argument("names", metavar="[SESSION...]", nargs=-1, type=SESSION)
@click.option("--peer", type=PEER, help="All sessions with this peer.")
@click.option("--all", "everything", is_flag=True, help="All sessions.")
@click.option("--gateway", type=GATEWAY, help="With --peer or --all: of this gateway alone.")
@yes_option
@api_options
def delete(
    names: tuple[str, ...], peer: str | None, everything: bool, gateway: str | None, yes: bool
) -> None:
    """Delete sessions. Tries all of them, also when one cannot be deleted.

    --peer and --all ask first, and delete 100,000 at a time: all of these, or none. Sessions that
    control planes own stay.
    """
    if (len(names) > 0) + everything + (peer is not None) != 1:
        raise click.UsageError("name sessions, or give --peer or --all: one of these")
    if names and gateway is not None:
        raise click.UsageError("--gateway goes with --peer or --all")
    with Api() as api:
        if not names:
            of = f" with peer {peer}" if peer else ""
            of += f" of gateway {gateway}" if gateway else ""
            delete_many(api, api.sessions(peer=peer, gateway=gateway, counters="false"), of, yes)
            return
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
        show_events(api, {"session": name and api.id_of(name), "gateway": gateway})


session.add_command(import_sessions)
session.add_command(export_sessions)
