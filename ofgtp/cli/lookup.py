"""Which session takes a packet to an address: `ofgtp route get`."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from ofgtp.cli import route_lines
from ofgtp.cli.api import Api
from ofgtp.cli.errors import EXIT_NOT_FOUND, EXIT_USAGE, CliError
from ofgtp.cli.values import by_ue, ues_of

Json = dict[str, Any]


def taking(api: Api, address: str, gateway: str | None) -> Json:
    """The session that takes a packet to an address.

    Networks behind UEs are not an index of the API's: where no UE has the address, all sessions are
    looked at.

    Raises:
        CliError: none does, or sessions of several gateways do.
    """
    found = list(api.sessions(**by_ue(address), gateway=gateway))
    if not found:
        every = api.sessions(gateway=gateway, counters="false")
        found = [each for each in every if any(_holds(to, address) for to in _behind(each))]
    if not found:
        where = f" of gateway {gateway}" if gateway else ""
        raise CliError(f"no session{where} takes a packet to {address}", EXIT_NOT_FOUND)
    if len(found) > 1:
        names = " or ".join(each["gateway"] for each in found)
        raise CliError(f"several gateways have {address}: add dev {names}", EXIT_USAGE)
    return found[0]


def line(session: Json, address: str) -> str:
    """How a packet to an address goes, in the words of a route."""
    prefixes = (*ues_of(session), *_behind(session))
    to = next(each for each in prefixes if _holds(each, address))
    parts = [route_lines.line(session, to)]
    if session["downlink"] is None:
        parts.append("idle")
    parts.append(f"session {session['id']}")
    if bearers := [each["id"] for each in session.get("bearers") or ()]:
        parts.append(f"unless by filter of bearer {', '.join(bearers)}")
    return " ".join(parts)


def _behind(session: Json) -> list[str]:
    """Networks behind a UE, which overlap neither each other nor UEs' addresses."""
    return session.get("framed_routes") or []


def _holds(prefix: str, address: str) -> bool:
    return ip_address(address) in ip_network(prefix)
