"""The API for the tests of the `ofgtp` command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.agents import Net
from tests.support.background import Background
from tests.support.command import Shell


@pytest.fixture(scope="module")
def running_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    with (
        pytest.MonkeyPatch.context() as patch,
        Background(tmp_path_factory.mktemp("api"), patch, gateways=2, keep_alive=0.2) as api,
    ):
        yield api


@pytest.fixture
def api(running_api: Background) -> Background:
    """Gateways gw1 and gw2: their switches are there, and no session is."""
    running_api.do(Net.attach_all)
    running_api.do(delete_all)
    return running_api


def delete_all(net: Net) -> None:
    while page := net.store.list(limit=1000)[0]:
        for stored in page:
            net.service.delete(stored.session.id)


@pytest.fixture
def ofgtp(
    api: Background, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """The command, told of that API."""
    return Shell(monkeypatch, capsys, api.url)
