"""The fields of packets and metadata, and how each is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address


class Port(IntEnum):
    """Reserved ports (OpenFlow 1.4, 7.2.1)."""

    NONE = 0xFFFFFFFF
    IN_PORT = 0xFFFFFFF8
    TABLE = 0xFFFFFFF9
    """Of a packet-out alone: through the flow tables, as if it had come in."""
    CONTROLLER = 0xFFFFFFFD
    LOCAL = 0xFFFFFFFE


def _hex(value: int, bits: int) -> str:
    return f"0x{value:0{bits // 4}x}"


def _dec(value: int, bits: int) -> str:
    return str(value)


def _port(value: int, bits: int) -> str:
    return "LOCAL" if value == Port.LOCAL else str(value)


def ipv4(value: int, bits: int) -> str:
    """Four numbers with dots."""
    return str(IPv4Address(value))


def ipv6(value: int, bits: int) -> str:
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
        Field("tun_src", 32, ipv4, "outer source: the peer"),
        Field("tun_ipv6_src", 128, ipv6, "the same of a peer that has IPv6"),
        Field("tun_dst", 32, ipv4, "outer destination: the peer to send to, or we"),
        Field("tun_ipv6_dst", 128, ipv6, "the same over IPv6"),
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
        Field("nw_src", 32, ipv4, "IPv4 source"),
        Field("nw_dst", 32, ipv4, "IPv4 destination"),
        Field("ipv6_src", 128, ipv6, "IPv6 source"),
        Field("ipv6_dst", 128, ipv6, "IPv6 destination"),
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
        Field("nd_target", 128, ipv6, "the address that a neighbour is asked for, or tells of"),
        Field("nd_tll", 48, _mac, "the MAC that a neighbour tells of"),
        Field("nd_reserved", 32, _short_hex, "the flags of what a neighbour tells"),
        Field("nd_options_type", 8, _dec, "what its option is"),
        Field("arp_op", 16, _dec, "1 request, 2 reply"),
        Field("arp_spa", 32, ipv4, "ARP sender's address"),
        Field("arp_tpa", 32, ipv4, "ARP target's address"),
        Field("arp_sha", 48, _mac, "ARP sender's MAC"),
        Field("arp_tha", 48, _mac, "ARP target's MAC"),
    )
}


VALUE_IS_MASK = frozenset({"tun_gtpu_flags"})
"""The switch takes their value as the mask too: it asks whether all of these bits are set."""


def mac_to_int(mac: str) -> int:
    """`aa:bb:cc:dd:ee:ff` as a 48-bit number."""
    return int(mac.replace(":", ""), 16)
