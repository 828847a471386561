"""Idle and paging as real control planes have it, replayed with packets: held, told, delivered."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ofgtp.core.pfcp.wire.enums import Action
from ofgtp.core.pfcp.wire.messages import SessionReportResponse, read, write
from tests.support import gtpu, paging, smf
from tests.support.paging import Arrived, numbered
from tests.support.pfcp import Seen, procedures, rewritten
from tests.support.site import Site, until
from tests.support.smf import ControlPlane

pytestmark = pytest.mark.switch

CAPTURES = procedures()
WHOLE = "suite-5g-paging-error-indication"
RUNS = [
    (WHOLE, "192.0.2.7", 19),
    ("suite-4g-attach-idle", "192.0.2.6", 8),
    ("5g-idle", "192.0.2.30", 1),
    ("5g-ue-idle-uplink", "192.0.2.30", 1),
]
"""Captures, the user plane in whose place the gateway stands, and how often a UE came back."""
EACH = 3
INSIDE = "10.45.6.6"
"""To whom packets in an SGW's tunnels go: it does not look."""

_numbers = itertools.count()


@dataclass
class Replayed:
    """A session of a capture; FAR 1 is that of the UE's default flow in all of them."""

    up_seid: int
    ue: str | None
    """None: an SGW's, which packets reach by a TEID."""
    teid: int | None
    waiting: list[int] = field(default_factory=list)
    idle: bool = False


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with smf.site() as site:
        # 5g-idle has another base station.
        site.lab.exec("enb", ["ip", "addr", "add", "10.1.0.10/24", "dev", "eth0"])
        yield site


@pytest.fixture
def cp(site: Site) -> Iterator[ControlPlane]:
    with smf.associated(site.lab) as cp:
        yield cp
        assert cp.release().cause == 1


def establishment(name: str, target: str) -> Seen:
    """The first of a capture; one that begins later has another's."""
    if name not in (WHOLE, "suite-4g-attach-idle"):
        name, target = WHOLE, "192.0.2.7"
    return next(
        each for each in CAPTURES[name] if each.data[1] == 50 and str(each.target) == target
    )


def established(request: Any, answer: Any) -> Replayed:
    chosen = {each.pdr_id: each.local_fteid.teid for each in answer.created_pdrs}
    ue = request.create_pdrs[0].pdi.ue_ip_address
    made = Replayed(answer.up_fseid.seid, None if ue is None else str(ue.ipv4), chosen.get(1))
    made.idle = bool(request.create_fars[0].apply_action & Action.BUFF)
    return made


def fall_silent(site: Site, cp: ControlPlane, session: Replayed) -> None:
    """Packets come for the UE, and its control plane is told."""
    new = list(itertools.islice(_numbers, EACH))
    before = paging.buffer(site)["held"]
    site.empty_cache()
    if session.ue is not None:
        assert site.downlink(*map(site.to_ue, numbered(session.ue, new))) == []
    else:
        inner = numbered(INSIDE, new, source="198.51.100.7")
        frames = [site.from_enb(gtpu.t_pdu(session.teid or 0, p), enb="enb2") for p in inner]
        assert site.uplink(*frames, enb="enb2") == []
    until(lambda: paging.buffer(site)["held"] == before + EACH, "they are held")
    data = cp.receive(10)
    assert data is not None, "a report comes"
    header, report = read(data)
    told: Any = report
    assert (header.type, told.downlink_data.pdr_ids) == (56, (1,))
    cp.send(write(SessionReportResponse(1), header.sequence, session.up_seid))
    session.waiting += new


@pytest.mark.parametrize(("name", "target", "times"), RUNS)
def test_what_waits_is_delivered(
    site: Site, cp: ControlPlane, name: str, target: str, times: int
) -> None:
    sessions: dict[int, Replayed] = {}
    answers: dict[int, Any] = {}
    came_back = 0
    arrived = Arrived(site)
    first = establishment(name, target)
    if name != WHOLE and first not in CAPTURES[name]:
        _, answer = read(cp.ask_octets(rewritten(first.data, "192.0.2.7", None)))
        seid = read(CAPTURES[name][0].data)[0].seid or 0
        sessions[seid] = established(read(first.data)[1], answer)
    for seen in CAPTURES[name]:
        header, body = read(seen.data)
        request: Any = body
        if str(seen.source) == target and header.type == 51:
            sessions[request.up_fseid.seid] = answers[header.sequence]
        if str(seen.target) != target or not seen.from_control_plane:
            continue
        session = sessions.get(header.seid or 0)
        known = None if session is None else session.up_seid
        _, answer = read(cp.ask_octets(rewritten(seen.data, target, known)))
        if header.type == 50:
            answers[header.sequence] = established(request, answer)
            continue
        assert session is not None and getattr(answer, "cause", None) == 1
        for far in getattr(request, "update_fars", ()):
            if far.far_id != 1:
                continue
            if far.apply_action & Action.BUFF:
                session.idle = True
            elif session.idle and far.apply_action & Action.FORW:
                to = far.forwarding_parameters.outer_header_creation
                waiting, session.waiting, session.idle = session.waiting, [], False
                count = len(waiting)
                if count:
                    until(lambda: arrived.of(to.teid)[-count:] == waiting, "all come")  # noqa: B023
                came_back += 1
        if session.idle and not session.waiting and header.type == 52:
            fall_silent(site, cp, session)
    assert came_back >= times, "so often as in the capture"
