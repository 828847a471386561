"""What happens, as it happens: the last events, numbered, and waiting for the next."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from eventlet.event import Event as Signal
from eventlet.timeout import Timeout

log = logging.getLogger(__name__)

KEPT = 1000
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
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._last = 0
        self._signal = Signal()

    def publish(self, kind: str, **facts: str | int) -> None:
        """Add an event and wake those who wait."""
        self._last += 1
        self._events.append(Event(self._last, datetime.now(UTC), kind, facts))
        log.info("event %s: %s", kind, " ".join(f"{key}={value}" for key, value in facts.items()))
        signal, self._signal = self._signal, Signal()
        signal.send()

    def since(self, number: int) -> list[Event]:
        """The kept events after that number, oldest first."""
        missing = self._last - number
        if missing <= 0:
            return []
        start = max(0, len(self._events) - missing)
        return list(islice(self._events, start, None))

    def wait(self, number: int, seconds: float) -> list[Event]:
        """The events after that number; waits for one, `seconds` at most."""
        if self._last <= number:
            with Timeout(seconds, False):
                self._signal.wait()
        return self.since(number)
