"""Tables uplink, qfi, guard and route: from the tunnel to the packet data network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from ofgtp.core.filters import Network
from ofgtp.core.flows.flow import (
    CheckBigger,
    Decap,
    DecTtl,
    Flow,
    Output,
    Port,
    Value,
    match,
    set_field,
)
from ofgtp.core.flows.pipeline import (
    FRAMED,
    GUARD,
    HELD,
    MEASURE,
    ONWARD,
    ONWARD_FIT,
    QFI,
    REFUSAL,
    REFUSED_METER,
    ROUTE,
    ROUTER,
    ROUTER_METERS,
    TOO_BIG,
    TOO_BIG_RELAYED_METER,
    TOO_BIG_UPLINK_METER,
    TOO_BIG_UPLINK_REPORT_METER,
    UPLINK,
    UPLINK_HELD_METER,
    UPLINK_MISS_METER,
    DropReason,
    Report,
)
from ofgtp.core.model import QFI_MAX, Gateway
from ofgtp.core.rules.downlink import check_size, container_in_front, ttl_expired
from ofgtp.core.rules.terms import (
    ASKED,
    CHECKED,
    CONTAINED,
    CONTAINER_HEADERS,
    ETHERNET_HEADER,
    FIRST_FRAGMENT,
    HAS_CONTAINER,
    HEADER_SAMPLE,
    HOLDS,
    ICMPV6,
    IPV4,
    IPV6,
    LIVE,
    LONGER_THAN_ACCESS,
    NEIGHBOUR_DISCOVERY,
    NEIGHBOURS_HOPS,
    NO_SESSION,
    OF_TYPE_0,
    PRIORITY_MAX,
    REFUSED,
    REFUSES,
    RELAYS,
    ROUTER_ADDRESS,
    ROUTER_SOLICITATION,
    SOLICITATION,
    SOLICITATION_SAMPLE,
    STRICT,
    TUNNEL_HEADERS,
    VLAN_TAG,
    WAY_TABLES,
    Links,
    to_network,
)

LONGER_THAN_CORE = 2
"""The bit of register 2 that says so."""
_NOTHING = IPv4Address(0)


def qfi() -> Iterator[Flow]:
    """All that pass stand above those that do not: see NO_SESSION.

    A session that requires a container requires an uplink one. One of PDU type 0 it refuses, and
    another one, which requires none, takes it.
    """
    container, none, kind = (CONTAINED, CONTAINED), (0, CONTAINED), CONTAINED | OF_TYPE_0
    yield QFI.flow(100, match(reg3=(CONTAINED, kind), reg4=CONTAINED), goto=GUARD)
    for qfi in range(1, QFI_MAX + 1):
        same = match(reg3=CONTAINED | qfi, reg4=(CHECKED | qfi, CHECKED | QFI_MAX))
        yield QFI.flow(100, same, goto=GUARD)
        of_type_0 = match(reg3=kind | qfi, reg4=CHECKED | qfi)
        yield QFI.flow(100, of_type_0, goto=GUARD)
    yield QFI.flow(100, match(reg3=none, reg4=(0, CONTAINED)), goto=GUARD)
    show = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    refused = match(reg3=(kind, kind), reg4=(CONTAINED, CONTAINED), **REFUSED)
    yield QFI.drop(20, refused, DropReason.BAD_CONTAINER, show, meter=REFUSED_METER)
    other = match(reg3=container, **REFUSED)
    yield QFI.drop(10, other, DropReason.WRONG_QFI, show, meter=REFUSED_METER)
    missing = match(**REFUSED)
    yield QFI.drop(0, missing, DropReason.CONTAINER_MISSING, show, meter=REFUSED_METER)


_WANTS = CONTAINED | CHECKED


def rules() -> Iterator[Flow]:
    """What happens to packets that none of their session's filters takes."""
    for table in WAY_TABLES.values():
        asked = ASKED[table.number]
        for bits, goto, meter in (
            ({"reg6": (RELAYS, RELAYS), "reg4": (0, HAS_CONTAINER)}, ONWARD, None),
            ({"reg6": (RELAYS, RELAYS), "reg4": (HAS_CONTAINER, HAS_CONTAINER)}, MEASURE, None),
            ({"reg6": (REFUSES, REFUSES)}, REFUSAL, None),
            ({"reg6": (HOLDS, HOLDS)}, HELD, UPLINK_HELD_METER),
        ):
            yield table.flow(PRIORITY_MAX, match(**bits, **asked), goto=goto, meter=meter)
        strict = match(reg6=(STRICT, STRICT), **asked)
        yield table.drop(0, strict, DropReason.WRONG_BEARER)
        for wants, goto in (
            ((0, _WANTS), GUARD),
            ((CONTAINED, CONTAINED), QFI),
            ((CHECKED, _WANTS), QFI),
        ):
            yield table.flow(0, match(reg4=wants, reg6=(0, STRICT), **asked), goto=goto)


def onward(links: Links) -> Iterator[Flow]:
    """A UL or DL PDU SESSION INFORMATION (TS 38.415, 5.5.2) in front of those that had one, as in
    table contain; the others as they are."""
    bare = check_size(links).octets
    for contained, octets in ((0, bare), (CONTAINED, bare - CONTAINER_HEADERS)):
        fits = CheckBigger(octets, "reg2", LONGER_THAN_ACCESS)
        yield ONWARD.flow(0, match(reg3=(contained, CONTAINED)), fits, goto=ONWARD_FIT)
    bit, out = 1 << LONGER_THAN_ACCESS, Output(links.gtpu)
    longer = match(reg2=(bit, bit))
    yield ONWARD_FIT.drop(100, longer, DropReason.TOO_BIG, meter=TOO_BIG_RELAYED_METER)
    yield ONWARD_FIT.flow(0, match(reg3=(0, CONTAINED)), Decap(), out)
    for odd in (0, 1):
        for of_type, label in ((OF_TYPE_0, 0x01000), (0, 0x01100)):
            asked = match(reg3=(CONTAINED | of_type | odd, CONTAINED | OF_TYPE_0 | 1))
            yield ONWARD_FIT.flow(0, asked, *container_in_front("reg3", label, 4, 5, odd), out)


def uplink(gateway: Gateway) -> Iterator[Flow]:
    # The switch parses a header that contradicts itself, or the packet, no further than its type.
    unread = match(dl_type=IPV4, nw_src=_NOTHING, nw_dst=_NOTHING, nw_ttl=0)
    yield UPLINK.drop(20, unread, DropReason.BAD_INNER)
    if gateway.ue_pools6:
        # Their sources are no session's: below sessions' flows.
        for each in _to_router(gateway):
            yield UPLINK.flow(60, match(**each, **NO_SESSION), goto=ROUTER)
        for kind in NEIGHBOUR_DISCOVERY:
            other = match(**_NEIGHBOURS, icmpv6_type=kind, **NO_SESSION)
            yield UPLINK.drop(50, other, DropReason.NEIGHBOUR_DISCOVERY)
    else:
        yield UPLINK.drop(10, match(dl_type=IPV6, **NO_SESSION), DropReason.INNER_IPV6)
    # The switch counts every miss; the controller sees some and tells what they were.
    report = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    asked = match(**NO_SESSION)
    yield UPLINK.drop(0, asked, DropReason.NO_UPLINK_SESSION, report, meter=UPLINK_MISS_METER)


_NEIGHBOURS: dict[str, Value] = {"dl_type": IPV6, "nw_proto": ICMPV6}


def _to_router(gateway: Gateway) -> Iterator[dict[str, Value]]:
    """What UEs may say on their links: they look for their router, and ask whether it is still
    there (RFC 4861, 7.3). Not whether an address of theirs is somebody else's: nobody is there who
    might have it, and nobody answers (TS 23.401, 5.3.1.2.2)."""
    asked = {**_NEIGHBOURS, "nw_ttl": NEIGHBOURS_HOPS, "icmpv6_code": 0}
    if gateway.router_advertisement or gateway.pfcp is not None:
        yield {**asked, "icmpv6_type": ROUTER_SOLICITATION}
    if gateway.router_advertisement:
        yield {**asked, "icmpv6_type": SOLICITATION, "nd_target": ROUTER_ADDRESS}


def router() -> Iterator[Flow]:
    """What UEs say to their router, in shares by their TEIDs."""
    show = Output(Port.CONTROLLER, max_len=SOLICITATION_SAMPLE)
    for share, meter in enumerate(ROUTER_METERS):
        asked = match(reg0=(share, len(ROUTER_METERS) - 1))
        yield ROUTER.report(100, asked, Report.ROUTER_SOLICITATION, show, meter=meter)


def guard(gateway: Gateway, links: Links, protected: Iterable[Network]) -> Iterator[Flow]:
    if gateway.ue_pools6:
        # From their own addresses UEs may ask, too; and say nothing that a neighbour would believe.
        for each in _to_router(gateway):
            yield GUARD.flow(120, match(**each, **LIVE), goto=ROUTER)
        for kind in NEIGHBOUR_DISCOVERY:
            said = match(**_NEIGHBOURS, icmpv6_type=kind, **LIVE)
            yield GUARD.drop(110, said, DropReason.NEIGHBOUR_DISCOVERY)
        # Of a fragment no type can be asked for, and in no other than the first could one stand.
        part = match(**_NEIGHBOURS, nw_ttl=NEIGHBOURS_HOPS, ip_frag=FIRST_FRAGMENT, **LIVE)
        yield GUARD.drop(110, part, DropReason.NEIGHBOUR_DISCOVERY)
        # Its headers do not end in it (RFC 7112): there is no telling what it is.
        yield GUARD.drop(110, match(dl_type=IPV6, nw_proto=0, **LIVE), DropReason.BAD_INNER)
    for network in protected:
        asked = match(**to_network(network), **LIVE)
        yield GUARD.drop(100, asked, DropReason.PROTECTED_DESTINATION)
    for pool in gateway.pools:
        asked = match(**to_network(pool), **LIVE)
        if gateway.ue_to_ue == "deny":
            yield GUARD.drop(90, asked, DropReason.UE_TO_UE)
        else:
            yield GUARD.flow(90, asked, goto=FRAMED)
    limit = core_limit(links)
    size = () if limit is None else (CheckBigger(limit, "reg2", LONGER_THAN_CORE),)
    yield GUARD.flow(0, match(**LIVE), *size, goto=ROUTE)


def core_limit(links: Links) -> int | None:
    """The longest frame that the core port takes, in octets; None: nothing longer can come.

    To compare a size costs time. Nor is it done while no next hop is known: the switch counts a
    packet on both of the ways that it may take, and they would be one.
    """
    if links.core_mtu is None or links.peer_mac is None is links.peer_mac6:
        return None
    longest = links.access_mtu + VLAN_TAG - TUNNEL_HEADERS
    return links.core_mtu + ETHERNET_HEADER if links.core_mtu < longest else None


def route(links: Links) -> Iterator[Flow]:
    limit = core_limit(links)
    for version, peer_mac in ((IPV4, links.peer_mac), (IPV6, links.peer_mac6)):
        if peer_mac is None:
            continue
        if links.decrement_ttl:
            yield from ttl_expired(ROUTE, 120, {"dl_type": version})
        yield ROUTE.flow(
            100,
            match(dl_type=version),
            *((DecTtl(),) if links.decrement_ttl else ()),
            set_field("dl_src", links.core_mac),
            set_field("dl_dst", peer_mac),
            # Cut is only what stands behind an IP packet: it does not count for its size.
            Output(links.core, max_len=limit or 0),
        )
    if limit is not None:
        bit = 1 << LONGER_THAN_CORE
        longer = match(reg2=(bit, bit))
        show = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
        yield ROUTE.flow(110, longer, goto=TOO_BIG, meter=TOO_BIG_UPLINK_METER)
        yield TOO_BIG.report(
            10, longer, Report.TOO_BIG_UPLINK, show, meter=TOO_BIG_UPLINK_REPORT_METER
        )
