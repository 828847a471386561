"""The lines of a batch. One that is plainly right is read at once; all others the schema judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from socket import AF_INET, inet_pton
from typing import Any

import eventlet
from pydantic import ValidationError
from pydantic_core import from_json

from ofgtp.core.model import QFI_MAX, SESSION_ID, TEID_MAX, BatchPut, Qos
from ofgtp.northbound import schema
from ofgtp.northbound.service import SessionRequest

Line = tuple[int, BatchPut | SessionRequest | str]

_AT_ONCE = 200

_FLAGS = {"rqi": "rqi", "qfi_required": "required", "qfi_check": "check"}


class LinesError(Exception):
    """Lines that are wrong; `errors` are ready for JSON."""

    def __init__(self, errors: list[dict[str, object]]) -> None:
        self.errors = errors
        super().__init__(f"{len(errors)} lines are wrong")


class TooManyLines(Exception):
    """More lines than a batch may have."""


def read(raw: bytes, most: int) -> Iterator[Line]:
    """The operations with their line numbers, from 1; blank lines count, and do nothing.

    Raises:
        LinesError: a line is wrong; it tells of the ones behind it too.
        TooManyLines: more than `most` lines are not blank.
    """
    used = 0
    errors: list[dict[str, object]] = []
    for number, line in enumerate(BytesIO(raw), 1):
        if number % _AT_ONCE == 0:
            eventlet.sleep(0)  # of lines that are blank or wrong the caller sees nothing
        if line.isspace():
            continue
        used += 1
        if used > most:
            raise TooManyLines
        op: BatchPut | SessionRequest | str | None = plain(line)
        if op is None:
            try:
                op = judged(line)
            except ValidationError as error:
                errors += _told(number, error)
                if len(errors) >= schema.MAX_ERRORS:
                    break
        if not errors and op is not None:
            yield number, op
    if errors:
        raise LinesError(errors)


def judged(line: bytes) -> BatchPut | SessionRequest | str:
    """Read a line by the schema.

    Raises:
        ValidationError: what is wrong with it.
    """
    op = schema.BATCH_LINE.validate_json(line)
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


def plain(line: bytes) -> BatchPut | str | None:
    """Read a line that is plainly right; None if it takes the schema to tell."""
    try:
        op = from_json(line)
        if op["op"] == "put" and len(op) == 2:
            return plain_session(op["session"])
        if op["op"] == "delete" and len(op) == 2 and _is_id(op["id"]):
            return str(op["id"])
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        pass
    return None


def plain_session(session: dict[str, Any]) -> BatchPut | None:
    """What a session that is plainly right asks for; None if it takes the schema to tell.

    Raises:
        KeyError, TypeError, AttributeError, OSError: likewise.
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
    qos = 0
    if len(session) != known:
        members, qos = _qos(session)
        if len(session) != known + members or not qos:
            return None
    if not (session_id is None or _is_id(session_id)):
        return None
    if not (gateway is None or type(gateway) is str):
        return None
    teid = peer = far_teid = far_ip = None
    if uplink is not None:
        teid, peer = uplink.get("teid"), uplink.get("remote_ip")
        if len(uplink) != ("teid" in uplink) + ("remote_ip" in uplink):
            return None
        if not (teid is None or _is_teid(teid)):
            return None
        peer = None if peer is None else _address(peer)
    if downlink is not None:
        far_teid = downlink["teid"]
        if len(downlink) != 2 or not _is_teid(far_teid):
            return None
        far_ip = _address(downlink["remote_ip"])
    ue_ip = _address(session["ue_ip"])
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


def _told(number: int, error: ValidationError) -> list[dict[str, object]]:
    found = schema.batch_line_errors(error)
    return [{"line": number, "loc": loc, "msg": msg} for loc, msg in found]
