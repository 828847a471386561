"""Tables outer_ecn and inner_ecn: what a router marked on a tunnel's packet (RFC 6040, 4.2)."""

from __future__ import annotations

from collections.abc import Iterator

from ofgtp.core.flows.flow import Flow, SetField, match
from ofgtp.core.flows.pipeline import INNER_ECN, LEASE, OUTER_ECN, UPLINK, DropReason
from ofgtp.core.model import CE_PORT, ECT_1_PORT, Gateway
from ofgtp.core.rules.terms import CE, ECT_0, ECT_1, IPV4, IPV6, NOT_ECT, UDP


def outer_ecn(gateway: Gateway) -> Iterator[Flow]:
    """Have ECT(1) and CE unwrapped by gtpu ports of their own: of the rest RFC 6040 makes nothing.

    When the switch takes a packet out of its tunnel it forgets all it knew of it, so nothing else
    of what can be written here is left that can be asked for there. CE must be gone by then: the
    switch would look whether the inner packet is capable of ECN, before any flow and in what it is
    typed as, and drop it if not (see table normalise), or write into it.
    """
    by_ect_1, by_ce = (SetField("udp_dst", port) for port in (ECT_1_PORT, CE_PORT))
    unmark = SetField("nw_ecn", NOT_ECT)
    for version in (IPV4,) if gateway.access_ip6 is None else (IPV4, IPV6):
        gtpu = {"dl_type": version, "nw_proto": UDP}
        yield OUTER_ECN.flow(100, match(nw_ecn=ECT_1, **gtpu), by_ect_1, goto=LEASE)
        yield OUTER_ECN.flow(100, match(nw_ecn=CE, **gtpu), unmark, by_ce, goto=LEASE)
    yield OUTER_ECN.flow(0, (), goto=LEASE)


def inner_ecn() -> Iterator[Flow]:
    """Before any session is looked for: so no change of sessions is one of these flows' ways.

    Packets without a mark ask for the register alone, and are no more classes for the switch's
    cache than without these flows.
    """
    for version in (IPV4, IPV6):
        incapable = match(reg7=CE, dl_type=version, nw_ecn=NOT_ECT)
        yield INNER_ECN.drop(100, incapable, DropReason.NOT_ECN_CAPABLE)
        capable = match(reg7=CE, dl_type=version)
        yield INNER_ECN.flow(90, capable, SetField("nw_ecn", CE), goto=UPLINK)
        changed = match(reg7=ECT_1, dl_type=version, nw_ecn=ECT_0)
        yield INNER_ECN.flow(90, changed, SetField("nw_ecn", ECT_1), goto=UPLINK)
    yield INNER_ECN.flow(0, (), goto=UPLINK)
