"""Tables ingress, access and local: the access side, and the host's own packets."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from ofgtp.core.flows.flow import Flow, Match, Output, Port, SetInPort, match
from ofgtp.core.flows.pipeline import (
    ACCESS,
    ARP_METER,
    ICMP_ERROR_METER,
    INGRESS,
    LEASE,
    LOCAL,
    NEIGHBOUR_METER,
    OTHER_ARP_METER,
    OUTER_ECN,
    PING_METER,
    RETYPE,
    SENT_METER,
    DropReason,
    Report,
)
from ofgtp.core.model import GTPU_PORT, Gateway
from ofgtp.core.rules.terms import (
    ANY_FRAGMENT,
    ARP,
    ECHO_REPLY,
    ECHO_REQUEST,
    ETHERNET_HEADER,
    HEADER_SAMPLE,
    ICMP,
    ICMP_SAMPLE,
    IPV4,
    PARAMETER_PROBLEM,
    TAGGED,
    TIME_EXCEEDED,
    UDP,
    UNREACHABLE,
    Links,
)


def ingress(links: Links) -> Iterator[Flow]:
    yield INGRESS.flow(100, match(in_port=links.access), goto=ACCESS)
    yield INGRESS.flow(100, match(in_port=links.core), goto=LEASE)
    yield INGRESS.flow(100, match(in_port=Port.LOCAL), goto=LOCAL)
    yield INGRESS.flow(100, match(in_port=links.loop_in), goto=RETYPE)
    for port, first in links.more:
        # From here on it has come by the port that this one is a further way to.
        then = ACCESS if first == links.access else LEASE
        yield INGRESS.flow(100, match(in_port=port), SetInPort(first), goto=then)


def access(gateway: Gateway, links: Links) -> Iterator[Flow]:
    local, ours = Output(Port.LOCAL), gateway.access_ip.ip
    yield ACCESS.drop(110, match(vlan_vid=TAGGED), DropReason.VLAN)
    # The controller learns its peers' MAC addresses from what they answer; the rest tells it when
    # one may have changed.
    show = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    answer = match(dl_type=ARP, arp_op=2, arp_tpa=ours)
    question = match(dl_type=ARP, arp_op=1, arp_tpa=ours)
    yield ACCESS.report(102, answer, Report.ACCESS_ARP, local, show, meter=NEIGHBOUR_METER)
    yield ACCESS.flow(102, question, local, meter=ARP_METER)
    other = match(dl_type=ARP)
    yield ACCESS.report(100, other, Report.ACCESS_ARP, local, show, meter=OTHER_ARP_METER)
    fragment = match(dl_type=IPV4, nw_dst=ours, ip_frag=ANY_FRAGMENT)
    yield ACCESS.drop(100, fragment, DropReason.OUTER_FRAGMENT)

    def icmp(icmp_type: int) -> Match:
        return match(
            dl_dst=links.local_mac, dl_type=IPV4, nw_dst=ours, nw_proto=ICMP, icmp_type=icmp_type
        )

    for icmp_type in (ECHO_REQUEST, ECHO_REPLY):
        yield ACCESS.flow(90, icmp(icmp_type), local, meter=PING_METER)
    # What the access network says of what we send: a base station without its GTP-U program, say.
    show = Output(Port.CONTROLLER, max_len=ICMP_SAMPLE)
    for icmp_type in (UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM):
        reason = DropReason.ICMP_ERROR
        yield ACCESS.drop(90, icmp(icmp_type), reason, show, meter=ICMP_ERROR_METER)

    def gtpu(source: IPv4Network) -> Match:
        return match(
            dl_dst=links.local_mac,
            dl_type=IPV4,
            nw_src=source,
            nw_dst=ours,
            nw_proto=UDP,
            udp_dst=GTPU_PORT,
        )

    anyone = IPv4Network("0.0.0.0/0")
    for prefix in gateway.access_allow or (anyone,):
        yield ACCESS.flow(80, gtpu(prefix), goto=OUTER_ECN)
    if gateway.access_allow and anyone not in gateway.access_allow:
        yield ACCESS.drop(70, gtpu(anyone), DropReason.ACCESS_DENIED)


def local(gateway: Gateway, links: Links) -> Iterator[Flow]:
    access, ours = Output(links.access), gateway.access_ip.ip
    yield LOCAL.flow(100, match(dl_type=ARP), access)
    gtpu = match(dl_type=IPV4, nw_src=ours, nw_proto=UDP, udp_dst=GTPU_PORT)
    # What is longer is no packet that a receiver would take (see the table's purpose).
    out = Output(links.access, links.access_mtu + ETHERNET_HEADER)
    yield LOCAL.flow(100, gtpu, out, meter=SENT_METER)
    for icmp_type in (ECHO_REQUEST, ECHO_REPLY):
        asked = match(dl_type=IPV4, nw_src=ours, nw_proto=ICMP, icmp_type=icmp_type)
        yield LOCAL.flow(100, asked, access)
