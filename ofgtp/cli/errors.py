"""Exit codes of the `ofgtp` command, and the error that carries one."""

from __future__ import annotations

from ofgtp.core.errors import OfgtpError

EXIT_FAILED = 1
"""It could not be done: refused, in conflict, or something is in the way."""
EXIT_USAGE = 2
"""The command line or the configuration is wrong."""
EXIT_UNREACHABLE = 3
"""The API cannot be reached."""
EXIT_NOT_FOUND = 4
"""There is no such session, bearer, gateway, peer, route or tunnel."""
EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C."""


class CliError(OfgtpError):
    """What a command ends with: one line that says what is wrong and what to do."""

    def __init__(self, reason: str, code: int = EXIT_FAILED) -> None:
        self.code = code
        super().__init__(reason)
