"""The sessions that a comparison is about, as they are stored."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from ofgtp.control.turns import in_turns
from ofgtp.core.flows.flow import CookieKind, Flow, FlowKey, cookie_kind, cookie_number, match
from ofgtp.core.flows.pipeline import DOWNLINK
from ofgtp.core.model import FlowValues, Session
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import IPV4, SESSION_PRIORITY, Links
from ofgtp.southbound.openflow import FlowStats, encode_match
from ofgtp.store.sqlite import SessionStore

LOADED_SLICE = 2000
"""Sessions read from the store between two turns of other green threads."""


class All:
    """All of a gateway, but for those that the switch has refused."""

    def __init__(self, store: SessionStore, gateway: str, failed: Container[int]) -> None:
        self._store, self._gateway, self._failed = store, gateway, failed

    def plain(self) -> Iterator[FlowValues]:
        """Those that are but tunnel pairs."""
        for values in in_turns(self._store.values(self._gateway), LOADED_SLICE):
            if values.number not in self._failed:
                yield values

    def detailed(self) -> Iterator[Session]:
        """Those that are more."""
        for session in in_turns(self._store.iterate(self._gateway, detailed=True)):
            if session.number not in self._failed:
                yield session


class Named:
    """Some sessions."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = sessions

    def plain(self) -> Iterator[FlowValues]:
        """Those that are but tunnel pairs."""
        return (FlowValues.of(each) for each in self._sessions if each.detail is None)

    def detailed(self) -> Iterator[Session]:
        """Those that are more."""
        return (each for each in self._sessions if each.detail is not None)

    def drops_left(self, addresses: Iterable[int], links: Links) -> Iterator[FlowStats]:
        """Flows that may be left of sessions that had these UE addresses and were idle, as if they
        were reported: they are deleted, if they are there."""
        wanted = self._flows(links)
        for address in addresses:
            to_ue = match(dl_type=IPV4, nw_dst=address)
            flow = Flow(DOWNLINK.number, SESSION_PRIORITY, to_ue, 0)
            if flow.key not in wanted:
                raw = encode_match(to_ue)
                yield FlowStats(*flow.key[:2], 0, to_ue, raw, b"", (0, 0), 0, 0)

    def strange(self, others: Iterable[FlowStats], touched: Container[int], links: Links) -> bool:
        """Whether a flow with the cookie of a session that somebody touched is none of the
        session's: it may have another cookie than it had, or stand in another's place."""
        ours = [
            each
            for each in others
            if cookie_kind(each.cookie) is CookieKind.SESSION
            and cookie_number(each.cookie) in touched
        ]
        if not ours:
            return False
        wanted = self._flows(links)
        return any(
            each.match is None or wanted.get(each.key, Flow(0, 0, (), 0)).cookie != each.cookie
            for each in ours
        )

    def _flows(self, links: Links) -> dict[FlowKey, Flow]:
        flows = (flow for each in self._sessions for flow in session_flows(each, links))
        return {flow.key: flow for flow in flows}
