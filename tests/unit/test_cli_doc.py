"""docs/cli.md says what the command says of itself today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ofgtp.cli import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "cli.md"
COMMAND = "scripts/cli_doc.py"


def test_it_is_not_stale(tmp_path: Path) -> None:
    made = tmp_path / "cli.md"
    argv = [sys.executable, COMMAND, str(made)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    again = f".venv/bin/python {COMMAND}"
    assert again in DOCUMENT.read_text()
    assert DOCUMENT.read_text() == made.read_text(), f"stale; run {again}"


def test_it_is_whole() -> None:
    text = DOCUMENT.read_text()
    for command in COMMANDS:
        assert f"\n## ofgtp {command}\n\n```text\nUsage: ofgtp {command} " in text
    for detail in ("\n## ofgtp session import\n", "GTPv0 is not spoken here", "encap gtp [id TEID"):
        assert detail in text
