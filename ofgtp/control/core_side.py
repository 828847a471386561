"""The core side of one gateway: its next hop, and what the senders of too big packets are told."""

from __future__ import annotations

import logging
import time
from ipaddress import IPv4Address, IPv6Address

from ofgtp.core.flows.flow import Port
from ofgtp.core.model import Gateway, Session
from ofgtp.core.packets import arp, frames, icmpv6
from ofgtp.core.peers.next_hop import NextHop
from ofgtp.core.rules.link import inner_mtu
from ofgtp.core.rules.terms import ETHERNET_HEADER, Links
from ofgtp.core.sessions.rule import Tunnel
from ofgtp.core.sessions.rules import rules_of
from ofgtp.southbound.channel import Channel
from ofgtp.southbound.openflow import PacketIn
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)


class CoreSide:
    """What the flows and the controller must know of SGi or N6."""

    def __init__(self, gateway: Gateway, store: SessionStore) -> None:
        self.next_hop, self.next_hop6 = NextHop(), NextHop()
        self._gateway, self._store = gateway, store

    def heard_arp(self, frame: bytes, own_mac: str | None) -> bool:
        """Take an ARP packet; True if the next hop is now known by another MAC address."""
        said = arp.parse(frame)
        if said is None or said.sender_ip != self._gateway.next_hop or said.sender_mac == own_mac:
            return False
        news = self.next_hop.heard(said.sender_mac, time.monotonic())
        if news:
            log.info(
                "gateway=%s: next hop %s is at %s",
                self._gateway.name,
                said.sender_ip,
                said.sender_mac,
            )
        return news

    def heard_neighbour(self, frame: bytes, own_mac: str | None) -> bool:
        """Take a Neighbour Advertisement, as `heard_arp` does an ARP packet."""
        try:
            said = icmpv6.read_neighbour(frame, icmpv6.Type.NEIGHBOUR_ADVERTISEMENT)
        except icmpv6.NoMessage as reason:
            log.debug("gateway=%s: %s", self._gateway.name, reason)
            return False
        mac = said.mac or frame[6:12].hex(":")
        if said.target != self._gateway.next_hop6 or mac == own_mac:
            return False
        news = self.next_hop6.heard(mac, time.monotonic())
        if news:
            log.info("gateway=%s: next hop %s is at %s", self._gateway.name, said.target, mac)
        return news

    def asked(self, frame: bytes, channel: Channel, links: Links) -> None:
        """Answer who looks whether somebody has our IPv6 address (RFC 4862, 5.4.3)."""
        ours = self._gateway.core_ip6
        try:
            said = icmpv6.read_neighbour(frame, icmpv6.Type.NEIGHBOUR_SOLICITATION)
        except icmpv6.NoMessage as reason:
            log.debug("gateway=%s: %s", self._gateway.name, reason)
            return
        if ours is not None and said.target == ours.ip:
            told = icmpv6.advertisement(links.core_mac, ours.ip, said, frame[6:12].hex(":"))
            channel.packet_out(links.core, told)

    def doubt(self) -> None:
        """The next hops may be others now."""
        self.next_hop.doubt()
        self.next_hop6.doubt()

    def ask(self, channel: Channel, links: Links | None) -> None:
        """Ask the next hops for their MAC addresses, where that is due."""
        now, gateway = time.monotonic(), self._gateway
        if links is None:
            return
        if gateway.next_hop is not None and self.next_hop.due(now):
            question = arp.request(links.core_mac, gateway.core_ip.ip, gateway.next_hop)
            channel.packet_out(links.core, question)
        if gateway.next_hop6 is not None and gateway.core_ip6 and self.next_hop6.due(now):
            ours = gateway.core_ip6.ip
            question = icmpv6.solicitation(links.core_mac, ours, gateway.next_hop6)
            channel.packet_out(links.core, question)

    def too_big(self, packet: PacketIn, channel: Channel, links: Links) -> None:
        """Tell the sender of a packet that did not fit the access side (RFC 1191, RFC 4443)."""
        sent = packet.frame[ETHERNET_HEADER:]
        mtu = inner_mtu(links, contained=self._is_contained(sent))
        told = self._fits_not(sent, mtu)
        if told is not None:
            _tell_sender(packet, told, channel, links)

    def _fits_not(self, sent: bytes, mtu: int) -> bytes | None:
        """What the sender of a packet is told that is longer than an MTU; None: nothing."""
        gateway = self._gateway
        if sent[:1] and sent[0] >> 4 == 6:
            ours = gateway.core_ip6
            if ours is None or mtu < icmpv6.MTU_MIN:
                return None  # IPv6 has no such link
            return icmpv6.too_big(ours.ip, mtu, sent)
        if mtu < frames.MTU_MIN:
            return None
        return frames.icmp_fragmentation_needed(gateway.core_ip.ip, mtu, sent)

    def ttl_expired(self, packet: PacketIn, channel: Channel, links: Links) -> None:
        """Tell the sender of a packet that its TTL has come to an end here (RFC 792)."""
        sent = packet.frame[ETHERNET_HEADER:]
        if frames.is_ipv6(packet.frame):
            ours = self._gateway.core_ip6
            told = None if ours is None else icmpv6.time_exceeded(ours.ip, sent)
        else:
            told = frames.icmp_time_exceeded(self._gateway.core_ip.ip, sent)
        if told is not None:
            _tell_sender(packet, told, channel, links)

    def too_big_uplink(self, packet: PacketIn, channel: Channel, links: Links) -> None:
        """Tell the UE that sent a packet which does not fit the core side (RFC 1191, RFC 4443)."""
        told = None
        if links.core_mtu is not None:
            told = self._fits_not(packet.frame[ETHERNET_HEADER:], links.core_mtu)
        if told is not None:
            _tell_ue(told, channel, links)

    def _is_contained(self, packet: bytes) -> bool:
        """Whether the UE that a packet is for gets packets with containers."""
        name, stored = self._gateway.name, None
        if len(packet) >= 40 and packet[0] >> 4 == 6:
            stored = self._store.by_ue_ipv6(name, IPv6Address(packet[24:40]))
        elif len(packet) >= 20:
            stored = self._store.by_ue_ip(name, IPv4Address(packet[16:20]))
        return stored is not None and _contained(stored.session)


def _contained(session: Session) -> bool:
    """Whether a UE gets packets with containers, or once it is not idle."""
    tunnels = (rule.forward for rule in rules_of(session) if isinstance(rule.forward, Tunnel))
    return session.qos is not None or any(tunnel.octet is not None for tunnel in tunnels)


def _tell_sender(packet: PacketIn, told: bytes, channel: Channel, links: Links) -> None:
    """Send a packet back to where another came from."""
    if packet.in_port == links.core:
        sender = packet.frame[6:12].hex(":")
        channel.packet_out(links.core, frames.ip_frame(links.core_mac, sender, told))
    else:
        _tell_ue(told, channel, links)


def _tell_ue(packet: bytes, channel: Channel, links: Links) -> None:
    """Send a packet to a UE, which gets it as it gets all that comes from the core side."""
    frame = frames.ip_frame(links.core_mac, links.core_mac, packet)
    channel.packet_out(Port.TABLE, frame, in_port=links.core)
