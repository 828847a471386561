"""Runs docs/tutorial.md as a reader would: types its commands, compares what they print.

A fenced ```console block holds commands (`# ` before each, `> ` before a line that continues one)
and below each what it prints. A ```sh block is commands that print nothing. A comment above a block
changes how it is run:

    <!-- test: not run: WHY -->              what a test must not do
    <!-- test: not run: WHY; instead: COMMAND -->
    <!-- test: file PATH -->                 the block (of any kind) is written to PATH
    <!-- test: terminal N -->                typed in another terminal than the first
    <!-- test: terminal N, goes on -->       the last command does not end: its lines are awaited
    <!-- test: terminal N, next -->          first what that command has printed since
    <!-- test: terminal N, next, goes on -->

A line "^C" is typed as such. A line "…" stands for lines of the output that the text leaves out.
Only in namespaces of its own (`scripts/tutorial.py` makes them): Sandbox.
"""

from __future__ import annotations

import codecs
import difflib
import errno
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fcntl import ioctl
from functools import partial
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, ROWS = 100, 50
SECONDS = 30.0
"""A command may take so long."""

VARIES: tuple[tuple[str, str], ...] = (
    ("a MAC address", r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"),
    ("a datapath's id", r"\bdpid=[0-9a-f]{16}\b"),
    ("an RFC 3339 time", r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| UTC)?"),
    ("a time of day", r"\b\d\d:\d\d:\d\d(?:\.\d+)?\b"),
    ("an age", r"\b\d+ (?:s|min|h|d) ago\b"),
    ("a round trip", r"\btime=[\d.]+ ms"),
    ("the time to a hop", r"(?<=  )[\d.]+ ms$"),
    ("the lease", r"\b(?:not begun|\d+ s left) of \d+; \d+ renewals?, \d+ too late"),
    ("packets counted, not none", r"\b[1-9]\d* packets, [\d.]+ k?B\b"),
    ("packets so far", r"\bpackets so far: \d+ up, \d+ down"),
    ("a process", r"\(pid \d+\)"),
    ("a time in the log", r"\b\d+ ms$"),
    ("a part of a second", r"\(\d+\.\d s\)"),
    ("a file set aside", r"\.ended-\d{8}T\d{6}\.\d+Z"),
    (
        "the switch's version",
        r"\b(?:Open vSwitch |ovs_version=)[34]\.\d+\.\d+|^\"[34]\.\d+\.\d+\"$",
    ),
    ("its known faults", r"\b\d+ known (?:faults\b|of [34]\.\d+\.\d+)"),
    ("flows of its release", r"\bflows_changed=5\d\d\b"),
    ("ping's totals", r"(?<=packet loss, )time \d+ms|(?<=mdev = ).*"),
    ("a space of later pings", r"(?<=[\da-f]) ?\((?=[\da-f:]+\) \d+ data bytes)"),
)
"""All that may differ between the text and what is seen: what it is, and a regular expression.
Besides, columns may be wider or narrower."""


LEFT_OUT = "…"


class TutorialError(Exception):
    """The text cannot be run."""


@dataclass(slots=True)
class Command:
    """What is typed, and what is printed below it."""

    text: str
    """"" for what a command of an earlier block prints since."""
    first: int
    """The line of the file, from 0, on which the printed lines begin."""
    printed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block that does something."""

    line: int
    """Of its fence, from 1."""
    kind: str
    commands: list[Command]
    text: str
    terminal: int = 1
    goes_on: bool = False
    file: str = ""
    instead: str | None = None
    """Not None: it is not run, but this."""


FENCE = re.compile(r"```(\w*)\s*")
DIRECTIVE = re.compile(r"<!-- test: (.*?)\s*-->", re.DOTALL)
TERMINAL = re.compile(r"terminal (\d+)(, next)?(, goes on)?")
NOT_RUN = re.compile(r"not run: [^;]+(?:; instead: (.+))?", re.DOTALL)


def parse(document: str) -> list[Block]:
    """The blocks that do something, in order.

    Raises:
        TutorialError: a comment that is not understood, or stands above no block.
    """
    blocks = []
    lines = document.splitlines()
    comment = ""
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("<!-- test:"):
            start = number
            while "-->" not in lines[number]:
                number += 1
            comment = "\n".join(lines[start : number + 1])
        elif fence := FENCE.fullmatch(line):
            end = lines.index("```", number + 1)
            block = _block(fence[1], number + 1, lines[number + 1 : end], comment)
            if block is not None:
                blocks.append(block)
            number, comment = end, ""
        elif comment and line:
            raise TutorialError(f"line {number + 1}: {comment!r} stands above no block")
        number += 1
    return blocks


def _block(kind: str, line: int, body: list[str], comment: str) -> Block | None:
    text = "\n".join(body) + "\n"
    if not comment:
        if kind not in ("console", "sh"):
            return None
        return Block(line, kind, _commands(kind, line, body), text)
    directive = DIRECTIVE.fullmatch(comment)
    said = directive[1] if directive else ""
    if said.startswith("file /"):
        return Block(line, kind, [], text, file=said.removeprefix("file "))
    if match := NOT_RUN.fullmatch(said):
        return Block(line, kind, [], text, instead=match[1] or "")
    if match := TERMINAL.fullmatch(said):
        going, goes_on = bool(match[2]), bool(match[3])
        commands = _commands(kind, line, body, going=going)
        return Block(line, kind, commands, text, terminal=int(match[1]), goes_on=goes_on)
    raise TutorialError(f"line {line}: {comment!r} is not understood")


def _commands(kind: str, line: int, body: list[str], *, going: bool = False) -> list[Command]:
    if kind == "sh":
        return [Command("\n".join(body), line + len(body))]
    commands = [Command("", line)] if going else []
    for offset, text in enumerate(body, start=line):
        if text.startswith("# "):
            commands.append(Command(text[2:], offset + 1))
        elif text.startswith("> ") and commands and not commands[-1].printed:
            commands[-1].text += "\n" + text[2:]
            commands[-1].first = offset + 1
        elif text == "^C":
            commands.append(Command(text, offset + 1))
        elif not commands:
            raise TutorialError(f"line {offset + 1}: a console block begins with a command")
        else:
            commands[-1].printed.append(text)
    return commands


def _plain(line: str) -> str:
    for what, pattern in VARIES:
        line = re.sub(pattern, f"<{what}>", line)
    return " ".join(line.split())


def differences(shown: list[str], seen: list[str], *, goes_on: bool = False) -> list[str]:
    """The lines of a diff; none if all lines are the same but for what varies.

    A shown line "…" stands for lines that are left out. With `goes_on` more may have come.
    """
    wanted, got = [_plain(line) for line in shown], [_plain(line) for line in seen]
    if _matches([*wanted, *([LEFT_OUT] if goes_on else [])], got):
        return []
    return list(difflib.ndiff(wanted, got))


def _matches(wanted: list[str], got: list[str]) -> bool:
    parts: list[list[str]] = [[]]
    for line in wanted:
        if line == LEFT_OUT:
            parts.append([])
        else:
            parts[-1].append(line)
    first, *rest = parts
    if not rest:
        return first == got
    if got[: len(first)] != first:
        return False
    at = len(first)
    for part in rest[:-1]:
        while got[at : at + len(part)] != part:
            at += 1
            if at > len(got):
                return False
        at += len(part)
    last = rest[-1]
    return len(got) - at >= len(last) and got[len(got) - len(last) :] == last


def screen(text: str) -> list[str]:
    """What a terminal shows after `text`: cursor movements done, colours left out."""
    rows: list[str] = [""]
    row = column = 0
    for match in re.finditer(r"\x1b\[(\??[\d;]*)([A-Za-z])|\x1b.|[\x00-\x1f]|[^\x00-\x1f]+", text):
        token, number = match[0], int(match[1]) if (match[1] or "").isdigit() else None
        if token == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif token == "\r":
            column = 0
        elif token == "\t" or token[0] >= " ":
            token = " " * (8 - column % 8) if token == "\t" else token
            rows[row] = rows[row][:column].ljust(column) + token + rows[row][column + len(token) :]
            column += len(token)
        elif match[2] == "A":
            row = max(0, row - (number or 1))
        elif match[2] == "K":
            rows[row] = "" if number == 2 else rows[row][:column]
    while rows and not rows[-1].strip():
        rows.pop()
    return [each.rstrip() for each in rows]


class Terminal:
    """A root shell on a terminal, as a reader sits before one; without colours."""

    PROMPT = re.compile(r"\x02(\d+)\x03")

    def __init__(self, directory: Path) -> None:
        self.master, slave = pty.openpty()
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        prompts = {"PS1": "\x02$?\x03", "PS2": ""}
        environment = os.environ | prompts | {"TERM": "xterm", "LC_ALL": "C.UTF-8"}
        self.shell = subprocess.Popen(
            ["setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=directory,
            env=environment,
        )
        os.close(slave)
        self.buffer = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.ended()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def _read(self, seconds: float) -> bool:
        """Take what is there; False if nothing came for so long."""
        if not select.select([self.master], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            raise TutorialError(f"the shell has ended: {self.buffer!r}")
        self.buffer += self._decode(data)
        return True

    def ended(self) -> tuple[list[str], int | None]:
        """Wait for the prompt: the lines before it, and the last command's exit code.

        None for the code: there was no prompt within SECONDS.
        """
        deadline = time.monotonic() + SECONDS
        while not (match := self.PROMPT.search(self.buffer)):
            if not self._read(deadline - time.monotonic()):
                return self._take(len(self.buffer)), None
        lines = self._take(match.start())
        self.buffer = self.buffer[match.end() - match.start() :]
        return lines, int(match[1])

    def lines(self, missing: Callable[[list[str]], list[str]], seconds: float) -> list[str]:
        """Lines of a command that goes on, until nothing is missing or the time is over."""
        deadline = time.monotonic() + seconds
        while missing(screen(self.buffer[: self._whole()])):
            if not self._read(deadline - time.monotonic()):
                break
        return self._take(self._whole())

    def _whole(self) -> int:
        return self.buffer.rfind("\n") + 1

    def _take(self, end: int) -> list[str]:
        lines = screen(self.buffer[:end])
        self.buffer = self.buffer[end:]
        return lines


@dataclass(frozen=True, slots=True)
class Wrong:
    """A command that did not do what the text says."""

    line: int
    command: str
    what: list[str]

    def __str__(self) -> str:
        return "\n".join(
            (f"line {self.line}: {self.command}", *(f"    {each}" for each in self.what))
        )


class Reader:
    """Somebody who types what the text says, block by block."""

    def __init__(
        self,
        directory: Path,
        *,
        patience: float = SECONDS,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`patience`: how long the lines of a command that goes on are awaited, in seconds."""
        self.directory = directory
        self.patience = patience
        self.say = say
        self.terminals: dict[int, Terminal] = {}
        self.seen: list[tuple[Command, list[str]]] = []
        """Commands that printed something else than the text shows, and what."""

    def follow(self, blocks: list[Block]) -> Iterator[Wrong]:
        """Run the blocks; yield what is wrong.

        Raises:
            TutorialError: something does not end, or a shell has.
        """
        for block in blocks:
            yield from self._do(block)

    def updated(self, document: str) -> str:
        """The document with what was seen, where that differs."""
        lines = document.splitlines()
        for command, seen in sorted(self.seen, key=lambda each: -each[0].first):
            lines[command.first : command.first + len(command.printed)] = seen
        return "\n".join(lines) + "\n"

    def _terminal(self, number: int) -> Terminal:
        if number not in self.terminals:
            self.terminals[number] = Terminal(self.directory)
        return self.terminals[number]

    def _do(self, block: Block) -> Iterator[Wrong]:
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text)
            return
        terminal = self._terminal(block.terminal)
        if block.instead is not None:
            if block.instead:
                yield from self._silent(terminal, block.line, block.instead)
            return
        if block.kind == "sh":
            yield from self._silent(terminal, block.line, block.text)
            return
        skipped = False
        for command, following in zip_longest(block.commands, block.commands[1:]):
            self.say(f"{command.first:4}  {command.text or '(next)'}")
            if command.text:
                terminal.type("\x03" if command.text == "^C" else command.text + "\n")
            goes_on = block.goes_on if following is None else following.text == "^C"

            shown = [LEFT_OUT, *command.printed] if skipped else command.printed
            compare = partial(differences, shown, goes_on=goes_on and bool(shown))
            skipped = goes_on and command.printed[-1:] == [LEFT_OUT]  # some may yet come
            if goes_on:
                seen = terminal.lines(compare, self.patience)
            else:
                seen, code = terminal.ended()
                if command.text == "^C" and seen[:1] == [""]:  # the end of the line with ^C
                    seen = seen[1:]
                if code is None:
                    raise TutorialError(
                        f"line {command.first}: {command.text}: does not end; prints {seen}"
                    )
            if found := compare(seen):
                self.seen.append((command, seen))
                yield Wrong(command.first, command.text, found)

    def _silent(self, terminal: Terminal, line: int, text: str) -> Iterator[Wrong]:
        self.say(f"{line:4}  {text.splitlines()[0]} …")
        script = self.directory / ".block.sh"
        script.write_text(text)
        terminal.type(f". {script}\n")
        seen, code = terminal.ended()
        if seen or code:
            yield Wrong(line, text, [*seen, f"exit code {code}; nothing should be printed"])
        if code is None:
            raise TutorialError(f"line {line}: it does not end: {text}")


class Sandbox:
    """Directories and a switch that look like the host's, and are not.

    In a network, mount and PID namespace, as its process 1: so that nothing outlives it, and
    nothing that is not of it can be found or ended. Programs, and the files not named here, are the
    host's.
    """

    def __init__(self) -> None:
        if os.getpid() != 1 or os.geteuid() != 0:
            raise TutorialError("only as the first process of a PID namespace, and as root")
        self.home = Path("/run/home")
        self.switch: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Sandbox:
        _run("ip", "link", "set", "lo", "up")
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")
        _run("mount", "-t", "sysfs", "sysfs", "/sys")  # /sys/class/net of this namespace
        _run("cp", "-a", "/etc", "/run/etc")
        _run("mount", "--bind", "/run/etc", "/etc")
        for name in ("ofgtp", "openvswitch"):
            shutil.rmtree(f"/etc/{name}", ignore_errors=True)
        for hidden in ("/var/lib", "/var/log"):
            _run("mount", "-t", "tmpfs", "tmpfs", hidden)
        self.home.mkdir()
        self._install(Path("/opt/ofgtp"))
        self._start_switch()
        return self

    def __exit__(self, *exception: object) -> None:
        for daemon in reversed(self.switch):
            daemon.kill()
            daemon.wait()

    def _install(self, place: Path) -> None:
        """Make this tree and its environment be in /opt/ofgtp; what else is in /opt stays."""
        if place == ROOT:
            return
        place.parent.mkdir(exist_ok=True)
        was = Path("/run/opt")
        was.mkdir()
        _run("mount", "--bind", place.parent, was)
        _run("mount", "-t", "tmpfs", "tmpfs", place.parent)
        for entry in was.iterdir():
            if entry.is_dir() and entry.name != place.name:
                (place.parent / entry.name).mkdir()
                _run("mount", "--bind", entry, place.parent / entry.name)
        place.mkdir()
        for entry in ROOT.iterdir():
            if entry.name != ".venv":
                (place / entry.name).symlink_to(entry)
        (place / ".venv").symlink_to(sys.prefix)

    def _start_switch(self) -> None:
        """What Debian starts with the package, but that it takes no kernel module."""
        run, database = Path("/run/openvswitch"), Path("/etc/openvswitch/conf.db")
        for directory in (run, database.parent, Path("/var/log/openvswitch")):
            directory.mkdir()
        _run("ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema")
        remote = f"unix:{run}/db.sock"
        self._daemon("ovsdb-server", str(database), f"--remote=p{remote}")
        _run("ovs-vsctl", "--no-wait", "init")
        self._daemon("ovs-vswitchd", remote, "--disable-system")
        version = _run("ovs-vswitchd", "--version").split("\n")[0].split()[-1]
        _run("ovs-vsctl", "set", "Open_vSwitch", ".", f"ovs_version={version}")

    def _daemon(self, name: str, *arguments: str) -> None:
        command = [name, "-vconsole:off", *arguments, "--pidfile", "--log-file"]
        self.switch.append(subprocess.Popen(command))
        answer = ["ovs-appctl", "-t", name, "version"]
        deadline = time.monotonic() + 10
        while subprocess.run(answer, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline or self.switch[-1].poll() is not None:
                raise TutorialError(f"{name} does not start")
            time.sleep(0.05)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TutorialError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout
