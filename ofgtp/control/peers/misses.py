"""T-PDUs that match no session: why, and what their peer is told."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

from ofgtp.control.peers.signalling import Signalling
from ofgtp.core.model import Gateway
from ofgtp.core.rules.terms import ETHERNET_HEADER
from ofgtp.southbound.openflow import PacketIn
from ofgtp.store.sqlite import SessionStore


class Misses:
    """Those of one gateway that the switch shows, which are some of all."""

    def __init__(self, gateway: Gateway, store: SessionStore, signalling: Signalling) -> None:
        self.seen: Counter[str] = Counter()
        """By what they were."""
        self._gateway, self._store, self._signalling = gateway, store, signalling

    def no_session(self, packet: PacketIn, compared: bool) -> None:
        """One that matched no session's uplink flow."""
        kind = self._classify(packet)
        self.seen[kind] += 1
        if kind == "unknown_teid":
            self._unknown_tunnel(packet, compared)

    def extended(self, packet: PacketIn, compared: bool) -> None:
        """One with extension headers that are not forwarded."""
        if not self._unknown_tunnel(packet, compared):
            peer = IPv4Address(packet.peer)
            self._signalling.extended(packet.teid, peer, packet.form, packet.frame)

    def _unknown_tunnel(self, packet: PacketIn, compared: bool) -> bool:
        """Whether no session has a T-PDU's TEID; if so, its peer is told.

        Not before the switch has been `compared` with the store, nor if a change that is not
        concluded yet knows the TEID: an Error Indication makes the peer give its bearer up.
        """
        if self._store.knows_teid(self._gateway.name, packet.teid):
            return False
        if compared:
            self._signalling.unknown_tunnel(packet.teid, IPv4Address(packet.peer))
        return True

    def _classify(self, packet: PacketIn) -> str:
        stored = self._store.by_teid(self._gateway.name, packet.teid)
        if stored is None:
            return "unknown_teid"
        session = stored.session
        inner = packet.frame[ETHERNET_HEADER:]
        if len(inner) < 20 or IPv4Address(inner[12:16]) != session.ue_ip:
            return "spoofed_source"
        uplink = session.uplink
        if uplink and uplink.remote_ip not in (None, IPv4Address(packet.peer)):
            return "wrong_peer"
        return "not_installed"
