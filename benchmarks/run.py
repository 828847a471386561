"""Runs the benchmarks, prints the table and writes docs/benchmarks.md: `make bench`, as root.

Without names all of them run, and the document is written. Names: batch, single, start, restart,
load, stop, throughput, parsings, n3, ipv6, megaflows6, megaflows, upcalls, bearers, filters, ports,
pfcp, usage, thresholds, paging, afxdp, cores, meanwhile.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # the directory of this file hides nothing, and `tests` is ours

from benchmarks.measure import Row, machine, table  # noqa: E402

GROUPS = {
    "batch": "batch:run",
    "single": "single:run",
    "start": "lifecycle:start",
    "restart": "lifecycle:restart",
    "load": "underload:run",
    "stop": "lifecycle:stop",
    "throughput": "throughput:run",
    "parsings": "parsings:run",
    "n3": "n3:run",
    "ipv6": "ipv6:run",
    "megaflows6": "ipv6:megaflows",
    "megaflows": "variety:megaflows",
    "upcalls": "variety:upcalls",
    "bearers": "bearers:many",
    "filters": "bearers:packets",
    "ports": "bearers:megaflows",
    "pfcp": "pfcp:run",
    "usage": "usage:run",
    "thresholds": "thresholds:run",
    "paging": "paging:run",
    "afxdp": "afxdp:run",
    "cores": "afxdp:cores",
    "meanwhile": "meanwhile:run",
}
SESSIONS = 100_000
DOCUMENT = ROOT / "docs" / "benchmarks.md"


def measure(names: Sequence[str], sessions: int) -> list[Row]:
    """Run these groups, one after the other; their rows."""
    rows: list[Row] = []
    for name in names:
        module, function = GROUPS[name].split(":")
        say(f"{name} …")
        start = time.perf_counter()
        got = getattr(importlib.import_module(f"benchmarks.{module}"), function)(sessions)
        for row in got:
            verdict = {None: "", True: "  reached", False: "  NOT REACHED"}[row.reached]
            say(f"  {row.measure}: {row.ofgtp} | {row.against}{verdict}")
        say(f"  ({time.perf_counter() - start:.0f} s)")
        rows += got
    return rows


def document(rows: Sequence[Row], seconds: float, busy: float) -> str:
    """docs/benchmarks.md; `busy` is how much ran on the machine when the run began."""
    text = [
        "# Benchmarks",
        "",
        "<!-- Written by `make bench`. -->",
        "",
        "ofgtp, and beside it what a user would otherwise run, in one run on one machine. Medians;",
        "least and greatest in brackets. A ratio above 1 means that ofgtp is the faster, except",
        "where the row says otherwise. [performance.md](performance.md) says where the time goes.",
        "",
        "Packets are sent by one process, raw, as fast as it can, and counted at the receiver's",
        "interface. What saturates is the main thread of ovs-vswitchd, which forwards: it is kept",
        "on one core and the sender on another, for ofgtp and for the flows by hand alike. As",
        "whatever else runs on two cores takes some of that thread's time, the figures are packets",
        "and bits for a second of its time; those by the clock stand beside them in the details,",
        "with the share of a core (load) that it got. Bits are those of the receiver's frames.",
        "",
        *(f"- {name}: {value}" for name, value in machine()),
        f"- load average when it began: {busy:.2f}",
        f"- duration of the whole run: {seconds / 60:.1f} min",
        "",
        table(rows),
        "",
        "## How each was measured",
    ]
    for row in rows:
        text += ["", f"### {row.measure}", "", "\n\n".join(row.notes)]
    return "\n".join(text) + "\n"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(GROUPS))
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="instead of 100,000")
    parser.add_argument("--write", type=Path, help="where to write the document")
    options = parser.parse_args()
    if unknown := set(options.names) - set(GROUPS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    if not 1 <= options.sessions <= SESSIONS:
        parser.error(f"sessions: from 1 to {SESSIONS:,}")
    start, busy = time.perf_counter(), os.getloadavg()[0]
    rows = measure(options.names or list(GROUPS), options.sessions)
    text = document(rows, time.perf_counter() - start, busy)
    print(table(rows))
    path = options.write
    if path is None and not options.names and options.sessions == SESSIONS:
        path = DOCUMENT
    if path is None:
        say(text)
    else:
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
