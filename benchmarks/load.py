"""Traffic that goes on while something else is measured, and what of it is lost meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from benchmarks import blast, site
from benchmarks.traffic import SENDER, WAYS, ends, frame, sending

RATE = 50_000
"""Packets a second, half of them each way."""
BUSY = 1_000
"""Sessions that they belong to, in turn."""
LENGTH = 200
"""Of the inner packet, in bytes."""
WARM_S = 2.0
LIMIT = 0.001
"""What may be lost of the packets."""


@dataclass(frozen=True, slots=True)
class Passed:
    """In some seconds: packets sent, and those that did not arrive."""

    seconds: float
    sent: int
    lost: int


@contextmanager
def load(lab: site.Lab, sessions: int, **options: Any) -> Iterator[list[Popen[bytes]]]:
    """Packets both ways of some of so many sessions, as long as the block lasts; the senders."""
    there, paths = ends(lab), {}
    numbers = range(1, min(BUSY, sessions // 2) + 1)
    for way in WAYS:
        frames = [frame(way, there, site.session(n), ttl=64, length=LENGTH) for n in numbers]
        paths[way] = blast.write(lab.dir / f"{way}.frames", frames)
    setup = {"rate": RATE // 2, "seconds": 3600} | options
    up, down = (sending(lab, way, paths[way], **setup) for way in WAYS)
    with up as one, down as other:
        yield [one, other]


def passed(lab: site.Lab, work: Callable[[], object]) -> Passed:
    """While that is done."""
    start, before = time.perf_counter(), _counts(lab)
    work()
    after, end = _counts(lab), time.perf_counter()
    sent, received = (now - was for now, was in zip(after, before, strict=True))
    # A few are under way at either time.
    return Passed(end - start, sent, max(0, sent - received))


def share(runs: Sequence[Passed]) -> float:
    """What was lost of the packets."""
    return sum(run.lost for run in runs) / sum(run.sent for run in runs)


def _counts(lab: site.Lab) -> tuple[int, int]:
    """Packets sent by both hosts, and received by both."""
    sent = received = 0
    for name in SENDER.values():
        with lab.inside(name):
            text = Path("/proc/thread-self/net/dev").read_text()
        line = next(each for each in text.splitlines() if each.strip().startswith("eth0:"))
        fields = line.partition(":")[2].split()
        received, sent = received + int(fields[1]), sent + int(fields[9])
    return sent, received
