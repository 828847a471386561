"""Bundles: flow-mods that are put in piece by piece, and carried out together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import eventlet

from ofgtp.core.flows.flow import Flow
from ofgtp.core.flows.reconcile import Plan
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel.errors import Disconnected, FlowsRefused
from ofgtp.southbound.channel.xids import XIDS

if TYPE_CHECKING:
    from ofgtp.southbound.channel.connection import Channel

SLICE = 256
"""Messages built before they are sent and other green threads get a turn."""

_SEND_BYTES = 32_768
"""Bytes of messages that are worth sending before there are more."""


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
        first = XIDS.take(count)
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

        for strange in slices(foreign):
            make = partial(delete, strange)
            self.put(of.Command.DELETE_STRICT, len(strange), make, lambda place: None)
        for flows, command in (
            (plan.delete, of.Command.DELETE_STRICT),
            (plan.modify, of.Command.MODIFY_STRICT),
            (plan.add, of.Command.ADD),
        ):
            for some in slices(flows):
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
        xid = XIDS.take()
        self.expect_errors(xid)
        self._ended = True
        self.channel.barrier(of.bundle_control(self.number, of.Bundle.COMMIT, xid))
        self.check()
        self.channel.tally.flow_mods.update(self._counts)

    def discard(self) -> None:
        """Have nothing of it carried out, unless it was committed; not confirmed."""
        if self._begun and not self._ended and not self.channel.closed:
            xid = XIDS.take()
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
            xid = XIDS.take()
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


def slices(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """SLICE of them at a time."""
    for start in range(0, len(values), SLICE):
        yield values[start : start + SLICE]
