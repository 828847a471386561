"""One user plane node: what it answers, and what it asks (TS 29.244, 5.8, 6.2, 6.4, 7.6).

It is told what comes in and how late it is, and returns what is to be done. What it decides itself
is everything about nodes: associations, heartbeats, retransmission, limits. Requests about sessions
are handed on, read and checked for who sent them, and answered through `answer`.

Success is answered when it is true: a change of an association is a `Change`, which is answered
when the caller says `done`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

from ofgtp.core.limits import Limit, TokenBucket
from ofgtp.core.pfcp.node.actions import (
    Action,
    Answered,
    BadRequest,
    Change,
    Endpoint,
    Event,
    EventKind,
    Refused,
    Send,
    SessionRequest,
    Transaction,
    Unanswered,
)
from ofgtp.core.pfcp.node.answers import Answers, Given, key_of
from ofgtp.core.pfcp.node.associations import (
    Association,
    AssociationStatus,
    IPAddress,
    PeerState,
    canonical,
)
from ofgtp.core.pfcp.node.control_planes import ControlPlanes, event
from ofgtp.core.pfcp.node.requests import Requests
from ofgtp.core.pfcp.node.seen import REFUSED_KEPT, RefusedRequest, Strangers, Times
from ofgtp.core.pfcp.node.settings import NodeSettings
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import NodeReportType
from ofgtp.core.pfcp.wire.errors import HeaderError, Refusal, WrongVersion
from ofgtp.core.pfcp.wire.header import Header, MessageType, parse_header
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import (
    AssociationReleaseRequest,
    AssociationReleaseResponse,
    AssociationSetupRequest,
    AssociationSetupResponse,
    AssociationUpdateRequest,
    AssociationUpdateResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    Message,
    NodeReportRequest,
    SessionSetDeletionRequest,
    SessionSetDeletionResponse,
    VersionNotSupportedResponse,
    read_body,
    rejection,
    write,
)
from ofgtp.core.pfcp.wire.reports import UserPlanePathFailureReport
from ofgtp.core.pfcp.wire.tables import first
from ofgtp.core.pfcp.wire.values import Addresses, NodeId

READ = frozenset(
    {
        *(MessageType.HEARTBEAT_REQUEST, MessageType.HEARTBEAT_RESPONSE),
        *(MessageType.PFD_MANAGEMENT_REQUEST, MessageType.ASSOCIATION_SETUP_REQUEST),
        *(MessageType.ASSOCIATION_UPDATE_REQUEST, MessageType.ASSOCIATION_RELEASE_REQUEST),
        *(MessageType.NODE_REPORT_RESPONSE, MessageType.SESSION_SET_DELETION_REQUEST),
        *(MessageType.SESSION_ESTABLISHMENT_REQUEST, MessageType.SESSION_MODIFICATION_REQUEST),
        *(MessageType.SESSION_DELETION_REQUEST, MessageType.SESSION_REPORT_RESPONSE),
    }
)
"""What a control plane sends; of others what is known is dropped all the same."""

SENT = frozenset(
    {
        *(MessageType.HEARTBEAT_REQUEST, MessageType.HEARTBEAT_RESPONSE),
        *(MessageType.PFD_MANAGEMENT_RESPONSE, MessageType.ASSOCIATION_SETUP_RESPONSE),
        *(MessageType.ASSOCIATION_UPDATE_RESPONSE, MessageType.ASSOCIATION_RELEASE_RESPONSE),
        *(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, MessageType.NODE_REPORT_REQUEST),
        *(MessageType.SESSION_SET_DELETION_RESPONSE, MessageType.SESSION_ESTABLISHMENT_RESPONSE),
        *(MessageType.SESSION_MODIFICATION_RESPONSE, MessageType.SESSION_DELETION_RESPONSE),
        MessageType.SESSION_REPORT_REQUEST,
    }
)
"""What a user plane sends."""


TOLD_EACH = 0.1, 1
"""How often an operator is told of what may come very often: rate a second, and at once."""


class _Heartbeat(NamedTuple):
    """Names our heartbeat to a peer."""

    node_id: NodeId


class _NodeReport(NamedTuple):
    node_id: NodeId
    number: int


class _Report(NamedTuple):
    token: Hashable


class Node:
    """Every method but `statuses` takes constant or logarithmic time, but for what it decodes.

    `now` is seconds of a steady clock. Call `tick` a few times a second. What is returned is to be
    done in that order.
    """

    def __init__(
        self,
        settings: NodeSettings,
        associations: Iterable[Association] = (),
        now: float = 0.0,
        sequence: int = 0,
        answers: Iterable[tuple[float, Given]] = (),
    ) -> None:
        """`associations` and `answers` are those of the store, these with when they were given,
        oldest first; `sequence` is anything, best at random."""
        self.settings = settings
        self.received: Counter[MessageType] = Counter()
        """Messages from peers that are allowed, duplicates included, by type."""
        self.dropped: Counter[str] = Counter()
        """Messages that were not answered, by reason."""
        self.answered: Counter[tuple[MessageType, int]] = Counter()
        """Requests other than heartbeats, by type and cause of the answer."""
        self.strangers = Strangers()
        self.refused: deque[RefusedRequest] = deque(maxlen=REFUSED_KEPT)
        """The last requests that were refused, whoever asked."""
        self.times = Times()
        self._told_of_strangers, self._told_of_floods = (
            TokenBucket(*TOLD_EACH),
            TokenBucket(*TOLD_EACH),
        )
        self._planes = ControlPlanes(settings, associations, now)
        self._requests = Requests(settings.t1_s, settings.n1, sequence)
        self._answers = Answers(
            settings.keep_answers_s, settings.answers_per_peer, settings.answers
        )
        for at, given in answers:
            self._answers.restore(given, at)
        self._limit = _limit(settings.per_peer)
        self._refusals = _limit(settings.refused_per_peer)
        self._heartbeats = _limit(settings.heartbeats_per_peer)
        self._node_reports = 0
        self._handlers: Mapping[MessageType, Callable[[Any, Transaction, float], list[Action]]] = {
            MessageType.PFD_MANAGEMENT_REQUEST: self._pfd_management,
            MessageType.ASSOCIATION_SETUP_REQUEST: self._setup,
            MessageType.ASSOCIATION_UPDATE_REQUEST: self._update,
            MessageType.ASSOCIATION_RELEASE_REQUEST: self._release,
            MessageType.SESSION_SET_DELETION_REQUEST: self._set_deletion,
            MessageType.SESSION_ESTABLISHMENT_REQUEST: self._establishment,
            MessageType.SESSION_MODIFICATION_REQUEST: self._of_session,
            MessageType.SESSION_DELETION_REQUEST: self._of_session,
        }

    def reloaded(self, settings: NodeSettings) -> None:
        """Go by other settings: of peers, features, heartbeats, and what becomes of sessions whose
        control plane is lost. Heartbeats that are due stay due."""
        self.settings = self._planes.settings = settings

    # --- what comes in, and what is due

    def receive(self, data: bytes, source: Endpoint, now: float) -> list[Action]:
        """A datagram came; it may hold several messages (FO)."""
        if not self._planes.allowed(source.ip):
            return self._stranger(source.ip, now)
        actions: list[Action] = []
        while data:
            try:
                header = parse_header(data)
            except WrongVersion as error:
                return actions + self._wrong_version(data, error, source, now)
            except HeaderError as error:
                return actions + self._drop(error.reason)
            one, data = data, b""
            if header.follow_on and header.size < len(one):
                one, data = one[: header.size], one[header.size :]
            if header.type not in READ:
                return actions + self._drop("unexpected")
            self.received[header.type] += 1
            if header.type is MessageType.HEARTBEAT_REQUEST:
                actions += self._heartbeat(header, one, source, now)
            elif header.type in self._handlers:
                actions += self._request(header, one, source, now)
            else:
                actions += self._response(header, one, source, now)
        return actions

    def tick(self, now: float) -> list[Action]:
        """What is due at `now`: heartbeats, requests to send again or to give up."""
        again, silent = self._requests.tick(now)
        actions: list[Action] = [*again]
        for token in silent:
            actions += self._unanswered(token)
        for peer in self._planes.due(now):
            token = _Heartbeat(canonical(peer.association.node_id))
            if not self._requests.under_way(token):
                request = HeartbeatRequest(self.settings.recovery_time_stamp)
                to = Endpoint(peer.association.ip)
                actions.append(self._requests.send(to, request, None, token, now))
        return actions

    # --- what the caller has done

    def answer(
        self, transaction: Transaction, message: Message, seid: int, now: float, reason: str = ""
    ) -> list[Action]:
        """A request about a session is carried out, or refused for a reason.

        `seid` is the control plane's; 0 where it is not known. Nothing is sent if the request was
        answered before, or is older than a minute.
        """
        data = write(message, transaction.sequence, seid)
        return self.give(transaction, message, data, now, reason)

    def refuse(
        self, transaction: Transaction, refusal: Refusal, seid: int, now: float
    ) -> list[Action]:
        """A request about a session is refused; see `answer`."""
        message = rejection(
            transaction.type, self.settings.node_id, refusal.cause, refusal.ie, refusal.rule
        )
        return self.answer(transaction, message, seid, now, str(refusal))

    def done(self, change: Change, now: float) -> list[Action]:
        """A change is carried out: its sessions are deleted, its association is stored.

        Raises:
            ValueError: it is none that is under way.
        """
        events = self._planes.done(change, now)
        transaction, ours = change.transaction, self.settings.node_id
        if transaction is None:
            return events
        message: Message
        if transaction.type is MessageType.ASSOCIATION_SETUP_REQUEST:
            stamp = self.settings.recovery_time_stamp
            message = AssociationSetupResponse(ours, Cause.ACCEPTED, stamp, self.settings.features)
        elif transaction.type is MessageType.ASSOCIATION_UPDATE_REQUEST:
            message = AssociationUpdateResponse(ours, Cause.ACCEPTED, self.settings.features)
        else:
            message = AssociationReleaseResponse(ours, Cause.ACCEPTED)
        data = write(message, transaction.sequence)
        transaction = transaction._replace(owners=(change.node_id,))
        return [*self.give(transaction, message, data, now, ""), *events]

    def failed(self, change: Change, reason: str, now: float) -> list[Action]:
        """A change could not be carried out; who asked for it is told so (77).

        Raises:
            ValueError: it is none that is under way.
        """
        self._planes.failed(change)
        transaction = change.transaction
        if transaction is None:
            return []
        message = rejection(transaction.type, self.settings.node_id, Cause.SYSTEM_FAILURE)
        data = write(message, transaction.sequence)
        return self.give(transaction, message, data, now, reason)

    # --- what we ask

    def report(
        self, to: IPAddress, message: Message, seid: int, token: Hashable, now: float
    ) -> list[Action]:
        """Send a request about a session: `Answered` or `Unanswered` will come, with the token.

        Raises:
            ValueError: one with this token is under way.
        """
        return [self._requests.send(Endpoint(to), message, seid, _Report(token), now)]

    def cancel(self, token: Hashable) -> None:
        """Wait no longer for the answer to a `report`."""
        self._requests.cancel(_Report(token))

    def report_path_failure(
        self, peers: Iterable[IPAddress], node_ids: Iterable[NodeId], now: float
    ) -> list[Action]:
        """Tell these control planes that GTP-U peers do not answer any more (6.2.9).

        One that is down is not told; one that does not answer is an event, and no more.
        """
        failed = tuple(
            Addresses(ipv4=ip) if ip.version == 4 else Addresses(ipv6=ip) for ip in peers
        )
        report = NodeReportRequest(
            self.settings.node_id, NodeReportType.UPFR, UserPlanePathFailureReport(failed)
        )
        actions: list[Action] = []
        for node_id in node_ids:
            peer = self._planes.peers.get(node_id)
            if peer is not None and peer.state is not PeerState.DOWN:
                self._node_reports += 1
                to = Endpoint(peer.association.ip)
                token = _NodeReport(node_id, self._node_reports)
                actions.append(self._requests.send(to, report, None, token, now))
        return actions

    # --- what is known

    def statuses(self) -> list[AssociationStatus]:
        """All associations."""
        return [peer.status() for peer in self._planes.peers]

    def status(self, node_id: NodeId) -> AssociationStatus | None:
        """One association."""
        peer = self._planes.peers.get(node_id)
        return None if peer is None else peer.status()

    # --- requests

    def _request(self, header: Header, data: bytes, source: Endpoint, now: float) -> list[Action]:
        kind, key = header.type, self._key(header, data, source)
        within = self._limit.take(source.ip, now)
        again, answer = self._answers.find(key, now)
        if again:
            if answer is None or not within:
                return self._drop("duplicate")
            return [Send(source, answer)]
        transaction = self._transaction(header, data, source, key)
        if not within or self._answers.working(source.ip) >= self.settings.working_per_peer:
            return self._congested(transaction, now)
        if kind.of_session:
            owners = transaction.owners
            if not owners and (
                kind is MessageType.SESSION_ESTABLISHMENT_REQUEST or not self._planes.peers
            ):
                reason = f"there is no association at {source.ip}"
                return self._reject(transaction, Refusal(Cause.NO_ASSOCIATION, reason), now)
            if owners and all(self._planes.changing(node_id) for node_id in owners):
                return self._drop("changing")
        try:
            message = read_body(header, data)
        except Refusal as refusal:
            if not kind.of_session:
                return self._reject(transaction, refusal, now)
            self._answers.begin(key, source.ip, now)
            return [BadRequest(transaction, refusal)]
        try:
            return self._handlers[kind](message, transaction, now)
        except Refusal as refusal:
            return self._reject(transaction, refusal, now)

    def _key(self, header: Header, data: bytes, source: Endpoint) -> bytes:
        """What the same request has again.

        An establishment by a control plane that began anew is another one, though it may have every
        octet of one of before: its session is gone, and so must be the answer.
        """
        if header.type is MessageType.SESSION_ESTABLISHMENT_REQUEST:
            peers = self._planes.peers.at(source.ip)
            stamps = (peer.association.recovery_time_stamp for peer in peers)
            data += b"".join(stamp.to_bytes(8, "big") for stamp in stamps)
        return key_of(source.ip, source.port, header.type, header.sequence, data)

    def _transaction(
        self, header: Header, data: bytes, source: Endpoint, key: bytes
    ) -> Transaction:
        cp_seid = 0
        if header.type is MessageType.SESSION_ESTABLISHMENT_REQUEST:
            cp_fseid = first(data[header.ies :], Ie.FSEID)
            if cp_fseid is not None and len(cp_fseid) >= 9:
                cp_seid = int.from_bytes(cp_fseid[1:9], "big")
        owners = tuple(peer.association.node_id for peer in self._planes.peers.at(source.ip))
        return Transaction(
            source, header.type, header.sequence, header.seid or 0, cp_seid, owners, key
        )

    def _establishment(self, message: Any, transaction: Transaction, now: float) -> list[Action]:
        owner = self._planes.owned(message.node_id, transaction).association.node_id
        if self._planes.changing(owner):
            return self._drop("changing")
        return self._of_session(message, transaction._replace(owners=(owner,)), now)

    def _of_session(self, message: Any, transaction: Transaction, now: float) -> list[Action]:
        cp_fseid = getattr(message, "cp_fseid", None)
        if cp_fseid is not None and transaction.owners:
            self._planes.check_fseid(cp_fseid, transaction.owners)
        self._answers.begin(transaction.key, transaction.source.ip, now)
        return [SessionRequest(transaction, message)]

    def _pfd_management(self, message: Any, transaction: Transaction, now: float) -> list[Action]:
        raise Refusal(Cause.NOT_SUPPORTED, "PFD management is not supported (PFDM)")

    def _set_deletion(
        self, message: SessionSetDeletionRequest, transaction: Transaction, now: float
    ) -> list[Action]:
        """No FQ-CSID is kept, so that there is no session that it could mean (7.4.6)."""
        self._planes.owned(message.node_id, transaction)
        answer = SessionSetDeletionResponse(self.settings.node_id, Cause.ACCEPTED)
        return self._reply(transaction, answer, now)

    def _setup(
        self, message: AssociationSetupRequest, transaction: Transaction, now: float
    ) -> list[Action]:
        return self._change(
            message.node_id,
            transaction,
            now,
            lambda: self._planes.setup(message, transaction, now),
        )

    def _update(
        self, message: AssociationUpdateRequest, transaction: Transaction, now: float
    ) -> list[Action]:
        return self._change(
            message.node_id, transaction, now, lambda: self._planes.update(message, transaction)
        )

    def _release(
        self, message: AssociationReleaseRequest, transaction: Transaction, now: float
    ) -> list[Action]:
        """What is not there is released, too (6.2.8.3)."""
        try:
            return self._change(
                message.node_id,
                transaction,
                now,
                lambda: self._planes.release(message.node_id, transaction),
            )
        except KeyError:
            answer = AssociationReleaseResponse(self.settings.node_id, Cause.ACCEPTED)
            return self._reply(transaction, answer, now)

    def _change(
        self,
        node_id: NodeId,
        transaction: Transaction,
        now: float,
        begin: Callable[[], Change],
    ) -> list[Action]:
        if self._planes.changing(node_id):
            return self._drop("changing")
        try:
            change = begin()
        except Refusal as refusal:
            ip, reason = transaction.source.ip, str(refusal)
            refused = Event(EventKind.REFUSED, node_id, ip, reason)
            return [*self._reject(transaction, refusal, now), refused]
        self._answers.begin(transaction.key, transaction.source.ip, now)
        return [change]

    # --- heartbeats, and answers to us

    def _heartbeat(self, header: Header, data: bytes, source: Endpoint, now: float) -> list[Action]:
        """Answered whoever asks, and whatever else is in it (6.2.2.2)."""
        if not self._heartbeats.take(source.ip, now):
            return self._drop("heartbeats")
        answer = HeartbeatResponse(self.settings.recovery_time_stamp)
        actions: list[Action] = [Send(source, write(answer, header.sequence))]
        peers = self._planes.peers.at(source.ip)
        if len(peers) == 1:
            actions += self._planes.heard(peers[0], _stamp(header, data), now)
        return actions

    def _response(self, header: Header, data: bytes, source: Endpoint, now: float) -> list[Action]:
        token = self._requests.answered(source.ip, header.type, header.sequence)
        match token:
            case _Heartbeat():
                return self._planes.alive(token.node_id, _stamp(header, data), now)
            case _Report():
                try:
                    return [Answered(token.token, read_body(header, data))]
                except Refusal:
                    return [Answered(token.token, None)]
            case _NodeReport():
                return []
        return self._drop("unexpected")

    def _unanswered(self, token: Hashable) -> list[Action]:
        match token:
            case _Heartbeat():
                return self._planes.lost(token.node_id)
            case _Report():
                return [Unanswered(token.token)]
            case _NodeReport():
                peer = self._planes.peers.get(token.node_id)
                text = f"{token.node_id} did not answer a report"
                return [] if peer is None else [event(EventKind.REPORT_UNANSWERED, peer, text)]
        return []

    # --- answers, and none

    def give(
        self, transaction: Transaction, message: Message, data: bytes, now: float, reason: str = ""
    ) -> list[Action]:
        """As `answer`, where the message is octets by now. It is kept."""
        began = self._answers.began(transaction.key)
        if began is None or not self._answers.finish(transaction.key, data, now):
            return []
        self.times.took(transaction.type, now - began)
        self._count(transaction, message, now, reason)
        return [Send(transaction.source, data)]

    def _reply(
        self, transaction: Transaction, message: Message, now: float, reason: str = ""
    ) -> list[Action]:
        """One that is not kept: the same request would get the same again."""
        self._count(transaction, message, now, reason)
        seid = transaction.cp_seid if transaction.type.of_session else None
        return [Send(transaction.source, write(message, transaction.sequence, seid))]

    def _reject(self, transaction: Transaction, refusal: Refusal, now: float) -> list[Action]:
        message = rejection(
            transaction.type, self.settings.node_id, refusal.cause, refusal.ie, refusal.rule
        )
        answer = self._reply(transaction, message, now, str(refusal))
        return [*answer, Refused(transaction, refusal)]

    def _congested(self, transaction: Transaction, now: float) -> list[Action]:
        if not self._refusals.take(transaction.source.ip, now):
            return self._drop("congestion")
        refusal = Refusal(Cause.CONGESTION, f"{transaction.source.ip} asks too much at once")
        if self._told_of_floods.take(now):
            return self._reject(transaction, refusal, now)
        message = rejection(transaction.type, self.settings.node_id, refusal.cause)
        return self._reply(transaction, message, now)

    def _wrong_version(
        self, data: bytes, error: WrongVersion, source: Endpoint, now: float
    ) -> list[Action]:
        self.dropped[error.reason] += 1
        if data[1] == MessageType.VERSION_NOT_SUPPORTED_RESPONSE or not self._refusals.take(
            source.ip, now
        ):
            return []
        return [Send(source, write(VersionNotSupportedResponse(), error.sequence))]

    def _stranger(self, ip: IPAddress, now: float) -> list[Action]:
        self.dropped["not_allowed"] += 1
        if not self.strangers.heard(ip, now) or not self._told_of_strangers.take(now):
            return []
        text = f"{ip} sends PFCP, and is not answered: it is none of peers"
        return [Event(EventKind.STRANGER, None, ip, text)]

    def _count(self, transaction: Transaction, message: Any, now: float, reason: str) -> None:
        """No reason: it is accepted, or one of many that are refused for the same."""
        self.answered[transaction.type, int(message.cause)] += 1
        text = f"{transaction.type.title}: {reason} (cause {int(message.cause)})"
        if reason:
            self.refused.append(RefusedRequest(now, transaction.source.ip, text))
        for node_id in transaction.owners:
            peer = self._planes.peers.get(node_id)
            if peer is not None:
                peer.answers[transaction.type, int(message.cause)] += 1
                if reason:
                    peer.errors.append((now, text))

    def _drop(self, reason: str) -> list[Action]:
        self.dropped[reason] += 1
        return []


def _limit(each: tuple[float, float]) -> Limit[IPAddress]:
    rate, burst = each
    return Limit(each, (64 * rate, 64 * burst))


def _stamp(header: Header, data: bytes) -> int | None:
    """The Recovery Time Stamp of a heartbeat, if it can be read."""
    try:
        stamp: int = read_body(header, data)[0]
    except Refusal:
        return None
    return stamp
