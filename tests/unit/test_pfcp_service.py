"""Sessions of control planes in the store and the switch: a real store, and a switch that notes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eventlet.queue import LightQueue

from ofgtp.control.pfcp import sessions
from ofgtp.control.pfcp.endpoint import TOGETHER, PfcpEndpoint
from ofgtp.control.pfcp.sessions import TEIDS, PfcpSessions
from ofgtp.control.pfcp.usage import Memory
from ofgtp.core.errors import Conflict, GatewayNotReady, OfgtpError, StoreError
from ofgtp.core.model import FTeid, Session
from ofgtp.core.pfcp.node import actions
from ofgtp.core.pfcp.node.actions import Change, Endpoint, Transaction
from ofgtp.core.pfcp.node.associations import Association
from ofgtp.core.pfcp.procedures import Terms
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import (
    Action,
    EstablishmentFlags,
    Gate,
    Interface,
    ModificationFlags,
)
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.messages import (
    SessionDeletionRequest,
    SessionEstablishmentRequest,
    SessionModificationRequest,
    read,
)
from ofgtp.northbound import schema
from ofgtp.northbound.service import BatchError, SessionRequest
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.store import SessionStore
from tests.support.lab import gateway
from tests.support.sample import ENB, OTHER_ENB, session
from tests.unit.test_pfcp_sessions import DL, DL_FAR, UE, UL, UL_FAR, ohc
from tests.unit.test_service import World as Base

US, SMF, OTHER_SMF = (IPv4Address(f"10.3.0.{host}") for host in (1, 5, 6))


class World(Base):
    """With the PFCP sessions of gw1."""

    def __init__(self, store: SessionStore) -> None:
        super().__init__(store)
        agent: Any = self.agent
        self.left: list[FTeid] = []
        self.now = 4_000_000_000
        agent.left = self.left.extend
        self.pfcp = PfcpSessions(
            Terms(gateway(), US),
            US,
            store,
            lambda: self.now,
            Memory(),
            lambda *_: (),
            lambda *_: None,
        )

    def ask(self, message: Any, kind: MessageType, seid: int = 0, smf: IPv4Address = SMF) -> Any:
        transaction = Transaction(Endpoint(smf), kind, 1, seid, 0, (smf,), b"key")
        [answer] = self.pfcp.carry_out([(message, transaction)], self.service)
        if isinstance(answer, OfgtpError):
            raise answer
        header, _ = read(answer.octets)
        return answer.message, header.seid

    def establish(
        self, smf: IPv4Address = SMF, cp_seid: int = 5, teid: int | None = None, **changes: Any
    ) -> tuple[int, int]:
        """Our SEID and the TEID of a new session."""
        up = UL
        if teid is not None:
            up = UL._replace(
                pdi=UL.pdi._replace(local_fteid=v.FTeid(teid, IPv4Address("10.1.0.1")))
            )
        fields: dict[str, Any] = {"create_pdrs": (up, DL), "create_fars": (UL_FAR, DL_FAR)}
        fields |= changes
        request = SessionEstablishmentRequest(smf, v.FSeid(cp_seid, smf), **fields)
        answer, seid = self.ask(request, MessageType.SESSION_ESTABLISHMENT_REQUEST, smf=smf)
        assert (answer.cause, seid) == (Cause.ACCEPTED, cp_seid)
        created = answer.created_pdrs
        return answer.up_fseid.seid, created[0].local_fteid.teid if created else teid

    def modify(self, seid: int, smf: IPv4Address = SMF, **members: Any) -> Any:
        request = SessionModificationRequest(**members)
        return self.ask(request, MessageType.SESSION_MODIFICATION_REQUEST, seid, smf)

    def delete(self, seid: int, smf: IPv4Address = SMF) -> Any:
        request = SessionDeletionRequest()
        return self.ask(request, MessageType.SESSION_DELETION_REQUEST, seid, smf)

    def all(self) -> list[Session]:
        return list(self.store.iterate("gw1"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = SessionStore(tmp_path / "sessions.db")
    yield World(store)
    store.close()


def handover(teid: int) -> dict[str, Any]:
    parameters = g.UpdateForwardingParameters(
        outer_header_creation=ohc(teid, OTHER_ENB), flags=ModificationFlags.SNDEM
    )
    return {"update_fars": (g.UpdateFar(2, None, parameters),)}


def refused(work: Any) -> Cause:
    with pytest.raises(Refusal) as caught:
        work()
    return caught.value.cause


def test_the_life_of_a_session(world: World) -> None:
    seid, teid = world.establish()
    assert teid in TEIDS
    [one] = world.all()
    assert one.id == f"pfcp-{seid:016x}"
    assert one.detail is not None
    assert one.detail.owner is not None
    assert (one.detail.owner.node_id, one.detail.owner.cp_seid) == (str(SMF), 5)
    assert one.ue_ip == UE
    assert world.agent.flows == [([], [one])]
    assert world.store.knows_teid("gw1", teid)

    answer, cp_seid = world.modify(seid, **handover(0x2002))
    assert (answer.cause, cp_seid) == (Cause.ACCEPTED, 5)
    [two] = world.all()
    assert world.agent.flows[-1] == ([one], [two])
    assert world.left == [FTeid(0x2001, ENB)]
    assert world.store.by_downlink("gw1", FTeid(0x2002, OTHER_ENB)) is not None

    answer, cp_seid = world.delete(seid)
    assert (answer.cause, cp_seid) == (Cause.ACCEPTED, 5)
    assert world.all() == []
    assert world.agent.flows[-1] == ([two], [])
    assert refused(lambda: world.delete(seid)) == Cause.SESSION_NOT_FOUND
    kinds = [kind for kind, _ in world.kinds()]
    assert kinds == ["session_created", "session_changed", "session_deleted"]
    assert world.agent.told == [(None, one), (one, two), (two, None)]


def test_a_refused_modification_changes_nothing(world: World) -> None:
    seid, _ = world.establish()
    before = world.all()
    bad = (g.UpdateFar(1, Action.DROP), g.UpdateFar(9, Action.DROP))
    assert refused(lambda: world.modify(seid, update_fars=bad)) == Cause.RULE_FAILURE
    assert world.all() == before
    assert len(world.agent.flows) == 1
    assert world.modify(seid, update_fars=bad[:1])


def test_what_the_switch_refuses_or_does_not_confirm_is_not_there(world: World) -> None:
    seid, _ = world.establish()
    [before] = world.all()
    world.agent.refuses = {before.id}
    with pytest.raises(FlowsRefused):
        world.modify(seid, **handover(0x2002))
    world.agent.refuses, world.agent.confirms = set(), False
    with pytest.raises(GatewayNotReady):
        world.modify(seid, **handover(0x2002))
    with pytest.raises(GatewayNotReady):
        world.establish(cp_seid=6, create_pdrs=(UL,))
    assert world.all() == [before]
    assert world.left == []
    # What is only deleted needs no switch: its flows go when it is back.
    assert world.delete(seid)
    assert world.all() == []


def test_a_session_is_its_control_planes(world: World) -> None:
    seid, _ = world.establish()
    assert refused(lambda: world.modify(seid, OTHER_SMF)) == Cause.SESSION_NOT_FOUND
    assert refused(lambda: world.delete(seid, OTHER_SMF)) == Cause.SESSION_NOT_FOUND
    assert refused(lambda: world.modify(2**64 - 1)) == Cause.SESSION_NOT_FOUND
    assert len(world.all()) == 1


def test_of_one_control_plane_the_new_session_wins(world: World) -> None:
    first, _ = world.establish()
    second, _ = world.establish(cp_seid=6)
    assert [one.id for one in world.all()] == [f"pfcp-{second:016x}"], "the same UE address"
    assert refused(lambda: world.modify(first)) == Cause.SESSION_NOT_FOUND
    before, after = world.agent.flows[-1]
    assert [one.id for one in (*before, *after)] == [
        f"pfcp-{seid:016x}" for seid in (first, second)
    ]
    third, _ = world.establish(cp_seid=6, create_pdrs=(UL,))
    assert [one.id for one in world.all()] == [f"pfcp-{third:016x}"], "the same SEID"


def test_a_control_plane_has_so_many_sessions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open5gs#3964, free5gc#819: a flood of them is refused, and others are not in its way."""
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    bare: dict[str, Any] = {"create_pdrs": (UL,)}
    (first, _), (second, _) = (world.establish(cp_seid=number, **bare) for number in (1, 2))
    counted = []
    counts = world.store.pfcp_counts
    monkeypatch.setattr(
        world.store, "pfcp_counts", lambda name: counted.append(name) or counts(name)
    )
    for number in range(5):
        request = SessionEstablishmentRequest(SMF, v.FSeid(9 + number, SMF), (UL,), (UL_FAR,))
        kind = MessageType.SESSION_ESTABLISHMENT_REQUEST
        assert refused(lambda: world.ask(request, kind)) is Cause.NO_RESOURCES  # noqa: B023
    assert len(counted) == 1, "to be full is not to be counted each time"
    assert len(world.all()) == 2
    world.establish(OTHER_SMF, 1, **bare)
    world.delete(first)
    world.establish(cp_seid=3, **bare)
    world.pfcp.change(Change(SMF, None, True), world.service)
    world.establish(cp_seid=4, **bare)
    assert refused(lambda: world.delete(second)) is Cause.SESSION_NOT_FOUND


def test_of_two_control_planes_the_old_session_stays(world: World) -> None:
    seid, teid = world.establish()
    assert refused(lambda: world.establish(OTHER_SMF)) == Cause.REJECTED
    other = DL._replace(pdi=DL.pdi._replace(ue_ip_address=v.UeIpAddress(UE + 1)))
    wrong = {"create_pdrs": (_given(teid), other)}
    assert refused(lambda: world.establish(OTHER_SMF, **wrong)) == Cause.INVALID_F_TEID_ALLOCATION
    restored = {**wrong, "flags": EstablishmentFlags.RESTI}
    assert refused(lambda: world.establish(OTHER_SMF, **restored)) == Cause.RESTORATION_FAILURE
    assert [one.id for one in world.all()] == [f"pfcp-{seid:016x}"]
    assert world.establish(OTHER_SMF, create_pdrs=(UL, other))


def of(ue: IPv4Address | None, prefix: str | None = None) -> tuple[g.CreatePdr, g.CreatePdr]:
    """Rules of a UE with this address and this prefix."""
    ip = v.UeIpAddress(ue, None if prefix is None else IPv6Address(prefix), destination=True)
    return UL, DL._replace(pdi=DL.pdi._replace(ue_ip_address=ip))


def test_a_new_session_takes_the_place_of_those_with_its_ues_addresses(world: World) -> None:
    """Of its control plane, by the address or the prefix: their deletion was lost."""
    pools = (IPv6Network("2001:db8:a::/48"),)
    world.pfcp.terms = Terms(gateway(ue_pools6=pools), US)
    by_ip, _ = world.establish(cp_seid=1, create_pdrs=of(UE))
    by_prefix, _ = world.establish(cp_seid=2, create_pdrs=of(None, "2001:db8:a:1::"))
    other, _ = world.establish(cp_seid=3, create_pdrs=of(UE + 1, "2001:db8:a:2::"))
    both = of(UE, "2001:db8:a:1::")
    assert refused(lambda: world.establish(OTHER_SMF, create_pdrs=both)) == Cause.REJECTED
    assert {each.id for each in world.all()} == {
        f"pfcp-{seid:016x}" for seid in (by_ip, by_prefix, other)
    }
    made, _ = world.establish(cp_seid=4, create_pdrs=both)
    assert {each.id for each in world.all()} == {f"pfcp-{seid:016x}" for seid in (other, made)}
    assert sorted(world.pfcp.replaced) == sorted((by_ip, by_prefix))
    for gone in (by_ip, by_prefix):
        assert refused(lambda gone=gone: world.delete(gone)) is Cause.SESSION_NOT_FOUND  # type: ignore[misc]


def _given(teid: int) -> g.CreatePdr:
    fteid = v.FTeid(teid, IPv4Address("10.1.0.1"))
    return UL._replace(pdi=g.Pdi(Interface.ACCESS, fteid))


def test_teids_and_addresses_are_unique_across_rest_and_pfcp(world: World) -> None:
    [mine] = world.have(session())
    assert mine.uplink is not None
    assert refused(world.establish) == Cause.REJECTED, "the UE address is the REST session's"
    other = DL._replace(pdi=DL.pdi._replace(ue_ip_address=v.UeIpAddress(UE + 7)))
    wrong = {"create_pdrs": (_given(mine.uplink.teid), other)}
    assert refused(lambda: world.establish(**wrong)) == Cause.INVALID_F_TEID_ALLOCATION
    assert len(world.all()) == 1


def test_rest_reads_it_and_does_not_change_it(world: World) -> None:
    seid, _ = world.establish()
    name = f"pfcp-{seid:016x}"
    service = world.service
    request = SessionRequest(name, "gw1", UE, 9, None, None)
    for work in (
        lambda: service.put(request),
        lambda: service.delete(name),
        lambda: service.patch(name, lambda body: request),
    ):
        with pytest.raises(Conflict, match=f"owned by the control plane {SMF}") as caught:
            work()
        assert caught.value.loc == "owner"
    for line in (name, request):
        with pytest.raises(BatchError) as refusals:
            service.batch([(1, line)])
        [(_, loc, reason)] = refusals.value.errors
        assert loc == "owner"
        assert "owned by" in reason
    assert len(world.all()) == 1
    assert len(world.agent.flows) == 1


def test_a_path_that_is_down_removes_no_session_of_a_control_plane(world: World) -> None:
    seid, _ = world.establish()
    world.have(session(2))
    told: list[IPv4Address] = []
    node: Any = SimpleNamespace(path_down=told.append)
    world.service.nodes["gw1"] = node
    world.service.by_peers.path_down("gw1", OTHER_ENB, remove=False)
    assert told == [OTHER_ENB]
    assert world.store.pfcp_with_peer("gw1", ENB) == [str(SMF)]
    assert world.store.pfcp_with_peer("gw1", OTHER_ENB) == []
    assert len(world.all()) == 2
    world.service.by_peers.path_down("gw1", ENB, remove=True)
    assert [one.id for one in world.all()] == [f"pfcp-{seid:016x}"]


def test_sessions_are_removed_though_control_planes_cannot_be_told(world: World) -> None:
    [mine] = world.have(session(2))
    peer = mine.downlink.ip if mine.downlink else None
    assert peer is not None

    def fails(peer: Any) -> None:
        raise StoreError("the disk is full")

    world.service.nodes["gw1"] = SimpleNamespace(path_down=fails)  # type: ignore[assignment]
    world.service.by_peers.path_down("gw1", peer, remove=False)
    assert len(world.all()) == 1
    world.service.by_peers.path_down("gw1", peer, remove=True)
    assert world.all() == []


def association(smf: IPv4Address = SMF) -> Association:
    return Association(smf, smf, frozenset([smf]), 1000)


def test_changes_of_associations(world: World) -> None:
    world.pfcp.change(Change(SMF, association(), False), world.service)
    assert world.store.associations("gw1") == [association().to_plain()]
    assert world.agent.flows == []
    gone, _ = world.establish()
    other = DL._replace(pdi=DL.pdi._replace(ue_ip_address=v.UeIpAddress(UE + 1)))
    stays, _ = world.establish(OTHER_SMF, create_pdrs=(UL, other))
    kept = frozenset([SMF])
    world.pfcp.change(Change(SMF, association(), True, kept), world.service)
    assert len(world.all()) == 2, "their F-SEID's address is among those to keep"
    world.pfcp.change(Change(SMF, None, True), world.service)
    assert world.store.associations("gw1") == []
    assert [one.id for one in world.all()] == [f"pfcp-{stays:016x}"]
    assert refused(lambda: world.modify(gone)) == Cause.SESSION_NOT_FOUND


def test_the_seid_of_an_answer(world: World) -> None:
    seid, _ = world.establish()

    def asked(kind: MessageType, seid: int, smf: IPv4Address = SMF) -> int:
        transaction = Transaction(Endpoint(smf), kind, 1, seid, 0x99, (smf,), b"key")
        return world.pfcp.cp_seid(transaction)

    assert asked(MessageType.SESSION_MODIFICATION_REQUEST, seid) == 5
    assert asked(MessageType.SESSION_ESTABLISHMENT_REQUEST, 0x77) == 0x99, "one that restores"
    wrong = MessageType.SESSION_DELETION_REQUEST
    assert refused(lambda: asked(wrong, seid, OTHER_SMF)) == Cause.SESSION_NOT_FOUND
    assert refused(lambda: asked(wrong, 0)) == Cause.SESSION_NOT_FOUND


def test_a_session_as_it_was_made(world: World) -> None:
    qer = g.CreateQer(1, v.GateStatus(Gate.OPEN, Gate.CLOSED), v.Bitrates(5, 6), None, 9, rqi=True)
    sdf = v.SdfFilter("permit out ip from any to assigned", (184, 252), filter_id=3)
    down = DL._replace(pdi=DL.pdi._replace(sdf_filters=(sdf,)), qer_ids=(1,))
    user = v.UserId(imsi="001010000000001")
    asked = {"create_pdrs": (UL, down), "create_qers": (qer,)}
    seid, teid = world.establish(**asked, apn_dnn="internet", user_id=user)
    shown = world.service.session_rules(f"pfcp-{seid:016x}")
    schema.RulesOutput.model_validate_json(json.dumps(shown), extra="forbid")
    assert (shown["user"], shown["apn_dnn"]) == ("001010000000001", "internet")
    up, to_ue = shown["pdrs"]
    assert (up["source"], up["teid"], up["far"], up["filters"]) == ("access", teid, 1, [])
    assert (to_ue["source"], to_ue["ue_ip"], to_ue["qers"]) == ("core", str(UE), [1])
    assert to_ue["filters"] == [
        {"id": 3, "description": sdf.description, "traffic_class": [184, 252]}
    ]
    core, tunnel = shown["fars"]
    assert (core["destination"], core["tunnel"]) == ("core", None)
    assert tunnel["action"] == ["FORW"]
    assert tunnel["tunnel"] == {"teid": 0x2001, "remote_ip": str(ENB)}
    [rates] = shown["qers"]
    assert rates["gate"] == {"uplink": "open", "downlink": "closed"}
    assert (rates["mbr"], rates["gbr"]) == ({"uplink_kbps": 5, "downlink_kbps": 6}, None)
    assert (rates["qfi"], rates["rqi"]) == (9, True)
    world.have(session(9))
    assert world.service.session_rules("ue-9")["pdrs"] == []


# --- several at once


def several(world: World, *requests: Any) -> list[Any]:
    kinds = {
        SessionEstablishmentRequest: MessageType.SESSION_ESTABLISHMENT_REQUEST,
        SessionModificationRequest: MessageType.SESSION_MODIFICATION_REQUEST,
        SessionDeletionRequest: MessageType.SESSION_DELETION_REQUEST,
    }
    asked = [
        (message, Transaction(Endpoint(SMF), kinds[type(message)], 1, seid, 0, (SMF,), b"key"))
        for message, seid in requests
    ]
    answers = world.pfcp.carry_out(asked, world.service)
    return [
        answer.cause
        if isinstance(answer, Refusal)
        else answer[0].cause
        if isinstance(answer, tuple)
        else answer
        for answer in answers
    ]


def new(cp_seid: int, ue: IPv4Address) -> SessionEstablishmentRequest:
    other = DL._replace(pdi=DL.pdi._replace(ue_ip_address=v.UeIpAddress(ue)))
    return SessionEstablishmentRequest(SMF, v.FSeid(cp_seid, SMF), (UL, other), (UL_FAR, DL_FAR))


def test_what_waits_is_carried_out_together(world: World) -> None:
    first, _ = world.establish()
    second, _ = world.establish(cp_seid=6, create_pdrs=(UL,))
    before = {one.id: one for one in world.all()}
    world.agent.flows.clear()
    bad = SessionModificationRequest(update_fars=(g.UpdateFar(9, Action.DROP),))
    moved = SessionModificationRequest(**handover(0x2002))
    again = SessionModificationRequest(**handover(0x2003))
    causes = several(
        world,
        (moved, first),
        (bad, first),
        (new(7, UE + 1), 0),
        (again, first),
        (SessionDeletionRequest(), second),
        (SessionDeletionRequest(), second),
        (new(8, UE + 1), 0),
    )
    wanted = [Cause.ACCEPTED] * 7
    wanted[1], wanted[5] = Cause.RULE_FAILURE, Cause.SESSION_NOT_FOUND
    assert causes == wanted
    [(was, now)] = world.agent.flows
    assert was == [before[f"pfcp-{seid:016x}"] for seid in (first, second)], "as the switch has it"
    assert {one.id for one in now} == {one.id for one in world.all()}
    assert len(now) == 2, "that with SEID 8 has taken the place of that with 7"
    assert world.left == [FTeid(0x2001, ENB), FTeid(0x2002, OTHER_ENB)]
    assert world.store.by_downlink("gw1", FTeid(0x2003, OTHER_ENB)) is not None


def test_what_the_switch_refuses_is_no_matter_of_the_others(world: World) -> None:
    first, _ = world.establish()
    second, _ = world.establish(cp_seid=6, create_pdrs=(UL,))
    world.agent.refuses = {f"pfcp-{first:016x}"}
    [one, two] = several(
        world, (SessionModificationRequest(**handover(0x2002)), first), (new(7, UE + 1), 0)
    )
    assert isinstance(one, FlowsRefused)
    assert two == Cause.ACCEPTED
    assert len(world.all()) == 3
    assert world.store.by_downlink("gw1", FTeid(0x2002, OTHER_ENB)) is None
    world.agent.refuses, world.agent.confirms = set(), False
    [one, two] = several(world, (new(8, UE + 2), 0), (SessionDeletionRequest(), second))
    assert isinstance(one, GatewayNotReady)
    assert two == Cause.ACCEPTED
    assert len(world.all()) == 2


def test_none_of_those_that_wait_is_left_out() -> None:
    """However many, and with what else waits among them: all in their order."""
    endpoint: Any = object.__new__(PfcpEndpoint)
    endpoint._queue = LightQueue()
    endpoint._carry_out = lambda requests: [each.message for each in requests]
    endpoint._other = lambda work: [work.refusal]
    kind, count = MessageType.SESSION_DELETION_REQUEST, 3 * TOGETHER + 1
    for number in range(count):
        asked: Any = Transaction(Endpoint(SMF), kind, number, 1, 0, (SMF,), b"key"), number
        bad = number in (0, TOGETHER - 1, TOGETHER, count - 1)
        endpoint._queue.put((actions.BadRequest if bad else actions.SessionRequest)(*asked))
    done: list[Any] = []
    while not endpoint._queue.empty():
        done += endpoint._next()
    assert done == [*range(count)]
