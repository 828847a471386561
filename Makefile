# Most targets first run scripts/setup, which installs what is missing and else does nothing.
# All but `lint`, `deb` and `clean` need root: they make network namespaces, or change the host.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-5g demo-bearers demo-pfcp test test-long test-ports test-switches test-hosts test-systemd bench lint install deb clean

help:
	@echo 'make demo           the main job, end to end, in a network namespace of its own'
	@echo 'make demo-5g        5G: a gNB on N3, beside an eNB'
	@echo 'make demo-bearers   bearers by filters, rates, a relay (SGW), breakout'
	@echo 'make demo-pfcp      an SMF drives the gateway by PFCP: the life of a session, and a crash'
	@echo 'make test           all tests but the long ones'
	@echo 'make test-long      the long ones: fuzzing, faults with very many sessions'
	@echo 'make test-ports     the switch tests with ports that are read by AF_XDP'
	@echo 'make test-switches  the switch tests with Open vSwitch of Debian 13 and of unstable'
	@echo 'make test-hosts     all of README.md on fresh hosts: Debian 12 and 13, in directories of their own'
	@echo 'make test-systemd   the unit of `make install` under a systemd of its own, on a fresh Debian 12'
	@echo 'make bench          benchmarks'
	@echo 'make lint           ruff, mypy, import-linter'
	@echo 'make install        a production set-up in /opt/ofgtp (or PREFIX=DIR): docs/install.md'
	@echo 'make deb            the same as a Debian package, in dist/'
	@echo 'make clean          removes .venv, caches, and the switches of other releases'

setup:
	@scripts/setup

demo: setup
	@.venv/bin/python mininet/demo.py

demo-5g: setup
	@.venv/bin/python mininet/n3.py

demo-bearers: setup
	@.venv/bin/python mininet/bearers.py

demo-pfcp: setup
	@.venv/bin/python mininet/pfcp.py

test: setup
	.venv/bin/pytest -n 4 --dist loadfile --no-loadscope-reorder

test-long: setup
	.venv/bin/pytest -m 'long or hypothesis'

# In the switch's main thread: a thread that polls would take one of two cores from the tests. Those
# of tests/switch/test_afxdp.py that are about such threads have them all the same.
test-ports: setup
	OFGTP_TEST_PORTS=afxdp OFGTP_TEST_NO_PMD=1 .venv/bin/pytest -n 2 --dist loadfile tests/switch

test-switches: setup
	scripts/test-switches

test-hosts:
	scripts/test-hosts

test-systemd:
	scripts/test-systemd

bench: setup
	@[ -e benchmarks/run.py ] || { echo 'bench: there are no benchmarks yet' >&2; exit 1; }
	@.venv/bin/python benchmarks/run.py

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# These two need no development set-up.
install:
	@scripts/install

deb:
	@scripts/deb

clean:
	rm -rf .venv build dist ofgtp.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf --one-file-system .cache
	find . -path ./.git -prune -o -name __pycache__ -type d -print0 | xargs -0r rm -rf
