"""docs/cli.md says what the command says of itself today."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ofgtp.cli import COMMANDS, cli

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "cli.md"
COMMAND = "scripts/cli_doc.py"


def test_it_is_not_stale(tmp_path: Path) -> None:
    made = tmp_path / "cli.md"
    argv = [sys.executable, COMMAND, str(made)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    again = f".venv/bin/python {COMMAND}"
    assert again in DOCUMENT.read_text()
    assert DOCUMENT.read_text() == made.read_text(), f"stale; run {again}"


def groups(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[click.Context]:
    if isinstance(command, click.Group):
        widths = {"terminal_width": 80, "max_content_width": 80}
        context = click.Context(command, parent=parent, info_name=name, **widths)
        yield context
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            assert below is not None
            yield from groups(below, each, context)


@pytest.mark.parametrize("context", [*groups(cli, "ofgtp")], ids=lambda each: each.command_path)
def test_no_summary_is_cut_at_80_columns(context: click.Context) -> None:
    listed = context.get_help().partition("\nCommands:\n")[2]
    assert listed and "..." not in listed


def test_it_is_whole() -> None:
    text = DOCUMENT.read_text()
    for command in COMMANDS:
        assert f"\n## ofgtp {command}\n\n```text\nUsage: ofgtp {command} " in text
    for detail in ("\n## ofgtp session import\n", "GTPv0 is not spoken here", "encap gtp [id TEID"):
        assert detail in text
