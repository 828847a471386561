"""The file's text: read, parsed, and on which line each table and key stands."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofgtp.core.errors import ConfigError

At = tuple[str | int, ...]
"""Where a value stands: keys, and indexes (from 0) in lists, from the top of the file."""


def read(path: Path) -> str:
    """The file's text, its lines ended by line feeds alone.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=str(path)) from error
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8", line=line, path=str(path)) from error


@dataclass(frozen=True, slots=True)
class Source:
    """A file, and what stands in it."""

    path: Path
    text: str

    def parse(self) -> dict[str, Any]:
        """Its tables and keys.

        Raises:
            ConfigError: it is not TOML.
        """
        try:
            return tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:
            # Beside TOMLDecodeError: ValueError for an integer of thousands of digits.
            found = re.search(r"\(at line (\d+), column \d+\)$", str(error))
            at_end = str(error).endswith("(at end of document)")
            last = self.text.rstrip("\n").count("\n") + 1
            line = int(found[1]) if found else last if at_end else 0
            raise ConfigError(str(error), line=line, path=str(self.path)) from error

    def error(self, at: At, reason: str) -> ConfigError:
        """An error at a key, on its line or else on that of the table it is missing from."""
        key = ".".join(part for part in at if isinstance(part, str))
        lines = _lines(self.text)
        while at and at not in lines:
            at = at[:-1]
        return ConfigError(reason, line=lines.get(at, 0), key=key, path=str(self.path))


def _lines(text: str) -> dict[At, int]:
    """The line on which each table and key of a valid TOML text begins (tomllib does not say).

    A statement (a header, or a key with its value) is a run of lines that parses by itself.
    """
    lines: dict[At, int] = {}
    last: dict[At, int] = {}  # index of the last [[table]] of each array of tables

    def note(at: At, value: Any, line: int) -> None:
        lines.setdefault(at, line)
        if isinstance(value, dict | list):
            for part, inner in value.items() if isinstance(value, dict) else enumerate(value):
                note((*at, part), inner, line)

    table: At = ()
    statement = ""
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        start = start if statement else number
        statement += line + "\n"
        try:
            value: Any = tomllib.loads(statement)
        except ValueError:
            continue
        if not statement.lstrip().startswith("["):
            for key, inner in value.items():
                note((*table, key), inner, start)
        else:
            table = ()
            while value:  # down a header's parts: {"a": {"b": [{}]}} is [[a.b]]
                ((part, value),) = value.items()
                table = (*table, part)
                lines.setdefault(table, start)
                if isinstance(value, list):
                    last[table] = last.get(table, -1) + 1
                    value = value[0]
                if table in last:
                    table = (*table, last[table])
                    lines.setdefault(table, start)
        statement = ""
    return lines
