"""`ofgtp gateway` and `ofgtp check-config`: the configuration, and what it makes of the host."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ofgtp.cli import output
from ofgtp.cli.errors import EXIT_FAILED, CliError
from ofgtp.cli.groups import InOrder
from ofgtp.cli.settings import api_options, json_option

if TYPE_CHECKING:
    from ofgtp.core.model import Gateway


@click.command("check-config", short_help="Check a configuration file.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@json_option
def check_config(file: Path | None) -> None:
    """Read a configuration FILE as the controller would, and say what is wrong with it.

    Without FILE: $OFGTP_CONFIG, else /etc/ofgtp/ofgtp.toml. Nothing is touched, and the host is
    not looked at.
    """
    from ofgtp import config

    found = config.load(file or config.default_path())
    found.rest.token()
    names = [gateway.name for gateway in found.gateways]
    host = f"[{found.rest.host}]" if ":" in found.rest.host else found.rest.host
    listen, ownership = f"{host}:{found.rest.port}", found.controller.ownership
    if output.wants_json():
        facts = {"gateways": names, "listen": listen, "ownership": ownership}
        output.document({"file": str(found.path), **facts})
        return
    noun = "gateway" if len(names) == 1 else "gateways"
    output.say(
        f"{found.path}: good: {noun} {', '.join(names)}; REST on {listen}; "
        f'ownership = "{ownership}"'
    )


@click.group(cls=InOrder, short_help="Gateways: list them, take them off this host.")
def gateway() -> None:
    """Gateways: list them, and take them off this host."""


@gateway.command("list")
@api_options
def list_gateways() -> None:
    """List the gateways of the controller that runs."""
    from ofgtp.cli.api import Api

    with Api() as api:
        items = list(api.items("/v1/gateways"))
    if output.wants_json():
        output.listing(items)
        return
    rows = (
        (
            item["name"],
            "yes" if item["connected"] else "no",
            item["bridge"],
            f"{item['access']['port']} {item['access']['ip']}",
            f"{item['core']['port']} {item['core']['ip']}",
            sum(item["sessions"].values()),
        )
        for item in items
    )
    output.table(("GATEWAY", "CONNECTED", "BRIDGE", "ACCESS", "CORE", ">SESSIONS"), rows)
    for item in items:
        if item.get("problem"):
            output.note(f"{item['name']}: {item['problem']}")


@gateway.command(short_help="Take a gateway off this host (root).")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every gateway of the configuration.")
@json_option
def remove(name: str | None, everything: bool) -> None:
    """Take gateway NAME off this host: bridge, addresses, routes, nftables, offloads.

    For root, on the switch's host, with the controller stopped. The gateway is found in
    $OFGTP_CONFIG, else /etc/ofgtp/ofgtp.toml. Sessions stay in the store. Does nothing where
    nothing is left, so it can be repeated.
    """
    from ofgtp import config
    from ofgtp.control.host import removal
    from ofgtp.core.errors import UnknownGateway

    if everything == (name is not None):
        raise click.UsageError("give the NAME of a gateway, or --all")
    gateways = config.load(config.default_path()).gateways
    chosen = [gateway for gateway in gateways if everything or gateway.name == name]
    if not chosen:
        raise UnknownGateway(str(name))
    if os.geteuid() != 0:
        raise CliError("this needs root, on the switch's host")
    with removal.controller_kept_out(chosen):
        done = [_take_back(gateway) for gateway in chosen]
    if output.wants_json():
        output.listing(item for item, _ in done)
    if not all(well for _, well in done):
        sys.exit(EXIT_FAILED)


def _take_back(gateway: Gateway) -> tuple[dict[str, object], bool]:
    """Take one gateway back and tell; the flag is False if something was in the way."""
    from ofgtp.control.host import removal
    from ofgtp.core.errors import OfgtpError

    quiet, facts = output.wants_json(), list[str]()
    item: dict[str, object] = {"gateway": gateway.name, "done": facts}
    try:
        for fact in removal.take_back(gateway):
            facts.append(fact)
            if not quiet:
                output.say(f"{gateway.name}: {fact}")
    except OfgtpError as error:
        output.note(f"ofgtp: {gateway.name}: {error}")
        return item, False
    if not facts and not quiet:
        output.say(f"{gateway.name}: nothing was left to take back")
    return item, True
