"""What no UE may do: reach the gateway, the access network or another UE."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Raw

from tests.support import gtpu
from tests.support.site import ACCESS_IP, CORE_IP, ENB_IP, PDN_IP, Site, is_echo

pytestmark = pytest.mark.switch

UE, TEID = "10.45.0.2", 0x1001
VICTIM, VICTIM_TEID, VICTIM_DOWN = "10.45.0.3", 0x1002, 0x2002

PROTECTED = {
    "the gateway's access address": ACCESS_IP,
    "a base station": ENB_IP["enb"],
    "the access network": "10.1.0.0",
    "the access network's broadcast": "10.1.0.255",
    "the gateway's core address": CORE_IP,
    "loopback": "127.0.0.1",
    "all of loopback": "127.255.255.254",
    "link-local": "169.254.169.254",
    "multicast": "224.0.0.1",
    "SSDP": "239.255.255.250",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "this network": "0.0.0.0",
    "this host": "0.1.2.3",
}
protected = pytest.mark.parametrize("destination", PROTECTED.values(), ids=PROTECTED.keys())
TTLS = (1, 64, 100, 128)


@pytest.fixture(scope="module", autouse=True)
def sessions(site: Site) -> None:
    site.session(UE, teid=TEID, downlink=0x2001)
    site.session(VICTIM, teid=VICTIM_TEID, downlink=VICTIM_DOWN)


def gtp_of_its_own(destination: str, ttl: int) -> bytes:
    """A UE's packet that is itself a T-PDU of the victim's, as if from a base station."""
    stolen = gtpu.t_pdu(VICTIM_TEID, gtpu.ipv4(VICTIM, PDN_IP))
    outer = IP(src=UE, dst=destination, ttl=ttl) / UDP(sport=gtpu.PORT, dport=gtpu.PORT)
    return bytes(outer / Raw(stolen))


def nothing_comes_out(site: Site, *inner: bytes) -> None:
    """Nothing goes to the core, and nothing but ARP and Echo comes back to the base station."""
    site.enb.all()
    assert site.uplink(*(site.t_pdu(TEID, packet) for packet in inner)) == []
    back = [frame for frame in site.enb.all(0.02) if frame[12:14] != b"\x08\x06"]
    assert [frame for frame in back if not is_echo(frame)] == []


@protected
def test_gtpu_of_a_ues_own(site: Site, destination: str) -> None:
    with site.counted(protected_destination=len(TTLS)):
        nothing_comes_out(site, *(gtp_of_its_own(destination, ttl) for ttl in TTLS))
    assert site.packets("table=30,", f"reg0=0x{VICTIM_TEID:x},") == 0


@protected
def test_other_packets_of_a_ue(site: Site, destination: str) -> None:
    to = IP(src=UE, dst=destination)
    packets = [to / ICMP(), to / TCP(dport=8080), to / UDP(dport=6653), to / UDP(dport=9)]
    with site.counted(protected_destination=len(packets)):
        nothing_comes_out(site, *map(bytes, packets))


@pytest.mark.parametrize("destination", (VICTIM, UE, "10.45.77.77", "10.45.255.255"))
def test_ue_to_ue(site: Site, destination: str) -> None:
    inner = [gtp_of_its_own(destination, ttl) for ttl in TTLS]
    inner += [gtpu.ipv4(UE, destination, ttl=ttl) for ttl in TTLS]
    with site.counted(ue_to_ue=len(inner)):
        nothing_comes_out(site, *inner)


@pytest.mark.parametrize(
    "destination", (PDN_IP, "10.2.0.3", "10.1.1.1", "8.8.8.8", "223.255.255.1")
)
def test_what_is_allowed_beside_it(site: Site, destination: str) -> None:
    inner = [gtp_of_its_own(destination, ttl) for ttl in TTLS]
    with site.counted():
        got = site.uplink(*(site.t_pdu(TEID, packet) for packet in inner))
    assert [frame[gtpu.ETHERNET :] for frame in got] == inner


def test_a_tunnel_in_a_tunnel_is_not_opened(site: Site) -> None:
    """Not even if the inner addresses are those of a base station and the gateway."""
    stolen = gtpu.t_pdu(VICTIM_TEID, gtpu.ipv4(VICTIM, PDN_IP))
    outer = IP(src=ENB_IP["enb"], dst=ACCESS_IP) / UDP(sport=gtpu.PORT, dport=gtpu.PORT)
    inner = bytes(outer / Raw(stolen))
    with site.counted(no_uplink_session=1, seen_spoofed_source=1):
        nothing_comes_out(site, inner)


def test_fragments_of_gtpu_to_the_gateway(site: Site) -> None:
    whole = IP(gtp_of_its_own(ACCESS_IP, 64))
    pieces = [bytes(piece) for piece in whole.fragment(32)]
    assert len(pieces) > 1
    with site.counted(protected_destination=len(pieces)):
        nothing_comes_out(site, *pieces)


def test_the_victim_is_where_it_was(site: Site) -> None:
    (frame,) = site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, VICTIM)))
    assert gtpu.decode(frame).teid == VICTIM_DOWN
