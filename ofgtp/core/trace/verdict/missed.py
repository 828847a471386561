"""Of packets that no flow of a session takes, and of Router Solicitations."""

from __future__ import annotations

import shlex
from ipaddress import IPv6Address

from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import Address
from ofgtp.core.trace.known import Case, Known, Verdict
from ofgtp.core.trace.verdict.advice import LOOK, OTHER_FILE

NOT_MADE = (
    "the core network (MME, SMF) has not made it, or has deleted it; those there are: ofgtp"
    " session list"
)


def missed(case: Case) -> Verdict:
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
        return missed(case)
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


def no_downlink(case: Case) -> Verdict:
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
