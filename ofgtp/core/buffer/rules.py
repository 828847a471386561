"""Which rule of a session is a packet's that the switch has shown."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ofgtp.core.model import Address, Session
from ofgtp.core.packets.ipv6 import FRAGMENT, HEADER, payload_of
from ofgtp.core.rules.terms import ETHERNET_HEADER
from ofgtp.core.sessions.rule import Held, Rule


def holds(session: Session) -> bool:
    """Whether a session has rules that hold packets."""
    detail = session.detail
    if detail is None:
        return False
    if detail.buffer is not None:
        apart = (each for each in detail.bearers if not each.shares_downlink)
        return session.downlink is None or any(each.downlink is None for each in apart)
    return any(rule.forward == Held() for rule in detail.rules)


def rule_for(rules: Iterable[Rule], teid: int, frame: bytes) -> Rule | None:
    """The rule that takes a frame which came with a TEID: one of the session's own, or, of a UE
    that sends to another one, none of these. `rules` are those for what comes from the core side.
    """
    rules = list(rules)
    own = teid if any(rule.teid == teid for rule in rules) else None
    packet = None
    for rule in rules:
        if rule.teid != own:
            continue
        if not rule.filters:
            return rule
        packet = packet or read_packet(frame[ETHERNET_HEADER:])
        if packet is not None and packet.is_for(rule):
            return rule
    return None


class Inner(NamedTuple):
    """A packet for a UE, as far as filters look at it; its ports are -1 if it is a fragment, of
    which the switch reads none."""

    protocol: int
    dscp: int
    host: Address
    ue: Address
    host_port: int
    ue_port: int

    def is_for(self, rule: Rule) -> bool:
        """Whether one of a rule's filters takes it."""
        remote, local = (self.host, self.host_port), (self.ue, self.ue_port)
        return any(each.takes(self.protocol, self.dscp, remote, local) for each in rule.filters)


def read_packet(octets: bytes) -> Inner | None:
    """An IP packet for a UE; None: it is none."""
    version = octets[0] >> 4 if octets else 0
    if version == 4 and len(octets) >= 20 and octets[0] & 0x0F >= 5:
        fragment = bool(int.from_bytes(octets[6:8], "big") & 0x3FFF)
        ports = _ports(octets[4 * (octets[0] & 0x0F) :], fragment)
        host, ue = IPv4Address(octets[12:16]), IPv4Address(octets[16:20])
        return Inner(octets[9], octets[1] >> 2, host, ue, *ports)
    if version == 6 and len(octets) >= HEADER:
        payload = payload_of(octets)
        # Of a later fragment the switch reads no more than that it is one.
        protocol = FRAGMENT if payload.later else payload.protocol
        dscp = int.from_bytes(octets[:2], "big") >> 6 & 0x3F
        ports = _ports(octets[payload.start :], payload.fragment)
        return Inner(protocol, dscp, IPv6Address(octets[8:24]), IPv6Address(octets[24:40]), *ports)
    return None


def _ports(payload: bytes, fragment: bool) -> tuple[int, int]:
    if fragment:
        return -1, -1
    ports = payload[:4] if len(payload) >= 4 else bytes(4)
    return int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big")
