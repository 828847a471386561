"""Addresses and prefixes as text, and which of them are not unicast."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Final

from ofgtp.core.filters import Network, within

NO_UNICAST: Final = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}
"""IPv4 prefixes without unicast addresses, and why."""

NO_UNICAST6: Final = {
    IPv6Network("::/96"): "unspecified, loopback, IPv4-compatible",
    IPv6Network("::ffff:0:0/96"): "IPv4-mapped",
    IPv6Network("100::/64"): "discard-only",
    IPv6Network("fe80::/10"): "link-local",
    IPv6Network("ff00::/8"): "multicast",
}
"""IPv6 prefixes without unicast addresses, and why."""


def not_unicast(net: Network) -> str | None:
    """The reason why no address of a prefix is unicast, if so."""
    special = NO_UNICAST | NO_UNICAST6
    return next((what for each, what in special.items() if within(net, each)), None)


def prefixed(text: str) -> IPv4Interface:
    """An address with a prefix length (`IPv4Interface` takes a netmask, or nothing, too).

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"[0-9.]+/[0-9]{1,2}", text):
        raise ValueError(text)
    return IPv4Interface(text)


def prefixed6(text: str) -> IPv6Interface:
    """The same of IPv6."""
    if not re.fullmatch(r"[0-9A-Fa-f.:]+/[0-9]{1,3}", text):
        raise ValueError(text)
    return IPv6Interface(text)
