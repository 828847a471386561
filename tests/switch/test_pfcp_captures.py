"""What control planes of real cores have sent, replayed against a running gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ofgtp.core.pfcp.wire.messages import read
from tests.support import ownership as own
from tests.support import smf
from tests.support.lab import Lab
from tests.support.ownership import until
from tests.support.pfcp import Seen, procedures, rewritten
from tests.support.smf import ControlPlane

pytestmark = pytest.mark.switch

CAPTURES = procedures()
RUNS = [
    (name, target)
    for name, messages in CAPTURES.items()
    for target in sorted({str(seen.target) for seen in messages if seen.from_control_plane})
]
"""A capture may have two user planes; the gateway stands in the place of one of them."""

POOLS = 'ue_pools = ["10.45.0.0/16"]', 'ue_pools = ["10.45.0.0/16", "10.46.0.0/16"]'


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        smf.n4(lab)
        config = lab.config(controller=own.SWITCH, gateway=smf.CONFIG)
        lab.start_controller(config.replace(*POOLS))
        until(lambda: own.in_sync(lab), "in sync")
        yield lab
        assert lab.http("GET", "/v1/health").status == 200


@pytest.fixture
def cp(lab: Lab) -> Iterator[ControlPlane]:
    with smf.associated(lab) as cp:
        yield cp
        assert cp.release().cause == 1
        assert own.sessions(lab) == {}


@pytest.mark.parametrize(("name", "target"), RUNS)
def test_a_capture_is_answered(lab: Lab, cp: ControlPlane, name: str, target: str) -> None:
    """Each request is accepted and chooses the F-TEIDs that the real user plane chose; what is
    about sessions that began before the capture did is not known."""
    seids: dict[int, int] = {}
    answers: dict[int, Any] = {}
    accepted = 0
    for seen in CAPTURES[name]:
        header, body = read(seen.data)
        if str(seen.target) == target and seen.from_control_plane:
            known = None if header.type == 50 else seids.get(header.seid or 0, 0)
            _, answer = read(cp.ask_octets(rewritten(seen.data, target, known)))
            answers[header.sequence] = answer
            wanted = 65 if known == 0 else 1
            assert getattr(answer, "cause", None) == wanted, (seen.frame, answer)
            accepted += wanted == 1
        elif str(seen.source) == target and header.type in (51, 53):
            theirs: Any = body
            ours = answers[header.sequence]
            if ours.cause == 65:
                continue
            assert [each.pdr_id for each in ours.created_pdrs] == [
                each.pdr_id for each in theirs.created_pdrs
            ]
            if header.type == 51:
                seids[theirs.up_fseid.seid] = ours.up_fseid.seid
    told = own.sessions(lab)
    assert {each["state"] for each in told.values()} <= {"active"}
    flows = [
        each["flow"]
        for session in told
        for each in lab.http("GET", f"/v1/sessions/{session}/flows").json()["items"]
    ]
    there = [each for each in own.our_flows(lab) if "cookie=0xf6703" in each]
    assert len(there) == len(flows)
    assert accepted or not begins_here(CAPTURES[name], target)


def begins_here(messages: list[Seen], target: str) -> bool:
    return any(seen.data[1] == 50 and str(seen.target) == target for seen in messages)
