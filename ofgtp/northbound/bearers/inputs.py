"""What is accepted of bearers, rates, limits of usage, and relays."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ofgtp.core.buffer.queue import LIMIT_MAX
from ofgtp.core.model import FTeid, Qos
from ofgtp.core.sessions.detail import (
    BEARERS_MAX,
    FILTERS_MAX,
    INACTIVITY_MAX_S,
    NO_LIMITS,
    OCTETS_MAX,
    PRECEDENCE_MAX,
    RATE_MAX_KBPS,
    Gate,
    Rates,
    UsageLimits,
)
from ofgtp.northbound.bearers.filters import FilterShape
from ofgtp.northbound.bearers.prefixes import AnyPrefix, Prefix, Prefix6
from ofgtp.northbound.service import BearerRequest, RelayRequest, UplinkRequest
from ofgtp.northbound.shapes import DownlinkInput, Ipv4, Qfi, SessionId, Strict, Teid, UplinkInput

Kbps = Annotated[int, Field(ge=1, le=RATE_MAX_KBPS, strict=True)]
Octets = Annotated[int, Field(ge=1, le=OCTETS_MAX, strict=True)]


class RatesInput(Strict):
    """Limits; what is left out is not limited."""

    uplink_kbps: Kbps | None = None
    downlink_kbps: Kbps | None = None

    @property
    def rates(self) -> Rates:
        """As a value."""
        return Rates(self.uplink_kbps, self.downlink_kbps)


class UsageLimitsInput(Strict):
    """What is to be told of usage, and how much there may be. Octets are those of IP packets that
    went on, both directions together."""

    threshold_bytes: Octets | None = Field(
        None, description="An event usage_threshold each time so many octets more have been used"
    )
    quota_bytes: Octets | None = Field(
        None,
        description="When so many octets have been used since there is a quota: an event"
        " quota_exhausted, and all packets are dropped. More are let pass by a larger number",
    )
    inactivity_seconds: Annotated[int, Field(ge=1, le=INACTIVITY_MAX_S, strict=True)] | None = (
        Field(None, description="An event inactive once no packet has gone on for so long")
    )

    @property
    def limits(self) -> UsageLimits:
        """As a value."""
        return UsageLimits(self.threshold_bytes, self.quota_bytes, self.inactivity_seconds)


class CoreInput(Strict):
    """The core side of a relay."""

    teid: Teid | None = Field(None, description="Left out: kept, or allocated at random")
    remote_teid: Teid
    remote_ip: Ipv4

    def request(self) -> RelayRequest:
        """What the service is asked for."""
        return RelayRequest(self.teid, FTeid(self.remote_teid, self.remote_ip))


class BearerInput(Strict):
    """Some of a session's traffic, by filters, with a tunnel, a rate and a gate of its own."""

    id: SessionId
    precedence: Annotated[int, Field(ge=0, le=PRECEDENCE_MAX, strict=True)] = Field(
        description="Bearers are asked in this order, lower first"
    )
    filters: list[FilterShape] = Field(min_length=1, max_length=FILTERS_MAX)
    uplink: UplinkInput | None = Field(None, description="null: it comes by the session's TEID")
    downlink: DownlinkInput | None = Field(
        None, description="null: idle. Left out: the session's tunnel"
    )
    qfi: Qfi | None = Field(None, description="null: the session's")
    mbr: RatesInput | None = None
    gate: Gate = Field(Gate.OPEN, strict=False, description="What may pass")
    usage: UsageLimitsInput | None = None

    def request(self, session_qos: Qos | None) -> BearerRequest:
        """What the service is asked for; of the container all but the QFI is the session's."""
        up, down = self.uplink, self.downlink
        qos = None
        if self.qfi is not None:
            base = session_qos or Qos(self.qfi)
            qos = Qos(self.qfi, base.rqi, base.required, base.check)
        return BearerRequest(
            id=self.id,
            precedence=self.precedence,
            filters=tuple(self.filters),
            uplink=None if up is None else UplinkRequest(up.teid, up.remote_ip),
            downlink=None if down is None else FTeid(down.teid, down.remote_ip),
            shares_downlink="downlink" not in self.model_fields_set,
            qos=qos,
            mbr=Rates() if self.mbr is None else self.mbr.rates,
            gate=self.gate,
            usage=NO_LIMITS if self.usage is None else self.usage.limits,
        )


class MoreInput(Strict):
    """What a session may have beyond a tunnel pair."""

    ambr: RatesInput | None = Field(None, description="Limits of the whole session")
    bearers: list[BearerInput] = Field(default_factory=list, max_length=BEARERS_MAX)
    core: CoreInput | None = Field(None, description="A relay: the tunnel to and from the core")
    breakout: list[Prefix] = Field(
        default_factory=list,
        description="Of a relay with a ue_ip: what leaves by the core port instead",
    )
    framed_routes: list[AnyPrefix] = Field(
        default_factory=list,
        description="Prefixes behind the UE; those of IPv6 need a ue_ipv6",
    )
    ue_ipv6: Prefix6 | None = Field(
        None, description="The UE's IPv6 prefix, mostly a /64: beside its ue_ip, or alone"
    )
    usage: UsageLimitsInput | None = Field(None, description="Of the whole session")
    buffer: int | None = Field(
        None,
        ge=1,
        le=LIMIT_MAX,
        description="So many packets to the UE are held while it, or a bearer of it, is idle; they"
        " are delivered in order once there is a downlink. null: none",
    )
