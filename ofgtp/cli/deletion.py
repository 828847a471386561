"""What `session delete` and `bearer delete` have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from ofgtp.cli import output
from ofgtp.cli.api import Refused
from ofgtp.cli.errors import EXIT_FAILED


def delete_each(names: Iterable[str], delete: Callable[[str], tuple[str, bool]]) -> NoReturn:
    """Delete all of them, also when one cannot be, and end with the exit code.

    `delete` returns the id, and whether the switch has confirmed it.
    """
    code, items = 0, []
    for name in names:
        try:
            found, confirmed = delete(name)
        except Refused as error:
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
