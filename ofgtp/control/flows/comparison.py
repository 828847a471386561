"""What a switch has against what it should have, entry by entry as its bytes come in.

Decoding a flow takes tens of microseconds. So sessions' flows, which are nearly all there are, are
not decoded but compared, as bytes, with what the switch would report if they were right.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Set

from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import SESSION_NUMBER_MAX, CookieKind, Flow, make_cookie
from ofgtp.core.flows.pipeline import DOWNLINK, UPLINK
from ofgtp.core.model import FlowValues, Session
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import SESSION_PRIORITY
from ofgtp.core.sessions.shape import Numbers, numbers_of
from ofgtp.southbound import openflow as of
from ofgtp.southbound.prepared import Prepared, session_of
from ofgtp.southbound.templates import Template, TemplateError

_ENTRY = struct.Struct("!HBx8xHHHHH2xQ16x")
"""A flow-stats entry up to its match: length, table, priority, timeouts, flags, importance, cookie;
without its age and counters."""

_SESSION_COOKIE = make_cookie(CookieKind.SESSION)
_UP_HEAD = [UPLINK.number, SESSION_PRIORITY, 0, 0, 0, 0]
_DOWN_HEAD = [DOWNLINK.number, SESSION_PRIORITY, 0, 0, 0, 0]


class _Detailed:
    """A session that is more than a tunnel pair."""

    __slots__ = ("numbers", "template", "unseen")

    def __init__(self, template: Template | None, numbers: Numbers) -> None:
        self.template, self.numbers = template, numbers
        self.unseen = -1 if template is None else (1 << template.flows) - 1
        """A bit for each of its flows that was not reported as it should be. Without a template
        none is looked for."""


class Comparison:
    """Takes all that the switch reports, part by part; then tells what differs."""

    def __init__(
        self,
        prepared: Prepared,
        sessions: Iterable[FlowValues],
        detailed: Iterable[Session] = (),
    ) -> None:
        self._prepared = prepared
        self._detailed: dict[int, _Detailed] = {}
        self._cookieless: dict[of.Entry, tuple[_Detailed, int]] = {}
        """Their flows without a cookie of the session."""
        for session in detailed:
            self._expect(session)
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
        self.seen = [0] * 256
        """How many flows of each table it has taken."""
        self.passed_over: Set[int] = frozenset()
        """Tables whose flows are not taken any more."""

    @property
    def numbers(self) -> list[int]:
        """The sessions' numbers, in order."""
        return sorted({*self._sessions, *self._detailed})

    @property
    def dropped(self) -> list[int]:
        """UE addresses for which there should be a flow that drops, in order."""
        return sorted(values.ue_ip for values in self._dropped.values())

    def take(self, part: bytes, wanted: Callable[[int], bool] | None = None) -> None:
        """Take the body of a flow-stats reply's part; if `wanted` is given, of the flows with
        such cookies. Raises CodecError."""
        start, end = 0, len(part)
        unpack, session_of_number = _ENTRY.unpack_from, self._sessions.get
        detailed = self._detailed.get
        up, down = self._up, self._down
        seen, passed_over = self.seen, self.passed_over
        reported_up, reported_down = self._prepared.reported_up, self._prepared.reported_down
        while start < end:
            if end - start < _ENTRY.size:
                raise CodecError("a flow-stats entry is cut short")
            size, *head, cookie = unpack(part, start)
            behind = start + size
            if size < _ENTRY.size or behind > end:
                raise CodecError("a flow-stats entry has a wrong length")
            if head[0] in passed_over or (wanted is not None and not wanted(cookie)):
                start = behind
                continue
            self.reported += 1
            seen[head[0]] += 1
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
                more = detailed(number)
                if more is not None and _is_of(more, head, content):
                    start = behind
                    continue
            elif (head == _DOWN_HEAD and self._is_drop(content, cookie)) or self._is_detaileds(
                head, cookie, content
            ):
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

    def _expect(self, session: Session) -> None:
        if session.detail is None:
            return
        numbers = numbers_of(session, session.detail)
        try:
            template = self._prepared.templates.of(session, session.detail)
        except TemplateError:
            self._detailed[session.number] = _Detailed(None, numbers)
            return
        made = self._detailed[session.number] = _Detailed(template, numbers)
        if template.drops:
            own = _SESSION_COOKIE | session.number
            for place, entry in enumerate(template.entries(numbers)):
                if entry.cookie != own:
                    self._cookieless[entry] = made, place

    def _is_detaileds(self, head: list[int], cookie: int, content: bytes) -> bool:
        table, priority, *rest = head
        found = self._cookieless.get(of.Entry(table, priority, cookie, content))
        if found is None or any(rest):
            return False
        session, place = found
        session.unseen &= ~(1 << place)
        return True

    def missing_of(self, sessions: Iterable[Session]) -> Iterator[Flow]:
        """The flows that are not there, of these sessions that are more than tunnel pairs."""
        for session in sessions:
            known = self._detailed.get(session.number)
            unseen = -1 if known is None else known.unseen
            if unseen:
                flows = session_flows(session, self._prepared.links)
                yield from (flow for place, flow in enumerate(flows) if unseen >> place & 1)

    @property
    def detailed_differ(self) -> bool:
        """Whether a flow of theirs is not there."""
        return any(each.unseen for each in self._detailed.values())

    def missing(self) -> list[FlowValues]:
        """The sessions of which the switch has no flow as it should be."""
        return [self._sessions[number] for number in sorted(self._up & self._down)]

    def missing_flows(self) -> Iterator[Flow]:
        """The flows that are not there, of sessions of which the other one is."""
        for lacking, other, place in ((self._up, self._down, 0), (self._down, self._up, 1)):
            for number in sorted(lacking - other):
                session = session_of(self._sessions[number])
                yield session_flows(session, self._prepared.links)[place]


def _is_of(session: _Detailed, head: list[int], content: bytes) -> bool:
    """Whether that is a flow of a session as it should be."""
    table, priority, *rest = head
    template = session.template
    if template is None or any(rest):
        return False
    for place in template.places.get((table, priority), ()):
        bit = 1 << place
        if session.unseen & bit and template.reported(session.numbers, place) == content:
            session.unseen &= ~bit
            return True
    return False
