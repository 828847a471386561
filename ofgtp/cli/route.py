"""`ofgtp route`: sessions in the grammar of iproute2's lightweight tunnels.

10.45.0.7 encap gtp id 0x2001 dst 10.1.0.2 lid 0x1001 qfi 9 dev gw1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import click
from click.shell_completion import CompletionItem

from ofgtp.cli import output
from ofgtp.cli.api import Api, session_path, tunnel_id
from ofgtp.cli.errors import EXIT_NOT_FOUND, EXIT_USAGE, CliError
from ofgtp.cli.groups import Abbreviated
from ofgtp.cli.session import warn_unless_active
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import (
    gateway_names,
    items,
    qos_of,
    read_address,
    read_qfi,
    read_teid,
    some_sessions,
)

NONE = "none"
"""Instead of a QFI: no PDU Session Container."""
STATES = ("pending", "failed", "error_indicated")
"""Stand behind a route that is not active; read, and passed over, where a route is given."""
KEYWORDS: dict[str, Callable[[str], str | int]] = {
    "id": read_teid,
    "dst": lambda text: str(read_address(text)),
    "lid": read_teid,
    "from": lambda text: str(read_address(text)),
    "qfi": lambda text: NONE if text == NONE else read_qfi(text),
    "dev": str,
}
GRAMMAR = """\b
ROUTE is:
  UE-ADDRESS[/32] encap gtp [id TEID dst PEER] [lid TEID] [from PEER]
                            [qfi N|none] [dev GATEWAY]

\b
  id    TEID of the downlink, at the peer     dst   that peer: the gNB or eNB
  lid   TEID of the uplink, at the gateway    from  the one peer to take it from
  qfi   that of the PDU Session Container (5G), 1 to 63; none: without one (4G)
  dev   the gateway; may be left out where there is one

\b
Without id and dst the UE is idle. Without lid a TEID is chosen, or stays.
Without qfi a new route has none, and one that is there keeps its own. TEIDs
are decimal, or 0x…. What else a session says of containers is not shown, and
stays (ofgtp session set --rqi, --qfi-optional, --qfi-check).
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
      ofgtp route show
      ofgtp route del 10.45.0.7

    Each route is a session; a new one has the id GATEWAY-UE-ADDRESS. A route is found by its UE's
    address, whatever the id and whoever added it. Commands may be shortened as with ip: a, c, r,
    d, s, ls.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@dataclass(slots=True)
class Given:
    """What the command line says of a route."""

    ue_ip: str | None = None
    encap: bool = False
    id: int | None = None
    dst: str | None = None
    lid: int | None = None
    from_: str | None = None
    qfi: int | str | None = None
    dev: str | None = None

    @classmethod
    def read(cls, words: tuple[str, ...]) -> Given:
        """Read the words behind the subcommand."""
        given, left = cls(), list(words)
        if left[:1] == ["to"]:
            del left[0]
        if left and left[0] not in KEYWORDS and left[0] != "encap":
            given.ue_ip = _value("the UE's address", read_address, left.pop(0))
        while left:
            word = left.pop(0)
            if word in STATES:
                continue
            name = f"{word}_" if word == "from" else word
            if word not in KEYWORDS and word != "encap":
                known = ", ".join(("encap gtp", *KEYWORDS))
                raise click.UsageError(f"{word!r} is not known here; known are: {known}")
            if not left:
                raise click.UsageError(f"{word!r} is the last word, and needs one behind it")
            if getattr(given, name):
                raise click.UsageError(f"{word!r} is there twice")
            value = left.pop(0)
            if word != "encap":
                setattr(given, name, _value(word, KEYWORDS[word], value))
            elif value == "gtp":
                given.encap = True
            else:
                raise click.UsageError(f"'encap {value}' is not known here: only 'encap gtp'")
        return given

    @classmethod
    def whole(cls, words: tuple[str, ...]) -> Given:
        """Read a route that is to be."""
        given = cls.read(words)
        if given.ue_ip is None:
            raise click.UsageError("the UE's address must come first, like 10.45.0.7")
        if not given.encap:
            raise click.UsageError("'encap gtp' is missing: there are no other routes here")
        if (given.id is None) != (given.dst is None):
            raise click.UsageError("'id' and 'dst' go together: the downlink needs both")
        return given

    def filters(self) -> dict[str, object]:
        """For a list of sessions."""
        return {"ue_ip": self.ue_ip, "gateway": self.dev, "teid": self.lid}

    def matches(self, session: dict[str, Any]) -> bool:
        """Whether all that is given of the downlink and the pinned peer is so. What a control plane
        owns is no route."""
        if session.get("owner"):
            return False
        down = session["downlink"] or {"teid": None, "remote_ip": None}
        pinned = session["uplink"]["remote_ip"]
        pairs = (
            (self.id, down["teid"]),
            (self.dst, down["remote_ip"]),
            (self.from_, pinned),
            (self.qfi, session.get("qfi") or NONE),
        )
        return all(wanted in (None, found) for wanted, found in pairs)

    def body(self, gateway: str, before: dict[str, Any] | None = None) -> dict[str, Any]:
        """The session that it is to be, in place of the one that there was."""
        down = None if self.id is None else {"teid": self.id, "remote_ip": self.dst}
        up = {"teid": self.lid, "remote_ip": self.from_}
        body = {"gateway": gateway, "ue_ip": self.ue_ip, "uplink": up, "downlink": down}
        if self.qfi == NONE:
            return body
        qos = qos_of(before or {})
        return {**body, **qos, **({} if self.qfi is None else {"qfi": self.qfi})}


def _value(what: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        found = read(text)
    except ValueError as error:
        raise click.UsageError(f"{what}: {error}") from error
    return found if isinstance(found, int) else str(found)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    before = list(ctx.params.get(str(param.name)) or ())
    last = before[-1] if before else ""
    if last == "dev":
        return items(gateway_names(ctx), incomplete)
    if last == "encap":
        return items(["gtp"], incomplete)
    if last in KEYWORDS:
        return []
    if not before and ctx.info_name != "add":
        return items((each["ue_ip"] for each in some_sessions(ctx)), incomplete)
    return items((word for word in ("encap", *KEYWORDS) if word not in before), incomplete)


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
        gateway = given.dev or api.only_gateway()
        body = {"id": tunnel_id(gateway, given.ue_ip), **given.body(gateway)}
        _told(api.add(body, f"a route to {given.ue_ip}"))


@route.command(epilog=GRAMMAR)
@_words("ROUTE")
@api_options
def replace(words: tuple[str, ...]) -> None:
    """Replace the route to this UE's address, or add one."""
    given = Given.whole(words)
    with Api() as api:
        gateway = given.dev or api.only_gateway()
        found = list(api.sessions(ue_ip=given.ue_ip, gateway=gateway))
        session_id = found[0]["id"] if found else tunnel_id(gateway, given.ue_ip)
        body = given.body(gateway, found[0] if found else None)
        _told(api.send("PUT", session_path(session_id), body))


@route.command(epilog=GRAMMAR, short_help="Replace a route that is there: handover, going idle.")
@_words("ROUTE")
@api_options
def change(words: tuple[str, ...]) -> None:
    """Replace the route to this UE's address, which must be there: handover, going idle."""
    given = Given.whole(words)
    with Api() as api:
        found = _the_one(api, Given(ue_ip=given.ue_ip, dev=given.dev))
        body = given.body(found["gateway"], found)
        _told(api.send("PUT", session_path(found["id"]), body))


@route.command("del", epilog=GRAMMAR)
@_words("ROUTE")
@api_options
def delete(words: tuple[str, ...]) -> None:
    """Delete the route to a UE's address. What else is given of it must be so."""
    given = Given.read(words)
    if given.ue_ip is None:
        raise click.UsageError("the UE's address must come first, like 10.45.0.7")
    with Api() as api:
        if not api.delete(_the_one(api, given)["id"]):
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
        matching = (each for each in found if given.matches(each))
        first = list(islice(matching, 1))
        if given.ue_ip and not first:
            raise CliError(f"there is no such route to {given.ue_ip}", EXIT_NOT_FOUND)
        if output.wants_json():
            output.listing(chain(first, matching))
            return
        for each in chain(first, matching):
            output.say(line(each))


def line(session: dict[str, Any]) -> str:
    """A session as a route."""
    up, down = session["uplink"], session["downlink"]
    parts = [f"{session['ue_ip']} encap gtp"]
    if down:
        parts.append(f"id {output.teid(down['teid'])} dst {down['remote_ip']}")
    parts.append(f"lid {output.teid(up['teid'])}")
    if up["remote_ip"]:
        parts.append(f"from {up['remote_ip']}")
    if session.get("qfi"):
        parts.append(f"qfi {session['qfi']}")
    parts.append(f"dev {session['gateway']}")
    if session["state"] in STATES:
        parts.append(session["state"])
    return " ".join(parts)


def _the_one(api: Api, given: Given) -> dict[str, Any]:
    found = [each for each in api.sessions(**given.filters()) if given.matches(each)]
    if not found:
        raise CliError(f"there is no such route to {given.ue_ip}", EXIT_NOT_FOUND)
    if len(found) > 1:
        names = " or ".join(each["gateway"] for each in found)
        raise CliError(f"several gateways have {given.ue_ip}: add dev {names}", EXIT_USAGE)
    return found[0]


def _told(answer: dict[str, Any] | None) -> None:
    """Say nothing if all is well, as ip does."""
    assert answer is not None
    if output.wants_json():
        output.document(answer)
    else:
        warn_unless_active(answer)
