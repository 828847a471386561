"""A packet's way through the switch, as it is told."""

from __future__ import annotations

from dataclasses import dataclass

from ofgtp.core.flows.pipeline import Table
from ofgtp.core.trace.choice import Taken
from ofgtp.core.trace.known import Verdict
from ofgtp.core.trace.oftrace import Hop
from ofgtp.core.trace.probe import Packet, Question
from ofgtp.core.trace.verdict import TABLES


@dataclass(frozen=True, slots=True)
class Step:
    """A table that the packet passes, or what the switch does between them."""

    says: str
    hop: Hop | None = None
    owner: str = ""
    """Whose flow it is: ofgtp, session, another session, drop, other; empty if there is none."""

    @property
    def table(self) -> Table | None:
        """The table, if it is one of the pipeline."""
        return TABLES.get(self.hop.table) if self.hop else None


@dataclass(frozen=True, slots=True)
class Part:
    """The packet's steps from one way into the tables on."""

    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the switch was asked, and its own words."""

    question: Question
    answer: str


@dataclass(frozen=True, slots=True)
class Story:
    """A packet's way, and what became of it."""

    packet: Packet
    verdict: Verdict
    parts: tuple[Part, ...]
    asked: tuple[Asked, ...]
    taken: Taken | None = None
    """The rule that took it, of a session with bearers, breakout and the like."""
    relayed: bool = False
    """Whether it goes from tunnel to tunnel."""

    @property
    def foreign(self) -> tuple[Hop, ...]:
        """The flows on its way that are not ofgtp's."""
        steps = (step for part in self.parts for step in part.steps)
        return tuple(step.hop for step in steps if step.hop is not None and step.owner == "other")
