"""Ethernet frames with IP and UDP (RFC 791, RFC 8200, RFC 768), and ICMP Fragmentation Needed (RFC
1191).

Signalling comes from the switch as the whole outer frame and goes back to it as one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import mac_to_int
from ofgtp.core.model import Address

ETH_TYPE_IPV4, ETH_TYPE_IPV6 = 0x0800, 0x86DD

MTU_MIN = 68
"""Every IPv4 link carries so many octets unfragmented (RFC 791)."""

_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_UDP = struct.Struct("!HHHH")
_ICMP_UNREACHABLE = struct.Struct("!BBHHH")

_PROTO_ICMP, _PROTO_UDP = 1, 17
_DF, _MF, _OFFSET = 0x4000, 0x2000, 0x1FFF
_TTL = 64
_CS6 = 48
"""DSCP of ICMP errors: internetwork control (RFC 1812, 4.3.2.5)."""

_ICMP_QUERIES = frozenset({0, 8, 9, 10, 13, 14, 15, 16, 17, 18})
"""The ICMP types that are no errors (RFC 792, RFC 950, RFC 1256); any other may be one."""

_BROADCAST = IPv4Address("255.255.255.255")


class FrameError(CodecError):
    """A frame that is no whole UDP datagram over IP and Ethernet, or that cannot be answered."""


@dataclass(frozen=True, slots=True)
class UdpFrame:
    """A UDP datagram with all that an answer to it needs."""

    src_mac: str
    dst_mac: str
    src_ip: Address
    dst_ip: Address
    src_port: int
    dst_port: int
    dscp: int
    payload: bytes


def checksum(data: bytes) -> int:
    """The Internet checksum of `data` (RFC 1071); 0 if `data` holds its own right checksum."""
    total = int.from_bytes(data + bytes(len(data) % 2), "big")
    # a sum of 16-bit words with end-around carry is the remainder by 0xffff, never 0 but of zeros
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))


def udp_frame(
    src_mac: str,
    dst_mac: str,
    src_ip: Address,
    dst_ip: Address,
    src_port: int,
    dst_port: int,
    payload: bytes,
    *,
    dscp: int = 0,
    ttl: int = _TTL,
    ident: int = 0,
) -> bytes:
    """The frame of a UDP datagram, not to be fragmented (so `ident` may be 0: RFC 6864, 4.1).

    Both addresses are of one IP version.

    Raises:
        ValueError: a port, `dscp` (0 to 63), `ttl` (1 to 255) or the payload is out of its range.
    """
    for port in (src_port, dst_port):
        _check("a port", port, 0, 0xFFFF)
    size = _UDP.size + len(payload)
    _check("the payload's length", len(payload), 0, 0xFFFF - _IPV4.size - _UDP.size)
    # As for IPv4; IPv6 has the same in more octets (RFC 8200, 8.1), which are 0.
    pseudo = src_ip.packed + dst_ip.packed + struct.pack("!HH", _PROTO_UDP, size)
    header = _UDP.pack(src_port, dst_port, size, 0)
    # 0 says that there is no checksum, so one that comes to 0 is sent as its other form (RFC 768)
    sum_ = checksum(pseudo + header + payload) or 0xFFFF
    datagram = _UDP.pack(src_port, dst_port, size, sum_) + payload
    if isinstance(src_ip, IPv4Address) and isinstance(dst_ip, IPv4Address):
        packet = _ipv4(src_ip, dst_ip, _PROTO_UDP, datagram, dscp, ttl, ident)
        return ip_frame(src_mac, dst_mac, packet)
    _check("a DSCP", dscp, 0, 63)
    _check("a TTL", ttl, 1, 255)
    fields = 6 << 28 | dscp << 22, size, _PROTO_UDP, ttl, src_ip.packed, dst_ip.packed
    return ip_frame(src_mac, dst_mac, _IPV6.pack(*fields) + datagram)


def is_ipv6(frame: bytes) -> bool:
    """Whether the type of an Ethernet frame is that of IPv6."""
    return frame[12:14] == ETH_TYPE_IPV6.to_bytes(2, "big")


def ip_frame(src_mac: str, dst_mac: str, packet: bytes) -> bytes:
    """The Ethernet frame of an IP packet, of the type that its version has."""
    eth_type = ETH_TYPE_IPV6 if packet[0] >> 4 == 6 else ETH_TYPE_IPV4
    source, target = (mac_to_int(mac).to_bytes(6, "big") for mac in (src_mac, dst_mac))
    return _ETHERNET.pack(target, source, eth_type) + packet


def parse_udp(frame: bytes) -> UdpFrame:
    """Read a frame that the switch took for GTP-U.

    The UDP checksum is the switch's to check, as it does before it decapsulates: here it may still
    be left to a sender's hardware that is none.

    Raises:
        FrameError: no IP, no UDP, a fragment, cut off, a wrong header checksum, or a sender that
            is no single host. Nothing else is ever raised.
    """
    if len(frame) < _ETHERNET.size:
        raise FrameError("no whole Ethernet header")
    dst_mac, src_mac, eth_type = _ETHERNET.unpack_from(frame)
    if eth_type not in (ETH_TYPE_IPV4, ETH_TYPE_IPV6):
        raise FrameError(f"Ethernet type {eth_type:#06x}")
    if src_mac[0] & 1 or not any(src_mac):
        raise FrameError("the sender's MAC is no unicast one")
    packet = frame[_ETHERNET.size :]
    src: Address
    dst: Address
    if eth_type == ETH_TYPE_IPV6:
        src, dst, tos, datagram = _datagram6(packet)
    else:
        src, dst, tos, datagram = _datagram4(packet)
    if len(datagram) < _UDP.size:
        raise FrameError("no whole UDP header")
    src_port, dst_port, size, _ = _UDP.unpack_from(datagram)
    if not _UDP.size <= size <= len(datagram):
        raise FrameError(f"UDP length {size} in {len(datagram)} octets")
    return UdpFrame(
        src_mac=src_mac.hex(":"),
        dst_mac=dst_mac.hex(":"),
        src_ip=src,
        dst_ip=dst,
        src_port=src_port,
        dst_port=dst_port,
        dscp=tos >> 2,
        payload=datagram[_UDP.size : size],
    )


def _datagram6(packet: bytes) -> tuple[IPv6Address, IPv6Address, int, bytes]:
    """The ends, the traffic class and the UDP datagram of an IPv6 packet without extension
    headers."""
    if len(packet) < _IPV6.size:
        raise FrameError("no whole IPv6 packet")
    first, length, proto, _, source, destination = _IPV6.unpack_from(packet)
    if first >> 28 != 6 or len(packet) < _IPV6.size + length:
        raise FrameError("no whole IPv6 packet")
    if proto != _PROTO_UDP:
        raise FrameError(f"IP protocol {proto}")
    src = IPv6Address(source)
    if src.is_multicast or src.is_unspecified or src.is_loopback:
        raise FrameError(f"the source {src} is no host's")
    datagram = packet[_IPV6.size : _IPV6.size + length]
    return src, IPv6Address(destination), first >> 20 & 0xFF, datagram


def _datagram4(packet: bytes) -> tuple[IPv4Address, IPv4Address, int, bytes]:
    """The same of an IPv4 packet."""
    header = _read_ipv4(packet)
    if header is None or len(packet) < header.total_length:
        raise FrameError("no whole IPv4 packet")
    if checksum(packet[: header.length]):
        raise FrameError("wrong IPv4 header checksum")
    if header.fragment & (_MF | _OFFSET):
        raise FrameError("a fragment")
    if header.proto != _PROTO_UDP:
        raise FrameError(f"IP protocol {header.proto}")
    if not _is_host(header.src):
        raise FrameError(f"the source {header.src} is no host's")
    return header.src, header.dst, header.tos, packet[header.length : header.total_length]


@dataclass(frozen=True, slots=True)
class IcmpError:
    """An ICMP error about a UDP datagram of ours, as far as it quotes that."""

    source: IPv4Address
    kind: int
    code: int
    dst_ip: IPv4Address
    """Where the datagram went."""
    dst_port: int
    payload: bytes
    """Its beginning; a sender need not quote any of it."""


def parse_icmp_error(frame: bytes) -> IcmpError:
    """Read a frame that the switch took for an ICMP error, or the beginning of one (RFC 792).

    Raises:
        FrameError: it quotes no UDP header. Nothing else is ever raised.
    """
    packet = frame[_ETHERNET.size :]
    header = _read_ipv4(packet)
    if header is None or header.proto != _PROTO_ICMP:
        raise FrameError("no ICMP message")
    message = packet[header.length : header.total_length]
    quoted = message[_ICMP_UNREACHABLE.size :]
    about = _read_ipv4(quoted)
    if about is None or about.proto != _PROTO_UDP or about.fragment & _OFFSET:
        raise FrameError("an ICMP message that quotes no UDP datagram")
    datagram = quoted[about.length :]
    if len(datagram) < _UDP.size:
        raise FrameError("an ICMP message that quotes no whole UDP header")
    dst_port = _UDP.unpack_from(datagram)[1]
    kind, code = message[:2]
    return IcmpError(header.src, kind, code, about.dst, dst_port, datagram[_UDP.size :])


def icmp_fragmentation_needed(our_ip: IPv4Address, mtu: int, packet: bytes) -> bytes | None:
    """The ICMP packet that tells the sender of `packet` to send at most `mtu` octets (RFC 1191, 4).

    `packet` is the IPv4 packet that does not fit, or its beginning. None if nothing may be sent:
    it fits, it may be fragmented (DF clear), it cannot be read, or RFC 1122, 3.2.2 forbids it (an
    ICMP error, a fragment but the first, to or from what is no single host).

    Raises:
        ValueError: `mtu` is less than 68 or more than 65535.
    """
    _check("an MTU", mtu, MTU_MIN, 0xFFFF)
    header = _answerable(packet)
    if header is None or header.total_length <= mtu or not header.fragment & _DF:
        return None
    return _icmp_error(our_ip, header, packet, 3, 4, mtu)


def icmp_time_exceeded(our_ip: IPv4Address, packet: bytes) -> bytes | None:
    """The ICMP packet that tells the sender of `packet` that its TTL has come to an end here
    (RFC 792; RFC 1812, 5.3.1). None if nothing may be sent, as for Fragmentation Needed."""
    header = _answerable(packet)
    return None if header is None else _icmp_error(our_ip, header, packet, 11, 0, 0)


def _answerable(packet: bytes) -> _Ipv4 | None:
    """The header of a packet whose sender may be sent an ICMP error (RFC 1122, 3.2.2)."""
    header = _read_ipv4(packet)
    if header is None or len(packet) < header.length + 8 or header.fragment & _OFFSET:
        return None
    if not _is_host(header.src) or header.dst.is_multicast or header.dst == _BROADCAST:
        return None
    if header.proto == _PROTO_ICMP and packet[header.length] not in _ICMP_QUERIES:
        return None
    return header


def _icmp_error(
    our_ip: IPv4Address, header: _Ipv4, packet: bytes, kind: int, code: int, mtu: int
) -> bytes:
    quoted = packet[: header.length + 8]
    sum_ = checksum(_ICMP_UNREACHABLE.pack(kind, code, 0, 0, mtu) + quoted)
    message = _ICMP_UNREACHABLE.pack(kind, code, sum_, 0, mtu) + quoted
    return _ipv4(our_ip, header.src, _PROTO_ICMP, message, _CS6, _TTL, 0)


@dataclass(frozen=True, slots=True)
class _Ipv4:
    length: int
    total_length: int
    tos: int
    fragment: int
    proto: int
    src: IPv4Address
    dst: IPv4Address


def _read_ipv4(packet: bytes) -> _Ipv4 | None:
    """The header at the beginning of `packet`; None if it is none."""
    if len(packet) < _IPV4.size:
        return None
    first, tos, total_length, _, fragment, _, proto, _, src, dst = _IPV4.unpack_from(packet)
    length = 4 * (first & 0x0F)
    if first >> 4 != 4 or not _IPV4.size <= length <= min(total_length, len(packet)):
        return None
    return _Ipv4(length, total_length, tos, fragment, proto, IPv4Address(src), IPv4Address(dst))


def _is_host(ip: IPv4Address) -> bool:
    """Whether a packet can be sent to this source address (RFC 1122, 3.2.1.3)."""
    none = ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.packed[0] == 0
    return not none


def _ipv4(
    src: IPv4Address, dst: IPv4Address, proto: int, data: bytes, dscp: int, ttl: int, ident: int
) -> bytes:
    _check("a DSCP", dscp, 0, 63)
    _check("a TTL", ttl, 1, 255)
    _check("an identification", ident, 0, 0xFFFF)
    length = _IPV4.size + len(data)
    fields = (0x45, dscp << 2, length, ident, _DF, ttl, proto)
    sum_ = checksum(_IPV4.pack(*fields, 0, src.packed, dst.packed))
    return _IPV4.pack(*fields, sum_, src.packed, dst.packed) + data


def _check(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{what} is {low} to {high}, not {value}")
