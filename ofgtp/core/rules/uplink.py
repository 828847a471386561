"""Tables uplink, qfi, guard and route: from the tunnel to the packet data network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from ofgtp.core.flows.flow import Decap, Flow, ForgetInPort, Output, Port, match, set_field
from ofgtp.core.flows.pipeline import (
    FIT,
    GUARD,
    HELD,
    MEASURE,
    ONWARD,
    QFI,
    REFUSAL,
    ROUTE,
    UPLINK,
    UPLINK_MISS_METER,
    DropReason,
)
from ofgtp.core.model import QFI_MAX, Gateway
from ofgtp.core.rules.downlink import check_size, container_in_front
from ofgtp.core.rules.terms import (
    ASKED,
    CHECKED,
    CONTAINED,
    HAS_CONTAINER,
    HEADER_SAMPLE,
    HOLDS,
    IPV4,
    IPV6,
    LIVE,
    NO_SESSION,
    PRIORITY_MAX,
    REFUSED,
    REFUSES,
    RELAYS,
    STRICT,
    WAY_TABLES,
    Links,
)


def qfi() -> Iterator[Flow]:
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


_WANTS = CONTAINED | CHECKED


def rules() -> Iterator[Flow]:
    """What happens to packets that none of their session's filters takes."""
    for table in WAY_TABLES.values():
        asked = ASKED[table.number]
        for bits, goto in (
            ({"reg6": (RELAYS, RELAYS), "reg4": (0, HAS_CONTAINER)}, ONWARD),
            ({"reg6": (RELAYS, RELAYS), "reg4": (HAS_CONTAINER, HAS_CONTAINER)}, MEASURE),
            ({"reg6": (REFUSES, REFUSES)}, REFUSAL),
            ({"reg6": (HOLDS, HOLDS)}, HELD),
        ):
            yield table.flow(PRIORITY_MAX, match(**bits, **asked), goto=goto)
        strict = match(reg6=(STRICT, STRICT), **asked)
        yield table.drop(0, strict, DropReason.WRONG_BEARER)
        for wants, goto in (
            ((0, _WANTS), GUARD),
            ((CONTAINED, CONTAINED), QFI),
            ((CHECKED, _WANTS), QFI),
        ):
            yield table.flow(0, match(reg4=wants, reg6=(0, STRICT), **asked), goto=goto)


def onward(links: Links) -> Iterator[Flow]:
    """A UL PDU SESSION INFORMATION (TS 38.415, 5.5.2.2) in front of those that had one, as in table
    contain; the others as they are."""
    out = Output(links.gtpu)
    yield ONWARD.flow(0, match(reg3=(0, CONTAINED)), Decap(), out)
    for odd in (0, 1):
        asked = match(reg3=(CONTAINED | odd, CONTAINED | 1))
        yield ONWARD.flow(0, asked, *container_in_front("reg3", 0x01100, 4, 5, odd), out)


def uplink() -> Iterator[Flow]:
    yield UPLINK.drop(10, match(dl_type=IPV6, **NO_SESSION), DropReason.INNER_IPV6)
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
