"""ICMPv6 (RFC 4443): neighbours (RFC 4861), routers' advertisements, and what senders are told."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, IPv6Network

from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import mac_text, mac_to_int
from ofgtp.core.packets.frames import checksum, ip_frame

MTU_MIN = 1280
"""Every IPv6 link carries so many octets unfragmented (RFC 8200, 5)."""
HOPS_OF_NEIGHBOURS = 255
"""Of all that only a neighbour may say: a router would have taken 1 off (RFC 4861, 3.1)."""
ALL_NODES = IPv6Address("ff02::1")
INFINITE_S = 0xFFFF_FFFF
"""Of a lifetime in a Router Advertisement."""

_ETHERNET = struct.Struct("!6s6sH")
_IPV6 = struct.Struct("!IHBB16s16s")
_HEAD = struct.Struct("!BBHI")
"""Type, code, checksum, and four octets whose meaning is the type's."""
_PROTO_ICMPV6 = 58
_HOPS = 64
_CS6 = 48 << 22
"""DSCP of errors, at its place in an IPv6 header: internetwork control (RFC 1812, 4.3.2.5)."""
_SOLICITED = int(IPv6Address("ff02::1:ff00:0"))
_SOURCE_ADDRESS, _TARGET_ADDRESS, _PREFIX, _MTU, _DNS = 1, 2, 3, 5, 25
"""Options (RFC 4861, 4.6; RFC 8106, 5.1)."""
_SLAAC_BITS = 64
"""Of a prefix from which a UE can make its address: the other half is its interface identifier."""
_AUTONOMOUS = 0x40
"""Flag A of a prefix: addresses may be made from it."""
_SKIPPED = {0, 43, 60, 135}
"""Extension headers in front of a message: options, routing, mobility."""
_FRAGMENT = 44


class Type(IntEnum):
    """Those that are read or made here."""

    TOO_BIG = 2
    TIME_EXCEEDED = 3
    ECHO_REQUEST = 128
    ECHO_REPLY = 129
    ROUTER_SOLICITATION = 133
    ROUTER_ADVERTISEMENT = 134
    NEIGHBOUR_SOLICITATION = 135
    NEIGHBOUR_ADVERTISEMENT = 136
    REDIRECT = 137


class NoMessage(CodecError):
    """What is read is not the message that it is taken for, or not a valid one."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What a neighbour says of itself, or asks."""

    source: IPv6Address
    target: IPv6Address
    mac: str | None
    """Of the one that sends it; None: it does not say."""
    solicited: bool = False
    """An answer to somebody."""


def solicitation(our_mac: str, our_ip: IPv6Address, target: IPv6Address) -> bytes:
    """The frame that asks all who might be it for a neighbour's MAC address (RFC 4861, 4.3)."""
    group = IPv6Address(_SOLICITED | int(target) & 0xFF_FFFF)
    body = target.packed + _mac_option(_SOURCE_ADDRESS, our_mac)
    kind = Type.NEIGHBOUR_SOLICITATION
    packet = _packet(our_ip, group, kind, 0, body, hops=HOPS_OF_NEIGHBOURS)
    return ip_frame(our_mac, _group_mac(group), packet)


def advertisement(our_mac: str, our_ip: IPv6Address, asked: Neighbour, asker_mac: str) -> bytes:
    """The frame that answers a solicitation for an address of ours, as a router does; one from the
    unspecified address, which looks whether somebody has it, by telling all (RFC 4861, 7.2.4)."""
    probe = asked.source.is_unspecified
    to, to_mac = (ALL_NODES, _group_mac(ALL_NODES)) if probe else (asked.source, asker_mac)
    flags = 0xA000_0000 if probe else 0xE000_0000
    body = our_ip.packed + _mac_option(_TARGET_ADDRESS, our_mac)
    kind = Type.NEIGHBOUR_ADVERTISEMENT
    packet = _packet(our_ip, to, kind, flags, body, hops=HOPS_OF_NEIGHBOURS)
    return ip_frame(our_mac, to_mac, packet)


def reachable(our_ip: IPv6Address, asked: Neighbour) -> bytes:
    """The packet that tells a UE that its router is still there (RFC 4861, 7.2.4). A UE's link has
    no addresses of its own, so that there is no option with one."""
    kind = Type.NEIGHBOUR_ADVERTISEMENT
    flags, body = 0xE000_0000, our_ip.packed
    return _packet(our_ip, asked.source, kind, flags, body, hops=HOPS_OF_NEIGHBOURS)


def read_neighbour(octets: bytes, kind: Type) -> Neighbour:
    """Read the frame of a Neighbour Solicitation or Advertisement.

    Raises:
        NoMessage: it is none, or one that RFC 4861, 7.1 has a node drop. Nothing else is raised.
    """
    source, destination, body, rest = _of_neighbour(octets[_ETHERNET.size :], kind)
    if len(body) < 16:
        raise NoMessage("no target")
    target = IPv6Address(body[:16])
    if target.is_multicast:
        raise NoMessage(f"the target {target} is a group's")
    solicited = bool(rest >> 30 & 1)
    option = _TARGET_ADDRESS
    if kind is Type.NEIGHBOUR_SOLICITATION:
        option, solicited = _SOURCE_ADDRESS, False
    elif solicited and destination.is_multicast:
        raise NoMessage("an answer to a group")
    return Neighbour(source, target, _mac_in(body[16:], option), solicited)


def read_solicitation(packet: bytes) -> IPv6Address:
    """Who asks for routers (RFC 4861, 4.1); `packet` is an IPv6 packet.

    Raises:
        NoMessage: it is none, or one that RFC 4861, 6.1.1 has a router drop.
    """
    source, _, body, _ = _of_neighbour(packet, Type.ROUTER_SOLICITATION)
    options = _options(body)
    if source.is_unspecified and any(kind == _SOURCE_ADDRESS for kind, _ in options):
        raise NoMessage("from nobody, with an address of the link")
    return source


def source_of(packet: bytes) -> IPv6Address:
    """The source of an IPv6 packet.

    Raises:
        NoMessage: it is shorter than a header.
    """
    if len(packet) < _IPV6.size:
        raise NoMessage("it has no whole header")
    return IPv6Address(packet[8:24])


def type_of(packet: bytes) -> int:
    """The type of an ICMPv6 message right behind its IPv6 header; 0 of anything else."""
    whole = len(packet) > _IPV6.size and packet[6] == _PROTO_ICMPV6
    return packet[_IPV6.size] if whole else 0


def router_advertisement(
    our_ip: IPv6Address,
    to: IPv6Address,
    prefix: IPv6Network,
    *,
    mtu: int,
    lifetime_s: int,
    dns: Sequence[IPv6Address] = (),
) -> bytes:
    """The packet by which a UE learns its prefix (TS 23.401, 5.3.1.2.2; RFC 4861, 4.2).

    The prefix is the UE's alone for ever, and it makes its address from it (A); nothing in it is on
    the link (L is 0), since there is no other host. A UE can do so with a /64 alone (RFC 4862,
    5.5.3): of a shorter prefix it is told the first /64, and of a longer one nothing, but that this
    is its router. `our_ip` is link-local. `lifetime_s`, of the router and of `dns`, is 0 to 65535
    seconds (RFC 8319, 4), `mtu` 1280 to 65535.

    Raises:
        ValueError: a number is out of its range.
    """
    if not MTU_MIN <= mtu <= 0xFFFF or not 0 <= lifetime_s <= 0xFFFF:
        raise ValueError(f"MTU {mtu}, lifetime {lifetime_s}")
    rest = _HOPS << 24 | lifetime_s
    body = bytes(8)  # reachable time and retransmission timer: unspecified
    body += struct.pack("!BBHI", _MTU, 1, 0, mtu)
    if prefix.prefixlen <= _SLAAC_BITS:
        lifetimes = INFINITE_S, INFINITE_S
        body += struct.pack("!BBBBIII", _PREFIX, 4, _SLAAC_BITS, _AUTONOMOUS, *lifetimes, 0)
        body += prefix.network_address.packed
    if dns:
        body += struct.pack("!BBHI", _DNS, 1 + 2 * len(dns), 0, lifetime_s)
        body += b"".join(each.packed for each in dns)
    kind = Type.ROUTER_ADVERTISEMENT
    return _packet(our_ip, to, kind, rest, body, hops=HOPS_OF_NEIGHBOURS)


def too_big(our_ip: IPv6Address, mtu: int, packet: bytes) -> bytes | None:
    """The packet that tells the sender of `packet` to send at most `mtu` octets (RFC 4443, 3.2).

    `packet` may be cut off. None if nothing may be sent: it fits, it cannot be read, or RFC 4443,
    2.4 (e) forbids it.

    Raises:
        ValueError: `mtu` is less than 1280 or more than 65535.
    """
    if not MTU_MIN <= mtu <= 0xFFFF:
        raise ValueError(f"an MTU is {MTU_MIN} to 65535, not {mtu}")
    if len(packet) < _IPV6.size or _IPV6.size + int.from_bytes(packet[4:6], "big") <= mtu:
        return None
    return _error(our_ip, packet, Type.TOO_BIG, mtu)


def time_exceeded(our_ip: IPv6Address, packet: bytes) -> bytes | None:
    """The packet that tells the sender of `packet` that its hops have come to an end here
    (RFC 4443, 3.3). None if nothing may be sent, as for Packet Too Big."""
    return _error(our_ip, packet, Type.TIME_EXCEEDED, 0)


def _error(our_ip: IPv6Address, packet: bytes, kind: Type, rest: int) -> bytes | None:
    if len(packet) < _IPV6.size or packet[0] >> 4 != 6:
        return None
    source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    nobodys = source.is_multicast or source.is_unspecified or source.is_loopback
    # Packet Too Big may be sent of what went to a group (RFC 4443, 2.4 (e.3)).
    group = destination.is_multicast and kind is not Type.TOO_BIG
    if nobodys or group or _is_error(packet):
        return None
    quoted = packet[: MTU_MIN - _IPV6.size - _HEAD.size]
    return _packet(our_ip, source, kind, rest, quoted, hops=_HOPS, traffic_class=_CS6)


def _is_error(packet: bytes) -> bool:
    """Whether it is an ICMPv6 error, or a redirect, or may be one: what is behind is not seen."""
    following, place = packet[6], _IPV6.size
    while following in _SKIPPED or following == _FRAGMENT:
        if len(packet) < place + 8:
            return True
        if following == _FRAGMENT and int.from_bytes(packet[place + 2 : place + 4], "big") >> 3:
            return False  # a later fragment: of the first its sender was told
        size = 8 if following == _FRAGMENT else 8 + 8 * packet[place + 1]
        following, place = packet[place], place + size
    if following != _PROTO_ICMPV6:
        return False
    return (
        len(packet) <= place or packet[place] < Type.ECHO_REQUEST or packet[place] == Type.REDIRECT
    )


def _of_neighbour(packet: bytes, kind: Type) -> tuple[IPv6Address, IPv6Address, bytes, int]:
    """Source, destination, body and the four octets in front of it, of what is whole and was sent
    by a neighbour."""
    if len(packet) < _IPV6.size + _HEAD.size:
        raise NoMessage("no whole ICMPv6 message")
    first, length, following, hops, source, destination = _IPV6.unpack_from(packet)
    message = packet[_IPV6.size : _IPV6.size + length]
    if first >> 28 != 6 or following != _PROTO_ICMPV6 or len(message) < max(length, _HEAD.size):
        raise NoMessage("no whole ICMPv6 message")
    if hops != HOPS_OF_NEIGHBOURS:
        raise NoMessage(f"a hop limit of {hops}: no neighbour's")
    found, code, _, rest = _HEAD.unpack_from(message)
    if found != kind or code:
        raise NoMessage(f"type {found}, code {code}")
    if checksum(_pseudo(source, destination, length) + message):
        raise NoMessage("a wrong checksum")
    src = IPv6Address(source)
    if src.is_multicast:
        raise NoMessage(f"the source {src} is a group's")
    return src, IPv6Address(destination), message[_HEAD.size :], rest


def _options(octets: bytes) -> list[tuple[int, bytes]]:
    """Type and content of each."""
    found = []
    while octets:
        if len(octets) < 8 or not octets[1] or len(octets) < 8 * octets[1]:
            raise NoMessage("an option that is cut off, or of no octets")
        size = 8 * octets[1]
        found.append((octets[0], octets[2:size]))
        octets = octets[size:]
    return found


def _mac_in(octets: bytes, kind: int) -> str | None:
    of_kind = [content for found, content in _options(octets) if found == kind]
    if not of_kind:
        return None
    mac = int.from_bytes(of_kind[0][:6], "big")
    if not mac or mac >> 40 & 1:
        raise NoMessage(f"{mac_text(mac)} is no host's MAC address")
    return mac_text(mac)


def _mac_option(kind: int, mac: str) -> bytes:
    return bytes((kind, 1)) + mac_to_int(mac).to_bytes(6, "big")


def _group_mac(group: IPv6Address) -> str:
    """Where frames to a group go (RFC 2464, 7)."""
    return mac_text(0x3333 << 32 | int(group) & 0xFFFF_FFFF)


def _pseudo(source: bytes, destination: bytes, length: int) -> bytes:
    return source + destination + struct.pack("!II", length, _PROTO_ICMPV6)


def _packet(
    source: IPv6Address,
    destination: IPv6Address,
    kind: Type,
    rest: int,
    body: bytes,
    *,
    hops: int,
    traffic_class: int = 0,
) -> bytes:
    length = _HEAD.size + len(body)
    ends = source.packed, destination.packed
    sum_ = checksum(_pseudo(*ends, length) + _HEAD.pack(kind, 0, 0, rest) + body)
    header = _IPV6.pack(6 << 28 | traffic_class, length, _PROTO_ICMPV6, hops, *ends)
    return header + _HEAD.pack(kind, 0, sum_, rest) + body
