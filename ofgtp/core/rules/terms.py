"""What the rules of several tables speak of: numbers, flags, registers, sizes, links."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from ofgtp.core.filters import Network
from ofgtp.core.flows.flow import Action, Output, RuleError, Value, set_field
from ofgtp.core.flows.pipeline import (
    BUFFER_FULL_METER,
    ERROR_INDICATED_METER,
    FAR_DROP_METER,
    GATE_CLOSED_METER,
    IDLE_UE_METER,
    OTHER_RELAYED,
    OTHER_RULES,
    QUOTA_EXHAUSTED_METER,
    RELAYED,
    RULES,
    UPLINK_ERROR_INDICATED_METER,
    UPLINK_FAR_DROP_METER,
    UPLINK_GATE_CLOSED_METER,
    UPLINK_IDLE_METER,
    UPLINK_QUOTA_EXHAUSTED_METER,
    DropReason,
)
from ofgtp.core.model import FTeid, Gateway, Qos

IPV4, IPV6, ARP, MPLS, MPLS_MULTICAST, NSH = 0x0800, 0x86DD, 0x0806, 0x8847, 0x8848, 0x894F


ICMP, UDP, GRE = 1, 17, 47


ECHO_REPLY, ECHO_REQUEST = 0, 8


ICMPV6 = 58
ECHO_REQUEST_6, ECHO_REPLY_6, SOLICITATION, ADVERTISEMENT = 128, 129, 135, 136
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, REDIRECT = 133, 134, 137
NEIGHBOUR_DISCOVERY = range(ROUTER_SOLICITATION, REDIRECT + 1)
"""Types of ICMPv6 that are for one link alone (RFC 4861, 4)."""
ROUTER_ADDRESS = IPv6Address("fe80::1")
"""The gateway's address on every UE's link, on which there is no other host."""
LISTENER_REPORT = 143
NEIGHBOURS_HOPS = 255
"""Of all that only a neighbour may say (RFC 4861, 3.1)."""


UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM = 3, 11, 12
"""ICMP errors (RFC 792); they quote the beginning of the packet that they are about."""


TAGGED = (0x1000, 0x1000)


ANY_FRAGMENT = (1, 1)
FIRST_FRAGMENT = 1


IPV4_TYPED, IPV6_TYPED = 1 << 16 | IPV4, 1 << 16 | IPV6
"""packet_type as the switch sets it, rightly or wrongly, on what it decapsulated."""


T_PDU = 255


NOT_ECT, ECT_1, ECT_0, CE = range(4)
"""Codepoints of ECN (RFC 3168, 5): not capable, capable (twice), congestion experienced."""

ECN_NAMES = ("not ECN-capable", "ECT(1)", "ECT(0)", "CE")
"""What people call them."""


VERSION_1, GTP = 0x20, 0x30
"""Of the flags' octet: version 1 (of which one bit is set), and PT as well (TS 29.281, 5.1)."""


LATER_VERSIONS = (0x40, 0x80)
"""The bits of the version that are clear in version 1."""


E, S, PN = 0x04, 0x02, 0x01


EXTENDED, EXTENDED_NUMBERED, UNEXTENDED = 1, 2, 3
"""Stand in the VLAN priority, where an IP version may stand, of T-PDUs with something in front of
their packet: the optional part and then an extension header, if E is set; the header without it,
if S is set too (the switch takes it off); and the optional part alone, if only PN is set."""


NUMBERED = {4: 5, 6: 0}
"""By IP version what stands there of T-PDUs with a sequence number: the switch takes its octets off
though they be missing, so that the packet may have fewer than none."""


WHOLE = 7
"""Stands there of T-PDUs that are typed rightly, and have no label."""


CONTAINED, CHECKED = 0x80, 0x40
"""In register 3: the T-PDU had a container. In register 4: its session wants one; its session wants
its QFI in it."""


OF_TYPE_0 = 0x40
"""In register 3: the container was a downlink one by its PDU type (TS 38.415, 5.5.2.1)."""


SESSION_PRIORITY = 100


PRIORITY_MAX = 65_535


HEADER_SAMPLE = 96
"""Bytes of a packet that the controller sees: Ethernet, IPv4 with all its options, UDP, or ARP."""


EXTENSION_SAMPLE = 128
"""Bytes of a T-PDU with extension headers that the controller sees, those put in front included."""


SOLICITATION_SAMPLE = 256
"""Bytes of what a UE asks its router that the controller sees: all of it, with its options."""


HELD_SAMPLE = 0xFFFF
"""Bytes of a packet that the controller holds: all of it."""
ICMP_SAMPLE = 160
"""Bytes of an ICMP error that the controller sees: with IP options in it and in what it quotes, up
to the GTP-U header's end, if that is quoted."""


SIGNALLING_SAMPLE = 2048
"""Bytes of signalling that the controller sees: all of it. What is longer is no message."""


@dataclass(frozen=True, slots=True)
class Links:
    """What the switch and the network told us about a gateway's ports, and the flows' epoch.

    `core_mtu` is None where the host routes on, which takes packets of any length and knows what
    fits. `core_mac` is ours on the core side; `peer_mac` is where uplink packets are sent: the next
    hop's MAC, None until it has answered ARP, or that of the host's own interface.
    """

    access: int
    core: int
    gtpu: int
    gtpu_ect_1: int
    gtpu_ce: int
    loop_out: int
    loop_in: int
    access_mtu: int
    core_mtu: int | None
    local_mac: str
    core_mac: str
    peer_mac: str | None
    ue_to_ue: bool = False
    """Whether packets from a UE to another are let pass, as the gateway is configured."""
    decrement_ttl: bool = False
    """Whether the switch takes 1 off the TTL of what it routes."""
    epoch: int = 0x0000FFFF
    """32 bits, 16 of them set; with another, the switch forgets what it has cached for uplink."""
    peer_mac6: str | None = None
    """Where uplink IPv6 packets are sent, as `peer_mac`."""
    gre: int | None = None
    """By which T-PDUs leave to peers that have IPv6; None: there are none."""
    more: tuple[tuple[int, int], ...] = ()
    """Further ways to the access port or the core port: the number of each, and which it is of."""


def same_ports(one: Links, other: Links) -> bool:
    """Whether they differ in nothing but what the gateway's own flows alone are made with."""
    peers = replace(one, peer_mac=other.peer_mac, peer_mac6=other.peer_mac6)
    return replace(peers, epoch=other.epoch) == other


def into(tunnel: FTeid) -> tuple[Action, ...]:
    """What sets the tunnel that a packet is to leave in; see `out_of`."""
    field = "tun_dst" if isinstance(tunnel.ip, IPv4Address) else "tun_ipv6_dst"
    return set_field("tun_id", tunnel.teid), set_field(field, tunnel.ip)


def version_mark(tunnel: FTeid) -> int:
    """What stands in register 4 of the IP version of the peer."""
    return 0 if isinstance(tunnel.ip, IPv4Address) else TO_IPV6


def out_of(links: Links, tunnel: FTeid) -> Output:
    """The port that puts packets into a tunnel.

    Raises:
        RuleError: its peer has IPv6, and the gateway has none.
    """
    if isinstance(tunnel.ip, IPv4Address):
        return Output(links.gtpu)
    if links.gre is None:
        raise RuleError(f"the gateway has no access_ip6 for a tunnel to {tunnel.ip}")
    return Output(links.gre)


def tunnel_headers(links: Links) -> int:
    """Octets of the longest headers that a T-PDU may get."""
    return TUNNEL_HEADERS if links.gre is None else TUNNEL_HEADERS6


def longest_headers(gateway: Gateway) -> int:
    """The same, as the gateway is configured."""
    return TUNNEL_HEADERS if gateway.access_ip6 is None else TUNNEL_HEADERS6


def from_network(network: Network) -> dict[str, Value]:
    """What packets match whose source is in a prefix."""
    if isinstance(network, IPv6Network):
        return {"dl_type": IPV6, "ipv6_src": network}
    return {"dl_type": IPV4, "nw_src": network}


def to_network(network: Network) -> dict[str, Value]:
    """What packets match whose destination is in a prefix."""
    if isinstance(network, IPv6Network):
        return {"dl_type": IPV6, "ipv6_dst": network}
    return {"dl_type": IPV4, "nw_dst": network}


NO_SESSION: dict[str, Value] = {"ct_mark": (0, 0x0000FFFF)}


REFUSED: dict[str, Value] = {"ct_mark": (0, 0xFFFF0000)}


LIVE: dict[str, Value] = {"ct_zone": 0}
"""Conditions that always hold, asked for on the ways that packets of no session take, of one that
refuses them for their container, and of a live one, and on no other.

Open vSwitch before 3.2 cannot change a cached class ("megaflow") of packets that came by a gtpu
port: `failed to put[modify]`. It can delete one, and does so when the class turns out too coarse:
when packets of it are now asked for something that was not asked for before. So whatever may change
while traffic is under way must lead over a field that the way before did not ask for: between
having a session, having none and being refused by it these three, for the rest the epoch: 16 bits
of a field of 32, so that none asks for all that another asked for, and one drawn at random does
where the last is not known.
"""


ETHERNET_HEADER = 14
"""Of a frame's octets those that are no IP packet's; the switch counts them all."""


VLAN_TAG = 4
"""Octets by which a received frame may exceed the MTU: kernel and switch leave room for a tag."""


TUNNEL_HEADERS = 20 + 8 + 8
"""Octets of the outer IPv4, UDP and GTP-U headers (TS 29.281, 5.1)."""


TUNNEL_HEADERS6 = 40 + 8 + 8
"""The same over IPv6."""


CONTAINER_HEADERS = 4 + 4
"""And of the optional part with the first extension header's type, and the container."""


def wanted_container(qos: Qos) -> int:
    """What table qfi asks of a session's uplink T-PDUs; 0: nothing."""
    return CONTAINED * qos.required | (CHECKED | qos.qfi) * qos.check


ALL_THERE, IS_IPV6 = 4, 5
"""Bits of register 2: a packet is longer than what the switch has taken off it; and it is IPv6."""


LONGER_THAN_ACCESS = 3
"""The bit of register 2 that says so of a packet that came in a tunnel and is to leave in one."""


STRICT = 1 << 31
"""In register 6: one of the rules' filters must match."""


OVER_IPV6, TAIL_BITS = 0xF000_0000, 28
"""In register 1: the T-PDU came from a peer that has IPv6, and below stand as many bits of the end
of its address. As IPv4 addresses these are of 240.0.0.0/4, which nobody has (RFC 1112, 4)."""


GROUP_BITS = 7
"""Below the slot in register 6: which of the session's tunnels it is."""


HAS_CONTAINER = 1 << 8
"""In register 4, downlink: RQI and QFI stand below, and a container is wanted."""


TO_IPV6 = 1 << 9
"""In register 4, downlink: the tunnel is one to a peer that has IPv6."""


WAY_TABLES = {1: RULES, 2: OTHER_RULES}
"""Where a session's uplink rules stand, by `Detail.way`."""


RELAY_TABLES = {1: RELAYED, 2: OTHER_RELAYED}
"""Where T-PDUs of a relay leave, likewise."""


ASKED: dict[int, dict[str, Value]] = {
    table.number: {"ct_label": (0, 0xFFFF << 16 * place)}
    for place, table in enumerate((RULES, OTHER_RULES, RELAYED, OTHER_RELAYED))
}
"""What every flow of these tables asks for besides: see NO_SESSION."""


NO_RELAY: dict[str, Value] = {"ct_label": (0, 0xFFFF << 64)}
"""The same for what is no relay's."""


EPOCH_AT = 96
"""The same field from this bit on is for the epoch."""


RELAYS = 1 << 30
"""In register 6: packets of a relay, which leave in the tunnel that is set."""


HOLDS = 1 << 28
"""In register 6: packets that the controller holds."""


REFUSES = 1 << 29
"""In register 6: packets that are refused, for the reason in register 5."""


TO_UE = 1 << 8
"""In register 5, above the reason: the packet that is refused is a downlink one."""


DOWNLINK_REFUSALS = {
    DropReason.IDLE_UE: IDLE_UE_METER,
    DropReason.ERROR_INDICATED: ERROR_INDICATED_METER,
    DropReason.GATE_CLOSED: GATE_CLOSED_METER,
    DropReason.FAR_DROP: FAR_DROP_METER,
    DropReason.QUOTA_EXHAUSTED: QUOTA_EXHAUSTED_METER,
    DropReason.BUFFER_FULL: BUFFER_FULL_METER,
}
UPLINK_REFUSALS = {
    DropReason.IDLE_UE: UPLINK_IDLE_METER,
    DropReason.ERROR_INDICATED: UPLINK_ERROR_INDICATED_METER,
    DropReason.GATE_CLOSED: UPLINK_GATE_CLOSED_METER,
    DropReason.FAR_DROP: UPLINK_FAR_DROP_METER,
    DropReason.QUOTA_EXHAUSTED: UPLINK_QUOTA_EXHAUSTED_METER,
}
"""For what a session's rule may refuse packets, by table refusal, and what counts them."""
