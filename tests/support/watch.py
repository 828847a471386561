"""What happens to a bridge's flows, and to packets, while a test does something else."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any, Self

from scapy.packet import Packet

from tests.support.lab import Lab
from tests.support.traffic import Host, mark, until

BEGIN, END = 0xBEE1, 0xBEE2
STRAGGLERS_S = 2.0
"""What has not come in this time after the last was sent is lost."""


class FlowWatch:
    """Every change of a bridge's flows while the block runs, as the switch itself tells it.

    A flow of the watch's own is added at the beginning and at the end, so that nothing between is
    missed, and a watch that hears nothing fails.
    """

    def __init__(self, lab: Lab, bridge: str = "br-ofgtp") -> None:
        self._lab, self._bridge = lab, bridge
        self.events: list[str] = []

    def __enter__(self) -> Self:
        self._path = self._lab.dir / "watch.log"
        with self._path.open("wb") as output:
            argv = ["ovs-ofctl", "monitor", self._bridge, "watch:!initial,!actions"]
            self._monitor = self._lab.spawn("gw", argv, stdout=output, stderr=output)
        until(lambda: self._heard(BEGIN), "the watch to hear")
        return self

    def __exit__(self, *error: object) -> None:
        until(lambda: self._heard(END), "the watch to hear the end")
        self._monitor.send_signal(signal.SIGKILL)
        self._monitor.wait()
        self._lab.ofctl("del-flows", self._bridge, "table=250")
        assert "error" not in self._said(), self._said()
        lines = [line for line in self._said().splitlines() if "event=" in line]
        self.events = [line.strip() for line in lines if "table=250" not in line]

    def _heard(self, cookie: int) -> bool:
        flow = f"table=250,cookie={cookie:#x},actions=drop"
        self._lab.ofctl("add-flow", self._bridge, flow)
        return f"table=250 cookie={cookie:#x}" in self._said()

    def _said(self) -> str:
        return self._path.read_text()


class Stream:
    """A packet sent again and again, some ms apart, from a thread; and how often it came."""

    def __init__(
        self, source: Host, frame: bytes, packet: Packet, to: Host, *, every: float = 0.005
    ) -> None:
        self._source, self._frame, self._to, self._every = source, frame, to, every
        self._mark = mark(packet)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop = threading.Event()
        self.sent = self.received = 0

    def __enter__(self) -> Self:
        self._to.port.drain()
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        self._thread.join()
        end = time.monotonic() + STRAGGLERS_S
        while self.lost > 0 and time.monotonic() < end:
            self.take(quiet=0.05)

    @property
    def lost(self) -> int:
        return self.sent - self.received

    def take(self, quiet: float = 0.0005) -> int:
        """Count what has come in since the last time; how many that are."""
        frames = self._to.port.receive(want=lambda frame: self._mark in frame, quiet=quiet)
        self.received += len(frames)
        return len(frames)

    def arrives(self, seconds: float = 0.5) -> int:
        """How many come in from now on, for a while."""
        self._to.port.drain()
        time.sleep(seconds)
        return self.take()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._source.port.send(self._frame)
            self.sent += 1
            self._stop.wait(self._every)
