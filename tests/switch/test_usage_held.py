"""Packets that were held for an idle UE, and are delivered, are counted as used: once."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import ownership as own
from tests.support import paging
from tests.support.lab import Lab
from tests.support.paging import Arrived, hold, numbered
from tests.support.site import ENB_IP, MARKER_DOWN, MARKER_UE, Site, until

pytestmark = pytest.mark.switch

SIZE = 88
"""IP octets of each packet."""
FAR = {"teid": 0x2001, "remote_ip": ENB_IP["enb"]}
COUNTED_S = 1.2
"""By then the switch has counted what had come."""

_ues = itertools.count(2)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        made = Site(lab, lab.config(controller=own.SWITCH))
        made.ready()
        yield made
        made.alive()


class Phone:
    """A session that is idle, and packets for it with numbers."""

    def __init__(self, site: Site, **members: Any) -> None:
        number = next(_ues)
        self.site, self.ue = site, f"10.45.7.{number}"
        self._teid, self._far = 0x1000 + number, FAR | {"teid": 0x2000 + number}
        self._arrived, self._number = Arrived(site), itertools.count()
        self.id = site.session(self.ue, teid=self._teid, **({"buffer": 64} | members))
        self.sent = 0

    def packets(self, count: int, **how: Any) -> list[bytes]:
        return numbered(self.ue, itertools.islice(self._number, count), size=SIZE - 28, **how)

    def hold(self, count: int) -> None:
        hold(self.site, *self.packets(count))
        self.sent += count

    def hold_told(self, count: int, dropped: int = 0) -> None:
        """The same, and some that there is no room for; wait until the switch has told of them."""
        before = paging.told(self.site, self.id)
        self.hold(count)
        with self.site.counted(**({"buffer_full": dropped} if dropped else {})):
            self.site.downlink(*map(self.site.to_ue, self.packets(dropped)))
        wanted = before + count + dropped
        until(lambda: paging.told(self.site, self.id) == wanted, "the switch has told of them")

    def send(self, count: int) -> None:
        self.site.pdn.send(*map(self.site.to_ue, self.packets(count)))
        self.sent += count

    def wake(self) -> None:
        self.site.patch(self.id, {"downlink": self._far})

    def wake_by_batch(self) -> None:
        uplink = {"teid": self._teid}
        whole = {"id": self.id, "ue_ip": self.ue, "uplink": uplink, "downlink": self._far}
        answer = own.batch(self.site.lab, [{"op": "put", "session": whole}])
        assert answer["replaced"] == 1

    def sleep(self) -> None:
        self.site.patch(self.id, {"downlink": None})

    def gets(self, count: int) -> None:
        """Wait until so many have come out."""
        until(lambda: len(self._arrived.of(self._far["teid"])) == count, f"{count} come out")

    def used(self) -> tuple[int, int]:
        found = self.site.lab.http("GET", f"/v1/sessions/{self.id}/usage").json()["downlink"]
        return found["packets"], found["bytes"]

    def counts(self, packets: int) -> None:
        """Wait until just so many are counted, and no more when all is told."""
        until(lambda: self.used()[0] >= packets, f"{packets} are counted")
        time.sleep(COUNTED_S)
        assert self.used() == (packets, packets * SIZE)


@pytest.mark.parametrize(("seconds", "batch"), [(0, False), (COUNTED_S, False), (0, True)])
def test_however_soon_the_ue_is_back(site: Site, seconds: float, batch: bool) -> None:
    """Whether or not the switch has told of the packets before the change."""
    phone = Phone(site)
    for _ in range(5):
        phone.hold(1)  # more than one: the first is told at once
    assert phone.used() == (0, 0)
    time.sleep(seconds)
    if batch:
        phone.wake_by_batch()
    else:
        phone.wake()
    phone.send(3)
    phone.gets(8)
    phone.counts(8)
    counted = site.lab.http("GET", f"/v1/sessions/{phone.id}").json()["counters"]["downlink"]
    assert (counted["packets"], counted["bytes"]) == (8, 8 * SIZE)


def test_of_each_idle_period(site: Site) -> None:
    """Those too that come while the UE falls asleep and wakes, and are sent on late."""
    phone = Phone(site)
    for _ in range(4):
        phone.hold(3)
        phone.send(5)  # not waited for: some are on their way when the UE wakes
        phone.wake()
        phone.send(5)
        phone.gets(phone.sent)
        phone.counts(phone.sent)  # or what it had is told with what is held
        phone.sleep()
    phone.counts(phone.sent)
    phone.wake()
    phone.counts(phone.sent)


def test_what_is_dropped_is_not(site: Site) -> None:
    """Neither what there is no room for, nor what nobody waits for any more."""
    phone = Phone(site, buffer=3)
    phone.hold_told(3, dropped=2)
    phone.wake()
    phone.gets(3)
    phone.counts(3)
    phone.sleep()
    phone.hold_told(2)
    with site.counted(idle_ue=2):
        site.patch(phone.id, {"buffer": None})
    phone.wake()
    phone.counts(3)


def test_of_a_bearer_that_is_idle_alone(site: Site) -> None:
    voice = {
        "id": "voice",
        "precedence": 10,
        "filters": ["permit out udp from any 5004 to assigned"],
        "uplink": {"teid": 0x1901},
        "downlink": None,
    }
    phone = Phone(site, downlink=0x2900, bearers=[voice])
    for _ in range(4):
        hold(site, *phone.packets(1, sport=5004))
    far = {"downlink": FAR | {"teid": 0x2901}}
    path = f"/v1/sessions/{phone.id}"
    assert site.lab.http("PATCH", f"{path}/bearers/voice", far).status == 200
    phone.counts(4)
    rules = site.lab.http("GET", f"{path}/usage").json()["rules"]
    [found] = [each["downlink"] for each in rules if each["id"] == "voice"]
    assert found == {"packets": 4, "bytes": 4 * SIZE}
    assert site.lab.http("DELETE", f"{path}/bearers/voice").status in (200, 204)
    phone.counts(4)


def test_over_a_kill(site: Site) -> None:
    """What was counted once stays, and another process begins with what it sends on itself."""
    phone = Phone(site)
    phone.hold(4)
    phone.wake()
    phone.gets(4)
    phone.counts(4)
    phone.sleep()
    site.lab.stop_controller(signal.SIGKILL)
    own.start(site.lab, "switch")
    phone.counts(4)
    phone.hold_told(6)
    phone.wake()
    phone.gets(10)
    phone.counts(10)


def test_over_a_restart_of_the_switch(site: Site) -> None:
    """What it had not told is not missing in what it tells next."""
    phone = Phone(site)
    phone.hold(3)
    site.lab.stop_vswitchd()
    site.lab.start_vswitchd()
    until(lambda: own.in_sync(site.lab), "all is in order")
    site.warm("enb", MARKER_UE, MARKER_DOWN)
    for _ in range(4):
        phone.hold(1)
    phone.wake()
    phone.gets(7)
    phone.counts(7)


def test_a_quota_is_reached_by_them(site: Site) -> None:
    phone = Phone(site, usage={"quota_bytes": 10 * SIZE})
    log = own.Log(site.lab)
    for _ in range(5):
        phone.hold(2)
    phone.wake()
    phone.gets(10)
    until(lambda: log.events("quota_exhausted"), "it is told")
    path = f"/v1/sessions/{phone.id}"
    until(lambda: site.lab.http("GET", path).json().get("closed") is not None, "it is closed")
    with site.counted(quota_exhausted=1):
        site.downlink(*map(site.to_ue, phone.packets(1)))
    phone.counts(10)
