"""When the lease is renewed, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ofgtp.control.flows import lease as lease_module
from ofgtp.control.flows.lease import RENEWALS, SOON_S, Lease
from ofgtp.core.flows.flow import Flow
from ofgtp.core.rules.lease import lease_flows, lease_timeout
from tests.support.sample import LINKS

SECONDS = 60


class Channel:
    def __init__(self) -> None:
        self.renewed: list[list[Flow]] = []

    def renew(self, flows: Sequence[Flow]) -> None:
        self.renewed.append(list(flows))


def test_it_begins_soon_after_there_is_something_to_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    lease, channel, pauses = Lease(SECONDS), Channel(), list[float]()
    monkeypatch.setattr(lease_module.eventlet, "sleep", pauses.append)
    links = iter([None, None, LINKS, LINKS])
    switch: Any = channel
    passing: list[float] = []
    lease.keep(switch, lambda: len(pauses) < 4, lambda: next(links), passing.append)
    between = lease_timeout(SECONDS) / RENEWALS
    assert pauses == [SOON_S, SOON_S, between, between]
    assert channel.renewed == [list(lease_flows(LINKS, SECONDS))] * 2
    assert passing == [lease_timeout(SECONDS)] * 2, "the ports' with it"
    left = lease.seconds_left()
    assert lease.renewals == 2 and left is not None and left > SECONDS - 10


def test_it_goes_on_whatever_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lease, channel, pauses = Lease(SECONDS), Channel(), list[float]()
    monkeypatch.setattr(lease_module.eventlet, "sleep", pauses.append)

    def renew(flows: Sequence[Flow]) -> None:
        if len(pauses) == 1:
            raise RuntimeError("of a kind that nobody thought of")
        Channel.renew(channel, flows)

    monkeypatch.setattr(channel, "renew", renew)
    switch: Any = channel
    lease.keep(switch, lambda: len(pauses) < 4, lambda: LINKS, lambda _: None)
    between = lease_timeout(SECONDS) / RENEWALS
    assert pauses == [between, SOON_S, between, between]
    assert lease.renewals == len(channel.renewed) == 3
    assert "nobody thought of" in caplog.text


def test_none_is_left_before_it_begins() -> None:
    assert Lease(SECONDS).seconds_left() is None
