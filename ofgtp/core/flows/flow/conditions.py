"""What a flow asks of a packet: conditions of its fields, which are a match."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from ofgtp.core.errors import OfgtpError
from ofgtp.core.flows.flow.fields import FIELDS, VALUE_IS_MASK, ipv4, ipv6, mac_to_int


class RuleError(OfgtpError):
    """A rule that the pipeline does not allow: a bug of ours, never the operator's."""


class Condition(NamedTuple):
    """`field` equals `value` in the bits of `mask`."""

    field: str
    value: int
    mask: int

    def __str__(self) -> str:
        field = FIELDS[self.field]
        if self.field == "ip_frag":
            return _FRAGMENTS[self.value, self.mask]
        if self.mask == field.full_mask or self.field in VALUE_IS_MASK:
            return f"{field.name}={field.show(self.value, field.bits)}"
        if field.show is ipv4:
            return f"{field.name}={IPv4Address(self.value)}/{_ipv4_mask(self.mask)}"
        if (
            field.show is ipv6
            and (length := self.mask.bit_count())
            and self.mask == _leading(length)
        ):
            return f"{field.name}={IPv6Address(self.value)}/{length}"
        return (
            f"{field.name}={field.show(self.value, field.bits)}/{field.show(self.mask, field.bits)}"
        )


def _leading(length: int) -> int:
    """The mask of an IPv6 prefix of so many bits."""
    return (1 << 128) - (1 << 128 - length)


def _ipv4_mask(mask: int) -> str:
    """A prefix length where it is one."""
    length = mask.bit_count()
    prefix = mask == (1 << 32) - (1 << 32 - length)
    return str(length) if prefix else str(IPv4Address(mask))


_FRAGMENTS = {
    (1, 1): "ip_frag=yes",
    (0, 0xFF): "ip_frag=no",
    (1, 0xFF): "ip_frag=first",
    (3, 3): "ip_frag=later",
}

Match = tuple[Condition, ...]
"""Conditions in the order of FIELDS, so that equal matches are equal values."""

Value = int | IPv4Address | IPv4Network | IPv6Address | IPv6Network | str | tuple[int, int]

_ORDER = {name: place for place, name in enumerate(FIELDS)}


def condition(name: str, value: Value) -> Condition:
    """A condition from a number, an address, a prefix, a MAC text or a (value, mask) pair."""
    full = FIELDS[name].full_mask
    match value:
        case IPv4Network() | IPv6Network():
            return Condition(name, int(value.network_address), int(value.netmask))
        case IPv4Address() | IPv6Address():
            return Condition(name, int(value), full)
        case str():
            return Condition(name, mac_to_int(value), full)
        case (bits, mask):
            return Condition(name, bits & mask, mask)
        case int():
            return Condition(name, value, value if name in VALUE_IS_MASK else full)
    raise RuleError(f"{name}: no condition can be made of {value!r}")


def match(**conditions: Value) -> Match:
    """Build a match; a prefix of length 0 matches everything and so asks nothing."""
    made = (condition(name, value) for name, value in conditions.items())
    return tuple(sorted((c for c in made if c.mask), key=lambda c: _ORDER[c.field]))
