"""`ofgtp peer`."""

from __future__ import annotations

import json

import pytest

from ofgtp.cli import peer
from tests.support.background import Background
from tests.support.command import Shell


@pytest.fixture
def peers(api: Background, ofgtp: Shell) -> Shell:
    for name, gateway, ue, to in (
        ("a", "gw1", "10.45.0.7", "10.1.0.2"),
        ("b", "gw1", "10.45.0.8", "10.1.0.2"),
        ("c", "gw2", "10.46.0.7", "10.3.0.2"),
        ("d", "gw2", "10.46.0.8", "10.77.0.2"),
    ):
        ofgtp(f"session add {name} --gateway {gateway} --ue-ip {ue} --peer {to} --teid {ord(name)}")
    return ofgtp


def test_list(peers: Shell) -> None:
    assert peers("peer list").lines == [
        "PEER       GATEWAY  STATE    SESSIONS  NEXT HOP  MAC  ECHO ANSWERED",
        "10.1.0.2   gw1      unknown         2  10.1.0.2  -    never",
        "10.3.0.2   gw2      unknown         1  10.3.0.2  -    never",
        "10.77.0.2  gw2      unknown         1  -         -    never",
    ]
    head, row = peers("peer ls --gateway gw1 --state unknown").lines
    assert "GATEWAY" not in head and row.split()[:3] == ["10.1.0.2", "unknown", "2"]
    items = json.loads(peers("peer list --json").out)["items"]
    assert [each["ip"] for each in items] == ["10.1.0.2", "10.3.0.2", "10.77.0.2"]
    assert peers("peer list --state up").err == "no peers\n"
    assert peers("peer list --gateway gw9").code == 4
    assert peers("peer list --state well").code == 2


def test_show(peers: Shell) -> None:
    assert peers("peer show 10.1.0.2").lines == [
        "peer           10.1.0.2",
        "gateway        gw1",
        "state          unknown",
        "sessions       2: ofgtp session list --peer 10.1.0.2",
        "next hop       does not answer ARP",
        "Echo sent      never",
        "Echo answered  never",
        "Echo heard     never",
    ]
    assert "next hop       no route leads there" in peers("peer show 10.77.0.2").lines
    (item,) = json.loads(peers("peer show 10.3.0.2 -j").out)["items"]
    assert item["gateway"] == "gw2"
    for command in ("peer show 10.9.9.9", "peer show 10.3.0.2 --gateway gw1"):
        done = peers(command)
        ip = command.split()[2]
        assert (done.code, done.line) == (
            4,
            f"ofgtp: no session names a peer {ip} (those there are: ofgtp peer list)",
        )


@pytest.mark.parametrize(
    ("ip", "hop", "said"),
    [
        ("10.1.0.2", {"ip": "10.1.0.2", "mac": "52:54:00:00:00:03"}, "52:54:00:00:00:03"),
        (
            "10.9.0.2",
            {"ip": "10.1.0.9", "mac": "52:54:00:00:00:03"},
            "via 10.1.0.9 52:54:00:00:00:03",
        ),
        ("10.9.0.2", {"ip": "10.1.0.9", "mac": None}, "via 10.1.0.9 does not answer ARP"),
        ("2001:db8::2", {"ip": "2001:db8::2", "mac": None}, "does not answer neighbour discovery"),
        ("10.9.0.2", None, "no route leads there"),
    ],
)
def test_the_next_hop(ip: str, hop: dict[str, str | None] | None, said: str) -> None:
    assert peer.next_hop({"ip": ip, "next_hop": hop}) == said


def test_the_worst_come_first() -> None:
    given = [("up", 9), ("down", 1), ("unknown", 2), ("down", 3)]
    found = peer.worst_first({"state": state, "sessions": n} for state, n in given)
    assert [(each["state"], each["sessions"]) for each in found] == [
        *(("down", 3), ("down", 1), ("unknown", 2), ("up", 9)),
    ]
