"""The access side: ARP, ping, and silence towards everything else.

The host's own stack sees the access port's packets too; it must not answer any of them.
"""

import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.support import gtpu
from tests.support.answers import Hearing
from tests.support.site import ACCESS_IP, CORE_IP, ENB_IP, PDN_IP, Site, is_echo, until

pytestmark = pytest.mark.switch

UE, TEID = "10.45.0.2", 0x1001
BROADCAST = "ff:ff:ff:ff:ff:ff"
QUIET_S = 0.2
"""How long to listen for answers of the host's stack, which no marker can overtake; all that the
switch or the controller answers has come before."""

PING_RATE, PING_BURST = 100, 100
FLOOD = 99


@pytest.fixture(scope="module", autouse=True)
def sessions(site: Site) -> None:
    site.session(UE, teid=TEID, downlink=0x2001)


def answers(site: Site, *frames: object) -> list[Packet]:
    """What comes back to the base station, but for what the gateway asks of itself (ARP, Echo)."""
    site.enb.all()
    site.enb.send(*frames)
    got = [Ether(frame) for frame in (*Hearing(site).fence(), *site.enb.all(QUIET_S))]
    return [
        each for each in got if not (ARP in each and each[ARP].op == 1) and not is_echo(bytes(each))
    ]


def who_has(site: Site, address: str, *, dst: str = BROADCAST, src: str = ENB_IP["enb"]) -> Packet:
    mac = site.enb_mac["enb"]
    return Ether(src=mac, dst=dst) / ARP(hwsrc=mac, psrc=src, pdst=address)


@pytest.mark.parametrize("unicast", (False, True))
def test_exactly_one_arp_answer_with_locals_mac(site: Site, unicast: bool) -> None:
    got = answers(site, who_has(site, ACCESS_IP, dst=site.local_mac if unicast else BROADCAST))
    assert [(each.src, each.dst, each[ARP].op) for each in got] == [
        (site.local_mac, site.enb_mac["enb"], 2)
    ]
    assert (got[0][ARP].hwsrc, got[0][ARP].psrc) == (site.local_mac, ACCESS_IP)


def test_the_ports_own_mac_appears_nowhere(site: Site) -> None:
    assert site.lab.mac("gw", "eth1") != site.local_mac
    until(lambda: answers(site, who_has(site, ACCESS_IP)), "ARP is answered")
    port = bytes.fromhex(site.lab.mac("gw", "eth1").replace(":", ""))
    assert not any(port in frame for frame in site.enb.seen)


@pytest.mark.parametrize("address", (CORE_IP, PDN_IP, UE, "127.0.0.1", "192.0.2.77", "10.1.0.77"))
def test_no_arp_answer_for_other_addresses(site: Site, address: str) -> None:
    if address == "192.0.2.77":  # an address of the host's elsewhere
        site.lab.exec("gw", ["ip", "link", "add", "office", "type", "bridge"])
        site.lab.exec("gw", ["ip", "addr", "add", "192.0.2.77/24", "dev", "office"])
        site.lab.exec("gw", ["ip", "link", "set", "office", "up"])
    assert answers(site, who_has(site, address)) == []


def ping(site: Site, to: str = ACCESS_IP, id: int = 7, **fields: object) -> Packet:
    frame = Ether(src=site.enb_mac["enb"], dst=site.local_mac)
    return frame / IP(src=ENB_IP["enb"], dst=to) / ICMP(id=id, **fields) / Raw(b"ofgtp" * 8)


def test_ping_is_answered_once(site: Site) -> None:
    (got,) = answers(site, ping(site, seq=5))
    assert (got.src, got.dst) == (site.local_mac, site.enb_mac["enb"])
    assert (got[IP].src, got[IP].dst) == (ACCESS_IP, ENB_IP["enb"])
    assert (got[ICMP].type, got[ICMP].id, got[ICMP].seq) == (0, 7, 5)
    assert got[Raw].load == b"ofgtp" * 8


def test_a_flood_of_pings_is_limited(site: Site) -> None:
    """At most the burst and what the rate allows for as long as the flood takes."""
    before, began = site.counters()["rate_limited_ping"], time.monotonic()
    site.enb.all(0.2)
    flood = [bytes(ping(site, id=FLOOD, seq=seq)) for seq in range(1500)]
    for start in range(0, len(flood), 50):
        site.enb.send(*flood[start : start + 50])
        site.uplink()
    seconds = time.monotonic() - began
    site.enb.all(QUIET_S)
    echoes = (Ether(frame) for frame in site.enb.seen)
    got = {each[ICMP].seq for each in echoes if ICMP in each and each[ICMP].id == FLOOD}
    assert PING_BURST / 2 <= len(got) <= PING_BURST + PING_RATE * (seconds + 1)
    until(
        lambda: site.counters()["rate_limited_ping"] - before >= len(flood) - len(got),
        "the rest is counted",
    )


def test_ping_of_other_addresses(site: Site) -> None:
    addresses = (CORE_IP, PDN_IP, "10.1.0.255", "255.255.255.255", "127.0.0.1", UE)
    with site.counted(access_other=len(addresses)):
        assert answers(site, *(ping(site, address) for address in addresses)) == []


def test_other_icmp(site: Site) -> None:
    kinds, errors = (4, 5, 9, 10, 13, 15, 17), (3, 11, 12)
    with site.counted(access_other=len(kinds), icmp_error=len(errors)):
        assert answers(site, *(ping(site, type=kind) for kind in kinds + errors)) == []


def closed_ports(site: Site) -> list[Packet]:
    to = Ether(src=site.enb_mac["enb"], dst=site.local_mac) / IP(src=ENB_IP["enb"], dst=ACCESS_IP)
    udp = [to / UDP(sport=2152, dport=port) / Raw(b"x" * 30) for port in (1, 53, 2123, 2153, 6653)]
    tcp = [to / TCP(dport=port, flags="S") for port in (22, 2152, 6653, 8080)]
    return [*udp, *tcp]


def test_silence_on_closed_ports(site: Site) -> None:
    frames = closed_ports(site)
    with site.counted(access_other=len(frames)):
        assert answers(site, *frames) == []


def test_silence_on_other_protocols(site: Site) -> None:
    to = Ether(src=site.enb_mac["enb"], dst=site.local_mac)
    frames = [
        bytes(to / IP(src=ENB_IP["enb"], dst=ACCESS_IP, proto=proto) / Raw(bytes(40)))
        for proto in (0, 2, 6, 41, 47, 50, 89, 132, 255)
    ]
    with site.counted(access_other=len(frames)):
        assert answers(site, *frames) == []


def test_garbage_on_gtpu_gets_no_answer_but_what_is_due(site: Site) -> None:
    inner = gtpu.ipv4(UE, PDN_IP)
    bodies = [b"", b"\x30", b"\x30\xff\x00\x00", bytes(8), bytes(100), b"\xff" * 100, inner]
    bodies += [gtpu.t_pdu(0xDEAD, inner), gtpu.t_pdu(TEID, gtpu.ipv4("8.8.8.8", PDN_IP))]
    bodies += [gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32), gtpu.message(26, 0)]
    got = [gtpu.decode(bytes(each)) for each in answers(site, *map(site.from_enb, bodies))]
    # To the Echo Request, and to the T-PDU of no session; not to the spoofed one.
    assert sorted(each.kind for each in got) == [gtpu.ECHO_RESPONSE, gtpu.ERROR_INDICATION]


def test_silence_when_the_source_port_is_gtpus(site: Site) -> None:
    """Answers to what the gateway sent: to a port that nobody listens on."""
    body = gtpu.message(gtpu.ECHO_RESPONSE, 0, b"\x0e\x00")
    with site.counted(access_other=1):
        assert answers(site, site.from_enb(body, port=50000)) == []


def test_the_host_does_not_route_between_the_sides(site: Site) -> None:
    to = Ether(src=site.enb_mac["enb"], dst=site.local_mac)
    frames = [bytes(to / IP(src=ENB_IP["enb"], dst=dst) / UDP()) for dst in (PDN_IP, UE, CORE_IP)]
    with site.counted(access_other=len(frames)):
        assert site.uplink(*frames) == []
        assert answers(site) == []


@pytest.mark.parametrize("mac", (BROADCAST, "01:00:5e:00:00:01", "02:00:00:00:00:99", "the port's"))
def test_gtpu_to_another_mac(site: Site, mac: str) -> None:
    mac = site.lab.mac("gw", "eth1") if mac == "the port's" else mac
    with site.counted(access_other=1):
        assert site.uplink(site.t_pdu(TEID, gtpu.ipv4(UE, PDN_IP), eth_dst=mac)) == []


@pytest.mark.parametrize("address", (CORE_IP, "10.1.0.77", "10.1.0.255", "127.0.0.1"))
def test_gtpu_to_another_address(site: Site, address: str) -> None:
    with site.counted(access_other=1):
        assert site.uplink(site.t_pdu(TEID, gtpu.ipv4(UE, PDN_IP), destination=address)) == []


@pytest.mark.parametrize("ttl", (64, 128))
def test_outer_fragments(site: Site, ttl: int) -> None:
    inner = gtpu.ipv4(UE, PDN_IP, size=1400, ttl=ttl)
    whole = Ether(site.t_pdu(TEID, inner))
    pieces = [
        bytes(Ether(src=whole.src, dst=whole.dst) / piece) for piece in fragment(whole[IP], 400)
    ]
    assert len(pieces) == 4
    with site.counted(outer_fragment=4):
        assert site.uplink(*pieces) == []
    with site.counted(outer_fragment=4):
        assert answers(site, *reversed(pieces)) == []


def test_a_lone_first_fragment(site: Site) -> None:
    frame = Ether(site.t_pdu(TEID, gtpu.ipv4(UE, PDN_IP)))
    frame[IP].flags, frame[IP].chksum = "MF", None
    with site.counted(outer_fragment=1):
        assert site.uplink(bytes(frame)) == []


@pytest.mark.parametrize("tags", (1, 2))
@pytest.mark.parametrize("vlan", (0, 1, 4095))
def test_tagged_frames(site: Site, vlan: int, tags: int) -> None:
    whole = Ether(site.t_pdu(TEID, gtpu.ipv4(UE, PDN_IP)))
    frame = Ether(src=whole.src, dst=whole.dst)
    for _ in range(tags):
        frame = frame / Dot1Q(vlan=vlan)
    with site.counted(vlan=1):
        assert site.uplink(bytes(frame / whole[IP])) == []


def test_other_outer_fields_do_not_matter(site: Site) -> None:
    inner = gtpu.ipv4(UE, PDN_IP, ttl=128)
    outers = (
        {"ttl": 1},
        {"ttl": 255},
        {"tos": 0xB8},
        {"source_port": 1},
        {"source_port": 65535},
        {"source": "10.1.0.200"},
        {"source": "192.0.2.1"},
    )
    frames = [site.t_pdu(TEID, inner, **outer) for outer in outers]
    assert [frame[gtpu.ETHERNET :] for frame in site.uplink(*frames)] == [inner] * len(frames)


def test_outer_options(site: Site) -> None:
    """Open vSwitch takes no GTP-U packet whose outer header has options."""
    frame = site.t_pdu(TEID, gtpu.ipv4(UE, PDN_IP), options=[Raw(b"\x94\x04\x00\x00")])
    with site.counted():
        assert site.uplink(frame) == []


def test_an_outer_checksum_of_zero(site: Site) -> None:
    frame = Ether(site.t_pdu(TEID, gtpu.ipv4(UE, PDN_IP, ttl=128)))
    frame[UDP].chksum = 0
    assert len(site.uplink(bytes(frame))) == 1


def test_ipv6_and_other_ethernet_types(site: Site) -> None:
    to = Ether(src=site.enb_mac["enb"], dst=site.local_mac)
    frames = [
        bytes(to / IPv6(dst="fe80::1") / UDP(dport=2152) / Raw(bytes(60))),
        bytes(to / IPv6(dst="ff02::1") / ICMPv6ND_NS(tgt="fe80::1")),
        bytes(Ether(src=to.src, dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes(46))),
        bytes(Ether(src=to.src, dst=BROADCAST, type=0x88B5) / Raw(bytes(46))),
        bytes(Ether(src=to.src, dst=site.local_mac, type=0x8847) / Raw(bytes(46))),
    ]
    with site.counted(access_other=len(frames)):
        assert answers(site, *frames) == []


def test_everything_sent_so_far(site: Site) -> None:
    site.check_sent()
