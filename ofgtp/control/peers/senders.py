"""Who sends T-PDUs over IPv6.

Of such a T-PDU the switch shows no more than the end of its sender's address (`OVER_IPV6`). Where
the whole of it is needed, the switch is asked to show what comes from addresses that end so, as it
came; the next T-PDU answers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ofgtp.core.limits import Limit
from ofgtp.core.model import Address
from ofgtp.core.rules.terms import ETHERNET_HEADER, OVER_IPV6, TAIL_BITS

KEPT = 1024
KEEP_S = 60.0
"""So many senders are remembered, for so long, in seconds; then the switch is asked anew."""
ASK_S = 2
"""How long the switch shows what comes, in seconds."""
ASKS = ((1.0, 1.0), (10.0, 10.0))
"""Most a second, and at once: for each end of an address, and for all."""
WAITING_EACH = 8

Then = Callable[[Address], None]

_TAIL = (1 << TAIL_BITS) - 1
_SOURCE = slice(ETHERNET_HEADER + 8, ETHERNET_HEADER + 24)


class _Waiting(NamedTuple):
    since: float
    then: list[Then]


class Senders:
    """Those of one gateway. `ask` has the switch show what comes from addresses with an end."""

    def __init__(self, ask: Callable[[int, int], None]) -> None:
        self._ask = ask
        self._limit: Limit[int] = Limit(*ASKS, keys=KEPT)
        self._known: OrderedDict[int, tuple[IPv6Address, float]] = OrderedDict()
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()

    def of(self, peer: int, now: float, then: Then | None = None) -> Address | None:
        """Who sent a T-PDU, by what register 1 says of it.

        None: it came over IPv6, and it is not known from whom; if it can be found out within
        ASK_S, `then` will be told.
        """
        if peer < OVER_IPV6:
            return IPv4Address(peer)
        tail = peer & _TAIL
        known, at = self._known.get(tail, (None, 0.0))
        if known is not None and now < at + KEEP_S:
            return known
        waiting = self._waiting.get(tail)
        if waiting is not None and now >= waiting.since + ASK_S:
            waiting = None
        if waiting is None:
            if not self._limit.take(tail, now):
                return None
            waiting = self._waiting[tail] = _Waiting(now, [])
            self._waiting.move_to_end(tail)
            if len(self._waiting) > KEPT:
                self._waiting.popitem(last=False)
            self._ask(tail, ASK_S)
        if then is not None and len(waiting.then) < WAITING_EACH:
            waiting.then.append(then)
        return None

    def heard(self, frame: bytes, now: float) -> None:
        """The switch shows a T-PDU over IPv6 as it came."""
        if len(frame) < _SOURCE.stop:
            return
        sender = IPv6Address(frame[_SOURCE])
        tail = int(sender) & _TAIL
        self._known[tail] = sender, now
        self._known.move_to_end(tail)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        waiting = self._waiting.pop(tail, None)
        for then in waiting.then if waiting else ():
            then(sender)
