"""What is wrong with a request: the problem document, and the fields at fault."""

from __future__ import annotations

from pydantic import BaseModel, Field, ValidationError

MAX_ERRORS = 100
"""So many errors of one request are named."""
LOC_LIMIT = 200
"""So many characters of a field's name: a member that nobody knows may have any."""


class FieldError(BaseModel):
    """What is wrong with one field."""

    line: int | None = Field(None, description="Of a batch, from 1")
    loc: str = Field(description="Dotted path; empty: the whole body or line")
    msg: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    session: str | None = Field(None, description="409: the session in the way")
    errors: list[FieldError] = []


READ_ONLY = frozenset(
    {"state", "reason", "created_at", "updated_at", "counters", "local_ip", "local_ip6"}
    | {"closed", "owner", "error_indicated"}
)

_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "string_type": "must be a string",
    "int_parsing": "must be an integer",
    "bool_type": "must be true or false",
    "union_tag_invalid": 'must be "put" or "delete"',
    "union_tag_not_found": "is required",
}


def field_errors(error: ValidationError) -> list[tuple[str, str]]:
    """(loc, msg) of each error; loc is the dotted path of the field within the session."""
    found = []
    details = error.errors(include_url=False, include_context=False, include_input=False)
    for item in details[:MAX_ERRORS]:
        kind, loc = item["type"], list(item["loc"])
        msg = _MESSAGES.get(kind) or item["msg"]
        if kind == "extra_forbidden" and loc[-1] in READ_ONLY:
            msg = "is read-only; leave it out"
        if kind.startswith("union_tag"):
            loc = ["op"]
        found.append((".".join(str(part) for part in loc)[:LOC_LIMIT], msg))
    return found


def batch_line_errors(error: ValidationError) -> list[tuple[str, str]]:
    """The same for a line of a batch, where fields of the session are named as in a PUT."""
    found = []
    for loc, msg in field_errors(error):
        parts = loc.split(".")
        if parts[0] in ("put", "delete"):
            parts = parts[1:]
        if parts[0:1] == ["session"] and len(parts) > 1:
            parts = parts[1:]
        found.append((".".join(parts), msg))
    return found
