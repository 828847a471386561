"""Whether a switch's flows are known to be what they should be, and if not, what is in doubt."""

from __future__ import annotations

import logging

import eventlet

from ofgtp.core.flows.doubt import Doubt, nothing
from ofgtp.core.model import Gateway
from ofgtp.core.rules.terms import Links
from ofgtp.southbound.channel import CONFIRM_S, Channel, Disconnected, NotConfirmed
from ofgtp.southbound.prepared import Prepared

log = logging.getLogger(__name__)


class Sync:
    """What is known of one gateway's switch."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.channel: Channel | None = None
        """The OpenFlow connection, as long as there is one."""
        self.links: Links | None = None
        """What the flows in the switch are made for: the same object as long as they are."""
        self.synced = False
        """Whether the switch is known to have exactly the flows of the stored sessions."""
        self.compared = False
        """Whether its flows have been compared since it connected."""
        self.problem: str | None = "the switch has not connected by OpenFlow yet"
        """What keeps it from being in sync, for the operator; None if nothing does."""
        self.generation = 0
        """Goes up with each change of a session that the switch has not seen."""
        self.doubt = Doubt()
        """What of its flows is to be compared, for all that went past it since the last time."""
        self.prepared: Prepared | None = None
        """The last that `prepared_for` has made."""

    def begin(self, channel: Channel) -> None:
        """A switch has connected, and all of its flows are to be compared."""
        self.channel = channel
        self.synced = self.compared = False
        self.doubt = Doubt()
        self.problem = "comparing the switch's flows with the sessions"

    @property
    def connected(self) -> bool:
        """Whether the bridge's OpenFlow connection is up, and its flows have been compared."""
        return self.channel is not None and self.compared

    @property
    def to_ask(self) -> Channel:
        """The OpenFlow connection, to ask something that need not be known.

        Raises:
            Disconnected: there is none.
            NotConfirmed: the switch owes an answer, so that asking more would only take time.
        """
        if self.channel is None:
            raise Disconnected(f"the switch of gateway {self._gateway.name} is not connected")
        if self.channel.silent:
            raise NotConfirmed(f"the switch of gateway {self._gateway.name} does not answer")
        return self.channel

    def resync_soon(self, reason: str, doubt: Doubt | None = None) -> None:
        """Read the switch's flows again and put right what differs; requests wait in the store.
        By default all of them are in doubt."""
        if self.synced:
            log.warning("gateway=%s: comparing flows again: %s", self._gateway.name, reason)
        self.doubt.add(Doubt() if doubt is None else doubt)
        self.synced = False

    def missed(self, reason: str, doubt: Doubt | None = None) -> None:
        """A change of sessions is not in the switch: see `resync_soon`."""
        self.generation += 1
        self.resync_soon(reason, doubt)

    def forget(self) -> None:
        """What was changed was not kept after all: the switch must be compared with the store."""
        self.missed("the store did not keep a change")

    def settle(self) -> None:
        """Give a comparison that is under way a moment to end, or a change would be `pending`."""
        if self.synced:
            return
        with eventlet.Timeout(CONFIRM_S, False):
            while self.connected and not self.synced:
                eventlet.sleep(0.02)

    def taken(self) -> tuple[int, Doubt]:
        """What is to be compared now; with the writer lock held."""
        doubt, self.doubt = self.doubt, nothing()
        return self.generation, doubt

    def prepared_for(self, links: Links) -> Prepared:
        """Sessions' flows as bytes, made for these links."""
        if self.prepared is None or self.prepared.links is not links:
            self.prepared = Prepared(links)
        return self.prepared
