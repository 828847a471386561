"""Malformed packets into filtered, relayed and broken-out sessions: switch and controller live on,
and nothing leaves by a way that its session does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.support import gtpu, malformed
from tests.support.lab import Lab
from tests.support.malformed import Target
from tests.support.site import ACCESS_IP, CORE_IP, ENB_IP, PDN_IP, Site, is_gtpu
from tests.switch.test_malformed import PART, in_parts, inner_of, mac_bytes, unwrapped

pytestmark = pytest.mark.switch

UE, AWAY = "10.45.0.2", "10.45.0.3"
OWN, VOICE, WEB = 0x1001, 0x1101, 0x1102
OWN_DOWN, VOICE_DOWN, WEB_DOWN = 0x2001, 0x2101, 0x2102
FROM_RAN, FROM_CORE, TO_RAN, TO_CORE = 0x5001, 0x5002, 0x2005, 0x6001
OUT_RAN, OUT_CORE, OUT_TO_RAN, OUT_TO_CORE = 0x5003, 0x5004, 0x2006, 0x6003
EDGE = IPv4Network("10.2.0.0/24")
TCP, UDP = 6, 17
PORTS = range(1, 32768)
RAN, CORE = ENB_IP["enb"], ENB_IP["enb2"]
SEED, FRAMES = 29281, 2_000


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab)
        site.ready()
        bearers = [
            bearer("voice", 10, "permit out udp from any 1-32767 to assigned", VOICE, VOICE_DOWN),
            bearer("web", 20, "permit out tcp from any to assigned", WEB, WEB_DOWN),
        ]
        site.session(UE, teid=OWN, downlink=OWN_DOWN, bearers=bearers)
        relay(site, "relay", FROM_RAN, FROM_CORE, TO_RAN, TO_CORE)
        breakout = {"ue_ip": AWAY, "breakout": [str(EDGE)]}
        relay(site, "breakout", OUT_RAN, OUT_CORE, OUT_TO_RAN, OUT_TO_CORE, **breakout)
        yield site
        site.alive()


def bearer(name: str, precedence: int, of: str, up: int, down: int) -> dict[str, object]:
    far = {"teid": down, "remote_ip": RAN}
    own = {"uplink": {"teid": up}, "downlink": far}
    return {"id": name, "precedence": precedence, "filters": [of], **own}


def relay(
    site: Site, name: str, up: int, core: int, to_ran: int, to_core: int, **members: object
) -> None:
    body = {
        "id": name,
        "uplink": {"teid": up},
        "downlink": {"teid": to_ran, "remote_ip": RAN},
        "core": {"teid": core, "remote_teid": to_core, "remote_ip": CORE},
        **members,
    }
    answer = site.lab.http("PUT", f"/v1/sessions/{name}", body)
    assert answer.status == 201, answer.body
    assert answer.json()["state"] == "active", answer.body


# --- what may leave where


def teid_of(frame: bytes) -> int:
    at = 14 + frame[14] % 16 * 4 + 8 + 4
    return int.from_bytes(frame[at : at + 4], "big")


def source(packet: bytes) -> str:
    return str(IPv4Address(packet[12:16]))


def ports(packet: bytes) -> tuple[int, int] | None:
    """Source and destination, where the switch reads them: fragments have none."""
    at = packet[0] % 16 * 4
    if int.from_bytes(packet[6:8], "big") & 0x3FFF or len(packet) < at + 8:
        return None
    found = packet[at : at + 4]
    return int.from_bytes(found[:2], "big"), int.from_bytes(found[2:], "big")


def of_voice(packet: bytes, way: int) -> bool:
    """`way`: which of the ports is the remote end's."""
    both = ports(packet)
    return packet[9] == UDP and both is not None and both[way] in PORTS


MAY_LEAVE: dict[int, Callable[[bytes], bool]] = {
    OWN: lambda packet: source(packet) == UE,
    VOICE: lambda packet: source(packet) == UE and of_voice(packet, 1),
    WEB: lambda packet: source(packet) == UE and packet[9] == TCP,
    OUT_RAN: lambda packet: source(packet) == AWAY and IPv4Address(packet[16:20]) in EDGE,
}
"""What may leave by the core port, by the TEID that it came with."""
TUNNELS = {
    "enb": {FROM_CORE: TO_RAN, OUT_CORE: OUT_TO_RAN},
    "enb2": {FROM_RAN: TO_CORE, OUT_RAN: OUT_TO_CORE},
}
"""And in a tunnel, by the peer: with what TEID."""


def attack(site: Site, teid: int, seed: int, count: int) -> dict[str, int]:
    """Send that many; what passed, by where it left."""
    target = Target(
        eth_src=mac_bytes(site.enb_mac["enb"]),
        eth_dst=mac_bytes(site.local_mac),
        peer=RAN,
        gateway=ACCESS_IP,
        ue=AWAY if teid in (OUT_RAN, OUT_CORE) else UE,
        teid=teid,
        destination=PDN_IP,
    )
    passed = dict.fromkeys(("core", "enb", "enb2"), 0)
    for part in in_parts(malformed.gtpu_frames(seed, count, target)):
        for wire in site.enbs.values():
            wire.all()
        held: dict[bytes, set[int]] = {}
        for frame in part:
            if (packet := unwrapped(frame)) is not None:
                held.setdefault(packet, set()).add(teid_of(frame))
        for frame in site.uplink(*part):
            packet = frame[14:]
            assert packet in held, f"seed {seed}: of other content: {frame.hex()}"
            may = [MAY_LEAVE[t](packet) for t in held[packet] if t in MAY_LEAVE]
            assert any(may), f"seed {seed}: by the core port: {frame.hex()}"
            passed["core"] += 1
        for name, tunnels in TUNNELS.items():
            relayed = {tunnels[t]: t for t in tunnels}
            for frame in site.enbs[name].all(0.1):
                if not is_gtpu(frame) or frame[43] != gtpu.T_PDU:
                    continue
                out = teid_of(frame)
                assert out in relayed, f"seed {seed}: to {name} with {out:#x}: {frame.hex()}"
                came = [each for each in part if teid_of(each) == relayed[out]]
                assert any(same(frame, each) for each in came), f"seed {seed}: {frame.hex()}"
                passed[name] += 1
        assert site.lab.switch_alive(), f"seed {seed}: ovs-vswitchd has ended"
    return passed


def same(out: bytes, came: bytes) -> bool:
    """Whether what left in a tunnel is what came in one: octet for octet behind the header, or, by
    the long way, what of it stands behind the optional part, or a container in front too."""
    left, gtp = gtp_of(out), gtp_of(came)
    if left[8:] == gtp[8:]:
        return True
    whole = (gtp[8:], gtp[12:], inner_of(came) or b"")
    packets = (left[8:], inner_of(out) or b"")
    return any(alike(packet, each) for packet in packets for each in whole)


def alike(packet: bytes, whole: bytes) -> bool:
    """But for ECN, which may be of both headers', and what stands behind a short IP packet, which
    is cut off."""
    if packet[:1] != whole[:1] or packet[2:10] != whole[2:10] or packet[12:20] != whole[12:20]:
        return False
    if (packet[1:2] or b"\0")[0] >> 2 != (whole[1:2] or b"\0")[0] >> 2:
        return False
    cut = 20 <= len(packet) <= 50 and len(packet) == int.from_bytes(packet[2:4], "big")
    return packet[20:] == (whole[20 : len(packet)] if cut else whole[20:])


def gtp_of(frame: bytes) -> bytes:
    at = 14 + frame[14] % 16 * 4
    return frame[at + 8 : 14 + int.from_bytes(frame[16:18], "big")]


def attack_core(site: Site, seed: int, count: int) -> dict[int, int]:
    """Packets for the UE; how many left in each tunnel."""
    target = Target(
        eth_src=mac_bytes(site.pdn_mac),
        eth_dst=mac_bytes(site.core_mac),
        peer=PDN_IP,
        gateway=CORE_IP,
        ue=UE,
        teid=OWN,
        destination=UE,
    )
    passed = dict.fromkeys((OWN_DOWN, VOICE_DOWN, WEB_DOWN), 0)
    for part in in_parts(malformed.core_frames(seed, count, target)):
        for frame in site.downlink(*part):
            if not is_gtpu(frame) or frame[43] != gtpu.T_PDU:
                continue
            teid, packet = teid_of(frame), gtp_of(frame)[8:]
            if of_voice(packet, 0):
                wanted = VOICE_DOWN
            else:
                wanted = WEB_DOWN if packet[9] == TCP else OWN_DOWN
            assert teid == wanted, f"seed {seed}: {teid:#x}, not {wanted:#x}: {frame.hex()}"
            passed[teid] += 1
        assert site.lab.switch_alive(), f"seed {seed}: ovs-vswitchd has ended"
    return passed


@pytest.fixture(autouse=True)
def survives(site: Site) -> Iterator[None]:
    """After each test the controller is the same, and all works."""
    start = site.lab.controller
    yield
    assert site.lab.controller is start
    site.alive()


@pytest.mark.parametrize(
    ("teid", "ways"),
    [
        (VOICE, {"core"}),
        (WEB, {"core"}),
        (FROM_RAN, {"enb2"}),
        (FROM_CORE, {"enb"}),
        (OUT_RAN, {"core", "enb2"}),
        (OUT_CORE, {"enb"}),
    ],
)
def test_in_tunnels(site: Site, teid: int, ways: set[str]) -> None:
    passed = attack(site, teid, SEED + teid, FRAMES)
    assert {way for way, count in passed.items() if count} == ways, passed


def test_from_the_core_port(site: Site) -> None:
    assert all(attack_core(site, SEED, 2 * FRAMES).values()), "each tunnel was met"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(25))
def test_for_long(site: Site, seed: int) -> None:
    """500,000 in all."""
    for teid in (VOICE, WEB, FROM_RAN, FROM_CORE, OUT_RAN, OUT_CORE):
        attack(site, teid, 1000 * teid + seed, 3 * PART)
    attack_core(site, seed, 2 * PART)
    for wire in (site.pdn, *site.enbs.values()):
        wire.seen.clear()
