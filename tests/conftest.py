"""Makes `tests` this directory for every test: the environment holds another package named so."""

import signal

from hypothesis import HealthCheck, settings

# No test is timed: a busy machine may take any time for an example, and to think of one.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell's background job ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
