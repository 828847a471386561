"""What a gateway does with packets that its switch shows since their sessions hold them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from ofgtp.control.buffer.flips import Flips
from ofgtp.control.buffer.holding import COUNTED_S, FAST_S, LATE_S, Holding, Notified
from ofgtp.core.buffer.queue import Bounds
from ofgtp.core.flows.flow import Flow, SetField
from ofgtp.core.model import FTeid, Session, Uplink
from ofgtp.core.rules.counts import Counts
from ofgtp.core.rules.terms import GROUP_BITS
from ofgtp.core.sessions.detail import Detail
from ofgtp.core.sessions.rule import Rule
from ofgtp.southbound.openflow import PacketIn
from tests.support.paging import number_of, numbered

FAR, OTHER = FTeid(0x2001, IPv4Address("10.1.0.2")), FTeid(0x2002, IPv4Address("10.1.0.3"))
UE, SLOT = "10.45.0.2", 7
SIZE = 88
"""IP octets of a packet."""


def session(downlink: FTeid | None = None, *, number: int = 1, buffer: int | None = 8) -> Session:
    return Session(
        number=number,
        id=f"ue-{number}",
        gateway="gw1",
        ue_ip=IPv4Address(UE),
        uplink=Uplink(0x1000 + number),
        downlink=downlink,
        detail=Detail(slot=SLOT, buffer=buffer),
    )


class Switch:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        """TEID and number of each packet."""
        self.closed: list[Flow] = []
        self.meanwhile: Callable[[], None] | None = None
        """What comes while a packet is being sent."""
        self.barriers = 0

    def packets_out(self, frames: Iterable[tuple[Iterable[Any], bytes]]) -> None:
        for actions, frame in frames:
            fields = {each.field: each.value for each in actions if isinstance(each, SetField)}
            self.sent.append((fields["tun_id"], number_of(frame[14:])))
            if self.meanwhile is not None:
                come, self.meanwhile = self.meanwhile, None
                come()

    def renew(self, flows: Iterable[Flow]) -> None:
        self.closed += flows

    def take_away(self, flows: Iterable[Flow]) -> None:
        keys = {flow.key for flow in flows}
        self.closed = [flow for flow in self.closed if flow.key not in keys]

    def barrier(self) -> None:
        self.barriers += 1


class Stage:
    """A holding with all around it; `stored` is what the store has."""

    def __init__(self, stored: Session | None) -> None:
        self.stored, self.switch = stored, Switch()
        self.drops: Counter[str] = Counter()
        self.told: list[tuple[str, str]] = []
        self.answer = Notified.ONCE
        self.counted: list[str] = []
        switch: Any = self.switch
        self.holding = Holding(
            lambda slot: self.stored if slot == SLOT else None,
            lambda: switch,
            lambda label, n: self.drops.update({label: n}),
            lambda ip: True,
        )
        self.holding.owners = self

    def held_by(self, session: Session, rule: Rule) -> Bounds | None:
        assert session.detail is not None
        return None if session.detail.buffer is None else Bounds(session.detail.buffer)

    def downlink_data(self, session: Session, rule: Rule) -> Notified:
        self.told.append((session.id, rule.id))
        return self.answer

    def delivered(self, session: Session) -> None:
        self.counted.append(session.id)

    def come(self, *numbers: int, now: float | None = None) -> None:
        """The switch shows packets."""
        now = time.monotonic() if now is None else now
        for packet in numbered(UE, numbers):
            shown = PacketIn(0, 2, 0, 0, bytes(14) + packet, rules=SLOT << GROUP_BITS)
            self.holding.packet_in(shown, now)

    def change(self, before: Session, after: Session | None, drop: Iterable[int] = ()) -> None:
        """As far as the switch is concerned; the store has it later."""
        flips = Flips(self.holding.knows)
        flips.add([before], [] if after is None else [after])
        self.holding.flip(flips.changed, flips.had.keys(), drop)

    @property
    def sent(self) -> list[int]:
        return [number for _, number in self.switch.sent]


@pytest.fixture
def stage() -> Stage:
    return Stage(session())


@pytest.mark.parametrize(
    ("gaps", "waits"), [((), False), ((2 * FAST_S,), False), ((FAST_S / 2,), True)]
)
def test_a_change_waits_for_the_next_packet_only_where_they_come_fast(
    stage: Stage, gaps: tuple[float, ...], waits: bool
) -> None:
    now = time.monotonic() - sum(gaps)
    for number, gap in enumerate((0.0, *gaps), 1):
        now += gap
        stage.come(number, now=now)
    stage.change(session(), session(FAR))
    assert stage.sent == [*range(1, 2 + len(gaps))]
    assert stage.switch.barriers == waits


def test_it_goes_where_the_session_leads_then(stage: Stage) -> None:
    stage.come(1, 2)
    assert (stage.told, stage.sent) == ([("ue-1", "")], [])
    stage.change(session(), session(FAR))
    stage.come(3)
    assert stage.switch.sent == [(FAR.teid, number) for number in (1, 2, 3)], "3 was late"
    stage.change(session(FAR), session(OTHER))
    stage.come(4)
    assert stage.switch.sent[-1] == (OTHER.teid, 4)
    assert stage.holding.now() == {
        "sessions": 0,
        "packets": 0,
        "bytes": 0,
        "held": 2,
        "replayed": 2,
    }


def test_what_comes_while_it_is_sent_goes_behind_it(stage: Stage) -> None:
    stage.come(*range(8))
    stage.switch.meanwhile = lambda: stage.come(8, 9)
    stage.change(session(), session(FAR))
    assert stage.sent == list(range(10))


def test_a_refused_change(stage: Stage) -> None:
    """What has gone out has; what comes now waits again."""
    stage.come(1)
    stage.change(session(), session(FAR))
    stage.holding.back({SLOT: session()})
    stage.come(2)
    assert (stage.sent, stage.holding.room.packets) == ([1], 1)


def test_the_first_packet_may_be_faster_than_the_store(stage: Stage) -> None:
    """It is held, though the store does not say so yet, and told of when it does."""
    stage.stored = session(FAR)
    stage.change(session(FAR), session())
    stage.come(1)
    assert (stage.sent, stage.told, stage.holding.room.packets) == ([], [], 1)
    stage.stored = session()
    stage.holding.kept()
    stage.holding.tick(time.monotonic())
    assert stage.told == [("ue-1", "")]


def test_what_cannot_be_told_is_told_later(stage: Stage) -> None:
    stage.answer = Notified.NOT_YET
    stage.come(1, 2)
    stage.answer = Notified.ONCE
    stage.holding.tick(time.monotonic())
    stage.holding.tick(time.monotonic())
    stage.come(3)
    assert len(stage.told) == 3


def test_told_anew_after_the_next_tunnel(stage: Stage) -> None:
    stage.come(1)
    stage.change(session(), session(buffer=9))
    stage.holding.kept()
    stage.come(2)
    assert len(stage.told) == 1, "it is idle all the time"
    stage.change(session(buffer=9), session(FAR))
    stage.change(session(FAR), session())
    stage.holding.kept()
    stage.come(3)
    assert len(stage.told) == 2


def test_it_ends_with_its_session(stage: Stage) -> None:
    """Another one that has its slot and its address gets none of it."""
    stage.come(1, 2)
    stage.change(session(), None)
    stage.come(3)
    assert stage.drops == {"idle_ue": 3}
    other = session(number=2)
    stage.change(other, other)
    stage.stored = other
    stage.come(4)
    stage.change(other, session(FAR, number=2))
    assert stage.sent == [4]


def test_a_comparison_settles_what_changed_without_the_switch(stage: Stage) -> None:
    stage.come(1, 2)
    stage.stored = session(FAR)
    stage.holding.settle()
    assert stage.sent == [1, 2]
    stage.stored = session()
    stage.holding.settle()
    stage.come(3)
    stage.stored = None
    stage.holding.settle()
    assert stage.drops == {"idle_ue": 1}


def test_its_way_is_closed_when_as_many_wait_as_may(stage: Stage) -> None:
    stage.come(*range(12))
    assert len(stage.switch.closed) == 1
    assert stage.switch.closed[0].hard_timeout == 31
    assert stage.drops == {"buffer_full": 4}
    stage.change(session(), session(FAR))
    assert stage.switch.closed == []
    assert stage.sent == list(range(8))


def test_what_waits_too_long(stage: Stage) -> None:
    stage.come(1, 2, now=100.0)
    stage.come(3, now=110.0)
    stage.holding.tick(129.0)
    assert stage.drops == {}
    stage.holding.tick(130.5)
    assert stage.drops == {"buffer_timeout": 2}
    stage.holding.extend(SLOT, Bounds(8, 60.0))
    stage.holding.tick(145.0)
    assert stage.holding.room.packets == 1
    stage.holding.tick(171.0)
    assert (stage.drops, stage.holding.now()["sessions"]) == ({"buffer_timeout": 3}, 0)


def test_what_is_asked_to_be_dropped(stage: Stage) -> None:
    stage.come(1, 2)
    stage.change(session(), session(FAR), drop=[SLOT])
    stage.come(3)
    assert (stage.drops, stage.sent) == ({"idle_ue": 2}, [3])


def test_without_a_buffer_it_is_told_of_alone() -> None:
    stage = Stage(replace(session(), detail=Detail(slot=SLOT)))
    stage.come(1)
    assert (stage.drops, stage.holding.room.packets) == ({"idle_ue": 1}, 0)


def test_of_no_session(stage: Stage) -> None:
    stage.stored = None
    stage.come(1)
    assert stage.drops == {"idle_ue": 1}


def test_nothing_is_remembered_for_ever(stage: Stage) -> None:
    stage.come(1)
    stage.change(session(), session(FAR))
    stage.stored = session(FAR)
    stage.holding.tick(time.monotonic() + LATE_S + 1)
    assert stage.holding._entries == {}


def test_an_idle_session_with_nothing_waiting_is_no_more_than_told(stage: Stage) -> None:
    """However many UEs get a packet now and then."""
    at = time.monotonic()
    stage.come(1, now=at)
    stage.holding.tick(at + 31)
    stage.holding.tick(at + 31 + LATE_S + 1)
    assert stage.holding._entries == {}
    stage.come(2)
    assert len(stage.told) == 1, "once each idle period"
    stage.holding.drop([SLOT])
    stage.holding.tick(time.monotonic() + LATE_S + 1)
    stage.change(session(), session(FAR))
    stage.stored = session(FAR)
    stage.change(session(FAR), session())
    stage.stored = session()
    stage.holding.kept()
    stage.come(3)
    assert len(stage.told) == 2


def test_several_changes_of_one_session_in_a_batch() -> None:
    flips = Flips()
    flips.add([session()], [session(FAR)])
    flips.add([session(FAR)], [session(OTHER)])
    assert flips.changed == {SLOT: session(OTHER)}
    assert flips.had == {SLOT: session()}
    flips.add([session(OTHER)], [])
    assert flips.changed == {SLOT: None}


def test_what_is_sent_on_counts_but_for_what_the_switch_counts(stage: Stage) -> None:
    holding, packet = stage.holding, Counts(1, SIZE)
    assert holding.sent(session()) == {}
    stage.come(1, 2, 3)
    assert holding.untold(session(), "", packet) == packet + packet
    stage.come(4, now=time.monotonic() + 1)  # the switch counts it by the flow to be
    stage.change(session(), session(FAR))
    stage.holding.kept()
    stage.come(5)
    assert stage.sent == [1, 2, 3, 4, 5]
    assert holding.sent(session(FAR)) == {"": Counts(3, 3 * SIZE)}
    assert holding.sent(session(FAR, number=2)) == {}, "another one's with its slot"
    stage.stored = session(FAR)
    stage.holding.tick(time.monotonic())
    assert stage.counted == []
    stage.holding.tick(time.monotonic() + COUNTED_S)
    stage.holding.tick(time.monotonic() + COUNTED_S)
    assert stage.counted == ["ue-1"]


def test_what_is_dropped_does_not_count(stage: Stage) -> None:
    stage.come(*range(9))  # eight are held
    stage.come(9, now=time.monotonic() - 31)
    stage.change(session(), session(FAR), drop=[SLOT])
    assert (stage.sent, stage.holding.sent(session(FAR))) == ([], {})


def test_each_idle_time_begins_where_the_switch_stands(stage: Stage) -> None:
    """Flows may count on from one idle time to the next, or begin anew with the switch."""
    holding, packet = stage.holding, Counts(1, SIZE)
    stage.come(1, 2)
    stage.change(session(), session(FAR))
    holding.begins(session(), "", Counts(7, 7 * SIZE))
    stage.change(session(FAR), session())
    stage.come(3, 4)
    assert holding.untold(session(), "", Counts(8, 8 * SIZE)) == packet
    assert holding.untold(session(), "", Counts(12, 12 * SIZE)) == Counts(), "the switch knows more"
    stage.stored = session()
    holding.settle()
    stage.come(5)
    assert holding.untold(session(), "", Counts()) == packet
