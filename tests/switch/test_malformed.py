"""Malformed packets by the ten thousand: switch and controller live on, and nothing gets through
that is not a session's."""

from collections.abc import Iterator

import pytest

from tests.support import gtpu, malformed
from tests.support.answers import Counted, judge
from tests.support.balance import balanced, settled
from tests.support.malformed import Target
from tests.support.site import ACCESS_IP, CORE_IP, ENB_IP, PDN_IP, Site, is_gtpu

pytestmark = pytest.mark.switch

UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
SEED = 29281
ACCESS_FRAMES, CORE_FRAMES, PART = 20_000, 5_000, 1_000


@pytest.fixture(scope="module", autouse=True)
def sessions(site: Site) -> None:
    """With a QFI, since for its packets there is most to do; T-PDUs of both kinds are its."""
    site.session(UE, teid=UP, downlink=DOWN, qfi=9, qfi_required=False)


@pytest.fixture(autouse=True)
def survives(site: Site) -> Iterator[None]:
    """After each test all is as before it."""
    start = site.lab.controller
    yield
    assert site.lab.controller is start
    site.alive()
    for ttl in (1, 64, 100, 128):
        inner = gtpu.ipv4(UE, PDN_IP, ttl=ttl)
        assert [frame[14:] for frame in site.uplink(site.t_pdu(UP, inner))] == [inner]
        packet = gtpu.ipv4(PDN_IP, UE, ttl=ttl)
        (got,) = [gtpu.decode(frame) for frame in site.downlink(site.to_ue(packet))]
        container = bytes([1, 0, 9, 0])
        assert (got.teid, got.flags, got.inner) == (DOWN, 0x34, container + packet)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def in_parts(frames: Iterator[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    for frame in frames:
        part.append(frame)
        if len(part) == PART:
            yield part
            part = []
    yield part


def access_target(site: Site) -> Target:
    return Target(
        eth_src=mac_bytes(site.enb_mac["enb"]),
        eth_dst=mac_bytes(site.local_mac),
        peer=ENB_IP["enb"],
        gateway=ACCESS_IP,
        ue=UE,
        teid=UP,
        destination=PDN_IP,
    )


def core_target(site: Site) -> Target:
    return Target(
        eth_src=mac_bytes(site.pdn_mac),
        eth_dst=mac_bytes(site.core_mac),
        peer=PDN_IP,
        gateway=CORE_IP,
        ue=UE,
        teid=UP,
        destination=UE,
    )


def attack_access(site: Site, seed: int, count: int) -> tuple[int, int]:
    """Send that many; how many were sent, and how many passed, as packets of the session's."""
    sent = passed = 0
    header = mac_bytes(site.pdn_mac + site.core_mac) + b"\x08\x00"
    ue = bytes(map(int, UE.split(".")))
    for part in in_parts(malformed.gtpu_frames(seed, count, access_target(site))):
        held = {unwrapped(frame) for frame in part}
        for frame in site.uplink(*part):
            assert frame[14:] in held, f"seed {seed}: of other content: {frame.hex()}"
            assert frame.startswith(header), f"seed {seed}: {frame.hex()}"
            assert frame[26:30] == ue, f"seed {seed}: spoofed: {frame.hex()}"
            passed += 1
        sent += len(part)
        assert site.lab.switch_alive(), f"seed {seed}: ovs-vswitchd has ended"
    return sent, passed


def unwrapped(frame: bytes) -> bytes | None:
    """What a G-PDU holds, with the ECN that RFC 6040 makes of both headers'; None if nothing.

    Open vSwitch writes to no header of protocol 0.
    """
    inner = inner_of(frame)
    if inner is None or len(inner) < 20 or inner[9] == 0:
        return inner
    outer, old = frame[15] & 3, inner[1]
    if outer == 3 and not old & 3:
        return None
    new = old | 3 if outer == 3 else old ^ 3 if (outer, old & 3) == (1, 2) else old
    total = (0xFFFF ^ int.from_bytes(inner[10:12], "big")) + (0xFFFF ^ old) + new
    total = (total & 0xFFFF) + (total >> 16)
    check = 0xFFFF ^ (total & 0xFFFF) + (total >> 16) if new != old else None
    summed = inner[10:12] if check is None else check.to_bytes(2, "big")
    return inner[:1] + bytes([new]) + inner[2:10] + summed + inner[12:]


def inner_of(frame: bytes) -> bytes | None:
    """What a G-PDU holds, read by the letter of TS 29.281, 5.1 and 5.2; None if nothing.

    But for lengths: the outer packet's counts, not the header's. With E and S set its first octets
    tell whether there is an extension header, not the type: this the switch has taken off.
    """
    gtp = 14 + frame[14] % 16 * 4 + 8 if len(frame) > 14 else 0
    if len(frame) < gtp + 12:
        return frame[gtp + 8 :]
    flags, kind, at = frame[gtp], frame[gtp + 11], gtp + 8
    if flags & (gtpu.E | gtpu.S | gtpu.PN):
        at += 4
    if flags & gtpu.E and flags & gtpu.S and at < len(frame):
        kind = 0 if frame[at] >> 4 in (4, 6) else kind or 1
    while flags & gtpu.E and kind:
        size = 4 * frame[at] if at < len(frame) else 0
        if not size or at + size > len(frame):
            return None
        kind = frame[at + size - 1]
        at += size
    return frame[at:]


def attack_core(site: Site, seed: int, count: int) -> int:
    """Send that many; how many passed, into the session's tunnel."""
    passed = 0
    for part in in_parts(malformed.core_frames(seed, count, core_target(site))):
        for frame in site.downlink(*part):
            if is_gtpu(frame) and frame[43] != gtpu.T_PDU:
                continue  # an answer to what came from the access side before
            assert is_gtpu(frame, DOWN), f"seed {seed}: {frame.hex()}"
            assert gtpu.decode(frame).destination == ENB_IP["enb"]
            passed += 1
        assert site.lab.switch_alive(), f"seed {seed}: ovs-vswitchd has ended"
    return passed


def test_on_the_access_side(site: Site) -> None:
    before, count = settled(site), Counted(site.lab)
    sent, passed = attack_access(site, SEED, ACCESS_FRAMES)
    assert sent == ACCESS_FRAMES
    assert passed > ACCESS_FRAMES / 100, "some of it is right"
    found = balanced(site, before)
    assert found["packets uplink"] >= passed
    drops = {name for kind, _, name in (each.partition(" ") for each in found) if kind == "drops"}
    expected = {
        *("access_other", "extension_header", "forged_signalling", "inner_ipv6", "inner_mpls"),
        *("tunnel_error", "bad_inner"),
        *("no_uplink_session", "not_ip", "outer_fragment"),
        *("gtp_prime", "protected_destination", "vlan", "wrong_version"),
        *("long_container", "bad_container", "extension_chain", "not_ecn_capable"),
    }
    assert expected <= drops, "every guard is met"
    heard = count.received
    assert {"echo_request", "error_indication", "end_marker"} <= set(heard), "and signalling is"
    # Of a message of type 0 the switch loses the flags when it looks through its cache, and then
    # counts it as one of a wrong version, though the controller gets it.
    assert 0 < found["own signalling"] <= sum(heard.values())
    site.check_sent()
    judge(site)


def test_on_the_core_side(site: Site) -> None:
    before = settled(site)
    assert attack_core(site, SEED, CORE_FRAMES) > CORE_FRAMES / 100
    balanced(site, before)
    site.check_sent()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(50))
def test_for_long(site: Site, seed: int) -> None:
    attack_access(site, seed, ACCESS_FRAMES)
    attack_core(site, seed, CORE_FRAMES)
    for wire in (site.pdn, *site.enbs.values()):
        wire.seen.clear()


@pytest.mark.parametrize("message_type", (1, 26, 254, 255))
def test_every_first_byte(site: Site, message_type: int) -> None:
    """Every version, protocol type and flag, on packets of every class that the switch makes."""
    ue = bytes(map(int, UE.split(".")))
    frames = [
        site.from_enb(bytes([flags]) + gtpu.message(message_type, UP, optional + inner)[1:])
        for flags in range(256)
        for inner in (
            *(gtpu.ipv4(UE, PDN_IP, ttl=ttl) for ttl in (64, 100, 128)),
            b"\x60" + bytes(59),
            b"\x01\x10\x09\x00" + gtpu.ipv4(UE, PDN_IP),
        )
        for optional in (b"", b"\x00\x01\x00\x85")
    ]
    got = site.uplink(*frames)
    assert all(frame[26:30] == ue for frame in got)
    assert bool(got) == (message_type == 255)
