"""The last answers, so that the same request gets the same answer (TS 29.244, 6.4).

A request that comes again is told by source, type, sequence number and content: the sequence number
alone is not enough, since a control plane that restarts counts from the beginning again. Answers to
what has changed sessions are in the store as well, so that they are the same after a crash.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address
from typing import NamedTuple

from ofgtp.core.pfcp.node.associations import IPAddress

OVERHEAD = 400
"""Octets that are counted for an answer besides its own."""

WORK_S = 60.0
"""Seconds after which a request counts as not answered at all: whoever sent it has given up."""


_REST = struct.Struct("!HBI8s")
"""Of a key: port, type, sequence number, and a digest of the content, behind the address."""
_SIZES = struct.Struct("!HH")


class Given(NamedTuple):
    """An answer that was given."""

    key: bytes
    answer: bytes


def key_of(ip: IPAddress, port: int, kind: int, sequence: int, data: bytes) -> bytes:
    """By which a request is known again, in other processes too."""
    digest = blake2b(data, digest_size=8).digest()
    return ip.packed + _REST.pack(port, kind, sequence, digest)


def pack(given: Iterable[Given]) -> bytes:
    """Some answers, for the store."""
    return b"".join(
        part for each in given for part in (_SIZES.pack(len(each.key), len(each.answer)), *each)
    )


def unpack(data: bytes) -> Iterator[Given]:
    """What `pack` made."""
    at = 0
    while at < len(data):
        of_key, of_answer = _SIZES.unpack_from(data, at)
        middle = at + _SIZES.size + of_key
        yield Given(data[at + _SIZES.size : middle], data[middle : middle + of_answer])
        at = middle + of_answer


@dataclass(slots=True)
class _Entry:
    ip: IPAddress
    at: float
    answer: bytes | None = None
    """None: it is being worked on."""

    @property
    def size(self) -> int:
        return OVERHEAD + (len(self.answer) if self.answer is not None else 0)


class Answers:
    """By key of the request; at most so many octets for an address, and for all together.

    `now` is seconds of a steady clock. What is oldest goes first, and of an address that has too
    much its own.
    """

    def __init__(self, keep_s: float, octets_each: int, octets: int) -> None:
        self._keep_s, self._octets_each, self._octets = keep_s, octets_each, octets
        self._answers: OrderedDict[bytes, _Entry] = OrderedDict()
        """Given ones, oldest first."""
        self._work: OrderedDict[bytes, _Entry] = OrderedDict()
        """Requests that are being worked on, oldest first."""
        self._sizes: dict[IPAddress, int] = {}
        self._working: dict[IPAddress, int] = {}
        self._of: dict[IPAddress, OrderedDict[bytes, None]] = {}
        self.size = 0
        """Octets in all."""

    def working(self, ip: IPAddress) -> int:
        """How many requests of an address are being worked on."""
        return self._working.get(ip, 0)

    def begin(self, key: bytes, ip: IPAddress, now: float) -> None:
        """A new request is being worked on."""
        self._work[key] = _Entry(ip, now)
        self._working[ip] = self._working.get(ip, 0) + 1

    def find(self, key: bytes, now: float) -> tuple[bool, bytes | None]:
        """Whether that request came before, and its answer if it has one."""
        self._expire(now)
        if key in self._work:
            return True, None
        entry = self._answers.get(key)
        return entry is not None, entry.answer if entry is not None else None

    def began(self, key: bytes) -> float | None:
        """When work on a request began; None: none is under way."""
        entry = self._work.get(key)
        return None if entry is None else entry.at

    def restore(self, given: Given, at: float) -> None:
        """One that was given at `at`, by a process before this one; those are told oldest first."""
        ip = ip_address(given.key[: -_REST.size])
        self._keep(given.key, _Entry(ip, at, given.answer))

    def finish(self, key: bytes, answer: bytes, now: float) -> bool:
        """It is answered; False if it was before, or is too old."""
        entry = self._work.pop(key, None)
        if entry is None:
            return False
        self._less_work(entry.ip)
        entry.at, entry.answer = now, answer
        self._keep(key, entry)
        return True

    def _keep(self, key: bytes, entry: _Entry) -> None:
        self._answers[key] = entry
        of_ip = self._of.setdefault(entry.ip, OrderedDict())
        of_ip[key] = None
        self.size += entry.size
        self._sizes[entry.ip] = self._sizes.get(entry.ip, 0) + entry.size
        while self._sizes.get(entry.ip, 0) > self._octets_each:
            self._forget(next(iter(of_ip)))
        while self.size > self._octets:
            self._forget(next(iter(self._answers)))

    def give_up(self, key: bytes) -> None:
        """It is not answered; should it come again, it is a new one."""
        entry = self._work.pop(key, None)
        if entry is not None:
            self._less_work(entry.ip)

    def _expire(self, now: float) -> None:
        while self._answers:
            key, entry = next(iter(self._answers.items()))
            if entry.at + self._keep_s > now:
                break
            self._forget(key)
        while self._work:
            key, entry = next(iter(self._work.items()))
            if entry.at + WORK_S > now:
                break
            self.give_up(key)

    def _forget(self, key: bytes) -> None:
        entry = self._answers.pop(key)
        self.size -= entry.size
        self._sizes[entry.ip] -= entry.size
        of_ip = self._of[entry.ip]
        del of_ip[key]
        if not of_ip:
            del self._of[entry.ip], self._sizes[entry.ip]

    def _less_work(self, ip: IPAddress) -> None:
        self._working[ip] -= 1
        if not self._working[ip]:
            del self._working[ip]
