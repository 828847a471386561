"""GTP-U messages (3GPP TS 29.281): read leniently, build strictly.

Read is the header with its extension headers and, in signalling, the information elements (IEs);
the T-PDU itself is the switch's business. Who answers, and whether, is decided elsewhere:

- an Echo Response goes to the address and port its request came from, and leaves from those the
  request went to (4.4.2.2, 4.4.3.2);
- an Error Indication and a Supported Extension Headers Notification go to port 2152 of the address
  the G-PDU came from, whatever port that was (4.4.2.4, 4.4.2.5);
- an End Marker goes to port 2152 of the old peer, as its T-PDUs did (4.4.2.6).

What a peer may get wrong without being dropped stands in `TOLERATED`, type by type.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType

from ofgtp.core.errors import CodecError
from ofgtp.core.model import TEID_MAX, Address, FTeid

HEADER_LENGTH = 8
"""Octets of the mandatory part of the header; the Length field counts what follows it (5.1)."""

SEQUENCE_MAX = 0xFFFF

_VERSION_1 = 0x30  # version 1 and PT = 1 (5.1)
_E, _S, _PN = 0x04, 0x02, 0x01

_HEADER = struct.Struct("!BBHI")
_OPTIONAL = struct.Struct("!HBB")  # sequence number, N-PDU number, next extension header type


class MessageType(IntEnum):
    """The messages of GTP-U, all of which we read (table 6.1-1)."""

    ECHO_REQUEST = 1
    ECHO_RESPONSE = 2
    ERROR_INDICATION = 26
    SUPPORTED_EXTENSION_HEADERS_NOTIFICATION = 31
    TUNNEL_STATUS = 253
    """Tells a gateway to pause or go on charging; nothing here heeds it."""
    END_MARKER = 254
    G_PDU = 255


class Extension(IntEnum):
    """Extension header types of the user plane (figure 5.2.1-3).

    Of the two that stand there twice, the one above 0x80 is what older releases sent.
    """

    LONG_PDCP_PDU_NUMBER_OPTIONAL = 0x03
    PDU_SET_INFORMATION_OPTIONAL = 0x04
    SERVICE_CLASS_INDICATOR = 0x20
    UDP_PORT = 0x40
    RAN_CONTAINER = 0x81
    LONG_PDCP_PDU_NUMBER = 0x82
    XW_RAN_CONTAINER = 0x83
    NR_RAN_CONTAINER = 0x84
    PDU_SESSION_CONTAINER = 0x85
    PDU_SET_INFORMATION = 0x86
    PDCP_PDU_NUMBER = 0xC0


class Ie(IntEnum):
    """Information elements (table 8.1-1). Types below 128 have a fixed size, others a length."""

    RECOVERY = 14
    TEID_DATA_I = 16
    GTPU_PEER_ADDRESS = 133
    EXTENSION_HEADER_TYPE_LIST = 141
    TUNNEL_STATUS_INFORMATION = 230
    RECOVERY_TIME_STAMP = 231
    PRIVATE_EXTENSION = 255


_FIXED: Mapping[int, int] = {Ie.RECOVERY: 1, Ie.TEID_DATA_I: 4}
"""Octets of the value of an IE without a length field (8.2, 8.3)."""

_SIZES: Mapping[int, tuple[int, ...]] = {Ie.GTPU_PEER_ADDRESS: (4, 16)}
"""Octets a value may have where a length field leaves the choice (8.4)."""

_LENGTH_OCTETS: Mapping[int, int] = {Ie.EXTENSION_HEADER_TYPE_LIST: 1}
"""Octets of the length field where they are not two (8.5)."""


class Fault(StrEnum):
    """What a peer can get wrong in a message that can be read all the same."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Fault:
        fault = str.__new__(cls, value)
        fault._value_ = value
        fault.meaning = meaning
        return fault

    SHORT = "short", "fewer octets follow the header than its Length says"
    LONG = "long", "more octets follow the header than its Length says"
    SEQUENCE_MISSING = "sequence_missing", "S is clear where 5.1 demands it"
    SEQUENCE_PRESENT = "sequence_present", "S is set where 5.1 forbids it"
    TEID_ZERO = "teid_zero", "TEID 0 in a message that belongs to a tunnel (5.1)"
    TEID_NOT_ZERO = "teid_not_zero", "another TEID than 0 in a message that belongs to none (5.1)"
    IE_MISSING = "ie_missing", "a mandatory IE is not there (7.2, 7.3)"
    IE_UNREADABLE = (
        "ie_unreadable",
        "an IE of unknown size, of a wrong size or cut off; nothing is read from there on",
    )
    PDU_TYPE = (
        "pdu_type",
        "a PDU Session Container of PDU type 0, a downlink one (TS 38.415, 5.5.2.1)",
    )


class GtpuError(CodecError):
    """A datagram on the GTP-U port that is no message we read; `reason` is fit for a counter.

    GtpuError
    ├── TooShort             too_short: no whole header, optional part or extension header
    ├── WrongVersion         wrong_version: another version than 1
    ├── GtpPrime             gtp_prime: PT = 0
    ├── UnknownType          unknown_type: a message type that GTP-U does not have
    ├── BadExtension         bad_extension: an extension header of length 0
    └── NotTolerated         a Fault that TOLERATED does not excuse in a message of this type
        ├── BadLength        bad_length: SHORT, LONG
        ├── BadTeid          bad_teid: TEID_ZERO, TEID_NOT_ZERO
        └── BadIe            bad_ie: IE_MISSING, IE_UNREADABLE
    """

    reason = "gtpu_error"

    def __init__(self, msg: str) -> None:
        super().__init__(f"{self.reason}: {msg}")


class TooShort(GtpuError):
    """The header, its optional part or an extension header is cut off."""

    reason = "too_short"


class WrongVersion(GtpuError):
    """The version is not 1 (5.1); GTP-U has no message to say so, it is dropped."""

    reason = "wrong_version"


class GtpPrime(GtpuError):
    """PT = 0: GTP', charging's protocol (TS 32.295)."""

    reason = "gtp_prime"


class UnknownType(GtpuError):
    """A message type that GTP-U does not have (table 6.1-1)."""

    reason = "unknown_type"


class BadExtension(GtpuError):
    """An extension header of length 0 (5.2.1: at least 1, in units of 4 octets)."""

    reason = "bad_extension"


class NotTolerated(GtpuError):
    """A fault that `TOLERATED` does not excuse in a message of this type."""

    def __init__(self, fault: Fault, kind: MessageType) -> None:
        self.fault = fault
        super().__init__(f"{fault} in {kind.name}")


class BadLength(NotTolerated):
    """The Length field is not what follows the header."""

    reason = "bad_length"


class BadTeid(NotTolerated):
    """The TEID is not what the message type demands."""

    reason = "bad_teid"


class BadIe(NotTolerated):
    """An IE is missing or cannot be read."""

    reason = "bad_ie"


_ERRORS: Mapping[Fault, type[NotTolerated]] = {
    Fault.SHORT: BadLength,
    Fault.LONG: BadLength,
    Fault.TEID_ZERO: BadTeid,
    Fault.TEID_NOT_ZERO: BadTeid,
    Fault.IE_MISSING: BadIe,
    Fault.IE_UNREADABLE: BadIe,
}
"""The others, of sequence number and PDU type, are tolerated in every type of message that has
them."""


@dataclass(frozen=True, slots=True)
class Format:
    """What the standard demands of a type of message."""

    clause: str
    sequence: bool | None
    """Whether S is set; None leaves the choice."""
    tunnel: bool
    """Whether its TEID is a tunnel's, and so not 0."""
    mandatory: tuple[Ie, ...] = ()


FORMATS: Mapping[MessageType, Format] = {
    MessageType.ECHO_REQUEST: Format("7.2.1", sequence=True, tunnel=False),
    MessageType.ECHO_RESPONSE: Format(
        "7.2.2", sequence=True, tunnel=False, mandatory=(Ie.RECOVERY,)
    ),
    MessageType.ERROR_INDICATION: Format(
        "7.3.1", sequence=True, tunnel=False, mandatory=(Ie.TEID_DATA_I, Ie.GTPU_PEER_ADDRESS)
    ),
    MessageType.SUPPORTED_EXTENSION_HEADERS_NOTIFICATION: Format(
        "7.2.3", sequence=True, tunnel=False, mandatory=(Ie.EXTENSION_HEADER_TYPE_LIST,)
    ),
    # its S flag makes no difference to us, and is read either way
    MessageType.TUNNEL_STATUS: Format(
        "7.3.3", sequence=None, tunnel=True, mandatory=(Ie.TUNNEL_STATUS_INFORMATION,)
    ),
    MessageType.END_MARKER: Format("7.3.2", sequence=False, tunnel=True),
    MessageType.G_PDU: Format("6.1", sequence=None, tunnel=True),
}
"""5.1 (S flag, TEID) and each message's clause (IEs)."""

_TRAILER = "what stands behind the message is nobody's, and is not read"
_UNUSED_IE = "no IE of it is used, so none can spoil it"
_PATH_TEID = "a path is a pair of addresses; the TEID means nothing"
_IGNORED_SEQUENCE = "its receiver ignores the sequence number (5.1)"

TOLERATED: Mapping[MessageType, Mapping[Fault, str]] = {
    MessageType.ECHO_REQUEST: {
        Fault.LONG: _TRAILER,
        Fault.SEQUENCE_MISSING: "older peers; it is answered with sequence number 0",
        Fault.TEID_NOT_ZERO: _PATH_TEID,
        Fault.IE_UNREADABLE: _UNUSED_IE,
    },
    MessageType.ECHO_RESPONSE: {
        Fault.SHORT: "srsENB: the Length says 8 and 4 octets follow; the path is up all the same",
        Fault.LONG: _TRAILER,
        Fault.SEQUENCE_MISSING: "Open5GS sets no S flag where the request had none",
        Fault.TEID_NOT_ZERO: _PATH_TEID,
        Fault.IE_MISSING: "srsENB sends no Recovery; its value means nothing anyway (7.2.2)",
        Fault.IE_UNREADABLE: _UNUSED_IE,
    },
    MessageType.ERROR_INDICATION: {
        Fault.SHORT: "srsENB: as in its Echo Response",
        Fault.LONG: _TRAILER,
        Fault.SEQUENCE_MISSING: _IGNORED_SEQUENCE,
        Fault.TEID_NOT_ZERO: "srsENB and Open5GS put the offending TEID into the header",
        Fault.IE_MISSING: "srsENB sends none; the header's TEID and the source address stand in",
        Fault.IE_UNREADABLE: "as if it were missing",
    },
    MessageType.SUPPORTED_EXTENSION_HEADERS_NOTIFICATION: {
        Fault.LONG: _TRAILER,
        Fault.SEQUENCE_MISSING: _IGNORED_SEQUENCE,
        Fault.TEID_NOT_ZERO: _PATH_TEID,
        Fault.IE_MISSING: "seen on the wire; a peer that names no type supports none",
    },
    MessageType.TUNNEL_STATUS: {
        Fault.LONG: _TRAILER,
        Fault.IE_MISSING: _UNUSED_IE,
        Fault.IE_UNREADABLE: _UNUSED_IE,
    },
    MessageType.END_MARKER: {
        Fault.LONG: _TRAILER,
        Fault.SEQUENCE_PRESENT: "peers that number everything they send",
        Fault.IE_UNREADABLE: _UNUSED_IE,
    },
    MessageType.G_PDU: {
        Fault.SHORT: "the switch hands over only a packet's first octets; the header is enough",
        Fault.LONG: _TRAILER,
        Fault.PDU_TYPE: "older simulators; by sessions that require no container, with E alone",
    },
}
"""Which faults are let pass in which type of message, and why; all others are errors."""


@dataclass(frozen=True, slots=True)
class Message:
    """A GTP-U message of version 1; of a G-PDU the header only."""

    type: MessageType
    teid: int
    flags: int
    """E, S and PN, the low three bits of the first octet."""
    sequence: int | None
    n_pdu: int | None
    extensions: tuple[tuple[int, bytes], ...]
    """Type and content of each extension header, in order; without length and next type."""
    ies: Mapping[int, bytes]
    """Signalling only; of an IE that is repeated the first."""
    header_length: int
    """Octets of the header with its extension headers: where the T-PDU begins."""
    faults: frozenset[Fault]
    """What was wrong and tolerated."""


def parse(datagram: bytes) -> Message:
    """Read the payload of a UDP datagram to port 2152.

    Raises:
        GtpuError: it is to be dropped; `reason` says why. Nothing else is ever raised.
    """
    if len(datagram) < HEADER_LENGTH:
        raise TooShort(f"{len(datagram)} octets are no GTP-U header")
    octet, number, length, teid = _HEADER.unpack_from(datagram)
    if octet >> 5 != 1:
        raise WrongVersion(f"version {octet >> 5}")
    if not octet & 0x10:
        raise GtpPrime("PT is 0")
    if number not in FORMATS:
        raise UnknownType(f"message type {number}")
    kind, flags = MessageType(number), octet & 0x07
    faults = set()

    def found(fault: Fault) -> None:
        if fault not in TOLERATED[kind]:
            raise _ERRORS[fault](fault, kind)
        faults.add(fault)

    end = HEADER_LENGTH + length
    if end > len(datagram):
        found(Fault.SHORT)
    elif end < len(datagram):
        found(Fault.LONG)
    data = datagram[:end]
    sequence, n_pdu, extensions, header_length = _optional(data, flags)
    ies: dict[int, bytes] = {}
    if kind is not MessageType.G_PDU and not _read_ies(data[header_length:], ies):
        found(Fault.IE_UNREADABLE)

    form = FORMATS[kind]
    if form.sequence is not None and form.sequence != (sequence is not None):
        found(Fault.SEQUENCE_MISSING if form.sequence else Fault.SEQUENCE_PRESENT)
    if form.tunnel != (teid != 0):
        found(Fault.TEID_ZERO if form.tunnel else Fault.TEID_NOT_ZERO)
    if any(ie not in ies for ie in form.mandatory):
        found(Fault.IE_MISSING)
    if kind is MessageType.G_PDU and any(_goes_down(*each) for each in extensions):
        found(Fault.PDU_TYPE)
    return Message(
        type=kind,
        teid=teid,
        flags=flags,
        sequence=sequence,
        n_pdu=n_pdu,
        extensions=extensions,
        ies=MappingProxyType(ies),
        header_length=header_length,
        faults=frozenset(faults),
    )


def _optional(
    data: bytes, flags: int
) -> tuple[int | None, int | None, tuple[tuple[int, bytes], ...], int]:
    """The optional part: present as a whole if any flag is set, each field valid by its own."""
    if not flags:
        return None, None, (), HEADER_LENGTH
    at = HEADER_LENGTH + _OPTIONAL.size
    if len(data) < at:
        raise TooShort("the optional part of the header is cut off")
    sequence, n_pdu, following = _OPTIONAL.unpack_from(data, HEADER_LENGTH)
    extensions = []
    while flags & _E and following:
        if at >= len(data):
            raise TooShort(f"extension header {following:#04x} is not there")
        size = 4 * data[at]
        if not size:
            raise BadExtension(f"extension header {following:#04x} has length 0")
        if at + size > len(data):
            raise TooShort(f"extension header {following:#04x} is cut off")
        extensions.append((following, data[at + 1 : at + size - 1]))
        following = data[at + size - 1]
        at += size
    return (
        sequence if flags & _S else None,
        n_pdu if flags & _PN else None,
        tuple(extensions),
        at,
    )


def _goes_down(kind: int, content: bytes) -> bool:
    """Whether an extension header is a DL PDU SESSION INFORMATION; we are the uplink's end."""
    return kind == Extension.PDU_SESSION_CONTAINER and not content[0] >> 4


def _read_ies(data: bytes, ies: dict[int, bytes]) -> bool:
    """Put the IEs into `ies`; False if one cannot be read, those before it are there."""
    at = 0
    while at < len(data):
        kind = data[at]
        at += 1
        if kind < 128:
            size = _FIXED.get(kind)
            if size is None:
                return False
        else:
            octets = _LENGTH_OCTETS.get(kind, 2)
            size = int.from_bytes(data[at : at + octets], "big")
            at += octets
        if at + size > len(data):
            return False
        if kind in _SIZES and size not in _SIZES[kind]:
            return False
        ies.setdefault(kind, data[at : at + size])
        at += size
    return True


def error_indication_fteid(message: Message, source_ip: Address) -> FTeid | None:
    """The tunnel endpoint that a received Error Indication from `source_ip` says it does not know.

    By the IEs TEID Data I and GTP-U Peer Address (7.3.1); where one is missing the header's TEID
    and `source_ip` stand in for it. None if it names no TEID, or the address of another than its
    sender: an Error Indication leaves from the address the G-PDU went to (4.4.3.4), so nobody can
    speak for someone else's tunnels.
    """
    teid_ie = message.ies.get(Ie.TEID_DATA_I)
    teid = message.teid if teid_ie is None else int.from_bytes(teid_ie, "big")
    address = message.ies.get(Ie.GTPU_PEER_ADDRESS, source_ip.packed)
    if not teid or address != source_ip.packed:
        return None
    return FTeid(teid, source_ip)


def comprehension_required(extension: int) -> bool:
    """Whether an endpoint that does not know this extension header must not take the message.

    Bits 8 and 7 of the type (figure 5.2.1-2): 00 and 01 ask for none, 10 asks the receiving
    endpoint, 11 the receiving endpoint and every node between.
    """
    return bool(extension & 0x80)


def not_comprehended(
    types: Iterable[int | None], supported: Collection[int]
) -> tuple[int | None, ...]:
    """Of a message's extension headers those that demand comprehension and are not in `supported`.

    None is one whose type cannot be seen: it may demand it.
    """
    return tuple(
        kind
        for kind in types
        if kind is None or (comprehension_required(kind) and kind not in supported)
    )


def echo_request(sequence: int) -> bytes:
    """An Echo Request (7.2.1). `sequence` is 0 to 65535."""
    return _build(MessageType.ECHO_REQUEST, sequence)


def echo_response(sequence: int | None) -> bytes:
    """The answer to an Echo Request with this sequence number; 0 if it had none (7.2.2).

    Recovery is 0 and means nothing (8.2); the S flag is set even if the request's was not (5.1).
    """
    return _build(MessageType.ECHO_RESPONSE, sequence or 0, bytes((Ie.RECOVERY, 0)))


def error_indication(teid: int, our_ip: Address, sequence: int = 0) -> bytes:
    """The Error Indication for a G-PDU to `teid` at `our_ip`, a tunnel that is not there (7.3.1).

    The header's TEID is 0. A TEID of 0 is refused: no Error Indication answers it.
    """
    peer = struct.pack("!BH", Ie.GTPU_PEER_ADDRESS, len(our_ip.packed)) + our_ip.packed
    body = struct.pack("!BI", Ie.TEID_DATA_I, _tunnel(teid)) + peer
    return _build(MessageType.ERROR_INDICATION, sequence, body)


def supported_extension_headers(types: Collection[int], sequence: int = 0) -> bytes:
    """A Supported Extension Headers Notification (7.2.3). `types` are those we know, maybe none."""
    if len(types) > 255 or not all(1 <= kind <= 255 for kind in types):
        raise ValueError("extension header types are 1 to 255, and at most 255 of them")
    body = bytes((Ie.EXTENSION_HEADER_TYPE_LIST, len(types), *types))
    return _build(MessageType.SUPPORTED_EXTENSION_HEADERS_NOTIFICATION, sequence, body)


def end_marker(teid: int, extensions: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """The End Marker of a tunnel, with the peer's `teid`; without sequence number (5.1, 7.3.2).

    `extensions` are as in `Message`: of one that is sent on.
    """
    following = [kind for kind, _ in extensions] + [0]
    rest = b"".join(
        bytes((len(content) // 4 + 1,)) + content + bytes((kind,))
        for (_, content), kind in zip(extensions, following[1:], strict=True)
    )
    if extensions:
        rest = _OPTIONAL.pack(0, 0, following[0]) + rest
    octet = _VERSION_1 | (_E if extensions else 0)
    return _HEADER.pack(octet, MessageType.END_MARKER, len(rest), _tunnel(teid)) + rest


def _build(kind: MessageType, sequence: int, ies: bytes = b"") -> bytes:
    """A message that belongs to no tunnel: TEID 0, S set (5.1)."""
    if not 0 <= sequence <= SEQUENCE_MAX:
        raise ValueError(f"a sequence number is 0 to {SEQUENCE_MAX}, not {sequence}")
    header = _HEADER.pack(_VERSION_1 | _S, kind, _OPTIONAL.size + len(ies), 0)
    return header + _OPTIONAL.pack(sequence, 0, 0) + ies


def _tunnel(teid: int) -> int:
    if not 1 <= teid <= TEID_MAX:
        raise ValueError(f"a TEID is 1 to {TEID_MAX}, not {teid}")
    return teid
