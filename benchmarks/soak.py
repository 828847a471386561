"""Both directions under load for long, with handovers and restarts, and what is lost meanwhile.

    .venv/bin/python benchmarks/soak.py [--minutes 30] [--ports afxdp] [--rate 40000]

A minute goes like this: handovers alone; ofgtp is killed (SIGKILL) and started again; ovsdb-server
is killed and started again. In every fifth ovs-vswitchd is killed at the end, too, which loses what
comes until it is filled again. The packets are those of the sessions that are handed over.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks import site  # noqa: E402
from benchmarks.load import BUSY, WARM_S, Passed, load, passed  # noqa: E402

SESSIONS = 2 * BUSY
CALM_S, AWAY_S = 20.0, 2.0
HANDOVERS_AT_ONCE, PAUSE_S = 10, 0.5
SWITCH_EVERY = 5


class Soak:
    """A gateway under load."""

    def __init__(self, lab: site.Lab, controller: str) -> None:
        self.lab, self._controller = lab, controller
        self.handovers = 0
        self.phases: dict[str, list[Passed]] = defaultdict(list)
        self._random = random.Random(1)

    def start(self) -> None:
        site.started(self.lab, "switch", controller=self._controller)

    def minute(self, *, with_switch: bool) -> None:
        """All that happens in one."""
        self._phase("handovers", lambda: self._hand_over(CALM_S))
        self._phase("ofgtp killed", self._kill_ofgtp)
        self._phase("ovsdb-server killed", self._kill_ovsdb)
        self._phase("handovers", lambda: self._hand_over(CALM_S))
        if with_switch:
            self._phase("ovs-vswitchd killed", self._kill_switch)

    def _phase(self, what: str, work: Callable[[], object]) -> None:
        self.phases[what].append(passed(self.lab, work))

    def _hand_over(self, seconds: float) -> None:
        """Of some of the sessions that packets are sent of, again and again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            chosen = self._random.sample(range(1, BUSY), HANDOVERS_AT_ONCE)
            lines = []
            for number in chosen:
                one = site.session(number)
                far = one["downlink"] | {"teid": self._random.randrange(1, 1 << 32)}
                lines.append({"op": "put", "session": one | {"downlink": far}})
            done = site.batch(self.lab, site.ndjson(lines))
            self.handovers += len(lines)
            if done["replaced"] != len(lines):
                raise RuntimeError(f"of {len(lines)} handovers: {done}")
            time.sleep(PAUSE_S)

    def _kill_ofgtp(self) -> None:
        assert self.lab.controller is not None
        self.lab.controller.send_signal(signal.SIGKILL)
        self.lab.controller.wait(10)
        self.lab.controller = None
        time.sleep(AWAY_S)
        self.start()

    def _kill_ovsdb(self) -> None:
        self.lab.stop_ovsdb()
        time.sleep(AWAY_S)
        self.lab.start_ovsdb()
        time.sleep(AWAY_S)
        self._until_in_sync()

    def _kill_switch(self) -> None:
        self.lab.stop_vswitchd()
        self.lab.start_vswitchd()
        time.sleep(AWAY_S)
        self._until_in_sync()

    def _until_in_sync(self) -> None:
        site.until(lambda: (site.gateway(self.lab) or {}).get("in_sync"), "in sync")

    def told(self) -> str:
        """Where things stand."""
        parts = [f"{self.handovers:,} handovers"]
        for what, runs in self.phases.items():
            sent, lost = sum(run.sent for run in runs), sum(run.lost for run in runs)
            parts.append(f"{what}: {lost:,} of {sent:,} lost in {len(runs)}")
        memory = ", ".join(f"{name} {_rss(pid) >> 20} MiB" for name, pid in self._pids().items())
        return "; ".join(parts) + f"; {memory}"

    def _pids(self) -> dict[str, int]:
        assert self.lab.controller is not None
        return {"ofgtp": self.lab.controller.pid, "ovs-vswitchd": site.vswitchd(self.lab)}


def _rss(pid: int) -> int:
    line = next(
        each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in each
    )
    return int(line.split()[1]) << 10


def main() -> None:
    """Run it, and print a line each minute."""
    parser = argparse.ArgumentParser(description="packets, handovers and restarts, for long")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--ports", default="afxdp", choices=("afxdp", "af_packet"))
    parser.add_argument("--rate", type=int, default=40_000, help="packets a second, both ways")
    asked = parser.parse_args()
    with site.lab() as lab:
        lab.ports = asked.ports
        soak = Soak(lab, "pmd_cores = [0]" if asked.ports == "afxdp" else "")
        soak.start()
        site.batch(lab, site.puts(range(SESSIONS)))
        with load(lab, SESSIONS, rate=asked.rate // 2, burst=100) as senders:
            for sender in senders:
                os.sched_setscheduler(sender.pid, os.SCHED_FIFO, os.sched_param(3))
            time.sleep(WARM_S)
            for minute in range(1, asked.minutes + 1):
                begun = time.monotonic()
                soak.minute(with_switch=minute % SWITCH_EVERY == 0)
                print(f"{minute} ({time.monotonic() - begun:.0f} s): {soak.told()}", flush=True)
        gone = site.batch(lab, site.deletes(range(SESSIONS)))
        if gone["deleted"] != SESSIONS or site.session_flows(lab):
            raise RuntimeError(f"{SESSIONS} sessions: {gone}, and their flows are not all gone")
        print("all sessions deleted, and no flow of theirs is left")


if __name__ == "__main__":
    main()
