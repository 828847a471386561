"""What becomes of a traced packet, why, and what helps: in words for who is on call."""

from __future__ import annotations

import shlex
from dataclasses import replace
from ipaddress import IPv6Address

from ofgtp.core.doctor.finding import ENDS
from ofgtp.core.flows.pipeline import INGRESS, MEASURE, PIPELINE, DropReason
from ofgtp.core.model import QFI_MAX, Address, Gateway
from ofgtp.core.packets.icmpv6 import MTU_MIN
from ofgtp.core.rules.container import units_max
from ofgtp.core.rules.terms import (
    CONTAINER_HEADERS,
    ECN_NAMES,
    ETHERNET_HEADER,
    EXTENDED,
    longest_headers,
)
from ofgtp.core.trace import of_rules
from ofgtp.core.trace.choice import Taken
from ofgtp.core.trace.known import Case, Known, Verdict
from ofgtp.core.trace.oftrace import Hop

TABLES = {table.number: table for table in PIPELINE}

HELD = "held"
"""The reason of a packet that goes no further now, and waits at the controller."""
LOOK = "systemctl status ofgtp; journalctl -eu ofgtp"
OTHER_FILE = (
    "its flows may be of another ofgtp.toml than this one: ofgtp reload takes this one, or says"
    " what needs a restart"
)
NOT_MADE = (
    "the core network (MME, SMF) has not made it, or has deleted it; those there are: ofgtp"
    " session list"
)


def dropped(case: Case, reason: DropReason, taken: Taken | None = None) -> Verdict:
    """A flow of ofgtp's dropped it; `taken` is the session's rule that had it before."""
    match reason:
        case DropReason.NO_UPLINK_SESSION:
            return _missed(case)
        case DropReason.NEIGHBOUR_DISCOVERY if case.packet.solicits:
            return _missed(case)
        case DropReason.UNKNOWN_UE:
            return _no_downlink(case)
        case DropReason.WRONG_BEARER:
            return of_rules.wrong_bearer(case)
        case DropReason.NO_RULE:
            return of_rules.no_rule(case)
        case DropReason.GATE_CLOSED if taken is not None:
            return of_rules.gate_closed(case, taken.rule)
        case DropReason.FAR_DROP if taken is not None and case.session.owner is not None:
            return of_rules.far_drop(case, taken.rule)
        case DropReason.QUOTA_EXHAUSTED if taken is not None:
            return of_rules.quota_exhausted(case, taken.rule)
        case DropReason.IDLE_UE if taken is not None and taken.rule.id:
            return of_rules.idle_bearer(case, taken.rule)
        case DropReason.ERROR_INDICATED if taken is not None and taken.rule.id:
            return of_rules.indicated_bearer(case, taken.rule)
    if taken is not None and taken.rule.container is not None:
        case = replace(case, session=replace(case.session, qos=taken.rule.container))
    says, do, run = _why(case, reason)
    return Verdict(False, says, reason.label, do, run)


def _why(case: Case, reason: DropReason) -> tuple[str, str | None, str | None]:
    packet, session, gateway = case.packet, case.session, case.gateway
    match reason:
        case DropReason.BUFFER_FULL:
            return (
                f"{session.name} is idle, and as many packets wait for it as may",
                "the first that came are held (ofgtp session show: buffer, or what the BAR of its"
                " control plane says), and delivered when it has a downlink again. Is it paged?",
                None,
            )
        case DropReason.IDLE_UE:
            return (
                f"{session.name} is idle: it has no downlink",
                "normal for a phone that sleeps: the core network (MME, SMF) pages it, and gives"
                " the session a downlink again (ofgtp session set)",
                None,
            )
        case DropReason.ERROR_INDICATED:
            onward = session.relay is not None and packet.direction == "uplink"
            far = session.relay if onward else session.downlink
            kind = "the core's peer" if onward else "the base station"
            who = f"{kind} {far.ip}" if far else kind
            tunnel = f"tunnel {far.teid:#x}" if far else "the tunnel"
            return (
                f"{who} has said that it does not know {tunnel} (Error Indication)",
                "it has lost the phone's context, as after a restart: the core network (MME, SMF)"
                " must set the bearer up anew and then the session (ofgtp session set); or let the"
                " phone attach again",
                None,
            )
        case DropReason.LEASE_EXPIRED:
            return (
                "the lease has run out: the controller, which owns the tunnels, has not renewed it",
                "it was killed, hangs or is cut off from the switch: see why, and start it again"
                f" (systemctl restart ofgtp){_ends(gateway)}",
                LOOK,
            )
        case DropReason.ACCESS_DENIED:
            return (
                f"{packet.peer} may not send GTP-U: no prefix of access_allow has it",
                f"if it is a base station of yours, add it to access_allow of gateway"
                f" {gateway.name} in ofgtp.toml, and: ofgtp reload",
                None,
            )
        case DropReason.INNER_IPV6:
            return (
                f"gateway {gateway.name} has no IPv6: no prefix of it is in ue_pools",
                "normal for a phone that tries IPv6 where the session is IPv4 alone. If it shall"
                " have it: an IPv6 prefix in ue_pools, core_ip6 and next_hop6 of gateway"
                f" {gateway.name} in ofgtp.toml, restart ofgtp, and give the session its prefix"
                f" (ue_ipv6){_ends(gateway)}",
                None,
            )
        case DropReason.PROTECTED_DESTINATION:
            return (
                f"no UE may send to {packet.destination}: it is in an access network, an address"
                " of a gateway, loopback, link-local or multicast",
                "this is as it should be; trace the way to another host with --host",
                None,
            )
        case DropReason.UE_TO_UE:
            return (
                f"{packet.destination} is a UE too, and UEs may not send to each other",
                f'if they shall: ue_to_ue = "route" for gateway {gateway.name} in ofgtp.toml, and'
                f" restart ofgtp{_ends(gateway)}",
                None,
            )
        case DropReason.NEXT_HOP_UNRESOLVED if packet.version == 6 and gateway.next_hop6 is None:
            return (
                "the host, which is to route it on, has no IPv6 for it",
                "see what is missing: ofgtp doctor",
                "ofgtp doctor",
            )
        case DropReason.NEXT_HOP_UNRESOLVED if packet.version == 6:
            return (
                f"the next hop {gateway.next_hop6} has not answered neighbour discovery on"
                f" {gateway.core_port}",
                "check the router, its address (next_hop6 in ofgtp.toml), cable and VLAN. Is it"
                " asked, and does it answer?",
                f"tcpdump -ni {gateway.core_port} icmp6",
            )
        case DropReason.NEXT_HOP_UNRESOLVED:
            return (
                f"the next hop {gateway.next_hop} has not answered ARP on {gateway.core_port}",
                "check the router, its address (next_hop in ofgtp.toml), cable and VLAN. Is it"
                " asked, and does it answer?",
                f"tcpdump -ni {gateway.core_port} arp",
            )
        case DropReason.CONTAINER_MISSING:
            return (
                f"{session.name} has a QFI, so it requires a PDU Session Container, and the packet"
                " has none: it is as a 4G base station (eNB) sends it",
                "if its base station is an eNB: ofgtp session set --no-qfi; if it may be either:"
                " --qfi-optional",
                None,
            )
        case DropReason.WRONG_QFI if packet.container:
            wanted = f"QFI {session.qos.qfi}" if session.qos else "another QFI"
            return (
                f"{session.name} takes {wanted} alone (qfi_check), and the container has QFI"
                f" {packet.container[2] & QFI_MAX}",
                "has the core network (SMF) given the base station another QFI, or a further one?"
                " ofgtp session set --qfi, or --no-qfi-check, which takes all",
                None,
            )
        case DropReason.LONG_CONTAINER if packet.container:
            return (
                f"its PDU Session Container has {4 * packet.container[0]} octets, and the switch"
                f" can take off {4 * units_max(EXTENDED)}",
                "the base station measures delays (QoS monitoring, QMP), which makes it longer: the"
                " core network (SMF) or its own configuration can turn that off",
                None,
            )
        case DropReason.NOT_ECN_CAPABLE:
            return (
                f"a router on its way has marked it {ECN_NAMES[packet.outer_ecn]} (congestion: ECN,"
                " RFC 3168), and the UE's packet is not capable of ECN: it is dropped, from which"
                " its sender learns the same (RFC 6040)",
                "the base station must copy the UE's ECN into the outer header (RFC 6040, 4.1), or"
                " leave it 0 there: then routers drop what they now mark. And where is the queue?",
                None,
            )
        case DropReason.BAD_CONTAINER if packet.container[1:2] == b"\0" and session.required:
            return (
                f"{packet.container.hex()} is a downlink PDU Session Container (PDU type 0, TS"
                f" 38.415, 5.5.2.1), and {session.name} requires an uplink one",
                "the base station is at fault, as older simulators are; to take its packets all the"
                " same: ofgtp session set --qfi-optional",
                None,
            )
        case DropReason.BAD_CONTAINER if packet.container:
            return (
                f"{packet.container.hex()} is no uplink PDU Session Container (TS 38.415, 5.5.2.2)",
                "it begins with its length in units of 4 octets, and 0x10 to 0x1f; one of a single"
                " unit goes on with 0x10 and the QFI. The base station is at fault, or its address"
                " is another UPF's",
                None,
            )
        case DropReason.EXTENSION_CHAIN if packet.container:
            last = packet.unwrapped[4 + 4 * packet.container[0] - 1]
            return (
                f"another extension header, of type {last:#04x}, follows its PDU Session Container,"
                " and the switch can take off no more than this one",
                "turn off in the base station what adds it",
                None,
            )
        case DropReason.NOT_IP if packet.container:
            return (
                "no IP packet follows its PDU Session Container",
                "the octets given by --container are not all of it, or too many",
                None,
            )
        case DropReason.TTL_EXPIRED:
            what = "hop limit" if packet.version == 6 else "TTL"
            return (
                f"its {what} of {packet.ttl} ends here: the gateway is a router, and takes 1 off",
                f"normal for traceroute, which sees the gateway by it; else the sender's {what} is"
                " too small, or packets go in circles. With decrement_ttl = false in ofgtp.toml the"
                " gateway is none",
                None,
            )
        case DropReason.FAR_DROP:
            return (
                f"a rule that the control plane has made for {session.name} drops it (FAR)",
                "as the core network (SMF, PGW-C) wants it: look there for why",
                None,
            )
        case DropReason.ACCESS_OTHER | DropReason.CORE_OTHER | DropReason.LOCAL_OTHER:
            return (
                f"the switch does not take it for what it is: {reason.meaning} ({reason.label})",
                OTHER_FILE,
                None,
            )
    return f"{reason.meaning} ({reason.label})", None, None


def _missed(case: Case) -> Verdict:
    """No uplink flow matched. The reasons are those that `uplink_misses_seen` counts."""
    packet, session = case.packet, case.session
    if session.teid is None:
        return Verdict(
            False, f"the switch has no session for {session.who}", "unknown_teid", NOT_MADE
        )
    if packet.teid not in session.teids:
        known = sorted(session.teids, key=lambda teid: (teid != session.teid, teid))
        others = f" (or, of its bearers, {', '.join(map(hex, known[1:]))})" if known[1:] else ""
        return Verdict(
            False,
            f"TEID {packet.teid:#x} is not that of {session.name}, which is {session.teid:#x}"
            f"{others}",
            "unknown_teid",
            "the base station must send with the TEID of the session: has the core network (MME,"
            " SMF) given it another?",
        )
    if packet.solicits:
        return _not_solicited(case)
    if not session.owns(packet.source):
        says = (
            f"tunnel {packet.teid:#x} is for {session.who} alone, and the packet is from"
            f" {packet.source}"
        )
        if of_link(packet.source):
            return Verdict(
                False,
                f"{says}, which is no address beyond the phone's own link",
                "spoofed_source",
                "normal for what a phone says to its neighbours (neighbour discovery, multicast):"
                " it has none here, and nothing of it is forwarded. What it sends to hosts must"
                f" come from {session.of_version(6)}",
            )
        return Verdict(
            False,
            says,
            "spoofed_source",
            "the phone sends with an address that is not its own: a stale one, or one of a device"
            " behind it",
        )
    if session.pin_of(packet.teid) not in (None, packet.peer):
        return _wrong_peer(case)
    return _not_installed(session, "uplink")


def of_link(source: Address) -> bool:
    """Whether an address is for a UE's own link alone: link-local, or none yet."""
    return isinstance(source, IPv6Address) and (source.is_link_local or source.is_unspecified)


def _not_solicited(case: Case) -> Verdict:
    """A Router Solicitation of a known tunnel that the switch does not show to the controller."""
    name = case.gateway.name
    if case.gateway.ue_pools6 and not case.gateway.router_advertisement:
        return Verdict(
            False,
            f"gateway {name} answers no Router Solicitations (router_advertisement = false)",
            "no_router",
            "then the phone must get its prefix otherwise, or: router_advertisement = true in"
            " ofgtp.toml, and: ofgtp reload",
        )
    return Verdict(
        False,
        "the switch does not take it for what it is, a Router Solicitation",
        "not_installed",
        OTHER_FILE,
        LOOK,
    )


def solicited(case: Case) -> Verdict:
    """A Router Solicitation, which the switch shows to the controller."""
    packet, session = case.packet, case.session
    if session.teid is None or packet.teid not in session.teids:
        return _missed(case)
    if session.pin_of(packet.teid) not in (None, packet.peer):
        return _wrong_peer(case)
    if session.ue6 is None:
        return Verdict(
            False,
            f"{session.name} has no IPv6 prefix (ue_ipv6), so its phone is told of no router",
            "no_ipv6",
            "normal where the session is IPv4 alone; if it shall have IPv6, the core network (MME,"
            " SMF) must give it a prefix",
        )
    if not session.tunnels:
        return Verdict(
            False,
            f"{session.name} is idle: there is no tunnel by which its phone could be told",
            DropReason.IDLE_UE.label,
            "the core network (MME, SMF) must give the session its downlink; the phone asks again"
            " within some seconds",
        )
    who = "the controller" if session.id else "the controller, if it runs,"
    if session.owner is not None:
        who = f"control plane {session.owner}, if it has a rule for that, or else {who}"
    return Verdict(
        True, f"{who} tells the phone of its prefix, {session.ue6} (Router Advertisement)"
    )


def _wrong_peer(case: Case) -> Verdict:
    packet, session = case.packet, case.session
    pinned = session.pin_of(packet.teid)
    says = (
        f"the uplink is pinned to {pinned}: T-PDUs are accepted from there alone, and this"
        f" one comes from {packet.peer}"
    )
    do = "after a handover give the session its new uplink.remote_ip, or none"
    run = None
    if packet.peer == session.stranger and packet.teid == session.teid:
        says += ", where the downlink goes"
        do += (
            f". If the base station has two addresses and sends from {session.pinned}, all is"
            f" well: see --peer {session.pinned}"
        )
        if session.id is not None:
            run = f"ofgtp session set {shlex.quote(session.id)} --uplink-peer {packet.peer}"
    return Verdict(False, says, "wrong_peer", do, run)


def _no_downlink(case: Case) -> Verdict:
    session = case.session
    if session.id is None:
        says = f"the switch has no session for {session.who}"
        return Verdict(False, says, DropReason.UNKNOWN_UE.label, NOT_MADE)
    return _not_installed(session, "downlink")


def _not_installed(session: Known, direction: str) -> Verdict:
    return Verdict(
        False,
        f"the {direction} flow of {session.name} is not in the switch",
        "not_installed",
        "ofgtp puts it there while it runs and is connected to the switch (ofgtp status)",
        LOOK,
    )


def too_big(case: Case, asked: Hop) -> Verdict:
    """It does not fit, which this flow found out by its limit."""
    contained = asked.table == MEASURE.number
    headers = longest_headers(case.gateway)
    taken = headers + CONTAINER_HEADERS * contained
    mtu = (asked.limit or 0) - ETHERNET_HEADER + taken
    of = f"{headers} are tunnel headers"
    if contained or (case.packet.direction == "downlink" and case.session.qos):
        # one that is far too long is found out before its session is known
        taken = headers + CONTAINER_HEADERS
        of += f" and {CONTAINER_HEADERS} a PDU Session Container"
    told = "fragmentation needed"
    do = "If large downloads hang all the same, ICMP is lost on its way: let it pass, or raise"
    if case.packet.version == 6:
        told, least = "Packet Too Big", MTU_MIN + headers + CONTAINER_HEADERS
        if mtu < least:
            return Verdict(
                False,
                f"{case.packet.size} octets do not fit: the access MTU of {mtu} leaves"
                f" {mtu - taken}, since {of}",
                "too_big",
                f"IPv6 needs {MTU_MIN} octets on every link, so nobody is told to send less: raise"
                f" the MTU of {case.gateway.access_port} to {least} or more",
                f"ip link set dev {case.gateway.access_port} mtu {least}",
            )
    return Verdict(
        False,
        f"{case.packet.size} octets do not fit: the access MTU of {mtu} leaves {mtu - taken}, since"
        f" {of}",
        "too_big",
        f"its sender is told by ICMP ({told}) to send less. {do} the access network's MTU",
    )


def too_big_relayed(case: Case) -> Verdict:
    """It came in a tunnel, and does not fit where it would leave in one."""
    return Verdict(
        False,
        f"{case.packet.size} octets do not fit: {case.gateway.access_port} takes frames that are"
        " some octets longer than its MTU, and sends none",
        "too_big",
        "have its sender keep to the MTU of the network between it and the gateway, or raise"
        f" that of {case.gateway.access_port}",
    )


def too_big_uplink(case: Case, asked: Hop) -> Verdict:
    """It does not fit the core port, which this flow found out by its limit."""
    mtu, port = (asked.limit or 0) - ETHERNET_HEADER, case.gateway.core_device
    says = f"{case.packet.size} octets do not fit: {port} has an MTU of {mtu}"
    told = "fragmentation needed"
    if case.packet.version == 6:
        told = "Packet Too Big"
        if mtu < MTU_MIN:
            return Verdict(
                False,
                says,
                "too_big_uplink",
                f"IPv6 needs {MTU_MIN} octets on every link, so nobody is told to send less: raise"
                f" the MTU of {port} to {MTU_MIN} or more",
                f"ip link set dev {port} mtu {MTU_MIN}",
            )
    return Verdict(
        False,
        says,
        "too_big_uplink",
        f"the phone is told by ICMP ({told}) to send less. If large uploads hang all"
        f" the same, let the core network (MME, SMF) give UEs an MTU of {mtu} or less, or raise"
        f" that of {port}",
    )


def _called(case: Case, peer: Address) -> str:
    relay = case.session.relay
    kind = "core's peer" if relay is not None and relay.ip == peer else "base station"
    return f"the {kind} {peer}"


def no_arp(case: Case, peer: Address) -> Verdict:
    """The next hop to that base station does not answer."""
    gateway = case.gateway
    hop, who = gateway.access_next_hop(peer), _called(case, peer)
    if hop not in (None, peer):
        who = f"the router {hop}, which leads to {who},"
    of_ipv6 = peer.version == 6
    return Verdict(
        False,
        f"{who} does not answer {'neighbour discovery' if of_ipv6 else 'ARP'} on"
        f" {gateway.access_port}",
        "no_arp",
        "check its address, cable and VLAN. Is it asked, and does it answer?",
        f"tcpdump -ni {gateway.access_port} {'icmp6' if of_ipv6 else 'arp'}",
    )


def no_route(case: Case, peer: Address) -> Verdict:
    """The switch knows no way to that base station."""
    gateway, who = case.gateway, _called(case, peer)
    ours = gateway.access_ip6 if peer.version == 6 else gateway.access_ip
    net = "an access network" if ours is None else ours.network
    if gateway.access_next_hop(peer) is None:
        return Verdict(
            False,
            f"no route leads to {who}: it is not in {net}",
            "no_route",
            f"if the address is right, give the router towards it in access_routes of gateway"
            f" {gateway.name} in ofgtp.toml, and: ofgtp reload",
        )
    return Verdict(
        False,
        f"no route leads to {who}: has {gateway.bridge} lost its address?",
        "no_route",
        f"it must be up and have {ours}; restart ofgtp, which sees to it{_ends(gateway)}",
        f"ip address show {gateway.bridge}",
    )


def not_routed(case: Case, why: str) -> Verdict:
    """The host, which is to route it on, does not."""
    packet, device = case.packet, case.gateway.core_device
    return Verdict(
        False,
        f"it leaves by {device} for the host, which does not route it on: {why}",
        "not_routed",
        "look at the host's routes and its forwarding of IPv6"
        if packet.version == 6
        else "look at the host's routes, ip_forward and rp_filter",
        f"ip route get {packet.destination} from {packet.source} iif {device}",
    )


def not_unwrapped(case: Case) -> Verdict:
    """The switch sends it to LOCAL as it is."""
    gateway = case.gateway
    ours = (gateway.access_ip6 if case.packet.outer_ipv6 else None) or gateway.access_ip
    return Verdict(
        False,
        f"the switch does not take it out of its tunnel: it has no gtpu port for {ours.ip}",
        "not_unwrapped",
        f"is port {gateway.gtpu_port} there (ovs-vsctl show), and {ours} on"
        f" {gateway.bridge}? If not, restart ofgtp, which makes both{_ends(gateway)}",
        f"ip address show {gateway.bridge}",
    )


def no_match(case: Case, hop: Hop) -> Verdict:
    """A table without any flow for it."""
    if hop.table == INGRESS.number:
        return Verdict(
            False,
            f"bridge {case.gateway.bridge} has no flows of ofgtp's",
            "no_flows",
            "start ofgtp (systemctl start ofgtp). It takes its flows away when it is stopped,"
            ' unless ownership = "switch"',
            LOOK,
        )
    return Verdict(
        False,
        f"{place(hop)} has no flow for it, not even the one for all the rest: flows were deleted",
        "no_match",
        "ofgtp puts them back while it runs and is connected to the switch (ofgtp status)",
        LOOK,
    )


def foreign(case: Case, hop: Hop) -> Verdict:
    """A flow of somebody else's ends it."""
    return Verdict(
        False,
        f"a flow that is not ofgtp's ends it in {place(hop)}: {hop.match or 'any packet'},"
        f" actions {', '.join(hop.actions)}",
        "foreign_flow",
        "somebody has added it. To take it out:",
        delete_command(hop, case.gateway),
    )


def held(case: Case, taken: Taken | None) -> Verdict:
    """It is for an idle UE, and is held or its control plane wants to know of it."""
    whose = case.session.named(taken.rule) if taken else case.session.name
    told = "whoever listens to events is told once (downlink_data)"
    if case.session.owner is not None:
        told = "its control plane is told once (Downlink Data Report)"
    return Verdict(
        False,
        f"{whose} is idle: it has no downlink, and the controller has the packet",
        HELD,
        f"normal for a phone that sleeps: {told}, pages it, and gives the session a downlink again."
        " What is held by then is delivered first",
    )


def refused(case: Case, said: str) -> Verdict:
    """The switch will not trace at all, or says itself what is wrong."""
    bridge = case.gateway.bridge
    if "unknown bridge" in said:
        return _not_there(case, f"the switch has no bridge {bridge}", "no_bridge")
    if "unknown port for in_port" in said:
        return no_port(case, said.rpartition("(")[2].partition(":")[0].strip('"'))
    return Verdict(False, f"the switch says: {' '.join(said.split())}", "switch_error")


def no_port(case: Case, port: str) -> Verdict:
    """The bridge lacks a port that the packet needs."""
    return _not_there(case, f"bridge {case.gateway.bridge} has no port {port}", "no_port")


def _ends(gateway: Gateway) -> str:
    """What a restart does to the tunnels, to be said where one is advised."""
    return f"; {ENDS}" if gateway.leased else ""


def _not_there(case: Case, says: str, reason: str) -> Verdict:
    do = "what is in its way? Restart ofgtp, which makes it (systemctl restart ofgtp)"
    do += _ends(case.gateway)
    return Verdict(False, says, reason, do, LOOK)


def place(hop: Hop) -> str:
    """Which table, by number and name."""
    table = TABLES.get(hop.table)
    return f"table {hop.table} ({table.name})" if table else f"table {hop.table}"


def delete_command(hop: Hop, gateway: Gateway) -> str:
    """The command that takes just this flow out."""
    key = ",".join(filter(None, (f"table={hop.table},priority={hop.priority}", hop.match)))
    return f"ovs-ofctl -O OpenFlow14 --strict del-flows {gateway.bridge} '{key}'"
