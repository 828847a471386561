"""Figures and the rows of the table."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

COLUMNS = ("measure", "ofgtp", "against", "ratio", "to reach", "reached")


@dataclass(frozen=True, slots=True)
class Samples:
    """Some runs of the same measurement."""

    values: tuple[float, ...]
    unit: str = "s"

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        """Median, and in brackets the least and the greatest."""
        if len(self.values) == 1:
            return f"{figure(self.median)} {self.unit}"
        spread = f"{figure(min(self.values))} to {figure(max(self.values))}"
        return f"{figure(self.median)} {self.unit} ({spread})"


def samples(values: Iterable[float], unit: str = "s") -> Samples:
    return Samples(tuple(values), unit)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them (0 to 1) do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figure(value: float) -> str:
    """Three digits that count; whole numbers in full."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table."""

    measure: str
    ofgtp: str
    against: str = ""
    ratio: float | None = None
    reach: str = ""
    reached: bool | None = None
    """None where nothing is to be reached: the figure is only given."""
    notes: list[str] = field(default_factory=list)
    """What stands below the table: how it was measured, and its parts."""

    def cells(self) -> tuple[str, ...]:
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        verdict = {None: "", True: "yes", False: "NO"}[self.reached]
        return (self.measure, self.ofgtp, self.against, ratio, self.reach, verdict)


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Append the seconds that the block takes."""
    start = perf_counter()
    yield
    into.append(perf_counter() - start)


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown, with columns lined up."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    texts = [
        " | ".join(cell.ljust(wide) for cell, wide in zip(line, widths, strict=True))
        for line in lines
    ]
    texts.insert(1, " | ".join("-" * wide for wide in widths))
    return "\n".join(f"| {text} |" for text in texts)


def machine() -> list[tuple[str, str]]:
    """What the figures were measured on."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in cpus if line.startswith("model name")), "")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    done = subprocess.run(["ovs-vswitchd", "--version"], capture_output=True, text=True, check=True)
    return [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("processor", f"{os.cpu_count()} x {model or platform.machine()}"),
        ("memory", f"{memory:.0f} GiB"),
        ("kernel", platform.release()),
        ("Open vSwitch", done.stdout.splitlines()[0].split()[-1] + ", userspace datapath"),
        ("Python", platform.python_version()),
    ]
