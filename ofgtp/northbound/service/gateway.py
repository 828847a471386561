"""What is shown of a gateway: its GTP-U peers, and its last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ofgtp.core.history import Point
from ofgtp.core.model import Address
from ofgtp.core.peers.paths import PathState


@dataclass(frozen=True, slots=True)
class PeerView:
    """A GTP-U peer in use, as the operator sees it; times are aware and in UTC, None is never."""

    gateway: str
    ip: Address
    state: PathState
    sessions: int
    """How many sessions name it."""
    next_hop: Address | None
    """Where its packets go on the access side: itself, or a router; None: no route leads there."""
    mac: str | None
    """Of that next hop; None: it has not answered ARP, or neighbour discovery."""
    echo_sent_at: datetime | None
    echo_answered_at: datetime | None
    echo_heard_at: datetime | None
    """Its last Echo Request to us."""


@dataclass(frozen=True, slots=True)
class HistoryView:
    """The last minutes of a gateway, the oldest first."""

    gateway: str
    points: Sequence[Point]
