"""What is answered of bearers, rates, limits of usage, relays, and owners."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from ofgtp.core.sessions.detail import Bearer, Gate, Rates, UsageLimits
from ofgtp.northbound import service
from ofgtp.northbound.bearers.filters import FilterShape
from ofgtp.northbound.bearers.prefixes import AnyPrefix, Prefix, Prefix6
from ofgtp.northbound.service import SessionView
from ofgtp.northbound.shapes import Counters, DownlinkOutput, Ipv4


class RatesOutput(BaseModel):
    """Limits in kbit/s; null: none."""

    uplink_kbps: int | None
    downlink_kbps: int | None

    @classmethod
    def of(cls, rates: Rates) -> RatesOutput | None:
        """The answer that shows rates; None for none."""
        if not rates:
            return None
        return cls.model_construct(uplink_kbps=rates.uplink, downlink_kbps=rates.downlink)


class UsageLimitsOutput(BaseModel):
    """Limits of usage; null: none."""

    threshold_bytes: int | None
    quota_bytes: int | None
    inactivity_seconds: int | None

    @classmethod
    def of(cls, usage: UsageLimits) -> UsageLimitsOutput:
        """The answer that shows limits."""
        return cls.model_construct(
            threshold_bytes=usage.threshold,
            quota_bytes=usage.quota,
            inactivity_seconds=usage.inactivity,
        )


class BearerUplinkOutput(BaseModel):
    """Our TEID of a bearer, and the peer if it is pinned."""

    teid: int
    local_ip: Ipv4 | None
    remote_ip: Ipv4 | None


class BearerCounters(BaseModel):
    """What a bearer has carried since it was made."""

    uplink: Counters
    downlink: Counters


class BearerOutput(BaseModel):
    """A bearer as it is answered."""

    id: str
    precedence: int
    filters: list[FilterShape]
    uplink: BearerUplinkOutput | None = Field(description="null: the session's TEID")
    downlink: DownlinkOutput | None = Field(
        default=None, description="null: idle. Left out: the session's tunnel"
    )
    qfi: int | None
    mbr: RatesOutput | None
    gate: Gate
    usage: UsageLimitsOutput | None = None
    closed: Literal["quota"] | None = Field(
        None, description="Of a bearer with usage: nothing passes, since its quota is used up"
    )
    error_indicated: bool
    counters: BearerCounters | None


class BearerList(BaseModel):
    """The bearers of a session."""

    items: list[BearerOutput]
    next: None = Field(None, description="null: these are all")


class CoreOutput(BaseModel):
    """The core side of a relay as it is answered."""

    teid: int
    local_ip: Ipv4 | None
    remote_teid: int
    remote_ip: Ipv4
    error_indicated: bool


def _shown_usage(usage: UsageLimits, used_up: bool) -> dict[str, Any]:
    """The members that show limits and what has become of them; none where there are none."""
    if not usage:
        return {}
    return {"usage": UsageLimitsOutput.of(usage), "closed": "quota" if used_up else None}


class OwnerOutput(BaseModel):
    """The control plane that made a session by PFCP: it alone may change it."""

    kind: Literal["pfcp"]
    node_id: str
    cp_seid: str = Field(description="Its SEID, hexadecimal: a number of 64 bits")
    up_seid: str = Field(description="Ours")


class MoreOutput(BaseModel):
    """What a session has beyond a tunnel pair, as it is answered; what it has not is left out."""

    ambr: RatesOutput | None
    usage: UsageLimitsOutput | None = None
    closed: Literal["quota"] | None = None
    bearers: list[BearerOutput]
    core: CoreOutput | None = None
    breakout: list[Prefix] | None = None
    framed_routes: list[AnyPrefix] | None = None
    ue_ipv6: Prefix6 | None = None
    buffer: int | None = None
    owner: OwnerOutput | None = None


def more(view: SessionView) -> MoreOutput | None:
    """The answer that shows it; None for a session that is but a tunnel pair."""
    detail = view.session.detail
    if detail is None:
        return None
    made: dict[str, Any] = {"ambr": RatesOutput.of(detail.ambr)}
    made |= _shown_usage(detail.usage, detail.used_up)
    made["bearers"] = [bearer_output(view, each) for each in detail.bearers]
    if detail.relay is not None:
        relay = detail.relay
        made["core"] = CoreOutput.model_construct(
            teid=relay.teid,
            local_ip=view.local_ip,
            remote_teid=relay.remote.teid,
            remote_ip=relay.remote.ip,
            error_indicated=relay.error_indicated,
        )
    if detail.breakout:
        made["breakout"] = list(detail.breakout)
    if detail.framed_routes:
        made["framed_routes"] = list(detail.framed_routes)
    if detail.ue_ipv6 is not None:
        made["ue_ipv6"] = detail.ue_ipv6
    if detail.buffer is not None:
        made["buffer"] = detail.buffer
    if detail.owner is not None:
        owner = detail.owner
        made["owner"] = OwnerOutput.model_construct(
            kind="pfcp",
            node_id=owner.node_id,
            cp_seid=f"{owner.cp_seid:#x}",
            up_seid=f"{owner.up_seid:#x}",
        )
    return MoreOutput.model_construct(**made)


def bearer_output(view: SessionView, bearer: Bearer) -> BearerOutput:
    """The answer that shows a bearer of a session."""
    up, down = bearer.uplink, bearer.downlink
    seen = view.bearers.get(bearer.id)
    shown = _shown_usage(bearer.usage, bearer.used_up)
    if not bearer.shares_downlink:
        shown["downlink"] = down and DownlinkOutput.model_construct(
            teid=down.teid, remote_ip=down.ip
        )
    return BearerOutput.model_construct(
        id=bearer.id,
        precedence=bearer.precedence,
        filters=list(bearer.filters),
        uplink=up
        and BearerUplinkOutput.model_construct(
            teid=up.teid, local_ip=view.local_ip, remote_ip=up.remote_ip
        ),
        qfi=None if bearer.qos is None else bearer.qos.qfi,
        mbr=RatesOutput.of(bearer.mbr),
        gate=bearer.gate,
        error_indicated=bearer.error_indicated,
        counters=seen
        and BearerCounters.model_construct(uplink=_counters(seen[0]), downlink=_counters(seen[1])),
        **shown,
    )


def _counters(seen: service.Counters) -> Counters:
    return Counters.model_construct(packets=seen.packets, bytes=seen.bytes)
