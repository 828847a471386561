"""Bearers in lines of a batch, read quickly: what is not a number is read once for all sessions."""

from __future__ import annotations

from collections.abc import Hashable
from socket import AF_INET, inet_pton
from typing import Any, NamedTuple

from ofgtp.core.model import TEID_MAX, Session, Uplink
from ofgtp.core.sessions.detail import Bearer, Detail
from ofgtp.core.sessions.shaped import Shape
from ofgtp.northbound.service import SessionRequest

SHAPES_KEPT = 1_000

_SHARED = object()
_number = int.from_bytes


class More(NamedTuple):
    """What a session has beyond a tunnel pair."""

    form: Hashable
    """All of it but the numbers: it is the same in two sessions only if the schema makes the same
    of both."""
    numbers: list[int]
    members: int
    """Colons that it takes in a text without escapes."""


def take(session: dict[str, Any]) -> More | None:
    """Take bearers and rates off a session; None if it takes the schema to tell.

    Raises:
        KeyError, TypeError, AttributeError, OSError: likewise.
    """
    form: list[object] = [None]
    numbers: list[int] = []
    members = 0
    if "ambr" in session:
        form[0] = ambr = repr(session.pop("ambr"))
        members = 1 + ambr.count(":")
    if "bearers" not in session:
        return More(tuple(form), numbers, members)
    bearers = session.pop("bearers")
    if type(bearers) is not list:
        return None
    members += 1
    for bearer in bearers:
        uplink, downlink = bearer.pop("uplink", _SHARED), bearer.pop("downlink", _SHARED)
        # The text of a value tells 1 from true and from 1.0, which are equal.
        text = repr(bearer)
        form.append(text)
        members += text.count(":")
        if uplink is not _SHARED:
            members += 1
        if uplink is not _SHARED and uplink is not None:
            teid, peer = uplink["teid"], uplink.get("remote_ip")
            if type(teid) is not int or not 0 < teid <= TEID_MAX:
                return None
            if len(uplink) != 1 + ("remote_ip" in uplink):
                return None
            members += len(uplink)
            numbers.append(teid)
            if peer is not None:
                numbers.append(_number(inet_pton(AF_INET, peer)))
            form.append(peer is None)
        if downlink is None:
            members += 1
            form.append(None)
        elif downlink is not _SHARED:
            teid = downlink["teid"]
            if len(downlink) != 2 or type(teid) is not int or not 0 < teid <= TEID_MAX:
                return None
            members += 3
            numbers += teid, _number(inet_pton(AF_INET, downlink["remote_ip"]))
            form.append(2)
    return More(tuple(form), numbers, members)


def shape_of(request: SessionRequest) -> Shape | None:
    """The shape of what a line asks for, as the schema has read it; None if it can have none."""
    beyond = (
        request.relay
        or request.breakout
        or request.framed_routes
        or request.ue_ipv6
        or request.buffer
    )
    limited = request.buffer or request.usage or any(each.usage for each in request.bearers)
    teid, missing = (
        request.uplink_teid,
        any(each.uplink is not None and each.uplink.teid is None for each in request.bearers),
    )
    if teid is None or request.ue_ip is None or beyond or limited or missing:
        return None
    if not request.more:
        return None
    bearers = tuple(
        Bearer(
            id=each.id,
            precedence=each.precedence,
            filters=each.filters,
            uplink=None
            if each.uplink is None
            else Uplink(each.uplink.teid or 0, each.uplink.remote_ip),
            downlink=each.downlink,
            shares_downlink=each.shares_downlink,
            qos=each.qos,
            mbr=each.mbr,
            gate=each.gate,
            index=index,
        )
        for index, each in enumerate(request.bearers)
    )
    session = Session(
        number=0,
        id="",
        gateway="",
        ue_ip=request.ue_ip,
        uplink=Uplink(teid, request.uplink_remote_ip),
        downlink=request.downlink,
        qos=request.qos,
    )
    return Shape(session, Detail(ambr=request.ambr, bearers=bearers))


class Shapes:
    """Those of lines so far. What is met but once is not worth one: many a session has a filter
    that no other has."""

    def __init__(self) -> None:
        self._shapes: dict[Hashable, Shape] = {}
        self._met: set[Hashable] = set()
        self.get = self._shapes.get

    def is_known(self, form: Hashable) -> bool:
        """Whether a form was met before; it is now."""
        if form in self._met:
            return True
        if len(self._met) >= SHAPES_KEPT:
            self._met.clear()
        self._met.add(form)
        return False

    def keep(self, form: Hashable, shape: Shape) -> None:
        """Have it for the next ones of this form."""
        if len(self._shapes) >= SHAPES_KEPT:
            self._shapes.clear()
        self._shapes[form] = shape
