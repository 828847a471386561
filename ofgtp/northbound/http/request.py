"""Requests, read from bytes as they come.

httptools (llhttp) parses. What it lets pass and RFC 9112 has refused is refused here: there is one
reading of where a request ends and who it is for, whatever a proxy before us may have read.
"""

from __future__ import annotations

import re
from collections import deque
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from ofgtp.northbound.http import limits
from ofgtp.northbound.problem import ProblemError

if TYPE_CHECKING:
    from ofgtp.northbound.http.limits import Share

_ABSOLUTE = re.compile(rb"(?i)(https?)://([^/?#@]+)(/[^?#]*)?(?:\?([^#]*))?")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(?::[0-9]{0,5})?")
"""uri-host [ ":" port ] (RFC 3986, 3.2.2, without what is of no use here)."""

Body = bytes | bytearray


class Request:
    """A request. Its body may still be on its way when the rest is here."""

    method = ""
    path = ""
    """As it was sent, which is ASCII: not decoded."""
    query = ""
    version = ""
    host = ""
    """Whom it is for: of the target if that names somebody, else of the Host header."""
    headers: dict[bytes, bytes]
    """By their names in lower case; values of a name that comes twice are joined by commas."""
    keep_alive = False
    length: int | None = None
    """What Content-Length says; None if it does not stand there."""
    waits = False
    """Whether it expects 100 (Continue) before it sends its body."""
    body: Body = b""
    """What of it is here."""
    complete = False
    fault: ProblemError | None = None
    """What is wrong with its head."""
    connection: Source
    """Where it comes from."""

    def __init__(self) -> None:
        self.headers = {}

    def header(self, name: bytes) -> str:
        """A header's value; empty if there is none."""
        return self.headers.get(name, b"").decode("latin-1")


class Source(Protocol):
    """What a request knows of its connection."""

    local: str
    """The address of our end."""

    def read(self, request: Request, limit: int, share: Share) -> Body:
        """Wait for the body, of at most so many octets, with a place of a share meanwhile.

        Raises:
            ProblemError: it is longer, does not come, or not in time; there is no place.
        """

    def gone(self) -> bool:
        """Whether the client has closed the connection."""


class Parser:
    """Makes requests of bytes. A request is there as soon as its head is."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        """Those that nobody has taken yet; the body of the last may be incomplete."""
        self.begun = False
        """Whether the head of a request has begun and not ended."""
        self.fault: ProblemError | None = None
        """What ends the reading: what follows the requests is none."""
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._request = Request()
        self._target = b""
        self._fed = self._octets = self._lines = 0

    def feed(self, data: bytes) -> None:
        """Read on. What cannot be read is told by `fault`."""
        if self._parser is None:
            return
        if self.begun:
            self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.fault = self.fault or _fault(error, data)
        except HttpParserUpgrade:  # its request is answered all the same, as the last
            self.fault = _bad("there is no other protocol here")
        if self.begun and self._fed > limits.TARGET_LIMIT + limits.HEAD_LIMIT:
            self.fault = self.fault or _too_long(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self.fault is not None:
            self.close()

    def close(self) -> None:
        """Read nothing any more."""
        self._parser = None

    # --- what httptools calls

    def on_message_begin(self) -> None:
        self.begun = True
        self._request = Request()
        self._target = b""
        self._fed = self._octets = self._lines = 0

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > limits.TARGET_LIMIT:
            self.fault = _too_long(HTTPStatus.REQUEST_URI_TOO_LONG)
            raise self.fault

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1
        self._octets += len(name) + len(value)
        if self._lines > limits.HEADERS or self._octets > limits.HEAD_LIMIT:
            self.fault = _too_long(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            raise self.fault
        if not self.begun:
            return  # a trailer
        name, value = name.lower(), value.rstrip()
        headers = self._request.headers
        headers[name] = headers[name] + b", " + value if name in headers else value

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        assert parser is not None
        self.begun = False
        request.method = parser.get_method().decode()
        request.version = parser.get_http_version()
        request.keep_alive = parser.should_keep_alive() and not parser.should_upgrade()
        try:
            self._judge(request)
        except ProblemError as error:
            request.fault = error
        self.requests.append(request)

    def on_body(self, part: bytes) -> None:
        request = self._request
        if not request.body:
            request.body = part
            return
        if type(request.body) is bytes:
            request.body = bytearray(request.body)
        request.body += part

    def on_message_complete(self) -> None:
        self._request.complete = True

    # --- what the parser does not look at

    def _judge(self, request: Request) -> None:
        headers = request.headers
        if request.version not in ("1.1", "1.0"):
            detail = "the version of HTTP must be 1.1 or 1.0"
            raise ProblemError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, detail)
        host = headers.get(b"host", b"")
        if not host:
            raise _bad("the Host header is missing")
        self._judge_target(request, host)
        if (coding := headers.get(b"transfer-encoding")) is not None:
            if request.version == "1.0":
                raise _bad("HTTP/1.0 knows no Transfer-Encoding")
            if coding.lower() != b"chunked":
                detail = "the Transfer-Encoding must be chunked"
                raise ProblemError(HTTPStatus.NOT_IMPLEMENTED, detail)
        if (length := headers.get(b"content-length")) is not None:
            request.length = int(length)
        if (expected := headers.get(b"expect")) is not None and request.version == "1.1":
            if expected.lower() != b"100-continue":
                detail = "of Expect only 100-continue is known"
                raise ProblemError(HTTPStatus.EXPECTATION_FAILED, detail)
            request.waits = True

    def _judge_target(self, request: Request, host: bytes) -> None:
        """RFC 9112, 3.2: which of its four forms it has, and whom it is for."""
        target = self._target
        if not _is_host(host):
            raise _bad("the Host header is not one host")  # two are joined by a comma and a space
        if not target.startswith(b"/"):
            target, host = self._other_form(request.method, target, host)
        path, _, query = target.partition(b"?")
        if b"#" in target:
            raise _bad("the target of a request has no fragment")
        request.path, request.query = path.decode("latin-1"), query.decode("latin-1")
        request.host = host.decode("latin-1")

    def _other_form(self, method: str, target: bytes, host: bytes) -> tuple[bytes, bytes]:
        """The path of a target that is none, and whom it is for."""
        if target == b"*" and method == "OPTIONS":
            return target, host
        found = _ABSOLUTE.fullmatch(target)
        if found is None:
            if method == "CONNECT":
                raise ProblemError(HTTPStatus.NOT_IMPLEMENTED, "this is no proxy")
            raise _bad("the target of the request is no path and no URL")
        if found[1].lower() != b"http":
            detail = "the target's scheme must be http"
            raise ProblemError(HTTPStatus.MISDIRECTED_REQUEST, detail)
        if not _is_host(found[2]):
            raise _bad("the target of the request names no host")
        return (found[3] or b"/") + (b"" if found[4] is None else b"?" + found[4]), found[2]


@lru_cache(64)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _bad(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)


def _too_long(status: HTTPStatus) -> ProblemError:
    if status is HTTPStatus.REQUEST_URI_TOO_LONG:
        return ProblemError(status, f"the target may have {limits.TARGET_LIMIT} octets")
    detail = f"the header may have {limits.HEADERS} lines and {limits.HEAD_LIMIT} octets"
    return ProblemError(status, detail)


def _fault(error: HttpParserError, data: bytes) -> ProblemError:
    """What is to be said of bytes that are no request."""
    if isinstance(error, HttpParserInvalidMethodError):
        if len(data) > limits.TARGET_LIMIT and b"\n" not in data[: limits.TARGET_LIMIT]:
            return _too_long(HTTPStatus.REQUEST_URI_TOO_LONG)
        return ProblemError(HTTPStatus.NOT_IMPLEMENTED, "the method of the request is not known")
    return _bad(f"this is no request of HTTP/1.1: {error}")
