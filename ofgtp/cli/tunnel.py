"""`ofgtp tunnel`: sessions in the grammar of libgtpnl's gtp-tunnel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, TypeVar

import click

from ofgtp.cli import detail, output
from ofgtp.cli.api import Api, bearer_path, session_path, tunnel_id
from ofgtp.cli.errors import EXIT_NOT_FOUND, CliError
from ofgtp.cli.groups import Abbreviated
from ofgtp.cli.session import warn_unless_active
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import ADDRESS, GATEWAY, TEID, UE, by_ue, ues_of

_F = TypeVar("_F", bound=Callable[..., Any])


class _Tunnels(Abbreviated):
    words = (
        ("add", "add"),
        ("delete", "delete"),
        ("list", "list"),
        ("ls", "list"),
        ("rm", "delete"),
    )


@click.group(
    cls=_Tunnels,
    short_help="Sessions, in the words of libgtpnl's gtp-tunnel.",
    epilog="""\b
Where this differs from osmocom's gtp-tunnel:
  GATEWAY        stands where that has a GTP device of the kernel
  v0             is refused: GTPv0 is not spoken here
  IPv6           is refused for peers; a UE may have a prefix, 2001:db8:a:1::/64
  delete         takes the family (ip) or leaves it out; that demands it
  TEIDs          may be 0x… too; what is no number is refused, and not 0
  rights         the API's token, where it has one; that needs root
  list           may name a GATEWAY; an idle UE is shown with TEID 0 and
                 sgsn_addr 0.0.0.0, a relay without UE address with ms_addr
                 0.0.0.0, and once for each of its two sides; a UE with an
                 address and an IPv6 prefix, once for each of these
  exit codes     0 done, 1 refused, 2 wrong command line, 3 no API, 4 no tunnel

\b
LOCAL-TEID is the TEID of the uplink, at the gateway; REMOTE-TEID that of
the downlink, at the peer. Each tunnel is a session, or a bearer of one that
has a TEID of its own; a new one is a session with the id GATEWAY-UE-ADDRESS.
Commands may be shortened: a, d, del, l; ls is list, rm is delete.""",
)
def tunnel() -> None:
    """Sessions, in the words of gtp-tunnel.

    \b
      ofgtp tunnel add gw1 v1 4097 8193 10.45.0.7 10.1.0.2
      ofgtp tunnel list
      ofgtp tunnel delete gw1 v1 4097

    For scripts that were written for osmocom's libgtpnl and the kernel's GTP: the same arguments in
    the same order, and the same listing.
    """


def _gateway(needed: bool = True) -> Callable[[_F], _F]:
    return click.argument("gateway", type=GATEWAY, required=needed)


def _version(_: click.Context, __: click.Parameter, value: str) -> str:
    if value == "v0":
        raise click.UsageError("GTPv0 is not spoken here: only v1")
    if value != "v1":
        raise click.UsageError(f"{value!r} is no version of GTP-U: only v1")
    return value


_version_argument = click.argument("version", metavar="v1", callback=_version, expose_value=False)
_local_teid = click.argument("local_teid", metavar="LOCAL-TEID", type=TEID)


@tunnel.command()
@_gateway()
@_version_argument
@_local_teid
@click.argument("remote_teid", metavar="REMOTE-TEID", type=TEID)
@click.argument("ue", metavar="UE-IP", type=UE)
@click.argument("peer_ip", metavar="PEER-IP", type=ADDRESS)
@api_options
def add(gateway: str, local_teid: int, remote_teid: int, ue: str, peer_ip: str) -> None:
    """Add a tunnel. Prints nothing if all is well.

    \b
      ofgtp tunnel add gw1 v1 4097 8193 10.45.0.7 10.1.0.2
    """
    session = {
        "id": tunnel_id(gateway, ue),
        "gateway": gateway,
        **by_ue(ue),
        "uplink": {"teid": local_teid},
        "downlink": {"teid": remote_teid, "remote_ip": peer_ip},
    }
    with Api() as api:
        answer = api.add(session, f"a tunnel to {ue}")
    if output.wants_json():
        output.document(answer)
    else:
        warn_unless_active(answer)


def _family(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value == "ip6":
        raise click.UsageError("there are no IPv6 tunnels here: only ip")
    return value


@tunnel.command()
@_gateway()
@_version_argument
@_local_teid
@click.argument(
    "family",
    metavar="[ip]",
    type=click.Choice(["ip", "ip6"]),
    required=False,
    callback=_family,
    expose_value=False,
)
@api_options
def delete(gateway: str, local_teid: int) -> None:
    """Delete the tunnel with this TEID. Prints nothing if all is well.

    Of a bearer's own the bearer goes, of a relay's, either side's, the relay.

    \b
      ofgtp tunnel delete gw1 v1 4097
      ofgtp tunnel del gw1 v1 4097 ip
    """
    with Api() as api:
        found = list(api.sessions(gateway=gateway, teid=local_teid))
        if not found:
            raise CliError(f"gateway {gateway} has no tunnel {local_teid}", EXIT_NOT_FOUND)
        if not api.delete_at(_path(found[0], local_teid)):
            output.note("the switch is away: its flows go as soon as it is back")


def _path(session: dict[str, Any], teid: int) -> str:
    """Of what has this TEID: a session, or one of its bearers."""
    path = session_path(session["id"])
    for bearer in session.get("bearers") or ():
        if bearer["uplink"] and bearer["uplink"]["teid"] == teid:
            return bearer_path(path, bearer["id"])
    return path


@tunnel.command("list")
@_gateway(needed=False)
@api_options
def list_(gateway: str | None) -> None:
    """List tunnels, as gtp-tunnel does.

    \b
      gw1 version 1 tei 4097/8193 ms_addr 10.45.0.7 sgsn_addr 10.1.0.2
    """
    with Api() as api:
        found = api.sessions(gateway=gateway)
        if output.wants_json():
            output.listing(found)
            return
        for each in found:
            for (teid, far), ue in product(detail.tunnels(each), ues_of(each) or ["0.0.0.0"]):
                down = far or {"teid": 0, "remote_ip": "0.0.0.0"}
                output.say(
                    f"{each['gateway']} version 1 tei {teid}/{down['teid']} "
                    f"ms_addr {ue} sgsn_addr {down['remote_ip']}"
                )
