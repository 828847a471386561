"""IPv6 beside IPv4, in the same sessions: packets and bits a second, and megaflows."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ipaddress import IPv6Address, ip_network
from typing import Any

from benchmarks import blast, site
from benchmarks.measure import Row, samples
from benchmarks.traffic import (
    RECEIVER,
    WAYS,
    Ends,
    Run,
    arrives,
    counters,
    ends,
    frame,
    pin,
    sending,
    window,
)
from benchmarks.variety import keep
from ofgtp.core.rules.base import UNREACHABLE_FOR_UES, UNREACHABLE_FOR_UES6
from tests.support.stream import GTPU, checksum, ethernet, udp_datagram

CORE6, PDN6 = "2001:db8:c::1", "2001:db8:c::2"
GATEWAY = f'core_ip6 = "{CORE6}/64"\nnext_hop6 = "{PDN6}"\n'
STEPS = (1, 1_000)
LENGTHS = (64, 1400)
"""Of the inner packet, in octets, of both versions."""
KINDS = ("IPv4, TTL 64", "IPv4, TTL 128", "IPv6")
LEAST = 0.95
ROUNDS = 9
WARM_S, WINDOW_S = 0.15, 0.4
WARM_MANY_S = 1.0
"""The same with many sessions: the switch takes one of a hundred packets into its fastest cache."""

CONNECTIONS = (1_000, 10_000)
SEND_S = 4.0
FORBIDDEN = {
    "IPv4": (
        *("10.45.0.0/16", "10.46.0.0/16", "10.1.0.0/24", "10.2.0.1/32"),
        *map(str, UNREACHABLE_FOR_UES),
    ),
    "IPv6": (site.POOL6, f"{CORE6}/128", *map(str, UNREACHABLE_FOR_UES6)),
}
"""Prefixes that UEs may not reach, of each version."""
MOST = sum(ip_network(each).prefixlen for each in FORBIDDEN["IPv6"])
"""As many megaflows as these prefixes have leading bits, by which a host may differ from one."""


def session(number: int) -> dict[str, Any]:
    """Session `number` with a prefix beside its IPv4 address."""
    return site.session(number) | {"ue_ipv6": f"2001:db8:a:{number + 1:x}::/64"}


def start(lab: site.Lab, sessions: int) -> Ends:
    """A gateway with IPv6, whose next hop is known, and so many sessions."""
    lab.add_ipv6("pdn", f"{PDN6}/64")
    site.started(lab, "controller", GATEWAY)
    known = "table=50,ipv6"
    site.until(lambda: "set_field" in lab.ofctl("dump-flows", site.BRIDGE, known), "the next hop")
    add(lab, range(sessions))
    return ends(lab)


def add(lab: site.Lab, numbers: Sequence[int]) -> None:
    site.batch(lab, site.ndjson({"op": "put", "session": session(each)} for each in numbers))


def frame6(
    way: str, there: Ends, of: dict[str, Any], *, length: int, remote: str = PDN6, port: int = 9000
) -> bytes:
    """As traffic.frame, with an inner IPv6 packet of `length` octets."""
    ue = of["ue_ipv6"].replace("::/64", ":1:2:3:4")
    source, target = (ue, remote) if way == "uplink" else (remote, ue)
    addresses = IPv6Address(source).packed + IPv6Address(target).packed
    size = length - 40
    udp = struct.pack("!HHHH", port, port, size, 0) + bytes(size - 8)
    summed = checksum(addresses + struct.pack("!IHBB", size, 0, 0, 17) + udp)
    head = struct.pack("!IHBB", 6 << 28, size, 17, 64)
    inner = head + addresses + udp[:6] + struct.pack("!H", summed) + udp[8:]
    if way == "downlink":
        return ethernet(there.core, there.pdn)[:12] + b"\x86\xdd" + inner
    tunnel = struct.pack("!BBHI", 0x30, 255, len(inner), of["uplink"]["teid"])
    outer = udp_datagram("10.1.0.2", "10.1.0.1", GTPU, tunnel + inner, 64)
    return ethernet(there.access, there.enb) + outer


def frames_of(kind: str, way: str, there: Ends, numbers: range, length: int) -> list[bytes]:
    """A frame of each session."""
    if kind == "IPv6":
        return [frame6(way, there, session(each), length=length) for each in numbers]
    ttl = int(kind.split()[-1])
    return [frame(way, there, session(each), ttl=ttl, length=length) for each in numbers]


def run(sessions: int, *, rounds: int = ROUNDS, window_s: float = WINDOW_S) -> list[Row]:
    """A row for each way, length and number of sessions."""
    rows = []
    with site.lab() as lab:
        there = start(lab, 0)
        pin(lab)
        made = 0
        for step in sorted({min(step, sessions) for step in STEPS}):
            add(lab, range(made, step))
            made = step
            for way in WAYS:
                for length in LENGTHS:
                    runs = _runs(lab, way, there, range(step), length, rounds, window_s)
                    rows.append(_row(way, length, step, runs))
    return rows


def _runs(
    lab: site.Lab,
    way: str,
    there: Ends,
    numbers: range,
    length: int,
    rounds: int,
    window_s: float,
) -> dict[str, list[Run]]:
    """All kinds in turn, so that what else the machine does meets all alike."""
    runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    paths = {}
    for kind in KINDS:
        made = frames_of(kind, way, there, numbers, length)
        paths[kind] = blast.write(lab.dir / f"frames-{KINDS.index(kind)}", made)
        arrives(lab, way, made, inner=made[0][-length:])
    warm_s = WARM_S if len(numbers) == 1 else WARM_MANY_S
    for _ in range(rounds):
        for kind, taken in runs.items():
            with sending(lab, way, paths[kind], rate=0, seconds=warm_s + window_s + 5, nice=5):
                time.sleep(warm_s)
                taken.append(window(lab, way, window_s))
    return runs


def _row(way: str, length: int, step: int, runs: dict[str, list[Run]]) -> Row:
    shown = {kind: _shown(taken, length) for kind, taken in runs.items()}
    ours = samples(run.capacity for run in runs["IPv6"]).median
    ratios = {
        kind: ours / samples(run.capacity for run in runs[kind]).median for kind in KINDS[:-1]
    }
    ratio = ratios[KINDS[0]]
    many = f"{step:,} session{'s' if step > 1 else ''}"
    return Row(
        f"IPv6, {way}, {length} octets, {many}",
        shown["IPv6"],
        f"{shown[KINDS[0]]} {KINDS[0]}",
        ratio,
        f"{LEAST} of IPv4",
        ratio >= LEAST,
        [
            f"Inner packets of {length} octets, UDP, of {many} in turn, hop limit 64; the sessions "
            f"have both versions, and windows of both follow each other. {KINDS[1]}: "
            f"{shown[KINDS[1]]}, of which IPv6 is {ratios[KINDS[1]]:.2f}. (The switch types a "
            "packet in a tunnel by its ninth octet, the TTL of IPv4: rightly if that is 64 to 79. "
            "All else, and so IPv6, it reads once more uplink: three passes, not two.)"
        ],
    )


def _shown(runs: Sequence[Run], length: int) -> str:
    if length == max(LENGTHS):
        return str(samples((run.bits / 1e6 for run in runs), "Mbit/s"))
    return str(samples((run.capacity / 1e3 for run in runs), "kpackets/s"))


# --- the cache


def megaflows(sessions: int, *, seconds: float = SEND_S) -> list[Row]:
    """The row of megaflows of one UE: more and more connections, with hosts that are hard to tell
    from those that it may not reach."""
    steps = sorted({min(step, sessions) for step in CONNECTIONS})
    found: dict[str, list[int]] = {"IPv4": [], "IPv6": []}
    with site.lab() as lab:
        there = start(lab, 1)
        keep(lab)
        for step in steps:
            for version, counts in found.items():
                counts.append(_megaflows_of(lab, there, version, step, seconds))
    six, four = found["IPv6"][-1], found["IPv4"][-1]
    shown = {
        version: ", ".join(
            f"{count} with {step:,}" for step, count in zip(steps, counts, strict=True)
        )
        for version, counts in found.items()
    }
    return [
        Row(
            f"megaflows while one UE has {steps[-1]:,} connections by IPv6",
            str(six),
            f"{four} by IPv4",
            reach=f"{MOST} with any number",
            reached=six <= MOST,
            notes=[
                "UDP both ways between one UE and hosts each of which shares a random number of "
                "leading bits with a prefix that a UE may not reach, each at a port of its own. "
                f"IPv6: {shown['IPv6']} connections; IPv4: {shown['IPv4']}. A megaflow knows of "
                "the far host's address as many leading bits as tell it from such prefixes (tables "
                "`guard` and `core`), of the UE's own its prefix, and no ports. The tunnel's and "
                "ARP's are among them."
            ],
        )
    ]


def _megaflows_of(
    lab: site.Lab, there: Ends, version: str, connections: int, seconds: float
) -> int:
    of, further = session(0), {"length": 64}
    make: Callable[..., bytes] = frame6
    if version == "IPv4":
        make, further = frame, {"length": 64, "ttl": 64}
    hosts = _hosts(FORBIDDEN[version], connections)
    for way in WAYS:
        first = make(way, there, of, **further)
        arrives(lab, way, [first], inner=first[-64:])
    lab.appctl("revalidator/purge")
    before = {way: counters(lab, RECEIVER[way])[1] for way in WAYS}
    with ExitStack() as senders:
        for way in WAYS:
            frames = [
                make(way, there, of, **further, remote=host, port=1024 + number)
                for number, host in enumerate(hosts)
            ]
            path = blast.write(lab.dir / f"frames-{way}", frames)
            setup = {"rate": max(2 * connections, 100) / seconds, "seconds": seconds}
            senders.enter_context(sending(lab, way, path, **setup)).wait()
    text = lab.appctl("dpctl/dump-flows")
    for way in WAYS:
        if counters(lab, RECEIVER[way])[1] - before[way] < 1.9 * connections:
            raise RuntimeError(f"{version}, {way}: packets were lost")
    return sum("actions:" in line for line in text.splitlines())


def _hosts(forbidden: Sequence[str], count: int) -> list[str]:
    """Hosts that a UE may reach, hard to tell from those that it may not."""
    chance = random.Random(1)
    networks = [ip_network(each) for each in forbidden]
    hosts: list[str] = []
    while len(hosts) < count:
        network = chance.choice(networks)
        other = network.max_prefixlen - 1 - chance.randrange(network.prefixlen)
        value = int(network.network_address) ^ (1 << other | chance.getrandbits(other))
        address = type(network.network_address)(value)
        if not any(address in each for each in networks):
            hosts.append(str(address))
    return hosts
