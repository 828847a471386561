"""The shapes of REST's JSON: what is accepted, and what is answered."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from ofgtp.core.model import Direction, FTeid, Qos, SessionState
from ofgtp.core.observations import Seen
from ofgtp.core.peers.paths import PathState
from ofgtp.core.pfcp.node.associations import PeerState
from ofgtp.core.sessions.detail import NO_LIMITS, Rates
from ofgtp.core.troubles import What
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
from ofgtp.northbound.peer_order import Order, Sort
from ofgtp.northbound.service import PeerView, PfcpView, Reloaded, SeenView, SessionRequest
from ofgtp.northbound.shapes import (
    ID_RULE,
    Counters,
    DownlinkInput,
    DownlinkOutput,
    Ip,
    Ipv4,
    Qfi,
    QueryTeid,
    SessionId,
    Strict,
    UplinkInput,
)

MAX_ERRORS = 100
"""So many errors of one request are named."""
LOC_LIMIT = 200
"""So many characters of a field's name: a member that nobody knows may have any."""


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


class PutLine(Strict):
    """A line of a batch that creates or replaces a session."""

    op: Literal["put"]
    session: SessionInput


class DeleteLine(Strict):
    """A line of a batch that deletes a session."""

    op: Literal["delete"]
    id: SessionId


BATCH_LINE: TypeAdapter[PutLine | DeleteLine] = TypeAdapter(
    Annotated[PutLine | DeleteLine, Field(discriminator="op")]
)


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
    teid: QueryTeid | None = Field(None, description="The uplink's")
    peer: Ip | None = Field(None, description="uplink.remote_ip or downlink.remote_ip")
    state: SessionState | None = None
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = Field(None, description="`next` of the page before")
    counters: bool = Field(
        True, description="false: without `counters`, for which the switch is asked: twice as fast"
    )


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


class IcmpOutput(BaseModel):
    """What an ICMP error says."""

    type: int
    code: int


class SeenOutput(BaseModel):
    """Something that went wrong lately, as samples of what the switch drops show it."""

    what: Seen = Field(
        description="Why packets of the UE were dropped, by the names of `ofgtp_drops`; or"
        " `icmp_error`: what somebody said of packets to the peer"
    )
    peer: Ipv4 = Field(description="Who sent the T-PDU; of `icmp_error`: to whom ours went")
    teid: int | None = Field(description="Of the T-PDU; of `icmp_error`: the one quoted, if any")
    source: Ip | None = Field(
        description="The T-PDU's inner source, if it was seen; of `icmp_error`: who says so"
    )
    qfi: int | None = Field(description="Of `wrong_qfi`: the one that came")
    icmp: IcmpOutput | None = Field(description="Of `icmp_error`: its type and code (RFC 792)")
    count: int = Field(description="Samples since `first_at`: what was dropped may be far more")
    first_at: datetime
    last_at: datetime

    @classmethod
    def of(cls, view: SeenView) -> SeenOutput:
        """The answer that shows `view`."""
        seen, detail = view.seen, view.seen.detail or 0
        is_icmp = seen.what is Seen.ICMP_ERROR
        icmp = IcmpOutput.model_construct(type=detail >> 8, code=detail & 0xFF)
        return cls.model_construct(
            what=seen.what,
            peer=seen.peer,
            teid=seen.teid,
            source=seen.source,
            qfi=None if is_icmp else seen.detail,
            icmp=icmp if is_icmp else None,
            count=view.count,
            first_at=view.first_at,
            last_at=view.last_at,
        )


class SeenList(BaseModel):
    """What was lately seen of a session, the latest first."""

    items: list[SeenOutput]


class BatchOutput(BaseModel):
    """What a batch did."""

    created: int
    replaced: int
    deleted: int


class NextHopOutput(BaseModel):
    """Where packets to a peer are sent on the access side: the peer itself, or a router."""

    ip: Ipv4
    mac: str | None = Field(description="null: it has not answered ARP")


class AnswersOutput(BaseModel):
    """How many requests were answered with a cause."""

    message: str = Field(description="As TS 29.244 calls the request")
    cause: int = Field(description="1: accepted; the others are in docs/pfcp.md")
    count: int


class RefusedOutput(BaseModel):
    """A request that was refused."""

    at: datetime
    reason: str


class AssociationOutput(BaseModel):
    """A control plane that is associated."""

    node_id: str
    ip: str = Field(description="Where it has set up its association from")
    state: PeerState = Field(description="Whether it answers heartbeats")
    recovery_time: datetime = Field(description="When it began")
    sessions: int
    heard_at: datetime | None = Field(description="The last heartbeat; null: none yet")
    answers: list[AnswersOutput] = Field(description="To its requests, since ofgtp has started")
    errors: list[RefusedOutput] = Field(description="The last requests that were refused")


class RefusedByOutput(RefusedOutput):
    """A request that was refused, and who sent it."""

    ip: str


class StrangerOutput(BaseModel):
    """An address outside `peers` that sends PFCP, and is not answered."""

    ip: str
    messages: int
    heard_at: datetime


class InstanceOutput(BaseModel):
    """A network instance that control planes have named since ofgtp has started."""

    name: str
    known: bool = Field(description="false: it is none of `network_instances`, and was refused")
    requests: int


class DroppedOutput(BaseModel):
    """How many messages were not answered for a reason."""

    reason: str = Field(description="As in docs/metrics.md")
    count: int


class ReceivedOutput(BaseModel):
    """How many messages of a type came from `peers`."""

    message: str
    count: int


class PfcpNodeOutput(BaseModel):
    """A gateway as a user plane node."""

    gateway: str
    node_id: str
    listen: Ipv4
    recovery_time: datetime = Field(description="Its sessions may be as old as that")
    problem: str | None = Field(description="What keeps it from being asked; null: nothing")
    associations: list[AssociationOutput]
    received: list[ReceivedOutput] = Field(description="Since ofgtp has started")
    dropped: list[DroppedOutput] = Field(description="Not answered, since ofgtp has started")
    refused: list[RefusedByOutput] = Field(
        description="The last requests that were refused, whoever asked; the last behind"
    )
    strangers: list[StrangerOutput] = Field(description="The one heard last is the first")
    network_instances: list[InstanceOutput]

    @classmethod
    def of(cls, view: PfcpView) -> PfcpNodeOutput:
        """The answer that shows it."""
        return cls.model_construct(
            gateway=view.gateway,
            node_id=view.node_id,
            listen=view.listen,
            recovery_time=view.recovery_time,
            problem=view.problem,
            associations=[
                AssociationOutput(
                    node_id=each.node_id,
                    ip=each.ip,
                    state=each.state,
                    recovery_time=each.recovery_time,
                    sessions=each.sessions,
                    heard_at=each.heard_at,
                    answers=[
                        AnswersOutput(message=message, cause=cause, count=count)
                        for (message, cause), count in sorted(each.answers.items())
                    ],
                    errors=[RefusedOutput(at=at, reason=reason) for at, reason in each.errors],
                )
                for each in view.associations
            ],
            received=[
                ReceivedOutput(message=message, count=count)
                for message, count in sorted(view.received.items())
            ],
            dropped=[
                DroppedOutput(reason=reason, count=count)
                for reason, count in sorted(view.dropped.items())
            ],
            refused=[
                RefusedByOutput(at=each.at, ip=each.ip, reason=each.text) for each in view.refused
            ],
            strangers=[
                StrangerOutput(ip=each.ip, messages=each.messages, heard_at=each.heard_at)
                for each in view.strangers
            ],
            network_instances=[
                InstanceOutput(name=each.name, known=each.known, requests=each.requests)
                for each in view.network_instances
            ],
        )


class PfcpList(BaseModel):
    """The gateways that speak PFCP."""

    items: list[PfcpNodeOutput]
    next: None = None


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


class TakenOutput(BaseModel):
    """A setting that was taken."""

    gateway: str | None = Field(description="null: of the controller or the API")
    key: str = Field(description="As in ofgtp.toml")
    text: str = Field(description="What it is now")


class PendingOutput(BaseModel):
    """A gateway that is not as it should be yet."""

    gateway: str
    reason: str


class ReloadOutput(BaseModel):
    """What was taken of ofgtp.toml."""

    file: str
    taken: list[TakenOutput] = Field(description="Empty: nothing has changed")
    pending: list[PendingOutput] = Field(
        description="Gateways whose switch or host is away: it is done as soon as they are back"
    )

    @classmethod
    def of(cls, made: Reloaded) -> ReloadOutput:
        """The answer that shows it."""
        return cls(
            file=made.file,
            taken=[TakenOutput(gateway=t.gateway, key=t.key, text=t.text) for t in made.taken],
            pending=[PendingOutput(gateway=name, reason=r) for name, r in made.pending.items()],
        )


class PeerOutput(BaseModel):
    """A GTP-U peer that sessions name, and the path to it."""

    gateway: str
    ip: Ip
    state: PathState = Field(
        description="unknown: it has never answered an Echo Request, as some peers never do;"
        " down: it has stopped to answer"
    )
    sessions: int = Field(description="How many name it, as uplink.remote_ip or downlink.remote_ip")
    next_hop: NextHopOutput | None = Field(description="null: no route leads there")
    echo_sent_at: datetime | None = Field(description="Our last Echo Request")
    echo_answered_at: datetime | None = Field(description="Its last Echo Response")
    echo_heard_at: datetime | None = Field(description="Its last Echo Request to us")

    @classmethod
    def of(cls, view: PeerView) -> PeerOutput:
        """The answer that shows `view`."""
        hop = view.next_hop
        return cls.model_construct(
            gateway=view.gateway,
            ip=view.ip,
            state=view.state,
            sessions=view.sessions,
            next_hop=hop and NextHopOutput.model_construct(ip=hop, mac=view.mac),
            echo_sent_at=view.echo_sent_at,
            echo_answered_at=view.echo_answered_at,
            echo_heard_at=view.echo_heard_at,
        )


class PeerList(BaseModel):
    """Peers that match."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "gateway": "gw1",
                            "ip": "10.1.0.2",
                            "state": "up",
                            "sessions": 3,
                            "next_hop": {"ip": "10.1.0.2", "mac": "52:54:00:00:00:03"},
                            "echo_sent_at": "2026-01-02T03:04:05.678901Z",
                            "echo_answered_at": "2026-01-02T03:04:05.680112Z",
                            "echo_heard_at": None,
                        }
                    ],
                    "next": None,
                    "total": 1,
                }
            ]
        }
    )

    items: list[PeerOutput]
    next: None = Field(description="Always null: go on by offset")
    total: int = Field(description="How many match, with limit and offset or without")


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


class FieldError(BaseModel):
    """What is wrong with one field."""

    line: int | None = Field(None, description="Of a batch, from 1")
    loc: str = Field(description="Dotted path; empty: the whole body or line")
    msg: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    session: str | None = Field(None, description="409: the session in the way")
    errors: list[FieldError] = []


READ_ONLY = frozenset(
    {"state", "reason", "created_at", "updated_at", "counters", "local_ip", "local_ip6"}
)

_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "string_type": "must be a string",
    "int_parsing": "must be an integer",
    "bool_type": "must be true or false",
    "union_tag_invalid": 'must be "put" or "delete"',
    "union_tag_not_found": "is required",
}


def field_errors(error: ValidationError) -> list[tuple[str, str]]:
    """(loc, msg) of each error; loc is the dotted path of the field within the session."""
    found = []
    details = error.errors(include_url=False, include_context=False, include_input=False)
    for item in details[:MAX_ERRORS]:
        kind, loc = item["type"], list(item["loc"])
        msg = _MESSAGES.get(kind) or item["msg"]
        if kind == "extra_forbidden" and loc[-1] in READ_ONLY:
            msg = "is read-only; leave it out"
        if kind.startswith("union_tag"):
            loc = ["op"]
        found.append((".".join(str(part) for part in loc)[:LOC_LIMIT], msg))
    return found


def batch_line_errors(error: ValidationError) -> list[tuple[str, str]]:
    """The same for a line of a batch, where fields of the session are named as in a PUT."""
    found = []
    for loc, msg in field_errors(error):
        parts = loc.split(".")
        if parts[0] in ("put", "delete"):
            parts = parts[1:]
        if parts[0:1] == ["session"] and len(parts) > 1:
            parts = parts[1:]
        found.append((".".join(parts), msg))
    return found
