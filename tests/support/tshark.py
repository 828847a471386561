"""tshark as a judge of frames: what it reads in them, and what it finds wrong with them."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from scapy.utils import PcapReader, wrpcap

CHECKS = ("ip.check_checksum:TRUE", "udp.check_checksum:TRUE")

EXPERT_WARNING = 0x00600000
"""Severity of an expert item from which on it is one's own fault (notes are not)."""


def read_pcap(path: Path) -> list[bytes]:
    """The frames of a capture."""
    with PcapReader(str(path)) as reader:
        return [bytes(packet) for packet in reader]


def write_pcap(path: Path, frames: Iterable[bytes]) -> Path:
    """A capture of these frames."""
    wrpcap(str(path), list(frames), linktype=1)
    return path


def rows(path: Path, names: Iterable[str], only: str = "") -> list[list[str]]:
    """The fields of each frame as text; of a field that is repeated all, comma-separated."""
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    argv += [part for name in names for part in ("-e", name)]
    argv += [part for check in CHECKS for part in ("-o", check)]
    argv += ["-Y", only] if only else []
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return [line.split("|") for line in done.stdout.splitlines()]


def complaints(path: Path) -> list[list[str]]:
    """Frame number and message of everything malformed, warned of or with a wrong checksum."""
    wrong = f"_ws.malformed || _ws.expert.severity >= {EXPERT_WARNING} || ip.checksum.status == 0"
    return rows(
        path, ("frame.number", "_ws.expert.message"), wrong + " || udp.checksum.status == 0"
    )
