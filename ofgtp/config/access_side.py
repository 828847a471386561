"""A gateway's access side: its IPv6 address, its routes, and which peers are heard."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from ofgtp.config.addresses import not_unicast
from ofgtp.config.neighbours import neighbour, neighbour6
from ofgtp.config.table import Table
from ofgtp.core.filters import Network, within
from ofgtp.core.model import AccessRoute, Address

_Ours = tuple[IPv4Interface, IPv6Interface | None]
"""The gateway's addresses on one side, of each IP version."""


def access_ip6_of(table: Table, core_ip6: IPv6Interface | None) -> IPv6Interface | None:
    """Its own IPv6 address, if it has one."""
    if "access_ip6" not in table.values:
        return None
    address = table.interface6("access_ip6")
    if address.ip.is_link_local:
        raise table.error("access_ip6", f"{address.ip} is a link-local address")
    if core_ip6 is not None and address.network.overlaps(core_ip6.network):
        reason = f"{address.network} overlaps the core subnet {core_ip6.network}"
        raise table.error("access_ip6", reason)
    return address


def access_routes_of(table: Table, access: _Ours, core: _Ours) -> tuple[AccessRoute, ...]:
    """The routes to peers behind routers, by its own addresses on both sides."""
    routes: list[AccessRoute] = []
    for entry in table.tables("access_routes", AccessRoute):
        text = entry.get("to", str)
        to: Network
        via: Address
        if ":" in text:
            to = entry.network6("to", text)
            if access[1] is None:
                raise entry.error("to", f"{to} needs access_ip6")
            via = neighbour6(entry, "via", access[1], "access")
            if via.is_link_local:
                reason = (
                    f"{via} is link-local: the switch finds routers by {access[1].network} only"
                )
                raise entry.error("via", reason)
        else:
            to = entry.network("to", text)
            via = neighbour(entry, "via", access[0], "access")
        for side, ours in (("access", access), ("core", core)):
            for net in (each.network for each in ours if each is not None):
                if within(to, net):
                    raise entry.error("to", f"{to} is part of the {side} subnet {net}")
        if (what := not_unicast(to)) is not None:
            raise entry.error("to", f"{to} holds no unicast address ({what})")
        if any(to == route.to for route in routes):
            raise entry.error("to", f"{to} stands twice")
        routes.append(AccessRoute(to, via))
    return tuple(routes)


def access_allow_of(
    table: Table, access_ip6: IPv6Interface | None
) -> tuple[tuple[IPv4Network, ...], tuple[IPv6Network, ...]]:
    """The prefixes that GTP-U is taken from: those of each IP version."""
    allowed: list[IPv4Network] = []
    allowed6: list[IPv6Network] = []
    for index, text in table.strings("access_allow"):
        net: Network
        if ":" in text:
            net = table.network6("access_allow", text, index)
            if access_ip6 is None:
                raise table.error("access_allow", f"{net} needs access_ip6", index)
            allowed6.append(net)
        else:
            net = table.network("access_allow", text, index)
            allowed.append(net)
        if (what := not_unicast(net)) is not None:
            raise table.error("access_allow", f"{net} can hold no GTP-U peer ({what})", index)
    return tuple(allowed), tuple(allowed6)
