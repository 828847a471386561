"""Every reason to drop a packet that a gateway counts, in words for operators."""

from __future__ import annotations

from ofgtp.core.flows.pipeline import DropReason

MEANINGS = {reason.label: reason.meaning for reason in DropReason} | {
    # what meters count
    "rate_limited_ping": "pings of the gateway's own addresses over the limit",
    "rate_limited_arp": "ARP over the limit",
    "rate_limited_signalling": (
        "signalling over the limit: 100 a second from each eighth of the peers' addresses"
    ),
    "too_big": "downlink packets that would not fit the access MTU with their tunnel headers",
    "too_big_uplink": "uplink packets that would not fit the core MTU",
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
