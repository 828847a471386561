"""What UEs are told of their router: Router Solicitations are answered (TS 23.401, 5.3.1.2.2)."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv6Address

from ofgtp.core.model import Gateway, Session
from ofgtp.core.packets import icmpv6
from ofgtp.core.rules.downlink import replay
from ofgtp.core.rules.terms import (
    CONTAINER_HEADERS,
    ETHERNET_HEADER,
    Links,
    tunnel_headers,
)
from ofgtp.core.sessions.rule import Rule, Tunnel
from ofgtp.core.sessions.rules import rules_of
from ofgtp.southbound.channel import Channel
from ofgtp.southbound.openflow import PacketIn
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

OURS = IPv6Address("fe80::1")
"""The router's address on every UE's link: there is no other host on it."""
LIFETIME_S = 9_000
"""The longest that a router may say (RFC 4861, 6.2.1)."""


class Router:
    """The gateway, to its UEs."""

    def __init__(self, gateway: Gateway, store: SessionStore) -> None:
        self._gateway, self._store = gateway, store

    def solicited(self, packet: PacketIn, channel: Channel, links: Links) -> None:
        """Answer a UE that looks for its router, by the tunnel in which it gets packets. One of no
        session, of one without IPv6 or of an idle one is not answered."""
        stored = self._store.by_teid(self._gateway.name, packet.teid)
        try:
            asker = icmpv6.read_solicitation(packet.frame[ETHERNET_HEADER:])
        except icmpv6.NoMessage as reason:
            log.debug("gateway=%s: %s", self._gateway.name, reason)
            return
        if stored is None or not _may_ask(stored.session, packet):
            return
        self.advertise(stored.session, channel, links, asker)

    def advertise(
        self,
        session: Session,
        channel: Channel,
        links: Links,
        to: IPv6Address = icmpv6.ALL_NODES,
    ) -> None:
        """Tell a UE its prefix and what fits, if it has one and is not idle."""
        prefix = None if session.detail is None else session.detail.ue_ipv6
        tunnel = next((t for t in map(_tunnel, rules_of(session)) if t is not None), None)
        if prefix is None or tunnel is None:
            return
        headers = tunnel_headers(links) + CONTAINER_HEADERS * (tunnel.octet is not None)
        told = icmpv6.router_advertisement(
            OURS,
            icmpv6.ALL_NODES if to.is_unspecified else to,
            prefix,
            mtu=max(links.access_mtu - headers, icmpv6.MTU_MIN),
            lifetime_s=LIFETIME_S,
        )
        frame = icmpv6.frame(links.core_mac, links.core_mac, told)
        channel.packets_out([(replay(tunnel, relayed=False), frame)])


def _may_ask(session: Session, packet: PacketIn) -> bool:
    peers = {rule.peer for rule in rules_of(session) if rule.teid == packet.teid}
    return None in peers or IPv4Address(packet.peer) in peers


def _tunnel(rule: Rule) -> Tunnel | None:
    return rule.forward if rule.teid is None and isinstance(rule.forward, Tunnel) else None
