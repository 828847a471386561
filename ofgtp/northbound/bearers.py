"""What a session has beyond a tunnel pair, in JSON: bearers, rates, relays, prefixes."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from ofgtp.core.buffer.queue import LIMIT_MAX
from ofgtp.core.filters import (
    ASSIGNED,
    FilterError,
    PacketFilter,
    parse_ports,
    parse_prefix,
    parse_protocol,
    ports_text,
    protocol_text,
)
from ofgtp.core.model import FTeid, Qos, Session
from ofgtp.core.sessions.detail import (
    BEARERS_MAX,
    FILTERS_MAX,
    INACTIVITY_MAX_S,
    NO_LIMITS,
    OCTETS_MAX,
    PRECEDENCE_MAX,
    RATE_MAX_KBPS,
    Bearer,
    Gate,
    Rates,
    UsageLimits,
)
from ofgtp.northbound import service
from ofgtp.northbound.service import BearerRequest, RelayRequest, SessionView, UplinkRequest
from ofgtp.northbound.shapes import (
    Counters,
    DownlinkInput,
    DownlinkOutput,
    Ipv4,
    Qfi,
    SessionId,
    Strict,
    Teid,
    UplinkInput,
)

_PREFIX_SCHEMA = {"type": "string", "examples": ["10.3.0.0/16"]}


def _prefix(value: object) -> IPv4Network:
    try:
        if isinstance(value, str):
            return IPv4Network(value)
    except (AddressValueError, NetmaskValueError):
        pass
    except ValueError:
        raise PydanticCustomError("prefix", "has bits set behind its prefix length") from None
    raise PydanticCustomError("prefix", "must be an IPv4 prefix like 10.3.0.0/16")


Prefix = Annotated[
    IPv4Network, PlainValidator(_prefix), PlainSerializer(str), WithJsonSchema(_PREFIX_SCHEMA)
]


def _prefix6(value: object) -> IPv6Network:
    try:
        if isinstance(value, str) and "%" not in value:
            return IPv6Network(value)
    except (AddressValueError, NetmaskValueError):
        pass
    except ValueError:
        raise PydanticCustomError("prefix", "has bits set behind its prefix length") from None
    raise PydanticCustomError("prefix", "must be an IPv6 prefix like 2001:db8:a:1::/64")


Prefix6 = Annotated[
    IPv6Network,
    PlainValidator(_prefix6),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["2001:db8:a:1::/64"]}),
]


def _any_prefix(value: object) -> IPv4Network | IPv6Network:
    return _prefix6(value) if isinstance(value, str) and ":" in value else _prefix(value)


AnyPrefix = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(_any_prefix),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["192.168.7.0/24", "2001:db8:f::/48"]}),
]
Kbps = Annotated[int, Field(ge=1, le=RATE_MAX_KBPS, strict=True)]
Octets = Annotated[int, Field(ge=1, le=OCTETS_MAX, strict=True)]

_FILTER_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {
            "type": "string",
            "examples": ["permit out udp from 10.2.0.0/24 5004-5060 to assigned"],
            "description": "As TS 29.212, 5.4.2: from the remote end to the UE",
        },
        {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {
                "protocol": {
                    "anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0, "maximum": 255}]
                },
                "remote": {"type": "string"},
                "local": {"type": "string"},
                "remote_ports": {"type": "string"},
                "local_ports": {"type": "string"},
                "dscp": {"type": "integer", "minimum": 0, "maximum": 63},
            },
        },
    ]
}

_FILTER_MEMBERS = frozenset({"protocol", "remote", "remote_ports", "local", "local_ports", "dscp"})


def read_filter(value: object) -> PacketFilter:
    """A filter in either form.

    Raises:
        PydanticCustomError: with the reason.
    """
    try:
        if isinstance(value, str):
            return PacketFilter.parse(value)
        if isinstance(value, dict):
            return _filter_of(value)
    except FilterError as error:
        raise PydanticCustomError("filter", "{reason}", {"reason": str(error)}) from None
    raise PydanticCustomError("filter", "must be a text like permit out … or an object")


def _filter_of(value: dict[str, Any]) -> PacketFilter:
    unknown = sorted(value.keys() - _FILTER_MEMBERS)
    if unknown or not value:
        known = ", ".join(sorted(_FILTER_MEMBERS))
        found = f"{unknown[0]!r} is unknown" if unknown else "it is empty"
        raise FilterError(f"{found}: {known}")

    def text(name: str) -> str | None:
        given = value.get(name)
        if given is not None and not isinstance(given, str):
            raise FilterError(f"{name} must be a text")
        return given

    protocol, dscp = value.get("protocol"), value.get("dscp")
    if type(protocol) is str:
        protocol = parse_protocol(protocol)
    elif protocol is not None and type(protocol) is not int:
        raise FilterError("protocol must be a name or a number")
    if dscp is not None and type(dscp) is not int:
        raise FilterError("dscp must be a number, 0 to 63")
    remote, local = text("remote"), text("local")
    remote_ports, local_ports = text("remote_ports"), text("local_ports")
    return PacketFilter(
        protocol,
        None if remote is None else parse_prefix(remote),
        () if remote_ports is None else parse_ports(remote_ports),
        ASSIGNED if local in (None, ASSIGNED.value) else parse_prefix(local),
        () if local_ports is None else parse_ports(local_ports),
        dscp,
    )


def show_filter(each: PacketFilter) -> str | dict[str, Any]:
    """A filter as it is answered: the text, or the object where the text has no word for it."""
    if each.dscp is None:
        return str(each)
    shown: dict[str, Any] = {}
    if each.protocol is not None:
        shown["protocol"] = protocol_text(each.protocol)
    if each.remote is not None:
        shown["remote"] = str(each.remote)
    if each.remote_ports:
        shown["remote_ports"] = ports_text(each.remote_ports)
    if each.local is not ASSIGNED:
        shown["local"] = "any" if each.local is None else str(each.local)
    if each.local_ports:
        shown["local_ports"] = ports_text(each.local_ports)
    return shown | {"dscp": each.dscp}


FilterShape = Annotated[
    PacketFilter,
    PlainValidator(read_filter),
    PlainSerializer(show_filter),
    WithJsonSchema(_FILTER_SCHEMA),
]


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


def resource(session: Session) -> dict[str, Any]:
    """What a session has beyond a tunnel pair, as it may be written again; nothing where it has
    nothing."""
    detail = session.detail
    if detail is None:
        return {}
    made: dict[str, Any] = {}
    if detail.ambr:
        made["ambr"] = _rates(detail.ambr)
    if detail.usage:
        made["usage"] = _usage(detail.usage)
    if detail.bearers:
        made["bearers"] = [bearer_resource(each) for each in detail.bearers]
    if detail.relay is not None:
        relay = detail.relay
        made["core"] = {
            "teid": relay.teid,
            "remote_teid": relay.remote.teid,
            "remote_ip": str(relay.remote.ip),
        }
    if detail.breakout:
        made["breakout"] = [str(each) for each in detail.breakout]
    if detail.framed_routes:
        made["framed_routes"] = [str(each) for each in detail.framed_routes]
    if detail.ue_ipv6 is not None:
        made["ue_ipv6"] = str(detail.ue_ipv6)
    if detail.buffer is not None:
        made["buffer"] = detail.buffer
    return made


def bearer_resource(bearer: Bearer) -> dict[str, Any]:
    """A bearer as it may be written again."""
    made: dict[str, Any] = {
        "id": bearer.id,
        "precedence": bearer.precedence,
        "filters": [show_filter(each) for each in bearer.filters],
        "gate": bearer.gate.value,
    }
    if bearer.uplink is not None:
        peer = bearer.uplink.remote_ip
        made["uplink"] = {"teid": bearer.uplink.teid}
        if peer is not None:
            made["uplink"]["remote_ip"] = str(peer)
    if not bearer.shares_downlink:
        far = bearer.downlink
        made["downlink"] = None if far is None else _far(far)
    if bearer.qos is not None:
        made["qfi"] = bearer.qos.qfi
    if bearer.mbr:
        made["mbr"] = _rates(bearer.mbr)
    if bearer.usage:
        made["usage"] = _usage(bearer.usage)
    return made


def _far(far: FTeid) -> dict[str, Any]:
    return {"teid": far.teid, "remote_ip": str(far.ip)}


def _usage(usage: UsageLimits) -> dict[str, int | None]:
    return {
        "threshold_bytes": usage.threshold,
        "quota_bytes": usage.quota,
        "inactivity_seconds": usage.inactivity,
    }


def _shown_usage(usage: UsageLimits, used_up: bool) -> dict[str, Any]:
    """The members that show limits and what has become of them; none where there are none."""
    if not usage:
        return {}
    return {"usage": UsageLimitsOutput.of(usage), "closed": "quota" if used_up else None}


def _rates(rates: Rates) -> dict[str, int]:
    named = {"uplink_kbps": rates.uplink, "downlink_kbps": rates.downlink}
    return {name: rate for name, rate in named.items() if rate is not None}


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
