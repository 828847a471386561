"""`ofgtp session import`."""

from __future__ import annotations

import time

import click

from ofgtp.cli import output
from ofgtp.cli.api import Api
from ofgtp.cli.deletion import note_away
from ofgtp.cli.errors import CliError
from ofgtp.cli.settings import api_options
from ofgtp.cli.transfer.formats import by_suffix, format_option, see_suffix
from ofgtp.cli.transfer.progress import progress
from ofgtp.cli.transfer.reading import of_csv, of_ndjson, opened
from ofgtp.cli.transfer.sending import MOST_ERRORS, Batch, Known, batches, send


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
    see_suffix(file, form, "imports")
    started = time.monotonic()
    done = {"created": 0, "replaced": 0, "deleted": 0}
    lines, refused = 0, None
    with opened(file) as source, Api() as api, progress(source.size) as show:
        shape = form or by_suffix(file) or source.looks_like()
        told = of_csv(source, show) if shape == "csv" else of_ndjson(source, show)
        for batch in batches(told, Known(api)):
            show(f"{source.lines:,} lines read; the gateway works", source.octets)
            batch.errors = send(api, batch, done)
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


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"


def _refuse(name: str, batch: Batch, lines: int, done: dict[str, int], shape: str) -> None:
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
