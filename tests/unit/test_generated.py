"""What scripts write into documents is what the code says today."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

documents = pytest.mark.parametrize(
    ("script", "document"),
    [
        ("scripts/faults_doc.py", "docs/ovs-faults.md"),
        ("scripts/gtpu_doc.py", "docs/gtpu.md"),
        ("scripts/pfcp_doc.py", "docs/pfcp.md"),
    ],
)


def generate(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, script, str(path)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


@documents
def test_it_is_not_stale(script: str, document: str, tmp_path: Path) -> None:
    wanted = (ROOT / document).read_text()
    copy = Path(shutil.copy(ROOT / document, tmp_path))
    assert generate(script, copy).returncode == 0
    again = f".venv/bin/python {script}"
    assert again in wanted
    assert wanted == copy.read_text(), f"stale; run {again}"


@documents
def test_what_is_between_the_markers_is_written_anew(
    script: str, document: str, tmp_path: Path
) -> None:
    wanted = (ROOT / document).read_text()
    begin = f"<!-- Generated: .venv/bin/python {script} -->"
    before, _, rest = wanted.partition(begin)
    _, end, after = rest.partition("<!-- End of what is generated -->")
    stale = tmp_path / "stale.md"
    stale.write_text(f"{before}{begin}\nold\n{end}{after}")
    assert generate(script, stale).returncode == 0
    assert stale.read_text() == wanted


@documents
def test_a_file_without_markers_is_left_alone(script: str, document: str, tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text("# Other\n")
    done = generate(script, other)
    assert done.returncode == 1 and "markers" in done.stderr
    assert other.read_text() == "# Other\n"
