"""The lab itself: nothing outlives it, and packets cross it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from scapy.layers.l2 import Ether

from tests.support import lab as lab_module
from tests.support.lab import Lab, LabError
from tests.support.site import until

pytestmark = pytest.mark.switch

ROOT = lab_module.ROOT

STUCK = """
import subprocess, sys, time
from tests.support.lab import Lab
with Lab() as lab:
    lab.spawn("enb", ["sh", "-c", "sleep 1000 & wait"])
    pids = [child.pid for child in lab._children]
    print(lab._id, *pids, flush=True)
    time.sleep(1000)
"""


def traces(name: str) -> list[Path]:
    return [*Path("/run/netns").glob(f"{name}*"), *Path(tempfile.gettempdir()).glob(f"{name}*")]


def test_nothing_is_left() -> None:
    with Lab(enbs=2) as lab:
        assert lab.switch_alive()
        pids = [child.pid for child in lab._children]
        assert traces(lab._id)
    assert not traces(lab._id)
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)


def test_nothing_is_left_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), Lab(switch=False) as lab:
        raise ZeroDivisionError
    assert not traces(lab._id)


def test_nothing_is_left_of_a_killed_one() -> None:
    stuck = subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with stuck:
        assert stuck.stdout is not None
        name, *pids = stuck.stdout.readline().split()
        assert len(pids) == 3 and traces(name)
        lab_module.sweep()
        assert traces(name), "the sweep spares the living"
        os.kill(stuck.pid, signal.SIGKILL)
    until(lambda: not any(Path("/proc", pid).exists() for pid in pids), "its children have ended")
    lab_module.sweep()
    until(lambda: not traces(name), "it is swept away")  # perhaps by another test's lab just now


def test_several_base_stations_share_a_lan() -> None:
    with Lab(enbs=3, switch=False) as lab:
        assert lab.enbs == ["enb", "enb2", "enb3"]
        lab.exec("enb3", ["ping", "-c1", "-W20", "10.1.0.2"])
        lab.exec("enb2", ["ping", "-c1", "-W20", "10.1.0.4"])


def test_raw_ports() -> None:
    with Lab(switch=False) as lab:
        enb, gw = lab.port("enb"), lab.port("gw", "eth1")
        frames = [bytes(Ether(dst=lab.mac("enb"), type=0x88B5) / bytes([i] * 60)) for i in range(9)]
        gw.send(*frames)
        assert enb.receive(quiet=0.2) == frames
        gw.send(*frames)
        assert enb.receive(2, want=lambda frame: frame[20] > 4) == frames[5:7]
        enb.drain()
        assert enb.receive(quiet=0.1) == []
        assert gw.receive(quiet=0.1) == [], "what a port sends does not come back to it"


def test_mute_host_answers_arp_alone() -> None:
    with Lab(switch=False) as lab:
        lab.exec("gw", ["ip", "addr", "add", "10.1.0.1/24", "dev", "eth1"])
        ping = ["ping", "-c1", "10.1.0.2"]
        assert lab.exec("gw", [*ping, "-W20"], check=False).returncode == 0
        lab.exec("gw", ["ip", "neigh", "flush", "dev", "eth1"])
        lab.mute("enb")
        assert lab.exec("gw", [*ping, "-W1"], check=False).returncode == 1
        assert lab.mac("enb") in lab.exec("gw", ["ip", "neigh", "show", "dev", "eth1"]).stdout


def test_inside_puts_the_thread_back() -> None:
    with Lab(switch=False) as lab:
        here = Path("/proc/thread-self/ns/net").readlink()
        with lab.inside("enb"):
            assert Path("/proc/thread-self/ns/net").readlink() != here
            assert socket.if_nametoindex("eth0")
        with pytest.raises(ZeroDivisionError), lab.inside("enb"):
            raise ZeroDivisionError
        assert Path("/proc/thread-self/ns/net").readlink() == here


def test_http_reaches_a_server_in_the_namespace() -> None:
    with Lab(switch=False) as lab:
        lab.spawn(
            "gw",
            [sys.executable, "-m", "http.server", "8080", "--bind", "127.0.0.1"],
            cwd=lab.dir,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (lab.dir / "hello.json").write_text('{"a": 1}')
        lab.wait_health(404)
        answer = lab.http("GET", "/hello.json")
        assert (answer.status, answer.json()) == (200, {"a": 1})
        assert lab.http("POST", "/hello.json", {"b": 2}).status == 501
        with pytest.raises(OSError, match="refused"):
            lab.http("GET", "/", name="pdn")


def test_controller_that_ends_is_told_with_its_log() -> None:
    with Lab(switch=False) as lab:
        with pytest.raises(LabError, match="it ended"):
            lab.start_controller("[[gateway]]\nnonsense = 1\n")
        with pytest.raises(LabError, match="exit 3"):
            lab.exec("gw", ["sh", "-c", "exit 3"])
