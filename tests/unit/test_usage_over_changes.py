"""What sessions have used, over any order of packets, looks and changes. All is real but the
switch, which counts as Open vSwitch does: from 0 with each flow that is made, on where one changes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import eventlet
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ofgtp.control.usage.round import Round
from ofgtp.core.errors import StoreError
from ofgtp.core.model import Direction, Session
from ofgtp.northbound import bodies
from ofgtp.store import SessionStore
from tests.support.agents import Net, quiet
from tests.support.flowtable import ADD, FlowTable, read_flow_mod

SIZE = 100
NAMES = st.sampled_from(["a", "b"])
NUMBER = {"a": 2, "b": 3}
VOICE = {"id": "voice", "precedence": 10, "filters": ["permit out udp from any 5004 to assigned"]}
VIDEO = {"id": "video", "precedence": 20, "filters": ["permit out udp from any 6004 to assigned"]}
BEARERS = st.sampled_from([[], [], [VOICE], [VOICE, VIDEO], [VIDEO]])
COUNTS = st.integers(1, 9)
WAYS = st.sampled_from(["uplink", "downlink"])


@dataclass
class Counting(FlowTable):
    """A switch that counts."""

    def _apply(self, message: bytes) -> None:
        super()._apply(message)
        command, _, entry = read_flow_mod(message)
        if command == ADD:
            made = replace(entry, packets=0, octets=0, made=time.monotonic())
            self.flows[entry.key] = made

    def count(self, table: int, priority: int, match: bytes, packets: int) -> None:
        """Packets meet a flow."""
        for key, each in self.flows.items():
            if (each.table, each.priority, each.match) == (table, priority, match):
                octets = each.octets + packets * SIZE
                self.flows[key] = replace(each, packets=each.packets + packets, octets=octets)
                return
        raise AssertionError("no such flow")


@contextmanager
def full() -> Iterator[None]:
    raise StoreError("the disk is full")
    yield


class Sessions(RuleBasedStateMachine):
    """Two sessions; what they have sent, and what was shown of it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        quiet(self.patch)
        self.dir = TemporaryDirectory()
        store = SessionStore(Path(self.dir.name) / "sessions.db")
        self.net = Net(store)
        self.table = Counting()
        self.net.tables = {"gw1": self.table}
        self.net.attach_all()
        self.sent: Counter[tuple[str, Direction]] = Counter()
        self.shown: Counter[tuple[str, Direction]] = Counter()
        self.lost: set[str] = set()
        """Sessions whose flows were lost unread: they have less than they have sent."""

    def teardown(self) -> None:
        self.net.end()
        self.net.store.close()
        self.dir.cleanup()
        self.patch.undo()

    def session(self, name: str) -> Session | None:
        stored = self.net.store.get(name)
        return None if stored is None else stored.session

    @initialize()
    def begin(self) -> None:
        for name in NUMBER:
            self.put(name, False, False, 0, [])

    @rule(
        name=NAMES, idle=st.booleans(), pinned=st.booleans(), more=st.integers(0, 1), some=BEARERS
    )
    def put(
        self, name: str, idle: bool, pinned: bool, more: int, some: list[dict[str, Any]]
    ) -> None:
        """A change of all that makes flows: idle, a pinned peer, another TEID, bearers."""
        number = NUMBER[name]
        far = {"teid": 0x2000 + number + 16 * more, "remote_ip": "10.1.0.2"}
        uplink: dict[str, Any] = {"teid": 0x1000 + number + 16 * more}
        body = {
            "ue_ip": f"10.45.0.{number}",
            "uplink": uplink | ({"remote_ip": "10.1.0.2"} if pinned else {}),
            "downlink": None if idle else far,
            "bearers": some,
        }
        self.net.service.put(bodies.session(body).request(name))

    @rule(name=NAMES, idle=st.booleans(), some=BEARERS)
    def put_while_the_switch_is_away(
        self, name: str, idle: bool, some: list[dict[str, Any]]
    ) -> None:
        self.lost.add(name)
        self.net.detach()
        self.put(name, idle, False, 0, some)
        self.net.attach_all()

    @rule(name=NAMES)
    def indicated(self, name: str) -> None:
        """Its peer does not know the tunnel."""
        session = self.session(name)
        if session is not None and session.downlink is not None:
            self.net.service.by_peers.error_indicated("gw1", [session.downlink])

    @rule(name=NAMES)
    def deleted(self, name: str) -> None:
        if self.session(name) is not None:
            self.net.service.delete(name)
        for way in ("uplink", "downlink"):
            del self.sent[name, way], self.shown[name, way]
        self.lost.discard(name)

    @rule(
        name=NAMES, way=st.sampled_from(["uplink", "downlink"]), of=COUNTS, bearer=st.integers(0, 2)
    )
    def packets(self, name: str, way: Direction, of: int, bearer: int) -> None:
        """Packets that pass, of a bearer or of none."""
        session = self.session(name)
        if session is None or (
            way == "downlink" and (session.downlink is None or session.error_indicated)
        ):
            return
        flows = self.net.agents["gw1"].counting.keys_of(session) or []
        firsts = [(key, each) for key, each in flows if each.first and each.direction == way]
        key, first = firsts[0]
        behind = [
            other
            for other, each in flows
            if not each.first and (each.direction, each.group) == (way, first.group)
        ]
        self.table.count(*key, of)
        if bearer < len(behind):
            self.table.count(*behind[bearer], of)
        self.sent[name, way] += of

    @rule()
    def look(self) -> None:
        """A round."""
        agent = self.net.agents["gw1"]
        Round(agent, self.net.store, self.net.writer, 0)._go()

    @rule(name=NAMES, place=st.integers(0, 3))
    def somebody_deletes_a_flow(self, name: str, place: int) -> None:
        session = self.session(name)
        flows = [] if session is None else self.net.agents["gw1"].counting.keys_of(session) or []
        own = [
            key
            for key, each in self.table.flows.items()
            if (each.table, each.priority, each.match) in {key for key, _ in flows}
        ]
        if own:
            del self.table.flows[own[place % len(own)]]
            self.lost.add(name)
            self.net.compare()

    @rule(name=NAMES)
    def the_disk_is_full(self, name: str) -> None:
        """Nothing can be written, neither a round nor a change."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.net.store, "transaction", full)
            with suppress(StoreError):
                self.look()
            with pytest.raises(StoreError):
                self.put(name, True, True, 1, [VIDEO])
        self.net.wait()

    @rule()
    def the_switch_is_started_again(self) -> None:
        self.lost |= {*NUMBER}
        self.table.flows.clear()
        self.net.detach()
        self.net.attach_all()

    @invariant()
    def counts_are_right(self) -> None:
        """They never go down, never are too high, and are exact as long as no flow was lost."""
        for name in NUMBER:
            if self.session(name) is None:
                continue
            view = self.net.service.get(name)
            assert view.uplink is not None
            assert view.downlink is not None
            for way, seen in (("uplink", view.uplink), ("downlink", view.downlink)):
                sent = self.sent[name, way]
                assert self.shown[name, way] <= seen.packets <= sent
                if name not in self.lost:
                    assert seen.packets == sent
                assert seen.bytes == SIZE * seen.packets
                self.shown[name, way] = seen.packets


Sessions.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
test_sessions = Sessions.TestCase


@pytest.mark.parametrize("some", [[], [VOICE]])
def test_a_change_while_a_round_is_under_way(some: list[dict[str, Any]]) -> None:
    """What the round has read is of flows that are no more when it comes to write it."""
    machine = Sessions()
    try:
        machine.begin()
        machine.put("a", False, False, 0, some)
        machine.packets("a", "downlink", 5, 9)
        machine.packets("a", "uplink", 5, 0)
        changes = [eventlet.spawn(machine.put, "a", idle, idle, 0, some) for idle in (True, False)]
        machine.look()
        for each in changes:
            each.wait()
        machine.counts_are_right()
        machine.packets("a", "downlink", 7, 9)
        machine.look()
        machine.counts_are_right()
        assert machine.shown["a", "downlink"] == 12
    finally:
        machine.teardown()
