"""Sessions and bearers as routes, in the words that `ofgtp route` reads again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ofgtp.cli import detail, output, selectors
from ofgtp.cli.route_words import IDLE, STATES, Given
from ofgtp.core.filters import PacketFilter
from ofgtp.core.sessions.detail import Gate


def lines(session: dict[str, Any], given: Given) -> Iterator[str]:
    """A session and its bearers as routes, those that match."""
    ues = given.ues(session)
    if given.matches(session):
        for ue in ues:
            yield line(session, ue)
    for bearer, each in given.matching(session):
        yield bearer_line(session, ues[0], bearer, each)


def line(session: dict[str, Any], ue: str) -> str:
    """A session as the route to an address, or to the prefix, of its UE."""
    parts = [f"{ue} encap gtp", *_tunnels(session, session["downlink"])]
    parts.append(f"dev {session['gateway']}")
    if session["state"] in STATES:
        parts.append(session["state"])
    return " ".join(parts)


def bearer_line(
    session: dict[str, Any], ue: str, bearer: dict[str, Any], each: PacketFilter
) -> str:
    """A filter of a bearer as a route."""
    parts = [f"{ue} {selectors.words(each)} encap gtp"]
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
        yield f"lid {output.teid(up['teid'])}{detail.pinned(up)}"
    if shown.get("qfi"):
        yield f"qfi {shown['qfi']}"
