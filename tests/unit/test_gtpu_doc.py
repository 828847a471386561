"""docs/gtpu.md says what the codec reads, tolerates and drops today."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from ofgtp.core.packets.gtpu import TOLERATED, Extension, Fault

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "gtpu.md"
COMMAND = "scripts/gtpu_doc.py"


def generate(path: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, COMMAND, str(path)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_is_not_stale(tmp_path: Path) -> None:
    copy = Path(shutil.copy(DOCUMENT, tmp_path))
    assert generate(copy).returncode == 0
    again = f".venv/bin/python {COMMAND}"
    assert again in DOCUMENT.read_text()
    assert DOCUMENT.read_text() == copy.read_text(), f"stale; run {again}"


def test_it_is_whole() -> None:
    text = DOCUMENT.read_text()
    for faults in TOLERATED.values():
        for fault, why in faults.items():
            assert f"| `{fault}` | {why} |" in text
    for fault in Fault:
        assert f"| `{fault}` | {fault.meaning} |" in text
    for reason in ("too_short", "wrong_version", "gtp_prime", "unknown_type", "bad_ie"):
        assert f"| `{reason}` |" in text
    for kind in Extension:
        assert f"| {kind:#04x} |" in text
    assert "| 0x85 | PDU Session Container | yes |" in text


def test_a_file_without_markers_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text("# Other\n")
    done = generate(other)
    assert done.returncode == 1 and "markers" in done.stderr
    assert other.read_text() == "# Other\n"
