"""Limits of usage on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.command import Shell

SESSION = "session add phone --gateway gw1 --ue-ip 10.45.0.7 --peer 10.1.0.2 --teid 0x2001"
VOICE = "bearer add phone voice --precedence 10"


def usage(ofgtp: Shell, what: str = "session show phone") -> Any:
    return json.loads(ofgtp(f"{what} --json").out).get("usage")


def limits(
    threshold: int | None = None, quota: int | None = None, inactivity: int | None = None
) -> dict[str, int | None]:
    return {
        "threshold_bytes": threshold,
        "quota_bytes": quota,
        "inactivity_seconds": inactivity,
    }


def test_a_session_with_limits(ofgtp: Shell) -> None:
    done = ofgtp(f"{SESSION} --quota 10M --threshold 1Mi --inactivity 300")
    assert done.code == 0
    told = "quota 10,000,000 octets, an event each 1,048,576 octets, inactive after 300 s"
    assert told in done.out and "closed" not in done.out
    assert usage(ofgtp) == limits(1 << 20, 10**7, 300)
    shown = ofgtp("session show phone").out
    assert told in shown
    assert ofgtp("session set phone --threshold none --quota 20M").code == 0
    assert usage(ofgtp) == limits(None, 2 * 10**7, 300)
    assert ofgtp("session set phone --inactivity none --quota none").code == 0
    assert usage(ofgtp) is None
    assert "usage" not in ofgtp("session show phone").out


def test_a_bearer_with_limits(ofgtp: Shell) -> None:
    ofgtp(SESSION)
    filters = "permit out udp from 10.2.0.0/24 5004 to assigned"
    done = ofgtp(f"{VOICE} --quota 500K --filter", filters)
    assert done.code == 0 and "quota 500,000 octets" in done.out
    assert ofgtp("bearer set phone voice --quota 500k --threshold 7").code == 0
    items = json.loads(ofgtp("bearer list phone --json").out)["items"]
    assert [each["usage"] for each in items] == [limits(7, 500_000)]
    assert ofgtp("bearer set phone voice --threshold none --quota none").code == 0
    items = json.loads(ofgtp("bearer list phone --json").out)["items"]
    assert ["usage" in each for each in items] == [False]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--quota 0", "no number of octets"),
        ("--buffer 0", "no number of packets: 1 to 4096, or none"),
        ("--buffer 4097", "no number of packets"),
        ("--quota 10m", "no number of octets"),
        ("--quota 10KB", "no number of octets"),
        ("--quota 9999T0", "no number of octets"),
        ("--quota 10000T", "1 to 9007199254740991"),
        ("--threshold -5", "no number of octets"),
        ("--threshold 1.5M", "no number of octets"),
        ("--inactivity 0", "no time: 1 to 86400 s"),
        ("--inactivity 86401", "no time: 1 to 86400 s"),
        ("--inactivity 5m", "no time: 1 to 86400 s"),
    ],
)
def test_what_is_wrong_is_said(ofgtp: Shell, option: str, told: str) -> None:
    done = ofgtp(f"{SESSION} {option}")
    assert done.code == 2 and told in done.err
    assert ofgtp("session show phone").code == 4


def test_export_and_import_carry_limits(ofgtp: Shell) -> None:
    ofgtp(f"{SESSION} --quota 10M")
    filters = "permit out udp from 10.2.0.0/24 5004 to assigned"
    ofgtp(f"{VOICE} --inactivity 60 --filter", filters)
    before = json.loads(ofgtp("session show phone --json").out)
    exported = ofgtp("session export - --format ndjson").out
    assert "closed" not in exported
    ofgtp("session delete phone")
    assert ofgtp("session import - --format ndjson", stdin=exported.encode()).code == 0
    after = json.loads(ofgtp("session show phone --json").out)
    assert after["usage"] == before["usage"] == limits(quota=10**7)
    assert after["bearers"][0]["usage"] == before["bearers"][0]["usage"] == limits(inactivity=60)


def test_how_much_of_a_quota_is_used(ofgtp: Shell) -> None:
    ofgtp(f"{SESSION} --quota 10M")
    found = json.loads(ofgtp("usage --session phone --json").out)
    [quota] = found["quotas"]
    used = sum(found[way]["bytes"] for way in ("uplink", "downlink"))
    assert quota == {"bearer": None, "quota_bytes": 10**7, "used_bytes": used, "closed": False}
    assert " of 10 MB used\n" in ofgtp("usage --session phone").out
