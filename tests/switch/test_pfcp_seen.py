"""What an operator types whose control plane does not associate, and what they read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire.enums import Action
from ofgtp.core.pfcp.wire.messages import HeartbeatRequest, write
from tests.support import ownership as own
from tests.support import smf
from tests.support.lab import Lab
from tests.support.site import ENB_IP, until
from tests.support.smf import ControlPlane

pytestmark = pytest.mark.switch

CONFIG = smf.CONFIG.replace("heartbeat_seconds = 5", "heartbeat_seconds = 3600")
"""While a command runs, nobody answers heartbeats."""
INSTANCES = 'network_instances = ["internet", "ims"]\n'
STRANGER = "10.3.9.9"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        smf.n4(lab)
        lab.start_controller(lab.config(controller=own.SWITCH, gateway=CONFIG + INSTANCES))
        until(lambda: own.in_sync(lab), "in sync")
        yield lab


def ofgtp(lab: Lab, *words: str) -> str:
    """What the command says, in one line."""
    program = Path(sys.executable).parent / "ofgtp"
    argv = ["env", f"OFGTP_CONFIG={lab.dir}/ofgtp.toml", str(program), *words]
    return " ".join(lab.exec("gw", argv, check=False, timeout=120).stdout.split())


def test_from_nothing_to_a_session(lab: Lab) -> None:
    out = ofgtp(lab, "pfcp")
    assert "no control plane is associated" in out
    assert "nothing has come yet: tcpdump -ni any udp port 8805" in out
    assert "none is associated, and none has asked" in ofgtp(lab, "doctor")

    with ControlPlane(lab, STRANGER) as stranger:
        stranger.send(write(HeartbeatRequest(stranger.stamp), 1))
        until(lambda: f"{STRANGER} is none of peers" in ofgtp(lab, "pfcp"), "it is told of")
    assert f"if {STRANGER} is your control plane: add it to `peers`" in ofgtp(lab, "pfcp")
    assert f"{STRANGER} asked, outside `peers`" in ofgtp(lab, "doctor")
    log = lab.controller_log.read_text().splitlines()
    assert any("event pfcp_stranger" in line and STRANGER in line for line in log)

    with ControlPlane(lab) as cp:
        early = smf.PfcpSession(cp, 1)
        _, body = early.establish((smf.uplink(),), (smf.to_core(),))
        assert body.cause == 72
        out = ofgtp(lab, "pfcp")
        assert f"{smf.SMF}: Session Establishment Request: there is no association at" in out
        assert "(cause 72)" in out

        assert cp.associate().cause == 1
        session = cp.establish((smf.uplink(),), (smf.to_core(),))
        refused = session.modify(update_fars=(g.UpdateFar(9, Action.DROP),))
        assert refused.cause == 73
        wrong = smf.to_tunnel(7, ENB_IP["enb"], 3)
        parameters = wrong.forwarding_parameters
        assert parameters is not None
        wrong = wrong._replace(forwarding_parameters=parameters._replace(network_instance="corp"))
        assert session.modify(create_fars=(wrong,)).cause == 73

        shown = json.loads(ofgtp(lab, "pfcp", "--json"))["items"][0]
        named = {each["name"]: each["known"] for each in shown["network_instances"]}
        assert named == {"internet": True, "corp": False}
        assert [each["sessions"] for each in shown["associations"]] == [1]
        out = ofgtp(lab, "pfcp")
        assert "FAR 9: there is none with this id (cause 73)" in out
        assert "add to `network_instances` what is asked for: corp" in out
        out = ofgtp(lab, "pfcp", smf.SMF)
        assert "Session Modification Request 2 73 rule failure" in out
        assert "pfcp 1 up; 1 session" in ofgtp(lab, "status", "--quick")
        out = ofgtp(lab, "doctor")
        assert f"{smf.UPF}, UDP port 8805 is the controller's" in out
        assert f"associated: control plane {smf.SMF} (up, last heard 2" in out
        assert "asked for, and refused: corp" in out
        metrics = lab.http("GET", "/metrics").body.decode()
        assert (
            'ofgtp_pfcp_response_seconds_count{gateway="gw1",'
            'message="Session Modification Request"} 2.0'
        ) in metrics
        assert smf.judge(cp)


def test_the_address_is_not_there(lab: Lab) -> None:
    """As when the interface of N4 has not come up: it says so, and is heard once it is there."""
    lab.stop_controller()
    address = ["ip", "addr", "del", f"{smf.UPF}/16", "dev", "eth3"]
    lab.exec("gw", address)
    lab.start_controller(lab.config(controller=own.SWITCH, gateway=CONFIG))
    until(lambda: f"cannot listen at {smf.UPF}, UDP port 8805" in ofgtp(lab, "pfcp"), "it is said")
    assert f"{smf.UPF} is no address of this host" in ofgtp(lab, "doctor")
    assert "NOT WELL PFCP: cannot listen" in ofgtp(lab, "status", "--quick")
    address[2] = "add"
    lab.exec("gw", address)
    until(lambda: "cannot listen" not in ofgtp(lab, "pfcp"), "it is heard")
    with ControlPlane(lab) as cp:
        assert cp.heartbeat()
