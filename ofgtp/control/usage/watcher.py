"""Looks at the counts of sessions that have limits, as often as they need it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import eventlet

from ofgtp.core.errors import OfgtpError
from ofgtp.core.model import Gateway
from ofgtp.core.usage.pace import COUNTED_S, Next, Watch
from ofgtp.southbound import portcounts

log = logging.getLogger(__name__)

SLICE, SLICE_S = 100, 0.005
"""Sessions that are read at once, and seconds from one such slice to the next: the switch forwards
in the same thread (docs/usage.md)."""
IDLE_S = 0.05
"""Seconds to the next turn where nothing is due."""
RETRY_S = 1.0
FRESH_S = 0.01
"""For so long it is not read again how many octets have come in."""
SMOOTHING = 0.1
"""The weight of the last slice in what a look takes."""

Look = Callable[[Sequence[int]], Mapping[int, Next]]
"""Reads sessions by their numbers and does what is due; when to look at each again. One that is not
in the answer is not looked at any more."""


class Watcher:
    """Those of one gateway. What `look` raises of an OfgtpError has it called again."""

    def __init__(self, gateway: Gateway, look: Look) -> None:
        self._gateway, self._look = gateway, look
        self._watch = Watch()
        self._each_s = 0.0
        """What a look at a session takes, from one to the next where there are very many."""
        self._came: deque[tuple[float, int]] = deque()
        """How many octets had come in when, for as long as they may not be counted yet."""

    def set(self, number: int, what: Next) -> None:
        """Look at a session then."""
        now = time.monotonic()
        self._watch.set(number, what, now, self._counted(now))

    def drop(self, number: int) -> None:
        """Look at a session no more."""
        self._watch.drop(number)

    def run(self) -> None:
        """Look at what is due until the process ends; to be spawned."""
        while True:
            began, busy = time.monotonic(), time.thread_time()
            looked = self._turn()
            # Where there is too much to look at, others have as much time as this.
            eventlet.sleep(max(SLICE_S, time.thread_time() - busy) if looked else IDLE_S)
            if looked:
                self._took(looked, time.monotonic() - began)

    def _took(self, looked: int, seconds: float) -> None:
        """So many were looked at; if not as many as can be at once, there is time for all."""
        each = seconds / looked if looked == SLICE else 0.0
        self._each_s += (each - self._each_s) * SMOOTHING

    def _turn(self) -> int:
        """Look at what is due; how many these were."""
        began = time.monotonic()
        counted = self._counted(began)
        due = self._watch.due(began, self._came[-1][1], SLICE)
        if not due:
            return 0
        try:
            again = self._look(due)
        except Exception as error:
            if isinstance(error, OfgtpError):
                log.debug("gateway=%s: usage not looked at: %s", self._gateway.name, error)
            else:
                log.exception("gateway=%s: unexpected", self._gateway.name)
            again = dict.fromkeys(due, Next(RETRY_S))
        now, round_s = time.monotonic(), self._each_s * (len(self._watch) + len(due))
        for number, what in again.items():
            # What came while the switch was asked may not be in its answer, either.
            self._watch.set(number, what, now, counted, round_s)
        return len(due)

    def _counted(self, now: float) -> int:
        """How many octets have come in that flows have counted for sure by now."""
        if not self._came or self._came[-1][0] <= now - FRESH_S:
            self._came.append((now, portcounts.octets(self._gateway)))
        while len(self._came) > 1 and self._came[1][0] <= now - COUNTED_S:
            self._came.popleft()
        return self._came[0][1]
