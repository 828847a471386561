"""The flows of a session's rules, whatever rules it has.

Uplink, table uplink finds the session by TEID, peer and UE address, and writes into register 6
which rules are to be asked; table rules (or other_rules) has those. Downlink, table downlink finds
it by the UE's address and sets the tunnel of the rule without filters; table choose has the rules
with filters. What all rules of a tunnel have in common, such as the session's rate, is in the first
of the two tables; what is a rule's own, in the second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ofgtp.core.filters import Network
from ofgtp.core.flows.flow import (
    Action,
    CookieKind,
    Decap,
    Flow,
    Match,
    RuleError,
    SetField,
    Value,
    make_cookie,
    match,
)
from ofgtp.core.flows.pipeline import (
    CHOOSE,
    CORE,
    DOWNLINK,
    FRAMED,
    GUARD,
    HELD,
    MEASURE,
    ONWARD,
    QFI,
    REFUSAL,
    RELAY,
    UPLINK,
    Table,
)
from ofgtp.core.model import QFI_MAX, Direction, Session
from ofgtp.core.rules.downlink import PRIORITY_TO_UES, to_ues
from ofgtp.core.rules.filters import matches, versions_of
from ofgtp.core.rules.terms import (
    ASKED,
    CONTAINED,
    GROUP_BITS,
    HAS_CONTAINER,
    HOLDS,
    IPV4,
    LIVE,
    PRIORITY_MAX,
    REFUSES,
    RELAY_TABLES,
    RELAYS,
    SESSION_PRIORITY,
    STRICT,
    TO_UE,
    WAY_TABLES,
    Links,
    from_network,
    into,
    out_of,
    to_network,
    version_mark,
    wanted_container,
)
from ofgtp.core.sessions.detail import Detail
from ofgtp.core.sessions.rule import Held, Refused, Rule, ToCore, Tunnel
from ofgtp.core.sessions.rules import meter_number, rules_of

_TO_UE, _RELAYED = -1, -2
"""Groups of flows that no tunnel's number stands for."""


class Owned(NamedTuple):
    """A flow, and the rule that it is made for."""

    flow: Flow
    rule: str
    """A bearer's id; "" for the session's own."""
    direction: Direction
    first: bool = True
    """Whether it is one of those by which the session is found: each of its packets passes one of
    these, and then, if it is a rule's with filters, one that is not."""
    group: int | None = None
    """Of a first flow and those behind it the same number; None: it counts for no rule."""
    rest: str | None = None
    """Of a first flow: the rule whose its packets are that meet none of those behind it."""


@dataclass(frozen=True, slots=True)
class _Making:
    """What all flows of a session are made with."""

    detail: Detail
    links: Links
    cookie: int

    def meter(self, place: int | None) -> int | None:
        return None if place is None else meter_number(self.detail.slot, place)


def flows(session: Session, detail: Detail, links: Links) -> Iterator[Owned]:
    """The flows of a session with these rules, each key once."""
    making = _Making(detail, links, make_cookie(CookieKind.SESSION, session.number))
    tunnels: dict[int, list[Rule]] = defaultdict(list)
    downlink: list[Rule] = []
    for rule in rules_of(session):
        if rule.teid is None:
            downlink.append(rule)
        else:
            tunnels[rule.teid].append(rule)
    for group, rules in enumerate(tunnels.values()):
        if all(rule.tunnelled for rule in rules):
            for rule in rules:
                yield from _relayed(rule, making)
        else:
            yield from _uplink(rules, group, making)
    if downlink:
        yield from _downlink(downlink, making)
    for prefix in detail.framed_routes:
        yield from _framed(prefix, making)


def priorities(rules: Sequence[Rule]) -> list[int]:
    """One for each rule, those that are asked first the higher; 1 to `PRIORITY_MAX`.

    A rule's precedence alone decides where it can, so that others coming and going leave it be.
    """
    ordered: list[int] = []
    below = 0
    for place in range(len(rules) - 1, -1, -1):
        by_precedence = PRIORITY_MAX - min(rules[place].precedence, PRIORITY_MAX)
        below = min(max(by_precedence, below + 1), PRIORITY_MAX - place)
        ordered.append(below)
    return ordered[::-1]


# --- uplink


def _uplink(rules: Sequence[Rule], group: int, making: _Making) -> Iterator[Owned]:
    first = rules[0]
    common = _common_meter(rules)
    default = _uplink_default(rules, common)
    strict = 0 if default is not None else STRICT
    number = strict | _number(making.detail, group)
    wanted = _wanted(default) if default is not None else 0
    table = WAY_TABLES[making.detail.way]
    begin: tuple[Action, ...] = (SetField("reg6", number),)
    if wanted:
        begin += (SetField("reg4", wanted),)
    for source in dict.fromkeys(prefix for rule in rules for prefix in rule.ue) or (None,):
        asked: dict[str, Value] = {"reg0": first.teid or 0, "dl_type": IPV4}
        if source is not None:
            asked |= from_network(source)
        if first.peer is not None:
            asked["reg1"] = first.peer
        flow = UPLINK.flow(
            SESSION_PRIORITY,
            match(**asked),
            *begin,
            goto=table,
            meter=making.meter(common),
            cookie=making.cookie,
        )
        rest = None if default is None else default.id
        yield Owned(flow, first.id if strict else "", "uplink", group=number, rest=rest)
    for rule, priority in zip(rules, priorities(rules), strict=True):
        if rule is default:
            continue
        actions, goto = _of_uplink(rule, wanted)
        for each in _filtered(rule, number, uplink=True, **ASKED[table.number]):
            flow = table.flow(
                priority,
                each,
                *actions,
                goto=goto,
                meter=making.meter(_own_meter(rule, common)),
                cookie=making.cookie,
            )
            yield Owned(flow, rule.id, "uplink", first=False, group=number)


def _uplink_default(rules: Sequence[Rule], common: int | None) -> Rule | None:
    """The rule for what no filter matches, if the flows that all sessions share serve for it."""
    last = rules[-1]
    plain = not last.filters and not last.qfis and isinstance(last.forward, ToCore)
    return last if plain and _own_meter(last, common) is None else None


def _of_uplink(rule: Rule, set_before: int) -> tuple[tuple[Action, ...], Table]:
    match rule.forward:
        case ToCore():
            wanted = _wanted(rule)
            actions = (SetField("reg4", wanted),) if wanted != set_before else ()
            return actions, QFI if wanted else GUARD
        case Tunnel(to, _):
            return into(to), ONWARD
        case Refused(reason):
            return (SetField("reg5", reason),), REFUSAL
        case Held():
            return (), HELD


def _wanted(rule: Rule) -> int:
    return 0 if rule.container is None else wanted_container(rule.container)


# --- downlink


def _downlink(rules: Sequence[Rule], making: _Making) -> Iterator[Owned]:
    common = _common_meter(rules)
    last = rules[-1]
    tunnel = None
    if not last.filters and isinstance(last.forward, Tunnel) and _own_meter(last, common) is None:
        tunnel = last.forward
    alone = len(rules) == 1 and tunnel is not None
    held = len(rules) == 1 and isinstance(last.forward, Held)
    number = (STRICT if tunnel is None else 0) | _number(making.detail, 0)
    actions: tuple[Action, ...] = () if alone else (SetField("reg6", number),)
    goto: Table | None = CHOOSE
    if tunnel is not None:
        marked = version_mark(tunnel.to)
        if tunnel.octet is not None:
            marked |= tunnel.octet if alone else HAS_CONTAINER | tunnel.octet
        if marked and not (alone and tunnel.octet is None):
            actions += (SetField("reg4", marked),)
        actions += into(tunnel.to)
        if alone:
            goto = MEASURE if tunnel.octet is not None else None
            if goto is None:
                actions = Decap(), *actions, out_of(making.links, tunnel.to)
    if held:
        goto, common = HELD, None
    for target in last.ue:
        flow = DOWNLINK.flow(
            SESSION_PRIORITY,
            match(**to_network(target)),
            *actions,
            goto=goto,
            meter=making.meter(common),
            cookie=making.cookie,
        )
        rest = last.id if tunnel is not None or held else None
        yield Owned(flow, "", "downlink", group=_TO_UE, rest=rest)
    if alone or held:
        return
    for rule, priority in zip(rules, priorities(rules), strict=True):
        if rule is last and tunnel is not None:
            continue
        chosen, then = _of_downlink(rule, tunnel, making.links)
        for each in _filtered(rule, number, uplink=False):
            flow = CHOOSE.flow(
                priority,
                each,
                *chosen,
                goto=then,
                meter=making.meter(_own_meter(rule, common)),
                cookie=making.cookie,
            )
            yield Owned(flow, rule.id, "downlink", first=False, group=_TO_UE)


def _of_downlink(
    rule: Rule, default: Tunnel | None, links: Links
) -> tuple[tuple[Action, ...], Table | None]:
    match rule.forward:
        case Tunnel(to, octet):
            actions = into(to) if default is None or default.to != to else ()
            if octet is None:
                return (Decap(), *actions, out_of(links, to)), None
            return (SetField("reg4", version_mark(to) | octet), *actions), MEASURE
        case Refused(reason):
            return (SetField("reg5", TO_UE | reason),), REFUSAL
        case Held():
            return (), HELD
        case ToCore():
            raise RuleError(f"a downlink rule leads to the core port: {rule}")


def _framed(prefix: Network, making: _Making) -> Iterator[Owned]:
    """What the base flows have for the UE pools, for a prefix that is in none of them."""
    entered = match(**to_ues(prefix, making.links))
    priority = PRIORITY_TO_UES[prefix.version]
    flow = CORE.flow(priority, entered, goto=FRAMED, cookie=making.cookie)
    yield Owned(flow, "", "downlink", first=False)
    from_ue = match(**to_network(prefix), **LIVE)
    flow = GUARD.flow(90, from_ue, goto=FRAMED, cookie=making.cookie)
    yield Owned(flow, "", "uplink", first=False)


# --- what both have in common


def _number(detail: Detail, group: int) -> int:
    return detail.slot << GROUP_BITS | group


def _common_meter(rules: Sequence[Rule]) -> int | None:
    """The place of the meter that all packets of these rules pass first, if there is one."""
    firsts = {rule.meters[0] if rule.meters else None for rule in rules}
    return firsts.pop() if len(firsts) == 1 else None


def _own_meter(rule: Rule, common: int | None) -> int | None:
    own = [place for place in rule.meters if place != common]
    return own[0] if own else None


def _filtered(rule: Rule, number: int, *, uplink: bool, **further: Value) -> Iterator[Match]:
    """What flows of a rule match: one for each form of its filters, each once."""
    seen: set[Match] = set()
    for asked in _asked(rule, uplink=uplink):
        made = match(reg6=number, **asked, **further)
        if made not in seen:
            seen.add(made)
            yield made


def _asked(rule: Rule, *, uplink: bool) -> Iterator[dict[str, Value]]:
    of_qfis: Sequence[dict[str, Value]] = [
        {"reg3": (CONTAINED | qfi, CONTAINED | QFI_MAX)} for qfi in rule.qfis
    ]
    for of_qfi in of_qfis or ({},):
        if not rule.filters:
            yield of_qfi
        for each in rule.filters:
            of_ue = matches(each, versions_of(rule.ue), uplink=uplink)
            yield from (asked | of_qfi for asked in of_ue)


# --- relays


def _relayed(rule: Rule, making: _Making) -> Iterator[Owned]:
    """T-PDUs go on as they are. Those with a sequence number take the long way: the switch takes
    the number off, and would go on saying that there is one."""
    direction: Direction = "uplink" if rule.uplink else "downlink"
    way = making.detail.way
    meter = making.meter(rule.meters[0] if rule.meters else None)
    octet: int | None = None
    actions: tuple[Action, ...]
    match rule.forward:
        case Tunnel(to, of_container):
            actions, marked, octet = into(to), RELAYS, of_container
        case Refused(reason):
            actions, marked = (SetField("reg5", reason),), REFUSES
        case Held():
            actions, marked = (), HOLDS
        case ToCore():
            raise RuleError(f"a relay's rule does not lead to a tunnel: {rule}")
    of_tunnel: dict[str, Value] = {"tun_id": rule.teid or 0}
    unwrapped: dict[str, Value] = {"reg0": rule.teid or 0}
    if rule.peer is not None:
        of_tunnel["tun_src"], unwrapped["reg1"] = rule.peer, rule.peer
    if octet is not None:
        actions += (SetField("reg4", HAS_CONTAINER | octet),)
    if octet is not None or marked == HOLDS:
        # A container is put in front, or a packet shown, behind the patch alone.
        of_tunnel = {}
    if of_tunnel:
        flow = RELAY.flow(
            SESSION_PRIORITY,
            match(**of_tunnel),
            *actions,
            goto=RELAY_TABLES[way],
            meter=meter,
            cookie=making.cookie,
        )
        yield Owned(flow, rule.id, direction, group=_RELAYED, rest=rule.id)
    flow = UPLINK.flow(
        SESSION_PRIORITY,
        match(**unwrapped),
        SetField("reg6", marked | _number(making.detail, 0)),
        *actions,
        goto=WAY_TABLES[way],
        meter=meter,
        cookie=making.cookie,
    )
    yield Owned(flow, rule.id, direction, group=_RELAYED, rest=rule.id)
