"""What the process writes to its log, written by threads that do nothing else.

A terminal that is stopped, a pipe that nobody reads and a disk that hangs hold up whoever writes
to them. All green threads share one thread of the system: held up, it answers no request and renews
no lease. So it only puts what is to be written into an `Outlet`, which never waits. What is not
written yet is kept, up to a limit; what comes then is lost, and a line says how much, once writing
goes on.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from eventlet.patcher import original

T = TypeVar("T")

KEPT = 1 << 20
"""Octets that are kept for a log which does not take them."""

PAUSE_S, AT_ONCE = 0.01, 1000
"""Seconds between two writes, and most items of one: what comes together is written together."""

DRAIN_S = 1.0
"""Seconds that an exit waits for what is still to be written."""

_time: Any = original("time")
_threading: Any = original("threading")


class Undelivered(Exception):
    """Items could not be put where they belong, from the `first` of those that were given on."""

    def __init__(self, first: int) -> None:
        self.first = first


class Outlet(Generic[T]):
    """Items on their way to where putting them may take long, or be refused.

    `deliver` puts items, in a thread of the outlet's own, or raises Undelivered; `tell` makes the
    item that says how many lines were lost. All else is for one thread, which the green threads
    share.
    """

    def __init__(
        self,
        deliver: Callable[[Sequence[T]], None],
        tell: Callable[[int], T],
        kept: int = KEPT,
    ) -> None:
        self._deliver, self._tell, self._kept = deliver, tell, kept
        self._queue: SimpleQueue[_Waiting[T]] = SimpleQueue()
        # Of each of these one thread is the only writer, so that there is no lock to wait for.
        self._taken = self._dropped = 0
        self._done = self._failed = self._told = 0
        self._started = False

    @property
    def lost(self) -> int:
        """Lines that were not delivered and never will be."""
        return self._dropped + self._failed

    def put(self, item: T, size: int, lines: int) -> None:
        """Have an item delivered, or drop it if too much waits already; never waits."""
        if self._taken - self._done + size > self._kept:
            self._dropped += lines
            return
        self._taken += size
        self._queue.put(_Waiting(item, size, lines, self._dropped))
        if not self._started:
            self._started = True
            _threading.Thread(target=self._run, daemon=True).start()

    def drain(self, seconds: float) -> None:
        """Wait until all was delivered, so long at most; green threads wait, too."""
        deadline = _time.monotonic() + seconds
        while self._done < self._taken and _time.monotonic() < deadline:
            _time.sleep(0.001)

    def _run(self) -> None:
        while True:
            waiting = [self._queue.get()]
            while not self._queue.empty() and len(waiting) < AT_ONCE:
                waiting.append(self._queue.get())
            self._put_out(waiting)
            self._done += sum(each.size for each in waiting)
            _time.sleep(PAUSE_S)

    def _put_out(self, waiting: Sequence[_Waiting[T]]) -> None:
        items: list[T] = []
        lines: list[int] = []
        told: list[int] = []

        def add(item: T, of_lines: int, lost: int) -> None:
            items.append(item)
            lines.append(of_lines)
            told.append(lost)

        def tell(lost: int) -> None:
            before = told[-1] if told else self._told
            if lost > before:
                add(self._tell(lost - before), 0, lost)

        for each in waiting:
            tell(each.dropped + self._failed)
            add(each.item, each.lines, told[-1] if told else self._told)
        if self._queue.empty():
            tell(self.lost)
        try:
            self._deliver(items)
            self._told = told[-1]
        except Exception as error:  # or else nothing would ever be delivered again
            first = error.first if isinstance(error, Undelivered) else 0
            self._failed += sum(lines[first:])
            if first:
                self._told = told[first - 1]


class _Waiting(NamedTuple, Generic[T]):
    item: T
    size: int
    lines: int
    dropped: int
    """Lines that were dropped before it."""


class Output(io.RawIOBase):
    """A file descriptor to write to without ever waiting for it."""

    def __init__(self, fd: int, kept: int = KEPT) -> None:
        self._fd = fd
        self._torn = False
        """Whether what was written ends within a line."""
        self.outlet: Outlet[bytes] = Outlet(self._deliver, _lost_bytes, kept)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, data: Any) -> int:
        text = bytes(data)
        self.outlet.put(text, len(text), text.count(b"\n"))
        return len(text)

    def _deliver(self, items: Sequence[bytes]) -> None:
        torn = b"\n" if self._torn else b""
        rest = whole = torn + b"".join(items)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Somebody who shares the terminal or pipe made it non-blocking.
                _time.sleep(PAUSE_S)
            except OSError as error:
                written = len(whole) - len(rest)
                if written:
                    self._torn = not whole[:written].endswith(b"\n")
                ends = accumulate(map(len, items))
                raise Undelivered(sum(len(torn) + end <= written for end in ends)) from error
        self._torn = False


class Detached(QueueHandler):
    """Has another handler (a file's, syslog's) do its work in a thread of its own."""

    def __init__(self, handler: logging.Handler, kept: int = KEPT) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.handler = handler
        handler.handleError = _raise  # type: ignore[method-assign]
        self._torn = False
        self.outlet: Outlet[logging.LogRecord] = Outlet(self._deliver, _lost_record, kept)

    def enqueue(self, record: logging.LogRecord) -> None:
        self.outlet.put(record, len(record.msg), record.msg.count("\n") + 1)

    def _deliver(self, items: Sequence[logging.LogRecord]) -> None:
        for place, record in enumerate(items):
            if self._torn:
                record.msg = f"\n{record.msg}"
            try:
                self.handler.handle(record)
                self._torn = False
            except Exception as error:
                self._torn = True
                with suppress(Exception):  # what its buffer holds is lost; the next opens it anew
                    self.handler.close()
                raise Undelivered(place) from error


_outlets: list[Outlet[Any]] = []


def take_over_streams() -> None:
    """Have stdout and stderr written without waiting; before anybody has made a handler of them.

    A standard stream that is closed becomes /dev/null: its number would else go to the next file or
    socket that is opened, and what is written to the log would go there.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        if before is not None:
            before.flush()
        output = Output(fd)
        encoding = "utf-8" if before is None else before.encoding
        stream = io.TextIOWrapper(
            output,  # type: ignore[type-var]
            encoding=encoding,
            errors="backslashreplace",
            line_buffering=True,
        )
        setattr(sys, name, stream)
        _outlets.append(output.outlet)
    atexit.register(drain, DRAIN_S)


def detach_handlers() -> None:
    """Have the root logger's handlers work without waiting, but those of stdout and stderr, which
    do already."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if getattr(handler, "stream", None) in (sys.stdout, sys.stderr):
            continue
        detached = Detached(handler)
        root.removeHandler(handler)
        root.addHandler(detached)
        _outlets.append(detached.outlet)


def lost() -> int:
    """Lines of the log that were lost so far."""
    return sum(outlet.lost for outlet in _outlets)


def drain(seconds: float = DRAIN_S) -> None:
    """Before an exit: wait until all was written, so many seconds at most."""
    sys.stdout.flush()
    sys.stderr.flush()
    deadline = _time.monotonic() + seconds
    for outlet in _outlets:
        outlet.drain(max(deadline - _time.monotonic(), 0.0))


def _lost_text(lines: int) -> str:
    return f"{lines} lines of the log were lost here: they could not be written in time"


def _lost_bytes(lines: int) -> bytes:
    return _lost_text(lines).encode() + b"\n"


def _lost_record(lines: int) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, "", 0, _lost_text(lines), None, None)


def _raise(record: logging.LogRecord) -> None:
    """Instead of telling stderr that a record could not be written: it is counted as lost."""
    raise
