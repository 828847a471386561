"""Tables container, container_end and unwrap: what T-PDUs with extension headers lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ofgtp.core.flows.flow import (
    Action,
    Bits,
    Decap,
    Encap,
    Flow,
    Header,
    Output,
    PopMpls,
    Port,
    SetField,
    Value,
    match,
    move,
)
from ofgtp.core.flows.pipeline import (
    CONTAINER,
    CONTAINER_END,
    EPOCH,
    EXTENSION_METER,
    REFUSED_METER,
    UNWRAP,
    DropReason,
)
from ofgtp.core.packets.gtpu import Extension
from ofgtp.core.rules.terms import (
    CONTAINED,
    ETHERNET_HEADER,
    EXTENDED,
    EXTENDED_NUMBERED,
    EXTENSION_SAMPLE,
    IPV6,
    NSH,
    OF_TYPE_0,
    UDP,
    UNEXTENDED,
    Links,
)

PROLOGUE = (
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


DL_TYPE, UL_TYPE = 0, 1
"""PDU types (TS 38.415, 5.5.3.1): which way a PDU SESSION INFORMATION goes."""


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
    return 0 if form == EXTENDED_NUMBERED else 4


def _packet_at(form: int, units: int) -> int:
    """Where the UE's packet begins, behind a container of that many units; 0: there is none."""
    return _container_at(form) + 4 * units


def _far(form: int, units: int) -> bool:
    """Whether its end is not seen while the whole prologue is in front."""
    return _packet_at(form, units) > _DST


def far_forms() -> Iterator[int]:
    """What register 5 says of packets that are read as IPv6 once more than others."""
    for form in (EXTENDED, EXTENDED_NUMBERED):
        for units in range(1, units_max(form) + 1):
            if _far(form, units):
                yield form << 4 | units


def _typed(form: int) -> _Octets:
    """The first extension header's type, where the switch has not taken it off."""
    return {3: (Extension.PDU_SESSION_CONTAINER, 0xFF)} if form == EXTENDED else {}


def _measured(form: int, units: int, pdu_type: int, links: Links) -> Flow:
    """A PDU SESSION INFORMATION (TS 38.415, 5.5.2) of that many units of 4 octets.

    One of a single unit has room for the QFI alone, so all flags for more must be clear; an RQI,
    which only one of type 0 has, asks for no room. What else longer ones hold is taken off unread.
    Of one that reaches further than the destination the end is not seen: 16 octets of the prologue
    are taken off, and what is left is read as IPv6 again.
    """
    at, single = _container_at(form), units == 1
    octets = {
        at: (units, 0xFF),
        at + 1: (pdu_type << 4, 0xFF if single else 0xF0),
        **({at + 2: (0, 0x80 if pdu_type == DL_TYPE else 0xC0)} if single else {}),
    }
    qfi = _DST_BITS - 8 - 8 * (at + 2)
    return _found(
        form,
        units,
        {**_typed(form), **octets},
        links,
        SetField("reg3", CONTAINED | (OF_TYPE_0 if pdu_type == DL_TYPE else 0)),
        move(Bits("ipv6_dst", qfi, qfi + 5), Bits("reg3", 0, 5)),
        *(_SHORTEN if _far(form, units) else ()),
    )


def _uncontained(links: Links) -> Iterator[Flow]:
    """No extension header follows, though there is room for its type (TS 29.281, 5.1, 5.2.1).

    With E alone it says so, and with PN alone means nothing. With S too the switch has taken it
    off; then a version of IP stands where a container of more octets than are taken off has its
    length.
    """
    yield _found(EXTENDED, 0, {3: (0, 0xFF)}, links)
    yield _found(UNEXTENDED, 0, {}, links)
    for version in (4, 6):
        yield _found(EXTENDED_NUMBERED, 0, {0: (version << 4, 0xF0)}, links)


def _found(form: int, units: int, octets: _Octets, links: Links, *actions: Action) -> Flow:
    """What the packet begins behind is known by these octets."""
    asked = {"ipv6_dst": _octets(octets)}
    return CONTAINER.flow(
        100,
        match(reg5=form, pkt_mark=(0, links.epoch), dl_type=IPV6, **asked),
        SetField("reg5", form << 4 | units),
        *actions,
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


_BARED = Decap(), Decap()
"""The Ethernet header, and then the Network Service Header."""


_SHORTEN = (
    *_as_nsh(PROLOGUE_WORDS - SHORT_PROLOGUE_WORDS, _NSH_IPV6),
    *_BARED,
    Encap(Header.ETHERNET),
)


def container(links: Links) -> Iterator[Flow]:
    show = Output(Port.CONTROLLER, max_len=EXTENSION_SAMPLE)

    def bad(priority: int, reason: DropReason, octets: _Octets) -> Flow:
        typed = _octets({**_typed(EXTENDED), **octets})
        asked = match(reg5=EXTENDED, dl_type=IPV6, ipv6_dst=typed)
        return CONTAINER.drop(priority, asked, reason, show, meter=REFUSED_METER)

    for units in (0, 1):
        yield bad(92, DropReason.BAD_CONTAINER, {4: (units, 0xFF)})
    # of type 0 or 1
    yield bad(90, DropReason.LONG_CONTAINER, {5: (0x00, 0xE0)})
    yield bad(80, DropReason.BAD_CONTAINER, {})
    for table in (CONTAINER, CONTAINER_END):
        # What is shorter than an IPv6 header and UDP's is not parsed: nothing of it is seen.
        yield table.drop(110, match(dl_type=IPV6, nw_proto=0), DropReason.BAD_INNER)
    other = DropReason.EXTENSION_HEADER
    yield CONTAINER.drop(0, (), other, show, meter=EXTENSION_METER)
    for form in (EXTENDED, EXTENDED_NUMBERED, UNEXTENDED):
        for units in range(units_max(form) + 1 if form != UNEXTENDED else 1):
            if not _far(form, units):
                yield from _ended(form, units, links)
            if _last(form, units) or form == UNEXTENDED:
                yield _not_ip(form, units)
    another = DropReason.EXTENSION_CHAIN
    yield CONTAINER_END.drop(0, (), another, show, meter=EXTENSION_METER)


def _ended(form: int, units: int, links: Links) -> Iterator[Flow]:
    """The prologue is read as a Network Service Header next: as one of all that is to go."""
    packet_at, far = _packet_at(form, units), _far(form, units)
    words = (SHORT_PROLOGUE_WORDS if far else PROLOGUE_WORDS) + packet_at // 4
    for version, protocol in ((4, _NSH_IPV4), (6, _NSH_IPV6)):
        asked, further = dict(_last(form, units)), dict[str, Value]()
        if packet_at and not packet_at % _DST:
            further |= {"nw_proto": UDP, "udp_src": (version << 12, 0xF000)}
        else:
            asked[packet_at % _DST] = version << 4, 0xF0
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
    """No further header's type stands at the container's end, nor in the optional part."""
    if not units and form != EXTENDED:
        return {}
    return {(_packet_at(form, units) - 1) % _DST: (0, 0xFF)}


def epoch_flows(links: Links) -> Iterator[Flow]:
    """Those by which packets pass from one pass of the switch to the next; see NO_SESSION."""
    yield from _uncontained(links)
    for form in (EXTENDED, EXTENDED_NUMBERED):
        for units in range(1, units_max(form) + 1):
            yield _measured(form, units, UL_TYPE, links)
            if form == EXTENDED:
                # With S its type is not seen, and too much would look like one of these.
                yield _measured(form, units, DL_TYPE, links)
            if _far(form, units):
                yield from _ended(form, units, links)
    unwrapped = match(dl_type=NSH, pkt_mark=(0, links.epoch))
    yield UNWRAP.flow(100, unwrapped, *_BARED, goto=EPOCH)
