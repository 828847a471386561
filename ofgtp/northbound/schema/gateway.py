"""The state of gateways, and whether all is well."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ofgtp.core.troubles import What
from ofgtp.northbound.shapes import Counters


class FaultOutput(BaseModel):
    """A known fault of the switch's version."""

    name: str
    summary: str = Field(description="What goes wrong")
    remedy: str = Field(description="What ofgtp does about it")
    basis: Literal["measured", "read in its source", "not tried"] = Field(
        description="How it is known that this version has it"
    )
    reference: str = Field(description="Where the documentation says more")


class BothForwarded(BaseModel):
    """What a gateway has forwarded; goes up only, from 0 with each run."""

    uplink: Counters
    downlink: Counters


class LeaseOutput(BaseModel):
    """The lease by which the controller owns the tunnels."""

    seconds: int
    seconds_left: float | None = Field(
        description="Until forwarding ends, if it is not renewed; null: it has not begun"
    )
    renewals: int
    expiries: int


class TroubleOutput(BaseModel):
    """One thing that is wrong with a gateway."""

    what: str = Field(json_schema_extra={"enum": [str(each) for each in What]})
    level: Literal["bad", "warning"]
    text: str
    do: str = Field(description="What to type or to look at; empty: nothing in particular")


class GatewayOutput(BaseModel):
    """A gateway's state."""

    model_config = ConfigDict(extra="allow")

    name: str
    connected: bool
    ovs_version: str | None = None
    datapath_id: str | None = None
    faults: list[FaultOutput] = Field([], description="Of this version of Open vSwitch")
    forwarded: BothForwarded | None = None
    lease: LeaseOutput | None = Field(None, description="null: the tunnels are the switch's")
    troubles: list[TroubleOutput] = Field([], description="What is wrong with it, the worst first")


class GatewayList(BaseModel):
    """All gateways of the configuration."""

    items: list[GatewayOutput]


class HealthOutput(BaseModel):
    """Whether all gateways are connected and the store can be written."""

    model_config = ConfigDict(extra="allow")

    status: str
    instance_id: str
