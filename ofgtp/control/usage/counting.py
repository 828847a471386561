"""What a switch has counted of sessions' flows and meters, and whose flows those are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from ofgtp.control.buffer.holding import Holding
from ofgtp.control.flows.sync import Sync
from ofgtp.core.flows.flow import CookieKind, make_cookie
from ofgtp.core.model import Session
from ofgtp.core.rules.counts import FlowCounts
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.rules.session import owned_flows
from ofgtp.core.rules.terms import Links
from ofgtp.core.sessions.shape import numbers_of
from ofgtp.core.usage.plain import Pair
from ofgtp.southbound.openflow import EntryKey, FlowStats, MeterCounts, entry_of
from ofgtp.southbound.templates import TemplateError


class Counting:
    """Asks the switch, and raises GatewayNotReady if that is away or does not answer."""

    def __init__(self, sync: Sync, holding: Holding) -> None:
        self._sync, self.holding = sync, holding
        self.made_anew: set[int] | None = None
        """Sessions whose flows were to be made anew, as long as somebody wants to know."""

    def flow_stats(self, numbers: Sequence[int]) -> list[list[FlowStats]]:
        """All that the switch says of the flows of each session number.

        Raises:
            GatewayNotReady: the switch is away.
        """
        return self._sync.to_ask.flows_of(_cookies(numbers))

    def moving(self, numbers: Iterable[int]) -> None:
        """Flows of these sessions are about to be made anew, or deleted."""
        if self.made_anew is not None:
            self.made_anew.update(numbers)

    def pairs(self, numbers: Sequence[int]) -> list[Pair]:
        """What they have counted, of sessions that are but tunnel pairs."""
        return self._sync.to_ask.pairs_of(_cookies(numbers))

    def keyed_counts(self, numbers: Sequence[int]) -> list[dict[EntryKey, FlowCounts]]:
        """The same of any others, and which flow each is."""
        return self._sync.to_ask.keyed_counts_of(_cookies(numbers))

    @property
    def links_in_use(self) -> Links | None:
        """What the flows in the switch are made for: the same object as long as they are."""
        return self._sync.links

    def keys_of(self, session: Session) -> list[tuple[EntryKey, Owned]] | None:
        """A session's flows by their keys, and whose each is; None while there is no switch."""
        links = self._sync.links
        if links is None:
            return None
        if session.detail is not None:
            with suppress(TemplateError):
                template = self._sync.prepared_for(links).templates.of(session, session.detail)
                entries = template.entries(numbers_of(session, session.detail))
                return [(e.key, owned) for e, owned in zip(entries, template.owned, strict=True)]
        flows = owned_flows(session, links)
        return [(entry_of(each.flow).key, each) for each in flows]

    def meter_counts(self, numbers: Iterable[int]) -> dict[int, MeterCounts]:
        """What meters have counted; see `Channel.meter_counts_of`."""
        return self._sync.to_ask.meter_counts_of(numbers)


def _cookies(numbers: Sequence[int]) -> list[int]:
    return [make_cookie(CookieKind.SESSION, number) for number in numbers]
