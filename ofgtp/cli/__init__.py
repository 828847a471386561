"""The `ofgtp` command. Every failure is one line on standard error and an exit code.

A command's module is imported when the command is asked for, and imports what is heavy when it
needs it: a script may call `ofgtp` very often.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand

from ofgtp import __version__
from ofgtp.cli.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOT_FOUND,
    EXIT_USAGE,
    CliError,
)
from ofgtp.cli.groups import InOrder
from ofgtp.cli.settings import shown_options
from ofgtp.core.errors import ConfigError, OfgtpError, UnknownGateway, UnknownSession

COMMANDS = {
    "session": "session:session",
    "bearer": "bearer:bearer",
    "route": "route:route",
    "tunnel": "tunnel:tunnel",
    "trace": "trace:trace",
    "capture": "capture:capture",
    "gateway": "gateway:gateway",
    "peer": "peer:peer",
    "pfcp": "pfcp:pfcp",
    "usage": "usage:usage",
    "status": "status:status",
    "events": "events:events",
    "doctor": "doctor:doctor",
    "check-config": "gateway:check_config",
    "reload": "reload:reload",
    "completion": "completion:completion",
}
"""Each command's module within this package, and its name there."""


class LazyGroup(InOrder):
    """Knows its commands by name, and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def named(self, ctx: click.Context, name: str) -> click.Command | None:
        module, _, name = COMMANDS[name].partition(":")
        command = getattr(importlib.import_module(f"ofgtp.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:  # click can suggest only what was imported
            raise NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ofgtp", message="%(prog)s %(version)s")
@shown_options
def cli() -> None:
    """Look after an ofgtp gateway: GTP-U tunnels as you know them from `ip`.

    The configuration is $OFGTP_CONFIG, else /etc/ofgtp/ofgtp.toml. --url, --token-file and --json
    may stand behind any command, too. Commands may be shortened (ofgtp sess l) as long as it is
    clear what is meant; ls is list, rm is delete.

    Exit codes: 0 done; 1 could not be done; 2 wrong command line or configuration; 3 the API cannot
    be reached; 4 not found; 130 ended by Ctrl-C.
    """


def main() -> None:
    """Run the command; the entry point."""
    logging.getLogger("ofgtp").addHandler(logging.NullHandler())  # what matters is said below
    try:
        code = cli.main(prog_name="ofgtp", standalone_mode=False)
        sys.stdout.flush()
    except NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(EXIT_USAGE)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "ofgtp"
        _fail(f"{error.format_message().rstrip('.')} (see: {path} --help)", EXIT_USAGE, path)
    except click.ClickException as error:
        _fail(error.format_message(), EXIT_FAILED)
    except CliError as error:
        _fail(str(error), error.code)
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    except (UnknownGateway, UnknownSession) as error:
        _fail(str(error), EXIT_NOT_FOUND)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Python would flush standard output once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)  # as click does
    except (OfgtpError, OSError) as error:
        _fail(str(error), EXIT_FAILED)
    except Exception as error:  # a fault of ours, but no operator reads a traceback
        _fail(f"internal error: {error!r}", EXIT_FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(reason: str, code: int, command: str = "ofgtp") -> NoReturn:
    click.echo(f"{command}: {' '.join(reason.split())}", err=True)
    sys.exit(code)
