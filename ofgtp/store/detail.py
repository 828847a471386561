"""What makes a session more than a tunnel pair, as the store keeps it: JSON with short names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from ofgtp.core.filters import ASSIGNED, Network, PacketFilter, parse_prefix
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import FTeid, Qos, Session, Uplink
from ofgtp.core.sessions.detail import (
    NO_LIMITS,
    Bearer,
    Detail,
    Gate,
    Owner,
    Rates,
    Relay,
    UsageLimits,
)
from ofgtp.core.sessions.rule import Forward, Held, Refused, Rule, Source, ToCore, Tunnel
from ofgtp.core.sessions.shape import numbers_of
from ofgtp.core.sessions.shaped import Shape

SHAPES_KEPT = 1_000

FAR6 = "far6"
"""Where the IPv6 address of the session's own downlink stands."""

_REASONS = {int(reason): reason for reason in DropReason}


def to_text(session: Session) -> str | None:
    """The detail of a session; its slot has a column of its own. None: it has none."""
    detail = session.detail
    if detail is None:
        return None
    made: dict[str, Any] = {"way": detail.way}
    if session.error_indicated:
        made["indicated"] = True
    if detail.ambr:
        made["ambr"] = _rates(detail.ambr)
    if detail.usage or detail.used_up:
        made["usage"] = _usage(detail.usage, detail.used_up)
    if detail.bearers:
        made["bearers"] = [_bearer(each) for each in detail.bearers]
    if detail.relay is not None:
        relay = detail.relay
        made["relay"] = [relay.teid, *_fteid(relay.remote), relay.error_indicated]
    if detail.breakout:
        made["breakout"] = [str(each) for each in detail.breakout]
    if detail.rules:
        made["rules"] = [_rule(each) for each in detail.rules]
    if detail.limits:
        made["limits"] = detail.limits
    if detail.teids:
        made["teids"] = detail.teids
    if detail.owner is not None:
        made["owner"] = [detail.owner.node_id, detail.owner.cp_seid, detail.owner.up_seid]
    if detail.buffer is not None:
        made["buffer"] = detail.buffer
    if detail.ue_ipv6 is not None:
        made["ue_ipv6"] = str(detail.ue_ipv6)
    if detail.router is not None:
        made["router"] = _fteid(detail.router)
    far = session.downlink
    if far is not None and isinstance(far.ip, IPv6Address):
        made[FAR6] = str(far.ip)
    if detail.framed_routes:
        made["framed"] = [str(each) for each in detail.framed_routes]
    return json.dumps(made, separators=(",", ":"))


def from_text(
    text: str, slot: int, *, rules: bool = True
) -> tuple[Detail, bool, IPv6Address | None]:
    """What `to_text` has written, whether the session's own downlink is error_indicated, and the
    IPv6 address that this has, if it has one.

    A control plane's rules, which take most of the time, may be left out.
    """
    made = json.loads(text)
    usage, used_up = _read_usage(made)
    relay = None
    if (of_relay := made.get("relay")) is not None:
        teid, *remote, indicated = of_relay
        relay = Relay(teid, _read_fteid(remote), indicated)
    detail = Detail(
        slot=slot,
        way=made["way"],
        ambr=Rates(*made["ambr"]) if "ambr" in made else Rates(),
        usage=usage,
        used_up=used_up,
        bearers=tuple(_read_bearer(each) for each in made.get("bearers", ())),
        relay=relay,
        breakout=tuple(IPv4Network(each) for each in made.get("breakout", ())),
        framed_routes=tuple(map(_prefix, made.get("framed", ()))),
        ue_ipv6=IPv6Network(made["ue_ipv6"]) if "ue_ipv6" in made else None,
        rules=tuple(_read_rule(each) for each in made.get("rules", ()) if rules),
        limits=tuple((place, rate) for place, rate in made.get("limits", ())),
        teids=tuple(made.get("teids", ())),
        owner=Owner(*made["owner"]) if "owner" in made else None,
        buffer=made.get("buffer"),
        router=_read_fteid(made["router"]) if "router" in made else None,
    )
    far6 = IPv6Address(made[FAR6]) if FAR6 in made else None
    return detail, made.get("indicated", False), far6


@lru_cache(maxsize=SHAPES_KEPT)
def format_of(shape: Shape) -> str | None:
    """What `to_text` makes of sessions of a shape, with `%d` for the numbers of their bearers, in
    their order; None: a filter has a number in it that stands for one of them."""
    text = (to_text(shape.sample) or "").replace("%", "%%")
    for number in numbers_of(shape.sample, shape.detail).values[shape.own :]:
        if text.count(str(number)) != 1:
            return None
        text = text.replace(str(number), "%d")
    return text


_OF_BEARERS = re.compile(r'("(?:up|down)":\[)(\d+),(\d+|null)\]')


class Shapes:
    """Shapes of stored sessions, by what `to_text` has made of them without the numbers."""

    def __init__(self) -> None:
        self._shapes: dict[Hashable, Shape] = {}

    def of(
        self, own: Sequence[int], kind: Hashable, text: str, read: Callable[[], Session]
    ) -> tuple[Shape, tuple[int, ...]] | None:
        """The shape of a session of tunnels and bearers, and its numbers; None: it is more.

        `own` are the numbers in its row, `kind` is what else of that is of the shape, and `read`
        reads it in whole.
        """
        parts = _OF_BEARERS.split(text)
        missing = [number == "null" for number in parts[3::4]]
        key = (kind, *parts[::4], *parts[1::4], *missing)
        pairs = zip(parts[2::4], parts[3::4], strict=True)
        numbers = [int(each) for pair in pairs for each in pair if each != "null"]
        values = (*own, *numbers)
        shape = self._shapes.get(key)
        if shape is None:
            session = read()
            detail = session.detail
            if detail is None or not detail.only_bearers or session.uplink is None:
                return None
            if session.downlink is not None and isinstance(session.downlink.ip, IPv6Address):
                return None
            if numbers_of(session, detail).values != values:
                return None
            if len(self._shapes) >= SHAPES_KEPT:
                self._shapes.clear()
            shape = self._shapes[key] = Shape(session, detail)
        return shape, values


def _rates(rates: Rates) -> list[int | None]:
    return [rates.uplink, rates.downlink]


def _usage(usage: UsageLimits, used_up: bool) -> list[int | bool | None]:
    return [usage.threshold, usage.quota, usage.inactivity, used_up]


def _read_usage(made: dict[str, Any]) -> tuple[UsageLimits, bool]:
    if "usage" not in made:
        return NO_LIMITS, False
    *limits, used_up = made["usage"]
    return UsageLimits(*limits), used_up


def _fteid(fteid: FTeid) -> list[int | str]:
    """TEID and address: a number, of IPv6 a text."""
    return [fteid.teid, int(fteid.ip) if isinstance(fteid.ip, IPv4Address) else str(fteid.ip)]


def _read_fteid(made: Sequence[Any]) -> FTeid:
    teid, ip, *_ = made
    return FTeid(teid, IPv6Address(ip) if isinstance(ip, str) else IPv4Address(ip))


def _bearer(bearer: Bearer) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": bearer.id,
        "index": bearer.index,
        "precedence": bearer.precedence,
        "filters": [_filter(each) for each in bearer.filters],
    }
    if bearer.uplink is not None:
        peer = bearer.uplink.remote_ip
        made["up"] = [bearer.uplink.teid, None if peer is None else int(peer)]
    if bearer.downlink is not None:
        made["down"] = _fteid(bearer.downlink)
    if bearer.shares_downlink:
        made["shares"] = True
    if bearer.qos is not None:
        made["qos"] = bearer.qos.number
    if bearer.mbr:
        made["mbr"] = _rates(bearer.mbr)
    if bearer.usage or bearer.used_up:
        made["usage"] = _usage(bearer.usage, bearer.used_up)
    if bearer.gate is not Gate.OPEN:
        made["gate"] = bearer.gate.value
    if bearer.error_indicated:
        made["indicated"] = True
    return made


def _read_bearer(made: dict[str, Any]) -> Bearer:
    up, down = made.get("up"), made.get("down")
    usage, used_up = _read_usage(made)
    uplink = None
    if up is not None:
        uplink = Uplink(up[0], None if up[1] is None else IPv4Address(up[1]))
    return Bearer(
        id=made["id"],
        precedence=made["precedence"],
        filters=tuple(_read_filter(each) for each in made["filters"]),
        uplink=uplink,
        downlink=None if down is None else _read_fteid(down),
        shares_downlink=made.get("shares", False),
        qos=Qos.of(made.get("qos", 0)),
        mbr=Rates(*made["mbr"]) if "mbr" in made else Rates(),
        usage=usage,
        used_up=used_up,
        gate=Gate(made.get("gate", Gate.OPEN.value)),
        error_indicated=made.get("indicated", False),
        index=made["index"],
    )


def _rule(rule: Rule) -> list[Any]:
    match rule.forward:
        case Tunnel(to, octet):
            forward: list[int | str | None] = [*_fteid(to), octet]
        case ToCore():
            forward = []
        case Refused(reason):
            forward = [int(reason)]
        case Held():
            forward = [0]
    return [
        rule.id,
        rule.source.value,
        rule.precedence,
        forward,
        rule.teid,
        None if rule.peer is None else int(rule.peer),
        [str(prefix) for prefix in rule.ue],
        [_filter(each) for each in rule.filters],
        rule.qfis,
        0 if rule.container is None else rule.container.number,
        rule.meters,
    ]


def _read_rule(made: list[Any]) -> Rule:
    name, source, precedence, forward, teid, peer, ue, filters, qfis, container, meters = made
    to: Forward = ToCore()
    if len(forward) == 1:
        to = Refused(_REASONS[forward[0]]) if forward[0] else Held()
    elif forward:
        to = Tunnel(_read_fteid(forward), forward[2])
    return Rule(
        id=name,
        source=Source(source),
        precedence=precedence,
        forward=to,
        teid=teid,
        peer=None if peer is None else IPv4Address(peer),
        ue=tuple(map(_prefix, ue)),
        filters=tuple(_read_filter(each) for each in filters),
        qfis=tuple(qfis),
        container=Qos.of(container),
        meters=tuple(meters),
    )


@lru_cache(64)
def _prefix(text: str) -> Network:
    """Of a session most rules have the same."""
    return IPv6Network(text) if ":" in text else IPv4Network(text)


def _filter(each: PacketFilter) -> list[Any]:
    local = "assigned" if each.local is ASSIGNED else _network(each.local)
    return [
        each.protocol,
        _network(each.remote),
        each.remote_ports,
        local,
        each.local_ports,
        each.dscp,
    ]


def _network(network: object) -> str | None:
    return None if network is None else str(network)


def _read_filter(made: list[Any]) -> PacketFilter:
    protocol, remote, remote_ports, local, local_ports, dscp = made
    return PacketFilter(
        protocol,
        _read_network(remote),
        tuple((first, last) for first, last in remote_ports),
        ASSIGNED if local == ASSIGNED.value else _read_network(local),
        tuple((first, last) for first, last in local_ports),
        dscp,
    )


def _read_network(text: str | None) -> Network | None:
    return None if text is None else parse_prefix(text)
