"""Packets through a gateway: what is sent, what arrives, and what it costs the switch."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import blast, site
from tests.support.stream import GTPU, PDN, ethernet, udp_datagram

WAYS = ("uplink", "downlink")
SENDER = {"uplink": "enb", "downlink": "pdn"}
RECEIVER = {"uplink": "pdn", "downlink": "enb"}

IDLE_S = 4.0
"""Senders go on for longer than this after a window."""

TICK_S = 1e-3
"""Less CPU time than this is no measurement: others had the core."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The MAC addresses that frames carry."""

    access: str
    core: str
    enb: str
    pdn: str


def ends(lab: site.Lab) -> Ends:
    """Those of an ofgtp gateway."""
    shown = site.gateway(lab)
    assert shown is not None
    return Ends(shown["access"]["mac"], shown["core"]["mac"], lab.mac("enb"), lab.mac("pdn"))


def frame(
    way: str,
    there: Ends,
    session: dict[str, Any],
    *,
    ttl: int,
    length: int,
    remote: str = PDN,
    port: int = 9000,
    qfi: int | None = None,
) -> bytes:
    """A frame as the base station or the core host sends it.

    `length` is that of the inner IPv4 packet, in bytes; `remote` and `port` are of the far end.
    With a QFI an uplink packet has a PDU Session Container.
    """
    payload, ue_ip = bytes(length - 28), session["ue_ip"]
    if way == "downlink":
        return ethernet(there.core, there.pdn) + udp_datagram(remote, ue_ip, port, payload, ttl)
    inner = udp_datagram(ue_ip, remote, port, payload, ttl)
    container = b"" if qfi is None else bytes([0, 0, 0, 0x85, 1, 0x10, qfi, 0])
    flags, size = 0x34 if container else 0x30, len(container + inner)
    tunnel = struct.pack("!BBHI", flags, 255, size, session["uplink"]["teid"])
    outer = udp_datagram("10.1.0.2", "10.1.0.1", GTPU, tunnel + container + inner, 64)
    return ethernet(there.access, there.enb) + outer


def pin(lab: site.Lab) -> None:
    """Keep the switch's forwarding thread on the first core, away from the senders' on the last.

    Where they meet on a core by chance, and the next time not, no figure can be compared.
    """
    os.sched_setaffinity(site.vswitchd(lab), {min(os.sched_getaffinity(0))})


@dataclass(frozen=True, slots=True)
class Run:
    """What arrived in a window of time."""

    seconds: float
    packets: int
    bytes: int
    """On the receiver's wire, without Ethernet's own preamble and checksum."""
    busy: float
    """CPU seconds of ovs-vswitchd's main thread, which forwards."""

    @property
    def rate(self) -> float:
        return self.packets / self.seconds

    @property
    def load(self) -> float:
        """The share of a core that the thread had."""
        return self.busy / self.seconds

    @property
    def capacity(self) -> float:
        """Packets for a second of that thread."""
        return self.packets / max(self.busy, TICK_S)

    @property
    def bits(self) -> float:
        """Bits for a second of that thread."""
        return 8 * self.bytes / max(self.busy, TICK_S)


@contextmanager
def sending(lab: site.Lab, way: str, frames: Path, **setup: Any) -> Iterator[subprocess.Popen[Any]]:
    """A sender at work; it is ended with the block."""
    pipe = subprocess.PIPE
    argv = [sys.executable, blast.__file__, json.dumps({"frames": str(frames), **setup})]
    process = lab.spawn(SENDER[way], argv, stdout=pipe, stdin=subprocess.DEVNULL, text=True)
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the sender did not start")
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        yield process
    finally:
        process.kill()
        process.communicate()


def window(lab: site.Lab, way: str, seconds: float) -> Run:
    """What arrives in these seconds, or, if nothing does (others have the cores), in the next.

    Raises:
        RuntimeError: nothing arrives for IDLE_S.
    """
    end = time.monotonic() + IDLE_S
    while not (run := _window(lab, way, seconds)).packets:
        if time.monotonic() > end:
            raise RuntimeError(f"{way}: no packet within {IDLE_S:g} s")
    return run


def _window(lab: site.Lab, way: str, seconds: float) -> Run:
    name, thread = RECEIVER[way], site.vswitchd(lab)
    start, first, before = time.perf_counter(), counters(lab, name), on_cpu(thread)
    time.sleep(seconds)
    end, last, after = time.perf_counter(), counters(lab, name), on_cpu(thread)
    return Run(end - start, last[1] - first[1], last[0] - first[0], after - before)


def counters(lab: site.Lab, name: str, device: str = "eth0") -> tuple[int, int]:
    """Bytes and packets received by a host's interface."""
    with lab.inside(name):
        text = Path("/proc/thread-self/net/dev").read_text()
    fields = next(line for line in text.splitlines() if line.strip().startswith(f"{device}:"))
    received = fields.partition(":")[2].split()
    return int(received[0]), int(received[1])


def on_cpu(thread: int) -> float:
    """Seconds that a thread has run."""
    return int(Path(f"/proc/{thread}/task/{thread}/schedstat").read_text().split()[0]) / 1e9


def arrives(lab: site.Lab, way: str, frames: list[bytes], *, inner: bytes) -> None:
    """See that what is sent comes out at the other end, rightly.

    Raises:
        RuntimeError: it does not.
    """
    there, here = lab.port(RECEIVER[way]), lab.port(SENDER[way])
    wanted = inner

    def right(got: bytes) -> bool:
        return wanted in got and (way == "uplink" or got[36:38] == struct.pack("!H", GTPU))

    for _ in range(20):
        here.send(*frames[:1])
        if there.receive(1, want=right, timeout=0.25):
            break
    else:
        raise RuntimeError(f"{way}: no packet comes through")
    there.close()
    here.close()
