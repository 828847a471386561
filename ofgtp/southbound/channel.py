"""One OpenFlow connection: requests and their answers, bundles, barriers.

The transport (Ryu's, or a socket in tests) gives a function that sends bytes and calls `receive`
with each message that comes. Whoever waits here is a green thread.
"""

from __future__ import annotations

import itertools
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import eventlet
from eventlet.event import Event
from eventlet.queue import LightQueue

from ofgtp.core.errors import CodecError, GatewayNotReady, SwitchRefused
from ofgtp.core.flows.flow import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
    Action,
    Flow,
    Meter,
    Port,
)
from ofgtp.core.flows.reconcile import Plan
from ofgtp.core.rules.counts import FlowCounts
from ofgtp.core.usage.plain import Pair
from ofgtp.southbound import openflow as of

log = logging.getLogger(__name__)

CONFIRM_S = 5.0
"""Longest wait for a barrier or a reply, in seconds."""

STATS_S = 30.0
"""Longest wait between two parts of a long reply, in seconds."""

LATENCY_BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, CONFIRM_S),
)
"""Upper bounds of the barrier latency's classes, in seconds; one more has no bound."""

_SLICE = 256
"""Messages built before they are sent and other green threads get a turn."""

_SEND_BYTES = 32_768
"""Bytes of messages that are worth sending before there are more."""


class _Xids:
    """Transaction ids: 32 bits, again from 1 after the last (0 stands for none)."""

    def __init__(self) -> None:
        self._next = 1

    def take(self, count: int = 1) -> int:
        """The first of so many ids in a row."""
        if self._next + count > 1 << 32:
            self._next = 1
        first = self._next
        self._next += count
        return first


_XIDS = _Xids()


class NotConfirmed(GatewayNotReady):
    """The switch did not answer in time: what it has is not known until flows are read again."""


class Disconnected(GatewayNotReady):
    """The connection ended before the answer came."""


class FlowsRefused(SwitchRefused):
    """The switch refused flows of a plan; nothing of the plan was installed."""

    def __init__(self, refused: list[tuple[Flow | None, str]]) -> None:
        self.refused = refused
        super().__init__(refused[0][1])


class Tally:
    """What has been said on a switch's connections, for all of them that count into it."""

    def __init__(self) -> None:
        self.flow_mods: Counter[str] = Counter()
        """Flow-mods that were carried out, by command, and the lease's renewals as sent; one that
        deletes by cookie counts once."""
        self.errors: Counter[str] = Counter()
        """Errors that the switch reported, in the specification's words."""
        self.barriers = [0] * (len(LATENCY_BOUNDS) + 1)
        """Barriers, by the class of their latency; those not answered in time are in the last."""
        self.barrier_seconds = 0.0
        """The sum of their latencies."""

    def took(self, seconds: float) -> None:
        """Count a barrier."""
        self.barriers[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.barrier_seconds += seconds


class Channel:
    """Requests to one switch. Raises Disconnected and NotConfirmed from every waiting call."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        on_packet_in: Callable[[of.PacketIn], None] = lambda packet: None,
    ) -> None:
        self._send = send
        self._on_packet_in = on_packet_in
        self._on_flow_update: Callable[[of.FlowUpdate], None] = lambda update: None
        self._waiting: dict[int, Event | _Place] = {}
        self._parts: dict[int, list[bytes]] = {}
        self._streams: dict[int, LightQueue] = {}
        """Replies that are read part by part."""
        self._errors: dict[int, str] = {}
        self._bundles = itertools.count(1)
        self._open_bundles: list[Bundle] = []
        self.closed = False
        self.silent = False
        """Whether a wait for the switch ran out and nothing has come from it since."""
        self.tally = Tally()
        """Where this connection counts; replace it by one that outlives the connection."""

    @property
    def flow_mods(self) -> int:
        """Flow-mods counted so far."""
        return self.tally.flow_mods.total()

    # --- from the transport

    def receive(self, kind: int, xid: int, body: bytes) -> None:
        """Take a message from the switch. Never raises: what cannot be read is logged."""
        self.silent = False
        try:
            self._receive(kind, xid, body)
        except CodecError as error:
            log.warning("xid=%d: unreadable message of type %d: %s", xid, kind, error)

    def _receive(self, kind: int, xid: int, body: bytes) -> None:
        if kind == of.Type.PACKET_IN:
            self._on_packet_in(of.decode_packet_in(body))
        elif kind == of.Type.ERROR:
            reason = of.decode_error(body)
            self.tally.errors[reason] += 1
            if xid in self._waiting:
                self._waiting.pop(xid).send_exception(SwitchRefused(reason))
            elif xid in self._streams:
                self._streams[xid].put(SwitchRefused(reason))
            elif xid in self._errors:
                self._errors[xid] = self._errors[xid] or reason
            elif not any(bundle.take_error(xid, reason) for bundle in self._open_bundles):
                log.warning("xid=%d: the switch reports %s", xid, reason)
        elif kind == of.Type.MULTIPART_REPLY:
            form, more, part = of.decode_multipart(body)
            if xid in self._streams:
                self._streams[xid].put((part, more))
            elif form == of.Multipart.FLOW_MONITOR and xid not in self._waiting:
                for update in of.decode_flow_updates(part):
                    self._on_flow_update(update)
            elif xid in self._waiting:
                self._parts.setdefault(xid, []).append(part)
                if not more:
                    self._waiting.pop(xid).send(self._parts.pop(xid))
        elif kind in (of.Type.BARRIER_REPLY, of.Type.BUNDLE_CONTROL) and xid in self._waiting:
            self._waiting.pop(xid).send([body])

    def close(self) -> None:
        """The connection is gone: whoever waits gets Disconnected."""
        self.closed = True
        for event in self._waiting.values():
            event.send_exception(Disconnected("the switch disconnected"))
        for stream in self._streams.values():
            stream.put(Disconnected("the switch disconnected"))
        self._waiting.clear()
        self._parts.clear()

    # --- to the switch

    def barrier(self, before: bytes = b"") -> None:
        """Return when the switch has carried out all that was sent before, `before` at last."""
        xid = _XIDS.take()
        start = time.monotonic()
        try:
            self._ask(xid, before + of.barrier(xid))
        except NotConfirmed:
            self.tally.took(time.monotonic() - start)
            raise
        self.tally.took(time.monotonic() - start)

    def description(self) -> tuple[str, str]:
        """The switch's software version and datapath description."""
        return of.decode_desc(b"".join(self._multipart(of.Multipart.DESC)))

    def flows(
        self, cookie: int = COOKIE_OWNER, mask: int = COOKIE_OWNER_MASK
    ) -> Iterator[of.FlowStats]:
        """The flows whose cookie equals `cookie` under `mask`; by default all of ours."""
        with self.flow_parts(cookie, mask) as parts:
            for part in parts:
                yield from of.decode_flow_stats(part)

    @contextmanager
    def flow_parts(
        self,
        cookie: int = COOKIE_OWNER,
        mask: int = COOKIE_OWNER_MASK,
        table: int = of.ALL_TABLES,
    ) -> Iterator[Iterator[bytes]]:
        """The same as the bodies of the reply's parts, each as soon as it is here.

        They are asked for at once: the switch works on them while the caller prepares.
        """
        if self.closed:
            raise Disconnected("the switch is not connected")
        xid = _XIDS.take()
        stream = self._streams[xid] = LightQueue()
        try:
            self._send(of.flow_stats_request(cookie, mask, xid, table))
            yield self._parts_of(stream)
        finally:
            del self._streams[xid]

    def flow_slices(self, asked: Sequence[of.Asked]) -> Iterator[bytes]:
        """The flows of several requests, all asked at once, as the bodies of the replies' parts."""
        if self.closed:
            raise Disconnected("the switch is not connected")
        stream, first = LightQueue(), _XIDS.take(len(asked))
        xids = range(first, first + len(asked))
        self._streams |= dict.fromkeys(xids, stream)
        try:
            requests = zip(asked, xids, strict=True)
            self._send(
                b"".join(
                    of.multipart_request(of.Multipart.FLOW, xid, each.body())
                    for each, xid in requests
                )
            )
            waiting = len(asked)
            while waiting:
                part, more = self._next_part(stream)
                waiting -= not more
                yield part
        finally:
            for xid in xids:
                del self._streams[xid]

    def _parts_of(self, stream: LightQueue) -> Iterator[bytes]:
        more = True
        while more:
            part, more = self._next_part(stream)
            yield part
            eventlet.sleep(0)

    def flows_in_tables(self) -> dict[int, int]:
        """How many flows each table has, whosever they are; the switch knows without counting."""
        return of.decode_tables(b"".join(self._multipart(of.Multipart.TABLE)))

    def flow_count(self, asked: of.Asked) -> int:
        """How many flows there are of these; the switch goes through all of their table."""
        xid = _XIDS.take()
        request = of.multipart_request(of.Multipart.AGGREGATE, xid, asked.body())
        return of.decode_flow_count(b"".join(self._ask(xid, request)))

    def _next_part(self, stream: LightQueue) -> tuple[bytes, bool]:
        late = NotConfirmed(f"no answer within {STATS_S:g} s")
        try:
            if stream.qsize():
                said = stream.get()
            else:
                with eventlet.Timeout(STATS_S, late):
                    said = stream.get()
        except NotConfirmed as error:
            self.silent |= error is late
            raise
        if isinstance(said, Exception):
            raise said
        part: tuple[bytes, bool] = said
        return part

    def watch_flows(self, on_update: Callable[[of.FlowUpdate], None]) -> None:
        """Have every flow change that is not ours reported from now on."""
        self._on_flow_update = on_update
        xid = _XIDS.take()
        self._ask(xid, of.flow_monitor_request(xid))

    def renew(self, flows: Iterable[Flow]) -> None:
        """Add flows with timeouts, which begin anew; not confirmed, and never waits long."""
        mods = [of.flow_mod(of.Command.ADD, flow, _XIDS.take()) for flow in flows]
        self._send(b"".join(mods))
        self.tally.flow_mods["add"] += len(mods)

    def take_away(self, flows: Iterable[Flow]) -> None:
        """Delete flows that may have gone already; not confirmed."""
        mods = [of.flow_mod(of.Command.DELETE_STRICT, flow, _XIDS.take()) for flow in flows]
        self._send(b"".join(mods))
        self.tally.flow_mods["delete"] += len(mods)

    def delete_ours(self) -> None:
        """Delete every flow of ours, confirmed by a barrier."""
        self._send(of.delete_by_cookie(COOKIE_OWNER, COOKIE_OWNER_MASK, _XIDS.take()))
        self.barrier()
        self.tally.flow_mods["delete"] += 1

    def end(self) -> None:
        """Delete every flow of ours, confirmed by a barrier, as the last that is said here.

        Whoever asks from now on gets Disconnected, so that no bundle under way is committed.
        """
        xid = _XIDS.take()
        event = self._expect(xid)
        self.closed = True
        delete = of.delete_by_cookie(COOKIE_OWNER, COOKIE_OWNER_MASK, _XIDS.take())
        self._send(delete + of.barrier(xid))
        self._await(event)

    def flows_of(self, cookies: Sequence[int]) -> list[list[of.FlowStats]]:
        """The flows with each of these cookies: all asked at once, then awaited."""
        return [list(of.decode_flow_stats(reply)) for reply in self._stats_of(cookies)]

    def keyed_counts_of(self, cookies: Sequence[int]) -> list[dict[of.EntryKey, FlowCounts]]:
        """The same, and no more of each than which it is and what it has counted."""
        return [of.decode_keyed_counts(reply) for reply in self._stats_of(cookies)]

    def pairs_of(self, cookies: Sequence[int]) -> list[Pair]:
        """What the flows with each of these cookies have counted, of tunnel pairs."""
        return [of.decode_pair(reply) for reply in self._stats_of(cookies)]

    def _stats_of(self, cookies: Sequence[int]) -> list[bytes]:
        count = len(cookies)
        return self._ask_many(count, lambda first: of.cookie_requests(cookies, first), _Place)

    def meters(self) -> dict[int, Meter | None]:
        """The meters of the bridge; None for one that is not of our form."""
        return of.decode_meters(b"".join(self._multipart(of.Multipart.METER_CONFIG)))

    def meters_of(self, numbers: Iterable[int]) -> dict[int, Meter | None]:
        """The same of these meters; of one that is not there, nothing."""
        found: dict[int, Meter | None] = {}
        for part in self._of_meters(of.Multipart.METER_CONFIG, numbers):
            found |= of.decode_meters(part)
        return found

    def meter_counts_of(self, numbers: Iterable[int]) -> dict[int, of.MeterCounts]:
        """What these meters have counted; of one that is not there, nothing.

        Asked for one by one and at once: there may be very many others.
        """
        counts: dict[int, of.MeterCounts] = {}
        for part in self._of_meters(of.Multipart.METER, numbers):
            counts |= of.decode_meter_counts(part)
        return counts

    def _of_meters(self, kind: of.Multipart, numbers: Iterable[int]) -> list[bytes]:
        """Of one that is not there, nothing."""
        asked = list(numbers)

        def requests(first: int) -> bytes:
            return b"".join(
                of.meter_stats_request(kind, xid, number) for xid, number in enumerate(asked, first)
            )

        return self._ask_many(len(asked), requests, _Perhaps)

    def set_meters(self, mods: Iterable[tuple[of.MeterCommand, Meter]]) -> None:
        """Add, modify or delete meters, confirmed by a barrier. Deleted with a meter are the flows
        that use it.

        Raises:
            SwitchRefused: one of them; the others are carried out.
        """
        mods = list(mods)
        with self.setting_meters(mods):
            if mods:
                self.barrier()

    @contextmanager
    def setting_meters(self, mods: Sequence[tuple[of.MeterCommand, Meter]]) -> Iterator[None]:
        """The same with the block's barrier. What is refused for want of a meter is no news."""
        asked: list[int] = []

        def check() -> None:
            for xid in asked:
                if self._errors[xid]:
                    raise SwitchRefused(self._errors[xid])

        try:
            for some in _slices(mods):
                first = _XIDS.take(len(some))
                messages = []
                for xid, (command, meter) in enumerate(some, first):
                    asked.append(xid)
                    self._errors[xid] = ""
                    messages.append(of.meter_mod(command, meter, xid))
                self._send(b"".join(messages))
                if len(some) == _SLICE:
                    eventlet.sleep(0)
            try:
                yield
            except FlowsRefused:
                check()
                raise
            check()
        finally:
            for xid in asked:
                self._errors.pop(xid, None)

    def packet_out(self, port: int, frame: bytes, in_port: int = Port.CONTROLLER) -> None:
        """Send a frame out of a port, or by TABLE through the tables; not confirmed."""
        self._send(of.packet_out(port, frame, _XIDS.take(), in_port))

    def packets_out(self, frames: Iterable[tuple[Iterable[Action], bytes]]) -> None:
        """Have actions done to frames, in this order; not confirmed."""
        self._send(b"".join(of.acted_on(acts, frame, _XIDS.take()) for acts, frame in frames))

    def apply(self, plan: Plan, foreign: Sequence[of.FlowStats] = ()) -> None:
        """Carry a plan out in one bundle: all of it, confirmed by a barrier, or nothing.

        `foreign` are reported flows to delete besides.

        Raises:
            FlowsRefused: with the flows at fault; nothing was installed.
            NotConfirmed, Disconnected: the outcome is unknown.
        """
        with self.bundle() as bundle:
            bundle.put_plan(plan, foreign)
            bundle.commit()

    def add(
        self, count: int, make: Callable[[int], bytes], flow: Callable[[int], Flow | None]
    ) -> None:
        """Add flows without a bundle, confirmed by a barrier: for a few that are not there yet.

        `make` and `flow` are as for `Bundle.put`. When one is refused others may be installed.

        Raises:
            FlowsRefused: with the flows at fault.
            NotConfirmed, Disconnected: the outcome is unknown.
        """
        first = _XIDS.take(count)
        bare = Bundle(self, self._send, 0)
        bare.expect_errors(first, count, flow)
        self._open_bundles.append(bare)
        try:
            self.barrier(make(first))
            bare.check()
        finally:
            self._open_bundles.remove(bare)
        self.tally.flow_mods["add"] += count

    @contextmanager
    def bundle(self) -> Iterator[Bundle]:
        """A bundle to be filled and committed; what was not committed is discarded."""
        bundle = Bundle(self, self._send, next(self._bundles))
        self._open_bundles.append(bundle)
        try:
            yield bundle
        finally:
            self._open_bundles.remove(bundle)
            bundle.discard()

    def _multipart(self, kind: of.Multipart) -> list[bytes]:
        xid = _XIDS.take()
        if kind in (of.Multipart.DESC, of.Multipart.TABLE):
            return self._ask(xid, of.multipart_request(kind, xid))
        return self._ask(xid, of.meter_stats_request(kind, xid))

    def _ask(self, xid: int, request: bytes, seconds: float = CONFIRM_S) -> list[bytes]:
        event = self._expect(xid)
        self._send(request)
        return self._await(event, seconds)

    def _ask_many(
        self, count: int, requests: Callable[[int], bytes], place: type[_Place]
    ) -> list[bytes]:
        """The answers to so many requests, which are made for the first of their ids."""
        if self.closed:
            raise Disconnected("the switch is not connected")
        if not count:
            return []
        first, replies = _XIDS.take(count), _Replies(count)
        xids = range(first, first + count)
        self._waiting.update((xid, place(replies, at)) for at, xid in enumerate(xids))
        try:
            self._send(requests(first))
            self._await(replies.event)
        finally:
            for xid in xids:
                self._waiting.pop(xid, None)
        return replies.bodies

    def _expect(self, xid: int) -> Event:
        if self.closed:
            raise Disconnected("the switch is not connected")
        event = self._waiting[xid] = Event()
        return event

    def _await(self, event: Event, seconds: float = CONFIRM_S) -> list[bytes]:
        late = NotConfirmed(f"no answer within {seconds:g} s")
        try:
            with eventlet.Timeout(seconds, late):
                answer: list[bytes] = event.wait()
        except NotConfirmed as error:
            # A caller with less patience gives up earlier: that says nothing of the switch.
            self.silent |= error is late
            raise
        return answer


class _Replies:
    """The answers to many requests that are awaited together."""

    def __init__(self, count: int) -> None:
        self.bodies = [b""] * count
        self.left = count
        self.event = Event()


class _Place:
    """One of them, as it is awaited."""

    __slots__ = ("_place", "_replies")

    def __init__(self, replies: _Replies, place: int) -> None:
        self._replies, self._place = replies, place

    def send(self, parts: list[bytes]) -> None:
        """It is here."""
        replies = self._replies
        replies.bodies[self._place] = parts[0] if len(parts) == 1 else b"".join(parts)
        replies.left -= 1
        if not replies.left:
            replies.event.send([])

    def send_exception(self, error: Exception) -> None:
        """There is none."""
        if not self._replies.event.ready():
            self._replies.event.send_exception(error)


class _Perhaps(_Place):
    """One of them that the switch may refuse, as what is asked for has gone."""

    __slots__ = ()

    def send_exception(self, error: Exception) -> None:
        """There is none."""
        if isinstance(error, SwitchRefused):
            self.send([])
        else:
            super().send_exception(error)


class Bundle:
    """Flow-mods that the switch carries out together or not at all (OpenFlow 1.4, 6.8).

    The switch commits an atomic bundle that holds a refused flow all the same, so errors are
    awaited by a barrier before the commit. Messages are sent as they are put in: the switch reads
    them while the next ones are made.
    """

    def __init__(self, channel: Channel, send: Callable[[bytes], None], number: int) -> None:
        self.number = number
        self.channel, self._send = channel, send
        self._begun = self._prepared = self._ended = False
        self._waiting = b""
        self._ranges: list[tuple[int, int, Callable[[int], Flow | None]]] = []
        self._errors: dict[int, str] = {}
        self._counts: Counter[str] = Counter()

    def put(
        self,
        command: of.Command,
        count: int,
        make: Callable[[int], bytes],
        flow: Callable[[int], Flow | None],
    ) -> None:
        """Put `count` flow-mods in, made of the first of so many ids in a row.

        `flow` tells the n-th one's flow, should the switch refuse it.

        Raises:
            Disconnected: the switch is gone.
        """
        if self.channel.closed:
            raise Disconnected("the switch is not connected")
        if not count:
            return
        self._prepared = False
        first = _XIDS.take(count)
        self.expect_errors(first, count, flow)
        self._counts[_COUNTED_AS[command]] += count
        self._waiting += make(first)
        if len(self._waiting) > _SEND_BYTES:
            self._flush()
            eventlet.sleep(0)

    def put_plan(
        self, plan: Plan, foreign: Sequence[of.FlowStats] = (), *, named: bool = True
    ) -> None:
        """Put a plan in, and the deletion of reported flows.

        Not `named`, flows are not kept, and the switch's refusal does not tell which it was.
        """

        def delete(some: Sequence[of.FlowStats], first: int) -> bytes:
            mods = (of.delete_reported(stats, xid) for xid, stats in enumerate(some, first))
            return self.wrap(mods, first)

        def change(command: of.Command, some: Sequence[Flow], first: int) -> bytes:
            mods = (of.flow_mod(command, flow, xid) for xid, flow in enumerate(some, first))
            return self.wrap(mods, first)

        for strange in _slices(foreign):
            make = partial(delete, strange)
            self.put(of.Command.DELETE_STRICT, len(strange), make, lambda place: None)
        for flows, command in (
            (plan.delete, of.Command.DELETE_STRICT),
            (plan.modify, of.Command.MODIFY_STRICT),
            (plan.add, of.Command.ADD),
        ):
            for some in _slices(flows):
                flow = some.__getitem__ if named else lambda place: None
                self.put(command, len(some), partial(change, command, some), flow)

    def wrap(self, mods: Iterable[bytes], first: int) -> bytes:
        """These flow-mods as messages to be put in; their ids begin with `first`."""
        return b"".join(of.bundle_add(self.number, mod, xid) for xid, mod in enumerate(mods, first))

    def prepare(self) -> None:
        """Have the switch look at all of it; whatever it refuses it refuses here, but for a table
        that is full.

        Raises:
            FlowsRefused: with the flows at fault; nothing will be carried out.
            NotConfirmed, Disconnected: the switch does not answer, or is gone.
        """
        if not self.unseen:
            return
        self._flush()
        self.channel.barrier()
        self.check()
        self._prepared = True

    @property
    def unseen(self) -> bool:
        """Whether there is something that the switch has not looked at (`prepare`)."""
        return bool(self._ranges) and not self._prepared

    def commit(self) -> None:
        """Have all of it carried out, confirmed by a barrier.

        Raises:
            FlowsRefused: with the flows at fault; nothing was carried out.
            NotConfirmed, Disconnected: the outcome is unknown.
        """
        self.prepare()
        if not self._ranges:
            return
        xid = _XIDS.take()
        self.expect_errors(xid)
        self._ended = True
        self.channel.barrier(of.bundle_control(self.number, of.Bundle.COMMIT, xid))
        self.check()
        self.channel.tally.flow_mods.update(self._counts)

    def discard(self) -> None:
        """Have nothing of it carried out, unless it was committed; not confirmed."""
        if self._begun and not self._ended and not self.channel.closed:
            xid = _XIDS.take()
            self._send(of.bundle_control(self.number, of.Bundle.DISCARD, xid))
        self._ended = True

    def take_error(self, xid: int, reason: str) -> bool:
        """Whether an error is about one of its messages."""
        ours = any(first <= xid < end for first, end, _ in self._ranges)
        if ours:
            self._errors.setdefault(xid, reason)
        return ours

    def _flush(self) -> None:
        opening = b""
        if not self._begun:
            xid = _XIDS.take()
            self.expect_errors(xid)
            opening = of.bundle_control(self.number, of.Bundle.OPEN, xid)
            self._begun = True
        self._send(opening + self._waiting)
        self._waiting = b""

    def expect_errors(
        self, first: int, count: int = 1, flow: Callable[[int], Flow | None] = lambda place: None
    ) -> None:
        """Take errors with these transaction ids as being about its flows."""
        self._ranges.append((first, first + count, flow))

    def check(self) -> None:
        """Raise FlowsRefused if there was an error."""
        refused: list[tuple[Flow | None, str]] = []
        for xid, reason in self._errors.items():
            first, _, flow = next(each for each in self._ranges if each[0] <= xid < each[1])
            refused.append((flow(xid - first), reason))
        if refused:
            # Those that name no flow (the commit, say) are refused because of one that does.
            raise FlowsRefused([each for each in refused if each[0] is not None] or refused)


_COUNTED_AS = {
    of.Command.ADD: "add",
    of.Command.MODIFY_STRICT: "modify",
    of.Command.DELETE_STRICT: "delete",
}

_T = TypeVar("_T")


def _slices(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _SLICE):
        yield values[start : start + _SLICE]
