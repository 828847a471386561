"""How far an import or export is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHOW_EVERY = 1000
"""The progress bar moves each so many lines."""

Show = Callable[[str, int], None]
"""Shows how far something is: in words, and as a part of the total."""


@contextmanager
def progress(total: int | None) -> Iterator[Show]:
    """A bar on standard error, if that is a terminal; gone at the end."""
    if not sys.stderr.isatty():
        yield lambda text, part: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda text, part: bar.update(task, description=text, completed=part)
