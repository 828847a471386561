"""What control planes were told of their sessions, and need not be told again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ofgtp.core.model import FTeid
from ofgtp.core.pfcp.downlink import DownlinkFlow

AGAIN_S = 60.0
"""After which a control plane is told anew that packets come for an idle UE. It may have paged in
vain, which it need not tell a user plane (TS 23.502, 4.2.3.3)."""

What = FTeid | DownlinkFlow
"""A tunnel that its peer does not know, or a flow for whose packets there is no tunnel."""


class Told:
    """By session; points in time are those of a steady clock."""

    def __init__(self) -> None:
        self._when: dict[int, dict[What, float]] = {}
        self._quiet_until: dict[int, float] = {}

    def __iter__(self) -> Iterator[int]:
        """The sessions, which may be forgotten meanwhile."""
        return iter([*self._when])

    def is_told(self, up_seid: int, what: What, now: float) -> bool:
        """Whether there is nothing to be told: of a tunnel once and for all, of a flow for a
        time."""
        when = self._when.get(up_seid, {}).get(what)
        return when is not None and (isinstance(what, FTeid) or now < when + AGAIN_S)

    def tell(self, up_seid: int, what: What, now: float) -> None:
        """It is told now."""
        self._when.setdefault(up_seid, {})[what] = now

    def tell_later(self, up_seid: int, flow: DownlinkFlow, at: float) -> None:
        """It was told, and is not to be told again before this time."""
        if flow in self._when.get(up_seid, {}):
            self._when[up_seid][flow] = at - AGAIN_S
            self._quiet_until.pop(up_seid, None)

    def is_quiet(self, up_seid: int, now: float) -> bool:
        """Whether no packet of the session needs to be looked at."""
        return now < self._quiet_until.get(up_seid, now)

    def told_of_all(self, up_seid: int, flows: Iterable[DownlinkFlow], now: float) -> None:
        """The session is quiet, if it has no flow but these and all of them are told."""
        if all(self.is_told(up_seid, flow, now) for flow in flows):
            first = min((self._when[up_seid][flow] for flow in flows), default=now)
            self._quiet_until[up_seid] = first + AGAIN_S

    def unanswered(self, up_seid: int, what: What) -> None:
        """Should it come again, it is told again."""
        self._when.get(up_seid, {}).pop(what, None)
        self._quiet_until.pop(up_seid, None)

    def forget(self, up_seid: int, anew: frozenset[int] | None = None) -> list[What]:
        """The session is another one now, or is no more: what was told of it counts no more. With
        `anew`, the flows of all other FARs stay. What is forgotten."""
        self._quiet_until.pop(up_seid, None)
        told = self._when.pop(up_seid, {})
        kept: dict[What, float] = {
            what: when
            for what, when in told.items()
            if anew is not None and isinstance(what, DownlinkFlow) and what.far_id not in anew
        }
        if kept:
            self._when[up_seid] = kept
        return [what for what in told if what not in kept]
