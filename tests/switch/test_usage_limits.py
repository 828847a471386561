"""Limits of usage, with real packets: what is told, what is closed, and over which restarts."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from tests.support import ownership as own
from tests.support.lab import Lab
from tests.support.site import ENB_IP, MARKER_DOWN, MARKER_UE, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
SIZE = 500
"""IP octets of each packet."""
VOICE_PORT = 5004

_ues = itertools.count(2)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        site = Site(lab, lab.config(controller=own.SWITCH))
        site.ready()
        yield site
        site.alive()


class Phone:
    """A session, and packets of it."""

    def __init__(self, site: Site, *, voice: dict[str, Any] | None = None, **members: Any) -> None:
        number = next(_ues)
        self.site, self.ue, self.teid = site, f"10.45.3.{number}", 0x3000 + number
        self.log = own.Log(site.lab)
        self.sent = 0
        bearer = {
            "id": "voice",
            "precedence": 10,
            "filters": [f"permit out udp from any {VOICE_PORT} to assigned"],
            **(voice or {}),
        }
        more = members if voice is None else {"bearers": [bearer], **members}
        self.id = site.session(self.ue, teid=self.teid, downlink=self.teid, **more)
        self.path = f"/v1/sessions/{self.id}"

    def uplink(self, count: int, port: int = 9) -> int:
        """Send so many packets; how many come out."""
        packet = IP(src=self.ue, dst=PDN_IP) / UDP(sport=9, dport=port) / Raw(bytes(SIZE - 28))
        frame = self.site.t_pdu(self.teid, bytes(packet))
        return len(self.site.uplink(*[frame] * count))

    def downlink(self, count: int, port: int = 9) -> int:
        """The same from the core host."""
        packet = IP(src=PDN_IP, dst=self.ue) / UDP(sport=port, dport=9) / Raw(bytes(SIZE - 28))
        got = self.site.downlink(*[self.site.to_ue(bytes(packet))] * count)
        return sum(is_gtpu(frame, self.teid) for frame in got)

    def shown(self) -> dict[str, Any]:
        answer = self.site.lab.http("GET", self.path)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json()
        return found

    def closed(self, bearer: str | None = None) -> bool:
        found = self.shown()
        if bearer is not None:
            found = next(each for each in found["bearers"] if each["id"] == bearer)
        return found.get("closed") is not None

    def set(self, **usage: int | None) -> None:
        self.site.patch(self.id, {"usage": usage})

    def told(self, kind: str) -> list[dict[str, str]]:
        """Its events of a kind so far."""
        lines = (dict(re.findall(r"(\S+)=(\S+)", line)) for line in self.log.events(kind))
        return [facts for facts in lines if facts["session"] == self.id]

    def tells(self, kind: str, count: int = 1) -> list[dict[str, str]]:
        """The same once there are so many: a line of the log is written some time after."""
        until(lambda: len(self.told(kind)) >= count, f"{kind}, {count} times")
        found = self.told(kind)
        assert len(found) == count
        return found

    def opens(self, passes: Callable[[int], int]) -> None:
        """Wait until packets pass again: the switch's cache follows its flows."""
        until(lambda: passes(1), "packets pass")

    def shuts(self, passes: Callable[[int], int]) -> None:
        until(lambda: not passes(1), "packets do not pass")


def ofgtp(site: Site, command: str) -> subprocess.CompletedProcess[str]:
    words = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", str(OFGTP), *shlex.split(command)]
    return site.lab.exec("gw", words, check=False, timeout=120)


def number(told: dict[str, str], name: str) -> int:
    return int(told[name])


def spend(phone: Phone, port: int = 9, bearer: str | None = None) -> int:
    """Send both ways, 20 packets at a time, until the quota closes it; the octets that passed."""
    octets = 0

    def closed() -> bool:
        nonlocal octets
        octets += SIZE * (phone.uplink(10, port) + phone.downlink(10, port))
        return phone.closed(bearer)

    until(closed, "the quota is used up", timeout=60)
    return octets


def test_each_multiple_of_a_threshold_is_told(site: Site) -> None:
    phone = Phone(site, usage={"threshold_bytes": 10 * SIZE})
    assert phone.uplink(9) == 9
    assert phone.downlink(1) == 1
    assert phone.tells("usage_threshold")[0]["times"] == "1"
    assert phone.uplink(35) == 35
    until(lambda: sum(number(each, "times") for each in phone.told("usage_threshold")) == 4, "4")
    told = phone.told("usage_threshold")
    assert number(told[-1], "reached") == 4
    assert number(told[-1], "threshold_bytes") == 10 * SIZE
    used = number(told[-1], "uplink_bytes") + number(told[-1], "downlink_bytes")
    assert 40 * SIZE <= used <= 45 * SIZE
    assert number(told[-1], "downlink_bytes") == SIZE
    assert number(told[0], "reached") == 1


def test_a_quota_closes_both_ways_and_a_larger_one_opens(site: Site) -> None:
    quota = 200 * SIZE
    phone = Phone(site, usage={"quota_bytes": quota})
    assert phone.shown()["closed"] is None
    octets = spend(phone)
    assert octets >= quota
    [told] = phone.tells("quota_exhausted")
    assert quota <= number(told, "used_bytes") <= octets
    assert number(told, "quota_bytes") == quota
    phone.shuts(phone.uplink)
    phone.shuts(phone.downlink)
    with site.counted(quota_exhausted=7):
        assert (phone.uplink(4), phone.downlink(3)) == (0, 0)
    shown = phone.shown()
    assert (shown["closed"], shown["state"]) == ("quota", "active")
    # What does not speak of usage, and the same again, changes nothing.
    site.patch(phone.id, {"ambr": {"uplink_kbps": 100_000}})
    phone.set(quota_bytes=quota)
    phone.set(threshold_bytes=1_000_000)
    assert phone.closed()
    assert (phone.uplink(1), phone.downlink(1)) == (0, 0)
    phone.set(quota_bytes=2 * octets)
    assert not phone.closed()
    phone.opens(phone.uplink)
    phone.opens(phone.downlink)
    assert spend(phone) > 0
    first, second = phone.tells("quota_exhausted", 2)
    assert number(second, "used_bytes") >= 2 * octets > number(first, "used_bytes")
    phone.set(quota_bytes=None)
    assert not phone.closed()
    phone.opens(phone.uplink)


def test_a_quota_counts_from_when_it_was_given(site: Site) -> None:
    phone = Phone(site)
    assert phone.uplink(100) == 100
    own.until(lambda: site.packets(f"{phone.teid:#x}") >= 100, "the switch has counted them")
    phone.set(quota_bytes=100 * SIZE)
    assert phone.uplink(40) + phone.downlink(40) == 80
    with pytest.raises(AssertionError, match="not within"):
        until(phone.closed, "closed by what was used before", timeout=3)
    octets = 80 * SIZE + spend(phone)
    [told] = phone.tells("quota_exhausted")
    used = number(told, "used_bytes")
    assert 100 * SIZE <= used <= octets
    assert number(told, "uplink_bytes") + number(told, "downlink_bytes") == used + 100 * SIZE


def test_limits_go_on_over_changes_of_the_session(site: Site) -> None:
    phone = Phone(site, usage={"threshold_bytes": 60 * SIZE, "quota_bytes": 100 * SIZE})
    voice = {"id": "voice", "precedence": 1, "filters": ["permit out tcp from any to assigned"]}
    for turn, change in enumerate(
        (
            {"downlink": {"teid": phone.teid + 0x1000, "remote_ip": ENB_IP["enb"]}},
            {"downlink": None},
            {"bearers": [voice], "ambr": {"uplink_kbps": 100_000, "downlink_kbps": 100_000}},
        ),
        1,
    ):
        assert phone.uplink(20) == 20
        assert site.packets(f"reg0={phone.teid:#x}") == 20 * turn, "as it is to be counted"
        site.patch(phone.id, change)
    assert phone.tells("usage_threshold")[0]["uplink_bytes"] == str(60 * SIZE)
    assert phone.uplink(39) == 39 and not phone.closed()
    octets = 99 * SIZE + spend(phone)
    [told] = phone.tells("quota_exhausted")
    assert 100 * SIZE <= number(told, "used_bytes") <= octets


def test_the_quota_of_a_bearer_closes_that_alone(site: Site) -> None:
    quota = 100 * SIZE
    phone = Phone(site, voice={"usage": {"quota_bytes": quota}})
    assert phone.uplink(150) == 150, "of the session's own"
    assert not phone.closed("voice")
    assert spend(phone, VOICE_PORT, "voice") >= quota
    [told] = phone.tells("quota_exhausted")
    assert told["bearer"] == "voice"
    phone.shuts(lambda count: phone.uplink(count, VOICE_PORT))
    phone.shuts(lambda count: phone.downlink(count, VOICE_PORT))
    with site.counted(quota_exhausted=4):
        assert phone.uplink(2, VOICE_PORT) == phone.downlink(2, VOICE_PORT) == 0
        assert (phone.uplink(5), phone.downlink(5)) == (5, 5)
    answer = site.lab.http("PATCH", f"{phone.path}/bearers/voice", {"usage": {"quota_bytes": None}})
    assert answer.status == 200 and "closed" not in answer.json(), answer.body
    phone.opens(lambda count: phone.uplink(count, VOICE_PORT))
    phone.opens(lambda count: phone.downlink(count, VOICE_PORT))


@pytest.mark.parametrize("whose", ["session", "bearer"])
def test_a_trace_says_what_is_closed_and_opens_it(site: Site, whose: str) -> None:
    usage = {"usage": {"quota_bytes": 20 * SIZE}}
    phone = Phone(site, voice=usage) if whose == "bearer" else Phone(site, voice={}, **usage)
    spend(phone, VOICE_PORT, "voice" if whose == "bearer" else None)
    name = f"bearer voice of session {phone.id}" if whose == "bearer" else f"session {phone.id}"
    shown = ofgtp(site, f"session show {phone.id}").stdout
    assert "quota 10,000 octets, closed: the quota is used up" in shown
    for direction in ("uplink", "downlink"):
        options = f"--{direction} --json --proto udp --dport {VOICE_PORT}"
        done = ofgtp(site, f"trace {phone.id} {options}")
        [told] = json.loads(done.stdout)["ways"]
        assert (told["delivered"], told["reason"]) == (False, "quota_exhausted"), done.stdout
        assert told["says"] == f"the quota of {name} is used up"
        assert "larger one" in told["do"]
    assert ofgtp(site, told["run"].removeprefix("ofgtp ")).returncode == 0
    assert not phone.closed("voice" if whose == "bearer" else None)
    phone.opens(lambda count: phone.uplink(count, VOICE_PORT))


def test_no_packet_for_some_time_is_told_once(site: Site) -> None:
    phone = Phone(site, usage={"inactivity_seconds": 3})
    phone.tells("inactive")
    assert phone.uplink(1) == 1
    assert phone.tells("inactive", 2)[1]["uplink_bytes"] == str(SIZE), "behind the next packet"
    with pytest.raises(AssertionError, match="not within"):
        until(lambda: len(phone.told("inactive")) > 2, "told again", timeout=6)


@pytest.mark.parametrize("number_", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_closed_stays_closed_over_a_restart(site: Site, number_: signal.Signals) -> None:
    lab = site.lab
    spent = Phone(site, usage={"quota_bytes": 20 * SIZE, "threshold_bytes": 10 * SIZE})
    spend(spent)
    under_way = Phone(site, usage={"quota_bytes": 100 * SIZE, "threshold_bytes": 30 * SIZE})
    assert under_way.uplink(40) == 40
    under_way.tells("usage_threshold")
    lab.stop_controller(number_)
    spent.shuts(spent.uplink)
    assert under_way.uplink(40) == 40, "the switch goes on alone"
    own.start(lab, "switch")
    told = under_way.tells("usage_threshold", 2)
    assert [number(each, "reached") for each in told] == [1, 2], "what passed meanwhile is counted"
    assert spent.closed() and (spent.uplink(1), spent.downlink(1)) == (0, 0)
    assert not under_way.closed()
    spend(under_way)
    under_way.tells("quota_exhausted")
    spent.tells("quota_exhausted")


def test_what_is_closed_stays_closed_over_a_restart_of_the_switch(site: Site) -> None:
    lab = site.lab
    spent = Phone(site, usage={"quota_bytes": 20 * SIZE})
    spend(spent)
    under_way = Phone(site, usage={"quota_bytes": 100 * SIZE, "threshold_bytes": 40 * SIZE})
    assert under_way.uplink(40) == 40
    under_way.tells("usage_threshold")
    lab.stop_vswitchd()
    lab.start_vswitchd()
    own.until(lambda: own.in_sync(lab), "in sync")
    site.warm("enb", MARKER_UE, MARKER_DOWN)
    assert spent.closed() and (spent.uplink(1), spent.downlink(1)) == (0, 0)
    octets = spend(under_way)
    [told] = under_way.tells("quota_exhausted")
    assert 100 * SIZE <= number(told, "used_bytes") <= 40 * SIZE + octets
