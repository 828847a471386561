"""What a switch has against what it should have, entry by entry as its bytes come in.

Decoding a flow takes tens of microseconds. So sessions' flows, which are nearly all there are, are
not decoded but compared, as bytes, with what the switch would report if they were right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import SESSION_NUMBER_MAX, CookieKind, Flow, make_cookie
from ofgtp.core.flows.pipeline import DOWNLINK, UPLINK
from ofgtp.core.model import FlowValues
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import SESSION_PRIORITY
from ofgtp.southbound import openflow as of
from ofgtp.southbound.prepared import Prepared, session_of

_ENTRY = struct.Struct("!HBx8xHHHHH2xQ16x")
"""A flow-stats entry up to its match: length, table, priority, timeouts, flags, importance, cookie;
without its age and counters."""

_SESSION_COOKIE = make_cookie(CookieKind.SESSION)
_UP_HEAD = [UPLINK.number, SESSION_PRIORITY, 0, 0, 0, 0]
_DOWN_HEAD = [DOWNLINK.number, SESSION_PRIORITY, 0, 0, 0, 0]


class Comparison:
    """Takes all that the switch reports, part by part; then tells what differs."""

    def __init__(self, prepared: Prepared, sessions: Iterable[FlowValues]) -> None:
        self._prepared = prepared
        self._sessions = {values.number: values for values in sessions}
        self._up, self._down = set(self._sessions), set(self._sessions)
        """Sessions whose flow has not been seen."""
        self._dropped = {
            prepared.reported_down(values): values
            for values in self._sessions.values()
            if not values.sends
        }
        """Downlink flows that are drops: their cookies do not name the session."""
        self.others: list[of.FlowStats] = []
        """All that is not a session's flow as it should be."""
        self.reported = 0

    def take(self, part: bytes) -> None:
        """Take the body of a flow-stats reply's part. Raises CodecError."""
        start, end = 0, len(part)
        unpack, session_of_number = _ENTRY.unpack_from, self._sessions.get
        up, down = self._up, self._down
        reported_up, reported_down = self._prepared.reported_up, self._prepared.reported_down
        while start < end:
            if end - start < _ENTRY.size:
                raise CodecError("a flow-stats entry is cut short")
            size, *head, cookie = unpack(part, start)
            behind = start + size
            if size < _ENTRY.size or behind > end:
                raise CodecError("a flow-stats entry has a wrong length")
            self.reported += 1
            number = cookie - _SESSION_COOKIE
            content = part[start + _ENTRY.size : behind]
            if 0 <= number <= SESSION_NUMBER_MAX:
                if head == _UP_HEAD:
                    values = session_of_number(number)
                    if values is not None and content == reported_up(values):
                        up.discard(number)
                        start = behind
                        continue
                elif head == _DOWN_HEAD:
                    values = session_of_number(number)
                    if values is not None and values.sends and content == reported_down(values):
                        down.discard(number)
                        start = behind
                        continue
            elif head == _DOWN_HEAD and self._is_drop(content, cookie):
                start = behind
                continue
            self.others += of.decode_flow_stats(part[start:behind])
            start = behind

    def _is_drop(self, content: bytes, cookie: int) -> bool:
        values = self._dropped.get(content)
        if values is None:
            return False
        _, wanted = session_flows(session_of(values), self._prepared.links)
        if wanted.cookie != cookie:
            return False
        self._down.discard(values.number)
        return True

    def missing(self) -> list[FlowValues]:
        """The sessions of which the switch has no flow as it should be."""
        return [self._sessions[number] for number in sorted(self._up & self._down)]

    def missing_flows(self) -> Iterator[Flow]:
        """The flows that are not there, of sessions of which the other one is."""
        for lacking, other, place in ((self._up, self._down, 0), (self._down, self._up, 1)):
            for number in sorted(lacking - other):
                session = session_of(self._sessions[number])
                yield session_flows(session, self._prepared.links)[place]
