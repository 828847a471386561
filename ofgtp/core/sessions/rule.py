"""The rule: what TS 29.244 calls a PDR with its FAR, QERs and URRs (clause 5.2).

A session is a set of rules, whoever made it: the REST API by tunnels and bearers, or a control
plane by PDRs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address

from ofgtp.core.filters import Network, PacketFilter
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import FTeid, Qos

LOWEST_PRECEDENCE = 1 << 32
"""Behind every precedence that can be named (TS 29.244, 8.2.11: 32 bits, lower values first)."""


class Source(StrEnum):
    """Where a rule's packets come from (TS 29.244, 8.2.2)."""

    ACCESS = "access"
    """In a tunnel, from a base station or the peer in front of us."""
    CORE = "core"
    """From the packet data network; or, for a rule with a TEID, in a tunnel from there."""
    CONTROL = "control"
    """In a tunnel from the control plane (CP-function)."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Packets leave in a tunnel (Outer Header Creation, TS 29.244, 8.2.56)."""

    to: FTeid
    octet: int | None = None
    """RQI and QFI of the downlink container (`Qos.octet`); None: without extension header, or, of
    a packet that came in a tunnel, with the uplink container that it had."""


@dataclass(frozen=True, slots=True)
class ToCore:
    """Packets leave by the core port."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Packets go no further, and count under a reason."""

    reason: DropReason


@dataclass(frozen=True, slots=True)
class Held:
    """Packets go to the controller, through a meter, and wait there for a tunnel (BUFF)."""


Forward = Tunnel | ToCore | Refused | Held


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a session; `precedence` is 0 to `LOWEST_PRECEDENCE`, lower first, and of two with
    one precedence the first in the session."""

    id: str
    """Whose it is: a bearer's id, "" for the session's own."""
    source: Source
    precedence: int
    forward: Forward
    teid: int | None = None
    """Our TEID by which packets come; None: they come by the core port."""
    peer: IPv4Address | None = None
    """The only peer from which they are taken; None: any."""
    ue: tuple[Network, ...] = ()
    """Addresses of the UE: the source of what comes in a tunnel, else the destination. None of
    them: the content is not looked at, as in a relay."""
    filters: tuple[PacketFilter, ...] = ()
    """One of them must match; none of them: every packet matches."""
    qfis: tuple[int, ...] = ()
    """The container that a packet came with must have one of these QFIs; none of them: any, and
    none too."""
    container: Qos | None = None
    """What is asked of the uplink container (`wanted_container`)."""
    meters: tuple[int, ...] = ()
    """Places in the session's list of meters: those that all rules of its tunnel have come first.
    Two at the most, as the switch has two tables for them on a packet's way."""

    def unseen(self) -> Rule:
        """The same for packets whatever is in them."""
        return replace(self, ue=())

    @property
    def uplink(self) -> bool:
        """Whether its packets come from the access side."""
        return self.source is Source.ACCESS

    @property
    def tunnelled(self) -> bool:
        """Whether its packets come in a tunnel and leave in one, unseen: those of a relay."""
        return self.teid is not None and not self.ue
