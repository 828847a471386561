"""The UDP port that GTP-U leaves from: hashed, or 2152 for a NAT or a stateful firewall."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import ACCESS_IP, ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

UES = {
    "4G": ("10.45.0.2", 0x2002),
    "odd QFI": ("10.45.0.3", 0x2003),
    "even QFI": ("10.45.0.4", 0x2004),
}


def made(lab: Lab, **line: str) -> Site:
    site = Site(lab, lab.config(**line))
    site.ready()
    for number, (ue, down) in enumerate(UES.values()):
        site.session(
            ue, teid=0x1002 + number, downlink=down, **({"qfi": 8 + number} if number else {})
        )
    return site


@pytest.fixture(scope="module")
def fixed() -> Iterator[Site]:
    with Lab() as lab:
        site = made(lab, gateway="source_port = 2152")
        yield site
        site.alive()
        site.check_sent()
        ports = {int.from_bytes(f[34:36], "big") for f in site.enb.seen if is_gtpu(f)}
        assert ports == {gtpu.PORT}, "from the first packet on"
        assert site.gateway()["repairs"] == 0, "the rules are listed as they were made"


def ports_of(site: Site, who: str, size: int) -> set[int]:
    """Those that the packets of 20 connections leave from."""
    ue, down = UES[who]
    frames = []
    for number in range(20):
        packet = IP(gtpu.ipv4(PDN_IP, ue, size=size))
        packet[UDP].sport = 1000 + number
        del packet[UDP].chksum
        frames.append(site.to_ue(bytes(packet)).ljust(60, b"\0"))
    got = site.downlink(*frames)
    assert [gtpu.decode(frame).teid for frame in got] == [down] * 20
    return {Ether(frame)[UDP].sport for frame in got}


@pytest.mark.parametrize("size", (28, 45, 60, 1456))
@pytest.mark.parametrize("who", UES)
def test_2152(fixed: Site, who: str, size: int) -> None:
    """Checksums are right, or none, whichever the switch has sent: `gtpu.decode` sees to that."""
    assert ports_of(fixed, who, size) == {gtpu.PORT}


@pytest.fixture(scope="module")
def hashed() -> Iterator[Site]:
    with Lab() as lab:
        site = made(lab)
        yield site
        site.check_sent()


@pytest.mark.parametrize("who", UES)
def test_hashed_by_default(hashed: Site, who: str) -> None:
    ports = ports_of(hashed, who, 200)
    assert len(ports) > 10 and min(ports) >= 32768, ports


def test_signalling_is_left_alone(fixed: Site) -> None:
    """The answer goes to the port that the question came from; what the gateway asks has a checksum
    of its own on a switch that sends right ones."""
    fixed.enb.all()
    echo = gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32)
    fixed.enb.send(fixed.from_enb(echo, source_port=40000), fixed.from_enb(echo))

    got: list[Ether] = []

    def answered() -> bool:
        got.extend(
            Ether(frame)
            for frame in fixed.enb.all(0.02)
            if frame[34:36] == b"\x08\x68" and frame[43:44] == bytes([gtpu.ECHO_RESPONSE])
        )
        return len(got) == 2

    until(answered, "two answers")
    assert [(each[UDP].sport, each[UDP].dport) for each in got] == [(2152, 40000), (2152, 2152)]
    assert got[0][UDP].chksum, "not to port 2152: nftables has nothing to do with it"
    for each in got:
        gtpu.check_frame(bytes(each))


FIREWALL = """
table ip fw {
  chain out { type filter hook output priority 0; ct state new accept; }
  chain in { type filter hook input priority 0; policy drop; ct state established accept; }
}
"""
"""Connection tracking of a base station, or of what stands before it."""


def comes_through_a_firewall(site: Site) -> bool:
    """Whether the answer to an uplink packet reaches the base station's GTP-U socket."""
    lab, (ue, down) = site.lab, UES["4G"]
    lab.exec("enb", ["nft", FIREWALL])
    lab.exec("enb", ["nft", "insert rule netdev mute in udp dport 2152 accept"])
    with lab.inside("enb"):
        enb = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with enb:
        enb.bind((ENB_IP["enb"], gtpu.PORT))
        enb.settimeout(2)
        up = gtpu.t_pdu(0x1002, gtpu.ipv4(ue, PDN_IP))
        answer = gtpu.ipv4(PDN_IP, ue)
        enb.sendto(up, (ACCESS_IP, gtpu.PORT))
        until(lambda: any(f.endswith(up[8:]) for f in site.pdn.all(0.02)), "the uplink passes")
        site.enb.all()
        site.pdn.send(site.to_ue(answer))
        until(lambda: any(is_gtpu(f, down) for f in site.enb.all(0.02)), "the answer is sent")
        try:
            while (got := enb.recv(2048)) != gtpu.t_pdu(down, answer):
                assert got[1] == gtpu.ECHO_REQUEST
        except TimeoutError:
            return False
    return True


def test_a_stateful_firewall_lets_in_what_comes_from_2152(fixed: Site) -> None:
    assert comes_through_a_firewall(fixed)


def test_a_stateful_firewall_does_not_let_in_what_is_hashed(hashed: Site) -> None:
    assert not comes_through_a_firewall(hashed)
