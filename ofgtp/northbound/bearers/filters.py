"""Packet filters in JSON: a text as of TS 29.212, or an object."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from ofgtp.core.filters import (
    ASSIGNED,
    FilterError,
    PacketFilter,
    parse_ports,
    parse_prefix,
    parse_protocol,
    ports_text,
    protocol_text,
)

_FILTER_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {
            "type": "string",
            "examples": ["permit out udp from 10.2.0.0/24 5004-5060 to assigned"],
            "description": "As TS 29.212, 5.4.2: from the remote end to the UE",
        },
        {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {
                "protocol": {
                    "anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0, "maximum": 255}]
                },
                "remote": {"type": "string"},
                "local": {"type": "string"},
                "remote_ports": {"type": "string"},
                "local_ports": {"type": "string"},
                "dscp": {"type": "integer", "minimum": 0, "maximum": 63},
            },
        },
    ]
}

_FILTER_MEMBERS = frozenset({"protocol", "remote", "remote_ports", "local", "local_ports", "dscp"})


def read_filter(value: object) -> PacketFilter:
    """A filter in either form.

    Raises:
        PydanticCustomError: with the reason.
    """
    try:
        if isinstance(value, str):
            return PacketFilter.parse(value)
        if isinstance(value, dict):
            return _filter_of(value)
    except FilterError as error:
        raise PydanticCustomError("filter", "{reason}", {"reason": str(error)}) from None
    raise PydanticCustomError("filter", "must be a text like permit out … or an object")


def _filter_of(value: dict[str, Any]) -> PacketFilter:
    unknown = sorted(value.keys() - _FILTER_MEMBERS)
    if unknown or not value:
        known = ", ".join(sorted(_FILTER_MEMBERS))
        found = f"{unknown[0]!r} is unknown" if unknown else "it is empty"
        raise FilterError(f"{found}: {known}")

    def text(name: str) -> str | None:
        given = value.get(name)
        if given is not None and not isinstance(given, str):
            raise FilterError(f"{name} must be a text")
        return given

    protocol, dscp = value.get("protocol"), value.get("dscp")
    if type(protocol) is str:
        protocol = parse_protocol(protocol)
    elif protocol is not None and type(protocol) is not int:
        raise FilterError("protocol must be a name or a number")
    if dscp is not None and type(dscp) is not int:
        raise FilterError("dscp must be a number, 0 to 63")
    remote, local = text("remote"), text("local")
    remote_ports, local_ports = text("remote_ports"), text("local_ports")
    return PacketFilter(
        protocol,
        None if remote is None else parse_prefix(remote),
        () if remote_ports is None else parse_ports(remote_ports),
        ASSIGNED if local in (None, ASSIGNED.value) else parse_prefix(local),
        () if local_ports is None else parse_ports(local_ports),
        dscp,
    )


def show_filter(each: PacketFilter) -> str | dict[str, Any]:
    """A filter as it is answered: the text, or the object where the text has no word for it."""
    if each.dscp is None:
        return str(each)
    shown: dict[str, Any] = {}
    if each.protocol is not None:
        shown["protocol"] = protocol_text(each.protocol)
    if each.remote is not None:
        shown["remote"] = str(each.remote)
    if each.remote_ports:
        shown["remote_ports"] = ports_text(each.remote_ports)
    if each.local is not ASSIGNED:
        shown["local"] = "any" if each.local is None else str(each.local)
    if each.local_ports:
        shown["local_ports"] = ports_text(each.local_ports)
    return shown | {"dscp": each.dscp}


FilterShape = Annotated[
    PacketFilter,
    PlainValidator(read_filter),
    PlainSerializer(show_filter),
    WithJsonSchema(_FILTER_SCHEMA),
]
