"""What OpenAPI's paths are made of."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

PROBLEMS = {
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
WRITE = (409, 413, 415, 502, 503)


def call(
    tag: str, name: str, summary: str, answers: dict[int, Json], problems: tuple[int, ...] = ()
) -> Json:
    responses = {str(code): answer for code, answer in answers.items()}
    for code in sorted({*_ALWAYS, *problems} - set(answers)):
        responses[str(code)] = {"$ref": f"#/components/responses/{code}"}
    return {
        "tags": [tag],
        "summary": summary,
        "operationId": name,
        "responses": responses,
    }


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def json(name: str, description: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": ref(name)}}}


def request_body(types: dict[str, Json], examples: Json | None = None) -> Json:
    extra = {"examples": examples} if examples else {}
    return {
        "required": True,
        "content": {media: {"schema": shape, **extra} for media, shape in types.items()},
    }


def problem(code: int) -> Json:
    answer: Json = {
        "description": PROBLEMS[code],
        "content": {"application/problem+json": {"schema": ref("Problem")}},
    }
    if code == 429:
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    if code == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return answer
