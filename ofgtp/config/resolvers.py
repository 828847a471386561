"""The resolvers that a gateway tells UEs of by Router Advertisements."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Interface
from typing import Final

from ofgtp.config.addresses import NO_UNICAST6
from ofgtp.config.table import Table

DNS6_MAX: Final = 8
"""Resolvers that UEs are told; hosts need take no more than three (RFC 8106, 5.3.1)."""


def dns6_of(table: Table, core_ip6: IPv6Interface | None) -> tuple[IPv6Address, ...]:
    """Resolvers that UEs reach."""
    resolvers: list[IPv6Address] = []
    for index, text in table.strings("dns6"):
        try:
            address = IPv6Address(text)
        except ValueError as error:
            raise table.error("dns6", f"{text!r} is not an IPv6 address", index) from error
        if address.scope_id is not None:
            raise table.error("dns6", f"{address} has a zone: leave it out", index)
        special = next((what for net, what in NO_UNICAST6.items() if address in net), None)
        if special is not None:
            raise table.error("dns6", f"{address} is no address of a resolver ({special})", index)
        if core_ip6 is not None and address == core_ip6.ip:
            raise table.error("dns6", f"{address} is core_ip6, which no UE reaches", index)
        if address in resolvers:
            raise table.error("dns6", f"{address} stands twice", index)
        resolvers.append(address)
    if len(resolvers) > DNS6_MAX:
        raise table.error("dns6", f"{len(resolvers)} addresses: at most {DNS6_MAX}")
    if resolvers and core_ip6 is None:
        raise table.error("dns6", "needs core_ip6")
    if resolvers and not table.get("router_advertisement", bool, True):
        reason = "is told by Router Advertisements, which router_advertisement = false turns off"
        raise table.error("dns6", reason)
    return tuple(resolvers)
