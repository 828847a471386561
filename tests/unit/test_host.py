"""What the log says of a gateway's problems."""

from __future__ import annotations

import logging

import pytest

from ofgtp.control.host.host import STARTING, say
from tests.support.lab import gateway


def test_problems_and_their_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    problem: str | None = STARTING
    for now in (None, None, "no ovsdb-server", "no ovsdb-server", "no port eth1", None):
        problem = say(gateway(), problem, now)
        assert problem == now
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("INFO", "gateway=gw1: the host is set up"),
        ("WARNING", "gateway=gw1: no ovsdb-server"),
        ("WARNING", "gateway=gw1: no port eth1"),
        ("INFO", "gateway=gw1: this problem is gone: no port eth1"),
    ]
