"""Whose packets for idle UEs are: control planes are told of theirs, others by an event."""

from __future__ import annotations

from collections.abc import Mapping

from ofgtp.control.buffer.holding import Notified
from ofgtp.control.pfcp.node import PfcpNode
from ofgtp.control.usage.limits import Limits
from ofgtp.core.buffer.queue import Bounds
from ofgtp.core.model import Session
from ofgtp.core.sessions.rule import Rule
from ofgtp.northbound.events import EventLog


class SessionOwners:
    """Implements `Owners` of `holding.py` for all gateways. `nodes` are their endpoints of PFCP."""

    def __init__(self, nodes: Mapping[str, PfcpNode], limits: Limits, events: EventLog) -> None:
        self._nodes, self._limits, self._events = nodes, limits, events

    def held_by(self, session: Session, rule: Rule) -> Bounds | None:
        """How many packets of a rule are held; see `Owners`."""
        detail = session.detail
        if detail is None or detail.owner is None:
            return None if detail is None or detail.buffer is None else Bounds(detail.buffer)
        node = self._nodes.get(session.gateway)
        return None if node is None else node.held_by(detail.owner.up_seid, rule)

    def downlink_data(self, session: Session, rule: Rule) -> Notified:
        """There is a packet that a rule of a session holds; see `Owners`."""
        detail = session.detail
        if detail is not None and detail.owner is not None:
            node = self._nodes.get(session.gateway)
            told = node is not None and node.downlink_data(detail.owner.up_seid, rule)
            return Notified.ASK_AGAIN if told else Notified.NOT_YET
        facts = {"bearer": rule.id} if rule.id else {}
        self._events.publish("downlink_data", gateway=session.gateway, session=session.id, **facts)
        return Notified.ONCE

    def delivered(self, session: Session) -> None:
        """Packets that were held for a session have gone on; see `Owners`."""
        detail = session.detail
        if detail is None or detail.owner is None:
            self._limits.delivered(session)
        elif (node := self._nodes.get(session.gateway)) is not None:
            node.delivered(session.number)
