"""What a request asks for beyond a tunnel pair -> the session's detail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

from ofgtp.core.model import Session, Uplink
from ofgtp.core.sessions.detail import Bearer, Detail, Relay
from ofgtp.core.sessions.rules import next_way
from ofgtp.northbound.service import BearerRequest, SessionRequest


def detail_of(
    request: SessionRequest, old: Session | None, allocate: Callable[[], int]
) -> Detail | None:
    """The detail of the session that a request makes of `old`; None if it is but a tunnel pair.

    A session that once had rules in a table of their own keeps them there: the switch would not
    notice that its packets have to take the short way again.
    """
    present = None if old is None else old.detail
    if present is None and not request.more:
        return None
    present = present or Detail()
    relay = None
    if request.relay is not None:
        known = None if present.relay is None else present.relay.teid
        relay = Relay(request.relay.teid or known or allocate(), request.relay.remote)
    return Detail(
        slot=present.slot,
        way=present.way,
        ambr=request.ambr,
        usage=request.usage,
        bearers=_bearers(request.bearers, present.bearers, allocate),
        relay=relay,
        breakout=request.breakout,
        framed_routes=request.framed_routes,
        ue_ipv6=request.ue_ipv6,
        buffer=request.buffer,
    )


def settled(old: Session | None, new: Session) -> Session:
    """The session with its uplink rules in the table where they must stand."""
    if new.detail is None:
        return new
    way = next_way(old, new)
    return new if way == new.detail.way else replace(new, detail=replace(new.detail, way=way))


def _bearers(
    asked: Sequence[BearerRequest], present: Sequence[Bearer], allocate: Callable[[], int]
) -> tuple[Bearer, ...]:
    there = {bearer.id: bearer for bearer in present}
    kept = {there[each.id].index for each in asked if each.id in there}
    free = (index for index in count() if index not in kept)
    made = []
    for each in asked:
        was = there.get(each.id)
        uplink = None
        if each.uplink is not None:
            known = None if was is None or was.uplink is None else was.uplink.teid
            uplink = Uplink(each.uplink.teid or known or allocate(), each.uplink.remote_ip)
        made.append(
            Bearer(
                id=each.id,
                precedence=each.precedence,
                filters=each.filters,
                uplink=uplink,
                downlink=each.downlink,
                shares_downlink=each.shares_downlink,
                qos=each.qos,
                mbr=each.mbr,
                gate=each.gate,
                usage=each.usage,
                index=next(free) if was is None else was.index,
            )
        )
    return tuple(made)
