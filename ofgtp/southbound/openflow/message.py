"""Messages' types and their header (OpenFlow 1.4, 7.1), and the handshake (7.5.1)."""

from __future__ import annotations

import struct
from enum import IntEnum

from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import Unit

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


UNITS = {Unit.KBPS: 1, Unit.PACKETS: 2}
"""Flags of a meter (7.3.4.5)."""
BUNDLE_FLAGS = 3
"""Atomic and ordered."""

_HEADER = struct.Struct("!BBHI")


def message(kind: int, xid: int, body: bytes = b"") -> bytes:
    """An OpenFlow message of the given type."""
    return _HEADER.pack(VERSION, kind, 8 + len(body), xid) + body


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
