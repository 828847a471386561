"""What was sent on of packets that a session's rules have held, and what the switch tells of it.

The switch counts a packet that is held on the flow that holds it, but up to half a second later: if
that flow is another one by then, on the one that takes its place. So of what is sent on, that much
the switch counts by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ofgtp.core.rules.counts import NONE, Counts


@dataclass(slots=True)
class _OfRule:
    sent: Counts = NONE
    """In all."""
    came: Counts = NONE
    """Since the rule holds packets."""
    told: Counts = NONE
    """Where the switch's count of the rule stood then."""


@dataclass(slots=True)
class Tally:
    """One session's, by its number."""

    number: int
    until: float | None = None
    """What has come later than that is counted by the switch."""
    _rules: dict[str, _OfRule] = field(default_factory=dict)

    @property
    def sent(self) -> dict[str, Counts]:
        """What was sent on, by rule, of which the switch's flows that hold were told."""
        return {rule: each.sent for rule, each in self._rules.items() if each.sent.packets}

    def begins(self, rule: str, told: Counts) -> None:
        """A rule is about to hold packets; the switch has counted so much for it."""
        each = self._rules.setdefault(rule, _OfRule())
        each.came, each.told = NONE, told

    def anew(self) -> None:
        """The switch may have begun to count anew, and what had come is in no count of it."""
        self.until = None
        for each in self._rules.values():
            each.came = each.told = NONE

    def came(self, rule: str, octets: int) -> None:
        """A packet has, which the rule holds."""
        each = self._rules.setdefault(rule, _OfRule())
        each.came += Counts(1, octets)

    def untold(self, rule: str, told: Counts) -> Counts:
        """What has come, and is not in what the switch has counted for a rule that is about to
        hold packets no more."""
        each = self._rules.get(rule, _OfRule())
        rest = each.came - (told - each.told)
        return Counts(max(rest.packets, 0), max(rest.octets, 0))

    def goes(self, rule: str, octets: int, came_at: float) -> None:
        """A packet that was held is sent on by a rule."""
        if self.until is None or came_at <= self.until:
            each = self._rules.setdefault(rule, _OfRule())
            each.sent += Counts(1, octets)
