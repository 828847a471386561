"""What a session and its bearers have counted, from the flows that the switch reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ofgtp.core.flows.pipeline import UPLINK
from ofgtp.core.model import Session
from ofgtp.core.rules.ruleset import Owned
from ofgtp.northbound.service import Counters
from ofgtp.southbound.openflow import FlowStats

NOTHING = Counters(0, 0)


class Counted(NamedTuple):
    """Packets and octets, uplink and downlink, of all and of each bearer."""

    uplink: Counters
    downlink: Counters
    bearers: Mapping[str, tuple[Counters, Counters]]


def counted(session: Session, flows: Sequence[FlowStats], wanted: Sequence[Owned]) -> Counted:
    """Add a session's flows up; `wanted` says whose each is."""
    if session.detail is None:
        up = [each for each in flows if each.table == UPLINK.number]
        return Counted(_sum(up), _sum(each for each in flows if each not in up), {})
    found = {each.key: each for each in flows}

    def of(direction: str, rule: str | None) -> Counters:
        return _sum(
            found[each.flow.key]
            for each in wanted
            if each.direction == direction
            and (each.first if rule is None else not each.first and each.rule == rule)
            and each.flow.key in found
        )

    bearers = {
        bearer.id: (of("uplink", bearer.id), of("downlink", bearer.id))
        for bearer in session.detail.bearers
    }
    return Counted(of("uplink", None), of("downlink", None), bearers)


def _sum(flows: Iterable[FlowStats]) -> Counters:
    packets = octets = 0
    for each in flows:
        packets, octets = packets + each.packets, octets + each.bytes
    return Counters(packets, octets)
