"""Malformed IPv6 packets by the ten thousand, in the tunnels of live sessions and for them: good
packets in between come through, nothing goes where it should not, and all live on."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.malformed6 import Maker, t_pdu
from tests.support.site import ACCESS_IP, BRIDGE, CHUNK, ENB_IP, Site, is_gtpu, until
from tests.support.stream import ethernet, udp_datagram

pytestmark = pytest.mark.switch

CORE, HOP, SERVER = (IPv6Address(f"2001:db8:{rest}") for rest in ("c::1", "c::2", "ffff::1"))
ROUTER = IPv6Address("fe80::1")
POOL = "2001:db8:a::/48"
UPLINK, DOWNLINK = 6_000, 4_000
LONG = range(50)
"""So often for 500,000 packets."""
GROWTH = 40 << 20
"""Octets by which a process may grow in a long run: the switch's cache comes and goes."""


@dataclass(frozen=True)
class Session:
    """A UE, as the base station knows it."""

    ue_ip: str
    prefix: IPv6Network
    up: int
    down: int
    qfi: int | None

    @property
    def container(self) -> bytes:
        """What the gateway puts before its packets."""
        return b"" if self.qfi is None else bytes([1, 0, self.qfi, 0])

    def good(self, number: int, *, to_ue: bool) -> bytes:
        """A packet without any fault."""
        ends = self.prefix.network_address + 7, SERVER
        source, target = reversed(ends) if to_ue else ends
        payload = b"good " + number.to_bytes(8, "big")
        made = IPv6(src=str(source), dst=str(target)) / UDP(sport=4000, dport=5000)
        return bytes(made / Raw(payload))


UES = (
    Session("10.45.0.2", IPv6Network("2001:db8:a:1::/64"), 0x1001, 0x2001, None),
    Session("10.45.0.3", IPv6Network("2001:db8:a:2::/64"), 0x1002, 0x2002, 9),
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        config = lab.config().replace(
            'ue_pools = ["10.45.0.0/16"]',
            f'ue_pools = ["10.45.0.0/16", "{POOL}"]\ncore_ip6 = "{CORE}/64"\nnext_hop6 = "{HOP}"',
        )
        lab.add_ipv6("pdn", f"{HOP}/64")
        site = Site(lab, config)
        site.ready()
        known = "table=50,ipv6"
        until(lambda: "set_field" in lab.ofctl("dump-flows", BRIDGE, known), "the next hop answers")
        until(lambda: site.gateway()["in_sync"], "in sync")
        lab.exec("pdn", ["ip", "addr", "del", f"{HOP}/64", "dev", "eth0"])  # it is silent from now
        for ue in UES:
            more = {} if ue.qfi is None else {"qfi": ue.qfi, "qfi_required": False}
            site.session(ue.ue_ip, teid=ue.up, downlink=ue.down, ue_ipv6=str(ue.prefix), **more)
        yield site
        site.alive()


@pytest.fixture(autouse=True)
def survives(site: Site) -> Iterator[None]:
    """After each test the same switch and controller run, and forward."""
    start = site.lab.controller
    yield
    assert site.lab.controller is start
    site.alive()
    attack(site, 0, uplink=0, downlink=0)


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def attack(site: Site, seed: int, *, uplink: int, downlink: int) -> tuple[int, int]:
    """Send so many malformed packets each way, with good ones in between; how many got through."""
    rng = random.Random(seed)
    maker = Maker(rng, [ue.prefix for ue in UES], SERVER)
    passed_up = sum(up(site, maker, part) for part in parts(uplink))
    passed_down = sum(down(site, maker, part) for part in parts(downlink))
    return passed_up, passed_down


def parts(count: int) -> Iterator[int]:
    """As many as go together, with room for good ones; one part if there are none."""
    most = CHUNK - 2 * len(UES)
    yield from (min(most, count - start) for start in range(0, max(count, 1), most))


def mixed(rng: random.Random, bad: Sequence[bytes], good: Sequence[bytes]) -> list[bytes]:
    frames = [*bad, *good]
    rng.shuffle(frames)
    return frames


def up(site: Site, maker: Maker, count: int) -> int:
    """Malformed packets in the tunnels of sessions; how many left for the core."""
    rng, lost, good_frames = maker.rng, {}, []
    sent: dict[bytes, set[IPv6Network]] = {}

    def framed(ue: Session, inner: bytes) -> bytes:
        sent.setdefault(inner, set()).add(ue.prefix)
        tunnelled = t_pdu(rng, ue.up, inner, ue.qfi)
        outer = udp_datagram(ENB_IP["enb"], ACCESS_IP, gtpu.PORT, tunnelled, 64)
        return ethernet(site.local_mac, site.enb_mac["enb"]) + outer

    for ue in UES:
        for _ in range(2):
            inner = ue.good(rng.getrandbits(60), to_ue=False)
            good_frames.append(framed(ue, inner))
            lost[inner] = ue
    chosen = [rng.choice(UES) for _ in range(count)]
    bad = [framed(ue, maker.uplink(ue.prefix)) for ue in chosen]
    header = octets(site.pdn_mac + site.core_mac) + b"\x86\xdd"
    passed = 0
    for frame in site.uplink(*mixed(rng, bad, good_frames)):
        inner = frame[14:]
        if is_ours(site, frame):
            continue
        assert frame[:14] == header, frame.hex()
        assert inner in sent, f"of other content: {frame.hex()}"
        source = IPv6Address(inner[8:24])
        assert any(source in prefix for prefix in sent[inner]), f"spoofed: {frame.hex()}"
        passed += lost.pop(inner, None) is None
    assert not lost, "good packets are lost"
    for frame in site.enb.all():
        if is_gtpu(frame) and frame[43] == gtpu.T_PDU:
            advertised(frame)
    forget(site)
    return passed


def advertised(frame: bytes) -> None:
    """What goes to a UE of itself is what its router says: where it is, and the UE's prefix."""
    [ue] = [ue for ue in UES if is_gtpu(frame, ue.down)]
    inner = inner_of(ue, frame)
    assert inner[6:8] == b"\x3a\xff" and inner[8:24] == ROUTER.packed, frame.hex()
    kind, prefix = inner[40], ue.prefix.network_address.packed
    assert kind == 136 or (kind == 134 and prefix in inner), frame.hex()


def inner_of(ue: Session, frame: bytes) -> bytes:
    """What a T-PDU holds that the gateway has sent."""
    flags, _, size, _ = struct.unpack_from("!BBHI", frame, 42)
    assert size == len(frame) - 50, frame.hex()
    if ue.qfi is None:
        assert flags == gtpu.PLAIN, frame.hex()
        return frame[50:]
    assert flags == gtpu.PLAIN | gtpu.E and frame[53:58] == b"\x85" + ue.container, frame.hex()
    return frame[58:]


def is_ours(site: Site, frame: bytes) -> bool:
    """Whether the gateway itself has made a packet for the core side: it asks for the next hop, and
    answers as a router and a host."""
    mine = frame[6:14] == octets(site.core_mac) + b"\x86\xdd"
    return mine and frame[22:38] == CORE.packed


def down(site: Site, maker: Maker, count: int) -> int:
    """Malformed packets from the core side; how many went into tunnels."""
    rng, lost, good_frames = maker.rng, {}, []
    header = octets(site.core_mac + site.pdn_mac) + b"\x86\xdd"
    for ue in UES:
        for _ in range(2):
            inner = ue.good(rng.getrandbits(60), to_ue=True)
            good_frames.append(header + inner)
            lost[inner] = ue
    bad = [header + maker.downlink(rng.choice(UES).prefix) for _ in range(count)]
    sent = {frame[14:] for frame in (*bad, *good_frames)}
    site.pdn.all()
    passed = 0
    for frame in site.downlink(*mixed(rng, bad, good_frames)):
        if is_gtpu(frame) and frame[43] != gtpu.T_PDU:
            continue
        [ue] = [ue for ue in UES if is_gtpu(frame, ue.down)]
        inner = inner_of(ue, frame)
        if inner[8:24] == ROUTER.packed and inner not in sent:
            advertised(frame)
            continue
        assert inner in sent, f"of other content: {frame.hex()}"
        assert IPv6Address(inner[24:40]) in ue.prefix, f"another's: {frame.hex()}"
        passed += lost.pop(inner, None) is None
    assert not lost, "good packets are lost"
    for frame in site.pdn.all():
        arp = frame[12:14] == b"\x08\x06"
        assert arp or is_ours(site, frame), f"back to the core side: {frame.hex()}"
    forget(site)
    return passed


def forget(site: Site) -> None:
    assert site.lab.switch_alive(), "Open vSwitch has ended"
    for wire in (site.pdn, site.enb):
        wire.seen.clear()


def test_both_ways(site: Site) -> None:
    before = site.counters()
    passed_up, passed_down = attack(site, 8200, uplink=UPLINK, downlink=DOWNLINK)
    assert passed_up > UPLINK / 5 and passed_down > DOWNLINK / 5, "much of it is a router's to send"
    expected = "no_uplink_session", "ue_to_ue", "protected_destination", "not_ip", "bad_inner"
    expected = *expected, "unknown_ue", "core_other"

    def counted() -> bool:
        now = site.counters()
        return all(now[name] > before[name] for name in expected)

    until(counted, "every guard is met")


def test_megaflows_do_not_grow_with_the_hosts(site: Site) -> None:
    """However hard a host's address is to tell from one that no UE may reach."""
    [ue, _] = UES
    near = [int(CORE), int(IPv6Address("fe80::")), int(IPv6Address(POOL[:-3]))]
    rng, found = random.Random(3), []
    header = octets(site.core_mac + site.pdn_mac) + b"\x86\xdd"
    for count in (300, 1200):
        site.lab.appctl("revalidator/purge")
        for _ in range(count // CHUNK):
            sent, back = [], []
            for _ in range(CHUNK):
                bit = 127 - rng.randrange(128)
                host = rng.choice(near) ^ (1 << bit | rng.getrandbits(bit))
                up = bytearray(ue.good(0, to_ue=False))
                up[24:40] = host.to_bytes(16, "big")
                tunnelled = gtpu.t_pdu(ue.up, bytes(up))
                outer = udp_datagram(ENB_IP["enb"], ACCESS_IP, gtpu.PORT, tunnelled, 64)
                sent.append(ethernet(site.local_mac, site.enb_mac["enb"]) + outer)
                back.append(header + up[:8] + up[24:40] + up[8:24] + up[40:])
            site.uplink(*sent)
            site.downlink(*map(bytes, back))
        shown = site.lab.appctl("dpctl/dump-flows").splitlines()
        found.append(sum("eth_type(0x86dd)" in line for line in shown))
    forget(site)
    assert found[0] <= 3 * 128 and found[1] <= 4 * 128, found


def resident(site: Site) -> dict[str, int]:
    """Octets of memory that the processes have."""
    assert site.lab.controller is not None
    pids = {
        "controller": site.lab.controller.pid,
        "switch": int((site.lab.dir / "ovs-vswitchd.pid").read_text()),
    }
    found = {}
    for name, pid in pids.items():
        status = Path(f"/proc/{pid}/status").read_text()
        found[name] = int(status.partition("VmRSS:")[2].split()[0]) << 10
    return found


@pytest.fixture(scope="module")
def grown(site: Site) -> Iterator[None]:
    """Over all of a long run, nothing grows without end."""
    attack(site, 1, uplink=UPLINK, downlink=DOWNLINK)
    before = resident(site)
    yield
    site.lab.appctl("revalidator/purge")
    after = resident(site)
    print(f"resident before {before}, after {after}")
    assert all(after[name] - before[name] < GROWTH for name in before), (before, after)


@pytest.mark.long
@pytest.mark.parametrize("seed", LONG)
def test_for_long(site: Site, grown: None, seed: int) -> None:
    attack(site, seed, uplink=UPLINK, downlink=DOWNLINK)
