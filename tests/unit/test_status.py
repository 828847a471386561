"""What `ofgtp status` shows of what the API says."""

from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import click
import pytest

from ofgtp.cli import status
from ofgtp.cli.api import Api
from ofgtp.cli.status import PEERS_SHOWN, Look, Wrong, as_json, screen, wrong_with
from ofgtp.core.flows import faults


def gateway(name: str = "gw1", version: str = "3.1.0", **changes: Any) -> dict[str, Any]:
    number = faults.parse(version)
    found: dict[str, Any] = {
        "name": name,
        "connected": True,
        "in_sync": True,
        "problem": None,
        "ovs_version": version,
        "faults": [
            {"summary": each.summary, "remedy": each.remedy, "basis": str(each.basis(number))}
            for each in faults.of(number)
        ],
        "access": {"port": "eth1", "ip": "10.1.0.1/24", "link": "up", "mtu": 1500},
        "core": {"port": "eth2", "device": "eth2", "ip": "10.2.0.1/24", "link": "up"},
        "next_hop": {"ip": "10.2.0.2", "mac": "52:54:00:00:00:03", "state": "resolved"},
        "sessions": {"active": 100_000, "pending": 0, "failed": 0, "error_indicated": 0},
        "forwarded": {
            "uplink": {"packets": 1_000, "bytes": 100_000},
            "downlink": {"packets": 2_000, "bytes": 3_000_000},
        },
        "drops": {"unknown_ue": 7, "vlan": 0, "idle_ue": 30},
        "repairs": 1,
        "lease": {"seconds": 10, "seconds_left": 8.6, "renewals": 1_234, "expiries": 0},
    }
    return {**found, **changes}


def peer(number: int, state: str = "up", **changes: Any) -> dict[str, Any]:
    ip = f"10.1.0.{number}"
    hop = {"ip": ip, "mac": f"52:54:00:00:01:{number:02x}"}
    found = {"gateway": "gw1", "ip": ip, "state": state, "sessions": number, "next_hop": hop}
    return {**found, **changes}


def look(*gateways: dict[str, Any], at: float = 0.0, peers: Any = (), store: str = "ok") -> Look:
    return Look(at, {"status": "ok", "store": store}, gateways or [gateway()], list(peers))


def later(before: dict[str, Any], packets: int, **drops: int) -> dict[str, Any]:
    now = deepcopy(before)
    for way in now["forwarded"].values():
        way["packets"] += packets
        way["bytes"] += 100 * packets
    for reason, count in drops.items():
        now["drops"][reason] += count
    return now


def shown(
    now: Look, before: Look | None = None, rows: int | None = 24, verbose: bool = False
) -> list[str]:
    lines = screen(now, before or now, rows, verbose=verbose)
    return [click.unstyle(line) for line in lines]


def line(lines: list[str], name: str) -> str:
    (found,) = (each for each in lines if each.startswith(f"{name} "))
    return found.removeprefix(name).strip()


def test_what_is_held() -> None:
    def held(**buffer: int) -> str:
        return line(shown(look(gateway(buffer=buffer))), "held")

    assert held(packets=1, sessions=1) == "1 packet for 1 idle session"
    assert held(packets=1_200, sessions=2) == "1,200 packets for 2 idle sessions"
    assert not any(each.startswith("held") for each in shown(look(gateway())))


@pytest.mark.parametrize("version", ["3.1.0", "3.5.0", "4.0.0", "2.17.9"])
def test_it_fits_a_small_screen(version: str) -> None:
    drops = {f"a_reason_of_some_length_{n}": 10**n for n in range(12)}
    peers = [peer(n) for n in range(1, 200)]
    lines = shown(look(gateway(version=version, drops=drops), peers=peers))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    text = "\n".join(lines)
    assert all(f" {10**n:,} {reason}" in text for n, reason in enumerate(drops))


def node(*states: str, problem: str | None = None) -> dict[str, Any]:
    planes = [
        {"node_id": f"smf{n}.example.org", "ip": f"10.3.0.{n}", "state": state, "sessions": 50_000}
        for n, state in enumerate(states, 5)
    ]
    return {"gateway": "gw1", "problem": problem, "associations": planes}


def of_pfcp(*nodes: dict[str, Any], **changes: Any) -> Look:
    return replace(look(**changes), nodes=nodes)


def test_with_pfcp_it_fits_too() -> None:
    peers = [peer(n) for n in range(1, 200)]
    lines = shown(of_pfcp(node(*["up"] * 128), peers=peers))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    assert line(lines, "pfcp") == "128 up; 6,400,000 sessions"


def test_control_planes() -> None:
    assert line(shown(of_pfcp(node())), "pfcp") == "no control plane is associated"
    assert bad(of_pfcp(node("up", "unknown"))) == []
    one = bad(of_pfcp(node("up", "down")))
    assert one == ["control plane smf6.example.org (10.3.0.6) answers no heartbeats: ofgtp pfcp"]
    assert bad(of_pfcp(node(*["down"] * 3))) == [
        "3 control planes answer no heartbeats: ofgtp pfcp"
    ]
    assert bad(of_pfcp(node(problem="no port"))) == ["PFCP: no port"]
    assert not any(each.startswith("pfcp") for each in shown(look()))


def test_rates() -> None:
    first = gateway()
    now = look(later(first, 500, unknown_ue=40), at=2.0)
    lines = shown(now, look(first))
    assert line(lines, "traffic") == (
        "uplink 250 packets/s 200 kbit/s, downlink 250 packets/s 200 kbit/s"
    )
    assert line(lines, "drops") == "20/s unknown_ue, 30 idle_ue"
    (rates,) = (each["rates"] for each in as_json(now, look(first))["gateways"])
    assert rates["forwarded"]["uplink"] == {"packets": 250.0, "bytes": 25_000.0}
    assert rates["drops"] == {"unknown_ue": 20.0}


def test_no_rates() -> None:
    lines = shown(look())
    assert line(lines, "traffic") == "uplink 1,000 packets, downlink 2,000 packets"
    assert line(lines, "drops") == "30 idle_ue, 7 unknown_ue"
    assert line(shown(look(gateway(drops={"vlan": 0}))), "drops") == "none"
    assert line(shown(look(gateway(drops=None))), "drops").startswith("not known")


def test_a_controller_that_was_restarted_counts_from_0() -> None:
    forwarded = {way: {"packets": 10, "bytes": 100} for way in ("uplink", "downlink")}
    lines = shown(look(gateway(forwarded=forwarded), at=2.0), look())
    assert line(lines, "traffic").startswith("uplink 5 packets/s")


def test_a_gateway_that_is_new() -> None:
    """There is nothing to compare with: no rate, and no failure."""
    lines = shown(look(gateway("new"), at=2.0), look())
    assert line(lines, "traffic").startswith("uplink 0 packets/s")


def test_peers_with_a_trouble_come_first() -> None:
    found = [peer(n) for n in range(1, 50)]
    found[20] = peer(21, "down")
    found[30] = peer(31, "unknown", next_hop={"ip": "10.1.0.254", "mac": None})
    lines = shown(look(peers=found))
    at = lines.index(f"peers     {'47 up, 1 down, 1 unknown'}")
    assert lines[at + 1].split()[:2] == ["10.1.0.21", "down"]
    assert lines[at + 2].endswith("via 10.1.0.254 does not answer ARP")
    assert lines[at + 3].split()[:2] == ["10.1.0.49", "up"]
    assert lines[-1] == f"  and {50 - (len(lines) - at - 1)} more peers: ofgtp peer list"
    every = shown(look(peers=found), rows=None)
    assert len(every) == len(lines[: at + 1]) + 49
    very_many = shown(look(peers=[peer(n % 250) for n in range(1000)]), rows=None)
    assert very_many[-1] == f"  and {1000 - PEERS_SHOWN + 1} more peers: ofgtp peer list"
    assert line(shown(look()), "peers") == "none"


def test_another_version_s_faults_are_marked() -> None:
    lines = shown(look(gateway(version="4.1.0")), verbose=True)
    assert line(lines, "faults").startswith("11 known of 4.1.0 (*: not tried on it)")
    assert sum(each.startswith("* ") for each in lines) == 11


def test_faults_are_a_line_unless_asked_for() -> None:
    lines = shown(look(gateway(version="3.1.0")))
    assert line(lines, "faults") == ("13 known of 3.1.0, worked around: see --verbose")
    assert line(shown(look(gateway(version="4.1.0"))), "faults") == (
        "11 known of 4.1.0 (not all tried on it), worked around: see --verbose"
    )
    assert len(shown(look(gateway(version="3.1.0")), verbose=True)) == len(lines) + 13


def test_several_gateways() -> None:
    """Faults of one version are shown once; each has its own peers."""
    second = gateway("gw2", lease=None, next_hop=None)
    peers = [peer(1), peer(2, gateway="gw2")]
    lines = shown(look(gateway(), second, peers=peers))
    assert [each for each in lines if each.startswith("gw")][1].startswith("gw2: well")
    assert sum(each.startswith("faults") for each in lines) == 1
    assert sum(each == "peers     1 up" for each in lines) == 2
    assert "lease     none: the switch forwards on without the controller" in lines


def wrong(now: Look) -> Wrong:
    return wrong_with(now, now.gateways[0])


def bad(now: Look) -> list[str]:
    """What is, and nothing to be warned of beside."""
    return wrong(now).bad


def test_all_is_well() -> None:
    assert wrong(look()) == ([], [])
    assert shown(look())[0].startswith("gw1: well ")
    assert as_json(look(), look())["well"] is True


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"problem": "no ovsdb-server", "connected": False}, "no ovsdb-server"),
        ({"connected": False}, "the switch is not connected"),
        ({"access": {**gateway()["access"], "link": "down"}}, "eth1 is down: ip link set dev"),
        ({"core": {**gateway()["core"], "link": "no carrier"}}, "eth2 has no carrier"),
        (
            {"next_hop": {"ip": "10.2.0.2", "mac": None, "state": "unresolved"}},
            "the next hop 10.2.0.2 has not answered ARP on eth2",
        ),
        (
            {"next_hop": {"ip": "10.2.0.2", "mac": "x", "state": "stale"}},
            "does not answer ARP on eth2 any more",
        ),
        (
            {"next_hop6": {"ip": "fe80::1", "mac": None, "state": "unresolved"}},
            "the next hop fe80::1 has not answered neighbour discovery on eth2",
        ),
        (
            {"next_hop6": {"ip": "fe80::1", "mac": "x", "state": "stale"}},
            "does not answer neighbour discovery on eth2 any more",
        ),
        ({"lease": {**gateway()["lease"], "seconds_left": 0}}, "the lease has run out"),
        (
            {"sessions": {"active": 1, "failed": 3}},
            "3 sessions failed: the switch refused the flows: ofgtp session list --state failed",
        ),
        ({"paths": {"up": 0, "unknown": 0, "down": 2}}, "2 of 2 peers do not answer Echo Requests"),
    ],
)
def test_what_is_wrong_is_said_first(changes: dict[str, Any], trouble: str) -> None:
    now = look(gateway(**changes))
    (found,) = bad(now)
    assert trouble in found
    lines = shown(now)
    assert lines[0].startswith("gw1: NOT WELL") and lines[1].startswith("NOT WELL  ")
    assert found in " ".join(each.strip() for each in lines[1:4])
    assert as_json(now, now)["well"] is False


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"in_sync": False}, "the switch's flows are being compared with the sessions"),
        ({"paths": {"up": 1, "unknown": 1, "down": 2}}, "2 of 4 peers do not answer Echo Requests"),
        (
            {"neighbours": {"resolved": 2, "unresolved": 38, "stale": 0}},
            "38 of 40 next hops do not answer ARP",
        ),
        ({"unrouted": ["8.8.8.8"]}, "no route on the access side leads to 8.8.8.8: no downlink"),
        (
            {"unrouted": [f"8.8.8.{n}" for n in range(5)]},
            "leads to 8.8.8.0, 8.8.8.1, 8.8.8.2 and 2 more",
        ),
        ({"sessions": {"active": 1, "pending": 3}}, "3 sessions pending: not confirmed"),
        ({"sessions": {"active": 1, "error_indicated": 1}}, "1 session stopped by Error"),
    ],
)
def test_what_is_worth_a_look_is_said_as_well(changes: dict[str, Any], warning: str) -> None:
    now = look(gateway(**changes))
    assert wrong(now).bad == []
    (found,) = wrong(now).warnings
    assert warning in found
    lines = shown(now)
    assert lines[0].startswith("gw1: well, 1 warning ") and lines[1].startswith("warning   ")
    shown_json = as_json(now, now)
    assert shown_json["well"] is True and shown_json["gateways"][0]["warnings"] == [found]


@pytest.mark.parametrize(
    ("pools", "missed"),
    [
        (["10.45.0.0/16"], ["10.2.0.2"]),
        (["2001:db8:a::/48"], ["fe80::1"]),
        (["10.45.0.0/16", "2001:db8:a::/48"], ["10.2.0.2", "fe80::1"]),
    ],
)
def test_a_next_hop_that_no_ue_needs_is_not_missed(pools: list[str], missed: list[str]) -> None:
    hops = {
        name: {"ip": ip, "mac": None, "state": "unresolved"}
        for name, ip in (("next_hop", "10.2.0.2"), ("next_hop6", "fe80::1"))
    }
    found = bad(look(gateway(ue_pools=pools, **hops)))
    assert [each.split()[3] for each in found] == missed


def test_the_core_side_by_ipv6() -> None:
    core = {**gateway()["core"], "ip6": "2001:db8:c::1/64"}
    hop = {"ip": "fe80::1", "mac": "52:54:00:00:00:03", "state": "resolved"}
    lines = shown(look(gateway(core=core, next_hop6=hop)))
    place = next(place for place, each in enumerate(lines) if each.startswith("core "))
    assert lines[place].endswith("; next hop 10.2.0.2 52:54:00:00:00:03 resolved")
    assert lines[place + 1] == (
        "          2001:db8:c::1/64; next hop fe80::1 52:54:00:00:00:03 resolved"
    )
    assert not any("2001:db8" in each for each in shown(look(gateway())))


def test_a_store_that_cannot_be_written() -> None:
    now = look(store="disk full")
    assert shown(now)[0] == "NOT WELL  the session store: disk full"
    assert as_json(now, now)["troubles"] == ["the session store: disk full"]


def test_what_is_not_known_yet() -> None:
    """The controller has just started, without a switch."""
    fresh = gateway(
        connected=False,
        in_sync=False,
        problem="starting",
        ovs_version=None,
        faults=[],
        drops=None,
        next_hop={"ip": "10.2.0.2", "mac": None, "state": "unresolved"},
        lease={"seconds": 10, "seconds_left": None, "renewals": 0, "expiries": 0},
    )
    lines = shown(look(fresh))
    assert line(lines, "lease").startswith("not begun of 10")
    assert line(lines, "switch").startswith("Open vSwitch of unknown version, not connected")
    assert bad(look(fresh)) == ["starting: journalctl -u ofgtp -n 50"]


@pytest.mark.parametrize("lines", [8, 40])
def test_watched_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: int
) -> None:
    """The terminal cuts lines, and none scrolls away: else the frame before would be left above."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", str(lines))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(status, "look", lambda _: look(peers=[peer(n) for n in range(1, 200)]))

    def ended(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", ended)
    with click.Context(status.status), pytest.raises(KeyboardInterrupt):
        status._watch(cast(Api, None), 1.0, False)
    frame = capsys.readouterr().out
    home, unwrapped, below, wrapped = "\x1b[H", "\x1b[?7l", "\x1b[J", "\x1b[?7h"
    assert frame.startswith(unwrapped + home) and frame.endswith(below + wrapped)
    shown = frame.removesuffix(below + wrapped).split("\n")
    assert shown.pop() == "" and len(shown) < lines, "the last line of the screen stays empty"
    assert all(each.endswith("\x1b[K") for each in shown)
    assert max(map(len, shown)) > 40, "it is the terminal that cuts"
