"""The control planes of one node: association, heartbeat, restart (TS 29.244, 6.2).

What changes sessions or the store is a `Change`, and takes effect when it is `done`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ofgtp.core.agenda import Agenda
from ofgtp.core.pfcp.node.actions import Action, Change, Event, EventKind, Transaction
from ofgtp.core.pfcp.node.associations import (
    Association,
    IPAddress,
    Peer,
    Peers,
    PeerState,
    canonical,
)
from ofgtp.core.pfcp.node.settings import NodeSettings
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import AssociationSetupRequest, AssociationUpdateRequest
from ofgtp.core.pfcp.wire.values import Addresses, FSeid, NodeId

ADDRESSES_MAX = 16
"""Addresses of a control plane besides the one that it set up from."""


class ControlPlanes:
    """Those that are associated; `now` is seconds of a steady clock."""

    def __init__(
        self, settings: NodeSettings, associations: Iterable[Association], now: float
    ) -> None:
        self.settings = settings
        """The node may replace them."""
        self._agenda: Agenda[NodeId] = Agenda()
        """When the next heartbeat to each is due."""
        self._changing: dict[NodeId, Change] = {}
        self.peers = Peers()
        for association in associations:
            self.peers.add(association)
            self._agenda.set(canonical(association.node_id), now)

    def allowed(self, ip: IPAddress) -> bool:
        """Whether messages are taken from an address."""
        return any(ip in network for network in self.settings.peers)

    def changing(self, node_id: NodeId) -> bool:
        """Whether a change is under way."""
        return canonical(node_id) in self._changing

    # --- procedures of the control plane

    def setup(
        self, message: AssociationSetupRequest, transaction: Transaction, now: float
    ) -> Change:
        """The Node ID may be associated already: then this one takes its place (6.2.6.2.2).

        Raises:
            Refusal: there is no room; or somebody else has that Node ID, and answers heartbeats.
        """
        node_id, ip = message.node_id, transaction.source.ip
        peer = self.peers.get(node_id)
        if peer is None:
            if len(self.peers) + len(self._changing) >= self.settings.associations:
                reason = f"there are {len(self.peers)} associations already"
                raise Refusal(Cause.NO_RESOURCES, reason)
        elif ip not in peer.association.addresses and peer.state is not PeerState.DOWN:
            self._agenda.hasten(canonical(node_id), now)
            reason = f"{node_id} is associated from {peer.association.ip}, which is not down"
            raise Refusal(Cause.REJECTED, reason)
        association = Association(
            node_id,
            ip,
            self._addresses(node_id, ip, message.alternative_addresses),
            message.recovery_time_stamp,
            int(message.cp_features or 0),
        )
        delete, keep = peer is not None, None
        if message.retention is not None:
            keep = frozenset(_each(message.retention.addresses))
            delete = delete and message.retention.addresses != ()
        why = f"{node_id} set up an association, Recovery Time Stamp {message.recovery_time_stamp}"
        return self._begin(Change(node_id, association, delete, keep, why, transaction))

    def update(self, message: AssociationUpdateRequest, transaction: Transaction) -> Change:
        """Other features or addresses (6.2.7).

        Raises:
            Refusal: it has no association.
        """
        association = self.owned(message.node_id, transaction).association
        if message.cp_features is not None:
            association = replace(association, cp_features=int(message.cp_features))
        if message.alternative_addresses:
            addresses = self._addresses(
                association.node_id, association.ip, message.alternative_addresses
            )
            association = replace(association, addresses=addresses)
        why = f"{message.node_id} updated its association"
        return self._begin(Change(association.node_id, association, False, None, why, transaction))

    def release(self, node_id: NodeId, transaction: Transaction) -> Change:
        """It and its sessions are no more (6.2.8); KeyError if it is not there.

        Raises:
            Refusal: the association is another's.
        """
        if self.peers.get(node_id) is None:
            raise KeyError(node_id)
        association = self.owned(node_id, transaction).association
        why = f"{node_id} released its association"
        return self._begin(Change(association.node_id, None, True, None, why, transaction))

    def owned(self, node_id: NodeId, transaction: Transaction) -> Peer:
        """The association of a Node ID, for a request that comes from an address of it.

        Raises:
            Refusal: there is none, or it is another's.
        """
        peer, ip = self.peers.get(node_id), transaction.source.ip
        if peer is None or ip not in peer.association.addresses:
            raise Refusal(Cause.NO_ASSOCIATION, f"{node_id} has no association at {ip}")
        return peer

    def check_fseid(self, cp_fseid: FSeid, owners: Iterable[NodeId]) -> None:
        """Our reports of a session go to its CP F-SEID: not to another control plane.

        Raises:
            Refusal: it is at an address that only others have.
        """
        mine = {canonical(owner) for owner in owners}
        for ip in (cp_fseid.ipv4, cp_fseid.ipv6):
            there = [] if ip is None else self.peers.at(ip)
            names = [canonical(peer.association.node_id) for peer in there]
            if names and mine.isdisjoint(names):
                reason = f"{ip} is an address of another control plane, {names[0]}"
                raise Refusal(Cause.REJECTED, reason, Ie.FSEID)

    # --- changes

    def done(self, change: Change, now: float) -> list[Action]:
        """A change has been carried out.

        Raises:
            ValueError: it is none that is under way.
        """
        node_id = self._end(change)
        request = change.transaction.type if change.transaction is not None else None
        if change.save is None:
            self._forget(node_id)
        elif request is MessageType.ASSOCIATION_SETUP_REQUEST:
            self._forget(node_id)
            peer = self.peers.add(change.save)
            peer.state, peer.heard_at = PeerState.UP, now
            self._agenda.set(node_id, now + self.settings.heartbeat_s)
        elif (known := self.peers.get(node_id)) is not None:
            self.peers.update(known, change.save)
        if change.transaction is None or request not in _TOLD:
            return []
        return [Event(_TOLD[request], change.node_id, change.transaction.source.ip, change.why)]

    def failed(self, change: Change) -> None:
        """A change could not be carried out: all is as it was.

        Raises:
            ValueError: it is none that is under way.
        """
        self._end(change)

    # --- heartbeats

    def due(self, now: float) -> Iterator[Peer]:
        """Whom to send a heartbeat, unless one is under way."""
        while (node_id := self._agenda.first(now)) is not None:
            self._agenda.set(node_id, now + self.settings.heartbeat_s)
            peer = self.peers.get(node_id)
            if peer is not None:
                yield peer

    def heard(self, peer: Peer, stamp: int | None, now: float) -> list[Action]:
        """It sent a heartbeat. This is no proof that ours reach it."""
        peer.heard_at = now
        return self._stamp(peer, stamp) if stamp is not None else []

    def alive(self, node_id: NodeId, stamp: int | None, now: float) -> list[Action]:
        """It answered a heartbeat."""
        peer = self.peers.get(node_id)
        if peer is None:
            return []
        before, peer.state = peer.state, PeerState.UP
        actions: list[Action] = []
        if before is PeerState.DOWN:
            text = f"{peer.association.node_id} answers heartbeats again"
            actions.append(event(EventKind.PEER_UP, peer, text))
        return actions + self.heard(peer, stamp, now)

    def lost(self, node_id: NodeId) -> list[Action]:
        """It did not answer a heartbeat."""
        peer = self.peers.get(node_id)
        if peer is None or peer.state is PeerState.DOWN:
            return []
        peer.state = PeerState.DOWN
        association = peer.association
        text = f"{association.node_id} does not answer heartbeats"
        actions: list[Action] = [event(EventKind.PEER_DOWN, peer, text)]
        if self.settings.remove_on_lost and not self.changing(association.node_id):
            change = Change(association.node_id, association, True, None, text)
            actions.append(self._begin(change))
        return actions

    def _stamp(self, peer: Peer, stamp: int) -> list[Action]:
        """A later Recovery Time Stamp: it began anew, and knows no session of before."""
        association = peer.association
        known = association.recovery_time_stamp
        if stamp > known and not self.changing(association.node_id):
            text = f"{association.node_id} began anew: Recovery Time Stamp {stamp} after {known}"
            restarted = replace(association, recovery_time_stamp=stamp)
            change = self._begin(Change(association.node_id, restarted, True, None, text))
            return [event(EventKind.PEER_RESTARTED, peer, text), change]
        if stamp < known and stamp != peer.set_back:
            peer.set_back = stamp
            text = f"the Recovery Time Stamp of {association.node_id} went back: {stamp}"
            return [event(EventKind.PEER_CLOCK, peer, f"{text} after {known}")]
        return []

    # --- parts

    def _begin(self, change: Change) -> Change:
        self._changing[canonical(change.node_id)] = change
        return change

    def _end(self, change: Change) -> NodeId:
        node_id = canonical(change.node_id)
        if self._changing.get(node_id) is not change:
            raise ValueError(f"that change of {change.node_id} is not under way")
        del self._changing[node_id]
        return node_id

    def _forget(self, node_id: NodeId) -> None:
        self.peers.remove(node_id)
        self._agenda.drop(node_id)

    def _addresses(
        self, node_id: NodeId, ip: IPAddress, alternatives: Iterable[Addresses]
    ) -> frozenset[IPAddress]:
        """The source, and of those that the peer names those that are allowed."""
        named = [*_each(alternatives)]
        if not isinstance(node_id, str):
            named.append(node_id)
        return frozenset([ip, *[each for each in named if self.allowed(each)][:ADDRESSES_MAX]])


_TOLD = {
    MessageType.ASSOCIATION_SETUP_REQUEST: EventKind.ASSOCIATED,
    MessageType.ASSOCIATION_RELEASE_REQUEST: EventKind.RELEASED,
}


def event(kind: EventKind, peer: Peer, text: str) -> Event:
    """An event of an association."""
    return Event(kind, peer.association.node_id, peer.association.ip, text)


def _each(addresses: Iterable[Addresses]) -> Iterator[IPAddress]:
    for ipv4, ipv6 in addresses:
        if ipv4 is not None:
            yield ipv4
        if ipv6 is not None:
            yield ipv6
