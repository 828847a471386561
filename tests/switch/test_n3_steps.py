"""docs/5g.md and its pictures show what a switch does with T-PDUs, step by step."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support import gtpu, n3_steps
from tests.support.lab import ROOT, Lab
from tests.support.n3_steps import DOWN, UE, UP, is_part, on_the_page
from tests.support.site import PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

RECORDED = json.loads((ROOT / "docs" / "images" / "n3-steps.json").read_text())
AGAIN = "run .venv/bin/python -m tests.support.n3_steps > docs/images/n3-steps.json"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        yield site
        site.alive()


def test_the_octets_of_each_step(site: Site) -> None:
    shown = n3_steps.record(site)
    assert shown.keys() == RECORDED.keys(), AGAIN
    for packet, steps in shown.items():
        assert steps == RECORDED[packet], f"{packet}: {AGAIN}"


def test_what_the_cache_holds(site: Site) -> None:
    """The page's lines of the datapath's flows, in which … stands for what is left out."""
    site.session(UE, teid=UP, downlink=DOWN, qfi=9)
    site.lab.appctl("revalidator/purge")
    frame = site.from_enb(bytes.fromhex(RECORDED["uplink, E, 4"]["sent"]["octets"]))
    core = site.lab.end("eth2")
    shown = [line.replace("eth2", core) for line in on_the_page() if line.startswith("…")]
    assert len(shown) == 5

    def missing() -> list[str]:
        """Lines that are not there: what the revalidator has just thrown out comes again."""
        assert len(site.uplink(frame)) == 1
        frames = site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, UE)))
        assert any(is_gtpu(each, DOWN) for each in frames)
        cached = site.lab.appctl("dpctl/dump-flows", "-m")
        return [line for line in shown if not is_part(line, cached)]

    until(lambda: not missing(), f"{shown} in the cache")
