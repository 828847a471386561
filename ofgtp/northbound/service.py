"""What a northbound interface asks of ofgtp: the one interface between REST and control."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Literal, NamedTuple, Protocol

from ofgtp.core.errors import OfgtpError
from ofgtp.core.filters import PacketFilter
from ofgtp.core.history import Point
from ofgtp.core.model import Address, BatchPut, Direction, FTeid, Qos, Session, SessionState
from ofgtp.core.observations import Observation
from ofgtp.core.peers.paths import PathState
from ofgtp.core.pfcp.node.associations import PeerState
from ofgtp.core.sessions.detail import (
    NO_LIMITS,
    NO_RATES,
    Bearer,
    Detail,
    Gate,
    Rates,
    UsageLimits,
)
from ofgtp.core.sessions.shaped import ShapedPut
from ofgtp.northbound.events import EventLog


@dataclass(frozen=True, slots=True)
class Counters:
    """What has been forwarded."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FlowCounters:
    """What a session has carried, and since how many seconds: since it was made."""

    packets: int
    bytes: int
    seconds: int


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as the operator sees it; times are aware and in UTC."""

    session: Session
    state: SessionState
    reason: str | None
    """Why the switch refused it, when the state is `failed`; what the peer said, when it is
    `error_indicated`."""
    local_ip: IPv4Address | None
    """The gateway's GTP-U address, `uplink.local_ip`; None if it has left the configuration."""
    created_at: datetime
    updated_at: datetime
    uplink: FlowCounters | None
    downlink: FlowCounters | None
    """None: they were not asked for."""
    bearers: Mapping[str, tuple[Counters, Counters]] = field(default_factory=dict)
    """Uplink and downlink of each bearer by its id; part of the session's."""
    local_ip6: IPv6Address | None = None
    """The gateway's second one, `uplink.local_ip6`; None: it has none."""


@dataclass(frozen=True, slots=True)
class UplinkRequest:
    """A tunnel to us; a TEID of None is the service's to choose."""

    teid: int | None
    remote_ip: IPv4Address | None


@dataclass(frozen=True, slots=True)
class BearerRequest:
    """A bearer as asked for; see `Bearer`."""

    id: str
    precedence: int
    filters: tuple[PacketFilter, ...]
    uplink: UplinkRequest | None = None
    downlink: FTeid | None = None
    shares_downlink: bool = False
    qos: Qos | None = None
    mbr: Rates = NO_RATES
    gate: Gate = Gate.OPEN
    usage: UsageLimits = NO_LIMITS

    @classmethod
    def of(cls, bearer: Bearer) -> BearerRequest:
        """What makes a bearer."""
        up = bearer.uplink
        return cls(
            id=bearer.id,
            precedence=bearer.precedence,
            filters=bearer.filters,
            uplink=None if up is None else UplinkRequest(up.teid, up.remote_ip),
            downlink=bearer.downlink,
            shares_downlink=bearer.shares_downlink,
            qos=bearer.qos,
            mbr=bearer.mbr,
            gate=bearer.gate,
            usage=bearer.usage,
        )


@dataclass(frozen=True, slots=True)
class RelayRequest:
    """The core side of a relay as asked for; see `Relay`."""

    teid: int | None
    remote: FTeid


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A session as asked for: the fields have the right shape, the gateway has not seen them.

    What is None is the service's to choose: a new id, the only gateway, the present TEID or a new
    one. `downlink` None means idle; `ue_ip` None, a UE with a `ue_ipv6` alone, or a relay of
    whatever comes.
    """

    id: str | None
    gateway: str | None
    ue_ip: IPv4Address | None
    uplink_teid: int | None
    uplink_remote_ip: IPv4Address | None
    downlink: FTeid | None
    qos: Qos | None = None
    ambr: Rates = NO_RATES
    bearers: tuple[BearerRequest, ...] = ()
    relay: RelayRequest | None = None
    breakout: tuple[IPv4Network, ...] = ()
    framed_routes: tuple[IPv4Network | IPv6Network, ...] = ()
    ue_ipv6: IPv6Network | None = None
    usage: UsageLimits = NO_LIMITS
    buffer: int | None = None

    @property
    def more(self) -> bool:
        """Whether it is more than a tunnel pair."""
        routed = self.relay or self.breakout or self.framed_routes or self.ue_ipv6
        far6 = self.downlink is not None and isinstance(self.downlink.ip, IPv6Address)
        return bool(self.ambr or self.bearers or routed or self.usage or self.buffer or far6)

    @classmethod
    def of(cls, put: BatchPut | ShapedPut) -> SessionRequest:
        """What a line of a batch asks for."""
        if isinstance(put, ShapedPut):
            return cls._of_shaped(put)
        peer, far_teid, far_ip = put.uplink_remote_ip, put.downlink_teid, put.downlink_ip
        far = None
        if far_teid is not None and far_ip is not None:
            far = FTeid(far_teid, IPv4Address(far_ip))
        return cls(
            id=put.id,
            gateway=put.gateway,
            ue_ip=IPv4Address(put.ue_ip),
            uplink_teid=put.uplink_teid,
            uplink_remote_ip=None if peer is None else IPv4Address(peer),
            downlink=far,
            qos=Qos.of(put.qos),
        )

    @classmethod
    def _of_shaped(cls, put: ShapedPut) -> SessionRequest:
        session = put.session()
        up, detail = session.uplink, session.detail or Detail()
        return cls(
            id=put.id,
            gateway=put.gateway,
            ue_ip=session.ue_ip,
            uplink_teid=None if up is None else up.teid,
            uplink_remote_ip=None if up is None else up.remote_ip,
            downlink=session.downlink,
            qos=session.qos,
            ambr=detail.ambr,
            bearers=tuple(map(BearerRequest.of, detail.bearers)),
        )


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was just made, as asked for by `put`; `at` is aware and in UTC."""

    put: BatchPut
    gateway: str
    local_ip: IPv4Address
    state: SessionState
    at: datetime
    local_ip6: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions to list; None matches all.

    `id` stands anywhere in the session's, an IPv6 `ue_ip` is one of the UE's prefix, which holds
    `ue_ipv6` or lies in it, `teid` is the uplink's, `peer` either side's.
    """

    gateway: str | None = None
    id: str | None = None
    ue_ip: Address | None = None
    ue_ipv6: IPv6Network | None = None
    teid: int | None = None
    peer: Address | None = None
    state: SessionState | None = None
    limit: int = 100
    cursor: str | None = None
    counters: bool = True
    """Whether the switch is asked for them: two flows of each session."""


BothWays = tuple[Counters, Counters]
"""Uplink and downlink."""
NOTHING_USED: BothWays = Counters(0, 0), Counters(0, 0)


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


@dataclass(frozen=True, slots=True)
class FlowView:
    """One OpenFlow flow of a session; `flow` is what `ovs-ofctl add-flow` accepts."""

    flow: str
    direction: Direction
    packets: int
    bytes: int
    bearer: str | None = None
    """The id of the bearer whose it is; None: the session's own."""


@dataclass(frozen=True, slots=True)
class SeenView:
    """What the gateway has lately seen of packets of a session, or from its peers, that went wrong;
    times are aware and in UTC."""

    seen: Observation
    count: int
    """How many samples there were since `first_at`: of each kind the switch shows some."""
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class PeerView:
    """A GTP-U peer in use, as the operator sees it; times are aware and in UTC, None is never."""

    gateway: str
    ip: Address
    state: PathState
    sessions: int
    """How many sessions name it."""
    next_hop: Address | None
    """Where its packets go on the access side: itself, or a router; None: no route leads there."""
    mac: str | None
    """Of that next hop; None: it has not answered ARP, or neighbour discovery."""
    echo_sent_at: datetime | None
    echo_answered_at: datetime | None
    echo_heard_at: datetime | None
    """Its last Echo Request to us."""


@dataclass(frozen=True, slots=True)
class HistoryView:
    """The last minutes of a gateway, the oldest first."""

    gateway: str
    points: Sequence[Point]


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


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How many sessions a batch created, replaced and deleted."""

    created: int
    replaced: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations by class: `counts` has one more entry than `bounds`, for what is above."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


class Rounds(NamedTuple):
    """The looks at all sessions in turn, for what they have used."""

    polled: int = 0
    """Sessions that were looked at."""
    made: int = 0
    seconds: float = 0.0
    """What the last one took; 0: there was none yet."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease by which the controller owns a gateway's tunnels."""

    seconds: int
    renewed_at: float | None
    """Unix time; None: not yet."""
    renewals: int
    expiries: int


@dataclass(frozen=True, slots=True)
class GatewayMetrics:
    """A gateway in numbers. What counts goes up only, and from 0 with each run."""

    name: str
    connected: bool
    in_sync: bool
    sessions: Mapping[SessionState, int]
    forwarded: Mapping[Direction, Counters]
    drops: Mapping[str, int]
    """Packets by reason."""
    flow_mods: Mapping[str, int]
    """By command."""
    barriers: Histogram
    """Latency in seconds."""
    openflow_errors: Mapping[str, int]
    """By what the switch said, "type: code"."""
    lease: Lease | None
    """None: the tunnels are the switch's."""
    repairs: int
    rounds: Rounds = field(default_factory=Rounds)
    gtpu_messages: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Signalling by type, such as "echo_request", and direction, "received" or "sent"."""
    gtpu_ignored: Mapping[str, int] = field(default_factory=dict)
    """Messages that were read and then ignored, by why."""
    extension_headers: Mapping[str, int] = field(default_factory=dict)
    """T-PDUs with extension headers, by type, such as "0x85"."""
    paths: Mapping[PathState, int] = field(default_factory=dict)
    """Peers in use by the state of their paths."""
    neighbours: Mapping[str, int] = field(default_factory=dict)
    """Next hops on the access side by what ARP knows: "resolved", "unresolved" or "stale"."""
    next_hops: Mapping[str, bool] = field(default_factory=dict)
    """Whether that of the core side answers, by IP version, "4" or "6"; of those that there are."""
    received: Mapping[str, int] = field(default_factory=dict)
    """Frames that came in, by port: "access" or "core"."""
    own: Mapping[str, int] = field(default_factory=dict)
    """Those of them that were for the gateway itself: "arp", "ping", "signalling", "router"."""
    buffer: Mapping[str, int] = field(default_factory=dict)
    """Held for idle UEs now: "sessions", "packets", "bytes"; and packets so far: "held", and of
    these "replayed"."""
    ovsdb: str = ""
    """Where the switch's database is: gateways of one switch have the same."""
    switch_drops: Mapping[str, int] = field(default_factory=dict)
    """What that switch has dropped by itself, for all its bridges; empty if it does not tell."""


class BatchError(OfgtpError):
    """A batch that was refused as a whole: (1-based line, field, message) of what is wrong."""

    def __init__(self, errors: Sequence[tuple[int, str, str]]) -> None:
        self.errors = list(errors)
        super().__init__(f"{len(self.errors)} errors in the batch")


class WrongLine(Exception):
    """A line of a batch that cannot be read; `errors` are (field, what is wrong with it)."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        self.errors = errors
        super().__init__(f"{len(errors)} errors")


@dataclass(frozen=True, slots=True)
class Taken:
    """A setting that was taken from a changed ofgtp.toml."""

    gateway: str | None
    """None: of the controller or the API."""
    key: str
    text: str
    """What it is now."""

    def __str__(self) -> str:
        where = "" if self.gateway is None else f"{self.gateway}: "
        return f"{where}{self.key}: {self.text}"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of reading ofgtp.toml again."""

    file: str
    taken: Sequence[Taken]
    pending: Mapping[str, str]
    """Gateways of which switch or host are not as they should be yet, and why: they will be."""


class Reload(Protocol):
    """Reads ofgtp.toml again, and takes what has changed: all of it, or nothing."""

    def __call__(self) -> Reloaded:
        """Do so.

        Raises:
            ConfigError, NotReloaded, SwitchRefused: nothing has changed.
        """

    def token_in_file(self) -> str | None:
        """The token that `token_file` holds now; None if it holds none."""


class Service(Protocol):
    """The sessions of all gateways. Calls may block the calling green thread for seconds.

    Beside what is named below, every call may raise StoreError.
    """

    @property
    def events(self) -> EventLog:
        """What happens, to the gateways and to the sessions."""

    def create(self, request: SessionRequest) -> SessionView:
        """Make a session.

        Raises:
            Conflict, InvalidSession, UnknownGateway, SwitchRefused.
        """

    def put(self, request: SessionRequest) -> tuple[SessionView, bool]:
        """Make or replace the session with the request's id; the flag tells that it is new.

        Raises:
            Conflict, InvalidSession, UnknownGateway, SwitchRefused.
        """

    def put_new(self, put: BatchPut) -> NewSession | None:
        """Make a session that is plainly right and new, together with others that are asked for
        at the same time. None, and nothing has changed: `put` does it, or tells why not.

        Raises:
            SwitchRefused.
        """

    def patch(
        self, session_id: str, change: Callable[[dict[str, Any]], SessionRequest]
    ) -> SessionView:
        """Replace a session by what `change` makes of it.

        `change` gets the session's writable fields as JSON and is called while nobody else can
        change the session; what it raises is passed on.

        Raises:
            UnknownSession, Conflict, InvalidSession, SwitchRefused.
        """

    def get(self, session_id: str) -> SessionView:
        """Raise UnknownSession if there is none."""

    def delete(self, session_id: str) -> bool:
        """Delete a session; False when the switch is away and its flows go when it is back.

        Raises:
            UnknownSession, SwitchRefused.
        """

    def batch(
        self, ops: Iterable[tuple[int, BatchPut | ShapedPut | SessionRequest | str | WrongLine]]
    ) -> BatchResult:
        """Do all of it in order, or nothing: (line, session to put or id to delete).

        With a line that is wrong nothing is done; the lines behind it are checked all the same.
        The lines are read while it is done; what reading them raises is passed on, and nothing is
        done.

        Raises:
            BatchError, SwitchRefused.
        """

    def session_flows(self, session_id: str) -> Sequence[FlowView]:
        """Raise UnknownSession if there is none."""

    def session_usage(self, session_id: str) -> UsageView:
        """What a session has used, up to now. Raises UnknownSession if there is none."""

    def usage(self, filter: UsageFilter) -> UsagePage:
        """What sessions have used, as it was last read of all of them.

        Raises:
            InvalidSession: the cursor is none of ours.
            UnknownGateway.
        """

    def session_rules(self, session_id: str) -> dict[str, Any]:
        """The PDRs, FARs, QERs, URRs and BARs of a session, ready for JSON; none of one that no
        control plane made.

        Raises:
            UnknownSession.
        """

    def seen(self, session_id: str) -> Sequence[SeenView]:
        """What was lately seen to go wrong that bears on it, the latest first.

        Raises:
            UnknownSession.
        """

    def flows_text(self, gateway: str | None) -> Iterator[str]:
        """Every flow wanted in the switch of one gateway or of all, as ovs-ofctl lines.

        Raises:
            UnknownGateway.
        """

    def gateways(self) -> Sequence[dict[str, Any]]:
        """Each gateway's name, whether it is connected, and more, ready for JSON."""

    def peers(
        self,
        gateway: str | None = None,
        state: PathState | None = None,
        worst: int | None = None,
    ) -> Sequence[PeerView]:
        """The GTP-U peers that sessions name, of one gateway or of all; `state` None is any.

        With `worst` only so many of each gateway: first those that are down, then those that are
        unknown, and in each state those that most sessions name.

        Raises:
            UnknownGateway.
        """

    def history(self, gateway: str | None, seconds: int) -> Sequence[HistoryView]:
        """The last so many seconds of one gateway or of all; no switch is asked.

        Raises:
            UnknownGateway.
        """

    def pfcp(self) -> Sequence[PfcpView]:
        """The gateways that speak PFCP, and their control planes."""

    def metrics(self) -> Sequence[GatewayMetrics]:
        """Each gateway in numbers; the cost does not grow with the sessions' flows."""

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and what to say of it, ready for JSON."""

    def list(self, filter: SessionFilter) -> tuple[Sequence[SessionView], str | None]:
        """One page of sessions, and the cursor of the next.

        Raises:
            InvalidSession: the cursor is none of ours.
        """
