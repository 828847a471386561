"""What is wrong with a session that a packet's way through the switch does not show.

Facts of the REST API (as its JSON) and of the host come in; sentences go out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ofgtp.core.model import Direction, Gateway
from ofgtp.core.trace.known import Known, Verdict
from ofgtp.core.trace.verdict import LOOK
from ofgtp.core.troubles import Level, What, troubles


@dataclass(frozen=True, slots=True)
class Symptom:
    """A fact beside the verdicts; `bad` ones are worth a look before all else."""

    level: Literal["bad", "info"]
    says: str


ARP_ASKED = Symptom(
    "info",
    "the switch had to ask for the base station's MAC address by ARP: packets that come while it"
    " asks are lost",
)


def link_verdict(
    direction: Direction, gateway: Gateway, links: Mapping[str, str]
) -> Verdict | None:
    """What a port that is not up makes of a packet, whatever the flows say of it."""
    ports = (gateway.access_port, gateway.core_device)
    for port, does in zip(
        ports if direction == "uplink" else ports[::-1], ("in", "out"), strict=True
    ):
        state = links.get(port, "up")
        if state != "up":
            is_ = "is not there" if state == "missing" else "is down"
            is_ = "has no carrier" if state == "no carrier" else is_
            how = "comes in" if does == "in" else "goes out"
            return Verdict(
                False,
                f"port {port} {is_}: nothing {how} by it",
                "link_down",
                "look at the cable, and at what is at its other end",
                f"ip link show {port}",
            )
    return None


def of_controller(gateway: Mapping[str, Any]) -> Iterator[Symptom]:
    """Of the gateway, as GET /v1/gateways shows it."""
    for wrong in troubles(gateway):
        hop = wrong.what in (What.NEXT_HOP, What.NEXT_HOP6)
        # Of a next hop that has never answered the packet's own way tells.
        if wrong.what in _ABOUT or (hop and gateway[wrong.what]["state"] == "stale"):
            since = ""
            if wrong.what is What.DISCONNECTED:
                since = f": what has changed since is not in the switch ({LOOK})"
            level: Literal["bad", "info"] = "bad" if wrong.level is Level.BAD else "info"
            yield Symptom(level, f"gateway {gateway['name']}: {wrong.text}{since}")


_ABOUT = (What.DISCONNECTED, What.PROBLEM, What.COMPARING, What.LEASE)


def of_session(session: Mapping[str, Any]) -> Iterator[Symptom]:
    """Of the session's state, as GET /v1/sessions/{id} shows it."""
    because = f": {session['reason']}" if session.get("reason") else ""
    match session["state"]:
        case "pending":
            yield Symptom(
                "bad", f"the session is pending: the switch has not confirmed it{because}"
            )
        case "failed":
            yield Symptom("bad", f"the session is failed: the switch refused it{because}")
        case "error_indicated":
            yield Symptom("bad", f"the session is error_indicated{because}")


def of_flows(missing: Sequence[str]) -> Iterator[Symptom]:
    """Of flows that ofgtp wants and the switch has not, or has otherwise."""
    for flow in missing:
        yield Symptom("bad", f"this flow is not in the switch, or is another there: {flow}")


def of_pin(known: Known) -> Iterator[Symptom]:
    """Of a downlink that goes elsewhere than the uplink may come from."""
    if known.stranger:
        yield Symptom(
            "bad",
            f"T-PDUs are accepted from {known.pinned} alone, and the downlink goes to"
            f" {known.stranger}: those that come from there are dropped (wrong_peer)",
        )


def of_peer(peer: Mapping[str, Any]) -> Iterator[Symptom]:
    """Of the base station, as GET /v1/peers shows it."""
    if peer["state"] == "unknown":
        yield Symptom("info", f"{peer['ip']} has never answered an Echo Request; some never do")


def of_rates(session: Mapping[str, Any], bearers: Collection[str]) -> Iterator[Symptom]:
    """Of the rates that hold for the session and for these bearers of it."""
    limited = [("the session", session.get("ambr"))]
    some = (each for each in session.get("bearers") or () if each["id"] in bearers)
    limited += [(f"bearer {each['id']}", each["mbr"]) for each in some]
    for whose, limits in limited:
        rates = [
            f"{limits[f'{way}link_kbps']:,} kbit/s {way}"
            for way in ("up", "down")
            if limits and limits.get(f"{way}link_kbps")
        ]
        if rates:
            yield Symptom(
                "info",
                f"{whose} has at most {', '.join(rates)}: what is more is dropped"
                " (rate_exceeded), which a trace does not show",
            )


def of_counters(
    session: Mapping[str, Any], known: Known, gateway: Gateway, delivered: Mapping[str, bool]
) -> Iterator[Symptom]:
    """Of what has passed so far: what a way that is open tells when nothing comes by it."""
    up, down = (session["counters"][way]["packets"] for way in ("uplink", "downlink"))
    if not up and delivered.get("uplink"):
        of_ipv6 = known.downlink is not None and known.downlink.ip.version == 6
        ours = gateway.local_ips[of_ipv6] or gateway.access_ip.ip
        yield Symptom(
            "info",
            "no uplink packet has come since the session was made: does the base station send to"
            f" {ours} with TEID {known.teid or 0:#x}? (ofgtp capture shows what comes)",
        )
    if up and not down and delivered.get("downlink") and known.relay is None:
        asked = " ".join(way_back(known, gateway, version) for version in known.versions)
        yield Symptom("info", f"packets go up and none comes down: {asked}")


def way_back(known: Known, gateway: Gateway, version: int) -> str:
    """What to ask where no packets of an IP version come down."""
    ue = known.of_version(version)
    if gateway.host_core:
        return f"does the host route {ue} back?"
    hop, ours = gateway.next_hop, gateway.core_ip.ip
    if version == 6 and gateway.core_ip6 is not None:
        return f"does the next hop {gateway.next_hop6} route {ue} back to {gateway.core_ip6.ip}?"
    return f"does the next hop {hop} route {ue} back to {ours}?"
