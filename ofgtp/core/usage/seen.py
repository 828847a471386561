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


def settled(rules: Sequence[Rule], marks: Seen, seen: Seen) -> Seen:
    """The marks that are right once `passed` is counted. What meters have dropped is told at once,
    and what came half a second later: what was dropped of packets that are not told yet is for the
    next time."""
    came, sharing = _came(rules, marks, seen)
    dropped = dict(seen.dropped)
    for place, counts in seen.dropped.items():
        rest = _since(counts, marks.dropped.get(place, NONE))
        for key in sharing.get(place, []):
            rest -= came[key]
        dropped[place] = counts - Counts(max(rest.packets, 0), max(rest.octets, 0))
    return Seen(seen.rules, dropped)


def passed(rules: Sequence[Rule], marks: Seen, seen: Seen) -> dict[RuleKey, Counts]:
    """What each rule has forwarded since the marks. What a meter has dropped is taken off the rules
    that share it, in proportion to what came to them: the switch counts it on all of their flows.
    """
    came, sharing = _came(rules, marks, seen)
    went_on = dict(came)
    for place, counts in seen.dropped.items():
        rest = _since(counts, marks.dropped.get(place, NONE))
        keys = sharing.get(place, [])
        of_all = Counts(
            sum(came[each].packets for each in keys), sum(came[each].octets for each in keys)
        )
        for each in keys:
            share = Counts(
                _part(rest.packets, came[each].packets, of_all.packets),
                _part(rest.octets, came[each].octets, of_all.octets),
            )
            rest, of_all = rest - share, of_all - came[each]
            left = went_on[each] - share
            went_on[each] = Counts(max(left.packets, 0), max(left.octets, 0))
    for key, counts in seen.rules.items():
        if key[0] == "held":
            left = counts - marks.rules.get(key, NONE)
            went_on[key] = Counts(max(left.packets, 0), max(left.octets, 0))
    return went_on


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
    return Counts(max(gone.packets, 0), max(gone.octets, 0))


def _part(what: int, mine: int, of_all: int) -> int:
    return 0 if not of_all else what * mine // of_all
