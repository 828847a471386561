"""Damaged IPv6 packets of UEs and for them, in the same order for the same seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

EXTENSIONS = (0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254)
"""Extension headers, by the type in the header before (IANA), and two that are for experiments."""
NONE, TCP, UDP, ICMPV6 = 59, 6, 17, 58
SOLICITATION, NEIGHBOUR_TYPES = 133, range(133, 138)
LINK_TYPES = (0x8100, 0x88A8, 0x8847, 0x8848, 0x894F, 0x0800, 0x0806, 0x86DD, 0x6558, 0x9100)
"""What octets 12 and 13 may say where a switch takes the packet for an Ethernet frame."""
STRANGERS = (
    *("::", "::1", "fe80::1", "fe80::7", "ff02::1", "ff02::2", "ff02::1:ff00:1", "ff0e::1"),
    *("::ffff:10.45.0.2", "::10.45.0.2", "64:ff9b::a2d:2", "2002:a2d:2::1", "ffff::", "100::"),
    *("2001:db8:c::1", "2001:db8:c::2", "2001:db8:ffff::1", "2001:db8:a::", "2001:db8:b::1"),
)
LONGEST = 1300
"""Of a packet, in octets."""


@dataclass(frozen=True)
class Maker:
    """Makes packets, right, nearly right or not at all, from one prefix to some address or back."""

    rng: random.Random
    prefixes: Sequence[IPv6Network]
    """The sessions'."""
    server: IPv6Address

    def uplink(self, prefix: IPv6Network) -> bytes:
        """A packet as a UE of this prefix may send it."""
        rng = self.rng
        source = self.of(prefix) if rng.random() < 0.75 else self.stranger()
        target = self.server.packed if rng.random() < 0.7 else self.stranger()
        return self.packet(source, target)

    def downlink(self, prefix: IPv6Network) -> bytes:
        """A packet for a UE of this prefix, or for none."""
        rng = self.rng
        source = self.server.packed if rng.random() < 0.6 else self.stranger()
        target = self.of(prefix) if rng.random() < 0.75 else self.stranger()
        return self.packet(source, target)

    def of(self, prefix: IPv6Network) -> bytes:
        """An address of a prefix; also the first, the last, and those that read as other types."""
        rng = self.rng
        host = rng.choice((b"\0" * 8, b"\xff" * 8, rng.randbytes(8), rng.randbytes(8)))
        if rng.random() < 0.1:
            host = struct.pack("!H", rng.choice(LINK_TYPES)) + host[2:]
        return prefix.network_address.packed[:8] + host

    def stranger(self) -> bytes:
        """An address that is not the session's, but may be another's."""
        rng = self.rng
        match rng.randrange(4):
            case 0:
                return self.of(rng.choice(self.prefixes))
            case 1:
                return rng.randbytes(16)
            case _:
                return IPv6Address(rng.choice(STRANGERS)).packed

    def packet(self, source: bytes, target: bytes) -> bytes:
        rng = self.rng
        table: dict[Callable[[], tuple[int, bytes]], int] = {
            self.chain: 30,
            self.fragment: 20,
            self.transport: 15,
            self.icmpv6: 15,
            self.discovery: 10,
            self.any_type: 10,
            self.endless: 3,
        }
        following, body = rng.choices(list(table), list(table.values()))[0]()
        hops = rng.choice((64, 64, 255, 1, 0, rng.randrange(256)))
        return self.damaged(self.header(source, target, following, body, hops))

    def header(self, source: bytes, target: bytes, following: int, body: bytes, hops: int) -> bytes:
        rng = self.rng
        first = 6 << 28 | (rng.choice((0, 0, rng.getrandbits(28))) & ~(3 << 20))  # without ECN
        body = body[: LONGEST - 40]
        head = struct.pack("!IHBB", first, len(body), following, hops)
        return head + source + target + body

    def damaged(self, packet: bytes) -> bytes:
        """The packet with a length that lies, cut, with octets behind, or with other octets."""
        rng = self.rng
        match rng.randrange(12):
            case 0 | 1:  # the payload length says less, more, or nothing
                size = len(packet) - 40
                lies = (0, 1, size - 1, size + 1, size - 8, size + 8, 0xFFFF, rng.getrandbits(16))
                return packet[:4] + struct.pack("!H", max(rng.choice(lies), 0)) + packet[6:]
            case 2:
                return packet[: rng.randrange(len(packet) + 1)]
            case 3:
                return packet + rng.randbytes(rng.choice((1, 6, 40)))
            case 4:
                changed = bytearray(packet)
                for _ in range(rng.choice((1, 1, 2, 8))):
                    changed[rng.randrange(len(changed))] = rng.randrange(256)
                return bytes(changed)
            case 5:
                version = rng.choice((0, 2, 4, 5, 7, 15))
                return bytes([version << 4 | packet[0] & 0xF]) + packet[1:]
            case _:
                return packet

    # what follows the header: its type, and its octets

    def chain(self) -> tuple[int, bytes]:
        """Extension headers in any order and number, with lengths that are right or not."""
        rng = self.rng
        kinds = [rng.choice(EXTENSIONS) for _ in range(rng.choice((1, 1, 2, 3, 5, 9, 20)))]
        last, made = rng.choice((self.transport, self.icmpv6, self.any_type))()
        for kind in reversed(kinds):
            made = self.extension(kind, last) + made
            last = kind
        return last, made

    def extension(self, kind: int, following: int) -> bytes:
        rng = self.rng
        if kind == 44:
            offset = rng.choice((0, 0, 1, 0x1FFF, rng.getrandbits(13)))
            flags = rng.choice((0, 1, 6, 7))
            word = offset << 3 | flags
            return struct.pack("!BBHI", following, rng.choice((0, 0, 255)), word, 0x1234)
        units = rng.choice((0, 0, 0, 1, 2, 5))
        said = units if rng.random() < 0.8 else rng.choice((0, 1, 7, 31, 255))
        size = 8 * units + 8
        if kind == 51:  # counted in units of 4 octets, less 2 (RFC 4302, 2.2)
            said = said if said != units else 2 * units
        options = (
            bytes(size),
            b"\x01\x04" + bytes(size),
            b"\xc2\x04" + struct.pack("!I", rng.choice((0, 70_000, 1_000_000))) + bytes(size),
            b"\x05\x02\0\0" + bytes(size),
            b"\x01\xff" + bytes(size),
            rng.randbytes(size),
        )
        return bytes([following, said]) + rng.choice(options)[: size - 2]

    def fragment(self) -> tuple[int, bytes]:
        """First, later and last ones, tiny ones and such that end beyond 65,535."""
        rng = self.rng
        following, body = rng.choice((self.transport, self.icmpv6, self.chain))()
        offset = rng.choice((0, 0, 0, 1, 2, 6, 180, 0x1FFF, rng.getrandbits(13)))
        flags = rng.choice((0, 1, 1, 1, 2, 4, 7))
        body = body[: rng.choice((0, 1, 7, 8, 39, 1000, 1000))]
        head = struct.pack("!BBHI", following, 0, offset << 3 | flags, rng.getrandbits(4))
        return 44, head + body

    def transport(self) -> tuple[int, bytes]:
        """TCP and UDP, whole or not, with ports of ours and lengths that lie."""
        rng = self.rng
        ports = rng.choice((80, 2152, 8805, 61521, 61523, 0, 65535)), rng.getrandbits(16)
        body = rng.randbytes(rng.choice((0, 8, 100)))
        if rng.random() < 0.5:
            size = rng.choice((8 + len(body), 0, 7, 0xFFFF, rng.getrandbits(16)))
            made = struct.pack("!HHHH", *rng.sample(ports, 2), size, rng.getrandbits(16)) + body
            following = UDP
        else:
            offset = rng.choice((5, 5, 0, 4, 15)) << 12 | rng.getrandbits(9)
            words = *rng.sample(ports, 2), rng.getrandbits(32), rng.getrandbits(32), offset
            made = struct.pack("!HHIIHHHH", *words, 0xFFFF, rng.getrandbits(16), 0) + body
            following = TCP
        return following, made if rng.random() < 0.8 else made[: rng.randrange(len(made))]

    def icmpv6(self) -> tuple[int, bytes]:
        """Each type and code, errors with a packet in them among them."""
        rng = self.rng
        kind = rng.choice((1, 2, 3, 4, 128, 129, 130, 143, rng.randrange(256)))
        code = rng.choice((0, 0, rng.randrange(256)))
        body = rng.randbytes(4)
        if kind < 5:
            inside = self.header(
                self.server.packed, self.of(rng.choice(self.prefixes)), UDP, b"", 9
            )
            body += inside[: rng.choice((0, 8, 39, 40))] + rng.randbytes(rng.randrange(60))
        else:
            body += rng.randbytes(rng.randrange(60))
        made = struct.pack("!BBH", kind, code, rng.getrandbits(16)) + body
        return ICMPV6, made if rng.random() < 0.8 else made[: rng.randrange(len(made))]

    def discovery(self) -> tuple[int, bytes]:
        """Router and neighbour discovery, with options of no length, and of more than there is."""
        rng = self.rng
        kind = rng.choice((SOLICITATION, *NEIGHBOUR_TYPES))
        body = rng.randbytes(4) + self.stranger() * rng.choice((0, 1))
        for _ in range(rng.choice((0, 1, 2, 5))):
            units = rng.choice((0, 1, 1, 4, 255))
            body += bytes([rng.choice((1, 2, 3, 5, 25, rng.randrange(256))), units])
            body += rng.randbytes(min(max(8 * units - 2, 0), rng.choice((6, 30))))
        made = struct.pack("!BBH", kind, rng.choice((0, 0, 1)), rng.getrandbits(16)) + body
        return ICMPV6, made

    def any_type(self) -> tuple[int, bytes]:
        """Any protocol, those of IP in IP and none at all, with any octets."""
        rng = self.rng
        following = rng.choice((NONE, 4, 41, 47, 132, 255, rng.randrange(256)))
        return following, rng.randbytes(rng.choice((0, 1, 4, 40, 200)))

    def endless(self) -> tuple[int, bytes]:
        """As many of one extension header as there is room for."""
        kind = self.rng.choice((0, 43, 51, 60, 135))
        return kind, bytes([kind, 0, *bytes(6)]) * (LONGEST // 8)


def t_pdu(rng: random.Random, teid: int, inner: bytes, qfi: int | None) -> bytes:
    """The packet in its session's tunnel, rightly, in one of the forms that base stations send."""
    optional, flags = b"", 0x30
    if qfi is not None and rng.random() < 0.8:
        number = rng.choice((b"\0\0", b"\x45\0", b"\x60\0"))
        content = rng.choice((b"\x01\x10", b"\x02\x12"))
        container = content + bytes([qfi]) + (bytes(5) if content[0] == 2 else b"\0")
        optional, flags = number + b"\0\x85" + container, 0x34 | rng.choice((0, 0, 2))
    elif rng.random() < 0.5:
        optional, flags = rng.randbytes(3) + b"\0", 0x30 | rng.choice((1, 2, 3))
    size = len(optional) + len(inner)
    return struct.pack("!BBHI", flags, 255, size, teid) + optional + inner
