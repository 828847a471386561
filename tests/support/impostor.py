"""A switch that claims another's datapath id: OpenFlow 1.4, just enough for a handshake."""

from __future__ import annotations

import socket
import struct
import time

HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY = 0, 1, 2, 3
FEATURES_REQUEST, FEATURES_REPLY = 5, 6
MULTIPART_REQUEST, MULTIPART_REPLY = 18, 19
BARRIER_REQUEST, BARRIER_REPLY = 20, 21
FLOW_MOD, BUNDLE_CONTROL, BUNDLE_ADD = 14, 33, 34
DESC, PORT_DESC = 0, 13


class Impostor:
    """A connection to the controller, on a socket that the test has made in its namespace."""

    def __init__(self, sock: socket.socket, datapath_id: int, description: str) -> None:
        self._sock, self._id, self._description = sock, datapath_id, description
        self._buffer = b""
        self.heard: list[int] = []
        """Types of the messages that the controller sent."""

    def run(self, seconds: float) -> bool:
        """Play the switch; True when the controller has closed the connection."""
        self._say(HELLO, 1, b"")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._sock.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                data = self._sock.recv(65536)
            except TimeoutError:
                return False
            except ConnectionError:
                return True
            if not data:
                return True
            self._buffer += data
            while len(self._buffer) >= 8:
                _, kind, size, xid = struct.unpack_from("!BBHI", self._buffer)
                if len(self._buffer) < size:
                    break
                body, self._buffer = self._buffer[8:size], self._buffer[size:]
                self.heard.append(kind)
                self._answer(kind, xid, body)
        return False

    def _answer(self, kind: int, xid: int, body: bytes) -> None:
        if kind == FEATURES_REQUEST:
            self._say(FEATURES_REPLY, xid, struct.pack("!QIBBxxII", self._id, 0, 254, 0, 0x4F, 0))
        elif kind == ECHO_REQUEST:
            self._say(ECHO_REPLY, xid, body)
        elif kind == BARRIER_REQUEST:
            self._say(BARRIER_REPLY, xid, b"")
        elif kind == MULTIPART_REQUEST:
            (what,) = struct.unpack_from("!H", body)
            reply = b""
            if what == DESC:
                fields = [b"Nicira, Inc.", b"Open vSwitch", b"3.1.0", b"None"]
                fields.append(self._description.encode())
                sizes = (256, 256, 256, 32, 256)
                reply = b"".join(f.ljust(n, b"\0") for f, n in zip(fields, sizes, strict=True))
            self._say(MULTIPART_REPLY, xid, struct.pack("!HHxxxx", what, 0) + reply)

    def _say(self, kind: int, xid: int, body: bytes) -> None:
        self._sock.sendall(struct.pack("!BBHI", 5, kind, 8 + len(body), xid) + body)
