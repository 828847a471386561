"""`ofgtp capture` on a real switch: whose packets it takes, and what tshark makes of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP

from tests.support import gtpu, tshark
from tests.support.site import ENB_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
OTHER_UE, OTHER_UP = "10.45.0.3", 0x1003
PING = bytes(IP(src=UE, dst=PDN_IP) / ICMP(type=8, id=1, seq=7) / (b"x" * 56))
FIELDS = ("ip.src", "ip.dst", "gtp.teid", "gtp.message")


@pytest.fixture(autouse=True)
def sessions(two_enbs: Site) -> None:
    two_enbs.session(UE, teid=UP, downlink=DOWN)
    two_enbs.session(OTHER_UE, teid=OTHER_UP, downlink=0x2003)


@contextmanager
def capturing(site: Site, *arguments: str) -> Iterator[subprocess.Popen[Any]]:
    """The command at work: it takes packets from now on."""
    command = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", str(OFGTP), "capture"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = site.lab.spawn("gw", [*command, UE, *arguments], **pipes)
    assert running.stderr is not None
    heading = iter(running.stderr.readline, b"")
    assert any(b"on eth1; Ctrl-C ends it" in line for line in heading)
    yield running
    assert running.poll() is not None


def ended(running: subprocess.Popen[Any]) -> tuple[int, str, str]:
    out, err = running.communicate(timeout=60)
    return running.returncode, out.decode(errors="replace"), err.decode()


def stopped(running: subprocess.Popen[Any]) -> tuple[int, str, str]:
    running.send_signal(signal.SIGINT)
    return ended(running)


def send(site: Site) -> None:
    """A ping up, the same of another UE, and a packet down for each; all have come out after."""
    other = bytes(IP(src=OTHER_UE, dst=PDN_IP) / ICMP(type=8, id=1, seq=8))
    assert len(site.uplink(site.t_pdu(UP, PING), site.t_pdu(OTHER_UP, other))) == 2
    packets = [gtpu.ipv4(PDN_IP, each) for each in (UE, OTHER_UE)]
    assert len(site.downlink(*map(site.to_ue, packets))) == 2


def test_a_pcap_for_wireshark(two_enbs: Site, tmp_path: Path) -> None:
    site, path = two_enbs, tmp_path / "phone.pcap"
    with capturing(site, "-w", str(path)) as running:
        send(site)
        site.enb.send(site.t_pdu(0x7777, PING))  # a TEID of nobody, which is answered
        moved = {"downlink": {"teid": 0x3001, "remote_ip": ENB_IP["enb2"]}}
        site.patch(f"ue-{UE}", moved)
        site.warm("enb2", UE, 0x3001)
        # It ends at once, whatever has come meanwhile: so not before it has written all this.
        last = [gtpu.t_pdu(0x3001, gtpu.ipv4(PDN_IP, UE)), gtpu.message(gtpu.END_MARKER, DOWN)]
        until(lambda: all(part in path.read_bytes() for part in last), "all is written")
        code, out, err = stopped(running)
    assert (code, out) == (0, "")
    frames = tshark.read_pcap(path)
    assert err.startswith(f"{len(frames)} packets in {path}: 2 up, {len(frames) - 2} down\n")
    rows = tshark.rows(path, FIELDS)
    gateway, enb, enb2 = "10.1.0.1", ENB_IP["enb"], ENB_IP["enb2"]
    assert [enb, gateway, "0x00001001", "0xff"] in rows
    assert [gateway, enb, "0x00002001", "0xff"] in rows
    assert [enb, gateway, "0x00007777", "0xff"] in rows
    assert [gateway, enb, "0x00002001", "0xfe"] in rows, "the End Marker of the handover"
    assert [gateway, enb2, "0x00003001", "0xff"] in rows, "the new tunnel"
    assert any(row[:2] == [gateway, enb] and row[3] == "0x1a" for row in rows), "Error Indication"
    teids = {row[2] for row in rows}
    assert teids <= {"0x00001001", "0x00002001", "0x00007777", "0x00003001", "0x00000000"}
    assert tshark.complaints(path) == [], "checksums are as on the wire"
    # byte for byte what the base stations got
    for wire in site.enbs.values():
        wire.all(0.1)
    sent = {bytes(frame) for wire in site.enbs.values() for frame in wire.seen}
    to_ours = [f for f, row in zip(frames, rows, strict=True) if row[0] == gateway]
    assert to_ours and sent.issuperset(to_ours)
    times = [float(t) for [t] in tshark.rows(path, ["frame.time_epoch"])]
    assert times == sorted(times) and abs(times[-1] - time.time()) < 60


def test_lines(two_enbs: Site) -> None:
    with capturing(two_enbs, "-c", "2") as running:
        send(two_enbs)
        code, out, err = ended(running)
    shown = [line.split(" ", 1)[1] for line in out.splitlines()]
    assert code == 0 and err == "2 packets: 1 up, 1 down\n" and len(shown) == 2
    assert max(map(len, out.splitlines())) <= 80
    wanted = [
        f"up   10.1.0.2 {UP:#x} ICMP {UE} > {PDN_IP} echo request 7, 84",
        f"down 10.1.0.2 {DOWN:#x} UDP {PDN_IP}:40000 > {UE}:40001, 84",
    ]
    # The gateway's own Echo Request may be one of the two.
    sent = [each for each in shown if "Echo Request" not in each]
    assert sent and sent == wanted[: len(sent)]


def test_json_lines_without_the_api(two_enbs: Site) -> None:
    nowhere = ("--url", "http://127.0.0.1:9")
    with capturing(two_enbs, *nowhere, "--json") as running:
        send(two_enbs)
        assert running.stdout is not None
        # The gateway's own Echo Request, TEID 0, may come at any time.
        lines = (json.loads(line) for line in iter(running.stdout.readline, b""))
        up, down = islice((line for line in lines if line["teid"]), 2)
        running.send_signal(signal.SIGINT)
        assert ended(running)[0] == 0
    assert (up["way"], up["teid"], up["inner"]["detail"]) == ("up", UP, "echo request 7")
    assert (down["way"], down["teid"], down["peer"]) == ("down", DOWN, "10.1.0.2")
    assert (down["inner"]["destination"], down["inner"]["destination_port"]) == (UE, 40001)


def test_into_a_pipe(two_enbs: Site, tmp_path: Path) -> None:
    with capturing(two_enbs, "-w", "-", "-c", "2") as running:
        send(two_enbs)
        octets, _ = running.communicate(timeout=60)
    path = tmp_path / "piped.pcap"
    path.write_bytes(octets)
    assert running.returncode == 0 and len(tshark.rows(path, FIELDS)) == 2


def test_it_ends_when_the_time_is_up(two_enbs: Site) -> None:
    with capturing(two_enbs, "--seconds", "0.2") as running:
        code, out, err = ended(running)
    shown = out.splitlines()
    assert code == 0 and err.startswith(f"{len(shown)} packet")
    assert all("Echo Request" in line for line in shown)  # the gateway's own, when it is due
