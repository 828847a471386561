"""Grouped information elements of what a user plane reports (TS 29.244, 7.4.5, 7.5.5 to 7.5.8)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from ofgtp.core.pfcp.wire.enums import UsageInformation
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.tables import may, must, table
from ofgtp.core.pfcp.wire.values import Addresses, DownlinkDataService, FTeid, VolumeMeasurement


@table(
    ie=(
        Ie.USAGE_REPORT_IN_MODIFICATION_RESPONSE,
        Ie.USAGE_REPORT_IN_DELETION_RESPONSE,
        Ie.USAGE_REPORT_IN_REPORT_REQUEST,
    )
)
class UsageReport(NamedTuple):
    """What a URR counted since its last report (7.5.5.2, 7.5.7.2, 7.5.8.3)."""

    urr_id: Annotated[int, must(Ie.URR_ID)]
    sequence: Annotated[int, must(Ie.URSEQN)]
    """From 0, for each URR."""
    trigger: Annotated[int, must(Ie.USAGE_REPORT_TRIGGER)]
    """Bits of `UsageTrigger`."""
    start_time: Annotated[int | None, may(Ie.START_TIME)] = None
    end_time: Annotated[int | None, may(Ie.END_TIME)] = None
    volume: Annotated[VolumeMeasurement | None, may(Ie.VOLUME_MEASUREMENT)] = None
    duration: Annotated[int | None, may(Ie.DURATION_MEASUREMENT)] = None
    first_packet: Annotated[int | None, may(Ie.TIME_OF_FIRST_PACKET)] = None
    last_packet: Annotated[int | None, may(Ie.TIME_OF_LAST_PACKET)] = None
    information: Annotated[UsageInformation | None, may(Ie.USAGE_INFORMATION)] = None
    query_urr_reference: Annotated[int | None, may(Ie.QUERY_URR_REFERENCE)] = None


@table(ie=Ie.DOWNLINK_DATA_REPORT)
class DownlinkDataReport(NamedTuple):
    """There are packets for an idle UE (7.5.8.2)."""

    pdr_ids: Annotated[tuple[int, ...], must(Ie.PDR_ID, many=True)]
    service: Annotated[DownlinkDataService | None, may(Ie.DOWNLINK_DATA_SERVICE_INFORMATION)] = None


@table(ie=Ie.ERROR_INDICATION_REPORT)
class ErrorIndicationReport(NamedTuple):
    """Peers do not know these tunnels (7.5.8.4)."""

    remote_fteids: Annotated[tuple[FTeid, ...], must(Ie.FTEID, many=True)]


@table(ie=Ie.USER_PLANE_PATH_FAILURE_REPORT)
class UserPlanePathFailureReport(NamedTuple):
    """GTP-U peers that do not answer (7.4.5.1.2)."""

    remote_peers: Annotated[tuple[Addresses, ...], must(Ie.REMOTE_GTPU_PEER, many=True)]
