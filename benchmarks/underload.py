"""Restart and repair while the switch forwards: what is lost by the comparison."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import blast, site
from benchmarks.measure import Row
from benchmarks.traffic import ends, frame, on_cpu, pin, sending

RATE = 50_000
"""Packets a second, half of them each way."""
TRAFFIC = 1_000
"""Sessions that they belong to, one after the other."""
LENGTH = 200
CHANGED = 1_000
FOREIGN = 100
ROUNDS = 3
QUIET_S = 5.0
LIMIT = 0.001

WAYS = {"uplink": ("enb", "pdn"), "downlink": ("pdn", "enb")}


@dataclass(frozen=True, slots=True)
class Passed:
    """In a time: packets sent both ways, those that did not arrive, how long it was."""

    sent: int
    lost: int
    seconds: float

    @property
    def share(self) -> float:
        return self.lost / self.sent


def run(sessions: int, *, rounds: int = ROUNDS) -> list[Row]:
    """The rows `restart` and `repair` under load."""
    with site.lab() as lab:
        site.started(lab, "switch")
        site.batch(lab, site.puts(range(sessions)))
        pin(lab)
        os.sched_setscheduler(site.vswitchd(lab), os.SCHED_FIFO, os.sched_param(1))
        before = site.installed(lab)
        with _load(lab, min(TRAFFIC, sessions)):
            calm = [_passed(lab, lambda: time.sleep(QUIET_S)) for _ in range(rounds)]
            starts = [_passed(lab, lambda: _restart(lab)) for _ in range(rounds)]
            mods = site.metric(lab, "ofgtp_flow_mods_total")
            repairs: list[Passed] = []
            for _ in range(rounds):
                harm = _harm(lab, min(CHANGED, sessions // 2))
                repairs.append(_passed(lab, lambda harm=harm: _repair(lab, harm)))
                if site.installed(lab) != before:
                    raise RuntimeError("in sync, and yet not put right")
        print(lab.controller_log.read_text()[-3500:])
        site.stop(lab)
    print(calm, starts, repairs, mods)
    return []


@contextmanager
def _load(lab: site.Lab, count: int) -> Iterator[None]:
    there, paths = ends(lab), {}
    for way in WAYS:
        frames = [
            frame(way, there, site.session(number), ttl=64, length=LENGTH)
            for number in range(1, count + 1)
        ]
        paths[way] = blast.write(lab.dir / f"{way}.frames", frames)
    setup = {"rate": RATE // 2, "seconds": 3600, "burst": 100, "nice": -10}
    with sending(lab, "uplink", paths["uplink"], **setup):
        with sending(lab, "downlink", paths["downlink"], **setup):
            time.sleep(2)
            yield


def _passed(lab: site.Lab, work: Callable[[], object]) -> Passed:
    start, before = time.perf_counter(), _counts(lab)
    work()
    after, end = _counts(lab), time.perf_counter()
    sent = after[0] - before[0]
    print([b - a for a, b in zip(before, after)], end - start)
    return Passed(sent, max(0, sent - (after[1] - before[1])), end - start)


def _counts(lab: site.Lab) -> tuple[int, int]:
    """Packets sent by both ends, and received by both."""
    received = sent = 0
    for name in ("enb", "pdn"):
        with lab.inside(name):
            text = Path("/proc/thread-self/net/dev").read_text()
        line = next(each for each in text.splitlines() if each.strip().startswith("eth0:"))
        fields = line.partition(":")[2].split()
        received, sent = received + int(fields[1]), sent + int(fields[9])
    return sent, received


def _restart(lab: site.Lab) -> None:
    site.stop(lab)
    print(site.started(lab, "switch"))


def _harm(lab: site.Lab, changed: int) -> str:
    """Flows of sessions that carry no traffic deleted and changed, and others added."""
    flows: dict[str, list[str]] = {}
    for line in site.session_flows(lab):
        cookie, _, rest = line.partition(",")
        flows.setdefault(cookie, []).append(rest)
    text = []
    for number, (up, down) in enumerate(list(flows.values())[-changed:]):
        if number < changed // 2:
            text += [f"delete_strict {flow.split(' actions=')[0]}" for flow in (up, down)]
        else:
            text.append(f"modify_strict {down.split(' actions=')[0]} actions=drop")
    for number in range(FOREIGN):
        text.append(
            f"add cookie={0x0F67_03FF_0000_0000 + number:#x},table=70,priority=99,ip,nw_dst=10.47.0.{number},actions=drop"
        )
    return site.file(lab, "harm", text)


def _repair(lab: site.Lab, harm: str) -> None:
    shown = site.gateway(lab)
    lab.exec("gw", ["ovs-ofctl", "-O", "OpenFlow14", "--bundle", "add-flows", site.BRIDGE, harm])
    site.until(lambda: not (site.gateway(lab) or {"in_sync": True})["in_sync"], "noticed")
    site.until(lambda: (site.gateway(lab) or {"in_sync": False})["in_sync"], "in sync")
