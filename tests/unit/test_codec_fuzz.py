"""Random, damaged and cut octets: the codec reads them or says why not, and nothing else."""

from __future__ import annotations

import contextlib
import random
import struct
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ofgtp.core.packets import frames, gtpu
from ofgtp.core.packets.gtpu import Extension, MessageType
from tests.support import tshark

OURS, PEER = IPv4Address("192.0.2.31"), IPv4Address("192.0.2.40")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")

MANY = 8_000_000
"""Damaged messages, and a third as many frames: two minutes on one core."""


def captured_frames() -> list[bytes]:
    found: set[bytes] = set()
    for capture in sorted((Path(__file__).parent.parent / "data").glob("*.pcap")):
        found.update(tshark.read_pcap(capture))
    return sorted(found)


def gtpu_payloads(wire: list[bytes]) -> list[bytes]:
    found = set()
    for frame in wire:
        with contextlib.suppress(frames.FrameError):
            udp = frames.parse_udp(frame)
            if 2152 in (udp.src_port, udp.dst_port):
                found.add(udp.payload)
    return sorted(found)


FRAMES = captured_frames()
BUILT = [
    gtpu.echo_request(1),
    gtpu.echo_response(1),
    gtpu.error_indication(0xDEADBEEF, OURS),
    gtpu.supported_extension_headers(list(Extension)),
    gtpu.end_marker(7),
    bytes.fromhex("30fd000400000001e6000101"),
    bytes.fromhex("37ff0010000000010007098501100185022000000000004045000014"),
]
MESSAGES = gtpu_payloads(FRAMES) + BUILT
OURS_AS_FRAMES = [frames.udp_frame(*MACS, OURS, PEER, 2152, 2152, built) for built in BUILT]
ETHER = Ether(src=MACS[0], dst=MACS[1])
BIG = [
    bytes(ETHER / IP(src=str(PEER), dst=str(OURS), flags="DF") / inner / Raw(bytes(1480)))
    for inner in (UDP(), TCP(), ICMP())
]

REASONS = {
    *("too_short", "wrong_version", "gtp_prime", "unknown_type", "bad_extension"),
    *("bad_length", "bad_teid", "bad_ie"),
}


def check_message(datagram: bytes) -> str:
    """`parse` raises its own errors only, and what it gives holds together; how it ended."""
    try:
        message = gtpu.parse(datagram)
    except gtpu.GtpuError as error:
        assert error.reason in REASONS, error
        return error.reason
    assert message.type == datagram[1]
    assert 8 <= message.header_length <= len(datagram)
    assert message.faults <= set(gtpu.TOLERATED[message.type])
    assert bool(message.extensions) <= bool(message.flags & 4)
    assert sum(len(content) + 2 for _, content in message.extensions) <= message.header_length
    assert 0x85 not in gtpu.not_comprehended([kind for kind, _ in message.extensions], {0x85})
    fteid = gtpu.error_indication_fteid(message, PEER)
    assert fteid is None or (fteid.ip == PEER and 1 <= fteid.teid <= 0xFFFF_FFFF)
    return "read"


def check_frame(frame: bytes, mtu: int = 1464) -> str:
    """`parse_udp` raises FrameError only, and no ICMP error is longer than what it quotes may be.

    The IPv4 packet behind the Ethernet header is what `icmp_fragmentation_needed` gets.
    """
    answer = frames.icmp_fragmentation_needed(OURS, mtu, frame[14:])
    assert answer is None or len(answer) <= 20 + 8 + 60 + 8
    try:
        udp = frames.parse_udp(frame)
    except frames.FrameError:
        return "refused" if answer is None else "answered"
    assert len(udp.payload) <= len(frame) - 42
    assert udp.src_mac == frame[6:12].hex(":") and udp.dst_mac == frame[:6].hex(":")
    return "read"


# --- with Hypothesis, which makes small what it finds


mutations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 60), st.integers(0, 255)),
        st.tuples(st.just("cut"), st.integers(0, 60), st.integers(0, 8)),
        st.tuples(st.just("put"), st.integers(0, 60), st.integers(0, 255)),
        st.tuples(st.just("end"), st.integers(0, 60), st.just(0)),
    ),
    max_size=6,
)


def changed(octets: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    data = bytearray(octets)
    for how, at, value in changes:
        match how:
            case "set":
                data[at : at + 1] = bytes((value,))
            case "cut":
                del data[at : at + value]
            case "put":
                data.insert(at, value)
            case "end":
                del data[at:]
    return bytes(data)


headers = st.builds(
    struct.pack,
    st.just("!BBHI"),
    st.integers(0x30, 0x37),
    st.sampled_from(MessageType),
    st.integers(0, 80),
    st.integers(0, 0xFFFF_FFFF),
)
datagrams = st.one_of(
    st.binary(max_size=80),
    st.builds(bytes.__add__, headers, st.binary(max_size=80)),
    st.builds(changed, st.sampled_from(MESSAGES), mutations),
)
ethernet = st.one_of(
    st.binary(max_size=80),
    st.builds(changed, st.sampled_from(FRAMES + OURS_AS_FRAMES + BIG), mutations),
    st.binary(max_size=60).map(lambda data: OURS_AS_FRAMES[0][:14] + data),
)


@settings(max_examples=600, deadline=None)
@given(datagrams)
@example(b"")
def test_messages(datagram: bytes) -> None:
    check_message(datagram)


@settings(max_examples=400, deadline=None)
@given(ethernet, st.integers(68, 0xFFFF))
@example(b"", 68)
def test_frames(frame: bytes, mtu: int) -> None:
    check_frame(frame, mtu)


@pytest.mark.parametrize("datagram", MESSAGES, ids=lambda datagram: datagram[:8].hex())
def test_every_beginning_of_a_message(datagram: bytes) -> None:
    for size in range(min(len(datagram), 80) + 1):
        check_message(datagram[:size])


def test_every_octet_of_a_built_message_with_every_value() -> None:
    for datagram in BUILT:
        for at in range(len(datagram)):
            for value in range(256):
                check_message(datagram[:at] + bytes((value,)) + datagram[at + 1 :])


# --- at length, with a cheaper source of octets


def damaged(rng: random.Random, octets: bytes) -> bytes:
    """One to six changes near the beginning, where the headers are; now and then only noise."""
    if rng.random() < 0.03:
        return rng.randbytes(rng.randrange(80))
    data = bytearray(octets[: rng.randrange(40, 200)])
    for _ in range(rng.randrange(1, 7)):
        at = rng.randrange(min(len(data), 64) + 1)
        match rng.randrange(6):
            case 0 | 1:
                data[at : at + 1] = bytes((rng.randrange(256),))
            case 2:
                data[at : at + 1] = rng.choice((b"\0", b"\1", b"\x85", b"\x8d", b"\xff"))
            case 3:
                del data[at : at + rng.randrange(8)]
            case 4:
                data[at:at] = rng.randbytes(rng.randrange(5))
            case 5:
                del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def right_checksum(frame: bytes) -> bytes:
    """The frame with the checksum that its IPv4 header should have, so that more of it is read."""
    size = 4 * (frame[14] & 0x0F) if len(frame) > 34 else 0
    if not 20 <= size <= len(frame) - 14:
        return frame
    header = frame[14:24] + b"\0\0" + frame[26 : 14 + size]
    return frame[:24] + frames.checksum(header).to_bytes(2, "big") + frame[26:]


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_many_messages_and_frames(seed: int) -> None:
    rng, ended = random.Random(seed), Counter[str]()
    wire = FRAMES + OURS_AS_FRAMES + BIG
    for number in range(MANY // 2):
        datagram = damaged(rng, rng.choice(MESSAGES))
        try:
            ended[check_message(datagram)] += 1
        except Exception as error:
            raise AssertionError(f"message {number}: {datagram.hex()}") from error
        if number % 3:
            continue
        frame = right_checksum(damaged(rng, rng.choice(wire)))
        try:
            ended[f"frame {check_frame(frame, rng.randrange(68, 2000))}"] += 1
        except Exception as error:
            raise AssertionError(f"frame {number}: {frame.hex()}") from error
    print(dict(ended))
    # all that can happen did, often
    assert min(ended[reason] for reason in REASONS | {"read"}) > MANY // 5_000, ended
    assert min(ended[f"frame {how}"] for how in ("read", "refused", "answered")) > 1_000, ended
