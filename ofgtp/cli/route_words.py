"""What the words of `ofgtp route` say: a session, or with a filter one of its bearers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import click

from ofgtp.cli import detail, selectors
from ofgtp.cli.selectors import SELECTORS
from ofgtp.cli.values import (
    by_ue,
    qos_of,
    read_address,
    read_metric,
    read_qfi,
    read_teid,
    read_ue,
    ues_of,
)
from ofgtp.core.filters import PacketFilter
from ofgtp.core.sessions.detail import Gate

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


@dataclass(slots=True)
class Given:
    """What the command line says of a route."""

    ue: str | None = None
    """Its IPv4 address, its IPv6 prefix, or an address of that."""
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
            given.ue = _value("the UE's address", read_ue, left.pop(0))
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
        given.need_ue()
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

    def only_dev(self) -> str | None:
        """The gateway, which alone may be given."""
        if self != Given(dev=self.dev):
            raise click.UsageError("nothing but 'dev GATEWAY' may stand here")
        return self.dev

    def need_ue(self) -> str:
        """How the UE is named, which it must be."""
        if self.ue is None:
            raise click.UsageError(
                "the UE's address must come first, like 10.45.0.7 or 2001:db8:a:1::/64"
            )
        return self.ue

    @property
    def member(self) -> str:
        """The member of a session that it is about."""
        return "ue_ipv6" if self.ue is not None and ":" in self.ue else "ue_ip"

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
        return {**by_ue(self.ue), "gateway": self.dev, "teid": self.lid}

    def ues(self, session: dict[str, Any]) -> list[str]:
        """The addresses of a session's UE that have a route each, of those the one that is given: a
        prefix, or an address of it."""
        there = ues_of(session)
        if self.ue is None:
            return there
        return [
            each
            for each in there
            if each == self.ue or ("/" not in self.ue and (":" in each) is (":" in self.ue))
        ]

    def matches(self, session: dict[str, Any]) -> bool:
        """Whether all that is given of the downlink and the pinned peer is so. What a control plane
        owns is no route."""
        if self.of_bearer or session.get("owner") or not self.ues(session):
            return False
        return self._like(session, session["downlink"], session["uplink"])

    def matching(self, session: dict[str, Any]) -> Iterator[tuple[dict[str, Any], PacketFilter]]:
        """The bearers for which all of it is so, each with every filter for which it is."""
        if self.ue is not None and not self.ues(session):
            return
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
        body: dict[str, Any] = {} if before is None else detail.writable(before)
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
        body: dict[str, Any] = {"gateway": gateway, "uplink": up, "downlink": down}
        body["ue_ip"] = None if before is None else before["ue_ip"]
        if before is None or not self.ues(before):
            body[self.member] = self.ue
        body |= detail.resource(before or {})
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
