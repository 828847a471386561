"""tshark as a judge of frames: what it reads in them, and what it finds wrong with them."""

import functools
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from scapy.utils import RawPcapReader, wrpcap

PREFERENCES = ("ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE")

BOOLEANS = {"True": "1", "False": "0"}

EXPERT_WARNING = 0x00600000
"""Severity of an expert item from which on it is one's own fault (notes are not)."""

WRONG = f"_ws.malformed || _ws.expert.severity >= {EXPERT_WARNING}" + "".join(
    f" || {protocol}.checksum.status == 0" for protocol in ("ip", "udp", "tcp", "icmp")
)
"""The display filter of everything malformed, warned of or with a wrong checksum."""

GUESSES = ("--disable-protocol", "prp")
"""What tshark 4.4 guesses at the end of packets with a few octets, and then finds malformed."""


@functools.cache
def fields() -> frozenset[str]:
    """The names of all fields that it knows: some are others from version to version."""
    words = ["tshark", "-G", "fields"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return frozenset(line[2] for line in lines if line[0] == "F")


def read_pcap(path: Path) -> list[bytes]:
    """The frames of a capture."""
    with RawPcapReader(str(path)) as reader:
        return [data for data, _ in reader]


def rows(
    frames: Path | Iterable[bytes], names: Iterable[str], only: str = "", *, every: bool = False
) -> list[list[str]]:
    """The named fields of each frame, or of each frame of a capture, as text.

    Of a field that is there several times (in a tunnel too) the first, or with `every` all of
    them, comma-separated. Booleans are 1 and 0. `only` is a display filter. All checksums are
    checked.
    """
    if not isinstance(frames, Path):
        with tempfile.TemporaryDirectory() as directory:
            capture = Path(directory, "frames.pcap")
            wrpcap(str(capture), list(frames), linktype=1)
            return rows(capture, names, only, every=every)
    argv = ["tshark", "-n", *GUESSES, "-r", str(frames), "-T", "fields"]
    argv += ["-E", f"occurrence={'a' if every else 'f'}"]
    argv += [part for name in names for part in ("-e", name)]
    argv += [part for preference in PREFERENCES for part in ("-o", preference)]
    argv += ["-Y", only] if only else []
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300)
    return [[as_number(field) for field in line.split("\t")] for line in done.stdout.splitlines()]


def as_number(field: str) -> str:
    """A field's values, of which booleans are 1 and 0: tshark 4.4 prints them as words."""
    words = field.split(",")
    return ",".join(map(BOOLEANS.__getitem__, words)) if BOOLEANS.keys() >= set(words) else field


def complaints(frames: Path | Iterable[bytes], only: str = "") -> list[list[str]]:
    """Number and expert messages of each frame that is `WRONG`; of those only that `only` shows."""
    wrong = f"({only}) && ({WRONG})" if only else WRONG
    return rows(frames, ("frame.number", "_ws.expert.message"), wrong, every=True)
