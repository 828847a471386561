"""The HTTP server: eventlet's, in a green thread of this process, with limits."""

from __future__ import annotations

import errno
import logging
import socket
from typing import Any

import eventlet
from eventlet import wsgi

from ofgtp.core.errors import ConfigError
from ofgtp.northbound.rest import RestApp

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
URL_LIMIT = 8192
"""Longest request line, in bytes; header lines and their sum have eventlet's limits."""
IDLE_SECONDS = 30
"""A connection may be idle so long, and a request's line and headers may take so long."""
SOCKET_SECONDS = 10
"""Longest silence in the middle of a request or a response."""


class _Protocol(wsgi.HttpProtocol):  # type: ignore[misc]
    """eventlet's limits are on the silence between bytes; these are on whole stages, so that a
    client that sends a byte now and then does not hold a connection for ever."""

    capitalize_response_headers = False

    def handle_one_request(self) -> None:
        try:
            self.connection.settimeout(IDLE_SECONDS)
            ahead = self.rfile.peek()
            self.conn_state[2] = wsgi.STATE_REQUEST
            if size := self.server.app.quick(ahead, self.connection.sendall):
                self.rfile.read(size)
                self.close_connection = False
                return
        except (OSError, ValueError) as error:  # gone, silent for too long, or closed
            log.debug("connection of %s: %s", self.client_address, error)
            self.close_connection = True
            return
        super().handle_one_request()

    def _read_request_line(self) -> Any:
        with eventlet.Timeout(IDLE_SECONDS, TimeoutError()):
            return super()._read_request_line()

    def parse_request(self) -> Any:
        with eventlet.Timeout(IDLE_SECONDS, TimeoutError()):
            return super().parse_request()

    def finish(self) -> None:
        super().finish()
        # Left open where the last write failed, and with it the socket.
        self.rfile.close()

    def get_environ(self) -> Any:
        environ = super().get_environ()
        body = environ["eventlet.input"]
        discard = body.discard

        def discard_in_time() -> None:
            with eventlet.Timeout(SOCKET_SECONDS, TimeoutError("body not read to its end")):
                discard()

        body.discard = discard_in_time
        return environ


class _Log:
    """All of the server's own chatter is for debugging: the application logs what matters."""

    @staticmethod
    def debug(message: str, *args: object) -> None:
        log.debug(message, *args)

    info = error = debug


class Server:
    """A bound socket and the green thread that serves it."""

    def __init__(self, listener: Any, thread: Any) -> None:
        self._listener, self._thread = listener, thread
        self.address: tuple[str, int] = listener.getsockname()[:2]

    def stop(self) -> None:
        """Take no more connections; requests under way are cut off."""
        self._listener.close()
        self._thread.kill()


def serve(app: RestApp, listen: tuple[str, int]) -> Server:
    """Bind now and serve from now on, in a green thread.

    Raises:
        ConfigError: the address cannot be bound.
    """
    host, port = listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = eventlet.listen((host, port), family=family, backlog=128, reuse_port=False)
    except OSError as error:
        why = error.strerror or errno.errorcode.get(error.errno or 0, str(error))
        reason = f"cannot listen on {host} port {port}: {why}"
        raise ConfigError(reason, key="rest.listen") from error
    thread = eventlet.spawn(
        wsgi.server,
        listener,
        app,
        log=_Log,
        log_output=True,
        debug=False,
        protocol=_Protocol,
        max_size=MAX_CONNECTIONS,
        keepalive=IDLE_SECONDS,
        url_length_limit=URL_LIMIT,
        socket_timeout=SOCKET_SECONDS,
        capitalize_response_headers=False,
    )
    log.info("rest: listening on %s port %d", *listener.getsockname()[:2])
    return Server(listener, thread)
