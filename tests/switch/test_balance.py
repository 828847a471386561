"""Every frame that comes in by a port has one end: forwarded, for the gateway itself, or dropped by
a name. One of each known kind is sent, and the sums are balanced."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from tests.support import gtpu
from tests.support.balance import ENDS, balanced, counts, settled
from tests.support.gtpu import PLAIN, PN, E, S
from tests.support.lab import PORTS, Lab
from tests.support.peer import echo
from tests.support.site import ACCESS_IP, BRIDGE, CORE_IP, ENB_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
UE_5G, UP_5G = "10.45.0.3", 0x1003
IDLE, TOLD, NO_ARP, NO_ROUTE = "10.45.0.4", "10.45.0.5", "10.45.0.6", "10.45.0.7"
EACH = 3
"""Frames of each kind."""
CONTAINER = b"\x01\x10\x09\x00"
UDP_SEGMENT = 103


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """With a UE of each sort."""
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        site.session(UE, teid=UP, downlink=DOWN)
        site.session(UE_5G, teid=UP_5G, downlink=0x2003, qfi=9, qfi_check=True)
        site.session(IDLE, teid=0x1004)
        name = site.session(TOLD, teid=0x1005, downlink=0x2005)
        site.session(NO_ARP, teid=0x1006, downlink=0x2006, peer="10.1.0.77")
        site.session(NO_ROUTE, teid=0x1007, downlink=0x2007, peer="172.16.0.9")
        teid = b"\x10" + 0x2005.to_bytes(4, "big") + b"\x85\x00\x04\x0a\x01\x00\x02"
        site.enb.send(site.from_enb(gtpu.message(26, 0, teid, flags=PLAIN | S)))
        path = f"/v1/sessions/{name}"
        until(lambda: lab.http("GET", path).json()["state"] == "error_indicated", "it is told")
        yield site
        site.alive()
        site.check_sent()


def in_frames(site: Site) -> int:
    """What the kernel has counted as received by both ports."""
    shown = site.lab.ofctl("dump-ports", BRIDGE)
    found = dict(re.findall(r"port +(\S+): rx pkts=(\d+)", shown))
    ends = "|".join(map(site.lab.end, ("eth1", "eth2")))
    numbers = re.findall(rf" (\d+)\((?:{ends})\)", site.lab.ofctl("show", BRIDGE))
    assert len(numbers) == 2
    return sum(int(found[number]) for number in numbers)


def not_seen(site: Site) -> int:
    """How many of them are not among what is counted as received: those before that began. ARP
    comes all the time: it is looked at until none has come meanwhile."""
    while True:
        frames, now = in_frames(site), counts(site)
        if in_frames(site) == frames:
            return frames - now["received", "access"] - now["received", "core"]


def access_kinds(site: Site) -> Iterator[tuple[str, bytes]]:
    """Frames for the access port, each with what becomes of it."""
    mac, inner = site.enb_mac["enb"], gtpu.ipv4(UE, PDN_IP)
    good = site.t_pdu(UP, inner)

    def ether(to: str = site.local_mac, **fields: int) -> Ether:
        return Ether(src=mac, dst=to, **fields)

    def cut(flags: int, body: bytes) -> bytes:
        """A T-PDU in which flags announce more than there is."""
        return site.from_enb(bytes([PLAIN | flags]) + gtpu.t_pdu(UP, body)[1:])

    def lying(first: int, length: int) -> bytes:
        return site.t_pdu(UP, bytes([first, 0]) + struct.pack("!H", length) + inner[4:])

    def contained(octets: bytes, packet: bytes) -> bytes:
        return site.from_enb(gtpu.t_pdu(UP_5G, octets + packet, flags=PLAIN | E, extension=0x85))

    def icmp(kind: int) -> bytes:
        about = IP(src=ACCESS_IP, dst=ENB_IP["enb"]) / UDP(sport=5, dport=2152) / bytes(8)
        return bytes(ether() / IP(src=ENB_IP["enb"], dst=ACCESS_IP) / ICMP(type=kind) / about)

    in_5g = gtpu.ipv4(UE_5G, PDN_IP)
    for ttl in (64, 100, 128):
        yield "packets uplink", site.t_pdu(UP, gtpu.ipv4(UE, PDN_IP, ttl=ttl))
    yield "packets uplink", contained(CONTAINER, in_5g)
    yield "packets uplink", lying(0x4F, len(inner))  # strange, but no lie
    # the outer headers
    wrong_udp, wrong_ip = Ether(good), Ether(good)
    wrong_udp[UDP].chksum, wrong_ip[IP].chksum = 0x1234, 0x1234
    for packet in (wrong_udp, wrong_ip):
        yield "drops tunnel_error", bytes(packet)
    tpdu = gtpu.t_pdu(UP, inner)
    yield "drops tunnel_error", site.from_enb(tpdu, options=[IPOption_NOP()] * 4)
    yield "drops tunnel_error", good[:16] + b"\0\x28" + good[18:]  # an IP length below the rest
    yield "drops outer_fragment", site.from_enb(tpdu, flags="MF")
    yield "drops outer_fragment", site.from_enb(tpdu, frag=7)
    for length in (14, 20, 40, 45):  # cut off before GTP-U
        yield "drops access_other", good[:length]
    yield "drops access_other", good[:14] + b"\x44" + good[15:]
    yield "drops access_other", good[:16] + b"\x07\xd0" + good[18:]
    # GTP-U's header, and next to nothing behind it
    for size in range(8):
        yield "drops tunnel_error", site.from_enb(tpdu[:size])
    for flags in (0, S, S | PN):
        for size in (0, 1, 13):
            yield "drops tunnel_error", site.t_pdu(UP, inner[:size], flags=PLAIN | flags)
        for size in (14, 19, 20, 83):
            yield "drops bad_inner", site.t_pdu(UP, inner[:size], flags=PLAIN | flags)
    for flags, sizes in ((S, (4, 17)), (E, (0, 4, 13)), (E | S, (4, 12, 17)), (PN, (0, 4, 13))):
        for size in sizes:
            yield "drops tunnel_error", cut(flags, bytes(size))
    for size in (14, 16, 23):
        yield "drops bad_inner", cut(E, bytes(size))
    for size in (0, 3):
        yield "drops bad_inner", cut(E | S, bytes(size))
    for size in (0, 5):
        yield "drops tunnel_error", contained(CONTAINER, in_5g[:size])
    for size in (6, 13, 15, 16, 20, 83):
        yield "drops bad_inner", contained(CONTAINER, in_5g[:size])
    # what is inside
    for first, length in ((0x45, 0), (0x45, 19), (0x45, 85), (0x44, 84), (0x40, 84), (0x4F, 59)):
        yield "drops bad_inner", lying(first, length)
    yield "drops not_ip", site.t_pdu(UP, bytes(60))
    yield "drops inner_ipv6", site.t_pdu(UP, bytes(IPv6(src="2001:db8::1", dst="2001:db8::2")))
    yield "drops inner_mpls", site.t_pdu(UP, gtpu.ipv4("136.71.0.1", PDN_IP, ttl=63))
    forged = bytes.fromhex(site.local_mac.replace(":", "")) + bytes(40)
    yield "drops forged_signalling", site.t_pdu(UP, forged)
    yield "packets uplink", site.t_pdu(UP, inner, flags=PLAIN | PN)
    yield "drops wrong_version", site.t_pdu(UP, inner, flags=0x50)
    yield "drops gtp_prime", site.t_pdu(UP, inner, flags=0x20)
    other = gtpu.t_pdu(UP_5G, b"\x01\x08\x68\x00" + in_5g, flags=PLAIN | E, extension=0x40)
    yield "drops extension_header", site.from_enb(other)
    yield "drops bad_container", contained(b"\x01\x00\x09\x00", in_5g)
    yield "drops long_container", contained(b"\x08\x18\x09" + bytes(29), in_5g)
    yield "drops extension_chain", contained(b"\x01\x10\x09\x40\x01\x00\x00\x00", in_5g)
    yield "drops wrong_qfi", contained(b"\x01\x10\x08\x00", in_5g)
    yield "drops container_missing", site.t_pdu(UP_5G, in_5g)
    yield "drops no_uplink_session", site.t_pdu(0x9999, inner)
    yield "drops no_uplink_session", site.t_pdu(UP, gtpu.ipv4("10.45.0.99", PDN_IP))
    yield "drops protected_destination", site.t_pdu(UP, gtpu.ipv4(UE, "10.1.0.9"))
    yield "drops ue_to_ue", site.t_pdu(UP, gtpu.ipv4(UE, UE_5G))
    # what is no T-PDU
    yield "own signalling", site.from_enb(echo(5))
    yield "drops unknown_type", site.from_enb(gtpu.message(77, 0, bytes(12), flags=PLAIN | S))
    yield "drops too_short", site.from_enb(echo(9, length=3))
    for kind in (3, 11, 12):
        yield "drops icmp_error", icmp(kind)
    for kind in (5, 13):
        yield "drops access_other", icmp(kind)
    yield "own ping", bytes(ether() / IP(src=ENB_IP["enb"], dst=ACCESS_IP) / ICMP(id=7))
    fragment = IP(src=ENB_IP["enb"], dst=ACCESS_IP, flags="MF") / ICMP()
    yield "drops outer_fragment", bytes(ether() / fragment)
    everybody = ether("ff:ff:ff:ff:ff:ff")
    for address in (ACCESS_IP, "10.1.0.88"):
        yield "own arp", bytes(everybody / ARP(hwsrc=mac, psrc=ENB_IP["enb"], pdst=address))
    yield "own arp", bytes(ether("ff:ff:ff:ff:ff:ff", type=0x806)) + b"\0\1\x08\0"
    yield "drops access_other", site.from_enb(b"x" * 20, port=53)
    yield "drops access_other", site.from_enb(tpdu, eth_dst="02:00:00:00:00:99")
    yield "drops access_other", site.from_enb(tpdu, destination="10.1.0.9")
    yield "drops access_other", bytes(ether() / IPv6() / UDP(sport=1, dport=2152))
    for ether_type in (0x88CC, 0x8809, 0x8808, 0x8847, 0x0026):
        yield "drops access_other", bytes(ether(type=ether_type) / Raw(b"\0\0\1\x40" + bytes(42)))
    for tags in (Dot1Q(vlan=5), Dot1Q(vlan=0), Dot1Q(vlan=5) / Dot1Q(vlan=6)):
        yield "drops vlan", bytes(ether() / tags / Ether(good)[IP])


def core_kinds(site: Site) -> Iterator[tuple[str, bytes]]:
    """Likewise for the core port."""
    mac = site.pdn_mac

    def to(ue: str, size: int = 84) -> bytes:
        return site.to_ue(gtpu.ipv4(PDN_IP, ue, size=size))

    def ether(dst: str = site.core_mac, **fields: int) -> Ether:
        return Ether(src=mac, dst=dst, **fields)

    packet = gtpu.ipv4(PDN_IP, UE)
    yield "packets downlink", to(UE)
    yield "packets downlink", to(UE, 1464)
    yield "packets downlink", to(UE_5G)
    yield "packets downlink", to(UE_5G, 1456)
    for ue, size in ((UE, 1465), (UE_5G, 1457), (UE_5G, 1470), ("10.45.9.9", 1465), (IDLE, 1465)):
        yield "drops too_big", to(ue, size)
    for ue in (TOLD, NO_ARP, NO_ROUTE):
        yield "drops too_big", to(ue, 1480)
    yield "drops unknown_ue", to("10.45.9.9")
    yield "drops idle_ue", to(IDLE)
    yield "drops error_indicated", to(TOLD)
    yield "drops not_sent", to(NO_ARP)
    yield "drops not_sent", to(NO_ROUTE)
    yield "drops core_other", site.to_ue(packet[:2] + b"\x07\xd0" + packet[4:])
    yield "drops core_other", site.to_ue(b"\x44" + packet[1:])
    for size in (0, 19):
        yield "drops core_other", site.to_ue(packet[:size])
    yield "drops core_other", site.to_ue(packet, eth_dst="ff:ff:ff:ff:ff:ff")
    yield "drops core_other", to("10.99.0.1")
    yield "drops core_other", bytes(ether() / IPv6() / UDP())
    for ether_type in (0x88CC, 0x0026):
        yield "drops core_other", bytes(ether(type=ether_type) / Raw(bytes(46)))
    everybody = ether("ff:ff:ff:ff:ff:ff")
    yield "drops core_other", bytes(everybody / ARP(hwsrc=mac, psrc=PDN_IP, pdst="10.2.0.88"))
    yield "own arp", bytes(everybody / ARP(hwsrc=mac, psrc=PDN_IP, pdst=CORE_IP))
    yield "own arp", bytes(everybody / ARP(hwsrc=mac, psrc=PDN_IP, pdst=PDN_IP))
    yield "own ping", bytes(ether() / IP(src=PDN_IP, dst=CORE_IP) / ICMP(id=7))
    yield "drops vlan", bytes(ether() / Dot1Q(vlan=5) / IP(packet))


def send(site: Site, frames: list[bytes], port: str) -> dict[str, int]:
    """Send EACH of them by a port; what was counted, and balances."""
    before, unseen = settled(site), not_seen(site)
    wire = {"access": site.enb, "core": site.pdn}[port]
    for frame in frames:
        wire.send(*[frame] * EACH)
        time.sleep(0.005)
    found = balanced(site, before)
    until(lambda: not_seen(site) == unseen, "all that the kernel received since is counted")
    return found


def ends(found: dict[str, int]) -> dict[str, int]:
    """What became of the frames, but for ARP."""
    return {n: c for n, c in found.items() if n.startswith(ENDS) and n != "own arp"}


@pytest.mark.parametrize("port", ["access", "core"])
def test_each_kind_has_its_name(site: Site, port: str) -> None:
    kinds = list({"access": access_kinds, "core": core_kinds}[port](site))
    found = send(site, [frame for _, frame in kinds], port)
    expected = Counter(name for name, _ in kinds for _ in range(EACH))
    assert ends(found) == ends(expected)
    assert found["own arp"] >= expected["own arp"]
    switch = ("switch_drops tunnel_pop_error", "switch_drops rx_invalid_packet")
    said = sum(found.get(name, 0) for name in switch)
    assert said == expected["drops tunnel_error"], "the switch says the same"


def test_a_sequence_number_that_is_cut_off(site: Site) -> None:
    """The switch takes off four octets, of which there are fewer, and reads on in what its buffer
    held before: so it is a matter of chance which of two names such a packet gets."""
    good = gtpu.t_pdu(UP, gtpu.ipv4(UE, PDN_IP), flags=PLAIN | S)
    found = ends(send(site, [site.from_enb(good[: 8 + size]) for size in range(4)] * 5, "access"))
    assert found.keys() <= {"drops not_ip", "drops tunnel_error"}
    assert sum(found.values()) == 4 * 5 * EACH


def test_frames_that_were_merged(site: Site) -> None:
    """A veth hands over what its sender leaves to be segmented by a device: too long for a port,
    but on the way to one that is read by AF_XDP the host segments it."""
    before, lab, sent, segments = settled(site), site.lab, 5, 20
    lab.exec("pdn", ["ethtool", "-K", "eth0", "tx", "on", "tx-udp-segmentation", "on"])
    try:
        with lab.inside("pdn"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1000)
            for _ in range(sent):
                sender.sendto(bytes(20_000), (UE, 9))
    finally:
        lab.exec("pdn", ["ethtool", "-K", "eth0", "tx", "off"])
    if PORTS:
        assert ends(balanced(site, before)) == {"packets downlink": sent * segments}
    else:
        assert ends(balanced(site, before, core_not_taken=sent)) == {"drops core_not_taken": sent}


def test_what_the_switch_is_too_slow_for(site: Site) -> None:
    """The kernel's count, of the socket or veth by which the switch reads the port."""
    before, sent = settled(site), 6000
    pid = int((site.lab.dir / "ovs-vswitchd.pid").read_text())
    frames = site.t_pdu(UP, gtpu.ipv4(UE, PDN_IP, size=1000)), site.to_ue(gtpu.ipv4(PDN_IP, IDLE))
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(sent):
            site.enb.send(frames[0])
            site.pdn.send(frames[1])
    finally:
        os.kill(pid, signal.SIGCONT)
    found = balanced(site, before)
    assert found["drops access_overrun"] > sent / 2 and found["drops core_overrun"] > sent / 2
    assert sent == found["drops access_overrun"] + found["packets uplink"]
    assert sent == found["drops core_overrun"] + found["drops idle_ue"]


def test_a_restart_of_the_switch(site: Site) -> None:
    """Its counters are at 0 again, and so are the kernel's: what was lost before stays counted."""
    before = settled(site)
    site.lab.stop_vswitchd()
    site.lab.start_vswitchd()
    until(lambda: site.gateway()["in_sync"], "the flows are back", 60)
    site.ready()
    now = settled(site)
    assert not any(now[key] < before[key] for key in before if key[0] in (*ENDS, "received"))
    found = send(site, [site.t_pdu(UP, gtpu.ipv4(UE, PDN_IP)[:7])], "access")
    assert ends(found) == {"drops tunnel_error": EACH}
