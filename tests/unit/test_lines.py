"""Lines of a batch: what is read quickly is what the schema reads."""

from __future__ import annotations

import json
from typing import Any

import eventlet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ofgtp.core.model import TEID_MAX, BatchPut, Qos
from ofgtp.northbound import lines
from ofgtp.northbound.lines import TooManyLines, WrongLine, judged, plain, read

GOOD: dict[str, Any] = {
    "op": "put",
    "session": {
        "id": "imsi-1",
        "gateway": "gw1",
        "ue_ip": "10.45.0.2",
        "uplink": {"teid": 4097, "remote_ip": "10.1.0.3"},
        "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"},
    },
}


def line(**changes: Any) -> bytes:
    """The good line with fields of its session changed; `...` leaves one out."""
    session = {**GOOD["session"], **changes}
    session = {key: value for key, value in session.items() if value is not ...}
    return json.dumps({"op": "put", "session": session}).encode()


def schema_says(raw: bytes) -> BatchPut | str | None:
    try:
        return judged(raw)
    except WrongLine:
        return None


def agree(raw: bytes) -> None:
    """What is plain is what the schema reads, types included."""
    quick, slow = plain(raw), schema_says(raw)
    if quick is not None:
        assert (quick, type(quick)) == (slow, type(slow))
        if not isinstance(quick, str):
            assert isinstance(slow, BatchPut)
            assert list(map(type, quick)) == list(map(type, slow))


JUNK = [
    *(None, True, False, 0, 1, -1, 1.0, 0.5, 1e400, float("nan"), 1 << 32, TEID_MAX, 1 << 70),
    *("", "x", "gw1", "0x1001", "0X1", "0x100000000", "0x", "4097", " 4097", "null"),
    *("10.45.0.2", "10.45.0.2\n", " 10.45.0.2", "10.45.0.02", "010.45.0.2", "10.45.2", "1.2.3.4.5"),
    *(
        "10.45.0.256",
        "0x0a.1.2.3",
        "\u0661\u0660.45.0.2",
        "10.45.0.2\0",
        "10.45.0.2\x00x",
        "::1",
        "::a.b",
    ),
    *("0.0.0.0", "255.255.255.255", "00.0.0.0", "10.45.0.-1", "10.45.0.+2", "10..0.2", "1_0.1.1.1"),
    *("a" * 128, "a" * 129, "id\n", "\nid", "i d", "İd", "ü", "\ud800", "a/b", "a@b:c-d_e.f"),
    *([], {}, [1], {"teid": 1}, {"remote_ip": "10.1.0.2"}, {"teid": None}, {"teid": True}),
    *({"teid": 1, "remote_ip": "10.1.0.2", "more": 1}, {"teid": 1, "remote_ip": None}),
    *({"teid": "0x2001", "remote_ip": "10.1.0.2"}, {"teid": 1.0, "remote_ip": "10.1.0.2"}),
    *({"teid": 0, "remote_ip": "10.1.0.2"}, {"teid": 1 << 32, "remote_ip": "10.1.0.2"}),
    {"remote_ip": 167837698},
]
FIELDS = ["id", "gateway", "ue_ip", "uplink", "downlink"]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_junk_in_each_place(junk: Any) -> None:
    for field in [*FIELDS, "state", "", "op", "session"]:
        agree(line(**{field: junk}))
    for side in ("uplink", "downlink"):
        for key in ("teid", "remote_ip", "other"):
            agree(line(**{side: {**GOOD["session"][side], key: junk}}))
    for outer in ("op", "session", "id", "other"):
        agree(json.dumps({**GOOD, outer: junk}).encode())
        agree(json.dumps({"op": "delete", "id": "a", outer: junk}).encode())
    agree(json.dumps({"op": "delete", "id": junk}).encode())
    agree(json.dumps(junk).encode())


@pytest.mark.parametrize("missing", FIELDS)
def test_something_left_out(missing: str) -> None:
    raw = line(**{missing: ...})
    agree(raw)
    assert (plain(raw) is None) == (missing == "ue_ip")


SCALARS = st.sampled_from([each for each in JUNK if not isinstance(each, (dict, list))])
VALUES = st.sampled_from(JUNK) | SCALARS | st.text(max_size=5) | st.integers() | st.floats()
TEIDS = st.integers(1, TEID_MAX) | st.integers(-1, 1 << 33) | VALUES
OCTETS = st.lists(st.integers(0, 260).map(str), min_size=3, max_size=5).map(".".join)
ADDRESSES = st.ip_addresses(v=4).map(str) | OCTETS | VALUES
IDS = st.from_regex(r"[A-Za-z0-9._:@-]{1,8}", fullmatch=True) | VALUES


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


UPLINK = some(teid=TEIDS, remote_ip=ADDRESSES) | some(teid=TEIDS, more=VALUES) | VALUES
DOWNLINK = (
    st.fixed_dictionaries({"teid": TEIDS, "remote_ip": ADDRESSES}, optional={"x": VALUES}) | VALUES
)
SESSION = st.fixed_dictionaries(
    {"ue_ip": ADDRESSES},
    optional={"id": IDS, "gateway": VALUES, "uplink": UPLINK, "downlink": DOWNLINK},
) | some(id=IDS, ue_ip=ADDRESSES, state=VALUES)
LINES = (
    st.fixed_dictionaries({"op": st.just("put"), "session": SESSION})
    | st.fixed_dictionaries({"op": st.just("delete"), "id": IDS})
    | some(op=VALUES | st.just("put"), session=SESSION, id=IDS, more=VALUES)
    | VALUES
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A line as it may be written: spaces, escapes, a key twice, bytes that are no JSON."""
    made = draw(LINES)
    text = json.dumps(
        made,
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\r")])),
    )
    raw = text.encode("utf-8", "surrogatepass")
    trick = draw(st.integers(0, 9))
    if trick == 0 and raw[:1] == b"{" and len(raw) > 2:
        key, value = draw(st.sampled_from(["op", "id", "session", "ue_ip"])), draw(VALUES)
        raw = f'{{"{key}":{json.dumps(value)},'.encode() + raw[1:]
    elif trick == 1 and b"ue_ip" in raw:
        raw = raw.replace(b'"ue_ip"', b'"ue_ip":"10.45.0.9","ue_ip"', 1)
    elif trick == 2:
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(st.binary(min_size=1, max_size=2)) + raw[place:]
    elif trick == 3:
        raw = raw.replace(b"put", b"\\u0070ut").replace(b"teid", b"t\\u0065id")
    elif trick == 4:
        raw = draw(st.sampled_from([b"\xef\xbb\xbf", b" ", b"\t"])) + raw + b" \r"
    return raw


@given(texts())
@example(b'{"op":"put","op":"delete","id":"a"}')
@example(b'{"op":"delete","op":"put","id":"a"}')
@example(b'{"op":"delete","id":"b","id":"a"}')
@example(b'{"op":"put","session":{"ue_ip":"10.45.0.2","ue_ip":"10.45.0.3"}}')
@example(b'{"op":"put","session":{"ue_ip":"x"},"session":{"ue_ip":"10.45.0.3"}}')
@example(b'{"op":"put","session":{"ue_ip":"10.45.0.3"},"session":{"ue_ip":"x"}}')
@example(b'{"op":"put","session":{"ue_ip":"10.45.0.3","uplink":{"teid":1,"teid":2}}}')
@example(b'{"op":"put","session":{"ue_ip":"10.45.0.3","uplink":{"teid":0,"teid":2}}}')
@example(b'{"op":"put","session":{"ue_ip":"10.45.0.3","uplink":{"teid":2,"teid":0}}}')
@example(b'{"op":"delete","id":"a"} x')
@example(b'{"op":"delete","id":NaN}')
@example(b"[" * 5000)
def test_plain_is_what_the_schema_reads(raw: bytes) -> None:
    agree(raw)


def test_what_is_plain() -> None:
    """So that the quick way is one, and what it reads is what was written."""
    ue, far, peer = 0x0A2D0002, 0x0A010002, 0x0A010003
    assert plain(line()) == BatchPut("imsi-1", "gw1", ue, 4097, peer, 8193, far)
    bare = BatchPut(None, None, ue, None, None, None, None)
    for empty in (..., None):
        raw = line(id=empty, gateway=empty, uplink=empty, downlink=empty)
        assert plain(raw) == bare
    assert plain(line(uplink={}, downlink=None)) == BatchPut(
        "imsi-1", "gw1", ue, None, None, None, None
    )
    for teid in (1, TEID_MAX):
        made = plain(line(uplink={"teid": teid}, downlink=None))
        assert isinstance(made, BatchPut)
        assert made.uplink_teid == teid
        made = plain(line(downlink={"teid": teid, "remote_ip": "10.1.0.2"}))
        assert isinstance(made, BatchPut)
        assert made.downlink_teid == teid
    for members, qos in (
        ({"qfi": 9}, Qos(9)),
        ({"qfi": 63, "rqi": True, "qfi_check": True}, Qos(63, rqi=True, check=True)),
        ({"qfi": 1, "qfi_required": False, "rqi": False}, Qos(1, required=False)),
    ):
        made = plain(line(**members))
        assert isinstance(made, BatchPut)
        assert made.qos == qos.number
    for left in ({"qfi": None}, {"qfi": 0}, {"qfi": True}, {"rqi": False}, {"qfi": 9, "rqi": 1}):
        assert plain(line(**left)) is None, "the schema's to read"
    assert plain(b'{"op":"delete","id":"' + b"a" * 128 + b'"}') == "a" * 128
    assert plain(b'{"op":"delete","id":"' + b"a" * 129 + b'"}') is None
    assert plain(b'{"op":"delete","id":"a\\n"}') is None
    assert plain(line(id="a" * 128)) is not None
    assert plain(line(id="a" * 129)) is None
    assert plain(line(id="a\n")) is None


def test_what_is_not_plain_is_read_all_the_same() -> None:
    raw = line(uplink={"teid": "0x1001", "remote_ip": "10.1.0.3"})
    assert plain(raw) is None
    assert judged(raw) == plain(line())


# --- many lines


def slow(raw: bytes, most: int) -> list[tuple[int, Any]] | str:
    """Every line by the schema: operations, and errors."""
    ops: list[tuple[int, Any]] = []
    for number, each in enumerate(raw.split(b"\n"), 1):
        if not each or each.isspace():
            continue
        if len(ops) == most:
            return "too many"
        try:
            ops.append((number, judged(each)))
        except WrongLine as wrong:
            ops.append((number, wrong.errors))
    return ops


def quick(raw: bytes, most: int) -> list[tuple[int, Any]] | str:
    try:
        return [(n, op.errors if isinstance(op, WrongLine) else op) for n, op in read(raw, most)]
    except TooManyLines:
        return "too many"


@given(
    st.lists(
        st.sampled_from([line(), b'{"op":"delete","id":"x"}', b"", b" \r", b"\x0b", line(id=None)])
        | texts().filter(lambda raw: b"\n" not in raw),
        max_size=12,
    ),
    st.integers(0, 14),
)
@example([b"{", line(), line()], 2)
@example([b"{", b"", b"}"], 2)
@example([line(), b"{", b"", line(ue_ip=1), line()], 4)
def test_many_lines(some: list[bytes], most: int) -> None:
    raw = b"\n".join(some)
    assert quick(raw, most) == slow(raw, most)


def test_operations_before_an_error_and_behind_it_are_given() -> None:
    reading = list(read(b"\n".join([line(), b"", line(id="b"), b"{", line()]), 9))
    assert [number for number, op in reading if not isinstance(op, WrongLine)] == [1, 3, 5]
    assert [number for number, op in reading if isinstance(op, WrongLine)] == [4]


def test_others_get_a_turn_while_errors_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []
    monkeypatch.setattr(lines.eventlet, "sleep", turns.append)
    quick(b"\n".join([b"{"] * 100_000), 100_000)
    assert len(turns) >= 5
    assert eventlet.sleep is not None


def test_others_get_a_turn_while_lines_are_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []
    monkeypatch.setattr(lines.eventlet, "sleep", turns.append)
    assert quick(b"\n" * 1_000_000, 1) == []
    assert len(turns) > 10
