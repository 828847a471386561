"""A changed ofgtp.toml: what of it is taken, and that it is all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from ofgtp import config as configuration
from ofgtp.config import Config, Controller, Rest
from ofgtp.control import reload as module
from ofgtp.control.reload import Reload, differences
from ofgtp.core.errors import ConfigError, NotReloaded
from ofgtp.core.model import RELOADED, AccessRoute, Gateway, Pfcp
from ofgtp.northbound.rest import RestApp
from ofgtp.northbound.service import Reloaded, Taken
from ofgtp.southbound.channel import FlowsRefused
from ofgtp.store import SessionStore
from tests.support.agents import Net, quiet
from tests.support.client import Client
from tests.support.command import Shell
from tests.support.flowtable import TABLE_FULL
from tests.support.lab import gateway
from tests.unit.fake_service import FakeService

PFCP = Pfcp(IPv4Address("10.3.0.1"), (IPv4Network("10.3.0.0/24"),), IPv4Address("10.3.0.1"))
POOL, MORE = IPv4Network("10.45.0.0/16"), IPv4Network("10.47.0.0/16")
ROUTE = AccessRoute(IPv4Network("10.9.0.0/16"), IPv4Address("10.1.0.254"))

OTHERS: dict[str, Any] = {
    "ovsdb": "unix:/other",
    "openflow": "tcp:127.0.0.1:6654",
    "bridge": "br-other",
    "access_port": "eth7",
    "access_ip": gateway().core_ip,
    "core_port": "eth8",
    "core_ip": gateway().access_ip,
    "next_hop": IPv4Address("10.2.0.3"),
    "access_ip6": IPv6Interface("2001:db8:1::1/64"),
    "ue_to_ue": "route",
    "decrement_ttl": True,
    "source_port": 2152,
    "masquerade": True,
    "masquerade6": True,
    "host_services": "allow",
    "port_type": "afxdp",
    "core_ip6": IPv6Interface("2001:db8:2::1/64"),
    "next_hop6": IPv6Address("2001:db8:2::2"),
    "ue_pools": (POOL, MORE),
    "ue_pools6": (IPv6Network("2001:db8:a::/48"),),
    "access_routes": (ROUTE,),
    "access_allow": (IPv4Network("10.1.0.0/24"),),
    "access_allow6": (IPv6Network("2001:db8:9::/48"),),
    "dscp": 46,
    "router_advertisement": False,
    "dns6": (IPv6Address("2001:db8::53"),),
    "echo_seconds": 90,
    "t3_response_seconds": 5,
    "n3_requests": 5,
    "on_path_down": "remove",
    "pfcp": PFCP,
}
"""Another value of each setting of a gateway."""


def config(*gateways: Gateway, **more: Any) -> Config:
    return replace(Config(Controller(), Rest(), gateways, Path("/ofgtp.toml")), **more)


def keys(old: Gateway, new: Gateway) -> tuple[list[str], list[str]]:
    taken, reasons = differences(config(old), config(new))
    assert {each.gateway for each in taken} <= {"gw1"}
    return [each.key for each in taken], [key.removeprefix("gateway.gw1.") for key, _ in reasons]


@pytest.mark.parametrize("name", OTHERS)
def test_each_setting_is_taken_or_needs_a_restart(name: str) -> None:
    taken, reasons = keys(gateway(), gateway(**{name: OTHERS[name]}))
    key = {"port_type": "ports", "access_allow6": "access_allow", "ue_pools6": "ue_pools"}
    named = [key.get(name, name)]
    if name in ("ue_pools6", "pfcp"):  # the first of their kind
        assert reasons == named
    elif name in RELOADED:
        assert (taken, reasons) == (named, [])
    else:
        assert (taken, reasons) == ([], named)


def test_no_setting_is_forgotten() -> None:
    # The others follow from [controller].
    assert {each.name for each in fields(Gateway)} == {*OTHERS, "name", "pmd_cores", "leased"}
    assert set(RELOADED) <= set(OTHERS)


@pytest.mark.parametrize(
    ("changes", "taken", "reasons"),
    [
        ({"peers": (IPv4Network("10.4.0.0/24"),)}, ["pfcp.peers"], []),
        ({"on_peer_lost": "remove"}, ["pfcp.on_peer_lost"], []),
        ({"heartbeat_seconds": 30}, ["pfcp.heartbeat_seconds"], []),
        ({"network_instances": ("internet",)}, ["pfcp.network_instances"], []),
        ({"listen": IPv4Address("10.3.0.2")}, [], ["pfcp.listen"]),
        ({"node_id": "upf.example.org"}, [], ["pfcp.node_id"]),
    ],
)
def test_pfcp(changes: dict[str, Any], taken: list[str], reasons: list[str]) -> None:
    assert keys(gateway(pfcp=PFCP), gateway(pfcp=replace(PFCP, **changes))) == (taken, reasons)
    assert keys(gateway(pfcp=PFCP), gateway()) == ([], ["pfcp"])


@pytest.mark.parametrize(
    ("before", "after", "fits"),
    [
        ([POOL], ["10.44.0.0/14"], True),
        ([POOL, MORE], ["10.44.0.0/14"], True),
        ([POOL, MORE], [MORE, POOL], True),
        ([POOL, MORE], [POOL], False),
        ([POOL], ["10.45.0.0/17"], False),
        ([POOL], ["10.45.0.0/17", "10.45.128.0/17"], False),
    ],
)
def test_pools_may_grow(before: list[Any], after: list[Any], fits: bool) -> None:
    pools = [tuple(map(IPv4Network, each)) for each in (before, after)]
    _, reasons = keys(gateway(ue_pools=pools[0]), gateway(ue_pools=pools[1]))
    assert (reasons == []) == fits


def test_what_is_no_gateway_s() -> None:
    old = config(gateway())
    rest = Rest(port=8081, hosts=("ofgtp.example.org",), token_file=Path("/token"))
    controller = Controller(ownership="switch", usage_round_seconds=30, lease_seconds=20)
    taken, reasons = differences(old, config(gateway(), rest=rest, controller=controller))
    assert list(map(str, taken)) == [
        "usage_round_seconds: 30 now, 60 before",
        "token_file: /token now, none before",
        "hosts: ofgtp.example.org now, none before",
    ]
    assert reasons == [
        ("controller.ownership", "switch in the file, controller in use: needs a restart"),
        ("controller.lease_seconds", "20 in the file, 10 in use: needs a restart"),
        ("rest.listen", "8081 in the file, 8080 in use: needs a restart"),
    ]
    _, reasons = differences(old, config(gateway(name="gw2")))
    assert reasons == [
        ("gateway.gw2", "is new: needs a restart"),
        ("gateway.gw1", "is gone: needs a restart"),
    ]


class World:
    """Two gateways, and what is in their file."""

    def __init__(self, store: SessionStore, patch: pytest.MonkeyPatch) -> None:
        quiet(patch)
        patch.setattr(module.hostnet, "own_routes", lambda *_: {})
        self.net = Net(store, 2)
        self.net.attach_all()
        agents = list(self.net.agents.values())
        for agent in agents:
            patch.setattr(agent.host, "look", lambda _: None)
        self.file = config(*(replace(each.gateway) for each in agents))
        patch.setattr(configuration, "load", lambda _: self.file)
        running = config(*(each.gateway for each in agents))
        net = self.net
        self.reload = Reload(running, agents, {}, [], net.service, store, net.writer)

    def write(self, name: str, **changes: Any) -> None:
        each = [replace(g, **changes) if g.name == name else g for g in self.file.gateways]
        self.file = replace(self.file, gateways=tuple(each))

    def right(self) -> bool:
        """Whether the switches have what the gateways are to have now."""
        names = self.net.agents
        return all(self.net.have(name) == self.net.wanted(name) for name in names)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    store = SessionStore(tmp_path / "sessions.db")
    world = World(store, monkeypatch)
    yield world
    world.net.end()
    store.close()


def test_flows_of_all_gateways_follow(world: World) -> None:
    before = {name: world.net.have(name) for name in world.net.agents}
    world.write("gw1", access_routes=(ROUTE,))
    assert world.reload().taken == [Taken("gw1", "access_routes", "1 route now")]
    assert world.right()
    # No UE of the other gateway may send there either.
    assert all(world.net.have(name) != before[name] for name in before)
    assert ROUTE.to in world.net.agents["gw2"].protected
    assert world.reload().taken == []


def test_what_needs_no_flow_changes_none(world: World) -> None:
    table, epoch = world.net.tables["gw1"], world.net.agents["gw1"].links.epoch
    before = table.contents
    world.write("gw1", echo_seconds=120, on_path_down="remove")
    assert len(world.reload().taken) == 2
    assert (table.contents, world.net.agents["gw1"].links.epoch) == (before, epoch)
    assert world.net.agents["gw1"].signalling.peers.paths._timers.interval_s == 120


def test_a_switch_that_refuses_leaves_all_as_it_was(world: World) -> None:
    before = {name: world.net.agents[name].gateway.access_routes for name in world.net.agents}
    first, second = world.net.agents.values()
    world.net.tables["gw2"].refuse = lambda *_: TABLE_FULL
    world.write("gw1", access_routes=(ROUTE,))
    with pytest.raises(FlowsRefused):
        world.reload()
    world.net.tables["gw2"].refuse = lambda *_: None
    assert before == {name: each.gateway.access_routes for name, each in world.net.agents.items()}
    assert ROUTE.to not in (*first.protected, *second.protected)
    assert first.synced and second.synced and world.right()


def test_a_restart_for_one_setting_takes_none(world: World) -> None:
    world.write("gw1", ue_pools=(POOL, MORE))
    world.write("gw2", bridge="br-other")
    with pytest.raises(NotReloaded) as refused:
        world.reload()
    assert [key for key, _ in refused.value.reasons] == ["gateway.gw2.bridge"]
    assert world.net.agents["gw1"].gateway.ue_pools == (POOL,)
    assert world.right()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"ue_pools": (POOL, IPv4Network("10.9.0.0/16"))}, "ue_pools"),
        ({"ue_pools": (POOL, MORE)}, "ue_pools"),
        ({"access_routes": (AccessRoute(MORE, ROUTE.via),)}, "access_routes"),
    ],
)
def test_what_sessions_have_is_left_alone(world: World, changes: dict[str, Any], key: str) -> None:
    body = {
        "id": "x",
        "gateway": "gw1",
        "ue_ip": "10.45.0.9",
        "downlink": {"teid": 7, "remote_ip": "10.9.0.7"},
        "framed_routes": ["10.47.7.0/24"],
    }
    client = Client(RestApp(world.net.service))
    assert client.post("/v1/sessions", json=body).status_code == 201
    world.write("gw1", **changes)
    with pytest.raises(NotReloaded) as refused:
        world.reload()
    assert [name for name, _ in refused.value.reasons] == [f"gateway.gw1.{key}"]
    assert world.net.agents["gw1"].gateway.ue_pools == (POOL,) and world.right()
    assert client.delete("/v1/sessions/x").status_code == 204
    world.reload()


def test_a_switch_that_is_away_gets_it_later(world: World) -> None:
    world.net.detach("gw1")
    world.write("gw1", ue_pools=(POOL, MORE))
    assert "gw1" in world.reload().pending
    world.net.attach("gw1")
    assert world.right() and world.net.agents["gw1"].gateway.ue_pools == (POOL, MORE)


def test_new_pools_hold_for_quick_requests(world: World) -> None:
    request = b'{"id": "x", "gateway": "gw1", "ue_ip": "10.47.0.9"}'
    client = Client(RestApp(world.net.service))

    def post() -> int:
        return int(
            client.post("/v1/sessions", data=request, content_type="application/json").status_code
        )

    assert post() == 422
    world.write("gw1", ue_pools=(POOL, MORE))
    world.reload()
    assert post() == 201


# --- the API


class Fake:
    """A reload that comes to what it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __call__(self) -> Reloaded:
        if self.error is not None:
            raise self.error
        return Reloaded("/f", [Taken("gw1", "dscp", "46 now")], {"gw1": "it is away"})

    def token_in_file(self) -> str | None:
        return "newer"


def call(client: Client, data: bytes = b"{}", **headers: str) -> Any:
    kind = "application/json"
    return client.post("/v1/reload", data=data, content_type=kind, headers=headers)


def test_the_call() -> None:
    made = Fake()
    client = Client(RestApp(FakeService(), reload=made))
    assert call(client).get_json() == {
        "file": "/f",
        "taken": [{"gateway": "gw1", "key": "dscp", "text": "46 now"}],
        "pending": [{"gateway": "gw1", "reason": "it is away"}],
    }
    assert call(client, b"[]").status_code == 422
    assert client.post("/v1/reload", data=b"").status_code == 415
    made.error = ConfigError("is bad", line=7, key="gateway.dscp", path="/f")
    body = call(client).get_json()
    assert (body["status"], body["detail"]) == (422, "/f:7: gateway.dscp: is bad")
    assert body["errors"] == [{"loc": "gateway.dscp", "msg": "is bad", "line": 7}]
    made.error = NotReloaded([("rest.listen", "needs a restart")])
    body = call(client).get_json()
    assert body["status"] == 409
    assert body["errors"] == [{"loc": "rest.listen", "msg": "needs a restart"}]


def test_a_new_token_lets_itself_be_taken_and_no_more() -> None:
    app = RestApp(FakeService(), token="older", reload=Fake())
    client = Client(app)
    newer = {"Authorization": "Bearer newer"}
    assert call(client).status_code == 401
    assert call(client, Authorization="Bearer another").status_code == 401
    assert call(client, Authorization="Bearer older").status_code == 200
    assert call(client, Authorization="Bearer newer").status_code == 200
    assert client.get("/v1/gateways", headers=newer).status_code == 401
    app.reloaded((), "newer")
    assert client.get("/v1/gateways", headers=newer).status_code == 200


def test_without_a_reload_there_is_none(ofgtp: Shell) -> None:
    assert ofgtp("reload").code == 4
