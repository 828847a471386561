"""Problem documents (RFC 9457): what each error is answered with."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus

from ofgtp.core.errors import (
    ConfigError,
    Conflict,
    GatewayNotReady,
    InvalidSession,
    NotReloaded,
    OfgtpError,
    StoreError,
    SwitchRefused,
    UnknownBearer,
    UnknownGateway,
    UnknownSession,
)
from ofgtp.northbound import schema
from ofgtp.northbound.http.response import REASONS, Response
from ofgtp.northbound.service import BatchError

log = logging.getLogger(__name__)


class ProblemError(Exception):
    """A request that is answered with a problem document."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        errors: Sequence[Mapping[str, object]] = (),
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        self.status, self.detail, self.headers = status, detail, dict(headers or {})
        self.errors, self.members = list(errors), members
        super().__init__(detail)


def document(problem: ProblemError) -> Response:
    """The response to a request that is refused."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": REASONS[problem.status.value],
        "status": problem.status.value,
        "detail": problem.detail,
        **problem.members,
    }
    if problem.errors:
        body["errors"] = problem.errors
    return Response(
        json.dumps(body, separators=(",", ":")) + "\n",
        problem.status,
        "application/problem+json",
        problem.headers,
    )


def unprocessable(errors: Sequence[Mapping[str, object]]) -> ProblemError:
    """422, with what is wrong with each field."""
    first = errors[0]
    where = f"line {first['line']}: " if "line" in first else ""
    field = f"{first['loc']} " if first["loc"] else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    detail = f"{where}{field}{first['msg']}{more}"
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors)


def nothing_here() -> ProblemError:
    """404."""
    return ProblemError(HTTPStatus.NOT_FOUND, "there is nothing at this path")


def wrong_method(method: str, methods: Collection[str]) -> ProblemError:
    """405, with the methods that are possible."""
    allow = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
    detail = f"{method} is not possible here"
    return ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": allow})


def not_json(why: str) -> ProblemError:
    """400."""
    return ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {why}")


def too_large(detail: str) -> ProblemError:
    """413."""
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def busy(detail: str) -> ProblemError:
    """429: to be tried again."""
    return ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, headers={"Retry-After": "1"})


def translate(error: OfgtpError) -> ProblemError:
    """What the service raised, as HTTP says it."""
    match error:
        case Conflict():
            errors = [{"loc": error.loc, "msg": error.msg}]
            return ProblemError(HTTPStatus.CONFLICT, error.msg, errors, session=error.session_id)
        case ConfigError():
            line = {"line": error.line} if error.line else {}
            wrong = [{"loc": error.key, "msg": error.reason, **line}]
            return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), wrong)
        case NotReloaded():
            why = [{"loc": key, "msg": reason} for key, reason in error.reasons]
            return ProblemError(HTTPStatus.CONFLICT, str(error), why)
        case InvalidSession():
            return unprocessable([{"loc": error.loc, "msg": error.msg}])
        case UnknownGateway():
            return unprocessable([{"loc": "gateway", "msg": str(error)}])
        case BatchError():
            lines = error.errors[: schema.MAX_ERRORS]
            return unprocessable([{"line": n, "loc": loc, "msg": msg} for n, loc, msg in lines])
        case UnknownSession() | UnknownBearer():
            return ProblemError(HTTPStatus.NOT_FOUND, str(error))
        case SwitchRefused():
            return ProblemError(HTTPStatus.BAD_GATEWAY, str(error), reason=error.reason)
        case StoreError() | GatewayNotReady():
            log.error("rest: %s", error)
            return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    log.error("rest: unexpected %s: %s", type(error).__name__, error)
    detail = "an error of ofgtp's own; its log says more"
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
