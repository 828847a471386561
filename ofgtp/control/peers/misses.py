"""What the switch shows of the packets that it refuses: why, what is remembered of it, and what the
peers of T-PDUs without a session are told."""

from __future__ import annotations

import logging
import time
from collections import Counter
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from ofgtp.control.peers.senders import Senders, Then
from ofgtp.control.peers.signalling import Signalling
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import GTPU_PORT, QFI_MAX, Address, Gateway
from ofgtp.core.observations import Observation, Observations, Seen
from ofgtp.core.packets import frames
from ofgtp.core.rules.terms import ETHERNET_HEADER
from ofgtp.core.sessions.rules import ue_prefixes
from ofgtp.southbound.openflow import PacketIn
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

EXTENDED: dict[int, Seen] = {
    DropReason.EXTENSION_HEADER: Seen.EXTENSION_HEADER,
    DropReason.EXTENSION_CHAIN: Seen.EXTENSION_CHAIN,
}
REFUSED: dict[int, Seen] = {
    DropReason.CONTAINER_MISSING: Seen.CONTAINER_MISSING,
    DropReason.WRONG_QFI: Seen.WRONG_QFI,
    DropReason.BAD_CONTAINER: Seen.BAD_CONTAINER,
    DropReason.LONG_CONTAINER: Seen.LONG_CONTAINER,
}
"""By why they are dropped: of these T-PDUs the switch shows some."""

IPV4_HEADER, IPV6_HEADER = 20, 40
"""Octets of an IP header without options."""


class Misses:
    """Those of one gateway that the switch shows, which are some of all."""

    def __init__(
        self, gateway: Gateway, store: SessionStore, signalling: Signalling, senders: Senders
    ) -> None:
        self.seen: Counter[str] = Counter()
        """T-PDUs that matched no session's flow, by what they were."""
        self.lately = Observations()
        self._gateway, self._store, self._signalling = gateway, store, signalling
        self._senders = senders

    def no_session(self, packet: PacketIn, compared: bool) -> None:
        """One that matched no session's uplink flow."""
        kind = self._classify(packet)
        self.seen[str(kind)] += 1
        self._note(kind, packet, _source(packet.frame[ETHERNET_HEADER:]))
        if kind is Seen.UNKNOWN_TEID:
            self._unknown_tunnel(packet, compared)

    def refused(self, packet: PacketIn, kind: Seen) -> None:
        """A T-PDU whose container its session does not take, or that cannot be taken off."""
        qfi = packet.container & QFI_MAX if kind is Seen.WRONG_QFI else None
        named = kind in (Seen.WRONG_QFI, Seen.CONTAINER_MISSING)
        source = _source(packet.frame[ETHERNET_HEADER:]) if named else None
        self._note(kind, packet, source, qfi)

    def icmp_error(self, packet: PacketIn) -> None:
        """What somebody on the access side says of something that we sent."""
        try:
            error = frames.parse_icmp_error(packet.frame)
        except frames.FrameError as unread:
            log.debug("gateway=%s: %s", self._gateway.name, unread)
            return
        if error.dst_port != GTPU_PORT:
            return
        teid = int.from_bytes(error.payload[4:8], "big") if len(error.payload) >= 8 else 0
        said = error.kind << 8 | error.code
        seen = Observation(Seen.ICMP_ERROR, error.dst_ip, teid or None, error.source, said)
        self.lately.note(seen, time.monotonic())

    def extended(self, packet: PacketIn, compared: bool, kind: Seen) -> None:
        """One with extension headers that are not forwarded."""
        self._note(kind, packet)
        if not self._unknown_tunnel(packet, compared):
            said = self._signalling.extended(packet.teid, packet.form, packet.frame)
            if said:
                self._tell(packet, self._signalling.not_comprehended)

    def _unknown_tunnel(self, packet: PacketIn, compared: bool) -> bool:
        """Whether no session has a T-PDU's TEID; if so, its peer is told.

        Not before the switch has been `compared` with the store, nor if a change that is not
        concluded yet knows the TEID: an Error Indication makes the peer give its bearer up.
        """
        if self._store.knows_teid(self._gateway.name, packet.teid):
            return False
        if compared:
            self._tell(packet, partial(self._signalling.unknown_tunnel, packet.teid))
        return True

    def _tell(self, packet: PacketIn, say: Then) -> None:
        """Say something to the sender of a T-PDU, as soon as it is known who that is."""
        sender = self._senders.of(packet.peer, time.monotonic(), say)
        if sender is not None:
            say(sender)

    def _note(
        self,
        kind: Seen,
        packet: PacketIn,
        source: Address | None = None,
        detail: int | None = None,
    ) -> None:
        def note(sender: Address) -> None:
            seen = Observation(kind, sender, packet.teid, source, detail)
            self.lately.note(seen, time.monotonic())

        self._tell(packet, note)

    def _classify(self, packet: PacketIn) -> Seen:
        stored = self._store.by_teid(self._gateway.name, packet.teid)
        if stored is None:
            return Seen.UNKNOWN_TEID
        session = stored.session
        source, own = _source(packet.frame[ETHERNET_HEADER:]), ue_prefixes(session)
        if source is None or (own and not any(source in prefix for prefix in own)):
            return Seen.SPOOFED_SOURCE
        uplink = session.uplink
        if uplink and uplink.remote_ip not in (None, IPv4Address(packet.peer)):
            return Seen.WRONG_PEER
        return Seen.NOT_INSTALLED


def _source(packet: bytes) -> Address | None:
    """Of an IP packet."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= IPV4_HEADER:
        return IPv4Address(packet[12:16])
    if version == 6 and len(packet) >= IPV6_HEADER:
        return IPv6Address(packet[8:24])
    return None
