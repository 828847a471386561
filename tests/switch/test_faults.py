"""What may happen to a running gateway: somebody's hands in the switch, a second controller, a full
disk. All of it while a stream of packets goes both ways."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ownership as own
from tests.support.lab import ROOT, Lab, gateway
from tests.support.stream import Stream

pytestmark = pytest.mark.switch

NOTICED_S = 20.0
"""Damage is put right within this time, on a machine that has much to do."""


@pytest.fixture(scope="module", params=["controller", "switch"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, int | None]]:
    """A gateway with some sessions, in each mode; every damage below is put right again."""
    with Lab() as lab:
        own.start(lab, request.param)
        own.put(lab)
        own.batch(lab, own.puts(range(20)))
        yield lab, own.LEASE_S if request.param == "controller" else None


def ofctl(*arguments: str) -> Callable[[Lab], Any]:
    return lambda lab: lab.ofctl(arguments[0], own.BRIDGE, *arguments[1:])


def vsctl(*arguments: str) -> Callable[[Lab], Any]:
    return lambda lab: lab.vsctl(*arguments)


def command(*argv: str) -> Callable[[Lab], Any]:
    return lambda lab: lab.exec("gw", argv)


GATEWAY = gateway()
MINE = f"cookie={own.SESSION_COOKIE + 99:#x}"

DAMAGE: dict[str, Callable[[Lab], Any]] = {
    "all flows deleted": ofctl("del-flows"),
    "our flows deleted": ofctl("del-flows", own.OURS),
    "one session's flow deleted": ofctl("del-flows", "table=30,reg0=0x1001"),
    "uplink flows changed": ofctl("mod-flows", "table=30,actions=drop"),
    "a downlink flow changed": ofctl("mod-flows", "table=70,ip,nw_dst=10.45.0.2,actions=drop"),
    "a TEID changed": ofctl(
        "mod-flows",
        "table=70,ip,nw_dst=10.45.0.2,actions=decap(),set_field:0x2002->tun_id,"
        "set_field:10.1.0.2->tun_dst,output:3",
    ),
    "a flow added under our cookie": ofctl(
        "add-flow", f"{MINE},table=70,priority=200,ip,nw_dst=10.45.0.2,actions=drop"
    ),
    "a flow of ours replaced by another's": ofctl(
        "add-flow", "cookie=0x5,table=70,priority=0,actions=drop"
    ),
    "meters deleted": ofctl("del-meters"),
    "nftables flushed": command("nft", "flush ruleset"),
    "access port deleted": lambda lab: lab.vsctl("del-port", own.BRIDGE, lab.end("eth1")),
    "core port deleted": lambda lab: lab.vsctl("del-port", own.BRIDGE, lab.end("eth2")),
    "gtpu port deleted": vsctl("del-port", own.BRIDGE, GATEWAY.gtpu_port),
    "gtpu port for marked packets deleted": vsctl("del-port", own.BRIDGE, GATEWAY.ecn_ports[1]),
    "bridge deleted": vsctl("del-br", own.BRIDGE),
    "controller taken off": vsctl("del-controller", own.BRIDGE),
    "access address deleted": command("ip", "addr", "flush", "dev", own.BRIDGE),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_put_right(running: tuple[Lab, int | None], what: str) -> None:
    lab, lease = running
    own.assert_settled(lab, lease)
    before, tables, log = own.gateway(lab)["repairs"], own.our_tables(lab), own.Log(lab)
    with Stream(lab) as stream:
        time.sleep(0.3)
        done = time.monotonic()
        DAMAGE[what](lab)
        own.until(lambda: log.events("repaired"), "event `repaired`", timeout=NOTICED_S)
        noticed = time.monotonic() - done
        own.assert_settled(lab, lease, timeout=NOTICED_S)
        assert own.our_tables(lab) == tables
        settled = time.monotonic()
        back = stream.wait_flowing(settled) - done
        time.sleep(0.3)
    assert own.gateway(lab)["repairs"] > before
    for way in (stream.up, stream.down):
        for first, seconds, _ in way.outages():
            assert first + seconds < done + NOTICED_S
        assert way.received[-1] is not None
    assert back < NOTICED_S + 1
    print(f"{what}: noticed after {noticed:.2f} s; {stream}")


def test_what_is_not_ours_is_left_alone(running: tuple[Lab, int | None]) -> None:
    lab, lease = running
    own.assert_settled(lab, lease)
    before = own.gateway(lab)["repairs"]
    foreign = "cookie=0x77,table=30,priority=7,ip actions=drop"
    lab.ofctl("add-flow", own.BRIDGE, foreign)
    lab.exec("gw", ["nft", "add table inet theirs"])
    time.sleep(4)
    own.assert_settled(lab, lease, [foreign])
    assert "table inet theirs" in lab.exec("gw", ["nft", "list", "ruleset"]).stdout
    assert own.gateway(lab)["repairs"] == before
    lab.ofctl("--strict", "del-flows", own.BRIDGE, "cookie=0x77/-1,table=30,priority=7,ip")


def test_a_second_controller_stands_back(running: tuple[Lab, int | None]) -> None:
    lab, lease = running
    own.assert_settled(lab, lease)
    flows, log = own.our_flows(lab), own.Log(lab)
    second = Second(lab, lease)
    with Stream(lab) as stream:
        with second:
            health = own.until(second.health, "the second controller's answer")
            time.sleep(4)
            health = second.health()
            assert health is not None and health.status == 503
            [told] = health.json()["gateways"]
            assert not told["connected"]
            assert "another controller" in told["problem"], told
        time.sleep(1)
    own.until(lambda: "another controller" in second.log.read_text(), "its log says so")
    assert stream.lost == 0, str(stream)
    assert own.our_flows(lab) == flows
    assert log.events("disconnected") == []
    assert own.our_tables(lab)
    own.assert_settled(lab, lease)


class Second:
    """Another controller for the same bridge, with other ports of its own."""

    def __init__(self, lab: Lab, lease: int | None) -> None:
        self.lab, self.log = lab, lab.dir / "second.log"
        mode = own.SWITCH if lease is None else own.CONTROLLER
        text = lab.config(controller=mode).replace(":6653", ":6654").replace(":8080", ":8081")
        self.config = lab.dir / "second.toml"
        self.config.write_text(text.replace("sessions.db", "second.db"))

    def __enter__(self) -> Second:
        with self.log.open("wb") as output:
            self.process = self.lab.spawn(
                "gw",
                [str(Path(sys.executable).parent / "ryu-manager"), "ofgtp.app"],
                env={**self.lab.env, "OFGTP_CONFIG": str(self.config)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it cleanly: that must not harm the first one either."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def health(self) -> Any:
        try:
            return self.lab.http("GET", "/v1/health", address=("127.0.0.1", 8081))
        except OSError:
            return None


@pytest.mark.parametrize("mode", ["controller", "switch"])
def test_a_full_disk_refuses_and_changes_nothing(mode: str) -> None:
    with Lab() as lab:
        disk = SmallDisk(lab, mode)
        own.put(lab)
        own.batch(lab, own.puts(range(50)))
        flows, told = own.our_flows(lab), own.sessions(lab)
        with Stream(lab) as stream:
            disk.fill()
            lease = None if mode == "switch" else own.LEASE_S
            refused = 0
            for number in range(100, 106):
                answer = lab.http("PUT", "/v1/sessions/x", own.nth_session(number) | {"id": "x"})
                refused += answer.status == 503
                if answer.status == 503:
                    problem = answer.json()
                    assert answer.headers["content-type"].startswith("application/problem+json")
                    assert "disk" in (problem["title"] + problem.get("detail", "")).lower(), problem
                else:  # there was still a page
                    assert answer.status in (200, 201)
                    told = own.sessions(lab)
                    own.until(lambda: own.in_sync(lab), "in sync")
                    flows = own.our_flows(lab)
            assert refused
            body = own.batch_body(own.puts(range(1000, 1500)))
            head = {"Content-Type": "application/x-ndjson"}
            batch = lab.http("POST", "/v1/sessions:batch", body, headers=head)
            assert batch.status == 503, batch.body
            deletion = lab.http("DELETE", f"/v1/sessions/{own.nth_session(1)['id']}")
            assert deletion.status == 503, deletion.body
            health = lab.http("GET", "/v1/health")
            assert health.status == 503
            own.until(lambda: own.in_sync(lab), "in sync")
            assert {k: without_counters(v) for k, v in own.sessions(lab).items()} == {
                k: without_counters(v) for k, v in told.items()
            }
            own.until(lambda: own.our_flows(lab) == flows, "the flows as they were")
            disk.free()
            own.put(lab, own.nth_session(200))
            own.until(lambda: lab.http("GET", "/v1/health").status == 200, "healthy")
            own.assert_settled(lab, lease)
        assert stream.lost == 0, str(stream)
        print(f"full disk, {mode}: {refused} refused; {stream}")


def without_counters(session: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in session.items() if key != "counters"}


class SmallDisk:
    """A store on a tmpfs of a few pages, in a mount namespace that ends with the controller."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.lab, self.where = lab, lab.dir / "small"
        self.where.mkdir()
        text = lab.config(controller=own.MODES[mode])
        config = lab.dir / "ofgtp.toml"
        config.write_text(text.replace(f"{lab.dir}/sessions.db", f"{self.where}/sessions.db"))
        start = f"mount -t tmpfs -o size=1m tmpfs {self.where} && exec ryu-manager ofgtp.app"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with lab.controller_log.open("ab") as output:
            lab.controller = lab.spawn(
                "gw",
                ["sh", "-c", start],
                env={**lab.env, "OFGTP_CONFIG": str(config), "PATH": path},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        lab.wait_health()
        own.until(lambda: own.in_sync(lab), "in sync")

    def _inside(self, command: str) -> None:
        assert self.lab.controller is not None
        words = ["nsenter", f"--target={self.lab.controller.pid}", "--mount", "sh", "-c", command]
        self.lab.exec("gw", words)

    def fill(self) -> None:
        self._inside(f"dd if=/dev/zero of={self.where}/filler bs=1k 2>/dev/null; true")

    def free(self) -> None:
        self._inside(f"rm {self.where}/filler")
