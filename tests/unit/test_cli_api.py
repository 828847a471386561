"""How the `ofgtp` command finds the API, and what it says when that goes wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ofgtp.cli import api as module
from ofgtp.cli.api import Api
from ofgtp.cli.errors import CliError
from tests.support.command import Shell

OFGTP = Path(sys.executable).parent / "ofgtp"

EMPTY = b'{"items": []}'
JSON, PROBLEM = "application/json", "application/problem+json"

Answer = tuple[int, str, bytes]


class Scripted(ThreadingHTTPServer):
    """Answers requests as it is told, and remembers them."""

    answers: list[Answer]
    """The last one is for all that follow."""
    seen: list[tuple[str, str | None]]
    """Path and Authorization of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Authorization"]))
        answers = self.server.answers
        status, kind, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Retry-After", "0")
        if kind != "text/event-stream":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(("127.0.0.1", 0), Handler) as server:
        server.answers, server.seen = [(200, JSON, EMPTY)], []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def ofgtp(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Shell:
    shell = Shell(monkeypatch, capsys)
    monkeypatch.setattr("ofgtp.config.default_path", lambda: tmp_path / "ofgtp.toml")
    return shell


def problem(status: int, detail: str, **members: object) -> Answer:
    return status, PROBLEM, json.dumps({"status": status, "detail": detail, **members}).encode()


def configure(tmp_path: Path, listen: str, token: str | None = None) -> None:
    rest = f'[rest]\nlisten = "{listen}"\n'
    if token is not None:
        (tmp_path / "token").write_text(f"{token}\n")
        rest += f'token_file = "{tmp_path}/token"\n'
    gateway = """[[gateway]]
name = "gw1"
bridge = "br-ofgtp"
access_port = "eth1"
access_ip = "10.1.0.1/24"
core_port = "host"
core_ip = "10.2.0.1/24"
ue_pools = ["10.45.0.0/16"]
"""
    (tmp_path / "ofgtp.toml").write_text(rest + gateway)


# --- where it is


def test_the_url_of_the_command_line_wins(
    server: Scripted, ofgtp: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFGTP_URL", "http://127.0.0.1:1")
    for command in ("tunnel list --url {}", "--url {} tunnel list", "--url {}/ tunnel list"):
        assert ofgtp(command.format(server.url)).code == 0
    monkeypatch.setenv("OFGTP_URL", server.url)
    assert ofgtp("tunnel list").code == 0
    assert [path for path, _ in server.seen] == ["/v1/sessions?limit=1000"] * 4


def test_the_last_url_wins(server: Scripted, ofgtp: Shell) -> None:
    assert ofgtp(f"--url http://127.0.0.1:1 tunnel list --url {server.url}").code == 0


@pytest.mark.parametrize("name", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_the_configuration_s_listen_address(
    server: Scripted, ofgtp: Shell, tmp_path: Path, name: str
) -> None:
    configure(tmp_path, f"{name}:{server.server_port}", "secret")
    assert ofgtp("tunnel list").code == 0
    assert [header for _, header in server.seen] == ["Bearer secret"]


def test_without_a_configuration_the_usual_address(
    ofgtp: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEFAULT_URL", "http://127.0.0.1:1")
    done = ofgtp("tunnel list")
    assert (done.code, done.line) == (
        3,
        "ofgtp: no answer at http://127.0.0.1:1: is ofgtp running? "
        "(systemctl status ofgtp, or --url)",
    )


def test_a_configuration_that_is_wrong(ofgtp: Shell, tmp_path: Path) -> None:
    (tmp_path / "ofgtp.toml").write_text("gateway = 1\n")
    done = ofgtp("tunnel list")
    assert done.code == 2 and done.line.startswith(f"ofgtp: {tmp_path}/ofgtp.toml:1: gateway")


def test_a_configuration_that_is_named_and_not_there(
    ofgtp: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFGTP_CONFIG", str(tmp_path / "ofgtp.toml"))
    done = ofgtp("tunnel list")
    assert done.code == 2 and done.line.endswith("cannot be read: No such file or directory")


@pytest.mark.parametrize(
    "url", ["gw1", "ftp://gw1", "http:", "http://[::1", "http://a:b", "gw1:8080"]
)
def test_no_url(ofgtp: Shell, url: str) -> None:
    done = ofgtp(f"tunnel list --url {url}")
    assert done.code == 2 and "is not a URL" in done.line and url in done.line


# --- the token


def test_the_token_of_a_file(
    server: Scripted, ofgtp: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "mine"
    token.write_text("secret\n")
    assert ofgtp(f"tunnel list --url {server.url} --token-file {token}").code == 0
    monkeypatch.setenv("OFGTP_TOKEN_FILE", str(token))
    assert ofgtp(f"tunnel list --url {server.url}").code == 0
    assert [header for _, header in server.seen] == ["Bearer secret"] * 2


def test_the_configuration_s_token_is_for_its_own_api_alone(
    server: Scripted, ofgtp: Shell, tmp_path: Path
) -> None:
    configure(tmp_path, f"127.0.0.1:{server.server_port}", "secret")
    assert ofgtp(f"tunnel list --url {server.url}").code == 0
    assert ofgtp(f"tunnel list --url http://localhost:{server.server_port}").code == 0
    assert [header for _, header in server.seen] == ["Bearer secret", None]


@pytest.mark.parametrize(
    "content, what",
    [(None, "cannot read"), ("", "is empty"), ("two words", "must hold one token")],
)
def test_a_token_file_that_is_none(
    ofgtp: Shell, tmp_path: Path, content: str | None, what: str
) -> None:
    token = tmp_path / "mine"
    if content is not None:
        token.write_text(content)
    done = ofgtp(f"tunnel list --token-file {token}")
    assert done.code == 2 and what in done.line


def test_what_401_says(server: Scripted, ofgtp: Shell, tmp_path: Path) -> None:
    server.answers = [problem(401, "this needs the header")]
    done = ofgtp(f"tunnel list --url {server.url}")
    assert (done.code, done.line) == (
        1,
        "ofgtp: the API asks for a token: name its file by --token-file or $OFGTP_TOKEN_FILE",
    )
    (tmp_path / "mine").write_text("guess")
    done = ofgtp(f"tunnel list --url {server.url} --token-file {tmp_path}/mine")
    assert (done.code, done.line) == (
        1,
        "ofgtp: the API does not know this token: look into --token-file or $OFGTP_TOKEN_FILE",
    )


# --- answers


@pytest.mark.parametrize(
    "answer, code, what",
    [
        ((200, "text/html", b"<h1>It works!"), 3, "is not ofgtp's API (status 200, text/html)"),
        ((404, "text/html", b"<h1>Nothing"), 3, "is not ofgtp's API (status 404, text/html)"),
        ((200, JSON, b"[]"), 3, "is not ofgtp's API"),
        ((302, JSON, b""), 3, "is not ofgtp's API (status 302"),
        ((500, JSON, b"{}"), 3, "is not ofgtp's API (status 500"),
        (problem(503, "the store is full"), 1, "ofgtp: the store is full"),
        (problem(404, "nobody"), 4, "ofgtp: nobody"),
        (problem(502, "two\nlines"), 1, "ofgtp: two lines"),
        (
            problem(422, "x", errors=[{"loc": "a.b", "msg": "no"}, {"loc": "", "msg": "nor"}]),
            1,
            "ofgtp: a.b: no; nor",
        ),
    ],
)
def test_refusals(server: Scripted, ofgtp: Shell, answer: Answer, code: int, what: str) -> None:
    server.answers = [answer]
    done = ofgtp(f"tunnel list --url {server.url}")
    assert done.code == code and what in done.line


def test_a_busy_api_is_asked_again(server: Scripted, ofgtp: Shell) -> None:
    busy = problem(429, "64 requests are under way")
    server.answers = [busy, busy, (200, JSON, EMPTY)]
    assert ofgtp(f"tunnel list --url {server.url}").code == 0
    assert len(server.seen) == 3
    server.answers = [busy]
    done = ofgtp(f"tunnel list --url {server.url}")
    assert (done.code, done.line) == (1, "ofgtp: 64 requests are under way")
    assert len(server.seen) == 3 + module.TRIES


@contextmanager
def talker(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Takes one connection, and says what it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                talk(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(60)


def test_an_answer_that_breaks_off(ofgtp: Shell) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
    with talker(lambda connection: connection.sendall(head)) as url:
        done = ofgtp(f"tunnel list --url {url}")
    assert (done.code, done.line) == (3, f"ofgtp: the connection to {url} broke")


def test_what_was_sent_may_have_been_done(ofgtp: Shell) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
    with talker(lambda connection: connection.sendall(head)) as url:
        done = ofgtp(f"session delete phone --url {url}")
    assert (done.code, done.line) == (
        3,
        f"ofgtp: the connection to {url} broke; it may have been done all the same",
    )


@pytest.mark.parametrize("command", ["session list", "session show x", "route", "tunnel list"])
def test_nothing_of_the_api_steers_the_terminal(
    server: Scripted, ofgtp: Shell, command: str
) -> None:
    evil = json.dumps("\x1b[2Jx\r\x9b1m")
    session = (
        f'{{"id": {evil}, "gateway": "g", "ue_ip": {evil}, "state": {evil}, "reason": {evil},'
        f' "uplink": {{"teid": 1, "remote_ip": {evil}, "local_ip": "l"}}, "downlink": null,'
        ' "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",'
        ' "counters": {"uplink": {"packets": 0, "bytes": 0, "duration_seconds": 0},'
        ' "downlink": {"packets": 0, "bytes": 0, "duration_seconds": 0}}}'
    )
    body = session if "show" in command else f'{{"items": [{session}]}}'
    server.answers = [(200, JSON, body.encode())]
    done = ofgtp(f"{command} --url {server.url}")
    assert done.code == 0 and "\ufffd[2Jx \ufffd1m" in done.out
    assert all(line.isprintable() for line in done.lines)


def test_the_url_of_something_within(server: Scripted, ofgtp: Shell) -> None:
    server.answers = [problem(404, "there is nothing at this path")]
    done = ofgtp(f"tunnel list --url {server.url}/page")
    assert done.code == 4 and "/page/v1/sessions" in done.line and "is the URL right?" in done.line


def test_no_answer_in_time(ofgtp: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    with talker(lambda connection: print(ended.wait(60))) as url:
        monkeypatch.setenv("OFGTP_URL", url)
        with Api(seconds=0.1) as api, pytest.raises(CliError, match="in time") as caught:
            api.get("/v1/gateways")
        ended.set()
    assert caught.value.code == 3


def test_proxies_of_the_web_are_not_asked(
    server: Scripted, ofgtp: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert ofgtp(f"tunnel list --url {server.url}").code == 0


# --- events


def test_events_go_on_where_they_broke_off(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFGTP_URL", server.url)
    text = ': hello\n\nid: a-7\nevent: in_sync\ndata: {"kind": "in_sync", "gateway": "gw1"}\n\n'
    server.answers = [(200, "text/event-stream", text.encode())]
    with Api() as api:
        seen = []
        for _ in range(2):
            with pytest.raises(CliError, match="has ended the stream of events") as caught:
                seen.extend(api.events())
            assert caught.value.code == 3
        assert api._last_event == "a-7"
    kinds = [event["kind"] for event in seen]
    assert kinds == ["open", "in_sync"] * 2


def test_a_stream_that_is_refused(server: Scripted, ofgtp: Shell) -> None:
    server.answers = [problem(503, "32 streams of events are open")]
    done = ofgtp(f"session watch --url {server.url}")
    assert (done.code, done.line) == (1, "ofgtp: 32 streams of events are open")


# --- the command itself


def test_starting_is_quick() -> None:
    """Nothing heavy is imported for what does not need it."""
    heavy = "{'ryu', 'eventlet', 'pydantic', 'httpx', 'rich', 'ovs', 'httptools', 'sqlite3'}"
    code = (
        "import sys\nfrom ofgtp import cli\n"
        "sys.argv = ['ofgtp', '--version']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["[]"]


def test_a_session_command_imports_no_controller(server: Scripted) -> None:
    code = (
        "import sys\nfrom ofgtp import cli\n"
        f"sys.argv = ['ofgtp', 'session', 'list', '--json', '--url', '{server.url}']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "print(sorted({'ryu', 'eventlet', 'pydantic', 'ovs'} & set(sys.modules)))"
    )
    environment = {**os.environ, "OFGTP_CONFIG": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_fault_of_ours_is_one_line(ofgtp: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(self: Api) -> None:
        raise KeyError("x\ny")

    monkeypatch.setattr(Api, "__init__", faulty)
    done = ofgtp("tunnel list")
    assert (done.code, done.line) == (1, "ofgtp: internal error: KeyError('x\\ny')")


def test_help_where_nothing_was_asked(ofgtp: Shell) -> None:
    for command in ("", "session", "tunnel", "gateway"):
        done = ofgtp(command)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"Usage: ofgtp {command}".rstrip() + " [OPTIONS]")
