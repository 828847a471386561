"""N3: the PDU Session Container (TS 38.415) comes off uplink T-PDUs, and goes on downlink ones."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scapy.contrib.gtp import GTP_U_Header, GTPPDUSessionContainer
from scapy.layers.inet import ICMP, IP, UDP, IPOption
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import RawPcapReader, checksum

from tests.support import gtpu, tshark
from tests.support.gtpu import PN, E, S
from tests.support.lab import Lab
from tests.support.malformed import CAPTURES
from tests.support.ownership import Log
from tests.support.site import BRIDGE, ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
UE_4G, UP_4G, DOWN_4G = "10.45.0.3", 0x1002, 0x2002
CONTAINER = 0x85
FORMS = pytest.mark.parametrize(
    "flags", (E, E | PN, E | S, E | S | PN), ids=["E", "E+PN", "E+S", "E+S+PN"]
)
INNER = gtpu.ipv4(UE, PDN_IP)
QMP_TIMES = b"".join(
    (0xEC00_0000 + number).to_bytes(4, "big") + number.to_bytes(4, "little") for number in range(3)
)
"""Sent, received, sent again (TS 38.415, 5.5.3): of 8 octets each."""
OVERHEAD = gtpu.OVERHEAD + 8


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A session with a QFI and one without, on one peer; and a second peer."""
    with Lab(enbs=2) as lab:
        site = Site(lab)
        site.ready()
        site.session(UE_4G, teid=UP_4G, downlink=DOWN_4G)
        site.session(UE, teid=UP, downlink=DOWN, qfi=9)
        yield site
        site.alive()
        site.check_sent()


def switch_owns(lab: Lab) -> str:
    return lab.config(controller='ownership = "switch"')


@pytest.fixture(scope="module")
def restarted() -> Iterator[Site]:
    """One whose switch forwards on while the controller is away; a session with all members."""
    with Lab() as lab:
        site = Site(lab, switch_owns(lab))
        site.ready()
        site.session(
            UE, teid=UP, downlink=DOWN, qfi=10, rqi=True, qfi_required=False, qfi_check=True
        )
        yield site
        site.alive()
        site.check_sent()


@pytest.fixture(autouse=True)
def as_it_was(site: Site) -> Iterator[None]:
    """The session is as above after each test."""
    yield
    site.session(UE, teid=UP, downlink=DOWN, qfi=9)
    settle(site)


def settle(site: Site) -> None:
    """Have the switch forget what it has cached: it confirms a change before it has looked through
    that (see docs/ovs-faults.md)."""
    site.lab.appctl("revalidator/purge")


def change(site: Site, members: dict[str, Any]) -> None:
    """Patch the session; from then on packets go the new way."""
    site.patch(f"ue-{UE}", members)
    settle(site)


def ul(
    qfi: int, *, units: int = 1, first: int = 0x10, rest: bytes = b"", following: int = 0
) -> bytes:
    """An uplink container, the octet with the next header's type at its end."""
    content = bytes([first, qfi]) + rest
    return bytes([units]) + content.ljust(4 * units - 2, b"\xa5") + bytes([following])


def up(site: Site, container: bytes, inner: bytes, *, flags: int = E, teid: int = UP) -> bytes:
    """An uplink T-PDU."""
    octets = gtpu.t_pdu(teid, container + inner, flags=gtpu.PLAIN | flags, extension=CONTAINER)
    return site.from_enb(octets)


def passed(site: Site, *frames: bytes) -> list[bytes]:
    """What comes out at the core host, without Ethernet, sorted: the switch reads packets by the
    batch and sends them class by class, and with E and S their class is a matter of their id."""
    return sorted(frame[14:] for frame in site.uplink(*frames))


def sent(site: Site, *packets: bytes, teid: int = DOWN) -> list[bytes]:
    """The GTP-U messages that a base station gets for packets to a UE."""
    frames = site.downlink(*(site.to_ue(packet) for packet in packets))
    return [frame[42:] for frame in frames if is_gtpu(frame, teid)]


def dl(teid: int, octet: int, inner: bytes) -> bytes:
    """The T-PDU with a DL PDU SESSION INFORMATION of one unit, as real cores send it."""
    head = bytes([0x34, 255]) + (8 + len(inner)).to_bytes(2, "big") + teid.to_bytes(4, "big")
    return head + bytes([0, 0, 0, CONTAINER, 1, 0, octet, 0]) + inner


# --- uplink


@FORMS
def test_every_qfi_uplink(site: Site, flags: int) -> None:
    inners = [gtpu.ipv4(UE, PDN_IP, id=qfi) for qfi in range(64)]
    frames = [up(site, ul(qfi), inner, flags=flags) for qfi, inner in enumerate(inners)]
    assert passed(site, *frames) == sorted(inners)


@FORMS
def test_every_ttl_uplink(site: Site, flags: int) -> None:
    inners = [gtpu.ipv4(UE, PDN_IP, ttl=ttl, id=ttl << 8) for ttl in range(1, 256)]
    assert passed(site, *(up(site, ul(9), inner, flags=flags) for inner in inners)) == sorted(
        inners
    )


@FORMS
@pytest.mark.parametrize("units", range(1, 8))
def test_every_size_uplink(site: Site, units: int, flags: int) -> None:
    """From a bare header to what fits the access MTU."""
    most = 1500 - gtpu.OVERHEAD - 4 - 4 * units
    inners = [gtpu.ipv4(UE, PDN_IP, size=size) for size in (*range(20, 70), 256, 257, 1000, most)]
    frames = [up(site, ul(9, units=units), inner, flags=flags) for inner in inners]
    assert passed(site, *frames) == sorted(inners)


@FORMS
@pytest.mark.parametrize(
    ("first", "units", "rest"),
    [
        (0x14, 2, b"\0\0\x01\x02"),
        (0x12, 2, bytes(4)),
        (0x11, 2, b"\xff\xff\xff"),
        (0x10, 2, b"\x45\0\0\x54"),
        (0x16, 3, bytes(8)),
        (0x17, 3, b"\x60" * 8),
        (0x17, 4, bytes(4) + b"\0\0\1\2" + b"\0\0\7"),
        (0x17, 5, b"\x45" * 16),
        (0x17, 6, bytes(20)),
        (0x18, 7, QMP_TIMES),
        (0x18, 7, b"\x60" * 24),
    ],
    ids=[
        *("DL delay", "UL delay", "SNP", "as IPv4", "both delays", "as IPv6"),
        *("delays and SNP", "N3 delay", "PDCP delay", "QMP", "QMP, as IPv6"),
    ],
)
def test_longer_containers(site: Site, first: int, units: int, rest: bytes, flags: int) -> None:
    """Delays, sequence numbers and times are taken off unread, whatever they say."""
    inners = [gtpu.ipv4(UE, PDN_IP, ttl=ttl) for ttl in (1, 64, 100, 128)]
    frames = [
        up(site, ul(0x40 | 9, units=units, first=first, rest=rest), inner, flags=flags)
        for inner in inners
    ]
    assert passed(site, *frames) == sorted(inners)


@FORMS
def test_ipv6_inside(site: Site, flags: int) -> None:
    packets = [
        bytes(IPv6(src=src, dst="2001:db8::1") / UDP() / bytes(40))
        for src in ("fd00::2", "4001::1")
    ]
    frames = [
        up(site, ul(9, units=units), packet, flags=flags)
        for packet in packets
        for units in range(1, 8)
    ]
    with site.counted(inner_ipv6=len(frames)):
        assert passed(site, *frames) == []


@pytest.mark.parametrize("ttl", (1, 64, 100, 128))
@pytest.mark.parametrize(
    ("container", "reason"),
    [
        (ul(9, units=8, first=0x1F), "long_container"),
        (ul(9, units=12, first=0x1F), "long_container"),
        (b"\xff\x10\x09\x00", "long_container"),
        (b"\x11\x10\x09\x00", "long_container"),
        (b"\x00\x10\x09\x00", "bad_container"),
        (ul(9, first=0x00), "bad_container"),
        (ul(0x40 | 9, first=0x00), "bad_container"),
        (ul(0x80 | 9, first=0x00), "bad_container"),
        (ul(9, first=0x08), "bad_container"),
        (ul(9, units=7, first=0x00), "bad_container"),
        (ul(9, units=8, first=0x00), "long_container"),
        (ul(9, units=2, first=0x00, following=0x40), "extension_chain"),
        (ul(9, first=0x00) + b"\x05", "not_ip"),
        (ul(9, first=0x20), "bad_container"),
        (ul(9, first=0x18), "bad_container"),
        (ul(9, first=0x14), "bad_container"),
        (ul(0x40 | 9), "bad_container"),
        (ul(0x80 | 9), "bad_container"),
        (ul(9, following=CONTAINER) + ul(9), "extension_chain"),
        (ul(9, following=0x40) + b"\x01\x08\x68\x00", "extension_chain"),
        (ul(9, units=2, following=0x40), "extension_chain"),
        (ul(9, units=3, following=1), "extension_chain"),
        (ul(9, units=4, following=0x40), "extension_chain"),
        (ul(9, units=7, following=CONTAINER), "extension_chain"),
        (ul(9) + b"\x05", "not_ip"),
        (ul(9, units=3) + b"\xf5", "not_ip"),
        (ul(9, units=4) + b"\x05", "not_ip"),
        (ul(9, units=7) + b"\xf5", "not_ip"),
        (b"\x02\x10\x09\x00", "extension_chain"),
    ],
)
def test_what_is_not_taken_off(site: Site, container: bytes, reason: str, ttl: int) -> None:
    with site.counted(**{reason: 1}):
        assert passed(site, up(site, container, gtpu.ipv4(UE, PDN_IP, ttl=ttl, tos=2))) == []


def test_nothing_behind_the_container(site: Site) -> None:
    frames = [
        up(site, ul(9, units=units), b"", flags=flags)
        for units in range(1, 9)
        for flags in (E, E | S)
    ]
    assert passed(site, *frames) == []


def of_tunnel(site: Site) -> int:
    """How many classes the switch's cache has for the session's uplink, in all passes."""
    shown = site.lab.appctl("dpctl/dump-flows").splitlines()
    return len([line for line in shown if f"tun_id={UP:#x}" in line])


def upcalls(site: Site) -> int:
    """How many packets of any kind the cache had no class for."""
    shown = site.lab.appctl("dpif-netdev/pmd-stats-show")
    return sum(int(number) for number in re.findall(r"miss with \S+ upcall: (\d+)", shown))


def random_inner(rng: random.Random, **fields: int) -> bytes:
    """A packet of the UE's to a server of many, nothing of it twice the same."""
    there = {"dst": f"198.51.{rng.randrange(256)}.{rng.randrange(1, 255)}"}
    head = {"tos": rng.choice((0, 0, 0x2E << 2)), "id": rng.getrandbits(16)} | fields
    ports = UDP(sport=rng.getrandbits(16), dport=rng.getrandbits(16))
    return bytes(IP(src=UE, **there, **head) / ports / Raw(rng.randbytes(rng.randrange(80))))


@FORMS
def test_classes_of_packets_are_bounded(site: Site, flags: int) -> None:
    """Whatever ports, identification, sequence and N-PDU number: some for each QFI that is used.

    With E and S, TTL and protocol of the UE's packet stand in the cache, too.
    """
    rng, qfis, count = random.Random(29281), (1, 9, 10, 63), 600
    site.lab.appctl("revalidator/purge")
    before, inners, frames = upcalls(site), [], []
    for _ in range(count):
        ttl = rng.choice((63, 127)) if flags & S else rng.randrange(256)
        inners.append(random_inner(rng, ttl=ttl))
        octets = gtpu.message(
            255,
            UP,
            ul(rng.choice(qfis)) + inners[-1],
            flags=gtpu.PLAIN | flags,
            sequence=rng.getrandbits(16),
            npdu=rng.getrandbits(8),
            extension=CONTAINER,
        )
        frames.append(site.from_enb(octets))
    assert passed(site, *frames) == sorted(inners)
    assert 10 < of_tunnel(site) < 24 * len(qfis)
    assert upcalls(site) - before < count / 3


@pytest.mark.parametrize("flags", (E, E | S))
def test_classes_of_packets_are_few(site: Site, flags: int) -> None:
    """None for each size, identification, sequence number or delay."""
    site.lab.appctl("revalidator/purge")
    inners = [
        gtpu.ipv4(UE, PDN_IP, size=20 + 5 * number, id=number << 4) for number in range(1, 250)
    ]
    frames = []
    for number, inner in enumerate(inners):
        container = ul(9, units=2, first=0x14, rest=number.to_bytes(4, "big"))
        octets = gtpu.message(
            255,
            UP,
            (ul(9) if number % 2 else container) + inner,
            flags=gtpu.PLAIN | flags,
            sequence=number,
            npdu=number,
            extension=CONTAINER,
        )
        frames.append(site.from_enb(octets))
    assert passed(site, *frames) == sorted(inners)
    assert of_tunnel(site) < 20


def test_the_core_sees_what_the_base_station_of_a_capture_sent(site: Site) -> None:
    """UERANSIM's T-PDUs, the addresses and the TEID put right."""
    [path] = [path for path in CAPTURES if path.name.startswith("5g")]
    uplink, downlink = [], []
    with RawPcapReader(str(path)) as reader:
        for frame, _ in reader:
            gtp = frame[42:]
            if frame[23] == 17 and frame[36:38] == b"\x08\x68" and gtp[1] == 255:
                (uplink if gtp[13] >> 4 == 1 else downlink).append(gtp)
    assert len(uplink) >= 3 and len(downlink) >= 3
    for gtp in uplink:
        inner = IP(gtp[16:])
        inner.src, inner.dst = UE, PDN_IP
        del inner.chksum
        if ICMP in inner:
            del inner[ICMP].chksum
        wanted = bytes(inner)
        octets = gtp[:4] + UP.to_bytes(4, "big") + gtp[8:16] + wanted
        assert passed(site, site.from_enb(octets)) == [wanted]
    change(site, {"qfi": 1})
    for gtp in downlink:
        inner = IP(gtp[16:])
        inner.src, inner.dst = PDN_IP, UE
        del inner.chksum
        [got] = sent(site, bytes(inner))
        assert got[:4] + got[8:16] == gtp[:4] + gtp[8:16], "the form of a real core"


# --- what a session asks for


def test_the_container_is_required_unless(site: Site) -> None:
    plain, container = site.t_pdu(UP, INNER), up(site, ul(5), INNER)
    numbered = site.t_pdu(UP, INNER, flags=gtpu.PLAIN | S)
    with site.counted(container_missing=2):
        assert passed(site, plain, container, numbered) == [INNER]
    change(site, {"qfi_required": False})
    assert passed(site, plain, container, numbered) == [INNER] * 3
    change(site, {"qfi_required": True})
    with site.counted(container_missing=1):
        assert passed(site, plain, container) == [INNER]


@pytest.mark.parametrize("required", (True, False))
@pytest.mark.parametrize("flags", (E, E | S))
@pytest.mark.parametrize("qfi", (1, 5, 6, 16, 63))
def test_the_qfi_is_checked(site: Site, qfi: int, flags: int, required: bool) -> None:
    asked = {"qfi": qfi, "qfi_check": True, "qfi_required": required}
    change(site, asked)
    frames = [up(site, ul(other), INNER, flags=flags) for other in range(64)]
    frames.append(site.t_pdu(UP, INNER))
    refused = {"container_missing": 1} if required else {}
    with site.counted(wrong_qfi=63, **refused):
        assert passed(site, *frames) == [INNER] * (1 if required else 2)


@pytest.mark.parametrize("flags", (E, E | PN), ids=["E", "E+PN"])
@pytest.mark.parametrize("units", range(1, 8))
def test_pdu_type_0_where_no_container_is_required(site: Site, units: int, flags: int) -> None:
    """Older simulators send a downlink container uplink (TS 38.415, 5.5.2.1)."""

    def frames(inner: bytes, teid: int = UP) -> list[bytes]:
        return [
            up(site, ul(qfi, units=units, first=0x00), inner, flags=flags, teid=teid)
            for qfi in (0, 9, 63, 0x40 | 9)
        ]

    for ttl in (1, 64, 100, 128):
        inner = gtpu.ipv4(UE, PDN_IP, ttl=ttl, id=ttl << 8)
        with site.counted(bad_container=4):
            assert passed(site, *frames(inner)) == []
        of_4g = gtpu.ipv4(UE_4G, PDN_IP, ttl=ttl)
        assert passed(site, *frames(of_4g, UP_4G)) == [of_4g] * 4
    change(site, {"qfi_required": False})
    for ttl in (1, 64, 100, 128):
        inner = gtpu.ipv4(UE, PDN_IP, ttl=ttl)
        assert passed(site, *frames(inner)) == [inner] * 4
    change(site, {"qfi_check": True})
    with site.counted(wrong_qfi=2):
        assert passed(site, *frames(INNER)) == [INNER] * 2
    change(site, {"qfi_required": True})
    with site.counted(bad_container=4):
        assert passed(site, *frames(INNER)) == []


def test_pdu_type_0_is_not_known_where_the_header_type_is_hidden(site: Site) -> None:
    """With E and S; the switch has taken off what says that it is a container."""
    change(site, {"qfi_required": False})
    with site.counted(extension_header=2):
        frames = [up(site, ul(9, first=0x00), INNER, flags=E | S | more) for more in (0, PN)]
        assert passed(site, *frames) == []


def test_no_extension_header_is_no_container(site: Site) -> None:
    """E set, and "no more extension headers": with a QFI that is required it is missed."""
    octets = [gtpu.t_pdu(UP, INNER, flags=gtpu.PLAIN | flags) for flags in (E, E | S, PN)]
    frames = [site.from_enb(each) for each in octets]
    with site.counted(container_missing=3):
        assert passed(site, *frames) == []
    change(site, {"qfi_required": False})
    assert passed(site, *frames) == [INNER] * 3


def test_a_session_without_a_qfi_takes_both(site: Site) -> None:
    inner = gtpu.ipv4(UE_4G, PDN_IP)
    plain = site.t_pdu(UP_4G, inner)
    assert passed(site, plain, up(site, ul(3), inner, teid=UP_4G), plain) == [inner] * 3


def test_of_no_session(site: Site) -> None:
    with site.counted(no_uplink_session=2, seen_unknown_teid=1, seen_spoofed_source=1):
        frames = [
            up(site, ul(9), INNER, teid=0xBAD),
            up(site, ul(9), gtpu.ipv4("10.45.0.9", PDN_IP)),
        ]
        assert passed(site, *frames) == []


# --- downlink


@pytest.mark.parametrize("rqi", (False, True))
def test_every_qfi_downlink(site: Site, rqi: bool) -> None:
    """As bytes, to scapy, and to tshark."""
    packet = gtpu.ipv4(PDN_IP, UE)
    frames = []
    for qfi in range(1, 64):
        change(site, {"qfi": qfi, "rqi": rqi})
        [frame] = [each for each in site.downlink(site.to_ue(packet)) if is_gtpu(each, DOWN)]
        assert frame[42:] == dl(DOWN, rqi << 6 | qfi, packet), f"QFI {qfi}"
        gtp = GTP_U_Header(frame[42:])
        container = gtp[GTPPDUSessionContainer]
        assert (gtp.E, gtp.S, gtp.PN, container.type, container.QFI) == (1, 0, 0, 0, qfi)
        assert (container.R, container.P, bytes(gtp[IP])) == (rqi, 0, packet)
        frames.append(frame)
    names = ("con.pdu_type", "cont.ppp", "cont.rqi", "con.qos_flow_id")
    fields = ["gtp.flags", *(f"gtp.ext_hdr.pdu_ses_{name}" for name in names), "_ws.malformed"]
    assert tshark.rows(frames, fields) == [
        ["0x34", "0", "0", str(int(rqi)), str(qfi), ""] for qfi in range(1, 64)
    ]


@pytest.mark.parametrize("qfi", (9, 10))
def test_every_ttl_downlink(site: Site, qfi: int) -> None:
    change(site, {"qfi": qfi})
    packets = [gtpu.ipv4(PDN_IP, UE, ttl=ttl) for ttl in range(1, 256)]
    assert sorted(sent(site, *packets)) == sorted(dl(DOWN, qfi, packet) for packet in packets)


@pytest.mark.parametrize("qfi", (9, 10))
@pytest.mark.parametrize("options", ("", "MTU probe"))
def test_dscp_is_inherited(site: Site, qfi: int, options: str) -> None:
    """And ECN; the outer header is right in all else, its checksum too."""
    change(site, {"qfi": qfi})
    header = {"options": IPOption(b"\x0b\x04\x05\xdc")} if options else {}
    packets = [gtpu.ipv4(PDN_IP, UE, tos=tos, **header) for tos in range(256)]
    frames = site.downlink(*(site.to_ue(packet) for packet in packets))
    # The switch forwards packets of one TTL and DSCP together, and those in their order.
    frames = sorted((frame for frame in frames if is_gtpu(frame, DOWN)), key=lambda f: f[15])
    assert [frame[42:] for frame in frames] == [dl(DOWN, qfi, packet) for packet in packets]
    for tos, frame in enumerate(frames):
        outer = Ether(frame)[IP]
        assert (outer.tos, outer.id, outer.ihl, outer.proto) == (tos, 0, 5, 17)
        assert checksum(frame[14:34]) == 0, f"TOS {tos:#04x}"


@pytest.mark.parametrize("qfi", (9, 10))
def test_every_size_downlink(site: Site, qfi: int) -> None:
    """Fragmentation Needed names what fits: 8 octets less than without the container."""
    change(site, {"qfi": qfi})
    most = 1500 - OVERHEAD
    packets = [gtpu.ipv4(PDN_IP, UE, size=size) for size in (*range(20, 61), 1000, most - 1, most)]
    assert sent(site, *packets) == [dl(DOWN, qfi, packet) for packet in packets]
    for size in (most + 1, most + 8, most + 9, 1500):
        packet = gtpu.ipv4(PDN_IP, UE, size=size, flags="DF")
        with site.counted(too_big=1):
            site.pdn.all()
            assert sent(site, packet) == []
            told: list[IP] = []

            def heard(told: list[IP] = told) -> bool:
                told.extend(
                    Ether(each)[IP] for each in site.pdn.all(0.05) if Ether(each).type == 0x800
                )
                return any(ICMP in each for each in told)

            until(heard, "Fragmentation Needed")
        [notice] = [each for each in told if ICMP in each]
        assert (notice[ICMP].type, notice[ICMP].code, notice[ICMP].nexthopmtu) == (3, 4, most)
    assert sent(site, gtpu.ipv4(PDN_IP, UE_4G, size=most + 8), teid=DOWN_4G) != []


# --- both kinds on one peer, and from one to the other


def test_side_by_side(site: Site) -> None:
    with_qfi, without = gtpu.ipv4(PDN_IP, UE), gtpu.ipv4(PDN_IP, UE_4G)
    inner = gtpu.ipv4(UE_4G, PDN_IP)
    for _ in range(3):
        [got] = sent(site, without, with_qfi, teid=DOWN_4G)
        assert got == gtpu.t_pdu(DOWN_4G, without)
        assert sent(site, without, with_qfi) == [dl(DOWN, 9, with_qfi)]
        frames = [up(site, ul(9), INNER), site.t_pdu(UP_4G, inner)] * 5
        assert passed(site, *frames) == sorted([INNER, inner] * 5)


def test_a_handover_leaves_the_container_behind(site: Site) -> None:
    """From a gNB to an eNB and back, by one PATCH each."""
    packet = gtpu.ipv4(PDN_IP, UE)
    change(site, {"rqi": True, "qfi_check": True})
    far = {"teid": 0x3001, "remote_ip": ENB_IP["enb2"]}
    change(site, {"qfi": None, "downlink": far})
    site.warm("enb2", UE, 0x3001)
    plain = site.from_enb(gtpu.t_pdu(UP, INNER), enb="enb2")
    assert [frame[14:] for frame in site.uplink(plain, enb="enb2")] == [INNER]
    site.downlink()
    site.enbs["enb2"].all(0.1)
    site.pdn.send(site.to_ue(packet))

    def came() -> list[bytes]:
        return [frame for frame in site.enbs["enb2"].all(0.1) if is_gtpu(frame, 0x3001)]

    [got] = until(came, "the packet")
    assert got[42:] == gtpu.t_pdu(0x3001, packet)
    back = {"teid": DOWN, "remote_ip": ENB_IP["enb"]}
    change(site, {"qfi": 6, "downlink": back})
    assert sent(site, packet) == [dl(DOWN, 6, packet)]
    assert passed(site, up(site, ul(1), INNER)) == [INNER]


def test_a_patch_holds_for_packets_under_way(site: Site) -> None:
    """What the switch has cached of hot traffic goes the new way as soon as it has looked through
    that, both ways, without being told to forget it."""
    packet, frame = gtpu.ipv4(PDN_IP, UE), up(site, ul(9), INNER)

    def steady(what: Callable[[], object], wanted: object) -> None:
        until(lambda: what() == wanted, f"{wanted!r}")
        assert what() == wanted

    for qfi in (9, 10, 3, 9, 62):
        site.patch(f"ue-{UE}", {"qfi": qfi, "qfi_check": True})
        steady(lambda: passed(site, *[frame] * 40), [INNER] * 40 if qfi == 9 else [])
        wanted = [dl(DOWN, qfi, packet)] * 20
        steady(lambda: sent(site, *[packet] * 20), wanted)
    site.delete(f"ue-{UE}")
    steady(lambda: passed(site, *[frame] * 40), [])
    site.session(UE, teid=UP, downlink=DOWN, qfi=9)
    steady(lambda: passed(site, *[frame] * 40), [INNER] * 40)


def test_flows_as_text_are_accepted(site: Site) -> None:
    """All flows, and two of the session."""
    text = site.lab.http("GET", "/v1/flows").body.decode()
    (site.lab.dir / "flows").write_text(text)
    shown = site.lab.ofctl("parse-flows", str(site.lab.dir / "flows"))
    assert len(shown.splitlines()) >= len(text.splitlines())
    items = site.lab.http("GET", f"/v1/sessions/ue-{UE}/flows").json()["items"]
    assert [each["direction"] for each in items] == ["uplink", "downlink"]


def test_between_ues() -> None:
    """Decapsulated, checked, and wrapped again: with a container or without."""
    with Lab() as lab:
        for name, device, mtu in (("gw", "eth1", "1520"), ("enb", "eth0", "1524")):
            lab.exec(name, ["ip", "link", "set", device, "mtu", mtu])
        site = Site(lab, lab.config(gateway='ue_to_ue = "route"'))
        site.ready()
        site.session(UE, teid=UP, downlink=DOWN, qfi=9)
        site.session("10.45.0.4", teid=0x1004, downlink=0x2004, qfi=10, rqi=True)
        site.session(UE_4G, teid=UP_4G, downlink=DOWN_4G)
        for source, source_teid, far, far_teid, octet in (
            (UE, UP, "10.45.0.4", 0x2004, 0x40 | 10),
            (UE, UP, UE_4G, DOWN_4G, None),
            (UE_4G, UP_4G, UE, DOWN, 9),
        ):
            for size in (28, 84, 1476, 1477):
                packet = gtpu.ipv4(source, far, size=size, flags="DF")
                # The longest way that a packet takes, but what it may be is bounded by the MTU.
                container = ul(9, units=7, first=0x18) if size < 1000 else ul(9)
                frame = up(site, container, packet, teid=source_teid)
                if source == UE_4G:
                    frame = site.t_pdu(source_teid, packet)
                site.enb.all()
                site.uplink(frame)
                site.downlink()
                wanted = (
                    gtpu.t_pdu(far_teid, packet) if octet is None else dl(far_teid, octet, packet)
                )
                got = [f[42:] for f in site.enb.seen if is_gtpu(f, far_teid)]
                site.enb.seen.clear()
                assert got == ([] if octet is not None and size == 1477 else [wanted]), (far, size)
        site.alive()


@pytest.mark.parametrize("how", (signal.SIGTERM, signal.SIGKILL))
def test_a_restart_changes_nothing(restarted: Site, how: signal.Signals) -> None:
    """Where the switch owns the tunnels: its flows read back are those that are wanted."""
    site, name = restarted, f"ue-{UE}"
    members = "qfi", "rqi", "qfi_required", "qfi_check"
    before, flows = site.lab.http("GET", f"/v1/sessions/{name}").json(), installed(site)
    frames = [up(site, ul(10, units=units), INNER, flags=E | S) for units in (1, 3, 8)]
    site.lab.stop_controller(how)
    log = Log(site.lab)
    assert passed(site, *frames, up(site, ul(9), INNER)) == [INNER] * 3
    site.lab.start_controller(switch_owns(site.lab))
    after = site.lab.http("GET", f"/v1/sessions/{name}").json()
    assert [after[member] for member in members] == [10, True, False, True]
    assert [before[member] for member in members] == [10, True, False, True]
    assert installed(site) == flows
    assert "flows_changed=0" in log.has("in_sync")[0]
    packet = gtpu.ipv4(PDN_IP, UE)
    assert sent(site, packet) == [dl(DOWN, 0x40 | 10, packet)]
    assert passed(site, *frames) == [INNER] * 3


def installed(site: Site) -> list[str]:
    return sorted(site.lab.ofctl("--no-stats", "dump-flows", BRIDGE).splitlines()[1:])
