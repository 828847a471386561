"""What the kernel counts of a gateway's ports: frames received, and those the switch did not take.

A port of the userspace datapath is read by a packet socket; what finds its buffer full is dropped
and counted with the socket (sock_diag(7), packet_diag). An internal port is a tap, whose queue
counts what finds it full as not sent. By AF_XDP it is read from veths, each of which counts what it
could not hand over.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from ofgtp.core.flows.drops import OVERRUNS, Port
from ofgtp.core.history import Traffic
from ofgtp.core.model import Gateway
from ofgtp.southbound.ovstools import Tools

ANSWER_S = 1.0
"""Longest wait for the kernel's answer, in seconds."""

_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_REQUEST = struct.Struct("=BBHIIII")
_SHOW_INFO, _SHOW_MEMORY = 0x01, 0x10
_MESSAGE = struct.Struct("=BBHIII")
_INFO, _MEMORY = 0, 6
"""Attributes: the interface is the first number of one, and what was dropped the ninth of the
other (linux/packet_diag.h, SK_MEMINFO_DROPS)."""
_DROPS_AT = 8 * 4


class PortCounts(NamedTuple):
    """Since the interface was made, and since the switch opened it."""

    received: int
    """Frames that were to come in by it."""
    overrun: int
    """Those of them that came faster than the switch took them; 0 if the kernel does not tell."""


def read(gateway: Gateway) -> dict[Port, PortCounts]:
    """Of each port that is there."""
    sockets: dict[int, int] = {}
    for index, drops in _of_process(None if gateway.veths else Tools(gateway.ovsdb).pid):
        sockets[index] = sockets.get(index, 0) + drops
    found: dict[Port, PortCounts] = {}
    for port, came in received(gateway).items():
        ways = _ways(gateway, port)
        with suppress(OSError):
            if len(ways) == 1 and ways[0].side == "rx":
                overrun = sockets.get(socket.if_nametoindex(ways[0].device), 0)
            else:
                overrun = sum(map(_full, ways))
            found[port] = PortCounts(came, overrun)
    return found


def received(gateway: Gateway) -> dict[Port, int]:
    """Frames that were to come in by each port that is there, since its interface was made."""
    found: dict[Port, int] = {}
    for port in OVERRUNS:
        with suppress(OSError, ValueError):
            found[port] = sum(_came(way) for way in _ways(gateway, port))
    return found


def traffic(gateway: Gateway) -> dict[Port, Traffic]:
    """Frames and octets that came in by each port that is there, since its interface was made."""
    found: dict[Port, Traffic] = {}
    for port in OVERRUNS:
        ways = _ways(gateway, port)
        with suppress(OSError, ValueError):
            frames, octets = sum(map(_came, ways)), sum(map(_octets, ways))
            found[port] = Traffic(frames, octets)
    return found


def octets(gateway: Gateway) -> int:
    """What has come in by all ports since they were made: no session has had more."""
    found = 0
    for port in OVERRUNS:
        for way in _ways(gateway, port):
            with suppress(OSError, ValueError):
                found += _octets(way)
    return found


class _Way(NamedTuple):
    """By which device something comes in, and what of its counts that is."""

    device: str
    side: Literal["rx", "tx"]
    """What is sent by the host's own end of a device comes in by the other one."""
    end: str | None = None
    """The other one, if it is another device."""


def _ways(gateway: Gateway, port: Port) -> list[_Way]:
    device = gateway.access_port if port == "access" else gateway.core_device
    veths = [_Way(pair.host_end, "tx", pair.end) for pair in gateway.veths if pair.port == device]
    internal = port == "core" and gateway.host_core
    return veths or [_Way(device, "tx" if internal else "rx")]


def _came(way: _Way) -> int:
    """What was to come in by it."""
    dropped = _statistic(way.device, "tx_dropped") if way.side == "tx" else 0
    return _statistic(way.device, f"{way.side}_packets") + dropped


def _octets(way: _Way) -> int:
    return _statistic(way.device, f"{way.side}_bytes")


def _full(way: _Way) -> int:
    """What found a queue to the switch full: the device's, or the one behind its other end."""
    behind = 0 if way.end is None else _statistic(way.end, "rx_dropped")
    return _statistic(way.device, "tx_dropped") + behind


def _statistic(device: str, name: str) -> int:
    return int(Path("/sys/class/net", device, "statistics", name).read_text())


def _of_process(pid: int | None) -> Iterator[tuple[int, int]]:
    """The packet sockets of a process: interface (its index), and what was dropped."""
    if pid is None:
        return
    with suppress(OSError):
        own = set(_sockets(pid))
        for inode, index, drops in packet_sockets():
            if inode in own and index:
                yield index, drops


def _sockets(pid: int) -> Iterator[int]:
    """The inodes of a process's sockets."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            target = str(each.readlink())
            if target.startswith("socket:["):
                yield int(target[8:-1])


def packet_sockets() -> Iterator[tuple[int, int, int]]:
    """All packet sockets of this network namespace: inode, interface (0: any), what was dropped.

    Raises:
        OSError: the kernel does not tell.
    """
    asked = _REQUEST.pack(socket.AF_PACKET, 0, 0, 0, _SHOW_INFO | _SHOW_MEMORY, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as link:
        head = _HEADER.pack(_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, _DUMP, 1, 0)
        link.settimeout(ANSWER_S)
        link.send(head + asked)
        while True:
            data = link.recv(1 << 16)
            place = 0
            while place + _HEADER.size <= len(data):
                size, kind, *_ = _HEADER.unpack_from(data, place)
                if kind == _DONE:
                    return
                if kind == _ERROR or size < _HEADER.size:
                    raise OSError("the kernel does not list packet sockets")
                yield from _one(data[place + _HEADER.size : place + size])
                place += size + (-size % 4)


def _one(message: bytes) -> Iterator[tuple[int, int, int]]:
    if len(message) < _MESSAGE.size:
        return
    inode = _MESSAGE.unpack_from(message)[3]
    found = dict(_attributes(message[_MESSAGE.size :]))
    info, memory = found.get(_INFO, b""), found.get(_MEMORY, b"")
    if len(info) >= 4 and len(memory) >= _DROPS_AT + 4:
        index = struct.unpack_from("=I", info)[0]
        yield inode, index, struct.unpack_from("=I", memory, _DROPS_AT)[0]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, place)
        if size < _ATTRIBUTE.size:
            return
        yield kind, data[place + _ATTRIBUTE.size : place + size]
        place += size + (-size % 4)
