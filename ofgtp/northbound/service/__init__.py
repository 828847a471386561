"""What a northbound interface asks of ofgtp: the one interface between REST and control."""

from ofgtp.northbound.service.batch import BatchError, BatchResult, WrongLine
from ofgtp.northbound.service.counters import BothWays, Counters, FlowCounters
from ofgtp.northbound.service.gateway import HistoryView, PeerView
from ofgtp.northbound.service.metrics import GatewayMetrics, Histogram, Lease, Rounds
from ofgtp.northbound.service.pfcp import (
    AssociationView,
    InstanceView,
    PfcpView,
    RefusedView,
    StrangerView,
)
from ofgtp.northbound.service.protocol import Service
from ofgtp.northbound.service.reload import Reload, Reloaded, Taken
from ofgtp.northbound.service.request import (
    BearerRequest,
    RelayRequest,
    SessionRequest,
    UplinkRequest,
)
from ofgtp.northbound.service.session import (
    FlowView,
    NewSession,
    SeenView,
    SessionFilter,
    SessionView,
)
from ofgtp.northbound.service.usage import QuotaView, UsageFilter, UsagePage, UsageView

__all__ = [
    "AssociationView",
    "BatchError",
    "BatchResult",
    "BearerRequest",
    "BothWays",
    "Counters",
    "FlowCounters",
    "FlowView",
    "GatewayMetrics",
    "Histogram",
    "HistoryView",
    "InstanceView",
    "Lease",
    "NewSession",
    "PeerView",
    "PfcpView",
    "QuotaView",
    "RefusedView",
    "RelayRequest",
    "Reload",
    "Reloaded",
    "Rounds",
    "SeenView",
    "Service",
    "SessionFilter",
    "SessionRequest",
    "SessionView",
    "StrangerView",
    "Taken",
    "UplinkRequest",
    "UsageFilter",
    "UsagePage",
    "UsageView",
    "WrongLine",
]
