"""What the demos show of IPv6: a phone that forms its address itself, pings, traceroute."""

from __future__ import annotations

import ipaddress

from stage import Failed, Stage, mobile, wait_for

PDN6, GATEWAY6, ROUTER = mobile.PDN6, mobile.GATEWAY6, mobile.ROUTER


def switched_on(stage: Stage, node: str, prefix: str) -> str:
    """Begin IPv6 in a phone, and wait until it has formed its address; Failed if that is not of
    this prefix."""
    ue = stage.net[node]
    ue.ipv6_on()
    address = wait_for(f"{node} forms an IPv6 address", ue.ipv6)
    if ipaddress.IPv6Address(address) not in ipaddress.IPv6Network(prefix):
        raise Failed(f"{node} has formed {address}, which is not of {prefix}")
    return str(address)


def pinged(stage: Stage, node: str, address: str) -> str:
    """Ping; what ping said at the end. Failed unless all are answered."""
    text = stage.answered(node, address, 5, "-6")
    return f"{node}# ping -6 {address}\n" + "\n".join(text.strip().splitlines()[-2:])


def traced(stage: Stage, node: str, address: str) -> str:
    """What traceroute said; Failed unless the gateway is the only hop between."""
    words = ("traceroute", "-6", "-n", "-q", "1", address)
    text = stage.net[node].run(*words).strip()
    hops = [line.split()[1] for line in text.splitlines()[1:]]
    if hops != [GATEWAY6, address]:
        raise Failed(f"{node}: {' '.join(words)}: {text}")
    return f"{node}# {' '.join(words)}\n{text}"
