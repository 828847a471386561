"""ARP for Ethernet and IPv4 (RFC 826): build a request, read a packet."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from ofgtp.core.flows.flow import mac_to_int

ETH_TYPE = 0x0806
REQUEST, REPLY = 1, 2
BROADCAST = b"\xff" * 6

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_HEAD = (1, 0x0800, 6, 4)


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP packet: `op` is REQUEST or REPLY."""

    op: int
    sender_mac: str
    sender_ip: IPv4Address
    target_ip: IPv4Address


def request(mac: str, ip: IPv4Address, target: IPv4Address) -> bytes:
    """The frame that asks who has `target`, sent by `mac` and `ip`."""
    source = mac_to_int(mac).to_bytes(6, "big")
    frame = BROADCAST + source + ETH_TYPE.to_bytes(2, "big")
    return frame + _ARP.pack(*_HEAD, REQUEST, source, ip.packed, bytes(6), target.packed)


def announcement(mac: str, ip: IPv4Address) -> bytes:
    """The frame that tells everybody who has `ip` now (RFC 5227, 2.3)."""
    return request(mac, ip, ip)


def parse(frame: bytes) -> Arp | None:
    """Read a frame; None if it is no ARP packet for IPv4 or its sender's MAC is no unicast one."""
    if len(frame) < 14 + _ARP.size or int.from_bytes(frame[12:14], "big") != ETH_TYPE:
        return None
    *head, op, sha, spa, _, tpa = _ARP.unpack_from(frame, 14)
    if tuple(head) != _HEAD or sha[0] & 1 or not any(sha):
        return None
    return Arp(op, sha.hex(":"), IPv4Address(spa), IPv4Address(tpa))
