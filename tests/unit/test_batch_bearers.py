"""Sessions with bearers, many at once: as if each had gone the long way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.control.flows import change as change_module
from ofgtp.control.sessions import batch as batch_module
from ofgtp.control.sessions import service as service_module
from ofgtp.core.admission import Admission
from ofgtp.core.model import SessionState
from ofgtp.core.sessions.shape import numbers_of
from ofgtp.core.sessions.shaped import Shape, ShapedPut
from ofgtp.northbound import bodies, lines, shaped
from ofgtp.northbound.service import BatchError, BatchResult, SessionRequest
from ofgtp.southbound import templates as templates_module
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.southbound.templates import TemplateError
from ofgtp.store import transaction as transaction_module
from ofgtp.store.detail import Shapes, format_of, to_text
from tests.support.agents import Net
from tests.support.flowtable import ADD, TABLE_FULL, Entry
from tests.unit.test_bearers_in_switch import FULL, as_wanted, gateways
from tests.unit.test_lines import JUNK

Fields = dict[str, Any]


def text(session: object, op: str = "put") -> bytes:
    return json.dumps({"op": op, "session": session}).encode()


def quick(raw: bytes) -> Any:
    """A line as it is read once its shape was met."""
    for _ in range(2):
        lines.plain(raw)
    return lines.plain(raw)


def by_schema(raw: bytes) -> Any:
    try:
        return lines.judged(raw)
    except lines.WrongLine:
        return None


def agree(raw: bytes) -> bool:
    """Whether a line is read at once; then it must be as the schema reads it."""
    read = quick(raw)
    if isinstance(read, ShapedPut):
        assert SessionRequest.of(read) == by_schema(raw)
        assert list(map(type, read.values)) == [int] * read.shape.size
    elif read is not None:
        assert read == by_schema(raw)
    return read is not None


# --- reading


def test_what_is_read_at_once() -> None:
    own: Fields = {"uplink": {"teid": 7, "remote_ip": "10.1.0.9"}, "downlink": None}
    for change in (
        {},
        {"id": None},
        {"gateway": "gw1"},
        {"downlink": None},
        {"uplink": {"teid": 1, "remote_ip": "10.1.0.3"}},
        {"qfi": 5, "rqi": True},
        {"ambr": None},
        {"bearers": []},
        {"bearers": [{**FULL["bearers"][0], **own, "qfi": 3}]},
        {"bearers": [{**FULL["bearers"][1], "filters": [{"dscp": 46}, {"protocol": "udp"}]}]},
        {"bearers": [{**FULL["bearers"][1], "uplink": None, "mbr": None, "gate": "closed"}]},
        {"bearers": [{**FULL["bearers"][1], "uplink": {"teid": 3, "remote_ip": None}}]},
    ):
        assert agree(text({**FULL, **change})), change
    for change in (
        {"framed_routes": ["192.168.0.0/24"]},
        {"buffer": 8},
        {"bearers": [], "ambr": None},
        {"uplink": None},
        {"uplink": {"teid": "0x1001"}},
        {"bearers": [{**FULL["bearers"][0], "uplink": {}}]},
        {"bearers": [{**FULL["bearers"][0], "id": "vo\u00efce"}]},
        {"bearers": [{**FULL["bearers"][0], "precedence": True}]},
        {"bearers": [{**FULL["bearers"][0], "precedence": 10.0}]},
    ):
        assert not agree(text({**FULL, **change})), change


def test_no_shape_is_made_of_what_is_met_once() -> None:
    """Filters that name one host are as many as there are sessions."""
    raw = text({**FULL, "bearers": [{**FULL["bearers"][1], "id": "met-once"}]})
    assert lines.plain(raw) is None
    assert isinstance(lines.plain(raw), ShapedPut)


def test_equal_values_are_not_the_same() -> None:
    """1, true and 1.0 are equal, and only one of them is a precedence."""
    for precedence in (1, True, 1.0, 1):
        raw = text({**FULL, "bearers": [{**FULL["bearers"][1], "precedence": precedence}]})
        assert agree(raw) == (type(precedence) is int)


def test_few_shapes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shaped, "SHAPES_KEPT", 3)
    kept = shaped.Shapes()
    monkeypatch.setattr(lines, "_SHAPES", kept)
    for place in range(20):
        assert agree(text({**FULL, "bearers": [{**FULL["bearers"][1], "precedence": place}]}))
        assert len(kept._shapes) <= 3
        assert len(kept._met) <= 3


MEMBERS = ["id", "precedence", "filters", "uplink", "downlink", "qfi", "mbr", "gate", "other"]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_junk_in_each_place(junk: Any) -> None:
    first, second = FULL["bearers"]
    for member in MEMBERS:
        agree(text({**FULL, "bearers": [{**first, member: junk}, second]}))
    for member in ("uplink", "downlink", "mbr"):
        for key in ("teid", "remote_ip", "uplink_kbps", "other"):
            changed = {**first, member: {**first[member], key: junk}}
            agree(text({**FULL, "bearers": [second, changed]}))
    for member in ("bearers", "ambr", "ue_ip", "uplink", "downlink", "id", "gateway", "qfi"):
        agree(text({**FULL, member: junk}))
    agree(text({**FULL, "bearers": [junk]}))
    agree(text({**FULL, "bearers": [{**first, "filters": [junk]}]}))


@pytest.mark.parametrize("place", range(120))
def test_a_member_that_stands_there_twice(place: int) -> None:
    """Each member of a line in front of each other one, once more."""
    raw = text({**FULL, "bearers": [{**FULL["bearers"][0], "id": "a:b"}, FULL["bearers"][1]]})
    agree(raw)
    starts = [at for at in range(len(raw)) if raw[at : at + 1] in b"{," and raw[at + 1 :]]
    if place >= len(starts):
        return
    at = starts[place] + 1
    for member in (b'"id":"x",', b'"teid":9,', b'"bearers":[],', b'"uplink":null,', b'"mbr":{},'):
        agree(raw[:at] + member + raw[at:])


# --- all of it

TEIDS = st.integers(1, 6)
ADDRESS = st.sampled_from(["10.1.0.2", "10.1.0.3", "10.1.0.4"])
FAR = st.fixed_dictionaries({"teid": TEIDS, "remote_ip": ADDRESS})
ODD = st.sampled_from(
    [
        ("ue_ip", "10.99.0.1"),
        ("ue_ip", "10.45.0.2"),
        ("id", "s2"),
        ("id", "bad id"),
        ("uplink", {"teid": 21}),
        ("uplink", {"teid": 2}),
        ("uplink", {"teid": 22, "remote_ip": "10.1.0.1"}),
        ("uplink", None),
        ("downlink", {"teid": 31, "remote_ip": "10.1.0.3"}),
        ("downlink", {"teid": 4, "remote_ip": "127.0.0.1"}),
        ("downlink", None),
        ("gateway", "gw2"),
        ("gateway", "gw9"),
        ("framed_routes", ["192.168.0.0/24"]),
        ("buffer", 8),
        ("buffer", 0),
        ("bearers", []),
        ("ambr", {"uplink_kbps": 0}),
    ]
)
OWN_ODD = st.sampled_from(
    [
        ("uplink", {"teid": 20}),
        ("uplink", {"teid": 3, "remote_ip": "10.1.0.255"}),
        ("uplink", {"teid": 5}),
        ("uplink", {}),
        ("downlink", {"teid": 30, "remote_ip": "10.1.0.3"}),
        ("downlink", {"teid": 6, "remote_ip": "10.45.0.9"}),
        ("downlink", None),
        ("filters", ["permit out ip from any to 10.45.0.2"]),
        ("filters", ["permit out ip from 2001:db8::/32 to assigned"]),
        ("precedence", 1),
        ("id", "a"),
        ("mbr", {"downlink_kbps": 9}),
    ]
)
POLICIES = st.lists(
    st.fixed_dictionaries(
        {
            "filters": st.sampled_from(
                [
                    ["permit out udp from any 1-9 to assigned"],
                    [{"dscp": 46}, "permit out tcp from 10.2.0.0/24 to assigned 80,443"],
                    ["permit out ip from 10.3.0.0/16 to 10.45.0.0/24"],
                ]
            ),
            "up": st.booleans(),
            "down": st.sampled_from(["own", "own", "shared", "idle"]),
        },
        optional={
            "mbr": st.just({"uplink_kbps": 64, "downlink_kbps": 128}),
            "gate": st.sampled_from(["open", "closed", "uplink"]),
            "qfi": st.sampled_from([1, 5]),
        },
    ),
    max_size=3,
)


@st.composite
def puts(draw: st.DrawFn) -> list[bytes]:
    """Lines of one kind of session, with other numbers each, and some that are odd."""
    policies = draw(POLICIES)
    ambr = draw(st.sampled_from([None, None, {"uplink_kbps": 100}]))
    qfi = draw(st.sampled_from([None, 9]))
    made = []
    for number in draw(st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True)):
        session: Fields = {
            "id": f"s{number}",
            "gateway": "gw1",
            "ue_ip": f"10.45.0.{2 + number}",
            "uplink": {"teid": 20 + number},
            "downlink": {"teid": 30 + number, "remote_ip": "10.1.0.3"},
            "qfi": qfi,
            "ambr": ambr,
            "bearers": [],
        }
        for place, policy in enumerate(policies):
            bearer = {key: each for key, each in policy.items() if key not in ("up", "down")}
            bearer |= {"id": "abc"[place], "precedence": place + 1}
            teid = 100 * (place + 1) + number
            if policy["up"]:
                bearer["uplink"] = {"teid": teid}
            if policy["down"] != "shared":
                idle = policy["down"] == "idle"
                bearer["downlink"] = None if idle else {"teid": teid, "remote_ip": "10.1.0.2"}
            session["bearers"].append(bearer)
        odd = draw(st.integers(0, 9))
        if odd == 0:
            name, value = draw(ODD)
            session[name] = value
        elif odd == 1 and session["bearers"]:
            name, value = draw(OWN_ODD)
            session["bearers"][draw(st.integers(0, len(policies) - 1))][name] = value
        made.append(text(session))
    return made


DELETES = st.lists(
    st.integers(0, 6).map(lambda n: json.dumps({"op": "delete", "id": f"s{n}"}).encode()),
    max_size=4,
)
BATCHES = st.lists(puts() | DELETES | st.tuples(DELETES, puts()).map(lambda two: two[0] + two[1]),
                   min_size=1, max_size=3)  # fmt: skip


def state_of(net: Net) -> tuple[Any, ...]:
    """All that there is, but for numbers and slots; and the TEIDs that were given back."""
    found = []
    for name in net.agents:
        for session in net.store.iterate(name):
            stored = net.store.get(session.id)
            assert stored is not None
            assert stored.session == session
            detail = session.detail and replace(session.detail, slot=0)
            found.append((replace(session, number=0, detail=detail), stored.state))
    peers = [net.store.peers(name) for name in net.agents]
    reported = [
        {view.ip: view.sessions for view in agent.signalling.report() if view.sessions}
        for agent in net.agents.values()
    ]
    assert peers == reported
    released = net.store._db.execute("SELECT gateway, teid FROM released ORDER BY 1, 2").fetchall()
    return sorted(found, key=lambda each: each[0].id), peers, released


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Net, Net]]:
    directory = tmp_path_factory.mktemp("nets")
    for name in ("quick", "slow"):
        (directory / name).mkdir()
    with gateways(directory / "quick") as first, gateways(directory / "slow") as second:
        yield first, second


def ask(net: Net, ops: Iterator[tuple[int, Any]]) -> BatchResult | list[tuple[int, str, str]]:
    try:
        return net.service.batch(ops)
    except BatchError as error:
        return list(error.errors)


def batch(net: Net, raw: bytes) -> Any:
    return ask(net, lines.read(raw, 99))


def long_way(net: Net, raw: bytes) -> Any:
    """Each line by the schema, and one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "plain", lambda line: None)
        for short in ("_create", "_create_shaped", "_delete"):
            patch.setattr(batch_module.Batch, short, lambda self, lines: False)
        return batch(net, raw)


@settings(max_examples=100, deadline=None)
@given(BATCHES, st.integers(1, 6), st.booleans())
def test_as_if_each_went_the_long_way(
    nets: tuple[Net, Net], batches: list[list[bytes]], slice_: int, away: bool
) -> None:
    for net in nets:
        net.store.reset()
        net.compare("gw1")
        net.compare("gw2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_module, "SLICE", slice_)
        for some in batches:
            for raw in some:
                lines.plain(raw)  # the shape was met before
            whole = b"\n".join(some)
            if away:
                for net in nets:
                    net.detach("gw1")
            said, other = batch(nets[0], whole), long_way(nets[1], whole)
            assert said == other
            if away:
                for net in nets:
                    net.attach("gw1")
            assert state_of(nets[0]) == state_of(nets[1])
            for net in nets:
                as_wanted(net, "gw1")
                as_wanted(net, "gw2")


GOOD: Fields = {**FULL, "gateway": "gw1"}


def nth(number: int, **changes: Any) -> Fields:
    """One of many that differ in numbers only."""
    first, second = FULL["bearers"]
    own = {
        "uplink": {"teid": 200 + number},
        "downlink": {"teid": 300 + number, "remote_ip": "10.1.0.2"},
    }
    return {
        "id": f"n{number}",
        "gateway": "gw1",
        "ue_ip": f"10.45.1.{number}",
        "uplink": {"teid": 100 + number},
        "downlink": {"teid": 400 + number, "remote_ip": "10.1.0.3"},
        "ambr": FULL["ambr"],
        "bearers": [{**first, **own}, second],
        **changes,
    }


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with gateways(tmp_path) as made:
        yield made


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is done one by one."""
    done: list[object] = []
    whole = batch_module.Batch._one

    def one(self: batch_module.Batch, line: int, op: batch_module.Op) -> None:
        done.append(op)
        whole(self, line, op)

    monkeypatch.setattr(batch_module.Batch, "_one", one)
    return done


def many(numbers: range = range(1, 10), **changes: Any) -> bytes:
    raws = [text(nth(number, **changes)) for number in numbers]
    for raw in raws[:2]:
        lines.plain(raw)
    return b"\n".join(raws)


def test_many_go_the_short_way(net: Net, one_by_one: list[object]) -> None:
    plain = {name: each for name, each in nth(77).items() if name not in ("ambr", "bearers")}
    assert batch(net, many() + b"\n" + text(plain)) == BatchResult(10, 0, 0)
    assert one_by_one == []
    as_wanted(net)
    shown = [session.id for session in net.store.iterate("gw1")]
    assert sorted(shown) == sorted([*(f"n{n}" for n in range(1, 10)), "n77"])
    assert batch(net, many()) == BatchResult(0, 9, 0), "they are there now"
    assert len(one_by_one) == 9
    as_wanted(net)
    base = net.tables["gw1"].contents
    assert batch(net, deletes(range(1, 10)) + deletes(range(77, 78))) == BatchResult(0, 0, 10)
    assert len(one_by_one) == 9
    assert len(net.tables["gw1"].contents) < len(base)
    assert list(net.store.iterate("gw1")) == []
    assert net.store.peers("gw1") == {}
    as_wanted(net)


VOICE, WEB = nth(5)["bearers"]
THERE = [nth(50), {"id": "plain", "ue_ip": "10.45.0.9", "uplink": {"teid": 9},
                   "downlink": {"teid": 9, "remote_ip": "10.1.0.9"}}]  # fmt: skip
"""What is there already; the odd one is the fifth of nine others."""


def far(teid: int, address: str) -> Fields:
    return {"downlink": {"teid": teid, "remote_ip": address}}


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"id": "n3"}, None),
        ({"id": "n7"}, None),
        ({"id": "plain"}, None),
        ({"id": "no id"}, "id"),
        ({"gateway": "gw9"}, "gateway"),
        ({"ue_ip": "10.45.1.3"}, "ue_ip"),
        ({"ue_ip": "10.45.0.9"}, "ue_ip"),
        ({"ue_ip": "10.99.0.1"}, "ue_ip"),
        ({"ue_ip": "10.2.0.1"}, "ue_ip"),
        ({"uplink": {"teid": 103}}, "uplink.teid"),
        ({"uplink": {"teid": 9}}, "uplink.teid"),
        ({"uplink": {"teid": 150}}, "uplink.teid"),
        ({"uplink": {"teid": 203}}, "uplink.teid"),
        ({"uplink": {"teid": 250}}, "uplink.teid"),
        ({"uplink": {"teid": 205}}, "bearers.0.uplink.teid"),
        ({"uplink": {"teid": 0}}, "uplink.teid"),
        ({"uplink": {"teid": 105, "remote_ip": "10.1.0.1"}}, "uplink.remote_ip"),
        (far(403, "10.1.0.3"), "downlink"),
        (far(9, "10.1.0.9"), "downlink"),
        (far(303, "10.1.0.2"), "downlink"),
        (far(350, "10.1.0.2"), "downlink"),
        (far(305, "10.1.0.2"), "bearers.0.downlink"),
        (far(405, "10.45.0.1"), "downlink.remote_ip"),
        ({"bearers": [{**VOICE, "uplink": {"teid": 203}}, WEB]}, "bearers.0.uplink.teid"),
        ({"bearers": [{**VOICE, "uplink": {"teid": 103}}, WEB]}, "bearers.0.uplink.teid"),
        ({"bearers": [{**VOICE, "uplink": {"teid": 9}}, WEB]}, "bearers.0.uplink.teid"),
        ({"bearers": [{**VOICE, "uplink": {"teid": 250}}, WEB]}, "bearers.0.uplink.teid"),
        ({"bearers": [{**VOICE, "uplink": {"teid": 5, "remote_ip": "10.1.0.255"}}, WEB]},
         "bearers.0.uplink.remote_ip"),
        ({"bearers": [{**VOICE, **far(303, "10.1.0.2")}, WEB]}, "bearers.0.downlink"),
        ({"bearers": [{**VOICE, **far(403, "10.1.0.3")}, WEB]}, "bearers.0.downlink"),
        ({"bearers": [{**VOICE, **far(9, "10.1.0.9")}, WEB]}, "bearers.0.downlink"),
        ({"bearers": [{**VOICE, **far(350, "10.1.0.2")}, WEB]}, "bearers.0.downlink"),
        ({"bearers": [{**VOICE, **far(305, "127.0.0.1")}, WEB]}, "bearers.0.downlink.remote_ip"),
        ({"bearers": [VOICE, {**WEB, "precedence": 10}]}, "bearers.1.precedence"),
        ({"bearers": [VOICE, {**WEB, "id": "voice"}]}, "bearers.1.id"),
        ({"bearers": [VOICE, {**WEB, "filters": ["permit out ip from any to 10.9.9.9"]}]},
         "bearers.1.filters.0"),
        ({"bearers": [VOICE, {**WEB, "filters": ["permit out ip from ::1 to assigned"]}]},
         "bearers.1.filters.0"),
        ({"bearers": [VOICE, {**WEB, "filters": ["permit"]}]}, "bearers.1.filters.0"),
        ({"bearers": [VOICE, {**WEB, "filters": []}]}, "bearers.1.filters"),
        ({"bearers": [VOICE, {**WEB, "mbr": {"uplink_kbps": 0}}]},
         "bearers.1.mbr.uplink_kbps"),
        ({"ambr": {"downlink_kbps": 1 << 40}}, "ambr.downlink_kbps"),
    ],
)  # fmt: skip
def test_an_odd_one_among_many(nets: tuple[Net, Net], change: Fields, loc: str | None) -> None:
    """What is wrong with it is told as ever, and nothing is done then; else all is."""
    odd = text(nth(5, **change))
    whole = many(range(1, 5)) + b"\n" + odd + b"\n" + many(range(6, 10))
    lines.plain(odd)
    said = []
    for net, way in zip(nets, (batch, long_way), strict=True):
        net.store.reset()
        net.compare("gw1")
        net.compare("gw2")
        for there in THERE:
            net.service.put(lines_request(there))
        said.append(way(net, whole))
        as_wanted(net)
    assert said[0] == said[1]
    assert state_of(nets[0]) == state_of(nets[1])
    if loc is not None:
        assert loc in {error["loc"] if isinstance(error, dict) else error[1] for error in said[0]}


def lines_request(fields: Fields) -> SessionRequest:
    return bodies.session({"gateway": "gw1", **fields}).request(fields["id"])


def test_filters_that_name_a_ues_address(net: Net, one_by_one: list[object]) -> None:
    """What is right for one UE is not for another: such sessions are looked at one by one."""
    filters = ["permit out udp from any to 10.45.1.1"]
    bearers = [{**FULL["bearers"][1], "filters": filters}]
    assert batch(net, many(range(1, 2), bearers=bearers)) == BatchResult(1, 0, 0)
    assert len(one_by_one) == 1
    [(line, loc, _)] = batch(net, many(range(2, 3), bearers=bearers))
    assert (line, loc) == (1, "bearers.0.filters.0")


def deletes(numbers: range) -> bytes:
    ops = ({"op": "delete", "id": f"n{number}"} for number in numbers)
    return b"".join(json.dumps(op).encode() + b"\n" for op in ops)


@pytest.mark.parametrize("more", ["relay", "framed", "failed", "twice", "unknown"])
def test_what_is_not_deleted_at_once(net: Net, one_by_one: list[object], more: str) -> None:
    """It is looked at one by one, and all of it is as it would have been."""
    assert batch(net, many()) == BatchResult(9, 0, 0)
    asked = deletes(range(1, 10))
    if more == "relay":
        core = {"teid": 7, "remote_teid": 8, "remote_ip": "10.1.0.9"}
        net.service.put(lines_request(nth(3, ambr=None, bearers=[], core=core)))
    if more == "framed":
        net.service.put(lines_request(nth(3, framed_routes=["192.168.0.0/24"])))
    if more == "failed":
        stored = net.store.get("n3")
        assert stored is not None
        with net.store.transaction() as tx:
            tx.set_state([stored.session.number], SessionState.FAILED, "refused")
    if more == "twice":
        asked += deletes(range(4, 5))
    if more == "unknown":
        asked += deletes(range(40, 41))
    said = batch(net, asked)
    assert len(one_by_one) == asked.count(b"\n")
    if more in ("twice", "unknown"):
        assert said == [(10, "id", said[0][2])]
        assert len(list(net.store.iterate("gw1"))) == 9
    else:
        assert said == BatchResult(0, 0, 9)
        assert list(net.store.iterate("gw1")) == []
        net.compare()
    as_wanted(net)


@settings(max_examples=60, deadline=None)
@given(puts(), puts(), st.booleans())
def test_a_stored_session_has_a_shape(first: list[bytes], second: list[bytes], told: bool) -> None:
    """What is deleted at once is what was stored."""
    shapes = Shapes()
    for raw in [*first, *second]:
        op = quick(raw)
        if not isinstance(op, ShapedPut):
            continue
        session = replace(op.session(), error_indicated=told and op.shape.detail.bearers != ())
        written = to_text(session)
        assert written is not None
        up, down = session.uplink, session.downlink
        kind = up is None or up.remote_ip is None, down is None, op.shape.qos
        found = shapes.of(op.values[: op.shape.own], kind, written, lambda session=session: session)
        assert found is not None
        assert found[0].session(0, 0, found[1]) == replace(session, id="", gateway="")
    assert len(shapes._shapes) <= 2 * len(first) + 2 * len(second)


@pytest.mark.parametrize("at_the_end", [False, True])
def test_what_the_switch_refuses_is_named(net: Net, at_the_end: bool) -> None:
    base = net.have()
    refused = []

    def refuse(command: int, entry: Entry) -> bytes | None:
        if command == ADD and not at_the_end:
            refused.append(entry)
            return TABLE_FULL if len(refused) == 9 else None
        return None

    net.tables["gw1"].refuse = refuse
    if at_the_end:
        net.tables["gw1"].refuse_commit = TABLE_FULL
    with pytest.raises(FlowsRefused) as error:
        batch(net, many())
    net.tables["gw1"].refuse, net.tables["gw1"].refuse_commit = lambda c, e: None, None
    flow, _ = error.value.refused[0]
    assert (flow is None) == at_the_end
    if flow is not None:
        assert flow.cookie == refused[8].cookie
        assert flow.table == refused[8].table
    assert net.have() == base
    assert list(net.store.iterate("gw1")) == []
    as_wanted(net)


def test_many_flows_are_told_in_parts(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_module, "FLOWS_AT_ONCE", 1)
    assert batch(net, many()) == BatchResult(9, 0, 0)
    as_wanted(net)
    assert batch(net, deletes(range(1, 10))) == BatchResult(0, 0, 9)
    as_wanted(net)


def test_a_shape_without_a_template(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its flows are encoded one by one."""

    def none(*_: object) -> None:
        raise TemplateError("none")

    monkeypatch.setattr(templates_module.Templates, "of", none)
    assert batch(net, many()) == BatchResult(9, 0, 0)
    as_wanted(net)


def test_numbers_in_a_filter_that_stand_for_others(net: Net, one_by_one: list[object]) -> None:
    """No filter has them by chance, and one that has is looked at by itself."""
    raw = many(bearers=[{**FULL["bearers"][0], "id": "b"}])
    put = quick(raw.split(b"\n")[0])
    last = numbers_of(put.shape.sample, put.shape.detail).values[-1]
    named = [replace(each, id=str(last)) for each in put.shape.detail.bearers]
    other = replace(put.shape.detail, bearers=tuple(named))
    assert format_of(put.shape) is not None
    assert format_of(Shape(put.shape.sample, other)) is None


def test_slots_run_out(net: Net, monkeypatch: pytest.MonkeyPatch, one_by_one: list[object]) -> None:
    monkeypatch.setattr(transaction_module, "SLOT_MAX", 9)
    assert batch(net, many(range(1, 8))) == BatchResult(7, 0, 0)
    assert one_by_one == []
    assert batch(net, many(range(8, 10))) == BatchResult(2, 0, 0)
    slots = [each.detail.slot for each in net.store.iterate("gw1") if each.detail]
    assert sorted(slots) == list(range(1, 10))


def test_a_teid_that_one_session_has_from_another(net: Net) -> None:
    """The switch would not notice: packets under way must see other bits (table epoch)."""
    assert batch(net, many()) == BatchResult(9, 0, 0)
    epoch = net.agents["gw1"].links.epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_module, "SLICE", 9)
        taken = many(range(11, 20), uplink={"teid": 201}).split(b"\n")[0]
        assert batch(net, deletes(range(1, 10)) + taken) == BatchResult(1, 0, 9)
        assert net.agents["gw1"].links.epoch != epoch
        as_wanted(net)
        epoch = net.agents["gw1"].links.epoch
        gone = json.dumps({"op": "delete", "id": "n11"}).encode()
        plain = {"id": "p", "gateway": "gw1", "ue_ip": "10.45.0.9", "uplink": {"teid": 211}}
        patch.setattr(service_module, "SLICE", 1)
        assert batch(net, gone + b"\n" + text(plain)) == BatchResult(1, 0, 1)
        assert net.agents["gw1"].links.epoch != epoch
        as_wanted(net)


def test_an_admission_keeps_few_shapes(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ofgtp.core.admission.SHAPES_KEPT", 3)
    admission = Admission(net.agents["gw1"].gateway)
    for precedence in range(30, 40):
        bearers = [{**FULL["bearers"][1], "precedence": precedence}]
        put = quick(text(nth(1, bearers=bearers)))
        assert admission.admits_shaped(put)
        assert not admission.admits_shaped(put._replace(id=None))
        for place in (put.shape.teids[0], put.shape.tunnels[0][0]):
            values = list(put.values)
            values[place] = 0
            assert not admission.admits_shaped(put._replace(values=tuple(values)))
    put = quick(text(nth(1)))
    assert admission.admits_shaped(put)
    (own, other), (far, other_far) = put.shape.teids, put.shape.tunnels
    for pairs in ([(other, own)], [*zip(other_far, far, strict=True)]):
        values = list(put.values)
        for place, like in pairs:
            values[place] = values[like]
        assert not admission.admits_shaped(put._replace(values=tuple(values)))
        assert len(admission._shapes) <= 3
