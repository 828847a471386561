"""Tables uplink, qfi, guard and route: from the tunnel to the packet data network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from ofgtp.core.flows.flow import Flow, ForgetInPort, Output, Port, match, set_field
from ofgtp.core.flows.pipeline import (
    FIT,
    GUARD,
    QFI,
    REFUSED_METER,
    ROUTE,
    UPLINK,
    UPLINK_MISS_METER,
    DropReason,
)
from ofgtp.core.model import QFI_MAX, Gateway
from ofgtp.core.rules.downlink import check_size
from ofgtp.core.rules.terms import (
    CHECKED,
    CONTAINED,
    HEADER_SAMPLE,
    IPV4,
    IPV6,
    LIVE,
    NO_SESSION,
    REFUSED,
    Links,
)

_NOTHING = IPv4Address(0)


def qfi() -> Iterator[Flow]:
    """All that pass stand above those that do not: see NO_SESSION."""
    container, none = (CONTAINED, CONTAINED), (0, CONTAINED)
    yield QFI.flow(100, match(reg3=container, reg4=CONTAINED), goto=GUARD)
    for qfi in range(1, QFI_MAX + 1):
        same = match(reg3=CONTAINED | qfi, reg4=(CHECKED | qfi, CHECKED | QFI_MAX))
        yield QFI.flow(100, same, goto=GUARD)
    yield QFI.flow(100, match(reg3=none, reg4=(0, CONTAINED)), goto=GUARD)
    show = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    other = match(reg3=container, **REFUSED)
    yield QFI.drop(10, other, DropReason.WRONG_QFI, show, meter=REFUSED_METER)
    missing = match(**REFUSED)
    yield QFI.drop(0, missing, DropReason.CONTAINER_MISSING, show, meter=REFUSED_METER)


def uplink() -> Iterator[Flow]:
    # The switch parses a header that contradicts itself, or the packet, no further than its type.
    unread = match(dl_type=IPV4, nw_src=_NOTHING, nw_dst=_NOTHING, nw_ttl=0)
    yield UPLINK.drop(20, unread, DropReason.BAD_INNER)
    yield UPLINK.drop(10, match(dl_type=IPV6), DropReason.INNER_IPV6)
    # The switch counts every miss; the controller sees some and tells what they were.
    report = Output(Port.CONTROLLER, max_len=HEADER_SAMPLE)
    asked = match(**NO_SESSION)
    yield UPLINK.drop(0, asked, DropReason.NO_UPLINK_SESSION, report, meter=UPLINK_MISS_METER)


def guard(gateway: Gateway, links: Links, protected: Iterable[IPv4Network]) -> Iterator[Flow]:
    for network in protected:
        asked = match(dl_type=IPV4, nw_dst=network, **LIVE)
        yield GUARD.drop(100, asked, DropReason.PROTECTED_DESTINATION)
    for pool in gateway.ue_pools:
        asked = match(dl_type=IPV4, nw_dst=pool, **LIVE)
        if gateway.ue_to_ue == "deny":
            yield GUARD.drop(90, asked, DropReason.UE_TO_UE)
        else:
            yield GUARD.flow(90, asked, ForgetInPort(), check_size(links), goto=FIT)
    yield GUARD.flow(0, match(**LIVE), goto=ROUTE)


def route(links: Links) -> Iterator[Flow]:
    if links.peer_mac is not None:
        yield ROUTE.flow(
            100,
            match(dl_type=IPV4),
            set_field("dl_src", links.core_mac),
            set_field("dl_dst", links.peer_mac),
            Output(links.core),
        )
