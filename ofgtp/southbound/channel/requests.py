"""Requests to the switch that are answered: who waits for which reply, and how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import eventlet
from eventlet.event import Event
from eventlet.queue import LightQueue

from ofgtp.core.errors import SwitchRefused
from ofgtp.southbound.channel.errors import Disconnected, NotConfirmed
from ofgtp.southbound.channel.xids import XIDS

CONFIRM_S = 5.0
"""Longest wait for a barrier or a reply, in seconds."""

STATS_S = 30.0
"""Longest wait between two parts of a long reply, in seconds."""


class Requests:
    """Those of one connection. Raises Disconnected and NotConfirmed from every waiting call."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._waiting: dict[int, Event | Place] = {}
        self._parts: dict[int, list[bytes]] = {}
        self._streams: dict[int, LightQueue] = {}
        """Replies that are read part by part."""
        self.closed = False
        self.silent = False
        """Whether a wait for the switch ran out and nothing has come from it since."""

    # --- what comes

    def refused(self, xid: int, reason: str) -> bool:
        """Take the switch's refusal of a request; False if nobody waits for that one."""
        if xid in self._waiting:
            self._waiting.pop(xid).send_exception(SwitchRefused(reason))
        elif xid in self._streams:
            self._streams[xid].put(SwitchRefused(reason))
        else:
            return False
        return True

    def part(self, xid: int, part: bytes, more: bool) -> bool:
        """Take a part of a reply; False if nobody waits for that one."""
        if xid in self._streams:
            self._streams[xid].put((part, more))
        elif xid in self._waiting:
            self._parts.setdefault(xid, []).append(part)
            if not more:
                self._waiting.pop(xid).send(self._parts.pop(xid))
        else:
            return False
        return True

    def answered(self, xid: int, body: bytes) -> None:
        """Take a reply that is whole."""
        if xid in self._waiting:
            self._waiting.pop(xid).send([body])

    def close(self) -> None:
        """The connection is gone: whoever waits gets Disconnected."""
        self.closed = True
        for event in self._waiting.values():
            event.send_exception(Disconnected("the switch disconnected"))
        for stream in self._streams.values():
            stream.put(Disconnected("the switch disconnected"))
        self._waiting.clear()
        self._parts.clear()

    # --- what is asked

    def ask(self, xid: int, request: bytes, seconds: float = CONFIRM_S) -> list[bytes]:
        """Send a request with this id, and wait for the bodies of its reply."""
        event = self.expect(xid)
        self._send(request)
        return self.wait(event, seconds)

    def ask_many(
        self, count: int, requests: Callable[[int], bytes], place: type[Place]
    ) -> list[bytes]:
        """The answers to so many requests, which are made for the first of their ids."""
        if self.closed:
            raise Disconnected("the switch is not connected")
        if not count:
            return []
        first, replies = XIDS.take(count), _Replies(count)
        xids = range(first, first + count)
        self._waiting.update((xid, place(replies, at)) for at, xid in enumerate(xids))
        try:
            self._send(requests(first))
            self.wait(replies.event)
        finally:
            for xid in xids:
                self._waiting.pop(xid, None)
        return replies.bodies

    def expect(self, xid: int) -> Event:
        """What is waited for, for the reply to a request that is about to be sent."""
        if self.closed:
            raise Disconnected("the switch is not connected")
        event = self._waiting[xid] = Event()
        return event

    def wait(self, event: Event, seconds: float = CONFIRM_S) -> list[bytes]:
        """The bodies of a reply, once it is here."""
        late = NotConfirmed(f"no answer within {seconds:g} s")
        try:
            with eventlet.Timeout(seconds, late):
                answer: list[bytes] = event.wait()
        except NotConfirmed as error:
            # A caller with less patience gives up earlier: that says nothing of the switch.
            self.silent |= error is late
            raise
        return answer

    @contextmanager
    def stream(self, count: int = 1) -> Iterator[tuple[int, LightQueue]]:
        """The first of so many ids in a row, and what the parts of the replies to these go into;
        see `next_part`."""
        if self.closed:
            raise Disconnected("the switch is not connected")
        first, stream = XIDS.take(count), LightQueue()
        xids = range(first, first + count)
        self._streams |= dict.fromkeys(xids, stream)
        try:
            yield first, stream
        finally:
            for xid in xids:
                del self._streams[xid]

    def parts_of(self, stream: LightQueue) -> Iterator[bytes]:
        """The parts of the one reply that goes into a stream, each as soon as it is here."""
        more = True
        while more:
            part, more = self.next_part(stream)
            yield part
            eventlet.sleep(0)

    def next_part(self, stream: LightQueue) -> tuple[bytes, bool]:
        """What a stream has next, and whether there is more of that reply."""
        late = NotConfirmed(f"no answer within {STATS_S:g} s")
        try:
            if stream.qsize():
                said = stream.get()
            else:
                with eventlet.Timeout(STATS_S, late):
                    said = stream.get()
        except NotConfirmed as error:
            self.silent |= error is late
            raise
        if isinstance(said, Exception):
            raise said
        part: tuple[bytes, bool] = said
        return part


class _Replies:
    """The answers to many requests that are awaited together."""

    def __init__(self, count: int) -> None:
        self.bodies = [b""] * count
        self.left = count
        self.event = Event()


class Place:
    """One of them, as it is awaited."""

    __slots__ = ("_place", "_replies")

    def __init__(self, replies: _Replies, place: int) -> None:
        self._replies, self._place = replies, place

    def send(self, parts: list[bytes]) -> None:
        """It is here."""
        replies = self._replies
        replies.bodies[self._place] = parts[0] if len(parts) == 1 else b"".join(parts)
        replies.left -= 1
        if not replies.left:
            replies.event.send([])

    def send_exception(self, error: Exception) -> None:
        """There is none."""
        if not self._replies.event.ready():
            self._replies.event.send_exception(error)


class Perhaps(Place):
    """One of them that the switch may refuse, as what is asked for has gone."""

    __slots__ = ()

    def send_exception(self, error: Exception) -> None:
        """There is none."""
        if isinstance(error, SwitchRefused):
            self.send([])
        else:
            super().send_exception(error)
