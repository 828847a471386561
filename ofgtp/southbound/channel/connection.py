"""One OpenFlow connection: requests and their answers, bundles, barriers.

The transport (Ryu's, or a socket in tests) gives a function that sends bytes and calls `receive`
with each message that comes. Whoever waits here is a green thread.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import eventlet

from ofgtp.core.errors import CodecError, SwitchRefused
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
from ofgtp.southbound.channel.bundle import SLICE, Bundle, slices
from ofgtp.southbound.channel.errors import FlowsRefused, NotConfirmed
from ofgtp.southbound.channel.requests import Perhaps, Place, Requests
from ofgtp.southbound.channel.tally import Tally
from ofgtp.southbound.channel.xids import XIDS

log = logging.getLogger(__name__)


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
        self._requests = Requests(send)
        self._errors: dict[int, str] = {}
        self._bundles = itertools.count(1)
        self._open_bundles: list[Bundle] = []
        self.tally = Tally()
        """Where this connection counts; replace it by one that outlives the connection."""

    @property
    def closed(self) -> bool:
        """Whether nothing more is said here."""
        return self._requests.closed

    @property
    def silent(self) -> bool:
        """Whether a wait for the switch ran out and nothing has come from it since."""
        return self._requests.silent

    @property
    def flow_mods(self) -> int:
        """Flow-mods counted so far."""
        return self.tally.flow_mods.total()

    # --- from the transport

    def receive(self, kind: int, xid: int, body: bytes) -> None:
        """Take a message from the switch. Never raises: what cannot be read is logged."""
        self._requests.silent = False
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
            if self._requests.refused(xid, reason):
                return
            if xid in self._errors:
                self._errors[xid] = self._errors[xid] or reason
            elif not any(bundle.take_error(xid, reason) for bundle in self._open_bundles):
                log.warning("xid=%d: the switch reports %s", xid, reason)
        elif kind == of.Type.MULTIPART_REPLY:
            form, more, part = of.decode_multipart(body)
            if not self._requests.part(xid, part, more) and form == of.Multipart.FLOW_MONITOR:
                for update in of.decode_flow_updates(part):
                    self._on_flow_update(update)
        elif kind in (of.Type.BARRIER_REPLY, of.Type.BUNDLE_CONTROL):
            self._requests.answered(xid, body)

    def close(self) -> None:
        """The connection is gone: whoever waits gets Disconnected."""
        self._requests.close()

    # --- to the switch

    def barrier(self, before: bytes = b"") -> None:
        """Return when the switch has carried out all that was sent before, `before` at last."""
        xid = XIDS.take()
        start = time.monotonic()
        try:
            self._requests.ask(xid, before + of.barrier(xid))
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
        with self._requests.stream() as (xid, stream):
            self._send(of.flow_stats_request(cookie, mask, xid, table))
            yield self._requests.parts_of(stream)

    def flow_slices(self, asked: Sequence[of.Asked]) -> Iterator[bytes]:
        """The flows of several requests, all asked at once, as the bodies of the replies' parts."""
        with self._requests.stream(len(asked)) as (first, stream):
            self._send(
                b"".join(
                    of.multipart_request(of.Multipart.FLOW, xid, each.body())
                    for xid, each in enumerate(asked, first)
                )
            )
            waiting = len(asked)
            while waiting:
                part, more = self._requests.next_part(stream)
                waiting -= not more
                yield part

    def flows_in_tables(self) -> dict[int, int]:
        """How many flows each table has, whosever they are; the switch knows without counting."""
        return of.decode_tables(b"".join(self._multipart(of.Multipart.TABLE)))

    def flow_count(self, asked: of.Asked) -> int:
        """How many flows there are of these; the switch goes through all of their table."""
        xid = XIDS.take()
        request = of.multipart_request(of.Multipart.AGGREGATE, xid, asked.body())
        return of.decode_flow_count(b"".join(self._requests.ask(xid, request)))

    def watch_flows(self, on_update: Callable[[of.FlowUpdate], None]) -> None:
        """Have every flow change that is not ours reported from now on."""
        self._on_flow_update = on_update
        xid = XIDS.take()
        self._requests.ask(xid, of.flow_monitor_request(xid))

    def renew(self, flows: Iterable[Flow]) -> None:
        """Add flows with timeouts, which begin anew; not confirmed, and never waits long."""
        mods = [of.flow_mod(of.Command.ADD, flow, XIDS.take()) for flow in flows]
        self._send(b"".join(mods))
        self.tally.flow_mods["add"] += len(mods)

    def take_away(self, flows: Iterable[Flow]) -> None:
        """Delete flows that may have gone already; not confirmed."""
        mods = [of.flow_mod(of.Command.DELETE_STRICT, flow, XIDS.take()) for flow in flows]
        self._send(b"".join(mods))
        self.tally.flow_mods["delete"] += len(mods)

    def delete_ours(self) -> None:
        """Delete every flow of ours, confirmed by a barrier."""
        self._send(of.delete_by_cookie(COOKIE_OWNER, COOKIE_OWNER_MASK, XIDS.take()))
        self.barrier()
        self.tally.flow_mods["delete"] += 1

    def end(self) -> None:
        """Delete every flow of ours, confirmed by a barrier, as the last that is said here.

        Whoever asks from now on gets Disconnected, so that no bundle under way is committed.
        """
        xid = XIDS.take()
        event = self._requests.expect(xid)
        self._requests.closed = True
        delete = of.delete_by_cookie(COOKIE_OWNER, COOKIE_OWNER_MASK, XIDS.take())
        self._send(delete + of.barrier(xid))
        self._requests.wait(event)

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
        return self._requests.ask_many(
            count, lambda first: of.cookie_requests(cookies, first), Place
        )

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

        return self._requests.ask_many(len(asked), requests, Perhaps)

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
            for some in slices(mods):
                first = XIDS.take(len(some))
                messages = []
                for xid, (command, meter) in enumerate(some, first):
                    asked.append(xid)
                    self._errors[xid] = ""
                    messages.append(of.meter_mod(command, meter, xid))
                self._send(b"".join(messages))
                if len(some) == SLICE:
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
        self._send(of.packet_out(port, frame, XIDS.take(), in_port))

    def packets_out(self, frames: Iterable[tuple[Iterable[Action], bytes]]) -> None:
        """Have actions done to frames, in this order; not confirmed."""
        self._send(b"".join(of.acted_on(acts, frame, XIDS.take()) for acts, frame in frames))

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
        first = XIDS.take(count)
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
        xid = XIDS.take()
        if kind in (of.Multipart.DESC, of.Multipart.TABLE):
            return self._requests.ask(xid, of.multipart_request(kind, xid))
        return self._requests.ask(xid, of.meter_stats_request(kind, xid))
