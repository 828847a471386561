"""A gateway's traffic and drops as totals that only go up, read from the switch at little cost.

Only flows whose number does not grow with the sessions are read one by one:

- uplink: the flow that sends to the core port (`route`), less what did not fit it, which this flow
  counts too; and those that lead from UE to UE;
- downlink: the flow by which encapsulated packets leave for the access port (`local`);
- drops: the flows of each reason, by their cookies. Idle UEs have a flow each, and so have those
  whose tunnel is not known any more; the switch adds these up.

A flow that is made anew begins at 0 again. What it had counted before, as last seen, is kept here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from eventlet.semaphore import Semaphore

from ofgtp.core.flows.flow import CookieKind, Meter, cookie_kind, cookie_number, make_cookie
from ofgtp.core.flows.pipeline import (
    ARP_METER,
    GUARD,
    LOCAL,
    NEIGHBOUR_METER,
    OTHER_ARP_METER,
    PING_METER,
    ROUTE,
    SIGNALLING_METERS,
    TOO_BIG_METER,
    TOO_BIG_UPLINK_METER,
    DropReason,
)
from ofgtp.core.model import Direction
from ofgtp.southbound.channel import Channel
from ofgtp.southbound.openflow import FlowStats, MeterCounts

OUTER_BYTES = 14 + 20 + 8 + 8
"""Ethernet, IPv4, UDP and GTP-U header of an encapsulated packet."""

_LABELS = {reason.value: reason.label for reason in DropReason}
_OF_SESSIONS = (DropReason.IDLE_UE, DropReason.ERROR_INDICATED)
"""What sessions have flows for."""
_COUNTED = [reason for reason in DropReason if reason not in _OF_SESSIONS]
_COOKIES = [make_cookie(CookieKind.BASE), *(make_cookie(CookieKind.DROP, r) for r in _COUNTED)]

_Flow = tuple[int, int, int, bytes]


class Counters:
    """Totals since this process began to look, or since the switch's flows were made."""

    def __init__(self) -> None:
        self.packets: Counter[Direction] = Counter({"uplink": 0, "downlink": 0})
        self.bytes: Counter[Direction] = Counter({"uplink": 0, "downlink": 0})
        self.drops: Counter[str] = Counter({reason.label: 0 for reason in DropReason})
        self.drops.update(dict.fromkeys(metered_drops({}), 0))
        self.standing: dict[str, int] = {}
        """Drops as the switch's own counters stand: from 0 again where flows were made anew."""
        self._seen: dict[_Flow, tuple[int, int]] = {}
        self._seen_sums: dict[str, int] = {}
        self._too_big_uplink: MeterCounts | None = None
        """As last seen; None before the first look."""
        self._owed = 0, 0
        """Packets and octets of it that the flow to the core port has not counted yet."""
        self._reading = Semaphore(1)

    def read(self, channel: Channel) -> None:
        """Bring the totals up to date.

        Raises:
            GatewayNotReady: the switch is away or does not answer; the totals stay.
        """
        # Two readers at once could see older numbers after newer ones, as if flows were new.
        with self._reading:
            flows = [stats for part in channel.flows_of(_COOKIES) for stats in part]
            sums = {
                reason: channel.packets_of(make_cookie(CookieKind.DROP, reason))
                for reason in _OF_SESSIONS
            }
            meters = channel.meter_counts()
            metered = metered_drops(meters)
            uplink = self.packets["uplink"], self.bytes["uplink"]
            seen: dict[_Flow, tuple[int, int]] = {}
            for stats in flows:
                key = (stats.table, stats.priority, stats.cookie, stats.raw_match)
                seen[key] = stats.packets, stats.bytes
                self._count(stats, *self._seen.get(key, (0, 0)))
            self._seen = seen
            self._take_off(meters.get(TOO_BIG_UPLINK_METER.number, MeterCounts(0, 0)), uplink)
            standing = Counter({reason.label: 0 for reason in DropReason})
            for stats in flows:
                if cookie_kind(stats.cookie) is CookieKind.DROP:
                    standing[_LABELS[cookie_number(stats.cookie)]] += stats.packets
            self.standing = {**standing, **{r.label: n for r, n in sums.items()}, **metered}
            # A sum is less than before when a flow has gone: what others counted meanwhile is
            # not known then.
            for reason, count in sums.items():
                self._add_sum(reason.label, count, after_fall=0)
            for label, count in metered.items():
                self._add_sum(label, count, after_fall=count)

    def _count(self, stats: FlowStats, packets: int, octets: int) -> None:
        """Add what a flow has counted since it was seen with these numbers."""
        if stats.packets < packets or stats.bytes < octets:
            packets = octets = 0
        packets, octets = stats.packets - packets, stats.bytes - octets
        if cookie_kind(stats.cookie) is CookieKind.DROP:
            self.drops[_LABELS[cookie_number(stats.cookie)]] += packets
        elif (direction := _direction(stats)) is not None:
            self.packets[direction] += packets
            outer = OUTER_BYTES * packets if direction == "downlink" else 0
            self.bytes[direction] += max(octets - outer, 0)

    def _take_off(self, too_big: MeterCounts, before: tuple[int, int]) -> None:
        """Take what was too big for the core port off the uplink's totals; they were `before`.

        The meter has counted a packet at once, and the flow does within half a second. What was
        counted before the first look cannot be told apart: the flow may have been made since.
        """
        last = self._too_big_uplink or MeterCounts(0, 0)
        anew = too_big.packets < last.packets  # the meter was made since
        owed = (
            self._owed[0] + too_big.packets - (0 if anew else last.packets),
            self._owed[1] + too_big.octets - (0 if anew else last.octets),
        )
        taken = (
            min(owed[0], self.packets["uplink"] - before[0]),
            min(owed[1], self.bytes["uplink"] - before[1]),
        )
        self.packets["uplink"] -= taken[0]
        self.bytes["uplink"] -= taken[1]
        first = self._too_big_uplink is None
        self._owed = (0, 0) if first else (owed[0] - taken[0], owed[1] - taken[1])
        self._too_big_uplink = too_big

    def _add_sum(self, label: str, count: int, *, after_fall: int) -> None:
        before = self._seen_sums.get(label, 0)
        self.drops[label] += count - before if count >= before else after_fall
        self._seen_sums[label] = count


def metered_drops(counts: Mapping[int, MeterCounts]) -> dict[str, int]:
    """Drops that meters count: what is over a limit, and what is too big."""

    def over(*meters: Meter) -> int:
        return sum(counts[meter.number].dropped for meter in meters if meter.number in counts)

    def through(meter: Meter) -> int:
        return counts[meter.number].packets if meter.number in counts else 0

    return {
        "rate_limited_ping": over(PING_METER),
        "rate_limited_arp": over(ARP_METER, NEIGHBOUR_METER, OTHER_ARP_METER),
        "rate_limited_signalling": over(*SIGNALLING_METERS),
        "too_big": through(TOO_BIG_METER),
        "too_big_uplink": through(TOO_BIG_UPLINK_METER),
    }


def _direction(stats: FlowStats) -> Direction | None:
    """Which way a base flow forwards users' packets, where each is counted once; else None."""
    fields = {condition.field for condition in stats.match or ()}
    # Its other flow, which asks for a register, keeps what does not fit from the port.
    to_core = stats.table == ROUTE.number and "reg2" not in fields
    if to_core or (stats.table == GUARD.number and "nw_dst" in fields):
        return "uplink"
    if stats.table == LOCAL.number and "udp_dst" in fields:
        return "downlink"
    return None
