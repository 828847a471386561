"""Prepared session flows: byte for byte what the codec makes, and what ovs-ofctl reads."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ofgtp.core.flows.flow import SESSION_NUMBER_MAX, CookieKind, Match, cookie_kind, cookie_number
from ofgtp.core.model import FlowValues, FTeid, Qos, Session, Uplink
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import Links
from ofgtp.southbound import openflow as of
from ofgtp.southbound import prepared as module
from ofgtp.southbound.prepared import FLOWS, Form, Prepared, session_of
from tests.support.sample import LINKS, session

SENTINELS = [
    *(module._BUNDLE, module._XID, module._NUMBER, module._UE),
    *(module._TEID, module._PEER, module._FAR_TEID, module._FAR_IP),
]
"""The numbers that stand in the samples, whose places are looked for."""
EDGES = [0, 1, 0x0800, 0x0A2D0002, 0xFFFFFFFE, 0xFFFFFFFF]


def words(least: int = 0) -> st.SearchStrategy[int]:
    """32 bits, often those of a sample, with halves of two of them at times."""
    known = [value & 0xFFFFFFFF for value in SENTINELS] + EDGES
    some = st.sampled_from([value for value in known if value >= least])
    torn = st.builds(lambda a, b: (a << 16 | b >> 16) & 0xFFFFFFFF or 1, some, some)
    return some | torn | st.integers(least, 0xFFFFFFFF)


NUMBERS = st.sampled_from([1, module._NUMBER, SESSION_NUMBER_MAX]) | st.integers(
    1, SESSION_NUMBER_MAX
)
FAR = st.one_of(st.none(), st.tuples(words(1), words()))


QOS = st.just(0) | st.builds(
    lambda qfi, *flags: Qos(qfi, *flags).number,
    st.integers(1, 63),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@st.composite
def values_strategy(draw: st.DrawFn) -> FlowValues:
    far = draw(FAR)
    equal = draw(st.booleans())
    teid = draw(words(1))
    made = FlowValues(
        number=draw(NUMBERS),
        ue_ip=teid if equal else draw(words()),
        teid=teid,
        peer=draw(st.one_of(st.none(), st.just(teid) if equal else words())),
        far_teid=None if far is None else far[0],
        far_ip=None if far is None else far[1],
        error_indicated=draw(st.booleans()),
        qos=draw(QOS),
    )
    if equal and far is not None:
        made = made._replace(far_teid=teid, far_ip=teid)
    return made


PORTS = ("access", "core", "gtpu", "gtpu_ect_1", "gtpu_ce", "loop_out", "loop_in")


def links_strategy() -> st.SearchStrategy[Links]:
    macs = st.integers(0, (1 << 48) - 1).map(lambda number: number.to_bytes(6, "big").hex(":"))
    return st.builds(
        Links,
        **dict.fromkeys(PORTS, words()),
        access_mtu=st.integers(576, 65535),
        core_mtu=st.none() | st.integers(576, 65535),
        local_mac=macs,
        core_mac=macs,
        peer_mac=st.none() | macs,
        epoch=words(),
    )


@cache
def prepared(links: Links = LINKS) -> Prepared:
    return Prepared(links)


def session_from(values: FlowValues) -> Session:
    """The session with these numbers, made here from nothing of what is tested."""
    far = None
    if values.far_teid is not None:
        assert values.far_ip is not None
        far = FTeid(values.far_teid, IPv4Address(values.far_ip))
    peer = None if values.peer is None else IPv4Address(values.peer)
    ue_ip, uplink = IPv4Address(values.ue_ip), Uplink(values.teid, peer)
    return Session(
        values.number, "", "", ue_ip, uplink, far, bool(values.error_indicated), Qos.of(values.qos)
    )


def codec(command: of.Command, values: FlowValues, links: Links, bundle: int, xid: int) -> bytes:
    flows = session_flows(session_from(values), links)
    mods = [of.flow_mod(command, flow, each) for each, flow in enumerate(flows, xid)]
    return b"".join(of.bundle_add(bundle, mod, each) for each, mod in enumerate(mods, xid))


REPORT_ORDER = ["dl_type", "nw_src", "nw_dst", "reg0", "reg1"]


def report(values: FlowValues, links: Links) -> list[bytes]:
    shown = []
    for flow in session_flows(session_from(values), links):
        ordered: Match = tuple(
            sorted(flow.match, key=lambda condition: REPORT_ORDER.index(condition.field))
        )
        shown.append(of.encode_match(ordered) + of.encode_instructions(flow))
    return shown


ALL_SENTINELS = FlowValues(
    module._NUMBER, module._UE, module._TEID, module._PEER, module._FAR_TEID, module._FAR_IP, False
)


@given(values_strategy(), words(), words().filter(lambda xid: xid < 0xFFFFFFFF))
@example(ALL_SENTINELS, module._BUNDLE, module._XID)
@example(ALL_SENTINELS._replace(peer=None), 0, 0)
@example(ALL_SENTINELS._replace(far_teid=None, far_ip=None), 1, 1)
@example(ALL_SENTINELS._replace(error_indicated=True), 1, 1)
@example(FlowValues(1, 1, 1, 1, 1, 1, False), 1, 1)
@example(ALL_SENTINELS._replace(qos=module._QOS.number), 1, 1)
@example(ALL_SENTINELS._replace(peer=None, qos=module._QOS.number), 1, 1)
def test_prepared_is_what_the_codec_makes(values: FlowValues, bundle: int, xid: int) -> None:
    made = prepared()
    assert made.add(values, bundle, xid) == codec(of.Command.ADD, values, LINKS, bundle, xid)
    assert [made.reported_up(values), made.reported_down(values)] == report(values, LINKS)
    _same_but_for_the_drop(made.delete(values, bundle, xid), values, bundle, xid)


def _same_but_for_the_drop(deletion: bytes, values: FlowValues, bundle: int, xid: int) -> None:
    """Strict deletions ask for no cookie (mask 0), so that a drop's may be another one."""
    want = codec(of.Command.DELETE_STRICT, values, LINKS, bundle, xid)
    assert len(deletion) == len(want)
    cookies = [at for at in range(len(want) - 7) if want[at : at + 2] == b"\x0f\x67"]
    size = int.from_bytes(want[2:4], "big")
    second = next(at for at in cookies if at >= size)
    assert deletion[:second] == want[:second]
    assert deletion[second + 8 :] == want[second + 8 :]
    assert deletion[second + 8 : second + 16] == bytes(8), "the cookie's mask"


@given(values_strategy(), links_strategy())
@example(ALL_SENTINELS, LINKS)
def test_links_may_be_any(values: FlowValues, links: Links) -> None:
    made = Prepared(links)
    assert made.add(values, 3, 4) == codec(of.Command.ADD, values, links, 3, 4)
    assert [made.reported_up(values), made.reported_down(values)] == report(values, links)


@pytest.mark.parametrize("sentinel", SENTINELS)
def test_a_port_that_equals_a_sample_number(sentinel: int) -> None:
    """Of the links a session's flows have the gtpu port alone, behind all that is patched."""
    low = sentinel & 0xFFFFFFFF
    links = replace(LINKS, epoch=low, **dict.fromkeys(PORTS, low))
    values = FlowValues(5, 6, 7, 8, 9, 10, False)
    for each in (values, values._replace(peer=None), values._replace(far_teid=None, far_ip=None)):
        made = Prepared(links).add(each, 1, 2)
        assert made == codec(of.Command.ADD, each, links, 1, 2)
        assert [Prepared(links).reported_up(each), Prepared(links).reported_down(each)] == report(
            each, links
        )


@pytest.mark.parametrize("form", ["up", "pinned", "down", "idle", "indicated"])
@pytest.mark.parametrize("kind", ["add", "delete"])
def test_a_form_that_is_wrong_is_noticed(
    monkeypatch: pytest.MonkeyPatch, kind: str, form: str
) -> None:
    """Each form of a message is held to the codec when it is made."""
    if kind == "delete" and form in ("idle", "indicated"):
        form = "down"
    check = Prepared._check

    def spoilt(self: Prepared) -> None:
        name = f"_{kind}_{form}"
        good = getattr(self, name)
        setattr(self, name, lambda *numbers: good(*numbers[:-1], numbers[-1] ^ 1))
        check(self)

    monkeypatch.setattr(Prepared, "_check", spoilt)
    with pytest.raises(AssertionError, match="differ from the codec's"):
        Prepared(LINKS)


@pytest.mark.parametrize("form", ["up", "pinned", "down", "idle", "indicated"])
def test_a_report_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    check = Prepared._check

    def spoilt(self: Prepared) -> None:
        good = getattr(self, f"_{form}")
        setattr(self, f"_{form}", lambda *numbers: good(*numbers[:-1], numbers[-1] ^ 1))
        check(self)

    monkeypatch.setattr(Prepared, "_check", spoilt)
    with pytest.raises(AssertionError, match="differ from the codec's"):
        Prepared(LINKS)


def test_a_form_without_its_number() -> None:
    with pytest.raises(ValueError, match="not found"):
        Form(b"abcdefgh", [("I", 5)])
    assert Form(b"ab\0\0\0\5cd\0\0\0\5", [("I", 5), ("I", 5)])(1, 2) == b"ab\0\0\0\1cd\0\0\0\2"
    assert Form(b"ab", [])() == b"ab"


@given(values_strategy())
def test_values_and_sessions_are_the_same(values: FlowValues) -> None:
    whole = session_of(values)
    assert whole == session_from(values)
    assert FlowValues.of(whole) == values
    assert session_of(values._replace(error_indicated=int(values.error_indicated))) == whole  # type: ignore[arg-type]


# --- as ovs-ofctl reads it

READ: list[Session] = [
    session(),
    session(2, downlink=None),
    session(3, error_indicated=True),
    session(4, uplink=Uplink(0xFFFFFFFF, IPv4Address("255.255.255.254"))),
    session(5, uplink=Uplink(1, IPv4Address("10.1.0.9")), downlink=None),
    session(6, uplink=Uplink(module._XID), downlink=FTeid(1, IPv4Address("0.0.0.1"))),
    replace(session_from(ALL_SENTINELS), number=SESSION_NUMBER_MAX),
    session(8, downlink=FTeid(0xFFFFFFFF, IPv4Address(module._BUNDLE))),
    session(9, qos=Qos(9)),
    session(10, qos=Qos(62, rqi=True, required=False, check=True)),
    session(11, qos=Qos(5), uplink=Uplink(5, IPv4Address("10.1.0.9")), downlink=None),
]


def ofctl(*arguments: str | Path) -> list[str]:
    command = ["ovs-ofctl", "-O", "OpenFlow14", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return [line.strip() for line in result.stdout.splitlines() if line.strip()]


def messages(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = int.from_bytes(data[2:4], "big")
        found.append(data[:size])
        data = data[size:]
    return found


def test_ofctl_reads_additions_as_the_flows_text_says(tmp_path: Path) -> None:
    made = [prepared().add(FlowValues.of(each), 9, 100 + FLOWS * n) for n, each in enumerate(READ)]
    text, wire, inner = tmp_path / "flows.txt", tmp_path / "bundle", tmp_path / "inner"
    flows = [flow for each in READ for flow in session_flows(each, LINKS)]
    text.write_text("".join(f"{flow}\n" for flow in flows))
    each_message = messages(b"".join(made))
    wire.write_bytes(b"".join(each_message))
    inner.write_bytes(b"".join(each[16:] for each in each_message))
    meant = [line.split("OFPT_FLOW_MOD", 1)[1] for line in ofctl("parse-flows", text)
             if "OFPT_FLOW_MOD" in line]  # fmt: skip
    meant = [line.split(":", 1)[1] for line in meant]
    said = [line.split("): ", 1)[1].split(":", 1)[1] if "): (" in line else line.split(":", 1)[1]
            for line in ofctl("ofp-parse", inner)]  # fmt: skip
    assert [_squeeze(line) for line in said] == [_squeeze(line) for line in meant]
    bundled = "\n".join(ofctl("ofp-parse", wire))
    assert bundled.count("OFPT_BUNDLE_ADD_MESSAGE") == FLOWS * len(READ)
    assert bundled.count("bundle_id=0x9 flags=atomic ordered") == FLOWS * len(READ)
    for place in range(FLOWS * len(READ)):
        assert bundled.count(f"(xid=0x{100 + place:x})") == 2, "of the wrapper and of the flow-mod"


def _squeeze(line: str) -> str:
    """Without the transaction id."""
    return line.split("): ", 1)[-1].strip()


def test_ofctl_reads_deletions_as_the_flows_text_says() -> None:
    for each in READ:
        up, down = session_flows(each, LINKS)
        made = messages(prepared().delete(FlowValues.of(each), 9, 5))
        for flow, message in zip((up, down), made, strict=True):
            [said] = [line for line in ofctl("ofp-print", message[16:].hex()) if "FLOW_MOD" in line]
            head = str(flow).split(" actions=", 1)[0]
            wanted = head.split(",", 1)[1].replace("dl_type=0x0800", "ip")
            assert "DEL_STRICT" in said
            assert f"table:{flow.table}" in said
            for part in wanted.split(",")[1:]:
                assert part in said, (part, said)
            assert cookie_kind(int.from_bytes(message[24:32], "big")) is CookieKind.SESSION
            assert cookie_number(int.from_bytes(message[24:32], "big")) == each.number


def test_what_the_sample_stands_for_is_not_kept() -> None:
    """No number of a sample is left in what is made for another session."""
    values: dict[str, Any] = {"number": 1, "ue_ip": 2, "teid": 3, "peer": 4}
    for far in ((5, 6, False), (None, None, False), (5, 6, True)):
        for peer in (None, 4):
            each = FlowValues(**{**values, "peer": peer}, far_teid=far[0], far_ip=far[1],
                              error_indicated=far[2])  # fmt: skip
            made = prepared()
            whole = made.add(each, 7, 8) + made.delete(each, 7, 8)
            whole += made.reported_up(each) + made.reported_down(each)
            for sentinel in SENTINELS:
                assert (sentinel & 0xFFFFFFFF).to_bytes(4, "big") not in whole
