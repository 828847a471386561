"""How flows of filters with ports are kept apart for the switch's cache."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.filters import FilterError, PacketFilter, Ports
from ofgtp.core.flows.flow import Value
from ofgtp.core.rules.filters import CLASS_BITS, matches

PORT = st.integers(0, 0xFFFF)
RANGE = st.tuples(PORT, PORT).map(lambda ends: (min(ends), max(ends)))
PORTS = st.lists(RANGE, max_size=2).map(tuple)


def masked(asked: dict[str, Value], end: str) -> tuple[str, int]:
    """The bits of a port that a flow asks for, and its mask; nothing of one that it does not."""
    value, mask = asked.get(f"udp_{end}", (0, 0))  # type: ignore[misc]
    return f"{value:016b}"[: mask.bit_count()], mask


@given(st.lists(st.tuples(PORTS, PORTS), min_size=1, max_size=6), st.booleans())
def test_ports_of_flows_with_the_same_masks_begin_alike(
    filters: list[tuple[Ports, Ports]], uplink: bool
) -> None:
    begin: dict[object, set[str]] = defaultdict(set)
    for remote, local in filters:
        try:
            flows = matches(PacketFilter(17, None, remote, local_ports=local), uplink=uplink)
        except FilterError:  # it takes too many flows
            continue
        for asked in flows:
            (source, of_source), (target, of_target) = masked(asked, "src"), masked(asked, "dst")
            if not source + target:
                assert "reg8" not in asked
                continue
            value, mask = asked["reg8"]  # type: ignore[misc]
            assert value == 0 and mask
            begin[of_source, of_target, mask].add((source + target)[:CLASS_BITS])
    assert all(len(each) == 1 for each in begin.values())


def test_the_same_ports_have_the_same_masks_whosever_they_are() -> None:
    def asked_for(protocol: int, dscp: int | None) -> set[Value]:
        asked = PacketFilter(protocol, None, ((5004, 5060),), dscp=dscp)
        return {each["reg8"] for each in matches(asked, uplink=False)}

    assert asked_for(17, None) == asked_for(6, 46) == {(0, 0x113)}
