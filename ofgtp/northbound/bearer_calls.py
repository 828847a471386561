"""The calls about single bearers of a session: each is a change of the session's list of them.

So a bearer is stored, confirmed by the switch, and answered as its session is: one way for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ofgtp.core.errors import Conflict, InvalidSession, UnknownBearer
from ofgtp.northbound import bodies
from ofgtp.northbound.bearers import BearerOutput, bearer_output
from ofgtp.northbound.problem import ProblemError, unprocessable
from ofgtp.northbound.service import Service, SessionRequest, SessionView

Resource = dict[str, Any]


def show(service: Service, session_id: str) -> list[BearerOutput]:
    """The bearers of a session."""
    return _shown(service.get(session_id))


def show_one(service: Service, session_id: str, bearer_id: str) -> BearerOutput:
    """One of them.

    Raises:
        UnknownBearer, UnknownSession.
    """
    return _one(service.get(session_id), bearer_id)


def put(
    service: Service, session_id: str, bearer_id: str | None, body: object
) -> tuple[BearerOutput, bool]:
    """Make or replace a bearer; without an id, make the one that the body names. The flag tells
    that it is new.

    Raises:
        Conflict: there is one with the id of the body already.
    """
    if not isinstance(body, dict):
        raise unprocessable([{"loc": "", "msg": "must be an object"}])
    wanted = bearer_id or body.get("id")
    given: Resource = body | ({"id": bearer_id} if bearer_id and "id" not in body else {})
    if bearer_id is not None and given["id"] != bearer_id:
        raise unprocessable([{"loc": "id", "msg": f"is not the path's ({bearer_id})"}])
    known = False

    def change(bearers: list[Resource]) -> list[Resource]:
        nonlocal known
        place = next((n for n, each in enumerate(bearers) if each["id"] == wanted), None)
        known = place is not None
        if place is None:
            return [*bearers, given]
        if bearer_id is None:
            raise Conflict("id", f"the session has a bearer {wanted!r} already", session_id)
        return [*bearers[:place], given, *bearers[place + 1 :]]

    view = _change(service, session_id, change)
    return _one(view, str(wanted)), not known


def patch(service: Service, session_id: str, bearer_id: str, body: object) -> BearerOutput:
    """Change a bearer by a merge patch; `"downlink": null` makes it idle, as in a session.

    Raises:
        UnknownBearer, UnknownSession.
    """

    def change(bearers: list[Resource]) -> list[Resource]:
        place = _place(bearers, session_id, bearer_id)
        merged = bodies.merge_patch(bearers[place], body)
        if isinstance(body, dict) and isinstance(merged, dict):
            if body.get("downlink", 0) is None:
                merged["downlink"] = None
            if merged.get("id") != bearer_id:
                raise unprocessable([{"loc": "id", "msg": f"is not the path's ({bearer_id})"}])
        return [*bearers[:place], merged, *bearers[place + 1 :]]  # type: ignore[list-item]

    return _one(_change(service, session_id, change), bearer_id)


def delete(service: Service, session_id: str, bearer_id: str) -> bool:
    """Delete a bearer; False while the switch is away: it goes when that is back.

    Raises:
        UnknownBearer, UnknownSession.
    """

    def change(bearers: list[Resource]) -> list[Resource]:
        place = _place(bearers, session_id, bearer_id)
        return [*bearers[:place], *bearers[place + 1 :]]

    return _change(service, session_id, change).state != "pending"


def _change(
    service: Service,
    session_id: str,
    change: Callable[[list[Resource]], list[Resource]],
) -> SessionView:
    """Change the list of bearers; what is wrong with the one at hand is told by its own fields."""

    def changed(present: Resource) -> SessionRequest:
        bearers = change(present.get("bearers", []))
        return bodies.session(present | {"bearers": bearers}).request(session_id)

    try:
        return service.patch(session_id, changed)
    except ProblemError as error:
        if not error.errors:
            raise
        told = [{**each, "loc": _of_one(str(each["loc"]))} for each in error.errors]
        raise unprocessable(told) from None
    except InvalidSession as error:
        raise InvalidSession(_of_one(error.loc), error.msg) from None
    except Conflict as error:
        raise Conflict(_of_one(error.loc), error.msg, error.session_id) from None


def _of_one(loc: str) -> str:
    """A field of the bearer at hand. Of two that do not go together either may be named; the one
    that was there was right before."""
    return re.sub(r"^bearers\.[0-9]+\.", "", loc)


def _place(bearers: list[Resource], session_id: str, bearer_id: str) -> int:
    for place, each in enumerate(bearers):
        if each["id"] == bearer_id:
            return place
    raise UnknownBearer(session_id, bearer_id)


def _shown(view: SessionView) -> list[BearerOutput]:
    detail = view.session.detail
    return [bearer_output(view, each) for each in (() if detail is None else detail.bearers)]


def _one(view: SessionView, bearer_id: str) -> BearerOutput:
    for each in _shown(view):
        if each.id == bearer_id:
            return each
    raise UnknownBearer(view.session.id, bearer_id)
