"""Makes the switch's flows and meters what they should be, changing only what differs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TypeVar

import eventlet

from ofgtp.control.core_side import CoreSide
from ofgtp.control.flows.change import put_sessions
from ofgtp.control.flows.comparison import Comparison
from ofgtp.control.flows.links import LinksNow
from ofgtp.control.flows.rates import RateCounts
from ofgtp.control.sessions.garbage import garbage_left_alone
from ofgtp.core.flows.flow import (
    CookieKind,
    Flow,
    FlowKey,
    Meter,
    cookie_kind,
    cookie_number,
    mac_text,
)
from ofgtp.core.flows.pipeline import EPOCH, METERS, ROUTE, DropReason
from ofgtp.core.flows.reconcile import Plan, plan
from ofgtp.core.model import FlowValues, Gateway, Session
from ofgtp.core.rules.terms import Links
from ofgtp.core.sessions.rules import METERS_FROM, meters_of
from ofgtp.southbound.channel import Channel, FlowsRefused
from ofgtp.southbound.openflow import Command, FlowStats, MeterCommand
from ofgtp.southbound.prepared import FLOWS, Prepared
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

SLICE = 200
"""Sessions turned into flows between two turns of other green threads."""

LOADED_SLICE = 2000
"""Sessions read from the store between two such turns."""

UNKNOWN = -1
"""Stands in a reported flow for actions that differ from the wanted ones."""

_T = TypeVar("_T")


class Equaliser:
    """One gateway's. `base` are the flows that it has whatever its sessions."""

    def __init__(
        self,
        gateway: Gateway,
        store: SessionStore,
        links: LinksNow,
        core_side: CoreSide,
        base: Callable[[Links], Iterable[Flow]],
        rates: RateCounts,
    ) -> None:
        self._gateway, self._store, self._links = gateway, store, links
        self._core_side, self._base, self._rates = core_side, base, rates

    def equalise(self, channel: Channel, failed: dict[int, str]) -> tuple[int, Links] | None:
        """Read the switch's flows and put right what differs.

        Returns the number of flows changed, and the links that all flows are made for now; None if
        the switch refused a session's, which is noted in `failed`: then nothing was changed.

        Raises:
            GatewayNotReady: the bridge was never ready, or the switch went away.
            FlowsRefused: the switch refused a flow that is no session's.
        """
        links = self._links.ready()
        with channel.flow_parts() as parts, garbage_left_alone():
            prepared = Prepared(links)
            found = Comparison(prepared, self._sessions(failed), self._detailed(failed))
            for part in parts:
                found.take(part)
        self._go_on_from(found.others)
        try:
            return self.put_right(channel, prepared, found, failed)
        except FlowsRefused as error:
            self._note_failed(error, failed)
            return None

    def put_right(
        self, channel: Channel, prepared: Prepared, found: Comparison, failed: Container[int] = ()
    ) -> tuple[int, Links]:
        """Change what a comparison has found to differ from what should be.

        Returns the number of flows changed, and the links that all flows are made for: while the
        switch works the ports or the next hop may change.
        """
        there: dict[FlowKey, FlowStats] = {}
        foreign: list[FlowStats] = []
        for stats in in_turns(found.others):
            if stats.match is None:
                foreign.append(stats)
            else:
                there[stats.key] = stats
        missing, single = found.missing(), list(in_turns(found.missing_flows()))
        if found.detailed_differ:
            single += in_turns(found.missing_of(self._detailed(failed)))

        def links_of_all() -> Links:
            now = self._links.get() or prepared.links
            return replace(prepared.links, peer_mac=now.peer_mac, epoch=now.epoch)

        def compare(links: Links) -> Plan:
            wanted = [*self._base(links), *single]
            same = {
                flow.key: flow
                for flow in wanted
                if (stats := there.get(flow.key)) is not None
                and stats.cookie == flow.cookie
                and stats.same_actions(flow)
            }
            reported = in_turns(there.items())
            return plan(wanted, (same.get(key) or _as_flow(stats) for key, stats in reported))

        if not found.reported:
            # Packets under way may still be cached by the flows that were here.
            self._links.next_epoch()
        links = links_of_all()
        changes = compare(links)
        if not (changes or foreign or missing or self._links.reopened):
            return 0, links
        if found.reported:
            self._links.next_epoch()
            links = links_of_all()
            changes = compare(links)
        with channel.bundle() as bundle:
            bundle.put_plan(changes, foreign)
            for start in range(0, len(missing), SLICE):
                put_sessions(bundle, prepared, Command.ADD, missing[start : start + SLICE])
            bundle.commit()
        return len(changes) + len(foreign) + FLOWS * len(missing), links

    def meters(self, channel: Channel) -> list[Meter]:
        """The same for meters, but for those that are of no session any more: these are returned.

        They may be deleted only when no flow uses them.

        Raises:
            GatewayNotReady: the switch went away.
            SwitchRefused: it did not take one.
        """
        present = channel.meters()
        wanted = {meter.number: meter for meter in METERS.values()}
        with garbage_left_alone():
            detailed = self._store.iterate(self._gateway.name, detailed=True, rules=False)
            for session in in_turns(detailed):
                wanted.update((meter.number, meter) for meter in meters_of(session))
        mods = [
            (MeterCommand.MODIFY if number in present else MeterCommand.ADD, meter)
            for number, meter in wanted.items()
            if present.get(number) != meter
        ]
        channel.set_meters(mods)
        self._rates.are(meter for number, meter in wanted.items() if number >= METERS_FROM)
        return [
            Meter(number, 0, 0)
            for number in present
            if number >= METERS_FROM and number not in wanted
        ]

    def _sessions(self, failed: Container[int]) -> Iterator[FlowValues]:
        """The stored sessions but for those that the switch has refused."""
        for place, values in enumerate(self._store.values(self._gateway.name)):
            if place % LOADED_SLICE == LOADED_SLICE - 1:
                eventlet.sleep(0)
            if values.number not in failed:
                yield values

    def _detailed(self, failed: Container[int]) -> Iterator[Session]:
        """Likewise those that are more than tunnel pairs."""
        for session in in_turns(self._store.iterate(self._gateway.name, detailed=True)):
            if session.number not in failed:
                yield session

    def _go_on_from(self, reported: Iterable[FlowStats]) -> None:
        """After a restart, go on with the MAC that the switch still sends to, and its epoch."""
        for stats in reported:
            if stats.table == ROUTE.number and not self._gateway.host_core:
                if (mac := stats.sets("dl_dst")) is not None:
                    self._core_side.next_hop.assume(mac_text(mac))
            elif stats.table == EPOCH.number:
                for condition in stats.match or ():
                    if condition.field == "pkt_mark":
                        self._links.epoch = condition.mask

    def _note_failed(self, error: FlowsRefused, failed: dict[int, str]) -> None:
        """Leave the sessions out whose flows were refused; raise if a base flow was."""
        for flow, reason in error.refused:
            number = None if flow is None else self._session_of(flow)
            if number is None:
                raise error
            failed[number] = reason
            log.error(
                "gateway=%s session number=%d: the switch refused %s: %s",
                self._gateway.name,
                number,
                flow,
                reason,
            )

    def _session_of(self, flow: Flow) -> int | None:
        """The number of the session that has this flow; None for a base flow."""
        if cookie_kind(flow.cookie) is CookieKind.SESSION:
            return cookie_number(flow.cookie)
        if cookie_number(flow.cookie) not in (DropReason.IDLE_UE, DropReason.ERROR_INDICATED):
            return None
        address = next(each.value for each in flow.match if each.field == "nw_dst")
        stored = self._store.by_ue_ip(self._gateway.name, IPv4Address(address))
        return None if stored is None else stored.session.number


def in_turns(items: Iterable[_T]) -> Iterator[_T]:
    """The same, with turns of other green threads between."""
    for place, item in enumerate(items):
        if place % SLICE == SLICE - 1:
            eventlet.sleep(0)
        yield item


def _as_flow(stats: FlowStats) -> Flow:
    """A reported flow that is not as it should be; one with a timeout must be added anew."""
    cookie = 0 if any(stats.timeouts) else stats.cookie
    return Flow(stats.table, stats.priority, stats.match or (), cookie, goto=UNKNOWN)
