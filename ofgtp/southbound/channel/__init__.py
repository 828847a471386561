"""One OpenFlow connection to the switch: what is asked and answered, bundles, barriers."""

from ofgtp.southbound.channel.bundle import Bundle
from ofgtp.southbound.channel.connection import Channel
from ofgtp.southbound.channel.errors import Disconnected, FlowsRefused, NotConfirmed
from ofgtp.southbound.channel.requests import CONFIRM_S, STATS_S
from ofgtp.southbound.channel.tally import LATENCY_BOUNDS, Tally

__all__ = [
    "CONFIRM_S",
    "LATENCY_BOUNDS",
    "STATS_S",
    "Bundle",
    "Channel",
    "Disconnected",
    "FlowsRefused",
    "NotConfirmed",
    "Tally",
]
