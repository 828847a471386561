"""What the rules promise as a set; `tests/table` sends packets through them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from ofgtp.core.flow import (
    Condition,
    CookieKind,
    Encap,
    Flow,
    Output,
    PopMpls,
    Port,
    cookie_kind,
    cookie_number,
    match,
)
from ofgtp.core.model import AccessRoute, Uplink
from ofgtp.core.pipeline import (
    DOWNLINK,
    GUARD,
    METERS,
    NORMALISE,
    PIPELINE,
    ROUTE,
    UPLINK,
    DropReason,
)
from ofgtp.core.rules import UNREACHABLE_FOR_UES, protected_networks, session_flows
from tests.support.lab import gateway
from tests.support.sample import ENB, LINKS, all_flows, session

GATEWAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "host core": {"core_port": "host", "next_hop": None},
    "ue to ue": {"ue_to_ue": "route"},
    "allow": {"access_allow": (IPv4Network("10.1.0.0/24"), IPv4Network("10.9.0.0/16"))},
    "pools": {"ue_pools": (IPv4Network("10.45.0.0/16"), IPv4Network("10.47.0.0/24"))},
    "routes": {"access_routes": (AccessRoute(IPv4Network("10.9.0.0/16"), ENB),)},
}
changed = pytest.mark.parametrize("change", GATEWAYS.values(), ids=GATEWAYS.keys())


@changed
@pytest.mark.parametrize("peer_mac", [LINKS.peer_mac, None])
def test_no_two_flows_have_one_key(change: dict[str, Any], peer_mac: str | None) -> None:
    links = replace(LINKS, peer_mac=peer_mac)
    flows = all_flows(gateway(**change), session(), session(2, downlink=None), links=links)
    assert len({flow.key for flow in flows}) == len(flows)


@changed
def test_every_drop_reason_has_a_flow_to_count_it(change: dict[str, Any]) -> None:
    flows = all_flows(gateway(**change), session(1, downlink=None))
    counted = {
        DropReason(cookie_number(flow.cookie))
        for flow in flows
        if cookie_kind(flow.cookie) is CookieKind.DROP
    }
    missing = set(DropReason) - counted
    expected = set() if "access_allow" in change else {DropReason.ACCESS_DENIED}
    expected |= {DropReason.UE_TO_UE} if change.get("ue_to_ue") == "route" else set()
    assert missing == expected


@changed
def test_what_ends_a_packet_says_why(change: dict[str, Any]) -> None:
    """No flow drops without a reason, and no flow with a reason lets a packet out."""
    for flow in all_flows(gateway(**change), session(), session(2, downlink=None)):
        outputs = [a.port for a in flow.actions if isinstance(a, Output)]
        leaves = flow.goto is not None or bool(outputs)
        dropped = cookie_kind(flow.cookie) is CookieKind.DROP
        assert leaves != dropped or (dropped and outputs == [Port.CONTROLLER]), str(flow)


@changed
def test_what_reaches_the_controller_is_limited(change: dict[str, Any]) -> None:
    for flow in all_flows(gateway(**change), session()):
        if any(isinstance(a, Output) and a.port == Port.CONTROLLER for a in flow.actions):
            assert flow.meter in {meter.number for meter in METERS.values()}, str(flow)


@changed
def test_every_table_says_what_a_miss_is(change: dict[str, Any]) -> None:
    flows = all_flows(gateway(**change))
    for table in PIPELINE:
        [miss] = [f for f in flows if f.table == table.number and not f.match and not f.priority]
        if table.miss is None:
            assert (table, miss.goto) == (GUARD, ROUTE.number)
        else:
            assert cookie_number(miss.cookie) == table.miss


def test_two_flows_a_session() -> None:
    up, down = session_flows(session(), LINKS)
    assert (up.table, down.table) == (UPLINK.number, DOWNLINK.number)
    assert up.match == match(tun_id=0x1001, dl_type=0x800, nw_src=IPv4Address("10.45.0.2"))
    assert {cookie_number(f.cookie) for f in (up, down)} == {1}
    assert {cookie_kind(f.cookie) for f in (up, down)} == {CookieKind.SESSION}


def test_an_idle_session_drops_under_its_reason() -> None:
    _, down = session_flows(session(downlink=None), LINKS)
    assert (down.actions, down.goto) == ((), None)
    assert cookie_kind(down.cookie) is CookieKind.DROP
    assert cookie_number(down.cookie) == DropReason.IDLE_UE
    assert down.key == session_flows(session(), LINKS)[1].key


def test_a_pinned_peer_is_part_of_the_match() -> None:
    up, _ = session_flows(session(uplink=Uplink(1, ENB)), LINKS)
    assert Condition("tun_src", int(ENB), 0xFFFFFFFF) in up.match


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
