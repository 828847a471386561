"""Query parameters: which sessions, flows or peers to list."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ofgtp.core.model import SessionState
from ofgtp.core.peers.paths import PathState
from ofgtp.northbound.bearers import Prefix6
from ofgtp.northbound.peer_order import Order, Sort
from ofgtp.northbound.shapes import Ip, QueryTeid


class NoQuery(BaseModel):
    """No query parameters."""

    model_config = ConfigDict(extra="forbid")


class ListQuery(NoQuery):
    """Which sessions to list."""

    gateway: str | None = None
    id: str | None = Field(None, description="Stands anywhere in the id")
    ue_ip: Ip | None = Field(
        None, description="The UE's IPv4 address, or an IPv6 address of its prefix"
    )
    ue_ipv6: Prefix6 | None = Field(
        None,
        description="An IPv6 address or a prefix: the UE's prefix holds it, or lies in it",
    )
    teid: QueryTeid | None = Field(
        None, description="At the gateway: the session's, a bearer's, or of a relay's core side"
    )
    peer: Ip | None = Field(
        None, description="Of uplink, downlink, a bearer, or a relay's core side"
    )
    state: SessionState | None = None
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = Field(None, description="`next` of the page before")
    counters: bool = Field(
        True, description="false: without `counters`, for which the switch is asked: twice as fast"
    )
    total: bool = Field(False, description="true: with `total`, how many match on all pages")


class FlowsQuery(NoQuery):
    """Which flows to write out, and how."""

    format: Literal["ovs-ofctl"] = "ovs-ofctl"
    gateway: str | None = None


class PeersQuery(NoQuery):
    """Which peers to list."""

    gateway: str | None = None
    state: PathState | None = Field(None, description="Of the path")
    worst: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Only so many of each gateway, the worst first: down, unknown, up, and in each"
        " state those that most sessions name",
    )
    sort: Sort | None = Field(
        None,
        description="By what they are put in order; state: down, unknown, up; answered: the last"
        " Echo Response",
    )
    order: Order = Field("asc", description="Of sort")
    limit: int | None = Field(None, ge=1, le=1000, description="At most so many; left out: all")
    offset: int = Field(0, ge=0, description="Without so many of the first")
