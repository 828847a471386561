"""What each flow does with a packet, in words."""

from __future__ import annotations

from ipaddress import IPv4Address

from ofgtp.core.flows.flow import cookie_number
from ofgtp.core.flows.pipeline import (
    ACCESS,
    BARE,
    CHOOSE,
    CONTAIN,
    CONTAINER,
    CONTAINER_END,
    CORE,
    DOWNLINK,
    EPOCH,
    FIT,
    FITTED,
    FRAMED,
    GUARD,
    HELD,
    INGRESS,
    INNER_ECN,
    LEASE,
    LOCAL,
    MEASURE,
    NORMALISE,
    ONWARD,
    OTHER_RELAYED,
    OUTER_ECN,
    QFI,
    RELAY,
    RELAY_FORM,
    RELAYED,
    RETYPE,
    ROUTE,
    SHOWN,
    TOO_BIG,
    UNWRAP,
    UPLINK,
)
from ofgtp.core.rules.terms import CONTAINED, ECN_NAMES, ETHERNET_HEADER, OVER_IPV6
from ofgtp.core.trace import choice, probe
from ofgtp.core.trace.explain.hops import drop_reason, far, is_solicitation, set_by
from ofgtp.core.trace.explain.way import CHOOSING, CONTAINER_FOUND, EXTENDED_FORM, REFUSED_FOR, Way
from ofgtp.core.trace.oftrace import Hop, Tunnel
from ofgtp.core.trace.verdict import TABLES


def says(way: Way, hop: Hop) -> str:
    """What a flow does with the packet, whosever it is."""
    match way.owner(hop):
        case "":
            return "no flow matches: dropped"
        case "other":
            cookie = f"cookie {hop.cookie:#x}, " if hop.cookie else ""
            return (
                f"NOT OFGTP'S FLOW ({cookie}priority {hop.priority}):"
                f" {hop.match or 'any packet'}, actions {', '.join(hop.actions)}"
            )
        case "drop":
            return f"dropped: {drop_reason(hop).meaning}"
    return _in_words(way, hop)


def _in_words(way: Way, hop: Hop) -> str:
    """What a flow of ofgtp's does that does not drop."""
    packet, gateway = way.case.packet, way.case.gateway
    table, out = TABLES.get(hop.table), way.ports(hop.outputs, " and ")
    if table is INGRESS:
        return _came_by(way, hop)
    if table is ACCESS:
        ours = probe.local_ip(packet, way.case.gateway)
        return f"GTP-U to {ours}, and {packet.peer} may send it"
    if table is OUTER_ECN:
        if hop.priority:
            marked, by = ECN_NAMES[packet.outer_ecn], probe.unwrapped_by(packet, gateway)
            return f"a router on its way has marked it {marked}: {by} unwraps it"
        return "no router on its way has marked it (ECN)"
    if table is RELAY_FORM:
        return "may be sent on as it came, if it is a relay's"
    if table is RELAY:
        if way.owner(hop) == "ofgtp":
            return "of no relay: it is looked at"
        return f"{_whose(way, hop)}: TEID {packet.teid:#x}{_into(hop)}"
    if table in (RELAYED, OTHER_RELAYED):
        if way.registers.get(REFUSED_FOR):
            return "refused"
        return f"leaves as it came, in its new tunnel to {way.far}"
    if table in CHOOSING:
        return _chosen(way, hop)
    if table is ONWARD:
        return f"into a tunnel again, to {way.far}"
    if table is FRAMED:
        if packet.direction == "uplink":
            return f"from UE to UE: {packet.destination} is one's, or behind one"
        return f"{packet.destination} is behind a UE, by a framed route"
    if table is HELD:
        return "the session is idle: to where such packets are shown, or its way is closed"
    if table is SHOWN:
        return "to the controller, which holds it, or tells who wants to know of it"
    if table is LEASE:
        to = ": to LOCAL, where the switch unwraps it" if hop.outputs else ""
        return f"no lease has run out{to}"
    if table is NORMALISE:
        extended = any(action.startswith("encap(nsh") for action in hop.actions)
        what = "an extension header" if extended else f"an IPv{packet.version} packet"
        return f"a T-PDU with {what}: round by the patch"
    if table is RETYPE:
        teid, kept = way.registers.get(0, 0), way.registers.get(1, 0)
        peer = packet.peer if kept >= OVER_IPV6 else IPv4Address(kept)
        rightly = f"goto_table:{EPOCH.number}" in hop.actions
        then = "of what is typed rightly" if rightly else "of what must be parsed anew"
        return f"keeps TEID {teid:#x} and peer {peer}, {then}"
    if table is BARE:
        return f"it is an IPv{packet.version} packet"
    if table is CONTAINER:
        octets = 4 * (way.registers.get(EXTENDED_FORM, 0) & 0xF)
        kind = " of PDU type 0, as if downlink" if way.of_type_0 else ""
        return f"PDU Session Container of {octets} octets found{kind}: QFI {way.qfi}"
    if table is CONTAINER_END:
        follows = f"an IPv{packet.version} packet follows it"
        return f"{follows}: all in front is made one header to take off"
    if table is UNWRAP:
        return "the container is taken off"
    if table is EPOCH:
        return "all pass it; it keeps the switch's cache right"
    if table is INNER_ECN:
        if hop.priority:
            return f"the mark goes into the UE's packet: {ECN_NAMES[packet.outer_ecn]}"
        return "no mark that goes into the UE's packet"
    if is_solicitation(hop):
        return "a Router Solicitation: to the controller, which answers it"
    if table is UPLINK and way.owner(hop) == "ofgtp":
        return "what a UE asks its router"
    if table is UPLINK:
        pinned = f", from {packet.peer}" if "reg1=" in hop.match else ""
        return f"{_whose(way, hop)}: TEID {packet.teid:#x}, from {packet.source}{pinned}"
    if table is QFI:
        if not way.registers.get(CONTAINER_FOUND, 0) & CONTAINED:
            return "no container, and the session does not require one"
        alone = f"reg3={CONTAINED:#x}/" not in hop.match
        return f"QFI {way.qfi} is " + ("the session's" if alone else "as good as any other")
    if table is GUARD:
        if way.owner(hop) != "ofgtp":
            return f"{packet.destination} is behind a UE, by a framed route"
        if way.to_ue:
            return f"{packet.destination} is a UE too, and UEs may send to each other"
        return f"UEs may send to {packet.destination}"
    if table is ROUTE:
        if "reg2=" in hop.match:
            return f"{packet.size} octets do not fit the core side"
        return f"to MAC address {set_by(hop, 'eth_dst')}, out by {out}"
    if table is CORE:
        if way.owner(hop) != "ofgtp":
            return f"{packet.destination} is behind a UE, by a framed route"
        return f"{packet.destination} is in a UE pool"
    if table is FIT:
        fits = "do not fit" if "reg2" in hop.match else "fit"
        return f"{packet.size} octets {fits} the access side"
    if table is FITTED:
        return "what fits begins here"
    if table is TOO_BIG:
        return "goes no further; its sender is told by ICMP"
    if table is DOWNLINK:
        into, asks = _into(hop), f"goto_table:{CHOOSE.number}" in hop.actions
        if asks and not into:
            return f"{_whose(way, hop)}: its rules are asked"
        unless = (
            f", unless a {way.case.session.kind} takes it"
            if asks and way.case.session.bearers
            else ""
        )
        return f"{_whose(way, hop)}{into}{way.with_qfi}{unless}"
    if table is MEASURE:
        return f"{(hop.limit or 0) - ETHERNET_HEADER} octets fit with a container"
    if table is CONTAIN:
        if "reg2=" in hop.match:
            return f"{packet.size} octets do not fit the access side with a container"
        return (
            f"PDU Session Container put in front{way.with_qfi}; nftables sets its flag (E) on"
            " the way out"
        )
    if table is LOCAL:
        return f"GTP-U of the gateway's: out by {out}"
    purpose = f"{table.purpose} " if table else ""
    return f"{purpose}({', '.join(hop.actions)})"


def _chosen(way: Way, hop: Hop) -> str:
    """What took it of a session that has more than one rule for it."""
    into, taken = _into(hop), way.taken
    whole = taken is not None and not taken.rule.id and taken.by is None
    if hop.priority == 0 or whole:
        session = way.case.session
        some = f"none of its {session.kind}s' filters matches: " if session.bearers else ""
        return f"{some}as the session's own{into}"
    if way.owner(hop) == "ofgtp":
        return f"goes on in its tunnel, to {way.far}"
    if taken is None:
        return f"{_whose(way, hop)}, of priority {hop.priority}{into}"
    why = "it has no filters" if taken.by is None else f"{choice.in_words(taken.by)} matches"
    if not taken.rule.id:
        return f"{_whose(way, hop)}{into}: {why}"
    precedence = f"precedence {taken.rule.precedence}"
    called = way.case.session.called(taken.rule.id)
    return f"{called}, {precedence}, takes it{into}: {why}"


def _whose(way: Way, hop: Hop) -> str:
    if hop.cookie == way.case.session.cookie:
        return f"flow of {way.case.session.name}"
    return f"flow of another session (number {cookie_number(hop.cookie)})"


def _came_by(way: Way, hop: Hop) -> str:
    gateway = way.case.gateway
    ect_1, ce = gateway.ecn_ports
    ways = {
        **dict.fromkeys(gateway.access_ends, "came in by the access port"),
        **dict.fromkeys(gateway.core_ends, "came in by the core port"),
        gateway.gtpu_port: "came out of its tunnel by the gtpu port",
        ect_1: "came out of its tunnel by the gtpu port for what is marked ECT(1)",
        ce: "came out of its tunnel by the gtpu port for what is marked CE",
        gateway.loop_ports[1]: "came round by the patch port",
        "LOCAL": "came by LOCAL, wrapped by the switch",
    }
    asked = hop.match.replace('"', "").split(",")
    return next((says for port, says in ways.items() if f"in_port={port}" in asked), hop.match)


def entered(way: Way, hop: Hop) -> str:
    """The title of a part that is not the first of its trace."""
    gateway = way.case.gateway
    if "in_port=LOCAL" in hop.match:
        return f"In its new tunnel, by LOCAL ({gateway.bridge})"
    return f"Round by the patch, to {gateway.loop_ports[1]}"


def _into(hop: Hop) -> str:
    """The tunnel that a flow sets, if it does."""
    teid, to = set_by(hop, "tun_id"), far(hop)
    return f": into tunnel {teid} to {to}" if teid and to else ""


def wrapped(tunnel: Tunnel) -> str:
    """What the switch puts around a packet, by the tunnel that was set."""
    kind = "GTP-U" if tunnel.dst.version == 4 else "GRE, of which nftables makes GTP-U"
    return (
        f"wrapped: {kind}, TEID {tunnel.teid:#x}, {tunnel.src} > {tunnel.dst},"
        f" DSCP {tunnel.dscp}; MAC address {tunnel.dst_mac}"
    )
