"""`ownership = "switch"`: the switch forwards on while the controller is away."""

from __future__ import annotations

import json
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import ownership as own
from tests.support.lab import Lab, LabError
from tests.support.stream import SESSION, Stream

pytestmark = pytest.mark.switch

LONG_LEASE_S = 30


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        own.start(lab, "switch")
        own.put(lab)
        yield lab


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_loses_no_packet_and_sends_no_flow_mod(lab: Lab, number: signal.Signals) -> None:
    own.batch(lab, own.puts(range(500)))
    own.assert_settled(lab, None)
    before, flows, durations = own.instance(lab), own.our_flows(lab), flow_starts(lab)
    tables = own.our_tables(lab)
    with Stream(lab) as stream:
        heard = own.SwitchLog(lab)
        log = own.Log(lab)
        time.sleep(0.5)
        lab.stop_controller(number)
        time.sleep(2)
        assert own.our_flows(lab) == flows
        assert own.our_tables(lab) == tables
        own.start(lab, "switch")
        time.sleep(1)
        sent = heard.flow_mods()
    assert stream.lost == 0, str(stream)
    assert sent == 0, "flow-mods, as the switch itself counts them"
    assert [line for line in log.has("in_sync") if "flows_changed=0" in line]
    assert own.instance(lab) == before
    assert own.our_flows(lab) == flows
    earliest, latest = flow_starts(lab)
    assert earliest <= durations[1] and durations[0] <= latest, "the flows are as old as they were"
    assert len(own.sessions(lab)) == 501
    own.put(lab, own.nth_session(9000))
    assert heard.flow_mods() == 2, "the count does count"
    print(f"{number.name} and restart: {stream}; {sent} flow-mods")


def flow_starts(lab: Lab) -> tuple[float, float]:
    """When the youngest of our flows was added, by the switch's account: between these times."""
    asked = time.monotonic()
    text = lab.ofctl("dump-flows", own.BRIDGE, own.OURS)
    answered = time.monotonic()
    age = min(float(age) for age in re.findall(r"duration=([0-9.]+)s", text))
    return asked - age - 0.01, answered - age + 0.01


def test_damage_done_while_away_is_put_right_and_reported(lab: Lab) -> None:
    own.batch(lab, own.puts(range(3)))
    kept, foreign = own.our_flows(lab), "cookie=0x77,table=30,priority=7,ip actions=drop"
    own.crash(lab)
    uplinks = [own.nth_session(number)["uplink"]["teid"] for number in range(3)]
    # removed, changed, added under our cookie; and one that is not ours
    lab.ofctl("del-flows", own.BRIDGE, f"table=30,reg0={uplinks[0]:#x}")
    lab.ofctl("mod-flows", own.BRIDGE, f"table=30,reg0={uplinks[1]:#x},actions=drop")
    mine = f"cookie={own.SESSION_COOKIE + 77:#x},table=30,priority=100,ip,reg0=0x999"
    lab.ofctl("add-flow", own.BRIDGE, f"{mine} actions=goto_table:40")
    lab.ofctl("add-flow", own.BRIDGE, foreign)
    lab.exec("gw", ["nft", "flush ruleset"])
    assert own.our_flows(lab) != kept
    log = own.Log(lab)
    own.start(lab, "switch")
    own.assert_settled(lab, None, [foreign])
    assert own.our_flows(lab) == kept
    assert own.our_tables(lab)
    [changed] = re.findall(r"flows_changed=(\d+)", "".join(log.has("in_sync")))
    assert int(changed) >= 3, "those three, and the epoch"


@pytest.mark.parametrize("seed", range(2))
def test_a_crash_in_the_middle_of_puts(lab: Lab, seed: int) -> None:
    """What was answered is there; what was not is there whole, or not at all."""
    chance = random.Random(seed)
    answered: dict[str, dict[str, Any]] = {}
    asked: list[dict[str, Any]] = []
    client = own.Client(lab)

    def work() -> None:
        for count in range(100_000):
            session = own.nth_session(chance.randrange(200))
            session["downlink"] = {"teid": 0x30_0000 + count, "remote_ip": "10.1.0.2"}
            asked.append(session)
            body = json.dumps(session).encode()
            status = client.call("PUT", f"/v1/sessions/{session['id']}", body, "application/json")
            if status not in (200, 201):
                return
            answered[session["id"]] = session

    crash_during(lab, work, client, chance.random(), lambda: len(answered) > 10)
    last = asked[-1]
    told = own.sessions(lab)
    del told[SESSION["id"]]
    for session_id, wanted in answered.items():
        if session_id != last["id"]:
            assert same(told[session_id], wanted)
    may_be = [answered.get(last["id"]), last]
    assert any(
        told.get(last["id"]) is None if wanted is None else same(told.get(last["id"]), wanted)
        for wanted in may_be
    )
    assert set(told) <= {*answered, last["id"]}
    own.assert_settled(lab, None)


def same(told: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    return told is not None and (told["ue_ip"], told["uplink"]["teid"], told["downlink"]) == (
        wanted["ue_ip"],
        wanted["uplink"]["teid"],
        wanted["downlink"],
    )


@pytest.mark.parametrize("seed", range(2))
def test_a_crash_in_the_middle_of_a_batch(lab: Lab, seed: int) -> None:
    """All of the batch is there, or nothing of it."""
    chance = random.Random(seed)
    present = set(range(0, 3000, 3))
    own.batch(lab, own.puts(present))
    client, statuses, batches = own.Client(lab), [], [present]

    def work() -> None:
        while True:
            now = set(batches[-1])
            operations: list[dict[str, Any]] = []
            for number in chance.sample(range(3000), 1500):
                if number in now:
                    operations.append({"op": "delete", "id": own.nth_session(number)["id"]})
                else:
                    operations.extend(own.puts([number]))
                now ^= {number}
            batches.append(now)
            body = own.batch_body(operations)
            status = client.call("POST", "/v1/sessions:batch", body, "application/x-ndjson")
            if status != 200:
                return
            statuses.append(status)

    crash_during(lab, work, client, 0.1 + 1.4 * chance.random())
    told = set(own.sessions(lab)) - {SESSION["id"]}
    ids = [{str(own.nth_session(number)["id"]) for number in batch} for batch in batches[-2:]]
    assert told in ids, "neither as before the batch nor as after it"
    own.assert_settled(lab, None)
    print(f"{len(statuses)} batches answered; the last was {'done' if told == ids[1] else 'not'}")


def crash_during(
    lab: Lab, work: Any, client: own.Client, seconds: float, begun: Any = lambda: True
) -> None:
    worker = threading.Thread(target=work)
    worker.start()
    own.until(begun, "the work has begun")
    time.sleep(seconds)
    own.crash(lab)
    worker.join(60)
    assert not worker.is_alive()
    client.close()
    own.start(lab, "switch")


@pytest.mark.parametrize("damage", ["bytes", "text"])
def test_a_damaged_store_is_set_aside_and_nothing_is_touched(lab: Lab, damage: str) -> None:
    flows = own.our_flows(lab)
    with Stream(lab) as stream:
        own.crash(lab)
        good = (lab.dir / "sessions.db").read_bytes()
        wal = lab.dir / "sessions.db-wal"
        journal = wal.read_bytes() if wal.exists() else None
        own.damage_store(lab, damage)
        log = own.Log(lab)
        with pytest.raises(LabError, match="it ended"):
            lab.start_controller(lab.config(controller=own.SWITCH))
        assert lab.controller is not None
        assert lab.controller.wait(30) == 3
        [aside] = lab.dir.glob("sessions.db.damaged-*")
        assert str(aside) in log.text(), "it is named"
        assert own.our_flows(lab) == flows
        # with a good copy in its place all is as before
        (lab.dir / "sessions.db").write_bytes(good)
        if journal is not None:
            wal.write_bytes(journal)
        own.start(lab, "switch")
    assert stream.lost == 0, str(stream)
    assert set(own.sessions(lab)) == {SESSION["id"]}
    assert own.our_flows(lab) == flows


@pytest.mark.parametrize("what", ["ovs-vswitchd", "the whole switch"])
def test_a_switch_that_was_killed_is_filled_again(lab: Lab, what: str) -> None:
    own.batch(lab, own.puts(range(100)))
    with Stream(lab) as stream:
        time.sleep(0.5)
        lab.stop_vswitchd()
        if what != "ovs-vswitchd":
            lab.stop_ovsdb()
            lab.start_ovsdb()
        started = time.monotonic()
        lab.start_vswitchd()
        back = stream.wait_flowing(started) - started
        until_sync = own.until(lambda: own.in_sync(lab), "in sync") and time.monotonic() - started
        time.sleep(1)
    own.assert_settled(lab, None)
    assert back < 30
    print(f"{what} killed: forwarding {back:.2f} s after its start, in sync {until_sync:.2f} s")
    print(f"  {stream}")


@pytest.mark.parametrize("mode", ["controller", "switch"])
def test_a_restart_of_the_ovsdb_server_loses_nothing(mode: str) -> None:
    """Packets wait while ovs-vswitchd has no database (a second or so), and then go on."""
    with Lab() as lab:
        # a machine that has much to do may take longer for it than the shortest lease
        config = own.SWITCH if mode == "switch" else f"lease_seconds = {LONG_LEASE_S}"
        lab.start_controller(lab.config(controller=config))
        own.until(lambda: own.in_sync(lab), "in sync")
        own.put(lab)
        # 50 packets a second: the kernel's socket buffers hold some two hundred
        with Stream(lab, interval=0.02) as stream:
            heard, log = own.SwitchLog(lab), own.Log(lab)
            changes = own.flow_mods_but_renewals(heard)
            time.sleep(0.5)
            lab.stop_ovsdb()
            lab.start_ovsdb()
            time.sleep(4)
            assert own.flow_mods_but_renewals(heard) == changes
            assert own.put(lab, own.nth_session(1))["state"] == "active"
            assert own.flow_mods_but_renewals(heard) == changes + 2
        assert stream.lost == 0, str(stream)
        assert log.events("disconnected") == log.events("lease_expired") == [], "nothing flaps"
        assert own.gateway(lab)["repairs"] == 0
        own.assert_settled(lab, LONG_LEASE_S if mode == "controller" else None)
        print(f"ovsdb-server restarted, {mode}: {stream}; {stream.delay:.2f} s late at most")


def test_ovsdb_server_away_for_longer(lab: Lab) -> None:
    """Without a database ovs-vswitchd forwards nothing; when it is back all is as before."""
    flows, before = own.our_flows(lab), own.instance(lab)
    with Stream(lab) as stream:
        log = own.Log(lab)
        lab.stop_ovsdb()
        time.sleep(3)
        lab.start_ovsdb()
        started = time.monotonic()
        back = stream.wait_flowing(started + 0.2) - started
        time.sleep(1)
    assert own.our_flows(lab) == flows
    assert own.instance(lab) == before
    assert log.events("disconnected") == []
    own.assert_settled(lab, None)
    print(f"ovsdb-server away for 3 s: back {back:.2f} s after its start; {stream}")


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 10_000, 100_000])
def test_times_with_many_sessions(count: int) -> None:
    """How long a switch takes to be back, and a controller to stop and to start."""
    with Lab() as lab:
        text = lab.config(controller=own.SWITCH).replace(
            '"10.45.0.0/16"', '"10.45.0.0/16", "10.46.0.0/15"'
        )
        lab.start_controller(text)
        own.until(lambda: own.in_sync(lab), "in sync")
        own.put(lab)
        if count > 1:
            own.batch(lab, own.puts(range(count - 1)), timeout=300)
        with Stream(lab, interval=0.02) as stream:
            lab.stop_vswitchd()
            started = time.monotonic()
            lab.start_vswitchd()
            back = stream.wait_flowing(started, timeout=120) - started
            own.until(lambda: own.in_sync(lab), "in sync", timeout=120)
            synced = time.monotonic() - started
        print(f"{count} sessions: forwarding {back:.1f} s, in sync {synced:.1f} s after the start")
        assert session_flow_count(lab) == 2 * count
        with Stream(lab, interval=0.02) as stream:
            own.crash(lab)
            started = time.monotonic()
            heard = own.SwitchLog(lab)
            lab.start_controller(text, timeout=120)
            own.until(lambda: own.in_sync(lab), "in sync", timeout=120)
            print(f"  controller restarted: in sync after {time.monotonic() - started:.1f} s")
            assert heard.flow_mods() == 0
        assert stream.lost == 0, str(stream)
        assert len(own.sessions(lab)) == count


@pytest.mark.long
def test_a_clean_stop_with_100000_sessions() -> None:
    """With `ownership = "controller"` all flows go in at most 5 s."""
    with Lab() as lab:
        text = lab.config().replace('"10.45.0.0/16"', '"10.45.0.0/16", "10.46.0.0/15"')
        lab.start_controller(text)
        own.batch(lab, own.puts(range(100_000)), timeout=300)
        assert session_flow_count(lab) == 200_000
        started = time.monotonic()
        assert lab.stop_controller() == 0
        seconds = time.monotonic() - started
        assert own.our_flows(lab) == []
        assert own.our_tables(lab) == ""
        print(f"clean stop with 100,000 sessions: {seconds:.2f} s")
        assert seconds <= 5


def session_flow_count(lab: Lab) -> int:
    asked = f"cookie={own.SESSION_COOKIE:#x}/0xffffff0000000000"
    text = lab.ofctl("dump-aggregate", own.BRIDGE, asked)
    return int(re.findall(r"flow_count=(\d+)", text)[0])
