"""The calls about what sessions have used."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from ofgtp.northbound import service
from ofgtp.northbound.bearers import Prefix6
from ofgtp.northbound.schema import NoQuery
from ofgtp.northbound.service import UsageFilter, UsageView
from ofgtp.northbound.shapes import Counters, Ipv4


class UsageQuery(NoQuery):
    """Whose usage to list."""

    gateway: str | None = None
    sort: Literal["bytes", "uplink", "downlink", "active"] | None = Field(
        None,
        description="The most first: octets of both directions or of one, or what was active last;"
        " without it, all in turn, by pages",
    )
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = Field(None, description="`next` of the page before; not with `sort`")

    def filter(self) -> UsageFilter:
        """As the service takes it."""
        return UsageFilter(self.gateway, self.sort, self.limit, self.cursor)


class Used(BaseModel):
    """What has gone on: IP packets, and their octets."""

    uplink: Counters
    downlink: Counters


class UsageOutput(Used):
    """What a session has used."""

    session: str
    gateway: str
    ue_ip: Ipv4 | None
    ue_ipv6: Prefix6 | None
    since: datetime = Field(description="When the session was made")
    active_at: datetime | None = Field(
        description="When it was last seen that something had passed; null: never"
    )


class RuleUsage(Used):
    """What one of its rules has carried."""

    id: str | None = Field(description="A bearer's, or a PDR's; null: the session's own tunnel")


class QuotaUsage(BaseModel):
    """How much of a quota is used."""

    bearer: str | None = Field(description="Whose it is; null: the whole session's")
    quota_bytes: int
    used_bytes: int = Field(
        description="Octets of both directions since the quota counts; may be some more than it"
    )
    closed: bool = Field(description="It is used up, so that nothing passes")


class SessionUsage(UsageOutput):
    """What a session has used, up to now."""

    rules: list[RuleUsage]
    removed: Used = Field(description="By bearers or PDRs that are no more; in the session's, too")
    quotas: list[QuotaUsage]


class UsageList(BaseModel):
    """A page of what sessions have used, as the last look at all of them has found it."""

    items: list[UsageOutput]
    next: str | None = Field(description="The cursor of the next page")
    total: Used | None = Field(description="Of all sessions, not of the page; null without `sort`")
    sessions: int | None = Field(description="How many these are; null without `sort`")


def page(found: service.UsagePage) -> UsageList:
    """A page as it is answered."""
    return UsageList.model_construct(
        items=[UsageOutput.model_construct(**_facts(view)) for view in found.items],
        next=found.cursor,
        total=None if found.total is None else _used(found.total),
        sessions=found.sessions,
    )


def one(view: UsageView) -> SessionUsage:
    """A session's as it is answered."""
    return SessionUsage.model_construct(
        **_facts(view),
        rules=[
            RuleUsage.model_construct(id=rule or None, **_ways(counters))
            for rule, counters in view.rules.items()
        ],
        removed=_used(view.removed),
        quotas=[
            QuotaUsage.model_construct(
                bearer=each.bearer,
                quota_bytes=each.quota,
                used_bytes=each.used,
                closed=each.closed,
            )
            for each in view.quotas
        ],
    )


def _facts(view: UsageView) -> dict[str, Any]:
    return {
        "session": view.session,
        "gateway": view.gateway,
        "ue_ip": view.ue_ip,
        "ue_ipv6": view.ue_ipv6,
        "since": view.since,
        "active_at": view.active_at,
        **_ways((view.uplink, view.downlink)),
    }


def _used(counters: service.BothWays) -> Used:
    return Used.model_construct(**_ways(counters))


def _ways(counters: service.BothWays) -> dict[str, Any]:
    up, down = (
        Counters.model_construct(packets=each.packets, bytes=each.bytes) for each in counters
    )
    return {"uplink": up, "downlink": down}
