"""A gateway's links, sessions and flows, for tests that need no switch."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from ofgtp.core.flows.flow import Flow
from ofgtp.core.model import FTeid, Gateway, Session, Uplink
from ofgtp.core.rules.base import gateway_flows, protected_networks
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import Links

LINKS = Links(
    access=1,
    core=2,
    gtpu=3,
    gtpu_ect_1=6,
    gtpu_ce=7,
    loop_out=4,
    loop_in=5,
    access_mtu=1500,
    core_mtu=1500,
    local_mac="02:00:00:00:00:01",
    core_mac="06:00:00:00:00:02",
    peer_mac="52:54:00:00:00:03",
)
ENB, OTHER_ENB = IPv4Address("10.1.0.2"), IPv4Address("10.1.0.3")


def session(number: int = 1, **changes: Any) -> Session:
    """UE 10.45.0.(1 + n) with TEIDs 0x1000 + n and 0x2000 + n at ENB, n being the lowest byte."""
    n = number & 0xFF
    fields: dict[str, Any] = {
        "number": number,
        "id": f"ue-{number}",
        "gateway": "gw1",
        "ue_ip": IPv4Address("10.45.0.1") + n,
        "uplink": Uplink(0x1000 + n),
        "downlink": FTeid(0x2000 + n, ENB),
    }
    return Session(**{**fields, **changes})


def all_flows(
    gateway: Gateway,
    *sessions: Session,
    links: Links = LINKS,
    others: tuple[Gateway, ...] = (),
    lease_seconds: int | None = None,
) -> list[Flow]:
    """All that ofgtp wants in the switch of `gateway`; `others` run beside it."""
    flows = list(
        gateway_flows(gateway, links, protected_networks([gateway, *others]), lease_seconds)
    )
    for each in sessions:
        flows += session_flows(each, links)
    return flows
