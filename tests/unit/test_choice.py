"""Which rule takes a packet, as `ofgtp trace` tells it: by the filters and by the flows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.cli import subject
from ofgtp.cli.rules import read_rules
from ofgtp.core.filters import PacketFilter
from ofgtp.core.flows.flow import Value
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import FTeid
from ofgtp.core.rules import filters
from ofgtp.core.sessions.rule import Rule
from ofgtp.core.trace import choice, probe, verdict
from ofgtp.core.trace.known import Case, Known
from ofgtp.core.trace.probe import Packet
from tests.support.lab import gateway

UE, HOST, PEER = IPv4Address("10.45.0.2"), IPv4Address("10.2.0.9"), IPv4Address("10.1.0.2")
VOICE = "permit out udp from 10.2.0.0/24 5004-5060 to assigned"


def bearer(name: str, precedence: int, *asked: Any, **more: Any) -> dict[str, Any]:
    plain = {"uplink": None, "qfi": None, "gate": "open", "error_indicated": False}
    return {"id": name, "precedence": precedence, "filters": list(asked), **plain, **more}


SESSION: dict[str, Any] = {
    "id": "phone",
    "gateway": "gw1",
    "ue_ip": str(UE),
    "uplink": {"teid": 0x1001, "remote_ip": None},
    "downlink": {"teid": 0x2001, "remote_ip": str(PEER)},
    "qfi": None,
    "bearers": [
        bearer("web", 20, {"protocol": "tcp", "remote_ports": "80,443"}),
        bearer(
            "voice",
            10,
            VOICE,
            uplink={"teid": 0x1002, "remote_ip": "10.1.0.7"},
            downlink={"teid": 0x2002, "remote_ip": "10.1.0.3"},
        ),
    ],
}
RULES = read_rules(SESSION)
KNOWN = Known(UE, "phone", None, 0x1001, None, FTeid(0x2001, PEER), rules=RULES)
UDP = Packet("uplink", UE, HOST, proto="udp", host_port=5004)
WEB = Packet("uplink", UE, HOST, proto="tcp", host_port=443)
PING = Packet("uplink", UE, HOST)


def down(packet: Packet) -> Packet:
    return replace(packet, direction="downlink")


def teid(packet: Packet, rules: tuple[Rule, ...] = RULES) -> int | None:
    rule = choice.expected(rules, packet)
    assert rule is not None
    return rule.teid


def test_the_tunnel_by_which_a_packet_should_come() -> None:
    assert (teid(UDP), teid(WEB), teid(PING)) == (0x1002, 0x1001, 0x1001)
    assert [choice.expected(RULES, down(each)).id for each in (UDP, WEB, PING)] == [  # type: ignore[union-attr]
        "voice",
        "web",
        "",
    ]
    assert teid(down(UDP)) is None, "by the core port"
    assert choice.expected((), UDP) is None


def test_a_plain_session_has_no_rules_to_choose_from() -> None:
    plain = {key: value for key, value in SESSION.items() if key != "bearers"}
    assert read_rules(plain) == ()


def test_who_should_send_it() -> None:
    voice = choice.expected(RULES, UDP)
    assert KNOWN.sender(voice) == IPv4Address("10.1.0.3"), "where the bearer's downlink goes"
    assert KNOWN.sender(choice.expected(RULES, WEB)) == PEER
    assert KNOWN.sender(None) == PEER
    assert KNOWN.pin_of(0x1002) == IPv4Address("10.1.0.7") and KNOWN.pin_of(0x1001) is None
    assert KNOWN.teids == {0x1001, 0x1002}
    assert {far.teid for far in KNOWN.tunnels} == {0x2001, 0x2002}


@pytest.mark.parametrize("shown", [{}, {"breakout": ["10.2.0.0/24"]}])
def test_a_relay(shown: dict[str, Any]) -> None:
    core = {"teid": 0x5001, "remote_teid": 0x6001, "remote_ip": "10.9.0.2"}
    relay = SESSION | {"core": core, "bearers": [], **shown}
    rules = read_rules(relay)
    far = replace(PING, host=IPv4Address("8.8.8.8"))
    assert (teid(PING, rules), teid(far, rules)) == (0x1001, 0x1001)
    assert teid(down(far), rules) == 0x5001
    assert teid(down(PING), rules) == (None if shown else 0x5001), "what broke out comes back so"


def test_the_flow_that_took_it() -> None:
    downlink = choice.of_tunnel(RULES, None)
    assert [rule.id for rule in downlink] == ["voice", "web", ""]
    taken = choice.taken_at(downlink, 65535 - 20, down(WEB))
    assert taken is not None and taken.rule.id == "web"
    assert taken.by is not None and choice.in_words(taken.by) == (
        "permit out tcp from any 80,443 to assigned"
    )
    assert choice.taken_at(downlink, 1234, down(WEB)) is None


def test_a_dscp_in_words() -> None:
    assert choice.in_words(PacketFilter(dscp=46)) == "DSCP 46"
    with_port = PacketFilter(protocol=17, remote_ports=((53, 53),), dscp=46)
    assert choice.in_words(with_port) == "permit out udp from any 53 to assigned, DSCP 46"


NEAR = st.integers(79, 82)
PORTS = st.lists(st.tuples(NEAR, NEAR).map(lambda each: (min(each), max(each))), max_size=2)


@given(
    protocol=st.sampled_from([None, 1, 6, 17]),
    remote=st.sampled_from([None, "10.2.0.0/24", "10.2.0.9", "10.3.0.0/16"]),
    sport=PORTS,
    dport=PORTS,
    dscp=st.sampled_from([None, 0, 46]),
    proto=st.sampled_from(["icmp", "tcp", "udp", "47"]),
    ports=st.tuples(NEAR, NEAR),
    marked=st.sampled_from([0, 46]),
    direction=st.sampled_from(["uplink", "downlink"]),
)
def test_a_filter_matches_what_its_flows_do(
    protocol: Any,
    remote: Any,
    sport: Any,
    dport: Any,
    dscp: Any,
    proto: str,
    ports: tuple[int, int],
    marked: int,
    direction: Any,
) -> None:
    from ofgtp.core.filters import parse_prefix

    if protocol not in (6, 17):
        sport = dport = []
    network = None if remote is None else parse_prefix(remote)
    asked = PacketFilter(protocol, network, tuple(sport), dscp=dscp, local_ports=tuple(dport))
    packet = Packet(direction, UE, HOST, proto, ports[0], ports[1], dscp=marked)
    flows = filters.matches(asked, uplink=direction == "uplink")
    assert choice.matches(asked, packet) == any(_meets(packet, flow) for flow in flows)


def _meets(packet: Packet, asked: dict[str, Value]) -> bool:
    has: dict[str, Any] = {
        "dl_type": 0x0800,
        "nw_src": packet.source,
        "nw_dst": packet.destination,
        "nw_proto": packet.number,
        "ip_dscp": packet.dscp,
        "ip_frag": 0,
        "reg8": 0,
    }
    if packet.ports:
        has |= {f"{packet.proto}_src": packet.ports[0], f"{packet.proto}_dst": packet.ports[1]}
    for name, value in asked.items():
        if name not in has:
            return False
        if isinstance(value, tuple):
            if has[name] & value[1] != value[0]:
                return False
        elif name.startswith("nw_") and name != "nw_proto":
            if has[name] not in value:  # type: ignore[operator]
                return False
        elif has[name] != value:
            return False
    return True


# --- what is said of drops that REST's own sessions do not meet, or seldom


def dropped(reason: DropReason, packet: Packet, taken: choice.Taken | None = None) -> Any:
    told = verdict.dropped(Case(packet, KNOWN, gateway()), reason, taken)
    assert not told.delivered and told.says and told.do
    return told


def test_no_rule() -> None:
    told = dropped(DropReason.NO_RULE, down(PING))
    assert told.reason == "no_rule" and "none of the rules of session phone takes it" in told.says
    assert told.run == "ofgtp session show phone --flows"


def test_what_a_control_plane_drops() -> None:
    told = dropped(DropReason.FAR_DROP, UDP)
    assert told.reason == "far_drop" and "a rule that the control plane has made" in told.says


def test_an_error_indication_about_a_bearer() -> None:
    taken = choice.Taken(RULES[1], None)
    told = dropped(DropReason.ERROR_INDICATED, down(UDP), taken)
    assert told.reason == "error_indicated" and "bearer voice of session phone" in told.says


def test_the_qfi_of_a_bearer_is_what_counts() -> None:
    shown = SESSION | {
        "qfi": 9,
        "rqi": False,
        "qfi_required": True,
        "qfi_check": True,
        "bearers": [bearer("voice", 10, VOICE, qfi=1)],
    }
    rule = read_rules(shown)[0]
    packet = replace(UDP, container=probe.container(5))
    told = dropped(DropReason.WRONG_QFI, packet, choice.Taken(rule, None))
    assert "takes QFI 1 alone" in told.says


def test_a_peer_that_the_bearer_is_not_pinned_to() -> None:
    packet = replace(UDP, teid=0x1002, peer=IPv4Address("10.1.0.8"))
    told = dropped(DropReason.NO_UPLINK_SESSION, packet)
    assert told.reason == "wrong_peer" and "pinned to 10.1.0.7" in told.says


def test_a_session_of_rules_as_its_flows_tell() -> None:
    """Without the API: the flow of a bearer's own TEID says that filters must match."""
    cookie = "cookie=0xf67030000000005, duration=1s, "
    flows = [
        f"{cookie}table=30, n_packets=0, priority=100,ip,reg0=0x1001,nw_src=10.45.0.2"
        " actions=set_field:0x81->reg6,set_field:0x80->reg4,goto_table:31",
        f"{cookie}table=30, n_packets=0, priority=100,ip,reg0=0x1002,nw_src=10.45.0.2"
        " actions=set_field:0x80000080->reg6,goto_table:31",
        f"{cookie}table=70, n_packets=0, priority=100,ip,nw_dst=10.45.0.2 actions="
        "set_field:0x80->reg6,set_field:0x109->reg4,set_field:0x2001->tun_id,"
        "set_field:10.1.0.2->tun_dst,goto_table:71",
        f"{cookie}table=71, n_packets=0, priority=65525,udp,reg6=0x80 actions="
        "set_field:0x1->reg4,set_field:0x2002->tun_id,set_field:10.1.0.3->tun_dst,goto_table:72",
    ]
    for told in (flows, flows[::-1]):
        known = subject._told_by(told, UE)
        assert known.teid == 0x1001 and known.teids == {0x1001, 0x1002}
        assert known.downlink == FTeid(0x2001, PEER)
        assert known.tunnels == {FTeid(0x2001, PEER), FTeid(0x2002, IPv4Address("10.1.0.3"))}
        assert known.qos is not None and known.qos.qfi == 9
