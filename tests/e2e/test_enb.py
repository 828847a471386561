"""The simulated base station against scapy, so that it can be trusted as a check on the gateway."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scapy.contrib.gtp import (
    IE_TEIDI,
    GTP_U_Header,
    GTPEchoRequest,
    GTPEchoResponse,
    GTPErrorIndication,
    GTPPDUSessionContainer,
    IE_GSNAddress,
)
from scapy.layers.inet import ICMP, IP

GATEWAY = ("10.1.0.1", 2152)
INNER = IP(src="10.2.0.2", dst="10.45.0.2") / ICMP() / b"hello"


def load() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "topologies" / "enb.py"
    spec = importlib.util.spec_from_file_location("enb", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["enb"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


enb = load()


class Wire:
    """Stands for the UDP socket: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []

    def sendto(self, message: bytes, address: tuple[str, int]) -> None:
        self.sent.append((message, address))


@pytest.fixture
def rig() -> Iterator[tuple[Any, Wire, socket.socket]]:
    """An eNB with one bearer, the wire it sends on, and the UEs' end of its TUN device."""
    ues, tun = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ues.setblocking(False)
    tun.setblocking(False)
    wire = Wire()
    station = enb.Enb(tun.fileno(), wire, IPv4Address("10.1.0.2"), False)
    station.add(
        enb.Bearer.parse("ue_ip=10.45.0.2,uplink_teid=0x1001,downlink_teid=8193,gateway=10.1.0.1")
    )
    with ues, tun:
        yield station, wire, ues


@pytest.mark.parametrize("number", [None, 0xFFFF])
def test_uplink_is_a_g_pdu(rig: Any, number: int | None) -> None:
    station, wire, ues = rig
    station.sequence = number
    packet = bytes(IP(src="10.45.0.2", dst="10.2.0.2", ttl=128) / ICMP() / b"x")
    ues.send(packet)
    station.uplink()
    ((message, address),) = wire.sent
    header = GTP_U_Header(message)
    assert address == GATEWAY
    assert (header.version, header.PT, header.gtp_type, header.teid) == (1, 1, 255, 0x1001)
    assert (number is not None) == header.S and header.E == header.PN == 0
    assert header.seq == number
    assert header.length == len(message) - 8
    assert bytes(header[IP]) == packet
    assert station.sequence == (None if number is None else 0)


def test_uplink_of_another_address_has_no_bearer(rig: Any) -> None:
    station, wire, ues = rig
    ues.send(bytes(IP(src="10.45.0.9", dst="10.2.0.2") / ICMP()))
    station.uplink()
    assert wire.sent == []
    assert station.counters["drop_no_bearer"] == 1


@pytest.mark.parametrize(
    "header",
    [
        GTP_U_Header(teid=8193, gtp_type=255),
        GTP_U_Header(teid=8193, gtp_type=255, S=1, seq=7),
        GTP_U_Header(teid=8193, gtp_type=255, E=1, next_ex=0x85)
        / GTPPDUSessionContainer(type=0, QFI=9),
    ],
    ids=["plain", "sequence", "extension"],
)
def test_downlink_reaches_the_ue(rig: Any, header: Any) -> None:
    station, _, ues = rig
    station.receive(bytes(header / INNER), GATEWAY)
    assert ues.recv(2000) == bytes(INNER)
    assert station.counters["downlink_packets"] == 1


def test_echo_request_is_answered(rig: Any) -> None:
    station, wire, _ = rig
    station.receive(bytes(GTP_U_Header(gtp_type=1, S=1, seq=77) / GTPEchoRequest()), GATEWAY)
    answer = GTP_U_Header(wire.sent[0][0])
    assert (answer.gtp_type, answer.seq, answer.teid) == (2, 77, 0)
    assert answer.haslayer(GTPEchoResponse)


def test_unknown_teid_gets_an_error_indication(rig: Any) -> None:
    station, wire, _ = rig
    with pytest.raises(enb.Dropped, match="drop_unknown_teid"):
        station.receive(bytes(GTP_U_Header(teid=5, gtp_type=255) / INNER), GATEWAY)
    ((message, address),) = wire.sent
    answer = GTP_U_Header(message)
    assert address == GATEWAY and answer.teid == 0
    teid, peer = answer[GTPErrorIndication].IE_list[:2]
    assert teid.TEIDI == 5
    assert peer.ipv4_address == "10.1.0.2"


def test_end_markers_of_our_tunnels_are_counted(rig: Any) -> None:
    station, wire, _ = rig
    station.receive(bytes(GTP_U_Header(teid=8193, gtp_type=254)), GATEWAY)
    with pytest.raises(enb.Dropped, match="drop_end_marker"):
        station.receive(bytes(GTP_U_Header(teid=5, gtp_type=254)), GATEWAY)
    assert station.counters["end_markers"] == 1
    assert wire.sent == [], "an End Marker is never answered"


def indication(teid: int) -> bytes:
    elements = [IE_TEIDI(TEIDI=teid), IE_GSNAddress(ietype=133, ipv4_address="10.1.0.1")]
    return bytes(GTP_U_Header(gtp_type=26, S=1) / GTPErrorIndication(IE_list=elements))


def test_error_indications_of_our_tunnels_are_counted(rig: Any) -> None:
    station, wire, _ = rig
    station.receive(indication(0x1001), GATEWAY)
    assert station.counters["error_indications"] == 1
    for message, sender in (
        (indication(0x1002), GATEWAY),
        (indication(0x1001), ("10.1.0.9", 2152)),
        (bytes(GTP_U_Header(gtp_type=26, S=1)), GATEWAY),
    ):
        with pytest.raises(enb.Dropped, match="drop_error_indication"):
            station.receive(message, sender)
    assert station.counters["error_indications"] == 1
    assert wire.sent == []


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "drop_short"),
        (bytes.fromhex("30ff0004") + b"\0\0\x20\x01", "drop_short"),
        (bytes.fromhex("48ff0000") + b"\0\0\x20\x01", "drop_version"),
        (bytes.fromhex("20ff0000") + b"\0\0\x20\x01", "drop_version"),
        (bytes.fromhex("34ff0006") + b"\0\0\x20\x01" + bytes.fromhex("000000850085"),
         "drop_extension"),
        (bytes.fromhex("34ff0004") + b"\0\0\x20\x01" + bytes.fromhex("00000085"),
         "drop_extension"),
        (bytes.fromhex("30630000") + b"\0\0\x20\x01", "drop_message_type"),
    ],
)  # fmt: skip
def test_malformed_messages_are_dropped(rig: Any, message: bytes, why: str) -> None:
    station, wire, _ = rig
    with pytest.raises(enb.Dropped, match=why):
        station.receive(message, GATEWAY)
    assert wire.sent == []


def test_commands(rig: Any) -> None:
    station, _, _ = rig
    assert station.command("remove ue_ip=10.45.0.2\n") == "removed 10.45.0.2"
    assert not station.by_ue and not station.by_teid
    assert station.command("add ue_ip=10.45.0.2").startswith("error")
    assert station.command("dance").startswith("error")
    station.counters["drop_end_marker"] += 2
    assert station.command("stats") == (
        "enb 10.1.0.2 uplink_packets=0 downlink_packets=0 echo_requests=0 echo_responses=0"
        " end_markers=0 error_indications=0 error_indications_sent=0 drop_end_marker=2"
    )
