"""Responses, and the bytes of their heads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""The reason phrase of each status (RFC 9110, 15), which before 3.13 Python has older ones of."""

_STATUS_LINES = {value: f"HTTP/1.1 {value} {reason}\r\n" for value, reason in REASONS.items()}
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Response:
    """What a request is answered with: a body, or parts of one as they are made.

    `stream` gives the parts; `close` is called once it was sent, or is not sent any more.
    """

    __slots__ = ("body", "close", "content_type", "headers", "status", "stream")

    def __init__(
        self,
        body: bytes | str = b"",
        status: int = HTTPStatus.OK,
        content_type: str = "",
        headers: dict[str, str] | None = None,
        *,
        stream: Iterator[bytes] | None = None,
    ) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status, self.content_type = int(status), content_type
        self.headers = {} if headers is None else headers
        self.stream = stream
        self.close: Callable[[], None] = _nothing

    def head(self, *, chunked: bool = False, more: str = "") -> bytes:
        """The status line and the header lines; `more` are header lines of the connection's.

        Raises:
            ValueError: a header would end its line, and begin one of its own.
        """
        headers = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        if headers.count("\n") != len(self.headers) or headers.count("\r") != len(self.headers):
            raise ValueError(f"a header of several lines: {self.headers}")
        if "Cache-Control" not in self.headers:
            more += "Cache-Control: no-store\r\n"
        if self.content_type:
            more += f"Content-Type: {self.content_type}\r\n"
        if chunked:
            more += "Transfer-Encoding: chunked\r\n"
        elif self.stream is None and self.status not in _BODILESS:
            more += f"Content-Length: {len(self.body)}\r\n"
        date = _date(int(time.time()))
        return (
            f"{_STATUS_LINES[self.status]}{more}{headers}"
            f"X-Content-Type-Options: nosniff\r\nDate: {date}\r\n\r\n"
        ).encode("latin-1")


def _nothing() -> None:
    pass


@lru_cache(1)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
