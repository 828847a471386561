"""What the rules promise as a set; `tests/table` sends packets through them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from itertools import chain, combinations, product
from typing import Any

import pytest

from ofgtp.core.flows.flow import (
    FIELDS,
    Bits,
    Condition,
    CookieKind,
    Decap,
    Encap,
    Flow,
    Header,
    Move,
    Output,
    PopMpls,
    Port,
    PushVlan,
    SetField,
    cookie_kind,
    cookie_number,
    make_cookie,
    match,
    move,
)
from ofgtp.core.flows.pipeline import (
    ACCESS,
    BARE,
    CHOOSE,
    CONTAIN,
    CONTAINER,
    CONTAINER_END,
    CORE,
    DOWNLINK,
    EPOCH,
    FIT,
    FITTED,
    FRAMED,
    GUARD,
    HELD,
    INGRESS,
    INNER_ECN,
    LEASE,
    MEASURE,
    METERS,
    NORMALISE,
    ONWARD,
    ONWARD_FIT,
    OTHER_RELAYED,
    OTHER_RULES,
    OUTER_ECN,
    PIPELINE,
    QFI,
    REFUSAL,
    RELAY,
    RELAY_FIT,
    RELAY_FORM,
    RELAYED,
    REPLAYED,
    RETYPE,
    ROUTE,
    RULES,
    SHOWN,
    TOO_BIG,
    UNWRAP,
    UPLINK,
    DropReason,
    Table,
)
from ofgtp.core.model import AccessRoute, Qos, Uplink
from ofgtp.core.rules.base import (
    UNREACHABLE_FOR_UES,
    UNREACHABLE_FOR_UES6,
    epoch_flows,
    protected_networks,
)
from ofgtp.core.rules.lease import lease_flows
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import (
    DOWNLINK_REFUSALS,
    EPOCH_AT,
    EXTENDED,
    EXTENDED_NUMBERED,
    NUMBERED,
    TO_UE,
    UNEXTENDED,
    UPLINK_REFUSALS,
    WHOLE,
)
from tests.support.lab import gateway
from tests.support.sample import ALL_KINDS, ENB, LINKS, all_flows, session

GATEWAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "host core": {"core_port": "host", "next_hop": None},
    "ue to ue": {"ue_to_ue": "route"},
    "allow": {"access_allow": (IPv4Network("10.1.0.0/24"), IPv4Network("10.9.0.0/16"))},
    "pools": {"ue_pools": (IPv4Network("10.45.0.0/16"), IPv4Network("10.47.0.0/24"))},
    "routes": {"access_routes": (AccessRoute(IPv4Network("10.9.0.0/16"), ENB),)},
    "ipv6": {
        "ue_pools6": (IPv6Network("2001:db8:a::/48"),),
        "core_ip6": IPv6Interface("2001:db8:c::1/64"),
        "next_hop6": IPv6Address("2001:db8:c::2"),
    },
    "access ipv6": {
        "access_ip6": IPv6Interface("2001:db8:ac::1/64"),
        "access_allow6": (IPv6Network("2001:db8:ac::/96"),),
    },
}
changed = pytest.mark.parametrize("change", GATEWAYS.values(), ids=GATEWAYS.keys())


@changed
@pytest.mark.parametrize("peer_mac", [LINKS.peer_mac, None])
def test_no_two_flows_have_one_key(change: dict[str, Any], peer_mac: str | None) -> None:
    links = replace(LINKS, peer_mac=peer_mac)
    for one in (session(), *ALL_KINDS.values()):
        flows = all_flows(gateway(**change), one, session(2, downlink=None), links=links)
        assert len({flow.key for flow in flows}) == len(flows)


@changed
def test_every_drop_reason_has_a_flow_to_count_it(change: dict[str, Any]) -> None:
    told = session(2, error_indicated=True)
    routed = change.get("ue_to_ue") == "route"
    for routes in (True, False):
        links = replace(LINKS, decrement_ttl=routes, ue_to_ue=routed)
        flows = all_flows(gateway(**change), session(1, downlink=None), told, links=links)
        counted = {
            DropReason(cookie_number(flow.cookie))
            for flow in flows
            if cookie_kind(flow.cookie) is CookieKind.DROP
        }
        missing = set(DropReason) - counted
        allow = {"access_allow", "access_allow6"} & change.keys()
        expected = set() if allow else {DropReason.ACCESS_DENIED}
        expected |= {DropReason.UE_TO_UE} if routed else set()
        expected |= {DropReason.INNER_IPV6} if "ue_pools6" in change else set()
        assert missing == expected | (set() if routes else {DropReason.TTL_EXPIRED})
    barred = {flow.table for flow in flows if flow.cookie == _drop(DropReason.UE_TO_UE)}
    assert barred == (set() if routed else {GUARD.number, FRAMED.number})


def _drop(reason: DropReason) -> int:
    return make_cookie(CookieKind.DROP, reason)


def test_every_reason_of_a_rule_is_counted_whatever_the_packet() -> None:
    """Rules of relays refuse what is not unwrapped, and so has any type: only metadata is asked
    for. Each has a meter, which counts it, and it alone."""
    found: set[int] = set()
    meters: dict[int, set[int | None]] = defaultdict(set)
    for flow in (f for f in all_flows(gateway()) if f.table == REFUSAL.number):
        asked = {each.field: each.value for each in flow.match}
        assert flow.cookie == _drop(DropReason(asked["reg5"] & ~TO_UE))
        assert asked.keys() == {"reg5"}
        found.add(asked["reg5"])
        meters[asked["reg5"]].add(flow.meter)
    wanted = {int(reason): meter for reason, meter in UPLINK_REFUSALS.items()}
    wanted |= {TO_UE | reason: meter for reason, meter in DOWNLINK_REFUSALS.items()}
    assert found == wanted.keys()
    assert meters == {asked: {meter.number} for asked, meter in wanted.items()}
    assert len(set(wanted.values())) == len(wanted)
    refused = {
        action.value
        for each in ALL_KINDS.values()
        for flow in session_flows(each, LINKS)
        for action in flow.actions
        if isinstance(action, SetField) and action.field == "reg5"
    }
    assert refused
    assert refused <= found


@changed
def test_what_ends_a_packet_says_why(change: dict[str, Any]) -> None:
    """No flow drops without a reason, and no flow with a reason lets a packet out."""
    others = [flow for each in ALL_KINDS.values() for flow in session_flows(each, LINKS)]
    for flow in (*all_flows(gateway(**change), session(), session(2, downlink=None)), *others):
        if (flow.table, flow.priority) == (BARE.number, 0):
            # The switch counts a packet whose size it compares on both flows that it may take. So
            # these are no drops of a flow: they count as packets that the tunnel has lost.
            continue
        outputs = [a.port for a in flow.actions if isinstance(a, Output)]
        leaves = flow.goto is not None or bool(outputs)
        shown = cookie_kind(flow.cookie) is CookieKind.REPORT
        dropped = cookie_kind(flow.cookie) is CookieKind.DROP
        assert leaves != dropped or (dropped and outputs == [Port.CONTROLLER]), str(flow)
        assert (Port.CONTROLLER in outputs) <= (shown or dropped), str(flow)


@changed
def test_what_reaches_the_controller_is_limited(change: dict[str, Any]) -> None:
    for flow in all_flows(gateway(**change), session()):
        if any(isinstance(a, Output) and a.port == Port.CONTROLLER for a in flow.actions):
            assert flow.meter in {meter.number for meter in METERS.values()}, str(flow)


LEADS_ON = {
    RELAY_FORM: {NORMALISE},
    RELAY: {NORMALISE},
    RELAYED: {REFUSAL},
    OTHER_RELAYED: {REFUSAL},
    RELAY_FIT: {Port.IN_PORT, DropReason.TOO_BIG},
    OUTER_ECN: {LEASE},
    EPOCH: {INNER_ECN},
    INNER_ECN: {UPLINK},
    SHOWN: {Port.CONTROLLER},
    HELD: {SHOWN},
    REPLAYED: {MEASURE, LINKS.gtpu},
    GUARD: {ROUTE},
    FRAMED: {DropReason.UE_TO_UE},
    FIT: {FITTED},
    MEASURE: {CONTAIN},
    RULES: {GUARD, QFI, DropReason.WRONG_BEARER},
    OTHER_RULES: {GUARD, QFI, DropReason.WRONG_BEARER},
    CHOOSE: {MEASURE, DropReason.NO_RULE, LINKS.gtpu},
    QFI: {DropReason.CONTAINER_MISSING},
    CONTAIN: {LINKS.gtpu},
    ONWARD: {ONWARD_FIT},
    ONWARD_FIT: {LINKS.gtpu},
    FITTED: {DOWNLINK},
    BARE: set(),
    TOO_BIG: {Port.CONTROLLER},
}
"""What becomes of packets that only the last flows of a table match: where they are led, why they
are dropped, or the port by which they leave."""


@changed
def test_every_table_says_what_a_miss_is(change: dict[str, Any]) -> None:
    """Whatever a packet holds, exactly one of a table's last flows matches it."""
    flows = all_flows(gateway(**change))
    numbers = {table.number: table for table in PIPELINE}
    for table in set(PIPELINE) - {REFUSAL}:
        lowest = min(f.priority for f in flows if f.table == table.number)
        found = [f for f in flows if f.table == table.number and f.priority == lowest]
        for packet in _packets(found):
            assert len([f for f in found if _takes(f, packet)]) == 1, f"{table.name}: {packet}"
        then: set[Table | DropReason | int] = set()
        for flow in found:
            if flow.goto is not None:
                then.add(numbers[flow.goto])
            elif cookie_kind(flow.cookie) is CookieKind.DROP:
                then.add(DropReason(cookie_number(flow.cookie)))
            else:
                then |= {a.port for a in flow.actions if isinstance(a, Output)}
        if table.miss is None:
            routed = table == FRAMED and gateway(**change).ue_to_ue == "route"
            assert then == ({FIT} if routed else LEADS_ON[table]), table.name
        else:
            assert then == {table.miss}
            assert lowest == 0


def _packets(flows: list[Flow]) -> Iterator[dict[str, int]]:
    """All combinations of the bits that some flows ask for, and of the types of packets."""
    asked: dict[str, set[int]] = defaultdict(set)
    for flow in flows:
        for each in _misses(flow):
            asked[each.field] |= {1 << bit for bit in range(32) if each.mask >> bit & 1}
    typed = asked.pop("packet_type", None) is not None
    names = list(asked)
    every = [[sum(some) for some in _subsets(asked[name])] for name in names]
    for packet_type in (0, 0x1_0800, 0x1_86DD) if typed else (0,):
        for values in product(*every):
            yield {"packet_type": packet_type, **dict(zip(names, values, strict=True))}


def _subsets(bits: set[int]) -> Iterator[tuple[int, ...]]:
    assert len(bits) <= 8, "too many to try"
    return chain.from_iterable(combinations(bits, size) for size in range(len(bits) + 1))


def _takes(flow: Flow, packet: dict[str, int]) -> bool:
    asked = {each.field: each for each in _misses(flow)}
    of_type = asked.pop("packet_type", None)
    if (0 if of_type is None else of_type.value) != packet["packet_type"]:
        return False
    return all(packet[name] & each.mask == each.value for name, each in asked.items())


def _misses(flow: Flow) -> list[Condition]:
    """What some packet would not fulfil: all that is asked, but for fields that are always 0."""
    return [each for each in flow.match if each.field not in ALWAYS_0 or each.value]


ALWAYS_0 = {name for name, field in FIELDS.items() if field.meaning.startswith("always 0")}


def test_fields_that_are_always_0_are_asked_for_nothing_else() -> None:
    assert {"pkt_mark", "ct_mark", "ct_zone", "ct_label", "reg8"} == ALWAYS_0
    others = (flow for each in ALL_KINDS.values() for flow in session_flows(each, LINKS))
    for flow in (*all_flows(gateway(), session(), session(2, downlink=None)), *others):
        assert not any(isinstance(a, SetField) and a.field == "reg8" for a in flow.actions)
        for each in flow.match:
            assert each.field not in ALWAYS_0 or each.value == 0, str(flow)


EPOCH_BITS = 0x00FF0FF0
GTPU_PORTS = LINKS.gtpu, LINKS.gtpu_ect_1, LINKS.gtpu_ce


def test_every_field_that_a_table_declares_is_asked_for() -> None:
    """By a flow of some gateway, or of a session of some kind; those of filters are not listed
    here, which may ask for any that filters have."""
    asked: dict[int, set[str]] = defaultdict(set)
    kinds = [session(), *ALL_KINDS.values()]
    sessions = [flow for each in kinds for flow in session_flows(each, LINKS)]
    of_gateways = [
        flow
        for change in GATEWAYS.values()
        for links in (
            LINKS,
            replace(LINKS, core_mtu=1400, decrement_ttl=True, ue_to_ue=True),
            replace(LINKS, gre=8),
        )
        for flow in all_flows(gateway(**change), links=links)
    ]
    for flow in (*sessions, *of_gateways):
        asked[flow.table] |= {each.field for each in flow.match}
    tables = [table for table in PIPELINE if table not in (RULES, OTHER_RULES, CHOOSE)]
    unused = {table.name: sorted(table.fields - asked[table.number]) for table in tables}
    assert {name: fields for name, fields in unused.items() if fields} == {}


def test_what_the_epoch_is_asked_of() -> None:
    """What comes by the gtpu port, and goes on in each further pass; nothing that others need."""
    links = replace(LINKS, epoch=EPOCH_BITS)
    flows = all_flows(gateway(), session(), links=links)
    asked = {f.key for f in flows if any(_epoch(each) for each in f.match)}
    assert asked == {f.key for f in epoch_flows(links)}
    gtpu = [Condition("in_port", port, 0xFFFFFFFF) for port in GTPU_PORTS]
    by_gtpu = {f.key for f in flows if any(each in f.match for each in gtpu)}
    assert len(by_gtpu) == 3
    later = (EPOCH.number, CONTAINER.number, UNWRAP.number, FITTED.number)
    rest = {f.key for f in flows if f.table in later and f.goto}
    rest -= {f.key for f in flows if f.table == FITTED.number and f.priority}
    # E alone with four units of 4 octets and more, and with S as well with five
    long = {*range(0x14, 0x18), *range(0x25, 0x29)}
    ends = [f for f in flows if f.table == CONTAINER_END.number and f.goto]
    rest |= {f.key for f in ends if any(c.field == "reg5" and c.value in long for c in f.match)}
    assert asked - by_gtpu == rest
    for flow in epoch_flows(replace(LINKS, epoch=0x00FF00FF)):
        field, at = ("ct_label", EPOCH_AT) if flow.table == INGRESS.number else ("pkt_mark", 0)
        assert Condition(field, 0, 0x00FF00FF << at) in flow.match


def _epoch(asked: Condition) -> bool:
    of_ingress = asked.field == "ct_label" and asked.mask == EPOCH_BITS << EPOCH_AT
    return of_ingress or (asked.field == "pkt_mark" and asked.mask == EPOCH_BITS)


def test_another_epoch_changes_the_flows_that_ask_for_it_only() -> None:
    one, other = (
        set(all_flows(gateway(), session(), links=replace(LINKS, epoch=epoch)))
        for epoch in (0x0000FFFF, 0x0F0F0F0F)
    )
    assert len(one - other) == len(other - one) == len(list(epoch_flows(LINKS)))


@changed
@pytest.mark.parametrize(("lease_seconds", "timeout"), [(None, 0), (5, 3), (10, 8)])
def test_a_lease_is_two_flows(
    change: dict[str, Any], lease_seconds: int | None, timeout: int
) -> None:
    up, down = lease_flows(LINKS, lease_seconds)
    assert (up.hard_timeout, down.hard_timeout) == (timeout, timeout)
    assert up.actions == (Output(Port.LOCAL),)
    assert (down.actions, down.goto) == ((), CORE.number)
    flows = all_flows(
        gateway(**change), session(), session(2, downlink=None), lease_seconds=lease_seconds
    )
    # They are all that lets user traffic in, and all that ends by itself.
    leads_on = [f for f in flows if f.table == LEASE.number and f.priority]
    assert leads_on == [up, down]
    assert [f for f in flows if f.hard_timeout] == ([up, down] if timeout else [])
    assert {f.table for f in flows if f.goto == CORE.number} == {LEASE.number}
    # What the switch would decapsulate reaches LOCAL by the lease, or not at all.
    for flow in flows:
        if Output(Port.LOCAL) in flow.actions and flow != up:
            asked = {each.field: each.value for each in flow.match}
            assert flow.table == ACCESS.number
            assert asked.get("nw_proto") in (1, 58) or asked["dl_type"] == 0x0806


def test_a_renewal_is_the_same_flow_whatever_the_lease() -> None:
    keys = [[f.key for f in lease_flows(LINKS, each)] for each in (None, 5, 10)]
    assert keys[0] == keys[1] == keys[2]


@changed
def test_the_patch_is_entered_by_gtpu_only_and_left_for_one_table(change: dict[str, Any]) -> None:
    flows = all_flows(gateway(**change), session())
    for flow in flows:
        ports = [a.port for a in flow.actions if isinstance(a, Output)]
        assert LINKS.loop_in not in ports
        if LINKS.loop_out in ports:
            signalling = ("dl_dst", int(LINKS.local_mac.replace(":", ""), 16), (1 << 48) - 1)
            t_pdu = (
                SetField("vlan_pcp", WHOLE) in flow.actions or Encap(Header.MPLS) in flow.actions
            )
            assert t_pdu or signalling in flow.match
        assert LINKS.loop_out not in ports or flow.table == NORMALISE.number
        inputs = [each.value for each in flow.match if each.field == "in_port"]
        assert LINKS.loop_out not in inputs
        assert (inputs == [LINKS.loop_in]) == (flow.goto == RETYPE.number)


@pytest.mark.parametrize("whole", [False, True])
def test_the_same_bits_are_carried_away_and_come_back(whole: bool) -> None:
    """What each flow of normalise copies away, table retype copies back, and it is all of it."""
    flows = all_flows(gateway())
    [away] = {
        tuple(a for a in f.actions if isinstance(a, Move))
        for f in flows
        if f.table == NORMALISE.number
        and PushVlan() in f.actions
        and whole == (SetField("vlan_pcp", WHOLE) in f.actions)
    }
    [back] = {
        tuple(a for a in f.actions if isinstance(a, Move))
        for f in flows
        if f.table == RETYPE.number
        and any(isinstance(a, Move) for a in f.actions)
        and whole == any(c.field == "vlan_pcp" and c.value == WHOLE for c in f.match)
    }
    carried = {a.dst: a.src for a in away}
    returned = {a.src: a.dst for a in back}
    if not whole:
        # All of the label's traffic class is written, for the switch has put something there.
        [ecn] = [place for place in carried if place.field == "mpls_tc"]
        assert (ecn, carried.pop(ecn)) == (Bits("mpls_tc", 0, 2), Bits("reg7", 0, 2))
        carried[Bits("mpls_tc", 0, 1)] = Bits("reg7", 0, 1)
    assert carried.keys() == returned.keys()
    restored = {"reg0": "tun_id", "reg1": "reg1", "reg7": "reg7"}
    for place, source in carried.items():
        register = returned[place]
        assert restored[register.field] == source.field
        assert (register.first, register.last) == (source.first, source.last)
    for register_name, bits_of in (("reg0", 32), ("reg1", 32), ("reg7", 2)):
        bits = [b for r in returned.values() for b in range(r.first, r.last + 1)
                if r.field == register_name]  # fmt: skip
        assert sorted(bits) == list(range(bits_of))


@pytest.mark.parametrize("gre", [None, 8])
def test_who_sent_a_tpdu_is_kept_before_it_goes_round(gre: int | None) -> None:
    """Whole, of IPv4; the end of it, of IPv6, and that it is no IPv4 address."""
    of_ports: dict[int, list[tuple[object, ...]]] = {}
    for flow in all_flows(gateway(), links=replace(LINKS, gre=gre)):
        asked = {each.field: each.value for each in flow.match}
        if flow.table == INGRESS.number and flow.goto in (RELAY_FORM.number, NORMALISE.number):
            kept = (a for a in flow.actions if a not in (SetField("reg7", 1), SetField("reg7", 3)))
            of_ports.setdefault(asked["in_port"], []).append((asked.get("tun_src"), *kept))
    assert set(of_ports) == {LINKS.gtpu, LINKS.gtpu_ect_1, LINKS.gtpu_ce}
    tail = move(Bits("tun_ipv6_src", 0, 27), Bits("reg1", 0, 27))
    ipv4, ipv6 = (None, move("tun_src", "reg1")), (0, SetField("reg1", 0xF000_0000), tail)
    for found in of_ports.values():
        assert found == ([ipv4] if gre is None else [ipv4, ipv6])


def test_versions_come_back_as_the_types_they_are() -> None:
    flows = all_flows(gateway())
    types: dict[int, list[int]] = {}
    for flow in (f for f in flows if f.table == RETYPE.number and f.actions):
        asked = {each.field: each.value for each in flow.match}
        if "udp_dst" in asked:
            continue
        assert asked["vlan_vid"] == 0x1000
        assert asked["dl_type"] == (0x0800 if asked["vlan_pcp"] == WHOLE else 0x8847)
        if asked["vlan_pcp"] in (4, 6, *NUMBERED.values()):
            assert flow.goto == BARE.number
            types[asked["vlan_pcp"]] = []  # said there
            continue
        popped = [a.eth_type for a in flow.actions if isinstance(a, PopMpls | Decap)]
        types[asked["vlan_pcp"]] = [each for each in popped if each]
    as_ipv6 = {form: [0x86DD] for form in (EXTENDED, EXTENDED_NUMBERED, UNEXTENDED)}
    labelled = {form: list[int]() for form in (4, 6, *NUMBERED.values())}
    assert types == {WHOLE: [], **labelled, **as_ipv6}
    bared = [f for f in flows if f.table == BARE.number and f.goto]
    assert [f.goto for f in bared] == [EPOCH.number] * 4
    assert [f.actions[-1] for f in bared] == [Decap(0x0800)] * 2 + [Decap(0x86DD)] * 2
    sent = {
        a.value
        for f in flows
        for a in f.actions
        if isinstance(a, SetField) and a.field == "vlan_pcp"
    }
    assert sent == types.keys()


def test_two_flows_a_session() -> None:
    up, down = session_flows(session(), LINKS)
    assert (up.table, down.table) == (UPLINK.number, DOWNLINK.number)
    assert up.match == match(reg0=0x1001, dl_type=0x800, nw_src=IPv4Address("10.45.0.2"))
    assert {cookie_number(f.cookie) for f in (up, down)} == {1}
    assert {cookie_kind(f.cookie) for f in (up, down)} == {CookieKind.SESSION}


def test_two_flows_a_session_with_a_qfi() -> None:
    """They differ in what they do, not in what they match: a PATCH modifies them in place."""
    plain = session_flows(session(), LINKS)
    for qos, wanted, octet in (
        (Qos(9), 0x80, 9),
        (Qos(63, rqi=True, check=True), 0xFF, 0x7F),
        (Qos(1, check=True, required=False), 0x41, 1),
        (Qos(5, required=False), None, 5),
    ):
        up, down = session_flows(session(qos=qos), LINKS)
        assert (up.key, down.key) == (plain[0].key, plain[1].key)
        assert {up.cookie, down.cookie} == {plain[0].cookie}
        assert up.actions == (() if wanted is None else (SetField("reg4", wanted),))
        assert up.goto == (GUARD if wanted is None else QFI).number
        assert down.actions[0] == SetField("reg4", octet)
        assert down.goto == MEASURE.number
    idle = session(qos=Qos(9), downlink=None)
    assert session_flows(idle, LINKS)[1] == session_flows(session(downlink=None), LINKS)[1]


def test_an_idle_session_drops_under_its_reason() -> None:
    _, down = session_flows(session(downlink=None), LINKS)
    assert (down.actions, down.goto) == ((), None)
    assert cookie_kind(down.cookie) is CookieKind.DROP
    assert cookie_number(down.cookie) == DropReason.IDLE_UE
    assert down.key == session_flows(session(), LINKS)[1].key


def test_a_pinned_peer_is_part_of_the_match() -> None:
    up, _ = session_flows(session(uplink=Uplink(1, ENB)), LINKS)
    assert Condition("reg1", int(ENB), 0xFFFFFFFF) in up.match
    up, _ = session_flows(session(uplink=Uplink(1)), LINKS)
    assert not any(each.field == "reg1" for each in up.match)


def test_guards_stand_above_what_relabels() -> None:
    """Whatever pushes a label comes after the drops that keep the switch from aborting."""
    flows = [f for f in all_flows(gateway()) if f.table == NORMALISE.number]
    relabels = [
        f for f in flows if any(isinstance(action, Encap | PopMpls) for action in f.actions)
    ]
    guards = [f for f in flows if cookie_number(f.cookie) == DropReason.INNER_MPLS]
    assert {f.match for f in guards} == {match(dl_type=0x8847), match(dl_type=0x8848)}
    assert min(f.priority for f in guards) > max(f.priority for f in relabels)
    # And none of them asks for all of dl_dst, which would cost an upcall a packet.
    for flow in relabels + guards:
        for condition in flow.match:
            assert condition.field != "dl_dst" or condition.mask == 0xF << 44
    # Those that do stand below the corrections of the same flags.
    for flow in flows:
        if cookie_number(flow.cookie) == DropReason.FORGED_SIGNALLING:
            same = [f for f in relabels if _flags(f) == _flags(flow)]
            assert same
            assert flow.priority < min(f.priority for f in same)


def _flags(flow: Flow) -> int:
    return sum(each.value for each in flow.match if each.field == "tun_gtpu_flags")


def test_protected_networks() -> None:
    first = gateway(access_routes=(AccessRoute(IPv4Network("0.0.0.0/0"), ENB),))
    second = gateway(
        access_ip=IPv4Interface("10.3.0.1/25"),
        core_ip=IPv4Interface("10.4.0.1/24"),
        access_routes=(AccessRoute(IPv4Network("10.9.0.0/16"), ENB),),
    )
    expected = ["10.1.0.0/24", "10.2.0.1/32", "10.3.0.0/25", "10.4.0.1/32", "10.9.0.0/16"]
    networks = protected_networks([first, second, first])
    assert networks == (*UNREACHABLE_FOR_UES, *(IPv4Network(each) for each in expected))


@pytest.mark.parametrize(
    ("core", "ours"), [("eth2", "2001:db8:c::1/128"), ("host", "2001:db8:c::/64")]
)
def test_protected_networks_of_ipv6(core: str, ours: str) -> None:
    """On the host's internal port there is nobody for a UE to send to."""
    one = gateway(core_port=core, core_ip6=IPv6Interface("2001:db8:c::1/64"))
    found = [each for each in protected_networks([one]) if each.version == 6]
    assert found == [*UNREACHABLE_FOR_UES6, IPv6Network(ours)]
