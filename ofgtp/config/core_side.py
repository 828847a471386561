"""A gateway's core side: its next hops."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from ofgtp.config.neighbours import neighbour, neighbour6
from ofgtp.config.table import Table


def next_hop_of(table: Table, core_port: str, core_ip: IPv4Interface) -> IPv4Address | None:
    """The router for IPv4; None: the host's own routes decide."""
    if core_port == "host":
        if "next_hop" in table.values:
            reason = 'is not allowed with core_port = "host": the host\'s own routes decide'
            raise table.error("next_hop", reason)
        return None
    if "next_hop" not in table.values:
        raise table.error("next_hop", 'is missing (only core_port = "host" goes without)')
    return neighbour(table, "next_hop", core_ip, "core")


def next_hop6_of(
    table: Table, core_port: str, core_ip6: IPv6Interface | None
) -> IPv6Address | None:
    """The router for IPv6, which may be told by its link-local address."""
    given = "next_hop6" in table.values
    if core_port == "host" or core_ip6 is None:
        if given:
            reason = 'the host\'s own routes decide, with core_port = "host"'
            raise table.error("next_hop6", reason if core_ip6 else "needs core_ip6")
        return None
    if not given:
        raise table.error("next_hop6", "is missing: core_ip6 needs it")
    return neighbour6(table, "next_hop6", core_ip6, "core")
