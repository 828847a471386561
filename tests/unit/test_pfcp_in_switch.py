"""PFCP sessions through service, store and agent: the switch has what it would be told anew."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.control.pfcp.sessions import PfcpSessions, Request
from ofgtp.control.pfcp.usage import Memory
from ofgtp.core.errors import OfgtpError
from ofgtp.core.model import FTeid, Session
from ofgtp.core.pfcp.node.actions import Change, Endpoint, Transaction
from ofgtp.core.pfcp.procedures import Terms
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.messages import read
from ofgtp.core.rules.session import session_flows
from ofgtp.core.sessions.detail import Detail
from ofgtp.core.sessions.rule import Rule, Source, ToCore, Tunnel
from ofgtp.core.sessions.shape import numbers_of
from ofgtp.southbound import openflow as of
from ofgtp.southbound.templates import Templates
from tests.support.agents import Net
from tests.support.pfcp import procedures, rewritten
from tests.support.sample import ENB, LINKS, detailed
from tests.unit.test_bearers_in_switch import as_wanted, gateways

SMF = IPv4Address("10.3.0.5")
CAPTURES = procedures()
RUNS = [
    (name, str(target))
    for name, messages in CAPTURES.items()
    for target in sorted({seen.target for seen in messages if seen.from_control_plane})
]


class Replay:
    """The requests of a capture to one user plane, and the SEIDs that stand for those in it."""

    def __init__(self, net: Net, target: str) -> None:
        agent = net.agents["gw1"]
        terms = Terms(agent.gateway, SMF, (), tuple(agent.protected))
        self.net, self.target = net, target
        own, now = IPv4Address("10.3.0.1"), 4_000_000_000
        self.pfcp = PfcpSessions(
            terms, own, net.store, lambda: now, Memory(), lambda *_: (), lambda *_: None
        )
        self.seids: dict[int, int] = {}

    def ask(self, messages: Sequence[bytes]) -> list[Any]:
        requests: list[Request] = []
        for data in messages:
            seid = int.from_bytes(data[4:12], "big")
            known = None if data[1] == 50 else self.seids.get(seid, 0)
            header, body = read(rewritten(data, self.target, known))
            source = Endpoint(SMF)
            transaction = Transaction(source, header.type, 1, header.seid or 0, 0, (SMF,), data)
            requests.append((body, transaction))
        return self.pfcp.carry_out(requests, self.net.service)

    def end(self) -> None:
        self.pfcp.change(Change(SMF, None, True), self.net.service)


@pytest.mark.parametrize(("name", "target"), RUNS)
def test_a_capture_leaves_what_its_sessions_are(name: str, target: str, tmp_path: Path) -> None:
    """After each request; a new connection finds all as it is, and changes nothing."""
    with gateways(tmp_path) as net:
        base, replay = net.have(), Replay(net, target)
        asked: dict[int, Any] = {}
        for seen in CAPTURES[name]:
            header, body = read(seen.data)
            if str(seen.target) == target and seen.from_control_plane:
                [asked[header.sequence]] = replay.ask([seen.data])
                as_wanted(net)
            elif str(seen.source) == target and header.type == 51:
                theirs: Any = body
                ours = asked[header.sequence]
                if not isinstance(ours, OfgtpError):
                    replay.seids[theirs.up_fseid.seid] = ours[0].up_fseid.seid
        begun = any(seen.data[1] == 50 and str(seen.target) == target for seen in CAPTURES[name])
        assert bool(replay.seids) == begun
        commits = net.tables["gw1"].commits
        net.detach()
        net.attach()
        as_wanted(net)
        assert net.tables["gw1"].commits == commits
        replay.end()
        as_wanted(net)
        assert net.have() == base


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(RUNS), st.data())
def test_so_does_any_part_of_one(run: tuple[str, str], data: st.DataObject) -> None:
    """Requests left out, and several carried out together: many are refused, and leave nothing."""
    name, target = run
    with TemporaryDirectory() as directory, gateways(Path(directory)) as net:
        base, replay, waiting = net.have(), Replay(net, target), list[bytes]()
        sequences: list[int] = []
        answers: dict[int, Any] = {}

        def carry_out() -> None:
            made = replay.ask(waiting)
            answers.update(zip(sequences, made, strict=True))
            assert all(isinstance(each, tuple | Refusal) for each in made), made
            waiting.clear()
            sequences.clear()
            as_wanted(net)

        for seen in CAPTURES[name]:
            header, body = read(seen.data)
            if str(seen.target) == target and seen.from_control_plane:
                if data.draw(st.integers(0, 4)) == 0:
                    continue
                waiting.append(seen.data)
                sequences.append(header.sequence)
            elif str(seen.source) == target and header.type == 51:
                # The SEID is known only when the answer is here.
                carry_out()
                ours, theirs = answers.get(header.sequence), body
                if isinstance(ours, tuple):
                    answer: Any = theirs
                    reply: Any = ours[0]
                    replay.seids[answer.up_fseid.seid] = reply.up_fseid.seid
        carry_out()
        replay.end()
        as_wanted(net)
        assert net.have() == base


def test_a_session_without_flows_has_a_template() -> None:
    session = detailed(ue_ip=None, uplink=None, downlink=None)
    detail = session.detail
    assert isinstance(detail, Detail)
    template = Templates(LINKS).of(session, detail)
    assert template.flows == 0
    assert template.add(numbers_of(session, detail), 5, 6) == b""


def of_prefix(prefix: str, *, by_rules: bool) -> Session:
    ue = IPv6Network(prefix)
    if not by_rules:
        return detailed(ue_ipv6=ue)
    rules = (
        Rule("1", Source.ACCESS, 9, ToCore(), teid=8, ue=(ue,)),
        Rule("2", Source.CORE, 9, Tunnel(FTeid(9, ENB)), ue=(ue,)),
    )
    return detailed(ue_ip=None, uplink=None, downlink=None, rules=rules)


@pytest.mark.parametrize("by_rules", [False, True])
@pytest.mark.parametrize("length", [48, 56, 63, 64, 65, 127, 128])
def test_a_ue_s_ipv6_prefix_is_a_number_of_its_session(length: int, by_rules: bool) -> None:
    """One template does for all prefixes of a length; it is held to the codec as it is made."""
    templates = Templates(LINKS)
    address = int(IPv6Address("2001:db8:a:f00d:7::"))
    made = []
    for number in (0, 1):
        prefix = IPv6Network((address ^ number << 80, length), strict=False)
        session = of_prefix(str(prefix), by_rules=by_rules)
        template = templates.of(session, session.detail or Detail())
        made.append(template.add(numbers_of(session, session.detail or Detail()), 5, 6))
        assert made[-1] == b"".join(
            of.bundle_add(5, of.flow_mod(of.Command.ADD, flow, xid), xid)
            for xid, flow in enumerate(session_flows(session, LINKS), 6)
        )
    assert len(templates._made) == 1
    assert made[0] != made[1]
