"""`ofgtp route`: sessions in the grammar of iproute2's lightweight tunnels.

10.45.0.7 encap gtp id 0x2001 dst 10.1.0.2 lid 0x1001 qfi 9 dev gw1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as replaced
from itertools import chain, islice
from typing import Any

import click
from click.shell_completion import CompletionItem

from ofgtp.cli import lookup, output, route_bearers
from ofgtp.cli.api import Api, session_path, tunnel_id
from ofgtp.cli.deletion import delete_many, yes_option
from ofgtp.cli.errors import EXIT_NOT_FOUND, EXIT_USAGE, CliError
from ofgtp.cli.groups import Abbreviated
from ofgtp.cli.route_lines import lines
from ofgtp.cli.route_words import IDLE, KEYWORDS, Given
from ofgtp.cli.selectors import SELECTORS
from ofgtp.cli.session import warn_unless_active
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import ANY_ADDRESS, by_ue, gateway_names, items, some_sessions, ues_of
from ofgtp.core.filters import PROTOCOLS
from ofgtp.core.sessions.detail import Gate

GRAMMAR = """\b
ROUTE is:
  UE-ADDRESS[/32] [FILTER] encap gtp [id TEID dst PEER] [lid TEID] [from PEER]
  or IPV6-PREFIX            [qfi N|none] [dev GATEWAY]

\b
  id    TEID of the downlink, at the peer     dst   that peer: the gNB or eNB
  lid   TEID of the uplink, at the gateway    from  the one peer to take it from
  qfi   that of the PDU Session Container (5G), 1 to 63; none: without one (4G)
  dev   the gateway; may be left out where there is one

\b
Without id and dst the UE is idle. Without lid a TEID is chosen, or stays.
Without qfi a new route has none, and one that is there keeps its own. TEIDs
are decimal, or 0x…. What else a session has is not shown, and stays: rates,
what it says of containers (ofgtp session set, ofgtp bearer). A relay without a
UE's address is no route (ofgtp session list).

\b
A session whose UE has both an IPv4 address and an IPv6 prefix is two routes in
one tunnel: the second is added with the lid, id and dst of the first, and with
one of them gone the other stays.

\b
With a FILTER it is the route of some of the UE's packets: a bearer of its
session, which must be there. It stands in front of encap:
  [from PREFIX] [proto NAME|N] [sport PORTS] [dport PORTS] [tos 0xTOS]
                            [local PREFIX]
Packets to the UE have it, and those from it have it turned round. PORTS are 80,
5004-5060 or 80,443. Without id and dst it takes the session's tunnel; a new one
without lid the session's TEID, and without qfi its QFI. Further words:
  metric N   its precedence: the lowest is asked first. Else behind those that
             are there. A metric that is there gets the filter as a further one
  idle       nothing is sent to the UE        gate   open, closed, or the one
                                                     direction that may pass
"""


class _Routes(Abbreviated):
    words = (
        ("add", "add"),
        ("change", "change"),
        ("replace", "replace"),
        ("delete", "del"),
        ("show", "show"),
        ("list", "show"),
        ("lst", "show"),
        ("get", "get"),
        ("flush", "flush"),
        ("rm", "del"),
    )


@click.group(
    cls=_Routes,
    invoke_without_command=True,
    short_help="Sessions, in the words of `ip route`.",
    epilog=GRAMMAR,
)
@api_options
@click.pass_context
def route(ctx: click.Context) -> None:
    """Sessions, in the words in which `ip route` speaks of tunnels.

    \b
      ofgtp route add 10.45.0.7 encap gtp id 0x2001 dst 10.1.0.2
      ofgtp route add 10.45.0.9 encap gtp id 0x2003 dst 10.1.0.2 qfi 9
      ofgtp route change 10.45.0.7 encap gtp id 0x2002 dst 10.1.0.3
      ofgtp route add 2001:db8:a:1::/64 encap gtp id 0x2005 dst 10.1.0.2
      ofgtp route add 10.45.0.7 proto udp sport 5004-5060 encap gtp id 0x2009 dst 10.1.0.2
      ofgtp route show
      ofgtp route get 10.45.0.7
      ofgtp route del 10.45.0.7

    Each route is a session, or, with a filter, a bearer of one; a new session has the id
    GATEWAY-UE-ADDRESS. A route is found by its UE's address, whatever the id and whoever added it;
    one to an IPv6 prefix by any address of it, too.
    Commands may be shortened as with ip: a, c, r, d, s, ls, g, f.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


def _has_routes(session: dict[str, Any]) -> bool:
    """Neither a relay of whatever comes has, nor a session that a control plane owns."""
    return bool(ues_of(session)) and not session.get("owner")


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    before = list(ctx.params.get(str(param.name)) or ())
    last = before[-1] if before else ""
    if last == "dev":
        return items(gateway_names(ctx), incomplete)
    known = {"encap": ["gtp"], "gate": [*Gate], "proto": [*PROTOCOLS], "ipproto": [*PROTOCOLS]}
    if last in known:
        return items(known[last], incomplete)
    if last in KEYWORDS or last in SELECTORS:
        return []
    if not before and ctx.info_name != "add":
        return items((ue for each in some_sessions(ctx) for ue in ues_of(each)), incomplete)
    further = (*KEYWORDS, IDLE) if "encap" in before else ("encap", *SELECTORS, *KEYWORDS)
    return items((word for word in dict.fromkeys(further) if word not in before), incomplete)


def _words(metavar: str, needed: bool = True) -> Callable[[Any], Any]:
    return click.argument(
        "words", metavar=metavar, nargs=-1, required=needed, shell_complete=_complete
    )


@route.command(epilog=GRAMMAR)
@_words("ROUTE")
@api_options
def add(words: tuple[str, ...]) -> None:
    """Add a route. Refused if there is one to this UE's address."""
    given = Given.whole(words)
    with Api() as api:
        if given.selects:
            _told(route_bearers.add(api, given, _of_ue(api, given)))
            return
        gateway = given.dev or api.only_gateway()
        if (beside := _beside(api, given, gateway)) is not None:
            _told(_join(api, given, beside))
            return
        body = {"id": tunnel_id(gateway, given.ue), **given.body(gateway)}
        _told(api.add(body, f"a route to {given.ue}"))


@route.command(epilog=GRAMMAR)
@_words("ROUTE")
@api_options
def replace(words: tuple[str, ...]) -> None:
    """Replace the route to this UE's address, or add one."""
    given = Given.whole(words)
    with Api() as api:
        if given.selects:
            session = _of_ue(api, given)
            there = route_bearers.by_filter(session, given)
            put = route_bearers.put if there else route_bearers.add
            _told(put(api, given, session))
            return
        gateway = given.dev or api.only_gateway()
        named = api.sessions(**by_ue(given.ue), gateway=gateway)
        found = [each for each in named if given.ues(each)]
        if not found and (beside := _beside(api, given, gateway)) is not None:
            _told(_join(api, given, beside))
            return
        session_id = found[0]["id"] if found else tunnel_id(gateway, given.ue)
        body = given.body(gateway, found[0] if found else None)
        _told(api.send("PUT", session_path(session_id), body))


@route.command(epilog=GRAMMAR, short_help="Replace a route that is there: handover, going idle.")
@_words("ROUTE")
@api_options
def change(words: tuple[str, ...]) -> None:
    """Replace the route to this UE's address, which must be there: handover, going idle."""
    given = Given.whole(words)
    with Api() as api:
        found = _of_ue(api, given)
        if given.selects:
            _told(route_bearers.put(api, given, found))
            return
        body = given.body(found["gateway"], found)
        _told(api.send("PUT", session_path(found["id"]), body))


@route.command("del", epilog=GRAMMAR)
@_words("ROUTE")
@api_options
def delete(words: tuple[str, ...]) -> None:
    """Delete the route to a UE's address. What else is given of it must be so.

    With a filter: that of its bearer, which goes with its last one. Without, the session goes, and
    its bearers too, unless there is a route to its UE by the other IP version.
    """
    given = Given.read(words)
    given.need_ue()
    with Api() as api:
        if given.of_bearer:
            done = route_bearers.delete(api, given, _of_ue(api, given))
        else:
            found = _the_one(api, given)
            done = len(ues_of(found)) == 1 and api.delete(found["id"])
            if len(ues_of(found)) > 1:
                _told(api.send("PATCH", session_path(found["id"]), {given.member: None}))
                done = True
        if not done:
            output.note("the switch is away: its flows go as soon as it is back")


@route.command()
@_words("[ROUTE]", needed=False)
@api_options
def show(words: tuple[str, ...] = ()) -> None:
    """Show routes: all, or those that match.

    A line can be pasted behind `ofgtp route add`. One that does not work (yet) ends with pending,
    failed or error_indicated.

    \b
      ofgtp route show
      ofgtp route show 10.45.0.7
      ofgtp route show dst 10.1.0.2 dev gw1
    """
    given = Given.read(words)
    with Api() as api:
        found = api.sessions(**given.filters(), peer=given.dst or given.from_)
        matching = (each for each in found if _has_routes(each) and any(lines(each, given)))
        first = list(islice(matching, 1))
        if given.ue and not first:
            raise CliError(f"there is no such route to {given.ue}", EXIT_NOT_FOUND)
        if output.wants_json():
            output.listing(chain(first, matching))
            return
        for each in chain(first, matching):
            for text in lines(each, given):
                output.say(text)


@route.command()
@click.argument("address", type=ANY_ADDRESS)
@click.argument("words", metavar="[dev GATEWAY]", nargs=-1, shell_complete=_complete)
@api_options
def get(address: str, words: tuple[str, ...]) -> None:
    """Show which session a packet to ADDRESS would take.

    One line: the session, by the UE's address, its IPv6 prefix, or a network behind it; its tunnel;
    and the bearers that would be asked first, by their filters. Packet by packet: ofgtp trace.

    \b
      ofgtp route get 10.45.0.7
      10.45.0.7 encap gtp id 0x2001 dst 10.1.0.2 lid 0x1001 dev gw1 session phone-1
    """
    dev = Given.read(words).only_dev()
    with Api() as api:
        found = lookup.taking(api, address, dev)
    if output.wants_json():
        output.document(found)
    else:
        output.say(lookup.line(found, address))


@route.command(short_help="Delete all routes, or those that match.")
@_words("[ROUTE]", needed=False)
@yes_option
@api_options
def flush(words: tuple[str, ...], yes: bool) -> None:
    """Delete the sessions of all routes, or of those that match. Asks first.

    ROUTE says what must be so: dev, dst, id, lid, from, qfi. One UE's route: ofgtp route del.

    \b
      ofgtp route flush dst 10.1.0.2
      ofgtp route flush dev gw1 --yes
    """
    given = Given.read(words)
    if given.ue or given.of_bearer:
        raise click.UsageError("flush takes neither a UE's address nor a filter: use del")
    with Api() as api:
        found = api.sessions(**given.filters(), peer=given.dst or given.from_, counters="false")
        matching = (each for each in found if _has_routes(each) and given.matches(each))
        delete_many(api, matching, " whose routes match" if words else "", yes)


def _of_ue(api: Api, given: Given) -> dict[str, Any]:
    """The session of the UE's address, whatever else is given."""
    return _the_one(api, Given(ue=given.ue, dev=given.dev))


def _beside(api: Api, given: Given, gateway: str) -> dict[str, Any] | None:
    """The session that has just the tunnel of a new route, for its UE's other IP version."""
    if given.lid is None:
        return None
    tunnel = replaced(given, ue=None)
    for each in api.sessions(gateway=gateway, teid=given.lid):
        fits = tunnel.matches(each) and (each["downlink"] is None) is (given.id is None)
        if fits and ues_of(each) and each.get(given.member) is None:
            return each
    return None


def _join(api: Api, given: Given, session: dict[str, Any]) -> dict[str, Any] | None:
    """A session's UE has this address, or prefix, too."""
    return api.send("PATCH", session_path(session["id"]), {given.member: given.ue})


def _the_one(api: Api, given: Given) -> dict[str, Any]:
    found = [each for each in api.sessions(**given.filters()) if given.matches(each)]
    if not found:
        raise CliError(f"there is no such route to {given.ue}", EXIT_NOT_FOUND)
    if len(found) > 1:
        names = " or ".join(each["gateway"] for each in found)
        raise CliError(f"several gateways have {given.ue}: add dev {names}", EXIT_USAGE)
    return found[0]


def _told(answer: dict[str, Any] | None) -> None:
    """Say nothing if all is well, as ip does."""
    assert answer is not None
    if output.wants_json():
        output.document(answer)
    elif "state" in answer:  # else it is a bearer
        warn_unless_active(answer)
