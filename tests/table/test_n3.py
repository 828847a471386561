"""The PDU Session Container (TS 38.415), through the model of the tables."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.flows.flow import cookie_number
from ofgtp.core.flows.pipeline import (
    CONTAINER,
    CONTAINER_END,
    EPOCH,
    UNWRAP,
    UPLINK,
    DropReason,
    Report,
)
from ofgtp.core.model import FTeid, Qos
from tests.support.sample import ENB, LINKS, session
from tests.table.simulator import TUNNEL, Trace
from tests.table.test_cache import Way, ends, session_pass
from tests.table.world import (
    PN,
    SERVER,
    E,
    S,
    contained,
    from_core,
    gtpu,
    inner,
    inner_ipv6,
    only,
    switch,
    why,
)

FORMS = pytest.mark.parametrize("flags", [E, E | PN, E | S, E | S | PN])
UNITS = pytest.mark.parametrize("units", range(1, 8))
"""Up to 28 octets, the length with QMP's timestamps."""


def container(qfi: int, units: int = 1, first: int = 0x10) -> bytes:
    return bytes([units, first, qfi]) + b"\xa5" * (4 * units - 4) + b"\0"


@FORMS
@UNITS
def test_every_qfi_and_ttl(flags: int, units: int) -> None:
    gw = switch(session(qos=Qos(9)))
    for ttl in (*range(1, 256, 5), 64, 79, 95, 96, 111, 112, 255):
        packet = inner(ttl=ttl, id=ttl << 8)
        of_ttl = container(ttl % 64, units)
        frame = gtpu(packet, flags=flags, container=of_ttl, sequence=ttl << 8 | ttl)
        trace = gw.receive(LINKS.access, frame)
        assert only(trace, LINKS.core)[12:] == b"\x08\0" + packet, f"TTL {ttl}"
        [seen] = trace.at(UPLINK.number)
        assert seen.reg3 == 0x80 | ttl % 64


@FORMS
@UNITS
def test_every_size(flags: int, units: int) -> None:
    gw = switch(session(qos=Qos(9)))
    for size in (0, 1, 4, 5, 8, 9, 400, 1400):
        packet = inner(size=size)
        frame = gtpu(packet, flags=flags, container=container(9, units))
        assert only(gw.receive(LINKS.access, frame), LINKS.core)[14:] == packet


@FORMS
def test_ipv6_is_typed_rightly(flags: int) -> None:
    gw = switch(session(qos=Qos(9)))
    for units in range(1, 8):
        for source in ("2001:db8::2", "4001::1", "6001::1"):
            packet = inner_ipv6(source)
            trace = gw.receive(
                LINKS.access, gtpu(packet, flags=flags, container=container(9, units))
            )
            assert why(trace) is DropReason.INNER_IPV6
            [seen] = trace.at(UPLINK.number)
            assert seen.data[14:] == packet


def test_the_ways_of_a_container() -> None:
    """Each pass of the switch asks for the epoch: it leads to the next by a number."""
    trace = switch(session(qos=Qos(9))).receive(LINKS.access, gtpu(inner(), flags=E))
    tables = [flow.table for flow in trace.flows]
    assert tables == [0, 10, 12, 25, 0, 15, 16, 20, 0, 22, 23, 24, 26, 28, 29, 30, 35, 40, 50]
    for table in (CONTAINER, UNWRAP, EPOCH):
        [packet] = trace.at(table.number)
        assert [getattr(packet, name) for name in (*TUNNEL, "pkt_mark")] == [0] * 6
    assert (trace.at(UPLINK.number)[0].reg0, trace.at(UPLINK.number)[0].reg1) == (0x1001, int(ENB))


@pytest.mark.parametrize(("flags", "units"), [(E, 4), (E, 7), (E | S, 5), (E | S, 8)])
def test_a_long_one_is_read_twice(flags: int, units: int) -> None:
    """In a pass of its own, which asks for the epoch, too: the second time 16 octets further."""
    frame = gtpu(inner(), flags=flags, container=container(9, units))
    trace = switch(session(qos=Qos(9))).receive(LINKS.access, frame)
    [first], [second] = trace.at(CONTAINER.number), trace.at(CONTAINER_END.number)
    assert len(first.data) == len(second.data) + 16
    for table in (CONTAINER, CONTAINER_END, UNWRAP, EPOCH):
        [met] = [flow for flow in trace.flows if flow.table == table.number]
        assert [c.mask for c in met.match if c.field == "pkt_mark"] == [LINKS.epoch], table.name


@pytest.mark.parametrize(("flags", "most"), [(E, 7), (E | S, 8)])
def test_longer_ones_are_dropped(flags: int, most: int) -> None:
    gw = switch(session(qos=Qos(9)))
    for units in (most, most + 1, 12, 16, 17, 255):
        frame = gtpu(inner(), flags=flags, container=container(9, units))
        trace = gw.receive(LINKS.access, frame)
        if units == most:
            only(trace, LINKS.core)
        else:
            wanted = DropReason.EXTENSION_HEADER if flags & S else DropReason.LONG_CONTAINER
            assert why(trace) is wanted


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("check", [True, False])
def test_what_a_session_asks_for(required: bool, check: bool) -> None:
    for qfi in (1, 6, 63):
        gw = switch(session(qos=Qos(qfi, required=required, check=check)))
        for other in (0, 1, 2, 5, 6, 7, 31, 62, 63):
            frame = gtpu(inner(), flags=E, container=container(other))
            trace = gw.receive(LINKS.access, frame)
            if check and other != qfi:
                assert why(trace) is DropReason.WRONG_QFI
            else:
                only(trace, LINKS.core)
        for flags in (0, S):
            trace = gw.receive(LINKS.access, gtpu(inner(), flags=flags))
            if required:
                assert why(trace) is DropReason.CONTAINER_MISSING
            else:
                only(trace, LINKS.core)


@pytest.mark.parametrize("flags", [E, E | PN])
@UNITS
def test_pdu_type_0_where_the_session_requires_no_container(flags: int, units: int) -> None:
    """Of a downlink container (TS 38.415, 5.5.2.1) too the QFI is known, and may be checked."""
    sessions = {
        "4G": session(),
        "required": session(qos=Qos(9)),
        "both": session(qos=Qos(9, check=True)),
        "checked": session(qos=Qos(9, required=False, check=True)),
        "neither": session(qos=Qos(9, required=False)),
    }
    for name, known in sessions.items():
        gw = switch(known)
        for qfi in (0, 8, 9, 63):
            for rqi in (0, 0x40):
                octets = container(rqi | qfi, units, first=0x00)
                trace = gw.receive(LINKS.access, gtpu(inner(), flags=flags, container=octets))
                [seen] = trace.at(UPLINK.number)
                assert seen.reg3 == 0xC0 | qfi
                if name in ("required", "both"):
                    assert why(trace) is DropReason.BAD_CONTAINER
                elif name == "checked" and qfi != 9:
                    assert why(trace) is DropReason.WRONG_QFI
                else:
                    assert only(trace, LINKS.core)[14:] == inner()


def test_other_pdu_types_are_none() -> None:
    gw = switch(session(qos=Qos(9, required=False)))
    for pdu_type in range(2, 16):
        for units in (1, 2, 7, 8):
            octets = container(9, units, first=pdu_type << 4)
            trace = gw.receive(LINKS.access, gtpu(inner(), flags=E, container=octets))
            assert why(trace) is DropReason.BAD_CONTAINER


@pytest.mark.parametrize("first", [0x00, 0x0F, 0x10, 0x1F])
def test_long_ones_of_both_types(first: int) -> None:
    gw = switch(session(qos=Qos(9, required=False)))
    for units in (8, 17, 255):
        frame = gtpu(inner(), flags=E, container=container(9, units, first=first))
        assert why(gw.receive(LINKS.access, frame)) is DropReason.LONG_CONTAINER


@pytest.mark.parametrize("flags", [E | S, E | S | PN])
@UNITS
def test_pdu_type_0_is_not_known_where_the_header_type_is_hidden(flags: int, units: int) -> None:
    """With E and S: a PDCP PDU number of 9, say, is the same four octets."""
    gw = switch(session(qos=Qos(9, required=False)))
    frame = gtpu(inner(), flags=flags, container=container(9, units, first=0x00))
    assert why(gw.receive(LINKS.access, frame)) is DropReason.EXTENSION_HEADER


def test_a_session_without_a_qfi_takes_both() -> None:
    gw = switch(session())
    for flags in (0, S, E, E | S):
        assert only(gw.receive(LINKS.access, gtpu(inner(), flags=flags)), LINKS.core)


def sent(trace: Trace) -> bytes:
    """The GTP-U message that left, after nftables."""
    return contained(only(trace, LINKS.access))[42:]


def as_sent(teid: int, octet: int, packet: bytes) -> bytes:
    head = bytes([0x34, 255]) + (8 + len(packet)).to_bytes(2, "big") + teid.to_bytes(4, "big")
    return head + bytes([0, 0, 0, 0x85, 1, 0, octet, 0]) + packet


@pytest.mark.parametrize("rqi", [True, False])
def test_every_qfi_downlink(rqi: bool) -> None:
    packet = inner(SERVER, "10.45.0.2")
    for qfi in (1, 2, 5, 6, 8, 9, 16, 31, 32, 62, 63):
        gw = switch(session(qos=Qos(qfi, rqi)))
        wanted = as_sent(0x2001, rqi << 6 | qfi, packet)
        assert sent(gw.receive(LINKS.core, from_core(packet))) == wanted


PLAIN = switch(session())


@given(st.binary(max_size=60))
def test_nftables_leaves_plain_t_pdus_alone(options: bytes) -> None:
    packet = inner(SERVER, "10.45.0.2", size=len(options))
    packet = packet[: len(packet) - len(options)] + options
    frame = only(PLAIN.receive(LINKS.core, from_core(packet)), LINKS.access)
    assert contained(frame) == frame


def test_what_fits() -> None:
    """Eight octets less than without a container."""
    gw = switch(session(qos=Qos(9)), session(2, qos=None), ue_to_ue="route")
    largest = 1500 - 36 - 8 - 28
    for size, fits in ((largest, True), (largest + 1, False), (largest + 8, False)):
        for port, frame in (
            (LINKS.core, from_core(inner(SERVER, "10.45.0.2", size=size))),
            (LINKS.access, gtpu(inner("10.45.0.3", "10.45.0.2", size=size), 0x1002)),
        ):
            trace = gw.receive(port, frame)
            assert [where for where, _ in trace.sent] == [LINKS.access] * fits
            if not fits:
                [(cookie, _)] = trace.reported
                assert cookie_number(cookie) == Report.TOO_BIG
    only(
        gw.receive(LINKS.core, from_core(inner(SERVER, "10.45.0.3", size=largest + 8))),
        LINKS.access,
    )


def test_what_a_session_refuses_is_noticed_by_packets_under_way() -> None:
    """Passing, being refused and being of no session ask for different fields: see test_cache."""
    kinds: dict[str, list[Way]] = {"live": [], "refused": [], "lost": []}
    for qos in (None, Qos(9), Qos(9, check=True), Qos(1, check=True), Qos(9, required=False)):
        gw = switch(session(qos=qos))
        for frame in (
            gtpu(inner(), flags=E),
            gtpu(inner()),
            gtpu(inner(), flags=E, container=container(1)),
            gtpu(inner(), flags=E, container=container(9, first=0)),
            gtpu(inner(), flags=E, container=container(1, first=0)),
            gtpu(inner(), flags=E, extension=0, container=b""),
            gtpu(inner(), 0xBAD, flags=E),
            gtpu(inner(), 0xBAD),
        ):
            trace = gw.receive(LINKS.access, frame)
            reason = trace.drop_number
            kind = "live" if reason is None else "refused"
            kinds["lost" if reason == DropReason.NO_UPLINK_SESSION else kind].append(
                Way(gw, session_pass(trace))
            )
    assert all(len(ways) >= 3 for ways in kinds.values())
    for old, new in permutations(kinds, 2):
        for before in kinds[old]:
            assert all(ends(before, after) for after in kinds[new]), (old, new)


def test_between_ues() -> None:
    one = session(qos=Qos(9))
    other = session(2, downlink=FTeid(0x2002, IPv4Address("10.1.0.3")), qos=Qos(10, rqi=True))
    gw = switch(one, other, ue_to_ue="route")
    packet = inner(dst="10.45.0.3")
    trace = gw.receive(LINKS.access, gtpu(packet, flags=E))
    assert sent(trace) == as_sent(0x2002, 0x40 | 10, packet)
