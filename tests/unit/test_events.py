"""Events: the ring, and the stream of them over real sockets on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import eventlet
import pytest
from eventlet.green import socket
from fake_service import FakeService

from ofgtp.northbound import events as events_module
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.http.server import Server, serve
from ofgtp.northbound.rest import RestApp


def numbers(found: list[events_module.Event]) -> list[int]:
    return [event.number for event in found]


def test_the_ring_keeps_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "KEPT", 3)
    log = EventLog()
    assert log.since(0) == []
    for place in range(5):
        log.publish("tick", place=place)
    assert numbers(log.since(0)) == [3, 4, 5]
    assert numbers(log.since(3)) == [4, 5]
    assert log.since(5) == log.since(9) == []
    assert log.since(4)[0].facts == {"place": 4}


def test_waiting() -> None:
    log = EventLog()
    assert log.wait(0, 0.01) == []
    eventlet.spawn_after(0.01, log.publish, "tick")
    with eventlet.Timeout(30):
        assert numbers(log.wait(0, 60)) == [1]
        assert numbers(log.wait(0, 60)) == [1]


def test_an_id_of_another_run_is_before_all() -> None:
    log, other = EventLog(), EventLog()
    for each in (log, log, other):
        each.publish("tick")
    first = log.since(0)[0]
    assert log.position(log.id(first.number)) == 1
    assert other.position(log.id(first.number)) == 0
    foreign = ("", "1", "-1", log.run, f"{log.run}-", f"{log.run}-x", f"{log.run}--1")
    beyond = (f"{log.run}-3", f"{log.run}-²", f"{log.run}-{'9' * 5000}")
    for event_id in (*foreign, *beyond):
        assert log.position(event_id) == 0, event_id[:40]


# ---- the stream


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def server(service: FakeService) -> Iterator[Server]:
    app = RestApp(service, token="secret", max_requests=1, max_streams=2, keep_alive=0.2)
    server = serve(app, ("127.0.0.1", 0))
    eventlet.sleep(0)
    yield server
    server.stop()


class Reader:
    """A client of the stream, by hand."""

    def __init__(self, server: Server, *headers: str, token: str = "secret") -> None:
        self._socket = socket.create_connection(server.address, timeout=30)
        head = ["GET /v1/events HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}"]
        self._socket.sendall("\r\n".join([*head, *headers, "", ""]).encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def blocks(self, count: int) -> list[str]:
        """The next blocks (events and comments) of the stream, out of its chunks."""
        text = ""
        while text.count("\n\n") < count:
            size = int(self._file.readline(), 16)
            text += self._file.read(size).decode()
            self._file.readline()
        return text.split("\n\n")[:-1]

    def events(self, count: int) -> list[dict[str, Any]]:
        """The next events; comments are passed over."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            for block in self.blocks(1):
                if block.startswith(":"):
                    continue
                fields = dict(line.split(": ", 1) for line in block.split("\n"))
                fields["data"] = json.loads(fields["data"])
                found.append(fields)
        return found

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_a_stream_begins_with_now(server: Server, service: FakeService) -> None:
    service.events.publish("connected", gateway="gw1")
    reader = Reader(server)
    assert reader.status == 200
    assert reader.blocks(1) == [f": events of ofgtp\nid: {service.events.run}-1"]
    service.events.publish("repaired", gateway="gw1", flows=2)
    event = reader.events(1)[0]
    assert event["id"] == f"{service.events.run}-2"
    assert event["event"] == "repaired"
    at = event["data"].pop("at")
    assert at.endswith("Z")
    assert event["data"] == {"kind": "repaired", "gateway": "gw1", "flows": 2}
    reader.close()


def test_last_event_id_replays(server: Server, service: FakeService) -> None:
    for number in range(1, 1_201):
        service.events.publish("tick", number=number)
    run = service.events.run
    for last, first, count in ((f"{run}-1198", 1199, 2), ("0badcafe-1198", 1, 1_200)):
        reader = Reader(server, f"Last-Event-ID: {last}")
        shown = [event["data"]["number"] for event in reader.events(count)]
        assert shown == list(range(first, 1_201))
        reader.close()


def test_a_quiet_stream_shows_that_it_lives(server: Server, service: FakeService) -> None:
    reader = Reader(server)
    opening = f": events of ofgtp\nid: {service.events.run}-0"
    assert reader.blocks(3) == [opening, ": still here", ": still here"]
    reader.close()


def get(server: Server, path: str) -> int:
    connection = socket.create_connection(server.address, timeout=30)
    with connection, connection.makefile("rb") as answer:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n\r\n"
        connection.sendall(head.encode())
        return int(answer.readline().split()[1])


def test_streams_have_a_limit_of_their_own(server: Server) -> None:
    readers = [Reader(server), Reader(server)]
    assert [reader.status for reader in readers] == [200, 200]
    refused = Reader(server)
    assert refused.status == 429
    refused.close()
    assert get(server, "/v1/gateways") == 200
    readers[0].close()
    again = Reader(server)
    with eventlet.Timeout(30):
        while again.status != 200:  # that it has gone is noticed when something is sent to it
            again.close()
            eventlet.sleep(0.1)
            again = Reader(server)
    for reader in (*readers[1:], again):
        reader.close()


def test_a_stream_needs_the_token(server: Server) -> None:
    reader = Reader(server, token="guess")
    assert reader.status == 401
    reader.close()


def test_head_opens_no_stream(server: Server) -> None:
    for _ in range(5):
        with socket.create_connection(server.address, timeout=30) as connection:
            head = "Host: localhost\r\nAuthorization: Bearer secret\r\n\r\n"
            connection.sendall(f"HEAD /v1/events HTTP/1.1\r\n{head}".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert get(server, "/v1/gateways") == 200
