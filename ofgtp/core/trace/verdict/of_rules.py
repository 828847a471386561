"""What becomes of packets that the rules of a session do not let pass: bearers, gates."""

from __future__ import annotations

import shlex
from dataclasses import replace

from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.sessions.rule import Refused, Rule
from ofgtp.core.trace.choice import expected
from ofgtp.core.trace.known import Case, Known, Verdict


def wrong_bearer(case: Case) -> Verdict:
    """It came by a bearer's own tunnel, and none of the bearer's filters matches."""
    packet, session = case.packet, case.session
    names = dict.fromkeys(rule.id for rule in session.rules if rule.teid == packet.teid)
    whose = " or ".join(map(session.called, names)) or "a bearer"
    says = (
        f"tunnel {packet.teid:#x} is that of {whose} of {session.name}, and none of its filters"
        f" matches the packet"
    )
    right = expected(session.rules, packet)
    if right is not None and right.teid is not None:
        own = f"{session.called(right.id)}'s" if right.id else "the session's own"
        says += f", which is {own}: it should come with TEID {right.teid:#x}"
    if session.owner is not None:
        cause = "the phone or the base station sorts its packets by other filters or QFIs"
        return Verdict(False, says, DropReason.WRONG_BEARER.label, *_owned(session, cause))
    return Verdict(
        False,
        says,
        DropReason.WRONG_BEARER.label,
        "the phone sorts its packets by other filters (TFT) than the session has: has the core"
        " network (MME, SMF) changed the bearer? Give it the same: ofgtp bearer set … --filter",
        None if session.id is None else f"ofgtp bearer list {shlex.quote(session.id)}",
    )


def _owned(session: Known, cause: str) -> tuple[str, str]:
    """What helps, of a session that its control plane alone may change."""
    name = shlex.quote(session.id or session.who)
    do = f"{cause}. Only {session.owner} may change it, by PFCP; what it has asked for:"
    return do, f"ofgtp session show {name} --rules"


def no_rule(case: Case) -> Verdict:
    """A downlink packet that no filter takes, of a session that has no rule for the rest."""
    session = case.session
    says = f"none of the rules of {session.name} takes it: each has filters, and none matches"
    if session.owner is not None:
        cause = "it has no PDR for such packets, or for all the rest"
        return Verdict(False, says, DropReason.NO_RULE.label, *_owned(session, cause))
    return Verdict(
        False,
        says,
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
    says = f"the gate of {session.named(rule)} is closed for {direction} packets"
    if session.owner is not None:
        cause = "normal while the core network (PCRF, PCF) does not let the service pass"
        return Verdict(False, says, DropReason.GATE_CLOSED.label, *_owned(session, cause))
    return Verdict(
        False,
        says,
        DropReason.GATE_CLOSED.label,
        "normal while the core network (PCRF, PCF) does not let the service pass, as a call that is"
        " not answered yet. To open it:",
        command,
    )


def idle_bearer(case: Case, rule: Rule) -> Verdict:
    """A downlink packet of a bearer that has no downlink."""
    session = case.session
    if session.owner is not None:
        says = f"{session.named(rule)} leads nowhere now: the FAR buffers, or names no tunnel yet"
        cause = "normal for a phone that sleeps, or whose base station is not known yet"
        return Verdict(False, says, DropReason.IDLE_UE.label, *_owned(session, cause))
    return Verdict(
        False,
        f"{session.named(rule)} is idle: it has no downlink",
        DropReason.IDLE_UE.label,
        "normal for a phone that sleeps: the core network (MME, SMF) pages it, and gives the bearer"
        " a downlink again (ofgtp bearer set), or the session, if the bearer shares its tunnel",
    )


def far_drop(case: Case, rule: Rule) -> Verdict:
    """A packet that the control plane wants to be dropped."""
    session = case.session
    says = f"{session.named(rule)} drops it: so its FAR says (DROP)"
    cause = "normal until the control plane activates the session"
    return Verdict(False, says, DropReason.FAR_DROP.label, *_owned(session, cause))


def quota_exhausted(case: Case, rule: Rule) -> Verdict:
    """A packet of what has used up its quota."""
    session = case.session
    spent = Refused(DropReason.QUOTA_EXHAUSTED)
    if any(each.forward == spent for each in session.rules if not each.id):
        rule = replace(rule, id="")  # the session's own is used up, so that all of it is closed
    says = f"the quota of {session.named(rule)} is used up"
    if session.owner is not None:
        cause = "normal until the core network (charging: OCS, CHF) grants more"
        return Verdict(False, says, DropReason.QUOTA_EXHAUSTED.label, *_owned(session, cause))
    command = None
    if session.id is not None:
        names = shlex.quote(session.id)
        kind = f"bearer set {names} {shlex.quote(rule.id)}" if rule.id else f"session set {names}"
        command = f"ofgtp {kind} --quota none"
    return Verdict(
        False,
        says,
        DropReason.QUOTA_EXHAUSTED.label,
        "normal until it is given a larger one (--quota 10G) or, here, none:",
        command,
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
