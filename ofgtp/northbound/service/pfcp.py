"""A gateway as PFCP's user plane node, as the operator sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address

from ofgtp.core.pfcp.node.associations import PeerState
from ofgtp.northbound.service.metrics import Histogram


@dataclass(frozen=True, slots=True)
class AssociationView:
    """A control plane that is associated, as the operator sees it; times are aware and in UTC."""

    node_id: str
    ip: str
    """Where it has set up its association from."""
    state: PeerState
    """Whether it answers heartbeats."""
    recovery_time: datetime
    """When it began, by its Recovery Time Stamp."""
    sessions: int
    heard_at: datetime | None
    """When it last sent or answered a heartbeat; None: never since ofgtp has started."""
    answers: Mapping[tuple[str, int], int]
    """How many of its requests were answered, by message and cause."""
    errors: Sequence[tuple[datetime, str]]
    """The last of its requests that were refused, and why."""


@dataclass(frozen=True, slots=True)
class RefusedView:
    """A request that was refused."""

    at: datetime
    ip: str
    text: str
    """Which, why, and by which cause."""


@dataclass(frozen=True, slots=True)
class StrangerView:
    """An address outside `peers` that sends PFCP, and is not answered."""

    ip: str
    messages: int
    heard_at: datetime


@dataclass(frozen=True, slots=True)
class InstanceView:
    """A network instance that control planes have named."""

    name: str
    known: bool
    """Whether it is there; else they were refused."""
    requests: int


@dataclass(frozen=True, slots=True)
class PfcpView:
    """A gateway as a user plane node, and its control planes."""

    gateway: str
    node_id: str
    listen: IPv4Address
    recovery_time: datetime
    problem: str | None
    """What keeps it from being asked; None if nothing does."""
    associations: Sequence[AssociationView]
    answered: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """Requests other than heartbeats, by message and cause, whoever asked."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Messages that were not answered, by reason."""
    received: Mapping[str, int] = field(default_factory=dict)
    """Messages from `peers`, by type."""
    response_times: Mapping[str, Histogram] = field(default_factory=dict)
    """Seconds from a request to its answer, by message; not of what is answered at once."""
    refused: Sequence[RefusedView] = ()
    """The last requests that were refused, whoever asked, the last behind."""
    strangers: Sequence[StrangerView] = ()
    """The last, first."""
    network_instances: Sequence[InstanceView] = ()
    """Those that rules of requests have named since ofgtp has started."""
