"""Any bytes on a connection: valid responses or none, then the end; never an error in the log."""

from __future__ import annotations

import json
import logging
import re

import eventlet
import pytest
from fake_service import FakeService
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from ofgtp.northbound.rest import RestApp
from tests.support.client import Client

pick = st.sampled_from
TARGETS = pick(
    [b"/v1/health", b"/v1/sessions", b"/v1/sessions:batch", b"/v1/sessions/a"] * 9
    + [
        *(b"/", b"/v1/health", b"/v1/sessions", b"/v1/sessions?limit=2", b"/v1/sessions:batch"),
        *(b"/v1/sessions/a", b"/v1/sessions/a%20b", b"/v1/sessions/a/flows", b"/v1/flows"),
        *(b"/metrics", b"/openapi.json", b"/docs/x", b"/v1/sessions?id=%ff%00&id=", b"*", b"//"),
        *(b"http://localhost/v1/health", b"http://x/", b"a", b"/%", b"/?&&=", b"/\xff", b"/" * 99),
    ]
)
METHODS = pick(
    [b"GET", b"PUT", b"POST", b"PATCH", b"DELETE"] * 9 + [b"OPTIONS", b"TRACE", b"G", b""]
)
GOOD = pick(
    [
        *(b"Content-Type: application/json", b"Content-Type: application/x-ndjson"),
        *(b"Content-Type: application/merge-patch+json", b"Expect: 100-continue"),
        *(b"Authorization: Bearer x", b"A: \xff", b"Connection: close", b"Connection: keep-alive"),
        *(b"Connection: Upgrade\r\nUpgrade: h2c", b"Last-Event-ID: 5"),
    ]
)
BAD = pick(
    [
        *(b"Host: localhost", b"Host: x", b"Host:", b"Content-Type: application/json; charset"),
        *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 999999999"),
        *(b"Content-Length: x", b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked"),
        *(b"A: \0", b" folded", b"A", b"", b"A: " + b"b" * 999, b"Expect: x"),
    ]
)
BODIES = pick(
    [
        *(b"", b"{}", b'{"ue_ip":"10.45.0.2"}', b'{"op":"delete","id":"x"}\n', b"[[[[", b"\n" * 9),
        *(
            b'{"a":1,"a":2}',
            b'{"ue_ip":NaN}',
            b'"\xff"',
            b"5\r\nabcde\r\n0\r\n\r\n",
            b"+5\r\nabcde",
        ),
        *(
            b"0\r\n\r\n",
            b"0\r\nA: b\r\n\r\n",
            b"fffffffffffffffff\r\n",
            b"5;" + b"a" * 99,
            b"\0\r\n",
        ),
    ]
)
ENDS = pick([b"\r\n"] * 9 + [b"\n", b"\r", b" \r\n", b""])
VERSIONS = pick([b" HTTP/1.1"] * 9 + [b" HTTP/1.0", b" HTTP/2.0", b"", b" X"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """What looks like a request, more or less."""
    first = draw(METHODS) + b" " + draw(TARGETS) + draw(VERSIONS)
    lines = [first, b"Host: localhost", *draw(st.lists(GOOD, max_size=3))]
    if draw(st.integers(0, 9)) == 0:
        del lines[1]
    if draw(st.integers(0, 3)) == 0:
        lines.append(draw(BAD))
    ends = draw(pick([ENDS, *[st.just(b"\r\n")] * 4]))
    body = draw(BODIES)
    if draw(st.integers(0, 3)):
        lines.append(b"Content-Length: %d" % len(body))
    return b"".join(line + draw(ends) for line in lines) + draw(ends) + body


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Requests one behind the other, some of them spoiled, in parts."""
    sent = b"".join(draw(st.lists(requests(), min_size=1, max_size=4)))
    if draw(st.integers(0, 9)) == 0:
        sent += draw(st.binary(max_size=40))
    for _ in range(draw(pick([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(sent)))
        sent = sent[:place] + draw(st.binary(max_size=2)) + sent[place + draw(st.integers(0, 2)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=3)))
    return [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


_HEAD = re.compile(
    rb"HTTP/1\.1 (\d{3}) [A-Za-z -]+\r\n((?:[A-Za-z-]+: [\x20-\x7e]+\r\n)*)\r\n", re.DOTALL
)


def check(received: bytes) -> None:
    """Whole responses and nothing else, each error a problem document."""
    while received:
        found = _HEAD.match(received)
        assert found, received[:200]
        received = received[found.end() :]
        status = int(found[1])
        if status == 100:
            continue
        lines = [line.split(b": ", 1) for line in found[2].split(b"\r\n") if line]
        headers = {name.lower(): value for name, value in lines}
        assert len(headers) == len(lines)
        if headers.get(b"transfer-encoding") == b"chunked":
            body, received = unchunked(received)
        elif b"content-length" in headers:
            size = int(headers[b"content-length"])
            body, received = received[:size], received[size:]
            assert len(body) == size
        elif status == 204:
            body = b""
        else:
            body, received = received, b""
            assert headers[b"connection"] == b"close"
        if status >= 400:
            assert headers[b"content-type"] == b"application/problem+json"
            assert json.loads(body)["status"] == status
        if headers.get(b"connection") == b"close":
            assert received == b""


def unchunked(received: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, _, received = received.partition(b"\r\n")
        size = int(line, 16)
        body, part, received = body + received[:size], received[:size], received[size:]
        assert len(part) == size and received[:2] == b"\r\n"
        received = received[2:]
        if not size:
            return body, received


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams())
@example([b"\r\n" * 40_000])
@example([b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2_000])
@example([b"A" * 70_000])
@example([b"GET / HTTP/1.1\r\n" + b"A:" * 50_000])
@example([b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0"])
@example(
    [b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n"]
)
def test_any_bytes(caplog: pytest.LogCaptureFixture, parts: list[bytes]) -> None:
    assume(b"HEAD" not in b"".join(parts))  # whose responses say the length of a body they have not
    caplog.clear()
    with eventlet.Timeout(30), Client(RestApp(FakeService())).exchange(parts[0]) as connection:
        for part in parts[1:]:
            connection.more(part, 0)
        connection.end()
        received = connection.rest()
    check(received)
    ours = [each for each in caplog.records if each.name.startswith("ofgtp.northbound")]
    assert [each.getMessage() for each in ours if each.levelno >= logging.WARNING] == []
