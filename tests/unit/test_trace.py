"""A packet's way in words: on answers of a real switch, recorded by tests/support/traces.py."""

from __future__ import annotations

import shlex
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import AccessRoute, FTeid
from ofgtp.core.packets.frames import checksum
from ofgtp.core.rules.terms import IPV4_TYPED
from ofgtp.core.trace import oftrace, probe, symptoms, verdict
from ofgtp.core.trace.explain import Story
from ofgtp.core.trace.known import Case, Known
from tests.support import traces
from tests.support.lab import gateway
from tests.support.traces import DOWN, SESSION, UP, WAYS, story

VERDICTS = {
    "up": "delivered",
    "up-ttl-100": "delivered",
    "up-ttl-128": "delivered",
    "up-ce": "delivered",
    "up-ce-incapable": "not_ecn_capable",
    "up-ect1": "delivered",
    "down": "delivered",
    "down-too-big": "too_big",
    "down-just-fits": "delivered",
    "down-no-arp": "no_arp",
    "down-no-route": "no_route",
    "down-idle": "idle_ue",
    "down-error-indicated": "error_indicated",
    "down-unknown-ue": "not_installed",
    "up-unknown-teid": "unknown_teid",
    "up-spoofed": "spoofed_source",
    "up-wrong-peer": "wrong_peer",
    "up-pinned": "delivered",
    "up-protected": "protected_destination",
    "up-to-ue-denied": "ue_to_ue",
    "up-to-ue": "delivered",
    "up-to-ue-too-big": "too_big",
    "up-access-denied": "access_denied",
    "up-foreign-drop": "foreign_flow",
    "up-foreign-pass": "delivered",
    "up-deleted": "not_installed",
    "up-next-hop": "next_hop_unresolved",
    "up-no-match": "no_match",
    "up-lease": "lease_expired",
    "down-lease": "lease_expired",
    "up-no-gtpu-port": "not_unwrapped",
    "down-no-gtpu-port": "no_port",
    "up-no-patch": "no_port",
    "up-no-flows": "no_flows",
    "up-no-port": "no_port",
    "up-no-bridge": "no_bridge",
    "n3-up": "delivered",
    "n3-up-ttl-1": "delivered",
    "n3-up-long": "delivered",
    "n3-up-longest": "delivered",
    "n3-up-checked": "delivered",
    "n3-up-wrong-qfi": "wrong_qfi",
    "n3-up-missing": "container_missing",
    "n3-up-optional": "delivered",
    "n3-up-too-long": "long_container",
    "n3-up-bad": "bad_container",
    "n3-up-type-0": "delivered",
    "n3-up-ce": "delivered",
    "n3-up-ce-incapable": "not_ecn_capable",
    "n3-up-chain": "extension_chain",
    "n3-up-not-ip": "not_ip",
    "n3-up-unknown-teid": "unknown_teid",
    "n3-up-to-4g": "delivered",
    "n3-up-4g": "delivered",
    "ipv6-up": "delivered",
    "ipv6-up-hops-100": "delivered",
    "ipv6-up-spoofed": "spoofed_source",
    "ipv6-up-link-local": "spoofed_source",
    "ipv6-up-protected": "protected_destination",
    "ipv6-up-to-ue-denied": "ue_to_ue",
    "ipv6-up-to-ue": "delivered",
    "ipv6-up-unknown-teid": "unknown_teid",
    "ipv6-up-next-hop": "next_hop_unresolved",
    "ipv6-up-ce": "delivered",
    "ipv6-up-without": "inner_ipv6",
    "ipv6-up-n3": "delivered",
    "ipv6-up-n3-long": "delivered",
    "ipv6-down": "delivered",
    "ipv6-down-just-fits": "delivered",
    "ipv6-down-too-big": "too_big",
    "ipv6-down-unknown-ue": "not_installed",
    "ipv6-down-idle": "idle_ue",
    "ipv6-down-n3": "delivered",
    "ipv6-solicits": "delivered",
    "ipv6-solicits-n3": "delivered",
    "ipv6-solicits-unknown-teid": "unknown_teid",
    "ipv6-solicits-idle": "idle_ue",
    "ipv6-solicits-without": "inner_ipv6",
    "rules-up-voice": "delivered",
    "rules-up-web": "delivered",
    "rules-up-own": "delivered",
    "rules-up-wrong": "wrong_bearer",
    "rules-down-voice": "delivered",
    "rules-down-closed": "gate_closed",
    "rules-down-own": "delivered",
    "relay-up": "delivered",
    "relay-up-breakout": "delivered",
    "relay-down": "delivered",
    "relay-down-breakout": "delivered",
    "n3-down": "delivered",
    "n3-down-just-fits": "delivered",
    "n3-down-too-big": "too_big",
    "n3-down-far-too-big": "too_big",
}


def tables(told: Story) -> list[list[int]]:
    """The numbers of the tables, part by part."""
    return [[step.hop.table for step in part.steps if step.hop] for part in told.parts]


def says(told: Story) -> str:
    return "\n".join(step.says for part in told.parts for step in part.steps)


@pytest.mark.parametrize("name", WAYS)
def test_verdicts(name: str) -> None:
    told = story(name)
    end = told.verdict
    assert (end.reason or "delivered") == VERDICTS[name]
    assert end.delivered == (end.reason is None)
    assert end.says and not end.says.endswith(".") and "\n" not in end.says
    assert end.delivered or end.do, "what helps is said"


def test_uplink_is_asked_for_twice_and_put_together() -> None:
    told = story("up")
    assert [part.title for part in told.parts] == [
        "In its tunnel, by eth1",
        "Out of its tunnel, by br-ofgtp-g",
        "Round by the patch, to br-ofgtp-i",
    ]
    assert tables(told) == [[0, 10, 12, 25], [0, 15, 16, 20], [0, 22, 28, 29, 30, 40, 50]]
    assert len(told.asked) == 2
    assert "TEID 0x1001 and peer 10.1.0.2" in says(told), "as the registers hold them"
    assert "flow of session phone-1: TEID 0x1001, from 10.45.0.2" in says(told)
    assert told.verdict.says == "it leaves by eth2 for the next hop 10.2.0.2"


@pytest.mark.parametrize("name", ["up-ttl-100", "up-ttl-128"])
def test_what_is_typed_wrongly_is_asked_for_once_more(name: str) -> None:
    told = story(name)
    assert [part.title for part in told.parts][3:] == ["Parsed anew, as an IPv4 packet"]
    assert tables(told)[2:] == [[0, 22, 27], [28, 29, 30, 40, 50]]
    assert len(told.asked) == 3
    assert "keeps TEID 0x1001 and peer 10.1.0.2, of what must be parsed anew" in says(told)


def test_downlink_goes_into_its_tunnel() -> None:
    told = story("down")
    assert tables(told) == [[0, 25, 60, 65], [66, 70], [0, 80]]
    assert "flow of session phone-1: into tunnel 0x2001 to 10.1.0.2" in says(told)
    assert "wrapped: GTP-U, TEID 0x2001, 10.1.0.1 > 10.1.0.2, DSCP 46; MAC address" in says(told)
    assert told.verdict.says == "it leaves by eth1 for 10.1.0.2, in tunnel 0x2001"


def test_the_size_decides_between_two_ways_that_the_switch_shows() -> None:
    assert tables(story("down-just-fits")) == [[0, 25, 60, 65], [66, 70], [0, 80]]
    big = story("down-too-big")
    assert tables(big) == [[0, 25, 60, 65, 76]]
    assert "the access MTU of 1500 leaves 1464" in big.verdict.says
    assert tables(story("up-to-ue"))[-3:] == [[0, 22, 28, 29, 30, 40, 62, 65], [66, 70], [0, 80]]
    assert tables(story("up-to-ue-too-big"))[-1] == [0, 22, 28, 29, 30, 40, 62, 65, 76]


N3_WAY = [[0, 10, 12, 25], [0, 15, 16, 20], [0, 22], [23, 24], [26]]


def test_a_container_is_found_taken_off_and_judged() -> None:
    told = story("n3-up")
    assert [part.title.split(":")[0] for part in told.parts[3:]] == [
        "Parsed anew, as if IPv6",
        "Parsed anew, as if NSH",
        "Parsed anew, as an IPv4 packet",
    ]
    assert tables(told) == [*N3_WAY, [28, 29, 30, 35, 40, 50]]
    assert len(told.asked) == 5
    assert "PDU Session Container of 4 octets found: QFI 9" in says(told)
    assert "QFI 9 is as good as any other" in says(told)
    assert told.verdict.says == "it leaves by eth2 for the next hop 10.2.0.2"
    assert "QFI 10 is the session's" in says(story("n3-up-checked"))
    assert "PDU Session Container of 12 octets found: QFI 10" in says(story("n3-up-long"))


def test_a_long_container_takes_one_pass_more() -> None:
    told = story("n3-up-longest")
    assert tables(told) == [*N3_WAY[:3], [23], [24], [26], [28, 29, 30, 35, 40, 50]]
    assert "PDU Session Container of 28 octets found: QFI 10" in says(told)
    assert told.verdict.delivered and len(told.asked) == 6


def test_what_becomes_of_other_containers() -> None:
    wrong = story("n3-up-wrong-qfi")
    assert tables(wrong) == [*N3_WAY, [28, 29, 30, 35]]
    assert wrong.verdict.says == (
        "session phone-1 takes QFI 10 alone (qfi_check), and the container has QFI 11"
    )
    assert "has 32 octets, and the switch can take off 28" in story("n3-up-too-long").verdict.says
    bad = story("n3-up-bad")
    assert tables(bad) == [*N3_WAY, [28, 29, 30, 35]]
    assert "01000a00 is a downlink PDU Session Container (PDU type 0" in bad.verdict.says
    assert bad.verdict.do and "--qfi-optional" in bad.verdict.do
    assert "header, of type 0x40, follows" in story("n3-up-chain").verdict.says
    assert story("n3-up-not-ip").verdict.says.startswith("no IP packet follows")


def test_a_downlink_container_where_none_is_required() -> None:
    told = story("n3-up-type-0")
    assert tables(told) == [*N3_WAY, [28, 29, 30, 40, 50]]
    assert "Container of 4 octets found of PDU type 0, as if downlink: QFI 10" in says(told)


def test_a_container_that_is_none_of_both() -> None:
    odd = Case(replace(UP, container=bytes.fromhex("01200900")), SESSION, gateway())
    said = verdict.dropped(odd, DropReason.BAD_CONTAINER).says
    assert said.startswith("01200900 is no uplink PDU Session Container")


@pytest.mark.parametrize(("name", "mark"), [("up-ce", "CE"), ("up-ect1", "ECT(1)")])
def test_a_mark_on_the_outer_header_is_followed(name: str, mark: str) -> None:
    told = story(name)
    port = f"br-ofgtp-{'e' if mark == 'CE' else 't'}"
    assert told.parts[1].title == f"Out of its tunnel, by {port}"
    first, out, *rest = tables(story("up"))
    assert tables(told) == [first, [0, 20], *rest], "what is marked is relayed by no short way"
    assert out == [0, 15, 16, 20]
    assert f"a router on its way has marked it {mark}: {port} unwraps it" in says(told)
    assert f"by the gtpu port for what is marked {mark}" in says(told)
    assert f"the mark goes into the UE's packet: {mark}" in says(told)
    assert "no router on its way has marked it" in says(story("up"))
    assert "no mark that goes into the UE's packet" in says(story("up"))


def test_a_mark_that_the_packet_cannot_bear() -> None:
    for name, last in (("up-ce-incapable", [28, 29]), ("n3-up-ce-incapable", [28, 29])):
        told = story(name)
        assert tables(told)[-1] == last
        assert "has marked it CE" in told.verdict.says and "RFC 6040" in told.verdict.says


def test_sessions_of_4g_and_5g_meet() -> None:
    assert tables(story("n3-up-4g"))[-1] == [28, 29, 30, 40, 50], "it is taken off all the same"
    missing = story("n3-up-missing")
    assert tables(missing)[-1] == [0, 22, 28, 29, 30, 35]
    assert missing.verdict.do and "ofgtp session set --no-qfi" in missing.verdict.do
    assert tables(story("n3-up-optional"))[-1] == [0, 22, 28, 29, 30, 40, 50]
    to_4g = story("n3-up-to-4g")
    assert to_4g.verdict.says == "it leaves by eth1 for 10.1.0.2, in tunnel 0x2003", "and no QFI"


def test_a_container_is_put_on() -> None:
    told = story("n3-down")
    assert tables(told) == [[0, 25, 60, 65], [66, 70, 72, 74], [0, 80]]
    assert "into tunnel 0x2001 to 10.1.0.2, with QFI 10 and RQI" in says(told)
    assert "PDU Session Container put in front, with QFI 10 and RQI" in says(told)
    assert "wrapped: GTP-U, TEID 0x2001" in says(told)
    assert told.verdict.says.endswith("in tunnel 0x2001, with QFI 10 and RQI")


def test_a_container_leaves_less_room() -> None:
    assert tables(story("n3-down-just-fits")) == [[0, 25, 60, 65], [66, 70, 72, 74], [0, 80]]
    big, far = story("n3-down-too-big"), story("n3-down-far-too-big")
    assert tables(big) == [[0, 25, 60, 65], [66, 70, 72, 74, 76]]
    assert tables(far) == [[0, 25, 60, 65, 76]]
    for told in (big, far):
        assert (
            "the access MTU of 1500 leaves 1456, since 36 are tunnel headers and 8 a PDU Session"
            " Container" in told.verdict.says
        )


def test_a_ue_of_another_session() -> None:
    told = story("up-to-ue")
    assert "flow of another session (number 3): into tunnel 0x2003 to 10.1.0.2" in says(told)
    assert told.verdict.says == "it leaves by eth1 for 10.1.0.2, in tunnel 0x2003"


def test_a_flow_that_somebody_added() -> None:
    dropped = story("up-foreign-drop")
    assert "not ofgtp's" in dropped.verdict.says and "table 30 (uplink)" in dropped.verdict.says
    assert dropped.verdict.run == (
        "ovs-ofctl -O OpenFlow14 --strict del-flows br-ofgtp"
        " 'table=30,priority=200,ip,nw_src=10.45.0.2'"
    )
    passed = story("up-foreign-pass")
    [hop] = passed.foreign
    assert (hop.cookie, hop.priority, hop.actions) == (0xBAD, 200, ("goto_table:40",))
    assert "NOT OFGTP'S FLOW (cookie 0xbad, priority 200)" in says(passed)
    assert story("up").foreign == ()


def test_what_is_in_the_way_names_who() -> None:
    assert "10.1.0.9 does not answer ARP on eth1" in story("down-no-arp").verdict.says
    assert "172.16.0.9: it is not in 10.1.0.0/24" in story("down-no-route").verdict.says
    assert "pinned to 10.1.0.7" in story("up-wrong-peer").verdict.says
    assert "not there" not in story("up-no-port").verdict.says
    assert story("up-no-port").verdict.says == "bridge br-ofgtp has no port eth1"
    assert story("down-no-gtpu-port").verdict.says == "bridge br-ofgtp has no port br-ofgtp-g"


def test_a_router_before_the_base_station_is_named() -> None:
    far = IPv4Address("172.16.0.9")
    route = AccessRoute(IPv4Network("172.16.0.0/16"), IPv4Address("10.1.0.254"))
    routed = Case(DOWN, SESSION, gateway(access_routes=(route,)))
    assert "the router 10.1.0.254, which leads to" in verdict.no_arp(routed, far).says
    assert "lost its address" in verdict.no_route(routed, far).says


def test_a_session_that_only_the_switch_knows() -> None:
    unknown = Case(UP, Known(traces.UE), gateway())
    said = verdict.dropped(unknown, DropReason.NO_UPLINK_SESSION)
    assert said.says == "the switch has no session for 10.45.0.2"
    assert verdict.dropped(unknown, DropReason.UNKNOWN_UE).reason == "unknown_ue"


@pytest.mark.parametrize("reason", DropReason)
def test_every_drop_reason_is_said(reason: DropReason) -> None:
    end = verdict.dropped(Case(UP, SESSION, gateway()), reason)
    assert not end.delivered and end.says and end.reason


# what is asked


def test_questions_are_quoted_for_names_of_any_kind() -> None:
    odd = gateway(access_port="eth1.7", bridge="br-x")
    asked = probe.from_access(UP, odd, "02:00:00:00:00:01").arguments("br-x")
    assert asked[:2] == ["ofproto/trace", "br-x"] and 'in_port="eth1.7",' in asked[2]
    assert shlex.split(shlex.join(asked)) == asked


@pytest.mark.parametrize("ttl", [1, 63, 64, 79, 80, 95, 96, 111, 112, 255])
def test_it_is_typed_as_the_switch_misreads_it(ttl: int) -> None:
    asked = probe.out_of_tunnel(replace(UP, ttl=ttl), gateway()).flow
    if 64 <= ttl < 80:
        assert f"packet_type=(1,{IPV4_TYPED & 0xFFFF:#x})" in asked
    elif 96 <= ttl < 112:
        assert "packet_type=(1,0x86dd)" in asked
    else:
        fields = dict(part.split("=") for part in asked.split(",") if part.startswith("dl_"))
        header = fields["dl_dst"] + ":" + fields["dl_src"]
        octets = bytes.fromhex(header.replace(":", ""))
        assert octets[0] == 0x45 and octets[8] == ttl
        rest = traces.UE.packed + traces.HOST.packed
        assert fields["dl_type"] == f"0x{rest[:2].hex()}"
        assert checksum(octets + rest) == 0, "the header is a right one"


def test_ports_are_turned_round_for_the_way_back() -> None:
    up = replace(UP, proto="tcp", ue_port=1000, host_port=80)
    assert str(up) == "TCP 10.45.0.2:1000 > 10.2.0.2:80, 84 octets"
    down = replace(DOWN, proto="udp", ue_port=1000, host_port=53)
    assert str(down) == "UDP 10.2.0.2:53 > 10.45.0.2:1000, 84 octets"
    assert "udp_src=53,udp_dst=1000" in probe.from_core(down, gateway(), "06:00:00:00:00:01").flow


# what the switch answers


def test_what_is_not_understood_is_passed_over() -> None:
    for text in ("", "no bridge at all\n", 'bridge("x")\n-----\n    resubmit(,28)\n???\n'):
        assert oftrace.read(text).hops == ()
    odd = oftrace.read('bridge("x")\n---\n30. No match.\n    drop\n 7. what is this\n    drop\n')
    assert [(hop.table, hop.found) for hop in odd.hops] == [(30, False), (7, False)]
    assert oftrace.read("Datapath actions: 2").tunnel is None


def test_registers_are_put_together_from_their_parts() -> None:
    hop = oftrace.read(
        'bridge("x")\n---\n22. mpls, priority 100\n    move:a->b\n'
        "     -> NXM_NX_REG1[0..19] is now 0x10002\n    move:c->d\n"
        "     -> NXM_NX_REG1[20..31] is now 0xa0\n"
    ).hops[0]
    assert hop.registers == {1: int(traces.PEER)}
    assert hop.cookie == 0 and hop.match == "mpls" and hop.actions == ("move:a->b", "move:c->d")


# what the API and the host know


def of_session(**changes: object) -> list[str]:
    session = {"state": "active", "reason": None} | changes
    return [each.says for each in symptoms.of_session(session)]


def test_states_of_a_session() -> None:
    assert of_session() == []
    assert of_session(state="failed", reason="table full") == [
        "the session is failed: the switch refused it: table full"
    ]
    assert "has not confirmed it" in of_session(state="pending")[0]
    assert "by 10.1.0.2" in of_session(state="error_indicated", reason="by 10.1.0.2")[0]


def test_states_of_a_gateway() -> None:
    good = {"name": "gw1", "connected": True, "in_sync": True, "next_hop": None, "problem": None}
    stale = {"ip": "10.2.0.2", "mac": "52:54:00:00:00:01", "state": "stale"}

    def told(**changes: object) -> list[str]:
        return [each.says for each in symptoms.of_controller(good | changes)]

    assert told() == []
    assert "not connected" in told(connected=False, in_sync=False)[0]
    assert "being compared" in told(in_sync=False)[0]
    assert "no such port" in told(problem="no such port")[0]
    assert "52:54:00:00:00:01" in told(next_hop=stale)[0]
    assert told(next_hop=stale | {"state": "unresolved"}) == [], "its way tells"


def test_paths() -> None:
    peer = {"ip": "10.1.0.2", "echo_answered_at": "2026-01-02T03:04:05Z"}

    def told(state: str) -> list[str]:
        return [each.level for each in symptoms.of_peer(peer | {"state": state})]

    assert (told("up"), told("unknown")) == ([], ["info"])
    assert told("down") == [], "that leads: see test_lately.py"


def test_counters_tell_on_which_side_to_look() -> None:
    def told(up: int, down: int, **ways: bool) -> list[str]:
        packets = {"uplink": {"packets": up}, "downlink": {"packets": down}}
        found = symptoms.of_counters({"counters": packets}, SESSION, gateway(), ways)
        return [each.says for each in found]

    both = {"uplink": True, "downlink": True}
    assert "does the base station send to 10.1.0.1 with TEID 0x1001" in told(0, 5, **both)[0]
    assert "does the next hop 10.2.0.2 route 10.45.0.2 back to 10.2.0.1" in told(5, 0, **both)[0]
    assert told(5, 5, **both) == []
    assert told(0, 0, uplink=False, downlink=False) == [], "the verdicts say it"


def test_an_uplink_pinned_elsewhere() -> None:
    elsewhere = replace(SESSION, pinned=IPv4Address("10.1.0.3"))
    [told] = symptoms.of_pin(elsewhere)
    assert "accepted from 10.1.0.3 alone, and the downlink goes to 10.1.0.2" in told.says
    for well in (SESSION, replace(SESSION, pinned=traces.PEER), replace(elsewhere, downlink=None)):
        assert list(symptoms.of_pin(well)) == []
    end = verdict.dropped(Case(UP, elsewhere, gateway()), DropReason.NO_UPLINK_SESSION)
    assert end.reason == "wrong_peer" and "10.1.0.2, where the downlink goes" in end.says
    assert end.do and "--peer 10.1.0.3" in end.do
    assert end.run == "ofgtp session set phone-1 --uplink-peer 10.1.0.2"
    other = Case(replace(UP, peer=IPv4Address("10.1.0.4")), elsewhere, gateway())
    end = verdict.dropped(other, DropReason.NO_UPLINK_SESSION)
    assert "downlink" not in end.says and end.do and "--peer" not in end.do
    assert end.run is None


def test_links() -> None:
    pulled = {"eth1": "no carrier", "eth2": "up"}
    up = symptoms.link_verdict("uplink", gateway(), pulled)
    down = symptoms.link_verdict("downlink", gateway(), pulled)
    assert up is not None and up.says == "port eth1 has no carrier: nothing comes in by it"
    assert down is not None and down.says == "port eth1 has no carrier: nothing goes out by it"
    assert symptoms.link_verdict("uplink", gateway(), {"eth1": "up", "eth2": "up"}) is None
    gone = symptoms.link_verdict("uplink", gateway(), {"eth1": "up", "eth2": "missing"})
    assert gone is not None and "eth2 is not there" in gone.says


def test_downlink_facts_of_a_session_without_one() -> None:
    idle = replace(SESSION, downlink=None)
    assert Case(DOWN, idle, gateway()).session.downlink is None
    end = verdict.dropped(Case(DOWN, idle, gateway()), DropReason.ERROR_INDICATED)
    assert end.says.startswith("the base station has said")
    assert SESSION.downlink == FTeid(0x2001, traces.PEER)


# --- sessions of several rules


@pytest.mark.parametrize(
    ("name", "bearer", "by"),
    [
        ("rules-up-voice", "voice", "permit out udp from 10.2.0.0/24 5004-5060 to assigned"),
        ("rules-down-voice", "voice", "permit out udp from 10.2.0.0/24 5004-5060 to assigned"),
        ("rules-up-web", "web", "permit out tcp from any to assigned, DSCP 46"),
        ("rules-down-closed", "web", "permit out tcp from any to assigned, DSCP 46"),
        ("rules-up-own", "", None),
        ("rules-down-own", "", None),
    ],
)
def test_which_bearer_and_why(name: str, bearer: str, by: str | None) -> None:
    told = story(name)
    assert told.taken is not None and told.taken.rule.id == bearer
    if by is None:
        assert "none of its bearers' filters matches: as the session's own" in says(told)
        assert "bearer" not in told.verdict.says
        return
    assert f"bearer {bearer}, precedence {told.taken.rule.precedence}, takes it" in says(told)
    assert f"{by} matches" in says(told)
    assert f"bearer {bearer}" in told.verdict.says


def test_no_bearer_takes_it() -> None:
    told = story("rules-up-wrong")
    assert told.taken is None
    assert "tunnel 0x1002 is that of bearer voice of session phone-1" in told.verdict.says
    assert "the session's own: it should come with TEID 0x1001" in told.verdict.says


def test_a_relay_and_its_breakout() -> None:
    told = story("relay-up")
    assert told.relayed and told.verdict.says == "it leaves by eth1 for 10.1.0.2, in tunnel 0x6001"
    assert "wrapped: GTP-U, TEID 0x6001, 10.1.0.1 > 10.1.0.2" in says(told)
    back = story("relay-down")
    assert back.relayed and back.verdict.says == "it leaves by eth1 for 10.1.0.2, in tunnel 0x2001"
    out = story("relay-up-breakout")
    assert not out.relayed and out.verdict.says == "it leaves by eth2 for the next hop 10.2.0.2"
    assert "permit out ip from 10.2.0.0/24 to assigned matches" in says(out)
    home = story("relay-down-breakout")
    assert not home.relayed and "in tunnel 0x2001" in home.verdict.says


def test_an_ipv6_packet_up() -> None:
    """Its source, in which no version stands, is read for an Ethernet frame's type."""
    told = story("ipv6-up")
    assert tables(told)[1:] == [[0, 15, 16, 20], [0, 22, 27], [28, 29, 30, 31, 40, 50]]
    assert [part.title for part in told.parts][3:] == ["Parsed anew, as an IPv6 packet"]
    assert "a T-PDU with an IPv6 packet: round by the patch" in says(told)
    assert "session phone-1: TEID 0x1001, from 2001:db8:a:1::7" in says(told)
    assert told.verdict.says == "it leaves by eth2 for the next hop 2001:db8:c::2"
    assert str(told.packet) == "ICMPv6 2001:db8:a:1::7 > 2001:db8:c::2, 104 octets"
    tcp = replace(told.packet, proto="tcp")
    assert str(tcp).startswith("TCP [2001:db8:a:1::7]:40000 > [2001:db8:c::2]:443")


def test_an_ipv6_packet_down_into_the_same_tunnel() -> None:
    told = story("ipv6-down")
    assert tables(told) == [[0, 25, 60, 65], [66, 70], [0, 80]]
    assert "wrapped: GTP-U, TEID 0x2001, 10.1.0.1 > 10.1.0.2, DSCP 46" in says(told)
    assert "2001:db8:a:1::7 is in a UE pool" in says(told)


def test_an_ipv6_packet_in_a_container() -> None:
    for name, octets in (("ipv6-up-n3", 4), ("ipv6-up-n3-long", 28)):
        told = story(name)
        assert told.parts[-1].title == "Parsed anew, as an IPv6 packet"
        assert f"PDU Session Container of {octets} octets found" in says(told)
        assert "an IPv6 packet follows it" in says(told)
    assert story("ipv6-down-n3").verdict.says.endswith("in tunnel 0x2001, with QFI 10")


def test_sources_of_ipv6() -> None:
    spoofed = story("ipv6-up-spoofed").verdict
    assert "for 10.45.0.2 and 2001:db8:a:1::/64 alone" in spoofed.says
    neighbour = story("ipv6-up-link-local").verdict
    assert neighbour.do and "must come from 2001:db8:a:1::/64" in neighbour.do
    without = story("ipv6-up-without").verdict
    assert without.says == "gateway gw1 has no IPv6: no prefix of it is in ue_pools"


def test_a_next_hop_of_ipv6_that_does_not_answer() -> None:
    end = story("ipv6-up-next-hop").verdict
    assert end.says == "the next hop 2001:db8:c::2 has not answered neighbour discovery on eth2"
    assert end.run == "tcpdump -ni eth2 icmp6"


@pytest.mark.parametrize("mtu", [1500, 1323])
def test_an_ipv6_packet_that_is_too_big(mtu: int) -> None:
    """Below the least MTU of IPv6 nobody is told of it, so that nothing helps but a larger one."""
    case = Case(replace(traces.DOWN6, size=1465), traces.BOTH, traces.OF_IPV6)
    asked = oftrace.Hop(
        0, 60, True, actions=(f"check_pkt_larger({mtu - 36 + 14})->NXM_NX_REG2[0]",)
    )
    end = verdict.too_big(case, asked)
    assert f"the access MTU of {mtu} leaves {mtu - 36}" in end.says
    assert end.do is not None and ("Packet Too Big" in end.do) == (mtu == 1500)
    assert end.run == (None if mtu == 1500 else "ip link set dev eth1 mtu 1324")
    up = verdict.too_big_uplink(case, asked)
    assert up.do is not None and "Packet Too Big" in up.do


def test_a_ue_that_looks_for_its_router() -> None:
    told = story("ipv6-solicits")
    assert says(told).endswith("a Router Solicitation: to the controller, which answers it")
    assert str(told.packet) == "Router Solicitation fe80::1:2:3:4 > ff02::2, 48 octets"
    assert "of its prefix, 2001:db8:a:1::/64" in told.verdict.says
    case = Case(traces.SOLICITS, traces.BOTH, traces.OF_IPV6)
    without = replace(case, session=replace(traces.BOTH, ue6=None))
    assert verdict.solicited(without).reason == "no_ipv6"
    pinned = replace(case, session=replace(traces.BOTH, pinned=IPv4Address("10.1.0.7")))
    assert verdict.solicited(pinned).reason == "wrong_peer"
    silent = replace(case, gateway=replace(traces.OF_IPV6, router_advertisement=False))
    assert verdict.dropped(silent, DropReason.NO_UPLINK_SESSION).reason == "no_router"


def test_no_answers_are_asked_for_of_each_version() -> None:
    counted = {"counters": {"uplink": {"packets": 9}, "downlink": {"packets": 0}}}
    (told,) = symptoms.of_counters(
        counted, traces.BOTH, traces.OF_IPV6, {"uplink": True, "downlink": True}
    )
    assert "next hop 10.2.0.2 route 10.45.0.2 back to 10.2.0.1?" in told.says
    assert "2001:db8:c::2 route 2001:db8:a:1::/64 back to 2001:db8:c::1?" in told.says


def test_what_needs_no_restart_is_reloaded_and_a_restart_says_what_it_ends() -> None:
    far = IPv4Address("172.16.0.9")
    case = Case(DOWN, SESSION, gateway())
    assert "ofgtp reload" in str(verdict.no_route(case, far).do)
    assert "ofgtp reload" in str(verdict.dropped(case, DropReason.ACCESS_DENIED).do)
    ends = 'a restart ends all tunnels (ownership = "controller")'
    for leased in (False, True):
        of = Case(DOWN, SESSION, gateway(leased=leased))
        for told in (verdict.dropped(of, DropReason.UE_TO_UE), verdict.no_port(of, "eth2")):
            assert "restart ofgtp" in str(told.do)
            assert (ends in str(told.do)) == leased
