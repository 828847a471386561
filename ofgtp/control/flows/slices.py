"""Reads a switch's flows for a comparison in slices, so that it forwards between them.

A table with few flows is read whole. In the others flows are asked for by their cookies, which the
switch looks up. How many there are in each table it knows: so it is known, too, whether there are
any besides.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Network

import eventlet

from ofgtp.control.flows.comparison import Comparison
from ofgtp.core.flows.doubt import OF_SESSIONS
from ofgtp.core.flows.flow import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
    CookieKind,
    Match,
    make_cookie,
    match,
)
from ofgtp.core.flows.pipeline import DOWNLINK, REFUSAL, DropReason, Report
from ofgtp.core.rules.terms import IPV4
from ofgtp.southbound.channel import Channel
from ofgtp.southbound.openflow import Asked

log = logging.getLogger(__name__)

SLICE = 100
"""Cookies asked for at once."""
SLICE_S = 0.005
"""Seconds from one slice to the next, at least."""
FEW = 1_000
"""Flows that may be reported at once: the switch takes a millisecond."""
GONE = 200_000
"""So many numbers of sessions that are no more are looked up, at most."""
WALKED_S = 1e-7
"""Seconds that the switch takes to pass over a flow with a cookie that many have."""

_DROPS = [make_cookie(CookieKind.DROP, reason) for reason in OF_SESSIONS]
KNOWN = [
    make_cookie(CookieKind.BASE),
    *(make_cookie(CookieKind.REPORT, kind) for kind in Report),
    *(make_cookie(CookieKind.DROP, reason) for reason in DropReason if reason not in OF_SESSIONS),
]
"""All that a gateway's own flows may have, but for those that idle sessions' have, too."""


class Slices:
    """One reading. What it reads goes into `found`."""

    def __init__(self, name: str, channel: Channel, found: Comparison) -> None:
        self._name, self._channel, self._found = name, channel, found
        self._asked: set[int] = set()
        self._big: list[int] = []

    def read_of(self, numbers: Iterable[int]) -> None:
        """The flows of these sessions, and the gateway's own; but none of sessions that drop."""
        self._read_cookies(KNOWN)
        self._ask([Asked(COOKIE_OWNER, COOKIE_OWNER_MASK, REFUSAL.number)])
        self._found.passed_over = {REFUSAL.number}
        self._read_cookies(make_cookie(CookieKind.SESSION, number) for number in sorted(numbers))

    def read_all(self, cookies: Iterable[int], last: Callable[[], int]) -> None:
        """All flows of ours that there are; these cookies are known besides. `last` tells the
        greatest number that a session may have had."""
        counts = self._channel.flows_in_tables()
        small = {table for table, count in counts.items() if count <= FEW} | {REFUSAL.number}
        for table in sorted(small):
            self._ask([Asked(COOKIE_OWNER, COOKIE_OWNER_MASK, table)])
        self._found.passed_over = small
        self._big = [table for table in counts if table not in small]
        for table in self._big:
            for some in parts_of(KNOWN):
                self._ask([Asked(cookie, table=table) for cookie in some])
        self._asked.update(KNOWN)
        numbers = self._found.numbers
        self._read_cookies(make_cookie(CookieKind.SESSION, number) for number in numbers)
        self._read_cookies(cookies)
        self._read_drops()
        if any(self._unknown()):
            known, most = set(numbers), last()
            if most - len(known) <= GONE:
                gone = (each for each in range(1, most + 1) if each not in known)
                self._read_cookies(make_cookie(CookieKind.SESSION, each) for each in gone)
            for table in [*self._unknown()]:
                self._walk(table)

    def _read_cookies(self, cookies: Iterable[int]) -> None:
        fresh = [each for each in cookies if each not in self._asked and each not in _DROPS]
        self._asked.update(fresh)
        for some in parts_of(fresh):
            self._ask([Asked(cookie) for cookie in some])

    def _read_drops(self) -> None:
        """Idle sessions' flows have one cookie: they are told apart by addresses."""
        if DOWNLINK.number not in self._big:
            return
        dropped = self._found.dropped
        for asked in _blocks(dropped):
            for cookie in _DROPS:
                self._ask(
                    [Asked(cookie, table=DOWNLINK.number, match=asked)],
                    SLICE_S + 4 * WALKED_S * len(dropped),
                )

    def _unknown(self) -> Iterator[int]:
        """Tables in which there is more of ours than was read."""
        counts = self._channel.flows_in_tables()
        for table in self._big:
            if counts.get(table, 0) > self._found.seen[table]:
                ours = Asked(COOKIE_OWNER, COOKIE_OWNER_MASK, table)
                if self._channel.flow_count(ours) > self._found.seen[table]:
                    yield table

    def _walk(self, table: int) -> None:
        """Flows with cookies that nobody knows: there is no other way to find them."""
        log.warning(
            "gateway=%s: table %d has flows with unknown cookies of ours: it is read whole, which"
            " stops forwarding for a moment",
            self._name,
            table,
        )
        asked = self._asked
        with self._channel.flow_parts(table=table) as parts:
            for part in parts:
                self._found.take(part, lambda cookie: cookie not in asked)

    def _ask(self, asked: Sequence[Asked], pause: float = SLICE_S) -> None:
        begun = time.monotonic()
        for part in self._channel.flow_slices(asked):
            self._found.take(part)
        eventlet.sleep(max(0.0, begun + pause - time.monotonic()))


def parts_of(values: Sequence[int]) -> Iterator[Sequence[int]]:
    """As many at a time as are asked for at once."""
    for start in range(0, len(values), SLICE):
        yield values[start : start + SLICE]


def _blocks(addresses: Sequence[int], start: int = 0, bits: int = 0) -> Iterator[Match]:
    """Matches that hold all addresses together, each few of these, which are in order."""
    if len(addresses) <= FEW or bits == 32:
        yield match(dl_type=IPV4, nw_dst=IPv4Network((start, bits))) if bits else ()
        return
    middle = start + (1 << 31 - bits)
    place = bisect_left(addresses, middle)
    yield from _blocks(addresses[:place], start, bits + 1)
    yield from _blocks(addresses[place:], middle, bits + 1)
