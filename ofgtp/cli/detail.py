"""What a session has beyond a tunnel pair, on the command line: options, JSON, and words.

Bearers, rates, the core side of a relay, breakout, framed routes, packets that are held.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from ofgtp.cli import output
from ofgtp.cli.values import ADDRESS, KBPS, OCTETS, PACKETS, SECONDS, TEID

MEMBERS = ("ambr", "usage", "bearers", "core", "breakout", "framed_routes", "ue_ipv6", "buffer")
"""The members of a session that say it."""
NONE = "none"
"""Instead of a prefix: no prefixes any more."""

_SHOWN_ONLY = ("closed", "counters", "error_indicated", "local_ip")


# ---- JSON


def resource(session: dict[str, Any]) -> dict[str, Any]:
    """These members of a session of the API, as they may be written again; nothing where it has
    nothing."""
    return {name: writable(session[name]) for name in MEMBERS if session.get(name)}


def writable(shown: Any) -> Any:
    """A part of an answer without what is shown only."""
    if isinstance(shown, list):
        return [writable(each) for each in shown]
    if isinstance(shown, dict):
        return {key: writable(each) for key, each in shown.items() if key not in _SHOWN_ONLY}
    return shown


def tunnels(session: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Each TEID of the gateway's that a session has, and the tunnel that packets leave in to the
    other end; a bearer that shares its session's TEID is none of them."""
    down = session["downlink"]
    if session["uplink"]:
        yield session["uplink"]["teid"], down
    if core := session.get("core"):
        yield core["teid"], {"teid": core["remote_teid"], "remote_ip": core["remote_ip"]}
    for bearer in session.get("bearers") or ():
        if bearer["uplink"]:
            yield bearer["uplink"]["teid"], bearer.get("downlink", down)


# ---- options


def usage_options(command: Any) -> Any:
    """Add what may be said of the usage of a session or a bearer."""
    for option in (
        click.option(
            "--inactivity",
            type=SECONDS,
            help="Have an event when no packet has passed for so many seconds, or none.",
        ),
        click.option(
            "--threshold",
            type=OCTETS,
            help="Have an event each time so many octets have been used, or none.",
        ),
        click.option(
            "--quota",
            type=OCTETS,
            help="Close it when so many octets have been used (500M, say), or none: no quota. A"
            " larger one opens it again.",
        ),
    ):
        command = option(command)
    return command


def usage_of(given: dict[str, Any]) -> dict[str, int | None]:
    """Limits of usage as a merge patch; None is not given, 0 is none."""
    named = {
        "threshold_bytes": given["threshold"],
        "quota_bytes": given["quota"],
        "inactivity_seconds": given["inactivity"],
    }
    return {name: value or None for name, value in named.items() if value is not None}


def detail_options(command: Any) -> Any:
    """Add what may be said of it but for bearers, which have commands of their own."""
    for option in (
        click.option(
            "--buffer",
            type=PACKETS,
            help="While it is idle hold up to so many packets to the UE, until there is a downlink,"
            " or none.",
        ),
        click.option(
            "--ue-ipv6",
            metavar="PREFIX",
            help="The UE's IPv6 prefix, mostly a /64, beside its address or alone; or none.",
        ),
        click.option(
            "--framed-route",
            "framed_routes",
            metavar="PREFIX",
            multiple=True,
            help="A network behind the UE. May be given several times.",
        ),
        click.option(
            "--breakout",
            metavar="PREFIX",
            multiple=True,
            help="Of a relay with a --ue-ip: what leaves by the core port instead. May be given"
            " several times.",
        ),
        click.option(
            "--core-peer",
            type=ADDRESS,
            help="A relay: what comes uplink goes on to this peer, in a tunnel.",
        ),
        click.option(
            "--core-remote-teid", type=TEID, help="TEID of that tunnel, at the peer of the core."
        ),
        click.option(
            "--core-teid",
            type=TEID,
            help="TEID by which the peer of the core sends, at the gateway. Else chosen.",
        ),
        click.option(
            "--ambr-downlink", type=KBPS, help="Limit of all of its downlink, in kbit/s, or none."
        ),
        click.option(
            "--ambr-uplink", type=KBPS, help="Limit of all of its uplink, in kbit/s, or none."
        ),
    ):
        command = option(command)
    return usage_options(command)


def change_of(given: dict[str, Any]) -> dict[str, Any]:
    """What these options change of a session, as a merge patch."""
    change = dict[str, Any]()
    if rates := rates_of(given["ambr_uplink"], given["ambr_downlink"]):
        change["ambr"] = rates
    if usage := usage_of(given):
        change["usage"] = usage
    if given["buffer"] is not None:
        change["buffer"] = given["buffer"] or None
    if given["ue_ipv6"] is not None:
        change["ue_ipv6"] = None if given["ue_ipv6"] == NONE else given["ue_ipv6"]
    core = {
        "teid": given["core_teid"],
        "remote_teid": given["core_remote_teid"],
        "remote_ip": given["core_peer"],
    }
    if core := {name: value for name, value in core.items() if value is not None}:
        change["core"] = core
    for name in ("breakout", "framed_routes"):
        if prefixes := list(given[name]):
            if NONE in prefixes and len(prefixes) > 1:
                raise click.UsageError(f"a prefix, or {NONE}, but not both")
            change[name] = [] if prefixes == [NONE] else prefixes
    return change


def rates_of(uplink: int | None, downlink: int | None) -> dict[str, int | None]:
    """Rates in kbit/s as a merge patch; None is not given, 0 is none."""
    given = {"uplink_kbps": uplink, "downlink_kbps": downlink}
    return {name: rate or None for name, rate in given.items() if rate is not None}


def filter_of(text: str) -> str | dict[str, Any]:
    """A filter as the API takes it: its text, or the object.

    Raises:
        ValueError: it is neither.
    """
    if not text.lstrip().startswith("{"):
        return text
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not JSON: {error}") from None
    assert isinstance(found, dict)  # it begins so
    return found


# ---- words


def rates(limits: dict[str, int | None] | None) -> str | None:
    """Limits in words; None if there are none."""
    named = [
        f"{output.number(rate)} kbit/s {way}"
        for way, rate in (
            ("up", (limits or {}).get("uplink_kbps")),
            ("down", (limits or {}).get("downlink_kbps")),
        )
        if rate
    ]
    return f"at most {', '.join(named)}" if named else None


def usage(shown: dict[str, Any]) -> str | None:
    """The limits of usage of a session or a bearer in words, and whether it is closed; None if
    there are none."""
    limits = shown.get("usage")
    if not limits:
        return None
    parts = []
    if quota := limits["quota_bytes"]:
        parts.append(f"quota {output.number(quota)} octets")
    if threshold := limits["threshold_bytes"]:
        parts.append(f"an event each {output.number(threshold)} octets")
    if seconds := limits["inactivity_seconds"]:
        parts.append(f"inactive after {output.number(seconds)} s")
    if shown.get("closed"):
        parts.append("closed: the quota is used up")
    return ", ".join(parts)


def filters(bearer: dict[str, Any]) -> str:
    """A bearer's filters, each as it may be given again."""
    return "; ".join(
        each if isinstance(each, str) else json.dumps(each) for each in bearer["filters"]
    )


def bearer_downlink(bearer: dict[str, Any]) -> str:
    """Where a bearer's downlink goes."""
    if "downlink" not in bearer:
        return "shared"
    far = bearer["downlink"]
    return f"{output.teid(far['teid'])} to {far['remote_ip']}" if far else "idle"


def bearer_uplink(bearer: dict[str, Any]) -> str:
    """By which TEID a bearer's uplink comes."""
    up = bearer["uplink"]
    if not up:
        return "shared"
    return f"{output.teid(up['teid'])}{pinned(up)}"


def pinned(uplink: dict[str, Any]) -> str:
    """The one peer that packets may come from, if there is one."""
    return f" from {uplink['remote_ip']}" if uplink["remote_ip"] else ""


def bearer_state(bearer: dict[str, Any]) -> str:
    """What of a bearer may pass."""
    indicated: bool = bearer["error_indicated"]
    gate: str = bearer["gate"]
    if bearer.get("closed"):
        return "quota_exhausted"
    return "error_indicated" if indicated and gate == "open" else gate


def bearer_line(bearer: dict[str, Any]) -> str:
    """A bearer, in one line."""
    up, down = bearer_uplink(bearer), bearer_downlink(bearer)
    parts = [filters(bearer), f"uplink {up}", f"downlink {down}"]
    if bearer["qfi"]:
        parts.append(f"QFI {bearer['qfi']}")
    if limits := rates(bearer["mbr"]):
        parts.append(limits)
    parts.append(f"gate {bearer['gate']}")
    if limited := usage(bearer):
        parts.append(limited)
    if bearer["error_indicated"]:
        parts.append("its peer does not know the tunnel")
    if counters := bearer["counters"]:
        parts += (f"{way}: {_counted(counters[f'{way}link'])}" for way in ("up", "down"))
    return f"{bearer['id']}, precedence {bearer['precedence']}: {'; '.join(parts)}"


def facts(session: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """What `ofgtp session show` says of it, name and value."""
    yield "rate", rates(session.get("ambr"))
    yield "usage", usage(session)
    if core := session.get("core"):
        unknown = "; its peer does not know the tunnel" if core["error_indicated"] else ""
        yield "core", f"{_relay(core)}, at {core['local_ip']}{unknown}"
    for name, called in (("breakout", "breakout"), ("framed_routes", "routes")):
        yield called, ", ".join(session.get(name) or ()) or None
    yield "buffer", (size := session.get("buffer")) and f"{size} packets while it is idle"
    for bearer in session.get("bearers") or ():
        yield "bearer", bearer_line(bearer)


def in_short(session: dict[str, Any]) -> str:
    """The same but for bearers, to stand behind the tunnel in a list."""
    parts = [rates(session.get("ambr")), usage(session)]
    if core := session.get("core"):
        parts.append(f"core {_relay(core)}")
    for name, called in (("breakout", "breakout"), ("framed_routes", "routes")):
        if prefixes := session.get(name):
            parts.append(f"{called} {', '.join(prefixes)}")
    if size := session.get("buffer"):
        parts.append(f"buffer {size}")
    return "".join(f"; {part}" for part in parts if part)


def bearer_row(bearer: dict[str, Any]) -> tuple[str, str, str, str]:
    """A bearer in a list of sessions: id, state, uplink, and downlink with what else there is."""
    parts = [bearer_downlink(bearer)]
    if bearer["qfi"]:
        parts.append(f"QFI {bearer['qfi']}")
    down = ", ".join(parts)
    more = (rates(bearer["mbr"]), filters(bearer))
    down += "".join(f"; {part}" for part in more if part)
    return f"  {bearer['id']}", bearer_state(bearer), bearer_uplink(bearer), down


def _relay(core: dict[str, Any]) -> str:
    out = f"{output.teid(core['remote_teid'])} to {core['remote_ip']}"
    return f"{out}, back by {output.teid(core['teid'])}"


def _counted(counter: dict[str, int]) -> str:
    return f"{output.number(counter['packets'])} packets, {output.size(counter['bytes'])}"
