"""Makes `tests` this directory for every test: the environment holds another package named so."""

import signal

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


def pytest_configure(config: pytest.Config) -> None:
    long = "long" in config.getoption("markexpr").replace("not long", "")
    settings.load_profile("others" if long else "same")
