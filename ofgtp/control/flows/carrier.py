"""Has changes of sessions, and of the gateway's own flows, carried out by the switch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from eventlet.semaphore import Semaphore

from ofgtp.control.buffer.holding import Holding
from ofgtp.control.flows.change import Change, add_sessions
from ofgtp.control.flows.links import LinksNow
from ofgtp.control.flows.rates import RateCounts
from ofgtp.control.flows.sync import Sync
from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.flows.doubt import nothing
from ofgtp.core.flows.flow import Flow
from ofgtp.core.model import FlowValues, Gateway, Session
from ofgtp.core.rules.base import epoch_flows
from ofgtp.core.rules.terms import Links
from ofgtp.southbound.channel import Disconnected, FlowsRefused, NotConfirmed

log = logging.getLogger(__name__)


class Carrier:
    """One gateway's. `writer` is the lock under which sessions change: who calls holds it, but for
    `update_route`, which takes it.

    `base` are the flows that the gateway has whatever its sessions.
    """

    def __init__(
        self,
        gateway: Gateway,
        writer: Semaphore,
        sync: Sync,
        links: LinksNow,
        holding: Holding,
        rates: RateCounts,
        base: Callable[[Links], Iterable[Flow]],
    ) -> None:
        self._gateway, self._writer, self._sync, self._links = gateway, writer, sync, links
        self._holding, self._rates, self._base = holding, rates, base

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """A change of this gateway's flows, to be committed; the caller holds the writer lock."""
        links, channel = self._sync.links, self._sync.channel
        if not self._sync.synced or links is None or channel is None or channel.silent:
            yield Change(None, None)
            return
        with channel.bundle() as bundle:
            change = Change(self._sync.prepared_for(links), bundle, self._holding)
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
        before, old = None, self._sync.links
        try:
            between = change.downlink and self._gateway.ue_to_ue == "route"
            if old is not None and (between or change.epoch):
                # Packets between UEs came by the gtpu port and leave by downlink flows. What else
                # is new of the links has its own turn.
                before = self._links.next_epoch()
                self._sync.links = replace(old, epoch=self._links.epoch)
                change.replace(epoch_flows(old), epoch_flows(self._sync.links))
            done = change.commit()
            self._rates.changed(*change.meters)
        except FlowsRefused:
            if before is not None:
                self._links.back_to(before)
                self._sync.links = old
            raise
        if change.touched and not done:
            doubt = nothing()
            doubt.changed(change.untold, change.untold_drops)
            self._sync.missed(
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
            prepared, channel = self._sync.prepared, self._sync.channel
            routes = self._gateway.ue_to_ue == "route"
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
                    self._sync.missed(f"flows of a refused session are not taken back: {error}")
                raise
            except (NotConfirmed, Disconnected) as error:
                problem = str(error)
            else:
                return True
        self._sync.missed(problem)
        return False

    def apply_next_epoch(
        self,
        base_before: Callable[[Links], Iterable[Flow]],
        base: Callable[[Links], Iterable[Flow]],
    ) -> bool:
        """Bring base flows up to date, so that packets under way see it; see `commit`."""
        with self.changing() as change:
            before, old = self._links.next_epoch(), self._sync.links
            self._sync.links = new = self._links.get()
            if old is None or new is None:
                raise Disconnected("the bridge's ports are not known")
            try:
                change.touched = True
                change.replace(base_before(old), base(new))
                return self.commit(change)
            except FlowsRefused:
                self._links.back_to(before)
                self._sync.links = old
                raise

    def update_route(self) -> None:
        """Bring the base flows up to date with the next hop and the ports."""
        with self._writer:
            if not self._sync.synced or self._sync.links is None:
                return
            try:
                self.apply_next_epoch(self._base, self._base)
            except (FlowsRefused, GatewayNotReady) as error:
                self._sync.resync_soon(str(error))
            except Exception:
                log.exception("gateway=%s: unexpected", self._gateway.name)
                self._sync.resync_soon("an internal error, see the log")
