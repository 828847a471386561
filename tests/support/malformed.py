"""Damaged GTP-U, in the same order for the same seed: for switches that must survive it."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from scapy.utils import RawPcapReader

CAPTURES = sorted((Path(__file__).parents[1] / "data").glob("*.pcap"))

KINDS = (0, 1, 2, 3, 26, 31, 32, 253, 254, 255)
ETHERNET_TYPES = (
    *(0x0000, 0x0001, 0x0500, 0x0600, 0x0800, 0x0806, 0x6558, 0x8035, 0x8100, 0x86DD),
    *(0x8847, 0x8848, 0x8809, 0x8864, 0x88A8, 0x88CC, 0x8902, 0x894F, 0x9100, 0xFFFF),
)
"""What bytes 12 and 13 of an inner packet may say where a switch takes it for an Ethernet frame."""

LINK_TYPES = (0x8100, 0x88A8, 0x8847, 0x8848, 0x894F, 0x0806, 0x0800, 0x86DD)
"""Those behind which a switch reads on."""


INNER_PORTS = (61521, 61523)
"""UDP ports that the switch unwraps GTP-U by, and to which nobody may send it."""


@dataclass(frozen=True)
class Target:
    """Addresses and TEIDs that a packet needs to get far before something is wrong with it."""

    eth_src: bytes
    eth_dst: bytes
    peer: str
    gateway: str
    ue: str
    teid: int
    destination: str


def gtpu_frames(seed: int, count: int, target: Target) -> Iterator[bytes]:
    """Frames for the access side, most of them with GTP-U to the gateway."""
    rng = random.Random(seed)
    made = _Damaged(rng, target)
    for _ in range(count):
        yield rng.choices(made.makers, made.weights)[0]()


def core_frames(seed: int, count: int, target: Target) -> Iterator[bytes]:
    """Frames for the core side, most of them for the UE's address."""
    rng = random.Random(seed)
    made = _Damaged(rng, target)
    for _ in range(count):
        kind = rng.choice(ETHERNET_TYPES) if rng.random() < 0.3 else 0x0800
        packet = rng.choice((made.ip_to_ue, made.inner, made.noise))()
        head = target.eth_dst + target.eth_src + struct.pack("!H", kind)
        yield made.cut(head + packet) if rng.random() < 0.2 else head + packet


class _Damaged:
    def __init__(self, rng: random.Random, target: Target) -> None:
        self.rng, self.target = rng, target
        self.captured = [frame for path in CAPTURES for frame in _frames(path) if len(frame) > 42]
        table: dict[Callable[[], bytes], int] = {
            self.any_flags: 30,
            self.odd_inner: 30,
            self.behind_flags: 40,
            self.containers: 40,
            self.unextended: 20,
            self.nearly_right: 15,
            self.extensions: 10,
            self.lying_lengths: 10,
            self.truncated: 8,
            self.captured_payload: 8,
            self.captured_frame: 3,
            self.outer_damage: 6,
            self.garbage: 5,
        }
        self.makers, self.weights = list(table), list(table.values())

    # parts

    def noise(self, most: int = 120) -> bytes:
        return self.rng.randbytes(self.rng.randrange(most))

    def cut(self, data: bytes) -> bytes:
        return data[: self.rng.randrange(15, max(16, len(data)))]

    def teid(self) -> int:
        return self.target.teid if self.rng.random() < 0.8 else self.rng.getrandbits(32)

    def tos(self) -> int:
        """With all four values of ECN, often."""
        return self.rng.choice((0, 0, 0, 1, 2, 3, 3, self.rng.randrange(256)))

    def ip_header(self, source: int, destination: int, size: int) -> bytearray:
        header = bytearray(20)
        ttl = self.rng.randrange(256)
        proto = self.rng.choice((1, 6, 17, 47, 4, 41, self.rng.randrange(256)))
        fragment = self.rng.choice((0, 0, 0, 0x2000, 0x4000, self.rng.getrandbits(16)))
        ident = self.rng.getrandbits(16)
        first = struct.pack("!BBHHHBBH", 0x45, self.tos(), size, ident, fragment, ttl, proto, 0)
        header[:] = first + struct.pack("!II", source, destination)
        return header

    def inner(self) -> bytes:
        """An inner packet, right, nearly right or not at all."""
        rng = self.rng
        ue = int(IPv4Address(self.target.ue))
        source = ue if rng.random() < 0.7 else rng.getrandbits(32)
        to = int(IPv4Address(self.target.destination))
        destination = to if rng.random() < 0.7 else rng.getrandbits(32)
        body = rng.randbytes(rng.randrange(80))
        packet = self.ip_header(source, destination, 20 + len(body)) + body
        for _ in range(rng.choice((0, 0, 0, 1, 2, 8))):
            packet[rng.randrange(len(packet))] = rng.randrange(256)
        if rng.random() < 0.15:
            packet[0] = rng.choice((0x60, 0x6F, 0x40, 0x4F, 0x00, 0x02, 0x50, 0xF5))
        if rng.random() < 0.1:
            struct.pack_into("!H", packet, 2, rng.getrandbits(16))
        return bytes(packet)

    def ip_to_ue(self) -> bytes:
        """A packet for the UE, with a fault or without."""
        rng = self.rng
        body = rng.randbytes(rng.randrange(1400))
        ue = int(IPv4Address(self.target.ue))
        packet = self.ip_header(rng.getrandbits(32), ue, 20 + len(body)) + body
        if rng.random() < 0.5:
            packet[rng.randrange(16)] = rng.randrange(256)
        return bytes(packet)

    def message(self, flags: int, kind: int, body: bytes, optional: bytes = b"") -> bytes:
        size = len(optional) + len(body)
        return struct.pack("!BBHI", flags, kind, size & 0xFFFF, self.teid()) + optional + body

    def datagram(self, payload: bytes) -> bytes:
        """The payload in a right UDP datagram to the gateway's GTP-U port."""
        target = self.target
        port = self.rng.choice((2152, self.rng.randrange(1, 65536)))
        to = 2152 if self.rng.random() < 0.99 else self.rng.choice(INNER_PORTS)
        udp = struct.pack("!HHHH", port, to, 8 + len(payload), 0) + payload
        source, destination = int(IPv4Address(target.peer)), int(IPv4Address(target.gateway))
        first = struct.pack("!BBH", 0x45, self.tos(), 20 + len(udp))
        header = first + struct.pack("!HHBBHII", 0, 0x4000, 64, 17, 0, source, destination)
        total = sum(struct.unpack("!10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        header = header[:10] + struct.pack("!H", check) + header[12:]
        return target.eth_dst + target.eth_src + b"\x08\x00" + header + udp

    # whole frames

    def any_flags(self) -> bytes:
        """Every value of the first byte, with and without the optional bytes it asks for."""
        rng = self.rng
        flags = rng.choice((0x30 | rng.randrange(8), rng.randrange(256)))
        optional = rng.choice((b"", rng.randbytes(4), rng.randbytes(3) + b"\x85\x01\x10\x09\x00"))
        kind = 255 if rng.random() < 0.8 else rng.choice((*KINDS, rng.randrange(256)))
        return self.datagram(self.message(flags, kind, self.inner(), optional))

    def nearly_right(self) -> bytes:
        """A T-PDU in which at most the inner packet has a fault."""
        flags = self.rng.choice((0x30, 0x32, 0x33))
        optional = self.rng.randbytes(3) + b"\0" if flags & 7 else b""
        return self.datagram(self.message(flags, 255, self.inner(), optional))

    def odd_inner(self) -> bytes:
        """A T-PDU whose inner bytes read as some other kind of frame, nested or not."""
        rng = self.rng
        body = bytearray(self.inner().ljust(20, b"\0") + rng.randbytes(60))
        body[0] = rng.choice((0x45, 0x46, 0x4F, 0x60, 0x65, 0x6F, self.target.eth_dst[0]))
        if body[0] == self.target.eth_dst[0] and rng.random() < 0.5:
            body[:6] = self.target.eth_dst
        place = 12
        for _ in range(rng.choice((1, 1, 2, 3, 4))):
            struct.pack_into("!H", body, place, rng.choice(ETHERNET_TYPES))
            place += rng.choice((2, 4, 4, 8))
        flags = 0x30 | rng.choice((0, 0, 2, 3, 1, 4, 5, 6, 7))
        return self.datagram(self.message(flags, 255, bytes(body), bytes(4) if flags & 7 else b""))

    def extensions(self) -> bytes:
        """Chains of extension headers, of right, zero and endless lengths."""
        rng = self.rng
        chain = b""
        for _ in range(rng.randrange(6)):
            size = rng.choice((0, 1, 1, 2, 255, rng.randrange(256)))
            content = rng.randbytes(min(4 * size, 1020) - 2 if size else rng.randrange(3))
            chain += bytes([size]) + content + bytes([rng.choice((0, 0x85, 0x40, 0xC0, 0xFF))])
        optional = rng.randbytes(2) + bytes([0, rng.choice((0, 0x85, 0x40, 0xC0))])
        flags = 0x30 | rng.choice((4, 5, 6, 7))
        body = (chain + self.inner())[:1300]
        return self.datagram(self.message(flags, 255, body, optional))

    def containers(self) -> bytes:
        """PDU Session Containers, right ones and others, and an inner packet of any kind behind."""
        rng = self.rng
        flags = 0x30 | rng.choice((4, 4, 4, 6, 6, 5, 7, rng.randrange(8)))
        units = rng.choice((1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 7, 8, 0, 17, 255, rng.randrange(256)))
        first = rng.choice((0x10, 0x10, 0x10, 0x14, 0x11, 0x1F, 0x00, rng.randrange(256)))
        following = rng.choice((0, 0, 0, 0, 0x85, 0x40, rng.randrange(256)))
        size = units if rng.random() < 0.9 else rng.choice((0, 1, 2, 3, 4, 8))
        content = bytes([first, rng.randrange(256)])
        if rng.random() < 0.5:
            content = bytes([first, rng.randrange(64)])
        if rng.random() < 0.3:
            content += self.link_headers()
        room = max(4 * min(size, 40) - 2, 0)
        container = bytes([units]) + (content + rng.randbytes(room))[:room] + bytes([following])
        packet = rng.choice((self.inner, self.inner, self.inner, self.link_headers, self.noise))()
        kind = rng.choice((0x85, 0x85, 0x85, 0x85, 0x40, 0xC0, 0x00, rng.randrange(256)))
        number = rng.choice((bytes(2), rng.randbytes(2), b"\x45\0", b"\x60\0", b"\x0f\xc6"))
        optional = number + bytes([rng.choice((0, 0, rng.randrange(256)))]) + bytes([kind])
        body = container + packet
        if rng.random() < 0.15:
            body = body[: rng.randrange(len(body) + 1)]
        payload = bytearray(self.message(flags, 255, body, optional if flags & 7 else b""))
        if rng.random() < 0.1:
            struct.pack_into("!H", payload, 2, rng.choice((0, 1, 4, 0xFFFF, rng.getrandbits(16))))
        return self.datagram(bytes(payload[:1450]))

    def unextended(self) -> bytes:
        """Room for an extension header's type, of which none or some other one follows."""
        rng = self.rng
        flags = 0x30 | rng.choice((4, 5, 6, 7, 1))
        kind = rng.choice((0, 0, 0, rng.randrange(256)))
        number = rng.choice((rng.randbytes(2), b"\x45\0", b"\x60\0", b"\0\0"))
        packet = rng.choice((self.inner, self.inner, self.inner, self.link_headers, self.noise))()
        optional = number + bytes([rng.randrange(256), kind])
        return self.datagram(self.message(flags, 255, packet, optional))

    def behind_flags(self) -> bytes:
        """A chain of link layer headers where the switch looks for one behind E, S and PN.

        It takes 8 bytes off, and 12 if S is set, so what it reads as an Ethernet frame or an IP
        packet may begin in the optional part. Its lengths may lie, and its version may be any.
        """
        rng = self.rng
        flags = rng.choice((0x34, 0x34, 0x36, 0x35, 0x37, 0x30 | rng.randrange(8)))
        if rng.random() < 0.2:
            flags = rng.randrange(256)
        kind = 255 if rng.random() < 0.9 else rng.choice(KINDS)
        head = self.target.eth_dst if rng.random() < 0.2 else rng.randbytes(6)
        if rng.random() < 0.5:
            head = bytes([rng.choice((0x40, 0x45, 0x60, 0x6F, 0x01, 0x00))]) + head[1:]
        frame = bytearray(head + rng.randbytes(6) + self.link_headers() + self.noise(60))
        if rng.random() < 0.5:
            # what passes for the version of the inner IP packet, with and without S
            for place in (8, 12):
                if place < len(frame) and rng.random() < 0.5:
                    frame[place] = rng.choice((0x45, 0x4F, 0x60, 0x6F))
        skipped = rng.randbytes(4) if flags & 2 else b""
        payload = bytearray(struct.pack("!BBHI", flags, kind, 0, self.teid()) + skipped + frame)
        struct.pack_into("!H", payload, 2, (len(payload) - 8) & 0xFFFF)
        if rng.random() < 0.2:
            struct.pack_into("!H", payload, 2, rng.choice((0, 1, 4, 0xFFFF, rng.getrandbits(16))))
        if rng.random() < 0.1:
            del payload[rng.randrange(8, len(payload)) :]
        return self.datagram(bytes(payload))

    def link_headers(self) -> bytes:
        """Ethernet type and what follows it: tags, labels, NSH, ARP, IP, in any order and depth."""
        rng, made = self.rng, b""
        for _ in range(rng.choice((1, 1, 2, 2, 3, 5, 8))):
            kind = rng.choice((*LINK_TYPES, rng.choice(ETHERNET_TYPES)))
            made += struct.pack("!H", kind)
            if kind in (0x8100, 0x88A8, 0x9100):
                made += rng.randbytes(2)
            elif kind in (0x8847, 0x8848):
                for _ in range(rng.choice((1, 1, 2, 4))):
                    made += rng.randbytes(2) + bytes([rng.choice((0, 1, 0xF0, 0xF1)), 64])
            elif kind == 0x894F:
                words = rng.choice((2, 6, rng.randrange(64)))
                md_type, following = rng.choice((1, 2, 0, 15)), rng.choice((1, 2, 3, 4, 5, 255))
                flags = rng.choice((0, 0, 0x20, 0xC0))
                made += bytes([flags | words >> 2, (words & 3) << 6, md_type, following])
                made += rng.randbytes(4 * min(max(words - 1, 0), rng.choice((1, 5, 63))))
            elif kind == 0x0806:
                made += bytes.fromhex("0001080006040001") + rng.randbytes(20)
            elif kind == 0x0800:
                made += self.inner()[: rng.choice((8, 20, 100))]
            elif kind == 0x86DD:
                following = rng.choice((0, 6, 17, 43, 44, 58, 60, 135, 255))
                made += b"\x60\0\0\0\0\x10" + bytes([following, 64]) + rng.randbytes(48)
        return made

    def lying_lengths(self) -> bytes:
        frame = bytearray(self.any_flags())
        places = {16: "outer IP", 38: "UDP", 44: "GTP"}
        for place in self.rng.sample(list(places), self.rng.randrange(1, 3)):
            value = self.rng.choice((0, 1, 7, 8, 0xFFFF, self.rng.getrandbits(16)))
            struct.pack_into("!H", frame, place, value)
        return bytes(frame)

    def truncated(self) -> bytes:
        """Cut anywhere, the lengths of IP and UDP put right or left as they were."""
        frame = self.rng.choice((self.any_flags, self.odd_inner, self.extensions))()
        if self.rng.random() < 0.5:
            return self.cut(frame)
        return self.datagram(frame[42 : 42 + self.rng.randrange(30)])

    def captured_payload(self) -> bytes:
        """What a real peer sent, as if sent to the gateway, with a few bytes changed."""
        return self.datagram(self.mutated(self.rng.choice(self.captured)[42:]))

    def captured_frame(self) -> bytes:
        frame = bytearray(self.mutated(self.rng.choice(self.captured)))
        frame[:12] = self.target.eth_dst + self.target.eth_src
        return bytes(frame)

    def mutated(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.rng.choice((0, 1, 1, 2, 4, 16))):
            changed[self.rng.randrange(len(changed))] = self.rng.randrange(256)
        return bytes(changed)

    def outer_damage(self) -> bytes:
        """Damage in the outer Ethernet, IP and UDP headers, tags and fragments among it."""
        frame = bytearray(self.any_flags())
        match self.rng.randrange(4):
            case 0:
                tag = struct.pack(
                    "!HH", self.rng.choice((0x8100, 0x88A8)), self.rng.getrandbits(16)
                )
                return bytes(frame[:12] + tag * self.rng.randrange(1, 4) + frame[12:])
            case 1:
                struct.pack_into("!H", frame, 20, self.rng.getrandbits(16))
            case 2:
                struct.pack_into("!H", frame, 12, self.rng.choice(ETHERNET_TYPES))
            case _:
                for _ in range(self.rng.randrange(1, 4)):
                    frame[self.rng.randrange(6, 42)] = self.rng.randrange(256)
        return bytes(frame)

    def garbage(self) -> bytes:
        if self.rng.random() < 0.5:
            return self.datagram(self.noise(400))
        return self.target.eth_dst + self.target.eth_src + self.noise().ljust(4, b"\0")


def _frames(path: Path) -> list[bytes]:
    with RawPcapReader(str(path)) as reader:
        return [frame for frame, _ in reader]
