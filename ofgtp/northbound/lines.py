"""The lines of a batch. One that is plainly right is read at once; all others the schema judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from socket import AF_INET, inet_pton
from typing import Any

import eventlet
from pydantic import ValidationError
from pydantic_core import from_json

from ofgtp.core.model import QFI_MAX, SESSION_ID, TEID_MAX, BatchPut, Qos
from ofgtp.northbound import schema, strict
from ofgtp.northbound.service import SessionRequest

Line = tuple[int, BatchPut | SessionRequest | str]

LINE_LIMIT = 64 << 10
"""Longest line, in octets: as long as the body of a request for one session."""

_AT_ONCE = 32 << 10
"""So many octets of lines are read before others get a turn."""
_NEWLINE = 0x0A

_FLAGS = {"rqi": "rqi", "qfi_required": "required", "qfi_check": "check"}


class LinesError(Exception):
    """Lines that are wrong; `errors` are ready for JSON."""

    def __init__(self, errors: list[dict[str, object]]) -> None:
        self.errors = errors
        super().__init__(f"{len(errors)} lines are wrong")


class WrongLine(Exception):
    """A line that is wrong; `errors` tell each field, and what is wrong with it."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        self.errors = errors
        super().__init__(f"{len(errors)} errors")


class TooManyLines(Exception):
    """More lines than a batch may have."""


def read(raw: bytes | bytearray, most: int) -> Iterator[Line]:
    """The operations with their line numbers, from 1; blank lines count, and do nothing.

    Raises:
        LinesError: a line is wrong; it tells of the ones behind it too.
        TooManyLines: more than `most` lines are not blank.
    """
    errors: list[dict[str, object]] = []
    for used, (number, line) in enumerate(_split(raw), 1):
        if used > most:
            raise TooManyLines
        op: BatchPut | SessionRequest | str | None
        op = plain(line) if len(line) <= LINE_LIMIT else None
        if op is None:
            try:
                op = judged(line)
            except WrongLine as wrong:
                errors += [{"line": number, "loc": loc, "msg": msg} for loc, msg in wrong.errors]
                if len(errors) >= schema.MAX_ERRORS:
                    break
        if not errors and op is not None:
            yield number, op
    if errors:
        raise LinesError(errors)


def _split(raw: bytes | bytearray) -> Iterator[tuple[int, bytes | bytearray]]:
    """The lines that are not blank, with their numbers. One that is longer than it may be is the
    last, and cut off."""
    number = start = 0
    while start < len(raw):
        end = raw.rfind(b"\n", start, start + _AT_ONCE)
        if end < 0:
            end = raw.find(b"\n", start, start + LINE_LIMIT + 1)
        if end < 0:
            end = start + LINE_LIMIT + 1
        some = raw[start:end]
        if some.isspace() and len(some) <= LINE_LIMIT:
            number += some.count(b"\n") + 1
            some = b""
        for line in some.split(b"\n") if some else ():
            number += 1
            if line and not (line.isspace() and len(line) <= LINE_LIMIT):
                yield number, line
        if end < len(raw) and raw[end] != _NEWLINE:
            return
        start = end + 1
        eventlet.sleep(0)  # of lines that are blank or wrong the caller sees nothing


def judged(line: bytes | bytearray) -> BatchPut | SessionRequest | str:
    """Read a line by the schema.

    Raises:
        WrongLine: what is wrong with it.
    """
    if len(line) > LINE_LIMIT:
        raise WrongLine([("", f"is longer than {LINE_LIMIT:,} bytes")])
    try:
        op = schema.BATCH_LINE.validate_python(strict.parse(line))
    except strict.NotJson as error:
        raise WrongLine([("", f"is not JSON: {error}")]) from None
    except strict.TooMuch as error:
        raise WrongLine([("", str(error))]) from None
    except ValidationError as error:
        raise WrongLine(schema.batch_line_errors(error)) from None
    if isinstance(op, schema.DeleteLine):
        return op.id
    asked = op.session
    request = asked.request()
    if request.ue_ip is None or request.more:
        return request
    up, down = asked.uplink, asked.downlink
    peer = up.remote_ip if up else None
    return BatchPut(
        asked.id,
        asked.gateway,
        int(request.ue_ip),
        up.teid if up else None,
        None if peer is None else int(peer),
        down.teid if down else None,
        int(down.remote_ip) if down else None,
        0 if asked.qos is None else asked.qos.number,
    )


def plain(line: bytes | bytearray) -> BatchPut | str | None:
    """Read a line that is plainly right; None if it takes the schema to tell."""
    try:
        op = from_json(line, allow_inf_nan=False)
        if op["op"] == "put" and len(op) == 2:
            return _plain(op["session"], line, 2)
        if op["op"] == "delete" and len(op) == 2 and _is_id(op["id"]):
            session_id = str(op["id"])
            return session_id if _once(line, 2 + session_id.count(":")) else None
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        pass
    return None


def plain_session(raw: bytes | bytearray) -> BatchPut | None:
    """Read a session that is plainly right; None if it takes the schema to tell."""
    try:
        return _plain(from_json(raw, allow_inf_nan=False), raw, 0)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return None


def _once(raw: bytes | bytearray, colons: int) -> bool:
    """Whether no member stands there twice: of two a parser takes one, and says nothing. `colons`
    are those of the members that it took, and of their values."""
    return raw.count(b":") == colons and b"\\" not in raw


def _plain(session: dict[str, Any], raw: bytes | bytearray, around: int) -> BatchPut | None:
    """What a session asks for; `around` members stand around it in the text.

    Raises:
        KeyError, TypeError, AttributeError, OSError: it takes the schema to tell.
    """
    get: Callable[[str], Any] = session.get
    session_id, gateway, uplink, downlink = (
        get("id"),
        get("gateway"),
        get("uplink"),
        get("downlink"),
    )
    known = ("ue_ip" in session) + ("id" in session) + ("gateway" in session)
    known += ("uplink" in session) + ("downlink" in session)
    colons = around + len(session)
    qos = 0
    if len(session) != known:
        members, qos = _qos(session)
        if len(session) != known + members or not qos:
            return None
    if session_id is not None:
        if not _is_id(session_id):
            return None
        colons += session_id.count(":")
    if gateway is not None:
        if type(gateway) is not str:
            return None
        colons += gateway.count(":")
    teid = peer = far_teid = far_ip = None
    if uplink is not None:
        teid, peer = uplink.get("teid"), uplink.get("remote_ip")
        if len(uplink) != ("teid" in uplink) + ("remote_ip" in uplink):
            return None
        if not (teid is None or _is_teid(teid)):
            return None
        peer = None if peer is None else _address(peer)
        colons += len(uplink)
    if downlink is not None:
        far_teid = downlink["teid"]
        if len(downlink) != 2 or not _is_teid(far_teid):
            return None
        far_ip = _address(downlink["remote_ip"])
        colons += 2
    ue_ip = _address(session["ue_ip"])
    if not _once(raw, colons):
        return None
    return BatchPut(session_id, gateway, ue_ip, teid, peer, far_teid, far_ip, qos)


def _qos(session: dict[str, Any]) -> tuple[int, int]:
    """How many of its members speak of the container, and the number of what they say; 0: the
    schema must tell. Raises KeyError where there is no QFI."""
    qfi, flags = session["qfi"], {name: session[name] for name in _FLAGS if name in session}
    plainly = type(qfi) is int and 1 <= qfi <= QFI_MAX
    if not plainly or not all(type(flag) is bool for flag in flags.values()):
        return 0, 0
    return 1 + len(flags), Qos(qfi, **{_FLAGS[name]: flag for name, flag in flags.items()}).number


def _is_id(value: object) -> bool:
    return type(value) is str and SESSION_ID.fullmatch(value) is not None


def _is_teid(value: object) -> bool:
    return type(value) is int and 0 < value <= TEID_MAX


def _address(value: str) -> int:
    return int.from_bytes(inet_pton(AF_INET, value), "big")
