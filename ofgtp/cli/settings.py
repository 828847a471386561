"""What the command line says to every command: where the API is, and how to print.

`ofgtp --json session list` and `ofgtp session list --json` are the same: the options stand on the
group and on every command, and the last one wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings:
    """The options that all commands share; None: not given, look into the environment."""

    url: str | None = None
    token_file: str | None = None
    json: bool = False


def settings() -> Settings:
    """Those of the command that runs."""
    context = click.get_current_context(silent=True)
    return context.find_root().ensure_object(Settings) if context else Settings()


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    found = context.find_root().ensure_object(Settings)
    if value:
        setattr(found, str(option.name), value)


def json_option(command: _F) -> _F:
    """Add --json to a command; `output` and `settings()` know of it."""
    return click.option(
        "-j",
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_keep,
        help="Print JSON, for scripts.",
    )(command)


def api_options(command: _F) -> _F:
    """Add --url, --token-file and --json to a command; `Api` knows of them.

    The help of a command shows --json alone; that of `ofgtp` itself shows all three.
    """
    return _options(command, hidden=True)


def shown_options(command: _F) -> _F:
    """The same, for `ofgtp` itself."""
    return _options(command, hidden=False)


def _options(command: _F, hidden: bool) -> _F:
    command = json_option(command)
    command = click.option(
        "--token-file",
        metavar="FILE",
        expose_value=False,
        callback=_keep,
        hidden=hidden,
        help="File with the API's token. Else $OFGTP_TOKEN_FILE, else the configuration's.",
    )(command)
    return click.option(
        "--url",
        metavar="URL",
        expose_value=False,
        callback=_keep,
        hidden=hidden,
        help="Where the API is. Else $OFGTP_URL, else the configuration's listen address.",
    )(command)
