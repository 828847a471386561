"""The REST API as the commands use it. What fails is a `CliError` with one line to read.

with Api() as api:
    for session in api.items("/v1/sessions", gateway="gw1"):
        ...
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ofgtp.cli.errors import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_UNREACHABLE, EXIT_USAGE, CliError
from ofgtp.cli.settings import settings
from ofgtp.cli.values import by_ue, read_ue
from ofgtp.core.errors import ConfigError, UnknownGateway

if TYPE_CHECKING:
    import httpx

    from ofgtp.config import Rest

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_S = 5.0
"""Longest wait for a connection, in seconds."""
ANSWER_S = 60.0
"""Longest silence while an answer is waited for, in seconds; the API itself waits 5 s at most for
the switch."""
BATCH_LINES = 100_000
"""Most lines of a batch, as the API has it."""
BATCH_S = 600.0
"""The same for a batch."""
EVENTS_S = 60.0
"""The same for a stream of events, in which a quiet API shows every 15 s that it lives."""
BEFORE_ALL = "0-0"
"""The id of an event that no controller has sent: all those that are kept come after it."""
TRIES = 10
"""So often a request that the API is too busy for is sent."""
MAYBE_DONE = "; it may have been done all the same"
PAGE = 1000
"""Items asked for at once."""

Body = dict[str, Any] | bytes | Iterable[bytes]


def tunnel_id(gateway: str, ue_ip: object) -> str:
    """The id of a session that was not given one: by it the same is found again. In that of an IPv6
    prefix an underscore stands for the slash."""
    return f"{gateway}-{ue_ip}".replace("/", "_")


def session_path(session_id: str) -> str:
    """The path of a session, by its id."""
    return f"/v1/sessions/{_segment(session_id)}"


def bearer_path(session: str, bearer_id: str) -> str:
    """The path of a bearer, by its session's and its own id."""
    return f"{session}/bearers/{_segment(bearer_id)}"


def _segment(name: str) -> str:
    quoted = quote(name, safe=":@")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")


class Api:
    """A connection to the API that the command line, the environment or ofgtp.toml names.

    Args:
        seconds: give up after so long, for all and everything; None: after what is usual.

    Raises:
        ConfigError: ofgtp.toml is needed and wrong.
        CliError: from every call, when it failed.
    """

    def __init__(self, *, seconds: float | None = None) -> None:
        import httpx

        self.url, self._token = _where()
        self._seconds = seconds
        self._last_event: str | None = None
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        secure = self.url.startswith("https:")
        try:
            self._client = httpx.Client(
                base_url=self.url,
                headers=headers,
                verify=secure,  # without TLS, reading the certificates would only take time
                trust_env=secure,  # no proxy between here and the gateway
            )
            if self._client.base_url.scheme not in ("http", "https"):
                raise ValueError("it begins with http:// or https://")
            if not self._client.base_url.host:
                raise ValueError("it names no host")
        except (httpx.InvalidURL, ValueError) as error:
            raise CliError(
                f"{self.url!r} is not a URL like {DEFAULT_URL}: {error}", EXIT_USAGE
            ) from error

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def get(self, path: str, **params: object) -> dict[str, Any]:
        """The answer to a GET; parameters that are None are left out."""
        return self._object(self._send("GET", path, params=_given(params)))

    def send(
        self, method: str, path: str, body: Body | None = None, *, seconds: float = ANSWER_S
    ) -> dict[str, Any] | None:
        """Send an object as JSON, or bytes as NDJSON; the answer, None if it has no body."""
        answer = self._send(method, path, body=body, seconds=seconds)
        return self._object(answer) if answer.content else None

    def items(self, path: str, **params: object) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page."""
        while True:
            page = self.get(path, **params)
            yield from page["items"]
            if page.get("next") is None:
                return
            params["cursor"] = page["next"]

    def sessions(self, most: int | None = None, /, **filters: object) -> Iterator[dict[str, Any]]:
        """All sessions that match, or so many of them.

        Raises:
            CliError: none does, and there is no gateway of the name that is asked for.
        """
        stop = sys.maxsize if most is None else min(most, sys.maxsize)
        found = islice(self.items("/v1/sessions", limit=min(stop, PAGE), **filters), stop)
        first = next(found, None)
        if first is not None:
            yield first
            yield from found
        elif gateway := filters.get("gateway"):
            self.need_gateway(str(gateway))

    def need_gateway(self, name: str) -> None:
        """See that there is such a gateway.

        Raises:
            CliError: there is none.
        """
        if name not in (each["name"] for each in self.items("/v1/gateways")):
            raise CliError(str(UnknownGateway(name)), EXIT_NOT_FOUND)

    def id_of(self, name: str) -> str:
        """A session's id, by the id itself, by the UE's address, or by its IPv6 prefix.

        Raises:
            CliError: several gateways have a UE with this address, or none has.
        """
        try:
            ue = read_ue(name)
        except ValueError:
            return name
        items = self.items("/v1/sessions", **by_ue(ue))
        found = [each["id"] for each in items if "/" not in ue or each.get("ue_ipv6") == ue]
        if len(found) > 1:
            raise CliError(f"several gateways have a UE {name}: name its session: {_or(found)}")
        return found[0] if found else self._has_id(name)

    def _has_id(self, name: str) -> str:
        """An address may be a session's id, too.

        Raises:
            CliError: it is none.
        """
        try:
            self.get(session_path(name))
        except Refused as error:
            if error.status not in (404, 422):
                raise
            what = "prefix" if "/" in name else "address"
            raise CliError(f"no session's UE has the {what} {name}", EXIT_NOT_FOUND) from error
        return name

    def path_of(self, name: str) -> str:
        """The path of a session, by its id or by the UE's address."""
        return session_path(self.id_of(name))

    def only_gateway(self) -> str:
        """The name of the gateway, where there is one.

        Raises:
            CliError: there are several.
        """
        names = [str(each["name"]) for each in self.items("/v1/gateways")]
        if len(names) != 1:
            raise CliError(f"there are several gateways: name one: {_or(names)}", EXIT_USAGE)
        return names[0]

    def add(self, session: dict[str, Any], what: str) -> dict[str, Any]:
        """Create a session whose id was made by `tunnel_id`; `what` people call it.

        Raises:
            CliError: there is one already, or it was refused.
        """
        try:
            return self.send("POST", "/v1/sessions", session) or {}
        except Refused as error:
            if error.status == 409 and error.problem.get("session") == session["id"]:
                raise CliError(f"there is {what} already, session {session['id']}") from error
            raise

    def delete(self, session_id: str) -> bool:
        """Delete a session; False: its flows go when the switch is back."""
        return self.delete_at(session_path(session_id))

    def delete_at(self, path: str) -> bool:
        """The same by its path, or that of one of its bearers."""
        return self._send("DELETE", path).status_code != 202

    def text(self, path: str, **params: object) -> str:
        """The answer to a GET that is text."""
        return self._send("GET", path, params=_given(params)).text

    def health(self) -> dict[str, Any]:
        """What /v1/health says, well (200) or not (503)."""
        return self._object(self._send("GET", "/v1/health", well=(200, 503)))

    def events(self, *, kept: bool = False) -> Iterator[dict[str, Any]]:
        """What happens from now on, or since this was last called; first what is `kept` if so.

        The first item is {"kind": "open"}, as soon as nothing can be missed any more.
        """
        with self._failing(""):
            request = self._request("GET", "/v1/events", seconds=EVENTS_S)
            last = self._last_event or (BEFORE_ALL if kept else None)
            if last is not None:
                request.headers["Last-Event-ID"] = last
            answer = self._client.send(request, stream=True)
            try:
                if answer.status_code != 200:
                    answer.read()
                    raise self._refusal(answer)
                yield {"kind": "open"}
                for line in answer.iter_lines():
                    field, _, value = line.partition(": ")
                    if field == "id":
                        self._last_event = value
                    elif field == "data":
                        yield _printable(json.loads(value))
            finally:
                answer.close()
        raise CliError(f"{self.url} has ended the stream of events", EXIT_UNREACHABLE)

    # ---- within

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Body | None = None,
        seconds: float = ANSWER_S,
    ) -> httpx.Request:
        import httpx

        if self._seconds is None:
            timeout = httpx.Timeout(seconds, connect=CONNECT_S)
        else:
            timeout = httpx.Timeout(self._seconds)
        if body is None or isinstance(body, dict):
            return self._client.build_request(
                method, path, params=params, json=body, timeout=timeout
            )
        headers = {"Content-Type": "application/x-ndjson"}
        return self._client.build_request(
            method, path, params=params, content=body, headers=headers, timeout=timeout
        )

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Body | None = None,
        seconds: float = ANSWER_S,
        well: tuple[int, ...] = (),
    ) -> httpx.Response:
        for left in reversed(range(TRIES)):
            with self._failing("" if method == "GET" else MAYBE_DONE):
                request = self._request(method, path, params=params, body=body, seconds=seconds)
                answer = self._client.send(request)
            if answer.status_code != 429 or not left or self._seconds is not None:
                break
            time.sleep(_retry_after(answer))
        if answer.is_success or answer.status_code in well:
            return answer
        raise self._refusal(answer)

    @contextmanager
    def _failing(self, then: str) -> Iterator[None]:
        """What httpx raises, in words; `then` is what follows from an answer that did not come."""
        import httpx

        try:
            yield
        except httpx.ConnectError as error:
            raise CliError(
                f"no answer at {self.url}: is ofgtp running? (systemctl status ofgtp, or --url)",
                EXIT_UNREACHABLE,
            ) from error
        except httpx.TimeoutException as error:
            raise CliError(
                f"no answer from {self.url} in time{then}",
                EXIT_UNREACHABLE,
            ) from error
        except httpx.HTTPError as error:
            raise CliError(
                f"the connection to {self.url} broke{then}",
                EXIT_UNREACHABLE,
            ) from error

    def _object(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
            if b"\\" in answer.content or not answer.content.isascii():
                found = _printable(found)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._foreign(answer)
        return found

    def _foreign(self, answer: httpx.Response) -> CliError:
        kind = answer.headers.get("Content-Type", "no type").partition(";")[0]
        return CliError(
            f"what answers at {self.url} is not ofgtp's API (status {answer.status_code}, {kind}): "
            "give its address with --url",
            EXIT_UNREACHABLE,
        )

    def _refusal(self, answer: httpx.Response) -> CliError:
        """A problem document (RFC 9457) as one line."""
        if answer.headers.get("Content-Type", "").partition(";")[0] != "application/problem+json":
            return self._foreign(answer)
        problem = self._object(answer)
        detail = str(problem.get("detail") or problem.get("title"))
        code = EXIT_FAILED
        if answer.status_code == 401:
            if self._token:
                detail = "the API does not know this token: look into --token-file"
            else:
                detail = "the API asks for a token: name its file by --token-file"
            detail += " or $OFGTP_TOKEN_FILE"
        elif answer.status_code == 404:
            code = EXIT_NOT_FOUND
            if self._client.base_url.path.strip("/"):
                detail += f" ({answer.url}): is the URL right?"
        elif answer.status_code == 422:
            detail = "; ".join(map(_field, problem.get("errors", ()))) or detail
            if detail.startswith("gateway: no gateway has"):
                detail, code = detail.removeprefix("gateway: "), EXIT_NOT_FOUND
        elif answer.status_code == 409 and (other := problem.get("session")):
            detail += f" (see: ofgtp session show {other})"
        return Refused(detail, code, answer.status_code, problem)


class Refused(CliError):
    """The API's own refusal: its status and its problem document."""

    def __init__(self, reason: str, code: int, status: int, problem: dict[str, Any]) -> None:
        self.status, self.problem = status, problem
        super().__init__(reason, code)


def _printable(value: Any) -> Any:
    """What the API said without characters that would steer the terminal."""
    if isinstance(value, str):
        spaced = "".join(" " if each.isspace() else each for each in value)
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in spaced)
    if isinstance(value, list):
        return [*map(_printable, value)]
    if isinstance(value, dict):
        return {key: _printable(each) for key, each in value.items()}
    return value


def _or(names: list[str]) -> str:
    return " or ".join(names)


def _field(error: dict[str, Any]) -> str:
    where = f"line {error['line']}: " if error.get("line") else ""
    loc = f"{error['loc']}: " if error.get("loc") else ""
    return f"{where}{loc}{error.get('msg')}"


def _given(params: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value is not None}


def _retry_after(answer: httpx.Response) -> float:
    try:
        return min(float(answer.headers["Retry-After"]), 5.0)
    except (KeyError, ValueError):
        return 1.0


def _where() -> tuple[str, str | None]:
    """The API's URL and the token for it."""
    from ofgtp import config

    given = settings()
    url = (given.url or os.environ.get("OFGTP_URL", "")).rstrip("/")
    token = None
    if token_file := given.token_file or os.environ.get("OFGTP_TOKEN_FILE"):
        try:
            token = config.Rest(token_file=Path(token_file)).token()
        except ConfigError as error:
            raise CliError(f"the token: {error.reason}", EXIT_USAGE) from error
    path = config.default_path()
    readable = os.access(path, os.R_OK)
    if url and (token or not readable):
        return url, token
    if not readable and "OFGTP_CONFIG" not in os.environ:
        return DEFAULT_URL, token
    try:
        rest = config.load(path).rest
    except ConfigError:
        if url:
            return url, token
        raise
    own = _url(rest)
    if token is None and url in ("", own):  # it is for nobody but the API of this file
        token = rest.token()
    return url or own, token


def _url(rest: Rest) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(rest.host, rest.host)
    return f"http://[{host}]:{rest.port}" if ":" in host else f"http://{host}:{rest.port}"
