"""The file's text: read, parsed, and on which line each table and key stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ofgtp.core.errors import ConfigError

At = tuple[str | int, ...]
"""Where a value stands: keys, and indexes (from 0) in lists, from the top of the file."""

_DEPTH_MAX: Final = 16
"""How deep a value may stand in tables and lists: no key needs a third of it."""
_TOO_DEEP: Final = f"is nested deeper than {_DEPTH_MAX}"

_TOKEN: Final = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|"(?:[^"\\\n]|\\.)*"'''  # a string with escapes
    r"""|'''.*?'{3,5}|'[^'\n]*'"""  # a string without
    r"|#[^\n]*|[][{}\n]",
    re.DOTALL,
)
"""What says where a statement of TOML ends: strings, comments, brackets and ends of lines."""


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
            ConfigError: it is not TOML, or something stands too deep in it.
        """
        try:
            values = tomllib.loads(self.text)
        except RecursionError as error:
            raise ConfigError(_TOO_DEEP, path=str(self.path)) from error
        except ValueError as error:
            # Beside TOMLDecodeError: ValueError for an integer of thousands of digits.
            found = re.search(r"\(at line (\d+), column \d+\)$", str(error))
            at_end = str(error).endswith("(at end of document)")
            last = self.text.rstrip("\n").count("\n") + 1
            line = int(found[1]) if found else last if at_end else 0
            raise ConfigError(str(error), line=line, path=str(self.path)) from error
        for at in _inside((), values):
            if len(at) > _DEPTH_MAX:
                raise self.error(at, _TOO_DEEP)
        return values

    def error(self, at: At, reason: str) -> ConfigError:
        """An error at a key, on its line or else on that of the table it is missing from."""
        key = ".".join(part for part in at if isinstance(part, str))
        lines = _lines(self.text)
        while at and at not in lines:
            at = at[:-1]
        return ConfigError(reason, line=lines.get(at, 0), key=key, path=str(self.path))


def _lines(text: str) -> dict[At, int]:
    """The line on which each table and key of a valid TOML text begins (tomllib does not say)."""
    lines: dict[At, int] = {}
    last: dict[At, int] = {}  # index of the last [[table]] of each array of tables
    table: At = ()
    for start, statement in _statements(text):
        try:
            value: Any = tomllib.loads(statement)
        except (ValueError, RecursionError):  # too deep, or the file is another one by now
            continue
        if not statement.lstrip().startswith("["):
            for at in _inside(table, value):
                lines.setdefault(at, start)
        else:
            table = ()
            # Down a header's parts: {"a": {"b": [{}]}} is [[a.b]].
            while value and len(table) <= _DEPTH_MAX:
                ((part, value),) = value.items()
                table = (*table, part)
                lines.setdefault(table, start)
                if isinstance(value, list):
                    last[table] = last.get(table, -1) + 1
                    value = value[0]
                if table in last:
                    table = (*table, last[table])
                    lines.setdefault(table, start)
    return lines


def _inside(at: At, value: Any) -> Iterator[At]:
    """Where everything in a value stands; of what is too deep, the first level."""
    found = [(at, value)]
    while found:
        at, value = found.pop()
        if isinstance(value, dict | list) and len(at) <= _DEPTH_MAX:
            for part, inner in value.items() if isinstance(value, dict) else enumerate(value):
                yield (*at, part)
                found.append(((*at, part), inner))


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The statements of a TOML text (a header, or a key with its value), each with its first line.

    Each ends with its line, unless a bracket is open there or the line's end is in a string.
    """
    line, start, depth = 1, 0, 0
    for token in _TOKEN.finditer(text):
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            yield line, text[start : token.end()]
            line += text.count("\n", start, token.end())
            start = token.end()
    yield line, text[start:]
