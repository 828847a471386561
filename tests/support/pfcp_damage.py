"""PFCP messages, damaged."""

from __future__ import annotations

import random

from ofgtp.core.pfcp.wire.tables import CODECS, TABLES
from tests.support.pfcp import Ies, tlv, tree, vectors

MESSAGES = [each.data for each in vectors()]
REFUSED = [ie for table in TABLES.values() for ie in table.refused]
TYPES = [*CODECS, *REFUSED, *REFUSED, 0, 299, 0x8001, 0xFFFF]


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A few changes anywhere, mostly with lengths put right afterwards; or only noise."""
    if rng.random() < 0.01:
        return rng.randbytes(rng.randrange(60))
    if rng.random() < 0.5:
        at = 16 if data[0] & 1 else 8
        data = data[:at] + rebuilt(rng, tree(data[at:]), 0.06)
    else:
        data = scratched(rng, data)
    if rng.random() < 0.9 and len(data) >= 4:
        data = data[:2] + (len(data) - 4).to_bytes(2, "big") + data[4:]
    return data


def rebuilt(rng: random.Random, ies: Ies, often: float) -> bytes:
    """IEs changed, left out, doubled, emptied, in disorder; their lengths are right."""
    parts = []
    for ie, content in ies:
        inner = rebuilt(rng, content, often) if isinstance(content, list) else content
        if rng.random() < often:
            match rng.randrange(8):
                case 0:
                    continue
                case 1:
                    inner = b""
                case 2:
                    inner = inner[: rng.randrange(len(inner) + 1)]
                case 3:
                    inner += rng.randbytes(rng.randrange(1, 9))
                case 4:
                    ie = rng.choice(TYPES)
                case 5:
                    parts.append(tlv(rng.choice(TYPES), rng.randbytes(rng.randrange(20))))
                case 6:
                    parts.append(tlv(ie, inner))
                case 7:
                    inner = scratched(rng, inner)
        parts.append(tlv(ie, inner))
    if rng.random() < often:
        rng.shuffle(parts)
    return b"".join(parts)


def scratched(rng: random.Random, data: bytes) -> bytes:
    """Octets changed, cut out and put in, without regard to what they mean."""
    octets = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(octets)) if octets else 0
        match rng.randrange(8):
            case 0 | 1:
                octets[at : at + 1] = bytes((rng.randrange(256),))
            case 2:
                octets[at : at + 1] = bytes((1 << rng.randrange(8),))
            case 3:
                octets[at : at + 2] = rng.choice(TYPES).to_bytes(2, "big")
            case 4:
                del octets[at : at + rng.choice((1, 2, 4, 8, 40))]
            case 5:
                octets[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))
            case 6:
                other = rng.choice(MESSAGES)
                cut = rng.randrange(len(other))
                octets[at:at] = other[cut : cut + rng.randrange(60)]
            case 7:
                octets[at : at + 4] = bytes(4)
    return bytes(octets)
