"""The calls that a northbound interface makes, and what each may raise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from ofgtp.core.model import BatchPut
from ofgtp.core.peers.paths import PathState
from ofgtp.core.sessions.shaped import ShapedPut
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service.batch import BatchResult, WrongLine
from ofgtp.northbound.service.gateway import HistoryView, PeerView
from ofgtp.northbound.service.metrics import GatewayMetrics
from ofgtp.northbound.service.pfcp import PfcpView
from ofgtp.northbound.service.request import SessionRequest
from ofgtp.northbound.service.session import (
    FlowView,
    NewSession,
    SeenView,
    SessionFilter,
    SessionView,
)
from ofgtp.northbound.service.usage import UsageFilter, UsagePage, UsageView


class Service(Protocol):
    """The sessions of all gateways. Calls may block the calling green thread for seconds.

    Beside what is named below, every call may raise StoreError.
    """

    @property
    def events(self) -> EventLog:
        """What happens, to the gateways and to the sessions."""

    def create(self, request: SessionRequest) -> SessionView:
        """Make a session.

        Raises:
            Conflict, InvalidSession, UnknownGateway, SwitchRefused.
        """

    def put(self, request: SessionRequest) -> tuple[SessionView, bool]:
        """Make or replace the session with the request's id; the flag tells that it is new.

        Raises:
            Conflict, InvalidSession, UnknownGateway, SwitchRefused.
        """

    def put_new(self, put: BatchPut) -> NewSession | None:
        """Make a session that is plainly right and new, together with others that are asked for
        at the same time. None, and nothing has changed: `put` does it, or tells why not.

        Raises:
            SwitchRefused.
        """

    def patch(
        self, session_id: str, change: Callable[[dict[str, Any]], SessionRequest]
    ) -> SessionView:
        """Replace a session by what `change` makes of it.

        `change` gets the session's writable fields as JSON and is called while nobody else can
        change the session; what it raises is passed on.

        Raises:
            UnknownSession, Conflict, InvalidSession, SwitchRefused.
        """

    def get(self, session_id: str) -> SessionView:
        """Raise UnknownSession if there is none."""

    def delete(self, session_id: str) -> bool:
        """Delete a session; False when the switch is away and its flows go when it is back.

        Raises:
            UnknownSession, SwitchRefused.
        """

    def batch(
        self, ops: Iterable[tuple[int, BatchPut | ShapedPut | SessionRequest | str | WrongLine]]
    ) -> BatchResult:
        """Do all of it in order, or nothing: (line, session to put or id to delete).

        With a line that is wrong nothing is done; the lines behind it are checked all the same.
        The lines are read while it is done; what reading them raises is passed on, and nothing is
        done.

        Raises:
            BatchError, SwitchRefused.
        """

    def session_flows(self, session_id: str) -> Sequence[FlowView]:
        """Raise UnknownSession if there is none."""

    def session_usage(self, session_id: str) -> UsageView:
        """What a session has used, up to now. Raises UnknownSession if there is none."""

    def usage(self, filter: UsageFilter) -> UsagePage:
        """What sessions have used, as it was last read of all of them.

        Raises:
            InvalidSession: the cursor is none of ours.
            UnknownGateway.
        """

    def session_rules(self, session_id: str) -> dict[str, Any]:
        """The PDRs, FARs, QERs, URRs and BARs of a session, ready for JSON; none of one that no
        control plane made.

        Raises:
            UnknownSession.
        """

    def seen(self, session_id: str) -> Sequence[SeenView]:
        """What was lately seen to go wrong that bears on it, the latest first.

        Raises:
            UnknownSession.
        """

    def flows_text(self, gateway: str | None) -> Iterator[str]:
        """Every flow wanted in the switch of one gateway or of all, as ovs-ofctl lines.

        Raises:
            UnknownGateway.
        """

    def gateways(self) -> Sequence[dict[str, Any]]:
        """Each gateway's name, whether it is connected, and more, ready for JSON."""

    def peers(
        self,
        gateway: str | None = None,
        state: PathState | None = None,
        worst: int | None = None,
    ) -> Sequence[PeerView]:
        """The GTP-U peers that sessions name, of one gateway or of all; `state` None is any.

        With `worst` only so many of each gateway: first those that are down, then those that are
        unknown, and in each state those that most sessions name.

        Raises:
            UnknownGateway.
        """

    def history(self, gateway: str | None, seconds: int) -> Sequence[HistoryView]:
        """The last so many seconds of one gateway or of all; no switch is asked.

        Raises:
            UnknownGateway.
        """

    def pfcp(self) -> Sequence[PfcpView]:
        """The gateways that speak PFCP, and their control planes."""

    def metrics(self) -> Sequence[GatewayMetrics]:
        """Each gateway in numbers; the cost does not grow with the sessions' flows."""

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and what to say of it, ready for JSON."""

    def count(self, filter: SessionFilter) -> int:
        """How many sessions match, on all pages."""

    def list(self, filter: SessionFilter) -> tuple[Sequence[SessionView], str | None]:
        """One page of sessions, and the cursor of the next.

        Raises:
            InvalidSession: the cursor is none of ours.
        """
