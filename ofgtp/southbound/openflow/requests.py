"""Messages to the switch."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from ofgtp.core.flows.flow import (
    Action,
    Flow,
    Match,
    Meter,
    Output,
    Port,
)
from ofgtp.southbound.openflow.actions import encode_action, encode_instructions
from ofgtp.southbound.openflow.answers import FlowStats
from ofgtp.southbound.openflow.entry import Entry
from ofgtp.southbound.openflow.match import encode_match
from ofgtp.southbound.openflow.message import (
    ALL_TABLES,
    ANY_GROUP,
    ANY_PORT,
    BUNDLE_FLAGS,
    NO_BUFFER,
    UNITS,
    VERSION,
    Bundle,
    Command,
    MeterCommand,
    Multipart,
    Type,
    message,
)

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


def meter_mod(command: MeterCommand, meter: Meter, xid: int) -> bytes:
    """Add, modify or delete a meter (7.3.4.5): with burst and statistics, one dropping band."""
    flags = UNITS[meter.unit] | 4 | 8
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
