"""What a gateway's flows are made for, as it is now: ports, MAC addresses, MTU, epoch."""

from __future__ import annotations

import random

from ofgtp.control.core_side import CoreSide
from ofgtp.control.host.host import Host
from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.core.rules.terms import Links
from ofgtp.southbound.ovsdb import BridgeFacts


class LinksNow:
    """Gathered from the bridge, the host and the core side."""

    def __init__(self, gateway: Gateway, host: Host, core_side: CoreSide) -> None:
        self.facts: BridgeFacts | None = None
        """None until the bridge is ready."""
        self.epoch = new_epoch()
        self.reopened = False
        """Whether ports were opened since the epoch began: what is cached may name their numbers in
        the datapath, which another port may have now."""
        self._gateway, self._host, self._core_side = gateway, host, core_side

    def next_epoch(self) -> tuple[int, bool]:
        """Take another epoch, so that packets under way are not cached by flows that were.

        Returns what `back_to` takes, if the switch does not.
        """
        before = self.epoch, self.reopened
        self.epoch, self.reopened = new_epoch(), False
        return before

    def back_to(self, before: tuple[int, bool]) -> None:
        """The epoch is still the one before `next_epoch`."""
        self.epoch, self.reopened = before

    def get(self) -> Links | None:
        """None until the bridge is ready."""
        facts = self.facts
        if facts is None:
            return None
        host = self._gateway.host_core
        return Links(
            access=facts.access_ofport,
            core=facts.core_ofport,
            gtpu=facts.gtpu_ofport,
            gtpu_ect_1=facts.ect_1_ofport,
            gtpu_ce=facts.ce_ofport,
            loop_out=facts.loop_out_ofport,
            loop_in=facts.loop_in_ofport,
            access_mtu=self._host.access_mtu,
            core_mtu=self._host.core_mtu,
            local_mac=facts.local_mac,
            core_mac=facts.local_mac if host else facts.core_mac,
            peer_mac=facts.core_mac if host else self._core_side.next_hop.mac,
            peer_mac6=self._peer_mac6(facts),
            decrement_ttl=self._gateway.decrements_ttl,
            ue_to_ue=self._gateway.ue_to_ue == "route",
            epoch=self.epoch,
            gre=facts.gre_ofport,
            more=facts.more,
        )

    def _peer_mac6(self, facts: BridgeFacts) -> str | None:
        if self._gateway.core_ip6 is None:
            return None
        return facts.core_mac if self._gateway.host_core else self._core_side.next_hop6.mac

    def ready(self) -> Links:
        """The same.

        Raises:
            GatewayNotReady: the bridge was never ready.
        """
        links = self.get()
        if links is None:
            name = self._gateway.name
            raise GatewayNotReady(f"gateway {name}: the bridge's ports are not known yet")
        return links


def new_epoch() -> int:
    """16 of 32 bits, other ones each time."""
    return sum(1 << bit for bit in random.sample(range(32), 16))
