"""Typed access to the tables of the file: whatever is wrong in them is an error at its key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Any, Final, TypeVar

from ofgtp.config.addresses import NO_UNICAST, NO_UNICAST6, prefixed, prefixed6
from ofgtp.config.source import At, Source
from ofgtp.core.errors import ConfigError
from ofgtp.core.model import IFNAMSIZ

_INTERFACE: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._+@#~-]{{0,{IFNAMSIZ - 1}}}")
_TYPES: Final = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}

_T = TypeVar("_T")
_Choice = TypeVar("_Choice", bound=str)


class Table:
    """A table of the file: refuses unknown keys, and hands out values of the right type."""

    def __init__(
        self, source: Source, at: At, values: dict[str, Any], known: tuple[str, ...]
    ) -> None:
        self.source, self.at, self.values = source, at, values
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise self.error(key, f"unknown {'key' if at else 'table or key'}; {hint}")

    def error(self, key: str, reason: str, *index: int) -> ConfigError:
        """An error at a key, or at an element of its list."""
        return self.source.error((*self.at, key, *index), reason)

    def get(self, key: str, kind: type[_T], default: _T | None = None) -> _T:
        """The value of a key; without a default the key is required."""
        if key not in self.values:
            if default is None:
                raise self.error(key, "is missing")
            return default
        return self._typed(key, self.values[key], kind)

    def _typed(self, key: str, value: Any, kind: type[_T], *index: int) -> _T:
        if type(value) is not kind:  # not isinstance: true is no integer
            what = "every element must be" if index else "must be"
            raise self.error(key, f"{what} {_TYPES[kind]}, not {value!r}", *index)
        return value

    def strings(self, key: str) -> Iterator[tuple[int, str]]:
        """The indexed elements of a list of strings that may be left out."""
        for index, value in enumerate(self.get(key, list, [])):
            yield index, self._typed(key, value, str, index)

    def choice(self, key: str, options: tuple[_Choice, ...]) -> _Choice:
        """One of the options, the first by default."""
        value = self.get(key, str, options[0])
        for option in options:
            if value == option:
                return option
        raise self.error(key, f"must be {' or '.join(map(repr, options))}, not {value!r}")

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """An integer in a range."""
        value = self.get(key, int, default)
        if not least <= value <= most:
            raise self.error(key, f"must be {least} to {most}, not {value}")
        return value

    def table(self, key: str, cls: type[Any], renamed: dict[str, str] | None = None) -> Table:
        """A table that may be left out; its keys are the fields of `cls`."""
        return Table(self.source, (*self.at, key), self.get(key, dict, {}), _keys(cls, renamed))

    def tables(
        self, key: str, cls: type[Any], renamed: dict[str, str] | None = None
    ) -> list[Table]:
        """A list of tables that may be left out; their keys are the fields of `cls`."""
        known = _keys(cls, renamed)
        return [
            Table(self.source, (*self.at, key, i), self._typed(key, value, dict, i), known)
            for i, value in enumerate(self.get(key, list, []))
        ]

    def address(self, key: str) -> IPv4Address:
        """An IPv4 address."""
        text = self.get(key, str)
        try:
            return IPv4Address(text)
        except ValueError as error:
            raise self.error(key, f"{text!r} is not an IPv4 address") from error

    def interface(self, key: str) -> IPv4Interface:
        """An address of ours with its subnet: unicast, with room for a neighbour."""
        text = self.get(key, str)
        try:
            found = prefixed(text)
        except ValueError as error:
            reason = f"{text!r} is not an IPv4 address with a prefix length, like 10.1.0.1/24"
            raise self.error(key, reason) from error
        net = found.network
        if net.prefixlen == 32:
            raise self.error(key, f"{text} leaves no room for a neighbour: /31 at most")
        if net.prefixlen < 31 and found.ip == net.network_address:
            raise self.error(key, f"{found.ip} is the network address of {net}")
        if net.prefixlen < 31 and found.ip == net.broadcast_address:
            raise self.error(key, f"{found.ip} is the broadcast address of {net}")
        for special, what in NO_UNICAST.items():
            if net.overlaps(special):
                raise self.error(key, f"{net} overlaps {special} ({what})")
        return found

    def interface6(self, key: str) -> IPv6Interface:
        """An IPv6 address of ours with its subnet: unicast, with room for a neighbour."""
        text = self.get(key, str)
        try:
            found = prefixed6(text)
        except ValueError as error:
            reason = f"{text!r} is not an IPv6 address with a prefix length, like 2001:db8::1/64"
            raise self.error(key, reason) from error
        net = found.network
        if net.prefixlen == 128:
            raise self.error(key, f"{text} leaves no room for a neighbour: /127 at most")
        if net.prefixlen < 127 and found.ip == net.network_address:
            reason = f"{found.ip} is the anycast address of all routers of {net} (RFC 4291, 2.6.1)"
            raise self.error(key, reason)
        for special, what in NO_UNICAST6.items():
            if net.overlaps(special):
                raise self.error(key, f"{net} overlaps {special} ({what})")
        return found

    def network6(self, key: str, text: str, *index: int) -> IPv6Network:
        """An IPv6 prefix without host bits."""
        try:
            found = prefixed6(text)
        except ValueError as error:
            reason = f"{text!r} is not an IPv6 prefix, like 2001:db8:a::/48"
            raise self.error(key, reason, *index) from error
        self._no_host_bits(found, key, text, *index)
        return found.network

    def network(self, key: str, text: str, *index: int) -> IPv4Network:
        """A prefix without host bits."""
        try:
            found = prefixed(text)
        except ValueError as error:
            reason = f"{text!r} is not an IPv4 prefix, like 10.45.0.0/16"
            raise self.error(key, reason, *index) from error
        self._no_host_bits(found, key, text, *index)
        return found.network

    def _no_host_bits(
        self, found: IPv4Interface | IPv6Interface, key: str, text: str, *index: int
    ) -> None:
        if found.ip != found.network.network_address:
            reason = f"{text} has host bits set; the prefix is {found.network}"
            raise self.error(key, reason, *index)

    def interface_name(self, key: str) -> str:
        """A name the kernel, Open vSwitch and nftables all take for an interface."""
        name = self.get(key, str)
        if not _INTERFACE.fullmatch(name):
            reason = f"{name!r} is no interface name: 1 to {IFNAMSIZ} of A-Z a-z 0-9 . _ + @ # ~ -"
            raise self.error(key, reason)
        return name


def _keys(cls: type[Any], renamed: dict[str, str] | None) -> tuple[str, ...]:
    """The keys that stand for the fields of a class."""
    names = (field.name for field in fields(cls))
    return tuple(dict.fromkeys((renamed or {}).get(name, name) for name in names))
