"""Requests as bytes: what is no request of HTTP/1.1 is refused, with a problem document, and the
connection ends; what is one is served, however odd it looks (RFC 9110, 9112)."""

from __future__ import annotations

import json
import re

import pytest
from fake_service import FakeService

from ofgtp.northbound import schema
from ofgtp.northbound.http import limits
from ofgtp.northbound.http.response import Response
from ofgtp.northbound.rest import RestApp
from tests.support.client import Client, TestResponse

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
BODY = b'{"ue_ip":"10.45.0.2"}'
CHUNKED = b"Transfer-Encoding: chunked\r\n"
IN_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Client:
    return Client(RestApp(service, host="10.0.0.1", hosts=["gw.example"]))


def get(*lines: bytes, target: bytes = b"/v1/health", version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET %b %b\r\n" % (target, version) + b"".join(lines) + b"\r\n"


def post(*lines: bytes, body: bytes = BODY, version: bytes = b"HTTP/1.1") -> bytes:
    head = b"POST /v1/sessions %b\r\n" % version + HOST + JSON
    return head + b"".join(lines) + b"\r\n" + body


def length(value: bytes) -> bytes:
    return b"Content-Length: %b\r\n" % value


def refused(response: TestResponse, status: int) -> None:
    """A problem document, as the last that comes."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    schema.Problem.model_validate(json.loads(response.data))
    assert response.headers["Connection"] == "close"


SIZE = b"%d" % len(BODY)

WRONG: dict[str, tuple[bytes, int]] = {
    # how long the body is
    "lengths that differ": (post(length(SIZE), length(b"9")), 400),
    "the same length twice": (post(length(SIZE), length(SIZE)), 400),
    "lengths in a list": (post(length(SIZE + b", " + SIZE)), 400),
    "length with a sign": (post(length(b"+" + SIZE)), 400),
    "length below 0": (post(length(b"-1")), 400),
    "length with _": (post(length(b"2_1")), 400),
    "length in hex": (post(length(b"0x15")), 400),
    "no number": (post(length(b"")), 400),
    "a space in the number": (post(length(b"2 1")), 400),
    "length of 2^64": (post(length(b"18446744073709551637")), 400),
    "space before the colon": (post(b"Content-Length : %b\r\n" % SIZE), 400),
    "length and chunks": (post(length(SIZE), CHUNKED, body=IN_CHUNKS), 400),
    "chunks and length": (post(CHUNKED, length(SIZE), body=IN_CHUNKS), 400),
    "chunked, with a space": (post(b"Transfer-Encoding : chunked\r\n", body=IN_CHUNKS), 400),
    "chunked behind a tab": (post(b"Transfer-Encoding:\x0bchunked\r\n", body=IN_CHUNKS), 400),
    "chunked twice": (post(CHUNKED, CHUNKED, body=IN_CHUNKS), 400),
    "not chunked at last": (post(b"Transfer-Encoding: chunked, gzip\r\n", body=IN_CHUNKS), 400),
    "identity": (post(b"Transfer-Encoding: identity\r\n", body=IN_CHUNKS), 501),
    "xchunked": (post(b"Transfer-Encoding: xchunked\r\n", body=IN_CHUNKS), 501),
    "in quotes": (post(b'Transfer-Encoding: "chunked"\r\n', body=IN_CHUNKS), 501),
    "gzip": (post(b"Transfer-Encoding: gzip, chunked\r\n", body=IN_CHUNKS), 501),
    "no coding": (post(b"Transfer-Encoding: \r\n", body=IN_CHUNKS), 400),
    "chunks in HTTP/1.0": (post(CHUNKED, body=IN_CHUNKS, version=b"HTTP/1.0"), 400),
    # chunks
    "chunk size +15": (post(CHUNKED, body=b"+" + IN_CHUNKS), 400),
    "chunk size 0x15": (post(CHUNKED, body=b"0x" + IN_CHUNKS), 400),
    "chunk size 0_15": (post(CHUNKED, body=b"0_" + IN_CHUNKS), 400),
    "chunk size -15": (post(CHUNKED, body=b"-" + IN_CHUNKS), 400),
    "chunk size behind a space": (post(CHUNKED, body=b" " + IN_CHUNKS), 400),
    "chunk size and a space": (post(CHUNKED, body=IN_CHUNKS.replace(b"\r\n", b" \r\n", 1)), 400),
    "no chunk size": (post(CHUNKED, body=b"\r\n" + IN_CHUNKS), 400),
    "chunk size of 2^64": (post(CHUNKED, body=b"10000000000000015" + IN_CHUNKS[2:]), 400),
    "chunks with bare LF": (post(CHUNKED, body=IN_CHUNKS.replace(b"\r\n", b"\n")), 400),
    "one bare LF": (post(CHUNKED, body=IN_CHUNKS.replace(b"\r\n", b"\n", 1)), 400),
    "nothing behind a chunk": (post(CHUNKED, body=IN_CHUNKS.replace(b"}\r\n", b"}")), 400),
    "LF in an extension": (post(CHUNKED, body=IN_CHUNKS.replace(b"\r\n", b";a\nb\r\n", 1)), 400),
    "length in the trailer": (post(CHUNKED, body=IN_CHUNKS[:-2] + length(b"5") + b"\r\n"), 400),
    # lines
    "bare LF": (get(HOST).replace(b"\r\n", b"\n"), 400),
    "bare LF in the header": (get(b"Host: localhost\nA: b\r\n"), 400),
    "bare LF at the end": (get(HOST)[:-2] + b"\n", 400),
    "bare CR": (get(b"Host: localhost\rA: b\r\n"), 400),
    "a folded line": (get(HOST, b"A: b\r\n c\r\n"), 400),
    "a folded first line": (get(b" " + HOST), 400),
    "NUL in a value": (get(HOST, b"A: b\0c\r\n"), 400),
    "NUL in a name": (get(HOST, b"A\0b: c\r\n"), 400),
    "a control character": (get(HOST, b"A: b\x01c\r\n"), 400),
    "no colon": (get(HOST, b"A\r\n"), 400),
    "no name": (get(HOST, b": b\r\n"), 400),
    "a name with a space": (get(HOST, b"A b: c\r\n"), 400),
    "a name in UTF-8": (get(HOST, "Ä: b\r\n".encode()), 400),
    # whom it is for
    "two hosts": (get(HOST, b"Host: gw.example\r\n"), 400),
    "the same host twice": (get(HOST, HOST), 400),
    "no host": (get(), 400),
    "no host in HTTP/1.0": (get(version=b"HTTP/1.0"), 400),
    "an empty host": (get(b"Host: \r\n"), 400),
    "a host with a path": (get(b"Host: localhost/x\r\n"), 400),
    "a user before the host": (get(b"Host: x@localhost\r\n"), 400),
    "a host with a space": (get(b"Host: local host\r\n"), 400),
    "a port that is none": (get(b"Host: localhost:80x\r\n"), 400),
    "a URL without a Host header": (get(target=b"http://localhost/v1/health"), 400),
    "a URL, and a Host that is none": (get(b"Host: a b\r\n", target=b"http://localhost/"), 400),
    "a URL without a host": (get(HOST, target=b"http:///v1/health"), 400),
    "a URL with a user": (get(HOST, target=b"http://a@localhost/v1/health"), 400),
    "a URL of another scheme": (get(HOST, target=b"ftp://localhost/v1/health"), 400),
    "https": (get(HOST, target=b"https://localhost/v1/health"), 421),
    "* that is no OPTIONS": (get(HOST, target=b"*"), 400),
    "a relative path": (get(HOST, target=b"v1/health"), 400),
    "a fragment": (get(HOST, target=b"/v1/health#a"), 400),
    "a target in UTF-8": (get(HOST, target="/ä".encode()), 400),
    "a control character in the target": (get(HOST, target=b"/v1/\x01"), 400),
    "NUL in the target": (get(HOST, target=b"/v1/\0"), 400),
    "CONNECT": (b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    # the first line
    "an unknown method": (get(HOST).replace(b"GET", b"FETCH", 1), 501),
    "a method in small letters": (get(HOST).replace(b"GET", b"get", 1), 501),
    "HTTP/0.9": (b"GET /v1/health\r\n\r\n", 505),
    "HTTP/0.9, named": (get(HOST, version=b"HTTP/0.9"), 505),
    "HTTP/1.2": (get(HOST, version=b"HTTP/1.2"), 400),
    "HTTP/2.0": (get(HOST, version=b"HTTP/2.0"), 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "another protocol": (get(HOST, version=b"HTTQ/1.1"), 400),
    "a space at its end": (get(HOST, version=b"HTTP/1.1 "), 400),
    "tabs": (get(HOST).replace(b" ", b"\t", 2), 501),
    "a space before it": (b" " + get(HOST), 501),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 501),
    "noise": (b"\0" * 100, 501),
    # too much of it
    "many header lines": (get(HOST, *[b"A: b\r\n"] * limits.HEADERS), 431),
    "a long header line": (get(HOST, b"A: %b\r\n" % (b"b" * limits.HEAD_LIMIT)), 431),
    "a long name": (get(HOST, b"a" * limits.HEAD_LIMIT + b": b\r\n"), 431),
    "long header lines": (get(HOST, *[b"A: %b\r\n" % (b"b" * 1000)] * 17), 431),
    "a header without an end": (get(HOST)[:-2] + b"A: " + b"b" * 200_000, 431),
    "many trailers": (post(CHUNKED, body=IN_CHUNKS[:-2] + b"A: b\r\n" * 100 + b"\r\n"), 431),
    "a long target": (get(HOST, target=b"/" + b"a" * limits.TARGET_LIMIT), 414),
    "another expectation": (post(length(SIZE), b"Expect: 200-ok\r\n"), 417),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused(client: Client, service: FakeService, name: str) -> None:
    """And nothing behind it is taken for a request, whatever a proxy before us may have read."""
    sent, status = WRONG[name]
    with client.exchange(sent + SMUGGLED) as connection:
        connection.end()
        refused(connection.response(), status)
        assert connection.rest() == b""
    assert service.sessions == {}


@pytest.mark.parametrize("name", ["two hosts", "chunk size +15", "bare LF in the header"])
@pytest.mark.parametrize("size", [1, 7])
def test_in_small_parts(client: Client, name: str, size: int) -> None:
    """The verdict does not hang on how the bytes come."""
    sent, status = WRONG[name]
    with client.exchange(b"") as connection:
        for start in range(0, len(sent), size):
            connection.more(sent[start : start + size])
        refused(connection.response(), status)


SERVED: dict[str, tuple[bytes, int]] = {
    "plain": (get(HOST), 200),
    "a host with a port": (get(b"Host: LOCALHOST:8080\r\n"), 200),
    "a host with an empty port": (get(b"Host: localhost:\r\n"), 200),
    "spaces about the host": (get(b"Host: \t localhost \t\r\n"), 200),
    "no space before the host": (get(b"Host:localhost\r\n"), 200),
    "an IPv6 host": (get(b"Host: [::1]:8080\r\n"), 200),
    "header names in any case": (get(b"hOsT: localhost\r\n"), 200),
    "a value in Latin-1": (get(HOST, b"A: \xe4\r\n"), 200),
    "lines before it": (b"\r\n\r\n" + get(HOST), 200),
    "two spaces": (get(HOST).replace(b" ", b"  ", 1), 200),
    "HTTP/1.0": (get(HOST, version=b"HTTP/1.0"), 200),
    "a URL": (get(HOST, target=b"http://localhost/v1/health"), 200),
    "a URL with a port": (get(HOST, target=b"http://localhost:8080/v1/health"), 200),
    "a URL in capitals": (get(HOST, target=b"HTTP://LOCALHOST/v1/health"), 200),
    "a URL, whose host counts": (
        get(b"Host: evil.example\r\n", target=b"http://gw.example/v1/health"),
        200,
    ),
    "a URL of another host": (get(HOST, target=b"http://evil.example/v1/health"), 421),
    "a URL without a path": (get(HOST, target=b"http://localhost"), 200),
    "a URL with a query": (get(HOST, target=b"http://localhost/v1/sessions?limit=0"), 422),
    "a query and no path": (get(HOST, target=b"http://localhost?limit=1"), 200),
    "an escape in the path": (get(HOST, target=b"/v1/%68ealth"), 200),
    "an escaped slash": (get(HOST, target=b"/v1%2Fhealth"), 404),
    "an empty query": (get(HOST, target=b"/v1/health?"), 200),
    "signs in the target": (get(HOST, target=b'/v1/"<>^`{|}\\'), 404),
    "a body that nobody wants": (get(HOST, length(b"3")) + b"abc", 200),
    "a body": (post(length(SIZE)), 201),
    "spaces behind the length": (post(length(SIZE + b" \t")), 201),
    "zeros before the length": (post(length(b"000" + SIZE)), 201),
    "chunks": (post(CHUNKED, body=IN_CHUNKS), 201),
    "CHUNKED": (post(CHUNKED.upper(), body=IN_CHUNKS), 201),
    "chunks of one octet": (
        post(CHUNKED, body=b"".join(b"1\r\n%c\r\n" % c for c in BODY) + b"0\r\n\r\n"),
        201,
    ),
    "chunks with extensions": (
        post(CHUNKED, body=IN_CHUNKS.replace(b"\r\n", b';a=b;c="d"\r\n', 1)),
        201,
    ),
    "zeros before a chunk's size": (post(CHUNKED, body=b"000" + IN_CHUNKS), 201),
    "a trailer": (post(CHUNKED, body=IN_CHUNKS[:-2] + b"Host: evil.example\r\n\r\n"), 201),
    "a content type in the trailer": (
        post(CHUNKED, body=IN_CHUNKS[:-2] + JSON + b"\r\n").replace(JSON, b"", 1),
        415,
    ),
    "no length": (post(body=b""), 400),
    "100-continue in capitals": (post(length(SIZE), b"Expect: 100-Continue\r\n"), 201),
    "an expectation in HTTP/1.0": (
        post(length(SIZE), b"Expect: x\r\n", version=b"HTTP/1.0"),
        201,
    ),
    "OPTIONS": (get(HOST).replace(b"GET", b"OPTIONS", 1), 405),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "TRACE": (get(HOST).replace(b"GET", b"TRACE", 1), 405),
    "PURGE": (get(HOST).replace(b"GET", b"PURGE", 1), 405),
    "an upgrade": (get(HOST, b"Connection: Upgrade\r\n", b"Upgrade: h2c\r\n"), 200),
    "header lines up to the limit": (get(HOST, *[b"A: b\r\n"] * (limits.HEADERS - 1)), 200),
    "a target up to the limit": (
        get(HOST, target=b"/v1/health?" + b"a" * (limits.TARGET_LIMIT - 11)),
        422,
    ),
}


@pytest.mark.parametrize("name", SERVED)
def test_what_is_right_is_served(client: Client, name: str) -> None:
    sent, status = SERVED[name]
    response = client.raw(sent)
    assert response.status_code == status, response.text
    if status >= 400:
        schema.Problem.model_validate(json.loads(response.data))


@pytest.mark.parametrize("name", ["plain", "a URL", "chunks", "a trailer", "a body"])
def test_octet_by_octet(client: Client, name: str) -> None:
    sent, status = SERVED[name]
    with client.exchange(b"") as connection:
        for each in sent:
            connection.more(bytes([each]))
        assert connection.response().status_code == status


def test_options_tell_what_is_possible(client: Client) -> None:
    everything = client.raw(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
    assert everything.headers["Allow"] == "DELETE, GET, HEAD, PATCH, POST, PUT"


def test_many_requests_at_once(client: Client) -> None:
    """Each gets its response, in order; those behind one that is wrong get none."""
    sent = get(HOST) + post(length(SIZE)) + post(length(SIZE)) + get(HOST, target=b"/nothing")
    with client.exchange(sent + b"G\0T" + get(HOST)) as connection:
        connection.end()
        statuses = re.findall(rb"HTTP/1\.1 (\d+) ", connection.rest())
    assert statuses == [b"200", b"201", b"409", b"404", b"501"]


def test_a_body_may_come_with_the_next_request(client: Client) -> None:
    whole = post(length(SIZE)) + get(HOST, target=b"/nothing")
    cut = whole.index(BODY) + 3
    with client.exchange(whole[:cut]) as connection:
        connection.more(whole[cut:])
        connection.end()
        received = connection.rest()
    assert received.count(b"HTTP/1.1 201 ") == received.count(b"HTTP/1.1 404 ") == 1


@pytest.mark.parametrize(
    ("lines", "version", "told", "kept"),
    [
        ([], b"HTTP/1.1", None, True),
        ([b"Connection: close\r\n"], b"HTTP/1.1", "close", False),
        ([b"Connection: keep-alive, CLOSE\r\n"], b"HTTP/1.1", "close", False),
        ([], b"HTTP/1.0", "close", False),
        ([b"Connection: keep-alive\r\n"], b"HTTP/1.0", "keep-alive", True),
        ([b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n"], b"HTTP/1.1", "close", False),
    ],
)
def test_whether_the_connection_is_kept(
    client: Client, lines: list[bytes], version: bytes, told: str | None, kept: bool
) -> None:
    with client.exchange(get(HOST, *lines, version=version)) as connection:
        response = connection.response()
        assert response.status_code == 200
        assert response.headers.get("Connection") == told
        connection.more(get(HOST, version=version)) if kept else connection.end()
        connection.end()
        assert bool(connection.rest()) == kept


def test_requests_behind_a_last_one_are_not_looked_at(client: Client, service: FakeService) -> None:
    with client.exchange(get(HOST, b"Connection: close\r\n") + post(length(SIZE))) as connection:
        connection.end()
        assert connection.rest().count(b"HTTP/1.1 ") == 1
    assert service.sessions == {}


def test_http_1_0_gets_no_chunks(client: Client) -> None:
    client.put("/v1/sessions/a", json={"ue_ip": "10.45.0.2", "uplink": {"teid": 7}})
    with client.exchange(get(HOST, target=b"/v1/flows", version=b"HTTP/1.0")) as connection:
        connection.end()
        head, _, body = connection.rest().partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert body == b"table=2,tun_id=0x7,actions=drop\n"


def test_a_response_cannot_be_split() -> None:
    for value in ("a\r\nSet-Cookie: b", "a\nb", "a\r", "a\r\n\r\n"):
        with pytest.raises(ValueError):
            Response(headers={"Location": value}).head()
