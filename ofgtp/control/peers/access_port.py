"""The access port, by which a gateway speaks to its GTP-U peers."""

from __future__ import annotations

from ofgtp.control.flows.links import LinksNow
from ofgtp.control.flows.sync import Sync
from ofgtp.core.model import Gateway
from ofgtp.core.rules.access import senders


class AccessPort:
    """One gateway's, as its switch has it."""

    def __init__(self, gateway: Gateway, sync: Sync, links: LinksNow) -> None:
        self._gateway, self._sync, self._links = gateway, sync, links

    def local_mac(self) -> str | None:
        """The gateway's own MAC address there; None while nothing can be sent."""
        links = self._links.get()
        return None if links is None or self._sync.channel is None else links.local_mac

    def show_sender(self, tail: int, seconds: int) -> None:
        """Have the switch show what comes over IPv6 from addresses that end so."""
        if self._sync.channel is not None and self._sync.links is not None:
            self._sync.channel.renew(senders(self._gateway, self._sync.links, tail, seconds))

    def send(self, frame: bytes) -> None:
        """Put a frame out of it, if the switch is there."""
        links = self._links.get()
        if links is not None and self._sync.channel is not None:
            self._sync.channel.packet_out(links.access, frame)
