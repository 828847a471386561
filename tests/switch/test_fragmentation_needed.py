"""Downlink packets that do not fit the access link in their tunnel: who sent them is told so by
ICMP (RFC 1191), and finds the path's MTU."""

from __future__ import annotations

import errno
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.support import gtpu, tshark
from tests.support.lab import Lab
from tests.support.site import CORE_IP, PDN_IP, Site, is_gtpu, until
from tests.support.traffic import Host, World, inner

pytestmark = pytest.mark.switch

UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
UE2 = "10.45.0.3"
MTU = 1500 - gtpu.OVERHEAD
HEAD = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x800))
"""Makes a frame of a packet taken from a tunnel."""
RATE = 100
"""Packets a second, and at once, whose senders are told."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """UEs may send to UEs."""
    with Lab() as lab:
        # What comes from the base station may be longer than what fits back to it.
        lab.exec("enb", ["ip", "link", "set", "eth0", "mtu", "1600"])
        site = Site(lab, lab.config(gateway='ue_to_ue = "route"'))
        site.ready()
        site.session(UE, teid=UP, downlink=DOWN)
        site.session(UE2, teid=0x1003, downlink=0x2003)
        yield site
        site.alive()
        site.check_sent()
        told = [frame for frame in site.pdn.seen if frame[23:24] == b"\x01"]
        for frame in told:
            gtpu.check_frame(frame)
        assert not told or tshark.complaints(told) == []


def filled(packet: Packet, size: int, flags: str = "DF") -> bytes:
    """The packet, made so long."""
    packet.flags = flags
    packet = packet / Raw(bytes(size - len(packet)))
    assert len(packet) == size
    return bytes(packet)


def answers(site: Site, *packets: bytes, eth_src: str | None = None) -> list[bytes]:
    """Frames back to the core side for packets to UEs; none of them gets through."""
    site.pdn.all()
    head = bytes(Ether(src=eth_src or site.pdn_mac, dst=site.core_mac, type=0x800))
    assert site.downlink(*(head + packet for packet in packets)) == []
    return [frame for frame in fenced(site) if frame[12:14] == b"\x08\x00"]


def fenced(site: Site) -> list[bytes]:
    """What comes before the answer to one more, which is always answered."""
    mark = struct.pack("!I", next(_marks))
    packet = bytearray(filled(IP(src=PDN_IP, dst=UE) / UDP(sport=7), MTU + 1))
    packet[24:28] = mark  # the UDP header's last four octets
    site.pdn.send(site.to_ue(bytes(packet)))
    got: list[bytes] = []
    while not (got and got[-1].endswith(mark)):
        frame = site.pdn.next(20)
        assert frame is not None, "a packet too long is not answered"
        got.append(frame)
    return got[:-1]


_marks = iter(range(0x5EED0000, 0x5EEE0000))

PACKETS: dict[str, Callable[[], Packet]] = {
    "UDP": lambda: IP(src=PDN_IP, dst=UE, ttl=3) / UDP(sport=1, dport=2),
    "TCP": lambda: IP(src=PDN_IP, dst=UE, tos=0xB8) / TCP(sport=80, dport=2, seq=0x01020304),
    "ping": lambda: IP(src=PDN_IP, dst=UE) / ICMP(type=8, id=7, seq=9),
    "another protocol": lambda: IP(src=PDN_IP, dst=UE, proto=253) / Raw(b"\x11" * 8),
    "options": lambda: IP(src=PDN_IP, dst=UE, options=[IPOption_Router_Alert()]) / UDP(sport=1),
    "from far away": lambda: IP(src="198.51.100.7", dst=UE) / UDP(sport=53, dport=2),
    "first fragment": lambda: IP(src=PDN_IP, dst=UE) / UDP(sport=1, dport=2),
}


@pytest.mark.parametrize("size", (MTU + 1, 1500))
@pytest.mark.parametrize("name", PACKETS)
def test_its_sender_is_told(site: Site, name: str, size: int) -> None:
    flags = "DF+MF" if name == "first fragment" else "DF"
    packet = filled(PACKETS[name](), size, flags)
    with site.counted(too_big=2):  # the fence too
        [frame] = answers(site, packet)
    gtpu.check_frame(frame)
    told, sent = Ether(frame), IP(packet)
    assert (told.src, told.dst) == (site.core_mac, site.pdn_mac)
    assert (told[IP].src, told[IP].dst, told[IP].ttl) == (CORE_IP, sent.src, 64)
    assert (told[ICMP].type, told[ICMP].code, told[ICMP].nexthopmtu) == (3, 4, MTU)
    assert frame[38:40] == bytes(2), "unused"
    quoted = frame[14 + 20 + 8 : 14 + told[IP].len]
    assert quoted == packet[: 4 * sent.ihl + 8], "the IP header and 8 octets"
    names = ("icmp.type", "icmp.code", "icmp.mtu", "icmp.checksum.status", "ip.checksum.status")
    assert tshark.rows([frame], names) == [["3", "4", str(MTU), "1", "1"]]
    assert tshark.complaints([frame]) == []


def test_by_the_router_that_it_came_by(site: Site) -> None:
    """The core network may have several; the frame's sender is the way back."""
    packet = filled(IP(src="198.51.100.7", dst=UE) / UDP(sport=53), 1500)
    [frame] = answers(site, packet, eth_src="02:00:00:00:00:77")
    assert (Ether(frame).dst, Ether(frame)[IP].dst) == ("02:00:00:00:00:77", "198.51.100.7")


@pytest.mark.parametrize("flags", ("", "DF"))
def test_what_just_fits_passes(site: Site, flags: str) -> None:
    packet = filled(IP(src=PDN_IP, dst=UE) / UDP(sport=1), MTU, flags)
    with site.counted():
        (got,) = [gtpu.decode(frame) for frame in site.downlink(site.to_ue(packet))]
    assert (got.teid, got.inner) == (DOWN, packet)


def icmp_error(kind: int) -> Packet:
    return IP(src=PDN_IP, dst=UE) / ICMP(type=kind) / Raw(bytes(IP(src=UE, dst=PDN_IP)))


SILENT: dict[str, tuple[Callable[[], Packet], str]] = {
    "may be fragmented": (lambda: IP(src=PDN_IP, dst=UE) / UDP(sport=1), ""),
    "fragment, the first": (lambda: IP(src=PDN_IP, dst=UE) / UDP(sport=1), "MF"),
    "fragment, a later one": (lambda: IP(src=PDN_IP, dst=UE, frag=185) / Raw(bytes(8)), "DF"),
    "unreachable": (lambda: icmp_error(3), "DF"),
    "source quench": (lambda: icmp_error(4), "DF"),
    "redirect": (lambda: icmp_error(5), "DF"),
    "time exceeded": (lambda: icmp_error(11), "DF"),
    "parameter problem": (lambda: icmp_error(12), "DF"),
    "unknown ICMP": (lambda: icmp_error(99), "DF"),
    "from nobody": (lambda: IP(src="0.0.0.0", dst=UE) / UDP(sport=1), "DF"),
    "from loopback": (lambda: IP(src="127.0.0.1", dst=UE) / UDP(sport=1), "DF"),
    "from a group": (lambda: IP(src="224.0.0.5", dst=UE) / UDP(sport=1), "DF"),
    "from broadcast": (lambda: IP(src="255.255.255.255", dst=UE) / UDP(sport=1), "DF"),
}


@pytest.mark.parametrize(("packet", "flags"), SILENT.values(), ids=SILENT.keys())
def test_nobody_is_told(site: Site, packet: Callable[[], Packet], flags: str) -> None:
    """Dropped and counted all the same."""
    with site.counted(too_big=2):  # the fence too
        assert answers(site, filled(packet(), 1500, flags)) == []


@pytest.mark.parametrize("ttl", (1, 64, 100, 128))
def test_from_one_ue_to_another(site: Site, ttl: int) -> None:
    """By the tunnel that leads to it, like all that comes for it from the core side."""
    packet = filled(IP(src=UE, dst=UE2, ttl=ttl) / UDP(sport=5, dport=6), MTU + 4)
    site.enb.all()
    site.pdn.all()
    with site.counted(too_big=1):
        site.enb.send(site.t_pdu(UP, packet))
        until(lambda: any(is_told(frame) for frame in site.enb.all(0.02)), "the UE is told")
    [frame] = [frame for frame in site.enb.seen[-20:] if is_told(frame, packet[:28])]
    got = gtpu.decode(frame)
    assert (got.teid, got.kind) == (DOWN, gtpu.T_PDU)
    told = IP(got.inner)
    assert (told.src, told.dst, told[ICMP].nexthopmtu) == (CORE_IP, UE, MTU)
    assert got.inner[28:] == packet[:28]
    gtpu.check_frame(HEAD + got.inner)
    assert tshark.complaints([HEAD + got.inner]) == []
    assert not [frame for frame in site.pdn.all() if frame[23:24] == b"\x01"]
    short = filled(IP(src=UE, dst=UE2, ttl=ttl) / UDP(sport=5, dport=6), MTU)
    site.enb.send(site.t_pdu(UP, short))
    until(lambda: any(frame.endswith(short) for frame in site.enb.all(0.02)), "what fits passes")


@pytest.mark.parametrize("ttl", (1, 64, 100, 128))
def test_what_is_too_big_for_another_ue_is_not_counted_as_its(site: Site, ttl: int) -> None:
    """And what fits counts by the octets of the IP packet, whatever the switch took it for."""

    def used() -> dict[str, int]:
        return dict(site.lab.http("GET", f"/v1/sessions/ue-{UE2}").json()["counters"]["downlink"])

    before = used()
    fits, longer = (
        site.t_pdu(UP, filled(IP(src=UE, dst=UE2, ttl=ttl) / UDP(sport=5), MTU + more, "DF"))
        for more in (0, 1)
    )
    site.enb.all()
    got: list[bytes] = []
    with site.counted(too_big=10):
        site.enb.send(*[fits, longer] * 10)
        until(
            lambda: (
                got.extend(frame for frame in site.enb.all(0.02) if is_gtpu(frame, 0x2003))
                or len(got) >= 10
            ),
            "what fits passes",
        )
    assert len(got) == 10
    until(lambda: used()["packets"] >= before["packets"] + 10, "what fits is counted")
    time.sleep(1)  # and no more is told
    assert used()["packets"] == before["packets"] + 10
    assert used()["bytes"] == before["bytes"] + 10 * MTU


def is_told(frame: bytes, quoted: bytes = b"") -> bool:
    """Whether it is a T-PDU with a Fragmentation Needed."""
    return frame[43:44] == b"\xff" and frame[70:72] == b"\x03\x04" and frame.endswith(quoted)


def test_from_one_ue_to_another_that_may_be_fragmented(site: Site) -> None:
    packet = filled(IP(src=UE, dst=UE2) / UDP(sport=5, dport=6), MTU + 4, "")
    site.enb.all()
    with site.counted(too_big=1):
        assert site.uplink(site.t_pdu(UP, packet)) == []
    assert not any(is_told(frame) for frame in site.enb.all(0.1))


def test_not_more_than_a_hundred_a_second(site: Site) -> None:
    frame = site.to_ue(filled(IP(src=PDN_IP, dst=UE) / UDP(sport=1), 1500))
    site.pdn.all()
    start, told = time.monotonic(), 0
    with site.counted(too_big=1500):
        for _ in range(50):
            told += sum(got[23:24] == b"\x01" for got in site.back(*[frame] * 30))
        told += sum(got[23:24] == b"\x01" for got in site.pdn.all(1.0))
        seconds = time.monotonic() - start
    assert RATE / 2 < told <= RATE + RATE * seconds + 5
    small = gtpu.ipv4(PDN_IP, UE)
    assert len(site.downlink(site.to_ue(small))) == 1


def test_octets_behind_a_packet_harm_no_other(site: Site) -> None:
    """The switch does not count them where it compares sizes. In its tunnel the frame would be
    longer than the access port takes: the kernel refuses such a one, and the switch loses those
    behind it as well."""
    packets = [filled(IP(src=PDN_IP, dst=UE) / UDP(), 100 + index) for index in range(20)]
    frames = [site.to_ue(packet) for packet in packets]
    frames[3] += bytes(14 + 1500 - len(frames[3]))
    with site.counted():
        got = site.at_once(frames, site.pdn, site.enb, 20)
    cut = got.pop(3)
    assert len(got) == 19 and len(cut) == 14 + 1500
    site.enb.seen.remove(cut)  # no packet that a receiver takes
    assert [gtpu.decode(frame).inner for frame in got] == packets[:3] + packets[4:]


def test_another_mtu(site: Site) -> None:
    """Told is what fits now."""

    def told(size: int) -> int | None:
        """The MTU in the answer to a packet of this size, or to one before; None: there is none."""
        site.pdn.send(site.to_ue(filled(IP(src=PDN_IP, dst=UE) / UDP(sport=1), size)))
        answers = [Ether(frame) for frame in site.pdn.all(0.1) if frame[23:24] == b"\x01"]
        return int(answers[-1][ICMP].nexthopmtu) if answers else None

    site.lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", "1400"])
    try:
        until(lambda: told(1365) == 1364, "the new MTU is told", timeout=30)
        fits = filled(IP(src=PDN_IP, dst=UE) / UDP(sport=1), 1364)
        assert [gtpu.decode(frame).inner for frame in site.downlink(site.to_ue(fits))] == [fits]
    finally:
        site.lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", "1500"])
    until(lambda: told(1465) == MTU, "the former MTU is told", timeout=30)
    fits = filled(IP(src=PDN_IP, dst=UE) / UDP(sport=1464), 1464)
    assert [gtpu.decode(frame).inner for frame in site.downlink(site.to_ue(fits))] == [fits]
    assert not [frame for frame in fenced(site) if fits[:28] in frame], "nobody is told"


# --- hosts with a stack


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Lab, World, Host]]:
    """The core host is a real one; the UE is played at the base station."""
    with Lab() as lab:
        lab.mute("enb")
        lab.start_controller()
        world, enb = World(lab), Host(lab, "enb", "10.1.0.2")
        world.session("a", UE, UP, DOWN)
        world.ping(enb, UP, UE, PDN_IP)
        yield lab, world, enb


@pytest.fixture
def real(running: tuple[Lab, World, Host]) -> tuple[Lab, World, Host]:
    """What the core host has learned is forgotten."""
    running[0].exec("pdn", ["ip", "route", "flush", "cache"])
    assert learned(running[0]) is None
    return running


def learned(lab: Lab) -> int | None:
    """The MTU of the path to the UE, as far as the core host knows."""
    found = re.search(r" mtu (\d+)", lab.exec("pdn", ["ip", "route", "get", UE]).stdout)
    return int(found[1]) if found else None


def test_ping_and_udp_find_the_mtu(real: tuple[Lab, World, Host]) -> None:
    lab, _, enb = real
    assert learned(lab) is None
    fits = ["ping", "-M", "do", "-c", "1", "-W", "1", "-s", str(MTU - 28), UE]
    assert "0 received" in lab.exec("pdn", fits, check=False).stdout, "nobody answers"
    assert learned(lab) is None, "that much fits"
    too_long = ["ping", "-M", "do", "-c", "1", "-W", "20", "-s", str(MTU - 27), UE]
    shown = lab.exec("pdn", too_long, check=False).stdout
    assert re.search(rf"From {re.escape(CORE_IP)} .*mtu = {MTU}", shown), shown
    assert learned(lab) == MTU
    with lab.inside("pdn"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        sock.connect((UE, 9))
        assert sock.getsockopt(socket.IPPROTO_IP, 14) == MTU  # IP_MTU
        with pytest.raises(OSError) as refused:
            sock.send(bytes(MTU - 27))
        assert refused.value.errno == errno.EMSGSIZE
        payload = b"whole".ljust(MTU - 28, b"-")
        sock.send(payload)
    [frame] = enb.port.receive(1, want=lambda frame: frame.endswith(payload))
    assert inner(Ether(frame)).len == MTU


def test_a_udp_socket_is_told(real: tuple[Lab, World, Host]) -> None:
    """A socket whose first packet is too long; the error comes with the next call."""
    lab, _, _ = real
    with lab.inside("pdn"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.IPPROTO_IP, 10, 2)
        sock.connect((UE, 9))
        assert sock.send(bytes(1472)) == 1472
        until(lambda: sock.getsockopt(socket.IPPROTO_IP, 14) == MTU, "IP_MTU is the path's")


def test_tcp_gets_through(real: tuple[Lab, World, Host]) -> None:
    """A server's segments are as long as its own link takes; those after the first fit."""
    lab, world, enb = real
    with lab.inside("pdn"):
        listener = socket.create_server((PDN_IP, 8000))
    data = bytes(index * 31 & 0xFF for index in range(60_000))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.sendall(data)

    server = threading.Thread(target=serve)
    server.start()
    ue = UeTcp(world, enb)
    ue.connect()
    got = ue.read(len(data))
    server.join(60)
    assert got == data
    assert learned(lab) == MTU
    assert max(ue.sizes) == MTU, "segments that fill the tunnel"
    assert world.drops("too_big") > 0


class UeTcp:
    """A UE's end of a TCP connection to the core host: it takes what comes in order."""

    def __init__(self, world: World, enb: Host) -> None:
        self._world, self._enb = world, enb
        self._next = 0
        self._seq = 1000
        self.sizes: list[int] = []
        """Lengths of the IP packets with data."""

    def _send(self, flags: str, **options: object) -> None:
        header = TCP(sport=50000, dport=8000, flags=flags, seq=self._seq, ack=self._next)
        header.window = 65535
        header.options = list(options.items())
        packet = IP(src=UE, dst=PDN_IP) / header
        self._enb.port.send(self._world.tunnel(self._enb, UP, packet))

    def _receive(self) -> Packet | None:
        for frame in self._enb.port.receive(1, want=is_tcp, timeout=1.0):
            found = Ether(frame)[GTP_U_Header][IP]
            gtpu.check_frame(HEAD + bytes(found))
            return found
        return None

    def connect(self) -> None:
        self._send("S", MSS=1460)
        answer = until(self._receive, "SYN and ACK")
        assert answer[TCP].flags == "SA"
        self._seq, self._next = 1001, answer[TCP].seq + 1
        self._send("A")

    def read(self, count: int) -> bytes:
        got = b""
        deadline = time.monotonic() + 60
        while len(got) < count:
            assert time.monotonic() < deadline, f"only {len(got)} octets came"
            packet = self._receive()
            if packet is None:
                continue
            data = bytes(packet[TCP].payload)[
                : packet.len - 4 * packet.ihl - 4 * packet[TCP].dataofs
            ]
            if data and packet[TCP].seq == self._next & 0xFFFFFFFF:
                self.sizes.append(packet.len)
                self._next = (self._next + len(data)) & 0xFFFFFFFF
                got += data
            self._send("A")
        return got


def is_tcp(frame: bytes) -> bool:
    """Whether it is a T-PDU with TCP."""
    return frame[12:14] == b"\x08\x00" and frame[43:44] == b"\xff" and frame[59:60] == b"\x06"
