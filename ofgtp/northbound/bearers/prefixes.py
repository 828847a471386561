"""Prefixes of IPv4 and IPv6 in JSON."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_PREFIX_SCHEMA = {"type": "string", "examples": ["10.3.0.0/16"]}


def _prefix(value: object) -> IPv4Network:
    try:
        if isinstance(value, str):
            return IPv4Network(value)
    except (AddressValueError, NetmaskValueError):
        pass
    except ValueError:
        raise PydanticCustomError("prefix", "has bits set behind its prefix length") from None
    raise PydanticCustomError("prefix", "must be an IPv4 prefix like 10.3.0.0/16")


Prefix = Annotated[
    IPv4Network, PlainValidator(_prefix), PlainSerializer(str), WithJsonSchema(_PREFIX_SCHEMA)
]


def _prefix6(value: object) -> IPv6Network:
    try:
        if isinstance(value, str) and "%" not in value:
            return IPv6Network(value)
    except (AddressValueError, NetmaskValueError):
        pass
    except ValueError:
        raise PydanticCustomError("prefix", "has bits set behind its prefix length") from None
    raise PydanticCustomError("prefix", "must be an IPv6 prefix like 2001:db8:a:1::/64")


Prefix6 = Annotated[
    IPv6Network,
    PlainValidator(_prefix6),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["2001:db8:a:1::/64"]}),
]


def _any_prefix(value: object) -> IPv4Network | IPv6Network:
    return _prefix6(value) if isinstance(value, str) and ":" in value else _prefix(value)


AnyPrefix = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(_any_prefix),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["192.168.7.0/24", "2001:db8:f::/48"]}),
]
