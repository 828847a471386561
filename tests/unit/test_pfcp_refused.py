"""What the PFCP codec refuses, with which cause, and what it lets pass: faults seen in the wild."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from ofgtp.core.pfcp.wire import enums, values
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import FailedRule, RuleKind
from ofgtp.core.pfcp.wire.errors import Refusal, TooShort, UnknownType, WrongVersion
from ofgtp.core.pfcp.wire.header import Header, MessageType, parse_header
from ofgtp.core.pfcp.wire.ies import Ie, ie_title
from ofgtp.core.pfcp.wire.messages import read, rejection
from ofgtp.core.pfcp.wire.sdf import packet_filter
from tests.support.pfcp import tlv, u16, u32, vectors

SMF = IPv4Address("192.0.2.20")
NODE = tlv(Ie.NODE_ID, 0, SMF.packed)
FSEID = tlv(Ie.FSEID, 2, bytes(7), 9, SMF.packed)
PDI = tlv(Ie.PDI, tlv(Ie.SOURCE_INTERFACE, 0))
PDR = tlv(Ie.CREATE_PDR, tlv(Ie.PDR_ID, u16(7)), PDI)
FAR = tlv(Ie.CREATE_FAR, tlv(Ie.FAR_ID, u32(8)), tlv(Ie.APPLY_ACTION, 2))


def message(kind: MessageType, *ies: bytes) -> bytes:
    body = b"".join(ies)
    if kind.of_session:
        return bytes((0x21, kind)) + u16(12 + len(body)) + bytes(8) + b"\0\0\1\0" + body
    return bytes((0x20, kind)) + u16(4 + len(body)) + b"\0\0\1\0" + body


def established(*ies: bytes) -> Any:
    return read(message(MessageType.SESSION_ESTABLISHMENT_REQUEST, *ies))[1]


def modified(*ies: bytes) -> Any:
    return read(message(MessageType.SESSION_MODIFICATION_REQUEST, *ies))[1]


def pdr(*pdi: bytes, more: bytes = b"") -> bytes:
    return tlv(
        Ie.CREATE_PDR,
        tlv(Ie.PDR_ID, u16(7)),
        tlv(Ie.PDI, tlv(Ie.SOURCE_INTERFACE, 0), *pdi),
        more,
    )


def far(*parameters: bytes) -> bytes:
    return tlv(
        Ie.CREATE_FAR,
        tlv(Ie.FAR_ID, u32(8)),
        tlv(Ie.APPLY_ACTION, 2),
        tlv(Ie.FORWARDING_PARAMETERS, tlv(Ie.DESTINATION_INTERFACE, 0), *parameters),
    )


def refused(cause: Cause, ie: int | None, rule: FailedRule | None, *ies: bytes) -> str:
    with pytest.raises(Refusal) as error:
        established(NODE, FSEID, *ies)
    assert (error.value.cause, error.value.ie, error.value.rule) == (cause, ie, rule), error.value
    return str(error.value)


IN_PDR, IN_FAR = FailedRule(RuleKind.PDR, 7), FailedRule(RuleKind.FAR, 8)


# --- lengths: by the flags first


@pytest.mark.parametrize(
    "octets",
    [
        b"\1",
        b"\1\0",
        b"\1\0\0\0\0",
        b"\1\0\0\0\0\1\xc0\0\2",
        b"\2\0\0\0\0\1" + bytes(15),
        b"\3\0\0\0\0\1" + bytes(19),
        b"\4\0\xc0\0\2\1\x08",
        b"\x40\0\1\2",
        b"\x80\0\1\2",
        b"\xff\xff" + bytes(31),
    ],
)
def test_a_short_outer_header_creation(octets: bytes) -> None:
    reason = refused(
        Cause.INVALID_LENGTH,
        Ie.OUTER_HEADER_CREATION,
        IN_FAR,
        PDR,
        far(tlv(Ie.OUTER_HEADER_CREATION, octets)),
    )
    assert reason.startswith("FAR 8, Outer Header Creation: its length is ")


def test_an_outer_header_creation_that_names_no_header() -> None:
    refused(
        Cause.MANDATORY_IE_INCORRECT,
        Ie.OUTER_HEADER_CREATION,
        IN_FAR,
        PDR,
        far(tlv(Ie.OUTER_HEADER_CREATION, 0, 0)),
    )


def test_an_empty_outer_header_creation_is_none() -> None:
    request = established(NODE, FSEID, PDR, far(tlv(Ie.OUTER_HEADER_CREATION)))
    assert request.create_fars[0].forwarding_parameters.outer_header_creation is None


@pytest.mark.parametrize(
    ("ie", "octets"),
    [
        (Ie.MBR, bytes(9)),
        (Ie.GBR, bytes(1)),
        (Ie.QER_ID, bytes(3)),
    ],
)
def test_short_ies_of_a_qer(ie: Ie, octets: bytes) -> None:
    ids = tlv(Ie.QER_ID, u32(5)) if ie is not Ie.QER_ID else b""
    qer = tlv(Ie.CREATE_QER, ids, tlv(Ie.GATE_STATUS, 0), tlv(ie, octets))
    rule = FailedRule(RuleKind.QER, 5) if ids else None
    refused(Cause.INVALID_LENGTH, ie, rule, PDR, FAR, qer)


@pytest.mark.parametrize(
    ("ie", "octets"),
    [
        (Ie.VOLUME_THRESHOLD, b"\1" + bytes(7)),
        (Ie.VOLUME_QUOTA, b"\7" + bytes(23)),
        (Ie.DROPPED_DL_TRAFFIC_THRESHOLD, b"\1"),
        (Ie.DROPPED_DL_TRAFFIC_THRESHOLD, b"\3" + bytes(15)),
        (Ie.TIME_THRESHOLD, bytes(3)),
    ],
)
def test_short_ies_of_a_urr(ie: Ie, octets: bytes) -> None:
    urr = tlv(
        Ie.CREATE_URR,
        tlv(Ie.URR_ID, u32(65535)),
        tlv(Ie.MEASUREMENT_METHOD, 2),
        tlv(Ie.REPORTING_TRIGGERS, 2, 0),
        tlv(ie, octets),
    )
    refused(Cause.INVALID_LENGTH, ie, FailedRule(RuleKind.URR, 65535), PDR, FAR, urr)


@pytest.mark.parametrize("octets", [b"\1", b"\1" + bytes(7), b"\2" + bytes(19), b"\3" + bytes(23)])
def test_a_short_f_teid(octets: bytes) -> None:
    refused(Cause.INVALID_LENGTH, Ie.FTEID, IN_PDR, pdr(tlv(Ie.FTEID, octets)), FAR)


def test_a_choose_id_that_is_not_there() -> None:
    refused(Cause.INVALID_LENGTH, Ie.FTEID, IN_PDR, pdr(tlv(Ie.FTEID, 0x0D)), FAR)


@pytest.mark.parametrize(
    "octets", [b"\2" + bytes(3), b"\1" + bytes(15), b"\x09" + bytes(16), b"\x41" + bytes(16)]
)
def test_a_short_ue_address(octets: bytes) -> None:
    refused(Cause.INVALID_LENGTH, Ie.UE_IP_ADDRESS, IN_PDR, pdr(tlv(Ie.UE_IP_ADDRESS, octets)), FAR)


@pytest.mark.parametrize("octets", [b"\1", b"\1\0\0", b"\1\0\0\5any", b"\2\0\1", b"\x10\0\0\0\1"])
def test_a_short_sdf_filter(octets: bytes) -> None:
    refused(Cause.INVALID_LENGTH, Ie.SDF_FILTER, IN_PDR, pdr(tlv(Ie.SDF_FILTER, octets)), FAR)


@pytest.mark.parametrize("octets", [b"\2" + bytes(8), b"\2" + bytes(11), b"\1" + bytes(23)])
def test_a_short_f_seid(octets: bytes) -> None:
    with pytest.raises(Refusal) as error:
        established(NODE, tlv(Ie.FSEID, octets), PDR, FAR)
    assert (error.value.cause, error.value.ie) == (Cause.INVALID_LENGTH, Ie.FSEID)


def test_an_ie_that_is_longer_than_what_is_left() -> None:
    long = u16(Ie.PRECEDENCE) + u16(400) + bytes(4)
    refused(Cause.INVALID_LENGTH, Ie.PRECEDENCE, IN_PDR, pdr(more=long), FAR)
    refused(Cause.INVALID_LENGTH, 299, None, PDR, FAR, u16(299) + u16(1))


def test_octets_that_are_no_ie() -> None:
    refused(Cause.INVALID_LENGTH, Ie.CREATE_PDR, IN_PDR, pdr(more=b"\0\1\0"), FAR)


def test_fixed_lengths_are_fixed_and_others_may_grow() -> None:
    """8.1.1: an extendable IE may come with more than is known of it, a fixed one may not."""
    with pytest.raises(Refusal) as error:
        read(message(MessageType.SESSION_REPORT_RESPONSE, tlv(Ie.CAUSE, 1, 1)))
    assert (error.value.cause, error.value.ie) == (Cause.INVALID_LENGTH, Ie.CAUSE)
    grown = tlv(
        Ie.CREATE_PDR,
        tlv(Ie.PDR_ID, u16(7), 1),
        tlv(Ie.PDI, tlv(Ie.SOURCE_INTERFACE, 0, 9), tlv(Ie.FTEID, 1, u32(5), bytes(4), 9)),
    )
    assert established(NODE, FSEID, grown, FAR).create_pdrs[0].pdi.local_fteid.teid == 5


# --- values: what is enumerated is closed


def test_an_unknown_destination() -> None:
    unknown = tlv(
        Ie.CREATE_FAR,
        tlv(Ie.FAR_ID, u32(8)),
        tlv(Ie.APPLY_ACTION, 2),
        tlv(Ie.FORWARDING_PARAMETERS, tlv(Ie.DESTINATION_INTERFACE, 0x99)),
    )
    reason = refused(Cause.MANDATORY_IE_INCORRECT, Ie.DESTINATION_INTERFACE, IN_FAR, PDR, unknown)
    assert reason == "FAR 8, Destination Interface: the value 9 is none of 0, 1, 2, 3, 4"


@pytest.mark.parametrize("octet", [4, 5, 15])
def test_an_unknown_source(octet: int) -> None:
    odd = tlv(
        Ie.CREATE_PDR,
        tlv(Ie.PDR_ID, u16(7)),
        tlv(Ie.PDI, tlv(Ie.SOURCE_INTERFACE, octet)),
    )
    refused(Cause.MANDATORY_IE_INCORRECT, Ie.SOURCE_INTERFACE, IN_PDR, odd, FAR)


@pytest.mark.parametrize("octet", [9, 255])
def test_an_unknown_outer_header_removal(octet: int) -> None:
    odd = pdr(more=tlv(Ie.OUTER_HEADER_REMOVAL, octet))
    refused(Cause.MANDATORY_IE_INCORRECT, Ie.OUTER_HEADER_REMOVAL, IN_PDR, odd, FAR)


@pytest.mark.parametrize("octets", [b"\0", b"\x0a\0", b"\3", b"\6\0", b"\x08", b"\x10\0"])
def test_apply_action_is_one_of_three(octets: bytes) -> None:
    odd = tlv(Ie.CREATE_FAR, tlv(Ie.FAR_ID, u32(8)), tlv(Ie.APPLY_ACTION, octets))
    if octets == b"\x0a\0":  # FORW and NOCP: odd, and plain
        action = established(NODE, FSEID, PDR, odd).create_fars[0].apply_action
        assert action == enums.Action.FORW | enums.Action.NOCP
        return
    refused(Cause.MANDATORY_IE_INCORRECT, Ie.APPLY_ACTION, IN_FAR, PDR, odd)


@pytest.mark.parametrize("octets", [b"\0", b"\0" + bytes(8), b"\x08" + bytes(8)])
def test_an_f_teid_of_no_family(octets: bytes) -> None:
    refused(Cause.MANDATORY_IE_INCORRECT, Ie.FTEID, IN_PDR, pdr(tlv(Ie.FTEID, octets)), FAR)


def test_teid_0() -> None:
    """As one did to restore a session (open5gs#3747)."""
    zero = pdr(tlv(Ie.FTEID, 1, u32(0), SMF.packed))
    reason = refused(Cause.MANDATORY_IE_INCORRECT, Ie.FTEID, IN_PDR, zero, FAR)
    assert reason == "PDR 7, F-TEID: the TEID is 0"


@pytest.mark.parametrize(
    ("ie", "octets"),
    [
        (Ie.UE_IP_ADDRESS, b"\4"),
        (Ie.NETWORK_INSTANCE, b"\x08internet\xff"),
        (Ie.NETWORK_INSTANCE, b"inter\nnet"),
        (Ie.NETWORK_INSTANCE, b"\0"),
        (Ie.SDF_FILTER, b"\1\0\0\4\xff\xff\xff\xff"),
        (Ie.SDF_FILTER, b"\1\0\0\2\xc3\xa4"),
    ],
)
def test_values_that_are_none(ie: Ie, octets: bytes) -> None:
    refused(Cause.MANDATORY_IE_INCORRECT, ie, IN_PDR, pdr(tlv(ie, octets)), FAR)


@pytest.mark.parametrize("octets", [b"\3", b"\x0f", b"\2", b"\0\xc0\0\2", b"\1" + bytes(15)])
def test_a_node_id_that_is_none(octets: bytes) -> None:
    with pytest.raises(Refusal) as error:
        established(tlv(Ie.NODE_ID, octets), FSEID, PDR, FAR)
    assert error.value.ie == Ie.NODE_ID
    assert error.value.cause in (Cause.INVALID_LENGTH, Cause.MANDATORY_IE_INCORRECT)


def test_gates_that_are_to_be_read_as_closed() -> None:
    qer = tlv(Ie.CREATE_QER, tlv(Ie.QER_ID, u32(1)), tlv(Ie.GATE_STATUS, 0x08))
    gates = established(NODE, FSEID, PDR, FAR, qer).create_qers[0].gate_status
    assert gates == values.GateStatus(enums.Gate.CLOSED, enums.Gate.OPEN)


def test_a_volume_of_nothing() -> None:
    urr = tlv(
        Ie.CREATE_URR,
        tlv(Ie.URR_ID, u32(1)),
        tlv(Ie.MEASUREMENT_METHOD, 2),
        tlv(Ie.REPORTING_TRIGGERS, 2, 0),
        tlv(Ie.VOLUME_THRESHOLD, 0),
    )
    rule = FailedRule(RuleKind.URR, 1)
    refused(Cause.MANDATORY_IE_INCORRECT, Ie.VOLUME_THRESHOLD, rule, PDR, FAR, urr)


# --- what has to be there


@pytest.mark.parametrize(
    ("ies", "missing"),
    [
        ((FSEID, PDR, FAR), Ie.NODE_ID),
        ((NODE, PDR, FAR), Ie.FSEID),
        ((NODE, FSEID, FAR), Ie.CREATE_PDR),
        ((NODE, FSEID, PDR), Ie.CREATE_FAR),
        ((NODE, FSEID, PDR, tlv(Ie.CREATE_FAR)), Ie.CREATE_FAR),
        ((tlv(Ie.NODE_ID), FSEID, PDR, FAR), Ie.NODE_ID),
        ((), Ie.NODE_ID),
    ],
)
def test_an_establishment_without(ies: tuple[bytes, ...], missing: Ie) -> None:
    with pytest.raises(Refusal) as error:
        established(*ies)
    assert (error.value.cause, error.value.ie) == (Cause.MANDATORY_IE_MISSING, missing)
    assert str(error.value) == f"{missing.title}: it is missing"


@pytest.mark.parametrize("pdi", [b"", tlv(Ie.PDI)])
def test_a_pdr_without_pdi(pdi: bytes) -> None:
    without = tlv(Ie.CREATE_PDR, tlv(Ie.PDR_ID, u16(7)), pdi)
    refused(Cause.MANDATORY_IE_MISSING, Ie.PDI, IN_PDR, without, FAR)


def test_a_pdr_without_its_id() -> None:
    refused(Cause.MANDATORY_IE_MISSING, Ie.PDR_ID, None, tlv(Ie.CREATE_PDR, PDI), FAR)


def test_a_pdr_without_precedence_is_one() -> None:
    assert established(NODE, FSEID, PDR, FAR).create_pdrs[0].precedence is None


@pytest.mark.parametrize(
    ("kind", "ies", "missing"),
    [
        (MessageType.ASSOCIATION_SETUP_REQUEST, (NODE,), Ie.RECOVERY_TIME_STAMP),
        (
            MessageType.ASSOCIATION_SETUP_REQUEST,
            (tlv(Ie.RECOVERY_TIME_STAMP, u32(1)),),
            Ie.NODE_ID,
        ),
        (MessageType.ASSOCIATION_RELEASE_REQUEST, (), Ie.NODE_ID),
        (MessageType.HEARTBEAT_REQUEST, (), Ie.RECOVERY_TIME_STAMP),
        (MessageType.SESSION_REPORT_RESPONSE, (), Ie.CAUSE),
    ],
)
def test_other_messages_without(kind: MessageType, ies: tuple[bytes, ...], missing: Ie) -> None:
    with pytest.raises(Refusal) as error:
        read(message(kind, *ies))
    assert (error.value.cause, error.value.ie) == (Cause.MANDATORY_IE_MISSING, missing)


# --- what is not supported


@pytest.mark.parametrize(
    ("ie", "cause"),
    [
        (Ie.FORWARDING_POLICY, Cause.INVALID_FORWARDING_POLICY),
        (Ie.REDIRECT_INFORMATION, Cause.NOT_SUPPORTED),
        (Ie.HEADER_ENRICHMENT, Cause.NOT_SUPPORTED),
        (Ie.PROXYING, Cause.NOT_SUPPORTED),
    ],
)
def test_ways_to_forward(ie: Ie, cause: Cause) -> None:
    reason = refused(cause, ie, IN_FAR, PDR, far(tlv(ie, b"\1x")))
    assert reason.endswith("is not supported")
    assert established(NODE, FSEID, PDR, far(tlv(ie))).create_fars  # an empty one is none


@pytest.mark.parametrize(
    "ie", [Ie.APPLICATION_ID, Ie.TRAFFIC_ENDPOINT_ID, Ie.ETHERNET_PACKET_FILTER]
)
def test_ways_to_detect(ie: Ie) -> None:
    refused(Cause.NOT_SUPPORTED, ie, IN_PDR, pdr(tlv(ie, b"\1")), FAR)


def test_predefined_rules() -> None:
    predefined = pdr(more=tlv(Ie.ACTIVATE_PREDEFINED_RULES, b"gold"))
    refused(Cause.NOT_SUPPORTED, Ie.ACTIVATE_PREDEFINED_RULES, IN_PDR, predefined, FAR)


# --- what passes


def test_wrong_ies_that_decide_nothing_are_as_if_they_were_not_there() -> None:
    """7.6.8. One control plane's set-up killed a user plane so (omec upf#895)."""
    request = established(
        NODE,
        FSEID,
        pdr(),
        FAR,
        tlv(Ie.PDN_TYPE, 0),
        tlv(Ie.USER_ID, 1, 8, 1),
        tlv(Ie.APN_DNN, b"\xff\xff"),
        tlv(Ie.SNSSAI, 1),
    )
    assert request[7:] == (None, None, None, None, None, None)
    setup = message(
        MessageType.ASSOCIATION_SETUP_REQUEST,
        NODE,
        tlv(Ie.RECOVERY_TIME_STAMP, u32(1)),
        tlv(Ie.CP_FUNCTION_FEATURES),
        tlv(Ie.ALTERNATIVE_SMF_IP_ADDRESS, 2, 1),
        tlv(Ie.USER_PLANE_IP_RESOURCE_INFORMATION, 0xFF),
    )
    assert read(setup)[1][2:] == (None, None, (), None)


def test_heartbeats_with_strange_ies() -> None:
    """free5gc#482, #483: vendors' IEs, and empty ones."""
    strange = message(
        MessageType.HEARTBEAT_REQUEST,
        tlv(0x8002, u16(18681), b"x"),
        tlv(Ie.NETWORK_INSTANCE),
        tlv(Ie.RECOVERY_TIME_STAMP, u32(5)),
        tlv(0xFFFF),
    )
    assert read(strange)[1].recovery_time_stamp == 5


def test_the_first_of_several_counts() -> None:
    twice = message(
        MessageType.HEARTBEAT_REQUEST,
        tlv(Ie.RECOVERY_TIME_STAMP),
        tlv(Ie.RECOVERY_TIME_STAMP, u32(1)),
        tlv(Ie.RECOVERY_TIME_STAMP, u32(2)),
    )
    assert read(twice)[1].recovery_time_stamp == 1


@pytest.mark.parametrize(
    "octets", [b"\3smf\7example", b"\3smf\7example\0", b"smf.example", b"\x0bsmf.example"]
)
def test_ways_to_write_a_name(octets: bytes) -> None:
    assert established(tlv(Ie.NODE_ID, 2, octets), FSEID, PDR, FAR).node_id == "smf.example"


def test_an_update_of_nothing_that_is_known_changes_nothing() -> None:
    update = tlv(
        Ie.UPDATE_FAR,
        tlv(Ie.FAR_ID, u32(8)),
        tlv(Ie.UPDATE_FORWARDING_PARAMETERS, tlv(299, 1), tlv(0x8001, u16(9), 1)),
    )
    assert modified(update).update_fars[0].forwarding_parameters is None


def test_a_deletion_with_an_f_seid() -> None:
    assert read(message(MessageType.SESSION_DELETION_REQUEST, FSEID))[1] == ()


def test_a_modification_may_create_what_no_pdr_names() -> None:
    request = modified(FAR, tlv(Ie.REMOVE_PDR, tlv(Ie.PDR_ID, u16(99))))
    assert request.create_fars[0].far_id == 8 and request.remove_pdrs[0].pdr_id == 99


def test_any_number_of_rules_and_any_id() -> None:
    many = [
        tlv(Ie.CREATE_FAR, tlv(Ie.FAR_ID, u32(2**32 - 1 - n)), tlv(Ie.APPLY_ACTION, 1))
        for n in range(2000)
    ]
    assert len(established(NODE, FSEID, PDR, *many).create_fars) == 2000


def test_no_flags_that_a_peer_invents_are_kept() -> None:
    """A class of flags keeps each combination that it is asked for, for ever."""
    kept = {kind: len(kind._value2member_map_) for kind in (enums.Triggers, enums.UpFeatures)}
    for number in range(3000):
        urr = tlv(
            Ie.CREATE_URR,
            tlv(Ie.URR_ID, u32(1)),
            tlv(Ie.MEASUREMENT_METHOD, 2),
            tlv(Ie.REPORTING_TRIGGERS, u16(number), 1),
        )
        established(NODE, FSEID, PDR, FAR, urr)
        features = tlv(Ie.UP_FUNCTION_FEATURES, u32(number << 10))
        stamp = tlv(Ie.RECOVERY_TIME_STAMP, u32(1))
        read(message(MessageType.ASSOCIATION_SETUP_REQUEST, NODE, stamp, features))
    assert kept == {kind: len(kind._value2member_map_) for kind in kept}


# --- headers


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", TooShort),
        (b"\x20\1\0", TooShort),
        (b"\x20\1\0\4\0\0\1", TooShort),
        (b"\x20\1\0\3\0\0\1\0", TooShort),
        (b"\x21\x36\0\x0c" + bytes(11), TooShort),
        (b"\x21\x36\0\x0b" + bytes(12), TooShort),
        (b"\x20\x3a\0\4\0\0\1\0", UnknownType),
        (b"\x20\0\0\4\0\0\1\0", UnknownType),
        (b"\x20\x10\0\4\0\0\1\0", UnknownType),
        (b"\x40\1\0\4\0\0\1\0", WrongVersion),
        (b"\0\1\0\4\0\0\1\0", WrongVersion),
    ],
)
def test_headers_that_are_none(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(data)


def test_the_sequence_number_of_another_version() -> None:
    with pytest.raises(WrongVersion) as error:
        parse_header(b"\x40\1\0\4\1\2\3\0")
    assert error.value.sequence == 0x010203
    with pytest.raises(WrongVersion) as error:
        parse_header(b"\x41\x32\0\x0c" + bytes(8) + b"\1\2\3\0")
    assert error.value.sequence == 0x010203
    with pytest.raises(WrongVersion) as error:
        parse_header(b"\x40\1\0\4")
    assert error.value.sequence == 0


def test_priority_and_follow_on() -> None:
    data = b"\x27\x36\0\x0c" + u32(0) + u32(7) + b"\0\0\5\xc3"
    assert parse_header(data) == Header(
        MessageType.SESSION_DELETION_REQUEST, 5, 7, 12, True, 16, 16
    )
    # without MP the octet is spare
    assert parse_header(b"\x20\1\0\4\0\0\5\xff").priority is None


@pytest.mark.parametrize("by", [-1, 1, 100])
def test_a_length_that_is_not_the_datagrams(by: int) -> None:
    data = vectors()[0].data
    wrong = data[:-1] if by < 0 else data + bytes(by)
    with pytest.raises(Refusal) as error:
        read(wrong)
    assert (error.value.cause, error.value.ie) == (Cause.INVALID_LENGTH, None)


# --- the answer


def test_rejections_have_what_there_is_room_for() -> None:
    rule = FailedRule(RuleKind.PDR, 7)
    made = rejection(
        MessageType.SESSION_ESTABLISHMENT_REQUEST, SMF, Cause.RULE_FAILURE, Ie.PDI, rule
    )
    assert made._asdict() == {
        "node_id": SMF,
        "cause": 73,
        "offending_ie": 2,
        "up_fseid": None,
        "created_pdrs": (),
        "failed_rule": rule,
    }
    modification = rejection(MessageType.SESSION_MODIFICATION_REQUEST, SMF, Cause.CONGESTION)
    assert not hasattr(modification, "node_id") and modification.cause == 74
    setup = rejection(MessageType.ASSOCIATION_SETUP_REQUEST, SMF, Cause.REJECTED)
    assert setup == (SMF, 64, None, None, None)
    assert rejection(MessageType.PFD_MANAGEMENT_REQUEST, SMF, Cause.NOT_SUPPORTED) == (76, None)


def test_names_of_ies() -> None:
    assert Ie.FTEID.title == "F-TEID" and Ie.SDF_FILTER.title == "SDF Filter"
    assert Ie.PFCPSMREQ_FLAGS.title == "PFCPSMReq-Flags" and Ie.SNSSAI.title == "S-NSSAI"
    assert Ie.CREATE_PDR.title == "Create PDR" and Ie.UE_IP_ADDRESS.title == "UE IP Address"
    assert ie_title(21) == "F-TEID" and ie_title(9999) == "IE 9999"


# --- SDF Filters as filters


def test_filters() -> None:
    text = "permit out udp from 192.0.2.0/24 5060 to assigned"
    assert str(packet_filter(values.SdfFilter(text))) == text
    marked = packet_filter(values.SdfFilter(text, (46 << 2, 0xFC)))
    assert marked is not None and marked.dscp == 46 and marked.protocol == 17
    any_marked = packet_filter(values.SdfFilter(traffic_class=(46 << 2, 0xFC)))
    assert any_marked is not None and any_marked.dscp == 46 and any_marked.local is None
    assert packet_filter(values.SdfFilter()) is None
    assert packet_filter(values.SdfFilter(filter_id=3)) is None


@pytest.mark.parametrize(
    ("sdf", "cause"),
    [
        (values.SdfFilter("permit out 256 from any to assigned"), Cause.RULE_FAILURE),
        (values.SdfFilter("permit out ip from !192.0.2.1 to any"), Cause.RULE_FAILURE),
        (values.SdfFilter("permit"), Cause.RULE_FAILURE),
        (values.SdfFilter("permit out ip from any to any", (0, 0xFF)), Cause.NOT_SUPPORTED),
        (values.SdfFilter(spi=1), Cause.NOT_SUPPORTED),
        (values.SdfFilter(flow_label=1), Cause.NOT_SUPPORTED),
    ],
)
def test_filters_that_cannot_be_matched(sdf: values.SdfFilter, cause: Cause) -> None:
    with pytest.raises(Refusal) as error:
        packet_filter(sdf)
    assert (error.value.cause, error.value.ie) == (cause, Ie.SDF_FILTER)


def test_an_empty_sdf_filter_is_none() -> None:
    """eupf#537; its flags may be 0, or say that there is a text of no length."""
    for octets in (b"\0\0", b"\1\0\0\0", b"\1\0\0\1\0"):
        (sdf,) = pdi(tlv(Ie.SDF_FILTER, octets)).sdf_filters
        assert packet_filter(sdf) is None
    assert pdi(tlv(Ie.SDF_FILTER)).sdf_filters == ()


def pdi(*ies: bytes) -> Any:
    return established(NODE, FSEID, pdr(*ies), FAR).create_pdrs[0].pdi
