"""Makes `tests` this directory for every test: the environment holds another package named so."""

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test is timed: a busy machine may take any time for an example, and to think of one. The
# examples of `make test` are the same every time; those of `make test-long` are others each time.
UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, **UNTIMED)
settings.register_profile("others", **UNTIMED)

# A shell's background job ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
LONGEST_FIRST = ("e2e", "switch", "table", "unit")
"""Directories by how long their files take: where several processes share them, and a process takes
a file at a time, none has a long one left when the others have done all."""


def pytest_configure(config: pytest.Config) -> None:
    long = "long" in config.getoption("markexpr").replace("not long", "")
    settings.load_profile("others" if long else "same")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: LONGEST_FIRST.index(item.path.relative_to(TESTS).parts[0]))
