"""What sessions have used, over changes of their flows; and in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.model import FTeid, Session
from ofgtp.core.rules.counts import Counts
from ofgtp.core.sessions.detail import Detail
from ofgtp.core.sessions.rule import LOWEST_PRECEDENCE, Refused, Rule, Source, ToCore, Tunnel
from ofgtp.core.usage.ledger import NEW, Ledger, Volume
from ofgtp.core.usage.seen import Seen, passed
from ofgtp.store import SessionStore
from tests.support.sample import relay, session

FAR = Tunnel(FTeid(7, IPv4Address("192.0.2.1")))
UP = Rule("", Source.ACCESS, LOWEST_PRECEDENCE, ToCore(), teid=1, meters=(0,))
DOWN = Rule("", Source.CORE, LOWEST_PRECEDENCE, FAR)
IDLE = Rule("", Source.CORE, LOWEST_PRECEDENCE, Refused(DropReason.IDLE_UE))
VOICE_UP = Rule("voice", Source.ACCESS, 10, ToCore(), teid=1, meters=(0, 2))
VOICE_DOWN = Rule("voice", Source.CORE, 10, FAR)


def seen(
    up: tuple[int, int] = (0, 0),
    down: tuple[int, int] = (0, 0),
    voice_up: tuple[int, int] = (0, 0),
    dropped: dict[int, tuple[int, int]] | None = None,
) -> Seen:
    return Seen(
        {
            ("uplink", ""): Counts(*up),
            ("downlink", ""): Counts(*down),
            ("uplink", "voice"): Counts(*voice_up),
        },
        {place: Counts(*counts) for place, counts in (dropped or {}).items()},
    )


def test_from_mark_to_mark() -> None:
    first = NEW.counted([UP, DOWN], seen((2, 200), (3, 300)), 50)
    assert first.total == Volume(Counts(2, 200), Counts(3, 300))
    assert first.active_at == 50
    second = first.counted([UP, DOWN], seen((2, 200), (3, 300)), 60)
    assert (second.total, second.active_at) == (first.total, 50)
    third = second.counted([UP, DOWN], seen((5, 500), (3, 300)), 70)
    assert (third.total.uplink, third.active_at) == (Counts(5, 500), 70)


def test_flows_that_are_made_anew() -> None:
    ledger = NEW.counted([UP, DOWN], seen((2, 200), (3, 300)), 50).marked(seen((2, 200)))
    ledger = ledger.counted([UP, DOWN], seen((2, 200), (1, 100)), 60)
    assert ledger.total == Volume(Counts(2, 200), Counts(4, 400))


def test_the_switch_has_begun_anew() -> None:
    ledger = NEW.counted([UP, DOWN], seen((9, 900)), 50)
    assert ledger.counted([UP, DOWN], seen((4, 400)), 60).total.uplink == Counts(13, 1300)


def test_what_is_refused_is_not_used() -> None:
    ledger = NEW.counted([UP, IDLE], seen((1, 100), (5, 500)), 50)
    assert ledger.total == Volume(Counts(1, 100))


def test_a_bearer_beside_the_session() -> None:
    ledger = NEW.counted([VOICE_UP, VOICE_DOWN, UP, DOWN], seen((1, 100), (2, 200), (3, 300)), 50)
    assert ledger.rules["voice"] == Volume(Counts(3, 300))
    assert ledger.total == Volume(Counts(4, 400), Counts(2, 200))
    left = ledger.of([""])
    assert left.rules.keys() == {""}
    assert left.total == ledger.total
    assert left.of(["", "voice"]).rules.keys() == {""}


def test_what_meters_drop_is_shared_by_their_rules() -> None:
    at = seen((60, 6_000), voice_up=(40, 4_000), dropped={0: (10, 1_000), 2: (5, 500)})
    went_on = {
        ("uplink", "voice"): Counts(40 - 4 - 5, 4_000 - 400 - 500),
        ("uplink", ""): Counts(60 - 6, 6_000 - 600),
    }
    assert passed([VOICE_UP, UP], Seen(), at) == (went_on, at)


def test_what_a_meter_drops_is_told_before_what_came() -> None:
    ledger = NEW
    for came, dropped in ((0, 60), (40, 85), (100, 85), (100, 85)):
        at = seen((came, 100 * came), dropped={0: (dropped, 100 * dropped)})
        ledger = ledger.counted([UP], at, 50)
    assert ledger.total.uplink == Counts(15, 1_500)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    made = SessionStore(tmp_path / "sessions.db")
    yield made
    made.close()


PLAIN = NEW.counted([UP, DOWN], Seen({("uplink", ""): Counts(2, 200)}), 50)
MORE = NEW.counted([VOICE_UP, UP], seen((2, 200), voice_up=(7, 700), dropped={0: (1, 1)}), 9).of(
    [""]
)


HELD = PLAIN.counted([UP, DOWN], Seen({("held", ""): Counts(3, 300)}), 60)


@pytest.mark.parametrize("ledger", [Ledger({"": Volume()}), PLAIN, MORE, HELD])
def test_ledgers_are_stored(store: SessionStore, ledger: Ledger) -> None:
    with store.transaction() as tx:
        tx.put_ledgers([(5, ledger)])
        assert tx.ledgers([5]).keys() == {5}
    found = store.ledgers([4, 5])[5]
    assert (found.total, found.rules, found.gone) == (ledger.total, ledger.rules, ledger.gone)
    assert found.active_at == ledger.active_at
    for key, counts in ledger.marks.rules.items():
        assert found.marks.rules[key] == counts
    assert found.marks.dropped == ledger.marks.dropped


@pytest.mark.parametrize("ledger", [PLAIN, MORE])
def test_marks_of_a_store_of_the_sixth_version(tmp_path: Path, ledger: Ledger) -> None:
    """Uplink flows counted headers of Ethernet then, and marks did not: now both do without."""
    store = SessionStore(tmp_path / "sessions.db")
    with store.transaction() as tx:
        tx.put_ledgers([(5, ledger)])
    store.close()
    db = sqlite3.connect(tmp_path / "sessions.db")
    db.execute("DROP TABLE prefixes")
    db.execute("DROP TABLE framed6")
    db.execute("PRAGMA user_version = 6")
    db.close()
    store = SessionStore(tmp_path / "sessions.db")
    [found] = store.ledgers([5]).values()
    store.close()
    assert found.total == ledger.total
    assert found.rules == ledger.rules
    assert found.marks.dropped == ledger.marks.dropped
    for (direction, rule), counts in ledger.marks.rules.items():
        more = Counts(0, 14 * counts.packets) if direction == "uplink" else Counts()
        assert found.marks.rules[direction, rule] == counts + more


@pytest.mark.parametrize(
    "one",
    [
        relay(1),
        session(1, uplink=None, detail=Detail(rules=(Rule("1", Source.ACCESS, 9, FAR, teid=8),))),
    ],
    ids=["a relay", "a control plane's"],
)
def test_marks_of_a_store_of_the_sixth_version_of_relays(tmp_path: Path, one: Session) -> None:
    """Their flows counted no headers before: a mark above them would count all of it once more."""
    store = SessionStore(tmp_path / "sessions.db")
    with store.transaction() as tx:
        number = tx.insert(one).number
        tx.put_ledgers([(number, MORE)])
    store.close()
    db = sqlite3.connect(tmp_path / "sessions.db")
    db.execute("DROP TABLE prefixes")
    db.execute("DROP TABLE framed6")
    db.execute("PRAGMA user_version = 6")
    db.close()
    store = SessionStore(tmp_path / "sessions.db")
    [found] = store.ledgers([number]).values()
    store.close()
    assert found.marks == MORE.marks


def test_a_ledger_that_is_not_there(store: SessionStore) -> None:
    assert store.ledgers([1, 2]) == {}


def test_what_was_held_counts_once_it_is_sent_on() -> None:
    """Whether its rule forwards by then, does no more, or is no more; and never less than nothing,
    where the switch counts more of it than is sent on."""

    def held(rule: str, packets: int) -> Seen:
        return Seen({("held", rule): Counts(packets, 100 * packets)})

    first = NEW.counted([UP, DOWN], held("", 2), 50)
    assert (first.total.downlink, first.active_at) == (Counts(2, 200), 50)
    idle = first.counted([UP, IDLE], held("", 5), 60)
    assert idle.rules[""].downlink == Counts(5, 500)
    assert idle.counted([UP, IDLE], held("", 5), 70).total == idle.total
    ahead = idle.marked(held("", 9)).counted([UP, DOWN], held("", 7), 70)
    assert ahead.total == idle.total
    gone = idle.counted([UP, IDLE], held("voice", 3), 80)
    assert (gone.rules.keys(), gone.gone) == ({""}, Volume(downlink=Counts(3, 300)))
