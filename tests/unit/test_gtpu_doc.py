"""docs/gtpu.md says what the codec reads, tolerates and drops today."""

from __future__ import annotations

from pathlib import Path

from ofgtp.core.packets.gtpu import TOLERATED, Extension, Fault

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "gtpu.md"


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
