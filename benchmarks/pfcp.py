"""Sessions of a control plane, by PFCP, beside those of REST in the same run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

from benchmarks import control_plane, site
from benchmarks.control_plane import T1_S, Answered, Client, Octets
from benchmarks.measure import Row, figure, quantile, samples
from benchmarks.single import put

ROUNDS = 3
JOBS, SINGLE_JOBS = 2000, 500
WINDOW, CONNECTIONS = 64, 16
KEPT = 10_000
"""Sessions that are there at a restart."""
STEPS = "establishments", "activations", "deletions"
PAUSE_S = 0.01
"""Between two requests of one kind while something else is done."""
MARGIN_S = 0.2
"""Requests go on for so long before and after that."""


def run(sessions: int, *, rounds: int = ROUNDS) -> list[Row]:
    """All rows of PFCP."""
    return [
        *_rates(sessions, rounds),
        *_restart(min(KEPT, sessions), rounds),
        _during(sessions),
    ]


# --- one after the other, and many under way


class _Taken:
    """What requests of one kind have taken, in all rounds."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.took: list[float] = []

    def add(self, seconds: float, took: Sequence[float]) -> None:
        self.rates.append(len(took) / seconds)
        self.took += took

    @property
    def rate(self) -> float:
        return samples(self.rates).median

    @property
    def median(self) -> float:
        return quantile(self.took, 0.5)

    def __str__(self) -> str:
        middle, late = (quantile(self.took, share) * 1e3 for share in (0.5, 0.99))
        return (
            f"{samples(self.rates, 'a second')}, {figure(middle)} ms median, "
            f"{figure(late)} ms 99th percentile"
        )


def _rates(sessions: int, rounds: int) -> Iterator[Row]:
    with control_plane.lab() as lab:
        site.started(lab, "switch", control_plane.CONFIG)
        client = Client(lab)
        client.associate()
        octets = len(control_plane.establishment(0))
        for window, connections, most in ((WINDOW, CONNECTIONS, JOBS), (1, 1, SINGLE_JOBS)):
            count = min(most, sessions)
            puts, steps = _Taken(), {name: _Taken() for name in STEPS}
            for _ in range(rounds):
                jobs = [put(number) for number in range(count)]
                seconds, took, statuses = site.drive(lab, 8080, connections, jobs)
                if set(statuses) != {201}:
                    raise RuntimeError(f"answered {sorted(set(statuses))}")
                puts.add(seconds, took)
                site.batch(lab, site.deletes(range(count)))
                for name, (seconds, took) in _life(client, count, window):
                    steps[name].add(seconds, took)
            for name, taken in steps.items():
                yield (_many if window > 1 else _single)(name, taken, puts, octets)
        client.close()


def _life(
    client: Client, count: int, window: int
) -> Iterator[tuple[str, tuple[float, list[float]]]]:
    """Make sessions, activate them and delete them; what each step has taken."""
    made = client.run([control_plane.establishment(n) for n in range(count)], window)
    yield STEPS[0], (made.seconds, made.took)
    seids = [control_plane.up_seid(answer) for answer in made.answers]
    done = client.run([control_plane.activation(*pair) for pair in enumerate(seids)], window)
    yield STEPS[1], (done.seconds, done.took)
    done = client.run([control_plane.deletion(seid) for seid in seids], window)
    yield STEPS[2], (done.seconds, done.took)


def _many(name: str, taken: _Taken, puts: _Taken, octets: int) -> Row:
    ratio = taken.rate / puts.rate
    return Row(
        f"PFCP {name}, {WINDOW} under way",
        str(taken),
        f"{puts} single `PUT`, {CONNECTIONS} connections",
        ratio,
        "0.6 of the `PUT`s a second",
        ratio >= 0.6,
        [
            f"One control plane; an establishment has four PDRs ({octets} octets), as Open5GS's "
            "SMF sends it. Answered when the switch has confirmed, and the store has it, as the "
            "`PUT`s. Octets are made before the clock runs. Rounds of each in turn."
        ],
    )


def _single(name: str, taken: _Taken, puts: _Taken, octets: int) -> Row:
    least = puts.median + 0.3e-3
    return Row(
        f"PFCP {name}, one under way",
        str(taken),
        f"{puts} single `PUT`, 1 connection",
        puts.median / taken.median,
        "median at most that of a `PUT` and 0.3 ms",
        taken.median <= least,
        ["As above, each sent when the one before is answered. The ratio is that of the medians."],
    )


# --- restart


def _restart(count: int, rounds: int) -> Iterator[Row]:
    rest: list[float] = []
    ours: list[float] = []
    gaps: dict[str, float] = {}
    flow_mods = 0.0
    with control_plane.lab() as lab:
        site.started(lab, "switch", control_plane.CONFIG)
        base = site.rss(lab)
        site.batch(lab, site.puts(range(count)))
        for _ in range(rounds):
            site.stop(lab)
            rest.append(site.started(lab, "switch", control_plane.CONFIG)["in_sync"])
        site.batch(lab, site.deletes(range(count)))
        site.stop(lab)
        site.started(lab, "switch", control_plane.CONFIG)
        client = Client(lab)
        client.associate()
        base = site.rss(lab)
        seids = control_plane.established(client, range(count), WINDOW)
        memory = site.rss(lab) - base
        before = site.installed(lab)
        for _ in range(rounds):
            asked = {
                "heartbeat": _heartbeats(),
                "modification": _activations(seids[:1]),
            }
            with control_plane.asking(lab, asked, PAUSE_S) as answered:
                time.sleep(MARGIN_S)
                site.stop(lab)
                ours.append(site.started(lab, "switch", control_plane.CONFIG)["in_sync"])
                time.sleep(MARGIN_S)
            for kind, times in answered.items():
                gaps[kind] = max(gaps.get(kind, 0.0), _gap(times))
            flow_mods += site.metric(lab, "ofgtp_flow_mods_total")
        if site.installed(lab) != before:
            raise RuntimeError("the flows are others after the restarts")
        client.close()
    mine, other = samples(ours), samples(rest)
    ratio = mine.median / other.median
    longest = ", ".join(f"{kind} {gap:.2f} s" for kind, gap in gaps.items())
    yield Row(
        f"restart with {count:,} sessions by PFCP, until in sync",
        f"{mine}; {flow_mods:.0f} flow-mods; longest without an answer: {longest}",
        f"{other} with as many by REST",
        ratio,
        "at most 1.5 times, 0 flow-mods, T1 (2.5 s)",
        ratio <= 1.5 and not flow_mods and max(gaps.values()) <= T1_S,
        [
            'With `ownership = "switch"`; a clean stop, then from the start of `ryu-manager`. The '
            "ratio: less is better. Meanwhile a heartbeat and a modification that changes nothing "
            f"are sent every {PAUSE_S * 1e3:.0f} ms each; the longest time between two answers "
            "includes the stop: what is lost then is answered when it is sent again after T1. "
            f"{rounds} restarts of each, flow-mods of all together."
        ],
    )
    yield Row(
        "memory of the controller with sessions by PFCP",
        f"{memory / count / 1e3:.2f} kB a session",
        reach="3 kB",
        reached=memory / count <= 3000,
        notes=[
            f"Resident: {base / 1e6:.0f} MB with none, {memory / 1e6:.0f} MB more with {count:,}, "
            "which were established and activated one by one, the answers that are kept for "
            "requests that come again included."
        ],
    )


def _gap(times: Answered) -> float:
    """The longest time between two answers."""
    at = sorted(answered for _, answered in times)
    return max(later - sooner for sooner, later in itertools.pairwise(at))


def _heartbeats() -> Iterator[Octets]:
    while True:
        yield control_plane.heartbeat()


def _activations(seids: Sequence[int]) -> Iterator[Octets]:
    """Of these sessions in turn: each time the same, so that no flow changes."""
    while True:
        for number, seid in enumerate(seids):
            yield control_plane.activation(number, seid)


# --- beside a batch of REST's


def _during(sessions: int) -> Row:
    """How long a control plane waits while a batch is being done."""
    some = min(16, sessions)
    with control_plane.lab() as lab:
        site.started(lab, "switch", control_plane.CONFIG)
        client = Client(lab)
        client.associate()
        seids = control_plane.established(client, range(some), 1)
        body = site.puts(range(sessions))
        asked = {"heartbeat": _heartbeats(), "modification": _activations(seids)}
        with control_plane.asking(lab, asked, PAUSE_S) as answered:
            start = time.perf_counter()
            time.sleep(MARGIN_S)
            site.batch(lab, body)
            end = time.perf_counter()
        client.close()
    found = {
        kind: [later - sooner for sooner, later in times if start <= sooner <= end]
        for kind, times in answered.items()
    }
    late = {kind: quantile(took, 0.99) for kind, took in found.items()}
    parts = "; ".join(
        f"{len(took)} of a {kind}, median {figure(quantile(took, 0.5) * 1e3)} ms, "
        f"longest {figure(max(took) * 1e3)} ms"
        for kind, took in found.items()
    )
    return Row(
        f"PFCP while {sessions:,} REST sessions come by `:batch`",
        ", ".join(f"{kind} {figure(took * 1e3)} ms" for kind, took in late.items()),
        reach="250 ms, 99th percentile",
        reached=max(late.values()) < 0.25,
        notes=[
            f"A heartbeat and a modification are sent every {PAUSE_S * 1e3:.0f} ms, whether or "
            f"not those before are answered, while the batch takes "
            f"{end - start - MARGIN_S:.1f} s. Answers: "
            f"{parts}."
        ],
    )
