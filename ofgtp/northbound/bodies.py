"""What requests bring: bodies and query parameters, read and held to their models."""

from __future__ import annotations

from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any, TypeVar

import eventlet
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from werkzeug.wrappers import Request

from ofgtp.northbound import schema
from ofgtp.northbound.problem import ProblemError, not_json, too_large, unprocessable

BODY_SECONDS = 60
"""A request's body must have arrived within this time."""

_CHUNK = 64 << 10
_Query = TypeVar("_Query", bound=BaseModel)


def read(request: Request, types: Collection[str], limit: int) -> bytes:
    """The whole body, of one of these content types and no longer than `limit` bytes.

    Whatever Content-Length says, and also when the body comes in chunks without one.

    Raises:
        ProblemError: it is not.
    """
    if request.mimetype not in types:
        wanted = ", ".join(sorted(types))
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the Content-Type must be one of: {wanted}"
        )
    if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the charset must be UTF-8")
    declared = request.content_length
    if declared is not None and declared > limit:
        raise too_large(f"the body may have {limit} bytes")
    chunked = request.headers.get("Transfer-Encoding", "").lower() == "chunked"
    if declared is None and not chunked:
        return b""
    read: Callable[[int], bytes] = request.environ["wsgi.input"].read
    left = limit + 1 if declared is None else declared
    parts: list[bytes] = []
    late = TimeoutError("the body did not arrive in time")
    try:
        with eventlet.Timeout(BODY_SECONDS, late):
            while left and (part := read(min(left, _CHUNK))):
                parts.append(part)
                left -= len(part)
    except TimeoutError:
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, str(late)) from None
    except (OSError, ValueError) as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body cannot be read to its end") from error
    if declared is not None and left:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body is shorter than Content-Length")
    if declared is None and not left:
        raise too_large(f"the body may have {limit} bytes")
    return b"".join(parts)


def merge_patch(target: object, patch: object) -> object:
    """Apply a JSON merge patch (RFC 7396, 2); `target` itself is not changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def parse(raw: bytes) -> Any:
    """A body of JSON.

    Raises:
        ProblemError: 400, it is none.
    """
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise not_json(str(error)) from None


def session(raw: bytes) -> schema.SessionInput:
    """A body that is a session.

    Raises:
        ProblemError: 400, it is not JSON; 422, it is no session.
    """
    parse(raw)  # the model's own parser lets NaN pass, and does not tell syntax from content
    try:
        return schema.SessionInput.model_validate_json(raw)
    except ValidationError as error:
        found = schema.field_errors(error)
    raise unprocessable([{"loc": loc, "msg": msg} for loc, msg in found])


def query(request: Request, model: type[_Query]) -> _Query:
    """The query parameters; an empty one is one not given, and one given twice is an error.

    Raises:
        ProblemError: 422, with each parameter that is wrong.
    """
    errors = [
        {"loc": name, "msg": "is given more than once"}
        for name, values in request.args.lists()
        if len(values) > 1
    ]
    try:
        found = model.model_validate({k: v for k, v in request.args.items() if v})
    except ValidationError as error:
        for loc, msg in schema.field_errors(error):
            known = "is not a known query parameter" if msg.endswith("known field") else msg
            errors.append({"loc": loc, "msg": known})
    else:
        unknown = set(request.args) - set(model.model_fields)
        errors += [{"loc": k, "msg": "is not a known query parameter"} for k in sorted(unknown)]
        if not errors:
            return found
    raise unprocessable(errors)
