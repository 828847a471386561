"""The HTTP server, over real sockets on loopback."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import eventlet
import pytest
from eventlet.green import socket
from fake_service import FakeService

from ofgtp.core.errors import ConfigError
from ofgtp.northbound.http import limits
from ofgtp.northbound.http.server import Server, serve
from ofgtp.northbound.rest import RestApp

POST = b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"ue_ip": "10.45.0.2"}'


@pytest.fixture
def server() -> Iterator[Server]:
    server = serve(RestApp(FakeService()), ("127.0.0.1", 0))
    eventlet.sleep(0)
    yield server
    server.stop()


def connect(server: Server) -> socket.socket:
    return socket.create_connection(server.address, timeout=30)


def read(connection: socket.socket) -> bytes:
    """What comes until the server is silent for a moment, or closes."""
    received = b""
    connection.settimeout(30)
    try:
        while part := connection.recv(65536):
            received += part
            connection.settimeout(0.2)
    except TimeoutError:
        pass
    return received


def closed(connection: socket.socket) -> bool:
    connection.settimeout(30)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno == errno.ECONNRESET
    return True


def test_connections_are_kept(server: Server) -> None:
    with connect(server) as connection:
        for status in (b"201", b"409"):
            connection.sendall(POST + b"Content-Length: 22\r\n\r\n" + BODY)
            assert read(connection).startswith(b"HTTP/1.1 " + status)


def test_chunks(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5])
        connection.sendall(b"\r\n11\r\n" + BODY[5:] + b"\r\n0\r\n\r\n")
        assert read(connection).startswith(b"HTTP/1.1 201")
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert read(connection).startswith(b"HTTP/1.1 400")


def test_expect_100_continue(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 22\r\n\r\n")
        assert read(connection) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read(connection).startswith(b"HTTP/1.1 201")
    with connect(server) as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
        assert read(connection).startswith(b"HTTP/1.1 413")


def test_a_body_that_ends_early(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(POST + b"Content-Length: 99\r\n\r\n" + BODY)
        connection.shutdown(socket.SHUT_WR)
        assert read(connection).startswith(b"HTTP/1.1 400")


def test_both_lengths_are_refused(server: Server) -> None:
    with connect(server) as connection:
        both = b"Content-Length: 22\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(POST + both + BODY)
        assert b" 400 " in read(connection).splitlines()[0]


@pytest.mark.parametrize("request_line", [b"GET /" + b"a" * 9_000, b"G" * 9_000])
def test_long_lines(server: Server, request_line: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(request_line + b" HTTP/1.1\r\n\r\n")
        assert b" 414 " in read(connection).splitlines()[0]


@pytest.mark.parametrize("start", [b"", b"GET /", POST])
def test_slow_clients_are_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.5)
    with connect(server) as connection:
        connection.sendall(start)
        with eventlet.Timeout(30):
            assert closed(connection)


def test_an_address_in_use(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1 port \d+: Address"):
        serve(RestApp(FakeService()), server.address)


def test_stop_frees_the_address() -> None:
    server = serve(RestApp(FakeService()), ("127.0.0.1", 0))
    eventlet.sleep(0)
    server.stop()
    again = serve(RestApp(FakeService()), server.address)
    eventlet.sleep(0)
    with connect(again) as connection:
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read(connection).startswith(b"HTTP/1.1 200")
    again.stop()


def test_ipv6() -> None:
    server = serve(RestApp(FakeService(), host="::1"), ("::1", 0))
    with connect(server) as connection:
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n")
        assert read(connection).startswith(b"HTTP/1.1 200")
    server.stop()
