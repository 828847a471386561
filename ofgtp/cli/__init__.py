"""The `ofgtp` command. Every failure is one line on standard error and an exit code.

0: done. 1: it could not be done. 2: the configuration or the command line is wrong.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from ofgtp import __version__, config
from ofgtp.control import removal
from ofgtp.core.errors import ConfigError, OfgtpError, UnknownGateway
from ofgtp.core.model import Gateway

EXIT_FAILED, EXIT_USAGE = 1, 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ofgtp", message="%(prog)s %(version)s")
def cli() -> None:
    """Look after an ofgtp gateway. The file is $OFGTP_CONFIG, else /etc/ofgtp/ofgtp.toml."""


@cli.command("check-config")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check_config(file: Path | None) -> None:
    """Read a configuration FILE as the controller would, and say what is wrong with it.

    Nothing is touched, and the host is not looked at.
    """
    found = config.load(file or config.default_path())
    found.rest.token()
    names = ", ".join(gateway.name for gateway in found.gateways)
    noun = "gateway" if len(found.gateways) == 1 else "gateways"
    host = f"[{found.rest.host}]" if ":" in found.rest.host else found.rest.host
    click.echo(
        f"{found.path}: good: {noun} {names}; REST on {host}:{found.rest.port}; "
        f'ownership = "{found.controller.ownership}"'
    )


@cli.group()
def gateway() -> None:
    """Gateways of the configuration."""


@gateway.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every gateway of the configuration.")
def remove(name: str | None, everything: bool) -> None:
    """Take gateway NAME off this host: bridge, addresses, routes, nftables, offloads.

    For root, on the switch's host, with the controller stopped. Sessions stay in the store. Does
    nothing where nothing is left, so it can be repeated.
    """
    if everything == (name is not None):
        raise click.UsageError("give the NAME of a gateway, or --all")
    gateways = config.load(config.default_path()).gateways
    chosen = [gateway for gateway in gateways if everything or gateway.name == name]
    if not chosen:
        raise UnknownGateway(str(name))
    if os.geteuid() != 0:
        raise OfgtpError("this needs root, on the switch's host")
    with removal.controller_kept_out(chosen):
        well = [_take_back(gateway) for gateway in chosen]
    if not all(well):
        sys.exit(EXIT_FAILED)


def _take_back(gateway: Gateway) -> bool:
    """Take one gateway back and tell; False if something was in the way."""
    done = False
    try:
        for fact in removal.take_back(gateway):
            click.echo(f"{gateway.name}: {fact}")
            done = True
    except OfgtpError as error:
        click.echo(f"ofgtp: {gateway.name}: {error}", err=True)
        return False
    if not done:
        click.echo(f"{gateway.name}: nothing was left to take back")
    return True


def main() -> None:
    """Run the command; the entry point."""
    logging.getLogger("ofgtp").addHandler(logging.NullHandler())  # what matters is said below
    try:
        cli()
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    except (OfgtpError, OSError) as error:
        _fail(str(error), EXIT_FAILED)
    except Exception as error:  # a fault of ours, but no operator reads a traceback
        _fail(f"internal error: {error!r}", EXIT_FAILED)


def _fail(reason: str, code: int) -> None:
    click.echo(f"ofgtp: {' '.join(reason.split())}", err=True)
    sys.exit(code)
