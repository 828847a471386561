"""Sessions that a control plane owns: it changes them, and nobody else does."""

from __future__ import annotations

from dataclasses import dataclass

from ofgtp.control.usage.readings import Readings
from ofgtp.core.errors import Conflict
from ofgtp.core.model import FTeid, Session


@dataclass(frozen=True, slots=True)
class Steps:
    """What a control plane has made of sessions of a gateway in a transaction."""

    before: tuple[Session, ...] = ()
    """Those that are changed or no more, as they were, with their flows in the switch."""
    after: tuple[Session, ...] = ()
    """Those that are new or changed, as they are."""
    left: tuple[FTeid, ...] = ()
    """Tunnels whose peers are to be sent an End Marker."""
    drop: tuple[int, ...] = ()
    """Slots of sessions what waits of which is to be dropped (DROBU)."""
    readings: Readings | None = None
    """What was read of the first in this turn."""


class Together:
    """Steps of several requests, one after the other, as those of one."""

    def __init__(self) -> None:
        self._before: dict[int, Session] = {}
        self._after: dict[int, Session] = {}
        self._left: list[FTeid] = []
        self._drop: list[int] = []

    def add(self, steps: Steps) -> None:
        """What comes behind the others."""
        for session in steps.before:
            # One that is new or changed by now is not as it is in the switch.
            if self._after.pop(session.number, None) is None:
                self._before[session.number] = session
        self._after |= {session.number: session for session in steps.after}
        self._left += steps.left
        self._drop += steps.drop

    def all(self, readings: Readings) -> Steps:
        """All of them, and what was read before."""
        before, after = tuple(self._before.values()), tuple(self._after.values())
        return Steps(before, after, tuple(self._left), tuple(self._drop), readings)


def check_free(session: Session | None) -> None:
    """Raise Conflict if a session is a control plane's."""
    owner = None if session is None or session.detail is None else session.detail.owner
    if session is not None and owner is not None:
        reason = f"session {session.id!r} is owned by {owner}, which alone may change it"
        raise Conflict("owner", reason, session.id)
