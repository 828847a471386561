"""Filters of bearers in the words of iproute2, which `ofgtp route` reads and shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

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


def _tos(text: str) -> int:
    """The DSCP in a Type of Service (RFC 2474), whose two other bits are ECN."""
    try:
        found = int(text, 0)
    except ValueError:
        found = -1
    if not 0 <= found <= 0xFF or found & 3:
        raise FilterError(f"{text!r} is no TOS: 0x00 to 0xfc, in steps of 4")
    return found >> 2


SELECTORS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "from": ("remote", parse_prefix),
    "proto": ("protocol", parse_protocol),
    "ipproto": ("protocol", parse_protocol),
    "sport": ("remote_ports", parse_ports),
    "dport": ("local_ports", parse_ports),
    "local": ("local", parse_prefix),
    "tos": ("dscp", _tos),
    "dsfield": ("dscp", _tos),
}
"""Words, and what each is about: a member of `PacketFilter`."""


def read(word: str, text: str) -> tuple[str, Any]:
    """What a word and the one behind it say: a member of a filter, and its value."""
    member, reader = SELECTORS[word]
    try:
        return member, reader(text)
    except FilterError as error:
        raise click.UsageError(f"{word}: {error}") from error


def made(members: Mapping[str, Any]) -> PacketFilter:
    """The filter that has these members."""
    try:
        return PacketFilter(**members)
    except FilterError as error:
        raise click.UsageError(str(error)) from error


def read_shown(shown: str | Mapping[str, Any]) -> PacketFilter:
    """A filter as the API shows it, which is right."""
    if isinstance(shown, str):
        return PacketFilter.parse(shown)
    local = shown.get("local", ASSIGNED.value)
    return PacketFilter(
        parse_protocol(str(shown.get("protocol", "ip"))),
        parse_prefix(shown.get("remote", "any")),
        parse_ports(shown.get("remote_ports", "0-65535")),
        ASSIGNED if local == ASSIGNED.value else parse_prefix(local),
        parse_ports(shown.get("local_ports", "0-65535")),
        shown.get("dscp"),
    )


def resource(each: PacketFilter) -> str | dict[str, Any]:
    """A filter as the API takes it."""
    if each.dscp is None:
        return str(each)
    given = {
        "protocol": None if each.protocol is None else protocol_text(each.protocol),
        "remote": None if each.remote is None else str(each.remote),
        "remote_ports": ports_text(each.remote_ports),
        "local": _local(each),
        "local_ports": ports_text(each.local_ports),
    }
    return {name: value for name, value in given.items() if value} | {"dscp": each.dscp}


def words(each: PacketFilter) -> str:
    """What `read` reads back."""
    remote = None if each.remote is None else str(each.remote).removesuffix("/32")
    named = (
        ("from", remote or ("any" if each == PacketFilter() else None)),
        ("proto", None if each.protocol is None else protocol_text(each.protocol)),
        ("sport", ports_text(each.remote_ports)),
        ("dport", ports_text(each.local_ports)),
        ("local", _local(each)),
        ("tos", None if each.dscp is None else f"{each.dscp << 2:#04x}"),
    )
    return " ".join(f"{word} {value}" for word, value in named if value)


def _local(each: PacketFilter) -> str | None:
    if each.local is ASSIGNED:
        return None
    return "any" if each.local is None else str(each.local)
