"""Packet filters -> what flows match: exactly what the filters say, or an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import product

from ofgtp.core.filters import (
    WITH_PORTS,
    FilterError,
    Network,
    PacketFilter,
    Ports,
    protocol_text,
)
from ofgtp.core.flows.flow import Value
from ofgtp.core.rules.terms import IPV4, IPV6, from_network, to_network

MATCHES_MAX = 256
"""Flows of one filter: each range of ports takes up to 30, and two ranges their product."""

_PORT_FIELDS = {6: "tcp", 17: "udp", 132: "sctp"}
_PORT_BITS = 16

CLASS_BITS = 8
"""The leading bits of ports by which flows are kept apart: see `ports_class`."""


_TYPES = {4: IPV4, 6: IPV6}


def versions_of(ue: Iterable[Network]) -> tuple[int, ...]:
    """The IP versions of a UE's addresses, which are those of its packets."""
    return tuple(sorted({prefix.version for prefix in ue})) or (4,)


@lru_cache(maxsize=4_096)
def matches(
    asked: PacketFilter, versions: tuple[int, ...] = (4,), *, uplink: bool
) -> tuple[dict[str, Value], ...]:
    """What flows must match so that together they match exactly what the filter does, of packets of
    these IP versions.

    A filter is written as for downlink; `uplink` swaps its ends (TS 29.244, 5.2.1A.2A).

    Raises:
        FilterError: it takes more than `MATCHES_MAX` of them, or cannot be matched.
    """
    found: list[dict[str, Value]] = []
    for version in versions:
        ends = [each for each in (asked.remote, asked.local) if isinstance(each, Network)]
        if all(each.version == version for each in ends):
            found += _of_version(asked, version, uplink=uplink)
    if not found:
        carries = " and ".join(f"IPv{version}" for version in versions)
        raise FilterError(f"{asked.remote or asked.local}: the session carries {carries}")
    if len(found) > MATCHES_MAX:
        raise FilterError(
            f"its ports take {len(found)} flows, of at most {MATCHES_MAX}: the switch matches"
            " ranges of ports by their bits"
        )
    return tuple(found)


def _of_version(asked: PacketFilter, version: int, *, uplink: bool) -> Iterable[dict[str, Value]]:
    source, target = (asked.remote, asked.local)[:: -1 if uplink else 1]
    base: dict[str, Value] = {"dl_type": _TYPES[version]}
    if isinstance(source, Network):
        base |= from_network(source)
    if isinstance(target, Network):
        base |= to_network(target)
    if asked.protocol is not None:
        base["nw_proto"] = asked.protocol
    if asked.dscp is not None:
        base["ip_dscp"] = asked.dscp
    source_ports, target_ports = (asked.remote_ports, asked.local_ports)[:: -1 if uplink else 1]
    pairs = list(_pairs(source_ports, target_ports))
    if pairs == [(None, None)]:
        return (base,)
    protocol = _PORT_FIELDS.get(asked.protocol or 0)
    if protocol is None:
        known = ", ".join(protocol_text(number) for number in sorted(WITH_PORTS))
        raise FilterError(f"ports of protocol {asked.protocol}: only {known} have any")
    # The switch reads port 0 in every fragment.
    base["ip_frag"] = 0
    return tuple(
        base
        | ({} if source is None else {f"{protocol}_src": source})
        | ({} if target is None else {f"{protocol}_dst": target})
        | {"reg8": (0, ports_class(source, target))}
        for source, target in pairs
    )


_Masked = tuple[int, int] | None


def ports_class(source: _Masked, target: _Masked) -> int:
    """Which bits of register 8, always 0, a flow with these ports asks for: the leading bits of
    its ports, and one above them.

    Flows with the same masks are one set for the switch. Where none of a set matches, its cache
    keeps the leading bits of the packet's ports that tell them from all ports of the set, whosever
    those are. With a mask by the leading bits, only ports that begin alike are in one set, and most
    packets are told from all of them by these bits alone.
    """
    begin = length = 0
    for port in (source, target):
        if port is not None:
            number, mask = port
            size = mask.bit_count()
            begin, length = begin << size | number >> _PORT_BITS - size, length + size
    return 1 << CLASS_BITS | begin << CLASS_BITS >> length


def _pairs(source: Ports, target: Ports) -> Iterator[tuple[_Masked, _Masked]]:
    yield from product(_masked(source), _masked(target))


def _masked(ports: Ports) -> list[_Masked]:
    if not ports:
        return [None]
    return [each for first, last in ports for each in port_masks(first, last)]


def port_masks(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Values and masks that together match the ports from `first` to `last`, and no others."""
    while first <= last:
        # The largest block that begins here and does not reach beyond the end.
        size = first & -first or 1 << _PORT_BITS
        while first + size - 1 > last:
            size >>= 1
        yield first, (1 << _PORT_BITS) - size
        first += size
