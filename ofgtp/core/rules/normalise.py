"""Tables normalise and retype: a T-PDU gets the type that it really has."""

from __future__ import annotations

from collections.abc import Iterator

from ofgtp.core.flows.flow import (
    Action,
    Bits,
    Encap,
    Flow,
    Header,
    Match,
    Output,
    PopMpls,
    PopVlan,
    Port,
    PushVlan,
    SetField,
    Value,
    match,
    move,
)
from ofgtp.core.flows.pipeline import (
    CONTAINER,
    EPOCH,
    NORMALISE,
    RETYPE,
    SIGNALLING_METERS,
    DropReason,
    Report,
)
from ofgtp.core.model import GTPU_PORT
from ofgtp.core.rules.container import PROLOGUE
from ofgtp.core.rules.terms import (
    EXTENDED,
    EXTENDED_NUMBERED,
    GTP,
    IPV4,
    IPV4_TYPED,
    IPV6,
    IPV6_TYPED,
    LATER_VERSIONS,
    MPLS,
    MPLS_MULTICAST,
    PN,
    SIGNALLING_SAMPLE,
    T_PDU,
    TAGGED,
    UDP,
    UNEXTENDED,
    VERSION_1,
    E,
    Links,
    S,
)


def normalise(links: Links) -> Iterator[Flow]:
    """Undo the switch's wrong typing of decapsulated packets, and keep what the tunnel said.

    Open vSwitch (2.13 to 4.0) reads the inner IP version 8 bytes too far, so a T-PDU arrives as
    IPv4, IPv6 or Ethernet depending on its TTL. Typed Ethernet, its first bytes are the inner IP
    header's, and `dl_dst` shows the version. A label pushed below a new Ethernet header and popped
    with the right type corrects it without changing a byte.

    What is popped is parsed in a second pass of the switch, and before 3.2 this pass gets lost when
    the first one carries tunnel metadata (the switch reads them differently when it checks its
    cache). Hence the way round by a patch port, for packets that were typed rightly as well.

    The guards come first, at the highest priorities: relabelling a packet whose misread type is
    MPLS makes ovs-vswitchd abort, so these two types must not reach any flow that pushes or pops.
    """
    for mpls in (MPLS, MPLS_MULTICAST):
        yield NORMALISE.drop(100, match(dl_type=mpls), DropReason.INNER_MPLS)
    for later in LATER_VERSIONS:
        for asked in any_type(later):
            yield NORMALISE.drop(96, asked, DropReason.WRONG_VERSION)
    # The switch takes the optional four bytes off only if the S flag is set.
    for priority, flags, form in (
        (92, E | S, EXTENDED_NUMBERED),
        (90, E, EXTENDED),
        (70, PN, UNEXTENDED),
    ):
        # The first bytes are no inner packet's, so the type says nothing.
        for asked in any_type(GTP | flags, tun_gtpu_msgtype=T_PDU):
            yield NORMALISE.flow(priority, asked, *PROLOGUE, *_round_as(form, links))
    for priority, flags in ((80, GTP | S | PN), (60, GTP)):
        yield from _send_round(priority, flags, links)
        # LOCAL's MAC begins with neither 4 nor 6, so this need not stand above the corrections,
        # where it would make every megaflow match all of dl_dst: an upcall for each packet.
        t_pdu = {"tun_gtpu_flags": flags, "tun_gtpu_msgtype": T_PDU}
        forged = match(dl_dst=links.local_mac, **t_pdu)
        yield NORMALISE.drop(priority - 2, forged, DropReason.FORGED_SIGNALLING)
        yield NORMALISE.drop(priority - 4, match(**t_pdu), DropReason.NOT_IP)
    signalling: dict[str, Value] = {"dl_dst": links.local_mac, "tun_gtpu_flags": GTP}
    yield NORMALISE.flow(40, match(**signalling), Output(links.loop_out))
    # ECT(1) or CE: the outer frame has the port by which table outer_ecn had it unwrapped.
    marked = match(reg7=(1, 1), dl_type=IPV4, nw_proto=UDP, **signalling)
    as_sent = SetField("udp_dst", GTPU_PORT)
    yield NORMALISE.flow(42, marked, as_sent, Output(links.loop_out))
    # Flags can only be asked to be set: what is left has PT clear, or no bit of the version set.
    yield NORMALISE.drop(30, match(tun_gtpu_flags=GTP), DropReason.NOT_IP)
    for asked in any_type(VERSION_1):
        yield NORMALISE.drop(20, asked, DropReason.GTP_PRIME)
    for asked in any_type(0):
        yield NORMALISE.drop(10, asked, DropReason.WRONG_VERSION)


def any_type(flags: int, **asked: Value) -> Iterator[Match]:
    """Matches for GTP-U flags, whatever the switch has taken the packet for."""
    of_flags: dict[str, Value] = {"tun_gtpu_flags": flags} if flags else {}
    yield match(**of_flags, **asked)
    for packet_type in (IPV4_TYPED, IPV6_TYPED):
        # Only T-PDUs are ever typed so, and only of Ethernet packets the type can be asked.
        yield match(packet_type=packet_type, **of_flags)


def _round_as(form: int, links: Links) -> tuple[Action, ...]:
    """Send a T-PDU out by one end of the patch; table retype gets it from the other."""
    return (
        Encap(Header.MPLS),
        Encap(Header.ETHERNET),
        # After the headers: the switch writes down what has changed before each of them, and a mark
        # that is back at 0 by then costs no action for each packet.
        move(Bits("reg7", 0, 2), "mpls_tc"),
        move(Bits("tun_id", 0, 31), "pkt_mark"),
        move(Bits("tun_src", 0, 19), "mpls_label"),
        PushVlan(),
        move(Bits("tun_src", 20, 31), Bits("vlan_vid", 0, 11)),
        SetField("vlan_pcp", form),
        Output(links.loop_out),
    )


def _send_round(priority: int, flags: int, links: Links) -> Iterator[Flow]:
    """T-PDUs without extension headers, by their IP version."""
    # Typed IPv4: rightly (TTL 64 to 79). Typed IPv6: an IPv4 packet with a TTL from 96 to 111.
    for packet_type in (IPV4_TYPED, IPV6_TYPED):
        asked = match(packet_type=packet_type, tun_gtpu_flags=flags)
        yield NORMALISE.flow(priority, asked, *_round_as(4, links))
    for version in (4, 6):
        first_nibble = (version << 44, 0xF << 44)
        asked = match(dl_dst=first_nibble, tun_gtpu_flags=flags, tun_gtpu_msgtype=T_PDU)
        yield NORMALISE.flow(priority, asked, *_round_as(version, links))


def retype() -> Iterator[Flow]:
    origin = (
        move("pkt_mark", "reg0"),
        SetField("pkt_mark", 0),
        move("mpls_label", Bits("reg1", 0, 19)),
        move(Bits("mpls_tc", 0, 1), Bits("reg7", 0, 1)),
        move(Bits("vlan_vid", 0, 11), Bits("reg1", 20, 31)),
    )
    for version, eth_type in ((4, IPV4), (6, IPV6)):
        t_pdu = match(dl_type=MPLS, vlan_vid=TAGGED, vlan_pcp=version)
        yield RETYPE.flow(100, t_pdu, *origin, PopVlan(), PopMpls(eth_type), goto=EPOCH)
    for form in (EXTENDED, EXTENDED_NUMBERED, UNEXTENDED):
        t_pdu = match(dl_type=MPLS, vlan_vid=TAGGED, vlan_pcp=form)
        read_as = SetField("reg5", form), PopVlan(), PopMpls(IPV6)
        yield RETYPE.flow(100, t_pdu, *origin, *read_as, goto=CONTAINER)
    show = Output(Port.CONTROLLER, max_len=SIGNALLING_SAMPLE)
    for share, meter in enumerate(SIGNALLING_METERS):
        source = (share, len(SIGNALLING_METERS) - 1)
        message = match(dl_type=IPV4, nw_src=source, nw_proto=UDP, udp_dst=GTPU_PORT)
        yield RETYPE.report(100, message, Report.SIGNALLING, show, meter=meter)
