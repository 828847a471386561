"""GTP-U in bytes, for tests: built and read by scapy, without ofgtp's own code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum

PORT = 2152
E, S, PN = 0x04, 0x02, 0x01
PLAIN = 0x30
"""Version 1, protocol type GTP, no optional field (TS 29.281, 5.1)."""
ECHO_REQUEST, ECHO_RESPONSE, ERROR_INDICATION, END_MARKER, T_PDU = 1, 2, 26, 254, 255

ETHERNET, IPV4_HEADER, UDP_HEADER, GTP_HEADER = 14, 20, 8, 8
OVERHEAD = IPV4_HEADER + UDP_HEADER + GTP_HEADER
"""What a plain T-PDU adds to an IP packet, in bytes."""


def message(
    kind: int,
    teid: int,
    body: bytes = b"",
    *,
    flags: int = PLAIN,
    sequence: int = 0x1234,
    npdu: int = 0,
    extension: int = 0,
    length: int | None = None,
) -> bytes:
    """A GTP-U message; the four optional bytes are there as soon as one of E, S and PN is set."""
    optional = b""
    if flags & (E | S | PN):
        optional = sequence.to_bytes(2, "big") + bytes([npdu, extension])
    size = len(optional) + len(body) if length is None else length
    head = bytes([flags, kind]) + size.to_bytes(2, "big") + teid.to_bytes(4, "big")
    return head + optional + body


def t_pdu(teid: int, inner: bytes, *, flags: int = PLAIN, extension: int = 0) -> bytes:
    """A T-PDU: an IP packet of a UE in its tunnel."""
    return message(T_PDU, teid, inner, flags=flags, extension=extension)


def datagram(
    payload: bytes,
    *,
    source: str,
    destination: str,
    eth_src: str,
    eth_dst: str,
    port: int = PORT,
    source_port: int = PORT,
    **ip: int | str,
) -> bytes:
    """A frame with that UDP payload, GTP-U's port by default; `ip` are fields of scapy's IP."""
    header = IP(src=source, dst=destination, **ip)
    udp = UDP(sport=source_port, dport=port)
    return bytes(Ether(src=eth_src, dst=eth_dst) / header / udp / Raw(payload))


def ipv4(source: str, destination: str, *, size: int = 84, ttl: int = 64, **fields: Any) -> bytes:
    """A UDP packet of `size` bytes in all; a bare IPv4 header if there is no room for UDP."""
    header = IP(src=source, dst=destination, ttl=ttl, **fields)
    room = size - IPV4_HEADER
    if room < UDP_HEADER:
        return bytes(header / Raw(bytes(range(room)))) if room else bytes(header)
    fill = bytes(index * 7 & 0xFF for index in range(room - UDP_HEADER))
    return bytes(header / UDP(sport=40000, dport=40001) / Raw(fill))


@dataclass(frozen=True)
class Decoded:
    """A GTP-U packet as scapy reads it; `inner` are the bytes after its header."""

    eth_src: str
    eth_dst: str
    source: str
    destination: str
    tos: int
    ttl: int
    kind: int
    flags: int
    teid: int
    inner: bytes


def decode(frame: bytes) -> Decoded:
    """Read a frame, and hold all its lengths and checksums to the standards."""
    packet = Ether(frame)
    check_frame(frame)
    outer, udp = packet[IP], packet[UDP]
    assert udp.dport == PORT, packet.summary()
    gtp = GTP_U_Header(udp.payload.original)
    assert (gtp.version, gtp.PT, gtp.reserved) == (1, 1, 0), "not a GTP-U header of version 1"
    optional = 4 if gtp.E or gtp.S or gtp.PN else 0
    assert gtp.length == udp.len - UDP_HEADER - GTP_HEADER, "GTP-U length"
    return Decoded(
        eth_src=packet.src,
        eth_dst=packet.dst,
        source=outer.src,
        destination=outer.dst,
        tos=outer.tos,
        ttl=outer.ttl,
        kind=gtp.gtp_type,
        flags=udp.payload.original[0],
        teid=gtp.teid,
        inner=udp.payload.original[GTP_HEADER + optional :],
    )


def _check_udp6(frame: bytes) -> None:
    """Over IPv6 there must be a checksum (RFC 8200, 8.1)."""
    body = frame[ETHERNET + 40 :]
    size = len(body).to_bytes(2, "big")
    assert frame[18:20] == body[4:6] == size, "IPv6 and UDP length"
    assert body[6:8] != bytes(2), "no UDP checksum over IPv6"
    assert checksum(frame[22:54] + size + bytes([0, 17]) + body) == 0, "UDP checksum"


def check_frame(frame: bytes) -> None:
    """Lengths, and the checksums of IPv4, UDP (or zero), TCP and ICMP, computed anew.

    The layers of the frame itself are meant, not those inside a tunnel: they are a UE's affair.
    """
    packet = Ether(frame)
    if packet.type == 0x86DD and frame[20] == 17:
        _check_udp6(frame)
    if packet.type != 0x0800:
        return
    header = packet[IP]
    size = header.ihl * 4
    raw = frame[ETHERNET : ETHERNET + header.len]
    assert len(raw) == header.len, "the IPv4 packet is cut short"
    assert checksum(raw[:size]) == 0, "IPv4 header checksum"
    if header.frag or header.flags.MF:
        return
    body = raw[size:]
    pseudo = raw[12:20] + bytes([0, header.proto]) + len(body).to_bytes(2, "big")
    if UDP in packet and header.proto == 17:
        assert packet[UDP].len == len(body), "UDP length"
        assert packet[UDP].chksum == 0 or checksum(pseudo + body) == 0, "UDP checksum"
    elif TCP in packet and header.proto == 6:
        assert checksum(pseudo + body) == 0, "TCP checksum"
    elif header.proto == 1:
        assert checksum(body) == 0, "ICMP checksum"
