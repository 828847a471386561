"""What has really happened to a session's packets lately, against what its flows would let happen.

Facts come in: what the controller has seen (the JSON of GET /v1/sessions/{id}/seen), what the path
to the peer is like, and how long ago the session's flows were last hit. Sentences go out, each with
what helps. What is over is said, too, but does not lead.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from ofgtp.core.flows.pipeline import DOWNLINK, UPLINK, DropReason
from ofgtp.core.model import Direction, Gateway
from ofgtp.core.observations import Seen
from ofgtp.core.trace.known import Known
from ofgtp.core.trace.symptoms import Symptom, way_back
from ofgtp.core.trace.verdict import of_link

SAME_S = 2.0
"""A drop and a packet that passed within so many seconds may have come in either order."""
RECENT_S = 60.0
"""What passed longer ago says nothing of now."""
QUIET_S = 10.0
"""So long after the last uplink packets there should have been one downlink."""
FEW = 3
"""From so many uplink packets on an answer is to be expected."""

NO_ANSWERS = "no_answers"

_FLOW = re.compile(r"cookie=(0x[0-9a-f]+),.* table=(\d+), n_packets=(\d+)(?:.*, idle_age=(\d+))?")
_UNREACHABLE, _TIME_EXCEEDED = 3, 11
_PORT, _FRAGMENTATION_NEEDED = 3, 4
_PROHIBITED = (9, 10, 13)
"""Codes of ICMP Unreachable (RFC 792, RFC 1122, RFC 1812)."""
_SHOWN = 3
"""So many of one kind are named."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What a session's flows have counted: how many packets, and how long ago the last one came."""

    packets: int = 0
    seconds_ago: float | None = None
    """None: none came, or the switch does not say when."""

    def beside(self, packets: int, seconds_ago: float | None) -> Passed:
        """What both have counted, this flow and another one."""
        known = [each for each in (self.seconds_ago, seconds_ago) if each is not None]
        return Passed(self.packets + packets, min(known, default=None))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that happened to real packets; `over` if others have passed since."""

    direction: Direction
    reason: str
    says: str
    do: str
    over: bool = False
    run: str | None = None


Went = Mapping[int, Mapping[Direction, Passed]]
"""What has passed, by IP version and direction."""


def passed(flows: Iterable[str], cookie: int | None) -> dict[int, dict[Direction, Passed]]:
    """What has passed by the session's flows, as `ovs-ofctl dump-flows` shows them; those that it
    has not, an idle one's downlink say, are left out."""
    found: dict[int, dict[Direction, Passed]] = {}
    ways: dict[int, Direction] = {UPLINK.number: "uplink", DOWNLINK.number: "downlink"}
    for flow in flows:
        told = _FLOW.search(flow)
        if told is None or int(told[1], 16) != cookie or int(told[2]) not in ways:
            continue
        packets, idle = int(told[3]), told[4]
        seconds_ago = float(idle) if packets and idle else None
        way, of_version = ways[int(told[2])], found.setdefault(6 if ",ipv6" in flow else 4, {})
        of_version[way] = of_version.get(way, Passed()).beside(packets, seconds_ago)
    return found


def findings(
    seen: Sequence[Mapping[str, Any]],
    now: datetime,
    known: Known,
    gateway: Gateway,
    went: Went,
    peer: Mapping[str, Any] | None,
) -> list[Finding]:
    """What is wrong with the session's real packets, the worst first; what is over comes last.

    `seen` is what the controller has seen of them, `went` what has passed, `peer` is the
    downlink's as GET /v1/peers shows it.
    """
    found = [
        *_uplink(seen, now, known, went),
        *_at_the_peer(seen, now, known, peer),
        *_path(peer),
        *(each for version in went for each in _no_way_back(known, gateway, version, went)),
    ]
    return sorted(found, key=lambda finding: finding.over)


# --- from the UE


def _uplink(
    seen: Sequence[Mapping[str, Any]], now: datetime, known: Known, went: Went
) -> Iterator[Finding]:
    for kind in Seen:
        some = [each for each in seen if each["what"] == kind and _own(each, known)]
        some = [each for each in some if kind != Seen.SPOOFED_SOURCE or not _of_link(each)]
        told = _refused(kind, some, known) if some else None
        if told is None:
            continue
        says, do, run = told
        ago = min(_ago(each, now) for each in some)
        over = all(_passes_now(each, now, went) for each in some)
        yield Finding("uplink", str(kind), f"{says}{_how_often(some, ago, over)}", do, over, run)


def _passes_now(seen: Mapping[str, Any], now: datetime, went: Went) -> bool:
    """Whether others have gone up since, of the same IP version if that is known."""
    source = seen["source"]
    versions = went if source is None else (ip_address(source).version,)
    ups = (went.get(version, {}).get("uplink", Passed()) for version in versions)
    return any(
        up.seconds_ago is not None and up.seconds_ago + SAME_S < _ago(seen, now) for up in ups
    )


def _of_link(seen: Mapping[str, Any]) -> bool:
    """Whether a packet came from an address of the UE's own link: what a phone with IPv6 says to
    neighbours, of which it has none."""
    return seen["source"] is not None and of_link(ip_address(seen["source"]))


def _own(seen: Mapping[str, Any], known: Known) -> bool:
    """Whether it was a packet of this UE's: of an unknown TEID's owner nothing else is known."""
    if seen["what"] == Seen.UNKNOWN_TEID:
        own = seen["source"] is not None and known.owns(ip_address(seen["source"]))
        return own and seen["teid"] not in known.teids
    return bool(seen["teid"] in known.teids and seen["what"] != Seen.ICMP_ERROR)


def _refused(
    kind: Seen, some: Sequence[Mapping[str, Any]], known: Known
) -> tuple[str, str, str | None] | None:
    """What packets of this kind were, what helps, and a command for it."""
    peers = _names(each["peer"] for each in some)
    match kind:
        case Seen.UNKNOWN_TEID:
            teids = list(dict.fromkeys(each["teid"] for each in some))
            its = "not known" if known.teid is None else f"{known.teid:#x}"
            return (
                f"{peers} sends packets of {known.who} with TEID {_names(map(hex, teids))}, which"
                f" no session has: that of {known.name} is {its}",
                "the base station must send with the session's TEID: has the core network (MME,"
                " SMF) given it another? If that is right, give it to the session",
                _command(known, f"--uplink-teid {teids[0]:#x}"),
            )
        case Seen.SPOOFED_SOURCE:
            sources = _names(each["source"] or "what is no IP packet" for each in some)
            return (
                f"packets from {sources} come in its tunnel by {peers}, which is for"
                f" {known.who} alone",
                "the phone sends with an address that is not its own: a stale one, one of a device"
                " behind it; or the session has another than the core network (SMF) gave it",
                None,
            )
        case Seen.WRONG_PEER:
            return (
                f"its packets come from {peers}, and its uplink is pinned to {known.pinned}",
                "after a handover give the session its new uplink.remote_ip, or none",
                _command(known, f"--uplink-peer {some[0]['peer']}"),
            )
        case Seen.CONTAINER_MISSING:
            return (
                f"its packets come from {peers} without a PDU Session Container, as a 4G base"
                " station (eNB) sends them, and it requires one, since it has a QFI",
                "if its base station is an eNB: ofgtp session set --no-qfi; if it may be either:"
                " --qfi-optional",
                _command(known, "--no-qfi"),
            )
        case Seen.WRONG_QFI:
            wanted = f"QFI {known.qos.qfi}" if known.qos else "another QFI"
            qfis = _names(f"QFI {each['qfi']}" for each in some)
            return (
                f"its packets come from {peers} with {qfis}, and it takes {wanted} alone"
                " (qfi_check)",
                "has the core network (SMF) given the base station another QFI, or a further one?"
                " ofgtp session set --qfi, or --no-qfi-check, which takes all",
                _command(known, "--no-qfi-check"),
            )
        case (
            Seen.BAD_CONTAINER | Seen.LONG_CONTAINER | Seen.EXTENSION_HEADER | Seen.EXTENSION_CHAIN
        ):
            return (
                f"its packets from {peers} are dropped: {DropReason[kind.name].meaning}",
                "turn off in the base station what adds it (docs/5g.md says what is taken)",
                None,
            )
    return None


# --- to the UE


def _at_the_peer(
    seen: Sequence[Mapping[str, Any]],
    now: datetime,
    known: Known,
    peer: Mapping[str, Any] | None,
) -> Iterator[Finding]:
    """What ICMP says of packets to the peer: who does not take one does not take others."""
    ips = {str(far.ip) for far in known.tunnels} | ({str(known.pinned)} if known.pinned else set())
    some = [each for each in seen if each["what"] == Seen.ICMP_ERROR and each["peer"] in ips]
    for kind, code in dict.fromkeys((each["icmp"]["type"], each["icmp"]["code"]) for each in some):
        same = [e for e in some if (e["icmp"]["type"], e["icmp"]["code"]) == (kind, code)]
        ago = min(_ago(each, now) for each in same)
        answered = peer and peer.get("echo_answered_at")
        over = bool(answered and _seconds(answered, now) + SAME_S < ago)
        says, do = _icmp(kind, code, same[0])
        says += _how_often(same, ago, over)
        yield Finding("downlink", str(Seen.ICMP_ERROR), says, do, over)


def _icmp(kind: int, code: int, seen: Mapping[str, Any]) -> tuple[str, str]:
    to, by = seen["peer"], seen["source"]
    who = f"the base station {to}" if by == to else f"{by}, on the way to {to},"
    if (kind, code) == (_UNREACHABLE, _PORT):
        return (
            f"{who} says that nobody takes GTP-U there (ICMP port unreachable)",
            "its GTP-U program (eNB, gNB) is not running, or listens on another address: start it",
        )
    if (kind, code) == (_UNREACHABLE, _FRAGMENTATION_NEEDED):
        return (
            f"{who} says that packets in a tunnel are too long (ICMP fragmentation needed)",
            "raise the MTU there, or lower that of the access port, from which UEs' is reckoned",
        )
    if kind == _UNREACHABLE and code in _PROHIBITED:
        return f"{who} lets no GTP-U pass (ICMP prohibited)", "let UDP port 2152 pass there"
    if kind == _UNREACHABLE:
        return (
            f"{who} says that the base station cannot be reached (ICMP unreachable, code {code})",
            "is it up, and do routes lead to it from there?",
        )
    if kind == _TIME_EXCEEDED:
        return f"{who} says that packets go in circles (ICMP time exceeded)", "look at its routes"
    return f"{who} sends ICMP errors (type {kind}, code {code})", "see what it does not like"


def _path(peer: Mapping[str, Any] | None) -> Iterator[Finding]:
    if peer is not None and peer["state"] == "down":
        yield Finding(
            "downlink",
            "path_down",
            f"the path to {peer['ip']} is down: it has stopped to answer Echo Requests (last answer"
            f" {peer['echo_answered_at']})",
            "is the base station up, and its GTP-U program? ofgtp status shows all peers",
        )


def _no_way_back(known: Known, gateway: Gateway, version: int, ways: Went) -> Iterator[Finding]:
    went = ways[version]
    up, down = went.get("uplink", Passed()), went.get("downlink")
    if down is None or up.seconds_ago is None or up.seconds_ago > RECENT_S:
        return
    silent = down.seconds_ago
    if silent is None and up.packets < FEW:
        return
    if silent is not None and silent < up.seconds_ago + QUIET_S:
        return
    last = "none has come down yet" if silent is None else f"none has come down for {silent:.0f} s"
    ue = known.of_version(version)
    yield Finding(
        "downlink",
        NO_ANSWERS,
        f"packets of {ue} go up (the last {up.seconds_ago:.0f} s ago), and {last}",
        f"{way_back(known, gateway, version)} Do its packets come in by"
        f" {gateway.core_device}? If what it sends gets no answers anyway, all is well",
        run=f"tcpdump -ni {gateway.core_device} {'net' if version == 6 else 'host'} {ue}",
    )


# --- beside


def of_neighbours(seen: Sequence[Mapping[str, Any]], known: Known) -> Iterator[Symptom]:
    """What the session's UE says to neighbours."""
    some = [each for each in seen if each["what"] == Seen.SPOOFED_SOURCE and _own(each, known)]
    sources = _names(each["source"] for each in some if _of_link(each))
    if sources:
        yield Symptom(
            "info",
            f"its phone speaks to neighbours too, as phones with IPv6 do (from {sources}): it has"
            " none here, and that goes no further",
        )


def of_peers(seen: Sequence[Mapping[str, Any]], now: datetime, known: Known) -> Iterator[Symptom]:
    """T-PDUs of nobody that the session's base station sends."""
    some = [e for e in seen if e["what"] == Seen.UNKNOWN_TEID and not _own(e, known)]
    if some:
        teids = _names(f"{each['teid']:#x}" for each in some)
        ago = min(_ago(each, now) for each in some)
        yield Symptom(
            "info",
            f"{_names(each['peer'] for each in some)} sends T-PDUs of TEIDs that no session has:"
            f" {teids}{_how_often(some, ago, over=False)}",
        )


def _ago(seen: Mapping[str, Any], now: datetime) -> float:
    return _seconds(seen["last_at"], now)


def _seconds(when: str, now: datetime) -> float:
    return max((now - datetime.fromisoformat(when)).total_seconds(), 0.0)


def _how_often(some: Sequence[Mapping[str, Any]], ago: float, over: bool) -> str:
    count = sum(each["count"] for each in some)
    often = f"; seen {count} times, " if count > 1 else "; seen "
    return f"{often}{'until ' if over else 'the last ' if count > 1 else ''}{ago:.0f} s ago"


def _names(some: Iterable[str]) -> str:
    names = list(dict.fromkeys(some))
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _command(known: Known, change: str) -> str | None:
    return None if known.id is None else f"ofgtp session set {shlex.quote(known.id)} {change}"
