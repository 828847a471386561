"""The demos, run as a user runs them: what they show, how they fail, what they leave behind."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"gw-eth1", "gw-eth2", "br-ofgtp", "ovs-netdev", "sgw-eth1", "sgw-eth2", "br-sgw"}
PORTS |= {"gw-eth3", "smf-eth0"}


class Demo:
    """A running demo, and all processes of it, found by a mark in their environment."""

    def __init__(self, script: str, temporary: Path) -> None:
        self.mark = f"OFGTP_TEST_MARK={uuid.uuid4()}".encode()
        self.temporary = temporary
        self.output = ""
        self.decode = codecs.getincrementaldecoder("utf-8")().decode
        self.held = contextlib.ExitStack()
        name, _, value = self.mark.decode().partition("=")
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "mininet" / script],
            env=os.environ | {name: value, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def namespaces(self) -> set[str]:
        """The network namespaces of the demo's processes, but for the test's own.

        They are held open, or others might get one of their numbers when they are gone.
        """
        pids = self.processes()
        for pid in pids:
            with contextlib.suppress(OSError):
                self.held.callback(os.close, os.open(f"/proc/{pid}/ns/net", os.O_RDONLY))
        return namespaces_of(pids) - {str(Path("/proc/self/ns/net").readlink())}

    def controller(self) -> int:
        for pid in self.processes():
            with contextlib.suppress(OSError):
                if b"ofgtp.app" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return pid
        raise AssertionError("no controller is running")

    def read(self, seconds: float) -> bool:
        """Read what is there; False at the end of the output."""
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return True
        chunk = os.read(self.process.stdout.fileno(), 65536)
        self.output += self.decode(chunk)
        return bool(chunk)

    def read_until(self, text: str, seconds: float = 240) -> None:
        until = time.monotonic() + seconds
        while text not in self.output:
            assert self.read(1), f"ended before {text!r}:\n{self.output}"
            assert time.monotonic() < until, f"no {text!r} in {seconds} s:\n{self.output}"

    def finish(self, seconds: float = 300) -> int:
        until = time.monotonic() + seconds
        while self.read(1):
            assert time.monotonic() < until, f"no end within {seconds} s:\n{self.output}"
        return self.process.wait(30)

    def assert_gone(self, namespaces: set[str]) -> None:
        """Nothing of it is left: no process, namespace, interface or file."""
        until = time.monotonic() + 30
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        assert not left

        def used() -> set[str]:
            everyone = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
            return namespaces & namespaces_of(everyone)

        # A process that is just ending has no environment any more, and its namespace still.
        while used() and time.monotonic() < until:
            time.sleep(0.1)
        assert not used()
        assert not PORTS & {entry.name for entry in Path("/sys/class/net").iterdir()}
        assert list(self.temporary.iterdir()) == []


def namespaces_of(pids: list[int]) -> set[str]:
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
    return found


@contextlib.contextmanager
def demo(script: str, temporary: Path) -> Iterator[Demo]:
    running = Demo(script, temporary)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        assert running.process.stdout
        running.process.stdout.close()
        running.held.close()


def test_demo_shows_traffic_both_ways(tmp_path: Path) -> None:
    with demo("demo.py", tmp_path) as running:
        running.read_until("4. Ping")
        namespaces = running.namespaces()
        assert len(namespaces) >= 7, "the stage, two base stations, two UEs, the host, a segment"
        assert running.finish() == 0, running.output
        running.assert_gone(namespaces)
    text = running.output
    # On a busy machine ping sends a sixth before it has the fifth answer.
    assert len(re.findall(r"[5-9] packets transmitted, 5 received", text)) == 3 + 2
    assert_ipv6(text)
    for family in ("IPv4", "IPv6"):
        for way in ("uplink,   ue1 → pdn", "downlink, pdn → ue1"):
            match = re.search(rf"{re.escape(way)}, {family}: (\d+) Mbit/s", text)
            assert match and int(match[1]) > 0
    uplink = r"10\.1\.0\.2 → 10\.1\.0\.1 +0x00001001 +10\.45\.0\.2 → 10\.2\.0\.2 .*(good|none)"
    downlink = r"10\.1\.0\.1 → 10\.1\.0\.2 +0x00002001 +10\.2\.0\.2 → 10\.45\.0\.2 .*(good|none)"
    assert len(re.findall(uplink, text)) == len(re.findall(downlink, text)) == 4
    assert "WRONG" not in text
    for direction in ("uplink", "downlink"):
        found = re.findall(direction + r": (\d+) packets, (\d+) bytes", text)
        assert len(found) == 2, "of IPv4, and of IPv6"
        assert all(int(packets) > 100 and int(octets) > 10_000 for packets, octets in found)
    assert_signalling(text)
    assert "\x1b" not in text, "colour is for terminals"
    assert max(map(len, text.splitlines())) <= 100


def assert_ipv6(text: str) -> None:
    """ue1 has formed an address of its prefix, and the gateway is the only hop to the host."""
    formed = re.search(r"ok ue1 has formed (\S+), and its router is fe80::1$", text, re.MULTILINE)
    assert formed and IPv6Address(formed[1]) in IPv6Network("2001:db8:a:1::/64")
    for line in (
        "10.1.0.2 → 10.1.0.1  TEID 0x00001001  Router Solicitation",
        "10.1.0.1 → 10.1.0.2  TEID 0x00002001  Router Advertisement, prefix 2001:db8:a:1::",
    ):
        assert re.search(rf"^ +{line}$", text, re.MULTILINE), line
    hops = re.findall(r"^ +([12])  (2001:db8:c::\d)  [\d.]+ ms$", text, re.MULTILINE)
    assert hops == [("1", "2001:db8:c::1"), ("2", "2001:db8:c::2")]
    for family in ("IPv4", "IPv6"):
        assert re.search(rf"^ +ok {family}: \d+ of 100 pings lost$", text, re.MULTILINE)


def assert_signalling(text: str) -> None:
    """The demo has shown each kind of GTP-U message once, or twice, as tshark decodes it."""
    gateway, enb1, enb2 = "10.1.0.1", "10.1.0.2", "10.1.0.3"
    for source, target, message, count in (
        (gateway, enb1, "Echo Request: +sequence number (0x[0-9a-f]{4})", 1),
        (enb1, gateway, "Echo Response: +sequence number (0x[0-9a-f]{4}), Recovery 0", 1),
        (gateway, enb1, "Error Indication: +TEID 0x0000dead, peer 10.1.0.1", 2),
        (gateway, enb1, "End Marker: +TEID 0x00002001", 1),
        (enb2, gateway, "Error Indication: +TEID 0x00003001, peer 10.1.0.3", 1),
    ):
        assert len(re.findall(f"{source} → {target} +{message}$", text, re.MULTILINE)) == count
    numbers = re.findall(r"Echo (?:Request|Response): +sequence number (\w+)", text)
    assert len(set(numbers)) == 1
    assert '"state": "up"' in text and "state: error_indicated" in text
    assert re.search(r"^ +GET /v1/events: error_indicated: \{", text, re.MULTILINE)
    last = re.search(r"(\d+) packets in the old tunnel, then one End Marker, then nothing", text)
    assert last and int(last[1]) >= 10


def test_handover_loses_almost_nothing(tmp_path: Path) -> None:
    with demo("handover.py", tmp_path) as running:
        running.read_until("2. The handover")
        namespaces = running.namespaces()
        assert running.finish() == 0, running.output
        running.assert_gone(namespaces)
    assert re.search(r"10\.1\.0\.1 → 10\.1\.0\.3 +TEID 0x00003001", running.output)


def test_crash_ends_forwarding_in_one_mode_and_not_in_the_other(tmp_path: Path) -> None:
    with demo("crash.py", tmp_path) as running:
        running.read_until("2. The same, stopped cleanly")
        namespaces = running.namespaces()
        assert running.finish() == 0, running.output
        running.assert_gone(namespaces)
    text = running.output
    last = re.search(r"the last answer came ([\d.]+) s after the kill", text)
    assert last and 0 < float(last[1]) <= 5
    assert re.search(r"^ +controller +kill -9.* [1-9]\d+ +\d+\.\d s$", text, re.MULTILINE), text
    for what in ("kill -9, restart", "clean stop, restart"):
        assert re.search(rf"^ +switch +{what} +0 +0 s$", text, re.MULTILINE), text
    assert text.count("flows_changed=0") == 2
    assert max(map(len, text.splitlines())) <= 100


def test_5g_beside_4g(tmp_path: Path) -> None:
    """The script itself fails where a step does not show what it should; here is what it shows."""
    with demo("n3.py", tmp_path) as running:
        running.read_until("3. 5G and 4G at the same time")
        namespaces = running.namespaces()
        assert running.finish() == 0, running.output
        running.assert_gone(namespaces)
    text = running.output
    for pdu_type in ("UL PDU SESSION INFORMATION (1)", "DL PDU SESSION INFORMATION (0)"):
        assert text.count(f"PDU Type: {pdu_type}") == 1
    assert text.count("= QoS Flow Identifier (QFI): 9") == 2
    for kind in (
        "10.1.0.2 → 10.1.0.1     0x00001001    UL, QFI 9",
        "10.1.0.1 → 10.1.0.2     0x00002001    DL, QFI 12",
        "10.1.0.1 → 10.1.0.3     0x00003002    none",
        "10.1.0.1 → 10.1.0.3     0x00003001    none",
        "10.1.0.3 → 10.1.0.1     0x00001001    none",
        "10.1.0.1 → 10.1.0.2     0x00002003    DL, QFI 9",
    ):
        assert re.search(f"^ +{kind}$", text, re.MULTILINE), kind
    for family in ("IPv4", "IPv6"):
        for way in ("uplink,   ue1 → pdn", "downlink, pdn → ue1"):
            match = re.search(rf"{re.escape(way)}, {family}: (\d+) Mbit/s", text)
            assert match and int(match[1]) > 0
    for line in (
        "10.1.0.1 → 10.1.0.2  Router Advertisement, prefix 2001:db8:a:1::, QFI 9",
        "10.1.0.1 → 10.1.0.3  Router Advertisement, prefix 2001:db8:a:2::",
    ):
        assert re.search(rf"^ +{line}$", text, re.MULTILINE), line
    assert len(re.findall(r"n_packets=\d{3}", text)) == 4
    assert len(re.findall(r"\b0 of \d{2,} pings lost", text)) == 3
    for mtu in (1456, 1464):
        assert text.count(f"Frag needed and DF set (mtu = {mtu})") == 1
    assert re.search(r"icmp_seq=1 Packet too big: mtu=1456$", text, re.MULTILINE)
    assert re.search(r"^ +drops .*3 wrong_qfi", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 100


def test_bearers(tmp_path: Path) -> None:
    """The script itself fails where a step does not show what it should; here is what it shows."""
    with demo("bearers.py", tmp_path) as running:
        running.read_until("4. The flows")
        namespaces = running.namespaces()
        assert running.finish() == 0, running.output
        running.assert_gone(namespaces)
    text = running.output
    enb, gateway, sgw = "10.1.0.2", "10.1.0.1", "10.1.0.4"
    for number, content in (
        (1, "ping"),
        (1, "TCP, port 5004"),
        (2, "UDP, port 5004"),
        (3, "TCP, port 5202"),
    ):
        for source, target, teid in (
            (enb, gateway, 0x1000),
            (gateway, enb, 0x2000),
            (enb, sgw, 0x5000),
            (sgw, gateway, 0x1000),
            (gateway, sgw, 0x6000),
            (sgw, enb, 0x2000),
        ):
            row = f"{source} → {target} +0x{teid + number:08x} +{content}"
            assert re.search(f"^ +{row}$", text, re.MULTILINE), row
    before, after = (
        float(re.search(rf"ok {when}: ([\d.]+) Mbit/s", text)[1])  # type: ignore[index]
        for when in ("before", "after")
    )
    assert 2.5 < after < 12 < before
    assert re.search(r"ok [1-9]\d* packets counted as rate_exceeded; \d of \d+ pings lost", text)
    assert "drops: wrong_bearer: 3" in text
    assert re.search(r"two tunnels, S1-U and S5; 0 of \d{2,} pings lost", text)
    assert "ue1 → edge: 0 of 2" in text and "ue1 → edge: 3 of 3" in text
    took = re.search(r"^All is taken down\. 10 steps in (\d+) s\.$", text, re.MULTILINE)
    assert took
    assert max(map(len, text.splitlines())) <= 100


def test_pfcp(tmp_path: Path) -> None:
    """The script itself fails where a step does not show what it should; here is what it shows."""
    with demo("pfcp.py", tmp_path) as running:
        running.read_until("4. gnb1 is ready")
        namespaces = running.namespaces()
        assert running.finish() == 0, running.output
        running.assert_gone(namespaces)
    text = running.output
    unfolded = re.sub(r"\s+", " ", text)
    gateway, gnb1, gnb2 = "10.1.0.1", "10.1.0.2", "10.1.0.3"
    made = rf"Establishment Response: accepted, PDR 1, F-TEID (0x[89a-f]\w{{7}}) at {gateway}"
    first, second = dict.fromkeys(re.findall(made, unfolded))
    assert first != second
    for source, target, teid, inside in (
        (gnb1, gateway, first, "UL, QFI 9    ping"),
        (gateway, gnb1, "0x00002001", "DL, QFI 9    ping"),
        (gateway, gnb1, "0x00002002", "DL, QFI 9    ping"),
        (gateway, gnb1, "0x00002002", "none         End Marker"),
        (gateway, gnb2, "0x00003001", "DL, QFI 9    ping"),
        (gnb2, gateway, first, "UL, QFI 5    UDP, port 5004"),
        (gateway, gnb2, "0x00003001", "DL, QFI 5    UDP, port 5004"),
        (gateway, gnb2, "0x00003001", "DL, QFI 9    TCP, port 5004"),
        (gnb2, gateway, second, "UL, QFI 9    ping"),
        (gateway, gnb2, "0x00003002", "none         End Marker"),
        (gateway, gnb1, "0x00002003", "DL, QFI 9    ping"),
    ):
        row = f"{source} → {target} +{teid} +{inside}"
        assert re.search(f"^ +{row}$", text, re.MULTILINE), row
    for message in (  # on a busy machine some may come twice
        "smf → ofgtp Session Modification Request: FAR 2: BUFF+NOCP",
        "ofgtp → smf Session Report Request: downlink data, PDR 2, QFI 9",
        "smf → ofgtp Session Report Response: accepted",
        f"FAR 2: FORW to TEID 0x00003001 at {gnb2}, End Marker wanted (SNDEM)",
        'QFI 5, filter "permit out udp from 10.2.0.2 5004 to assigned"',
        "ofgtp → smf Session Deletion Response: accepted",
        "ofgtp → smf Association Release Response: accepted",
    ):
        assert message in unfolded, message
    assert "buffer: packets: 3" in text and "the 3 packets that were held" in text
    stamps = re.findall(r"ofgtp → smf  .* Response.*Recovery Time Stamp (.*)$", text, re.MULTILINE)
    assert len(stamps) >= 3 and len(set(stamps)) == 1
    assert len(re.findall(r"\b0 of \d{2,} pings lost", text)) == 2
    assert "flows_changed=0" in text
    assert max(map(len, text.splitlines())) <= 100


def test_demo_fails_when_the_controller_dies(tmp_path: Path) -> None:
    with demo("demo.py", tmp_path) as running:
        running.read_until("7. iperf3")
        namespaces = running.namespaces()
        os.kill(running.controller(), signal.SIGKILL)
        assert running.finish() == 1, running.output
        running.assert_gone(namespaces)
    assert re.search(r"^FAILED at ['\"]\w", running.output, re.MULTILINE), running.output
    assert "The last lines of the controller's log:" in running.output


@pytest.mark.parametrize(
    ("script", "step", "number"),
    [
        ("demo.py", "4. Ping", signal.SIGTERM),
        ("demo.py", "4. Ping", signal.SIGKILL),
        ("bearers.py", "5. A rate", signal.SIGKILL),
        ("pfcp.py", "5. ue1 falls silent", signal.SIGKILL),
    ],
)
def test_nothing_is_left_of_a_demo_that_is_ended(
    tmp_path: Path, script: str, step: str, number: signal.Signals
) -> None:
    with demo(script, tmp_path) as running:
        running.read_until(step)
        namespaces = running.namespaces()
        assert running.controller()
        running.process.send_signal(number)
        assert running.process.wait(60) != 0
        running.assert_gone(namespaces)
