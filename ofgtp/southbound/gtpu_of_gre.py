"""GTP-U over IPv6, made by nftables of what the switch sends as GRE: docs/ovs-faults.md says why.

GRE's header (RFC 2784, RFC 2890) with checksum, key and sequence number is as long as those of UDP
and GTP-U together:

    GRE    flags 0xb000 | type | checksum | 0        | key (TEID)          | sequence number
    GTP-U  source port  | 2152 | length   | checksum | flags, 255 | length  | TEID

nftables computes no checksum, but of a field that it writes by its name it takes the old value out
of the protocol's checksum, and puts the new one in. UDP's fields will not do: nft from 1.1 has the
kernel look whether the packet is UDP, which it is not to the kernel. ICMPv6's do, so meanwhile the
header is said to be ICMPv6's, of the type Packet Too Big:

    ICMPv6 type, code | checksum | MTU                | free                | (TEID)

What is to be in the sum is written into the MTU, one value after the other; before each the MTU is
0 again, by a write of bits, which leaves the checksum alone. Bits are counted from the first after
the IPv6 header; all that are copied are 32, since 16 of them might be a port to nft.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from ofgtp.core.model import GTPU_PORT

_GRE_FLAGS = 0xB000
WAY = f"ip6 nexthdr gre th sport {_GRE_FLAGS} goto carried"
"""The first rule: what it sends on. GRE's flags stand where UDP has its source port."""

_UDP, _ICMPV6, _PACKET_TOO_BIG = 17, 58, 2
_HEADERS = 16
"""Octets of UDP's and GTP-U's headers, of which GTP-U's length has none (TS 29.281, 5.1)."""
_PLAIN, _CONTAINED = 0x30FF, 0x34FF
"""GTP-U's flags, and the type of a T-PDU; with E, there is an optional part."""
_LENGTH = "@nh,16,32"
"""IPv6's, behind 16 bits of the flow label, which the switch leaves 0."""
_MTU = "icmpv6 mtu"
_IS_ICMPV6 = "ip6 nexthdr icmpv6"
"""Asked of the octet as it is by now: what is known of the packet from before is that it is GRE."""
_IS_TOO_BIG = f"@th,0,8 set {_PACKET_TOO_BIG:#x}"
_EVEN_TAKES = 0x0101
"""What the sum loses where the QFI is even: see `southbound/netfilter.py`."""


def chains(ours: IPv6Address, *, inherit_dscp: bool) -> dict[str, list[str]]:
    """Chain -> its rules; `carried` is where it begins. With `inherit_dscp` a T-PDU with container
    has its packet's DSCP and ECN; the switch sees to the others."""
    container = "@th,128,16 0x0 @th,152,8 0x85"
    even = "@th,176,8 set @th,176,8 ^ 0x1 @th,184,8 set 0x0"
    inherit = [
        "@th,192,8 & 0xf0 == 0x40 @nh,0,16 set @th,192,16 << 4 & 0x6ff0 | 0x6000",
        "@th,192,8 & 0xf0 == 0x60 @nh,0,16 set @th,192,16 & 0xfff0",
    ] * inherit_dscp
    flags = [f"@th,64,16 set {_CONTAINED:#x}", "accept"]
    return {
        "summed": _summed(),
        "carried_plain": [
            _begin(_constant(ours, _PLAIN)),
            "jump summed",
            f"@th,64,16 set {_PLAIN:#x} accept",
        ],
        "carried_odd": [
            _begin(_constant(ours, _CONTAINED)),
            "jump summed",
            *inherit,
            " ".join(flags),
        ],
        "carried_even": [
            _begin(_constant(ours, _CONTAINED - _EVEN_TAKES)),
            even,
            "jump summed",
            *inherit,
            " ".join(flags),
        ],
        "carried": [
            f"@nh,48,8 set {_ICMPV6:#x}",
            "@th,96,32 set @th,64,32",  # the TEID
            "@th,64,32 set @th,16,32",  # GRE's type and checksum,
            "@th,32,32 set @th,48,32",  # the type behind 16 bits of 0,
            "@th,0,32 set @th,64,32",  # the checksum in its place for now
            _IS_TOO_BIG,
            f"{container} @th,184,8 0x1 goto carried_even",
            f"{container} goto carried_odd",
            "goto carried_plain",
        ],
    }


def _constant(ours: IPv6Address, first_word: int) -> int:
    """The sum of all that is the same for each packet: of the pseudo header (RFC 8200, 8.1) UDP's
    number and our address; both ports; the first word of GTP-U's header; what its length is less
    than UDP's; and GRE's flags, which go out."""
    words = (ours.packed[at : at + 2] for at in range(0, 16, 2))
    address = sum(int.from_bytes(word, "big") for word in words)
    sum_ = _UDP + address + 2 * GTPU_PORT + first_word - _HEADERS - _GRE_FLAGS
    return sum_ % 0xFFFF or 0xFFFF


def _begin(constant: int) -> str:
    """GRE's type, which is in the MTU's place, goes out of the sum."""
    return f"{_IS_ICMPV6} {_MTU} set {constant}"


def _add(value: str) -> str:
    return f"{_IS_ICMPV6} @th,32,48 set 0x0 {_MTU} set {value}"


def _summed() -> list[str]:
    peer = [f"@nh,{at},32" for at in range(192, 320, 32)]
    return [
        # Of the pseudo header, of UDP and of GTP-U.
        *[_add(value) for value in (_LENGTH, _LENGTH, _LENGTH, *peer)],
        "@th,64,32 set @th,0,32",  # the checksum, out of the way
        # GTP-U's length: UDP's, in the checksum's place, out of which 16 goes.
        f"@th,0,32 set {_LENGTH}",
        _IS_TOO_BIG,
        _add(str(_HEADERS)),
        "@th,32,32 set @th,64,32",  # the checksum where it belongs
        "@th,64,32 set @th,0,32",  # and GTP-U's length
        "@th,32,16 set @nh,32,16",
        f"@th,0,32 set {GTPU_PORT << 16 | GTPU_PORT:#x}",
        f"@nh,48,8 set {_UDP:#x}",
    ]
