"""When a switch's flows are compared with the sessions, how often, and what ends it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from eventlet.semaphore import Semaphore

from ofgtp.control.buffer.holding import Holding
from ofgtp.control.flows.equalise import Equaliser
from ofgtp.control.flows.lease import Lease
from ofgtp.control.flows.links import LinksNow
from ofgtp.control.flows.sync import Sync
from ofgtp.control.host.host import Host
from ofgtp.core.flows.doubt import Doubt, nothing
from ofgtp.core.flows.flow import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
    CookieKind,
    Meter,
    make_cookie,
)
from ofgtp.core.flows.pipeline import HELD, LEASE, Report
from ofgtp.core.model import Gateway, SessionState
from ofgtp.core.rules.lease import lease_timeout
from ofgtp.core.rules.terms import Links, same_ports
from ofgtp.northbound.events import EventLog
from ofgtp.southbound.channel import Channel
from ofgtp.southbound.openflow import FlowUpdate, MeterCommand
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

ROUNDS = 5
"""After so many rounds of a comparison in slices sessions wait for the next one to end."""


class Resync:
    """One gateway's. `writer` is the lock under which sessions change.

    `repaired` is called with what somebody had damaged and was put right, `in_sync` when the switch
    has exactly the flows of the stored sessions again.
    """

    def __init__(
        self,
        gateway: Gateway,
        store: SessionStore,
        writer: Semaphore,
        events: EventLog,
        sync: Sync,
        links: LinksNow,
        equaliser: Equaliser,
        host: Host,
        holding: Holding,
        lease: Lease | None,
        repaired: Callable[..., None],
        in_sync: Callable[[], None],
    ) -> None:
        self._gateway, self._store, self._writer, self._events = gateway, store, writer, events
        self._sync, self._links, self._equaliser = sync, links, equaliser
        self._host, self._holding, self._lease = host, holding, lease
        self._repaired, self._in_sync = repaired, in_sync
        self._damage: str | None = None
        """What somebody did to flows, until they are as they should be."""
        self._changed = 0
        """Flows that comparisons have changed since the switch was last in sync."""
        self._surplus: list[Meter] = []
        """Meters that no session has any more, and that flows may use until they are in sync."""

    def flow_changed(self, update: FlowUpdate) -> None:
        """Somebody else changed a flow, or one ran out.

        One that is not ours may have taken the place of ours: the switch tells no more of that than
        that it was added.
        """
        ours = update.cookie & COOKIE_OWNER_MASK == COOKIE_OWNER
        if not ours and update.event == "removed":
            return
        if update.timed_out and update.table == HELD.number:
            return  # the way of a session that was closed for a time
        if update.timed_out and update.cookie == make_cookie(CookieKind.REPORT, Report.SENDER):
            return
        if update.timed_out and update.table == LEASE.number:
            if self._lease is not None:
                self._lease.expiries += 1
            self._events.publish("lease_expired", gateway=self._gateway.name)
            return
        self._sync.generation += 1
        self._damage = self._damage or f"somebody {update.event} flows"
        self._sync.doubt.told(update.event, update.cookie)
        self._sync.resync_soon(self._damage, nothing())

    def run(self, channel: Channel) -> None:
        """Make the switch's flows those of the store. Changes meanwhile make another round.

        Where the switch forwards too much to be kept busy, flows are read in slices, and each
        further round looks at no more than what changed.
        """
        self._host.apply_netfilter()
        failed: dict[int, str] = {}
        rounds = 0
        while True:
            sliced = not self._equaliser.at_once(channel)
            if sliced and not rounds:
                log.info("gateway=%s: under load: flows are compared in slices", self._gateway.name)
            with self._writer:
                # A change that began before must be in the store when that is read. One that begins
                # later counts, since the switch is not in sync.
                generation, doubt = self._sync.taken()
            links = self._compare(channel, failed, doubt, sliced=sliced)
            rounds += 1
            with self._writer:
                if self._conclude(channel, generation, links, failed):
                    return
                if sliced and not self._sync.doubt.small and rounds < ROUNDS:
                    continue
                # Where sessions change all the time, a round that they wait for is what ends it.
                generation, doubt = self._sync.taken()
                links = self._compare(channel, failed, doubt, sliced=sliced)
                if self._conclude(channel, generation, links, failed):
                    return

    def _compare(
        self, channel: Channel, failed: dict[int, str], doubt: Doubt, *, sliced: bool
    ) -> Links | None:
        """Have what differs put right; see `Equaliser`."""
        self._holding.settle()
        everything, made = doubt.everything, None
        sure = False
        try:
            self._surplus = self._equaliser.meters(channel, doubt if sliced else None)
            made = self._equaliser.equalise(channel, failed, doubt if sliced else None)
            sure = made is not None and doubt.everything == everything
        finally:
            if not sure:
                self._sync.doubt.add(doubt)
        if made is None:
            return None
        changes, links = made
        self._changed += changes
        if changes and self._damage is not None:
            self._repaired(self._damage, flows=changes)
        return links if sure else None

    def _conclude(
        self, channel: Channel, generation: int, links: Links | None, failed: dict[int, str]
    ) -> bool:
        """Call the switch in sync, unless something changed since; with the writer lock held."""
        if self._sync.channel is not channel:
            return False
        now = self._links.get()
        if links is None or self._sync.generation != generation or now != links:
            if now is not None and links is not None and not same_ports(now, links):
                self._sync.doubt.add(Doubt())
            return False
        if self._links.reopened:
            return False
        if self._lease is not None:
            # The switch's came with its flows. Packets must reach it from now on, too.
            self._host.renew(lease_timeout(self._lease.seconds))
        channel.set_meters((MeterCommand.DELETE, meter) for meter in self._surplus)
        self._surplus = []
        if self._sync.generation != generation:
            return False
        with self._store.transaction() as tx:
            tx.set_gateway_state(self._gateway.name, SessionState.ACTIVE)
            for number, reason in failed.items():
                tx.set_state([number], SessionState.FAILED, reason)
        self._sync.links = links
        self._sync.synced = self._sync.compared = True
        self._damage = self._sync.problem = None
        self._events.publish("in_sync", gateway=self._gateway.name, flows_changed=self._changed)
        self._changed = 0
        self._in_sync()
        return True
