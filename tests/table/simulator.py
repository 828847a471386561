"""A model of a switch: OpenFlow tables, a patch to itself, and Open vSwitch's gtpu port.

The gtpu port types packets as wrongly as the real one does. Packets are raw bytes and what the
switch knows besides (`packet_type`, tunnel metadata, registers, the packet's mark). Written
from the OpenFlow 1.4 and 1.5 specifications, ovs-fields(7) and ovs-actions(7), and from what the
gtpu port was measured to do; it shares with ofgtp only the values of `ofgtp.core.flows.flow`. What
makes a real switch refuse a flow, or abort, is an error here.

Left out: meters (nothing is over its limit), counters, groups, IPv6 fields.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from ofgtp.core.flows.flow import (
    FIELDS,
    Action,
    Bits,
    CheckBigger,
    Condition,
    CookieKind,
    Decap,
    DecTtl,
    Encap,
    Flow,
    Header,
    Move,
    Output,
    PopMpls,
    PopVlan,
    Port,
    PushMpls,
    PushVlan,
    SetField,
    SetInPort,
    cookie_kind,
    cookie_number,
)

ETHERNET = 0
IPV4, IPV6, ARP, VLAN, MPLS, MPLS_MULTICAST = 0x0800, 0x86DD, 0x0806, 0x8100, 0x8847, 0x8848
NSH = 0x894F
NSH_NEXT = {1: 1 << 16 | IPV4, 2: 1 << 16 | IPV6, 3: 0}
"""packet_type behind a Network Service Header, by its next protocol (RFC 8300, 2.2)."""
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
NEIGHBOUR = (135, 136)
"""Neighbour Solicitation and Advertisement (RFC 4861)."""
PORTS = {TCP: ("tcp", 20), UDP: ("udp", 8), SCTP: ("sctp", 12)}
"""Name, and the least octets, of what has ports."""
GTPU_PORT = 2152
T_PDU = 255
FAR_MAC = bytes.fromhex("5254000000fe")
"""What the switch's own ARP is taken to have found for every tunnel's peer."""


class Refused(Exception):
    """OpenFlow does not allow this flow."""


class Ambiguous(Exception):
    """Flows of one priority match the same packet and do different things."""


class Aborted(Exception):
    """The switch would drop the packet with an error, or abort."""


@dataclass(frozen=True)
class Packet:
    """Bytes from the header that `packet_type` names on, and metadata."""

    data: bytes
    in_port: int
    packet_type: int = ETHERNET
    tun_id: int = 0
    tun_src: int = 0
    tun_dst: int = 0
    tun_gtpu_flags: int = 0
    tun_gtpu_msgtype: int = 0
    reg0: int = 0
    reg1: int = 0
    reg2: int = 0
    reg3: int = 0
    reg4: int = 0
    reg5: int = 0
    reg6: int = 0
    reg7: int = 0
    reg8: int = 0
    pkt_mark: int = 0
    ct_mark: int = 0
    ct_zone: int = 0
    ct_label: int = 0

    def bits(self, offset: int, size: int) -> int:
        """A big-endian number in the bytes."""
        return int.from_bytes(self.data[offset : offset + size], "big")


TUNNEL = ("tun_id", "tun_src", "tun_dst", "tun_gtpu_flags", "tun_gtpu_msgtype")
REGISTERS = ("reg0", "reg1", "reg2", "reg3", "reg4", "reg5", "reg6", "reg7", "reg8")
METADATA = (
    "packet_type",
    "in_port",
    *TUNNEL,
    *REGISTERS,
    "pkt_mark",
    "ct_mark",
    "ct_zone",
    "ct_label",
)
WRITABLE = ("tun_id", "tun_src", "tun_dst", *REGISTERS, "pkt_mark")
"""ct_* are what connection tracking leaves in a packet, and no flow of ours sends one there."""
ASKS_ALL_BITS = ("tun_gtpu_flags", "tun_gtpu_msgtype")
"""The switch uses the value of a match on these as its mask."""


def layout(packet: Packet) -> dict[str, tuple[int, int]]:
    """Which fields the packet has: name -> offset and size in bytes."""
    found: dict[str, tuple[int, int]] = {}
    if packet.packet_type == ETHERNET:
        if len(packet.data) < 14:
            return found
        type_at = 16 if packet.bits(12, 2) == VLAN else 12
        found |= {"dl_dst": (0, 6), "dl_src": (6, 6), "dl_type": (type_at, 2)}
        if type_at == 16:
            found["_vlan"] = (14, 2)
        eth_type, start = packet.bits(type_at, 2), type_at + 2
    else:
        eth_type, start = packet.packet_type & 0xFFFF, 0
    if eth_type == IPV4:
        found |= _ipv4(packet, start)
    elif eth_type == IPV6:
        found |= _ipv6(packet, start)
    elif eth_type == NSH and len(packet.data) >= start + 8:
        found["_path"] = (start + 4, 4)
        if len(packet.data) >= start + 24 and packet.bits(start + 2, 1) & 0xF == 1:
            found |= {"nsh_c3": (start + 16, 4), "nsh_c4": (start + 20, 4)}
    elif eth_type == MPLS and len(packet.data) >= start + 4:
        found["_label"] = (start, 4)
    elif eth_type == ARP and len(packet.data) >= start + 28:
        found |= {
            "arp_op": (start + 6, 2),
            "arp_sha": (start + 8, 6),
            "arp_spa": (start + 14, 4),
            "arp_tha": (start + 18, 6),
            "arp_tpa": (start + 24, 4),
        }
    return found


def _ipv6(packet: Packet, start: int) -> dict[str, tuple[int, int]]:
    """Of Open vSwitch's checks: the version is not looked at."""
    size, payload = len(packet.data) - start - 40, packet.bits(start + 4, 2)
    if size < payload:
        return {}
    found = {
        "_flow": (start, 4),
        "nw_proto": (start + 6, 1),
        "nw_ttl": (start + 7, 1),
        "ipv6_src": (start + 8, 16),
        "ipv6_dst": (start + 24, 16),
    }
    protocol = packet.bits(start + 6, 1)
    name, least = PORTS.get(protocol, ("", 0))
    if name and payload >= least:
        found |= {f"{name}_src": (start + 40, 2), f"{name}_dst": (start + 42, 2)}
    if protocol == ICMPV6 and payload >= 8:
        found |= {"icmpv6_type": (start + 40, 1), "icmpv6_code": (start + 41, 1)}
        if packet.bits(start + 40, 1) in NEIGHBOUR and payload >= 24:
            found["nd_target"] = (start + 48, 16)
    return found


def _ipv4(packet: Packet, start: int) -> dict[str, tuple[int, int]]:
    header = packet.bits(start, 1) % 16 * 4
    total = packet.bits(start + 2, 2)
    if len(packet.data) - start < 20 or header < 20 or not header <= total:
        return {}
    if total > len(packet.data) - start:
        return {}
    found = {
        "_tos": (start + 1, 1),
        "nw_ttl": (start + 8, 1),
        "nw_proto": (start + 9, 1),
        "nw_src": (start + 12, 4),
        "nw_dst": (start + 16, 4),
        "_fragment": (start + 6, 2),
        "_ipv4": (start, header),
    }
    payload, protocol = start + header, packet.bits(start + 9, 1)
    if packet.bits(start + 6, 2) & 0x3FFF == 0:
        name, least = PORTS.get(protocol, ("", 0))
        if name and total >= header + least:
            found |= {f"{name}_src": (payload, 2), f"{name}_dst": (payload + 2, 2)}
        if protocol == ICMP and total >= header + 8:
            found["icmp_type"] = (payload, 1)
            found["_icmp"] = (payload, total - header)
    return found


def _of_protocol(protocol: int) -> tuple[str, ...]:
    """Fields that IPv4 packets of a protocol have. Of fragments, the first included, and where the
    packet is too short for them they read 0 (ovs-ofctl(8), set-frags, mode normal)."""
    if protocol == ICMP:
        return ("icmp_type",)
    name, _ = PORTS.get(protocol, ("", 0))
    return (f"{name}_src", f"{name}_dst") if name else ()


def values(packet: Packet) -> dict[str, int]:
    """All fields that the packet has."""
    places = layout(packet)
    found = {name: getattr(packet, name) for name in METADATA}
    found |= {name: packet.bits(*place) for name, place in places.items() if name[0] != "_"}
    if "dl_type" in places:
        found["vlan_vid"] = 0
    if found.get("dl_type") == IPV4 and "nw_src" not in places:
        # The switch parses a header that contradicts itself no further, and takes it for all 0.
        found |= dict.fromkeys(("nw_src", "nw_dst", "nw_proto", "nw_ttl", "ip_frag"), 0)
    if found.get("dl_type") == IPV6 and "ipv6_dst" not in places:
        found |= dict.fromkeys(("ipv6_src", "ipv6_dst", "nw_proto", "nw_ttl"), 0)
    if found.get("dl_type") == IPV6:
        found["ip_frag"] = 0  # of packets with a fragment header nothing is asked here
    if "_vlan" in places:
        tag = packet.bits(*places["_vlan"])
        found |= {"vlan_vid": 0x1000 | tag & 0xFFF, "vlan_pcp": tag >> 13}
    for name, part, low, width in PARTS:
        if part in places and part != "_vlan":
            found[name] = packet.bits(*places[part]) >> low & (1 << width) - 1
    if "_ipv4" in places:
        found |= {name: 0 for name in _of_protocol(found["nw_proto"]) if name not in found}
    if "_fragment" in places:
        bits = packet.bits(*places["_fragment"])
        found["ip_frag"] = (2 if bits & 0x1FFF else 0) | (1 if bits & 0x3FFF else 0)
    return found


def _asks(condition: Condition, fields: dict[str, int]) -> bool:
    mask = condition.value if condition.field in ASKS_ALL_BITS else condition.mask
    present = fields.get(condition.field)
    return present is not None and present & mask == condition.value


def _matches(flow: Flow, fields: dict[str, int]) -> bool:
    named = {condition.field for condition in flow.match}
    of_ethernet = "packet_type" not in named and named - set(METADATA)
    if of_ethernet and fields["packet_type"] != ETHERNET:
        return False  # a match that names no packet type means Ethernet, but one of metadata alone
    return all(_asks(condition, fields) for condition in flow.match)


PREREQUISITES: dict[str, dict[str, int]] = {
    "nw_src": {"dl_type": IPV4},
    "nw_dst": {"dl_type": IPV4},
    "ipv6_": {"dl_type": IPV6},
    "icmp_": {"dl_type": IPV4, "nw_proto": ICMP},
    "icmpv6_": {"dl_type": IPV6, "nw_proto": ICMPV6},
    "nd_": {"dl_type": IPV6, "nw_proto": ICMPV6},
    "arp_": {"dl_type": ARP},
}
OF_BOTH = ("nw_proto", "nw_ecn", "nw_ttl", "ip_dscp", "ip_frag", "tcp_", "udp_", "sctp_")
"""Fields of IP packets of either version."""
PROTOCOLS = {"tcp_": TCP, "udp_": UDP, "sctp_": SCTP}


def check(flow: Flow) -> None:
    """Raise Refused if the flow matches a field without its prerequisites, or jumps back."""
    exact = {c.field: c.value for c in flow.match if c.mask == FIELDS[c.field].full_mask}
    for condition in flow.match:
        for prefix, needed in PREREQUISITES.items():
            if condition.field.startswith(prefix) and not needed.items() <= exact.items():
                raise Refused(f"{condition} without {needed}: {flow}")
        for prefix, protocol in PROTOCOLS.items():
            if condition.field.startswith(prefix) and exact.get("nw_proto") != protocol:
                raise Refused(f"{condition} without its protocol: {flow}")
        if condition.field.startswith(OF_BOTH) and exact.get("dl_type") not in (IPV4, IPV6):
            raise Refused(f"{condition} without an IP version: {flow}")
        if condition.field == "vlan_pcp" and not _asks_for_a_tag(flow):
            raise Refused(f"{condition} without a VLAN tag: {flow}")
        if condition.value & ~condition.mask:
            raise Refused(f"{condition} has bits outside its mask: {flow}")
    if flow.goto is not None and flow.goto <= flow.table:
        raise Refused(f"goto_table must go forward: {flow}")


def _asks_for_a_tag(flow: Flow) -> bool:
    return any(c.field == "vlan_vid" and c.value & c.mask & 0x1000 for c in flow.match)


def _sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _splice(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


PARTS: tuple[tuple[str, str, int, int], ...] = (
    ("vlan_vid", "_vlan", 0, 12),
    ("vlan_pcp", "_vlan", 13, 3),
    ("mpls_label", "_label", 12, 20),
    ("mpls_tc", "_label", 9, 3),
    ("mpls_ttl", "_label", 0, 8),
    ("ipv6_label", "_flow", 0, 20),
    ("ip_dscp", "_tos", 2, 6),
    ("nw_ecn", "_tos", 0, 2),
    ("nw_ecn", "_flow", 20, 2),
    ("nsh_spi", "_path", 8, 24),
)
"""Fields that are bits of a number in the packet: which, the lowest bit, and how many."""
IN_PARTS = {name for name, *_ in PARTS}


def write(packet: Packet, name: str, value: int) -> Packet:
    """Set a field, and the checksum over it."""
    if name in WRITABLE:
        return replace(packet, **{name: value})
    places = layout(packet)
    if name in IN_PARTS:
        found = [each for each in PARTS if each[0] == name and each[1] in places]
        if not found:
            raise Aborted(f"set_field of {name} in a packet that has none")
        [(_, part, low, width)] = found
        offset, size = places[part]
        mask = (1 << width) - 1
        number = packet.bits(offset, size) & ~(mask << low) | (value & mask) << low
        data = _splice(packet.data, offset, number.to_bytes(size, "big"))
        return replace(packet, data=_summed(data, name, places))
    if name not in places:
        raise Aborted(f"set_field of {name} in a packet that has none")
    offset, size = places[name]
    data = _splice(packet.data, offset, value.to_bytes(size, "big"))
    return replace(packet, data=_summed(data, name, places))


def _summed(data: bytes, name: str, places: dict[str, tuple[int, int]]) -> bytes:
    """With the checksum that covers this field, if one does."""
    for part, checksum_at, covered in (("_ipv4", 10, "nw_"), ("_icmp", 2, "icmp_")):
        if name.startswith(covered) and part in places:
            start, size = places[part]
            zeroed = _splice(data[start : start + size], checksum_at, bytes(2))
            data = _splice(data, start + checksum_at, _sum(zeroed).to_bytes(2, "big"))
    return data


def copy(packet: Packet, source: Bits, target: Bits) -> Packet:
    """Move bits of a field to bits of another; the others of that one stay."""
    fields = values(packet)
    for bits in (source, target):
        if bits.field not in fields:
            raise Aborted(f"move of {bits.field} in a packet that has none")
    mask = (1 << target.last - target.first + 1) - 1
    moved = fields[source.field] >> source.first & mask
    kept = fields[target.field] & ~(mask << target.first)
    return write(packet, target.field, kept | moved << target.first)


def _encap(packet: Packet, header: Header) -> Packet:
    ethernet = packet.packet_type == ETHERNET
    if header is Header.ETHERNET:
        if ethernet:
            raise Aborted("encap(ethernet) of an Ethernet packet")
        head = bytes(12) + (packet.packet_type & 0xFFFF).to_bytes(2, "big")
        return replace(packet, data=head + packet.data, packet_type=ETHERNET)
    eth_type = packet.bits(12, 2) if ethernet else packet.packet_type & 0xFFFF
    if header is Header.NSH:
        following = {kind: number for number, kind in NSH_NEXT.items()}[packet.packet_type]
        head = bytes.fromhex("0fc601") + bytes([following]) + bytes.fromhex("000000ff") + bytes(16)
        return replace(packet, data=head + packet.data, packet_type=1 << 16 | NSH)
    if ethernet and eth_type in (MPLS, MPLS_MULTICAST):
        raise Aborted("encap(mpls) of what reads as MPLS")
    label = bytes.fromhex("00000140")  # label 0, bottom of the stack, TTL 64
    if eth_type == MPLS:
        # on top of ours: as that one, but not the bottom
        label = (packet.bits(0, 4) & ~0x100).to_bytes(4, "big")
    return replace(packet, data=label + packet.data, packet_type=1 << 16 | MPLS)


def _push_mpls(packet: Packet) -> Packet:
    if packet.packet_type != ETHERNET or packet.bits(12, 2) in (MPLS, MPLS_MULTICAST, VLAN):
        raise Aborted("push_mpls of no Ethernet packet, or one with a label or tag")
    head = packet.data[:12] + MPLS.to_bytes(2, "big") + bytes.fromhex("00000140")
    return replace(packet, data=head + packet.data[14:])


def _pop_mpls(packet: Packet, eth_type: int) -> Packet:
    if packet.packet_type != ETHERNET or packet.bits(12, 2) not in (MPLS, MPLS_MULTICAST):
        raise Aborted("pop_mpls of a packet without a label")
    head = packet.data[:12] + eth_type.to_bytes(2, "big")
    return replace(packet, data=head + packet.data[18:])


def _push_vlan(packet: Packet) -> Packet:
    if packet.packet_type != ETHERNET or len(packet.data) < 14:
        raise Aborted("push_vlan of no Ethernet packet")
    return replace(packet, data=packet.data[:12] + b"\x81\x00\0\0" + packet.data[12:])


def _pop_vlan(packet: Packet) -> Packet:
    if "_vlan" not in layout(packet):
        raise Aborted("pop_vlan of a packet without a tag")
    return replace(packet, data=packet.data[:12] + packet.data[16:])


def _decap(packet: Packet, eth_type: int) -> Packet:
    if eth_type:
        if packet.packet_type != 1 << 16 | MPLS:
            raise Aborted("decap of a label, where there is none in front")
        return replace(packet, data=packet.data[4:], packet_type=1 << 16 | eth_type)
    if packet.packet_type == 1 << 16 | NSH:
        size = packet.bits(1, 1) % 64 * 4
        if packet.bits(0, 1) >> 6 or not 8 <= size <= len(packet.data):
            raise Aborted("decap() of a bad Network Service Header")
        following = NSH_NEXT[packet.bits(3, 1)]
        return replace(packet, data=packet.data[size:], packet_type=following)
    if packet.packet_type != ETHERNET or packet.bits(12, 2) == VLAN:
        raise Aborted("decap() of no Ethernet packet, or of a tagged one")
    return replace(packet, data=packet.data[14:], packet_type=1 << 16 | packet.bits(12, 2))


@dataclass
class Trace:
    """What became of a frame."""

    flows: list[Flow] = field(default_factory=list)
    """The flows that it matched, in order."""
    seen: list[Packet] = field(default_factory=list)
    """The packet as it was when it matched each of them."""
    sent: list[tuple[int, bytes]] = field(default_factory=list)
    """Port and frame: what left by a port, LOCAL included."""
    reported: list[tuple[int, Packet]] = field(default_factory=list)
    """Cookie and packet: what went to the controller."""

    @property
    def drop_number(self) -> int | None:
        """The number of the drop reason in the last flow's cookie; None if that is no drop."""
        if not self.flows or cookie_kind(self.flows[-1].cookie) is not CookieKind.DROP:
            return None
        return cookie_number(self.flows[-1].cookie)

    def at(self, table: int) -> list[Packet]:
        """The packet as it came into a table."""
        both = zip(self.flows, self.seen, strict=True)
        return [packet for flow, packet in both if flow.table == table]


@dataclass
class Switch:
    """Flow tables, a LOCAL port with the GTP-U address, and gtpu ports (`packet_type=ptap`).

    `gtpu` has those that tunnels' packets come by: UDP port -> port. What leaves by the first port
    of `patch` comes in by the second, and the other way round.
    """

    flows: Iterable[Flow]
    gtpu: Mapping[int, int]
    local_ip: IPv4Address
    local_mac: str
    patch: tuple[int, int]
    tables: dict[int, dict[int, list[Flow]]] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = defaultdict(lambda: defaultdict(list))
        keys = set()
        for flow in self.flows:
            check(flow)
            if flow.key in keys:
                raise Refused(f"a second flow with the key of {flow}")
            keys.add(flow.key)
            self.tables[flow.table][-flow.priority].append(flow)

    def receive(self, port: int, frame: bytes) -> Trace:
        """Follow a frame that comes in by a port until all of it is out, or dropped."""
        trace = Trace()
        self._enter(Packet(frame, port), trace)
        return trace

    def lookup(self, table: int, packet: Packet) -> Flow | None:
        """The flow of this table that the packet matches."""
        fields = values(packet)
        for _, flows in sorted(self.tables[table].items()):
            found = [flow for flow in flows if _matches(flow, fields)]
            if len({(f.cookie, f.actions, f.goto, f.meter) for f in found}) > 1:
                raise Ambiguous("\n".join(map(str, found)))
            if found:
                return found[0]
        return None

    def _enter(self, packet: Packet, trace: Trace) -> None:
        table: int | None = 0
        while table is not None:
            flow = self.lookup(table, packet)
            if flow is None:
                return
            trace.flows.append(flow)
            trace.seen.append(packet)
            for action in flow.actions:
                packet = self._act(action, flow, packet, trace)
            table = flow.goto

    def _act(self, action: Action, flow: Flow, packet: Packet, trace: Trace) -> Packet:
        match action:
            case SetField(name, value):
                return write(packet, name, value)
            case Move(source, target):
                return copy(packet, source, target)
            case SetInPort(port):
                return replace(packet, in_port=Port.NONE if port == 0xFFFF else port)
            case Encap(header):
                return _encap(packet, header)
            case Decap(eth_type):
                return _decap(packet, eth_type)
            case PushMpls():
                return _push_mpls(packet)
            case PopMpls(eth_type):
                return _pop_mpls(packet, eth_type)
            case PushVlan():
                return _push_vlan(packet)
            case DecTtl():
                ttl = values(packet).get("nw_ttl", 0)
                if ttl <= 1:
                    raise Aborted("dec_ttl of what has no more")
                return write(packet, "nw_ttl", ttl - 1)
            case CheckBigger(octets, register, bit):
                bigger = int(len(packet.data) > octets) << bit
                return write(packet, register, values(packet)[register] & ~(1 << bit) | bigger)
            case PopVlan():
                return _pop_vlan(packet)
            case Output(Port.CONTROLLER, max_len):
                cut = replace(packet, data=packet.data[:max_len])
                trace.reported.append((flow.cookie, cut))
            case Output(Port.IN_PORT):
                self._leave(packet.in_port, packet, trace)
            case Output(port, max_len) if port != packet.in_port:
                size = max_len or len(packet.data)
                self._leave(port, replace(packet, data=packet.data[:size]), trace)
            case Output():
                pass  # nothing goes back by its own port unasked
            case _:
                raise NotImplementedError(action)
        return packet

    def _leave(self, port: int, packet: Packet, trace: Trace) -> None:
        if port == self.gtpu[GTPU_PORT]:
            self._enter(self.encapsulate(packet), trace)
        elif port == Port.LOCAL and self._is_tunnel(packet):
            inner = self.decapsulate(packet.data)
            if self._congested(packet, inner):
                raise Aborted("tunnel packet marked ECN CE but is not ECN capable")
            self._enter(inner, trace)
        elif packet.packet_type != ETHERNET:
            raise Aborted(f"a packet without an Ethernet header to port {port}")
        elif port in self.patch:
            self._enter(self.through_patch(port, packet), trace)
        else:
            trace.sent.append((port, packet.data))

    def through_patch(self, port: int, packet: Packet) -> Packet:
        """The packet at the other end: tunnel and registers are forgotten, its mark is not."""
        out, back = self.patch
        forgotten = dict.fromkeys((*TUNNEL, *REGISTERS), 0)
        return replace(packet, in_port=back if port == out else out, **forgotten)

    def _is_tunnel(self, packet: Packet) -> bool:
        fields = values(packet)
        return (
            packet.data[:6] == bytes.fromhex(self.local_mac.replace(":", ""))
            and fields.get("nw_dst") == int(self.local_ip)
            and fields.get("udp_dst") in self.gtpu
            and not fields["ip_frag"]
        )

    @staticmethod
    def _congested(outer: Packet, inner: Packet) -> bool:
        """The outer header says CE, and what the inner one is taken for may not."""
        typed = inner.packet_type & 0xFFFF
        tos = inner.bits(0, 2) >> 4 if typed == IPV6 else inner.bits(1, 1)
        return values(outer)["nw_ecn"] == 3 and typed in (IPV4, IPV6) and not tos & 3

    def decapsulate(self, frame: bytes) -> Packet:
        """What comes out of the gtpu port for a GTP-U frame to us.

        The S flag takes four more bytes off; E and PN alone do not. The version of the inner
        packet is read eight bytes behind its place. Signalling keeps the whole outer frame.
        """
        udp = 14 + frame[14] % 16 * 4
        gtp = udp + 8
        flags, kind, _, teid = struct.unpack_from("!BBHI", frame, gtp)
        inner = gtp + (12 if flags & 2 else 8)
        data, packet_type = frame, ETHERNET
        if kind == T_PDU:
            data = frame[inner:]
            nibble = frame[inner + 8] >> 4 if len(frame) > inner + 8 else 0
            packet_type = {4: 1 << 16 | IPV4, 6: 1 << 16 | IPV6}.get(nibble, ETHERNET)
        return Packet(
            data,
            self.gtpu[int.from_bytes(frame[udp + 2 : gtp - 4], "big")],
            packet_type,
            tun_id=teid,
            tun_src=int.from_bytes(frame[26:30], "big"),
            tun_dst=int(self.local_ip),
            tun_gtpu_flags=flags,
            tun_gtpu_msgtype=kind,
        )

    def encapsulate(self, packet: Packet) -> Packet:
        """The outer frame that output to the gtpu port makes; it comes in by LOCAL.

        What came by this port, and has gone by no patch since, is sent with the GTP-U flags that it
        had, whatever it was taken for. With S the number that was taken off would be missing.
        """
        flags = packet.tun_gtpu_flags
        if flags & 2:
            raise Aborted("the S flag goes out, and the sequence number does not")
        known = (1 << 16 | IPV4, 1 << 16 | IPV6, 1 << 16 | MPLS)
        if not flags and packet.packet_type not in known:
            raise Aborted("a packet of no known type to the gtpu port")
        gtp = struct.pack("!BBHI", flags or 0x30, T_PDU, len(packet.data), packet.tun_id)
        size = 20 + 8 + 8 + len(packet.data)
        addresses = self.local_ip.packed + packet.tun_dst.to_bytes(4, "big")
        ip = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0x4000, 64, UDP, 0) + addresses
        ip = _splice(ip, 10, _sum(ip).to_bytes(2, "big"))
        udp = struct.pack("!HHHH", 49152, GTPU_PORT, size - 20, 0)
        mac = bytes.fromhex(self.local_mac.replace(":", ""))
        frame = FAR_MAC + mac + b"\x08\x00" + ip + udp + gtp + packet.data
        return Packet(frame, Port.LOCAL)
