"""Fields and matches (OXM, OpenFlow 1.4, 7.2.3.2)."""

from __future__ import annotations

import struct

from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import (
    FIELDS,
    VALUE_IS_MASK,
    Condition,
    Match,
)
from ofgtp.southbound.openflow.message import NICIRA, NSH

_NXM1, _ERICSSON, _BASIC, _EXPERIMENTER = 0x0001, 0x1000, 0x8000, 0xFFFF

_OXM: dict[str, tuple[int, int]] = {
    "in_port": (_BASIC, 0),
    "dl_dst": (_BASIC, 3),
    "dl_src": (_BASIC, 4),
    "dl_type": (_BASIC, 5),
    "vlan_vid": (_BASIC, 6),
    "vlan_pcp": (_BASIC, 7),
    "ip_dscp": (_BASIC, 8),
    "nw_ecn": (_BASIC, 9),
    "nw_proto": (_BASIC, 10),
    "nw_src": (_BASIC, 11),
    "nw_dst": (_BASIC, 12),
    "tcp_src": (_BASIC, 13),
    "tcp_dst": (_BASIC, 14),
    "udp_src": (_BASIC, 15),
    "udp_dst": (_BASIC, 16),
    "sctp_src": (_BASIC, 17),
    "sctp_dst": (_BASIC, 18),
    "icmp_type": (_BASIC, 19),
    "arp_op": (_BASIC, 21),
    "arp_spa": (_BASIC, 22),
    "arp_tpa": (_BASIC, 23),
    "arp_sha": (_BASIC, 24),
    "arp_tha": (_BASIC, 25),
    "ipv6_src": (_BASIC, 26),
    "ipv6_dst": (_BASIC, 27),
    "ipv6_label": (_BASIC, 28),
    "icmpv6_type": (_BASIC, 29),
    "icmpv6_code": (_BASIC, 30),
    "nd_target": (_BASIC, 31),
    "nd_tll": (_BASIC, 33),
    "nd_reserved": (_ERICSSON, 1),
    "nd_options_type": (_ERICSSON, 2),
    "mpls_label": (_BASIC, 34),
    "mpls_tc": (_BASIC, 35),
    "tun_id": (_BASIC, 38),
    "packet_type": (_BASIC, 44),
    "reg0": (_NXM1, 0),
    "reg1": (_NXM1, 1),
    "reg2": (_NXM1, 2),
    "reg3": (_NXM1, 3),
    "reg4": (_NXM1, 4),
    "reg5": (_NXM1, 5),
    "reg6": (_NXM1, 6),
    "reg7": (_NXM1, 7),
    "reg8": (_NXM1, 8),
    "ip_frag": (_NXM1, 26),
    "nw_ttl": (_NXM1, 29),
    "mpls_ttl": (_NXM1, 30),
    "tun_src": (_NXM1, 31),
    "tun_dst": (_NXM1, 32),
    "tun_ipv6_src": (_NXM1, 109),
    "tun_ipv6_dst": (_NXM1, 110),
    "pkt_mark": (_NXM1, 33),
    "ct_zone": (_NXM1, 106),
    "ct_mark": (_NXM1, 107),
    "ct_label": (_NXM1, 108),
    "nsh_spi": (_EXPERIMENTER, 4),
    "nsh_c3": (_EXPERIMENTER, 8),
    "nsh_c4": (_EXPERIMENTER, 9),
    "tun_gtpu_flags": (_EXPERIMENTER, 15),
    "tun_gtpu_msgtype": (_EXPERIMENTER, 16),
}
NAMES = {oxm: name for name, oxm in _OXM.items()}

MOVE_NAMES: dict[str, int] = {
    "dl_dst": 0x00000206,
    "dl_src": 0x00000406,
    "nw_src": 0x00000E04,
    "nw_dst": 0x00001004,
    "arp_spa": 0x00002004,
    "arp_tpa": 0x00002204,
    "arp_sha": 0x00012206,
    "arp_tha": 0x00012406,
    "reg0": 0x00010004,
    "reg1": 0x00010204,
    "reg2": 0x00010404,
    "reg3": 0x00010604,
    "reg4": 0x00010804,
    "reg7": 0x00010E04,
    "ipv6_src": 0x00012610,
    "ipv6_dst": 0x00012810,
    "tun_id": 0x00012008,
    "tun_src": 0x00013E04,
    "tun_ipv6_src": 0x0001DA10,
    "pkt_mark": 0x00014204,
    "vlan_vid": 0x80000C02,
    "mpls_label": 0x80004404,
    "mpls_tc": 0x80004601,
}
"""NXM headers: `move` names fields by these also in OpenFlow 1.4 (what the switch reports)."""


def width_of(name: str) -> int:
    """A field's bytes on the wire: 20 and 24 bits take four."""
    size = (FIELDS[name].bits + 7) // 8
    return 4 if size == 3 else size


def oxm(name: str, value: int, mask: int | None) -> bytes:
    oxm_class, number = _OXM[name]
    size = width_of(name)
    payload = value.to_bytes(size, "big")
    if mask is not None:
        payload += mask.to_bytes(size, "big")
    if oxm_class == _EXPERIMENTER:
        payload = _experimenter(name).to_bytes(4, "big") + payload
    head = oxm_class << 16 | number << 9 | (mask is not None) << 8 | len(payload)
    return head.to_bytes(4, "big") + payload


def _experimenter(name: str) -> int:
    return NSH if name.startswith("nsh_") else NICIRA


def _wire_mask(condition: Condition) -> int | None:
    """The mask to send: none for a whole field, or one that the switch wants without."""
    whole = condition.mask == FIELDS[condition.field].full_mask
    return None if whole or condition.field in VALUE_IS_MASK else condition.mask


def encode_match(match: Match) -> bytes:
    """An ofp_match, padded to 8 bytes. Conditions are in FIELDS order: prerequisites come first."""
    fields = b"".join(oxm(each.field, each.value, _wire_mask(each)) for each in match)
    length = 4 + len(fields)
    return struct.pack("!HH", 1, length) + fields + bytes(-length % 8)


def decode_match(data: bytes | memoryview, offset: int) -> tuple[Match | None, int]:
    """Read an ofp_match; None in place of the match where a field is not one of ours.

    Returns the match and the offset behind its padding. Raises CodecError if the bytes are short.
    """
    length = int.from_bytes(data[offset + 2 : offset + 4], "big")
    end = offset + length
    if length < 4 or end > len(data):
        raise CodecError("a match is longer than its message")
    conditions: list[Condition] = []
    known = True
    place = offset + 4
    while place < end:
        head = int.from_bytes(data[place : place + 4], "big")
        oxm_class, number, masked, size = head >> 16, head >> 9 & 0x7F, head >> 8 & 1, head & 0xFF
        start = place + 4
        place = start + size
        if place > end:
            raise CodecError("a match field is longer than its match")
        name = NAMES.get((oxm_class, number))
        if oxm_class == _EXPERIMENTER:
            if name and int.from_bytes(data[start : start + 4], "big") != _experimenter(name):
                name = None
            start += 4
        if name is None:
            known = False
            continue
        width = width_of(name)
        if place - start != width * (1 + masked):
            raise CodecError(f"a match on {name} has a wrong length")
        value = int.from_bytes(data[start : start + width], "big")
        mask = value if name in VALUE_IS_MASK else FIELDS[name].full_mask
        if masked:
            mask = int.from_bytes(data[start + width : place], "big")
        conditions.append(Condition(name, value, mask))
    order = list(FIELDS)
    conditions.sort(key=lambda each: order.index(each.field))
    return (tuple(conditions) if known else None), offset + length + (-length % 8)
