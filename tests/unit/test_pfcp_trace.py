"""What `ofgtp trace` makes of sessions of control planes: their PDRs are its rules."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from ofgtp.cli import pfcp_rules, subject
from ofgtp.control.pfcp import shown
from ofgtp.core.model import FTeid
from ofgtp.core.pfcp.rules import rules_of
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Gate, Interface
from ofgtp.core.trace.known import Case, Known
from ofgtp.core.trace.probe import Packet
from ofgtp.core.trace.verdict import of_rules
from tests.support.lab import gateway
from tests.unit import test_pfcp_sessions as made
from tests.unit.test_pfcp_sessions import DL, DL_FAR, GNB, OTHER_GNB, UE, UL, UL_FAR, VOICE

FLOWS = (
    UL._replace(qer_ids=(1,), pdi=UL.pdi._replace(qfis=(9,))),
    DL._replace(qer_ids=(1,)),
    DL._replace(
        pdr_id=3,
        precedence=7,
        qer_ids=(1, 2),
        pdi=g.Pdi(
            Interface.CORE, sdf_filters=(v.SdfFilter(VOICE, (184, 252), filter_id=4),), qfis=(1,)
        ),
    ),
)
GATES = v.GateStatus(Gate.OPEN, Gate.CLOSED)
QERS = made.QER._replace(rqi=True), g.CreateQer(2, GATES, v.Bitrates(0, 700))


def as_shown(session: PfcpSession) -> Any:
    return json.loads(json.dumps(shown.rules(session)))


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"create_pdrs": FLOWS, "create_qers": QERS},
        {"create_fars": (UL_FAR, DL_FAR._replace(apply_action=Action.DROP))},
        {"create_fars": (UL_FAR, made.IDLE_FAR)},
        {
            "create_pdrs": (UL, DL._replace(pdi=g.Pdi(Interface.CORE, v.ChooseFTeid()))),
            "create_fars": (g.CreateFar(1, Action.FORW, made.to_gnb(0x6001, OTHER_GNB)), DL_FAR),
        },
    ],
)
def test_the_command_finds_the_rules_that_the_controller_makes(asked: Any) -> None:
    session = made.establish(**asked).session
    assert pfcp_rules.read(as_shown(session)) == rules_of(session).rules


@pytest.mark.parametrize("ipv4", [UE, None])
def test_rules_of_a_session_with_ipv6(ipv4: IPv4Address | None) -> None:
    """The prefix is the session's: it need not stand with each rule."""
    ue = v.UeIpAddress(ipv4, IPv6Address("2001:db8:a:1::"), destination=True)
    down = DL._replace(pdi=DL.pdi._replace(ue_ip_address=ue))
    pdrs = {pdr.pdr_id: pdr for pdr in (UL, down)}
    session = made.establish(create_pdrs=FLOWS[:2], create_qers=QERS).session
    session = replace(session, pdrs=pdrs)
    wanted = rules_of(session, ipv6=True)
    assert wanted.ue_ipv6 is not None
    told = as_shown(session)
    for pdr in told["pdrs"]:
        pdr.pop("ue_ipv6", None)
    known = subject._of_control_plane(Known(ipv4, ue6=wanted.ue_ipv6), "smf.example.org", told)
    assert known.rules == wanted.rules
    assert known.owns(IPv6Address("2001:db8:a:1::7"))


def test_names_and_words() -> None:
    session = made.establish(create_pdrs=FLOWS, create_qers=QERS).session
    told = as_shown(session)
    assert pfcp_rules.names(told) == {
        "1": "PDR 1 (FAR 1, QER 1)",
        "2": "PDR 2 (FAR 2, QER 1)",
        "3": "PDR 3 (FAR 2, QERs 1, 2)",
    }
    lines = [*pfcp_rules.lines(told)]
    assert lines[0] == ("PDR 1 (FAR 1, QER 1): precedence 255, from access, TEID 0x80000001, QFI 9")
    assert f"SDF filter 4 ToS 0xb8/0xfc: {VOICE}" in lines[2]
    assert "FAR 1: FORW to core" in lines
    assert f"FAR 2: FORW to access, tunnel 0x2001 at {GNB}" in lines
    assert lines[-2:] == [
        "QER 1: gate open uplink, open downlink, MBR 5000 kbit/s up, 9000 kbit/s down,"
        " QFI 9 with RQI",
        "QER 2: gate open uplink, closed downlink, MBR 0 kbit/s up, 700 kbit/s down",
    ]


def test_what_helps_is_the_control_planes() -> None:
    """No command of ofgtp's changes such a session, so none is told."""
    session = made.establish(create_pdrs=FLOWS, create_qers=QERS).session
    rules = {rule.id: rule for rule in pfcp_rules.read(as_shown(session))}
    names = pfcp_rules.names(as_shown(session))
    known = Known(
        UE,
        "pfcp-77",
        downlink=FTeid(0x2001, GNB),
        rules=tuple(rules.values()),
        owner="smf.example.org",
        names=names,
    )
    packet = Packet(
        direction="downlink", ue=UE, host=GNB, proto="udp", ue_port=1, host_port=5004, size=84
    )
    case = Case(packet, known, gateway())
    found = [
        of_rules.gate_closed(case, rules["3"]),
        of_rules.idle_bearer(case, rules["2"]),
        of_rules.far_drop(case, rules["2"]),
        of_rules.quota_exhausted(case, rules["2"]),
        of_rules.no_rule(case),
        of_rules.wrong_bearer(case),
    ]
    assert "PDR 3 (FAR 2, QERs 1, 2) of session pfcp-77" in found[0].says
    for verdict in found:
        assert "smf.example.org" in str(verdict.do)
        assert verdict.run == "ofgtp session show pfcp-77 --rules"
        assert "ofgtp bearer" not in f"{verdict.do}"
