"""Makes the switch's flows and meters what they should be, changing only what differs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import eventlet

from ofgtp.control.core_side import CoreSide
from ofgtp.control.flows.change import put_sessions
from ofgtp.control.flows.comparison import Comparison
from ofgtp.control.flows.links import LinksNow
from ofgtp.control.flows.load import FLOW_S, Load
from ofgtp.control.flows.rates import RateCounts
from ofgtp.control.flows.slices import FEW, SLICE_S, Slices, parts_of
from ofgtp.control.flows.stored import All, Named
from ofgtp.control.sessions.garbage import garbage_left_alone
from ofgtp.control.turns import SLICE, in_turns
from ofgtp.core.flows.doubt import Doubt
from ofgtp.core.flows.flow import (
    CookieKind,
    Flow,
    FlowKey,
    Meter,
    cookie_kind,
    cookie_number,
    mac_text,
)
from ofgtp.core.flows.pipeline import CHOOSE, DOWNLINK, EPOCH, METERS, ROUTE, UPLINK, DropReason
from ofgtp.core.flows.reconcile import Plan, parted, plan, portions
from ofgtp.core.model import FlowValues, Gateway, Session
from ofgtp.core.rules.base import epoch_flows
from ofgtp.core.rules.terms import IPV6, Links
from ofgtp.core.sessions.rules import METERS_FROM, meters_of
from ofgtp.southbound.channel import Channel, FlowsRefused
from ofgtp.southbound.openflow import Command, FlowStats, MeterCommand
from ofgtp.southbound.prepared import FLOWS, Prepared
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

PORTION = 200
"""Flows changed by one bundle where the switch is to forward between bundles."""

PORTION_S = 0.005
"""Seconds between two such bundles."""

SEEN = frozenset({DOWNLINK.number, CHOOSE.number})
"""Tables whose changes packets under way see."""

UNKNOWN = -1
"""Stands in a reported flow for actions that differ from the wanted ones."""


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
        self._load = Load(gateway)

    def begin(self) -> None:
        """There will be a comparison before long."""
        self._load.begin()

    def at_once(self, channel: Channel) -> bool:
        """Whether the switch may be asked for all flows at once: no packet is lost by it.

        Raises:
            GatewayNotReady: the switch went away.
        """
        return self._load.bears(sum(channel.flows_in_tables().values()) * FLOW_S)

    def equalise(
        self, channel: Channel, failed: dict[int, str], doubt: Doubt | None = None
    ) -> tuple[int, Links] | None:
        """Read the switch's flows and put right what differs.

        With `doubt` flows are read in slices, and put right in slices: no more than those, if it is
        not about everything. What it turns out to be about besides is added to it.

        Returns the number of flows changed, and the links that all flows are made for now; None if
        the switch refused a session's, which is noted in `failed`: then the comparison is to be
        made again.

        Raises:
            GatewayNotReady: the bridge was never ready, or the switch went away.
            FlowsRefused: the switch refused a flow that is no session's.
        """
        links = self._links.ready()
        stored: All | Named = All(self._store, self._gateway.name, failed)
        if doubt is not None and not doubt.everything:
            stored = self._named(doubt, failed)
        if doubt is None:
            with channel.flow_parts() as parts, garbage_left_alone():
                prepared = Prepared(links)
                found = Comparison(prepared, stored.plain(), stored.detailed())
                for part in parts:
                    found.take(part)
        else:
            with garbage_left_alone():
                prepared = Prepared(links)
                found = Comparison(prepared, stored.plain(), stored.detailed())
            slices = Slices(self._gateway.name, channel, found)
            if isinstance(stored, All):
                slices.read_all(doubt.cookies, self._store.last_number)
            else:
                slices.read_of({*doubt.numbers, *found.numbers})
                found.others += stored.drops_left(doubt.addresses, links)
                doubt.everything |= stored.strange(found.others, doubt.touched, links)
        self._go_on_from(found.others)
        try:
            return self.put_right(channel, prepared, found, stored, sliced=doubt is not None)
        except FlowsRefused as error:
            self._note_failed(error, failed)
            return None

    def put_right(
        self,
        channel: Channel,
        prepared: Prepared,
        found: Comparison,
        stored: All | Named | None = None,
        *,
        sliced: bool = False,
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
        stored = stored or All(self._store, self._gateway.name, ())
        missing, single = found.missing(), list(in_turns(found.missing_flows()))
        if found.detailed_differ:
            single += in_turns(found.missing_of(stored.detailed()))

        def links_of_all() -> Links:
            now = self._links.get() or prepared.links
            return replace(
                prepared.links, peer_mac=now.peer_mac, peer_mac6=now.peer_mac6, epoch=now.epoch
            )

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
        noticed = sliced and self._noticed(changes, foreign, there)
        count = len(changes) + len(foreign) + FLOWS * len(missing)
        if sliced and count > PORTION:
            own = {flow.key for flow in self._base(links)}
            # Should it end on the way, the next comparison owes the epoch.
            self._links.reopened |= not noticed
            self._put_in_slices(channel, prepared, parted(changes, own), foreign, missing)
            return count, links if noticed else self._put_epoch(channel, links)
        if found.reported and not noticed:
            self._links.next_epoch()
            links = links_of_all()
            changes = compare(links)
        with channel.bundle() as bundle:
            bundle.put_plan(changes, foreign)
            for start in range(0, len(missing), SLICE):
                put_sessions(bundle, prepared, Command.ADD, missing[start : start + SLICE])
            bundle.commit()
        return len(changes) + len(foreign) + FLOWS * len(missing), links

    def _noticed(
        self, changes: Plan, foreign: Iterable[FlowStats], there: Container[FlowKey]
    ) -> bool:
        """Whether packets under way see these changes without another epoch, after which all of
        uplink is looked up anew: under load packets are lost by that.

        Downlink all changes are seen, but by packets between UEs; uplink, when a session has its
        flow in table uplink again, as when it is new.
        """
        if self._gateway.ue_to_ue == "route" or self._links.reopened:
            return False
        changed = {flow.table for flow in (*changes.modify, *changes.delete)}
        changed.update(each.table for each in foreign)
        return changed <= SEEN and all(
            flow.table in SEEN
            or (
                flow.table == UPLINK.number
                and flow.key not in there
                and cookie_kind(flow.cookie) is CookieKind.SESSION
            )
            for flow in changes.add
        )

    def _put_in_slices(
        self,
        channel: Channel,
        prepared: Prepared,
        changes: tuple[Plan, Plan],
        foreign: Sequence[FlowStats],
        missing: Sequence[FlowValues],
    ) -> None:
        """The gateway's own flows, then the sessions' in small bundles: the switch carries each out
        without forwarding."""
        own, rest = changes
        channel.apply(own)
        for some in portions(rest, PORTION):
            channel.apply(some)
            eventlet.sleep(PORTION_S)
        for start in range(0, len(foreign), PORTION):
            channel.apply(Plan(), foreign[start : start + PORTION])
            eventlet.sleep(PORTION_S)
        for start in range(0, len(missing), PORTION // FLOWS):
            with channel.bundle() as bundle:
                few = missing[start : start + PORTION // FLOWS]
                put_sessions(bundle, prepared, Command.ADD, few)
                bundle.commit()
            eventlet.sleep(PORTION_S)

    def _put_epoch(self, channel: Channel, links: Links) -> Links:
        """Packets under way are to see what was changed."""
        self._links.next_epoch()
        now = replace(links, epoch=self._links.epoch)
        channel.apply(plan(epoch_flows(now), epoch_flows(links)))
        return now

    def meters(self, channel: Channel, doubt: Doubt | None = None) -> list[Meter]:
        """The same for meters, but for those that are of no session any more: these are returned.

        They may be deleted only when no flow uses them. With `doubt` and more than a few meters,
        each is asked for by its number: those of no session are not found then.

        Raises:
            GatewayNotReady: the switch went away.
            SwitchRefused: it did not take one.
        """
        wanted = {meter.number: meter for meter in METERS.values()}
        few = doubt is not None and not doubt.everything
        with garbage_left_alone():
            if doubt is not None and few:
                detailed = self._of_numbers(doubt.numbers)
            else:
                detailed = self._store.iterate(self._gateway.name, detailed=True, rules=False)
            for session in in_turns(detailed):
                wanted.update((meter.number, meter) for meter in meters_of(session))
        if doubt is None or not (few or len(wanted) > FEW):
            present = channel.meters()
        else:
            present = {}
            for some in parts_of([*wanted]):
                present |= channel.meters_of(some)
                eventlet.sleep(SLICE_S)
        mods = [
            (MeterCommand.MODIFY if number in present else MeterCommand.ADD, meter)
            for number, meter in wanted.items()
            if present.get(number) != meter
        ]
        channel.set_meters(mods)
        if few:
            self._rates.changed((), {n for n in wanted if n >= METERS_FROM and n not in present})
        else:
            self._rates.are(meter for number, meter in wanted.items() if number >= METERS_FROM)
        return [
            Meter(number, 0, 0)
            for number in present
            if number >= METERS_FROM and number not in wanted
        ]

    def _named(self, doubt: Doubt, failed: Container[int]) -> Named:
        """The sessions that this is about, as they are stored."""
        gateway = self._gateway.name
        numbers = set(doubt.numbers)
        for address in doubt.addresses:
            owner = self._store.by_ue_ip(gateway, IPv4Address(address))
            if owner is not None:
                numbers.add(owner.session.number)
        numbers = {number for number in numbers if number not in failed}
        return Named(list(in_turns(self._of_numbers(numbers))))

    def _of_numbers(self, numbers: Iterable[int]) -> Iterator[Session]:
        """The gateway's sessions with these numbers."""
        for some in parts_of(sorted(numbers)):
            for stored in self._store.by_numbers(some):
                if stored.session.gateway == self._gateway.name:
                    yield stored.session

    def _go_on_from(self, reported: Iterable[FlowStats]) -> None:
        """After a restart, go on with the MAC that the switch still sends to, and its epoch."""
        for stats in reported:
            if stats.table == ROUTE.number and not self._gateway.host_core:
                if (mac := stats.sets("dl_dst")) is not None:
                    of_ipv6 = any(each[:2] == ("dl_type", IPV6) for each in stats.match or ())
                    core_side = self._core_side
                    hop = core_side.next_hop6 if of_ipv6 else core_side.next_hop
                    hop.assume(mac_text(mac))
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


def _as_flow(stats: FlowStats) -> Flow:
    """A reported flow that is not as it should be; one with a timeout must be added anew."""
    cookie = 0 if any(stats.timeouts) else stats.cookie
    return Flow(stats.table, stats.priority, stats.match or (), cookie, goto=UNKNOWN)
