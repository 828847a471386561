"""An HTTP client for tests of `RestApp`: its requests go through the connection's code, and h11,
another implementation, reads what comes back.

    client = Client(app)
    assert client.get("/v1/health").status_code == 200
"""

from __future__ import annotations

import contextlib
import json as json_module
from collections.abc import Mapping
from typing import Any, Self

import eventlet
import h11
from eventlet.green import socket

from ofgtp.northbound.http.connection import Answer
from ofgtp.northbound.http.server import Connections


class Headers(dict[str, str]):
    """By name, in any case."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class TestResponse:
    """A response; `data` is its whole body, out of its chunks."""

    __test__ = False

    def __init__(self, status: int, headers: Headers, data: bytes) -> None:
        self.status_code, self.headers, self.data = status, headers, data
        self.content_type: str = headers.get("content-type", "")
        self.mimetype = self.content_type.partition(";")[0]

    @property
    def text(self) -> str:
        return self.data.decode()

    @property
    def json(self) -> Any:
        return json_module.loads(self.data)

    def get_json(self) -> Any:
        return self.json


class Exchange:
    """A connection with something sent on it. Use it in a `with` block."""

    def __init__(self, connections: Connections, sent: bytes, local: str, method: str) -> None:
        self._sock, far = socket.socketpair()
        self._thread = eventlet.spawn(connections.serve, far, "test", local)
        self._reader = h11.Connection(h11.CLIENT)
        self._reader.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        self._reader.send(h11.EndOfMessage())
        self._sock.settimeout(30)
        self.more(sent, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()
        self._thread.wait()  # until the server has noticed

    def end(self) -> None:
        """Say that nothing more will be sent."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def more(self, sent: bytes, pause: float = 0.001) -> None:
        """Send more, if the server has not closed, after what was sent before has been looked
        at."""
        eventlet.sleep(pause)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._sock.sendall(sent)

    def some(self) -> bytes:
        """What comes next, as it is; nothing once the server has closed."""
        return bytes(self._sock.recv(65536))

    def rest(self) -> bytes:
        """What comes until the server closes, as it is."""
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while part := self._sock.recv(65536):
                received += part
        return received

    def head(self) -> TestResponse:
        """The response but for its body; those of status 100 are passed over."""
        while not isinstance(event := self._event(), h11.Response):
            assert isinstance(event, h11.InformationalResponse), event
        headers = Headers()
        for name, value in event.headers:
            assert name.decode() not in headers, f"{name!r} stands there twice"
            dict.__setitem__(headers, name.decode(), value.decode("latin-1"))
        return TestResponse(event.status_code, headers, b"")

    def response(self) -> TestResponse:
        """The whole response."""
        response = self.head()
        while not isinstance(event := self._event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data), event
            response.data += bytes(event.data)
        return response

    def _event(self) -> Any:
        while (event := self._reader.next_event()) is h11.NEED_DATA:
            self._reader.receive_data(self._sock.recv(65536))
        return event


class Client:
    """Each request has a connection of its own. `local` is the address of the server's end."""

    def __init__(self, app: Answer, *, local: str = "127.0.0.1") -> None:
        self._connections, self._local = Connections(app), local

    def exchange(self, sent: bytes, method: str = "GET") -> Exchange:
        """Send bytes; `method` is that of the first request in them."""
        return Exchange(self._connections, sent, self._local, method)

    def raw(self, sent: bytes, method: str = "GET") -> TestResponse:
        """Send bytes and nothing behind them; the first response."""
        with self.exchange(sent, method) as exchange:
            exchange.end()
            return exchange.response()

    def open(
        self,
        path: str,
        *,
        method: str = "GET",
        data: str | bytes | None = None,
        json: Any = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        chunks: int = 0,
    ) -> TestResponse:
        """Ask; with `chunks` the body goes in chunks of so many octets."""
        if json is not None:
            data, content_type = json_module.dumps(json), "application/json"
        return self.raw(
            request(method, path, data, content_type, headers or {}, chunks=chunks), method
        )

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.open(path, **more)

    def head(self, path: str, **more: Any) -> TestResponse:
        return self.open(path, method="HEAD", **more)

    def post(self, path: str, **more: Any) -> TestResponse:
        return self.open(path, method="POST", **more)

    def put(self, path: str, **more: Any) -> TestResponse:
        return self.open(path, method="PUT", **more)

    def patch(self, path: str, **more: Any) -> TestResponse:
        return self.open(path, method="PATCH", **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self.open(path, method="DELETE", **more)


def request(
    method: str,
    path: str,
    data: str | bytes | None = None,
    content_type: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    chunks: int = 0,
) -> bytes:
    """The bytes of a request; unless `headers` say otherwise it is for localhost."""
    fields = {"Host": "localhost", **(headers or {})}
    if content_type is not None:
        fields["Content-Type"] = content_type
    body = data.encode() if isinstance(data, str) else data or b""
    if chunks:
        fields["Transfer-Encoding"] = "chunked"
        parts = [body[start : start + chunks] for start in range(0, len(body), chunks)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    elif data is not None:
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body
