#!/usr/bin/env python3
"""The user plane of a simulated base station (eNB): a TUN device and a GTP-U socket.

    enb.py --s1u 10.1.0.2 \\
        --bearer ue_ip=10.45.0.2,uplink_teid=4097,downlink_teid=8193,gateway=10.1.0.1

What the kernel routes into the TUN device is a UE's uplink packet: it is put behind a GTP-U header
with the bearer's uplink TEID and sent to the gateway. What comes in on UDP port 2152 of the S1-U
address is looked up by its (downlink) TEID, stripped, and written to the TUN device, from where the
kernel routes it to the UE. An Echo Request is answered, and so is a T-PDU of an unknown TEID, by an
Error Indication; End Markers and Error Indications that come in are counted. GTP-U is TS 29.281;
this file is all of it that the eNB uses, and shares nothing with ofgtp, so that each is a check on
the other.

Lines on standard input change bearers while it runs:

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

GTPU_PORT = 2152
HEADER = struct.Struct("!BBHI")  # flags, message type, length after these 8 bytes, TEID
OPTIONAL = struct.Struct("!HBB")  # sequence number, N-PDU number, next extension header type
VERSION_1, PT, E, S, PN = 0x20, 0x10, 0x04, 0x02, 0x01

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
BURST = 64  # packets read from one side before the other side has its turn


@dataclass(frozen=True)
class Bearer:
    """One UE's pair of tunnels, as the eNB sees it."""

    ue_ip: IPv4Address
    uplink_teid: int
    downlink_teid: int
    gateway: IPv4Address

    @classmethod
    def parse(cls, text: str) -> Bearer:
        """Read `ue_ip=…,uplink_teid=…,downlink_teid=…,gateway=…`; ValueError if it is not that."""
        fields = dict(part.partition("=")[::2] for part in text.split(","))
        wanted = {"ue_ip", "uplink_teid", "downlink_teid", "gateway"}
        if set(fields) != wanted:
            raise ValueError(f"a bearer is {', '.join(sorted(wanted))}, not {text!r}")
        teids = [int(fields[name], 0) for name in ("uplink_teid", "downlink_teid")]
        if not all(1 <= teid <= 0xFFFF_FFFF for teid in teids):
            raise ValueError(f"a TEID is 1 to {0xFFFF_FFFF}")
        return cls(IPv4Address(fields["ue_ip"]), *teids, IPv4Address(fields["gateway"]))


class Dropped(Exception):
    """A packet goes no further; the text is the name of its counter."""


def gtpu_payload(message: bytes) -> tuple[int, int, int | None, bytes]:
    """Take a GTP-U message apart: (message type, TEID, sequence number or None, payload)."""
    if len(message) < HEADER.size:
        raise Dropped("drop_short")
    flags, kind, length, teid = HEADER.unpack_from(message)
    if flags & 0xE0 != VERSION_1 or not flags & PT:
        raise Dropped("drop_version")
    body = message[HEADER.size : HEADER.size + length]
    if len(body) < length:
        raise Dropped("drop_short")
    if not flags & (E | S | PN):  # one of them brings all four bytes (5.1)
        return kind, teid, None, body
    if len(body) < OPTIONAL.size:
        raise Dropped("drop_short")
    sequence, _, extension = OPTIONAL.unpack_from(body)
    body = body[OPTIONAL.size :]
    while flags & E and extension:  # length in units of 4 bytes, next type in the last (5.2.1)
        size = body[0] * 4 if body else 0
        if not 0 < size <= len(body):
            raise Dropped("drop_extension")
        extension, body = body[size - 1], body[size:]
    return kind, teid, sequence if flags & S else None, body


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


def open_socket(s1u: IPv4Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    sock.bind((str(s1u), GTPU_PORT))
    sock.setblocking(False)
    return sock


class Enb:
    """The two ways of a packet, and the tables that they are looked up in."""

    def __init__(self, tun: int, sock: socket.socket, s1u: IPv4Address, number: bool) -> None:
        self.tun, self.sock, self.s1u = tun, sock, s1u
        self.sequence = 0 if number else None  # of the next uplink G-PDU; None: not numbered
        self.by_ue: dict[bytes, tuple[bytes, tuple[str, int]]] = {}  # -> packed TEID, where to
        self.by_teid: dict[int, Bearer] = {}
        self.counters: Counter[str] = Counter()

    def add(self, bearer: Bearer) -> None:
        self.remove(bearer.ue_ip)
        teid = struct.pack("!I", bearer.uplink_teid)
        self.by_ue[bearer.ue_ip.packed] = teid, (str(bearer.gateway), GTPU_PORT)
        self.by_teid[bearer.downlink_teid] = bearer

    def remove(self, ue_ip: IPv4Address) -> None:
        self.by_ue.pop(ue_ip.packed, None)
        for teid in [teid for teid, bearer in self.by_teid.items() if bearer.ue_ip == ue_ip]:
            del self.by_teid[teid]

    def stats(self) -> str:
        names = ("uplink_packets", "downlink_packets", *SIGNALLING_COUNTERS)
        shown = dict.fromkeys(names, 0) | self.counters
        return " ".join([f"enb {self.s1u}", *(f"{key}={value}" for key, value in shown.items())])

    def uplink(self) -> None:
        """Take packets from the UEs until there are none, or it is the other side's turn."""
        for _ in range(BURST):
            try:
                packet = os.read(self.tun, 65535)
            except BlockingIOError:
                return
            try:
                self.send(packet)
            except Dropped as why:
                self.counters[str(why)] += 1
            except OSError as error:  # too long for the access link, or its queue is full
                self.counters[f"drop_{errno.errorcode.get(error.errno or 0, 'send').lower()}"] += 1

    def send(self, packet: bytes) -> None:
        if len(packet) < 20 or packet[0] >> 4 != 4:
            raise Dropped("drop_not_ipv4")
        bearer = self.by_ue.get(packet[12:16])
        if bearer is None:
            raise Dropped("drop_no_bearer")
        teid, gateway = bearer
        flags, optional = VERSION_1 | PT, b""
        if self.sequence is not None:
            flags, optional = flags | S, OPTIONAL.pack(self.sequence, 0, 0)
            self.sequence = (self.sequence + 1) & 0xFFFF
        length = len(optional) + len(packet)
        header = struct.pack("!BBH4s", flags, G_PDU, length, teid)
        self.sock.sendto(header + optional + packet, gateway)
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
        kind, teid, sequence, payload = gtpu_payload(message)
        if kind == G_PDU:
            if teid not in self.by_teid:
                self.error_indication(teid, sender[0])
                raise Dropped("drop_unknown_teid")
            os.write(self.tun, payload)
            self.counters["downlink_packets"] += 1
            self.counters["downlink_bytes"] += len(payload)
        elif kind == ECHO_REQUEST:  # answered with the request's number, to its port (7.2.2)
            body = OPTIONAL.pack(sequence or 0, 0, 0) + bytes([IE_RECOVERY, 0])
            header = HEADER.pack(VERSION_1 | PT | S, ECHO_RESPONSE, len(body), 0)
            self.sock.sendto(header + body, sender)
            self.counters["echo_requests"] += 1
        elif kind == ECHO_RESPONSE:
            self.counters["echo_responses"] += 1
        elif kind == ERROR_INDICATION:
            if (indicated_teid(payload), (sender[0], GTPU_PORT)) not in self.by_ue.values():
                raise Dropped("drop_error_indication")
            self.counters["error_indications"] += 1
        elif kind == END_MARKER:  # never answered by an Error Indication (7.3.2)
            if teid not in self.by_teid:
                raise Dropped("drop_end_marker")
            self.counters["end_markers"] += 1
        else:
            raise Dropped("drop_message_type")

    def error_indication(self, teid: int, gateway: str) -> None:
        """Tell the gateway that we know no such TEID (7.3.1)."""
        body = OPTIONAL.pack(0, 0, 0) + struct.pack("!BI", IE_TEID_DATA, teid)
        body += struct.pack("!BH4s", IE_PEER_ADDRESS, 4, self.s1u.packed)
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
    parser.add_argument("--s1u", type=IPv4Address, required=True, help="our GTP-U address")
    parser.add_argument("--bearer", type=Bearer.parse, action="append", default=[])
    parser.add_argument("--tun", default="gtp0", help="the TUN device (default: gtp0)")
    parser.add_argument("--mtu", type=int, default=1400, help="of the TUN device (default: 1400)")
    parser.add_argument("--seq", action="store_true", help="number the uplink packets (S flag)")
    args = parser.parse_args()

    enb = Enb(open_tun(args.tun, args.mtu), open_socket(args.s1u), args.s1u, args.seq)
    for bearer in args.bearer:
        enb.add(bearer)
    signal.signal(signal.SIGUSR1, lambda signum, frame: say(enb.stats()))
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    say(f"enb {args.s1u} ready")
    try:
        serve(enb)
    finally:
        say(enb.stats())


if __name__ == "__main__":
    main()
