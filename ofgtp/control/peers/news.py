"""Who beside the switch is told that sessions change: peers, UEs, the host, what holds packets."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Set
from ipaddress import IPv4Address
from types import MappingProxyType

import eventlet

from ofgtp.control.buffer.holding import Holding
from ofgtp.control.flows.sync import Sync
from ofgtp.control.host.host import Host
from ofgtp.control.peers.end_markers import EndMarkers
from ofgtp.control.peers.moves import Moves
from ofgtp.control.peers.peers import Peers
from ofgtp.control.router import Router
from ofgtp.control.turns import SLICE, in_turns
from ofgtp.core.errors import GatewayNotReady, StoreError
from ofgtp.core.model import Address, FTeid, Gateway, Session

log = logging.getLogger(__name__)


class News:
    """Of one gateway's sessions."""

    def __init__(
        self,
        gateway: Gateway,
        sync: Sync,
        holding: Holding,
        peers: Peers,
        end_markers: EndMarkers,
        router: Router,
        host: Host,
    ) -> None:
        self._gateway, self._sync, self._holding, self._peers = gateway, sync, holding, peers
        self._end_markers, self._router, self._host = end_markers, router, host

    def named(self, peers: Set[Address]) -> None:
        """Sessions with these peers are about to be: ask for MAC addresses by ARP already."""
        now = time.monotonic()
        self._peers.expect(peers, now)
        self._peers.ask(now)

    def left(self, tunnels: Iterable[FTeid]) -> None:
        """Sessions leave these tunnels: their peers are told once the switch has confirmed it."""
        for tunnel in tunnels:
            self._end_markers.left(tunnel)

    def changed(
        self,
        pairs: Iterable[tuple[Session | None, Session | None]],
        peers: Mapping[tuple[int | None, int | None], int] = MappingProxyType({}),
    ) -> None:
        """Sessions have changed in the store, from the first to the second of each pair; `peers`
        is as for `moved`."""
        moves = Moves()
        for before, after in pairs:
            moves.add(before, after)
        self.moved(moves, peers)

    def moved(self, moves: Moves, peers: Mapping[tuple[int | None, int | None], int]) -> None:
        """Sessions have changed in the store: peers have more or less of them, and UEs other links.

        `peers` counts others that came or went, by their peers (the uplink's, the downlink's).
        """
        self._holding.kept()
        # Counted together: what one line of a batch did, a later one may have undone.
        counts: dict[Address, int] = moves.counts
        for ips, sessions in in_turns(peers.items()):
            for ip in set(ips):
                if ip is not None:
                    peer = IPv4Address(ip)
                    counts[peer] = counts.get(peer, 0) + sessions
        for tunnel in in_turns(moves.left):
            self._end_markers.left(tunnel)
        # More comes first: a next hop that one peer leaves and another takes stays known.
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        for start in range(0, len(ordered), SLICE):
            if start:
                eventlet.sleep(0)
            some = dict(ordered[start : start + SLICE])
            self._peers.changed(some, time.monotonic())
        self._router.news(moves.linked)
        if self._sync.synced:
            self._end_markers.confirmed()
        if moves.framed and self._gateway.host_core:
            try:
                self._host.route_framed()
            except (GatewayNotReady, StoreError) as error:  # looked at again before long
                log.warning("gateway=%s: routes to UEs: %s", self._gateway.name, error)
