"""What the PDU Session Container of N3 costs: a session with a QFI against the same without."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks import blast, site
from benchmarks.measure import Row, samples
from benchmarks.traffic import WAYS, Run, arrives, ends, frame, pin, sending, window

QFI = 9
LENGTHS = (64, 1400)
"""Of the inner packet, in bytes."""
LEAST = 0.8
ROUNDS = 9
WARM_S, WINDOW_S = 0.15, 0.4


def run(_: int = 1, *, rounds: int = ROUNDS, window_s: float = WINDOW_S) -> list[Row]:
    """A row for each way and length."""
    session = site.session(0)
    found: list[Row] = []
    with site.lab() as lab:
        site.started(lab, "controller")
        site.batch(lab, site.puts([0]))
        there = ends(lab)
        pin(lab)
        for way in WAYS:
            for length in LENGTHS:
                runs: dict[int | None, list[Run]] = {None: [], QFI: []}
                for _ in range(rounds):
                    for qfi, taken in runs.items():
                        lab.http("PATCH", f"/v1/sessions/{session['id']}", {"qfi": qfi})
                        data = frame(way, there, session, ttl=128, length=length, qfi=qfi)
                        arrives(lab, way, [data], inner=data[-length:])
                        frames = lab.dir / "frames"
                        blast.write(frames, [data])
                        with sending(
                            lab, way, frames, rate=0, seconds=WARM_S + window_s + 5, nice=5
                        ):
                            time.sleep(WARM_S)
                            taken.append(window(lab, way, window_s))
                found.append(_row(way, length, runs[QFI], runs[None]))
    return found


def _row(way: str, length: int, with_qfi: Sequence[Run], without: Sequence[Run]) -> Row:
    ours, plain = (
        samples((run.capacity / 1e3 for run in runs), "kpackets/s") for runs in (with_qfi, without)
    )
    ratio = ours.median / plain.median
    return Row(
        f"N3, {way}, {length} bytes",
        f"{ours} with a container",
        f"{plain} without",
        ratio,
        f"{LEAST} of it",
        ratio >= LEAST,
        [
            "One session, inner TTL 128, its QFI set and unset by PATCH between the windows. "
            "Uplink a packet with a container is parsed twice more by the switch; downlink "
            "it gets two labels, and nftables sets a flag.",
        ],
    )
