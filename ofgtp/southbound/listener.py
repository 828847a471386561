"""Where the switch connects: connections are accepted whatever happens, and those that no gateway
claims are few and short.

Anybody on this host can connect, as often as they like, and say what they like.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import eventlet

from ofgtp.core.limits import Limit, TokenBucket
from ofgtp.core.unclaimed import Stage, Unclaimed
from ofgtp.southbound.openflow import Type

log = logging.getLogger(__name__)

EACH, TOTAL = 32, 64
"""Unclaimed connections of one user (or address), and in all, at each stage of the handshake."""

UNCLAIMED_S = 15.0
"""A connection that no gateway has claimed is closed after so many seconds."""

BACKLOG = 1024
"""Connections that wait in the kernel to be accepted; all are through in a fraction of a second."""

HANDSHAKES = (50.0, 50.0), (500.0, 500.0)
"""Most handshakes a second, and at once: with one user (or address), and in all. Each takes about a
millisecond."""

AT_ONCE = 16
"""Connections accepted before other green threads get a turn."""

AHEAD = 16_384
"""Octets that are read at once of a connection that is a gateway's."""

RETRY_S = 0.1
"""Seconds between two tries to accept a connection while there is no room for one."""

SAID_EVERY_S, SAID_AT_ONCE = 10.0, 5
"""Lines in the log about connections that were closed."""

_LISTENS_NO_MORE = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
"""Errors of accept(2) that another try would not cure. All others are of one connection, or of a
lack of room (EMFILE, ENFILE, ENOBUFS, ENOMEM)."""

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 4, 20, 1
TCP_ESTABLISHED = 1
_DIAG_REQUEST = struct.Struct("=IHHII BBBxI 2s2s4s12x4s12xIII")
"""sock_diag(7): nlmsghdr, then inet_diag_req_v2 with one socket's addresses."""


class Listener:
    """Accepts connections and has `serve(socket, address)` speak with each, until it returns."""

    def __init__(self, serve: Callable[[Any, tuple[str, int]], object]) -> None:
        self._serve = serve
        self._unclaimed: Unclaimed[Any] = Unclaimed(EACH, TOTAL)
        self._timers: dict[Any, Any] = {}
        self._handshakes: Limit[str] = Limit(*HANDSHAKES)
        self._says = TokenBucket(1 / SAID_EVERY_S, SAID_AT_ONCE)
        self._unsaid = 0
        self._owners = _Owners()

    def accept(self, listening: Any) -> NoReturn:
        """Accept from a listening socket for ever.

        Raises:
            OSError: it does not listen any more.
        """
        trouble = None
        turn = 0
        while True:
            turn += 1
            if turn % AT_ONCE == 0:
                # Or nothing else would be done while somebody connects again and again.
                eventlet.sleep(0)
            try:
                sock, address = listening.accept()
            except OSError as error:
                if error.errno in _LISTENS_NO_MORE:
                    raise
                if error.errno != trouble and error.errno != errno.ECONNABORTED:
                    trouble = error.errno
                    log.error("openflow: cannot accept connections: %s", error.strerror)
                eventlet.sleep(RETRY_S)
                continue
            if trouble is not None:
                log.info("openflow: connections are accepted again")
                trouble = None
            source = self._owners.owner(sock, address)
            self._timers[sock] = eventlet.spawn_after(UNCLAIMED_S, self._late, sock, source)
            self._goes(self._unclaimed.enter(sock, source), source)
            eventlet.spawn(self._speak, sock, address, source)

    def advance(self, sock: Any, stage: Stage) -> None:
        """A connection has come so far."""
        self._goes(self._unclaimed.advance(sock, stage), "others")

    def claimed(self, sock: Any) -> None:
        """A connection is a gateway's: from now on it is left alone."""
        self._unclaimed.leave(sock)
        self._forget(sock)
        receive = sock.recv
        # Ryu reads a header, and then the rest of the message: two system calls for each.
        sock.recv = lambda size: receive(max(size, AHEAD))

    def refuse(self, sock: Any, why: str) -> None:
        """Close a connection that is not to be claimed."""
        if self._unclaimed.leave(sock):
            self._close(sock, why)

    def _speak(self, sock: Any, address: tuple[str, int], source: str) -> None:
        try:
            # A switch says HELLO at once. Until then a connection costs next to nothing.
            start = sock.recv(2, socket.MSG_PEEK)
            if len(start) == 2 and start[1] != Type.HELLO:
                self.refuse(sock, f"from {_text(address)}: {start.hex()} begins no HELLO")
            elif start and not self._handshakes.take(source, time.monotonic()):
                self.refuse(sock, f"from {_text(address)}: too many are of {source}")
            elif start:
                self._serve(sock, address)
        except Exception as error:
            log.warning("openflow: connection from %s: %r", _text(address), error)
            log.debug("openflow: where that came from", exc_info=True)
        finally:
            self._unclaimed.leave(sock)
            self._forget(sock)
            sock.close()

    def _forget(self, sock: Any) -> None:
        timer = self._timers.pop(sock, None)
        if timer is not None:
            timer.cancel()

    def _late(self, sock: Any, source: str) -> None:
        self.refuse(sock, f"of {source}: not claimed within {UNCLAIMED_S:g} s")

    def _goes(self, sock: Any, source: str) -> None:
        if sock is not None:
            self._close(sock, f"too many are not claimed, the last of {source}")

    def _close(self, sock: Any, why: str) -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # who reads from it closes it
        if not self._says.take(time.monotonic()):
            self._unsaid += 1
            return
        more = f" (and {self._unsaid} since the last such line)" if self._unsaid else ""
        self._unsaid = 0
        log.warning("openflow: connection closed: %s%s", why, more)


def _text(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


class _Owners:
    """Whose process is at the other end, if it is on this host: the kernel knows."""

    def __init__(self) -> None:
        self._socket: Any = None
        self._sequence = 0
        with suppress(OSError):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
            self._socket.settimeout(0)

    def owner(self, sock: Any, address: tuple[str, int]) -> str:
        """In words: the user, else the address. On loopback anybody has as many addresses as they
        like."""
        try:
            local = sock.getsockname()
            uid = self._uid(address, local)
        except OSError:
            uid = None
        return address[0] if uid is None else f"user {uid}"

    def _uid(self, peer: tuple[str, int], local: tuple[str, int]) -> int | None:
        if self._socket is None:
            return None
        ends = [end[1].to_bytes(2, "big") for end in (peer, local)]
        ends += [socket.inet_aton(end[0]) for end in (peer, local)]
        self._sequence = (self._sequence + 1) % (1 << 32)
        request = _DIAG_REQUEST.pack(
            *(_DIAG_REQUEST.size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, self._sequence, 0),
            *(socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF),
            *(*ends, 0, 0xFFFFFFFF, 0xFFFFFFFF),
        )
        self._socket.send(request)
        sequence = None
        while sequence != self._sequence:
            answer = self._socket.recv(4096)  # it is there already
            kind, sequence = struct.unpack_from("=4xH2xI", answer)
        if kind != SOCK_DIAG_BY_FAMILY:
            return None
        state, uid = struct.unpack_from("=17xB62xI", answer)
        # One that its owner has closed would count as root's.
        return uid if state == TCP_ESTABLISHED else None
