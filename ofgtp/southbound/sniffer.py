"""Frames of an interface, both ways, by an AF_PACKET socket (packet(7)) with a kernel filter.

The switch's own ports are read and written by such sockets too: what it takes in and puts out is
seen here as it is on the wire, after nftables has set checksums.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
from collections.abc import Iterator, Sequence

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.packets.capture import Instruction

ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 26, 33, 35
BUFFER = 32 << 20
"""Octets that the kernel may hold for us."""
FRAME_MAX = 1 << 18
"""Longest frame that is read, in octets: what GRO may merge."""

_INSTRUCTION = struct.Struct("HBBI")
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size)


class Sniffer:
    """A capture. Needs CAP_NET_RAW."""

    def __init__(self, port: str, program: Sequence[Instruction]) -> None:
        """Start; frames are kept from now on.

        Raises:
            GatewayNotReady: there is no such interface, or this is not permitted.
        """
        try:
            # Protocol 0 takes nothing in until it is bound: no frame comes unfiltered.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except OSError as error:
            raise GatewayNotReady(f"frames cannot be read: {error.strerror}") from error
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self.filter(program)
            self._socket.bind((port, ETH_P_ALL))
        except OSError as error:
            self._socket.close()
            raise GatewayNotReady(f"interface {port}: {error.strerror}") from error
        self._socket.setblocking(False)
        self._lost = 0

    def __enter__(self) -> Sniffer:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def filter(self, program: Sequence[Instruction]) -> None:
        """Put another filter in place of the present one, at once."""
        code = b"".join(_INSTRUCTION.pack(*each) for each in program)
        buffer = ctypes.create_string_buffer(code, len(code))
        head = struct.pack("HL", len(program), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)

    def frames(self, seconds: float) -> Iterator[tuple[int, bytes]]:
        """Frames that are there, or come within that time: when, in ns of the epoch, and what.

        Raises:
            GatewayNotReady: the interface has gone, or is down.
        """
        if not select.select([self._socket], [], [], seconds)[0]:
            return
        while True:
            try:
                frame, ancillary, _, _ = self._socket.recvmsg(FRAME_MAX, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:
                raise GatewayNotReady(f"the capture has ended: {error.strerror}") from error
            yield _stamp(ancillary), frame

    @property
    def lost(self) -> int:
        """Frames that passed the filter and were lost, since this program was too slow."""
        told = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self._lost += struct.unpack("II", told)[1]  # the kernel counts from 0 again
        return self._lost


def _stamp(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return 0
