"""The same as `Usage.counted` by a shorter way, for the looks at which nothing is unusual: no flow
was made anew since the last one, no count has fallen, and no meter has dropped a packet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic

from ofgtp.core.model import Direction
from ofgtp.core.pfcp.usage import Usage
from ofgtp.core.pfcp.wire.grouped import CreatePdr, CreateUrr
from ofgtp.core.rules.counts import NONE, Counts, FlowCounts, K, RuleKey, framed
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.rules.terms import ETHERNET_HEADER
from ofgtp.core.sessions.rule import Rule, ToCore, Tunnel
from ofgtp.core.usage.seen import Seen, key_of


class Sums(Generic[K]):
    """Which flows of a session are summed up for which of its rules, and those for which URRs."""

    def __init__(
        self,
        flows: Sequence[tuple[K, Owned]],
        rules: Iterable[Rule],
        pdrs: Mapping[int, CreatePdr],
    ) -> None:
        places: dict[tuple[Direction, str], int] = {}
        rests: dict[tuple[int | None, Direction], tuple[Direction, str]] = {
            (owned.group, owned.direction): (owned.direction, owned.rest)
            for _, owned in flows
            if owned.group is not None and owned.first and owned.rest is not None
        }
        self._flows: list[tuple[K, int, int | None, int | None]] = []
        """Of each flow octets of a frame that are no IP packet's, and the places of the rules to
        which it is added, and from which it is taken."""
        for key, owned in flows:
            rest = rests.get((owned.group, owned.direction))
            adds = (owned.direction, owned.rest if owned.first else owned.rule)
            adds_at = takes_at = None
            if owned.group is not None and adds[1] is not None:
                adds_at = places.setdefault((adds[0], adds[1]), len(places))
                if not owned.first and rest is not None:
                    takes_at = places.setdefault((rest[0], rest[1]), len(places))
            more = ETHERNET_HEADER if framed(owned.flow) else 0
            self._flows.append((key, more, adds_at, takes_at))
        passing = {key_of(each) for each in rules if isinstance(each.forward, (Tunnel, ToCore))}
        self._rules: list[tuple[RuleKey, Direction, tuple[int, ...]]] = []
        """By their places, and their URRs, if their packets pass."""
        for name in places:
            pdr = pdrs.get(int(name[1])) if name in passing else None
            self._rules.append((name, name[0], () if pdr is None else pdr.urr_ids))

    def counted(
        self,
        usage: Usage,
        urrs: Mapping[int, CreateUrr],
        told: Mapping[K, FlowCounts],
        since: int,
        now: int,
        at: int,
    ) -> Usage | None:
        """What has been measured up to now, if the switch was asked so many microseconds since the
        marks were set, and had answered `at`; None: something is unusual."""
        packets, octets = [0] * len(self._rules), [0] * len(self._rules)
        for key, more, adds, takes in self._flows:
            if (found := told.get(key)) is None:
                continue
            some, frames, age = found
            if age < since:
                return None
            if adds is None or not some:
                continue
            size = frames - more * some
            packets[adds] += some
            octets[adds] += size
            if takes is not None:
                packets[takes] -= some
                octets[takes] -= size
        marks, changed = usage.marks.rules, dict[RuleKey, Counts]()
        uplink, downlink = dict[int, Counts](), dict[int, Counts]()
        for place, (name, direction, of_urrs) in enumerate(self._rules):
            mark, seen = marks.get(name, NONE), Counts(packets[place], octets[place])
            if seen == mark:
                continue
            risen = seen - mark
            if risen.packets < 0 or risen.octets < 0:
                return None
            changed[name] = seen
            sums = uplink if direction == "uplink" else downlink
            for urr in of_urrs if risen.packets else ():
                sums[urr] = sums[urr] + risen if urr in sums else risen
        seen_now = Seen({**marks, **changed}, usage.marks.dropped) if changed else usage.marks
        return usage.risen(urrs, uplink, downlink, seen_now, now, at)
