"""A log that nobody reads, or that cannot be written, stops nothing else."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.support import ownership as own
from tests.support.lab import Lab
from tests.support.stream import Stream

pytestmark = pytest.mark.switch

REQUESTS = 8_000
"""Each writes a line of 200 octets and more: together more than pipe and process keep."""

LOST = re.compile(r"^(\d+) lines of the log were lost here", re.MULTILINE)
LINE = re.compile(r"^rest: DELETE /v1/sessions/a{64} 404 \d+ ms$", re.MULTILINE)
MANY = re.compile(r"^rest: DELETE /v1/sessions/a+ 404 \d+ ms$", re.MULTILINE)


class Reader:
    """Reads a descriptor to its end from when it is told to, in a thread."""

    def __init__(self, fd: int) -> None:
        self._fd, self._parts = fd, []
        self._thread = Thread(target=self._read, daemon=True)

    _parts: list[bytes]

    def _read(self) -> None:
        try:
            while part := os.read(self._fd, 65536):
                self._parts.append(part)
        except OSError:  # a terminal whose other end is closed
            pass

    def start(self) -> None:
        self._thread.start()

    @property
    def text(self) -> str:
        return b"".join(self._parts).decode().replace("\r\n", "\n")


def many_requests(lab: Lab, count: int = REQUESTS) -> None:
    """Requests that are refused, and each of which writes a long line into the log."""
    path = f"/v1/sessions/{'a' * 183}"
    with closing(own.Client(lab, timeout=20.0)) as client:
        for _ in range(count):
            assert client.call("DELETE", path, None, "") == 404, "no answer"


@contextmanager
def unread_pipe() -> Iterator[tuple[int, int]]:
    """A pipe of one page."""
    ours, theirs = os.pipe()
    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield ours, theirs
    finally:
        os.close(ours)


@contextmanager
def stopped_terminal() -> Iterator[tuple[int, int]]:
    """A terminal at which somebody has typed Ctrl-S."""
    ours, theirs = pty.openpty()
    os.write(ours, b"\x13")
    try:
        yield ours, theirs
    finally:
        os.close(ours)


@pytest.mark.parametrize("log", [unread_pipe, stopped_terminal])
def test_a_log_that_nobody_reads(log: Callable[..., Iterator[tuple[int, int]]]) -> None:
    with Lab() as lab, log() as (ours, theirs):
        reader = Reader(ours)
        lab.start_controller(lab.config(controller=own.CONTROLLER), output=theirs)
        os.close(theirs)
        own.until(lambda: own.in_sync(lab), "in sync")
        own.put(lab)
        with Stream(lab) as stream:
            stream.wait_flowing()
            many_requests(lab)
            time.sleep(own.LEASE_S + 1)
            assert own.gateway(lab)["lease"]["expiries"] == 0
            own.put(lab, own.nth_session(1))
        assert stream.lost == 0, str(stream)

        if log is stopped_terminal:
            os.write(ours, b"\x11")
        reader.start()
        own.until(lambda: LOST.search(reader.text), "the log says what was lost")
        answer = lab.http("DELETE", "/v1/sessions/" + "a" * 64)
        assert answer.status == 404
        own.until(lambda: LINE.search(reader.text), "the log goes on")
        told = sum(map(int, LOST.findall(reader.text)))
        seen = len(MANY.findall(reader.text))
        print(f"{told} lines lost, {seen} of {REQUESTS} seen")
        assert told > 0
        # other lines are few, and may be lost, too
        assert REQUESTS + 1 <= told + seen <= REQUESTS + 100
        assert lab.stop_controller() == 0


@pytest.mark.parametrize("log", [unread_pipe, stopped_terminal])
def test_a_clean_stop_does_not_wait_for_the_log(
    log: Callable[..., Iterator[tuple[int, int]]],
) -> None:
    with Lab() as lab, log() as (_, theirs):
        lab.start_controller(lab.config(controller=own.CONTROLLER), output=theirs)
        os.close(theirs)
        own.until(lambda: own.in_sync(lab), "in sync")
        many_requests(lab, 200)
        assert lab.stop_controller() == 0
        assert own.our_flows(lab) == []
        assert own.our_tables(lab) == ""


def test_a_wrong_configuration_does_not_wait_for_the_log() -> None:
    with Lab() as lab, unread_pipe() as (ours, theirs):
        os.write(theirs, b"x" * 4096)
        with pytest.raises(Exception, match="it ended"):
            lab.start_controller("[nonsense]\n", output=theirs)
        os.close(theirs)
        assert lab.controller is not None and lab.controller.wait(10) == 2
        assert os.read(ours, 10) == b"x" * 10


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0>&- 1>&- 2>&-"])
def test_closed_streams(closed: str) -> None:
    """What is written to a stream that is closed must not land in the store or in a socket."""
    with Lab() as lab:
        lab.start_controller(
            lab.config(controller=own.CONTROLLER), by=["sh", "-c", f'exec "$@" {closed}', "sh"]
        )
        own.until(lambda: own.in_sync(lab), "in sync")
        many_requests(lab, 100)
        own.put(lab)
        assert lab.controller is not None
        open_now = Path("/proc", str(lab.controller.pid), "fd")
        for fd in (0, 1, 2):
            target = str((open_now / str(fd)).readlink())
            assert target in (os.devnull, str(lab.controller_log)), (fd, target)
        assert lab.stop_controller() == 0


def test_a_reader_that_is_gone() -> None:
    with Lab() as lab, unread_pipe() as (ours, theirs):
        lab.start_controller(lab.config(controller=own.CONTROLLER), output=theirs)
        os.close(theirs)
        reopened = os.open(os.devnull, os.O_RDONLY)
        os.dup2(reopened, ours)  # closes the pipe
        os.close(reopened)
        own.until(lambda: own.in_sync(lab), "in sync")
        many_requests(lab, 500)
        own.put(lab)
        assert lab.stop_controller() == 0


@pytest.mark.parametrize("way", ["stderr", "--log-file"])
def test_a_log_on_a_full_disk(way: str) -> None:
    """When there is room again the log goes on, and says what is missing."""
    with Lab() as lab:
        small = lab.dir / "small"
        small.mkdir()
        log = small / "log"
        mount = f'mount -t tmpfs -o size=64k tmpfs {small} && exec "$@"'
        redirect = f" 2>>{log}" if way == "stderr" else ""
        lab.start_controller(
            lab.config(controller=own.CONTROLLER),
            by=["sh", "-c", mount + redirect, "sh"],
            options=[] if way == "stderr" else ["--log-file", str(log)],
        )
        own.until(lambda: own.in_sync(lab), "in sync")
        assert lab.controller is not None
        inside = ["nsenter", f"--target={lab.controller.pid}", "--mount"]

        def written() -> str:
            return lab.exec("gw", [*inside, "cat", str(log)]).stdout

        before = written()
        assert "rest: listening" in before
        own.put(lab)
        lab.exec("gw", [*inside, "dd", "if=/dev/zero", f"of={small}/filler"], check=False)
        with Stream(lab) as stream:
            stream.wait_flowing()
            many_requests(lab, 300)
            own.until(lambda: own.in_sync(lab), "in sync")
        assert stream.lost == 0, str(stream)
        assert "Traceback" not in lab.controller_log.read_text()
        lab.exec("gw", [*inside, "rm", f"{small}/filler"])
        lab.http("DELETE", "/v1/sessions/" + "a" * 64)
        own.until(lambda: LINE.search(written()), "the log goes on")
        told, seen = sum(map(int, LOST.findall(written()))), len(MANY.findall(written()))
        print(f"{way}: {told} lines lost, {seen} of 300 seen")
        assert told + seen >= 301 and told > 0
        assert lab.stop_controller() == 0
