"""The gateway's nftables: what the switch itself cannot do.

- The kernel's own stack must not see what the switch reads from its ports by AF_PACKET (which
  gets its copy before these chains): it would answer ARP and send ICMP of its own. Nor must what
  it, or a daemon, sends on every interface leave by them: router solicitations and multicast
  reports, mDNS, DHCP. Of these addresses and of IPv6 the switch sends nothing, as no UE may.
- Open vSwitch before 3.2 sends GTP-U with wrong UDP checksums: they are set to zero, "none",
  which IPv4 allows (RFC 768; TS 29.281, 4.4.2).
- The switch puts a PDU Session Container in front of a T-PDU, but cannot set the E flag that says
  so, nor clear the lowest bit of its QFI (see `ofgtp.core.rules.downlink`): done here. Nor does
  the tunnel inherit the DSCP of what it takes for MPLS: copied here.
- A network card hands on the octets by which a short packet was padded to Ethernet's 60, and the
  switch takes them into the tunnel: the lengths in the headers are set to those of the packet. What
  was padding inside of the tunnel is padding behind the outer packet then.
- With `source_port`, T-PDUs leave from that port; the switch takes one for each flow of packets.
- With `masquerade`, the UE pools leave the host with the host's own addresses; those of IPv6 with
  `masquerade6`.
- With AF_XDP the switch reads veths, and the ports are joined to them here: what comes in by the
  one goes on to the other. Where the controller owns the tunnels, only as long as it renews that:
  while the switch's main thread waits for its database its other threads forward on, and no flow
  runs out.
- With `core_port = "host"` UEs reach what the host routes to, but not the host's own services, and
  are no neighbours to it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator

from ofgtp.core.filters import Network
from ofgtp.core.flows.faults import UDP_CHECKSUM, Version
from ofgtp.core.model import GTPU_PORT, Gateway
from ofgtp.southbound import gtpu_of_gre
from ofgtp.southbound.command import attempt, run

log = logging.getLogger(__name__)

_CONTAINED = "@th,64,16 0x30ff @th,128,16 0x0 @th,152,8 0x85"
"""A T-PDU (type 255) without flags, behind whose GTP-U header no IP packet begins, but the optional
part: no sequence number, and a PDU Session Container next. One that a relay sends on as it came has
the flag (E) already, and is left as it is. Bits are counted from the UDP header's first."""
_EVEN = "@th,184,8 0x1 @th,176,8 set @th,176,8 ^ 0x1 @th,184,8 set 0x0"
"""Where the next extension header's type reads 1, the QFI is even."""
_INHERIT = "ip id set @th,192,16 @nh,8,8 set @nh,40,8 @nh,40,8 set 0x0 ip id set 0"
"""The outer packet's DSCP, and ECN, become the inner one's. nftables keeps the header's checksum
right for fields that it knows by name, and this octet is none of them. So the inner packet's first
two octets are written into the identification, and the second is moved from there to where it
belongs, which changes no sum of words of 16 bits. The identification is 0 again at the end."""
_LEASE = "lease"
"""The set of the interfaces whose packets go on to the switch."""
_BY_TEID = f"meta protocol ip udp dport {GTPU_PORT} fwd to jhash @th,96,32"
"""Base stations are few, and each sends from one port; their tunnels are many."""
_BY_UE = "fwd to jhash ip daddr"
_BY_UE6 = "meta protocol ip6 fwd to jhash @nh,192,64"
"""By the first half of the destination, the prefix of most UEs: each has many addresses."""
_QUIET = ("meta protocol ip6 drop", "ip daddr 224.0.0.0/3 drop")
"""IPv6; multicast and broadcast."""
_QUIET_6 = "ip6 saddr { ::, fe80::/10 } drop"
"""Where the gateway speaks IPv6: the host's own stack has no other address there."""
_ASKED = "typeof ip saddr . meta l4proto . th sport . th dport"
"""A UE's address, protocol and port, and the host's port: whom the host has spoken to."""
_ASKED6 = _ASKED.replace("ip saddr", "ip6 saddr")
_ANSWERED_S = {"tcp": " timeout 1d", "udp": ""}
"""For how long an answer is taken after the host has last spoken; the set's own time for UDP."""
_FLAG = "@th,64,8 set 0x34 udp checksum set 0"
"""Version 1, GTP, E: there is an optional part (TS 29.281, 5.1)."""
_PADDED = range(20, 51)
"""Lengths of IPv4 packets that may be padded: to frames of 60 octets, of which 14 are Ethernet's
header, or of 64 where a switch has taken a VLAN tag off (IEEE 802.1Q)."""


def _trim(flags: int, header: int) -> str:
    """Set a T-PDU's lengths by that of the packet behind the `header` octets of GTP-U.

    That of an IPv4 packet, of which it is read: a relay may send on what is none. The second map
    has in one: UDP length, UDP checksum (none), and half of the GTP-U header.
    """
    inner, version = f"@th,{8 * (8 + header + 2)},16", f"@th,{8 * (8 + header)},8 & 0xf0 == 0x40"
    outer, halves = {}, {}
    for length in _PADDED:
        udp, gtpu = 8 + header + length, header - 8 + length
        outer[length] = 20 + udp
        halves[length] = udp << 48 | flags << 24 | 0xFF << 16 | gtpu
    maps = (
        ", ".join(f"{key} : {value}" for key, value in each.items()) for each in (outer, halves)
    )
    ip, rest = (f"set {inner} map {{ {each} }}" for each in maps)
    padded = f"{inner} < {max(_PADDED) + 1:#x} @th,64,16 0x30ff {version}"
    return f"{padded} ip length {ip} @th,32,64 {rest}"


_TRIM = f"{_trim(0x30, 8)} accept"
_TRIM_CONTAINED = _trim(0x34, 16)

TRIAL = f"""\
table netdev ofgtp_trial {{
\tchain in {{ type filter hook ingress device "lo" priority 0; policy drop; }}
\tchain contained {{
\t\t{_TRIM_CONTAINED}
\t\t{_EVEN}
\t\t{_INHERIT}
\t\t{_FLAG}
\t}}
\tchain gtpu {{
\t\tudp sport != {GTPU_PORT} udp sport set {GTPU_PORT} udp checksum set 0
\t\t{_CONTAINED} goto contained
\t\t{_TRIM}
\t\tudp checksum set 0
\t}}
\tchain out {{
\t\ttype filter hook egress device "lo" priority 0; policy accept;
\t\tmeta protocol ip udp dport {GTPU_PORT} goto gtpu
\t\t{_QUIET[0]}
\t\t{_QUIET[1]}
\t}}
}}
table ip ofgtp_trial {{
\tchain out {{
\t\ttype nat hook postrouting priority 100; policy accept;
\t\tip saddr 192.0.2.0/24 oifname != "lo" masquerade
\t}}
}}
table inet ofgtp_trial {{
\tset asked {{
\t\t{_ASKED}
\t\tsize 65535
\t\tflags dynamic,timeout
\t\ttimeout 2m
\t}}
\tchain input {{
\t\ttype filter hook input priority 0; policy accept;
\t\tiifname "lo" ip saddr . meta l4proto . th sport . th dport @asked accept
\t}}
}}
"""
"""All that we ask of nftables: for `nft --check`, which does not do it."""

TRIAL_AFXDP = """\
table netdev ofgtp_trial {
\tset lease {
\t\ttype iface_index
\t\tflags timeout
\t}
\tchain in {
\t\ttype filter hook ingress device "lo" priority 0; policy drop;
\t\tiif != @lease drop
\t\tmeta protocol ip udp dport 2152 fwd to jhash @th,96,32 mod 2 map { 0 : "lo", 1 : "lo" }
\t\tfwd to jhash ip daddr mod 2 map { 0 : "lo", 1 : "lo" }
\t}
}
"""
"""What is asked of it for ports that are read by AF_XDP."""

_accepted: dict[str, str] = {}
"""Our text of a table -> nft's own listing of it, where they differ (by nft's version)."""


def ruleset(gateway: Gateway, ovs_version: Version | None) -> str:
    """All of the gateway's tables, in nft's language, for a switch of that version."""
    return "\n".join(_tables(gateway, ovs_version).values())


def apply(gateway: Gateway, ovs_version: Version | None, lease: float = 0.0) -> bool:
    """Put the tables in place, in one nft transaction, if what is there differs; True if so.

    If a lease is needed for packets to pass, they do so for `lease` seconds (see `lease_of`).

    Raises:
        GatewayNotReady: nft's own message.
    """
    if check(gateway, ovs_version):
        return False
    tables = _tables(gateway, ovs_version)
    leased = _passing(gateway, lease) if _is_leased(gateway) else ""
    run(["nft", "-f", "-"], _deletion(gateway) + "\n".join(tables.values()) + leased)
    for table, text in tables.items():
        # Somebody may just have deleted it again: that is not how it should be.
        if listed := _listing(table):
            _accepted[text] = listed
    log.info("gateway=%s: nftables tables written: %s", gateway.name, ", ".join(tables))
    return True


def lease_of(gateway: Gateway) -> tuple[str, str] | None:
    """The netdev table, and its set of the interfaces whose packets pass; None: all pass."""
    return (_names(gateway)[0].split()[1], _LEASE) if _is_leased(gateway) else None


def check(gateway: Gateway, ovs_version: Version | None) -> bool:
    """Whether the tables are there, whole and unchanged."""
    wanted = _tables(gateway, ovs_version)
    for table in _names(gateway):
        text = wanted.get(table, "")
        if _listing(table) not in (_lines(text), _accepted.get(text)):
            return False
    return True


def present(gateway: Gateway, ovs_version: Version | None) -> bool:
    """Whether all tables are there, whatever is in them."""
    return all(_listing(table) for table in _tables(gateway, ovs_version))


def remove(gateway: Gateway) -> bool:
    """Delete the tables; False if there are none.

    Raises:
        GatewayNotReady: nft's own message.
    """
    if not any(_listing(table) for table in _names(gateway)):
        return False
    run(["nft", "-f", "-"], _deletion(gateway))
    return True


def _names(gateway: Gateway) -> tuple[str, str, str, str]:
    """The tables of a gateway, whether or not it needs all.

    A bridge's name may hold what an nft identifier may not: that is written as `.` and its code.
    """
    bridge = re.sub(r"[^A-Za-z0-9_-]", lambda char: f".{ord(char[0]):02x}", gateway.bridge)
    names = (f"{family} ofgtp_{bridge}" for family in ("netdev", "ip", "inet", "ip6"))
    ports, nat, services, nat6 = names
    return ports, nat, services, nat6


def _tables(gateway: Gateway, ovs_version: Version | None) -> dict[str, str]:
    """Table -> its text, laid out as `nft list` does, so that the two can be compared."""
    ports, nat, services, nat6 = _names(gateway)
    chains = [_set(_LEASE, "type iface_index", "flags timeout")] if _is_leased(gateway) else []
    chains += _ways_in("access", gateway.access_port, [_BY_TEID], gateway)
    if not gateway.host_core:
        by = [_BY_UE] if gateway.core_ip6 is None else [_BY_UE, _BY_UE6]
        chains += _ways_in("core", gateway.core_port, by, gateway)
        quiet = _QUIET if gateway.core_ip6 is None else (_QUIET_6, _QUIET[1])
        chains.append(_chain("core_out", _egress(gateway.core_port), *quiet))
    padded = not gateway.host_core  # what the host sends is not
    contained = [_EVEN, *[_INHERIT] * (gateway.dscp is None), _FLAG]
    gtpu = [f"{_CONTAINED} goto contained"]
    if padded:
        contained.insert(0, _TRIM_CONTAINED)
        gtpu.append(_TRIM)
    none = "udp checksum set 0"
    if (port := gateway.source_port) is not None:
        # Of a checksum that is 0 already, the new port would make another.
        gtpu.insert(0, f"udp sport != {port} udp sport set {port} {none}")
    if UDP_CHECKSUM.affects(ovs_version):
        gtpu.append(none)
    chains.append(_chain("contained", *contained))
    chains.append(_chain("gtpu", *gtpu))
    ways = [f"meta protocol ip udp dport {GTPU_PORT} goto gtpu"]
    quiet = _QUIET
    if gateway.access_ip6 is not None:
        made = gtpu_of_gre.chains(gateway.access_ip6.ip, inherit_dscp=gateway.dscp is None)
        chains += [_chain(name, *lines) for name, lines in made.items()]
        ways, quiet = [*ways, gtpu_of_gre.WAY], (_QUIET_6, _QUIET[1])
    chains.append(_chain("access_out", _egress(gateway.access_port), *ways, *quiet))
    tables = {ports: _table(ports, "keeps the host's stack off the gateway's ports", chains)}
    for asked, table, family, pools in (
        (gateway.masquerade, nat, "ip", gateway.ue_pools),
        (gateway.masquerade6, nat6, "ip6", gateway.ue_pools6),
    ):
        if asked:
            chain = _chain("postrouting", *_masquerade(gateway, family, pools))
            tables[table] = _table(table, "UEs leave with the host's addresses", [chain])
    if gateway.host_core and gateway.host_services == "deny":
        purpose = "UEs do not reach the host's own services"
        tables[services] = _table(services, purpose, _services(gateway))
    elif gateway.host_core and gateway.core_ip6 is not None:
        purpose = "UEs are no neighbours of the host's"
        tables[services] = _table(services, purpose, _strangers(gateway))
    return tables


def _masquerade(gateway: Gateway, family: str, pools: Iterable[Network]) -> Iterator[str]:
    yield "type nat hook postrouting priority 100; policy accept;"
    spared = f'oifname != "{gateway.bridge}" oifname != "{gateway.core_device}"'
    for pool in pools:
        yield f"{family} saddr {pool} {spared} masquerade"


def _strangers(gateway: Gateway) -> list[str]:
    """What only a neighbour may tell the host UEs do not: with the addresses of one prefix they
    could fill its table of neighbours, which all of its interfaces share."""
    kinds = ("router-solicit", "router-advert", "neighbor-solicit", "neighbor-advert", "redirect")
    told = ", ".join(f"nd-{kind}" for kind in kinds)
    return [
        _chain(
            "input",
            "type filter hook input priority 0; policy accept;",
            f'iifname "{gateway.core_device}" icmpv6 type {{ {told} }} counter drop',
        )
    ]


def _services(gateway: Gateway) -> list[str]:
    """What UEs send to the host itself is taken only where it is ping, an ICMP error, or an answer.

    Whom the host has spoken to is noted here, not asked of connection tracking: a rule that asks
    it would have the host keep an entry for each connection that it routes, and drop what comes
    when its table is full.
    """
    device, asked = gateway.core_device, {"": _ASKED}
    icmp = "echo-reply, destination-unreachable, echo-request, time-exceeded, parameter-problem"
    pings = [f"icmp type {{ {icmp} }} accept"]
    if gateway.core_ip6 is not None:
        asked["6"] = _ASKED6
        # Of neighbours and routers UEs tell the host nothing: that would be taken for granted.
        icmp = "destination-unreachable, packet-too-big, time-exceeded, parameter-problem"
        pings.append(f"icmpv6 type {{ {icmp}, echo-request, echo-reply }} accept")
    noted = [
        f'oifname "{device}" update @asked{version} '
        f"{{ ip{version} daddr . meta l4proto . {kind} dport . {kind} sport{time} }}"
        for version in asked
        for kind, time in _ANSWERED_S.items()
    ]
    answers = [
        f"ip{version} saddr . meta l4proto . th sport . th dport @asked{version} accept"
        for version in asked
    ]
    return [
        *(
            _set(f"asked{version}", kind, "size 65535", "flags dynamic,timeout", "timeout 2m")
            for version, kind in asked.items()
        ),
        _chain(
            "input",
            "type filter hook input priority 0; policy accept;",
            f'iifname "{device}" jump from_ues',
        ),
        _chain("from_ues", *pings, *answers, "counter drop"),
        _chain("output", "type filter hook output priority 0; policy accept;", *noted),
    ]


def _ways_in(side: str, port: str, spread: Iterable[str], gateway: Gateway) -> list[str]:
    """What becomes of what comes in by a port: the host's stack has none of it.

    The switch reads it before that; or, by AF_XDP, has it by veths, over which it is spread so that
    what belongs to one UE goes one way, and in order.
    """
    veths = [pair for pair in gateway.veths if pair.port == port]
    if not veths:
        return [_ingress(f"{side}_in", port)]
    ways = ", ".join(f'{pair.number} : "{pair.host_end}"' for pair in veths)
    over = [f"{by} mod {len(veths)} map {{ {ways} }}" for by in spread]
    lines = [*(over if len(veths) > 1 else ()), f'fwd to "{veths[0].host_end}"']
    if _is_leased(gateway):
        lines.insert(0, f"iif != @{_LEASE} drop")
    return [
        _ingress(f"{side}_in", port, *lines),
        *(
            _ingress(f"{side}_out_{each.number}", each.host_end, f'fwd to "{port}"')
            for each in veths
        ),
        *(_ingress(f"{side}_end_{pair.number}", pair.end) for pair in veths),
    ]


def _is_leased(gateway: Gateway) -> bool:
    """Whether packets reach the switch only for as long as the controller says so: where the flows
    alone would not see to that."""
    return gateway.leased and gateway.veths != ()


def _passing(gateway: Gateway, lease: float) -> str:
    """Have packets pass that come in by the ports, for so many seconds."""
    if lease <= 0:
        return ""
    ports = _names(gateway)[0]
    leased = ", ".join(f'"{port}" timeout {lease * 1000:.0f}ms' for port in gateway.ports)
    return f"add element {ports} {_LEASE} {{ {leased} }}\n"


def _ingress(name: str, device: str, *lines: str) -> str:
    hook = f'type filter hook ingress device "{device}" priority 0; policy drop;'
    return _chain(name, hook, *lines)


def _set(name: str, *lines: str) -> str:
    return _block(f"set {name}", *lines)


def _egress(port: str) -> str:
    return f'type filter hook egress device "{port}" priority 0; policy accept;'


def _chain(name: str, *lines: str) -> str:
    return _block(f"chain {name}", *lines)


def _block(head: str, *lines: str) -> str:
    return "\n".join([f"\t{head} {{", *(f"\t\t{line}" for line in lines), "\t}"])


def _table(table: str, purpose: str, chains: list[str]) -> str:
    return "\n".join([f"table {table} {{", f'\tcomment "ofgtp: {purpose}"', *chains, "}", ""])


def _deletion(gateway: Gateway) -> str:
    """Delete the tables, there or not: `add` first, for `delete` of what is not there fails."""
    return "".join(f"add table {name}\ndelete table {name}\n" for name in _names(gateway))


def _listing(table: str) -> str:
    """What nft shows of a table, without what it counts and notes; empty if there is none."""
    flags = ("--stateless", "--terse", "--numeric-priority")
    code, out, _ = attempt(["nft", *flags, "list", "table", *table.split()])
    return "" if code else _lines(out)


def _lines(text: str) -> str:
    """The text without blank lines and indentation, in which nft's versions differ."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
