"""A UE's link, on which the gateway is its IPv6 router (TS 23.401, 5.3.1.2.2)."""

from __future__ import annotations

from ipaddress import IPv6Network
from typing import NamedTuple

from ofgtp.core.model import Session
from ofgtp.core.rules.terms import CONTAINER_HEADERS, Links, tunnel_headers
from ofgtp.core.sessions.rule import Tunnel
from ofgtp.core.sessions.rules import rules_of


class Link(NamedTuple):
    """What a UE is told by its router is about this, and sent in this."""

    prefix: IPv6Network
    tunnel: Tunnel
    """That of the rule which is asked last: the default bearer's."""

    @property
    def contained(self) -> bool:
        """Whether packets to the UE get a PDU Session Container."""
        return self.tunnel.octet is not None


def link_of(session: Session) -> Link | None:
    """None: the UE has no IPv6, or it is idle."""
    prefix = None if session.detail is None else session.detail.ue_ipv6
    if prefix is None:
        return None
    forwards = [rule.forward for rule in rules_of(session) if rule.teid is None]
    tunnel = forwards[-1] if forwards else None
    return Link(prefix, tunnel) if isinstance(tunnel, Tunnel) else None


def has_news(before: Session | None, after: Session | None) -> bool:
    """Whether the gateway has to tell a UE something that it does not know by its last
    advertisement: it has a link, or has one again, or on it another prefix or another MTU. Not
    where its control plane advertises."""
    if after is None or after.detail is None or after.detail.router is not None:
        return False
    link = link_of(after)
    if link is None:
        return False
    was = None if before is None else link_of(before)
    return was is None or (was.prefix, was.contained) != (link.prefix, link.contained)


def inner_mtu(links: Links, *, contained: bool) -> int:
    """The longest packet, in octets, that fits the access side in its tunnel."""
    return links.access_mtu - tunnel_headers(links) - CONTAINER_HEADERS * contained
