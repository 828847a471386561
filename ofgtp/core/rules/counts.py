"""What the flows of a session have counted, for each of its rules.

A packet passes one of the flows by which its session is found, and then, if the rule that takes it
has filters, one of that rule's. What a rule without filters has had is what is left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from ofgtp.core.flows.flow import Flow
from ofgtp.core.flows.pipeline import CHOOSE, DOWNLINK
from ofgtp.core.model import Direction
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.rules.terms import ETHERNET_HEADER

K = TypeVar("K", bound=Hashable)

RuleKey = tuple[Direction | Literal["held"], str]
"""A rule by its direction and its id: a bearer has one of each direction. Apart from these is what
was held for a rule of the downlink before it went on."""

FlowCounts = tuple[int, int, int]
"""What the switch says of a flow: packets, octets, and microseconds since it was made."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets, and octets of them."""

    packets: int = 0
    octets: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.packets + other.packets, self.octets + other.octets)

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.packets - other.packets, self.octets - other.octets)


NONE = Counts()


_FRAMED = DOWNLINK.number, CHOOSE.number


def framed(flow: Flow) -> bool:
    """Whether a flow of a session counts frames. Out of a tunnel packets have no Ethernet header
    when they begin the pass in which they meet it, and no other octets count."""
    return flow.table in _FRAMED


def counts_of(seen: Counts, framed: bool) -> Counts:
    """Of what the switch counts the IP packets; `framed` is whether it counts frames."""
    more = ETHERNET_HEADER if framed else 0
    return Counts(seen.packets, max(seen.octets - more * seen.packets, 0))


def by_rule(flows: Iterable[tuple[K, Owned]], seen: Mapping[K, Counts]) -> dict[RuleKey, Counts]:
    """What came to each rule, refused or not; `seen` is as the switch counts, by the keys
    of the flows.

    A rule for the rest may have less than nothing, where its flow was made after those of others.
    """
    counted: dict[RuleKey, Counts] = defaultdict(Counts)
    rests: dict[tuple[int, Direction], str] = {}
    behind: dict[tuple[int, Direction], Counts] = defaultdict(Counts)
    for key, owned in flows:
        if owned.group is None:
            continue
        group = owned.group, owned.direction
        if owned.first and owned.rest is not None:
            rests[group] = owned.rest
        found = seen.get(key)
        if found is None:
            continue
        found = counts_of(found, framed(owned.flow))
        if not owned.first:
            behind[group] += found
            counted[owned.direction, owned.rule] += found
        elif owned.rest is not None:
            counted[owned.direction, owned.rest] += found
    for group, rest in rests.items():
        counted[group[1], rest] -= behind[group]
    return dict(counted)
