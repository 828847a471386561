"""A session's packet as `ofproto/trace` is asked for it: as text in ovs-ofctl's syntax.

The switch's trace ends where a packet is taken out of a tunnel, and where it is parsed anew. So an
uplink packet is asked for several times: as it comes in, as it leaves the tunnel, and from each
table that follows on a new parsing, of which there are three with a PDU Session Container (N3;
docs/5g.md), and four if that is a long one. A downlink packet is followed to the end, into its
tunnel and out.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from ofgtp.core.filters import WITH_PORTS
from ofgtp.core.flows.pipeline import CONTAINER, CONTAINER_END, EPOCH, FITTED, UNWRAP, Table
from ofgtp.core.model import GTPU_PORT, Address, Direction, Gateway
from ofgtp.core.packets.frames import checksum
from ofgtp.core.packets.gtpu import Extension
from ofgtp.core.rules.terms import (
    CE,
    ECT_1,
    GTP,
    ICMPV6,
    IPV4_TYPED,
    IPV6_TYPED,
    NEIGHBOURS_HOPS,
    NSH,
    T_PDU,
    E,
)

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
"""Those that have a name; others are numbers."""
PEER_MAC, CORE_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
"""Who sends it: no flow asks."""

ROUTER_SOLICITATION = 133
"""Type of ICMPv6 (RFC 4861, 4.1)."""
SOLICITS_FROM, ALL_ROUTERS = IPv6Address("fe80::1:2:3:4"), IPv6Address("ff02::2")
"""A UE that looks for its router, and whom it asks."""
LEAST = {4: 28, 6: 48}
"""Octets of the smallest packet that has a protocol's header, by IP version: those of ping."""
USUAL = {4: 84, 6: 104}
"""Of what ping sends."""

_IPV4, _IPV6 = struct.Struct("!BBHHHBBH4s4s"), struct.Struct("!IHBB16s16s")
_NO_TYPE = 0x05FF
"""What the switch says of a frame whose type field is a length."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A UE's packet, to a host or from it, and the tunnel by which it comes: an uplink one, or a
    downlink one to a relay.

    Both addresses are of one IP version. `size` is that of the IP packet in octets; `proto` is a
    name of `PROTOCOLS` or a number (icmp of IPv6 is ICMPv6), `ttl` the hop limit of IPv6, and
    `ue_port` and `host_port` are those of TCP, UDP and SCTP. `teid` and `peer`, an address, are of
    its tunnel, and so is `container`: the PDU Session Container's octets (TS 38.415, 5.5.2.2),
    empty for none, and maybe others behind it.
    `ecn` is the packet's own ECN, `outer_ecn` what routers have made of the tunnel's (RFC 3168, 5).
    `solicits`: it is no ping, but looks for a router.
    """

    direction: Direction
    ue: Address
    host: Address
    proto: str = "icmp"
    ue_port: int = 40000
    host_port: int = 443
    size: int = 84
    dscp: int = 0
    ttl: int = 64
    teid: int = 0
    peer: Address | None = None
    container: bytes = b""
    ecn: int = 0
    outer_ecn: int = 0
    solicits: bool = False

    @property
    def version(self) -> int:
        """That of IP."""
        return self.ue.version

    @property
    def source(self) -> Address:
        """Its inner source."""
        return self.ue if self.direction == "uplink" else self.host

    @property
    def destination(self) -> Address:
        """Its inner destination."""
        return self.host if self.direction == "uplink" else self.ue

    @property
    def number(self) -> int:
        """That of its protocol."""
        if self.version == 6 and self.proto == "icmp":
            return ICMPV6
        return PROTOCOLS[self.proto] if self.proto in PROTOCOLS else int(self.proto)

    @property
    def protocol(self) -> str:
        """What it is called."""
        return "icmpv6" if self.number == ICMPV6 else self.proto

    @property
    def tunnelled(self) -> bool:
        """Whether it comes in a tunnel."""
        return self.direction == "uplink" or self.peer is not None

    @property
    def outer_ipv6(self) -> bool:
        """Whether that tunnel is one over IPv6."""
        return self.peer is not None and self.peer.version == 6

    def __str__(self) -> str:
        ends = [str(self.source), str(self.destination)]
        if self.ports:
            shown = [f"[{end}]" if self.version == 6 else end for end in ends]
            ends = [f"{end}:{port}" for end, port in zip(shown, self.ports, strict=True)]
        name = self.proto.upper() if self.proto in PROTOCOLS else f"protocol {self.proto}"
        if self.number == ICMPV6:
            name = "Router Solicitation" if self.solicits else "ICMPv6"
        dscp = f", DSCP {self.dscp}" if self.dscp else ""
        return f"{name} {ends[0]} > {ends[1]}, {self.size} octets{dscp}"

    @property
    def ports(self) -> tuple[int, int] | None:
        """Its source and destination port, if it has any."""
        if self.number not in WITH_PORTS:
            return None
        both = self.ue_port, self.host_port
        return both if self.direction == "uplink" else both[::-1]

    def _inner(self) -> list[str]:
        of_ipv6 = self.version == 6
        name, more, family = self.proto, list[str](), "ipv6" if of_ipv6 else "nw"
        if self.ports:
            more = [f"{self.proto}_src={self.ports[0]}", f"{self.proto}_dst={self.ports[1]}"]
            name += "6" * of_ipv6
        elif self.proto == "icmp":
            kinds = (8, 0) if not of_ipv6 else (128, 129)
            kind = ROUTER_SOLICITATION if self.solicits else kinds[self.direction != "uplink"]
            name, icmp = ("icmp6", "icmpv6") if of_ipv6 else ("icmp", "icmp")
            more = [f"{icmp}_type={kind}", f"{icmp}_code=0"]
        else:
            name, more = "ipv6" if of_ipv6 else "ip", [f"nw_proto={self.number}"]
        return [
            name,
            f"{family}_src={self.source}",
            f"{family}_dst={self.destination}",
            f"nw_tos={self.dscp << 2}",
            f"nw_ecn={self.ecn}",
            f"nw_ttl={self.ttl}",
            *more,
        ]

    def _typed(self) -> list[str]:
        """Without an Ethernet header."""
        kind = IPV6_TYPED if self.version == 6 else IPV4_TYPED
        return [
            f"packet_type=({kind >> 16},{kind & 0xFFFF:#x})",
            *([f"nw_proto={self.number}"] if self.proto in PROTOCOLS else []),
            *self._inner()[1:],
        ]

    @property
    def unwrapped(self) -> bytes:
        """The first octets of what is left when the switch has taken it out of its tunnel.

        It takes the first 8 off: of a packet with an extension header sequence number, N-PDU number
        and the header's type stay.
        """
        kept = bytes([0, 0, 0, Extension.PDU_SESSION_CONTAINER]) if self.container else b""
        return kept + self.container + self._header()

    def _header(self) -> bytes:
        """Its IP header (RFC 791, RFC 8200)."""
        tos, proto = self.dscp << 2 | self.ecn, self.number
        if self.version == 6:
            fields6 = (6 << 28 | tos << 20, self.size - _IPV6.size, proto, self.ttl)
            return _IPV6.pack(*fields6, self.source.packed, self.destination.packed)
        fields = (0x45, tos, self.size, 0, 0x4000, self.ttl, proto)
        ends = self.source.packed, self.destination.packed
        return _IPV4.pack(*fields, checksum(_IPV4.pack(*fields, 0, *ends)), *ends)


def solicitation(source: Address = SOLICITS_FROM) -> Packet:
    """What a UE sends to learn its prefix (RFC 4861, 4.1), without its tunnel."""
    return Packet("uplink", source, ALL_ROUTERS, size=LEAST[6], ttl=NEIGHBOURS_HOPS, solicits=True)


def container(qfi: int) -> bytes:
    """The shortest UL PDU SESSION INFORMATION, as a gNB sends it (TS 38.415, 5.5.2.2)."""
    return bytes([1, 0x10, qfi, 0])


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask the switch: where a packet goes, or what actions do with it."""

    flow: str
    actions: str | None = None

    def arguments(self, bridge: str) -> list[str]:
        """Of ovs-appctl."""
        if self.actions is None:
            return ["ofproto/trace", bridge, self.flow, "--names"]
        return ["ofproto/trace-packet-out", bridge, self.flow, "--names", self.actions]


def from_core(packet: Packet, gateway: Gateway, mac: str) -> Question:
    """A downlink packet as it comes in by the core port; `mac` is ours on that side."""
    ends = [f"dl_src={CORE_MAC}", f"dl_dst={mac}"]
    return _question([_in_port(gateway.core_ends[0]), *ends, *packet._inner()])


def from_access(packet: Packet, gateway: Gateway, mac: str) -> Question:
    """A packet in its tunnel, as it comes in by the access port; `mac` is LOCAL's."""
    family = "ipv6" if packet.outer_ipv6 else "nw"
    outer = [
        f"dl_src={PEER_MAC}",
        f"dl_dst={mac}",
        "udp6" if packet.outer_ipv6 else "udp",
        f"{family}_src={packet.peer}",
        f"{family}_dst={local_ip(packet, gateway)}",
        f"nw_ecn={packet.outer_ecn}",
        "nw_ttl=64",
        f"udp_src={GTPU_PORT}",
        f"udp_dst={GTPU_PORT}",
    ]
    return _question([_in_port(gateway.access_ends[0]), *outer])


def out_of_tunnel(packet: Packet, gateway: Gateway) -> Question:
    """The same out of its tunnel, with the type by which the switch takes it.

    Open vSwitch reads the version 8 bytes too far (docs/ovs-faults.md): there the TTL stands, the
    first octet of an IPv6 source, or, behind a container of 4 octets, by chance the version.
    """
    left = packet.unwrapped
    tunnel = [
        f"tun_id={packet.teid:#x}",
        *_outer(packet, gateway),
        f"tun_gtpu_flags={GTP | E if packet.container else GTP:#x}",
        f"tun_gtpu_msgtype={T_PDU}",
    ]
    typed = {4: IPV4_TYPED, 6: IPV6_TYPED}.get(left[8] >> 4)
    if typed is not None:
        inner = [f"packet_type=({typed >> 16},{typed & 0xFFFF:#x})"]
        if typed == IPV4_TYPED and not packet.container and packet.version == 4:
            inner = packet._typed()
    else:
        kind = int.from_bytes(left[12:14], "big")
        inner = [
            f"dl_dst={left[:6].hex(':')}",
            f"dl_src={left[6:12].hex(':')}",
            f"dl_type={kind if kind > _NO_TYPE else _NO_TYPE:#06x}",
        ]
    return _question([_in_port(unwrapped_by(packet, gateway)), *tunnel, *inner])


def _outer(packet: Packet, gateway: Gateway) -> list[str]:
    """The ends of its tunnel, once it is out of it."""
    family = "tun_ipv6" if packet.outer_ipv6 else "tun"
    return [f"{family}_src={packet.peer}", f"{family}_dst={local_ip(packet, gateway)}"]


def local_ip(packet: Packet, gateway: Gateway) -> Address | None:
    """The gateway's end."""
    ipv4, ipv6 = gateway.local_ips
    return ipv6 if packet.outer_ipv6 else ipv4


def unwrapped_by(packet: Packet, gateway: Gateway) -> str:
    """The gtpu port by which an uplink packet comes out of its tunnel."""
    ect_1, ce = gateway.ecn_ports
    return {ECT_1: ect_1, CE: ce}.get(packet.outer_ecn, gateway.gtpu_port)


def parsed_anew(
    packet: Packet, gateway: Gateway, registers: Mapping[int, int], table: Table
) -> Question:
    """The same in a table that follows on a new parsing, with what those before kept in registers.

    Raises:
        KeyError: the packet is not parsed anew before that table.
    """
    left = packet.unwrapped.ljust(36, b"\0")
    read_as = {
        EPOCH: packet._typed(),
        FITTED: packet._inner(),
        # docs/5g.md: what is left stands where IPv6 has its destination, then UDP has its ports;
        # or its source first, where a container reaches further
        CONTAINER: _as_ipv6(left),
        CONTAINER_END: [*_as_ipv6(left[16:]), f"ipv6_src={IPv6Address(left[:16])}"],
        UNWRAP: [f"dl_type={NSH:#x}", "nsh_mdtype=3", f"nsh_np={2 if packet.version == 6 else 1}"],
    }[table]
    kept = [f"reg{number}={value:#x}" for number, value in sorted(registers.items()) if value]
    by = gateway.core_ends[0] if packet.direction == "downlink" else gateway.loop_ports[1]
    asked = _question([_in_port(by), *kept, *read_as])
    return Question(asked.flow, f"resubmit(,{table.number})")


def _as_ipv6(left: bytes) -> list[str]:
    """The octets from the destination on."""
    return [
        "udp6",
        f"ipv6_dst={IPv6Address(left[:16])}",
        f"udp_src={int.from_bytes(left[16:18], 'big')}",
        f"udp_dst={int.from_bytes(left[18:20], 'big')}",
    ]


def _in_port(name: str) -> str:
    return f'in_port="{name}"'


def _question(words: list[str]) -> Question:
    return Question(",".join(words))
