"""The packets that one gateway's switch shows since their session's rule holds them.

Of a session that changes, what waits is sent on once the switch has taken the flow-mods and before
it carries them out, on the same connection: so no packet by the new flows overtakes it. What the
switch has shown before that, and comes later, is sent on at once.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from enum import Enum, auto
from typing import Protocol

import eventlet
from eventlet.event import Event

from ofgtp.control.buffer.entry import Entry
from ofgtp.control.turns import in_turns
from ofgtp.core.agenda import Agenda
from ofgtp.core.buffer.queue import SECONDS, Bounds, HeldPacket, Queue
from ofgtp.core.buffer.room import Room
from ofgtp.core.buffer.rules import holds, rule_for
from ofgtp.core.buffer.tally import Tally
from ofgtp.core.errors import GatewayNotReady, StoreError
from ofgtp.core.flows.drops import BUFFER_TIMEOUT
from ofgtp.core.flows.flow import Action
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import Address, Session
from ofgtp.core.rules.counts import Counts
from ofgtp.core.rules.downlink import closed, replay
from ofgtp.core.rules.terms import ETHERNET_HEADER, GROUP_BITS
from ofgtp.core.sessions import rule as rules
from ofgtp.core.sessions.detail import SLOT_MAX
from ofgtp.core.sessions.rule import Refused, Rule, Tunnel
from ofgtp.core.sessions.rules import peers_of
from ofgtp.core.usage.pace import COUNTED_S
from ofgtp.southbound.channel import Channel, Disconnected, NotConfirmed
from ofgtp.southbound.openflow import PacketIn

log = logging.getLogger(__name__)

IDLE, FULL = DropReason.IDLE_UE.label, DropReason.BUFFER_FULL.label

LATE_S = 10.0
"""For which a session that holds no packets any more is remembered: the switch has shown some that
are on their way."""
CLOSE_AGAIN_S = 1.0
HOT_S = 0.25
"""For so long after packets that come fast more are expected."""
FAST_S = 0.025
"""Between two packets that come fast. Where they are further apart, none overtakes another on its
way to the controller and back."""
NEXT_S = 0.01
"""Longest wait for the next of packets that come fast."""
LATE_QUIET_S, LATE_MOST_S = 0.004, 0.03
"""How long nothing comes late any more when all has come, and the longest wait for that."""
PEERS_S = 0.5
"""Longest wait for a peer's MAC address before what waits is sent there."""
NO_ROOM_S = 1.0
"""For which nothing more of a session is shown when the gateway has no room for it."""
CHANGING_S = 5.0
"""Longest wait for the store to keep a change."""
AT_ONCE = 16
"""Packets that are sent in one piece."""


class Notified(Enum):
    """Whether somebody was told of a packet that is held."""

    NOT_YET = auto()
    """Nobody could be: it is to be tried again."""
    ONCE = auto()
    """That is all, as long as the rule holds packets."""
    ASK_AGAIN = auto()
    """What is to be told of further packets is known there alone."""


class Owners(Protocol):
    """Who is told of packets, and says how many are held."""

    def held_by(self, session: Session, rule: Rule) -> Bounds | None:
        """How many packets of a rule are held, and for how long; None: none, they are only told
        of."""

    def downlink_data(self, session: Session, rule: Rule) -> Notified:
        """There is a packet that a rule holds."""

    def delivered(self, session: Session) -> None:
        """Packets that were held were sent on a moment ago, and are counted by now."""


class Holding:
    """One gateway's."""

    def __init__(
        self,
        by_slot: Callable[[int], Session | None],
        channel: Callable[[], Channel | None],
        dropped: Callable[[str, int], None],
        known: Callable[[Address], bool],
    ) -> None:
        """`by_slot` finds a stored session, `channel` is the switch, if it is there, `dropped`
        counts, and `known` tells whether a peer's MAC address, or its next hop's, is known."""
        self._by_slot, self._channel, self._dropped = by_slot, channel, dropped
        self._known = known
        self.owners: Owners | None = None
        self.room = Room()
        self.began_us = time.monotonic_ns() // 1000
        self.counts: Counter[str] = Counter({"held": 0, "replayed": 0})
        """Packets so far."""
        self._entries: dict[int, Entry] = {}
        self._due: Agenda[int] = Agenda()
        self._forget: Agenda[int] = Agenda()
        self._late = 0
        """Packets that were sent on at once."""
        self._next_late: Event | None = None
        self._hot = False
        """Whether packets have come lately for a session that is being changed."""
        self._told: dict[int, tuple[int, set[str]]] = {}
        """By slot, where nothing waits any more: a session's number, and rules of it of whose
        packets was told, which is not to be told again."""
        self._untold: dict[int, dict[str, Rule]] = {}
        self._tallies: dict[int, Tally] = {}
        """By slot, so that there are no more of them than sessions."""
        self._delivered: Agenda[int] = Agenda()
        self._changing: list[Entry] = []
        self._coming: dict[int, Session | None] = {}
        """Sessions that will hold packets once the store has kept a change."""

    def knows(self, slot: int) -> bool:
        """Whether packets of the session with this slot were shown lately."""
        return slot in self._entries

    def now(self) -> dict[str, int]:
        """What waits now, of how many sessions, and all that has waited so far."""
        room = {"packets": self.room.packets, "bytes": self.room.octets}
        return {"sessions": len(self._due)} | room | dict(self.counts)

    # --- what counts as used

    def sent(self, session: Session) -> Mapping[str, Counts]:
        """What was sent on for a session since this process began, by rule, but for what the switch
        counts: see `Tally`."""
        tally = None if session.detail is None else self._tallies.get(session.detail.slot)
        return {} if tally is None or tally.number != session.number else tally.sent

    def begins(self, session: Session, rule: str, told: Counts) -> None:
        """A rule is about to hold packets; the switch has counted so much for it."""
        if (tally := self._tally(session)) is not None:
            tally.begins(rule, told)

    def untold(self, session: Session, rule: str, told: Counts) -> Counts:
        """How much has come that a rule holds, which is about to hold no more, beyond what the
        switch has counted: it counts that, and what comes from now on, by the flow to be."""
        tally = self._tally(session)
        if tally is None:
            return Counts()
        tally.until = time.monotonic()
        return tally.untold(rule, told)

    def _tally(self, session: Session | None) -> Tally | None:
        if session is None or session.detail is None:
            return None
        tally = self._tallies.get(session.detail.slot)
        if tally is None or tally.number != session.number:
            tally = self._tallies[session.detail.slot] = Tally(session.number)
        return tally

    # --- what the switch shows

    def packet_in(self, packet: PacketIn, now: float) -> None:
        """A packet that a session's rule held when it passed the switch."""
        slot = packet.rules >> GROUP_BITS & SLOT_MAX
        entry = self._entries.get(slot) or self._found(slot)
        if entry is None:
            self._dropped(IDLE, 1)
            return
        entry.fast = entry.came_at is not None and now < entry.came_at + FAST_S
        entry.came_at = now
        rule = rule_for(entry.rules, packet.teid, packet.frame)
        teid = None if rule is None else rule.teid
        if entry.sending:
            self._put(slot, entry, Bounds(), HeldPacket(now, now + SECONDS, teid, packet.frame))
        elif rule is None:
            self._dropped(IDLE, 1)
        elif isinstance(rule.forward, Tunnel):
            self._send([self._out(entry, rule, packet.frame)])
            self._late += 1
            if self._next_late is not None:
                self._next_late.send()
                self._next_late = None
        elif isinstance(rule.forward, Refused):
            self._dropped(rule.forward.reason.label, 1)
        else:
            self._hold(slot, entry, rule, packet.frame, now)

    def _found(self, slot: int) -> Entry | None:
        coming = self._coming.get(slot)
        session = coming or self._by_slot(slot)
        if session is None:
            return None
        entry = self._entries[slot] = Entry(session, Queue(self.room))
        if coming is not None:
            entry.changing = time.monotonic()
            self._changing.append(entry)
        number, told = self._told.pop(slot, (0, set()))
        if number == session.number:
            entry.told = told
        self._forget.set(slot, time.monotonic() + LATE_S)
        return entry

    def _hold(self, slot: int, entry: Entry, rule: Rule, frame: bytes, now: float) -> None:
        bounds = self._bounds(entry, rule)
        if (tally := self._tally(entry.session)) is not None:
            tally.came(rule.id, len(frame) - ETHERNET_HEADER)
        if bounds is None:
            self._dropped(IDLE, 1)
        else:
            self._put(slot, entry, bounds, HeldPacket(now, now + bounds.seconds, rule.teid, frame))
        self._tell(slot, entry, rule, now)

    def _bounds(self, entry: Entry, rule: Rule) -> Bounds | None:
        if rule.id not in entry.bounds:
            if self.owners is None or entry.session is None:
                return None
            if entry.changing is not None:
                return Bounds()  # the store may not have it yet
            entry.bounds[rule.id] = self.owners.held_by(entry.session, rule)
        return entry.bounds[rule.id]

    def _put(self, slot: int, entry: Entry, bounds: Bounds, held: HeldPacket) -> None:
        first = not len(entry.queue)
        if entry.queue.put(bounds.limit, held):
            self.counts["held"] += 1
            if first:
                self._due.set(slot, held.until)
                self._forget.drop(slot)
            return
        self._dropped(FULL, 1)
        if not entry.sending:
            full = len(entry.queue) >= bounds.limit
            self._close(slot, entry, bounds.seconds if full else NO_ROOM_S, held.at)

    def _tell(self, slot: int, entry: Entry, rule: Rule, now: float) -> None:
        session = entry.session
        if session is None or self.owners is None or rule.id in entry.told:
            return
        if entry.changing is not None and now < entry.changing + CHANGING_S:
            told = Notified.NOT_YET
        else:
            told = self.owners.downlink_data(session, rule)
        if told is Notified.NOT_YET:
            self._untold.setdefault(slot, {})[rule.id] = rule
        elif told is Notified.ONCE:
            entry.told.add(rule.id)

    # --- what becomes of sessions

    def flip(
        self, changed: Mapping[int, Session | None], had: Set[int], drop: Iterable[int]
    ) -> None:
        """The switch is about to be told to carry a change out: send what waits for it.

        `changed` are sessions by their slots, None if they are no more: those in `had`, which have
        held packets, and others that will. What waits of those in `drop` is dropped.
        """
        channel, now = self._channel(), time.monotonic()
        if channel is None:
            return
        self.drop(drop)
        self._await_peers(changed)
        for slot, session in in_turns(changed.items()):
            entry = self._entries.get(slot)
            if entry is not None and session is not None and not entry.is_of(session):
                self._clear(slot, entry)  # another one has the slot now
                del self._entries[slot]
                entry = None
            if entry is None:
                if session is None or not holds(session):
                    self._told.pop(slot, None)
                if slot not in had:
                    self._coming[slot] = session
                    continue
                entry = self._entries[slot] = Entry(session, Queue(self.room))
            entry.take_over(session)
            entry.changing = now
            self._changing.append(entry)
            self._drain(slot, entry, now)
            self._keep(slot, entry, now)
        if self._hot:
            self._catch_up(channel)

    def _catch_up(self, channel: Channel) -> None:
        """Packets come while a change is carried out: have it happen when as few as can be are on
        their way to the controller and back, since those by the new flows would overtake them. That
        is when the switch has sent what waited, and right behind one that came."""
        with suppress(NotConfirmed, Disconnected):
            channel.barrier()
        self._next_late = Event()
        with eventlet.Timeout(NEXT_S, False):
            self._next_late.wait()
        self._next_late = None

    def _await_peers(self, changed: Mapping[int, Session | None]) -> None:
        """Wait a moment for the MAC addresses of the peers that get what waits: the switch loses
        what it has none for."""
        peers: set[Address] = set()
        for slot, session in changed.items():
            entry = self._entries.get(slot)
            if session is not None and entry is not None and len(entry.queue):
                peers |= {ip for ip in peers_of(session) if not self._known(ip)}
        with eventlet.Timeout(PEERS_S, False):
            while not all(map(self._known, peers)):
                eventlet.sleep(0.002)

    def let_late_pass(self) -> None:
        """A change is carried out: leave the processor to what the switch had shown before that, if
        there may be some of it. What comes by the new flows meanwhile would overtake it."""
        if not self._hot:
            return
        self._hot = False
        end = time.monotonic() + LATE_MOST_S
        while time.monotonic() < end:
            before = self._late
            eventlet.sleep(LATE_QUIET_S)
            if self._late == before:
                return

    def back(self, had: Mapping[int, Session]) -> None:
        """The switch has refused a change: it has the rules of these as before."""
        for slot, session in had.items():
            entry = self._entries.get(slot)
            if entry is not None:
                entry.take_over(session)
                self._keep(slot, entry, time.monotonic())
        self.kept()

    def kept(self) -> None:
        """The store has kept the last change, or has it as it was."""
        for entry in self._changing:
            entry.changing = None
        self._changing.clear()
        self._coming.clear()

    def settle(self) -> None:
        """The switch is to be compared with the store: have what waits go where it says."""
        now = time.monotonic()
        for tally in in_turns([*self._tallies.values()]):
            tally.anew()
        for slot in in_turns([*self._entries]):
            entry = self._entries.get(slot)
            if entry is None:
                continue
            session = self._by_slot(slot)
            entry.take_over(session if entry.is_of(session) else None)
            entry.closed = None  # what stands in the way is among what differs
            self._drain(slot, entry, now)
            self._keep(slot, entry, now)
        for slot, (number, _) in in_turns([*self._told.items()]):
            session = self._by_slot(slot)
            if session is None or session.number != number or not holds(session):
                self._told.pop(slot, None)

    def drop(self, slots: Iterable[int]) -> None:
        """Drop what waits of sessions."""
        for slot in slots:
            entry = self._entries.get(slot)
            if entry is not None:
                self._clear(slot, entry)

    def extend(self, slot: int, bounds: Bounds) -> None:
        """Have what waits of a session, and what is still to come, wait within other bounds until
        the session changes."""
        entry = self._entries.get(slot)
        if entry is None:
            return
        entry.queue.extend(bounds.seconds)
        for rule in entry.rules:
            if rule.forward == rules.Held() and entry.bounds.get(rule.id) is not None:
                entry.bounds[rule.id] = bounds
        if (due := entry.queue.due) is not None:
            self._due.set(slot, due)

    def _keep(self, slot: int, entry: Entry, now: float) -> None:
        """Forget an entry before long if nothing is held there any more."""
        if not entry.holds:
            self._untold.pop(slot, None)
        if len(entry.queue):
            self._forget.drop(slot)
        else:
            self._forget.set(slot, now + LATE_S)

    def _clear(self, slot: int, entry: Entry) -> None:
        if dropped := entry.queue.clear():
            self._dropped(IDLE, dropped)
        self._due.drop(slot)
        self._open(slot, entry)
        if slot in self._entries:
            self._keep(slot, entry, time.monotonic())

    def _drain(self, slot: int, entry: Entry, now: float) -> None:
        """Have what waits go where the rules say now, in the order in which it came."""
        entry.sending = True
        self._hot |= entry.fast and entry.came_at is not None and now < entry.came_at + HOT_S
        kept: list[HeldPacket] = []
        going: list[tuple[tuple[Action, ...], bytes]] = []
        tally = self._tally(entry.session)
        try:
            while True:
                held = entry.queue.take()
                if held is None or len(going) == AT_ONCE:
                    self._send(going)  # more may come meanwhile
                    going = []
                if held is None:
                    if len(entry.queue):
                        continue
                    break
                rule = rule_for(entry.rules, held.teid or 0, held.frame)
                if held.until <= now:
                    self._dropped(BUFFER_TIMEOUT, 1)
                elif rule is None or isinstance(rule.forward, Refused):
                    self._dropped(IDLE, 1)
                elif isinstance(rule.forward, Tunnel):
                    self.counts["replayed"] += 1
                    if tally is not None:
                        tally.goes(rule.id, len(held.frame) - ETHERNET_HEADER, held.at)
                    self._delivered.set(slot, time.monotonic() + COUNTED_S)
                    going.append(self._out(entry, rule, held.frame))
                else:
                    kept.append(held)
        finally:
            entry.queue.put_back(kept)
            entry.sending = False
            if tally is not None:
                tally.until = None
        if (due := entry.queue.due) is None:
            self._due.drop(slot)
        else:
            self._due.set(slot, due)
        self._open(slot, entry)

    def _out(self, entry: Entry, rule: Rule, frame: bytes) -> tuple[tuple[Action, ...], bytes]:
        tunnel = rule.forward
        assert isinstance(tunnel, Tunnel)
        if id(rule) not in entry.actions:
            entry.actions[id(rule)] = replay(tunnel, relayed=rule.tunnelled)
        return entry.actions[id(rule)], frame

    def _send(self, frames: list[tuple[tuple[Action, ...], bytes]]) -> None:
        channel = self._channel()
        if channel is not None and frames:
            channel.packets_out(frames)

    # --- the way through the switch

    def _close(self, slot: int, entry: Entry, seconds: float, now: float) -> None:
        """As many wait as may: the controller need not see more, until one of them goes or some
        time has passed."""
        channel = self._channel()
        if channel is None or (entry.closed is not None and now < entry.closed + CLOSE_AGAIN_S):
            return
        entry.closed = now
        channel.renew([closed(slot, math.ceil(seconds) + 1)])

    def _open(self, slot: int, entry: Entry) -> None:
        channel = self._channel()
        if entry.closed is not None and channel is not None:
            channel.take_away([closed(slot, 0)])
        entry.closed = None

    # --- time

    def tick(self, now: float) -> None:
        """Drop what has waited too long, tell what could not be told, and forget."""
        while (slot := self._due.first(now)) is not None:
            entry = self._entries[slot]
            if late := entry.queue.late(now):
                self._dropped(BUFFER_TIMEOUT, late)
                self._open(slot, entry)
            if (due := entry.queue.due) is None:
                self._due.drop(slot)
                self._keep(slot, entry, now)
            else:
                self._due.set(slot, max(due, now + 0.1))
        while (slot := self._forget.first(now)) is not None:
            self._forget.drop(slot)
            quiet = self._entries.get(slot)
            if quiet is None or len(quiet.queue):
                continue
            del self._entries[slot]
            if quiet.told and quiet.session is not None and quiet.holds:
                self._told[slot] = quiet.session.number, quiet.told
            self._clear(slot, quiet)
        while (slot := self._delivered.first(now)) is not None:
            self._delivered.drop(slot)
            session = self._by_slot(slot)
            if session is not None and self.owners is not None:
                self.owners.delivered(session)
        untold, self._untold = self._untold, {}
        for slot, by_rule in untold.items():
            for rule in by_rule.values():
                if (waits := self._entries.get(slot)) is not None and rule in waits.rules:
                    try:
                        self._tell(slot, waits, rule, now)
                    except (StoreError, GatewayNotReady) as error:
                        log.debug("slot=%d: downlink data not told: %s", slot, error)
