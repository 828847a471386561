"""Packet filters: which packets of a UE a rule is about, as IPFilterRule text or as a value.

The text is a Flow-Description (TS 29.212, 5.4.2; RFC 6733, 4.3.1), always written as for downlink:

    permit out PROTOCOL from REMOTE [PORTS] to LOCAL [PORTS]

REMOTE is the end in the packet data network and LOCAL the UE's, so that one filter serves both
directions: an uplink packet is compared with the two ends swapped. Of the form only that is read
which can be matched exactly. Anything else is an error, since a filter that matches more than was
asked for gives traffic away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

from ofgtp.core.errors import OfgtpError
from ofgtp.core.model import Address

PORT_MAX = 0xFFFF

PROTOCOLS: Mapping[str, int] = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
"""Protocols that may be named; others are numbers. `ip` is any."""

WITH_PORTS = frozenset({6, 17, 132})
"""Protocols that have ports: TCP, UDP, SCTP."""

_NAMES = {number: name for name, number in PROTOCOLS.items()}

_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)
_ADDRESS = re.compile(r"(?P<address>[0-9A-Fa-f.:]+)(?:/(?P<length>[0-9]{1,3}))?", re.ASCII)

Network = IPv4Network | IPv6Network
Ports = tuple[tuple[int, int], ...]


def within(one: Network, other: Network) -> bool:
    """Whether a prefix is another, or a part of it."""
    return overlap(one, other) and one.prefixlen >= other.prefixlen


def overlap(one: Network, other: Network) -> bool:
    """Whether two prefixes have an address in common."""
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.overlaps(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.overlaps(other)


class _Marker(Enum):
    ASSIGNED = "assigned"

    def __repr__(self) -> str:
        return self.name


_Assigned = Literal[_Marker.ASSIGNED]

ASSIGNED: Final = _Marker.ASSIGNED
"""Stands for the addresses of the UE, whatever they are."""


class FilterError(OfgtpError):
    """A filter that is not of the form, or that cannot be matched exactly; in words."""


@dataclass(frozen=True, slots=True)
class PacketFilter:
    """Packets that fulfil all of it.

    Port ranges are kept sorted and merged, so that equal filters are equal values; the range of
    all ports is no range.

    Raises:
        FilterError: a number is out of its range, a port range is empty, ports are given for a
            protocol without ports, or the two addresses are of different IP versions.
    """

    protocol: int | None = None
    """0 to 255; None: any."""
    remote: Network | None = None
    """None: any address."""
    remote_ports: Ports = ()
    """(first, last), 0 to 65535 each; none: any, and packets without ports too."""
    local: Network | _Assigned | None = ASSIGNED
    local_ports: Ports = ()
    dscp: int | None = None
    """0 to 63; None: any. The text form has no word for it."""

    def __post_init__(self) -> None:
        if self.protocol is not None and not 0 <= self.protocol <= 255:
            raise FilterError(f"protocol {self.protocol} is not in 0 to 255")
        if self.dscp is not None and not 0 <= self.dscp <= 63:
            raise FilterError(f"DSCP {self.dscp} is not in 0 to 63")
        if (self.remote_ports or self.local_ports) and self.protocol not in WITH_PORTS:
            raise FilterError("ports need one of the protocols tcp, udp and sctp")
        if (
            isinstance(self.remote, Network)
            and isinstance(self.local, Network)
            and self.remote.version != self.local.version
        ):
            raise FilterError(f"{self.remote} and {self.local} are of different IP versions")
        object.__setattr__(self, "remote_ports", _merged(self.remote_ports))
        object.__setattr__(self, "local_ports", _merged(self.local_ports))

    @classmethod
    @lru_cache(maxsize=4_096)
    def parse(cls, text: str) -> PacketFilter:
        """Read a Flow-Description.

        Raises:
            FilterError: it is not of the form, or says what cannot be matched exactly.
        """
        words = text.split()
        words = _after("permit", words)
        words = _after("out", words)
        if not words:
            raise FilterError("the text ends where a protocol should stand")
        protocol = parse_protocol(words[0])
        remote, remote_ports, words = _end("from", words[1:])
        local, local_ports, words = _end("to", words)
        if words:
            raise FilterError(f"the text should end before {_short(words[0])}")
        if isinstance(remote, _Marker):
            raise FilterError("behind from stands the remote end, which is never assigned")
        return cls(protocol, remote, remote_ports, local, local_ports)

    def takes(
        self,
        protocol: int,
        dscp: int,
        remote: tuple[Address, int],
        local: tuple[Address, int],
    ) -> bool:
        """Whether it is about a packet of the UE between these two addresses and ports; a port of
        -1 is in no range."""
        if self.protocol not in (None, protocol) or self.dscp not in (None, dscp):
            return False
        if self.remote is not None and remote[0] not in self.remote:
            return False
        if isinstance(self.local, Network) and local[0] not in self.local:
            return False
        ends = (remote[1], self.remote_ports), (local[1], self.local_ports)
        return all(
            not ranges or any(first <= port <= last for first, last in ranges)
            for port, ranges in ends
        )

    def __str__(self) -> str:
        """The Flow-Description; the DSCP is not part of it."""
        return (
            f"permit out {protocol_text(self.protocol)}"
            f" from {_end_text(self.remote, self.remote_ports)}"
            f" to {_end_text(self.local, self.local_ports)}"
        )


def parse_protocol(text: str) -> int | None:
    """A protocol's name or number, 0 to 255; None for `ip`, which is any.

    Raises:
        FilterError: it is none of these.
    """
    if text == "ip":
        return None
    number = PROTOCOLS.get(text)
    if number is None and _NUMBER.fullmatch(text):
        number = int(text)
    if number is None or number > 255:
        known = ", ".join(("ip", *PROTOCOLS))
        raise FilterError(f"{_short(text)} is no protocol: {known} or a number, 0 to 255")
    return number


def protocol_text(protocol: int | None) -> str:
    """What `parse_protocol` reads back."""
    return "ip" if protocol is None else _NAMES.get(protocol, str(protocol))


def parse_prefix(text: str) -> Network | None:
    """An address, an address with a prefix length, or `any`, which is None.

    Host bits behind the prefix length count for nothing, as RFC 6733 has it.

    Raises:
        FilterError: it is none of these; a host name is not, nor is a mask.
    """
    if text == "any":
        return None
    found = _ADDRESS.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        address, length = found["address"], found["length"]
        if ":" in address:
            return IPv6Network((IPv6Address(address), int(length or 128)), strict=False)
        return IPv4Network((IPv4Address(address), int(length or 32)), strict=False)
    except ValueError:
        raise FilterError(
            f"{_short(text)} is no address: any, 192.0.2.1, 192.0.2.0/24, 2001:db8::/32"
        ) from None


def parse_ports(text: str) -> Ports:
    """Ports and ranges of ports, by commas: `80`, `5004-5060`, `80,443,8000-8080`.

    Raises:
        FilterError: one of them is not of the form or not in 0 to 65535.
    """
    ranges = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not _NUMBER.fullmatch(first) or (dash and not _NUMBER.fullmatch(last)):
            raise FilterError(f"{_short(text)} are no ports: 80 or 5004-5060, by commas")
        ranges.append((int(first), int(last if dash else first)))
    return _merged(ranges)


def ports_text(ports: Ports) -> str:
    """What `parse_ports` reads back; empty for any."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ports)


def _merged(ranges: Iterable[tuple[int, int]]) -> Ports:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if not 0 <= first <= last <= PORT_MAX:
            raise FilterError(f"{first}-{last} is no range of ports in 0 to {PORT_MAX}")
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return () if merged == [(0, PORT_MAX)] else tuple(merged)


def _after(keyword: str, words: list[str]) -> list[str]:
    """The words behind a keyword, which is the first of them."""
    if words[:1] != [keyword]:
        found = f"{_short(words[0])} stands" if words else "the text ends"
        raise FilterError(f"{found} where {keyword} should stand")
    return words[1:]


def _end(keyword: str, words: list[str]) -> tuple[Network | _Assigned | None, Ports, list[str]]:
    """Address and ports behind a keyword, and the words that are left."""
    words = _after(keyword, words)
    if not words:
        raise FilterError(f"the text ends where the address of {keyword} should stand")
    address = ASSIGNED if words[0] == ASSIGNED.value else parse_prefix(words[0])
    if words[1:] and words[1][0].isdigit():
        return address, parse_ports(words[1]), words[2:]
    return address, (), words[1:]


def _end_text(address: Network | _Assigned | None, ports: Ports) -> str:
    if address is None:
        text = "any"
    elif isinstance(address, _Marker):
        text = address.value
    elif address.prefixlen == address.max_prefixlen:
        text = str(address.network_address)
    else:
        text = str(address)
    return f"{text} {ports_text(ports)}" if ports else text


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
