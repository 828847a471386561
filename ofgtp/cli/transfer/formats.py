"""CSV and NDJSON: which a file is, and the columns of CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ofgtp.cli import output
from ofgtp.cli.errors import EXIT_USAGE, CliError

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
SUFFIXES = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
FOREIGN = frozenset({".yaml", ".yml", ".toml", ".xml", ".tsv", ".xls", ".xlsx", ".ods"})
"""Endings of formats that are neither read nor written here."""
Session = dict[str, Any]

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "ndjson"]),
    help="Else by the file's suffix: .csv, .ndjson, .jsonl.",
)


def see_suffix(file: str, form: str | None, does: str) -> None:
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


def by_suffix(file: str) -> str | None:
    """The format that the name of a file tells; None if it tells none."""
    return SUFFIXES.get(Path(file).suffix.lower())
