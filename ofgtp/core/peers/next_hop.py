"""What is known of a gateway's next hop: its MAC address, and when to ask again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ASK_UNKNOWN_S = 1.0
"""Seconds between requests while the next hop has never answered, or has stopped to."""

ASK_KNOWN_S = 5.0
"""Seconds between requests while it answers: how late a silent change of its MAC is noticed."""

STALE_S = 3 * ASK_KNOWN_S
"""Seconds of silence after which it counts as gone; its last MAC is used all the same."""


@dataclass(slots=True)
class NextHop:
    """Times are seconds of any steady clock, given by the caller."""

    mac: str | None = None
    heard_at: float = float("-inf")
    asked_at: float = float("-inf")

    def assume(self, mac: str) -> None:
        """Take a MAC that was right before, until the next hop says otherwise."""
        self.mac = self.mac or mac

    def due(self, now: float) -> bool:
        """Whether to ask now; the caller who gets True asks."""
        pause = ASK_KNOWN_S if self.state(now) == "resolved" else ASK_UNKNOWN_S
        if now - self.asked_at < pause:
            return False
        self.asked_at = now
        return True

    def heard(self, mac: str, now: float) -> bool:
        """It said that this is its MAC; True if that is news."""
        changed = mac != self.mac
        self.mac, self.heard_at = mac, now
        return changed

    def doubt(self) -> None:
        """It may be another one now: ask at once, until it answers."""
        self.heard_at = self.asked_at = float("-inf")

    def state(self, now: float) -> Literal["unresolved", "resolved", "stale"]:
        """What an operator should know of it."""
        if self.mac is None:
            return "unresolved"
        return "stale" if now - self.heard_at > STALE_S else "resolved"
