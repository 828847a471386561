"""`ofgtp route` and `ofgtp tunnel`: the words of iproute2 and of libgtpnl."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.cli import route_lines, route_words
from ofgtp.cli.values import ues_of
from tests.support.agents import Net
from tests.support.background import Background
from tests.support.command import Shell

ROUTE = "10.45.0.7 encap gtp id 0x2001 dst 10.1.0.2 lid 0x1001 dev gw1"


def sessions(ofgtp: Shell) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(ofgtp("session list --json").out)["items"]
    return items


# --- route


def test_a_route_is_a_session(ofgtp: Shell) -> None:
    assert ofgtp(f"route add {ROUTE}").lines == []  # silent, as ip is
    (session,) = sessions(ofgtp)
    assert (session["id"], session["gateway"]) == ("gw1-10.45.0.7", "gw1")
    assert session["ue_ip"] == "10.45.0.7"
    assert session["uplink"]["teid"] == 0x1001
    assert session["downlink"] == {"teid": 0x2001, "remote_ip": "10.1.0.2"}
    assert ofgtp("route").lines == [ROUTE]
    assert ofgtp("route del 10.45.0.7").lines == []
    assert ofgtp("route show").lines == []


@pytest.mark.parametrize(
    "written, shown",
    [
        (ROUTE, ROUTE),
        ("to 10.45.0.7/32 dev gw1 encap gtp lid 4097 dst 10.1.0.2 id 8193", ROUTE),
        (f"{ROUTE} from 10.1.0.3", ROUTE.replace("dev", "from 10.1.0.3 dev")),
        ("10.45.0.7 encap gtp lid 1 dev gw1", "10.45.0.7 encap gtp lid 0x1 dev gw1"),
        (f"{ROUTE} qfi 9", ROUTE.replace("dev", "qfi 9 dev")),
        (f"{ROUTE} qfi none", ROUTE),
        (f"{ROUTE} pending", ROUTE),
    ],
)
def test_what_is_shown_can_be_pasted(ofgtp: Shell, written: str, shown: str) -> None:
    ofgtp(f"route add {written}")
    (line,) = ofgtp("route show").lines
    assert line == shown
    before = sessions(ofgtp)
    ofgtp("route del 10.45.0.7")
    ofgtp(f"route add {line}")
    again = sessions(ofgtp)
    for each in (*before, *again):
        del each["created_at"], each["updated_at"]
    assert again == before


@pytest.mark.parametrize("word", ["change", "replace"])
def test_the_qfi_stays(ofgtp: Shell, word: str) -> None:
    """Where a route does not name it; and what else is said of containers."""
    qos = {"qfi": 9, "rqi": True, "qfi_required": False, "qfi_check": True}
    given = {"id": "phone", "gateway": "gw1", "ue_ip": "10.45.0.7", **qos}
    assert ofgtp("session import -", stdin=json.dumps(given).encode()).code == 0
    assert ofgtp(f"route {word} {ROUTE}").lines == []
    (session,) = sessions(ofgtp)
    assert (session["id"], session["downlink"]["teid"]) == ("phone", 0x2001)
    assert session.items() >= qos.items()
    assert ofgtp("tunnel add gw1 v1 5 6 10.45.0.7 10.1.0.9").code == 1  # refused, not replaced
    assert sessions(ofgtp) == [session]
    assert ofgtp(f"route {word} {ROUTE} qfi 10").lines == []
    (session,) = sessions(ofgtp)
    assert session.items() >= (qos | {"qfi": 10}).items()
    assert ofgtp(f"route {word} {ROUTE} qfi none").lines == []
    (session,) = sessions(ofgtp)
    assert session["qfi"] is None and not session["qfi_check"]


def test_routes_are_found_by_their_qfi(ofgtp: Shell) -> None:
    ofgtp(f"route add {ROUTE} qfi 9")
    ofgtp("route add 10.45.0.8 encap gtp lid 2 dev gw1")
    assert ofgtp("route show qfi 9").lines == [ROUTE.replace("dev", "qfi 9 dev")]
    assert ofgtp("route show qfi none").lines == ["10.45.0.8 encap gtp lid 0x2 dev gw1"]
    assert ofgtp("route show qfi 8").lines == []
    assert ofgtp("route del 10.45.0.7 qfi 8").code == 4
    for wrong in ("qfi 64", "qfi 0", "qfi", "qfi 1 qfi 2"):
        assert ofgtp(f"route add 10.45.0.9 encap gtp {wrong}").code == 2


@pytest.mark.parametrize(
    "short, word",
    [
        *(("a", "add"), ("add", "add"), ("c", "change"), ("r", "replace"), ("rep", "replace")),
        *(("d", "del"), ("del", "del"), ("delete", "del"), ("s", "show"), ("sh", "show")),
        *(("l", "show"), ("ls", "show"), ("list", "show"), ("lst", "show")),
    ],
)
def test_commands_may_be_short(ofgtp: Shell, short: str, word: str) -> None:
    assert ofgtp(f"route {short} --help").lines[0].startswith(f"Usage: ofgtp route {word} ")


def test_a_route_shows_that_it_does_not_work(api: Background, ofgtp: Shell) -> None:
    api.do(Net.detach)
    done = ofgtp(f"route add {ROUTE}")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("the switch has not confirmed it")
    assert ofgtp("route").lines == [f"{ROUTE} pending"]


def test_add_refuses_what_is_there(ofgtp: Shell) -> None:
    ofgtp(f"route add {ROUTE}")
    done = ofgtp(f"route add {ROUTE}")
    assert (done.code, done.line) == (
        1,
        "ofgtp: there is a route to 10.45.0.7 already, session gw1-10.45.0.7",
    )
    ofgtp("session add phone --gateway gw1 --ue-ip 10.45.0.8")
    done = ofgtp("route add 10.45.0.8 encap gtp dev gw1")
    assert done.code == 1 and "in use by session 'phone'" in done.line


def test_replace_and_change_find_the_session(ofgtp: Shell) -> None:
    """By the UE's address, whatever its id: it is the same session afterwards."""
    ofgtp("session add phone --gateway gw1 --ue-ip 10.45.0.7 --uplink-teid 0x1001")
    ofgtp("route replace 10.45.0.7 encap gtp id 1 dst 10.1.0.2 dev gw1")
    assert ofgtp("route").lines == ["10.45.0.7 encap gtp id 0x1 dst 10.1.0.2 lid 0x1001 dev gw1"]
    ofgtp("route change 10.45.0.7 encap gtp id 2 dst 10.1.0.3")
    (session,) = sessions(ofgtp)
    assert (session["id"], session["uplink"]["teid"]) == ("phone", 0x1001)
    assert session["downlink"] == {"teid": 2, "remote_ip": "10.1.0.3"}
    ofgtp(f"route replace {ROUTE.replace('0.7', '0.9').replace('0x1001', '7')}")
    assert [each["id"] for each in sessions(ofgtp)] == ["phone", "gw1-10.45.0.9"]


def test_show_and_delete_only_what_matches(ofgtp: Shell) -> None:
    ofgtp(f"route add {ROUTE}")
    ofgtp("route add 10.45.0.8 encap gtp id 5 dst 10.1.0.3 lid 6 dev gw1")
    ofgtp("route add 10.45.0.8 encap gtp lid 7 from 10.3.0.9 dev gw2")
    lines = ofgtp("route show").lines
    assert ofgtp("route show 10.45.0.7").lines == lines[:1]
    assert ofgtp("route show 10.45.0.8").lines == lines[1:]
    assert ofgtp("route show dst 10.1.0.3").lines == [lines[1]]
    assert ofgtp("route show dev gw2").lines == [lines[2]]
    assert ofgtp("route show from 10.3.0.9").lines == [lines[2]]
    assert ofgtp("route show lid 6").lines == [lines[1]]
    assert ofgtp("route show id 0x2001 dst 10.1.0.3").lines == []
    items = json.loads(ofgtp("--json route show 10.45.0.7").out)["items"]
    assert [item["id"] for item in items] == ["gw1-10.45.0.7"]
    done = ofgtp("route del 10.45.0.7 id 0x9999")
    assert (done.code, done.line) == (4, "ofgtp: there is no such route to 10.45.0.7")
    done = ofgtp("route del 10.45.0.8")
    assert (done.code, done.line) == (
        2,
        "ofgtp: several gateways have 10.45.0.8: add dev gw1 or gw2",
    )
    ofgtp("route del 10.45.0.8 dev gw2")
    ofgtp(f"route del {lines[1]}")
    assert ofgtp("route").lines == lines[:1]


@pytest.mark.parametrize(
    "command, code, what",
    [
        ("route add 10.45.0.7 encap gtp", 2, "there are several gateways: name one: gw1 or gw2"),
        ("route add", 2, "Missing argument 'ROUTE'"),
        ("route add encap gtp", 2, "the UE's address must come first, like 10.45.0.7"),
        ("route add default encap gtp", 2, "'default' is not an IPv4 address"),
        ("route add 10.45.0.0/24 encap gtp", 2, "'10.45.0.0/24' is not one address (/32)"),
        ("route add 10.45.0.7 via 10.1.0.2", 2, "'via' is not known here; known are: encap gtp"),
        ("route add 10.45.0.7 dev gw1", 2, "'encap gtp' is missing"),
        ("route add 10.45.0.7 encap mpls 3", 2, "'encap mpls' is not known here"),
        ("route add 10.45.0.7 encap gtp id", 2, "'id' is the last word"),
        ("route add 10.45.0.7 encap gtp id x", 2, "id: 'x' is not a TEID"),
        ("route add 10.45.0.7 encap gtp id 1 id 2", 2, "'id' is there twice"),
        ("route add 10.45.0.7 encap gtp id 1", 2, "'id' and 'dst' go together"),
        ("route add 2001:db8:a:1::7/64 encap gtp", 2, "has host bits set"),
        ("route add 2001:db8:b::/64 encap gtp dev gw1", 1, "is not in the IPv6 UE pools"),
        ("route show 2001:db8:a:9::7", 4, "there is no such route to 2001:db8:a:9::7"),
        ("route del 2001:db8:a::/48 dev gw1", 4, "there is no such route to 2001:db8:a::/48"),
        ("route del dev gw1", 2, "the UE's address must come first"),
        ("route bogus", 2, "No such command 'bogus'"),
        ("route show 10.45.0.99", 4, "there is no such route to 10.45.0.99"),
        ("route change 10.45.0.99 encap gtp", 4, "there is no such route to 10.45.0.99"),
        ("route add 10.45.0.7 encap gtp dev gw9", 4, "no gateway has the name 'gw9'"),
        ("route show dev gw9", 4, "no gateway has the name 'gw9'"),
    ],
)
def test_routes_that_are_wrong(ofgtp: Shell, command: str, code: int, what: str) -> None:
    done = ofgtp(command)
    assert done.code == code and what in done.line


@given(
    teids=st.tuples(*[st.integers(1, 2**32 - 1)] * 2),
    ips=st.tuples(*[st.ip_addresses(v=4)] * 3),
    bits=st.just(0) | st.integers(0, 2**128 - 1),
    length=st.integers(48, 128),
    idle=st.booleans(),
    pinned=st.booleans(),
    state=st.sampled_from(["active", "pending", "failed", "error_indicated"]),
)
def test_every_line_is_read_as_it_was_meant(
    teids: tuple[int, int],
    ips: tuple[IPv4Address, ...],
    bits: int,
    length: int,
    idle: bool,
    pinned: bool,
    state: str,
) -> None:
    prefix = bits >> 128 - length << 128 - length
    ue_ip, peer, pin = map(str, ips)
    session = {
        "gateway": "gw1",
        "ue_ip": None if prefix else ue_ip,
        **({"ue_ipv6": str(IPv6Network((prefix, length)))} if prefix else {}),
        "uplink": {"teid": teids[0], "remote_ip": pin if pinned else None},
        "downlink": None if idle else {"teid": teids[1], "remote_ip": peer},
    }
    [ue] = ues_of(session)
    words = tuple(route_lines.line({**session, "state": state}, ue).split())
    assert route_words.Given.whole(words).body("gw1") == session


# --- IPv6

ROUTE6 = ROUTE.replace("10.45.0.7", "2001:db8:a:1::/64")


def test_a_route_to_an_ipv6_prefix(ofgtp: Shell) -> None:
    assert ofgtp(f"route add {ROUTE6}").lines == []
    (session,) = sessions(ofgtp)
    assert (session["id"], session["ue_ip"]) == ("gw1-2001:db8:a:1::_64", None)
    assert session["ue_ipv6"] == "2001:db8:a:1::/64"
    assert ofgtp("route").lines == [ROUTE6]
    assert ofgtp("route show 2001:db8:a:1::7").lines == [ROUTE6]
    assert ofgtp("route show 2001:db8:a:1::/64").lines == [ROUTE6]
    assert ofgtp("route show 2001:db8:a:1::/65").code == 4
    change = ROUTE6.replace("0x2001 dst 10.1.0.2", "0x2002 dst 10.1.0.3")
    assert ofgtp(f"route change {change.replace('::/64', '::9')}").lines == []
    assert ofgtp("route").lines == [change]
    assert ofgtp(f"route replace {ROUTE6}").lines == []
    assert ofgtp("route").lines == [ROUTE6]
    assert ofgtp(f"route add {ROUTE6}").code == 1
    assert ofgtp("route del 2001:db8:a:1::7").lines == []
    assert ofgtp("route").lines == []


def test_two_routes_in_one_tunnel(ofgtp: Shell) -> None:
    """A UE with both versions: what is shown can be pasted, in any order, and one goes alone."""
    for first, second in ((ROUTE, ROUTE6), (ROUTE6, ROUTE)):
        ofgtp(f"route add {first}")
        ofgtp(f"route add {second}")
        (session,) = sessions(ofgtp)
        assert (session["ue_ip"], session["ue_ipv6"]) == ("10.45.0.7", "2001:db8:a:1::/64")
        assert ofgtp("route").lines == [ROUTE, ROUTE6]
        assert ofgtp("route show 10.45.0.7").lines == [ROUTE]
        assert ofgtp("route show 2001:db8:a:1::7").lines == [ROUTE6]
        moved = "encap gtp id 0x2002 dst 10.1.0.3 lid 0x1001 dev gw1"
        assert ofgtp(f"route change 10.45.0.7 {moved}").lines == []
        assert ofgtp("route").lines == [f"10.45.0.7 {moved}", f"2001:db8:a:1::/64 {moved}"]
        assert ofgtp(f"route del {first.split()[0]}").lines == []
        assert [line.split()[0] for line in ofgtp("route").lines] == [second.split()[0]]
        assert ofgtp(f"route del {second.split()[0]}").lines == []
        assert ofgtp("route").lines == []


def test_a_route_in_anothers_tunnel_is_refused(ofgtp: Shell) -> None:
    """Unless all of the tunnel is the same, and the UE has no address of this version."""
    ofgtp(f"route add {ROUTE}")
    for other in (
        ROUTE6.replace("0x2001", "0x2002"),
        ROUTE6.replace("10.1.0.2", "10.1.0.3"),
        "2001:db8:a:1::/64 encap gtp lid 0x1001 dev gw1",
        ROUTE.replace("10.45.0.7", "10.45.0.8"),
    ):
        done = ofgtp(f"route add {other}")
        assert done.code == 1 and "is in use by session 'gw1-10.45.0.7'" in done.line
    assert ofgtp("route").lines == [ROUTE]
    assert ofgtp(f"route add {ROUTE6} qfi 9").code == 1


def test_bearers_of_a_ue_with_ipv6(ofgtp: Shell) -> None:
    voice = "2001:db8:a:1::/64 from 2001:db8:ffff::/48 proto udp sport 5004 encap gtp"
    ofgtp(f"route add {ROUTE6}")
    assert ofgtp(f"route add {voice} id 0x2009 dst 10.1.0.2 dev gw1").lines == []
    lines = ofgtp("route show 2001:db8:a:1::7").lines
    assert lines[0] == ROUTE6
    assert lines[1] == f"{voice} id 0x2009 dst 10.1.0.2 dev gw1 metric 100"
    assert ofgtp(f"route del {lines[1]}").lines == []
    assert ofgtp("route").lines == [ROUTE6]


def test_tunnels_of_ues_with_ipv6(ofgtp: Shell) -> None:
    assert ofgtp("tunnel add gw1 v1 4097 8193 2001:db8:a:1::/64 10.1.0.2").lines == []
    line = "gw1 version 1 tei 4097/8193 ms_addr {} sgsn_addr 10.1.0.2"
    assert ofgtp("tunnel list").lines == [line.format("2001:db8:a:1::/64")]
    assert ofgtp("session set 2001:db8:a:1::7 --ue-ip 10.45.0.7").code == 0
    shown = [line.format(ue) for ue in ("10.45.0.7", "2001:db8:a:1::/64")]
    assert ofgtp("tunnel list").lines == shown
    assert ofgtp("tunnel delete gw1 v1 4097").lines == []
    assert ofgtp("tunnel list").lines == []


# --- tunnel

TUNNEL = "gw1 v1 4097 8193 10.45.0.7 10.1.0.2"
LISTED = "gw1 version 1 tei 4097/8193 ms_addr 10.45.0.7 sgsn_addr 10.1.0.2"


def test_a_tunnel_is_a_session(ofgtp: Shell) -> None:
    assert ofgtp(f"tunnel add {TUNNEL}").lines == []
    (session,) = sessions(ofgtp)
    assert session["id"] == "gw1-10.45.0.7"
    assert session["uplink"]["teid"] == 4097
    assert session["downlink"] == {"teid": 8193, "remote_ip": "10.1.0.2"}
    assert ofgtp("tunnel list").lines == [LISTED]
    assert ofgtp("tunnel delete gw1 v1 4097").lines == []
    assert ofgtp("tunnel list").lines == []


def test_tunnels_of_two_gateways(ofgtp: Shell) -> None:
    ofgtp(f"tunnel add {TUNNEL}")
    ofgtp("tunnel add gw2 v1 0x1001 1 10.46.0.8 10.3.0.2")
    ofgtp("session add idle --gateway gw2 --ue-ip 10.46.0.9 --uplink-teid 3")
    lines = ofgtp("tunnel l").lines
    assert lines == [
        LISTED,
        "gw2 version 1 tei 4097/1 ms_addr 10.46.0.8 sgsn_addr 10.3.0.2",
        "gw2 version 1 tei 3/0 ms_addr 10.46.0.9 sgsn_addr 0.0.0.0",
    ]
    assert ofgtp("tunnel list gw2").lines == lines[1:]
    ofgtp("tunnel del gw2 v1 4097 ip")  # libgtpnl's way, with the family
    assert ofgtp("tunnel list").lines == [lines[0], lines[2]]
    assert len(json.loads(ofgtp("tunnel list --json").out)["items"]) == 2


@pytest.mark.parametrize(
    "command, code, what",
    [
        (f"tunnel add {TUNNEL}", 1, "there is a tunnel to 10.45.0.7 already"),
        ("tunnel add gw1 v1 4097 1 10.45.0.8 10.1.0.2", 1, "the uplink TEID 4097 is in use by"),
        ("tunnel add gw1 v0 1 1 10.45.0.8 10.1.0.2", 2, "GTPv0 is not spoken here: only v1"),
        ("tunnel add gw1 v2 1 1 10.45.0.8 10.1.0.2", 2, "'v2' is no version of GTP-U: only v1"),
        ("tunnel add gw1 v1 x 1 10.45.0.8 10.1.0.2", 2, "'x' is not a TEID"),
        ("tunnel add gw1 v1 1 1 10.45.0.8", 2, "Missing argument 'PEER-IP'"),
        ("tunnel add gw1 v1 1 1 10.45.0.8 2001:db8::1", 2, "there is no IPv6 here"),
        ("tunnel add gw1 v1 1 1 2001:db8::1/64 10.1.0.2", 2, "has host bits set"),
        ("tunnel add gw1 v1 1 1 2001:db8::g 10.1.0.2", 2, "2001:db8::g"),
        ("tunnel add gw1 v1 1 1 2001:db8::/64 10.1.0.2", 1, "is not in the IPv6 UE pools"),
        ("tunnel add gw9 v1 1 1 10.45.0.8 10.1.0.2", 4, "no gateway has the name 'gw9'"),
        ("tunnel list gw9", 4, "no gateway has the name 'gw9'"),
        ("tunnel delete gw9 v1 4097", 4, "no gateway has the name 'gw9'"),
        ("tunnel delete gw1 v1 9", 4, "gateway gw1 has no tunnel 9"),
        ("tunnel delete gw2 v1 4097", 4, "gateway gw2 has no tunnel 4097"),
        ("tunnel delete gw1 v1 4097 ip6", 2, "there are no IPv6 tunnels here: only ip"),
        ("tunnel modify", 2, "No such command 'modify'"),
    ],
)
def test_tunnels_that_are_wrong(ofgtp: Shell, command: str, code: int, what: str) -> None:
    ofgtp(f"tunnel add {TUNNEL}")
    done = ofgtp(command)
    assert done.code == code and what in done.line
    assert ofgtp("tunnel list").lines == [LISTED]


# --- which session takes a packet, and all at once


def test_get(ofgtp: Shell) -> None:
    ofgtp(f"route add {ROUTE}")
    ofgtp("session set 10.45.0.7 --framed-route 192.168.7.0/24 --ue-ipv6 2001:db8:a:1::/64")
    rest = "encap gtp id 0x2001 dst 10.1.0.2 lid 0x1001 dev gw1 session gw1-10.45.0.7"
    assert ofgtp("route get 10.45.0.7").lines == [f"10.45.0.7 {rest}"]
    assert ofgtp("route g 2001:db8:a:1::9").lines == [f"2001:db8:a:1::/64 {rest}"]
    assert ofgtp("route get 192.168.7.9 dev gw1").lines == [f"192.168.7.0/24 {rest}"]
    assert json.loads(ofgtp("route get 192.168.7.9 -j").out)["id"] == "gw1-10.45.0.7"
    ofgtp("route add 10.45.0.7 proto udp encap gtp dev gw1")
    assert ofgtp("route get 10.45.0.7").lines == [
        f"10.45.0.7 {rest} unless by filter of bearer route-100"
    ]
    ofgtp("session add idle --gateway gw2 --ue-ip 10.46.0.8 --uplink-teid 5")
    assert ofgtp("route get 10.46.0.8").lines == [
        "10.46.0.8 encap gtp lid 0x5 dev gw2 idle session idle"
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("10.45.0.9", 4, "no session takes a packet to 10.45.0.9"),
        ("10.45.0.7 dev gw9", 4, "no gateway has the name 'gw9'"),
        ("10.46.0.7 dev gw1", 4, "no session of gateway gw1 takes a packet to 10.46.0.7"),
        ("10.45.0.7", 2, "several gateways have 10.45.0.7: add dev gw1 or gw2"),
        ("10.45.0.7 id 3", 2, "nothing but 'dev GATEWAY' may stand here"),
        ("phone", 2, "'phone' is not an address"),
    ],
)
def test_get_of_what_there_is_not(ofgtp: Shell, words: str, code: int, said: str) -> None:
    for gateway in ("gw1", "gw2"):
        ofgtp(f"session add {gateway} --gateway {gateway} --ue-ip 10.45.0.7")
    done = ofgtp(f"route get {words}")
    assert done.code == code and said in done.line


def test_flush(ofgtp: Shell) -> None:
    for number, peer in enumerate(("10.1.0.2", "10.1.0.2", "10.1.0.3"), 1):
        ofgtp(f"route add 10.45.0.{number} encap gtp id {number} dst {peer} dev gw1")
    ofgtp("route add 10.46.0.1 encap gtp id 1 dst 10.3.0.2 dev gw2")
    refused = ofgtp("route flush")
    assert (refused.code, refused.line) == (2, "ofgtp: there is no terminal to ask on: add --yes")
    for words in ("10.45.0.1", "proto udp", "metric 5"):
        refused = ofgtp(f"route flush {words} --yes")
        assert refused.code == 2 and "neither a UE's address nor a filter" in refused.line
    assert len(ofgtp("route").lines) == 4
    assert ofgtp("route flush dst 10.1.0.2 -y").lines == ["2 sessions whose routes match deleted"]
    assert ofgtp("route flush id 3 dev gw2 -y").lines == ["0 sessions whose routes match deleted"]
    assert [line.split()[0] for line in ofgtp("route").lines] == ["10.45.0.3", "10.46.0.1"]
    assert ofgtp("route f --yes").lines == ["2 sessions deleted"]
    assert ofgtp("route rm 10.45.0.3").code == 4
