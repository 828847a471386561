"""What the codecs of information elements are made of: numbers, flags, enumerations, text."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple, TypeVar

from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.errors import Refusal

E = TypeVar("E", bound=IntEnum)
F = TypeVar("F", bound=IntFlag)

from_bytes = int.from_bytes


class Codec(NamedTuple):
    """How a value is read and written."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


def at_least(value: bytes, size: int) -> None:
    """Refuse fewer octets than `size`."""
    if len(value) < size:
        raise Refusal(Cause.INVALID_LENGTH, f"its length is {len(value)}, less than {size}")


def wrong(reason: str) -> Refusal:
    """The refusal of a value that the standard does not have."""
    return Refusal(Cause.MANDATORY_IE_INCORRECT, reason)


def unsigned(size: int, *, fixed: bool = False) -> Codec:
    """A number; a `fixed` one may have no octets behind it (8.1.1)."""

    def decode(value: bytes) -> int:
        if len(value) != size:
            at_least(value, size)
            if fixed:
                raise Refusal(Cause.INVALID_LENGTH, f"its length is {len(value)}, not {size}")
            value = value[:size]
        return from_bytes(value, "big")

    return Codec(decode, lambda number: number.to_bytes(size, "big"))


def low_bits(bits: int) -> Codec:
    """A number in the lowest bits of one octet; the others are spare."""
    mask = (1 << bits) - 1
    return Codec(lambda value: value[0] & mask, lambda number: bytes((number & mask,)))


def enumerated(kind: type[E], mask: int = 0xFF, allowed: frozenset[E] | None = None) -> Codec:
    """One of so many numbers, in the bits of one octet that `mask` has."""
    members = {member.value: member for member in allowed or kind}

    def decode(value: bytes) -> E:
        member = members.get(value[0] & mask)
        if member is None:
            known = ", ".join(str(number) for number in members)
            raise wrong(f"the value {value[0] & mask} is none of {known}")
        return member

    return Codec(decode, lambda member: bytes((member,)))


def flag_bits(kind: type[F]) -> Codec:
    """Bits of one octet; spare ones are not kept."""
    known, seen = sum(kind), dict[int, F]()

    def decode(value: bytes) -> F:
        octet = value[0]
        flags = seen.get(octet)
        if flags is None:
            flags = seen[octet] = kind(octet & known)
        return flags

    return Codec(decode, lambda flags: bytes((flags,)))


def many_bits(kind: type[IntFlag], size: int) -> Codec:
    """Bits of several octets, the first in the lowest ones; spare ones are not kept.

    They are read as plain numbers: a class of flags keeps each combination that it has ever been
    asked for, and whoever sends us all that there are would fill the memory.
    """
    known = int(sum(kind))
    return Codec(
        lambda value: from_bytes(value[:size], "little") & known,
        lambda flags: int(flags).to_bytes(size, "little"),
    )


def counted(kind: Callable[..., Any], fields: int) -> Codec:
    """An octet that says which numbers of eight octets follow (8.2.13, 8.2.44, 8.2.49)."""

    def decode(value: bytes) -> Any:
        flags = value[0]
        numbers: list[int | None] = [None] * fields
        at = 1
        for bit in range(fields):
            if flags >> bit & 1:
                at_least(value, at + 8)
                numbers[bit] = from_bytes(value[at : at + 8], "big")
                at += 8
        if at == 1:
            raise wrong("none of its flags is set")
        return kind(*numbers)

    def encode(numbers: tuple[int | None, ...]) -> bytes:
        flags = sum(1 << bit for bit, number in enumerate(numbers) if number is not None)
        there = [number.to_bytes(8, "big") for number in numbers if number is not None]
        return b"".join((bytes((flags,)), *there))

    return Codec(decode, encode)


def ascii_text(octets: bytes) -> str:
    """Octets that have to be printable ASCII."""
    if octets.isascii():
        text = octets.decode("ascii")
        if text.isprintable():
            return text
    raise wrong("an octet is no printable ASCII")


def decode_name(value: bytes) -> str:
    """A name as DNS labels (RFC 1035, 3.1); or as plain text, which some send instead."""
    if 0 < value[0] == len(value) - 1 <= 63:
        return ascii_text(value[1:])
    labels, at = [], 0
    while at < len(value) and 0 < value[at] <= 63:
        labels.append(value[at + 1 : at + 1 + value[at]])
        at += 1 + value[at]
    if at == len(value) or (labels and value[at:] == b"\0"):
        return ascii_text(b".".join(labels))
    return ascii_text(value)


def encode_name(name: str) -> bytes:
    """DNS labels, if it can be written so."""
    labels = [label.encode("ascii") for label in name.split(".")]
    if any(not 0 < len(label) <= 63 for label in labels):
        return name.encode("ascii")
    return b"".join(bytes((len(label),)) + label for label in labels)
