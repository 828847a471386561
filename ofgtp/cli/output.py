"""What the commands print: tables for people, JSON for scripts.

On a terminal a table is set by rich, within its width. Anywhere else it is plain text: no colours,
and nothing is cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Literal

import click

from ofgtp.cli.settings import settings

AT_ONCE = 1000
"""Rows of a table that are set together: its columns are as wide as the widest of them."""

STYLES = {
    "active": "green",
    "up": "green",
    "yes": "green",
    "good": "green",
    "open": "green",
    "closed": "red",
    "pending": "yellow",
    "unknown": "yellow",
    "warning": "yellow",
    "failed": "bold red",
    "error_indicated": "red",
    "down": "bold red",
    "no": "bold red",
    "bad": "bold red",
}
"""How a terminal shows cells that hold just one of these words."""


def wants_json() -> bool:
    """Whether --json was given."""
    return settings().json


def say(text: str = "") -> None:
    """Print a line."""
    click.echo(text)


def note(text: str) -> None:
    """Print a line for people beside the output: on standard error."""
    click.echo(text, err=True)


def document(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2))


def line(value: Any) -> None:
    """Print one line of a stream of JSON (NDJSON), at once."""
    click.echo(json.dumps(value, separators=(",", ":")))
    sys.stdout.flush()


def listing(items: Iterable[Any]) -> None:
    """Print {"items": […]} as one JSON document, item by item."""
    coming = iter(items)
    first = [*islice(coming, 1)]  # what fails, fails before anything is printed
    click.echo('{"items": [', nl=False)
    between = "\n"
    for item in chain(first, coming):
        click.echo(f"{between}{json.dumps(item)}", nl=False)
        between = ",\n"
    click.echo("\n]}" if between == ",\n" else "]}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table. Columns whose head begins with ">" stand to the right; None is "-".

    Args:
        head: the columns' names.
        rows: may be very many; they are printed as they come.
        empty: said on standard error when there is no row.
    """
    coming = ([_cell(value) for value in row] for row in rows)
    first = list(islice(coming, AT_ONCE))
    if not first:
        if empty:
            note(empty)
        return
    names = [name.removeprefix(">") for name in head]
    right = [name.startswith(">") for name in head]
    if sys.stdout.isatty():
        _rich(names, right, first, coming)
    else:
        _plain(names, right, first, coming)


def pairs(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line; a value that is None is left out."""
    shown = [(name, _cell(value)) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        styled = value
        if style := STYLES.get(value):
            bold, _, colour = style.rpartition(" ")
            styled = click.style(value, fg=colour, bold=bool(bold))
        click.echo(f"{name:<{width}}  {styled}")


def teid(value: int | None) -> str:
    """A TEID as people write it."""
    return "-" if value is None else f"{value:#x}"


def number(value: int) -> str:
    """A count with its thousands marked."""
    return f"{value:,}"


def size(octets: float) -> str:
    """Bytes, as a person says it: "1.5 MB"."""
    return _scaled(octets, 1000, ("B", "kB", "MB", "GB", "TB", "PB"))


def rate(bits: float) -> str:
    """Bits a second, as a person says it: "1.5 Mbit/s"."""
    return _scaled(bits, 1000, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"))


def duration(seconds: float) -> str:
    """A time span, as a person says it: "3 s", "12 min", "5 h", "8 d"."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{seconds:.0f} s"


def ago(moment: str | None) -> str:
    """How long ago an RFC 3339 time was: "3 s ago"; "never" for None."""
    from datetime import UTC, datetime

    if moment is None:
        return "never"
    passed = datetime.now(UTC) - datetime.fromisoformat(moment)
    return f"{duration(max(0.0, passed.total_seconds()))} ago"


def _scaled(value: float, step: int, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if value < step:
            return f"{value:.0f} {unit}" if unit == units[0] else f"{value:.3g} {unit}"
        value /= step
    return f"{value:.3g} {units[-1]}"


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _plain(
    names: list[str], right: list[bool], first: list[list[str]], coming: Iterator[list[str]]
) -> None:
    widths = [max(map(len, column)) for column in zip(names, *first, strict=True)]

    def put(row: Sequence[str]) -> None:
        cells = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        click.echo("  ".join(cells).rstrip())

    for row in (names, *first):
        put(row)
    for row in coming:
        put(row)


def _rich(
    names: list[str], right: list[bool], first: list[list[str]], coming: Iterator[list[str]]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    rows, shown, widths = first, True, [0] * len(names)
    while rows:
        grid = Table(box=None, pad_edge=False, header_style="bold", show_header=shown)
        columns = zip(names, *rows, strict=True)
        widths = [max(old, *map(len, cells)) for old, cells in zip(widths, columns, strict=True)]
        fits = sum(widths) + 2 * (len(widths) - 1) <= console.width
        for name, to_right, width in zip(names, right, widths, strict=True):
            justify: Literal["left", "right"] = "right" if to_right else "left"
            least = width if fits else None
            grid.add_column(name, justify=justify, overflow="fold", min_width=least)
        for row in rows:
            grid.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
        console.print(grid)
        rows, shown = list(islice(coming, AT_ONCE)), False
