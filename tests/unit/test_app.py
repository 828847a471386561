"""The application's own: what becomes of the process when a part of it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CODE = """
import sys
from types import SimpleNamespace

import ryu.cmd.manager
from ofgtp.app import Ofgtp

def fail():
    raise {error}("by itself")

Ofgtp._for_ever(SimpleNamespace(_stopping={stopping}), "its part", {work})
print("goes on")
"""


def run(work: str, *, stopping: bool = False, error: str = "ValueError") -> tuple[int, str, str]:
    code = CODE.format(work=work, stopping=stopping, error=error)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_part_that_ends_ends_the_process() -> None:
    assert run("lambda: None") == (5, "", "its part: has ended, and so does ofgtp\n")


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "BaseException"])
def test_a_part_that_fails_ends_the_process(error: str) -> None:
    code, _, err = run("fail", error=error)
    assert code == 5
    assert err.startswith("its part: has ended, and so does ofgtp\nTraceback")
    assert err.endswith(f"{error}: by itself\n")


def test_when_it_stops_all_parts_end() -> None:
    assert run("lambda: None", stopping=True) == (0, "goes on\n", "")
