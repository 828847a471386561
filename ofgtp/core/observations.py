"""What a gateway has lately seen go wrong, as far as it is shown: packets that sessions refuse, and
ICMP errors about what it sends.

The switch shows some of what it drops (its meters say how much), so these are samples. They are
kept for a while, the same ones as one, and no more than a fixed number of them whatever comes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ofgtp.core.filters import Network
from ofgtp.core.model import Address

KEEP_S = 120.0
"""How long one is remembered after it was last seen, in seconds: two exchanges of Echo Requests."""
MOST = 4096
"""So many different ones are remembered; of more, those that were not seen for the longest go."""
TOLD = 100
"""So many of them are told of one session."""


class Seen(StrEnum):
    """What it was. The names are those of the drops where there is one of that kind."""

    UNKNOWN_TEID = "unknown_teid"
    SPOOFED_SOURCE = "spoofed_source"
    WRONG_PEER = "wrong_peer"
    NOT_INSTALLED = "not_installed"
    CONTAINER_MISSING = "container_missing"
    WRONG_QFI = "wrong_qfi"
    BAD_CONTAINER = "bad_container"
    LONG_CONTAINER = "long_container"
    EXTENSION_HEADER = "extension_header"
    EXTENSION_CHAIN = "extension_chain"
    ICMP_ERROR = "icmp_error"


_NOBODYS = (Seen.ICMP_ERROR, Seen.UNKNOWN_TEID)


class Observation(NamedTuple):
    """One thing that was seen, once or again and again."""

    what: Seen
    peer: Address
    """Of a T-PDU: who sent it. Of an ICMP error: to whom that went which it is about."""
    teid: int | None = None
    """Of the T-PDU, or the one quoted; None: it is not known."""
    source: Address | None = None
    """Of a T-PDU: its inner source, if that is seen. Of an ICMP error: who sent it."""
    detail: int | None = None
    """The QFI of a container; type and code of an ICMP error, as type * 256 + code."""


@dataclass(frozen=True, slots=True)
class Record:
    """One observation, and how often and when it was made; times are the caller's."""

    seen: Observation
    count: int
    """Samples since `first_at`."""
    first_at: float
    last_at: float


class Observations:
    """Those of one gateway. Times are seconds of a steady clock, and never go back."""

    def __init__(self, most: int = MOST, keep_s: float = KEEP_S) -> None:
        self._most, self._keep_s = most, keep_s
        self._records: OrderedDict[Observation, Record] = OrderedDict()
        """In the order in which they were last seen."""

    def __len__(self) -> int:
        return len(self._records)

    def note(self, seen: Observation, now: float) -> None:
        """It was seen once more."""
        self._forget(now)
        before = self._records.pop(seen, None)
        if before is None:
            self._records[seen] = Record(seen, 1, now, now)
        else:
            self._records[seen] = Record(seen, before.count + 1, before.first_at, now)
        if len(self._records) > self._most:
            self._records.popitem(last=False)

    def about(
        self,
        now: float,
        ue: Collection[Network],
        teids: Collection[int],
        peers: Collection[Address],
    ) -> list[Record]:
        """What bears on a session, the latest first, at most TOLD: of its UE's addresses or uplink
        TEID; of its peers, what no other session's is."""
        self._forget(now)
        found = (
            record
            for seen, record in reversed(self._records.items())
            if (seen.what in _NOBODYS and seen.peer in peers)
            or (
                seen.what is not Seen.ICMP_ERROR
                and (seen.teid in teids or _within(seen.source, ue))
            )
        )
        return [record for record, _ in zip(found, range(TOLD), strict=False)]

    def _forget(self, now: float) -> None:
        for seen in list(self._old(now)):
            del self._records[seen]

    def _old(self, now: float) -> Iterator[Observation]:
        for seen, record in self._records.items():
            if record.last_at > now - self._keep_s:
                return
            yield seen


def _within(source: Address | None, ue: Collection[Network]) -> bool:
    return source is not None and any(source in prefix for prefix in ue)
