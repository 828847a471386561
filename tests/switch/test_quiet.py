"""What leaves by a gateway's ports is what the switch sends, nothing of the host's own stack."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

from tests.support.lab import Lab, RawPort
from tests.support.site import is_gtpu
from tests.support.traffic import Host, World, ip, until

pytestmark = pytest.mark.switch

UE, PDN, ENB = "10.45.0.2", "10.2.0.2", "10.1.0.2"
CORE = {
    "port": 'core_port = "eth2"\ncore_ip = "10.2.0.1/24"\nnext_hop = "10.2.0.2"',
    "host": 'core_port = "host"\ncore_ip = "10.3.0.1/24"',
}
OURS = {"10.1.0.1", "10.2.0.1", "10.3.0.1"}
LLDP = bytes.fromhex("0180c200000e02000000000588cc0000")

CHATTER = """
import contextlib, socket, struct, sys
device, number = sys.argv[1], socket.if_nametoindex(sys.argv[1])
speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
speaker.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
speaker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
joined = struct.pack("4s4si", socket.inet_aton("224.0.0.251"), bytes(4), number)
speaker.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
speaker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, joined)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((device, 0))
discover = "ffffffffffff" "020000000005" "0800" "4500002a00000000401179a9" "00000000ffffffff"
for target in (("224.0.0.251", 5353), ("239.255.255.250", 1900), ("255.255.255.255", 67)):
    with contextlib.suppress(OSError):
        speaker.sendto(b"chatter", target)
with contextlib.suppress(OSError):
    wire.send(bytes.fromhex(discover + "004400430016" "0000") + bytes(14))
"""
"""What daemons may do on any interface: mDNS, SSDP and DHCP, with IGMP before them."""


@pytest.fixture(scope="module", params=CORE)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The host has IPv6, as most have."""
    with Lab(ipv6=True) as lab:
        if request.param == "host":
            lab.exec("gw", ["ip", "addr", "add", "10.2.0.1/24", "dev", "eth2"])
            lab.exec("gw", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        lab.start_controller(lab.config(core=CORE[request.param]))
        gateway = World(lab)
        gateway.session("a", UE, 1, 101)
        gateway.ping(Host(lab, "enb", ENB), 1, UE, PDN)
        yield lab


def ports(lab: Lab) -> dict[str, RawPort]:
    """The far end of each interface that is the switch's."""
    far = {"eth1": "enb", "eth2": "pdn"}
    if "br-ofgtp-c" in there(lab):
        del far["eth2"]
    return {port: lab.port(name) for port, name in far.items()}


def there(lab: Lab) -> set[str]:
    """The gateway's interfaces."""
    shown = lab.exec("gw", ["ip", "-br", "link"]).stdout
    return {re.split(r"[ @]", line)[0] for line in shown.splitlines()}


def strange(port: RawPort) -> list[str]:
    """What has come in that no gateway sends."""
    return [
        Ether(frame).summary()
        for frame in port.receive(quiet=0.5)
        if not known(Ether(frame)) and not is_gtpu(frame)
    ]


def known(frame: Ether) -> bool:
    """ARP of the gateway's own, what it forwards, and LLDP, which is the link's own business."""
    if ARP in frame:
        return frame[ARP].psrc in OURS
    if IP in frame:
        one = int(IPv4Address(frame[IP].dst)) >> 28 < 0xE
        return one and frame[IP].src in (UE, PDN, *OURS) and UDP in frame
    return bytes(frame)[:14] == LLDP[:14]


def test_nothing_of_the_hosts_stack_leaves(lab: Lab) -> None:
    """Neither when the interfaces come up, nor when others would have it speak."""
    wires = ports(lab)
    for port in wires:
        lab.exec("gw", ["ip", "link", "set", port, "down"])
        lab.exec("gw", ["ip", "link", "set", port, "up"])
    own = [name for name in ("br-ofgtp", "br-ofgtp-c") if name in there(lab)]
    for device in own:
        lab.exec("gw", ["ip", "link", "set", device, "down"])
        lab.exec("gw", ["ip", "link", "set", device, "up"])
    for device in (*wires, *own):
        lab.exec("gw", [sys.executable, "-c", CHATTER, device])
    time.sleep(5)  # the kernel's first router solicitations are 4 s apart
    for port, wire in wires.items():
        found = strange(wire)
        assert not found, f"{port}: {found}"


def test_what_is_the_links_own_business_leaves(lab: Lab) -> None:
    """And the test above would see what does."""
    for port, wire in ports(lab).items():
        sender = lab.port("gw", port)
        sender.send(LLDP + bytes(46), bytes(Ether(src="02:00:00:00:00:05") / IP(src="192.0.2.9")))
        frames = wire.receive(2, want=lambda frame: frame[6:12] == LLDP[6:12])
        assert len(frames) == 2
        assert not known(Ether(frames[1]))


def test_what_the_switch_sends_leaves(lab: Lab) -> None:
    gateway, enb, pdn = World(lab), Host(lab, "enb", ENB), Host(lab, "pdn", PDN)
    gateway.up(enb, 1, ip(UE, PDN), pdn)
    to = lab.mac("gw", "eth2")
    gateway.down(pdn, ip(PDN, UE), enb, to_mac=to)
    until(lambda: gateway.report()["neighbours"]["resolved"] == 1, "ARP is asked and answered")
