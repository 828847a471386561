"""What sessions have used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv6Network
from typing import Literal

from ofgtp.northbound.service.counters import NOTHING_USED, BothWays, Counters


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Whose usage to list: with `sort` those with the most, else all in turn."""

    gateway: str | None = None
    sort: Literal["bytes", "uplink", "downlink", "active"] | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class QuotaView:
    """A quota of a session, or of a bearer of it."""

    bearer: str | None
    """None: the session's own."""
    quota: int
    used: int
    """Octets since it counts."""
    closed: bool


@dataclass(frozen=True, slots=True)
class UsageView:
    """What a session has used; times are aware and in UTC."""

    session: str
    gateway: str
    ue_ip: IPv4Address | None
    since: datetime
    active_at: datetime | None
    uplink: Counters
    downlink: Counters
    rules: Mapping[str, BothWays] = field(default_factory=dict)
    """Of each rule by its id, as far as it was asked for: a bearer's, a PDR's, or "" for the
    session's own."""
    removed: BothWays = NOTHING_USED
    """Of rules that are no more."""
    quotas: Sequence[QuotaView] = ()
    ue_ipv6: IPv6Network | None = None


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Some of those; with `sort` also the total of all sessions, and how many these are."""

    items: Sequence[UsageView]
    cursor: str | None = None
    total: BothWays | None = None
    sessions: int | None = None
