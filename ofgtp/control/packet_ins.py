"""What the switch shows: which packet goes to which part of the gateway."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import eventlet

from ofgtp.control.buffer.holding import Holding
from ofgtp.control.core_side import CoreSide
from ofgtp.control.flows.counters import Counters
from ofgtp.control.flows.links import LinksNow
from ofgtp.control.flows.sync import Sync
from ofgtp.control.peers.misses import EXTENDED, REFUSED, Misses
from ofgtp.control.peers.senders import Senders
from ofgtp.control.peers.signalling import Signalling
from ofgtp.control.router import Router
from ofgtp.core.errors import StoreError
from ofgtp.core.flows.flow import CookieKind, cookie_kind, cookie_number
from ofgtp.core.flows.pipeline import DropReason, Report
from ofgtp.core.model import Gateway
from ofgtp.core.packets.frames import is_ipv6
from ofgtp.core.packets.icmpv6 import Type
from ofgtp.southbound.openflow import PacketIn

log = logging.getLogger(__name__)


class PacketIns:
    """One gateway's. `update_route` brings flows up to date with the next hop."""

    def __init__(
        self,
        gateway: Gateway,
        sync: Sync,
        links: LinksNow,
        core_side: CoreSide,
        router: Router,
        holding: Holding,
        totals: Counters,
        signalling: Signalling,
        senders: Senders,
        misses: Misses,
        update_route: Callable[[], None],
    ) -> None:
        self._gateway, self._sync, self._links = gateway, sync, links
        self._core_side, self._router, self._holding = core_side, router, holding
        self._totals, self._signalling, self._senders = totals, signalling, senders
        self._misses, self._update_route = misses, update_route
        self.neighbours_changed = False
        """Whether a next hop of the access side is known by another MAC address since this was last
        set to False."""

    def take(self, packet: PacketIn) -> None:
        """A packet from the switch. What it says of the network is believed; its bytes are not."""
        try:
            self._take(packet)
        except StoreError as error:
            log.debug("gateway=%s: a packet not looked at: %s", self._gateway.name, error)
        except Exception:
            # Or else it would end the OpenFlow connection, which reads on behind this.
            log.exception("gateway=%s: unexpected", self._gateway.name)

    def _heard_next_hop(self, packet: PacketIn, own_mac: str | None) -> bool:
        """Whether a next hop is known by another MAC address now."""
        core_side, frame = self._core_side, packet.frame
        if not is_ipv6(frame):
            return core_side.heard_arp(frame, own_mac)
        if frame[54:55] != bytes((Type.NEIGHBOUR_SOLICITATION,)):
            return core_side.heard_neighbour(frame, own_mac)
        if self._sync.channel is not None and self._sync.links is not None:
            core_side.asked(frame, self._sync.channel, self._sync.links)
        return False

    def _heard_peer(self, frame: bytes) -> bool:
        """The same on the access side."""
        peers, now = self._signalling.peers, time.monotonic()
        if is_ipv6(frame):
            return peers.heard_neighbour(frame, now)
        return peers.heard_arp(frame, now)

    def _take(self, packet: PacketIn) -> None:
        signalling, number = self._signalling, cookie_number(packet.cookie)
        match cookie_kind(packet.cookie), number:
            case CookieKind.REPORT, Report.SIGNALLING:
                signalling.message(packet.frame)
            case CookieKind.REPORT, Report.ACCESS_ARP:
                if self._heard_peer(packet.frame):
                    self.neighbours_changed = True
            case CookieKind.REPORT, Report.NEXT_HOP:
                facts = self._links.facts
                own_mac = None if facts is None else facts.core_mac
                heard = self._heard_next_hop(packet, own_mac)
                if heard:
                    eventlet.spawn(self._update_route)
            case CookieKind.REPORT, Report.SENDER:
                self._senders.heard(packet.frame, time.monotonic())
            case CookieKind.REPORT, Report.HELD:
                self._totals.shown += 1
                self._holding.packet_in(packet, time.monotonic())
            case CookieKind.REPORT, Report.TOO_BIG:
                if self._sync.channel is not None and self._sync.links is not None:
                    self._core_side.too_big(packet, self._sync.channel, self._sync.links)
            case CookieKind.REPORT, Report.TOO_BIG_UPLINK:
                if self._sync.channel is not None and self._sync.links is not None:
                    self._core_side.too_big_uplink(packet, self._sync.channel, self._sync.links)
            case CookieKind.REPORT, Report.ROUTER_SOLICITATION:
                if self._sync.channel is not None and self._sync.links is not None:
                    known = self._router.asked(packet, self._sync.channel, self._sync.links)
                    if not known:
                        self._misses.no_session(packet, self._sync.compared)
            case CookieKind.DROP, DropReason.TTL_EXPIRED:
                if self._sync.channel is not None and self._sync.links is not None:
                    self._core_side.ttl_expired(packet, self._sync.channel, self._sync.links)
            case CookieKind.DROP, DropReason.NO_UPLINK_SESSION:
                self._misses.no_session(packet, self._sync.compared)
            case CookieKind.DROP, reason if reason in EXTENDED:
                self._misses.extended(packet, self._sync.compared, EXTENDED[reason])
            case CookieKind.DROP, DropReason.ICMP_ERROR:
                self._misses.icmp_error(packet)
            case CookieKind.DROP, reason if reason in REFUSED:
                self._misses.refused(packet, REFUSED[reason])
