"""Tables core to too_big: from the packet data network to a tunnel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from ofgtp.core.filters import Network
from ofgtp.core.flows.flow import (
    Action,
    Bits,
    CheckBigger,
    Decap,
    DecTtl,
    Encap,
    Flow,
    Header,
    Output,
    PopMpls,
    Port,
    PushMpls,
    Resubmit,
    SetField,
    SetInPort,
    Value,
    match,
    move,
    set_field,
)
from ofgtp.core.flows.pipeline import (
    ARP_METER,
    CHOOSE,
    CONTAIN,
    CORE,
    DOWNLINK,
    FIT,
    FITTED,
    FRAMED,
    HELD,
    HELD_METERS,
    MEASURE,
    NEIGHBOUR,
    NEXT_HOP_METER,
    NO_RULE_METER,
    PING_METER,
    REFUSAL,
    REPLAYED,
    REPLAYED_METER,
    SHOWN,
    SHOWN_METER,
    TOO_BIG,
    TOO_BIG_METER,
    TOO_BIG_RELAYED_METER,
    TOO_BIG_REPORT_METER,
    TTL_METER,
    UNKNOWN_UE_METER,
    DropReason,
    Report,
    Table,
)
from ofgtp.core.model import Gateway
from ofgtp.core.packets.gtpu import Extension
from ofgtp.core.rules.container import far_forms
from ofgtp.core.rules.terms import (
    ADVERTISEMENT,
    ARP,
    CONTAINER_HEADERS,
    DOWNLINK_REFUSALS,
    ECHO_REPLY,
    ECHO_REPLY_6,
    ECHO_REQUEST,
    ECHO_REQUEST_6,
    ETHERNET_HEADER,
    GROUP_BITS,
    HAS_CONTAINER,
    HEADER_SAMPLE,
    HELD_SAMPLE,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    NEIGHBOURS_HOPS,
    RELAYS,
    SOLICITATION,
    STRICT,
    TAGGED,
    TO_IPV6,
    TO_UE,
    UPLINK_REFUSALS,
    Links,
    into,
    to_network,
    tunnel_headers,
    version_mark,
)
from ofgtp.core.sessions.detail import SLOT_MAX
from ofgtp.core.sessions.rule import Tunnel


def contain(links: Links) -> Iterator[Flow]:
    """A DL PDU SESSION INFORMATION (TS 38.415, 5.5.2.1) in front, as two MPLS labels.

    They read `00 00 00 85 | 01 00 QFI 00`. The lowest bit of a label's third octet says whether it
    is the last, and the switch sets it in the second, where the QFI's lowest bit stands. Of an even
    QFI's label the time to live is 1, by which nftables knows to clear both.
    """
    most = check_size(links).octets - CONTAINER_HEADERS
    yield MEASURE.flow(0, (), CheckBigger(most, "reg2", 1), goto=CONTAIN)
    yield CONTAIN.flow(100, match(reg2=(2, 2)), goto=TOO_BIG, meter=TOO_BIG_METER)
    relayed = match(reg2=(2, 2), reg6=(RELAYS, RELAYS))
    yield CONTAIN.drop(110, relayed, DropReason.TOO_BIG, meter=TOO_BIG_RELAYED_METER)
    for odd in (0, 1):
        front = container_in_front("reg4", 0x01000, 4, 7, odd)
        for mark, out in _ways_out(links):
            asked = match(reg4=(mark | odd, _asked(links) | 1))
            yield CONTAIN.flow(50, asked, *front, out)


def _ways_out(links: Links) -> Iterator[tuple[int, Output]]:
    """By the mark in register 4, the port that packets leave by in their tunnel."""
    yield 0, Output(links.gtpu)
    if links.gre is not None:
        yield TO_IPV6, Output(links.gre)


def _asked(links: Links) -> int:
    """Whether that mark is asked for."""
    return 0 if links.gre is None else TO_IPV6


def container_in_front(
    register: str, label: int, first: int, last: int, odd: int
) -> tuple[Action, ...]:
    """Actions that put a container of one unit in front of an IP packet: see `contain`.

    `label` has its length and PDU type; bits `first` to `last` of the register stand in its lowest
    bits, bits 1 to 3 in the traffic class.
    """
    return (
        Decap(),
        Encap(Header.MPLS),
        SetField("mpls_label", label),
        move(Bits(register, first, last), Bits("mpls_label", 0, last - first)),
        move(Bits(register, 1, 3), Bits("mpls_tc", 0, 2)),
        SetField("mpls_ttl", 1 - odd),
        Encap(Header.MPLS),
        SetField("mpls_label", 0),
        SetField("mpls_tc", 0),
        SetField("mpls_ttl", Extension.PDU_SESSION_CONTAINER),
    )


def choose(links: Links) -> Iterator[Flow]:
    """Downlink packets that none of their session's filters takes: the tunnel is set already."""
    for mark, out in _ways_out(links):
        bare = match(reg4=(mark, HAS_CONTAINER | _asked(links)), reg6=(0, STRICT))
        yield CHOOSE.flow(0, bare, Decap(), out)
    contained = match(reg4=(HAS_CONTAINER, HAS_CONTAINER), reg6=(0, STRICT))
    yield CHOOSE.flow(0, contained, goto=MEASURE)
    yield CHOOSE.drop(0, match(reg6=(STRICT, STRICT)), DropReason.NO_RULE, meter=NO_RULE_METER)


def held() -> Iterator[Flow]:
    """What the controller holds, in shares by the session's slot."""
    for share, meter in enumerate(HELD_METERS):
        asked = match(reg6=(share << GROUP_BITS, (len(HELD_METERS) - 1) << GROUP_BITS))
        yield HELD.flow(100, asked, goto=SHOWN, meter=meter)
    show = Output(Port.CONTROLLER, max_len=HELD_SAMPLE)
    yield SHOWN.report(0, (), Report.HELD, show, meter=SHOWN_METER)


def replayed(links: Links) -> Iterator[Flow]:
    """What the controller has held leaves: see `replay`."""
    contained = match(reg4=(HAS_CONTAINER, HAS_CONTAINER))
    for mark, out in _ways_out(links):
        bare = match(reg4=(mark, HAS_CONTAINER | _asked(links)))
        yield REPLAYED.flow(0, bare, Decap(), out, meter=REPLAYED_METER)
    yield REPLAYED.flow(0, contained, goto=MEASURE, meter=REPLAYED_METER)


def replay(tunnel: Tunnel, *, relayed: bool) -> tuple[Action, ...]:
    """What has a packet of a rule leave in its tunnel that the controller sends."""
    actions = into(tunnel.to)
    marked = version_mark(tunnel.to)
    if tunnel.octet is not None:
        marked |= HAS_CONTAINER | tunnel.octet
    if marked:
        actions += (SetField("reg4", marked),)
    if relayed:
        actions += (SetField("reg6", RELAYS),)
    return *actions, Resubmit(REPLAYED.number)


def closed(slot: int, seconds: int) -> Flow:
    """For some seconds nothing of the session with a slot is shown to the controller."""
    return HELD.flow(
        200,
        match(reg6=(slot << GROUP_BITS, SLOT_MAX << GROUP_BITS)),
        SetField("reg5", TO_UE | DropReason.BUFFER_FULL),
        goto=REFUSAL,
        hard_timeout=seconds,
    )


def refusal() -> Iterator[Flow]:
    """One flow for each reason that a session's rule may have, and each direction."""
    for reason, meter in UPLINK_REFUSALS.items():
        yield REFUSAL.drop(100, match(reg5=int(reason)), reason, meter=meter)
    for reason, meter in DOWNLINK_REFUSALS.items():
        yield REFUSAL.drop(100, match(reg5=TO_UE | reason), reason, meter=meter)


PRIORITY_TO_UES = {4: 80, 6: 103}
"""In table core, of packets to UEs, by IP version: before neighbour discovery, or a megaflow would
know all that its flows ask for."""


def core(gateway: Gateway, links: Links) -> Iterator[Flow]:
    yield CORE.drop(110, match(vlan_vid=TAGGED), DropReason.VLAN)
    for pool in gateway.pools:
        yield from _to_ues(CORE, PRIORITY_TO_UES[pool.version], to_ues(pool, links), links)
    if gateway.next_hop is not None:
        yield from _next_hop(gateway.next_hop)
        yield from _answers(gateway.core_ip.ip, links.core_mac)
    yield from core6(gateway, links)


def core6(gateway: Gateway, links: Links) -> Iterator[Flow]:
    """Neighbour discovery and ping for the core address, answered in the switch (RFC 4861, 7.2.4;
    RFC 4443, 4.2), and what the next hop says of itself, which goes to the controller.

    Who asks from the unspecified address, to see whether somebody has ours (RFC 4862, 5.4), is
    answered by the controller, since the answer is for all.
    """
    if gateway.next_hop6 is None or gateway.core_ip6 is None:
        return
    ours, show = gateway.core_ip6.ip, Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    of_neighbour: dict[str, Value] = {
        "dl_type": IPV6,
        "nw_proto": ICMPV6,
        "nw_ttl": NEIGHBOURS_HOPS,
        "icmpv6_code": 0,
    }
    told = match(**of_neighbour, icmpv6_type=ADVERTISEMENT, nd_target=gateway.next_hop6)
    yield CORE.report(100, told, Report.NEXT_HOP, show, meter=NEXT_HOP_METER)
    asked = of_neighbour | {"icmpv6_type": SOLICITATION, "nd_target": ours}
    probe = match(**asked, ipv6_src=IPv6Address(0))
    yield CORE.report(100, probe, Report.NEXT_HOP, show, meter=NEXT_HOP_METER)
    back = (
        move("dl_src", "dl_dst"),
        set_field("dl_src", links.core_mac),
        move("ipv6_src", "ipv6_dst"),
        set_field("ipv6_src", ours),
    )
    answer = *back, set_field("icmpv6_type", ADVERTISEMENT)
    yield CORE.flow(90, match(**asked), *answer, goto=NEIGHBOUR, meter=ARP_METER)
    yield NEIGHBOUR.flow(
        100,
        match(dl_type=IPV6, nw_proto=ICMPV6, icmpv6_type=ADVERTISEMENT, icmpv6_code=0),
        set_field("nd_reserved", ROUTER | SOLICITED | OVERRIDE),
        set_field("nd_options_type", TARGET_ADDRESS),
        set_field("nd_tll", links.core_mac),
        Output(Port.IN_PORT),
    )
    yield CORE.flow(
        90,
        match(
            dl_dst=links.core_mac,
            dl_type=IPV6,
            ipv6_dst=ours,
            nw_proto=ICMPV6,
            ip_frag=0,
            icmpv6_type=ECHO_REQUEST_6,
            icmpv6_code=0,
        ),
        *back,
        set_field("nw_ttl", 64),
        set_field("icmpv6_type", ECHO_REPLY_6),
        Output(Port.IN_PORT),
        meter=PING_METER,
    )


ROUTER, SOLICITED, OVERRIDE = 0x8000_0000, 0x4000_0000, 0x2000_0000
TARGET_ADDRESS = 2
"""Flags and option of a Neighbour Advertisement (RFC 4861, 4.4)."""


def to_ues(prefix: Network, links: Links) -> dict[str, Value]:
    """What packets from the packet data network to UEs of a prefix match."""
    return {"dl_dst": links.core_mac, **to_network(prefix)}


def _to_ues(
    table: Table, priority: int, asked: Mapping[str, Value], links: Links
) -> Iterator[Flow]:
    """Packets from the packet data network to UEs."""
    once_less = (DecTtl(),) if links.decrement_ttl else ()
    if links.decrement_ttl:
        yield from ttl_expired(table, priority + 5, asked)
    yield table.flow(priority, match(**asked), *once_less, check_size(links), goto=FIT)


def framed(links: Links) -> Iterator[Flow]:
    """What comes by the core port, as for the UE pools; the rest comes from UEs."""
    for version in (IPV4, IPV6):
        yield from _to_ues(FRAMED, 80, {"in_port": links.core, "dl_type": version}, links)
    if links.ue_to_ue:
        yield FRAMED.flow(0, (), SetInPort(), check_size(links), goto=FIT)
    else:
        yield FRAMED.drop(0, (), DropReason.UE_TO_UE)


def ttl_expired(table: Table, priority: int, asked: Mapping[str, Value]) -> Iterator[Flow]:
    """Packets that a router does not send on; the sender of some is told (RFC 1812, 5.3.1)."""
    show = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    yield table.drop(priority, match(**asked, nw_ttl=0), DropReason.TTL_EXPIRED)
    last = match(**asked, nw_ttl=1)
    yield table.drop(priority, last, DropReason.TTL_EXPIRED, show, meter=TTL_METER)


def check_size(links: Links) -> CheckBigger:
    return CheckBigger(links.access_mtu - tunnel_headers(links) + ETHERNET_HEADER, "reg2")


_LOOKED_UP_ANEW: dict[int, tuple[Action, ...]] = {
    version: (PushMpls(), PopMpls(version)) for version in (IPV4, IPV6)
}
"""The two cancel each other, and cost no action of the datapath; what the switch does all the same
is to begin a pass, with the packet in its Ethernet frame."""


def fit(links: Links) -> Iterator[Flow]:
    """Counts must be right of what fits: both ways of a comparison are one entry of the cache, and
    the switch counts what has met the entry on the flows of both, as far as the next look-up."""
    yield FIT.flow(100, match(reg2=(1, 1)), goto=TOO_BIG, meter=TOO_BIG_METER)
    if links.ue_to_ue:
        for form in far_forms():
            # The switch makes no more than six passes, and these have had one more than others.
            yield FIT.flow(50, match(reg5=form), goto=DOWNLINK)
    yield FIT.flow(0, (), *_LOOKED_UP_ANEW[IPV4], goto=FITTED)
    yield FIT.flow(10, match(dl_type=IPV6), *_LOOKED_UP_ANEW[IPV6], goto=FITTED)
    # This has never been in a tunnel.
    yield FITTED.flow(100, match(in_port=links.core), goto=DOWNLINK)
    show = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    yield TOO_BIG.report(0, (), Report.TOO_BIG, show, meter=TOO_BIG_REPORT_METER)


def fitted(links: Links) -> Iterator[Flow]:
    """A pass of the switch of its own: see NO_SESSION."""
    yield FITTED.flow(0, match(pkt_mark=(0, links.epoch)), goto=DOWNLINK)


def unknown_ue() -> Flow:
    """Counted by its meter, as the other drops of this table are."""
    return DOWNLINK.drop(0, (), DropReason.UNKNOWN_UE, meter=UNKNOWN_UE_METER)


def _next_hop(next_hop: IPv4Address) -> Iterator[Flow]:
    """What the next hop says of itself by ARP goes to the controller."""
    report = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    reply = match(dl_type=ARP, arp_op=2, arp_spa=next_hop)
    gratuitous = match(dl_type=ARP, arp_op=1, arp_spa=next_hop, arp_tpa=next_hop)
    for asked in (reply, gratuitous):
        yield CORE.report(100, asked, Report.NEXT_HOP, report, meter=NEXT_HOP_METER)


def _answers(core_ip: IPv4Address, core_mac: str) -> Iterator[Flow]:
    """ARP and ping for the core address, answered in the switch (RFC 826, RFC 792)."""
    yield CORE.flow(
        90,
        match(dl_type=ARP, arp_op=1, arp_tpa=core_ip),
        move("dl_src", "dl_dst"),
        set_field("dl_src", core_mac),
        set_field("arp_op", 2),
        move("arp_sha", "arp_tha"),
        set_field("arp_sha", core_mac),
        move("arp_spa", "arp_tpa"),
        set_field("arp_spa", core_ip),
        Output(Port.IN_PORT),
        meter=ARP_METER,
    )
    yield CORE.flow(
        90,
        match(
            dl_dst=core_mac,
            dl_type=IPV4,
            nw_dst=core_ip,
            nw_proto=ICMP,
            ip_frag=0,
            icmp_type=ECHO_REQUEST,
        ),
        move("dl_src", "dl_dst"),
        set_field("dl_src", core_mac),
        move("nw_src", "nw_dst"),
        set_field("nw_src", core_ip),
        set_field("nw_ttl", 64),
        set_field("icmp_type", ECHO_REPLY),
        Output(Port.IN_PORT),
        meter=PING_METER,
    )
