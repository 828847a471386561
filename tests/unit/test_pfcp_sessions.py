"""PFCP sessions: what requests make of them, and what they are answered (TS 29.244, 7.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from itertools import count
from typing import Any

import pytest

from ofgtp.core.errors import Conflict, InvalidSession
from ofgtp.core.flows.flow import Flow
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import FTeid, Session
from ofgtp.core.pfcp.procedures import (
    Outcome,
    Terms,
    collision,
    deletion,
    establishment,
    modification,
    owned,
)
from ofgtp.core.pfcp.rules import rules_of
from ofgtp.core.pfcp.session import RULES_MAX
from ofgtp.core.pfcp.stored import from_bytes, to_bytes
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import (
    Action,
    Creation,
    FailedRule,
    Gate,
    Interface,
    Method,
    ModificationFlags,
    RuleKind,
)
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import (
    SessionDeletionRequest,
    SessionEstablishmentRequest,
    SessionModificationRequest,
    read,
    write,
)
from ofgtp.core.pfcp.wire.tables import REMOVED
from ofgtp.core.rules.session import owned_flows
from ofgtp.core.sessions.detail import FILTERS_MAX, Detail
from ofgtp.core.sessions.rule import Held, Refused, Rule, Source, ToCore, Tunnel
from ofgtp.core.sessions.rules import main_tunnels, meter_number
from tests.support.lab import gateway
from tests.support.pfcp import procedures
from tests.support.sample import LINKS

US, SMF = IPv4Address("10.1.0.1"), IPv4Address("10.3.0.5")
GNB, OTHER_GNB = IPv4Address("10.1.0.2"), IPv4Address("10.1.0.3")
UE = IPv4Address("10.45.0.2")
CP_FSEID, UP_FSEID = v.FSeid(0x1234, SMF), v.FSeid(0x77, US)
FIRST = 0x8000_0001


class Chooser:
    """TEIDs in turn."""

    def __init__(self, ip: IPv4Address = US, ip6: IPv6Address | None = None) -> None:
        self.local_ip = ip
        self.local_ip6 = ip6
        self._numbers = count(FIRST)

    def allocate(self) -> int:
        return next(self._numbers)


TERMS = Terms(gateway(), US)


def ohc(teid: int, ip: IPv4Address = GNB) -> v.OuterHeaderCreation:
    return v.OuterHeaderCreation(Creation.GTPU_UDP_IPV4, teid, ip)


def to_gnb(teid: int, ip: IPv4Address = GNB) -> g.ForwardingParameters:
    return g.ForwardingParameters(Interface.ACCESS, None, ohc(teid, ip))


def to_core() -> g.ForwardingParameters:
    return g.ForwardingParameters(Interface.CORE, "internet")


CHOOSE = v.ChooseFTeid(choose_id=5)
UL = g.CreatePdr(1, 255, g.Pdi(Interface.ACCESS, CHOOSE), v.OuterHeaderRemoval(6), 1)
DL = g.CreatePdr(
    2, 255, g.Pdi(Interface.CORE, ue_ip_address=v.UeIpAddress(UE, destination=True)), None, 2
)
UL_FAR = g.CreateFar(1, Action.FORW, to_core())
DL_FAR = g.CreateFar(2, Action.FORW, to_gnb(0x2001))
IDLE_FAR = g.CreateFar(2, Action.BUFF | Action.NOCP)
QER = g.CreateQer(1, v.GateStatus(Gate.OPEN, Gate.OPEN), v.Bitrates(5_000, 9_000), None, 9)


NOW = 4_000_000_000
"""Seconds since 1900."""


def request(**changes: Any) -> SessionEstablishmentRequest:
    fields: dict[str, Any] = {
        "node_id": SMF,
        "cp_fseid": CP_FSEID,
        "create_pdrs": (UL, DL),
        "create_fars": (UL_FAR, DL_FAR),
    }
    made = SessionEstablishmentRequest(**{**fields, **changes})
    _, body = read(write(made, 1, 0))
    assert isinstance(body, SessionEstablishmentRequest)
    assert body == made, "what the tests ask for is what comes over the wire"
    return body


def establish(chooser: Chooser | None = None, terms: Terms = TERMS, **changes: Any) -> Outcome:
    return establishment(request(**changes), UP_FSEID, chooser or Chooser(), terms, NOW)


def change(
    before: Outcome, chooser: Chooser | None = None, now: int = NOW, **members: Any
) -> Outcome:
    made = SessionModificationRequest(**members)
    _, body = read(write(made, 1, 0x77))
    assert isinstance(body, SessionModificationRequest)
    assert body == made
    return modification(before.session, body, chooser or Chooser(), TERMS, now)


def refused(work: Callable[[], object]) -> tuple[Cause, int | None, FailedRule | None]:
    with pytest.raises(Refusal) as caught:
        work()
    assert caught.value.reason
    return caught.value.cause, caught.value.ie, caught.value.rule


def pdr(number: int) -> FailedRule:
    return FailedRule(RuleKind.PDR, number)


def far(number: int) -> FailedRule:
    return FailedRule(RuleKind.FAR, number)


def by_id(outcome: Outcome) -> dict[str, Rule]:
    return {rule.id: rule for rule in outcome.made.rules}


# --- establishment


def test_establishment() -> None:
    made = establish(create_qers=(QER,), create_pdrs=(UL._replace(qer_ids=(1,)), DL))
    up, down = by_id(made)["1"], by_id(made)["2"]
    assert (up.source, up.teid, up.forward) == (Source.ACCESS, FIRST, ToCore())
    assert up.ue == (IPv4Network(UE),), "its source is the session's UE, that another PDR names"
    assert up.meters == (0,)
    assert (down.source, down.teid, down.ue) == (Source.CORE, None, (IPv4Network(UE),))
    assert down.forward == Tunnel(FTeid(0x2001, GNB))
    assert made.made.ue_ip == UE
    assert made.made.limits == ((0, 5_000),), "only the rate that a PDR names"
    answer: Any = made.answer
    assert (answer.node_id, answer.cause, answer.up_fseid) == (US, Cause.ACCEPTED, UP_FSEID)
    assert answer.created_pdrs == (g.CreatedPdr(1, v.FTeid(FIRST, US)),)
    assert made.session.cp_fseid == CP_FSEID


def test_the_container_has_the_qers_qfi() -> None:
    qer = QER._replace(rqi=True)
    made = establish(create_qers=(qer,), create_pdrs=(UL, DL._replace(qer_ids=(1,))))
    assert by_id(made)["2"].forward == Tunnel(FTeid(0x2001, GNB), 0x40 | 9)


def test_one_teid_for_a_choose_id_and_others_for_none() -> None:
    plain = v.ChooseFTeid()
    pdis = [g.Pdi(Interface.ACCESS, each) for each in (CHOOSE, CHOOSE, plain, plain)]
    pdrs = [UL._replace(pdr_id=9 + place, pdi=pdi) for place, pdi in enumerate(pdis)]
    made = establish(create_pdrs=(*pdrs, DL))
    answer: Any = made.answer
    created = [each.local_fteid.teid - FIRST for each in answer.created_pdrs]
    assert created == [0, 0, 1, 2]


def test_choose_without_a_family_is_ipv4() -> None:
    data = write(request(), 1, 0)
    old, new = b"\x00\x15\x00\x02\x0d\x05", b"\x00\x15\x00\x02\x0c\x05"
    assert data.count(old) == 1
    _, body = read(data.replace(old, new))
    assert isinstance(body, SessionEstablishmentRequest)
    made = establishment(body, UP_FSEID, Chooser(), TERMS, NOW)
    assert by_id(made)["1"].teid == FIRST
    both = UL._replace(pdi=g.Pdi(Interface.ACCESS, v.ChooseFTeid(ipv4=True, ipv6=True)))
    answer: Any = establish(create_pdrs=(both, DL)).answer
    assert answer.created_pdrs[0].local_fteid == v.FTeid(FIRST, US)


def test_an_fteid_of_the_control_planes_own_is_taken_and_not_answered() -> None:
    own = UL._replace(pdi=g.Pdi(Interface.ACCESS, v.FTeid(7, US)))
    made = establish(create_pdrs=(own, DL))
    assert by_id(made)["1"].teid == 7
    answer: Any = made.answer
    assert answer.created_pdrs == ()


IPV6 = IPv6Address("2001:db8::1")


@pytest.mark.parametrize(
    ("fteid", "cause"),
    [
        (v.ChooseFTeid(ipv4=False, ipv6=True), Cause.NO_RESOURCES),
        (v.FTeid(7, ipv6=IPV6), Cause.NO_RESOURCES),
        (v.FTeid(7, GNB), Cause.RULE_FAILURE),
    ],
)
def test_fteids_that_cannot_be_ours(fteid: Any, cause: Cause) -> None:
    pdrs = (UL._replace(pdi=g.Pdi(Interface.ACCESS, fteid)), DL)
    assert refused(lambda: establish(create_pdrs=pdrs)) == (cause, Ie.FTEID, pdr(1))


@pytest.mark.parametrize(
    ("ue", "cause"),
    [
        (v.UeIpAddress(ipv6=IPV6), Cause.NO_RESOURCES),
        (v.UeIpAddress(choose_ipv4=True), Cause.NOT_SUPPORTED),
        (v.UeIpAddress(IPv4Address("10.99.0.1")), Cause.RULE_FAILURE),
    ],
)
def test_ue_addresses_that_cannot_be(ue: v.UeIpAddress, cause: Cause) -> None:
    down = DL._replace(pdi=DL.pdi._replace(ue_ip_address=ue))
    assert refused(lambda: establish(create_pdrs=(UL, down))) == (cause, Ie.UE_IP_ADDRESS, pdr(2))


def test_a_session_has_one_ue_address() -> None:
    up = UL._replace(pdi=UL.pdi._replace(ue_ip_address=v.UeIpAddress(UE + 1)))
    wrong = (Cause.RULE_FAILURE, Ie.UE_IP_ADDRESS)
    assert refused(lambda: establish(create_pdrs=(up, DL)))[:2] == wrong
    v4v6 = DL.pdi._replace(ue_ip_address=v.UeIpAddress(UE, IPV6))
    assert establish(create_pdrs=(UL, DL._replace(pdi=v4v6))).made.ue_ip == UE


UNSUPPORTED = v.OuterHeaderCreation(Creation.UDP_IPV4, None, GNB, port=9)
V6 = v.OuterHeaderCreation(Creation.GTPU_UDP_IPV6, 7, None, IPV6)


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        (UNSUPPORTED, Cause.NOT_SUPPORTED),
        (V6, Cause.NO_RESOURCES),
        (ohc(7, US), Cause.RULE_FAILURE),
        (ohc(7, IPv4Address("127.0.0.1")), Cause.RULE_FAILURE),
        (ohc(7, IPv4Address("224.0.0.1")), Cause.RULE_FAILURE),
        (ohc(7, UE), Cause.RULE_FAILURE),
    ],
)
def test_tunnels_that_lead_nowhere(header: v.OuterHeaderCreation, cause: Cause) -> None:
    parameters = g.ForwardingParameters(Interface.ACCESS, None, header)
    fars = (UL_FAR, DL_FAR._replace(forwarding_parameters=parameters))
    assert refused(lambda: establish(create_fars=fars)) == (
        cause,
        Ie.OUTER_HEADER_CREATION,
        far(2),
    )


OURS6 = IPv6Interface("2001:db8:ac::1/64")
TERMS6 = Terms(gateway(access_ip6=OURS6), US)
AT_PEER6 = v.OuterHeaderCreation(Creation.GTPU_UDP_IPV6, 7, None, IPv6Address("2001:db8:ac::2"))


def with_ipv6(asked: Any, header: v.OuterHeaderCreation = AT_PEER6) -> Outcome:
    """What is made where the gateway has access_ip6."""
    pdrs = (UL._replace(pdi=g.Pdi(Interface.ACCESS, asked)), DL)
    parameters = g.ForwardingParameters(Interface.ACCESS, None, header)
    fars = (UL_FAR, DL_FAR._replace(forwarding_parameters=parameters))
    return establish(Chooser(ip6=OURS6.ip), TERMS6, create_pdrs=pdrs, create_fars=fars)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (v.ChooseFTeid(ipv4=False, ipv6=True), (None, OURS6.ip)),
        (v.ChooseFTeid(ipv4=True, ipv6=True), (US, OURS6.ip)),
        (v.ChooseFTeid(ipv4=True, ipv6=False), (US, None)),
        (v.ChooseFTeid(ipv4=False, ipv6=False), (US, None)),
    ],
)
def test_fteids_of_both_versions(asked: v.ChooseFTeid, given: tuple[Any, Any]) -> None:
    made: Any = with_ipv6(asked)
    [created] = made.answer.created_pdrs
    assert created.local_fteid == v.FTeid(FIRST, *given)
    assert by_id(made)["2"].forward == Tunnel(FTeid(7, IPv6Address("2001:db8:ac::2")))


def test_an_fteid_over_ipv6_that_the_control_plane_has_chosen() -> None:
    assert by_id(with_ipv6(v.FTeid(9, ipv6=OURS6.ip)))["1"].teid == 9
    other = v.FTeid(9, ipv6=IPV6)
    assert refused(lambda: with_ipv6(other)) == (Cause.RULE_FAILURE, Ie.FTEID, pdr(1))


def test_of_an_outer_header_of_both_versions_ipv4_is_taken() -> None:
    both = Creation.GTPU_UDP_IPV4 | Creation.GTPU_UDP_IPV6
    header = v.OuterHeaderCreation(both, 7, GNB, IPv6Address("2001:db8:ac::2"))
    made = with_ipv6(v.ChooseFTeid(), header)
    assert by_id(made)["2"].forward == Tunnel(FTeid(7, GNB))


def test_ipv6_peers_that_cannot_be() -> None:
    header = v.OuterHeaderCreation(Creation.GTPU_UDP_IPV6, 7, None, OURS6.ip)
    wrong = (Cause.RULE_FAILURE, Ie.OUTER_HEADER_CREATION, far(2))
    assert refused(lambda: with_ipv6(v.ChooseFTeid(), header)) == wrong


def test_a_relay_over_ipv6_is_refused() -> None:
    """From tunnel to tunnel packets go to peers that have IPv4."""
    parameters = g.ForwardingParameters(Interface.CORE, None, AT_PEER6)
    fars = (UL_FAR._replace(forwarding_parameters=parameters), DL_FAR)
    wrong = refused(lambda: establish(Chooser(ip6=OURS6.ip), TERMS6, create_fars=fars))
    assert wrong == (Cause.NO_RESOURCES, Ie.OUTER_HEADER_CREATION, pdr(1))


@pytest.mark.parametrize(
    ("dscp", "octet", "mask", "taken"),
    [
        (46, 46 << 2, 0xFC, True),
        (46, 46 << 2 | 1, 0xFC, True),
        (0, 0, 0xFC, True),
        (46, 46 << 2, 0xFF, False),
        (46, 10 << 2, 0xFC, False),
        (None, 0, 0xFC, False),
    ],
)
def test_marking_is_the_gateways(dscp: int | None, octet: int, mask: int, taken: bool) -> None:
    """The switch has no action for the outer header of one packet."""
    marked = to_gnb(7)._replace(transport_level_marking=v.TrafficClass(octet, mask))
    fars = (UL_FAR, DL_FAR._replace(forwarding_parameters=marked))
    terms = Terms(gateway(dscp=dscp), US)
    if taken:
        assert set(by_id(establish(terms=terms, create_fars=fars))) == {"1", "2"}
    else:
        wanted = (Cause.NOT_SUPPORTED, Ie.TRANSPORT_LEVEL_MARKING, far(2))
        assert refused(lambda: establish(terms=terms, create_fars=fars)) == wanted


def test_no_tunnel_yet_is_idle() -> None:
    for header in (ohc(0, IPv4Address(0)), ohc(0), None):
        parameters = g.ForwardingParameters(Interface.ACCESS, None, header)
        fars = (UL_FAR, DL_FAR._replace(forwarding_parameters=parameters))
        assert by_id(establish(create_fars=fars))["2"].forward == Refused(DropReason.IDLE_UE)


def test_actions() -> None:
    for action, forward in (
        (Action.BUFF | Action.NOCP, Held()),
        (Action.BUFF, Held()),
        (Action.DROP, Refused(DropReason.FAR_DROP)),
        (Action.DROP | Action.NOCP, Held()),
    ):
        fars = (UL_FAR, DL_FAR._replace(apply_action=action))
        assert by_id(establish(create_fars=fars))["2"].forward == forward
    fars = (UL_FAR._replace(apply_action=Action.BUFF | Action.NOCP), DL_FAR)
    uplink = by_id(establish(create_fars=fars))["1"].forward
    assert uplink == Refused(DropReason.IDLE_UE), "nobody is told of what a UE sends"
    gate = QER._replace(gate_status=v.GateStatus(Gate.CLOSED, Gate.OPEN))
    pdrs = (UL._replace(qer_ids=(1,)), DL._replace(qer_ids=(1,)))
    made = by_id(establish(create_pdrs=pdrs, create_qers=(gate,)))
    assert made["1"].forward == Refused(DropReason.GATE_CLOSED)
    assert isinstance(made["2"].forward, Tunnel)


def test_forwarding_without_parameters_is_67() -> None:
    bare = DL_FAR._replace(forwarding_parameters=None)
    missing = (Cause.CONDITIONAL_IE_MISSING, Ie.FORWARDING_PARAMETERS, far(2))
    assert refused(lambda: establish(create_fars=(UL_FAR, bare))) == missing
    unused = g.CreateFar(3, Action.FORW)
    assert refused(lambda: establish(create_fars=(UL_FAR, DL_FAR, unused)))[2] == far(3)


def test_a_pdr_without_a_far_is_67() -> None:
    pdrs = (UL, DL._replace(far_id=None))
    wanted = (Cause.CONDITIONAL_IE_MISSING, Ie.FAR_ID, pdr(2))
    assert refused(lambda: establish(create_pdrs=pdrs)) == wanted


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ({"create_pdrs": (UL, DL, UL)}, pdr(1)),
        ({"create_fars": (UL_FAR, DL_FAR, DL_FAR)}, far(2)),
        ({"create_qers": (QER, QER)}, FailedRule(RuleKind.QER, 1)),
        ({"create_pdrs": (UL, DL._replace(far_id=9))}, pdr(2)),
        ({"create_pdrs": (UL._replace(qer_ids=(9,)), DL)}, pdr(1)),
        ({"create_pdrs": (UL._replace(urr_ids=(9,)), DL)}, pdr(1)),
        ({"create_fars": (UL_FAR, DL_FAR._replace(bar_id=9))}, far(2)),
    ],
)
def test_rules_that_stand_twice_or_nowhere_are_73(members: Any, rule: FailedRule) -> None:
    assert refused(lambda: establish(**members)) == (Cause.RULE_FAILURE, None, rule)


def test_numbers_of_rules_have_caps() -> None:
    qers = [QER._replace(qer_id=number) for number in range(RULES_MAX + 1)]
    assert refused(lambda: establish(create_qers=tuple(qers)))[0] is Cause.NO_RESOURCES
    assert establish(create_qers=tuple(qers[1:]))
    three = tuple(qers[:3])
    pdrs = (UL._replace(qer_ids=(0, 1, 2)), DL)
    wanted = (Cause.NO_RESOURCES, Ie.QER_ID, pdr(1))
    assert refused(lambda: establish(create_pdrs=pdrs, create_qers=three)) == wanted
    # Two are policed one after the other only if the first is that of all in the tunnel.
    other = UL._replace(pdr_id=3, precedence=9, qer_ids=())
    pdrs = (UL._replace(qer_ids=(0, 1)), DL, other)
    assert refused(lambda: establish(create_pdrs=pdrs, create_qers=three)) == wanted
    pdrs = (UL._replace(qer_ids=(0, 1)), DL, other._replace(qer_ids=(1,)))
    assert by_id(establish(create_pdrs=pdrs, create_qers=three))["1"].meters == (2, 0)


def test_filters_have_a_cap() -> None:
    wide = v.SdfFilter("permit out udp from any 1-65534 to assigned 1-3")
    filters = tuple(wide for _ in range(FILTERS_MAX))
    pdrs = [DL._replace(pdr_id=3 + n, pdi=DL.pdi._replace(sdf_filters=filters)) for n in range(8)]
    wanted = (Cause.NO_RESOURCES, Ie.SDF_FILTER)
    assert refused(lambda: establish(create_pdrs=(UL, DL, *pdrs)))[:2] == wanted


# --- filters


VOICE = "permit out udp from 10.2.0.0/24 5004 to assigned"


def flow(uplink: v.SdfFilter, downlink: v.SdfFilter) -> dict[str, Any]:
    """A QoS flow as Open5GS adds one."""
    down = g.CreatePdr(4, 10, g.Pdi(Interface.CORE, sdf_filters=(downlink,)), None, 2)
    up = g.CreatePdr(5, 10, g.Pdi(Interface.ACCESS, CHOOSE, sdf_filters=(uplink,)), None, 1)
    return {"create_pdrs": (down, up)}


def test_a_flow_without_a_tunnel_yet_is_passed_over() -> None:
    """Its packets take the session's other tunnel; once it has had one, it is idle without."""
    sdf = v.SdfFilter(VOICE)
    down = g.CreatePdr(4, 10, g.Pdi(Interface.CORE, sdf_filters=(sdf,)), None, 4)
    waiting = g.CreateFar(4, Action.BUFF | Action.NOCP)
    made = change(establish(), create_pdrs=(down,), create_fars=(waiting,))
    assert set(by_id(made)) == {"1", "2"}
    whole = g.UpdateForwardingParameters(Interface.ACCESS, outer_header_creation=ohc(0x2009))
    active = change(made, update_fars=(g.UpdateFar(4, Action.FORW, whole),))
    assert by_id(active)["4"].forward == Tunnel(FTeid(0x2009, GNB))
    idle = change(active, update_fars=(g.UpdateFar(4, Action.BUFF | Action.NOCP),))
    assert by_id(idle)["4"].forward == Held()
    dropped = change(made, update_fars=(g.UpdateFar(4, Action.DROP),))
    assert by_id(dropped)["4"].forward == Refused(DropReason.FAR_DROP)
    last = by_id(establish(create_fars=(UL_FAR, IDLE_FAR)))["2"]
    assert last.forward == Held(), "the last one stays"


def test_a_filter_named_by_its_number_is_another_pdrs() -> None:
    made = change(establish(), **flow(v.SdfFilter(filter_id=3), v.SdfFilter(VOICE, filter_id=3)))
    rules = by_id(made)
    assert rules["4"].filters == rules["5"].filters != ()
    assert [rule.id for rule in made.made.rules] == ["4", "5", "1", "2"], "by their precedence"
    assert rules["4"].ue == (IPv4Network(UE),), "the session's"
    assert rules["5"].teid == FIRST, "the CHOOSE ID means that of before"
    answer: Any = made.answer
    assert answer.created_pdrs == (g.CreatedPdr(5, v.FTeid(FIRST, US)),)
    wanted = (Cause.RULE_FAILURE, Ie.SDF_FILTER, pdr(5))
    other = flow(v.SdfFilter(filter_id=4), v.SdfFilter(VOICE, filter_id=3))
    assert refused(lambda: change(establish(), **other)) == wanted
    # A change of the one is one of the other.
    update = g.UpdatePdr(
        4, pdi=g.Pdi(Interface.CORE, sdf_filters=(v.SdfFilter(VOICE + " 77", filter_id=3),))
    )
    after = by_id(change(made, update_pdrs=(update,)))
    assert after["5"].filters == after["4"].filters != rules["4"].filters


@pytest.mark.parametrize(
    ("sdf", "cause"),
    [
        (v.SdfFilter("permit in ip from any to any"), Cause.RULE_FAILURE),
        (v.SdfFilter("permit out 256 from any to any"), Cause.RULE_FAILURE),
        (v.SdfFilter("permit out ip from host.example to any"), Cause.RULE_FAILURE),
        (v.SdfFilter(VOICE, spi=9), Cause.NOT_SUPPORTED),
        (v.SdfFilter(VOICE, traffic_class=(0x20, 0xFF)), Cause.NOT_SUPPORTED),
    ],
)
def test_filters_that_cannot_be_matched(sdf: v.SdfFilter, cause: Cause) -> None:
    bad = flow(v.SdfFilter(VOICE), sdf)
    assert refused(lambda: change(establish(), **bad)) == (cause, Ie.SDF_FILTER, pdr(4))


def test_filters_for_ipv6_match_nothing_and_refuse_nothing() -> None:
    sdf = v.SdfFilter("permit out 58 from ff02::2/128 to assigned")
    made = change(establish(), **flow(sdf, sdf))
    assert set(by_id(made)) == {"1", "2"}


UE6 = v.UeIpAddress(UE, IPv6Address("2001:db8:a:1::2"), destination=True)
TERMS_POOLS6 = Terms(gateway(ue_pools6=(IPv6Network("2001:db8:a::/48"),)), US)
SOLICITS = "permit out 58 from ff02::2/128 to assigned"


def of_open5gs(
    text: str = SOLICITS,
    *,
    to: Any = None,
    action: Action = Action.FORW,
    destination: Interface = Interface.CP_FUNCTION,
    ue: v.UeIpAddress = UE6,
) -> dict[str, Any]:
    """What an SMF of Open5GS has besides, for Router Solicitations and what it answers."""
    solicits = UL._replace(
        pdr_id=4,
        precedence=100,
        pdi=g.Pdi(Interface.ACCESS, CHOOSE, sdf_filters=(v.SdfFilter(text),)),
        far_id=3,
    )
    parameters = g.ForwardingParameters(destination, None, to or ohc(1, OTHER_GNB))
    answers = g.CreatePdr(3, 100, g.Pdi(Interface.CP_FUNCTION, v.ChooseFTeid()), None, 2)
    down = DL._replace(pdi=DL.pdi._replace(ue_ip_address=ue))
    return {
        "create_pdrs": (UL, down, answers, solicits),
        "create_fars": (UL_FAR, DL_FAR, g.CreateFar(3, action, parameters)),
    }


def test_router_solicitations_go_to_the_control_plane() -> None:
    made = establish(terms=TERMS_POOLS6, **of_open5gs())
    assert made.made.router == FTeid(1, OTHER_GNB)
    assert set(by_id(made)) == {"1", "2", "3"}
    assert made.detail.router == FTeid(1, OTHER_GNB)
    back = by_id(made)["3"]
    assert (back.source, back.tunnelled) == (Source.CONTROL, True)
    assert back.forward == Tunnel(FTeid(0x2001, GNB))
    again = from_bytes(to_bytes(made.session), made.session.node_id, made.session.up_seid)
    assert rules_of(again, ipv6=True).router == FTeid(1, OTHER_GNB)


@pytest.mark.parametrize(
    "given",
    [
        of_open5gs("permit out 17 from ff02::2/128 to assigned"),
        of_open5gs("permit out 58 from ff02::1/128 to assigned"),
        of_open5gs(destination=Interface.CORE),
        of_open5gs(action=Action.DROP),
        of_open5gs(to=ohc(1, IPv4Address("192.0.2.9"))),
        of_open5gs(ue=v.UeIpAddress(UE, destination=True)),
    ],
    ids=["UDP", "all nodes", "not to it", "dropped", "out of reach", "IPv4 alone"],
)
def test_router_solicitations_that_the_gateway_answers(given: dict[str, Any]) -> None:
    assert establish(terms=TERMS_POOLS6, **given).made.router is None


def test_a_control_planes_tunnel_may_change() -> None:
    made = establish(terms=TERMS_POOLS6, **of_open5gs())
    moved = g.UpdateForwardingParameters(Interface.CP_FUNCTION, None, ohc(2, OTHER_GNB))
    request = SessionModificationRequest(update_fars=(g.UpdateFar(3, None, moved),))
    after = modification(made.session, request, Chooser(), TERMS_POOLS6, NOW)
    assert after.made.router == FTeid(2, OTHER_GNB)


def test_what_comes_in_a_tunnel_from_the_core_has_no_filters() -> None:
    pdi = g.Pdi(Interface.CORE, CHOOSE, sdf_filters=(v.SdfFilter(VOICE),))
    pdrs = (UL, DL._replace(pdi=pdi))
    wanted = (Cause.NOT_SUPPORTED, Ie.SDF_FILTER, pdr(2))
    assert refused(lambda: establish(create_pdrs=pdrs)) == wanted


# --- relays, and what waits


def test_a_relay_does_not_look_into_packets() -> None:
    """As an SGW-C asks for it: no precedence, no UE address."""
    both = (
        UL._replace(precedence=None),
        DL._replace(precedence=None, pdi=g.Pdi(Interface.CORE, v.ChooseFTeid())),
    )
    fars = (g.CreateFar(1, Action.FORW, to_gnb(0x6001, OTHER_GNB)), DL_FAR)
    made = establish(create_pdrs=both, create_fars=fars)
    assert made.made.ue_ip is None
    assert all(rule.tunnelled for rule in made.made.rules)
    assert by_id(made)["1"].forward == Tunnel(FTeid(0x6001, OTHER_GNB))
    assert [rule.teid for rule in made.made.rules] == [FIRST, FIRST + 1]


def test_a_relays_tunnel_has_one_rule() -> None:
    """The switch has one flow for all that comes by it: that of the first rule."""
    second = UL._replace(pdr_id=3, precedence=256, far_id=3)
    fars = [
        g.CreateFar(number, Action.FORW, to_gnb(0x6000 + number, OTHER_GNB)) for number in (1, 3)
    ]
    made = establish(create_pdrs=(second, UL), create_fars=tuple(fars))
    assert set(by_id(made)) == {"1"}
    flows_of(made)


def test_what_base_stations_forward_to_each_other_is_not_looked_at() -> None:
    """As an SMF asks for it (indirect forwarding): by QFI, and with the QERs of the flows."""
    chooser = Chooser()
    before = establish(chooser, create_qers=(QER,))
    chosen = v.ChooseFTeid(choose_id=10)
    new = [
        UL._replace(
            pdr_id=4 + qfi,
            precedence=4096,
            pdi=g.Pdi(Interface.ACCESS, chosen, "internet", qfis=(qfi,)),
            far_id=2 + qfi,
            qer_ids=(1,),
        )
        for qfi in (1, 2)
    ]
    fars = tuple(g.CreateFar(2 + qfi, Action.FORW, to_gnb(0x6001, OTHER_GNB)) for qfi in (1, 2))
    after = change(before, chooser, create_pdrs=tuple(new), create_fars=fars)
    rules = by_id(after)
    assert set(rules) == {"1", "2", "5"}, "one flow for all that comes by the tunnel"
    assert rules["5"].tunnelled and rules["5"].forward == Tunnel(FTeid(0x6001, OTHER_GNB))
    assert (rules["5"].qfis, rules["5"].meters) == ((), ())
    assert rules["1"] == by_id(before)["1"], "uplink goes on as before"
    flows_of(after)
    gone = change(after, remove_pdrs=(g.RemovePdr(5), g.RemovePdr(6)))
    assert by_id(gone) == by_id(before)


def rated(number: int, up: int, down: int) -> g.CreateQer:
    return QER._replace(qer_id=number, mbr=v.Bitrates(up, down), qfi=None)


def test_a_relays_tunnels_have_the_lower_of_two_rates() -> None:
    """As an I-UPF of free5GC is asked for it: the rates of the flow and of the session."""
    pdrs = (
        UL._replace(qer_ids=(1, 2)),
        DL._replace(pdi=g.Pdi(Interface.CORE, v.ChooseFTeid()), qer_ids=(1, 2)),
    )
    onward = to_gnb(0x6001, OTHER_GNB)._replace(destination_interface=Interface.CORE)
    fars = (g.CreateFar(1, Action.FORW, onward), DL_FAR)
    qers = (rated(1, 5_000, 9_000), rated(2, 6_000, 8_000))
    made = establish(create_pdrs=pdrs, create_fars=fars, create_qers=qers)
    assert {number: rule.meters for number, rule in by_id(made).items()} == {"1": (0,), "2": (3,)}
    assert dict(made.made.limits) == {0: 5_000, 3: 8_000}
    passed = {flow.meter for flow in flows_of(made)}
    assert passed == {meter_number(1, 0), meter_number(1, 3)}, "by whatever way they go"
    slower = change(made, update_qers=(g.UpdateQer(2, mbr=v.Bitrates(1_000, 9_500)),))
    assert {number: rule.meters for number, rule in by_id(slower).items()} == {
        "1": (2,),
        "2": (1,),
    }


def test_filters_of_a_session_without_ue_address_are_refused() -> None:
    pdi = UL.pdi._replace(sdf_filters=(v.SdfFilter(VOICE),))
    fars = (g.CreateFar(1, Action.FORW, to_gnb(0x6001, OTHER_GNB)),)
    wanted = (Cause.NOT_SUPPORTED, Ie.SDF_FILTER, pdr(1))
    pdrs = (UL._replace(pdi=pdi),)
    assert refused(lambda: establish(create_pdrs=pdrs, create_fars=fars)) == wanted
    # the address may come later, and until then nothing passes
    drop = UL_FAR._replace(apply_action=Action.DROP)
    waits = establish(create_pdrs=pdrs, create_fars=(drop,))
    after = change(waits, create_pdrs=(DL,), create_fars=(DL_FAR,))
    assert by_id(after)["1"].filters and by_id(after)["1"].ue


def test_a_qers_meters_stay_where_they_are() -> None:
    """Others come and go, whatever their ids: what a meter has let through is not forgotten."""
    made = establish(
        create_pdrs=(UL._replace(qer_ids=(5,)), DL._replace(qer_ids=(5,))),
        create_qers=(rated(5, 5_000, 9_000),),
    )
    assert dict(made.made.limits) == {0: 5_000, 1: 9_000}
    third = DL._replace(pdr_id=3, precedence=9, qer_ids=(2,))
    third = third._replace(pdi=third.pdi._replace(sdf_filters=(v.SdfFilter(VOICE),)))
    more = change(made, create_qers=(rated(2, 0, 700),), create_pdrs=(third,))
    assert dict(more.made.limits) == {0: 5_000, 1: 9_000, 3: 700}, "not before it, as by its id"
    less = change(
        more,
        remove_qers=(g.RemoveQer(5),),
        update_pdrs=(g.UpdatePdr(1, qer_ids=(2,)), g.UpdatePdr(2, qer_ids=(2,))),
    )
    assert dict(less.made.limits) == {3: 700}
    assert less.session.places == {2: 1}
    anew = change(less, create_qers=(rated(9, 1, 1), rated(1, 1, 1)))
    assert anew.session.places == {2: 1, 1: 0, 9: 2}, "what is free is taken again"
    stored = from_bytes(to_bytes(less.session), SMF, 0x77)
    assert stored.places == less.session.places


def test_teids_of_pdrs_that_wait_are_kept() -> None:
    made = establish(create_pdrs=(UL,), create_fars=(UL_FAR,))
    assert made.made.rules == ()
    assert made.made.teids == (FIRST,), "no UE address is known: nothing can come by it"
    after = change(made, create_pdrs=(DL,), create_fars=(DL_FAR,))
    assert set(by_id(after)) == {"1", "2"}
    assert after.made.teids == ()


def test_from_the_control_plane() -> None:
    control = g.CreatePdr(3, 255, g.Pdi(Interface.CP_FUNCTION, v.ChooseFTeid()), None, 2)
    rule = by_id(establish(create_pdrs=(UL, DL, control)))["3"]
    assert (rule.source, rule.teid, rule.ue) == (Source.CONTROL, FIRST + 1, ())
    assert rule.forward == Tunnel(FTeid(0x2001, GNB))


# --- modification


def test_a_handover_and_its_end_marker() -> None:
    before = establish()
    parameters = g.UpdateForwardingParameters(
        outer_header_creation=ohc(0x2002, OTHER_GNB), flags=ModificationFlags.SNDEM
    )
    after = change(before, update_fars=(g.UpdateFar(2, None, parameters),))
    assert by_id(after)["2"].forward == Tunnel(FTeid(0x2002, OTHER_GNB))
    assert after.end_markers == (FTeid(0x2001, GNB),)
    assert change(after, update_fars=(g.UpdateFar(2, None, parameters),)).end_markers == ()
    quiet = parameters._replace(flags=None)
    assert change(before, update_fars=(g.UpdateFar(2, None, quiet),)).end_markers == ()
    answer: Any = after.answer
    assert answer.cause == Cause.ACCEPTED
    assert not hasattr(answer, "node_id")


def test_idle_and_back() -> None:
    made = establish()
    idle = change(made, update_fars=(g.UpdateFar(2, Action.BUFF | Action.NOCP),))
    assert by_id(idle)["2"].forward == Held()
    back = change(idle, update_fars=(g.UpdateFar(2, Action.FORW),))
    assert by_id(back)["2"].forward == Tunnel(FTeid(0x2001, GNB)), "the stored parameters"
    new = establish(create_fars=(UL_FAR, IDLE_FAR))
    missing = (Cause.CONDITIONAL_IE_MISSING, Ie.FORWARDING_PARAMETERS, far(2))
    update = g.UpdateFar(2, Action.FORW)
    assert refused(lambda: change(new, update_fars=(update,))) == missing
    bare = g.UpdateForwardingParameters(outer_header_creation=ohc(3))
    missing = (Cause.CONDITIONAL_IE_MISSING, Ie.DESTINATION_INTERFACE, far(2))
    update = g.UpdateFar(2, Action.FORW, bare)
    assert refused(lambda: change(new, update_fars=(update,))) == missing
    whole = bare._replace(destination_interface=Interface.ACCESS)
    after = change(new, update_fars=(g.UpdateFar(2, Action.FORW, whole),))
    assert by_id(after)["2"].forward == Tunnel(FTeid(3, GNB))


def test_what_is_empty_is_taken_away_and_what_is_not_there_stays() -> None:
    pdrs = (UL._replace(qer_ids=(1,), urr_ids=(1,)), DL)
    urr = g.CreateUrr(1, Method.VOLUME, 2)
    made = establish(create_pdrs=pdrs, create_qers=(QER,), create_urrs=(urr,))
    kept = change(made, update_pdrs=(g.UpdatePdr(1, precedence=7),)).session
    assert (kept.pdrs[1].qer_ids, kept.pdrs[1].precedence) == ((1,), 7)
    gone = change(made, update_pdrs=(g.UpdatePdr(1, qer_ids=REMOVED, precedence=REMOVED),))
    assert (gone.session.pdrs[1].qer_ids, gone.session.pdrs[1].urr_ids) == ((), (1,))
    assert gone.session.pdrs[1].precedence is None
    qer = g.UpdateQer(1, mbr=REMOVED, gate_status=REMOVED)
    without = change(made, update_qers=(qer,)).session.qers[1]
    assert (without.mbr, without.qfi, without.gate_status) == (None, 9, QER.gate_status)
    parameters = g.UpdateForwardingParameters(outer_header_creation=REMOVED)
    bare = change(made, update_fars=(g.UpdateFar(2, None, parameters),))
    assert by_id(bare)["2"].forward == Refused(DropReason.IDLE_UE)
    update = g.UpdateFar(2, REMOVED, REMOVED)
    assert refused(lambda: change(made, update_fars=(update,)))[0] is Cause.CONDITIONAL_IE_MISSING


def test_an_empty_network_instance_keeps_the_old() -> None:
    made = establish()
    parameters = g.UpdateForwardingParameters(network_instance=REMOVED)
    after = change(made, update_fars=(g.UpdateFar(1, None, parameters),)).session
    assert after.fars[1].forwarding_parameters == to_core()
    named = parameters._replace(network_instance="ims")
    after = change(made, update_fars=(g.UpdateFar(1, None, named),)).session
    stored = after.fars[1].forwarding_parameters
    assert stored is not None
    assert stored.network_instance == "ims"


def test_a_pdi_without_keys_keeps_the_old_ones() -> None:
    made = establish()
    sdf = v.SdfFilter(VOICE)
    update = g.UpdatePdr(2, pdi=g.Pdi(Interface.CORE, sdf_filters=(sdf,)))
    rule = by_id(change(made, update_pdrs=(update,)))["2"]
    assert rule.ue == (IPv4Network(UE),)
    assert len(rule.filters) == 1
    whole = v.UeIpAddress(UE)
    update = g.UpdatePdr(1, pdi=g.Pdi(Interface.ACCESS, ue_ip_address=whole))
    assert by_id(change(made, update_pdrs=(update,)))["1"].teid == FIRST


def test_removals() -> None:
    made = establish()
    gone = change(
        made,
        remove_pdrs=(g.RemovePdr(1), g.RemovePdr(2), g.RemovePdr(77)),
        remove_fars=(g.RemoveFar(1), g.RemoveFar(2)),
    )
    assert gone.made.rules == () == gone.made.teids
    assert gone.made.ue_ip is None
    assert gone.session.chosen == {}, "nobody has that TEID any more"
    chooser = Chooser()
    chooser.allocate()
    back = change(gone, chooser, create_pdrs=(UL, DL), create_fars=(UL_FAR, DL_FAR))
    assert by_id(back)["1"].teid == FIRST + 1
    assert refused(lambda: change(made, remove_fars=(g.RemoveFar(1),)))[2] == pdr(1)
    # what is removed goes first
    again = change(made, remove_pdrs=(g.RemovePdr(2),), create_pdrs=(DL,))
    assert by_id(again) == by_id(made)


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ({"update_pdrs": (g.UpdatePdr(9, precedence=1),)}, pdr(9)),
        ({"update_fars": (g.UpdateFar(9, Action.DROP),)}, far(9)),
        ({"update_qers": (g.UpdateQer(9, qfi=1),)}, FailedRule(RuleKind.QER, 9)),
        ({"update_bars": (g.UpdateBar(9),)}, FailedRule(RuleKind.BAR, 9)),
        ({"create_fars": (DL_FAR,)}, far(2)),
    ],
)
def test_changes_of_what_is_not_there_are_73(members: Any, rule: FailedRule) -> None:
    assert refused(lambda: change(establish(), **members)) == (Cause.RULE_FAILURE, None, rule)


def test_another_cp_seid() -> None:
    made = establish()
    assert change(made).session.cp_fseid == CP_FSEID
    assert change(made, cp_fseid=v.FSeid(5, SMF)).session.cp_fseid == v.FSeid(5, SMF)


def test_a_refused_change_leaves_the_session() -> None:
    made = establish()
    again = establish()
    bad = (g.UpdateFar(2, Action.DROP), g.UpdateFar(9, Action.DROP))
    refused(lambda: change(made, update_fars=bad))
    assert made == again


# --- whose they are, and what collides


def test_unknown_and_foreign_sessions_look_the_same() -> None:
    session = establish().session
    assert owned(session, 0x77, [SMF]) is session
    assert owned(session, 0x77, []) is session
    unknown = refused(lambda: owned(None, 0x77, [SMF]))
    assert unknown == (Cause.SESSION_NOT_FOUND, None, None)
    assert refused(lambda: owned(session, 0x77, [GNB])) == unknown
    named = establish(node_id="smf.example").session
    assert owned(named, 0x77, ["SMF.Example"]) is named


def test_collisions() -> None:
    session = establish().session
    of_teid, of_ue = Conflict("rules", "x", "ue-1"), Conflict("ue_ip", "x", "ue-1")
    assert collision(of_teid, session, restores=False).cause == Cause.INVALID_F_TEID_ALLOCATION
    assert collision(of_teid, session, restores=True).cause == Cause.RESTORATION_FAILURE
    assert collision(of_ue, session, restores=False).cause == Cause.REJECTED
    framed = InvalidSession("framed_routes.0", "x")
    assert collision(framed, session, restores=False).cause == Cause.RULE_FAILURE


def test_framed_ipv6_routes() -> None:
    """Of a gateway with IPv6 pools; elsewhere they count for nothing, as IPv6 addresses do."""
    terms = Terms(gateway(ue_pools6=(IPv6Network("2001:db8:a::/48"),)), US)
    ue = v.UeIpAddress(UE, IPv6Address("2001:db8:a:1::"), destination=True)

    def behind(*routes: str, **changes: Any) -> g.CreatePdr:
        pdi = DL.pdi._replace(ue_ip_address=ue, framed_ipv6_routes=routes)
        return DL._replace(pdi=pdi._replace(**changes))

    # The prefix, a next hop and metrics (RFC 3162, 2.5).
    told = behind("2001:db8:f::/48 2001:db8:a:1::7 1", "2001:db8:e:7::/64")
    routes = IPv6Network("2001:db8:f::/48"), IPv6Network("2001:db8:e:7::/64")
    made = establish(terms=terms, create_pdrs=(UL, told)).made
    assert made.framed_routes == routes
    assert {*routes} < {*made.rules[0].ue} and {*routes} < {*made.rules[1].ue}
    assert establish(create_pdrs=(UL, told)).made.framed_routes == ()
    both = behind("2001:db8:f::/48", framed_routes=("192.168.7.0/24",))
    made = establish(terms=terms, create_pdrs=(UL, both)).made
    assert made.framed_routes == (IPv4Network("192.168.7.0/24"), IPv6Network("2001:db8:f::/48"))
    wanted = (Cause.RULE_FAILURE, Ie.FRAMED_IPV6_ROUTE, pdr(DL.pdr_id))
    strict = Terms(terms.gateway, US, protected=(IPv6Network("fe80::/10"),))
    for wrong in ("2001:db8:f::7/48", "192.168.7.0/24", " ", "x", "2001:db8:a:7::/64", "fe80::/64"):
        bad = behind(wrong)
        assert refused(lambda bad=bad: establish(terms=strict, create_pdrs=(UL, bad))) == wanted  # type: ignore[misc]
    overlaps = InvalidSession("framed_routes.0", "2001:db8:f::/48 overlaps a prefix of session 'x'")
    session = establish(terms=terms, create_pdrs=(UL, told)).session
    assert collision(overlaps, session, restores=False).ie == Ie.FRAMED_IPV6_ROUTE


def test_network_instances_are_those_of_the_configuration() -> None:
    terms = Terms(gateway(), US, ("Internet",))
    assert establish(terms=terms)
    other = UL._replace(pdi=UL.pdi._replace(network_instance="ims"))
    wanted = (Cause.RULE_FAILURE, Ie.NETWORK_INSTANCE, pdr(1))
    assert refused(lambda: establish(terms=terms, create_pdrs=(other, DL))) == wanted


def test_the_answer_to_a_deletion() -> None:
    answer = deletion(establish().session, NOW)
    assert write(answer, 9, 0x1234).hex() == "2137001100000000000012340000090000130001" + "01"


def test_the_main_tunnels() -> None:
    """What a list of sessions shows."""

    def shown(made: Outcome) -> tuple[int | None, Tunnel | None]:
        return main_tunnels(Session(1, "s", "gw1", UE, None, None, detail=made.detail))

    made = establish()
    assert shown(made) == (FIRST, Tunnel(FTeid(0x2001, GNB)))
    added = change(made, **flow(v.SdfFilter(VOICE), v.SdfFilter(VOICE)))
    assert shown(added) == (FIRST, Tunnel(FTeid(0x2001, GNB)))
    assert shown(establish(create_fars=(UL_FAR, IDLE_FAR))) == (FIRST, None)
    assert shown(establish(create_pdrs=(UL,))) == (None, None)


# --- what control planes have sent


def session_of(outcome: Outcome) -> Session:
    """The session that is made of it."""
    made = outcome.made
    detail = Detail(
        slot=1, way=1, rules=made.rules, limits=made.limits, framed_routes=made.framed_routes
    )
    return Session(1, "s", "gw1", made.ue_ip, None, None, detail=detail)


def flows_of(outcome: Outcome) -> list[Flow]:
    """The flows of its rules, each key once."""
    made = outcome.made
    flows = [each.flow for each in owned_flows(session_of(outcome), LINKS)]
    keys = Counter(each.key for each in flows)
    assert not made.rules or keys
    assert set(keys.values()) <= {1}
    return flows


CAPTURES = procedures()


def _reported(answer: Any) -> list[tuple[int, int]]:
    """URRs, and why they are reported. Octets are not in the captures' rules."""
    return [(each.urr_id, each.trigger) for each in answer.usage_reports]


@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture_is_accepted(name: str) -> None:
    """Each request of a real control plane, and as many F-TEIDs as the real user plane chose. Of
    sessions that began before the capture did, that of another one takes the place."""
    early = CAPTURES["5g-session"][0]
    choosers: dict[IPv4Address, Chooser] = {}
    asked: dict[tuple[IPv4Address, int], Outcome | None] = {}
    sessions: dict[tuple[IPv4Address, int], Outcome] = {}
    removed: dict[tuple[IPv4Address, int], set[int]] = {}

    def terms(ip: IPv4Address) -> Terms:
        pools = IPv4Network("10.45.0.0/16"), IPv4Network("10.46.0.0/16")
        here = IPv4Interface(f"{ip}/24")
        core = IPv4Interface("198.51.100.1/24")
        return Terms(gateway(access_ip=here, core_ip=core, ue_pools=pools), ip)

    def begin(data: bytes, ip: IPv4Address) -> Outcome:
        _, body = read(data)
        assert isinstance(body, SessionEstablishmentRequest)
        chooser = choosers.setdefault(ip, Chooser(ip))
        return establishment(body, v.FSeid(len(sessions) + 1, ip), chooser, terms(ip), NOW)

    requests = 0
    for seen in CAPTURES[name]:
        header, body = read(seen.data)
        if seen.from_control_plane:
            requests += 1
            key = seen.target, header.seid or 0
            outcome: Outcome | None = None
            if isinstance(body, SessionEstablishmentRequest):
                outcome = begin(seen.data, seen.target)
            elif isinstance(body, SessionModificationRequest):
                before = sessions.get(key) or begin(early.data, seen.target)
                chooser = choosers.setdefault(seen.target, Chooser(seen.target))
                outcome = modification(before.session, body, chooser, terms(seen.target), NOW)
                sessions[key] = outcome
                removed[seen.target, header.sequence] = {each.urr_id for each in body.remove_urrs}
            if outcome is not None:
                flows_of(outcome)
            if isinstance(body, SessionDeletionRequest):
                before = sessions.get(key) or begin(early.data, seen.target)
                outcome = replace(before, answer=deletion(before.session, NOW))
            asked[seen.target, header.sequence] = outcome
        elif header.type in (51, 53, 55):
            theirs: Any = body
            made = asked[seen.source, header.sequence]
            assert made is not None
            ours: Any = made.answer
            if header.type != 51:
                # Open5GS's user plane does not report a URR that is removed.
                ends = removed.get((seen.source, header.sequence), set())
                assert _reported(theirs) == [
                    each for each in _reported(ours) if each[0] not in ends
                ]
                assert ends <= {urr for urr, _ in _reported(ours)}
            if header.type == 55:
                continue
            assert [each.pdr_id for each in ours.created_pdrs] == [
                each.pdr_id for each in theirs.created_pdrs
            ]
            if header.type == 51:
                sessions[seen.source, theirs.up_fseid.seid] = made
    assert requests


def test_a_captured_handover_asks_for_end_markers() -> None:
    left = []
    made: Outcome | None = None
    ip = CAPTURES["suite-5g-xn-handover-end-marker"][0].target
    pools = (IPv4Network("10.45.0.0/16"),)
    here = gateway(access_ip=IPv4Interface(f"{ip}/24"), ue_pools=pools)
    for seen in CAPTURES["suite-5g-xn-handover-end-marker"]:
        _, body = read(seen.data)
        if isinstance(body, SessionEstablishmentRequest) and made is None:
            made = establishment(body, v.FSeid(1, ip), Chooser(ip), Terms(here, ip), NOW)
        elif isinstance(body, SessionModificationRequest) and made is not None:
            if seen.frame > 37:
                break
            made = modification(made.session, body, Chooser(ip), Terms(here, ip), NOW)
            left += made.end_markers
    assert left == [FTeid(1, IPv4Address("192.0.2.2")), FTeid(1, IPv4Address("192.0.2.3"))]
