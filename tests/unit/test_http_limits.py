"""What one client may take of what all share: places, time, memory. Over real sockets."""

from __future__ import annotations

import contextlib
import errno
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import eventlet
import pytest
from eventlet.event import Event
from eventlet.green import socket
from fake_service import FakeService
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.northbound import rest
from ofgtp.northbound.http import limits
from ofgtp.northbound.http import server as server_module
from ofgtp.northbound.http.limits import Pace, Share
from ofgtp.northbound.http.server import Server, serve
from ofgtp.northbound.rest import RestApp
from ofgtp.northbound.service import BatchError, BatchResult, WrongLine
from tests.support.client import request

JSON, NDJSON = "application/json", "application/x-ndjson"
HEALTH = request("GET", "/v1/health")
SESSIONS = request("GET", "/v1/sessions")
EVENTS = request("GET", "/v1/events")
FLOWS = request("GET", "/v1/flows")
BATCH = request("POST", "/v1/sessions:batch", '{"op":"delete","id":"x"}\n', NDJSON)


class Service(FakeService):
    """With so many flows to write out, and batches that do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0
        self.closed = 0

    def flows_text(self, gateway: str | None) -> Iterator[str]:
        try:
            for _ in range(self.lines):
                yield "table=2,actions=drop" * 10
        finally:
            self.closed += 1

    def batch(self, ops: Any) -> BatchResult:
        self._enter()
        read = list(ops)
        if wrong := [(line, *op.errors[0]) for line, op in read if isinstance(op, WrongLine)]:
            raise BatchError(wrong)
        return BatchResult(0, 0, len(read))


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "LOOK_SECONDS", 0.02)


@pytest.fixture
def start(service: Service) -> Iterator[Callable[..., Server]]:
    """Starts a server; `options` are RestApp's."""
    servers: list[Server] = []

    def started(**options: Any) -> Server:
        servers.append(serve(RestApp(service, **options), ("127.0.0.1", 0)))
        return servers[-1]

    yield started
    for server in servers:
        server.stop()


class Connection:
    """A client by hand."""

    def __init__(self, server: Server, sent: bytes = b"", *, window: int | None = None) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if window is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.sock.settimeout(30)
        self.sock.connect(server.address)
        self.received = b""
        if sent:
            self.sock.sendall(sent)

    def send(self, sent: bytes) -> None:
        self.sock.sendall(sent)

    def status(self) -> int:
        """Of the next response, which is read to its end."""
        while b"\r\n\r\n" not in self.received:
            part = self.sock.recv(65536)
            if not part:
                raise ConnectionError("closed")
            self.received += part
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        lines = [line.split(b": ") for line in head.lower().split(b"\r\n")[1:]]
        size = int(dict(lines).get(b"content-length", b"0"))  # type: ignore[arg-type]
        while len(self.received) < size:
            self.received += self.sock.recv(65536)
        self.received = self.received[size:]
        return int(head.split()[1])

    def ask(self, sent: bytes) -> int:
        self.send(sent)
        return self.status()

    def ended(self) -> bool:
        """Whether the server has closed; waits a moment for it."""
        self.sock.settimeout(0.3)
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError as error:
            return error.errno in (errno.ECONNRESET, errno.EPIPE)
        return True


def asked(server: Server, sent: bytes = HEALTH) -> int:
    """The status that somebody gets who comes now."""
    connection = Connection(server)
    try:
        with eventlet.Timeout(20):
            return connection.ask(sent)
    finally:
        connection.sock.close()


def put(n: int) -> bytes:
    body = json.dumps({"ue_ip": f"10.45.1.{n}", "uplink": {"teid": n}})
    return request("PUT", f"/v1/sessions/s{n}", body, JSON)


def dripping(path: str = "/v1/sessions", kind: str = JSON, size: int = 60_000) -> bytes:
    """A request whose body has begun, and no more."""
    headers = {"Content-Length": str(size)}
    return request("POST", path, None, kind, headers) + b'{"ue_ip": '


def settle() -> None:
    for _ in range(20):
        eventlet.sleep(0.005)


# --- places


def test_streams_shut_nobody_out(start: Callable[..., Server]) -> None:
    """More streams of events are asked for than there are connections, and left open."""
    server = start()
    readers = [Connection(server, EVENTS) for _ in range(limits.CONNECTIONS + 20)]
    settle()
    for sent, status in ((HEALTH, 200), (SESSIONS, 200), (put(7), 201), (BATCH, 200)):
        assert asked(server, sent) == status
    assert asked(server, EVENTS) == 429
    streams = [each for each in readers[: rest.MAX_STREAMS] if each.status() == 200]
    assert len(streams) == rest.MAX_STREAMS
    for each in readers:
        each.sock.close()


def test_idle_connections_give_way_the_longest_first(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS", 4)
    server = start()
    idle = [Connection(server) for _ in range(4)]
    assert [each.ask(HEALTH) for each in idle] == [200] * 4
    assert idle[0].ask(HEALTH) == 200  # it is the last to have been idle now
    assert asked(server) == 200
    assert asked(server, SESSIONS) == 200
    assert [each.ended() for each in idle] == [False, True, False, False]
    assert len(server.connections) <= 4


def test_who_sends_half_a_header_gives_way(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS", 4)
    server = start()
    slow = [Connection(server, HEALTH[:-5]) for _ in range(4)]
    settle()
    for _ in range(3):
        assert asked(server) == 200
    assert [each.ended() for each in slow] == [True, False, False, False]


def test_when_nobody_can_give_way_it_is_said(
    start: Callable[..., Server], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS", 2)
    server = start()
    go_on = Event()
    service.hook = go_on.wait
    busy = [Connection(server, SESSIONS) for _ in range(2)]
    settle()
    refused = Connection(server)
    assert refused.status() == 429
    assert refused.ended()
    go_on.send()
    assert [each.status() for each in busy] == [200, 200]
    service.hook = lambda: None
    assert asked(server) == 200


# --- time


@pytest.mark.parametrize(
    ("sent", "status"), [(b"", None), (b"\r\n", None), (HEALTH[:9], 408), (HEALTH[:-2], 408)]
)
def test_who_sends_no_request_is_cut_off(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, sent: bytes, status: int | None
) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.2)
    connection = Connection(start(), sent)
    if status is not None:
        assert connection.status() == status
    assert connection.ended()


def test_an_octet_now_and_then_is_not_enough(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.3)
    connection = Connection(start())
    with pytest.raises(OSError):
        for _ in range(200):
            connection.send(b"A")
            eventlet.sleep(0.02)


def test_a_body_below_the_least_rate(
    start: Callable[..., Server], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRACE", 0.2)
    server = start()
    slow, quick = Connection(server, dripping()), Connection(server, dripping())
    for _ in range(20):
        quick.send(b" " * 2000)
        slow.send(b" ")
        eventlet.sleep(0.02)
        if slow.sock.fd.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) if _readable(slow) else b"":
            break
    assert slow.status() == 408
    assert slow.ended()
    assert not _readable(quick), "it is quick enough"
    quick.send(b" " * 60_000)
    assert quick.status() == 400
    assert service.sessions == {}


def _readable(connection: Connection) -> bool:
    try:
        return bool(connection.sock.fd.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
    except BlockingIOError:
        return False


def test_chunks_that_bring_nothing(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the body whose rate counts, not what is sent about it."""
    monkeypatch.setattr(limits, "GRACE", 0.2)
    headers = {"Transfer-Encoding": "chunked"}
    connection = Connection(start(), request("POST", "/v1/sessions", None, JSON, headers))
    connection.send(b"1;")
    with pytest.raises(OSError):
        for _ in range(500):
            connection.send(b"a" * 2000)
            eventlet.sleep(0.01)


def test_a_body_has_its_time_in_all(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(limits, "GRACE", 1000)
    connection = Connection(start(), dripping())
    assert connection.status() == 408
    assert connection.ended()


def test_a_header_that_does_not_end(start: Callable[..., Server]) -> None:
    server = start()
    for part in (b"A: ", b"A", b"A: b\r\n" * 50 + b"A: "):
        connection = Connection(server, HEALTH[:-2] + part)
        with contextlib.suppress(OSError):
            for _ in range(30):
                connection.send(b"b" * 10_000)
                eventlet.sleep(0.001)
        assert connection.status() == 431


# --- bodies


def test_dripping_bodies_shut_nobody_out(start: Callable[..., Server]) -> None:
    """They have no place among the requests under way: nothing is under way yet."""
    server = start()
    slow = [Connection(server, dripping()) for _ in range(rest.MAX_REQUESTS + 2)]
    slow += [Connection(server, dripping("/v1/sessions:batch", NDJSON)) for _ in range(4)]
    settle()
    for sent, status in ((HEALTH, 200), (SESSIONS, 200), (put(7), 201), (BATCH, 200)):
        assert asked(server, sent) == status
    for each in slow:
        each.sock.close()


@pytest.mark.parametrize(
    ("most", "path", "kind", "rest_of_it", "status"),
    [
        ("MAX_BODIES", "/v1/sessions", JSON, b'"10.45.0.2"}', 201),
        ("MAX_BATCHES", "/v1/sessions:batch", NDJSON, b"1}", 422),
    ],
)
def test_the_slowest_body_gives_way(
    start: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    most: str,
    path: str,
    kind: str,
    rest_of_it: bytes,
    status: int,
) -> None:
    monkeypatch.setattr(rest, most, 2)
    monkeypatch.setattr(limits, "PATIENCE", 0.05)
    server = start()
    size = len(b'{"ue_ip": ' + rest_of_it)
    quicker, slower = (Connection(server, dripping(path, kind)) for _ in range(2))
    settle()
    quicker.send(b" " * 20_000)
    settle()
    late = Connection(server, dripping(path, kind, size))
    assert slower.status() == 408
    assert slower.ended()
    assert late.ask(rest_of_it) == status
    quicker.send(b" " * 40_000)
    assert quicker.status() in (400, 422)


def test_a_body_more_than_there_is_room_for(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that have a place have just come: nobody is slow yet."""
    monkeypatch.setattr(rest, "MAX_BODIES", 2)
    server = start()
    some = [Connection(server, dripping()) for _ in range(3)]
    assert some[2].status() == 429
    assert some[2].ended()
    assert asked(server, put(7)) == 201, "which comes at once, and waits nowhere"
    for each in some[:2]:
        each.send(b" " * 60_000)
        assert each.status() == 400


def test_a_batch_that_drips_does_not_hold_others_up(
    start: Callable[..., Server], service: Service
) -> None:
    server = start()
    slow = Connection(server, dripping("/v1/sessions:batch", NDJSON, 11))
    settle()
    assert asked(server, BATCH) == 200
    goes_on = Event()

    def held() -> None:
        goes_on.wait()

    service.hook = held
    running = Connection(server, BATCH)
    settle()
    assert asked(server, BATCH) == 429, "one at a time"
    assert slow.ask(b"1") == 429
    goes_on.send()
    assert running.status() == 200


@pytest.mark.parametrize("declared", [True, False])
def test_no_more_of_a_body_is_kept_than_its_limit(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.1)
    server = start(body_limit=1000)
    headers = {"Content-Length": "100000000"} if declared else {"Transfer-Encoding": "chunked"}
    connection = Connection(server, request("POST", "/v1/sessions", None, JSON, headers))
    if not declared:
        connection.send(b"5F5E100\r\n" + b" " * 200_000)
    assert connection.status() == 413
    with pytest.raises(OSError):  # it is not read for ever
        for _ in range(1000):
            connection.send(b" " * 65_536)
            eventlet.sleep(0.01)


def test_who_sends_first_and_reads_then_is_told_all_the_same(start: Callable[..., Server]) -> None:
    """To close while a client still sends would take the response away from it."""
    server = start()
    sent = request("POST", "/v1/sessions", b" " * 8_000_000, JSON)
    connection = Connection(server)
    connection.send(sent)
    assert connection.status() == 413
    assert connection.ended()
    connection = Connection(server, HEALTH + b"nonsense\r\n\r\n" + b"x" * 8_000_000)
    assert [connection.status() for _ in range(2)] == [200, 501]


# --- readers


def test_a_reader_that_has_stopped(
    start: Callable[..., Server], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of much that is written out: it is cut off, and its place is free again."""
    monkeypatch.setattr(limits, "GRACE", 0.2)
    service.lines = 500_000
    server = start(max_requests=1)
    reader = Connection(server, FLOWS, window=4096)
    eventlet.sleep(0.1)
    assert asked(server, SESSIONS) == 429
    with eventlet.Timeout(30):
        while not service.closed:
            eventlet.sleep(0.02)
    assert asked(server, SESSIONS) == 200
    reader.sock.close()


def test_the_slowest_reader_gives_way(
    start: Callable[..., Server], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WRITERS", 2)
    monkeypatch.setattr(limits, "PATIENCE", 0.05)
    service.lines = 500_000
    server = start()
    readers = [Connection(server, FLOWS, window=4096) for _ in range(2)]
    settle()
    assert service.closed == 0
    readers.append(Connection(server, FLOWS, window=4096))
    with eventlet.Timeout(30):
        while not service.closed:
            eventlet.sleep(0.02)
    assert service.closed == 1
    assert asked(server, SESSIONS) == 200
    for each in readers:
        each.sock.close()


def test_a_stream_that_nobody_reads_ends(
    start: Callable[..., Server], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRACE", 0.2)
    server = start(max_streams=1)
    reader = Connection(server, EVENTS, window=4096)
    settle()
    assert asked(server, EVENTS) == 429
    status = 429
    with eventlet.Timeout(60):
        while status == 429:
            for _ in range(500):
                service.events.publish("tick", text="x" * 500)
            status = asked(server, EVENTS)
    assert status == 200
    reader.sock.close()


def test_a_slow_reader_that_reads_on_gets_all(
    start: Callable[..., Server], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRACE", 0.3)
    service.lines = 60_000
    reader = Connection(start(), FLOWS, window=65_536)
    received = b""
    while not received.endswith(b"\r\n0\r\n\r\n"):
        part = reader.sock.recv(400_000)
        assert part, "it was cut off"
        received += part
        eventlet.sleep(0.01)
    assert received.count(b"table=2") == 600_000


# --- no room for a connection


class Failing:
    """A listener that has errors to tell first."""

    def __init__(self, listener: Any, errors: list[int]) -> None:
        self._listener, self._errors = listener, errors

    def accept(self) -> Any:
        if self._errors:
            raise OSError(self._errors.pop(0), "a test")
        return self._listener.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


@pytest.mark.parametrize(
    "error",
    [
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED),
        *(errno.EPROTO, errno.EPERM, errno.EINTR),
    ],
)
def test_errors_of_accept_end_nothing(
    monkeypatch: pytest.MonkeyPatch, error: int, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "PAUSE_SECONDS", 0.01)
    listener = Failing(eventlet.listen(("127.0.0.1", 0)), [error] * 5)
    server = Server(listener, RestApp(FakeService()))
    assert asked(server) == 200
    told = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert len(told) <= 1, "once, and not each time"
    server.stop()


def test_descriptors_run_out(tmp_path: Path) -> None:
    """In a process of its own that has 40: clients take all of them, and stay."""
    code = (
        "import resource, sys, eventlet\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from fake_service import FakeService\n"
        "from ofgtp.northbound.http.server import serve\n"
        "from ofgtp.northbound.rest import RestApp\n"
        "server = serve(RestApp(FakeService()), ('127.0.0.1', 0))\n"
        "print(server.address[1], flush=True)\n"
        "while True: eventlet.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = ("127.0.0.1", int(process.stdout.readline()))
    try:
        idle = [socket.create_connection(address, timeout=30) for _ in range(80)]
        for _ in range(3):
            with socket.create_connection(address, timeout=30) as connection:
                connection.sendall(HEALTH)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert process.poll() is None
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) <= 40
        for each in idle:
            each.close()
    finally:
        process.kill()
        process.communicate()


# --- fairness


def test_a_client_that_asks_for_much_at_once_is_not_the_only_one(
    start: Callable[..., Server], service: Service
) -> None:
    """Each response is small, and takes some time to make: nothing waits for the client."""
    server = start()
    service.hook = lambda: burn(0.002)
    greedy = Connection(server, HEALTH * 300)
    assert longest(lambda: [greedy.status() for _ in range(300)]) < 0.1


def test_a_response_that_costs_much(start: Callable[..., Server], service: Service) -> None:
    """And fits into what the kernel takes at once."""

    def flows(gateway: str | None) -> Iterator[str]:
        for n in range(20_000):
            if n % 100 == 0:
                burn(0.002)
            yield "-"

    service.flows_text = flows  # type: ignore[method-assign]
    reader = Connection(start(), FLOWS)
    assert longest(lambda: len(reader.sock.recv(100)) == 100 and reader.ended()) < 0.1


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def longest(work: Callable[[], object]) -> float:
    """The most of the processor's time between two turns of a green thread while this is done."""
    found, last = 0.0, time.thread_time()

    def tick() -> None:
        nonlocal found, last
        while True:
            eventlet.sleep(0)
            now = time.thread_time()
            found, last = max(found, now - last), now

    ticking = eventlet.spawn(tick)
    work()
    eventlet.sleep(0)
    ticking.kill()
    return found


# --- shares


class Member:
    def __init__(self, age: float, octets: int) -> None:
        self.pace = Pace()
        self.pace.since -= age
        self.pace.octets = octets
        self.gave_way = 0

    def give_way(self) -> None:
        self.gave_way += 1


def test_the_slowest_of_those_that_had_time() -> None:
    share = Share(3)
    young = Member(limits.PATIENCE / 2, 0)
    slow, slower = Member(limits.PATIENCE * 10, 2000), Member(limits.PATIENCE * 5, 10)
    assert [share.enter(each) for each in (young, slow, slower)] == [True] * 3
    assert share.enter(Member(0, 0))
    assert (young.gave_way, slow.gave_way, slower.gave_way) == (0, 0, 1)
    assert share.enter(Member(0, 0))
    assert (young.gave_way, slow.gave_way, slower.gave_way) == (0, 1, 1)
    assert not share.enter(Member(0, 0))
    assert len(share) == 3
    share.leave(slow)
    assert len(share) == 3, "it had none any more"
    share.leave(young)
    assert share.enter(Member(0, 0))


@given(st.floats(0, 1000), st.integers(0, 10**6))
def test_the_least_rate(age: float, octets: int) -> None:
    pace = Pace()
    pace.octets = octets
    assert pace.too_slow(pace.since + age) == (octets < limits.RATE * (age - limits.GRACE))
    assert not pace.too_slow(pace.since)


def test_there_are_descriptors_for_all_connections() -> None:
    """With the usual limit of 1024, and those of the switches and the store beside them."""
    assert limits.CONNECTIONS < 512 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert rest.MAX_REQUESTS + rest.MAX_STREAMS + rest.MAX_BODIES + limits.WRITERS + 40 < (
        limits.CONNECTIONS
    ), "so many cannot give way"
