"""The `ofgtp` command as its users type it, against a real controller and switch.

After each change the switch has exactly the flows of the sessions that the API lists.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab
from tests.support.ownership import flow_differences, in_sync, sessions, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
KEPT = 'ownership = "switch"'  # sessions outlive a stop


@dataclass
class Command:
    """`ofgtp` on the switch's host."""

    lab: Lab

    def argv(self, command: str) -> list[str]:
        return ["env", f"OFGTP_CONFIG={self.lab.dir}/ofgtp.toml", str(OFGTP), *command.split()]

    def __call__(self, command: str, stdin: str = "", code: int = 0) -> str:
        """Run it; what it prints, or, with an exit code, the error."""
        done = self.lab.exec("gw", self.argv(command), check=False, stdin=stdin, timeout=120)
        assert done.returncode == code, (command, done)
        assert code == 0 or done.stderr.count("\n") == 1, done.stderr
        return done.stdout if code == 0 else done.stderr

    def changes(self, command: str, stdin: str = "") -> str:
        """Run it; then the switch is as the API says, at once."""
        printed = self(command, stdin)
        wrong = flow_differences(self.lab, sessions(self.lab).values(), None)
        assert not wrong, (command, wrong[:20])
        return printed

    def has(self, *parts: str) -> bool:
        """Whether the switch has a flow with all these parts."""
        lines = self.lab.ofctl("--no-stats", "dump-flows", "br-ofgtp").splitlines()
        return any(all(part in line for part in parts) for line in lines)


@pytest.fixture(scope="module")
def running() -> Iterator[Command]:
    with Lab() as lab:
        lab.start_controller(lab.config(controller=KEPT))
        until(lambda: in_sync(lab), "in sync")
        yield Command(lab)


@pytest.fixture
def ofgtp(running: Command) -> Command:
    there = [json.dumps({"op": "delete", "id": name}) for name in sessions(running.lab)]
    running("session import - --format ndjson", "\n".join(there))
    assert running("tunnel list") == ""
    return running


def test_a_session_s_life(ofgtp: Command) -> None:
    add = "session add phone --ue-ip 10.45.0.7 --uplink-teid 0x1001 --peer 10.1.0.2 --teid 0x2001"
    told = ofgtp.changes(add)
    assert told == (
        "phone: active: 10.45.0.7, uplink TEID 0x1001 at 10.1.0.1, "
        "downlink TEID 0x2001 at 10.1.0.2\n"
    )
    uplink, downlink = ("table=30", "reg0=0x1001", "nw_src=10.45.0.7"), ("nw_dst=10.45.0.7",)
    assert ofgtp.has(*uplink) and ofgtp.has(*downlink, "set_field:0x2001->tun_id")
    flows = json.loads(ofgtp("session show phone --flows --json"))["flows"]
    assert [flow["direction"] for flow in flows] == ["uplink", "downlink"]
    ofgtp.changes("session set phone --peer 10.1.0.3 --teid 0x2002 --uplink-peer 10.1.0.3")
    assert ofgtp.has(*uplink, "reg1=0xa010003")
    assert ofgtp.has(*downlink, "set_field:0x2002->tun_id", "set_field:10.1.0.3->tun_dst")
    assert ofgtp.changes("session set 10.45.0.7 --idle").endswith("no downlink: idle\n")
    assert not ofgtp.has(*downlink, "tun_id")
    assert ofgtp("session list").splitlines()[1].split()[:3] == ["phone", "10.45.0.7", "active"]
    assert ofgtp.changes("session delete 10.45.0.7") == "phone: deleted\n"
    assert not ofgtp.has("10.45.0.7")
    assert "no session has the id 'phone'" in ofgtp("session show phone", code=4)


def test_routes(ofgtp: Command) -> None:
    line = "10.45.0.7 encap gtp id 0x2001 dst 10.1.0.2 lid 0x1001 dev gw1"
    assert ofgtp.changes("route add 10.45.0.7 encap gtp id 0x2001 dst 10.1.0.2 lid 0x1001") == ""
    assert ofgtp.has("reg0=0x1001") and ofgtp.has("nw_dst=10.45.0.7", "0x2001->tun_id")
    assert ofgtp("route") == f"{line}\n"
    assert "there is a route to 10.45.0.7 already" in ofgtp(f"route add {line}", code=1)
    ofgtp.changes("route change 10.45.0.7 encap gtp id 0x2002 dst 10.1.0.2")
    assert ofgtp.has("nw_dst=10.45.0.7", "0x2002->tun_id") and ofgtp.has("reg0=0x1001")
    ofgtp.changes("route del 10.45.0.7")
    assert not ofgtp.has("10.45.0.7")
    ofgtp.changes(f"route add {line}")  # as it was shown
    ofgtp.changes("route replace 10.45.0.8/32 encap gtp lid 8")
    assert ofgtp("route ls 10.45.0.8") == "10.45.0.8 encap gtp lid 0x8 dev gw1\n"


def test_tunnels(ofgtp: Command) -> None:
    assert ofgtp.changes("tunnel add gw1 v1 4097 8193 10.45.0.7 10.1.0.2") == ""
    assert ofgtp.has("reg0=0x1001") and ofgtp.has("nw_dst=10.45.0.7", "0x2001->tun_id")
    listed = "gw1 version 1 tei 4097/8193 ms_addr 10.45.0.7 sgsn_addr 10.1.0.2\n"
    assert ofgtp("tunnel list") == listed
    assert "has no tunnel 8193" in ofgtp("tunnel delete gw1 v1 8193", code=4)
    ofgtp.changes("tunnel delete gw1 v1 4097 ip")
    assert ofgtp("tunnel list") == "" and not ofgtp.has("10.45.0.7")


def test_import_and_export(ofgtp: Command) -> None:
    path, again = ofgtp.lab.dir / "sessions.csv", ofgtp.lab.dir / "again.ndjson"
    rows = [
        f"s{n},10.45.{n >> 8}.{n & 255},{n + 1:#x},{n + 9:#x},10.1.0.{2 + n % 3}"
        for n in range(1, 3001)
    ]
    head = "id,ue_ip,uplink_teid,downlink_teid,downlink_remote_ip\n"
    path.write_text(head + "\n".join(rows) + "\n")
    assert ": 3,000 lines: 3,000 created (" in ofgtp.changes(f"session import {path}")
    assert ofgtp.has("reg0=0xbb9", "nw_src=10.45.11.184")
    ofgtp(f"session export {again}")
    assert len(again.read_text().splitlines()) == 3000
    before = comparable(ofgtp.lab)

    wrong = ofgtp.lab.dir / "wrong.csv"
    wrong.write_text(head + "\n".join([*rows[:2000], "x,10.45.0.1,0xffff,8,10.1.0.2"]) + "\n")
    argv = ofgtp.argv(f"session import {wrong}")
    done = ofgtp.lab.exec("gw", argv, check=False)
    assert done.returncode == 1
    told, last = done.stderr.splitlines()
    assert told.startswith(f"{wrong}:2002: ") and "in use by session 's1'" in told
    assert last.endswith("nothing was changed; correct the file and import it again")
    assert comparable(ofgtp.lab) == before

    gone = "\n".join(json.dumps({"op": "delete", "id": f"s{n}"}) for n in range(1, 3001))
    assert "3,000 deleted" in ofgtp.changes("session import -", gone)
    assert "3,000 created" in ofgtp.changes(f"session import {again}")
    assert comparable(ofgtp.lab) == before
    assert "3,000 replaced" in ofgtp.changes(f"session import {again}")


def comparable(lab: Lab) -> dict[str, dict[str, Any]]:
    """The sessions, without what depends on when they were made."""
    kept = ("gateway", "ue_ip", "uplink", "downlink", "state")
    return {name: {key: each[key] for key in kept} for name, each in sessions(lab).items()}


def test_gateways(ofgtp: Command) -> None:
    ofgtp("session add --ue-ip 10.45.0.7")
    head, row = ofgtp("gateway list").splitlines()
    assert head.split() == ["GATEWAY", "CONNECTED", "BRIDGE", "ACCESS", "CORE", "SESSIONS"]
    columns = ["gw1", "yes", "br-ofgtp", "eth1", "10.1.0.1/24", "eth2", "10.2.0.1/24", "1"]
    assert row.split() == columns
    (shown,) = json.loads(ofgtp("gateway list --json"))["items"]
    assert (shown["name"], shown["connected"]) == ("gw1", True)


def test_watching_while_the_controller_restarts(ofgtp: Command) -> None:
    """Without it there is one line and exit code 3; `watch` waits, and goes on."""
    lab = ofgtp.lab
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    watch = lab.spawn("gw", ofgtp.argv("session watch --json"), **pipes)
    assert watch.stderr.readline() == "events of http://127.0.0.1:8080:\n"
    lab.stop_controller()
    assert "has ended" in (line := watch.stderr.readline()) or "broke" in line
    assert line.endswith("; trying again\n")
    assert ofgtp("session list", code=3) == (
        "ofgtp: no answer at http://127.0.0.1:8080: is ofgtp running? "
        "(systemctl status ofgtp, or --url)\n"
    )
    lab.start_controller(lab.config(controller=KEPT))
    until(lambda: in_sync(lab), "in sync")
    assert watch.stderr.readline() == "it is there again\n"
    ofgtp("session add phone --ue-ip 10.45.0.7")
    events: list[dict[str, Any]] = []
    while not events or events[-1]["kind"] != "session_created":
        events.append(json.loads(watch.stdout.readline()))
    assert events[-1]["session"] == "phone"
    assert "connected" in {event["kind"] for event in events}  # nothing was missed meanwhile
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=60)
    assert watch.returncode == 130


MANY = 250_000
MEMORY_KB = 200_000


@pytest.mark.long
def test_very_many_lines_do_not_fill_the_memory() -> None:
    """Three batches and a list of 250 pages, each in a small part of the memory all would take."""
    with Lab() as lab:
        config = lab.config(controller=KEPT).replace("10.45.0.0/16", "10.32.0.0/11")
        lab.start_controller(config)
        path, out = lab.dir / "many.csv", lab.dir / "out.csv"
        with path.open("w") as file:
            file.write("id,ue_ip,uplink_teid,downlink_teid,downlink_remote_ip\n")
            for n in range(1000, MANY + 1000):
                ue_ip = f"10.{32 + (n >> 16)}.{n >> 8 & 255}.{n & 255}"
                file.write(f"s{n},{ue_ip},{n:#x},{n:#x},10.1.0.2\n")
        ofgtp = Command(lab)
        for command in (f"session import {path}", f"session export {out}"):
            child = lab.spawn("gw", ofgtp.argv(command), stderr=subprocess.PIPE)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            assert child.returncode == 0, child.stderr.read()
            print(f"ofgtp {command}: {usage.ru_maxrss} kB")
            assert usage.ru_maxrss < MEMORY_KB
        with path.open() as before, out.open() as after:
            assert len(before.readlines()) == len(after.readlines())
        differences = flow_differences(lab, sessions(lab).values(), None)
        assert not [each for each in differences if re.search("table=(30|70) ", each)]
