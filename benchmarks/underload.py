"""Restart and repair while the switch forwards: how many packets the comparison costs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import site
from benchmarks.load import BUSY, LENGTH, LIMIT, RATE, WARM_S, Passed, load, passed, share
from benchmarks.measure import Row, Samples, figure, samples
from benchmarks.traffic import pin

CHANGED, FOREIGN = 1_000, 100
ROUNDS = 3
CALM_S = 10.0
BURST = 100
"""A sender that others kept waiting sends no more than so many packets at once."""


def run(sessions: int, *, rounds: int = ROUNDS, calm_s: float = CALM_S) -> list[Row]:
    """The rows `restart` and `repair` under load."""
    changed = min(CHANGED, sessions // 4)
    with site.lab() as lab:
        site.started(lab, "switch")
        site.batch(lab, site.puts(range(sessions)))
        before = site.installed(lab)
        pin(lab)
        _first(lab)
        mended, added = _harm(lab, changed), _foreign(lab)
        calm: list[Passed] = []
        starts: list[Passed] = []
        repairs: list[Passed] = []
        cleanings: list[Passed] = []
        flow_mods = 0.0
        with load(lab, sessions, burst=BURST) as senders:
            for sender in senders:
                os.sched_setscheduler(sender.pid, os.SCHED_FIFO, os.sched_param(3))
            time.sleep(WARM_S)
            for _ in range(rounds):
                calm.append(passed(lab, lambda: time.sleep(calm_s)))
                site.stop(lab)
                starts.append(passed(lab, lambda: site.started(lab, "switch")))
                flow_mods += site.metric(lab, "ofgtp_flow_mods_total")
                repairs.append(passed(lab, lambda: _repaired(lab, mended)))
                cleanings.append(passed(lab, lambda: _repaired(lab, added)))
                if site.installed(lab) != before:
                    raise RuntimeError("in sync, and yet not put right")
        slices = lab.controller_log.read_text().count("compared in slices")
        site.stop(lab)
    without = f"{_lost(calm)} without one"
    conditions = (
        f"{figure(RATE)} packets a second, half of them each way, of {LENGTH} octets and of "
        f"{figure(BUSY)} sessions in turn, counted at the interfaces of both hosts. The "
        "senders and the threads of ovs-vswitchd are scheduled before all others (SCHED_FIFO): so "
        "what is lost is lost for what it does itself, not for what else the machine does; and the "
        "controller takes longer, which has what is left of two cores. Beside it "
        f"{len(calm)} times {calm_s:g} s with nothing going on. {rounds} rounds. Of "
        f"the {3 * rounds} comparisons {slices} were in slices."
    )
    return [
        _row(
            f"restart with {sessions:,} sessions under load",
            starts,
            without,
            f"{flow_mods:.0f} flow-mods",
            'With `ownership = "switch"`, nothing changed meanwhile; from the start of '
            "`ryu-manager` until `/v1/gateways` shows `in_sync`. Flow-mods by `/metrics`, all "
            f"rounds together. {conditions}",
            well=not flow_mods,
        ),
        _row(
            f"repair of {changed:,} of them under load",
            repairs,
            without,
            "put right",
            "By `ovs-ofctl` the flows of half of these are deleted, and the other half's downlink "
            "flows changed to drop, one by one, while the controller runs; from before the tool "
            "until in sync. Then the switch's flows are held to those before. The load as above.",
        ),
        _row(
            f"{FOREIGN} flows that somebody added under load",
            cleanings,
            without,
            "deleted",
            "The same, with flows of no session added under cookies like sessions'. What a flow "
            "that was added has taken the place of is not told: all flows are compared.",
        ),
    ]


def _row(
    name: str,
    runs: Sequence[Passed],
    against: str,
    more: str,
    note: str,
    *,
    well: bool = True,
) -> Row:
    took: Samples = samples(run.seconds for run in runs)
    reached = well and share(runs) <= LIMIT
    lost = f"{took}; {_lost(runs)}, {more}"
    return Row(name, lost, against, reach="0.1 % lost", reached=reached, notes=[note])


def _lost(runs: Sequence[Passed]) -> str:
    each = ", ".join(str(run.lost) for run in runs)
    sent = sum(run.sent for run in runs)
    rate = sent / sum(run.seconds for run in runs)
    return f"{100 * share(runs):.3f} % of {sent:,} packets lost ({each}), {rate:,.0f} a second"


def _first(lab: site.Lab) -> None:
    """What others on the machine do is not to be counted: the switch comes before them, and first
    the thread that forwards. It may wait for a lock that another of the switch's has."""
    process = site.vswitchd(lab)
    for thread in Path(f"/proc/{process}/task").iterdir():
        number = int(thread.name)
        priority = os.sched_param(2 if number == process else 1)
        os.sched_setscheduler(number, os.SCHED_FIFO, priority)


def _harm(lab: site.Lab, changed: int) -> str:
    """What is done to sessions that carry nothing, in a bundle's words."""
    flows: dict[str, list[str]] = {}
    for line in site.session_flows(lab):
        cookie, _, rest = line.partition(",")
        flows.setdefault(cookie, []).append(rest.split(" actions=")[0])
    text = []
    for number, (up, down) in enumerate([*flows.values()][-changed:]):
        if number < changed // 2:
            text += [f"delete_strict {up}", f"delete_strict {down}"]
        else:
            text.append(f"modify_strict {down} actions=drop")
    return site.file(lab, "harm", text)


def _foreign(lab: site.Lab) -> str:
    text = [
        f"add cookie={0x0F67_03FF_0000_0000 + number:#x},table=70,priority=99,ip,"
        f"nw_dst=10.47.0.{number},actions=drop"
        for number in range(FOREIGN)
    ]
    return site.file(lab, "foreign", text)


def _repaired(lab: site.Lab, changes: str) -> None:
    def repairs() -> int:
        return int((site.gateway(lab) or {"repairs": 0})["repairs"])

    before = repairs()
    lab.exec("gw", ["ovs-ofctl", "-O", "OpenFlow14", "add-flows", site.BRIDGE, changes])
    site.until(lambda: repairs() > before, "a repair")
    site.until(lambda: (site.gateway(lab) or {"in_sync": False})["in_sync"], "in sync")
