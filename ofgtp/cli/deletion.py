"""What commands that delete have in common."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import click

from ofgtp.cli import output
from ofgtp.cli.api import BATCH_LINES, BATCH_S, Api, Refused
from ofgtp.cli.errors import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, CliError

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
"""Adds --yes to a command that uses `delete_many`."""


def delete_each(names: Iterable[str], delete: Callable[[str], tuple[str, bool]]) -> NoReturn:
    """Delete all of them, also when one cannot be, and end with the exit code.

    `delete` returns the id, and whether the switch has confirmed it.
    """
    code, items = 0, []
    for name in names:
        try:
            found, confirmed = delete(name)
        except CliError as error:
            if error.code == EXIT_UNREACHABLE:
                raise
            output.note(f"ofgtp: {error}")
            code = error.code if code in (0, error.code) else EXIT_FAILED
            continue
        items.append({"id": found, "confirmed": confirmed})
        if not output.wants_json():
            later = "" if confirmed else ": its flows go as soon as the switch is back"
            output.say(f"{found}: deleted{later}")
    if output.wants_json():
        output.listing(items)
    sys.exit(code)


def delete_many(api: Api, sessions: Iterable[dict[str, Any]], of: str, yes: bool) -> None:
    """Delete sessions by batches, and tell how many; those that control planes own stay.

    Args:
        api: where they are.
        sessions: as the API shows them.
        of: what they have in common, in words, for the question.
        yes: do not ask.

    Raises:
        CliError: there is nobody to ask, or the answer was no.
    """
    ids, owned = list[str](), 0
    for each in sessions:
        if each.get("owner"):
            owned += 1
        else:
            ids.append(each["id"])
    if owned:
        output.note(f"not deleted, as control planes own them (PFCP): {_count(owned)}{of}")
    if ids and not yes:
        _ask(f"Delete {_count(len(ids))}{of}?")
    deleted = sum(
        _batch(api, ids[start : start + BATCH_LINES]) for start in range(0, len(ids), BATCH_LINES)
    )
    if output.wants_json():
        output.document({"deleted": deleted})
    else:
        output.say(f"{_count(deleted)}{of} deleted")
    if deleted:
        note_away(api.health(), "not connected, so that flows there go when they are back")


def note_away(health: dict[str, Any], what: str) -> None:
    """Say so if switches are away."""
    away = [each["name"] for each in health.get("gateways", ()) if not each["connected"]]
    if away:
        output.note(f"{what}: {', '.join(away)}")


def _ask(question: str) -> None:
    if not _is_terminal():
        raise CliError("there is no terminal to ask on: add --yes", EXIT_USAGE)
    if not click.confirm(question, err=True):
        raise CliError("nothing was deleted")


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _batch(api: Api, ids: Sequence[str]) -> int:
    """Delete these at once; how many there were. Others may delete some of them meanwhile."""
    left = list(ids)
    while left:
        lines = (json.dumps({"op": "delete", "id": each}) for each in left)
        body = "\n".join(lines).encode()
        try:
            api.send("POST", "/v1/sessions:batch", body, seconds=BATCH_S)
        except Refused as error:
            wrong = error.problem.get("errors") or ()
            gone = {each["line"] for each in wrong if str(each["msg"]).startswith("no session has")}
            if error.status != 422 or not gone or len(gone) < len(wrong):
                raise
            left = [each for line, each in enumerate(left, 1) if line not in gone]
        else:
            break
    return len(left)


def _count(count: int) -> str:
    return "1 session" if count == 1 else f"{count:,} sessions"
