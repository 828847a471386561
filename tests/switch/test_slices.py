"""Comparisons in slices, as under load, on the real switch; packets pass meanwhile."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest

from tests.support.lab import Lab
from tests.support.ownership import Log
from tests.support.traffic import Host, World, body, ip, until
from tests.support.watch import FlowWatch
from tests.switch.test_reconcile_switch import KEPT, PDN, Scene

pytestmark = pytest.mark.switch

UE, RATED, IDLE, VIDEO, ANOTHER = (f"10.45.0.{number}" for number in range(2, 7))
IN_SLICES = ["tests/support/in_slices.py"]
BEARER = {
    "id": "video",
    "precedence": 10,
    "filters": ["permit out udp from 10.2.0.0/24 5004 to assigned"],
    "uplink": {"teid": 51},
    "downlink": {"teid": 151, "remote_ip": "10.1.0.2"},
    "mbr": {"uplink_kbps": 2000, "downlink_kbps": 2000},
}


@pytest.fixture(scope="module")
def running() -> Iterator[Scene]:
    with Lab() as lab:
        start(lab)
        lab.mute("enb")
        yield Scene(lab, World(lab), Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN))


def start(lab: Lab, status: int = 200) -> None:
    lab.start_controller(lab.config(controller=KEPT), options=IN_SLICES, status=status)


@pytest.fixture
def scene(running: Scene) -> Scene:
    """Sessions of each kind, in sync; nothing but comparisons in slices."""
    lab, gw = running.lab, running.gw
    if lab.controller is None:
        start(lab)
    lab.wait_health(200)
    gw.clear()
    gw.session("a", UE, 1, 101)
    rated = body(RATED, 2, 102) | {"ambr": {"uplink_kbps": 5000, "downlink_kbps": 6000}}
    assert gw.put("rated", rated).status == 201
    assert gw.put("idle", body(IDLE, 3) | {"downlink": None}).status == 201
    assert gw.put("video", body(VIDEO, 5, 105) | {"bearers": [BEARER]}).status == 201
    gw.session("another", ANOTHER, 6, 106)
    gw.ping(running.enb, 1, UE, PDN)
    running.settled()
    assert "in slices" in lab.controller_log.read_text()
    return running


def cookie(scene: Scene, ue: str) -> str:
    """That of the session with this UE address."""
    flow = scene.gw.flows(f"table=30,ip,nw_src={ue}")[0]
    found = re.search(r"cookie=(0x[0-9a-f]+)", flow)
    assert found is not None
    return found[1]


def harm(scene: Scene) -> None:
    """Each kind of damage."""
    lab = scene.lab
    video, missing = cookie(scene, VIDEO), cookie(scene, RATED)
    # Of this, which comes first, the switch does not tell.
    rated = next(each for each in limits(lab) if "kbps" in each).split()[0]
    band = "bands=type=drop,rate=9,burst_size=9"
    lab.ofctl("mod-meter", "br-ofgtp", f"{rated},kbps,burst,stats,{band}")
    for flows in (
        f"table=30,cookie={missing}/-1",
        "table=70,ip,nw_dst=10.45.0.4",  # an idle session's
        "table=60",  # the gateway's own
    ):
        lab.ofctl("del-flows", "br-ofgtp", flows)
    lab.ofctl("mod-flows", "br-ofgtp", f"table=71,cookie={video}/-1,actions=drop")
    for flow in (
        # of no session: of one that may have been, and of one that never was
        "table=30,cookie=0x0f67030000000001,priority=101,ip,reg0=9,nw_src=10.45.0.99,actions=drop",
        "table=70,cookie=0x0f67037fffffffff,priority=101,ip,nw_dst=10.45.0.99,actions=drop",
        "table=200,cookie=0x0f67ff0000000001,priority=1,actions=drop",
        # as if of an idle session: of none, and of one that no address tells
        "table=70,cookie=0x0f67020000000014,priority=100,ip,nw_dst=10.45.0.98,actions=drop",
        "table=70,cookie=0x0f67020000000014,priority=99,arp,actions=drop",
        # in another's place
        f"table=70,cookie={video},priority=100,ip,nw_dst={ANOTHER},actions=drop",
    ):
        lab.ofctl("add-flow", "br-ofgtp", flow)


def limits(lab: Lab) -> list[str]:
    """The meters, one a line."""
    text = lab.ofctl("dump-meters", "br-ofgtp").split("\n", 1)[1]
    return sorted(re.sub(r"\s+", " ", each) for each in re.split(r"\n(?=meter=)", text))


def mended(scene: Scene, flows: list[str]) -> None:
    until(lambda: scene.gw.flows() == flows, "the flows are as they were", timeout=60)
    until(scene.gw.in_sync, "store and switch are equal", timeout=60)


def test_a_restart_finds_each_kind_of_damage(scene: Scene) -> None:
    """And forwards meanwhile."""
    lab, flows, meters = scene.lab, scene.gw.flows(), limits(scene.lab)
    lab.stop_controller(signal.SIGKILL)
    harm(scene)
    assert scene.gw.flows() != flows and limits(lab) != meters
    with scene.uplink() as up:
        start(lab)
        mended(scene, flows)
        until(lambda: up.sent > 100, "there was traffic")
    assert up.lost == 0
    assert limits(lab) == meters
    for teid, ue in ((1, UE), (2, RATED), (6, ANOTHER)):
        scene.gw.ping(scene.enb, teid, ue, PDN)


def test_a_restart_with_nothing_changed_touches_nothing(scene: Scene) -> None:
    flows, meters = scene.gw.flows(), limits(scene.lab)
    with FlowWatch(scene.lab) as watch, scene.uplink() as up:
        scene.lab.stop_controller(signal.SIGKILL)
        start(scene.lab)
        scene.settled()
        until(lambda: up.sent > 100, "there was traffic")
    assert (watch.events, up.lost) == ([], 0)
    assert (scene.gw.flows(), limits(scene.lab)) == (flows, meters)


def test_damage_is_mended_as_soon_as_the_switch_tells(scene: Scene) -> None:
    flows, meters = scene.gw.flows(), limits(scene.lab)
    with scene.uplink() as up:
        harm(scene)
        mended(scene, flows)
        until(lambda: up.sent > 100, "there was traffic")
    assert up.lost == 0
    assert limits(scene.lab) == meters
    scene.gw.ping(scene.enb, 6, ANOTHER, PDN)


def test_one_sessions_flows_are_mended_alone(scene: Scene) -> None:
    """The others' are not read for it: nobody walks through the tables."""
    flows, log = scene.gw.flows(), scene.lab.controller_log.read_text()
    repairs = scene.gw.report()["repairs"]
    scene.lab.ofctl("del-flows", "br-ofgtp", f"cookie={cookie(scene, VIDEO)}/-1")
    until(lambda: scene.gw.report()["repairs"] > repairs, "it is mended")
    mended(scene, flows)
    assert "read whole" not in scene.lab.controller_log.read_text()[len(log) :]


HARM = {
    "uplink flow deleted": ("del-flows", "br-ofgtp", "table=30,ip,nw_src=10.45.0.2"),
    "uplink flow changed": ("mod-flows", "br-ofgtp", "table=30,ip,nw_src=10.45.0.2,actions=drop"),
    "another before the uplink flow": (
        "add-flow",
        "br-ofgtp",
        "table=30,priority=900,ip,cookie=0x0f67037fffffffff,actions=drop",
    ),
    "downlink flow deleted": ("del-flows", "br-ofgtp", "table=70,ip,nw_dst=10.45.0.2"),
    "downlink flow changed": ("mod-flows", "br-ofgtp", "table=70,ip,nw_dst=10.45.0.2,actions=drop"),
}


@pytest.mark.parametrize("how", HARM)
def test_packets_under_way_see_what_was_mended(scene: Scene, how: str) -> None:
    """Though the switch has cached what somebody made of them."""
    lab, log = scene.lab, Log(scene.lab)
    controller = lab.controller
    assert controller is not None
    up, down = scene.uplink(), scene.downlink()
    controller.send_signal(signal.SIGSTOP)
    try:
        lab.ofctl(*HARM[how])
        lab.appctl("revalidator/purge")
        with up, down:
            hurt, well = (up, down) if "uplink" in how else (down, up)
            until(lambda: well.arrives(0.1), "what is not harmed passes")
            assert hurt.arrives(0.3) == 0
            controller.send_signal(signal.SIGCONT)
            until(lambda: up.arrives(0.2) and down.arrives(0.2), "it works again", timeout=60)
    finally:
        controller.send_signal(signal.SIGCONT)
    assert log.says("in slices")
    until(scene.gw.in_sync, "store and switch are equal", timeout=60)


def test_sessions_that_change_during_a_comparison(scene: Scene) -> None:
    """They are pending, and right in the end: new, deleted, idle, no more idle, moved."""
    lab, gw = scene.lab, scene.gw
    lab.stop_controller(signal.SIGKILL)
    begun = len(lab.controller_log.read_text())
    start(lab, status=503)
    until(lambda: "in slices" in lab.controller_log.read_text()[begun:], "flows are compared")
    posted = lab.http("POST", "/v1/sessions", {"id": "new", **body("10.45.0.9", 9, 109)})
    assert posted.status == 201
    assert lab.http("DELETE", "/v1/sessions/rated").status in (202, 204)
    for name, change in {
        "a": {"downlink": {"teid": 201}},
        "idle": {"downlink": {"teid": 103, "remote_ip": "10.1.0.2"}},
        "video": {"downlink": None},
        "another": {"downlink": None},
    }.items():
        assert lab.http("PATCH", f"/v1/sessions/{name}", change).status == 200, name
    lab.wait_health(200)
    until(lambda: gw.state("new") == "active", "it is installed")
    scene.settled()
    assert gw.flows("table=70,ip,nw_dst=10.45.0.3") == []
    gw.ping(scene.enb, 9, "10.45.0.9", PDN)
    gw.ping(scene.enb, 3, IDLE, PDN)
    assert gw.down(scene.pdn, ip(PDN, UE), scene.enb)["GTP_U_Header"].teid == 201


def test_all_of_a_switchs_flows_are_gone(scene: Scene) -> None:
    flows = scene.gw.flows()
    scene.lab.ofctl("del-flows", "br-ofgtp")
    mended(scene, flows)
    scene.gw.ping(scene.enb, 1, UE, PDN)
