"""What is written without waiting: kept up to a limit, in order, and counted where it was lost."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from logging.handlers import SysLogHandler
from pathlib import Path
from threading import Event

import pytest

from ofgtp.logs import KEPT, Detached, Outlet, Output, Undelivered

ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Place:
    """Where an outlet delivers: it can be closed, which holds the outlet up, or refuse."""

    def __init__(self, kept: int = 100) -> None:
        self.got: list[str] = []
        self.open, self.refuses_from = Event(), 1000
        self.open.set()
        self.calls = 0
        self.outlet = Outlet(self.deliver, lambda lines: f"<{lines} lost>", kept)

    def deliver(self, items: Sequence[str]) -> None:
        self.calls += 1
        assert self.open.wait(20)
        self.got += items[: self.refuses_from]
        if len(items) > self.refuses_from:
            raise Undelivered(self.refuses_from)

    def put(self, *items: str) -> None:
        for item in items:
            self.outlet.put(item, 10, 1)

    def fill(self) -> None:
        """Close it, and put so much that ten items are kept."""
        self.open.clear()
        calls = self.calls
        self.put("first")
        until(lambda: self.calls > calls)
        self.put(*"123456789")


def test_all_comes_in_order() -> None:
    place = Place(kept=1 << 20)
    for number in range(500):
        place.put(str(number))
    place.outlet.drain(20)
    assert place.got == [str(number) for number in range(500)]
    assert place.outlet.lost == 0


def test_putting_never_waits_and_what_is_lost_is_told_in_its_place() -> None:
    place = Place()
    place.fill()
    place.put("lost", "lost", "lost")
    assert place.outlet.lost == 3
    place.outlet.drain(0.05)  # not for ever either
    place.open.set()
    until(lambda: place.got[-1:] == ["<3 lost>"])
    place.put("next")
    place.outlet.drain(20)
    assert place.got == ["first", *"123456789", "<3 lost>", "next"]


def test_losing_again_is_told_again() -> None:
    place = Place()
    for count in (2, 1):
        place.fill()
        place.put(*["lost"] * count)
        place.open.set()
        until(lambda count=count: place.got[-1:] == [f"<{count} lost>"])
    assert place.outlet.lost == 3


def test_what_is_refused_is_lost_and_told_once_it_goes_on() -> None:
    place = Place()
    place.fill()
    place.refuses_from = 0
    place.open.set()
    place.outlet.drain(20)
    assert place.got == [] and place.outlet.lost == 10
    place.put("11th")
    place.outlet.drain(20)
    place.refuses_from = 1000
    place.put("next")
    place.outlet.drain(20)
    assert place.got == ["<11 lost>", "next"]


def test_what_is_refused_in_part() -> None:
    place = Place()
    place.fill()
    place.refuses_from = 4
    place.open.set()
    place.outlet.drain(20)
    assert place.got == ["first", "1", "2", "3", "4"], "the first was alone"
    place.refuses_from = 1000
    place.put("next")
    place.outlet.drain(20)
    assert place.got[5:] == ["<5 lost>", "next"]


def test_an_error_of_the_place_itself_does_not_end_it() -> None:
    got: list[str] = []

    def deliver(items: Sequence[str]) -> None:
        if "bad" in items:
            raise ValueError
        got.extend(items)

    outlet = Outlet(deliver, lambda lines: f"<{lines} lost>")
    outlet.put("bad", 3, 2)
    outlet.drain(20)
    outlet.put("good", 4, 1)
    outlet.drain(20)
    assert got == ["<2 lost>", "good"]


# --- a file descriptor


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ours, theirs = os.pipe()
    yield ours, theirs
    os.close(theirs)
    os.close(ours)


def read_all(fd: int, last: bytes) -> bytes:
    text = b""
    while not text.endswith(last):
        text += os.read(fd, 65536)
    return text


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads(pipe: tuple[int, int], blocking: bool) -> None:
    """Non-blocking, too, as somebody who shares it may have made it."""
    ours, theirs = pipe
    os.set_blocking(theirs, blocking)
    os.write(theirs, b"x" * 65_535 + b"\n")
    output = Output(theirs, kept=300_000)
    lines = [f"{number:09}\n".encode() for number in range(50_000)]
    for line in lines:
        assert output.write(line) == len(line)
    assert output.outlet.lost == 20_000
    text = read_all(ours, b"lost here: they could not be written in time\n")
    _, *kept, note = text.splitlines(keepends=True)
    assert kept == lines[:30_000]
    assert note.startswith(b"20000 lines ")
    output.write(b"next\n")
    assert read_all(ours, b"next\n") == b"next\n"


def test_a_full_disk(tmp_path: Path) -> None:
    """What was written in part is a line of its own."""
    path = tmp_path / "log"
    code = (
        "import os, resource, signal, sys\n"
        "from ofgtp.logs import Output\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def size(limit): resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))\n"
        "output = Output(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND))\n"
        "def write(line): output.write(line); output.outlet.drain(20)\n"
        "size(10)\n"
        "for line in (b'first\\n', b'second\\n', b'third\\n', b'fourth\\n'): write(line)\n"
        "size(1000)\n"
        "write(b'fifth\\n')\n"
    )
    subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, check=True)
    assert path.read_text().splitlines() == [
        "first",
        "seco",
        "3 lines of the log were lost here: they could not be written in time",
        "fifth",
    ]


def test_a_reader_that_is_gone() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    output = Output(theirs)
    for _ in range(5):
        output.write(b"line\n")
        output.outlet.drain(20)
    assert output.outlet.lost == 5
    os.close(theirs)


# --- other handlers


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("name", logging.WARNING, "", 0, "%s", (text,), None)


def test_a_syslog_that_does_not_take_them(tmp_path: Path) -> None:
    """A datagram socket holds few; whoever sends more waits, and here that is not the caller."""
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            with suppress(BlockingIOError):
                while other.sendto(b"other", path):
                    pass
        detached = Detached(SysLogHandler(path), kept=10_000)
        texts = [f"{number:0100}" for number in range(5_000)]
        for text in texts:
            detached.handle(record(text))
        assert detached.outlet.lost == 4_900
        got: list[str] = []
        while not got or "lost here" not in got[-1]:
            message = syslog.recv(1000)
            if message != b"other":
                got.append(message.decode().removeprefix("<12>").rstrip("\0"))
        assert got[:-1] == texts[:100]
        assert got[-1].startswith("4900 lines ")


def test_a_handler_that_fails_is_opened_anew(tmp_path: Path) -> None:
    place = tmp_path / "gone"
    place.mkdir()
    handler = logging.FileHandler(place / "log")
    detached = Detached(handler)

    def log(text: str) -> None:
        detached.handle(record(text))
        detached.outlet.drain(20)

    log("first")
    handler.stream.close()
    (place / "log").rename(tmp_path / "first")
    place.rmdir()
    for text in ("second", "third"):
        log(text)
    place.mkdir()
    log("fourth")
    handler.close()
    assert (tmp_path / "first").read_text() == "first\n"
    assert (place / "log").read_text().split("\n") == [
        "",
        "2 lines of the log were lost here: they could not be written in time",
        "fourth",
        "",
    ]


# --- a whole process

STREAMS = """
import logging, os, sys, time
from ofgtp import logs
logs.take_over_streams()
"""


def run(code: str, shell: str = 'exec "$@"', **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-c", STREAMS + code],
        cwd=ROOT,
        check=False,
        text=True,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )


def test_all_that_python_writes_goes_that_way() -> None:
    code = (
        "logging.basicConfig()\n"
        "logging.warning('by logging')\n"
        "print('by print', file=sys.stderr)\n"
        "print('on stdout, without an end', end='')\n"
        "print('a surrogate: \\udc80', file=sys.stderr)\n"
        "raise RuntimeError('by a traceback')\n"
    )
    done = run(code, capture_output=True)
    assert done.returncode == 1
    assert done.stdout == "on stdout, without an end"
    first, second, third, *_, last = done.stderr.splitlines()
    assert (first, second, third) == ("WARNING:root:by logging", "by print", "a surrogate: \\udc80")
    assert last == "RuntimeError: by a traceback"


def test_an_exit_waits_for_the_log_but_not_for_ever() -> None:
    ours, theirs = os.pipe()
    started = time.monotonic()
    done = run(f"print('x' * {KEPT // 2}, file=sys.stderr)\n", stderr=theirs)
    assert done.returncode == 0
    assert time.monotonic() - started < 20
    os.close(theirs)
    with os.fdopen(ours, "rb") as reader:
        assert 40_000 < len(reader.read()) <= 65_536, "what the pipe holds"


def test_closed_streams_are_not_somebody_elses() -> None:
    """The first file that is opened has one of their numbers, where nobody has it."""
    code = (
        "file = os.open('/dev/zero', os.O_RDONLY)\n"
        "assert file > 2\n"
        "assert os.readlink('/proc/self/fd/2') == '/dev/null'\n"
        "print('into nothing', file=sys.stderr)\n"
        "logging.warning('into nothing')\n"
    )
    done = run(code, 'exec "$@" 0>&- 2>&-', stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, "")
