"""Which rule of a session is a packet's that the switch has shown."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from ofgtp.core.model import Session
from ofgtp.core.rules.terms import ETHERNET_HEADER
from ofgtp.core.sessions.rule import Held, Rule
from ofgtp.core.trace.choice import match_of
from ofgtp.core.trace.probe import Packet


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
        if packet is not None and match_of(rule, packet):
            return rule
    return None


def read_packet(octets: bytes) -> Packet | None:
    """An IPv4 packet for a UE, as far as filters look at it; None: it is none."""
    if len(octets) < 20 or octets[0] >> 4 != 4 or octets[0] & 0x0F < 5:
        return None
    ports = octets[4 * (octets[0] & 0x0F) :][:4]
    if int.from_bytes(octets[6:8], "big") & 0x1FFF or len(ports) < 4:
        ports = bytes(4)  # of a later fragment: as the switch takes them
    return Packet(
        direction="downlink",
        ue=IPv4Address(octets[16:20]),
        host=IPv4Address(octets[12:16]),
        proto=str(octets[9]),
        ue_port=int.from_bytes(ports[2:], "big"),
        host_port=int.from_bytes(ports[:2], "big"),
        dscp=octets[1] >> 2,
    )
