"""A session as the operator writes it, and as it is answered; its flows."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ofgtp.core.model import Direction, FTeid, Qos, SessionState
from ofgtp.core.sessions.detail import NO_LIMITS, Rates
from ofgtp.northbound.bearers import (
    AnyPrefix,
    BearerOutput,
    CoreOutput,
    MoreInput,
    OwnerOutput,
    Prefix,
    Prefix6,
    RatesOutput,
    UsageLimitsOutput,
)
from ofgtp.northbound.service import SessionRequest
from ofgtp.northbound.shapes import (
    ID_RULE,
    Counters,
    DownlinkInput,
    DownlinkOutput,
    Ip,
    Ipv4,
    Qfi,
    SessionId,
    UplinkInput,
)

OF_QFI = frozenset({"rqi", "qfi_required", "qfi_check"})
"""Members of a session that mean something with a QFI only."""


class SessionInput(MoreInput):
    """A session as the operator writes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "imsi-001010000000001-5",
                    "gateway": "gw1",
                    "ue_ip": "10.45.0.2",
                    "uplink": {"teid": 4097},
                    "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"},
                }
            ]
        }
    )

    id: SessionId | None = Field(None, description=f"{ID_RULE}. Left out: generated")
    gateway: str | None = Field(None, description="May be left out when there is only one")
    ue_ip: Ipv4 | None = Field(
        None,
        description="In the gateway's ue_pools. Left out: the UE has a ue_ipv6 alone, or it is a"
        " relay (core) of what comes",
        validate_default=True,
    )
    uplink: UplinkInput | None = None
    downlink: DownlinkInput | None = Field(None, description="null: the UE is idle")
    qfi: Qfi | None = Field(
        None,
        description="T-PDUs carry the PDU Session Container, as on N3, downlink with this QFI."
        " null: they carry none, as on S1-U; one that comes uplink is taken off",
    )
    rqi: bool = Field(False, description="Set the Reflective QoS Indicator; needs a qfi")
    qfi_required: bool = Field(
        True,
        description="With a qfi: drop uplink T-PDUs that carry no container, or one of PDU type 0",
    )
    qfi_check: bool = Field(
        False, description="Drop uplink T-PDUs whose container has another QFI; needs a qfi"
    )

    @field_validator("ue_ip")
    @classmethod
    def _needs_ue_ip(cls, value: IPv4Address | None, info: ValidationInfo) -> IPv4Address | None:
        told = "core" in info.data and "ue_ipv6" in info.data
        if value is None and told and info.data["core"] is None is info.data["ue_ipv6"]:
            reason = "Field required: only a relay (core), or a UE with a ue_ipv6, has none"
            raise PydanticCustomError("missing", reason)
        return value

    @field_validator("rqi", "qfi_check")
    @classmethod
    def _needs_qfi(cls, value: bool, info: ValidationInfo) -> bool:
        if value and "qfi" in info.data and info.data["qfi"] is None:
            raise PydanticCustomError(
                "qfi_needed", "needs a qfi: it stands in the PDU Session Container beside it"
            )
        return value

    @property
    def qos(self) -> Qos | None:
        """What it says of the container."""
        if self.qfi is None:
            return None
        return Qos(self.qfi, self.rqi, self.qfi_required, self.qfi_check)

    def request(self, session_id: str | None = None) -> SessionRequest:
        """What the service is asked for; `session_id` is the path's, if the path has one."""
        up, down = self.uplink, self.downlink
        return SessionRequest(
            id=self.id if session_id is None else session_id,
            gateway=self.gateway,
            ue_ip=self.ue_ip,
            uplink_teid=up.teid if up else None,
            uplink_remote_ip=up.remote_ip if up else None,
            downlink=FTeid(down.teid, down.remote_ip) if down else None,
            qos=self.qos,
            ambr=Rates() if self.ambr is None else self.ambr.rates,
            bearers=tuple(each.request(self.qos) for each in self.bearers),
            relay=None if self.core is None else self.core.request(),
            breakout=tuple(self.breakout),
            framed_routes=tuple(self.framed_routes),
            ue_ipv6=self.ue_ipv6,
            usage=NO_LIMITS if self.usage is None else self.usage.limits,
            buffer=self.buffer,
        )


class FlowCounters(Counters):
    """What a session has carried in a direction since it was made, over all changes: packets that
    went on, and their octets, those of IP."""

    duration_seconds: int = Field(description="Since the session was made")


class BothCounters(BaseModel):
    """A session's counters."""

    uplink: FlowCounters
    downlink: FlowCounters


class UplinkOutput(BaseModel):
    """Our F-TEID, and the peer if it is pinned."""

    teid: int
    local_ip: Ipv4 | None = Field(description="null: its gateway has left the configuration")
    local_ip6: Ip | None = Field(None, description="There if the gateway has access_ip6")
    remote_ip: Ipv4 | None


class SessionOutput(BaseModel):
    """A session as it is answered; `shown` writes it."""

    id: str
    gateway: str
    ue_ip: Ipv4 | None
    uplink: UplinkOutput | None = Field(
        description="Of a session with an owner that of its last rule; null: it has none"
    )
    downlink: DownlinkOutput | None
    qfi: int | None = Field(description="null: no PDU Session Container")
    rqi: bool
    qfi_required: bool
    qfi_check: bool
    state: SessionState
    reason: str | None = Field(
        description="The switch's, when the state is failed; the peer's, when it is error_indicated"
    )
    created_at: datetime
    updated_at: datetime
    counters: BothCounters | None = Field(
        description="null in a list that was asked for without them"
    )
    ambr: RatesOutput | None = None
    usage: UsageLimitsOutput | None = None
    closed: Literal["quota"] | None = Field(
        None, description="Of a session with usage: nothing passes, since its quota is used up"
    )
    bearers: list[BearerOutput] | None = None
    core: CoreOutput | None = None
    breakout: list[Prefix] | None = None
    framed_routes: list[AnyPrefix] | None = None
    ue_ipv6: Prefix6 | None = None
    buffer: int | None = None
    owner: OwnerOutput | None = None


class SessionList(BaseModel):
    """A page of sessions."""

    items: list[SessionOutput]
    next: str | None = Field(description="The cursor of the next page")
    total: int | None = Field(None, description="If asked for: how many match on all pages")


class FlowOutput(BaseModel):
    """An OpenFlow flow of a session."""

    flow: str = Field(description="As ovs-ofctl add-flow accepts it")
    direction: Direction
    packets: int
    bytes: int
    bearer: str | None = Field(description="Whose it is; null: the session's own")


class FlowList(BaseModel):
    """The flows of a session."""

    items: list[FlowOutput]
