"""The table of Open vSwitch's faults: who has which, how it is known, and the page made of it."""

import re
from pathlib import Path

import pytest

from ofgtp.core.flows import faults
from ofgtp.core.flows.faults import FAULTS, INNER_VERSION, UDP_CHECKSUM, Basis

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "ovs-faults.md"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("3.1.0", (3, 1)),
        ("3.3.0~git20231204", (3, 3)),
        ("2.17.9", (2, 17)),
        ("4.0.0-1", (4, 0)),
        ("3.10", (3, 10)),
        (" 3.1.0\n", (3, 1)),
        ("", None),
        (None, None),
        ("unknown", None),
        ("v3.1.0", None),
        ("3", None),
        ("3.", None),
    ],
)
def test_versions_are_read(text: str | None, version: faults.Version | None) -> None:
    assert faults.parse(text) == version


@pytest.mark.parametrize(
    ("version", "has", "has_not"),
    [
        ((2, 12), {"mpls_abort"}, {"inner_version", "udp_checksum"}),
        ((2, 13), {"inner_version", "udp_checksum", "cache_kept"}, set()),
        ((3, 1), {fault.name for fault in FAULTS}, set()),
        ((3, 2), {"inner_version", "gtpu_bits"}, {"udp_checksum", "cache_kept"}),
        ((3, 10), {"inner_version"}, {"udp_checksum"}),
        ((4, 0), {"inner_version", "gtpu_bits"}, {"udp_checksum", "cache_kept"}),
        ((9, 0), {"inner_version"}, {"udp_checksum"}),
        (None, {fault.name for fault in FAULTS}, set()),
    ],
)
def test_who_has_which(version: faults.Version | None, has: set[str], has_not: set[str]) -> None:
    names = {fault.name for fault in faults.of(version)}
    assert names >= has
    assert not names & has_not


@pytest.mark.parametrize(
    ("fault", "version", "basis"),
    [
        (INNER_VERSION, (3, 1), Basis.MEASURED),
        (INNER_VERSION, (4, 0), Basis.MEASURED),
        (INNER_VERSION, (2, 17), Basis.READ),
        (INNER_VERSION, (3, 3), Basis.READ),
        (INNER_VERSION, (4, 1), Basis.PRESUMED),
        (INNER_VERSION, None, Basis.PRESUMED),
        (UDP_CHECKSUM, (3, 1), Basis.MEASURED),
        (UDP_CHECKSUM, (3, 0), Basis.READ),
        (faults.MPLS_ABORT, (3, 1), Basis.MEASURED),
        (faults.MPLS_ABORT, (3, 5), Basis.MEASURED),
        (faults.MPLS_ABORT, (3, 3), Basis.PRESUMED),
        (faults.GTPU_BITS, (4, 1), Basis.PRESUMED),
    ],
)
def test_how_it_is_known(fault: faults.Fault, version: faults.Version | None, basis: Basis) -> None:
    assert fault.affects(version)
    assert fault.basis(version) is basis


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_agrees_with_itself(fault: faults.Fault) -> None:
    assert all(fault.affects(version) for version in (*fault.measured, *(fault.read or ())))
    if fault.fixed is not None:
        assert not fault.affects(fault.fixed)
    assert len(fault.summary) <= 37 and len(fault.remedy) <= 39, "80 columns hold both"


def test_each_fault_was_looked_for_where_the_tests_run() -> None:
    """tests/switch/test_known_faults.py does that, on the switch at hand."""
    for version in faults.TRIED:
        assert all((version in each.measured) is each.affects(version) for each in FAULTS)


def test_names_are_different() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_versions_in_words() -> None:
    assert {fault.name: fault.versions for fault in FAULTS} == {
        "inner_version": "2.13 to 4.0 at least",
        "outer_ecn": "2.13 to 4.0 at least",
        "udp_checksum": "2.13 on, before 3.2",
        "udp_checksum_ipv6": "2.13 to 4.0 at least",
        "mpls_abort": "3.1 to 4.0 at least",
        "gtpu_bits": "3.1 to 4.0 at least",
        "cache_kept": "before 3.2",
        "bundle_in_part": "3.1 to 4.0 at least",
        "kernel_sees": "3.1 to 4.0 at least",
        "arp_twice": "3.1 to 4.0 at least",
        "padding": "3.1 to 4.0 at least",
        "batch_lost": "3.1 to 4.0 at least",
        "interface_lost": "3.1 to 4.0 at least",
    }


# --- docs/ovs-faults.md


def test_each_fault_has_its_section() -> None:
    headings = re.findall(r"^## (.+)$", DOCUMENT.read_text(), re.MULTILINE)
    assert headings.pop(0) == "Versions that were tried"
    assert sorted(headings) == sorted(fault.section for fault in FAULTS)
    assert INNER_VERSION.reference == (
        "docs/ovs-faults.md#the-inner-ip-version-is-read-at-a-wrong-place"
    )
