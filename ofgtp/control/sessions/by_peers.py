"""What GTP-U peers cause: sessions whose downlink is stopped, or that are removed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ofgtp.control.pfcp.node import PfcpNode
from ofgtp.control.sessions.batch import Line
from ofgtp.control.sessions.changes import Changes
from ofgtp.control.sessions.detail import settled
from ofgtp.core.errors import OfgtpError
from ofgtp.core.model import Address, FTeid, Session, SessionState
from ofgtp.core.sessions.rules import indicated, indicated_tunnels
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import BatchError, BatchResult
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

_AT_ONCE = 1000


class ByPeers:
    """Implements `Sessions` of `peers/signalling.py` for all gateways.

    `nodes` are the gateways' endpoints of PFCP, `batch` does lines of a batch.
    """

    def __init__(
        self,
        store: SessionStore,
        changes: Changes,
        nodes: Mapping[str, PfcpNode],
        events: EventLog,
        batch: Callable[[Iterable[Line]], BatchResult],
    ) -> None:
        self._store, self._changes, self._nodes = store, changes, nodes
        self._events, self._batch = events, batch

    def error_indicated(self, gateway: str, tunnels: Sequence[FTeid]) -> None:
        """Stop the downlink of the sessions that these tunnels are, or have the control planes do
        so whose they are; see `Sessions`."""
        told: dict[str, tuple[Session, Session]] = {}
        after: Sequence[Session] = ()
        tunnels_of: list[tuple[str, FTeid]] = []
        with self._changes.turn(), self._changes.transaction() as tx:
            for tunnel in tunnels:
                stored = self._store.by_downlink(gateway, tunnel)
                if stored is None or stored.state is SessionState.FAILED:
                    continue
                detail = stored.session.detail
                if detail is not None and detail.owner is not None:
                    node = self._nodes.get(gateway)
                    if node is not None and node.error_indicated(detail.owner.up_seid, tunnel):
                        tunnels_of.append((stored.session.id, tunnel))
                    continue
                session = told[stored.session.id][1] if stored.session.id in told else None
                stopped = indicated(session or stored.session, tunnel)
                if stopped is not None:
                    told[stored.session.id] = stored.session, stopped
                    tunnels_of.append((stored.session.id, tunnel))
            if told:
                before = [was for was, _ in told.values()]
                # Of several tunnels of one session: in one step, from what the switch has.
                after = [settled(was, now) for was, now in told.values()]
                for session in after:
                    if session.detail is not None:
                        tx.replace(session)
                self._changes.count(tx, gateway, before, after)
                self._changes.carry_out(tx, gateway, before, after)
            for session in after:
                tx.set_state([session.number], SessionState.ERROR_INDICATED, _lost(session))
        for session_id, tunnel in tunnels_of:
            facts: dict[str, str | int] = {"peer": str(tunnel.ip), "teid": tunnel.teid}
            self._events.publish("error_indicated", gateway=gateway, session=session_id, **facts)

    def path_down(self, gateway: str, peer: Address, *, remove: bool) -> None:
        """Tell the control planes that have sessions with a peer that does not answer, and remove
        the others' if asked to; see `Sessions`."""
        if (node := self._nodes.get(gateway)) is not None:
            try:
                node.path_down(peer)
            except OfgtpError as error:
                text = "gateway=%s: control planes not told that %s does not answer: %s"
                log.error(text, gateway, peer, error)
        if not remove:
            return
        removed = 0
        try:
            asked: dict[str, Any] = {"gateway": gateway, "peer": peer, "owned": False}
            while page := self._store.list(**asked, limit=_AT_ONCE)[0]:
                ops = [(place, stored.session.id) for place, stored in enumerate(page, 1)]
                try:
                    removed += self._batch(ops).deleted
                except BatchError:
                    log.debug("gateway=%s: others delete sessions of %s too", gateway, peer)
        except OfgtpError as error:
            log.error("gateway=%s: sessions of %s not removed: %s", gateway, peer, error)
        self._events.publish("sessions_removed", gateway=gateway, peer=str(peer), deleted=removed)


def _lost(session: Session) -> str:
    """Why a session is error_indicated."""
    core = [where == "core" for where, _ in indicated_tunnels(session)]
    said = []
    if not all(core):
        said.append("its peer does not know the downlink TEID")
    if any(core):
        said.append("its core peer does not know core.remote_teid")
    return f"{', and '.join(said)} (Error Indication)"
