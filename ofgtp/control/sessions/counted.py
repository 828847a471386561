"""What a session and its bearers have counted, from the flows that the switch reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ofgtp.core.flows.pipeline import UPLINK
from ofgtp.core.model import Direction
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.sessions.detail import Detail
from ofgtp.northbound.service import Counters, FlowCounters
from ofgtp.southbound.openflow import FlowCounts, FlowStats

Flows = Sequence[FlowCounts | FlowStats]


class Counted(NamedTuple):
    """Packets and octets, uplink and downlink, of all and of each bearer."""

    uplink: FlowCounters
    downlink: FlowCounters
    bearers: Mapping[str, tuple[Counters, Counters]]


def counted_pair(flows: Flows) -> Counted:
    """Of a session that is but a tunnel pair."""
    up = [each for each in flows if each.table == UPLINK.number]
    down = [each for each in flows if each.table != UPLINK.number]
    return Counted(_sum(up), _sum(down), {})


def counted(detail: Detail, flows: Flows, wanted: Sequence[Owned]) -> Counted:
    """Of any other; `wanted` says whose each of its flows is."""
    found = {each.key: each for each in flows if isinstance(each, FlowStats)}

    def of(direction: Direction, rule: str | None) -> FlowCounters:
        return _sum(
            found[each.flow.key]
            for each in wanted
            if each.direction == direction
            and (each.first if rule is None else not each.first and each.rule == rule)
            and each.flow.key in found
        )

    def of_bearer(direction: Direction, bearer: str) -> Counters:
        sums = of(direction, bearer)
        return Counters(sums.packets, sums.bytes)

    bearers = {
        bearer.id: (of_bearer("uplink", bearer.id), of_bearer("downlink", bearer.id))
        for bearer in detail.bearers
    }
    return Counted(of("uplink", None), of("downlink", None), bearers)


def _sum(flows: Iterable[FlowCounts | FlowStats]) -> FlowCounters:
    """Of several flows, and since the one was made that was made last."""
    seen = list(flows)
    return FlowCounters(
        sum(each.packets for each in seen),
        sum(each.bytes for each in seen),
        min((each.seconds for each in seen), default=0),
    )
