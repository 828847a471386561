"""Routers that stand on a subnet of ours."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from ofgtp.config.table import Table


def neighbour(table: Table, key: str, ours: IPv4Interface, side: str) -> IPv4Address:
    """The address of a router on a subnet of ours."""
    address, net = table.address(key), ours.network
    if address not in net:
        raise table.error(key, f"{address} is not in the {side} subnet {net}")
    if address == ours.ip:
        raise table.error(key, f"{address} is {side}_ip itself")
    if net.prefixlen < 31 and address in (net.network_address, net.broadcast_address):
        raise table.error(key, f"{address} is the network or broadcast address of {net}")
    return address


def neighbour6(table: Table, key: str, ours: IPv6Interface, side: str) -> IPv6Address:
    """The address of a router on a subnet of ours, or its link-local one."""
    text, net = table.get(key, str), ours.network
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise table.error(key, f"{text!r} is not an IPv6 address") from error
    if address == ours.ip or address.scope_id is not None:
        reason = f"is {side}_ip6 itself" if address == ours.ip else "has a zone: leave it out"
        raise table.error(key, f"{address} {reason}")
    if not address.is_link_local and address not in net:
        raise table.error(key, f"{address} is neither in {net} nor link-local")
    if net.prefixlen < 127 and address == net.network_address:
        reason = f"{address} is the anycast address of all routers of {net}"
        raise table.error(key, reason)
    return address
