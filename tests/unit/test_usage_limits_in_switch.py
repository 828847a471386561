"""Limits of usage through service, store and agent: all is real but the switch, which counts what
it is told to have counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import eventlet
import pytest

from ofgtp.core.errors import InvalidSession, OfgtpError, StoreError
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import FTeid, SessionState
from ofgtp.core.sessions.rule import Refused
from ofgtp.core.sessions.rules import rules_of
from ofgtp.core.usage.pace import LATEST_S, Next
from ofgtp.northbound import bodies, lines, shown
from ofgtp.northbound.problem import ProblemError
from ofgtp.northbound.service import SessionRequest, SessionView
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.store import SessionStore
from tests.support.agents import Net, quiet
from tests.support.flowtable import TABLE_FULL
from tests.support.sample import ENB

PHONE: dict[str, Any] = {
    "ue_ip": "10.45.0.7",
    "uplink": {"teid": 0x1001},
    "downlink": {"teid": 0x2001, "remote_ip": "10.1.0.2"},
}
ALL = {"id": "all", "precedence": 1, "filters": ["permit out udp from any to assigned"]}
SIZE = 100


class Gateway:
    """A gateway, and what its switch has counted on each flow."""

    def __init__(self, net: Net) -> None:
        self.net, self._packets = net, 0
        self.agent, self.service = net.agents["gw1"], net.service

    def count(self, packets: int) -> None:
        """So many packets have come to each flow, those that are yet to be made included."""
        self._packets = packets
        flows = self.net.tables["gw1"].flows
        for key, entry in flows.items():
            flows[key] = replace(entry, packets=packets, octets=packets * SIZE)

    def put(self, name: str = "phone", **members: Any) -> dict[str, Any]:
        self.count(self._packets)
        request = bodies.session({**PHONE, **members}).request(name)
        return self.json(self.service.put(request)[0])

    def patch(self, change: dict[str, Any], name: str = "phone") -> dict[str, Any]:
        self.count(self._packets)

        def changed(present: dict[str, Any]) -> Any:
            return bodies.session(bodies.merge_patch(present, change)).request(name)

        return self.json(self.service.patch(name, changed))

    def batch(self, **members: Any) -> None:
        self.count(self._packets)
        line = json.dumps({"op": "put", "session": {"id": "phone", **PHONE, **members}}).encode()
        op = lines.plain(line) or lines.judged(line)
        assert self.service.batch([(1, op)]).replaced == 1

    def get(self, name: str = "phone") -> dict[str, Any]:
        return self.json(self.service.get(name))

    @staticmethod
    def json(view: SessionView) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(shown.session(view))
        return found

    def number(self, name: str = "phone") -> int:
        stored = self.net.store.get(name)
        assert stored is not None
        return stored.session.number

    def look(self, *names: str) -> dict[int, Next]:
        """Look at sessions as the watcher does."""
        self.count(self._packets)
        numbers = [self.number(name) for name in names or ("phone",)]
        return {**self.service.limits._look(self.agent, numbers)}

    def told(self, *kinds: str) -> list[tuple[str, dict[str, str | int]]]:
        wanted = kinds or ("usage_threshold", "quota_exhausted", "inactive")
        return [(e.kind, e.facts) for e in self.net.events.since(0) if e.kind in wanted]

    def in_order(self) -> None:
        """The switch has what the store wants."""
        assert self.net.have() == self.net.wanted()


@pytest.fixture
def gw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    quiet(monkeypatch)
    store = SessionStore(tmp_path / "sessions.db")
    net = Net(store)
    net.attach()
    yield Gateway(net)
    net.end()
    store.close()


def refused(gw: Gateway) -> list[bool]:
    """Of each rule of the session, whether it refuses for its quota."""
    stored = gw.net.store.get("phone")
    assert stored is not None
    reason = Refused(DropReason.QUOTA_EXHAUSTED)
    return [rule.forward == reason for rule in rules_of(stored.session)]


# --- what is asked for


@pytest.mark.parametrize(
    ("usage", "loc"),
    [
        ({"quota_bytes": 0}, "usage.quota_bytes"),
        ({"quota_bytes": 2**53}, "usage.quota_bytes"),
        ({"quota_bytes": 1.5}, "usage.quota_bytes"),
        ({"quota_bytes": "10"}, "usage.quota_bytes"),
        ({"quota_bytes": True}, "usage.quota_bytes"),
        ({"threshold_bytes": -1}, "usage.threshold_bytes"),
        ({"inactivity_seconds": 0}, "usage.inactivity_seconds"),
        ({"inactivity_seconds": 86_401}, "usage.inactivity_seconds"),
        ({"quota": 1}, "usage.quota"),
        ([], "usage"),
        (7, "usage"),
    ],
)
def test_what_is_wrong_is_named(usage: Any, loc: str) -> None:
    with pytest.raises(ProblemError) as raised:
        bodies.session({**PHONE, "usage": usage})
    assert [each["loc"] for each in raised.value.errors] == [loc]
    with pytest.raises(ProblemError) as raised:
        bodies.session({**PHONE, "bearers": [{**ALL, "usage": usage}]})
    assert [each["loc"] for each in raised.value.errors] == [f"bearers.0.{loc}"]


def test_what_is_given_is_shown(gw: Gateway) -> None:
    limits = {"threshold_bytes": 5, "quota_bytes": 2**53 - 1, "inactivity_seconds": 86_400}
    few = {"threshold_bytes": None, "quota_bytes": 9, "inactivity_seconds": None}
    found = gw.put(usage=limits, bearers=[{**ALL, "usage": {"quota_bytes": 9}}])
    assert (found["usage"], found["closed"]) == (limits, None)
    assert (found["bearers"][0]["usage"], found["bearers"][0]["closed"]) == (few, None)
    # A patch changes one, null takes it away.
    found = gw.patch({"usage": {"quota_bytes": None, "threshold_bytes": 6}})
    assert found["usage"] == {**limits, "quota_bytes": None, "threshold_bytes": 6}
    found = gw.patch({"usage": None})
    assert "usage" not in found and "closed" not in found
    assert found["bearers"][0]["usage"] == few
    found = gw.put(usage={})
    assert "usage" not in found and found["bearers"] == []
    gw.in_order()


def test_a_session_with_no_limits_is_a_plain_one(gw: Gateway) -> None:
    assert "bearers" not in gw.put(usage={})
    assert gw.look() == {}


def test_lines_with_limits_take_the_long_way() -> None:
    usage = {"quota_bytes": 7}
    for members in ({"usage": usage}, {"bearers": [{**ALL, "usage": usage}]}):
        session = {"id": "phone", **PHONE, **members}
        line = json.dumps({"op": "put", "session": session}).encode()
        for _ in range(3):  # a form that was met before may have a shape, which has no limits
            assert lines.plain(line) is None
        assert isinstance(lines.judged(line), SessionRequest)


# --- what becomes of it


def test_a_quota_closes_and_a_larger_one_opens(gw: Gateway) -> None:
    gw.put(usage={"quota_bytes": 20 * SIZE})
    gw.count(9)
    assert gw.look()[gw.number()].octets == SIZE, "half of what is left"
    assert not any(refused(gw))
    gw.count(10)
    assert gw.look() == {}, "nothing more can come of it"
    assert gw.told() == [
        (
            "quota_exhausted",
            {
                "gateway": "gw1",
                "session": "phone",
                "quota_bytes": 20 * SIZE,
                "used_bytes": 20 * SIZE,
                "uplink_bytes": 10 * SIZE,
                "downlink_bytes": 10 * SIZE,
            },
        )
    ]
    assert all(refused(gw)) and gw.get()["closed"] == "quota" and gw.get()["state"] == "active"
    gw.in_order()
    [quota] = gw.service.session_usage("phone").quotas
    assert (quota.bearer, quota.quota, quota.used, quota.closed) == (None, 2000, 2000, True)
    gw.count(50)
    gw.look()
    assert len(gw.told()) == 1
    # What does not touch it changes nothing, nor does the same again, a smaller one, a batch.
    gw.patch({"ambr": {"uplink_kbps": 7}})
    gw.patch({"downlink": {"teid": 0x2002}})
    gw.put(usage={"quota_bytes": 20 * SIZE})
    gw.put(usage={"quota_bytes": 19 * SIZE, "threshold_bytes": 9})
    gw.batch(usage={"quota_bytes": 20 * SIZE})
    assert gw.get()["closed"] == "quota" and all(refused(gw))
    gw.in_order()
    gw.batch(usage={"quota_bytes": 20 * SIZE + 1})
    assert gw.get()["closed"] is None and not any(refused(gw))
    gw.in_order()


def test_a_quota_that_is_taken_away_and_given_again_counts_anew(gw: Gateway) -> None:
    gw.put(usage={"quota_bytes": 20 * SIZE})
    gw.count(10)
    gw.look()
    gw.count(0)
    assert gw.patch({"usage": {"quota_bytes": None}}).get("closed") is None
    assert gw.patch({"usage": {"quota_bytes": 20 * SIZE}})["closed"] is None
    gw.count(9)
    gw.look()
    assert gw.get()["closed"] is None
    gw.count(10)
    gw.look()
    assert gw.get()["closed"] == "quota"
    assert [facts["used_bytes"] for _, facts in gw.told()] == [20 * SIZE, 20 * SIZE]
    assert [facts["uplink_bytes"] for _, facts in gw.told()] == [10 * SIZE, 20 * SIZE]


def test_limits_that_are_given_later_count_from_then(gw: Gateway) -> None:
    gw.put()
    gw.count(100)
    gw.patch({"usage": {"quota_bytes": 20 * SIZE, "threshold_bytes": 10 * SIZE}})
    gw.look()
    assert gw.told() == [] and gw.get()["closed"] is None
    gw.count(105)
    gw.look()
    [(kind, facts)] = gw.told()
    assert kind == "usage_threshold" and (facts["reached"], facts["times"]) == (1, 1)
    assert facts["uplink_bytes"] == 105 * SIZE


def test_a_bearer_is_closed_alone(gw: Gateway) -> None:
    gw.put(bearers=[{**ALL, "usage": {"quota_bytes": 2 * SIZE}}])
    gw.count(1)
    gw.look()
    [(_, facts)] = gw.told()
    assert facts["bearer"] == "all"
    found = gw.get()
    assert found["bearers"][0]["closed"] == "quota" and "closed" not in found
    assert refused(gw) == [True, True, False, False]
    [quota] = gw.service.session_usage("phone").quotas
    assert (quota.bearer, quota.quota, quota.used, quota.closed) == ("all", 200, 200, True)
    gw.in_order()
    found = gw.patch({"bearers": [{**ALL, "usage": {"quota_bytes": 3 * SIZE}}]})
    assert found["bearers"][0]["closed"] is None and not any(refused(gw))
    gw.in_order()


def test_what_was_told_is_kept_with_what_it_is_judged_from(gw: Gateway, tmp_path: Path) -> None:
    gw.put(usage={"quota_bytes": 40 * SIZE, "threshold_bytes": 10 * SIZE})
    gw.count(12)
    gw.look()
    assert [facts["reached"] for _, facts in gw.told()] == [2]
    again = SessionStore(tmp_path / "sessions.db")
    net = Net(again)
    net.tables = gw.net.tables
    net.attach()
    other = net.service.limits
    other._look(net.agents["gw1"], again.with_limits("gw1"))
    assert not [e for e in net.events.since(0) if e.kind == "usage_threshold"]
    gw.count(20)
    other._look(net.agents["gw1"], again.with_limits("gw1"))
    kinds = [(e.kind, e.facts.get("reached")) for e in net.events.since(0) if "session" in e.facts]
    assert kinds == [("usage_threshold", 4), ("quota_exhausted", None)]
    assert again.get("phone").session.detail.used_up  # type: ignore[union-attr]
    net.end()
    again.close()


def test_inactivity(gw: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("ofgtp.control.usage.limits.time.time", lambda: now)
    gw.put(usage={"inactivity_seconds": 100})
    assert gw.look()[gw.number()] == Next(10.0)
    now += 101
    gw.look()
    [(kind, facts)] = gw.told()
    assert kind == "inactive" and facts["inactivity_seconds"] == 100
    gw.count(1)
    now += 1
    gw.look()
    now += 100
    gw.look()
    assert len(gw.told()) == 1
    now += 1
    gw.look()
    assert len(gw.told()) == 2


def test_several_at_once_and_those_that_are_gone(gw: Gateway) -> None:
    gw.put(usage={"quota_bytes": 20 * SIZE})
    other = {**PHONE, "ue_ip": "10.45.0.8", "uplink": {"teid": 8}, "downlink": None}
    gw.put("other", **other, usage={"quota_bytes": 20 * SIZE})
    gone = gw.number("other")
    gw.service.delete("other")
    assert gw.net.store.with_limits("gw1") == [gw.number()]
    gw.count(10)
    assert gw.service.limits._look(gw.agent, [gw.number(), gone]) == {}
    with gw.net.store.transaction() as tx:
        assert [*tx.gauges([gw.number(), gone])] == [gw.number()]
    assert [facts["session"] for _, facts in gw.told()] == ["phone"]


def test_the_watcher_does_it_by_itself(gw: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    came = 0
    monkeypatch.setattr("ofgtp.southbound.portcounts.octets", lambda gateway: came)
    gw.put(usage={"quota_bytes": 20 * SIZE})
    thread = eventlet.spawn(gw.service.limits.run, "gw1")
    try:
        eventlet.sleep(0.2)
        gw.count(10)
        came = 10_000
        with eventlet.Timeout(20):
            while not gw.told():
                eventlet.sleep(0.01)
    finally:
        thread.kill()
    assert gw.get()["closed"] == "quota"


# --- what goes wrong


def test_a_switch_that_refuses_has_it_tried_again(gw: Gateway) -> None:
    gw.put(usage={"quota_bytes": 20 * SIZE})
    gw.count(10)
    gw.net.tables["gw1"].refuse = lambda command, entry: TABLE_FULL
    with pytest.raises(FlowsRefused):
        gw.look()
    assert gw.told() == [] and gw.get()["closed"] is None
    gw.net.tables["gw1"].refuse = lambda command, entry: None
    gw.look()
    assert len(gw.told()) == 1 and gw.get()["closed"] == "quota"
    gw.in_order()


def test_a_store_that_fails_has_the_switch_compared(
    gw: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gw.put(usage={"quota_bytes": 20 * SIZE})
    gw.count(10)

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("ofgtp.store.transaction.Transaction.set_state", fail)
        with pytest.raises(StoreError):
            gw.look()
        assert gw.told() == [] and not gw.agent.synced
    gw.net.wait()
    with monkeypatch.context() as patch:
        patch.setattr(SessionStore, "check", fail)
        with pytest.raises(StoreError):
            gw.look()
        assert gw.agent.synced, "the switch is left alone until the store can be written"
    gw.in_order()
    assert not any(refused(gw))
    gw.look()
    assert len(gw.told()) == 1 and all(refused(gw))
    gw.in_order()


def test_while_the_switch_is_away_nothing_is_judged(gw: Gateway) -> None:
    gw.put(usage={"quota_bytes": 20 * SIZE})
    gw.count(10)
    gw.net.detach()
    with pytest.raises(OfgtpError):
        gw.look()
    assert gw.told() == []
    gw.net.attach()
    gw.look()
    assert len(gw.told()) == 1
    gw.in_order()


def test_a_session_that_the_switch_refused_waits(gw: Gateway) -> None:
    gw.put(usage={"quota_bytes": 20 * SIZE})
    with gw.net.store.transaction() as tx:
        tx.set_state([gw.number()], SessionState.FAILED, "table full")
    gw.count(10)
    assert gw.look() == {gw.number(): Next(LATEST_S)}
    assert gw.told() == []


def test_what_a_peer_has_said_stays_said(gw: Gateway) -> None:
    gw.put(usage={"quota_bytes": 20 * SIZE})
    gw.service.by_peers.error_indicated("gw1", [FTeid(0x2001, ENB)])
    gw.count(20)
    gw.look()
    found = gw.get()
    assert (found["state"], found["closed"]) == ("error_indicated", "quota")
    assert "Error Indication" in found["reason"]
    gw.in_order()
    assert gw.patch({"usage": None, "downlink": {"teid": 0x2009}})["state"] == "active"
    assert not any(refused(gw))


def test_limits_of_a_relay(gw: Gateway) -> None:
    core = {"teid": 0x5001, "remote_teid": 0x6001, "remote_ip": "10.1.0.4"}
    usage = {"quota_bytes": 2 * SIZE}
    gw.put(ue_ip=None, core=core, usage=usage)
    gw.count(1)
    gw.look()
    assert gw.get()["closed"] == "quota" and all(refused(gw))
    gw.in_order()


def test_a_session_cannot_have_too_much_by_any_way(gw: Gateway) -> None:
    with pytest.raises((ProblemError, InvalidSession)):
        gw.put(usage={"quota_bytes": 2**60})
    assert gw.net.store.get("phone") is None


@pytest.mark.parametrize("present", [{}, {"bearers": [ALL]}, {"usage": {"quota_bytes": 5_000}}])
def test_other_limits_are_read_for_once(
    gw: Gateway, monkeypatch: pytest.MonkeyPatch, present: dict[str, Any]
) -> None:
    """One reading tells from where the quota counts, and what the ledger has before the change."""
    gw.put(**present)
    gw.count(7)
    asked = list[list[int]]()
    ask = gw.agent.counting.keyed_counts

    def keyed_counts(numbers: Any) -> Any:
        asked.append([*numbers])
        return ask(numbers)

    monkeypatch.setattr(gw.agent.counting, "keyed_counts", keyed_counts)
    gw.patch({"usage": {"quota_bytes": 10_000}, "uplink": {"teid": 0x1007}})
    assert asked == [[gw.number()], [gw.number()]], "before the change, and to be shown"
