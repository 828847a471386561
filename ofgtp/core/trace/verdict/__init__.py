"""What becomes of a traced packet, why, and what helps: in words for who is on call."""

from ofgtp.core.trace.verdict.advice import LOOK
from ofgtp.core.trace.verdict.drops import HELD, dropped, held
from ofgtp.core.trace.verdict.flows import TABLES, delete_command, foreign, no_match, place
from ofgtp.core.trace.verdict.missed import of_link, solicited
from ofgtp.core.trace.verdict.sizes import too_big, too_big_relayed, too_big_uplink
from ofgtp.core.trace.verdict.way_on import (
    no_arp,
    no_port,
    no_route,
    not_routed,
    not_unwrapped,
    refused,
)

__all__ = [
    "HELD",
    "LOOK",
    "TABLES",
    "delete_command",
    "dropped",
    "foreign",
    "held",
    "no_arp",
    "no_match",
    "no_port",
    "no_route",
    "not_routed",
    "not_unwrapped",
    "of_link",
    "place",
    "refused",
    "solicited",
    "too_big",
    "too_big_relayed",
    "too_big_uplink",
]
