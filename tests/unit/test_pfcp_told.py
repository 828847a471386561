"""Of what a control plane is told once, and of what after a time again."""

from __future__ import annotations

from ipaddress import IPv4Address

from ofgtp.core.model import FTeid
from ofgtp.core.pfcp.downlink import DownlinkFlow
from ofgtp.core.pfcp.told import AGAIN_S, Told

SEID, TUNNEL = 7, FTeid(IPv4Address("10.1.0.2"), 1)
DATA, VOICE = DownlinkFlow(2, 9), DownlinkFlow(3, 5)


def test_a_ue_that_was_paged_in_vain_is_paged_again() -> None:
    told = Told()
    assert not told.is_told(SEID, DATA, 100)
    told.tell(SEID, DATA, 100)
    told.told_of_all(SEID, {DATA}, 100)
    last = 100 + AGAIN_S - 1
    assert told.is_quiet(SEID, last)
    assert told.is_told(SEID, DATA, last)
    assert not told.is_quiet(SEID, last + 1)
    assert not told.is_told(SEID, DATA, last + 1)


def test_it_is_quiet_until_one_of_its_flows_is_told_again() -> None:
    told = Told()
    told.tell(SEID, DATA, 100)
    told.told_of_all(SEID, {DATA, VOICE}, 100)
    assert not told.is_quiet(SEID, 100), "there is another flow"
    told.tell(SEID, VOICE, 130)
    told.told_of_all(SEID, {DATA, VOICE}, 130)
    assert told.is_quiet(SEID, 100 + AGAIN_S - 1)
    assert not told.is_quiet(SEID, 100 + AGAIN_S)
    assert told.is_told(SEID, VOICE, 100 + AGAIN_S)
    assert not told.is_quiet(SEID + 1, 130), "another session"


def test_a_tunnel_is_told_once() -> None:
    told = Told()
    told.tell(SEID, TUNNEL, 100)
    assert told.is_told(SEID, TUNNEL, 100 + 1000 * AGAIN_S)
    assert told.forget(SEID, frozenset()) == [TUNNEL]
    assert not told.is_told(SEID, TUNNEL, 100)


def test_what_a_modification_says_nothing_of_stays() -> None:
    told = Told()
    for what in (DATA, VOICE, TUNNEL):
        told.tell(SEID, what, 100)
    told.told_of_all(SEID, {DATA, VOICE}, 100)
    assert told.forget(SEID, frozenset({3})) == [VOICE, TUNNEL]
    assert not told.is_quiet(SEID, 101)
    assert told.is_told(SEID, DATA, 101)
    assert not told.is_told(SEID, VOICE, 101)
    assert list(told) == [SEID]
    assert told.forget(SEID) == [DATA]
    assert list(told) == []


def test_what_was_not_answered() -> None:
    told = Told()
    told.tell(SEID, DATA, 100)
    told.told_of_all(SEID, {DATA}, 100)
    told.unanswered(SEID, DATA)
    assert not told.is_quiet(SEID, 101)
    assert not told.is_told(SEID, DATA, 101)
    told.unanswered(SEID + 1, DATA)
