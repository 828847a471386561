"""How often a gateway's GTP-U peers get Echo Requests."""

from __future__ import annotations

import os
import re
from typing import Final

from ofgtp.config.table import Table

ECHO_SECONDS_MIN: Final = 60
"""Echo Requests to one peer are no closer than this, in seconds (TS 29.281, 7.2.1)."""
ECHO_SECONDS_MAX: Final = 86_400
T3_RESPONSE_SECONDS_MAX: Final = 60
N3_REQUESTS_MAX: Final = 20
_TEST_ECHO_SECONDS_MIN: Final = "OFGTP_TEST_ECHO_SECONDS_MIN"
"""Environment variable that lowers ECHO_SECONDS_MIN. For tests only, which cannot wait minutes for
a path to go down: peers need not stand more requests than the standard allows."""


def echo_seconds_of(table: Table, exchange: int) -> int:
    """The interval of Echo Requests, no shorter than one exchange of so many seconds may take."""
    value = table.whole("echo_seconds", 60, _echo_seconds_min(table), ECHO_SECONDS_MAX)
    if value < exchange:
        reason = (
            f"is {value}, but n3_requests requests of t3_response_seconds each take {exchange}:"
            " an exchange must end before the next begins"
        )
        raise table.error("echo_seconds", reason)
    return value


def _echo_seconds_min(table: Table) -> int:
    text = os.environ.get(_TEST_ECHO_SECONDS_MIN) or str(ECHO_SECONDS_MIN)
    if not re.fullmatch(r"[0-9]{1,5}", text):
        reason = f"{_TEST_ECHO_SECONDS_MIN}={text!r} in the environment is not an integer"
        raise table.error("echo_seconds", reason)
    return min(max(int(text), 1), ECHO_SECONDS_MIN)
