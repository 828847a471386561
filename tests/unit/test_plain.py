"""The quick way of a PUT that makes a session: it does what the general way does, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import eventlet
import pytest
from eventlet.green import socket
from fake_service import GATEWAY, WHEN, FakeService
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.errors import StoreError, SwitchRefused
from ofgtp.core.model import TEID_MAX, BatchPut, FTeid, Qos, Session, SessionState, Uplink
from ofgtp.northbound import plain, schema
from ofgtp.northbound.rest import RestApp
from ofgtp.northbound.serve import Server, serve
from ofgtp.northbound.service import Counters, NewSession, SessionView

TOKEN = "s3cret"
BODY = json.dumps(
    {
        "ue_ip": "10.45.0.2",
        "uplink": {"teid": 4097},
        "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"},
    }
).encode()
HEAD = b"Host: localhost:8080\r\nContent-Type: application/json\r\nAuthorization: Bearer s3cret\r\n"


def request(
    body: bytes = BODY, head: bytes = HEAD, path: bytes = b"/v1/sessions/a:1", length: int = -1
) -> bytes:
    size = len(body) if length < 0 else length
    return b"PUT %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (path, head, size, body)


class Counting(FakeService):
    """Notes what came the quick way."""

    def __init__(self) -> None:
        super().__init__()
        self.quick = 0

    def put_new(self, put: BatchPut) -> NewSession | None:
        made = super().put_new(put)
        self.quick += made is not None
        return made


@pytest.fixture
def service() -> Counting:
    return Counting()


@pytest.fixture
def server(service: Counting) -> Iterator[Server]:
    server = serve(RestApp(service, token=TOKEN), ("127.0.0.1", 0))
    eventlet.sleep(0)
    yield server
    server.stop()


def send(server: Server, *parts: bytes) -> bytes:
    """Send, say that this was all, and read what comes."""
    with socket.create_connection(server.address, timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
            eventlet.sleep(0.01)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def exchange(server: Server, *parts: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of each response to what is sent."""
    received, found = send(server, *parts), []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        size = int(headers["content-length"])
        found.append((int(first.split()[1]), headers, received[:size]))
        received = received[size:]
    return found


def test_the_same_response_both_ways(service: Counting, server: Server) -> None:
    ((status, quick, body),) = exchange(server, request())
    assert service.quick == 1
    service.sessions.clear()
    # A header that the quick way does not know.
    ((general_status, general, general_body),) = exchange(server, request(head=HEAD + b"X: y\r\n"))
    assert service.quick == 1
    assert status == general_status == 201
    for headers in (quick, general):
        assert headers.pop("date").endswith("GMT")
        del headers["content-length"]
    assert quick == general
    shown, general_shown = json.loads(body), json.loads(general_body)
    assert shown.pop("counters") == {
        way: {"packets": 0, "bytes": 0} for way in ("uplink", "downlink")
    }
    del general_shown["counters"]
    assert shown == general_shown


@pytest.mark.parametrize(
    "asked",
    [
        request(head=HEAD.replace(b"localhost:8080", b"evil.example")),
        request(head=HEAD.replace(b"s3cret", b"guess")),
        request(head=HEAD.replace(b"Bearer", b"Basic")),
        request(head=HEAD.replace(b"application/json", b"text/plain")),
        request(head=HEAD + b"Host: localhost\r\n"),
        request(head=HEAD + b"Connection: close\r\n"),
        request(head=HEAD + b"Transfer-Encoding: chunked\r\n"),
        request(head=HEAD + b"Expect: 100-continue\r\n"),
        request(head=HEAD + b"Accept: a\r\n folded\r\n"),
        request(head=HEAD + b"Content-Length: 1\r\n"),
        request(head=HEAD + "Accept: é\r\n".encode()),
        request(path=b"/v1/sessions/a?b=c"),
        request(path=b"/v1/sessions/a%3A1"),
        request(path=b"/v1/sessions/a/flows"),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request().replace(b"PUT", b"PATCH"),
        request().replace(b"\r\n", b"\n"),
        request(BODY.replace(b"10.45.0.2", b"10.45.0.256")),
        request(BODY.replace(b"4097", b'"0x1001"')),
        request(BODY.replace(b"4097", b"0")),
        request(BODY.replace(b"4097", b"true")),
        request(BODY.replace(b'"uplink"', b'"uplinks"')),
        request(BODY.replace(b"{", b'{"id": "another", ', 1)),
        request(b"[]"),
        request(b"{"),
        request(b""),
        request(length=len(BODY) + 1),
    ],
)
def test_whatever_is_unusual_goes_the_general_way(
    service: Counting, server: Server, asked: bytes
) -> None:
    assert plain.put(request()) is not None
    send(server, asked)
    assert service.quick == 0


def test_requests_one_behind_the_other(service: Counting, server: Server) -> None:
    asked = [
        request(BODY.replace(b"10.45.0.2", b"10.45.0.%d" % n), path=b"/v1/sessions/s%d" % n)
        for n in range(2, 40)
    ]
    assert [status for status, _, _ in exchange(server, b"".join(asked))] == [201] * len(asked)
    assert service.quick >= len(asked) - 4  # those that the end of a buffer cuts in two are not


def test_what_is_there_already_is_replaced(service: Counting, server: Server) -> None:
    assert [status for status, _, _ in exchange(server, request(), request())] == [201, 200]
    assert service.quick == 1


@pytest.mark.parametrize("part", [1, 40, len(request()) - len(BODY), len(request()) - 1])
def test_in_two_parts(service: Counting, server: Server, part: int) -> None:
    whole = request()
    ((status, _, _),) = exchange(server, whole[:part], whole[part:])
    assert status == 201


@pytest.mark.parametrize(
    ("error", "status"), [(StoreError("disk full"), 503), (SwitchRefused("table full"), 502)]
)
def test_errors_are_told_by_the_general_way(
    service: Counting, server: Server, error: Exception, status: int
) -> None:
    service.error = error
    ((told, _, body),) = exchange(server, request())
    assert told == status
    assert str(error) in json.loads(body)["detail"]


def test_too_many_at_once(service: Counting) -> None:
    app = RestApp(service, max_requests=1)
    sent: list[bytes] = []
    inside: list[int] = []

    def meanwhile() -> None:
        service.hook = lambda: None
        inside.append(app.quick(request(path=b"/v1/sessions/b"), sent.append))

    service.hook = meanwhile
    assert app.quick(request(), sent.append) == len(request())
    assert inside == [0]
    assert len(sent) == 1


def test_a_client_that_is_gone(service: Counting, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: bytes) -> None:
        raise BrokenPipeError

    app = RestApp(service)
    with caplog.at_level("INFO"), pytest.raises(BrokenPipeError):
        app.quick(request(), broken)
    assert "a:1" in service.sessions
    assert "PUT /v1/sessions/a:1 201" in caplog.text
    # And it does not count as under way any more.
    for n in range(100):
        put = BODY.replace(b"10.45.0.2", b"10.45.1.%d" % n)
        assert app.quick(request(put, path=b"/v1/sessions/s%d" % n), lambda _: None)


ADDRESS = st.integers(0, 2**32 - 1)
TEID = st.integers(1, TEID_MAX)
TIME = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))


QOS = st.none() | st.builds(
    Qos, st.integers(1, 63), rqi=st.booleans(), required=st.booleans(), check=st.booleans()
)


@given(ADDRESS, TEID, st.none() | ADDRESS, st.none() | st.tuples(TEID, ADDRESS), TIME, QOS)
def test_the_json_of_a_new_session(
    ue_ip: int,
    teid: int,
    peer: int | None,
    far: tuple[int, int] | None,
    at: datetime,
    qos: Qos | None,
) -> None:
    number = 0 if qos is None else qos.number
    put = BatchPut("a:1@b.c_d-e", "gw1", ue_ip, teid, peer, *(far or (None, None)), number)
    pinned = None if peer is None else IPv4Address(peer)
    down = None if far is None else FTeid(far[0], IPv4Address(far[1]))
    session = Session(
        7, "a:1@b.c_d-e", "gw1", IPv4Address(ue_ip), Uplink(teid, pinned), down, qos=qos
    )
    local, zero = GATEWAY.access_ip.ip, Counters(0, 0)
    for state in (SessionState.ACTIVE, SessionState.PENDING):
        view = SessionView(session, state, None, local, at, at, zero, zero)
        told = schema.new_session(NewSession(put, "gw1", local, state, at))
        assert told == schema.SessionOutput.of(view).model_dump_json(exclude_unset=True)


def test_times_without_a_fraction() -> None:
    assert '"created_at":"2026-01-02T03:04:05Z"' in schema.new_session(
        NewSession(
            BatchPut("a", "gw1", 1, 1, None, None, None),
            "gw1",
            GATEWAY.access_ip.ip,
            SessionState.ACTIVE,
            WHEN - timedelta(microseconds=WHEN.microsecond),
        )
    )
