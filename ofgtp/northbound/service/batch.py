"""What a batch did, and why one was refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ofgtp.core.errors import OfgtpError


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How many sessions a batch created, replaced and deleted."""

    created: int
    replaced: int
    deleted: int


class BatchError(OfgtpError):
    """A batch that was refused as a whole: (1-based line, field, message) of what is wrong."""

    def __init__(self, errors: Sequence[tuple[int, str, str]]) -> None:
        self.errors = list(errors)
        super().__init__(f"{len(self.errors)} errors in the batch")


class WrongLine(Exception):
    """A line of a batch that cannot be read; `errors` are (field, what is wrong with it)."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        self.errors = errors
        super().__init__(f"{len(errors)} errors")
