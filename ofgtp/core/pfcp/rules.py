"""PDRs with their FARs and QERs -> rules (TS 29.244, 5.2).

Downlink packets that a FAR buffers (BUFF) are shown to the controller, which holds them, and so are
those of which a control plane wants to be told though it drops them (NOCP). What comes from the
access side and is to be buffered is dropped, and counts as for an idle UE. Where a quota of a URR
is used up, the packets of its PDRs are dropped, whatever their FARs say.

The direction is the Source Interface's. A PDI that names neither an F-TEID nor a UE address has the
session's: several control planes leave it out in the PDRs of dedicated bearers, although 5.2.1
wants a key in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ofgtp.core.filters import FilterError, Network, PacketFilter
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import FTeid
from ofgtp.core.pfcp.session import PfcpSession, local_teid
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import Action, Creation, FailedRule, Gate, Interface, RuleKind
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.grouped import CreateFar, CreatePdr, CreateQer, ForwardingParameters
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.sdf import packet_filter
from ofgtp.core.pfcp.wire.values import SdfFilter, UeIpAddress
from ofgtp.core.rules.filters import matches, versions_of
from ofgtp.core.rules.terms import ICMPV6
from ofgtp.core.sessions.check import FLOWS_MAX
from ofgtp.core.sessions.detail import RATE_MAX_KBPS
from ofgtp.core.sessions.rule import (
    LOWEST_PRECEDENCE,
    Forward,
    Held,
    Refused,
    Rule,
    Source,
    ToCore,
    Tunnel,
)

METERS_MAX = 2
"""Rates of a rule in one direction: the switch has two tables for them on a packet's way."""

ALL_ROUTERS = IPv6Address("ff02::2")
"""To whom Router Solicitations go (RFC 4861, 4.1)."""

_SOURCES = {
    Interface.ACCESS: Source.ACCESS,
    Interface.CORE: Source.CORE,
    Interface.SGI_LAN: Source.CORE,
    Interface.CP_FUNCTION: Source.CONTROL,
}


@dataclass(frozen=True, slots=True)
class Made:
    """What becomes of a session's PDRs."""

    rules: tuple[Rule, ...]
    limits: tuple[tuple[int, int], ...]
    """Places in the session's list of meters, and kbit/s."""
    ue_ip: IPv4Address | None
    framed_routes: tuple[Network, ...]
    teids: tuple[int, ...]
    """TEIDs of ours that PDRs have, and none of the rules."""
    ue_ipv6: IPv6Network | None = None
    router: FTeid | None = None
    """Where Router Solicitations go; None: to no control plane."""


def rules_of(session: PfcpSession, *, ipv6: bool = False) -> Made:
    """The rules of a session, in the order in which they are asked; without `ipv6` UEs have IPv4
    addresses alone here, whatever else they are given.

    Rules that no packet of a UE can meet are left out, and those that wait for a key. That for
    Router Solicitations, which come from a link-local address, is none of them but `Made.router`.

    Raises:
        Refusal: a rule cannot be carried out; it is named.
    """
    return _Making(session, ipv6=ipv6).made()


class _Making:
    def __init__(self, session: PfcpSession, *, ipv6: bool) -> None:
        self._session, self._ipv6 = session, ipv6
        self._descriptions = _descriptions(session.pdrs.values())
        self._pdrs = sorted(session.pdrs.values(), key=_order)
        self._ue_ip, self._ue_ipv6 = _only_addresses(self._pdrs, ipv6=ipv6)
        self._framed = tuple(dict.fromkeys(_framed(self._pdrs, ipv6=ipv6)))
        own: tuple[Network, ...] = ()
        if self._ue_ip is not None:
            own = (IPv4Network((int(self._ue_ip), 32)),)
        if self._ue_ipv6 is not None:
            own += (self._ue_ipv6,)
        self._ue = own and (*own, *self._framed)
        self._uplink_teid = next(
            (
                teid
                for pdr in reversed(self._pdrs)
                if pdr.pdi.source_interface is Interface.ACCESS and (teid := local_teid(pdr))
            ),
            None,
        )

    def made(self) -> Made:
        session = self._session
        rules = [*_unseen_where_it_can_be([r for pdr in self._pdrs for r in self._rule(pdr)])]
        rules = self._without_waiting(rules)
        limits = tuple(
            (2 * session.places[qer.qer_id] + direction, min(rate, RATE_MAX_KBPS))
            for qer in session.qers.values()
            for direction, rate in enumerate(qer.mbr or ())
            if rate
        )
        rules = [*_one_meter_unseen(rules, dict(limits))]
        _check_meters(rules)
        _check_flows(rules)
        used = {place for rule in rules for place in rule.meters}
        teids = [teid for pdr in self._pdrs if (teid := local_teid(pdr)) is not None]
        of_rules = {rule.teid for rule in rules}
        return Made(
            tuple(rules),
            tuple(limit for limit in limits if limit[0] in used),
            self._ue_ip,
            self._framed,
            tuple(dict.fromkeys(teid for teid in teids if teid not in of_rules)),
            self._ue_ipv6,
            self._router(),
        )

    def _router(self) -> FTeid | None:
        """The tunnel to a control plane by which the first rule for Router Solicitations leads."""
        if self._ue_ipv6 is None:
            return None
        for pdr in self._pdrs:
            parameters = self._session.fars[pdr.far_id or 0].forwarding_parameters
            if (
                pdr.pdi.source_interface is not Interface.ACCESS
                or parameters is None
                or parameters.destination_interface is not Interface.CP_FUNCTION
                or not any(self._solicits(sdf, pdr) for sdf in pdr.pdi.sdf_filters)
            ):
                continue
            qers = [self._session.qers[number] for number in pdr.qer_ids]
            forward = _forward(self._session.fars[pdr.far_id or 0], qers, Source.ACCESS)
            if isinstance(forward, Tunnel):
                return forward.to
        return None

    def _solicits(self, sdf: SdfFilter, pdr: CreatePdr) -> bool:
        """Whether Router Solicitations are among what a filter takes."""
        each = packet_filter(self._described(sdf, pdr))
        if each is None or each.protocol not in (None, ICMPV6):
            return False
        to = each.remote
        return to is None or (isinstance(to, IPv6Network) and ALL_ROUTERS in to)

    def _without_waiting(self, rules: Sequence[Rule]) -> list[Rule]:
        """Without downlink rules that have had no tunnel so far, where another one stands behind
        them: their packets take the next that matches, as in Open5GS's user plane. Some base
        stations never give a dedicated flow a tunnel."""
        downlink = [rule for rule in rules if rule.teid is None]
        waiting = {
            rule.id
            for rule in downlink[:-1]
            if rule.forward in (Refused(DropReason.IDLE_UE), Held()) and self._has_no_tunnel(rule)
        }
        return [rule for rule in rules if rule.teid is not None or rule.id not in waiting]

    def _has_no_tunnel(self, rule: Rule) -> bool:
        parameters = self._session.fars[
            self._session.pdrs[int(rule.id)].far_id or 0
        ].forwarding_parameters
        return parameters is None or parameters.outer_header_creation is None

    def _rule(self, pdr: CreatePdr) -> Iterator[Rule]:
        pdi, name = pdr.pdi, FailedRule(RuleKind.PDR, pdr.pdr_id)
        source = _SOURCES.get(pdi.source_interface)
        if source is None:
            reason = f"packets do not come from there: {pdi.source_interface.name}"
            raise Refusal(Cause.MANDATORY_IE_INCORRECT, reason, Ie.SOURCE_INTERFACE, name)
        uplink = source is Source.ACCESS
        try:
            filters = self._filters(pdr, uplink=uplink)
        except Refusal as error:
            raise Refusal(error.cause, error.reason, error.ie, error.rule or name) from None
        if filters is None:
            return
        teid = local_teid(pdr)
        if teid is None and uplink:
            teid = self._uplink_teid
        ue = self._ue
        far = self._session.fars[pdr.far_id or 0]
        qers = [self._session.qers[number] for number in pdr.qer_ids]
        forward = _forward(far, qers, source)
        if self._session.usage.is_closed(pdr.urr_ids):
            forward = Refused(DropReason.QUOTA_EXHAUSTED)
        if (teid is None and (uplink or not ue)) or (isinstance(forward, ToCore) and not ue):
            # Nothing can come by it: it waits for a key that an update will bring.
            return
        rule = Rule(
            id=str(pdr.pdr_id),
            source=source,
            precedence=LOWEST_PRECEDENCE if pdr.precedence is None else pdr.precedence,
            forward=forward,
            teid=teid,
            ue=ue,
            filters=filters,
            qfis=pdi.qfis if uplink else (),
            meters=self._meters(qers, name, uplink=uplink),
        )
        blind = not uplink or (isinstance(forward, Tunnel) and not ue)
        if filters and teid is not None and blind:
            told = "of a session without UE address" if uplink else "from the core side"
            reason = f"what comes in a tunnel {told} cannot be told by filters"
            raise Refusal(Cause.NOT_SUPPORTED, reason, Ie.SDF_FILTER, name)
        if uplink and not filters and _is_forwarding(far):
            yield replace(rule, ue=(), qfis=(), meters=())
            return
        if teid is None or uplink:
            yield rule
            return
        yield replace(rule, ue=())

    def _filters(self, pdr: CreatePdr, *, uplink: bool) -> tuple[PacketFilter, ...] | None:
        """None: no packet of the UE can match."""
        made, seen = [], False
        for sdf in pdr.pdi.sdf_filters:
            each = packet_filter(self._described(sdf, pdr))
            if each is None:
                continue
            seen = True
            if not self._can_meet(each):
                continue
            try:
                matches(each, versions_of(self._ue), uplink=uplink)
            except FilterError as error:
                raise Refusal(Cause.RULE_FAILURE, str(error), Ie.SDF_FILTER) from None
            made.append(each)
        return None if seen and not made else tuple(made)

    def _can_meet(self, each: PacketFilter) -> bool:
        """Whether packets of the UE's can be of its IP version; and none goes to a group."""
        ends = [end for end in (each.remote, each.local) if isinstance(end, Network)]
        versions = {prefix.version for prefix in self._ue} or {4}
        groups = any(end.is_multicast for end in ends if end.version == 6)
        return not groups and all(end.version in versions for end in ends)

    def _described(self, sdf: SdfFilter, pdr: CreatePdr) -> SdfFilter:
        """Named by its number alone, a filter is as it stands in another PDR (8.2.5)."""
        if sdf.filter_id is None or sdf.description is not None:
            return sdf
        known = self._descriptions.get(sdf.filter_id)
        if known is None:
            rule = FailedRule(RuleKind.PDR, pdr.pdr_id)
            reason = f"SDF filter {sdf.filter_id} is described nowhere in the session"
            raise Refusal(Cause.RULE_FAILURE, reason, Ie.SDF_FILTER, rule)
        return known

    def _meters(
        self, qers: Sequence[CreateQer], rule: FailedRule, *, uplink: bool
    ) -> tuple[int, ...]:
        direction = 0 if uplink else 1
        rates = {
            qer.qer_id: qer.mbr[direction]
            for qer in qers
            if qer.mbr is not None and qer.mbr[direction]
        }
        if len(rates) > METERS_MAX:
            reason = f"{len(rates)} QERs with a rate in one direction, of at most {METERS_MAX}"
            raise Refusal(Cause.NO_RESOURCES, reason, Ie.QER_ID, rule)
        # Those that most PDRs share come first: they may be common to all of a tunnel.
        shares = {number: self._sharing(number) for number in rates}
        ordered = sorted(rates, key=lambda number: (-shares[number], number))
        places = self._session.places
        return tuple(2 * places[number] + direction for number in ordered)

    def _sharing(self, qer: int) -> int:
        return sum(qer in pdr.qer_ids for pdr in self._pdrs)


def _order(pdr: CreatePdr) -> tuple[int, int]:
    """Lower precedences first, and of two that are equal the lower id."""
    return LOWEST_PRECEDENCE if pdr.precedence is None else pdr.precedence, pdr.pdr_id


def _descriptions(pdrs: Iterable[CreatePdr]) -> Mapping[int, SdfFilter]:
    return {
        sdf.filter_id: sdf
        for pdr in pdrs
        for sdf in pdr.pdi.sdf_filters
        if sdf.filter_id is not None and sdf.description is not None
    }


def _only_addresses(
    pdrs: Iterable[CreatePdr], *, ipv6: bool
) -> tuple[IPv4Address | None, IPv6Network | None]:
    """The UE's address and prefix, which are the same in all PDRs that name them."""
    v4: IPv4Address | None = None
    v6: IPv6Network | None = None
    for pdr in pdrs:
        ue = pdr.pdi.ue_ip_address
        if ue is None:
            continue
        name = FailedRule(RuleKind.PDR, pdr.pdr_id)
        if ue.choose_ipv4 or ue.choose_ipv6:
            reason = "UE addresses are the control plane's to choose (UEIP)"
            raise Refusal(Cause.NOT_SUPPORTED, reason, Ie.UE_IP_ADDRESS, name)
        prefix = prefix_of(ue) if ipv6 else None
        if ue.ipv4 is None and prefix is None:
            reason = "it has an IPv6 address only, and the gateway has no IPv6 UE pools"
            raise Refusal(Cause.NO_RESOURCES, reason, Ie.UE_IP_ADDRESS, name)
        for found, given in ((v4, ue.ipv4), (v6, prefix)):
            if None not in (found, given) and found != given:
                reason = f"a session has one UE address, and this one has {found} and {given}"
                raise Refusal(Cause.RULE_FAILURE, reason, Ie.UE_IP_ADDRESS, name)
        v4, v6 = ue.ipv4 or v4, prefix or v6
    return v4, v6


def prefix_of(ue: UeIpAddress) -> IPv6Network | None:
    """A UE's IPv6 prefix: a /64 unless it is said to be another (TS 29.244, 8.2.62)."""
    if ue.ipv6 is None:
        return None
    length = ue.prefix_length or _PREFIX_BITS - (ue.delegated_bits or 0)
    return IPv6Network((int(ue.ipv6), min(max(length, 0), 128)), strict=False)


_PREFIX_BITS = 64


def _framed(pdrs: Iterable[CreatePdr], *, ipv6: bool) -> Iterator[Network]:
    """Of a Framed-Route (RFC 2865, 5.22) or a Framed-IPv6-Route (RFC 3162, 2.5) the prefix, which
    stands first."""
    for pdr in pdrs:
        for text in pdr.pdi.framed_routes:
            try:
                yield IPv4Network(text.split()[0])
            except (ValueError, IndexError):
                raise _no_prefix(pdr, text, "IPv4", Ie.FRAMED_ROUTE) from None
        for text in pdr.pdi.framed_ipv6_routes if ipv6 else ():
            try:
                yield IPv6Network(text.split()[0])
            except (ValueError, IndexError):
                raise _no_prefix(pdr, text, "IPv6", Ie.FRAMED_IPV6_ROUTE) from None


def _no_prefix(pdr: CreatePdr, text: str, version: str, ie: Ie) -> Refusal:
    rule = FailedRule(RuleKind.PDR, pdr.pdr_id)
    return Refusal(Cause.RULE_FAILURE, f"{text!r} is no {version} prefix", ie, rule)


def _forward(far: CreateFar, qers: Sequence[CreateQer], source: Source) -> Forward:
    uplink = source is Source.ACCESS
    closed = any(qer.gate_status[0 if uplink else 1] is Gate.CLOSED for qer in qers)
    action, parameters = far.apply_action, far.forwarding_parameters
    rule = FailedRule(RuleKind.FAR, far.far_id)
    if not action & (Action.DROP | Action.FORW | Action.BUFF):
        reason = f"none of DROP, FORW and BUFF is among {int(action):#x}"
        raise Refusal(Cause.NOT_SUPPORTED, reason, Ie.APPLY_ACTION, rule)
    to = None if parameters is None else _destination(parameters, rule)
    if closed:
        return Refused(DropReason.GATE_CLOSED)
    if action & (Action.BUFF | Action.NOCP) and not action & Action.FORW and source is Source.CORE:
        return Held()
    if action & Action.DROP:
        return Refused(DropReason.FAR_DROP)
    if action & Action.BUFF or parameters is None:
        return Refused(DropReason.IDLE_UE)
    if to is not None:
        return Tunnel(to, None if uplink else _octet(qers))
    core = parameters.destination_interface in (Interface.CORE, Interface.SGI_LAN)
    if core and uplink and parameters.outer_header_creation is None:
        return ToCore()
    return Refused(DropReason.IDLE_UE)


def _is_forwarding(far: CreateFar) -> bool:
    """Whether what comes from a base station goes on to one: indirect forwarding in a handover
    (TS 23.502, 4.9.1.3). These are packets to the UE, which have passed their rates before, in
    containers for base stations (TS 38.415, 5.4.1), maybe with PDCP numbers behind them."""
    parameters = far.forwarding_parameters
    return parameters is not None and parameters.destination_interface is Interface.ACCESS


def _destination(parameters: ForwardingParameters, rule: FailedRule) -> FTeid | None:
    """The tunnel that packets leave by; None if there is none, or none yet."""
    header = parameters.outer_header_creation
    if header is None:
        return None
    if not header.description & (Creation.GTPU_UDP_IPV4 | Creation.GTPU_UDP_IPV6):
        reason = "the outer header is none of GTP-U"
        raise Refusal(Cause.NOT_SUPPORTED, reason, Ie.OUTER_HEADER_CREATION, rule)
    to = header.ipv4 or header.ipv6
    if to is None or not header.teid or to.is_unspecified:
        return None  # as simulators say that there is no tunnel yet
    return FTeid(header.teid, to)


def _octet(qers: Sequence[CreateQer]) -> int | None:
    """RQI and QFI of the container, if a QER names a QFI."""
    for qer in qers:
        if qer.qfi:
            return (0x40 if qer.rqi else 0) | qer.qfi
    return None


def _unseen_where_it_can_be(rules: Sequence[Rule]) -> Iterator[Rule]:
    """Rules by which packets go from tunnel to tunnel do not look into them, where none of the
    same tunnel has to. Of these the first takes all that comes."""
    seen = {
        rule.teid
        for rule in rules
        if rule.ue
        and (rule.filters or rule.qfis or rule.meters or isinstance(rule.forward, ToCore))
    }
    taken = set[int]()
    for rule in rules:
        if rule.teid is None or rule.teid in seen:
            yield rule
        elif rule.teid not in taken:
            taken.add(rule.teid)
            yield rule.unseen()


def _one_meter_unseen(rules: Sequence[Rule], rates: Mapping[int, int]) -> Iterator[Rule]:
    """The switch has one meter for packets that it does not look at: that of the lower rate."""
    for rule in rules:
        if rule.tunnelled and rule.meters:
            yield replace(rule, meters=(min(rule.meters, key=lambda place: rates[place]),))
        else:
            yield rule


def _check_meters(rules: Sequence[Rule]) -> None:
    """On a packet's way there is a meter for all rules of its tunnel, and one for its rule."""
    firsts: dict[int | None, set[int | None]] = {}
    for rule in rules:
        firsts.setdefault(rule.teid, set()).add(rule.meters[0] if rule.meters else None)
    for rule in rules:
        if len(rule.meters) == METERS_MAX and len(firsts[rule.teid]) > 1:
            name = FailedRule(RuleKind.PDR, int(rule.id))
            reason = "of two QERs with a rate one has to be that of all PDRs of its tunnel"
            raise Refusal(Cause.NO_RESOURCES, reason, Ie.QER_ID, name)


def _check_flows(rules: Sequence[Rule]) -> None:
    flows = {True: 0, False: 0}
    for rule in rules:
        of_filters = (
            len(matches(each, versions_of(rule.ue), uplink=rule.uplink)) for each in rule.filters
        )
        flows[rule.uplink] += max(sum(of_filters), 1) * max(len(rule.qfis), 1)
        if flows[rule.uplink] > FLOWS_MAX:
            name = FailedRule(RuleKind.PDR, int(rule.id))
            reason = f"the session's filters take more than {FLOWS_MAX} flows"
            raise Refusal(Cause.NO_RESOURCES, reason, Ie.SDF_FILTER, name)
