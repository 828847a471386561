"""Tables ingress, access and local: the access side, and the host's own packets."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from ofgtp.core.flows.flow import (
    CookieKind,
    Flow,
    Match,
    Output,
    Port,
    SetInPort,
    Show,
    Value,
    make_cookie,
    match,
)
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
    SENDER_METER,
    SENT6_METER,
    SENT_METER,
    DropReason,
    Report,
)
from ofgtp.core.model import GTPU_PORT, Gateway
from ofgtp.core.rules.terms import (
    ADVERTISEMENT,
    ANY_FRAGMENT,
    ARP,
    ECHO_REPLY,
    ECHO_REPLY_6,
    ECHO_REQUEST,
    ECHO_REQUEST_6,
    ETHERNET_HEADER,
    GRE,
    HEADER_SAMPLE,
    ICMP,
    ICMP_SAMPLE,
    ICMPV6,
    IPV4,
    IPV6,
    LISTENER_REPORT,
    NEIGHBOURS_HOPS,
    PARAMETER_PROBLEM,
    SOLICITATION,
    TAGGED,
    TAIL_BITS,
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
    if gateway.access_ip6 is not None:
        yield from _access6(gateway, links, gateway.access_ip6.ip)


def _access6(gateway: Gateway, links: Links, ours: IPv6Address) -> Iterator[Flow]:
    """The same over IPv6, with neighbour discovery in place of ARP (RFC 4861): the host answers who
    asks, and of the answers that it gets the switch learns its peers' MAC addresses."""
    local = Output(Port.LOCAL)
    said: dict[str, Value] = {"dl_type": IPV6, "nw_proto": ICMPV6}
    once: dict[str, Value] = said | {"nw_ttl": NEIGHBOURS_HOPS, "icmpv6_code": 0}
    question = match(icmpv6_type=SOLICITATION, nd_target=ours, **once)
    yield ACCESS.flow(102, question, local, meter=ARP_METER)
    answer = match(icmpv6_type=ADVERTISEMENT, ipv6_dst=ours, **once)
    show = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    yield ACCESS.report(102, answer, Report.ACCESS_ARP, local, show, meter=NEIGHBOUR_METER)
    fragment = match(dl_type=IPV6, ipv6_dst=ours, ip_frag=ANY_FRAGMENT)
    yield ACCESS.drop(100, fragment, DropReason.OUTER_FRAGMENT)
    to_us: dict[str, Value] = {"dl_dst": links.local_mac, "ipv6_dst": ours}
    for icmp_type in (ECHO_REQUEST_6, ECHO_REPLY_6):
        asked = match(icmpv6_type=icmp_type, **to_us, **said)
        yield ACCESS.flow(90, asked, local, meter=PING_METER)
    gtpu = _gtpu6(links, ours)
    allowed = _allowed6(gateway)
    for prefix in allowed:
        yield ACCESS.flow(80, match(ipv6_src=prefix, **gtpu), goto=OUTER_ECN)
    if _ANYONE_6 not in allowed:
        yield ACCESS.drop(70, match(**gtpu), DropReason.ACCESS_DENIED)


_ANYONE_6 = IPv6Network("::/0")


def _gtpu6(links: Links, ours: IPv6Address) -> dict[str, Value]:
    return {
        "dl_dst": links.local_mac,
        "ipv6_dst": ours,
        "dl_type": IPV6,
        "nw_proto": UDP,
        "udp_dst": GTPU_PORT,
    }


def _allowed6(gateway: Gateway) -> tuple[IPv6Network, ...]:
    anyone = () if gateway.access_allow else (_ANYONE_6,)
    return gateway.access_allow6 or anyone


def senders(gateway: Gateway, links: Links, tail: int, seconds: int) -> Iterator[Flow]:
    """For some seconds the controller is shown who sends GTP-U from an IPv6 address that ends in
    TAIL_BITS bits: of a T-PDU no more is known once it is unwrapped (see table normalise)."""
    if gateway.access_ip6 is None:
        return
    gtpu, show = _gtpu6(links, gateway.access_ip6.ip), Show(HEADER_SAMPLE, SENDER_METER.number)
    mask = (1 << TAIL_BITS) - 1
    for prefix in _allowed6(gateway):
        first, known = int(prefix.network_address), int(prefix.netmask)
        if (first ^ tail) & known & mask:
            continue
        source = first | tail & mask, known | mask
        yield ACCESS.flow(
            90,
            match(ipv6_src=source, **gtpu),
            show,
            goto=OUTER_ECN,
            cookie=make_cookie(CookieKind.REPORT, Report.SENDER),
            hard_timeout=seconds,
        )


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
    if gateway.access_ip6 is None:
        return
    # That the host listens for questions (RFC 9777), which nftables lets go no further.
    report: dict[str, Value] = {"dl_type": IPV6, "nw_proto": ICMPV6, "icmpv6_type": LISTENER_REPORT}
    yield LOCAL.flow(100, match(**report), access)
    from_us: dict[str, Value] = {"dl_type": IPV6, "ipv6_src": gateway.access_ip6.ip}
    yield LOCAL.flow(100, match(nw_proto=GRE, **from_us), out, meter=SENT6_METER)
    for icmp_type in (ECHO_REQUEST_6, ECHO_REPLY_6, SOLICITATION, ADVERTISEMENT):
        said = match(nw_proto=ICMPV6, icmpv6_type=icmp_type, **from_us)
        yield LOCAL.flow(100, said, access)
