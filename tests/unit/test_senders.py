"""Who sends T-PDUs over IPv6, of whom the switch shows the end of the address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Interface, IPv6Network

import pytest

from ofgtp.control.peers.senders import ASK_S, ASKS, KEEP_S, KEPT, WAITING_EACH, Senders
from ofgtp.core.flows.flow import Show
from ofgtp.core.model import Address
from ofgtp.core.rules.access import senders
from tests.support.lab import gateway
from tests.support.sample import LINKS

SENDER = IPv6Address("2001:db8:ac::1234:5678")
TAIL, PEER = 0x2345678, 0xF2345678
BURST = int(ASKS[1][1])


class Scene:
    """Senders, and what they ask the switch."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.told: list[Address] = []
        self.of = Senders(lambda tail, seconds: self.asked.append((tail, seconds)))

    def __call__(self, now: float, peer: int = PEER) -> Address | None:
        return self.of.of(peer, now, self.told.append)

    def heard(self, now: float, sender: IPv6Address = SENDER) -> None:
        self.of.heard(frame(sender), now)


def frame(sender: IPv6Address) -> bytes:
    return bytes(12) + b"\x86\xdd" + bytes(8) + sender.packed + bytes(16)


def test_an_ipv4_sender_is_known() -> None:
    scene = Scene()
    assert scene(0.0, 0x0A010002) == IPv4Address("10.1.0.2")
    assert (scene.asked, scene.told) == ([], [])


def test_the_switch_is_asked_once_and_its_answer_kept() -> None:
    scene = Scene()
    assert [scene(0.0) for _ in range(WAITING_EACH + 5)] == [None] * (WAITING_EACH + 5)
    assert scene.asked == [(TAIL, ASK_S)]
    scene.heard(0.5)
    assert scene.told == [SENDER] * WAITING_EACH
    assert scene(0.5 + KEEP_S - 0.1) == SENDER
    assert scene(0.5 + KEEP_S) is None, "another one may have the same end by now"
    assert scene.asked == [(TAIL, ASK_S)] * 2


def test_what_waits_is_forgotten_when_no_answer_comes() -> None:
    scene = Scene()
    scene(0.0)
    assert scene(ASK_S) is None
    assert scene.asked == [(TAIL, ASK_S)] * 2, "asked again"
    scene.heard(ASK_S + 0.1)
    assert scene.told == [SENDER], "of the second time alone"


def test_an_answer_to_nothing_is_kept_all_the_same() -> None:
    scene = Scene()
    scene.heard(0.0)
    assert (scene(1.0), scene.asked) == (SENDER, [])


def test_what_is_too_short_says_nothing() -> None:
    scene = Scene()
    scene.of.heard(frame(SENDER)[:37], 0.0)
    assert scene(0.0) is None


def test_many_ends_cannot_have_much_asked_or_kept() -> None:
    scene = Scene()
    for number in range(2 * KEPT):
        scene(0.0, 0xF0000000 + number)
    assert len(scene.asked) == BURST
    for number in range(2 * KEPT):
        scene.heard(0.0, IPv6Address(int(SENDER) + number))
    assert scene(0.0) is None and scene(0.0, PEER + 2 * KEPT - 1) is not None


ACCESS6 = IPv6Interface("2001:db8:ac::1/64")


@pytest.mark.parametrize(
    ("allowed", "sources"),
    [
        ((), ["ipv6_src=::234:5678/::fff:ffff"]),
        (("2001:db8:ac::/64",), ["ipv6_src=2001:db8:ac::234:5678/ffff:ffff:ffff:ffff::fff:ffff"]),
        (("2001:db8:ac::1234:5678/128",), ["ipv6_src=2001:db8:ac::1234:5678"]),
        (("2001:db8:ac::1234:5679/128",), []),
        (
            ("2001:db8:ac::1234:5600/120", "2001:db8:ac::1234:5700/120"),
            ["ipv6_src=2001:db8:ac::1234:5678"],
        ),
    ],
)
def test_what_is_shown_is_what_may_send(allowed: tuple[str, ...], sources: list[str]) -> None:
    prefixes = tuple(map(IPv6Network, allowed))
    of = gateway(access_ip6=ACCESS6, access_allow6=prefixes)
    flows = list(senders(of, LINKS, TAIL, ASK_S))
    assert [str(each) for flow in flows for each in flow.match if each.field == "ipv6_src"] == (
        sources
    )
    for flow in flows:
        assert flow.hard_timeout == ASK_S and flow.goto is not None
        assert [type(action) for action in flow.actions] == [Show]


def test_without_ipv6_nothing_is_shown() -> None:
    assert list(senders(gateway(), LINKS, TAIL, ASK_S)) == []
