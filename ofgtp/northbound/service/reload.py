"""Reading ofgtp.toml again, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Taken:
    """A setting that was taken from a changed ofgtp.toml."""

    gateway: str | None
    """None: of the controller or the API."""
    key: str
    text: str
    """What it is now."""

    def __str__(self) -> str:
        where = "" if self.gateway is None else f"{self.gateway}: "
        return f"{where}{self.key}: {self.text}"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of reading ofgtp.toml again."""

    file: str
    taken: Sequence[Taken]
    pending: Mapping[str, str]
    """Gateways of which switch or host are not as they should be yet, and why: they will be."""


class Reload(Protocol):
    """Reads ofgtp.toml again, and takes what has changed: all of it, or nothing."""

    def __call__(self) -> Reloaded:
        """Do so.

        Raises:
            ConfigError, NotReloaded, SwitchRefused: nothing has changed.
        """

    def token_in_file(self) -> str | None:
        """The token that `token_file` holds now; None if it holds none."""
