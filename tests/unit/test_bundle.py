"""Bundles that are filled piece by piece, and replies read part by part, on a scripted switch."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import eventlet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.errors import SwitchRefused
from ofgtp.core.flows.flow import Flow
from ofgtp.core.flows.reconcile import Plan
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import Bundle, Channel, Disconnected, FlowsRefused, NotConfirmed
from ofgtp.southbound.channel import bundle as bundle_module
from ofgtp.southbound.channel.xids import XIDS, Xids
from tests.unit.test_channel import MSG_FAILED, TABLE_FULL, Switch, T, flow, stats

WRAP = 1 << 32


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def xids(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ids from 1 on."""
    monkeypatch.setattr(XIDS, "_next", 1)
    return XIDS


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    real = eventlet.Timeout
    monkeypatch.setattr(eventlet, "Timeout", lambda seconds, error: real(0.02, error))


def put(bundle: Bundle, flows: list[Flow], command: of.Command = of.Command.ADD) -> list[int]:
    """Put flows in as one range; the ids they take."""
    taken: list[int] = []

    def make(first: int) -> bytes:
        taken.extend(range(first, first + len(flows)))
        mods = [of.flow_mod(command, each, xid) for xid, each in zip(taken, flows, strict=True)]
        return b"".join(
            of.bundle_add(bundle.number, mod, xid) for xid, mod in zip(taken, mods, strict=True)
        )

    bundle.put(command, len(flows), make, flows.__getitem__)
    return taken


# --- transaction ids


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 60))
def test_ids_begin_again_before_they_overflow(counts: list[int], before: int) -> None:
    ids = Xids()
    ids._next = WRAP - before
    last = WRAP - before - 1
    for count in counts:
        first = ids.take(count)
        assert first >= 1
        assert first + count <= WRAP
        assert first == last + 1 or (first == 1 and last + count >= WRAP)
        last = first + count - 1
    assert ids.take(1) == (last + 1 if last + 1 < WRAP else 1)


@pytest.mark.parametrize("before", [1, 2, 3, 5, 8, 12])
def test_errors_are_told_apart_where_the_ids_begin_again(
    switch: Switch, xids: Any, before: int
) -> None:
    xids._next = WRAP - before
    switch.refuse = {4: TABLE_FULL}
    with pytest.raises(FlowsRefused) as caught, switch.channel.bundle() as bundle:
        for n in range(5):
            put(bundle, [flow(n), flow(n + 10)])
        bundle.commit()
    assert caught.value.refused == [(flow(4), "OFPET_FLOW_MOD_FAILED: TABLE_FULL")]
    used = [xid for _, xid, _ in switch.got]
    assert 0 not in used
    assert len(set(used)) == len(used)


# --- whose error it is


@given(
    st.lists(st.lists(st.integers(0, 200), min_size=0, max_size=4), max_size=6),
    st.sets(st.integers(0, 200), max_size=60),
    st.integers(1, 400),
)
def test_errors_name_their_flows(tables: list[list[int]], bad: set[int], size: int) -> None:
    """Over several ranges, whenever they are sent."""
    switch = Switch()
    switch.refuse = dict.fromkeys(bad, TABLE_FULL)
    expected = [flow(table) for some in tables for table in some if table in bad]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_module, "_SEND_BYTES", size)
        try:
            with switch.channel.bundle() as bundle:
                for some in tables:
                    put(bundle, [flow(table) for table in some])
                bundle.commit()
        except FlowsRefused as error:
            assert [each for each, _ in error.refused] == expected
        else:
            assert expected == []
    words = switch.words()
    if not any(tables):
        assert words == []
        return
    assert words[0] == "OPEN"
    assert words.count("ADD") == sum(map(len, tables))
    assert words[-2:] == (["BARRIER_REQUEST", "DISCARD"] if expected else
                          ["COMMIT", "BARRIER_REQUEST"])  # fmt: skip
    assert switch.channel.flow_mods == (0 if expected else sum(map(len, tables)))


def test_two_bundles_at_once(switch: Switch) -> None:
    """Each gets its own errors, and what the other does is none of its."""
    switch.refuse = {2: TABLE_FULL}
    with switch.channel.bundle() as one, switch.channel.bundle() as two:
        put(one, [flow(1)])
        put(two, [flow(2)])
        put(one, [flow(3)])
        two_done = pytest.raises(FlowsRefused)
        with two_done as caught:
            two.commit()
        assert caught.value.refused[0][0] == flow(2)
        one.commit()
    assert one.number != two.number
    controls = [(body[:4], of.Bundle(body[5]).name) for kind, _, body in switch.got
                if kind == T.BUNDLE_CONTROL]  # fmt: skip
    first, second = (each.number.to_bytes(4, "big") for each in (one, two))
    assert controls == [
        (second, "OPEN"),
        (first, "OPEN"),
        (first, "COMMIT"),
        (second, "DISCARD"),
    ]
    assert switch.channel.flow_mods == 2


def test_an_error_after_the_end_is_nobodys(
    switch: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    with switch.channel.bundle() as bundle:
        [xid] = put(bundle, [flow(1)])
        bundle.commit()
    switch.channel.receive(T.ERROR, xid, TABLE_FULL)
    assert f"xid={xid}: the switch reports" in caplog.text


def test_an_error_of_what_was_asked_meanwhile_is_not_the_bundles(switch: Switch) -> None:
    with switch.channel.bundle() as bundle:
        taken = put(bundle, [flow(1), flow(2)])
        for xid in (taken[0] - 1, taken[-1] + 1):
            assert not bundle.take_error(xid, "other")
        assert bundle.take_error(taken[0], "first")
        assert bundle.take_error(taken[0], "second")
        with pytest.raises(FlowsRefused) as caught:
            bundle.commit()
    assert caught.value.refused == [(flow(1), "first")]


# --- preparing and committing


def test_what_was_prepared_is_not_prepared_again(switch: Switch) -> None:
    with switch.channel.bundle() as bundle:
        put(bundle, [flow(1)])
        bundle.prepare()
        bundle.prepare()
        assert switch.words() == ["OPEN", "ADD", "BARRIER_REQUEST"]
        bundle.commit()
    assert switch.words()[3:] == ["COMMIT", "BARRIER_REQUEST"]


def test_what_comes_after_preparing_is_prepared_too(switch: Switch) -> None:
    switch.refuse = {2: TABLE_FULL}
    with pytest.raises(FlowsRefused), switch.channel.bundle() as bundle:
        put(bundle, [flow(1)])
        bundle.prepare()
        put(bundle, [flow(2)])
        bundle.commit()
    assert switch.words() == [
        *("OPEN", "ADD", "BARRIER_REQUEST", "ADD", "BARRIER_REQUEST", "DISCARD")
    ]


def test_prepared_and_refused_is_not_committed_later(switch: Switch) -> None:
    switch.refuse = {1: TABLE_FULL}
    with switch.channel.bundle() as bundle:
        put(bundle, [flow(1)])
        for _ in range(2):
            with pytest.raises(FlowsRefused):
                bundle.prepare()
        with pytest.raises(FlowsRefused):
            bundle.commit()
    assert "COMMIT" not in switch.words()


def test_a_bundle_of_nothing_says_nothing(switch: Switch) -> None:
    with switch.channel.bundle() as bundle:
        put(bundle, [])
        bundle.put_plan(Plan())
        bundle.prepare()
        bundle.commit()
    assert switch.got == []


def test_what_was_never_sent_is_not_discarded(switch: Switch) -> None:
    with pytest.raises(KeyError), switch.channel.bundle() as bundle:
        put(bundle, [flow(1)])
        raise KeyError
    assert switch.got == []


def test_what_was_sent_is_discarded_once(switch: Switch) -> None:
    with pytest.raises(KeyError), switch.channel.bundle() as bundle:
        put(bundle, [flow(1)])
        bundle.prepare()
        raise KeyError
    bundle.discard()
    assert switch.words() == ["OPEN", "ADD", "BARRIER_REQUEST", "DISCARD"]


def test_much_is_sent_before_there_is_more(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(of.bundle_add(1, of.flow_mod(of.Command.ADD, flow(1), 1), 1))
    monkeypatch.setattr(bundle_module, "_SEND_BYTES", 2 * size)
    with switch.channel.bundle() as bundle:
        put(bundle, [flow(1)])
        put(bundle, [flow(2)])
        assert switch.words() == []
        put(bundle, [flow(3)])
        assert switch.words() == ["OPEN", "ADD", "ADD", "ADD"]
        put(bundle, [flow(4)])
        assert switch.words() == ["OPEN", "ADD", "ADD", "ADD"]
        bundle.commit()
    tables = [body[8 + 8 + 16] for kind, _, body in switch.got if kind == T.BUNDLE_ADD]
    assert tables == [1, 2, 3, 4]


def test_commands_are_counted_as_they_are(switch: Switch) -> None:
    with switch.channel.bundle() as bundle:
        put(bundle, [flow(1), flow(2)])
        put(bundle, [flow(3)], of.Command.DELETE_STRICT)
        bundle.put_plan(Plan(modify=[flow(4)], add=[flow(5)]))
        assert switch.channel.flow_mods == 0
        bundle.commit()
    assert switch.channel.tally.flow_mods == {"add": 3, "delete": 1, "modify": 1}


# --- a connection that ends


@pytest.mark.parametrize("when", ["before", "between", "prepared"])
def test_a_disconnection_in_the_middle(switch: Switch, when: str) -> None:
    with pytest.raises(Disconnected), switch.channel.bundle() as bundle:
        if when == "before":
            switch.channel.close()
        put(bundle, [flow(1)])
        if when == "between":
            switch.channel.close()
            put(bundle, [flow(2)])
        bundle.prepare()
        switch.channel.close()
        bundle.commit()
    words = switch.words()
    assert "COMMIT" not in words
    assert "DISCARD" not in words
    assert switch.channel.flow_mods == 0


@pytest.mark.parametrize("kind", [of.Bundle.OPEN, of.Bundle.COMMIT])
def test_a_disconnection_while_the_switch_works(switch: Switch, kind: of.Bundle) -> None:
    answer = switch.answer

    def gone(sort: int, xid: int, body: bytes) -> None:
        if sort == T.BUNDLE_CONTROL and body[5] == kind:
            switch.mute = set(T)
            switch.channel.close()
        else:
            answer(sort, xid, body)

    switch.answer = gone  # type: ignore[method-assign]
    with pytest.raises(Disconnected), switch.channel.bundle() as bundle:
        put(bundle, [flow(1)])
        bundle.commit()
    assert switch.words()[-1] != "DISCARD"
    assert switch.channel.flow_mods == 0


def test_no_answer_to_a_commit_is_not_discarded(switch: Switch, waits: None) -> None:
    """Whether it was carried out is not known."""
    with pytest.raises(NotConfirmed), switch.channel.bundle() as bundle:
        put(bundle, [flow(1)])
        bundle.prepare()
        switch.mute = {T.BARRIER_REQUEST}
        bundle.commit()
    assert switch.words()[-2:] == ["COMMIT", "BARRIER_REQUEST"]
    assert switch.channel.flow_mods == 0


def test_a_late_refusal_of_a_commit(switch: Switch) -> None:
    switch.refuse_control = {of.Bundle.COMMIT: MSG_FAILED}
    with pytest.raises(FlowsRefused) as caught, switch.channel.bundle() as bundle:
        put(bundle, [flow(1)])
        bundle.commit()
    assert caught.value.refused == [(None, "OFPET_BUNDLE_FAILED: MSG_FAILED")]
    assert "DISCARD" not in switch.words()
    assert switch.channel.flow_mods == 0


# --- replies part by part


def reply(xid: int, part: bytes, *, more: bool) -> tuple[int, int, bytes]:
    return T.MULTIPART_REPLY, xid, struct.pack("!HH4x", of.Multipart.FLOW, more) + part


def flow_parts(channel: Channel, *asked: int) -> Iterator[bytes]:
    with channel.flow_parts(*asked) as parts:
        yield from parts


def asked(channel: Channel, switch: Switch) -> tuple[Iterator[bytes], int]:
    parts = flow_parts(channel)
    switch.mute = {T.MULTIPART_REQUEST}
    first = eventlet.spawn(next, parts)
    eventlet.sleep(0)
    xid = switch.got[-1][1]
    channel.receive(*reply(xid, stats(flow(1)), more=True))
    assert first.wait() == stats(flow(1))
    return parts, xid


def test_each_part_is_there_as_soon_as_it_comes(switch: Switch) -> None:
    parts, xid = asked(switch.channel, switch)
    switch.channel.receive(*reply(xid, b"", more=True))
    switch.channel.receive(*reply(xid, stats(flow(2)), more=False))
    assert list(parts) == [b"", stats(flow(2))]
    assert switch.channel._requests._streams == {}


def test_two_replies_at_once(switch: Switch) -> None:
    one, first = asked(switch.channel, switch)
    two, second = asked(switch.channel, switch)
    switch.channel.receive(*reply(second, stats(flow(4)), more=False))
    switch.channel.receive(*reply(first, stats(flow(3)), more=False))
    assert (list(one), list(two)) == ([stats(flow(3))], [stats(flow(4))])


def test_a_reply_that_ends_by_an_error(switch: Switch) -> None:
    parts, xid = asked(switch.channel, switch)
    switch.channel.receive(T.ERROR, xid, struct.pack("!HH", 1, 13))
    with pytest.raises(SwitchRefused, match="MULTIPART_BUFFER_OVERFLOW"):
        next(parts)
    assert switch.channel._requests._streams == {}


def test_a_reply_that_ends_by_a_disconnection(switch: Switch) -> None:
    parts, _ = asked(switch.channel, switch)
    switch.channel.close()
    with pytest.raises(Disconnected):
        next(parts)
    assert switch.channel._requests._streams == {}
    with pytest.raises(Disconnected):
        next(flow_parts(switch.channel))


def test_a_reply_that_does_not_go_on(switch: Switch, waits: None) -> None:
    parts, xid = asked(switch.channel, switch)
    assert not switch.channel.silent
    with pytest.raises(NotConfirmed, match="30 s"):
        next(parts)
    assert switch.channel.silent
    assert switch.channel._requests._streams == {}
    # What comes too late does no harm, and the switch speaks again.
    switch.channel.receive(*reply(xid, stats(flow(2)), more=False))
    assert not switch.channel.silent


def test_a_reply_that_nobody_reads_to_its_end(switch: Switch) -> None:
    parts, xid = asked(switch.channel, switch)
    parts.close()  # type: ignore[attr-defined]
    assert switch.channel._requests._streams == {}
    switch.channel.receive(*reply(xid, stats(flow(2)), more=True))
    switch.channel.receive(*reply(xid, stats(flow(2)), more=False))


def test_an_impatient_reader_makes_no_switch_silent(switch: Switch) -> None:
    parts, _ = asked(switch.channel, switch)
    with pytest.raises(NotConfirmed), eventlet.Timeout(0.02, NotConfirmed("no time")):
        next(parts)
    assert not switch.channel.silent


def test_a_cookie_and_its_mask_are_asked_for(switch: Switch) -> None:
    assert list(flow_parts(switch.channel, 5, 7)) == [b""]
    [(_, _, body)] = switch.got
    assert struct.unpack_from("!QQ", body, 24) == (5, 7)
