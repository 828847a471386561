#!/usr/bin/env python3
"""The user plane of a simulated base station, eNB or gNB: a TUN device and a GTP-U socket.

    enb.py --s1u 10.1.0.2 \\
        --bearer ue_ip=10.45.0.2,uplink_teid=4097,downlink_teid=8193,gateway=10.1.0.1
    enb.py --n3 10.1.0.2 \\
        --bearer ue_ip=10.45.0.2,uplink_teid=4097,downlink_teid=8193,gateway=10.1.0.1,qfi=9

What the kernel routes into the TUN device is a UE's uplink packet: it is put behind a GTP-U header
with the bearer's uplink TEID and sent to the gateway. What comes in on UDP port 2152 of the S1-U or
N3 address is looked up by its (downlink) TEID, stripped, and written to the TUN device, from where
the kernel routes it to the UE. An Echo Request is answered, and so is a T-PDU of an unknown TEID,
by an Error Indication; End Markers and Error Indications that come in are counted. GTP-U is TS
29.281; this file is all of it that the base station uses, and shares nothing with ofgtp, so that
each is a check on the other.

A bearer with a QFI is a PDU session on N3: each of its T-PDUs has a PDU Session Container (TS
38.415). Further fields of such a bearer:

    qfi=9+12         downlink QFI 12 is taken, too; uplink has the first
    ul_delay=7       the UL Delay Result in the uplink container, in milliseconds
    qfi_sequence=1   the uplink packets of the QFI are numbered, from 1

A downlink T-PDU without the container, with one that is wrong, or with a QFI of no such bearer is
dropped and counted; so is one with the container for a bearer without a QFI, since an eNB does not
know what it must understand there.

A UE may have dedicated bearers beside that one, each with tunnels of its own and

    traffic=udp:5004-5060   its uplink packets of this protocol (udp, tcp, icmp), to these ports

Which bearer an uplink packet takes is the UE's choice, by its traffic flow templates; as the radio
link here is a mere wire, the base station chooses in its place.

A UE with IPv6 forms its address itself, so the base station cannot know its packets by that. Its
default bearer has

    radio=enb1-eth1  the interface to the UE: IPv6 packets that come in by it go by this bearer, and
                     what the tunnel brings of IPv6 goes out by it

That includes packets of link-local addresses and to groups: the UE's link ends at the gateway, its
router. They pass no TUN device, since the kernel would not route them.

Lines on standard input change bearers while it runs; what is added takes the place of the UE's
bearer for the same traffic:

    add ue_ip=10.45.0.3,uplink_teid=4098,downlink_teid=8194,gateway=10.1.0.1
    remove ue_ip=10.45.0.3
    stats

Each is answered by one line on standard output. SIGUSR1 prints the statistics too, and so does the
end of the program (SIGTERM, SIGINT). The end of standard input ends nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import itertools
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

GTPU_PORT = 2152
ETH_P_IPV6 = 0x86DD
HEADER = struct.Struct("!BBHI")  # flags, message type, length after these 8 bytes, TEID
OPTIONAL = struct.Struct("!HBB")  # sequence number, N-PDU number, next extension header type
VERSION_1, PT, E, S, PN = 0x20, 0x10, 0x04, 0x02, 0x01
CONTAINER = 0x85  # the extension header type of the PDU Session Container (5.2.1)

# Of the PDU Session Container's first two octets (TS 38.415, 5.5.2.1 and 5.5.2.2)
DL_INFORMATION, UL_INFORMATION = 0x00, 0x10  # the PDU type
UL_DELAY, SNP = 0x02, 0x01  # UL Delay Indicator, Sequence Number Presence
PPP, RQI, QFI = 0x80, 0x40, 0x3F  # of the second octet; uplink the QFI alone
MEASURED = ("ul_delay", "qfi_sequence")  # a bearer's fields for what the first two announce

ECHO_REQUEST, ECHO_RESPONSE, ERROR_INDICATION, END_MARKER, G_PDU = 1, 2, 26, 254, 255
IE_RECOVERY, IE_TEID_DATA, IE_PEER_ADDRESS = 14, 16, 133

SIGNALLING_COUNTERS = (
    "echo_requests",
    "echo_responses",
    "end_markers",  # for a downlink TEID of ours
    "error_indications",  # for an uplink TEID that we use with the sender
    "error_indications_sent",
)

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
FRAGMENT_OFFSET = 0x1FFF
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17}
BURST = 64  # packets read from one side before the other side has its turn


class Traffic(NamedTuple):
    """Uplink packets of a dedicated bearer: their protocol, and the ports that they go to."""

    protocol: int
    ports: range

    @classmethod
    def parse(cls, text: str) -> Traffic:
        """Read `icmp`, `tcp:5202` or `udp:5004-5060`; ValueError if it is not that."""
        name, colon, ports = text.partition(":")
        if name not in PROTOCOLS or (colon and name == "icmp"):
            raise ValueError(f"traffic is like icmp, tcp:5202 or udp:5004-5060, not {text!r}")
        first, dash, last = ports.partition("-") if colon else ("0", "-", "65535")
        return cls(PROTOCOLS[name], range(int(first), int(last if dash else first) + 1))

    def takes(self, packet: bytes) -> bool:
        """Whether an IPv4 packet is one of them. Of fragments only the first has ports."""
        if packet[9] != self.protocol or self.protocol == PROTOCOLS["icmp"]:
            return packet[9] == self.protocol
        if int.from_bytes(packet[6:8], "big") & FRAGMENT_OFFSET:
            return False
        ports = (packet[0] & 0xF) * 4
        return int.from_bytes(packet[ports + 2 : ports + 4], "big") in self.ports


@dataclass(frozen=True)
class Bearer:
    """One UE's pair of tunnels, as the base station sees it; with QFIs a PDU session of 5G."""

    ue_ip: IPv4Address
    uplink_teid: int
    downlink_teid: int
    gateway: IPv4Address
    qfis: tuple[int, ...] = ()  # the first is put into uplink T-PDUs; all are taken downlink
    ul_delay: int | None = None  # ms
    qfi_sequence: int | None = None  # of the first uplink T-PDU
    traffic: Traffic | None = None  # None: the UE's default bearer
    radio: str | None = None  # the interface of its IPv6 packets

    @classmethod
    def parse(cls, text: str) -> Bearer:
        """Read `ue_ip=…,uplink_teid=…,downlink_teid=…,gateway=…`, perhaps `traffic=…` or
        `radio=…` and, on N3, `qfi=…` and what goes with it; ValueError if it is not that."""
        fields = dict(part.partition("=")[::2] for part in text.split(","))
        wanted = {"ue_ip", "uplink_teid", "downlink_teid", "gateway"}
        optional = {"traffic", "radio"} | ({"qfi", *MEASURED} if "qfi" in fields else set())
        if not wanted <= set(fields) <= wanted | optional:
            raise ValueError(f"a bearer is {', '.join(sorted(wanted))}, not {text!r}")
        teids = [int(fields[name], 0) for name in ("uplink_teid", "downlink_teid")]
        if not all(1 <= teid <= 0xFFFF_FFFF for teid in teids):
            raise ValueError(f"a TEID is 1 to {0xFFFF_FFFF}")
        qfis = tuple(map(int, fields["qfi"].split("+"))) if "qfi" in fields else ()
        delay, number = (int(fields[name]) if name in fields else None for name in MEASURED)
        for what, most, values in (
            ("a QFI", QFI, qfis),
            ("ul_delay", 0xFFFF_FFFF, (delay or 0,)),
            ("qfi_sequence", 0xFF_FFFF, (number or 0,)),
        ):
            if not all(0 <= value <= most for value in values):
                raise ValueError(f"{what} is 0 to {most}")
        ue_ip, gateway = IPv4Address(fields["ue_ip"]), IPv4Address(fields["gateway"])
        traffic = Traffic.parse(fields["traffic"]) if "traffic" in fields else None
        radio = fields.get("radio")
        if radio and traffic:
            raise ValueError("a dedicated bearer has no radio: IPv6 goes by the default bearer")
        return cls(ue_ip, *teids, gateway, qfis, delay, number, traffic, radio)

    def takes(self, packet: bytes) -> bool:
        """Whether an uplink packet of its UE may go by it."""
        return self.traffic is None or self.traffic.takes(packet)


class Tunnel:
    """Where a bearer's uplink goes, and with what in front."""

    def __init__(self, bearer: Bearer) -> None:
        self.teid = struct.pack("!I", bearer.uplink_teid)
        self.gateway = (str(bearer.gateway), GTPU_PORT)
        self.bearer = bearer
        self.number = bearer.qfi_sequence or 0
        self.plain = ul_container(bearer, None) if bearer.qfis else b""

    def container(self) -> bytes:
        """The next T-PDU's PDU Session Container; none on S1-U."""
        if self.bearer.qfi_sequence is None:
            return self.plain
        number, self.number = self.number, (self.number + 1) & 0xFF_FFFF
        return ul_container(self.bearer, number)


def ul_container(bearer: Bearer, number: int | None) -> bytes:
    """The extension header with the UL PDU SESSION INFORMATION (TS 38.415, 5.5.2.2)."""
    first, results = UL_INFORMATION, b""
    if bearer.ul_delay is not None:
        first, results = first | UL_DELAY, struct.pack("!I", bearer.ul_delay)
    if number is not None:
        first, results = first | SNP, results + number.to_bytes(3, "big")
    content = bytes([first, bearer.qfis[0]]) + results
    units = (len(content) + 2 + 3) // 4  # of 4 octets, with the length and the next type
    return bytes([units]) + content.ljust(units * 4 - 2, b"\0") + b"\0"


class Dropped(Exception):
    """A packet goes no further; the text is the name of its counter."""


class Message(NamedTuple):
    """A GTP-U message, taken apart."""

    kind: int
    teid: int
    payload: bytes
    sequence: int | None = None
    container: bytes | None = None  # what the PDU Session Container holds


def gtpu_message(octets: bytes) -> Message:
    """Take a GTP-U message apart; Dropped says what is wrong with it."""
    if len(octets) < HEADER.size:
        raise Dropped("drop_short")
    flags, kind, length, teid = HEADER.unpack_from(octets)
    if flags & 0xE0 != VERSION_1 or not flags & PT:
        raise Dropped("drop_version")
    body = octets[HEADER.size : HEADER.size + length]
    if len(body) < length:
        raise Dropped("drop_short")
    if not flags & (E | S | PN):  # one of them brings all four bytes (5.1)
        return Message(kind, teid, body)
    if len(body) < OPTIONAL.size:
        raise Dropped("drop_short")
    sequence, _, extension = OPTIONAL.unpack_from(body)
    body = body[OPTIONAL.size :]
    container = None
    while flags & E and extension:  # length in units of 4 bytes, next type in the last (5.2.1)
        size = body[0] * 4 if body else 0
        if not 0 < size <= len(body):
            raise Dropped("drop_extension")
        if extension == CONTAINER:
            container = body[1 : size - 1]
        extension, body = body[size - 1], body[size:]
    return Message(kind, teid, body, sequence if flags & S else None, container)


def dl_information(container: bytes) -> tuple[int, bool]:
    """QFI and RQI of a DL PDU SESSION INFORMATION (TS 38.415, 5.5.2.1)."""
    first, second = container[:2]
    if first & 0xF0 != DL_INFORMATION or (second & PPP and len(container) < 3):
        raise Dropped("drop_container")
    return second & QFI, bool(second & RQI)


def indicated_teid(elements: bytes) -> bytes:
    """The TEID, packed, that an Error Indication's first information element names (7.3.1)."""
    if len(elements) < 5 or elements[0] != IE_TEID_DATA:
        raise Dropped("drop_error_indication")
    return elements[1:5]


def open_tun(name: str, mtu: int) -> int:
    """Open (and make, unless it is there) the TUN device `name`, up, and return its descriptor."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", name, "mtu", str(mtu), "up"], check=True)
    return tun


def open_socket(address: IPv4Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    sock.bind((str(address), GTPU_PORT))
    sock.setblocking(False)
    return sock


def open_radio() -> socket.socket:
    """A socket for the IPv6 packets that come in by any interface, without their link layer."""
    radio = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IPV6))
    radio.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    radio.setblocking(False)
    return radio


class Enb:
    """The two ways of a packet, and the tables that they are looked up in."""

    def __init__(
        self,
        tun: int,
        sock: socket.socket,
        radio: socket.socket,
        address: IPv4Address,
        number: bool,
        kind: str = "enb",
    ) -> None:
        self.tun, self.sock, self.radio = tun, sock, radio
        self.address, self.kind = address, kind
        self.sequence = 0 if number else None  # of the next uplink G-PDU; None: not numbered
        self.by_ue: dict[bytes, list[Tunnel]] = {}  # the default bearer's is the last
        self.by_radio: dict[str, Tunnel] = {}
        self.macs: dict[str, bytes] = {}  # of the UE at each radio interface, once it has sent
        self.by_teid: dict[int, Bearer] = {}
        self.counters: Counter[str] = Counter()

    def add(self, bearer: Bearer) -> None:
        others, added = [], Tunnel(bearer)
        for tunnel in self.by_ue.get(bearer.ue_ip.packed, ()):
            if tunnel.bearer.traffic == bearer.traffic:
                self.by_teid.pop(tunnel.bearer.downlink_teid, None)
                self.by_radio.pop(tunnel.bearer.radio or "", None)
            else:
                others.append(tunnel)
        tunnels = [*others, added]
        tunnels.sort(key=lambda tunnel: tunnel.bearer.traffic is None)
        self.by_ue[bearer.ue_ip.packed] = tunnels
        self.by_teid[bearer.downlink_teid] = bearer
        if bearer.radio:
            self.by_radio[bearer.radio] = added

    def remove(self, ue_ip: IPv4Address) -> None:
        for tunnel in self.by_ue.pop(ue_ip.packed, ()):
            self.by_radio.pop(tunnel.bearer.radio or "", None)
        for teid in [teid for teid, bearer in self.by_teid.items() if bearer.ue_ip == ue_ip]:
            del self.by_teid[teid]

    def __str__(self) -> str:
        return f"{self.kind} {self.address}"

    def stats(self) -> str:
        names = ("uplink_packets", "downlink_packets", *SIGNALLING_COUNTERS)
        shown = dict.fromkeys(names, 0) | self.counters
        return " ".join([str(self), *(f"{key}={value}" for key, value in shown.items())])

    def uplink(self) -> None:
        """Take packets from the UEs until there are none, or it is the other side's turn."""
        for _ in range(BURST):
            try:
                packet = os.read(self.tun, 65535)
            except BlockingIOError:
                return
            self.send(self.tunnel_of(packet), packet)

    def uplink_ipv6(self) -> None:
        """The same of the radio interfaces' IPv6 packets."""
        for _ in range(BURST):
            try:
                packet, (interface, _, _, _, mac) = self.radio.recvfrom(65535)
            except BlockingIOError:
                return
            tunnel = self.by_radio.get(interface)
            if tunnel is not None:  # else the packet is none of ours
                self.macs[interface] = mac
                self.send(tunnel, packet)

    def tunnel_of(self, packet: bytes) -> Tunnel | str:
        """The tunnel of a UE's IPv4 packet, or why it has none."""
        if len(packet) < 20 or packet[0] >> 4 != 4:
            return "drop_not_ipv4"
        tunnels = self.by_ue.get(packet[12:16], ())
        return next((each for each in tunnels if each.bearer.takes(packet)), "drop_no_bearer")

    def send(self, tunnel: Tunnel | str, packet: bytes) -> None:
        """Send a UE's packet to the gateway, or count why it is not."""
        try:
            if isinstance(tunnel, str):
                raise Dropped(tunnel)
            self.encapsulate(tunnel, packet)
        except Dropped as why:
            self.counters[str(why)] += 1
        except OSError as error:  # too long for the access link, or its queue is full
            self.counters[f"drop_{errno.errorcode.get(error.errno or 0, 'send').lower()}"] += 1

    def encapsulate(self, tunnel: Tunnel, packet: bytes) -> None:
        flags, optional, container = VERSION_1 | PT, b"", tunnel.container()
        if container or self.sequence is not None:
            following = CONTAINER if container else 0
            optional = OPTIONAL.pack(self.sequence or 0, 0, following) + container
            flags |= E if container else 0
        if self.sequence is not None:
            flags |= S
            self.sequence = (self.sequence + 1) & 0xFFFF
        length = len(optional) + len(packet)
        header = struct.pack("!BBH4s", flags, G_PDU, length, tunnel.teid)
        self.sock.sendto(header + optional + packet, tunnel.gateway)
        self.counters["uplink_packets"] += 1
        self.counters["uplink_bytes"] += len(packet)

    def downlink(self) -> None:
        """Take messages from the gateway until there are none, or it is the other side's turn."""
        for _ in range(BURST):
            try:
                message, sender = self.sock.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error that answers something we sent
                self.counters["icmp_errors"] += 1
                continue
            try:
                self.receive(message, sender)
            except Dropped as why:
                self.counters[str(why)] += 1
            except OSError as error:
                self.counters[f"drop_{errno.errorcode.get(error.errno or 0, 'tun').lower()}"] += 1

    def receive(self, message: bytes, sender: tuple[str, int]) -> None:
        said = gtpu_message(message)
        kind, teid, payload = said.kind, said.teid, said.payload
        if kind == G_PDU:
            bearer = self.by_teid.get(teid)
            if bearer is None:
                self.error_indication(teid, sender[0])
                raise Dropped("drop_unknown_teid")
            self.check_container(bearer, said.container)
            self.deliver(bearer, payload)
            self.counters["downlink_packets"] += 1
            self.counters["downlink_bytes"] += len(payload)
        elif kind == ECHO_REQUEST:  # answered with the request's number, to its port (7.2.2)
            body = OPTIONAL.pack(said.sequence or 0, 0, 0) + bytes([IE_RECOVERY, 0])
            header = HEADER.pack(VERSION_1 | PT | S, ECHO_RESPONSE, len(body), 0)
            self.sock.sendto(header + body, sender)
            self.counters["echo_requests"] += 1
        elif kind == ECHO_RESPONSE:
            self.counters["echo_responses"] += 1
        elif kind == ERROR_INDICATION:
            tunnels = itertools.chain.from_iterable(self.by_ue.values())
            ends = {(tunnel.teid, tunnel.gateway) for tunnel in tunnels}
            if (indicated_teid(payload), (sender[0], GTPU_PORT)) not in ends:
                raise Dropped("drop_error_indication")
            self.counters["error_indications"] += 1
        elif kind == END_MARKER:  # never answered by an Error Indication (7.3.2)
            if teid not in self.by_teid:
                raise Dropped("drop_end_marker")
            self.counters["end_markers"] += 1
        else:
            raise Dropped("drop_message_type")

    def deliver(self, bearer: Bearer, packet: bytes) -> None:
        """Hand a packet to the UE: IPv4 by the kernel, IPv6 by the radio interface."""
        if not packet or packet[0] >> 4 != 6:
            os.write(self.tun, packet)
            return
        group = packet[24:25] == b"\xff"  # of the same for all (RFC 2464, 7)
        mac = b"\x33\x33" + packet[36:40] if group else self.macs.get(bearer.radio or "")
        if bearer.radio is None or mac is None:
            raise Dropped("drop_no_radio")
        self.radio.sendto(packet, (bearer.radio, ETH_P_IPV6, 0, 0, mac))

    def check_container(self, bearer: Bearer, container: bytes | None) -> None:
        """Refuse a downlink T-PDU whose PDU Session Container is not right for the bearer."""
        if not bearer.qfis:
            if container is not None:
                raise Dropped("drop_container_on_s1u")
            return
        if container is None:
            raise Dropped("drop_no_container")
        qfi, rqi = dl_information(container)
        if qfi not in bearer.qfis:
            raise Dropped("drop_qfi")
        self.counters[f"downlink_qfi_{qfi}"] += 1
        self.counters["downlink_rqi"] += rqi

    def error_indication(self, teid: int, gateway: str) -> None:
        """Tell the gateway that we know no such TEID (7.3.1)."""
        body = OPTIONAL.pack(0, 0, 0) + struct.pack("!BI", IE_TEID_DATA, teid)
        body += struct.pack("!BH4s", IE_PEER_ADDRESS, 4, self.address.packed)
        header = HEADER.pack(VERSION_1 | PT | S, ERROR_INDICATION, len(body), 0)
        self.sock.sendto(header + body, (gateway, GTPU_PORT))
        self.counters["error_indications_sent"] += 1

    def command(self, line: str) -> str:
        """Do what a line of standard input says, and return the answer."""
        word, _, rest = line.strip().partition(" ")
        try:
            if word == "add":
                bearer = Bearer.parse(rest)
                self.add(bearer)
                return f"added {bearer.ue_ip}"
            if word == "remove":
                ue_ip = IPv4Address(rest.removeprefix("ue_ip="))
                self.remove(ue_ip)
                return f"removed {ue_ip}"
        except ValueError as error:
            return f"error {error}"
        return self.stats() if word == "stats" else f"error what is {word!r}?"


def say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def serve(enb: Enb) -> None:
    """Carry packets both ways until a signal ends the program."""
    pending = b""
    selector = selectors.DefaultSelector()
    selector.register(enb.tun, selectors.EVENT_READ, enb.uplink)
    selector.register(enb.sock, selectors.EVENT_READ, enb.downlink)
    selector.register(enb.radio, selectors.EVENT_READ, enb.uplink_ipv6)
    with contextlib.suppress(PermissionError):  # standard input is a file or /dev/null: no commands
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                key.data()
                continue
            chunk = os.read(key.fd, 4096)
            if not chunk:
                selector.unregister(key.fd)
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                say(enb.command(line.decode(errors="replace")))


def leave(signum: int, frame: object) -> None:
    raise SystemExit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description="the user plane of a simulated base station")
    ours = parser.add_mutually_exclusive_group(required=True)
    ours.add_argument("--s1u", type=IPv4Address, help="our GTP-U address, of an eNB")
    ours.add_argument("--n3", type=IPv4Address, help="our GTP-U address, of a gNB")
    parser.add_argument("--bearer", type=Bearer.parse, action="append", default=[])
    parser.add_argument("--tun", default="gtp0", help="the TUN device (default: gtp0)")
    parser.add_argument("--mtu", type=int, default=1400, help="of the TUN device (default: 1400)")
    parser.add_argument("--seq", action="store_true", help="number the uplink packets (S flag)")
    args = parser.parse_args()

    address, kind = (args.n3, "gnb") if args.n3 else (args.s1u, "enb")
    tun, sock, radio = open_tun(args.tun, args.mtu), open_socket(address), open_radio()
    enb = Enb(tun, sock, radio, address, args.seq, kind)
    for bearer in args.bearer:
        enb.add(bearer)
    signal.signal(signal.SIGUSR1, lambda signum, frame: say(enb.stats()))
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    say(f"{enb} ready")
    try:
        serve(enb)
    finally:
        say(enb.stats())


if __name__ == "__main__":
    main()
