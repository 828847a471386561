"""A start while the store cannot be used: what heals by itself is waited for, what does not is not.

The systemd unit is played by a loop that does what its lines on restarts say.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ofgtp.store.tables import APPLICATION_ID
from tests.support import ownership as own
from tests.support.lab import ROOT, Lab
from tests.support.stream import Stream

pytestmark = pytest.mark.switch

LOOP = """
cd "$0"
while :; do
    .venv/bin/ryu-manager ofgtp.app
    code=$?
    echo "exit code $code"
    [ $code = 0 ] && exit 0
    case " $1 " in *" $code "*) exit $code ;; esac
    sleep "$2"
done
"""
"""Restart=on-failure, RestartPreventExitStatus, RestartSec (systemd.service(5))."""

RESTART_S = "0.5"
"""The unit's are 3 seconds."""


def unit(key: str) -> str:
    """A setting of the unit that ofgtp comes with."""
    (value,) = re.findall(rf"^{key}=(.*)$", (ROOT / "etc/ofgtp.service").read_text(), re.MULTILINE)
    return str(value)


class Supervised:
    """A controller that is started again as the unit says, with some sessions.

    Its store is on a small disk, in a mount namespace that ends with this process.
    """

    def __init__(self, lab: Lab, mode: str) -> None:
        self.lab, small = lab, lab.dir / "small"
        small.mkdir()
        mount = f"mount -t tmpfs -o size=1m tmpfs {small} && exec sleep infinity"
        self._anchor = lab.spawn("gw", ["sh", "-c", mount])
        self.disk = Path(f"/proc/{self._anchor.pid}/root{small}")
        own.until(self.disk.is_mount, "the disk is there")
        config = lab.dir / "ofgtp.toml"
        text = lab.config(controller=own.MODES[mode])
        config.write_text(text.replace(f"{lab.dir}/sessions.db", f"{small}/sessions.db"))
        assert (unit("Restart"), unit("RestartSec")) == ("on-failure", "3")
        words = [str(ROOT), unit("RestartPreventExitStatus"), RESTART_S]
        with lab.controller_log.open("ab") as output:
            self.loop = lab.spawn(
                "gw",
                [*self._inside(), "sh", "-c", LOOP, *words],
                env={**lab.env, "OFGTP_CONFIG": str(config)},
                stdout=output,
                stderr=output,
            )
        lab.wait_health(200)
        own.until(lambda: own.in_sync(lab), "in sync")
        own.put(lab)
        own.batch(lab, own.puts(range(50)))

    @property
    def store(self) -> Path:
        return self.disk / "sessions.db"

    def kill(self) -> None:
        """Kill the controller, not its supervisor."""
        (child,) = children(self.loop.pid)
        os.kill(child, signal.SIGKILL)

    def remount(self, how: str) -> None:
        where = f"{self.lab.dir}/small"
        subprocess.run([*self._inside(), "mount", "-o", f"remount,{how}", where], check=True)

    def _inside(self) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self._anchor.pid}/ns/mnt"]

    def fill(self) -> None:
        with (self.disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1024))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def supervised(mode: str) -> Iterator[Supervised]:
    with Lab() as lab:
        yield Supervised(lab, mode)


def codes(log: own.Log) -> list[str]:
    return re.findall(r"^exit code (\d+)$", log.text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("mode", "what"),
    [("controller", "full"), ("switch", "full"), ("switch", "read-only"), ("switch", "in use")],
)
def test_a_store_that_is_away_is_waited_for(supervised: Supervised, mode: str, what: str) -> None:
    lab, log = supervised.lab, own.Log(supervised.lab)
    told = own.sessions(lab)
    with Stream(lab) as stream:
        if what == "full":
            supervised.fill()
        supervised.kill()
        holder = None
        if what == "in use":
            holder = subprocess.Popen(["flock", f"{supervised.store}.lock", "sleep", "600"])
        elif what == "read-only":
            own.until(lambda: codes(log), "it has ended, and closed its files")
            supervised.remount("ro")
        flows = own.our_flows(lab)
        own.until(lambda: codes(log)[1:3] == ["4", "4"], lambda: f"tried again: {codes(log)}")
        said = {
            "full": "disk is full",
            "read-only": "Read-only",
            "in use": "another controller",
        }
        assert said[what] in log.text(), log.text()
        assert "Traceback" not in log.text()
        assert own.our_flows(lab) == flows or mode == "controller", "nothing is touched"
        if what == "full":
            (supervised.disk / "filler").unlink()
        elif what == "read-only":
            supervised.remount("rw")
        elif holder is not None:
            for child in children(holder.pid):
                os.kill(child, signal.SIGKILL)
            holder.wait(10)
        lab.wait_health(200)
        own.until(lambda: own.in_sync(lab), "in sync")
    assert set(codes(log)[1:]) == {"4"}
    if mode == "switch":
        assert own.sessions(lab).keys() == told.keys()
        assert stream.lost == 0, str(stream)
    else:
        assert own.sessions(lab) == {}


@pytest.mark.parametrize(
    ("mode", "what"),
    [("switch", "damaged"), ("switch", "of a later version"), ("controller", "of a later version")],
)
def test_a_store_that_does_not_heal_is_not_tried_again(
    supervised: Supervised, mode: str, what: str
) -> None:
    lab, log, path = supervised.lab, own.Log(supervised.lab), supervised.store
    supervised.kill()
    for journal in ("-wal", "-shm"):
        path.with_name(path.name + journal).unlink(missing_ok=True)
    content = b"this is not a database\n" * 100
    if what == "of a later version":
        # Not there: SQLite follows the link of /proc to this side's mounts.
        later = lab.dir / "later.db"
        with sqlite3.connect(later) as db:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("CREATE TABLE later (a)")
            db.execute("PRAGMA user_version = 99")
        db.close()
        content = later.read_bytes()
    path.write_bytes(content)
    flows = own.our_flows(lab)
    assert supervised.loop.wait(60) == 3
    assert codes(log) == ["137", "3"]
    assert own.our_flows(lab) == flows or mode == "controller"
