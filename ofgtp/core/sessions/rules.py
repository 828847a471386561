"""A session of tunnels and bearers -> its rules. Pure; what `core/rules/` makes flows of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network

from ofgtp.core.filters import Network, PacketFilter
from ofgtp.core.flows.flow import Meter, Unit
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import Address, Direction, FTeid, Qos, Session, Uplink
from ofgtp.core.sessions.detail import Bearer, Detail, Rates
from ofgtp.core.sessions.rule import (
    LOWEST_PRECEDENCE,
    Forward,
    Held,
    Refused,
    Rule,
    Source,
    ToCore,
    Tunnel,
)

AMBR_UPLINK, AMBR_DOWNLINK = 0, 1
"""Places in a session's list of meters; those of a bearer follow, two for each index."""

METERS_OF_A_SESSION = 128
METERS_FROM = 1 << 16
"""Numbers of sessions' meters begin here: those below are the pipeline's own."""

BURST_MS = 250
"""What a meter lets through at once, in milliseconds of its rate. With less, TCP, whose senders
send in bursts, gets a fraction of the rate only."""
BURST_LEAST_KBIT = 25
"""Two packets of 1,514 octets: a burst below one lets nothing through."""


def rules_of(session: Session) -> tuple[Rule, ...]:
    """The rules of a session, those that are asked first in front of those behind."""
    detail = session.detail
    rules = tuple(_rules(session, detail or Detail()))
    if detail is None or not (detail.used_up or any(each.used_up for each in detail.bearers)):
        return rules
    closed = {each.id for each in detail.bearers if each.used_up}
    to = Refused(DropReason.QUOTA_EXHAUSTED)
    return tuple(
        replace(rule, forward=to) if detail.used_up or rule.id in closed else rule for rule in rules
    )


def _rules(session: Session, detail: Detail) -> Iterator[Rule]:
    if session.uplink is None:
        yield from detail.rules
        return
    ue = ue_prefixes(session)
    for bearer in sorted(detail.bearers, key=lambda each: each.precedence):
        yield from _of_bearer(session, session.uplink, detail, bearer, ue)
    up = Rule(
        id="",
        source=Source.ACCESS,
        precedence=LOWEST_PRECEDENCE,
        forward=ToCore(),
        teid=session.uplink.teid,
        peer=session.uplink.remote_ip,
        ue=ue,
        container=session.qos,
        meters=_ambr(detail, AMBR_UPLINK),
    )
    if detail.breakout:
        local = tuple(PacketFilter(remote=prefix) for prefix in detail.breakout)
        yield replace(up, precedence=LOWEST_PRECEDENCE - 1, filters=local)
    if detail.relay is not None:
        relay = detail.relay
        yield replace(up, forward=_tunnel(relay.remote, relay.error_indicated, None))
        yield Rule(
            id="",
            source=Source.CORE,
            precedence=LOWEST_PRECEDENCE,
            forward=_tunnel(session.downlink, session.error_indicated, None, detail.buffer),
            teid=relay.teid,
        )
    else:
        yield up
    if ue:
        yield Rule(
            id="",
            source=Source.CORE,
            precedence=LOWEST_PRECEDENCE,
            forward=_tunnel(session.downlink, session.error_indicated, session.qos, detail.buffer),
            ue=ue,
            meters=_ambr(detail, AMBR_DOWNLINK),
        )


def _of_bearer(
    session: Session,
    common: Uplink,
    detail: Detail,
    bearer: Bearer,
    ue: tuple[Network, ...],
) -> Iterator[Rule]:
    qos = bearer.qos or session.qos
    far, indicated = bearer.downlink, bearer.error_indicated
    if bearer.shares_downlink:
        far, indicated = session.downlink, session.error_indicated
    closed = Refused(DropReason.GATE_CLOSED)
    uplink = bearer.uplink or common
    yield Rule(
        id=bearer.id,
        source=Source.ACCESS,
        precedence=bearer.precedence,
        forward=ToCore() if bearer.gate.passes("uplink") else closed,
        teid=uplink.teid,
        peer=uplink.remote_ip,
        ue=ue,
        filters=bearer.filters,
        container=qos,
        meters=_ambr(detail, AMBR_UPLINK) + _mbr(bearer, 0, bearer.mbr.uplink),
    )
    down = _tunnel(far, indicated, qos, detail.buffer)
    yield Rule(
        id=bearer.id,
        source=Source.CORE,
        precedence=bearer.precedence,
        forward=down if bearer.gate.passes("downlink") else closed,
        ue=ue,
        filters=bearer.filters,
        meters=_ambr(detail, AMBR_DOWNLINK) + _mbr(bearer, 1, bearer.mbr.downlink),
    )


def _tunnel(
    far: FTeid | None, indicated: bool, qos: Qos | None, buffer: int | None = None
) -> Forward:
    if far is None:
        return Refused(DropReason.IDLE_UE) if buffer is None else Held()
    if indicated:
        return Refused(DropReason.ERROR_INDICATED)
    return Tunnel(far, None if qos is None else qos.octet)


def main_tunnels(session: Session) -> tuple[int | None, Tunnel | None]:
    """Of a session by rules: our TEID from the access side, and the tunnel to the UE, of the rules
    that are asked last."""
    rules = () if session.detail is None else session.detail.rules
    up = [rule.teid for rule in rules if rule.uplink and rule.teid is not None]
    down = [
        rule.forward
        for rule in rules
        if rule.source is Source.CORE and isinstance(rule.forward, Tunnel)
    ]
    return up[-1] if up else None, down[-1] if down else None


def ue_prefixes(session: Session) -> tuple[Network, ...]:
    """The UE's address and IPv6 prefix, and the prefixes behind it; none of a relay that takes any
    content."""
    own: tuple[Network, ...] = ()
    if session.ue_ip is not None:
        own = (IPv4Network((int(session.ue_ip), 32)),)
    if session.detail is not None and session.detail.ue_ipv6 is not None:
        own += (session.detail.ue_ipv6,)
    return own + framed_of(session)


def framed_of(session: Session | None) -> tuple[Network, ...]:
    """The prefixes behind a session's UE."""
    detail = None if session is None else session.detail
    return () if detail is None else detail.framed_routes


def _ambr(detail: Detail, place: int) -> tuple[int, ...]:
    rate = detail.ambr.uplink if place == AMBR_UPLINK else detail.ambr.downlink
    return () if rate is None else (place,)


def _mbr(bearer: Bearer, direction: int, rate: int | None) -> tuple[int, ...]:
    return () if rate is None else (2 + 2 * bearer.index + direction,)


def meter_number(slot: int, place: int) -> int:
    """The switch's number of the meter at a place in the list of the session with a slot."""
    return METERS_FROM + slot * METERS_OF_A_SESSION + place


def meter_place(number: int) -> int:
    """The place of a session's meter in the session's list."""
    return (number - METERS_FROM) % METERS_OF_A_SESSION


def meter_direction(number: int) -> Direction:
    """Of a session's meter: its places are uplink and downlink in turn."""
    return "downlink" if meter_place(number) % 2 else "uplink"


def meters_of(session: Session) -> list[Meter]:
    """The meters that a session's rules pass."""
    detail = session.detail
    if detail is None:
        return []
    rated = [(AMBR_UPLINK, detail.ambr)]
    rated += [(2 + 2 * bearer.index, bearer.mbr) for bearer in detail.bearers]
    limits = [*detail.limits, *(each for first, rates in rated for each in _rated(first, rates))]
    return [meter(detail.slot, place, rate) for place, rate in limits]


def _rated(first: int, rates: Rates) -> Iterator[tuple[int, int]]:
    for place, rate in enumerate((rates.uplink, rates.downlink), first):
        if rate is not None:
            yield place, rate


def meter(slot: int, place: int, kbps: int) -> Meter:
    """A meter that polices a rate in kbit/s."""
    burst = max(kbps * BURST_MS // 1000, BURST_LEAST_KBIT)
    return Meter(meter_number(slot, place), rate=kbps, burst=burst, unit=Unit.KBPS)


def all_teids(session: Session) -> Iterator[tuple[str, int]]:
    """Every TEID of ours that a session uses, with the field that names it."""
    if session.uplink is not None:
        yield "uplink.teid", session.uplink.teid
    detail = session.detail
    if detail is None:
        return
    teids = [rule.teid for rule in detail.rules if rule.teid is not None]
    yield from (("rules", teid) for teid in dict.fromkeys((*teids, *detail.teids)))
    if detail.relay is not None:
        yield "core.teid", detail.relay.teid
    for place, bearer in enumerate(detail.bearers):
        if bearer.uplink is not None:
            yield f"bearers.{place}.uplink.teid", bearer.uplink.teid


def all_tunnels(session: Session) -> Iterator[tuple[str, FTeid]]:
    """Every tunnel of a peer's to which a session sends, with the field that names it."""
    if session.downlink is not None:
        yield "downlink", session.downlink
    detail = session.detail
    if detail is None:
        return
    forwards = (rule.forward for rule in detail.rules)
    tunnels = dict.fromkeys(each.to for each in forwards if isinstance(each, Tunnel))
    yield from (("rules", tunnel) for tunnel in tunnels)
    if detail.router is not None and detail.router not in tunnels:
        yield "rules", detail.router
    if detail.relay is not None:
        yield "core", detail.relay.remote
    for place, bearer in enumerate(detail.bearers):
        if bearer.downlink is not None:
            yield f"bearers.{place}.downlink", bearer.downlink


def peers_of(session: Session) -> set[Address]:
    """The GTP-U peers that a session sends to, or takes its own tunnel's packets from alone."""
    named = {far.ip for _, far in all_tunnels(session)}
    if session.uplink is not None and session.uplink.remote_ip is not None:
        named.add(session.uplink.remote_ip)
    return named


def sent_on(session: Session, teid: int, peer: Address) -> list[FTeid] | None:
    """The tunnels in which what a peer sends to a TEID of ours leaves again.

    None: it leaves in none, since the TEID is no relay's. An empty list: it is, and leads nowhere
    now, or is not for this peer.
    """
    detail = session.detail
    if detail is None:
        return None
    of_teid = [rule for rule in rules_of(session) if rule.teid == teid]
    if detail.relay is None and not any(isinstance(rule.forward, Tunnel) for rule in of_teid):
        return None
    mine = (rule.forward for rule in of_teid if rule.peer in (None, peer))
    return list(dict.fromkeys(each.to for each in mine if isinstance(each, Tunnel)))


def next_way(before: Session | None, after: Session) -> int:
    """In which of two tables a session's rules for what comes in tunnels must stand after a change.

    Open vSwitch before 3.2 does not notice a change behind table uplink but by what is asked of
    packets: the two tables ask for different bits (docs/ovs-faults.md).
    """
    if after.detail is None:
        return 0
    if before is None or before.detail is None:
        return after.detail.way
    same = _from_tunnels(before) == _from_tunnels(after)
    return before.detail.way if same else 3 - before.detail.way


def _from_tunnels(session: Session) -> list[Rule]:
    return [rule for rule in rules_of(session) if rule.teid is not None]


def indicated_tunnels(session: Session) -> Iterator[tuple[str, FTeid]]:
    """Those that their peers have said they do not know, with the field that names each."""
    if session.downlink is not None and session.error_indicated:
        yield "downlink", session.downlink
    detail = session.detail
    if detail is None:
        return
    if detail.relay is not None and detail.relay.error_indicated:
        yield "core", detail.relay.remote
    for place, bearer in enumerate(detail.bearers):
        if bearer.downlink is not None and bearer.error_indicated:
            yield f"bearers.{place}.downlink", bearer.downlink


def indicated(session: Session, tunnel: FTeid) -> Session | None:
    """The session once the peer of a tunnel has said that it does not know it; None if that is no
    news, or the session sends nothing there."""
    changed = _indicated(session, tunnel)
    if changed is None or changed.detail is None:
        return changed
    return replace(changed, detail=replace(changed.detail, way=next_way(session, changed)))


def _indicated(session: Session, tunnel: FTeid) -> Session | None:
    detail = session.detail
    if session.downlink == tunnel:
        return None if session.error_indicated else replace(session, error_indicated=True)
    if detail is None:
        return None
    relay = detail.relay
    if relay is not None and relay.remote == tunnel and not relay.error_indicated:
        detail = replace(detail, relay=replace(relay, error_indicated=True))
    bearers = tuple(
        replace(each, error_indicated=True) if each.downlink == tunnel else each
        for each in detail.bearers
    )
    detail = replace(detail, bearers=bearers)
    return None if detail == session.detail else replace(session, detail=detail)
