"""What the node wants to be done, and says (`machine.Node`)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ofgtp.core.pfcp.node.associations import Association
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.messages import Message
from ofgtp.core.pfcp.wire.values import NodeId

PORT = 8805
"""UDP, where requests go (4.2.2)."""


class Endpoint(NamedTuple):
    """Where a datagram comes from or goes to."""

    ip: IPv4Address | IPv6Address
    port: int = PORT


class Transaction(NamedTuple):
    """A request that is to be answered, once."""

    source: Endpoint
    type: MessageType
    sequence: int
    seid: int
    """Ours, as the header has it; 0 if there is none."""
    cp_seid: int
    """The sender's, if an establishment names one that can be read; else 0."""
    owners: tuple[NodeId, ...]
    """The associations that have the source's address; of an establishment the one it names.

    None for a modification or deletion from an address that no association is known to have: its
    SEID alone tells whose session it is.
    """
    key: bytes
    """By which the same request is known again (`answers.key_of`)."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a datagram."""

    to: Endpoint
    data: bytes


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """Carry it out, then `Node.answer`: an establishment, modification or deletion."""

    transaction: Transaction
    message: Message


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A request about a session that cannot be read: `Node.answer` with the refusal."""

    transaction: Transaction
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Change:
    """Delete sessions and store an association, then `Node.done` or `Node.failed`.

    Until then requests of that association are not taken.
    """

    node_id: NodeId
    save: Association | None
    """What to store; None: the association is no more."""
    delete: bool
    """Whether its sessions go."""
    keep: frozenset[IPv4Address | IPv6Address] | None = None
    """Sessions whose CP F-SEID has one of these addresses stay."""
    why: str = ""
    transaction: Transaction | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A request was answered with a cause that is no acceptance: for the log."""

    transaction: Transaction
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Answered:
    """A request of ours was answered; no message if it cannot be read."""

    token: Hashable
    message: Message | None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request of ours was sent N1 times in vain."""

    token: Hashable


class EventKind(StrEnum):
    """What an operator may want to know."""

    ASSOCIATED = "pfcp_associated"
    RELEASED = "pfcp_released"
    REFUSED = "pfcp_refused"
    """An association was not set up, changed or released."""
    PEER_UP = "pfcp_peer_up"
    PEER_DOWN = "pfcp_peer_down"
    PEER_RESTARTED = "pfcp_peer_restarted"
    PEER_CLOCK = "pfcp_peer_clock"
    """Its Recovery Time Stamp went back."""
    REPORT_UNANSWERED = "pfcp_report_unanswered"
    STRANGER = "pfcp_stranger"
    """A message came from an address that is not allowed."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened; `text` says it in words."""

    kind: EventKind
    node_id: NodeId | None
    ip: IPv4Address | IPv6Address
    text: str


Action = Send | SessionRequest | BadRequest | Change | Refused | Answered | Unanswered | Event
