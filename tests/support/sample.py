"""A gateway's links, sessions and flows, for tests that need no switch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from ofgtp.core.filters import PacketFilter
from ofgtp.core.flows.flow import Flow
from ofgtp.core.model import FTeid, Gateway, Qos, Session, Uplink
from ofgtp.core.rules.base import gateway_flows, protected_networks
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import Links
from ofgtp.core.sessions.detail import Bearer, Detail, Gate, Rates, Relay, UsageLimits

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


def bearer(name: str, precedence: int, *filters: str | PacketFilter, **changes: Any) -> Bearer:
    """One that shares its session's tunnels, unless changed; filters are texts or values."""
    read = (PacketFilter.parse(each) if isinstance(each, str) else each for each in filters)
    return Bearer(name, precedence, tuple(read), **{"shares_downlink": True, **changes})


def detailed(number: int = 1, *, bearers: Sequence[Bearer] = (), **changes: Any) -> Session:
    """The session with that number, with a detail: its slot is the number's lowest byte, and its
    bearers have indices in their order. `changes` are the detail's fields, or the session's."""
    names = set(Detail.__dataclass_fields__) & set(changes)
    of_detail = {"slot": number & 0xFF, **{name: changes.pop(name) for name in names}}
    numbered = tuple(replace(each, index=index) for index, each in enumerate(bearers))
    return session(number, detail=Detail(bearers=numbered, **of_detail), **changes)


def relay(number: int = 1, *, error_indicated: bool = False, **changes: Any) -> Session:
    """As `detailed`, a relay of anything: core TEID 0x5000 + n, to 0x6000 + n at FAR."""
    n = number & 0xFF
    side = Relay(0x5000 + n, FTeid(0x6000 + n, FAR), error_indicated)
    return detailed(number, **{"ue_ip": None, "relay": side, **changes})


FAR = IPv4Address("10.1.0.4")
"""The peer on the core side of relays."""

PREFIX = IPv6Network("2001:db8:a:1::/64")

ALL_KINDS: dict[str, Session] = {
    "emptied": detailed(),
    "rates": detailed(ambr=Rates(50_000, 100_000)),
    "bearers": detailed(
        bearers=[
            bearer(
                "voice",
                10,
                "permit out udp from 10.2.0.0/24 5004-5060 to assigned",
                uplink=Uplink(0x4001),
                downlink=FTeid(0x4101, OTHER_ENB),
                shares_downlink=False,
                qos=Qos(1),
                mbr=Rates(128, 128),
            ),
            bearer(
                "video",
                20,
                "permit out tcp from any 80,443,8000-8080 to assigned",
                PacketFilter(protocol=132, local_ports=((2905, 2905),)),
                qos=Qos(5, check=True),
                gate=Gate.DOWNLINK,
            ),
            bearer("signalling", 30, PacketFilter(dscp=46), mbr=Rates(downlink=64)),
            bearer("ping", 40, "permit out icmp from any to any", uplink=Uplink(0x4002, ENB)),
            bearer("idle", 50, PacketFilter(protocol=47), shares_downlink=False),
        ],
        qos=Qos(9),
        ambr=Rates(50_000, 100_000),
        way=2,
    ),
    "framed": detailed(framed_routes=(IPv4Network("192.168.7.0/24"),), downlink=None),
    "relay": relay(),
    "pinned relay": relay(uplink=Uplink(0x1001, ENB), error_indicated=True),
    "breakout": relay(
        ue_ip=IPv4Address("10.45.0.2"),
        breakout=(IPv4Network("10.3.0.0/16"), IPv4Network("198.51.100.0/24")),
        qos=Qos(9),
    ),
    "used up": detailed(
        bearers=[bearer("all", 1, PacketFilter(), usage=UsageLimits(1000))],
        usage=UsageLimits(quota=9_000, inactivity=300),
        used_up=True,
    ),
    "dual stack": detailed(ue_ipv6=PREFIX, ambr=Rates(50_000, 100_000)),
    "ipv6 alone": detailed(
        ue_ip=None,
        ue_ipv6=PREFIX,
        bearers=[
            bearer(
                "voice",
                10,
                "permit out udp from 2001:db8:e::/48 5004-5060 to assigned",
                uplink=Uplink(0x4001),
                downlink=FTeid(0x4101, OTHER_ENB),
                shares_downlink=False,
            ),
            bearer("video", 20, "permit out tcp from any 80,443 to assigned", mbr=Rates(128, 128)),
        ],
    ),
    "used up relay": relay(usage=UsageLimits(quota=9_000), used_up=True),
    "used up bearer": detailed(
        bearers=[bearer("all", 1, PacketFilter(), usage=UsageLimits(quota=1000), used_up=True)],
    ),
}
"""Sessions that are more than a tunnel pair, all with the number 1."""


def all_flows(
    gateway: Gateway,
    *sessions: Session,
    links: Links = LINKS,
    others: tuple[Gateway, ...] = (),
    lease_seconds: int | None = None,
) -> list[Flow]:
    """All that ofgtp wants in the switch of `gateway`; `others` run beside it."""
    links = replace(links, ue_to_ue=links.ue_to_ue or gateway.ue_to_ue == "route")
    flows = list(
        gateway_flows(gateway, links, protected_networks([gateway, *others]), lease_seconds)
    )
    for each in sessions:
        flows += session_flows(each, links)
    return flows
