"""The paths of the API, and what each of them takes and answers."""

from __future__ import annotations

from ofgtp.northbound.openapi.parts import WRITE, Json, call, json, ref, request_body

_EVENT = """\
id: 5f0c21ab-17
event: repaired
data: {"at":"2026-01-02T03:04:05.678901Z","kind":"repaired","gateway":"gw1","flows":52}

"""

_SESSION_ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:@-]{1,128}$"},
    "example": "imsi-001010000000001-5",
}


def paths(
    list_query: list[Json],
    flows_query: list[Json],
    peers_query: list[Json],
    usage_query: list[Json],
    history_query: list[Json],
) -> Json:
    """All of them; the parameters of those that take any."""
    found = _sessions_and_more(list_query, flows_query, peers_query)
    return found | _usage(usage_query) | _history(history_query)


def _sessions_and_more(
    list_query: list[Json], flows_query: list[Json], peers_query: list[Json]
) -> Json:
    session_id = _SESSION_ID
    session = json("SessionOutput", "The session")
    created = json("SessionOutput", "Created")
    created["headers"] = {
        "Location": {
            "description": "The session's path",
            "schema": {"type": "string", "format": "uri-reference"},
        }
    }
    body = request_body({"application/json": ref("SessionInput")})
    patch_examples = {
        "handover": {"value": {"downlink": {"teid": "0x2002", "remote_ip": "10.1.0.3"}}},
        "idle": {"value": {"downlink": None}},
        "a quota": {"value": {"usage": {"quota_bytes": 1_000_000_000}}},
        "idle, packets held": {"value": {"downlink": None, "buffer": 32}},
    }
    patch = request_body(
        _merge_patch("SessionPatch"),
        patch_examples,
    )
    lines = (
        '{"op": "put", "session": {"id": "ue-1", "ue_ip": "10.45.0.2"}}\n'
        '{"op": "delete", "id": "ue-0"}\n'
    )
    # OpenAPI 3.1 has no word for "a sequence of these": the lines are described as text
    batch = request_body(
        {"application/x-ndjson": {"type": "string", "contentSchema": ref("BatchLine")}},
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
    last_event_id: Json = {
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
    health: Json = json("HealthOutput", "All is well")
    unwell = json("HealthOutput", "A gateway is not connected, or the store not writable")
    return {
        "/v1/sessions": {
            "get": call(
                "sessions", "list_sessions", "List sessions", {200: json("SessionList", "A page")}
            )
            | {"parameters": list_query},
            "post": call("sessions", "create_session", "Create a session", {201: created}, WRITE)
            | {"requestBody": body},
        },
        "/v1/sessions/{id}": {
            "parameters": [session_id],
            "get": call("sessions", "get_session", "Show a session", {200: session}, (404,)),
            "put": call(
                "sessions",
                "put_session",
                "Create or replace a session",
                {200: session, 201: created},
                WRITE,
            )
            | {"requestBody": body},
            "patch": call(
                "sessions",
                "patch_session",
                "Change a session by a JSON merge patch: handover, going idle",
                {200: session},
                (404, *WRITE),
            )
            | {"requestBody": patch},
            "delete": call(
                "sessions",
                "delete_session",
                "Delete a session",
                _GONE,
                (404, 502, 503),
            ),
        },
        "/v1/sessions:batch": {
            "post": call(
                "sessions",
                "batch_sessions",
                "Put and delete many sessions, all or nothing",
                {200: json("BatchOutput", "All of it is done")},
                (413, 415, 502, 503),
            )
            | {"requestBody": batch}
        },
        **_bearers(session_id),
        "/v1/sessions/{id}/flows": {
            "parameters": [session_id],
            "get": call(
                "flows",
                "list_session_flows",
                "Show a session's flows",
                {200: json("FlowList", "Its flows")},
                (404,),
            ),
        },
        "/v1/sessions/{id}/rules": {
            "parameters": [session_id],
            "get": call(
                "flows",
                "get_session_rules",
                "Show a session as its control plane made it",
                {200: json("RulesOutput", "Its rules by kind; none of a session made by this API")},
                (404,),
            ),
        },
        "/v1/sessions/{id}/seen": {
            "parameters": [session_id],
            "get": call(
                "sessions",
                "list_session_seen",
                "Show what was lately seen to go wrong with a session's packets, or at its peers",
                {200: json("SeenList", "The latest first; what was not seen again is forgotten")},
                (404,),
            ),
        },
        "/v1/flows": {
            "get": call(
                "flows", "export_flows", "Write out all flows, for ovs-ofctl add-flows", {200: text}
            )
            | {"parameters": flows_query}
        },
        "/v1/gateways": {
            "get": call(
                "gateways",
                "list_gateways",
                "Show gateways",
                {200: json("GatewayList", "All of them")},
            )
        },
        "/v1/reload": {
            "post": call(
                "gateways",
                "reload_configuration",
                "Take what has changed in ofgtp.toml, or nothing: 409 names what needs a restart",
                {200: json("ReloadOutput", "What was taken")},
                (409, 413, 415, 502, 503),
            )
            | {
                "requestBody": request_body(
                    {"application/json": {"type": "object", "maxProperties": 0}}
                )
            }
        },
        "/v1/peers": {
            "get": call(
                "peers",
                "list_peers",
                "Show peers, and whether their GTP-U paths work",
                {200: json("PeerList", "Those that match")},
                (503,),
            )
            | {"parameters": peers_query}
        },
        "/v1/pfcp": {
            "get": call(
                "peers",
                "list_control_planes",
                "Show control planes: PFCP associations, and what they were answered",
                {200: json("PfcpList", "All gateways that speak PFCP")},
                (503,),
            )
        },
        "/v1/health": {
            "get": call("gateways", "get_health", "Is all well?", {200: health, 503: unwell})
            | {"security": []}
        },
        "/v1/events": {
            "get": call("observability", "stream_events", "Watch events", {200: events})
            | {"parameters": [last_event_id]}
        },
        "/metrics": {
            "get": call(
                "observability",
                "get_metrics",
                "Show metrics, for Prometheus",
                {200: metrics},
                (503,),
            )
        },
        "/openapi.json": {
            "get": call(
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
            "get": call(
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


def _usage(usage_query: list[Json]) -> Json:
    return {
        "/v1/sessions/{id}/usage": {
            "parameters": [_SESSION_ID],
            "get": call(
                "sessions",
                "get_session_usage",
                "Show what a session has used, up to now",
                {200: json("SessionUsage", "In all, and by each of its bearers or PDRs")},
                (404, 503),
            ),
        },
        "/v1/usage": {
            "get": call(
                "sessions",
                "list_usage",
                "List what sessions have used, as the last look at all of them has found it",
                {200: json("UsageList", "Those with the most, or a page of all")},
                (404, 503),
            )
            | {"parameters": usage_query}
        },
    }


def _history(history_query: list[Json]) -> Json:
    return {
        "/v1/history": {
            "get": call(
                "gateways",
                "get_history",
                "Show the last ten minutes, a point each five seconds",
                {200: json("HistoryList", "Of one gateway or of all; no switch is asked")},
                (404,),
            )
            | {"parameters": history_query}
        },
    }


_GONE: dict[int, Json] = {
    204: {"description": "The switch has confirmed it"},
    202: {"description": "The switch is away; its flows go when it is back"},
}


def _bearers(session_id: Json) -> Json:
    """The flow API: a session's traffic named by filters, and the tunnel that it takes."""
    name = {**session_id, "name": "bearer", "example": "voice"}
    one, made = json("BearerOutput", "The bearer"), json("BearerOutput", "Created")
    made["headers"] = {
        "Location": {
            "description": "The bearer's path",
            "schema": {"type": "string", "format": "uri-reference"},
        }
    }
    body = {"requestBody": request_body({"application/json": ref("BearerInput")})}
    write = (404, *WRITE)
    patch = request_body(
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
            "get": call(
                "bearers",
                "list_bearers",
                "List bearers",
                {200: json("BearerList", "All of the session's, in the order of precedence")},
                (404,),
            ),
            "post": call("bearers", "create_bearer", "Create a bearer", {201: made}, write) | body,
        },
        "/v1/sessions/{id}/bearers/{bearer}": {
            "parameters": [session_id, name],
            "get": call("bearers", "get_bearer", "Show a bearer", {200: one}, (404,)),
            "put": call(
                "bearers", "put_bearer", "Create or replace a bearer", {200: one, 201: made}, write
            )
            | body,
            "patch": call(
                "bearers",
                "patch_bearer",
                "Change a bearer by a JSON merge patch",
                {200: one},
                write,
            )
            | {"requestBody": patch},
            "delete": call("bearers", "delete_bearer", "Delete a bearer", _GONE, (404, 502, 503)),
        },
    }


def _merge_patch(name: str) -> dict[str, Json]:
    """`application/json` is taken, too; generators of clients stumble over the same twice."""
    return {"application/merge-patch+json": ref(name)}
