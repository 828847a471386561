"""Frames, and a switch with flows of ofgtp's, for this layer's tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from ofgtp.core.flows.flow import Flow
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import CE_PORT, ECT_1_PORT, Gateway, Session
from ofgtp.core.rules.terms import Links
from tests.support.lab import gateway
from tests.support.sample import ENB, LINKS, all_flows
from tests.table.simulator import Switch, Trace

GTP = struct.Struct("!BBHI")
E, S, PN = 4, 2, 1
ENB_MAC, HOP_MAC = "52:54:00:00:00:02", LINKS.peer_mac
ACCESS_IP, CORE_IP = IPv4Address("10.1.0.1"), IPv4Address("10.2.0.1")
SERVER = IPv4Address("198.51.100.7")


def switch(
    *sessions: Session,
    links: Links = LINKS,
    others: tuple[Gateway, ...] = (),
    **changes: Any,
) -> Switch:
    """The sample gateway's switch, with some of the gateway's fields changed."""
    flows = all_flows(gateway(**changes), *sessions, links=links, others=others)
    return made(flows, links)


def made(flows: Iterable[Flow], links: Links = LINKS) -> Switch:
    """A switch with these flows and the sample gateway's ports."""
    patch = links.loop_out, links.loop_in
    gtpu = {2152: links.gtpu, ECT_1_PORT: links.gtpu_ect_1, CE_PORT: links.gtpu_ce}
    return Switch(flows, gtpu, ACCESS_IP, links.local_mac, patch)


def inner(
    src: object = "10.45.0.2", dst: object = SERVER, ttl: int = 64, size: int = 40, **ip: Any
) -> bytes:
    """A UE's IPv4 packet with a UDP datagram of `size` bytes of payload in it."""
    packet = IP(src=str(src), dst=str(dst), ttl=ttl, **ip) / UDP(sport=4000, dport=5000)
    return bytes(packet / bytes(n * 7 % 256 for n in range(size)))


def inner_ipv6(src: str = "2001:db8::2") -> bytes:
    """A UE's IPv6 packet."""
    return bytes(IPv6(src=src, dst="2001:db8::1") / UDP(sport=4000, dport=5000) / bytes(40))


def gtpu(
    payload: bytes,
    teid: int = 0x1001,
    *,
    flags: int = 0,
    kind: int = 255,
    src: object = ENB,
    dst: object = ACCESS_IP,
    mac: str = LINKS.local_mac,
    sequence: int = 7,
    first: int | None = None,
    extension: int = 0x85,
    container: bytes = bytes.fromhex("01100900"),
    **ip: Any,
) -> bytes:
    """A frame with a GTP-U message; `flags` of E, S, PN bring the four optional bytes.

    `first` is the octet of version, PT and flags, if another. E brings `container`, and in front
    of it its type.
    """
    optional = struct.pack("!HBB", sequence, 9, extension if flags & E else 0) if flags else b""
    optional += container if flags & E else b""
    head = GTP.pack(0x30 | flags if first is None else first, kind, len(optional + payload), teid)
    outer = Ether(src=ENB_MAC, dst=mac) / IP(src=str(src), dst=str(dst), **ip)
    return bytes(outer / UDP(sport=2152, dport=2152) / (head + optional + payload))


def from_core(payload: bytes, mac: str = LINKS.core_mac) -> bytes:
    """A frame from the next hop."""
    return bytes(Ether(src=HOP_MAC, dst=mac, type=0x0800)) + payload


def echo(src: object, dst: object, kind: int = 8, **ip: Any) -> bytes:
    """A ping, as an IPv4 packet."""
    return bytes(IP(src=str(src), dst=str(dst), **ip) / ICMP(type=kind, id=1, seq=2) / bytes(24))


def arp(op: int, mac: str, spa: object, tpa: object, tha: str = "00:00:00:00:00:00") -> bytes:
    """An ARP frame to everybody."""
    body = ARP(op=op, hwsrc=mac, psrc=str(spa), hwdst=tha, pdst=str(tpa))
    return bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / body)


def why(trace: Trace) -> DropReason:
    """The reason for which a frame was dropped; none of it may have left."""
    assert trace.sent == [], "dropped, and sent all the same"
    assert trace.drop_number is not None, f"dropped without a reason after {trace.flows}"
    return DropReason(trace.drop_number)


def only(trace: Trace, port: int) -> bytes:
    """The one frame that left, which must be by this port."""
    assert [where for where, _ in trace.sent] == [port], trace.flows
    return trace.sent[0][1]


def contained(frame: bytes) -> bytes:
    """A frame of the gateway's, with what nftables does on its way out (`southbound.netfilter`)."""
    udp = bytearray(frame[34:])
    if udp[9] == 255 and udp[16:18] == b"\0\0" and udp[19] == 0x85:
        if udp[23] == 1:
            udp[22], udp[23] = udp[22] ^ 1, 0
        udp[8] = 0x34
    return frame[:34] + bytes(udp)


def tunnelled(frame: bytes) -> tuple[IPv4Address, int, bytes]:
    """Peer, TEID and T-PDU of a GTP-U frame that the gateway sent, read by scapy."""
    packet: Packet = Ether(frame)
    ip, udp = packet[IP], packet[UDP]
    assert (packet.src, ip.src, udp.dport) == (LINKS.local_mac, str(ACCESS_IP), 2152)
    flags, kind, length, teid = GTP.unpack_from(bytes(udp.payload))
    assert (flags, kind) == (0x30, 255)
    payload = bytes(udp.payload)[8:]
    assert len(payload) == length
    return IPv4Address(ip.dst), teid, payload
