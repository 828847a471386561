"""What a gateway remembers of what went wrong: the same as one, not for ever, never too much."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.observations import KEEP_S, MOST, TOLD, Observation, Observations, Seen

PEER, OTHER = IPv4Address("10.1.0.2"), IPv4Address("10.1.0.3")
UE, TEID = IPv4Address("10.45.0.2"), 0x1001
UE6 = IPv6Address("2001:db8:a:1::7")
OWN = IPv4Network("10.45.0.2/32"), IPv6Network("2001:db8:a:1::/64")


def about(found: Observations, now: float) -> list[Observation]:
    return [record.seen for record in found.about(now, OWN, {TEID}, {PEER})]


def test_the_same_is_one() -> None:
    found = Observations()
    seen = Observation(Seen.SPOOFED_SOURCE, PEER, TEID, IPv4Address("192.168.0.1"))
    for now in (10.0, 11.0, 15.0):
        found.note(seen, now)
    found.note(seen._replace(source=IPv4Address("192.168.0.2")), 16.0)
    newer, older = found.about(16.0, OWN, {TEID}, ())
    assert (older.seen, older.count, older.first_at, older.last_at) == (seen, 3, 10.0, 15.0)
    assert newer.count == 1
    assert len(found) == 2


def test_it_is_forgotten() -> None:
    found, seen = Observations(), Observation(Seen.WRONG_PEER, OTHER, TEID, UE)
    found.note(seen, 0.0)
    found.note(seen, KEEP_S - 1)
    assert about(found, 2 * KEEP_S - 2) == [seen]
    assert about(found, 2 * KEEP_S) == []
    assert len(found) == 0
    found.note(seen, 3 * KEEP_S)
    assert found.about(3 * KEEP_S, OWN, {TEID}, ())[0].count == 1, "it begins anew"


def test_what_bears_on_a_session() -> None:
    stranger, far = IPv4Address("10.45.0.99"), IPv4Address("10.1.0.9")
    bears = [
        Observation(Seen.UNKNOWN_TEID, far, 0x9999, UE),
        Observation(Seen.UNKNOWN_TEID, far, 0x9999, UE6),
        Observation(Seen.SPOOFED_SOURCE, far, TEID, stranger),
        Observation(Seen.CONTAINER_MISSING, far, TEID, UE),
        Observation(Seen.BAD_CONTAINER, far, TEID),
        Observation(Seen.UNKNOWN_TEID, PEER, 0x7777, stranger),
        Observation(Seen.ICMP_ERROR, PEER, None, far, 0x303),
    ]
    others = [
        Observation(Seen.SPOOFED_SOURCE, PEER, 0x7777, stranger),
        Observation(Seen.CONTAINER_MISSING, PEER, 0x7777, stranger),
        Observation(Seen.UNKNOWN_TEID, far, 0x7777, stranger),
        Observation(Seen.UNKNOWN_TEID, far, 0x7777, IPv6Address("2001:db8:a:2::7")),
        Observation(Seen.ICMP_ERROR, far, TEID, UE, 0x303),
    ]
    found = Observations()
    for now, seen in enumerate([*bears, *others]):
        found.note(seen, now)
    assert about(found, 10.0) == bears[::-1], "the latest first"


def test_not_too_many_are_told() -> None:
    found = Observations()
    for number in range(2 * TOLD):
        found.note(Observation(Seen.UNKNOWN_TEID, PEER, number), number / 1000)
    assert [seen.teid for seen in about(found, 1.0)] == list(range(2 * TOLD - 1, TOLD - 1, -1))


def test_a_flood_does_not_grow_it() -> None:
    found, mine = Observations(), Observation(Seen.UNKNOWN_TEID, PEER, 1, UE)
    for number in range(3 * MOST):
        found.note(Observation(Seen.UNKNOWN_TEID, OTHER, number), number / 1000)
        if number % 100 == 0:
            found.note(mine, number / 1000)
    assert len(found) == MOST
    assert mine in about(found, 3 * MOST / 1000), "what comes again and again stays"


notes = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, KEEP_S / 2, KEEP_S]),
        st.builds(
            Observation,
            st.sampled_from(Seen),
            st.sampled_from([PEER, OTHER]),
            st.integers(0, 3),
            st.sampled_from([UE, None]),
        ),
    ),
    max_size=40,
)


@given(notes, st.integers(1, 5))
def test_as_a_list_would(notes: list[tuple[float, Observation]], most: int) -> None:
    found, now = Observations(most), 0.0
    history: list[tuple[float, Observation]] = []
    for passed, seen in notes:
        now += passed
        found.note(seen, now)
        history.append((now, seen))
        last = {each: at for at, each in history}
        kept = [each for each, at in last.items() if at > now - KEEP_S]
        kept.sort(key=lambda each: [at for at, e in history if e == each][-1:], reverse=True)
        assert len(found) <= most
        told = {record.seen: record for record in found.about(now, OWN, {1}, {PEER, OTHER})}
        assert set(told) <= set(kept)
        assert seen not in told or told[seen].last_at == now
