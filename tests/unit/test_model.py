"""Which sessions a gateway takes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from ofgtp.core.errors import InvalidSession
from ofgtp.core.model import TEID_MAX, AccessRoute, FTeid, Uplink
from tests.support.lab import gateway
from tests.support.sample import session

GATEWAY = gateway(ue_pools=(IPv4Network("10.45.0.0/16"), IPv4Network("10.1.0.128/25")))


def ip(text: str) -> IPv4Address:
    return IPv4Address(text)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"downlink": None},
        {"id": "a" * 128},
        {"id": "imsi-001010000000001@mnc.001:5_A"},
        {"ue_ip": ip("10.45.255.255")},
        {"uplink": Uplink(1)},
        {"uplink": Uplink(TEID_MAX, ip("10.9.0.1"))},
        {"downlink": FTeid(TEID_MAX, ip("192.0.2.1"))},
    ],
    ids=str,
)
def test_good_sessions(change: dict[str, Any]) -> None:
    GATEWAY.check_session(session(**change))


BAD_PEERS = [
    "10.1.0.1",
    "10.2.0.1",
    "10.1.0.0",
    "10.1.0.255",
    "0.0.0.0",
    "0.0.0.5",
    "127.0.0.1",
    "169.254.3.3",
    "224.0.0.5",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "10.45.0.77",
    "10.1.0.130",
]


@pytest.mark.parametrize("peer", BAD_PEERS)
def test_what_cannot_be_a_peer(peer: str) -> None:
    for change, loc in (
        ({"uplink": Uplink(1, ip(peer))}, "uplink.remote_ip"),
        ({"downlink": FTeid(1, ip(peer))}, "downlink.remote_ip"),
    ):
        with pytest.raises(InvalidSession) as caught:
            GATEWAY.check_session(session(**change))  # type: ignore[arg-type]
        assert caught.value.loc == loc
        assert peer in caught.value.msg


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"id": ""}, "id"),
        ({"id": "a" * 129}, "id"),
        ({"id": "a b"}, "id"),
        ({"id": "a\n"}, "id"),
        ({"id": "ä"}, "id"),
        ({"ue_ip": ip("10.46.0.1")}, "ue_ip"),
        ({"uplink": Uplink(0)}, "uplink.teid"),
        ({"uplink": Uplink(-1)}, "uplink.teid"),
        ({"uplink": Uplink(TEID_MAX + 1)}, "uplink.teid"),
        ({"downlink": FTeid(0, ip("10.1.0.2"))}, "downlink.teid"),
        ({"downlink": FTeid(TEID_MAX + 1, ip("10.1.0.2"))}, "downlink.teid"),
    ],
)
def test_bad_fields_are_named(change: dict[str, Any], loc: str) -> None:
    with pytest.raises(InvalidSession) as caught:
        GATEWAY.check_session(session(**change))
    assert caught.value.loc == loc


@pytest.mark.parametrize("own", ["10.1.0.1", "10.2.0.1", "10.2.0.2"])
def test_no_ue_has_an_address_of_the_gateway(own: str) -> None:
    wide = gateway(ue_pools=(IPv4Network("10.0.0.0/8"),))
    with pytest.raises(InvalidSession, match="own"):
        wide.check_session(session(ue_ip=ip(own)))


def test_both_ends_of_a_point_to_point_link_are_usable() -> None:
    link = gateway(access_ip=IPv4Interface("10.1.0.0/31"))
    link.check_session(session(downlink=FTeid(1, ip("10.1.0.1"))))


def test_path_management_keeps_to_the_standard_by_default() -> None:
    timers = gateway()
    assert timers.echo_seconds >= 60, "TS 29.281, 7.2.1"
    assert timers.echo_seconds >= timers.n3_requests * timers.t3_response_seconds
    assert timers.on_path_down == "keep"


def test_a_session_is_not_indicated_unless_said_so() -> None:
    assert not session().error_indicated
    assert session(error_indicated=True) != session()


def test_names_of_devices_fit_the_kernel() -> None:
    long = gateway(bridge="br-ofgtp-123456", core_port="host", next_hop=None)
    assert len(long.gtpu_port) <= 15
    assert len(long.core_device) <= 15
    assert gateway().core_device == "eth2"
    host = gateway(core_port="host", next_hop=None)
    assert (host.host_core, host.core_device, host.gtpu_port) == (True, "br-ofgtp-c", "br-ofgtp-g")


ROUTES = (
    AccessRoute(IPv4Network("10.0.0.0/8"), ip("10.1.0.251")),
    AccessRoute(IPv4Network("10.9.0.0/16"), ip("10.1.0.252")),
    AccessRoute(IPv4Network("10.9.1.0/24"), ip("10.1.0.253")),
    AccessRoute(IPv4Network("10.9.1.1/32"), ip("10.1.0.254")),
)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("peer", "hop"),
    [
        ("10.1.0.2", "10.1.0.2"),
        ("10.1.0.255", "10.1.0.255"),
        ("10.1.1.1", "10.1.0.251"),
        ("10.9.2.1", "10.1.0.252"),
        ("10.9.1.2", "10.1.0.253"),
        ("10.9.1.1", "10.1.0.254"),
        ("11.0.0.0", None),
        ("192.0.2.1", None),
    ],
)
def test_the_next_hop_is_the_peer_or_that_of_the_longest_prefix(
    peer: str, hop: str | None, order: int
) -> None:
    routed = gateway(access_routes=ROUTES[::order])
    assert routed.access_next_hop(ip(peer)) == (None if hop is None else ip(hop))
    assert gateway().access_next_hop(ip(peer)) == (ip(peer) if peer.startswith("10.1.0.") else None)


def test_a_default_route_leads_everywhere() -> None:
    routed = gateway(access_routes=(AccessRoute(IPv4Network("0.0.0.0/0"), ip("10.1.0.9")),))
    assert routed.access_next_hop(ip("192.0.2.1")) == ip("10.1.0.9")
    assert routed.access_next_hop(ip("10.1.0.5")) == ip("10.1.0.5")
