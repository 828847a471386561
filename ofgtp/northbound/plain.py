"""The plain form of the request that the API gets most, read and answered without detours.

A general HTTP parser and response take longer than all that ofgtp does for a session. What is read
here is told from bytes that are not taken from the connection yet: whatever has anything unusual
about it is left to the general way, which gives the same answer.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple

from pydantic_core import from_json

from ofgtp.core.model import BatchPut
from ofgtp.northbound.lines import plain_session

_HEAD = re.compile(
    rb"PUT /v1/sessions/([A-Za-z0-9._:@-]{1,128}) HTTP/1\.1\r\n"
    rb"((?:[A-Za-z-]+: ?[\x21-\x7e][\x20-\x7e]*\r\n)+)\r\n"
)
_KNOWN = frozenset(
    {
        *("host", "authorization", "content-type", "content-length", "connection", "user-agent"),
        *("accept", "accept-encoding", "accept-language"),
    }
)


class Put(NamedTuple):
    """A PUT of a session, whole and plainly right."""

    size: int
    """Of the request, in octets."""
    host: str
    authorization: str
    put: BatchPut


def put(ahead: bytes) -> Put | None:
    """The request that these bytes begin with; None if it is not a whole and plain one."""
    found = _HEAD.match(ahead)
    if found is None:
        return None
    head = _headers(found[2])
    if head is None:
        return None
    host, authorization, length = head
    start = found.end()
    body = ahead[start : start + length]
    if len(body) < length:
        return None
    session_id = found[1].decode()
    try:
        asked = plain_session(from_json(body))
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return None
    if asked is None or asked.id not in (None, session_id):
        return None
    return Put(start + length, host, authorization, asked._replace(id=session_id))


@lru_cache(256)
def _headers(block: bytes) -> tuple[str, str, int] | None:
    """Host, Authorization and length of the body; None if there is anything unusual.

    Remembered, as a client says the same again and again.
    """
    headers: dict[str, str] = {}
    lines = block.decode("ascii").splitlines()
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if len(headers) < len(lines) or not headers.keys() <= _KNOWN:
        return None
    host, length = headers.get("host"), headers.get("content-length", "")
    if host is None or not re.fullmatch("[0-9]{1,5}", length):
        return None
    if headers.get("content-type") != "application/json":
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return host, headers.get("authorization", ""), int(length)


def created(path: str, body: str) -> bytes:
    """The response 201 with a session."""
    return (
        "HTTP/1.1 201 CREATED\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body) + 1}\r\n"
        f"Location: {path}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"Date: {_date(int(time.time()))}\r\n"
        f"\r\n{body}\n"
    ).encode()


@lru_cache(1)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
