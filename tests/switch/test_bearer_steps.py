"""The picture in docs/bearers.md shows what a switch does."""

from __future__ import annotations

import json

import pytest

from tests.support import bearer_steps
from tests.support.lab import ROOT
from tests.support.site import Site

pytestmark = pytest.mark.switch

RECORDED = ROOT / "docs" / "images" / "bearer-steps.json"


def test_the_flows_that_packets_meet(site: Site) -> None:
    again = f"run .venv/bin/python -m tests.support.bearer_steps > {RECORDED.relative_to(ROOT)}"
    assert bearer_steps.record(site) == json.loads(RECORDED.read_text()), again
