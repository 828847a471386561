"""The OpenFlow port: connections are accepted whatever happens."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import eventlet
import pytest
from eventlet.green import socket

from ofgtp.core.unclaimed import Stage
from ofgtp.southbound import listener as module
from ofgtp.southbound.listener import Listener

HELLO = bytes.fromhex("0500000800000001")


class Port:
    """A listener, and what it has speak with each connection."""

    def __init__(self) -> None:
        self.listening = eventlet.listen(("127.0.0.1", 0))
        self.accepted: list[Any] = []
        self.ended = 0
        self.listener = Listener(self.serve)
        self.errors: list[int] = []
        self.thread = eventlet.spawn(self.listener.accept, self)

    def accept(self) -> tuple[Any, Any]:
        """As a socket's, with the errors that there are to be."""
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self.listening.accept()

    def serve(self, sock: Any, address: Any) -> None:
        self.accepted.append(sock)
        try:
            while data := sock.recv(1000):
                if data == b"raise":
                    raise ValueError("something")
        finally:
            self.ended += 1

    def connect(self, says: bytes = HELLO) -> socket.socket:
        sock = socket.create_connection(self.listening.getsockname(), timeout=20)
        sock.sendall(says)
        return sock


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.thread.kill()
    port.listening.close()
    port.listener._owners._socket.close()


def until(condition: Callable[[], object]) -> None:
    with eventlet.Timeout(20):
        while not condition():
            eventlet.sleep(0.01)


def closed(sock: socket.socket) -> bool:
    """Wait until the other end has closed it."""
    with sock:
        try:
            return sock.recv(1) == b""
        except ConnectionError:
            return True


NO_ROOM = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]


@pytest.mark.parametrize("number", [*NO_ROOM, errno.ECONNABORTED, errno.EPROTO, errno.EPERM])
def test_an_error_is_not_the_end(
    port: Port,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    with port.connect():
        until(lambda: len(port.accepted) == 1)
    port.errors = [number] * 20
    with port.connect():  # the first that is accepted was waited for already
        until(lambda: len(port.accepted) == 2)
    with port.connect():
        until(lambda: len(port.accepted) == 3)
    assert port.errors == []
    if number in NO_ROOM:
        said = [line.getMessage() for line in caplog.records if line.name == module.__name__]
        assert said == [
            f"openflow: cannot accept connections: {os.strerror(number)}",
            "openflow: connections are accepted again",
        ]


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK])
def test_an_end_is_told(port: Port, number: int) -> None:
    port.errors = [number]
    with port.connect(), pytest.raises(OSError, match=os.strerror(number)):
        port.thread.wait()


def test_an_error_in_a_connection_ends_that_one(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    with port.connect() as other:
        until(lambda: len(port.accepted) == 1)
        with port.connect() as sock:
            until(lambda: len(port.accepted) == 2)
            eventlet.sleep(0.1)
            sock.sendall(b"raise")
            assert closed(sock)
        assert port.ended == 1
        assert "ValueError('something')" in caplog.text
        other.sendall(b"still there")
    until(lambda: port.ended == 2)


def test_the_oldest_go(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    socks = [port.connect(b"") for _ in range(module.EACH + 3)]
    for sock in socks[:3]:
        assert closed(sock)
    socks[3].sendall(HELLO)
    until(lambda: len(port.accepted) == 1)
    for sock in socks[3:]:
        sock.close()


def test_one_that_is_claimed_is_left_alone(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNCLAIMED_S", 0.5)
    with port.connect() as sock:
        until(lambda: len(port.accepted) == 1)
        port.listener.advance(port.accepted[0], Stage.NAMED)
        port.listener.claimed(port.accepted[0])
        others = [port.connect(b"") for _ in range(module.EACH + 3)]
        for other in others:
            assert closed(other), "it is late"
        port.listener.refuse(port.accepted[0], "no matter why")
        assert port.ended == 0
    until(lambda: port.ended == 1)
    assert sock.fileno() == -1


@pytest.mark.parametrize("says", [b"", b"\5", HELLO])
def test_late(
    port: Port, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, says: bytes
) -> None:
    monkeypatch.setattr(module, "UNCLAIMED_S", 0.3)
    assert closed(port.connect(says))
    uid = os.getuid()
    assert f"connection closed: of user {uid}: not claimed within 0.3 s" in caplog.text


@pytest.mark.parametrize("says", [b"GET / HTTP/1.1", b"\x16\x03\x01\0\xf8", b"\xff" * 100])
def test_what_begins_no_hello_is_closed_at_once(port: Port, says: bytes) -> None:
    assert closed(port.connect(says))
    assert port.accepted == []


def test_handshakes_are_limited(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    most = int(module.HANDSHAKES[0][1])
    for _ in range(most + 100):
        port.connect().close()
    with port.connect(b"") as last:
        eventlet.sleep(0.2)
        assert most <= len(port.accepted) < most + 90
        last.sendall(HELLO)


def test_the_log_is_not_flooded(port: Port, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(module.SAID_AT_ONCE + 20):
        assert closed(port.connect(b"\xff\xff"))
    said = [line.getMessage() for line in caplog.records if line.name == module.__name__]
    assert len(said) == module.SAID_AT_ONCE
    port.listener._says.tokens = 1
    assert closed(port.connect(b"\xff\xff"))
    assert caplog.records[-1].getMessage().endswith("(and 20 since the last such line)")


def test_it_knows_who_connects(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = port.listener._owners
    with port.connect() as sock:
        until(lambda: port.accepted)
        theirs, address = port.accepted[0], sock.getsockname()
        for _ in range(3):
            assert owners.owner(theirs, address) == f"user {os.getuid()}"
        assert owners.owner(theirs, ("127.0.0.9", address[1])) == "127.0.0.9", "nobody's here"
        assert owners.owner(theirs, address) == f"user {os.getuid()}"
        monkeypatch.setattr(owners, "_socket", None)
        assert owners.owner(theirs, address) == "127.0.0.1"
        monkeypatch.undo()
    until(lambda: port.ended)
