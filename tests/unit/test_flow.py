"""Rules as values."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.flows.flow import (
    SESSION_NUMBER_MAX,
    Bits,
    CookieKind,
    Decap,
    Encap,
    Flow,
    Header,
    Meter,
    Output,
    PopMpls,
    PopVlan,
    Port,
    PushVlan,
    RuleError,
    SetField,
    SetInPort,
    Show,
    condition,
    cookie_kind,
    cookie_number,
    make_cookie,
    match,
    move,
    set_field,
)
from ofgtp.core.flows.pipeline import (
    ACCESS,
    ARP_METER,
    GUARD,
    METERS,
    PIPELINE,
    REPLAYED,
    ROUTE,
    UPLINK,
    DropReason,
)


def test_a_flow_in_the_words_of_ovs_ofctl() -> None:
    flow = Flow(
        30,
        7,
        match(
            nw_src=IPv4Network("10.45.0.0/16"), dl_type=0x800, tun_id=4097, dl_dst=(1 << 40,) * 2
        ),
        make_cookie(CookieKind.SESSION, 1),
        (
            SetInPort(),
            Encap(Header.MPLS),
            PopMpls(0x800),
            Decap(),
            set_field("tun_dst", IPv4Address("10.1.0.2")),
            set_field("dl_src", "02:00:00:00:00:01"),
            move("arp_spa", "arp_tpa"),
            move(Bits("tun_src", 20, 31), Bits("vlan_vid", 0, 11)),
            move(Bits("tun_id", 0, 31), "pkt_mark"),
            PushVlan(),
            SetField("vlan_pcp", 6),
            PopVlan(),
            Output(3),
            Output(Port.IN_PORT),
            Output(Port.LOCAL),
            Output(Port.CONTROLLER, 64),
            Output(3, 1514),
            Show(128, 9),
        ),
        goto=40,
        meter=2,
    )
    assert str(flow) == (
        "cookie=0x0f67030000000001,table=30,priority=7,tun_id=0x1001,"
        "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,dl_type=0x0800,nw_src=10.45.0.0/16"
        " actions=meter:2,load:0xffff->NXM_OF_IN_PORT[],encap(mpls),pop_mpls:0x0800,decap(),"
        "set_field:10.1.0.2->tun_dst,set_field:02:00:00:00:00:01->dl_src,"
        "move:arp_spa->arp_tpa,move:tun_src[20..31]->vlan_vid[0..11],move:tun_id[0..31]->pkt_mark,"
        "push_vlan:0x8100,set_field:6->vlan_pcp,pop_vlan,output:3,IN_PORT,LOCAL,controller(max_len=64),"
        "output(port=3,max_len=1514),controller(max_len=128,meter_id=9),goto_table:40"
    )


def test_no_actions_mean_drop() -> None:
    assert str(Flow(0, 0, (), 0)).endswith(",priority=0 actions=drop")


def test_a_timeout_is_shown_when_there_is_one() -> None:
    assert "hard_timeout" not in str(Flow(25, 1, (), 0))
    shown = str(Flow(25, 1, match(pkt_mark=(0, 0xFF00FF00)), 0, hard_timeout=8))
    assert shown.endswith("priority=1,hard_timeout=8,pkt_mark=0x0/0xff00ff00 actions=drop")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("tun_id", "pkt_mark"),
        ("tun_src", "mpls_label"),
        (Bits("tun_src", 0, 18), "mpls_label"),
        (Bits("reg0", 4, 4), Bits("reg1", 4, 5)),
    ],
)
def test_a_move_is_between_equal_widths(source: str | Bits, target: str | Bits) -> None:
    with pytest.raises(RuleError, match="not of one width"):
        move(source, target)


@given(st.integers(0, 31), st.integers(0, 31), st.integers(0, 31))
def test_a_move_says_which_bits(first: int, last: int, to: int) -> None:
    first, last = sorted((first, last))
    to = min(to, 31 - (last - first))
    made = move(Bits("reg0", first, last), Bits("reg1", to, to + last - first))
    source = "reg0" if (first, last) == (0, 31) else f"reg0[{first}..{last}]"
    assert str(made).startswith(f"move:{source}->reg1")
    assert (str(made) == "move:reg0->reg1") == (last - first == 31)


def test_all_of_a_timeout_is_not_the_flows_identity() -> None:
    """Adding a flow anew with another timeout replaces it."""
    assert Flow(25, 1, (), 0, hard_timeout=8).key == Flow(25, 1, (), 0).key
    assert Flow(25, 1, (), 0, hard_timeout=8) != Flow(25, 1, (), 0)


def test_a_meter_in_the_words_of_ovs_ofctl() -> None:
    assert str(Meter(3, 200, 50)) == (
        "meter=3 pktps burst stats bands=type=drop rate=200 burst_size=50"
    )


@given(st.permutations(["tun_id", "nw_src", "dl_type", "in_port"]))
def test_the_order_of_conditions_does_not_matter(names: list[str]) -> None:
    asked = {"tun_id": 1, "nw_src": IPv4Address("10.0.0.1"), "dl_type": 0x800, "in_port": 1}
    assert match(**{name: asked[name] for name in names}) == match(**asked)  # type: ignore[arg-type]


def test_a_match_of_everything_asks_nothing() -> None:
    assert match(nw_src=IPv4Network("0.0.0.0/0")) == ()


def test_bits_outside_the_mask_do_not_make_another_match() -> None:
    assert match(vlan_vid=(0x1FFF, 0x1000)) == match(vlan_vid=(0x1000, 0x1000))


def test_gtpu_flags_ask_for_their_bits_only() -> None:
    assert condition("tun_gtpu_flags", 4).mask == 4


def test_a_condition_of_nothing_known() -> None:
    with pytest.raises(RuleError):
        condition("nw_src", 1.5)  # type: ignore[arg-type]


@given(st.sampled_from(CookieKind), st.integers(0, SESSION_NUMBER_MAX))
def test_cookies_carry_kind_and_number(kind: CookieKind, number: int) -> None:
    cookie = make_cookie(kind, number)
    assert 0 <= cookie < 1 << 64
    assert (cookie_kind(cookie), cookie_number(cookie)) == (kind, number)


def test_cookies_of_others() -> None:
    assert cookie_kind(0) is None
    assert cookie_kind(make_cookie(CookieKind.BASE) ^ 1 << 63) is None
    assert cookie_kind(0x0F67_7F00_0000_0000) is None


# --- tables


def test_a_table_refuses_a_field_it_did_not_declare() -> None:
    with pytest.raises(RuleError, match=r"guard.*nw_src"):
        GUARD.flow(1, match(dl_type=0x800, nw_src=IPv4Address("10.0.0.1")))


def test_a_table_refuses_a_table_it_does_not_lead_to() -> None:
    with pytest.raises(RuleError, match=r"uplink.*route"):
        UPLINK.flow(1, (), goto=ROUTE)
    assert GUARD.flow(1, (), goto=ROUTE).goto == ROUTE.number


def test_a_tables_flows_are_marked_as_ours() -> None:
    base = ACCESS.flow(1, (), Output(1), meter=ARP_METER)
    assert (cookie_kind(base.cookie), base.meter, base.goto) == (CookieKind.BASE, 2, None)
    dropped = ACCESS.drop(1, (), DropReason.VLAN)
    assert (cookie_kind(dropped.cookie), cookie_number(dropped.cookie)) == (CookieKind.DROP, 2)


def test_the_pipeline_leads_forward_and_every_table_is_reached() -> None:
    by_name = {table.name: table for table in PIPELINE}
    assert len(by_name) == len({table.number for table in PIPELINE}) == len(PIPELINE)
    reached = {PIPELINE[0].name, REPLAYED.name}  # where packets from ports begin, and held ones
    for table in PIPELINE:
        for name in table.next:
            assert by_name[name].number > table.number
            reached.add(name)
    assert reached == set(by_name)


def test_drop_reasons_have_meanings_and_labels() -> None:
    assert DropReason.INNER_IPV6.label == "inner_ipv6"
    assert len({reason.meaning for reason in DropReason}) == len(DropReason)


def test_meters_have_numbers_of_their_own() -> None:
    assert len({meter.number for meter in METERS.values()}) == len(METERS)
