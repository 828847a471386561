"""What a request asks for -> the session in the store and in the switch."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from ofgtp.control.sessions.changes import Changes
from ofgtp.control.sessions.detail import detail_of, settled
from ofgtp.control.sessions.owned import check_free
from ofgtp.control.usage.limits import Limits
from ofgtp.control.usage.readings import Readings
from ofgtp.core.errors import InvalidSession
from ofgtp.core.model import Session, SessionState, Uplink
from ofgtp.core.sessions.check import check_session
from ofgtp.core.sessions.rules import framed_of
from ofgtp.northbound.service import SessionRequest
from ofgtp.store.rows import StoredSession
from ofgtp.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Done:
    """What a request has done to a session; `before` is None if there was none."""

    before: StoredSession | None
    after: StoredSession
    changed: bool


class Puts:
    """Makes and replaces sessions of all gateways."""

    def __init__(self, changes: Changes, limits: Limits) -> None:
        self._changes, self._limits = changes, limits

    def put(self, tx: Transaction, request: SessionRequest) -> Done:
        """Write one session and carry it to the switch."""
        old, new, readings = self.write(tx, request)
        if old is not None and old.session == new and old.state is SessionState.ACTIVE:
            tx.set_state([new.number], SessionState.ACTIVE)
            return Done(old, replace(old, updated_at=tx.time), changed=False)
        installed = None if old is None else old.installed
        before = [] if installed is None else [installed]
        self._changes.count(tx, new.gateway, before, [new], readings)
        active = self._changes.carry_out(tx, new.gateway, before, [new])
        state = SessionState.ACTIVE if active else SessionState.PENDING
        made = tx.time if old is None else old.created_at
        return Done(old, StoredSession(new, state, None, made, tx.time), changed=True)

    def write(
        self, tx: Transaction, request: SessionRequest
    ) -> tuple[StoredSession | None, Session, Readings]:
        """Write a session into the transaction; the one it replaces, what it is now, and what was
        read of the one before."""
        if request.id is None:
            request = replace(request, id=f"s-{secrets.token_hex(8)}")
        session_id = str(request.id)
        old = tx.get(session_id)
        check_free(None if old is None else old.session)
        present = None if old is None else old.session.gateway
        agent = self._changes.agent_for(request.gateway or present)
        gateway = agent.gateway
        if old is not None and old.session.gateway != gateway.name:
            raise InvalidSession(
                "gateway", f"session {session_id!r} is on {old.session.gateway}: it cannot move"
            )
        teid = request.uplink_teid
        if teid is None:
            known = old and old.session.uplink
            teid = known.teid if known else tx.allocate_teid(gateway.name)
        session = Session(
            number=old.session.number if old else 0,
            id=session_id,
            gateway=gateway.name,
            ue_ip=request.ue_ip,
            uplink=Uplink(teid, request.uplink_remote_ip),
            downlink=request.downlink,
            qos=request.qos,
            detail=detail_of(
                request,
                None if old is None else old.session,
                lambda: tx.allocate_teid(gateway.name),
            ),
        )
        readings = Readings(agent.counting)
        session, gauges = self._limits.given(tx, old, session, readings)
        session = settled(None if old is None else old.session, session)
        check_session(gateway, session, agent.protected)
        if framed_of(session):
            agent.host.check_framed(session)
        agent.host.check_peers(session)
        made = tx.insert(session) if old is None else tx.replace(session)
        self._limits.put(tx, made, gauges)
        return old, made, readings
