"""`/openapi.json`: the API as OpenAPI 3.1, its schemas generated from `schema`."""

from __future__ import annotations

from copy import deepcopy

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ofgtp import __version__
from ofgtp.northbound import bearers, history, schema, usage
from ofgtp.northbound.openapi.parts import PROBLEMS, Json, problem, ref
from ofgtp.northbound.openapi.paths import paths

_DESCRIPTION = """\
Sessions of a GTP-U gateway (SGW-U/PGW-U, UPF) made of Open vSwitch. A session is a UE address, an
uplink TEID and a downlink F-TEID; ofgtp turns it into two OpenFlow flows. It may have more:
bearers, which take some of its traffic by filters into tunnels of their own; rates; the core side
of a relay; networks behind the UE. Success is answered after the switch has confirmed the flows;
while it is away, the session is stored and `pending`.

A body has up to 65,536 bytes; a batch up to 33,554,432, in 100,000 lines of up to 65,536. Objects
and arrays are nested up to 16 deep, with up to 4,000 members and items in a body or line.
"""

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


def document(with_token: bool) -> Json:
    """The OpenAPI document; `with_token` tells whether this server asks for a token."""
    _, found = models_json_schema(
        [(model, "validation") for model in _INPUTS]
        + [(model, "serialization") for model in _OUTPUTS],
        ref_template="#/components/schemas/{model}",
    )
    schemas: Json = found["$defs"]
    list_query = _parameters(schemas.pop("ListQuery"))
    flows_query = _parameters(schemas.pop("FlowsQuery"))
    peers_query = _parameters(schemas.pop("PeersQuery"))
    usage_query = _parameters(schemas.pop("UsageQuery"))
    history_query = _parameters(schemas.pop("HistoryQuery"))
    schemas["SessionPatch"] = _patch(schemas, "Session", "a session")
    schemas["BearerPatch"] = _patch(schemas, "Bearer", "a bearer")
    schemas["BatchLine"] = {
        "oneOf": [ref("PutLine"), ref("DeleteLine")],
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
        "paths": paths(list_query, flows_query, peers_query, usage_query, history_query),
        "components": {
            "schemas": schemas,
            "responses": {str(code): problem(code) for code in PROBLEMS},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The content of `[rest] token_file`, if one is configured",
                }
            },
        },
    }


def _parameters(query: Json) -> list[Json]:
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


def _patch(schemas: Json, name: str, what: str) -> Json:
    """The input's fields, none required, and null where it takes a value away (RFC 7396)."""
    patch: Json = deepcopy(schemas[f"{name}Input"])
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
