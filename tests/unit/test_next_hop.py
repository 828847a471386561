"""When the next hop is asked for its MAC, and what is known of it."""

from __future__ import annotations

import pytest

from ofgtp.core.peers.next_hop import ASK_KNOWN_S, ASK_UNKNOWN_S, STALE_S, NextHop

MAC, OTHER = "52:54:00:00:00:03", "52:54:00:00:00:04"


@pytest.mark.parametrize("start", [0.0, 12345.6])
def test_it_is_asked_every_second_until_it_answers(start: float) -> None:
    hop = NextHop()
    assert hop.state(start) == "unresolved"
    assert hop.due(start)
    assert not hop.due(start)
    assert not hop.due(start + ASK_UNKNOWN_S - 0.1)
    assert hop.due(start + ASK_UNKNOWN_S)
    assert not hop.due(start + ASK_UNKNOWN_S + 0.1)


def test_it_is_asked_more_rarely_while_it_answers() -> None:
    hop = NextHop()
    hop.due(0.0)
    assert hop.heard(MAC, 0.5)
    assert hop.state(0.5) == "resolved"
    assert not hop.due(ASK_KNOWN_S - 0.1)
    assert hop.due(ASK_KNOWN_S)


def test_a_changed_mac_is_news_and_a_known_one_is_not() -> None:
    hop = NextHop()
    assert hop.heard(MAC, 1.0)
    assert not hop.heard(MAC, 2.0)
    assert hop.heard(OTHER, 3.0)
    assert hop.mac == OTHER


def test_silence_makes_it_stale_but_not_forgotten() -> None:
    hop = NextHop()
    hop.heard(MAC, 10.0)
    assert hop.state(10.0 + STALE_S) == "resolved"
    late = 10.1 + STALE_S
    assert (hop.state(late), hop.mac) == ("stale", MAC)
    assert hop.due(late)
    assert hop.due(late + ASK_UNKNOWN_S)
    assert not hop.heard(MAC, late + 2)
    assert hop.state(late + 2) == "resolved"


def test_one_in_doubt_is_asked_at_once_until_it_answers() -> None:
    hop = NextHop()
    hop.due(10.0)
    hop.heard(MAC, 10.1)
    assert not hop.due(11.0)
    hop.doubt()
    assert (hop.due(11.0), hop.mac) == (True, MAC), "its last MAC is used meanwhile"
    assert hop.due(11.0 + ASK_UNKNOWN_S)
    assert hop.heard(OTHER, 12.1)
    assert not hop.due(12.2)
