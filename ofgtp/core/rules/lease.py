"""The flows on which forwarding hangs where the controller owns the tunnels."""

from __future__ import annotations

from ofgtp.core.flows.flow import Flow, Output, Port, match
from ofgtp.core.flows.pipeline import CORE, LEASE
from ofgtp.core.rules.terms import Links

LEASE_MARGIN_S = 2
"""The switch looks for expired flows once a second, and takes half a second to act on it."""


def lease_timeout(lease_seconds: int) -> int:
    """The hard timeout that ends forwarding within `lease_seconds` of the last renewal."""
    return lease_seconds - LEASE_MARGIN_S


def lease_flows(links: Links, lease_seconds: int | None) -> tuple[Flow, Flow]:
    """The two flows that let user traffic pass; adding them again renews the lease."""
    timeout = 0 if lease_seconds is None else lease_timeout(lease_seconds)
    local = Output(Port.LOCAL)
    up = LEASE.flow(100, match(in_port=links.access), local, hard_timeout=timeout)
    down = LEASE.flow(100, match(in_port=links.core), goto=CORE, hard_timeout=timeout)
    return up, down
