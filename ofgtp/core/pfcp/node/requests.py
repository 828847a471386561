"""Requests of ours: sent up to N1 times, T1 apart, until they are answered (TS 29.244, 6.4)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ofgtp.core.agenda import Agenda
from ofgtp.core.pfcp.node.actions import Endpoint, Send
from ofgtp.core.pfcp.node.associations import IPAddress
from ofgtp.core.pfcp.wire.header import SEQUENCE_MAX, MessageType
from ofgtp.core.pfcp.wire.messages import Message, kind_of, write


@dataclass(slots=True)
class _Request:
    send: Send
    response: MessageType
    token: Hashable
    attempts: int = 1


class Requests:
    """All take their sequence numbers from one counter, whoever they go to.

    `now` is seconds of a steady clock.
    """

    def __init__(self, t1_s: float, n1: int, sequence: int) -> None:
        """`sequence` is the last number that was used."""
        self._t1_s, self._n1, self._sequence = t1_s, n1, sequence
        self._requests: dict[int, _Request] = {}
        self._sequences: dict[Hashable, int] = {}
        self._agenda: Agenda[int] = Agenda()

    def __len__(self) -> int:
        return len(self._requests)

    def send(
        self, to: Endpoint, message: Message, seid: int | None, token: Hashable, now: float
    ) -> Send:
        """Begin one; `token` names it, and must not name another that is under way.

        Raises:
            ValueError: another with this token is under way, or no sequence number is free.
        """
        if token in self._sequences:
            raise ValueError(f"a request {token} is under way")
        if len(self._requests) > SEQUENCE_MAX:
            raise ValueError("no sequence number is free")
        self._sequence = (self._sequence + 1) & SEQUENCE_MAX
        while self._sequence in self._requests:
            self._sequence = (self._sequence + 1) & SEQUENCE_MAX
        send = Send(to, write(message, self._sequence, seid))
        response = MessageType(kind_of(message) + 1)
        self._requests[self._sequence] = _Request(send, response, token)
        self._sequences[token] = self._sequence
        self._agenda.set(self._sequence, now + self._t1_s)
        return send

    def under_way(self, token: Hashable) -> bool:
        """Whether one is waited for."""
        return token in self._sequences

    def answered(self, ip: IPAddress, response: MessageType, sequence: int) -> Hashable | None:
        """A response came from an address: the request that it ends, if there is one."""
        request = self._requests.get(sequence)
        if request is None or request.response is not response or request.send.to.ip != ip:
            return None
        self._end(sequence, request)
        return request.token

    def cancel(self, token: Hashable) -> None:
        """Wait no longer for one, if it is under way."""
        sequence = self._sequences.get(token)
        if sequence is not None:
            self._end(sequence, self._requests[sequence])

    def tick(self, now: float) -> tuple[list[Send], list[Hashable]]:
        """What to send again, and the requests that were not answered."""
        again: list[Send] = []
        silent: list[Hashable] = []
        while (sequence := self._agenda.first(now)) is not None:
            request = self._requests[sequence]
            if request.attempts >= self._n1:
                self._end(sequence, request)
                silent.append(request.token)
            else:
                request.attempts += 1
                again.append(request.send)
                self._agenda.set(sequence, now + self._t1_s)
        return again, silent

    def _end(self, sequence: int, request: _Request) -> None:
        del self._requests[sequence], self._sequences[request.token]
        self._agenda.drop(sequence)
