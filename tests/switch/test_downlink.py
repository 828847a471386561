"""Downlink: a packet for a UE leaves in its session's tunnel, byte for byte; no other does."""

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from tests.support import gtpu, tshark
from tests.support.site import ACCESS_IP, ENB_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
IDLE_UE = "10.45.0.5"
ACCESS_MTU = 1500


@pytest.fixture(scope="module", autouse=True)
def sessions(site: Site) -> None:
    site.session(UE, teid=UP, downlink=DOWN)
    site.session(IDLE_UE, teid=0x1005)


def tunnelled(site: Site, *packets: bytes) -> list[gtpu.Decoded]:
    return [gtpu.decode(frame) for frame in site.downlink(*(site.to_ue(p) for p in packets))]


def test_the_headers_of_a_t_pdu(site: Site) -> None:
    (got,) = tunnelled(site, gtpu.ipv4(PDN_IP, UE))
    assert (got.eth_src, got.eth_dst) == (site.local_mac, site.enb_mac["enb"])
    assert (got.source, got.destination) == (ACCESS_IP, ENB_IP["enb"])
    assert (got.kind, got.flags, got.teid) == (gtpu.T_PDU, gtpu.PLAIN, DOWN)
    assert got.ttl == 64


@pytest.mark.parametrize("ttl", (1, 2, 32, 63, 64, 79, 80, 96, 111, 128, 255))
def test_every_ttl(site: Site, ttl: int) -> None:
    packet = gtpu.ipv4(PDN_IP, UE, ttl=ttl)
    with site.counted():
        (got,) = tunnelled(site, packet)
    assert got.inner == packet


@pytest.mark.parametrize("size", (20, 21, 27, 28, 46, 576, ACCESS_MTU - gtpu.OVERHEAD))
def test_every_size(site: Site, size: int) -> None:
    packet = gtpu.ipv4(PDN_IP, UE, size=size)
    assert len(packet) == size
    (got,) = tunnelled(site, packet)
    assert got.inner == packet
    assert len(site.enb.seen[-1]) <= gtpu.ETHERNET + ACCESS_MTU


@pytest.mark.parametrize(
    "header",
    (
        {"flags": "MF", "id": 7},
        {"frag": 100, "id": 7},
        {"frag": 100, "flags": "MF", "id": 7},
        {"flags": "DF"},
        {"options": [Raw(b"\x94\x04\x00\x00" * 10)]},
    ),
    ids=("first-fragment", "last-fragment", "fragment", "DF", "options"),
)
def test_inner_headers_of_every_kind(site: Site, header: dict[str, object]) -> None:
    packet = gtpu.ipv4(PDN_IP, UE, size=200, **header)  # type: ignore[arg-type]
    (got,) = tunnelled(site, packet)
    assert got.inner == packet


@pytest.mark.parametrize("proto", (1, 6, 17, 41, 47, 50, 132, 255))
def test_every_inner_protocol(site: Site, proto: int) -> None:
    packet = bytes(IP(src=PDN_IP, dst=UE, proto=proto) / Raw(bytes(range(64))))
    (got,) = tunnelled(site, packet)
    assert got.inner == packet


def test_inner_checksums_are_left_as_they_are(site: Site) -> None:
    packet = bytes(IP(src=PDN_IP, dst=UE) / TCP(chksum=0xBAD) / Raw(b"x" * 9))
    (got,) = tunnelled(site, packet)
    assert got.inner == packet


def test_a_short_packet_in_a_padded_frame(site: Site) -> None:
    """A real interface fills frames up to 60 bytes; the UE finds its packet at the front."""
    packet = gtpu.ipv4(PDN_IP, UE, size=20)
    (frame,) = site.downlink(site.to_ue(packet).ljust(60, b"\0"))
    got = gtpu.decode(frame)
    assert got.inner[:20] == packet
    assert got.inner[20:].strip(b"\0") == b""


def test_packets_too_big_for_the_access_side(site: Site) -> None:
    """They are dropped and counted, and nothing else is: not even what comes right behind them."""
    small = gtpu.ipv4(PDN_IP, UE, size=100)
    big = gtpu.ipv4(PDN_IP, UE, size=ACCESS_MTU - gtpu.OVERHEAD + 1)
    mixed = [big if place % 20 == 0 else small for place in range(400)]
    with site.counted(too_big=20):
        assert [got.inner for got in tunnelled(site, *mixed)] == [small] * 380


def test_gtpu_from_the_core_side_is_a_ues_packet_like_any_other(site: Site) -> None:
    for t_pdu_port in (gtpu.PORT, 53):
        header = IP(src=PDN_IP, dst=UE) / UDP(sport=gtpu.PORT, dport=t_pdu_port)
        packet = bytes(header / Raw(gtpu.t_pdu(UP, gtpu.ipv4(UE, PDN_IP))))
        (got,) = tunnelled(site, packet)
        assert (got.inner, got.teid) == (packet, DOWN)


def test_tshark_reads_the_same(site: Site) -> None:
    packets = [gtpu.ipv4(PDN_IP, UE, size=size) for size in (40, 200, 1464)]
    frames = site.downlink(*(site.to_ue(packet) for packet in packets))
    fields = ["gtp.teid", "gtp.message", "gtp.flags", "ip.src", "ip.dst", "gtp.length"]
    expected = [
        [f"0x{DOWN:08x}", "0xff", "0x30", ACCESS_IP, ENB_IP["enb"], str(len(packet))]
        for packet in packets
    ]
    assert tshark.rows(frames, fields) == expected


def test_checksums_of_everything_sent_so_far(site: Site) -> None:
    assert any(
        gtpu.decode(f).teid == DOWN for f in site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, UE)))
    )
    site.check_sent()


def test_unknown_ue(site: Site) -> None:
    packets = [gtpu.ipv4(PDN_IP, ue) for ue in ("10.45.0.4", "10.45.0.0", "10.45.255.255")]
    with site.counted(unknown_ue=len(packets)):
        assert tunnelled(site, *packets) == []


def test_idle_ue(site: Site) -> None:
    with site.counted(idle_ue=3):
        assert tunnelled(site, *[gtpu.ipv4(PDN_IP, IDLE_UE)] * 3) == []


def test_an_idle_session_still_sends(site: Site) -> None:
    inner = gtpu.ipv4(IDLE_UE, PDN_IP, ttl=128)
    (frame,) = site.uplink(site.t_pdu(0x1005, inner))
    assert frame[gtpu.ETHERNET :] == inner


def test_a_session_goes_idle_and_wakes_up(site: Site) -> None:
    session = site.session("10.45.0.6", teid=0x1006, downlink=0x2006)
    packets = [gtpu.ipv4(PDN_IP, "10.45.0.6")] * 5
    assert len(tunnelled(site, *packets)) == 5

    def become(teids: list[int]) -> None:
        """From the moment on when the cache has followed."""
        until(lambda: [got.teid for got in tunnelled(site, *packets)] == teids, f"{teids}")
        assert [got.teid for got in tunnelled(site, *packets)] == teids

    site.patch(session, {"downlink": None})
    become([])
    site.patch(session, {"downlink": {"teid": 0x3006, "remote_ip": ENB_IP["enb"]}})
    become([0x3006] * 5)
    site.delete(session)
    become([])
    with site.counted(unknown_ue=5):
        assert tunnelled(site, *packets) == []


def test_a_second_ue_does_not_see_the_firsts_packets(site: Site) -> None:
    site.session("10.45.0.7", teid=0x1007, downlink=0x2007)
    mine, its = gtpu.ipv4(PDN_IP, UE, size=90), gtpu.ipv4(PDN_IP, "10.45.0.7", size=91)
    got = [(each.teid, each.inner) for each in tunnelled(site, *[mine, its] * 20)]
    assert sorted(got) == sorted([(DOWN, mine), (0x2007, its)] * 20)


@pytest.mark.parametrize("mac", ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:00:99"))
def test_frames_that_are_not_for_the_gateways_mac(site: Site, mac: str) -> None:
    with site.counted(core_other=1):
        assert site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, UE), eth_dst=mac)) == []


@pytest.mark.parametrize("tags", (1, 2))
@pytest.mark.parametrize("vlan", (0, 1, 100))
def test_tagged_frames(site: Site, vlan: int, tags: int) -> None:
    frame = Ether(src=site.pdn_mac, dst=site.core_mac)
    for _ in range(tags):
        frame = frame / Dot1Q(vlan=vlan)
    with site.counted(vlan=1):
        assert site.downlink(bytes(frame / IP(gtpu.ipv4(PDN_IP, UE)))) == []


@pytest.mark.parametrize("destination", ("10.46.0.1", "10.1.0.2", ACCESS_IP, "255.255.255.255"))
def test_destinations_that_are_no_ue(site: Site, destination: str) -> None:
    with site.counted(core_other=1):
        assert tunnelled(site, gtpu.ipv4(PDN_IP, destination)) == []


def test_ipv6_from_the_core_side(site: Site) -> None:
    frame = Ether(src=site.pdn_mac, dst=site.core_mac) / IPv6(dst="2001:db8::2") / UDP()
    with site.counted(core_other=1):
        assert site.downlink(bytes(frame)) == []
