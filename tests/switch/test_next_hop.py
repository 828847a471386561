"""The next hop: asked for by ARP, followed when its MAC changes, and waited for when it is away."""

import time
from collections.abc import Iterator

import pytest
from scapy.layers.l2 import ARP, Ether

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import CORE_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

UE, TEID = "10.45.0.2", 0x1001
NOTICED_S = 30.0
"""A change that nobody announces is noticed within this time, on a machine that has much to do."""


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of the test's own: it changes what the others rely on."""
    with Lab() as lab:
        site = Site(lab)
        site.session(UE, teid=TEID, downlink=0x2001)
        yield site
        site.alive()
        site.check_sent()


def uplink_macs(site: Site, count: int = 5) -> set[tuple[str, str]]:
    """To and from which MACs a stream of uplink packets leaves now."""
    found = set()
    for ttl in (64, 100, 128):
        frame = site.t_pdu(TEID, gtpu.ipv4(UE, PDN_IP, ttl=ttl))
        site.enb.send(*[frame] * count)
    for each in map(Ether, site.pdn.all(0.02)):
        if each.type == 0x0800:
            found.add((each.dst, each.src))
    return found


def announce(site: Site, mac: str, op: int) -> None:
    """A gratuitous ARP, as a request or as a reply (RFC 5227)."""
    said = ARP(op=op, hwsrc=mac, psrc=PDN_IP, pdst=PDN_IP)
    site.pdn.send(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / said)


def test_a_change_of_its_mac(site: Site) -> None:
    site.ready()
    until(lambda: uplink_macs(site) == {(site.pdn_mac, site.core_mac)}, "packets leave")
    unannounced, by_request, by_reply = (f"06:00:00:00:00:0{n}" for n in (1, 2, 3))

    site.lab.exec("pdn", ["ip", "link", "set", "eth0", "address", unannounced])
    until(
        lambda: uplink_macs(site) == {(unannounced, site.core_mac)},
        "the new MAC is used, under a stream of packets",
        NOTICED_S,
    )
    for op, mac in ((1, by_request), (2, by_reply)):
        site.lab.exec("pdn", ["ip", "link", "set", "eth0", "address", mac])
        announce(site, mac, op)
        until(lambda mac=mac: uplink_macs(site) == {(mac, site.core_mac)}, "at once", 6.0)
        assert site.gateway()["next_hop"]["mac"] == mac


def test_arp_of_others_changes_nothing(site: Site) -> None:
    site.ready()
    stranger = "06:00:00:00:00:0f"
    said = [
        ARP(op=2, hwsrc=stranger, psrc="10.2.0.3", pdst=CORE_IP),
        ARP(op=1, hwsrc=stranger, psrc="10.2.0.3", pdst="10.2.0.3"),
        ARP(op=2, hwsrc=stranger, psrc=CORE_IP, pdst=CORE_IP),
        ARP(op=2, hwsrc="00:00:00:00:00:00", psrc=PDN_IP, pdst=CORE_IP),
        ARP(op=2, hwsrc="ff:ff:ff:ff:ff:ff", psrc=PDN_IP, pdst=CORE_IP),
        ARP(op=2, hwsrc="01:00:5e:00:00:01", psrc=PDN_IP, pdst=CORE_IP),
        ARP(op=2, hwsrc=site.core_mac, psrc=PDN_IP, pdst=CORE_IP),
    ]
    for arp in said:
        site.pdn.send(Ether(src=stranger, dst=site.core_mac) / arp)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        assert uplink_macs(site) <= {(site.pdn_mac, site.core_mac)}
    assert until(lambda: uplink_macs(site), "packets leave") == {(site.pdn_mac, site.core_mac)}


@pytest.fixture
def silent_site() -> Iterator[Site]:
    """A site whose next hop does not answer."""
    with Lab() as lab:
        lab.exec("pdn", ["ip", "addr", "flush", "dev", "eth0"])
        yield Site(lab)


def test_a_next_hop_that_comes_late(silent_site: Site) -> None:
    site = silent_site
    site.session(UE, teid=TEID, downlink=0x2001)
    assert site.gateway()["next_hop"] == {"ip": PDN_IP, "mac": None, "state": "unresolved"}
    frames = [site.t_pdu(TEID, gtpu.ipv4(UE, PDN_IP, ttl=ttl)) for ttl in (1, 64, 100, 128)]
    with site.counted(next_hop_unresolved=len(frames)):
        site.enb.send(*frames)
    assert all(Ether(frame).type == 0x0806 for frame in site.pdn.all(0.05))
    said = [frame[ARP] for frame in map(Ether, site.pdn.seen)]
    # Besides, the gateway announces its own address.
    questions = [each for each in said if each.pdst != each.psrc]
    assert questions and {(q.op, q.psrc, q.pdst, q.hwsrc) for q in questions} == {
        (1, CORE_IP, PDN_IP, site.core_mac)
    }
    announced = [each for each in said if each not in questions]
    assert {(each.op, each.psrc, each.hwsrc) for each in announced} <= {(1, CORE_IP, site.core_mac)}
    site.lab.exec("pdn", ["ip", "addr", "add", f"{PDN_IP}/24", "dev", "eth0"])
    until(
        lambda: uplink_macs(site) == {(site.pdn_mac, site.core_mac)},
        "packets leave, though the UE never stopped sending",
    )
    site.alive()
