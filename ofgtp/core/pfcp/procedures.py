"""Session Establishment, Modification and Deletion: a request -> a session, and its answer.

Nothing here knows of sockets, clocks or stores. TEIDs are given by a `Chooser`, and whose a session
is by the caller; what collides with other sessions only the store can tell, and `collision` has the
words for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from ofgtp.core.errors import Conflict, InvalidSession
from ofgtp.core.filters import Network
from ofgtp.core.model import FTeid, Gateway, check_teid
from ofgtp.core.pfcp.node.associations import canonical
from ofgtp.core.pfcp.rules import Made, rules_of
from ofgtp.core.pfcp.session import Chooser, PfcpSession, establish, modify
from ofgtp.core.pfcp.triggers import linked
from ofgtp.core.pfcp.usage import Usage
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import (
    Creation,
    EstablishmentFlags,
    FailedRule,
    ModificationFlags,
    RuleKind,
    UsageTrigger,
)
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.grouped import CreateFar, Pdi, UpdateForwardingParameters
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import (
    Message,
    SessionDeletionResponse,
    SessionEstablishmentRequest,
    SessionEstablishmentResponse,
    SessionModificationRequest,
    SessionModificationResponse,
)
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.pfcp.wire.sdf import DSCP_MASK
from ofgtp.core.pfcp.wire.values import FSeid, NodeId
from ofgtp.core.sessions.check import check_ipv6, check_prefixes
from ofgtp.core.sessions.detail import Detail, Owner
from ofgtp.core.sessions.rule import Tunnel


@dataclass(frozen=True, slots=True)
class Terms:
    """What sessions of one node have to keep to."""

    gateway: Gateway
    node_id: NodeId
    """Ours."""
    network_instances: tuple[str, ...] = ()
    """Those that are there; none: any."""
    protected: tuple[Network, ...] = ()
    """Where no UE may send, and no prefix behind one may be."""

    def has_instance(self, name: str) -> bool:
        """Whether a network instance is there."""
        known = {each.lower() for each in self.network_instances}
        return not known or name.lower() in known


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request makes, once it is in the store and in the switch."""

    session: PfcpSession
    made: Made
    answer: Message
    end_markers: tuple[FTeid, ...] = ()
    """Tunnels that are left, and whose peers are to be told (SNDEM)."""

    @property
    def detail(self) -> Detail:
        """The session as all sessions are kept; its slot and way are the store's to choose."""
        return detail_of(self.session, self.made)


def establishment(
    request: SessionEstablishmentRequest,
    up_fseid: FSeid,
    chooser: Chooser,
    terms: Terms,
    now: int,
) -> Outcome:
    """A new session, made `now`, in seconds since 1900.

    Raises:
        Refusal: it cannot be made.
    """
    session, created = establish(request, up_fseid.seid, chooser)
    session = replace(session, usage=session.usage.started(session.urrs, now))
    made = _checked(session, terms)
    answer = SessionEstablishmentResponse(
        terms.node_id, Cause.ACCEPTED, up_fseid=up_fseid, created_pdrs=tuple(created)
    )
    return Outcome(session, made, answer)


def modification(
    session: PfcpSession,
    request: SessionModificationRequest,
    chooser: Chooser,
    terms: Terms,
    now: int,
) -> Outcome:
    """A session as it is to be. What it has measured up to `now` is in it already.

    Raises:
        Refusal: it cannot be; it stays as it is.
    """
    after, created = modify(session, request, chooser)
    reports, usage = _reports(session, after, request, now)
    usage = usage.started(after.urrs, now).updated(request.update_urrs, after.urrs, now)
    after = replace(after, usage=usage)
    made = _checked(after, terms)
    answer = SessionModificationResponse(
        Cause.ACCEPTED, created_pdrs=tuple(created), usage_reports=tuple(reports)
    )
    return Outcome(after, made, answer, tuple(_left(session, after, request)))


def deletion(session: PfcpSession, now: int, unanswered: Sequence[UsageReport] = ()) -> Message:
    """The answer once a session is no more, with all that it has measured (5.2.2.2.1): what was
    reported before, and not answered, comes first."""
    last = [
        session.usage.reported(urr, UsageTrigger.TERMR, now)[0] for urr in session.urrs.values()
    ]
    return SessionDeletionResponse(Cause.ACCEPTED, usage_reports=(*unanswered, *last))


def looked_at(session: PfcpSession, usage: Usage, terms: Terms) -> Made | None:
    """What a session is made of once it has measured so much; None: the same as now.

    Raises:
        Refusal: it cannot be carried out any more, as the gateway is another one by now.
    """
    urrs = [pdr.urr_ids for pdr in session.pdrs.values()]
    if all(session.usage.is_closed(each) == usage.is_closed(each) for each in urrs):
        return None
    return _checked(replace(session, usage=usage), terms)


def owned(session: PfcpSession | None, seid: int, owners: Iterable[NodeId]) -> PfcpSession:
    """The session that a request is about, if it is the sender's. `owners` are the associations of
    its address; with none of them the SEID alone tells.

    Raises:
        Refusal: there is none, or it is another's, which looks the same.
    """
    known = {str(canonical(owner)) for owner in owners}
    if session is None or (known and str(canonical(session.node_id)) not in known):
        raise unknown(seid)
    return session


def unknown(seid: int) -> Refusal:
    """There is no session, or none that the sender should know of."""
    return Refusal(Cause.SESSION_NOT_FOUND, f"there is no session with the SEID {seid:#x}")


def collision(error: Conflict | InvalidSession, session: PfcpSession, *, restores: bool) -> Refusal:
    """Why a session cannot be beside others."""
    if restores and error.loc not in ("ue_ip", "ue_ipv6"):
        return Refusal(Cause.RESTORATION_FAILURE, str(error))
    if error.loc in ("ue_ip", "ue_ipv6"):
        return Refusal(Cause.REJECTED, str(error), Ie.UE_IP_ADDRESS)
    if error.loc == "rules":
        return Refusal(Cause.INVALID_F_TEID_ALLOCATION, str(error), Ie.FTEID)
    of_ipv6 = ":" in error.msg.partition(" ")[0]  # the prefix stands first
    ie = Ie.FRAMED_IPV6_ROUTE if of_ipv6 else Ie.FRAMED_ROUTE
    pdis = {number: pdr.pdi for number, pdr in session.pdrs.items()}
    named = (
        number
        for number, pdi in pdis.items()
        if (pdi.framed_ipv6_routes if of_ipv6 else pdi.framed_routes)
    )
    rule = next((FailedRule(RuleKind.PDR, number) for number in named), None)
    return Refusal(Cause.RULE_FAILURE, str(error), ie, rule)


def instances(request: Message) -> Iterator[str]:
    """The network instances that rules of a request name."""
    for member in ("create_pdrs", "update_pdrs"):
        for pdr in getattr(request, member, ()):
            if isinstance(pdr.pdi, Pdi) and pdr.pdi.network_instance:
                yield pdr.pdi.network_instance
    for member in ("create_fars", "update_fars"):
        for far in getattr(request, member, ()):
            name = getattr(far.forwarding_parameters, "network_instance", None)
            if name and isinstance(name, str):
                yield name


def restores(request: SessionEstablishmentRequest) -> bool:
    """Whether a session is to be as it was before a restart of ours (RESTI)."""
    return bool(request.flags and request.flags & EstablishmentFlags.RESTI)


def drops_buffer(request: SessionModificationRequest) -> bool:
    """Whether what waits for the session is to be dropped (DROBU)."""
    return bool(request.flags and request.flags & ModificationFlags.DROBU)


# --- what must hold


def _checked(session: PfcpSession, terms: Terms) -> Made:
    """The rules of a session; see `establishment`."""
    made = rules_of(session, ipv6=bool(terms.gateway.ue_pools6))
    if made.router is not None and terms.gateway.access_next_hop(made.router.ip) is None:
        # It is nowhere on the access side: the gateway has to answer.
        made = replace(made, router=None)
    _check_network_instances(session, terms)
    for pdr in session.pdrs.values():
        ue = pdr.pdi.ue_ip_address
        if ue is None:
            continue
        try:
            if ue.ipv4 is not None:
                terms.gateway.check_ue_ip(ue.ipv4)
            if ue.ipv6 is not None and made.ue_ipv6 is not None:
                check_ipv6(terms.gateway, made.ue_ipv6)
        except InvalidSession as error:
            rule = FailedRule(RuleKind.PDR, pdr.pdr_id)
            raise Refusal(Cause.RULE_FAILURE, error.msg, Ie.UE_IP_ADDRESS, rule) from None
    for far in session.fars.values():
        _check_marking(far, terms.gateway.dscp)
        tunnel = _tunnel(far)
        if tunnel is None:
            continue
        if isinstance(tunnel.ip, IPv6Address) and terms.gateway.access_ip6 is None:
            rule = FailedRule(RuleKind.FAR, far.far_id)
            reason = "the outer header is of IPv6, and tunnels are over IPv4"
            raise Refusal(Cause.NO_RESOURCES, reason, Ie.OUTER_HEADER_CREATION, rule)
        try:
            check_teid("", tunnel.teid)
            terms.gateway.check_peer("", tunnel.ip)
        except InvalidSession as error:
            rule = FailedRule(RuleKind.FAR, far.far_id)
            raise Refusal(Cause.RULE_FAILURE, error.msg, Ie.OUTER_HEADER_CREATION, rule) from None
    _check_versions(made)
    try:
        check_prefixes(terms.gateway, detail_of(session, made), terms.protected)
    except InvalidSession as error:
        raise collision(error, session, restores=False) from None
    return made


def _check_versions(made: Made) -> None:
    """The switch sends a session's packets to peers of one IP version, and from tunnel to tunnel
    to those that have IPv4."""
    versions: set[int] = set()
    for rule in made.rules:
        if not isinstance(rule.forward, Tunnel):
            continue
        versions.add(rule.forward.to.ip.version)
        relayed = rule.teid is not None and rule.forward.to.ip.version == 6
        if relayed or len(versions) > 1:
            of_both = "its tunnels are of both IP versions"
            reason = "it leads from a tunnel to one over IPv6" if relayed else of_both
            name = FailedRule(RuleKind.PDR, int(rule.id))
            raise Refusal(Cause.NO_RESOURCES, reason, Ie.OUTER_HEADER_CREATION, name)


def _check_marking(far: CreateFar, dscp: int | None) -> None:
    """Outer headers are marked as the gateway is configured; the switch has no action for it."""
    parameters = far.forwarding_parameters
    marking = None if parameters is None else parameters.transport_level_marking
    if marking is None:
        return
    octet, mask = marking
    if mask == DSCP_MASK and octet & mask == (None if dscp is None else dscp << 2):
        return
    has = "that of the packet inside" if dscp is None else f"DSCP {dscp}"
    reason = f"asked for is {octet:#04x}, mask {mask:#04x}, and the gateway marks all with {has}"
    rule = FailedRule(RuleKind.FAR, far.far_id)
    raise Refusal(Cause.NOT_SUPPORTED, reason, Ie.TRANSPORT_LEVEL_MARKING, rule)


def detail_of(session: PfcpSession, made: Made) -> Detail:
    """A session as all sessions are kept; its slot and way are the store's to choose."""
    return Detail(
        rules=made.rules,
        limits=made.limits,
        framed_routes=made.framed_routes,
        ue_ipv6=made.ue_ipv6,
        router=made.router,
        teids=made.teids,
        owner=Owner(str(canonical(session.node_id)), session.cp_fseid.seid, session.up_seid),
    )


def _check_network_instances(session: PfcpSession, terms: Terms) -> None:
    if not terms.network_instances:
        return
    named = [
        (FailedRule(RuleKind.PDR, pdr.pdr_id), pdr.pdi.network_instance)
        for pdr in session.pdrs.values()
    ]
    named += [
        (FailedRule(RuleKind.FAR, far.far_id), far.forwarding_parameters.network_instance)
        for far in session.fars.values()
        if far.forwarding_parameters is not None
    ]
    for rule, name in named:
        if name is not None and not terms.has_instance(name):
            reason = f"{name!r} is none of network_instances"
            raise Refusal(Cause.RULE_FAILURE, reason, Ie.NETWORK_INSTANCE, rule)


# --- usage


def _reports(
    before: PfcpSession, after: PfcpSession, request: SessionModificationRequest, now: int
) -> tuple[list[UsageReport], Usage]:
    """What is reported in the answer to a change (5.2.2.3.1), and what is left: of each URR that
    goes, or whose last PDR goes, of those that are asked for, and of those linked to one."""
    flags = request.flags or ModificationFlags(0)
    asked = {each.urr_id for each in request.query_urrs}
    if flags & ModificationFlags.QAURR:
        asked |= after.urrs.keys()
    left = _measuring(before) - _measuring(after)
    reports, usage = [], before.usage
    due = {}
    for number in before.urrs:
        ends = number in left or number not in after.urrs
        if ends or number in asked:
            due[number] = UsageTrigger.TERMR if ends else UsageTrigger.IMMER
    for number, trigger in linked(before.urrs, due).items():
        reference = request.query_urr_reference if number in asked else None
        report, usage = usage.reported(before.urrs[number], trigger, now, reference)
        reports.append(report)
    unknown = asked - before.urrs.keys() - after.urrs.keys()
    if unknown:
        rule = FailedRule(RuleKind.URR, min(unknown))
        reason = "its usage was asked for, and there is none with this id"
        raise Refusal(Cause.RULE_FAILURE, reason, Ie.QUERY_URR, rule)
    return reports, usage


def _measuring(session: PfcpSession) -> set[int]:
    return {urr for pdr in session.pdrs.values() for urr in pdr.urr_ids}


# --- End Markers


def _left(
    before: PfcpSession, after: PfcpSession, request: SessionModificationRequest
) -> list[FTeid]:
    """The tunnels that FARs leave for others, where the request asks for End Markers (5.9). The
    flag may stay set in later requests that change no tunnel."""
    of_all = bool(request.flags and request.flags & ModificationFlags.SNDEM)
    left = []
    for update in request.update_fars:
        given, old = update.forwarding_parameters, before.fars.get(update.far_id)
        flags = given.flags if isinstance(given, UpdateForwardingParameters) else None
        asked = isinstance(flags, ModificationFlags) and flags & ModificationFlags.SNDEM
        if old is None or not (asked or of_all):
            continue
        was, now = _tunnel(old), _tunnel(after.fars[update.far_id])
        if was is not None and now is not None and was != now:
            left.append(was)
    return list(dict.fromkeys(left))


def _tunnel(far: CreateFar) -> FTeid | None:
    header = None
    if far.forwarding_parameters is not None:
        header = far.forwarding_parameters.outer_header_creation
    of_gtpu = Creation.GTPU_UDP_IPV4 | Creation.GTPU_UDP_IPV6
    if header is None or not header.description & of_gtpu:
        return None
    ip = header.ipv4 or header.ipv6
    if not header.teid or ip is None or ip.is_unspecified:
        return None
    return FTeid(header.teid, ip)
