"""`ofgtp events`: what happens, a line each, as it happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ofgtp.cli import output
from ofgtp.cli.api import Api
from ofgtp.cli.errors import EXIT_UNREACHABLE, CliError
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import GATEWAY, SESSION

AGAIN_S = 1.0
"""Pause before a broken stream of events is opened again, in seconds."""


@click.command(
    epilog="""\b
Examples:
  ofgtp events                       until Ctrl-C
  ofgtp events --kept                and first what the API has kept
  ofgtp events --kind path_down --kind error_indicated
  ofgtp events --json | jq -c 'select(.gateway == "gw1")'"""
)
@click.option("--kept", is_flag=True, help="Begin with those kept: the last 10,000.")
@click.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    help="Of this kind. May be given several times.",
)
@click.option("--session", metavar="SESSION", type=SESSION, help="Of this session alone.")
@click.option("--gateway", type=GATEWAY, help="Of this gateway alone.")
@api_options
def events(kept: bool, kinds: tuple[str, ...], session: str | None, gateway: str | None) -> None:
    """Follow what happens to gateways, peers and sessions.

    One line each: when, what kind, and what is known of it; with --json one object a line. It goes
    on over a restart of ofgtp, and ends with Ctrl-C, exit code 0.
    """
    try:
        with Api() as api:
            if gateway is not None:
                api.need_gateway(gateway)
            wanted = {"session": session and api.id_of(session), "gateway": gateway}
            show(api, wanted, kinds=kinds, kept=kept)
    except KeyboardInterrupt:
        sys.exit(0)


def show(
    api: Api,
    wanted: Mapping[str, str | None],
    *,
    kinds: tuple[str, ...] = (),
    kept: bool = False,
) -> None:
    """Print what happens, until the command is ended.

    Args:
        api: what tells of it.
        wanted: facts that an event must have; None: any.
        kinds: those to print; none: all.
        kept: begin with the events that are kept.
    """
    for event in _followed(api, kept):
        if kinds and event["kind"] not in kinds:
            continue
        if any(event.get(key) != value for key, value in wanted.items() if value):
            continue
        if output.wants_json():
            output.line(event)
        else:
            output.say(_sentence(event))
            sys.stdout.flush()


def _followed(api: Api, kept: bool) -> Iterator[dict[str, Any]]:
    """All events from now on, or first those that are kept; the stream is opened again when it
    breaks."""
    stood = broken = False
    while True:
        try:
            for event in api.events(kept=kept):
                if event["kind"] != "open":
                    yield event
                    continue
                if broken or not stood:
                    output.note("it is there again" if broken else f"events of {api.url}:")
                stood, broken = True, False
        except CliError as error:
            if not stood or error.code != EXIT_UNREACHABLE:
                raise
            if not broken:
                output.note(f"ofgtp: {error}; trying again")
            broken = True
            time.sleep(AGAIN_S)


def _sentence(event: Mapping[str, Any]) -> str:
    from datetime import datetime

    at = datetime.fromisoformat(event["at"]).astimezone()
    facts = (f"{key}={value}" for key, value in event.items() if key not in ("at", "kind"))
    return f"{at:%H:%M:%S}  {event['kind']:<16}  {' '.join(facts)}"
