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
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6ND_RS, IPv6

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
    """Stands for the UDP socket, or the radio's: keeps what is sent, and gives what is heard."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.heard: list[tuple[bytes, Any]] = []

    def sendto(self, message: bytes, address: tuple[str, int]) -> None:
        self.sent.append((message, address))

    def recvfrom(self, most: int) -> tuple[bytes, Any]:
        if not self.heard:
            raise BlockingIOError
        return self.heard.pop(0)


@pytest.fixture
def rig() -> Iterator[tuple[Any, Wire, socket.socket]]:
    """An eNB with one bearer, the wire it sends on, and the UEs' end of its TUN device."""
    ues, tun = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ues.setblocking(False)
    tun.setblocking(False)
    wire = Wire()
    station = enb.Enb(tun.fileno(), wire, Wire(), IPv4Address("10.1.0.2"), False)
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
    ],
    ids=["plain", "sequence"],
)
def test_downlink_reaches_the_ue(rig: Any, header: Any) -> None:
    station, _, ues = rig
    station.receive(bytes(header / INNER), GATEWAY)
    assert ues.recv(2000) == bytes(INNER)
    assert station.counters["downlink_packets"] == 1


MAC = bytes.fromhex("02000000000a")
ASKED = bytes(IPv6(src="fe80::7", dst="ff02::2", hlim=255) / ICMPv6ND_RS())
TOLD = bytes(IPv6(src="fe80::1", dst="fe80::7", hlim=255) / ICMPv6ND_RA())
BOTH = "ue_ip=10.45.0.2,uplink_teid=0x1001,downlink_teid=8193,gateway=10.1.0.1,radio=eth1"


@pytest.mark.parametrize("qfi", ("", ",qfi=9"))
def test_ipv6_goes_by_the_radio_interface(rig: Any, qfi: str) -> None:
    """Whatever its addresses: the UE's link ends at the gateway."""
    station, wire, ues = rig
    station.add(enb.Bearer.parse(BOTH + qfi))
    station.radio.heard = [(ASKED, ("eth1", 0x86DD, 2, 1, MAC)), (ASKED, ("eth2", 0, 2, 1, MAC))]
    station.uplink_ipv6()
    [(message, address)] = wire.sent
    header = GTP_U_Header(message)
    assert (address, header.teid, bytes(header[IPv6])) == (GATEWAY, 0x1001, ASKED)
    assert header.haslayer(GTPPDUSessionContainer) == bool(qfi)
    answer = GTP_U_Header(teid=8193, gtp_type=255) / TOLD
    if qfi:
        answer = GTP_U_Header(teid=8193, gtp_type=255, E=1, next_ex=0x85)
        answer = answer / GTPPDUSessionContainer(QFI=9) / TOLD
    station.receive(bytes(answer), GATEWAY)
    [(packet, (interface, _, _, _, mac))] = station.radio.sent
    assert (packet, interface, mac) == (TOLD, "eth1", MAC)
    with pytest.raises(BlockingIOError):
        ues.recv(2000)


def test_ipv6_without_a_radio_interface(rig: Any) -> None:
    """None that the bearer names, or none that the UE has sent by: nobody to hand it to."""
    station, _, _ = rig
    message = bytes(GTP_U_Header(teid=8193, gtp_type=255) / TOLD)
    for bearer in (BOTH.removesuffix(",radio=eth1"), BOTH):
        station.add(enb.Bearer.parse(bearer))
        with pytest.raises(enb.Dropped, match="drop_no_radio"):
            station.receive(message, GATEWAY)
    for_all = IPv6(src="fe80::1", dst="ff02::1", hlim=255) / ICMPv6ND_RA()
    station.receive(bytes(GTP_U_Header(teid=8193, gtp_type=255) / for_all), GATEWAY)
    [(_, (_, _, _, _, mac))] = station.radio.sent
    assert mac.hex() == "333300000001", "for a group no UE need have been heard"
    station.remove(IPv4Address("10.45.0.2"))
    assert not station.by_radio
    with pytest.raises(ValueError):
        enb.Bearer.parse(BOTH + ",traffic=icmp")


N3 = "ue_ip=10.45.0.2,uplink_teid=0x1001,downlink_teid=8193,gateway=10.1.0.1,qfi="


@pytest.mark.parametrize("number", [None, 7])
@pytest.mark.parametrize(
    ("further", "units", "delay", "sequence"),
    [
        ("", 1, None, None),
        (",ul_delay=0", 2, 0, None),
        (",ul_delay=258", 2, 258, None),
        (",qfi_sequence=16777215", 2, None, 0xFFFFFF),
        (",ul_delay=4294967295,qfi_sequence=5", 3, 0xFFFFFFFF, 5),
    ],
)
def test_uplink_on_n3(
    rig: Any, further: str, units: int, delay: int | None, sequence: int | None, number: int | None
) -> None:
    station, wire, ues = rig
    station.sequence = number
    station.add(enb.Bearer.parse(f"{N3}63+9{further}"))
    packet = bytes(IP(src="10.45.0.2", dst="10.2.0.2", ttl=128) / ICMP() / b"x")
    for turn in range(2):
        ues.send(packet)
        station.uplink()
        message, _ = wire.sent.pop()
        header = GTP_U_Header(message)
        assert (header.gtp_type, header.teid, header.E, header.next_ex) == (255, 0x1001, 1, 0x85)
        assert header.length == len(message) - 8
        assert (number is not None) == header.S
        assert header.seq == (0 if number is None else number + turn)
        container = header[GTPPDUSessionContainer]
        assert (container.type, container.QMP, container.QFI) == (1, 0, 63)
        assert (container.ExtHdrLen, message[12], container.NextExtHdr) == (units, units, 0)
        assert (delay is not None) == container.ulDelayInd and container.ulDelayRslt == delay
        expected = None if sequence is None else (sequence + turn) % 2**24
        assert (expected is not None) == container.SNP and container.UlQFISeqNum == expected
        assert message[11 + 4 * units] == 0, "no extension header follows"
        assert message[12 + 4 * units :] == bytes(container[IP]) == packet


def downlink(container: bytes) -> bytes:
    """A T-PDU with an extension header of type 0x85."""
    extension = bytes([(len(container) + 2) // 4]) + container + b"\0"
    header = GTP_U_Header(teid=8193, gtp_type=255, E=1, next_ex=0x85)
    header.length = 4 + len(extension) + len(INNER)
    return bytes(header) + extension + bytes(INNER)


@pytest.mark.parametrize(
    ("container", "qfi", "rqi"),
    [
        (b"\x00\x09", 9, 0),
        (b"\x00\x49", 9, 1),
        (b"\x00\x0c", 12, 0),
        (b"\x00\x8c\xe0\0\0\0", 12, 0),
        (b"\x04\xcc\xe0\0\x01\x02", 12, 1),
    ],
    ids=["plain", "RQI", "another", "PPI", "PPI, RQI, SNP"],
)
def test_downlink_on_n3(rig: Any, container: bytes, qfi: int, rqi: int) -> None:
    station, _, ues = rig
    station.add(enb.Bearer.parse(f"{N3}9+12"))
    station.receive(downlink(container), GATEWAY)
    assert ues.recv(2000) == bytes(INNER)
    assert station.counters[f"downlink_qfi_{qfi}"] == station.counters["downlink_packets"] == 1
    assert station.counters["downlink_rqi"] == rqi


def test_downlink_on_n3_as_scapy_writes_it(rig: Any) -> None:
    station, _, ues = rig
    station.add(enb.Bearer.parse(f"{N3}9"))
    header = GTP_U_Header(teid=8193, gtp_type=255, E=1, S=1, seq=7, next_ex=0x85)
    station.receive(bytes(header / GTPPDUSessionContainer(QFI=9, RQI=1) / INNER), GATEWAY)
    assert ues.recv(2000) == bytes(INNER)
    assert station.stats().endswith("downlink_qfi_9=1 downlink_rqi=1 downlink_bytes=33")


@pytest.mark.parametrize(
    ("qfi", "message", "why"),
    [
        ("", downlink(b"\x00\x09"), "drop_container_on_s1u"),
        ("9", bytes(GTP_U_Header(teid=8193, gtp_type=255) / INNER), "drop_no_container"),
        ("9", bytes(GTP_U_Header(teid=8193, gtp_type=255, S=1) / INNER), "drop_no_container"),
        ("9", downlink(b"\x00\x08"), "drop_qfi"),
        ("9+12", downlink(b"\x00\x0b"), "drop_qfi"),
        ("9", downlink(b"\x10\x09"), "drop_container"),
        ("9", downlink(b"\x20\x09"), "drop_container"),
        ("9", downlink(b"\x00\x89"), "drop_container"),
    ],
)
def test_wrong_containers_are_dropped(rig: Any, qfi: str, message: bytes, why: str) -> None:
    station, wire, ues = rig
    station.add(enb.Bearer.parse(f"{N3}{qfi}" if qfi else N3.removesuffix(",qfi=")))
    with pytest.raises(enb.Dropped, match=f"^{why}$"):
        station.receive(message, GATEWAY)
    with pytest.raises(BlockingIOError):
        ues.recv(2000)
    assert wire.sent == []


@pytest.mark.parametrize(
    "fields", ["", "64", "-1", "9+", "nine", "9,ul_delay=-1", "9,qfi_sequence=16777216", "9,rqi=1"]
)
def test_wrong_bearers_of_n3(fields: str) -> None:
    with pytest.raises(ValueError):
        enb.Bearer.parse(N3 + fields)


def test_only_n3_measures() -> None:
    with pytest.raises(ValueError):
        enb.Bearer.parse(N3.replace("qfi=", "ul_delay=7"))


def dedicated(teid: int, traffic: str) -> Any:
    own = f"uplink_teid={teid},downlink_teid={teid + 0x1000},gateway=10.1.0.1"
    return enb.Bearer.parse(f"ue_ip=10.45.0.2,{own},traffic={traffic}")


def teid_of(rig: Any, layer: Any) -> int:
    station, wire, ues = rig
    packet = IP(src="10.45.0.2", dst="10.2.0.2")
    if isinstance(layer, bytes):  # a fragment behind the first
        packet.frag, packet.proto = 100, 17
    ues.send(bytes(packet / layer))
    station.uplink()
    return int(GTP_U_Header(wire.sent.pop()[0]).teid)


def test_dedicated_bearers(rig: Any) -> None:
    station, _, ues = rig
    station.add(dedicated(0x1002, "udp:5004-5060"))
    station.add(dedicated(0x1003, "tcp:5202"))
    for layer, teid in (
        (UDP(sport=9, dport=5004), 0x1002),
        (UDP(sport=9, dport=5060), 0x1002),
        (UDP(sport=9, dport=5061), 0x1001),
        (UDP(sport=5004, dport=9), 0x1001),
        (bytes.fromhex("138c138c"), 0x1001),
        (TCP(dport=5202), 0x1003),
        (TCP(dport=5004), 0x1001),
        (ICMP(), 0x1001),
    ):
        assert teid_of(rig, layer) == teid, layer
    for teid in (8193, 0x2002, 0x2003):
        station.receive(bytes(GTP_U_Header(teid=teid, gtp_type=255) / INNER), GATEWAY)
        assert ues.recv(2000) == bytes(INNER)


def test_a_bearer_takes_the_place_of_the_one_for_the_same_traffic(rig: Any) -> None:
    station, _, _ = rig
    station.add(dedicated(0x1002, "icmp"))
    station.add(dedicated(0x1009, "icmp"))
    assert teid_of(rig, ICMP()) == 0x1009
    assert teid_of(rig, TCP(dport=80)) == 0x1001
    assert sorted(station.by_teid) == [8193, 0x2009]
    assert station.command("remove ue_ip=10.45.0.2") == "removed 10.45.0.2"
    assert not station.by_ue and not station.by_teid


@pytest.mark.parametrize("traffic", ["", "sctp:1", "icmp:8", "udp:", "udp:a", "tcp:1-"])
def test_wrong_traffic(traffic: str) -> None:
    with pytest.raises(ValueError):
        dedicated(0x1002, traffic)


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
