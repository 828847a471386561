"""Makes `tests` this directory for every test: the environment holds another package named so."""

import signal

from hypothesis import settings

# No test is timed: a busy machine may take any time for an example.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell's background job ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
