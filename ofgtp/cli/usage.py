"""`ofgtp usage`: what sessions have used, for people and for a billing script."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from typing import Any

import click

from ofgtp.cli import output
from ofgtp.cli.errors import EXIT_USAGE, CliError
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import GATEWAY, SESSION, ues_of

Json = dict[str, Any]

COLUMNS = (
    *("session", "gateway", "ue_ip", "since", "active_at"),
    *("uplink_packets", "uplink_bytes", "downlink_packets", "downlink_bytes", "ue_ipv6"),
)
SORTS = ("bytes", "uplink", "downlink", "active")


@click.command(
    epilog="""\b
Examples:
  ofgtp usage                       who has used the most, and all together
  ofgtp usage --sort active -n 50   who was active last
  ofgtp usage --session 10.45.0.2   one session, by its bearers or PDRs
  ofgtp usage --csv > usage.csv     all sessions, for a billing script""",
)
@click.option("--session", "name", metavar="SESSION", type=SESSION, help="This one, up to now.")
@click.option("--gateway", type=GATEWAY, help="Sessions of this gateway alone.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default="bytes",
    show_default=True,
    help="The most first: of both directions, of one, or who was active last.",
)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="So many sessions.",
)
@click.option("--csv", "as_csv", is_flag=True, help="All sessions, a line for each, unsorted.")
@api_options
def usage(name: str | None, gateway: str | None, sort: str, limit: int, as_csv: bool) -> None:
    """Show what sessions have used.

    That is IP packets that went on, and their octets, since a session was made, over all that has
    become of it since. They are as the last look at all sessions has found them: each minute unless
    ofgtp.toml says otherwise, or each ten where there is little traffic. With --session they are as
    of now.

    \b
    Exit codes: 0 shown; 4 no such session or gateway.
    """
    from ofgtp.cli.api import Api

    if name is not None and (as_csv or gateway is not None):
        raise CliError("--session goes with neither --csv nor --gateway", EXIT_USAGE)
    with Api() as api:
        if name is not None:
            _one(api.get(f"{api.path_of(name)}/usage"))
            return
        if gateway is not None:
            api.need_gateway(gateway)
        if as_csv:
            _csv(api.items("/v1/usage", gateway=gateway, limit=1000))
            return
        found = api.get("/v1/usage", gateway=gateway, sort=sort, limit=limit)
    if output.wants_json():
        output.document(found)
        return
    head = ("SESSION", "GATEWAY", "UE", ">UP", ">DOWN", ">PACKETS", "ACTIVE")
    output.table(head, map(_row, found["items"]), empty="no sessions")
    if not found["items"]:
        return
    total = found["total"]
    up, down = (output.size(total[way]["bytes"]) for way in ("uplink", "downlink"))
    sessions = f"{output.number(found['sessions'])} session{'s' * (found['sessions'] != 1)}"
    output.say(f"\n{sessions}: {up} up, {down} down")


def _row(item: Json) -> tuple[object, ...]:
    up, down = item["uplink"], item["downlink"]
    return (
        item["session"],
        item["gateway"],
        ", ".join(ues_of(item)) or None,
        output.size(up["bytes"]),
        output.size(down["bytes"]),
        output.number(up["packets"] + down["packets"]),
        output.ago(item["active_at"]),
    )


def _one(found: Json) -> None:
    if output.wants_json():
        output.document(found)
        return
    output.pairs(
        (
            ("session", found["session"]),
            ("gateway", found["gateway"]),
            ("UE", " and ".join(ues_of(found)) or "none: a relay"),
            ("made", output.ago(found["since"])),
            ("active", output.ago(found["active_at"])),
            ("up", _counted(found["uplink"])),
            ("down", _counted(found["downlink"])),
            *(("quota", _quota(each)) for each in found.get("quotas", ())),
        )
    )
    rules = [(each["id"] or "(its own tunnel)", each) for each in found["rules"]]
    if any(each["packets"] for each in found["removed"].values()):
        rules.append(("(those removed)", found["removed"]))
    if len(rules) > 1:
        output.say()
        rows = (
            (rule, _counted(each["uplink"]), _counted(each["downlink"])) for rule, each in rules
        )
        output.table(("BEARER OR PDR", ">UP", ">DOWN"), rows)


def _quota(quota: Json) -> str:
    of = f" of bearer {quota['bearer']}" if quota["bearer"] else ""
    closed = ": closed" if quota["closed"] else ""
    used = f"{output.size(quota['used_bytes'])} of {output.size(quota['quota_bytes'])} used"
    return f"{used}{of}{closed}"


def _counted(counter: Json) -> str:
    return f"{output.number(counter['packets'])} packets, {output.size(counter['bytes'])}"


def _csv(items: Iterable[Json]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in items:
        facts = [item[name] or "" for name in COLUMNS[:5]]
        ways = (item["uplink"], item["downlink"])
        counts = (each[what] for each in ways for what in ("packets", "bytes"))
        writer.writerow([*facts, *counts, item.get("ue_ipv6") or ""])
