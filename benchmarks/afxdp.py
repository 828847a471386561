"""Ports that the switch reads by AF_XDP, beside the same by AF_PACKET, and a kernel's own router.

Packets for a second of the thread that forwards: ovs-vswitchd's main thread, or its PMD thread;
or, of the router, for a second of what it adds to the sender's. What nftables does to join a port
to its veth is done where the packet comes in or goes out: there in another thread, on the sender's
core here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import blast, duty, site
from benchmarks.measure import Row, samples
from benchmarks.traffic import (
    RECEIVER,
    WAYS,
    Run,
    arrives,
    counters,
    ends,
    frame,
    pin,
    sending,
)
from tests.support.stream import PDN, ethernet, udp_datagram

ROUNDS = 5
WARM_S = 0.2
WINDOW_S = {"af_packet": 0.4, "afxdp": 1.5}
RUN_S, STOP_S = 0.0007, 0.006
LENGTHS = (64, 1400)
SESSIONS = (1, 1_000, 100_000)
SENT_IN_TURN = 1_000
"""Sessions whose packets are sent, of all that there are."""
QFI = 9
REACH = {
    ("uplink", 1, None): 2.7,
    ("downlink", 1, None): 1.8,
    ("downlink", 1, QFI): 1.6,
    ("uplink", 1_000, None): 2.4,
    ("downlink", 1_000, None): 1.8,
    ("downlink", 1_000, QFI): 1.5,
}
"""Of AF_PACKET's, at 64 octets."""
OF_ROUTER, TWO = 0.7, 1.8

Case = tuple[str, int, int, int | None]
"""Way, octets, sessions, QFI."""


@dataclass(frozen=True, slots=True)
class _Gateway:
    lab: site.Lab
    kind: str

    def prepare(self, case: Case) -> None:
        """The packets of a case; the first must come through rightly."""
        way, length, sessions, qfi = case
        here = ends(self.lab)
        frames = [
            frame(way, here, site.session(n), ttl=64, length=length, qfi=qfi)
            for n in range(min(sessions, SENT_IN_TURN))
        ]
        arrives(self.lab, way, frames[:1], inner=frames[0][-length:])
        blast.write(self.lab.dir / "frames", frames)

    def rests(self, asleep: bool) -> None:
        """Have its switch stand still: while another is measured its threads would poll."""
        os.kill(site.vswitchd(self.lab), signal.SIGSTOP if asleep else signal.SIGCONT)

    def measure(self, way: str) -> Run:
        seconds, frames = WINDOW_S[self.kind], self.lab.dir / "frames"
        with sending(self.lab, way, frames, rate=0, seconds=WARM_S + seconds + 5, nice=5):
            time.sleep(WARM_S)
            threads = _threads(site.vswitchd(self.lab), "pmd-" if self.kind == "afxdp" else "")
            with _in_slices(self.lab, self.kind == "afxdp"):
                time.sleep(WARM_S)
                return _window(self.lab, RECEIVER[way], threads, seconds)


def run(sessions: int, *, rounds: int = ROUNDS) -> list[Row]:
    """Rows for each way, number of sessions and length; and for the kernel's router."""
    steps = sorted({min(step, sessions) for step in SESSIONS})
    cases: list[Case] = []
    for step in steps:
        cases += [(way, 64, step, None) for way in WAYS]
        if step <= 1_000:
            cases += [(way, 64, step, QFI) for way in WAYS]
        if step == 1:
            cases += [(way, 1400, step, None) for way in WAYS]
    found: dict[Case, tuple[list[Run], list[Run]]] = {case: ([], []) for case in cases}
    routed: list[Run] = []
    with _gateway("af_packet") as plain, _gateway("afxdp") as fast:
        there = 0
        for case in cases:
            _, _, step, qfi = case
            for each in (plain, fast):
                if step > there:
                    site.batch(each.lab, site.puts(range(there, step)))
                _with_qfi(each.lab, range(min(step, SENT_IN_TURN)), qfi)
                each.prepare(case)
            there = max(step, there)
            for _ in range(rounds):
                found[case][0].append(fast.measure(case[0]))
                fast.rests(True)
                found[case][1].append(plain.measure(case[0]))
                if case == ("uplink", 64, 1, None):
                    with _router() as lab:
                        routed.append(_routed(lab))
                fast.rests(False)
    return [
        *(_row(case, *runs) for case, runs in found.items()),
        _beside_router(found["uplink", 64, 1, None][0], routed),
    ]


def cores(_: int = 1, *, rounds: int = ROUNDS) -> list[Row]:
    """Two PMD threads beside one, with 1,000 sessions of one base station."""
    case: Case = ("uplink", 64, SENT_IN_TURN, None)
    runs: tuple[list[Run], list[Run]] = ([], [])
    with _gateway("afxdp", "0") as one, _gateway("afxdp", "0, 1") as two:
        for each in (one, two):
            site.batch(each.lab, site.puts(range(SENT_IN_TURN)))
            each.prepare(case)
        two.rests(True)
        for _ in range(rounds):
            runs[0].append(one.measure("uplink"))
            one.rests(True)
            two.rests(False)
            runs[1].append(two.measure("uplink"))
            two.rests(True)
            one.rests(False)
        two.rests(False)
    alone, both = (samples((run.capacity / 1e3 for run in each), "kpackets/s") for each in runs)
    ratio = both.median / alone.median
    return [
        Row(
            "AF_XDP: two PMD threads",
            f"{both} by two",
            f"{alone} by one",
            ratio,
            f"{TWO} of it",
            ratio >= TWO,
            [
                "Packets for a second of the thread that ran longer; uplink, 64 octets, 1,000 "
                "sessions of one base station, which sends from one port: they are spread by TEID.",
            ],
        )
    ]


@contextmanager
def _gateway(kind: str, cores: str = "0") -> Iterator[_Gateway]:
    with site.lab() as lab:
        lab.ports = kind
        more = f"pmd_cores = [{cores}]" if kind == "afxdp" else ""
        site.started(lab, "switch", controller=more)
        pin(lab)
        yield _Gateway(lab, kind)


def _with_qfi(lab: site.Lab, numbers: Sequence[int], qfi: int | None) -> None:
    operations = [
        {"op": "put", "session": site.session(n) | ({} if qfi is None else {"qfi": qfi})}
        for n in numbers
    ]
    site.batch(lab, site.ndjson(operations))


def _threads(pid: int, name: str) -> list[Path]:
    """Where the kernel tells how long a process's threads of that name have run; "": its main
    one."""
    tasks = [Path(f"/proc/{pid}/task/{pid}")] if not name else Path(f"/proc/{pid}/task").iterdir()
    found = [task / "schedstat" for task in tasks if _name(task / "comm").startswith(name)]
    if not found:
        raise RuntimeError(f"process {pid} has no thread {name}")
    return found


@contextmanager
def _in_slices(lab: site.Lab, polls: bool) -> Iterator[None]:
    """Have a switch that polls run when its rings are full alone."""
    if not polls:
        yield
        return
    argv = [sys.executable, duty.__file__, str(site.vswitchd(lab)), str(RUN_S), str(STOP_S)]
    pipe = subprocess.PIPE
    process = lab.spawn("gw", argv, stdout=pipe, stdin=subprocess.DEVNULL, text=True)
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the switch is not held")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def _window(
    lab: site.Lab, receiver: str, threads: Sequence[Path], seconds: float, device: str = "eth0"
) -> Run:
    """What arrives meanwhile, and how long the thread has run that ran longest."""
    start, first, before = time.perf_counter(), counters(lab, receiver, device), _on_cpu(threads)
    time.sleep(seconds)
    end, last, after = time.perf_counter(), counters(lab, receiver, device), _on_cpu(threads)
    busy = max(now - was for now, was in zip(after, before, strict=True))
    return Run(end - start, last[1] - first[1], last[0] - first[0], busy)


def _on_cpu(threads: Sequence[Path]) -> list[float]:
    return [int(thread.read_text().split()[0]) / 1e9 for thread in threads]


# --- the kernel's own router, on the same veths


@contextmanager
def _router() -> Iterator[site.Lab]:
    with site.Lab(switch=False) as lab:
        for device, address in (("eth1", "10.1.0.1/24"), ("eth2", "10.2.0.1/24")):
            lab.exec("gw", ["ip", "addr", "add", address, "dev", device])
            lab.exec("gw", ["ethtool", "-K", device, "gro", "off"])
        lab.exec("gw", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        lab.exec("gw", ["ping", "-c", "1", "-W", "2", PDN])
        yield lab


def _routed(lab: site.Lab) -> Run:
    """Packets of 64 octets through it, from the base station's side to the core's. All of it is
    done in the sender's own thread: so what it takes less if they are dropped when they come in."""
    to, source = lab.mac("gw", "eth1"), lab.mac("enb")
    data = ethernet(to, source) + udp_datagram("10.1.0.2", PDN, 9000, bytes(64 - 28), 64)
    lab.mute("pdn")
    frames = blast.write(lab.dir / "frames", [data])
    run = _sent(lab, frames, "pdn", "eth0")
    rule = 'chain in { type filter hook ingress device "eth1" priority 0; policy drop; }'
    lab.exec("gw", ["nft", f"table netdev dropped {{ {rule}; }}"])
    dropped = _sent(lab, frames, "gw", "eth1")
    lab.exec("gw", ["nft", "delete table netdev dropped"])
    return replace(run, busy=run.busy - dropped.busy / dropped.packets * run.packets)


def _sent(lab: site.Lab, frames: Path, to: str, device: str) -> Run:
    """What arrives there, and how long the sender has run for it."""
    with sending(lab, "uplink", frames, rate=0, seconds=WARM_S + 5, nice=5) as sender:
        time.sleep(2 * WARM_S)
        thread = Path(f"/proc/{sender.pid}/task/{sender.pid}/schedstat")
        return _window(lab, to, [thread], WINDOW_S["af_packet"], device)


def _name(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has just ended


# --- what is told


def _row(case: Case, fast: Sequence[Run], plain: Sequence[Run]) -> Row:
    way, length, sessions, qfi = case
    ours, theirs = (
        samples((run.capacity / 1e3 for run in runs), "kpackets/s") for runs in (fast, plain)
    )
    ratio = ours.median / theirs.median
    reach = REACH.get((way, sessions, qfi)) if length == 64 else None
    kind = "N3, " if qfi else ""
    return Row(
        f"AF_XDP: {kind}{way}, {length} octets, {sessions:,} sessions",
        f"{ours} by AF_XDP",
        f"{theirs} by AF_PACKET",
        ratio,
        "" if reach is None else f"{reach} of it",
        None if reach is None else ratio >= reach,
        [],
    )


def _beside_router(fast: Sequence[Run], routed: Sequence[Run]) -> Row:
    ours, theirs = (
        samples((run.capacity / 1e3 for run in runs), "kpackets/s") for runs in (fast, routed)
    )
    ratio = ours.median / theirs.median
    return Row(
        "AF_XDP: uplink, 64 octets, beside the kernel's router",
        f"{ours} out of tunnels",
        f"{theirs} routed, no tunnel",
        ratio,
        f"{OF_ROUTER} of it",
        ratio >= OF_ROUTER,
        [
            "The kernel's router, on the same pairs of veths, with no rules and two routes, does "
            "all in the sender's thread: what that takes for a packet, less what it takes if the "
            "packet is dropped where it comes in.",
        ],
    )
