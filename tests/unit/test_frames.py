"""Frames against scapy and tshark."""

import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, IPOption_NOP, UDPerror
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ofgtp.core.packets import frames
from tests.support import tshark

MAC_A, MAC_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
A, B, OURS = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.2"), IPv4Address("203.0.113.3")
DATA = Path(__file__).parent.parent / "data"

ports = st.integers(0, 0xFFFF)
hosts = st.ip_addresses(v=4).filter(
    lambda ip: not (ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.packed[0] == 0)
)
macs = st.binary(min_size=6, max_size=6).map(lambda b: bytes((b[0] & 0xFC | 2,)) + b[1:])


def slow_checksum(data: bytes) -> int:
    """RFC 1071 word by word."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.one_of(st.binary(max_size=200), st.integers(0, 40).map(lambda n: b"\xff" * n)))
def test_checksum(data: bytes) -> None:
    assert frames.checksum(data) == slow_checksum(data)


@given(
    macs.map(lambda mac: mac.hex(":")),
    macs.map(lambda mac: mac.hex(":")),
    hosts,
    hosts,
    ports,
    ports,
    st.binary(max_size=300),
    st.integers(0, 63),
    st.integers(1, 255),
    ports,
)
def test_udp_frame_against_scapy_and_back(
    src_mac: str,
    dst_mac: str,
    src: IPv4Address,
    dst: IPv4Address,
    sport: int,
    dport: int,
    payload: bytes,
    dscp: int,
    ttl: int,
    ident: int,
) -> None:
    frame = frames.udp_frame(
        src_mac, dst_mac, src, dst, sport, dport, payload, dscp=dscp, ttl=ttl, ident=ident
    )
    ip = IP(src=str(src), dst=str(dst), tos=dscp << 2, ttl=ttl, id=ident, flags="DF")
    packet = Ether(src=src_mac, dst=dst_mac) / ip / UDP(sport=sport, dport=dport) / Raw(payload)
    assert frame == bytes(packet)
    assert frames.parse_udp(frame + b"padding") == frames.UdpFrame(
        src_mac, dst_mac, src, dst, sport, dport, dscp, payload
    )


def test_a_checksum_that_comes_to_zero_is_sent_as_ones() -> None:
    for value in range(0x10000):
        frame = frames.udp_frame(MAC_A, MAC_B, A, B, 1, 2, value.to_bytes(2, "big"))
        assert frame[40:42] != b"\0\0"
        if frame[40:42] == b"\xff\xff":
            break
    else:
        pytest.fail("no payload made the checksum zero")


def test_tshark_finds_every_checksum_right() -> None:
    wire = [
        frames.udp_frame(MAC_A, MAC_B, A, B, 20000, 40000 + n, bytes(range(n)), ident=n)
        for n in range(64)
    ]
    for size in (1500, 9000):
        packet = bytes(IP(src=str(A), dst=str(B), flags="DF") / UDP() / Raw(bytes(size)))
        answer = frames.icmp_fragmentation_needed(OURS, 1464, packet[:60])
        assert answer is not None
        wire.append(frames.ip_frame(MAC_B, MAC_A, answer))
    assert tshark.complaints(wire) == []
    names = ("udp.checksum.status", "ip.checksum.status", "icmp.checksum.status", "icmp.mtu")
    seen = tshark.rows(wire, names)
    assert [row[:2] for row in seen[:64]] == [["1", "1"]] * 64
    assert [row[2:] for row in seen[64:]] == [["1", "1464"]] * 2


@pytest.mark.parametrize(
    ("field", "value"), [("dscp", 64), ("dscp", -1), ("ttl", 0), ("ttl", 256), ("ident", 65536)]
)
def test_fields_out_of_range(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=str(value)):
        frames.udp_frame(MAC_A, MAC_B, A, B, 1, 2, b"", **{field: value})


def test_ports_and_payloads_out_of_range() -> None:
    with pytest.raises(ValueError, match="a port"):
        frames.udp_frame(MAC_A, MAC_B, A, B, 1, 65536, b"")
    with pytest.raises(ValueError, match="payload"):
        frames.udp_frame(MAC_A, MAC_B, A, B, 1, 2, bytes(65508))


GOOD = Ether(src=MAC_A, dst=MAC_B) / IP(src=str(A), dst=str(B)) / UDP(sport=7, dport=8) / Raw(b"x")


def test_options_are_skipped_and_a_checksum_may_be_missing() -> None:
    packet = GOOD.copy()
    packet[IP].options = [IPOption_NOP()] * 4
    packet[UDP].chksum = 0
    assert frames.parse_udp(bytes(packet)).payload == b"x"


def test_the_udp_length_says_where_the_payload_ends() -> None:
    packet = GOOD.copy()
    packet[UDP].len = 9
    assert frames.parse_udp(bytes(packet / Raw(b"yz"))).payload == b"x"


@pytest.mark.parametrize(
    ("layer", "changes", "why"),
    [
        (Ether, {"type": 0x86DD}, "IPv6 packet"),
        (Ether, {"type": 0x88B5}, "Ethernet type"),
        (Ether, {"src": "01:00:5e:00:00:01"}, "unicast"),
        (Ether, {"src": "00:00:00:00:00:00"}, "unicast"),
        (IP, {"version": 6}, "IPv4 packet"),
        (IP, {"ihl": 4}, "IPv4 packet"),
        (IP, {"ihl": 15, "len": 40}, "IPv4 packet"),
        (IP, {"len": 100}, "IPv4 packet"),
        (IP, {"len": 19}, "IPv4 packet"),
        (IP, {"len": 24}, "UDP header"),
        (IP, {"chksum": 1}, "header checksum"),
        (IP, {"flags": "MF"}, "fragment"),
        (IP, {"frag": 2}, "fragment"),
        (IP, {"proto": 6}, "protocol 6"),
        (IP, {"src": "224.0.0.1"}, "no host"),
        (IP, {"src": "255.255.255.255"}, "no host"),
        (IP, {"src": "0.0.0.0"}, "no host"),
        (IP, {"src": "127.0.0.1"}, "no host"),
        (UDP, {"len": 7}, "UDP length"),
        (UDP, {"len": 10}, "UDP length"),
    ],
)
def test_frames_that_are_refused(layer: type, changes: dict[str, object], why: str) -> None:
    packet = GOOD.copy()
    for name, value in changes.items():
        setattr(packet[layer], name, value)
    with pytest.raises(frames.FrameError, match=why):
        frames.parse_udp(bytes(packet))


def test_every_beginning_of_a_frame_is_refused() -> None:
    whole = bytes(GOOD)
    for size in range(len(whole)):
        with pytest.raises(frames.FrameError):
            frames.parse_udp(whole[:size])


@pytest.mark.parametrize("capture", sorted(DATA.glob("*.pcap")), ids=lambda path: path.stem)
def test_captured_frames_read_as_tshark_reads_them(capture: Path) -> None:
    names = ("frame.number", "eth.src", "ip.src", "ip.dst", "udp.srcport", "udp.dstport")
    names = (*names, "udp.payload")
    expected = {row[0]: row[1:] for row in tshark.rows(capture, names, "udp && !icmp && !gtp")}
    outer = tshark.rows(capture, (*names[:-1], "udp.length"), "gtp")
    for number, frame in enumerate(tshark.read_pcap(capture), start=1):
        try:
            udp = frames.parse_udp(frame)
        except frames.FrameError:
            assert str(number) not in expected
            assert str(number) not in {row[0] for row in outer}
            continue
        read = [udp.src_mac, str(udp.src_ip), str(udp.dst_ip), str(udp.src_port), str(udp.dst_port)]
        if str(number) in expected:
            assert [*read, udp.payload.hex()] == expected[str(number)]
        else:
            (row,) = (row for row in outer if row[0] == str(number))
            assert [*read, str(len(udp.payload) + 8)] == row[1:]


# --- ICMP Fragmentation Needed


def too_big(**changes: object) -> IP:
    ip = IP(src=str(A), dst=str(B), flags="DF", id=77, tos=0x28)
    for name, value in changes.items():
        setattr(ip, name, value)
    return ip


@pytest.mark.parametrize("options", [[], [IPOption_NOP()] * 8])
def test_fragmentation_needed_quotes_what_its_receiver_needs(options: list[object]) -> None:
    packet = bytes(too_big(options=options) / UDP(sport=11, dport=12) / Raw(bytes(1480)))
    answer = frames.icmp_fragmentation_needed(OURS, 1464, packet)
    assert answer is not None
    read = IP(answer)
    assert (read.src, read.dst, read.proto, read.tos) == (str(OURS), str(A), 1, 0xC0)
    assert read.len == len(answer) == 28 + 4 * read[IPerror].ihl + 8
    assert (read[ICMP].type, read[ICMP].code, read[ICMP].nexthopmtu) == (3, 4, 1464)
    assert (read[IPerror].src, read[IPerror].dst, read[IPerror].id) == (str(A), str(B), 77)
    assert (read[UDPerror].sport, read[UDPerror].dport) == (11, 12)
    assert answer[28:] == packet[: len(answer) - 28]
    assert frames.checksum(answer[:20]) == 0 == frames.checksum(answer[20:])


def test_fragmentation_needed_takes_the_beginning_of_a_packet() -> None:
    packet = bytes(too_big() / TCP() / Raw(bytes(1480)))
    whole = frames.icmp_fragmentation_needed(OURS, 1464, packet)
    assert whole is not None
    assert frames.icmp_fragmentation_needed(OURS, 1464, packet[:28]) == whole
    assert frames.icmp_fragmentation_needed(OURS, 1464, packet[:27]) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": ""},
        {"frag": 1},
        {"src": "224.0.0.1"},
        {"src": "255.255.255.255"},
        {"src": "0.0.0.0"},
        {"src": "127.0.0.1"},
        {"src": "240.0.0.1"},
        {"dst": "239.1.2.3"},
        {"dst": "255.255.255.255"},
        {"version": 6},
        {"len": 1464},
    ],
    ids=str,
)
def test_nothing_is_sent_where_it_may_not_be(changes: dict[str, object]) -> None:
    packet = bytes(too_big(**changes) / UDP() / Raw(bytes(1480)))
    assert frames.icmp_fragmentation_needed(OURS, 1464, packet) is None


def test_a_first_fragment_is_answered() -> None:
    packet = bytes(too_big(flags="DF+MF") / UDP() / Raw(bytes(1480)))
    assert frames.icmp_fragmentation_needed(OURS, 1464, packet) is not None


@pytest.mark.parametrize(
    ("kind", "answered"),
    [(0, True), (8, True), (13, True), (17, True)]
    + [(kind, False) for kind in (3, 4, 5, 11, 12, 6, 42, 200)],
)
def test_icmp_errors_are_not_answered(kind: int, answered: bool) -> None:
    packet = bytes(too_big() / ICMP(type=kind) / Raw(bytes(1480)))
    assert (frames.icmp_fragmentation_needed(OURS, 1464, packet) is not None) is answered


def test_exactly_the_mtu_fits() -> None:
    packet = bytes(too_big() / UDP() / Raw(bytes(1436)))
    assert len(packet) == 1464
    assert frames.icmp_fragmentation_needed(OURS, 1464, packet) is None
    assert frames.icmp_fragmentation_needed(OURS, 1463, packet) is not None


@pytest.mark.parametrize("mtu", [67, 65536])
def test_mtus_that_cannot_be(mtu: int) -> None:
    with pytest.raises(ValueError, match="MTU"):
        frames.icmp_fragmentation_needed(OURS, mtu, b"")


# --- ICMP errors that come in


def icmp_error(kind: int, code: int, about: bytes, **outer: object) -> bytes:
    said = IP(src=str(B), dst=str(OURS), **outer) / ICMP(type=kind, code=code) / Raw(about)
    return bytes(Ether(src=MAC_B, dst=MAC_A) / said)


ABOUT = bytes(IP(src=str(OURS), dst=str(A)) / UDP(sport=5, dport=2152) / Raw(bytes(range(40))))


@pytest.mark.parametrize("options", [0, 4], ids=["plain", "with options"])
@pytest.mark.parametrize("quoted", [28, 36, 68])
def test_an_icmp_error_is_read(quoted: int, options: int) -> None:
    """However much of the datagram it quotes, from the UDP header on."""
    more = {"options": [IPOption_NOP()] * options} if options else {}
    frame = icmp_error(3, 13, ABOUT[:quoted], **more)
    told = frames.parse_icmp_error(frame)
    assert (told.source, told.kind, told.code) == (B, 3, 13)
    assert (told.dst_ip, told.dst_port) == (A, 2152)
    assert told.payload == bytes(range(quoted - 28))
    cut = frames.parse_icmp_error(frame[: len(frame) - quoted + 28])
    assert (cut.dst_ip, cut.payload) == (A, b""), "the switch shows no more than its beginning"


@pytest.mark.parametrize(
    "about",
    [
        *(b"", ABOUT[:19], ABOUT[:27], bytes(60), b"\x44" + ABOUT[1:]),
        bytes(IP(src=str(OURS), dst=str(A)) / TCP(dport=2152)),
        bytes(IP(src=str(OURS), dst=str(A), frag=7) / UDP(dport=2152)),
    ],
)
def test_an_icmp_error_about_something_else(about: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.parse_icmp_error(icmp_error(3, 3, about))


@given(st.binary(max_size=200), st.integers(0, 120))
def test_whatever_passes_for_an_icmp_error(noise: bytes, place: int) -> None:
    frame = bytearray(icmp_error(3, 3, ABOUT))
    frame[place : place + len(noise)] = noise
    for damaged in (noise, bytes(frame), bytes(frame[:place])):
        try:
            frames.parse_icmp_error(damaged)
        except frames.FrameError:
            continue
