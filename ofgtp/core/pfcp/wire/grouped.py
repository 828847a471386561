"""Grouped information elements (TS 29.244, 7.4.5, 7.5.2 to 7.5.9).

Fields are in the order of the standard's tables. `CreateX` is a whole rule; `UpdateX` is a change
of one, where None is what stays as it is, `REMOVED` is taken away, and a list replaces the old one.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import (
    Action,
    Interface,
    Measurement,
    Method,
    ModificationFlags,
    RuleKind,
)
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.tables import (
    RefusedIe,
    Removed,
    lenient,
    may,
    must,
    table,
    unsupported,
)
from ofgtp.core.pfcp.wire.values import (
    Bitrates,
    ChooseFTeid,
    DroppedDownlink,
    FTeid,
    GateStatus,
    OuterHeaderCreation,
    OuterHeaderRemoval,
    SdfFilter,
    TrafficClass,
    UeIpAddress,
    Volume,
)

_PREDEFINED = unsupported("a predefined rule")
_ETHERNET = unsupported("an Ethernet session")
_ENDPOINT = unsupported("PDI optimisation (PDIU)")
_FORWARDING = {
    Ie.REDIRECT_INFORMATION: unsupported("redirection (TREU)"),
    Ie.FORWARDING_POLICY: RefusedIe(Cause.INVALID_FORWARDING_POLICY, "a forwarding policy"),
    Ie.HEADER_ENRICHMENT: unsupported("header enrichment (HEEU)"),
}
_URR = {
    Ie.AGGREGATED_URRS: unsupported("a credit pool"),
    Ie.TIME_QUOTA_MECHANISM: unsupported("a time quota mechanism"),
}
_URR_IGNORED = (
    *(Ie.EVENT_THRESHOLD, Ie.EVENT_QUOTA, Ie.SUBSEQUENT_EVENT_THRESHOLD),
    *(Ie.SUBSEQUENT_EVENT_QUOTA, Ie.FAR_ID, Ie.ETHERNET_INACTIVITY_TIMER),
    Ie.ADDITIONAL_MONITORING_TIME,
)
_QER = {
    Ie.PACKET_RATE: unsupported("a packet rate"),
    Ie.DL_FLOW_LEVEL_MARKING: unsupported("flow level marking"),
}
_QER_IGNORED = (Ie.QER_CORRELATION_ID, Ie.PAGING_POLICY_INDICATOR, Ie.AVERAGING_WINDOW)


# --- packet detection


@table(
    ie=Ie.PDI,
    refused={
        Ie.TRAFFIC_ENDPOINT_ID: _ENDPOINT,
        Ie.APPLICATION_ID: unsupported("detection of applications (PFDM)"),
        Ie.ETHERNET_PDU_SESSION_INFORMATION: _ETHERNET,
        Ie.ETHERNET_PACKET_FILTER: _ETHERNET,
    },
    ignored=(Ie.FRAMED_ROUTING,),
)
class Pdi(NamedTuple):
    """Packet Detection Information: what a packet must be like (7.5.2.2-2)."""

    source_interface: Annotated[Interface, must(Ie.SOURCE_INTERFACE)]
    local_fteid: Annotated[FTeid | ChooseFTeid | None, may(Ie.FTEID)] = None
    network_instance: Annotated[str | None, may(Ie.NETWORK_INSTANCE)] = None
    """None is the default one; an empty one is None."""
    ue_ip_address: Annotated[UeIpAddress | None, may(Ie.UE_IP_ADDRESS)] = None
    sdf_filters: Annotated[tuple[SdfFilter, ...], may(Ie.SDF_FILTER, many=True)] = ()
    qfis: Annotated[tuple[int, ...], may(Ie.QFI, many=True)] = ()
    framed_routes: Annotated[tuple[str, ...], may(Ie.FRAMED_ROUTE, many=True)] = ()
    framed_ipv6_routes: Annotated[tuple[str, ...], may(Ie.FRAMED_IPV6_ROUTE, many=True)] = ()
    interface_type: Annotated[int | None, lenient(Ie.INTERFACE_TYPE_3GPP)] = None


@table(ie=Ie.CREATE_PDR, rule=RuleKind.PDR, refused={Ie.ACTIVATE_PREDEFINED_RULES: _PREDEFINED})
class CreatePdr(NamedTuple):
    """A Packet Detection Rule (7.5.2.2). SGW-Cs send no precedence."""

    pdr_id: Annotated[int, must(Ie.PDR_ID)]
    precedence: Annotated[int | None, may(Ie.PRECEDENCE)]
    pdi: Annotated[Pdi, must(Ie.PDI)]
    outer_header_removal: Annotated[OuterHeaderRemoval | None, may(Ie.OUTER_HEADER_REMOVAL)] = None
    far_id: Annotated[int | None, may(Ie.FAR_ID)] = None
    urr_ids: Annotated[tuple[int, ...], may(Ie.URR_ID, many=True)] = ()
    qer_ids: Annotated[tuple[int, ...], may(Ie.QER_ID, many=True)] = ()


@table(
    ie=Ie.UPDATE_PDR,
    rule=RuleKind.PDR,
    refused={
        Ie.ACTIVATE_PREDEFINED_RULES: _PREDEFINED,
        Ie.DEACTIVATE_PREDEFINED_RULES: _PREDEFINED,
    },
)
class UpdatePdr(NamedTuple):
    """A change of a PDR (7.5.4.2). Not every control plane sends the whole PDI."""

    pdr_id: Annotated[int, must(Ie.PDR_ID)]
    outer_header_removal: Annotated[
        OuterHeaderRemoval | Removed | None, may(Ie.OUTER_HEADER_REMOVAL)
    ] = None
    precedence: Annotated[int | Removed | None, may(Ie.PRECEDENCE)] = None
    pdi: Annotated[Pdi | Removed | None, may(Ie.PDI)] = None
    far_id: Annotated[int | Removed | None, may(Ie.FAR_ID)] = None
    urr_ids: Annotated[tuple[int, ...] | Removed | None, may(Ie.URR_ID, many=True)] = None
    qer_ids: Annotated[tuple[int, ...] | Removed | None, may(Ie.QER_ID, many=True)] = None


@table(ie=Ie.REMOVE_PDR)
class RemovePdr(NamedTuple):
    """A PDR is no more (7.5.4.6)."""

    pdr_id: Annotated[int, must(Ie.PDR_ID)]


@table(ie=Ie.CREATED_PDR)
class CreatedPdr(NamedTuple):
    """The F-TEID that was chosen for a PDR (7.5.3.2)."""

    pdr_id: Annotated[int, must(Ie.PDR_ID)]
    local_fteid: Annotated[FTeid | None, may(Ie.FTEID)] = None


# --- forwarding


@table(
    ie=Ie.FORWARDING_PARAMETERS,
    refused={**_FORWARDING, Ie.PROXYING: _ETHERNET},
    ignored=(Ie.TRAFFIC_ENDPOINT_ID,),
)
class ForwardingParameters(NamedTuple):
    """Where to, and with what header (7.5.2.3-2)."""

    destination_interface: Annotated[Interface, must(Ie.DESTINATION_INTERFACE)]
    network_instance: Annotated[str | None, may(Ie.NETWORK_INSTANCE)] = None
    outer_header_creation: Annotated[OuterHeaderCreation | None, may(Ie.OUTER_HEADER_CREATION)] = (
        None
    )
    transport_level_marking: Annotated[TrafficClass | None, may(Ie.TRANSPORT_LEVEL_MARKING)] = None
    interface_type: Annotated[int | None, lenient(Ie.INTERFACE_TYPE_3GPP)] = None


@table(
    ie=Ie.UPDATE_FORWARDING_PARAMETERS,
    refused=_FORWARDING,
    ignored=(Ie.TRAFFIC_ENDPOINT_ID,),
)
class UpdateForwardingParameters(NamedTuple):
    """A change of where to (7.5.4.3-2)."""

    destination_interface: Annotated[Interface | Removed | None, may(Ie.DESTINATION_INTERFACE)] = (
        None
    )
    network_instance: Annotated[str | Removed | None, may(Ie.NETWORK_INSTANCE)] = None
    outer_header_creation: Annotated[
        OuterHeaderCreation | Removed | None, may(Ie.OUTER_HEADER_CREATION)
    ] = None
    transport_level_marking: Annotated[
        TrafficClass | Removed | None, may(Ie.TRANSPORT_LEVEL_MARKING)
    ] = None
    flags: Annotated[ModificationFlags | Removed | None, may(Ie.PFCPSMREQ_FLAGS)] = None
    interface_type: Annotated[int | Removed | None, lenient(Ie.INTERFACE_TYPE_3GPP)] = None


@table(
    ie=Ie.CREATE_FAR,
    rule=RuleKind.FAR,
    refused={Ie.DUPLICATING_PARAMETERS: unsupported("duplication")},
)
class CreateFar(NamedTuple):
    """A Forwarding Action Rule (7.5.2.3)."""

    far_id: Annotated[int, must(Ie.FAR_ID)]
    apply_action: Annotated[Action, must(Ie.APPLY_ACTION)]
    forwarding_parameters: Annotated[ForwardingParameters | None, may(Ie.FORWARDING_PARAMETERS)] = (
        None
    )
    bar_id: Annotated[int | None, may(Ie.BAR_ID)] = None


@table(
    ie=Ie.UPDATE_FAR,
    rule=RuleKind.FAR,
    refused={Ie.UPDATE_DUPLICATING_PARAMETERS: unsupported("duplication")},
)
class UpdateFar(NamedTuple):
    """A change of a FAR (7.5.4.3)."""

    far_id: Annotated[int, must(Ie.FAR_ID)]
    apply_action: Annotated[Action | Removed | None, may(Ie.APPLY_ACTION)] = None
    forwarding_parameters: Annotated[
        UpdateForwardingParameters | Removed | None, may(Ie.UPDATE_FORWARDING_PARAMETERS)
    ] = None
    bar_id: Annotated[int | Removed | None, may(Ie.BAR_ID)] = None


@table(ie=Ie.REMOVE_FAR)
class RemoveFar(NamedTuple):
    """A FAR is no more (7.5.4.7)."""

    far_id: Annotated[int, must(Ie.FAR_ID)]


# --- usage


@table(ie=Ie.CREATE_URR, rule=RuleKind.URR, refused=_URR, ignored=_URR_IGNORED)
class CreateUrr(NamedTuple):
    """A Usage Reporting Rule (7.5.2.4)."""

    urr_id: Annotated[int, must(Ie.URR_ID)]
    measurement_method: Annotated[Method, must(Ie.MEASUREMENT_METHOD)]
    reporting_triggers: Annotated[int, must(Ie.REPORTING_TRIGGERS)]
    """Bits of `Triggers`."""
    measurement_period: Annotated[int | None, may(Ie.MEASUREMENT_PERIOD)] = None
    volume_threshold: Annotated[Volume | None, may(Ie.VOLUME_THRESHOLD)] = None
    volume_quota: Annotated[Volume | None, may(Ie.VOLUME_QUOTA)] = None
    time_threshold: Annotated[int | None, may(Ie.TIME_THRESHOLD)] = None
    time_quota: Annotated[int | None, may(Ie.TIME_QUOTA)] = None
    quota_holding_time: Annotated[int | None, may(Ie.QUOTA_HOLDING_TIME)] = None
    dropped_dl_traffic_threshold: Annotated[
        DroppedDownlink | None, may(Ie.DROPPED_DL_TRAFFIC_THRESHOLD)
    ] = None
    quota_validity_time: Annotated[int | None, may(Ie.QUOTA_VALIDITY_TIME)] = None
    monitoring_time: Annotated[int | None, may(Ie.MONITORING_TIME)] = None
    subsequent_volume_threshold: Annotated[Volume | None, may(Ie.SUBSEQUENT_VOLUME_THRESHOLD)] = (
        None
    )
    subsequent_time_threshold: Annotated[int | None, may(Ie.SUBSEQUENT_TIME_THRESHOLD)] = None
    subsequent_volume_quota: Annotated[Volume | None, may(Ie.SUBSEQUENT_VOLUME_QUOTA)] = None
    subsequent_time_quota: Annotated[int | None, may(Ie.SUBSEQUENT_TIME_QUOTA)] = None
    inactivity_detection_time: Annotated[int | None, may(Ie.INACTIVITY_DETECTION_TIME)] = None
    linked_urr_ids: Annotated[tuple[int, ...], may(Ie.LINKED_URR_ID, many=True)] = ()
    measurement_information: Annotated[Measurement | None, may(Ie.MEASUREMENT_INFORMATION)] = None


@table(ie=Ie.UPDATE_URR, rule=RuleKind.URR, refused=_URR, ignored=_URR_IGNORED)
class UpdateUrr(NamedTuple):
    """A change of a URR (7.5.4.4)."""

    urr_id: Annotated[int, must(Ie.URR_ID)]
    measurement_method: Annotated[Method | Removed | None, may(Ie.MEASUREMENT_METHOD)] = None
    reporting_triggers: Annotated[int | Removed | None, may(Ie.REPORTING_TRIGGERS)] = None
    measurement_period: Annotated[int | Removed | None, may(Ie.MEASUREMENT_PERIOD)] = None
    volume_threshold: Annotated[Volume | Removed | None, may(Ie.VOLUME_THRESHOLD)] = None
    volume_quota: Annotated[Volume | Removed | None, may(Ie.VOLUME_QUOTA)] = None
    time_threshold: Annotated[int | Removed | None, may(Ie.TIME_THRESHOLD)] = None
    time_quota: Annotated[int | Removed | None, may(Ie.TIME_QUOTA)] = None
    quota_holding_time: Annotated[int | Removed | None, may(Ie.QUOTA_HOLDING_TIME)] = None
    dropped_dl_traffic_threshold: Annotated[
        DroppedDownlink | Removed | None, may(Ie.DROPPED_DL_TRAFFIC_THRESHOLD)
    ] = None
    quota_validity_time: Annotated[int | Removed | None, may(Ie.QUOTA_VALIDITY_TIME)] = None
    monitoring_time: Annotated[int | Removed | None, may(Ie.MONITORING_TIME)] = None
    subsequent_volume_threshold: Annotated[
        Volume | Removed | None, may(Ie.SUBSEQUENT_VOLUME_THRESHOLD)
    ] = None
    subsequent_time_threshold: Annotated[
        int | Removed | None, may(Ie.SUBSEQUENT_TIME_THRESHOLD)
    ] = None
    subsequent_volume_quota: Annotated[Volume | Removed | None, may(Ie.SUBSEQUENT_VOLUME_QUOTA)] = (
        None
    )
    subsequent_time_quota: Annotated[int | Removed | None, may(Ie.SUBSEQUENT_TIME_QUOTA)] = None
    inactivity_detection_time: Annotated[
        int | Removed | None, may(Ie.INACTIVITY_DETECTION_TIME)
    ] = None
    linked_urr_ids: Annotated[
        tuple[int, ...] | Removed | None, may(Ie.LINKED_URR_ID, many=True)
    ] = None
    measurement_information: Annotated[
        Measurement | Removed | None, may(Ie.MEASUREMENT_INFORMATION)
    ] = None


@table(ie=Ie.REMOVE_URR)
class RemoveUrr(NamedTuple):
    """A URR is no more (7.5.4.8)."""

    urr_id: Annotated[int, must(Ie.URR_ID)]


@table(ie=Ie.QUERY_URR)
class QueryUrr(NamedTuple):
    """Report this one at once (7.5.4.10)."""

    urr_id: Annotated[int, must(Ie.URR_ID)]


# --- quality of service


@table(ie=Ie.CREATE_QER, rule=RuleKind.QER, refused=_QER, ignored=_QER_IGNORED)
class CreateQer(NamedTuple):
    """A QoS Enforcement Rule (7.5.2.5)."""

    qer_id: Annotated[int, must(Ie.QER_ID)]
    gate_status: Annotated[GateStatus, must(Ie.GATE_STATUS)]
    mbr: Annotated[Bitrates | None, may(Ie.MBR)] = None
    gbr: Annotated[Bitrates | None, may(Ie.GBR)] = None
    qfi: Annotated[int | None, may(Ie.QFI)] = None
    rqi: Annotated[bool | None, may(Ie.RQI)] = None


@table(ie=Ie.UPDATE_QER, rule=RuleKind.QER, refused=_QER, ignored=_QER_IGNORED)
class UpdateQer(NamedTuple):
    """A change of a QER (7.5.4.5)."""

    qer_id: Annotated[int, must(Ie.QER_ID)]
    gate_status: Annotated[GateStatus | Removed | None, may(Ie.GATE_STATUS)] = None
    mbr: Annotated[Bitrates | Removed | None, may(Ie.MBR)] = None
    gbr: Annotated[Bitrates | Removed | None, may(Ie.GBR)] = None
    qfi: Annotated[int | Removed | None, may(Ie.QFI)] = None
    rqi: Annotated[bool | Removed | None, may(Ie.RQI)] = None


@table(ie=Ie.REMOVE_QER)
class RemoveQer(NamedTuple):
    """A QER is no more (7.5.4.9)."""

    qer_id: Annotated[int, must(Ie.QER_ID)]


# --- buffering


@table(ie=Ie.CREATE_BAR, rule=RuleKind.BAR)
class CreateBar(NamedTuple):
    """A Buffering Action Rule (7.5.2.6)."""

    bar_id: Annotated[int, must(Ie.BAR_ID)]
    downlink_data_notification_delay: Annotated[
        int | None, may(Ie.DOWNLINK_DATA_NOTIFICATION_DELAY)
    ] = None
    """In units of 50 ms."""
    suggested_buffering_packets_count: Annotated[
        int | None, may(Ie.SUGGESTED_BUFFERING_PACKETS_COUNT)
    ] = None


@table(ie=Ie.UPDATE_BAR, rule=RuleKind.BAR)
class UpdateBar(NamedTuple):
    """A change of a BAR (7.5.4.11)."""

    bar_id: Annotated[int, must(Ie.BAR_ID)]
    downlink_data_notification_delay: Annotated[
        int | Removed | None, may(Ie.DOWNLINK_DATA_NOTIFICATION_DELAY)
    ] = None
    suggested_buffering_packets_count: Annotated[
        int | Removed | None, may(Ie.SUGGESTED_BUFFERING_PACKETS_COUNT)
    ] = None


@table(ie=Ie.UPDATE_BAR_IN_REPORT_RESPONSE, rule=RuleKind.BAR)
class UpdateBarInReportResponse(NamedTuple):
    """A change of a BAR as the answer to a report (7.5.9.2)."""

    bar_id: Annotated[int, must(Ie.BAR_ID)]
    downlink_data_notification_delay: Annotated[
        int | Removed | None, may(Ie.DOWNLINK_DATA_NOTIFICATION_DELAY)
    ] = None
    dl_buffering_duration: Annotated[int | Removed | None, may(Ie.DL_BUFFERING_DURATION)] = None
    """As it is sent: unit in bits 8 to 6, number in bits 5 to 1 (8.2.29)."""
    dl_buffering_suggested_packet_count: Annotated[
        int | Removed | None, may(Ie.DL_BUFFERING_SUGGESTED_PACKET_COUNT)
    ] = None
    suggested_buffering_packets_count: Annotated[
        int | Removed | None, may(Ie.SUGGESTED_BUFFERING_PACKETS_COUNT)
    ] = None


@table(ie=Ie.REMOVE_BAR)
class RemoveBar(NamedTuple):
    """A BAR is no more (7.5.4.12)."""

    bar_id: Annotated[int, must(Ie.BAR_ID)]
