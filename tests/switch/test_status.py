"""`ofgtp status` of a gateway at work, in trouble, and gone."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ofgtp.core.flows import faults
from tests.support import gtpu
from tests.support.command import at_switch
from tests.support.lab import Lab
from tests.support.site import ENB_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
UE, IDLE = "10.45.0.7", "10.45.0.8"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """With a long lease: what the switch does without its controller is looked at in time."""
    with Lab() as lab:
        site = Site(lab, lab.config(controller="lease_seconds = 20"))
        site.ready()
        yield site
        site.alive()
        site.check_sent()


def command(lab: Lab, *arguments: str) -> list[str]:
    return ["env", f"OFGTP_CONFIG={lab.dir}/ofgtp.toml", str(OFGTP), "status", *arguments]


def status(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab.exec("gw", command(lab, *arguments), check=False)


def line(text: str, name: str) -> str:
    """What a line of the screen says after its name."""
    (found,) = (each for each in text.splitlines() if each.startswith(f"{name} "))
    return found.removeprefix(name).strip()


def test_one_screen(site: Site) -> None:
    site.session(UE, teid=7, downlink=107)
    site.session(IDLE, teid=8)
    running = site.lab.spawn("gw", command(site.lab), stdout=subprocess.PIPE, text=True)
    sent = 0
    while running.poll() is None:
        site.enb.send(site.t_pdu(7, gtpu.ipv4(UE, PDN_IP)), site.t_pdu(99, gtpu.ipv4(UE, PDN_IP)))
        site.pdn.send(site.to_ue(gtpu.ipv4(PDN_IP, UE)), site.to_ue(gtpu.ipv4(PDN_IP, IDLE)))
        sent += 1
        time.sleep(0.005)
    text = running.stdout.read()
    assert running.returncode == 0, text
    shown = text.splitlines()
    assert len(shown) <= 24 and max(map(len, shown)) <= 80, text
    assert shown[0].startswith("gw1: well")
    version = site.lab.switch_version
    assert line(text, "switch").startswith(f"Open vSwitch {version}, ")
    assert "connected, in sync" in line(text, "switch")
    known = faults.of(faults.parse(version))
    assert line(text, "faults").startswith(f"{len(known)} known of {version}, worked around")
    assert line(text, "access") == "eth1 10.1.0.1/24, up, MTU 1500"
    assert line(text, "core").startswith("eth2 10.2.0.1/24, up; next hop 10.2.0.2 ")
    assert line(text, "core").endswith(f"{site.pdn_mac} resolved")
    assert "of 20; " in line(text, "lease") and "renewal" in line(text, "lease")
    assert line(text, "sessions") == "3 active"
    for way in line(text, "traffic").split(", "):
        rate = int(way.split()[1].replace(",", ""))
        assert 0 < rate <= sent, text
    assert "/s no_uplink_session" in line(text, "drops")
    assert "/s idle_ue" in line(text, "drops")
    assert line(text, "peers") == "1 unknown"
    assert site.enb_mac["enb"] in shown[-1]


def test_json(site: Site) -> None:
    until(lambda: site.gateway()["lease"]["renewals"], "the lease is renewed")
    done = status(site.lab, "--quick", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["well"] and found["health"]["status"] == "ok"
    (gateway,) = found["gateways"]
    assert gateway["troubles"] == []
    assert gateway["rates"] == {"forwarded": None, "drops": None}
    assert gateway["lease"]["seconds_left"] > 0
    known = faults.of(faults.parse(site.lab.switch_version))
    assert [each["name"] for each in gateway["faults"]] == [fault.name for fault in known]
    assert found["peers"][0]["ip"] == "10.1.0.2"


def test_peers(site: Site) -> None:
    code, text, _ = at_switch(site.lab, "peer", "list")
    assert code == 0
    head, row = text.splitlines()
    assert head.split()[:4] == ["PEER", "STATE", "SESSIONS", "NEXT"]
    assert row.split()[0] == ENB_IP["enb"] and site.enb_mac["enb"] in row.split()
    code, text, _ = at_switch(site.lab, "peer", "show", ENB_IP["enb"])
    assert (code, line(text, "next hop")) == (0, site.enb_mac["enb"])
    assert at_switch(site.lab, "peer", "show", "10.1.0.99")[0] == 4


def test_what_is_not_well(site: Site) -> None:
    lab = site.lab
    lab.exec("enb", ["ip", "link", "set", "eth0", "down"])
    try:
        until(lambda: site.gateway()["access"]["link"] == "no carrier", "it is seen")
        done = status(lab, "--quick")
    finally:
        lab.exec("enb", ["ip", "link", "set", "eth0", "up"])
    assert done.returncode == 1
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("gw1: NOT WELL")
    assert second == "NOT WELL  eth1 has no carrier: look at the cable, or at the other end"
    until(lambda: site.gateway()["access"]["link"] == "up", "it is up again")
    with suppress(OSError):  # that the interface was down is told once
        site.enb.all()


def test_watch(site: Site) -> None:
    """Again and again; Ctrl-C ends it."""
    running = site.lab.spawn(
        "gw", command(site.lab, "--watch", "0.5", "--json"), stdout=subprocess.PIPE, text=True
    )
    looks: list[dict[str, Any]] = [json.loads(running.stdout.readline()) for _ in range(2)]
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    assert [look["well"] for look in looks] == [True, True]
    assert looks[1]["gateways"][0]["rates"]["forwarded"]["uplink"]["packets"] >= 0


def test_the_controller_is_gone(site: Site) -> None:
    """It says so, and what the switch does meanwhile: forward, until the lease's flows end."""
    lab = site.lab
    site.check_sent()
    lab.stop_controller(signal.SIGKILL)
    done = status(lab, "--quick")
    assert (done.returncode, done.stdout) == (3, "")
    first, second, third = done.stderr.splitlines()
    assert first.startswith("ofgtp: no answer at http://127.0.0.1:8080: is ofgtp running?")
    assert second == "gw1: the switch still forwards: 3 sessions"
    assert third.startswith("look at: systemctl status ofgtp;")
    lab.ofctl("del-flows", "br-ofgtp", "table=25,in_port=1")
    assert "gw1: the switch forwards nothing now" in status(lab, "--quick").stderr
    lab.start_controller()
