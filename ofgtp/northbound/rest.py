"""The REST API: a WSGI application in front of a `Service`.

Each request passes the Host check (DNS rebinding), the token, the limit of requests under way and
the routing, in this order; then one method of `RestApp` answers it. Errors of any kind leave as
problem documents (RFC 9457), and no traceback leaves at all.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import chain, islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import eventlet
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, MapAdapter, RequestRedirect, Rule
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import ClosingIterator

from ofgtp.core.errors import (
    OfgtpError,
)
from ofgtp.core.model import SESSION_ID
from ofgtp.northbound import bodies, docs, lines, openapi, pages, plain, problem, schema, stream
from ofgtp.northbound.access import Access
from ofgtp.northbound.metrics import Exposition
from ofgtp.northbound.problem import ProblemError
from ofgtp.northbound.service import Service, SessionFilter, SessionRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

BODY_LIMIT = 64 << 10
"""Longest JSON body, in bytes."""
BATCH_LIMIT = 32 << 20
"""Longest batch, in bytes."""
BATCH_LINES = 100_000
"""Most lines of a batch that are not blank."""
MAX_REQUESTS = 64
"""So many requests may be under way; a batch counts as one, and runs alone among batches."""
MAX_STREAMS = 32
"""So many streams of events may be open; they do not count as requests under way."""
KEEP_ALIVE = 15.0
"""Seconds without an event before a stream of events shows that it lives."""
JSON_TYPES = frozenset({"application/json"})
PATCH_TYPES = frozenset({"application/json", "application/merge-patch+json"})
NDJSON_TYPES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

_LINES_AT_ONCE = 500


class RestApp:
    """The WSGI application.

    Args:
        service: what does the work.
        host: the address listened on, without a port.
        token: if given, "Authorization: Bearer <token>" is asked for on all but /v1/health.
        hosts: names accepted in the Host header beside `host` and the loopback names.
    """

    def __init__(
        self,
        service: Service,
        *,
        host: str = "127.0.0.1",
        token: str | None = None,
        hosts: Collection[str] = (),
        body_limit: int = BODY_LIMIT,
        batch_limit: int = BATCH_LIMIT,
        batch_lines: int = BATCH_LINES,
        max_requests: int = MAX_REQUESTS,
        max_streams: int = MAX_STREAMS,
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        self._service = service
        self._exposition = Exposition(service)
        self._access = Access(host, hosts, token)
        self._body_limit, self._batch_limit = body_limit, batch_limit
        self._batch_lines, self._max_requests = batch_lines, max_requests
        self._max_streams, self._keep_alive = max_streams, keep_alive
        self._under_way = 0
        self._streams: set[object] = set()
        self._batch_runs = False
        self._openapi = _dump(openapi.document(self._access.needs_token))
        self._routes = Map(
            [
                Rule("/", methods=["GET"], endpoint=self._root),
                Rule("/docs", methods=["GET"], endpoint=self._docs),
                Rule("/docs/<name>", methods=["GET"], endpoint=self._docs_asset),
                Rule("/openapi.json", methods=["GET"], endpoint=self._openapi_json),
                Rule("/metrics", methods=["GET"], endpoint=self._metrics),
                Rule("/v1/events", methods=["GET"], endpoint=self._events),
                Rule("/v1/health", methods=["GET"], endpoint=self._health),
                Rule("/v1/gateways", methods=["GET"], endpoint=self._gateways),
                Rule("/v1/peers", methods=["GET"], endpoint=self._peers),
                Rule("/v1/flows", methods=["GET"], endpoint=self._flows),
                Rule("/v1/sessions", methods=["GET"], endpoint=self._list),
                Rule("/v1/sessions", methods=["POST"], endpoint=self._create),
                Rule("/v1/sessions:batch", methods=["POST"], endpoint=self._batch),
                Rule("/v1/sessions/<session_id>", methods=["GET"], endpoint=self._get),
                Rule("/v1/sessions/<session_id>", methods=["PUT"], endpoint=self._put),
                Rule("/v1/sessions/<session_id>", methods=["PATCH"], endpoint=self._patch),
                Rule("/v1/sessions/<session_id>", methods=["DELETE"], endpoint=self._delete),
                Rule("/v1/sessions/<session_id>/flows", methods=["GET"], endpoint=self._of),
                Rule("/v1/sessions/<session_id>/seen", methods=["GET"], endpoint=self._seen),
            ],
            merge_slashes=False,
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        started = time.monotonic()
        request = Request(environ)
        self._under_way += 1
        try:
            response = self._answer(request)
        except BaseException:
            self._under_way -= 1
            raise
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        if request.method not in ("GET", "HEAD"):
            ms = (time.monotonic() - started) * 1000
            path, status = quote(request.path, safe="/:@"), response.status_code
            log.info("rest: %s %s %d %.0f ms", request.method[:16], path[:200], status, ms)
        body = response(environ, start_response)
        return ClosingIterator(body, [response.close, self._done])

    def _done(self) -> None:
        self._under_way -= 1

    def _answer(self, request: Request) -> Response:
        """The response, whatever happens."""
        try:
            return self._route(request)
        except ProblemError as error:
            return problem.document(error)
        except OfgtpError as error:
            return problem.document(problem.translate(error))
        except MethodNotAllowed as error:
            allow = {"Allow": ", ".join(sorted(error.valid_methods or ()))}
            return problem.document(
                ProblemError(
                    HTTPStatus.METHOD_NOT_ALLOWED,
                    f"{request.method} is not possible here",
                    headers=allow,
                )
            )
        except HTTPException as error:
            if isinstance(error, (NotFound, RequestRedirect)):
                return problem.document(problem.nothing_here())
            status = HTTPStatus(error.code or 500)
            return problem.document(ProblemError(status, status.phrase))
        except Exception:
            log.exception("rest: %s %r failed", request.method, request.path)
            detail = "an error of ofgtp's own; its log says more"
            return problem.document(ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail))

    def _route(self, request: Request) -> Response:
        self._check_host(request)
        open_path = request.path == "/v1/health"
        if not open_path and not self._access.authorized(request.headers.get("Authorization", "")):
            return self._unauthorized(request)
        if not open_path and self._under_way - len(self._streams) > self._max_requests:
            raise problem.busy(f"{self._max_requests} requests are under way")
        routes: MapAdapter = self._routes.bind_to_environ(request.environ)
        endpoint, arguments = routes.match()
        response: Response = endpoint(request, **arguments)
        return response

    def quick(self, ahead: bytes, send: Callable[[bytes], None]) -> int:
        """Answer the one request that the API gets most: a PUT that makes a session.

        `ahead` is what has come on a connection. If it begins with a whole such request, plainly
        right, it is done and answered: its size in octets. 0: nothing has been done, and the
        request is one for `__call__`, which knows all that can be wrong.

        Raises:
            OSError: as `send` does; the session is made.
        """
        found = plain.put(ahead)
        if found is None or not self._access.names_us(found.host, None):
            return 0
        if not self._access.authorized(found.authorization):
            return 0
        if self._under_way - len(self._streams) >= self._max_requests:
            return 0
        started = time.monotonic()
        self._under_way += 1
        try:
            made = self._service.put_new(found.put)
        except OfgtpError:
            return 0
        finally:
            self._under_way -= 1
        if made is None:
            return 0
        path = f"/v1/sessions/{found.put.id}"
        try:
            send(plain.created(path, schema.new_session(made)))
        finally:
            ms = (time.monotonic() - started) * 1000
            log.info("rest: PUT %s 201 %.0f ms", path, ms)
        return found.size

    def _check_host(self, request: Request) -> None:
        header = request.headers.get("Host", "")
        if not header:
            raise ProblemError(HTTPStatus.BAD_REQUEST, "the Host header is missing")
        local = request.environ.get("SERVER_NAME") if self._access.any_address else None
        if not self._access.names_us(header, local):
            raise ProblemError(
                HTTPStatus.MISDIRECTED_REQUEST,
                "the Host header names neither the listen address, nor a loopback name, nor a name"
                " in [rest] hosts",
            )

    def _unauthorized(self, request: Request) -> Response:
        """401; to a browser that opens a page, as that page, which then asks for the token."""
        headers = {"WWW-Authenticate": 'Bearer realm="ofgtp"'}
        page = {"/": pages.overview, "/docs": docs.page}.get(request.path)
        if page is not None and request.method in ("GET", "HEAD"):
            return page(HTTPStatus.UNAUTHORIZED, headers)
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            'this needs the header "Authorization: Bearer <token>"',
            headers=headers,
        )

    # ---- what is not sessions

    def _root(self, request: Request) -> Response:
        return pages.overview()

    def _docs(self, request: Request) -> Response:
        return docs.page()

    def _docs_asset(self, request: Request, name: str) -> Response:
        response = docs.asset(name)
        if response is None:
            raise problem.nothing_here()
        return response

    def _openapi_json(self, request: Request) -> Response:
        return Response(self._openapi, mimetype="application/json")

    def _health(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        well, body = self._service.health()
        return _json(body, HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)

    def _gateways(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        return _json({"items": list(self._service.gateways())})

    def _peers(self, request: Request) -> Response:
        query = bodies.query(request, schema.PeersQuery)
        views = self._service.peers(query.gateway, query.state, query.worst)
        items = [schema.PeerOutput.of(view) for view in views]
        return _model(schema.PeerList.model_construct(items=items, next=None))

    def _flows(self, request: Request) -> Response:
        query = bodies.query(request, schema.FlowsQuery)
        lines = self._service.flows_text(query.gateway)
        first = next(lines, None)  # what fails at once still gets its own status
        rest = iter(()) if first is None else chain([first], lines)
        return Response(_text(rest), mimetype="text/plain")

    def _metrics(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        return Response(self._exposition.text(), content_type=self._exposition.content_type)

    def _events(self, request: Request) -> Response:
        """What happens, from now on or from after `Last-Event-ID`, until the reader goes."""
        bodies.query(request, schema.NoQuery)
        if len(self._streams) >= self._max_streams:
            raise problem.busy(f"{self._max_streams} streams of events are open")
        events = self._service.events
        last_id = request.headers.get("Last-Event-ID")
        after = events.last if last_id is None else events.position(last_id)
        shown = stream.stream(events, request, after, self._keep_alive)
        request.environ["eventlet.minimum_write_chunk_size"] = 0  # each event at once
        response = Response(shown, mimetype="text/event-stream")
        reader = object()
        self._streams.add(reader)
        response.call_on_close(lambda: self._streams.discard(reader))  # may come twice
        return response

    # ---- sessions

    def _list(self, request: Request) -> Response:
        query = bodies.query(request, schema.ListQuery)
        views, cursor = self._service.list(SessionFilter(**dict(query)))
        items = [schema.SessionOutput.of(view) for view in views]
        return _model(schema.SessionList.model_construct(items=items, next=cursor))

    def _create(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        body = self._session(request)
        view = self._service.create(body.request())
        return _model(schema.SessionOutput.of(view), HTTPStatus.CREATED, _location(view.session.id))

    def _put(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        _check_id(session_id)
        body = self._session(request)
        _same_id(body.id, session_id)
        view, created = self._service.put(body.request(session_id))
        if not created:
            return _model(schema.SessionOutput.of(view))
        return _model(schema.SessionOutput.of(view), HTTPStatus.CREATED, _location(view.session.id))

    def _patch(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        patch = bodies.parse(bodies.read(request, PATCH_TYPES, self._body_limit))

        def change(present: dict[str, Any]) -> SessionRequest:
            if isinstance(patch, dict) and "qfi" in patch and patch["qfi"] is None:
                # What it said of the QFI that goes would be wrong without one.
                present = {k: v for k, v in present.items() if k not in schema.OF_QFI}
            body = bodies.session(_dump(bodies.merge_patch(present, patch)))
            _same_id(body.id, session_id)
            return body.request(session_id)

        return _model(schema.SessionOutput.of(self._service.patch(session_id, change)))

    def _get(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        return _model(schema.SessionOutput.of(self._service.get(session_id)))

    def _delete(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        confirmed = self._service.delete(session_id)
        return Response(status=HTTPStatus.NO_CONTENT if confirmed else HTTPStatus.ACCEPTED)

    def _session(self, request: Request) -> schema.SessionInput:
        return bodies.session(bodies.read(request, JSON_TYPES, self._body_limit))

    def _of(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        flows = self._service.session_flows(session_id)
        items = [
            {
                "flow": flow.flow,
                "direction": flow.direction,
                "packets": flow.packets,
                "bytes": flow.bytes,
            }
            for flow in flows
        ]
        return _json({"items": items})

    def _seen(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        items = [schema.SeenOutput.of(view) for view in self._service.seen(session_id)]
        return _model(schema.SeenList.model_construct(items=items))

    def _batch(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        if self._batch_runs:
            raise problem.busy("another batch runs")
        self._batch_runs = True
        try:
            raw = bodies.read(request, NDJSON_TYPES, self._batch_limit)
            result = self._service.batch(lines.read(raw, self._batch_lines))
        except lines.LinesError as error:
            raise problem.unprocessable(error.errors[: schema.MAX_ERRORS]) from None
        except lines.TooManyLines:
            raise problem.too_large(f"a batch has at most {self._batch_lines} lines") from None
        finally:
            self._batch_runs = False
        return _json(
            {"created": result.created, "replaced": result.replaced, "deleted": result.deleted}
        )


def _check_id(session_id: str) -> None:
    if not SESSION_ID.fullmatch(session_id):
        raise problem.unprocessable([{"loc": "id", "msg": "1 to 128 of A-Z a-z 0-9 . _ : @ -"}])


def _same_id(given: str | None, session_id: str) -> None:
    if given is not None and given != session_id:
        raise problem.unprocessable([{"loc": "id", "msg": f"is not the path's ({session_id})"}])


def _text(lines: Iterator[str]) -> Iterator[bytes]:
    try:
        while some := list(islice(lines, _LINES_AT_ONCE)):
            yield "".join(f"{line.rstrip()}\n" for line in some).encode()
            eventlet.sleep(0)
    except Exception:
        log.exception("rest: the flows could not be written to their end")
        raise


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(_dump(value), status=status, mimetype="application/json")


def _model(
    value: BaseModel, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    body = value.model_dump_json() + "\n"
    return Response(body, status=status, mimetype="application/json", headers=headers)


def _location(session_id: str) -> dict[str, str]:
    return {"Location": f"/v1/sessions/{quote(session_id, safe=':@')}"}
