"""Every reason to drop a packet that is counted, by a gateway or by a switch, for operators."""

from __future__ import annotations

import re
from typing import Literal

from ofgtp.core.flows.pipeline import DropReason

LOST_UPLINK, LOST_DOWNLINK = "tunnel_error", "not_sent"
"""What no flow sees: the difference of what went in and what came out."""
BUFFER_TIMEOUT = "buffer_timeout"
"""What the controller has held too long."""

Port = Literal["access", "core"]

OVERRUNS: dict[Port, str] = {"access": "access_overrun", "core": "core_overrun"}
NOT_TAKEN: dict[Port, str] = {"access": "access_not_taken", "core": "core_not_taken"}
"""By the port."""

MEANINGS = {reason.label: reason.meaning for reason in DropReason} | {
    # what meters count
    "rate_limited_ping": "pings of the gateway's own addresses over the limit",
    "rate_limited_arp": "ARP over the limit",
    "rate_limited_signalling": (
        "signalling over the limit: 100 a second from each eighth of the peers' addresses"
    ),
    "rate_limited_router": (
        "what UEs ask their router (IPv6) over the limit: 25 a second from each 16th of the TEIDs"
    ),
    "rate_exceeded": "packets over the rate of their session or bearer (ambr, mbr)",
    "too_big_uplink": "uplink packets that would not fit the core MTU",
    # what the controller drops
    BUFFER_TIMEOUT: "packets for idle UEs that were held, and for which no tunnel came in time",
    # what no flow sees
    LOST_UPLINK: (
        "GTP-U that Open vSwitch itself refused: a wrong checksum or IP options outside, fewer than"
        " 14 octets inside; at least so many"
    ),
    LOST_DOWNLINK: (
        "downlink packets for a base station of which the switch knows no MAC address or no route;"
        " at least so many"
    ),
    "access_overrun": "frames that came by the access port faster than the switch took them",
    "core_overrun": "frames that came by the core port faster than the switch took them",
    "access_not_taken": (
        "frames that came by the access port and that the switch did not take: too long, say; at"
        " least so many"
    ),
    "core_not_taken": (
        "frames that came by the core port and that the switch did not take: too long, say; at"
        " least so many"
    ),
    # signalling that the controller cannot read
    "bad_frame": "no whole UDP packet in an unfragmented IPv4 packet, or from no host's address",
    "too_short": "the header, its optional part or an extension header is cut off",
    "unknown_type": "a message type that GTP-U does not have",
    "bad_extension": "an extension header of length 0; in T-PDUs, any that cannot be read",
    "bad_length": "the Length field is not what follows the header",
    "bad_teid": "the TEID is not what the message type demands",
    "bad_ie": "an information element is missing or cannot be read",
}
"""By their names in counters; docs/metrics.md says the same."""

SWITCH_MEANINGS = {
    "tunnel_pop_error": (
        "tunnel packets with a wrong checksum or IP options in their outer header, or cut off"
    ),
    "rx_invalid_packet": "fewer than 14 octets: hardly anything was in a tunnel",
    "congestion": "marked by a router (ECN), and what was inside was taken for not capable of it",
    "tunnel_neigh_cache_miss": "for a tunnel of whose far end no MAC address is known",
    "tunnel_routing_failed": "for a tunnel to whose far end no route leads",
    "tunnel_push_error": "could not be put into a tunnel",
    "invalid_tnl_port": "for a tunnel port that is not there any more",
    "invalid_port": "for a port that is not there any more",
    "recirc_error": "parsed anew too often",
    "upcall_error": "of a kind not seen before, while the switch could not look it up",
    "lock_error": "while flows or ports were changed",
    "recursion_too_deep": "led round by flows without an end",
    "too_many_resubmit": "led through too many tables",
    "no_recirculation_context": "parsed anew, and what was known of it is gone",
    "recirculation_conflict": "parsed anew twice in one go",
    "nsh_decap_error": "an NSH header that could not be taken off",
}
"""What Open vSwitch counts by itself, for all its bridges together (`ovs-appctl coverage/show`), by
its own names without their beginnings; not what flows and meters drop. Its count of errors of
"userspace actions" is left out: each packet that goes to a controller alone is one."""

_COVERAGE = re.compile(r"(?:datapath_drop_|drop_action_)(\w+) .*total: (\d+)")


def switch_drops(coverage: str) -> dict[str, int]:
    """What `coverage/show` says of each; it shows none that is 0."""
    found = {name: int(count) for name, count in _COVERAGE.findall(coverage)}
    return {name: found.get(name, 0) for name in SWITCH_MEANINGS}
