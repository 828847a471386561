"""One gateway at run time: its bridge kept in order, its flows kept equal to its sessions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from types import MappingProxyType

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.control.announcer import Announcer
from ofgtp.control.buffer.holding import Holding
from ofgtp.control.core_side import CoreSide
from ofgtp.control.flows.change import Change, add_sessions
from ofgtp.control.flows.counters import Counters
from ofgtp.control.flows.equalise import Equaliser
from ofgtp.control.flows.lease import Lease
from ofgtp.control.flows.links import LinksNow
from ofgtp.control.flows.rates import SLICE_S
from ofgtp.control.host.host import RETRY_S, Host, say
from ofgtp.control.peers.end_markers import EndMarkers
from ofgtp.control.peers.misses import EXTENDED, REFUSED, Misses
from ofgtp.control.peers.moves import Moves
from ofgtp.control.peers.senders import Senders
from ofgtp.control.peers.signalling import TICK_S, Signalling
from ofgtp.control.router import Router
from ofgtp.control.turns import SLICE, in_turns
from ofgtp.core.errors import CodecError, GatewayNotReady, StoreError, SwitchRefused
from ofgtp.core.filters import Network
from ofgtp.core.flows.doubt import Doubt, nothing
from ofgtp.core.flows.flow import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
    CookieKind,
    Flow,
    Meter,
    cookie_kind,
    cookie_number,
    make_cookie,
)
from ofgtp.core.flows.pipeline import (
    HELD,
    LEASE,
    DropReason,
    Report,
)
from ofgtp.core.history import History
from ofgtp.core.model import Address, FlowValues, FTeid, Gateway, Session, SessionState
from ofgtp.core.packets.frames import is_ipv6
from ofgtp.core.packets.icmpv6 import Type
from ofgtp.core.rules.access import senders
from ofgtp.core.rules.base import epoch_flows, gateway_flows
from ofgtp.core.rules.counts import FlowCounts
from ofgtp.core.rules.lease import lease_timeout
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.rules.session import owned_flows, session_flows
from ofgtp.core.rules.terms import Links, same_ports
from ofgtp.core.sessions.shape import numbers_of
from ofgtp.core.usage.plain import Pair
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import Rounds
from ofgtp.southbound.channel import (
    CONFIRM_S,
    Channel,
    Disconnected,
    FlowsRefused,
    NotConfirmed,
    Tally,
)
from ofgtp.southbound.openflow import (
    EntryKey,
    FlowStats,
    FlowUpdate,
    MeterCommand,
    MeterCounts,
    PacketIn,
    entry_of,
)
from ofgtp.southbound.ovsdb import BridgeFacts
from ofgtp.southbound.prepared import Prepared
from ofgtp.southbound.templates import TemplateError
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

ROUNDS = 5
"""After so many rounds of a comparison in slices sessions wait for the next one to end."""

PAUSE_S = 0.5
"""Seconds between two looks at whether the flows are to be compared, and at the next hop."""


class GatewayAgent:
    """Owns one bridge. All methods are for green threads of one process.

    `writer` is the lock under which sessions change; who holds it may call `change`. With
    `lease_seconds` the controller owns the tunnels: they begin and end with it. With None they
    are the switch's.
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
        self.gateway = gateway
        self.host = Host(
            gateway, nonce, self._repaired, self._learn, lambda: store.framed(gateway.name)
        )
        self.synced = False
        """Whether the switch is known to have exactly the flows of the stored sessions."""
        self._switch_problem: str | None = "the switch has not connected by OpenFlow yet"
        self.generation = 0
        """Goes up with each change of a session that the switch has not seen."""
        self._doubt = Doubt()
        """What of its flows is to be compared, for all that went past it since the last time."""
        self.repairs = 0
        """How often flows, nftables or host settings that others changed were put right."""
        self.tally, self.totals = Tally(), Counters()
        self.holding = Holding(
            lambda slot: store.by_slot(gateway.name, slot),
            lambda: self._channel,
            self.totals.dropped,
            self._is_reached,
        )
        self.store, self._writer, self.protected = store, writer, protected
        self._events = events
        self.lease = None if lease_seconds is None else Lease(lease_seconds)
        self.core_side = CoreSide(gateway, store)
        self.router = Router(gateway, store, self._is_reached)
        self._announcer = Announcer(gateway)
        self._opened = 0
        """How often the host's part had opened ports when it was last looked at."""
        self.links = LinksNow(gateway, self.host, self.core_side)
        self._equaliser = Equaliser(
            gateway, store, self.links, self.core_side, self._base, self.totals.rates
        )
        self._channel: Channel | None = None
        self._links: Links | None = None
        self._prepared: Prepared | None = None
        self._owns_flows = lease_seconds is None
        """Whether what the switch has of ours is this process's, or the switch's to keep."""
        self._compared = False
        self._damage: str | None = None
        self._changed = 0
        """Flows that comparisons have changed since the switch was last in sync."""
        self._surplus: list[Meter] = []
        """Meters that no session has any more, and that flows may use until they are in sync."""
        self._stopped = False
        self.signalling = Signalling(gateway, store, events, self._send_to_peers, self._local_mac)
        self._senders = Senders(self._show_sender)
        self.misses = Misses(gateway, store, self.signalling, self._senders)
        self._end_markers = EndMarkers(gateway, store, self.signalling)
        self.made_anew: set[int] | None = None
        """Sessions whose flows were to be made anew, as long as somebody wants to know."""
        self.rounds = Rounds()
        self.history = History()
        self._neighbours_changed = False

    @property
    def problem(self) -> str | None:
        """What keeps the gateway from working, for the operator; None if nothing does."""
        return self.host.problem or self._switch_problem

    @property
    def connected(self) -> bool:
        """Whether the bridge's OpenFlow connection is up, and its flows have been compared."""
        return self._channel is not None and self._compared

    @property
    def channel(self) -> Channel:
        """The OpenFlow connection, to ask something that need not be known.

        Raises:
            Disconnected: there is none.
            NotConfirmed: the switch owes an answer, so that asking more would only take time.
        """
        if self._channel is None:
            raise Disconnected(f"the switch of gateway {self.gateway.name} is not connected")
        if self._channel.silent:
            raise NotConfirmed(f"the switch of gateway {self.gateway.name} does not answer")
        return self._channel

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
        links, now = self._links, self.links.get()
        if links is None or now is None or not self.synced:
            return
        if not same_ports(now, links):
            self.resync_soon("the bridge's ports changed")
        elif self.links.reopened:
            eventlet.spawn(self._update_route)

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
        if self._channel is not None:
            self._channel.close()
        self.host.ovs_version = version
        self._channel = channel
        channel.tally = self.tally
        self.synced = self._compared = False
        self._doubt = Doubt()
        self._equaliser.begin()
        self._switch_problem = "comparing the switch's flows with the sessions"
        self._events.publish("connected", gateway=self.gateway.name, ovs_version=version)
        try:
            channel.watch_flows(self._flow_changed)
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
            eventlet.spawn(self.lease.keep, channel, serves, lambda: self._links, self.host.renew)

    def detach(self, channel: Channel) -> None:
        """The connection is gone."""
        channel.close()
        if self._channel is channel:
            self._channel = None
            self.synced = False
            self._switch_problem = say(self.gateway, None, "the switch disconnected")
            self._events.publish("disconnected", gateway=self.gateway.name)

    def resync_soon(self, reason: str, doubt: Doubt | None = None) -> None:
        """Read the switch's flows again and put right what differs; requests wait in the store.
        By default all of them are in doubt."""
        if self.synced:
            log.warning("gateway=%s: comparing flows again: %s", self.gateway.name, reason)
        self._doubt.add(Doubt() if doubt is None else doubt)
        self.synced = False

    def _flow_changed(self, update: FlowUpdate) -> None:
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
            if self.lease is not None:
                self.lease.expiries += 1
            self._events.publish("lease_expired", gateway=self.gateway.name)
            return
        self.generation += 1
        self._damage = self._damage or f"somebody {update.event} flows"
        self._doubt.told(update.event, update.cookie)
        self.resync_soon(self._damage, nothing())

    def _serves(self, channel: Channel) -> bool:
        return self._channel is channel and not self._stopped

    def stop(self) -> None:
        """End this gateway's work. If the controller owns the tunnels, they end here.

        Raises:
            GatewayNotReady: the switch is away or does not confirm; the lease ends it all the same.
        """
        self._stopped = True
        self.host.stop()
        if self.lease is None:
            return
        if self._channel is None:
            raise Disconnected("the switch is not connected")
        self._channel.end()
        self.host.remove_netfilter()
        self.host.remove_framed()
        log.info("gateway=%s: flows and nftables rules removed", self.gateway.name)

    def _serve(self, channel: Channel) -> None:
        """Work on one connection until it ends."""
        while self._serves(channel):
            try:
                if not self.synced:
                    self._resync(channel)
                self.core_side.ask(channel, self._links)
            except (GatewayNotReady, FlowsRefused, StoreError) as error:
                if self._channel is channel:
                    self._switch_problem = say(self.gateway, self._switch_problem, str(error))
                    eventlet.sleep(RETRY_S)
            except Exception:
                log.exception("gateway=%s: unexpected", self.gateway.name)
                eventlet.sleep(RETRY_S)
            eventlet.sleep(PAUSE_S)

    def _count_rates(self, channel: Channel) -> None:
        """Read what sessions' meters have dropped, a few at a time; to be spawned."""
        while self._serves(channel):
            try:
                if self.synced and self.totals.rates:
                    self.totals.rates.read(channel)
            except GatewayNotReady as error:
                log.debug("gateway=%s: meters not read: %s", self.gateway.name, error)
            eventlet.sleep(SLICE_S)

    # --- flows

    def _resync(self, channel: Channel) -> None:
        """Make the switch's flows those of the store. Changes meanwhile make another round.

        Where the switch forwards too much to be kept busy, flows are read in slices, and each
        further round looks at no more than what changed.
        """
        self.host.apply_netfilter()
        failed: dict[int, str] = {}
        rounds = 0
        while True:
            sliced = not self._equaliser.at_once(channel)
            if sliced and not rounds:
                log.info("gateway=%s: under load: flows are compared in slices", self.gateway.name)
            with self._writer:
                # A change that began before must be in the store when that is read. One that begins
                # later counts, since the switch is not in sync.
                generation, doubt = self._taken()
            links = self._compare(channel, failed, doubt, sliced=sliced)
            rounds += 1
            with self._writer:
                if self._conclude(channel, generation, links, failed):
                    return
                if sliced and not self._doubt.small and rounds < ROUNDS:
                    continue
                # Where sessions change all the time, a round that they wait for is what ends it.
                generation, doubt = self._taken()
                links = self._compare(channel, failed, doubt, sliced=sliced)
                if self._conclude(channel, generation, links, failed):
                    return

    def _taken(self) -> tuple[int, Doubt]:
        """What is to be compared now; with the writer lock held."""
        doubt, self._doubt = self._doubt, nothing()
        return self.generation, doubt

    def _compare(
        self, channel: Channel, failed: dict[int, str], doubt: Doubt, *, sliced: bool
    ) -> Links | None:
        """Have what differs put right; see `Equaliser`."""
        self.holding.settle()
        everything, made = doubt.everything, None
        sure = False
        try:
            self._surplus = self._equaliser.meters(channel, doubt if sliced else None)
            made = self._equaliser.equalise(channel, failed, doubt if sliced else None)
            sure = made is not None and doubt.everything == everything
        finally:
            if not sure:
                self._doubt.add(doubt)
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
        if self._channel is not channel:
            return False
        now = self.links.get()
        if links is None or self.generation != generation or now != links:
            if now is not None and links is not None and not same_ports(now, links):
                self._doubt.add(Doubt())
            return False
        if self.links.reopened:
            return False
        if self.lease is not None:
            # The switch's came with its flows. Packets must reach it from now on, too.
            self.host.renew(lease_timeout(self.lease.seconds))
        channel.set_meters((MeterCommand.DELETE, meter) for meter in self._surplus)
        self._surplus = []
        if self.generation != generation:
            return False
        with self.store.transaction() as tx:
            tx.set_gateway_state(self.gateway.name, SessionState.ACTIVE)
            for number, reason in failed.items():
                tx.set_state([number], SessionState.FAILED, reason)
        self._links = links
        self.synced = self._compared = True
        self._damage = self._switch_problem = None
        self._events.publish("in_sync", gateway=self.gateway.name, flows_changed=self._changed)
        self._changed = 0
        self.signalling.peers.load(self.store.peers(self.gateway.name), time.monotonic())
        self._end_markers.confirmed()
        return True

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """A change of this gateway's flows, to be committed; the caller holds the writer lock."""
        links = self._links
        if not self.synced or links is None or self._channel is None or self._channel.silent:
            yield Change(None, None)
            return
        with self._channel.bundle() as bundle:
            change = Change(self._prepared_for(links), bundle, self.holding)
            try:
                yield change
            finally:
                change.take_back()

    def commit(self, change: Change) -> bool:
        """Have a change carried out.

        Returns True when the switch has confirmed, False when it is away, not in sync yet or did
        not answer in time: then the next reconcile does it from the store.

        Raises:
            FlowsRefused: the switch refused a flow and has what it had.
        """
        before, old = None, self._links
        try:
            between = change.downlink and self.gateway.ue_to_ue == "route"
            if old is not None and (between or change.epoch):
                # Packets between UEs came by the gtpu port and leave by downlink flows. What else
                # is new of the links has its own turn.
                before = self.links.next_epoch()
                self._links = replace(old, epoch=self.links.epoch)
                change.replace(epoch_flows(old), epoch_flows(self._links))
            done = change.commit()
            self.totals.rates.changed(*change.meters)
        except FlowsRefused:
            if before is not None:
                self.links.back_to(before)
                self._links = old
            raise
        if change.touched and not done:
            self.generation += 1
            doubt = nothing()
            doubt.changed(change.untold, change.untold_drops)
            self.resync_soon(
                change.problem or "the switch could not be told of a change",
                doubt if change.problem is None else None,
            )
        return done

    def change(
        self,
        before: Sequence[Session],
        after: Sequence[Session],
        drop: Iterable[int] = (),
    ) -> bool:
        """Replace sessions' flows in the switch; what waits of those in the slots `drop` is
        dropped. See `commit`."""
        if not before and len(after) == 1 and after[0].detail is None:
            return self.create([FlowValues.of(after[0])])
        with self.changing() as change:
            change.alter(before, after)
            change.drop.update(drop)
            return self.commit(change)

    def create(self, sessions: Sequence[FlowValues]) -> bool:
        """Add new sessions' flows, in one round trip; what is refused is taken back. See `commit`.

        Raises:
            FlowsRefused: the switch refused some; it has none of them.
        """
        problem = "the switch is not connected"
        with self.changing() as change:
            prepared, channel = self._prepared, self._channel
            routes = self.gateway.ue_to_ue == "route"
            if not change.active or prepared is None or channel is None or routes:
                change.create(sessions)
                return self.commit(change)
            try:
                add_sessions(channel, prepared, sessions)
            except FlowsRefused:
                change.delete(sessions)
                try:
                    self.commit(change)
                except FlowsRefused as error:
                    self.generation += 1
                    self.resync_soon(f"flows of a refused session are not taken back: {error}")
                raise
            except (NotConfirmed, Disconnected) as error:
                problem = str(error)
            else:
                return True
        self.generation += 1
        self.resync_soon(problem)
        return False

    def reload(self, wanted: Gateway, protected: Sequence[Network]) -> bool:
        """Be configured as `wanted`, in what may change; the caller holds the writer lock.

        Returns True when the switch has confirmed, False when the next comparison does it. The
        host's part is looked at later, see `Host.look`.

        Raises:
            FlowsRefused: the switch refused a flow, and nothing has changed.
        """
        was, was_protected = replace(self.gateway), self.protected
        links, done = self._links, True

        def base_before(links: Links) -> Iterator[Flow]:
            return gateway_flows(was, links, was_protected, self.lease_seconds)

        self.gateway.take(wanted)
        self.protected, self.host.differs = protected, True
        try:
            if not self.synced or links is None:
                self.generation += 1
                self.resync_soon("the configuration was read again", nothing())
                done = False
            elif [*base_before(links)] != [*self._base(links)]:
                done = self._apply_next_epoch(base_before, self._base)
        except Disconnected as error:
            self.generation += 1
            self.resync_soon(str(error), nothing())
            done = False
        except FlowsRefused:
            self.gateway.take(was)
            self.protected = was_protected
            raise
        self.signalling.peers.reloaded(was, time.monotonic())
        return done

    def _apply_next_epoch(
        self,
        base_before: Callable[[Links], Iterable[Flow]],
        base: Callable[[Links], Iterable[Flow]],
    ) -> bool:
        """Bring base flows up to date, so that packets under way see it; see `commit`."""
        with self.changing() as change:
            before, old = self.links.next_epoch(), self._links
            self._links = new = self.links.get()
            if old is None or new is None:
                raise Disconnected("the bridge's ports are not known")
            try:
                change.touched = True
                change.replace(base_before(old), base(new))
                return self.commit(change)
            except FlowsRefused:
                self.links.back_to(before)
                self._links = old
                raise

    def settle(self) -> None:
        """Give a comparison that is under way a moment to end, or a change would be `pending`."""
        if self.synced:
            return
        with eventlet.Timeout(CONFIRM_S, False):
            while self.connected and not self.synced:
                eventlet.sleep(0.02)

    def forget(self) -> None:
        """What `change` did was not kept after all: the switch must be compared with the store."""
        self.generation += 1
        self.resync_soon("the store did not keep a change")

    def _update_route(self) -> None:
        """Bring the base flows up to date with the next hop and the ports."""
        with self._writer:
            if not self.synced or self._links is None:
                return
            try:
                self._apply_next_epoch(self._base, self._base)
            except (FlowsRefused, GatewayNotReady) as error:
                self.resync_soon(str(error))
            except Exception:
                log.exception("gateway=%s: unexpected", self.gateway.name)
                self.resync_soon("an internal error, see the log")

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

    # --- what the switch tells

    def packet_in(self, packet: PacketIn) -> None:
        """A packet from the switch. What it says of the network is believed; its bytes are not."""
        try:
            self._packet_in(packet)
        except StoreError as error:
            log.debug("gateway=%s: a packet not looked at: %s", self.gateway.name, error)
        except Exception:
            # Or else it would end the OpenFlow connection, which reads on behind this.
            log.exception("gateway=%s: unexpected", self.gateway.name)

    def _heard_next_hop(self, packet: PacketIn, own_mac: str | None) -> bool:
        """Whether a next hop is known by another MAC address now."""
        core_side, frame = self.core_side, packet.frame
        if not is_ipv6(frame):
            return core_side.heard_arp(frame, own_mac)
        if frame[54:55] != bytes((Type.NEIGHBOUR_SOLICITATION,)):
            return core_side.heard_neighbour(frame, own_mac)
        if self._channel is not None and self._links is not None:
            core_side.asked(frame, self._channel, self._links)
        return False

    def _heard_peer(self, frame: bytes) -> bool:
        """The same on the access side."""
        peers, now = self.signalling.peers, time.monotonic()
        if is_ipv6(frame):
            return peers.heard_neighbour(frame, now)
        return peers.heard_arp(frame, now)

    def _packet_in(self, packet: PacketIn) -> None:
        signalling, number = self.signalling, cookie_number(packet.cookie)
        match cookie_kind(packet.cookie), number:
            case CookieKind.REPORT, Report.SIGNALLING:
                signalling.message(packet.frame)
            case CookieKind.REPORT, Report.ACCESS_ARP:
                if self._heard_peer(packet.frame):
                    self._neighbours_changed = True
            case CookieKind.REPORT, Report.NEXT_HOP:
                facts = self.links.facts
                own_mac = None if facts is None else facts.core_mac
                heard = self._heard_next_hop(packet, own_mac)
                if heard:
                    eventlet.spawn(self._update_route)
            case CookieKind.REPORT, Report.SENDER:
                self._senders.heard(packet.frame, time.monotonic())
            case CookieKind.REPORT, Report.HELD:
                self.totals.shown += 1
                self.holding.packet_in(packet, time.monotonic())
            case CookieKind.REPORT, Report.TOO_BIG:
                if self._channel is not None and self._links is not None:
                    self.core_side.too_big(packet, self._channel, self._links)
            case CookieKind.REPORT, Report.TOO_BIG_UPLINK:
                if self._channel is not None and self._links is not None:
                    self.core_side.too_big_uplink(packet, self._channel, self._links)
            case CookieKind.REPORT, Report.ROUTER_SOLICITATION:
                if self._channel is not None and self._links is not None:
                    known = self.router.asked(packet, self._channel, self._links)
                    if not known:
                        self.misses.no_session(packet, self._compared)
            case CookieKind.DROP, DropReason.TTL_EXPIRED:
                if self._channel is not None and self._links is not None:
                    self.core_side.ttl_expired(packet, self._channel, self._links)
            case CookieKind.DROP, DropReason.NO_UPLINK_SESSION:
                self.misses.no_session(packet, self._compared)
            case CookieKind.DROP, reason if reason in EXTENDED:
                self.misses.extended(packet, self._compared, EXTENDED[reason])
            case CookieKind.DROP, DropReason.ICMP_ERROR:
                self.misses.icmp_error(packet)
            case CookieKind.DROP, reason if reason in REFUSED:
                self.misses.refused(packet, REFUSED[reason])

    # --- what goes to the peers

    def _local_mac(self) -> str | None:
        links = self.links.get()
        return None if links is None or self._channel is None else links.local_mac

    def _is_reached(self, peer: Address) -> bool:
        """Whether the switch knows where packets to a peer go."""
        hop = self.gateway.access_next_hop(peer)
        return hop is None or self.signalling.peers.neighbours.mac(hop) is not None

    def _show_sender(self, tail: int, seconds: int) -> None:
        """Have the switch show what comes over IPv6 from addresses that end so."""
        if self._channel is not None and self._links is not None:
            self._channel.renew(senders(self.gateway, self._links, tail, seconds))

    def _send_to_peers(self, frame: bytes) -> None:
        links = self.links.get()
        if links is not None and self._channel is not None:
            self._channel.packet_out(links.access, frame)

    def _signal(self) -> None:
        """What signalling owes and is owed, several times a second."""
        while not self._stopped:
            try:
                self.signalling.tick()
                self.holding.tick(time.monotonic())
                if self.synced and self._channel is not None and self._links is not None:
                    self._announcer.tick(time.monotonic(), self._channel, self._links)
                    self.router.tick(time.monotonic(), self._channel, self._links)
                if self._neighbours_changed and self.synced:
                    self._neighbours_changed = False
                    self._neighbour_news()
            except Exception:
                log.exception("gateway=%s: unexpected", self.gateway.name)
            eventlet.sleep(TICK_S)

    def _neighbour_news(self) -> None:
        """Packets between UEs may be cached as dropped, or with an old MAC address."""
        if self.gateway.ue_to_ue == "route":
            eventlet.spawn(self._update_route)

    def named(self, peers: Set[Address]) -> None:
        """Sessions with these peers are about to be: ask for MAC addresses by ARP already."""
        now = time.monotonic()
        self.signalling.peers.expect(peers, now)
        self.signalling.peers.ask(now)

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
        self.holding.kept()
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
            self.signalling.peers.changed(some, time.monotonic())
        self.router.news(moves.linked)
        if self.synced:
            self._end_markers.confirmed()
        if moves.framed and self.gateway.host_core:
            try:
                self.host.route_framed()
            except (GatewayNotReady, StoreError) as error:  # looked at again before long
                log.warning("gateway=%s: routes to UEs: %s", self.gateway.name, error)

    def flow_stats(self, numbers: Sequence[int]) -> list[list[FlowStats]]:
        """All that the switch says of the flows of each session number.

        Raises:
            GatewayNotReady: the switch is away.
        """
        return self.channel.flows_of(_cookies(numbers))

    def moving(self, numbers: Iterable[int]) -> None:
        """Flows of these sessions are about to be made anew, or deleted."""
        if self.made_anew is not None:
            self.made_anew.update(numbers)

    def pairs(self, numbers: Sequence[int]) -> list[Pair]:
        """What they have counted, of sessions that are but tunnel pairs."""
        return self.channel.pairs_of(_cookies(numbers))

    def keyed_counts(self, numbers: Sequence[int]) -> list[dict[EntryKey, FlowCounts]]:
        """The same of any others, and which flow each is."""
        return self.channel.keyed_counts_of(_cookies(numbers))

    @property
    def links_in_use(self) -> Links | None:
        """What the flows in the switch are made for: the same object as long as they are."""
        return self._links

    def keys_of(self, session: Session) -> list[tuple[EntryKey, Owned]] | None:
        """A session's flows by their keys, and whose each is; None while there is no switch."""
        links = self._links
        if links is None:
            return None
        if session.detail is not None:
            with suppress(TemplateError):
                template = self._prepared_for(links).templates.of(session, session.detail)
                entries = template.entries(numbers_of(session, session.detail))
                return [(e.key, owned) for e, owned in zip(entries, template.owned, strict=True)]
        flows = owned_flows(session, links)
        return [(entry_of(each.flow).key, each) for each in flows]

    def _prepared_for(self, links: Links) -> Prepared:
        if self._prepared is None or self._prepared.links is not links:
            self._prepared = Prepared(links)
        return self._prepared

    def meter_counts(self, numbers: Iterable[int]) -> dict[int, MeterCounts]:
        """What meters have counted; see `Channel.meter_counts_of`."""
        return self.channel.meter_counts_of(numbers)


def _cookies(numbers: Sequence[int]) -> list[int]:
    return [make_cookie(CookieKind.SESSION, number) for number in numbers]


def _flows(sessions: Iterable[Session], links: Links) -> Iterator[Flow]:
    for session in in_turns(sessions):
        yield from session_flows(session, links)
