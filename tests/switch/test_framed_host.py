"""Framed routes where the host routes on (`core_port = "host"`): it has a route to a prefix while a
session has it, and no longer."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import ownership as own
from tests.support.lab import Lab
from tests.support.traffic import Host, World, inner, ip, until

pytestmark = pytest.mark.switch

UE, TEID, DOWN, PDN = "10.45.0.2", 0x1001, 0x2001, "10.2.0.2"
PREFIX, OTHER, ADDRESS = "192.168.7.0/24", "192.168.9.0/24", "192.168.8.1/32"
CORE = 'core_port = "host"\ncore_ip = "10.3.0.1/24"'
DEVICE = "br-ofgtp-c"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """eth2 is an interface of the host's own, and the host is a router."""
    with Lab() as lab:
        lab.exec("gw", ["ip", "addr", "add", "10.2.0.1/24", "dev", "eth2"])
        lab.exec("gw", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        lab.start_controller(lab.config(controller=own.SWITCH, core=CORE))
        yield lab


@pytest.fixture
def gw(lab: Lab) -> Iterator[World]:
    """With a session, anew, that has two prefixes behind its UE."""
    world = World(lab)
    put(world, PREFIX, ADDRESS)
    yield world
    lab.http("DELETE", "/v1/sessions/framed")


def in_sync(lab: Lab) -> bool:
    return bool(World(lab).report()["in_sync"])


def put(world: World, *prefixes: str, status: tuple[int, ...] = (200, 201)) -> Any:
    body = {
        "ue_ip": UE,
        "uplink": {"teid": TEID},
        "downlink": {"teid": DOWN, "remote_ip": "10.1.0.2"},
        "framed_routes": list(prefixes),
    }
    answer = world.put("framed", body)
    assert answer.status in status, answer.body
    return answer.json()


def routes(lab: Lab) -> set[str]:
    """The destinations that the host routes to UEs, but their pool."""
    shown = lab.exec("gw", ["ip", "-json", "-4", "route", "show", "dev", DEVICE]).stdout
    found = {entry["dst"] for entry in json.loads(shown) if entry.get("gateway")}
    assert "10.45.0.0/16" in found
    return found - {"10.45.0.0/16"}


def test_both_ways(lab: Lab, gw: World) -> None:
    enb, pdn = Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN)
    gw.ping(enb, TEID, UE, PDN)
    for address in ("192.168.7.1", "192.168.7.254", "192.168.8.1"):
        sent = ip(address, PDN)
        assert gw.up(enb, TEID, sent, pdn).src == lab.mac("gw", "eth2")
        sent = ip(PDN, address)
        got = gw.down(pdn, sent, enb, to_mac=lab.mac("gw", "eth2"))
        assert inner(got).dst == address


def test_a_route_is_there_as_long_as_a_session_has_it(lab: Lab, gw: World) -> None:
    assert routes(lab) == {PREFIX, "192.168.8.1"}
    put(gw, PREFIX, OTHER)
    assert routes(lab) == {PREFIX, OTHER}
    answer = lab.http("PATCH", "/v1/sessions/framed", {"framed_routes": [OTHER]})
    assert answer.status == 200, answer.body
    assert routes(lab) == {OTHER}
    lines = [{"op": "delete", "id": "framed"}]
    own.batch(lab, lines)
    assert routes(lab) == set()


def test_a_batch(lab: Lab, gw: World) -> None:
    lines: list[dict[str, Any]] = [
        {
            "op": "put",
            "session": {
                "id": f"many-{n}",
                "ue_ip": f"10.45.7.{n}",
                "framed_routes": [f"172.20.{n}.0/24"],
            },
        }
        for n in range(1, 21)
    ]
    own.batch(lab, lines)
    assert routes(lab) >= {f"172.20.{n}.0/24" for n in range(1, 21)}
    own.batch(lab, [{"op": "delete", "id": each["session"]["id"]} for each in lines])
    assert routes(lab) == {PREFIX, "192.168.8.1"}


def test_what_somebody_takes_away_is_put_back(lab: Lab, gw: World) -> None:
    log = own.Log(lab)
    lab.exec("gw", ["ip", "route", "del", PREFIX, "dev", DEVICE])
    until(lambda: routes(lab) == {PREFIX, "192.168.8.1"}, "it is there again")
    assert log.events("repaired")


@pytest.mark.parametrize(
    ("prefix", "way"),
    [
        ("10.2.0.0/24", "10.2.0.0/24 dev eth2"),
        ("10.2.0.128/25", "10.2.0.0/24 dev eth2"),
        ("10.2.0.0/16", "10.2.0.0/24 dev eth2"),
        ("192.168.11.0/24", "192.168.11.0/24 dev eth2"),
    ],
)
def test_the_hosts_own_routes_are_not_taken(lab: Lab, gw: World, prefix: str, way: str) -> None:
    """A UE must not get what is for the host's own networks."""
    lab.exec("gw", ["ip", "route", "replace", "192.168.11.0/24", "via", PDN, "dev", "eth2"])
    told = put(gw, OTHER, prefix, status=(422,))
    [error] = told["errors"]
    assert error["loc"] == "framed_routes.1"
    assert way in error["msg"] and "delete" in error["msg"]
    assert routes(lab) == {PREFIX, "192.168.8.1"}, "the session is as it was"


def test_a_route_of_the_hosts_that_comes_later_does_not_stop_the_gateway(
    lab: Lab, gw: World
) -> None:
    lab.stop_controller()
    lab.exec("gw", ["ip", "route", "del", PREFIX, "dev", DEVICE])
    lab.exec("gw", ["ip", "route", "add", PREFIX, "via", PDN, "dev", "eth2"])
    lab.start_controller(lab.dir.joinpath("ofgtp.toml").read_text())
    try:
        until(lambda: in_sync(lab), "in sync")
        assert routes(lab) == {"192.168.8.1"}
    finally:
        lab.exec("gw", ["ip", "route", "del", PREFIX, "dev", "eth2"])
    until(lambda: routes(lab) == {PREFIX, "192.168.8.1"}, "when it has gone")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "crash"])
def test_the_switchs_own(lab: Lab, gw: World, how: signal.Signals) -> None:
    lab.stop_controller(how)
    assert routes(lab) == {PREFIX, "192.168.8.1"}, "the switch forwards on, and so does the host"
    lab.start_controller(lab.dir.joinpath("ofgtp.toml").read_text())
    until(lambda: in_sync(lab), "in sync")
    assert routes(lab) == {PREFIX, "192.168.8.1"}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "crash"])
def test_the_controllers_own(how: signal.Signals) -> None:
    """A clean stop ends them with the session; after a crash the next start does, empty."""
    with Lab() as lab:
        config = lab.config(core=CORE)
        lab.start_controller(config)
        put(World(lab), PREFIX)
        assert routes(lab) == {PREFIX}
        lab.stop_controller(how)
        assert routes(lab) == (set() if how is signal.SIGTERM else {PREFIX})
        lab.start_controller(config)
        until(lambda: in_sync(lab), "in sync")
        assert routes(lab) == set()
