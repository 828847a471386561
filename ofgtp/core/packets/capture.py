"""Which frames of the access side are a session's, and what is in them.

A session's are the T-PDUs with its TEIDs, and those with another TEID whose inner packet is from or
to its UE; End Markers of its tunnels; Error Indications about them; and the other messages that
are exchanged with its base station. Tunnels that it gets meanwhile, as by a handover, are learned.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from ofgtp.core.errors import CodecError
from ofgtp.core.filters import Network
from ofgtp.core.model import GTPU_PORT, Address, FTeid
from ofgtp.core.packets.gtpu import HEADER_LENGTH, MessageType, error_indication_fteid, parse
from ofgtp.core.packets.ipv6 import HEADER, payload_of

ETHERNET, IPV4, IPV6, UDP = 14, 0x0800, 0x86DD, 17
TUNNELS_MAX = 96
"""So many tunnels of one session are remembered."""

_E, _E_S_PN = 0x04, 0x07
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 50: "ESP", 58: "ICMPv6", 132: "SCTP"}
_ICMP = {0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded"}
_ICMPV6 = {
    1: "unreachable",
    2: "packet too big",
    3: "time exceeded",
    128: "echo request",
    129: "echo reply",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    143: "multicast listener report",
}
_ECHO = {1: (0, 8), 58: (128, 129)}
"""By protocol, types that have a sequence number."""
_TCP_FLAGS = "FSRPAU"


@dataclass(frozen=True, slots=True)
class Inner:
    """What a T-PDU holds, as far as it can be read."""

    source: Address
    destination: Address
    proto: int
    """Of IPv6 that behind its extension headers."""
    octets: int
    dscp: int
    ports: tuple[int, int] | None = None
    detail: str = ""

    def __str__(self) -> str:
        name = _PROTOCOLS.get(self.proto, f"protocol {self.proto}")
        ends = [str(self.source), str(self.destination)]
        if self.ports is not None:
            ends = [f"[{end}]" if ":" in end else end for end in ends]
            ends = [f"{end}:{port}" for end, port in zip(ends, self.ports, strict=True)]
        detail = f" {self.detail}" if self.detail else ""
        return f"{name} {ends[0]} > {ends[1]}{detail}, {self.octets}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame of the session's: GTP-U, up (to the gateway) or down (from it)."""

    way: Literal["up", "down"]
    peer: Address
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

    local: frozenset[Address]
    """The gateway's access addresses."""
    ue: IPv4Address | None
    """None of a UE that has IPv6 alone, and of a relay that takes any content."""
    uplink: set[int] = field(default_factory=set)
    """TEIDs at the gateway."""
    downlink: set[FTeid] = field(default_factory=set)
    peers: set[Address] = field(default_factory=set)
    behind: tuple[Network, ...] = ()
    """Networks behind the UE."""
    anybodys: frozenset[int] = frozenset()
    """Those of its TEIDs by which packets may come that are not from the UE: of a relay's core."""

    ue6: IPv6Network | None = None
    """The UE's prefix."""

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
        if self.local.isdisjoint((source, destination)):
            return None
        up = destination in self.local
        peer = source if up else destination
        flags, kind, _, teid = struct.unpack_from("!BBHI", payload)
        if kind == MessageType.G_PDU:
            return self._t_pdu(up, peer, teid, flags, payload)
        if not self._meant(up, peer, kind, teid, _indicated(payload, source)):
            return None
        name = _kind_name(kind)
        if kind == MessageType.ERROR_INDICATION:
            far = _indicated(payload, source)
            name += f" for TEID {far.teid:#x}" if far else ""
        return Seen("up" if up else "down", peer, name, teid)

    def _t_pdu(self, up: bool, peer: Address, teid: int, flags: int, payload: bytes) -> Seen | None:
        inner = _inner(payload)
        end = None if inner is None else inner.source if up else inner.destination
        far = FTeid(teid, peer)
        ours = teid in self.uplink if up else far in self.downlink
        if not ours and (end is None or not self._is_ue(end)):
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

    def _is_ue(self, address: Address) -> bool:
        return address == self.ue or (self.ue6 is not None and address in self.ue6)

    def _may_send(self, teid: int, source: Address) -> bool:
        if self.ue is None is self.ue6 or teid in self.anybodys:
            return True
        if self.ue6 is not None and (source.is_link_local or source.is_unspecified):
            return source.version == 6  # what a UE says to its router
        return self._is_ue(source) or any(source in prefix for prefix in self.behind)

    def _meant(self, up: bool, peer: Address, kind: int, teid: int, far: FTeid | None) -> bool:
        """Whether a message that is no T-PDU has to do with the session; `far` is the tunnel of
        which an Error Indication tells."""
        if kind == MessageType.ERROR_INDICATION:
            if far is None:
                return peer in self.peers
            return far in self.downlink if up else far.teid in self.uplink or peer in self.peers
        if teid:
            return teid in self.uplink if up else FTeid(teid, peer) in self.downlink
        return peer in self.peers


def _outer(frame: bytes) -> tuple[Address, Address, bytes] | None:
    """Source, destination and GTP-U message; None if there is none."""
    kind, packet = int.from_bytes(frame[12:14], "big"), frame[ETHERNET:]
    if kind == IPV6 and len(packet) >= HEADER + 8 + HEADER_LENGTH and packet[6] == UDP:
        if GTPU_PORT not in struct.unpack_from("!HH", packet, HEADER):
            return None
        total = HEADER + int.from_bytes(packet[4:6], "big")
        ends = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        return *ends, packet[HEADER + 8 : total]
    if kind != IPV4 or len(packet) < 20:
        return None
    size = (packet[0] & 0xF) * 4
    if packet[9] != UDP or packet[6] & 0x1F or packet[7] or len(packet) < size + 8 + HEADER_LENGTH:
        return None
    total = int.from_bytes(packet[2:4], "big")
    ports = struct.unpack_from("!HH", packet, size)
    if GTPU_PORT not in ports:
        return None
    return IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), packet[size + 8 : total]


def _inner(payload: bytes) -> Inner | None:
    """The IP packet in a T-PDU; None if it cannot be read."""
    try:
        packet = payload[parse(payload).header_length :]
    except CodecError:
        return None
    version = packet[0] >> 4 if packet else 0
    if version == 6 and len(packet) >= HEADER:
        return _inner6(packet)
    if len(packet) < 20 or version != 4:
        return None
    proto, later = packet[9], bool(int.from_bytes(packet[6:8], "big") & 0x1FFF)
    ports, detail = _message(proto, packet[(packet[0] & 0xF) * 4 :], later=later)
    return Inner(
        source=IPv4Address(packet[12:16]),
        destination=IPv4Address(packet[16:20]),
        proto=proto,
        octets=int.from_bytes(packet[2:4], "big"),
        dscp=packet[1] >> 2,
        ports=ports,
        detail=detail,
    )


def _inner6(packet: bytes) -> Inner:
    payload = payload_of(packet)
    ports, detail = _message(payload.protocol, packet[payload.start :], later=payload.later)
    return Inner(
        source=IPv6Address(packet[8:24]),
        destination=IPv6Address(packet[24:40]),
        proto=payload.protocol,
        octets=HEADER + int.from_bytes(packet[4:6], "big"),
        dscp=int.from_bytes(packet[:2], "big") >> 6 & 0x3F,
        ports=ports,
        detail=detail,
    )


def _message(proto: int, octets: bytes, *, later: bool) -> tuple[tuple[int, int] | None, str]:
    """Ports, and what else is told of it; `later`: it is a fragment, and not the first."""
    if later:
        return None, "fragment"
    if proto in (6, 17) and len(octets) >= 8:
        ports = int.from_bytes(octets[:2], "big"), int.from_bytes(octets[2:4], "big")
        if proto == 17 or len(octets) < 14:
            return ports, ""
        set_ = (name for bit, name in enumerate(_TCP_FLAGS) if octets[13] >> bit & 1)
        return ports, f"[{''.join(set_)}]"
    if proto not in _ECHO or not octets:
        return None, ""
    names = _ICMP if proto == 1 else _ICMPV6
    detail = names.get(octets[0], f"type {octets[0]}")
    if octets[0] in _ECHO[proto] and len(octets) >= 8:
        detail += f" {int.from_bytes(octets[6:8], 'big')}"
    return None, detail


def _indicated(payload: bytes, sender: Address) -> FTeid | None:
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
_LDX_CONSTANT, _AND = 0x01, 0x54
ACCEPT, REJECT = "accept", "reject"
_WHOLE = 0xFFFF_FFFF


class _Program:
    """Instructions with jumps to names; None goes on to the next one. A name may stand in several
    places: the next one is meant, as a jump reaches 255 instructions far."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str | None, str | None, int]] = []
        self._names: dict[str, list[int]] = {}

    def name(self, name: str) -> None:
        self._names.setdefault(name, []).append(len(self._lines))

    def load(self, code: int, at: int) -> None:
        self._lines.append((code, None, None, at))

    def mask(self, bits: int) -> None:
        if bits != _WHOLE:
            self._lines.append((_AND, None, None, bits))

    def jump(self, code: int, value: int, yes: str | None, no: str | None) -> None:
        self._lines.append((code, yes, no, value))

    def end(self, name: str) -> None:
        """Here it ends, with this."""
        self.name(name)
        self._lines.append((_RET, None, None, 0x40000 if name == ACCEPT else 0))

    def finish(self) -> list[Instruction]:
        self.end(ACCEPT)
        self.end(REJECT)
        return [
            (code, self._distance(place, yes), self._distance(place, no), value)
            for place, (code, yes, no, value) in enumerate(self._lines)
        ]

    def _distance(self, place: int, name: str | None) -> int:
        if name is None:
            return 0
        return next(there for there in self._names[name] if there > place) - place - 1


def kernel_filter(
    ue: IPv4Address | None, teids: Iterable[int], ue6: IPv6Network | None = None
) -> list[Instruction]:
    """A filter for frames that `Watch.look` may want; it lets a little more pass.

    All messages with TEID 0 are passed, and all Error Indications, since they are few.
    """
    udp, gtp = ETHERNET, ETHERNET + 8  # behind the IP header, whose length is in X
    # That of IPv4 first: what is looked for behind the end of a packet is not passed.
    own: list[Network] = [] if ue is None else [IPv4Network(ue)]
    own += [] if ue6 is None else [ue6]
    program = _Program()
    program.load(_LDH, 12)
    program.jump(_JEQ, IPV4, "ipv4", None)
    program.jump(_JEQ, IPV6, None, REJECT)
    program.load(_LDB, ETHERNET + 6)
    program.jump(_JEQ, UDP, None, REJECT)
    program.load(_LDX_CONSTANT, HEADER)
    program.jump(_JSET, 0, "udp", "udp")
    program.name("ipv4")
    program.load(_LDB, ETHERNET + 9)
    program.jump(_JEQ, UDP, None, REJECT)
    program.load(_LDH, ETHERNET + 6)
    program.jump(_JSET, 0x1FFF, REJECT, None)
    program.load(_LDXB_HEADER, ETHERNET)
    program.name("udp")
    program.load(_LDH_X, udp + 2)
    program.jump(_JEQ, GTPU_PORT, "gtp-u", None)
    program.load(_LDH_X, udp)
    program.jump(_JEQ, GTPU_PORT, "gtp-u", None)
    program.end(REJECT)
    program.name("gtp-u")
    program.load(_LD_X, gtp + 4)
    for teid in sorted(teids):
        program.jump(_JEQ, teid, ACCEPT, None)
    program.jump(_JEQ, 0, None, "other")
    program.end(ACCEPT)
    program.name("other")
    program.load(_LDB_X, gtp + 1)
    if not own:
        program.jump(_JEQ, MessageType.ERROR_INDICATION, ACCEPT, REJECT)
        return program.finish()
    program.jump(_JEQ, MessageType.ERROR_INDICATION, ACCEPT, None)
    program.jump(_JEQ, MessageType.G_PDU, None, REJECT)
    program.load(_LDB_X, gtp)
    program.jump(_JSET, _E_S_PN, "optional", None)
    _inner_is(program, own, gtp + 8)
    program.name("optional")
    program.jump(_JSET, _E, None, "unextended")
    program.load(_LDB_X, gtp + 11)  # the type of the first extension header
    program.jump(_JEQ, 0, None, "extended")
    program.name("unextended")
    _inner_is(program, own, gtp + 12)
    program.name("extended")  # by one header of four octets, such as a PDU Session Container
    _inner_is(program, own, gtp + 16)
    return program.finish()


def _inner_is(program: _Program, own: Iterable[Network], packet: int) -> None:
    """Accept what is from one of these prefixes, or to it; nothing else."""
    for network in own:
        words = [*_words(network)]
        for end in (8, 24) if network.version == 6 else (12, 16):
            another = f"{network} not at {packet + end}"
            for place, (value, mask) in enumerate(words):
                program.load(_LD_X, packet + end + 4 * place)
                program.mask(mask)
                last = place == len(words) - 1
                program.jump(_JEQ, value, ACCEPT if last else None, another)
            program.name(another)
    program.end(REJECT)


def _words(network: Network) -> Iterator[tuple[int, int]]:
    """The first 32 bits of a prefix, the next, and so on: value and mask."""
    octets, masks = network.network_address.packed, network.netmask.packed
    for start in range(0, len(octets), 4):
        value, mask = (int.from_bytes(each[start : start + 4], "big") for each in (octets, masks))
        if mask or not start:
            yield value, mask
