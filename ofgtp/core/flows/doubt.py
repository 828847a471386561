"""What of a switch's flows may not be as it should: what a comparison has to look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ofgtp.core.flows.flow import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
    CookieKind,
    cookie_kind,
    cookie_number,
)
from ofgtp.core.flows.pipeline import DropReason

MANY = 20_000
"""More than so many sessions are not kept apart: all flows are looked at then."""

OF_SESSIONS = (DropReason.IDLE_UE, DropReason.ERROR_INDICATED)
"""Reasons for which a session's downlink flow may drop: its cookie does not name the session."""


@dataclass
class Doubt:
    """The gateway's own flows are looked at whatever stands here: they are few."""

    everything: bool = True
    numbers: set[int] = field(default_factory=set)
    """Sessions that changed, or whose flows somebody changed."""
    addresses: set[int] = field(default_factory=set)
    """UE addresses for which there may be a flow that drops."""
    touched: set[int] = field(default_factory=set)
    """Of the sessions, those whose flows somebody changed."""
    cookies: set[int] = field(default_factory=set)
    """Of ours, and of flows that somebody added or modified."""

    @property
    def small(self) -> bool:
        """Whether it is looked at within moments."""
        return not self.everything and len(self.numbers) <= MANY // 10

    def add(self, other: Doubt) -> None:
        """This one has all that the other has."""
        self.cookies |= other.cookies
        self.numbers |= other.numbers
        self.addresses |= other.addresses
        self.touched |= other.touched
        self.everything |= other.everything
        self._bound()

    def changed(self, numbers: Iterable[int], addresses: Iterable[int]) -> None:
        """These sessions, which have or had these addresses, are not in the switch as stored."""
        if not self.everything:
            self.numbers.update(numbers)
            self.addresses.update(addresses)
            self._bound()

    def told(self, event: str, cookie: int) -> None:
        """Somebody has added, removed or modified a flow with this cookie.

        What one that was added has taken the place of is not told.
        """
        kind, number = cookie_kind(cookie), cookie_number(cookie)
        ours = cookie & COOKIE_OWNER_MASK == COOKIE_OWNER
        if ours and event != "removed" and len(self.cookies) < MANY:
            self.cookies.add(cookie)
        if event == "added":
            self.everything = True
        elif kind is CookieKind.SESSION:
            self.numbers.add(number)
            self.touched.add(number)
        elif kind is None or (kind is CookieKind.DROP and number in OF_SESSIONS):
            self.everything = True
        self._bound()

    def _bound(self) -> None:
        """Where all is looked at, only the cookies matter."""
        self.everything |= len(self.numbers) > MANY
        if self.everything:
            self.numbers.clear()
            self.addresses.clear()
            self.touched.clear()


def nothing() -> Doubt:
    """No doubt at all."""
    return Doubt(everything=False)
