"""The GTP-U peers of one gateway: their paths, their next hops, and what is sent to them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from ofgtp.core.model import GTPU_PORT, Address, Gateway, Session
from ofgtp.core.packets import arp, frames, gtpu, icmpv6
from ofgtp.core.peers.neighbours import Neighbours
from ofgtp.core.peers.paths import PathChanged, Paths, PathStatus, PathTimers
from ofgtp.core.sessions.rules import peers_of

log = logging.getLogger(__name__)

WAIT_S = 3.0
"""How long a message waits for its next hop's MAC address."""

WAITING_HOPS, WAITING_EACH = 64, 8
"""Most next hops that messages wait for, and most messages that wait for one."""


@dataclass(slots=True)
class _Waiting:
    until: float
    messages: list[tuple[Address, gtpu.MessageType, bytes]] = field(default_factory=list)


class Peers:
    """Who is in use follows from the sessions, which are counted by `load` and `changed`.

    `send` puts a frame out of the access port; `local_mac` is the gateway's own there, None while
    it is not known (then nothing is sent). Times are seconds of a steady clock.
    """

    def __init__(
        self,
        gateway: Gateway,
        send: Callable[[bytes], None],
        local_mac: Callable[[], str | None],
        sent: Callable[[gtpu.MessageType], None],
    ) -> None:
        self._gateway, self._send, self._local_mac, self._sent = gateway, send, local_mac, sent
        self.paths = Paths(_timers(gateway))
        self.neighbours = Neighbours()
        self._waiting: dict[Address, _Waiting] = {}
        self._sessions: Counter[Address] = Counter()

    # --- who is in use

    def load(self, sessions: Mapping[Address, int], now: float) -> None:
        """These are the peers, with the number of sessions that name each, whatever was before.

        New ones are not asked by Echo Request at once: a run before may have done so just now.
        """
        for peer in sessions.keys() | self._sessions.keys():
            self._count(peer, sessions.get(peer, 0) - self._sessions[peer], now, later=True)

    def changed(self, sessions: Mapping[Address, int], now: float) -> None:
        """So many sessions more, or less, name these peers."""
        # More comes first: a next hop that one peer leaves and another takes stays known.
        for peer, count in sorted(sessions.items(), key=lambda item: -item[1]):
            self._count(peer, count, now)

    def expect(self, peers: Set[Address], now: float) -> None:
        """Sessions with these peers are about to be: have the new ones' next hops asked."""
        for peer in [each for each in peers if each not in self._sessions]:
            hop = self._gateway.access_next_hop(peer)
            if hop is not None:
                self._hold(hop, now)

    def keep(self, peer: Address, now: float) -> Address | None:
        """Something is to be said to this peer later: its next hop stays known until `let_go`.
        Returns what that takes."""
        hop = self._gateway.access_next_hop(peer)
        if hop is not None:
            self.neighbours.acquire(hop, now)
        return hop

    def let_go(self, hop: Address | None) -> None:
        """It has been said; to be called once for each `keep`."""
        if hop is not None:
            self.neighbours.release(hop)

    def reloaded(self, before: Gateway, now: float) -> None:
        """The gateway has other timers and routes than it had `before`."""
        self.paths.retime(_timers(self._gateway), now)
        left: list[Address] = []
        for peer in self._sessions:
            was, is_ = before.access_next_hop(peer), self._gateway.access_next_hop(peer)
            if was == is_:
                continue
            if is_ is not None:
                self.neighbours.acquire(is_, now)
            if was is not None:
                left.append(was)
        for hop in left:
            self.neighbours.release(hop)
        self.ask(now)

    def _hold(self, hop: Address, now: float) -> _Waiting | None:
        """Keep a next hop in use for a while; None if too many are already kept so."""
        waiting = self._waiting.get(hop)
        if waiting is None and len(self._waiting) < WAITING_HOPS:
            waiting = self._waiting[hop] = _Waiting(now + WAIT_S)
            self.neighbours.acquire(hop, now)
        return waiting

    def _count(self, peer: Address, sessions: int, now: float, *, later: bool = False) -> None:
        before = self._sessions[peer]
        after = max(before + sessions, 0)
        hop = self._gateway.access_next_hop(peer)
        if after > before:
            self.paths.acquire(peer, now, after - before, later)
            if not before and hop is not None:
                self.neighbours.acquire(hop, now)
        elif after < before:
            self.paths.release(peer, before - after)
            if not after and hop is not None:
                self.neighbours.release(hop)
        if after:
            self._sessions[peer] = after
        else:
            del self._sessions[peer]

    @property
    def sessions(self) -> int:
        """How many sessions name a peer; those that name two count twice."""
        return self._sessions.total()

    @property
    def unrouted(self) -> list[Address]:
        """Those to which no route leads on the access side."""
        return [peer for peer in self._sessions if self._gateway.access_next_hop(peer) is None]

    def is_reached(self, peer: Address) -> bool:
        """Whether the switch knows where packets to a peer go."""
        hop = self._gateway.access_next_hop(peer)
        return hop is None or self.neighbours.mac(hop) is not None

    def status(self) -> list[PathStatus]:
        """The peers in use."""
        return self.paths.status()

    # --- what is due

    def ask(self, now: float) -> None:
        """Send the ARP requests, and Neighbour Solicitations, that are due."""
        mac = self._local_mac()
        if mac is None:
            return
        ours6 = self._gateway.access_ip6
        for ip in self.neighbours.tick(now):
            if isinstance(ip, IPv4Address):
                self._send(arp.request(mac, self._gateway.access_ip.ip, ip))
            elif ours6 is not None:
                self._send(icmpv6.solicitation(mac, ours6.ip, ip))

    def tick(self, now: float) -> list[PathChanged]:
        """Send what is due; the paths that changed."""
        self.ask(now)
        for hop in [hop for hop, waiting in self._waiting.items() if waiting.until <= now]:
            if self._waiting.pop(hop).messages:
                log.debug("gateway=%s: %s does not answer ARP", self._gateway.name, hop)
            self.neighbours.release(hop)
        requests, changed = self.paths.tick(now)
        for request in requests:
            self.say(
                request.peer,
                gtpu.MessageType.ECHO_REQUEST,
                gtpu.echo_request(request.sequence),
                now,
            )
        return changed

    # --- what comes in

    def heard_arp(self, frame: bytes, now: float) -> bool:
        """Take an ARP packet; True if a next hop in use is now known by another MAC address."""
        said = arp.parse(frame)
        if said is None or said.sender_mac == self._local_mac():
            return False
        if said.op != arp.REPLY or said.target_ip != self._gateway.access_ip.ip:
            self.neighbours.doubt(said.sender_ip, said.sender_mac, now)
            return False
        return self._answered(said.sender_ip, said.sender_mac, now)

    def heard_neighbour(self, frame: bytes, now: float) -> bool:
        """The same of a Neighbour Advertisement; one that nobody asked for only has it asked."""
        try:
            said = icmpv6.read_neighbour(frame, icmpv6.Type.NEIGHBOUR_ADVERTISEMENT)
        except icmpv6.NoMessage:
            return False
        if said.mac is None or said.mac == self._local_mac():
            return False
        if not said.solicited:
            self.neighbours.doubt(said.target, said.mac, now)
            return False
        return self._answered(said.target, said.mac, now)

    def _answered(self, hop: Address, mac: str, now: float) -> bool:
        """A next hop has said where it is; whether that is news."""
        news = self.neighbours.heard(hop, mac, now)
        waiting = self._waiting.get(hop)
        if waiting is not None:
            for peer, kind, datagram in waiting.messages:
                self._emit(mac, peer, GTPU_PORT, kind, datagram)
            waiting.messages.clear()
        if news:
            name = self._gateway.name
            log.info("gateway=%s: next hop %s on the access side is at %s", name, hop, mac)
        return news

    # --- what goes out

    def say(self, peer: Address, kind: gtpu.MessageType, datagram: bytes, now: float) -> None:
        """Send a message to a peer's port 2152, by its next hop, as soon as that is known."""
        hop = self._gateway.access_next_hop(peer)
        if hop is None:
            log.debug("gateway=%s: no route on the access side to %s", self._gateway.name, peer)
            return
        mac = self.neighbours.mac(hop)
        if mac is not None:
            self._emit(mac, peer, GTPU_PORT, kind, datagram)
            return
        waiting = self._hold(hop, now)
        if waiting is not None and len(waiting.messages) < WAITING_EACH:
            waiting.messages.append((peer, kind, datagram))
        self.ask(now)

    def answer(self, request: frames.UdpFrame, kind: gtpu.MessageType, datagram: bytes) -> None:
        """Send a message back to where a frame came from: address, port and MAC address."""
        mac, port, dscp = request.src_mac, request.src_port, request.dscp
        self._emit(mac, request.src_ip, port, kind, datagram, dscp)

    def _emit(
        self,
        mac: str,
        peer: Address,
        port: int,
        kind: gtpu.MessageType,
        datagram: bytes,
        dscp: int = 0,
    ) -> None:
        ours = self._local_mac()
        if ours is None:
            return
        own = self._gateway.access_ip if peer.version == 4 else self._gateway.access_ip6
        if own is None:
            return
        frame = frames.udp_frame(ours, mac, own.ip, peer, GTPU_PORT, port, datagram, dscp=dscp)
        self._send(frame)
        self._sent(kind)


def _timers(gateway: Gateway) -> PathTimers:
    return PathTimers(gateway.echo_seconds, gateway.t3_response_seconds, gateway.n3_requests)


def difference(before: Session | None, after: Session | None) -> Counter[Address]:
    """How many sessions more, or less, name each peer, if a session is now another one."""
    was, is_ = (set() if each is None else peers_of(each) for each in (before, after))
    return Counter({peer: (peer in is_) - (peer in was) for peer in was ^ is_})
