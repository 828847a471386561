"""What changes of sessions mean to their peers and UEs."""

from __future__ import annotations

from collections import Counter

from ofgtp.control.peers.end_markers import left_tunnels
from ofgtp.control.peers.peers import difference
from ofgtp.core.model import Address, FTeid, Session
from ofgtp.core.rules.link import has_news
from ofgtp.core.sessions.rules import framed_of


class Moves:
    """Adds changes up. It holds no sessions: a batch may change very many."""

    def __init__(self) -> None:
        self.counts: Counter[Address] = Counter()
        """How many sessions more, or less, name each peer."""
        self.left: list[FTeid] = []
        """Tunnels that sessions have left for another, and whose peers know them still."""
        self.linked: list[int] = []
        """Sessions whose UEs their router has something to tell."""
        self.framed = False
        """Whether there are other prefixes behind UEs."""

    def add(self, before: Session | None, after: Session | None) -> None:
        """A session was the first, and is the second now; None is none."""
        self.counts.update(difference(before, after))
        self.left += left_tunnels(before, after)
        if after is not None and has_news(before, after):
            self.linked.append(after.number)
        self.framed |= framed_of(before) != framed_of(after)
