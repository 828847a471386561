"""The header of a message (TS 29.244, 7.2.2)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from ofgtp.core.pfcp.wire.errors import TooShort, UnknownType, WrongVersion

VERSION = 1
SEQUENCE_MAX = 0xFF_FFFF
_S, _MP, _FO = 0x01, 0x02, 0x04

_NODE = struct.Struct("!BBHI")
_SESSION = struct.Struct("!BBHQI")


class MessageType(IntEnum):
    """The messages that are read or sent (7.3)."""

    HEARTBEAT_REQUEST = 1
    HEARTBEAT_RESPONSE = 2
    PFD_MANAGEMENT_REQUEST = 3
    PFD_MANAGEMENT_RESPONSE = 4
    ASSOCIATION_SETUP_REQUEST = 5
    ASSOCIATION_SETUP_RESPONSE = 6
    ASSOCIATION_UPDATE_REQUEST = 7
    ASSOCIATION_UPDATE_RESPONSE = 8
    ASSOCIATION_RELEASE_REQUEST = 9
    ASSOCIATION_RELEASE_RESPONSE = 10
    VERSION_NOT_SUPPORTED_RESPONSE = 11
    NODE_REPORT_REQUEST = 12
    NODE_REPORT_RESPONSE = 13
    SESSION_SET_DELETION_REQUEST = 14
    SESSION_SET_DELETION_RESPONSE = 15
    SESSION_ESTABLISHMENT_REQUEST = 50
    SESSION_ESTABLISHMENT_RESPONSE = 51
    SESSION_MODIFICATION_REQUEST = 52
    SESSION_MODIFICATION_RESPONSE = 53
    SESSION_DELETION_REQUEST = 54
    SESSION_DELETION_RESPONSE = 55
    SESSION_REPORT_REQUEST = 56
    SESSION_REPORT_RESPONSE = 57

    @property
    def title(self) -> str:
        """As the standard writes it."""
        return self.name.replace("_", " ").title().replace("Pfd", "PFD")

    @property
    def of_session(self) -> bool:
        """Whether its header has a SEID."""
        return self >= 50


class Header(NamedTuple):
    """What stands before the IEs."""

    type: MessageType
    sequence: int
    """0 to 0xFFFFFF; a response has that of its request."""
    seid: int | None = None
    """The receiver's; None: there is none."""
    priority: int | None = None
    """0 to 15, 0 the highest; None: there is none (MP = 0)."""
    follow_on: bool = False
    """Another message follows in the datagram."""
    size: int = 0
    """Octets of the whole message, as its Length says; more or fewer may have come."""
    ies: int = 0
    """Where the IEs begin."""


_TYPES = {int(kind): kind for kind in MessageType}


def parse_header(data: bytes) -> Header:
    """Read the header at the beginning of `data`.

    Raises:
        TooShort: it is cut off.
        WrongVersion: it is of another version; nothing else is known of it then.
        UnknownType: its type is none of MessageType.
    """
    if len(data) < 4:
        raise TooShort(f"{len(data)} octets")
    flags, number = data[0], data[1]
    if flags >> 5 != VERSION:
        raise WrongVersion(f"version {flags >> 5}", _sequence(data))
    kind = _TYPES.get(number)
    if kind is None:
        raise UnknownType(f"type {number}")
    size = 4 + (data[2] << 8 | data[3])
    if flags & _S:
        if len(data) < 16 or size < 16:
            raise TooShort(f"{min(len(data), size)} octets, with SEID")
        _, _, _, seid, tail = _SESSION.unpack_from(data)
        ies = 16
    else:
        if len(data) < 8 or size < 8:
            raise TooShort(f"{min(len(data), size)} octets")
        _, _, _, tail = _NODE.unpack_from(data)
        seid, ies = None, 8
    priority = tail >> 4 & 0x0F if flags & _MP else None
    return Header(kind, tail >> 8, seid, priority, bool(flags & _FO), size, ies)


def write_header(
    kind: MessageType, sequence: int, seid: int | None, body_size: int, priority: int | None = None
) -> bytes:
    """The octets before a body of so many octets; with a SEID if one is given.

    Raises:
        struct.error: a number is out of its range.
    """
    flags, tail = VERSION << 5, sequence << 8
    if priority is not None:
        flags, tail = flags | _MP, tail | priority << 4
    if seid is None:
        return _NODE.pack(flags, kind, 4 + body_size, tail)
    return _SESSION.pack(flags | _S, kind, 12 + body_size, seid, tail)


def _sequence(data: bytes) -> int:
    """Where a node's message has it, if there are octets enough."""
    at = 12 if data[0] & _S else 4
    return int.from_bytes(data[at : at + 3], "big") if len(data) >= at + 3 else 0
