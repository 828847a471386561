"""T-PDU or signalling? The switch hands signalling over as the whole outer frame, and a UE chooses
the bytes of a T-PDU: neither may pass for the other, and neither may stop the switch."""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from ofgtp.core.packets.gtpu import GtpuError, parse
from tests.support import gtpu
from tests.support.answers import Counted
from tests.support.gtpu import PN, E, S
from tests.support.lab import Lab
from tests.support.site import ACCESS_IP, ENB_IP, PDN_IP, Site

pytestmark = pytest.mark.switch

UE, TEID = "10.45.0.2", 0x1001
FORMS = {"plain": gtpu.PLAIN, "S": gtpu.PLAIN | S, "S+PN": gtpu.PLAIN | S | PN}
form = pytest.mark.parametrize("flags", FORMS.values(), ids=FORMS.keys())
MESSAGES = {
    "echo request": 1,
    "echo response": 2,
    "error indication": 26,
    "supported extension headers": 31,
    "tunnel status": 253,
    "end marker": 254,
}
CLASSES = (1, 64, 100, 128)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """With a MAC address whose octets are no container's and no IP version's, wherever read."""
    with Lab() as lab:
        lab.exec("gw", ["ip", "link", "set", "eth1", "address", "06:c5:a1:b2:d3:e7"])
        site = Site(lab)
        site.ready()
        yield site
        site.alive()
        site.check_sent()


@pytest.fixture(scope="module", autouse=True)
def sessions(site: Site) -> None:
    site.session(UE, teid=TEID, downlink=0x2001)


def echo_request_frame(site: Site, eth_src: str = "0a:00:00:00:00:01") -> bytes:
    """A whole frame with an Echo Request, as the switch shows real signalling.

    The third byte of `eth_src` stands where the switch looks for the inner IP version.
    """
    echo = gtpu.message(gtpu.ECHO_REQUEST, 0, flags=gtpu.PLAIN | S)
    return site.from_enb(echo, eth_src=eth_src)


@contextmanager
def signalling(site: Site, octets: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Within, the controller is shown exactly these messages, and counts each by its type or, if
    it is none, by why; the switch drops nothing. Yields them in frames.

    They come from eight peers in turn, since each eighth of the peers has a limit of its own.
    """
    received: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for each in octets:
        try:
            received[parse(each).type.name.lower()] += 1
        except GtpuError as error:
            bad[error.reason] += 1
    count = Counted(site.lab)
    with site.counted(**bad):
        yield [
            site.from_enb(each, source=f"10.1.0.{100 + place % 8}")
            for place, each in enumerate(octets)
        ]
    assert count.received == received


@pytest.mark.parametrize("flags", [gtpu.PLAIN | bits for bits in range(8)])
@pytest.mark.parametrize("kind", MESSAGES.values(), ids=MESSAGES.keys())
def test_signalling_is_signalling(site: Site, kind: int, flags: int) -> None:
    octets = [
        gtpu.message(kind, teid, body, flags=flags)
        for teid in (0, TEID)
        for body in (b"", b"\x0e\x00", gtpu.ipv4(UE, PDN_IP))
    ]
    with signalling(site, octets) as frames:
        assert site.uplink(*frames) == []


@form
def test_forged_signalling(site: Site, flags: int) -> None:
    mac = bytes.fromhex(site.local_mac.replace(":", ""))
    echo = echo_request_frame(site)
    assert echo.startswith(mac)
    others = [mac + bytes(8) + bytes([byte]) * 40 for byte in (0x00, 0x11, 0x45, 0x60, 0x81, 0xFF)]
    arp = bytes(
        Ether(src="0a:00:00:00:00:01", dst=site.local_mac) / ARP(psrc=ENB_IP["enb"], pdst=ACCESS_IP)
    )
    forged = [echo, arp, *others]
    count = Counted(site.lab)
    with site.counted(forged_signalling=len(forged)):
        assert site.uplink(*(site.t_pdu(TEID, each, flags=flags) for each in forged)) == []
    assert count.received == {}


@pytest.mark.parametrize("flags", [gtpu.PLAIN | E | bits for bits in range(4)])
def test_forged_signalling_behind_an_extension_header(site: Site, flags: int) -> None:
    """At each place where the inner packet may begin for the switch, or really begins."""
    echo, count = echo_request_frame(site), Counted(site.lab)
    bodies = [header + echo for header in (b"", b"\x01\x10\x09\x00")]
    octets = [
        gtpu.message(gtpu.T_PDU, TEID, body, flags=flags, extension=kind)
        for body in bodies
        for kind in (0, 0x85)
    ]
    # The optional part itself may be taken for the beginning of a frame to us.
    mac = bytes.fromhex(site.local_mac.replace(":", ""))
    octets.append(bytes([flags, 255]) + struct.pack("!HI", len(echo), TEID) + echo)
    octets.append(bytes([flags, 255]) + struct.pack("!HI", len(echo) + 4, TEID) + mac[2:] + echo)
    # With S set the type is hidden, and whatever begins as a container is read as one. Without, the
    # MAC address is no container: its first octet says 2 units or more, its second not 0x1 first.
    # Without S, too, two say that no extension header follows, and then no IP packet does.
    not_ip = 2 if flags & S else 1 + 2
    bad = 0 if flags & S else 1
    others = len(octets) - not_ip - bad
    with site.counted(extension_header=others, not_ip=not_ip, bad_container=bad):
        assert site.uplink(*(site.from_enb(each) for each in octets)) == []
    assert count.received == {}


@form
@pytest.mark.parametrize("eth_src", ("0a:00:45:00:00:01", "0a:00:64:00:00:01"))
def test_forged_signalling_that_the_switch_takes_for_ip(
    site: Site, eth_src: str, flags: int
) -> None:
    frame = site.t_pdu(TEID, echo_request_frame(site, eth_src), flags=flags)
    count = Counted(site.lab)
    with site.counted(bad_inner=1):
        assert site.uplink(frame) == []
    assert count.received == {}


VERSIONS = [(version, pt) for version in range(8) for pt in (0, 1) if (version, pt) != (1, 1)]


@pytest.mark.parametrize("kind", (1, 26, 254, 255))
@pytest.mark.parametrize(("version", "pt"), VERSIONS)
def test_another_version_and_gtp_prime(site: Site, version: int, pt: int, kind: int) -> None:
    """The switch decapsulates these too, whatever their flags say; not one is shown or passes."""
    first = version << 5 | pt << 4
    bodies = [gtpu.ipv4(UE, PDN_IP, ttl=ttl) for ttl in CLASSES]
    frames = [
        site.from_enb(gtpu.message(kind, TEID, body, flags=first | bits))
        for bits in range(8)
        for body in bodies
    ]
    reason = "wrong_version" if version != 1 else "gtp_prime"
    count = Counted(site.lab)
    with site.counted(**{reason: len(frames)}):
        assert site.uplink(*frames) == []
    assert count.received == {}


@form
@pytest.mark.parametrize("nibble", [n for n in range(16) if n not in (4, 6)])
def test_neither_ipv4_nor_ipv6(site: Site, nibble: int, flags: int) -> None:
    body = bytearray(gtpu.ipv4(UE, PDN_IP, ttl=128))
    body[0] = nibble << 4 | 5
    with site.counted(not_ip=1):
        assert site.uplink(site.t_pdu(TEID, bytes(body), flags=flags)) == []


@form
@pytest.mark.parametrize("label", (0x8847, 0x8848))
def test_inner_bytes_that_read_as_mpls(site: Site, label: int, flags: int) -> None:
    """Misread as MPLS and relabelled, such a packet ends ovs-vswitchd."""
    packets = []
    for ttl in (1, 128, 255):
        for first in (0x45, 0x4F, 0x60, 0x00, 0x02):
            packet = bytearray(gtpu.ipv4(UE, PDN_IP, ttl=ttl))
            packet[0] = first
            struct.pack_into("!H", packet, 12, label)
            packets.append(bytes(packet))
    v6 = f"2001:db8:{label:x}::1"
    packets.append(bytes(IPv6(src=v6, dst="2001:db8::1") / UDP()))
    mac = bytes.fromhex(site.local_mac.replace(":", ""))
    packets.append(mac + bytes(6) + struct.pack("!H", label) + bytes(40))
    with site.counted(inner_mpls=len(packets)):
        assert site.uplink(*(site.t_pdu(TEID, packet, flags=flags) for packet in packets)) == []
    site.alive()


@pytest.mark.parametrize("inner_type", (0x8100, 0x88A8))
def test_mpls_below_a_tag(site: Site, inner_type: int) -> None:
    packet = bytearray(gtpu.ipv4(UE, PDN_IP, ttl=128))
    struct.pack_into("!HHH", packet, 12, inner_type, 1, 0x8847)
    with site.counted(inner_mpls=1):
        assert site.uplink(site.t_pdu(TEID, bytes(packet))) == []
    site.alive()


@pytest.mark.parametrize("flags", [gtpu.PLAIN | E | bits for bits in range(4)])
@pytest.mark.parametrize("extension", (0x01, 0x20, 0x40, 0x81, 0x82, 0x83, 0x84, 0xC0, 0xFF))
def test_extension_headers(site: Site, extension: int, flags: int) -> None:
    inner = [gtpu.ipv4(UE, PDN_IP, ttl=ttl) for ttl in CLASSES]
    header = b"\x01\x08\x68\x00"
    frames = [
        site.from_enb(gtpu.t_pdu(TEID, header + packet, flags=flags, extension=extension))
        for packet in inner
    ]
    with site.counted(extension_header=len(frames)):
        assert site.uplink(*frames) == []
    site.alive()


def test_signalling_does_not_reach_the_core_whatever_it_carries(site: Site) -> None:
    inner = bytes(IP(src=UE, dst=PDN_IP) / UDP() / Raw(b"x" * 40))
    with signalling(site, [gtpu.message(kind, TEID, inner) for kind in range(255)]) as frames:
        assert len(frames) == 255
        assert site.uplink(*frames) == []
