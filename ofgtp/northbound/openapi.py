"""`/openapi.json`: the API as OpenAPI 3.1, its schemas generated from `schema`."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ofgtp import __version__
from ofgtp.northbound import bearers, history, schema, usage

_Json = dict[str, Any]

_DESCRIPTION = """\
Sessions of a GTP-U gateway (SGW-U/PGW-U, UPF) made of Open vSwitch. A session is a UE address, an
uplink TEID and a downlink F-TEID; ofgtp turns it into two OpenFlow flows. It may have more:
bearers, which take some of its traffic by filters into tunnels of their own; rates; the core side
of a relay; networks behind the UE. Success is answered after the switch has confirmed the flows;
while it is away, the session is stored and `pending`.

A body has up to 65,536 bytes; a batch up to 33,554,432, in 100,000 lines of up to 65,536. Objects
and arrays are nested up to 16 deep, with up to 4,000 members and items in a body or line.
"""

_PROBLEMS = {
    400: "This is no request of HTTP/1.1, or its body is no JSON; a member that stands twice in an"
    " object is none, and neither are NaN and Infinity",
    401: "The bearer token is missing or wrong",
    404: "No session has this id",
    408: "The request did not come in time, or too slowly while others waited",
    409: "An id, TEID, UE address or downlink F-TEID is another session's, which is named",
    413: "The body is too long, or has too many lines",
    415: "The Content-Type is wrong",
    421: "The Host header is none of ours",
    422: "A field is wrong, or there is more of it than is read; `errors` names each",
    429: "Too much at once; try again after `Retry-After` seconds",
    431: "The header is too long",
    500: "An error of ofgtp's own",
    502: "The switch refused a rule; its reason is in `reason`, and nothing was changed",
    503: "The session store cannot be read or written",
}
_ALWAYS = (400, 401, 408, 421, 422, 429, 431, 500)
_WRITE = (409, 413, 415, 502, 503)

_INPUTS: list[type[BaseModel]] = [
    schema.SessionInput,
    bearers.BearerInput,
    schema.PutLine,
    schema.DeleteLine,
    schema.ListQuery,
    schema.FlowsQuery,
    schema.PeersQuery,
    usage.UsageQuery,
    history.HistoryQuery,
]
_OUTPUTS: list[type[BaseModel]] = [
    schema.SessionOutput,
    schema.SessionList,
    bearers.BearerList,
    schema.FlowList,
    schema.SeenList,
    schema.BatchOutput,
    schema.GatewayList,
    schema.PeerList,
    schema.PfcpList,
    schema.ReloadOutput,
    schema.RulesOutput,
    usage.SessionUsage,
    usage.UsageList,
    history.HistoryList,
    schema.HealthOutput,
    schema.Problem,
]


_EVENT = """\
id: 5f0c21ab-17
event: repaired
data: {"at":"2026-01-02T03:04:05.678901Z","kind":"repaired","gateway":"gw1","flows":52}

"""


def document(with_token: bool) -> _Json:
    """The OpenAPI document; `with_token` tells whether this server asks for a token."""
    _, found = models_json_schema(
        [(model, "validation") for model in _INPUTS]
        + [(model, "serialization") for model in _OUTPUTS],
        ref_template="#/components/schemas/{model}",
    )
    schemas: _Json = found["$defs"]
    list_query = _parameters(schemas.pop("ListQuery"))
    flows_query = _parameters(schemas.pop("FlowsQuery"))
    peers_query = _parameters(schemas.pop("PeersQuery"))
    usage_query = _parameters(schemas.pop("UsageQuery"))
    history_query = _parameters(schemas.pop("HistoryQuery"))
    schemas["SessionPatch"] = _patch(schemas, "Session", "a session")
    schemas["BearerPatch"] = _patch(schemas, "Bearer", "a bearer")
    schemas["BatchLine"] = {
        "oneOf": [_ref("PutLine"), _ref("DeleteLine")],
        "description": "One line of the body",
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ofgtp",
            "version": __version__,
            "summary": "GTP-U tunnels on Open vSwitch",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "sessions"},
            {"name": "bearers"},
            {"name": "flows"},
            {"name": "gateways"},
            {"name": "peers"},
            {"name": "observability"},
            {"name": "this document"},
        ],
        "security": [{"bearer": []}] if with_token else [],
        "paths": _paths(list_query, flows_query, peers_query)
        | _usage(usage_query)
        | _history(history_query),
        "components": {
            "schemas": schemas,
            "responses": {str(code): _problem(code) for code in _PROBLEMS},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The content of `[rest] token_file`, if one is configured",
                }
            },
        },
    }


_SESSION_ID: _Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:@-]{1,128}$"},
    "example": "imsi-001010000000001-5",
}


def _paths(list_query: list[_Json], flows_query: list[_Json], peers_query: list[_Json]) -> _Json:
    session_id = _SESSION_ID
    session = _json("SessionOutput", "The session")
    created = _json("SessionOutput", "Created")
    created["headers"] = {
        "Location": {
            "description": "The session's path",
            "schema": {"type": "string", "format": "uri-reference"},
        }
    }
    body = _body({"application/json": _ref("SessionInput")})
    patch_examples = {
        "handover": {"value": {"downlink": {"teid": "0x2002", "remote_ip": "10.1.0.3"}}},
        "idle": {"value": {"downlink": None}},
        "a quota": {"value": {"usage": {"quota_bytes": 1_000_000_000}}},
        "idle, packets held": {"value": {"downlink": None, "buffer": 32}},
    }
    patch = _body(
        _merge_patch("SessionPatch"),
        patch_examples,
    )
    lines = (
        '{"op": "put", "session": {"id": "ue-1", "ue_ip": "10.45.0.2"}}\n'
        '{"op": "delete", "id": "ue-0"}\n'
    )
    # OpenAPI 3.1 has no word for "a sequence of these": the lines are described as text
    batch = _body(
        {"application/x-ndjson": {"type": "string", "contentSchema": _ref("BatchLine")}},
        {"two lines": {"value": lines}},
    )
    # ... and generators of clients, which know no lines, send octets
    octets = {"schema": {"type": "string", "format": "binary"}}
    batch["content"]["application/octet-stream"] = octets
    text = {
        "description": "One flow a line",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
    events = {
        "description": "Server-sent events: `event` is the kind, `data` one line of JSON",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "examples": {"an event": {"value": _EVENT}},
            }
        },
    }
    last_event_id: _Json = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Begin after this event; an id of another run of the controller: with the"
        " oldest that is kept. Without it: with what happens from now on",
        "schema": {"type": "string"},
    }
    metrics = {
        "description": "In Prometheus' text format",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
    health: _Json = _json("HealthOutput", "All is well")
    unwell = _json("HealthOutput", "A gateway is not connected, or the store not writable")
    return {
        "/v1/sessions": {
            "get": _call(
                "sessions", "list_sessions", "List sessions", {200: _json("SessionList", "A page")}
            )
            | {"parameters": list_query},
            "post": _call("sessions", "create_session", "Create a session", {201: created}, _WRITE)
            | {"requestBody": body},
        },
        "/v1/sessions/{id}": {
            "parameters": [session_id],
            "get": _call("sessions", "get_session", "Show a session", {200: session}, (404,)),
            "put": _call(
                "sessions",
                "put_session",
                "Create or replace a session",
                {200: session, 201: created},
                _WRITE,
            )
            | {"requestBody": body},
            "patch": _call(
                "sessions",
                "patch_session",
                "Change a session by a JSON merge patch: handover, going idle",
                {200: session},
                (404, *_WRITE),
            )
            | {"requestBody": patch},
            "delete": _call(
                "sessions",
                "delete_session",
                "Delete a session",
                _GONE,
                (404, 502, 503),
            ),
        },
        "/v1/sessions:batch": {
            "post": _call(
                "sessions",
                "batch_sessions",
                "Put and delete many sessions, all or nothing",
                {200: _json("BatchOutput", "All of it is done")},
                (413, 415, 502, 503),
            )
            | {"requestBody": batch}
        },
        **_bearers(session_id),
        "/v1/sessions/{id}/flows": {
            "parameters": [session_id],
            "get": _call(
                "flows",
                "list_session_flows",
                "Show a session's flows",
                {200: _json("FlowList", "Its flows")},
                (404,),
            ),
        },
        "/v1/sessions/{id}/rules": {
            "parameters": [session_id],
            "get": _call(
                "flows",
                "get_session_rules",
                "Show a session as its control plane made it",
                {
                    200: _json(
                        "RulesOutput", "Its rules by kind; none of a session made by this API"
                    )
                },
                (404,),
            ),
        },
        "/v1/sessions/{id}/seen": {
            "parameters": [session_id],
            "get": _call(
                "sessions",
                "list_session_seen",
                "Show what was lately seen to go wrong with a session's packets, or at its peers",
                {200: _json("SeenList", "The latest first; what was not seen again is forgotten")},
                (404,),
            ),
        },
        "/v1/flows": {
            "get": _call(
                "flows", "export_flows", "Write out all flows, for ovs-ofctl add-flows", {200: text}
            )
            | {"parameters": flows_query}
        },
        "/v1/gateways": {
            "get": _call(
                "gateways",
                "list_gateways",
                "Show gateways",
                {200: _json("GatewayList", "All of them")},
            )
        },
        "/v1/reload": {
            "post": _call(
                "gateways",
                "reload_configuration",
                "Take what has changed in ofgtp.toml, or nothing: 409 names what needs a restart",
                {200: _json("ReloadOutput", "What was taken")},
                (409, 413, 415, 502, 503),
            )
            | {"requestBody": _body({"application/json": {"type": "object", "maxProperties": 0}})}
        },
        "/v1/peers": {
            "get": _call(
                "peers",
                "list_peers",
                "Show peers, and whether their GTP-U paths work",
                {200: _json("PeerList", "Those that match")},
                (503,),
            )
            | {"parameters": peers_query}
        },
        "/v1/pfcp": {
            "get": _call(
                "peers",
                "list_control_planes",
                "Show control planes: PFCP associations, and what they were answered",
                {200: _json("PfcpList", "All gateways that speak PFCP")},
                (503,),
            )
        },
        "/v1/health": {
            "get": _call("gateways", "get_health", "Is all well?", {200: health, 503: unwell})
            | {"security": []}
        },
        "/v1/events": {
            "get": _call("observability", "stream_events", "Watch events", {200: events})
            | {"parameters": [last_event_id]}
        },
        "/metrics": {
            "get": _call(
                "observability",
                "get_metrics",
                "Show metrics, for Prometheus",
                {200: metrics},
                (503,),
            )
        },
        "/openapi.json": {
            "get": _call(
                "this document",
                "get_openapi",
                "This document",
                {
                    200: {
                        "description": "OpenAPI 3.1",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    }
                },
            )
        },
        "/docs": {
            "get": _call(
                "this document",
                "get_docs",
                "The page to read and try it",
                {
                    200: {
                        "description": "A page",
                        "content": {"text/html": {"schema": {"type": "string"}}},
                    }
                },
            )
        },
    }


def _usage(usage_query: list[_Json]) -> _Json:
    return {
        "/v1/sessions/{id}/usage": {
            "parameters": [_SESSION_ID],
            "get": _call(
                "sessions",
                "get_session_usage",
                "Show what a session has used, up to now",
                {200: _json("SessionUsage", "In all, and by each of its bearers or PDRs")},
                (404, 503),
            ),
        },
        "/v1/usage": {
            "get": _call(
                "sessions",
                "list_usage",
                "List what sessions have used, as the last look at all of them has found it",
                {200: _json("UsageList", "Those with the most, or a page of all")},
                (404, 503),
            )
            | {"parameters": usage_query}
        },
    }


def _history(history_query: list[_Json]) -> _Json:
    return {
        "/v1/history": {
            "get": _call(
                "gateways",
                "get_history",
                "Show the last ten minutes, a point each five seconds",
                {200: _json("HistoryList", "Of one gateway or of all; no switch is asked")},
                (404,),
            )
            | {"parameters": history_query}
        },
    }


_GONE: dict[int, _Json] = {
    204: {"description": "The switch has confirmed it"},
    202: {"description": "The switch is away; its flows go when it is back"},
}


def _bearers(session_id: _Json) -> _Json:
    """The flow API: a session's traffic named by filters, and the tunnel that it takes."""
    name = {**session_id, "name": "bearer", "example": "voice"}
    one, made = _json("BearerOutput", "The bearer"), _json("BearerOutput", "Created")
    made["headers"] = {
        "Location": {
            "description": "The bearer's path",
            "schema": {"type": "string", "format": "uri-reference"},
        }
    }
    body = {"requestBody": _body({"application/json": _ref("BearerInput")})}
    write = (404, *_WRITE)
    patch = _body(
        _merge_patch("BearerPatch"),
        {
            "another tunnel": {"value": {"downlink": {"teid": 8195, "remote_ip": "10.1.0.3"}}},
            "idle": {"value": {"downlink": None}},
            "a rate": {"value": {"mbr": {"uplink_kbps": 128, "downlink_kbps": 256}}},
            "a quota": {"value": {"usage": {"quota_bytes": 500_000_000}}},
        },
    )
    return {
        "/v1/sessions/{id}/bearers": {
            "parameters": [session_id],
            "get": _call(
                "bearers",
                "list_bearers",
                "List bearers",
                {200: _json("BearerList", "All of the session's, in the order of precedence")},
                (404,),
            ),
            "post": _call("bearers", "create_bearer", "Create a bearer", {201: made}, write) | body,
        },
        "/v1/sessions/{id}/bearers/{bearer}": {
            "parameters": [session_id, name],
            "get": _call("bearers", "get_bearer", "Show a bearer", {200: one}, (404,)),
            "put": _call(
                "bearers", "put_bearer", "Create or replace a bearer", {200: one, 201: made}, write
            )
            | body,
            "patch": _call(
                "bearers",
                "patch_bearer",
                "Change a bearer by a JSON merge patch",
                {200: one},
                write,
            )
            | {"requestBody": patch},
            "delete": _call("bearers", "delete_bearer", "Delete a bearer", _GONE, (404, 502, 503)),
        },
    }


def _merge_patch(name: str) -> dict[str, _Json]:
    """`application/json` is taken, too; generators of clients stumble over the same twice."""
    return {"application/merge-patch+json": _ref(name)}


def _call(
    tag: str, name: str, summary: str, answers: dict[int, _Json], problems: tuple[int, ...] = ()
) -> _Json:
    responses = {str(code): answer for code, answer in answers.items()}
    for code in sorted({*_ALWAYS, *problems} - set(answers)):
        responses[str(code)] = {"$ref": f"#/components/responses/{code}"}
    return {
        "tags": [tag],
        "summary": summary,
        "operationId": name,
        "responses": responses,
    }


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str, description: str) -> _Json:
    return {"description": description, "content": {"application/json": {"schema": _ref(name)}}}


def _body(types: dict[str, _Json], examples: _Json | None = None) -> _Json:
    extra = {"examples": examples} if examples else {}
    return {
        "required": True,
        "content": {media: {"schema": shape, **extra} for media, shape in types.items()},
    }


def _problem(code: int) -> _Json:
    answer: _Json = {
        "description": _PROBLEMS[code],
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }
    if code == 429:
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    if code == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return answer


def _parameters(query: _Json) -> list[_Json]:
    """A query model's fields as parameters; that they may be null only says they are optional."""
    found = []
    for name, prop in query["properties"].items():
        shape = dict(prop)
        description = shape.pop("description", None)
        shape.pop("title", None)
        if "anyOf" in shape:
            kept = [option for option in shape["anyOf"] if option != {"type": "null"}]
            shape = kept[0] if len(kept) == 1 else {"anyOf": kept}
        parameter = {"name": name, "in": "query", "schema": shape}
        if description:
            parameter["description"] = description
        found.append(parameter)
    return found


def _patch(schemas: _Json, name: str, what: str) -> _Json:
    """The input's fields, none required, and null where it takes a value away (RFC 7396)."""
    patch: _Json = deepcopy(schemas[f"{name}Input"])
    patch.pop("required", None)
    patch.pop("examples", None)
    patch["title"] = f"{name}Patch"
    patch["description"] = f"What to change in {what}; null takes a value away"
    downlink = deepcopy(schemas["DownlinkInput"])
    downlink.pop("required", None)
    for prop in patch["properties"].values():
        prop.pop("default", None)
    patch["properties"]["downlink"]["anyOf"] = [downlink, {"type": "null"}]
    return patch
