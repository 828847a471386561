"""UEs' IPv6 where the host routes on (`core_port = "host"`): by real stacks at both ends, with what
the host has for it, and with NAT66."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.support import ownership as own
from tests.support.lab import Lab, LabError
from tests.support.site import is_gtpu
from tests.support.traffic import Host, World, inner, until
from tests.support.ue import Ue, carried

pytestmark = pytest.mark.switch

POOL, PREFIX, UE = "2001:db8:a::/48", "2001:db8:a:1::/64", "2001:db8:a:1::7"
OURS, HOST_IP, PDN = "2001:db8:b::1", "2001:db8:c::1", "2001:db8:c::2"
UE4, TEID, DOWN = "10.45.0.2", 0x1001, 0x2001
DEVICE = "br-ofgtp-c"
CORE = f'core_port = "host"\ncore_ip = "10.3.0.1/24"\ncore_ip6 = "{OURS}/64"'
OFGTP = str(Path(sys.executable).parent / "ofgtp")
ALLOW = 'host_services = "allow"'
CONF = "/proc/sys/net/ipv6/conf"


def config(lab: Lab, more: str = "") -> str:
    text = lab.config(controller=own.SWITCH, core=CORE, gateway=more)
    return text.replace('["10.45.0.0/16"]', f'["10.45.0.0/16", "{POOL}"]')


def sysctl(lab: Lab, setting: str, value: str | None = None) -> str:
    """A setting of IPv6 in the gateway's namespace; empty if there is none."""
    with lab.inside("gw"):
        path = Path(CONF, setting)
        if value is not None:
            path.write_text(value)
        return path.read_text().strip() if path.exists() else ""


@dataclass
class Scene:
    lab: Lab
    gw: World
    ue: Ue
    enb: Host
    pdn: Host
    before: dict[str, str] = field(repr=False)
    """The host's settings before the gateway was there."""

    def send(self, packet: Packet) -> None:
        """From the UE."""
        self.enb.port.send(self.gw.tunnel(self.enb, TEID, packet))

    def to_ue(self, packet: Packet) -> None:
        """From the packet data network."""
        to = self.lab.mac("gw", "eth2")
        self.pdn.port.send(bytes(Ether(src=self.pdn.mac, dst=to) / packet))

    def told(self, layer: type[Packet], timeout: float = 10.0) -> Packet | None:
        """What comes to the UE and has this layer."""

        def want(frame: bytes) -> bool:
            return is_gtpu(frame, DOWN) and layer in inner6(frame)

        frames = self.enb.port.receive(1, want=want, timeout=timeout)
        return inner6(frames[0]) if frames else None

    def dropped(self) -> int:
        """Packets that UEs have sent to the host itself, which it does not take, and what they have
        said to neighbours, which the switch does not pass on."""
        rules = self.lab.exec("gw", ["nft", "list", "ruleset"]).stdout
        said: int = self.gw.report()["drops"]["neighbour_discovery"]
        return said + sum(map(int, re.findall(r"counter packets (\d+) .* drop", rules)))


def inner6(frame: bytes) -> Packet:
    return IPv6(bytes(inner(Ether(frame))))


NEIGHBOUR = ICMPv6ND_NS(tgt=OURS) / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:99")
"""Such as one on the host's internal link would send."""


def packet(*layers: Packet, src: str = UE, dst: str = PDN, hops: int = 64) -> Packet:
    made = IPv6(src=src, dst=dst, hlim=hops)
    for layer in layers:
        made /= layer
    return IPv6(bytes(made))


def build(lab: Lab) -> None:
    """eth2 is an interface of the host's own, with a default route that it has from a router."""
    lab.exec("gw", ["ip", "addr", "add", "10.2.0.1/24", "dev", "eth2"])
    lab.exec("gw", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    lab.exec("gw", ["ip", "addr", "add", f"{HOST_IP}/64", "dev", "eth2", "nodad"])
    lab.exec("pdn", ["ip", "addr", "add", f"{PDN}/64", "dev", "eth0", "nodad"])
    if sysctl(lab, "eth2/force_forwarding"):
        sysctl(lab, "eth2/force_forwarding", "1")
    else:
        sysctl(lab, "eth2/accept_ra", "2")
        sysctl(lab, "all/forwarding", "1")
    lab.port("pdn").send(advertised(lab, 1000))
    until(lambda: shown(lab, "route", "show", "default"), "it has a default route")


def advertised(lab: Lab, lifetime_s: int) -> bytes:
    """A router beyond eth2 says that it is one."""
    frame = Ether(src=lab.mac("pdn"), dst="33:33:00:00:00:01") / IPv6(src="fe80::99", dst="ff02::1")
    frame /= ICMPv6ND_RA(routerlifetime=lifetime_s)
    frame[IPv6].hlim = 255
    return bytes(frame)


def settings(lab: Lab) -> dict[str, str]:
    """Those of IPv6 that are not of the gateway's own devices."""
    with lab.inside("gw"):
        return {
            str(path): path.read_text().strip()
            for path in Path(CONF).glob("*/*")
            if path.parent.name in ("all", "default", "eth1", "eth2")
            and path.name != "stable_secret"
        }


def start(lab: Lab, more: str = "") -> Iterator[Scene]:
    before = settings(lab)
    lab.start_controller(config(lab, more))
    with Ue(lab, [f"{UE}/64", f"{UE4}/32"], teid=TEID, downlink=DOWN) as ue:
        scene = Scene(
            lab, World(lab), ue, Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN), before
        )
        body = {
            "ue_ip": UE4,
            "ue_ipv6": PREFIX,
            "uplink": {"teid": TEID},
            "downlink": {"teid": DOWN, "remote_ip": "10.1.0.2"},
        }
        answer = scene.gw.put("a", body)
        assert answer.status == 201, answer.body
        yield scene


@pytest.fixture(scope="module")
def routed() -> Iterator[Scene]:
    with Lab(ipv6=True) as lab:
        build(lab)
        lab.exec("pdn", ["ip", "route", "add", POOL, "via", HOST_IP])
        yield from start(lab)


@pytest.fixture(scope="module")
def translated() -> Iterator[Scene]:
    """The packet data network has no route to UEs, and leaves checksums, and the cutting of long
    packets, to its card."""
    with Lab(ipv6=True) as lab:
        build(lab)
        lab.exec("pdn", ["ethtool", "-K", "eth0", "tx", "on", "tso", "on", "gso", "on"])
        yield from start(lab, f"{ALLOW}\nmasquerade = true\nmasquerade6 = true")


def ping(lab: Lab, name: str, to: str, *more: str) -> str:
    return lab.exec(name, ["ping", "-c2", "-i0.2", "-W5", *more, to], timeout=60).stdout


def shown(lab: Lab, *words: str) -> list[dict[str, Any]]:
    out = lab.exec("gw", ["ip", "-json", "-6", *words]).stdout
    return [entry for entry in json.loads(out or "[]") if entry]


def whole(lab: Lab) -> bool:
    """The core device has what it is to have of IPv6, and nothing else."""
    links = shown(lab, "addr", "show", "dev", DEVICE)
    addresses = [f"{a['local']}/{a['prefixlen']}" for link in links for a in link["addr_info"]]
    unsure = any({"tentative", "dadfailed"} & a.keys() for link in links for a in link["addr_info"])
    to_ues = [r for r in shown(lab, "route", "show", "dev", DEVICE) if r["dst"] == POOL]
    hops = [(r["gateway"], r["protocol"]) for r in to_ues]
    entry = {"dst": "fe80::1", "lladdr": lab.mac("gw", own.BRIDGE), "state": ["PERMANENT"]}
    known = [
        each for each in shown(lab, "neigh", "show", "dev", DEVICE) if "PERMANENT" in each["state"]
    ]
    return (
        addresses == [f"{OURS}/64"]
        and not unsure
        and hops == [("fe80::1", "152")]
        and known == [entry]
        and sysctl(lab, f"{DEVICE}/force_forwarding") in ("", "1")
    )


# --- routed


def test_real_stacks_both_ways(routed: Scene) -> None:
    lab = routed.lab
    assert " 0% packet loss" in ping(lab, "ue", PDN, "-s1400") + ping(lab, "ue", "10.2.0.2")
    assert " 0% packet loss" in ping(lab, "pdn", UE)
    carried(lab, "ue", "pdn", PDN)
    carried(lab, "pdn", "ue", UE)


def test_what_the_host_has_for_it(routed: Scene) -> None:
    lab = routed.lab
    assert whole(lab)
    assert shown(lab, "addr", "show", "dev", own.BRIDGE) == []
    assert shown(lab, "route", "get", "2001:db8:a:ffff::9")[0]["dev"] == DEVICE


def test_nothing_else_of_the_host_is_changed(routed: Scene) -> None:
    """Above all not the default route that it has from a router, and hears of again."""
    lab = routed.lab
    assert settings(lab) == routed.before
    routed.pdn.port.send(advertised(lab, 3000))

    def lives() -> bool:
        [route] = shown(lab, "route", "show", "default")
        return route["protocol"] == "ra" and route["expires"] > 2000

    until(lives, "the default route lives longer")


def test_one_hop(routed: Scene) -> None:
    sent = packet(UDP(sport=5, dport=9), Raw(b"packet 00000001 of the test"), hops=77)
    assert routed.gw.up(routed.enb, TEID, sent, routed.pdn)[IPv6].hlim == 76
    sent = packet(
        UDP(sport=5, dport=9), Raw(b"packet 00000002 of the test"), src=PDN, dst=UE, hops=99
    )
    got = routed.gw.down(routed.pdn, sent, routed.enb, to_mac=routed.lab.mac("gw", "eth2"))
    assert inner6(bytes(got)).hlim == 98
    routed.send(packet(ICMPv6EchoRequest(), hops=1))
    told = routed.told(ICMPv6TimeExceeded)
    assert told is not None and told.dst == UE and told.src == OURS


def too_long(octets: int) -> Packet:
    return packet(UDP(sport=9, dport=9), Raw(bytes(octets - 48)), src=PDN, dst=UE)


def test_too_big_for_a_tunnel(routed: Scene) -> None:
    """The host tells; where a container makes it longer, the gateway does."""
    told = refusal(routed, 1465)
    assert (told[IPv6].src, told[ICMPv6PacketTooBig].mtu) == (HOST_IP, 1464)
    change(routed, {"qfi": 9, "qfi_required": False})
    try:
        told = refusal(routed, 1457)
        assert (told[IPv6].src, told[ICMPv6PacketTooBig].mtu) == (OURS, 1456)
    finally:
        change(routed, {"qfi": None, "qfi_required": None})


def refusal(routed: Scene, octets: int) -> Packet:
    """What somebody is told who sends so many octets to the UE."""

    def told() -> Packet | None:
        routed.to_ue(too_long(octets))
        frames = routed.pdn.port.receive(1, want=too_big, timeout=1)
        return Ether(frames[0]) if frames else None

    routed.pdn.port.drain()
    return until(told, "it is told")


def too_big(frame: bytes) -> bool:
    return ICMPv6PacketTooBig in Ether(frame)


def change(routed: Scene, members: dict[str, Any]) -> None:
    answer = routed.lab.http("PATCH", "/v1/sessions/a", members)
    assert answer.status == 200, answer.body
    routed.lab.cache_follows()


def test_too_big_for_the_way_on(routed: Scene) -> None:
    routed.lab.exec("gw", ["ip", "link", "set", "eth2", "mtu", "1400"])
    try:
        routed.send(packet(UDP(), Raw(bytes(1450 - 48))))
        told = routed.told(ICMPv6PacketTooBig)
        assert told is not None and told[ICMPv6PacketTooBig].mtu == 1400
    finally:
        routed.lab.exec("gw", ["ip", "link", "set", "eth2", "mtu", "1500"])


def test_a_ue_reaches_no_service_of_the_host(routed: Scene) -> None:
    """Nor may it tell the host of neighbours; ping it may."""
    lab = routed.lab
    lab.spawn("gw", ["socat", "TCP6-LISTEN:22,fork,reuseaddr", "EXEC:cat"])
    listens = ["ss", "-Hltn", "sport = :22"]
    until(lambda: lab.exec("gw", listens).stdout, "somebody listens")
    for sent in (
        packet(TCP(sport=4000, dport=22), dst=HOST_IP),
        packet(UDP(sport=4000, dport=53), Raw(b"?"), dst=HOST_IP),
        packet(NEIGHBOUR, dst=HOST_IP, hops=255),
    ):
        before = routed.dropped()
        routed.send(sent)
        until(lambda before=before: routed.dropped() == before + 1, f"dropped: {sent.summary()}")
    assert UE not in lab.exec("gw", ["ip", "neigh", "show", "dev", DEVICE]).stdout
    routed.send(packet(ICMPv6EchoRequest(data=b"x"), dst=HOST_IP))
    assert routed.told(ICMPv6EchoReply) is not None


def test_what_the_host_begins_is_answered(routed: Scene) -> None:
    lab = routed.lab
    listener = lab.spawn("ue", ["socat", "-b4096", "TCP6-LISTEN:9,reuseaddr", "PIPE"])
    with lab.inside("gw"):
        talk = ["socat", "-t5", "-", f"TCP6:[{UE}]:9,bind=[{HOST_IP}],retry=20,interval=0.2"]
        got = subprocess.run(talk, input=b"hello", capture_output=True, timeout=60, check=True)
    listener.wait(20)
    assert got.stdout == b"hello"
    # An error of the UE's, of what the host has sent.
    program = (
        "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(20);"
        f"s.bind(('{HOST_IP}', 0)); s.connect(('{UE}', 19)); s.send(b'x'); s.recv(1)"
    )
    client = lab.spawn("gw", [sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert client.stderr is not None
    assert b"ConnectionRefusedError" in client.stderr.read()


@pytest.mark.parametrize(
    "target", [OURS, "2001:db8:b::99", "fe80::1", "ff02::1", "2001:db8:a:2::1"]
)
def test_where_no_ue_sends(routed: Scene, target: str) -> None:
    """Of the core network on the host's internal port each address would be looked for."""
    reason = "ue_to_ue" if target.startswith("2001:db8:a:") else "protected_destination"
    before = routed.gw.drops(reason)
    routed.send(packet(ICMPv6EchoRequest(), dst=target))
    routed.lab.appctl("revalidator/purge")
    until(lambda: routed.gw.drops(reason) == before + 1, f"counted as {reason}")
    assert [entry["dst"] for entry in shown(routed.lab, "neigh", "show", "dev", DEVICE)] == [
        "fe80::1"
    ]


def test_no_neighbour_entry_per_ue(routed: Scene) -> None:
    before = routed.gw.drops("unknown_ue")
    for number in range(1, 101):
        routed.to_ue(packet(UDP(), Raw(b"x"), src=PDN, dst=f"2001:db8:a:{number + 0x100:x}::1"))
    routed.lab.appctl("revalidator/purge")
    until(lambda: routed.gw.drops("unknown_ue") == before + 100, "all of them reach the bridge")
    assert len(shown(routed.lab, "neigh", "show", "dev", DEVICE)) == 1


def test_the_hosts_stack_is_kept_apart(routed: Scene) -> None:
    """On the access port it neither answers nor speaks; what it says on its internal port the
    switch drops, and counts."""
    lab = routed.lab
    [link] = shown(lab, "addr", "show", "dev", "eth1")
    [address] = [each["local"] for each in link["addr_info"]]
    routed.enb.port.drain()
    mac = lab.mac("gw", "eth1")
    to_port = Ether(src=routed.enb.mac, dst=mac) / IPv6(src="fe80::77", dst=address, hlim=255)
    routed.enb.port.send(bytes(to_port / ICMPv6EchoRequest()))
    routed.enb.port.send(bytes(to_port / ICMPv6ND_NS(tgt=address)))
    said = routed.gw.drops("core_other")
    lab.exec("gw", ["ip", "link", "set", DEVICE, "down"])
    until(lambda: whole(lab), "it is as before")
    with lab.inside("gw"), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as speaker:
        speaker.sendto(b"?", ("ff02::fb", 5353, 0, socket.if_nametoindex(DEVICE)))
    lab.appctl("revalidator/purge")
    until(lambda: routed.gw.drops("core_other") > said, "it is counted")
    frames = routed.enb.port.receive(quiet=0.5)
    assert [Ether(f).summary() for f in frames if f[12:14] == b"\x86\xdd"] == []
    assert [Ether(f).summary() for f in frames if is_gtpu(f, DOWN)] == []


def test_doctor_tells(routed: Scene) -> None:
    """Where the way back in is shut, and what opens it without taking the default route away."""
    lab = routed.lab

    def found() -> dict[str, Any]:
        command = ["env", f"OFGTP_CONFIG={lab.dir}/ofgtp.toml", OFGTP, "doctor", "--json"]
        checks = json.loads(lab.exec("gw", command, check=False).stdout)["checks"]
        [finding] = [each for each in checks if each["check"] == "routing IPv6"]
        return dict(finding)

    assert found()["verdict"] == "ok"
    if not sysctl(lab, "eth2/force_forwarding"):
        return
    sysctl(lab, "eth2/force_forwarding", "0")
    finding = found()
    assert finding["verdict"] == "failed"
    for command in finding["remedy"]:
        lab.exec("gw", command.split())
    assert found()["verdict"] == "ok"
    assert shown(lab, "route", "show", "default")


@pytest.mark.parametrize(
    "done",
    [
        f"ip -6 route del {POOL} dev {DEVICE}",
        f"ip -6 neigh del fe80::1 dev {DEVICE}",
        f"ip addr del {OURS}/64 dev {DEVICE}",
        f"ip addr add 2001:db8:b::5/64 dev {DEVICE} nodad",
        f"ip link set {DEVICE} down",
        f"sysctl -qw net.ipv6.conf.{DEVICE}.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        "nft delete table inet ofgtp_br-ofgtp",
    ],
)
def test_what_somebody_takes_away_is_put_back(routed: Scene, done: str) -> None:
    lab, log = routed.lab, own.Log(routed.lab)
    if done.endswith("forwarding=0"):
        if not sysctl(lab, f"{DEVICE}/force_forwarding"):
            pytest.skip("this kernel forwards by all interfaces or by none: no part of ofgtp's")
        # Linux takes it off all interfaces then, if that is a change.
        sysctl(lab, "all/forwarding", "1")
    lab.exec("gw", done.split())
    if done.endswith("forwarding=0"):
        sysctl(lab, "eth2/force_forwarding", "1")
    until(lambda: log.has("repaired"), "event `repaired`")
    until(lambda: whole(lab), "it is as before")
    until(lambda: "from_ues" in lab.exec("gw", ["nft", "list", "ruleset"]).stdout, "the rules")
    assert " 0% packet loss" in ping(lab, "ue", PDN)


def test_a_restart_changes_nothing(routed: Scene) -> None:
    lab = routed.lab
    lab.stop_controller()
    assert whole(lab)
    assert " 0% packet loss" in ping(lab, "ue", PDN), "the switch forwards on, and so does the host"
    log = own.Log(lab)
    lab.start_controller((lab.dir / "ofgtp.toml").read_text())
    until(lambda: routed.gw.report()["in_sync"], "in sync")
    assert "nftables" not in log.text() and not log.events("repaired")
    assert " 0% packet loss" in ping(lab, "pdn", UE)


def test_too_small_an_mtu_is_said(routed: Scene) -> None:
    """A link of less than 1280 octets carries no IPv6; IPv4 goes on."""
    lab = routed.lab
    lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", "1300"])
    problem = "packets of 1264 octets fit a tunnel, and IPv6 needs 1280"
    until(lambda: problem in str(routed.gw.report()["problem"]), "it is said")
    assert "ip link set dev eth1 mtu 1316" in routed.gw.report()["problem"]
    assert " 0% packet loss" in ping(lab, "ue", "10.2.0.2")
    lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", "1500"])
    until(lambda: routed.gw.report()["problem"] is None, "it is over")
    assert whole(lab)
    assert " 0% packet loss" in ping(lab, "ue", PDN)


def test_a_route_of_the_hosts_own(routed: Scene) -> None:
    lab = routed.lab
    lab.stop_controller()
    lab.exec("gw", ["ip", "-6", "route", "del", POOL, "dev", DEVICE])
    lab.exec("gw", ["ip", "-6", "route", "add", POOL, "via", PDN, "dev", "eth2"])
    lab.start_controller((lab.dir / "ofgtp.toml").read_text(), status=None)
    said = f"the host has a route to {POOL} of its own (dev eth2): delete it"
    until(lambda: said in str(routed.gw.report()["problem"]), "it is said")
    lab.exec("gw", ["ip", "-6", "route", "del", POOL, "dev", "eth2"])
    until(lambda: whole(lab), "it goes on by itself")


def test_a_prefix_behind_a_ue(routed: Scene) -> None:
    """The host has a route to it while a session has it."""
    behind, host = "2001:db8:f::/56", "2001:db8:f::9"

    def is_routed() -> bool:
        return any(r["dst"] == behind for r in shown(routed.lab, "route", "show", "dev", DEVICE))

    assert routed.lab.http("PATCH", "/v1/sessions/a", {"framed_routes": [behind]}).status == 200
    assert is_routed()

    def leaves() -> bool:
        routed.send(packet(UDP(dport=9), src=host))
        frames = routed.pdn.port.receive(1, want=lambda f: UDP in Ether(f), timeout=0.5)
        return [Ether(f)[IPv6].src for f in frames if IPv6 in Ether(f)] == [host]

    def arrives() -> bool:
        routed.to_ue(packet(UDP(dport=9), src=PDN, dst=host))
        told = routed.told(UDP, timeout=0.5)
        return told is not None and told.dst == host

    # What the switch has cached goes on for a moment.
    until(leaves, "it leaves")
    until(arrives, "it arrives")
    assert routed.lab.http("PATCH", "/v1/sessions/a", {"framed_routes": []}).status == 200
    assert not is_routed()


# --- translated


def test_real_stacks_behind_the_hosts_address(translated: Scene) -> None:
    """The packet data network sees the host's address; what comes back reaches the UE, errors
    too."""
    lab, scene = translated.lab, translated
    assert " 0% packet loss" in ping(lab, "ue", PDN) + ping(lab, "ue", "10.2.0.2")
    carried(lab, "ue", "pdn", PDN)
    sent = packet(UDP(sport=5, dport=9), Raw(b"packet 00000003 of the test"))
    got = scene.gw.up(scene.enb, TEID, sent, scene.pdn)
    assert got[IPv6].src == HOST_IP
    told = scene.told(ICMPv6DestUnreach)
    assert told is not None and told.src == PDN, "nobody has port 9"
    with pytest.raises(LabError):
        ping(lab, "pdn", UE)


def test_where_services_are_allowed_a_ue_is_no_neighbour(translated: Scene) -> None:
    """It could fill the host's table of neighbours, with the addresses of its prefix."""
    lab, scene = translated.lab, translated
    lab.spawn("gw", ["socat", "TCP6-LISTEN:22,fork,reuseaddr", "EXEC:cat"])

    def answered() -> bool:
        scene.send(packet(TCP(sport=4000, dport=22), dst=HOST_IP))
        return scene.told(TCP, timeout=0.5) is not None

    until(answered, "it reaches the host")
    before = scene.dropped()
    for number in range(1, 5):
        source = UE.replace("::7", f"::{number}")
        scene.send(packet(NEIGHBOUR, src=source, dst=HOST_IP, hops=255))
    until(lambda: scene.dropped() == before + 4, "all are dropped")
    assert [entry["dst"] for entry in shown(lab, "neigh", "show", "dev", DEVICE)] == ["fe80::1"]


def test_the_rule_comes_back(translated: Scene) -> None:
    lab, log = translated.lab, own.Log(translated.lab)
    lab.exec("gw", ["nft", "delete", "table", "ip6", "ofgtp_br-ofgtp"])
    until(lambda: log.has("repaired"), "event `repaired`")
    assert f"ip6 saddr {POOL}" in lab.exec("gw", ["nft", "list", "ruleset"]).stdout
    assert " 0% packet loss" in ping(lab, "ue", PDN)
