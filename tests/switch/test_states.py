"""What is made on the host is kept, and comes back when somebody takes it away."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.lab import Lab
from tests.support.traffic import Host, World, ip, until

pytestmark = pytest.mark.switch

UE = "10.45.0.2"
PDN = "10.2.0.2"
AUDIT = 20.0
"""Within this time, in seconds, the host's part must be put right, however much the machine has to
do."""

OPTIONS = 'access_routes = [{to = "10.9.0.0/16", via = "10.1.0.254"}]'


@dataclass
class Scene:
    lab: Lab
    gw: World
    enb: Host
    pdn: Host

    def both_ways(self) -> None:
        self.gw.ping(self.enb, 1, UE, PDN)
        self.gw.down(self.pdn, ip(PDN, UE), self.enb)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab() as lab:
        for port in ("eth1", "eth2"):
            lab.exec("gw", ["ethtool", "-K", port, "gro", "on"])
        lab.start_controller(lab.config(gateway=OPTIONS))
        made = Scene(lab, World(lab), Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN))
        made.gw.session("a", UE, 1, 101)
        made.both_ways()
        yield made


def shown(scene: Scene, *argv: str) -> str:
    return scene.lab.exec("gw", argv).stdout


def comes_back(ask: Callable[[], bool], what: str) -> None:
    until(ask, f"{what} is back", timeout=AUDIT)


def offloads(scene: Scene, port: str) -> dict[str, str]:
    features = json.loads(shown(scene, "ethtool", "--json", "-k", port))[0]
    names = ("generic-receive-offload", "large-receive-offload", "rx-gro-hw")
    return {name: features[name]["active"] for name in names if name in features}


@pytest.mark.parametrize("port", ["eth1", "eth2"])
def test_receive_offloads_are_off(scene: Scene, port: str) -> None:
    assert "generic-receive-offload" in offloads(scene, port)
    assert not any(offloads(scene, port).values())
    scene.lab.exec("gw", ["ethtool", "-K", port, "gro", "on"])
    comes_back(lambda: not any(offloads(scene, port).values()), "GRO off")


def test_offloads_before_are_remembered(scene: Scene) -> None:
    for port in map(scene.lab.end, ("eth1", "eth2")):
        kept = scene.lab.vsctl("get", "Interface", port, "external_ids:ofgtp-gro")
        assert kept.strip() == "on"


def test_nft_rules_flushed_by_hand(scene: Scene) -> None:
    rules = shown(scene, "nft", "-s", "list", "ruleset")
    assert "hook ingress" in rules
    scene.lab.exec("gw", ["nft", "flush", "ruleset"])
    assert not shown(scene, "nft", "-s", "list", "ruleset")
    comes_back(lambda: shown(scene, "nft", "-s", "list", "ruleset") == rules, "the ruleset")
    scene.both_ways()


def test_nft_rule_changed_by_hand(scene: Scene) -> None:
    rules = shown(scene, "nft", "-s", "list", "ruleset")
    scene.lab.exec("gw", ["nft", "delete", "chain", "netdev", "ofgtp_br-ofgtp", "access_in"])
    comes_back(lambda: shown(scene, "nft", "-s", "list", "ruleset") == rules, "the rule")
    stranger = "table ip stranger { chain in { type filter hook input priority 9; }; }"
    scene.lab.exec("gw", ["nft", stranger])
    scene.lab.exec("gw", ["nft", "delete", "table", "netdev", "ofgtp_br-ofgtp"])
    comes_back(lambda: "ofgtp_br-ofgtp" in shown(scene, "nft", "list", "ruleset"), "our table")
    assert "stranger" in shown(scene, "nft", "list", "ruleset")
    scene.lab.exec("gw", ["nft", "delete", "table", "ip", "stranger"])


def test_address_taken_by_hand(scene: Scene) -> None:
    """The routes that go with it come back too, and the switch encapsulates again."""
    scene.lab.exec("gw", ["ip", "addr", "flush", "dev", "br-ofgtp"])
    comes_back(
        lambda: "10.1.0.1/24" in shown(scene, "ip", "addr", "show", "br-ofgtp"), "the address"
    )
    comes_back(lambda: "10.9.0.0/16" in shown(scene, "ip", "route"), "the route")
    scene.both_ways()


def test_route_taken_or_turned_by_hand(scene: Scene) -> None:
    def there() -> bool:
        return "via 10.1.0.254" in shown(scene, "ip", "route", "show", "10.9.0.0/16")

    assert there()
    scene.lab.exec("gw", ["ip", "route", "del", "10.9.0.0/16"])
    comes_back(there, "the route")


def test_device_set_down_by_hand(scene: Scene) -> None:
    for device in ("br-ofgtp", "eth1", "eth2"):
        scene.lab.exec("gw", ["ip", "link", "set", device, "down"])
    for device in ("br-ofgtp", "eth1", "eth2"):
        comes_back(lambda dev=device: "UP" in shown(scene, "ip", "link", "show", dev), device)
    scene.both_ways()


@pytest.mark.parametrize("port", ["eth1", "eth2", "br-ofgtp-g"])
def test_port_deleted_by_hand(scene: Scene, port: str) -> None:
    port = scene.lab.end(port)
    scene.lab.vsctl("del-port", "br-ofgtp", port)
    comes_back(lambda: port in scene.lab.vsctl("list-ports", "br-ofgtp").split(), port)
    scene.both_ways()
    until(scene.gw.in_sync, "the flows fit the new port")


def test_controller_setting_deleted_by_hand(scene: Scene) -> None:
    """Deleting it makes the switch throw its flows away: they come back with it."""
    flows = scene.gw.flows()
    scene.lab.vsctl("del-controller", "br-ofgtp")
    until(lambda: scene.gw.flows() == flows, "all flows are back")
    scene.lab.wait_health(200)
    scene.both_ways()


def test_bridge_deleted_by_hand(scene: Scene) -> None:
    scene.lab.vsctl("del-br", "br-ofgtp")
    until(lambda: "br-ofgtp" in scene.lab.vsctl("list-br"), "the bridge is back")
    scene.lab.wait_health(200)
    until(scene.gw.in_sync, "its flows are back")
    scene.both_ways()


def test_a_port_that_the_host_takes_is_a_state(scene: Scene) -> None:
    """An address on the access port while running: said, and over when it is gone."""
    scene.lab.exec("gw", ["ip", "addr", "add", "192.0.2.7/24", "dev", "eth1"])
    until(lambda: "192.0.2.7" in str(scene.gw.report()["problem"]), "it is said")
    scene.lab.exec("gw", ["ip", "addr", "del", "192.0.2.7/24", "dev", "eth1"])
    until(lambda: scene.gw.report()["problem"] is None, "it is over")
    scene.both_ways()


@pytest.mark.parametrize(("port", "number"), [("eth1", 1), ("eth2", 2), ("br-ofgtp-g", 3)])
def test_port_comes_back_under_another_number(scene: Scene, port: str, number: int) -> None:
    """Somebody's own port has taken its OpenFlow number: the flows follow."""
    port = scene.lab.end(port)
    taker = ["add-port", "br-ofgtp", "taker", "--", "set", "Interface", "taker", "type=internal"]
    scene.lab.vsctl("del-port", "br-ofgtp", port, "--", *taker, f"ofport_request={number}")
    try:
        comes_back(lambda: port in scene.lab.vsctl("list-ports", "br-ofgtp").split(), port)
        until(scene.gw.in_sync, "the flows fit the new number")
        assert scene.lab.vsctl("get", "Interface", port, "ofport").strip() != str(number)
        scene.both_ways()
    finally:
        scene.lab.vsctl("del-port", "br-ofgtp", "taker")
        until(scene.gw.in_sync, "the flows fit once more")
