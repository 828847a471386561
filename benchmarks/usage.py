"""What it costs to read what all sessions have used, while the switch forwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import site
from benchmarks.load import BUSY, LENGTH, LIMIT, WARM_S, Passed, load, passed, share
from benchmarks.measure import Row, samples
from benchmarks.traffic import pin

ROUND_S = 10
"""The shortest round that can be configured."""
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Window:
    """What passed in some seconds; CPU seconds of controller and switch."""

    passed: Passed
    controller: float
    switch: float


def run(sessions: int, *, rounds: int = ROUNDS) -> list[Row]:
    """The row of a round."""
    with site.lab() as lab:
        calm: list[Window] = []
        busy: list[Window] = []
        site.started(lab, "switch", controller=_seconds(3600))
        site.batch(lab, site.puts(range(sessions)))
        pin(lab)
        # What others on the machine do is not to be counted: the thread that forwards comes first.
        os.sched_setscheduler(site.vswitchd(lab), os.SCHED_FIFO, os.sched_param(1))
        with load(lab, sessions, nice=-10):
            time.sleep(WARM_S)
            for _ in range(rounds):
                calm.append(_window(lab, lambda: time.sleep(ROUND_S)))
        site.stop(lab)
        site.started(lab, "switch", controller=_seconds(ROUND_S))
        with load(lab, sessions, nice=-10):
            time.sleep(WARM_S)
            _one_round(lab)  # of all that has come so far
            for _ in range(rounds):
                busy.append(_window(lab, lambda: _one_round(lab)))
        site.stop(lab)
    took = samples(each.passed.seconds for each in busy)
    more = {
        name: [
            samples(getattr(each, name) / each.passed.seconds for each in some).median
            for some in (busy, calm)
        ]
        for name in ("controller", "switch")
    }
    reached = took.median <= 1.2 * ROUND_S and _share(busy) <= LIMIT
    return [
        Row(
            f"usage of {sessions:,} sessions read at 50,000 packets/s",
            f"{took}; {_lost(busy)}",
            f"{_lost(calm)} without",
            reach=f"{ROUND_S} s, 0.1 % lost",
            reached=reached,
            notes=[
                f"A full round with `usage_round_seconds = {ROUND_S}`, the least; packets of "
                f"{LENGTH} octets both ways, of {BUSY:,} of the sessions. Of a core the controller "
                f"takes {more['controller'][0]:.1%}, and {more['controller'][1]:.1%} without; the "
                f"switch {more['switch'][0]:.1%}, and {more['switch'][1]:.1%} without. With the "
                "default, 60 s, the difference is a sixth. The thread of ovs-vswitchd that "
                "forwards is scheduled before all others (SCHED_FIFO): so what is lost is lost for "
                f"what it does itself. {rounds} of each."
            ],
        )
    ]


def _seconds(seconds: int) -> str:
    return f"usage_round_seconds = {seconds}"


def _one_round(lab: site.Lab) -> None:
    made = site.metric(lab, "ofgtp_usage_rounds_total")
    site.until(lambda: site.metric(lab, "ofgtp_usage_rounds_total") > made, "a round", pause=0.2)


def _share(windows: Sequence[Window]) -> float:
    return share([each.passed for each in windows])


def _lost(windows: Sequence[Window]) -> str:
    sent = sum(each.passed.sent for each in windows)
    return f"{100 * _share(windows):.3f} % of {sent:,} packets lost"


def _window(lab: site.Lab, work: Callable[[], object]) -> Window:
    assert lab.controller is not None
    both = lab.controller.pid, site.vswitchd(lab)
    before = [_cpu(each) for each in both]
    found = passed(lab, work)
    controller, switch = (_cpu(each) - was for each, was in zip(both, before, strict=True))
    return Window(found, controller, switch)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
