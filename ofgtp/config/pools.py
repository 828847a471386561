"""A gateway's UE pools, and what they must not overlap."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Final

from ofgtp.config.addresses import NO_UNICAST, NO_UNICAST6
from ofgtp.config.table import Table
from ofgtp.core.filters import Network, overlap
from ofgtp.core.model import AccessRoute

_LIKE_MPLS: Final = (IPv4Network("136.71.0.0/16"), IPv4Network("136.72.0.0/16"))
"""Source addresses whose first bytes are the Ethernet types of MPLS, 0x8847 and 0x8848. The switch
reads some inner packets as frames, with the source address where the type stands, and must drop
these two types."""

_MISREAD6: Final = (IPv6Network("4000::/4"), IPv6Network("6000::/4"))
"""IPv6 source addresses whose first digit stands where the switch looks for the IP version of an
inner packet. Nobody has been given any of them."""


def ue_pools_of(
    table: Table,
    access_ip: IPv4Interface,
    core_ip: IPv4Interface,
    routes: tuple[AccessRoute, ...],
    core_ip6: IPv6Interface | None,
    access_ip6: IPv6Interface | None,
) -> tuple[tuple[IPv4Network, ...], tuple[IPv6Network, ...]]:
    """The UE pools: those of each IP version."""
    table.get("ue_pools", list)  # required
    taken: list[tuple[Network, str]] = []
    taken += [(net, f"({what})") for net, what in NO_UNICAST.items()]
    taken += [(net, f"({what})") for net, what in NO_UNICAST6.items()]
    taken += [(net, "(the switch cannot tell such sources from MPLS)") for net in _LIKE_MPLS]
    taken += [(net, "(the switch misreads packets from there)") for net in _MISREAD6]
    taken += [(access_ip.network, "(the access subnet)"), (core_ip.network, "(the core subnet)")]
    taken += [] if core_ip6 is None else [(core_ip6.network, "(the core subnet)")]
    taken += [] if access_ip6 is None else [(access_ip6.network, "(the access subnet)")]
    taken += [(route.to, "(an access route)") for route in routes]
    pools: list[IPv4Network] = []
    pools6: list[IPv6Network] = []
    for index, text in table.strings("ue_pools"):
        pool: Network
        if ":" in text:
            pool = table.network6("ue_pools", text, index)
            if core_ip6 is None:
                reason = f"{pool} needs core_ip6, the gateway's own IPv6 address"
                raise table.error("ue_pools", reason, index)
            pools6.append(pool)
        else:
            pool = table.network("ue_pools", text, index)
            pools.append(pool)
        for net, what in taken:
            if overlap(pool, net):
                raise table.error("ue_pools", f"{pool} overlaps {net} {what}", index)
        taken.append((pool, "(another pool)"))
    if not pools and not pools6:
        raise table.error("ue_pools", "at least one pool is needed")
    return tuple(pools), tuple(pools6)
