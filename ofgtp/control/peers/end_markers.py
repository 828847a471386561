"""End Markers for tunnels that sessions have left (TS 29.281, 7.3.2): when they are due."""

from __future__ import annotations

import logging
import time

import eventlet

from ofgtp.control.peers.signalling import Signalling
from ofgtp.control.turns import in_turns
from ofgtp.core.errors import StoreError
from ofgtp.core.model import Address, FTeid, Gateway, Session
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

END_MARKER_S, END_MARKER_SESSION_S = 0.1, 0.00003
"""Seconds from a confirmed change of a tunnel to its End Marker, and as many more for each session
with a peer: the switch has the new flow when it confirms, but forwards by what it has cached until
it has gone through all of that. Seen were 0.5 s with 20,000 UEs that all get packets."""


class EndMarkers:
    """Those that one gateway owes."""

    def __init__(self, gateway: Gateway, store: SessionStore, signalling: Signalling) -> None:
        self._gateway, self._store, self._signalling = gateway, store, signalling
        self._owed: list[tuple[FTeid, Address | None]] = []
        """Tunnels that their sessions have left, whose peers do not know it yet; and the next hop
        that is kept for each."""

    def left(self, tunnel: FTeid) -> None:
        """A session has left this tunnel for another."""
        # Of a peer that all sessions leave the MAC address is asked for no more.
        self._owed.append((tunnel, self._signalling.peers.keep(tunnel.ip, time.monotonic())))

    def confirmed(self) -> None:
        """The switch has carried all changes out: what is owed is due after a while."""
        owed, self._owed = self._owed, []
        if owed:
            wait = END_MARKER_S + END_MARKER_SESSION_S * self._signalling.peers.sessions
            eventlet.spawn_after(wait, self._send, owed)

    def _send(self, owed: list[tuple[FTeid, Address | None]]) -> None:
        """Not for tunnels that are in use again: more T-PDUs come by those."""
        for tunnel, hop in in_turns(owed):
            try:
                if self._store.by_downlink(self._gateway.name, tunnel) is None:
                    self._signalling.end_marker(tunnel)
            except StoreError as error:
                log.error("gateway=%s: no End Marker for %s: %s", self._gateway.name, tunnel, error)
            self._signalling.peers.let_go(hop)


def left_tunnels(before: Session | None, after: Session | None) -> list[FTeid]:
    """The downlink tunnels that a session has left for others, and whose peers know them still."""
    if before is None or after is None:
        return []
    now = _downlinks(after)
    return [
        tunnel
        for whose, (tunnel, indicated) in _downlinks(before).items()
        if not indicated and whose in now and now[whose][0] != tunnel
    ]


def _downlinks(session: Session) -> dict[str, tuple[FTeid, bool]]:
    """Each tunnel towards the UE by the bearer that has it, "" being the session; and whether its
    peer has said that it does not know it."""
    found = {}
    if session.downlink is not None:
        found[""] = session.downlink, session.error_indicated
    for bearer in session.detail.bearers if session.detail is not None else ():
        if bearer.downlink is not None:
            found[bearer.id] = bearer.downlink, bearer.error_indicated
    return found
