"""Our PFCP read by scapy and tshark, and scapy's read by us."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
import scapy.contrib.pfcp as scapy_pfcp
from hypothesis import given, settings

from ofgtp.core.packets.frames import udp_frame
from ofgtp.core.pfcp.wire import enums, values
from ofgtp.core.pfcp.wire.header import MessageType, write_header
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import CLASSES, Message, kind_of, read, write
from ofgtp.core.pfcp.wire.tables import CODECS
from ofgtp.core.pfcp.wire.values import FTeid
from tests.support import tshark
from tests.support.pfcp import (
    GROUPS,
    PDI_FTEIDS,
    VALUES,
    Ies,
    Vector,
    groups,
    messages,
    number32,
    tlv,
    tree,
    vectors,
)

LAYERS = {
    each.ie_type: each
    for each in vars(scapy_pfcp).values()
    if isinstance(each, type) and issubclass(each, scapy_pfcp.IE_Base) and hasattr(each, "ie_type")
}

Fields = dict[str, Any]


def number(name: str) -> Callable[[Any], Fields]:
    return lambda value: {name: int(value)}


def bits(*names: str) -> Callable[[Any], Fields]:
    """Flags from the lowest on; `-` is one that scapy does not have."""
    return lambda value: {name: value >> at & 1 for at, name in enumerate(names) if name != "-"}


def there(value: Any, **names: str) -> Fields:
    """The parts that are not None, by the names that scapy has for them."""
    found = {name: getattr(value, part) for part, name in names.items()}
    return {
        name: str(part) if isinstance(part, IPv4Address | IPv6Address) else part
        for name, part in found.items()
        if part is not None
    }


def fteid(value: Any) -> Fields:
    if isinstance(value, FTeid):
        flags = {"V4": value.ipv4 is not None, "V6": value.ipv6 is not None}
        return flags | there(value, teid="TEID", ipv4="ipv4", ipv6="ipv6")
    flags = {"CH": 1, "V4": value.ipv4, "V6": value.ipv6, "CHID": value.choose_id is not None}
    return flags | there(value, choose_id="choose_id")


def sdf(value: Any) -> Fields:
    parts = (value.description, value.traffic_class, value.spi, value.flow_label, value.filter_id)
    fields: Fields = {
        name: part is not None
        for name, part in zip(("FD", "TTC", "SPI", "FL", "BID"), parts, strict=True)
    }
    fields |= there(
        value, spi="security_parameter_index", flow_label="flow_label", filter_id="sdf_filter_id"
    )
    if value.description is not None:
        fields["flow_description"] = value.description.encode()
    if value.traffic_class is not None:
        fields["tos_traffic_class"], fields["tos_traffic_mask"] = value.traffic_class
    return fields


def counts(**names: tuple[str, str]) -> Callable[[Any], Fields]:
    def fields(value: Any) -> Fields:
        found: Fields = {}
        for part, (flag, name) in names.items():
            found[flag] = getattr(value, part) is not None
            found |= there(value, **{part: name})
        return found

    return fields


def creation(value: Any) -> Fields:
    names = ("GTPUUDPIPV4", "GTPUUDPIPV6", "UDPIPV4", "UDPIPV6", "IPV4", "IPV6", "CTAG", "STAG")
    fields = bits(*names)(value.description)
    fields |= there(value, teid="TEID", ipv4="ipv4", ipv6="ipv6", port="port")
    for name, tag in (("ctag", value.c_tag), ("stag", value.s_tag)):
        if tag is not None:
            fields[name] = int.from_bytes(tag, "big")
    return fields


def node_id(value: Any) -> Fields:
    if isinstance(value, str):
        return {"id_type": 2, "id": value.encode()}
    name = f"ipv{value.version}"
    return {"id_type": int(value.version == 6), name: str(value)}


volume = counts(
    total=("TOVOL", "total"), uplink=("ULVOL", "uplink"), downlink=("DLVOL", "downlink")
)
rates = lambda value: {"ul": value.uplink, "dl": value.downlink}  # noqa: E731

IN_SCAPY: dict[Ie, Callable[[Any], Fields]] = {
    **{ie: number("timestamp") for ie in (Ie.START_TIME, Ie.END_TIME, Ie.RECOVERY_TIME_STAMP)},
    **{ie: number("timestamp") for ie in (Ie.TIME_OF_FIRST_PACKET, Ie.TIME_OF_LAST_PACKET)},
    **{ie: number("id") for ie in (Ie.PDR_ID, Ie.FAR_ID, Ie.QER_ID, Ie.URR_ID, Ie.BAR_ID)},
    Ie.LINKED_URR_ID: number("id"),
    **{ie: number("interface") for ie in (Ie.SOURCE_INTERFACE, Ie.DESTINATION_INTERFACE)},
    **{ie: number("threshold") for ie in (Ie.TIME_THRESHOLD, Ie.SUBSEQUENT_TIME_THRESHOLD)},
    **{ie: number("quota") for ie in (Ie.TIME_QUOTA, Ie.SUBSEQUENT_TIME_QUOTA)},
    **{ie: number("time_value") for ie in (Ie.MONITORING_TIME, Ie.INACTIVITY_DETECTION_TIME)},
    Ie.QUOTA_HOLDING_TIME: number("time_value"),
    **dict.fromkeys((Ie.VOLUME_THRESHOLD, Ie.VOLUME_QUOTA, Ie.SUBSEQUENT_VOLUME_QUOTA), volume),
    Ie.SUBSEQUENT_VOLUME_THRESHOLD: volume,
    Ie.CAUSE: number("cause"),
    Ie.FTEID: fteid,
    Ie.NETWORK_INSTANCE: lambda value: {"instance": value.encode()},
    Ie.APN_DNN: lambda value: {"apn_dnn": value.encode()},
    Ie.SDF_FILTER: sdf,
    Ie.GATE_STATUS: lambda value: {"ul": value.uplink, "dl": value.downlink},
    Ie.MBR: rates,
    Ie.GBR: rates,
    Ie.PRECEDENCE: number("precedence"),
    Ie.TRANSPORT_LEVEL_MARKING: lambda value: {"tos": value.octet, "traffic_class": value.mask},
    Ie.REPORT_TYPE: bits("DLDR", "USAR", "ERIR", "UPIR"),
    Ie.OFFENDING_IE: number("type"),
    Ie.DOWNLINK_DATA_SERVICE_INFORMATION: lambda value: {
        "PPI": value.ppi is not None,
        "QFII": value.qfi is not None,
        **there(value, ppi="ppi_val", qfi="qfi_val"),
    },
    Ie.DOWNLINK_DATA_NOTIFICATION_DELAY: number("delay"),
    Ie.DL_BUFFERING_DURATION: lambda value: {
        "timer_unit": value >> 5,
        "timer_value": value & 0x1F,
    },
    Ie.PFCPSMREQ_FLAGS: bits("DROBU", "SNDEM", "QUARR"),
    Ie.PFCPSRRSP_FLAGS: bits("DROBU"),
    Ie.FSEID: lambda value: {
        "v4": value.ipv4 is not None,
        "v6": value.ipv6 is not None,
        **there(value, seid="seid", ipv4="ipv4", ipv6="ipv6"),
    },
    Ie.NODE_ID: node_id,
    Ie.MEASUREMENT_METHOD: bits("DURAT", "VOLUM", "EVENT"),
    Ie.MEASUREMENT_PERIOD: number("period"),
    Ie.DURATION_MEASUREMENT: number("duration"),
    Ie.DROPPED_DL_TRAFFIC_THRESHOLD: counts(
        packets=("DLPA", "packet_count"), octets=("DLBY", "byte_count")
    ),
    Ie.OUTER_HEADER_CREATION: creation,
    Ie.USAGE_INFORMATION: bits("BEF", "AFT", "UAE", "UBE"),
    Ie.URSEQN: number("number"),
    Ie.PDN_TYPE: number("pdn_type"),
    Ie.NODE_REPORT_TYPE: bits("UPFR"),
    Ie.USER_PLANE_INACTIVITY_TIMER: number("timer"),
    Ie.RQI: number("RQI"),
    Ie.QFI: number("QFI"),
    Ie.QUERY_URR_REFERENCE: number("reference"),
    Ie.SUGGESTED_BUFFERING_PACKETS_COUNT: number("count"),
    Ie.FRAMED_ROUTE: lambda value: {"framed_route": value.encode()},
    Ie.FRAMED_IPV6_ROUTE: lambda value: {"framed_ipv6_route": value.encode()},
    Ie.INTERFACE_TYPE_3GPP: number("interface_type"),
    Ie.FAILED_RULE_ID: lambda value: {
        "type": int(value.kind),
        f"{value.kind.name.lower()}_id": value.id,
    },
    Ie.REMOTE_GTPU_PEER: lambda value: {
        "V4": value.ipv4 is not None,
        "V6": value.ipv6 is not None,
        **there(value, ipv4="ipv4", ipv6="ipv6"),
    },
}
"""The fields that scapy has for a value. It knows Release 15, and of the rest little."""

WITHOUT = {
    **dict.fromkeys((Ie.APPLY_ACTION, Ie.REPORTING_TRIGGERS, Ie.USAGE_REPORT_TRIGGER), "octets"),
    **dict.fromkeys((Ie.VOLUME_MEASUREMENT, Ie.MEASUREMENT_INFORMATION), "flags of Release 16"),
    **dict.fromkeys((Ie.UP_FUNCTION_FEATURES, Ie.CP_FUNCTION_FEATURES), "flags of Release 16"),
    **dict.fromkeys((Ie.UE_IP_ADDRESS, Ie.USER_ID), "fields"),
    **dict.fromkeys((Ie.OUTER_HEADER_REMOVAL, Ie.DL_BUFFERING_SUGGESTED_PACKET_COUNT), "length"),
    **dict.fromkeys((Ie.ALTERNATIVE_SMF_IP_ADDRESS, Ie.QUOTA_VALIDITY_TIME), "all"),
    **dict.fromkeys((Ie.CP_PFCP_ENTITY_IP_ADDRESS, Ie.PFCPSEREQ_FLAGS, Ie.SNSSAI), "all"),
}
"""What scapy lacks of an IE, so that tshark alone judges it."""


def test_no_ie_is_forgotten() -> None:
    leaves = {ie for ie in CODECS if ie not in GROUPS}
    assert leaves == set(IN_SCAPY) | set(WITHOUT) and not set(IN_SCAPY) & set(WITHOUT)


@pytest.mark.parametrize("ie", IN_SCAPY, ids=lambda ie: ie.name)
def test_scapy_reads_the_values_and_writes_them(ie: Ie) -> None:
    any_value = PDI_FTEIDS if ie is Ie.FTEID else VALUES.get(ie, number32)
    codec, layer = CODECS[ie], LAYERS[ie]

    @settings(max_examples=25)
    @given(any_value)
    def check(value: Any) -> None:
        fields = IN_SCAPY[ie](value)
        octets = tlv(ie, codec.encode(value))
        found = layer(octets)
        assert {name: getattr(found, name) for name in fields} == fields
        assert not getattr(found, "extra_data", None)
        written = bytes(layer(**fields))
        assert written == octets
        assert codec.decode(written[4:]) == value

    check()


def opened(layers: list[Any]) -> Ies:
    """The tree of a message as scapy reads it."""
    return [
        (layer.ietype, opened(layer.IE_list) if hasattr(layer, "IE_list") else bytes(layer)[4:])
        for layer in layers
    ]


@settings(max_examples=100)
@given(messages(removals=False))  # scapy cannot read empty IEs
def test_scapy_sees_the_same_tree_in_any_message(message: Message) -> None:
    data = write(message, 0x123456, 7 if kind_of(message).of_session else None)
    found = scapy_pfcp.PFCP(data)
    assert found.seq == 0x123456 and found.message_type == kind_of(message)
    ies = found.payload.IE_list if found.payload else []
    octets = data[16 if found.S else 8 :]
    assert opened(ies) == tree(octets, GROUPS & set(LAYERS))


@pytest.mark.parametrize("seen", vectors(), ids=lambda seen: seen.name)
def test_what_scapy_makes_of_seen_messages_is_read(seen: Vector) -> None:
    layers = scapy_pfcp.PFCP(seen.data)
    layers.clear_cache()
    assert read(bytes(layers)) == read(seen.data)


# --- tshark

UP, CP = IPv4Address("192.0.2.30"), IPv4Address("192.0.2.20")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


def framed(data: bytes) -> bytes:
    return udp_frame(*MACS, UP, CP, 8805, 8805, data)


def test_tshark_finds_no_fault_in_what_we_write() -> None:
    sent: list[bytes] = []

    def collect(message: Message) -> None:
        sent.append(framed(write(message, 9, 7 if kind_of(message).of_session else None)))

    settings(max_examples=200)(given(messages())(collect))()
    for kind in CLASSES.values():
        settings(max_examples=10)(given(groups(kind, longest=1))(collect))()
    assert len(sent) > 300
    wrong = tshark.complaints(sent)
    assert wrong == [], (len(wrong), sent[int(wrong[0][0]) - 1].hex())


def alone(ie: Ie, value: Any) -> bytes:
    """A frame with one IE; tshark reads every IE in every message."""
    body = tlv(ie, CODECS[ie].encode(value))
    return framed(write_header(MessageType.HEARTBEAT_REQUEST, 1, None, len(body)) + body)


FLAGS: dict[Ie, tuple[type[IntFlag], str, dict[str, str]]] = {
    Ie.APPLY_ACTION: (enums.Action, "pfcp.apply_action.", {}),
    Ie.REPORTING_TRIGGERS: (enums.Triggers, "pfcp.reporting_triggers_flags.", {}),
    Ie.USAGE_REPORT_TRIGGER: (
        enums.UsageTrigger,
        "pfcp.usage_report_trigger_flags.",
        {
            "IMMER": "pfcp.usage_report_trigger.immer",
            "TERMR": "pfcp.usage_report_trigger.term",
            "MONIT": "pfcp.usage_report_trigger.monit",
        },
    ),
    Ie.UP_FUNCTION_FEATURES: (
        enums.UpFeatures,
        "pfcp.up_function_features.",
        {
            "MTE": "pfcp.up_function_features.mte_n4",
            "TSCU": "pfcp.up_function_features.tscu|pfcp.up_function_features.tsn",  # 4.0, 4.4
        },
    ),
    Ie.CP_FUNCTION_FEATURES: (enums.CpFeatures, "pfcp.cp_function_features.", {}),
    Ie.MEASUREMENT_INFORMATION: (
        enums.Measurement,
        "pfcp.measurement_info.",
        {"MBQE": "pfcp.measurement_info.fd"},
    ),
    Ie.PFCPSEREQ_FLAGS: (enums.EstablishmentFlags, "pfcp.sereq_flags.flags.", {}),
}


@pytest.mark.parametrize("ie", FLAGS, ids=lambda ie: ie.name)
def test_tshark_calls_the_flags_so(ie: Ie) -> None:
    kind, prefix, odd = FLAGS[ie]
    known = tshark.fields()
    names = []
    for each in kind:
        spelt = odd.get(each.name or "") or prefix + str(each.name).lower()
        names += [name for name in spelt.split("|") if name in known]
    rows = tshark.rows([alone(ie, each) for each in kind], names)
    for number, row in enumerate(rows):
        assert [at for at, shown in enumerate(row) if shown == "1"] == [number], (number, row)
    assert len(rows) == len(kind)


READ: list[tuple[Ie, Any, dict[str, str]]] = [
    (
        Ie.UE_IP_ADDRESS,
        values.UeIpAddress(UP, IPv6Address("2001:db8::1"), True, 4, 72),
        {
            "pfcp.ue_ip_addr_ipv4": "192.0.2.30",
            "pfcp.ue_ip_addr_ipv6": "2001:db8::1",
            "pfcp.ue_ip_address_flag.sd": "1",
            "pfcp.ue_ip_addr_ipv6_prefix": "4",
            "pfcp.ue_ip_addr_ipv6_prefix_length": "72",
        },
    ),
    (
        Ie.UE_IP_ADDRESS,
        values.UeIpAddress(choose_ipv4=True),
        {"pfcp.ue_ip_address_flag.chv4": "1", "pfcp.ue_ip_address_flag.chv6": "0"},
    ),
    (
        Ie.OUTER_HEADER_REMOVAL,
        values.OuterHeaderRemoval(enums.Removal.GTPU_UDP_IP, 1),
        {"pfcp.out_hdr_desc": "6", "pfcp.gtpu_ext_hdr_del.pdu_sess_cont": "1"},
    ),
    (
        Ie.VOLUME_MEASUREMENT,
        values.VolumeMeasurement(1, 2, 3, 4, 5, 6),
        {
            f"pfcp.volume_measurement.{name}": str(number)
            for number, name in enumerate(
                ("tovol", "ulvol", "dlvol", "tonop", "ulnop", "dlnop"), start=1
            )
        },
    ),
    (
        Ie.USER_ID,
        values.UserId("001010000000001", "4370816125816151", "12345", "a@b"),
        {
            "e212.imsi": "001010000000001",
            "pfcp.user_id.imei": "4370816125816151",
            "e164.msisdn": "12345",
            "pfcp.user_id.nai": "a@b",
        },
    ),
    (
        Ie.SNSSAI,
        values.SNssai(1, 0xABCDEF),
        {"pfcp.s_nssai_sst.sst": "01", "pfcp.s_nssai_sst.sd": "abcdef"},
    ),
    (Ie.QUOTA_VALIDITY_TIME, 3600, {"pfcp.validity_time_value": "3600"}),
    (Ie.DL_BUFFERING_SUGGESTED_PACKET_COUNT, 300, {"pfcp.packet_count": "300"}),
    (
        Ie.ALTERNATIVE_SMF_IP_ADDRESS,
        values.Addresses(UP, IPv6Address("2001:db8::1")),
        {
            "pfcp.alternative_smf_ip_address.ipv4": "192.0.2.30",
            "pfcp.alternative_smf_ip_address.ipv6": "2001:db8::1",
        },
    ),
    (
        Ie.CP_PFCP_ENTITY_IP_ADDRESS,
        values.Addresses(UP, IPv6Address("2001:db8::1")),
        {
            "pfcp.cp_pfcp_entity_ip_address.ipv4": "192.0.2.30",
            "pfcp.cp_pfcp_entity_ip_address.ipv6": "2001:db8::1",
        },
    ),
]
"""What scapy does not know, or not all of, and no flags."""


@pytest.mark.parametrize(
    ("ie", "value", "fields"), READ, ids=lambda each: getattr(each, "name", "")
)
def test_tshark_reads_the_values(ie: Ie, value: Any, fields: dict[str, str]) -> None:
    assert tshark.rows([alone(ie, value)], fields) == [list(fields.values())]


def test_tshark_has_judged_what_scapy_could_not() -> None:
    assert {ie for ie, _, _ in READ} | set(FLAGS) == set(WITHOUT)
