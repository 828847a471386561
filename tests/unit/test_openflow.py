"""The codec against `ovs-ofctl`, against itself, and against garbage."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ofgtp.core.errors import CodecError
from ofgtp.core.flows.flow import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
    FIELDS,
    VALUE_IS_MASK,
    Action,
    Bits,
    CheckBigger,
    Condition,
    Flow,
    Match,
    Meter,
    Output,
    PopVlan,
    Port,
    PushVlan,
    SetField,
    Show,
    Unit,
    match,
    move,
)
from ofgtp.core.flows.pipeline import METERS
from ofgtp.core.model import AccessRoute, FTeid, Uplink
from ofgtp.core.rules.lease import lease_flows
from ofgtp.core.rules.session import session_flows
from ofgtp.core.sessions.rules import meters_of
from ofgtp.southbound import openflow as of
from tests.support.lab import gateway
from tests.support.sample import ALL_KINDS, ENB, LINKS, OTHER_ENB, all_flows, session

CASES: dict[str, dict[str, Any]] = {
    "physical core": {},
    "host core": {"core_port": "host", "next_hop": None},
    "ue to ue": {"ue_to_ue": "route"},
    "access_allow": {"access_allow": (IPv4Network("10.1.0.0/24"), IPv4Network("10.9.9.9/32"))},
    "several pools": {"ue_pools": (IPv4Network("10.45.0.0/16"), IPv4Network("10.64.0.0/10"))},
    "access_routes": {"access_routes": (AccessRoute(IPv4Network("10.9.0.0/16"), ENB),)},
}
SESSIONS = (
    session(),
    session(2, downlink=None),
    session(3, uplink=Uplink(0xFFFFFFFF, OTHER_ENB), downlink=FTeid(0xFFFFFFFF, OTHER_ENB)),
    session((1 << 40) - 1),
)
OTHERS = [replace(each, number=9) for each in ALL_KINDS.values()]
"""Beside each other these would have flows with one key."""
RATED = [meter for each in OTHERS for meter in meters_of(each)]


def flows_of(case: str) -> list[Flow]:
    links = LINKS if case != "no next hop" else replace(LINKS, peer_mac=None)
    return all_flows(gateway(**CASES.get(case, {})), *SESSIONS, links=links)


def ofctl(*arguments: str | Path) -> str:
    """What ovs-ofctl says; a test without it fails."""
    command = ["ovs-ofctl", "-O", "OpenFlow14", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
    return result.stdout


def printed(message: bytes) -> str:
    return ofctl("ofp-print", message.hex()).strip()


# --- flow-mods


@pytest.mark.parametrize("case", [*CASES, "no next hop"])
def test_flow_mods_mean_what_the_flows_text_says(case: str, tmp_path: Path) -> None:
    same_to_ofctl(flows_of(case), tmp_path)


def same_to_ofctl(flows: list[Flow], tmp_path: Path) -> None:
    """Bytes and text, each read by ovs-ofctl, are the same flow-mods."""
    text, wire = tmp_path / "flows.txt", tmp_path / "messages"
    text.write_text("".join(f"{flow}\n" for flow in flows))
    encoded = [of.flow_mod(of.Command.ADD, flow, xid) for xid, flow in enumerate(flows, 1)]
    wire.write_bytes(b"".join(encoded))
    meant = [line for line in ofctl("parse-flows", text).splitlines() if "OFPT_FLOW_MOD" in line]
    said = [line.strip() for line in ofctl("ofp-parse", wire).splitlines()]
    assert len(meant) == len(flows)
    assert [line for line in said if line] == [line.strip() for line in meant]


def test_flows_of_all_kinds_of_sessions(tmp_path: Path) -> None:
    for each in OTHERS:
        flows = list(session_flows(each, LINKS))
        same_to_ofctl(flows, tmp_path)
        for flow in flows:
            [stats] = of.decode_flow_stats(entry(flow))
            assert stats.key == flow.key
            assert stats.same_actions(flow)


@pytest.mark.parametrize("lease_seconds", [None, 5, 10])
def test_a_lease_means_what_its_text_says(lease_seconds: int | None, tmp_path: Path) -> None:
    same_to_ofctl(all_flows(gateway(), lease_seconds=lease_seconds), tmp_path)


PIECES = [(0, 0), (0, 11), (0, 19), (0, 31), (5, 9), (20, 31), (31, 31)]
WITHOUT_PREREQUISITES = ["tun_id", "tun_src", "reg0", "reg1", "pkt_mark"]
TAGGED_LABEL = match(dl_type=0x8847, vlan_vid=(0x1000, 0x1000))


def test_actions_mean_what_their_text_says(tmp_path: Path) -> None:
    """Moves of bits between all pairs of fields, tags and labels."""
    actions: list[tuple[Match, tuple[Action, ...]]] = [
        ((), (move(Bits(one, *piece), Bits(other, *piece)),))
        for one in WITHOUT_PREREQUISITES
        for other in WITHOUT_PREREQUISITES
        if one != other
        for piece in PIECES
    ]
    actions += [((), (move(Bits("tun_id", 32, 63), "reg0"),))]
    for field, bits in (("mpls_label", 20), ("vlan_vid", 12)):
        for register in ("reg0", "reg1", "pkt_mark"):
            for first in (0, 3, 32 - bits):
                there = Bits(register, first, first + bits - 1)
                here = Bits(field, 0, bits - 1)
                actions += [(TAGGED_LABEL, (move(here, there),))]
                actions += [(TAGGED_LABEL, (move(there, here),))]
    actions += [(TAGGED_LABEL, (SetField("vlan_pcp", pcp), PopVlan())) for pcp in range(8)]
    actions += [(match(dl_type=0x0800), (PushVlan(), SetField("vlan_pcp", 4)))]
    for value in (0, 1, 0xDEADBEEF, 0xFFFFFFFF):
        actions += [((), (SetField(name, value),)) for name in ("pkt_mark", "reg0", "reg1")]
    actions += [(TAGGED_LABEL, (SetField("mpls_label", 0xFFFFF),))]
    actions += [((), (CheckBigger(size, "reg2"),)) for size in (1, 1258, 1478, 65535)]
    actions += [((), (Output(port, size),)) for port in (1, 0xFEFF) for size in (14, 1514, 65549)]
    actions += [((), (Show(size, 9), Output(3))) for size in (1, 128, 65535)]
    flows = [Flow(1, n, asked, 7, steps) for n, (asked, steps) in enumerate(actions)]
    same_to_ofctl(flows, tmp_path)
    for flow in flows:
        [stats] = of.decode_flow_stats(entry(flow))
        assert stats.match == flow.match
        assert stats.same_actions(flow)


def test_masks_mean_what_their_text_says(tmp_path: Path) -> None:
    masks = [0x1, 0xFFFF, 0xA5A5]
    asked = [match(**{name: (0, mask)}) for name in ("pkt_mark", "ct_mark") for mask in masks]
    asked += [match(pkt_mark=(0, mask)) for mask in (0xFFFF0000, 0x80000001, 0xFFFFFFFF)]
    asked += [match(dl_type=0x8847, vlan_vid=(0x1000, 0x1000), vlan_pcp=n) for n in range(8)]
    asked += [match(ct_zone=0), match(ct_mark=0)]
    asked += [match(reg0=0xDEADBEEF, reg1=ENB), match(dl_type=0x8847, mpls_label=0xFFFFF)]
    masks = [0xFFFF0000, 0xFFFFFFFF, 0x80000000, 0x7, 0x80000001, 0xFF00FF00, 0x7FFFFFFF]
    for share, mask in enumerate(masks):
        asked += [match(dl_type=0x0800, nw_src=(share, mask), nw_dst=(0xFFFFFFFF, mask))]
    same_to_ofctl([Flow(1, n, each, 7) for n, each in enumerate(asked)], tmp_path)


def test_masks_of_addresses_that_are_no_prefixes() -> None:
    said = Flow(1, 0, match(dl_type=0x0800, nw_src=(3, 7), nw_dst=(0x0A000000, 0xFF000000)), 7)
    assert "nw_src=0.0.0.3/0.0.0.7," in str(said)
    assert "nw_dst=10.0.0.0/8 " in str(said).replace(",", " ")


def test_one_flow_mod_byte_by_what_it_shows() -> None:
    [flow, *_] = [flow for flow in flows_of("physical core") if flow.meter and flow.actions]
    for command, word in (
        (of.Command.ADD, "ADD"),
        (of.Command.MODIFY_STRICT, "MOD_STRICT"),
        (of.Command.DELETE_STRICT, "DEL_STRICT"),
    ):
        shown = printed(of.flow_mod(command, flow, 77))
        assert shown.startswith(f"OFPT_FLOW_MOD (OF1.4) (xid=0x4d): {word} table:{flow.table} ")
        assert (f"actions=meter:{flow.meter}," in shown) == (word != "DEL_STRICT")


@pytest.mark.parametrize("case", [*CASES, "no next hop"])
def test_instructions_are_told_apart(case: str) -> None:
    """What a flow does is compared by its instructions' bytes."""
    by_text: dict[str, set[bytes]] = {}
    for flow in flows_of(case):
        actions = str(flow).split(" actions=")[1]
        by_text.setdefault(actions, set()).add(of.encode_instructions(flow))
    assert all(len(encoded) == 1 for encoded in by_text.values())
    assert len(set.union(*by_text.values())) == len(by_text)


# --- other messages to the switch


@pytest.mark.parametrize(
    ("port", "in_port", "expected"),
    [
        (4, {}, "in_port=CONTROLLER actions=output:4"),
        (Port.LOCAL, {}, "in_port=CONTROLLER actions=LOCAL"),
        (Port.TABLE, {"in_port": 2}, "in_port=2 actions=TABLE"),
        (Port.TABLE, {"in_port": Port.LOCAL}, "in_port=LOCAL actions=TABLE"),
    ],
)
def test_packet_outs(port: int, in_port: dict[str, int], expected: str) -> None:
    frame = b"\xff" * 12 + b"\x12\x34" + bytes(46)
    message = of.packet_out(port, frame, 9, **in_port)
    said = printed(message).splitlines()[0]
    assert said == f"OFPT_PACKET_OUT (OF1.4) (xid=0x9): {expected} data_len=60"
    assert message.endswith(frame)
    assert len(message) == 8 + 16 + 16 + len(frame)


def test_messages_as_ovs_ofctl_reads_them() -> None:
    for message, expected in (
        (of.barrier(9), "OFPT_BARRIER_REQUEST (OF1.4) (xid=0x9):"),
        (
            of.delete_by_cookie(COOKIE_OWNER, COOKIE_OWNER_MASK, 9),
            "OFPT_FLOW_MOD (OF1.4) (xid=0x9): DEL table:255 priority=0 "
            "cookie:0xf67000000000000/0xffff000000000000 actions=drop",
        ),
        (
            of.packet_out(4, b"\xff" * 12 + b"\x12\x34" + bytes(46), 9),
            "OFPT_PACKET_OUT (OF1.4) (xid=0x9): in_port=CONTROLLER actions=output:4 data_len=60",
        ),
        (of.multipart_request(of.Multipart.DESC, 9), "OFPST_DESC request (OF1.4) (xid=0x9):"),
    ):
        assert printed(message).splitlines()[0].strip() == expected
    request = of.flow_stats_request(COOKIE_OWNER, COOKIE_OWNER_MASK, 9)
    assert printed(request) == "OFPST_FLOW request (OF1.4) (xid=0x9):"
    assert struct.unpack_from("!QQ", request, 32) == (COOKIE_OWNER, COOKIE_OWNER_MASK)


@pytest.mark.parametrize("kind", list(of.Bundle))
def test_bundle_controls(kind: of.Bundle) -> None:
    words = re.sub(r"\s+", " ", printed(of.bundle_control(7, kind, 9)))
    assert words == (
        f"OFPT_BUNDLE_CONTROL (OF1.4) (xid=0x9): bundle_id=0x7 type={kind.name}_REQUEST"
        " flags=atomic ordered"
    )


def test_a_flow_mod_in_a_bundle() -> None:
    flow = flows_of("physical core")[0]
    words = printed(of.bundle_add(7, of.flow_mod(of.Command.ADD, flow, 9), 9))
    assert "bundle_id=0x7 flags=atomic ordered" in re.sub(r"\s+", " ", words)
    assert printed(of.flow_mod(of.Command.ADD, flow, 9)) in words


@pytest.mark.parametrize("meter", [*METERS.values(), *RATED], ids=str)
def test_meters(meter: Meter) -> None:
    for command, word in ((of.MeterCommand.ADD, "ADD"), (of.MeterCommand.MODIFY, "MOD")):
        words = re.sub(r"\s+", " ", printed(of.meter_mod(command, meter, 9)))
        assert f"{word} {str(meter).replace('bands=', 'bands= ')}" in words
    words = re.sub(r"\s+", " ", printed(of.meter_mod(of.MeterCommand.DELETE, meter, 9)))
    assert f"DEL meter={meter.number} " in words


# --- from the switch


@st.composite
def conditions(draw: st.DrawFn) -> Match:
    """Any match on fields of ours, with any mask that a switch might report."""
    names = draw(st.lists(st.sampled_from(list(FIELDS)), unique=True))
    asked = {}
    for name in names:
        full = FIELDS[name].full_mask
        value = draw(st.integers(1, full))
        asked[name] = value if name in VALUE_IS_MASK else (value, draw(st.integers(1, full)))
    return match(**asked)  # type: ignore[arg-type]


@given(conditions(), st.binary(max_size=9).map(lambda junk: junk[: len(junk) // 8 * 8]))
def test_matches_come_back(asked: Match, before: bytes) -> None:
    encoded = of.encode_match(asked)
    assert len(encoded) % 8 == 0
    data = before + encoded + b"tail"
    assert of.decode_match(data, len(before)) == (asked, len(before) + len(encoded))


def test_a_reported_mask_of_the_flags_is_taken_as_it_is() -> None:
    masked = bytes.fromhex("ffff1f06 00002320 04 04".replace(" ", ""))
    data = struct.pack("!HH", 1, 4 + len(masked)) + masked
    assert of.decode_match(data + bytes(8), 0)[0] == (Condition("tun_gtpu_flags", 4, 4),)


def test_a_field_of_others_makes_a_match_unknown() -> None:
    ipv6_exthdr = (0x80004E02).to_bytes(4, "big") + bytes(2)
    data = struct.pack("!HH", 1, 4 + len(ipv6_exthdr)) + ipv6_exthdr + bytes(6)
    assert of.decode_match(data, 0) == (None, 16)


def test_a_field_of_another_experimenter_is_not_ours() -> None:
    field = bytes.fromhex("ffff1e05 00002321 04")
    data = struct.pack("!HH", 1, 4 + len(field)) + field + bytes(3)
    assert of.decode_match(data, 0)[0] is None


def test_the_flags_are_sent_without_a_mask() -> None:
    """The switch takes their value for it, whatever mask is sent."""
    assert of.encode_match(match(tun_gtpu_flags=4))[4:13] == bytes.fromhex("ffff1e05 00002320 04")


def entry(
    flow: Flow, packets: int = 5, octets: int = 600, idle: int = 0, hard: int | None = None
) -> bytes:
    """A flow-stats entry (OpenFlow 1.4, 7.3.5.2)."""
    rest = of.encode_match(flow.match) + of.encode_instructions(flow)
    head = struct.pack(
        "!HBxIIHHHHH2xQQQ",
        48 + len(rest),
        flow.table,
        1,
        2,
        flow.priority,
        idle,
        flow.hard_timeout if hard is None else hard,
        0,
        0,
        flow.cookie,
        packets,
        octets,
    )
    return head + rest


def test_flow_stats() -> None:
    flows = [flow for case in CASES for flow in flows_of(case)]
    read = list(of.decode_flow_stats(b"".join(entry(flow) for flow in flows)))
    assert len(read) == len(flows)
    for flow, stats in zip(flows, read, strict=True):
        assert (stats.table, stats.priority, stats.match, stats.cookie) == (*flow.key, flow.cookie)
        assert (stats.packets, stats.bytes) == (5, 600)
        assert stats.same_actions(flow)
        assert not stats.same_actions(replace(flow, goto=99))


def test_a_flow_that_times_out_is_none_of_ours() -> None:
    flow = flows_of("physical core")[0]
    [stats] = of.decode_flow_stats(entry(flow, idle=5))
    assert not stats.same_actions(flow)


@pytest.mark.parametrize("lease_seconds", [None, 5, 10])
def test_a_lease_is_ours_with_its_own_timeout_only(lease_seconds: int | None) -> None:
    for flow in lease_flows(LINKS, lease_seconds):
        for hard in (0, 3, 8, 9):
            [stats] = of.decode_flow_stats(entry(flow, hard=hard))
            assert stats.same_actions(flow) == (hard == flow.hard_timeout)


def test_a_reported_flow_is_deleted_as_it_was_reported() -> None:
    for flow in flows_of("physical core"):
        [stats] = of.decode_flow_stats(entry(flow))
        assert of.delete_reported(stats, 3) == of.flow_mod(of.Command.DELETE_STRICT, flow, 3)


@pytest.mark.parametrize("size", [0, 8, 48, 55, 57, 0xFFFF])
def test_a_flow_stats_entry_has_its_size(size: int) -> None:
    miss = Flow(0, 0, (), 0)
    broken = size.to_bytes(2, "big") + entry(miss)[2:]
    assert len(broken) == 56
    with pytest.raises(CodecError):
        list(of.decode_flow_stats(broken))


def test_a_flow_stats_entry_holds_its_match() -> None:
    """A field of others that reaches into the next entry."""
    reaching = struct.pack("!HHI", 1, 4 + 4 + 40, 0x80004E00 | 40)
    broken = bytearray(entry(Flow(0, 0, (), 0)) * 2)
    broken[48:56] = reaching
    assert of.decode_match(broken, 48) == (None, 96)
    with pytest.raises(CodecError, match="longer"):
        list(of.decode_flow_stats(bytes(broken)))


def test_meter_configurations() -> None:
    wanted = {meter.number: meter for meter in (*METERS.values(), *RATED)}
    assert {meter.unit for meter in wanted.values()} == set(Unit)
    ours = [of.meter_mod(of.MeterCommand.ADD, meter, 1)[8:] for meter in wanted.values()]
    body = b""
    for meter, mod in zip(wanted.values(), ours, strict=True):
        flags = {Unit.PACKETS: 14, Unit.KBPS: 13}[meter.unit]
        body += struct.pack("!HHI", 24, flags, meter.number) + mod[8:]
    body += struct.pack("!HHI", 8, 1, 77)
    assert of.decode_meters(body) == {**wanted, 77: None}


def test_meter_counts() -> None:
    def counted(number: int, *bands: int) -> bytes:
        head = struct.pack("!IH6xIQQII", number, 40 + 16 * len(bands), 0, 1, 2, 3, 4)
        return head + b"".join(struct.pack("!QQ", drops, 0) for drops in bands)

    counts = of.decode_meter_counts(counted(1, 10) + counted(2) + counted(3, 30))
    assert counts == {1: of.MeterCounts(1, 10, 2), 3: of.MeterCounts(1, 30, 2)}


def test_a_description() -> None:
    body = struct.pack("!256s256s256s32s256s", b"maker", b"hw", b"3.1.0", b"", b"gw1 \xff")
    assert of.decode_desc(body) == ("3.1.0", "gw1 �")
    with pytest.raises(CodecError):
        of.decode_desc(body[:-1])


def packet_in(fields: bytes, frame: bytes) -> bytes:
    length = 4 + len(fields)
    head = struct.pack("!IHBBQ", of.NO_BUFFER, len(frame), 1, 30, 0xABCD)
    head += struct.pack("!HH", 1, length) + fields + bytes(-length % 8)
    return head + bytes(2) + frame


def test_packet_in() -> None:
    asked = match(in_port=3, tun_id=5, reg0=0x1001, reg1=ENB, tun_gtpu_flags=0x30)
    fields = of.encode_match(asked)[4:]
    fields = fields[: int.from_bytes(of.encode_match(asked)[2:4], "big") - 4]
    unknown = bytes.fromhex("80003410") + bytes(16)
    body = packet_in(unknown + fields, b"frame")
    assert of.decode_packet_in(body) == of.PacketIn(0xABCD, 3, 0x1001, int(ENB), b"frame")
    assert of.decode_packet_in(packet_in(b"", b"")) == of.PacketIn(0xABCD, 0, 0, 0, b"")
    registers = b"".join(
        struct.pack("!HBBI", 1, number << 1, 4, value) for number, value in ((3, 0x89), (5, 0x11))
    )
    kept = of.decode_packet_in(packet_in(registers, b""))
    assert (kept.container, kept.form) == (0x89, 0x11)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("00050001", "OFPET_FLOW_MOD_FAILED: TABLE_FULL"),
        ("00040009dead", "OFPET_BAD_MATCH: BAD_PREREQ"),
        ("00110008", "OFPET_BUNDLE_FAILED: MSG_BAD_LEN"),
        ("000c0006", "OFPET_METER_MOD_FAILED: BAD_RATE"),
        ("00050099", "OFPET_FLOW_MOD_FAILED: code 153"),
        ("00630002", "OFPET_type 99: code 2"),
        ("0005", "an error too short to read"),
    ],
)
def test_errors_in_the_specifications_words(body: str, text: str) -> None:
    assert of.decode_error(bytes.fromhex(body)) == text


@pytest.mark.parametrize(("kind", "code"), [(2, 4), (3, 1), (4, 9), (5, 1), (12, 6), (17, 2)])
def test_errors_are_called_as_ovs_ofctl_calls_them(kind: int, code: int) -> None:
    ours = of.decode_error(struct.pack("!HH", kind, code)).split(": ")[1]
    theirs = printed(of.message(of.Type.ERROR, 1, struct.pack("!HH", kind, code) + bytes(64)))
    assert f"_{ours}" in theirs.splitlines()[0]


# --- garbage

DECODERS: list[Callable[[bytes], object]] = [
    lambda body: of.decode_match(body, 0),
    lambda body: list(of.decode_flow_stats(body)),
    of.decode_multipart,
    of.decode_meters,
    of.decode_meter_counts,
    of.decode_desc,
    of.decode_packet_in,
    of.decode_error,
]
GOOD = [
    of.encode_match(
        match(dl_type=0x800, nw_src=ENB, tun_gtpu_flags=4, dl_dst=(0x40 << 40, 15 << 44))
    ),
    b"".join(entry(flow) for flow in flows_of("physical core")[:4]),
    struct.pack("!HHI", 24, 14, 1) + of.meter_mod(of.MeterCommand.ADD, METERS["arp"], 1)[16:],
    struct.pack("!IH6xIQQIIQQ", 1, 56, 0, 1, 2, 3, 4, 5, 6),
    packet_in(of.encode_match(match(tun_id=1, tun_src=ENB))[4:28], b"frame"),
]


def survives(body: bytes) -> None:
    for decode in DECODERS:
        try:
            decode(body)
        except CodecError:
            continue


@given(st.binary(max_size=300))
@example(b"")
def test_random_bytes(body: bytes) -> None:
    survives(body)


@given(st.data())
def test_mutated_bytes(data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from(GOOD)))
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255)), max_size=8)
    ):
        body[place] = value
    survives(bytes(body[: data.draw(st.integers(0, len(body)))]))
    survives(bytes(body))


# --- the handshake


@pytest.mark.parametrize(
    ("version", "body", "offered"),
    [
        (5, "", {1, 2, 3, 4, 5}),
        (6, "0001000800000072", {1, 4, 5, 6}),  # as Open vSwitch says it
        (6, "0001000c0000007200000001", {1, 4, 5, 6, 32}),
        (4, "00070006111100000001000800000020", {5}),
        (1, "0007000400000000", {1}),
        (5, "00010004", set()),
    ],
)
def test_the_versions_of_a_hello(version: int, body: str, offered: set[int]) -> None:
    assert of.offered_versions(version, bytes.fromhex(body)) == offered


@pytest.mark.parametrize(
    "body", ["00", "000100", "0001000000000000", "00010003", "0001000c00000020"]
)
def test_an_unreadable_hello(body: str) -> None:
    with pytest.raises(CodecError, match="HELLO"):
        of.offered_versions(5, bytes.fromhex(body))


def test_features() -> None:
    assert of.decode_features(bytes.fromhex("00000a0b0c0d0e0f") + bytes(16)) == 0x0A0B0C0D0E0F
    for size in (0, 8, 23, 25, 60_000):
        with pytest.raises(CodecError, match="features"):
            of.decode_features(bytes(size))
