"""OpenFlow rules as values: fields, actions, flows. `str()` of each is ovs-ofctl's syntax.

Fields carry ovs-ofctl's names, so that what the code says, what the documentation shows and what
`ovs-ofctl dump-flows` prints is one vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from ofgtp.core.errors import OfgtpError


class RuleError(OfgtpError):
    """A rule that the pipeline does not allow: a bug of ours, never the operator's."""


class Port(IntEnum):
    """Reserved ports (OpenFlow 1.4, 7.2.1)."""

    NONE = 0xFFFFFFFF
    IN_PORT = 0xFFFFFFF8
    TABLE = 0xFFFFFFF9
    """Of a packet-out alone: through the flow tables, as if it had come in."""
    CONTROLLER = 0xFFFFFFFD
    LOCAL = 0xFFFFFFFE


# --- fields -------------------------------------------------------------------------------------


def _hex(value: int, bits: int) -> str:
    return f"0x{value:0{bits // 4}x}"


def _dec(value: int, bits: int) -> str:
    return str(value)


def _port(value: int, bits: int) -> str:
    return "LOCAL" if value == Port.LOCAL else str(value)


def _ipv4(value: int, bits: int) -> str:
    return str(IPv4Address(value))


def _ipv6(value: int, bits: int) -> str:
    """With zeros in front written `::`, or ovs-ofctl takes a mask's for a prefix length."""
    groups = [f"{value >> shift & 0xFFFF:x}" for shift in range(112, -16, -16)]
    if groups[0] != "0" or not value:
        return str(IPv6Address(value))
    while groups[0] == "0":
        del groups[0]
    return f"::{':'.join(groups)}"


def mac_text(value: int) -> str:
    """A 48-bit number as `aa:bb:cc:dd:ee:ff`."""
    return value.to_bytes(6, "big").hex(":")


def _mac(value: int, bits: int) -> str:
    return mac_text(value)


def _packet_type(value: int, bits: int) -> str:
    return f"({value >> 16},0x{value & 0xFFFF:x})"


def _short_hex(value: int, bits: int) -> str:
    return f"0x{value:x}"


@dataclass(frozen=True, slots=True)
class Field:
    """One packet or metadata field: its ovs-ofctl name, its width in bits, how it is written."""

    name: str
    bits: int
    show: Callable[[int, int], str]
    meaning: str

    @property
    def full_mask(self) -> int:
        """All bits set."""
        return (1 << self.bits) - 1


FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("packet_type", 32, _packet_type, "what the packet starts with: (namespace, type)"),
        Field("in_port", 32, _port, "the port it came in by"),
        Field("tun_id", 64, _short_hex, "TEID of the outer GTP-U header"),
        Field("tun_src", 32, _ipv4, "outer source: the peer"),
        Field("tun_ipv6_src", 128, _ipv6, "the same of a peer that has IPv6"),
        Field("tun_dst", 32, _ipv4, "outer destination: the peer to send to, or we"),
        Field("tun_ipv6_dst", 128, _ipv6, "the same over IPv6"),
        Field("reg0", 32, _short_hex, "TEID of a T-PDU, kept from its outer header"),
        Field(
            "reg1",
            32,
            _short_hex,
            "the peer it came from, likewise: an IPv4 address; over IPv6"
            " 0xf0000000 and the address's last 28 bits",
        ),
        Field(
            "reg2",
            32,
            _short_hex,
            "too big for the access side: bit 0 bare, bit 1 with a container",
        ),
        Field("reg3", 32, _short_hex, "the container of a T-PDU: 0x80 if it has one, and its QFI"),
        Field("reg4", 32, _short_hex, "what its session wants: see tables qfi and contain"),
        Field("reg5", 32, _short_hex, "extension header under way: see table container"),
        Field(
            "reg6",
            32,
            _short_hex,
            "its session's rules: 0x80000000 if one of their filters must match, slot and group",
        ),
        Field("reg7", 32, _short_hex, "ECN of a T-PDU's outer header, kept from there: 1 or 3"),
        Field("reg8", 32, _short_hex, "always 0: keeps filters of different ports apart"),
        Field("pkt_mark", 32, _short_hex, "always 0: see table epoch"),
        Field("ct_mark", 32, _short_hex, "always 0: asked for where packets of no session end"),
        Field("ct_zone", 16, _short_hex, "always 0: asked for where packets of a session go on"),
        Field("ct_label", 128, _short_hex, "always 0: asked for in tables rules and other_rules"),
        Field(
            "tun_gtpu_flags", 8, _short_hex, "GTP-U flags; the switch asks: are all of these set"
        ),
        Field("tun_gtpu_msgtype", 8, _dec, "GTP-U message type; exact for 255 (T-PDU) only"),
        Field("dl_src", 48, _mac, "Ethernet source"),
        Field("dl_dst", 48, _mac, "Ethernet destination"),
        Field("dl_type", 16, _hex, "Ethernet type"),
        Field("vlan_vid", 16, _hex, "VLAN tag; 0x1000 is set when there is one"),
        Field("vlan_pcp", 3, _dec, "VLAN priority"),
        Field("mpls_label", 20, _dec, "MPLS label"),
        Field("mpls_tc", 3, _dec, "MPLS traffic class: the three bits below the label"),
        Field("mpls_ttl", 8, _dec, "MPLS time to live: the last octet"),
        Field("nsh_spi", 24, _short_hex, "service path of a Network Service Header"),
        Field("nsh_c3", 32, _short_hex, "its octets 16 to 19: the third of its context headers"),
        Field("nsh_c4", 32, _short_hex, "its octets 20 to 23: the fourth"),
        Field("nw_src", 32, _ipv4, "IPv4 source"),
        Field("nw_dst", 32, _ipv4, "IPv4 destination"),
        Field("ipv6_src", 128, _ipv6, "IPv6 source"),
        Field("ipv6_dst", 128, _ipv6, "IPv6 destination"),
        Field("ipv6_label", 20, _short_hex, "IPv6 flow label"),
        Field("nw_proto", 8, _dec, "IP protocol"),
        Field("nw_ttl", 8, _dec, "IPv4 time to live, IPv6 hop limit"),
        Field("nw_ecn", 2, _dec, "IP's ECN (RFC 3168): 0 not capable, 1 and 2 capable, 3 CE"),
        Field("ip_dscp", 6, _dec, "DSCP"),
        Field("ip_frag", 8, _short_hex, "fragment bits: 1 any fragment, 2 a later one"),
        Field("tcp_src", 16, _short_hex, "TCP source port"),
        Field("tcp_dst", 16, _short_hex, "TCP destination port"),
        Field("udp_src", 16, _short_hex, "UDP source port"),
        Field("udp_dst", 16, _dec, "UDP destination port"),
        Field("sctp_src", 16, _short_hex, "SCTP source port"),
        Field("sctp_dst", 16, _short_hex, "SCTP destination port"),
        Field("icmp_type", 8, _dec, "ICMP type"),
        Field("icmpv6_type", 8, _dec, "ICMPv6 type"),
        Field("icmpv6_code", 8, _dec, "ICMPv6 code"),
        Field("nd_target", 128, _ipv6, "the address that a neighbour is asked for, or tells of"),
        Field("nd_tll", 48, _mac, "the MAC that a neighbour tells of"),
        Field("nd_reserved", 32, _short_hex, "the flags of what a neighbour tells"),
        Field("nd_options_type", 8, _dec, "what its option is"),
        Field("arp_op", 16, _dec, "1 request, 2 reply"),
        Field("arp_spa", 32, _ipv4, "ARP sender's address"),
        Field("arp_tpa", 32, _ipv4, "ARP target's address"),
        Field("arp_sha", 48, _mac, "ARP sender's MAC"),
        Field("arp_tha", 48, _mac, "ARP target's MAC"),
    )
}


VALUE_IS_MASK = frozenset({"tun_gtpu_flags"})
"""The switch takes their value as the mask too: it asks whether all of these bits are set."""


class Condition(NamedTuple):
    """`field` equals `value` in the bits of `mask`."""

    field: str
    value: int
    mask: int

    def __str__(self) -> str:
        field = FIELDS[self.field]
        if self.field == "ip_frag":
            return _FRAGMENTS[self.value, self.mask]
        if self.mask == field.full_mask or self.field in VALUE_IS_MASK:
            return f"{field.name}={field.show(self.value, field.bits)}"
        if field.show is _ipv4:
            return f"{field.name}={IPv4Address(self.value)}/{_ipv4_mask(self.mask)}"
        if (
            field.show is _ipv6
            and (length := self.mask.bit_count())
            and self.mask == _leading(length)
        ):
            return f"{field.name}={IPv6Address(self.value)}/{length}"
        return (
            f"{field.name}={field.show(self.value, field.bits)}/{field.show(self.mask, field.bits)}"
        )


def _leading(length: int) -> int:
    """The mask of an IPv6 prefix of so many bits."""
    return (1 << 128) - (1 << 128 - length)


def _ipv4_mask(mask: int) -> str:
    """A prefix length where it is one."""
    length = mask.bit_count()
    prefix = mask == (1 << 32) - (1 << 32 - length)
    return str(length) if prefix else str(IPv4Address(mask))


_FRAGMENTS = {
    (1, 1): "ip_frag=yes",
    (0, 0xFF): "ip_frag=no",
    (1, 0xFF): "ip_frag=first",
    (3, 3): "ip_frag=later",
}

Match = tuple[Condition, ...]
"""Conditions in the order of FIELDS, so that equal matches are equal values."""

Value = int | IPv4Address | IPv4Network | IPv6Address | IPv6Network | str | tuple[int, int]

_ORDER = {name: place for place, name in enumerate(FIELDS)}


def mac_to_int(mac: str) -> int:
    """`aa:bb:cc:dd:ee:ff` as a 48-bit number."""
    return int(mac.replace(":", ""), 16)


def condition(name: str, value: Value) -> Condition:
    """A condition from a number, an address, a prefix, a MAC text or a (value, mask) pair."""
    full = FIELDS[name].full_mask
    match value:
        case IPv4Network() | IPv6Network():
            return Condition(name, int(value.network_address), int(value.netmask))
        case IPv4Address() | IPv6Address():
            return Condition(name, int(value), full)
        case str():
            return Condition(name, mac_to_int(value), full)
        case (bits, mask):
            return Condition(name, bits & mask, mask)
        case int():
            return Condition(name, value, value if name in VALUE_IS_MASK else full)
    raise RuleError(f"{name}: no condition can be made of {value!r}")


def match(**conditions: Value) -> Match:
    """Build a match; a prefix of length 0 matches everything and so asks nothing."""
    made = (condition(name, value) for name, value in conditions.items())
    return tuple(sorted((c for c in made if c.mask), key=lambda c: _ORDER[c.field]))


# --- actions ------------------------------------------------------------------------------------


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


# --- flows and meters ---------------------------------------------------------------------------


class FlowKey(NamedTuple):
    """What makes a flow the same flow (OpenFlow 1.4, 5.2)."""

    table: int
    priority: int
    match: Match


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow entry. No actions and no `goto` means drop."""

    table: int
    priority: int
    match: Match
    cookie: int
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    meter: int | None = None
    hard_timeout: int = 0
    """Seconds after which the switch removes it, unless it is added anew; 0: never."""

    @property
    def key(self) -> FlowKey:
        """Its identity in the switch."""
        return FlowKey(self.table, self.priority, self.match)

    def __str__(self) -> str:
        steps = [f"meter:{self.meter}"] if self.meter is not None else []
        steps += [str(action) for action in self.actions]
        if self.goto is not None:
            steps.append(f"goto_table:{self.goto}")
        head = [f"cookie=0x{self.cookie:016x}", f"table={self.table}", f"priority={self.priority}"]
        if self.hard_timeout:
            head.append(f"hard_timeout={self.hard_timeout}")
        head += [str(each) for each in self.match]
        return f"{','.join(head)} actions={','.join(steps) or 'drop'}"


class Unit(StrEnum):
    """What a meter's rate counts in a second, and its burst at once."""

    PACKETS = "pktps"
    KBPS = "kbps"
    """Kilobits of frames: the IP packet and 14 octets of Ethernet."""


OCTETS_A_KBIT = 125


@dataclass(frozen=True, slots=True)
class Meter:
    """A limit, with a burst; what is over it is dropped."""

    number: int
    rate: int
    burst: int
    unit: Unit = Unit.PACKETS

    def __str__(self) -> str:
        return (
            f"meter={self.number} {self.unit} burst stats "
            f"bands=type=drop rate={self.rate} burst_size={self.burst}"
        )


# --- cookies ------------------------------------------------------------------------------------

OWNER_TAG = 0x0F67
COOKIE_OWNER = OWNER_TAG << 48
COOKIE_OWNER_MASK = 0xFFFF << 48
SESSION_NUMBER_MAX = (1 << 40) - 1


class CookieKind(IntEnum):
    """Bits 40 to 47 of a cookie of ours; bits 0 to 39 are the number of a session, of a drop reason
    or of a kind of report."""

    BASE = 1
    DROP = 2
    SESSION = 3
    REPORT = 4


def make_cookie(kind: CookieKind, number: int = 0) -> int:
    """Owner tag, kind and number (0 to 2^40-1) as one cookie."""
    return COOKIE_OWNER | kind << 40 | number


def cookie_kind(cookie: int) -> CookieKind | None:
    """The kind in a cookie of ours; None if the cookie is not ours or of no known kind."""
    if cookie & COOKIE_OWNER_MASK != COOKIE_OWNER:
        return None
    try:
        return CookieKind(cookie >> 40 & 0xFF)
    except ValueError:
        return None


def cookie_number(cookie: int) -> int:
    """The number in a cookie: a session's, a drop reason's, a kind of report's."""
    return cookie & SESSION_NUMBER_MAX
