"""A PFCP session as octets, for the store: its rules as IEs, as they would be sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ofgtp.core.pfcp.session import PfcpSession, R, placed
from ofgtp.core.pfcp.wire.messages import SessionModificationRequest
from ofgtp.core.pfcp.wire.tables import decode, encode
from ofgtp.core.pfcp.wire.values import NodeId

_SIZE = 2


def to_bytes(session: PfcpSession) -> bytes:
    """All of it but the Node ID and our SEID."""
    further = {
        "chosen": [*session.chosen.items()],
        "places": [*session.places.items()],
        "apn": session.apn_dnn,
        "user": session.user,
    }
    text = json.dumps(further, separators=(",", ":")).encode()
    rules = SessionModificationRequest(
        cp_fseid=session.cp_fseid,
        create_pdrs=tuple(session.pdrs.values()),
        create_fars=tuple(session.fars.values()),
        create_urrs=tuple(session.urrs.values()),
        create_qers=tuple(session.qers.values()),
        create_bars=tuple(session.bars.values()),
    )
    return len(text).to_bytes(_SIZE, "big") + text + encode(rules)


def from_bytes(data: bytes, node_id: NodeId, up_seid: int) -> PfcpSession:
    """What `to_bytes` made.

    Raises:
        ValueError, Refusal: it was something else.
    """
    end = _SIZE + int.from_bytes(data[:_SIZE], "big")
    further = json.loads(data[_SIZE:end])
    rules = decode(SessionModificationRequest, data[end:])
    if rules.cp_fseid is None:
        raise ValueError("a session without a CP F-SEID")
    qers = _by_id(rules.create_qers)
    return PfcpSession(
        node_id,
        rules.cp_fseid,
        up_seid,
        pdrs=_by_id(rules.create_pdrs),
        fars=_by_id(rules.create_fars),
        qers=qers,
        urrs=_by_id(rules.create_urrs),
        bars=_by_id(rules.create_bars),
        chosen=dict(further["chosen"]),
        # an earlier release had them in the order of their ids
        places=placed(qers, dict(further.get("places", ()))),
        apn_dnn=further["apn"],
        user=further["user"],
    )


def _by_id(rules: Iterable[R]) -> Mapping[int, R]:
    return {rule[0]: rule for rule in rules}
