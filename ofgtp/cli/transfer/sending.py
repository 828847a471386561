"""Batches for the API, and what it says of them."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ofgtp.cli import detail
from ofgtp.cli.api import BATCH_LINES, BATCH_S, Api, Refused, tunnel_id
from ofgtp.cli.transfer.formats import Session
from ofgtp.cli.transfer.reading import Read, Wrong
from ofgtp.cli.values import read_teid

BATCH_BYTES = 31 << 20
"""Most bytes of a batch; the API takes a little more."""
MOST_ERRORS = 100
"""So many errors of a batch are named, as the API has it."""
SHOWN_ONLY = ("state", "reason", "created_at", "updated_at", "counters", "closed")
"""Members of a session as the API shows it, which an import passes over."""
NEVER = b'{"op":"none"}\n'
"""A line that the API refuses, in place of one that cannot be read."""
GUARD = "wrong"
"""A member that the API does not know: it refuses a line that has it."""


@dataclass(slots=True)
class Batch:
    """Lines for one request, and where they stand in the file."""

    numbers: array[int] = field(default_factory=lambda: array("Q"))
    body: bytearray = field(default_factory=bytearray)
    errors: list[dict[str, Any]] = field(default_factory=list)
    """If there are any, the body has a line at each that the API refuses."""


class Known:
    """What is asked of the API once, and only if it is needed."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @cached_property
    def only_gateway(self) -> str | None:
        """Where sessions go that do not say; None if there are several gateways."""
        names = [str(each["name"]) for each in self._api.items("/v1/gateways")]
        return names[0] if len(names) == 1 else None


def batches(told: Iterable[Read], known: Known) -> Iterator[Batch]:
    """The lines as operations, in batches."""
    batch = Batch()
    for number, value in told:
        raw = _refused(value, known) if isinstance(value, Wrong) else _operation(value, known)
        if len(batch.numbers) == BATCH_LINES or len(batch.body) + len(raw) > BATCH_BYTES:
            yield batch
            batch = Batch()
        batch.numbers.append(number)
        batch.body += raw
        if isinstance(value, Wrong):
            batch.errors += ({"line": number, "loc": k, "msg": msg} for k, msg in value.errors)
            if len(batch.errors) >= MOST_ERRORS:
                break
    if batch.numbers:
        yield batch


def _refused(wrong: Wrong, known: Known) -> bytes:
    """A line for the API that it refuses, and in which it looks at what else the line says."""
    if wrong.session is None:
        return NEVER
    return _operation({"op": "put", "session": wrong.session, GUARD: True}, known)


def _operation(value: Session, known: Known) -> bytes:
    """A line for the API, of a session or of an operation."""
    operation = value
    if "op" not in value:
        operation = {"op": "put", "session": value}
    if isinstance(session := operation.get("session"), dict):
        for name in SHOWN_ONLY:
            session.pop(name, None)
        session |= detail.resource(session)
        for end in (session.get("uplink"), session.get("downlink")):
            if isinstance(end, dict):
                end.pop("local_ip", None)
                end.pop("local_ip6", None)
                _read_teid(end)
        gateway = session.get("gateway") or known.only_gateway
        ue = session.get("ue_ip") or session.get("ue_ipv6")
        if session.get("id") is None and gateway and ue:
            session["id"] = tunnel_id(gateway, ue)
    return json.dumps(operation, separators=(",", ":")).encode() + b"\n"


def _read_teid(end: dict[str, Any]) -> None:
    """Make it a number, if it is one: those the API reads quicker. Else the API says so."""
    if isinstance(given := end.get("teid"), str):
        with suppress(ValueError):
            end["teid"] = read_teid(given)


def send(api: Api, batch: Batch, done: dict[str, int]) -> list[dict[str, Any]]:
    """Send a batch and add up what it did; the errors, if it was refused, by lines of the file.

    One with errors is sent too: the API finds what is wrong with its other lines.
    """
    told = {(each["line"], each["loc"]) for each in batch.errors}
    unread = {line for line, loc in told if not loc}
    try:
        answer = api.send("POST", "/v1/sessions:batch", bytes(batch.body), seconds=BATCH_S)
    except Refused as error:
        found = error.problem.get("errors")
        if error.status != 422 or not found:
            raise
        found = [{**each, "line": batch.numbers[each["line"] - 1]} for each in found]
        further = [
            each
            for each in found
            if each["line"] not in unread
            and each["loc"] != GUARD
            and (each["line"], each["loc"]) not in told
        ]
        return sorted(batch.errors + further, key=lambda each: int(each["line"]))[:MOST_ERRORS]
    for what, count in (answer or {}).items():
        done[what] += count
    return batch.errors
