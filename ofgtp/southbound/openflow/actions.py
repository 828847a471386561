"""Actions (OpenFlow 1.4, 7.2.5) and instructions (7.2.4)."""

from __future__ import annotations

import struct

from ofgtp.core.flows.flow import (
    Action,
    CheckBigger,
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
    Resubmit,
    SetField,
    SetInPort,
    Show,
)
from ofgtp.southbound.openflow.match import MOVE_NAMES, oxm
from ofgtp.southbound.openflow.message import NICIRA

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
            field = oxm(name, value, None)
            size = 4 + len(field)
            size += -size % 8
            return _padded(struct.pack("!HH", 25, size) + field)
        case Move(src, dst):
            bits = src.last - src.first + 1
            names = MOVE_NAMES[src.field], MOVE_NAMES[dst.field]
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
            return _nicira(49, struct.pack("!HHI", octets, bit, MOVE_NAMES[register]))
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
