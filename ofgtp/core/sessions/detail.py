"""What makes a session more than one tunnel pair and one UE address."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from ofgtp.core.filters import Network, PacketFilter
from ofgtp.core.model import FTeid, Qos, Uplink

if TYPE_CHECKING:
    from ofgtp.core.sessions.rule import Rule

BEARERS_MAX = 63
FILTERS_MAX = 16
PRECEDENCE_MAX = 65_535
RATE_MAX_KBPS = 100_000_000
OCTETS_MAX = (1 << 53) - 1
"""What every reader of JSON takes for a whole number."""
INACTIVITY_MAX_S = 86_400
SLOT_MAX = (1 << 21) - 1
WAYS = (1, 2)
"""The tables in which a session's uplink rules may stand: a change puts them into the other one."""


class Gate(StrEnum):
    """What of a bearer may pass (TS 29.244, 8.2.7)."""

    OPEN = "open"
    CLOSED = "closed"
    UPLINK = "uplink"
    DOWNLINK = "downlink"

    def passes(self, direction: str) -> bool:
        """Whether packets of a direction may pass."""
        return self is Gate.OPEN or self.value == direction


@dataclass(frozen=True, slots=True)
class Rates:
    """Limits in kbit/s, 1 to 10^8; None: none."""

    uplink: int | None = None
    downlink: int | None = None

    def __bool__(self) -> bool:
        return self.uplink is not None or self.downlink is not None


NO_RATES = Rates()


@dataclass(frozen=True, slots=True)
class UsageLimits:
    """What is to be told of usage, and how much there may be; None: nothing. Octets are those of IP
    packets that went on, of both directions together."""

    threshold: int | None = None
    """Told each time so many octets have been used."""
    quota: int | None = None
    """So many octets may be used."""
    inactivity: int | None = None
    """Told once no packet has gone on for so many seconds."""

    def __bool__(self) -> bool:
        return self != NO_LIMITS


NO_LIMITS = UsageLimits()


@dataclass(frozen=True, slots=True)
class Bearer:
    """Some of a session's traffic, by filters, with a tunnel, a rate and a gate of its own.

    An EPS bearer (TS 23.401, 4.7.2) or a QoS flow (TS 23.501, 5.7.1).
    """

    id: str
    precedence: int
    filters: tuple[PacketFilter, ...]
    uplink: Uplink | None = None
    """None: it comes by the session's TEID."""
    downlink: FTeid | None = None
    """None: idle, unless it shares the session's."""
    shares_downlink: bool = False
    qos: Qos | None = None
    """None: the session's."""
    mbr: Rates = NO_RATES
    gate: Gate = Gate.OPEN
    usage: UsageLimits = NO_LIMITS
    used_up: bool = False
    """Its quota is used up: it is closed."""
    error_indicated: bool = False
    """Its peer does not know its downlink tunnel."""
    index: int = 0
    """0 to 62, unique in the session, kept as long as the bearer lives: by it the switch knows its
    rules and meters."""


@dataclass(frozen=True, slots=True)
class Relay:
    """The other side of a relay: T-PDUs come by `teid` and leave to `remote`."""

    teid: int
    remote: FTeid
    error_indicated: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """The control plane that made a session by PFCP, and alone may change it."""

    node_id: str
    cp_seid: int
    up_seid: int

    def __str__(self) -> str:
        return f"the control plane {self.node_id} (PFCP, SEID {self.up_seid:#x})"


@dataclass(frozen=True, slots=True)
class Detail:
    """All that a session has besides its tunnel pair; an empty one changes nothing for its UE.

    `slot` is 1 to `SLOT_MAX`, given by the store, unique among the sessions that are: it stands in
    the registers and meter numbers of the session's rules. `way` is one of `WAYS`.
    """

    slot: int = 0
    way: int = WAYS[0]
    ambr: Rates = NO_RATES
    usage: UsageLimits = NO_LIMITS
    """Of the whole session."""
    used_up: bool = False
    """The session's quota is used up: it is closed with all its bearers."""
    bearers: tuple[Bearer, ...] = ()
    relay: Relay | None = None
    breakout: tuple[IPv4Network, ...] = field(default=())
    """Destinations that leave by the core port, though the session is a relay."""
    framed_routes: tuple[Network, ...] = ()
    """Prefixes behind the UE, routed as its address is (TS 29.244, 8.2.109, 8.2.111)."""
    ue_ipv6: IPv6Network | None = None
    """The UE's prefix, mostly a /64 (TS 23.401, 5.3.1.2.2), in the same tunnels as its IPv4
    address, or alone."""
    rules: tuple[Rule, ...] = ()
    """As a control plane has made them, in the order in which they are asked; all of the above but
    slot, way and framed routes is empty then."""
    limits: tuple[tuple[int, int], ...] = ()
    """Of these rules: places in the list of meters, and their rates in kbit/s."""
    teids: tuple[int, ...] = ()
    """TEIDs of ours that none of these rules has yet, and no other session gets."""
    owner: Owner | None = None
    """None: it is the REST API's."""
    buffer: int | None = None
    """So many packets are held while it, or a bearer of it, is idle; None: none."""
    router: FTeid | None = None
    """The control plane's tunnel to which the UE's Router Solicitations go, and out of which it
    answers them; None: the gateway does."""

    @property
    def only_bearers(self) -> bool:
        """Whether there are but bearers and rates, made by the REST API."""
        more = self.relay or self.breakout or self.framed_routes or self.ue_ipv6
        limited = self.usage or any(bearer.usage for bearer in self.bearers)
        return not (
            more or limited or self.rules or self.buffer or self.limits or self.teids or self.owner
        )
