"""The limits of a session and of its bearers, held to what they have used.

A session's is named "", a bearer's by the bearer's id, as in a ledger. What was used only goes up,
so for each limit it is enough to know where it stood when the limit was given (`Gauge`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ofgtp.core.flows.flow import OCTETS_A_KBIT
from ofgtp.core.model import Session
from ofgtp.core.sessions.detail import NO_LIMITS, Rates, UsageLimits
from ofgtp.core.usage.ledger import NO_VOLUME, Ledger, Volume
from ofgtp.core.usage.pace import Next, next_look

LAG_S = 1.0
"""By which it is told late that no packet goes on: somewhat more than the switch takes to count one
(`COUNTED_S`)."""
AGAIN_S = 2.0
"""Where packets have lately gone on, look again so soon: of the last ones the switch may have told
nothing yet, and if no more come, nothing else would call for a look."""
NEAR_S, SOON_S = 1.0, 0.1
"""If a limit is reached within so many seconds at the present rate: look again so soon."""
SLICES = 10
"""Looks within the time without a packet that is to be told: it may be told so much of it late."""


class Gauge(NamedTuple):
    """From where the limits count, and what was told; octets and packets are of both directions."""

    quota_from: int = 0
    threshold_from: int = 0
    reached: int = 0
    """How many times the threshold: so much is told."""
    packets: int = 0
    """At the last look."""
    active_at: float = 0.0
    """When it was last seen that a packet had gone on, in seconds since 1970."""
    inactive: bool = False
    """It is told that none goes on."""


class LimitEvent(NamedTuple):
    """An event: its name, and what else is to be said."""

    kind: str
    facts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a look has found."""

    gauge: Gauge
    told: tuple[LimitEvent, ...]
    used_up: bool
    left: int | None
    """Octets to the next limit; None: there is none."""
    timer: float | None
    """In how many seconds to look whatever comes; None: that is no reason."""


def limits_of(session: Session) -> dict[str, UsageLimits]:
    """The limits of a session and its bearers, of those that have any."""
    detail = session.detail
    if detail is None:
        return {}
    named = [("", detail.usage), *((bearer.id, bearer.usage) for bearer in detail.bearers)]
    return {name: usage for name, usage in named if usage}


def closed_of(session: Session) -> set[str]:
    """Those whose quota is used up."""
    detail = session.detail
    if detail is None:
        return set()
    closed = {bearer.id for bearer in detail.bearers if bearer.used_up}
    return closed | {""} if detail.used_up else closed


def closing(session: Session, closed: set[str]) -> Session:
    """The session with just these closed."""
    detail = session.detail
    if detail is None:
        return session
    bearers = tuple(replace(each, used_up=each.id in closed) for each in detail.bearers)
    return replace(session, detail=replace(detail, used_up="" in closed, bearers=bearers))


def used_of(ledger: Ledger, name: str) -> Volume:
    """What the session or a bearer of it has used."""
    return ledger.rules.get(name, NO_VOLUME) if name else ledger.total


def fastest(session: Session, name: str) -> float | None:
    """The most octets a second that the switch lets the session or a bearer have; None: unknown."""
    detail = session.detail
    rates = [] if detail is None else [bearer.mbr for bearer in detail.bearers if bearer.id == name]
    if detail is not None and not name:
        rates = [detail.ambr]
    for each in rates:
        return _both(each)
    return None


def _both(rates: Rates) -> float | None:
    if rates.uplink is None or rates.downlink is None:
        return None
    return float(rates.uplink + rates.downlink) * OCTETS_A_KBIT


def begun(used: Volume, now: float) -> Gauge:
    """Of limits that are given now."""
    packets, octets = used.both.packets, used.both.octets
    return Gauge(octets, octets, packets=packets, active_at=now)


def given(
    gauge: Gauge | None, before: UsageLimits, after: UsageLimits, used: Volume, now: float
) -> Gauge:
    """Where limits that may be others count from.

    A quota counts from when it was first given: another number makes it larger or smaller, and does
    not begin anew, so that a request that is sent twice gives nothing twice. A threshold and the
    time of inactivity begin anew with each other number.
    """
    new = begun(used, now)
    if gauge is None:
        return new
    if before.quota is None:
        gauge = gauge._replace(quota_from=new.quota_from)
    if before.threshold != after.threshold:
        gauge = gauge._replace(threshold_from=new.threshold_from, reached=0)
    if before.inactivity != after.inactivity:
        gauge = gauge._replace(packets=new.packets, active_at=now, inactive=False)
    return gauge


def given_all(
    gauges: Mapping[str, Gauge], before: Session | None, after: Session, ledger: Ledger, now: float
) -> tuple[dict[str, Gauge], set[str]]:
    """Where the limits of a session count from that is to be another one; and what is closed."""
    was = {} if before is None else limits_of(before)
    still = set() if before is None else closed_of(before)
    made, closed = {}, set()
    for name, limits in limits_of(after).items():
        old = was.get(name, NO_LIMITS)
        used = used_of(ledger, name)
        made[name] = gauge = given(gauges.get(name) if old else None, old, limits, used, now)
        if limits.quota is None:
            continue
        same = limits.quota == old.quota
        if name in still if same else used.both.octets - gauge.quota_from >= limits.quota:
            closed.add(name)
    return made, closed


def judge(limits: UsageLimits, gauge: Gauge, used: Volume, now: float, used_up: bool) -> Judged:
    """What is to be told, and whether the quota is used up, now that so much has been used."""
    octets, told, left = used.both.octets, list[LimitEvent](), list[int]()
    if limits.threshold is not None:
        since = octets - gauge.threshold_from
        reached = max(since // limits.threshold, gauge.reached)
        if reached > gauge.reached:
            facts = {
                "threshold_bytes": limits.threshold,
                "reached": reached,
                "times": reached - gauge.reached,
            }
            told.append(LimitEvent("usage_threshold", facts | _totals(used)))
            gauge = gauge._replace(reached=reached)
        left.append((reached + 1) * limits.threshold - since)
    if limits.quota is not None and not used_up:
        spent = octets - gauge.quota_from
        if spent >= limits.quota:
            used_up = True
            facts = {"quota_bytes": limits.quota, "used_bytes": spent}
            told.append(LimitEvent("quota_exhausted", facts | _totals(used)))
        else:
            left.append(limits.quota - spent)
    timer = None
    if limits.inactivity is not None:
        if used.both.packets != gauge.packets:
            gauge = gauge._replace(active_at=now, inactive=False)
        # By then all is counted that went on until the time was over.
        until = gauge.active_at + limits.inactivity + LAG_S
        timer = max(limits.inactivity / SLICES, LAG_S)
        if not gauge.inactive and now >= until:
            facts = {"inactivity_seconds": limits.inactivity}
            told.append(LimitEvent("inactive", facts | _totals(used)))
            gauge = gauge._replace(inactive=True)
        elif not gauge.inactive:
            timer = min(timer, until - now)
    gauge = gauge._replace(packets=used.both.packets)
    return Judged(gauge, tuple(told), used_up, None if used_up else min(left, default=None), timer)


def _totals(used: Volume) -> dict[str, int]:
    return {"uplink_bytes": used.uplink.octets, "downlink_bytes": used.downlink.octets}


def look_after(
    judged: Judged, risen: int | None, seconds: float, most: float | None
) -> Next | None:
    """When to look again at what has used `risen` octets in the last `seconds`, and can use `most`
    a second; None of them: it was not looked at before. None: not until it is changed."""
    timer = judged.timer
    if judged.left is None:
        return None if timer is None else Next(timer)
    if risen != 0:
        timer = AGAIN_S if timer is None else min(timer, AGAIN_S)
    look = next_look(judged.left, risen or 0, seconds, most, timer)
    near = risen and judged.left * seconds <= risen * NEAR_S
    return look._replace(seconds=min(look.seconds, SOON_S)) if near else look


def soonest(looks: list[Next]) -> Next | None:
    """When to look at a session of whose parts each wants to be looked at then."""
    if not looks:
        return None
    bounds = [each.octets for each in looks if each.octets is not None]
    timers = [each.seconds if each.octets is None else each.at_latest for each in looks]
    latest = min((each for each in timers if each is not None), default=None)
    if not bounds:
        return Next(min(each.seconds for each in looks))
    seconds = min(each.seconds for each in looks if each.octets is not None)
    return Next(seconds, min(bounds), latest)
