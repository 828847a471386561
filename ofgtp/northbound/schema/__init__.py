"""The shapes of REST's JSON: what is accepted, and what is answered."""

from ofgtp.northbound.schema.batch import BATCH_LINE, BatchOutput, DeleteLine, PutLine
from ofgtp.northbound.schema.errors import MAX_ERRORS, Problem, batch_line_errors, field_errors
from ofgtp.northbound.schema.gateway import GatewayList, GatewayOutput, HealthOutput
from ofgtp.northbound.schema.peer import PeerList, PeerOutput
from ofgtp.northbound.schema.pfcp import PfcpList, PfcpNodeOutput
from ofgtp.northbound.schema.pfcp_rules import RulesOutput
from ofgtp.northbound.schema.query import FlowsQuery, ListQuery, NoQuery, PeersQuery
from ofgtp.northbound.schema.reload import ReloadOutput
from ofgtp.northbound.schema.seen import SeenList, SeenOutput
from ofgtp.northbound.schema.session import (
    OF_QFI,
    FlowList,
    SessionInput,
    SessionList,
    SessionOutput,
)

__all__ = [
    "BATCH_LINE",
    "MAX_ERRORS",
    "OF_QFI",
    "BatchOutput",
    "DeleteLine",
    "FlowList",
    "FlowsQuery",
    "GatewayList",
    "GatewayOutput",
    "HealthOutput",
    "ListQuery",
    "NoQuery",
    "PeerList",
    "PeerOutput",
    "PeersQuery",
    "PfcpList",
    "PfcpNodeOutput",
    "Problem",
    "PutLine",
    "ReloadOutput",
    "RulesOutput",
    "SeenList",
    "SeenOutput",
    "SessionInput",
    "SessionList",
    "SessionOutput",
    "batch_line_errors",
    "field_errors",
]
