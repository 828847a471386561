"""PDRs with their FARs and QERs -> rules (TS 29.244, 5.2).

The direction is the Source Interface's. A PDI that names neither an F-TEID nor a UE address has the
session's: several control planes leave it out in the PDRs of dedicated bearers, although 5.2.1
wants a key in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from ofgtp.core.filters import FilterError, PacketFilter
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import FTeid
from ofgtp.core.pfcp.causes import Cause
from ofgtp.core.pfcp.enums import Action, Creation, FailedRule, Gate, Interface, RuleKind
from ofgtp.core.pfcp.errors import Refusal
from ofgtp.core.pfcp.grouped import CreateFar, CreatePdr, CreateQer
from ofgtp.core.pfcp.ies import Ie
from ofgtp.core.pfcp.sdf import packet_filter
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.values import FTeid as Endpoint
from ofgtp.core.pfcp.values import SdfFilter
from ofgtp.core.rules.filters import matches
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
    framed_routes: tuple[IPv4Network, ...]


def rules_of(session: PfcpSession) -> Made:
    """The rules of a session, in the order in which they are asked.

    Rules that no IPv4 packet can meet, such as those for router solicitations, are left out.

    Raises:
        Refusal: a rule cannot be carried out; it is named.
    """
    return _Making(session).made()


class _Making:
    def __init__(self, session: PfcpSession) -> None:
        self._session = session
        self._descriptions = _descriptions(session.pdrs.values())
        self._pdrs = sorted(session.pdrs.values(), key=_order)
        self._ue_ips = [ip for pdr in self._pdrs if (ip := _ue_ip(pdr)) is not None]
        self._framed = tuple(dict.fromkeys(_framed(self._pdrs)))
        self._uplink_teid = next(
            (
                teid
                for pdr in reversed(self._pdrs)
                if pdr.pdi.source_interface is Interface.ACCESS and (teid := _teid(pdr))
            ),
            None,
        )
        self._places = {qer: place for place, qer in enumerate(sorted(session.qers))}

    def made(self) -> Made:
        rules = [rule for pdr in self._pdrs for rule in self._rule(pdr)]
        limits = tuple(
            (2 * self._places[qer.qer_id] + direction, rate)
            for qer in self._session.qers.values()
            for direction, rate in enumerate(qer.mbr or ())
            if rate
        )
        used = {place for rule in rules for place in rule.meters}
        return Made(
            tuple(_unseen_where_it_can_be(rules)),
            tuple(limit for limit in limits if limit[0] in used),
            self._ue_ips[0] if self._ue_ips else None,
            self._framed,
        )

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
        teid = _teid(pdr)
        if teid is None and uplink:
            teid = self._uplink_teid
        ue_ip = _ue_ip(pdr) or (self._ue_ips[0] if self._ue_ips else None)
        if teid is None and (uplink or ue_ip is None):
            # Nothing can come by it: it waits for a key that an update will bring.
            return
        far = self._session.fars[pdr.far_id or 0]
        qers = [self._session.qers[number] for number in pdr.qer_ids]
        yield Rule(
            id=str(pdr.pdr_id),
            source=source,
            precedence=LOWEST_PRECEDENCE if pdr.precedence is None else pdr.precedence,
            forward=_forward(far, qers, uplink=uplink),
            teid=teid,
            ue=() if ue_ip is None else (IPv4Network(ue_ip), *self._framed),
            filters=filters,
            qfis=pdi.qfis if uplink else (),
            meters=self._meters(qers, name, uplink=uplink),
        )

    def _filters(self, pdr: CreatePdr, *, uplink: bool) -> tuple[PacketFilter, ...] | None:
        """None: no IPv4 packet can match."""
        made, seen = [], False
        for sdf in pdr.pdi.sdf_filters:
            each = packet_filter(self._described(sdf, pdr))
            if each is None:
                continue
            seen = True
            if _is_ipv6(each):
                continue
            try:
                matches(each, uplink=uplink)
            except FilterError as error:
                raise Refusal(Cause.RULE_FAILURE, str(error), Ie.SDF_FILTER) from None
            made.append(each)
        return None if seen and not made else tuple(made)

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
        rated = [qer.qer_id for qer in qers if qer.mbr is not None and qer.mbr[direction]]
        if len(rated) > METERS_MAX:
            reason = f"{len(rated)} QERs with a rate in one direction, of at most {METERS_MAX}"
            raise Refusal(Cause.NO_RESOURCES, reason, Ie.QER_ID, rule)
        # Those that most PDRs share come first: they may be common to all of a tunnel.
        shares = {number: self._sharing(number) for number in rated}
        ordered = sorted(rated, key=lambda number: (-shares[number], number))
        return tuple(2 * self._places[number] + direction for number in ordered)

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


def _teid(pdr: CreatePdr) -> int | None:
    fteid = pdr.pdi.local_fteid
    return fteid.teid if isinstance(fteid, Endpoint) else None


def _ue_ip(pdr: CreatePdr) -> IPv4Address | None:
    return None if pdr.pdi.ue_ip_address is None else pdr.pdi.ue_ip_address.ipv4


def _framed(pdrs: Iterable[CreatePdr]) -> Iterator[IPv4Network]:
    """Of a Framed-Route (RFC 2865, 5.22) the prefix, which stands first."""
    for pdr in pdrs:
        for text in pdr.pdi.framed_routes:
            try:
                yield IPv4Network(text.split()[0])
            except (ValueError, IndexError):
                rule = FailedRule(RuleKind.PDR, pdr.pdr_id)
                reason = f"{text!r} is no IPv4 prefix"
                raise Refusal(Cause.RULE_FAILURE, reason, Ie.FRAMED_ROUTE, rule) from None


def _is_ipv6(each: PacketFilter) -> bool:
    networks = (each.remote, each.local)
    return any(getattr(network, "version", 4) == 6 for network in networks)


def _forward(far: CreateFar, qers: Sequence[CreateQer], *, uplink: bool) -> Forward:
    closed = any(qer.gate_status[0 if uplink else 1] is Gate.CLOSED for qer in qers)
    if closed:
        return Refused(DropReason.GATE_CLOSED)
    action, parameters = far.apply_action, far.forwarding_parameters
    if action & Action.DROP:
        return Held() if action & Action.NOCP else Refused(DropReason.FAR_DROP)
    if action & Action.BUFF:
        # What comes up while a tunnel is not there yet has nowhere to go.
        return Refused(DropReason.IDLE_UE) if uplink else Held()
    rule = FailedRule(RuleKind.FAR, far.far_id)
    if not action & Action.FORW:
        reason = f"none of DROP, FORW and BUFF is among {int(action):#x}"
        raise Refusal(Cause.RULE_FAILURE, reason, Ie.APPLY_ACTION, rule)
    if parameters is None:
        reason = "it forwards, and does not say where"
        raise Refusal(Cause.CONDITIONAL_IE_MISSING, reason, Ie.FORWARDING_PARAMETERS, rule)
    header = parameters.outer_header_creation
    if header is None:
        if parameters.destination_interface in (Interface.CORE, Interface.SGI_LAN):
            return ToCore() if uplink else Refused(DropReason.IDLE_UE)
        return Refused(DropReason.IDLE_UE)
    if not header.description & Creation.GTPU_UDP_IPV4 or header.ipv4 is None:
        reason = "the outer header is none of GTP-U over IPv4"
        raise Refusal(Cause.NOT_SUPPORTED, reason, Ie.OUTER_HEADER_CREATION, rule)
    if not header.teid or header.ipv4.is_unspecified:
        return Refused(DropReason.IDLE_UE)  # as simulators say that there is no tunnel yet
    return Tunnel(FTeid(header.teid, header.ipv4), None if uplink else _octet(qers))


def _octet(qers: Sequence[CreateQer]) -> int | None:
    """RQI and QFI of the container, if a QER names a QFI."""
    for qer in qers:
        if qer.qfi:
            return (0x40 if qer.rqi else 0) | qer.qfi
    return None


def _unseen_where_it_can_be(rules: Sequence[Rule]) -> Iterator[Rule]:
    """Rules by which packets go from tunnel to tunnel do not look into them, where none of the
    same tunnel has to."""
    seen = {
        rule.teid
        for rule in rules
        if rule.filters or rule.qfis or rule.meters or isinstance(rule.forward, ToCore)
    }
    for rule in rules:
        if rule.teid is not None and rule.teid not in seen:
            yield rule.unseen()
        else:
            yield rule
