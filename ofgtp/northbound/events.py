"""What happens, as it happens: the last events, numbered, and waiting for the next."""

from __future__ import annotations

import logging
import secrets
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from eventlet.event import Event as Signal
from eventlet.timeout import Timeout

log = logging.getLogger(__name__)

PER_SESSION = frozenset({"session_created", "session_changed", "session_deleted"})
"""Events that the request which caused them is logged for already."""

KEPT = 10_000
"""Events kept for those who come late."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `number` counts from 1 within one run of the controller."""

    number: int
    at: datetime
    kind: str
    facts: dict[str, str | int]


class EventLog:
    """A ring of events. Publishing never waits."""

    def __init__(self) -> None:
        self.run = secrets.token_hex(4)
        """Tells the events of this run of the controller from those of any other."""
        self.last = 0
        """The number of the last event."""
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._signal = Signal()

    def publish(self, kind: str, **facts: str | int) -> None:
        """Add an event and wake those who wait."""
        level = logging.DEBUG if kind in PER_SESSION else logging.INFO
        self.last += 1
        self._events.append(Event(self.last, datetime.now(UTC), kind, facts))
        if log.isEnabledFor(level):
            told = " ".join(f"{key}={value}" for key, value in facts.items())
            log.log(level, "event %s: %s", kind, told)
        signal, self._signal = self._signal, Signal()
        signal.send()

    def id(self, number: int) -> str:
        """The id of the event with that number, of which no other run makes the same."""
        return f"{self.run}-{number}"

    def position(self, event_id: str) -> int:
        """The number of the event with that id; 0, before all, if it is not of this run."""
        run, _, number = event_id.partition("-")
        if run != self.run or not (number.isascii() and number.isdecimal()) or len(number) > 18:
            return 0
        found = int(number)
        return found if found <= self.last else 0

    def since(self, number: int) -> list[Event]:
        """The kept events after that number, oldest first."""
        missing = max(0, self.last - number)
        return list(islice(reversed(self._events), missing))[::-1]

    def wait(self, number: int, seconds: float) -> list[Event]:
        """The events after that number; waits for one, `seconds` at most."""
        if self.last <= number:
            with Timeout(seconds, False):
                self._signal.wait()
        return self.since(number)
