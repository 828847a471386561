"""Gateway -> base flows, session -> its two flows. Pure functions of their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from ofgtp.core.flow import (
    Action,
    Bits,
    CheckBigger,
    CookieKind,
    Decap,
    Encap,
    Flow,
    ForgetInPort,
    Header,
    Match,
    Output,
    PopMpls,
    PopVlan,
    Port,
    PushVlan,
    SetField,
    Value,
    make_cookie,
    match,
    move,
    set_field,
)
from ofgtp.core.gtpu import Extension
from ofgtp.core.model import GTPU_PORT, QFI_MAX, Gateway, Qos, Session
from ofgtp.core.pipeline import (
    ACCESS,
    ARP_METER,
    BARE,
    CONTAIN,
    CONTAINER,
    CONTAINER_END,
    CORE,
    DOWNLINK,
    EPOCH,
    EXTENSION_METER,
    FIT,
    GUARD,
    INGRESS,
    LEASE,
    LOCAL,
    MEASURE,
    NEIGHBOUR_METER,
    NEXT_HOP_METER,
    NORMALISE,
    OTHER_ARP_METER,
    PING_METER,
    PIPELINE,
    QFI,
    RETYPE,
    ROUTE,
    SIGNALLING_METERS,
    TOO_BIG,
    TOO_BIG_METER,
    TOO_BIG_REPORT_METER,
    UNWRAP,
    UPLINK,
    UPLINK_MISS_METER,
    DropReason,
    Report,
)

IPV4, IPV6, ARP, MPLS, MPLS_MULTICAST, NSH = 0x0800, 0x86DD, 0x0806, 0x8847, 0x8848, 0x894F
ICMP, UDP = 1, 17
ECHO_REPLY, ECHO_REQUEST = 0, 8
TAGGED = (0x1000, 0x1000)
ANY_FRAGMENT = (1, 1)

IPV4_TYPED, IPV6_TYPED = 1 << 16 | IPV4, 1 << 16 | IPV6
"""packet_type as the switch sets it, rightly or wrongly, on what it decapsulated."""

T_PDU = 255
VERSION_1, GTP = 0x20, 0x30
"""Of the flags' octet: version 1 (of which one bit is set), and PT as well (TS 29.281, 5.1)."""
LATER_VERSIONS = (0x40, 0x80)
"""The bits of the version that are clear in version 1."""
E, S, PN = 0x04, 0x02, 0x01

EXTENDED, EXTENDED_NUMBERED = 1, 2
"""Stand in the VLAN priority, where an IP version may stand, of T-PDUs with an extension header:
with the whole optional part in front of it, and without (the switch takes it off if S is set)."""

CONTAINED, CHECKED = 0x80, 0x40
"""In register 3: the T-PDU had a container. In register 4: its session wants one; its session wants
its QFI in it."""

SHOWN_MISSES = (CONTAINER, CONTAINER_END, UPLINK)
"""Tables whose misses are shown to the controller, and made where the rest of the table is."""

SESSION_PRIORITY = 100

HEADER_SAMPLE = 96
"""Bytes of a packet that the controller sees: Ethernet, IPv4 with all its options, UDP, or ARP."""
EXTENSION_SAMPLE = 128
"""Bytes of a T-PDU with extension headers that the controller sees, those put in front included."""
SIGNALLING_SAMPLE = 2048
"""Bytes of signalling that the controller sees: all of it. What is longer is no message."""

UNREACHABLE_FOR_UES = tuple(
    IPv4Network(prefix)
    for prefix in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)
"""This network, loopback, link-local, multicast, reserved and broadcast (RFC 6890)."""


@dataclass(frozen=True, slots=True)
class Links:
    """What the switch and the network told us about a gateway's ports, and the flows' epoch.

    `core_mac` is ours on the core side; `peer_mac` is where uplink packets are sent: the next
    hop's MAC, None until it has answered ARP, or that of the host's own interface.
    """

    access: int
    core: int
    gtpu: int
    loop_out: int
    loop_in: int
    access_mtu: int
    local_mac: str
    core_mac: str
    peer_mac: str | None
    epoch: int = 0x0000FFFF
    """32 bits, 16 of them set; with another, the switch forgets what it has cached for uplink."""


NO_SESSION: dict[str, Value] = {"ct_mark": (0, 0x0000FFFF)}
REFUSED: dict[str, Value] = {"ct_mark": (0, 0xFFFF0000)}
LIVE: dict[str, Value] = {"ct_zone": 0}
"""Conditions that always hold, asked for on the ways that packets of no session take, of one that
refuses them for their container, and of a live one, and on no other.

Open vSwitch before 3.2 cannot change a cached class ("megaflow") of packets that came by a gtpu
port: `failed to put[modify]`. It can delete one, and does so when the class turns out too coarse:
when packets of it are now asked for something that was not asked for before. So whatever may change
while traffic is under way must lead over a field that the way before did not ask for: between
having a session, having none and being refused by it these three, for the rest the epoch: 16 bits
of a field of 32, so that none asks for all that another asked for, and one drawn at random does
where the last is not known.
"""


ETHERNET_HEADER = 14
TUNNEL_HEADERS = 20 + 8 + 8
"""Octets of the outer IPv4, UDP and GTP-U headers (TS 29.281, 5.1)."""
CONTAINER_HEADERS = 4 + 4
"""And of the optional part with the first extension header's type, and the container."""


def protected_networks(gateways: Iterable[Gateway]) -> tuple[IPv4Network, ...]:
    """Where no UE of these gateways may send.

    All gateways' access networks are meant, not only the own one's: with `core_port = "host"` the
    host would route from one to the other. A default route among the access routes is left out,
    since it would forbid everything.
    """
    networks = list(UNREACHABLE_FOR_UES)
    for gateway in gateways:
        networks += [gateway.access_ip.network, IPv4Network(gateway.core_ip.ip)]
        networks += [route.to for route in gateway.access_routes if route.to.prefixlen]
    return tuple(dict.fromkeys(networks))


LEASE_MARGIN_S = 2
"""The switch looks for expired flows once a second, and takes half a second to act on it."""


def lease_timeout(lease_seconds: int) -> int:
    """The hard timeout that ends forwarding within `lease_seconds` of the last renewal."""
    return lease_seconds - LEASE_MARGIN_S


def gateway_flows(
    gateway: Gateway, links: Links, protected: Iterable[IPv4Network], lease_seconds: int | None
) -> Iterator[Flow]:
    """All flows of a gateway that are there without any session.

    With `lease_seconds` (5 or more) they forward nothing unless the lease is renewed; with None
    the switch forwards on for ever.
    """
    yield from _ingress(links)
    yield from _access(gateway, links)
    yield from _normalise(links)
    yield from lease_flows(links, lease_seconds)
    yield from _retype()
    yield from _container(links)
    yield from epoch_flows(links)
    yield from _uplink()
    yield from _qfi()
    yield from _guard(gateway, links, protected)
    yield from _route(links)
    yield from _core(gateway, links)
    yield from _fit()
    yield from _contain(links)
    yield from _local(gateway, links)
    for table in PIPELINE:
        if table.miss is not None and table not in SHOWN_MISSES:
            yield table.drop(0, (), table.miss)


def lease_flows(links: Links, lease_seconds: int | None) -> tuple[Flow, Flow]:
    """The two flows that let user traffic pass; adding them again renews the lease."""
    timeout = 0 if lease_seconds is None else lease_timeout(lease_seconds)
    local = Output(Port.LOCAL)
    up = LEASE.flow(100, match(in_port=links.access), local, hard_timeout=timeout)
    down = LEASE.flow(100, match(in_port=links.core), goto=CORE, hard_timeout=timeout)
    return up, down


def epoch_flows(links: Links) -> Iterator[Flow]:
    """The flows that each decapsulated packet passes, on both of its passes; see NO_SESSION.

    The first pass leads to the second by a number which the switch draws anew when the flows were
    away for a moment, so that what it has cached for the first must be forgotten too.
    """
    # Not pkt_mark: the TEID is copied onto it in this pass, which asks for all of it in any epoch.
    asked: dict[str, Value] = {"ct_mark": (0, links.epoch)}
    yield INGRESS.flow(100, match(in_port=links.gtpu, **asked), goto=NORMALISE)
    for packet_type in (IPV4_TYPED, IPV6_TYPED):
        # A match without packet_type means Ethernet, so the other types need their own.
        typed = match(packet_type=packet_type, in_port=links.gtpu, **asked)
        yield INGRESS.flow(100, typed, goto=NORMALISE)
    yield EPOCH.flow(100, match(pkt_mark=(0, links.epoch)), goto=UPLINK)
    # The passes between the first and the last lead to the next by such a number as well.
    for form in (EXTENDED, EXTENDED_NUMBERED):
        for units in range(1, units_max(form) + 1):
            yield _measured(form, units, links)
            if _far(form, units):
                yield from _ended(form, units, links)
    unwrapped = match(dl_type=NSH, pkt_mark=(0, links.epoch))
    yield UNWRAP.flow(100, unwrapped, *_UNWRAP, goto=BARE)


def session_flows(session: Session, links: Links) -> tuple[Flow, Flow]:
    """A session's flows: uplink first, then downlink."""
    cookie = make_cookie(CookieKind.SESSION, session.number)
    peer, qos = session.uplink.remote_ip, session.qos
    wanted = 0 if qos is None else wanted_container(qos)
    uplink = UPLINK.flow(
        SESSION_PRIORITY,
        match(
            reg0=session.uplink.teid,
            dl_type=IPV4,
            nw_src=session.ue_ip,
            **({} if peer is None else {"reg1": peer}),
        ),
        *((SetField("reg4", wanted),) if wanted else ()),
        goto=QFI if wanted else GUARD,
        cookie=cookie,
    )
    to_ue = match(dl_type=IPV4, nw_dst=session.ue_ip)
    if session.downlink is None:
        return uplink, DOWNLINK.drop(SESSION_PRIORITY, to_ue, DropReason.IDLE_UE)
    if session.error_indicated:
        return uplink, DOWNLINK.drop(SESSION_PRIORITY, to_ue, DropReason.ERROR_INDICATED)
    tunnel = (
        set_field("tun_id", session.downlink.teid),
        set_field("tun_dst", session.downlink.ip),
    )
    if qos is None:
        out = Decap(), *tunnel, Output(links.gtpu)
        return uplink, DOWNLINK.flow(SESSION_PRIORITY, to_ue, *out, cookie=cookie)
    marked = SetField("reg4", qos.octet), *tunnel
    return uplink, DOWNLINK.flow(SESSION_PRIORITY, to_ue, *marked, goto=MEASURE, cookie=cookie)


def wanted_container(qos: Qos) -> int:
    """What table qfi asks of a session's uplink T-PDUs; 0: nothing."""
    return CONTAINED * qos.required | (CHECKED | qos.qfi) * qos.check


def _ingress(links: Links) -> Iterator[Flow]:
    yield INGRESS.flow(100, match(in_port=links.access), goto=ACCESS)
    yield INGRESS.flow(100, match(in_port=links.core), goto=LEASE)
    yield INGRESS.flow(100, match(in_port=Port.LOCAL), goto=LOCAL)
    yield INGRESS.flow(100, match(in_port=links.loop_in), goto=RETYPE)


def _access(gateway: Gateway, links: Links) -> Iterator[Flow]:
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
    for icmp_type in (ECHO_REQUEST, ECHO_REPLY):
        asked = match(
            dl_dst=links.local_mac, dl_type=IPV4, nw_dst=ours, nw_proto=ICMP, icmp_type=icmp_type
        )
        yield ACCESS.flow(90, asked, local, meter=PING_METER)

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
        yield ACCESS.flow(80, gtpu(prefix), goto=LEASE)
    if gateway.access_allow and anyone not in gateway.access_allow:
        yield ACCESS.drop(70, gtpu(anyone), DropReason.ACCESS_DENIED)


def _normalise(links: Links) -> Iterator[Flow]:
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
        for asked in _any_type(later):
            yield NORMALISE.drop(96, asked, DropReason.WRONG_VERSION)
    for priority, flags, form in ((92, E | S, EXTENDED_NUMBERED), (90, E, EXTENDED)):
        # The first bytes are no inner packet's, so the type says nothing.
        for asked in _any_type(GTP | flags, tun_gtpu_msgtype=T_PDU):
            yield NORMALISE.flow(priority, asked, *_PROLOGUE, *_round_as(form, links))
    # The switch takes the optional four bytes off only if the S flag is set.
    for asked in _any_type(GTP | PN, tun_gtpu_msgtype=T_PDU):
        yield NORMALISE.drop(70, asked, DropReason.NPDU_NUMBER)
    for priority, flags in ((80, GTP | S | PN), (60, GTP)):
        yield from _send_round(priority, flags, links)
        # LOCAL's MAC begins with neither 4 nor 6, so this need not stand above the corrections,
        # where it would make every megaflow match all of dl_dst: an upcall for each packet.
        t_pdu = {"tun_gtpu_flags": flags, "tun_gtpu_msgtype": T_PDU}
        forged = match(dl_dst=links.local_mac, **t_pdu)
        yield NORMALISE.drop(priority - 2, forged, DropReason.FORGED_SIGNALLING)
        yield NORMALISE.drop(priority - 4, match(**t_pdu), DropReason.NOT_IP)
    signalling = match(dl_dst=links.local_mac, tun_gtpu_flags=GTP)
    yield NORMALISE.flow(40, signalling, Output(links.loop_out))
    # Flags can only be asked to be set: what is left has PT clear, or no bit of the version set.
    yield NORMALISE.drop(30, match(tun_gtpu_flags=GTP), DropReason.NOT_IP)
    for asked in _any_type(VERSION_1):
        yield NORMALISE.drop(20, asked, DropReason.GTP_PRIME)
    for asked in _any_type(0):
        yield NORMALISE.drop(10, asked, DropReason.WRONG_VERSION)


def _any_type(flags: int, **asked: Value) -> Iterator[Match]:
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


def _retype() -> Iterator[Flow]:
    origin = (
        move("pkt_mark", "reg0"),
        SetField("pkt_mark", 0),
        move("mpls_label", Bits("reg1", 0, 19)),
        move(Bits("vlan_vid", 0, 11), Bits("reg1", 20, 31)),
    )
    for version, eth_type in ((4, IPV4), (6, IPV6)):
        t_pdu = match(dl_type=MPLS, vlan_vid=TAGGED, vlan_pcp=version)
        yield RETYPE.flow(100, t_pdu, *origin, PopVlan(), PopMpls(eth_type), goto=EPOCH)
    for form in (EXTENDED, EXTENDED_NUMBERED):
        t_pdu = match(dl_type=MPLS, vlan_vid=TAGGED, vlan_pcp=form)
        read_as = SetField("reg5", form), PopVlan(), PopMpls(IPV6)
        yield RETYPE.flow(100, t_pdu, *origin, *read_as, goto=CONTAINER)
    show = Output(Port.CONTROLLER, max_len=SIGNALLING_SAMPLE)
    for share, meter in enumerate(SIGNALLING_METERS):
        source = (share, len(SIGNALLING_METERS) - 1)
        message = match(dl_type=IPV4, nw_src=source, nw_proto=UDP, udp_dst=GTPU_PORT)
        yield RETYPE.report(100, message, Report.SIGNALLING, show, meter=meter)


_PROLOGUE = (
    Encap(Header.NSH),
    SetField("nsh_spi", 8 << 8 | UDP),
    SetField("nsh_c3", 0x0FC << 20),
    SetField("nsh_c4", 8 << 16 | UDP << 8 | 0xFF),
)
"""24 octets in front of a T-PDU with an extension header. Read as the beginning of IPv6, they say
that UDP of 8 octets follows (the second four are payload length, next header and hop limit). Of the
last 8 the same is true: they are what stays in front where a container reaches further."""
PROLOGUE_WORDS, SHORT_PROLOGUE_WORDS = 6, 2
"""Words of 4 octets."""

_DST_BITS = 128
_DST = _DST_BITS // 8
"""What follows the prologue is read as the IPv6 destination, and then as UDP ports: these are 16
octets and 4. What follows the short one, as source, destination and ports."""
_Octets = Mapping[int, tuple[int, int]]
"""Of the destination: place -> value and mask."""
SEEN_MAX = 2 * _DST
"""So the longest container that is taken off ends here, and the UE's packet begins."""


def units_max(form: int) -> int:
    """Units of 4 octets of the longest container that is taken off."""
    return (SEEN_MAX - _container_at(form)) // 4


def t_pdu_at(container: int) -> int:
    """Where a T-PDU begins that tables container and container_end show to the controller, behind
    Ethernet and prologue; `container` is register 5."""
    far = container >> 4 and _far(container >> 4, container & 0xF)
    return ETHERNET_HEADER + 4 * (SHORT_PROLOGUE_WORDS if far else PROLOGUE_WORDS)


def _octets(asked: _Octets) -> tuple[int, int]:
    """The IPv6 destination with these octets."""
    value = mask = 0
    for place, (octet, of) in asked.items():
        shift = _DST_BITS - 8 - 8 * place
        value, mask = value | (octet & of) << shift, mask | of << shift
    return value, mask


def _container_at(form: int) -> int:
    """Where the container begins: behind sequence number, N-PDU number and type, or at once."""
    return 4 if form == EXTENDED else 0


def _packet_at(form: int, units: int) -> int:
    """Where the UE's packet begins, behind a container of that many units."""
    return _container_at(form) + 4 * units


def _far(form: int, units: int) -> bool:
    """Whether its end is not seen while the whole prologue is in front."""
    return _packet_at(form, units) > _DST


def _typed(form: int) -> _Octets:
    """The first extension header's type, where the switch has not taken it off."""
    return {3: (Extension.PDU_SESSION_CONTAINER, 0xFF)} if form == EXTENDED else {}


def _measured(form: int, units: int, links: Links) -> Flow:
    """A UL PDU SESSION INFORMATION (TS 38.415, 5.5.2.2) of that many units of 4 octets.

    One of a single unit has room for the QFI alone, so all flags for more must be clear. What else
    longer ones hold is taken off unread. Of one that reaches further than the destination the end
    is not seen: 16 octets of the prologue are taken off, and what is left is read as IPv6 again.
    """
    at, single = _container_at(form), units == 1
    octets = {
        at: (units, 0xFF),
        at + 1: (0x10, 0xFF if single else 0xF0),
        **({at + 2: (0, 0xC0)} if single else {}),
    }
    qfi = _DST_BITS - 8 - 8 * (at + 2)
    return CONTAINER.flow(
        100,
        match(
            reg5=form,
            pkt_mark=(0, links.epoch),
            dl_type=IPV6,
            ipv6_dst=_octets({**_typed(form), **octets}),
        ),
        SetField("reg5", form << 4 | units),
        SetField("reg3", CONTAINED),
        move(Bits("ipv6_dst", qfi, qfi + 5), Bits("reg3", 0, 5)),
        *(_SHORTEN if _far(form, units) else ()),
        goto=CONTAINER_END,
    )


def _as_nsh(words: int, following: int) -> tuple[Action, ...]:
    """Type what was read as IPv6 as a Network Service Header of that many words of 4 octets.

    Its first four octets are the first of an IPv6 header too, and of these the last 20 bits can be
    written: length, a metadata type that the switch does not read (3), next protocol.
    """
    return (
        SetField("ipv6_label", words << 16 | 3 << 8 | following),
        Decap(),
        Encap(Header.MPLS),
        Encap(Header.ETHERNET),
        PopMpls(NSH),
    )


_NSH_IPV4, _NSH_IPV6 = 1, 2
"""Next protocols of a Network Service Header (RFC 8300, 2.2)."""
_UNWRAP = Decap(), Decap()
"""The Ethernet header, and then the Network Service Header."""
_SHORTEN = (
    *_as_nsh(PROLOGUE_WORDS - SHORT_PROLOGUE_WORDS, _NSH_IPV6),
    *_UNWRAP,
    Encap(Header.ETHERNET),
)


def _container(links: Links) -> Iterator[Flow]:
    show = Output(Port.CONTROLLER, max_len=EXTENSION_SAMPLE)

    def bad(priority: int, reason: DropReason, octets: _Octets) -> Flow:
        typed = _octets({**_typed(EXTENDED), **octets})
        return CONTAINER.drop(priority, match(reg5=EXTENDED, dl_type=IPV6, ipv6_dst=typed), reason)

    for units in (0, 1):
        yield bad(92, DropReason.BAD_CONTAINER, {4: (units, 0xFF)})
    yield bad(90, DropReason.LONG_CONTAINER, {5: (0x10, 0xF0)})
    yield bad(80, DropReason.BAD_CONTAINER, {})
    other = DropReason.EXTENSION_HEADER
    yield CONTAINER.drop(0, (), other, show, meter=EXTENSION_METER)
    for form in (EXTENDED, EXTENDED_NUMBERED):
        for units in range(1, units_max(form) + 1):
            if not _far(form, units):
                yield from _ended(form, units, links)
            yield _not_ip(form, units)
    another = DropReason.EXTENSION_CHAIN
    yield CONTAINER_END.drop(0, (), another, show, meter=EXTENSION_METER)
    for packet_type in (IPV4_TYPED, IPV6_TYPED):
        typed_ip = match(packet_type=packet_type)
        yield BARE.flow(100, typed_ip, Encap(Header.ETHERNET), goto=EPOCH)


def _ended(form: int, units: int, links: Links) -> Iterator[Flow]:
    """The prologue is read as a Network Service Header next: as one of all that is to go."""
    packet_at, far = _packet_at(form, units), _far(form, units)
    words = (SHORT_PROLOGUE_WORDS if far else PROLOGUE_WORDS) + packet_at // 4
    for version, protocol in ((4, _NSH_IPV4), (6, _NSH_IPV6)):
        asked, further = dict(_last(form, units)), dict[str, Value]()
        if at := packet_at % _DST:
            asked[at] = version << 4, 0xF0
        else:
            further |= {"nw_proto": UDP, "udp_src": (version << 12, 0xF000)}
        if far:
            # A pass of the switch of its own: it, too, leads to the next by a number.
            further |= {"pkt_mark": (0, links.epoch)}
        ends = match(reg5=form << 4 | units, dl_type=IPV6, ipv6_dst=_octets(asked), **further)
        yield CONTAINER_END.flow(100, ends, *_as_nsh(words, protocol), goto=UNWRAP)


def _not_ip(form: int, units: int) -> Flow:
    """The container is the last extension header, and no IP packet follows."""
    asked = match(reg5=form << 4 | units, dl_type=IPV6, ipv6_dst=_octets(_last(form, units)))
    return CONTAINER_END.drop(50, asked, DropReason.NOT_IP)


def _last(form: int, units: int) -> _Octets:
    """No further header's type stands at the container's end."""
    return {(_packet_at(form, units) - 1) % _DST: (0, 0xFF)}


def _qfi() -> Iterator[Flow]:
    """All that pass stand above those that do not: see NO_SESSION."""
    container, none = (CONTAINED, CONTAINED), (0, CONTAINED)
    yield QFI.flow(100, match(reg3=container, reg4=CONTAINED), goto=GUARD)
    for qfi in range(1, QFI_MAX + 1):
        same = match(reg3=CONTAINED | qfi, reg4=(CHECKED | qfi, CHECKED | QFI_MAX))
        yield QFI.flow(100, same, goto=GUARD)
    yield QFI.flow(100, match(reg3=none, reg4=(0, CONTAINED)), goto=GUARD)
    other = match(reg3=container, **REFUSED)
    yield QFI.drop(10, other, DropReason.WRONG_QFI)
    yield QFI.drop(0, match(**REFUSED), DropReason.CONTAINER_MISSING)


def _contain(links: Links) -> Iterator[Flow]:
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


def _uplink() -> Iterator[Flow]:
    yield UPLINK.drop(10, match(dl_type=IPV6), DropReason.INNER_IPV6)
    # The switch counts every miss; the controller sees some and tells what they were.
    report = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    asked = match(**NO_SESSION)
    yield UPLINK.drop(0, asked, DropReason.NO_UPLINK_SESSION, report, meter=UPLINK_MISS_METER)


def _guard(gateway: Gateway, links: Links, protected: Iterable[IPv4Network]) -> Iterator[Flow]:
    for network in protected:
        asked = match(dl_type=IPV4, nw_dst=network, **LIVE)
        yield GUARD.drop(100, asked, DropReason.PROTECTED_DESTINATION)
    for pool in gateway.ue_pools:
        asked = match(dl_type=IPV4, nw_dst=pool, **LIVE)
        if gateway.ue_to_ue == "deny":
            yield GUARD.drop(90, asked, DropReason.UE_TO_UE)
        else:
            yield GUARD.flow(90, asked, ForgetInPort(), _check_size(links), goto=FIT)
    yield GUARD.flow(0, match(**LIVE), goto=ROUTE)


def _route(links: Links) -> Iterator[Flow]:
    if links.peer_mac is not None:
        yield ROUTE.flow(
            100,
            match(dl_type=IPV4),
            set_field("dl_src", links.core_mac),
            set_field("dl_dst", links.peer_mac),
            Output(links.core),
        )


def _core(gateway: Gateway, links: Links) -> Iterator[Flow]:
    yield CORE.drop(110, match(vlan_vid=TAGGED), DropReason.VLAN)
    for pool in gateway.ue_pools:
        asked = match(dl_dst=links.core_mac, dl_type=IPV4, nw_dst=pool)
        yield CORE.flow(80, asked, _check_size(links), goto=FIT)
    if gateway.next_hop is not None:
        yield from _next_hop(gateway.next_hop)
        yield from _answers(gateway.core_ip.ip, links.core_mac)


def _check_size(links: Links) -> CheckBigger:
    return CheckBigger(links.access_mtu - TUNNEL_HEADERS + ETHERNET_HEADER, "reg2")


def _fit() -> Iterator[Flow]:
    yield FIT.flow(100, match(reg2=(1, 1)), goto=TOO_BIG, meter=TOO_BIG_METER)
    yield FIT.flow(0, (), goto=DOWNLINK)
    show = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    yield TOO_BIG.report(0, (), Report.TOO_BIG, show, meter=TOO_BIG_REPORT_METER)


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


def _local(gateway: Gateway, links: Links) -> Iterator[Flow]:
    access, ours = Output(links.access), gateway.access_ip.ip
    yield LOCAL.flow(100, match(dl_type=ARP), access)
    gtpu = match(dl_type=IPV4, nw_src=ours, nw_proto=UDP, udp_dst=GTPU_PORT)
    yield LOCAL.flow(100, gtpu, access)
    for icmp_type in (ECHO_REQUEST, ECHO_REPLY):
        asked = match(dl_type=IPV4, nw_src=ours, nw_proto=ICMP, icmp_type=icmp_type)
        yield LOCAL.flow(100, asked, access)
