"""JSON, read strictly: what is none, what is too much, and that it is the same everywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_service import FakeService
from hypothesis import example, given
from hypothesis import strategies as st

from ofgtp.northbound import lines, strict
from ofgtp.northbound.rest import RestApp
from ofgtp.northbound.strict import MAX_DEPTH, MAX_VALUES, NotJson, TooMuch
from tests.support.client import Client

JSON, NDJSON = "application/json", "application/x-ndjson"

NOT_JSON = [
    *(b"", b"{", b"nonsense", b"NaN", b"-Infinity", b"[NaN]", b'{"a": Infinity}', b"[1,]", b"{,}"),
    *(b"{'a': 1}", b'{"a": 01}', b"[1] 2", b'{"a"}', b'"\xff"', b'"\\ud800"', b"\xef\xbb\xbf{}"),
    *(b"\xfe\xff\x00{\x00}", b'"\x01"', b"[" * 60_000, b"9" * 60_000),
    *(b'{"a": 1, "a": 1}', b'{"a": 1, "\\u0061": 2}', b'[{"b": {"a": 1, "a": {"a": 2}}}]'),
    *(b'{"a": NaN, "a": 1}', b'{"a" : 1,\n\t"a"\r: 2}', b'{"": 1, "": 2}', b'{":": 1, ":": 2}'),
    *(b'{"a\\"": 1, "a\\"": ":"}', b'{"a": ":{", "a": "\\":"}', '{"ä": 1, "ä": 2}'.encode()),
]

MANY = f"more than {MAX_VALUES:,}"


@pytest.mark.parametrize("raw", NOT_JSON)
def test_what_is_no_json(raw: bytes) -> None:
    for each in (raw, bytearray(raw), raw + b" ", b"\n" + raw):
        with pytest.raises(NotJson):
            strict.parse(each)


def test_the_member_is_named() -> None:
    with pytest.raises(NotJson, match="the member 'teid' stands there twice"):
        strict.parse(b'{"uplink": {"teid": NaN2, "teid": 4097}}'.replace(b"NaN2", b"1"))
    with pytest.raises(NotJson) as caught:
        strict.parse(b'{"%b": 1, "%b": 2}' % (b"x" * 9000, b"x" * 9000))
    assert len(str(caught.value)) < 200


TOO_MUCH = [
    b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    b"[" + b"1," * MAX_VALUES + b"1]",
    b"[" + b"[]," * MAX_VALUES + b"[]]",
    b"{" + b",".join(b'"%d":0' % n for n in range(MAX_VALUES + 1)) + b"}",
    b"[" + b",".join([b'{"a":[1]}'] * (MAX_VALUES // 3 + 1)) + b"]",
]


@pytest.mark.parametrize("raw", TOO_MUCH)
def test_what_is_too_much(raw: bytes) -> None:
    with pytest.raises(TooMuch, match=f"is nested deeper than 16|has {MANY} members"):
        strict.parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        b"[" + b"1," * (MAX_VALUES - 1) + b"1]",
        b"{" + b",".join(b'"%d":":"' % n for n in range(MAX_VALUES)) + b"}",
        *(b"0", b'"a:b"', b"null", b' {"a": [{"a": 1}, {"a": {"a": ":"}}]} ', b'{"\\"": "\\\\"}'),
    ],
)
def test_what_is_just_right(raw: bytes) -> None:
    assert strict.parse(raw) == json.loads(raw)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a:"\\{},\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(alphabet='ab:"\\', max_size=2), inner, max_size=4)
    ),
    max_leaves=20,
)
FORMS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


@given(VALUES, FORMS, st.booleans())
def test_what_is_written_is_read(value: Any, form: tuple[str, str], ascii_only: bool) -> None:
    raw = json.dumps(value, separators=form, ensure_ascii=ascii_only).encode()
    assert strict.parse(raw) == value


@given(VALUES, VALUES, st.text(alphabet='ab:"\\', max_size=2), FORMS)
@example({"a": 1}, 2, "a", (",", ":"))
def test_a_member_put_in_once_more_is_seen(
    value: Any, other: Any, name: str, form: tuple[str, str]
) -> None:
    """However deep, whatever it is called, and whatever stands in it."""
    inner = json.dumps({name: value}, separators=form)
    again = json.dumps({name: other}, separators=form)
    twice = f"{inner[:-1]},{again[1:]}"
    json.loads(twice)  # which takes the last
    with pytest.raises(NotJson):
        strict.parse(f'{{"x": [{twice}, 1]}}'.encode())


# --- everywhere

GOOD: dict[str, Any] = {"ue_ip": "10.45.0.2", "uplink": {"teid": 4097}, "id": "a:b"}
SPOILT = {
    "twice": b'"teid": 4096, "teid": 4097',
    "twice, once with an escape": b'"teid": 4096, "\\u0074eid": 4097',
    "NaN first": b'"teid": NaN, "teid": 4097',
    "NaN": b'"teid": NaN',
    "Infinity": b'"teid": 4097, "remote_ip": Infinity',
    "none": b'"teid": 4097,',
}


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Client:
    return Client(RestApp(service))


@pytest.mark.parametrize("name", SPOILT)
def test_it_is_the_same_everywhere(client: Client, service: FakeService, name: str) -> None:
    raw = json.dumps(GOOD).encode().replace(b'"teid": 4097', SPOILT[name])
    told = {
        method: client.open(path, method=method, data=raw, content_type=JSON)
        for method, path in (("POST", "/v1/sessions"), ("PUT", "/v1/sessions/a:b"))
    }
    told["PATCH"] = client.patch("/v1/sessions/a:b", data=raw, content_type=JSON)
    assert {method: each.status_code for method, each in told.items()} == dict.fromkeys(told, 400)
    assert len({each.json["detail"] for each in told.values()}) == 1
    line = b'{"op": "put", "session": ' + raw + b"}\n"
    batch = client.post("/v1/sessions:batch", data=line * 2, content_type=NDJSON)
    assert batch.status_code == 422
    assert [each["line"] for each in batch.json["errors"]] == [1, 2]
    assert batch.json["errors"][0]["msg"].startswith("is not JSON: ")
    assert service.sessions == {}


@pytest.mark.parametrize("raw", TOO_MUCH)
def test_which_limit_it_was_is_said(client: Client, service: FakeService, raw: bytes) -> None:
    for method, path in (
        ("POST", "/v1/sessions"),
        ("PUT", "/v1/sessions/a"),
        ("PATCH", "/v1/sessions/a"),
    ):
        told = client.open(path, method=method, data=raw, content_type=JSON)
        assert told.status_code == 422
        assert (
            "deeper than" in told.json["detail"]
            or f"more than {MAX_VALUES:,}" in told.json["detail"]
        )
    batch = client.post("/v1/sessions:batch", data=b"\n" + raw, content_type=NDJSON)
    assert batch.status_code == 422
    [error] = batch.json["errors"]
    assert error["line"] == 2
    assert "deeper than" in error["msg"] or MANY in error["msg"]


def test_a_line_that_is_too_long(client: Client) -> None:
    good = b'{"op":"delete","id":"x"}'
    for behind in (b"", b"\n" + good, b"\n" * 50):
        long = good + b" " * (lines.LINE_LIMIT + 1 - len(good))
        batch = client.post(
            "/v1/sessions:batch", data=good + b"\n" + long + behind, content_type=NDJSON
        )
        assert batch.status_code == 422
        error = {"line": 2, "loc": "", "msg": f"is longer than {lines.LINE_LIMIT:,} bytes"}
        none = [each for each in batch.json["errors"] if each["loc"] == "id"]
        assert [each["line"] for each in none] == ([1, 3] if behind.strip() else [1])
        assert [each for each in batch.json["errors"] if each not in none] == [error]
        fits = client.post(
            "/v1/sessions:batch", data=good + b"\n" + long[:-1] + behind, content_type=NDJSON
        )
        assert {each["msg"] for each in fits.json["errors"]} == {"no session has the id 'x'"}


def test_a_name_that_nobody_knows_is_told_in_part(client: Client) -> None:
    """An error may name a member; not one that fills the response."""
    raw = json.dumps({**GOOD, **{str(n) + "x" * 600: 0 for n in range(90)}}).encode()
    told = client.post("/v1/sessions", data=raw, content_type=JSON)
    assert told.status_code == 422
    assert len(told.json["errors"]) == 90
    assert len(told.data) < 40_000
