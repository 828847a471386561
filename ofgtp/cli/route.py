"""`ofgtp route`: sessions in the grammar of iproute2's lightweight tunnels.

10.45.0.7 encap gtp id 0x2001 dst 10.1.0.2 lid 0x1001 qfi 9 dev gw1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from typing import Any

import click
from click.shell_completion import CompletionItem

from ofgtp.cli import more, output, selectors
from ofgtp.cli.api import Api, bearer_path, session_path, tunnel_id
from ofgtp.cli.errors import EXIT_NOT_FOUND, EXIT_USAGE, CliError
from ofgtp.cli.groups import Abbreviated
from ofgtp.cli.selectors import SELECTORS
from ofgtp.cli.session import warn_unless_active
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import (
    gateway_names,
    items,
    qos_of,
    read_address,
    read_metric,
    read_qfi,
    read_teid,
    some_sessions,
)
from ofgtp.core.filters import PacketFilter
from ofgtp.core.sessions.detail import PRECEDENCE_MAX, Gate

NONE = "none"
"""Instead of a QFI: no PDU Session Container."""
IDLE = "idle"
"""Of a bearer: nothing is sent to the UE."""
STATES = ("pending", "failed", "error_indicated")
"""Stand behind a route that is not active; read, and passed over, where a route is given."""
KEYWORDS: dict[str, Callable[[str], str | int]] = {
    "id": read_teid,
    "dst": lambda text: str(read_address(text)),
    "lid": read_teid,
    "from": lambda text: str(read_address(text)),
    "qfi": lambda text: NONE if text == NONE else read_qfi(text),
    "dev": str,
    "metric": read_metric,
    "gate": lambda text: Gate(text).value,
}
GRAMMAR = """\b
ROUTE is:
  UE-ADDRESS[/32] [FILTER] encap gtp [id TEID dst PEER] [lid TEID] [from PEER]
                            [qfi N|none] [dev GATEWAY]

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
      ofgtp route add 10.45.0.7 proto udp sport 5004-5060 encap gtp id 0x2009 dst 10.1.0.2
      ofgtp route show
      ofgtp route del 10.45.0.7

    Each route is a session, or, with a filter, a bearer of one; a new session has the id
    GATEWAY-UE-ADDRESS. A route is found by its UE's address, whatever the id and whoever added it.
    Commands may be shortened as with ip: a, c, r, d, s, ls.
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
    metric: int | None = None
    gate: str | None = None
    idle: bool = False
    selects: dict[str, Any] = field(default_factory=dict)
    """The filter's members."""

    @classmethod
    def read(cls, words: tuple[str, ...]) -> Given:
        """Read the words behind the subcommand."""
        given, left = cls(), list(words)
        if left[:1] == ["to"]:
            del left[0]
        if left and not {left[0]} & {*KEYWORDS, *SELECTORS, "encap", IDLE}:
            given.ue_ip = _value("the UE's address", read_address, left.pop(0))
        filtered = _filtered(left)
        while left:
            word = left.pop(0)
            if word in STATES:
                continue
            if word == IDLE:
                given.idle = True
                continue
            name = f"{word}_" if word == "from" else word
            if word not in KEYWORDS and word not in SELECTORS and word != "encap":
                known = ", ".join(
                    ("encap gtp", *KEYWORDS, IDLE, *(w for w in SELECTORS if w != "from"))
                )
                raise click.UsageError(f"{word!r} is not known here; known are: {known}")
            if not left:
                raise click.UsageError(f"{word!r} is the last word, and needs one behind it")
            value = left.pop(0)
            if word in SELECTORS and (word != "from" or (filtered and not given.encap)):
                member, found = selectors.read(word, value)
                if member in given.selects:
                    raise click.UsageError(f"{word!r} is there twice")
                given.selects[member] = found
                continue
            if getattr(given, name) not in (None, False):
                raise click.UsageError(f"{word!r} is there twice")
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
        if given.of_bearer and not given.selects:
            raise click.UsageError("'metric', 'gate' and 'idle' are for routes with a filter")
        if given.idle and given.id is not None:
            raise click.UsageError("'idle', or 'id' and 'dst', but not both")
        if given.selects:
            selectors.made(given.selects)
        return given

    @property
    def of_bearer(self) -> bool:
        """Whether it is about bearers alone."""
        return bool(self.selects) or self.metric is not None or self.gate is not None or self.idle

    @property
    def filter(self) -> PacketFilter | None:
        """That of a bearer's route."""
        return selectors.made(self.selects) if self.selects else None

    def filters(self) -> dict[str, object]:
        """For a list of sessions."""
        return {"ue_ip": self.ue_ip, "gateway": self.dev, "teid": self.lid}

    def matches(self, session: dict[str, Any]) -> bool:
        """Whether all that is given of the downlink and the pinned peer is so."""
        return not self.of_bearer and self._like(session, session["downlink"], session["uplink"])

    def matching(self, session: dict[str, Any]) -> Iterator[tuple[dict[str, Any], PacketFilter]]:
        """The bearers for which all of it is so, each with every filter for which it is."""
        for bearer in session.get("bearers") or ():
            idle = bearer.get("downlink", 0) is None
            if (
                not self._like(bearer, bearer.get("downlink"), bearer["uplink"])
                or self.metric not in (None, bearer["precedence"])
                or self.gate not in (None, bearer["gate"])
                or (self.idle and not idle)
            ):
                continue
            for shown in bearer["filters"]:
                if self.filter in (None, each := selectors.read_shown(shown)):
                    yield bearer, each

    def _like(
        self, shown: dict[str, Any], down: dict[str, Any] | None, up: dict[str, Any] | None
    ) -> bool:
        """Whether tunnels and QFI are as they are given."""
        down = down or {"teid": None, "remote_ip": None}
        up = up or {"teid": None, "remote_ip": None}
        pairs = (
            (self.lid, up["teid"]),  # the API finds sessions by those of their bearers, too
            (self.id, down["teid"]),
            (self.dst, down["remote_ip"]),
            (self.from_, up["remote_ip"]),
            (self.qfi, shown.get("qfi") or NONE),
        )
        return all(wanted in (None, found) for wanted, found in pairs)

    def bearer(self, before: dict[str, Any] | None = None) -> dict[str, Any]:
        """What it says of a bearer, in place of one that there was."""
        body: dict[str, Any] = {} if before is None else more.writable(before)
        body.pop("downlink", None)
        if self.idle:
            body["downlink"] = None
        elif self.id is not None:
            body["downlink"] = {"teid": self.id, "remote_ip": self.dst}
        own = body.get("uplink") or {}
        if own or self.lid or self.from_:
            body["uplink"] = {"teid": self.lid or own.get("teid"), "remote_ip": self.from_}
        if self.qfi is not None:
            body["qfi"] = None if self.qfi == NONE else self.qfi
        if self.gate is not None:
            body["gate"] = self.gate
        return body

    def body(self, gateway: str, before: dict[str, Any] | None = None) -> dict[str, Any]:
        """The session that it is to be, in place of the one that there was."""
        down = None if self.id is None else {"teid": self.id, "remote_ip": self.dst}
        up = {"teid": self.lid, "remote_ip": self.from_}
        body = {"gateway": gateway, "ue_ip": self.ue_ip, "uplink": up, "downlink": down}
        body |= more.resource(before or {})
        if self.qfi == NONE:
            return body
        qos = qos_of(before or {})
        return {**body, **qos, **({} if self.qfi is None else {"qfi": self.qfi})}


def _filtered(words: list[str]) -> bool:
    """Whether a `from` in front of encap is a filter's: without an encap it is if something else
    is, or if it names a prefix; else it is the peer that the uplink is pinned to."""
    if "encap" in words:
        return True
    prefixes = ("/" in value or value == "any" for word, value in pairwise(words) if word == "from")
    return any(word in words for word in SELECTORS if word != "from") or any(prefixes)


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
        addresses = (each["ue_ip"] for each in some_sessions(ctx))
        return items((each for each in addresses if each is not None), incomplete)
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
        if given.selects:
            _told(_add_bearer(api, given, _of_ue(api, given)))
            return
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
        if given.selects:
            session = _of_ue(api, given)
            there = _by_filter(session, given)
            put = _put_bearer if there else _add_bearer
            _told(put(api, given, session))
            return
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
        found = _of_ue(api, given)
        if given.selects:
            _told(_put_bearer(api, given, found))
            return
        body = given.body(found["gateway"], found)
        _told(api.send("PUT", session_path(found["id"]), body))


@route.command("del", epilog=GRAMMAR)
@_words("ROUTE")
@api_options
def delete(words: tuple[str, ...]) -> None:
    """Delete the route to a UE's address. What else is given of it must be so.

    With a filter: that of its bearer, which goes with its last one. Without, the session goes, and
    its bearers too.
    """
    given = Given.read(words)
    if given.ue_ip is None:
        raise click.UsageError("the UE's address must come first, like 10.45.0.7")
    with Api() as api:
        if given.of_bearer:
            done = _delete_of_bearer(api, given, _of_ue(api, given))
        else:
            done = api.delete(_the_one(api, given)["id"])
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
        matching = (each for each in found if each["ue_ip"] and any(_lines(each, given)))
        first = list(islice(matching, 1))
        if given.ue_ip and not first:
            raise CliError(f"there is no such route to {given.ue_ip}", EXIT_NOT_FOUND)
        if output.wants_json():
            output.listing(chain(first, matching))
            return
        for each in chain(first, matching):
            for text in _lines(each, given):
                output.say(text)


def _lines(session: dict[str, Any], given: Given) -> Iterator[str]:
    """A session and its bearers as routes, those that match."""
    if given.matches(session):
        yield line(session)
    for bearer, each in given.matching(session):
        yield bearer_line(session, bearer, each)


def line(session: dict[str, Any]) -> str:
    """A session as a route."""
    parts = [f"{session['ue_ip']} encap gtp", *_tunnels(session, session["downlink"])]
    parts.append(f"dev {session['gateway']}")
    if session["state"] in STATES:
        parts.append(session["state"])
    return " ".join(parts)


def bearer_line(session: dict[str, Any], bearer: dict[str, Any], each: PacketFilter) -> str:
    """A filter of a bearer as a route."""
    parts = [f"{session['ue_ip']} {selectors.words(each)} encap gtp"]
    parts += _tunnels(bearer, bearer.get("downlink"))
    parts.append(f"dev {session['gateway']} metric {bearer['precedence']}")
    if bearer.get("downlink", 0) is None:
        parts.append(IDLE)
    if bearer["gate"] != Gate.OPEN:
        parts.append(f"gate {bearer['gate']}")
    if bearer["error_indicated"]:
        parts.append("error_indicated")
    elif session["state"] in ("pending", "failed"):
        parts.append(session["state"])
    return " ".join(parts)


def _tunnels(shown: dict[str, Any], down: dict[str, Any] | None) -> Iterator[str]:
    if down:
        yield f"id {output.teid(down['teid'])} dst {down['remote_ip']}"
    if up := shown["uplink"]:
        yield f"lid {output.teid(up['teid'])}{more.pinned(up)}"
    if shown.get("qfi"):
        yield f"qfi {shown['qfi']}"


def _of_ue(api: Api, given: Given) -> dict[str, Any]:
    """The session of the UE's address, whatever else is given."""
    return _the_one(api, Given(ue_ip=given.ue_ip, dev=given.dev))


def _by_filter(session: dict[str, Any], given: Given) -> dict[str, Any] | None:
    """The bearer that has the filter, and the metric if one is given."""
    sought = Given(selects=given.selects, metric=given.metric)
    return next((bearer for bearer, _ in sought.matching(session)), None)


def _add_bearer(api: Api, given: Given, session: dict[str, Any]) -> dict[str, Any]:
    """A new bearer; or a further filter of one, if there is one with this metric."""
    path, there = session_path(session["id"]), session.get("bearers") or []
    known = next((each for each in there if given.filter in _filters(each)), None)
    if known is not None:
        raise CliError(f"bearer {known['id']} of session {session['id']} has this filter already")
    assert given.filter is not None
    wanted = selectors.resource(given.filter)
    same = next((each for each in there if each["precedence"] == given.metric), None)
    if same is not None:
        if given.bearer(same) | {"gate": same["gate"]} != more.writable(same):
            raise CliError(
                f"metric {given.metric} is bearer {same['id']}'s of session {session['id']}, which"
                " has other tunnels: ofgtp route change, or another metric"
            )
        change = {"filters": [*same["filters"], wanted]}
        return api.send("PATCH", bearer_path(path, same["id"]), change) or {}
    metric = given.metric
    if metric is None:
        metric = min(1 + max((each["precedence"] for each in there), default=99), PRECEDENCE_MAX)
    body = {"id": f"route-{metric}", "precedence": metric, "filters": [wanted], **given.bearer()}
    return api.send("POST", f"{path}/bearers", body) or {}


def _put_bearer(api: Api, given: Given, session: dict[str, Any]) -> dict[str, Any]:
    """Other tunnels for the bearer that has the filter."""
    before = _by_filter(session, given)
    if before is None:
        raise CliError(f"there is no such route to {given.ue_ip}", EXIT_NOT_FOUND)
    path = bearer_path(session_path(session["id"]), before["id"])
    return api.send("PUT", path, given.bearer(before)) or {}


def _delete_of_bearer(api: Api, given: Given, session: dict[str, Any]) -> bool:
    """Take filters from bearers; those that have none left are deleted."""
    gone = list(given.matching(session))
    if not gone:
        raise CliError(f"there is no such route to {given.ue_ip}", EXIT_NOT_FOUND)
    done = True
    for bearer in {each["id"]: each for each, _ in gone}.values():
        path = bearer_path(session_path(session["id"]), bearer["id"])
        taken = [each for of, each in gone if of is bearer]
        left = [each for each in bearer["filters"] if selectors.read_shown(each) not in taken]
        if left:
            api.send("PATCH", path, {"filters": left})
        else:
            done = api.delete_at(path) and done
    return done


def _filters(bearer: dict[str, Any]) -> list[PacketFilter]:
    return [selectors.read_shown(each) for each in bearer["filters"]]


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
    elif "state" in answer:  # else it is a bearer
        warn_unless_active(answer)
