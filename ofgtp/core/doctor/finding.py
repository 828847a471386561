"""What one check of `ofgtp doctor` comes to: what it saw, and what to type where that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

SHOWN = 3
"""So many of several alike are named."""

START = "systemctl start ofgtp"
RELOAD = "ofgtp reload"
RESTART = "systemctl restart ofgtp"
ENDS = 'a restart ends all tunnels (ownership = "controller")'
LOG = "journalctl -u ofgtp -n 50"
RESTART_OVS = "systemctl restart openvswitch-switch"


class Verdict(StrEnum):
    """What a check comes to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found; `remedy` is command lines, or what to change."""

    check: str
    verdict: Verdict
    text: str
    remedy: tuple[str, ...] = ()
    gateway: str | None = None

    def of(self, gateway: str) -> Finding:
        """The same, of a gateway."""
        return replace(self, gateway=gateway)

    def warned(self, ends: bool) -> Finding:
        """The same, where a restart of the controller ends all tunnels if it `ends` them."""
        if not ends:
            return self
        lines = (
            f"{line}{'; ' if '#' in line else '   # '}{ENDS}" if line.startswith(RESTART) else line
            for line in self.remedy
        )
        return replace(self, remedy=tuple(lines))


def ok(check: str, text: str) -> Finding:
    return Finding(check, Verdict.OK, text)


def warning(check: str, text: str, *remedy: str) -> Finding:
    return Finding(check, Verdict.WARNING, text, remedy)


def failed(check: str, text: str, *remedy: str) -> Finding:
    return Finding(check, Verdict.FAILED, text, remedy)


def skipped(check: str, why: str) -> Finding:
    return Finding(check, Verdict.SKIPPED, why)


def count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def some(noun: str, names: Sequence[str]) -> str:
    """`peers a, b, c and 4 more`."""
    shown = ", ".join(map(str, names[:SHOWN]))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{noun}{'' if len(names) == 1 else 's'} {shown}{more}"


def verb(names: Sequence[object]) -> str:
    return "does" if len(names) == 1 else "do"
