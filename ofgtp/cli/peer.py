"""`ofgtp peer`: the GTP-U peers, and the paths to them."""

from __future__ import annotations

from typing import Any

import click

from ofgtp.cli import output
from ofgtp.cli.api import Api
from ofgtp.cli.errors import EXIT_NOT_FOUND, CliError
from ofgtp.cli.groups import InOrder
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import GATEWAY, PEER

Json = dict[str, Any]

ORDER = ("down", "unknown", "up")
"""States of a path, the worst first."""


@click.group(cls=InOrder, short_help="GTP-U peers (gNB, eNB, UPF): are they there?")
def peer() -> None:
    """GTP-U peers: the base stations and gateways that sessions name, and the paths to them."""


@peer.command(
    "list",
    epilog="""\b
States:
  up       it answers our Echo Requests
  down     it has stopped to answer
  unknown  it has never answered; some peers never do""",
)
@click.option("--state", type=click.Choice(ORDER), metavar="STATE", help="up, down or unknown.")
@click.option("--gateway", type=GATEWAY, help="Of this gateway.")
@api_options
def list_(**filters: str | None) -> None:
    """List the peers that sessions name, those with a trouble first."""
    with Api() as api:
        several = filters["gateway"] is None and len(api.get("/v1/gateways")["items"]) > 1
        found = worst_first(api.items("/v1/peers", **filters))
    if output.wants_json():
        output.listing(found)
        return
    head = ["PEER", "GATEWAY", "STATE", ">SESSIONS", "NEXT HOP", "MAC", "ECHO ANSWERED"]
    if not several:
        head.remove("GATEWAY")
    output.table(head, (_row(each, several) for each in found), empty="no peers")


@peer.command()
@click.argument("address", type=PEER)
@click.option("--gateway", type=GATEWAY, help="Of this gateway; else of each that has it.")
@api_options
def show(address: str, gateway: str | None) -> None:
    """Show a peer: path, sessions, next hop, Echo."""
    with Api() as api:
        peers = api.items("/v1/peers", gateway=gateway)
        found = [each for each in peers if each["ip"] == address]
    if not found:
        raise CliError(
            f"no session names a peer {address} (those there are: ofgtp peer list)", EXIT_NOT_FOUND
        )
    if output.wants_json():
        output.listing(found)
        return
    for place, each in enumerate(found):
        if place:
            output.say()
        output.pairs(
            (
                ("peer", each["ip"]),
                ("gateway", each["gateway"]),
                ("state", each["state"]),
                ("sessions", f"{each['sessions']:,}: ofgtp session list --peer {each['ip']}"),
                ("next hop", next_hop(each)),
                ("Echo sent", output.ago(each["echo_sent_at"])),
                ("Echo answered", output.ago(each["echo_answered_at"])),
                ("Echo heard", output.ago(each["echo_heard_at"])),
            )
        )


def worst_first(peers: Any) -> list[Json]:
    """Those with a trouble first, and in each state those that most sessions name."""
    return sorted(peers, key=lambda each: (ORDER.index(each["state"]), -each["sessions"]))


def next_hop(peer: Json) -> str:
    """Where a peer's packets go on the access side, and whether that answers."""
    hop = peer["next_hop"]
    if hop is None:
        return "no route leads there"
    asked = "neighbour discovery" if ":" in hop["ip"] else "ARP"
    at = hop["mac"] or f"does not answer {asked}"
    return at if hop["ip"] == peer["ip"] else f"via {hop['ip']} {at}"


def _row(each: Json, several: bool) -> list[object]:
    hop = each["next_hop"] or {"ip": None, "mac": None}
    gateway = [each["gateway"]] if several else []
    told = [each["state"], each["sessions"], hop["ip"], hop["mac"]]
    return [each["ip"], *gateway, *told, output.ago(each["echo_answered_at"])]
