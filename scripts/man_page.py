"""Writes the man page of the `ofgtp` command, from the command itself, to standard output.

.venv/bin/python scripts/man_page.py | man -l -
"""

from __future__ import annotations

import click
from cli_doc import commands

from ofgtp import __version__
from ofgtp.cli import cli

HEAD = f"""\
.TH OFGTP 1 "" "ofgtp {__version__}" "User Commands"
.SH NAME
ofgtp \\- look after a GTP-U gateway made of Open vSwitch
"""
FILES = """\
.SH FILES
.TP
.I /etc/ofgtp/ofgtp.toml
The configuration, where $OFGTP_CONFIG names no other file.
.TP
.I /var/lib/ofgtp/sessions.db
The sessions.
.SH SEE ALSO
.BR ovs\\-vswitchd (8),
.BR ovs\\-ofctl (8),
.BR ip\\-route (8)
"""


def verbatim(text: str) -> str:
    """As roff, line by line as it is."""
    lines = (line.rstrip().replace("\\", "\\e").replace("-", "\\-") for line in text.splitlines())
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in lines)


def section(context: click.Context) -> str:
    path = context.command_path.replace("-", "\\-")
    title = ".SH DESCRIPTION" if context.parent is None else f".SS {path}"
    return f"{title}\n.nf\n{verbatim(context.get_help())}\n.fi\n"


def page() -> str:
    first, *others = commands(cli, None)
    return HEAD + section(first) + ".SH COMMANDS\n" + "".join(map(section, others)) + FILES


if __name__ == "__main__":
    print(page(), end="")
