"""What requests bring: bodies and query parameters, read and held to their models."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from ofgtp.northbound import schema, strict
from ofgtp.northbound.http.limits import Share
from ofgtp.northbound.http.request import Body, Request
from ofgtp.northbound.problem import ProblemError, not_json, unprocessable

_Query = TypeVar("_Query", bound=BaseModel)


def read(request: Request, types: Collection[str], limit: int, share: Share) -> Body:
    """The whole body, of one of these content types and no longer than `limit` bytes.

    Raises:
        ProblemError: it is not, or does not come.
    """
    kind, charset = _media(request.header(b"content-type"))
    if kind not in types:
        wanted = ", ".join(sorted(types))
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the Content-Type must be one of: {wanted}"
        )
    if charset not in ("utf-8", "utf8"):
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the charset must be UTF-8")
    return request.connection.read(request, limit, share)


@lru_cache(64)
def _media(header: str) -> tuple[str, str]:
    """The type and the charset of a Content-Type (RFC 9110, 8.3.1)."""
    kind, *parameters = header.split(";")
    charset = "utf-8"
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return kind.strip().lower(), charset


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


def parse(raw: Body) -> Any:
    """A body of JSON.

    Raises:
        ProblemError: 400, it is none; 422, there is too much of it.
    """
    try:
        return strict.parse(raw)
    except strict.NotJson as error:
        raise not_json(str(error)) from None
    except strict.TooMuch as error:
        raise unprocessable([{"loc": "", "msg": str(error)}]) from None


def empty(value: object) -> None:
    """A value of JSON that is an object without members.

    Raises:
        ProblemError: 422, it is something else.
    """
    if value != {}:
        raise unprocessable([{"loc": "", "msg": "the body must be an empty object: {}"}])


def session(value: object) -> schema.SessionInput:
    """A value of JSON that is a session.

    Raises:
        ProblemError: 422, it is none.
    """
    try:
        return schema.SessionInput.model_validate(value)
    except ValidationError as error:
        found = schema.field_errors(error)
    raise unprocessable([{"loc": loc, "msg": msg} for loc, msg in found])


def query(request: Request, model: type[_Query]) -> _Query:
    """The query parameters; an empty one is an error, and so is one given twice.

    Raises:
        ProblemError: 422, with each parameter that is wrong.
    """
    if not request.query:
        return model()
    given: dict[str, str] = {}
    errors: list[dict[str, str]] = []
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        if name in given:
            errors.append({"loc": name, "msg": "is given more than once"})
        elif not value and name in model.model_fields:
            errors.append({"loc": name, "msg": "is empty: give it a value, or leave it out"})
        given[name] = value
    try:
        found = model.model_validate({k: v for k, v in given.items() if v})
    except ValidationError as error:
        for loc, msg in schema.field_errors(error):
            known = "is not a known query parameter" if msg.endswith("known field") else msg
            errors.append({"loc": loc, "msg": known})
    else:
        unknown = set(given) - set(model.model_fields)
        errors += [{"loc": k, "msg": "is not a known query parameter"} for k in sorted(unknown)]
        if not errors:
            return found
    raise unprocessable(errors[: schema.MAX_ERRORS])
