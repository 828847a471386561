"""Events as they come, as a stream of server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from ofgtp.northbound.events import Event, EventLog

LOOK_SECONDS = 1.0
"""Seconds between two looks at whether the reader of a stream has gone."""

_EVENTS_AT_ONCE = 500


def stream(
    events: EventLog, gone: Callable[[], bool], after: int, keep_alive: float
) -> Iterator[bytes]:
    """The events from number `after` on, until the reader has gone.

    After `keep_alive` seconds without one it shows that it lives.
    """
    # A reader that is cut off before the first event knows all the same where to go on.
    yield f": events of ofgtp\nid: {events.id(after)}\n\n".encode()
    quiet = 0.0
    while not gone():
        patience = min(LOOK_SECONDS, keep_alive)
        if found := events.wait(after, patience):
            after, quiet = found[-1].number, 0.0
            for start in range(0, len(found), _EVENTS_AT_ONCE):
                some = found[start : start + _EVENTS_AT_ONCE]
                yield b"".join(_sse(events.id(event.number), event) for event in some)
            continue
        quiet += patience
        if quiet >= keep_alive:
            quiet = 0.0
            yield b": still here\n\n"


def _sse(event_id: str, event: Event) -> bytes:
    """One event as a stream of server-sent events writes it."""
    at = event.at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    data = json.dumps({"at": at, "kind": event.kind, **event.facts}, separators=(",", ":"))
    return f"id: {event_id}\nevent: {event.kind}\ndata: {data}\n\n".encode()
