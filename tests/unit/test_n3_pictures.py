"""docs/5g.md and its pictures say what the flows do today. That the octets are a switch's is tested
in tests/switch/test_n3_steps.py."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ofgtp.southbound import netfilter
from tests.support.lab import gateway
from tests.support.n3_steps import is_part, on_the_page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "5g.md"
IMAGES = ROOT / "docs" / "images"
COMMAND = "scripts/n3_pictures.py"
PICTURES = sorted(IMAGES.glob("n3-*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


def test_they_are_not_stale(tmp_path: Path) -> None:
    subprocess.run([sys.executable, COMMAND, str(tmp_path)], cwd=ROOT, check=True)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    again = f"stale; run .venv/bin/python {COMMAND}"
    assert drawn == {path.name: path.read_text() for path in PICTURES}, again


def test_the_page_shows_all_of_them() -> None:
    shown = re.findall(r"!\[[^]]+\]\(images/([^)]+)\)", PAGE.read_text())
    assert sorted(shown) == [path.name for path in PICTURES]


def test_the_picture_of_bearers(tmp_path: Path) -> None:
    command = "scripts/bearer_pictures.py"
    subprocess.run([sys.executable, command, str(tmp_path)], cwd=ROOT, check=True)
    drawn = (tmp_path / "bearers.svg").read_text()
    assert drawn == (IMAGES / "bearers.svg").read_text(), f"stale; run .venv/bin/python {command}"
    assert "](images/bearers.svg)" in (ROOT / "docs" / "bearers.md").read_text()


@pytest.mark.parametrize("path", [*PICTURES, IMAGES / "bearers.svg"], ids=lambda path: path.stem)
def test_it_is_legible(path: Path) -> None:
    """As wide as a page, on a ground of its own, with letters of 12 px at least."""
    text = path.read_text()
    picture = ElementTree.fromstring(text)
    assert picture.get("width") == "800" and picture.find(f"{SVG}title") is not None
    assert "prefers-color-scheme:dark" in text
    assert all(float(size) >= 12 for size in re.findall(r"font-size:([\d.]+)px", text))
    high = float(picture.get("height", 0))
    for part in picture.iter(f"{SVG}text"):
        assert 20 <= float(part.get("x", 0)) <= 780 and 0 < float(part.get("y", 0)) < high


def test_its_flows_are_those_of_the_pipeline() -> None:
    every = (ROOT / "docs" / "pipeline.md").read_text().splitlines()
    shown = [line for line in on_the_page() if line.startswith("table=")]
    assert len(shown) >= 9
    for line in shown:
        assert any(is_part(f",{line}", flow) for flow in every), line


def test_its_rules_are_those_of_the_gateway() -> None:
    rules = [line.strip() for line in netfilter.ruleset(gateway(), (3, 2)).splitlines()]
    shown = [line for line in on_the_page() if line.startswith(("@th", "ip id"))]
    assert len(shown) == 4
    # Those with maps are about padding, which is no matter of 5G.
    of_contained = [line for line in rules if "@th" in line and " map " not in line]
    assert sorted(shown) == sorted(of_contained)
