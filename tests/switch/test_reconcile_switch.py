"""Store and switch are kept equal, whatever happens to either side."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import ARP, Ether

from tests.support import impostor
from tests.support.lab import Lab
from tests.support.ownership import EPOCH, Log
from tests.support.traffic import Host, World, body, inner, ip, until
from tests.support.watch import FlowWatch, Stream

KEPT = 'ownership = "switch"'

pytestmark = pytest.mark.switch

UE, UE2, UE3 = "10.45.0.2", "10.45.0.3", "10.45.0.4"
PDN = "10.2.0.2"


@dataclass
class Scene:
    lab: Lab
    gw: World
    enb: Host
    pdn: Host

    def uplink(self, ttl: int = 64, teid: int = 1, ue: str = UE, every: float = 0.005) -> Stream:
        packet = ip(ue, PDN, ttl=ttl)
        return Stream(
            self.enb, self.gw.tunnel(self.enb, teid, packet), packet, self.pdn, every=every
        )

    def downlink(self, ue: str = UE) -> Stream:
        packet = ip(PDN, ue)
        frame = bytes(Ether(src=self.pdn.mac, dst=self.gw.core_mac) / packet)
        return Stream(self.pdn, frame, packet, self.enb)

    def settled(self) -> None:
        until(self.gw.in_sync, "store and switch are equal", timeout=30)


@pytest.fixture(scope="module")
def running() -> Iterator[Scene]:
    with Lab() as lab:
        lab.start_controller(lab.config(controller=KEPT))
        lab.mute("enb")
        yield Scene(lab, World(lab), Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN))


@pytest.fixture
def scene(running: Scene) -> Scene:
    """Two sessions that work, and nothing else."""
    if running.lab.controller is None:
        running.lab.start_controller(running.lab.config(controller=KEPT))
    running.lab.wait_health(200)
    running.gw.clear()
    running.gw.session("a", UE, 1, 101)
    running.gw.session("b", UE2, 2, 102)
    running.gw.ping(running.enb, 1, UE, PDN)
    running.gw.ping(running.enb, 2, UE2, PDN)
    running.settled()
    return running


def durations(scene: Scene) -> list[float]:
    dumped = scene.lab.ofctl("dump-flows", "br-ofgtp", "cookie=0x0f67000000000000/-1")
    dumped = scene.lab.ofctl("dump-flows", "br-ofgtp")
    return [float(found) for found in re.findall(r"duration=([0-9.]+)s", dumped)]


# --- the controller's restart


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_restart_changes_nothing(scene: Scene, how: signal.Signals) -> None:
    """Sessions are back, no flow was touched, no packet was lost, uplink or downlink."""
    scene.lab.appctl("revalidator/purge")  # flows' counters follow at once
    before = scene.gw.sessions()
    flows = scene.gw.flows()
    with FlowWatch(scene.lab) as watch, scene.uplink(ttl=128) as up, scene.downlink(UE2) as down:
        scene.lab.stop_controller(how)
        scene.lab.start_controller(scene.lab.config(controller=KEPT))
        scene.settled()
        until(lambda: up.sent > 100 and down.sent > 100, "there was traffic")
    assert watch.events == []
    assert (up.lost, down.lost) == (0, 0)
    assert scene.gw.flows() == flows
    after = scene.gw.sessions()
    for old, new in zip(before, after, strict=True):
        packets = [each.pop("counters")["uplink"]["packets"] for each in (old, new)]
        assert old == new
        assert packets[1] >= packets[0] > 0


def test_watch_sees_changes(scene: Scene) -> None:
    """What the tests here rely on: the switch tells of each kind of change."""
    with FlowWatch(scene.lab) as watch:
        scene.gw.session("c", UE3, 3, 103)
        scene.gw.session("c", UE3, 3, 104)
        assert scene.lab.http("DELETE", "/v1/sessions/c").status == 204
    kinds = [event.split()[0] for event in watch.events]
    assert kinds.count("event=ADDED") == 2 and kinds.count("event=DELETED") == 2
    assert "event=MODIFIED" in kinds


# --- flows that others touch


def test_flows_changed_by_hand_while_away_are_put_right(scene: Scene) -> None:
    lab = scene.lab
    right = scene.gw.flows()
    strangers = [
        "table=201,cookie=0x1234,priority=5,ip,actions=drop",
        "table=30,cookie=0x0f66030000000001,priority=7,ip,reg0=0x77,actions=drop",
        "table=70,cookie=0,priority=3,tcp,actions=drop",
    ]
    foreign = [
        # sessions that nobody knows, a field that no rule of ours matches, a timeout
        "table=30,cookie=0x0f67030000ffffff,priority=100,ip,reg0=0x99,nw_src=10.45.0.99,"
        "actions=goto_table:40",
        "table=70,cookie=0x0f67030000ffffff,priority=100,tcp,nw_dst=10.45.0.2,tp_dst=80,"
        "actions=drop",
        "table=200,cookie=0x0f67ff0000000001,priority=1,actions=drop",
        "table=70,cookie=0x0f67030000ffffff,priority=200,hard_timeout=600,ip,actions=drop",
    ]
    lab.stop_controller(signal.SIGKILL)
    for flow in (*strangers, *foreign):
        lab.ofctl("add-flow", "br-ofgtp", flow)
    lab.ofctl("del-flows", "br-ofgtp", "table=30,reg0=2")
    lab.ofctl(
        "mod-flows", "--strict", "br-ofgtp", f"table=70,priority=100,ip,nw_dst={UE},actions=drop"
    )
    # rightly matched and acted on, under a cookie that is another session's, or nobody's
    uplink = "priority=100,ip,reg0=1,nw_src=10.45.0.2,actions=goto_table:40"
    lab.ofctl("add-flow", "br-ofgtp", f"table=30,cookie=0x0f67030000fffff0,{uplink}")
    lab.ofctl(
        "add-flow", "br-ofgtp", "table=0,cookie=5,priority=100,in_port=2,actions=goto_table:25"
    )
    lab.ofctl("del-flows", "br-ofgtp", "table=60")
    with FlowWatch(lab) as watch:
        lab.start_controller(lab.config(controller=KEPT))
        scene.settled()
    assert watch.events
    found = scene.gw.flows()
    left = [flow for flow in found if flow not in right]
    assert len(left) == 3 and {flow.split(",")[0] for flow in left} == {
        "cookie=0x1234",
        "cookie=0xf66030000000001",
        "table=70",
    }
    assert [flow for flow in right if flow not in found] == []
    for teid, ue in ((1, UE), (2, UE2)):
        scene.gw.ping(scene.enb, teid, ue, PDN)
    for table in (201, 30, 70):
        lab.ofctl("del-flows", "br-ofgtp", f"table={table},cookie=0/0xffff000000000000")
    lab.ofctl("del-flows", "br-ofgtp", "table=30,cookie=0x0f66030000000001/-1")


# --- the switch's restart


def test_switch_restart(scene: Scene) -> None:
    """A dead switch shows; its sessions come back with it."""
    flows = scene.gw.flows()
    scene.lab.stop_vswitchd()
    until(lambda: not scene.gw.report()["connected"], "the controller notices")
    health = scene.lab.http("GET", "/v1/health")
    assert health.status == 503 and health.json()["status"] == "degraded"
    assert health.json()["gateways"][0]["problem"]
    assert scene.gw.state("a") == "active"
    scene.lab.start_vswitchd()
    scene.lab.wait_health(200)
    scene.settled()
    assert scene.gw.flows() == flows
    for teid, ue in ((1, UE), (2, UE2)):
        scene.gw.ping(scene.enb, teid, ue, PDN)


def test_changes_while_the_switch_is_away(scene: Scene) -> None:
    lab, gw = scene.lab, scene.gw
    lab.stop_vswitchd()
    until(lambda: not gw.report()["connected"], "the controller notices")
    posted = lab.http("POST", "/v1/sessions", {"id": "new", **body(UE3, 3, 103)})
    assert (posted.status, posted.json()["state"]) == (201, "pending")
    changed = lab.http("PATCH", "/v1/sessions/a", {"downlink": {"teid": 201}})
    assert (changed.status, changed.json()["state"]) == (200, "pending")
    assert lab.http("DELETE", "/v1/sessions/b").status == 202
    assert lab.http("GET", "/v1/sessions/b").status == 404
    assert lab.http("POST", "/v1/sessions", body(UE3, 9)).status == 409
    lab.start_vswitchd()
    lab.wait_health(200)
    until(lambda: gw.state("new") == gw.state("a") == "active", "they are installed")
    scene.settled()
    assert not [flow for flow in gw.flows() if UE2 in flow]
    gw.ping(scene.enb, 3, UE3, PDN)
    got = gw.down(scene.pdn, ip(PDN, UE), scene.enb)
    assert got["GTP_U_Header"].teid == 201 and inner(got)[IP].dst == UE


def test_deleted_while_the_controller_knows_of_no_switch(scene: Scene) -> None:
    """Flows outlive the controller; a session deleted before it sees the switch is gone after."""
    lab, gw = scene.lab, scene.gw
    vswitchd = int((lab.dir / "ovs-vswitchd.pid").read_text())
    lab.stop_controller()
    os.kill(vswitchd, signal.SIGSTOP)
    try:
        lab.start_controller(lab.config(controller=KEPT), status=503)
        assert lab.http("DELETE", "/v1/sessions/b").status == 202
        assert gw.session("a", UE, 1, 301)["state"] == "pending"
    finally:
        os.kill(vswitchd, signal.SIGCONT)
    lab.wait_health(200)
    scene.settled()
    assert not [flow for flow in gw.flows() if UE2 in flow]
    assert gw.state("a") == "active"
    assert [flow for flow in gw.flows("table=70") if "0x12d->tun_id" in flow]


def test_ovsdb_restart(scene: Scene) -> None:
    """No flow is touched. The switch itself stands still until it has its database again."""
    lab, gw = scene.lab, scene.gw
    flows = gw.flows()
    with FlowWatch(lab) as watch, scene.uplink() as up, scene.downlink() as down:
        lab.stop_ovsdb()
        until(lambda: lab.http("GET", "/v1/health").json()["gateways"][0]["problem"], "it shows")
        assert gw.session("c", UE3, 3, 103)["state"] == "pending"
        lab.start_ovsdb()
        until(lambda: up.arrives(0.1) and down.arrives(0.1), "packets go on", timeout=30)
        until(lambda: gw.state("c") == "active", "the new session is installed", timeout=30)
        lab.wait_health(200)
    touched = [event for event in watch.events if not EPOCH.search(event)]
    assert [event.split()[0] for event in touched] == ["event=ADDED"] * 2
    assert set(flows) < set(gw.flows())
    gw.ping(scene.enb, 3, UE3, PDN)
    scene.settled()


# --- who is the switch


@pytest.mark.parametrize("description", ["", "ofgtp 0123456789abcdef0123456789abcdef"])
def test_impostor_is_refused(scene: Scene, description: str) -> None:
    """It claims the bridge's datapath id, and gets no flow; the bridge goes on as before."""
    lab, log = scene.lab, Log(scene.lab)
    with lab.inside("gw"):
        sock = socket.create_connection(("127.0.0.1", 6653))
    fake = impostor.Impostor(sock, int(scene.gw.report()["datapath_id"], 16), description)
    with sock, FlowWatch(lab) as watch, scene.uplink() as up:
        assert fake.run(30.0), "the controller keeps the connection"
    assert impostor.MULTIPART_REQUEST in fake.heard
    wrong = {impostor.FLOW_MOD, impostor.BUNDLE_CONTROL, impostor.BUNDLE_ADD}
    assert not wrong.intersection(fake.heard)
    assert watch.events == [] and up.lost == 0
    assert log.says("is not that bridge")
    assert lab.http("GET", "/v1/health").status == 200
    assert scene.gw.session("c", UE3, 3, 103)["state"] == "active"
    scene.gw.ping(scene.enb, 3, UE3, PDN)


# --- changes while packets come: what the switch has cached follows


@pytest.mark.parametrize("ttl", [64, 100, 128])
def test_deleted_session_ends_under_traffic(scene: Scene, ttl: int) -> None:
    with scene.uplink(ttl) as up:
        until(lambda: up.take(), "the session works")
        assert scene.lab.http("DELETE", "/v1/sessions/a").status == 204
        scene.lab.cache_follows()
        up.take()
        assert up.arrives(0.7) == 0
        assert up.sent > 50


@pytest.mark.parametrize("ttl", [64, 128])
def test_new_session_begins_under_traffic(scene: Scene, ttl: int) -> None:
    """Its packets were misses before, and go on; neighbours come and go meanwhile."""
    with scene.uplink(ttl, teid=3, ue=UE3) as up:
        until(lambda: scene.gw.drops("no_uplink_session") > 20, "misses are counted")
        assert up.take() == 0
        for number in range(3):
            scene.gw.session("c", UE3, 3, 103)
            scene.gw.session(f"d{number}", f"10.45.1.{1 + number}", 50 + number, 150 + number)
            until(lambda: up.arrives(0.3) > 30, "its packets pass")


def test_next_hop_moves_under_traffic(scene: Scene) -> None:
    mac = scene.pdn.mac
    other = "0a:00:00:00:00:99"
    try:
        with scene.uplink() as up:
            until(lambda: up.take(), "the session works")
            scene.lab.exec("pdn", ["ip", "link", "set", "eth0", "address", other])
            news = Ether(src=other, dst="ff:ff:ff:ff:ff:ff") / ARP(
                op=1, hwsrc=other, psrc=PDN, pdst=PDN
            )
            scene.pdn.port.send(bytes(news))
            to = bytes.fromhex(other.replace(":", ""))
            until(
                lambda: scene.pdn.port.receive(
                    1, want=lambda got: got[:6] == to and b"test" in got
                ),
                "packets go to the new MAC",
            )
            scene.pdn.port.drain()
            frames = scene.pdn.port.receive(50, want=lambda got: b"of the test" in got)
            assert len(frames) == 50 and {frame[:6] for frame in frames} == {to}
    finally:
        scene.lab.exec("pdn", ["ip", "link", "set", "eth0", "address", mac])
        until(
            lambda: scene.gw.report()["next_hop"]["mac"] == mac, "the old MAC is back", timeout=30
        )
