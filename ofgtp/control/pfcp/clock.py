"""Points in time as PFCP writes them: seconds since 1900 (TS 29.244, 8.2.65; RFC 5905)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

NTP_SECONDS = 2_208_988_800
"""From 1900 to 1970."""


def ntp_now() -> int:
    """Now."""
    return int(time.time()) + NTP_SECONDS


def ntp_time(stamp: int) -> datetime:
    """The point in time that is meant, in UTC."""
    return datetime.fromtimestamp(stamp - NTP_SECONDS, UTC)
