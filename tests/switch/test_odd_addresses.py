"""UEs whose addresses the switch misreads.

A T-PDU that it takes for an Ethernet frame shows the first two bytes of its source address where
the Ethernet type is: 129.0 is a VLAN tag, 8.6 is ARP, 134.221 is IPv6 and so on; what follows is
read as such, and must not matter.
"""

from collections.abc import Iterator

import pytest

from tests.support import gtpu
from tests.support.gtpu import PN, S
from tests.support.lab import Lab
from tests.support.site import PDN_IP, Site, is_echo, is_gtpu

pytestmark = pytest.mark.switch

READ_AS = {
    "a length": "1.1",
    "the greatest length": "5.220",
    "IPv4": "8.0",
    "ARP": "8.6",
    "RARP": "8.53",
    "a VLAN tag": "129.0",
    "IPv6": "134.221",
    "LACP": "136.9",
    "PPPoE": "136.100",
    "802.1ad": "136.168",
    "LLDP": "136.204",
    "CFM": "137.2",
    "FCoE": "137.6",
    "NSH": "137.79",
    "Q-in-Q": "145.0",
}
CLASSES = (1, 64, 100, 128, 255)
DESTINATIONS = (PDN_IP, "129.0.0.1", "8.0.69.0", "8.6.0.1", "134.221.96.0", "137.79.0.1", "5.5.5.5")
MARKER_UE = "10.45.0.9"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        pools = ", ".join(f'"{prefix}.0.0/16"' for prefix in ("10.45", *READ_AS.values()))
        config = lab.config().replace('ue_pools = ["10.45.0.0/16"]', f"ue_pools = [{pools}]")
        config += 'ue_to_ue = "route"\n'
        assert pools in config
        site = Site(lab, config, marker_ue=MARKER_UE)
        site.ready()
        for place, prefix in enumerate(READ_AS.values()):
            site.session(f"{prefix}.0.2", teid=0x1000 + place, downlink=0x2000 + place)
            site.session(f"{prefix}.96.69", teid=0x3000 + place, downlink=0x4000 + place)
        yield site
        site.alive()
        site.check_sent()


@pytest.mark.parametrize("flags", (gtpu.PLAIN, gtpu.PLAIN | S, gtpu.PLAIN | S | PN))
@pytest.mark.parametrize("prefix", READ_AS.values(), ids=READ_AS.keys())
def test_uplink(site: Site, prefix: str, flags: int) -> None:
    place = list(READ_AS.values()).index(prefix)
    in_pools = {pool.split(".")[0] for pool in READ_AS.values()}
    destinations = [to for to in DESTINATIONS if to.split(".")[0] not in in_pools] + ["9.9.9.9"]
    inner = [
        gtpu.ipv4(ue, to, ttl=ttl, size=size)
        for ue in (f"{prefix}.0.2", f"{prefix}.96.69")
        for to in destinations
        for ttl in CLASSES
        for size in (20, 46, 200)
    ]
    teids = {f"{prefix}.0.2": 0x1000 + place, f"{prefix}.96.69": 0x3000 + place}
    frames = [
        site.t_pdu(teids[".".join(map(str, packet[12:16]))], packet, flags=flags)
        for packet in inner
    ]
    with site.counted():
        got = site.uplink(*frames)
    assert sorted(frame[gtpu.ETHERNET :] for frame in got) == sorted(inner)
    assert {frame[:14] for frame in got} == {
        bytes.fromhex((site.pdn_mac + site.core_mac).replace(":", "")) + b"\x08\x00"
    }


@pytest.mark.parametrize("prefix", READ_AS.values(), ids=READ_AS.keys())
def test_downlink(site: Site, prefix: str) -> None:
    place = list(READ_AS.values()).index(prefix)
    packets = [
        gtpu.ipv4(source, f"{prefix}.0.2", ttl=ttl) for source in DESTINATIONS for ttl in CLASSES
    ]
    got = [gtpu.decode(frame) for frame in site.downlink(*map(site.to_ue, packets))]
    assert sorted(each.inner for each in got) == sorted(packets)
    assert {each.teid for each in got} == {0x2000 + place}


def is_t_pdu(frame: bytes) -> bool:
    return is_gtpu(frame) and not is_echo(frame)


@pytest.mark.parametrize("ttl", CLASSES)
@pytest.mark.parametrize("to", READ_AS.values(), ids=READ_AS.keys())
def test_between_two_of_them(site: Site, to: str, ttl: int) -> None:
    """The destination stands behind the source, where a tag's contents would be."""
    place = list(READ_AS.values()).index("129.0")
    inner = gtpu.ipv4("129.0.0.2", f"{to}.96.69", ttl=ttl)
    site.enb.all()
    assert site.uplink(site.t_pdu(0x1000 + place, inner)) == []
    expected = 0x4000 + list(READ_AS.values()).index(to)
    got = [gtpu.decode(frame) for frame in site.enb.all(0.02) if is_t_pdu(frame)]
    assert [(each.teid, each.inner) for each in got] == [(expected, inner)]
