"""`ofgtp status`: one screen of how the gateways are."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ofgtp.cli import output, peer, pfcp
from ofgtp.cli.errors import EXIT_FAILED, EXIT_UNREACHABLE, CliError
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import Seconds
from ofgtp.core.troubles import Level, troubles

if TYPE_CHECKING:
    from ofgtp.cli.api import Api

RATE_S = 2.0
"""Seconds between the two looks that make a rate: the switch's counters stand still for half a
second at a time."""
PEERS_SHOWN = 100
"""Peers of a gateway that are listed, the worst first; `ofgtp peer list` has all."""
ANSWER_S = 15.0
"""Longest silence of the API, in seconds, before it counts as away."""
ROWS, COLUMNS = 24, 80
"""Of a screen, where there is no terminal to ask."""

NO_BREAK = "\N{NO-BREAK SPACE}"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """What the API said at a time, in seconds of a steady clock."""

    at: float
    health: Json
    gateways: Sequence[Json]
    peers: Sequence[Json]
    nodes: Sequence[Json] = ()
    """Of PFCP."""


@click.command()
@click.option(
    "--watch",
    metavar="[SECONDS]",
    is_flag=False,
    flag_value=RATE_S,
    type=Seconds(0.5),
    help="Show it again and again, every 2 seconds or as many as given.",
)
@click.option("--quick", is_flag=True, help="At once, without packets a second.")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Name the known faults of the switch's version, and what is done about each.",
)
@api_options
def status(watch: float | None, quick: bool, verbose: bool) -> None:
    """Show how the gateways are.

    Switch, ports, sessions, traffic, drops, peers, control planes, and first what is wrong. Of very
    many peers the 100 worst are shown, and with --watch what fits the terminal: ofgtp peer list has
    all. It looks twice, 2 seconds apart, for packets a second, and is as quick with 100,000
    sessions.

    Exit codes: 0 all is well; 1 something is not, and the first lines say what; 3 the API cannot
    be reached.
    """
    from ofgtp.cli.api import Api

    with Api(seconds=ANSWER_S) as api:
        if watch is not None:
            _watch(api, watch, verbose)
        try:
            before = look(api)
            now = before
            if not quick:
                time.sleep(RATE_S)
                now = look(api)
        except CliError as error:
            if error.code != EXIT_UNREACHABLE:
                raise
            _unreachable(error)
    if output.wants_json():
        output.document(as_json(now, before))
    else:
        for line in screen(now, before, verbose=verbose):
            output.say(line)
    sys.exit(0 if is_well(now) else EXIT_FAILED)


def look(api: Api) -> Look:
    """Ask the API."""
    health, at = api.health(), time.monotonic()
    lists = (api.items(f"/v1/{what}") for what in ("gateways", "peers", "pfcp"))
    return Look(at, health, *map(list, lists))


# --- what is wrong


class Wrong(NamedTuple):
    """What is wrong with a gateway, in words."""

    bad: list[str]
    warnings: list[str]


def of_store(now: Look) -> list[str]:
    """What is wrong with no gateway in particular."""
    store = now.health.get("store", "ok")
    return [] if store == "ok" else [f"the session store: {store}"]


def wrong_with(now: Look, gateway: Json) -> Wrong:
    """What an operator must look after, and what is worth a look."""
    name = gateway["name"]
    node = next((each for each in now.nodes if each["gateway"] == name), None)
    said: dict[Level, list[str]] = {level: [] for level in Level}
    for each in troubles(gateway, node):
        said[each.level].append(f"{each.text}: {each.do}" if each.do else each.text)
    return Wrong(said[Level.BAD], said[Level.WARNING])


def is_well(now: Look) -> bool:
    """Whether nothing is bad."""
    return not of_store(now) and not any(wrong_with(now, each).bad for each in now.gateways)


# --- the screen


def screen(now: Look, before: Look, rows: int | None = None, *, verbose: bool = False) -> list[str]:
    """The lines to show: as many as `rows`, if given, where the peers' list can be cut to fit."""
    lines = [f"NOT WELL  {trouble}" for trouble in of_store(now)]
    former = {gateway["name"]: gateway for gateway in before.gateways}
    told: set[str] = set()
    blocks = []
    for gateway in now.gateways:
        version = gateway["ovs_version"] or ""
        rates = _Rates(gateway, former.get(gateway["name"]), now.at - before.at)
        faults = [] if version in told else list(_faults(gateway, verbose))
        block = list(_block(gateway, rates, wrong_with(now, gateway), faults))
        nodes = [node for node in now.nodes if node["gateway"] == gateway["name"]]
        block += [f"pfcp      {pfcp.line(node)}" for node in nodes]
        blocks.append(block)
        told.add(version)
    used = len(lines) + sum(map(len, blocks)) + len(blocks)  # a line of peers for each
    spare = PEERS_SHOWN
    if rows is not None:
        spare = max(rows - used - 1, 4 * len(blocks)) // max(len(blocks), 1)
    for gateway, block in zip(now.gateways, blocks, strict=True):
        if lines:
            lines.append("")
        lines += block
        lines += _peers([p for p in now.peers if p["gateway"] == gateway["name"]], spare)
    return [_coloured(line) for line in lines]


def _block(gateway: Json, rates: _Rates, wrong: Wrong, faults: Sequence[str]) -> Iterator[str]:
    head = f"{gateway['name']}: {'NOT WELL' if wrong.bad else 'well'}"
    if wrong.warnings and not wrong.bad:
        head += f", {_count(len(wrong.warnings), 'warning')}"
    yield f"{head:<71} {datetime.now():%H:%M:%S}"
    for label, found in (("NOT WELL", wrong.bad), ("warning", wrong.warnings)):
        for trouble in found:
            yield from textwrap.wrap(
                f"{label:<9} {trouble}", COLUMNS, subsequent_indent=" " * 10, break_on_hyphens=False
            )
    version = gateway["ovs_version"]
    connected = "connected" if gateway["connected"] else "not connected"
    sync = "in sync" if gateway["in_sync"] else "not in sync"
    shown = f"Open vSwitch {version}" if version else "Open vSwitch of unknown version"
    yield f"switch    {shown}, {connected}, {sync}; {_count(gateway['repairs'], 'repair')}"
    yield from faults
    if (ports := gateway.get("ports") or {}).get("type") == "afxdp":
        on = ", ".join(map(str, ports["pmd_cores"])) or "as the switch chooses"
        yield f"ports     by AF_XDP, on cores: {on}"
    access, core, hop = gateway["access"], gateway["core"], gateway["next_hop"]
    yield f"access    {access['port']} {access['ip']}, {access['link']}, MTU {access['mtu']}"
    if access.get("ip6") is not None:
        yield f"          {access['ip6']}"
    line = f"core      {core.get('device', core['port'])} {core['ip']}, {core['link']}"
    yield f"{line}{_shown_hop(hop)}"
    if core.get("ip6") is not None:
        yield f"          {core['ip6']}{_shown_hop(gateway.get('next_hop6'))}"
    yield f"lease     {_lease(gateway['lease'])}"
    yield f"sessions  {_sessions(gateway['sessions'])}"
    yield f"traffic   {rates.traffic()}"
    yield from _wrapped("drops", rates.drops())
    if (waiting := gateway.get("buffer") or {}).get("packets"):
        idle = _count(waiting["sessions"], "idle session")
        yield f"held      {_count(waiting['packets'], 'packet')} for {idle}"


def _wrapped(name: str, parts: Sequence[str]) -> Iterator[str]:
    """All parts, on as many lines as it takes, each part on one."""
    text = ", ".join(part.replace(" ", NO_BREAK) for part in parts)
    indent = " " * 10
    for line in textwrap.wrap(text, COLUMNS - len(indent), break_long_words=False):
        yield f"{name:<10}{line}".replace(NO_BREAK, " ")
        name = ""


def _faults(gateway: Json, verbose: bool) -> Iterator[str]:
    """The known faults of the switch's version: their number, or each."""
    version, faults = gateway["ovs_version"], gateway["faults"]
    if not version:
        return
    unsure = any(fault["basis"] != "measured" for fault in faults)
    if not verbose:
        tried = " (not all tried on it)" if unsure else ""
        yield f"faults    {len(faults)} known of {version}{tried}, worked around: see --verbose"
        return
    mark = " (*: not tried on it)" if unsure else ""
    yield f"faults    {len(faults)} known of {version}{mark}, and what is done about each:"
    for fault in faults:
        star = "  " if fault["basis"] == "measured" else "* "
        yield f"{star}{fault['summary']:<37}  {fault['remedy']}"


def _shown_hop(hop: Json | None) -> str:
    if hop is None:
        return ""
    mac = "" if hop["mac"] is None else f" {hop['mac']}"
    return f"; next hop {hop['ip']}{mac} {hop['state']}"


def _lease(lease: Json | None) -> str:
    if lease is None:
        return "none: the switch forwards on without the controller"
    left = lease["seconds_left"]
    shown = "not begun" if left is None else f"{left:.0f} s left"
    renewed, expired = _count(lease["renewals"], "renewal"), output.number(lease["expiries"])
    return f"{shown} of {lease['seconds']}; {renewed}, {expired} too late"


def _sessions(sessions: Mapping[str, int]) -> str:
    states = [f"{output.number(n)} {state}" for state, n in sessions.items() if n]
    return ", ".join(states) or "none"


def _peers(peers: Sequence[Json], lines: int) -> Iterator[str]:
    """The peers, those with a trouble first, in at most so many lines beside the sum."""
    if not peers:
        yield "peers     none"
        return
    counts = {state: sum(p["state"] == state for p in peers) for state in ("up", "down", "unknown")}
    shown = ", ".join(f"{output.number(n)} {state}" for state, n in counts.items() if n)
    yield f"peers     {shown}"
    ordered = peer.worst_first(peers)
    cut = len(ordered) if len(ordered) <= lines else max(lines - 1, 0)
    for each in ordered[:cut]:
        sessions = _count(each["sessions"], "session")
        yield f"  {each['ip']:<15}  {each['state']:<7}  {sessions:>14}  {peer.next_hop(each)}"
    if cut < len(ordered):
        yield f"  and {_count(len(ordered) - cut, 'more peer')}: ofgtp peer list"


class _Rates:
    """What has changed of a gateway's counters between two looks."""

    def __init__(self, now: Json, before: Json | None, seconds: float) -> None:
        self._now, self._seconds = now, seconds
        self._before: Json = {} if before is None else before

    def traffic(self) -> str:
        ways = []
        for way, counted in self._now["forwarded"].items():
            if self._seconds > 0:
                packets, octets = self._forwarded(way)
                per = f"{output.number(round(packets))} packets/s {output.rate(8 * octets)}"
            else:
                per = _count(counted["packets"], "packet")
            ways.append(f"{way} {per}")
        return ", ".join(ways)

    def drops(self) -> list[str]:
        """All reasons, those that grow first."""
        drops = self._now["drops"]
        if drops is None:
            return ["not known: the switch does not answer"]
        growing = self.dropping()
        total = sum(drops.values())
        if not total:
            return ["none"]
        parts = [f"{output.number(round(n))}/s {reason}" for reason, n in growing.items()]
        parts += [
            f"{output.number(n)} {reason}"
            for reason, n in sorted(drops.items(), key=lambda item: -item[1])
            if n and reason not in growing
        ]
        return parts

    def dropping(self) -> dict[str, float]:
        """Packets a second by reason, where there are any, most first."""
        now, before = self._now["drops"] or {}, self._before.get("drops") or {}
        if self._seconds <= 0:
            return {}
        rates = {
            reason: (count - before[reason]) / self._seconds
            for reason, count in now.items()
            if count > before.get(reason, count)
        }
        return dict(sorted(rates.items(), key=lambda item: -item[1]))

    def as_json(self) -> Json:
        """The same for scripts; null where there is no rate."""
        if self._seconds <= 0:
            return {"forwarded": None, "drops": None}
        forwarded = {}
        for way in self._now["forwarded"]:
            packets, octets = self._forwarded(way)
            forwarded[way] = {"packets": round(packets, 1), "bytes": round(octets, 1)}
        drops = {reason: round(rate, 1) for reason, rate in self.dropping().items()}
        return {"forwarded": forwarded, "drops": drops}

    def _forwarded(self, way: str) -> tuple[float, float]:
        """Packets and bytes a second; a controller that was restarted counts from 0."""
        now = self._now["forwarded"][way]
        before = self._before.get("forwarded", {}).get(way, now)
        if now["packets"] < before["packets"]:
            before = {"packets": 0, "bytes": 0}
        return tuple((now[what] - before[what]) / self._seconds for what in ("packets", "bytes"))


def as_json(now: Look, before: Look) -> Json:
    """The look as one object, with rates a second in each gateway."""
    former = {gateway["name"]: gateway for gateway in before.gateways}
    gateways = []
    for gateway in now.gateways:
        name = gateway["name"]
        rates = _Rates(gateway, former.get(name), now.at - before.at).as_json()
        wrong = wrong_with(now, gateway)
        told = {"troubles": wrong.bad, "warnings": wrong.warnings}
        gateways.append({**gateway, **told, "rates": rates})
    top = {"well": is_well(now), "troubles": of_store(now), "health": now.health}
    return {**top, "gateways": gateways, "peers": list(now.peers), "pfcp": list(now.nodes)}


def _count(count: int, noun: str) -> str:
    return f"{output.number(count)} {noun}{'' if count == 1 else 's'}"


def _coloured(line: str) -> str:
    if line.startswith("NOT WELL"):
        return click.style(line, fg="red", bold=True)
    head, well, clock = line.partition(": well ")
    if well:
        return f"{head}: {click.style('well', fg='green')} {clock}"
    return line


# --- again and again, or not at all


def _watch(api: Api, seconds: float, verbose: bool) -> None:
    """Show it until Ctrl-C; an API that is away may come back."""
    before: Look | None = None
    steady = sys.stdout.isatty() and not output.wants_json()
    while True:
        began = time.monotonic()
        try:
            now = look(api)
            rows = _rows() - 1 if steady else None
            lines = screen(now, before or now, rows, verbose=verbose)
        except CliError as error:
            if error.code != EXIT_UNREACHABLE:
                raise
            now, lines = None, [_coloured(f"NOT WELL  {error}")]
        if output.wants_json():
            output.line({"well": False} if now is None else as_json(now, before or now))
        elif steady:
            # home, each line with its rest erased, and what is below: nothing flickers
            kept = lines[: _rows() - 1]
            frame = "".join(f"{line}\x1b[K\n" for line in kept)
            # a line that is too long is cut, and not wrapped, by the terminal
            click.echo(f"\x1b[?7l\x1b[H{frame}\x1b[J\x1b[?7h", nl=False)
        else:
            click.echo("\n".join([*lines, ""]))
        sys.stdout.flush()
        before = now
        time.sleep(max(0.1, seconds - (time.monotonic() - began)))


def _rows() -> int:
    return shutil.get_terminal_size((COLUMNS, ROWS)).lines


def _unreachable(error: CliError) -> None:
    """Say what to look at, and what the switch does meanwhile if this is its host."""
    output.note(f"ofgtp: {error}")
    for fact in _meanwhile():
        output.note(fact)
    output.note("look at: systemctl status ofgtp; journalctl -u ofgtp -n 50; ofgtp doctor")
    sys.exit(EXIT_UNREACHABLE)


def _meanwhile() -> Iterator[str]:
    """Whether the tunnels of this host's gateways still forward."""
    from ofgtp import config
    from ofgtp.core.errors import ConfigError, GatewayNotReady
    from ofgtp.southbound.ovstools import Tools

    if os.geteuid() != 0:
        return
    try:
        gateways = config.load(config.default_path()).gateways
    except ConfigError:
        return
    for gateway in gateways:
        try:
            sessions = Tools(gateway.ovsdb).forwards(gateway)
        except GatewayNotReady:
            yield f"{gateway.name}: its switch does not answer either"
            continue
        if sessions is None:
            yield f"{gateway.name}: the switch forwards nothing now"
        else:
            yield f"{gateway.name}: the switch still forwards: {_count(sessions, 'session')}"
