"""The kernel's lease of ports that are read by AF_XDP, renewed over netlink (nfnetlink, nf_tables).

`ofgtp.southbound.netfilter` makes the set whose elements are leased. Renewing them is not left to
the program nft: that takes a process, pipes and files each time, and whoever has taken all of the
controller's file descriptors would end the tunnels. Here one socket is opened once.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

from ofgtp.core.errors import GatewayNotReady

ANSWER_S: Final = 1.0
"""Longest wait for an answer, in seconds."""

_NETLINK_NETFILTER: Final = 12
_BEGIN, _END = 0x10, 0x11
_NEW_ELEMENTS, _DELETE_ELEMENTS = 10 << 8 | 12, 10 << 8 | 14
"""Of linux/netfilter/nfnetlink.h (a batch is one transaction) and nf_tables.h."""
_REQUEST, _ACK, _CREATE = 0x1, 0x4, 0x400
_ERROR: Final = 2
_NETDEV: Final = 5
"""The family (linux/netfilter.h)."""
_NESTED: Final = 0x8000
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_ELEMENT, _KEY, _TIMEOUT, _VALUE = 1, 1, 4, 1
_HEADER, _FAMILY, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("!BBH"), struct.Struct("=HH")
_BATCH: Final = _FAMILY.pack(0, 0, 10)
"""Of nf_tables."""


class PortLease:
    """That of one table's set."""

    def __init__(self, table: str, name: str) -> None:
        """`table` is of the family netdev."""
        self._names = _text(_TABLE, table) + _text(_SET, name)
        self._socket: socket.socket | None = None
        self._sequence = 0

    def close(self) -> None:
        """Renew it no more; it runs out."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def renew(self, interfaces: Iterable[int], seconds: float) -> None:
        """Let these interfaces, by their numbers, have it for so many seconds from now, and none
        else.

        Raises:
            GatewayNotReady: the kernel's reason; there may be no such set.
        """
        elements = b"".join(_element(number, int(seconds * 1000)) for number in interfaces)
        family = _FAMILY.pack(_NETDEV, 0, 0)
        self._sequence = first = (self._sequence + 4) & 0xFFFFFFFF
        batch = (
            _message(_BEGIN, _REQUEST, first, _BATCH),
            _message(_DELETE_ELEMENTS, _REQUEST, first + 1, family + self._names),
            _message(
                _NEW_ELEMENTS,
                _REQUEST | _CREATE | _ACK,
                first + 2,
                family + self._names + _nested(_ELEMENTS, elements),
            ),
            _message(_END, _REQUEST, first + 3, _BATCH),
        )
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
                self._socket.settimeout(ANSWER_S)
            self._socket.send(b"".join(batch))
            error = _error(self._socket, first)
        except OSError as failure:
            error = failure.errno or errno.ETIMEDOUT
        if error:
            raise GatewayNotReady(f"the ports' lease was not renewed: {os.strerror(error)}")


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    padding = bytes(-len(data) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + padding


def _nested(kind: int, data: bytes) -> bytes:
    return _attribute(kind | _NESTED, data)


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _element(interface: int, milliseconds: int) -> bytes:
    key = _nested(_KEY, _attribute(_VALUE, struct.pack("=I", interface)))
    return _nested(_ELEMENT, key + _attribute(_TIMEOUT, struct.pack("!Q", milliseconds)))


def _error(link: socket.socket, first: int) -> int:
    """The first error that the kernel answers to a batch whose messages are numbered from there on;
    0 if there is none. Its third message is answered in any case, and so the last."""
    found = 0
    while True:
        answers, place = link.recv(1 << 16), 0
        while place + _HEADER.size <= len(answers):
            size, kind, _, sequence, _ = _HEADER.unpack_from(answers, place)
            if kind == _ERROR and first <= sequence <= first + 2:
                (code,) = struct.unpack_from("=i", answers, place + _HEADER.size)
                found = found or -int(code)
                if sequence != first + 1:
                    return found
            place += max(size + -size % 4, _HEADER.size)
