"""Asks the switch what it does with a packet, and asks on where its trace stops."""

from __future__ import annotations

from collections.abc import Callable

from ofgtp.core.flows.pipeline import (
    BARE,
    CONTAINER,
    CONTAINER_END,
    EPOCH,
    FIT,
    FITTED,
    RETYPE,
    UNWRAP,
    Table,
)
from ofgtp.core.model import Gateway
from ofgtp.core.rules.terms import ETHERNET_HEADER
from ofgtp.core.trace import oftrace, probe, verdict
from ofgtp.core.trace.explain.ending import end_of
from ofgtp.core.trace.explain.story import Asked, Part, Step, Story
from ofgtp.core.trace.explain.way import Way
from ofgtp.core.trace.explain.words import entered, says, wrapped
from ofgtp.core.trace.known import Case, Known, Verdict
from ofgtp.core.trace.oftrace import Hop, Trace
from ofgtp.core.trace.probe import Packet, Question

PASSES_MAX = 7
"""So many questions follow a packet that goes ofgtp's way to its end."""
ANEW = {
    EPOCH: "Parsed anew, as an IPv{version} packet",
    CONTAINER: "Parsed anew, as if IPv6: its extension header can be read so",
    CONTAINER_END: "Parsed anew, 16 octets further on: it is a long one",
    UNWRAP: "Parsed anew, as if NSH: its extension header can be taken off so",
    FITTED: "Looked up anew, so that what does not fit is not counted with what does",
}
"""Tables that follow on a new parsing -> what it is about."""

Ask = Callable[[Question], str]
"""Asks the switch, and returns what it prints.

Raises:
    TraceRefused: it prints an error.
"""


class TraceRefused(Exception):
    """The switch will not follow such a packet; the text is its own."""


def follow(
    packet: Packet, session: Known, gateway: Gateway, *, local_mac: str, core_mac: str, ask: Ask
) -> Story:
    """Follow a packet to its end.

    Args:
        local_mac: the MAC address of the bridge's own port, to which base stations send.
        core_mac: the one to which the core sends.
    """
    way = Way(Case(packet, session, gateway))
    asking = _Asking(way, ask)
    try:
        end = asking.from_tunnel(local_mac) if packet.tunnelled else asking.downlink(core_mac)
    except TraceRefused as refused:
        end = verdict.refused(way.case, str(refused))
    return Story(packet, end, tuple(asking.parts), tuple(asking.asked), way.taken, way.relayed)


class _Asking:
    """Asks about one packet, and keeps what is told of it."""

    def __init__(self, way: Way, ask: Ask) -> None:
        self._way, self._case, self._ask = way, way.case, ask
        self.parts: list[Part] = []
        self.asked: list[Asked] = []

    def downlink(self, core_mac: str) -> Verdict:
        """From the core port to its end."""
        packet, gateway = self._case.packet, self._case.gateway
        question = probe.from_core(packet, gateway, core_mac)
        return end_of(
            self._way, *self._put_on(question, f"From the core, by {gateway.core_device}")
        )

    def from_tunnel(self, local_mac: str) -> Verdict:
        """From the access port to its end, past the places where the switch's trace stops."""
        packet, gateway = self._case.packet, self._case.gateway
        question = probe.from_access(packet, gateway, local_mac)
        trace, hops = self._put(question, f"In its tunnel, by {gateway.access_port}")
        if not hops or not {"LOCAL", gateway.bridge}.intersection(hops[-1].outputs):
            return end_of(self._way, trace, hops)
        if not trace.unwraps:
            return verdict.not_unwrapped(self._case)
        question = probe.out_of_tunnel(packet, gateway)
        by = probe.unwrapped_by(packet, gateway)
        return end_of(self._way, *self._put_on(question, f"Out of its tunnel, by {by}"))

    def _put_on(self, question: Question, title: str) -> tuple[Trace, tuple[Hop, ...]]:
        """Ask the switch, and ask on wherever it parses the packet anew."""
        trace, hops = self._put(question, title)
        while trace.parsed_anew and hops and len(self.asked) < PASSES_MAX:
            onward = _onward(hops[-1])
            if onward is None:
                break
            packet, gateway = self._case.packet, self._case.gateway
            question = probe.parsed_anew(packet, gateway, self._way.registers, onward)
            trace, hops = self._put(question, ANEW[onward].format(version=packet.version))
        return trace, hops

    def _put(self, question: Question, title: str) -> tuple[Trace, tuple[Hop, ...]]:
        """Ask the switch, and add what it says to the story."""
        way, answer = self._way, self._ask(question)
        self.asked.append(Asked(question, answer))
        trace = oftrace.read(answer)
        hops = trace.taken(self._case.packet.size + ETHERNET_HEADER)
        for entry in sorted({hop.entry for hop in hops}):
            within = [hop for hop in hops if hop.entry == entry]
            steps = []
            for hop in within:
                way.note(hop)
                steps.append(Step(says(way, hop), hop, way.owner(hop)))
            if trace.tunnel is not None and way.into_tunnel.intersection(within[-1].outputs):
                steps.append(Step(wrapped(trace.tunnel)))
            self.parts.append(Part(entered(way, within[0]) if entry else title, tuple(steps)))
        return trace, hops


def _onward(hop: Hop) -> Table | None:
    """Where a packet that is parsed anew after this flow goes on, which the switch does not say."""
    if hop.table == FIT.number:
        return FITTED
    if hop.table == RETYPE.number:
        return CONTAINER
    onward = {BARE: EPOCH, CONTAINER: CONTAINER_END, CONTAINER_END: UNWRAP, UNWRAP: EPOCH}
    return next((to for table, to in onward.items() if table.number == hop.table), None)
