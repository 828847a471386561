"""ECN of a tunnel's outer header, through the model of the tables: RFC 6040, figure 4."""

from __future__ import annotations

from itertools import product

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from ofgtp.core.flows.flow import cookie_number
from ofgtp.core.flows.pipeline import INNER_ECN, OUTER_ECN, UPLINK, DropReason, Report
from tests.support.sample import LINKS, session
from tests.table.world import PN, E, S, gtpu, inner, inner_ipv6, only, switch, why

NOT_ECT, ECT_1, ECT_0, CE = range(4)
DSCP = 0x2E << 2
PAIRS = list(product(range(4), repeat=2))
GATEWAY = switch(session())
FORMS = pytest.mark.parametrize("flags", [0, S, S | PN, E, E | PN, E | S, E | S | PN])


def decapsulated(outer: int, inside: int) -> int | None:
    """None: dropped."""
    if outer == CE:
        return None if inside == NOT_ECT else CE
    return ECT_1 if (outer, inside) == (ECT_1, ECT_0) else inside


@FORMS
@pytest.mark.parametrize(("outer", "inside"), PAIRS)
def test_every_pair(outer: int, inside: int, flags: int) -> None:
    """Nothing else of the packet changes but its header's checksum, and that is right."""
    wanted = decapsulated(outer, inside)
    for ttl in (1, 64, 79, 96, 100, 128, 255):
        packet = inner(ttl=ttl, tos=DSCP | inside)
        trace = GATEWAY.receive(LINKS.access, gtpu(packet, flags=flags, tos=DSCP | outer))
        if wanted is None:
            assert why(trace) is DropReason.NOT_ECN_CAPABLE
        else:
            assert only(trace, LINKS.core)[14:] == inner(ttl=ttl, tos=DSCP | wanted)


@FORMS
@pytest.mark.parametrize(("outer", "inside"), PAIRS)
def test_every_pair_with_ipv6(outer: int, inside: int, flags: int) -> None:
    """It has no session, but its mark comes before that."""
    packet = IPv6(inner_ipv6())
    packet.tc = DSCP | inside
    trace = GATEWAY.receive(LINKS.access, gtpu(bytes(packet), flags=flags, tos=outer))
    wanted = decapsulated(outer, inside)
    if wanted is None:
        assert why(trace) is DropReason.NOT_ECN_CAPABLE
    else:
        [seen] = trace.at(UPLINK.number)
        packet.tc = DSCP | wanted
        assert seen.data[14:] == bytes(packet)


def test_what_is_not_marked_is_asked_for_no_more() -> None:
    """Two tables more, each left by its last flow, and no field of the UE's packet."""
    trace = GATEWAY.receive(LINKS.access, gtpu(inner(tos=ECT_0), tos=ECT_0))
    for table in (OUTER_ECN, INNER_ECN):
        [met] = [flow for flow in trace.flows if flow.table == table.number]
        assert (met.match, met.actions) == ((), ())


@pytest.mark.parametrize("outer", range(4))
@pytest.mark.parametrize("kind", [1, 26, 254])
def test_signalling_is_shown_as_it_was_sent(outer: int, kind: int) -> None:
    """But for the mark."""
    trace = GATEWAY.receive(LINKS.access, gtpu(b"", 0, kind=kind, flags=S, tos=DSCP | outer))
    [(cookie, shown)] = trace.reported
    assert cookie_number(cookie) == Report.SIGNALLING
    unmarked = outer if outer != CE else NOT_ECT
    assert shown.data[14:] == gtpu(b"", 0, kind=kind, flags=S, tos=DSCP | unmarked)[14:]


def test_the_outer_checksum_is_right_when_it_is_unwrapped() -> None:
    trace = GATEWAY.receive(LINKS.access, gtpu(inner(tos=ECT_0), tos=CE))
    seen = IP(trace.at(25)[0].data[14:])
    found = seen.chksum
    del seen.chksum
    assert IP(bytes(seen)).chksum == found
    assert seen.tos == NOT_ECT
