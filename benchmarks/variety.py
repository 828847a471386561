"""What keeps the switch's cache of megaflows small, or fills it: many connections, many UEs."""

from __future__ import annotations

import random
import re
import time
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import Any

from benchmarks import blast, site
from benchmarks.measure import Row
from benchmarks.traffic import RECEIVER, WAYS, arrives, counters, ends, frame, sending

CONNECTIONS = (1, 100, 1_000, 10_000)
PREFIXES = 2 * 32
"""As many megaflows as an address has prefix lengths, both ways; connections do not enter."""

SEND_S = 4.0
"""In which each connection sends twice."""

STAY = ("other_config:max-idle=600000", "other_config:max-revalidator=10000")
"""By which megaflows stay while they are counted; idle ones go after 10 s, or sooner under load."""

UES = 10_000
WARM_S, WINDOW_S = 15.0, 20.0


def megaflows(sessions: int, *, seconds: float = SEND_S) -> list[Row]:
    """The row `megaflows`: one UE, more and more connections."""
    most = min(sessions, CONNECTIONS[-1])
    steps = [step for step in CONNECTIONS if step < most] + [most]
    with site.lab() as lab:
        site.started(lab, "controller")
        site.batch(lab, site.puts(range(1)))
        keep(lab)
        found = {step: megaflows_of(lab, site.session(0), step, seconds) for step in steps}
    shown = ", ".join(f"{count} with {step:,}" for step, count in found.items())
    return [
        Row(
            f"megaflows while one UE has {most:,} connections",
            str(found[most]),
            f"{found[steps[0]]} with 1 connection",
            reach="does not grow with the connections",
            reached=found[most] <= PREFIXES,
            notes=[
                "UDP both ways between one UE and hosts anywhere in the IPv4 address space, each "
                f"at a port of its own; `ovs-appctl dpctl/dump-flows` counts {shown} connections. "
                "No flow matches ports of the inner packet, so they stay wildcards. The inner "
                "destination is compared with the few protected networks (table `guard`) and the "
                "UE pools, so a megaflow knows as many of its leading bits as tell it from these: "
                "there are as many as there are such prefixes, and no more however many hosts."
            ],
        )
    ]


def keep(lab: site.Lab) -> None:
    """Let megaflows stay, so that those that are counted are all that were needed."""
    lab.vsctl("set", "Open_vSwitch", ".", *STAY)


def megaflows_of(
    lab: site.Lab, session: dict[str, Any], connections: int, seconds: float = SEND_S
) -> int:
    """How many there are while a session has so many connections, with hosts anywhere.

    Raises:
        RuntimeError: packets are lost.
    """
    there, chance = ends(lab), random.Random(1)
    hosts = [(_host(chance), chance.randrange(1024, 65536)) for _ in range(connections)]
    for way in WAYS:
        first = frame(way, there, session, ttl=64, length=64, port=9000)
        arrives(lab, way, [first], inner=first[-64:])
    lab.appctl("revalidator/purge")
    before = {way: counters(lab, RECEIVER[way])[1] for way in WAYS}
    with ExitStack() as senders:
        for way in WAYS:
            frames = [
                frame(way, there, session, ttl=64, length=64, remote=host, port=port)
                for host, port in hosts
            ]
            path = blast.write(lab.dir / f"frames-{way}", frames)
            setup = {"rate": max(2 * connections, 100) / seconds, "seconds": seconds}
            senders.enter_context(sending(lab, way, path, **setup)).wait()
    found = _megaflows(lab)
    for way in WAYS:
        if counters(lab, RECEIVER[way])[1] - before[way] < 1.9 * connections:
            raise RuntimeError(f"{way}: packets were lost with {connections} connections")
    return found


def _host(chance: random.Random) -> str:
    """A host anywhere but in the networks that UEs may not reach, or that are theirs."""
    while True:
        address = IPv4Address(chance.getrandbits(32))
        if address.is_global and not address.is_multicast:
            return str(address)


def _megaflows(lab: site.Lab) -> int:
    text = lab.appctl("dpctl/dump-flows")
    return sum("actions:" in line for line in text.splitlines())


def way_of(lab: site.Lab, session: dict[str, Any]) -> tuple[int, int]:
    """How many megaflows there are from a session's UE, out of the tunnel, and to it."""
    text, ue = lab.appctl("dpctl/dump-flows"), re.escape(session["ue_ip"])
    up, down = (
        len(re.findall(rf"\bipv4\((?:[^)]*,)?{end}={ue}[,)]", text)) for end in ("src", "dst")
    )
    return up, down


def upcalls(sessions: int, *, warm_s: float = WARM_S, window_s: float = WINDOW_S) -> list[Row]:
    """The row `upcalls`: many UEs, each a packet a second both ways."""
    count = min(sessions, UES)
    with site.lab() as lab:
        site.started(lab, "controller")
        site.batch(lab, site.puts(range(count)))
        there = ends(lab)
        with ExitStack() as senders:
            for way in WAYS:
                frames = [
                    frame(way, there, site.session(number), ttl=64, length=64)
                    for number in range(count)
                ]
                path = blast.write(lab.dir / f"frames-{way}", frames)
                arrives(lab, way, frames[:1], inner=frames[0][-64:])
                setup = {"rate": count, "seconds": warm_s + window_s + 10}
                senders.enter_context(sending(lab, way, path, **setup))
            time.sleep(warm_s)
            before, got = _lookups(lab), [counters(lab, RECEIVER[way])[1] for way in WAYS]
            start = time.perf_counter()
            time.sleep(window_s)
            after = _lookups(lab)
            seconds = time.perf_counter() - start
            packets = [
                counters(lab, RECEIVER[way])[1] - first
                for way, first in zip(WAYS, got, strict=True)
            ]
            flows = _megaflows(lab)
            limit = re.search(r"limit (\d+)", lab.appctl("upcall/show"))
    most = f", of at most {int(limit[1]):,}" if limit else ""
    hits, missed, lost = (new - old for new, old in zip(after, before, strict=True))
    share = missed / max(1, sum(packets))
    arrived = [number / (seconds * count) for number in packets]
    return [
        Row(
            f"{count:,} UEs, each a packet a second both ways",
            f"{share:.3%} upcalls",
            notes=[
                f"After {warm_s:.0f} s of warm-up, within {seconds:.0f} s: {packets[0]:,} uplink "
                f"and {packets[1]:,} downlink packets arrived ({arrived[0]:.1%} and "
                f"{arrived[1]:.1%} of what is sent), {hits:,} hits, {missed:,} misses and "
                f"{lost:,} lost upcalls by `ovs-appctl dpctl/show`; a packet is looked up several "
                f"times on its way. The share is that of misses in packets. {flows:,} megaflows "
                f"are in use{most}."
            ],
        )
    ]


def _lookups(lab: site.Lab) -> list[int]:
    """Hits, misses and lost upcalls of the datapath so far."""
    found = re.search(r"hit:(\d+) missed:(\d+) lost:(\d+)", lab.appctl("dpctl/show"))
    if found is None:
        raise RuntimeError("no lookups in dpctl/show")
    return [int(number) for number in found.groups()]
