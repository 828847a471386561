"""Which frames of the access side are a session's, and what is in them.

A session's are the T-PDUs with its TEIDs, and those with another TEID whose inner packet is from or
to its UE; End Markers of its tunnels; Error Indications about them; and the other messages that
are exchanged with its base station. Tunnels that it gets meanwhile, as by a handover, are learned.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from ofgtp.core.errors import CodecError
from ofgtp.core.model import GTPU_PORT, FTeid
from ofgtp.core.packets.gtpu import HEADER_LENGTH, MessageType, error_indication_fteid, parse

ETHERNET, IPV4, UDP = 14, 0x0800, 17
TUNNELS_MAX = 96
"""So many tunnels of one session are remembered."""

_E_S_PN = 0x07
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 50: "ESP", 132: "SCTP"}
_ICMP = {0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded"}
_TCP_FLAGS = "FSRPAU"


@dataclass(frozen=True, slots=True)
class Inner:
    """What a T-PDU holds, as far as it can be read."""

    source: IPv4Address
    destination: IPv4Address
    proto: int
    octets: int
    dscp: int
    ports: tuple[int, int] | None = None
    detail: str = ""

    def __str__(self) -> str:
        name = _PROTOCOLS.get(self.proto, f"protocol {self.proto}")
        ends = [str(self.source), str(self.destination)]
        if self.ports is not None:
            ends = [f"{end}:{port}" for end, port in zip(ends, self.ports, strict=True)]
        detail = f" {self.detail}" if self.detail else ""
        return f"{name} {ends[0]} > {ends[1]}{detail}, {self.octets}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame of the session's: GTP-U, up (to the gateway) or down (from it)."""

    way: Literal["up", "down"]
    peer: IPv4Address
    kind: str
    teid: int
    inner: Inner | None = None
    remark: str = ""

    def __str__(self) -> str:
        what = str(self.inner) if self.inner is not None else self.kind
        remark = f" ({self.remark})" if self.remark else ""
        return f"{self.way:<4} {self.peer} {self.teid:#x} {what}{remark}"


@dataclass(slots=True)
class Watch:
    """Looks at frames for one session, and remembers its tunnels."""

    local: IPv4Address
    """The gateway's access address."""
    ue: IPv4Address | None
    """None of a relay that takes any content."""
    uplink: set[int] = field(default_factory=set)
    """TEIDs at the gateway."""
    downlink: set[FTeid] = field(default_factory=set)
    peers: set[IPv4Address] = field(default_factory=set)
    behind: tuple[IPv4Network, ...] = ()
    """Networks behind the UE."""
    anybodys: frozenset[int] = frozenset()
    """Those of its TEIDs by which packets may come that are not from the UE: of a relay's core."""

    @property
    def teids(self) -> frozenset[int]:
        """All its TEIDs, of both directions."""
        return frozenset(self.uplink) | {far.teid for far in self.downlink}

    def look(self, frame: bytes) -> Seen | None:
        """What the frame is, None if it is not the session's."""
        found = _outer(frame)
        if found is None:
            return None
        source, destination, payload = found
        if self.local not in (source, destination):
            return None
        up = destination == self.local
        peer = source if up else destination
        flags, kind, _, teid = struct.unpack_from("!BBHI", payload)
        if kind == MessageType.G_PDU:
            return self._t_pdu(up, peer, teid, flags, payload)
        if not self._meant(up, peer, kind, teid, payload):
            return None
        name = _kind_name(kind)
        if kind == MessageType.ERROR_INDICATION:
            far = _indicated(payload, source)
            name += f" for TEID {far.teid:#x}" if far else ""
        return Seen("up" if up else "down", peer, name, teid)

    def _t_pdu(
        self, up: bool, peer: IPv4Address, teid: int, flags: int, payload: bytes
    ) -> Seen | None:
        inner = _inner(payload)
        end = None if inner is None else inner.source if up else inner.destination
        far = FTeid(teid, peer)
        ours = teid in self.uplink if up else far in self.downlink
        if not ours and (end is None or end != self.ue):
            return None
        remark = ""
        if up and not ours:
            remark = "another TEID" if self.uplink else ""
        elif up and end is not None and not self._may_send(teid, end):
            remark = "not the UE's address"
        elif not up and not ours and len(self.downlink) < TUNNELS_MAX:
            remark = "new tunnel" if self.downlink else ""
            self.downlink.add(far)
        if ours or not up:
            self.peers.add(peer)
        return Seen("up" if up else "down", peer, "T-PDU", teid, inner, remark)

    def _may_send(self, teid: int, source: IPv4Address) -> bool:
        if self.ue is None or teid in self.anybodys:
            return True
        return source == self.ue or any(source in prefix for prefix in self.behind)

    def _meant(self, up: bool, peer: IPv4Address, kind: int, teid: int, payload: bytes) -> bool:
        """Whether a message that is no T-PDU has to do with the session."""
        if kind == MessageType.ERROR_INDICATION:
            far = _indicated(payload, peer if up else self.local)
            if far is None:
                return peer in self.peers
            return far in self.downlink if up else far.teid in self.uplink or peer in self.peers
        if teid:
            return teid in self.uplink if up else FTeid(teid, peer) in self.downlink
        return peer in self.peers


def _outer(frame: bytes) -> tuple[IPv4Address, IPv4Address, bytes] | None:
    """Source, destination and GTP-U message; None if there is none."""
    if len(frame) < ETHERNET + 20 or int.from_bytes(frame[12:14], "big") != IPV4:
        return None
    packet = frame[ETHERNET:]
    size = (packet[0] & 0xF) * 4
    if packet[9] != UDP or packet[6] & 0x1F or packet[7] or len(packet) < size + 8 + HEADER_LENGTH:
        return None
    total = int.from_bytes(packet[2:4], "big")
    ports = struct.unpack_from("!HH", packet, size)
    if GTPU_PORT not in ports:
        return None
    return IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), packet[size + 8 : total]


def _inner(payload: bytes) -> Inner | None:
    """The IPv4 packet in a T-PDU; None if it cannot be read."""
    try:
        packet = payload[parse(payload).header_length :]
    except CodecError:
        return None
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    size, proto = (packet[0] & 0xF) * 4, packet[9]
    ports, detail, rest = None, "", packet[size:]
    if int.from_bytes(packet[6:8], "big") & 0x1FFF:
        detail = "fragment"
    elif proto in (6, 17) and len(rest) >= 8:
        ports = (int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big"))
        if proto == 6 and len(rest) >= 14:
            set_ = (name for bit, name in enumerate(_TCP_FLAGS) if rest[13] >> bit & 1)
            detail = f"[{''.join(set_)}]"
    elif proto == 1 and rest:
        detail = _ICMP.get(rest[0], f"type {rest[0]}")
        if rest[0] in (0, 8) and len(rest) >= 8:
            detail += f" {int.from_bytes(rest[6:8], 'big')}"
    return Inner(
        source=IPv4Address(packet[12:16]),
        destination=IPv4Address(packet[16:20]),
        proto=proto,
        octets=int.from_bytes(packet[2:4], "big"),
        dscp=packet[1] >> 2,
        ports=ports,
        detail=detail,
    )


def _indicated(payload: bytes, sender: IPv4Address) -> FTeid | None:
    try:
        return error_indication_fteid(parse(payload), sender)
    except CodecError:
        return None


def _kind_name(kind: int) -> str:
    try:
        return MessageType(kind).name.replace("_", " ").title()
    except ValueError:
        return f"message type {kind}"


# The kernel's own filter (classic BPF): what it does not pass never reaches this program.

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""

_LDH, _LDB, _LDXB_HEADER, _RET = 0x28, 0x30, 0xB1, 0x06
_LD_X, _LDH_X, _LDB_X = 0x40, 0x48, 0x50
_JEQ, _JSET = 0x15, 0x45
ACCEPT, REJECT = "accept", "reject"


class _Program:
    """Instructions with jumps to names; None goes on to the next one."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str | None, str | None, int]] = []
        self._names: dict[str, int] = {}

    def name(self, name: str) -> None:
        self._names[name] = len(self._lines)

    def load(self, code: int, at: int) -> None:
        self._lines.append((code, None, None, at))

    def jump(self, code: int, value: int, yes: str | None, no: str | None) -> None:
        self._lines.append((code, yes, no, value))

    def finish(self) -> list[Instruction]:
        self.name(ACCEPT)
        self._lines.append((_RET, None, None, 0x40000))
        self.name(REJECT)
        self._lines.append((_RET, None, None, 0))
        return [
            (code, self._distance(place, yes), self._distance(place, no), value)
            for place, (code, yes, no, value) in enumerate(self._lines)
        ]

    def _distance(self, place: int, name: str | None) -> int:
        return 0 if name is None else self._names[name] - place - 1


def kernel_filter(ue: IPv4Address | None, teids: Iterable[int]) -> list[Instruction]:
    """A filter for frames that `Watch.look` may want; it lets a little more pass.

    All messages with TEID 0 are passed, and all Error Indications, since they are few.
    """
    udp, gtp = ETHERNET, ETHERNET + 8  # behind the IPv4 header, whose length is in X
    program = _Program()
    program.load(_LDH, 12)
    program.jump(_JEQ, IPV4, None, REJECT)
    program.load(_LDB, ETHERNET + 9)
    program.jump(_JEQ, UDP, None, REJECT)
    program.load(_LDH, ETHERNET + 6)
    program.jump(_JSET, 0x1FFF, REJECT, None)
    program.load(_LDXB_HEADER, ETHERNET)
    program.load(_LDH_X, udp + 2)
    program.jump(_JEQ, GTPU_PORT, "gtp-u", None)
    program.load(_LDH_X, udp)
    program.jump(_JEQ, GTPU_PORT, None, REJECT)
    program.name("gtp-u")
    program.load(_LD_X, gtp + 4)
    for teid in sorted(teids):
        program.jump(_JEQ, teid, ACCEPT, None)
    program.jump(_JEQ, 0, ACCEPT, None)
    program.load(_LDB_X, gtp + 1)
    if ue is None:
        program.jump(_JEQ, MessageType.ERROR_INDICATION, ACCEPT, REJECT)
        return program.finish()
    program.jump(_JEQ, MessageType.ERROR_INDICATION, ACCEPT, None)
    program.jump(_JEQ, MessageType.G_PDU, None, REJECT)
    program.load(_LDB_X, gtp)
    program.jump(_JSET, _E_S_PN, "optional", None)
    _inner_is(program, ue, gtp + 8)
    program.jump(_JEQ, int(ue), ACCEPT, REJECT)
    program.name("optional")
    program.jump(_JSET, 0x04, "extended", None)
    _inner_is(program, ue, gtp + 12)
    program.jump(_JEQ, int(ue), ACCEPT, REJECT)
    program.name("extended")  # by one header of four octets, such as a PDU Session Container
    _inner_is(program, ue, gtp + 16)
    program.jump(_JEQ, int(ue), ACCEPT, REJECT)
    return program.finish()


def _inner_is(program: _Program, ue: IPv4Address, packet: int) -> None:
    """Accept an inner source; leave the inner destination loaded."""
    program.load(_LD_X, packet + 12)
    program.jump(_JEQ, int(ue), ACCEPT, None)
    program.load(_LD_X, packet + 16)
