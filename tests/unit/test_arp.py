"""ARP packets, built and read."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import ARP, Ether

from ofgtp.core.packets.arp import Arp, announcement, parse, request

MAC = "06:00:00:00:00:02"
US, HOP = IPv4Address("10.2.0.1"), IPv4Address("10.2.0.2")


def test_a_request_as_others_read_it() -> None:
    frame = Ether(request(MAC, US, HOP))
    assert (frame.src, frame.dst) == (MAC, "ff:ff:ff:ff:ff:ff")
    asked = frame[ARP]
    assert (asked.op, asked.hwsrc, asked.psrc) == (1, MAC, str(US))
    assert (asked.hwdst, asked.pdst) == ("00:00:00:00:00:00", str(HOP))
    assert (asked.hwtype, asked.ptype, asked.hwlen, asked.plen) == (1, 0x800, 6, 4)


def test_an_announcement_as_others_read_it() -> None:
    frame = Ether(announcement(MAC, US))
    assert (frame.src, frame.dst) == (MAC, "ff:ff:ff:ff:ff:ff")
    said = frame[ARP]
    assert (said.op, said.hwsrc, said.psrc, said.pdst) == (1, MAC, str(US), str(US))


@given(st.integers(0, 0xFFFF), st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_what_others_build_is_read(op: int, sender: IPv4Address, target: IPv4Address) -> None:
    body = ARP(op=op, hwsrc=MAC, psrc=str(sender), hwdst=MAC, pdst=str(target))
    frame = bytes(Ether(src=MAC, dst=MAC, type=0x0806) / body)
    assert parse(frame) == parse(frame + bytes(18)) == Arp(op, MAC, sender, target)


def test_what_is_no_arp_for_ipv4_is_not_read() -> None:
    good = request(MAC, US, HOP)
    assert parse(good) is not None
    assert parse(good[:-1]) is None
    assert parse(b"") is None
    for place in (12, 14, 16, 18, 19):
        bad = bytearray(good)
        bad[place] ^= 0x40
        assert parse(bytes(bad)) is None, place


def test_no_station_has_a_group_address_or_none() -> None:
    for mac in ("01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"):
        assert parse(request(mac, US, HOP)) is None


@given(st.binary(max_size=80))
def test_garbage_is_no_error(data: bytes) -> None:
    parse(data)
    parse(bytes(12) + b"\x08\x06\x00\x01\x08\x00\x06\x04" + data)
