"""Writes docs/cli.md, from the `ofgtp` command itself.

    .venv/bin/python scripts/cli_doc.py [FILE]

A test fails while the file differs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import click

from ofgtp.cli import cli

WIDTH = 90
HEAD = """\
<!-- Generated: .venv/bin/python scripts/cli_doc.py -->

# The `ofgtp` command

`make install` and the Debian package put it into the path; after `make setup` it is
`.venv/bin/ofgtp`; `pip install .` puts it beside `ryu-manager`. It speaks to a running ofgtp by its
REST API; what else a command needs, its help says. What follows is what `ofgtp COMMAND --help`
prints.

It prints tables for people, without colours and with nothing cut where the output is not a
terminal, and JSON with `--json`. An error is one line on standard error, with one of these exit
codes:

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it could not be done: refused, in conflict, something is in the way; or `status`, `doctor`, \
`trace` or `pfcp` has found something wrong |
| 2 | the command line or the configuration is wrong |
| 3 | the API cannot be reached |
| 4 | there is no such session, bearer, gateway, peer, route or tunnel |
| 130 | ended by Ctrl-C (`ofgtp events`, `ofgtp capture`: 0) |
"""


def commands(command: click.Command, parent: click.Context | None) -> Iterator[click.Context]:
    """A command and all below it."""
    name = str(command.name) if parent else "ofgtp"
    widths = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(
        command, parent=parent, info_name=name, **widths, **command.context_settings
    )
    yield context
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            if below is not None and not below.hidden:
                yield from commands(below, context)


def document() -> str:
    contexts = list(commands(cli, None))
    paths = [context.command_path for context in contexts]
    parts = [HEAD]
    parts.append("| command | |\n|---|---|")
    for context, path in zip(contexts[1:], paths[1:], strict=True):
        anchor = path.replace(" ", "-")
        parts.append(f"| [`{path}`](#{anchor}) | {context.command.get_short_help_str(WIDTH)} |")
    for context, path in zip(contexts, paths, strict=True):
        lines = (line.rstrip() for line in context.get_help().splitlines())
        parts.append(f"\n## {path}\n\n```text\n" + "\n".join(lines) + "\n```")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description="write docs/cli.md")
    parser.add_argument("file", type=Path, nargs="?", default=root / "docs" / "cli.md")
    parser.parse_args().file.write_text(document())
