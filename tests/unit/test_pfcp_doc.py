"""docs/pfcp.md says what is read, refused and sent today, IE by IE."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofgtp.core.pfcp.node.machine import READ, SENT
from ofgtp.core.pfcp.node.settings import NodeSettings
from ofgtp.core.pfcp.wire.messages import CLASSES

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "pfcp.md"


@pytest.mark.parametrize(
    "row",
    [
        "| Heartbeat Request (1) | Recovery Time Stamp | 96 | must be there |",
        "| PDI (2) | Source Interface | 20 | must be there |",
        "|  | SDF Filter | 23 | used, any number |",
        "|  | 3GPP Interface Type (Release 16) | 160 | used if readable |",
        "|  | Application ID | 24 | refused, 76: detection of applications (PFDM) |",
        "|  | Forwarding Policy | 41 | refused, 70: a forwarding policy |",
        "|  | FQ-CSID | 65 | ignored |",
        "| Session Deletion Request (54) | F-SEID | 57 | ignored |",
        "| Version Not Supported Response (11) | no IE | | |",
        "| Error Indication Report (99) | F-TEID | 21 | always, any number |",
        "| 73 | rule failure |",
    ],
)
def test_it_has(row: str) -> None:
    assert row in DOCUMENT.read_text().splitlines()


def test_each_message_is_read_or_sent() -> None:
    assert set(CLASSES) == READ | SENT


def test_the_figures_are_those_of_the_code() -> None:
    """The document has them in words."""
    text = " ".join(DOCUMENT.read_text().split())
    usual = {field: spec.default for field, spec in NodeSettings.__dataclass_fields__.items()}
    assert f"waited for {usual['t1_s']:.0f} s, three times" in text and usual["n1"] == 3
    assert f"answer for {usual['keep_answers_s']:.0f} s" in text
    assert f"{usual['associations']} associations at most" in text
    assert f"{usual['per_peer'][0]:,.0f} requests a second" in text
    assert f"{usual['working_per_peer']:,} being carried out" in text
    assert f"at most {usual['refused_per_peer'][0]:,.0f} a second" in text
    assert f"{usual['heartbeats_per_peer'][0]:.0f} a second" in text
    assert f"{usual['answers_per_peer'] >> 20} MiB of answers" in text
    assert f"{usual['answers'] >> 20} MiB in all" in text
