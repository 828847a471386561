"""One gateway's part of the host: its bridge and ports, addresses, routes and nftables rules."""

from __future__ import annotations

import logging
from collections.abc import Callable

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.flows import faults
from ofgtp.core.model import Gateway
from ofgtp.southbound import hostnet, netfilter
from ofgtp.southbound.ovsdb import BridgeFacts, Ovsdb

log = logging.getLogger(__name__)

AUDIT_S = 3.0
"""Seconds between two looks at the host's part (OVSDB changes are seen at once)."""

RETRY_S = 1.0
"""Seconds before what failed is tried again."""


class Host:
    """Makes it, and puts right what others change of it.

    `repaired` is called with what was put right, `learned` with the bridge's facts, each time.
    """

    def __init__(
        self,
        gateway: Gateway,
        nonce: str,
        repaired: Callable[[str], None],
        learned: Callable[[BridgeFacts], None],
    ) -> None:
        self.gateway, self.nonce = gateway, nonce
        self.ovs_version: str | None = None
        self.access_mtu = 0
        self.core_mtu: int | None = None
        """None: the host routes on, and knows what fits."""
        self.problem: str | None = "starting"
        """What keeps it from being as it should be, for the operator."""
        self._repaired, self._learned = repaired, learned
        self._ovsdb = Ovsdb(gateway.ovsdb, lock=f"ofgtp_{gateway.bridge}")
        self._made = self._filtered = False
        """Whether there was a time when bridge and host, or the nftables rules, were in order."""
        self._configured = 0
        """Changes of the bridge's configuration that were told."""
        self._stopped = False
        self._netfilter = Semaphore(1)
        """Held while the nftables rules are looked at or changed."""

    def run(self) -> None:
        """Keep it in order until stopped; to be spawned."""
        stirred = False
        while not self._stopped:
            try:
                self._prepare()
                if not stirred:
                    self._ovsdb.stir(self.gateway)
                    stirred = True
                self.problem = say(self.gateway, self.problem, None)
                self._ovsdb.wait(AUDIT_S)
            except GatewayNotReady as error:
                self.problem = say(self.gateway, self.problem, str(error))
                eventlet.sleep(RETRY_S)
            except Exception:
                log.exception("gateway=%s: unexpected", self.gateway.name)
                self.problem = "an internal error, see the log"
                eventlet.sleep(RETRY_S)

    def stop(self) -> None:
        """Look after it no longer."""
        self._stopped = True

    def apply_netfilter(self) -> None:
        """Have the nftables rules be what they should be.

        Raises:
            GatewayNotReady: nft refused.
        """
        with self._netfilter:
            if self._stopped:
                return
            changed = netfilter.apply(self.gateway, faults.parse(self.ovs_version))
        if changed and self._filtered:
            self._repaired("the nftables rules were changed")
        self._filtered = True

    def remove_netfilter(self) -> None:
        """Take the nftables rules away; to be called when stopped."""
        with self._netfilter:
            netfilter.remove(self.gateway)

    def _prepare(self) -> None:
        gateway = self.gateway
        ports = [gateway.access_port] + ([] if gateway.host_core else [gateway.core_port])
        for port in ports:
            refusal = hostnet.port_refusal(port)
            if refusal is not None:
                raise GatewayNotReady(refusal)
        facts = self._ovsdb.ensure(gateway, nonce=self.nonce)
        self.ovs_version = facts.ovs_version or self.ovs_version
        changed = False
        for port in ports:
            changed |= hostnet.ensure_up(port)
            former = hostnet.offloads_off(port)
            if former:
                self._ovsdb.remember(gateway, port, former)
        changed |= hostnet.ensure_device_settings(gateway.bridge, forward=False)
        changed |= hostnet.ensure_address(gateway.bridge, gateway.access_ip)
        if gateway.host_core:
            changed |= hostnet.ensure_device_settings(gateway.core_device, forward=True)
            changed |= hostnet.ensure_address(gateway.core_device, gateway.core_ip)
        changed |= hostnet.ensure_routes(gateway, facts.local_mac)
        if self._ovsdb.changes > self._configured and self._made:
            self._repaired("the bridge, its ports or its controller were changed")
        if changed and self._made:
            self._repaired("addresses, routes or settings of the host were changed")
        self._configured = self._ovsdb.changes
        self.access_mtu = hostnet.mtu(gateway.access_port)
        self.core_mtu = None if gateway.host_core else hostnet.mtu(gateway.core_port)
        if self.ovs_version is not None:
            self.apply_netfilter()
        self._made = True
        self._learned(facts)


def say(gateway: Gateway, before: str | None, now: str | None) -> str | None:
    """Log a problem when it is new, and its end; returns `now`."""
    if now != before and now is not None:
        log.warning("gateway=%s: %s", gateway.name, now)
    elif now != before and before is not None:
        log.info("gateway=%s: over: %s", gateway.name, before)
    return now
