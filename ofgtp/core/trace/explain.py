"""Follows a session's packet through the switch, table by table, and says in words what happens.

The switch is asked by a function that the caller gives; nothing else is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from ofgtp.core.flows.flow import CookieKind, cookie_kind, cookie_number
from ofgtp.core.flows.pipeline import (
    ACCESS,
    BARE,
    CHOOSE,
    CONTAIN,
    CONTAINER,
    CONTAINER_END,
    CORE,
    DOWNLINK,
    EPOCH,
    FIT,
    FITTED,
    FRAMED,
    GUARD,
    HELD,
    INGRESS,
    INNER_ECN,
    LEASE,
    LOCAL,
    MEASURE,
    NORMALISE,
    ONWARD,
    OTHER_RELAYED,
    OTHER_RULES,
    OUTER_ECN,
    QFI,
    RELAY,
    RELAY_FORM,
    RELAYED,
    RETYPE,
    ROUTE,
    RULES,
    SHOWN,
    TOO_BIG,
    UNWRAP,
    UPLINK,
    DropReason,
    Report,
    Table,
)
from ofgtp.core.model import QFI_MAX, Gateway, Qos
from ofgtp.core.rules.terms import CONTAINED, ECN_NAMES, ETHERNET_HEADER, OF_TYPE_0, OVER_IPV6
from ofgtp.core.trace import choice, oftrace, probe, verdict
from ofgtp.core.trace.choice import Taken
from ofgtp.core.trace.known import Case, Known, Verdict
from ofgtp.core.trace.oftrace import Hop, Trace, Tunnel
from ofgtp.core.trace.probe import Packet, Question
from ofgtp.core.trace.verdict import TABLES

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

EXTENDED_FORM = 5
"""The register that says how an extension header is to be read."""
REFUSED_FOR = 5
"""The same later: for what reason a rule refuses the packet."""
CONTAINER_FOUND, CONTAINER_SENT = 3, 4
"""Those that hold what container was found uplink, and what is sent downlink."""
FROM_TUNNEL_TO_TUNNEL = (ONWARD, RELAYED, OTHER_RELAYED)
"""Tables of packets that came in a tunnel and leave in one."""
CHOOSING = (RULES, OTHER_RULES, CHOOSE)
"""Tables that ask a session's filters."""

Ask = Callable[[Question], str]
"""Asks the switch, and returns what it prints.

Raises:
    TraceRefused: it prints an error.
"""


class TraceRefused(Exception):
    """The switch will not follow such a packet; the text is its own."""


@dataclass(frozen=True, slots=True)
class Step:
    """A table that the packet passes, or what the switch does between them."""

    says: str
    hop: Hop | None = None
    owner: str = ""
    """Whose flow it is: ofgtp, session, another session, drop, other; empty if there is none."""

    @property
    def table(self) -> Table | None:
        """The table, if it is one of the pipeline."""
        return TABLES.get(self.hop.table) if self.hop else None


@dataclass(frozen=True, slots=True)
class Part:
    """The packet's steps from one way into the tables on."""

    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the switch was asked, and its own words."""

    question: Question
    answer: str


@dataclass(frozen=True, slots=True)
class Story:
    """A packet's way, and what became of it."""

    packet: Packet
    verdict: Verdict
    parts: tuple[Part, ...]
    asked: tuple[Asked, ...]
    taken: Taken | None = None
    """The rule that took it, of a session with bearers, breakout and the like."""
    relayed: bool = False
    """Whether it goes from tunnel to tunnel."""

    @property
    def foreign(self) -> tuple[Hop, ...]:
        """The flows on its way that are not ofgtp's."""
        steps = (step for part in self.parts for step in part.steps)
        return tuple(step.hop for step in steps if step.hop is not None and step.owner == "other")


def follow(
    packet: Packet, session: Known, gateway: Gateway, *, local_mac: str, core_mac: str, ask: Ask
) -> Story:
    """Follow a packet to its end.

    Args:
        local_mac: the MAC address of the bridge's own port, to which base stations send.
        core_mac: the one to which the core sends.
    """
    way = _Way(Case(packet, session, gateway), ask)
    try:
        end = way.from_tunnel(local_mac) if packet.tunnelled else way.downlink(core_mac)
    except TraceRefused as refused:
        end = verdict.refused(way.case, str(refused))
    return Story(packet, end, tuple(way.parts), tuple(way.asked), way.taken, way.relayed)


class _Way:
    """One packet under way."""

    def __init__(self, case: Case, ask: Ask) -> None:
        self.case, self._ask = case, ask
        self._registers: dict[int, int] = {}
        self._sent: int | None = None
        self._far = ""
        self.taken: Taken | None = None
        self.relayed = False
        self.parts: list[Part] = []
        self.asked: list[Asked] = []

    def downlink(self, core_mac: str) -> Verdict:
        """From the core port to its end."""
        packet, gateway = self.case.packet, self.case.gateway
        question = probe.from_core(packet, gateway, core_mac)
        return self._end(*self._put_on(question, f"From the core, by {gateway.core_device}"))

    def from_tunnel(self, local_mac: str) -> Verdict:
        """From the access port to its end, past the places where the switch's trace stops."""
        packet, gateway = self.case.packet, self.case.gateway
        question = probe.from_access(packet, gateway, local_mac)
        trace, hops = self._put(question, f"In its tunnel, by {gateway.access_port}")
        if not hops or not {"LOCAL", gateway.bridge}.intersection(hops[-1].outputs):
            return self._end(trace, hops)
        if not trace.unwraps:
            return verdict.not_unwrapped(self.case)
        question = probe.out_of_tunnel(packet, gateway)
        by = probe.unwrapped_by(packet, gateway)
        return self._end(*self._put_on(question, f"Out of its tunnel, by {by}"))

    def _put_on(self, question: Question, title: str) -> tuple[Trace, tuple[Hop, ...]]:
        """Ask the switch, and ask on wherever it parses the packet anew."""
        trace, hops = self._put(question, title)
        while trace.parsed_anew and hops and len(self.asked) < PASSES_MAX:
            onward = _onward(hops[-1])
            if onward is None:
                break
            packet, gateway = self.case.packet, self.case.gateway
            question = probe.parsed_anew(packet, gateway, self._registers, onward)
            trace, hops = self._put(question, ANEW[onward].format(version=packet.version))
        return trace, hops

    def _put(self, question: Question, title: str) -> tuple[Trace, tuple[Hop, ...]]:
        """Ask the switch, and add what it says to the story."""
        answer = self._ask(question)
        self.asked.append(Asked(question, answer))
        trace = oftrace.read(answer)
        hops = trace.taken(self.case.packet.size + ETHERNET_HEADER)
        for entry in sorted({hop.entry for hop in hops}):
            within = [hop for hop in hops if hop.entry == entry]
            steps = []
            for hop in within:
                self._registers |= hop.registers
                self._note(hop)
                steps.append(Step(self._says(hop), hop, self._owner(hop)))
            if trace.tunnel is not None and self._into_tunnel.intersection(within[-1].outputs):
                steps.append(Step(_wrapped(trace.tunnel)))
            self.parts.append(Part(self._entered(within[0]) if entry else title, tuple(steps)))
        return trace, hops

    def _note(self, hop: Hop) -> None:
        """Keep what later tables do not say: the rule, the tunnel, what stands in its container."""
        table = TABLES.get(hop.table)
        self._far = _far(hop) or self._far
        if table in FROM_TUNNEL_TO_TUNNEL:
            self.relayed = True
        if hop.cookie != self.case.session.cookie:
            if (
                table in CHOOSING
                and hop.priority == 0
                and cookie_kind(hop.cookie) is not CookieKind.DROP
            ):
                self.taken = self._own_rule(table)
            return
        if table in CHOOSING:
            rules = choice.of_tunnel(self.case.session.rules, self._asked_by(table))
            self.taken = choice.taken_at(rules, hop.priority, self.case.packet)
        if table in (DOWNLINK, CHOOSE):
            sent = hop.registers.get(CONTAINER_SENT)
            self._sent = None if sent is None else sent & 0xFF

    def _own_rule(self, table: Table | None) -> Taken | None:
        """The rule for what no filter takes."""
        rules = choice.of_tunnel(self.case.session.rules, self._asked_by(table))
        last = rules[-1] if rules else None
        return None if last is None or last.filters else Taken(last, None)

    def _asked_by(self, table: Table | None) -> int | None:
        """The TEID whose rules a table asks; None: those for what comes by the core port."""
        return None if table is CHOOSE else self.case.packet.teid

    def _entered(self, hop: Hop) -> str:
        """The title of a part that is not the first of its trace."""
        gateway = self.case.gateway
        if "in_port=LOCAL" in hop.match:
            return f"In its new tunnel, by LOCAL ({gateway.bridge})"
        return f"Round by the patch, to {gateway.loop_ports[1]}"

    # what each step says

    def _owner(self, hop: Hop) -> str:
        if not hop.found:
            return ""
        match cookie_kind(hop.cookie):
            case None:
                return "other"
            case CookieKind.SESSION:
                return "session" if hop.cookie == self.case.session.cookie else "another session"
            case CookieKind.DROP:
                return "drop"
        return "ofgtp"

    def _says(self, hop: Hop) -> str:
        match self._owner(hop):
            case "":
                return "no flow matches: dropped"
            case "other":
                cookie = f"cookie {hop.cookie:#x}, " if hop.cookie else ""
                return (
                    f"NOT OFGTP'S FLOW ({cookie}priority {hop.priority}):"
                    f" {hop.match or 'any packet'}, actions {', '.join(hop.actions)}"
                )
            case "drop":
                return f"dropped: {_drop_reason(hop).meaning}"
        return self._in_words(hop)

    def _in_words(self, hop: Hop) -> str:
        """What a flow of ofgtp's does that does not drop."""
        packet, gateway = self.case.packet, self.case.gateway
        table, out = TABLES.get(hop.table), self._ports(hop.outputs, " and ")
        if table is INGRESS:
            return self._came_by(hop)
        if table is ACCESS:
            ours = probe.local_ip(packet, self.case.gateway)
            return f"GTP-U to {ours}, and {packet.peer} may send it"
        if table is OUTER_ECN:
            if hop.priority:
                marked, by = ECN_NAMES[packet.outer_ecn], probe.unwrapped_by(packet, gateway)
                return f"a router on its way has marked it {marked}: {by} unwraps it"
            return "no router on its way has marked it (ECN)"
        if table is RELAY_FORM:
            return "may be sent on as it came, if it is a relay's"
        if table is RELAY:
            if self._owner(hop) == "ofgtp":
                return "of no relay: it is looked at"
            return f"{self._whose(hop)}: TEID {packet.teid:#x}{_into(hop)}"
        if table in (RELAYED, OTHER_RELAYED):
            if self._registers.get(REFUSED_FOR):
                return "refused"
            return f"leaves as it came, in its new tunnel to {self._far}"
        if table in CHOOSING:
            return self._chosen(hop)
        if table is ONWARD:
            return f"into a tunnel again, to {self._far}"
        if table is FRAMED:
            if packet.direction == "uplink":
                return f"from UE to UE: {packet.destination} is one's, or behind one"
            return f"{packet.destination} is behind a UE, by a framed route"
        if table is HELD:
            return "the session is idle: to where such packets are shown, or its way is closed"
        if table is SHOWN:
            return "to the controller, which holds it, or tells who wants to know of it"
        if table is LEASE:
            to = ": to LOCAL, where the switch unwraps it" if hop.outputs else ""
            return f"no lease has run out{to}"
        if table is NORMALISE:
            extended = any(action.startswith("encap(nsh") for action in hop.actions)
            what = "an extension header" if extended else f"an IPv{packet.version} packet"
            return f"a T-PDU with {what}: round by the patch"
        if table is RETYPE:
            teid, kept = self._registers.get(0, 0), self._registers.get(1, 0)
            peer = packet.peer if kept >= OVER_IPV6 else IPv4Address(kept)
            rightly = f"goto_table:{EPOCH.number}" in hop.actions
            then = "of what is typed rightly" if rightly else "of what must be parsed anew"
            return f"keeps TEID {teid:#x} and peer {peer}, {then}"
        if table is BARE:
            return f"it is an IPv{packet.version} packet"
        if table is CONTAINER:
            octets = 4 * (self._registers.get(EXTENDED_FORM, 0) & 0xF)
            kind = " of PDU type 0, as if downlink" if self._of_type_0 else ""
            return f"PDU Session Container of {octets} octets found{kind}: QFI {self._qfi}"
        if table is CONTAINER_END:
            follows = f"an IPv{packet.version} packet follows it"
            return f"{follows}: all in front is made one header to take off"
        if table is UNWRAP:
            return "the container is taken off"
        if table is EPOCH:
            return "all pass it; it keeps the switch's cache right"
        if table is INNER_ECN:
            if hop.priority:
                return f"the mark goes into the UE's packet: {ECN_NAMES[packet.outer_ecn]}"
            return "no mark that goes into the UE's packet"
        if _is_solicitation(hop):
            return "a Router Solicitation: to the controller, which answers it"
        if table is UPLINK and self._owner(hop) == "ofgtp":
            return "what a UE asks its router"
        if table is UPLINK:
            pinned = f", from {packet.peer}" if "reg1=" in hop.match else ""
            return f"{self._whose(hop)}: TEID {packet.teid:#x}, from {packet.source}{pinned}"
        if table is QFI:
            if not self._registers.get(CONTAINER_FOUND, 0) & CONTAINED:
                return "no container, and the session does not require one"
            alone = f"reg3={CONTAINED:#x}/" not in hop.match
            return f"QFI {self._qfi} is " + ("the session's" if alone else "as good as any other")
        if table is GUARD:
            if self._owner(hop) != "ofgtp":
                return f"{packet.destination} is behind a UE, by a framed route"
            if self._to_ue:
                return f"{packet.destination} is a UE too, and UEs may send to each other"
            return f"UEs may send to {packet.destination}"
        if table is ROUTE:
            if "reg2=" in hop.match:
                return f"{packet.size} octets do not fit the core side"
            return f"to MAC address {_set(hop, 'eth_dst')}, out by {out}"
        if table is CORE:
            if self._owner(hop) != "ofgtp":
                return f"{packet.destination} is behind a UE, by a framed route"
            return f"{packet.destination} is in a UE pool"
        if table is FIT:
            fits = "do not fit" if "reg2" in hop.match else "fit"
            return f"{packet.size} octets {fits} the access side"
        if table is FITTED:
            return "what fits begins here"
        if table is TOO_BIG:
            return "goes no further; its sender is told by ICMP"
        if table is DOWNLINK:
            into, asks = _into(hop), f"goto_table:{CHOOSE.number}" in hop.actions
            if asks and not into:
                return f"{self._whose(hop)}: its rules are asked"
            unless = (
                f", unless a {self.case.session.kind} takes it"
                if asks and self.case.session.bearers
                else ""
            )
            return f"{self._whose(hop)}{into}{self._with_qfi}{unless}"
        if table is MEASURE:
            return f"{(hop.limit or 0) - ETHERNET_HEADER} octets fit with a container"
        if table is CONTAIN:
            if "reg2=" in hop.match:
                return f"{packet.size} octets do not fit the access side with a container"
            return (
                f"PDU Session Container put in front{self._with_qfi}; nftables sets its flag (E) on"
                " the way out"
            )
        if table is LOCAL:
            return f"GTP-U of the gateway's: out by {out}"
        purpose = f"{table.purpose} " if table else ""
        return f"{purpose}({', '.join(hop.actions)})"

    def _chosen(self, hop: Hop) -> str:
        """What took it of a session that has more than one rule for it."""
        into, taken = _into(hop), self.taken
        whole = taken is not None and not taken.rule.id and taken.by is None
        if hop.priority == 0 or whole:
            session = self.case.session
            some = f"none of its {session.kind}s' filters matches: " if session.bearers else ""
            return f"{some}as the session's own{into}"
        if self._owner(hop) == "ofgtp":
            return f"goes on in its tunnel, to {self._far}"
        if taken is None:
            return f"{self._whose(hop)}, of priority {hop.priority}{into}"
        why = "it has no filters" if taken.by is None else f"{choice.in_words(taken.by)} matches"
        if not taken.rule.id:
            return f"{self._whose(hop)}{into}: {why}"
        precedence = f"precedence {taken.rule.precedence}"
        called = self.case.session.called(taken.rule.id)
        return f"{called}, {precedence}, takes it{into}: {why}"

    @property
    def _qfi(self) -> int:
        """Of the container that was found."""
        return self._registers.get(CONTAINER_FOUND, 0) & QFI_MAX

    @property
    def _of_type_0(self) -> bool:
        """Whether the container that was found is a downlink one."""
        return bool(self._registers.get(CONTAINER_FOUND, 0) & OF_TYPE_0)

    @property
    def _with_qfi(self) -> str:
        """What is sent downlink in a container."""
        if self._sent is None:
            return ""
        qos = Qos.of(self._sent) or Qos(0)
        return f", with QFI {qos.qfi}{' and RQI' * qos.rqi}"

    def _whose(self, hop: Hop) -> str:
        if hop.cookie == self.case.session.cookie:
            return f"flow of {self.case.session.name}"
        return f"flow of another session (number {cookie_number(hop.cookie)})"

    def _came_by(self, hop: Hop) -> str:
        gateway = self.case.gateway
        ect_1, ce = gateway.ecn_ports
        ways = {
            **dict.fromkeys(gateway.access_ends, "came in by the access port"),
            **dict.fromkeys(gateway.core_ends, "came in by the core port"),
            gateway.gtpu_port: "came out of its tunnel by the gtpu port",
            ect_1: "came out of its tunnel by the gtpu port for what is marked ECT(1)",
            ce: "came out of its tunnel by the gtpu port for what is marked CE",
            gateway.loop_ports[1]: "came round by the patch port",
            "LOCAL": "came by LOCAL, wrapped by the switch",
        }
        asked = hop.match.replace('"', "").split(",")
        return next((says for port, says in ways.items() if f"in_port={port}" in asked), hop.match)

    # what comes of it

    def _end(self, trace: Trace, hops: tuple[Hop, ...]) -> Verdict:
        """What the last flow does with it."""
        case = self.case
        if not hops:
            return verdict.refused(case, "nothing that can be read (--raw shows it)")
        last, owner = hops[-1], self._owner(hops[-1])
        if self._exit in last.outputs:
            return self._delivered(trace, last)
        for note in last.notes:
            if "native tunnel routing failed" in note:
                return verdict.no_route(case, ip_address(self._far or "0.0.0.0"))
            if "neighbor cache miss" in note:
                return verdict.no_arp(case, ip_address(self._far or "0.0.0.0"))
            if "Nonexistent output port" in note:
                return verdict.no_port(case, self._leads_to(last))
            if note.startswith(">>"):
                return verdict.refused(case, note.removeprefix(">>"))
        if not owner:
            return verdict.no_match(case, last)
        if owner == "other":
            return verdict.foreign(case, last)
        if owner == "drop":
            reason = _drop_reason(last)
            if reason is DropReason.TOO_BIG:
                return verdict.too_big_relayed(case)
            return verdict.dropped(case, reason, self.taken)
        if last.table == TOO_BIG.number:
            asked = next(hop for hop in reversed(hops) if hop.limit is not None)
            if case.packet.direction == "uplink" and not self._to_ue:
                return verdict.too_big_uplink(case, asked)
            return verdict.too_big(case, asked)
        if last.table == SHOWN.number:
            return verdict.held(case, self.taken)
        if _is_solicitation(last):
            return verdict.solicited(case)
        return verdict.refused(case, f"{verdict.place(last)}: {', '.join(last.actions)}")

    def _leads_to(self, hop: Hop) -> str:
        """The name of the port that a flow sends to, where the switch knows its number alone."""
        gateway = self.case.gateway
        names = {
            NORMALISE.number: gateway.loop_ports[0],
            ROUTE.number: gateway.core_device,
            **{each.number: gateway.gtpu_port for each in (DOWNLINK, CHOOSE, CONTAIN, ONWARD)},
            LOCAL.number: gateway.access_port,
        }
        return names.get(hop.table, self._ports(hop.outputs, ", "))

    def _ports(self, names: Sequence[str], between: str) -> str:
        """Ports of the bridge, by the names of the host's interfaces."""
        return between.join(map(self.case.gateway.port_of, names))

    @property
    def _into_tunnel(self) -> set[str]:
        """The ports by which packets go into a tunnel: those of a relay go back by their own."""
        return {self.case.gateway.gtpu_port, self.case.gateway.gre_port, "IN_PORT"}

    @property
    def _exit(self) -> str:
        """The port by which it should leave."""
        gateway = self.case.gateway
        ends = gateway.access_ends if self._to_ue or self.relayed else gateway.core_ends
        return ends[0]

    @property
    def _to_ue(self) -> bool:
        case = self.case
        if case.packet.direction == "downlink":
            return True
        return any(case.packet.destination in pool for pool in case.gateway.pools)

    def _delivered(self, trace: Trace, last: Hop) -> Verdict:
        gateway, tunnel = self.case.gateway, trace.tunnel
        if tunnel is not None:
            where = f"for {tunnel.dst}, in tunnel {tunnel.teid:#x}{self._with_qfi}"
        elif gateway.host_core:
            where = "for the host, which routes it on"
        else:
            of_ipv6 = self.case.packet.version == 6
            where = f"for the next hop {gateway.next_hop6 if of_ipv6 else gateway.next_hop}"
        by = self.taken.rule.id if self.taken else ""
        whose = f", as {self.case.session.called(by)}'s" if by else ""
        return Verdict(True, f"it leaves by {gateway.port_of(self._exit)} {where}{whose}")


def _onward(hop: Hop) -> Table | None:
    """Where a packet that is parsed anew after this flow goes on, which the switch does not say."""
    if hop.table == FIT.number:
        return FITTED
    if hop.table == RETYPE.number:
        return CONTAINER
    onward = {BARE: EPOCH, CONTAINER: CONTAINER_END, CONTAINER_END: UNWRAP, UNWRAP: EPOCH}
    return next((to for table, to in onward.items() if table.number == hop.table), None)


def _drop_reason(hop: Hop) -> DropReason:
    number, table = cookie_number(hop.cookie), TABLES.get(hop.table)
    found = next((reason for reason in DropReason if reason == number), None)
    # else the flows are of another release
    return found or (table.miss if table else None) or DropReason.UNKNOWN_PORT


def _is_solicitation(hop: Hop) -> bool:
    """Whether a flow shows Router Solicitations to the controller."""
    kind, number = cookie_kind(hop.cookie), cookie_number(hop.cookie)
    return kind is CookieKind.REPORT and number == Report.ROUTER_SOLICITATION


def _into(hop: Hop) -> str:
    """The tunnel that a flow sets, if it does."""
    teid, to = _set(hop, "tun_id"), _far(hop)
    return f": into tunnel {teid} to {to}" if teid and to else ""


def _far(hop: Hop) -> str:
    """The peer that it sets."""
    return _set(hop, "tun_dst") or _set(hop, "tun_ipv6_dst")


def _set(hop: Hop, field: str) -> str:
    """What an action writes to a field; nothing if none does."""
    end = f"->{field}"
    found = (action for action in hop.actions if action.startswith("set_field:"))
    values = [each.removeprefix("set_field:")[: -len(end)] for each in found if each.endswith(end)]
    return values[0] if values else ""


def _wrapped(tunnel: Tunnel) -> str:
    kind = "GTP-U" if tunnel.dst.version == 4 else "GRE, of which nftables makes GTP-U"
    return (
        f"wrapped: {kind}, TEID {tunnel.teid:#x}, {tunnel.src} > {tunnel.dst},"
        f" DSCP {tunnel.dscp}; MAC address {tunnel.dst_mac}"
    )
