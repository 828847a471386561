"""Makes `tests` this directory for every test: the environment holds another package named so."""
