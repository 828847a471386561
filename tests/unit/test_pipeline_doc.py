"""docs/pipeline.md says what the pipeline is today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ofgtp.core.flows.pipeline import METERS, PIPELINE, DropReason

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "pipeline.md"
COMMAND = "scripts/pipeline_doc.py"


def test_it_is_not_stale() -> None:
    result = subprocess.run(
        [sys.executable, COMMAND], cwd=ROOT, capture_output=True, text=True, check=True
    )
    again = f".venv/bin/python {COMMAND} > docs/pipeline.md"
    assert again in DOCUMENT.read_text()
    assert DOCUMENT.read_text() == result.stdout, f"stale; run {again}"


def test_it_is_whole() -> None:
    text = DOCUMENT.read_text()
    for table in PIPELINE:
        assert f"### {table.number} {table.name}\n" in text
        assert table.purpose in text
    for reason in DropReason:
        assert f"| `{reason.label}` | {reason.meaning} |" in text
    for name, meter in METERS.items():
        assert f"| {meter.number} | {name} | {meter.rate} | {meter.burst} |" in text
