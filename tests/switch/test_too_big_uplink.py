"""Uplink packets that do not fit the core link: the UE is told by ICMP, through its tunnel."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.support import gtpu, tshark
from tests.support.lab import Lab
from tests.support.site import (
    ACCESS_IP,
    BRIDGE,
    CORE_IP,
    ENB_IP,
    PDN_IP,
    Site,
    is_gtpu,
    until,
)

pytestmark = pytest.mark.switch

MTU = 1400
"""Of the core port; the access port has 1500, by which 1464 octets can come."""
UES = {
    "4G": ("10.45.0.2", 0x1002, 0x2002, None),
    "5G, odd QFI": ("10.45.0.3", 0x1003, 0x2003, 9),
    "5G, even QFI": ("10.45.0.4", 0x1004, 0x2004, 8),
}
RATE = 100
"""Packets a second, and at once, whose senders are told."""
HEAD = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x800))
"""Makes a frame of a packet taken from a tunnel."""


def narrow(lab: Lab, mtu: int) -> None:
    lab.exec("gw", ["ip", "link", "set", "eth2", "mtu", str(mtu)])


def sessions(site: Site) -> None:
    for ue, up, down, qfi in UES.values():
        site.session(ue, teid=up, downlink=down, **({} if qfi is None else {"qfi": qfi}))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        narrow(lab, MTU)
        site = Site(lab)
        site.ready()
        sessions(site)
        yield site
        site.alive()
        site.check_sent()


def filled(packet: Packet, size: int, flags: str = "DF") -> bytes:
    """The packet, made so long."""
    packet.flags = flags
    packet = packet / Raw(bytes(index * 7 & 0xFF for index in range(size - len(packet))))
    assert len(packet) == size
    return bytes(packet)


def udp(ue: str, size: int, flags: str = "DF", **ip: int) -> bytes:
    return filled(IP(src=ue, dst=PDN_IP, **ip) / UDP(sport=1, dport=2), size, flags)


def wrapped(site: Site, who: str, packet: bytes, *, sequence: bool = False) -> bytes:
    """As its base station sends it."""
    _, teid, _, qfi = UES[who]
    flags, container = gtpu.PLAIN | gtpu.S * sequence, b""
    if qfi is not None:
        flags, container = flags | gtpu.E, bytes([1, 0x10, qfi, 0])
    tpdu = gtpu.t_pdu(teid, container + packet, flags=flags, extension=0x85 if container else 0)
    return site.from_enb(tpdu)


def told(site: Site, who: str) -> bytes | None:
    """The ICMP packet that the UE has got in its tunnel by now."""
    _, _, down, qfi = UES[who]
    for frame in site.enb.all(0.02):
        if is_gtpu(frame, down):
            gtpu.check_frame(frame)
            inner = gtpu.decode(frame).inner
            if qfi is not None:
                assert inner[:4] == bytes([1, 0, qfi, 0]), "a container with its QFI"
                inner = inner[4:]
            assert inner[20:22] == b"\x03\x04", "fragmentation needed"
            return inner
    return None


@pytest.mark.parametrize("sequence", (False, True), ids=("", "S"))
@pytest.mark.parametrize("ttl", (64, 100, 128))
@pytest.mark.parametrize("size", (MTU + 1, 1452))
@pytest.mark.parametrize("who", UES)
def test_the_ue_is_told(site: Site, who: str, size: int, ttl: int, sequence: bool) -> None:
    ue = UES[who][0]
    packet = udp(ue, size, ttl=ttl)
    site.enb.all()
    with site.counted(too_big_uplink=1):
        assert site.uplink(wrapped(site, who, packet, sequence=sequence)) == []
        got = until(lambda: told(site, who), "the UE is told")
    answer = IP(got)
    assert (answer.src, answer.dst, answer.ttl) == (CORE_IP, ue, 64)
    assert (answer[ICMP].code, answer[ICMP].nexthopmtu) == (4, MTU)
    assert got[28:] == packet[:28], "the IP header and 8 octets"
    gtpu.check_frame(HEAD + got)
    names = ("icmp.type", "icmp.code", "icmp.mtu", "icmp.checksum.status", "ip.checksum.status")
    assert tshark.rows([HEAD + got], names) == [["3", "4", str(MTU), "1", "1"]]
    assert tshark.complaints([HEAD + got]) == []


@pytest.mark.parametrize("flags", ("", "DF"))
@pytest.mark.parametrize("who", UES)
def test_what_just_fits_passes(site: Site, who: str, flags: str) -> None:
    packet = udp(UES[who][0], MTU, flags)
    with site.counted():
        assert [frame[14:] for frame in site.uplink(wrapped(site, who, packet))] == [packet]


def test_tcp_is_told(site: Site) -> None:
    segment = IP(src=UES["4G"][0], dst=PDN_IP, ttl=63) / TCP(sport=80, dport=2, seq=0x01020304)
    packet = filled(segment, 1460)
    site.enb.all()
    site.enb.send(wrapped(site, "4G", packet))
    assert until(lambda: told(site, "4G"), "the UE is told")[28:] == packet[:28]


@pytest.mark.parametrize("flags", ("", "MF"))
@pytest.mark.parametrize("who", UES)
def test_nobody_is_told_of_what_may_be_fragmented(site: Site, who: str, flags: str) -> None:
    """The gateway fragments nothing; what it does not forward it counts."""
    site.enb.all()
    with site.counted(too_big_uplink=1):
        assert site.uplink(wrapped(site, who, udp(UES[who][0], MTU + 1, flags))) == []
    assert told(site, who) is None


def test_other_drops_stay_what_they_are(site: Site) -> None:
    ue = UES["4G"][0]
    for wrong, reason in (
        (UES["5G, odd QFI"][0], "ue_to_ue"),
        ("10.1.0.9", "protected_destination"),
    ):
        packet = filled(IP(src=ue, dst=wrong) / UDP(), 1450)
        with site.counted(**{reason: 1}):
            assert site.uplink(wrapped(site, "4G", packet)) == []
    packet = filled(IP(src="10.45.0.99", dst=PDN_IP) / UDP(), 1450)
    with site.counted(no_uplink_session=1, seen_spoofed_source=1):
        assert site.uplink(wrapped(site, "4G", packet)) == []


def test_none_of_its_batch_is_lost(site: Site) -> None:
    """The kernel refuses a frame that is too long, and the switch then those behind it as well."""
    ue = UES["4G"][0]
    packets = [udp(ue, 100 + index) for index in range(20)]
    packets[3] = udp(ue, MTU + 60)
    frames = [wrapped(site, "4G", packet) for packet in packets]
    with site.counted(too_big_uplink=1):
        got = site.at_once(frames, site.enb, site.pdn, 19)
    assert [frame[14:] for frame in got] == [p for p in packets if len(p) <= MTU]


def test_octets_behind_a_packet_harm_no_other(site: Site) -> None:
    """A UE may send them; the switch does not count them where it compares sizes."""
    ue = UES["4G"][0]
    packets = [udp(ue, 100 + index) for index in range(20)]
    frames = [wrapped(site, "4G", packet) for packet in packets]
    frames[3] = wrapped(site, "4G", packets[3] + bytes(1464 - len(packets[3])))
    with site.counted():
        got = site.at_once(frames, site.enb, site.pdn, 20)
    assert [IP(frame[14:]).len for frame in got] == [len(packet) for packet in packets]
    assert [frame[14 : 14 + len(p)] for frame, p in zip(got, packets, strict=True)] == packets


def test_it_is_not_counted_as_forwarded(site: Site) -> None:
    ue = UES["4G"][0]
    fits, too_long = udp(ue, 1000), udp(ue, MTU + 1)

    def forwarded() -> tuple[int, int]:
        site.counters()  # brings the flows' own up to date
        shown = site.gateway()["forwarded"]["uplink"]
        return shown["packets"], shown["bytes"]

    packets, octets = forwarded()
    marked = 0
    for _ in range(3):
        assert len(site.uplink(*[wrapped(site, "4G", p) for p in (fits, too_long, fits)])) == 2
        marked += 2
    now = forwarded()
    assert now[0] - packets == 6 + marked
    marker = 14 + 84
    assert now[1] - octets == 6 * 1014 + marked * marker


def test_not_more_than_a_hundred_a_second(site: Site) -> None:
    frame = wrapped(site, "4G", udp(UES["4G"][0], MTU + 1))
    time.sleep(1.1)  # the burst is full again
    site.enb.all()
    start, answers = time.monotonic(), 0

    def count() -> int:
        return sum(is_gtpu(each, UES["4G"][2]) for each in site.enb.all(0.01))

    with site.counted(too_big_uplink=1500):
        for _ in range(50):
            assert site.uplink(*[frame] * 30) == []
            answers += count()
        time.sleep(0.2)
        answers += count()
        seconds = time.monotonic() - start
    assert RATE / 2 < answers <= RATE + RATE * seconds + 5


def test_another_mtu_under_traffic(site: Site) -> None:
    """Packets keep coming, and the switch's cache is never emptied by us."""
    long = udp(UES["4G"][0], 1450)
    frame = wrapped(site, "4G", long)

    def passes() -> bool:
        return any(got[14:] == long for got in site.uplink(frame, frame))

    def refused() -> bool:
        return not passes()

    def told_mtu() -> int | None:
        site.enb.all()
        site.enb.send(frame)
        got = told(site, "4G")
        return None if got is None else IP(got)[ICMP].nexthopmtu

    assert refused()
    narrow(site.lab, 1500)
    try:
        until(passes, "the larger MTU holds", timeout=30)
        assert all(passes() for _ in range(20))
        flow = site.lab.ofctl("dump-flows", BRIDGE, "table=40")
        assert "check_pkt_larger" not in flow, "no size is compared where all fits"
        narrow(site.lab, 1300)
        until(lambda: told_mtu() == 1300, "the smaller MTU is told", timeout=30)
        assert not any(passes() for _ in range(20))
    finally:
        narrow(site.lab, MTU)
    until(lambda: told_mtu() == MTU, "the former MTU is told", timeout=30)
    assert site.gateway()["core"]["mtu"] == MTU


def test_with_the_host_as_router_the_host_tells_it() -> None:
    """It takes what comes out of a tunnel whatever its size, and does what routers do."""
    core = 'core_port = "host"\ncore_ip = "10.2.0.1/24"'
    ue, up, down, _ = UES["4G"]
    with Lab() as lab:
        for name, dev in (("gw", "eth1"), ("enb", "eth0")):
            lab.exec(name, ["ip", "link", "set", dev, "mtu", "3400"])  # AF_XDP takes no more
        lab.exec("gw", ["ip", "addr", "add", "192.0.2.1/24", "dev", "eth2"])
        lab.exec("gw", ["sysctl", "-qw", "net.ipv4.conf.eth2.forwarding=1"])
        lab.exec("pdn", ["ip", "addr", "add", "192.0.2.2/24", "dev", "eth0"])
        for name in ("enb", "pdn"):
            lab.mute(name)
        enb, pdn = lab.port("enb"), lab.port("pdn")
        lab.start_controller(lab.config(core=core))
        body = {
            "ue_ip": ue,
            "uplink": {"teid": up},
            "downlink": {"teid": down, "remote_ip": ENB_IP["enb"]},
        }
        assert lab.http("PUT", "/v1/sessions/a", body).status == 201
        local_mac = lab.mac("gw", BRIDGE)

        def send(size: int, flags: str) -> None:
            packet = filled(IP(src=ue, dst="192.0.2.2") / UDP(sport=1, dport=2), size, flags)
            frame = gtpu.datagram(
                gtpu.t_pdu(up, packet),
                source=ENB_IP["enb"],
                destination=ACCESS_IP,
                eth_src=lab.mac("enb"),
                eth_dst=local_mac,
            )
            enb.send(frame)

        def sent(size: int, flags: str) -> tuple[list[int], list[int]]:
            """Sizes of the IP packets that come out, and the MTUs that the UE is told."""

            def come() -> tuple[list[int], list[int]] | None:
                out = [IP(f[14:]).len for f in pdn.receive(quiet=0.1) if f[12:14] == b"\x08\x00"]
                inner = [gtpu.decode(f).inner for f in enb.receive(quiet=0.1) if is_gtpu(f, down)]
                mtus = [IP(each)[ICMP].nexthopmtu for each in inner]
                return (out, mtus) if out or mtus else None

            send(size, flags)
            got: tuple[list[int], list[int]] = until(come, "a packet, or an answer")
            return got

        def ready() -> bool:
            """The host knows the other host's MAC address, and the switch the base station's."""
            send(1500, "DF")
            send(1501, "DF")
            out = any(f[12:14] == b"\x08\x00" for f in pdn.receive(quiet=0.1))
            return out and any(is_gtpu(f, down) for f in enb.receive(quiet=0.1))

        until(ready, "both ways work")
        for port in (enb, pdn):
            port.receive(quiet=0.5)
        assert sent(1500, "DF") == ([1500], [])
        assert sent(1501, "DF") == ([], [1500])
        assert sent(3364, "DF") == ([], [1500])
        assert sent(1501, "") == ([1500, 21], []), "fragmented"
        drops = lab.http("GET", "/v1/gateways").json()["items"][0]["drops"]
        assert drops["too_big_uplink"] == 0
