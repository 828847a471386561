"""What the URRs of a control plane's session have measured, from what the switch has counted."""

from __future__ import annotations

from dataclasses import replace

from ofgtp.control.usage.readings import Readings
from ofgtp.core.model import Session
from ofgtp.core.pfcp.session import PfcpSession


def counted(readings: Readings, made: PfcpSession, session: Session, now: int) -> PfcpSession:
    """The session with what it has measured so far."""
    usage, detail = made.usage.started(made.urrs, now), session.detail
    seen = readings.seen(session)
    if seen is not None and detail is not None:
        usage = usage.counted(made.urrs, made.pdrs, detail.rules, seen, now)
    return replace(made, usage=usage)


def changed(readings: Readings, made: PfcpSession, before: Session, after: Session) -> PfcpSession:
    """The session as it is after a change, marked where the counts of its flows stand then."""
    seen = readings.after(before, after)
    return made if seen is None else replace(made, usage=made.usage.marked(seen))
