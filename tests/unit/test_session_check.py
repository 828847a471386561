"""What a session may be on a gateway: each fault is named by its field, and the rest may pass."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import pytest

from ofgtp.core.errors import InvalidSession
from ofgtp.core.filters import PacketFilter
from ofgtp.core.model import AccessRoute, FTeid, Gateway, Qos, Session, Uplink
from ofgtp.core.rules.base import protected_networks
from ofgtp.core.sessions.check import FLOWS_MAX, PREFIXES_MAX, check_session
from ofgtp.core.sessions.detail import (
    BEARERS_MAX,
    FILTERS_MAX,
    PRECEDENCE_MAX,
    RATE_MAX_KBPS,
    Bearer,
    Gate,
    Rates,
    Relay,
)
from ofgtp.northbound import bodies
from ofgtp.northbound.problem import ProblemError
from tests.support.lab import gateway
from tests.support.sample import ALL_KINDS, ENB, FAR, OTHER_ENB, bearer, detailed, relay, session

GATEWAY = gateway(
    access_routes=(AccessRoute(IPv4Network("10.9.0.0/16"), ENB),),
    ue_pools6=(IPv6Network("2001:db8:a::/48"),),
)
UE = IPv4Address("10.45.0.2")
ALL = "permit out ip from any to assigned"
UDP = "permit out udp from any to assigned"


def check(one: Session, gw: Gateway = GATEWAY) -> None:
    check_session(gw, one, protected_networks([gw]))


def prefixes(*texts: str) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, texts))


def bearers(count: int) -> list[Bearer]:
    return [bearer(f"b{n}", n, UDP) for n in range(count)]


def with_bearer(**changes: Any) -> Session:
    """The second of two bearers is changed."""
    one = bearer("one", 1, UDP, uplink=Uplink(0x4001), downlink=FTeid(0x4101, ENB))
    one = replace(one, shares_downlink=False)
    return detailed(bearers=[one, replace(bearer("two", 2, UDP), **changes)])


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_what_may_pass(kind: str) -> None:
    check(ALL_KINDS[kind])


@pytest.mark.parametrize(
    "one",
    [
        session(),
        detailed(bearers=bearers(BEARERS_MAX)),
        detailed(ambr=Rates(1, RATE_MAX_KBPS)),
        with_bearer(mbr=Rates(RATE_MAX_KBPS, 1)),
        with_bearer(precedence=0),
        with_bearer(precedence=PRECEDENCE_MAX),
        with_bearer(id="A-Z.a_z:0@9"),
        with_bearer(filters=(PacketFilter(),) * FILTERS_MAX),
        with_bearer(filters=(PacketFilter(local=IPv4Network("10.45.0.0/16")),)),
        with_bearer(filters=(PacketFilter(local=IPv4Network(UE)),)),
        with_bearer(qos=Qos(63)),
        # a TEID of a peer's may be any number that one of ours is
        with_bearer(downlink=FTeid(0x1001, OTHER_ENB), shares_downlink=False),
        relay(ue_ip=UE, breakout=prefixes("0.0.0.0/0")),
        relay(ue_ip=UE, breakout=prefixes("10.0.0.0/8", "10.1.0.0/16")),  # around protected ones
        relay(ue_ip=UE, framed_routes=prefixes("192.168.0.0/16")),
        detailed(framed_routes=prefixes("192.168.7.0/24", "192.168.8.1")),
        detailed(
            ue_ip=None,
            ue_ipv6=IPv6Network("2001:db8:a:1::/64"),
            framed_routes=(
                IPv6Network("2001:db8:f::/48"),
                IPv4Network("192.168.7.0/24"),
                IPv6Network("2001:db8:e::7/128"),
                IPv6Network("2002::/16"),
            ),
        ),
        relay(relay=Relay(0x5001, FTeid(0x2001, FAR))),  # the same TEID, elsewhere
        *(
            detailed(ue_ip=ue, ue_ipv6=IPv6Network(prefix))
            for ue in (UE, None)
            for prefix in ("2001:db8:a::/48", "2001:db8:a:ffff::/64", "2001:db8:a::7/128")
        ),
    ],
)
def test_what_may_just_pass(one: Session) -> None:
    check(one)


BAD: dict[str, tuple[Session, str, str]] = {
    **{
        f"the IPv6 prefix {prefix}": (detailed(ue_ip=None, ue_ipv6=IPv6Network(prefix)), *expected)
        for prefix, expected in {
            "2001:db8:b::/64": ("ue_ipv6", "not in the IPv6 UE pools (2001:db8:a::/48)"),
            "2001:db8::/47": ("ue_ipv6", "is no UE's prefix: /48 to /128"),
            "::/0": ("ue_ipv6", "is no UE's prefix"),
            "::ffff:10.45.0.2/128": ("ue_ipv6", "not in the IPv6 UE pools"),
            "fe80::/64": ("ue_ipv6", "not in the IPv6 UE pools"),
            "ff02::/64": ("ue_ipv6", "not in the IPv6 UE pools"),
        }.items()
    },
    "a relay with an IPv6 prefix": (
        relay(ue_ip=UE, ue_ipv6=IPv6Network("2001:db8:a:1::/64")),
        "ue_ipv6",
        "a relay has none",
    ),
    "a 64th bearer": (detailed(bearers=bearers(64)), "bearers", "at most 63, not 64"),
    "an id twice": (with_bearer(id="one"), "bearers.1.id", "one is another bearer's"),
    "a precedence twice": (with_bearer(precedence=1), "bearers.1.precedence", "1 is another"),
    "a precedence below 0": (with_bearer(precedence=-1), "bearers.1.precedence", "0 to 65535"),
    "a precedence above": (with_bearer(precedence=65536), "bearers.1.precedence", "not 65536"),
    "an id with a blank": (with_bearer(id="a b"), "bearers.1.id", "1 to 128 of"),
    "an empty id": (with_bearer(id=""), "bearers.1.id", "1 to 128 of"),
    "no filter": (with_bearer(filters=()), "bearers.1.filters", "1 to 16, not 0"),
    "a 17th filter": (
        with_bearer(filters=(PacketFilter(),) * 17),
        "bearers.1.filters",
        "1 to 16, not 17",
    ),
    "an IPv6 filter": (
        with_bearer(
            filters=(PacketFilter(), PacketFilter.parse("permit out ip from 2001:db8::1 to any"))
        ),
        "bearers.1.filters.1",
        "2001:db8::1/128: the session carries IPv4",
    ),
    "another UE's address": (
        with_bearer(filters=(PacketFilter(local=IPv4Network("10.45.0.3")),)),
        "bearers.1.filters.0",
        "none of the UE's addresses",
    ),
    "ports that take too many flows": (
        with_bearer(filters=(PacketFilter(17, None, ((1, 65534),), None, ((1, 65534),)),)),
        "bearers.1.filters.0",
        "take 900 flows, of at most 256",
    ),
    "filters that take too many flows": (
        detailed(
            bearers=[
                replace(
                    bearer(f"b{n}", n, UDP),
                    filters=(PacketFilter(17, None, ((1, 65534),), None, ((1, 127),)),) * 2,
                )
                for n in range(5)
            ]
        ),
        "bearers",
        f"of at most {FLOWS_MAX}",
    ),
    "a QFI of 64": (with_bearer(qos=Qos(64)), "bearers.1.qfi", "1 to 63"),
    "a QFI of 0": (with_bearer(qos=Qos(0)), "bearers.1.qfi", "1 to 63"),
    "a rate of 0": (detailed(ambr=Rates(uplink=0)), "ambr.uplink_kbps", "1 to 100000000"),
    "a rate above 100 Gbit/s": (
        detailed(ambr=Rates(downlink=RATE_MAX_KBPS + 1)),
        "ambr.downlink_kbps",
        "not 100000001",
    ),
    "a bearer's rate of 0": (
        with_bearer(mbr=Rates(downlink=0)),
        "bearers.1.mbr.downlink_kbps",
        "not 0",
    ),
    "a bearer's rate above": (
        with_bearer(mbr=Rates(uplink=RATE_MAX_KBPS + 1)),
        "bearers.1.mbr.uplink_kbps",
        "not 100000001",
    ),
    "TEID 0": (with_bearer(uplink=Uplink(0)), "bearers.1.uplink.teid", "1 to 4294967295"),
    "the session's TEID": (
        with_bearer(uplink=Uplink(0x1001)),
        "bearers.1.uplink.teid",
        "4097 is another TEID of this session",
    ),
    "another bearer's TEID": (
        with_bearer(uplink=Uplink(0x4001)),
        "bearers.1.uplink.teid",
        "another TEID",
    ),
    "the session's tunnel": (
        with_bearer(downlink=FTeid(0x2001, ENB), shares_downlink=False),
        "bearers.1.downlink",
        "leave it out to share it",
    ),
    "another bearer's tunnel": (
        with_bearer(downlink=FTeid(0x4101, ENB), shares_downlink=False),
        "bearers.1.downlink",
        "another tunnel",
    ),
    "a peer's TEID 0": (
        with_bearer(downlink=FTeid(0, ENB), shares_downlink=False),
        "bearers.1.downlink.teid",
        "1 to",
    ),
    "a peer that is us": (
        with_bearer(downlink=FTeid(1, GATEWAY.access_ip.ip), shares_downlink=False),
        "bearers.1.downlink.remote_ip",
        "address of the gateway itself",
    ),
    "a pinned peer in a pool": (
        with_bearer(uplink=Uplink(1, IPv4Address("10.45.0.9"))),
        "bearers.1.uplink.remote_ip",
        "in a UE pool",
    ),
    # relays
    "nothing": (session(ue_ip=None), "ue_ip", "only a relay (core) can do without"),
    "no relay and no UE": (detailed(ue_ip=None), "ue_ip", "only a relay"),
    "a loop": (
        relay(relay=Relay(0x5001, FTeid(0x1001, GATEWAY.access_ip.ip))),
        "core.remote_ip",
        "address of the gateway itself",
    ),
    "a loop by the core address": (
        relay(relay=Relay(0x5001, FTeid(0x1001, GATEWAY.core_ip.ip))),
        "core.remote_ip",
        "address of the gateway itself",
    ),
    "core TEID 0": (relay(relay=Relay(0, FTeid(1, FAR))), "core.teid", "1 to"),
    "remote TEID 0": (relay(relay=Relay(1, FTeid(0, FAR))), "core.remote_teid", "1 to"),
    "one TEID for both sides": (
        relay(relay=Relay(0x1001, FTeid(1, FAR))),
        "core.teid",
        "4097 is another TEID of this session",
    ),
    "one tunnel for both sides": (
        relay(relay=Relay(0x5001, FTeid(0x2001, ENB))),
        "core",
        "another tunnel of this session",
    ),
    "a relay with bearers": (relay(bearers=bearers(1)), "bearers", "a relay has none"),
    "a relay with a rate": (relay(ambr=Rates(1)), "ambr", "a relay has none"),
    "a breakout with bearers": (
        relay(ue_ip=UE, bearers=bearers(1)),
        "bearers",
        "a relay has none",
    ),
    "a relay of anything with a QFI": (relay(qos=Qos(9)), "qfi", "needs a ue_ip"),
    "a relay of anything with breakout": (
        relay(breakout=prefixes("10.3.0.0/16")),
        "breakout",
        "needs a ue_ip",
    ),
    "a relay of anything with framed routes": (
        relay(framed_routes=prefixes("192.168.7.0/24")),
        "framed_routes",
        "needs a ue_ip",
    ),
    "breakout of no relay": (
        detailed(breakout=prefixes("10.3.0.0/16")),
        "breakout",
        "is for relays",
    ),
    # prefixes
    "breakout inside the access network": (
        relay(ue_ip=UE, breakout=prefixes("10.3.0.0/16", "10.1.0.128/25")),
        "breakout.1",
        "inside 10.1.0.0/24",
    ),
    "breakout of the access network": (
        relay(ue_ip=UE, breakout=prefixes("10.1.0.0/24")),
        "breakout.0",
        "inside 10.1.0.0/24",
    ),
    "breakout of an access route": (
        relay(ue_ip=UE, breakout=prefixes("10.9.9.0/24")),
        "breakout.0",
        "inside 10.9.0.0/16",
    ),
    "breakout of the core address": (
        relay(ue_ip=UE, breakout=prefixes("10.2.0.1")),
        "breakout.0",
        "inside 10.2.0.1/32",
    ),
    "breakout of loopback": (
        relay(ue_ip=UE, breakout=prefixes("127.0.0.1")),
        "breakout.0",
        "inside 127.0.0.0/8",
    ),
    "breakout twice": (
        relay(ue_ip=UE, breakout=prefixes("10.3.0.0/16", "10.3.0.0/16")),
        "breakout.1",
        "stands there twice",
    ),
    "too much breakout": (
        relay(ue_ip=UE, breakout=prefixes(*(f"10.3.{n}.0/24" for n in range(PREFIXES_MAX + 1)))),
        "breakout",
        "at most 64 prefixes, not 65",
    ),
    "a framed route in a pool": (
        detailed(framed_routes=prefixes("10.45.7.0/24")),
        "framed_routes.0",
        "overlaps the UE pool 10.45.0.0/16",
    ),
    "a framed route around a pool": (
        detailed(framed_routes=prefixes("192.168.7.0/24", "10.44.0.0/15")),
        "framed_routes.1",
        "overlaps the UE pool",
    ),
    "a framed route around the access network": (
        detailed(framed_routes=prefixes("10.0.0.0/12")),
        "framed_routes.0",
        "overlaps 10.1.0.0/24, where no UE may send",
    ),
    **{
        f"the IPv6 framed route {routes[-1]}": (
            detailed(
                ue_ipv6=IPv6Network("2001:db8:a:1::/64"),
                framed_routes=tuple(map(IPv6Network, routes)),
            ),
            f"framed_routes.{len(routes) - 1}",
            said,
        )
        for routes, said in (
            (("2001:db8:a:7::/64",), "overlaps the UE pool 2001:db8:a::/48"),
            (("2001:db8:f::/48", "2001:db8::/32"), "overlaps the UE pool 2001:db8:a::/48"),
            (("2001:db8:f::/48", "2001:db8:f:7::/64"), "overlaps 2001:db8:f::/48"),
            (("2001:db8:8847::/48",), "takes packets from 8847 in the third group for MPLS"),
        )
    },
    "an IPv6 framed route of a UE without IPv6": (
        detailed(framed_routes=(IPv6Network("2001:db8:f::/48"),)),
        "framed_routes.0",
        "needs a ue_ipv6",
    ),
    "a framed route in loopback": (
        detailed(framed_routes=prefixes("127.1.0.0/16")),
        "framed_routes.0",
        "overlaps 127.0.0.0/8",
    ),
    "framed routes that overlap": (
        detailed(framed_routes=prefixes("192.168.7.0/24", "192.168.0.0/16")),
        "framed_routes.1",
        "overlaps 192.168.7.0/24",
    ),
    "a framed route of the next hop": (
        detailed(framed_routes=prefixes("10.2.0.2")),
        "framed_routes.0",
        "holds the next hop 10.2.0.2",
    ),
    "too many framed routes": (
        detailed(framed_routes=prefixes(*(f"192.168.{n}.0/24" for n in range(65)))),
        "framed_routes",
        "at most 64",
    ),
    # what a tunnel pair may not be, no session may be
    "the session's TEID 0": (detailed(uplink=Uplink(0)), "uplink.teid", "1 to"),
    "a UE outside the pools": (detailed(ue_ip=IPv4Address("10.46.0.1")), "ue_ip", "not in the UE"),
    "the session's QFI": (detailed(qos=Qos(64)), "qfi", "1 to 63"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_refused(fault: str) -> None:
    one, loc, msg = BAD[fault]
    with pytest.raises(InvalidSession) as refused:
        check(one)
    assert refused.value.loc == loc
    assert msg in refused.value.msg


def test_with_the_hosts_routing_a_prefix_may_be_behind_a_ue_too() -> None:
    """Whether the host has a route of its own in the way, only the host can say."""
    one = detailed(framed_routes=prefixes("192.168.7.0/24"))
    check(one, gateway(core_port="host", next_hop=None))


# --- before there is a session: the JSON

JSON: dict[str, Any] = {
    "ue_ip": "10.45.0.2",
    "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"},
    "ambr": {"uplink_kbps": 50000, "downlink_kbps": 100000},
    "bearers": [
        {
            "id": "voice",
            "precedence": 10,
            "filters": ["permit out udp from 10.2.0.0/24 5004-5060 to assigned"],
            "uplink": {"teid": 4098},
            "downlink": {"teid": 8194, "remote_ip": "10.1.0.2"},
            "qfi": 1,
            "mbr": {"uplink_kbps": 128, "downlink_kbps": 128},
            "gate": "open",
        }
    ],
    "framed_routes": ["192.168.7.0/24"],
}
CORE = {"teid": 5001, "remote_teid": 6001, "remote_ip": "10.9.0.2"}


def body(**changes: Any) -> dict[str, Any]:
    return {**JSON, **changes}


def voice(**changes: Any) -> dict[str, Any]:
    return body(bearers=[{**JSON["bearers"][0], **changes}])


def of_filter(*filters: object) -> dict[str, Any]:
    return voice(filters=list(filters))


@pytest.mark.parametrize(
    "good",
    [
        JSON,
        voice(filters=[{"protocol": "udp", "remote": "10.2.0.0/24", "remote_ports": "5004-5060"}]),
        voice(filters=[{"dscp": 46}, "permit out ip from any to assigned"]),
        voice(downlink=None),
        voice(uplink=None, mbr=None, qfi=None),
        body(core=CORE, breakout=["10.3.0.0/16"]),
        {"core": CORE, "downlink": None},
    ],
)
def test_json_that_may_pass(good: dict[str, Any]) -> None:
    assert bodies.session(good).request("a")


@pytest.mark.parametrize(
    ("bad", "loc", "msg"),
    [
        # filters
        (of_filter("permit out udp"), "bearers.0.filters.0", "where from should stand"),
        (of_filter("deny out udp from any to any"), "bearers.0.filters.0", "permit"),
        (of_filter("permit in udp from any to any"), "bearers.0.filters.0", "out"),
        (
            of_filter("permit out udp from any 5060-5004 to assigned"),
            "bearers.0.filters.0",
            "5060-5004 is no range of ports",
        ),
        (of_filter({"remote_ports": "9-8", "protocol": 6}), "bearers.0.filters.0", "9-8"),
        (
            of_filter("permit out udp from any 70000 to assigned"),
            "bearers.0.filters.0",
            "no range of ports in 0 to 65535",
        ),
        (of_filter("permit out ip from any 80 to assigned"), "bearers.0.filters.0", "ports need"),
        (of_filter({"remote_ports": "80"}), "bearers.0.filters.0", "ports need"),
        (of_filter({"dscp": 64}), "bearers.0.filters.0", "DSCP 64 is not in 0 to 63"),
        (of_filter({"protocol": 256}), "bearers.0.filters.0", "protocol 256 is not"),
        (of_filter({"protocol": True}), "bearers.0.filters.0", "protocol must be"),
        (of_filter({"dscp": "46"}), "bearers.0.filters.0", "dscp must be a number"),
        (of_filter({"remote": 5}), "bearers.0.filters.0", "remote must be a text"),
        (of_filter({"remote": "example.org"}), "bearers.0.filters.0", "is no address"),
        (of_filter({"tos": 4}), "bearers.0.filters.0", "'tos' is unknown"),
        (of_filter({}), "bearers.0.filters.0", "it is empty"),
        (of_filter({"dscp": 1}, 7), "bearers.0.filters.1", "must be a text"),
        (of_filter(None), "bearers.0.filters.0", "must be a text"),
        (of_filter(), "bearers.0.filters", "at least 1"),
        (of_filter(*[{"dscp": 1}] * 17), "bearers.0.filters", "at most 16"),
        # bearers
        (body(bearers=JSON["bearers"] * 64), "bearers", "at most 63"),
        (voice(precedence=65536), "bearers.0.precedence", "65535"),
        (voice(precedence=-1), "bearers.0.precedence", "0"),
        (voice(precedence="1"), "bearers.0.precedence", "integer"),
        (voice(id="a b"), "bearers.0.id", "1 to 128 of"),
        (voice(gate="ajar"), "bearers.0.gate", "open"),
        (voice(qfi=64), "bearers.0.qfi", "1 to 63"),
        (voice(mbr={"uplink_kbps": 0}), "bearers.0.mbr.uplink_kbps", "1"),
        (voice(mbr={"downlink_kbps": 100000001}), "bearers.0.mbr.downlink_kbps", "100000000"),
        (voice(mbr={"kbps": 1}), "bearers.0.mbr.kbps", "not a known field"),
        (voice(uplink={"teid": 0}), "bearers.0.uplink.teid", "1 to"),
        (voice(downlink={"teid": 1}), "bearers.0.downlink.remote_ip", "required"),
        (voice(colour="red"), "bearers.0.colour", "not a known field"),
        (body(bearers={}), "bearers", "list"),
        # the session
        (body(ambr={"uplink_kbps": 0}), "ambr.uplink_kbps", "1"),
        (body(ambr={"downlink_kbps": 100000001}), "ambr.downlink_kbps", "100000000"),
        (body(ambr={"downlink_kbps": 1.5}), "ambr.downlink_kbps", "integer"),
        (body(framed_routes=["192.168.7.1/24"]), "framed_routes.0", "bits set behind"),
        (body(framed_routes=["x"]), "framed_routes.0", "must be an IPv4 prefix"),
        (body(framed_routes=["2001:db8::7/32"]), "framed_routes.0", "bits set behind"),
        (body(framed_routes=["2001:db8::g/32"]), "framed_routes.0", "must be an IPv6 prefix"),
        (body(core=CORE, breakout=["2001:db8::/32"]), "breakout.0", "must be an IPv4 prefix"),
        (body(core=CORE, breakout=[5]), "breakout.0", "must be an IPv4 prefix"),
        (body(core={**CORE, "remote_teid": 0}), "core.remote_teid", "1 to"),
        (body(core={"teid": 1}), "core.remote_teid", "required"),
        ({"downlink": None}, "ue_ip", "required"),
    ],
)
def test_json_that_is_refused(bad: dict[str, Any], loc: str, msg: str) -> None:
    with pytest.raises(ProblemError) as refused:
        bodies.session(bad)
    errors = {str(each["loc"]): str(each["msg"]) for each in refused.value.errors or ()}
    assert loc in errors, errors
    assert msg in errors[loc], errors


def test_every_gate_has_a_word() -> None:
    for gate in Gate:
        [made] = bodies.session(voice(gate=gate.value)).request("a").bearers
        assert made.gate is gate


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("2001:db8:c::2/128", "holds the next hop 2001:db8:c::2"),
        ("2001:db8:c::1/128", "overlaps 2001:db8:c::1/128, where no UE may send"),
        ("fe80::/64", "overlaps fe80::/10, where no UE may send"),
        ("ff02::/64", "overlaps ff00::/8, where no UE may send"),
        ("::/0", "overlaps"),
    ],
)
def test_ipv6_framed_routes_and_the_core_side(prefix: str, said: str) -> None:
    ours = {
        "core_ip6": IPv6Interface("2001:db8:c::1/64"),
        "next_hop6": IPv6Address("2001:db8:c::2"),
    }
    gw = replace(GATEWAY, **ours)
    one = detailed(ue_ipv6=IPv6Network("2001:db8:a:1::/64"), framed_routes=(IPv6Network(prefix),))
    with pytest.raises(InvalidSession) as refused:
        check(one, gw)
    assert refused.value.loc == "framed_routes.0"
    assert said in refused.value.msg


def test_ipv6_framed_routes_by_the_host() -> None:
    one = detailed(
        ue_ipv6=IPv6Network("2001:db8:a:1::/64"), framed_routes=(IPv6Network("2001:db8:f::/48"),)
    )
    check(one, replace(GATEWAY, core_port="host", next_hop=None))


def test_an_ipv6_prefix_of_a_gateway_without_ipv6() -> None:
    one = detailed(ue_ipv6=IPv6Network("2001:db8:a:1::/64"))
    with pytest.raises(InvalidSession, match=r"not in the IPv6 UE pools \(none\)") as refused:
        check(one, gateway())
    assert refused.value.loc == "ue_ipv6"


@pytest.mark.parametrize("holds", ["2001:db8:a:1::1", "2001:db8:a:1::2"])
def test_an_ipv6_prefix_that_holds_the_core_side(holds: str) -> None:
    ours = {
        "core_ip6": IPv6Interface("2001:db8:a:1::1/64"),
        "next_hop6": IPv6Address("2001:db8:a:1::2"),
    }
    gw = replace(GATEWAY, **ours)
    with pytest.raises(InvalidSession, match="holds an address of the core side") as refused:
        check(detailed(ue_ipv6=IPv6Network(f"{holds}/128")), gw)
    assert refused.value.loc == "ue_ipv6"
    check(detailed(ue_ipv6=IPv6Network("2001:db8:a:1::3/128")), gw)
