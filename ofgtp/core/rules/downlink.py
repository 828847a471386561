"""Tables core to too_big: from the packet data network to a tunnel."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from ofgtp.core.flows.flow import (
    Bits,
    CheckBigger,
    Decap,
    Encap,
    Flow,
    Header,
    Output,
    Port,
    SetField,
    match,
    move,
    set_field,
)
from ofgtp.core.flows.pipeline import (
    ARP_METER,
    CONTAIN,
    CORE,
    DOWNLINK,
    FIT,
    MEASURE,
    NEXT_HOP_METER,
    PING_METER,
    TOO_BIG,
    TOO_BIG_METER,
    TOO_BIG_REPORT_METER,
    UNKNOWN_UE_METER,
    DropReason,
    Report,
)
from ofgtp.core.model import Gateway
from ofgtp.core.packets.gtpu import Extension
from ofgtp.core.rules.terms import (
    ARP,
    CONTAINER_HEADERS,
    ECHO_REPLY,
    ECHO_REQUEST,
    ETHERNET_HEADER,
    HEADER_SAMPLE,
    ICMP,
    IPV4,
    TAGGED,
    TUNNEL_HEADERS,
    Links,
)


def contain(links: Links) -> Iterator[Flow]:
    """A DL PDU SESSION INFORMATION (TS 38.415, 5.5.2.1) in front, as two MPLS labels.

    They read `00 00 00 85 | 01 00 QFI 00`. The lowest bit of a label's third octet says whether it
    is the last, and the switch sets it in the second, where the QFI's lowest bit stands. Of an even
    QFI's label the time to live is 1, by which nftables knows to clear both.
    """
    bare = links.access_mtu - TUNNEL_HEADERS + ETHERNET_HEADER
    yield MEASURE.flow(0, (), CheckBigger(bare - CONTAINER_HEADERS, "reg2", 1), goto=CONTAIN)
    yield CONTAIN.flow(100, match(reg2=(2, 2)), goto=TOO_BIG, meter=TOO_BIG_METER)
    for odd in (0, 1):
        yield CONTAIN.flow(
            50,
            match(reg4=(odd, 1)),
            Decap(),
            Encap(Header.MPLS),
            SetField("mpls_label", 0x01000),
            move(Bits("reg4", 4, 7), Bits("mpls_label", 0, 3)),
            move(Bits("reg4", 1, 3), Bits("mpls_tc", 0, 2)),
            SetField("mpls_ttl", 1 - odd),
            Encap(Header.MPLS),
            SetField("mpls_label", 0),
            SetField("mpls_tc", 0),
            SetField("mpls_ttl", Extension.PDU_SESSION_CONTAINER),
            Output(links.gtpu),
        )


def core(gateway: Gateway, links: Links) -> Iterator[Flow]:
    yield CORE.drop(110, match(vlan_vid=TAGGED), DropReason.VLAN)
    for pool in gateway.ue_pools:
        asked = match(dl_dst=links.core_mac, dl_type=IPV4, nw_dst=pool)
        yield CORE.flow(80, asked, check_size(links), goto=FIT)
    if gateway.next_hop is not None:
        yield from _next_hop(gateway.next_hop)
        yield from _answers(gateway.core_ip.ip, links.core_mac)


def check_size(links: Links) -> CheckBigger:
    return CheckBigger(links.access_mtu - TUNNEL_HEADERS + ETHERNET_HEADER, "reg2")


def fit() -> Iterator[Flow]:
    yield FIT.flow(100, match(reg2=(1, 1)), goto=TOO_BIG, meter=TOO_BIG_METER)
    yield FIT.flow(0, (), goto=DOWNLINK)
    show = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    yield TOO_BIG.report(0, (), Report.TOO_BIG, show, meter=TOO_BIG_REPORT_METER)


def unknown_ue() -> Flow:
    """Counted by its meter: the switch counts what is too big for a tunnel on this flow, too."""
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
