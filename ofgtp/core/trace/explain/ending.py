"""What comes of a packet: what the last flow does with it."""

from __future__ import annotations

from ipaddress import ip_address

from ofgtp.core.flows.pipeline import (
    CHOOSE,
    CONTAIN,
    DOWNLINK,
    LOCAL,
    NORMALISE,
    ONWARD,
    ROUTE,
    SHOWN,
    TOO_BIG,
    DropReason,
)
from ofgtp.core.trace import verdict
from ofgtp.core.trace.explain.hops import drop_reason, is_solicitation
from ofgtp.core.trace.explain.way import Way
from ofgtp.core.trace.known import Verdict
from ofgtp.core.trace.oftrace import Hop, Trace


def end_of(way: Way, trace: Trace, hops: tuple[Hop, ...]) -> Verdict:
    """What the last flow does with it."""
    case = way.case
    if not hops:
        return verdict.refused(case, "nothing that can be read (--raw shows it)")
    last, owner = hops[-1], way.owner(hops[-1])
    if way.exit in last.outputs:
        return _delivered(way, trace, last)
    for note in last.notes:
        if "native tunnel routing failed" in note:
            return verdict.no_route(case, ip_address(way.far or "0.0.0.0"))
        if "neighbor cache miss" in note:
            return verdict.no_arp(case, ip_address(way.far or "0.0.0.0"))
        if "Nonexistent output port" in note:
            return verdict.no_port(case, _leads_to(way, last))
        if note.startswith(">>"):
            return verdict.refused(case, note.removeprefix(">>"))
    if not owner:
        return verdict.no_match(case, last)
    if owner == "other":
        return verdict.foreign(case, last)
    if owner == "drop":
        reason = drop_reason(last)
        if reason is DropReason.TOO_BIG:
            return verdict.too_big_relayed(case)
        return verdict.dropped(case, reason, way.taken)
    if last.table == TOO_BIG.number:
        asked = next(hop for hop in reversed(hops) if hop.limit is not None)
        if case.packet.direction == "uplink" and not way.to_ue:
            return verdict.too_big_uplink(case, asked)
        return verdict.too_big(case, asked)
    if last.table == SHOWN.number:
        return verdict.held(case, way.taken)
    if is_solicitation(last):
        return verdict.solicited(case)
    return verdict.refused(case, f"{verdict.place(last)}: {', '.join(last.actions)}")


def _leads_to(way: Way, hop: Hop) -> str:
    """The name of the port that a flow sends to, where the switch knows its number alone."""
    gateway = way.case.gateway
    names = {
        NORMALISE.number: gateway.loop_ports[0],
        ROUTE.number: gateway.core_device,
        **{each.number: gateway.gtpu_port for each in (DOWNLINK, CHOOSE, CONTAIN, ONWARD)},
        LOCAL.number: gateway.access_port,
    }
    return names.get(hop.table, way.ports(hop.outputs, ", "))


def _delivered(way: Way, trace: Trace, last: Hop) -> Verdict:
    gateway, tunnel = way.case.gateway, trace.tunnel
    if tunnel is not None:
        where = f"for {tunnel.dst}, in tunnel {tunnel.teid:#x}{way.with_qfi}"
    elif gateway.host_core:
        where = "for the host, which routes it on"
    else:
        of_ipv6 = way.case.packet.version == 6
        where = f"for the next hop {gateway.next_hop6 if of_ipv6 else gateway.next_hop}"
    by = way.taken.rule.id if way.taken else ""
    whose = f", as {way.case.session.called(by)}'s" if by else ""
    return Verdict(True, f"it leaves by {gateway.port_of(way.exit)} {where}{whose}")
