"""Of packets that a flow of ofgtp's drops, and why; and of those held for an idle UE."""

from __future__ import annotations

from dataclasses import replace

from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import QFI_MAX
from ofgtp.core.rules.container import units_max
from ofgtp.core.rules.terms import ECN_NAMES, EXTENDED
from ofgtp.core.trace.choice import Taken
from ofgtp.core.trace.known import Case, Verdict
from ofgtp.core.trace.verdict import of_rules
from ofgtp.core.trace.verdict.advice import LOOK, OTHER_FILE, ends
from ofgtp.core.trace.verdict.missed import missed, no_downlink

HELD = "held"
"""The reason of a packet that goes no further now, and waits at the controller."""


def dropped(case: Case, reason: DropReason, taken: Taken | None = None) -> Verdict:
    """A flow of ofgtp's dropped it; `taken` is the session's rule that had it before."""
    match reason:
        case DropReason.NO_UPLINK_SESSION:
            return missed(case)
        case DropReason.NEIGHBOUR_DISCOVERY if case.packet.solicits:
            return missed(case)
        case DropReason.UNKNOWN_UE:
            return no_downlink(case)
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
                f" (systemctl restart ofgtp){ends(gateway)}",
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
                f" (ue_ipv6){ends(gateway)}",
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
                f" restart ofgtp{ends(gateway)}",
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
