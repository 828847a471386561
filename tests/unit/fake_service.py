"""A `Service` in memory, for tests of REST: it keeps sessions and raises what it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from ofgtp.core.errors import Conflict, InvalidSession, OfgtpError, UnknownGateway, UnknownSession
from ofgtp.core.history import INTERVAL_S, Point
from ofgtp.core.model import BatchPut, Session, SessionState, Uplink
from ofgtp.core.peers.paths import PathState
from ofgtp.core.pfcp.node.associations import PeerState
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import (
    AssociationView,
    BatchError,
    BatchResult,
    Counters,
    FlowCounters,
    FlowView,
    GatewayMetrics,
    Histogram,
    HistoryView,
    InstanceView,
    Lease,
    NewSession,
    PeerView,
    PfcpView,
    RefusedView,
    SeenView,
    SessionFilter,
    SessionRequest,
    SessionView,
    StrangerView,
    UsageFilter,
    UsagePage,
    UsageView,
    WrongLine,
)
from tests.support.lab import gateway

GATEWAY = gateway(ue_pools=(IPv4Network("10.45.0.0/16"), IPv4Network("10.64.0.0/10")))
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


class FakeService:
    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.error: BaseException | None = None
        """Raised by the next calls."""
        self.connected = True
        self.hook: Callable[[], None] = lambda: None
        """Called in the middle of every call."""
        self.filter: SessionFilter | None = None
        self.events = EventLog()
        self.lease: Lease | None = Lease(10, 1767323045.5, 42, 1)
        self.states: dict[str, tuple[SessionState, str]] = {}
        """State and reason of sessions, by id, that are in another state than the rest."""
        self.all_peers: list[PeerView] = []
        self.all_seen: list[SeenView] = []
        self.points: list[Point] = []

    def _enter(self) -> None:
        self.hook()
        if self.error is not None:
            raise self.error

    def _view(self, session: Session, *, new: bool = False) -> SessionView:
        usual = SessionState.ACTIVE if self.connected else SessionState.PENDING
        state, reason = self.states.get(session.id, (usual, None))
        return SessionView(
            session,
            state,
            reason,
            GATEWAY.access_ip.ip,
            WHEN,
            WHEN,
            FlowCounters(0, 0, 0) if new else FlowCounters(1, 84, 5),
            FlowCounters(0, 0, 0) if new else FlowCounters(2, 168, 5),
        )

    def _keep(self, request: SessionRequest) -> Session:
        gateway = request.gateway or "gw1"
        if gateway != "gw1":
            raise UnknownGateway(gateway)
        session_id = request.id or f"generated-{len(self.sessions)}"
        present = self.sessions.get(session_id)
        kept = present.uplink.teid if present else 0x5000 + len(self.sessions)
        uplink = Uplink(request.uplink_teid or kept, request.uplink_remote_ip)
        session = Session(
            1,
            session_id,
            gateway,
            request.ue_ip,
            uplink,
            request.downlink,
            qos=request.qos,
        )
        GATEWAY.check_session(session)
        if len(self.sessions) < 1_000:
            for other in self.sessions.values():
                if other.id != session_id and other.ue_ip == session.ue_ip:
                    msg = f"the UE address {session.ue_ip} is in use by session {other.id!r}"
                    raise Conflict("ue_ip", msg, other.id)
        self.sessions[session_id] = session
        return session

    def create(self, request: SessionRequest) -> SessionView:
        self._enter()
        if request.id in self.sessions:
            raise Conflict("id", f"the id {request.id!r} is in use", str(request.id))
        return self._view(self._keep(request), new=True)

    def put(self, request: SessionRequest) -> tuple[SessionView, bool]:
        self._enter()
        created = request.id not in self.sessions
        return self._view(self._keep(request), new=created), created

    def put_new(self, put: BatchPut) -> NewSession | None:
        self._enter()
        if put.id in self.sessions or put.uplink_teid is None:
            return None
        try:
            self._keep(SessionRequest.of(put))
        except OfgtpError:
            return None
        state = SessionState.ACTIVE if self.connected else SessionState.PENDING
        return NewSession(put, "gw1", GATEWAY.access_ip.ip, state, WHEN)

    def patch(
        self, session_id: str, change: Callable[[dict[str, Any]], SessionRequest]
    ) -> SessionView:
        self._enter()
        session = self._find(session_id)
        down, qos = session.downlink, session.qos
        request = change(
            {
                "id": session.id,
                "gateway": session.gateway,
                "ue_ip": str(session.ue_ip),
                "uplink": {
                    "teid": session.uplink.teid,
                    "remote_ip": session.uplink.remote_ip and str(session.uplink.remote_ip),
                },
                "downlink": down and {"teid": down.teid, "remote_ip": str(down.ip)},
                **(
                    {}
                    if qos is None
                    else {
                        "qfi": qos.qfi,
                        "rqi": qos.rqi,
                        "qfi_required": qos.required,
                        "qfi_check": qos.check,
                    }
                ),
            }
        )
        if request.gateway not in (None, session.gateway):
            raise InvalidSession("gateway", "cannot change")
        return self._view(self._keep(request))

    def get(self, session_id: str) -> SessionView:
        self._enter()
        return self._view(self._find(session_id))

    def _find(self, session_id: str) -> Session:
        if session_id not in self.sessions:
            raise UnknownSession(session_id)
        return self.sessions[session_id]

    def delete(self, session_id: str) -> bool:
        self._enter()
        del self.sessions[self._find(session_id).id]
        return self.connected

    def batch(self, ops: Iterable[tuple[int, BatchPut | str | WrongLine]]) -> BatchResult:
        self._enter()
        ops = list(ops)
        before = dict(self.sessions)
        errors: list[tuple[int, str, str]] = []
        counts = {"created": 0, "replaced": 0, "deleted": 0}
        for line, op in ops:
            try:
                if isinstance(op, WrongLine):
                    errors += ((line, loc, msg) for loc, msg in op.errors)
                elif isinstance(op, str):
                    del self.sessions[self._find(op).id]
                    counts["deleted"] += 1
                else:
                    counts["replaced" if op.id in self.sessions else "created"] += 1
                    self._keep(SessionRequest.of(op))
            except (Conflict, InvalidSession) as error:
                errors.append((line, error.loc, error.msg))
            except OfgtpError as error:
                errors.append((line, "id", str(error)))
        if errors:
            self.sessions = before
            raise BatchError(errors)
        return BatchResult(**counts)

    def seen(self, session_id: str) -> Sequence[SeenView]:
        self._enter()
        self._find(session_id)
        return self.all_seen

    def session_flows(self, session_id: str) -> Sequence[FlowView]:
        self._enter()
        teid = self._find(session_id).uplink.teid
        return [FlowView(f"table=2,tun_id={teid:#x},actions=drop", "uplink", 1, 84)]

    def session_usage(self, session_id: str) -> UsageView:
        self._enter()
        ue_ip, both = self._find(session_id).ue_ip, (Counters(1, 84), Counters(2, 168))
        return UsageView(session_id, "gw1", ue_ip, WHEN, None, *both, {"": both, "voice": both})

    def usage(self, filter: UsageFilter) -> UsagePage:
        self._enter()
        if filter.gateway not in (None, "gw1"):
            raise UnknownGateway(str(filter.gateway))
        items = [self.session_usage(each) for each in self.sessions]
        if filter.sort is None:
            return UsagePage(items, "next")
        return UsagePage(items, None, (Counters(1, 84), Counters(2, 168)), len(items))

    def session_rules(self, session_id: str) -> dict[str, Any]:
        self._enter()
        self._find(session_id)
        kinds = ("pdrs", "fars", "qers", "urrs", "bars")
        return {"user": None, "apn_dnn": None, **{kind: [] for kind in kinds}}

    def flows_text(self, gateway: str | None) -> Iterator[str]:
        self._enter()
        if gateway not in (None, "gw1"):
            raise UnknownGateway(str(gateway))
        for session in self.sessions.values():
            yield f"table=2,tun_id={session.uplink.teid:#x},actions=drop"

    def gateways(self) -> Sequence[dict[str, Any]]:
        self._enter()
        return [{"name": "gw1", "connected": self.connected, "ovs_version": "3.1.0", "ports": {}}]

    def peers(
        self,
        gateway: str | None = None,
        state: PathState | None = None,
        worst: int | None = None,
    ) -> Sequence[PeerView]:
        self._enter()
        if gateway not in (None, "gw1"):
            raise UnknownGateway(str(gateway))
        return [peer for peer in self.all_peers if state in (None, peer.state)][:worst]

    def history(self, gateway: str | None, seconds: int) -> Sequence[HistoryView]:
        self._enter()
        if gateway not in (None, "gw1"):
            raise UnknownGateway(str(gateway))
        return [HistoryView("gw1", self.points[-(seconds // INTERVAL_S) :])]

    def pfcp(self) -> Sequence[PfcpView]:
        self._enter()
        at = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
        answers = {("Session Establishment Request", 1): 7, ("Session Deletion Request", 65): 1}
        why = "Session Deletion Request: there is no session with the SEID 0x5"
        associated = AssociationView(
            "smf.example.org", "10.3.0.5", PeerState.UP, at, 6, None, answers, [(at, why)]
        )
        node = IPv4Address("10.3.0.1")
        return [
            PfcpView(
                "gw1",
                str(node),
                node,
                at,
                None,
                [associated],
                answers,
                {"not_allowed": 3},
                {"Heartbeat Request": 5},
                {"Session Deletion Request": Histogram((0.001, 0.5), (3, 1, 2), 11.25)},
                [RefusedView(at, "10.3.0.9", f"{why} (cause 65)")],
                [StrangerView("10.9.0.7", 3, at)],
                [InstanceView("ims", False, 2)],
            )
        ]

    def metrics(self) -> Sequence[GatewayMetrics]:
        self._enter()
        return [
            GatewayMetrics(
                name="gw1",
                connected=self.connected,
                in_sync=self.connected,
                sessions={SessionState.ACTIVE: len(self.sessions), SessionState.PENDING: 0},
                forwarded={"uplink": Counters(10, 1000), "downlink": Counters(20, 3000)},
                drops={"unknown_ue": 7, "vlan": 0},
                flow_mods={"add": 5, "delete": 2},
                barriers=Histogram((0.001, 0.5), (3, 1, 2), 11.25),
                openflow_errors={"OFPET_BAD_MATCH: BAD_FIELD": 4},
                lease=self.lease,
                repairs=6,
                gtpu_messages={("echo_request", "received"): 8, ("echo_request", "sent"): 9},
                gtpu_ignored={"error_indication_unknown_tunnel": 3},
                extension_headers={"0x85": 12},
                paths={PathState.UNKNOWN: 1, PathState.UP: 2, PathState.DOWN: 0},
                neighbours={"resolved": 2, "unresolved": 1, "stale": 0},
                received={"access": 41, "core": 42},
                own={"arp": 43, "ping": 44, "signalling": 45, "router": 46},
                next_hops={"4": True, "6": False},
                buffer={"sessions": 2, "packets": 47, "bytes": 48, "held": 49, "replayed": 50},
                ovsdb=GATEWAY.ovsdb,
                switch_drops={"tunnel_pop_error": 46, "rx_invalid_packet": 0},
            )
        ]

    def health(self) -> tuple[bool, dict[str, Any]]:
        self._enter()
        status = "ok" if self.connected else "degraded"
        return self.connected, {"status": status, "instance_id": "5f0c"}

    def count(self, filter: SessionFilter) -> int:
        return len(self.sessions)

    def list(self, filter: SessionFilter) -> tuple[Sequence[SessionView], str | None]:
        self._enter()
        self.filter = filter
        if filter.cursor not in (None, "next"):
            raise InvalidSession("cursor", "is not a cursor of this list")
        views = [self._view(session) for session in self.sessions.values()]
        if not filter.counters:
            views = [replace(view, uplink=None, downlink=None) for view in views]
        return views[: filter.limit], "next" if len(views) > filter.limit else None
