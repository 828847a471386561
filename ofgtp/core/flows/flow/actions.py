"""What a flow does with a packet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ofgtp.core.flows.flow.conditions import RuleError, condition
from ofgtp.core.flows.flow.fields import FIELDS, Port


@dataclass(frozen=True, slots=True)
class Output:
    """Send the packet out of a port: `max_len` octets of it at most, or of 0 all (but to the
    controller, which gets none then)."""

    port: int
    max_len: int = 0

    def __str__(self) -> str:
        if self.port == Port.CONTROLLER:
            return f"controller(max_len={self.max_len})"
        if self.port in (Port.LOCAL, Port.IN_PORT):
            return "LOCAL" if self.port == Port.LOCAL else "IN_PORT"
        if self.max_len:
            return f"output(port={self.port},max_len={self.max_len})"
        return f"output:{self.port}"


@dataclass(frozen=True, slots=True)
class Show:
    """Send a copy to the controller, `max_len` octets of it at most, if a meter lets it through;
    the packet itself goes on in any case."""

    max_len: int
    meter: int

    def __str__(self) -> str:
        return f"controller(max_len={self.max_len},meter_id={self.meter})"


@dataclass(frozen=True, slots=True)
class SetField:
    """Write a whole field."""

    field: str
    value: int

    def __str__(self) -> str:
        field = FIELDS[self.field]
        return f"set_field:{field.show(self.value, field.bits)}->{field.name}"


class Bits(NamedTuple):
    """Some bits of a field, the lowest being 0; `last` is included."""

    field: str
    first: int
    last: int

    def __str__(self) -> str:
        whole = self.first == 0 and self.last == FIELDS[self.field].bits - 1
        return self.field if whole else f"{self.field}[{self.first}..{self.last}]"


@dataclass(frozen=True, slots=True)
class Move:
    """Copy bits of a field onto as many of another."""

    src: Bits
    dst: Bits

    def __str__(self) -> str:
        return f"move:{self.src}->{self.dst}"


@dataclass(frozen=True, slots=True)
class SetInPort:
    """Have the packet be one that came in by another port; by default by none, or the switch would
    not send it out where it came in."""

    port: int = 0xFFFF

    def __str__(self) -> str:
        return f"load:{self.port:#x}->NXM_OF_IN_PORT[]"


class Header(StrEnum):
    """What `Encap` can put in front."""

    ETHERNET = "ethernet"
    MPLS = "mpls"
    NSH = "nsh(md_type=1)"
    """A Network Service Header of 24 octets (RFC 8300)."""


@dataclass(frozen=True, slots=True)
class Encap:
    """Put an empty header in front of the packet."""

    header: Header

    def __str__(self) -> str:
        return f"encap({self.header})"


@dataclass(frozen=True, slots=True)
class Decap:
    """Take the outermost header off: Ethernet, a Network Service Header, or an MPLS label; of what
    is behind a label the type must be said."""

    eth_type: int = 0

    def __str__(self) -> str:
        return f"decap(packet_type(ns=1,type=0x{self.eth_type:x}))" if self.eth_type else "decap()"


@dataclass(frozen=True, slots=True)
class PushMpls:
    """Put an MPLS label into an Ethernet frame."""

    def __str__(self) -> str:
        return "push_mpls:0x8847"


@dataclass(frozen=True, slots=True)
class PopMpls:
    """Take an MPLS label off and say what is below it."""

    eth_type: int

    def __str__(self) -> str:
        return f"pop_mpls:0x{self.eth_type:04x}"


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Put an empty VLAN tag in."""

    def __str__(self) -> str:
        return "push_vlan:0x8100"


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Take the VLAN tag off."""

    def __str__(self) -> str:
        return "pop_vlan"


@dataclass(frozen=True, slots=True)
class DecTtl:
    """Take 1 off the TTL; a packet of which less than 1 would be left goes no further."""

    def __str__(self) -> str:
        return "dec_ttl"


@dataclass(frozen=True, slots=True)
class CheckBigger:
    """Set a bit of a register when the packet, with its Ethernet header, has more octets."""

    octets: int
    register: str
    bit: int = 0

    def __str__(self) -> str:
        return f"check_pkt_larger({self.octets})->{self.register}[{self.bit}]"


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Go on in a table, and then with the next action; of what the controller sends alone."""

    table: int

    def __str__(self) -> str:
        return f"resubmit(,{self.table})"


Action = (
    Output
    | Show
    | SetField
    | Move
    | SetInPort
    | Encap
    | Decap
    | PushMpls
    | PopMpls
    | PushVlan
    | PopVlan
    | DecTtl
    | CheckBigger
    | Resubmit
)


def move(src: str | Bits, dst: str | Bits) -> Move:
    """Copy a field, or bits of one, onto another.

    Raises:
        RuleError: the two are not of one width.
    """
    a = src if isinstance(src, Bits) else Bits(src, 0, FIELDS[src].bits - 1)
    b = dst if isinstance(dst, Bits) else Bits(dst, 0, FIELDS[dst].bits - 1)
    if a.last - a.first != b.last - b.first:
        raise RuleError(f"{a} and {b} are not of one width")
    return Move(a, b)


def set_field(name: str, value: int | IPv4Address | IPv6Address | str) -> SetField:
    """Write a field with a number, an address or a MAC text."""
    return SetField(name, condition(name, value).value)
