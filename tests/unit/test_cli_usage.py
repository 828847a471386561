"""`ofgtp usage`, against the API of gateways that are real but for their switches: these count the
same of every flow."""

from __future__ import annotations

import csv
import io
import json

import pytest

from ofgtp.control.usage.round import Round
from ofgtp.core.rules.counts import Counts
from ofgtp.core.usage.ledger import Ledger, Volume
from ofgtp.northbound import bodies
from tests.support.agents import Net
from tests.support.background import Background
from tests.support.command import Shell

USED = {"light": (1_000, 20_000), "heavy": (3_000, 900_000), "up": (50_000, 0)}
VOICE = "--precedence", 10, "--filter", "permit out udp from any 5004 to assigned"
TWO = {
    "gateway": "gw1",
    "ue_ip": "10.45.0.10",
    "bearers": [{"id": "voice", "precedence": 10, "filters": [VOICE[-1]]}],
}


@pytest.fixture
def used(api: Background, ofgtp: Shell) -> None:
    """Three sessions that have used something, and one of gw2 that has not."""
    for place, name in enumerate(USED, 2):
        ofgtp(f"session add {name} --gateway gw1 --ue-ip 10.45.0.{place}")
    ofgtp("session add other --gateway gw2 --ue-ip 10.46.0.2")
    api.do(use)


def use(net: Net) -> None:
    with net.store.transaction() as tx:
        for place, (name, (up, down)) in enumerate(USED.items()):
            session = net.store.get(name)
            assert session is not None
            volume = Volume(Counts(up // 100, up), Counts(down // 100, down))
            ledger = Ledger({"": volume}, active_at=1_800_000_000 + place)
            tx.put_ledgers([(session.session.number, ledger)])


def names(ofgtp: Shell, options: str) -> list[str]:
    return [line.split()[0] for line in ofgtp(f"usage {options}").lines[1:-2]]


@pytest.mark.usefixtures("used")
def test_who_has_used_the_most(ofgtp: Shell) -> None:
    done = ofgtp("usage")
    assert done.lines[0].split() == ["SESSION", "GATEWAY", "UE", "UP", "DOWN", "PACKETS", "ACTIVE"]
    assert done.lines[1].split()[:7] == ["heavy", "gw1", "10.45.0.3", "3", "kB", "900", "kB"]
    assert done.lines[-1] == "4 sessions: 54 kB up, 920 kB down"
    assert names(ofgtp, "") == ["heavy", "up", "light", "other"]
    assert names(ofgtp, "--sort uplink -n 2") == ["up", "heavy"]
    assert names(ofgtp, "--sort downlink -n 2") == ["heavy", "light"]
    assert names(ofgtp, "--sort active -n 1") == ["up"]
    assert names(ofgtp, "--gateway gw2") == ["other"]
    assert ofgtp("usage --gateway gw9").code == 4
    found = json.loads(ofgtp("usage --json -n 1").out)
    assert [item["session"] for item in found["items"]] == ["heavy"]
    assert found["total"]["uplink"] == {"packets": 540, "bytes": 54_000}


@pytest.mark.usefixtures("used")
def test_all_for_a_script(ofgtp: Shell) -> None:
    rows = [*csv.DictReader(io.StringIO(ofgtp("usage --csv").out))]
    assert {row["session"]: int(row["downlink_bytes"]) for row in rows} == {
        **{name: down for name, (_, down) in USED.items()},
        "other": 0,
    }
    assert [row["active_at"] for row in rows][-1] == ""
    assert len([*csv.reader(io.StringIO(ofgtp("usage --csv --gateway gw2").out))]) == 2


def test_one_session(ofgtp: Shell) -> None:
    ofgtp("session add phone --gateway gw1 --ue-ip 10.45.0.9 --peer 10.1.0.2 --teid 0x2001")
    facts = dict(line.split("  ", 1) for line in ofgtp("usage --session 10.45.0.9").lines)
    assert facts["session"].strip() == "phone"
    assert facts["up"].strip() == facts["down"].strip() == "1,234 packets, 5.68 kB"
    assert ofgtp("bearer add phone voice", *VOICE).code == 0
    rows = ofgtp("usage --session phone").lines[-2:]
    assert [row.split()[0] for row in rows] == ["voice", "(its"]
    assert ofgtp("usage --session nobody").code == 4
    assert ofgtp("usage --session phone --csv").code == 2


def test_a_round(api: Background, ofgtp: Shell) -> None:
    """What the switch has counted is kept, of tunnel pairs and others; rows of no session go."""
    ofgtp("session add phone --gateway gw1 --ue-ip 10.45.0.9 --peer 10.1.0.2 --teid 0x2001")

    def look(net: Net) -> list[int]:
        net.service.put(bodies.session(TWO).request("two"))
        with net.store.transaction() as tx:
            tx.put_ledgers([(1 << 39, Ledger(active_at=5))])
        Round(net.agents["gw1"], net.store, net.writer, 0)._go()
        return net.store.usage_of_gone(0, None)

    assert api.do(look) == []
    rows = {row["session"]: row for row in csv.DictReader(io.StringIO(ofgtp("usage --csv").out))}
    assert {name: row["uplink_packets"] for name, row in rows.items()} == {
        "phone": "1234",
        "two": "1234",
    }
    assert api.do(lambda net: net.agents["gw1"].rounds.polled) >= 2


def test_ues_with_ipv6(ofgtp: Shell) -> None:
    ofgtp("session add six --gateway gw1 --ue-ipv6 2001:db8:a:1::/64")
    ofgtp("session add dual --gateway gw1 --ue-ipv6 2001:db8:a:2::/64 --ue-ip 10.45.0.7")
    ofgtp("session add four --gateway gw1 --ue-ip 10.45.0.8")
    ues = {line.split()[0]: line.split("  ")[1:] for line in ofgtp("usage").lines[1:-2]}
    assert "2001:db8:a:1::/64" in map(str.strip, ues["six"])
    assert "10.45.0.7, 2001:db8:a:2::/64" in map(str.strip, ues["dual"])
    rows = {row["session"]: row for row in csv.DictReader(ofgtp("usage --csv").lines)}
    assert {name: (row["ue_ip"], row["ue_ipv6"]) for name, row in rows.items()} == {
        "six": ("", "2001:db8:a:1::/64"),
        "dual": ("10.45.0.7", "2001:db8:a:2::/64"),
        "four": ("10.45.0.8", ""),
    }
    one = ofgtp("usage --session 2001:db8:a:2::9").lines
    assert "UE       10.45.0.7 and 2001:db8:a:2::/64" in one


def test_there_are_none(ofgtp: Shell) -> None:
    done = ofgtp("usage")
    assert (done.code, done.out, done.err.strip()) == (0, "", "no sessions")
