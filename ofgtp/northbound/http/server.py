"""The server: a bound socket, and the connections to it."""

from __future__ import annotations

import errno
import logging
import socket
import time
from typing import Any

import eventlet

from ofgtp.core.errors import ConfigError
from ofgtp.northbound import problem
from ofgtp.northbound.http import limits
from ofgtp.northbound.http.connection import WAITING, Answer, Connection
from ofgtp.northbound.http.limits import Share

log = logging.getLogger(__name__)

BACKLOG = 128
LOOK_SECONDS = 0.25
"""Seconds between two looks at what takes too long."""
PAUSE_SECONDS = 0.1
"""How long no connection is taken when there is no room for one more."""

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_GONE = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.ENOTCONN})
"""What is said of a connection that its client has ended before it was taken."""


class Connections:
    """Those that are open: `limits.CONNECTIONS` at most."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._open: set[Connection] = set()
        self._writers = Share(limits.WRITERS)

    def __len__(self) -> int:
        return len(self._open)

    def serve(self, sock: Any, client: str, local: str) -> None:
        """Serve a client until it or we have had enough; `sock` is a green socket."""
        if len(self._open) >= limits.CONNECTIONS and not self.make_room():
            self._refuse(sock)
            return
        connection = Connection(sock, client, local, self._answer, self._writers)
        self._open.add(connection)
        try:
            connection.run()
        finally:
            self._open.discard(connection)

    def make_room(self) -> bool:
        """Close the connection that has waited longest for its client; False if none waits."""
        for stage in WAITING:
            waiting = [each for each in self._open if each.stage is stage]
            if waiting:
                oldest = min(waiting, key=lambda each: each.since)
                self._open.discard(oldest)
                oldest.give_way()
                return True
        return False

    def look(self) -> None:
        """End what has taken too long."""
        now = time.monotonic()
        for connection in list(self._open):
            connection.look(now)

    def _refuse(self, sock: Any) -> None:
        response = problem.document(problem.busy(f"{len(self._open)} connections are open"))
        try:
            sock.fd.send(response.head(more="Connection: close\r\n") + response.body)
        except OSError as error:
            log.debug("a connection too many: %s", error)
        sock.close()


class Server:
    """Takes connections, in green threads, until it is stopped."""

    def __init__(self, listener: Any, answer: Answer) -> None:
        self._listener = listener
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self.connections = Connections(answer)
        self.threads = [eventlet.spawn(self._accept), eventlet.spawn(self._watch)]
        """Neither ends before `stop`."""

    def stop(self) -> None:
        """Take no more connections; requests under way go on as long as the process does."""
        for thread in self.threads:
            thread.kill()
        self._listener.close()

    def _accept(self) -> None:
        full = False
        while True:
            try:
                sock, address = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                local = sock.getsockname()[0]
            except OSError as error:
                if error.errno in _GONE:
                    eventlet.sleep(0)
                    continue
                if not full:
                    log.error("rest: cannot accept connections: %s", error.strerror)
                full = True
                if error.errno in _NO_ROOM:
                    self.connections.make_room()
                eventlet.sleep(PAUSE_SECONDS)
                continue
            if full:
                log.info("rest: connections are accepted again")
                full = False
            # By spawn_n each line of the log would first look for the thread that it is of: 20 µs.
            eventlet.spawn(self.connections.serve, sock, f"{address[0]}:{address[1]}", local)
            eventlet.sleep(0)

    def _watch(self) -> None:
        while True:
            eventlet.sleep(LOOK_SECONDS)
            try:
                self.connections.look()
            except Exception:
                log.exception("rest: unexpected")


def serve(answer: Answer, listen: tuple[str, int]) -> Server:
    """Bind now and serve from now on.

    Raises:
        ConfigError: the address cannot be bound.
    """
    host, port = listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = eventlet.listen((host, port), family=family, backlog=BACKLOG, reuse_port=False)
    except OSError as error:
        why = error.strerror or errno.errorcode.get(error.errno or 0, str(error))
        reason = f"cannot listen on {host} port {port}: {why}"
        raise ConfigError(reason, key="rest.listen") from error
    server = Server(listener, answer)
    log.info("rest: listening on %s port %d", *server.address)
    return server
