"""Which rule of a session takes a packet, and why: what its bearers' filters say of it.

The switch is believed: by the priority of the flow that a packet met, a rule is found again. What
is reckoned here is by which tunnel a packet should come, and which filter it was that matched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ofgtp.core.filters import ASSIGNED, PacketFilter
from ofgtp.core.rules.ruleset import priorities
from ofgtp.core.sessions.rule import Rule, ToCore
from ofgtp.core.trace.probe import Packet


@dataclass(frozen=True, slots=True)
class Taken:
    """The rule that took a packet, and the first of its filters that matches."""

    rule: Rule
    by: PacketFilter | None
    """None: it has no filters."""


def matches(asked: PacketFilter, packet: Packet) -> bool:
    """Whether a filter matches a packet, of either direction."""
    remote, local = (packet.host, packet.host_port), (packet.ue, packet.ue_port)
    return asked.takes(packet.number, packet.dscp, remote, local)


def match_of(rule: Rule, packet: Packet) -> PacketFilter | None:
    """The first filter of a rule that matches."""
    return next((each for each in rule.filters if matches(each, packet)), None)


def expected(rules: Sequence[Rule], packet: Packet) -> Rule | None:
    """The rule that should take a packet of the session; None if none would, or none is known.

    What comes back from where a relay breaks out comes by the core port, the rest in a tunnel.
    """
    mine = [rule for rule in rules if rule.uplink == (packet.direction == "uplink")]
    relayed = any(rule.teid is not None for rule in mine)
    if packet.direction == "downlink" and relayed:
        there = _first([rule for rule in rules if rule.uplink], packet)
        out = there is not None and isinstance(there.forward, ToCore)
        mine = [rule for rule in mine if (rule.teid is None) == out]
    return _first(mine, packet)


def _first(rules: Sequence[Rule], packet: Packet) -> Rule | None:
    found = (rule for rule in rules if not rule.filters or match_of(rule, packet))
    return next(found, None)


def of_tunnel(rules: Sequence[Rule], teid: int | None) -> list[Rule]:
    """The rules for what comes by a TEID of ours, or, None, by the core port."""
    return [rule for rule in rules if rule.teid == teid]


def taken_at(rules: Sequence[Rule], priority: int, packet: Packet) -> Taken | None:
    """What took a packet by a flow of this priority; None if that is no rule's. `rules` are all of
    one tunnel."""
    for rule, of_rule in zip(rules, priorities(rules), strict=True):
        if of_rule == priority:
            return Taken(rule, match_of(rule, packet))
    return None


def in_words(asked: PacketFilter) -> str:
    """A filter, with what the text form has no word for."""
    dscp = "" if asked.dscp is None else f", DSCP {asked.dscp}"
    text = str(asked)
    if asked.local is ASSIGNED and asked.dscp is not None and text == str(PacketFilter()):
        return f"DSCP {asked.dscp}"
    return f"{text}{dscp}"
