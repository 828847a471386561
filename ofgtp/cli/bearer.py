"""`ofgtp bearer`: some of a session's traffic, by filters, in tunnels and at rates of its own."""

from __future__ import annotations

from typing import Any

import click

from ofgtp.cli import detail, output
from ofgtp.cli.api import Api, bearer_path
from ofgtp.cli.deletion import delete_each
from ofgtp.cli.groups import InOrder
from ofgtp.cli.session import warn_unless_active
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import (
    ANY_ADDRESS,
    BEARER,
    KBPS,
    NEW,
    OWN_TEID,
    PIN,
    SESSION,
    SHARED,
    TEID,
    Number,
)
from ofgtp.core.model import QFI_MAX
from ofgtp.core.sessions.detail import PRECEDENCE_MAX, Gate

FILTERS = """\b
A filter is written as for downlink, from the far end to the UE; what a UE
sends is compared with the two ends swapped:
  permit out PROTOCOL from REMOTE [PORTS] to LOCAL [PORTS]
PROTOCOL is ip (any), tcp, udp, sctp, icmp or a number; REMOTE an address, a
prefix or any; LOCAL is assigned (the UE's address), or a part of what is
behind the UE; PORTS are 80, 5004-5060 or 80,443,8000-8080. Or the object that
the API takes, for a DSCP: {"protocol": "udp", "dscp": 46}.
"""


@click.group(cls=InOrder, short_help="Bearers of a session: list, add, change, delete.")
def bearer() -> None:
    """Bearers of a session: some of its traffic, by filters, in a tunnel of its own.

    Downlink, a packet takes the first bearer, by precedence, one of whose filters matches it, else
    the session's own tunnel. Uplink, what comes by a bearer's own TEID must match its filters.
    SESSION is an id, or the UE's address.
    """


_session = click.argument("session", metavar="SESSION", type=SESSION)
_bearer = click.argument("bearer_id", metavar="BEARER", type=BEARER)


def _options(command: Any) -> Any:
    for option in (
        click.option(
            "--gate",
            type=click.Choice([gate.value for gate in Gate]),
            help="What may pass: both directions, none, or one. A new one's is open.",
        ),
        click.option("--mbr-downlink", type=KBPS, help="Limit of its downlink, or none."),
        click.option("--mbr-uplink", type=KBPS, help="Limit of its uplink, in kbit/s, or none."),
        click.option(
            "--qfi",
            metavar="N",
            type=Number(1, QFI_MAX),
            help="5G: its QFI. A new one without has the session's.",
        ),
        click.option("--idle", is_flag=True, help="Its downlink goes nowhere."),
        click.option("--peer", type=ANY_ADDRESS, help="Where its downlink goes: the gNB or eNB."),
        click.option(
            "--teid",
            type=TEID,
            help="TEID of its downlink, at the peer. A new one without --teid and --peer shares the"
            " session's tunnel.",
        ),
        click.option(
            "--uplink-peer",
            metavar="IP|any",
            type=PIN,
            help="Take what comes by its own TEID from this peer alone.",
        ),
        click.option(
            "--uplink-teid",
            metavar="TEID|new|shared",
            type=OWN_TEID,
            help="TEID of its uplink, at the gateway: this one, one that is chosen, or that of the"
            " session, as of a new one that names none.",
        ),
        click.option(
            "--filter",
            "filters",
            metavar="FILTER",
            multiple=True,
            help="What it takes. May be given several times: one of them must match.",
        ),
    ):
        command = option(command)
    return detail.usage_options(command)


@bearer.command("list")
@_session
@api_options
def list_(session: str) -> None:
    """List the bearers of a session, in the order of precedence."""
    with Api() as api:
        found = list(api.items(f"{api.path_of(session)}/bearers"))
    found.sort(key=lambda each: int(each["precedence"]))
    if output.wants_json():
        output.listing(found)
        return
    head = [
        "BEARER",
        ">PREC",
        "GATE",
        "UPLINK",
        "DOWNLINK",
        "QFI",
        "RATE",
        ">UP",
        ">DOWN",
        "FILTERS",
    ]
    output.table(head, map(_row, found), empty="no bearers")


def _row(each: dict[str, Any]) -> list[object]:
    counters = each["counters"]
    return [
        each["id"],
        each["precedence"],
        detail.bearer_state(each),
        detail.bearer_uplink(each),
        detail.bearer_downlink(each),
        each["qfi"],
        detail.rates(each["mbr"]),
        *(counters and counters[way]["packets"] for way in ("uplink", "downlink")),
        detail.filters(each),
    ]


@bearer.command(
    epilog=f"""{FILTERS}
\b
Examples:
  ofgtp bearer add phone-1 voice --precedence 10 --uplink-teid new \\
    --teid 0x2002 --peer 10.1.0.2 --mbr-uplink 128 --mbr-downlink 128 \\
    --filter "permit out udp from 10.2.0.0/24 5004-5060 to assigned"
  ofgtp bearer add phone-2 video --precedence 20 --qfi 7 \\
    --filter "permit out tcp from any 443 to assigned"   5G: in one tunnel"""
)
@_session
@_bearer
@click.option(
    "--precedence",
    type=Number(0, PRECEDENCE_MAX),
    required=True,
    help="Bearers are asked in this order, the lowest first.",
)
@_options
@api_options
def add(session: str, bearer_id: str, precedence: int, **given: Any) -> None:
    """Add a bearer to a session.

    Refused if the session has one with this id or precedence, or if a TEID is in use.
    """
    if not given["filters"]:
        raise click.UsageError("Missing option '--filter'")
    if (given["peer"] is None) != (given["teid"] is None):
        raise click.UsageError("--peer and --teid go together: the downlink needs both")
    body = {"id": bearer_id, "precedence": precedence, **_change(given)}
    with Api() as api:
        path = api.path_of(session)
        _told(api, path, api.send("POST", f"{path}/bearers", body))


@bearer.command(
    "set",
    epilog=f"""{FILTERS}
\b
Examples:
  ofgtp bearer set phone-1 voice --gate closed
  ofgtp bearer set phone-1 voice --peer 10.1.0.3 --teid 0x2003     handover
  ofgtp bearer set phone-1 voice --mbr-downlink none
  ofgtp bearer set phone-1 voice --quota 500M --threshold 100M""",
)
@_session
@_bearer
@click.option("--precedence", type=Number(0, PRECEDENCE_MAX), help="Another place in the order.")
@_options
@click.option("--no-qfi", is_flag=True, help="Its QFI is the session's again.")
@click.option("--shared", is_flag=True, help="Its downlink goes by the session's tunnel again.")
@api_options
def set_(
    session: str, bearer_id: str, precedence: int | None, no_qfi: bool, shared: bool, **given: Any
) -> None:
    """Change a bearer. What is not named stays as it is; filters replace those there are."""
    if no_qfi and given["qfi"]:
        raise click.UsageError("--qfi, or --no-qfi, but not both")
    change = _change(given)
    if precedence is not None:
        change["precedence"] = precedence
    if no_qfi:
        change["qfi"] = None
    if shared and change:
        raise click.UsageError("--shared goes without other changes")
    if not change and not shared:
        raise click.UsageError("say what to change: --filter, --teid, --gate, …")
    with Api() as api:
        of_session = api.path_of(session)
        path = bearer_path(of_session, bearer_id)
        made = _share(api, path) if shared else api.send("PATCH", path, change)
        _told(api, of_session, made)


def _share(api: Api, path: str) -> dict[str, Any] | None:
    """A patch has no word for it: in a bearer that is written anew the downlink is left out."""
    present = detail.writable(api.get(path))
    present.pop("downlink", None)
    return api.send("PUT", path, present)


def _change(given: dict[str, Any]) -> dict[str, Any]:
    """What the options say, as a merge patch or a new bearer."""
    change: dict[str, Any] = {}
    try:
        filters = [detail.filter_of(text) for text in given["filters"]]
    except ValueError as error:
        raise click.UsageError(f"--filter: {error}") from error
    if filters:
        change["filters"] = filters
    down = {"teid": given["teid"], "remote_ip": given["peer"]}
    down = {name: value for name, value in down.items() if value is not None}
    if given["idle"] and down:
        raise click.UsageError("--idle, or --peer and --teid, but not both")
    if given["idle"] or down:
        change["downlink"] = None if given["idle"] else down
    if up := _uplink(given["uplink_teid"], given["uplink_peer"]):
        change["uplink"] = up["uplink"]
    if given["qfi"] is not None:
        change["qfi"] = given["qfi"]
    if rates := detail.rates_of(given["mbr_uplink"], given["mbr_downlink"]):
        change["mbr"] = rates
    if given["gate"] is not None:
        change["gate"] = given["gate"]
    if usage := detail.usage_of(given):
        change["usage"] = usage
    return change


def _uplink(teid: int | None, peer: str | None) -> dict[str, Any] | None:
    """What becomes of the uplink's tunnel; None: nothing."""
    if teid == SHARED:
        if peer is not None:
            raise click.UsageError("--uplink-peer goes with a --uplink-teid of its own")
        return {"uplink": None}
    up: dict[str, Any] = {} if teid in (None, NEW) else {"teid": teid}
    if peer is not None:
        up["remote_ip"] = None if peer == "any" else peer
    return {"uplink": up} if up or teid == NEW else None


def _told(api: Api, session: str, answer: dict[str, Any] | None) -> None:
    assert answer is not None
    if output.wants_json():
        output.document(answer)
        return
    output.say(detail.bearer_line(answer))
    warn_unless_active(api.get(session))


@bearer.command()
@_session
@click.argument("names", metavar="BEARER...", nargs=-1, required=True, type=BEARER)
@api_options
def delete(session: str, names: tuple[str, ...]) -> None:
    """Delete bearers: their traffic takes the session's own tunnel."""
    with Api() as api:
        path = api.path_of(session)
        delete_each(names, lambda name: (name, api.delete_at(bearer_path(path, name))))
