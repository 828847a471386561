"""Packets that Ethernet has padded: the T-PDU holds the packet and nothing behind it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP

from tests.support import gtpu, tshark
from tests.support.lab import Lab
from tests.support.site import ENB_IP, MARK, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

UES = {
    "4G": ("10.45.0.2", 0x1002, 0x2002, None),
    "odd QFI": ("10.45.0.3", 0x1003, 0x2003, 9),
    "even QFI": ("10.45.0.4", 0x1004, 0x2004, 8),
}
PAD = b"\xaa"
"""No packet here has it in it."""


@pytest.fixture(scope="module", params=("inherit", 46), ids=lambda dscp: f"dscp {dscp}")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """With its two ways to an outer DSCP; other rules of nftables are there for each."""
    dscp = '"inherit"' if request.param == "inherit" else request.param
    with Lab() as lab:
        site = Site(lab, lab.config(gateway=f"dscp = {dscp}"))
        site.ready()
        for ue, up, down, qfi in UES.values():
            site.session(ue, teid=up, downlink=down, **({} if qfi is None else {"qfi": qfi}))
        yield site
        site.alive()
        site.check_sent()
        mine = [frame for frame in site.enb.seen if is_gtpu(frame) and frame[43] == gtpu.T_PDU]
        mine = [frame for frame in mine if MARK not in frame]
        assert len(mine) > 100 and tshark.complaints(mine) == []
        lengths = tshark.rows(mine, ("gtp.length", "udp.length", "ip.len"), "gtp")
        for gtp, udp, ip in ([int(n.split(",")[0]) for n in row] for row in lengths):
            assert (udp, ip) == (gtp + 16, gtp + 36)
        assert site.gateway()["repairs"] == 0, "the rules are listed as they were made"


def container(qfi: int | None) -> bytes:
    return b"" if qfi is None else bytes([1, 0, qfi, 0])


@pytest.mark.parametrize("frame_size", (0, 56, 60, 64), ids=lambda size: f"{size}-octet frames")
@pytest.mark.parametrize("who", UES)
def test_each_size(site: Site, who: str, frame_size: int) -> None:
    """60 octets are Ethernet's least; 56 are left where a card takes a VLAN tag off, 64 may be
    where a switch has; 0: nobody pads, as on a veth."""
    ue, _, down, qfi = UES[who]
    sizes = range(20, 56)
    packets = [
        gtpu.ipv4(PDN_IP, ue, size=size, tos=0xB8, **({"proto": 253} if size < 28 else {}))
        for size in sizes
    ]
    assert not any(PAD * 2 in packet for packet in packets)
    frames = [site.to_ue(packet).ljust(frame_size, PAD) for packet in packets]
    with site.counted():
        got = [gtpu.decode(frame) for frame in site.downlink(*frames)]
    assert {(each.teid, each.tos >> 2) for each in got} == {(down, 0xB8 >> 2)}
    assert [each.inner for each in got] == [container(qfi) + packet for packet in packets]


def test_an_acknowledgement(site: Site) -> None:
    packet = bytes(IP(src=PDN_IP, dst=UES["4G"][0]) / TCP(flags="A", seq=1, ack=2))
    (got,) = site.downlink(site.to_ue(packet).ljust(60, b"\0"))
    assert int.from_bytes(got[44:46], "big") == 40, "GTP-U's Length"
    assert gtpu.decode(got).inner == packet


def test_options_of_the_inner_packet(site: Site) -> None:
    packet = bytes(IP(src=PDN_IP, dst=UES["odd QFI"][0], options=b"\1\1\1\0") / ICMP())
    assert len(packet) == 32
    (got,) = site.downlink(site.to_ue(packet).ljust(60, b"\0"))
    assert gtpu.decode(got).inner == container(9) + packet


def test_a_base_station_with_a_stack_gets_the_packet_alone(site: Site) -> None:
    """What stays behind the outer packet in its frame is no part of it."""
    with site.lab.inside("enb"):
        enb = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    site.lab.exec("enb", ["nft", "insert rule netdev mute in udp dport 2152 accept"])
    with enb:
        enb.bind((ENB_IP["enb"], gtpu.PORT))
        enb.settimeout(0.1)
        packet = gtpu.ipv4(PDN_IP, UES["4G"][0], size=28)

        def received() -> bytes | None:
            site.pdn.send(site.to_ue(packet).ljust(60, PAD))
            try:
                return enb.recv(2048)
            except TimeoutError:
                return None

        assert until(received, "the base station gets it") == gtpu.t_pdu(UES["4G"][2], packet)


def test_short_signalling_is_left_alone(site: Site) -> None:
    """An Echo Response has 42 octets of IPv4, fewer than a T-PDU of these sizes."""
    site.enb.all()
    site.enb.send(site.from_enb(gtpu.message(gtpu.ECHO_REQUEST, 0, flags=0x32)))

    def answered() -> bytes | None:
        frames = (f for f in site.enb.all(0.02) if is_gtpu(f) and f[43] == gtpu.ECHO_RESPONSE)
        return next(frames, None)

    assert gtpu.decode(until(answered, "the answer")).inner == b"\x0e\0", "Recovery"


def test_the_host_pads_nothing() -> None:
    """With `core_port = "host"` nftables has no rule for it."""
    with Lab() as lab:
        lab.start_controller(lab.config(core='core_port = "host"\ncore_ip = "10.2.0.1/24"'))
        rules = lab.exec("gw", ["nft", "list", "table", "netdev", "ofgtp_br-ofgtp"]).stdout
    assert "goto contained" in rules and "map {" not in rules
