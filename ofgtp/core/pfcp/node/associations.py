"""The associations of one node with its control planes (TS 29.244, 5.8, 6.2.6 to 6.2.8)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.values import NodeId

IPAddress = IPv4Address | IPv6Address

ERRORS_KEPT = 8
"""Of each association: the last requests that were refused, in words."""


class PeerState(StrEnum):
    """Whether a control plane answers heartbeats."""

    UNKNOWN = "unknown"
    """Not asked yet, since the association is new or was read from the store."""
    UP = "up"
    DOWN = "down"
    """It has stopped to answer; what it asked for stays as it is."""


@dataclass(frozen=True, slots=True)
class Association:
    """What is stored of one."""

    node_id: NodeId
    ip: IPAddress
    """Where it was set up from; requests that are about no session go there."""
    addresses: frozenset[IPAddress]
    """From where it may be changed, and its sessions made."""
    recovery_time_stamp: int
    cp_features: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Numbers and text only."""
        return {
            "node_id": str(self.node_id),
            "fqdn": isinstance(self.node_id, str),
            "ip": str(self.ip),
            "addresses": sorted(map(str, self.addresses)),
            "recovery_time_stamp": self.recovery_time_stamp,
            "cp_features": self.cp_features,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Association:
        """What `to_plain` made.

        Raises:
            KeyError, ValueError: it was something else.
        """
        node_id: str = plain["node_id"]
        return cls(
            node_id if plain["fqdn"] else ip_address(node_id),
            ip_address(plain["ip"]),
            frozenset(map(ip_address, plain["addresses"])),
            int(plain["recovery_time_stamp"]),
            int(plain["cp_features"]),
        )


@dataclass(frozen=True, slots=True)
class AssociationStatus:
    """What an operator should know of one; times are the caller's, None is never."""

    association: Association
    state: PeerState
    heard_at: float | None
    """When it last sent or answered a heartbeat."""
    answers: Mapping[tuple[MessageType, int], int]
    """How many requests were answered with which cause."""
    errors: tuple[tuple[float, str], ...]
    """The last requests that were refused: when, and why."""


@dataclass(slots=True)
class Peer:
    """An association, and what is known of the peer at the moment."""

    association: Association
    state: PeerState = PeerState.UNKNOWN
    heard_at: float | None = None
    answers: Counter[tuple[MessageType, int]] = field(default_factory=Counter)
    errors: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=ERRORS_KEPT))
    set_back: int | None = None
    """A Recovery Time Stamp that went back and was told of."""

    def status(self) -> AssociationStatus:
        """A copy."""
        return AssociationStatus(
            self.association, self.state, self.heard_at, dict(self.answers), tuple(self.errors)
        )


class Peers:
    """By Node ID and by address. Names are compared without regard to case."""

    def __init__(self) -> None:
        self._peers: dict[NodeId, Peer] = {}
        self._at: dict[IPAddress, list[NodeId]] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def get(self, node_id: NodeId) -> Peer | None:
        """That of a Node ID."""
        return self._peers.get(canonical(node_id))

    def at(self, ip: IPAddress) -> list[Peer]:
        """Those that have an address; there may be several control planes behind one."""
        return [self._peers[node_id] for node_id in self._at.get(ip, ())]

    def add(self, association: Association) -> Peer:
        """A new one, in the place of the one with the same Node ID."""
        self.remove(association.node_id)
        peer = self._peers[canonical(association.node_id)] = Peer(association)
        self._index(association)
        return peer

    def update(self, peer: Peer, association: Association) -> None:
        """The same one with other values."""
        self._unindex(peer.association)
        peer.association = association
        self._index(association)

    def remove(self, node_id: NodeId) -> None:
        """None with this Node ID any more."""
        peer = self._peers.pop(canonical(node_id), None)
        if peer is not None:
            self._unindex(peer.association)

    def _index(self, association: Association) -> None:
        for ip in association.addresses:
            self._at.setdefault(ip, []).append(canonical(association.node_id))

    def _unindex(self, association: Association) -> None:
        for ip in association.addresses:
            there = self._at[ip]
            there.remove(canonical(association.node_id))
            if not there:
                del self._at[ip]


def canonical(node_id: NodeId) -> NodeId:
    """What a Node ID is compared by."""
    return node_id.lower() if isinstance(node_id, str) else node_id
