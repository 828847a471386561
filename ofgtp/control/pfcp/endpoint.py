"""The socket of one gateway's PFCP node, and the green threads that serve it.

One thread reads; what is about nodes is answered at once, and requests about sessions, and changes
of associations, are carried out by another in the order in which they came.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, ip_address

import eventlet
from eventlet.queue import LightQueue

from ofgtp.control.pfcp.clock import ntp_now
from ofgtp.control.pfcp.looks import Looks
from ofgtp.control.pfcp.outbox import Outbox, UsageToken
from ofgtp.control.pfcp.sessions import PfcpSessions
from ofgtp.control.pfcp.usage import Memory
from ofgtp.control.pfcp.view import node_view
from ofgtp.control.sessions.service import SessionService
from ofgtp.core.buffer.queue import Bounds
from ofgtp.core.errors import OfgtpError, SwitchRefused
from ofgtp.core.filters import Network
from ofgtp.core.model import Address, FTeid, Gateway, Pfcp
from ofgtp.core.pfcp import stored
from ofgtp.core.pfcp.downlink import (
    DownlinkFlow,
    bounds_of,
    delay_of,
    far_of,
    held_by,
    held_flows,
    told_anew,
    waiting,
)
from ofgtp.core.pfcp.node.actions import (
    PORT,
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
from ofgtp.core.pfcp.node.answers import unpack
from ofgtp.core.pfcp.node.associations import Association, canonical
from ofgtp.core.pfcp.node.machine import Node
from ofgtp.core.pfcp.node.settings import FEATURES, NodeSettings
from ofgtp.core.pfcp.procedures import Terms
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.told import Told, What
from ofgtp.core.pfcp.wire import values
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import ReportResponseFlags, ReportType, UpFeatures
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.header import SEQUENCE_MAX
from ofgtp.core.pfcp.wire.messages import (
    Message,
    SessionDeletionRequest,
    SessionModificationRequest,
    SessionReportRequest,
    SessionReportResponse,
)
from ofgtp.core.pfcp.wire.reports import ErrorIndicationReport
from ofgtp.core.sessions.rule import Rule
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import PfcpView
from ofgtp.store.pfcp import Made
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

LONGEST = 65_535
"""Octets of a datagram."""
BUFFER = 4 << 20
AT_ONCE = 16
"""Datagrams that are read between two turns of other green threads."""
TOGETHER = 64
"""Requests that are carried out together, if as many wait."""
TICK_S = 0.25
START_S = 10.0
"""How long the first requests wait at a start until the switch takes changes: control planes, which
do not know of a restart, take a refusal for one of the session."""
READY_S = 0.05
"""Between two looks whether it does."""
RETRY_S = 1.0
"""Seconds between two attempts to listen at an address that is not there yet."""

_Work = SessionRequest | BadRequest | Change


def recovery_time_stamp(store: SessionStore) -> int:
    """Ours: as old as the store's sessions may be."""
    return store.recovery_time_stamp(ntp_now())


class PfcpEndpoint:
    """The node of one gateway.

    Raises:
        StoreError: what it was before cannot be read.
    """

    def __init__(
        self,
        gateway: Gateway,
        pfcp: Pfcp,
        store: SessionStore,
        service: SessionService,
        protected: Sequence[Network],
        events: EventLog,
        ready: Callable[[], bool],
    ) -> None:
        """`ready` tells whether the switch takes changes."""
        self._ready = ready
        self._name, self._listen = gateway.name, pfcp.listen
        self._service, self._store, self._events = service, store, events
        settings = _settings(gateway, pfcp, recovery_time_stamp(store))
        now = time.monotonic()
        self._node = Node(
            settings,
            [Association.from_plain(each) for each in store.associations(gateway.name)],
            now,
            secrets.randbelow(SEQUENCE_MAX),
            [
                (now - age, given)
                for age, octets in store.pfcp_answers(gateway.name)
                for given in unpack(octets)
            ],
        )
        terms = _terms(gateway, pfcp, protected)
        self._memory = memory = Memory()
        self._outbox = Outbox(gateway.name, store, service, self._report_usage)
        self._looks = Looks(terms, memory, store, service, ntp_now, self._outbox.reported)
        self._sessions = PfcpSessions(
            terms,
            pfcp.listen,
            store,
            ntp_now,
            memory,
            self._outbox.left,
            self._looks.changed,
        )
        service.nodes[gateway.name] = self
        self._told = Told()
        self._delayed: dict[tuple[int, What], eventlet.greenthread.GreenThread] = {}
        """Reports that a BAR delays."""
        self._queue: LightQueue = LightQueue()
        self._socket: socket.socket | None = None
        self.problem: str | None = None
        """What keeps it from being asked, for the operator."""

    def run(self) -> None:
        """Serve until the process ends; to be spawned."""
        self._socket = self._bind()
        log.info("gateway=%s: PFCP at %s, UDP port %d", self._name, self._listen, PORT)
        eventlet.spawn(self._tick)
        eventlet.spawn(self._work)
        eventlet.spawn(self._look)
        eventlet.spawn(self._outbox.run)
        while True:
            for _ in range(AT_ONCE):
                self._read(self._socket)
            eventlet.sleep(0)

    def reloaded(self, gateway: Gateway, pfcp: Pfcp, protected: Sequence[Network]) -> None:
        """The configuration was read again; addresses and Node ID are what they were."""
        stamp = self._node.settings.recovery_time_stamp
        self._node.reloaded(_settings(gateway, pfcp, stamp))
        self._sessions.terms = self._looks.terms = _terms(gateway, pfcp, protected)

    def view(self) -> PfcpView:
        """The node and its control planes, for the operator.

        Raises:
            StoreError: their sessions cannot be counted.
        """
        counts = self._store.pfcp_counts(self._name)
        instances = self._sessions.instances()
        return node_view(self._name, self._listen, self.problem, self._node, counts, instances)

    def latest(self, made: Made) -> PfcpSession:
        """A session of the store with what was counted since."""
        return self._memory.latest(made)

    def path_down(self, peer: Address) -> None:
        """Tell the control planes that have sessions with a GTP-U peer that it does not answer.

        Raises:
            StoreError: it is not known which have.
        """
        have = set(self._store.pfcp_with_peer(self._name, peer))
        each = (status.association.node_id for status in self._node.statuses())
        to = [node_id for node_id in each if str(canonical(node_id)) in have]
        self._do(self._node.report_path_failure([peer], to, time.monotonic()))

    def error_indicated(self, up_seid: int, tunnel: FTeid) -> bool:
        """Tell a session's control plane that a peer does not know one of its tunnels (7.5.8.4):
        once, until it changes the session. Whether it is told now.

        Raises:
            StoreError: whose session it is cannot be read.
        """
        found = self._store.pfcp_session(self._name, up_seid)
        now = time.monotonic()
        if found is None or self._told.is_told(up_seid, tunnel, now):
            return False
        ip = tunnel.ip
        if isinstance(ip, IPv4Address):
            far = values.FTeid(tunnel.teid, ip)
        else:
            far = values.FTeid(tunnel.teid, ipv6=ip)
        remote = ErrorIndicationReport((far,))
        report = SessionReportRequest(ReportType.ERIR, error_indication=remote)
        self._tell(up_seid, found[1], tunnel, report, now)
        return True

    def held_by(self, up_seid: int, rule: Rule) -> Bounds | None:
        """How many packets of a session's rule are held, and for how long; None: none.

        Raises:
            StoreError: the session cannot be read.
        """
        found = self._store.pfcp_session(self._name, up_seid)
        if found is None:
            return None
        return held_by(stored.from_bytes(found[1].octets, found[1].node_id, up_seid), rule)

    def delivered(self, number: int) -> None:
        """Packets that were held for a session have gone on, and are counted by now."""
        self._looks.delivered(number)

    def downlink_data(self, up_seid: int, rule: Rule) -> bool:
        """Tell a session's control plane that there is a packet that a rule holds: once in a while
        for each flow, until it says anew what becomes of such packets. False: the session is not
        there yet, or has it otherwise.

        Raises:
            StoreError: whose session it is cannot be read.
        """
        now = time.monotonic()
        if self._told.is_quiet(up_seid, now):
            return True
        found = self._store.pfcp_session(self._name, up_seid)
        if found is None:
            return False
        _, made = found
        session = stored.from_bytes(made.octets, made.node_id, up_seid)
        if far_of(session, rule) is None:
            return False
        held = waiting(session, rule)
        if held is not None and not self._told.is_told(up_seid, held.flow, now):
            self._told.tell(up_seid, held.flow, now)
            send = partial(self._send_report, up_seid, made, held.flow, held.report())
            if delay := delay_of(session, rule):
                key = up_seid, held.flow
                self._delayed[key] = eventlet.spawn_after(delay, self._send_late, key, send)
            else:
                send()
        self._told.told_of_all(up_seid, held_flows(session), now)
        return True

    def _send_late(self, key: tuple[int, What], send: Callable[[], None]) -> None:
        """The delay of a report is over, and the control plane has not said anything meanwhile."""
        self._delayed.pop(key, None)
        try:
            send()
        except Exception:
            log.exception("gateway=%s: PFCP: unexpected", self._name)

    def _tell(
        self, up_seid: int, made: Made, what: What, report: SessionReportRequest, now: float
    ) -> None:
        self._told.tell(up_seid, what, now)
        self._send_report(up_seid, made, what, report)

    def _send_report(
        self, up_seid: int, made: Made, what: What, report: SessionReportRequest
    ) -> None:
        to = ip_address(made.cp_ips.split()[0])
        token = (up_seid, what)
        self._do(self._node.report(to, report, made.cp_seid, token, time.monotonic()))

    def _answered(self, up_seid: int, flow: DownlinkFlow, answer: SessionReportResponse) -> None:
        """What a control plane says of packets that it was told of (7.5.9)."""
        drop = answer.flags is not None and answer.flags & ReportResponseFlags.DROBU
        bounds = None if answer.update_bar is None else bounds_of(answer.update_bar)
        if not drop and bounds is None:
            return
        found = self._store.pfcp_session(self._name, up_seid)
        if found is None:
            return
        if drop:
            self._service.wait_on(self._name, found[0], bounds=None)
        if bounds is not None:
            self._service.wait_on(self._name, found[0], bounds=bounds)
            self._told.tell_later(up_seid, flow, time.monotonic() + bounds.seconds)

    def _report_usage(self, made: Made, report: SessionReportRequest, token: UsageToken) -> None:
        to, now = ip_address(made.cp_ips.split()[0]), time.monotonic()
        self._do(self._node.report(to, report, made.cp_seid, token, now))

    def _bind(self) -> socket.socket:
        while True:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.bind((str(self._listen), PORT))
            except OSError as error:
                sock.close()
                problem = f"cannot listen at {self._listen}, UDP port {PORT}: {error.strerror}"
                if problem != self.problem:
                    log.error("gateway=%s: PFCP: %s", self._name, problem)
                self.problem = problem
                eventlet.sleep(RETRY_S)
                continue
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self.problem = None
            return sock

    def _read(self, sock: socket.socket) -> None:
        """Take one datagram. None may end the process, whatever is in it."""
        try:
            data, (ip, port) = sock.recvfrom(LONGEST)
        except OSError as error:
            log.debug("gateway=%s: PFCP: %s", self._name, error)
            return
        source = Endpoint(IPv4Address(ip), port)
        try:
            self._do(self._node.receive(data, source, time.monotonic()))
        except Exception:
            log.exception("gateway=%s: PFCP from %s: unexpected", self._name, ip)

    def _tick(self) -> None:
        while True:
            try:
                self._do(self._node.tick(time.monotonic()))
            except Exception:
                log.exception("gateway=%s: PFCP: unexpected", self._name)
            eventlet.sleep(TICK_S)

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Send(to, data):
                    self._send(to, data)
                case SessionRequest() | BadRequest() | Change():
                    self._queue.put(action)
                case Event(kind, node_id, ip, text):
                    facts = {} if node_id is None else {"node_id": str(node_id)}
                    facts |= {"ip": str(ip), "text": text}
                    self._events.publish(kind.value, gateway=self._name, **facts)
                    if kind in (EventKind.PEER_UP, EventKind.ASSOCIATED):
                        self._outbox.hurry()
                case Refused(transaction, refusal):
                    self._log_refused(transaction, refusal)
                case Answered(UsageToken(up_seid), message):
                    self._outbox.answered(up_seid, message)
                case Unanswered(UsageToken(up_seid)):
                    self._outbox.unanswered(up_seid)
                case Answered((int() as up_seid, DownlinkFlow() as flow), message):
                    if isinstance(message, SessionReportResponse):
                        self._answered(up_seid, flow, message)
                case Unanswered((int() as up_seid, (FTeid() | DownlinkFlow()) as what)):
                    self._told.unanswered(up_seid, what)

    def _send(self, to: Endpoint, data: bytes) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(data, (str(to.ip), to.port))
        except OSError as error:
            log.debug("gateway=%s: PFCP to %s not sent: %s", self._name, to.ip, error)

    def _look(self) -> None:
        """Look at what URRs have measured once the switch can tell it: at a start nothing is to
        keep it waiting."""
        while not self._ready():
            eventlet.sleep(READY_S)
        self._looks.run()

    # --- what takes long

    def _work(self) -> None:
        with eventlet.Timeout(START_S, False):
            while not self._ready():
                eventlet.sleep(READY_S)
        while True:
            try:
                self._do(self._next())
            except Exception:
                log.exception("gateway=%s: PFCP: unexpected", self._name)

    def _next(self) -> list[Action]:
        """Do what waits, as long as it is requests all together."""
        waiting: list[_Work] = [self._queue.get()]
        while len(waiting) < TOGETHER and not self._queue.empty():
            waiting.append(self._queue.get())
        requests: list[SessionRequest] = []
        actions: list[Action] = []
        for work in waiting:
            if isinstance(work, SessionRequest):
                requests.append(work)
            else:
                actions += self._carry_out(requests)
                requests = []
                actions += self._other(work)
        return actions + self._carry_out(requests)

    def _carry_out(self, requests: list[SessionRequest]) -> list[Action]:
        if not requests:
            return []
        try:
            asked = [(each.message, each.transaction) for each in requests]
            answers = self._sessions.carry_out(asked, self._service)
        except Exception:
            if len(requests) > 1:  # it may be the fault of one
                return [action for each in requests for action in self._carry_out([each])]
            log.exception("gateway=%s: PFCP: unexpected", self._name)
            failed = Refusal(Cause.SYSTEM_FAILURE, "an internal error, see the log")
            answers = [failed] * len(requests)
        while self._sessions.replaced:
            self._forget(self._sessions.replaced.pop())
        actions: list[Action] = []
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, OfgtpError):
                actions += self._refuse(request.transaction, _refusal(answer))
            else:
                self._forget(request.transaction.seid, request.message)
                now = time.monotonic()
                message, octets = answer
                actions += self._node.give(request.transaction, message, octets, now)
        return actions

    def _forget(self, up_seid: int, message: Message | None = None) -> None:
        """A session is another one now, or is no more: what was told of it counts no more, but for
        packets that a modification says nothing of."""
        anew = None
        if isinstance(message, SessionModificationRequest):
            anew = told_anew(message.update_fars)
        for what in self._told.forget(up_seid, anew):
            self._node.cancel((up_seid, what))
            if (late := self._delayed.pop((up_seid, what), None)) is not None:
                late.cancel()
        if message is None or isinstance(message, SessionDeletionRequest):
            self._outbox.forget(up_seid)
            self._node.cancel(UsageToken(up_seid))

    def _other(self, work: BadRequest | Change) -> list[Action]:
        if isinstance(work, Change):
            return self._change(work)
        return self._refuse(work.transaction, work.refusal)

    def _refuse(self, transaction: Transaction, refusal: Refusal) -> list[Action]:
        try:
            seid = self._sessions.cp_seid(transaction)
        except Refusal as unknown:
            # Whose the session is comes before what is wrong with what is asked of it.
            refusal, seid = unknown, 0
        except OfgtpError:
            seid = 0
        self._log_refused(transaction, refusal)
        return self._node.refuse(transaction, refusal, seid, time.monotonic())

    def _log_refused(self, transaction: Transaction, refusal: Refusal) -> None:
        log.warning(
            "gateway=%s: %s of %s refused, cause %d: %s",
            self._name,
            transaction.type.title,
            transaction.source.ip,
            refusal.cause,
            refusal,
        )

    def _change(self, change: Change) -> list[Action]:
        try:
            self._sessions.change(change, self._service)
            for up_seid in self._told if change.delete else ():
                if self._store.pfcp_session(self._name, up_seid) is None:
                    self._forget(up_seid)
        except Exception as error:
            if not isinstance(error, OfgtpError):
                log.exception("gateway=%s: PFCP: unexpected", self._name)
            log.error("gateway=%s: %s: not carried out: %s", self._name, change.why, error)
            return self._node.failed(change, str(error), time.monotonic())
        return self._node.done(change, time.monotonic())


def _refusal(error: OfgtpError) -> Refusal:
    """The answer to a request that was not carried out; its sender may be at no fault."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, SwitchRefused):
        return Refusal(Cause.NO_RESOURCES, f"the switch takes no more: {error}")
    return Refusal(Cause.SYSTEM_FAILURE, str(error))


def _settings(gateway: Gateway, pfcp: Pfcp, recovery_time_stamp: int) -> NodeSettings:
    return NodeSettings(
        node_id=pfcp.node_id,
        recovery_time_stamp=recovery_time_stamp,
        peers=pfcp.peers,
        # Prefixes of UEs of other lengths than 64 are taken where there are any.
        features=FEATURES | (UpFeatures.IP6PL if gateway.ue_pools6 else 0),
        remove_on_lost=pfcp.on_peer_lost == "remove",
        heartbeat_s=float(pfcp.heartbeat_seconds),
    )


def _terms(gateway: Gateway, pfcp: Pfcp, protected: Sequence[Network]) -> Terms:
    return Terms(gateway, pfcp.node_id, pfcp.network_instances, tuple(protected))
