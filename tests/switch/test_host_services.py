"""With `core_port = "host"` UEs reach what the host routes to, but not what it offers itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.support import ownership as own
from tests.support.lab import Lab
from tests.support.site import is_echo, is_gtpu
from tests.support.traffic import Host, World, inner, ip, until

pytestmark = pytest.mark.switch

UE, TEID, PDN = "10.45.0.2", 1, "10.2.0.2"
HOST_IP, HOST_IP6 = "10.2.0.1", "2001:db8::1"
"""The host's own, on an interface that is not ofgtp's."""
CORE = 'core_port = "host"\ncore_ip = "10.3.0.1/24"'
ALLOW = 'host_services = "allow"'

SERVICES = {"REST": 8080, "OpenFlow": 6653, "OVSDB": 6640, "ssh, say": 22}
"""Each listens on this address, or on all."""
DNS = 53
SYN = IP(src=UE, dst=HOST_IP) / TCP(sport=4001, dport=22)


@dataclass
class Scene:
    lab: Lab
    gw: World
    enb: Host
    pdn: Host

    def send(self, packet: Packet) -> None:
        """From the UE."""
        self.enb.port.send(self.gw.tunnel(self.enb, TEID, packet))

    def received(self, timeout: float) -> Iterator[Packet]:
        """What comes to the UE, until none comes for that time."""

        def to_ue(frame: bytes) -> bool:
            return is_gtpu(frame) and not is_echo(frame)

        while frames := self.enb.port.receive(1, want=to_ue, timeout=timeout):
            yield inner(Ether(frames[0]))

    def refused(self, packet: Packet) -> bool:
        """Whether the host drops a packet of the UE, rather than answer it."""
        before = self.dropped()
        self.enb.port.drain()
        self.send(packet)
        until(lambda: self.dropped() > before or self.answer(packet), "it is dropped, or answered")
        return self.dropped() == before + 1 and self.answer(packet) is None

    def answer(self, packet: Packet) -> Packet | None:
        """What has come to the UE for a packet."""
        for each in self.received(0.1):
            kind = next((layer for layer in (TCP, UDP) if layer in packet and layer in each), None)
            if kind is None:
                answers = each[IP].proto in (packet[IP].proto, 1)
            else:
                answers = (each[kind].sport, each[kind].dport) == (
                    packet[kind].dport,
                    packet[kind].sport,
                )
            if answers and each[IP].src == HOST_IP:
                return each
        return None

    def dropped(self) -> int:
        """Packets that the rule has dropped."""
        return sum(map(int, re.findall(r"counter packets (\d+) .* drop", self.rules())))

    def rules(self) -> str:
        return self.lab.exec("gw", ["nft", "-a", "list", "ruleset"]).stdout


def make(lab: Lab, more: str = "") -> Scene:
    """The host is a router, with some services; the UE has sent, so that all MACs are known."""
    (lab.dir / "token").write_text("secret")
    lab.exec("gw", ["ip", "addr", "add", f"{HOST_IP}/24", "dev", "eth2"])
    lab.exec("gw", ["ip", "addr", "add", f"{HOST_IP6}/64", "dev", "eth2", "nodad"])
    lab.exec("gw", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    server = f"{lab.dir}/ovsdb-server.ctl"
    remote = ["ovsdb-server/add-remote", "ptcp:6640:0.0.0.0"]
    lab.exec("gw", ["ovs-appctl", "-t", server, *remote])
    lab.spawn("gw", ["socat", "TCP-LISTEN:22,fork,reuseaddr", "EXEC:cat"])
    lab.spawn("gw", ["socat", f"UDP-RECVFROM:{DNS},bind={HOST_IP},fork,reuseaddr", "EXEC:cat"])
    rest = 'token_file = "token"'
    text = lab.config(controller=own.SWITCH, core=CORE, rest=rest, gateway=more)
    text = text.replace('"127.0.0.1:8080"', '"0.0.0.0:8080"')
    text = text.replace("tcp:127.0.0.1:6653", f"tcp:{HOST_IP}:6653")
    lab.start_controller(text)
    scene = Scene(lab, Authorised(lab), Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN))
    scene.gw.session("a", UE, TEID, 101)
    scene.gw.ping(scene.enb, TEID, UE, PDN)
    return scene


class Authorised(World):
    """With the token that an address that is not loopback needs."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        call = lab.http

        def http(method: str, path: str, body: object = None, **more: Any) -> Any:
            head = {"Authorization": "Bearer secret", **(more.pop("headers", None) or {})}
            return call(method, path, body, headers=head, **more)

        lab.http = http  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def denied() -> Iterator[Scene]:
    with Lab(ipv6=True) as lab:
        yield make(lab)


@pytest.fixture(scope="module")
def allowed() -> Iterator[Scene]:
    with Lab(ipv6=True) as lab:
        yield make(lab, ALLOW)


@pytest.mark.parametrize("port", SERVICES.values(), ids=SERVICES)
def test_a_ue_reaches_no_service_of_the_host(denied: Scene, port: int) -> None:
    with denied.lab.inside("gw"):
        listening = subprocess.run(
            ["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True
        )
    assert "0.0.0.0" in listening.stdout or HOST_IP in listening.stdout, "it listens"
    assert denied.refused(IP(src=UE, dst=HOST_IP) / TCP(sport=4000, dport=port))


@pytest.mark.parametrize("port", SERVICES.values(), ids=SERVICES)
def test_it_does_where_that_is_wanted(allowed: Scene, port: int) -> None:
    packet = IP(src=UE, dst=HOST_IP) / TCP(sport=4000, dport=port)
    allowed.send(packet)
    answer = until(lambda: allowed.answer(packet), "it answers")
    assert answer[TCP].flags == "SA"


@pytest.mark.parametrize(
    "packet",
    [
        IP(src=UE, dst=HOST_IP) / UDP(sport=4000, dport=DNS) / Raw(b"who?"),
        IP(src=UE, dst=HOST_IP) / UDP(sport=4000, dport=9) / Raw(b"port unreachable"),
        IP(src=UE, dst=HOST_IP) / TCP(sport=4000, dport=22, flags="A"),
        IP(src=UE, dst=HOST_IP) / TCP(sport=4000, dport=22, flags="SA"),
        IP(src=UE, dst=HOST_IP) / TCP(sport=4000, dport=9),
        IP(src=UE, dst=HOST_IP) / ICMP(type=13),
        IP(src=UE, dst=HOST_IP, proto=132) / Raw(bytes(32)),
        IP(src=UE, dst="10.2.0.255") / UDP(sport=4000, dport=68) / Raw(b"broadcast"),
    ],
    ids=lambda packet: packet.summary(),
)
def test_nothing_else_is_answered(denied: Scene, packet: Packet) -> None:
    assert denied.refused(packet)


def test_what_is_no_service_is_answered_where_that_is_wanted(allowed: Scene) -> None:
    """So that the test above would see it."""
    for packet, kind in (
        (IP(src=UE, dst=HOST_IP) / UDP(sport=4000, dport=DNS) / Raw(b"who?"), UDP),
        (IP(src=UE, dst=HOST_IP) / UDP(sport=4000, dport=9) / Raw(b"?"), ICMP),
        (IP(src=UE, dst=HOST_IP) / TCP(sport=4000, dport=22, flags="A"), TCP),
    ):
        allowed.send(packet)
        assert kind in until(lambda packet=packet: allowed.answer(packet), "it answers")


def test_not_even_by_ipv6(denied: Scene) -> None:
    """A session has no IPv6; a frame that a flow of somebody's sends there is not taken."""
    lab, device = denied.lab, "br-ofgtp-c"
    ping = IPv6(src="2001:db8:45::2", dst=HOST_IP6) / ICMPv6EchoRequest()
    frame = bytes(Ether(dst=lab.mac("gw", device), src="02:00:00:00:00:99") / ping)
    wire = lab.port("gw", device)
    out = f"in_port=CONTROLLER packet={frame.hex()} actions=output:2"
    lab.ofctl("packet-out", own.BRIDGE, out)
    assert wire.receive(1, want=lambda got: got == frame), "it gets as far as the host"
    counted = lab.exec("gw", ["nstat", "-asz", "Icmp6InEchos"]).stdout
    assert re.search(r"Icmp6InEchos +0 ", counted), counted


@pytest.mark.parametrize("kind", ["TCP", "UDP"])
def test_what_the_host_itself_begins_is_answered(denied: Scene, kind: str) -> None:
    """And nothing else of the UE that it speaks to."""
    lab, port = denied.lab, 7
    denied.enb.port.drain()
    client = lab.spawn(
        "gw",
        ["socat", "-t20", "-T20", "-", f"{kind}:{UE}:{port},bind={HOST_IP}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(b"hello")
    client.stdin.flush()
    layer = {"TCP": TCP, "UDP": UDP}[kind]
    asked = next(each for each in denied.received(10) if layer in each)
    back = {"sport": port, "dport": asked[layer].sport}
    to = IP(src=UE, dst=asked[IP].src)
    if kind == "TCP":
        assert asked[TCP].flags == "S"
        denied.send(to / TCP(**back, flags="SA", seq=1000, ack=asked[TCP].seq + 1, window=9000))
        said = next(each for each in denied.received(10) if TCP in each and len(each[TCP].payload))
        assert bytes(said[TCP].payload)[:5] == b"hello"
        ack = said[TCP].seq + 5
        denied.send(to / TCP(**back, flags="PA", seq=1001, ack=ack, window=9000) / Raw(b"world"))
    else:
        assert bytes(asked[UDP].payload)[:5] == b"hello"
        denied.send(to / UDP(**back) / Raw(b"world"))
    assert client.stdout.read(5) == b"world"
    client.kill()
    client.wait()
    for other in ({"sport": port + 1}, {"dport": 22}, {"dport": DNS}):
        changed = back | other
        packet = to / (TCP(**changed, flags="S") if kind == "TCP" else UDP(**changed) / Raw(b"?"))
        assert denied.refused(packet)


def test_an_icmp_error_of_a_ue_is_taken(denied: Scene) -> None:
    program = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20);"
        f"s.bind(('{HOST_IP}', 0)); s.connect(('{UE}', 9)); s.send(b'x'); s.recv(1)"
    )
    denied.enb.port.drain()
    client = denied.lab.spawn("gw", [sys.executable, "-c", program], stderr=subprocess.PIPE)
    asked = next(each for each in denied.received(10) if UDP in each)
    denied.send(IP(src=UE, dst=asked[IP].src) / ICMP(type=3, code=3) / Raw(bytes(asked)[:28]))
    assert client.stderr is not None
    assert b"ConnectionRefusedError" in client.stderr.read()


def test_what_the_host_routes_passes(denied: Scene) -> None:
    packet = ip(UE, PDN)
    denied.gw.up(denied.enb, TEID, packet, denied.pdn)
    to = denied.lab.mac("gw", "eth2")
    denied.gw.down(denied.pdn, ip(PDN, UE), denied.enb, to_mac=to)
    with denied.lab.inside("gw"):
        count = Path("/proc/sys/net/netfilter/nf_conntrack_count")
        tracked = int(count.read_text()) if count.exists() else 0
    assert tracked == 0, "the host keeps an entry for each connection that it routes"


def test_doctor_tells(denied: Scene, allowed: Scene) -> None:
    for scene, verdict in ((denied, "ok"), (allowed, "warning")):
        lab = scene.lab
        env = [f"OFGTP_CONFIG={lab.dir}/ofgtp.toml", f"OFGTP_TOKEN_FILE={lab.dir}/token"]
        program = str(Path(sys.executable).parent / "ofgtp")
        said = lab.exec("gw", ["env", *env, program, "doctor", "--json"], check=False).stdout
        (found,) = (c for c in json.loads(said)["checks"] if c["check"] == "host services")
        assert found["verdict"] == verdict, found
        assert ("ryu-manager (tcp 8080)" in found["text"]) == (verdict == "warning"), found


def test_others_reach_the_host_as_ever(denied: Scene) -> None:
    lab = denied.lab
    answer = lab.http("GET", "/v1/health", address=(HOST_IP, 8080), name="pdn")
    assert answer.status in (200, 421, 403), answer.body
    lab.exec("pdn", ["socat", "-u", "/dev/null", f"TCP:{HOST_IP}:22,connect-timeout=10"])


def test_the_rule_is_kept_and_not_made_anew(denied: Scene) -> None:
    """What is flushed comes back; a start, or another look, changes nothing that is right."""
    lab = denied.lab
    lab.exec("gw", ["nft", "flush", "chain", "inet", "ofgtp_br-ofgtp", "from_ues"])
    until(lambda: "counter" in denied.rules(), "it is back")
    rules = without_counts(denied.rules())
    lab.stop_controller()
    assert "ofgtp_br-ofgtp" in denied.rules(), "the switch forwards on"
    assert denied.refused(SYN)
    log = own.Log(lab)
    lab.start_controller((lab.dir / "ofgtp.toml").read_text())
    until(lambda: "bridge ready" in log.text(), "it has looked")
    assert "nftables" not in log.text()
    assert without_counts(denied.rules()) == rules
    assert denied.refused(SYN)


def without_counts(rules: str) -> str:
    return re.sub(r"packets \d+ bytes \d+|\s*elements = \{[^}]*\}", "", rules)


def test_a_start_with_the_other_setting(denied: Scene) -> None:
    lab = denied.lab
    text = (lab.dir / "ofgtp.toml").read_text()
    lab.stop_controller()
    lab.start_controller(f"{text}\n{ALLOW}\n")
    until(lambda: "from_ues" not in denied.rules(), "it is gone")
    denied.send(SYN)
    assert until(lambda: denied.answer(SYN), "it answers")[TCP].flags == "SA"
    lab.stop_controller()
    lab.start_controller(text)
    until(lambda: "from_ues" in denied.rules(), "it is back")
    # Not SYN's port: the host goes on answering that for a while.
    assert denied.refused(IP(src=UE, dst=HOST_IP) / TCP(sport=4002, dport=22))
