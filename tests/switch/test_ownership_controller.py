"""`ownership = "controller"`: the tunnels live as long as the controller, seen from the traffic."""

from __future__ import annotations

import math
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support import ownership as own
from tests.support.lab import Lab
from tests.support.stream import SESSION, Stream, Way

pytestmark = pytest.mark.switch

STOP_S = 15.0
"""Longest time that a clean stop may take, on a machine that has much to do."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        own.start(lab, "controller")
        own.put(lab)
        yield lab


def ended_stores(lab: Lab) -> list[str]:
    return sorted(path.name for path in lab.dir.glob("sessions.db.ended-*"))


def arrived(way: Way, since: float = 0.0, until: float = math.inf) -> set[bool]:
    """Whether packets have arrived that were sent then."""
    pairs = zip(way.sent, way.received, strict=True)
    return {received is not None for sent, received in pairs if since < sent < until}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_takes_everything_along(lab: Lab, number: signal.Signals) -> None:
    foreign = "cookie=0x77,table=0,priority=1,dl_type=0x1234 actions=drop"
    lab.ofctl("add-flow", own.BRIDGE, foreign)
    with Stream(lab) as stream:
        time.sleep(1)
        asked = time.monotonic()
        assert lab.stop_controller(number) == 0
        ended = time.monotonic()
        assert own.our_flows(lab) == []
        assert own.our_tables(lab) == ""
        lab.cache_follows()
        followed = time.monotonic()
        time.sleep(0.5)
    assert ended - asked < STOP_S
    assert "cookie=0x77" in lab.ofctl("dump-flows", own.BRIDGE), "what is not ours stays"
    for name, way in (("uplink", stream.up), ("downlink", stream.down)):
        assert arrived(way, since=followed) == {False}, f"{name}: forwarded after the stop"
        # but what may have been under way when it was asked to stop
        assert arrived(way, until=asked - 0.5) == {True}, f"{name}: lost before the stop"
    print(f"{number.name}: ended after {ended - asked:.2f} s; {stream}")


def test_lease_ends_forwarding_after_a_crash(lab: Lab) -> None:
    before = own.instance(lab)
    with Stream(lab) as stream:
        time.sleep(1)
        fault = time.monotonic()
        own.crash(lab)
        time.sleep(own.LEASE_S + 1)
        assert own.our_flows(lab), "nobody was there to delete them"
    check_lease(stream, fault, "kill -9")

    # the next one begins empty, and says so
    log = own.Log(lab)
    own.start(lab, "controller")
    assert own.instance(lab) != before
    assert own.sessions(lab) == {}
    own.assert_settled(lab, own.LEASE_S)
    assert log.says("were set aside as")
    [aside] = ended_stores(lab)
    with closing(sqlite3.connect(lab.dir / aside)) as kept:
        assert kept.execute("SELECT id FROM sessions").fetchall() == [(SESSION["id"],)]


def test_lease_ends_forwarding_while_the_controller_hangs(lab: Lab) -> None:
    before = own.instance(lab)
    with Stream(lab) as stream:
        time.sleep(1)
        fault = time.monotonic()
        with own.frozen(lab):
            time.sleep(own.LEASE_S + 1)
            again = time.monotonic()
        back = stream.wait_flowing() - again
    check_lease(stream, fault, f"SIGSTOP (back {back:.2f} s after SIGCONT)", again)
    assert own.instance(lab) == before, "it was only slow: it goes on"
    own.assert_settled(lab, own.LEASE_S)
    assert own.Log(lab).events("lease_expired") == []


def test_lease_ends_forwarding_when_the_wire_is_cut(lab: Lab) -> None:
    before = own.instance(lab)
    with Stream(lab) as stream:
        time.sleep(1)
        fault = time.monotonic()
        with own.openflow_cut(lab):
            time.sleep(own.LEASE_S + 1)
            during = own.put(lab, own.nth_session(1), "pending")
            mended = time.monotonic()
        back = stream.wait_flowing() - mended
    assert during["id"] in own.sessions(lab)
    check_lease(stream, fault, f"wire cut (back {back:.2f} s after it was mended)", mended)
    assert own.instance(lab) == before
    own.assert_settled(lab, own.LEASE_S)


def check_lease(stream: Stream, fault: float, what: str, again: float = math.inf) -> None:
    """Each way: nothing lost before the fault, and its end within the lease, till it was mended."""
    for name, way in (("uplink", stream.up), ("downlink", stream.down)):
        assert arrived(way, until=fault) == {True}, f"{name}: lost before the fault"
        ended = fault + own.LEASE_S
        assert arrived(way, since=ended, until=again) == {False}, f"{name}: after the lease"
        first, seconds, lost = max(way.outages(), key=lambda each: each[2])
        print(
            f"{what}: {name} ended {first - fault:.2f} s after the fault; "
            f"{lost} lost in {seconds:.2f} s"
        )


def test_a_slow_controller_keeps_its_lease(lab: Lab) -> None:
    with Stream(lab) as stream:
        for _ in range(2):
            with own.frozen(lab):
                time.sleep(1.5)
            time.sleep(1.5)
    assert stream.lost == 0, str(stream)


def test_nothing_is_lost_while_the_controller_is_well(lab: Lab) -> None:
    """Twenty seconds of traffic, with batches of 20,000 sessions in the middle."""
    check_busy(lab, 20_000, own.LEASE_S, quiet=8.0)


@pytest.mark.long
@pytest.mark.parametrize("lease_seconds", [5, 10])
def test_nothing_is_lost_during_a_batch_of_100000(lease_seconds: int) -> None:
    with Lab() as lab:
        text = lab.config(controller=f"lease_seconds = {lease_seconds}")
        lab.start_controller(text.replace('"10.45.0.0/16"', '"10.45.0.0/16", "10.46.0.0/15"'))
        own.put(lab)
        check_busy(lab, 100_000, lease_seconds, quiet=2.0)


def check_busy(lab: Lab, count: int, lease_seconds: int, *, quiet: float) -> None:
    started = time.monotonic()
    # 50 packets a second: the switch's one thread also takes the flows, and meanwhile the
    # kernel's socket buffers hold some two hundred
    with Stream(lab, interval=0.02) as stream:
        time.sleep(quiet)
        for operations in (
            list(own.puts(range(count))),
            [{"op": "delete", "id": own.nth_session(number)["id"]} for number in range(count)],
        ):
            begun = time.monotonic()
            own.batch(lab, operations, timeout=300)
            print(f"batch of {count}: {time.monotonic() - begun:.1f} s")
        time.sleep(max(1.0, started + 20 - time.monotonic()))
    assert own.gateway(lab)["drops"]["lease_expired"] == 0
    assert stream.lost == 0, (str(stream), stream.up.outages(), stream.down.outages())
    print(f"{time.monotonic() - started:.0f} s: {stream}")


@pytest.mark.parametrize("damage", ["bytes", "text"])
def test_a_damaged_store_is_set_aside_and_the_start_is_empty(lab: Lab, damage: str) -> None:
    own.crash(lab)
    own.damage_store(lab, damage)
    log = own.Log(lab)
    own.start(lab, "controller")
    assert own.sessions(lab) == {}
    [aside] = lab.dir.glob("sessions.db.damaged-*")
    assert log.says(str(aside)), "it is named"
    own.assert_settled(lab, own.LEASE_S)
