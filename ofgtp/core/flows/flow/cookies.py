"""Cookies: whose a flow is, and what it is of."""

from __future__ import annotations

from enum import IntEnum

OWNER_TAG = 0x0F67
COOKIE_OWNER = OWNER_TAG << 48
COOKIE_OWNER_MASK = 0xFFFF << 48
SESSION_NUMBER_MAX = (1 << 40) - 1


class CookieKind(IntEnum):
    """Bits 40 to 47 of a cookie of ours; bits 0 to 39 are the number of a session, of a drop reason
    or of a kind of report."""

    BASE = 1
    DROP = 2
    SESSION = 3
    REPORT = 4


def make_cookie(kind: CookieKind, number: int = 0) -> int:
    """Owner tag, kind and number (0 to 2^40-1) as one cookie."""
    return COOKIE_OWNER | kind << 40 | number


def cookie_kind(cookie: int) -> CookieKind | None:
    """The kind in a cookie of ours; None if the cookie is not ours or of no known kind."""
    if cookie & COOKIE_OWNER_MASK != COOKIE_OWNER:
        return None
    try:
        return CookieKind(cookie >> 40 & 0xFF)
    except ValueError:
        return None


def cookie_number(cookie: int) -> int:
    """The number in a cookie: a session's, a drop reason's, a kind of report's."""
    return cookie & SESSION_NUMBER_MAX
