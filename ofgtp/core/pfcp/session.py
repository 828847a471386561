"""A session as its control plane made it, and what a request makes of it (TS 29.244, 5.2, 7.5.4).

All or nothing: a request gives another session, or a `Refusal` and no session at all (6.3.2.3,
6.3.3.3). What is removed goes first, then comes what is created, then what is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol, TypeVar

from ofgtp.core.pfcp.usage import NO_USAGE, Usage
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import Action, FailedRule, RuleKind
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.grouped import (
    CreateBar,
    CreatedPdr,
    CreateFar,
    CreatePdr,
    CreateQer,
    CreateUrr,
    ForwardingParameters,
    Pdi,
    UpdateFar,
    UpdateForwardingParameters,
    UpdatePdr,
)
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import SessionEstablishmentRequest, SessionModificationRequest
from ofgtp.core.pfcp.wire.tables import REMOVED
from ofgtp.core.pfcp.wire.values import FSeid, FTeid, NodeId

RULES_MAX = 64
"""Rules of a kind in a session; more are refused (75)."""

R = TypeVar("R", CreatePdr, CreateFar, CreateQer, CreateUrr, CreateBar)


@dataclass(frozen=True, slots=True)
class PfcpSession:
    """The rules of a session by their ids. F-TEIDs that were to be chosen are chosen in them."""

    node_id: NodeId
    """The control plane's."""
    cp_fseid: FSeid
    up_seid: int
    pdrs: Mapping[int, CreatePdr] = field(default_factory=dict)
    fars: Mapping[int, CreateFar] = field(default_factory=dict)
    qers: Mapping[int, CreateQer] = field(default_factory=dict)
    urrs: Mapping[int, CreateUrr] = field(default_factory=dict)
    bars: Mapping[int, CreateBar] = field(default_factory=dict)
    chosen: Mapping[int, int] = field(default_factory=dict)
    """TEIDs by CHOOSE ID, as long as a PDR has them: a later request may mean them."""
    places: Mapping[int, int] = field(default_factory=dict)
    """Of each QER its place among the session's: its meters keep their numbers, and so what they
    have let through, while others come and go."""
    apn_dnn: str | None = None
    user: str | None = None
    """Of the User ID what names the subscriber best, for those who look for a fault."""
    usage: Usage = NO_USAGE
    """What its URRs have measured."""


class Chooser(Protocol):
    """What chooses F-TEIDs."""

    local_ip: IPv4Address
    """The address of all of them."""
    local_ip6: IPv6Address | None
    """Their second one, if they have one."""

    def allocate(self) -> int:
        """A TEID that no session has."""


def establish(
    request: SessionEstablishmentRequest, up_seid: int, chooser: Chooser
) -> tuple[PfcpSession, list[CreatedPdr]]:
    """The session that a Session Establishment Request asks for, and the F-TEIDs chosen in it.

    Raises:
        Refusal: it cannot be made.
    """
    user = request.user_id
    session = PfcpSession(
        request.node_id,
        request.cp_fseid,
        up_seid,
        fars=_created({}, request.create_fars, RuleKind.FAR),
        qers=_created({}, request.create_qers, RuleKind.QER),
        urrs=_created({}, request.create_urrs, RuleKind.URR),
        bars=_created({}, request.create_bars, RuleKind.BAR),
        apn_dnn=request.apn_dnn,
        user=None if user is None else user.imsi or user.nai or user.msisdn,
    )
    session = replace(session, places=placed(session.qers, {}))
    session, made = _with_pdrs(session, request.create_pdrs, chooser)
    _check(session)
    return session, made


def modify(
    session: PfcpSession, request: SessionModificationRequest, chooser: Chooser
) -> tuple[PfcpSession, list[CreatedPdr]]:
    """The session after a Session Modification Request, and the F-TEIDs chosen for new PDRs.

    Raises:
        Refusal: it cannot be; the session stays as it is.
    """
    after = replace(
        session,
        cp_fseid=request.cp_fseid or session.cp_fseid,
        pdrs=_without(session.pdrs, (each.pdr_id for each in request.remove_pdrs)),
        fars=_created(
            _without(session.fars, (each.far_id for each in request.remove_fars)),
            request.create_fars,
            RuleKind.FAR,
        ),
        qers=_created(
            _without(session.qers, (each.qer_id for each in request.remove_qers)),
            request.create_qers,
            RuleKind.QER,
        ),
        urrs=_created(
            _without(session.urrs, (each.urr_id for each in request.remove_urrs)),
            request.create_urrs,
            RuleKind.URR,
        ),
        bars=_created(
            _without(session.bars, (each.bar_id for each in request.remove_bars)),
            request.create_bars,
            RuleKind.BAR,
        ),
    )
    after = replace(after, places=placed(after.qers, session.places))
    after, made = _with_pdrs(after, request.create_pdrs, chooser)
    pdrs, fars, chosen = dict(after.pdrs), dict(after.fars), dict(after.chosen)
    qers, urrs, bars = dict(after.qers), dict(after.urrs), dict(after.bars)
    for update in request.update_pdrs:
        old = _there(pdrs, RuleKind.PDR, update.pdr_id)
        pdr, of_pdr = _chosen(_updated_pdr(old, update), chosen, chooser)
        pdrs[update.pdr_id] = pdr
        made += of_pdr
    used = {teid for pdr in pdrs.values() if (teid := local_teid(pdr)) is not None}
    chosen = {number: teid for number, teid in chosen.items() if teid in used}
    for far in request.update_fars:
        fars[far.far_id] = _updated_far(_there(fars, RuleKind.FAR, far.far_id), far)
    for qer in request.update_qers:
        qers[qer.qer_id] = _updated(_there(qers, RuleKind.QER, qer.qer_id), qer)
    for urr in request.update_urrs:
        urrs[urr.urr_id] = _updated(_there(urrs, RuleKind.URR, urr.urr_id), urr)
    for bar in request.update_bars:
        bars[bar.bar_id] = _updated(_there(bars, RuleKind.BAR, bar.bar_id), bar)
    after = replace(after, pdrs=pdrs, fars=fars, qers=qers, urrs=urrs, bars=bars, chosen=chosen)
    _check(after)
    return after, made


def local_teid(pdr: CreatePdr) -> int | None:
    """The TEID of ours by which a PDR's packets come."""
    fteid = pdr.pdi.local_fteid
    return fteid.teid if isinstance(fteid, FTeid) else None


def placed(qers: Iterable[int], before: Mapping[int, int]) -> dict[int, int]:
    """Of each QER its place: the one that it had, else the first that is free."""
    wanted = sorted(qers)
    places = {number: before[number] for number in wanted if number in before}
    taken = set(places.values())
    free = (place for place in range(RULES_MAX) if place not in taken)
    for number in wanted:
        if number not in places:
            places[number] = next(free)
    return places


# --- what is removed and created


def _without(rules: Mapping[int, R], ids: Iterable[int]) -> dict[int, R]:
    """The others. One that is not there is removed all the same: some control planes ask for it."""
    gone = set(ids)
    return {number: rule for number, rule in rules.items() if number not in gone}


def _created(rules: Mapping[int, R], new: Sequence[R], kind: RuleKind) -> dict[int, R]:
    made = dict(rules)
    for rule in new:
        if rule[0] in made:
            raise _failed(kind, rule[0], "there is one with this id already")
        made[rule[0]] = rule
    if len(made) > RULES_MAX:
        raise Refusal(Cause.NO_RESOURCES, f"a session has at most {RULES_MAX} {kind.name}s")
    return made


def _with_pdrs(
    session: PfcpSession, new: Sequence[CreatePdr], chooser: Chooser
) -> tuple[PfcpSession, list[CreatedPdr]]:
    chosen, made, pdrs = dict(session.chosen), list[CreatedPdr](), list[CreatePdr]()
    for each in new:
        pdr, of_pdr = _chosen(each, chosen, chooser)
        pdrs.append(pdr)
        made += of_pdr
    after = replace(session, pdrs=_created(session.pdrs, pdrs, RuleKind.PDR), chosen=chosen)
    return after, made


def _chosen(
    pdr: CreatePdr, chosen: dict[int, int], chooser: Chooser
) -> tuple[CreatePdr, list[CreatedPdr]]:
    """The PDR with an F-TEID of ours where it asks for one (5.5.3)."""
    asked = pdr.pdi.local_fteid
    rule = FailedRule(RuleKind.PDR, pdr.pdr_id)
    if asked is None:
        return pdr, []
    if asked.ipv6 and not asked.ipv4 and chooser.local_ip6 is None:
        reason = "an F-TEID over IPv6 was asked for, and there is none"
        raise Refusal(Cause.NO_RESOURCES, reason, Ie.FTEID, rule)
    if isinstance(asked, FTeid):
        for named, ours in ((asked.ipv4, chooser.local_ip), (asked.ipv6, chooser.local_ip6)):
            # Beside an IPv4 address one of IPv6 is let pass that nobody will send to.
            if named is not None and named != ours and not (ours is None and asked.ipv4):
                reason = f"F-TEIDs are at {ours}, not at {named}"
                raise Refusal(Cause.RULE_FAILURE, reason, Ie.FTEID, rule)
        return pdr, []
    teid = None if asked.choose_id is None else chosen.get(asked.choose_id)
    if teid is None:
        teid = chooser.allocate()
    if asked.choose_id is not None:
        chosen[asked.choose_id] = teid
    # Of one that may be of both versions it is; with neither named, of IPv4 (see `ChooseFTeid`).
    ipv6 = chooser.local_ip6 if asked.ipv6 else None
    fteid = FTeid(teid, None if asked.ipv6 and not asked.ipv4 else chooser.local_ip, ipv6)
    return pdr._replace(pdi=pdr.pdi._replace(local_fteid=fteid)), [CreatedPdr(pdr.pdr_id, fteid)]


# --- what is changed


def _there(rules: Mapping[int, R], kind: RuleKind, number: int) -> R:
    if number not in rules:
        raise _failed(kind, number, "there is none with this id")
    return rules[number]


def _updated(rule: Any, update: Any) -> Any:
    """A rule with what an update names; what it takes away is as if it had never been named.

    What a rule cannot be without stays.
    """
    defaults = rule._field_defaults | {"precedence": None}
    changes = {}
    for name, value in update._asdict().items():
        if value is REMOVED:
            if name in defaults:
                changes[name] = defaults[name]
        elif value is not None:
            changes[name] = value
    return rule._replace(**changes)


def _updated_pdr(old: CreatePdr, update: UpdatePdr) -> CreatePdr:
    """Of a PDI that lacks its keys the old ones stay: Open5GS sends only what changes (7.5.4.2)."""
    changed: CreatePdr = _updated(old, update._replace(pdi=None))
    if isinstance(update.pdi, Pdi):
        changed = changed._replace(pdi=_merged(old.pdi, update.pdi))
    return changed


def _merged(old: Pdi, new: Pdi) -> Pdi:
    keys = ("local_fteid", "ue_ip_address", "framed_routes", "framed_ipv6_routes")
    merged = new._replace(network_instance=new.network_instance or old.network_instance)
    if not any(getattr(new, key) for key in keys):
        kept = {key: getattr(old, key) for key in keys}
        return merged._replace(qfis=new.qfis or old.qfis, **kept)
    if new.local_fteid is None and new.source_interface is old.source_interface:
        return merged._replace(local_fteid=old.local_fteid)
    return merged


def _updated_far(old: CreateFar, update: UpdateFar) -> CreateFar:
    changed: CreateFar = _updated(old, update._replace(forwarding_parameters=None))
    given = update.forwarding_parameters
    if given is REMOVED:
        return changed._replace(forwarding_parameters=None)
    if not isinstance(given, UpdateForwardingParameters):
        return changed
    wanted = given._asdict()
    del wanted["flags"]  # of the request, not of the FAR
    parameters = old.forwarding_parameters
    if parameters is None:
        interface = given.destination_interface
        if interface is None or interface is REMOVED:
            rule = FailedRule(RuleKind.FAR, old.far_id)
            reason = "forwarding parameters are named for the first time without it"
            raise Refusal(Cause.CONDITIONAL_IE_MISSING, reason, Ie.DESTINATION_INTERFACE, rule)
        parameters = ForwardingParameters(interface)
    if wanted["destination_interface"] is REMOVED:
        wanted["destination_interface"] = None
    if wanted["network_instance"] is REMOVED:
        # SD-Core's SMF leaves it empty, and means the one that it has named before.
        wanted["network_instance"] = None
    changes: dict[str, Any] = {
        name: None if value is REMOVED else value
        for name, value in wanted.items()
        if value is not None
    }
    return changed._replace(forwarding_parameters=parameters._replace(**changes))


# --- what must hold


def _check(session: PfcpSession) -> None:
    """Every rule that a rule names must be there (73), each PDR must name a FAR, and each FAR that
    forwards must say where to (67)."""
    for pdr in session.pdrs.values():
        rule = FailedRule(RuleKind.PDR, pdr.pdr_id)
        if pdr.far_id is None:
            raise Refusal(Cause.CONDITIONAL_IE_MISSING, "it names no FAR", Ie.FAR_ID, rule)
        named: tuple[tuple[RuleKind, Mapping[int, Any], tuple[int, ...]], ...] = (
            (RuleKind.FAR, session.fars, (pdr.far_id,)),
            (RuleKind.QER, session.qers, pdr.qer_ids),
            (RuleKind.URR, session.urrs, pdr.urr_ids),
        )
        for kind, rules, ids in named:
            for number in ids:
                if number not in rules:
                    raise _failed(RuleKind.PDR, pdr.pdr_id, f"it names {kind.name} {number}")
    for far in session.fars.values():
        if far.apply_action & Action.FORW and far.forwarding_parameters is None:
            rule = FailedRule(RuleKind.FAR, far.far_id)
            reason = "it forwards, and does not say where"
            raise Refusal(Cause.CONDITIONAL_IE_MISSING, reason, Ie.FORWARDING_PARAMETERS, rule)
        if far.bar_id is not None and far.bar_id not in session.bars:
            raise _failed(RuleKind.FAR, far.far_id, f"it names BAR {far.bar_id}")


def _failed(kind: RuleKind, number: int, reason: str) -> Refusal:
    return Refusal(Cause.RULE_FAILURE, reason, rule=FailedRule(kind, number))
