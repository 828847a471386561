"""A gateway's PFCP node and its control planes, for the operator."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from ofgtp.control.pfcp.clock import ntp_time
from ofgtp.core.pfcp.node.associations import AssociationStatus, canonical
from ofgtp.core.pfcp.node.machine import Node
from ofgtp.core.pfcp.node.seen import BOUNDS
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.northbound.service import (
    AssociationView,
    Histogram,
    InstanceView,
    PfcpView,
    RefusedView,
    StrangerView,
)


def node_view(
    gateway: str,
    listen: IPv4Address,
    problem: str | None,
    node: Node,
    sessions: Mapping[str, int],
    instances: Iterable[tuple[str, bool, int]],
) -> PfcpView:
    """The node of a gateway. `sessions` counts those of each control plane, by its Node ID;
    `instances` are the network instances they have named: see `PfcpSessions.instances`."""
    settings = node.settings
    return PfcpView(
        gateway=gateway,
        node_id=str(settings.node_id),
        listen=listen,
        recovery_time=ntp_time(settings.recovery_time_stamp),
        problem=problem,
        associations=[_shown(each, sessions) for each in node.statuses()],
        received={kind.title: count for kind, count in node.received.items()},
        answered=_by_title(node.answered),
        dropped=dict(node.dropped),
        response_times={
            kind.title: Histogram(BOUNDS, tuple(counts), node.times.seconds[kind])
            for kind, counts in node.times.counts.items()
        },
        refused=[RefusedView(_when(each.at), str(each.ip), each.text) for each in node.refused],
        strangers=[
            StrangerView(str(each.ip), each.messages, _when(each.heard_at))
            for each in node.strangers.all()
        ],
        network_instances=[InstanceView(*each) for each in sorted(instances)],
    )


def _when(at: float) -> datetime:
    """The time of day at a time of the steady clock."""
    return datetime.now(UTC) - timedelta(seconds=time.monotonic() - at)


def _by_title(counts: Mapping[tuple[MessageType, int], int]) -> dict[tuple[str, int], int]:
    return {(kind.title, cause): count for (kind, cause), count in counts.items()}


def _shown(status: AssociationStatus, counts: Mapping[str, int]) -> AssociationView:
    association = status.association
    return AssociationView(
        node_id=str(association.node_id),
        ip=str(association.ip),
        state=status.state,
        recovery_time=ntp_time(association.recovery_time_stamp),
        sessions=counts.get(str(canonical(association.node_id)), 0),
        heard_at=None if status.heard_at is None else _when(status.heard_at),
        answers=_by_title(status.answers),
        errors=[(_when(at), reason) for at, reason in status.errors],
    )
