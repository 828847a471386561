"""How often something may be done: token buckets that are told the time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class TokenBucket:
    """At most `burst` at once and `rate` a second in the long run.

    Times are seconds of any steady clock; one that steps back gives nothing.
    """

    rate: float
    burst: float
    tokens: float = field(init=False)
    at: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.burst < 1:
            raise ValueError("a rate is more than 0 and a burst at least 1")
        self.tokens = self.burst

    def take(self, now: float) -> bool:
        """Whether one may be done now; the caller who gets True does it."""
        if now > self.at:
            self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
            self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Limit(Generic[K]):
    """A limit for each of many keys (peers) and one for all of them together.

    `keys` bounds the memory: the key that asked longest ago is forgotten first. Who makes up keys
    gains no more than `total` lets through.
    """

    def __init__(
        self, each: tuple[float, float], total: tuple[float, float], keys: int = 10_000
    ) -> None:
        """`each` and `total` are (rate a second, burst)."""
        self._rate, self._burst = each
        TokenBucket(*each)  # raises ValueError now and not at the first packet
        self._total = TokenBucket(*total)
        self._keys = keys
        self._each: OrderedDict[K, TokenBucket] = OrderedDict()

    def take(self, key: K, now: float) -> bool:
        """Whether one may be done for `key` now; what its own limit refuses costs no other."""
        bucket = self._each.get(key)
        if bucket is None:
            bucket = self._each[key] = TokenBucket(self._rate, self._burst)
            if len(self._each) > self._keys:
                self._each.popitem(last=False)
        self._each.move_to_end(key)
        return bucket.take(now) and self._total.take(now)
