"""`ofgtp pfcp`: what an operator reads whose control plane does not associate, against the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest

from ofgtp.core.pfcp.node.associations import PeerState
from ofgtp.northbound.service import (
    AssociationView,
    InstanceView,
    PfcpView,
    RefusedView,
    StrangerView,
)
from tests.support.background import Background
from tests.support.command import Shell

NOW = datetime.now(UTC)
NODE = PfcpView("gw1", "10.3.0.1", IPv4Address("10.3.0.1"), NOW, None, [])
SMF = AssociationView(
    "smf.example.org",
    "10.3.0.5",
    PeerState.UP,
    NOW,
    12,
    NOW,
    {("Session Establishment Request", 1): 12, ("Session Deletion Request", 65): 2},
    [(NOW, "Session Deletion Request: there is no session with the SEID 0x5 (cause 65)")],
)
HEARD = {"Heartbeat Request": 3}


class Told:
    """What the API says of the gateway."""

    def __init__(self, api: Background) -> None:
        self._api = api

    def is_(self, **changes: Any) -> None:
        node = SimpleNamespace(view=lambda: replace(NODE, **changes))
        self._api.do(lambda net: net.service.nodes.__setitem__("gw1", node))


@pytest.fixture
def told(api: Background) -> Iterator[Told]:
    yield Told(api)
    api.do(lambda net: net.service.nodes.clear())


def test_no_pfcp_at_all(ofgtp: Shell) -> None:
    done = ofgtp("pfcp")
    assert (done.code, done.out) == (0, "")
    assert "[gateway.pfcp]" in done.err
    assert ofgtp("pfcp --gateway gw1").line == (
        "ofgtp: no gateway gw1 speaks PFCP (ofgtp gateway list)"
    )


def test_all_is_well(ofgtp: Shell, told: Told) -> None:
    told.is_(associations=[SMF], received=HEARD)
    first, head, row = ofgtp("pfcp").lines
    assert first.startswith("gw1: user plane node 10.3.0.1 at 10.3.0.1 UDP port 8805, since ")
    assert head.split()[:4] == ["CONTROL", "PLANE", "ADDRESS", "STATE"]
    assert row.split()[:6] == ["smf.example.org", "10.3.0.5", "up", "12", row.split()[4], "s"]
    assert row.split()[-1] == "2", "requests that were refused"


def test_one_control_plane(ofgtp: Shell, told: Told) -> None:
    told.is_(associations=[SMF], received=HEARD)
    for name in ("SMF.example.org", "10.3.0.5"):
        out = ofgtp("pfcp", name).out
        assert "smf.example.org (10.3.0.5)" in out
        assert "there is no session with the SEID 0x5 (cause 65)" in out
        rows = [line.split() for line in out.splitlines()]
        assert ["Session", "Deletion", "Request", "2", "65", "session", "not", "found"] in rows
    (shown,) = json.loads(ofgtp("pfcp 10.3.0.5 --json").out)["items"]
    assert (shown["gateway"], shown["sessions"]) == ("gw1", 12)
    assert ofgtp("pfcp 10.3.0.77").code == 4


def test_one_that_is_down(ofgtp: Shell, told: Told) -> None:
    late = NOW - timedelta(minutes=5)
    told.is_(associations=[replace(SMF, state=PeerState.DOWN, heard_at=late)], received=HEARD)
    done = ofgtp("pfcp")
    assert done.code == 1
    assert "down" in done.out and "ping 10.3.0.5" in done.out
    assert int(done.out.split(" s ago")[0].split()[-1]) >= 300
    assert ofgtp("pfcp smf.example.org").code == 1


def test_nothing_has_come(ofgtp: Shell, told: Told) -> None:
    told.is_()
    lines = ofgtp("pfcp").lines
    assert "no control plane is associated" in lines
    assert any(
        line.startswith("do: ") and "tcpdump -ni any udp port 8805" in line for line in lines
    )


def test_it_comes_from_an_address_that_is_no_peer(ofgtp: Shell, told: Told) -> None:
    stranger = StrangerView("10.9.0.7", 23, NOW)
    told.is_(strangers=[stranger], dropped={"not_allowed": 23})
    lines = ofgtp("pfcp").lines
    [silent] = [line for line in lines if line.startswith("silent")]
    assert "10.9.0.7 is none of peers: 23 messages" in silent
    [do] = [line for line in lines if line.startswith("do: ")]
    assert "10.9.0.7" in do and "`peers`" in do
    assert "none of `peers`" in ofgtp("pfcp 10.9.0.7").line


def test_what_it_asks_for_is_refused(ofgtp: Shell, told: Told) -> None:
    words = "Association Setup Request: Recovery Time Stamp: it must be there (cause 66)"
    told.is_(
        refused=[RefusedView(NOW, "10.3.0.5", words)],
        received={"Association Setup Request": 1},
        dropped={"wrong_version": 2},
        network_instances=[InstanceView("ims", False, 3), InstanceView("internet", True, 3)],
    )
    lines = ofgtp("pfcp").lines
    assert any(line.endswith(f" 10.3.0.5: {words}") for line in lines)
    assert "silent    dropped: 2 wrong_version (docs/metrics.md)" in lines
    assert (
        "do:       add to `network_instances` what is asked for: ims; then: ofgtp reload" in lines
    )
    assert ofgtp("pfcp 10.3.0.5").line.endswith(f"10.3.0.5 is associated: {words}")


def test_it_cannot_listen(ofgtp: Shell, told: Told) -> None:
    problem = "cannot listen at 10.3.0.1, UDP port 8805: Cannot assign requested address"
    told.is_(problem=problem)
    done = ofgtp("pfcp")
    assert done.code == 1
    assert f"NOT WELL  {problem}" in done.out
    assert "ip -br addr" in done.out
    shown = ofgtp("status --quick")
    assert shown.code == 1 and f"NOT WELL PFCP: {problem}" in " ".join(shown.out.split())


def test_status_has_a_line_of_it(ofgtp: Shell, told: Told) -> None:
    told.is_(associations=[SMF, replace(SMF, node_id="sgwc", state=PeerState.UNKNOWN)])
    lines = ofgtp("status --quick").out.splitlines()
    assert "pfcp      1 up, 1 unknown; 24 sessions" in lines
    assert json.loads(ofgtp("status --quick --json").out)["pfcp"][0]["gateway"] == "gw1"
