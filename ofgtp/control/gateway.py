"""One gateway at run time: its bridge kept in order, its flows kept equal to its sessions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.control.announcer import Announcer
from ofgtp.control.buffer.holding import Holding
from ofgtp.control.core_side import CoreSide
from ofgtp.control.flows.carrier import Carrier
from ofgtp.control.flows.counters import Counters
from ofgtp.control.flows.equalise import Equaliser
from ofgtp.control.flows.lease import Lease
from ofgtp.control.flows.links import LinksNow
from ofgtp.control.flows.rates import SLICE_S
from ofgtp.control.flows.resync import Resync
from ofgtp.control.flows.sync import Sync
from ofgtp.control.host.host import RETRY_S, Host, say
from ofgtp.control.packet_ins import PacketIns
from ofgtp.control.peers.access_port import AccessPort
from ofgtp.control.peers.end_markers import EndMarkers
from ofgtp.control.peers.misses import Misses
from ofgtp.control.peers.news import News
from ofgtp.control.peers.senders import Senders
from ofgtp.control.peers.signalling import TICK_S, Signalling
from ofgtp.control.router import Router
from ofgtp.control.turns import in_turns
from ofgtp.control.usage.counting import Counting
from ofgtp.core.errors import CodecError, GatewayNotReady, StoreError, SwitchRefused
from ofgtp.core.filters import Network
from ofgtp.core.flows.doubt import nothing
from ofgtp.core.flows.flow import Flow
from ofgtp.core.history import History
from ofgtp.core.model import Gateway, Session
from ofgtp.core.rules.base import gateway_flows
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.rules.session import owned_flows, session_flows
from ofgtp.core.rules.terms import Links, same_ports
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import Rounds
from ofgtp.southbound.channel import Channel, Disconnected, FlowsRefused, Tally
from ofgtp.southbound.ovsdb import BridgeFacts
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

PAUSE_S = 0.5
"""Seconds between two looks at whether the flows are to be compared, and at the next hop."""


class GatewayAgent:
    """Owns one bridge. All methods are for green threads of one process.

    `writer` is the lock under which sessions change. With `lease_seconds` the controller owns the
    tunnels: they begin and end with it. With None they are the switch's.
    """

    def __init__(
        self,
        gateway: Gateway,
        store: SessionStore,
        writer: Semaphore,
        protected: Sequence[Network],
        nonce: str,
        lease_seconds: int | None,
        events: EventLog,
    ) -> None:
        self.gateway, self.store, self.protected = gateway, store, protected
        self._events = events
        self.host = Host(
            gateway, nonce, self._repaired, self._learn, lambda: store.framed(gateway.name)
        )
        self.repairs = 0
        """How often flows, nftables or host settings that others changed were put right."""
        self.tally, self.totals = Tally(), Counters()
        self.lease = None if lease_seconds is None else Lease(lease_seconds)
        self.sync = Sync(gateway)
        self.core_side = CoreSide(gateway, store)
        self.links = LinksNow(gateway, self.host, self.core_side)
        port = AccessPort(gateway, self.sync, self.links)
        self.signalling = Signalling(gateway, store, events, port.send, port.local_mac)
        peers, senders = self.signalling.peers, Senders(port.show_sender)
        self.misses = Misses(gateway, store, self.signalling, senders)
        self._end_markers = EndMarkers(gateway, store, self.signalling)
        self.holding = Holding(
            lambda slot: store.by_slot(gateway.name, slot),
            lambda: self.sync.channel,
            self.totals.dropped,
            peers.is_reached,
        )
        self.router = Router(gateway, store, peers.is_reached)
        self._announcer = Announcer(gateway)
        self._equaliser = Equaliser(
            gateway, store, self.links, self.core_side, self._base, self.totals.rates
        )
        self._resync = Resync(
            gateway,
            store,
            writer,
            events,
            self.sync,
            self.links,
            self._equaliser,
            self.host,
            self.holding,
            self.lease,
            self._repaired,
            self._in_sync,
        )
        self.carrier = Carrier(
            gateway, writer, self.sync, self.links, self.holding, self.totals.rates, self._base
        )
        self.counting = Counting(self.sync, self.holding)
        self.news = News(
            gateway, self.sync, self.holding, peers, self._end_markers, self.router, self.host
        )
        self.packet_ins = PacketIns(
            gateway,
            self.sync,
            self.links,
            self.core_side,
            self.router,
            self.holding,
            self.totals,
            self.signalling,
            senders,
            self.misses,
            self.carrier.update_route,
        )
        self.rounds = Rounds()
        self.history = History()
        self._opened = 0
        """How often the host's part had opened ports when it was last looked at."""
        self._owns_flows = lease_seconds is None
        """Whether what the switch has of ours is this process's, or the switch's to keep."""
        self._stopped = False

    @property
    def problem(self) -> str | None:
        """What keeps the gateway from working, for the operator; None if nothing does."""
        return self.host.problem or self.sync.problem

    @property
    def synced(self) -> bool:
        """Whether the switch is known to have exactly the flows of the stored sessions."""
        return self.sync.synced

    @property
    def connected(self) -> bool:
        """Whether the bridge's OpenFlow connection is up, and its flows have been compared."""
        return self.sync.connected

    @property
    def lease_seconds(self) -> int | None:
        """How long the tunnels outlive the controller; None if the switch owns them."""
        return None if self.lease is None else self.lease.seconds

    # --- the host's part and the bridge

    def run(self) -> None:
        """Keep host and bridge in order until stopped; to be spawned."""
        eventlet.spawn(self._signal)
        self.host.run()

    def _repaired(self, what: str, **facts: str | int) -> None:
        self.repairs += 1
        self._events.publish("repaired", gateway=self.gateway.name, what=what, **facts)

    def _learn(self, facts: BridgeFacts) -> None:
        """Take new facts of the bridge; if its links changed, its flows must change."""
        before, self.links.facts = self.links.facts, facts
        if before is None or before.datapath_id != facts.datapath_id:
            log.info("gateway=%s dpid=%016x: bridge ready", self.gateway.name, facts.datapath_id)
        if before is None or before.devices != facts.devices:
            # What is at their other ends may be another thing as well.
            self._announcer.begin()
            self.core_side.doubt()
            self.signalling.peers.neighbours.doubt_all(time.monotonic())
        if self.host.opened > self._opened:
            self._opened, self.links.reopened = self.host.opened, True
        links, now = self.sync.links, self.links.get()
        if links is None or now is None or not self.sync.synced:
            return
        if not same_ports(now, links):
            self.sync.resync_soon("the bridge's ports changed")
        elif self.links.reopened:
            eventlet.spawn(self.carrier.update_route)

    def _in_sync(self) -> None:
        """The switch has exactly the flows of the stored sessions again."""
        self.signalling.peers.load(self.store.peers(self.gateway.name), time.monotonic())
        self._end_markers.confirmed()

    # --- the OpenFlow connection

    def attach(self, channel: Channel, recognised: Callable[[], None] = lambda: None) -> None:
        """Take over a connection that claims our datapath id, if it really is our bridge.

        Anybody on this host can connect and claim an id; only the bridge knows what we wrote into
        OVSDB as its description. `recognised` is called once it has told that.

        Raises:
            GatewayNotReady: it is not, or it went away.
        """
        try:
            version, description = channel.description()
        except (SwitchRefused, CodecError) as error:
            raise GatewayNotReady(f"it does not describe itself: {error}") from error
        if description != self.host.nonce:
            raise GatewayNotReady("it claims the bridge's datapath id but is not that bridge")
        recognised()
        if self.sync.channel is not None:
            self.sync.channel.close()
        self.host.ovs_version = version
        channel.tally = self.tally
        self.sync.begin(channel)
        self._equaliser.begin()
        self._events.publish("connected", gateway=self.gateway.name, ovs_version=version)
        try:
            channel.watch_flows(self._resync.flow_changed)
            if not self._owns_flows:
                # What an earlier controller left behind is not ours to go on with.
                channel.delete_ours()
                self._owns_flows = True
        except (GatewayNotReady, SwitchRefused) as error:
            self.detach(channel)
            raise GatewayNotReady(str(error)) from error
        eventlet.spawn(self._serve, channel)
        eventlet.spawn(self._count_rates, channel)
        if self.lease is not None:
            serves = partial(self._serves, channel)
            eventlet.spawn(
                self.lease.keep, channel, serves, lambda: self.sync.links, self.host.renew
            )

    def detach(self, channel: Channel) -> None:
        """The connection is gone."""
        channel.close()
        if self.sync.channel is channel:
            self.sync.channel = None
            self.sync.synced = False
            self.sync.problem = say(self.gateway, None, "the switch disconnected")
            self._events.publish("disconnected", gateway=self.gateway.name)

    def _serves(self, channel: Channel) -> bool:
        return self.sync.channel is channel and not self._stopped

    def stop(self) -> None:
        """End this gateway's work. If the controller owns the tunnels, they end here.

        Raises:
            GatewayNotReady: the switch is away or does not confirm; the lease ends it all the same.
        """
        self._stopped = True
        self.host.stop()
        if self.lease is None:
            return
        if self.sync.channel is None:
            raise Disconnected("the switch is not connected")
        self.sync.channel.end()
        self.host.remove_netfilter()
        self.host.remove_framed()
        log.info("gateway=%s: flows and nftables rules removed", self.gateway.name)

    def _serve(self, channel: Channel) -> None:
        """Work on one connection until it ends."""
        while self._serves(channel):
            try:
                if not self.sync.synced:
                    self._resync.run(channel)
                self.core_side.ask(channel, self.sync.links)
            except (GatewayNotReady, FlowsRefused, StoreError) as error:
                if self.sync.channel is channel:
                    self.sync.problem = say(self.gateway, self.sync.problem, str(error))
                    eventlet.sleep(RETRY_S)
            except Exception:
                log.exception("gateway=%s: unexpected", self.gateway.name)
                eventlet.sleep(RETRY_S)
            eventlet.sleep(PAUSE_S)

    def _count_rates(self, channel: Channel) -> None:
        """Read what sessions' meters have dropped, a few at a time; to be spawned."""
        while self._serves(channel):
            try:
                if self.sync.synced and self.totals.rates:
                    self.totals.rates.read(channel)
            except GatewayNotReady as error:
                log.debug("gateway=%s: meters not read: %s", self.gateway.name, error)
            eventlet.sleep(SLICE_S)

    def _signal(self) -> None:
        """What signalling owes and is owed, several times a second."""
        sync = self.sync
        while not self._stopped:
            try:
                self.signalling.tick()
                self.holding.tick(time.monotonic())
                if sync.synced and sync.channel is not None and sync.links is not None:
                    self._announcer.tick(time.monotonic(), sync.channel, sync.links)
                    self.router.tick(time.monotonic(), sync.channel, sync.links)
                if self.packet_ins.neighbours_changed and sync.synced:
                    self.packet_ins.neighbours_changed = False
                    self._neighbour_news()
            except Exception:
                log.exception("gateway=%s: unexpected", self.gateway.name)
            eventlet.sleep(TICK_S)

    def _neighbour_news(self) -> None:
        """Packets between UEs may be cached as dropped, or with an old MAC address."""
        if self.gateway.ue_to_ue == "route":
            eventlet.spawn(self.carrier.update_route)

    # --- flows

    def reload(self, wanted: Gateway, protected: Sequence[Network]) -> bool:
        """Be configured as `wanted`, in what may change; the caller holds the writer lock.

        Returns True when the switch has confirmed, False when the next comparison does it. The
        host's part is looked at later, see `Host.look`.

        Raises:
            FlowsRefused: the switch refused a flow, and nothing has changed.
        """
        was, was_protected = replace(self.gateway), self.protected
        links, done = self.sync.links, True

        def base_before(links: Links) -> Iterator[Flow]:
            return gateway_flows(was, links, was_protected, self.lease_seconds)

        self.gateway.take(wanted)
        self.protected = protected
        self.host.changing()
        try:
            if not self.sync.synced or links is None:
                self.sync.missed("the configuration was read again", nothing())
                done = False
            elif [*base_before(links)] != [*self._base(links)]:
                done = self.carrier.apply_next_epoch(base_before, self._base)
        except Disconnected as error:
            self.sync.missed(str(error), nothing())
            done = False
        except FlowsRefused:
            self.gateway.take(was)
            self.protected = was_protected
            self.host.changing()
            raise
        self.signalling.peers.reloaded(was, time.monotonic())
        return done

    def _base(self, links: Links) -> Iterator[Flow]:
        return gateway_flows(self.gateway, links, self.protected, self.lease_seconds)

    def wanted(self) -> Iterator[Flow]:
        """Every flow that should be in the switch.

        Raises:
            GatewayNotReady: the bridge was never ready.
        """
        links = self.links.ready()
        yield from self._base(links)
        yield from _flows(self.store.iterate(self.gateway.name), links)

    def wanted_of(self, session: Session) -> list[Owned] | None:
        """A session's flows and whose each is; None while the bridge's ports are not known."""
        links = self.links.get()
        return None if links is None else owned_flows(session, links)


def _flows(sessions: Iterable[Session], links: Links) -> Iterator[Flow]:
    for session in in_turns(sessions):
        yield from session_flows(session, links)
