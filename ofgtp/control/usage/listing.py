"""What sessions have used, as it is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from heapq import nlargest
from ipaddress import IPv4Address, IPv6Network

import eventlet

from ofgtp.control.usage.used import Used
from ofgtp.core.rules.counts import Counts
from ofgtp.core.sessions.rules import rules_of
from ofgtp.core.usage.ledger import NO_VOLUME, Volume
from ofgtp.northbound.service import BothWays, Counters, UsageFilter, UsagePage, UsageView
from ofgtp.store.keys import ipv6_of
from ofgtp.store.rows import StoredSession
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.usage import Listed

AT_ONCE = 2_000
"""Sessions that are read between two turns of others."""

_SORTED: dict[str, Callable[[Listed], int]] = {
    "bytes": lambda each: each.up_octets + each.down_octets,
    "uplink": lambda each: each.up_octets,
    "downlink": lambda each: each.down_octets,
    "active": lambda each: each.active_at or 0,
}


def of_session(stored: StoredSession, seen: Used) -> UsageView:
    """That of one session, with its rules."""
    rules = dict.fromkeys(rule.id for rule in rules_of(stored.session))
    return UsageView(
        session=stored.session.id,
        gateway=stored.session.gateway,
        ue_ip=stored.session.ue_ip,
        since=stored.created_at,
        active_at=_time(seen.active_at),
        uplink=_counters(seen.total.uplink),
        downlink=_counters(seen.total.downlink),
        rules={rule: _ways(seen.rules.get(rule, NO_VOLUME)) for rule in rules},
        removed=_ways(seen.gone),
        ue_ipv6=ipv6_of(stored.session),
    )


def page(store: SessionStore, filter: UsageFilter) -> UsagePage:
    """Some of all sessions' as it is kept."""
    if filter.sort is None:
        rows, cursor = store.usage_list(filter.gateway, filter.limit, filter.cursor)
        return UsagePage(_listed(store, rows), cursor)
    most: list[Listed] = []
    total, sessions, cursor = NO_VOLUME, 0, None
    while True:
        rows, cursor = store.usage_list(filter.gateway, AT_ONCE, cursor)
        sessions += len(rows)
        up = Counts(sum(row.up_packets for row in rows), sum(row.up_octets for row in rows))
        down = Counts(sum(row.down_packets for row in rows), sum(row.down_octets for row in rows))
        total = total.plus(Volume(up, down))
        most = nlargest(filter.limit, [*most, *rows], key=_SORTED[filter.sort])
        if cursor is None:
            break
        eventlet.sleep(0)
    return UsagePage(_listed(store, most), None, _ways(total), sessions)


def _listed(store: SessionStore, rows: Sequence[Listed]) -> list[UsageView]:
    prefixes = store.ue_ipv6([row.number for row in rows])
    return [_view(row, prefixes.get(row.number)) for row in rows]


def _view(row: Listed, ue_ipv6: IPv6Network | None) -> UsageView:
    volume = _volume(row)
    return UsageView(
        session=row.id,
        gateway=row.gateway,
        ue_ip=None if row.ue_ip is None else IPv4Address(row.ue_ip),
        since=datetime.fromtimestamp(row.created_at / 1_000_000, UTC),
        active_at=_time(row.active_at),
        uplink=_counters(volume.uplink),
        downlink=_counters(volume.downlink),
        ue_ipv6=ue_ipv6,
    )


def _volume(row: Listed) -> Volume:
    return Volume(Counts(row.up_packets, row.up_octets), Counts(row.down_packets, row.down_octets))


def _ways(volume: Volume) -> BothWays:
    return _counters(volume.uplink), _counters(volume.downlink)


def _counters(counts: Counts) -> Counters:
    return Counters(counts.packets, counts.octets)


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
