"""Checks of the host's other rules: those that stop what ofgtp or its users send.

What the switch sends and reads on its ports passes none of the host's stack: neither GTP-U nor what
is forwarded between two ports is a matter of input, output and forward chains. What passes them is
what this host sends to itself (REST, OpenFlow), ARP for the access address, and with
`core_port = "host"` all that UEs send and get.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ofgtp.core.doctor.facts import Chain, Reach
from ofgtp.core.doctor.finding import Finding, failed, ok, warning
from ofgtp.core.model import Gateway

CHECK = "firewall"
STACK = ("ip", "ip6", "inet")
"""Families of chains that a connection of this host to itself passes."""
INWARDS = ("input", "prerouting")
IPTABLES = ("filter", "mangle", "nat", "raw", "security")
"""Tables that iptables makes, under these names."""
KEPT = "   # and where those rules are kept"

_DROPS = re.compile(r"\b(?:drop|reject)\b")
_NOT_TCP = re.compile(r"\b(?:udp|icmp|icmpv6|sctp|ct state (?:invalid|established|related))\b")
_DEVICE = re.compile(r'\b[io]if(?:name)? "([^"]+)"')
_PORTS = re.compile(r"\bdport (\{[^}]*\}|[\d-]+)")
_FINAL = re.compile(r"(counter( packets \d+ bytes \d+)? )?(drop|reject( with .*)?)")


def firewall(
    chains: Iterable[Chain],
    legacy: Sequence[str],
    gateways: Sequence[Gateway],
    reached: Sequence[Reach] = (),
) -> list[Finding]:
    """Rules of others that stop packets: one finding for each kind, or that there are none.

    `legacy` are tables of iptables' old kernel interface; `reached` is what came of connections to
    the controller's addresses.
    """
    others = [chain for chain in chains if not chain.table.startswith("ofgtp_")]
    found = [
        *_cut(reached, others, legacy),
        *_on_ports(others, gateways),
        *_arp(others, gateways),
        *_routed(others, legacy, gateways),
    ]
    return found or [ok(CHECK, _well(others))]


def blocked(found: Iterable[Finding]) -> Finding | None:
    """That of `firewall` which says that this host does not reach its own controller."""
    return next((each for each in found if each.verdict == "failed"), None)


def closes(chain: Chain) -> bool:
    """Whether a chain stops what none of its rules has let pass."""
    return chain.policy == "drop" or (
        bool(chain.rules) and _FINAL.fullmatch(chain.rules[-1]) is not None
    )


def _cut(
    reached: Sequence[Reach], others: Sequence[Chain], legacy: Sequence[str]
) -> Iterator[Finding]:
    cut = [each for each in reached if each.state != "open"]
    if not cut:
        return
    hooks = (*INWARDS, "output", "postrouting")
    near = [chain for chain in others if chain.family in STACK and chain.hook in hooks]
    near = [chain for chain in near if closes(chain)] or [
        chain for chain in near if _meeting(chain, cut)
    ]
    by = " or ".join(_by(chain, cut) for chain in near)
    by = by or ("old iptables" if legacy else "a rule that is not found")
    what = " and ".join(f"{each.what} at {each.address}" for each in cut)
    text = f"what this host sends to itself, {what}, is {cut[0].state} by {by}"
    remedy = [_let_pass(chain, "lo") + KEPT for chain in near]
    if not remedy:
        remedy = ["iptables-legacy -I INPUT -i lo -j ACCEPT" if legacy else "nft list ruleset"]
    yield failed(CHECK, text, *remedy)


def _by(chain: Chain, cut: Sequence[Reach]) -> str:
    """A chain, and which rule of it does it, if that is plain."""
    rules = _meeting(chain, cut)
    if chain.policy == "drop":
        return _name(chain) if rules else f"{_name(chain)} (its policy)"
    return f"{_name(chain)} (rule: {rules[0]})" if len(rules) == 1 else _name(chain)


def _meeting(chain: Chain, cut: Sequence[Reach]) -> list[str]:
    """The rules of a chain, and of those that it leads to, that drop or refuse, and may match a
    connection to these addresses."""
    ports = [int(each.address.rpartition(":")[2]) for each in cut]
    ways = [("", rule, rule) for rule in chain.rules]
    ways += [(asked, rule, f"{rule}, in chain {to}") for to, asked, rule in chain.jumped]
    return [
        shown
        for asked, rule, shown in ways
        if _DROPS.search(rule) and _may_match(f"{asked} {_DROPS.split(rule)[0]}", ports)
    ]


def _may_match(asks: str, ports: Sequence[int]) -> bool:
    """Whether TCP by the loopback to one of these ports may match; what cannot be told may."""
    if _NOT_TCP.search(asks):
        return False
    if (device := _DEVICE.search(asks)) and device[1] != "lo":
        return False
    if (named := _PORTS.search(asks)) is None:
        return True
    spans = [each.split("-") for each in re.findall(r"\d+(?:-\d+)?", named[1])]
    return any(int(span[0]) <= port <= int(span[-1]) for span in spans for port in ports)


def _on_ports(others: Sequence[Chain], gateways: Sequence[Gateway]) -> Iterator[Finding]:
    ports = {port for each in gateways for port in (*each.ports, *each.internal_ports)}
    ports |= {end for each in gateways for pair in each.veths for end in (pair.end, pair.host_end)}
    read = {port for each in gateways if not each.veths for port in each.ports}
    for chain in others:
        shared = ports.intersection(chain.devices)
        if chain.family == "netdev" and shared:
            text = f"chain {_name(chain)} is on {', '.join(sorted(shared))}, which is ofgtp's"
            if chain.hook == "ingress" and shared <= read:
                text += "; the switch reads packets before it"
            yield warning(CHECK, text, f"nft list chain {_name(chain)}")


def _arp(others: Sequence[Chain], gateways: Sequence[Gateway]) -> Iterator[Finding]:
    for chain in others:
        if chain.family == "arp" and closes(chain):
            text = (
                f"chain {_name(chain)} drops ARP by default: base stations get no answer when they"
                " ask for the access address"
            )
            yield warning(CHECK, text, *(_let_pass(chain, each.bridge) for each in gateways))


def _routed(
    others: Sequence[Chain], legacy: Sequence[str], gateways: Sequence[Gateway]
) -> Iterator[Finding]:
    routed = [gateway for gateway in gateways if gateway.host_core]
    for chain in others:
        if chain.hook != "forward" or chain.family not in STACK or not closes(chain):
            continue
        lacks = [each for each in routed if _meets(chain, each) and not _lets_pass(chain, each)]
        if lacks:
            text = f"chain {_name(chain)} drops by default what this host routes: UEs' packets, too"
            ways = [(each.core_device, way) for each in lacks for way in ("in", "out")]
            yield warning(CHECK, text, *(_let_pass(chain, *way) + KEPT for way in ways))
    if legacy and routed:
        text = f"old iptables have tables ({', '.join(legacy)}), which cannot be judged here"
        yield warning(CHECK, text, "iptables-legacy -S FORWARD   # must let the UE pools pass")


def _meets(chain: Chain, gateway: Gateway) -> bool:
    """Whether packets of the gateway's UEs come to a chain of that family."""
    return chain.family != "ip6" or gateway.core_ip6 is not None


def _lets_pass(chain: Chain, gateway: Gateway) -> bool:
    """Whether there is a rule each way, by the device or by the pools."""
    accepted = [rule for rule in chain.rules if rule.endswith("accept")]
    versions = {"ip": (4,), "ip6": (6,)}.get(chain.family, (4, 6))
    pools = [pool for pool in gateway.pools if pool.version in versions]
    ways = (("iifname", "saddr"), ("oifname", "daddr"))
    return all(
        any(f'{device} "{gateway.core_device}"' in rule for rule in accepted)
        or all(any(f"{end} {pool}" in rule for rule in accepted) for pool in pools)
        for device, end in ways
    )


def _let_pass(chain: Chain, device: str, way: str | None = None) -> str:
    """The command that has a chain let packets of a device pass: `in`, `out`, or as it is."""
    inwards = chain.hook in INWARDS if way is None else way == "in"
    if chain.family in ("ip", "ip6") and chain.table in IPTABLES and chain.name.isupper():
        program = {"ip": "iptables", "ip6": "ip6tables"}[chain.family]
        table = "" if chain.table == "filter" else f" -t {chain.table}"
        return f"{program}{table} -I {chain.name} {'-i' if inwards else '-o'} {device} -j ACCEPT"
    end = "iifname" if inwards else "oifname"
    return f"nft insert rule {_name(chain)} {end} {device} accept"


def _well(others: Sequence[Chain]) -> str:
    known = {"firewalld": "firewalld", "ufw-": "ufw"}
    for chain in others:
        for start, name in known.items():
            if chain.table.startswith(start) or chain.name.startswith(start):
                return f"{name} is active, and not in the way of these gateways"
    shut = [chain for chain in others if closes(chain)]
    if shut:
        return f"{_name(shut[0])} drops by default, and is not in the way: GTP-U does not pass it"
    return "no other rules in the way"


def _name(chain: Chain) -> str:
    return f"{chain.family} {chain.table} {chain.name}"
