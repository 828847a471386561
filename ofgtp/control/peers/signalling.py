"""GTP-U as its peers see it (TS 29.281): what they say is read, and answered as it should be.

Nothing here waits: it is called for each packet that the switch shows. What needs the sessions to
change is handed to `Sessions`, which works in a green thread of its own.
"""

from __future__ import annotations

import logging
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from heapq import nsmallest
from typing import Protocol

import eventlet

from ofgtp.control.peers.peers import Peers
from ofgtp.control.turns import in_turns
from ofgtp.core.errors import OfgtpError
from ofgtp.core.limits import Limit
from ofgtp.core.model import Address, FTeid, Gateway, Session, SessionState
from ofgtp.core.packets import frames, gtpu
from ofgtp.core.packets.gtpu import MessageType
from ofgtp.core.peers.paths import PathChanged, PathState, PathStatus
from ofgtp.core.rules.container import t_pdu_at
from ofgtp.core.rules.terms import EXTENDED_NUMBERED, GTP, E
from ofgtp.core.sessions.rules import indicated_tunnels, sent_on
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.service import PeerView
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

TICK_S = 0.25
"""Seconds between two looks at what is due."""

REPORTED_SLICE = 1000
"""Peers reported between two turns of other green threads."""

ERROR_INDICATIONS = ((10.0, 10.0), (100.0, 100.0))
NOTIFICATIONS = ((1.0, 5.0), (50.0, 50.0))
"""Most a second, and at once: to each peer, and to all. What they answer can be forged."""

SUPPORTED_EXTENSIONS = (gtpu.Extension.PDU_SESSION_CONTAINER,)
"""Extension headers that T-PDUs may have (TS 29.281, 5.2.1)."""

HIDDEN = "hidden"
"""Stands for the type of an extension header that the switch has taken off (E and S set)."""

CUT_OFF = "unreadable"
"""Stands for the types of extension headers of which one is cut off or has length 0. Such a T-PDU
is counted as dropped like the rest: by the switch."""

BAD_FRAME = "bad_frame"


def _reasons(error: type[gtpu.GtpuError]) -> set[str]:
    below = error.__subclasses__()
    return {error.reason} if not below else set[str]().union(*map(_reasons, below))


def _is_indicated(session: Session, tunnel: FTeid) -> bool:
    return any(each == tunnel for _, each in indicated_tunnels(session))


_WORST_FIRST = (PathState.DOWN, PathState.UNKNOWN, PathState.UP)


def _badness(path: PathStatus) -> tuple[int, int, int, int]:
    return _WORST_FIRST.index(path.state), -path.users, path.peer.version, int(path.peer)


UNREADABLE = (BAD_FRAME, *sorted(_reasons(gtpu.GtpuError)))
"""Why signalling cannot be read: no whole UDP packet in its frame, or what the codec says."""


class Ignored(StrEnum):
    """Why a message was read and led to nothing, or a packet got no answer."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Ignored:
        ignored = str.__new__(cls, value)
        ignored._value_ = value
        ignored.meaning = meaning
        return ignored

    ERROR_INDICATION_UNKNOWN_TUNNEL = (
        "error_indication_unknown_tunnel",
        "Error Indication for a tunnel that no session has with that peer",
    )
    ERROR_INDICATION_REPEATED = (
        "error_indication_repeated",
        "Error Indication for a tunnel that has been stopped already",
    )
    ERROR_INDICATION_UNREADABLE = (
        "error_indication_unreadable",
        "Error Indication that names no tunnel",
    )
    ERROR_INDICATION_NOT_SENT = (
        "error_indication_not_sent",
        "T-PDU of an unknown TEID, over the limit of Error Indications",
    )
    SUPPORTED_EXTENSION_HEADERS_NOTIFICATION_NOT_SENT = (
        "supported_extension_headers_notification_not_sent",
        "T-PDU with an unknown extension header, over the limit of notifications",
    )
    END_MARKER_UNKNOWN_TUNNEL = (
        "end_marker_unknown_tunnel",
        "End Marker for a TEID that no session has",
    )
    END_MARKER_NOT_SENT_ON = (
        "end_marker_not_sent_on",
        "End Marker for a relay's TEID that leads to no tunnel, or not from its peer",
    )


class Sessions(Protocol):
    """What peers may cause to happen to the sessions of a gateway."""

    def error_indicated(self, gateway: str, tunnels: Sequence[FTeid]) -> None:
        """The peers do not know these downlink tunnels: nothing more may be sent there."""

    def path_down(self, gateway: str, peer: Address, *, remove: bool) -> None:
        """The peer does not answer any more; its sessions may be to be removed."""


class Signalling:
    """One gateway's. `send` puts a frame out of the access port, if the switch is there."""

    def __init__(
        self,
        gateway: Gateway,
        store: SessionStore,
        events: EventLog,
        send: Callable[[bytes], None],
        local_mac: Callable[[], str | None],
    ) -> None:
        self._gateway, self._store, self._events = gateway, store, events
        self.messages: Counter[tuple[str, str]] = Counter()
        """By type and direction, "received" or "sent"."""
        self.ignored: Counter[Ignored] = Counter()
        """What led to nothing, by why."""
        self.bad: Counter[str] = Counter()
        """What could not be read, by why."""
        self.extensions: Counter[str] = Counter()
        """Extension headers of T-PDUs, by type."""
        self.sessions: Sessions | None = None
        self.peers = Peers(gateway, send, local_mac, self._sent)
        self._error_limit: Limit[Address] = Limit(*ERROR_INDICATIONS)
        self._notice_limit: Limit[Address] = Limit(*NOTIFICATIONS)
        self._indicated: dict[FTeid, None] = {}
        self._working = False

    def _sent(self, kind: MessageType) -> None:
        self.messages[kind.name.lower(), "sent"] += 1

    # --- time

    def tick(self) -> None:
        """Send what is due, and hand on what is to be done to sessions."""
        for changed in self.peers.tick(time.monotonic()):
            self._path_changed(changed)
        if self._indicated and not self._working:
            self._working = True
            eventlet.spawn(self._hand_on)

    def _hand_on(self) -> None:
        try:
            while self._indicated and self.sessions is not None:
                tunnels = list(self._indicated)
                try:
                    self.sessions.error_indicated(self._gateway.name, tunnels)
                finally:  # until then, what comes for them is a repetition
                    for tunnel in tunnels:
                        self._indicated.pop(tunnel, None)
        except OfgtpError as error:
            log.error("gateway=%s: Error Indications are lost: %s", self._gateway.name, error)
        finally:
            self._working = False

    def _path_changed(self, changed: PathChanged) -> None:
        status = self.peers.paths.get(changed.peer)
        users = 0 if status is None else status.users
        facts: dict[str, str | int] = {"peer": str(changed.peer), "sessions": users}
        kind = "path_down" if changed.new is PathState.DOWN else "path_up"
        self._events.publish(kind, gateway=self._gateway.name, **facts)
        if changed.new is PathState.DOWN and self.sessions is not None:
            remove = self._gateway.on_path_down == "remove"
            work = partial(self.sessions.path_down, remove=remove)
            eventlet.spawn(work, self._gateway.name, changed.peer)

    # --- messages

    def message(self, frame: bytes) -> None:
        """A GTP-U message that is no T-PDU, as the whole frame in which it came."""
        try:
            udp = frames.parse_udp(frame)
            message = gtpu.parse(udp.payload)
        except frames.FrameError as error:
            self._unreadable(BAD_FRAME, error)
        except gtpu.GtpuError as error:
            self._unreadable(error.reason, error)
        else:
            self.messages[message.type.name.lower(), "received"] += 1
            self._handle(message, udp)

    def _unreadable(self, reason: str, error: Exception) -> None:
        self.bad[reason] += 1
        log.debug("gateway=%s: signalling dropped: %s", self._gateway.name, error)

    def _handle(self, message: gtpu.Message, udp: frames.UdpFrame) -> None:
        now, peer = time.monotonic(), udp.src_ip
        hop = self._gateway.access_next_hop(peer)
        if hop is not None:
            self.peers.neighbours.doubt(hop, udp.src_mac, now)
        match message.type:
            case MessageType.ECHO_REQUEST:
                answer = gtpu.echo_response(message.sequence)
                self.peers.answer(udp, MessageType.ECHO_RESPONSE, answer)
                self.peers.paths.echo_request(peer, now)
            case MessageType.ECHO_RESPONSE:
                for changed in self.peers.paths.echo_response(peer, message.sequence, now):
                    self._path_changed(changed)
            case MessageType.ERROR_INDICATION:
                self._error_indication(message, peer)
            case MessageType.END_MARKER:
                self._end_marker(message, peer, now)

    def _end_marker(self, message: gtpu.Message, peer: Address, now: float) -> None:
        """One that comes to a relay is for whoever its T-PDUs go to (TS 23.401, 5.5.1.1.2)."""
        stored = self._store.by_teid(self._gateway.name, message.teid)
        if stored is None:
            self.ignored[Ignored.END_MARKER_UNKNOWN_TUNNEL] += 1
            return
        tunnels = sent_on(stored.session, message.teid, peer)
        if tunnels is None:
            return
        if not tunnels or stored.installed is None:
            self.ignored[Ignored.END_MARKER_NOT_SENT_ON] += 1
            return
        for tunnel in tunnels:
            said = gtpu.end_marker(tunnel.teid, message.extensions)
            self.peers.say(tunnel.ip, MessageType.END_MARKER, said, now)

    def _error_indication(self, message: gtpu.Message, peer: Address) -> None:
        tunnel = gtpu.error_indication_fteid(message, peer)
        if tunnel is None:
            self.ignored[Ignored.ERROR_INDICATION_UNREADABLE] += 1
            return
        stored = self._store.by_downlink(self._gateway.name, tunnel)
        if stored is None or stored.state is SessionState.FAILED:
            self.ignored[Ignored.ERROR_INDICATION_UNKNOWN_TUNNEL] += 1
        elif tunnel in self._indicated or _is_indicated(stored.session, tunnel):
            self.ignored[Ignored.ERROR_INDICATION_REPEATED] += 1
        else:
            self._indicated[tunnel] = None

    # --- T-PDUs

    def unknown_tunnel(self, teid: int, peer: Address) -> None:
        """A T-PDU came for a TEID that no session has (7.3.1): the peer is told, with our address
        of its IP version."""
        ours = self._gateway.local_ips[peer.version == 6]
        if not teid or ours is None:
            return
        now = time.monotonic()
        if not self._error_limit.take(peer, now):
            self.ignored[Ignored.ERROR_INDICATION_NOT_SENT] += 1
            return
        said = gtpu.error_indication(teid, ours)
        self.peers.say(peer, MessageType.ERROR_INDICATION, said, now)

    def extended(self, teid: int, form: int, frame: bytes) -> bool:
        """A T-PDU with extension headers was dropped; `frame` is its beginning (5.2.1).

        `form` is what its register 5 said: of what was left of it, and of its container if any.
        True: its sender is to be told (`not_comprehended`).
        """
        numbered = EXTENDED_NUMBERED in (form, form >> 4)
        types = self._extension_types(teid, frame[t_pdu_at(form) :], numbered)
        if types is None:
            self.extensions[CUT_OFF] += 1
            return False
        shown = (HIDDEN if kind is None else f"{kind:#04x}" for kind in types or (0,))
        self.extensions.update(shown)
        return bool(gtpu.not_comprehended(types, SUPPORTED_EXTENSIONS))

    def not_comprehended(self, peer: Address) -> None:
        """A peer sent an extension header that it must not be sent without being understood: it is
        told which ones are (7.2.3)."""
        now = time.monotonic()
        if not self._notice_limit.take(peer, now):
            self.ignored[Ignored.SUPPORTED_EXTENSION_HEADERS_NOTIFICATION_NOT_SENT] += 1
            return
        said = gtpu.supported_extension_headers(SUPPORTED_EXTENSIONS)
        kind = MessageType.SUPPORTED_EXTENSION_HEADERS_NOTIFICATION
        self.peers.say(peer, kind, said, now)

    @staticmethod
    def _extension_types(teid: int, rest: bytes, hidden: bool) -> tuple[int | None, ...] | None:
        """The types of a T-PDU's extension headers, None for a hidden one; None: unreadable.

        `rest` is what stands behind the TEID, or behind the first header's type if that is hidden.
        """
        if len(rest) < 4:
            return None
        if hidden:
            # The switch has taken off sequence number, N-PDU number and the first header's type.
            rest = bytes(3) + b"\xff" + rest
        head = struct.pack("!BBHI", GTP | E, MessageType.G_PDU, len(rest), teid)
        try:
            message = gtpu.parse(head + rest)
        except gtpu.GtpuError:
            return None
        types: list[int | None] = [kind for kind, _ in message.extensions]
        if hidden and types:
            types[0] = None
        return tuple(types)

    # --- for operators

    def unreadable(self) -> dict[str, int]:
        """What could not be read, by each reason that there is."""
        return {reason: self.bad[reason] for reason in UNREADABLE}

    def report(self, state: PathState | None = None, worst: int | None = None) -> list[PeerView]:
        """The peers in use; see `Service.peers`."""
        found = [path for path in self.peers.status() if state in (None, path.state)]
        if worst is not None:
            found = nsmallest(worst, found, key=_badness)
        steady, wall = time.monotonic(), datetime.now(UTC)

        def at(moment: float | None) -> datetime | None:
            return None if moment is None else wall - timedelta(seconds=steady - moment)

        views: list[PeerView] = []
        for path in in_turns(found, REPORTED_SLICE):
            hop = self._gateway.access_next_hop(path.peer)
            view = PeerView(
                gateway=self._gateway.name,
                ip=path.peer,
                state=path.state,
                sessions=path.users,
                next_hop=hop,
                mac=None if hop is None else self.peers.neighbours.mac(hop),
                echo_sent_at=at(path.asked_at),
                echo_answered_at=at(path.answered_at),
                echo_heard_at=at(path.heard_at),
            )
            views.append(view)
        return views

    def end_marker(self, tunnel: FTeid) -> None:
        """Tell a peer that no more T-PDUs come by this tunnel (7.3.2)."""
        said = gtpu.end_marker(tunnel.teid)
        self.peers.say(tunnel.ip, MessageType.END_MARKER, said, time.monotonic())
