"""Routes with a filter: bearers of the session of a UE's address."""

from __future__ import annotations

from typing import Any

from ofgtp.cli import detail, selectors
from ofgtp.cli.api import Api, bearer_path, session_path
from ofgtp.cli.errors import EXIT_NOT_FOUND, CliError
from ofgtp.cli.route_words import Given
from ofgtp.core.filters import PacketFilter
from ofgtp.core.sessions.detail import PRECEDENCE_MAX


def by_filter(session: dict[str, Any], given: Given) -> dict[str, Any] | None:
    """The bearer that has the filter, and the metric if one is given."""
    sought = Given(selects=given.selects, metric=given.metric)
    return next((bearer for bearer, _ in sought.matching(session)), None)


def add(api: Api, given: Given, session: dict[str, Any]) -> dict[str, Any]:
    """A new bearer; or a further filter of one, if there is one with this metric."""
    path, there = session_path(session["id"]), session.get("bearers") or []
    known = next((each for each in there if given.filter in _filters(each)), None)
    if known is not None:
        raise CliError(f"bearer {known['id']} of session {session['id']} has this filter already")
    assert given.filter is not None
    wanted = selectors.resource(given.filter)
    same = next((each for each in there if each["precedence"] == given.metric), None)
    if same is not None:
        if given.bearer(same) | {"gate": same["gate"]} != detail.writable(same):
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


def put(api: Api, given: Given, session: dict[str, Any]) -> dict[str, Any]:
    """Other tunnels for the bearer that has the filter."""
    before = by_filter(session, given)
    if before is None:
        raise CliError(f"there is no such route to {given.ue}", EXIT_NOT_FOUND)
    path = bearer_path(session_path(session["id"]), before["id"])
    return api.send("PUT", path, given.bearer(before)) or {}


def delete(api: Api, given: Given, session: dict[str, Any]) -> bool:
    """Take filters from bearers; those that have none left are deleted."""
    gone = list(given.matching(session))
    if not gone:
        raise CliError(f"there is no such route to {given.ue}", EXIT_NOT_FOUND)
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
