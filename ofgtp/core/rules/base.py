"""The flows of a gateway that are there without any session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

from ofgtp.core.filters import Network
from ofgtp.core.flows.flow import Bits, Encap, Flow, Header, SetField, Value, match, move
from ofgtp.core.flows.pipeline import (
    CONTAINER,
    CONTAINER_END,
    DOWNLINK,
    EPOCH,
    INGRESS,
    INNER_ECN,
    NORMALISE,
    PIPELINE,
    RELAY_FORM,
    UPLINK,
)
from ofgtp.core.model import Gateway
from ofgtp.core.rules.access import access, ingress, local
from ofgtp.core.rules.container import container
from ofgtp.core.rules.container import epoch_flows as container_epoch_flows
from ofgtp.core.rules.downlink import (
    choose,
    contain,
    core,
    fit,
    fitted,
    framed,
    held,
    refusal,
    replayed,
    unknown_ue,
)
from ofgtp.core.rules.ecn import inner_ecn, outer_ecn
from ofgtp.core.rules.lease import lease_flows
from ofgtp.core.rules.normalise import bare, normalise, retype
from ofgtp.core.rules.relay import relay, relay_form
from ofgtp.core.rules.terms import (
    CE,
    ECT_1,
    EPOCH_AT,
    IPV4_TYPED,
    IPV6_TYPED,
    OVER_IPV6,
    TAIL_BITS,
    Links,
)
from ofgtp.core.rules.uplink import guard, onward, qfi, route, router, rules, uplink

OWN_MISSES = (CONTAINER, CONTAINER_END, UPLINK, DOWNLINK)
"""Tables whose misses are made where the rest of the table is: the controller is shown some, or a
meter counts them."""


UNREACHABLE_FOR_UES = tuple(
    IPv4Network(prefix)
    for prefix in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)
"""This network, loopback, link-local, multicast, reserved and broadcast (RFC 6890)."""

UNREACHABLE_FOR_UES6 = tuple(
    IPv6Network(prefix)
    for prefix in ("::/96", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64", "fe80::/10", "ff00::/8")
)
"""Unspecified, loopback and IPv4-compatible; IPv4-mapped; local translation; discard-only;
link-local; multicast (RFC 6890, RFC 8215, RFC 4291)."""


def protected_networks(gateways: Iterable[Gateway]) -> tuple[Network, ...]:
    """Where no UE of these gateways may send.

    All gateways' access networks are meant, not only the own one's: with `core_port = "host"` the
    host would route from one to the other. A default route among the access routes is left out,
    since it would forbid everything.
    """
    networks: list[Network] = [*UNREACHABLE_FOR_UES]
    for gateway in gateways:
        networks += [gateway.access_ip.network, IPv4Network(gateway.core_ip.ip)]
        networks += [route.to for route in gateway.access_routes if route.to.prefixlen]
        networks += [] if gateway.pfcp is None else [IPv4Network(gateway.pfcp.listen)]
        if gateway.access_ip6 is not None:
            networks += [gateway.access_ip6.network]
        if gateway.core_ip6 is not None:
            ours = gateway.core_ip6
            # On a host's internal port nobody else is: a UE would have the host look for 2^64.
            own = ours.network if gateway.host_core else IPv6Network(ours.ip)
            networks += [*UNREACHABLE_FOR_UES6, own]
    return tuple(dict.fromkeys(networks))


def gateway_flows(
    gateway: Gateway, links: Links, protected: Iterable[Network], lease_seconds: int | None
) -> Iterator[Flow]:
    """All flows of a gateway that are there without any session.

    With `lease_seconds` (5 or more) they forward nothing unless the lease is renewed; with None
    the switch forwards on for ever.
    """
    yield from ingress(links)
    yield from access(gateway, links)
    yield from outer_ecn(gateway)
    yield from relay_form()
    yield from relay(links)
    yield from normalise(links)
    yield from lease_flows(links, lease_seconds)
    yield from retype(links)
    yield from bare()
    yield from container(links)
    yield from epoch_flows(links)
    yield from inner_ecn()
    yield from uplink(gateway)
    yield from rules()
    yield from qfi()
    yield from onward(links)
    yield from guard(gateway, links, protected)
    if gateway.ue_pools6:
        yield from router()
    yield from route(links)
    yield from core(gateway, links)
    yield from framed(links)
    yield from fit(links)
    yield from choose(links)
    yield from held()
    yield from replayed(links)
    yield from refusal()
    yield unknown_ue()
    yield from contain(links)
    yield from local(gateway, links)
    for table in PIPELINE:
        if table.miss is not None and table not in OWN_MISSES:
            yield table.drop(0, (), table.miss)


def epoch_flows(links: Links) -> Iterator[Flow]:
    """The flows that each decapsulated packet passes, on both of its passes; see NO_SESSION.

    The first pass leads to the second by a number which the switch draws anew when the flows were
    away for a moment, so that what it has cached for the first must be forgotten too.
    """
    # Not pkt_mark: the TEID is copied onto it in this pass, which asks for all of it in any epoch.
    # Nor ct_mark: of what is not parsed anew this is also the pass in which its session is found.
    asked: dict[str, Value] = {"ct_label": (0, links.epoch << EPOCH_AT)}
    for port, ecn in ((links.gtpu, None), (links.gtpu_ect_1, ECT_1), (links.gtpu_ce, CE)):
        marked = () if ecn is None else (SetField("reg7", ecn),)
        # A mark goes into the packet itself, so that of relays, too, is unwrapped then.
        first = RELAY_FORM if ecn is None else NORMALISE
        from_port = match(in_port=port, **asked)
        yield INGRESS.flow(100, from_port, *marked, move("tun_src", "reg1"), goto=first)
        if links.gre is not None:
            # For a peer that has IPv6 there is no room on the way round, but for this much of it.
            tail = Bits("tun_ipv6_src", 0, TAIL_BITS - 1), Bits("reg1", 0, TAIL_BITS - 1)
            over = match(in_port=port, tun_src=0, **asked)
            kept = SetField("reg1", OVER_IPV6), move(*tail)
            yield INGRESS.flow(110, over, *marked, *kept, goto=first)
    of_epoch: dict[str, Value] = {"pkt_mark": (0, links.epoch)}
    yield EPOCH.flow(100, match(**of_epoch), goto=INNER_ECN)
    for packet_type in (IPV4_TYPED, IPV6_TYPED):
        parsed = match(packet_type=packet_type, **of_epoch)
        # Above: a match of metadata alone is for packets of any type, though none be named.
        yield EPOCH.flow(110, parsed, Encap(Header.ETHERNET), goto=INNER_ECN)
    yield from fitted(links)
    # The passes between the first and the last lead to the next by such a number as well.
    yield from container_epoch_flows(links)
