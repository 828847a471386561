"""What is read before a change serves a session's ledger and its URRs. All is real but the switch,
which counts as Open vSwitch does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import eventlet
import pytest

from ofgtp.control.pfcp.looks import Looks
from ofgtp.control.pfcp.sessions import PfcpSessions
from ofgtp.control.pfcp.usage import Memory
from ofgtp.core.errors import OfgtpError
from ofgtp.core.flows.flow import CookieKind, make_cookie
from ofgtp.core.flows.pipeline import DOWNLINK
from ofgtp.core.pfcp.node.actions import Endpoint, Transaction
from ofgtp.core.pfcp.procedures import Terms
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, ModificationFlags, Triggers
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.messages import (
    Message,
    SessionDeletionRequest,
    SessionEstablishmentRequest,
    SessionModificationRequest,
)
from ofgtp.core.usage.pace import USUAL_S
from ofgtp.southbound import portcounts
from ofgtp.store import SessionStore
from tests.support.agents import Net, quiet
from tests.unit.test_pfcp_sessions import DL, DL_FAR, IDLE_FAR, NOW, SMF, UE, UL, UL_FAR, to_gnb
from tests.unit.test_pfcp_usage import urr
from tests.unit.test_usage_over_changes import SIZE, Counting

KINDS = {
    SessionEstablishmentRequest: MessageType.SESSION_ESTABLISHMENT_REQUEST,
    SessionModificationRequest: MessageType.SESSION_MODIFICATION_REQUEST,
    SessionDeletionRequest: MessageType.SESSION_DELETION_REQUEST,
}
IDLE = SessionModificationRequest(
    update_fars=(g.UpdateFar(2, Action.BUFF | Action.NOCP),), flags=ModificationFlags.QAURR
)
ASK = SessionModificationRequest(flags=ModificationFlags.QAURR)
BACK = SessionModificationRequest(
    update_fars=(g.UpdateFar(2, Action.FORW, g.UpdateForwardingParameters(*to_gnb(0x2002)[:3])),),
    flags=ModificationFlags.QAURR,
)


class World:
    """A gateway and a control plane."""

    def __init__(self, net: Net) -> None:
        agent = net.agents["gw1"]
        terms = Terms(agent.gateway, SMF, (), tuple(agent.protected))
        self.net, self.counting = net, agent.counting
        self.memory = Memory()
        self.looks = Looks(terms, self.memory, net.store, net.service, self.clock, lambda _: None)
        self.pfcp = PfcpSessions(
            *(terms, SMF, net.store, self.clock, self.memory),
            lambda *_: (),
            self.looks.changed,
        )
        self.asked: list[list[int]] = []
        """The numbers of sessions for whose counts the switch was asked, each time."""
        ask = agent.counting.keyed_counts

        def keyed_counts(numbers: Any) -> Any:
            self.asked.append([*numbers])
            return ask(numbers)

        agent.counting.keyed_counts = keyed_counts  # type: ignore[method-assign]

    @staticmethod
    def clock() -> int:
        return NOW

    def do(self, *requests: tuple[Message, int]) -> list[Any]:
        """Requests that are carried out together, each with the SEID that it is about; the
        answers."""
        asked = [
            (
                each,
                Transaction(
                    Endpoint(SMF), KINDS[type(each)], place, seid, 0, (SMF,), b"%d" % place
                ),
            )
            for place, (each, seid) in enumerate(requests)
        ]
        answers = self.pfcp.carry_out(asked, self.net.service)
        for each in answers:
            assert not isinstance(each, OfgtpError), each
        return [each.message for each in answers if not isinstance(each, OfgtpError)]

    def establish(self, place: int = 0, **members: Any) -> int:
        """A session; our SEID."""
        to_ue = v.UeIpAddress(IPv4Address(int(UE) + place), destination=True)
        fields: dict[str, Any] = {
            "create_pdrs": (
                UL._replace(urr_ids=(1,)),
                DL._replace(pdi=DL.pdi._replace(ue_ip_address=to_ue), urr_ids=(1,)),
            ),
            "create_fars": (UL_FAR, DL_FAR),
            "create_urrs": (urr(1),),
        } | members
        request = SessionEstablishmentRequest(SMF, v.FSeid(1 + place, SMF), **fields)
        [answer] = self.do((request, 0))
        return int(answer.up_fseid.seid)

    def number(self, seid: int) -> int:
        found = self.net.store.pfcp_session("gw1", seid)
        assert found is not None
        return found[1].number

    def downlink(self, seid: int, packets: int) -> None:
        """So many packets meet the session's downlink flow."""
        table = self.net.tables["gw1"]
        cookie = make_cookie(CookieKind.SESSION, self.number(seid))
        [flow] = [
            each
            for each in table.flows.values()
            if each.cookie == cookie and each.table == DOWNLINK.number
        ]
        assert isinstance(table, Counting)
        table.count(flow.table, flow.priority, flow.match, packets)

    def used(self, seid: int) -> int:
        """Downlink octets of the session's ledger."""
        number = self.number(seid)
        ledger = self.net.store.ledgers([number]).get(number)
        return 0 if ledger is None else ledger.total.downlink.octets


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        net = Net(SessionStore(tmp_path / "sessions.db"))
        net.tables = {"gw1": Counting()}
        net.attach_all()
        yield World(net)
        net.end()
        net.store.close()


def volume(answer: Any) -> int:
    """Downlink octets of the one report in an answer."""
    [report] = answer.usage_reports
    return int(report.volume.downlink)


def deleted(world: World, seid: int) -> dict[str, Any]:
    """What is told of a session that was deleted."""
    name = f"pfcp-{seid:016x}"
    [event] = [
        each
        for each in world.net.events.since(0)
        if each.kind == "session_deleted" and each.facts["session"] == name
    ]
    return dict(event.facts)


def test_a_change_reads_once(world: World) -> None:
    seid = world.establish()
    world.downlink(seid, 5)
    assert not world.asked
    [answer] = world.do((IDLE, seid))
    assert world.asked == [[world.number(seid)]]
    assert volume(answer) == world.used(seid) == 5 * SIZE


def test_what_comes_while_requests_are_carried_out_is_in_both_or_in_neither(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seid = world.establish()
    world.downlink(seid, 5)
    settle = world.counting.moving

    def moving(numbers: Any) -> None:
        world.downlink(seid, 3)
        settle(numbers)

    monkeypatch.setattr(world.counting, "moving", moving)
    [answer] = world.do((IDLE, seid))
    assert volume(answer) == world.used(seid) == 5 * SIZE


def test_sessions_with_urrs_and_without_in_one_turn(world: World) -> None:
    """Those without are read, too, if their flows are made anew; and each once."""
    plain: dict[str, Any] = {"create_pdrs": (UL, DL), "create_urrs": ()}
    first, second = world.establish(0, **plain), world.establish(1)
    numbers = [world.number(first), world.number(second)]
    world.downlink(first, 2)
    world.downlink(second, 4)
    [_, answer] = world.do((IDLE._replace(flags=None), first), (SessionDeletionRequest(), second))
    assert sorted(world.asked) == [[number] for number in numbers]
    assert world.used(first) == 2 * SIZE
    assert volume(answer) == deleted(world, second)["downlink_bytes"] == 4 * SIZE


def test_two_requests_about_a_session_in_one_turn(world: World) -> None:
    """The second is about what the first has left."""
    seid = world.establish()
    world.downlink(seid, 5)
    answers = world.do((ASK, seid), (ASK, seid))
    assert [volume(each) for each in answers] == [5 * SIZE, 0]
    world.downlink(seid, 2)
    answers = world.do((IDLE, seid), (BACK, seid))
    assert [volume(each) for each in answers] == [2 * SIZE, 0]
    world.downlink(seid, 1)
    answers = world.do((BACK, seid), (SessionDeletionRequest(), seid))
    assert [volume(each) for each in answers] == [SIZE, 0]
    assert deleted(world, seid)["downlink_bytes"] == 8 * SIZE


def test_a_flow_that_is_there_again_at_the_end_of_a_turn_counts_on(world: World) -> None:
    """The switch makes nothing anew: the second request gives back what the first took away."""
    seid = world.establish()
    world.downlink(seid, 5)
    there = SessionModificationRequest(
        update_fars=(
            g.UpdateFar(2, Action.FORW, g.UpdateForwardingParameters(*to_gnb(0x2001)[:3])),
        )
    )
    world.do((IDLE, seid), (there, seid))
    [answer] = world.do((ASK, seid))
    assert volume(answer) == 0
    world.downlink(seid, 2)
    [answer] = world.do((ASK, seid))
    assert volume(answer) == 2 * SIZE


def test_one_that_takes_the_place_of_another_in_one_turn(world: World) -> None:
    """What comes behind it finds the other no more."""
    seid = world.establish(create_fars=(UL_FAR, IDLE_FAR))
    request = SessionEstablishmentRequest(
        SMF, v.FSeid(1, SMF), create_pdrs=(UL, DL), create_fars=(UL_FAR, DL_FAR)
    )
    transactions = [
        Transaction(Endpoint(SMF), KINDS[type(each)], place, about, 0, (SMF,), b"%d" % place)
        for place, (each, about) in enumerate([(request, 0), (ASK, seid)])
    ]
    [made, refused] = world.pfcp.carry_out(
        [(request, transactions[0]), (ASK, transactions[1])], world.net.service
    )
    assert not isinstance(made, OfgtpError)
    assert isinstance(refused, OfgtpError)
    assert "there is no session" in str(refused)


def test_it_is_remembered_as_a_request_has_left_it(world: World) -> None:
    """Nothing is read from the store for the next one but what tells that this is so."""
    seid = world.establish()
    world.do((BACK, seid))
    number = world.number(seid)
    found, known = world.net.store.pfcp_session("gw1", seid), world.memory.get(number)
    assert found is not None
    assert known is not None
    assert world.memory.latest(found[1]) is known.made
    [(stored, row)] = world.net.store.pfcp_made([number])
    assert (stored.installed, row.octets) == (known.session, known.octets)
    assert replace(Memory().latest(row), node_id=SMF) == known.made
    world.do((SessionDeletionRequest(), seid))
    assert world.memory.get(number) is None


def test_it_is_looked_at_once_something_comes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not sooner: to be known, it need not be."""
    came = 0
    monkeypatch.setattr(portcounts, "octets", lambda _: came)
    limit = {"reporting_triggers": Triggers.VOLTH, "volume_threshold": v.Volume(total=9 * SIZE)}
    seid = world.establish(create_urrs=(urr(1, **limit),))
    eventlet.sleep(USUAL_S + 0.05)
    assert world.looks._watcher._turn() == 0
    world.downlink(seid, 5)
    came = 5 * (SIZE + 14)
    eventlet.sleep(0.05)
    assert world.looks._watcher._turn() == 1
    assert world.asked == [[world.number(seid)]]
    known = world.memory.get(world.number(seid))
    assert known is not None
    assert known.made.usage.urrs[1].downlink.octets == 5 * SIZE


def test_a_look_that_ends_while_a_request_is_carried_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has counted more than was read for the request: that is not counted again."""
    seid = world.establish()
    world.downlink(seid, 1)
    world.do((ASK, seid))
    world.downlink(seid, 5)
    number = world.number(seid)
    known, ask = world.memory.get(number), world.counting.keyed_counts
    assert known is not None

    def keyed_counts(numbers: Any) -> Any:
        monkeypatch.undo()
        told = ask(numbers)
        eventlet.sleep(0.001)
        world.downlink(seid, 3)
        world.looks._look([number])
        return told

    monkeypatch.setattr(world.counting, "keyed_counts", keyed_counts)
    answers = world.do((ASK, seid))
    assert known.made.usage.urrs[1].downlink.octets == 8 * SIZE
    answers += world.do((ASK, seid))
    assert [volume(each) for each in answers] == [5 * SIZE, 3 * SIZE]
