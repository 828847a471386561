"""REST against the real switch: what is answered is so, in the switch and in the store."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.l2 import Ether

from tests.support.lab import Lab
from tests.support.traffic import Host, World, body, ip, until
from tests.support.watch import FlowWatch

KEPT = 'ownership = "switch"'  # sessions outlive a stop
PENDING_S = 9.0
"""A request takes no longer than this, on a machine that has much to do."""

pytestmark = pytest.mark.switch

UE, UE2, UE3 = "10.45.0.2", "10.45.0.3", "10.45.0.4"
PDN = "10.2.0.2"


@dataclass
class Scene:
    lab: Lab
    gw: World
    enb: Host
    pdn: Host

    def everything(self) -> tuple[list[str], list[dict[str, Any]]]:
        """The switch's flows and the store's sessions."""
        sessions = [{**each, "counters": None} for each in self.gw.sessions()]
        return self.gw.flows(), sessions

    @contextmanager
    def full(self, table: int, flows: int) -> Iterator[None]:
        """The switch takes no more than so many flows into a table."""
        limit = ["--", "--id=@t", "create", "Flow_Table", f"flow_limit={flows}"]
        limit += ["overflow_policy=refuse"]
        of = ["--", "set", "Bridge", "br-ofgtp", f"flow_tables:{table}=@t"]
        self.lab.vsctl(*limit, *of)
        try:
            yield
        finally:
            self.lab.vsctl("clear", "Bridge", "br-ofgtp", "flow_tables")

    def count(self, table: int) -> int:
        return len(self.gw.flows(f"table={table}"))


@pytest.fixture(scope="module")
def running() -> Iterator[Scene]:
    with Lab() as lab:
        lab.start_controller(lab.config(controller=KEPT))
        lab.mute("enb")
        # no ICMP answers to the tests' packets: packets are counted
        rule = "type filter hook input priority 0; udp dport 4000 drop;"
        lab.exec("pdn", ["nft", f"table ip quiet {{ chain in {{ {rule} }}; }}"])
        yield Scene(lab, World(lab), Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN))


@pytest.fixture
def scene(running: Scene) -> Scene:
    running.gw.clear()
    until(running.gw.in_sync, "nothing is left to do")
    return running


def counters(session: dict[str, Any]) -> tuple[int, int]:
    return tuple(session["counters"][way]["packets"] for way in ("uplink", "downlink"))


def counted_for(session: dict[str, Any]) -> tuple[int, int]:
    """Seconds."""
    return tuple(session["counters"][way]["duration_seconds"] for way in ("uplink", "downlink"))


# --- one session's life


def test_life_of_a_session(scene: Scene) -> None:
    """Created, replaced, patched, idle, deleted: the switch follows, and counts real packets."""
    lab, gw = scene.lab, scene.gw
    gw.session("other", UE3, 3, 103)
    gw.ping(scene.enb, 3, UE3, PDN)  # now all neighbours are known
    answer = lab.http("POST", "/v1/sessions", {"id": "a", **body(UE, 1, 101)})
    assert (answer.status, answer.headers["location"]) == (201, "/v1/sessions/a")
    made = answer.json()
    assert made["state"] == "active" and counters(made) == (0, 0)
    for _ in range(7):
        scene.enb.port.send(gw.tunnel(scene.enb, 1, ip(UE, PDN)))
    for _ in range(5):
        down = Ether(src=scene.pdn.mac, dst=gw.core_mac) / ip(PDN, UE)
        scene.pdn.port.send(bytes(down))
    wanted = (7, 5)
    until(lambda: counters(gw.get("a")) == wanted, "each packet is counted once")
    shown = lab.http("GET", "/v1/sessions/a/flows").json()["items"]
    assert [each["direction"] for each in shown] == ["uplink", "downlink"]
    assert tuple(each["packets"] for each in shown) == wanted
    assert gw.get("a")["counters"]["uplink"]["bytes"] == len(ip(UE, PDN)) * wanted[0]
    listed = lab.http("GET", f"/v1/sessions?ue_ip={UE}").json()["items"]
    assert [counters(each) for each in listed] == [wanted]

    other = lab.http("PUT", "/v1/sessions/a", body(UE, 1, 201))
    assert (other.status, other.json()["state"]) == (200, "active")
    assert counters(other.json()) == wanted  # the flow was modified, not made anew

    def teid() -> int:
        return int(gw.down(scene.pdn, ip(PDN, UE), scene.enb)[GTP_U_Header].teid)

    until(lambda: teid() == 201, "packets go the new way")

    idle = lab.http("PATCH", "/v1/sessions/a", {"downlink": None})
    assert (idle.status, idle.json()["downlink"]) == (200, None)
    lab.cache_follows()
    before_drop = gw.drops("idle_ue")
    scene.pdn.port.send(bytes(Ether(src=scene.pdn.mac, dst=gw.core_mac) / ip(PDN, UE)))
    until(lambda: gw.drops("idle_ue") == before_drop + 1, "it is dropped as idle")
    gw.up(scene.enb, 1, ip(UE, PDN), scene.pdn)

    assert lab.http("DELETE", "/v1/sessions/a").status == 204
    assert not [flow for flow in gw.flows() if UE in flow]
    assert lab.http("GET", "/v1/sessions/a").status == 404
    assert lab.http("DELETE", "/v1/sessions/a").status == 404


def test_a_count_says_for_how_long_it_is(scene: Scene) -> None:
    """It is the session's since it was made, whatever becomes of its flows."""
    gw = scene.gw

    def patch(change: dict[str, Any]) -> None:
        assert scene.lab.http("PATCH", "/v1/sessions/a", change).status == 200

    gw.session("a", UE, 1, 101)
    gw.ping(scene.enb, 1, UE, PDN)
    until(lambda: min(counters(gw.get("a"))) >= 1, "the ping is counted")
    until(lambda: min(counted_for(gw.get("a"))) >= 3, "it is 3 s old", timeout=10)
    before = counters(gw.get("a"))
    patch({"downlink": {"teid": 201, "remote_ip": "10.1.0.2"}})
    patch({"downlink": None})
    patch({"downlink": {"teid": 301, "remote_ip": "10.1.0.2"}})
    patch({"uplink": {"remote_ip": "10.1.0.2"}})
    assert min(counted_for(gw.get("a"))) >= 3
    assert counters(gw.get("a")) == before


def test_put_again_changes_nothing(scene: Scene) -> None:
    first = scene.gw.session("a", UE, 1, 101)
    with FlowWatch(scene.lab) as watch:
        assert scene.gw.put("a", body(UE, 1, 101)).status == 200
    assert watch.events == []
    assert scene.gw.get("a")["created_at"] == first["created_at"]


# --- refused by the gateway: nothing changes


def test_refused_requests_change_nothing(scene: Scene) -> None:
    lab, gw = scene.lab, scene.gw
    gw.session("a", UE, 1, 101)
    gw.session("b", UE2, 2, 102)
    before = scene.everything()
    conflicts = [
        ("POST", "/v1/sessions", {"id": "a", **body(UE3, 3, 103)}, "id"),
        ("POST", "/v1/sessions", body(UE, 3, 103), "ue_ip"),
        ("PUT", "/v1/sessions/c", body(UE3, 1, 103), "uplink.teid"),
        ("PUT", "/v1/sessions/b", body(UE, 2, 102), "ue_ip"),
        ("PATCH", "/v1/sessions/b", {"downlink": {"teid": 101}}, "downlink"),
    ]
    for method, path, resource, loc in conflicts:
        answer = lab.http(method, path, resource)
        assert (answer.status, answer.json()["session"]) == (409, "a"), answer.body
        assert answer.json()["errors"][0]["loc"] == loc
    invalid = [
        ("POST", "/v1/sessions", body("192.0.2.1", 3), "ue_ip"),
        ("POST", "/v1/sessions", body(UE3, 0), "uplink.teid"),
        ("PUT", "/v1/sessions/c", body(UE3, 3, 103, "10.1.0.1"), "downlink.remote_ip"),
        ("PUT", "/v1/sessions/a", body(UE, 1, 101, "10.1.0.255"), "downlink.remote_ip"),
        ("PUT", "/v1/sessions/a", {**body(UE, 1, 101), "id": "z"}, "id"),
        ("PUT", "/v1/sessions/a", {**body(UE, 1, 101), "colour": "red"}, "colour"),
        ("PATCH", "/v1/sessions/a", {"uplink": {"remote_ip": "224.0.0.1"}}, "uplink.remote_ip"),
        ("PATCH", "/v1/sessions/a", {"ue_ip": None}, "ue_ip"),
    ]
    for method, path, resource, loc in invalid:
        answer = lab.http(method, path, resource, headers={"Content-Type": "application/json"})
        assert answer.status == 422, (resource, answer.body)
        assert loc in {each["loc"] for each in answer.json()["errors"]}, answer.body
    assert scene.everything() == before


# --- batches


def puts(count: int) -> list[dict[str, Any]]:
    def session(n: int) -> dict[str, Any]:
        return {"id": f"u{n}", **body(f"10.45.{4 + n // 250}.{1 + n % 250}", 1000 + n, 5000 + n)}

    return [{"op": "put", "session": session(n)} for n in range(count)]


def test_batch(scene: Scene) -> None:
    gw = scene.gw
    gw.session("a", UE, 1, 101)
    change = {"op": "put", "session": {"id": "u5", **body("10.45.200.5", 9005, 9005)}}
    ops = [*puts(300), {"op": "delete", "id": "a"}, change, {"op": "delete", "id": "u7"}]
    answer = gw.batch(*ops)
    assert (answer.status, answer.json()) == (200, {"created": 300, "replaced": 1, "deleted": 2})
    assert scene.count(30) - 3 == scene.count(70) - 1 == len(gw.sessions()) == 299
    assert {each["state"] for each in gw.sessions()} == {"active"}
    assert gw.difference() == []


@pytest.mark.parametrize(
    "bad",
    [
        {"op": "put", "session": body("192.0.2.1", 77)},
        {"op": "put", "session": body(UE, 77)},
        {"op": "delete", "id": "nobody"},
        {"op": "turn"},
    ],
)
def test_batch_with_a_bad_last_line_changes_nothing(scene: Scene, bad: dict[str, Any]) -> None:
    scene.gw.session("a", UE, 1, 101)
    scene.gw.session("u3", "10.45.250.1", 3, 103)
    before = scene.everything()
    with FlowWatch(scene.lab) as watch:
        answer = scene.gw.batch(*puts(200), bad)
    assert answer.status == 422, answer.body
    assert [error["line"] for error in answer.json()["errors"]] == [201]
    assert watch.events == []
    assert scene.everything() == before


# --- refused by the switch


def refusal(answer: Any) -> None:
    assert answer.status == 502, answer.body
    assert "table is full" in answer.body.decode().lower() or "TABLE_FULL" in answer.body.decode()


@pytest.mark.parametrize("table", [30, 70])
def test_session_that_the_switch_refuses(scene: Scene, table: int) -> None:
    scene.gw.session("a", UE, 1, 101)
    before = scene.everything()
    with scene.full(table, scene.count(table)):
        refusal(scene.lab.http("POST", "/v1/sessions", {"id": "b", **body(UE2, 2, 102)}))
        refusal(scene.gw.put("b", body(UE2, 2, 102)))
        assert scene.everything() == before
        assert scene.lab.http("GET", "/v1/sessions/b").status == 404
        assert scene.gw.ping(scene.enb, 1, UE, PDN)
        assert scene.lab.http("GET", "/v1/health").status == 200
    made = scene.lab.http("POST", "/v1/sessions", {"id": "b", **body(UE2, 2, 102)})
    assert (made.status, made.json()["state"]) == (201, "active")
    scene.gw.ping(scene.enb, 2, UE2, PDN)


def test_replacement_that_the_switch_refuses(scene: Scene) -> None:
    """The old session goes on, packets and all."""
    scene.gw.session("a", UE, 1, 101)
    scene.gw.ping(scene.enb, 1, UE, PDN)
    before = scene.everything()
    with scene.full(30, 1):
        refusal(scene.gw.put("a", body(UE, 11, 111)))
        refusal(scene.lab.http("PATCH", "/v1/sessions/a", {"uplink": {"teid": 12}}))
        assert scene.everything() == before
        scene.gw.ping(scene.enb, 1, UE, PDN)
    changed = scene.gw.put("a", body(UE, 11, 111))
    assert (changed.status, changed.json()["state"]) == (200, "active")
    scene.gw.ping(scene.enb, 11, UE, PDN)


def test_batch_that_the_switch_refuses(scene: Scene) -> None:
    """Of 100 sessions, a deletion and a change the switch could take 99; it gets none."""
    gw = scene.gw
    gw.session("a", UE, 1, 101)
    gw.session("b", UE2, 2, 102)
    before = scene.everything()
    change = {"op": "put", "session": {"id": "b", **body(UE2, 2, 202)}}
    ops = [{"op": "delete", "id": "a"}, change, *puts(100)]
    with scene.full(70, scene.count(70) + 50):
        refusal(gw.batch(*ops))
        assert scene.everything() == before
        gw.ping(scene.enb, 1, UE, PDN)
    assert gw.batch(*ops).json() == {"created": 100, "replaced": 1, "deleted": 1}
    assert gw.difference() == []


def test_batch_without_ids(scene: Scene) -> None:
    """Lines that leave the id to us are as many sessions, each with its flows."""
    lines = [
        {"op": "put", "session": body(ue, n, 100 + n)} for n, ue in enumerate((UE, UE2, UE3), 1)
    ]
    assert scene.gw.batch(*lines).json() == {"created": 3, "replaced": 0, "deleted": 0}
    assert [each["state"] for each in scene.gw.sessions()] == ["active"] * 3
    assert scene.gw.difference() == []
    scene.gw.ping(scene.enb, 3, UE3, PDN)


def test_session_that_the_switch_refuses_later(scene: Scene) -> None:
    """It alone is failed, with the reason, and the rest is put right; a PUT installs it again."""
    scene.gw.session("a", UE, 1, 101)
    scene.gw.session("idle", UE2, 2)
    with scene.full(70, scene.count(70) - 1):
        scene.lab.ofctl("del-flows", "br-ofgtp", "table=70")
        until(lambda: scene.gw.state("idle") == "failed", "the session that has no room is failed")
        assert "TABLE_FULL" in scene.gw.get("idle")["reason"]
        assert scene.gw.state("a") == "active"
        scene.gw.ping(scene.enb, 1, UE, PDN)
    again = scene.gw.put("idle", body(UE2, 2))
    assert (again.status, again.json()["state"], again.json()["reason"]) == (200, "active", None)
    assert scene.gw.difference() == []


# --- a switch that does not answer


def test_switch_that_stands_still(scene: Scene) -> None:
    """Pending after 5 s, and active by itself as soon as it goes on."""
    gw = scene.gw
    gw.session("a", UE, 1, 101)
    vswitchd = int((scene.lab.dir / "ovs-vswitchd.pid").read_text())
    os.kill(vswitchd, signal.SIGSTOP)
    try:
        began = time.monotonic()
        changed = gw.session("a", UE, 1, 201)
        assert time.monotonic() - began < PENDING_S
        assert changed["state"] == "pending"
        began = time.monotonic()
        assert gw.session("b", UE2, 2, 102)["state"] == "pending"
        assert scene.lab.http("GET", "/v1/sessions/b").json()["state"] == "pending"
        assert time.monotonic() - began < PENDING_S
    finally:
        os.kill(vswitchd, signal.SIGCONT)
    until(lambda: gw.state("a") == gw.state("b") == "active", "both become active", timeout=30)
    scene.lab.wait_health(200)
    assert gw.difference() == []
    assert [flow for flow in gw.flows("table=70") if "0xc9->tun_id" in flow]
    gw.ping(scene.enb, 2, UE2, PDN)


# --- the text for ovs-ofctl


def test_flows_text_is_what_the_switch_has(scene: Scene) -> None:
    """replace-flows and add-flows take it, and there is nothing that they or we would change."""
    lab, gw = scene.lab, scene.gw
    gw.session("a", UE, 1, 101)
    gw.session("idle", UE2, 2)
    pinned = {**body(UE3, 3, 103), "uplink": {"teid": 3, "remote_ip": "10.1.0.2"}}
    assert gw.put("pinned", pinned).status == 201
    assert gw.difference() == []
    flows = gw.flows()
    text = lab.dir / "all.flows"
    text.write_text(gw.wanted())
    assert len(text.read_text().splitlines()) == len(flows)
    for command in ("add-flows", "replace-flows"):
        lab.ofctl(command, "br-ofgtp", str(text))
        assert gw.flows() == flows
        assert gw.difference() == []
    lab.stop_controller()
    lab.ofctl("del-flows", "br-ofgtp")
    lab.ofctl("add-flows", "br-ofgtp", str(text))
    with FlowWatch(lab) as watch:
        lab.start_controller(lab.config(controller=KEPT))
        until(gw.in_sync, "the controller has compared")
    assert watch.events == []
    gw.ping(scene.enb, 3, UE3, PDN)


# --- many at once


def test_concurrent_requests_end_with_store_and_switch_equal(scene: Scene) -> None:
    """16 clients put, get and delete 50 ids at random, with colliding addresses and TEIDs."""
    lab, gw = scene.lab, scene.gw
    end = time.monotonic() + 6
    allowed = {"PUT": {200, 201, 409}, "DELETE": {204, 404}, "GET": {200, 404}}
    everything = {(method, code) for method, codes in allowed.items() for code in codes}
    seen: set[tuple[str, int]] = set()
    faults: list[str] = []

    def client(number: int) -> None:
        dice = random.Random(number)
        while (now := time.monotonic()) < end or (seen < everything and now < end + 30):
            name = f"r{dice.randrange(50)}"
            method = dice.choice(("PUT", "PUT", "DELETE", "GET"))
            pick = dice.randrange(60)
            resource = body(f"10.45.9.{1 + pick}", 700 + dice.randrange(60), 800 + pick)
            try:
                answer = lab.http(
                    method, f"/v1/sessions/{name}", resource if method == "PUT" else None
                )
            except Exception as error:
                faults.append(f"{method}: {error!r}")
                return
            seen.add((method, answer.status))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert seen == everything

    sessions = gw.sessions()
    assert {each["state"] for each in sessions} <= {"active"} and sessions
    assert gw.difference() == []
    up, down = gw.flows("table=30"), gw.flows("table=70")
    for each in sessions:
        teid = f"reg0={each['uplink']['teid']:#x},nw_src={each['ue_ip']} "
        assert sum(teid in flow for flow in up) == 1
        load = f"set_field:{each['downlink']['teid']:#x}->tun_id"
        assert sum(f"nw_dst={each['ue_ip']} " in flow and load in flow for flow in down) == 1
    assert (len(up) - 3, len(down) - 1) == (len(sessions), len(sessions))


# --- the server's doors


def test_token_host_and_limits() -> None:
    with Lab(switch=False) as lab:
        token = lab.dir / "token"
        token.write_text("secret-of-the-test\n")
        lab.start_controller(lab.config(rest=f'token_file = "{token}"'), status=503)
        right = {"Authorization": "Bearer secret-of-the-test"}
        assert lab.http("GET", "/v1/sessions").status == 401
        wrong = {"Authorization": "Bearer other"}
        assert lab.http("GET", "/v1/sessions", headers=wrong).status == 401
        assert lab.http("GET", "/v1/sessions", headers=right).status == 200
        assert lab.http("GET", "/v1/health").status == 503  # needs none; there is no switch
        stranger = {"Host": "attacker.example", **right}
        assert lab.http("GET", "/v1/sessions", headers=stranger).status in (400, 403, 421)
        assert lab.http("GET", "/v1/health", headers=stranger).status in (400, 403, 421)
        huge = json.dumps(body(UE, 1)).encode() + b" " * (1 << 20)
        head = {"Content-Type": "application/json", **right}
        assert lab.http("POST", "/v1/sessions", huge, headers=head).status == 413
        made = lab.http("POST", "/v1/sessions", body(UE, 1), headers=right)
        assert (made.status, made.json()["state"]) == (201, "pending")
