"""`ofgtp route` with filters: bearers in the words of iproute2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.cli import selectors
from ofgtp.core.filters import ASSIGNED, PacketFilter
from tests.support.command import Shell

UE = "10.45.0.7"
SESSION = f"{UE} encap gtp id 0x2001 dst 10.1.0.2 lid 0x1001 dev gw1"
SELECTS = f"{UE} from 10.2.0.0/24 proto udp sport 5004-5060"
VOICE = f"{SELECTS} encap gtp id 0x2002 dst 10.1.0.2 lid 0x1002 qfi 1"
VOICE_LINE = f"{VOICE} dev gw1 metric 100"


@pytest.fixture
def routed(ofgtp: Shell) -> Shell:
    """With a route of a session's own."""
    assert ofgtp(f"route add {SESSION}").lines == []
    return ofgtp


def bearers(ofgtp: Shell) -> dict[str, dict[str, Any]]:
    items = json.loads(ofgtp(f"bearer list {UE} --json").out)["items"]
    return {each["id"]: each for each in items}


def test_a_route_with_a_filter_is_a_bearer(routed: Shell) -> None:
    assert routed(f"route add {VOICE}").lines == []
    assert routed("route").lines == [SESSION, VOICE_LINE]
    (bearer,) = bearers(routed).values()
    assert bearer["filters"] == ["permit out udp from 10.2.0.0/24 5004-5060 to assigned"]
    assert (bearer["id"], bearer["precedence"], bearer["qfi"]) == ("route-100", 100, 1)
    assert bearer["uplink"]["teid"] == 0x1002
    assert bearer["downlink"] == {"teid": 0x2002, "remote_ip": "10.1.0.2"}
    assert routed(f"route del {UE} from 10.2.0.0/24 proto udp sport 5004-5060").lines == []
    assert routed("route").lines == [SESSION]


@pytest.mark.parametrize(
    "written, shown",
    [
        (VOICE_LINE, VOICE_LINE),
        (
            f"{UE} proto 6 dport 80 encap gtp",
            f"{UE} proto tcp dport 80 encap gtp dev gw1 metric 100",
        ),
        (
            f"{UE} tos 0xb8 encap gtp dev gw1 idle metric 7",
            f"{UE} tos 0xb8 encap gtp dev gw1 metric 7 idle",
        ),
        (
            f"{UE} dsfield 184 from 10.2.0.9 ipproto icmp encap gtp lid 9 from 10.1.0.3"
            " gate closed",
            f"{UE} from 10.2.0.9 proto icmp tos 0xb8 encap gtp lid 0x9 from 10.1.0.3 dev gw1"
            " metric 100 gate closed",
        ),
        (f"{UE} from any encap gtp", f"{UE} from any encap gtp dev gw1 metric 100"),
        (
            f"{UE} proto sctp sport 80,443,8000-8080 encap gtp local any",
            f"{UE} proto sctp sport 80,443,8000-8080 local any encap gtp dev gw1 metric 100",
        ),
    ],
)
def test_what_is_shown_can_be_pasted(routed: Shell, written: str, shown: str) -> None:
    assert routed(f"route add {written}").lines == []
    assert routed("route").lines == [SESSION, shown]
    before = bearers(routed)
    assert routed(f"route del {shown}").lines == []
    assert routed("route").lines == [SESSION]
    assert routed(f"route add {shown}").lines == []
    assert bearers(routed) == before


def test_a_metric_that_is_there_gets_a_further_filter(routed: Shell) -> None:
    routed(f"route add {VOICE} metric 5 dev gw1")
    more = VOICE.replace("sport 5004-5060", "sport 53").replace("from 10.2.0.0/24 ", "")
    assert routed(f"route add {more} metric 5 dev gw1").lines == []
    (bearer,) = bearers(routed).values()
    assert len(bearer["filters"]) == 2
    lines = routed("route show").lines
    assert len(lines) == 3 and lines[2].endswith("metric 5")
    done = routed(f"route add {VOICE} metric 5 dev gw1")
    assert done.code == 1 and "bearer route-5 of session gw1-10.45.0.7 has this filter" in done.line
    done = routed(f"route add {UE} proto icmp encap gtp metric 5 dev gw1")
    assert done.code == 1 and "which has other tunnels" in done.line
    assert routed(f"route del {UE} proto udp sport 53").lines == []
    assert bearers(routed)["route-5"]["filters"] == bearer["filters"][:1]
    assert routed(f"route del {UE} metric 5").lines == []
    assert bearers(routed) == {}


def test_new_ones_stand_behind_those_that_are_there(routed: Shell) -> None:
    routed(f"bearer add {UE} first --precedence 7 --filter", "permit out icmp from any to assigned")
    routed(f"route add {UE} proto tcp encap gtp dev gw1")
    routed(f"route add {UE} proto udp encap gtp dev gw1")
    assert [each["precedence"] for each in bearers(routed).values()] == [7, 8, 9]


def test_change_and_replace(routed: Shell) -> None:
    routed(f"route add {VOICE} dev gw1")
    routed(f"bearer set {UE} route-100 --mbr-uplink 100 --gate uplink")
    selects = f"{UE} from 10.2.0.0/24 proto udp sport 5004-5060 encap gtp"
    assert routed(f"route change {selects} id 9 dst 10.1.0.3").lines == []
    found = bearers(routed)["route-100"]
    assert found["downlink"] == {"teid": 9, "remote_ip": "10.1.0.3"}
    assert (found["uplink"]["teid"], found["qfi"], found["gate"]) == (0x1002, 1, "uplink")
    assert found["mbr"]["uplink_kbps"] == 100  # what is not named stays
    assert routed(f"route replace {selects} qfi none gate open").lines == []
    found = bearers(routed)["route-100"]
    assert "downlink" not in found and (found["qfi"], found["gate"]) == (None, "open")
    assert routed(f"route change {UE} proto tcp encap gtp").code == 4
    assert routed(f"route replace {UE} proto tcp encap gtp").lines == []
    assert len(bearers(routed)) == 2
    (session, *_) = json.loads(routed("session list --json").out)["items"]
    assert session["downlink"] == {"teid": 0x2001, "remote_ip": "10.1.0.2"}  # untouched


def test_show_finds_them(routed: Shell) -> None:
    routed(f"route add {VOICE} dev gw1")
    routed(f"route add {UE} proto tcp encap gtp id 5 dst 10.1.0.9 dev gw1")
    lines = routed("route show").lines
    for words, wanted in {
        f"{UE}": lines,
        f"{UE} proto tcp": lines[2:],
        "metric 100": lines[1:2],
        "lid 0x1002": lines[1:2],
        "dst 10.1.0.9": lines[2:],
        "qfi 1": lines[1:2],
        "from 10.2.0.0/24 proto udp sport 5004-5060": lines[1:2],
        "from 10.2.0.9": [],
    }.items():
        assert routed(f"route show {words}").lines == wanted, words
    assert routed(f"route show {UE} proto icmp").code == 4
    assert routed(f"route del {UE} proto icmp").code == 4
    assert routed(f"route del {UE}").lines == []
    assert routed("route").lines == []


@pytest.mark.parametrize(
    "words, what",
    [
        (f"{UE} sport 80 encap gtp", "ports need one of the protocols"),
        (f"{UE} proto tcp sport 9-8 encap gtp", "sport: 9-8 is no range"),
        (f"{UE} proto xyz encap gtp", "proto: 'xyz' is no protocol"),
        (f"{UE} tos 0xb9 encap gtp", "'0xb9' is no TOS"),
        (f"{UE} tos 300 encap gtp", "is no TOS"),
        (f"{UE} from 10.2.0.0/33 encap gtp", "from: '10.2.0.0/33' is no address"),
        (f"{UE} proto tcp ipproto udp encap gtp", "'ipproto' is there twice"),
        (f"{UE} proto tcp encap gtp metric 65536", "'65536' is no metric"),
        (f"{UE} proto tcp encap gtp gate ajar", "gate: 'ajar' is not a valid Gate"),
        (f"{UE} proto tcp encap gtp idle id 1 dst 10.1.0.2", "'idle', or 'id' and 'dst'"),
        (f"{UE} encap gtp metric 7", "are for routes with a filter"),
        (f"{UE} proto tcp", "'encap gtp' is missing"),
    ],
)
def test_wrong_words(routed: Shell, words: str, what: str) -> None:
    done = routed(f"route add {words}")
    assert done.code == 2 and what in done.line


def test_a_bearer_needs_its_session(ofgtp: Shell) -> None:
    done = ofgtp(f"route add {VOICE} dev gw1")
    assert done.code == 4 and "there is no such route to 10.45.0.7" in done.line


PORTS = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)).map(lambda e: (min(e), max(e))),
    max_size=3,
).map(tuple)


@given(
    protocol=st.none() | st.integers(0, 255),
    remote=st.none() | st.ip_addresses(v=4).map(lambda ip: selectors.parse_prefix(f"{ip}/24")),
    local=st.just(ASSIGNED)
    | st.none()
    | st.ip_addresses(v=4).map(lambda ip: selectors.parse_prefix(str(ip))),
    sport=PORTS,
    dport=PORTS,
    dscp=st.none() | st.integers(0, 63),
)
def test_every_filter_has_words(
    protocol: Any, remote: Any, local: Any, sport: Any, dport: Any, dscp: Any
) -> None:
    if protocol not in (6, 17, 132):
        sport = dport = ()
    each = PacketFilter(protocol, remote, sport, local, dport, dscp)
    words = selectors.words(each).split()
    members = dict(map(selectors.read, words[::2], words[1::2]))
    assert selectors.made(members) == each
    assert selectors.read_shown(selectors.resource(each)) == each
