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
from collections.abc import Callable, Iterable, Iterator

import eventlet
from eventlet.event import Event

from ofgtp.core.errors import CodecError, GatewayNotReady, SwitchRefused
from ofgtp.core.flow import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
    Flow,
    Meter,
    Port,
)
from ofgtp.core.reconcile import Plan
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
"""Messages built before other green threads get a turn."""


def _xids() -> Iterator[int]:
    """Transaction ids: 32 bits, again from 1 after the last (0 stands for none)."""
    while True:
        yield from range(1, 1 << 32)


_XIDS = _xids()


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
        self._waiting: dict[int, Event] = {}
        self._parts: dict[int, list[bytes]] = {}
        self._errors: dict[int, str] = {}
        self._bundles = itertools.count(1)
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
            elif xid in self._errors:
                self._errors[xid] = self._errors[xid] or reason
            else:
                log.warning("xid=%d: the switch reports %s", xid, reason)
        elif kind == of.Type.MULTIPART_REPLY:
            form, more, part = of.decode_multipart(body)
            if form == of.Multipart.FLOW_MONITOR and xid not in self._waiting:
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
        self._waiting.clear()
        self._parts.clear()

    # --- to the switch

    def barrier(self) -> None:
        """Return when the switch has carried out all that was sent before."""
        xid = next(_XIDS)
        start = time.monotonic()
        try:
            self._ask(xid, of.barrier(xid))
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
        xid = next(_XIDS)
        for part in self._ask(xid, of.flow_stats_request(cookie, mask, xid), STATS_S):
            yield from of.decode_flow_stats(part)
            eventlet.sleep(0)

    def watch_flows(self, on_update: Callable[[of.FlowUpdate], None]) -> None:
        """Have every flow change that is not ours reported from now on."""
        self._on_flow_update = on_update
        xid = next(_XIDS)
        self._ask(xid, of.flow_monitor_request(xid))

    def renew(self, flows: Iterable[Flow]) -> None:
        """Add flows again, which restarts their timeouts; not confirmed, and never waits long."""
        mods = [of.flow_mod(of.Command.ADD, flow, next(_XIDS)) for flow in flows]
        self._send(b"".join(mods))
        self.tally.flow_mods["add"] += len(mods)

    def delete_ours(self) -> None:
        """Delete every flow of ours, confirmed by a barrier."""
        self._send(of.delete_by_cookie(COOKIE_OWNER, COOKIE_OWNER_MASK, next(_XIDS)))
        self.barrier()
        self.tally.flow_mods["delete"] += 1

    def end(self) -> None:
        """Delete every flow of ours, confirmed by a barrier, as the last that is said here.

        Whoever asks from now on gets Disconnected, so that no bundle under way is committed.
        """
        xid = next(_XIDS)
        event = self._expect(xid)
        self.closed = True
        delete = of.delete_by_cookie(COOKIE_OWNER, COOKIE_OWNER_MASK, next(_XIDS))
        self._send(delete + of.barrier(xid))
        self._await(event)

    def flows_of(self, cookies: list[int]) -> list[list[of.FlowStats]]:
        """The flows with each of these cookies: all asked at once, then awaited."""
        whole = (1 << 64) - 1
        asked: list[Event] = []
        for cookie in cookies:
            xid = next(_XIDS)
            asked.append(self._expect(xid))
            self._send(of.flow_stats_request(cookie, whole, xid))
        return [
            [stats for part in self._await(event) for stats in of.decode_flow_stats(part)]
            for event in asked
        ]

    def packets_of(self, cookie: int) -> int:
        """Packets of all flows with this cookie together: the switch adds them up."""
        xid = next(_XIDS)
        return of.decode_aggregate(b"".join(self._ask(xid, of.aggregate_request(cookie, xid))))[0]

    def meters(self) -> dict[int, Meter | None]:
        """The meters of the bridge; None for one that is not of our form."""
        return of.decode_meters(b"".join(self._multipart(of.Multipart.METER_CONFIG)))

    def meter_counts(self) -> dict[int, of.MeterCounts]:
        """What each meter has counted."""
        return of.decode_meter_counts(b"".join(self._multipart(of.Multipart.METER)))

    def set_meter(self, meter: Meter, *, add: bool) -> None:
        """Add or modify a meter. Raises SwitchRefused."""
        xid = next(_XIDS)
        self._errors[xid] = ""
        try:
            self._send(of.meter_mod(meter, xid, add=add))
            self.barrier()
            if self._errors[xid]:
                raise SwitchRefused(self._errors[xid])
        finally:
            del self._errors[xid]

    def packet_out(self, port: int, frame: bytes, in_port: int = Port.CONTROLLER) -> None:
        """Send a frame out of a port, or by TABLE through the tables; not confirmed."""
        self._send(of.packet_out(port, frame, next(_XIDS), in_port))

    def apply(self, plan: Plan, foreign: list[of.FlowStats] | None = None) -> None:
        """Carry a plan out in one bundle: all of it, confirmed by a barrier, or nothing.

        `foreign` are reported flows to delete besides. The switch commits an atomic bundle that
        holds a refused flow all the same, so errors are awaited by a barrier before the commit.

        Raises:
            FlowsRefused: with the flows at fault; nothing was installed.
            NotConfirmed, Disconnected: the outcome is unknown.
        """
        bundle = next(self._bundles)
        sent: dict[int, Flow | None] = {}
        try:
            try:
                self._control(bundle, of.Bundle.OPEN)
                self._fill(bundle, plan, foreign or [], sent)
                self.barrier()
                if self._refused(sent):
                    self._control(bundle, of.Bundle.DISCARD)
                    raise FlowsRefused(self._refused(sent))
                self._control(bundle, of.Bundle.COMMIT)
            except FlowsRefused:
                raise
            except SwitchRefused as error:
                raise FlowsRefused(self._refused(sent) or [(None, error.reason)]) from None
            self.barrier()
        finally:
            for xid in sent:
                self._errors.pop(xid, None)
        deleted = len(plan.delete) + len(foreign or [])
        self.tally.flow_mods.update(add=len(plan.add), modify=len(plan.modify), delete=deleted)

    def _refused(self, sent: dict[int, Flow | None]) -> list[tuple[Flow | None, str]]:
        return [(flow, self._errors[xid]) for xid, flow in sent.items() if self._errors[xid]]

    def _fill(
        self,
        bundle: int,
        plan: Plan,
        foreign: list[of.FlowStats],
        sent: dict[int, Flow | None],
    ) -> None:
        batch: list[bytes] = []

        def put(xid: int, flow: Flow | None, inner: bytes) -> None:
            sent[xid] = flow
            self._errors[xid] = ""
            batch.append(of.bundle_add(bundle, inner, xid))
            if len(batch) >= _SLICE:
                if self.closed:
                    raise Disconnected("the switch is not connected")
                self._send(b"".join(batch))
                batch.clear()
                eventlet.sleep(0)

        for stats in foreign:
            xid = next(_XIDS)
            put(xid, None, of.delete_reported(stats, xid))
        for flows, command in (
            (plan.delete, of.Command.DELETE_STRICT),
            (plan.modify, of.Command.MODIFY_STRICT),
            (plan.add, of.Command.ADD),
        ):
            for flow in flows:
                xid = next(_XIDS)
                put(xid, flow, of.flow_mod(command, flow, xid))
        if batch:
            self._send(b"".join(batch))

    def _control(self, bundle: int, kind: of.Bundle) -> None:
        xid = next(_XIDS)
        self._ask(xid, of.bundle_control(bundle, kind, xid))

    def _multipart(self, kind: of.Multipart) -> list[bytes]:
        xid = next(_XIDS)
        if kind is of.Multipart.DESC:
            return self._ask(xid, of.multipart_request(kind, xid))
        return self._ask(xid, of.meter_stats_request(kind, xid))

    def _ask(self, xid: int, request: bytes, seconds: float = CONFIRM_S) -> list[bytes]:
        event = self._expect(xid)
        self._send(request)
        return self._await(event, seconds)

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
