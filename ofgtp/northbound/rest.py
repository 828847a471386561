"""The REST API: which request is answered how, in front of a `Service`.

Each request passes the Host check (DNS rebinding), the token and the routing; then its body is
read, and only then it takes one of the places for requests under way. One method of `RestApp`
answers it. Errors of any kind leave as problem documents (RFC 9457), no traceback leaves at all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from functools import partial
from http import HTTPStatus
from itertools import chain, islice
from typing import Any

from ofgtp.core.errors import InvalidSession, OfgtpError
from ofgtp.core.model import SESSION_ID
from ofgtp.northbound import (
    bearer_calls,
    bodies,
    docs,
    history,
    lines,
    openapi,
    pages,
    peer_order,
    problem,
    replies,
    schema,
    shown,
    stream,
    usage,
)
from ofgtp.northbound.access import Access
from ofgtp.northbound.http.limits import Share
from ofgtp.northbound.http.request import Request
from ofgtp.northbound.http.response import Response
from ofgtp.northbound.metrics import Exposition
from ofgtp.northbound.problem import ProblemError
from ofgtp.northbound.routes import Route, Routes
from ofgtp.northbound.service import Reload, Service, SessionFilter, SessionRequest

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
MAX_BODIES = 64
"""So many bodies may be on their way."""
MAX_BATCHES = 3
"""So many batches may be on their way."""
KEEP_ALIVE = 15.0
"""Seconds without an event before a stream of events shows that it lives."""
JSON_TYPES = frozenset({"application/json"})
PATCH_TYPES = frozenset({"application/json", "application/merge-patch+json"})
NDJSON_TYPES = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/octet-stream",
    }
)
"""The last is what generated clients send, to which the others say nothing."""


class RestApp:
    """Answers requests.

    Args:
        service: what does the work.
        host: the address listened on, without a port.
        token: if given, "Authorization: Bearer <token>" is asked for on all but /v1/health.
        hosts: names accepted in the Host header beside `host` and the loopback names.
        reload: what reads the configuration again; None: nothing does.
    """

    def __init__(
        self,
        service: Service,
        *,
        host: str = "127.0.0.1",
        token: str | None = None,
        hosts: Collection[str] = (),
        reload: Reload | None = None,
        body_limit: int = BODY_LIMIT,
        batch_limit: int = BATCH_LIMIT,
        batch_lines: int = BATCH_LINES,
        max_requests: int = MAX_REQUESTS,
        max_streams: int = MAX_STREAMS,
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        self._service = service
        self._exposition = Exposition(service)
        self._host, self._reload = host, reload
        self.reloaded(hosts, token)
        self._batch_lines, self._max_requests = batch_lines, max_requests
        self._max_streams, self._keep_alive = max_streams, keep_alive
        self._under_way = self._streams = 0
        self._batch_runs = False
        body = body_limit, Share(MAX_BODIES)
        batch = batch_limit, Share(MAX_BATCHES)
        self.routes = Routes(
            {
                "/": {"GET": Route(self._root)},
                "/docs": {"GET": Route(self._docs)},
                "/docs/{name}": {"GET": Route(self._docs_asset)},
                "/openapi.json": {"GET": Route(self._openapi_json)},
                "/metrics": {"GET": Route(self._metrics)},
                "/v1/events": {"GET": Route(self._events)},
                "/v1/health": {"GET": Route(self._health)},
                "/v1/gateways": {"GET": Route(self._gateways)},
                "/v1/peers": {"GET": Route(self._peers)},
                "/v1/history": {"GET": Route(self._history)},
                "/v1/pfcp": {"GET": Route(self._pfcp)},
                "/v1/flows": {"GET": Route(self._flows)},
                "/v1/reload": {"POST": Route(self._reload_now, JSON_TYPES, *body)},
                "/v1/sessions": {
                    "GET": Route(self._list),
                    "POST": Route(self._create, JSON_TYPES, *body),
                },
                "/v1/sessions:batch": {"POST": Route(self._batch, NDJSON_TYPES, *batch)},
                "/v1/sessions/{id}": {
                    "GET": Route(self._get),
                    "PUT": Route(self._put, JSON_TYPES, *body),
                    "PATCH": Route(self._patch, PATCH_TYPES, *body),
                    "DELETE": Route(self._delete),
                },
                "/v1/sessions/{id}/flows": {"GET": Route(self._of)},
                "/v1/sessions/{id}/rules": {"GET": Route(self._rules)},
                "/v1/sessions/{id}/usage": {"GET": Route(self._usage_of)},
                "/v1/usage": {"GET": Route(self._usage)},
                "/v1/sessions/{id}/bearers": {
                    "GET": Route(self._bearers),
                    "POST": Route(self._add_bearer, JSON_TYPES, *body),
                },
                "/v1/sessions/{id}/bearers/{bearer}": {
                    "GET": Route(self._bearer),
                    "PUT": Route(self._put_bearer, JSON_TYPES, *body),
                    "PATCH": Route(self._patch_bearer, PATCH_TYPES, *body),
                    "DELETE": Route(self._delete_bearer),
                },
                "/v1/sessions/{id}/seen": {"GET": Route(self._seen)},
            }
        )

    def reloaded(self, hosts: Collection[str], token: str | None) -> None:
        """Accept these names in the Host header from now on, and this token."""
        self._access = Access(self._host, hosts, token)
        self._openapi = replies.dumped(openapi.document(self._access.needs_token))

    def __call__(self, request: Request) -> Response:
        """Answer one request, whatever happens."""
        started = time.monotonic()
        try:
            response = self._route(request)
        except ProblemError as error:
            response = problem.document(error)
        except OfgtpError as error:
            response = problem.document(problem.translate(error))
        except Exception:
            log.exception("rest: %s %s failed", request.method, request.path)
            detail = "an error of ofgtp's own; its log says more"
            response = problem.document(ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
        if request.method not in ("GET", "HEAD"):
            ms = (time.monotonic() - started) * 1000
            # The path is as it was sent, printable ASCII. Logged once the client has its response.
            facts = request.method, request.path[:200], response.status, ms
            response.close = partial(log.info, "rest: %s %s %d %.0f ms", *facts)
        return response

    def _route(self, request: Request) -> Response:
        self._check_host(request)
        path, method = request.path, request.method
        health = path == "/v1/health"
        if not health and not self._authorized(request):
            return self._unauthorized(request)
        found = self.routes.find(path)
        if found is None:
            raise problem.nothing_here()
        methods, arguments = found
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise problem.wrong_method(method, methods)
        if route.share is not None:
            request.body = bodies.read(request, route.types, route.limit, route.share)
        if self._under_way >= self._max_requests and not health:
            raise problem.busy(f"{self._max_requests} requests are under way")
        self._under_way += 1
        try:
            return route.handler(request, *arguments)
        finally:
            self._under_way -= 1

    def _authorized(self, request: Request) -> bool:
        """Whether it has the token. To have a new one taken, that will do, too."""
        given = request.header(b"authorization")
        if self._access.authorized(given):
            return True
        if request.path != "/v1/reload" or self._reload is None:
            return False
        new = self._reload.token_in_file()
        return new is not None and Access(self._host, (), new).authorized(given)

    def _check_host(self, request: Request) -> None:
        local = request.connection.local if self._access.any_address else None
        if not self._access.names_us(request.host, local):
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
        return Response(self._openapi, content_type=replies.JSON)

    def _health(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        well, body = self._service.health()
        return replies.as_json(body, HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)

    def _reload_now(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        bodies.empty(bodies.parse(request.body))
        if self._reload is None:
            raise problem.nothing_here()
        return replies.as_model(schema.ReloadOutput.of(self._reload()))

    def _gateways(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        return replies.as_json({"items": list(self._service.gateways())})

    def _peers(self, request: Request) -> Response:
        query = bodies.query(request, schema.PeersQuery)
        found = self._service.peers(query.gateway, query.state, query.worst)
        views = peer_order.arranged(found, query.sort, query.order)
        shown = islice(views, query.offset, query.limit and query.offset + query.limit)
        items = (schema.PeerOutput.of(each).model_dump_json() for each in shown)
        return replies.page(items, None, total=len(found))

    def _history(self, request: Request) -> Response:
        query = bodies.query(request, history.HistoryQuery)
        return replies.as_json(history.page(self._service.history(query.gateway, query.seconds)))

    def _rules(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        return replies.as_json(self._service.session_rules(session_id))

    def _usage_of(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        return replies.as_model(usage.one(self._service.session_usage(session_id)))

    def _usage(self, request: Request) -> Response:
        query = bodies.query(request, usage.UsageQuery)
        if query.sort is not None and query.cursor is not None:
            raise InvalidSession("cursor", "is of pages, which there are none of with sort")
        return replies.as_model(usage.page(self._service.usage(query.filter())))

    def _pfcp(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        views = self._service.pfcp()
        return replies.page(
            (schema.PfcpNodeOutput.of(each).model_dump_json() for each in views), None
        )

    def _flows(self, request: Request) -> Response:
        query = bodies.query(request, schema.FlowsQuery)
        lines = self._service.flows_text(query.gateway)
        first = next(lines, None)  # what fails at once still gets its own status
        rest = iter(()) if first is None else chain([first], lines)
        response = Response(content_type="text/plain; charset=utf-8", stream=replies.text(rest))
        self._under_way += 1  # until all of it is written
        response.close = self._flows_written
        return response

    def _flows_written(self) -> None:
        self._under_way -= 1

    def _metrics(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        return Response(self._exposition.text(), content_type=self._exposition.content_type)

    def _events(self, request: Request) -> Response:
        """What happens, from now on or from after `Last-Event-ID`, until the reader goes."""
        bodies.query(request, schema.NoQuery)
        if self._streams >= self._max_streams:
            raise problem.busy(f"{self._max_streams} streams of events are open")
        events = self._service.events
        last_id = request.header(b"last-event-id")
        after = events.position(last_id) if last_id else events.last
        shown = stream.stream(events, request.connection.gone, after, self._keep_alive)
        response = Response(content_type="text/event-stream; charset=utf-8", stream=shown)
        self._streams += 1
        response.close = self._stream_ended
        return response

    def _stream_ended(self) -> None:
        self._streams -= 1

    # ---- sessions

    def _list(self, request: Request) -> Response:
        query = bodies.query(request, schema.ListQuery)
        filter = SessionFilter(**{k: v for k, v in query if k != "total"})
        views, cursor = self._service.list(filter)
        more = {"total": self._service.count(filter)} if query.total else {}
        return replies.page(map(shown.session, views), cursor, **more)

    def _create(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        if (made := self._made(request, None)) is not None:
            return made
        view = self._service.create(bodies.session(bodies.parse(request.body)).request())
        return replies.created(shown.session(view), view.session.id)

    def _put(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        if (made := self._made(request, session_id)) is not None:
            return made
        _check_id(session_id)
        body = bodies.session(bodies.parse(request.body))
        _same_id(body.id, session_id)
        view, created = self._service.put(body.request(session_id))
        if not created:
            return replies.as_session(view)
        return replies.created(shown.session(view), view.session.id)

    def _patch(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        patch = bodies.parse(request.body)

        def change(present: dict[str, Any]) -> SessionRequest:
            if isinstance(patch, dict) and "qfi" in patch and patch["qfi"] is None:
                # What it said of the QFI that goes would be wrong without one.
                present = {k: v for k, v in present.items() if k not in schema.OF_QFI}
            body = bodies.session(bodies.merge_patch(present, patch))
            _same_id(body.id, session_id)
            return body.request(session_id)

        return replies.as_session(self._service.patch(session_id, change))

    def _get(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        return replies.as_session(self._service.get(session_id))

    def _delete(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        confirmed = self._service.delete(session_id)
        return Response(status=HTTPStatus.NO_CONTENT if confirmed else HTTPStatus.ACCEPTED)

    # ---- bearers

    def _bearers(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        found = bearer_calls.show(self._service, session_id)
        return replies.page((each.model_dump_json(exclude_unset=True) for each in found), None)

    def _bearer(self, request: Request, session_id: str, bearer: str) -> Response:
        bodies.query(request, schema.NoQuery)
        return replies.as_model(bearer_calls.show_one(self._service, session_id, bearer))

    def _add_bearer(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        body = bodies.parse(request.body)
        made, _ = bearer_calls.put(self._service, session_id, None, body)
        return replies.as_model(
            made, HTTPStatus.CREATED, replies.bearer_location(session_id, made.id)
        )

    def _put_bearer(self, request: Request, session_id: str, bearer: str) -> Response:
        bodies.query(request, schema.NoQuery)
        body = bodies.parse(request.body)
        made, new = bearer_calls.put(self._service, session_id, bearer, body)
        if not new:
            return replies.as_model(made)
        return replies.as_model(
            made, HTTPStatus.CREATED, replies.bearer_location(session_id, bearer)
        )

    def _patch_bearer(self, request: Request, session_id: str, bearer: str) -> Response:
        bodies.query(request, schema.NoQuery)
        patch = bodies.parse(request.body)
        return replies.as_model(bearer_calls.patch(self._service, session_id, bearer, patch))

    def _delete_bearer(self, request: Request, session_id: str, bearer: str) -> Response:
        bodies.query(request, schema.NoQuery)
        confirmed = bearer_calls.delete(self._service, session_id, bearer)
        return Response(status=HTTPStatus.NO_CONTENT if confirmed else HTTPStatus.ACCEPTED)

    def _made(self, request: Request, session_id: str | None) -> Response | None:
        """The response to a request whose session is plainly right and new: then it is made.
        None: nothing was done, and it is not told why."""
        put = lines.plain_session(request.body)
        if put is None:
            return None
        if session_id is not None and put.id != session_id:
            if put.id is not None:
                return None
            put = put._replace(id=session_id)
        if put.id is None:
            return None
        try:
            new = self._service.put_new(put)
        except OfgtpError:
            return None
        if new is None:
            return None
        return replies.created(shown.new_session(new), put.id)

    def _of(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        flows = self._service.session_flows(session_id)
        items = [
            {
                "flow": flow.flow,
                "direction": flow.direction,
                "packets": flow.packets,
                "bytes": flow.bytes,
                "bearer": flow.bearer,
            }
            for flow in flows
        ]
        return replies.as_json({"items": items})

    def _seen(self, request: Request, session_id: str) -> Response:
        bodies.query(request, schema.NoQuery)
        items = [schema.SeenOutput.of(view) for view in self._service.seen(session_id)]
        return Response(schema.SeenList(items=items).model_dump_json() + "\n", 200, replies.JSON)

    def _batch(self, request: Request) -> Response:
        bodies.query(request, schema.NoQuery)
        if self._batch_runs:
            raise problem.busy("another batch runs")
        self._batch_runs = True
        try:
            result = self._service.batch(lines.read(request.body, self._batch_lines))
        except lines.TooManyLines:
            raise problem.too_large(f"a batch has at most {self._batch_lines} lines") from None
        finally:
            self._batch_runs = False
        return replies.as_json(
            {"created": result.created, "replaced": result.replaced, "deleted": result.deleted}
        )


def _check_id(session_id: str) -> None:
    if not SESSION_ID.fullmatch(session_id):
        raise problem.unprocessable([{"loc": "id", "msg": "1 to 128 of A-Z a-z 0-9 . _ : @ -"}])


def _same_id(given: str | None, session_id: str) -> None:
    if given is not None and given != session_id:
        raise problem.unprocessable([{"loc": "id", "msg": f"is not the path's ({session_id})"}])
