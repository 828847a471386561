"""The quick way to make a session: it does what the general way does, or nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import eventlet
import pytest
from fake_service import GATEWAY, WHEN, FakeService
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.errors import StoreError, SwitchRefused
from ofgtp.core.model import TEID_MAX, BatchPut, FTeid, Qos, Session, SessionState, Uplink
from ofgtp.northbound import schema, shown
from ofgtp.northbound.rest import RestApp
from ofgtp.northbound.service import FlowCounters, NewSession, SessionView
from tests.support.client import Client, TestResponse

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
def client(service: Counting) -> Client:
    return Client(RestApp(service, token=TOKEN))


def exchange(client: Client, sent: bytes, count: int) -> list[TestResponse]:
    """The responses to what is sent."""
    with client.exchange(sent, "PUT") as connection:
        connection.end()
        return [connection.response() for _ in range(count)]


def test_the_same_response_both_ways(service: Counting, client: Client) -> None:
    quick = client.raw(request())
    assert service.quick == 1
    service.sessions.clear()
    # A TEID as the quick way does not read it.
    general = client.raw(request(BODY.replace(b"4097", b'"0x1001"')))
    assert service.quick == 1
    assert quick.status_code == general.status_code == 201
    for each in (quick, general):
        assert each.headers.pop("date").endswith("GMT")
    assert quick.headers == general.headers
    assert quick.data == general.data


def test_a_post_goes_the_same_way(service: Counting, client: Client) -> None:
    body = BODY.replace(b"{", b'{"id": "a:1", ', 1)
    sent = request(body, path=b"/v1/sessions").replace(b"PUT", b"POST", 1)
    made = client.raw(sent)
    assert service.quick == 1
    assert (made.status_code, made.headers["Location"]) == (201, "/v1/sessions/a:1")
    assert client.raw(sent).status_code == 409
    assert service.quick == 1


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request(head=HEAD.replace(b"localhost:8080", b"evil.example")), 421),
        (request(head=HEAD.replace(b"s3cret", b"guess")), 401),
        (request(head=HEAD.replace(b"Bearer", b"Basic")), 401),
        (request(head=HEAD.replace(b"application/json", b"text/plain")), 415),
        (request(head=HEAD + b"Host: localhost\r\n"), 400),
        (request(head=HEAD + b"Transfer-Encoding: chunked\r\n"), 400),
        (request(head=HEAD + b"Accept: a\r\n folded\r\n"), 400),
        (request(head=HEAD + b"Content-Length: 1\r\n"), 400),
        (request(path=b"/v1/sessions/a?b=c"), 422),
        (request(path=b"/v1/sessions/a/flows"), 405),
        (request().replace(b"\r\n", b"\n"), 400),
        (request(BODY.replace(b"10.45.0.2", b"10.45.0.256")), 422),
        (request(BODY.replace(b"4097", b"0")), 422),
        (request(BODY.replace(b"4097", b"true")), 422),
        (request(BODY.replace(b"4097", b"NaN")), 400),
        (request(BODY.replace(b'{"teid": 4097', b'{"teid": NaN, "teid": 4097')), 400),
        (request(BODY.replace(b'{"teid": 4097', b'{"teid": 4096, "teid": 4097')), 400),
        (request(BODY.replace(b'{"teid": 4097', b'{"teid" :1, "\\u0074eid": 4097')), 400),
        (request(BODY.replace(b"{", b'{"id": "a\\u003a1", "ue_ip": "x", ', 1)), 400),
        (request(BODY.replace(b'"uplink"', b'"uplinks"')), 422),
        (request(BODY.replace(b"{", b'{"id": "another", ', 1)), 422),
        (request(b"[]"), 422),
        (request(b"{"), 400),
        (request(b""), 400),
        (request(length=len(BODY) + 1), 400),
    ],
)
def test_whatever_is_wrong_goes_the_general_way(
    service: Counting, client: Client, asked: bytes, status: int
) -> None:
    assert client.raw(asked).status_code == status
    assert service.quick == 0
    assert service.sessions == {}


@pytest.mark.parametrize(
    "asked",
    [
        request(head=HEAD + b"Connection: close\r\n"),
        request(head=HEAD + b"Expect: 100-continue\r\n"),
        request(head=HEAD + "Accept: é\r\n".encode()),
        request(head=HEAD + b"X: y\r\n"),
        request(path=b"/v1/sessions/a%3A1"),
        request(path=b"http://localhost/v1/sessions/a:1"),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_odd_requests_go_the_quick_way_all_the_same(
    service: Counting, client: Client, asked: bytes
) -> None:
    assert client.raw(asked).status_code == 201
    assert service.quick == 1
    assert [*service.sessions] == ["a:1"]


def test_requests_one_behind_the_other(service: Counting, client: Client) -> None:
    asked = [
        request(BODY.replace(b"10.45.0.2", b"10.45.0.%d" % n), path=b"/v1/sessions/s%d" % n)
        for n in range(2, 40)
    ]
    with client.exchange(b"".join(asked), "PUT") as connection:
        connection.end()
        assert connection.rest().count(b"HTTP/1.1 201 ") == len(asked)
    assert service.quick == len(asked)


def test_what_is_there_already_is_replaced(service: Counting, client: Client) -> None:
    assert [client.raw(request()).status_code for _ in range(2)] == [201, 200]
    assert service.quick == 1


@pytest.mark.parametrize("part", [1, 40, len(request()) - len(BODY), len(request()) - 1])
def test_in_two_parts(service: Counting, client: Client, part: int) -> None:
    whole = request()
    with client.exchange(whole[:part], "PUT") as connection:
        connection.more(whole[part:])
        assert connection.response().status_code == 201
    assert service.quick == 1


@pytest.mark.parametrize(
    ("error", "status"), [(StoreError("disk full"), 503), (SwitchRefused("table full"), 502)]
)
def test_errors_are_told_by_the_general_way(
    service: Counting, client: Client, error: Exception, status: int
) -> None:
    service.error = error
    told = client.raw(request())
    assert told.status_code == status
    assert str(error) in told.json["detail"]


def test_too_many_at_once(service: Counting) -> None:
    client = Client(RestApp(service, max_requests=1))
    inside: list[TestResponse] = []

    def meanwhile() -> None:
        service.hook = lambda: None
        inside.append(client.raw(request(path=b"/v1/sessions/b")))

    service.hook = meanwhile
    assert client.raw(request()).status_code == 201
    assert [response.status_code for response in inside] == [429]
    assert [*service.sessions] == ["a:1"]


def test_a_client_that_is_gone(service: Counting, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(RestApp(service, max_requests=1))
    service.hook = lambda: eventlet.sleep(0.05)
    with caplog.at_level("INFO"):
        client.exchange(request(), "PUT").close()
    service.hook = lambda: None
    assert "a:1" in service.sessions
    assert "PUT /v1/sessions/a:1 201" in caplog.text
    assert not [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")]
    # And it does not count as under way any more.
    for n in range(10):
        put = BODY.replace(b"10.45.0.2", b"10.45.1.%d" % n)
        assert client.raw(request(put, path=b"/v1/sessions/s%d" % n)).status_code == 201


ADDRESS = st.integers(0, 2**32 - 1)
TEID = st.integers(1, TEID_MAX)
TIME = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))


QOS = st.none() | st.builds(
    Qos, st.integers(1, 63), rqi=st.booleans(), required=st.booleans(), check=st.booleans()
)
COUNTERS = st.none() | st.builds(FlowCounters, *[st.integers(0, 1 << 64)] * 3)


def model(view: SessionView) -> str:
    """What the schema makes of a view."""
    it, up, down = view.session, view.session.uplink, view.session.downlink
    qos = it.qos or Qos(0, required=False)
    counters = None
    if view.uplink is not None and view.downlink is not None:
        counters = {
            way: {"packets": each.packets, "bytes": each.bytes, "duration_seconds": each.seconds}
            for way, each in (("uplink", view.uplink), ("downlink", view.downlink))
        }
    text = None if view.local_ip is None else str(view.local_ip)
    peer = None if up.remote_ip is None else str(up.remote_ip)
    made = {
        "id": it.id,
        "gateway": it.gateway,
        "ue_ip": str(it.ue_ip),
        "uplink": {"teid": up.teid, "local_ip": text, "remote_ip": peer},
        "downlink": None if down is None else {"teid": down.teid, "remote_ip": str(down.ip)},
        "qfi": qos.qfi or None,
        "rqi": qos.rqi,
        "qfi_required": qos.required,
        "qfi_check": qos.check,
        "state": view.state,
        "reason": view.reason,
        "created_at": view.created_at,
        "updated_at": view.updated_at,
        "counters": counters,
    }
    return schema.SessionOutput.model_validate(made, extra="forbid").model_dump_json(
        exclude_unset=True
    )


@given(
    *(ADDRESS, TEID, st.none() | ADDRESS, st.none() | st.tuples(TEID, ADDRESS), TIME, TIME, QOS),
    *(st.sampled_from(SessionState), st.none() | st.text(alphabet='ab"\\\n{}<'), st.booleans()),
    st.tuples(COUNTERS, COUNTERS),
)
def test_the_json_of_a_session(
    ue_ip: int,
    teid: int,
    peer: int | None,
    far: tuple[int, int] | None,
    made: datetime,
    changed: datetime,
    qos: Qos | None,
    state: SessionState,
    reason: str | None,
    known: bool,
    counters: tuple[FlowCounters | None, FlowCounters | None],
) -> None:
    """Written by hand, it is what the schema says, to the octet."""
    pinned = None if peer is None else IPv4Address(peer)
    down = None if far is None else FTeid(far[0], IPv4Address(far[1]))
    session = Session(
        7, "a:1@b.c_d-e", "gw1", IPv4Address(ue_ip), Uplink(teid, pinned), down, qos=qos
    )
    local, zero = GATEWAY.access_ip.ip if known else None, FlowCounters(0, 0, 0)
    view = SessionView(session, state, reason, local, made, changed, *counters)
    assert shown.session(view) == model(view)
    number = 0 if qos is None else qos.number
    put = BatchPut("a:1@b.c_d-e", "gw1", ue_ip, teid, peer, *(far or (None, None)), number)
    view = SessionView(session, state, None, GATEWAY.access_ip.ip, made, made, zero, zero)
    told = shown.new_session(NewSession(put, "gw1", GATEWAY.access_ip.ip, state, made))
    assert told == model(view)


def test_times_without_a_fraction() -> None:
    assert '"created_at":"2026-01-02T03:04:05Z"' in shown.new_session(
        NewSession(
            BatchPut("a", "gw1", 1, 1, None, None, None),
            "gw1",
            GATEWAY.access_ip.ip,
            SessionState.ACTIVE,
            WHEN - timedelta(microseconds=WHEN.microsecond),
        )
    )
