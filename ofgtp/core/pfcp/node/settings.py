"""What a node is told when it begins."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from ofgtp.core.pfcp.wire.enums import UpFeatures
from ofgtp.core.pfcp.wire.values import NodeId

FEATURES = UpFeatures.FTUP | UpFeatures.EMPU | UpFeatures.FRRT | UpFeatures.MNOP | UpFeatures.VTIME
"""F-TEIDs are chosen here, End Markers sent, prefixes routed to UEs, packets counted beside octets,
and quotas valid for a time (8.2.25)."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Of one node; times in seconds, rates a second.

    Raises:
        ValueError: one is out of its range.
    """

    node_id: NodeId
    recovery_time_stamp: int
    """When this node began, in seconds since 1900; the same as long as its sessions live."""
    peers: tuple[IPv4Network | IPv6Network, ...]
    """From where messages are taken at all."""
    features: UpFeatures = FEATURES
    remove_on_lost: bool = False
    """Whether the sessions of a control plane that does not answer go."""
    heartbeat_s: float = 10.0
    t1_s: float = 2.0
    n1: int = 3
    keep_answers_s: float = 30.0
    associations: int = 128
    per_peer: tuple[float, float] = (20_000.0, 20_000.0)
    """How many requests an address may send: rate, and at once. The rest is refused, cause 74."""
    refused_per_peer: tuple[float, float] = (1_000.0, 1_000.0)
    """How many of these are answered; the rest is dropped."""
    heartbeats_per_peer: tuple[float, float] = (50.0, 200.0)
    working_per_peer: int = 4_096
    """How many requests of an address are worked on at a time."""
    answers_per_peer: int = 16 << 20
    """Octets of answers kept for an address."""
    answers: int = 64 << 20

    def __post_init__(self) -> None:
        if min(self.t1_s, self.heartbeat_s, self.keep_answers_s) <= 0:
            raise ValueError("times are more than 0")
        if self.n1 < 1 or self.associations < 1 or self.working_per_peer < 1:
            raise ValueError("numbers are at least 1")
        if not 0 <= self.recovery_time_stamp < 1 << 32:
            raise ValueError("a Recovery Time Stamp has 32 bits")
