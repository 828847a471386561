"""Changes of a switch's flows: put into a bundle as they become known, then carried out at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ofgtp.core.flows.flow import Flow
from ofgtp.core.flows.pipeline import DOWNLINK
from ofgtp.core.flows.reconcile import plan
from ofgtp.core.model import FlowValues, Session
from ofgtp.core.rules.session import session_flows
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import Bundle, Channel, Disconnected, NotConfirmed
from ofgtp.southbound.prepared import FLOWS, Prepared, session_of


class Change:
    """What becomes of a gateway's sessions, in the order in which it is told.

    Without a bundle, or when the switch goes away meanwhile, it is the next comparison's to do.
    """

    def __init__(self, prepared: Prepared | None, bundle: Bundle | None) -> None:
        self._prepared, self._bundle = prepared, bundle
        self.problem: str | None = None
        """Why the switch could not be told, if it was there at the beginning."""
        self.touched = False
        """Whether anything was told."""
        self.downlink = False
        """Whether flows of table downlink changed."""

    @property
    def active(self) -> bool:
        """Whether there is a switch that is told."""
        return self._bundle is not None

    def create(self, sessions: Sequence[FlowValues]) -> None:
        """These are new."""
        self._put_sessions(of.Command.ADD, sessions)

    def delete(self, sessions: Sequence[FlowValues]) -> None:
        """These are no more."""
        self._put_sessions(of.Command.DELETE_STRICT, sessions)

    def alter(self, before: Iterable[Session], after: Iterable[Session]) -> None:
        """The first are replaced by the second; either may be none."""
        self.touched = True
        prepared = self._prepared
        if prepared is None:
            return
        changes = plan(_flows(after, prepared), _flows(before, prepared))
        self.downlink |= any(flow.table == DOWNLINK.number for flow in changes.all())
        # Very many may be altered in turn: their flows are not kept to be named later.
        self._attempt(lambda bundle: bundle.put_plan(changes, named=False))

    def replace(self, before: Iterable[Flow], after: Iterable[Flow]) -> None:
        """Base flows: the first are replaced by the second."""
        changes = plan(after, before)
        self._attempt(lambda bundle: bundle.put_plan(changes))

    def prepare(self) -> None:
        """Have the switch look at all of it.

        Raises:
            FlowsRefused: nothing will be carried out.
        """
        self._attempt(Bundle.prepare)

    def commit(self) -> bool:
        """Have all of it carried out; False if the switch has not confirmed.

        Raises:
            FlowsRefused: nothing was carried out.
        """
        self._attempt(Bundle.commit)
        return self._bundle is not None

    def _put_sessions(self, command: of.Command, sessions: Sequence[FlowValues]) -> None:
        self.touched = self.downlink = True
        prepared = self._prepared
        if prepared is None:
            return
        self._attempt(lambda bundle: put_sessions(bundle, prepared, command, sessions))

    def _attempt(self, work: Callable[[Bundle], None]) -> None:
        if self._bundle is None:
            return
        try:
            work(self._bundle)
        except (NotConfirmed, Disconnected) as error:
            self.problem, self._bundle = str(error), None


def put_sessions(
    bundle: Bundle, prepared: Prepared, command: of.Command, sessions: Sequence[FlowValues]
) -> None:
    """Put the flows of sessions, to be added or deleted, into a bundle.

    Raises:
        Disconnected: the switch is gone.
    """
    encode = prepared.add if command is of.Command.ADD else prepared.delete

    def make(first: int) -> bytes:
        number = bundle.number
        xids = range(first, first + FLOWS * len(sessions), FLOWS)
        return b"".join(
            [encode(values, number, xid) for values, xid in zip(sessions, xids, strict=True)]
        )

    bundle.put(command, FLOWS * len(sessions), make, partial(_flow, prepared, sessions))


def add_sessions(channel: Channel, prepared: Prepared, sessions: Sequence[FlowValues]) -> None:
    """Add the flows of a few new sessions without a bundle; see `Channel.add`."""

    def make(first: int) -> bytes:
        xids = range(first, first + FLOWS * len(sessions), FLOWS)
        return b"".join(map(prepared.add_bare, sessions, xids))

    channel.add(FLOWS * len(sessions), make, partial(_flow, prepared, sessions))


def _flow(prepared: Prepared, sessions: Sequence[FlowValues], place: int) -> Flow:
    """The flow that the message at this place is about."""
    session = session_of(sessions[place // FLOWS])
    return session_flows(session, prepared.links)[place % FLOWS]


def _flows(sessions: Iterable[Session], prepared: Prepared) -> list[Flow]:
    return [flow for session in sessions for flow in session_flows(session, prepared.links)]
