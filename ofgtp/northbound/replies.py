"""What requests are answered with: a status, a media type and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from urllib.parse import quote

import eventlet
from pydantic import BaseModel

from ofgtp.northbound import shown
from ofgtp.northbound.http.response import Response
from ofgtp.northbound.service import SessionView

JSON = "application/json"

_LINES_AT_ONCE = 200
_ITEMS_AT_ONCE = 100


def text(lines: Iterator[str]) -> Iterator[bytes]:
    while some := list(islice(lines, _LINES_AT_ONCE)):
        yield "".join(f"{line.rstrip()}\n" for line in some).encode()


def dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def as_json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(dumped(value), status, JSON)


def as_model(
    value: BaseModel, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    return Response(value.model_dump_json(exclude_unset=True) + "\n", status, JSON, headers)


def as_session(view: SessionView) -> Response:
    return Response(shown.session(view) + "\n", HTTPStatus.OK, JSON)


def created(body: str, session_id: str) -> Response:
    where = f"/v1/sessions/{quote(session_id, safe=':@')}"
    return Response(body + "\n", HTTPStatus.CREATED, JSON, {"Location": where})


def page(items: Iterator[str], following: str | None, **more: int) -> Response:
    """A list of what is JSON already, and more members; others get a turn while it is made."""
    parts: list[str] = []
    while some := list(islice(items, _ITEMS_AT_ONCE)):
        if parts:
            eventlet.sleep(0)
        parts += some
    rest = json.dumps({"next": following, **more}, separators=(",", ":"))
    return Response(f'{{"items":[{",".join(parts)}],{rest[1:]}\n', 200, JSON)


def bearer_location(session_id: str, bearer_id: str) -> dict[str, str]:
    session, bearer = (quote(each, safe=":@") for each in (session_id, bearer_id))
    return {"Location": f"/v1/sessions/{session}/bearers/{bearer}"}
