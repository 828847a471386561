"""Tables normalise, retype and bare: a T-PDU gets the type that it really has."""

from __future__ import annotations

from collections.abc import Iterator

from ofgtp.core.flows.flow import (
    Action,
    Bits,
    CheckBigger,
    Decap,
    Encap,
    Flow,
    Header,
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
    BARE,
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
    ALL_THERE,
    ETHERNET_HEADER,
    EXTENDED,
    EXTENDED_NUMBERED,
    GTP,
    IPV4,
    IPV4_TYPED,
    IPV6,
    IPV6_TYPED,
    IS_IPV6,
    LATER_VERSIONS,
    MPLS,
    MPLS_MULTICAST,
    NUMBERED,
    PN,
    SIGNALLING_SAMPLE,
    T_PDU,
    TAGGED,
    UDP,
    UNEXTENDED,
    VERSION_1,
    WHOLE,
    E,
    Links,
    S,
)

LABELLED = ETHERNET_HEADER + 4 - 1
"""A frame that is longer holds what is in front of a T-PDU here, and a packet of no octets or more.
"""


def normalise(links: Links) -> Iterator[Flow]:
    """Undo the switch's wrong typing of decapsulated packets, and keep what the tunnel said.

    Open vSwitch (2.13 to 4.0) reads the inner IP version 8 bytes too far, so a T-PDU arrives as
    IPv4, IPv6 or Ethernet depending on its TTL. Typed Ethernet, its first bytes are the inner IP
    header's, and `dl_dst` shows the version. A label pushed below a new Ethernet header, and taken
    off with the right type, corrects it without changing a byte.

    What loses its label is parsed in a second pass of the switch, and before 3.2 this pass gets
    lost when the first one carries tunnel metadata (the switch reads them differently when it
    checks its cache). Hence the way round by a patch port. What was typed rightly goes round, too:
    what it leaves by must not know its old tunnel. But it is not parsed anew.

    The guards come first, at the highest priorities: relabelling a packet whose misread type is
    MPLS makes ovs-vswitchd abort, so these two types must not reach any flow that pushes or pops.
    """
    for mpls in (MPLS, MPLS_MULTICAST):
        yield NORMALISE.drop(100, match(dl_type=mpls), DropReason.INNER_MPLS)
    for later in LATER_VERSIONS:
        yield NORMALISE.drop(96, match(tun_gtpu_flags=later), DropReason.WRONG_VERSION)
    # The switch takes the optional four bytes off only if the S flag is set.
    for priority, flags, form in (
        (92, E | S, EXTENDED_NUMBERED),
        (90, E, EXTENDED),
        (70, PN, UNEXTENDED),
    ):
        # The first bytes are no inner packet's, so the type says nothing.
        asked = match(tun_gtpu_flags=GTP | flags, tun_gtpu_msgtype=T_PDU)
        yield NORMALISE.flow(priority, asked, *PROLOGUE, *_round_as(form, links))
    for priority, flags in ((80, GTP | S | PN), (65, GTP | S), (60, GTP)):
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
    as_sent = SetField("udp_dst", GTPU_PORT)
    for version in (IPV4,) if links.gre is None else (IPV4, IPV6):
        marked = match(reg7=(1, 1), dl_type=version, nw_proto=UDP, **signalling)
        yield NORMALISE.flow(42, marked, as_sent, Output(links.loop_out))
    # Flags can only be asked to be set: what is left has PT clear, or no bit of the version set.
    yield NORMALISE.drop(30, match(tun_gtpu_flags=GTP), DropReason.NOT_IP)
    yield NORMALISE.drop(20, match(tun_gtpu_flags=VERSION_1), DropReason.GTP_PRIME)
    yield NORMALISE.drop(10, (), DropReason.WRONG_VERSION)


def _round_as(form: int, links: Links) -> tuple[Action, ...]:
    """Send a T-PDU that is to be parsed anew out by one end of the patch; table retype gets it from
    the other."""
    return (
        Encap(Header.MPLS),
        Encap(Header.ETHERNET),
        # After the headers: the switch writes down what has changed before each of them, and a mark
        # that is back at 0 by then costs no action for each packet.
        move(Bits("reg7", 0, 2), "mpls_tc"),
        move(Bits("tun_id", 0, 31), "pkt_mark"),
        move(Bits("reg1", 0, 19), "mpls_label"),
        PushVlan(),
        move(Bits("reg1", 20, 31), Bits("vlan_vid", 0, 11)),
        SetField("vlan_pcp", form),
        Output(links.loop_out),
    )


def _round_whole(links: Links) -> tuple[Action, ...]:
    """The same for one that needs no parsing: its peer stands in its new Ethernet header.

    Of what was typed Ethernet the switch would ask for all octets that are written so. The tag,
    which a signalling frame never has, says what it is. Neither it nor the mark costs an action.
    """
    return (
        Encap(Header.ETHERNET),
        move(Bits("tun_id", 0, 31), "pkt_mark"),
        move("reg1", Bits("dl_src", 0, 31)),
        move(Bits("reg7", 0, 1), Bits("dl_src", 32, 33)),
        PushVlan(),
        SetField("vlan_pcp", WHOLE),
        Output(links.loop_out),
    )


def _send_round(priority: int, flags: int, links: Links) -> Iterator[Flow]:
    """T-PDUs without extension headers, by their IP version."""
    # Typed IPv4: rightly (TTL 64 to 79). Typed IPv6: an IPv4 packet with a TTL from 96 to 111.
    forms = NUMBERED if flags & S else {4: 4, 6: 6}
    rightly = match(packet_type=IPV4_TYPED, tun_gtpu_flags=flags)
    whole = _round_as(forms[4], links) if flags & S else _round_whole(links)
    yield NORMALISE.flow(priority, rightly, *whole)
    asked = match(packet_type=IPV6_TYPED, tun_gtpu_flags=flags)
    yield NORMALISE.flow(priority, asked, *_round_as(forms[4], links))
    for version, form in forms.items():
        first_nibble = (version << 44, 0xF << 44)
        asked = match(dl_dst=first_nibble, tun_gtpu_flags=flags, tun_gtpu_msgtype=T_PDU)
        yield NORMALISE.flow(priority, asked, *_round_as(form, links))


def retype(links: Links) -> Iterator[Flow]:
    """What is parsed anew is left without an Ethernet header, as what was typed rightly is.

    A flow counts the octets with which a packet began the pass: sessions' flows are to count the
    same of all uplink packets. Label and traffic class are put back first, or the switch would
    write them, only to take them off.
    """
    teid = move("pkt_mark", "reg0"), SetField("pkt_mark", 0)
    whole = match(dl_type=IPV4, vlan_vid=TAGGED, vlan_pcp=WHOLE)
    yield RETYPE.flow(
        110,
        whole,
        *teid,
        move(Bits("dl_src", 0, 31), "reg1"),
        move(Bits("dl_src", 32, 33), Bits("reg7", 0, 1)),
        PopVlan(),
        goto=EPOCH,
    )
    origin = (
        *teid,
        move("mpls_label", Bits("reg1", 0, 19)),
        move(Bits("mpls_tc", 0, 1), Bits("reg7", 0, 1)),
        move(Bits("vlan_vid", 0, 11), Bits("reg1", 20, 31)),
    )
    for version, kind in ((4, 0), (6, 1 << IS_IPV6)):
        t_pdu = match(dl_type=MPLS, vlan_vid=TAGGED, vlan_pcp=version)
        actions = *origin, *_as_pushed(), PopVlan()
        there = SetField("reg2", 1 << ALL_THERE | kind)
        yield RETYPE.flow(100, t_pdu, *actions, there, goto=BARE)
        numbered = match(dl_type=MPLS, vlan_vid=TAGGED, vlan_pcp=NUMBERED[version])
        typed = (SetField("reg2", kind),) if kind else ()
        is_there = CheckBigger(LABELLED, "reg2", ALL_THERE)
        yield RETYPE.flow(100, numbered, *actions, *typed, is_there, goto=BARE)
    for form in (EXTENDED, EXTENDED_NUMBERED, UNEXTENDED):
        t_pdu = match(dl_type=MPLS, vlan_vid=TAGGED, vlan_pcp=form)
        read_as = SetField("reg5", form), PopVlan(), PopMpls(IPV6)
        yield RETYPE.flow(100, t_pdu, *origin, *read_as, goto=CONTAINER)
    show = Output(Port.CONTROLLER, max_len=SIGNALLING_SAMPLE)
    for share, meter in enumerate(SIGNALLING_METERS):
        source = (share, len(SIGNALLING_METERS) - 1)
        message = match(dl_type=IPV4, nw_src=source, nw_proto=UDP, udp_dst=GTPU_PORT)
        yield RETYPE.report(100, message, Report.SIGNALLING, show, meter=meter)
        if links.gre is not None:
            message = match(dl_type=IPV6, ipv6_src=source, nw_proto=UDP, udp_dst=GTPU_PORT)
            yield RETYPE.report(100, message, Report.SIGNALLING, show, meter=meter)


def bare() -> Iterator[Flow]:
    """Those that end within their header are dropped: with fewer octets than none left of it, the
    switch would abort when it takes off what was put in front.

    The switch takes no Ethernet header off a packet that it believes to have a VLAN tag, as it does
    of one typed Ethernet at random: source addresses in 129.0.0.0/16, or 136.168.0.0/16, read so.
    Popping that tag changes nothing but what it believes: where it would stand there is a label by
    now.
    """
    asked = 1 << ALL_THERE | 1 << IS_IPV6
    for kind, eth_type in ((0, IPV4), (1 << IS_IPV6, IPV6)):
        there = 1 << ALL_THERE | kind
        bared = Decap(), Decap(eth_type)
        yield BARE.flow(100, match(reg2=(there, asked), vlan_vid=0), *bared, goto=EPOCH)
        misread = match(reg2=(there, asked), vlan_vid=TAGGED)
        yield BARE.flow(100, misread, PopVlan(), *bared, goto=EPOCH)
    yield BARE.flow(0, ())


def _as_pushed() -> tuple[Action, ...]:
    return SetField("mpls_label", 0), SetField("mpls_tc", 0)
