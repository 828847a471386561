"""Downlink data for idle UEs -> Downlink Data Reports (TS 29.244, 5.2.3.1, 7.5.8.2)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import NamedTuple

from ofgtp.core.pfcp.rules import rules_of
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.pfcp.wire.enums import ReportType
from ofgtp.core.pfcp.wire.grouped import UpdateFar
from ofgtp.core.pfcp.wire.messages import SessionReportRequest
from ofgtp.core.pfcp.wire.reports import DownlinkDataReport
from ofgtp.core.pfcp.wire.values import DownlinkDataService
from ofgtp.core.sessions.rule import Held, Rule
from ofgtp.core.trace.choice import match_of
from ofgtp.core.trace.probe import Packet


class DownlinkFlow(NamedTuple):
    """What a control plane is told of once: the packets of a FAR, of each QoS flow there."""

    far_id: int
    qfi: int | None


class Waiting(NamedTuple):
    """A packet for which there is no tunnel."""

    flow: DownlinkFlow
    pdr_id: int

    def report(self) -> SessionReportRequest:
        """What its control plane is told."""
        qfi = self.flow.qfi
        service = None if qfi is None else DownlinkDataService(qfi=qfi)
        data = DownlinkDataReport((self.pdr_id,), service)
        return SessionReportRequest(ReportType.DLDR, downlink_data=data)


def waiting(session: PfcpSession, teid: int | None, packet: Packet) -> Waiting | None:
    """By which rule a packet is held that came by a TEID of ours, or, None, by the core port; None
    if none holds it.

    Raises:
        Refusal: the session's rules cannot be carried out.
    """
    came = (rule for rule in rules_of(session).rules if not rule.uplink and rule.teid == teid)
    rule = next((each for each in came if not each.filters or match_of(each, packet)), None)
    if rule is None or rule.forward != Held():
        return None
    return Waiting(_flow(session, rule), int(rule.id))


def held_flows(session: PfcpSession) -> frozenset[DownlinkFlow]:
    """All flows of a session of which its control plane may be told."""
    held = (rule for rule in rules_of(session).rules if rule.forward == Held())
    return frozenset(_flow(session, rule) for rule in held)


def _flow(session: PfcpSession, rule: Rule) -> DownlinkFlow:
    pdr = session.pdrs[int(rule.id)]
    qfis = (session.qers[number].qfi for number in pdr.qer_ids)
    return DownlinkFlow(pdr.far_id or 0, next((qfi for qfi in qfis if qfi), None))


def told_anew(updates: Iterable[UpdateFar]) -> frozenset[int]:
    """The FARs of whose packets a control plane is to be told again: it says anew what becomes of
    them."""
    return frozenset(each.far_id for each in updates if each.apply_action is not None)


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
