"""A PFCP session as octets, for the store: its rules as IEs, as they would be sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ofgtp.core.pfcp.rules import rules_of
from ofgtp.core.pfcp.session import PfcpSession, R, placed
from ofgtp.core.pfcp.usage import NO_USAGE, Measured, Spent, Usage
from ofgtp.core.pfcp.wire.enums import UsageTrigger
from ofgtp.core.pfcp.wire.messages import SessionModificationRequest
from ofgtp.core.pfcp.wire.tables import decode, encode
from ofgtp.core.pfcp.wire.values import NodeId
from ofgtp.core.rules.counts import Counts, RuleKey
from ofgtp.core.rules.terms import ETHERNET_HEADER
from ofgtp.core.usage.seen import Seen

_SIZE = 2
_OF_PACKETS = "packets"
"""Behind all else: marks of uplink flows are those of IP packets, not of frames."""
_AS_THEY_ARE = Measured._fields.index("ran")
"""From here on what is measured is of plain values."""


def to_bytes(session: PfcpSession) -> bytes:
    """All of it but the Node ID and our SEID."""
    return _begin(session) + encode(
        SessionModificationRequest(
            cp_fseid=session.cp_fseid,
            create_pdrs=tuple(session.pdrs.values()),
            create_fars=tuple(session.fars.values()),
            create_urrs=tuple(session.urrs.values()),
            create_qers=tuple(session.qers.values()),
            create_bars=tuple(session.bars.values()),
        )
    )


def with_usage(data: bytes, session: PfcpSession) -> bytes:
    """The same of a session that is as `to_bytes` made this of it, but for what it has used."""
    return _begin(session) + data[_SIZE + int.from_bytes(data[:_SIZE], "big") :]


def _begin(session: PfcpSession) -> bytes:
    """What stands before its rules."""
    further: dict[str, Any] = {
        "chosen": [*session.chosen.items()],
        "places": [*session.places.items()],
        "apn": session.apn_dnn,
        "user": session.user,
    }
    if session.urrs:
        further["usage"] = _usage_to_plain(session.usage)
    text = json.dumps(further, separators=(",", ":")).encode()
    return len(text).to_bytes(_SIZE, "big") + text


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
    session = PfcpSession(
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
        usage=_usage_from_plain(further["usage"]) if "usage" in further else NO_USAGE,
    )
    older = "usage" in further and further["usage"][-1] != _OF_PACKETS
    return replace(session, usage=_of_packets(session)) if older else session


def _of_packets(session: PfcpSession) -> Usage:
    """An earlier release took the headers of Ethernet off what uplink flows counted, which do not
    count them any more. Not of what goes from tunnel to tunnel unseen, which never had them."""
    unseen = {rule.id for rule in rules_of(session, ipv6=True).rules if rule.tunnelled}
    marks = {
        key: counts + Counts(0, ETHERNET_HEADER * counts.packets)
        if key[0] == "uplink" and key[1] not in unseen
        else counts
        for key, counts in session.usage.marks.rules.items()
    }
    return replace(session.usage, marks=session.usage.marks._replace(rules=marks))


def measures(data: bytes) -> bool:
    """Whether the session that `to_bytes` made this of has URRs."""
    return "usage" in json.loads(data[_SIZE : _SIZE + int.from_bytes(data[:_SIZE], "big")])


def _usage_to_plain(usage: Usage) -> list[Any]:
    return [
        [
            [
                *(number, each.since, each.sequence, *_plain(each.uplink), *_plain(each.downlink)),
                *(each.spent, *each[_AS_THEY_ARE:]),
            ]
            for number, each in usage.urrs.items()
        ],
        [[*key, *_plain(counts)] for key, counts in usage.marks.rules.items()],
        [[place, *_plain(counts)] for place, counts in usage.marks.dropped.items()],
        usage.looked_at,
        usage.marked_at,
        _OF_PACKETS,
    ]


def _usage_from_plain(plain: list[Any]) -> Usage:
    urrs, rules, dropped, looked_at, marked_at, *_ = plain
    return Usage(
        {each[0]: _measured(each[1:]) for each in urrs},
        Seen(
            {key: Counts(*each[-2:]) for each in rules for key in _keys(each[:-2])},
            {place: Counts(*counts) for place, *counts in dropped},
        ),
        looked_at,
        marked_at,
    )


def _measured(plain: list[Any]) -> Measured:
    """An earlier release had nothing but what was counted."""
    since, sequence, *counts = plain[:6]
    counted = Measured(since, sequence, Counts(*counts[:2]), Counts(*counts[2:]))
    if len(plain) == 6:
        times = {"running": since, "active_at": since, "period_from": since, "valid_from": since}
        return counted._replace(**times)
    spent, *more, closed, owed = plain[6:]
    fields = dict(zip(Measured._fields[_AS_THEY_ARE:], more, strict=False))
    return counted._replace(
        spent=Spent(*spent), closed=UsageTrigger(closed), owed=UsageTrigger(owed), **fields
    )


def _keys(names: list[str]) -> list[RuleKey]:
    """Of a rule; an earlier release left out its direction, of which each has one."""
    rule = names[-1]
    every: list[RuleKey] = [("uplink", rule), ("downlink", rule), ("held", rule)]
    return every[:2] if len(names) == 1 else [key for key in every if key[0] == names[0]]


def _plain(counts: Counts) -> tuple[int, int]:
    return counts.packets, counts.octets


def _by_id(rules: Iterable[R]) -> Mapping[int, R]:
    return {rule[0]: rule for rule in rules}
