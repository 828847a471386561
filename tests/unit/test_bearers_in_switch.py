"""Sessions with rules through service, store and agent: the switch has what it would be told anew.

All is real but the switch, which keeps flows and meters as Open vSwitch does: a meter must be there
before a flow names it, and goes with the flows that do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ofgtp.core.errors import Conflict, InvalidSession, UnknownBearer, UnknownSession
from ofgtp.core.flows.flow import Meter
from ofgtp.core.flows.pipeline import METERS
from ofgtp.core.sessions.rules import METERS_FROM, meters_of
from ofgtp.northbound import bearer_calls, bodies
from ofgtp.northbound.problem import ProblemError
from ofgtp.northbound.service import BatchError
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.store import SessionStore
from tests.support.agents import Net, quiet
from tests.support.flowtable import ADD, ERROR, METER_MOD, TABLE_FULL, Entry, FlowTable

METER_EXISTS, INVALID_METER, UNKNOWN_METER = 1, 2, 3
METER_INSTRUCTION = 6


def meter_of(instructions: bytes) -> int | None:
    """The meter that a flow names."""
    at = 0
    while at < len(instructions):
        kind, size = struct.unpack_from("!HH", instructions, at)
        if kind == METER_INSTRUCTION:
            return int.from_bytes(instructions[at + 4 : at + 8], "big")
        at += size
    return None


@dataclass
class Metered(FlowTable):
    """A switch that minds meters."""

    bad: list[str] = field(default_factory=list)
    """What it was asked for that cannot be."""

    def _take(self, kind: int, xid: int, message: bytes) -> None:
        if kind != METER_MOD:
            super()._take(kind, xid, message)
            return
        command, flags, number = struct.unpack_from("!HHI", message, 8)
        there = number in self._meters
        if command == of.MeterCommand.DELETE:
            self._meters.pop(number, None)
            gone = [
                key for key, each in self.flows.items() if meter_of(each.instructions) == number
            ]
            self.bad += [f"meter {number} took a flow with it" for _ in gone]
            for key in gone:
                del self.flows[key]
        elif there == (command == of.MeterCommand.ADD):
            why = METER_EXISTS if there else UNKNOWN_METER
            self.bad.append(f"meter {number}: error {why}")
            self._say(ERROR, xid, struct.pack("!HH", 12, why) + message[:64])
        else:
            self._meters[number] = struct.pack("!HHI", 24, flags, number) + message[16:]

    def _add(self, xid: int, body: bytes) -> None:
        super()._add(xid, body)
        number = int.from_bytes(body[:4], "big")
        inner = body[8:]
        entry_instructions = self._instructions(inner)
        wanted = meter_of(entry_instructions)
        if inner[8 + 17] == ADD and wanted is not None and wanted not in self._meters:
            self.bad.append(f"a flow names meter {wanted}, which is not there")
            self._say(ERROR, xid, struct.pack("!HH", 12, INVALID_METER) + inner[:64])
            self._bundles[number].pop()

    @staticmethod
    def _instructions(flow_mod: bytes) -> bytes:
        length = int.from_bytes(flow_mod[50:52], "big")
        return flow_mod[48 + length + (-length % 8) :]

    @property
    def meters(self) -> dict[int, Meter | None]:
        return of.decode_meters(b"".join(self._meters.values()))


@contextmanager
def gateways(path: Path) -> Iterator[Net]:
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        store = SessionStore(path / "sessions.db")
        net = Net(store, 2)
        net.tables = {name: Metered() for name in net.tables}
        net.attach_all()
        yield net
        net.end()
        store.close()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with gateways(tmp_path) as made:
        yield made


def table(net: Net, name: str = "gw1") -> Metered:
    made = net.tables[name]
    assert isinstance(made, Metered)
    return made


def put(net: Net, name: str, **fields: Any) -> Any:
    body = {"gateway": "gw1", **fields}
    return net.service.put(bodies.session(body).request(name))[0].session


def as_wanted(net: Net, name: str = "gw1") -> None:
    """What is in the switch is what would be put there now, meters included."""
    assert net.have(name) == net.wanted(name)
    wanted = {meter.number: meter for meter in METERS.values()}
    for session in net.store.iterate(name):
        wanted |= {meter.number: meter for meter in meters_of(session)}
    assert table(net, name).meters == wanted
    assert table(net, name).bad == []
    assert table(net, name).open_bundles == 0


UDP = {"protocol": "udp"}
FULL: dict[str, Any] = {
    "ue_ip": "10.45.0.2",
    "uplink": {"teid": 4097},
    "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"},
    "ambr": {"uplink_kbps": 50000, "downlink_kbps": 100000},
    "bearers": [
        {
            "id": "voice",
            "precedence": 10,
            "filters": ["permit out udp from 10.2.0.0/24 5004-5060 to assigned"],
            "uplink": {"teid": 4098},
            "downlink": {"teid": 8194, "remote_ip": "10.1.0.2"},
            "mbr": {"uplink_kbps": 128, "downlink_kbps": 128},
        },
        {"id": "web", "precedence": 20, "filters": ["permit out tcp from any 80 to assigned"]},
    ],
}


def sessions_meters(net: Net) -> list[int]:
    return sorted(number for number in table(net).meters if number >= METERS_FROM)


def test_a_session_comes_changes_and_goes(net: Net) -> None:
    base = net.have()
    put(net, "a", **FULL)
    as_wanted(net)
    assert len(sessions_meters(net)) == 4
    put(net, "a", **{**FULL, "ambr": {"uplink_kbps": 1}})
    as_wanted(net)
    assert len(sessions_meters(net)) == 3
    put(net, "a", **{**FULL, "bearers": FULL["bearers"][1:], "ambr": None})
    as_wanted(net)
    assert sessions_meters(net) == []
    plain = {name: FULL[name] for name in ("ue_ip", "uplink", "downlink")}
    session = put(net, "a", **plain)
    assert session.detail is not None, "its rules stay in a table of their own"
    as_wanted(net)
    assert net.service.delete("a")
    as_wanted(net)
    assert net.have() == base


def test_rates_change_in_place_and_no_flow_does(net: Net) -> None:
    put(net, "a", **FULL)
    before, commits = net.have(), sessions_meters(net)
    changed = {**FULL, "ambr": {"uplink_kbps": 7, "downlink_kbps": 8}}
    put(net, "a", **changed)
    assert net.have() == before
    assert sessions_meters(net) == commits
    as_wanted(net)


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"bearers": [{**FULL["bearers"][0], "precedence": 20}, FULL["bearers"][1]]},
         "bearers.1.precedence"),
        ({"bearers": [*FULL["bearers"], {**FULL["bearers"][1], "precedence": 30}]}, "bearers.2.id"),
        ({"framed_routes": ["10.45.7.0/24"]}, "framed_routes.0"),
        ({"breakout": ["10.3.0.0/16"]}, "breakout"),
        ({"core": {"remote_teid": 1, "remote_ip": "10.1.0.1"}, "bearers": [], "ambr": None},
         "core.remote_ip"),
    ],
)  # fmt: skip
def test_what_is_refused_changes_nothing(net: Net, change: dict[str, Any], loc: str) -> None:
    before = put(net, "a", **FULL)
    have = net.have()
    with pytest.raises(InvalidSession) as refused:
        put(net, "a", **{**FULL, **change})
    assert refused.value.loc == loc
    stored = net.store.get("a")
    assert stored is not None
    assert stored.session == before
    assert net.have() == have
    as_wanted(net)


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"uplink": {"teid": 5555}, "downlink": None,
          "bearers": [{**FULL["bearers"][0], "id": "b"}]},
         "bearers.0.uplink.teid"),
        ({"uplink": {"teid": 4098}, "downlink": None, "bearers": []}, "uplink.teid"),
        ({"uplink": {"teid": 5555}, "downlink": {"teid": 8194, "remote_ip": "10.1.0.2"},
          "bearers": []}, "downlink"),
        ({"uplink": {"teid": 5555}, "downlink": None, "ambr": None,
          "bearers": [], "core": {"teid": 4098, "remote_teid": 1, "remote_ip": "10.1.0.9"}},
         "core.teid"),
    ],
)  # fmt: skip
def test_what_another_session_has_is_a_conflict(net: Net, change: dict[str, Any], loc: str) -> None:
    put(net, "a", **FULL)
    have = net.have()
    with pytest.raises(Conflict) as refused:
        put(net, "b", **{**FULL, "ue_ip": "10.45.0.3", **change})
    assert (refused.value.loc, refused.value.session_id) == (loc, "a")
    assert net.store.get("b") is None
    assert net.have() == have
    as_wanted(net)


@pytest.mark.parametrize("when", ["at once", "at the end"])
def test_what_the_switch_refuses_leaves_meters_and_flows(net: Net, when: str) -> None:
    before = put(net, "a", **FULL)
    have, meters = net.have(), table(net).meters
    if when == "at once":

        def refuse(command: int, entry: Entry) -> bytes | None:
            return TABLE_FULL if command == ADD else None

        table(net).refuse = refuse
    else:
        table(net).refuse_commit = TABLE_FULL
    changed = {**FULL["bearers"][1], "mbr": {"uplink_kbps": 9}, "filters": [UDP]}
    with pytest.raises(FlowsRefused):
        put(net, "a", **{**FULL, "ambr": {"uplink_kbps": 9}, "bearers": [changed]})
    table(net).refuse, table(net).refuse_commit = lambda command, entry: None, None
    stored = net.store.get("a")
    assert stored is not None
    assert stored.session == before
    assert net.have() == have
    assert table(net).meters == meters
    as_wanted(net)


def test_a_comparison_puts_flows_and_meters_right(net: Net) -> None:
    put(net, "a", **FULL)
    put(net, "b", ue_ip="10.45.0.3", downlink=None, framed_routes=["192.168.7.0/24"])
    put(net, "c", core={"remote_teid": 6001, "remote_ip": "10.1.0.9"}, downlink=None)
    as_wanted(net)
    switch = table(net)
    gone = sessions_meters(net)[0]
    with_it = [k for k, each in switch.flows.items() if meter_of(each.instructions) == gone]
    assert with_it
    for key in with_it:
        del switch.flows[key]
    del switch._meters[gone]
    stale = METERS_FROM + 128 * 77
    switch._meters[stale] = (
        struct.pack("!HHI", 24, 13, stale)
        + of.meter_mod(of.MeterCommand.ADD, Meter(stale, 1, 1), 1)[16:]
    )
    net.compare()
    as_wanted(net)
    # A new connection finds all as it is, and changes nothing.
    net.detach()
    commits = switch.commits
    net.attach()
    as_wanted(net)
    assert switch.commits == commits


def test_flows_of_a_session_name_the_bearer(net: Net) -> None:
    put(net, "a", **FULL)
    shown = net.service.session_flows("a")
    assert {each.bearer for each in shown} == {None, "voice", "web"}
    assert {each.direction for each in shown if each.bearer == "web"} == {"uplink", "downlink"}
    view = net.service.get("a")
    assert view.bearers.keys() == {"voice", "web"}
    assert all(up.packets and down.packets for up, down in view.bearers.values())
    assert view.uplink is not None
    assert view.uplink.packets > 0


# --- one by one


def test_calls_about_one_bearer(net: Net) -> None:
    put(net, "a", ue_ip="10.45.0.2", downlink=None)
    service = net.service
    made, new = bearer_calls.put(service, "a", "web", {"precedence": 1, "filters": [UDP]})
    assert (made.id, new) == ("web", True)
    as_wanted(net)
    made, new = bearer_calls.put(service, "a", None, {"id": "x", "precedence": 2, "filters": [UDP]})
    assert (made.id, new) == ("x", True)
    assert [each.id for each in bearer_calls.show(service, "a")] == ["web", "x"]
    made = bearer_calls.patch(service, "a", "web", {"mbr": {"uplink_kbps": 64}, "gate": "closed"})
    assert (made.gate, made.mbr and made.mbr.uplink_kbps) == ("closed", 64)
    as_wanted(net)
    made, new = bearer_calls.put(service, "a", "web", {"precedence": 9, "filters": [UDP]})
    assert (made.mbr, new) == (None, False)
    for body, loc in (
        ({"precedence": 70000, "filters": [UDP]}, "precedence"),
        ({"precedence": 3, "filters": ["permit out"]}, "filters.0"),
        ({"precedence": 3, "filters": [UDP], "id": "y"}, "id"),
        ({"precedence": 3, "filters": [UDP], "downlink": {"teid": 0, "remote_ip": "10.1.0.2"}},
         "downlink.teid"),
        ({"precedence": 3, "filters": [{"remote": "2001:db8::/32"}]}, "filters.0"),
        ([], ""),
    ):  # fmt: skip
        before = service.get("a").session
        with pytest.raises((ProblemError, InvalidSession)) as refused:
            bearer_calls.put(service, "a", "web", body)
        error = refused.value
        told = error.loc if isinstance(error, InvalidSession) else error.errors[0]["loc"]
        assert told == loc, body
        assert service.get("a").session == before
    with pytest.raises(Conflict):
        bearer_calls.put(service, "a", None, {"id": "x", "precedence": 4, "filters": [UDP]})
    for call in (bearer_calls.show_one, bearer_calls.delete):
        with pytest.raises(UnknownBearer):
            call(service, "a", "nobody")
        with pytest.raises(UnknownSession):
            call(service, "nobody", "x")
    assert bearer_calls.delete(service, "a", "x")
    assert [each.id for each in bearer_calls.show(service, "a")] == ["web"]
    as_wanted(net)


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_precedence_that_another_bearer_has(net: Net, name: str) -> None:
    """The field is named as in the request, which is about one bearer."""
    both = [
        {"id": each, "precedence": n, "filters": [UDP]}
        for n, each in enumerate(("first", "second"))
    ]
    put(net, "a", ue_ip="10.45.0.2", downlink=None, bearers=both)
    other = 1 if name == "first" else 0
    with pytest.raises(InvalidSession) as refused:
        bearer_calls.put(net.service, "a", name, {"precedence": other, "filters": [UDP]})
    assert refused.value.loc == "precedence"


# --- any sequence

TEIDS = st.integers(1, 6)
PEERS = st.sampled_from(["10.1.0.2", "10.1.0.3"])
TUNNELS = st.fixed_dictionaries({"teid": TEIDS, "remote_ip": PEERS})
KBPS = st.none() | st.sampled_from([64, 128])
RATES = st.none() | st.fixed_dictionaries({"uplink_kbps": KBPS, "downlink_kbps": KBPS})
FILTERS = st.lists(
    st.sampled_from(
        [
            "permit out udp from any to assigned",
            "permit out tcp from 10.2.0.0/24 80-90 to assigned",
            "permit out icmp from any to assigned",
            {"dscp": 46},
        ]
    ),
    min_size=1,
    max_size=2,
)


@st.composite
def bearers(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    names = draw(st.lists(st.sampled_from("abc"), max_size=3, unique=True))
    precedences = draw(st.permutations(range(1, 6)))
    for name, precedence in zip(names, precedences, strict=False):
        one: dict[str, Any] = {"id": name, "precedence": precedence, "filters": draw(FILTERS)}
        if draw(st.booleans()):
            one["uplink"] = {"teid": draw(TEIDS)}
        if draw(st.booleans()):
            one["downlink"] = draw(st.none() | TUNNELS)
        one["gate"] = draw(st.sampled_from(["open", "closed", "uplink", "downlink"]))
        one["mbr"] = draw(RATES)
        one["qfi"] = draw(st.none() | st.sampled_from([1, 5]))
        made.append(one)
    return made


@st.composite
def sessions(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "uplink": {"teid": draw(TEIDS)},
        "downlink": draw(st.none() | TUNNELS),
    }
    kind = draw(st.sampled_from(["plain", "bearers", "bearers", "relay", "breakout"]))
    if kind != "relay":
        fields["ue_ip"] = f"10.45.0.{draw(st.integers(2, 5))}"
        fields["qfi"] = draw(st.none() | st.just(9))
        if draw(st.integers(0, 3)) == 0:
            fields["framed_routes"] = [f"192.168.{draw(st.integers(0, 1))}.0/24"]
    if draw(st.integers(0, 3)) == 0:
        fields["buffer"] = draw(st.sampled_from([1, 8]))
    if kind == "bearers":
        fields["bearers"], fields["ambr"] = draw(bearers()), draw(RATES)
    if kind in ("relay", "breakout"):
        fields["core"] = {"teid": draw(TEIDS), "remote_teid": draw(TEIDS), "remote_ip": draw(PEERS)}
    if kind == "breakout":
        fields["breakout"] = ["10.3.0.0/16"]
    return fields


class Machine(RuleBasedStateMachine):
    """Sessions of all kinds, one by one and in batches, on two gateways that come and go."""

    @initialize()
    def start(self) -> None:
        self.directory = TemporaryDirectory()
        self.context = gateways(Path(self.directory.name))
        self.net = self.context.__enter__()

    names = st.sampled_from(["s1", "s2", "s3", "s4"])
    places = st.sampled_from(["gw1", "gw2"])

    @rule(name=names, place=places, fields=sessions())
    def put(self, name: str, place: str, fields: dict[str, Any]) -> None:
        request = bodies.session({"gateway": place, **fields}).request(name)
        before = self.net.store.get(name)
        try:
            made = self.net.service.put(request)[0].session
        except (Conflict, InvalidSession):
            assert self.net.store.get(name) == before
        else:
            stored = self.net.store.get(name)
            assert stored is not None
            assert stored.session == made

    @rule(name=names)
    def delete(self, name: str) -> None:
        there = self.net.store.get(name)
        try:
            self.net.service.delete(name)
        except UnknownSession:
            assert there is None

    @rule(ops=st.lists(st.tuples(names, st.none() | sessions()), min_size=1, max_size=4))
    def batch(self, ops: list[tuple[str, dict[str, Any] | None]]) -> None:
        lines: list[tuple[int, Any]] = []
        for number, (name, fields) in enumerate(ops, 1):
            body = None if fields is None else {"gateway": "gw1", **fields}
            lines.append((number, name if body is None else bodies.session(body).request(name)))
        before = {name: self.net.store.get(name) for name, _ in ops}
        try:
            self.net.service.batch(lines)
        except BatchError:
            assert {name: self.net.store.get(name) for name, _ in ops} == before

    @rule(name=names, bearer=st.sampled_from("abc"), filters=FILTERS, mbr=RATES)
    def one_bearer(self, name: str, bearer: str, filters: list[Any], mbr: Any) -> None:
        body = {"precedence": ord(bearer), "filters": filters, "mbr": mbr}
        with suppress(UnknownSession, InvalidSession, Conflict, ProblemError):
            bearer_calls.put(self.net.service, name, bearer, body)

    @rule(name=names)
    def told_of_a_tunnel(self, name: str) -> None:
        stored = self.net.store.get(name)
        if stored is not None and stored.session.downlink is not None:
            tunnel = stored.session.downlink
            self.net.service.by_peers.error_indicated(stored.session.gateway, [tunnel])

    @rule(place=places)
    def away_and_back(self, place: str) -> None:
        self.net.detach(place)
        self.net.attach(place)

    @invariant()
    def the_switch_has_what_is_wanted(self) -> None:
        if hasattr(self, "net"):
            for place in ("gw1", "gw2"):
                as_wanted(self.net, place)

    def teardown(self) -> None:
        if hasattr(self, "net"):
            self.context.__exit__(None, None, None)
            self.directory.cleanup()


TestAnySequence = Machine.TestCase
TestAnySequence.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
