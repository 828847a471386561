"""A switch's flow tables without a switch: bytes in, bytes out, and nothing of ofgtp's codec.

It keeps flows as Open vSwitch does as far as the controller can see: bundles are carried out in
order and at once (with what was refused left out, if they are committed all the same), flows are
the same if table, priority and match are, and are reported with registers behind other fields.
"""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ofgtp.southbound.channel import Channel

ERROR, PACKET_OUT, FLOW_MOD, METER_MOD = 1, 13, 14, 29
MULTIPART_REQUEST, MULTIPART_REPLY = 18, 19
BARRIER_REQUEST, BARRIER_REPLY, BUNDLE_CONTROL, BUNDLE_ADD = 20, 21, 33, 34
DESC, FLOW, AGGREGATE, TABLE, METER_CONFIG, FLOW_MONITOR = 0, 1, 2, 3, 10, 16
ALL = 0xFF
OPEN, COMMIT, DISCARD = 0, 4, 6
ADD, MODIFY_STRICT, DELETE, DELETE_STRICT = 0, 2, 3, 4
NXM1, IP_FRAG = 0x0001, 26
BEHIND_ADDRESSES = {8, 9, 10, *range(13, 21)}
"""Fields of OpenFlow's own class from DSCP to ICMP's type: the switch reports `ip_frag` before."""
PACKETS, OCTETS = 1234, 5678
"""What every flow has counted: octets of IP packets."""
FRAMED = (70, 71)
"""Tables downlink and choose: what comes there has an Ethernet header, and these octets count."""

TABLE_FULL = struct.pack("!HH", 5, 1)

Key = tuple[int, int, tuple[bytes, ...]]
"""Table, priority and the fields of the match, in order of their bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A flow as it is in the switch."""

    table: int
    priority: int
    fields: tuple[bytes, ...]
    """Of the match, each with its header, in the order in which they are reported."""
    cookie: int
    instructions: bytes
    idle: int = 0
    hard: int = 0
    flags: int = 0
    importance: int = 0
    packets: int = PACKETS
    octets: int = OCTETS
    """Of IP packets."""
    made: float | None = None
    """By `time.monotonic`; None: 77 s ago."""

    @property
    def _framed(self) -> int:
        return 14 * self.packets if self.table in FRAMED else 0

    @property
    def key(self) -> Key:
        return self.table, self.priority, tuple(sorted(self.fields))

    @property
    def content(self) -> tuple[object, ...]:
        """All that the controller decides of a flow."""
        timing = self.idle, self.hard
        return (*self.key, self.cookie, self.instructions, timing)

    def report(self) -> bytes:
        """As an entry of a flow-stats reply."""
        rest = self.match + self.instructions
        age = 77_000_000_088 if self.made is None else int(1e9 * (time.monotonic() - self.made))
        times = (*divmod(age, 1_000_000_000), self.priority, self.idle, self.hard)
        ends = (self.flags, self.importance, self.cookie, self.packets, self.octets + self._framed)
        head = 48 + len(rest), self.table
        return struct.pack("!HBxIIHHHHH2xQQQ", *head, *times, *ends) + rest

    @property
    def match(self) -> bytes:
        """As it is reported."""
        fields = b"".join(self.fields)
        match = struct.pack("!HH", 1, 4 + len(fields)) + fields
        return match + bytes(-len(match) % 8)


def read_flow_mod(message: bytes) -> tuple[int, int, Entry]:
    """Command, cookie mask and flow of a flow-mod."""
    cookie, mask, table, command, idle, hard, priority = struct.unpack_from("!QQBBHHH", message, 8)
    flags, importance = struct.unpack_from("!HH", message, 8 + 36)
    fields, behind = _fields(message, 8 + 40)
    rest = message[behind:]
    entry = Entry(table, priority, fields, cookie, rest, idle, hard, flags, importance)
    return command, mask, entry


def _fields(data: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    kind, length = struct.unpack_from("!HH", data, at)
    assert kind == 1, "an OXM match"
    fields, place, end = [], at + 4, at + length
    while place < end:
        size = 4 + data[place + 3]
        fields.append(data[place : place + size])
        place += size
    assert place == end, "a match's fields fill it"
    registers = [each for each in fields if each[:2] == NXM1.to_bytes(2, "big")]
    fragments = [each for each in registers if each[2] >> 1 == IP_FRAG]
    others = [each for each in fields if each not in registers]
    behind = (place for place, each in enumerate(others) if each[2] >> 1 in BEHIND_ADDRESSES)
    place = next(behind, len(others))
    others[place:place] = fragments
    registers = [each for each in registers if each not in fragments]
    return tuple(others + registers), at + length + (-length % 8)


@dataclass
class FlowTable:
    """The switch; its `channel` is what a controller has of it."""

    description: str = "nonce"
    flows: dict[Key, Entry] = field(default_factory=dict)
    refuse: Callable[[int, Entry], bytes | None] = lambda command, entry: None
    """The error for a flow-mod, if it is refused as soon as it is seen."""
    refuse_commit: bytes | None = None
    mute: set[int] = field(default_factory=set)
    """Message types that are taken, and neither carried out nor answered."""
    before: Callable[[int], None] = lambda kind: None
    """Called with the type of each message before it is read."""
    part_entries: int = 7
    commits: int = 0
    discards: int = 0
    messages: int = 0

    def __post_init__(self) -> None:
        self._bundles: dict[int, list[bytes]] = {}
        self._meters: dict[int, bytes] = {}
        self.channel = Channel(self.take)

    def connect(self) -> Channel:
        """A new connection; bundles of the one before are gone."""
        self._bundles.clear()
        self.channel = Channel(self.take)
        return self.channel

    @property
    def open_bundles(self) -> int:
        return len(self._bundles)

    @property
    def contents(self) -> set[tuple[object, ...]]:
        return {entry.content for entry in self.flows.values()}

    def take(self, data: bytes) -> None:
        while data:
            version, kind, size, xid = struct.unpack_from("!BBHI", data)
            assert (version, size >= 8) == (5, True)
            message, data = data[:size], data[size:]
            self.messages += 1
            self.before(kind)
            if self.channel.closed:
                return
            if kind not in self.mute:
                self._take(kind, xid, message)

    def _take(self, kind: int, xid: int, message: bytes) -> None:
        body = message[8:]
        if kind == FLOW_MOD:
            self._apply(message)
        elif kind == METER_MOD:
            number = int.from_bytes(body[4:8], "big")
            self._meters[number] = struct.pack("!HHI", 24, 14, number) + body[8:]
        elif kind == BARRIER_REQUEST:
            self._say(BARRIER_REPLY, xid, b"")
        elif kind == BUNDLE_CONTROL:
            self._control(xid, body)
        elif kind == BUNDLE_ADD:
            self._add(xid, body)
        elif kind == MULTIPART_REQUEST:
            self._multipart(xid, body)
        else:
            assert kind == PACKET_OUT, f"message type {kind}"

    def _say(self, kind: int, xid: int, body: bytes) -> None:
        self.channel.receive(kind, xid, body)

    def _control(self, xid: int, body: bytes) -> None:
        number, kind, flags = struct.unpack("!IHH", body)
        assert flags == 3, "atomic and ordered"
        if kind == OPEN:
            assert number not in self._bundles
            self._bundles[number] = []
        elif kind == DISCARD:
            del self._bundles[number]
            self.discards += 1
        else:
            assert kind == COMMIT
            messages = self._bundles.pop(number)
            self.commits += 1
            if self.refuse_commit is not None:
                self._say(ERROR, xid, self.refuse_commit)
                return
            for message in messages:
                self._apply(message)
        self._say(BUNDLE_CONTROL, xid, body)

    def _add(self, xid: int, body: bytes) -> None:
        number, flags = struct.unpack_from("!I2xH", body)
        inner = body[8:]
        assert flags == 3, "atomic and ordered"
        assert inner[1] == FLOW_MOD
        assert int.from_bytes(inner[2:4], "big") == len(inner)
        assert int.from_bytes(inner[4:8], "big") == xid, "a bundled message has its own xid"
        command, _, entry = read_flow_mod(inner)
        error = self.refuse(command, entry)
        if error is not None:
            self._say(ERROR, xid, error + inner[:64])
        else:
            self._bundles[number].append(inner)

    def _apply(self, message: bytes) -> None:
        command, mask, entry = read_flow_mod(message)
        there = self.flows.get(entry.key)
        if command == ADD:
            self.flows[entry.key] = entry
        elif command == MODIFY_STRICT:
            # One that is not there is not made (OpenFlow 1.4, 6.4), and a cookie stays.
            if there is not None:
                self.flows[entry.key] = replace(there, instructions=entry.instructions)
        elif command == DELETE_STRICT:
            if there is not None and not (there.cookie ^ entry.cookie) & mask:
                del self.flows[entry.key]
        else:
            assert (command, entry.fields) == (DELETE, ())
            gone = [k for k, each in self.flows.items() if not (each.cookie ^ entry.cookie) & mask]
            for key in gone:
                del self.flows[key]

    def _multipart(self, xid: int, body: bytes) -> None:
        kind = int.from_bytes(body[:2], "big")
        parts = [b""]
        if kind == DESC:
            texts = b"", b"", b"3.1.0", b"", self.description.encode()
            parts = [struct.pack("!256s256s256s32s256s", *texts)]
        elif kind == METER_CONFIG:
            number = int.from_bytes(body[8:12], "big")
            some = [each for n, each in self._meters.items() if number in (n, 0xFFFFFFFF)]
            parts = [b"".join(some)]
        elif kind == FLOW:
            parts = list(self._parts(self._asked(body[8:])))
        elif kind == AGGREGATE:
            parts = [struct.pack("!QQI4x", 0, 0, len(self._asked(body[8:])))]
        elif kind == TABLE:
            counts = Counter(each.table for each in self.flows.values())
            numbers = ((table, counts[table], 0, 0) for table in range(ALL))
            parts = [b"".join(struct.pack("!B3xIQQ", *each) for each in numbers)]
        for place, part in enumerate(parts):
            more = place < len(parts) - 1
            self._say(MULTIPART_REPLY, xid, struct.pack("!HH4x", kind, more) + part)

    def _asked(self, body: bytes) -> list[Entry]:
        """The flows of a request: by table, cookie and match."""
        table, cookie, mask = struct.unpack_from("!B15xQQ", body)
        wanted, _ = _fields(body, 32)
        return [
            each
            for each in self.flows.values()
            if not (each.cookie ^ cookie) & mask
            and table in (each.table, ALL)
            and all(_within(field, each.fields) for field in wanted)
        ]

    def _parts(self, asked: list[Entry]) -> Iterator[bytes]:
        for start in range(0, len(asked) or 1, self.part_entries):
            yield b"".join(each.report() for each in asked[start : start + self.part_entries])


def _within(wanted: bytes, fields: tuple[bytes, ...]) -> bool:
    """Whether one of the fields of a flow asks for all that this one asks for, or more."""
    return any(
        each[:2] == wanted[:2] and each[2] >> 1 == wanted[2] >> 1 and _narrower(each, wanted)
        for each in fields
    )


def _narrower(field: bytes, than: bytes) -> bool:
    (value, mask), (other, bits) = _value(field), _value(than)
    return not (value ^ other) & bits and not bits & ~mask


def _value(field: bytes) -> tuple[int, int]:
    body = field[4:]
    if not field[2] & 1:
        return int.from_bytes(body, "big"), (1 << 8 * len(body)) - 1
    half = len(body) // 2
    return int.from_bytes(body[:half], "big"), int.from_bytes(body[half:], "big")
