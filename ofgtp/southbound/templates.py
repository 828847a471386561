"""Flows of sessions with bearers as bytes: those of one shape are encoded once, then patched.

Two sessions have one shape if their rules differ in numbers only: addresses, TEIDs, and what the
store has given them. Many sessions share a few shapes, since filters and rates come from an
operator's policy and not from the UE. As in `prepared`, what is made here is what the codec would
make: a template is held to it when it is made, with other numbers than it was made from.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from operator import itemgetter
from typing import NamedTuple

from ofgtp.core.errors import OfgtpError
from ofgtp.core.flows.flow import CookieKind, Flow, SetField, make_cookie
from ofgtp.core.model import FTeid, Session, Uplink
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import GROUP_BITS, Links
from ofgtp.core.sessions.detail import SLOT_MAX, Bearer, Detail, Rates
from ofgtp.core.sessions.rule import Forward, Rule, Tunnel
from ofgtp.core.sessions.rules import METERS_OF_A_SESSION
from ofgtp.southbound import openflow as of

_BUNDLE, _XID = 0xB1B2B3B4, 0xC1C2C3C4
_NUMBER, _SLOT = 0xA1A2A3A4A5, SLOT_MAX - 0xA5A4
_FIRSTS, _STEP = (0x9192A3B5, 0x8BADC0D1, 0xE7D6C5B4), 0x01020305
"""Numbers that stand in a sample where those of a session are to go. Should a filter name one of
them, others are tried."""

SHAPES_KEPT = 1_000


class Numbers(NamedTuple):
    """The numbers of a session that stand in its flows, in the order of its shape."""

    number: int
    slot: int
    values: tuple[int, ...]
    """32 bits each: UE address, TEIDs, peers' addresses."""


def shape_of(session: Session, detail: Detail) -> Hashable:
    """All of a session but its numbers."""
    return (
        session.ue_ip is None,
        None if session.uplink is None else session.uplink.remote_ip is None,
        session.downlink is None,
        session.error_indicated,
        session.qos,
        detail.way,
        _limits(detail.ambr),
        None if detail.relay is None else detail.relay.error_indicated,
        detail.breakout,
        detail.framed_routes,
        *[_bearer_shape(bearer) for bearer in detail.bearers],
        *_Rules(detail.rules).shape(),
    )


def _limits(rates: Rates) -> tuple[bool, bool]:
    """The rates themselves are the meters', which have no part in the flows."""
    return rates.uplink is not None, rates.downlink is not None


def _bearer_shape(bearer: Bearer) -> Hashable:
    return (
        bearer.index,
        bearer.precedence,
        bearer.filters,
        bearer.uplink is None,
        bearer.uplink is not None and bearer.uplink.remote_ip is None,
        bearer.downlink is None,
        bearer.shares_downlink,
        bearer.error_indicated,
        bearer.qos,
        bearer.gate,
        _limits(bearer.mbr),
    )


def numbers_of(session: Session, detail: Detail) -> Numbers:
    """The numbers of a session."""
    return Numbers(session.number, detail.slot, tuple(_values(session, detail)))


def _values(session: Session, detail: Detail) -> Iterator[int]:
    if session.ue_ip is not None:
        yield int(session.ue_ip)
    if session.uplink is not None:
        yield from _of_uplink(session.uplink)
    yield from _of_tunnel(session.downlink)
    if detail.relay is not None:
        yield detail.relay.teid
        yield from _of_tunnel(detail.relay.remote)
    for bearer in detail.bearers:
        if bearer.uplink is not None:
            yield from _of_uplink(bearer.uplink)
        yield from _of_tunnel(bearer.downlink)
    if detail.rules:
        yield from _Rules(detail.rules).numbers()


def _of_uplink(uplink: Uplink) -> Iterator[int]:
    yield uplink.teid
    if uplink.remote_ip is not None:
        yield int(uplink.remote_ip)


def _of_tunnel(far: FTeid | None) -> Iterator[int]:
    if far is not None:
        yield far.teid
        yield int(far.ip)


def _with_numbers(session: Session, detail: Detail, numbers: Numbers) -> Session:
    """A session of the same shape with other numbers."""
    given = iter(numbers.values)

    def uplink(old: Uplink) -> Uplink:
        teid = next(given)
        return Uplink(teid, None if old.remote_ip is None else IPv4Address(next(given)))

    def tunnel(old: FTeid | None) -> FTeid | None:
        return None if old is None else FTeid(next(given), IPv4Address(next(given)))

    ue_ip = None if session.ue_ip is None else IPv4Address(next(given))
    up = None if session.uplink is None else uplink(session.uplink)
    down, relay = tunnel(session.downlink), detail.relay
    if relay is not None:
        relay = replace(relay, teid=next(given), remote=tunnel(relay.remote) or relay.remote)
    bearers = tuple(
        replace(
            each,
            uplink=None if each.uplink is None else uplink(each.uplink),
            downlink=tunnel(each.downlink),
        )
        for each in detail.bearers
    )
    rules = _Rules(detail.rules).with_numbers(given)
    made = replace(detail, slot=numbers.slot, relay=relay, bearers=bearers, rules=rules)
    return replace(
        session, number=numbers.number, ue_ip=ue_ip, uplink=up, downlink=down, detail=made
    )


class TemplateError(OfgtpError):
    """A template that would not make what the codec makes."""


class _Rules:
    """The numbers in a control plane's rules: each that stands in several of them once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._ue: dict[IPv4Network, int] = {}
        self._teids: dict[int, int] = {}
        self._peers: dict[IPv4Address, int] = {}
        self._tunnels: dict[FTeid, int] = {}
        for rule in rules:
            for prefix in rule.ue:
                if prefix.prefixlen == prefix.max_prefixlen:
                    self._ue.setdefault(prefix, len(self._ue))
            if rule.teid is not None:
                self._teids.setdefault(rule.teid, len(self._teids))
            if rule.peer is not None:
                self._peers.setdefault(rule.peer, len(self._peers))
            if isinstance(rule.forward, Tunnel):
                self._tunnels.setdefault(rule.forward.to, len(self._tunnels))

    def shape(self) -> Iterator[Hashable]:
        """The rules, with places in the lists of numbers where numbers stand."""
        for rule in self._rules:
            forward: Hashable = rule.forward
            if isinstance(rule.forward, Tunnel):
                forward = self._tunnels[rule.forward.to], rule.forward.octet
            yield (
                rule.id,
                rule.source,
                rule.precedence,
                forward,
                None if rule.teid is None else self._teids[rule.teid],
                None if rule.peer is None else self._peers[rule.peer],
                tuple(self._ue.get(prefix, prefix) for prefix in rule.ue),
                rule.filters,
                rule.qfis,
                rule.container,
                rule.meters,
            )

    def numbers(self) -> Iterator[int]:
        """Those of the lists."""
        yield from (int(prefix.network_address) for prefix in self._ue)
        yield from self._teids
        yield from map(int, self._peers)
        for tunnel in self._tunnels:
            yield from _of_tunnel(tunnel)

    def with_numbers(self, given: Iterator[int]) -> tuple[Rule, ...]:
        """The rules with other numbers."""
        ue = {prefix: IPv4Network((next(given), prefix.max_prefixlen)) for prefix in self._ue}
        teids = {teid: next(given) for teid in self._teids}
        peers = {peer: IPv4Address(next(given)) for peer in self._peers}
        tunnels = {tunnel: FTeid(next(given), IPv4Address(next(given))) for tunnel in self._tunnels}

        def forward(old: Forward) -> Forward:
            return Tunnel(tunnels[old.to], old.octet) if isinstance(old, Tunnel) else old

        return tuple(
            replace(
                rule,
                forward=forward(rule.forward),
                teid=None if rule.teid is None else teids[rule.teid],
                peer=None if rule.peer is None else peers[rule.peer],
                ue=tuple(ue.get(prefix, prefix) for prefix in rule.ue),
            )
            for rule in self._rules
        )


class _Form:
    """Bytes of all flows of a shape, with holes."""

    def __init__(self, samples: Sequence[bytes], holes: Sequence[dict[bytes, int]]) -> None:
        """`holes` are, for each flow, patterns and the place among the numbers of what goes there;
        of a pattern the last octets are replaced, 8 of a cookie, else 4."""
        layout, parts, places = "!", [], []
        for sample, patterns in zip(samples, holes, strict=True):
            at = 0
            for start, size, place in sorted(_found(sample, patterns)):
                layout += f"{start - at}s{'Q' if size == 8 else 'I'}"
                parts += [sample[at:start], 0]
                places.append(place)
                at = start + size
            layout += f"{len(sample) - at}s"
            parts.append(sample[at:])
        self._pack = struct.Struct(layout).pack
        self._parts = parts
        self._holes = [place for place, part in enumerate(parts) if part == 0]
        # A session may have no flows: its control plane has named no key yet, or taken all away.
        self._get: Callable[[Sequence[int]], Sequence[int]] = (
            itemgetter(*places) if places else lambda numbers: ()
        )

    def __call__(self, numbers: Sequence[int]) -> bytes:
        parts = self._parts.copy()
        for hole, value in zip(self._holes, self._get(numbers), strict=True):
            parts[hole] = value
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
        magic = tuple((first + place * _STEP) & 0xFFFF_FFFF for place in range(count))
        sample = _with_numbers(session, detail, Numbers(_NUMBER, _SLOT, magic))
        made = session_flows(sample, links)
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
        self._check(session, detail, links)

    def add(self, numbers: Numbers, bundle: int, xid: int) -> bytes:
        """The messages that put a session's flows into a bundle; they take one id each."""
        return self._add(self._all(numbers, bundle, xid))

    def delete(self, numbers: Numbers, bundle: int, xid: int) -> bytes:
        """Likewise those that delete them."""
        return self._delete(self._all(numbers, bundle, xid))

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
        flows = session_flows(_with_numbers(session, detail, other), links)
        for command, made in (
            (of.Command.ADD, self.add(other, 5, 6)),
            (of.Command.DELETE_STRICT, self.delete(other, 5, 6)),
        ):
            mods = [of.flow_mod(command, flow, xid) for xid, flow in enumerate(flows, 6)]
            codec = b"".join(of.bundle_add(5, mod, xid) for xid, mod in enumerate(mods, 6))
            if made != codec:
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
