"""The gateway as its UEs' IPv6 router: it answers what they ask, and tells them what is new."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from ofgtp.core.errors import StoreError
from ofgtp.core.flows.flow import Action
from ofgtp.core.model import Address, Gateway, Session
from ofgtp.core.packets import icmpv6
from ofgtp.core.packets.frames import ip_frame
from ofgtp.core.packets.icmpv6 import NoMessage, Type
from ofgtp.core.rules.downlink import replay
from ofgtp.core.rules.link import Link, inner_mtu, link_of
from ofgtp.core.rules.terms import ETHERNET_HEADER, ROUTER_ADDRESS, Links
from ofgtp.core.sessions.rule import Tunnel
from ofgtp.core.sessions.rules import rules_of
from ofgtp.southbound.channel import Channel
from ofgtp.southbound.openflow import PacketIn
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

LIFETIME_S = 64_800
ROUND_S = 18_000
"""Seconds for which a UE takes the gateway for its router and asks its resolvers, and within which
each UE that is not idle is told of them again: AdvDefaultLifetime, and between MinRtrAdvInterval
(16,200) and MaxRtrAdvInterval (21,600), as osmo-ggsn has them of TS 29.061, 11.2.1.3.4."""

ADVERTISED_AT_ONCE = 50
"""Advertisements of one tick, four of which are a second's."""
TRIES = 12
"""Ticks for which the MAC address of a UE's base station is waited for."""
COUNTED_S = 60.0
"""Seconds from one count of the UEs with IPv6 to the next."""


class Router:
    """One gateway's. Nothing of it is kept: a controller that starts goes on with the round where
    the time of day has it.

    `is_reached` says whether the switch knows where packets to a peer go.
    """

    def __init__(
        self, gateway: Gateway, store: SessionStore, is_reached: Callable[[Address], bool]
    ) -> None:
        self._gateway, self._store, self._is_reached = gateway, store, is_reached
        self._due: dict[int, int] = {}
        """Sessions whose UEs have to be told something, in this order, and how often that was
        tried."""
        self._mtu: int | None = None
        self._round = _Round(gateway.name, store)

    # --- what UEs ask

    def asked(self, packet: PacketIn, channel: Channel, links: Links) -> bool:
        """Answer a UE that looks for its router, or asks whether it is still there, by the tunnel
        in which it gets packets; False if no session has the TEID.

        A control plane that wants to answer gets the question as it is. Nobody answers what is no
        valid message, what is not from the UE's link, and an idle UE.
        """
        stored = self._store.by_teid(self._gateway.name, packet.teid)
        if stored is None:
            return False
        session, octets = stored.session, packet.frame[ETHERNET_HEADER:]
        try:
            if icmpv6.type_of(octets) == Type.ROUTER_SOLICITATION:
                self._solicited(session, packet, octets, channel, links)
            else:
                self._probed(session, packet, octets, channel, links)
        except NoMessage as reason:
            log.debug("gateway=%s: %s", self._gateway.name, reason)
        return True

    def _solicited(
        self, session: Session, packet: PacketIn, octets: bytes, channel: Channel, links: Links
    ) -> None:
        router = None if session.detail is None else session.detail.router
        # Whether it is a valid one is for the control plane to judge where that answers.
        asker = icmpv6.read_solicitation(octets) if router is None else icmpv6.source_of(octets)
        if not _may_ask(session, packet, asker):
            return
        if router is not None:
            frame = ip_frame(links.core_mac, links.core_mac, octets)
            channel.packets_out([(replay(Tunnel(router), relayed=True), frame)])
        elif self._gateway.router_advertisement and (link := link_of(session)) is not None:
            to = icmpv6.ALL_NODES if asker.is_unspecified else asker
            channel.packets_out([self._advertisement(link, links, to)])

    def _probed(
        self, session: Session, packet: PacketIn, octets: bytes, channel: Channel, links: Links
    ) -> None:
        """Who asks from the unspecified address looks whether somebody has an address of its own,
        and is not answered (TS 23.401, 5.3.1.2.2)."""
        frame = ip_frame(links.core_mac, links.core_mac, octets)
        asked = icmpv6.read_neighbour(frame, Type.NEIGHBOUR_SOLICITATION)
        link = link_of(session)
        if asked.source.is_unspecified or asked.target != ROUTER_ADDRESS or link is None:
            return
        if _may_ask(session, packet, asked.source):
            told = icmpv6.reachable(ROUTER_ADDRESS, asked)
            channel.packets_out([_in_tunnel(link, links, told)])

    # --- what UEs are told unasked

    def news(self, numbers: Iterable[int]) -> None:
        """The UEs of these sessions have to be told something."""
        if self._gateway.router_advertisement:
            self._due.update(dict.fromkeys(numbers, 0))

    def tick(self, now: float, channel: Channel, links: Links) -> None:
        """Tell some of them, and some of all in their turn; to be called several times a second.
        `now` is in seconds of a steady clock."""
        if not self._gateway.router_advertisement or not self._gateway.ue_pools6:
            return
        if self._mtu not in (None, links.access_mtu):
            self._round.hurry()
        self._mtu = links.access_mtu
        new = list(islice(self._due, ADVERTISED_AT_ONCE))
        try:
            numbers = new + self._round.next(now, ADVERTISED_AT_ONCE - len(new))
            found = self._store.by_numbers(numbers) if numbers else []
        except StoreError as error:
            log.debug("gateway=%s: nobody is told by its router: %s", self._gateway.name, error)
            return
        tried = {number: self._due.pop(number) for number in new}
        packets = []
        for session in (stored.session for stored in found):
            link = link_of(session)
            if link is None or session.detail is None or session.detail.router is not None:
                continue
            if self._is_reached(link.tunnel.to.ip):
                packets.append(self._advertisement(link, links, icmpv6.ALL_NODES))
            elif (tries := tried.get(session.number, TRIES)) < TRIES:
                self._due[session.number] = tries + 1
        if packets:
            channel.packets_out(packets)

    def _advertisement(
        self, link: Link, links: Links, to: IPv6Address
    ) -> tuple[tuple[Action, ...], bytes]:
        told = icmpv6.router_advertisement(
            ROUTER_ADDRESS,
            to,
            link.prefix,
            mtu=max(inner_mtu(links, contained=link.contained), icmpv6.MTU_MIN),
            lifetime_s=LIFETIME_S,
            dns=self._gateway.dns6,
        )
        return _in_tunnel(link, links, told)


class _Round:
    """All sessions with IPv6 in turn, each once in ROUND_S seconds.

    Where a round stands follows from the time of day, so that one that is begun anew by a start of
    the controller leaves nobody out.
    """

    def __init__(self, gateway: str, store: SessionStore) -> None:
        self._gateway, self._store = gateway, store
        self._count = 0
        self._counted_at: float | None = None
        self._at = 0.0
        self._owed = 0.0
        self._after: int | None = None
        """The number of the last one; None: where to begin has to be found."""
        self._hurries = False
        self._last = 0
        """The number of the last one that is hurried for."""

    def hurry(self) -> None:
        """Begin a round in which each turn is as long as may be, of those that there are now: who
        comes later is told by itself."""
        self._after, self._hurries, self._counted_at = 0, True, None
        self._last = self._store.last_number()

    def next(self, now: float, most: int) -> list[int]:
        """The numbers of those whose turn it is, `most` of them at most."""
        if self._counted_at is None or now >= self._counted_at + COUNTED_S:
            self._at = now if self._counted_at is None else self._at
            self._count, self._counted_at = self._store.count_ipv6(self._gateway), now
        self._owed = min(self._owed + self._count * (now - self._at) / ROUND_S, self._count)
        self._at = now
        size = min(most, self._count if self._hurries else int(self._owed))
        if size <= 0:
            self._hurries = self._hurries and self._count > 0
            return []
        self._owed = max(self._owed - size, 0)
        after, skipped = self._after, 0
        if after is None:
            after, skipped = 0, int(self._count * (time.time() % ROUND_S) / ROUND_S)
        found = self._store.ipv6_numbers(self._gateway, after, size, skipped)
        numbers = [each for each in found if each <= self._last] if self._hurries else found
        ended = len(numbers) < size
        self._after = 0 if ended else numbers[-1]
        self._hurries = self._hurries and not ended
        return numbers


def _may_ask(session: Session, packet: PacketIn, asker: IPv6Address) -> bool:
    """Whether a session's UE asks by an address that it may have, and from the session's peer."""
    prefix = None if session.detail is None else session.detail.ue_ipv6
    if prefix is None or not (asker.is_unspecified or asker.is_link_local or asker in prefix):
        return False
    peers = {rule.peer for rule in rules_of(session) if rule.teid == packet.teid}
    return None in peers or IPv4Address(packet.peer) in peers


def _in_tunnel(link: Link, links: Links, told: bytes) -> tuple[tuple[Action, ...], bytes]:
    return replay(link.tunnel, relayed=False), ip_frame(links.core_mac, links.core_mac, told)
