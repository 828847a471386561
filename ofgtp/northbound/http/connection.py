"""One connection: its requests one after the other, each answered before the next is looked at."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from enum import Enum
from fcntl import ioctl
from http import HTTPStatus
from socket import MSG_PEEK, SHUT_RD, SHUT_RDWR, SHUT_WR
from termios import TIOCOUTQ
from typing import Any

import eventlet
from eventlet.hubs import trampoline

from ofgtp.northbound import problem
from ofgtp.northbound.http import limits
from ofgtp.northbound.http.limits import Pace, Share
from ofgtp.northbound.http.request import Body, Parser, Request
from ofgtp.northbound.http.response import Response
from ofgtp.northbound.problem import ProblemError

log = logging.getLogger(__name__)

_RECEIVED = 64 << 10
_TURN_SECONDS = 0.005
"""A client that is quick enough is served so long without a turn of the others."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Answer = Callable[[Request], Response]
"""Answers a request, whatever happens."""


class Stage(Enum):
    """What a connection is doing."""

    IDLE = "waits for a request to begin"
    HEAD = "reads a request's line and headers"
    BODY = "reads a body"
    WORK = "has its request answered"
    WRITE = "waits for its client to read"
    LINGER = "has ended, and reads what still comes"


WAITING = (Stage.LINGER, Stage.IDLE, Stage.HEAD)
"""Stages in which a connection can be closed for the sake of another one, those that go first
first."""


class Connection:
    """Serves one client; `run` is a green thread's. `sock` is a green socket."""

    def __init__(self, sock: Any, client: str, local: str, answer: Answer, writers: Share) -> None:
        self.client, self.local = client, local
        self.stage, self.since = Stage.IDLE, time.monotonic()
        self.pace = Pace()
        """Of the body, or of the reader of the response."""
        self._green, self._socket = sock, sock.fd
        self._answer, self._writers = answer, writers
        self._parser = Parser()
        self._late: ProblemError | None = None
        self._handed = 0
        """Octets that the client had or has to read since it was first waited for."""
        self._turn = 0.0
        """When others last had a turn."""

    def run(self) -> None:
        """Serve until one side has had enough."""
        try:
            while self._one():
                pass
        except OSError as error:
            log.debug("connection of %s: %s", self.client, error)
        except Exception:
            log.exception("connection of %s: unexpected", self.client)
        finally:
            self._parser.close()
            self._green.close()

    # --- what others ask for

    def look(self, now: float) -> None:
        """End what has taken too long."""
        age = now - self.since
        match self.stage:
            case Stage.IDLE if age > limits.IDLE_SECONDS:
                self.give_way()
            case Stage.HEAD if age > limits.HEAD_SECONDS:
                self._end_reading("the request did not come in time")
            case Stage.BODY if age > limits.BODY_SECONDS or self.pace.too_slow(now):
                self._end_reading("the body did not come in time")
            case Stage.WRITE:
                # What the kernel has taken is not read yet, and it may take megabytes at a time.
                self.pace.octets = self._handed - self._unread()
                if self.pace.too_slow(now):
                    self.give_way()
            case Stage.LINGER if age > limits.LINGER_SECONDS:
                self.give_way()

    def give_way(self) -> None:
        """End, as others need the place, or as the client has taken too long."""
        if self.stage is Stage.BODY:
            self._end_reading("the body came too slowly while others waited")
        else:
            self._shut(SHUT_RDWR)

    def _end_reading(self, why: str) -> None:
        self._late = self._late or ProblemError(HTTPStatus.REQUEST_TIMEOUT, why)
        self._shut(SHUT_RD)

    def _shut(self, how: int) -> None:
        """Wake whoever waits for the socket; nobody but `run` closes it."""
        try:
            self._socket.shutdown(how)
        except OSError as error:
            log.debug("connection of %s: %s", self.client, error)

    # --- of a request

    def _unread(self) -> int:
        """Octets that the client's side has not acknowledged."""
        try:
            return int.from_bytes(ioctl(self._socket, TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0

    def gone(self) -> bool:
        """Whether the client has closed the connection."""
        try:
            return not self._socket.recv(1, MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def read(self, request: Request, limit: int, share: Share) -> Body:
        """Wait for a request's body; see `Source`."""
        if not request.complete and (request.length or 0) <= limit:
            if request.waits and not request.body:
                self._send(_CONTINUE)
            self._enter(Stage.BODY)
            self.pace = Pace()
            if not share.enter(self):
                raise problem.busy(f"{share.most} bodies are on their way")
            try:
                while not request.complete and len(request.body) <= limit:
                    self._receive_more(request)
            finally:
                share.leave(self)
                self._enter(Stage.WORK)
        if len(request.body) > limit or (request.length or 0) > limit:
            raise problem.too_large(f"the body may have {limit} bytes")
        return request.body

    def _receive_more(self, request: Request) -> None:
        if self._parser.fault is not None:
            raise self._parser.fault
        if not self._receive():
            short = "the body ends before its end"
            raise self._late or ProblemError(HTTPStatus.BAD_REQUEST, short)
        self.pace.octets = len(request.body)

    def _one(self) -> bool:
        """Serve the next request; whether another one may follow."""
        request = self._next()
        if request is None:
            return False
        self._enter(Stage.WORK)
        request.connection = self
        fault = request.fault
        response = self._answer(request) if fault is None else problem.document(fault)
        return self._respond(request, response)

    def _next(self) -> Request | None:
        """The next request whose head is here; None if there is none."""
        parser = self._parser
        if parser.requests:
            eventlet.sleep(0)  # else a client that sends very many at once would be the only one
            return parser.requests.popleft()
        self._enter(Stage.HEAD if parser.begun else Stage.IDLE)
        while not parser.requests:
            if parser.fault is not None:
                self._last(parser.fault)
                return None
            if not self._receive():
                if self._late is not None:
                    self._last(self._late)
                return None
            if parser.begun and self.stage is Stage.IDLE:
                self._enter(Stage.HEAD)
        return parser.requests.popleft()

    def _receive(self) -> bool:
        """Read what comes; False if nothing will."""
        wait = time.monotonic() - self._turn > _TURN_SECONDS
        while True:
            if wait:
                trampoline(self._socket, read=True)
                self._turn = time.monotonic()
            try:
                data = self._socket.recv(_RECEIVED)
            except BlockingIOError:
                wait = True
                continue
            self._parser.feed(data)
            return bool(data)

    def _enter(self, stage: Stage) -> None:
        self.stage, self.since = stage, time.monotonic()

    # --- responses

    def _respond(self, request: Request, response: Response) -> bool:
        """Send a response; whether another request may follow."""
        keep = request.keep_alive and request.complete and request.fault is None
        more = "" if keep else "Connection: close\r\n"
        if keep and request.version == "1.0":
            more = "Connection: keep-alive\r\n"
        try:
            if response.stream is None:
                head = response.head(more=more)
                self._send(head if request.method == "HEAD" else head + response.body)
            else:
                keep = self._stream(request, response, more) and keep
        finally:
            response.close()
        if keep:
            return True
        if not request.complete or self._parser.fault is not None:
            self._linger()
        return False

    def _stream(self, request: Request, response: Response, more: str) -> bool:
        """Send a response part by part; whether it came to its end, and is seen to."""
        stream = response.stream
        assert stream is not None
        chunked = request.version != "1.0"
        head = response.head(chunked=chunked, more=more)
        if request.method == "HEAD":
            self._send(head)
            return True
        self._send(head)
        while True:
            try:
                part = next(stream, None)
            except Exception:
                log.exception("the response to %s could not be written to its end", request.path)
                return False
            if part is None:
                break
            if part:
                self._send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            eventlet.sleep(0)  # parts may cost something, and the client take all of them at once
        if chunked:
            self._send(b"0\r\n\r\n")
        return chunked

    def _last(self, fault: ProblemError) -> None:
        """Answer what is no request, as the last."""
        response = problem.document(fault)
        self._send(response.head(more="Connection: close\r\n") + response.body)
        self._linger()

    def _linger(self) -> None:
        """Read on for a while: to close while something comes would take the response away from
        the client (RFC 9112, 9.6)."""
        self._shut(SHUT_WR)
        self._parser.close()
        self._enter(Stage.LINGER)
        while self._receive():
            pass

    def _send(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._send_slowly(memoryview(data)[sent:])

    def _send_slowly(self, rest: memoryview) -> None:
        """Send as fast as the client reads."""
        stage = self.stage
        self._enter(Stage.WRITE)
        self.pace, self._handed = Pace(), self._unread()
        self._writers.enter(self)
        try:
            while rest:
                trampoline(self._socket, write=True)
                try:
                    sent = self._socket.send(rest)
                except BlockingIOError:
                    continue
                self._handed += sent
                rest = rest[sent:]
        finally:
            self._writers.leave(self)
            self._enter(stage)
