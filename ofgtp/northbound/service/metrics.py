"""A gateway in numbers, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ofgtp.core.model import Direction, SessionState
from ofgtp.core.peers.paths import PathState
from ofgtp.northbound.service.counters import Counters


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations by class: `counts` has one more entry than `bounds`, for what is above."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


class Rounds(NamedTuple):
    """The looks at all sessions in turn, for what they have used."""

    polled: int = 0
    """Sessions that were looked at."""
    made: int = 0
    seconds: float = 0.0
    """What the last one took; 0: there was none yet."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease by which the controller owns a gateway's tunnels."""

    seconds: int
    renewed_at: float | None
    """Unix time; None: not yet."""
    renewals: int
    expiries: int


@dataclass(frozen=True, slots=True)
class GatewayMetrics:
    """A gateway in numbers. What counts goes up only, and from 0 with each run."""

    name: str
    connected: bool
    in_sync: bool
    sessions: Mapping[SessionState, int]
    forwarded: Mapping[Direction, Counters]
    drops: Mapping[str, int]
    """Packets by reason."""
    flow_mods: Mapping[str, int]
    """By command."""
    barriers: Histogram
    """Latency in seconds."""
    openflow_errors: Mapping[str, int]
    """By what the switch said, "type: code"."""
    lease: Lease | None
    """None: the tunnels are the switch's."""
    repairs: int
    rounds: Rounds = field(default_factory=Rounds)
    gtpu_messages: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Signalling by type, such as "echo_request", and direction, "received" or "sent"."""
    gtpu_ignored: Mapping[str, int] = field(default_factory=dict)
    """Messages that were read and then ignored, by why."""
    extension_headers: Mapping[str, int] = field(default_factory=dict)
    """T-PDUs with extension headers, by type, such as "0x85"."""
    paths: Mapping[PathState, int] = field(default_factory=dict)
    """Peers in use by the state of their paths."""
    neighbours: Mapping[str, int] = field(default_factory=dict)
    """Next hops on the access side by what ARP knows: "resolved", "unresolved" or "stale"."""
    next_hops: Mapping[str, bool] = field(default_factory=dict)
    """Whether that of the core side answers, by IP version, "4" or "6"; of those that there are."""
    received: Mapping[str, int] = field(default_factory=dict)
    """Frames that came in, by port: "access" or "core"."""
    own: Mapping[str, int] = field(default_factory=dict)
    """Those of them that were for the gateway itself: "arp", "ping", "signalling", "router"."""
    buffer: Mapping[str, int] = field(default_factory=dict)
    """Held for idle UEs now: "sessions", "packets", "bytes"; and packets so far: "held", and of
    these "replayed"."""
    ovsdb: str = ""
    """Where the switch's database is: gateways of one switch have the same."""
    switch_drops: Mapping[str, int] = field(default_factory=dict)
    """What that switch has dropped by itself, for all its bridges; empty if it does not tell."""
