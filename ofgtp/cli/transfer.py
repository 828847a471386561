"""`ofgtp session import` and `export`: very many sessions as CSV or NDJSON, never all in memory.

An import sends batches of at most 100,000 lines, each of which the API does as a whole or not at
all. A session without an id gets the same id each time, so that an import can be repeated.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click

from ofgtp.cli import detail, output
from ofgtp.cli.api import BATCH_LINES, BATCH_S, Api, Refused, tunnel_id
from ofgtp.cli.deletion import note_away
from ofgtp.cli.errors import EXIT_USAGE, CliError
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import ADDRESS, GATEWAY, QOS, qos_of, read_qfi, read_teid

if TYPE_CHECKING:
    from io import BufferedReader

BATCH_BYTES = 31 << 20
"""Most bytes of a batch; the API takes a little more."""
LINE_BYTES = 64 << 10
"""Longest line of a file, in bytes."""
MOST_ERRORS = 100
"""So many errors of a batch are named, as the API has it."""
SHOW_EVERY = 1000
"""The progress bar moves each so many lines."""

COLUMNS = {
    "id": ("id",),
    "gateway": ("gateway",),
    "ue_ip": ("ue_ip",),
    "uplink_teid": ("uplink", "teid"),
    "uplink_remote_ip": ("uplink", "remote_ip"),
    "downlink_teid": ("downlink", "teid"),
    "downlink_remote_ip": ("downlink", "remote_ip"),
    "qfi": ("qfi",),
    "rqi": ("rqi",),
    "qfi_required": ("qfi_required",),
    "qfi_check": ("qfi_check",),
    "ue_ipv6": ("ue_ipv6",),
}
"""The columns of CSV, and where each stands in a session."""
BOOLEANS = {"true": True, "false": False}
"""How CSV has them."""
SHOWN_ONLY = ("state", "reason", "created_at", "updated_at", "counters")
"""Members of a session as the API shows it, which an import passes over."""
SUFFIXES = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
FOREIGN = frozenset({".yaml", ".yml", ".toml", ".xml", ".tsv", ".xls", ".xlsx", ".ods"})
"""Endings of formats that are neither read nor written here."""
NEVER = b'{"op":"none"}\n'
"""A line that the API refuses, in place of one that cannot be read."""
GUARD = "wrong"
"""A member that the API does not know: it refuses a line that has it."""

Show = Callable[[str, int], None]
"""Shows how far something is: in words, and as a part of the total."""
Session = dict[str, Any]


@dataclass(slots=True)
class Wrong:
    """A line that is wrong."""

    errors: list[tuple[str, str]]
    """Members of a session, with dots, and what is wrong with each."""
    session: Session | None = None
    """What else it says."""


Read = tuple[int, Session | Wrong]
"""The number of a line, and a session, an operation, or what is wrong with the line."""

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "ndjson"]),
    help="Else by the file's suffix: .csv, .ndjson, .jsonl.",
)


@click.command(
    "import",
    short_help="Add or replace the sessions of a file.",
    epilog="""\b
CSV: the first line names the columns. All but ue_ip may be left out, or be
empty, and it too where there is a ue_ipv6; no downlink is an idle UE.
  id,gateway,ue_ip,uplink_teid,uplink_remote_ip,downlink_teid,downlink_remote_ip
  phone-1,gw1,10.45.0.7,0x1001,,0x2001,10.1.0.2
Further columns are ue_ipv6, a prefix, qfi, 1 to 63, and rqi, qfi_required and
qfi_check, each true or false. Without a qfi there is no PDU Session Container,
as on S1-U.

\b
NDJSON: each line a session as the API writes it, with bearers and all, or an
operation.
  {"ue_ip": "10.45.0.7", "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"}}
  {"op": "delete", "id": "phone-2"}

\b
Examples:
  ofgtp session import sessions.csv
  ofgtp session export | ssh gateway2 ofgtp session import -""",
)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@format_option
@api_options
def import_sessions(file: str, form: str | None) -> None:
    """Add the sessions of FILE; those that are there are replaced. "-" is standard input.

    Each 100,000 lines are one batch: all of it is done, or nothing. At the first batch with a line
    that is wrong or refused the import ends and names what is wrong with all of its lines, up to
    100 errors; batches before it stay done. Correct the file and import it again: what was done
    already does no harm, for a session is known by its id. One without an id gets
    GATEWAY-UE-ADDRESS.
    """
    _see_suffix(file, form, "imports")
    started = time.monotonic()
    done = {"created": 0, "replaced": 0, "deleted": 0}
    lines, refused = 0, None
    with _opened(file) as source, Api() as api, _progress(source.size) as show:
        shape = form or _by_suffix(file) or source.looks_like()
        told = _of_csv(source, show) if shape == "csv" else _of_ndjson(source, show)
        for batch in _batches(told, _Known(api)):
            show(f"{source.lines:,} lines read; the gateway works", source.octets)
            batch.errors = _send(api, batch, done)
            if batch.errors:
                refused = batch
                break
            lines += len(batch.numbers)
        health = api.health()
    if refused is not None:
        _refuse(source.name, refused, lines, done, shape)
    if output.wants_json():
        output.document({"lines": lines, **done})
    else:
        took = time.monotonic() - started
        changes = ", ".join(f"{count:,} {what}" for what, count in done.items() if count)
        output.say(f"{source.name}: {_lines(lines)}: {changes or 'nothing to do'} ({took:.1f} s)")
    if lines:
        note_away(health, "not connected, so that sessions there are pending")


@click.command(
    "export",
    short_help="Write sessions to a file.",
    epilog="""\b
Examples:
  ofgtp session export sessions.csv
  ofgtp session export --peer 10.1.0.2 --format ndjson""",
)
@click.argument("file", default="-", type=click.Path(dir_okay=False, allow_dash=True))
@format_option
@click.option("--gateway", type=GATEWAY, help="Sessions of this gateway.")
@click.option("--peer", type=ADDRESS, help="Sessions with this peer, uplink or downlink.")
@api_options
def export_sessions(file: str, form: str | None, **filters: str | None) -> None:
    """Write sessions to FILE, so that they can be imported. "-", the default, is standard output.

    Standard output gets CSV, or NDJSON with --json. FILE is written when all is read, not before.
    What an import does not take is left out: states, times and counters, and sessions that control
    planes own.
    """
    _see_suffix(file, form, "exports")
    shape = form or _by_suffix(file) or ("ndjson" if output.wants_json() else "csv")
    with Api() as api, ExitStack() as stack:
        gateways = api.items("/v1/gateways") if sys.stderr.isatty() else ()
        total = sum(sum(each["sessions"].values()) for each in gateways)
        target = stack.enter_context(_target(file))
        show = stack.enter_context(_progress(None if any(filters.values()) else total))
        every = api.sessions(**filters, counters="false")
        count, found = 0, (each for each in every if not each.get("owner"))
        first = [*islice(found, 1)]  # what fails, fails before anything is written
        write = _to_csv(target) if shape == "csv" else _to_ndjson(target)
        for session in chain(first, found):
            write(session)
            count += 1
            if count % SHOW_EVERY == 0:
                show(f"{count:,} sessions", count)
    if file != "-":
        output.note(f"{file}: {count:,} sessions")


# ---- what is read


class _Source:
    """An open file: its lines, and how much of it was read."""

    def __init__(self, file: BufferedReader, name: str, size: int | None) -> None:
        self._file, self.name, self.size = file, name, size
        self.lines = self.octets = 0

    def looks_like(self) -> str:
        """The format, by the first character that is not white."""
        return "ndjson" if self._file.peek().lstrip()[:1] == b"{" else "csv"

    def read(self, show: Show) -> Iterator[bytes]:
        """The lines one by one.

        Raises:
            ValueError: a line is far too long.
        """
        while line := self._file.readline(LINE_BYTES + 1):
            self.lines += 1
            self.octets += len(line)
            if len(line) > LINE_BYTES:
                raise ValueError(f"is longer than {LINE_BYTES} bytes")
            if self.lines % SHOW_EVERY == 0:
                show(f"{self.lines:,} lines read", self.octets)
            yield line


@contextmanager
def _opened(file: str) -> Iterator[_Source]:
    if file == "-":
        yield _Source(cast("BufferedReader", sys.stdin.buffer), "standard input", None)
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}", EXIT_USAGE) from error
    with opened:
        size = Path(file).stat().st_size
        yield _Source(opened, file, size or None)


def _of_ndjson(source: _Source, show: Show) -> Iterator[Read]:
    try:
        for line in source.read(show):
            if not line.isspace():
                yield source.lines, _of_json(line)
    except ValueError as error:
        yield source.lines, _unreadable(str(error))


def _of_json(line: bytes) -> Session | Wrong:
    try:
        value = json.loads(line)
    except ValueError as error:
        return _unreadable(f"is not JSON: {error}")
    return value if isinstance(value, dict) else _unreadable("is not a JSON object")


def _unreadable(why: str) -> Wrong:
    return Wrong([("", why)])


def _of_csv(source: _Source, show: Show) -> Iterator[Read]:
    text = (line.decode("utf-8", "replace") for line in source.read(show))
    rows = csv.reader(text, strict=True)
    number = 1
    try:
        head = [name.strip().lower() for name in next(rows, ())]
        head[:1] = [name.removeprefix("\ufeff") for name in head[:1]]
        if wrong := _wrong_head(head):
            yield number, _unreadable(wrong)
            return
        number = rows.line_num + 1  # where the next row begins: it may have several lines
        for row in rows:
            if any(row):
                wrong = f"has {len(row)} columns and not {len(head)}"
                fits = len(row) == len(head)
                yield number, _of_row(head, row) if fits else _unreadable(wrong)
            number = rows.line_num + 1
    except (csv.Error, ValueError) as error:
        open_quote = "; is a quote open?" if rows.line_num > number else ""
        yield number, _unreadable(f"cannot be read: {error}{open_quote}")


def _wrong_head(head: list[str]) -> str | None:
    unknown = [name for name in head if name not in COLUMNS]
    if unknown:
        return f"{unknown[0]!r} is no column; columns are {', '.join(COLUMNS)}"
    if head and not {"ue_ip", "ue_ipv6"} & {*head}:
        return "the column ue_ip is missing; the first line must name the columns"
    return "a column is there twice" if len(set(head)) < len(head) else None


def _of_row(head: list[str], row: list[str]) -> Session | Wrong:
    session: Session = {}
    errors: list[tuple[str, str]] = []
    for name, cell in zip(head, row, strict=True):
        if value := cell.strip():
            *outer, inner = COLUMNS[name]
            place = session.setdefault(outer[0], {}) if outer else session
            place[inner] = value
            try:
                place[inner] = READERS.get(inner, str)(value)
            except ValueError as error:
                errors.append((".".join(COLUMNS[name]), str(error)))
    return Wrong(errors, session) if errors else session


def _read_boolean(text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise ValueError(f"{text!r} is neither true nor false")
    return BOOLEANS[text.lower()]


READERS: dict[str, Callable[[str], Any]] = {
    "teid": read_teid,
    "qfi": read_qfi,
    **dict.fromkeys(QOS[1:], _read_boolean),
}
"""How the cells of CSV are read that are not just text, by the member that they are."""


# ---- what is sent


@dataclass(slots=True)
class _Batch:
    """Lines for one request, and where they stand in the file."""

    numbers: array[int] = field(default_factory=lambda: array("Q"))
    body: bytearray = field(default_factory=bytearray)
    errors: list[dict[str, Any]] = field(default_factory=list)
    """If there are any, the body has a line at each that the API refuses."""


class _Known:
    """What is asked of the API once, and only if it is needed."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @cached_property
    def only_gateway(self) -> str | None:
        """Where sessions go that do not say; None if there are several gateways."""
        names = [str(each["name"]) for each in self._api.items("/v1/gateways")]
        return names[0] if len(names) == 1 else None


def _batches(told: Iterable[Read], known: _Known) -> Iterator[_Batch]:
    """The lines as operations, in batches."""
    batch = _Batch()
    for number, value in told:
        raw = _refused(value, known) if isinstance(value, Wrong) else _operation(value, known)
        if len(batch.numbers) == BATCH_LINES or len(batch.body) + len(raw) > BATCH_BYTES:
            yield batch
            batch = _Batch()
        batch.numbers.append(number)
        batch.body += raw
        if isinstance(value, Wrong):
            batch.errors += ({"line": number, "loc": k, "msg": msg} for k, msg in value.errors)
            if len(batch.errors) >= MOST_ERRORS:
                break
    if batch.numbers:
        yield batch


def _refused(wrong: Wrong, known: _Known) -> bytes:
    """A line for the API that it refuses, and in which it looks at what else the line says."""
    if wrong.session is None:
        return NEVER
    return _operation({"op": "put", "session": wrong.session, GUARD: True}, known)


def _operation(value: Session, known: _Known) -> bytes:
    """A line for the API, of a session or of an operation."""
    operation = value
    if "op" not in value:
        operation = {"op": "put", "session": value}
    if isinstance(session := operation.get("session"), dict):
        for name in SHOWN_ONLY:
            session.pop(name, None)
        session |= detail.resource(session)
        for end in (session.get("uplink"), session.get("downlink")):
            if isinstance(end, dict):
                end.pop("local_ip", None)
                end.pop("local_ip6", None)
                _read_teid(end)
        gateway = session.get("gateway") or known.only_gateway
        ue = session.get("ue_ip") or session.get("ue_ipv6")
        if session.get("id") is None and gateway and ue:
            session["id"] = tunnel_id(gateway, ue)
    return json.dumps(operation, separators=(",", ":")).encode() + b"\n"


def _read_teid(end: dict[str, Any]) -> None:
    """Make it a number, if it is one: those the API reads quicker. Else the API says so."""
    if isinstance(given := end.get("teid"), str):
        with suppress(ValueError):
            end["teid"] = read_teid(given)


def _send(api: Api, batch: _Batch, done: dict[str, int]) -> list[dict[str, Any]]:
    """Send a batch and add up what it did; the errors, if it was refused, by lines of the file.

    One with errors is sent too: the API finds what is wrong with its other lines.
    """
    told = {(each["line"], each["loc"]) for each in batch.errors}
    unread = {line for line, loc in told if not loc}
    try:
        answer = api.send("POST", "/v1/sessions:batch", bytes(batch.body), seconds=BATCH_S)
    except Refused as error:
        found = error.problem.get("errors")
        if error.status != 422 or not found:
            raise
        found = [{**each, "line": batch.numbers[each["line"] - 1]} for each in found]
        further = [
            each
            for each in found
            if each["line"] not in unread
            and each["loc"] != GUARD
            and (each["line"], each["loc"]) not in told
        ]
        return sorted(batch.errors + further, key=lambda each: int(each["line"]))[:MOST_ERRORS]
    for what, count in (answer or {}).items():
        done[what] += count
    return batch.errors


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"


def _refuse(name: str, batch: _Batch, lines: int, done: dict[str, int], shape: str) -> None:
    """Name the lines at fault, and end."""
    for error in batch.errors:
        loc = error["loc"].replace(".", "_") if shape == "csv" else error["loc"]
        output.note(f"{name}:{error['line']}: {loc}{': ' if loc else ''}{error['msg']}")
    if len(batch.errors) == MOST_ERRORS:
        output.note(f"{name}: these are the first {MOST_ERRORS} errors: there may be more")
    if output.wants_json():
        output.document({"lines": lines, **done, "errors": batch.errors})
    first = batch.numbers[0]
    well = f"what stands before it is done ({_lines(lines)})" if lines else "nothing was changed"
    from_there = f"nothing from line {first:,} on was imported; " if lines else ""
    raise CliError(f"{name}: {from_there}{well}; correct the file and import it again")


# ---- what is written


def _to_ndjson(target: IO[str]) -> Callable[[Session], None]:
    def write(session: Session) -> None:
        up, down = session["uplink"], session["downlink"]
        kept = {key: session[key] for key in ("id", "gateway", "ue_ip")}
        uplink = {"teid": up["teid"], "remote_ip": up["remote_ip"]}
        if up["remote_ip"] is None:
            del uplink["remote_ip"]
        made = {**kept, "uplink": uplink, "downlink": down, **qos_of(session)}
        json.dump(made | detail.resource(session), target)
        target.write("\n")

    return write


def _to_csv(target: IO[str]) -> Callable[[Session], None]:
    rows = csv.writer(target, lineterminator="\n")
    rows.writerow(COLUMNS)

    def write(session: Session) -> None:
        if further := [name for name in detail.resource(session) if name not in COLUMNS]:
            raise CliError(
                f"session {session['id']} has {' and '.join(further)}, for which CSV has no column:"
                " export NDJSON (--format ndjson)"
            )
        up, down = session["uplink"], session["downlink"] or {}
        ids = [session[key] or "" for key in ("id", "gateway", "ue_ip")]
        to_ue = f"{down['teid']:#x}" if down else ""
        ends = [f"{up['teid']:#x}", up["remote_ip"] or "", to_ue, down.get("remote_ip", "")]
        qos = [json.dumps(value) for value in qos_of(session).values()]
        rows.writerow([*ids, *ends, *(qos or [""] * len(QOS)), session.get("ue_ipv6") or ""])

    return write


@contextmanager
def _target(file: str) -> Iterator[IO[str]]:
    """Where to write; a file is replaced at the end, if all went well."""
    path = Path(file)
    if file == "-":
        yield sys.stdout
        return
    plain = path.is_file() or not path.exists()
    part = path.with_name(f".{path.name}.part") if plain else path
    try:
        with part.open("w", encoding="utf-8", newline="") as target:
            yield target
        if plain:
            part.replace(path)
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}") from error
    finally:
        if plain:
            part.unlink(missing_ok=True)


def _see_suffix(file: str, form: str | None, does: str) -> None:
    """See that the name of a file does not promise another format.

    Raises:
        CliError: it does.
    """
    suffix = Path(file).suffix.lower()
    json_lines = does == "imports" or output.wants_json()
    if form is None and (suffix in FOREIGN or (suffix == ".json" and not json_lines)):
        raise CliError(
            f"{file}: this {does} no {suffix}: a file ends in .csv (CSV), or in .ndjson or .jsonl"
            " (one JSON object a line); for another ending give --format",
            EXIT_USAGE,
        )


def _by_suffix(file: str) -> str | None:
    return SUFFIXES.get(Path(file).suffix.lower())


@contextmanager
def _progress(total: int | None) -> Iterator[Show]:
    """A bar on standard error, if that is a terminal; gone at the end."""
    if not sys.stderr.isatty():
        yield lambda text, part: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda text, part: bar.update(task, description=text, completed=part)
