"""The messages (TS 29.244, 7.4 and 7.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import (
    CpFeatures,
    EstablishmentFlags,
    FailedRule,
    ModificationFlags,
    NodeReportType,
    PdnType,
    ReportResponseFlags,
    ReportType,
)
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.grouped import (
    CreateBar,
    CreatedPdr,
    CreateFar,
    CreatePdr,
    CreateQer,
    CreateUrr,
    QueryUrr,
    RemoveBar,
    RemoveFar,
    RemovePdr,
    RemoveQer,
    RemoveUrr,
    UpdateBar,
    UpdateBarInReportResponse,
    UpdateFar,
    UpdatePdr,
    UpdateQer,
    UpdateUrr,
)
from ofgtp.core.pfcp.wire.header import Header, MessageType, parse_header, write_header
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.reports import (
    DownlinkDataReport,
    ErrorIndicationReport,
    UsageReport,
    UserPlanePathFailureReport,
)
from ofgtp.core.pfcp.wire.tables import (
    TABLES,
    RefusedIe,
    Removed,
    decode,
    encode,
    lenient,
    may,
    must,
    table,
    unsupported,
)
from ofgtp.core.pfcp.wire.values import Addresses, FSeid, NodeId, SNssai, UserId

Message = tuple[Any, ...]
"""Any of the classes below."""

M = TypeVar("M", bound=Message)

CLASSES: dict[MessageType, type[Message]] = {}
"""Of each type of message."""
_KINDS: dict[type, MessageType] = {}

_ENDPOINT = unsupported("PDI optimisation (PDIU)")
_MULTI_ACCESS = unsupported("a multi-access session")


def message(
    kind: MessageType,
    *,
    refused: dict[Ie, RefusedIe] | None = None,
    ignored: tuple[Ie, ...] = (),
) -> Callable[[type[M]], type[M]]:
    """Declare a class to be a message."""

    def declare(cls: type[M]) -> type[M]:
        CLASSES[kind], _KINDS[cls] = cls, kind
        return table(refused=refused, ignored=ignored)(cls)

    return declare


# --- of nodes


@message(MessageType.HEARTBEAT_REQUEST)
class HeartbeatRequest(NamedTuple):
    """Is anybody there, and since when? (7.4.2.1)"""

    recovery_time_stamp: Annotated[int, must(Ie.RECOVERY_TIME_STAMP)]


@message(MessageType.HEARTBEAT_RESPONSE)
class HeartbeatResponse(NamedTuple):
    """I am, and since then (7.4.2.2)."""

    recovery_time_stamp: Annotated[int, must(Ie.RECOVERY_TIME_STAMP)]


@message(MessageType.PFD_MANAGEMENT_REQUEST, ignored=(Ie.APPLICATION_ID_PFDS,))
class PfdManagementRequest(NamedTuple):
    """How to detect applications; nothing of it is read (7.4.3.1)."""


@message(MessageType.PFD_MANAGEMENT_RESPONSE)
class PfdManagementResponse(NamedTuple):
    """7.4.3.2."""

    cause: Annotated[int, must(Ie.CAUSE)]
    offending_ie: Annotated[int | None, may(Ie.OFFENDING_IE)] = None


@table(ie=Ie.SESSION_RETENTION_INFORMATION)
class SessionRetentionInformation(NamedTuple):
    """Sessions to keep: those of these addresses, or all (7.4.4.1-2 of Release 16)."""

    addresses: Annotated[tuple[Addresses, ...], may(Ie.CP_PFCP_ENTITY_IP_ADDRESS, many=True)] = ()


@message(MessageType.ASSOCIATION_SETUP_REQUEST, ignored=(Ie.USER_PLANE_IP_RESOURCE_INFORMATION,))
class AssociationSetupRequest(NamedTuple):
    """I want to use you (7.4.4.1)."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    recovery_time_stamp: Annotated[int, must(Ie.RECOVERY_TIME_STAMP)]
    up_features: Annotated[int | None, lenient(Ie.UP_FUNCTION_FEATURES)] = None
    cp_features: Annotated[CpFeatures | None, lenient(Ie.CP_FUNCTION_FEATURES)] = None
    alternative_addresses: Annotated[
        tuple[Addresses, ...], lenient(Ie.ALTERNATIVE_SMF_IP_ADDRESS, many=True)
    ] = ()
    retention: Annotated[
        SessionRetentionInformation | None, lenient(Ie.SESSION_RETENTION_INFORMATION, empty=True)
    ] = None


@message(MessageType.ASSOCIATION_SETUP_RESPONSE, ignored=(Ie.USER_PLANE_IP_RESOURCE_INFORMATION,))
class AssociationSetupResponse(NamedTuple):
    """7.4.4.2. A rejection has no more than the Node ID and the cause."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    cause: Annotated[int, must(Ie.CAUSE)]
    recovery_time_stamp: Annotated[int | None, may(Ie.RECOVERY_TIME_STAMP)] = None
    up_features: Annotated[int | None, lenient(Ie.UP_FUNCTION_FEATURES)] = None
    cp_features: Annotated[CpFeatures | None, lenient(Ie.CP_FUNCTION_FEATURES)] = None


@message(MessageType.ASSOCIATION_UPDATE_REQUEST, ignored=(Ie.USER_PLANE_IP_RESOURCE_INFORMATION,))
class AssociationUpdateRequest(NamedTuple):
    """7.4.4.3."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    up_features: Annotated[int | None, lenient(Ie.UP_FUNCTION_FEATURES)] = None
    cp_features: Annotated[CpFeatures | None, lenient(Ie.CP_FUNCTION_FEATURES)] = None
    alternative_addresses: Annotated[
        tuple[Addresses, ...], lenient(Ie.ALTERNATIVE_SMF_IP_ADDRESS, many=True)
    ] = ()


@message(MessageType.ASSOCIATION_UPDATE_RESPONSE)
class AssociationUpdateResponse(NamedTuple):
    """7.4.4.4."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    cause: Annotated[int, must(Ie.CAUSE)]
    up_features: Annotated[int | None, lenient(Ie.UP_FUNCTION_FEATURES)] = None
    cp_features: Annotated[CpFeatures | None, lenient(Ie.CP_FUNCTION_FEATURES)] = None


@message(MessageType.ASSOCIATION_RELEASE_REQUEST)
class AssociationReleaseRequest(NamedTuple):
    """7.4.4.5."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]


@message(MessageType.ASSOCIATION_RELEASE_RESPONSE)
class AssociationReleaseResponse(NamedTuple):
    """7.4.4.6."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    cause: Annotated[int, must(Ie.CAUSE)]


@message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE)
class VersionNotSupportedResponse(NamedTuple):
    """The header says all of it (7.4.4.7)."""


@message(MessageType.NODE_REPORT_REQUEST)
class NodeReportRequest(NamedTuple):
    """7.4.5.1."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    report_type: Annotated[NodeReportType, must(Ie.NODE_REPORT_TYPE)]
    path_failure: Annotated[
        UserPlanePathFailureReport | None, may(Ie.USER_PLANE_PATH_FAILURE_REPORT)
    ] = None


@message(MessageType.NODE_REPORT_RESPONSE)
class NodeReportResponse(NamedTuple):
    """7.4.5.2."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    cause: Annotated[int, must(Ie.CAUSE)]
    offending_ie: Annotated[int | None, may(Ie.OFFENDING_IE)] = None


@message(MessageType.SESSION_SET_DELETION_REQUEST, ignored=(Ie.FQCSID,))
class SessionSetDeletionRequest(NamedTuple):
    """Delete the sessions of these FQ-CSIDs, of which none is kept (7.4.6.1)."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]


@message(MessageType.SESSION_SET_DELETION_RESPONSE)
class SessionSetDeletionResponse(NamedTuple):
    """7.4.6.2."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    cause: Annotated[int, must(Ie.CAUSE)]
    offending_ie: Annotated[int | None, may(Ie.OFFENDING_IE)] = None


# --- of sessions


@message(
    MessageType.SESSION_ESTABLISHMENT_REQUEST,
    refused={Ie.CREATE_TRAFFIC_ENDPOINT: _ENDPOINT, Ie.CREATE_MAR: _MULTI_ACCESS},
    ignored=(Ie.FQCSID, Ie.TRACE_INFORMATION),
)
class SessionEstablishmentRequest(NamedTuple):
    """7.5.2."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    cp_fseid: Annotated[FSeid, must(Ie.FSEID)]
    create_pdrs: Annotated[tuple[CreatePdr, ...], must(Ie.CREATE_PDR, many=True)]
    create_fars: Annotated[tuple[CreateFar, ...], must(Ie.CREATE_FAR, many=True)]
    create_urrs: Annotated[tuple[CreateUrr, ...], may(Ie.CREATE_URR, many=True)] = ()
    create_qers: Annotated[tuple[CreateQer, ...], may(Ie.CREATE_QER, many=True)] = ()
    create_bars: Annotated[tuple[CreateBar, ...], may(Ie.CREATE_BAR, many=True)] = ()
    pdn_type: Annotated[PdnType | None, lenient(Ie.PDN_TYPE)] = None
    inactivity_timer: Annotated[int | None, may(Ie.USER_PLANE_INACTIVITY_TIMER)] = None
    user_id: Annotated[UserId | None, lenient(Ie.USER_ID)] = None
    apn_dnn: Annotated[str | None, lenient(Ie.APN_DNN)] = None
    flags: Annotated[EstablishmentFlags | None, may(Ie.PFCPSEREQ_FLAGS)] = None
    s_nssai: Annotated[SNssai | None, lenient(Ie.SNSSAI)] = None


@message(MessageType.SESSION_ESTABLISHMENT_RESPONSE)
class SessionEstablishmentResponse(NamedTuple):
    """7.5.3."""

    node_id: Annotated[NodeId, must(Ie.NODE_ID)]
    cause: Annotated[int, must(Ie.CAUSE)]
    offending_ie: Annotated[int | None, may(Ie.OFFENDING_IE)] = None
    up_fseid: Annotated[FSeid | None, may(Ie.FSEID)] = None
    created_pdrs: Annotated[tuple[CreatedPdr, ...], may(Ie.CREATED_PDR, many=True)] = ()
    failed_rule: Annotated[FailedRule | None, may(Ie.FAILED_RULE_ID)] = None


@message(
    MessageType.SESSION_MODIFICATION_REQUEST,
    refused={
        Ie.CREATE_TRAFFIC_ENDPOINT: _ENDPOINT,
        Ie.UPDATE_TRAFFIC_ENDPOINT: _ENDPOINT,
        Ie.REMOVE_TRAFFIC_ENDPOINT: _ENDPOINT,
        Ie.CREATE_MAR: _MULTI_ACCESS,
    },
    ignored=(Ie.FQCSID, Ie.TRACE_INFORMATION, Ie.NODE_ID),
)
class SessionModificationRequest(NamedTuple):
    """7.5.4. What is removed goes first, then comes what is created, then what is changed."""

    cp_fseid: Annotated[FSeid | None, may(Ie.FSEID)] = None
    remove_pdrs: Annotated[tuple[RemovePdr, ...], may(Ie.REMOVE_PDR, many=True)] = ()
    remove_fars: Annotated[tuple[RemoveFar, ...], may(Ie.REMOVE_FAR, many=True)] = ()
    remove_urrs: Annotated[tuple[RemoveUrr, ...], may(Ie.REMOVE_URR, many=True)] = ()
    remove_qers: Annotated[tuple[RemoveQer, ...], may(Ie.REMOVE_QER, many=True)] = ()
    remove_bars: Annotated[tuple[RemoveBar, ...], may(Ie.REMOVE_BAR, many=True)] = ()
    create_pdrs: Annotated[tuple[CreatePdr, ...], may(Ie.CREATE_PDR, many=True)] = ()
    create_fars: Annotated[tuple[CreateFar, ...], may(Ie.CREATE_FAR, many=True)] = ()
    create_urrs: Annotated[tuple[CreateUrr, ...], may(Ie.CREATE_URR, many=True)] = ()
    create_qers: Annotated[tuple[CreateQer, ...], may(Ie.CREATE_QER, many=True)] = ()
    create_bars: Annotated[tuple[CreateBar, ...], may(Ie.CREATE_BAR, many=True)] = ()
    update_pdrs: Annotated[tuple[UpdatePdr, ...], may(Ie.UPDATE_PDR, many=True)] = ()
    update_fars: Annotated[tuple[UpdateFar, ...], may(Ie.UPDATE_FAR, many=True)] = ()
    update_urrs: Annotated[tuple[UpdateUrr, ...], may(Ie.UPDATE_URR, many=True)] = ()
    update_qers: Annotated[tuple[UpdateQer, ...], may(Ie.UPDATE_QER, many=True)] = ()
    update_bars: Annotated[tuple[UpdateBar, ...], may(Ie.UPDATE_BAR, many=True)] = ()
    flags: Annotated[ModificationFlags | None, may(Ie.PFCPSMREQ_FLAGS)] = None
    query_urrs: Annotated[tuple[QueryUrr, ...], may(Ie.QUERY_URR, many=True)] = ()
    inactivity_timer: Annotated[int | Removed | None, may(Ie.USER_PLANE_INACTIVITY_TIMER)] = None
    query_urr_reference: Annotated[int | None, may(Ie.QUERY_URR_REFERENCE)] = None


@message(MessageType.SESSION_MODIFICATION_RESPONSE)
class SessionModificationResponse(NamedTuple):
    """7.5.5. It has no Node ID."""

    cause: Annotated[int, must(Ie.CAUSE)]
    offending_ie: Annotated[int | None, may(Ie.OFFENDING_IE)] = None
    created_pdrs: Annotated[tuple[CreatedPdr, ...], may(Ie.CREATED_PDR, many=True)] = ()
    usage_reports: Annotated[
        tuple[UsageReport, ...], may(Ie.USAGE_REPORT_IN_MODIFICATION_RESPONSE, many=True)
    ] = ()
    failed_rule: Annotated[FailedRule | None, may(Ie.FAILED_RULE_ID)] = None


@message(MessageType.SESSION_DELETION_REQUEST, ignored=(Ie.FSEID, Ie.NODE_ID))
class SessionDeletionRequest(NamedTuple):
    """7.5.6."""


@message(MessageType.SESSION_DELETION_RESPONSE)
class SessionDeletionResponse(NamedTuple):
    """7.5.7."""

    cause: Annotated[int, must(Ie.CAUSE)]
    offending_ie: Annotated[int | None, may(Ie.OFFENDING_IE)] = None
    usage_reports: Annotated[
        tuple[UsageReport, ...], may(Ie.USAGE_REPORT_IN_DELETION_RESPONSE, many=True)
    ] = ()


@message(MessageType.SESSION_REPORT_REQUEST)
class SessionReportRequest(NamedTuple):
    """7.5.8."""

    report_type: Annotated[ReportType, must(Ie.REPORT_TYPE)]
    downlink_data: Annotated[DownlinkDataReport | None, may(Ie.DOWNLINK_DATA_REPORT)] = None
    usage_reports: Annotated[
        tuple[UsageReport, ...], may(Ie.USAGE_REPORT_IN_REPORT_REQUEST, many=True)
    ] = ()
    error_indication: Annotated[ErrorIndicationReport | None, may(Ie.ERROR_INDICATION_REPORT)] = (
        None
    )


@message(MessageType.SESSION_REPORT_RESPONSE)
class SessionReportResponse(NamedTuple):
    """7.5.9."""

    cause: Annotated[int, must(Ie.CAUSE)]
    offending_ie: Annotated[int | None, may(Ie.OFFENDING_IE)] = None
    update_bar: Annotated[
        UpdateBarInReportResponse | None, may(Ie.UPDATE_BAR_IN_REPORT_RESPONSE)
    ] = None
    flags: Annotated[ReportResponseFlags | None, may(Ie.PFCPSRRSP_FLAGS)] = None


# --- to and from octets


def read(data: bytes) -> tuple[Header, Message]:
    """Read a datagram that is one message.

    Raises:
        HeaderError: it is none that could be answered.
        Refusal: it is to be refused, with cause and IE.
    """
    header = parse_header(data)
    return header, read_body(header, data)


def read_body(header: Header, data: bytes) -> Message:
    """Read the message behind a header; there is none but that in `data`.

    Raises:
        Refusal: it is to be refused, with cause and IE.
    """
    if header.size != len(data):
        raise Refusal(
            Cause.INVALID_LENGTH, f"{len(data)} octets came, and its length is {header.size}"
        )
    return decode(CLASSES[header.type], data[header.ies :])


def write(
    message: Message, sequence: int, seid: int | None = None, priority: int | None = None
) -> bytes:
    """The octets of a message; `seid` is the receiver's, for one of a session.

    Raises:
        ValueError: a value does not fit its IE (so do OverflowError and struct.error).
    """
    body = encode(message)
    return write_header(_KINDS[type(message)], sequence, seid, len(body), priority) + body


def kind_of(message: Message) -> MessageType:
    """The type of a message."""
    return _KINDS[type(message)]


def rejection(
    request: MessageType,
    node_id: NodeId,
    cause: Cause,
    ie: int | None = None,
    rule: FailedRule | None = None,
) -> Message:
    """The response that refuses a request: the cause, and of the others what it has room for.

    Raises:
        KeyError: it is no request that has such a response.
    """
    cls = CLASSES[MessageType(request + 1)]
    fields = TABLES[cls].fields
    given = {"node_id": node_id, "cause": cause, "offending_ie": ie, "failed_rule": rule}
    return cls(**{name: given.get(name) for name in fields if name in given})
