"""A session's PDRs, FARs, QERs, URRs and BARs, as its control plane made them by PFCP."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from ofgtp.northbound.bearers import Prefix6
from ofgtp.northbound.shapes import Counters, Ip, Ipv4


class SdfFilterOutput(BaseModel):
    """A packet filter."""

    id: int | None = Field(description="By which other PDRs name it")
    description: str | None = Field(description="null: it stands in another PDR")
    traffic_class: tuple[int, int] | None = Field(description="ToS octet and mask")


class PdrOutput(BaseModel):
    """A Packet Detection Rule."""

    id: int
    precedence: int | None
    source: Literal["access", "core", "sgi_lan", "cp_function"]
    teid: int | None = Field(description="Ours; null: the session's")
    ue_ip: Ipv4 | None = Field(description="null: the session's")
    ue_ipv6: Prefix6 | None = Field(description="null: the session's")
    network_instance: str | None
    filters: list[SdfFilterOutput]
    qfis: list[int]
    framed_routes: list[str]
    framed_ipv6_routes: list[str]
    far: int | None
    qers: list[int]
    urrs: list[int]


class TunnelOutput(BaseModel):
    """A peer's F-TEID."""

    teid: int
    remote_ip: Ip


class FarOutput(BaseModel):
    """A Forwarding Action Rule."""

    id: int
    action: list[str] = Field(description="FORW, DROP, BUFF, NOCP …")
    destination: str | None
    network_instance: str | None
    tunnel: TunnelOutput | None
    bar: int | None


class GateOutput(BaseModel):
    """What may pass."""

    uplink: Literal["open", "closed"]
    downlink: Literal["open", "closed"]


class BitratesOutput(BaseModel):
    """MBR or GBR."""

    uplink_kbps: int
    downlink_kbps: int


class QerOutput(BaseModel):
    """A QoS Enforcement Rule."""

    id: int
    gate: GateOutput
    mbr: BitratesOutput | None
    gbr: BitratesOutput | None
    qfi: int | None
    rqi: bool


class NumberedOutput(BaseModel):
    """A rule that has no effect yet."""

    id: int


class UrrOutput(BaseModel):
    """A Usage Reporting Rule, and what it has measured since its last report."""

    id: int
    measures: list[Literal["duration", "volume", "event"]]
    reports: int = Field(description="How many there have been")
    since: datetime
    uplink: Counters
    downlink: Counters
    quota_exhausted: bool = Field(description="Whether no packet of its PDRs passes")


class RulesOutput(BaseModel):
    """A session as its control plane made it."""

    user: str | None = Field(description="Of the User ID the IMSI, NAI or MSISDN")
    apn_dnn: str | None
    pdrs: list[PdrOutput]
    fars: list[FarOutput]
    qers: list[QerOutput]
    urrs: list[UrrOutput]
    bars: list[NumberedOutput]
