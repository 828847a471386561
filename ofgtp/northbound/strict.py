"""JSON, read strictly (RFC 8259): the same everywhere, and within limits.

No NaN and no Infinity, no member twice in an object (parsers differ in which of the two they take),
and never more of it than can be judged quickly.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import from_json

MAX_DEPTH = 16
"""Deepest nesting of objects and arrays."""
MAX_VALUES = 1_000
"""Most members of objects and items of arrays together."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class NotJson(ValueError):
    """It is no JSON."""


class TooMuch(ValueError):
    """It is JSON, and more of it than is read."""


def parse(raw: bytes | bytearray) -> Any:
    """The value that a text stands for.

    Raises:
        NotJson, TooMuch.
    """
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise NotJson(str(error)) from None
    # Outside strings, a colon stands for a member, and nothing else has one.
    if _members(value) != _STRING.sub(b"", raw).count(b":"):
        raise NotJson(_told_twice(raw))
    return value


def _members(value: object) -> int:
    """How many members its objects have, all of them together."""
    members = items = depth = 0
    level = [value] if isinstance(value, (dict, list)) else []
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise TooMuch(f"is nested deeper than {MAX_DEPTH}")
        below: list[Any] = []
        for each in level:
            values: Any = each
            if isinstance(each, dict):
                members += len(each)
                values = each.values()
            else:
                items += len(each)
            if members + items > MAX_VALUES:
                raise TooMuch(f"has more than {MAX_VALUES:,} members and items")
            below += [inner for inner in values if isinstance(inner, (dict, list))]
        level = below
    return members


def _told_twice(raw: bytes | bytearray) -> str:
    """Which member stands there twice, in words."""
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                found.append(name)
            names.add(name)

    json.loads(raw, object_pairs_hook=look)
    return f"the member {found[0][:100]!r} stands there twice" if found else "a member twice"
