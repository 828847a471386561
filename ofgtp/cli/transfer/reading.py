"""The lines of a file, read one by one."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ofgtp.cli.errors import EXIT_USAGE, CliError
from ofgtp.cli.transfer.formats import COLUMNS, Session
from ofgtp.cli.transfer.progress import SHOW_EVERY, Show
from ofgtp.cli.values import QOS, read_qfi, read_teid

if TYPE_CHECKING:
    from io import BufferedReader

LINE_BYTES = 64 << 10
"""Longest line of a file, in bytes."""
BOOLEANS = {"true": True, "false": False}
"""How CSV has them."""


@dataclass(slots=True)
class Wrong:
    """A line that is wrong."""

    errors: list[tuple[str, str]]
    """Members of a session, with dots, and what is wrong with each."""
    session: Session | None = None
    """What else it says."""


Read = tuple[int, Session | Wrong]
"""The number of a line, and a session, an operation, or what is wrong with the line."""


class Source:
    """An open file: its lines, and how much of it was read."""

    def __init__(self, file: BufferedReader, name: str, size: int | None) -> None:
        self._file, self.name, self.size = file, name, size
        self.lines = self.octets = 0

    def looks_like(self) -> str:
        """The format, by the first character that is not white."""
        return "ndjson" if self._file.peek().lstrip()[:1] == b"{" else "csv"

    def read(self, show: Show) -> Iterator[bytes]:
        """The lines one by one.

        Raises:
            ValueError: a line is far too long.
        """
        while line := self._file.readline(LINE_BYTES + 1):
            self.lines += 1
            self.octets += len(line)
            if len(line) > LINE_BYTES:
                raise ValueError(f"is longer than {LINE_BYTES} bytes")
            if self.lines % SHOW_EVERY == 0:
                show(f"{self.lines:,} lines read", self.octets)
            yield line


@contextmanager
def opened(file: str) -> Iterator[Source]:
    """Open a file to read it; "-" is standard input.

    Raises:
        CliError: it cannot be opened.
    """
    if file == "-":
        yield Source(cast("BufferedReader", sys.stdin.buffer), "standard input", None)
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}", EXIT_USAGE) from error
    with opened:
        size = Path(file).stat().st_size
        yield Source(opened, file, size or None)


def of_ndjson(source: Source, show: Show) -> Iterator[Read]:
    """Read the lines of NDJSON; it ends at one that is far too long."""
    try:
        for line in source.read(show):
            if not line.isspace():
                yield source.lines, _of_json(line)
    except ValueError as error:
        yield source.lines, _unreadable(str(error))


def _of_json(line: bytes) -> Session | Wrong:
    try:
        value = json.loads(line)
    except ValueError as error:
        return _unreadable(f"is not JSON: {error}")
    return value if isinstance(value, dict) else _unreadable("is not a JSON object")


def _unreadable(why: str) -> Wrong:
    return Wrong([("", why)])


def of_csv(source: Source, show: Show) -> Iterator[Read]:
    """Read the rows of CSV; it ends where nothing more can be made out."""
    text = (line.decode("utf-8", "replace") for line in source.read(show))
    rows = csv.reader(text, strict=True)
    number = 1
    try:
        head = [name.strip().lower() for name in next(rows, ())]
        head[:1] = [name.removeprefix("\ufeff") for name in head[:1]]
        if wrong := _wrong_head(head):
            yield number, _unreadable(wrong)
            return
        number = rows.line_num + 1  # where the next row begins: it may have several lines
        for row in rows:
            if any(row):
                wrong = f"has {len(row)} columns and not {len(head)}"
                fits = len(row) == len(head)
                yield number, _of_row(head, row) if fits else _unreadable(wrong)
            number = rows.line_num + 1
    except (csv.Error, ValueError) as error:
        open_quote = "; is a quote open?" if rows.line_num > number else ""
        yield number, _unreadable(f"cannot be read: {error}{open_quote}")


def _wrong_head(head: list[str]) -> str | None:
    unknown = [name for name in head if name not in COLUMNS]
    if unknown:
        return f"{unknown[0]!r} is no column; columns are {', '.join(COLUMNS)}"
    if head and not {"ue_ip", "ue_ipv6"} & {*head}:
        return "the column ue_ip is missing; the first line must name the columns"
    return "a column is there twice" if len(set(head)) < len(head) else None


def _of_row(head: list[str], row: list[str]) -> Session | Wrong:
    session: Session = {}
    errors: list[tuple[str, str]] = []
    for name, cell in zip(head, row, strict=True):
        if value := cell.strip():
            *outer, inner = COLUMNS[name]
            place = session.setdefault(outer[0], {}) if outer else session
            place[inner] = value
            try:
                place[inner] = READERS.get(inner, str)(value)
            except ValueError as error:
                errors.append((".".join(COLUMNS[name]), str(error)))
    return Wrong(errors, session) if errors else session


def _read_boolean(text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise ValueError(f"{text!r} is neither true nor false")
    return BOOLEANS[text.lower()]


READERS: dict[str, Callable[[str], Any]] = {
    "teid": read_teid,
    "qfi": read_qfi,
    **dict.fromkeys(QOS[1:], _read_boolean),
}
"""How the cells of CSV are read that are not just text, by the member that they are."""
