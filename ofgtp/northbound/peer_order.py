"""Peers in an order that was asked for, and a part of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from ofgtp.core.model import Address
from ofgtp.core.peers.paths import PathState
from ofgtp.northbound.service import PeerView

Sort = Literal["address", "state", "sessions", "next_hop", "answered"]
Order = Literal["asc", "desc"]

_STATES = {PathState.DOWN: 0, PathState.UNKNOWN: 1, PathState.UP: 2}
_NEVER = datetime.min.replace(tzinfo=UTC)


def arranged(peers: Sequence[PeerView], sort: Sort | None, order: Order) -> Sequence[PeerView]:
    """All of them in that order; those that are equal, by their addresses. None: as they are."""
    if sort is None:
        return peers
    key = _KEYS[sort]
    marks = [(key(peer), _address(peer.ip), place) for place, peer in enumerate(peers)]
    return [peers[place] for _, _, place in sorted(marks, reverse=order == "desc")]


def _address(ip: Address | None) -> tuple[int, int]:
    """IPv4 before IPv6; no address before all."""
    return (0, 0) if ip is None else (ip.version, int(ip))


_KEYS: dict[Sort, Callable[[PeerView], Any]] = {
    "address": lambda peer: _address(peer.ip),
    "state": lambda peer: _STATES[peer.state],
    "sessions": lambda peer: peer.sessions,
    "next_hop": lambda peer: _address(peer.next_hop),
    "answered": lambda peer: peer.echo_answered_at or _NEVER,
}
