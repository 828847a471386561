"""`ofgtp reload`: have the controller that runs take a changed ofgtp.toml."""

from __future__ import annotations

import sys

import click

from ofgtp.cli import output
from ofgtp.cli.errors import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, CliError
from ofgtp.cli.settings import api_options

OTHER_TOKEN = "if token_file names another file now: systemctl kill -s HUP --kill-whom=main ofgtp"
OTHER_LISTEN = "if `listen` has changed in the file: that needs a restart"


@click.command(short_help="Take a changed ofgtp.toml, without a restart.")
@api_options
def reload() -> None:
    """Have the controller that runs read its ofgtp.toml again. No tunnel is touched.

    All of what has changed is taken, or nothing. Taken are ue_pools that grow, access_routes,
    access_allow, dscp, echo_seconds, t3_response_seconds, n3_requests, on_path_down,
    router_advertisement, dns6; peers, on_peer_lost, heartbeat_seconds and network_instances of
    [gateway.pfcp]; usage_round_seconds; token_file and what it holds, hosts. All else needs a
    restart: if any of it has changed this says so, and takes nothing.

    Exit codes: 0 taken, or nothing has changed; 1 something needs a restart, or is in the way; 2
    the file is wrong. With 1 and 2 nothing has changed.
    """
    from ofgtp.cli.api import Api, Refused

    with Api() as api:
        try:
            done = api.send("POST", "/v1/reload", {}) or {}
        except Refused as error:
            if error.status == 422:
                raise CliError(str(error.problem["detail"]), EXIT_USAGE) from error
            if error.status == 401:
                raise CliError(f"{error}; {OTHER_TOKEN}") from error
            if error.status != 409:
                raise
            reasons = error.problem.get("errors", ())
            output.note("ofgtp reload: nothing was taken")
            for each in reasons:
                output.note(f"{each['loc']}: {each['msg']}")
            sys.exit(EXIT_FAILED)
        except CliError as error:
            if error.code == EXIT_UNREACHABLE:
                raise CliError(f"{error}; {OTHER_LISTEN}", error.code) from error
            raise
    if output.wants_json():
        output.document(done)
        return
    if not done["taken"]:
        output.say(f"{done['file']}: nothing has changed")
    for each in done["taken"]:
        where = "" if each["gateway"] is None else f"{each['gateway']}: "
        output.say(f"{where}{each['key']}: {each['text']}")
    for each in done["pending"]:
        output.note(f"{each['gateway']}: not done yet: {each['reason']}")
