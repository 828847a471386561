"""The session that a command on the switch's host is about: by the API, or by the switch alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Interface, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from ofgtp.cli.api import Api, session_path
from ofgtp.cli.errors import EXIT_NOT_FOUND, EXIT_UNREACHABLE, EXIT_USAGE, CliError
from ofgtp.cli.rules import read_far, read_ipv6, read_qos, read_rules
from ofgtp.core.filters import within
from ofgtp.core.flows.flow import CookieKind, cookie_kind
from ofgtp.core.flows.pipeline import DOWNLINK, UPLINK
from ofgtp.core.model import QFI_MAX, Address, FTeid, Qos
from ofgtp.core.rules.terms import CHECKED, CONTAINED, STRICT
from ofgtp.core.sessions.rule import Tunnel
from ofgtp.core.trace import oftrace
from ofgtp.core.trace.known import Known
from ofgtp.core.trace.probe import Question

if TYPE_CHECKING:
    from ofgtp.core.model import Gateway
    from ofgtp.southbound.ovstools import Tools

API_S = 8.0
"""Longest wait for the API, in seconds: it may be what is broken, and waits 5 s for the switch."""

_COOKIE = re.compile(r"cookie=(0x[0-9a-f]+)")
_TEID, _PEER = re.compile(r"\breg0=(0x[0-9a-f]+)"), re.compile(r"\breg1=(0x[0-9a-f]+)")
_QOS = re.compile(r"set_field:(0x[0-9a-f]+)->reg4")
_RULES = re.compile(r"set_field:(0x[0-9a-f]+)->reg6")
_TO = re.compile(r"\bnw_dst=([\d.]+)(?=[ ,]|$)")
_TO_PREFIX = re.compile(r"\bipv6_dst=([0-9a-f:]+(?:/\d+)?)")
_FROM_PREFIX = re.compile(r"\bipv6_src=([0-9a-f:]+(?:/\d+)?)")
_FAR = re.compile(
    r"set_field:(0x[0-9a-f]+)->tun_id,set_field:([\d.]+|[\da-f:]+)->tun_(?:ipv6_)?dst"
)


@dataclass(slots=True)
class Subject:
    """A session and its gateway; what the API said of them is None where it did not answer."""

    known: Known
    gateway: Gateway
    session: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    """The gateway, as the API shows it."""
    peer: dict[str, Any] | None = None
    """The downlink's."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    """What the controller has lately seen go wrong with it."""
    wanted: list[str] = field(default_factory=list)
    """The session's flows, as ofgtp wants them."""
    unreachable: str | None = None
    """Why the API did not answer."""
    asked: Address | None = None
    """The UE's address by which it was named."""


def need_root() -> None:
    """End the command if it is not root's."""
    if os.geteuid() != 0:
        raise CliError("this needs root, on the switch's host")


def address_of(name: str) -> Address | None:
    """The address by which a UE is named, or the first one that a host has of an IPv6 prefix; None
    if it is neither."""
    try:
        if ":" not in name:
            return IPv4Address(name)
        given = IPv6Interface(name)
    except ValueError:
        return None
    if given.scope_id is not None:
        return None
    net = given.network
    return given.ip + 1 if net.prefixlen < 127 and given.ip == net.network_address else given.ip


def find(name: str, gateway: str | None) -> Subject:
    """The session with that id or UE address, and its gateway in ofgtp.toml.

    Raises:
        CliError: there is none, or the API does not answer and `name` is no address.
        ConfigError: ofgtp.toml is wrong, or is not there.
    """
    from ofgtp import config

    gateways = config.load(config.default_path()).gateways
    names = [each.name for each in gateways]
    if gateway not in (None, *names):
        reason = f"no gateway of this host's ofgtp.toml has the name {gateway!r}"
        raise CliError(f"{reason}: there is {' and '.join(names)}", EXIT_NOT_FOUND)
    try:
        with Api(seconds=API_S) as api:
            return _by_api(api, name, gateway, gateways)
    except CliError as error:
        if error.code != EXIT_UNREACHABLE:
            raise
        ue = address_of(name)
        if ue is None:
            reason = f"{error}. Without it a session is found by the UE's address, not by its id"
            raise CliError(reason, EXIT_UNREACHABLE) from error
        found = _only([g for g in gateways if gateway in (None, g.name) and _has(g, ue)], ue)
        return Subject(_named(ue), found, unreachable=str(error), asked=ue)


def learn(subject: Subject, switch: Tools) -> list[str]:
    """The flows that the switch has for the session's UE; fills in what only they tell."""
    known, bridge = subject.known, subject.gateway.bridge
    alone = subject.session is None
    if alone and isinstance(subject.asked, IPv6Address):
        known = replace(known, ue6=_prefix_of(subject.asked, switch, bridge))
    flows: list[str] = []
    if known.ue6 is not None:
        of_uplink = f"table={UPLINK.number},ipv6,ipv6_src={known.ue6}"
        of_downlink = f"table={DOWNLINK.number},ipv6,ipv6_dst={known.ue6}"
        flows += switch.flows(bridge, of_uplink, of_downlink)
    if known.ue is not None:
        of_uplink = f"table={UPLINK.number},ip,nw_src={known.ue}"
        of_downlink = f"table={DOWNLINK.number},ip,nw_dst={known.ue}"
        flows += switch.flows(bridge, of_uplink, of_downlink)
    if alone:
        known = _told_by(flows, known.ue, known.ue6, subject.gateway.ue_pools6)
    if known.cookie is not None and (alone or known.rules):
        flows = switch.flows(bridge, f"cookie={known.cookie:#x}/-1")
    if alone:
        subject.known = _told_by(flows, known.ue, known.ue6, subject.gateway.ue_pools6)
    return flows


def _prefix_of(ue: IPv6Address, switch: Tools, bridge: str) -> IPv6Network:
    """The prefix that this address is in and the switch has a flow for; itself if there is none.

    To list flows, their prefix must be known. So a packet to it is followed in the table; if that
    one is gone, those up are listed of what most UEs have, a /64.
    """
    asked = Question(f"ipv6,ipv6_dst={ue}", f"resubmit(,{DOWNLINK.number})")
    hops = oftrace.read(switch.appctl(*asked.arguments(bridge))).hops
    of_table = (hop for hop in hops if hop.table == DOWNLINK.number)
    found = [told for hop in of_table if (told := _TO_PREFIX.search(hop.match))]
    if not found:
        near = IPv6Network((ue, 64), strict=False)
        flows = switch.flows(bridge, f"table={UPLINK.number},ipv6,ipv6_src={near}")
        found = [told for flow in flows if (told := _FROM_PREFIX.search(flow))]
    prefixes = (IPv6Network(told[1]) for told in found)
    return next((prefix for prefix in prefixes if ue in prefix), IPv6Network(ue))


def _named(ue: Address) -> Known:
    """A UE of which nothing but its address is known."""
    if isinstance(ue, IPv4Address):
        return Known(ue)
    return Known(None, ue6=IPv6Network(ue))


def _by_api(api: Api, name: str, gateway: str | None, gateways: Sequence[Gateway]) -> Subject:
    session = _session(api, name, gateway, gateways)
    path = session_path(session["id"])
    ours = [each for each in gateways if each.name == session["gateway"]]
    if not ours:
        raise CliError(
            f"session {session['id']} is of gateway {session['gateway']}, which is not in this"
            " host's ofgtp.toml: run this on that gateway's host",
        )
    up, down = session["uplink"] or {"teid": None, "remote_ip": None}, session["downlink"]
    ue, core, pinned = session["ue_ip"], session.get("core"), up["remote_ip"]
    wanted = [each["flow"] for each in api.items(f"{path}/flows")]
    seen = _seen(api, f"{path}/seen")
    report = next((g for g in api.items("/v1/gateways") if g["name"] == ours[0].name), None)
    peers = api.items("/v1/peers", gateway=ours[0].name) if down else iter(())
    cookies = [int(found[1], 16) for flow in wanted if (found := _COOKIE.search(flow))]
    known = Known(
        ue=IPv4Address(ue) if ue else None,
        id=session["id"],
        cookie=_of_session(cookies),
        teid=up["teid"],
        pinned=IPv4Address(pinned) if pinned else None,
        downlink=read_far(down),
        qos=read_qos(session),
        rules=read_rules(session),
        relay=core and FTeid(core["remote_teid"], IPv4Address(core["remote_ip"])),
        ue6=read_ipv6(session),
    )
    if session.get("owner"):
        known = _of_control_plane(known, session["owner"]["node_id"], api.get(f"{path}/rules"))
    peer = next((each for each in peers if down and each["ip"] == down["remote_ip"]), None)
    asked = address_of(name)
    if asked is not None and not known.owns(asked):
        asked = None  # the name is an id
    return Subject(known, ours[0], session, report, peer, seen, wanted, asked=asked)


def _of_control_plane(known: Known, owner: str, shown: dict[str, Any]) -> Known:
    """The session as its control plane made it: its rules are PDRs."""
    from ofgtp.cli import pfcp_rules

    own = known.ue6 and str(known.ue6)  # a controller of an earlier release does not repeat it
    pdrs = [{"ue_ipv6": own, **pdr} for pdr in shown["pdrs"]]
    rules = pfcp_rules.read({**shown, "pdrs": pdrs})
    onward = (rule.forward.to for rule in rules if rule.uplink and isinstance(rule.forward, Tunnel))
    return replace(
        known,
        rules=rules,
        relay=next(onward, None),
        owner=owner,
        names=pfcp_rules.names(shown),
    )


def _session(
    api: Api, name: str, gateway: str | None, gateways: Sequence[Gateway]
) -> dict[str, Any]:
    ue = address_of(name)
    if ue is not None:
        items = [
            each
            for each in api.items("/v1/sessions", ue_ip=ue, gateway=gateway)
            if _has_all(each, name)
        ]
        if len(items) > 1:
            ids = " or ".join(each["id"] for each in items)
            raise CliError(f"several gateways have a UE {name}: name its session: {ids}")
        if items:
            return items[0]
    try:
        found = api.get(session_path(name))
    except CliError as error:
        if error.code == EXIT_NOT_FOUND:
            what = "with the UE address or id" if ue else "with the id"
            why = (
                "the core network (MME, SMF) has not made it, or has deleted it (those there are:"
                " ofgtp session list)"
            )
            if isinstance(ue, IPv6Address) and not any(each.ue_pools6 for each in gateways):
                why = "no gateway of this host's ofgtp.toml has IPv6 (a prefix of it in ue_pools)"
            raise CliError(f"there is no session {what} {name}: {why}", EXIT_NOT_FOUND) from error
        raise
    if gateway not in (None, found["gateway"]):
        raise CliError(f"session {name} is of gateway {found['gateway']}", EXIT_NOT_FOUND)
    return found


def _has_all(session: dict[str, Any], name: str) -> bool:
    """Whether a session has all of the prefix by which it is named."""
    own = read_ipv6(session)
    return "/" not in name or (own is not None and within(IPv6Interface(name).network, own))


def _seen(api: Api, path: str) -> list[dict[str, Any]]:
    """A controller of an earlier release does not tell."""
    try:
        return list(api.items(path))
    except CliError as error:
        if error.code != EXIT_NOT_FOUND:
            raise
        return []


def _told_by(
    flows: Iterable[str],
    ue: IPv4Address | None,
    ue6: IPv6Network | None = None,
    pools: Sequence[IPv6Network] = (),
) -> Known:
    """A session as its flows in the switch tell of it; of its UE one address or prefix is known.
    Prefixes outside the pools are behind it."""
    to: list[IPv4Address] = []
    prefixes: list[IPv6Network] = []
    teid = pinned = far = cookie = None
    wanted = sent = 0
    teids, tunnels = set[int](), set[FTeid]()
    for flow in flows:
        head, _, actions = flow.partition(" actions=")
        found = _COOKIE.search(head)
        if found is None or cookie_kind(int(found[1], 16)) is not CookieKind.SESSION:
            continue
        cookie = int(found[1], 16)
        container = int(told[1], 16) & 0xFF if (told := _QOS.search(actions)) else 0
        of_rules = int(told[1], 16) if (told := _RULES.search(actions)) else 0
        if told := _TEID.search(head):
            teids.add(int(told[1], 16))
        if told and not of_rules & STRICT:
            teid = int(told[1], 16)
            peer = _PEER.search(head)
            pinned = IPv4Address(int(peer[1], 16)) if peer else None
            wanted = container
        if told := _FAR.search(actions):
            tunnels.add(FTeid(int(told[1], 16), ip_address(told[2])))
        if f"table={DOWNLINK.number}," in head:
            to += [IPv4Address(one[1]) for one in _TO.finditer(head)]
            prefixes += [IPv6Network(one[1]) for one in _TO_PREFIX.finditer(head)]
        if told and f"table={DOWNLINK.number}," in head:
            far = FTeid(int(told[1], 16), ip_address(told[2]))
            sent = container
    qos = None
    if wanted or sent:
        check = bool(wanted & CHECKED)
        qfi = (wanted if check else sent) & QFI_MAX
        qos = Qos(qfi, sent > QFI_MAX, bool(wanted & CONTAINED), check)
    return Known(
        ue or next(iter(to), None),
        None,
        cookie,
        teid,
        pinned,
        far,
        qos,
        further_teids=frozenset(teids),
        further_tunnels=frozenset(tunnels),
        ue6=ue6 or next((own for own in prefixes if any(within(own, p) for p in pools)), None),
    )


def _of_session(cookies: Iterable[int]) -> int | None:
    return next((each for each in cookies if cookie_kind(each) is CookieKind.SESSION), None)


def _has(gateway: Gateway, ue: Address) -> bool:
    return any(ue in pool for pool in gateway.pools)


def _only(gateways: Sequence[Gateway], ue: Address) -> Gateway:
    if not gateways:
        raise CliError(f"{ue} is in no UE pool of this host's ofgtp.toml", EXIT_NOT_FOUND)
    if len(gateways) > 1:
        names = " or ".join(each.name for each in gateways)
        raise CliError(
            f"several gateways may have a UE {ue}: name one by --gateway: {names}", EXIT_USAGE
        )
    return gateways[0]
