"""What an IPv6 packet carries behind its headers (RFC 8200, 4)."""

from __future__ import annotations

from typing import NamedTuple

HEADER = 40
"""Octets of an IPv6 header without extensions."""
FRAGMENT = 44
_HOP_BY_HOP, _ROUTING, _AUTHENTICATION, _DESTINATION = 0, 43, 51, 60
_EXTENSIONS = (_HOP_BY_HOP, _ROUTING, FRAGMENT, _AUTHENTICATION, _DESTINATION)
"""Those that the switch reads over."""


class Payload(NamedTuple):
    """What stands behind the headers."""

    protocol: int
    """Of a fragment: that of the whole packet. Of what is cut off: the last header's number."""
    start: int
    """Where it begins, in octets from the packet's beginning."""
    fragment: bool
    later: bool
    """Whether it is a fragment, and not the first."""


def payload_of(packet: bytes) -> Payload:
    """Read over the extension headers of a packet of at least 40 octets."""
    header, place, fragment = packet[6], HEADER, False
    while header in _EXTENSIONS:
        if len(packet) < place + 8:
            return Payload(header, len(packet), fragment, later=False)
        if header == FRAGMENT:
            position = int.from_bytes(packet[place + 2 : place + 4], "big")
            fragment, length = bool(position), 8
            if position >> 3:
                return Payload(packet[place], place + length, fragment, later=True)
        elif header == _AUTHENTICATION:
            length = 4 * (packet[place + 1] + 2)
        else:
            length = 8 * (packet[place + 1] + 1)
        header, place = packet[place], place + length
    return Payload(header, place, fragment, later=False)
