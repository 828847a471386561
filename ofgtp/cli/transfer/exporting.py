"""`ofgtp session export`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO

import click

from ofgtp.cli import detail, output
from ofgtp.cli.api import Api
from ofgtp.cli.errors import CliError
from ofgtp.cli.settings import api_options
from ofgtp.cli.transfer.formats import COLUMNS, Session, by_suffix, format_option, see_suffix
from ofgtp.cli.transfer.progress import SHOW_EVERY, progress
from ofgtp.cli.values import ADDRESS, GATEWAY, QOS, qos_of


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
    see_suffix(file, form, "exports")
    shape = form or by_suffix(file) or ("ndjson" if output.wants_json() else "csv")
    with Api() as api, ExitStack() as stack:
        gateways = api.items("/v1/gateways") if sys.stderr.isatty() else ()
        total = sum(sum(each["sessions"].values()) for each in gateways)
        target = stack.enter_context(_target(file))
        show = stack.enter_context(progress(None if any(filters.values()) else total))
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
