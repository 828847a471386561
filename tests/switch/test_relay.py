"""Relays on a real switch: T-PDUs from tunnel to tunnel, and breakout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

UE, ENB, PGW = "10.45.0.9", ENB_IP["enb"], ENB_IP["enb2"]
UP, DOWN, CORE_UP, CORE = 0x1009, 0x2009, 0x6009, 0x5009
"""TEIDs: ours towards the base station, its; the core side peer's, ours towards it."""
CONTAINER = bytes.fromhex("01100900")
E, S, PN = gtpu.E, gtpu.S, gtpu.PN


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab)
        site.ready()
        yield site


@pytest.fixture
def relay(site: Site) -> Iterator[str]:
    name = relay_of(site)
    yield name
    site.delete(name)


def relay_of(site: Site, **members: Any) -> str:
    core = {"teid": CORE, "remote_teid": CORE_UP, "remote_ip": PGW}
    body = {
        "id": "relay",
        "uplink": {"teid": UP},
        "downlink": {"teid": DOWN, "remote_ip": ENB},
        "core": core,
        **members,
    }
    answer = site.lab.http("PUT", "/v1/sessions/relay", body)
    assert answer.status in (200, 201), answer.body
    assert answer.json()["state"] == "active", answer.body
    frame = site.from_enb(gtpu.t_pdu(UP, gtpu.ipv4(UE, "198.51.100.7")))

    def arrives() -> bool:
        site.enb.send(frame)
        return any(is_gtpu(each, CORE_UP) for each in site.enbs["enb2"].all(0.05))

    until(arrives, "the relay works")
    return "relay"


def through(site: Site, message: bytes, teid: int, *, enb: str, out: str) -> list[bytes]:
    """The GTP-U payloads that come out at a base station for one that another sends."""
    site.enbs[out].all()
    frame = site.from_enb(message, enb=enb)
    site.enbs[enb].send(frame)
    site.uplink()
    got = [each for each in site.enbs[out].all(0.05) if is_gtpu(each, teid)]
    for each in got:
        gtpu.check_frame(each)
    return [udp_payload(each) for each in got]


def udp_payload(frame: bytes) -> bytes:
    return frame[42 : 14 + int.from_bytes(frame[16:18], "big")]


def contents() -> dict[str, bytes]:
    made = {f"ttl {ttl}": gtpu.ipv4(UE, PDN_IP, ttl=ttl, size=100) for ttl in (1, 64, 100, 128)}
    made["ipv6"] = bytes(IPv6(src="2001:db8::2", dst="2001:db8::3") / UDP() / bytes(30))
    made["garbage"] = os.urandom(77)
    made["mpls"] = os.urandom(12) + b"\x88\x47" + os.urandom(60)
    return made


@pytest.mark.parametrize("content", contents())
@pytest.mark.parametrize("flags", [0, PN, E, E | PN])
def test_first_pass(site: Site, relay: str, flags: int, content: str) -> None:
    inner = contents()[content]
    body = (CONTAINER if flags & E else b"") + inner
    extension = 0x85 if flags & E else 0
    for teid, out_teid, enb, out in ((UP, CORE_UP, "enb", "enb2"), (CORE, DOWN, "enb2", "enb")):
        sent = gtpu.message(255, teid, body, flags=0x30 | flags, extension=extension)
        wanted = sent[:4] + out_teid.to_bytes(4, "big") + sent[8:]
        assert through(site, sent, out_teid, enb=enb, out=out) == [wanted]


def test_nftables_leaves_them_alone(site: Site, relay: str) -> None:
    """It has a part in T-PDUs that the switch makes: which of them is told by what stands in them.
    These look like such: headers that are to get a flag, and short packets that are padded."""
    two_units = bytes.fromhex("0210090133221100")
    ipv6 = bytes(IPv6(src="2001:db8::2", dst="2001:db8::3", fl=0x00020) / UDP() / bytes(30))
    service_class = bytes.fromhex("01000900")
    for flags, npdu, extension, body in (
        (E, 0, 0x85, two_units + gtpu.ipv4(UE, PDN_IP)),
        (E | PN, 7, 0x85, CONTAINER + gtpu.ipv4(UE, PDN_IP)),
        (E, 0, 0x85, CONTAINER + gtpu.ipv4(UE, PDN_IP, tos=0xB8)),
        (E, 0, 0x20, service_class + gtpu.ipv4(UE, PDN_IP)),
        (PN, 0, 0x20, gtpu.ipv4(UE, PDN_IP)),
        (0, 0, 0, ipv6),
        (0, 0, 0, b"\x15\x00\x00\x20" + os.urandom(60)),
    ):
        sent = gtpu.message(
            255, UP, body, flags=0x30 | flags, sequence=0, npdu=npdu, extension=extension
        )
        wanted = sent[:4] + CORE_UP.to_bytes(4, "big") + sent[8:]
        assert through(site, sent, CORE_UP, enb="enb", out="enb2") == [wanted]


def test_numbered(site: Site, relay: str) -> None:
    """With S the number is lost, and nothing else."""
    for ttl in (64, 100, 128):
        inner = gtpu.ipv4(UE, PDN_IP, ttl=ttl)
        sent = gtpu.message(255, UP, inner, flags=0x30 | S)
        assert through(site, sent, CORE_UP, enb="enb", out="enb2") == [gtpu.t_pdu(CORE_UP, inner)]
        body = CONTAINER + inner
        sent = gtpu.message(255, UP, body, flags=0x30 | E | S, extension=0x85)
        [got] = through(site, sent, CORE_UP, enb="enb", out="enb2")
        optional = bytes.fromhex("00000085")
        assert got == gtpu.message(255, CORE_UP, body, flags=0x34)[:8] + optional + body


def test_another_peer_and_back_under_traffic(site: Site, relay: str) -> None:
    inner = gtpu.ipv4(UE, PDN_IP)
    sent = gtpu.t_pdu(CORE, inner)
    assert through(site, sent, DOWN, enb="enb2", out="enb")
    site.patch(relay, {"downlink": None})
    until(lambda: not through(site, sent, DOWN, enb="enb2", out="enb"), "idle")
    with site.counted(idle_ue=1):
        assert not through(site, sent, DOWN, enb="enb2", out="enb")
    site.patch(relay, {"downlink": {"teid": DOWN, "remote_ip": ENB}})
    until(lambda: through(site, sent, DOWN, enb="enb2", out="enb"), "back")


def test_breakout(site: Site) -> None:
    name = relay_of(site, ue_ip=UE, breakout=["10.2.0.0/24"])
    for flags, body in ((0, b""), (E, CONTAINER)):
        extension = 0x85 if flags else 0
        local = gtpu.ipv4(UE, PDN_IP, ttl=128)
        message = gtpu.message(255, UP, body + local, flags=0x30 | flags, extension=extension)
        assert [f[14:] for f in site.uplink(site.from_enb(message))] == [local]
        far = gtpu.ipv4(UE, "198.51.100.7", ttl=128)
        message = gtpu.message(255, UP, body + far, flags=0x30 | flags, extension=extension)
        [got] = through(site, message, CORE_UP, enb="enb", out="enb2")
        if flags:
            assert got[0] == 0x34 and got[11:] == b"\x85" + CONTAINER + far
        else:
            assert got == gtpu.t_pdu(CORE_UP, far)
    back = gtpu.ipv4(PDN_IP, UE)
    [frame] = site.downlink(site.to_ue(back))
    assert (gtpu.decode(frame).teid, gtpu.decode(frame).inner) == (DOWN, back)
    site.delete(name)
