"""A small control plane: it associates with a gateway, and makes, changes and ends sessions."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any, Self

from ofgtp.core.packets.frames import udp_frame
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Creation, Gate, Interface
from ofgtp.core.pfcp.wire.header import Header, MessageType
from ofgtp.core.pfcp.wire.messages import (
    AssociationReleaseRequest,
    AssociationSetupRequest,
    HeartbeatRequest,
    HeartbeatResponse,
    Message,
    SessionDeletionRequest,
    SessionEstablishmentRequest,
    SessionModificationRequest,
    SessionReportRequest,
    SessionReportResponse,
    read,
    write,
)
from ofgtp.core.pfcp.wire.reports import UsageReport
from tests.support import ownership as own
from tests.support import tshark
from tests.support.lab import Lab
from tests.support.site import Site

UPF, SMF, OTHER_SMF = "10.3.0.1", "10.3.0.5", "10.3.0.6"
PORT = 8805
CONFIG = f"""
[gateway.pfcp]
listen = "{UPF}"
peers = ["10.3.0.0/24"]
heartbeat_seconds = 5
"""
T1_S = 2.5
_sequences = itertools.count(0x10_0000)
"""Of all control planes: the same request again would get the answer of before."""

NOT_KNOWN = (65, 72)
"""Causes of answers by one that knows no session: it does not know the SEID either."""


def n4(lab: Lab) -> None:
    """The link between gateway and control planes: `cp` has two addresses, and one that no peer
    has."""
    lab.add_namespace("cp")
    lab.link("gw", "eth3", "cp", "eth0")
    lab.exec("gw", ["ip", "addr", "add", f"{UPF}/16", "dev", "eth3"])
    for address in (SMF, OTHER_SMF, "10.3.9.9"):
        lab.exec("cp", ["ip", "addr", "add", f"{address}/16", "dev", "eth0"])


@contextmanager
def site() -> Iterator[Site]:
    """A gateway that speaks PFCP, with two base stations; the switch owns its tunnels."""
    with Lab(enbs=2) as lab:
        n4(lab)
        made = Site(lab, lab.config(controller=own.SWITCH, gateway=CONFIG))
        made.ready()
        yield made
        made.alive()


@contextmanager
def associated(lab: Lab) -> Iterator[ControlPlane]:
    """A control plane with an association; in the end all that it sent and got is well formed."""
    with ControlPlane(lab) as cp:
        assert cp.associate().cause == 1
        yield cp
        assert judge(cp)


_stamps = itertools.count(int(time.time()) + 2_208_988_800)
"""Recovery Time Stamps, each another one: of two control planes with the same, from one address and
with the same sequence numbers, the second one's requests would be the first one's again."""


class ControlPlane:
    """One at an address; it answers heartbeats while it waits for something."""

    def __init__(self, lab: Lab, address: str = SMF) -> None:
        self.address = IPv4Address(address)
        self.stamp = next(_stamps)
        self.heartbeats: list[int] = []
        """Recovery Time Stamps of the gateway's heartbeats."""
        self.reports: list[tuple[int, Any]] = []
        """Session Report Requests: SEIDs of ours, and what is in them."""
        self.answers_reports: int | None = 1
        """The cause that they are answered with; None: they are not answered. Without usage they
        are for the tests to answer."""
        self.frames: list[bytes] = []
        """All that was sent and received, as frames."""
        self._seids = itertools.count(0x5000)
        self.up_seids: dict[int, int] = {}
        """The gateway's SEIDs by ours."""
        with lab.inside("cp"):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, PORT))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    # --- messages

    def send(self, data: bytes) -> None:
        self.frames.append(_frame(self.address, IPv4Address(UPF), data))
        self._socket.sendto(data, (UPF, PORT))

    def flood(self, messages: Iterable[bytes]) -> None:
        """Send messages as fast as it can."""
        for data in list(messages):
            self._socket.sendto(data, (UPF, PORT))

    def receive(self, timeout: float) -> bytes | None:
        """The next message that is no heartbeat of the gateway's; None: none comes."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data, (ip, port) = self._socket.recvfrom(65_535)
            except TimeoutError:
                return None
            assert (ip, port) == (UPF, PORT), "it answers from where it is asked"
            self.frames.append(_frame(IPv4Address(UPF), self.address, data))
            header, body = read(data)
            if isinstance(body, SessionReportRequest) and body.usage_reports:
                self._reported(header, body)
                continue
            if not isinstance(body, HeartbeatRequest):
                return data
            self.heartbeats.append(body.recovery_time_stamp)
            self.send(write(HeartbeatResponse(self.stamp), header.sequence))
        return None

    def _reported(self, header: Header, body: SessionReportRequest) -> None:
        self.reports.append((header.seid or 0, body))
        if self.answers_reports is not None:
            seid = self.up_seids.get(header.seid or 0, 0)
            answer = SessionReportResponse(self.answers_reports)
            self.send(write(answer, header.sequence, seid))

    def usage(self, session: PfcpSession, wait_s: float = 0.05) -> list[UsageReport]:
        """All Usage Reports of a session so far, each once though it may have come again."""
        self.receive(wait_s)
        found: dict[tuple[int, int], UsageReport] = {}
        for seid, body in self.reports:
            if seid == session.cp_seid:
                for each in body.usage_reports:
                    assert found.setdefault((each.urr_id, each.sequence), each) == each
        return list(found.values())

    def ask_octets(self, data: bytes, tries: int = 3) -> bytes:
        """The answer to a request, sent again every T1 if none comes."""
        header, _ = read(data)
        for _ in range(tries):
            self.send(data)
            deadline = time.monotonic() + T1_S
            while (answer := self.receive(deadline - time.monotonic())) is not None:
                if _answers(answer, header):
                    return answer
        raise AssertionError(f"no answer to {header}")

    def ask(self, message: Message, seid: int | None = None) -> tuple[Header, Any]:
        """Header and body of the answer to a request."""
        header, body = read(self.ask_octets(write(message, next(_sequences), seid)))
        return header, body

    # --- procedures

    def heartbeat(self) -> int:
        """The gateway's Recovery Time Stamp."""
        _, body = self.ask(HeartbeatRequest(self.stamp))
        return int(body.recovery_time_stamp)

    def associate(self) -> Any:
        _, body = self.ask(AssociationSetupRequest(self.address, self.stamp))
        return body

    def release(self) -> Any:
        _, body = self.ask(AssociationReleaseRequest(self.address))
        return body

    def establish(
        self, pdrs: tuple[g.CreatePdr, ...], fars: tuple[g.CreateFar, ...], **more: Any
    ) -> PfcpSession:
        """A session that must be made."""
        session = PfcpSession(self, next(self._seids))
        header, body = session.establish(pdrs, fars, **more)
        assert body.cause == 1, body
        assert header.seid == session.cp_seid
        return session


class PfcpSession:
    """A session as its control plane knows it."""

    def __init__(self, smf: ControlPlane, cp_seid: int) -> None:
        self.smf, self.cp_seid, self.up_seid = smf, cp_seid, 0
        self.teids: dict[int, int] = {}
        """By PDR those that the gateway has chosen."""

    def establish(
        self, pdrs: tuple[g.CreatePdr, ...], fars: tuple[g.CreateFar, ...], **more: Any
    ) -> tuple[Header, Any]:
        address = self.smf.address
        request = SessionEstablishmentRequest(
            address, v.FSeid(self.cp_seid, address), pdrs, fars, **more
        )
        header, body = self.smf.ask(request, 0)
        if body.up_fseid is not None:
            self.up_seid = self.smf.up_seids[self.cp_seid] = body.up_fseid.seid
        self._note(body)
        return header, body

    def modify(self, **members: Any) -> Any:
        header, body = self.smf.ask(SessionModificationRequest(**members), self.up_seid)
        self._note(body)
        assert header.seid == (0 if body.cause in NOT_KNOWN else self.cp_seid)
        return body

    def delete(self) -> Any:
        header, body = self.smf.ask(SessionDeletionRequest(), self.up_seid)
        assert header.seid == (0 if body.cause in NOT_KNOWN else self.cp_seid)
        return body

    def _note(self, body: Any) -> None:
        self.teids |= {each.pdr_id: each.local_fteid.teid for each in body.created_pdrs}


# --- rules as control planes make them


def uplink(qfi: int | None = None, choose_id: int = 5, **changes: Any) -> g.CreatePdr:
    """PDR 1: from base stations, by a TEID that the gateway chooses, to FAR 1."""
    qfis = () if qfi is None else (qfi,)
    pdi = g.Pdi(Interface.ACCESS, v.ChooseFTeid(choose_id=choose_id), "internet", qfis=qfis)
    return g.CreatePdr(1, 255, pdi, v.OuterHeaderRemoval(6), 1)._replace(**changes)


def downlink(ue_ip: str, **changes: Any) -> g.CreatePdr:
    """PDR 2: to the UE, to FAR 2."""
    ue = v.UeIpAddress(IPv4Address(ue_ip), destination=True)
    pdi = g.Pdi(Interface.CORE, None, "internet", ue)
    return g.CreatePdr(2, 255, pdi, None, 2)._replace(**changes)


def to_core(far_id: int = 1) -> g.CreateFar:
    return g.CreateFar(far_id, Action.FORW, g.ForwardingParameters(Interface.CORE, "internet"))


def idle(far_id: int = 2) -> g.CreateFar:
    return g.CreateFar(far_id, Action.BUFF | Action.NOCP)


def outer(teid: int, ip: str) -> v.OuterHeaderCreation:
    return v.OuterHeaderCreation(Creation.GTPU_UDP_IPV4, teid, IPv4Address(ip))


def to_tunnel(teid: int, ip: str, far_id: int = 2) -> g.CreateFar:
    parameters = g.ForwardingParameters(Interface.ACCESS, "internet", outer(teid, ip))
    return g.CreateFar(far_id, Action.FORW, parameters)


def moved(teid: int, ip: str, far_id: int = 2, flags: Any = None) -> g.UpdateFar:
    """A FAR that leads to another tunnel, or to the first."""
    parameters = g.UpdateForwardingParameters(
        Interface.ACCESS, "internet", outer(teid, ip), flags=flags
    )
    return g.UpdateFar(far_id, Action.FORW, parameters)


def qer(qfi: int | None = None, qer_id: int = 1, **changes: Any) -> g.CreateQer:
    return g.CreateQer(qer_id, v.GateStatus(Gate.OPEN, Gate.OPEN), qfi=qfi)._replace(**changes)


# --- judges


def judge(*control_planes: ControlPlane) -> int:
    """How many messages of the gateway's tshark has read, and found nothing wrong with."""
    frames = [frame for each in control_planes for frame in each.frames]
    sent = f"pfcp && ip.src == {UPF}"
    assert tshark.complaints(frames, sent) == []
    return len(tshark.rows(frames, ["pfcp.msg_type"], sent))


def _answers(data: bytes, request: Header) -> bool:
    header, _ = read(data)
    return header.sequence == request.sequence and header.type == MessageType(request.type + 1)


def _frame(source: IPv4Address, target: IPv4Address, data: bytes) -> bytes:
    macs = "02:00:00:00:00:01", "02:00:00:00:00:02"
    return udp_frame(macs[0], macs[1], source, target, PORT, PORT, data)
