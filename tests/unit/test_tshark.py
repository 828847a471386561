"""What tshark prints is read alike, whichever of its releases prints it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import tshark

ROOT = Path(__file__).parents[2]

PRINTED = {
    "4.0, as in Debian 12": "0xff\t1\t0\t1,0\t\tTrue, it says\n",
    "4.4, as in Debian 13": "0xff\tTrue\tFalse\tTrue,False\t\tTrue, it says\n",
}


def rows_of_tests(capture: Path) -> list[list[str]]:
    return tshark.rows(capture, ["some", "fields"], every=True)


def rows_of_demos(capture: Path) -> list[list[str]]:
    rows: list[list[str]] = importlib.import_module("stage").tshark(capture, ("some",), "gtp")
    return rows


@pytest.mark.parametrize("release", PRINTED)
@pytest.mark.parametrize("read", [rows_of_tests, rows_of_demos])
def test_booleans_are_numbers(
    read: Callable[[Path], list[list[str]]],
    release: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "tshark"
    program.write_text(f"#!/bin/sh\ncat << 'END'\n{PRINTED[release]}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "path", [str(ROOT / "mininet"), *sys.path])
    assert read(tmp_path / "capture") == [["0xff", "1", "0", "1,0", "", "True, it says"]]
