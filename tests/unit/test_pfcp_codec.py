"""PFCP messages: there and back, as real control planes send them, and as others read them."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofgtp.core.pfcp.wire import enums, grouped, values
from ofgtp.core.pfcp.wire.header import SEQUENCE_MAX, MessageType
from ofgtp.core.pfcp.wire.ies import LAST_OF_RELEASE_15, Ie
from ofgtp.core.pfcp.wire.messages import CLASSES, Message, kind_of, read, write
from ofgtp.core.pfcp.wire.tables import REMOVED, TABLES
from tests.support.pfcp import GROUPS, Vector, groups, messages, tlv, tree, u16, u32, vectors

SMF, GNB = IPv4Address("192.0.2.20"), IPv4Address("192.0.2.10")
VECTORS = vectors()


def vector(name: str) -> bytes:
    return next(each.data for each in VECTORS if each.name == name)


# --- there and back


@settings(max_examples=300)
@given(
    messages(),
    st.integers(0, SEQUENCE_MAX),
    st.integers(0, 2**64 - 1),
    st.one_of(st.none(), st.integers(0, 15)),
)
def test_what_is_written_is_read_back(
    message: Message, sequence: int, seid: int, priority: int | None
) -> None:
    of_session = kind_of(message).of_session
    data = write(message, sequence, seid if of_session else None, priority)
    header, back = read(data)
    assert back == message and type(back) is type(message)
    assert (header.type, header.sequence, header.priority) == (kind_of(message), sequence, priority)
    assert header.seid == (seid if of_session else None)


@pytest.mark.parametrize("kind", CLASSES.values(), ids=lambda kind: kind.__name__)
def test_each_message_is_read_back(kind: type) -> None:
    """All of them, not only those that chance takes."""

    @settings(max_examples=15)
    @given(groups(kind))
    def check(message: Message) -> None:
        assert read(write(message, 1, 1))[1] == message

    check()


@settings(max_examples=100)
@given(groups(CLASSES[MessageType.SESSION_ESTABLISHMENT_REQUEST]), st.randoms())
def test_any_order_and_what_is_not_known(message: Message, random: Any) -> None:
    """IEs of one type keep their order; all else may be mixed, and unknown IEs stand between."""
    data = write(message, 1, 0)

    def shuffled(body: bytes) -> bytes:
        parts = [
            tlv(ie, shuffled(raw(content)) if ie in GROUPS else content)
            for ie, content in tree(body)
        ]
        order = sorted(range(len(parts)), key=lambda at: (random.random(), at))
        kinds = [parts[at][:2] for at in order]
        queue = {kind: [part for part in parts if part[:2] == kind] for kind in kinds}
        mixed = [queue[kind].pop(0) for kind in kinds]
        for odd in (tlv(0x8001, u16(18681), b"\1\2"), tlv(299, b"later"), tlv(4711), tlv(0, 1)):
            mixed.insert(random.randrange(len(mixed) + 1), odd)
        return b"".join(mixed)

    body = shuffled(data[16:])
    again = data[:2] + u16(12 + len(body)) + data[4:16] + body
    assert read(again)[1] == message


def raw(content: list[tuple[int, Any]] | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    return b"".join(tlv(ie, raw(inner)) for ie, inner in content)


# --- as control planes send it


@pytest.mark.parametrize("seen", VECTORS, ids=lambda seen: seen.name)
def test_seen_messages_are_rebuilt_octet_by_octet(seen: Vector) -> None:
    header, message = read(seen.data)
    assert write(message, header.sequence, header.seid, header.priority) == seen.data


def test_an_establishment_of_open5gs() -> None:
    header, message = read(vector("5g-session-1"))
    assert header.type is MessageType.SESSION_ESTABLISHMENT_REQUEST and header.seid == 0
    assert message.node_id == SMF
    assert message.cp_fseid == values.FSeid(0xCFB, SMF)
    core, access, control, solicited = message.create_pdrs
    assert core == grouped.CreatePdr(
        1,
        65535,
        grouped.Pdi(
            enums.Interface.CORE,
            network_instance="internet",
            ue_ip_address=values.UeIpAddress(IPv4Address("10.45.0.2"), destination=True),
            interface_type=17,
        ),
        far_id=1,
        urr_ids=(1,),
        qer_ids=(1,),
    )
    assert access.pdi.local_fteid == values.ChooseFTeid(True, True, 5)
    assert access.pdi.qfis == (1,)
    assert access.outer_header_removal == values.OuterHeaderRemoval(enums.Removal.GTPU_UDP_IP)
    assert control.pdi.local_fteid == values.ChooseFTeid(True, True)
    assert control.pdi.source_interface is enums.Interface.CP_FUNCTION
    assert control.precedence == 255 and control.pdi.network_instance is None
    assert solicited.pdi.sdf_filters == (
        values.SdfFilter("permit out 58 from ff02::2/128 to assigned"),
    )
    down, up, to_smf = message.create_fars
    assert down == grouped.CreateFar(1, enums.Action.BUFF | enums.Action.NOCP, bar_id=1)
    assert up.forwarding_parameters == grouped.ForwardingParameters(
        enums.Interface.CORE, "internet", interface_type=17
    )
    assert to_smf.forwarding_parameters.outer_header_creation == values.OuterHeaderCreation(
        enums.Creation.GTPU_UDP_IPV4, 1, SMF
    )
    (urr,) = message.create_urrs
    assert urr == grouped.CreateUrr(
        1,
        enums.Method.VOLUME,
        enums.Triggers.VOLTH,
        volume_threshold=values.Volume(total=100 << 20),
    )
    (qer,) = message.create_qers
    assert qer == grouped.CreateQer(
        1,
        values.GateStatus(enums.Gate.OPEN, enums.Gate.OPEN),
        mbr=values.Bitrates(1_000_000, 1_000_000),
        qfi=1,
    )
    assert message.create_bars == (grouped.CreateBar(1),)
    assert message.pdn_type is enums.PdnType.IPV4
    assert message.user_id.imsi == "999700000000001" and message.user_id.nai is None
    assert message.apn_dnn == "internet" and message.s_nssai == values.SNssai(1, 0xFFFFFF)
    assert message.flags is None


def test_an_activation_of_open5gs() -> None:
    header, message = read(vector("5g-session-3"))
    assert header.seid == 0xE36
    assert message.update_fars == (
        grouped.UpdateFar(
            1,
            enums.Action.FORW,
            grouped.UpdateForwardingParameters(
                enums.Interface.ACCESS,
                "internet",
                values.OuterHeaderCreation(enums.Creation.GTPU_UDP_IPV4, 1, GNB),
                interface_type=11,
            ),
        ),
    )
    assert message.create_pdrs == () and message.flags is None


def test_an_establishment_of_free5gcs_shape() -> None:
    """Its own TEIDs, plain network instances, one octet of Apply Action, two QERs for a PDR."""
    pdr = tlv(
        Ie.CREATE_PDR,
        tlv(Ie.PDR_ID, u16(18944)),
        tlv(Ie.PRECEDENCE, u32(255)),
        tlv(
            Ie.PDI,
            tlv(Ie.SOURCE_INTERFACE, 0),
            tlv(Ie.FTEID, 1, u32(1), GNB.packed),
            tlv(Ie.NETWORK_INSTANCE, b"internet"),
            tlv(Ie.UE_IP_ADDRESS, 2, bytes((10, 60, 0, 1))),
        ),
        tlv(Ie.OUTER_HEADER_REMOVAL, 0),
        tlv(Ie.FAR_ID, u32(537198592)),
        tlv(Ie.QER_ID, u32(1)),
        tlv(Ie.QER_ID, u32(2)),
    )
    far = tlv(
        Ie.CREATE_FAR,
        tlv(Ie.FAR_ID, u32(537198592)),
        tlv(Ie.APPLY_ACTION, 1),
    )
    message = established(far, pdr, node=tlv(Ie.NODE_ID, 2, b"\3smf\7free5gc\3org"))
    assert message.node_id == "smf.free5gc.org"
    (got,) = message.create_pdrs
    assert got.pdi.local_fteid == values.FTeid(1, GNB)
    assert got.pdi.network_instance == "internet"
    assert got.pdi.ue_ip_address.destination is False
    assert got.qer_ids == (1, 2) and got.far_id == 537198592
    assert message.create_fars == (grouped.CreateFar(537198592, enums.Action.DROP),)


def test_an_establishment_of_sd_cores_shape() -> None:
    """CHOOSE of no family, an empty network instance, two octets of Outer Header Removal."""
    pdr = tlv(
        Ie.CREATE_PDR,
        tlv(Ie.PDR_ID, u16(1)),
        tlv(Ie.PRECEDENCE, u32(0)),
        tlv(
            Ie.PDI,
            tlv(Ie.SOURCE_INTERFACE, 0),
            tlv(Ie.FTEID, 4),
            tlv(Ie.NETWORK_INSTANCE),
        ),
        tlv(Ie.OUTER_HEADER_REMOVAL, 0, 0),
    )
    far = tlv(
        Ie.CREATE_FAR,
        tlv(Ie.FAR_ID, u32(1)),
        tlv(Ie.APPLY_ACTION, 1),
        tlv(
            Ie.FORWARDING_PARAMETERS,
            tlv(Ie.DESTINATION_INTERFACE, 2),
            tlv(Ie.OUTER_HEADER_CREATION, 1, 0, u32(0), bytes(4)),
        ),
    )
    message = established(pdr, far, node=tlv(Ie.NODE_ID, 2, b"smf"))
    assert message.node_id == "smf"
    (got,) = message.create_pdrs
    assert got.precedence == 0 and got.far_id is None
    assert got.pdi == grouped.Pdi(enums.Interface.ACCESS, values.ChooseFTeid(False, False))
    assert got.outer_header_removal == values.OuterHeaderRemoval(enums.Removal.GTPU_UDP_IPV4, 0)
    to = message.create_fars[0].forwarding_parameters
    assert to.destination_interface is enums.Interface.SGI_LAN
    assert to.outer_header_creation.ipv4 == IPv4Address(0)


def established(*ies: bytes, node: bytes = tlv(Ie.NODE_ID, 0, SMF.packed)) -> Any:
    body = node + tlv(Ie.FSEID, 2, bytes(7), 9, SMF.packed) + b"".join(ies)
    return read(b"\x21\x32" + u16(12 + len(body)) + bytes(8) + b"\0\0\1\0" + body)[1]


def test_what_an_update_takes_away() -> None:
    """An empty IE is to be removed (5.6.3); a list beside it is the new one."""
    pdr = tlv(
        Ie.UPDATE_PDR,
        tlv(Ie.PDR_ID, u16(1)),
        tlv(Ie.OUTER_HEADER_REMOVAL),
        tlv(Ie.URR_ID),
        tlv(Ie.QER_ID),
        tlv(Ie.QER_ID, u32(7)),
    )
    far = tlv(
        Ie.UPDATE_FAR,
        tlv(Ie.FAR_ID, u32(1)),
        tlv(
            Ie.UPDATE_FORWARDING_PARAMETERS,
            tlv(Ie.NETWORK_INSTANCE),
            tlv(Ie.OUTER_HEADER_CREATION),
        ),
        tlv(Ie.BAR_ID),
    )
    body = pdr + far + tlv(Ie.USER_PLANE_INACTIVITY_TIMER)
    message = read(b"\x21\x34" + u16(12 + len(body)) + bytes(8) + b"\0\0\1\0" + body)[1]
    assert message.update_pdrs == (
        grouped.UpdatePdr(1, outer_header_removal=REMOVED, urr_ids=REMOVED, qer_ids=(7,)),
    )
    assert message.update_fars == (
        grouped.UpdateFar(
            1,
            forwarding_parameters=grouped.UpdateForwardingParameters(
                network_instance=REMOVED, outer_header_creation=REMOVED
            ),
            bar_id=REMOVED,
        ),
    )
    assert message.inactivity_timer is REMOVED


def test_sessions_to_keep() -> None:
    """An empty PFCP Session Retention Information is all of them, none is none."""

    def setup(*more: bytes) -> Any:
        body = tlv(Ie.NODE_ID, 0, SMF.packed) + tlv(Ie.RECOVERY_TIME_STAMP, u32(1))
        body += b"".join(more)
        return read(b"\x20\x05" + u16(4 + len(body)) + b"\0\0\1\0" + body)[1]

    assert setup().retention is None
    assert setup(tlv(Ie.SESSION_RETENTION_INFORMATION)).retention.addresses == ()
    one = tlv(Ie.CP_PFCP_ENTITY_IP_ADDRESS, 2, SMF.packed)
    kept = setup(tlv(Ie.SESSION_RETENTION_INFORMATION, one)).retention
    assert kept.addresses == (values.Addresses(SMF),)


# --- what is sent

SENT = [
    *(MessageType.HEARTBEAT_REQUEST, MessageType.NODE_REPORT_REQUEST),
    MessageType.SESSION_REPORT_REQUEST,
    *(kind for kind in MessageType if kind.name.endswith("RESPONSE")),
]


@pytest.mark.parametrize("kind", SENT, ids=lambda kind: kind.name)
def test_only_ies_of_release_15_are_sent(kind: MessageType) -> None:
    def check(group: type) -> None:
        for field in TABLES[group].fields.values():
            assert field.ie <= LAST_OF_RELEASE_15
            assert field.ie is not Ie.USER_PLANE_IP_RESOURCE_INFORMATION
        for inner in (each for each in TABLES if each is not group and nested(group, each)):
            check(inner)

    check(CLASSES[kind])


def test_groups_nest_four_deep_at_most() -> None:
    def depth(group: type) -> int:
        return 1 + max((depth(each) for each in TABLES if nested(group, each)), default=0)

    assert max(depth(kind) for kind in CLASSES.values()) == 3


def nested(group: type, inner: type) -> bool:
    from ofgtp.core.pfcp.wire.tables import CODECS

    kinds = [CODECS[field.ie].decode for field in TABLES[group].fields.values()]
    return any(getattr(decode, "__self__", None) is TABLES[inner] for decode in kinds)


@pytest.mark.parametrize(
    ("features", "octets"),
    [
        (enums.UpFeatures.FTUP, "1000"),
        (enums.UpFeatures.FTUP | enums.UpFeatures.EMPU, "1001"),
        (enums.UpFeatures.FTUP | enums.UpFeatures.VTIME, "10000004"),
    ],
)
def test_features_are_two_octets_if_that_does(features: enums.UpFeatures, octets: str) -> None:
    setup = CLASSES[MessageType.ASSOCIATION_SETUP_RESPONSE](SMF, 1, 7, features)
    assert write(setup, 1).hex().endswith(f"002b{len(octets) // 2:04x}{octets}")
