"""Sessions as sets of rules: what a request makes of one, where rules stand, what they count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.control.peers.end_markers import left_tunnels
from ofgtp.control.sessions.detail import detail_of, settled
from ofgtp.core.filters import ASSIGNED, PacketFilter
from ofgtp.core.flows.flow import FlowKey, Unit
from ofgtp.core.model import FTeid, Qos, Session, Uplink
from ofgtp.core.rules.counts import Counts, RuleKey, by_rule, framed
from ofgtp.core.rules.session import owned_flows
from ofgtp.core.rules.terms import ETHERNET_HEADER
from ofgtp.core.sessions.detail import Bearer, Detail, Gate, Rates, Relay
from ofgtp.core.sessions.rule import Rule, Source, ToCore, Tunnel
from ofgtp.core.sessions.rules import (
    BURST_LEAST_KBIT,
    BURST_MS,
    all_teids,
    indicated,
    meter,
    meters_of,
    next_way,
    peers_of,
    rules_of,
    sent_on,
)
from ofgtp.northbound import bearers as form
from ofgtp.northbound import bodies
from ofgtp.northbound.service import (
    BearerRequest,
    RelayRequest,
    SessionRequest,
    UplinkRequest,
)
from tests.support.sample import (
    ALL_KINDS,
    ENB,
    FAR,
    LINKS,
    OTHER_ENB,
    bearer,
    detailed,
    relay,
    session,
)

UDP, TCP = "permit out udp from any to assigned", "permit out tcp from any to assigned"
HERE, THERE = FTeid(0x4101, ENB), FTeid(0x4101, OTHER_ENB)


# --- what a request makes


def asked(*bearers: BearerRequest, **changes: Any) -> SessionRequest:
    fields: dict[str, Any] = {
        "id": "ue-1",
        "gateway": "gw1",
        "ue_ip": IPv4Address("10.45.0.2"),
        "uplink_teid": 0x1001,
        "uplink_remote_ip": None,
        "downlink": FTeid(0x2001, ENB),
        "bearers": bearers,
    }
    return SessionRequest(**{**fields, **changes})


def wanted(name: str, precedence: int = 1, **changes: Any) -> BearerRequest:
    return BearerRequest(name, precedence, (PacketFilter.parse(UDP),), **changes)


@pytest.fixture
def allocate() -> Callable[[], int]:
    numbers = count(0x9000)
    return lambda: next(numbers)


def never() -> int:
    raise AssertionError("no TEID is to be allocated")


def made(request: SessionRequest, old: Session | None, allocate: Callable[[], int]) -> Detail:
    detail = detail_of(request, old, allocate)
    assert detail is not None
    return detail


def test_a_tunnel_pair_has_no_detail() -> None:
    assert detail_of(asked(), None, never) is None
    assert detail_of(asked(), session(), never) is None


@pytest.mark.parametrize(
    "change",
    [
        {"ambr": Rates(uplink=1)},
        {"ambr": Rates(downlink=1)},
        {"bearers": (wanted("1"),)},
        {"relay": RelayRequest(1, FTeid(1, FAR))},
        {"framed_routes": (IPv4Network("192.168.7.0/24"),)},
    ],
)
def test_what_is_more_has_one(change: dict[str, Any]) -> None:
    detail = made(asked(**change), session(), never)
    assert (detail.slot, detail.way) == (0, 1)


def test_one_that_had_a_detail_keeps_it() -> None:
    """Else the switch would not notice that its packets have to take the short way."""
    old = detailed(bearers=[bearer("1", 1, UDP)], ambr=Rates(5), way=2)
    assert made(asked(), old, never) == Detail(slot=1, way=2)


def test_bearers_keep_index_and_teid(allocate: Callable[[], int]) -> None:
    """By their ids, wherever they stand and whatever else of them changes."""
    own = UplinkRequest(None, None)
    first = made(asked(*(wanted(f"b{n}", n, uplink=own) for n in range(3))), None, allocate)
    assert [each.index for each in first.bearers] == [0, 1, 2]
    assert [each.uplink for each in first.bearers] == [Uplink(0x9000 + n) for n in range(3)]
    old = session(detail=first)
    again = made(
        asked(
            wanted("b2", 9, uplink=UplinkRequest(None, ENB), gate=Gate.CLOSED),
            wanted("new", 8),
            wanted("b0", 7, uplink=own),
        ),
        old,
        never,
    )
    assert [(each.id, each.index) for each in again.bearers] == [("b2", 2), ("new", 1), ("b0", 0)]
    uplinks = [each.uplink for each in again.bearers]
    assert uplinks == [Uplink(0x9002, ENB), None, Uplink(0x9000)]
    # One that had no tunnel of its own gets a new TEID; a number that is named counts.
    old = session(detail=again)
    third = made(asked(wanted("new", uplink=own), wanted("b0", 2)), old, allocate)
    assert third.bearers[0].uplink == Uplink(0x9003)
    fourth = made(asked(wanted("b0", uplink=UplinkRequest(7, None))), session(detail=third), never)
    assert fourth.bearers[0].uplink == Uplink(7)


@given(st.lists(st.lists(st.integers(0, 9), max_size=6, unique=True), max_size=6))
def test_indices_are_unique_low_and_kept(turns: list[list[int]]) -> None:
    old, before = None, dict[str, int]()
    for names in turns:
        request = asked(*(wanted(f"b{name}", name) for name in names))
        detail = detail_of(request, old, never)
        if detail is None:
            assert not names
            assert old is None
            continue
        now = {each.id: each.index for each in detail.bearers}
        assert len(set(now.values())) == len(now)
        assert all(0 <= index <= 62 for index in now.values())
        assert all(now[name] == index for name, index in before.items() if name in now)
        # No more meters are in use than there were bearers at once.
        assert max(now.values(), default=0) < max(len(names) + len(before), 1)
        old, before = session(detail=detail), now


def test_a_relay_keeps_its_teid(allocate: Callable[[], int]) -> None:
    request = asked(relay=RelayRequest(None, FTeid(6, FAR)), ue_ip=None)
    first = made(request, None, allocate)
    assert first.relay == Relay(0x9000, FTeid(6, FAR))
    old = session(detail=replace(first, relay=replace(first.relay, error_indicated=True)))
    moved = asked(relay=RelayRequest(None, FTeid(7, FAR)), ue_ip=None)
    # What its peer said was said of the tunnel that it had.
    assert made(moved, old, never).relay == Relay(0x9000, FTeid(7, FAR))
    named = asked(relay=RelayRequest(5, FTeid(7, FAR)), ue_ip=None)
    assert made(named, old, never).relay == Relay(5, FTeid(7, FAR))


def test_what_a_peer_said_ends_with_a_request() -> None:
    told = bearer("1", 1, UDP, downlink=HERE, shares_downlink=False, error_indicated=True)
    again = made(asked(wanted("1", downlink=HERE)), detailed(bearers=[told]), never)
    assert not again.bearers[0].error_indicated


# --- in which table rules stand

UPLINK_CHANGES: dict[str, Session] = {
    "a filter": detailed(bearers=[bearer("1", 10, TCP)]),
    "a gate": detailed(bearers=[bearer("1", 10, UDP, gate=Gate.DOWNLINK)]),
    "a QFI": detailed(bearers=[bearer("1", 10, UDP, qos=Qos(1))]),
    "a rate": detailed(bearers=[bearer("1", 10, UDP, mbr=Rates(uplink=1))]),
    "a tunnel": detailed(bearers=[bearer("1", 10, UDP, uplink=Uplink(1))]),
    "an order": detailed(bearers=[bearer("1", 11, UDP)]),
    "one more": detailed(bearers=[bearer("1", 10, UDP), bearer("2", 20, TCP)]),
    "one less": detailed(),
    "the session's rate": detailed(bearers=[bearer("1", 10, UDP)], ambr=Rates(uplink=1)),
    "the session's peer": detailed(bearers=[bearer("1", 10, UDP)], uplink=Uplink(0x1001, ENB)),
    "a framed route": detailed(
        bearers=[bearer("1", 10, UDP)], framed_routes=(IPv4Network("192.168.7.0/24"),)
    ),
}
DOWNLINK_CHANGES: dict[str, Session] = {
    "nothing": detailed(bearers=[bearer("1", 10, UDP)]),
    "a gate": detailed(bearers=[bearer("1", 10, UDP, gate=Gate.UPLINK)]),
    "a tunnel": detailed(bearers=[bearer("1", 10, UDP, downlink=HERE, shares_downlink=False)]),
    "a rate": detailed(bearers=[bearer("1", 10, UDP, mbr=Rates(downlink=1))]),
    "idle": detailed(bearers=[bearer("1", 10, UDP)], downlink=None),
}


@pytest.mark.parametrize("way", [1, 2])
@pytest.mark.parametrize("change", UPLINK_CHANGES)
def test_what_changes_uplink_goes_to_the_other_table(change: str, way: int) -> None:
    before = detailed(bearers=[bearer("1", 10, UDP)], way=way)
    assert next_way(before, UPLINK_CHANGES[change]) == 3 - way
    after = settled(before, UPLINK_CHANGES[change])
    assert after.detail is not None
    assert after.detail.way == 3 - way
    assert replace(after, detail=replace(after.detail, way=1)) == UPLINK_CHANGES[change]


@pytest.mark.parametrize("way", [1, 2])
@pytest.mark.parametrize("change", DOWNLINK_CHANGES)
def test_what_changes_downlink_alone_stays(change: str, way: int) -> None:
    """So that the counters of uplink rules go on, and no packet is asked for anything new."""
    if change == "a gate":  # "uplink" lets uplink pass, as "open" did
        assert Gate.UPLINK.passes("uplink")
    before = detailed(bearers=[bearer("1", 10, UDP)], way=way)
    assert next_way(before, DOWNLINK_CHANGES[change]) == way


def test_rates_are_changed_in_place() -> None:
    """A meter is, so no rule is another one."""
    before = detailed(ambr=Rates(1, 2), bearers=[bearer("1", 1, UDP, mbr=Rates(3, 4))])
    after = detailed(ambr=Rates(5, 6), bearers=[bearer("1", 1, UDP, mbr=Rates(7, 8))])
    assert next_way(before, after) == 1
    assert owned_flows(before, LINKS) == owned_flows(after, LINKS)
    assert [each.number for each in meters_of(before)] == [each.number for each in meters_of(after)]
    assert [each.rate for each in meters_of(after)] == [5, 6, 7, 8]


@pytest.mark.parametrize("way", [1, 2])
def test_both_directions_of_a_relay_come_in_tunnels(way: int) -> None:
    before = relay(way=way)
    for after in (
        relay(downlink=THERE),
        relay(downlink=None),
        relay(error_indicated=True),
        replace(relay(), error_indicated=True),
        relay(relay=Relay(0x5001, FTeid(0x6002, FAR))),
    ):
        assert next_way(before, after) == 3 - way


def test_where_a_new_one_stands() -> None:
    for way in (1, 2):
        one = detailed(way=way)
        assert next_way(None, one) == next_way(session(), one) == way
    assert settled(None, session()) == session()
    assert settled(session(), session(downlink=None)) == session(downlink=None)


def test_error_indications_move_what_comes_in_tunnels_alone() -> None:
    own = bearer("1", 1, UDP, downlink=HERE, shares_downlink=False)
    one = detailed(bearers=[own, bearer("2", 2, TCP)])
    stopped = indicated(one, HERE)
    assert stopped is not None and stopped.detail is not None
    assert [each.error_indicated for each in stopped.detail.bearers] == [True, False]
    assert (stopped.error_indicated, stopped.detail.way) == (False, 1)
    assert indicated(stopped, HERE) is None, "no news"
    whole = indicated(stopped, FTeid(0x2001, ENB))
    assert whole is not None
    assert (whole.error_indicated, whole.detail) == (True, stopped.detail)
    assert indicated(one, THERE) is None, "it sends nothing there"
    side = indicated(relay(), FTeid(0x6001, FAR))
    assert side is not None and side.detail is not None and side.detail.relay is not None
    assert (side.detail.relay.error_indicated, side.error_indicated) == (True, False)
    assert side.detail.way == 2


def test_error_indications_of_a_relays_own_downlink_change_the_table() -> None:
    """It is reached from a tunnel: the switch would not notice otherwise."""
    one = indicated(relay(), FTeid(0x2001, ENB))
    assert one is not None and one.detail is not None
    assert one.error_indicated
    assert one.detail.way == 2


# --- rules and meters


def test_rules_stand_in_the_order_in_which_they_are_asked() -> None:
    for one in ALL_KINDS.values():
        precedences = [rule.precedence for rule in rules_of(one)]
        for side in ([r for r in rules_of(one) if r.teid is None],
                     [r for r in rules_of(one) if r.teid is not None]):  # fmt: skip
            asked_in = [rule.precedence for rule in side]
            assert asked_in == sorted(asked_in), precedences


def test_a_plain_session_has_two_rules() -> None:
    up, down = rules_of(session())
    assert (up.uplink, up.teid, down.uplink, down.teid) == (True, 0x1001, False, None)


@pytest.mark.parametrize("kbps", [1, 64, 99, 100, 101, 10_000, 10**8])
def test_the_burst_of_a_rate(kbps: int) -> None:
    """Two packets at least, or nothing passes; 200 ms at least, or TCP gets a part of it only."""
    made_ = meter(3, 5, kbps)
    assert (made_.rate, made_.unit) == (kbps, Unit.KBPS)
    assert made_.burst >= 2 * 1514 * 8 / 1000
    assert made_.burst >= kbps * 0.2
    assert made_.burst == max(BURST_LEAST_KBIT, kbps * BURST_MS // 1000)
    assert made_.burst < 1 << 32


def test_meters_of_a_session_have_numbers_of_their_own() -> None:
    many = detailed(
        ambr=Rates(1, 1),
        bearers=[bearer(f"b{n}", n, UDP, mbr=Rates(1, 1)) for n in range(63)],
    )
    numbers = [each.number for each in meters_of(many)]
    other = [each.number for each in meters_of(detailed(2, ambr=Rates(1, 1)))]
    assert len(numbers) == 128
    assert len({*numbers, *other}) == 130
    assert meters_of(session()) == meters_of(detailed()) == []
    # Every meter that a flow names is there, and every one that is there is named.
    named = {each.flow.meter for each in owned_flows(many, LINKS)} - {None}
    assert named == set(numbers)


def test_peers() -> None:
    assert peers_of(ALL_KINDS["bearers"]) == {ENB, OTHER_ENB}
    assert peers_of(relay()) == {ENB, FAR}
    assert peers_of(relay(downlink=None)) == {FAR}
    assert peers_of(detailed(downlink=None, uplink=Uplink(1, OTHER_ENB))) == {OTHER_ENB}


# --- counters


COUNTED = detailed(
    bearers=[
        bearer("voice", 1, "permit out udp from any 1-4 to assigned", uplink=Uplink(0x4001)),
        bearer("video", 2, TCP),
    ],
    framed_routes=(IPv4Network("192.168.7.0/24"),),
)


def counted(one: Session, packets: dict[FlowKey, int], octets: int = 100) -> dict[RuleKey, Counts]:
    """What came to the rules of a session whose flows have counted so many packets."""
    owned = [(each.flow.key, each) for each in owned_flows(one, LINKS)]
    size = {key: octets + (ETHERNET_HEADER if framed(each.flow) else 0) for key, each in owned}
    seen = {key: Counts(count, size[key] * count) for key, count in packets.items()}
    return by_rule(owned, seen)


def test_each_packet_counts_once_and_for_one_rule() -> None:
    flows = owned_flows(COUNTED, LINKS)
    # Each flow counts another power of two, those by which the session is found the greater ones:
    # a sum says which were added.
    ordered = sorted(flows, key=lambda each: each.first)
    marked = {each.flow.key: 1 << place for place, each in enumerate(ordered)}

    # Of a bearer with a tunnel of its own what no filter matches is refused, and is no rule's.
    shared = {(each.direction, each.group) for each in flows if each.rest is not None}
    assert ("uplink", "voice") in {(e.direction, e.rule) for e in flows if e.first and not e.rest}

    def of_(direction: str, *, first: bool, rule: str | None = None) -> int:
        return sum(
            marked[each.flow.key]
            for each in flows
            if each.first is first
            and each.direction == direction
            and (rule == each.rule or (rule is None and (direction, each.group) in shared))
        )

    found = counted(COUNTED, marked)
    assert all(counts.octets == 100 * counts.packets for counts in found.values())
    for direction in ("uplink", "downlink"):
        for name in ("voice", "video"):
            assert found[direction, name].packets == of_(direction, first=False, rule=name) > 0
        rest = of_(direction, first=True) - of_(direction, first=False)
        assert found[direction, ""].packets == rest
    # A flow on the way of a packet is in one of the sums of its direction, but for those that are
    # the prefixes': they carry what is counted elsewhere, or what is another UE's.
    assert {each.flow.table for each in flows if each.group is None} == {40, 60}


def test_what_the_switch_does_not_have_counts_nothing() -> None:
    assert {*counted(COUNTED, {}).values()} == {Counts()}
    first = next(each for each in owned_flows(COUNTED, LINKS) if each.rest is not None)
    found = counted(COUNTED, {first.flow.key: 3})
    assert {key for key, counts in found.items() if counts.packets} == {(first.direction, "")}


def test_a_relay_counts_both_ways() -> None:
    one = relay()
    found = counted(one, {each.flow.key: 1 for each in owned_flows(one, LINKS)})
    assert {key: counts.packets for key, counts in found.items()} == {
        ("uplink", ""): 2,
        ("downlink", ""): 2,
    }, "as they came, and the long way"


# --- End Markers


def with_downlinks(own: FTeid | None, **of_bearers: FTeid | None) -> Session:
    return detailed(
        downlink=own,
        bearers=[
            bearer(name, place, UDP, downlink=far, shares_downlink=False)
            for place, (name, far) in enumerate(of_bearers.items())
        ],
    )


OWN, AWAY = FTeid(0x2001, ENB), FTeid(0x3001, OTHER_ENB)


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        (with_downlinks(OWN, a=HERE), with_downlinks(OWN, a=THERE), [HERE]),
        (with_downlinks(OWN, a=HERE), with_downlinks(AWAY, a=HERE), [OWN]),
        (with_downlinks(OWN, a=HERE), with_downlinks(AWAY, a=THERE), [OWN, HERE]),
        (with_downlinks(OWN, a=HERE), with_downlinks(OWN, a=None), []),
        (with_downlinks(OWN, a=HERE), with_downlinks(OWN), []),
        (with_downlinks(OWN, a=None), with_downlinks(OWN, a=HERE), []),
        (with_downlinks(OWN, a=HERE), with_downlinks(OWN, b=HERE), []),
        (with_downlinks(OWN, a=HERE), with_downlinks(OWN, b=THERE, a=HERE), []),
        (session(), with_downlinks(AWAY, a=HERE), [OWN]),
        (with_downlinks(OWN, a=HERE), session(downlink=AWAY), [OWN]),
        (relay(), relay(downlink=AWAY), [OWN]),
        (with_downlinks(OWN), None, []),
        (None, with_downlinks(OWN), []),
    ],
)
def test_tunnels_that_are_left(
    before: Session | None, after: Session | None, left: list[FTeid]
) -> None:
    assert left_tunnels(before, after) == left


def test_a_tunnel_that_its_peer_does_not_know_gets_no_end_marker() -> None:
    told = bearer("a", 1, UDP, downlink=HERE, shares_downlink=False, error_indicated=True)
    assert left_tunnels(detailed(bearers=[told]), with_downlinks(OWN, a=THERE)) == []


# --- JSON


def written(one: Session) -> dict[str, Any]:
    """A session's fields as JSON that may be sent again."""
    up, down, qos = one.uplink, one.downlink, one.qos
    made_: dict[str, Any] = {"id": one.id, "gateway": one.gateway, **form.resource(one)}
    if one.ue_ip is not None:
        made_["ue_ip"] = str(one.ue_ip)
    if up is not None:
        made_["uplink"] = {"teid": up.teid}
        made_["uplink"] |= {} if up.remote_ip is None else {"remote_ip": str(up.remote_ip)}
    made_["downlink"] = down and {"teid": down.teid, "remote_ip": str(down.ip)}
    if qos is not None:
        of_qos = {"rqi": qos.rqi, "qfi_required": qos.required, "qfi_check": qos.check}
        made_ |= {"qfi": qos.qfi, **of_qos}
    return made_


def written_again(one: Session) -> Session:
    """What a request with a session's own fields makes of it."""
    request = bodies.session(written(one)).request()
    assert request.uplink_teid is not None
    detail = detail_of(request, one, never)
    return replace(
        one,
        ue_ip=request.ue_ip,
        uplink=Uplink(request.uplink_teid, request.uplink_remote_ip),
        downlink=request.downlink,
        qos=request.qos,
        detail=detail,
        error_indicated=False,
    )


def as_by_rest(one: Session) -> Session:
    """Of a bearer's container all but the QFI is the session's, nothing was indicated, and what is
    used up is not said by who asks."""
    detail = one.detail
    assert detail is not None
    bearers = tuple(
        replace(
            each,
            qos=None if each.qos is None else replace(one.qos or Qos(1), qfi=each.qos.qfi),
            error_indicated=False,
            used_up=False,
        )
        for each in detail.bearers
    )
    side = detail.relay and replace(detail.relay, error_indicated=False)
    made = replace(detail, bearers=bearers, relay=side, used_up=False)
    return replace(one, error_indicated=False, detail=made)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_session_written_again_is_the_same(kind: str) -> None:
    one = as_by_rest(ALL_KINDS[kind])
    assert written_again(one) == one
    assert settled(one, written_again(one)) == one, "and no rule moves"


addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
fteids = st.builds(FTeid, st.integers(1, 2**32 - 1), addresses)
rates = st.builds(Rates, st.none() | st.integers(1, 10**8), st.none() | st.integers(1, 10**8))
networks = st.builds(
    lambda ip, length: IPv4Network((ip, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
ports = st.lists(
    st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda p: (min(p), max(p))),
    max_size=3,
).map(tuple)


@st.composite
def filters(draw: st.DrawFn) -> PacketFilter:
    protocol = draw(st.none() | st.integers(0, 255) | st.sampled_from([6, 17, 132]))
    some = ports if protocol in (6, 17, 132) else st.just(())
    dscp = draw(st.none() | st.integers(0, 63))
    local = draw(st.just(ASSIGNED) | st.none() | networks)
    return PacketFilter(protocol, draw(st.none() | networks), draw(some), local, draw(some), dscp)


@given(filters())
def test_a_filter_shown_is_read_the_same(each: PacketFilter) -> None:
    shown = form.show_filter(each)
    assert isinstance(shown, str) == (each.dscp is None)
    assert form.read_filter(shown) == each


@given(filters())
def test_both_forms_of_a_filter_say_the_same(each: PacketFilter) -> None:
    text = str(replace(each, dscp=None))
    as_object = form.show_filter(replace(each, dscp=1))
    assert isinstance(as_object, dict)
    del as_object["dscp"]
    if as_object:
        assert form.read_filter(as_object) == form.read_filter(text)


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    shares = draw(st.lists(st.booleans(), max_size=4))
    made_ = [
        Bearer(
            f"b{place}",
            draw(st.integers(0, 65535)),
            tuple(draw(st.lists(filters(), min_size=1, max_size=3))),
            uplink=draw(
                st.none() | st.builds(Uplink, st.integers(1, 2**32 - 1), st.none() | addresses)
            ),
            downlink=None if share else draw(st.none() | fteids),
            shares_downlink=share,
            qos=draw(st.none() | st.integers(1, 63).map(Qos)),
            mbr=draw(rates),
            gate=draw(st.sampled_from(Gate)),
        )
        for place, share in enumerate(shares)
    ]
    own = st.builds(Qos, st.integers(1, 63), st.booleans(), st.booleans(), st.booleans())
    return as_by_rest(
        detailed(
            bearers=made_,
            qos=draw(st.none() | own),
            ambr=draw(rates),
            relay=draw(st.none() | st.builds(Relay, st.integers(1, 2**32 - 1), fteids)),
            breakout=tuple(draw(st.lists(networks, max_size=2))),
            framed_routes=tuple(draw(st.lists(networks, max_size=2))),
            downlink=draw(st.none() | fteids),
            way=draw(st.sampled_from([1, 2])),
        )
    )


@given(sessions())
def test_any_session_written_again_is_the_same(one: Session) -> None:
    assert written_again(one) == one


def test_a_plain_session_has_nothing_more_to_write() -> None:
    assert form.resource(session()) == {}
    assert form.resource(detailed()) == {}


# --- relays: where what comes in a tunnel goes on


def test_what_is_sent_on_and_where() -> None:
    up, down = FTeid(0x6001, FAR), FTeid(0x2001, ENB)
    assert sent_on(relay(), 0x1001, OTHER_ENB) == [up]
    assert sent_on(relay(), 0x5001, FAR) == [down]
    broken_out = relay(
        ue_ip=IPv4Address("10.45.0.2"), breakout=(IPv4Network("10.3.0.0/16"),), downlink=None
    )
    assert sent_on(broken_out, 0x1001, ENB) == [up]
    assert sent_on(broken_out, 0x5001, FAR) == []
    lost = relay(
        ue_ip=broken_out.ue_ip, breakout=(IPv4Network("10.3.0.0/16"),), error_indicated=True
    )
    assert sent_on(lost, 0x1001, ENB) == [], "though some of it breaks out"
    pinned = relay(uplink=Uplink(0x1001, ENB))
    assert sent_on(pinned, 0x1001, ENB) == [up]
    assert sent_on(pinned, 0x1001, OTHER_ENB) == []


def test_what_is_no_relays_is_not_sent_on() -> None:
    for name, one in ALL_KINDS.items():
        if one.detail is not None and one.detail.relay is None and not one.detail.rules:
            assert all(sent_on(one, teid, ENB) is None for _, teid in all_teids(one)), name
    assert sent_on(session(), 0x1001, ENB) is None


def test_what_a_control_planes_rules_send_on() -> None:
    """Each tunnel once: an uplink classifier may have several for one TEID."""
    edge, up = FTeid(0x7001, OTHER_ENB), FTeid(0x6001, FAR)
    ue = (IPv4Network("10.45.0.2"),)
    local = (PacketFilter(remote=IPv4Network("10.3.0.0/16")),)
    rules = (
        Rule("1", Source.ACCESS, 1, Tunnel(edge), 0x1001, ue=ue, filters=local),
        Rule("2", Source.ACCESS, 2, Tunnel(up), 0x1001, ue=ue),
        Rule("3", Source.ACCESS, 3, Tunnel(up), 0x1001, ue=ue),
        Rule("4", Source.ACCESS, 4, ToCore(), 0x1002, ue=ue),
    )
    one = detailed(rules=rules, uplink=None, downlink=None)
    assert sent_on(one, 0x1001, ENB) == [edge, up]
    assert sent_on(one, 0x1002, ENB) is None
