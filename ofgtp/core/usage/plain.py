"""The ledger of a session that is but a tunnel pair, as numbers: most sessions are that, and very
many are looked at, again and again."""

from __future__ import annotations

from collections.abc import Sequence

from ofgtp.core.rules.terms import ETHERNET_HEADER

Row = Sequence[int]
"""Packets and octets, uplink and downlink: those of the total; then the marks."""
Pair = tuple[int, int, int, int, int, int]
"""As the switch reports the two flows: packets, octets, and age in microseconds, uplink and
downlink; the octets downlink are those of frames. The age of one that is not there is negative."""

NEW_ROW = (0,) * 8
NO_PAIR: Pair = (0, 0, -1, 0, 0, -1)


def counted(row: Row, pair: Pair, since: int) -> tuple[int, ...] | None:
    """The row with what has passed up to now; None: nothing has.

    `since` is how many microseconds ago the marks were set: flows that were made later have counted
    nothing that is in them.
    """
    up, up_octets, down, down_octets, *marks = row
    up_mark, up_mark_octets, down_mark, down_mark_octets = marks
    up_now, up_octets_now, up_age, down_now, down_frames, down_age = pair
    same = up_now == up_mark and down_now == down_mark
    if same and (up_age >= since or not up_now) and (down_age >= since or not down_now):
        return None
    if up_age < since or up_now < up_mark:
        up_mark = up_mark_octets = 0
    if down_age < since or down_now < down_mark:
        down_mark = down_mark_octets = 0
    down_octets_now = down_frames - ETHERNET_HEADER * down_now
    return (
        up + up_now - up_mark,
        up_octets + max(up_octets_now - up_mark_octets, 0),
        down + down_now - down_mark,
        down_octets + max(down_octets_now - down_mark_octets, 0),
        up_now,
        up_octets_now,
        down_now,
        down_octets_now,
    )
