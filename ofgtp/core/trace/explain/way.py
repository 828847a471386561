"""What is known of a packet under way."""

from __future__ import annotations

from collections.abc import Sequence

from ofgtp.core.flows.flow import CookieKind, cookie_kind
from ofgtp.core.flows.pipeline import (
    CHOOSE,
    DOWNLINK,
    ONWARD,
    OTHER_RELAYED,
    OTHER_RULES,
    RELAYED,
    RULES,
    Table,
)
from ofgtp.core.model import QFI_MAX, Qos
from ofgtp.core.rules.terms import OF_TYPE_0
from ofgtp.core.trace import choice
from ofgtp.core.trace.choice import Taken
from ofgtp.core.trace.explain.hops import far
from ofgtp.core.trace.known import Case
from ofgtp.core.trace.oftrace import Hop
from ofgtp.core.trace.verdict import TABLES

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


class Way:
    """A packet under way: what of its flows the later ones do not say."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.registers: dict[int, int] = {}
        """By their numbers, as the flows so far have set them."""
        self.sent: int | None = None
        """What container is put in front downlink, as `Qos.of` reads it; None: none."""
        self.far = ""
        """The peer to which the last tunnel leads; empty: none was set."""
        self.taken: Taken | None = None
        """The rule that took it, of a session with bearers, breakout and the like."""
        self.relayed = False
        """Whether it goes from tunnel to tunnel."""

    def note(self, hop: Hop) -> None:
        """Keep what later tables do not say: the rule, the tunnel, what stands in its container."""
        self.registers |= hop.registers
        table = TABLES.get(hop.table)
        self.far = far(hop) or self.far
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
            self.sent = None if sent is None else sent & 0xFF

    def _own_rule(self, table: Table | None) -> Taken | None:
        """The rule for what no filter takes."""
        rules = choice.of_tunnel(self.case.session.rules, self._asked_by(table))
        last = rules[-1] if rules else None
        return None if last is None or last.filters else Taken(last, None)

    def _asked_by(self, table: Table | None) -> int | None:
        """The TEID whose rules a table asks; None: those for what comes by the core port."""
        return None if table is CHOOSE else self.case.packet.teid

    def owner(self, hop: Hop) -> str:
        """Whose flow it is, as of `Step.owner`."""
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

    @property
    def qfi(self) -> int:
        """Of the container that was found."""
        return self.registers.get(CONTAINER_FOUND, 0) & QFI_MAX

    @property
    def of_type_0(self) -> bool:
        """Whether the container that was found is a downlink one."""
        return bool(self.registers.get(CONTAINER_FOUND, 0) & OF_TYPE_0)

    @property
    def with_qfi(self) -> str:
        """What is sent downlink in a container."""
        if self.sent is None:
            return ""
        qos = Qos.of(self.sent) or Qos(0)
        return f", with QFI {qos.qfi}{' and RQI' * qos.rqi}"

    def ports(self, names: Sequence[str], between: str) -> str:
        """Ports of the bridge, by the names of the host's interfaces."""
        return between.join(map(self.case.gateway.port_of, names))

    @property
    def into_tunnel(self) -> set[str]:
        """The ports by which packets go into a tunnel: those of a relay go back by their own."""
        return {self.case.gateway.gtpu_port, self.case.gateway.gre_port, "IN_PORT"}

    @property
    def exit(self) -> str:
        """The port by which it should leave."""
        gateway = self.case.gateway
        ends = gateway.access_ends if self.to_ue or self.relayed else gateway.core_ends
        return ends[0]

    @property
    def to_ue(self) -> bool:
        """Whether it is for a UE, be it from the core or from another UE."""
        case = self.case
        if case.packet.direction == "downlink":
            return True
        return any(case.packet.destination in pool for pool in case.gateway.pools)
