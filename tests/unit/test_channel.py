"""The channel, driven by a scripted switch: bytes in, bytes out."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

import eventlet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.errors import CodecError, SwitchRefused
from ofgtp.core.flows.flow import COOKIE_OWNER, COOKIE_OWNER_MASK, Flow, Output, match
from ofgtp.core.flows.pipeline import ARP_METER
from ofgtp.core.flows.reconcile import Plan
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import (
    CONFIRM_S,
    STATS_S,
    Channel,
    Disconnected,
    FlowsRefused,
    NotConfirmed,
)

T = of.Type
TABLE_FULL = struct.pack("!HH", 5, 1)
MSG_FAILED = struct.pack("!HH", 17, 13)
REPLIES = {T.BARRIER_REQUEST: T.BARRIER_REPLY, T.BUNDLE_CONTROL: T.BUNDLE_CONTROL}


class Switch:
    """Answers each message at once, unless it was told otherwise."""

    def __init__(self) -> None:
        self.got: list[tuple[int, int, bytes]] = []
        self.mute: set[int] = set()
        self.refuse: dict[int, bytes] = {}
        """Flow table -> the error for a flow-mod of that table."""
        self.refuse_control: dict[int, bytes] = {}
        """Bundle control type -> the error for it."""
        self.refuse_meter: bytes | None = None
        self.parts: list[bytes] = [b""]
        self.packets: list[of.PacketIn] = []
        self.channel = Channel(self.take, self.packets.append)

    def take(self, data: bytes) -> None:
        while data:
            version, kind, size, xid = struct.unpack_from("!BBHI", data)
            assert version == of.VERSION
            body, data = data[8:size], data[size:]
            self.got.append((kind, xid, body))
            if kind not in self.mute:
                self.answer(kind, xid, body)

    def answer(self, kind: int, xid: int, body: bytes) -> None:
        receive = self.channel.receive
        if kind == T.BUNDLE_ADD:
            inner = body[8:]
            assert inner[4:8] == xid.to_bytes(4, "big"), "a bundled message has its own xid"
            error = self.refuse.get(inner[8 + 16])
            if error:
                receive(T.ERROR, xid, error + inner[:64])
        elif kind == T.BUNDLE_CONTROL and (error := self.refuse_control.get(body[5])):
            receive(T.ERROR, xid, error)
        elif kind == T.METER_MOD and self.refuse_meter:
            receive(T.ERROR, xid, self.refuse_meter)
        elif kind == T.MULTIPART_REQUEST:
            self.reply_parts(xid, body[:2])
        elif kind in REPLIES:
            receive(REPLIES[T(kind)], xid, body)

    def reply_parts(self, xid: int, kind: bytes) -> None:
        for place, part in enumerate(self.parts):
            more = place < len(self.parts) - 1
            head = kind + more.to_bytes(2, "big") + bytes(4)
            self.channel.receive(T.MULTIPART_REPLY, xid, head + part)

    def words(self) -> list[str]:
        """What came, in short: bundle controls by their type, flow-mods by their command."""
        shown = []
        for kind, _, body in self.got:
            if kind == T.BUNDLE_CONTROL:
                shown.append(of.Bundle(body[5]).name)
            elif kind == T.BUNDLE_ADD:
                shown.append(of.Command(body[8 + 8 + 17]).name)
            else:
                shown.append(T(kind).name)
        return shown


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Makes every limit a short one, and tells what it would have been."""
    asked: list[float] = []
    real = eventlet.Timeout

    def timeout(seconds: float, error: Exception) -> eventlet.Timeout:
        asked.append(seconds)
        return real(0.02, error)

    monkeypatch.setattr(eventlet, "Timeout", timeout)
    return asked


def flow(table: int, cookie: int = 7) -> Flow:
    return Flow(table, 1, match(in_port=1), cookie, (Output(2),))


def stats(each: Flow) -> bytes:
    rest = of.encode_match(each.match) + of.encode_instructions(each)
    head = struct.pack(
        "!HBxIIHHHHH2xQQQ", 48 + len(rest), each.table, 0, 0, 1, 0, 0, 0, 0, each.cookie, 3, 4
    )
    return head + rest


# --- bundles


def test_a_plan_goes_in_one_bundle_with_deletes_first(switch: Switch) -> None:
    switch.channel.apply(Plan(add=[flow(1)], modify=[flow(2)], delete=[flow(3)]))
    assert switch.words() == [
        "OPEN",
        "DELETE_STRICT",
        "MODIFY_STRICT",
        "ADD",
        "BARRIER_REQUEST",
        "COMMIT",
        "BARRIER_REQUEST",
    ]
    bundles = {body[:4] for kind, _, body in switch.got if kind != T.BARRIER_REQUEST}
    assert len(bundles) == 1
    assert switch.channel.flow_mods == 3


def test_foreign_flows_are_deleted_as_reported(switch: Switch) -> None:
    [foreign] = of.decode_flow_stats(stats(flow(9)))
    switch.channel.apply(Plan(), [foreign])
    [(_, xid, body)] = [each for each in switch.got if each[0] == T.BUNDLE_ADD]
    assert body[8:] == of.delete_reported(foreign, xid)


def test_bundles_and_xids_are_not_used_twice(switch: Switch) -> None:
    for _ in range(3):
        switch.channel.apply(Plan(add=[flow(1)]))
    opened = [body[:4] for kind, _, body in switch.got if kind == T.BUNDLE_CONTROL]
    assert len(set(opened)) == 3
    xids = [xid for _, xid, _ in switch.got]
    assert len(set(xids)) == len(xids)


def test_a_large_plan_is_sent_whole(switch: Switch) -> None:
    adds = [flow(n % 200, cookie=n) for n in range(1000)]
    switch.channel.apply(Plan(add=adds))
    sent = [body[16:24] for kind, _, body in switch.got if kind == T.BUNDLE_ADD]
    assert sent == [each.cookie.to_bytes(8, "big") for each in adds]


def test_a_refused_flow_is_named_and_nothing_is_committed(switch: Switch) -> None:
    switch.refuse = {2: TABLE_FULL, 3: TABLE_FULL}
    with pytest.raises(FlowsRefused) as caught:
        switch.channel.apply(Plan(add=[flow(1), flow(2)], delete=[flow(3), flow(4)]))
    reason = "OFPET_FLOW_MOD_FAILED: TABLE_FULL"
    assert caught.value.refused == [(flow(3), reason), (flow(2), reason)]
    assert caught.value.reason == reason
    assert "COMMIT" not in switch.words()
    assert switch.words()[-1] == "DISCARD"
    assert switch.channel.flow_mods == 0
    # The connection can be used as before.
    switch.refuse = {}
    switch.channel.apply(Plan(add=[flow(2)]))
    assert switch.channel.flow_mods == 1


def test_the_first_error_for_a_flow_is_the_one_told(switch: Switch) -> None:
    switch.refuse = {1: TABLE_FULL}
    answer = switch.answer

    def twice(kind: int, xid: int, body: bytes) -> None:
        answer(kind, xid, body)
        if kind == T.BUNDLE_ADD:
            switch.channel.receive(T.ERROR, xid, MSG_FAILED)

    switch.answer = twice  # type: ignore[method-assign]
    with pytest.raises(FlowsRefused, match="TABLE_FULL"):
        switch.channel.apply(Plan(add=[flow(1)]))


def test_a_refused_commit(switch: Switch) -> None:
    switch.refuse_control = {of.Bundle.COMMIT: MSG_FAILED}
    with pytest.raises(FlowsRefused) as caught:
        switch.channel.apply(Plan(add=[flow(1)]))
    assert caught.value.refused == [(None, "OFPET_BUNDLE_FAILED: MSG_FAILED")]
    assert switch.channel.flow_mods == 0


def test_a_commit_refused_for_a_flow(switch: Switch) -> None:
    """Some flows are found at fault only when the bundle is committed."""
    answer = switch.answer

    def late(kind: int, xid: int, body: bytes) -> None:
        if kind == T.BUNDLE_CONTROL and body[5] == of.Bundle.COMMIT:
            [add] = [its for sort, its, content in switch.got if sort == T.BUNDLE_ADD]
            switch.channel.receive(T.ERROR, add, TABLE_FULL)
            switch.channel.receive(T.ERROR, xid, MSG_FAILED)
        else:
            answer(kind, xid, body)

    switch.answer = late  # type: ignore[method-assign]
    with pytest.raises(FlowsRefused) as caught:
        switch.channel.apply(Plan(add=[flow(1)]))
    assert caught.value.refused == [(flow(1), "OFPET_FLOW_MOD_FAILED: TABLE_FULL")]


def test_a_bundle_that_cannot_be_opened(switch: Switch) -> None:
    switch.refuse_control = {of.Bundle.OPEN: struct.pack("!HH", 17, 5)}
    with pytest.raises(SwitchRefused, match="OUT_OF_BUNDLES"):
        switch.channel.apply(Plan(add=[flow(1)]))
    assert switch.words() == ["OPEN", "ADD", "BARRIER_REQUEST", "DISCARD"]


# --- time and connection


@pytest.mark.parametrize("answered", [0, 1])
def test_silence_is_not_success(switch: Switch, waits: list[float], answered: int) -> None:
    """Neither before the commit nor after it."""
    answer = switch.answer

    def some(kind: int, xid: int, body: bytes) -> None:
        barriers = switch.words().count("BARRIER_REQUEST")
        if kind != T.BARRIER_REQUEST or barriers <= answered:
            answer(kind, xid, body)

    switch.answer = some  # type: ignore[method-assign]
    with pytest.raises(NotConfirmed, match="5 s"):
        switch.channel.apply(Plan(add=[flow(1)]))
    assert waits[-1] == CONFIRM_S == 5.0
    assert switch.channel.flow_mods == 0


def test_a_long_reply_may_take_longer(switch: Switch, waits: list[float]) -> None:
    switch.mute = {T.MULTIPART_REQUEST}
    with pytest.raises(NotConfirmed):
        list(switch.channel.flows())
    assert waits == [STATS_S]


def test_an_answer_that_comes_too_late_does_no_harm(switch: Switch, waits: list[float]) -> None:
    switch.mute = {T.BARRIER_REQUEST}
    with pytest.raises(NotConfirmed):
        switch.channel.barrier()
    [(_, xid, _)] = switch.got
    switch.channel.receive(T.BARRIER_REPLY, xid, b"")
    switch.channel.receive(T.BARRIER_REPLY, xid, b"")
    switch.mute = set()
    switch.channel.barrier()


def test_a_disconnection_ends_every_wait(switch: Switch) -> None:
    switch.mute = {T.BARRIER_REQUEST, T.MULTIPART_REQUEST, T.BUNDLE_CONTROL}
    calls = (
        switch.channel.barrier,
        switch.channel.description,
        switch.channel.meters,
        lambda: list(switch.channel.flows()),
        lambda: switch.channel.flows_of([1, 2]),
        lambda: switch.channel.apply(Plan(add=[flow(1)])),
    )

    def ended(call: object) -> type[Exception] | None:
        try:
            call()  # type: ignore[operator]
        except Exception as error:
            return type(error)
        return None

    threads = [eventlet.spawn(ended, call) for call in calls]
    eventlet.sleep(0)
    assert not any(thread.dead for thread in threads)
    switch.channel.close()
    assert [thread.wait() for thread in threads] == [Disconnected] * len(calls)


def test_nothing_is_asked_of_a_closed_connection(switch: Switch) -> None:
    switch.channel.close()
    switch.channel.close()
    with pytest.raises(Disconnected):
        switch.channel.apply(Plan(add=[flow(1)]))
    with pytest.raises(Disconnected):
        switch.channel.barrier()
    assert switch.got == []


def test_the_end_is_the_last_that_is_said(switch: Switch) -> None:
    """A clean stop deletes our flows; a bundle under way then is not committed after it."""

    def take(data: bytes) -> None:
        if data[1] == T.BUNDLE_CONTROL:
            switch.channel.end()
        switch.take(data)

    switch.channel = Channel(take)
    with pytest.raises(Disconnected):
        switch.channel.apply(Plan(add=[flow(1)]))
    kinds = [T(kind).name for kind, _, _ in switch.got]
    assert kinds == ["FLOW_MOD", "BARRIER_REQUEST", "BUNDLE_CONTROL", "BUNDLE_ADD"]
    assert [of.Bundle(body[5]) for kind, _, body in switch.got if kind == T.BUNDLE_CONTROL] == [
        of.Bundle.OPEN
    ]
    with pytest.raises(Disconnected):
        switch.channel.barrier()


def test_silent_is_what_let_its_own_limit_pass(switch: Switch, waits: list[float]) -> None:
    """Not a switch whose asker had less patience; and not one that says something."""
    switch.mute = {T.BARRIER_REQUEST}
    with pytest.raises(NotConfirmed):
        switch.channel.barrier()
    assert switch.channel.silent
    switch.channel.receive(T.BARRIER_REPLY, 0xFFFFFFF, b"")
    assert not switch.channel.silent


def test_an_impatient_asker_makes_no_switch_silent(switch: Switch) -> None:
    switch.mute = {T.BARRIER_REQUEST}
    with pytest.raises(NotConfirmed), eventlet.Timeout(0.02, NotConfirmed("no time")):
        switch.channel.barrier()
    assert not switch.channel.silent


def test_a_refused_request_ends_its_wait(switch: Switch) -> None:
    switch.mute = {T.BARRIER_REQUEST}
    waiting = eventlet.spawn(switch.channel.barrier)
    eventlet.sleep(0)
    switch.channel.receive(T.ERROR, switch.got[0][1], struct.pack("!HH", 1, 1))
    with pytest.raises(SwitchRefused, match="OFPET_BAD_REQUEST: BAD_TYPE"):
        waiting.wait()


# --- replies


def test_a_reply_in_several_parts(switch: Switch) -> None:
    flows = [flow(n) for n in range(5)]
    switch.parts = [b"".join(map(stats, flows[:3])), b"", b"".join(map(stats, flows[3:]))]
    assert [each.table for each in switch.channel.flows()] == [0, 1, 2, 3, 4]
    [(_, _, body)] = switch.got
    assert struct.unpack_from("!QQ", body, 24) == (COOKIE_OWNER, COOKIE_OWNER_MASK)


def test_parts_of_several_replies_are_not_mixed(switch: Switch) -> None:
    switch.mute = {T.MULTIPART_REQUEST}
    waiting = eventlet.spawn(switch.channel.flows_of, [1, 2])
    eventlet.sleep(0)
    (_, first, asked), (_, second, _) = switch.got
    assert struct.unpack_from("!QQ", asked, 24) == (1, (1 << 64) - 1)
    for xid, more, table in ((first, 1, 1), (second, 1, 2), (first, 0, 3), (second, 0, 4)):
        part = struct.pack("!HH4x", 1, more) + stats(flow(table))
        switch.channel.receive(T.MULTIPART_REPLY, xid, part)
    assert [[each.table for each in found] for found in waiting.wait()] == [[1, 3], [2, 4]]


def test_a_meter(switch: Switch) -> None:
    switch.channel.set_meters([(of.MeterCommand.ADD, ARP_METER)])
    switch.refuse_meter = struct.pack("!HH", 12, 1)
    with pytest.raises(SwitchRefused, match="OFPET_METER_MOD_FAILED: METER_EXISTS"):
        switch.channel.set_meters([(of.MeterCommand.ADD, ARP_METER)])
    assert switch.words() == ["METER_MOD", "BARRIER_REQUEST"] * 2


def test_meters_with_the_barrier_of_what_uses_them(switch: Switch) -> None:
    add = [(of.MeterCommand.ADD, ARP_METER)]
    with switch.channel.setting_meters(add):
        switch.channel.barrier()
    assert switch.words() == ["METER_MOD", "BARRIER_REQUEST"]
    with pytest.raises(FlowsRefused, match="of the flow"), switch.channel.setting_meters(add):
        raise FlowsRefused([(None, "of the flow")])
    switch.refuse_meter = struct.pack("!HH", 12, 1)
    with pytest.raises(SwitchRefused) as refused, switch.channel.setting_meters(add):
        raise FlowsRefused([(None, "for want of the meter")])
    assert "METER" in str(refused.value)
    with pytest.raises(SwitchRefused, match="METER"), switch.channel.setting_meters(add):
        switch.channel.barrier()


def test_description_and_meter_counters(switch: Switch) -> None:
    desc = struct.pack("!256s256s256s32s256s", b"", b"", b"3.1.0", b"", b"gw1")
    switch.parts = [desc[:500], desc[500:]]
    assert switch.channel.description() == ("3.1.0", "gw1")
    switch.parts = [struct.pack("!IH6xIQQIIQQ", 2, 56, 0, 30, 0, 0, 0, 12, 0)]
    assert switch.channel.meter_counts_of([2]) == {2: of.MeterCounts(packets=30, dropped=12)}
    assert switch.got[-1][2][8:12] == (2).to_bytes(4, "big"), "it asks for that one"
    mod = of.meter_mod(of.MeterCommand.ADD, ARP_METER, 1)
    switch.parts = [struct.pack("!HHI", 24, 14, ARP_METER.number) + mod[16:]]
    assert switch.channel.meters() == {ARP_METER.number: ARP_METER}


def test_packet_out_asks_for_no_answer(switch: Switch) -> None:
    switch.channel.packet_out(4, b"frame")
    [(kind, xid, body)] = switch.got
    assert (kind, of.packet_out(4, b"frame", xid)[8:]) == (T.PACKET_OUT, body)


def test_packet_ins_are_passed_on(switch: Switch) -> None:
    fields = of.encode_match(match(in_port=7, reg0=5, reg1=IPv4Address("10.1.0.2")))
    body = struct.pack("!IHBBQ", of.NO_BUFFER, 5, 1, 30, 0xABCD) + fields + bytes(2) + b"frame"
    switch.channel.receive(T.PACKET_IN, 0, body)
    assert switch.packets == [of.PacketIn(0xABCD, 7, 5, 0x0A010002, b"frame")]


# --- what is not asked for


def test_an_error_of_nothing_asked_is_logged(
    switch: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        switch.channel.receive(T.ERROR, 99, TABLE_FULL)
    assert caplog.messages == ["xid=99: the switch reports OFPET_FLOW_MOD_FAILED: TABLE_FULL"]


def test_an_unreadable_message_is_logged(switch: Switch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        switch.channel.receive(T.PACKET_IN, 99, b"short")
    assert caplog.messages == ["xid=99: unreadable message of type 10: a packet-in is cut short"]


def _waiting_switch() -> Iterator[Switch]:
    switch = Switch()
    switch.mute = set(T)
    waiting = [
        eventlet.spawn(_quiet, switch.channel.barrier),
        eventlet.spawn(_quiet, lambda: list(switch.channel.flows())),
        eventlet.spawn(_quiet, switch.channel.meters),
        eventlet.spawn(_quiet, lambda: switch.channel.apply(Plan(add=[flow(1)]))),
    ]
    eventlet.sleep(0)
    yield switch
    switch.channel.close()
    for thread in waiting:
        thread.wait()


ASKED = (T.MULTIPART_REQUEST, T.BUNDLE_ADD)


def _quiet(call: object) -> None:
    try:
        call()  # type: ignore[operator]
    except (CodecError, Disconnected, SwitchRefused):
        return


@given(
    st.lists(
        st.tuples(st.sampled_from([*T, 0, 255]), st.integers(0, 4), st.binary(max_size=100)),
        max_size=20,
    )
)
def test_garbage_never_raises(messages: list[tuple[int, int, bytes]]) -> None:
    """Neither from `receive`, nor anything but our own errors from who waits."""
    for switch in _waiting_switch():
        xids = [xid for kind, xid, _ in switch.got if kind in (T.BARRIER_REQUEST, *ASKED)]
        assert len(xids) == 5
        for kind, place, body in messages:
            switch.channel.receive(kind, xids[place], body)
