"""REST: every status of the contract, against a service in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from fake_service import WHEN, FakeService
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ofgtp.core.errors import OfgtpError, StoreError, SwitchRefused
from ofgtp.core.flows.drops import MEANINGS
from ofgtp.core.history import Point, Rate
from ofgtp.core.model import FTeid, SessionState
from ofgtp.core.observations import Observation, Seen
from ofgtp.core.peers.paths import PathState
from ofgtp.northbound import lines, openapi, pages, rest, schema, strict, usage
from ofgtp.northbound.bodies import merge_patch
from ofgtp.northbound.history import HistoryList
from ofgtp.northbound.rest import NDJSON_TYPES, RestApp
from ofgtp.northbound.service import PeerView, SeenView, Service, SessionFilter
from tests.support.client import Client, TestResponse
from tests.support.client import request as request_bytes

ROOT = Path(__file__).parents[2]
NDJSON = "application/x-ndjson"
FULL: dict[str, Any] = {
    "id": "imsi-001010000000001-5",
    "gateway": "gw1",
    "ue_ip": "10.45.0.2",
    "uplink": {"teid": 4097},
    "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"},
}
PATH = f"/v1/sessions/{FULL['id']}"


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def app(service: FakeService) -> RestApp:
    typed: Service = service
    return RestApp(typed, batch_lines=20, batch_limit=4096, max_requests=3)


@pytest.fixture
def client(app: RestApp) -> Client:
    return Client(app)


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    """The problem document, after checking that it is one."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    body = response.get_json()
    schema.Problem.model_validate(body)
    assert body["status"] == status
    assert body["detail"]
    return dict(body)


def locs(response: TestResponse) -> list[str]:
    return [error["loc"] for error in problem(response, 422)["errors"]]


def answer(response: TestResponse, status: int, model: type[BaseModel]) -> Any:
    assert response.status_code == status, response.text
    assert response.mimetype == "application/json"
    model.model_validate_json(response.data, extra="forbid" if model is SESSION else None)
    return response.get_json()


SESSION = schema.SessionOutput


def without(*names: str, **change: Any) -> dict[str, Any]:
    return {k: v for k, v in {**FULL, **change}.items() if k not in names}


# ---- sessions


def test_create(client: Client) -> None:
    response = client.post("/v1/sessions", json=FULL)
    body = answer(response, 201, SESSION)
    assert response.headers["Location"] == PATH
    assert body == {
        **FULL,
        "uplink": {"teid": 4097, "local_ip": "10.1.0.1", "remote_ip": None},
        "qfi": None,
        "rqi": False,
        "qfi_required": False,
        "qfi_check": False,
        "state": "active",
        "reason": None,
        "created_at": "2026-01-02T03:04:05.678901Z",
        "updated_at": "2026-01-02T03:04:05.678901Z",
        "counters": {
            way: {"packets": 0, "bytes": 0, "duration_seconds": 0} for way in ("uplink", "downlink")
        },
    }
    body["counters"] = {
        "uplink": {"packets": 1, "bytes": 84, "duration_seconds": 5},
        "downlink": {"packets": 2, "bytes": 168, "duration_seconds": 5},
    }
    assert answer(client.get(response.headers["Location"]), 200, SESSION) == body


def test_create_with_the_least(client: Client, service: FakeService) -> None:
    response = client.post("/v1/sessions", json={"ue_ip": "10.45.0.9"})
    body = answer(response, 201, SESSION)
    assert body["downlink"] is None
    assert body["gateway"] == "gw1"
    assert response.headers["Location"] == f"/v1/sessions/{body['id']}"
    assert service.sessions[body["id"]].uplink.teid == body["uplink"]["teid"]


def test_hexadecimal_teids_and_pinned_peer(client: Client, service: FakeService) -> None:
    body = without(
        uplink={"teid": "0xFFFFFFFF", "remote_ip": "10.1.0.7"},
        downlink={"teid": "0x2001", "remote_ip": "10.1.0.2"},
    )
    shown = answer(client.post("/v1/sessions", json=body), 201, SESSION)
    assert shown["uplink"]["teid"] == 0xFFFF_FFFF
    assert shown["uplink"]["remote_ip"] == "10.1.0.7"
    assert service.sessions[FULL["id"]].downlink == FTeid(0x2001, IPv4Address("10.1.0.2"))


def test_put_creates_then_replaces(client: Client) -> None:
    first = client.put(PATH, json=without("id", "uplink"))
    assert first.headers["Location"] == PATH
    teid = answer(first, 201, SESSION)["uplink"]["teid"]
    again = client.put(PATH, json=without("uplink", "downlink"))
    assert "Location" not in again.headers
    body = answer(again, 200, SESSION)
    assert (body["uplink"]["teid"], body["downlink"]) == (teid, None)


def of_qfi(body: dict[str, Any]) -> list[Any]:
    return [body[name] for name in ("qfi", "rqi", "qfi_required", "qfi_check")]


def test_a_session_with_a_qfi(client: Client) -> None:
    made = client.put(PATH, json=FULL | {"qfi": 9})
    assert of_qfi(answer(made, 201, SESSION)) == [9, False, True, False]
    for qfi in (1, 63):
        asked = {"qfi": qfi, "rqi": True, "qfi_required": False, "qfi_check": True}
        body = answer(client.put(PATH, json=FULL | asked), 200, SESSION)
        assert of_qfi(body) == [qfi, True, False, True]
        assert of_qfi(answer(client.get(PATH), 200, SESSION)) == of_qfi(body)


@pytest.mark.parametrize(
    "name",
    sorted(schema.SessionOutput.model_fields.keys() - schema.SessionInput.model_fields.keys()),
)
def test_what_is_only_shown_is_said_to_be(client: Client, name: str) -> None:
    """As what a GET has shown is written again by a PUT."""
    reply = client.put("/v1/sessions/phone-1", json={"ue_ip": "10.45.0.2", name: None})
    assert reply.status_code == 422
    assert reply.get_json()["errors"] == [{"loc": name, "msg": "is read-only; leave it out"}]


def test_what_is_wrong_is_said_in_words(client: Client) -> None:
    for member in ("rqi", "qfi_required", "qfi_check"):
        problem = client.put(PATH, json=FULL | {"qfi": 9, member: "yes"}).json or {}
        assert problem["errors"] == [{"loc": member, "msg": "must be true or false"}]


def test_patch_changes_the_qfi(client: Client) -> None:
    """What is not named stays; what means nothing without a QFI goes with it."""
    client.put(PATH, json=FULL)
    for change, expected in (
        ({"qfi": 9}, [9, False, True, False]),
        ({"rqi": True}, [9, True, True, False]),
        ({"qfi": 10, "qfi_check": True}, [10, True, True, True]),
        ({"qfi_required": False}, [10, True, False, True]),
        ({"qfi_required": None}, [10, True, True, True]),
        ({"qfi": None}, [None, False, False, False]),
        ({"qfi_required": True}, [None, False, False, False]),
        ({"qfi": 1}, [1, False, True, False]),
    ):
        body = answer(client.patch(PATH, json=change), 200, SESSION)
        assert of_qfi(body) == expected, change
    assert locs(client.patch(PATH, json={"qfi": None, "rqi": True})) == ["rqi"]
    assert locs(client.patch(PATH, json={"qfi": 64})) == ["qfi"]
    assert of_qfi(client.get(PATH).json or {}) == [1, False, True, False]


def test_patch_handover_idle_and_back(client: Client) -> None:
    client.put(PATH, json=FULL)
    moved = client.patch(PATH, json={"downlink": {"remote_ip": "10.1.0.3"}})
    assert answer(moved, 200, SESSION)["downlink"] == {"teid": 8193, "remote_ip": "10.1.0.3"}
    merge = "application/merge-patch+json"
    idle = client.patch(PATH, data='{"downlink": null}', content_type=merge)
    assert answer(idle, 200, SESSION)["downlink"] is None
    half = client.patch(PATH, json={"downlink": {"teid": 5}})
    assert locs(half) == ["downlink.remote_ip"]
    pin = client.patch(PATH, json={"uplink": {"remote_ip": "10.1.0.3"}})
    assert answer(pin, 200, SESSION)["uplink"]["remote_ip"] == "10.1.0.3"
    unpin = client.patch(PATH, json={"uplink": {"remote_ip": None}})
    assert answer(unpin, 200, SESSION)["uplink"] == {
        "teid": 4097,
        "local_ip": "10.1.0.1",
        "remote_ip": None,
    }
    assert locs(client.patch(PATH, json={"gateway": "gw2"})) == ["gateway"]
    assert locs(client.patch(PATH, json={"id": "other"})) == ["id"]
    assert locs(client.patch(PATH, json={"ue_ip": None, "x": 1})) == ["ue_ip", "x"]
    assert locs(client.patch(PATH, json=["x"])) == [""]
    problem(client.patch("/v1/sessions/none", json={}), 404)


def test_delete(client: Client, service: FakeService) -> None:
    client.put(PATH, json=FULL)
    gone = client.delete(PATH)
    assert (gone.status_code, gone.data) == (204, b"")
    problem(client.delete(PATH), 404)
    client.put(PATH, json=FULL)
    service.connected = False
    assert client.delete(PATH).status_code == 202


def test_pending_while_the_switch_is_away(client: Client, service: FakeService) -> None:
    service.connected = False
    assert answer(client.post("/v1/sessions", json=FULL), 201, SESSION)["state"] == "pending"


def test_a_downlink_that_its_peer_does_not_know(client: Client, service: FakeService) -> None:
    client.put(PATH, json=FULL)
    reason = "10.1.0.2 sent an Error Indication"
    service.states[FULL["id"]] = SessionState.ERROR_INDICATED, reason
    body = answer(client.get(PATH), 200, SESSION)
    assert (body["state"], body["reason"]) == ("error_indicated", reason)
    assert body["downlink"] == FULL["downlink"]


def test_list(client: Client, service: FakeService) -> None:
    for n in range(3):
        client.put(f"/v1/sessions/ue-{n}", json={"ue_ip": f"10.45.0.{n + 2}"})
    page = answer(client.get("/v1/sessions?limit=2"), 200, schema.SessionList)
    assert [item["id"] for item in page["items"]] == ["ue-0", "ue-1"]
    assert "total" not in page, "nobody has asked"
    page = answer(client.get("/v1/sessions?limit=2&total=true"), 200, schema.SessionList)
    assert (len(page["items"]), page["total"]) == (2, 3)
    assert page["next"] == "next"
    query = "gateway=gw1&id=00-1:a&ue_ip=10.45.0.2&ue_ipv6=2001:db8:a:1::7&teid=0x1001"
    query += "&peer=10.1.0.2&state=error_indicated&limit=1000&cursor=next"
    client.get(f"/v1/sessions?{query}")
    assert service.filter == SessionFilter(
        "gw1",
        "00-1:a",
        IPv4Address("10.45.0.2"),
        IPv6Network("2001:db8:a:1::7/128"),
        4097,
        IPv4Address("10.1.0.2"),
        SessionState.ERROR_INDICATED,
        1000,
        "next",
    )
    client.get("/v1/sessions?ue_ip=2001:db8:a:1::7")
    assert service.filter == SessionFilter(ue_ip=IPv6Address("2001:db8:a:1::7"))
    client.get("/v1/sessions")
    assert service.filter == SessionFilter()


@pytest.mark.parametrize("name", schema.ListQuery.model_fields)
def test_an_empty_parameter_is_not_all(client: Client, service: FakeService, name: str) -> None:
    """A script whose variable is empty must not get, and delete, all sessions."""
    service.filter = None
    reply = client.get(
        f"/v1/sessions?limit=5&{name}=" if name != "limit" else "/v1/sessions?limit="
    )
    assert reply.status_code == 422
    assert reply.get_json()["errors"] == [
        {"loc": name, "msg": "is empty: give it a value, or leave it out"}
    ]
    assert service.filter is None


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("teid=0", "teid"),
        ("teid=4294967296", "teid"),
        ("teid=-1", "teid"),
        ("ue_ip=10.45.0.256", "ue_ip"),
        ("ue_ip=2001:db8::1/64", "ue_ip"),
        ("ue_ip=fe80::1%25eth0", "ue_ip"),
        ("ue_ip=2001:db8::g", "ue_ip"),
        ("ue_ipv6=2001:db8:a:1::7/64", "ue_ipv6"),
        ("ue_ipv6=2001:db8::/129", "ue_ipv6"),
        ("ue_ipv6=fe80::1%25eth0", "ue_ipv6"),
        ("ue_ipv6=10.45.0.2", "ue_ipv6"),
        ("ue_ipv6=7", "ue_ipv6"),
        ("peer=::x", "peer"),
        ("state=lost", "state"),
        ("cursor=forged", "cursor"),
        ("counters=some", "counters"),
        ("page=2", "page"),
        ("page=", "page"),
        ("limit=1&limit=2", "limit"),
    ],
)
def test_bad_queries(client: Client, query: str, loc: str) -> None:
    assert locs(client.get(f"/v1/sessions?{query}")) == [loc]


def test_a_list_without_counters(client: Client, service: FakeService) -> None:
    client.put(PATH, json=FULL)
    page = answer(client.get("/v1/sessions?counters=false"), 200, schema.SessionList)
    assert [item["counters"] for item in page["items"]] == [None]
    assert service.filter == SessionFilter(counters=False)
    page = answer(client.get("/v1/sessions?counters=true"), 200, schema.SessionList)
    assert page["items"][0]["counters"]["uplink"]["packets"] == 1


def test_what_was_seen_of_a_session(client: Client, service: FakeService) -> None:
    answer(client.put(PATH, json=FULL), 201, schema.SessionOutput)
    peer, ue = IPv4Address("10.1.0.2"), IPv4Address("10.45.0.2")
    later = WHEN + timedelta(seconds=5)
    service.all_seen = [
        SeenView(Observation(Seen.WRONG_QFI, peer, 7, ue, 8), 3, WHEN, later),
        SeenView(Observation(Seen.ICMP_ERROR, peer, None, ue, 3 << 8 | 13), 1, WHEN, WHEN),
    ]
    qfi, icmp = answer(client.get(f"{PATH}/seen"), 200, schema.SeenList)["items"]
    assert qfi == {
        "what": "wrong_qfi",
        "peer": "10.1.0.2",
        "teid": 7,
        "source": "10.45.0.2",
        "qfi": 8,
        "icmp": None,
        "count": 3,
        "first_at": "2026-01-02T03:04:05.678901Z",
        "last_at": "2026-01-02T03:04:10.678901Z",
    }
    assert (icmp["what"], icmp["teid"], icmp["qfi"]) == ("icmp_error", None, None)
    assert icmp["icmp"] == {"type": 3, "code": 13}
    problem(client.get("/v1/sessions/none/seen"), 404)
    assert locs(client.get(f"{PATH}/seen?since=1")) == ["since"]


def test_session_flows(client: Client) -> None:
    client.put(PATH, json=FULL)
    body = answer(client.get(f"{PATH}/flows"), 200, schema.FlowList)
    common = {"flow": "table=2,tun_id=0x1001,actions=drop", "direction": "uplink"}
    counted = {"packets": 1, "bytes": 84}
    assert body == {"items": [{**common, **counted, "bearer": None}]}
    problem(client.get("/v1/sessions/none/flows"), 404)


# ---- bad input


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (without("ue_ip"), ["ue_ip"]),
        (without(ue_ip=1), ["ue_ip"]),
        (without(ue_ip="10.45.0.02"), ["ue_ip"]),
        (without(ue_ip="2001:db8::1"), ["ue_ip"]),
        (without(ue_ip="10.46.0.1"), ["ue_ip"]),
        (without(ue_ipv6="2001:db8:a:1::7/64"), ["ue_ipv6"]),
        (without(ue_ipv6="2001:db8:a:1::/129"), ["ue_ipv6"]),
        (without(ue_ipv6="fe80::%eth0/64"), ["ue_ipv6"]),
        (without(ue_ipv6="10.45.0.0/24"), ["ue_ipv6"]),
        (without(ue_ipv6=1), ["ue_ipv6"]),
        (without("ue_ip", ue_ipv6="2001:db8:a:1::7/64"), ["ue_ipv6"]),
        (without(colour="red"), ["colour"]),
        (without(state="active", counters={}), ["state", "counters"]),
        (without(uplink={"teid": 0}), ["uplink.teid"]),
        (without(uplink={"teid": 2**32}), ["uplink.teid"]),
        (without(uplink={"teid": -1}), ["uplink.teid"]),
        (without(uplink={"teid": True}), ["uplink.teid"]),
        (without(uplink={"teid": 1.0}), ["uplink.teid"]),
        (without(uplink={"teid": "4097"}), ["uplink.teid"]),
        (without(uplink={"teid": "0x0"}), ["uplink.teid"]),
        (without(uplink={"teid": "0x100000000"}), ["uplink.teid"]),
        (without(uplink={"teid": "0x"}), ["uplink.teid"]),
        (without(uplink={"local_ip": "10.1.0.1"}), ["uplink.local_ip"]),
        (without(uplink=4097), ["uplink"]),
        (without(downlink={}), ["downlink.teid", "downlink.remote_ip"]),
        (without(downlink={"teid": 1, "remote_ip": "enb"}), ["downlink.remote_ip"]),
        (without(downlink={"teid": 1, "remote_ip": "10.1.0.255"}), ["downlink.remote_ip"]),
        (without(downlink={"teid": 1, "remote_ip": "224.0.0.1"}), ["downlink.remote_ip"]),
        (without(downlink={"teid": 1, "remote_ip": "10.1.0.1"}), ["downlink.remote_ip"]),
        (without(id=""), ["id"]),
        (without(id="a" * 129), ["id"]),
        (without(id="a b"), ["id"]),
        (without(id="a\n"), ["id"]),
        (without(id="ü"), ["id"]),
        (without(id=7), ["id"]),
        (without(gateway=1), ["gateway"]),
        (without(gateway="gw9"), ["gateway"]),
        (without(ue_ip=None, uplink={"teid": 0}), ["ue_ip", "uplink.teid"]),
        *((without(qfi=qfi), ["qfi"]) for qfi in (0, 64, -1, 1.5, 9.0, "9", True, [9], {"qfi": 9})),
        (without(qfi=9, rqi=1), ["rqi"]),
        (without(qfi=9, rqi=None), ["rqi"]),
        (without(qfi=9, qfi_required="yes", qfi_check=0), ["qfi_required", "qfi_check"]),
        (without(rqi=True), ["rqi"]),
        (without(qfi=None, rqi=True, qfi_check=True), ["rqi", "qfi_check"]),
        (without(qfi=99, rqi=True), ["qfi"]),
        ([], [""]),
        ("session", [""]),
        (None, [""]),
    ],
)
def test_bad_fields_are_named(client: Client, body: Any, wrong: list[str]) -> None:
    assert locs(client.post("/v1/sessions", data=json.dumps(body), content_type=JSON)) == wrong


JSON = "application/json"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"id": "\xff"}',
        b'{"id": "\\ud800"}',
        b'{"uplink": {"teid": NaN}}',
        b'{"uplink": {"teid": Infinity}}',
        b"[" * 60_000,
        b'{"uplink":' * 5_000 + b"1" + b"}" * 5_000,
        b"\xfe\xff\x00{\x00}",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_not_json(client: Client, data: bytes, method: str) -> None:
    path = "/v1/sessions" if method == "POST" else PATH
    problem(client.open(path, method=method, data=data, content_type=JSON), 400)


def test_bad_ids_in_the_path(client: Client) -> None:
    assert locs(client.put("/v1/sessions/a%20b", json=without("id"))) == ["id"]
    assert locs(client.put("/v1/sessions/" + "a" * 129, json=without("id"))) == ["id"]
    problem(client.get("/v1/sessions/a%20b"), 404)
    problem(client.delete("/v1/sessions/a%20b"), 404)
    assert locs(client.put("/v1/sessions/other", json=FULL)) == ["id"]


@pytest.mark.parametrize("session_id", ["a@b:c-d_e.f", "batch", "%40", "...", "sessions:batch"])
def test_odd_ids(client: Client, session_id: str) -> None:
    response = client.put(f"/v1/sessions/{session_id}", json={"ue_ip": "10.45.0.2"})
    assert response.status_code == 201
    assert client.get(response.headers["Location"]).status_code == 200


def test_conflicts_name_the_session(client: Client) -> None:
    client.post("/v1/sessions", json=FULL)
    body = problem(client.post("/v1/sessions", json=FULL), 409)
    assert body["session"] == FULL["id"]
    body = problem(client.post("/v1/sessions", json={"ue_ip": FULL["ue_ip"]}), 409)
    assert body["errors"][0]["loc"] == "ue_ip"
    assert FULL["id"] in body["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/sessions", "GET, HEAD, POST"),
        ("POST", PATH, "DELETE, GET, HEAD, PATCH, PUT"),
        ("GET", "/v1/sessions:batch", "POST"),
        ("OPTIONS", "/v1/sessions", "GET, HEAD, POST"),
    ],
)
def test_wrong_method(client: Client, method: str, path: str, allow: str) -> None:
    response = client.open(path, method=method)
    problem(response, 405)
    assert response.headers["Allow"] == allow


@pytest.mark.parametrize("path", ["/v1", "/v2/sessions", "/v1/sessions/", "/v1/sessions/a/b", "//"])
def test_unknown_paths(client: Client, path: str) -> None:
    problem(client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "content_type"),
    [
        ("POST", "/v1/sessions", "text/plain"),
        ("POST", "/v1/sessions", "application/x-www-form-urlencoded"),
        ("POST", "/v1/sessions", "application/merge-patch+json"),
        ("POST", "/v1/sessions", "application/json; charset=latin-1"),
        ("POST", "/v1/sessions", None),
        ("PUT", PATH, NDJSON),
        ("PATCH", PATH, "application/json-patch+json"),
        ("POST", "/v1/sessions:batch", "application/json"),
    ],
)
def test_wrong_content_type(
    client: Client, method: str, path: str, content_type: str | None
) -> None:
    problem(client.open(path, method=method, data=b"{}", content_type=content_type), 415)


def test_body_too_long(client: Client) -> None:
    body = json.dumps(FULL).encode()
    at_limit = body + b" " * (65_536 - len(body))
    assert client.post("/v1/sessions", data=at_limit, content_type=JSON).status_code == 201
    problem(client.post("/v1/sessions", data=at_limit + b" ", content_type=JSON), 413)


def test_chunked_body(client: Client) -> None:
    body = json.dumps(FULL).encode()
    sent: dict[str, Any] = {"content_type": JSON, "chunks": 1000}
    assert client.post("/v1/sessions", data=body, **sent).status_code == 201
    problem(client.post("/v1/sessions", data=body + b" " * 65_536, **sent), 413)
    sent["content_type"] = NDJSON
    problem(client.post("/v1/sessions:batch", data=b"\n" * 5_000, **sent), 413)


def test_content_length_that_lies(client: Client) -> None:
    body = json.dumps(FULL).encode()
    for length, status in ((len(body) + 1, 400), (1 << 40, 413), (len(body) - 1, 400)):
        headers = {"Content-Length": str(length), "Content-Type": JSON}
        problem(client.raw(request_bytes("POST", "/v1/sessions", headers=headers) + body), status)
    assert client.get(PATH).status_code == 404


# ---- batch


def batch(client: Client, *lines: Any, content_type: str = NDJSON) -> TestResponse:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return client.post("/v1/sessions:batch", data=text, content_type=content_type)


def put(n: int, **change: Any) -> dict[str, Any]:
    return {"op": "put", "session": {"id": f"ue-{n}", "ue_ip": f"10.45.0.{n}", **change}}


@pytest.mark.parametrize("content_type", sorted(NDJSON_TYPES))
def test_batch(client: Client, service: FakeService, content_type: str) -> None:
    client.put("/v1/sessions/ue-2", json={"ue_ip": "10.45.0.2"})
    lines = [put(2), "", " \r", put(3), {"op": "delete", "id": "ue-3"}, put(4), ""]
    response = batch(client, *lines, content_type=content_type)
    body = answer(response, 200, schema.BatchOutput)
    assert body == {"created": 2, "replaced": 1, "deleted": 1}
    assert set(service.sessions) == {"ue-2", "ue-4"}


def test_batch_of_nothing(client: Client) -> None:
    body = answer(batch(client, "\n\n"), 200, schema.BatchOutput)
    assert body == {"created": 0, "replaced": 0, "deleted": 0}


def test_batch_errors_have_lines(client: Client, service: FakeService) -> None:
    response = batch(
        client,
        put(2),
        "",
        "{",
        put(3, uplink={"teid": 0}),
        {"op": "drop", "id": "x"},
        {"id": "x"},
        {"op": "delete"},
        {"op": "delete", "id": "a b"},
        {"op": "put"},
        put(4, ue_ip=None, x=1),
        {"op": "put", "session": 7},
        {"op": "delete", "id": "x", "y": 1},
        [],
    )
    errors = problem(response, 422)["errors"]
    assert [(error["line"], error["loc"]) for error in errors] == [
        (3, ""),
        (4, "uplink.teid"),
        (5, "op"),
        (6, "op"),
        (7, "id"),
        (8, "id"),
        (9, "session"),
        (10, "ue_ip"),
        (10, "x"),
        (11, "session"),
        (12, "y"),
        (13, ""),
    ]
    assert service.sessions == {}


def test_batch_is_refused_as_a_whole(client: Client, service: FakeService) -> None:
    response = batch(client, put(2), put(3, ue_ip="10.46.0.1"), {"op": "delete", "id": "ue-9"})
    errors = problem(response, 422)["errors"]
    assert [(error["line"], error["loc"]) for error in errors] == [(2, "ue_ip"), (3, "id")]
    assert service.sessions == {}


def test_a_line_that_cannot_be_read_hides_none_that_makes_no_sense(
    client: Client, service: FakeService
) -> None:
    wrong = put(3, uplink={"teid": 0})
    response = batch(client, put(2, ue_ip="10.46.0.1"), wrong, put(4, ue_ip="10.46.0.2"))
    errors = problem(response, 422)["errors"]
    assert [(error["line"], error["loc"]) for error in errors] == [
        (1, "ue_ip"),
        (2, "uplink.teid"),
        (3, "ue_ip"),
    ]
    assert service.sessions == {}


def test_batch_limits(client: Client) -> None:
    lines = [{"op": "delete", "id": "x"}] * 21
    problem(batch(client, *lines), 413)
    problem(batch(client, " " * 5_000), 413)
    problem(batch(client, *["{"] * 20), 422)


def test_batch_errors_are_capped(service: FakeService) -> None:
    client = Client(RestApp(service))
    body = problem(batch(client, *["{"] * 5_000), 422)
    assert len(body["errors"]) == schema.MAX_ERRORS


# ---- what the service raises


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (SwitchRefused("OFPFMFC_TABLE_FULL"), 502, "OFPFMFC_TABLE_FULL"),
        (StoreError("disk full"), 503, "disk full"),
        (OfgtpError("secret"), 500, "log"),
        (RuntimeError("secret"), 500, "log"),
    ],
)
def test_errors_of_the_service(
    client: Client,
    service: FakeService,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    said: str,
) -> None:
    service.error = error
    calls = [
        client.post("/v1/sessions", json=FULL),
        client.put(PATH, json=FULL),
        client.patch(PATH, json={}),
        client.get(PATH),
        client.delete(PATH),
        client.get("/v1/sessions"),
        client.get("/v1/flows"),
        client.get("/v1/gateways"),
        client.get("/v1/peers"),
        client.get("/v1/pfcp"),
        client.get("/v1/health"),
        batch(client, put(2)),
    ]
    for response in calls:
        assert said in problem(response, status)["detail"]
        assert "secret" not in response.text
        assert "Traceback" not in response.text
    if status == 500:
        assert "secret" in caplog.text


def test_too_many_requests(app: RestApp, client: Client, service: FakeService) -> None:
    seen: list[TestResponse] = []

    def deeper() -> None:
        if len(seen) < 1:
            seen.append(client.get("/v1/gateways"))

    service.hook = deeper
    levels = client.get("/v1/gateways")
    assert levels.status_code == 200
    service.hook = lambda: seen.append(client.get("/v1/gateways"))
    client.get("/v1/gateways")
    busy = [response for response in seen if response.status_code == 429]
    assert busy
    problem(busy[0], 429)
    assert int(busy[0].headers["Retry-After"]) >= 1
    service.hook = lambda: None
    assert client.get("/v1/gateways").status_code == 200


def test_one_batch_at_a_time(client: Client, service: FakeService) -> None:
    inner: list[TestResponse] = []

    def second() -> None:
        service.hook = lambda: None
        inner.append(batch(client, put(3)))

    service.hook = second
    assert batch(client, put(2)).status_code == 200
    problem(inner[0], 429)
    assert inner[0].headers["Retry-After"]
    assert batch(client, put(3)).status_code == 200


def test_responses_that_are_not_read_to_the_end_free_their_place(
    app: RestApp, client: Client, service: FakeService
) -> None:
    client.put(PATH, json=FULL)
    for _ in range(10):
        with client.exchange(request_bytes("GET", "/v1/flows")) as exchange:
            assert exchange.head().status_code == 200
    assert client.get("/v1/gateways").status_code == 200


# ---- token and host


@pytest.fixture
def locked(service: FakeService) -> Client:
    return Client(RestApp(service, token="correct-horse", host="10.0.0.1", hosts=["gw.example"]))


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": value}


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v1/sessions",
            PATH,
            "/v1/flows",
            "/v1/gateways",
            "/v1/peers",
            "/v1/pfcp",
            "/v1/history",
        ),
        *("/openapi.json", "/docs/swagger-ui.css", "/nothing"),
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("Bearer wrong"),
        bearer("Bearer "),
        bearer("Bearer correct-horse2"),
        bearer("Basic correct-horse"),
        bearer("correct-horse"),
        bearer("Bearer \xe4\xf6"),
    ],
)
def test_token_is_needed(locked: Client, path: str, headers: dict[str, str]) -> None:
    response = locked.get(path, headers=headers)
    problem(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_token_opens(locked: Client) -> None:
    for value in ("Bearer correct-horse", "bearer correct-horse"):
        assert locked.get("/v1/sessions", headers=bearer(value)).status_code == 200
    problem(locked.get("/v1/sessions?access_token=correct-horse"), 401)
    assert locked.get("/v1/health").status_code == 200
    shown = locked.get("/openapi.json", headers=bearer("Bearer correct-horse")).get_json()
    assert shown["security"] == [{"bearer": []}]


@pytest.mark.parametrize("path", ["/metrics", "/v1/events"])
def test_what_happens_is_not_for_everybody(locked: Client, path: str) -> None:
    problem(locked.get(path), 401)
    evil = {**bearer("Bearer correct-horse"), "Host": "evil.example"}
    problem(locked.get(path, headers=evil), 421)
    assert locs(locked.get(f"{path}?since=1", headers=bearer("Bearer correct-horse"))) == ["since"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_ask_for_the_token(locked: Client, service: FakeService, path: str) -> None:
    """A page is the same with and without it: what it shows it asks for."""
    response = locked.get(path)
    assert response.status_code == 401
    assert response.mimetype == "text/html"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    problem(locked.get("/docs/swagger-ui-bundle.js"), 401)
    locked.put(PATH, json=FULL, headers=bearer("Bearer correct-horse"))
    opened = locked.get(path, headers=bearer("Bearer correct-horse"))
    assert (opened.status_code, opened.data) == (200, response.data)
    problem(locked.post(path, json={}), 401)
    problem(locked.get(path, headers={"Host": "evil.example"}), 421)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "localhost.",
        "127.0.0.1:8080",
        "127.8.9.1",
        "[::1]:8080",
        "[0:0:0:0:0:0:0:1]",
        "10.0.0.1:8080",
        "gw.example:8080",
        "GW.example",
    ],
)
def test_own_hosts(locked: Client, host: str) -> None:
    assert locked.get("/v1/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.2",
        "[::2]",
        "[::1",
        "[]",
        "localhost,evil.example",
        "user@localhost",
        "2130706433",
        "127.1",
        " ",
    ],
)
def test_other_hosts(locked: Client, host: str) -> None:
    response = locked.get("/v1/health", headers={"Host": host})
    assert response.status_code in (400, 421)
    if host == "evil.example":
        problem(response, 421)


def test_no_host(client: Client) -> None:
    for headers in (b"", b"Host:\r\n", b"Host: \t\r\n"):
        for version in (b"1.1", b"1.0"):
            sent = b"GET /v1/health HTTP/%b\r\n%b\r\n" % (version, headers)
            problem(client.raw(sent), 400)


@pytest.mark.parametrize(("host", "status"), [("192.0.2.7:80", 200), ("192.0.2.8", 421)])
def test_listening_on_all_addresses(service: FakeService, host: str, status: int) -> None:
    client = Client(RestApp(service, host="0.0.0.0"), local="192.0.2.7")
    response = client.get("/v1/health", headers={"Host": host})
    assert response.status_code == status


# ---- the rest


def test_flows_text(client: Client) -> None:
    assert client.get("/v1/flows").data == b""
    for n in range(1_201):
        ue_ip = str(IPv4Address("10.45.0.2") + n)
        client.put(f"/v1/sessions/ue-{n}", json={"ue_ip": ue_ip, "uplink": {"teid": n + 1}})
    for query in ("", "?format=ovs-ofctl", "?gateway=gw1"):
        response = client.get(f"/v1/flows{query}")
        assert response.status_code == 200
        assert response.content_type == "text/plain; charset=utf-8"
        lines = response.text.splitlines()
        assert len(lines) == 1_201
        assert lines[-1] == "table=2,tun_id=0x4b1,actions=drop"
        assert response.text.endswith("\n")
    assert locs(client.get("/v1/flows?format=json")) == ["format"]
    assert locs(client.get("/v1/flows?gateway=gw9")) == ["gateway"]
    assert locs(client.get("/v1/flows?table=1")) == ["table"]


def test_gateways_and_health(client: Client, service: FakeService) -> None:
    body = answer(client.get("/v1/gateways"), 200, schema.GatewayList)
    assert body["items"][0]["ovs_version"] == "3.1.0"
    body = answer(client.get("/v1/health"), 200, schema.HealthOutput)
    assert body == {"status": "ok", "instance_id": "5f0c"}
    service.connected = False
    assert answer(client.get("/v1/health"), 503, schema.HealthOutput)["status"] == "degraded"


def peer(n: int, state: PathState, **change: Any) -> PeerView:
    fields: dict[str, Any] = {
        "gateway": "gw1",
        "ip": IPv4Address("10.1.0.0") + n,
        "state": state,
        "sessions": n,
        "next_hop": None,
        "mac": None,
        "echo_sent_at": None,
        "echo_answered_at": None,
        "echo_heard_at": None,
    }
    return PeerView(**{**fields, **change})


def test_peers(client: Client, service: FakeService) -> None:
    assert answer(client.get("/v1/peers"), 200, schema.PeerList) == {
        "items": [],
        "next": None,
        "total": 0,
    }
    sent, heard = datetime(2026, 1, 2, 3, 4, 5, 6, UTC), datetime(2026, 1, 2, 3, 4, 4, tzinfo=UTC)
    router, mac = IPv4Address("10.1.0.254"), "52:54:00:00:00:fe"
    service.all_peers = [
        peer(
            2,
            PathState.UP,
            next_hop=router,
            mac=mac,
            echo_sent_at=sent,
            echo_answered_at=sent.replace(microsecond=7),
            echo_heard_at=heard,
        ),
        peer(3, PathState.DOWN, next_hop=router),
        peer(4, PathState.UNKNOWN),
    ]
    never = {"echo_sent_at": None, "echo_answered_at": None, "echo_heard_at": None}
    up = {
        "gateway": "gw1",
        "ip": "10.1.0.2",
        "state": "up",
        "sessions": 2,
        "next_hop": {"ip": "10.1.0.254", "mac": mac},
        "echo_sent_at": "2026-01-02T03:04:05.000006Z",
        "echo_answered_at": "2026-01-02T03:04:05.000007Z",
        "echo_heard_at": "2026-01-02T03:04:04Z",
    }
    hop = {"ip": "10.1.0.254", "mac": None}
    down = {"gateway": "gw1", "ip": "10.1.0.3", "state": "down", "sessions": 3, **never}
    unknown = {"gateway": "gw1", "ip": "10.1.0.4", "state": "unknown", "sessions": 4, **never}
    everything = [up, {**down, "next_hop": hop}, {**unknown, "next_hop": None}]
    first = everything[:1]
    for query, items in (
        ("", everything),
        ("?gateway=gw1", everything),
        ("?state=up", everything[:1]),
        ("?gateway=gw1&state=down", everything[1:2]),
        ("?state=unknown", everything[2:]),
        ("?worst=2", everything[:2]),
    ):
        body = answer(client.get(f"/v1/peers{query}"), 200, schema.PeerList)
        assert body == {"items": items, "next": None, "total": len(items)}
    for query, items in (
        ("?limit=1", everything[:1]),
        ("?limit=2&offset=2", everything[2:]),
        ("?offset=7", []),
        ("?sort=state&limit=1", everything[1:2]),
        ("?sort=sessions&order=desc", everything[::-1]),
        ("?sort=address", everything),
        ("?sort=address&order=desc&offset=1&limit=1", everything[1:2]),
        ("?sort=next_hop", [everything[2], everything[0], everything[1]]),
        ("?sort=answered&order=desc&limit=1", first),
    ):
        body = answer(client.get(f"/v1/peers{query}"), 200, schema.PeerList)
        assert body == {"items": items, "next": None, "total": 3}
    service.all_peers.append(peer(5, PathState.UP, ip=IPv6Address("2001:db8::5")))
    body = answer(client.get("/v1/peers?sort=address"), 200, schema.PeerList)
    assert [each["ip"] for each in body["items"]][2:] == ["10.1.0.4", "2001:db8::5"]


def test_history(client: Client, service: FakeService) -> None:
    body = answer(client.get("/v1/history"), 200, HistoryList)
    assert body == {
        "items": [{"gateway": "gw1", "points": []}],
        "interval_seconds": 5,
        "next": None,
    }
    rate = Rate(1200.4, 1523000.8)
    service.points = [
        Point(5.0, 1767323040.5, 5.0, {"access": None, "core": rate}, None, 3),
        Point(10.0, 1767323045.678901, 5.002, {"access": rate, "core": rate}, 0.25, 312),
    ]
    both = answer(client.get("/v1/history?gateway=gw1"), 200, HistoryList)["items"][0]["points"]
    assert both[0] == {
        "at": "2026-01-02T03:04:00.500000Z",
        "seconds": 5.0,
        "uplink": None,
        "downlink": {"frames_per_second": 1200.4, "bits_per_second": 1523000.8},
        "drops_per_second": None,
        "sessions": 3,
    }
    assert both[1]["at"] == "2026-01-02T03:04:05.678901Z"
    assert (both[1]["drops_per_second"], both[1]["sessions"]) == (0.25, 312)
    last = answer(client.get("/v1/history?seconds=5"), 200, HistoryList)
    assert last["items"][0]["points"] == both[1:]


@pytest.mark.parametrize(
    ("query", "loc"),
    [("gateway=gw9", "gateway"), ("seconds=0", "seconds"), ("seconds=601", "seconds")],
)
def test_bad_queries_for_history(client: Client, query: str, loc: str) -> None:
    assert locs(client.get(f"/v1/history?{query}")) == [loc]


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("gateway=gw9", "gateway"),
        ("state=pending", "state"),
        ("state=UP", "state"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("offset=-1", "offset"),
        ("sort=mac", "sort"),
        ("sort=state&order=down", "order"),
        ("worst=0", "worst"),
        ("worst=1001", "worst"),
        ("peer=", "peer"),
        ("state=up&state=down", "state"),
    ],
)
def test_bad_queries_for_peers(client: Client, query: str, loc: str) -> None:
    assert locs(client.get(f"/v1/peers?{query}")) == [loc]


def test_the_example_of_peers_is_what_is_answered(client: Client, service: FakeService) -> None:
    document = client.get("/openapi.json").get_json()
    shape = document["components"]["schemas"]["PeerList"]
    (example,) = shape["examples"]
    shown = schema.PeerList.model_validate_json(json.dumps(example), extra="forbid")
    (item,) = shown.items
    assert item.next_hop is not None
    fields = dict(item) | {"next_hop": item.next_hop.ip, "mac": item.next_hop.mac}
    service.all_peers = [PeerView(**fields)]
    assert client.get("/v1/peers").get_json() == example
    call = document["paths"]["/v1/peers"]["get"]
    content = call["responses"]["200"]["content"]["application/json"]
    assert content == {"schema": {"$ref": "#/components/schemas/PeerList"}}
    assert [(p["name"], p["in"]) for p in call["parameters"]] == [
        ("gateway", "query"),
        ("state", "query"),
        ("worst", "query"),
        ("sort", "query"),
        ("order", "query"),
        ("limit", "query"),
        ("offset", "query"),
    ]


def test_rules(client: Client) -> None:
    client.put(PATH, json=FULL)
    body = answer(client.get(f"{PATH}/rules"), 200, schema.RulesOutput)
    assert body["pdrs"] == body["fars"] == body["qers"] == body["urrs"] == body["bars"] == []
    problem(client.get("/v1/sessions/nobody/rules"), 404)
    assert locs(client.get(f"{PATH}/rules?x=1")) == ["x"]


def test_usage(client: Client) -> None:
    client.put(PATH, json=FULL)
    body = answer(client.get(f"{PATH}/usage"), 200, usage.SessionUsage)
    both = {"uplink": {"packets": 1, "bytes": 84}, "downlink": {"packets": 2, "bytes": 168}}
    assert body["rules"] == [{**both, "id": None}, {**both, "id": "voice"}]
    assert body["removed"]["uplink"]["packets"] == 0
    problem(client.get("/v1/sessions/nobody/usage"), 404)
    listed = answer(client.get("/v1/usage"), 200, usage.UsageList)
    assert [item["session"] for item in listed["items"]] == [body["session"]]
    assert (listed["next"], listed["total"], listed["sessions"]) == ("next", None, None)
    most = answer(client.get("/v1/usage?sort=bytes&limit=5&gateway=gw1"), 200, usage.UsageList)
    assert (most["next"], most["total"], most["sessions"]) == (None, both, 1)
    assert locs(client.get("/v1/usage?sort=size&limit=0&x=1")) == ["sort", "limit", "x"]
    assert locs(client.get("/v1/usage?sort=bytes&cursor=next")) == ["cursor"]
    problem(client.get("/v1/usage?gateway=gw9"), 422)


def test_control_planes(client: Client) -> None:
    body = answer(client.get("/v1/pfcp"), 200, schema.PfcpList)
    at = "2026-11-28T12:00:00Z"
    assert body == {
        "items": [
            {
                "gateway": "gw1",
                "node_id": "10.3.0.1",
                "listen": "10.3.0.1",
                "recovery_time": at,
                "problem": None,
                "associations": [
                    {
                        "node_id": "smf.example.org",
                        "ip": "10.3.0.5",
                        "state": "up",
                        "recovery_time": at,
                        "sessions": 6,
                        "heard_at": None,
                        "answers": [
                            {"message": "Session Deletion Request", "cause": 65, "count": 1},
                            {"message": "Session Establishment Request", "cause": 1, "count": 7},
                        ],
                        "errors": [
                            {
                                "at": at,
                                "reason": "Session Deletion Request: there is no session with the"
                                " SEID 0x5",
                            }
                        ],
                    }
                ],
                "received": [{"message": "Heartbeat Request", "count": 5}],
                "dropped": [{"reason": "not_allowed", "count": 3}],
                "refused": [
                    {
                        "at": at,
                        "ip": "10.3.0.9",
                        "reason": "Session Deletion Request: there is no session with the"
                        " SEID 0x5 (cause 65)",
                    }
                ],
                "strangers": [{"ip": "10.9.0.7", "messages": 3, "heard_at": at}],
                "network_instances": [{"name": "ims", "known": False, "requests": 2}],
            }
        ],
        "next": None,
    }
    assert locs(client.get("/v1/pfcp?gateway=gw1")) == ["gateway"]


@pytest.mark.parametrize(
    "path", ["/v1/sessions", PATH, "/v1/flows", "/v1/peers", "/v1/health", "/docs", "/"]
)
def test_head(client: Client, path: str) -> None:
    client.put(PATH, json=FULL)
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.data) == (get.status_code, b"")
    assert head.content_type == get.content_type
    assert head.headers.get("Content-Length") == get.headers.get("Content-Length")


def test_the_overview_is_one_file(client: Client) -> None:
    """Nothing else is loaded, each of its scripts and styles is allowed by name, and no other."""
    page = client.get("/")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    rules = dict(
        part.strip().partition(" ")[::2]
        for part in page.headers["Content-Security-Policy"].split(";")
    )
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["frame-ancestors"] == rules["form-action"] == rules["base-uri"] == "'none'"
    for element in ("script", "style"):
        inside = re.findall(rf"<{element}>(.*?)</{element}>", page.text, re.DOTALL)
        sums = [base64.b64encode(hashlib.sha256(each.encode()).digest()) for each in inside]
        assert rules[f"{element}-src"].split() == [f"'sha256-{each.decode()}'" for each in sums]
        assert inside
    assert not re.search(r"<script src|<link rel=.stylesheet|<img|\son\w+=|\sstyle=", page.text)
    assert "javascript:" not in page.text and "{MEANINGS}" not in page.text
    (words,) = re.findall(r'<script type="application/json" id="meanings">(.*?)<', page.text)
    assert json.loads(words) == MEANINGS
    assert page.headers["Referrer-Policy"] == "no-referrer"


def test_what_pages_are_made_of_is_packaged() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = config["tool"]["setuptools"]["package-data"]["ofgtp.northbound"]
    packaged = {path for pattern in patterns for path in (ROOT / "ofgtp/northbound").glob(pattern)}
    assert {path for path in pages.STATIC.rglob("*") if path.is_file()} <= packaged


def test_docs_need_no_other_host(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert name in page.text
        asset = client.get(f"/docs/{name}")
        assert asset.status_code == 200
        assert len(asset.data) > 100_000
    problem(client.get("/docs/__init__.py"), 404)
    problem(client.get("/docs/..%2F__init__.py"), 404)


def test_mutating_requests_are_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ofgtp")
    client.put(PATH, json=FULL)
    client.get(PATH)
    client.delete("/v1/sessions/a%0Ab")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith(f"rest: PUT {PATH} 201 ")
    assert lines[1].startswith("rest: DELETE /v1/sessions/a%0Ab 404 ")


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_openapi_tells_the_limits(client: Client) -> None:
    told = client.get("/openapi.json").json["info"]["description"]
    for limit in (
        *(rest.BODY_LIMIT, rest.BATCH_LIMIT, rest.BATCH_LINES, lines.LINE_LIMIT),
        *(strict.MAX_DEPTH, strict.MAX_VALUES),
    ):
        assert f" {limit:,}" in told
    assert rest.BODY_LIMIT == lines.LINE_LIMIT


def test_openapi_describes_what_is_routed(app: RestApp, client: Client) -> None:
    document = client.get("/openapi.json").get_json()
    assert document == openapi.document(False)
    assert document["openapi"] == "3.1.0"
    described = {
        (path, method.upper())
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    routed = {(path, method) for path, methods in app.routes.table.items() for method in methods}
    assert routed - described == {("/", "GET"), ("/docs/{name}", "GET")}
    assert described <= routed
    for reference in references(document):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    operations = [
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(operations) == len(set(operations))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", name) for name in operations), "names of functions"
    assert {"list_sessions", "put_session", "patch_session", "list_bearers"} < set(operations)
    bodies = document["paths"]["/v1/sessions:batch"]["post"]["requestBody"]["content"]
    assert set(bodies) <= NDJSON_TYPES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "ue_ip", "uplink", "teid", "a"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(target=json_values, patch=json_values)
def test_merge_patch_follows_its_definition(target: Any, patch: Any) -> None:
    before = json.dumps(target)
    merged = merge_patch(target, patch)
    assert json.dumps(target) == before
    if not isinstance(patch, dict):
        assert merged == patch
        return
    base = target if isinstance(target, dict) else {}
    assert isinstance(merged, dict)
    assert set(merged) == (set(base) | set(patch)) - {k for k, v in patch.items() if v is None}
    for key, value in merged.items():
        expected = merge_patch(base.get(key), patch[key]) if key in patch else base[key]
        assert value == expected


@given(body=json_values)
def test_any_json_gets_an_answer_that_is_no_500(body: Any) -> None:
    client = Client(RestApp(FakeService()))
    text = json.dumps(body)
    for response in (
        client.post("/v1/sessions", data=text, content_type=JSON),
        client.patch(PATH, data=text, content_type=JSON),
        batch(client, text),
    ):
        assert response.status_code in (201, 200, 422, 404)
