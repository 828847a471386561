"""A steady, numbered stream both ways through one session: which packets were lost, and when.

    with Stream(lab) as stream:
        ...                                 # do harm
    print(stream.up.lost, stream.down.outages())

A process of its own, with raw ports in the base station's and the core host's namespaces, sends a
GTP-U packet at the one and a plain packet at the other every `interval` seconds, and notes when
each arrives. What arrives with a wrong outer UDP checksum counts as lost, as a real base station
would drop it. Times are of the monotonic clock, which all processes of a host share.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tests.support.lab import Lab

SESSION: dict[str, Any] = {
    "id": "stream",
    "ue_ip": "10.45.0.2",
    "uplink": {"teid": 4097},
    "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"},
}
"""The session that the stream goes through, as it is posted."""

PDN = "10.2.0.2"
GTPU = 2152
UDP, NUMBER = 17, struct.Struct("!8sI")
MARK = b"numbered"
TTLS = (64, 128, 63, 100, 255)
"""Inner TTLs in turn: the switch types decapsulated packets by them."""

STRAGGLERS_S, PATIENCE_S = 0.3, 2.0
"""Wait for stragglers after the last packet has arrived both ways, and for that, in seconds."""


@dataclass(frozen=True)
class Way:
    """One direction: when packet n was sent, and when it arrived (None: never)."""

    sent: list[float]
    received: list[float | None]

    @property
    def lost(self) -> int:
        """Packets that did not arrive."""
        return sum(at is None for at in self.received)

    @property
    def last(self) -> float:
        """When the last packet arrived that did."""
        return max(at for at in self.received if at is not None)

    def outages(self) -> list[tuple[float, float, int]]:
        """Each run of lost packets: the first's sending time, how long it lasted, how many."""
        found: list[tuple[float, float, int]] = []
        first = None
        for place, (sent, received) in enumerate(zip(self.sent, self.received, strict=True)):
            if received is None and first is None:
                first = place
            elif received is not None and first is not None:
                found.append((self.sent[first], sent - self.sent[first], place - first))
                first = None
        if first is not None:
            span = self.sent[-1] - self.sent[first]
            found.append((self.sent[first], span, len(self.sent) - first))
        return found

    def __str__(self) -> str:
        longest = max((seconds for _, seconds, _ in self.outages()), default=0.0)
        return f"{self.lost} of {len(self.sent)} lost, {longest:.2f} s at most in a row"


class Stream:
    """A running stream. Entering returns when packets have passed both ways; counting starts then.

    The session must be there. The hosts' own stacks are muted, but for ARP.
    """

    def __init__(
        self, lab: Lab, *, interval: float = 0.01, session: dict[str, Any] = SESSION
    ) -> None:
        """The kernel's socket buffers in front of the switch hold some two hundred packets: while
        others have the cores for no longer than those take, none is lost."""
        gateway = lab.http("GET", "/v1/gateways").json()["items"][0]
        self._lab = lab
        self._setup = {
            "interval": interval,
            "pdn": str(lab.namespace("pdn")),
            "ue_ip": session["ue_ip"],
            "uplink_teid": session["uplink"]["teid"],
            "downlink_teid": session["downlink"]["teid"],
            "access_mac": gateway["access"]["mac"],
            "core_mac": gateway["core"]["mac"],
            "enb_mac": lab.mac("enb"),
            "pdn_mac": lab.mac("pdn"),
        }

    def __enter__(self) -> Self:
        for name in ("enb", "pdn"):
            self._lab.exec(name, ["nft", "flush ruleset"])
            self._lab.mute(name)
        pipe = subprocess.PIPE
        argv = [sys.executable, __file__, json.dumps(self._setup)]
        self._process = self._lab.spawn("enb", argv, stdin=pipe, stdout=pipe, text=True)
        if not select.select([self._process.stdout], [], [], 30)[0]:
            self._process.kill()
            raise AssertionError("no packets pass both ways")
        assert self._process.stdout.readline() == "flowing\n"
        return self

    def __exit__(self, *error: object) -> None:
        """Stop sending, wait for stragglers, and take the figures."""
        text, _ = self._process.communicate(timeout=60)
        result = json.loads(text.splitlines()[-1])
        self.up, self.down = (Way(**result[name]) for name in ("up", "down"))

    def last(self) -> tuple[float, float]:
        """When the last uplink and the last downlink packet arrived."""
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        up, down = json.loads(self._process.stdout.readline())
        return up, down

    def wait_flowing(self, after: float | None = None, *, timeout: float = 30.0) -> float:
        """Wait until packets arrive both ways again, later than `after`; returns when."""
        after = time.monotonic() if after is None else after
        deadline = time.monotonic() + timeout
        while min(last := self.last()) <= after:
            assert time.monotonic() < deadline, f"no packets both ways within {timeout} s"
            time.sleep(0.02)
        return max(last)

    @property
    def delay(self) -> float:
        """The longest that a packet was under way, in seconds."""
        ways = ((way.sent, way.received) for way in (self.up, self.down))
        pairs = (pair for way in ways for pair in zip(*way, strict=True))
        return max(received - sent for sent, received in pairs if received is not None)

    @property
    def lost(self) -> int:
        """Packets lost, both ways together."""
        return self.up.lost + self.down.lost

    def __str__(self) -> str:
        return f"up {self.up}; down {self.down}"


# --- packets


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp_datagram(source: str, target: str, port: int, payload: bytes, ttl: int) -> bytes:
    """An IPv4 UDP packet, with no UDP checksum."""
    datagram = struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload
    addresses = IPv4Address(source).packed + IPv4Address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0x4000, ttl, UDP, 0)
    summed = checksum(head + addresses)
    return head[:10] + struct.pack("!H", summed) + addresses + datagram


def ethernet(target: str, source: str) -> bytes:
    return bytes.fromhex((target + source).replace(":", "")) + b"\x08\x00"


def checksum_good(packet: bytes) -> bool:
    """Whether an IPv4 UDP packet's UDP checksum is right, or left out."""
    datagram = packet[20:]
    if datagram[6:8] == b"\0\0":
        return True
    pseudo = packet[12:20] + struct.pack("!BBH", 0, UDP, len(datagram))
    return checksum(pseudo + datagram) == 0


def inner_number(packet: bytes) -> int | None:
    """The number of one of our packets, given from its IPv4 header on."""
    if packet[:1] != b"\x45" or packet[9:10] != bytes([UDP]) or len(packet) != 28 + NUMBER.size:
        return None
    mark, number = NUMBER.unpack(packet[28:])
    return number if mark == MARK else None


# --- the process


class Sender:
    """Both ends of the stream, in one loop."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.setup = setup
        self.enb = raw_socket()
        with open(f"/run/netns/{setup['pdn']}") as there:  # noqa: PTH123
            import ctypes

            if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), 0x4000_0000):
                raise OSError(ctypes.get_errno(), "setns")
        self.pdn = raw_socket()
        self.to_gateway = ethernet(setup["access_mac"], setup["enb_mac"])
        self.to_core = ethernet(setup["core_mac"], setup["pdn_mac"])
        self.sent: list[float] = []
        self.up: dict[int, float] = {}
        self.down: dict[int, float] = {}
        self.last = [0.0, 0.0]
        self.first: int | None = None

    def send(self) -> None:
        number = len(self.sent)
        payload, ttl = NUMBER.pack(MARK, number), TTLS[number % len(TTLS)]
        ue_ip = self.setup["ue_ip"]
        inner = udp_datagram(ue_ip, PDN, 9000, payload, ttl)
        tunnel = struct.pack("!BBHI", 0x30, 255, len(inner), self.setup["uplink_teid"])
        outer = udp_datagram("10.1.0.2", "10.1.0.1", GTPU, tunnel + inner, 64)
        self.sent.append(time.monotonic())
        self.enb.send(self.to_gateway + outer)
        self.pdn.send(self.to_core + udp_datagram(PDN, ue_ip, 9000, payload, ttl))

    def take_at_pdn(self, frame: bytes) -> None:
        number = inner_number(frame[14:])
        if number is not None and frame[14 + 16 : 14 + 20] == IPv4Address(PDN).packed:
            self.last[0] = time.monotonic()
            self.up.setdefault(number, self.last[0])

    def take_at_enb(self, frame: bytes) -> None:
        packet = frame[14:]
        if packet[:1] != b"\x45" or packet[22:24] != struct.pack("!H", GTPU):
            return
        teid = struct.pack("!I", self.setup["downlink_teid"])
        number = inner_number(packet[36:])
        if packet[32:36] == teid and number is not None and checksum_good(packet):
            self.last[1] = time.monotonic()
            self.down.setdefault(number, self.last[1])

    def receive(self, ready: list[Any]) -> None:
        for sock, take in ((self.pdn, self.take_at_pdn), (self.enb, self.take_at_enb)):
            if sock in ready:
                with suppress(BlockingIOError):
                    while True:
                        take(sock.recv(2048))
        if self.first is None and self.up and self.down:
            self.first = len(self.sent)
            say("flowing")

    def run(self) -> None:
        due = time.monotonic()
        ports = [self.enb, self.pdn]
        while True:
            wait = max(0.0, due - time.monotonic())
            ready = select.select([*ports, sys.stdin], [], [], wait)[0]
            self.receive(ready)
            if sys.stdin in ready:
                if not sys.stdin.readline():
                    break
                say(json.dumps(self.last))
            now = time.monotonic()
            if now >= due:
                self.send()
                due = max(due + self.setup["interval"], now)  # what is late is not made up for
        last, end = len(self.sent) - 1, time.monotonic() + PATIENCE_S
        while (wait := end - time.monotonic()) > 0:
            if last in self.up and last in self.down:
                wait = min(wait, STRAGGLERS_S)
            ready = select.select(ports, [], [], wait)[0]
            if not ready:
                break
            self.receive(ready)
        numbers = range(self.first or 0, len(self.sent))
        result = {
            name: {
                "sent": [self.sent[number] for number in numbers],
                "received": [arrived.get(number) for number in numbers],
            }
            for name, arrived in (("up", self.up), ("down", self.down))
        }
        say(json.dumps(result))


def raw_socket() -> socket.socket:
    """A raw port on eth0 of the present namespace; it does not see what it sends."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setblocking(False)
    sock.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
    sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    sock.bind(("eth0", 3))
    return sock


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    Sender(json.loads(sys.argv[1])).run()
