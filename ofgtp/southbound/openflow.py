"""OpenFlow 1.4 on the wire, as far as ofgtp speaks it: pure functions between values and bytes.

Written by hand, since Ryu's message objects are slow and do not know all fields of the gtpu port.
Numbers are those of the OpenFlow 1.4 specification and, for Nicira's extensions, of Open vSwitch's
`nicira-ext.h`, `meta-flow.h` and `ofp-actions.c`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import (
    FIELDS,
    VALUE_IS_MASK,
    Action,
    CheckBigger,
    Condition,
    Decap,
    DecTtl,
    Encap,
    Flow,
    FlowKey,
    Header,
    Match,
    Meter,
    Move,
    Output,
    PopMpls,
    PopVlan,
    Port,
    PushMpls,
    PushVlan,
    Resubmit,
    SetField,
    SetInPort,
    Show,
    Unit,
)
from ofgtp.core.flows.pipeline import UPLINK
from ofgtp.core.rules.counts import FlowCounts
from ofgtp.core.usage.plain import NO_PAIR, Pair

VERSION = 5
"""The version octet of OpenFlow 1.4."""

NO_BUFFER = 0xFFFFFFFF
ANY_PORT = ANY_GROUP = 0xFFFFFFFF
ALL_TABLES = 0xFF
NICIRA = 0x00002320
NSH = 0x005AD650
"""The experimenter of the Network Service Header's fields."""


class Type(IntEnum):
    """Message types (OpenFlow 1.4, 7.1.1)."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    FEATURES_REPLY = 6
    PACKET_IN = 10
    PACKET_OUT = 13
    FLOW_MOD = 14
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21
    METER_MOD = 29
    BUNDLE_CONTROL = 33
    BUNDLE_ADD = 34


class Command(IntEnum):
    """Flow-mod commands."""

    ADD = 0
    MODIFY_STRICT = 2
    DELETE = 3
    DELETE_STRICT = 4


class MeterCommand(IntEnum):
    """Meter-mod commands."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


class Multipart(IntEnum):
    """Multipart types we ask for."""

    DESC = 0
    FLOW = 1
    AGGREGATE = 2
    TABLE = 3
    METER = 9
    METER_CONFIG = 10
    PORT_DESC = 13
    FLOW_MONITOR = 16


class Bundle(IntEnum):
    """Bundle control types (7.3.9.2)."""

    OPEN = 0
    COMMIT = 4
    DISCARD = 6


BUNDLE_FLAGS = 3
"""Atomic and ordered."""

_HEADER = struct.Struct("!BBHI")


def message(kind: int, xid: int, body: bytes = b"") -> bytes:
    """An OpenFlow message of the given type."""
    return _HEADER.pack(VERSION, kind, 8 + len(body), xid) + body


# --- the handshake (7.5.1) ----------------------------------------------------------------------

_VERSION_BITMAP = 1


def offered_versions(version: int, body: bytes) -> frozenset[int]:
    """The versions that a HELLO offers; without a bitmap of them all up to the header's.

    Raises:
        CodecError: an element of it has an impossible length.
    """
    place = 0
    while place < len(body):
        if len(body) - place < 4:
            raise CodecError("a HELLO is cut short")
        kind, size = struct.unpack_from("!HH", body, place)
        if not 4 <= size <= len(body) - place:
            raise CodecError(f"a HELLO has an element of {size} bytes")
        if kind == _VERSION_BITMAP:
            words = struct.unpack_from(f"!{(size - 4) // 4}I", body, place + 4)
            whole = sum(word << 32 * n for n, word in enumerate(words))
            return frozenset(n for n in range(32 * len(words)) if whole >> n & 1)
        place += -(-size // 8) * 8
    return frozenset(range(1, version + 1))


def decode_features(body: bytes) -> int:
    """The datapath id of a FEATURES_REPLY. Raises CodecError."""
    if len(body) != 24:
        raise CodecError(f"a features reply of {len(body)} bytes")
    return int.from_bytes(body[:8], "big")


# --- fields (OXM, 7.2.3.2) ----------------------------------------------------------------------

_NXM1, _ERICSSON, _BASIC, _EXPERIMENTER = 0x0001, 0x1000, 0x8000, 0xFFFF

_OXM: dict[str, tuple[int, int]] = {
    "in_port": (_BASIC, 0),
    "dl_dst": (_BASIC, 3),
    "dl_src": (_BASIC, 4),
    "dl_type": (_BASIC, 5),
    "vlan_vid": (_BASIC, 6),
    "vlan_pcp": (_BASIC, 7),
    "ip_dscp": (_BASIC, 8),
    "nw_ecn": (_BASIC, 9),
    "nw_proto": (_BASIC, 10),
    "nw_src": (_BASIC, 11),
    "nw_dst": (_BASIC, 12),
    "tcp_src": (_BASIC, 13),
    "tcp_dst": (_BASIC, 14),
    "udp_src": (_BASIC, 15),
    "udp_dst": (_BASIC, 16),
    "sctp_src": (_BASIC, 17),
    "sctp_dst": (_BASIC, 18),
    "icmp_type": (_BASIC, 19),
    "arp_op": (_BASIC, 21),
    "arp_spa": (_BASIC, 22),
    "arp_tpa": (_BASIC, 23),
    "arp_sha": (_BASIC, 24),
    "arp_tha": (_BASIC, 25),
    "ipv6_src": (_BASIC, 26),
    "ipv6_dst": (_BASIC, 27),
    "ipv6_label": (_BASIC, 28),
    "icmpv6_type": (_BASIC, 29),
    "icmpv6_code": (_BASIC, 30),
    "nd_target": (_BASIC, 31),
    "nd_tll": (_BASIC, 33),
    "nd_reserved": (_ERICSSON, 1),
    "nd_options_type": (_ERICSSON, 2),
    "mpls_label": (_BASIC, 34),
    "mpls_tc": (_BASIC, 35),
    "tun_id": (_BASIC, 38),
    "packet_type": (_BASIC, 44),
    "reg0": (_NXM1, 0),
    "reg1": (_NXM1, 1),
    "reg2": (_NXM1, 2),
    "reg3": (_NXM1, 3),
    "reg4": (_NXM1, 4),
    "reg5": (_NXM1, 5),
    "reg6": (_NXM1, 6),
    "reg7": (_NXM1, 7),
    "reg8": (_NXM1, 8),
    "ip_frag": (_NXM1, 26),
    "nw_ttl": (_NXM1, 29),
    "mpls_ttl": (_NXM1, 30),
    "tun_src": (_NXM1, 31),
    "tun_dst": (_NXM1, 32),
    "tun_ipv6_src": (_NXM1, 109),
    "tun_ipv6_dst": (_NXM1, 110),
    "pkt_mark": (_NXM1, 33),
    "ct_zone": (_NXM1, 106),
    "ct_mark": (_NXM1, 107),
    "ct_label": (_NXM1, 108),
    "nsh_spi": (_EXPERIMENTER, 4),
    "nsh_c3": (_EXPERIMENTER, 8),
    "nsh_c4": (_EXPERIMENTER, 9),
    "tun_gtpu_flags": (_EXPERIMENTER, 15),
    "tun_gtpu_msgtype": (_EXPERIMENTER, 16),
}
_NAMES = {oxm: name for name, oxm in _OXM.items()}

_MOVE_NAMES: dict[str, int] = {
    "dl_dst": 0x00000206,
    "dl_src": 0x00000406,
    "nw_src": 0x00000E04,
    "nw_dst": 0x00001004,
    "arp_spa": 0x00002004,
    "arp_tpa": 0x00002204,
    "arp_sha": 0x00012206,
    "arp_tha": 0x00012406,
    "reg0": 0x00010004,
    "reg1": 0x00010204,
    "reg2": 0x00010404,
    "reg3": 0x00010604,
    "reg4": 0x00010804,
    "reg7": 0x00010E04,
    "ipv6_src": 0x00012610,
    "ipv6_dst": 0x00012810,
    "tun_id": 0x00012008,
    "tun_src": 0x00013E04,
    "tun_ipv6_src": 0x0001DA10,
    "pkt_mark": 0x00014204,
    "vlan_vid": 0x80000C02,
    "mpls_label": 0x80004404,
    "mpls_tc": 0x80004601,
}
"""NXM headers: `move` names fields by these also in OpenFlow 1.4 (what the switch reports)."""


def _width(name: str) -> int:
    """A field's bytes on the wire: 20 and 24 bits take four."""
    size = (FIELDS[name].bits + 7) // 8
    return 4 if size == 3 else size


def _oxm(name: str, value: int, mask: int | None) -> bytes:
    oxm_class, number = _OXM[name]
    size = _width(name)
    payload = value.to_bytes(size, "big")
    if mask is not None:
        payload += mask.to_bytes(size, "big")
    if oxm_class == _EXPERIMENTER:
        payload = _experimenter(name).to_bytes(4, "big") + payload
    head = oxm_class << 16 | number << 9 | (mask is not None) << 8 | len(payload)
    return head.to_bytes(4, "big") + payload


def _experimenter(name: str) -> int:
    return NSH if name.startswith("nsh_") else NICIRA


def _wire_mask(condition: Condition) -> int | None:
    """The mask to send: none for a whole field, or one that the switch wants without."""
    whole = condition.mask == FIELDS[condition.field].full_mask
    return None if whole or condition.field in VALUE_IS_MASK else condition.mask


def encode_match(match: Match) -> bytes:
    """An ofp_match, padded to 8 bytes. Conditions are in FIELDS order: prerequisites come first."""
    fields = b"".join(_oxm(each.field, each.value, _wire_mask(each)) for each in match)
    length = 4 + len(fields)
    return struct.pack("!HH", 1, length) + fields + bytes(-length % 8)


_REPORTED = [
    *("packet_type", "in_port", "dl_src", "dl_dst", "vlan_vid", "vlan_pcp", "dl_type"),
    *("nw_src", "nw_dst", "ipv6_src", "ipv6_dst"),
    *("ip_frag", "ip_dscp", "nw_ecn", "nw_ttl", "nw_proto"),
    *("tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst"),
    *("icmp_type", "icmpv6_type", "icmpv6_code", "ipv6_label"),
    *("tun_id", "tun_src", "tun_dst", "tun_gtpu_flags", "tun_gtpu_msgtype"),
    *(f"reg{number}" for number in range(9)),
    *("pkt_mark", "ct_zone", "ct_mark", "ct_label"),
]
"""The order in which Open vSwitch reports the fields that sessions' flows match."""
_REPORT_ORDER = {name: place for place, name in enumerate(_REPORTED)}


EntryKey = tuple[int, int, bytes]


class Entry(NamedTuple):
    """A flow as the switch reports it."""

    table: int
    priority: int
    cookie: int
    content: bytes
    """Match and instructions."""

    @property
    def key(self) -> EntryKey:
        """What makes it the same flow: table, priority and match."""
        return self.table, self.priority, self.match

    @property
    def match(self) -> bytes:
        """The first part of the content."""
        length = int.from_bytes(self.content[2:4], "big")
        return self.content[: length + -length % 8]


def reported(flow: Flow) -> bytes:
    """Match and instructions of a session's flow, as the switch reports them."""
    ordered = sorted(flow.match, key=lambda each: _REPORT_ORDER.get(each.field, len(_REPORTED)))
    return encode_match(tuple(ordered)) + encode_instructions(flow)


def entry_of(flow: Flow) -> Entry:
    """A session's flow, as the switch reports it."""
    return Entry(flow.table, flow.priority, flow.cookie, reported(flow))


def decode_match(data: bytes | memoryview, offset: int) -> tuple[Match | None, int]:
    """Read an ofp_match; None in place of the match where a field is not one of ours.

    Returns the match and the offset behind its padding. Raises CodecError if the bytes are short.
    """
    length = int.from_bytes(data[offset + 2 : offset + 4], "big")
    end = offset + length
    if length < 4 or end > len(data):
        raise CodecError("a match is longer than its message")
    conditions: list[Condition] = []
    known = True
    place = offset + 4
    while place < end:
        head = int.from_bytes(data[place : place + 4], "big")
        oxm_class, number, masked, size = head >> 16, head >> 9 & 0x7F, head >> 8 & 1, head & 0xFF
        start = place + 4
        place = start + size
        if place > end:
            raise CodecError("a match field is longer than its match")
        name = _NAMES.get((oxm_class, number))
        if oxm_class == _EXPERIMENTER:
            if name and int.from_bytes(data[start : start + 4], "big") != _experimenter(name):
                name = None
            start += 4
        if name is None:
            known = False
            continue
        width = _width(name)
        if place - start != width * (1 + masked):
            raise CodecError(f"a match on {name} has a wrong length")
        value = int.from_bytes(data[start : start + width], "big")
        mask = value if name in VALUE_IS_MASK else FIELDS[name].full_mask
        if masked:
            mask = int.from_bytes(data[start + width : place], "big")
        conditions.append(Condition(name, value, mask))
    order = list(FIELDS)
    conditions.sort(key=lambda each: order.index(each.field))
    return (tuple(conditions) if known else None), offset + length + (-length % 8)


# --- actions and instructions -------------------------------------------------------------------

_OUTPUT = struct.Struct("!HHIH6x")
_NX = struct.Struct("!HHIH")


_ENCAP: dict[Header, bytes] = {
    Header.ETHERNET: struct.pack("!HI", 0, 0),
    Header.MPLS: struct.pack("!HI", 0, 1 << 16 | 0x8847),
    # and a property: of class NSH (4), metadata type (1), 5 octets and padding, the type.
    Header.NSH: struct.pack("!HIHBBB3x", 0, 1 << 16 | 0x894F, 4, 1, 5, 1),
}
"""Behind ENCAP's subtype: header size (0, any), packet type, properties."""


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _nicira(subtype: int, body: bytes) -> bytes:
    size = 10 + len(body)
    size += -size % 8
    return _padded(_NX.pack(0xFFFF, size, NICIRA, subtype) + body)


def encode_action(action: Action) -> bytes:
    """One action (7.2.5, and Nicira's: REG_MOVE 6, REG_LOAD 7, CONTROLLER2 37, OUTPUT_TRUNC 39,
    ENCAP 46, …)."""
    match action:
        case Output(port, max_len) if max_len and port != Port.CONTROLLER:
            return _nicira(39, struct.pack("!HI", port, max_len))
        case Output(port, max_len):
            return _OUTPUT.pack(0, 16, port, max_len)
        case Show(max_len, meter):
            # Properties: MAX_LEN (0), padded to 8 octets, and METER_ID (5).
            body = struct.pack("!6xHHH2xHHI", 0, 6, max_len, 5, 8, meter)
            return _nicira(37, body)
        case SetField(name, value):
            field = _oxm(name, value, None)
            size = 4 + len(field)
            size += -size % 8
            return _padded(struct.pack("!HH", 25, size) + field)
        case Move(src, dst):
            bits = src.last - src.first + 1
            names = _MOVE_NAMES[src.field], _MOVE_NAMES[dst.field]
            return _nicira(6, struct.pack("!HHHII", bits, src.first, dst.first, *names))
        case SetInPort(port):
            # NXM_OF_IN_PORT, all its 16 bits.
            return _nicira(7, struct.pack("!HIQ", 15, 0x00000002, port))
        case Encap(header):
            return _nicira(46, _ENCAP[header])
        case Decap(eth_type):
            return _nicira(47, struct.pack("!HHH", 0, bool(eth_type), eth_type or 0xFFFE))
        case PushMpls():
            return struct.pack("!HHH2x", 19, 8, 0x8847)
        case PopMpls(eth_type):
            return struct.pack("!HHH2x", 20, 8, eth_type)
        case CheckBigger(octets, register, bit):
            return _nicira(49, struct.pack("!HHI", octets, bit, _MOVE_NAMES[register]))
        case Resubmit(table):
            return _nicira(14, struct.pack("!HB3x", 0xFFF8, table))
        case PushVlan():
            return struct.pack("!HHH2x", 17, 8, 0x8100)
        case PopVlan():
            return struct.pack("!HH4x", 18, 8)
        case DecTtl():
            return struct.pack("!HH4x", 24, 8)


def encode_instructions(flow: Flow) -> bytes:
    """Meter, apply-actions and goto-table, in the order in which the switch lists them."""
    parts = []
    if flow.meter is not None:
        parts.append(struct.pack("!HHI", 6, 8, flow.meter))
    if flow.actions:
        actions = b"".join(encode_action(action) for action in flow.actions)
        parts.append(struct.pack("!HH4x", 4, 8 + len(actions)) + actions)
    if flow.goto is not None:
        parts.append(struct.pack("!HHB3x", 1, 8, flow.goto))
    return b"".join(parts)


# --- messages to the switch ---------------------------------------------------------------------

_FLOW_MOD = struct.Struct("!QQBBHHHIIIHH")


def flow_mod(command: Command, flow: Flow, xid: int) -> bytes:
    """A flow-mod for exactly this flow."""
    body = _flow_mod_head(command, flow.table, flow.priority, flow.cookie, flow.hard_timeout)
    body += encode_match(flow.match)
    if command is not Command.DELETE_STRICT:
        body += encode_instructions(flow)
    return message(Type.FLOW_MOD, xid, body)


def entry_mod(command: Command, entry: Entry, xid: int) -> bytes:
    """The same for a flow as it is reported."""
    body = _flow_mod_head(command, entry.table, entry.priority, entry.cookie)
    body += entry.match
    if command is not Command.DELETE_STRICT:
        body += entry.content[len(entry.match) :]
    return message(Type.FLOW_MOD, xid, body)


def _flow_mod_head(
    command: Command, table: int, priority: int, cookie: int, hard_timeout: int = 0
) -> bytes:
    numbers = cookie, 0, table, command, 0, hard_timeout, priority
    return _FLOW_MOD.pack(*numbers, NO_BUFFER, ANY_PORT, ANY_GROUP, 0, 0)


def delete_reported(stats: FlowStats, xid: int) -> bytes:
    """A flow-mod that deletes exactly the reported flow, whatever it matches."""
    head = _FLOW_MOD.pack(
        stats.cookie,
        0,
        stats.table,
        Command.DELETE_STRICT,
        0,
        0,
        stats.priority,
        NO_BUFFER,
        ANY_PORT,
        ANY_GROUP,
        0,
        0,
    )
    return message(Type.FLOW_MOD, xid, head + stats.raw_match)


def delete_by_cookie(cookie: int, mask: int, xid: int) -> bytes:
    """A flow-mod that deletes the flows of all tables whose cookie is `cookie` under `mask`."""
    head = _FLOW_MOD.pack(
        cookie, mask, ALL_TABLES, Command.DELETE, 0, 0, 0, NO_BUFFER, ANY_PORT, ANY_GROUP, 0, 0
    )
    return message(Type.FLOW_MOD, xid, head + encode_match(()))


def bundle_control(bundle: int, kind: Bundle, xid: int) -> bytes:
    """Open, commit or discard a bundle."""
    return message(Type.BUNDLE_CONTROL, xid, struct.pack("!IHH", bundle, kind, BUNDLE_FLAGS))


def bundle_add(bundle: int, inner: bytes, xid: int) -> bytes:
    """Put a message (which has the same xid) into a bundle."""
    return message(Type.BUNDLE_ADD, xid, struct.pack("!IHH", bundle, 0, BUNDLE_FLAGS) + inner)


def barrier(xid: int) -> bytes:
    """A barrier request."""
    return message(Type.BARRIER_REQUEST, xid)


_UNITS = {Unit.KBPS: 1, Unit.PACKETS: 2}
"""Flags of a meter (7.3.4.5)."""


def meter_mod(command: MeterCommand, meter: Meter, xid: int) -> bytes:
    """Add, modify or delete a meter (7.3.4.5): with burst and statistics, one dropping band."""
    flags = _UNITS[meter.unit] | 4 | 8
    body = struct.pack("!HHI", command, flags, meter.number)
    body += struct.pack("!HHII4x", 1, 16, meter.rate, meter.burst)
    return message(Type.METER_MOD, xid, body)


def multipart_request(kind: Multipart, xid: int, body: bytes = b"") -> bytes:
    """A multipart request in one part."""
    return message(Type.MULTIPART_REQUEST, xid, struct.pack("!HH4x", kind, 0) + body)


class Asked(NamedTuple):
    """Flows: those whose cookie equals `cookie` under `mask`, of a table, within a match."""

    cookie: int
    mask: int = (1 << 64) - 1
    """All ones: the switch looks them up; else it walks through the whole table."""
    table: int = ALL_TABLES
    match: Match = ()

    def body(self) -> bytes:
        """As it stands in requests for them."""
        head = struct.pack("!B3xII4xQQ", self.table, ANY_PORT, ANY_GROUP, self.cookie, self.mask)
        return head + encode_match(self.match)


def flow_stats_request(cookie: int, mask: int, xid: int, table: int = ALL_TABLES) -> bytes:
    """Ask for the flows whose cookie equals `cookie` under `mask`."""
    return multipart_request(Multipart.FLOW, xid, Asked(cookie, mask, table).body())


_BY_COOKIE = struct.Struct("!BBHIHH4xB3xII4xQQHH4x")


def cookie_requests(cookies: Iterable[int], first: int) -> bytes:
    """Ask for the flows with each of these cookies; the requests' ids begin with `first`."""
    pack, size, whole = _BY_COOKIE.pack, _BY_COOKIE.size, (1 << 64) - 1
    head, body = (VERSION, Type.MULTIPART_REQUEST, size), (Multipart.FLOW, 0, ALL_TABLES)
    return b"".join(
        pack(*head, xid, *body, ANY_PORT, ANY_GROUP, cookie, whole, 1, 4)
        for xid, cookie in enumerate(cookies, first)
    )


def flow_monitor_request(xid: int) -> bytes:
    """Ask to be told of every flow added, removed or modified (7.3.5.18).

    What we change ourselves on the same connection is reported as a few bytes only.
    """
    added, removed, modified = 2, 4, 8
    flags = added | removed | modified
    body = struct.pack("!IIIHBB", 1, ANY_PORT, ANY_GROUP, flags, ALL_TABLES, 0)
    return multipart_request(Multipart.FLOW_MONITOR, xid, body + encode_match(()))


ALL_METERS = 0xFFFFFFFF


def meter_stats_request(kind: Multipart, xid: int, number: int = ALL_METERS) -> bytes:
    """Ask for the configuration (METER_CONFIG) or the counters (METER) of a meter, or of all."""
    return multipart_request(kind, xid, struct.pack("!I4x", number))


def packet_out(port: int, frame: bytes, xid: int, in_port: int = Port.CONTROLLER) -> bytes:
    """Send a frame out of a port; or, if that is TABLE, through the tables as if by `in_port`."""
    return acted_on((Output(port),), frame, xid, in_port)


def acted_on(
    actions: Iterable[Action], frame: bytes, xid: int, in_port: int = Port.CONTROLLER
) -> bytes:
    """Have actions done to a frame, as if it had come by `in_port`."""
    encoded = b"".join(encode_action(action) for action in actions)
    head = struct.pack("!IIH6x", NO_BUFFER, in_port, len(encoded))
    return message(Type.PACKET_OUT, xid, head + encoded + frame)


# --- messages from the switch -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlowStats:
    """One flow as the switch reports it."""

    table: int
    priority: int
    cookie: int
    match: Match | None
    """None: it matches a field that no rule of ours does."""
    raw_match: bytes
    instructions: bytes
    timeouts: tuple[int, int]
    """Idle and hard timeout, in seconds; 0 for none."""
    packets: int
    bytes: int
    seconds: int = 0
    """Since it was made."""

    @property
    def key(self) -> FlowKey:
        """Its identity in the switch, if it is one that a rule of ours could have."""
        return FlowKey(self.table, self.priority, self.match or ())

    def same_actions(self, flow: Flow) -> bool:
        """Whether it does what `flow` says."""
        return self.same_timeouts(flow) and self.instructions == encode_instructions(flow)

    def same_timeouts(self, flow: Flow) -> bool:
        """Whether it lives as long as `flow` should."""
        return self.timeouts == (0, flow.hard_timeout)

    def sets(self, field: str) -> int | None:
        """The value that its set-field action gives a field, if it has one for it."""
        wanted = _oxm(field, 0, None)[:4]
        data, place = self.instructions, 0
        while place + 8 <= len(data):
            kind, size = struct.unpack_from("!HH", data, place)
            step, end = place + 8, min(place + size, len(data))
            while kind == 4 and step + 8 <= end:
                action, length = struct.unpack_from("!HH", data, step)
                if action == 25 and data[step + 4 : step + 8] == wanted:
                    width = _width(field)
                    return int.from_bytes(data[step + 8 : step + 8 + width], "big")
                step += max(length, 8)
            place += max(size, 8)
        return None

    @property
    def goto(self) -> int | None:
        """The table that it leads to, if it leads to one."""
        data, place = self.instructions, 0
        while place + 8 <= len(data):
            kind, size = struct.unpack_from("!HH", data, place)
            if kind == 1:
                return data[place + 4]
            place += max(size, 8)
        return None


_FLOW_STATS = struct.Struct("!HBxIIHHHHH2xQQQ")


def _flow_stats(body: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The entries of a flow-stats reply part: offset, and the fields that stand first."""
    offset = 0
    while offset < len(body):
        if len(body) - offset < _FLOW_STATS.size + 8:
            raise CodecError("a flow-stats entry is cut short")
        fields = _FLOW_STATS.unpack_from(body, offset)
        size = fields[0]
        if size < _FLOW_STATS.size + 8 or offset + size > len(body):
            raise CodecError("a flow-stats entry has a wrong length")
        yield offset, fields
        offset += size


_PAIR = struct.Struct("!HBxII20xQQ")


def decode_pair(body: bytes) -> Pair:
    """Read what the flows of a session have counted that is but a tunnel pair, from the whole of a
    flow-stats reply. Raises CodecError."""
    up, down = NO_PAIR[:3], NO_PAIR[3:]
    offset, end = 0, len(body)
    while offset < end:
        if end - offset < _FLOW_STATS.size + 8:
            raise CodecError("a flow-stats entry is cut short")
        size, table, seconds, nanoseconds, packets, octets = _PAIR.unpack_from(body, offset)
        offset += size
        if size < _FLOW_STATS.size + 8 or offset > end:
            raise CodecError("a flow-stats entry has a wrong length")
        seen = packets, octets, seconds * 1_000_000 + nanoseconds // 1000
        if table == UPLINK.number:
            up = seen
        else:
            down = seen
    return up + down


_KEYED = struct.Struct("!HBxIIH18xQQ2xH")


def decode_keyed_counts(body: bytes) -> dict[EntryKey, FlowCounts]:
    """Read what flows have counted, by their keys, from a flow-stats reply. Raises CodecError."""
    found: dict[EntryKey, FlowCounts] = {}
    offset, end, read = 0, len(body), _KEYED.unpack_from
    while offset < end:
        if end - offset < _FLOW_STATS.size + 8:
            raise CodecError("a flow-stats entry is cut short")
        size, table, seconds, nanoseconds, priority, packets, octets, length = read(body, offset)
        if size < _FLOW_STATS.size + 8 or offset + size > end:
            raise CodecError("a flow-stats entry has a wrong length")
        start = offset + _FLOW_STATS.size
        if length < 4 or start + length > offset + size:
            raise CodecError("a match is longer than its flow-stats entry")
        key = table, priority, body[start : start + length + -length % 8]
        found[key] = packets, octets, seconds * 1_000_000 + nanoseconds // 1000
        offset += size
    return found


def decode_flow_stats(body: bytes) -> Iterator[FlowStats]:
    """Read the body of a flow-stats reply part. Raises CodecError."""
    for offset, fields in _flow_stats(body):
        size, table, seconds, _, priority, idle, hard, _, _, cookie, packets, octets = fields
        match_, behind = decode_match(body, offset + _FLOW_STATS.size)
        if behind > offset + size:
            raise CodecError("a match is longer than its flow-stats entry")
        yield FlowStats(
            table,
            priority,
            cookie,
            match_,
            bytes(body[offset + _FLOW_STATS.size : behind]),
            bytes(body[behind : offset + size]),
            (idle, hard),
            packets,
            octets,
            seconds,
        )


@dataclass(frozen=True, slots=True)
class FlowUpdate:
    """What the flow monitor tells of a flow that somebody else changed, or that timed out."""

    event: str
    table: int
    cookie: int
    timed_out: bool


_UPDATE_EVENTS = {1: "added", 2: "removed", 3: "modified"}
_UPDATE = struct.Struct("!HHBBHHH4xQ")
_HARD_TIMEOUT = 1


def decode_flow_updates(body: bytes) -> Iterator[FlowUpdate]:
    """Read a flow monitor's report; our own changes are passed over. Raises CodecError."""
    offset = 0
    while offset + 8 <= len(body):
        size, event = struct.unpack_from("!HH", body, offset)
        if size < 8 or offset + size > len(body):
            raise CodecError("a flow update has a wrong length")
        if event in _UPDATE_EVENTS and size >= _UPDATE.size:
            _, _, table, reason, _, _, _, cookie = _UPDATE.unpack_from(body, offset)
            timed_out = event == 2 and reason == _HARD_TIMEOUT
            yield FlowUpdate(_UPDATE_EVENTS[event], table, cookie, timed_out)
        offset += size


def decode_flow_count(body: bytes) -> int:
    """How many flows an AGGREGATE reply counts (7.3.5.3). Raises CodecError."""
    if len(body) < 20:
        raise CodecError("an aggregate is cut short")
    return int.from_bytes(body[16:20], "big")


def decode_tables(body: bytes) -> dict[int, int]:
    """Read how many flows each table has, whosever they are (7.3.5.4); empty ones are left out.
    Raises CodecError."""
    if len(body) % _TABLE.size:
        raise CodecError("a table's statistics are cut short")
    return {table: count for table, count in _TABLE.iter_unpack(body) if count}


_TABLE = struct.Struct("!B3xI16x")


def decode_multipart(body: bytes) -> tuple[int, bool, bytes]:
    """Type, whether more parts follow, and the part's own body. Raises CodecError."""
    if len(body) < 8:
        raise CodecError("a multipart reply is cut short")
    kind, flags = struct.unpack_from("!HH", body)
    return kind, bool(flags & 1), body[8:]


def decode_meters(body: bytes) -> dict[int, Meter | None]:
    """Read meter configurations; None for a meter that is not of the form ours have."""
    meters: dict[int, Meter | None] = {}
    offset = 0
    while offset + 8 <= len(body):
        size, flags, number = struct.unpack_from("!HHI", body, offset)
        if size < 8 or offset + size > len(body):
            raise CodecError("a meter configuration has a wrong length")
        meters[number] = None
        unit = next((unit for unit, flag in _UNITS.items() if flags & 3 == flag), None)
        if size == 24 and flags & 4 and unit is not None:
            kind, _, rate, burst = struct.unpack_from("!HHII", body, offset + 8)
            if kind == 1:
                meters[number] = Meter(number, rate, burst, unit)
        offset += size
    return meters


class MeterCounts(NamedTuple):
    """Packets that came to a meter, those of them that its band dropped, and the octets of both."""

    packets: int
    dropped: int
    octets: int = 0
    dropped_octets: int = 0


def decode_meter_counts(body: bytes) -> dict[int, MeterCounts]:
    """Read meter counters, by meter number (7.3.5.14)."""
    counts: dict[int, MeterCounts] = {}
    offset = 0
    while offset + 40 <= len(body):
        number, size = struct.unpack_from("!IH", body, offset)
        if size < 40 or offset + size > len(body):
            raise CodecError("a meter counter has a wrong length")
        if size >= 56:
            packets, octets = struct.unpack_from("!QQ", body, offset + 16)
            dropped, dropped_octets = struct.unpack_from("!QQ", body, offset + 40)
            counts[number] = MeterCounts(packets, dropped, octets, dropped_octets)
        offset += size
    return counts


def decode_desc(body: bytes) -> tuple[str, str]:
    """Software version and datapath description of a DESC reply. Raises CodecError."""
    if len(body) < 1056:
        raise CodecError("a switch description is cut short")

    def text(start: int, size: int) -> str:
        return body[start : start + size].split(b"\0", 1)[0].decode("utf-8", "replace")

    return text(512, 256), text(800, 256)


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet that the switch sent us, with the metadata we use."""

    cookie: int
    in_port: int
    teid: int
    peer: int
    """An IPv4 address; 0, as the TEID, for what did not come through the gtpu port."""
    frame: bytes
    form: int = 0
    """Register 5: how an extension header was being read."""
    container: int = 0
    """Register 3: the container that was found."""
    rules: int = 0
    """Register 6: of whose rules one took it."""


def decode_packet_in(body: bytes) -> PacketIn:
    """Read a packet-in's body; fields that are not ours are passed over. Raises CodecError."""
    if len(body) < 24:
        raise CodecError("a packet-in is cut short")
    cookie = struct.unpack_from("!Q", body, 8)[0]
    found = {"in_port": 0, "reg0": 0, "reg1": 0, "reg3": 0, "reg5": 0, "reg6": 0}
    length = int.from_bytes(body[18:20], "big")
    end = 16 + length
    if length < 4 or end > len(body):
        raise CodecError("a packet-in's match is longer than its message")
    place = 20
    while place + 4 <= end:
        head = int.from_bytes(body[place : place + 4], "big")
        name = _NAMES.get((head >> 16, head >> 9 & 0x7F))
        if name in found:
            width = _width(name)
            found[name] = int.from_bytes(body[place + 4 : place + 4 + width], "big")
        place += 4 + (head & 0xFF)
    start = 16 + length + (-length % 8) + 2
    numbers = found["in_port"], found["reg0"], found["reg1"]
    further = found["reg5"], found["reg3"], found["reg6"]
    return PacketIn(cookie, *numbers, body[start:], *further)


_ERROR_TYPES = {
    0: "HELLO_FAILED", 1: "BAD_REQUEST", 2: "BAD_ACTION", 3: "BAD_INSTRUCTION", 4: "BAD_MATCH",
    5: "FLOW_MOD_FAILED", 6: "GROUP_MOD_FAILED", 7: "PORT_MOD_FAILED", 8: "TABLE_MOD_FAILED",
    9: "QUEUE_OP_FAILED", 10: "SWITCH_CONFIG_FAILED", 11: "ROLE_REQUEST_FAILED",
    12: "METER_MOD_FAILED", 13: "TABLE_FEATURES_FAILED", 17: "BUNDLE_FAILED",
    0xFFFF: "EXPERIMENTER",
}  # fmt: skip

_ERROR_CODES: dict[int, tuple[str, ...]] = {
    1: ("BAD_VERSION", "BAD_TYPE", "BAD_MULTIPART", "BAD_EXPERIMENTER", "BAD_EXP_TYPE", "EPERM",
        "BAD_LEN", "BUFFER_EMPTY", "BUFFER_UNKNOWN", "BAD_TABLE_ID", "IS_SLAVE", "BAD_PORT",
        "BAD_PACKET", "MULTIPART_BUFFER_OVERFLOW"),
    2: ("BAD_TYPE", "BAD_LEN", "BAD_EXPERIMENTER", "BAD_EXP_TYPE", "BAD_OUT_PORT", "BAD_ARGUMENT",
        "EPERM", "TOO_MANY", "BAD_QUEUE", "BAD_OUT_GROUP", "MATCH_INCONSISTENT",
        "UNSUPPORTED_ORDER", "BAD_TAG", "BAD_SET_TYPE", "BAD_SET_LEN", "BAD_SET_ARGUMENT"),
    3: ("UNKNOWN_INST", "UNSUP_INST", "BAD_TABLE_ID", "UNSUP_METADATA", "UNSUP_METADATA_MASK",
        "BAD_EXPERIMENTER", "BAD_EXP_TYPE", "BAD_LEN", "EPERM", "DUP_INST"),
    4: ("BAD_TYPE", "BAD_LEN", "BAD_TAG", "BAD_DL_ADDR_MASK", "BAD_NW_ADDR_MASK", "BAD_WILDCARDS",
        "BAD_FIELD", "BAD_VALUE", "BAD_MASK", "BAD_PREREQ", "DUP_FIELD", "EPERM"),
    5: ("UNKNOWN", "TABLE_FULL", "BAD_TABLE_ID", "OVERLAP", "EPERM", "BAD_TIMEOUT", "BAD_COMMAND",
        "BAD_FLAGS", "CANT_SYNC", "BAD_PRIORITY"),
    12: ("UNKNOWN", "METER_EXISTS", "INVALID_METER", "UNKNOWN_METER", "BAD_COMMAND", "BAD_FLAGS",
         "BAD_RATE", "BAD_BURST", "BAD_BAND", "BAD_BAND_VALUE", "OUT_OF_METERS", "OUT_OF_BANDS"),
    17: ("UNKNOWN", "EPERM", "BAD_ID", "BUNDLE_EXIST", "BUNDLE_CLOSED", "OUT_OF_BUNDLES",
         "BAD_TYPE", "BAD_FLAGS", "MSG_BAD_LEN", "MSG_BAD_XID", "MSG_UNSUP", "MSG_CONFLICT",
         "MSG_TOO_MANY", "MSG_FAILED", "TIMEOUT", "BUNDLE_IN_PROGRESS"),
}  # fmt: skip


def decode_error(body: bytes) -> str:
    """An error message's type and code in the specification's words (7.5.4)."""
    if len(body) < 4:
        return "an error too short to read"
    kind, code = struct.unpack_from("!HH", body)
    name = _ERROR_TYPES.get(kind, f"type {kind}")
    codes = _ERROR_CODES.get(kind, ())
    return f"OFPET_{name}: {codes[code] if code < len(codes) else f'code {code}'}"
