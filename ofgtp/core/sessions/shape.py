"""A session as a shape and numbers.

Two sessions have one shape if their rules differ in numbers only: addresses, TEIDs, and what the
store has given them. Many sessions share a few shapes, since filters and rates come from an
operator's policy and not from the UE.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import NamedTuple

from ofgtp.core.filters import Network
from ofgtp.core.model import FTeid, Session, Uplink
from ofgtp.core.sessions.detail import Bearer, Detail, Rates
from ofgtp.core.sessions.rule import Forward, Rule, Tunnel


class Numbers(NamedTuple):
    """The numbers of a session that stand in its flows, in the order of its shape."""

    number: int
    slot: int
    values: tuple[int, ...]
    """32 bits each: UE address, words of its IPv6 prefix, TEIDs, peers' addresses."""


def shape_of(session: Session, detail: Detail) -> Hashable:
    """All of a session but its numbers."""
    return (
        session.ue_ip is None,
        None if session.uplink is None else session.uplink.remote_ip is None,
        _far_shape(session.downlink),
        session.error_indicated,
        session.qos,
        detail.way,
        _limits(detail.ambr),
        detail.used_up,
        None if detail.relay is None else detail.relay.error_indicated,
        detail.breakout,
        detail.framed_routes,
        _rest(detail.ue_ipv6),
        detail.buffer is not None,
        *[_bearer_shape(bearer) for bearer in detail.bearers],
        *_Rules(detail.rules).shape(),
    )


def _far_shape(far: FTeid | None) -> Hashable:
    """An IPv6 address is no number of 32 bits: it is of the shape."""
    return None if far is None else isinstance(far.ip, IPv4Address) or far.ip


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
        _far_shape(bearer.downlink),
        bearer.shares_downlink,
        bearer.used_up,
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
    if detail.ue_ipv6 is not None:
        yield from _words(detail.ue_ipv6)
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
        if isinstance(far.ip, IPv4Address):
            yield int(far.ip)


def _shifts(length: int) -> range:
    """Where the words of a prefix stand that count as numbers: of the last one a few bits would not
    tell it from others."""
    return range(96, 96 - (length + 16) // 32 * 32, -32)


def _words(prefix: IPv6Network) -> Iterator[int]:
    for shift in _shifts(prefix.prefixlen):
        yield int(prefix.network_address) >> shift & 0xFFFF_FFFF


def _rest(prefix: Network | None) -> Hashable:
    """What is not in numbers of a prefix that is."""
    if not isinstance(prefix, IPv6Network):
        return None
    words = len(_shifts(prefix.prefixlen))
    return prefix.prefixlen, int(prefix.network_address) & (1 << 128 - 32 * words) - 1


def _with_words(prefix: IPv6Network, given: Iterator[int]) -> IPv6Network:
    shifts = _shifts(prefix.prefixlen)
    rest = int(prefix.network_address) & (1 << 128 - 32 * len(shifts)) - 1
    address = sum(next(given) << shift for shift in shifts) | rest
    return IPv6Network((address, prefix.prefixlen), strict=False)


def with_numbers(session: Session, detail: Detail, numbers: Numbers) -> Session:
    """A session of the same shape with other numbers; of an IPv6 prefix' last word the bits count
    that its length has."""
    given = iter(numbers.values)

    def uplink(old: Uplink) -> Uplink:
        teid = next(given)
        return Uplink(teid, None if old.remote_ip is None else IPv4Address(next(given)))

    def tunnel(old: FTeid | None) -> FTeid | None:
        return None if old is None else _tunnel(old, given)

    ue_ip = None if session.ue_ip is None else IPv4Address(next(given))
    ue_ipv6 = detail.ue_ipv6
    if ue_ipv6 is not None:
        ue_ipv6 = _with_words(ue_ipv6, given)
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
    made = replace(
        detail, slot=numbers.slot, ue_ipv6=ue_ipv6, relay=relay, bearers=bearers, rules=rules
    )
    return replace(
        session, number=numbers.number, ue_ip=ue_ip, uplink=up, downlink=down, detail=made
    )


def _tunnel(old: FTeid, given: Iterator[int]) -> FTeid:
    teid = next(given)
    return FTeid(teid, IPv4Address(next(given)) if isinstance(old.ip, IPv4Address) else old.ip)


class _Rules:
    """The numbers in a control plane's rules: each that stands in several of them once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._ue: dict[Network, int] = {}
        self._teids: dict[int, int] = {}
        self._peers: dict[IPv4Address, int] = {}
        self._tunnels: dict[FTeid, int] = {}
        for rule in rules:
            for prefix in rule.ue:
                if isinstance(prefix, IPv6Network) or prefix.prefixlen == prefix.max_prefixlen:
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
                to = rule.forward.to
                forward = self._tunnels[to], _far_shape(to), rule.forward.octet
            yield (
                rule.id,
                rule.source,
                rule.precedence,
                forward,
                None if rule.teid is None else self._teids[rule.teid],
                None if rule.peer is None else self._peers[rule.peer],
                tuple((self._ue.get(prefix, prefix), _rest(prefix)) for prefix in rule.ue),
                rule.filters,
                rule.qfis,
                rule.container,
                rule.meters,
            )

    def numbers(self) -> Iterator[int]:
        """Those of the lists."""
        for prefix in self._ue:
            if isinstance(prefix, IPv6Network):
                yield from _words(prefix)
            else:
                yield int(prefix.network_address)
        yield from self._teids
        yield from map(int, self._peers)
        for tunnel in self._tunnels:
            yield from _of_tunnel(tunnel)

    def with_numbers(self, given: Iterator[int]) -> tuple[Rule, ...]:
        """The rules with other numbers."""
        ue: dict[Network, Network] = {
            prefix: _with_words(prefix, given)
            if isinstance(prefix, IPv6Network)
            else IPv4Network((next(given), prefix.max_prefixlen))
            for prefix in self._ue
        }
        teids = {teid: next(given) for teid in self._teids}
        peers = {peer: IPv4Address(next(given)) for peer in self._peers}
        tunnels = {tunnel: _tunnel(tunnel, given) for tunnel in self._tunnels}

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
