"""A session as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ofgtp.core.filters import PacketFilter
from ofgtp.core.model import BatchPut, FTeid, Qos
from ofgtp.core.sessions.detail import NO_LIMITS, NO_RATES, Bearer, Detail, Gate, Rates, UsageLimits
from ofgtp.core.sessions.shaped import ShapedPut


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
