"""GTP-U signalling as a base station sees it, and the events it leads to.

What the gateway says is read by scapy, without ofgtp's own code.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

from tests.support import gtpu
from tests.support.gtpu import PLAIN, S
from tests.support.lab import Lab
from tests.support.site import ACCESS_IP, Site, until

RECOVERY = b"\x0e\x00"


@dataclass(frozen=True)
class Said:
    """A GTP-U message that the gateway sent, and when it was seen."""

    at: float
    frame: bytes
    eth_src: str
    eth_dst: str
    source: str
    peer: str
    source_port: int
    port: int
    kind: int
    flags: int
    teid: int
    sequence: int | None
    ies: bytes


def read(frame: bytes) -> Said | None:
    """A GTP-U message from the gateway, held to the standards; None for any other frame."""
    packet = Ether(frame)
    if UDP not in packet or packet[IP].src != ACCESS_IP:
        return None
    if gtpu.PORT not in (packet[UDP].sport, packet[UDP].dport):
        return None
    gtpu.check_frame(frame)
    ip, udp = packet[IP], packet[UDP]
    octets = bytes(udp)[8:]
    gtp = GTP_U_Header(octets)
    assert (gtp.version, gtp.PT, gtp.reserved) == (1, 1, 0), "not a GTP-U header of version 1"
    assert gtp.length == len(octets) - 8, "GTP-U length"
    optional = 4 if octets[0] & 7 else 0
    return Said(
        at=time.monotonic(),
        frame=frame,
        eth_src=packet.src,
        eth_dst=packet.dst,
        source=ip.src,
        peer=ip.dst,
        source_port=udp.sport,
        port=udp.dport,
        kind=gtp.gtp_type,
        flags=octets[0] & 7,
        teid=gtp.teid,
        sequence=int.from_bytes(octets[8:10], "big") if octets[0] & S else None,
        ies=octets[8 + optional :],
    )


def echo(sequence: int, ies: bytes = b"", *, flags: int = PLAIN | S, **more: Any) -> bytes:
    """An Echo Request; `more` are arguments of `gtpu.message`."""
    teid = more.pop("teid", 0)
    return gtpu.message(gtpu.ECHO_REQUEST, teid, ies, flags=flags, sequence=sequence, **more)


def pong(sequence: int) -> bytes:
    """An Echo Response as it should be."""
    flags = PLAIN | S
    return gtpu.message(gtpu.ECHO_RESPONSE, 0, RECOVERY, flags=flags, sequence=sequence)


Answer = Callable[[Said], bytes | None]


def properly(request: Said) -> bytes:
    """Answer as the standard has it."""
    assert request.sequence is not None
    return pong(request.sequence)


class Peers:
    """The peers at a site's first base station: all its GTP-U addresses, in one process.

    `answers` says how Echo Requests to each address are answered; its host answers ARP for those
    that were added by `at`, and `arp` is how it is answered for others: by which MAC address.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.answers: dict[str, Answer] = {}
        self.arp: dict[str, str] = {}
        self.requests: list[Said] = []
        """Echo Requests seen, in order."""
        self.asked: list[tuple[float, str]] = []
        """ARP requests of the gateway: when, and for which address."""
        self.got: list[bytes] = []
        """T-PDUs, in order."""
        self._one_at_a_time = threading.Lock()

    def at(self, *addresses: str) -> None:
        """Addresses of the base station's own stack, which answers ARP for them."""
        for address in addresses:
            argv = ["ip", "addr", "add", f"{address}/24", "dev", "eth0"]
            self.site.lab.exec("enb", argv)

    def pump(self, wait: float = 0.02) -> None:
        """Take what has come in, and answer it."""
        with self._one_at_a_time:
            for frame in self.site.enb.all(wait):
                self._take(frame)

    def _take(self, frame: bytes) -> None:
        if frame[12:14] == b"\x08\x06":
            self._arp(frame)
        elif (said := read(frame)) is None:
            return
        elif said.kind == gtpu.T_PDU:
            self.got.append(frame)
        elif said.kind == gtpu.ECHO_REQUEST:
            self.requests.append(said)
            answer = self.answers.get(said.peer)
            octets = answer(said) if answer is not None else None
            if octets is not None:
                self.say(said.peer, octets)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Within, answer from a thread, in time whatever the test waits for."""
        over, wrong = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                while not over.wait(0.01):
                    self.pump(0.001)
            except BaseException as error:
                wrong.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if wrong:
            raise wrong[0]

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 20.0) -> Any:
        """Answer until the condition is true; its value."""

        def look() -> Any:
            self.pump()
            return condition()

        return until(look, what, timeout)

    def during(self, seconds: float) -> None:
        """Answer for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.pump()

    def say(self, peer: str, octets: bytes, **changes: Any) -> None:
        """Send a GTP-U message from one of the addresses."""
        mac = self.arp.get(peer, self.site.enb_mac["enb"])
        frame = {"source": peer, "eth_src": mac} | changes
        self.site.enb.send(self.site.from_enb(octets, **frame))

    def requests_to(self, peer: str) -> list[Said]:
        return [each for each in self.requests if each.peer == peer]

    def asked_for(self, address: str) -> list[float]:
        """When the gateway asked for an address by ARP."""
        return [at for at, asked in self.asked if asked == address]

    def _arp(self, frame: bytes) -> None:
        said = Ether(frame)[ARP]
        if said.op != 1 or said.psrc != ACCESS_IP:
            return
        assert said.hwsrc == self.site.local_mac
        self.asked.append((time.monotonic(), said.pdst))
        mac = self.arp.get(said.pdst)
        if mac is not None:
            self.site.enb.send(arp_reply(mac, said.pdst, said.hwsrc))


def arp_reply(mac: str, ip: str, to: str) -> bytes:
    """The answer to the gateway's question who has an address."""
    return bytes(Ether(src=mac, dst=to) / ARP(op=2, hwsrc=mac, psrc=ip, hwdst=to, pdst=ACCESS_IP))


def peers(lab: Lab) -> dict[str, dict[str, Any]]:
    """GET /v1/peers, by address."""
    answer = lab.http("GET", "/v1/peers")
    assert answer.status == 200, answer.body
    return {each["ip"]: each for each in answer.json()["items"]}


def metric(lab: Lab, name: str, **labels: str) -> float:
    """The value of one sample of the only gateway; 0 if there is none."""
    wanted = ",".join(f'{k}="{v}"' for k, v in sorted({"gateway": "gw1", **labels}.items()))
    for line in lab.http("GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"{name}{{{wanted}}} "):
            return float(line.split()[-1])
    return 0.0


class Events:
    """What GET /v1/events has told since it was opened."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._rest = sock, b""
        self._events: list[dict[str, Any]] = []

    def all(self) -> list[dict[str, Any]]:
        """All so far, each with its kind as `event`."""
        try:
            while received := self._sock.recv(65536):
                self._rest += received
        except BlockingIOError:
            pass
        *lines, self._rest = self._rest.split(b"\n")
        kind = ""
        for line in lines:
            name, _, value = line.decode().strip().partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                self._events.append({**json.loads(value), "event": kind})
        return self._events

    def of(self, kind: str, **facts: Any) -> list[dict[str, Any]]:
        """Those of a kind with these facts."""
        wanted = {"event": kind, **facts}.items()
        return [each for each in self.all() if wanted <= each.items()]


@contextmanager
def events(lab: Lab) -> Iterator[Events]:
    """Listen to the events from now on."""
    with lab.inside("gw"):
        sock = socket.socket()
    with sock:
        sock.settimeout(20)
        sock.connect(("127.0.0.1", 8080))
        sock.sendall(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head or b"\n:" not in head:
            head += sock.recv(4096)
        assert head.startswith(b"HTTP/1.1 200 "), head
        sock.setblocking(False)
        yield Events(sock)
