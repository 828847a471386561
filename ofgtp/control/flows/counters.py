"""A gateway's traffic and drops as totals that only go up, read from the switch at little cost.

Only flows whose number does not grow with the sessions are read one by one:

- uplink: the flow that sends to the core port (`route`), less what did not fit it or was over a
  session's rate, which this flow counts too; those that lead from UE to UE, or on in a tunnel;
- downlink: the meter that all packets pass which leave encapsulated (`sent`);
- drops: the flows of each reason, by their cookies. What the switch counts on flows that a packet
  might have taken, if it were of another size, is counted by meters: see TOO_BIG_METER.

A flow that is made anew begins at 0 again. What it had counted before, as last seen, is kept here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from eventlet.semaphore import Semaphore

from ofgtp.control.flows.rates import SLICE, RateCounts
from ofgtp.core.flows.balance import Gap
from ofgtp.core.flows.drops import (
    BUFFER_TIMEOUT,
    LOST_DOWNLINK,
    LOST_UPLINK,
    NOT_TAKEN,
    OVERRUNS,
    Port,
)
from ofgtp.core.flows.flow import CookieKind, Meter, cookie_kind, cookie_number, make_cookie
from ofgtp.core.flows.pipeline import (
    ACCESS,
    ARP_METER,
    CHOOSE,
    CONTAIN,
    CORE,
    DOWNLINK,
    FIT,
    FRAMED,
    HELD,
    HELD_METERS,
    INGRESS,
    LEASE,
    LOCAL,
    MEASURE,
    METERS,
    NEIGHBOUR,
    NEIGHBOUR_METER,
    NEXT_HOP_METER,
    NO_RULE_METER,
    ONWARD,
    OTHER_ARP_METER,
    OTHER_RELAYED,
    OTHER_RULES,
    OUTER_ECN,
    PING_METER,
    PIPELINE,
    RELAYED,
    REPLAYED,
    REPLAYED_METER,
    RETYPE,
    ROUTE,
    ROUTER_METERS,
    RULES,
    SENT6_METER,
    SENT_METER,
    SHOWN,
    SHOWN_METER,
    SIGNALLING_METERS,
    TOO_BIG,
    TOO_BIG_METER,
    TOO_BIG_RELAYED_METER,
    TOO_BIG_UPLINK_METER,
    UNKNOWN_UE_METER,
    UPLINK_HELD_METER,
    DropReason,
    Report,
)
from ofgtp.core.model import Direction
from ofgtp.core.rules.terms import (
    DOWNLINK_REFUSALS,
    ETHERNET_HEADER,
    TUNNEL_HEADERS,
    TUNNEL_HEADERS6,
    UPLINK_REFUSALS,
)
from ofgtp.southbound.channel import Channel
from ofgtp.southbound.openflow import FlowStats, MeterCounts
from ofgtp.southbound.portcounts import PortCounts

_SENT = {SENT_METER: TUNNEL_HEADERS, SENT6_METER: TUNNEL_HEADERS6}
"""What counts the encapsulated packets that leave, and their outer headers, in octets."""

DEVICE_SETTLE_S = 3.0
"""Drivers bring an interface's counters up to date every second or two. The next hop answers ARP
more seldom than that, so that there are times when nothing comes."""

Own = Literal["arp", "ping", "signalling", "router"]

_LABELS = {reason.value: reason.label for reason in DropReason}
_DOWNLINK_METERED = {
    DropReason.UNKNOWN_UE: UNKNOWN_UE_METER,
    DropReason.NO_RULE: NO_RULE_METER,
    **DOWNLINK_REFUSALS,
}
"""What meters count: flows of these count what is too big as well, and those of sessions go."""
_COUNTED = [
    reason for reason in DropReason if reason not in (*_DOWNLINK_METERED, DropReason.TOO_BIG)
]
_REPORTS = Report.NEXT_HOP, Report.ACCESS_ARP, Report.SIGNALLING, Report.ROUTER_SOLICITATION
_COOKIES = [
    make_cookie(CookieKind.BASE),
    *(make_cookie(CookieKind.DROP, reason) for reason in _COUNTED),
    *(make_cookie(CookieKind.REPORT, report) for report in _REPORTS),
]
_ASKED = make_cookie(CookieKind.REPORT, Report.ROUTER_SOLICITATION)
_OUTSIDE = (
    INGRESS,
    ACCESS,
    OUTER_ECN,
    LEASE,
    CORE,
    NEIGHBOUR,
    FIT,
    REPLAYED,
    DOWNLINK,
    CHOOSE,
    MEASURE,
    CONTAIN,
    TOO_BIG,
    LOCAL,
    HELD,
    SHOWN,
)
_UNWRAPPED = frozenset(table.number for table in PIPELINE if table not in _OUTSIDE)
"""Tables that nothing that is counted there reaches but what has come out of a tunnel."""
_REFUSED_UPLINK = "refused uplink"
_SHOWN, _OVER_SHOWN, _REPLAYED = "held", "over held", "replayed"
"""What goes to the controller to be held, what of it is over a limit, and what comes back."""

_Flow = tuple[int, int, int, bytes]


_OWN_METERS = [meter.number for meter in METERS.values()]


class Counters:
    """Totals since this process began to look, or since the switch's flows were made."""

    def __init__(self) -> None:
        self.packets: Counter[Direction] = Counter({"uplink": 0, "downlink": 0})
        self.bytes: Counter[Direction] = Counter({"uplink": 0, "downlink": 0})
        self.own: Counter[Own] = Counter({"arp": 0, "ping": 0, "signalling": 0, "router": 0})
        """Frames for the gateway itself that were not over a limit."""
        self.drops: Counter[str] = Counter({reason.label: 0 for reason in DropReason})
        self.drops.update(dict.fromkeys((*metered_drops({}), *OVERRUNS.values()), 0))
        self._lost = {label: Gap() for label in (LOST_UPLINK, LOST_DOWNLINK)}
        self._lost |= {label: Gap(DEVICE_SETTLE_S) for label in NOT_TAKEN.values()}
        self.drops.update(dict.fromkeys((*self._lost, BUFFER_TIMEOUT), 0))
        self.received: Counter[Port] = Counter(dict.fromkeys(OVERRUNS, 0))
        """Frames that came in by each port."""
        self.standing: dict[str, int] = {}
        """Drops as the switch's own counters stand: from 0 again where flows were made anew."""
        self._passed: Counter[str] = Counter()
        """Packets by what they passed: see `_places`."""
        self._seen: dict[_Flow, tuple[int, int]] = {}
        self._seen_sums: dict[str, int] = {}
        self._too_big_uplink: MeterCounts | None = None
        """As last seen, that of relays with it; None before the first look."""
        self._owed = 0, 0
        """Uplink packets and octets that flows count, or will, though they did not pass."""
        self._reading = Semaphore(1)
        self.read_at: float | None = None
        """When they were last brought up to date, by a steady clock in seconds; None: never."""
        self.rates = RateCounts()
        self.shown = 0
        """Packets for idle UEs that have reached the controller."""
        self._unseen = Gap()
        """Those that have not: the switch sends no more than its connection takes."""
        self.held_drops: Counter[str] = Counter()
        """What the controller has held, or could not, and dropped: among `drops`."""
        self._over_rates = 0, 0
        """Uplink packets and octets of `rates` that `_owed` has had."""

    def read(self, channel: Channel, ports: Mapping[Port, PortCounts], now: float) -> None:
        """Bring the totals up to date.

        `ports` is what the kernel says of them; `now` is of a steady clock, in seconds.

        Raises:
            GatewayNotReady: the switch is away or does not answer; the totals stay.
        """
        # Two readers at once could see older numbers after newer ones, as if flows were new.
        with self._reading:
            if len(self.rates) <= SLICE:
                self.rates.read(channel)
            flows = [stats for part in channel.flows_of(_COOKIES) for stats in part]
            meters = channel.meter_counts_of(_OWN_METERS)
            sums = metered_drops(meters) | {"rate_exceeded": self.rates.dropped.total()}
            sums |= {OVERRUNS[port]: found.overrun for port, found in ports.items()}
            uplink = self.packets["uplink"], self.bytes["uplink"]
            anew = self._count_flows(flows)
            too_big = _sum_of(meters, TOO_BIG_UPLINK_METER, TOO_BIG_RELAYED_METER)
            self._take_off(too_big, uplink)
            anew |= self._count_sums(meters, sums, ports)
            self._look_for_lost(now, anew, ports.keys())
            self._count_own()
            standing = Counter({reason.label: 0 for reason in DropReason})
            for stats in flows:
                if cookie_kind(stats.cookie) is CookieKind.DROP:
                    standing[_LABELS[cookie_number(stats.cookie)]] += stats.packets
            lost = {label: gap.lost for label, gap in self._lost.items()}
            self.standing = {**dict.fromkeys(self.drops, 0), **standing, **sums, **lost}
            for label, packets in self.held_drops.items():
                self.standing[label] += packets
            self.read_at = now

    def dropped(self, label: str, packets: int) -> None:
        """The controller has dropped packets that the switch had shown it, to be held."""
        self.drops[label] += packets
        self.held_drops[label] += packets

    def _count_flows(self, flows: list[FlowStats]) -> bool:
        """Add what flows have counted since they were last seen; True if one has begun anew that
        lost packets are reckoned from. Those of the lease do all the time."""
        anew, seen = False, dict[_Flow, tuple[int, int]]()
        for stats in flows:
            key = (stats.table, stats.priority, stats.cookie, stats.raw_match)
            seen[key] = stats.packets, stats.bytes
            packets, octets = self._seen.get(key, (0, 0))
            places = list(_places(stats))
            if stats.packets < packets:
                anew, packets, octets = anew or bool(places), 0, 0
            # Octets may fall alone: the switch takes some packets for 4 GiB, which wraps around.
            self._count(stats, stats.packets - packets, max(stats.bytes - octets, 0))
            self._passed.update(dict.fromkeys(places, stats.packets - packets))
        self._seen = seen
        return anew

    def _count(self, stats: FlowStats, packets: int, octets: int) -> None:
        if cookie_kind(stats.cookie) is CookieKind.DROP:
            self.drops[_LABELS[cookie_number(stats.cookie)]] += packets
        elif _is_uplink(stats):
            self.packets["uplink"] += packets
            self.bytes["uplink"] += octets + _header(stats) * packets

    def _take_off(self, too_big: MeterCounts, before: tuple[int, int]) -> None:
        """Take what was too big for the core port or for another tunnel, or over a session's rate,
        off the uplink's totals, which were `before`: they never go down.

        A meter counts a packet at once, the flow does within half a second, and meters of rates
        are read now and then. What was counted before the first look cannot be told apart: the
        flow may have been made since.
        """
        last = self._too_big_uplink or MeterCounts(0, 0)
        if too_big.packets < last.packets:
            last = MeterCounts(0, 0)  # the meter was made since
        # Meters of rates count packets that have no Ethernet header yet.
        over_rates = self.rates.dropped["uplink"]
        over = over_rates, self.rates.octets["uplink"] + ETHERNET_HEADER * over_rates
        owed = (
            self._owed[0] + too_big.packets - last.packets + over[0] - self._over_rates[0],
            self._owed[1] + too_big.octets - last.octets + over[1] - self._over_rates[1],
        )
        taken = (
            min(owed[0], self.packets["uplink"] - before[0]),
            min(owed[1], self.bytes["uplink"] - before[1]),
        )
        self.packets["uplink"] -= taken[0]
        self.bytes["uplink"] -= taken[1]
        first = self._too_big_uplink is None
        self._owed = (0, 0) if first else (owed[0] - taken[0], owed[1] - taken[1])
        self._too_big_uplink, self._over_rates = too_big, over

    def _count_sums(
        self,
        meters: Mapping[int, MeterCounts],
        sums: Mapping[str, int],
        ports: Mapping[Port, PortCounts],
    ) -> bool:
        """The same for what meters have counted, and the kernel."""
        counted = dict(sums)
        for meter in _SENT:
            sent = meters.get(meter.number, MeterCounts(0, 0))
            counted[f"sent {meter.number}"] = sent.packets
            counted[f"octets {meter.number}"] = sent.octets
        counted |= {port: found.received for port, found in ports.items()}
        in_tunnels = *UPLINK_REFUSALS.values(), UPLINK_HELD_METER
        counted[_REFUSED_UPLINK] = sum(_through(meters, each) for each in in_tunnels)
        counted[_SHOWN] = _sum_of(meters, *HELD_METERS).packets
        counted[_OVER_SHOWN] = _over_shown(meters)
        counted[_REPLAYED] = _through(meters, REPLAYED_METER)
        anew = any(count < self._seen_sums.get(label, 0) for label, count in counted.items())
        risen = {label: self._risen(label, count) for label, count in counted.items()}
        for port in ports.keys() - self._seen_sums.keys():
            # What came by it before this looked is what of it the switch has taken.
            risen[port] = self._passed[port] + risen[OVERRUNS[port]]
        self._seen_sums |= counted
        from_tunnels = risen.pop(_REFUSED_UPLINK)
        self._passed["out of tunnel"] += from_tunnels
        self._passed["refused"] += from_tunnels
        of_held = {label: risen.pop(label) for label in (_SHOWN, _OVER_SHOWN, _REPLAYED)}
        self._passed.update(of_held)
        for meter, headers in _SENT.items():
            packets = risen.pop(f"sent {meter.number}")
            self.packets["downlink"] += packets
            octets = risen.pop(f"octets {meter.number}")
            self.bytes["downlink"] += max(octets - headers * packets, 0)
        self.received.update({port: risen.pop(port) for port in ports})
        self.drops.update(risen)
        return anew

    def _risen(self, label: str, count: int) -> int:
        before = self._seen_sums.get(label, 0)
        return count - before if count >= before else count

    def _look_for_lost(self, now: float, anew: bool, ports: Iterable[Port]) -> None:
        passed, drops = self._passed, self.drops
        before = self._unseen.lost
        self._unseen.observe(now, passed[_SHOWN] - passed[_OVER_SHOWN], self.shown, anew=anew)
        self.dropped(DropReason.BUFFER_FULL.label, self._unseen.lost - before)
        # Of both ports' frames without a lease those of the access port are what the core's are not
        of_core = passed["core"] - passed["core table"]
        into_switch = passed["tunnelled"] - (passed["no lease"] - of_core)
        to_ues = sum(drops[reason.label] for reason in _DOWNLINK_METERED) - passed["refused"]
        # What was shown to the controller has left the switch, whatever became of it there.
        to_ues -= sum(self.held_drops[reason.label] for reason in _DOWNLINK_METERED)
        to_ues -= passed[_OVER_SHOWN]
        to_ues += passed[_SHOWN] - passed[_REPLAYED]
        to_ues += drops["too_big"] + self.rates.dropped["downlink"]
        for label, went_in, came_out in (
            (LOST_UPLINK, into_switch, passed["out of tunnel"]),
            (LOST_DOWNLINK, passed["to a UE"], to_ues + self.packets["downlink"]),
            *(
                (NOT_TAKEN[port], self.received[port], passed[port] + drops[OVERRUNS[port]])
                for port in ports
            ),
        ):
            gap = self._lost[label]
            # Meters of rates are read too seldom to reckon with.
            late = label == LOST_DOWNLINK and len(self.rates) > 0
            gap.observe(now, went_in, came_out, anew=anew or late)
            drops[label] = gap.lost

    def _count_own(self) -> None:
        for kind in self.own:
            heard = self._passed[kind] - self.drops[f"rate_limited_{kind}"]
            self.own[kind] = max(self.own[kind], heard)


def metered_drops(counts: Mapping[int, MeterCounts]) -> dict[str, int]:
    """Drops that meters count: what is over a limit, what is too big, and what has no tunnel."""

    def over(*meters: Meter) -> int:
        return sum(counts[meter.number].dropped for meter in meters if meter.number in counts)

    refused = {reason.label: _through(counts, meter) for reason, meter in _DOWNLINK_METERED.items()}
    for reason, meter in UPLINK_REFUSALS.items():
        refused[reason.label] += _through(counts, meter)
    refused[DropReason.BUFFER_FULL.label] += _over_shown(counts)
    return {
        "rate_limited_ping": over(PING_METER),
        "rate_limited_arp": over(ARP_METER, NEIGHBOUR_METER, OTHER_ARP_METER, NEXT_HOP_METER),
        "rate_limited_signalling": over(*SIGNALLING_METERS),
        "rate_limited_router": over(*ROUTER_METERS),
        "rate_exceeded": 0,
        "too_big": _sum_of(counts, TOO_BIG_METER, TOO_BIG_RELAYED_METER).packets,
        "too_big_uplink": _through(counts, TOO_BIG_UPLINK_METER),
        **refused,
    }


def _over_shown(counts: Mapping[int, MeterCounts]) -> int:
    return _sum_of(counts, *HELD_METERS, SHOWN_METER).dropped


def _through(counts: Mapping[int, MeterCounts], meter: Meter) -> int:
    return counts[meter.number].packets if meter.number in counts else 0


def _sum_of(counts: Mapping[int, MeterCounts], *meters: Meter) -> MeterCounts:
    there = [counts[meter.number] for meter in meters if meter.number in counts]
    packets, octets = (sum(each.packets for each in there), sum(each.octets for each in there))
    return MeterCounts(packets, sum(each.dropped for each in there), octets)


def _fields(stats: FlowStats) -> set[str]:
    return {condition.field for condition in stats.match or ()}


def _is_uplink(stats: FlowStats) -> bool:
    """Whether a base flow forwards users' packets from a tunnel, where each is counted once."""
    if cookie_kind(stats.cookie) is not CookieKind.BASE:
        return False
    fields = _fields(stats)
    # The other flow of table route asks for a register: it keeps from the port what does not fit.
    to_core = stats.table == ROUTE.number and "reg2" not in fields
    return to_core or _is_to_ue(stats, fields) or _is_relayed(stats, fields)


def _header(stats: FlowStats) -> int:
    """Octets of an uplink packet's header of Ethernet, which it has not when it begins the pass in
    which it is counted; a relay's that goes on as it came gets none."""
    return 0 if stats.table in (RELAYED.number, OTHER_RELAYED.number) else ETHERNET_HEADER


def _is_to_ue(stats: FlowStats, fields: set[str]) -> bool:
    """Whether a base flow leads from UE to UE."""
    return stats.table == FRAMED.number and "in_port" not in fields


def _is_relayed(stats: FlowStats, fields: set[str]) -> bool:
    """Whether a base flow leads from tunnel to tunnel."""
    if stats.table in (RULES.number, OTHER_RULES.number):
        return stats.goto == MEASURE.number
    as_it_came = stats.table in (RELAYED.number, OTHER_RELAYED.number) and "reg5" in fields
    return as_it_came or stats.table == ONWARD.number


def _places(stats: FlowStats) -> Iterator[str]:
    """What of the way from a port to its end a packet passes by this flow, if that is counted."""
    drop, fields = cookie_kind(stats.cookie) is CookieKind.DROP, _fields(stats)
    if stats.table == INGRESS.number and not drop:
        # All from the access port go to one table; those from the core port, and no others, here.
        port = {ACCESS.number: "access", LEASE.number: "core"}.get(stats.goto or 0)
        yield from () if port is None else (port,)
    elif stats.table == LEASE.number and drop:
        yield "no lease"
    elif stats.table == ACCESS.number and not drop:
        yield "tunnelled" if "udp_dst" in fields else _own(fields)
    elif stats.table == CORE.number:
        yield "core table"
        if not drop:
            ours = {"arp_op", "icmp_type", "icmpv6_type"} & fields
            yield _own(fields) if ours else "to a UE"
    elif stats.table == FRAMED.number and "in_port" in fields:
        yield "core table"
        if not drop:
            yield "to a UE"
    elif stats.table in _UNWRAPPED:  # or framed, what UEs send
        signalling, uplink = stats.table == RETYPE.number and "udp_dst" in fields, _is_uplink(stats)
        asked = stats.cookie == _ASKED
        if drop or signalling or uplink or asked:
            yield "out of tunnel"
        if asked:
            yield "router"
        if signalling:
            yield "signalling"
        if uplink and stats.table != ROUTE.number:
            yield "to a UE"  # or to another peer: it leaves in a tunnel


def _own(fields: set[str]) -> Own:
    ping6 = "icmpv6_type" in fields and "nd_target" not in fields
    return "ping" if "icmp_type" in fields or ping6 else "arp"
