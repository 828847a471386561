"""A process that sends frames on eth0 of its namespace, as fast as it can or at a rate.

    blast.py '{"frames": "/path", "rate": 0, "seconds": 1.5}'

The file holds frames, each after its length in two bytes; they are sent in turn. `rate` is frames
a second, 0 for as many as go, and `burst` how many of them go at once at most, though they be late.
Prints `ready` before the first, and how many were sent at the end.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import ClassVar

SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
SLICE_S = 0.002
CHUNK = 64

_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_: ClassVar = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_: ClassVar = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.POINTER(_Vector)),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    ]


class Frames:
    """Frames, laid out once for sendmmsg(2), sent in turn."""

    def __init__(self, frames: list[bytes]) -> None:
        while len(frames) < CHUNK:
            frames = frames + frames
        self._count = len(frames)
        self._vectors = (_Vector * self._count)(*((each, len(each)) for each in frames))
        self._messages = (_Message * self._count)()
        for message, vector in zip(self._messages, self._vectors, strict=True):
            message.vector, message.vector_length = ctypes.pointer(vector), 1
        self._next = 0

    def send(self, sock: int, most: int) -> int:
        """Send up to `most` frames; how many were."""
        count = min(most, self._count - self._next, CHUNK)
        first = ctypes.byref(self._messages, self._next * ctypes.sizeof(_Message))
        sent = _libc.sendmmsg(sock, first, count, 0)
        if sent < 0:
            return 0  # ENOBUFS: again, later
        self._next = (self._next + sent) % self._count
        return int(sent)


def write(path: Path, frames: list[bytes]) -> Path:
    """Write frames as this program reads them."""
    path.write_bytes(b"".join(struct.pack("!H", len(each)) + each for each in frames))
    return path


def read(path: Path) -> list[bytes]:
    data, frames, place = path.read_bytes(), [], 0
    while place < len(data):
        (length,) = struct.unpack_from("!H", data, place)
        frames.append(data[place + 2 : place + 2 + length])
        place += 2 + length
    return frames


def main() -> None:
    setup = json.loads(sys.argv[1])
    frames = Frames(read(Path(setup["frames"])))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    sock.bind(("eth0", 0))
    fd, rate, burst = sock.fileno(), setup["rate"], setup.get("burst", 0)
    os.nice(setup.get("nice", 0))
    print("ready", flush=True)
    start = time.monotonic()
    end, sent, now = start + setup["seconds"], 0, start
    while now < end:
        if rate:
            due = int((now - start) * rate)
            if burst and due - sent > burst:
                # What is late is not made up for: it would be sent faster than at the rate.
                start += (due - sent - burst) / rate
                due = sent + burst
            if due <= sent:
                time.sleep(SLICE_S)
            while sent < due:
                sent += frames.send(fd, due - sent)
        else:
            for _ in range(16):
                sent += frames.send(fd, CHUNK)
        now = time.monotonic()
    print(sent, flush=True)


if __name__ == "__main__":
    main()
