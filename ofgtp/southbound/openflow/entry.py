"""Flows as the switch reports them."""

from __future__ import annotations

from typing import NamedTuple

from ofgtp.core.flows.flow import (
    Flow,
)
from ofgtp.southbound.openflow.actions import encode_instructions
from ofgtp.southbound.openflow.match import encode_match

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
