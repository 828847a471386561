"""What the switch has counted for a session's rules, and what of it went on.

The switch counts by flows, which come and go with the rules, and begins at 0 with each. So where
they stand is marked, and what passes is what they have risen by since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ofgtp.core.model import Direction
from ofgtp.core.rules.counts import NONE, Counts, RuleKey
from ofgtp.core.sessions.rule import Rule, ToCore, Tunnel


class Seen(NamedTuple):
    """Where the switch's counts stand."""

    rules: Mapping[RuleKey, Counts] = {}
    """What came to each rule; and what was held for it and sent on, whether it forwards now or not.
    """
    dropped: Mapping[int, Counts] = {}
    """What meters have dropped of it, by their places in the session's list."""


NOTHING = Seen()


def direction_of(rule: Rule) -> Direction:
    """Uplink is what comes from the access side."""
    return "uplink" if rule.uplink else "downlink"


def key_of(rule: Rule) -> RuleKey:
    """By which it is counted."""
    return direction_of(rule), rule.id


def passed(rules: Sequence[Rule], marks: Seen, seen: Seen) -> tuple[dict[RuleKey, Counts], Seen]:
    """What each rule has forwarded since the marks, and the marks for the next time.

    What a meter has dropped is taken off the rules that share it, in proportion to what came to
    them: the switch counts it on all of their flows. It is told at once, and what came up to half a
    second later: what was dropped of packets that are not told yet is for the next time.
    """
    came, sharing = _came(rules, marks, seen)
    went_on, dropped = dict(came), dict(seen.dropped)
    for place, counts in seen.dropped.items():
        rest = _since(counts, marks.dropped.get(place, NONE))
        keys = sharing.get(place, [])
        of_all = Counts(
            sum(came[each].packets for each in keys), sum(came[each].octets for each in keys)
        )
        dropped[place] = counts - _positive(rest - of_all)
        for each in keys:
            share = Counts(
                _part(rest.packets, came[each].packets, of_all.packets),
                _part(rest.octets, came[each].octets, of_all.octets),
            )
            rest, of_all = rest - share, of_all - came[each]
            went_on[each] = _positive(went_on[each] - share)
    for key, counts in seen.rules.items():
        if key[0] == "held":
            went_on[key] = _positive(counts - marks.rules.get(key, NONE))
    return went_on, Seen(seen.rules, dropped)


def of_held(seen: Seen) -> Seen:
    """The part that the switch does not count."""
    return Seen({key: counts for key, counts in seen.rules.items() if key[0] == "held"})


def without_held(seen: Seen) -> Seen:
    """The part that it does."""
    rules = {key: counts for key, counts in seen.rules.items() if key[0] != "held"}
    return seen._replace(rules=rules)


def _came(
    rules: Sequence[Rule], marks: Seen, seen: Seen
) -> tuple[dict[RuleKey, Counts], dict[int, list[RuleKey]]]:
    """What came since the marks to rules that forward, and which of these share each meter."""
    came: dict[RuleKey, Counts] = {}
    sharing: dict[int, list[RuleKey]] = {}
    for rule in rules:
        if isinstance(rule.forward, (Tunnel, ToCore)):
            key = key_of(rule)
            if key not in came:
                came[key] = _since(seen.rules.get(key, NONE), marks.rules.get(key, NONE))
            for place in rule.meters:
                of_meter = sharing.setdefault(place, [])
                if key not in of_meter:
                    of_meter.append(key)
    return came, sharing


def _since(now: Counts, then: Counts) -> Counts:
    """From one look to the next; from 0 where the switch has begun anew."""
    gone = now - then
    if gone.packets < 0 or gone.octets < 0:
        gone = now
    return _positive(gone)


def _positive(counts: Counts) -> Counts:
    return Counts(max(counts.packets, 0), max(counts.octets, 0))


def _part(what: int, mine: int, of_all: int) -> int:
    return 0 if not of_all else what * mine // of_all
