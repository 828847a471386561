"""What it costs to read what all sessions have used, while the switch forwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import blast, site
from benchmarks.measure import Row, samples
from benchmarks.traffic import SENDER, WAYS, ends, frame, pin, sending

RATE = 50_000
"""Packets a second, half of them each way."""
BUSY = 1_000
"""Sessions that they belong to, in turn."""
LENGTH = 200
"""Of the inner packet, in bytes."""
ROUND_S = 10
"""The shortest round that can be configured."""
ROUNDS = 3
LIMIT = 0.001
"""What may be lost of the packets."""


@dataclass(frozen=True, slots=True)
class Window:
    """Some seconds: packets sent, and what did not arrive; CPU seconds of controller and switch."""

    seconds: float
    sent: int
    lost: int
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
        numbers = range(1, min(BUSY, sessions // 2) + 1)
        with _load(lab, numbers):
            for _ in range(rounds):
                calm.append(_window(lab, lambda: time.sleep(ROUND_S)))
        site.stop(lab)
        site.started(lab, "switch", controller=_seconds(ROUND_S))
        with _load(lab, numbers):
            _one_round(lab)  # of all that has come so far
            for _ in range(rounds):
                busy.append(_window(lab, lambda: _one_round(lab)))
        site.stop(lab)
    took = samples(each.seconds for each in busy)
    more = {
        name: [
            samples(getattr(each, name) / each.seconds for each in some).median
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
    return sum(each.lost for each in windows) / sum(each.sent for each in windows)


def _lost(windows: Sequence[Window]) -> str:
    sent = sum(each.sent for each in windows)
    return f"{100 * _share(windows):.3f} % of {sent:,} packets lost"


@contextmanager
def _load(lab: site.Lab, numbers: Sequence[int]) -> Iterator[None]:
    """Packets of these sessions both ways, as long as the block lasts."""
    there, paths = ends(lab), {}
    for way in WAYS:
        frames = [frame(way, there, site.session(n), ttl=64, length=LENGTH) for n in numbers]
        paths[way] = blast.write(lab.dir / f"{way}.frames", frames)
    setup = {"rate": RATE // 2, "seconds": 3600, "nice": -10}
    up, down = (sending(lab, way, paths[way], **setup) for way in WAYS)
    with up, down:
        time.sleep(2)
        yield


def _window(lab: site.Lab, work: Callable[[], object]) -> Window:
    start, before = time.perf_counter(), _stands(lab)
    work()
    after, end = _stands(lab), time.perf_counter()
    sent, received, *busy = (now - was for now, was in zip(after, before, strict=True))
    # A few are under way at either time.
    return Window(end - start, int(sent), max(0, int(sent - received)), *busy)


def _stands(lab: site.Lab) -> tuple[float, float, float, float]:
    """Packets sent by both hosts, and received; CPU seconds of controller and switch."""
    sent = received = 0
    for name in SENDER.values():
        with lab.inside(name):
            text = Path("/proc/thread-self/net/dev").read_text()
        line = next(each for each in text.splitlines() if each.strip().startswith("eth0:"))
        fields = line.partition(":")[2].split()
        received, sent = received + int(fields[1]), sent + int(fields[9])
    assert lab.controller is not None
    return sent, received, _cpu(lab.controller.pid), _cpu(site.vswitchd(lab))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
