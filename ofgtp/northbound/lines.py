"""The lines of a batch. One that is plainly right is read at once; all others the schema judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from socket import AF_INET, inet_pton
from typing import Any

import eventlet
from pydantic import ValidationError
from pydantic_core import from_json

from ofgtp.core.model import QFI_MAX, SESSION_ID, TEID_MAX, BatchPut, Qos
from ofgtp.core.sessions.shaped import ShapedPut
from ofgtp.northbound import schema, shaped, strict
from ofgtp.northbound.service import SessionRequest, WrongLine

Op = BatchPut | ShapedPut | SessionRequest | str | WrongLine
Line = tuple[int, Op]

LINE_LIMIT = 64 << 10
"""Longest line, in octets: as long as the body of a request for one session."""

_AT_ONCE = 32 << 10
"""So many octets of lines are read before others get a turn."""
_SHAPED = 2 * strict.MAX_VALUES
"""Octets of a line with bearers that is read at once: so few hold no more values than it may."""
_NEWLINE, _SPACE = 0x0A, 0x20

_number = int.from_bytes
_is_id = SESSION_ID.fullmatch
_FLAGS = {"rqi": "rqi", "qfi_required": "required", "qfi_check": "check"}


class TooManyLines(Exception):
    """More lines than a batch may have."""


def read(raw: bytes | bytearray, most: int) -> Iterator[Line]:
    """The operations with their line numbers, from 1, or what is wrong with a line; blank lines
    count, and do nothing.

    Raises:
        TooManyLines: more than `most` lines are not blank.
    """
    used = 0
    op: Op | None
    for first, some in _split(raw):
        for number, line in enumerate(some, first):
            long = len(line) > LINE_LIMIT
            if not line or (line[0] <= _SPACE and line.isspace() and not long):
                continue
            used += 1
            if used > most:
                raise TooManyLines
            op = None if long else plain(line)
            if op is None:
                try:
                    op = judged(line)
                except WrongLine as wrong:
                    # What was caught holds on to all that the line was read into.
                    op = WrongLine(wrong.errors)
            yield number, op


def _split(raw: bytes | bytearray) -> Iterator[tuple[int, Sequence[bytes | bytearray]]]:
    """Some lines at a time, with the number of their first. One that is longer than it may be is
    the last, and cut off."""
    number, start = 1, 0
    while start < len(raw):
        end = raw.rfind(b"\n", start, start + _AT_ONCE)
        if end < 0:
            end = raw.find(b"\n", start, start + LINE_LIMIT + 1)
        if end < 0:
            end = start + LINE_LIMIT + 1
        some = raw[start:end]
        if some.isspace() and len(some) <= LINE_LIMIT:
            number += some.count(b"\n") + 1
        else:
            lines = some.split(b"\n")
            yield number, lines
            number += len(lines)
        if end < len(raw) and raw[end] != _NEWLINE:
            return
        start = end + 1
        eventlet.sleep(0)  # of lines that are blank the caller sees nothing


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
    up, down = asked.uplink, request.downlink
    peer = up.remote_ip if up else None
    return BatchPut(
        asked.id,
        asked.gateway,
        int(request.ue_ip),
        up.teid if up else None,
        None if peer is None else int(peer),
        down.teid if down else None,
        int(down.ip) if down else None,
        0 if asked.qos is None else asked.qos.number,
    )


def plain(line: bytes | bytearray) -> BatchPut | ShapedPut | str | None:
    """Read a line that is plainly right; None if it takes the schema to tell."""
    try:
        op = from_json(line)
        if len(op) != 2:
            return None
        if op["op"] == "put":
            session = op["session"]
            if "bearers" in session or "ambr" in session:
                return _shaped(session, line)
            return _plain(session, line, 2)
        if op["op"] == "delete":
            session_id = op["id"]
            if type(session_id) is str and _is_id(session_id):
                others = session_id.count(":")
                if line.count(b":") == 2 + others and not (others and b"\\" in line):
                    return session_id
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        pass
    return None


def _shaped(session: dict[str, Any], line: bytes | bytearray) -> ShapedPut | None:
    """What a session with bearers asks for; see `_plain`."""
    if len(line) > _SHAPED or b"\\" in line:
        return None
    more = shaped.take(session)
    put = None if more is None else _plain(session, line, 2 + more.members)
    if put is None or more is None or put.uplink_teid is None:
        return None
    key = (put.uplink_remote_ip is None, put.downlink_ip is None, put.qos, more.form)
    shape = _SHAPES.get(key)
    if shape is None:
        if not _SHAPES.is_known(key):
            return None
        try:
            request = judged(line)
        except WrongLine:
            return None
        shape = shaped.shape_of(request) if isinstance(request, SessionRequest) else None
        if shape is None:
            return None
        _SHAPES.keep(key, shape)
    own = [number for number in put[2:7] if number is not None]
    return ShapedPut(put.id, put.gateway, shape, (*own, *more.numbers))


_SHAPES = shaped.Shapes()


def plain_session(raw: bytes | bytearray) -> BatchPut | None:
    """Read a session that is plainly right; None if it takes the schema to tell."""
    try:
        return _plain(from_json(raw), raw, 0)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return None


def _plain(session: dict[str, Any], raw: bytes | bytearray, members: int) -> BatchPut | None:
    """What a session asks for; so many members stand around it in the text.

    Raises:
        KeyError, TypeError, AttributeError, OSError: it takes the schema to tell.
    """
    get: Callable[[str], Any] = session.get
    session_id, gateway = get("id"), get("gateway")
    uplink, downlink = get("uplink"), get("downlink")
    teid = peer = far_teid = far_ip = None
    known, others, qos = 1, 0, 0  # `ue_ip` must be there
    if session_id is not None:
        if type(session_id) is not str or not _is_id(session_id):
            return None
        known, others = 2, session_id.count(":")
    elif "id" in session:
        known = 2
    if gateway is not None:
        if type(gateway) is not str:
            return None
        known += 1
        others += gateway.count(":")
    elif "gateway" in session:
        known += 1
    if uplink is not None:
        teid, peer = uplink.get("teid"), uplink.get("remote_ip")
        if len(uplink) != ("teid" in uplink) + ("remote_ip" in uplink):
            return None
        if not (teid is None or (type(teid) is int and 0 < teid <= TEID_MAX)):
            return None
        peer = None if peer is None else _number(inet_pton(AF_INET, peer))
        known += 1
        members += len(uplink)
    elif "uplink" in session:
        known += 1
    if downlink is not None:
        far_teid = downlink["teid"]
        if len(downlink) != 2 or type(far_teid) is not int or not 0 < far_teid <= TEID_MAX:
            return None
        far_ip = _number(inet_pton(AF_INET, downlink["remote_ip"]))
        known += 1
        members += 2
    elif "downlink" in session:
        known += 1
    if len(session) != known:
        of_qfi, qos = _qos(session)
        if len(session) != known + of_qfi or not qos:
            return None
    ue_ip = _number(inet_pton(AF_INET, session["ue_ip"]))
    # Of a member that stands there twice a parser takes one, and says nothing. Each has a colon;
    # `others` are in the values that it took. What it left out has more, and escapes hide none.
    if raw.count(b":") != members + len(session) + others or (others and b"\\" in raw):
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
