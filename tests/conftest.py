"""Makes `tests` this directory for every test: the environment holds another package named so."""

from hypothesis import settings

# No test is timed: a busy machine may take any time for an example.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
