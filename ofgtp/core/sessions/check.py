"""Whether a session makes sense on a gateway: what `Gateway.check_session` asks, and its detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address, IPv6Network

from ofgtp.core.errors import InvalidSession
from ofgtp.core.filters import FilterError, Network, PacketFilter, overlap, within
from ofgtp.core.model import QFI_MAX, SESSION_ID, Gateway, Qos, Session, check_teid
from ofgtp.core.rules.filters import matches, versions_of
from ofgtp.core.sessions.detail import (
    BEARERS_MAX,
    FILTERS_MAX,
    INACTIVITY_MAX_S,
    OCTETS_MAX,
    PRECEDENCE_MAX,
    RATE_MAX_KBPS,
    Bearer,
    Detail,
    Rates,
    UsageLimits,
)
from ofgtp.core.sessions.rules import all_teids, all_tunnels, ue_prefixes

LONGEST_POOL = 48
"""Bits of the shortest prefix that a UE may have."""
MISREAD = {
    0x8847: "MPLS",
    0x8848: "MPLS",
    0x8100: "frames with a VLAN tag",
    0x88A8: "frames with a VLAN tag",
}
"""What stands where a frame has its Ethernet type: the switch reads IPv6 packets that come out of a
tunnel as frames."""
FLOWS_MAX = 2_048
"""Flows of all filters of a session, one direction."""
PREFIXES_MAX = 64
"""Prefixes of `breakout`, and of `framed_routes`."""


def check_session(gateway: Gateway, session: Session, protected: Iterable[Network]) -> None:
    """Check a session against the gateway that it is to be on.

    `protected` is where no UE may send (`protected_networks`).

    Raises:
        InvalidSession: with the field at fault.
    """
    gateway.check_session(session)
    detail = session.detail
    if detail is None:
        if session.ue_ip is None:
            raise InvalidSession("ue_ip", "is missing: only a relay (core) can do without")
        return
    if detail.ue_ipv6 is not None:
        check_ipv6(gateway, detail.ue_ipv6)
    _check_relay(gateway, session, detail)
    check_prefixes(gateway, detail, tuple(protected))
    _check_rates("ambr", detail.ambr)
    _check_usage("usage", detail.usage)
    _check_bearers(gateway, session, detail)
    _check_own(session)


def _check_relay(gateway: Gateway, session: Session, detail: Detail) -> None:
    relay = detail.relay
    if relay is None:
        if session.ue_ip is None and detail.ue_ipv6 is None:
            raise InvalidSession("ue_ip", "is missing: only a relay (core) can do without")
        if detail.breakout:
            raise InvalidSession(
                "breakout", "is for relays: without core all leaves by the core port"
            )
        return
    if session.downlink is not None and isinstance(session.downlink.ip, IPv6Address):
        raise InvalidSession("downlink.remote_ip", "a relay has peers that have IPv4 only")
    check_teid("core.teid", relay.teid)
    check_teid("core.remote_teid", relay.remote.teid)
    gateway.check_peer("core.remote_ip", relay.remote.ip)
    for field, given in (("ambr", bool(detail.ambr)), ("bearers", bool(detail.bearers))):
        if given:
            raise InvalidSession(field, "a relay has none: it does not look at packets")
    if detail.ue_ipv6 is not None:
        raise InvalidSession("ue_ipv6", "a relay has none")
    if session.ue_ip is not None:
        return
    for field, given in (
        ("qfi", session.qos is not None),
        ("breakout", bool(detail.breakout)),
        ("framed_routes", bool(detail.framed_routes)),
    ):
        if given:
            raise InvalidSession(field, "needs a ue_ip: a relay without takes packets as they are")


def check_ipv6(gateway: Gateway, prefix: IPv6Network) -> None:
    """A UE's prefix is of a pool, and one that the switch reads rightly.

    Raises:
        InvalidSession.
    """
    if not prefix.prefixlen >= LONGEST_POOL:
        reason = f"{prefix} is no UE's prefix: /{LONGEST_POOL} to /128, mostly a /64"
        raise InvalidSession("ue_ipv6", reason)
    if not any(prefix.subnet_of(pool) for pool in gateway.ue_pools6):
        pools = ", ".join(map(str, gateway.ue_pools6)) or "none"
        raise InvalidSession("ue_ipv6", f"{prefix} is not in the IPv6 UE pools ({pools})")
    _check_read_rightly("ue_ipv6", prefix)
    ours = gateway.core_ip6
    if (ours and ours.ip in prefix) or (gateway.next_hop6 and gateway.next_hop6 in prefix):
        raise InvalidSession("ue_ipv6", f"{prefix} holds an address of the core side")


def _check_read_rightly(loc: str, prefix: IPv6Network) -> None:
    third = int(prefix.network_address) >> 80 & 0xFFFF
    if third in MISREAD:
        reason = f"{prefix}: the switch takes packets from {third:x} in the third group for"
        raise InvalidSession(loc, f"{reason} {MISREAD[third]}")


def check_prefixes(gateway: Gateway, detail: Detail, protected: tuple[Network, ...]) -> None:
    """Check the prefixes that a session names; see `check_session`.

    Raises:
        InvalidSession: with the field at fault.
    """
    for name, prefixes in (("breakout", detail.breakout), ("framed_routes", detail.framed_routes)):
        if len(prefixes) > PREFIXES_MAX:
            raise InvalidSession(name, f"at most {PREFIXES_MAX} prefixes, not {len(prefixes)}")
        for place, prefix in enumerate(prefixes):
            if prefix in prefixes[:place]:
                raise InvalidSession(f"{name}.{place}", f"{prefix} stands there twice")
    for place, prefix in enumerate(detail.breakout):
        inside = next((each for each in protected if within(prefix, each)), None)
        if inside is not None:
            raise InvalidSession(
                f"breakout.{place}", f"{prefix} is inside {inside}, where no UE may send"
            )
    for place, prefix in enumerate(detail.framed_routes):
        loc = f"framed_routes.{place}"
        if isinstance(prefix, IPv6Network):
            _check_framed6(detail, prefix, loc)
        for pool in gateway.pools:
            if overlap(prefix, pool):
                raise InvalidSession(loc, f"{prefix} overlaps the UE pool {pool}")
        for other in protected:
            if overlap(prefix, other):
                raise InvalidSession(loc, f"{prefix} overlaps {other}, where no UE may send")
        for before in detail.framed_routes[:place]:
            if overlap(prefix, before):
                raise InvalidSession(loc, f"{prefix} overlaps {before}")
        for next_hop in (gateway.next_hop, gateway.next_hop6):
            if next_hop is not None and next_hop in prefix:
                raise InvalidSession(loc, f"{prefix} holds the next hop {next_hop}")


def _check_framed6(detail: Detail, prefix: IPv6Network, loc: str) -> None:
    """What else must hold of an IPv6 prefix behind a UE."""
    if detail.ue_ipv6 is None:
        raise InvalidSession(loc, f"{prefix} needs a ue_ipv6: the UE has no IPv6")
    if prefix.prefixlen >= LONGEST_POOL:
        _check_read_rightly(loc, prefix)


def _check_rates(loc: str, rates: Rates) -> None:
    for name, rate in (("uplink_kbps", rates.uplink), ("downlink_kbps", rates.downlink)):
        if rate is not None and not 1 <= rate <= RATE_MAX_KBPS:
            raise InvalidSession(
                f"{loc}.{name}", f"a rate is 1 to {RATE_MAX_KBPS} kbit/s, not {rate}"
            )


def _check_usage(loc: str, usage: UsageLimits) -> None:
    for name, value, most in (
        ("threshold_bytes", usage.threshold, OCTETS_MAX),
        ("quota_bytes", usage.quota, OCTETS_MAX),
        ("inactivity_seconds", usage.inactivity, INACTIVITY_MAX_S),
    ):
        if value is not None and not 1 <= value <= most:
            raise InvalidSession(f"{loc}.{name}", f"1 to {most}, not {value}")


def _check_bearers(gateway: Gateway, session: Session, detail: Detail) -> None:
    bearers = detail.bearers
    if len(bearers) > BEARERS_MAX:
        raise InvalidSession("bearers", f"at most {BEARERS_MAX}, not {len(bearers)}")
    for name in ("id", "precedence"):
        seen: set[object] = set()
        for place, bearer in enumerate(bearers):
            value = getattr(bearer, name)
            if value in seen:
                raise InvalidSession(f"bearers.{place}.{name}", f"{value} is another bearer's")
            seen.add(value)
    _check_versions(session, bearers)
    ue = ue_prefixes(session)
    flows: Counter[bool] = Counter()
    for place, bearer in enumerate(bearers):
        loc = f"bearers.{place}"
        _check_bearer(gateway, bearer, loc)
        for number, each in enumerate(bearer.filters):
            _check_filter(f"{loc}.filters.{number}", each, ue, flows)
    if flows and max(flows.values()) > FLOWS_MAX:
        raise InvalidSession(
            "bearers", f"their filters take {max(flows.values())} flows, of at most {FLOWS_MAX}"
        )


def _check_versions(session: Session, bearers: Iterable[Bearer]) -> None:
    """The switch sends a session's packets to peers of one IP version."""
    tunnels = [("", session.downlink)]
    tunnels += [(f"bearers.{place}.", each.downlink) for place, each in enumerate(bearers)]
    first = None
    for loc, far in tunnels:
        first = first or far
        if far is not None and first is not None and far.ip.version != first.ip.version:
            reason = f"{far.ip} and {first.ip}: peers of one session have one IP version"
            raise InvalidSession(f"{loc}downlink.remote_ip", reason)


def _check_bearer(gateway: Gateway, bearer: Bearer, loc: str) -> None:
    if not SESSION_ID.fullmatch(bearer.id):
        raise InvalidSession(f"{loc}.id", "1 to 128 of A-Z a-z 0-9 . _ : @ -")
    if not 0 <= bearer.precedence <= PRECEDENCE_MAX:
        raise InvalidSession(f"{loc}.precedence", f"0 to {PRECEDENCE_MAX}, not {bearer.precedence}")
    if not 1 <= len(bearer.filters) <= FILTERS_MAX:
        raise InvalidSession(f"{loc}.filters", f"1 to {FILTERS_MAX}, not {len(bearer.filters)}")
    _check_rates(f"{loc}.mbr", bearer.mbr)
    _check_usage(f"{loc}.usage", bearer.usage)
    check_qfi(f"{loc}.qfi", bearer.qos)
    if bearer.uplink is not None:
        check_teid(f"{loc}.uplink.teid", bearer.uplink.teid)
        if bearer.uplink.remote_ip is not None:
            gateway.check_peer(f"{loc}.uplink.remote_ip", bearer.uplink.remote_ip)
    if bearer.downlink is not None:
        check_teid(f"{loc}.downlink.teid", bearer.downlink.teid)
        gateway.check_peer(f"{loc}.downlink.remote_ip", bearer.downlink.ip)


def check_qfi(loc: str, qos: Qos | None) -> None:
    """Raise InvalidSession unless the QFI is 1 to 63 (TS 38.415, 5.5.3.3)."""
    if qos is not None and not 1 <= qos.qfi <= QFI_MAX:
        raise InvalidSession(loc, f"a QFI is 1 to {QFI_MAX}, not {qos.qfi}")


def _check_filter(
    loc: str, asked: PacketFilter, ue: tuple[Network, ...], flows: Counter[bool]
) -> None:
    local = asked.local
    if isinstance(local, Network) and not any(overlap(local, prefix) for prefix in ue):
        raise InvalidSession(loc, f"{local} is none of the UE's addresses: nothing would match")
    try:
        for uplink in (False, True):
            flows[uplink] += len(matches(asked, versions_of(ue), uplink=uplink))
    except FilterError as error:
        raise InvalidSession(loc, str(error)) from None


def _check_own(session: Session) -> None:
    """A session's TEIDs and tunnels are different ones."""
    _differ(all_teids(session), "{} is another TEID of this session")
    _differ(all_tunnels(session), "{} is another tunnel of this session; leave it out to share it")


def _differ(named: Iterator[tuple[str, object]], msg: str) -> None:
    seen: set[object] = set()
    for loc, value in named:
        if value in seen:
            raise InvalidSession(loc, msg.format(value))
        seen.add(value)
