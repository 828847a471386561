"""Flows of sessions with bearers as bytes: those of one shape are encoded once, then patched.

Most have one of a few shapes (`core/sessions/shape.py`). As in `prepared`, what is made here is
what the codec would make: a template is held to it when it is made, with other numbers than it was
made from.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from ofgtp.core.errors import OfgtpError
from ofgtp.core.flows.flow import CookieKind, Flow, SetField, make_cookie
from ofgtp.core.model import Session
from ofgtp.core.rules.session import owned_flows, session_flows
from ofgtp.core.rules.terms import GROUP_BITS, Links
from ofgtp.core.sessions.detail import SLOT_MAX, Detail
from ofgtp.core.sessions.rules import METERS_OF_A_SESSION
from ofgtp.core.sessions.shape import Numbers, numbers_of, shape_of, with_numbers
from ofgtp.southbound import openflow as of

_BUNDLE, _XID = 0xB1B2B3B4, 0xC1C2C3C4
_NUMBER, _SLOT = 0xA1A2A3A4A5, SLOT_MAX - 0xA5A4
_FIRSTS, _STEP = (0x9192A3B5, 0x8BADC0D1, 0xE7D6C5B4), 0x01020305
"""Numbers that stand in a sample where those of a session are to go. Should a filter name one of
them, others are tried."""

SHAPES_KEPT = 1_000


class TemplateError(OfgtpError):
    """A template that would not make what the codec makes."""


class _Form:
    """Bytes of all flows of a shape, with holes."""

    def __init__(self, samples: Sequence[bytes], holes: Sequence[dict[bytes, int]]) -> None:
        """`holes` are, for each flow, patterns and the place among the numbers of what goes there;
        of a pattern the last octets are replaced, 8 of a cookie, else 4."""
        layout, places, rest = "!", [], b""
        self._parts: list[Any] = []
        """Bytes and numbers in turn."""
        for sample, patterns in zip(samples, holes, strict=True):
            at = 0
            for start, size, place in sorted(_found(sample, patterns)):
                fixed = rest + sample[at:start]
                layout += f"{len(fixed)}s{'Q' if size == 8 else 'I'}"
                self._parts += [fixed, 0]
                places.append(place)
                at, rest = start + size, b""
            rest += sample[at:]
        self._parts.append(rest)
        self._pack = struct.Struct(f"{layout}{len(rest)}s").pack
        # A session may have no flows: its control plane has named no key yet, or taken all away.
        # A flow alone may have one number.
        self._get: Callable[[Sequence[int]], Sequence[int]] = (
            itemgetter(*places)
            if len(places) > 1
            else lambda numbers: [numbers[place] for place in places]
        )

    def __call__(self, numbers: Sequence[int]) -> bytes:
        parts = self._parts.copy()
        parts[1::2] = self._get(numbers)
        return self._pack(*parts)


def _found(sample: bytes, patterns: dict[bytes, int]) -> Iterator[tuple[int, int, int]]:
    for pattern, place in patterns.items():
        size = 8 if len(pattern) == 8 else 4
        at = sample.find(pattern)
        while at >= 0:
            end = at + len(pattern)
            yield end - size, size, place
            at = sample.find(pattern, end)


class Template:
    """The flows of all sessions of one shape, for a gateway's links."""

    def __init__(self, session: Session, detail: Detail, links: Links, first: int) -> None:
        """`first` is the first of the sample's numbers.

        Raises:
            TemplateError: numbers of the sample stand elsewhere in the flows, too.
        """
        count = len(numbers_of(session, detail).values)
        wanted = tuple((first + place * _STEP) & 0xFFFF_FFFF for place in range(count))
        sample = with_numbers(session, detail, Numbers(_NUMBER, _SLOT, wanted))
        magic = numbers_of(sample, sample.detail or detail).values
        self.owned = owned_flows(sample, links)
        """The flows of the sample, and whose each is."""
        made = [each.flow for each in self.owned]
        self.flows = len(made)
        slot = _SLOT << GROUP_BITS
        self._reg6 = sorted({value - slot for flow in made for value in _reg6(flow)})
        meters = {flow.meter for flow in made if flow.meter is not None}
        self._meters = sorted(meter - _SLOT * METERS_OF_A_SESSION for meter in meters)
        order = ["bundle", "cookie", *magic]
        order += [("reg6", base) for base in self._reg6]
        order += [("meter", base) for base in self._meters]
        self._head = len(order)
        place = {name: index for index, name in enumerate(order)}
        holes = []
        for index, flow in enumerate(made):
            patterns = {
                make_cookie(CookieKind.SESSION, _NUMBER).to_bytes(8, "big"): place["cookie"],
                _BUNDLE.to_bytes(4, "big"): place["bundle"],
                _XID.to_bytes(4, "big"): self._head + index,
            }
            patterns |= {value.to_bytes(4, "big"): place[value] for value in magic}
            for value in _reg6(flow):
                base = value - slot
                patterns[value.to_bytes(4, "big")] = place["reg6", base]
            if flow.meter is not None:
                base = flow.meter - _SLOT * METERS_OF_A_SESSION
                patterns[flow.meter.to_bytes(4, "big")] = place["meter", base]
            holes.append(patterns)

        def form(command: of.Command) -> _Form:
            mods = [of.flow_mod(command, flow, _XID) for flow in made]
            return _Form([of.bundle_add(_BUNDLE, mod, _XID) for mod in mods], holes)

        self._add, self._delete = form(of.Command.ADD), form(of.Command.DELETE_STRICT)
        self._reports = [
            _Form([of.reported(flow)], [patterns])
            for flow, patterns in zip(made, holes, strict=True)
        ]
        own = make_cookie(CookieKind.SESSION, _NUMBER)
        self._heads = [
            (flow.table, flow.priority, None if flow.cookie == own else flow.cookie)
            for flow in made
        ]
        """Those that drop have no cookie of their session."""
        self.places: dict[tuple[int, int], list[int]] = {}
        """Of flows with a cookie of their session, by table and priority."""
        for index, (table, priority, cookie) in enumerate(self._heads):
            if cookie is None:
                self.places.setdefault((table, priority), []).append(index)
        self.drops = any(cookie is not None for _, _, cookie in self._heads)
        self._check(session, detail, links)

    def add(self, numbers: Numbers, bundle: int, xid: int) -> bytes:
        """The messages that put a session's flows into a bundle; they take one id each."""
        return self._add(self._all(numbers, bundle, xid))

    def delete(self, numbers: Numbers, bundle: int, xid: int) -> bytes:
        """Likewise those that delete them."""
        return self._delete(self._all(numbers, bundle, xid))

    def entries(self, numbers: Numbers) -> list[of.Entry]:
        """All flows as the switch reports them."""
        values = self._all(numbers, 0, 0)
        own = _SESSION_COOKIE | numbers.number
        return [
            of.Entry(table, priority, own if cookie is None else cookie, form(values))
            for (table, priority, cookie), form in zip(self._heads, self._reports, strict=True)
        ]

    def reported(self, numbers: Numbers, place: int) -> bytes:
        """Match and instructions of one of the flows as the switch reports them."""
        return self._reports[place](self._all(numbers, 0, 0))

    def _all(self, numbers: Numbers, bundle: int, xid: int) -> list[int]:
        number, slot, values = numbers
        base = slot << GROUP_BITS
        registers = [base + each for each in self._reg6]
        return [
            bundle,
            _SESSION_COOKIE | number,
            *values,
            *registers,
            *[slot * METERS_OF_A_SESSION + each for each in self._meters],
            *range(xid, xid + self.flows),
        ]

    def _check(self, session: Session, detail: Detail, links: Links) -> None:
        """Hold both forms to the codec, with other numbers."""
        count = len(numbers_of(session, detail).values)
        other = Numbers(7, 3, tuple(0x0A010203 + 259 * place for place in range(count)))
        made_so = with_numbers(session, detail, other)
        other = numbers_of(made_so, made_so.detail or detail)
        flows = session_flows(made_so, links)
        for command, made in (
            (of.Command.ADD, self.add(other, 5, 6)),
            (of.Command.DELETE_STRICT, self.delete(other, 5, 6)),
        ):
            mods = [of.flow_mod(command, flow, xid) for xid, flow in enumerate(flows, 6)]
            codec = b"".join(of.bundle_add(5, mod, xid) for xid, mod in enumerate(mods, 6))
            if made != codec:
                raise TemplateError(f"the bytes differ from the codec's: {session}")
        if self.entries(other) != [of.entry_of(flow) for flow in flows]:
            raise TemplateError(f"the bytes differ from the codec's: {session}")


class Templates:
    """Those that a gateway's sessions have needed so far."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._made: dict[Hashable, Template] = {}

    def of(self, session: Session, detail: Detail) -> Template:
        """The template of a session's shape.

        Raises:
            TemplateError: its filters name numbers of every sample; its flows are to be encoded.
        """
        shape = shape_of(session, detail)
        template = self._made.get(shape)
        if template is None:
            if len(self._made) >= SHAPES_KEPT:
                self._made.clear()
            template = self._made[shape] = self._make(session, detail)
        return template

    def _make(self, session: Session, detail: Detail) -> Template:
        for first in _FIRSTS:
            try:
                return Template(session, detail, self._links, first)
            except TemplateError:
                continue
        raise TemplateError(f"no template can be made for {session}")


_SESSION_COOKIE = make_cookie(CookieKind.SESSION)


def _reg6(flow: Flow) -> set[int]:
    """Values of register 6 that a flow asks for or writes."""
    asked = {each.value for each in flow.match if each.field == "reg6"}
    written = {
        action.value
        for action in flow.actions
        if isinstance(action, SetField) and action.field == "reg6"
    }
    return asked | written
