"""What becomes of packets that the rules of a session do not let pass: bearers, gates."""

from __future__ import annotations

import shlex

from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.sessions.rule import Rule
from ofgtp.core.trace.choice import expected
from ofgtp.core.trace.known import Case, Verdict


def wrong_bearer(case: Case) -> Verdict:
    """It came by a bearer's own tunnel, and none of the bearer's filters matches."""
    packet, session = case.packet, case.session
    names = dict.fromkeys(rule.id for rule in session.rules if rule.teid == packet.teid)
    whose = f"bearer {' or '.join(names)}" if names else "a bearer"
    says = (
        f"tunnel {packet.teid:#x} is that of {whose} of {session.name}, and none of its filters"
        f" matches the packet"
    )
    right = expected(session.rules, packet)
    if right is not None and right.teid is not None:
        own = f"bearer {right.id}'s" if right.id else "the session's own"
        says += f", which is {own}: it should come with TEID {right.teid:#x}"
    return Verdict(
        False,
        says,
        DropReason.WRONG_BEARER.label,
        "the phone sorts its packets by other filters (TFT) than the session has: has the core"
        " network (MME, SMF) changed the bearer? Give it the same: ofgtp bearer set … --filter",
        None if session.id is None else f"ofgtp bearer list {shlex.quote(session.id)}",
    )


def no_rule(case: Case) -> Verdict:
    """A downlink packet that no filter takes, of a session that has no rule for the rest."""
    session = case.session
    return Verdict(
        False,
        f"none of the rules of {session.name} takes it: each has filters, and none matches",
        DropReason.NO_RULE.label,
        "what made the session must give it a rule for such packets, or for all the rest; those"
        " that there are:",
        None if session.id is None else f"ofgtp session show {shlex.quote(session.id)} --flows",
    )


def gate_closed(case: Case, rule: Rule) -> Verdict:
    """A packet that is not to pass now."""
    session, direction = case.session, case.packet.direction
    command = None
    if session.id is not None and rule.id:
        names = f"{shlex.quote(session.id)} {shlex.quote(rule.id)}"
        command = f"ofgtp bearer set {names} --gate open"
    return Verdict(
        False,
        f"the gate of {session.named(rule)} is closed for {direction} packets",
        DropReason.GATE_CLOSED.label,
        "normal while the core network (PCRF, PCF) does not let the service pass, as a call that is"
        " not answered yet. To open it:",
        command,
    )


def idle_bearer(case: Case, rule: Rule) -> Verdict:
    """A downlink packet of a bearer that has no downlink."""
    session = case.session
    return Verdict(
        False,
        f"{session.named(rule)} is idle: it has no downlink",
        DropReason.IDLE_UE.label,
        "normal for a phone that sleeps: the core network (MME, SMF) pages it, and gives the bearer"
        " a downlink again (ofgtp bearer set), or the session, if the bearer shares its tunnel",
    )


def indicated_bearer(case: Case, rule: Rule) -> Verdict:
    """A downlink packet of a bearer whose peer does not know the tunnel."""
    return Verdict(
        False,
        f"the base station of {case.session.named(rule)} has said that it does not know its tunnel"
        " (Error Indication)",
        DropReason.ERROR_INDICATED.label,
        "it has lost the bearer: the core network (MME, SMF) must set it up anew and then give it"
        " its tunnel again (ofgtp bearer set)",
    )
