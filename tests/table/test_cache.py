"""What the switch has cached must not outlive what it was made from.

Open vSwitch keeps what it found for a packet as a "megaflow", for all packets that agree in the
bits that were asked for. Before 3.2 it cannot change a megaflow of packets from a gtpu port. It
only deletes one, and that when packets of it are asked for a bit which the megaflow leaves open.
So each way that packets may have to take instead of another must ask for a bit that the other did
not. Here this is reckoned from the flows, for all pairs of ways: what the new way asks for in any
case, against what the old one may have asked for at most.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from itertools import permutations, product

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RS, IPv6

from ofgtp.control.flows.links import new_epoch
from ofgtp.core.flows.flow import FIELDS, Decap, Flow, Match, Move, PopMpls, SetField, match
from ofgtp.core.flows.pipeline import (
    EPOCH,
    FITTED,
    GUARD,
    INGRESS,
    NORMALISE,
    RELAY,
    RELAY_FORM,
    UNWRAP,
    UPLINK,
    DropReason,
)
from ofgtp.core.model import Uplink
from ofgtp.core.rules.terms import EPOCH_AT
from tests.support.lab import gateway
from tests.support.sample import (
    ENB,
    LINKS,
    OTHER_ENB,
    PREFIX,
    all_flows,
    detailed,
    relay,
    session,
)
from tests.table.simulator import REGISTERS, TUNNEL, Switch, Trace
from tests.table.world import ACCESS_IP, S, gtpu, inner, made

Bits = dict[str, int]
"""Field -> the bits of it that are asked for."""

ASKED_ALWAYS = (
    *("packet_type", "in_port", "dl_type", "vlan_vid", "vlan_pcp", "ip_frag"),
    *TUNNEL,
    *REGISTERS,
)
"""What never makes a megaflow too coarse: Open vSwitch asks for these by itself, but for registers,
which no megaflow knows: what they held is in the number that leads to the second pass."""


def of_match(asked: Match) -> Bits:
    return {each.field: each.mask for each in asked}


def together(parts: Iterable[Bits]) -> Bits:
    whole: Bits = defaultdict(int)
    for part in parts:
        for name, mask in part.items():
            whole[name] |= mask
    return whole


def _of_actions(flow: Flow) -> Iterator[Bits]:
    """Open vSwitch asks for what it copies, and for what it writes as well."""
    for action in flow.actions:
        match action:
            case Move(source, target):
                for bits in (source, target):
                    mask = (1 << bits.last + 1) - (1 << bits.first)
                    yield {bits.field: mask}
            case SetField(name):
                yield {name: FIELDS[name].full_mask}


@dataclass(frozen=True)
class Way:
    """The flows that packets met in one pass of the switch, among those of its tables."""

    switch: Switch
    flows: tuple[Flow, ...]

    @cached_property
    def in_any_case(self) -> Bits:
        """What the flows that matched ask for, and nothing else."""
        return together(of_match(flow.match) for flow in self.flows)

    @cached_property
    def at_most(self) -> Bits:
        """What every flow of the same or a higher priority asks for, in each table on the way.

        Flows with one set of fields and masks are looked up at once, as one subtable, and a
        subtable stands as high as its highest flow.
        """
        asked = [dict.fromkeys(ASKED_ALWAYS, -1)]
        for met in self.flows:
            asked += _of_actions(met)
            for priority, flows in self.switch.tables[met.table].items():
                if -priority >= met.priority:
                    asked += [of_match(flow.match) for flow in flows]
        return together(asked)


def ends(old: Way, new: Way) -> bool:
    """Whether packets that were cached on the old way are noticed to go the new one."""
    asked = old.at_most
    return any(mask & ~asked.get(name, 0) for name, mask in new.in_any_case.items())


def passes(trace: Trace) -> list[tuple[Flow, ...]]:
    """Those of a T-PDU from the gtpu port on, until it is out, dropped, or wrapped again. The patch
    ends none: a packet begins another one when it is parsed anew."""
    tables = [flow.table for flow in trace.flows]
    out_of_tunnel = (RELAY_FORM.number, RELAY.number, NORMALISE.number)
    start = next(n for n, table in enumerate(tables) if table in out_of_tunnel) - 1
    found: list[tuple[Flow, ...]] = []
    passed: list[Flow] = []
    for flow in trace.flows[start:]:
        if passed and flow.table < passed[-1].table and passed[-1].table != NORMALISE.number:
            break
        passed.append(flow)
        if _parsed_anew(flow):
            found.append(tuple(passed))
            passed = []
    return [*found, tuple(passed)] if passed else found


def _parsed_anew(flow: Flow) -> bool:
    popped = any(isinstance(each, PopMpls) or Decap(0x0800) == each for each in flow.actions)
    return popped or flow.table == UNWRAP.number or Decap(0x86DD) in flow.actions


def first_pass(trace: Trace) -> tuple[Flow, ...]:
    """From the gtpu port through the patch; of what is typed rightly this is also the next one."""
    return passes(trace)[0]


def session_pass(trace: Trace) -> tuple[Flow, ...]:
    """The one with table epoch, in which the session is found."""
    return next(p for p in passes(trace) if any(flow.table == EPOCH.number for flow in p))


def turn_pass(trace: Trace) -> tuple[Flow, ...]:
    """The one behind it of a packet from UE to UE; empty: it is none."""
    return next((p for p in passes(trace) if p[0].table == FITTED.number), ())


# --- ways ---------------------------------------------------------------------------------------

Change = Callable[[Flow], Flow]
POOLS = (IPv4Network("10.45.0.0/16"), IPv4Network("10.47.0.0/24"))
UE2 = session(2)
SWITCHES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "plain": ({}, {}),
    "UE to UE": ({"ue_to_ue": "route"}, {}),
    "pools": ({"ue_pools": POOLS}, {}),
    "host core": ({"core_port": "host", "next_hop": None}, {}),
    "no next hop": ({}, {"peer_mac": None}),
    "a small core MTU": ({}, {"core_mtu": 1400}),
}
SESSIONS = {
    "none": (),
    "another": (UE2,),
    "its own": (session(), UE2),
    "pinned": (session(uplink=Uplink(0x1001, ENB)), session(2, downlink=None)),
    "pinned elsewhere": (session(uplink=Uplink(0x1001, OTHER_ENB)), UE2),
    "another TEID": (session(uplink=Uplink(0x1009)),),
    "another UE": (session(ue_ip=IPv4Address("10.45.0.9")),),
}
PACKETS = {
    "out": inner(),
    "out, too long for some": inner(size=1400),
    "to a UE": inner(dst="10.45.0.3"),
    "to a UE that is not": inner(dst="10.45.0.77"),
    "protected": inner(dst=ACCESS_IP),
    "capable of ECN": inner(tos=2),
}


TTLS = (64, 128)
"""Typed rightly, and parsed anew. No packet is of both kinds, nor is what is cached for it."""


def with_ttl(packet: bytes, ttl: int) -> bytes:
    return packet[:8] + bytes([ttl]) + packet[9:]


def unchanged(flow: Flow) -> Flow:
    return flow


CE = 3


@cache
def ways(
    passed: Callable[[Trace], tuple[Flow, ...]], epoch: int, ttl: int, change: Change = unchanged
) -> dict[bool, list[Way]]:
    """All ways of the packets above: True for those of a session, False for the others."""
    found: dict[bool, list[Way]] = {True: [], False: []}
    for of_gateway, of_links in SWITCHES.values():
        links = replace(LINKS, epoch=epoch, **of_links)  # type: ignore[arg-type]
        for sessions in SESSIONS.values():
            flows = [change(f) for f in all_flows(gateway(**of_gateway), *sessions, links=links)]
            gw = made(flows, links)
            for packet, tos in product(PACKETS.values(), (0, CE)):
                trace = gw.receive(LINKS.access, gtpu(with_ttl(packet, ttl), tos=tos))
                if trace.drop_number == DropReason.NOT_ECN_CAPABLE:
                    continue  # whatever sessions there are
                live = any(flow.table == GUARD.number for flow in trace.flows)
                lost = trace.drop_number == DropReason.NO_UPLINK_SESSION
                assert live != lost
                if flows_met := passed(trace):
                    found[live].append(Way(gw, flows_met))
    return found


def both(
    passed: Callable[[Trace], tuple[Flow, ...]], epoch: int, change: Change = unchanged
) -> list[dict[bool, list[Way]]]:
    """The same of packets that are typed rightly, and of those that are parsed anew."""
    return [ways(passed, epoch, ttl, change) for ttl in TTLS]


ONE, OTHER = 0x0000FFFF, 0x00FF00FF


def test_the_ways_are_of_all_kinds() -> None:
    for ttl, found in zip(TTLS, both(session_pass, ONE), strict=True):
        last = {live: {way.flows[-1].table for way in found[live]} for live in (True, False)}
        assert last[False] == {UPLINK.number}
        assert last[True] >= {GUARD.number, 50, 76}
        assert all(len(each) > 20 for each in found.values())
        whole = {way.flows[0].table == INGRESS.number for each in found.values() for way in each}
        assert whole == {ttl == 64}


def test_a_session_that_comes_or_goes_is_noticed() -> None:
    for found in both(session_pass, ONE):
        for live in found[True]:
            for lost in found[False]:
                assert ends(live, lost), "a deleted session's packets would go on"
                assert ends(lost, live), "a new session's packets would be dropped on"


def without(field: str) -> Change:
    def change(flow: Flow) -> Flow:
        return replace(flow, match=tuple(each for each in flow.match if each.field != field))

    return change


@pytest.mark.parametrize("ttl", TTLS)
@pytest.mark.parametrize(("field", "live"), [("ct_mark", False), ("ct_zone", True)])
def test_the_rule_can_be_broken(field: str, live: bool, ttl: int) -> None:
    """Without what is asked for on a way, a change to this way goes unnoticed."""
    found = ways(session_pass, ONE, ttl, without(field))
    assert not all(ends(old, new) for old in found[not live] for new in found[live])
    # The other direction does not depend on it.
    assert all(ends(new, old) for old in found[not live] for new in found[live])


def test_the_epoch_must_not_ask_for_what_the_lost_ask_for() -> None:
    """As table ingress did in ct_mark while each packet was parsed anew behind it."""

    def in_mark(flow: Flow) -> Flow:
        if flow.table != INGRESS.number or "ct_label" not in of_match(flow.match):
            return flow
        kept = tuple(each for each in flow.match if each.field != "ct_label")
        return replace(flow, match=(*kept, *match(ct_mark=(0, ONE))))

    found = ways(session_pass, ONE, 64, in_mark)
    assert not all(ends(old, new) for old in found[True] for new in found[False])


def test_a_field_asked_for_at_a_higher_priority_is_no_news() -> None:
    """As a flow above the sessions' that asks for the field of those that are lost would show."""
    above = [replace(f, match=match(ct_mark=(1, -1 & 0xFFFFFFFF))) for f in _misses()]
    flows = [*all_flows(gateway(), session()), *(replace(f, priority=200) for f in above)]
    for ttl in TTLS:
        gw = made(flows)
        live = Way(gw, session_pass(gw.receive(LINKS.access, gtpu(inner(ttl=ttl)))))
        lost = ways(session_pass, ONE, ttl)[False][0]
        assert not ends(live, lost)


def _misses() -> list[Flow]:
    return [f for f in all_flows(gateway()) if f.table == UPLINK.number and not f.priority]


@pytest.mark.parametrize("ttl", TTLS)
@pytest.mark.parametrize(("before", "after"), [(ONE, OTHER), (OTHER, ONE)])
def test_another_epoch_is_noticed_on_every_way(before: int, after: int, ttl: int) -> None:
    """Next hop, repairs, other UEs' downlink: whichever way packets took, and take then."""
    for old in (way for each in ways(session_pass, before, ttl).values() for way in each):
        for new in (way for each in ways(session_pass, after, ttl).values() for way in each):
            assert ends(old, new)


@pytest.mark.parametrize("ttl", TTLS)
def test_another_epoch_is_noticed_from_ue_to_ue(ttl: int) -> None:
    """In the pass behind the session's, where the other UE's downlink is looked for."""
    before, after = (ways(turn_pass, epoch, ttl)[True] for epoch in (ONE, OTHER))
    assert before
    assert all(ends(old, new) and ends(new, old) for old in before for new in after)


def test_the_same_epoch_is_no_news() -> None:
    """Else the tests above would show nothing."""
    for passed in (session_pass, turn_pass):
        for found in both(passed, ONE):
            assert not any(ends(way, way) for way in found[True])


def test_another_epoch_is_noticed_in_the_first_pass() -> None:
    for befores, afters in zip(both(first_pass, ONE), both(first_pass, OTHER), strict=True):
        assert all(ends(old, new) for old in befores[True] for new in afters[True])


def test_the_first_pass_asks_for_the_epoch() -> None:
    for found in both(first_pass, OTHER):
        for way in found[True]:
            assert way.flows[0].table == INGRESS.number
            assert way.in_any_case["ct_label"] >> EPOCH_AT == OTHER


# --- epochs -------------------------------------------------------------------------------------


def test_every_two_epochs_differ_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ofgtp.control.flows.links.random", random.Random(29281))
    epochs = [new_epoch() for _ in range(300)]
    assert len(set(epochs)) == len(epochs)
    for one, other in permutations(epochs, 2):
        assert one & ~other, f"{one:#010x} asks for nothing that {other:#010x} does not"
    assert all(0 < epoch < 1 << 32 and epoch.bit_count() == 16 for epoch in epochs)
    assert together({"": epoch} for epoch in epochs)[""] == 0xFFFFFFFF


OF_IPV6 = {"ue_pools6": (IPv6Network("2001:db8:a::/48"),), "router_advertisement": True}
ON_THE_LINK = {
    "looks for its router": ICMPv6ND_RS(),
    "probes its router": ICMPv6ND_NS(tgt="fe80::1"),
    "advertises": ICMPv6ND_NA(tgt="fe80::7"),
}


@pytest.mark.parametrize("source", ("fe80::7", "2001:db8:a:1::7"))
@pytest.mark.parametrize("name", ON_THE_LINK)
def test_what_ues_say_on_their_links_follows_their_sessions(name: str, source: str) -> None:
    """A TEID may be nobody's, a UE's with IPv6, and a relay's, in turn."""
    packet = bytes(IPv6(src=source, dst="ff02::2", hlim=255) / ON_THE_LINK[name])
    found = []
    for sessions in ((), (detailed(ue_ipv6=PREFIX),), (relay(way=2),)):
        gw = made(all_flows(gateway(**OF_IPV6), *sessions))
        found.append(Way(gw, session_pass(gw.receive(LINKS.access, gtpu(packet, flags=S)))))
    for old, new in permutations(found, 2):
        if old.flows[-1].key != new.flows[-1].key:
            assert ends(old, new), name
