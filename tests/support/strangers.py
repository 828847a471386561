"""Processes that connect to the controller's OpenFlow port and are no switch of it.

    with Strangers(lab, count=300, again=True, says=HELLO) as strangers:
        ...
    print(strangers.closed)

They run in the gateway's namespace, as any user of the host might.
"""

from __future__ import annotations

import json
import select
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tests.support.lab import Lab

NOBODY = 65534
HELLO = bytes.fromhex("05000008 00000001")

PROGRAM = r"""
import json, os, select, socket, struct, sys, time
user, count, again, says, answers = json.loads(sys.argv[1])
os.setgroups([])
os.setgid(user)
os.setuid(user)
says, connections, made, closed = bytes.fromhex(says), {}, 0, 0
poll = select.epoll()
poll.register(0, select.EPOLLIN)

def connect(wait):
    global made
    sock = socket.socket()
    try:
        sock.settimeout(30 if wait else 0)
        try:
            sock.connect(("127.0.0.1", 6653))
        except BlockingIOError:
            pass
        sock.setblocking(False)
        made += 1
        connections[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN | (select.EPOLLOUT if says else 0))
    except OSError:
        sock.close()
        time.sleep(0.001)

def answer(sock, data):
    # a handshake, up to the description
    while len(data) >= 8:
        _, kind, size, xid = struct.unpack_from("!BBHI", data)
        reply = None
        if kind == 5 and answers > 0:
            reply = 6, struct.pack("!QIBBxxII", answers, 0, 254, 0, 0x4F, 0)
        elif kind == 18 and data[8:10] == b"\0\x0d":
            reply = 19, b"\0\x0d\0\0\0\0\0\0"
        elif kind == 2:
            reply = 3, data[8:size]
        if reply:
            sock.send(struct.pack("!BBHI", 5, reply[0], 8 + len(reply[1]), xid) + reply[1])
        data = data[size:]

for _ in range(count):
    connect(True)
print("ready", flush=True)
while True:
    for fd, events in poll.poll():
        if fd == 0:
            print(json.dumps([made, closed]), flush=True)
            sys.exit()
        sock = connections[fd]
        try:
            if events & select.EPOLLOUT:
                poll.modify(fd, select.EPOLLIN)
                sock.send(says)
            data = sock.recv(65536) if events & ~select.EPOLLOUT else None
            if data and answers:
                answer(sock, data)
        except OSError:
            data = b""
        if data == b"":
            poll.unregister(fd)
            connections.pop(fd).close()
            closed += 1
            if again:
                connect(False)
"""


class Strangers:
    """`count` connections of a user. Each says what it `says`; with a datapath id in `answers` it
    then answers as that switch, up to the description; with -1 there, Echo Requests only. With
    `again`, what is closed connects again.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        count: int,
        user: int = NOBODY,
        again: bool = False,
        says: bytes = b"",
        answers: int = 0,
    ) -> None:
        self._lab = lab
        self._told = json.dumps([user, count, again, says.hex(), answers])
        self.made = self.closed = 0
        """Connections that were made, and closed by the controller; once it has ended."""

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process: subprocess.Popen[Any] = self._lab.spawn(
            "gw", [sys.executable, "-c", PROGRAM, self._told], stdin=pipe, stdout=pipe, text=True
        )
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], 60)[0], "they do not connect"
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *error: object) -> None:
        out, _ = self._process.communicate("", 60)
        if out:
            self.made, self.closed = json.loads(out)


def message(kind: int, body: bytes = b"", *, version: int = 5, size: int | None = None) -> bytes:
    """An OpenFlow message; `size` is what its header says."""
    return struct.pack("!BBHI", version, kind, 8 + len(body) if size is None else size, 1) + body
