"""Tells both sides of a gateway which MAC addresses it has, when they may have changed."""

from __future__ import annotations

from ofgtp.core.model import Gateway
from ofgtp.core.packets import arp
from ofgtp.core.rules.terms import Links
from ofgtp.southbound.channel import Channel

TIMES, PAUSE_S = 3, 1.0
"""So often, and seconds between two: a host believes none within a second of what it last heard."""


class Announcer:
    """By ARP announcements (RFC 5227, 2.3), out of the ports themselves."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._left, self._next = 0, 0.0

    def begin(self) -> None:
        """Announce them with the next ticks."""
        self._left, self._next = TIMES, 0.0

    def tick(self, now: float, channel: Channel, links: Links) -> None:
        """Send what is due at `now`, in seconds of a steady clock."""
        if not self._left or now < self._next:
            return
        self._left, self._next = self._left - 1, now + PAUSE_S
        gateway = self._gateway
        channel.packet_out(links.access, arp.announcement(links.local_mac, gateway.access_ip.ip))
        if not gateway.host_core:
            channel.packet_out(links.core, arp.announcement(links.core_mac, gateway.core_ip.ip))
