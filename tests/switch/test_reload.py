"""A changed ofgtp.toml, taken by the controller that runs: no packet is lost by it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ofgtp.core.pfcp.wire.messages import HeartbeatRequest, write
from tests.support import smf
from tests.support.command import at_switch
from tests.support.lab import Lab
from tests.support.site import until
from tests.support.smf import ControlPlane
from tests.support.stream import (
    SESSION,
    Stream,
    ethernet,
    udp_datagram,
)

pytestmark = pytest.mark.switch

POOLS = 'ue_pools = ["10.45.0.0/16"]'
HOST = 'core_port = "host"\ncore_ip = "10.2.0.1/24"\nmasquerade = true'
TOKEN = "reload-test-token"
STRANGER = "10.3.9.9"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def running(lab: Lab) -> Iterator[Lab]:
    lab.start_controller()
    assert lab.http("POST", "/v1/sessions", SESSION).status == 201
    yield lab
    lab.stop_controller()


def put(lab: Lab, text: str) -> None:
    (lab.dir / "ofgtp.toml").write_text(text)


def reload(lab: Lab, text: str) -> tuple[int, list[str], list[str]]:
    """Write the file and have it taken; the exit code, and the lines printed."""
    put(lab, text)
    code, out, err = at_switch(lab, "reload")
    return code, out.splitlines(), err.splitlines()


def pooled(lab: Lab, *pools: str, **more: str) -> str:
    assert POOLS in lab.config(**more)
    return lab.config(**more).replace(POOLS, f"ue_pools = {json.dumps(pools)}")


def in_pool(lab: Lab, ue_ip: str) -> int:
    """The status that a session of a UE with this address gets; it goes again."""
    status = lab.http("POST", "/v1/sessions", {"id": "probe", "ue_ip": ue_ip}).status
    if status == 201:
        assert lab.http("DELETE", "/v1/sessions/probe").status == 204
    return status


def report(lab: Lab) -> dict[str, Any]:
    item: dict[str, Any] = lab.http("GET", "/v1/gateways").json()["items"][0]
    return item


def denied(lab: Lab) -> int:
    return int(report(lab)["drops"]["access_denied"])


def flows(lab: Lab) -> list[str]:
    """All flows of the bridge but the lease, which is renewed; without counts."""
    shown = lab.ofctl("--no-stats", "dump-flows", "br-ofgtp").splitlines()
    return sorted(line for line in shown if "hard_timeout" not in line)


def settled(lab: Lab) -> list[str]:
    """The flows, once the next hop is known and they have that."""
    until(lambda: report(lab)["next_hop"]["state"] == "resolved", "the next hop answers")

    def same() -> list[str] | None:
        before = flows(lab)
        time.sleep(0.6)
        return before if flows(lab) == before else None

    found: list[str] = until(same, "the flows stay as they are")
    return found


def spoof(lab: Lab, source: str) -> None:
    """A T-PDU of the stream's session from another base station's address."""
    inner = udp_datagram("10.45.0.2", "10.2.0.2", 9000, b"other", 64)
    tunnel = b"\x30\xff" + len(inner).to_bytes(2, "big") + (4097).to_bytes(4, "big")
    outer = udp_datagram(source, "10.1.0.1", 2152, tunnel + inner, 64)
    head = ethernet(report(lab)["access"]["mac"], lab.mac("enb"))
    port = lab.port("enb")
    port.send(head + outer)
    port.close()


def test_what_can_be_taken_is_taken_and_no_packet_is_lost(running: Lab) -> None:
    lab = running
    assert in_pool(lab, "10.46.0.9") == 422
    with Stream(lab) as stream:
        assert reload(lab, lab.config()) == (
            0,
            [f"{lab.dir}/ofgtp.toml: nothing has changed"],
            [],
        )
        before = denied(lab)
        code, out, err = reload(lab, lab.config(gateway='access_allow = ["10.1.0.2/32"]'))
        assert (code, err) == (0, [])
        assert out == ["gw1: access_allow: 10.1.0.2/32 now, any before"]
        spoof(lab, "10.1.0.77")
        until(lambda: denied(lab) > before, "what is not allowed is dropped")
        more = (
            'access_routes = [{to = "10.9.0.0/16", via = "10.1.0.2"}]\n'
            "dscp = 46\necho_seconds = 90\non_path_down = 'remove'"
        )
        code, out, err = reload(lab, pooled(lab, "10.45.0.0/16", "10.46.0.0/16", gateway=more))
        assert (code, err) == (0, [])
        assert sorted(out) == [
            "gw1: access_allow: any now, 10.1.0.2/32 before",
            "gw1: access_routes: 1 route now",
            "gw1: dscp: 46 now, inherit before",
            "gw1: echo_seconds: 90 now, 60 before",
            "gw1: on_path_down: remove now, keep before",
            "gw1: ue_pools: 10.45.0.0/16, 10.46.0.0/16 now, 10.45.0.0/16 before",
        ]
        assert in_pool(lab, "10.46.0.9") == 201
        assert report(lab)["ue_pools"] == ["10.45.0.0/16", "10.46.0.0/16"]
        assert "10.9.0.0/16" in lab.exec("gw", ["ip", "route", "show", "dev", "br-ofgtp"]).stdout
        assert '"184"' in lab.vsctl("get", "interface", "br-ofgtp-g", "options:tos")
        # A pool that holds the former one will do, too.
        code, out, _ = reload(lab, pooled(lab, "10.44.0.0/14"))
        assert code == 0 and "gw1: access_routes: 0 routes now" in out
        assert in_pool(lab, "10.47.0.9") == 201
        assert (
            lab.exec("gw", ["ip", "route", "show", "dev", "br-ofgtp", "proto", "152"]).stdout == ""
        )
        stream.wait_flowing()
    assert stream.lost == 0, str(stream)
    assert report(lab)["in_sync"] and report(lab)["repairs"] == 0


def test_a_new_pool_s_traffic_passes(running: Lab) -> None:
    lab = running
    assert reload(lab, pooled(lab, "10.45.0.0/16", "10.46.0.0/16"))[0] == 0
    session = {
        "id": "new",
        "ue_ip": "10.46.0.2",
        "uplink": {"teid": 5097},
        "downlink": {"teid": 9193, "remote_ip": "10.1.0.2"},
    }
    assert lab.http("POST", "/v1/sessions", session).status == 201
    with Stream(lab, session=session) as stream:
        stream.wait_flowing()
    assert stream.lost == 0, str(stream)


def test_what_needs_a_restart_is_named_and_nothing_is_taken(running: Lab) -> None:
    lab = running
    there, at = settled(lab), report(lab)
    text = pooled(lab, "10.45.0.0/16", "10.46.0.0/16")
    wrong = text.replace('"10.1.0.1/24"', '"10.1.0.9/24"').replace("br-ofgtp", "br-other")
    with Stream(lab) as stream:
        code, out, err = reload(lab, wrong)
        assert (code, out) == (1, [])
        assert err == [
            "ofgtp reload: nothing was taken",
            "gateway.gw1.bridge: br-other in the file, br-ofgtp in use: needs a restart",
            "gateway.gw1.access_ip: 10.1.0.9/24 in the file, 10.1.0.1/24 in use: needs a restart",
        ]
        moved = reload(lab, lab.config().replace("127.0.0.1:8080", "127.0.0.1:8081"))
        assert moved[0] == 3 and "`listen` has changed in the file" in moved[2][0]
        gone = reload(lab, pooled(lab, "10.46.0.0/16"))
        assert gone[0] == 1 and "10.45.0.0/16 is not in it any more" in gone[2][1]
        owner = reload(lab, lab.config(controller='ownership = "switch"'))
        assert owner[0] == 1 and owner[2][1].startswith("controller.ownership: switch in the file")
        broken = lab.config() + "dscp = 99\n"
        code, out, err = reload(lab, broken)
        line = broken.rstrip("\n").count("\n") + 1
        assert (code, out) == (2, []) and f"ofgtp.toml:{line}: gateway.dscp: must be" in err[0]
        # The same file, by the API alone.
        sent = lab.http("POST", "/v1/reload", {})
        assert sent.status == 422
        assert sent.json()["errors"][0] | {"msg": ""} == {
            "loc": "gateway.dscp",
            "msg": "",
            "line": line,
        }
        stream.wait_flowing()
    assert stream.lost == 0, str(stream)
    assert in_pool(lab, "10.46.0.9") == 422
    assert flows(lab) == there
    assert report(lab)["ue_pools"] == at["ue_pools"]


def test_a_pool_that_holds_a_peer_and_a_route_of_the_host_are_refused(running: Lab) -> None:
    lab = running
    session = {
        "id": "far",
        "ue_ip": "10.45.0.7",
        "downlink": {"teid": 77, "remote_ip": "10.9.0.7"},
    }
    assert lab.http("POST", "/v1/sessions", session).status == 201
    code, _, err = reload(lab, pooled(lab, "10.45.0.0/16", "10.9.0.0/16"))
    assert code == 1
    assert err[1] == "gateway.gw1.ue_pools: 10.9.0.0/16 holds 10.9.0.7, a peer of sessions"
    lab.exec("gw", ["ip", "route", "add", "blackhole", "10.8.0.0/16"])
    routes = 'access_routes = [{to = "10.8.0.0/16", via = "10.1.0.2"}]'
    code, _, err = reload(lab, lab.config(gateway=routes))
    assert code == 1 and "the host has a route to it of its own" in err[1]
    lab.exec("gw", ["ip", "route", "del", "blackhole", "10.8.0.0/16"])
    assert reload(lab, lab.config(gateway=routes))[0] == 0


def test_sighup(running: Lab) -> None:
    lab = running
    assert lab.controller is not None
    put(lab, pooled(lab, "10.45.0.0/16", "10.46.0.0/16"))
    lab.controller.send_signal(signal.SIGHUP)
    until(lambda: in_pool(lab, "10.46.0.9") == 201, "the pool is taken")
    put(lab, pooled(lab, "10.45.0.0/16").replace("br-ofgtp", "br-other"))
    lab.controller.send_signal(signal.SIGHUP)
    until(lambda: "gateway.gw1.bridge: br-other" in lab.controller_log.read_text(), "it is said")
    assert in_pool(lab, "10.46.0.9") == 201


def test_pfcp_peers(lab: Lab) -> None:
    """One more control plane is heard; the one that is there, and its session, notice nothing."""
    smf.n4(lab)
    text = lab.config(gateway=smf.CONFIG)
    lab.start_controller(text)
    with ControlPlane(lab) as there, ControlPlane(lab, STRANGER) as other:
        assert there.associate().cause == 1
        session = there.establish((smf.uplink(),), (smf.to_core(),))
        other.send(write(HeartbeatRequest(other.stamp), 1))
        assert other.receive(0.5) is None
        more = text.replace('["10.3.0.0/24"]', f'["10.3.0.0/24", "{STRANGER}/32"]')
        more = more.replace("heartbeat_seconds = 5", "heartbeat_seconds = 30")
        code, out, err = reload(lab, more.replace(POOLS, 'ue_pools = ["10.44.0.0/15"]'))
        assert (code, err) == (0, [])
        assert sorted(line.partition(",")[0] for line in out) == [
            "gw1: pfcp.heartbeat_seconds: 30 now",
            "gw1: pfcp.peers: 10.3.0.0/24",
            "gw1: ue_pools: 10.44.0.0/15 now",
        ]
        assert other.associate().cause == 1
        # An address of the new pool is taken from a control plane, too.
        there.establish((smf.uplink(), smf.downlink("10.44.0.2")), (smf.to_core(), smf.idle()))
        assert session.delete().cause == 1
        code, _, err = reload(lab, more.replace(f'listen = "{smf.UPF}"', 'listen = "10.3.0.99"'))
        assert code == 1 and any("pfcp.listen: 10.3.0.99 in the file" in line for line in err)
    assert lab.stop_controller() == 0


def test_a_new_token(lab: Lab) -> None:
    file = lab.dir / "token"
    file.write_text(TOKEN)
    text = lab.config(rest=f'token_file = "{file}"')
    lab.start_controller(text)
    with_token = {"Authorization": f"Bearer {TOKEN}"}
    assert lab.http("GET", "/v1/gateways").status == 401
    assert lab.http("GET", "/v1/gateways", headers=with_token).status == 200
    file.write_text("other")
    assert lab.http("POST", "/v1/reload", {}).status == 401
    elsewhere = lab.dir / "token2"
    elsewhere.write_text("unknown")
    code, _, err = reload(lab, lab.config(rest=f'token_file = "{elsewhere}"'))
    assert code == 1 and "names another file now: systemctl kill -s HUP" in err[0]
    assert reload(lab, text) == (0, ["token_file: another token now"], [])
    assert lab.http("GET", "/v1/gateways", headers=with_token).status == 401
    other = {"Authorization": "Bearer other"}
    assert lab.http("GET", "/v1/gateways", headers=other).status == 200
    assert lab.stop_controller() == 0


def test_while_the_switch_is_away(lab: Lab) -> None:
    lab.start_controller(lab.config(controller='ownership = "switch"'))
    lab.stop_vswitchd()
    lab.wait_health(503)
    text = pooled(lab, "10.45.0.0/16", "10.46.0.0/16", controller='ownership = "switch"')
    code, out, err = reload(lab, text)
    assert code == 0 and out[0].startswith("gw1: ue_pools: ")
    assert err[0].startswith("gw1: not done yet: ")
    lab.start_vswitchd()
    lab.wait_health()
    assert in_pool(lab, "10.46.0.9") == 201
    assert "10.46.0.0/16" in "".join(flows(lab))
    assert lab.stop_controller() == 0
    lab.exec("gw", ["rm", f"{lab.dir}/sessions.db"])


def test_a_host_core_s_routes_and_masquerade_follow_at_once(lab: Lab) -> None:
    lab.exec("gw", ["ip", "link", "set", "eth2", "down"], check=False)
    lab.start_controller(lab.config(core=HOST))
    began = time.monotonic()
    assert reload(lab, pooled(lab, "10.45.0.0/16", "10.46.0.0/16", core=HOST))[0] == 0
    routes = lab.exec("gw", ["ip", "route", "show", "proto", "152"]).stdout
    assert "10.46.0.0/16" in routes
    assert "10.46.0.0/16" in lab.exec("gw", ["nft", "list", "ruleset"]).stdout
    assert time.monotonic() - began < 30
    assert report(lab)["repairs"] == 0
    assert lab.stop_controller() == 0
