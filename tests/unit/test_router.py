"""The gateway as its UEs' router: whom it tells what, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    IPv6,
)
from scapy.packet import Packet

from ofgtp.control import router as routing
from ofgtp.control.peers.moves import Moves
from ofgtp.control.router import ADVERTISED_AT_ONCE, ROUND_S, TRIES, Router
from ofgtp.core.flows.flow import SetField
from ofgtp.core.model import FTeid, Qos, Session
from ofgtp.core.packets.frames import ip_frame
from ofgtp.core.rules.link import has_news, link_of
from ofgtp.core.sessions.detail import Relay
from ofgtp.southbound.openflow import PacketIn
from ofgtp.store import SessionStore
from tests.support.lab import gateway
from tests.support.sample import ENB, FAR, LINKS, OTHER_ENB, bearer, detailed, session

DNS = IPv6Address("2001:db8:53::1")
OF_IPV6: dict[str, Any] = {"ue_pools6": (IPv6Network("2001:db8::/32"),), "dns6": (DNS,)}
SMF = FTeid(7, IPv4Address("10.1.0.9"))


def prefix(number: int) -> IPv6Network:
    return IPv6Network((0x2001_0DB8 << 96 | number << 64, 64))


def of_ipv6(number: int, **changes: Any) -> Session:
    return detailed(number, **{"ue_ipv6": prefix(number), **changes})


class Stage:
    """A router and what is around it."""

    def __init__(self, path: Path, **changes: Any) -> None:
        self.store = SessionStore(path / "sessions.db")
        self.reached = True
        made = gateway(**OF_IPV6 | changes)
        self.router = Router(made, self.store, lambda peer: self.reached)
        self.links, self.now = LINKS, 1000.0
        self.out: list[tuple[int, Packet]] = []

    def packets_out(self, frames: Iterable[tuple[Iterable[Any], bytes]]) -> None:
        for actions, octets in frames:
            fields = {each.field: each.value for each in actions if isinstance(each, SetField)}
            self.out.append((fields["tun_id"], IPv6(octets[14:])))

    def insert(self, *sessions: Session) -> list[Session]:
        with self.store.transaction() as tx:
            return [tx.insert(each) for each in sessions]

    def tick(self, seconds: float = 0.25, times: int = 1) -> list[tuple[int, Packet]]:
        before = len(self.out)
        for _ in range(times):
            self.now += seconds
            self.router.tick(self.now, self, self.links)  # type: ignore[arg-type]
        return self.out[before:]

    def ask(self, packet: Packet, teid: int = 0x1001, peer: IPv4Address = ENB) -> list[Packet]:
        before = len(self.out)
        octets = ip_frame(LINKS.core_mac, LINKS.core_mac, bytes(packet))
        shown = PacketIn(0, LINKS.gtpu, teid, int(peer), octets)
        self.known = self.router.asked(shown, self, self.links)  # type: ignore[arg-type]
        return [packet for _, packet in self.out[before:]]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.store.close()


def rs(source: str = "fe80::7", **changes: Any) -> Packet:
    return IPv6(**{"src": source, "dst": "ff02::2", "hlim": 255, **changes}) / ICMPv6ND_RS()


def ns(source: str = "fe80::7", target: str = "fe80::1") -> Packet:
    return IPv6(src=source, dst=target, hlim=255) / ICMPv6ND_NS(tgt=target)


# --- what is asked


def test_who_is_answered(stage: Stage) -> None:
    stage.insert(of_ipv6(1), of_ipv6(2, downlink=None), detailed(3))
    for source, to in (
        ("fe80::7", "fe80::7"),
        ("::", "ff02::1"),
        ("2001:db8:0:1::9", "2001:db8:0:1::9"),
    ):
        [told] = stage.ask(rs(source))
        assert (told.dst, told[ICMPv6NDOptRDNSS].dns) == (to, [str(DNS)])
        assert told[ICMPv6NDOptMTU].mtu == LINKS.access_mtu - 36
    assert stage.ask(rs("2001:db8:0:2::9")) == [], "of another's prefix"
    assert stage.ask(rs(), 0x1002) == [], "idle"
    assert stage.ask(rs(), 0x1003) == [], "without IPv6"
    assert stage.ask(rs(hlim=254)) == []
    assert stage.known
    assert stage.ask(rs(), 0x7777) == []
    assert not stage.known


def test_a_pinned_peer(stage: Stage) -> None:
    one = of_ipv6(1)
    assert one.uplink is not None
    stage.insert(replace(one, uplink=replace(one.uplink, remote_ip=ENB)))
    assert stage.ask(rs(), peer=OTHER_ENB) == []
    assert len(stage.ask(rs(), peer=ENB)) == 1


def test_whether_it_is_still_there(stage: Stage) -> None:
    stage.insert(of_ipv6(1))
    [told] = stage.ask(ns())
    assert (told.dst, told[ICMPv6ND_NA].tgt, told[ICMPv6ND_NA].S) == ("fe80::7", "fe80::1", 1)
    assert stage.ask(ns("::")) == []
    assert stage.ask(ns(target="fe80::2")) == []


def test_a_control_plane_answers(tmp_path: Path) -> None:
    """Whether the gateway itself would, or not."""
    for place, advertises in enumerate((True, False)):
        (directory := tmp_path / str(place)).mkdir()
        stage = Stage(directory, router_advertisement=advertises, dns6=())
        [one, _] = stage.insert(of_ipv6(1, router=SMF), of_ipv6(2))
        assert stage.ask(rs()) == [rs().__class__(bytes(rs()))]
        assert stage.out == [(SMF.teid, stage.out[0][1])]
        wrong = rs()
        wrong[ICMPv6ND_RS].cksum = 1
        assert bytes(stage.ask(wrong)[0]) == bytes(wrong), "that is for it to judge"
        assert len(stage.ask(rs(), 0x1002)) == advertises
        stage.router.news([one.number])
        assert stage.tick(0.25, 3) == []
        stage.store.close()


# --- what is told unasked


def test_news(stage: Stage) -> None:
    made = stage.insert(of_ipv6(1), of_ipv6(2, downlink=None), of_ipv6(3, qos=Qos(9)), detailed(4))
    stage.router.news(each.number for each in made)
    told = stage.tick()
    assert [(teid, packet.dst) for teid, packet in told] == [
        (0x2001, "ff02::1"),
        (0x2003, "ff02::1"),
    ]
    assert [packet[ICMPv6NDOptMTU].mtu for _, packet in told] == [1464, 1456]
    assert [packet[ICMPv6NDOptPrefixInfo].prefix for _, packet in told] == [
        str(prefix(1).network_address),
        str(prefix(3).network_address),
    ]
    assert stage.tick(0.25, 10) == [], "once"


def test_it_may_be_turned_off(tmp_path: Path) -> None:
    stage = Stage(tmp_path, router_advertisement=False, dns6=())
    [one] = stage.insert(of_ipv6(1))
    stage.router.news([one.number])
    assert stage.tick(ROUND_S / 10, 20) == []
    assert stage.ask(rs()) == []
    stage.store.close()


def test_a_base_station_is_waited_for(stage: Stage) -> None:
    [one] = stage.insert(of_ipv6(1))
    stage.reached = False
    stage.router.news([one.number])
    assert stage.tick(0.25, TRIES - 1) == []
    stage.reached = True
    assert len(stage.tick()) == 1
    stage.reached = False
    stage.router.news([one.number])
    assert stage.tick(0.25, TRIES + 2) == []
    stage.reached = True
    assert stage.tick(0.25, 10) == [], "no longer"


def test_many_are_told_a_few_at_a_time(stage: Stage) -> None:
    count = 3 * ADVERTISED_AT_ONCE
    stage.router.news(each.number for each in stage.insert(*map(of_ipv6, range(1, count + 1))))
    assert [len(stage.tick()) for _ in range(4)] == [ADVERTISED_AT_ONCE] * 3 + [0]
    assert len({packet[ICMPv6NDOptPrefixInfo].prefix for _, packet in stage.out}) == count


@pytest.mark.parametrize("at", (0.0, 0.37, 0.999))
def test_all_have_their_turn(stage: Stage, monkeypatch: pytest.MonkeyPatch, at: float) -> None:
    """Wherever the round stands, each that is not idle once within its time, and evenly."""
    monkeypatch.setattr(routing.time, "time", lambda: ROUND_S * (7 + at))
    stage.insert(*(of_ipv6(n) for n in range(1, 41)), of_ipv6(41, downlink=None), detailed(42))
    slices = [len(stage.tick(ROUND_S / 400, 40)) for _ in range(10)]
    assert 38 <= sum(slices) <= 41, "the last turn of a list may be short"
    assert max(slices) <= 5
    stage.tick(ROUND_S / 400, 20)
    told = {packet[ICMPv6NDOptPrefixInfo].prefix for _, packet in stage.out}
    assert told == {str(prefix(n).network_address) for n in range(1, 41)}


def test_a_start_goes_on_where_the_time_has_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing.time, "time", lambda: ROUND_S * 7.5)
    stage.insert(*(of_ipv6(n) for n in range(1, 41)))
    [first, *_] = stage.tick(ROUND_S / 40 + 1, 3)
    assert first[1][ICMPv6NDOptPrefixInfo].prefix == str(prefix(21).network_address)


def test_another_mtu_is_told_to_all(stage: Stage) -> None:
    stage.insert(*map(of_ipv6, range(1, ADVERTISED_AT_ONCE + 11)))
    assert stage.tick(0.25, 2) == []
    stage.links = replace(LINKS, access_mtu=1450)
    assert [len(stage.tick()) for _ in range(4)] == [ADVERTISED_AT_ONCE, 10, 0, 0]
    assert {packet[ICMPv6NDOptMTU].mtu for _, packet in stage.out} == {1414}


def test_another_mtu_is_not_told_twice_to_who_comes_after_it(stage: Stage) -> None:
    stage.tick()
    stage.links = replace(LINKS, access_mtu=1450)
    assert stage.tick() == []
    made = stage.insert(*map(of_ipv6, range(1, 6)))
    stage.router.news(each.number for each in made)
    assert [len(stage.tick(20)) for _ in range(6)] == [5, 0, 0, 0, 0, 0]
    stage.links = LINKS
    assert len(stage.tick()) == 5, "all that there are"
    made = stage.insert(*map(of_ipv6, range(6, 9)))
    stage.router.news(each.number for each in made)
    assert [len(stage.tick()) for _ in range(4)] == [3, 0, 0, 0]


def test_an_mtu_that_is_too_small_for_ipv6(stage: Stage) -> None:
    stage.insert(of_ipv6(1))
    stage.links = replace(LINKS, access_mtu=1300)
    assert [packet[ICMPv6NDOptMTU].mtu for packet in stage.ask(rs())] == [1280]


# --- what is news

IPV6 = of_ipv6(1)
CHANGES: dict[str, tuple[Session | None, Session | None, bool]] = {
    "a new one": (None, IPV6, True),
    "a new one without IPv6": (None, session(), False),
    "a new one that is idle": (None, of_ipv6(1, downlink=None), False),
    "out of idle": (of_ipv6(1, downlink=None), IPV6, True),
    "held, and out of it": (of_ipv6(1, downlink=None, buffer=8), of_ipv6(1, buffer=8), True),
    "idle": (IPV6, of_ipv6(1, downlink=None), False),
    "a handover": (IPV6, of_ipv6(1, downlink=FTeid(0x3001, OTHER_ENB)), False),
    "another prefix": (IPV6, of_ipv6(1, ue_ipv6=prefix(9)), True),
    "a prefix": (detailed(1), IPV6, True),
    "a QFI": (IPV6, of_ipv6(1, qos=Qos(9)), True),
    "another QFI": (of_ipv6(1, qos=Qos(8)), of_ipv6(1, qos=Qos(9)), False),
    "known again": (of_ipv6(1, error_indicated=True), IPV6, True),
    "not known": (IPV6, of_ipv6(1, error_indicated=True), False),
    "a control plane's": (None, of_ipv6(1, router=SMF), False),
    "no more": (IPV6, None, False),
    "a relay": (None, detailed(1, ue_ip=None, relay=Relay(5, FTeid(6, FAR))), False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_news(name: str) -> None:
    before, after, news = CHANGES[name]
    assert has_news(before, after) is news
    moves = Moves()
    moves.add(before, after)
    assert moves.linked == ([1] if news else [])


def test_it_is_told_in_the_default_bearers_tunnel() -> None:
    """Where that is idle no other is taken."""
    voice = bearer("voice", 10, downlink=FTeid(0x2777, ENB))
    link = link_of(of_ipv6(1, bearers=[voice]))
    assert link is not None
    assert link.tunnel.to.teid == 0x2001
    assert link_of(of_ipv6(1, bearers=[voice], downlink=None)) is None


def test_an_advertisement_is_one(stage: Stage) -> None:
    stage.insert(of_ipv6(1))
    [told] = stage.ask(rs())
    assert (told[ICMPv6ND_RA].routerlifetime, told.hlim, told.src) == (64_800, 255, "fe80::1")
