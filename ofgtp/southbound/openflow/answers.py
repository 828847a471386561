"""Messages from the switch."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import (
    Flow,
    FlowKey,
    Match,
    Meter,
)
from ofgtp.core.flows.pipeline import UPLINK
from ofgtp.core.rules.counts import FlowCounts
from ofgtp.core.usage.plain import NO_PAIR, Pair
from ofgtp.southbound.openflow.actions import encode_instructions
from ofgtp.southbound.openflow.entry import EntryKey
from ofgtp.southbound.openflow.match import NAMES, decode_match, oxm, width_of
from ofgtp.southbound.openflow.message import UNITS


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
        wanted = oxm(field, 0, None)[:4]
        data, place = self.instructions, 0
        while place + 8 <= len(data):
            kind, size = struct.unpack_from("!HH", data, place)
            step, end = place + 8, min(place + size, len(data))
            while kind == 4 and step + 8 <= end:
                action, length = struct.unpack_from("!HH", data, step)
                if action == 25 and data[step + 4 : step + 8] == wanted:
                    width = width_of(field)
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
        unit = next((unit for unit, flag in UNITS.items() if flags & 3 == flag), None)
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
        name = NAMES.get((head >> 16, head >> 9 & 0x7F))
        if name in found:
            width = width_of(name)
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
