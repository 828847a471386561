"""Frames at a steady rate from a process of its own, which shares nothing with the test's.

with Flood(lab, "enb", frames, rate=20_000) as flood:
    ...
print(flood.sent, flood.rate)
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tests.support.lab import Lab

BURST_S = 0.005
"""So often some are sent at once."""


class Flood:
    """The frames in turn, `rate` of them a second, out of a host's interface."""

    def __init__(self, lab: Lab, name: str, frames: Sequence[bytes], *, rate: int) -> None:
        self._lab, self._name = lab, name
        self._setup = {"rate": rate, "frames": [frame.hex() for frame in frames]}
        self.sent = 0
        self.seconds = 0.0

    @property
    def rate(self) -> float:
        """How many were sent a second."""
        return self.sent / self.seconds

    def __enter__(self) -> Self:
        path = self._lab.dir / "flood.json"
        path.write_text(json.dumps(self._setup))
        pipe = subprocess.PIPE
        argv = [sys.executable, __file__, str(path)]
        self._process = self._lab.spawn(self._name, argv, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout.readline() == "flowing\n"
        return self

    def __exit__(self, *error: object) -> None:
        output, _ = self._process.communicate("\n", timeout=60)
        done: dict[str, Any] = json.loads(output)
        self.sent, self.seconds = done["sent"], done["seconds"]


def _main(path: str) -> None:
    setup = json.loads(Path(path).read_text())
    frames = [bytes.fromhex(frame) for frame in setup["frames"]]
    rate = setup["rate"]
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind(("eth0", 0))
    print("flowing", flush=True)
    start, sent = time.monotonic(), 0
    while not select.select([0], [], [], BURST_S)[0]:
        due = int((time.monotonic() - start) * rate)
        for number in range(sent, due):
            sock.send(frames[number % len(frames)])
        sent = due
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - start}), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
