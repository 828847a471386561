"""What `ofgtp trace` makes of what has really happened."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import pytest

from ofgtp.core.model import Direction, FTeid, Qos
from ofgtp.core.observations import Seen
from ofgtp.core.trace import lately
from ofgtp.core.trace.known import Known
from ofgtp.core.trace.lately import FEW, QUIET_S, RECENT_S, SAME_S, Finding, Passed
from tests.support.lab import gateway

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UE, PEER = IPv4Address("10.45.0.2"), IPv4Address("10.1.0.2")
COOKIE = 0x0F67_0300_0000_0007
KNOWN = Known(UE, "phone 1", COOKIE, 0x1001, None, FTeid(0x2001, PEER), Qos(9, check=True))
NONE = Passed()
UP_PEER = {"ip": "10.1.0.2", "state": "up", "echo_answered_at": None}


def at(seconds_ago: float) -> str:
    return (NOW - timedelta(seconds=seconds_ago)).isoformat().replace("+00:00", "Z")


def seen(what: Seen, ago: float = 5.0, **changes: Any) -> dict[str, Any]:
    """As GET /v1/sessions/{id}/seen has it: one of the session's own."""
    usual = {"peer": "10.1.0.2", "teid": 0x1001, "source": "10.45.0.2", "qfi": None, "icmp": None}
    return {"what": str(what), **usual, "count": 4, "last_at": at(ago), **changes}


def icmp(kind: int, code: int, ago: float = 5.0, **changes: Any) -> dict[str, Any]:
    said = {"icmp": {"type": kind, "code": code}, "source": "10.1.0.2", "teid": None}
    return seen(Seen.ICMP_ERROR, ago, **(said | changes))


def found(
    *some: dict[str, Any],
    up: Passed = NONE,
    down: Passed | None = NONE,
    known: Known = KNOWN,
    peer: dict[str, Any] | None = None,
    version: int = 4,
    **of_gateway: Any,
) -> list[Finding]:
    went: dict[Direction, Passed] = {"uplink": up}
    if down is not None:
        went["downlink"] = down
    return lately.findings(some, NOW, known, gateway(**of_gateway), {version: went}, peer)


def only(*some: dict[str, Any], **facts: Any) -> Finding:
    (finding,) = found(*some, **facts)
    return finding


def test_nothing_was_seen() -> None:
    assert found() == []
    assert found(up=Passed(7, 3.0), down=Passed(7, 3.0), peer=UP_PEER) == []


@pytest.mark.parametrize(
    ("one", "parts", "run"),
    [
        (
            seen(Seen.UNKNOWN_TEID, teid=0x9999),
            (
                "10.1.0.2 sends packets of 10.45.0.2 with TEID 0x9999",
                "that of session phone 1 is 0x1001",
            ),
            "ofgtp session set 'phone 1' --uplink-teid 0x9999",
        ),
        (
            seen(Seen.SPOOFED_SOURCE, source="192.168.0.7"),
            ("packets from 192.168.0.7 come in its tunnel", "for 10.45.0.2 alone"),
            None,
        ),
        (seen(Seen.SPOOFED_SOURCE, source=None), ("from what is no IP packet",), None),
        (
            seen(Seen.WRONG_PEER, peer="10.1.0.9"),
            ("come from 10.1.0.9",),
            "ofgtp session set 'phone 1' --uplink-peer 10.1.0.9",
        ),
        (
            seen(Seen.CONTAINER_MISSING),
            ("without a PDU Session Container",),
            "ofgtp session set 'phone 1' --no-qfi",
        ),
        (
            seen(Seen.WRONG_QFI, qfi=8),
            ("with QFI 8", "takes QFI 9 alone"),
            "ofgtp session set 'phone 1' --no-qfi-check",
        ),
        (seen(Seen.BAD_CONTAINER, source=None), ("no uplink one",), None),
        (seen(Seen.LONG_CONTAINER, source=None), ("more than 28 octets",), None),
        (seen(Seen.EXTENSION_HEADER, source=None), ("first extension header",), None),
        (seen(Seen.EXTENSION_CHAIN, source=None), ("another extension header",), None),
    ],
    ids=lambda value: value["what"] if isinstance(value, dict) else "",
)
def test_uplink_packets_that_were_dropped(
    one: dict[str, Any], parts: tuple[str, ...], run: str | None
) -> None:
    told = only(one)
    assert (told.direction, told.reason, told.over) == ("uplink", one["what"], False)
    assert all(part in told.says for part in parts), told.says
    assert told.says.endswith("; seen 4 times, the last 5 s ago")
    assert told.do and told.run == run
    without_api = only(one, known=replace(KNOWN, id=None))
    assert without_api.run is None


def test_no_flow_yet_is_for_the_flows_to_say() -> None:
    assert found(seen(Seen.NOT_INSTALLED)) == []


@pytest.mark.parametrize(
    ("passed", "over"), [(None, False), (60.0, False), (4.0, False), (2.0, True), (0.0, True)]
)
def test_what_is_over(passed: float | None, over: bool) -> None:
    """Packets have passed since; of those of about the same time nothing is known."""
    assert 5.0 - SAME_S == 3.0
    up = Passed(0 if passed is None else 9, passed)
    told = only(seen(Seen.SPOOFED_SOURCE), up=up, down=Passed(9, 0.0))
    assert told.over is over
    assert ("until 5 s ago" in told.says) is over


def test_what_happens_leads_what_is_over() -> None:
    some = seen(Seen.UNKNOWN_TEID, 50.0, teid=0x9999), seen(Seen.WRONG_QFI, 1.0, qfi=8)
    told = found(*some, up=Passed(3, 10.0), down=Passed(3, 10.0))
    assert [(each.reason, each.over) for each in told] == [
        ("wrong_qfi", False),
        ("unknown_teid", True),
    ]


def test_many_of_a_kind_are_one() -> None:
    some = [seen(Seen.UNKNOWN_TEID, ago, teid=0x9000 + ago, count=1) for ago in range(3, 9)]
    told = only(*some)
    assert "with TEID 0x9003, 0x9004, 0x9005 and 3 more" in told.says
    assert told.says.endswith("; seen 6 times, the last 3 s ago")
    assert only(some[0]).says.endswith("; seen 3 s ago")


def test_of_another_ue() -> None:
    other = seen(Seen.UNKNOWN_TEID, teid=0x7777, source="10.45.0.9")
    assert found(other) == []
    (symptom,) = lately.of_peers([other, seen(Seen.WRONG_PEER)], NOW, KNOWN)
    assert symptom.level == "info" and "10.1.0.2 sends T-PDUs of TEIDs" in symptom.says
    assert "0x7777" in symptom.says
    assert list(lately.of_peers([seen(Seen.UNKNOWN_TEID, teid=0x9999)], NOW, KNOWN)) == []


@pytest.mark.parametrize(
    ("kind", "code", "by", "part"),
    [
        (3, 3, "10.1.0.2", "the base station 10.1.0.2 says that nobody takes GTP-U there"),
        (3, 1, "10.1.0.254", "10.1.0.254, on the way to 10.1.0.2, says that the base station can"),
        (3, 0, "10.1.0.254", "cannot be reached (ICMP unreachable, code 0)"),
        (3, 13, "10.1.0.254", "lets no GTP-U pass"),
        (3, 4, "10.1.0.254", "too long"),
        (11, 0, "10.1.0.254", "in circles"),
        (12, 0, "10.1.0.254", "type 12, code 0"),
    ],
)
def test_what_icmp_says(kind: int, code: int, by: str, part: str) -> None:
    told = only(icmp(kind, code, source=by))
    assert (told.direction, told.reason, told.over) == ("downlink", "icmp_error", False)
    assert part in told.says and told.do


def test_icmp_of_two_kinds_is_two() -> None:
    some = icmp(3, 3, 9.0), icmp(3, 13, source="10.1.0.254"), icmp(3, 3, 7.0, teid=0x2001)
    told = found(*some)
    assert len(told) == 2
    assert told[0].says.endswith("; seen 8 times, the last 7 s ago")
    assert found(icmp(3, 3, peer="10.1.0.9")) == [], "about another"
    pinned = replace(KNOWN, downlink=None, pinned=PEER)
    assert found(icmp(3, 3), known=pinned)
    assert found(icmp(3, 3), known=replace(KNOWN, downlink=None)) == []


def test_a_peer_that_has_answered_since() -> None:
    answered = UP_PEER | {"echo_answered_at": at(1.0)}
    assert only(icmp(3, 3), peer=answered).over
    assert not only(icmp(3, 3), peer=UP_PEER | {"echo_answered_at": at(4.0)}).over
    assert not only(icmp(3, 3), peer=UP_PEER).over


def test_a_path_that_is_down() -> None:
    told = only(peer=UP_PEER | {"state": "down", "echo_answered_at": at(99)})
    assert (told.direction, told.reason) == ("downlink", "path_down")
    assert "has stopped to answer Echo Requests" in told.says and at(99) in told.says


@pytest.mark.parametrize(
    ("up", "down", "told"),
    [
        (Passed(FEW, 1.0), Passed(), "none has come down yet"),
        (Passed(FEW - 1, 1.0), Passed(), None),
        (Passed(9, RECENT_S + 1), Passed(), None),
        (Passed(), Passed(), None),
        (Passed(9, 2.0), Passed(5, 2.0 + QUIET_S), "none has come down for 12 s"),
        (Passed(9, 2.0), Passed(5, 1.0 + QUIET_S), None),
        (Passed(9, None), Passed(), None),
    ],
)
def test_packets_that_get_no_answers(up: Passed, down: Passed, told: str | None) -> None:
    some = found(up=up, down=down)
    assert [each.reason for each in some] == ([] if told is None else ["no_answers"])
    for each in some:
        assert told is not None and told in each.says
        assert "does the next hop 10.2.0.2 route 10.45.0.2 back to 10.2.0.1?" in each.do
        assert each.run == "tcpdump -ni eth2 host 10.45.0.2"
    assert found(up=up, down=None) == [], "it is idle, say"
    for each in found(up=up, down=down, core_port="host", next_hop=None):
        assert "does the host route" in each.do


def test_what_flows_say() -> None:
    """As ovs-ofctl shows them by OpenFlow 1.5, and by 1.4, which does not say when."""
    ours = f"cookie={COOKIE:#x}, duration=9.1s,"
    flows = [
        f"{ours} table=30, n_packets=12, n_bytes=1414, idle_age=3, priority=100,ip actions=x",
        f"{ours} table=70, n_packets=0, n_bytes=0, idle_age=9, priority=100,ip actions=y",
        "cookie=0x7, duration=9s, table=30, n_packets=99, n_bytes=0, idle_age=0, ip actions=drop",
    ]
    assert lately.passed(flows, COOKIE) == {4: {"uplink": Passed(12, 3.0), "downlink": Passed()}}
    older = [flow.replace(" idle_age=3,", "") for flow in flows]
    assert lately.passed(older, COOKIE)[4]["uplink"] == Passed(12, None)
    of_ipv6 = f"{ours} table=30, n_packets=5, idle_age=1, priority=100,ipv6,reg0=0x1001 actions=x"
    assert lately.passed([*flows, of_ipv6], COOKIE)[6] == {"uplink": Passed(5, 1.0)}
    assert lately.passed([], None) == {}
    assert found(down=None) == []


BOTH = replace(KNOWN, ue6=IPv6Network("2001:db8:a:1::/64"))
IPV6 = {
    "core_ip6": IPv6Interface("2001:db8:c::1/64"),
    "next_hop6": IPv6Address("2001:db8:c::2"),
}


def test_a_version_that_gets_no_answers() -> None:
    """As where the router has no route to the UEs' prefixes."""
    told = only(up=Passed(FEW, 3.0), down=Passed(), known=BOTH, version=6, **IPV6)
    assert told.says.startswith("packets of 2001:db8:a:1::/64 go up")
    assert "does the next hop 2001:db8:c::2 route 2001:db8:a:1::/64 back to 2001:db8:c::1?" in (
        told.do
    )
    assert told.run == "tcpdump -ni eth2 net 2001:db8:a:1::/64"


def test_a_source_of_ipv6_that_is_not_the_ue_s() -> None:
    spoofed = seen(Seen.SPOOFED_SOURCE, 5.0, source="2001:db8:b::1")
    told = only(spoofed, known=BOTH, up=Passed(9, 0.0), down=Passed(9, 0.0), version=6)
    assert "from 2001:db8:b::1 come in its tunnel" in told.says and told.over
    assert "for 10.45.0.2 and 2001:db8:a:1::/64 alone" in told.says
    told = only(spoofed, known=BOTH, up=Passed(9, 0.0), down=Passed(9, 0.0), version=4)
    assert not told.over, "that IPv4 passes says nothing of IPv6"


def test_a_teid_that_nobody_has_with_a_packet_of_the_prefix() -> None:
    one = seen(Seen.UNKNOWN_TEID, teid=0x9999, source="2001:db8:a:1::7")
    assert "with TEID 0x9999" in only(one, known=BOTH).says
    assert found(one | {"source": "2001:db8:a:2::7"}, known=BOTH) == []


@pytest.mark.parametrize("source", ["fe80::7", "::"])
def test_what_a_phone_says_to_neighbours(source: str) -> None:
    """All phones with IPv6 do: nothing is wrong with them."""
    one = seen(Seen.SPOOFED_SOURCE, source=source)
    assert found(one, known=BOTH) == []
    (told,) = lately.of_neighbours([one], BOTH)
    assert told.level == "info" and source in told.says
    assert list(lately.of_neighbours([one | {"source": "2001:db8:b::1"}], BOTH)) == []
