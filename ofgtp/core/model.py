"""What ofgtp knows: gateways and sessions. Frozen values, validated where they are made.

A session is a set of rules (`core/sessions/`). The plainest, and what most sessions are, is one
uplink rule keyed by the local F-TEID and one downlink rule keyed by the UE's address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ofgtp.core.errors import InvalidSession

if TYPE_CHECKING:
    from ofgtp.core.sessions.detail import Detail

GTPU_PORT = 2152
"""UDP port of GTP-U (TS 29.281, 4.4.2.0)."""

ECT_1_PORT, CE_PORT = 61521, 61523
"""UDP ports inside the switch alone, never on a wire: to them it sends GTP-U that has these marks
of ECN, to be unwrapped (table outer_ecn). They are above those that Linux gives to clients."""

TEID_MAX = 0xFFFF_FFFF
"""TEIDs are 32 bits; 0 is for signalling only (TS 29.281, 5.1)."""

IFNAMSIZ = 15
"""Longest name of a Linux network interface, in characters."""

SESSION_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")

Direction = Literal["uplink", "downlink"]

Address = IPv4Address | IPv6Address


class SessionState(StrEnum):
    """Where a session stands with respect to the switch (see the REST contract)."""

    ACTIVE = "active"
    PENDING = "pending"
    FAILED = "failed"
    ERROR_INDICATED = "error_indicated"


@dataclass(frozen=True, slots=True)
class FTeid:
    """A fully qualified TEID (TS 29.244, 8.2.3): a tunnel endpoint's TEID and address."""

    teid: int
    ip: Address


@dataclass(frozen=True, slots=True)
class Uplink:
    """How uplink T-PDUs of a session are recognised: our TEID and, if pinned, the peer."""

    teid: int
    remote_ip: IPv4Address | None = None


QFI_MAX = 63
"""A QoS Flow Identifier has 6 bits (TS 38.415, 5.5.3.3); 0 names none that is sent to."""


@dataclass(frozen=True, slots=True)
class Qos:
    """How a session's T-PDUs carry the PDU Session Container, as on N3 (TS 38.415, 5.5.2).

    `qfi`, 1 to 63, and `rqi`, the Reflective QoS Indicator, stand in those sent downlink.
    """

    qfi: int
    rqi: bool = False
    required: bool = True
    """Whether uplink T-PDUs without the container are dropped."""
    check: bool = False
    """Whether uplink T-PDUs with another QFI in their container are dropped."""

    @property
    def octet(self) -> int:
        """The second octet of the downlink container's content: RQI and QFI."""
        return self.rqi << 6 | self.qfi

    @property
    def number(self) -> int:
        """All of it in one number, never 0: the octet, then bit 7 for required, 8 for check."""
        return self.check << 8 | self.required << 7 | self.octet

    @classmethod
    def of(cls, number: int) -> Qos | None:
        """What has this number; None for 0."""
        if not number:
            return None
        return cls(
            number & QFI_MAX, bool(number & 1 << 6), bool(number & 1 << 7), bool(number & 1 << 8)
        )


@dataclass(frozen=True, slots=True)
class Session:
    """What a UE has on one gateway: a set of rules, at the least a tunnel pair.

    `number` is the session's identity in flow cookies: 1 to 2^40-1, never reused, given by the
    store. `downlink` is None while the UE is idle.
    """

    number: int
    id: str
    gateway: str
    ue_ip: IPv4Address | None
    """None of a UE that has IPv6 alone, and of a relay that takes any content."""
    uplink: Uplink | None
    """None where a control plane says by rules which TEIDs there are."""
    downlink: FTeid | None
    error_indicated: bool = False
    """The peer has said by an Error Indication that it does not know the downlink tunnel: nothing
    is sent there until the session is put or patched."""
    qos: Qos | None = None
    """None: T-PDUs are sent without extension headers, as on S1-U."""
    detail: Detail | None = None
    """None: it is but a tunnel pair, the plainest set of rules."""


class BatchPut(NamedTuple):
    """A session as one line of a batch asks for it, in the right shape, addresses as numbers.

    What is None is to be chosen: a new id, the only gateway, the present TEID or a new one. The
    downlink's two are both None for an idle UE.
    """

    id: str | None
    gateway: str | None
    ue_ip: int
    uplink_teid: int | None
    uplink_remote_ip: int | None
    downlink_teid: int | None
    downlink_ip: int | None
    qos: int = 0
    """`Qos.number`; 0: none."""


class FlowValues(NamedTuple):
    """What a session's flows are made from, as numbers: for where there are very many of them."""

    number: int
    ue_ip: int
    teid: int
    peer: int | None
    """The uplink's, if it is pinned."""
    far_teid: int | None
    far_ip: int | None
    """The downlink's F-TEID; both None while the UE is idle."""
    error_indicated: bool
    qos: int = 0
    """`Qos.number`; 0: no extension headers."""

    @property
    def sends(self) -> bool:
        """Whether anything is sent to the UE: its downlink flow is no drop."""
        return self.far_ip is not None and not self.error_indicated

    @classmethod
    def of(cls, session: Session) -> FlowValues:
        """Those of a session that is but a tunnel pair."""
        uplink, far = session.uplink, session.downlink
        if session.ue_ip is None or uplink is None or session.detail is not None:
            raise InvalidSession("ue_ip", f"session {session.id} is more than a tunnel pair")
        peer = uplink.remote_ip
        return cls(
            session.number,
            int(session.ue_ip),
            uplink.teid,
            None if peer is None else int(peer),
            None if far is None else far.teid,
            None if far is None else int(far.ip),
            session.error_indicated,
            0 if session.qos is None else session.qos.number,
        )


@dataclass(frozen=True, slots=True)
class AccessRoute:
    """A route to GTP-U peers beyond the access subnet; both are of one IP version."""

    to: IPv4Network | IPv6Network
    via: Address
    """A router in the subnet."""


@dataclass(frozen=True, slots=True)
class Pfcp:
    """`[gateway.pfcp]`: a gateway as the user plane node of control planes (N4, Sxa, Sxb)."""

    listen: IPv4Address
    """An address of this host, UDP port 8805."""
    peers: tuple[IPv4Network, ...]
    """From where control planes may associate."""
    node_id: IPv4Address | str
    """An address or a name."""
    on_peer_lost: Literal["keep", "remove"] = "keep"
    """Whether the sessions of a control plane that answers no heartbeat stay or are removed."""
    heartbeat_seconds: int = 10
    """From one heartbeat to a control plane to the next."""
    network_instances: tuple[str, ...] = ()
    """Names that are accepted; none: any."""


PortType = Literal["af_packet", "afxdp", "afxdp-nonpmd"]
"""How Open vSwitch reads and writes ports: by packet(7) in its main thread; by AF_XDP in a thread
for each core, or (for tests, since such a thread never rests) in its main thread."""


class VethPair(NamedTuple):
    """A way from an interface of the host to the bridge: a pair of veths, of which nftables joins
    one to the interface. So that stays what it is to the host, and to nftables, whose hooks what
    AF_XDP reads and writes does not pass."""

    port: str
    """The host's interface."""
    number: int
    """From 0, of this interface's."""
    end: str
    """The bridge's port."""
    host_end: str
    """The one that is joined to the interface."""


RELOADED: Final = (
    "ue_pools",
    "ue_pools6",
    "access_routes",
    "access_allow",
    "access_allow6",
    "dscp",
    "router_advertisement",
    "dns6",
    "echo_seconds",
    "t3_response_seconds",
    "n3_requests",
    "on_path_down",
    "pfcp",
)
"""What of a gateway may become another while it runs: no tunnel depends on it."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One `[[gateway]]` of the configuration, validated.

    While ofgtp runs all its parts share one object for each gateway. `take` alone changes it, in
    what RELOADED names, and only where the configuration is reloaded.
    """

    name: str
    ovsdb: str
    openflow: str
    bridge: str
    access_port: str
    access_ip: IPv4Interface
    core_port: str
    core_ip: IPv4Interface
    next_hop: IPv4Address | None
    ue_pools: tuple[IPv4Network, ...]
    access_routes: tuple[AccessRoute, ...] = ()
    access_allow: tuple[IPv4Network, ...] = ()
    access_ip6: IPv6Interface | None = None
    """The GTP-U address for peers that have IPv6; None: there are none."""
    access_allow6: tuple[IPv6Network, ...] = ()
    """As `access_allow`: what is in neither may not send."""
    ue_to_ue: Literal["deny", "route"] = "deny"
    decrement_ttl: bool = True
    """Whether the bridge takes 1 off the TTL of what it routes; with a host core the host does."""
    dscp: int | None = None
    """Outer DSCP, 0 to 63; None inherits the inner packet's."""
    source_port: int | None = None
    """The UDP port that T-PDUs leave from, 2152; None: one by the hash of each packet's flow."""
    masquerade: bool = False
    """Whether UEs' IPv4 leaves the host with the host's own address, with `core_port = "host"`."""
    masquerade6: bool = False
    """The same for IPv6."""
    host_services: Literal["deny", "allow"] = "deny"
    """Whether UEs reach services of the host itself, with `core_port = "host"`."""
    echo_seconds: int = 60
    """From one Echo Request to a peer to the next; 60 at least (TS 29.281, 7.2.1)."""
    t3_response_seconds: int = 3
    """T3-RESPONSE: how long an answer to a request is waited for (TS 29.281, 12)."""
    n3_requests: int = 3
    """N3-REQUESTS: how often a request is sent before its peer counts as silent."""
    on_path_down: Literal["keep", "remove"] = "keep"
    """Whether the sessions of a peer whose path is down stay or are removed."""
    port_type: PortType = "af_packet"
    """How the switch reads and writes the ports."""
    pmd_cores: tuple[int, ...] = ()
    """With AF_XDP: the cores on which it does so, with a way to each port for each; none: the
    switch takes one itself."""
    leased: bool = False
    """Whether it is the controller that owns the tunnels, so that they end with it."""
    ue_pools6: tuple[IPv6Network, ...] = ()
    """Where UEs' IPv6 prefixes are; none of them: no UE has IPv6."""
    core_ip6: IPv6Interface | None = None
    next_hop6: IPv6Address | None = None
    """Where uplink IPv6 packets go, in `core_ip6`'s network or link-local."""
    router_advertisement: bool = True
    """Whether the gateway tells UEs by Router Advertisements what they must know of it."""
    dns6: tuple[IPv6Address, ...] = ()
    """Resolvers that these name to UEs (RFC 8106)."""
    pfcp: Pfcp | None = None
    """None: no control plane is spoken to."""

    def take(self, other: Gateway) -> None:
        """Be as another one is in what RELOADED names, for all who hold this object, at once."""
        for name in RELOADED:
            object.__setattr__(self, name, getattr(other, name))

    @property
    def pools(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Those of both IP versions."""
        return (*self.ue_pools, *self.ue_pools6)

    @property
    def host_core(self) -> bool:
        """Whether packets go to the host's own routing instead of a core port."""
        return self.core_port == "host"

    @property
    def decrements_ttl(self) -> bool:
        """Whether the switch is a router to its packets (RFC 1812, 5.3.1)."""
        return self.decrement_ttl and not self.host_core

    @property
    def core_device(self) -> str:
        """The interface on the bridge's core side."""
        return f"{self.bridge}-c"[:IFNAMSIZ] if self.host_core else self.core_port

    @property
    def ports(self) -> tuple[str, ...]:
        """The host's interfaces that the gateway has."""
        return (self.access_port,) if self.host_core else (self.access_port, self.core_port)

    @property
    def veths(self) -> tuple[VethPair, ...]:
        """The ways between the host's interfaces and the bridge; none with AF_PACKET, where these
        are ports of the bridge themselves."""
        if self.port_type == "af_packet":
            return ()
        ways = range(max(len(self.pmd_cores), 1))
        return tuple(self._pair(port, number) for port in self.ports for number in ways)

    @property
    def _stem(self) -> str:
        return f"{self.bridge[: IFNAMSIZ - 4]}-"

    def is_own(self, device: str) -> bool:
        """Whether an interface is made for the gateway, and not one that the host has had."""
        return device == self.bridge or device.startswith(self._stem)

    def _pair(self, port: str, number: int) -> VethPair:
        stem = f"{self._stem}{'a' if port == self.access_port else 'n'}{number:x}"
        return VethPair(port, number, stem, f"{stem}h")

    @property
    def access_ends(self) -> tuple[str, ...]:
        """The bridge's ports of the access side; packets leave by the first one."""
        return self.ends_of(self.access_port)

    @property
    def core_ends(self) -> tuple[str, ...]:
        """The bridge's ports of the core side; packets leave by the first one."""
        return self.ends_of(self.core_device)

    def ends_of(self, device: str) -> tuple[str, ...]:
        """By which ports the bridge has one of the gateway's interfaces."""
        return tuple(pair.end for pair in self.veths if pair.port == device) or (device,)

    def port_of(self, end: str) -> str:
        """The host's interface that the bridge has by a port of that name; or the port itself."""
        return next((pair.port for pair in self.veths if pair.end == end), end)

    def names_of(self, port: str) -> tuple[str, str]:
        """The names by which the bridge has an interface of the host, or has had it with another
        `port_type`: facts about it are kept with the port of that name."""
        return port, self._pair(port, 0).end

    @property
    def switch_ports(self) -> tuple[str, ...]:
        """The ports by which the bridge has the host's interfaces."""
        return tuple(end for port in self.ports for end in self.ends_of(port))

    @property
    def internal_ports(self) -> tuple[str, ...]:
        """The interfaces of the host that the bridge makes."""
        return (self.bridge, self.core_device) if self.host_core else (self.bridge,)

    @property
    def gtpu_port(self) -> str:
        """The name of the bridge's gtpu port (a name in OVSDB; no interface of the host)."""
        return f"{self.bridge[: IFNAMSIZ - 2]}-g"

    @property
    def ecn_ports(self) -> tuple[str, str]:
        """The names of the gtpu ports for what is marked ECT(1) and CE (see table outer_ecn)."""
        stem = self.bridge[: IFNAMSIZ - 2]
        return f"{stem}-t", f"{stem}-e"

    @property
    def local_ips(self) -> tuple[IPv4Address, IPv6Address | None]:
        """Its GTP-U addresses: TEIDs are ours at both."""
        return self.access_ip.ip, None if self.access_ip6 is None else self.access_ip6.ip

    @property
    def gre_port(self) -> str:
        """The name of the port by which T-PDUs leave to peers that have IPv6: see
        docs/ovs-faults.md."""
        return f"{self.bridge[: IFNAMSIZ - 2]}-6"

    @property
    def loop_ports(self) -> tuple[str, str]:
        """The two ends of the bridge's patch to itself (names in OVSDB only): out and in."""
        stem = self.bridge[: IFNAMSIZ - 2]
        return f"{stem}-o", f"{stem}-i"

    def access_next_hop(self, peer: Address) -> Address | None:
        """Where packets to a peer go: itself, or the router of its access route; None: nowhere."""
        ours = self.access_ip if peer.version == 4 else self.access_ip6
        if ours is not None and peer in ours.network:
            return peer
        routes = [route for route in self.access_routes if peer in route.to]
        return max(routes, key=lambda route: route.to.prefixlen).via if routes else None

    def check_session(self, session: Session) -> None:
        """Check a session's addresses and TEIDs against this gateway.

        Raises:
            InvalidSession: with the field at fault.
        """
        if not SESSION_ID.fullmatch(session.id):
            raise InvalidSession("id", "1 to 128 of A-Z a-z 0-9 . _ : @ -")
        if session.ue_ip is not None:
            self.check_ue_ip(session.ue_ip)
        if session.uplink is not None:
            check_teid("uplink.teid", session.uplink.teid)
            if session.uplink.remote_ip is not None:
                self.check_peer("uplink.remote_ip", session.uplink.remote_ip)
        if session.downlink is not None:
            check_teid("downlink.teid", session.downlink.teid)
            self.check_peer("downlink.remote_ip", session.downlink.ip)
        if session.qos is not None and not 1 <= session.qos.qfi <= QFI_MAX:
            raise InvalidSession("qfi", f"a QFI is 1 to {QFI_MAX}, not {session.qos.qfi}")

    def check_ue_ip(self, ue_ip: IPv4Address) -> None:
        """A UE's address is of a pool, and not ours.

        Raises:
            InvalidSession.
        """
        if not any(ue_ip in pool for pool in self.ue_pools):
            pools = ", ".join(str(pool) for pool in self.ue_pools)
            raise InvalidSession("ue_ip", f"{ue_ip} is not in the UE pools ({pools})")
        if ue_ip in (self.access_ip.ip, self.core_ip.ip, self.next_hop):
            raise InvalidSession("ue_ip", f"{ue_ip} is an address of the gateway's own")

    def check_peer(self, loc: str, ip: Address) -> None:
        """A GTP-U peer is a unicast address that is not ours.

        Raises:
            InvalidSession: it is something else; `loc` is the field that names it.
        """
        if isinstance(ip, IPv6Address):
            self._check_peer6(loc, ip)
            return
        net = self.access_ip.network
        if ip in (self.access_ip.ip, self.core_ip.ip):
            raise InvalidSession(loc, f"{ip} is an address of the gateway itself")
        if ip.is_multicast or ip.is_unspecified or ip.is_reserved:
            raise InvalidSession(loc, f"{ip} is not a unicast address")
        if ip.is_loopback or ip.is_link_local or ip in _THIS_NETWORK:
            raise InvalidSession(loc, f"{ip} cannot be a GTP-U peer (loopback or link-local)")
        if net.prefixlen < 31 and ip in (net.network_address, net.broadcast_address):
            raise InvalidSession(loc, f"{ip} is the network or broadcast address of {net}")
        if any(ip in pool for pool in self.ue_pools):
            raise InvalidSession(loc, f"{ip} is in a UE pool, so it cannot be a GTP-U peer")

    def _check_peer6(self, loc: str, ip: IPv6Address) -> None:
        if self.access_ip6 is None:
            raise InvalidSession(loc, f"{ip} needs access_ip6, the gateway's own IPv6 address")
        if ip == self.access_ip6.ip or (self.core_ip6 and ip == self.core_ip6.ip):
            raise InvalidSession(loc, f"{ip} is an address of the gateway itself")
        if ip.is_multicast or ip.is_unspecified:
            raise InvalidSession(loc, f"{ip} is not a unicast address")
        if ip.is_loopback or ip.is_link_local or ip.ipv4_mapped is not None:
            raise InvalidSession(loc, f"{ip} cannot be a GTP-U peer")
        if self.access_next_hop(ip) is None:
            reason = f"{ip} is not in the access subnet {self.access_ip6.network}, and no access"
            raise InvalidSession(loc, f"{reason} route leads there")
        if any(ip in pool for pool in self.ue_pools6):
            raise InvalidSession(loc, f"{ip} is in a UE pool, so it cannot be a GTP-U peer")


_THIS_NETWORK = IPv4Network("0.0.0.0/8")


def check_teid(loc: str, teid: int) -> None:
    """Raise InvalidSession unless `teid` is 1 to 2^32-1 (TS 29.281, 5.1)."""
    if not 1 <= teid <= TEID_MAX:
        raise InvalidSession(loc, f"a TEID is 1 to {TEID_MAX}, not {teid}")
