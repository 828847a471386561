"""Sessions as the operator sees them, and which to list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from ofgtp.core.model import Address, BatchPut, Direction, Session, SessionState
from ofgtp.core.observations import Observation
from ofgtp.northbound.service.counters import Counters, FlowCounters


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as the operator sees it; times are aware and in UTC."""

    session: Session
    state: SessionState
    reason: str | None
    """Why the switch refused it, when the state is `failed`; what the peer said, when it is
    `error_indicated`."""
    local_ip: IPv4Address | None
    """The gateway's GTP-U address, `uplink.local_ip`; None if it has left the configuration."""
    created_at: datetime
    updated_at: datetime
    uplink: FlowCounters | None
    downlink: FlowCounters | None
    """None: they were not asked for."""
    bearers: Mapping[str, tuple[Counters, Counters]] = field(default_factory=dict)
    """Uplink and downlink of each bearer by its id; part of the session's."""
    local_ip6: IPv6Address | None = None
    """The gateway's second one, `uplink.local_ip6`; None: it has none."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was just made, as asked for by `put`; `at` is aware and in UTC."""

    put: BatchPut
    gateway: str
    local_ip: IPv4Address
    state: SessionState
    at: datetime
    local_ip6: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions to list; None matches all.

    `id` stands anywhere in the session's, an IPv6 `ue_ip` is one of the UE's prefix, which holds
    `ue_ipv6` or lies in it, `teid` is the uplink's, `peer` either side's.
    """

    gateway: str | None = None
    id: str | None = None
    ue_ip: Address | None = None
    ue_ipv6: IPv6Network | None = None
    teid: int | None = None
    peer: Address | None = None
    state: SessionState | None = None
    limit: int = 100
    cursor: str | None = None
    counters: bool = True
    """Whether the switch is asked for them: two flows of each session."""


@dataclass(frozen=True, slots=True)
class FlowView:
    """One OpenFlow flow of a session; `flow` is what `ovs-ofctl add-flow` accepts."""

    flow: str
    direction: Direction
    packets: int
    bytes: int
    bearer: str | None = None
    """The id of the bearer whose it is; None: the session's own."""


@dataclass(frozen=True, slots=True)
class SeenView:
    """What the gateway has lately seen of packets of a session, or from its peers, that went wrong;
    times are aware and in UTC."""

    seen: Observation
    count: int
    """How many samples there were since `first_at`: of each kind the switch shows some."""
    first_at: datetime
    last_at: datetime
