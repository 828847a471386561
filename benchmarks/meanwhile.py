"""What each kind of port loses while the switch's main thread has other things to do, and how long
a packet takes at rest."""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import site
from benchmarks.load import WARM_S, Passed, load, passed, share
from benchmarks.measure import Row, Samples, samples
from benchmarks.traffic import ends, frame

KINDS = ("afxdp", "af_packet")
RATE, SESSIONS = 5_000, 100
"""Packets a second, half of them each way, of so many sessions: hardly any load."""
AWAY_S = 3.0
BURST = 100
"""A sender that others kept waiting sends no more than so many packets at once."""
FLOW_MODS = 200_000
PACKETS, PAUSE_S = 1_000, 0.002
SO_TIMESTAMPNS = 35


@dataclass
class _Found:
    away: list[Passed] = field(default_factory=list)
    flow_mods: list[Passed] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    """Microseconds."""


def run(_: int = 1, *, rounds: int = 3, flow_mods: int = FLOW_MODS) -> list[Row]:
    """Three rows: without a database, during flow-mods, and at rest."""
    found = {kind: _Found() for kind in KINDS}
    for kind, each in found.items():
        with site.lab() as lab:
            lab.ports = kind
            site.started(lab, "switch", controller="pmd_cores = [0]" if kind == "afxdp" else "")
            site.batch(lab, site.puts(range(SESSIONS)))
            site.add_bridge(lab, "br-other")
            lines = (f"table=1,metadata={n},actions=drop" for n in range(1, flow_mods + 1))
            path = site.file(lab, "flows", lines)
            each.delays += _delays(lab)
            with load(lab, SESSIONS, rate=RATE // 2, burst=BURST):
                time.sleep(WARM_S)
                for _ in range(rounds):
                    each.away.append(passed(lab, lambda lab=lab: _away(lab)))
                    each.flow_mods.append(
                        passed(lab, lambda lab=lab, path=path: _add(lab, path, flow_mods))
                    )
    return [
        _losses(
            f"{AWAY_S:g} s without ovsdb-server",
            found,
            lambda each: each.away,
            "ovsdb-server is killed, started again after that time, and the gateway in sync.",
        ),
        _losses(
            f"{flow_mods:,} flow-mods",
            found,
            lambda each: each.flow_mods,
            "Added to another bridge of the same switch by `ovs-ofctl add-flows`.",
        ),
        _at_rest(found),
    ]


def _away(lab: site.Lab) -> None:
    lab.stop_ovsdb()
    time.sleep(AWAY_S)
    lab.start_ovsdb()
    time.sleep(AWAY_S)
    site.until(lambda: (site.gateway(lab) or {}).get("in_sync"), "in sync")


def _add(lab: site.Lab, path: str, count: int) -> None:
    lab.ofctl("del-flows", "br-other")
    lab.exec("gw", ["ovs-ofctl", "-O", "OpenFlow14", "add-flows", _mgmt(lab), path])
    there = re.search(r"flow_count=(\d+)", lab.ofctl("dump-aggregate", "br-other"))
    if there is None or int(there[1]) != count:
        raise RuntimeError("the flows are not there")


def _mgmt(lab: site.Lab) -> str:
    return f"unix:{lab.dir}/br-other.mgmt"


def _delays(lab: site.Lab) -> list[float]:
    """How long packets take that come alone, from before they are sent until they arrive at the
    other host, by the kernel's time stamp, in microseconds."""
    data = frame("uplink", ends(lab), site.session(0), ttl=64, length=64)
    inner, found = data[-64:], list[float]()
    sender, receiver = lab.port("enb"), lab.port("pdn")
    with lab.inside("pdn"):
        taken = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    taken.bind(("eth0", 3))
    taken.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    with taken:
        for _ in range(PACKETS + 20):
            sent = time.time_ns()
            sender.send(data)
            end = time.monotonic() + 1
            while (left := end - time.monotonic()) > 0 and select.select([taken], [], [], left)[0]:
                got, notes, _, _ = taken.recvmsg(2048, 64)
                if inner in got:
                    seconds, ns = struct.unpack("@ll", notes[0][2])
                    found.append((seconds * 10**9 + ns - sent) / 1e3)
                    break
            time.sleep(PAUSE_S)
    sender.close()
    receiver.close()
    return found[20:]


def _losses(
    what: str, found: dict[str, _Found], runs: Callable[[_Found], list[Passed]], how: str
) -> Row:
    lost = {kind: share(runs(each)) for kind, each in found.items()}
    texts = {
        kind: f"{sum(r.lost for r in runs(each)):,} of {sum(r.sent for r in runs(each)):,} lost"
        for kind, each in found.items()
    }
    return Row(
        f"AF_XDP: {what}",
        f"{texts['afxdp']} by AF_XDP",
        f"{texts['af_packet']} by AF_PACKET",
        None,
        "0",
        lost["afxdp"] == 0,
        [f"{RATE:,} packets a second, half of them each way, of {SESSIONS} sessions. {how}"],
    )


def _at_rest(found: dict[str, _Found]) -> Row:
    delays = {kind: sorted(each.delays) for kind, each in found.items()}
    late = {kind: each[int(0.99 * len(each))] for kind, each in delays.items()}
    middle: dict[str, Samples] = {kind: samples(each, "us") for kind, each in delays.items()}
    texts = {kind: f"{middle[kind].median:.0f} us, 99 % {late[kind]:.0f}" for kind in KINDS}
    return Row(
        "AF_XDP: uplink at rest",
        f"{texts['afxdp']} by AF_XDP",
        f"{texts['af_packet']} by AF_PACKET",
        middle["afxdp"].median / middle["af_packet"].median,
        notes=[
            f"{PACKETS:,} packets of 64 octets, one every {PAUSE_S * 1e3:g} ms, from before the "
            "call that sends one until the kernel's time stamp at the other host; Python's own "
            "share, some 10 us, is in both.",
        ],
    )
