"""Damaged PFCP: read, or refused by the codec's own error; in no case anything else."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.errors import HeaderError, PfcpError, Refusal
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.messages import CLASSES, read, rejection, write
from ofgtp.core.pfcp.wire.tables import TABLES
from tests.support.pfcp_damage import MESSAGES, damaged

SOME, MANY = 100_000, 5_000_000

REQUESTS = {
    kind
    for kind in MessageType
    if kind.name.endswith("REQUEST") and "cause" in TABLES[CLASSES[MessageType(kind + 1)]].fields
}
ALL = {"read", "too_short", "wrong_version", "unknown_type"} | {
    f"cause {cause}" for cause in (66, 68, 69, 70, 76)
}
"""All ways in which it can end."""


def end(data: bytes) -> str:
    """How reading it ends; what was read can be written, and read again."""
    try:
        header, message = read(data)
    except HeaderError as error:
        return error.reason
    except Refusal as refusal:
        assert isinstance(refusal.cause, Cause) and str(refusal)
        write_refusal(data, refusal)
        return f"cause {refusal.cause.value}"
    written = write(message, header.sequence, header.seid, header.priority)
    assert read(written)[1] == message
    return "read"


def write_refusal(data: bytes, refusal: Refusal) -> None:
    """The answer to a request can be written, whatever was wrong."""
    kind = MessageType(data[1])
    if kind in REQUESTS:
        answer = rejection(kind, "upf", refusal.cause, refusal.ie, refusal.rule)
        assert read(write(answer, 1, 0))[1] == answer


def run(seed: int, number: int) -> Counter[str]:
    rng, ended = random.Random(seed), Counter[str]()
    for at in range(number):
        data = damaged(rng, rng.choice(MESSAGES))
        try:
            ended[end(data)] += 1
        except Exception as error:
            raise AssertionError(f"message {at} of {seed}: {data.hex()}") from error
    return ended


def test_some_damaged_messages() -> None:
    ended = run(1, SOME)
    assert set(ended) == ALL and min(ended.values()) > 20, ended


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_many_damaged_messages(seed: int) -> None:
    ended = run(seed, MANY // 4)
    print(dict(ended))
    assert set(ended) == ALL and min(ended.values()) > 200, ended


@pytest.mark.parametrize("data", MESSAGES, ids=lambda data: f"{data[1]}-{len(data)}")
def test_every_beginning_of_a_message(data: bytes) -> None:
    """With its own length, and with the length that is left."""
    for size in range(len(data)):
        cut = data[:size]
        with pytest.raises(PfcpError):
            read(cut)
        if size >= 4:
            end(cut[:2] + (size - 4).to_bytes(2, "big") + cut[4:])


def test_every_octet_of_an_establishment_with_every_value() -> None:
    data = max(MESSAGES, key=lambda data: (data[1] == 50, len(data)))
    for at in range(len(data)):
        for value in (0, 1, 2, 3, 4, 8, 15, 16, 0x7F, 0x80, 0xFE, 0xFF, data[at] ^ 1, data[at] ^ 8):
            end(data[:at] + bytes((value,)) + data[at + 1 :])
