"""The core side, as a router's: ARP and ping of the core address, answered by the switch itself."""

import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from tests.support import gtpu, tshark
from tests.support.site import ACCESS_IP, CORE_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

BROADCAST = "ff:ff:ff:ff:ff:ff"
QUIET_S = 0.1
"""How long to listen for answers of the host's stack; all of the switch's have come before."""
PING_RATE, PING_BURST = 100, 100
FLOOD = 99


def answers(site: Site, *frames: Packet) -> list[Packet]:
    """What comes back to the core host, but for the gateway asking for its MAC."""
    got = [Ether(frame) for frame in (*site.back(*map(bytes, frames)), *site.pdn.all(QUIET_S))]
    return [each for each in got if ARP not in each or each[ARP].op != 1]


def who_has(site: Site, address: str, *, dst: str = BROADCAST, src: str = PDN_IP) -> Packet:
    return Ether(src=site.pdn_mac, dst=dst) / ARP(hwsrc=site.pdn_mac, psrc=src, pdst=address)


@pytest.mark.parametrize("source", (PDN_IP, "10.2.0.77", "0.0.0.0"))
@pytest.mark.parametrize("unicast", (False, True))
def test_exactly_one_arp_answer(site: Site, unicast: bool, source: str) -> None:
    dst = site.core_mac if unicast else BROADCAST
    (got,) = answers(site, who_has(site, CORE_IP, dst=dst, src=source))
    assert (got.src, got.dst) == (site.core_mac, site.pdn_mac)
    arp = got[ARP]
    assert (arp.hwtype, arp.ptype, arp.hwlen, arp.plen, arp.op) == (1, 0x800, 6, 4, 2)
    assert (arp.hwsrc, arp.psrc) == (site.core_mac, CORE_IP)
    assert (arp.hwdst, arp.pdst) == (site.pdn_mac, source)


@pytest.mark.parametrize("address", (ACCESS_IP, PDN_IP, "10.45.0.2", "10.2.0.77", "127.0.0.1"))
def test_no_arp_answer_for_other_addresses(site: Site, address: str) -> None:
    assert answers(site, who_has(site, address)) == []


def ping(site: Site, to: str = CORE_IP, *, id: int = 7, dst: str = "", **fields: object) -> Packet:
    frame = Ether(src=site.pdn_mac, dst=dst or site.core_mac)
    echo = ICMP(id=id, **fields) / Raw(bytes(range(57)))
    return frame / IP(src=PDN_IP, dst=to, ttl=3, tos=0x20) / echo


def test_ping_is_answered_once(site: Site) -> None:
    (got,) = answers(site, ping(site, seq=5))
    gtpu.check_frame(bytes(got))
    assert (got.src, got.dst) == (site.core_mac, site.pdn_mac)
    assert (got[IP].src, got[IP].dst, got[IP].ttl) == (CORE_IP, PDN_IP, 64)
    assert (got[ICMP].type, got[ICMP].code, got[ICMP].id, got[ICMP].seq) == (0, 0, 7, 5)
    assert got[Raw].load == bytes(range(57))
    (row,) = tshark.rows([bytes(got)], ["icmp.checksum.status", "ip.checksum.status"])
    assert row == ["1", "1"]


def test_a_flood_of_pings_is_limited(site: Site) -> None:
    flood = [bytes(ping(site, id=FLOOD, seq=seq)) for seq in range(1500)]
    before, start = site.counters()["rate_limited_ping"], time.monotonic()
    site.back(*flood)
    seconds = time.monotonic() - start
    echoes = (Ether(frame) for frame in site.pdn.seen)
    got = {each[ICMP].seq for each in echoes if ICMP in each and each[ICMP].id == FLOOD}
    assert PING_BURST / 2 <= len(got) <= PING_BURST + PING_RATE * (seconds + 1)
    until(
        lambda: site.counters()["rate_limited_ping"] - before == len(flood) - len(got),
        "the rest is counted",
    )


def test_silence_on_everything_else(site: Site) -> None:
    to = Ether(src=site.pdn_mac, dst=site.core_mac) / IP(src=PDN_IP, dst=CORE_IP)
    frames = [
        ping(site, ACCESS_IP),
        ping(site, "10.2.0.255"),
        ping(site, dst=BROADCAST),
        ping(site, type=13),
        *(to / UDP(dport=port) for port in (53, 2152, 6653)),
        *(to / TCP(dport=port) for port in (22, 6653, 8080)),
        to / Raw(b"x" * 40),
        Ether(src=site.pdn_mac, dst=site.core_mac) / ARP(op=2, psrc="10.2.0.9", pdst=CORE_IP),
    ]
    with site.counted(core_other=len(frames)):
        assert answers(site, *frames) == []
