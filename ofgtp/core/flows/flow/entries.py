"""Flow entries and meters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ofgtp.core.flows.flow.actions import Action
from ofgtp.core.flows.flow.conditions import Match


class FlowKey(NamedTuple):
    """What makes a flow the same flow (OpenFlow 1.4, 5.2)."""

    table: int
    priority: int
    match: Match


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow entry. No actions and no `goto` means drop."""

    table: int
    priority: int
    match: Match
    cookie: int
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    meter: int | None = None
    hard_timeout: int = 0
    """Seconds after which the switch removes it, unless it is added anew; 0: never."""

    @property
    def key(self) -> FlowKey:
        """Its identity in the switch."""
        return FlowKey(self.table, self.priority, self.match)

    def __str__(self) -> str:
        steps = [f"meter:{self.meter}"] if self.meter is not None else []
        steps += [str(action) for action in self.actions]
        if self.goto is not None:
            steps.append(f"goto_table:{self.goto}")
        head = [f"cookie=0x{self.cookie:016x}", f"table={self.table}", f"priority={self.priority}"]
        if self.hard_timeout:
            head.append(f"hard_timeout={self.hard_timeout}")
        head += [str(each) for each in self.match]
        return f"{','.join(head)} actions={','.join(steps) or 'drop'}"


class Unit(StrEnum):
    """What a meter's rate counts in a second, and its burst at once."""

    PACKETS = "pktps"
    KBPS = "kbps"
    """Kilobits of frames: the IP packet and 14 octets of Ethernet."""


OCTETS_A_KBIT = 125


@dataclass(frozen=True, slots=True)
class Meter:
    """A limit, with a burst; what is over it is dropped."""

    number: int
    rate: int
    burst: int
    unit: Unit = Unit.PACKETS

    def __str__(self) -> str:
        return (
            f"meter={self.number} {self.unit} burst stats "
            f"bands=type=drop rate={self.rate} burst_size={self.burst}"
        )
