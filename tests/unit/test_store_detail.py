"""Sessions that are more than a tunnel pair, in the store: whole, and unique in all they use."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.core.errors import Conflict, InvalidSession
from ofgtp.core.filters import ASSIGNED, PacketFilter
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import BatchPut, FTeid, Qos, Session, SessionState, Uplink
from ofgtp.core.sessions.detail import Bearer, Detail, Gate, Owner, Rates, Relay, UsageLimits
from ofgtp.core.sessions.rule import (
    LOWEST_PRECEDENCE,
    Held,
    Refused,
    Rule,
    Source,
    ToCore,
    Tunnel,
)
from ofgtp.store import SessionStore
from ofgtp.store.detail import from_text, to_text
from tests.support.sample import (
    ALL_KINDS,
    ENB,
    FAR,
    OTHER_ENB,
    bearer,
    detailed,
    relay,
    session,
)

ACTIVE, INDICATED = SessionState.ACTIVE, SessionState.ERROR_INDICATED
UDP = "permit out udp from any to assigned"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    store = SessionStore(tmp_path / "sessions.db")
    yield store
    store.close()


def insert(store: SessionStore, *sessions: Session, state: SessionState = ACTIVE) -> list[Session]:
    with store.transaction() as tx:
        return [tx.insert(each, state) for each in sessions]


# --- what is written is what is read

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
teids = st.integers(1, 2**32 - 1)
fteids = st.builds(FTeid, teids, addresses)
any_fteids = fteids | st.builds(FTeid, teids, st.integers(1, 2**128 - 1).map(IPv6Address))
uplinks = st.builds(Uplink, teids, st.none() | addresses)
rates = st.builds(Rates, st.none() | st.integers(1, 10**8), st.none() | st.integers(1, 10**8))
usages = st.builds(UsageLimits, *[st.none() | st.integers(1, 2**53 - 1)] * 3)
networks = st.builds(
    lambda ip, length: IPv4Network((ip, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
qos = st.builds(
    Qos, st.integers(1, 63), rqi=st.booleans(), required=st.booleans(), check=st.booleans()
)
ports = st.lists(
    st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda p: (min(p), max(p))),
    max_size=3,
).map(tuple)


@st.composite
def filters(draw: st.DrawFn) -> PacketFilter:
    protocol = draw(st.none() | st.integers(0, 255) | st.sampled_from([6, 17, 132]))
    some = ports if protocol in (6, 17, 132) else st.just(())
    return PacketFilter(
        protocol,
        draw(st.none() | networks),
        draw(some),
        draw(st.just(ASSIGNED) | st.none() | networks),
        draw(some),
        draw(st.none() | st.integers(0, 63)),
    )


bearers = st.builds(
    Bearer,
    id=st.text("aZ0._:@-", min_size=1, max_size=8),
    precedence=st.integers(0, 65535),
    filters=st.lists(filters(), min_size=1, max_size=3).map(tuple),
    uplink=st.none() | uplinks,
    downlink=st.none() | fteids,
    shares_downlink=st.booleans(),
    qos=st.none() | qos,
    mbr=rates,
    gate=st.sampled_from(Gate),
    usage=usages,
    used_up=st.booleans(),
    error_indicated=st.booleans(),
    index=st.integers(0, 62),
)
forwards = (
    st.builds(Tunnel, any_fteids, st.none() | st.integers(0, 127))
    | st.just(ToCore())
    | st.just(Held())
    | st.builds(Refused, st.sampled_from(DropReason))
)
prefixes6 = st.builds(
    lambda bits, length: IPv6Network((bits >> 128 - length << 128 - length, length)),
    st.integers(0, 2**128 - 1),
    st.integers(48, 128),
)
rules = st.builds(
    Rule,
    id=st.text("aZ09", max_size=4),
    source=st.sampled_from(Source),
    precedence=st.integers(0, LOWEST_PRECEDENCE),
    forward=forwards,
    teid=st.none() | teids,
    peer=st.none() | addresses,
    ue=st.lists(networks | prefixes6, max_size=2).map(tuple),
    filters=st.lists(filters(), max_size=2).map(tuple),
    qfis=st.lists(st.integers(0, 63), max_size=2).map(tuple),
    container=st.none() | qos,
    meters=st.lists(st.integers(0, 127), max_size=2).map(tuple),
)
details = st.builds(
    Detail,
    slot=st.integers(1, 9),
    way=st.sampled_from([1, 2]),
    ambr=rates,
    usage=usages,
    used_up=st.booleans(),
    bearers=st.lists(bearers, max_size=3).map(tuple),
    relay=st.none() | st.builds(Relay, teids, fteids, st.booleans()),
    breakout=st.lists(networks, max_size=2).map(tuple),
    framed_routes=st.lists(networks | prefixes6, max_size=2).map(tuple),
    rules=st.lists(rules, max_size=2).map(tuple),
    limits=st.lists(st.tuples(st.integers(0, 127), st.integers(1, 10**8)), max_size=2).map(tuple),
    teids=st.lists(teids, max_size=2).map(tuple),
    owner=st.none() | st.builds(Owner, st.text("a.9"), *[st.integers(0, 2**64 - 1)] * 2),
    buffer=st.none() | st.integers(1, 4096),
    ue_ipv6=st.none() | prefixes6,
    router=st.none() | any_fteids,
)


@given(details, st.booleans())
def test_a_detail_is_read_as_it_was_written(detail: Detail, indicated: bool) -> None:
    text = to_text(session(detail=detail, error_indicated=indicated))
    assert text is not None
    assert from_text(text, detail.slot) == (detail, indicated, None)


def test_the_strategy_knows_every_field() -> None:
    """What is added to these values must be kept, too."""
    assert {*Detail.__dataclass_fields__} == {
        *("slot", "way", "ambr", "bearers", "relay", "breakout", "framed_routes"),
        *("rules", "limits", "teids", "owner", "usage", "used_up", "buffer", "ue_ipv6"),
        *("router",),
    }
    assert {*Bearer.__dataclass_fields__} == {
        *("id", "precedence", "filters", "uplink", "downlink", "shares_downlink", "qos", "mbr"),
        *("gate", "error_indicated", "index", "usage", "used_up"),
    }
    assert {*Rule.__dataclass_fields__} == {
        *("id", "source", "precedence", "forward", "teid", "peer", "ue", "filters", "qfis"),
        *("container", "meters"),
    }


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_sessions_of_all_kinds_outlive_the_process(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SessionStore(path)
    [one] = insert(store, ALL_KINDS[kind])
    assert one.detail is not None
    assert one.detail.slot >= 1
    plain = session(2)
    [two] = insert(store, plain)
    store.close()
    again = SessionStore(path)
    stored = again.get(one.id)
    assert stored is not None
    assert stored.session == one
    assert list(again.iterate("gw1")) == [one, two]
    assert list(again.iterate("gw1", detailed=True)) == [one]
    assert [each.number for each in again.values("gw1")] == [two.number]
    again.close()


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_from_plain_to_any_kind_and_back(kind: str, store: SessionStore) -> None:
    [plain] = insert(store, session())
    with store.transaction() as tx:
        more = tx.replace(ALL_KINDS[kind], ACTIVE)
    assert (more.number, more.id) == (plain.number, plain.id)
    stored = store.get(plain.id)
    assert stored is not None
    assert stored.session == more
    with store.transaction() as tx:
        tx.replace(session(), ACTIVE)
    stored = store.get(plain.id)
    assert stored is not None
    assert stored.session == plain
    with store.transaction() as tx:
        assert tx.delete(plain.id) == plain
    # Nothing of what it had is in use any more.
    insert(store, replace(ALL_KINDS[kind], id="another"))


def test_slots_are_the_sessions_own_and_kept(store: SessionStore) -> None:
    made = insert(store, *(detailed(n) for n in (1, 2, 3)), session(4))
    slots = [each.detail.slot for each in made if each.detail]
    assert len(set(slots)) == 3
    with store.transaction() as tx:
        changed = tx.replace(detailed(2, ambr=Rates(5)))
        assert changed.detail is not None
        assert changed.detail.slot == slots[1]
        tx.delete("ue-1")
        with pytest.raises(Conflict):
            tx.insert(detailed(5, uplink=Uplink(0x1003)))
        [new] = [tx.insert(detailed(6))]
    assert new.detail is not None
    assert new.detail.slot not in slots[1:]


# --- unique

B = "bearers.0"
TAKEN: dict[str, tuple[Session, Session, str, str]] = {
    # what there is, what comes, which of its fields, and what is said of it
    "a bearer's TEID, a session's": (
        session(1),
        detailed(2, bearers=[bearer("1", 1, UDP, uplink=Uplink(0x1001))]),
        f"{B}.uplink.teid",
        "4097",
    ),
    "a session's TEID, a bearer's": (
        detailed(1, bearers=[bearer("1", 1, UDP, uplink=Uplink(0x4001))]),
        session(2, uplink=Uplink(0x4001)),
        "uplink.teid",
        "16385",
    ),
    "a bearer's TEID, a bearer's": (
        detailed(1, bearers=[bearer("1", 1, UDP, uplink=Uplink(0x4001))]),
        detailed(
            2,
            bearers=[bearer("0", 0, UDP), bearer("1", 1, UDP, uplink=Uplink(0x4001))],
        ),
        "bearers.1.uplink.teid",
        "16385",
    ),
    "a relay's TEID, a session's": (
        session(1),
        relay(2, relay=Relay(0x1001, FTeid(1, FAR))),
        "core.teid",
        "4097",
    ),
    "a session's TEID, a relay's": (
        relay(1),
        session(2, uplink=Uplink(0x5001)),
        "uplink.teid",
        "20481",
    ),
    "a relay's TEID, a relay's": (
        relay(1),
        relay(2, relay=Relay(0x5001, FTeid(1, FAR))),
        "core.teid",
        "20481",
    ),
    "a bearer's TEID, a relay's": (
        relay(1),
        detailed(2, bearers=[bearer("1", 1, UDP, uplink=Uplink(0x5001))]),
        f"{B}.uplink.teid",
        "20481",
    ),
    "a bearer's tunnel, a session's": (
        session(1),
        detailed(
            2, bearers=[bearer("1", 1, UDP, downlink=FTeid(0x2001, ENB), shares_downlink=False)]
        ),
        f"{B}.downlink",
        "10.1.0.2",
    ),
    "a session's tunnel, a bearer's": (
        detailed(
            1,
            bearers=[bearer("1", 1, UDP, downlink=FTeid(0x4001, OTHER_ENB), shares_downlink=False)],
        ),
        session(2, downlink=FTeid(0x4001, OTHER_ENB)),
        "downlink",
        "10.1.0.3",
    ),
    "a relay's tunnel, a session's": (
        session(1),
        relay(2, relay=Relay(0x5002, FTeid(0x2001, ENB))),
        "core",
        "10.1.0.2",
    ),
    "a session's tunnel, a relay's": (
        relay(1),
        session(2, downlink=FTeid(0x6001, FAR)),
        "downlink",
        "10.1.0.4",
    ),
    "a detailed session's TEID, a plain one's": (
        session(1),
        detailed(2, uplink=Uplink(0x1001)),
        "uplink.teid",
        "4097",
    ),
    "a UE address": (session(1), detailed(2, ue_ip=IPv4Address("10.45.0.2")), "ue_ip", "10.45.0.2"),
    **{
        f"an IPv6 prefix, {one} and {other}": (
            detailed(1, ue_ipv6=IPv6Network(one)),
            detailed(2, ue_ipv6=IPv6Network(other)),
            "ue_ipv6",
            other,
        )
        for one, other in (
            ("2001:db8:a:1::/64", "2001:db8:a:1::/64"),
            ("2001:db8:a:1::/64", "2001:db8:a::/48"),
            ("2001:db8:a::/48", "2001:db8:a:ffff::/64"),
            ("2001:db8:a:1::/64", "2001:db8:a:1:ffff:ffff:ffff:ffff/128"),
        )
    },
}


def test_an_ipv6_prefix_is_given_back(store: SessionStore) -> None:
    near = detailed(2, ue_ipv6=IPv6Network("2001:db8:a:2::/64"))
    one, other = (detailed(n, ue_ipv6=IPv6Network("2001:db8:a:1::/64")) for n in (1, 3))
    insert(store, one)
    insert(store, near)
    with store.transaction() as tx:
        tx.delete(one.id)
    insert(store, other)
    again = store.get(other.id)
    assert again is not None and again.session.detail is not None
    assert again.session.detail.ue_ipv6 == IPv6Network("2001:db8:a:1::/64")


def test_who_is_behind_a_ue(store: SessionStore) -> None:
    """By IPv6; and what was behind it is free again once a session says so, or is gone."""
    routes = IPv6Network("2001:db8:f::/48"), IPv4Network("192.168.7.0/24")
    one = detailed(1, ue_ipv6=IPv6Network("2001:db8:a:1::/64"), framed_routes=routes)
    insert(store, one)
    behind = IPv6Address("2001:db8:f:1::7")
    for address in (behind, IPv6Address("2001:db8:a:1::7")):
        found = store.by_ue_ipv6("gw1", address)
        assert found is not None and found.session.id == "ue-1"
    assert found.session.detail is not None and found.session.detail.framed_routes == routes
    assert store.framed("gw1") == [*reversed(routes)]
    assert store.by_ue_ipv6("gw1", IPv6Address("2001:db8:e::7")) is None
    with store.transaction() as tx:
        tx.replace(replace(one, detail=replace(one.detail, framed_routes=())))
        tx.insert(detailed(2, framed_routes=routes), ACTIVE)
    found = store.by_ue_ipv6("gw1", behind)
    assert found is not None and found.session.id == "ue-2"
    with store.transaction() as tx:
        tx.delete("ue-2")
    assert store.by_ue_ipv6("gw1", behind) is None


def test_a_store_of_the_eighth_version_is_taken_over(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "sessions.db")
    insert(store, detailed(1, ue_ipv6=IPv6Network("2001:db8:a:1::/64")))
    store.close()
    db = sqlite3.connect(tmp_path / "sessions.db")
    db.execute("DROP TABLE framed6")
    db.execute("PRAGMA user_version = 8")
    db.close()
    store = SessionStore(tmp_path / "sessions.db")
    insert(store, detailed(2, framed_routes=(IPv6Network("2001:db8:f::/48"),)))
    for address, expected in (("2001:db8:a:1::7", "ue-1"), ("2001:db8:f::7", "ue-2")):
        found = store.by_ue_ipv6("gw1", IPv6Address(address))
        assert found is not None and found.session.id == expected
    store.close()


def test_who_has_an_ipv6_address(store: SessionStore) -> None:
    """By one look-up, however many there are; and by a list, of one gateway or of all."""
    one, two, odd = (
        detailed(n, ue_ipv6=IPv6Network(prefix))
        for n, prefix in enumerate(
            ("2001:db8:a:1::/64", "2001:db8:a:2::/64", "2001:db8:a:2:8000::/128"), 1
        )
    )
    insert(store, one, replace(two, detail=replace(two.detail, ue_ipv6=None)), odd)
    insert(store, replace(one, gateway="gw2", id="far"))
    for address, expected in {
        "2001:db8:a:1::": "ue-1",
        "2001:db8:a:1:ffff:ffff:ffff:ffff": "ue-1",
        "2001:db8:a:2::": None,
        "2001:db8:a:2:8000::": "ue-3",
        "2001:db8:a:2:8000::1": None,
        "::": None,
        "ffff::": None,
    }.items():
        found = store.by_ue_ipv6("gw1", IPv6Address(address))
        assert (found and found.session.id) == expected, address
    for asked, among, expected in (
        ("2001:db8:a:1::7", "gw1", ["ue-1"]),
        ("2001:db8:a:1::7", None, ["ue-1", "far"]),
        ("2001:db8:a:1::/64", "gw2", ["far"]),
        ("2001:db8:a:1:8000::/65", "gw1", ["ue-1"]),
        ("2001:db8:a::/48", "gw1", ["ue-1", "ue-3"]),
        ("2001:db8:a:2::/64", "gw1", ["ue-3"]),
        ("2001:db8:a:3::/64", None, []),
        ("::/0", None, ["ue-1", "ue-3", "far"]),
    ):
        page, _ = store.list(gateway=among, ue_ipv6=IPv6Network(asked))
        assert [each.session.id for each in page] == expected, asked
    for ue_ip, expected in (
        (one.ue_ip, ["ue-1"]),
        (two.ue_ip, []),
        (IPv6Address("2001:db8:a:1::7"), ["ue-1"]),
    ):
        page, _ = store.list(ue_ipv6=IPv6Network("::/0"), ue_ip=ue_ip, gateway="gw1")
        assert [each.session.id for each in page] == expected
    page, _ = store.list(ue_ip=IPv6Address("2001:db8:a:1::7"))
    assert [each.session.id for each in page] == ["ue-1", "far"]


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 5)), max_size=12))
@settings(max_examples=60)
def test_ipv6_prefixes_overlap_as_numbers_do(drawn: list[tuple[int, int]]) -> None:
    """Whatever is there, what overlaps it is refused, and nothing else is."""
    with TemporaryDirectory() as directory:
        store = SessionStore(Path(directory) / "sessions.db")
        there: dict[str, IPv6Network] = {}
        for number, (place, bits) in enumerate(drawn, 1):
            first = 0x2001_0DB8_000A << 80 | (place >> bits << bits)
            prefix = IPv6Network((first, 128 - bits))
            holders = {name for name, each in there.items() if each.overlaps(prefix)}
            try:
                insert(store, detailed(number, ue_ipv6=prefix))
            except Conflict as refused:
                assert refused.session_id in holders
            else:
                assert not holders
                there[f"ue-{number}"] = prefix
        store.close()


OVERLAPS = {
    **{
        f"an IPv6 framed route {where} another's": (
            detailed(1, framed_routes=(IPv6Network(one),)),
            detailed(2, framed_routes=(IPv4Network("172.16.0.0/12"), IPv6Network(other))),
            "framed_routes.1",
            other,
        )
        for where, one, other in (
            ("in", "2001:db8:f::/48", "2001:db8:f:7::/64"),
            ("around", "2001:db8:f:7::/64", "2001:db8:f::/48"),
            ("as", "2001:db8:f::/48", "2001:db8:f::/48"),
        )
    },
    "a framed route in another's": (
        detailed(1, framed_routes=(IPv4Network("192.168.0.0/16"),)),
        detailed(2, framed_routes=(IPv4Network("172.16.0.0/12"), IPv4Network("192.168.7.0/24"))),
        "framed_routes.1",
        "192.168.7.0/24",
    ),
    "a framed route around another's": (
        detailed(1, framed_routes=(IPv4Network("172.16.0.0/16"), IPv4Network("192.168.7.7"))),
        detailed(2, framed_routes=(IPv4Network("192.168.7.0/24"),)),
        "framed_routes.0",
        "192.168.7.0/24",
    ),
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_no_prefix_overlaps_another_session_s(case: str, store: SessionStore) -> None:
    """This is no collision of one name: it is refused as a wrong value, which names the owner."""
    there, coming, loc, told = OVERLAPS[case]
    insert(store, there)
    with pytest.raises(InvalidSession) as refused, store.transaction() as tx:
        tx.insert(coming)
    assert refused.value.loc == loc
    assert told in refused.value.msg and repr(there.id) in refused.value.msg
    assert store.get(coming.id) is None


@pytest.mark.parametrize("case", TAKEN)
def test_what_one_session_uses_no_other_may(case: str, store: SessionStore) -> None:
    there, coming, loc, told = TAKEN[case]
    insert(store, there)
    with pytest.raises(Conflict) as refused, store.transaction() as tx:
        tx.insert(coming)
    assert (refused.value.loc, refused.value.session_id) == (loc, there.id)
    assert told in refused.value.msg
    assert repr(there.id) in refused.value.msg
    assert store.get(coming.id) is None
    # The same by a change; the session stays as it was, and the transaction can go on.
    # Its own keys are others than those of the one that is there.
    [before] = insert(store, session(7))
    other = replace(coming, id=before.id)
    with store.transaction() as tx:
        with pytest.raises(Conflict) as refused:
            tx.replace(other)
        assert refused.value.loc == loc
        assert tx.get(before.id) is not None
        tx.insert(session(8))
    stored = store.get(before.id)
    assert stored is not None
    assert stored.session == before
    # On another gateway it is nobody's.
    insert(store, replace(coming, gateway="gw2"))
    # And it is free again when the other is gone.
    with store.transaction() as tx:
        tx.delete(there.id)
        tx.replace(other)


@pytest.mark.parametrize(
    "case",
    [
        "a session's TEID, a bearer's",
        "a session's tunnel, a bearer's",
        "a session's TEID, a relay's",
        "a session's tunnel, a relay's",
    ],
)
def test_many_new_sessions_at_once_meet_them_too(case: str, store: SessionStore) -> None:
    there, coming, _, _ = TAKEN[case]
    insert(store, there)
    assert coming.ue_ip is not None
    assert coming.uplink is not None
    assert coming.downlink is not None
    puts = [
        BatchPut("new", None, 7, 7, None, 7, 7),
        BatchPut(
            coming.id,
            None,
            int(coming.ue_ip),
            coming.uplink.teid,
            None,
            coming.downlink.teid,
            int(coming.downlink.ip),
        ),
    ]
    with store.transaction() as tx:
        assert tx.insert_many("gw1", puts, ACTIVE) is None
        assert tx.get("new") is None
        assert tx.insert_many("gw2", puts, ACTIVE) is not None


def test_its_own_are_no_conflict(store: SessionStore) -> None:
    """A session may exchange what its parts use."""
    one = detailed(
        1,
        bearers=[
            bearer(
                "1",
                1,
                UDP,
                uplink=Uplink(0x4001),
                downlink=FTeid(0x4101, ENB),
                shares_downlink=False,
            ),
            bearer(
                "2",
                2,
                UDP,
                uplink=Uplink(0x4002),
                downlink=FTeid(0x4102, ENB),
                shares_downlink=False,
            ),
        ],
    )
    insert(store, one)
    assert one.detail is not None
    a, b = one.detail.bearers
    swapped = replace(
        one,
        uplink=a.uplink,
        downlink=b.downlink,
        detail=replace(
            one.detail,
            bearers=(
                replace(a, uplink=b.uplink, downlink=one.downlink),
                replace(b, uplink=one.uplink, downlink=a.downlink),
            ),
        ),
    )
    with store.transaction() as tx:
        made = tx.replace(swapped)
    stored = store.get(one.id)
    assert stored is not None
    assert stored.session == made
    for teid in (0x1001, 0x4001, 0x4002):
        found = store.by_teid("gw1", teid)
        assert found is not None
        assert found.session == made


# --- found by what they use


def test_sessions_are_found_by_all_that_they_use(store: SessionStore) -> None:
    one, two = insert(
        store,
        detailed(
            1,
            bearers=[
                bearer(
                    "1",
                    1,
                    UDP,
                    uplink=Uplink(0x4001),
                    downlink=FTeid(0x4101, OTHER_ENB),
                    shares_downlink=False,
                )
            ],
            framed_routes=(IPv4Network("192.168.7.0/24"),),
        ),
        relay(2),
    )

    def ids(*found: Any) -> list[str | None]:
        return [each and each.session.id for each in found]

    by_teid = (store.by_teid("gw1", teid) for teid in (0x1001, 0x4001, 0x1002, 0x5002, 0x6002))
    assert ids(*by_teid) == [one.id, one.id, two.id, two.id, None]
    tunnels = (FTeid(0x2001, ENB), FTeid(0x4101, OTHER_ENB), FTeid(0x6002, FAR), FTeid(0x4101, ENB))
    assert ids(*(store.by_downlink("gw1", each) for each in tunnels)) == [
        one.id,
        one.id,
        two.id,
        None,
    ]
    places = ("10.45.0.2", "192.168.7.0", "192.168.7.255", "192.168.8.0")
    found = (store.by_ue_ip("gw1", IPv4Address(each)) for each in places)
    assert ids(*found) == [one.id, one.id, one.id, None]
    for teid in (0x1001, 0x4001, 0x5002):
        assert store.knows_teid("gw1", teid)
        assert not store.knows_teid("gw2", teid)
    assert [each.session.id for each in store.list(teid=0x4001)[0]] == [one.id]
    assert [each.session.id for each in store.list(peer=OTHER_ENB)[0]] == [one.id]
    assert [each.session.id for each in store.list(peer=FAR)[0]] == [two.id]
    assert store.peers("gw1") == {ENB: 2, OTHER_ENB: 1, FAR: 1}


def test_a_teid_of_a_bearer_is_known_while_a_change_of_it_is_under_way(store: SessionStore) -> None:
    """An Error Indication for it would make the peer give its bearer up."""
    old, new = (detailed(1, bearers=[bearer("1", 1, UDP, uplink=Uplink(teid))]) for teid in (1, 2))
    insert(store, old)
    with store.transaction() as tx:
        tx.replace(new)
        assert [store.knows_teid("gw1", teid) for teid in (1, 2, 3)] == [True, True, False]
    assert [store.knows_teid("gw1", teid) for teid in (1, 2)] == [False, True]


def test_teids_of_bearers_are_not_allocated_again_soon(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "sessions.db", teids=range(1, 5))
    one = detailed(1, uplink=Uplink(1), bearers=[bearer("1", 1, UDP, uplink=Uplink(2))])
    insert(store, one)
    with store.transaction() as tx:
        assert {tx.allocate_teid("gw1"), tx.allocate_teid("gw1")} == {3, 4}
    with store.transaction() as tx:
        tx.delete(one.id)
    with store.transaction() as tx:
        # Those that were given back come last.
        free = [tx.allocate_teid("gw1") for _ in range(4)]
    assert set(free[:2]) == {3, 4}
    assert set(free[2:]) == {1, 2}
    store.close()


def test_nothing_is_left_after_giving_all_up(store: SessionStore) -> None:
    insert(store, *(replace(each, id=kind) for kind, each in list(ALL_KINDS.items())[2:3]))
    store.reset()
    assert list(store.iterate("gw1")) == []
    insert(store, ALL_KINDS["bearers"])
    assert store.peers("gw1") == {ENB: 1, OTHER_ENB: 1}


def test_what_a_peer_said_is_the_details(store: SessionStore, tmp_path: Path) -> None:
    """A state of error_indicated says that of some tunnel of the session; the detail, of which."""
    both = detailed(
        1,
        bearers=[
            bearer(
                "1",
                1,
                UDP,
                downlink=FTeid(1, OTHER_ENB),
                shares_downlink=False,
                error_indicated=True,
            )
        ],
    )
    [one] = insert(store, both, state=INDICATED)
    stored = store.get(one.id)
    assert stored is not None
    assert stored.session == one
    assert not one.error_indicated
    with store.transaction() as tx:
        tx.replace(replace(one, error_indicated=True), INDICATED)
    stored = store.get(one.id)
    assert stored is not None
    assert stored.session.error_indicated


# --- from an older store

SCHEMA_2 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE released (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    gateway TEXT NOT NULL,
    teid    INTEGER NOT NULL,
    UNIQUE (gateway, teid)
) STRICT;
CREATE TABLE sessions (
    number           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (number < 1 << 40),
    id               TEXT NOT NULL UNIQUE,
    gateway          TEXT NOT NULL,
    ue_ip            INTEGER NOT NULL,
    uplink_teid      INTEGER NOT NULL,
    uplink_remote_ip INTEGER,
    downlink_teid    INTEGER,
    downlink_ip      INTEGER,
    qos              INTEGER NOT NULL DEFAULT 0,
    state            TEXT NOT NULL,
    reason           TEXT,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    UNIQUE (gateway, uplink_teid),
    UNIQUE (gateway, ue_ip),
    UNIQUE (gateway, downlink_ip, downlink_teid),
    CHECK ((downlink_teid IS NULL) = (downlink_ip IS NULL))
) STRICT;
CREATE TRIGGER session_deleted AFTER DELETE ON sessions BEGIN
    INSERT OR REPLACE INTO released (gateway, teid) VALUES (old.gateway, old.uplink_teid);
END;
CREATE TRIGGER session_moved AFTER UPDATE OF gateway, uplink_teid ON sessions
WHEN old.uplink_teid <> new.uplink_teid OR old.gateway <> new.gateway BEGIN
    INSERT OR REPLACE INTO released (gateway, teid) VALUES (old.gateway, old.uplink_teid);
END;
INSERT INTO meta VALUES ('instance_id', 'kept');
INSERT INTO released VALUES (3, 'gw1', 77);
PRAGMA application_id = 0x6F666774;
PRAGMA user_version = 2;
"""
ROWS = [
    (7, "ue-1", "gw1", 170721282, 4097, None, 8193, 167837698, 0, "active", None, 1, 2),
    (8, "idle", "gw1", 170721283, 4098, 167837698, None, None, 137, "pending", None, 3, 4),
    (9, "told", "gw2", 170721283, 4098, None, 1, 167837698, 0, "error_indicated", "x", 5, 6),
]


@pytest.mark.parametrize("rows", [ROWS, []])
def test_a_store_of_the_second_version_is_taken_over(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "sessions.db"
    db = sqlite3.connect(path)
    db.executescript(SCHEMA_2)
    db.executemany(f"INSERT INTO sessions VALUES ({', '.join('?' * 13)})", rows)
    # Numbers up to 40 were given once.
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'sessions'")
    db.execute("INSERT INTO sqlite_sequence VALUES ('sessions', 40)")
    db.commit()
    db.close()
    for turn in range(2):
        store = SessionStore(path)
        assert store.instance_id == "kept"
        if rows and not turn:
            one, idle, told = (store.get(name) for name in ("ue-1", "idle", "told"))
            assert one is not None and idle is not None and told is not None
            assert one.session == session(
                7,
                id="ue-1",
                ue_ip=one.session.ue_ip,
                uplink=Uplink(4097),
                downlink=FTeid(8193, ENB),
            )
            assert (idle.session.uplink, idle.session.downlink) == (Uplink(4098, ENB), None)
            assert idle.session.qos == Qos.of(137)
            assert (told.session.error_indicated, told.reason) == (True, "x")
            assert [each.session.number for each in (one, idle, told)] == [7, 8, 9]
            assert all(each.session.detail is None for each in (one, idle, told))
            assert [each.updated_at.timestamp() for each in (one, idle)] == [2e-6, 4e-6]
        with store.transaction() as tx:
            made = tx.insert(
                relay(
                    100,
                    id=f"new-{turn}",
                    downlink=FTeid(turn + 5, FAR),
                    uplink=Uplink(900 + turn),
                    relay=Relay(950 + turn, FTeid(turn + 1, FAR)),
                )
            )
        assert made.number > 40, "numbers are not used again"
        store.close()
    # Each deleted TEID is still kept back.
    store = SessionStore(path)
    with store.transaction() as tx:
        for each in [stored.session.id for stored in store.list()[0]]:
            tx.delete(each)
    db = sqlite3.connect(path)
    released = {row[0] for row in db.execute("SELECT teid FROM released WHERE gateway = 'gw1'")}
    assert released >= {77, 900, 901, 950, 951, *((4097, 4098) if rows else ())}
    db.close()
    store.close()


# --- against a dictionary

PARTS = st.fixed_dictionaries(
    {
        "who": st.integers(0, 3),
        "teids": st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True),
        "tunnels": st.lists(st.integers(1, 4), max_size=2, unique=True),
        "framed": st.none() | st.integers(0, 3),
        "plain": st.booleans(),
        "op": st.sampled_from(["insert", "replace", "delete"]),
    }
)


def of_parts(parts: dict[str, Any]) -> Session:
    """A session whose own are the first, its bearers' the others."""
    teids, tunnels = list(parts["teids"]), list(parts["tunnels"])
    own = FTeid(tunnels.pop(0), ENB) if tunnels else None
    made = [bearer(f"b{n}", n, UDP, uplink=Uplink(teid)) for n, teid in enumerate(teids[1:])]
    made += [
        bearer(f"d{tunnel}", 10 + tunnel, UDP, downlink=FTeid(tunnel, ENB), shares_downlink=False)
        for tunnel in tunnels
    ]
    framed = (
        () if parts["framed"] is None else (IPv4Network((0xC0A80000 + 64 * parts["framed"], 26)),)
    )
    fields: dict[str, Any] = {
        "id": f"s{parts['who']}",
        "ue_ip": IPv4Address("10.45.0.0") + parts["who"],
        "uplink": Uplink(teids[0]),
        "downlink": own,
    }
    if parts["plain"] and not made and not framed:
        return session(1, **fields)
    return detailed(1, bearers=made, framed_routes=framed, **fields)


@given(st.lists(PARTS, max_size=25))
@settings(deadline=None, max_examples=60)
def test_agrees_with_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, ops: list[dict[str, Any]]
) -> None:
    """The store takes and refuses exactly what sets of TEIDs, tunnels and prefixes do."""
    store = SessionStore(tmp_path_factory.mktemp("s") / "s.db")
    model: dict[str, dict[str, Any]] = {}

    def used(parts: dict[str, Any]) -> set[tuple[str, int]]:
        keys = {("teid", each) for each in parts["teids"]}
        keys |= {("tunnel", each) for each in parts["tunnels"]}
        return keys | ({("framed", parts["framed"])} if parts["framed"] is not None else set())

    for parts in ops:
        one, op = of_parts(parts), parts["op"]
        clash = any(used(parts) & used(each) for name, each in model.items() if name != one.id)
        possible = (one.id in model) == (op != "insert") and (op == "delete" or not clash)
        try:
            with store.transaction() as tx:
                if op == "delete":
                    tx.delete(one.id)
                elif op == "replace":
                    tx.replace(one)
                else:
                    tx.insert(one)
        except Exception:
            assert not possible
            continue
        assert possible
        if op == "delete":
            del model[one.id]
        else:
            model[one.id] = parts
    stored = {each.id: each for each in store.iterate("gw1")}
    assert stored.keys() == model.keys()
    for name, parts in model.items():
        for teid in parts["teids"]:
            found = store.by_teid("gw1", teid)
            assert found is not None
            assert found.session.id == name
        for tunnel in parts["tunnels"]:
            found = store.by_downlink("gw1", FTeid(tunnel, ENB))
            assert found is not None
            assert found.session.id == name
    for kind in ("teids", "tunnels"):
        free = {1, 2, 3, 4} - {each for parts in model.values() for each in parts[kind]}
        for each in free:
            if kind == "teids":
                assert store.by_teid("gw1", each) is None
            else:
                assert store.by_downlink("gw1", FTeid(each, ENB)) is None
    store.close()
