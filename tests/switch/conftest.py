"""What the tests with a real switch need; missing, they fail and are not skipped."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.support.lab import Lab
from tests.support.site import Site

PROGRAMS = ("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "nft", "ip", "tshark")


@pytest.fixture(scope="session", autouse=True)
def host() -> None:
    """Root and the programs that these tests run."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.fail(f"not installed: {', '.join(missing)}; `make setup` does that")
    if os.geteuid() != 0:
        pytest.fail("these tests make network namespaces: run them as root")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One base station, a gateway that works, a core host; at the end all it sent is checked."""
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        yield site
        site.alive()
        site.check_sent()


@pytest.fixture(scope="module")
def two_enbs() -> Iterator[Site]:
    """The same with two base stations."""
    with Lab(enbs=2) as lab:
        site = Site(lab)
        site.ready()
        yield site
        site.alive()
        site.check_sent()
