"""What is kept of a session while packets wait for its UE."""

from __future__ import annotations

from dataclasses import dataclass, field

from ofgtp.core.buffer.queue import Bounds, Queue
from ofgtp.core.buffer.rules import holds
from ofgtp.core.flows.flow import Action
from ofgtp.core.model import Session
from ofgtp.core.sessions import rule as rules
from ofgtp.core.sessions.rule import Rule
from ofgtp.core.sessions.rules import rules_of


@dataclass(slots=True)
class Entry:
    """A session some of whose packets were shown, with the rules that the switch has of it."""

    session: Session | None
    """None: it is no more."""
    queue: Queue
    actions: dict[int, tuple[Action, ...]] = field(default_factory=dict)
    """By TEID of the tunnel: how packets get there."""
    bounds: dict[str, Bounds | None] = field(default_factory=dict)
    """By rule."""
    sending: bool = False
    """Whether what waits is being sent, and what comes has to wait behind it."""
    changing: float | None = None
    """Since when the store has not kept the change yet whose rules these are."""
    closed: float | None = None
    """When its way was closed in the switch."""
    came_at: float | None = None
    """When the last packet came."""
    fast: bool = False
    """Whether it came fast behind the one before."""
    told: set[str] = field(default_factory=set)
    """The rules of whose packets was told since they hold them."""
    _rules: tuple[Rule, ...] | None = None

    def take_over(self, session: Session | None) -> None:
        """The switch has the rules of this one now; None: it is no more."""
        self.session, self._rules = session, None
        self.actions.clear()
        self.bounds.clear()
        if self.told:
            self.told &= {rule.id for rule in self.rules if rule.forward == rules.Held()}

    def is_of(self, session: Session | None) -> bool:
        """Whether it is this session's, as it was once."""
        mine, other = self.session, session
        return mine is not None and other is not None and mine.number == other.number

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those for what comes from the core side."""
        if self._rules is None:
            made = () if self.session is None else rules_of(self.session)
            self._rules = tuple(rule for rule in made if not rule.uplink)
        return self._rules

    @property
    def holds(self) -> bool:
        """Whether any of its packets are held."""
        return self.session is not None and holds(self.session)
