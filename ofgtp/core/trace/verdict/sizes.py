"""Of packets that do not fit where they would leave."""

from __future__ import annotations

from ofgtp.core.flows.pipeline import MEASURE
from ofgtp.core.packets.icmpv6 import MTU_MIN
from ofgtp.core.rules.terms import CONTAINER_HEADERS, ETHERNET_HEADER, longest_headers
from ofgtp.core.trace.known import Case, Verdict
from ofgtp.core.trace.oftrace import Hop


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
