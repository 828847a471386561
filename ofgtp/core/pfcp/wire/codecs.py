"""How each information element that is no group is read and written (TS 29.244, 8.2).

A decoder gets at least one octet. It refuses too few octets with cause 68 and a value that the
standard does not have with cause 69; octets behind those that it knows are of a later release, and
skipped, and so are spare bits.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from ofgtp.core.pfcp.wire.enums import (
    Action,
    CpFeatures,
    Creation,
    EstablishmentFlags,
    FailedRule,
    Gate,
    Interface,
    Measurement,
    Method,
    ModificationFlags,
    NodeReportType,
    PdnType,
    Removal,
    ReportResponseFlags,
    ReportType,
    RuleKind,
    Triggers,
    UpFeatures,
    UsageInformation,
    UsageTrigger,
)
from ofgtp.core.pfcp.wire.fields import (
    Codec,
    ascii_text,
    at_least,
    counted,
    decode_name,
    encode_name,
    enumerated,
    flag_bits,
    from_bytes,
    low_bits,
    many_bits,
    unsigned,
    wrong,
)
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.values import (
    Addresses,
    Bitrates,
    ChooseFTeid,
    DownlinkDataService,
    DroppedDownlink,
    FSeid,
    FTeid,
    GateStatus,
    NodeId,
    OuterHeaderCreation,
    OuterHeaderRemoval,
    SdfFilter,
    SNssai,
    TrafficClass,
    UeIpAddress,
    UserId,
    Volume,
    VolumeMeasurement,
)


def _decode_addresses(
    value: bytes, at: int, v4: bool, v6: bool
) -> tuple[IPv4Address | None, IPv6Address | None]:
    at_least(value, at + 4 * v4 + 16 * v6)
    ipv4 = _ipv4(bytes(value[at : at + 4])) if v4 else None
    at += 4 * v4
    return ipv4, IPv6Address(value[at : at + 16]) if v6 else None


@lru_cache(256)
def _ipv4(value: bytes) -> IPv4Address:
    """Of a session most are the same: its UE's, its peer's, and ours."""
    return IPv4Address(value)


def _packed(ipv4: IPv4Address | None, ipv6: IPv6Address | None) -> bytes:
    return (ipv4.packed if ipv4 is not None else b"") + (ipv6.packed if ipv6 is not None else b"")


def _decode_fteid(value: bytes) -> FTeid | ChooseFTeid:
    flags = value[0]
    if flags & 0x04:
        if flags & 0x08:
            at_least(value, 2)
            return ChooseFTeid(bool(flags & 1), bool(flags & 2), value[1])
        return ChooseFTeid(bool(flags & 1), bool(flags & 2))
    if not flags & 0x03:
        raise wrong("neither V4 nor V6 is set")
    addresses = _decode_addresses(value, 5, bool(flags & 1), bool(flags & 2))
    teid = from_bytes(value[1:5], "big")
    if not teid:
        raise wrong("the TEID is 0")
    return FTeid(teid, *addresses)


def _encode_fteid(fteid: FTeid | ChooseFTeid) -> bytes:
    if isinstance(fteid, ChooseFTeid):
        flags = 0x04 | fteid.ipv4 | fteid.ipv6 << 1
        if fteid.choose_id is None:
            return bytes((flags,))
        return bytes((flags | 0x08, fteid.choose_id))
    flags = (fteid.ipv4 is not None) | (fteid.ipv6 is not None) << 1
    return struct.pack("!BI", flags, fteid.teid) + _packed(fteid.ipv4, fteid.ipv6)


def _decode_fseid(value: bytes) -> FSeid:
    flags = value[0]
    if not flags & 0x03:
        raise wrong("neither V4 nor V6 is set")
    addresses = _decode_addresses(value, 9, bool(flags & 2), bool(flags & 1))
    return FSeid(from_bytes(value[1:9], "big"), *addresses)


def _encode_fseid(fseid: FSeid) -> bytes:
    flags = (fseid.ipv6 is not None) | (fseid.ipv4 is not None) << 1
    return struct.pack("!BQ", flags, fseid.seid) + _packed(fseid.ipv4, fseid.ipv6)


def _decode_some_addresses(value: bytes) -> Addresses:
    flags = value[0]
    if not flags & 0x03:
        raise wrong("neither V4 nor V6 is set")
    return Addresses(*_decode_addresses(value, 1, bool(flags & 2), bool(flags & 1)))


def _encode_some_addresses(addresses: Addresses) -> bytes:
    flags = (addresses.ipv6 is not None) | (addresses.ipv4 is not None) << 1
    return bytes((flags,)) + _packed(*addresses)


def _decode_ue_ip_address(value: bytes) -> UeIpAddress:
    flags = value[0]
    v6, v4 = bool(flags & 1), bool(flags & 2)
    if not flags & 0x33:
        raise wrong("none of V4, V6, CHV4 and CHV6 is set")
    addresses = _decode_addresses(value, 1, v4, v6)
    at = 1 + 4 * v4 + 16 * v6
    delegated_bits = prefix_length = None
    if flags & 0x08:
        at_least(value, at + 1)
        delegated_bits, at = value[at], at + 1
    if flags & 0x40:
        at_least(value, at + 1)
        prefix_length = value[at]
    return UeIpAddress(
        *addresses,
        bool(flags & 0x04),
        delegated_bits,
        prefix_length,
        bool(flags & 0x10),
        bool(flags & 0x20),
    )


def _encode_ue_ip_address(ue: UeIpAddress) -> bytes:
    flags = (ue.ipv6 is not None) | (ue.ipv4 is not None) << 1 | ue.destination << 2
    flags |= (ue.delegated_bits is not None) << 3 | ue.choose_ipv4 << 4 | ue.choose_ipv6 << 5
    flags |= (ue.prefix_length is not None) << 6
    lengths = [bits for bits in (ue.delegated_bits, ue.prefix_length) if bits is not None]
    return bytes((flags,)) + _packed(ue.ipv4, ue.ipv6) + bytes(lengths)


def _decode_sdf_filter(value: bytes) -> SdfFilter:
    flags, at = value[0], 2
    description = traffic_class = spi = flow_label = filter_id = None
    if flags & 0x01:
        at_least(value, at + 2)
        size = from_bytes(value[at : at + 2], "big")
        at += 2 + size
        at_least(value, at)
        description = ascii_text(value[at - size : at].rstrip(b"\0")) or None
    if flags & 0x02:
        at_least(value, at + 2)
        traffic_class, at = (value[at], value[at + 1]), at + 2
    if flags & 0x04:
        at_least(value, at + 4)
        spi, at = from_bytes(value[at : at + 4], "big"), at + 4
    if flags & 0x08:
        at_least(value, at + 3)
        flow_label, at = from_bytes(value[at : at + 3], "big") & 0xFFFFF, at + 3
    if flags & 0x10:
        at_least(value, at + 4)
        filter_id = from_bytes(value[at : at + 4], "big")
    return SdfFilter(description, traffic_class, spi, flow_label, filter_id)


def _encode_sdf_filter(sdf: SdfFilter) -> bytes:
    flags = sum(1 << bit for bit, part in enumerate(sdf) if part is not None)
    parts = [bytes((flags, 0))]
    if sdf.description is not None:
        text = sdf.description.encode("ascii")
        parts += (len(text).to_bytes(2, "big"), text)
    if sdf.traffic_class is not None:
        parts.append(bytes(sdf.traffic_class))
    for number, size in ((sdf.spi, 4), (sdf.flow_label, 3), (sdf.filter_id, 4)):
        if number is not None:
            parts.append(number.to_bytes(size, "big"))
    return b"".join(parts)


def _decode_gate_status(value: bytes) -> GateStatus:
    """2 and 3 are to be read as closed (8.2.7)."""
    octet = value[0]
    return GateStatus(
        Gate.CLOSED if octet & 0x0C else Gate.OPEN, Gate.CLOSED if octet & 0x03 else Gate.OPEN
    )


def _decode_bitrates(value: bytes) -> Bitrates:
    at_least(value, 10)
    return Bitrates(from_bytes(value[:5], "big"), from_bytes(value[5:10], "big"))


_actions: dict[int, Action] = {}


def _decode_action(value: bytes) -> Action:
    """One and only one of five is set (8.2.26)."""
    octets = from_bytes(value[:2], "little") & 0x07FF
    action = _actions.get(octets)
    if action is None:
        if octets & 0x67 not in (1, 2, 4, 32, 64):
            raise wrong("not one of DROP, FORW and BUFF is set, and only one")
        action = _actions[octets] = Action(octets)
    return action


_decode_description = flag_bits(Creation).decode


def _decode_creation(value: bytes) -> OuterHeaderCreation:
    at_least(value, 2)
    flags = value[0]
    if not flags:
        raise wrong("no header is named in its description")
    teid = ipv4 = ipv6 = port = c_tag = s_tag = None
    at = 2
    if flags & 0x03:
        at_least(value, 6)
        teid, at = from_bytes(value[2:6], "big"), 6
    if flags & 0x3F:
        v4, v6 = bool(flags & 0x15), bool(flags & 0x2A)
        ipv4, ipv6 = _decode_addresses(value, at, v4, v6)
        at += 4 * v4 + 16 * v6
    if flags & 0x0C:
        at_least(value, at + 2)
        port, at = from_bytes(value[at : at + 2], "big"), at + 2
    if flags & 0x40:
        at_least(value, at + 3)
        c_tag, at = value[at : at + 3], at + 3
    if flags & 0x80:
        at_least(value, at + 3)
        s_tag = value[at : at + 3]
    return OuterHeaderCreation(_decode_description(value), teid, ipv4, ipv6, port, c_tag, s_tag)


def _encode_creation(creation: OuterHeaderCreation) -> bytes:
    parts = [bytes((creation.description, 0))]
    if creation.teid is not None:
        parts.append(creation.teid.to_bytes(4, "big"))
    parts.append(_packed(creation.ipv4, creation.ipv6))
    if creation.port is not None:
        parts.append(creation.port.to_bytes(2, "big"))
    parts += [tag for tag in (creation.c_tag, creation.s_tag) if tag is not None]
    return b"".join(parts)


_decode_removed_header = enumerated(Removal).decode


def _decode_removal(value: bytes) -> OuterHeaderRemoval:
    extension_headers = value[1] if len(value) > 1 else None
    return OuterHeaderRemoval(_decode_removed_header(value), extension_headers)


def _encode_removal(removal: OuterHeaderRemoval) -> bytes:
    if removal.extension_headers is None:
        return bytes((removal.description,))
    return bytes((removal.description, removal.extension_headers))


def _decode_traffic_class(value: bytes) -> TrafficClass:
    at_least(value, 2)
    return TrafficClass(value[0], value[1])


def _decode_downlink_data_service(value: bytes) -> DownlinkDataService:
    flags, at = value[0], 1
    ppi = qfi = None
    if flags & 0x01:
        at_least(value, at + 1)
        ppi, at = value[at] & 0x3F, at + 1
    if flags & 0x02:
        at_least(value, at + 1)
        qfi = value[at] & 0x3F
    return DownlinkDataService(ppi, qfi)


def _encode_downlink_data_service(service: DownlinkDataService) -> bytes:
    flags = (service.ppi is not None) | (service.qfi is not None) << 1
    return bytes((flags, *(octet for octet in service if octet is not None)))


def _decode_node_id(value: bytes) -> NodeId:
    kind = value[0] & 0x0F
    if kind > 2:
        raise wrong(f"the type {kind} is none of 0, 1, 2")
    if kind == 2:
        at_least(value, 2)
        return decode_name(value[1:])
    ipv4, ipv6 = _decode_addresses(value, 1, kind == 0, kind == 1)
    return ipv4 or ipv6 or IPv4Address(0)


def _encode_node_id(node_id: NodeId) -> bytes:
    if isinstance(node_id, str):
        return b"\x02" + encode_name(node_id)
    return bytes((node_id.version == 6,)) + node_id.packed


_SWAPPED = bytes(octet >> 4 | (octet & 0x0F) << 4 for octet in range(256))


def _decode_digits(octets: bytes) -> str:
    """Two an octet, the first in the lower half; F fills up (TS 29.274, 8.3)."""
    digits = octets.translate(_SWAPPED).hex().removesuffix("f")
    if not digits.isdigit():
        raise wrong("there are other digits than 0 to 9")
    return digits


def _encode_digits(digits: str) -> bytes:
    return bytes.fromhex(digits + "f" * (len(digits) % 2)).translate(_SWAPPED)


def _decode_user_id(value: bytes) -> UserId:
    parts: list[str | None] = [None] * 4
    flags, at = value[0], 1
    for bit in range(4):
        if flags >> bit & 1:
            at_least(value, at + 1)
            size, at = value[at], at + 1
            at_least(value, at + size)
            octets, at = value[at : at + size], at + size
            parts[bit] = ascii_text(octets) if bit == 3 else _decode_digits(octets)
    return UserId(*parts)


def _encode_user_id(user: UserId) -> bytes:
    flags = sum(1 << bit for bit, part in enumerate(user) if part is not None)
    parts = [bytes((flags,))]
    for bit, part in enumerate(user):
        if part is not None:
            octets = part.encode("ascii") if bit == 3 else _encode_digits(part)
            parts += (bytes((len(octets),)), octets)
    return b"".join(parts)


def _decode_failed_rule(value: bytes) -> FailedRule:
    number = value[0] & 0x1F
    kind = RuleKind(number) if number <= 4 else RuleKind.FAR  # so 8.2.80 wants it
    size = _RULE_ID_SIZES[kind]
    at_least(value, 1 + size)
    return FailedRule(kind, from_bytes(value[1 : 1 + size], "big"))


_RULE_ID_SIZES: Mapping[RuleKind, int] = {
    RuleKind.PDR: 2,
    RuleKind.FAR: 4,
    RuleKind.QER: 4,
    RuleKind.URR: 4,
    RuleKind.BAR: 1,
}


def _encode_failed_rule(rule: FailedRule) -> bytes:
    return bytes((rule.kind,)) + rule.id.to_bytes(_RULE_ID_SIZES[rule.kind], "big")


def _encode_up_features(features: int) -> bytes:
    """Two octets if they do: some control planes take no more."""
    return int(features).to_bytes(2 if features < 1 << 16 else 4, "little")


def _decode_packet_count(value: bytes) -> int:
    """One octet or two (8.2.30)."""
    return from_bytes(value[:2], "big")


_decode_snssai = unsigned(4, fixed=True).decode
_OCTET, _U16, _U32 = unsigned(1), unsigned(2), unsigned(4)
_NAME = Codec(decode_name, encode_name)
_TEXT = Codec(ascii_text, lambda text: text.encode("ascii"))
_VOLUME = counted(Volume, 3)
_BITRATES = Codec(
    _decode_bitrates,
    lambda rates: rates.uplink.to_bytes(5, "big") + rates.downlink.to_bytes(5, "big"),
)
_ADDRESSES = Codec(_decode_some_addresses, _encode_some_addresses)

CODECS: dict[Ie, Codec] = {
    Ie.CAUSE: unsigned(1, fixed=True),
    Ie.SOURCE_INTERFACE: enumerated(
        Interface, 0x0F, frozenset(Interface) - {Interface.LI_FUNCTION}
    ),
    Ie.FTEID: Codec(_decode_fteid, _encode_fteid),
    Ie.NETWORK_INSTANCE: _NAME,
    Ie.SDF_FILTER: Codec(_decode_sdf_filter, _encode_sdf_filter),
    Ie.GATE_STATUS: Codec(
        _decode_gate_status, lambda gate: bytes((gate.uplink << 2 | gate.downlink,))
    ),
    Ie.MBR: _BITRATES,
    Ie.GBR: _BITRATES,
    Ie.PRECEDENCE: _U32,
    Ie.TRANSPORT_LEVEL_MARKING: Codec(_decode_traffic_class, bytes),
    Ie.VOLUME_THRESHOLD: _VOLUME,
    Ie.TIME_THRESHOLD: _U32,
    Ie.MONITORING_TIME: _U32,
    Ie.SUBSEQUENT_VOLUME_THRESHOLD: _VOLUME,
    Ie.SUBSEQUENT_TIME_THRESHOLD: _U32,
    Ie.INACTIVITY_DETECTION_TIME: _U32,
    Ie.REPORTING_TRIGGERS: many_bits(Triggers, 3),
    Ie.REPORT_TYPE: flag_bits(ReportType),
    Ie.OFFENDING_IE: unsigned(2, fixed=True),
    Ie.DESTINATION_INTERFACE: enumerated(Interface, 0x0F),
    Ie.UP_FUNCTION_FEATURES: Codec(many_bits(UpFeatures, 4).decode, _encode_up_features),
    Ie.APPLY_ACTION: Codec(_decode_action, lambda action: action.to_bytes(2, "little")),
    Ie.DOWNLINK_DATA_SERVICE_INFORMATION: Codec(
        _decode_downlink_data_service, _encode_downlink_data_service
    ),
    Ie.DOWNLINK_DATA_NOTIFICATION_DELAY: _OCTET,
    Ie.DL_BUFFERING_DURATION: _OCTET,
    Ie.DL_BUFFERING_SUGGESTED_PACKET_COUNT: Codec(
        _decode_packet_count, lambda count: count.to_bytes(1 if count < 256 else 2, "big")
    ),
    Ie.PFCPSMREQ_FLAGS: flag_bits(ModificationFlags),
    Ie.PFCPSRRSP_FLAGS: flag_bits(ReportResponseFlags),
    Ie.PDR_ID: _U16,
    Ie.FSEID: Codec(_decode_fseid, _encode_fseid),
    Ie.NODE_ID: Codec(_decode_node_id, _encode_node_id),
    Ie.MEASUREMENT_METHOD: flag_bits(Method),
    Ie.USAGE_REPORT_TRIGGER: many_bits(UsageTrigger, 3),
    Ie.MEASUREMENT_PERIOD: _U32,
    Ie.VOLUME_MEASUREMENT: counted(VolumeMeasurement, 6),
    Ie.DURATION_MEASUREMENT: _U32,
    Ie.TIME_OF_FIRST_PACKET: _U32,
    Ie.TIME_OF_LAST_PACKET: _U32,
    Ie.QUOTA_HOLDING_TIME: _U32,
    Ie.DROPPED_DL_TRAFFIC_THRESHOLD: counted(DroppedDownlink, 2),
    Ie.VOLUME_QUOTA: _VOLUME,
    Ie.TIME_QUOTA: _U32,
    Ie.START_TIME: _U32,
    Ie.END_TIME: _U32,
    Ie.URR_ID: _U32,
    Ie.LINKED_URR_ID: _U32,
    Ie.OUTER_HEADER_CREATION: Codec(_decode_creation, _encode_creation),
    Ie.BAR_ID: _OCTET,
    Ie.CP_FUNCTION_FEATURES: flag_bits(CpFeatures),
    Ie.USAGE_INFORMATION: flag_bits(UsageInformation),
    Ie.UE_IP_ADDRESS: Codec(_decode_ue_ip_address, _encode_ue_ip_address),
    Ie.OUTER_HEADER_REMOVAL: Codec(_decode_removal, _encode_removal),
    Ie.RECOVERY_TIME_STAMP: _U32,
    Ie.MEASUREMENT_INFORMATION: flag_bits(Measurement),
    Ie.NODE_REPORT_TYPE: flag_bits(NodeReportType),
    Ie.REMOTE_GTPU_PEER: _ADDRESSES,
    Ie.URSEQN: unsigned(4, fixed=True),
    Ie.FAR_ID: _U32,
    Ie.QER_ID: _U32,
    Ie.PDN_TYPE: enumerated(PdnType, 0x07),
    Ie.FAILED_RULE_ID: Codec(_decode_failed_rule, _encode_failed_rule),
    Ie.USER_PLANE_INACTIVITY_TIMER: _U32,
    Ie.SUBSEQUENT_VOLUME_QUOTA: _VOLUME,
    Ie.SUBSEQUENT_TIME_QUOTA: _U32,
    Ie.RQI: Codec(lambda value: bool(value[0] & 1), lambda rqi: bytes((rqi,))),
    Ie.QFI: low_bits(6),
    Ie.QUERY_URR_REFERENCE: _U32,
    Ie.SUGGESTED_BUFFERING_PACKETS_COUNT: _OCTET,
    Ie.USER_ID: Codec(_decode_user_id, _encode_user_id),
    Ie.FRAMED_ROUTE: _TEXT,
    Ie.FRAMED_IPV6_ROUTE: _TEXT,
    Ie.APN_DNN: _NAME,
    Ie.INTERFACE_TYPE_3GPP: low_bits(6),
    Ie.ALTERNATIVE_SMF_IP_ADDRESS: _ADDRESSES,
    Ie.QUOTA_VALIDITY_TIME: _U32,
    Ie.CP_PFCP_ENTITY_IP_ADDRESS: _ADDRESSES,
    Ie.PFCPSEREQ_FLAGS: flag_bits(EstablishmentFlags),
    Ie.SNSSAI: Codec(
        lambda value: SNssai(*divmod(_decode_snssai(value), 1 << 24)),
        lambda slice_: (slice_.sst << 24 | slice_.sd).to_bytes(4, "big"),
    ),
}
