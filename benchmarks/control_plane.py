"""A control plane that costs little: its requests are octets before the clock runs.

Requests have the shape that Open5GS's SMF sends for an IPv4 session of 5G: four PDRs, three FARs, a
URR, a QER and a BAR, with F-TEIDs to be chosen, and then the way down by one Update FAR.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from benchmarks import site
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import Action
from ofgtp.core.pfcp.wire.grouped import UpdateFar
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.messages import (
    AssociationSetupRequest,
    HeartbeatRequest,
    HeartbeatResponse,
    SessionDeletionRequest,
    SessionReportResponse,
    read,
    write,
)
from ofgtp.core.pfcp.wire.values import FSeid, OuterHeaderCreation
from tests.support.pfcp import vectors
from tests.support.smf import PORT, SMF, UPF, n4

CONFIG = f"""
[gateway.pfcp]
listen = "{UPF}"
peers = ["10.3.0.0/24"]
heartbeat_seconds = 600
"""
HERE = IPv4Address(SMF)
STAMP = 3_900_000_000
FIRST_UE = 110_000
"""UEs of PFCP have the addresses behind those of this many REST sessions."""
RCVBUF = 4 << 20
T1_S = 2.5
"""What Open5GS waits for an answer, before it asks again."""
ACCEPTED = bytes((0, 19, 0, 1, 1))
"""A cause, as it stands in an answer."""

Octets = bytearray
"""A request whose sequence number is yet to be given."""


class Run(NamedTuple):
    """Requests that were carried out."""

    seconds: float
    took: list[float]
    """Of each, until it was answered."""
    answers: list[bytes]


# --- octets


@cache
def _seen(name: str) -> Any:
    """A message that was seen on the wire."""
    return read(next(each.data for each in vectors() if each.name == name))[1]


def establishment(number: int) -> Octets:
    """That of session `number`, from 0 on."""
    request = _seen("5g-session-1")
    ue = site.ue(FIRST_UE + number)
    pdrs = []
    for pdr in request.create_pdrs:
        there = pdr.pdi.ue_ip_address
        if there is not None:
            there = there._replace(ipv4=IPv4Address(ue))
        pdrs.append(pdr._replace(pdi=pdr.pdi._replace(ue_ip_address=there)))
    fars = []
    for far in request.create_fars:
        parameters = far.forwarding_parameters
        if parameters is not None and parameters.outer_header_creation is not None:
            to = parameters.outer_header_creation._replace(teid=1 + number, ipv4=HERE)
            parameters = parameters._replace(outer_header_creation=to)
        fars.append(far._replace(forwarding_parameters=parameters))
    changed = request._replace(
        node_id=HERE,
        cp_fseid=FSeid(1 + number, HERE),
        create_pdrs=tuple(pdrs),
        create_fars=tuple(fars),
    )
    return Octets(write(changed, 0, 0))


def activation(number: int, up_seid: int) -> Octets:
    """The way down to one of the base stations."""
    request = _seen("5g-session-3")
    peer = IPv4Address(f"10.1.0.{2 + number % site.PEERS}")
    fars = []
    for far in request.update_fars:
        to: OuterHeaderCreation = far.forwarding_parameters.outer_header_creation
        to = to._replace(teid=0x20000 + number, ipv4=peer)
        parameters = far.forwarding_parameters._replace(outer_header_creation=to)
        fars.append(far._replace(forwarding_parameters=parameters))
    return Octets(write(request._replace(update_fars=tuple(fars)), 0, up_seid))


def sleep(up_seid: int) -> Octets:
    """The UE is idle again, as when its base station lets it go."""
    request = _seen("5g-session-3")
    fars = [UpdateFar(far.far_id, Action.BUFF | Action.NOCP) for far in request.update_fars]
    return Octets(write(request._replace(update_fars=tuple(fars)), 0, up_seid))


def deletion(up_seid: int) -> Octets:
    return Octets(write(SessionDeletionRequest(), 0, up_seid))


def heartbeat() -> Octets:
    return Octets(write(HeartbeatRequest(STAMP), 0))


def up_seid(answer: bytes) -> int:
    """The gateway's SEID in an answer to an establishment."""
    _, body = read(answer)
    told: Any = body
    return int(told.up_fseid.seid)


# --- the client


class Client:
    """One at the control plane's address, at any port."""

    def __init__(self, lab: site.Lab, port: int = PORT) -> None:
        with lab.inside("cp"):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RCVBUF)
        self.socket.bind((SMF, port))
        self.socket.connect((UPF, PORT))
        self._sequence = port

    def close(self) -> None:
        self.socket.close()

    def associate(self) -> None:
        """Begin anew: the gateway ends all sessions of before."""
        data = write(AssociationSetupRequest(HERE, STAMP), self._next())
        answer = self.ask(Octets(data))
        if ACCEPTED not in answer:
            raise RuntimeError(f"no association: {answer.hex()}")

    def ask(self, request: Octets) -> bytes:
        """The answer to one."""
        return self.run([request], 1).answers[0]

    def run(self, requests: Sequence[Octets], window: int) -> Run:
        """Have requests carried out, so many under way at a time; all of them must be accepted."""
        first = self._sequence + 1
        for request in requests:
            at = 12 if request[0] & 1 else 4
            request[at : at + 3] = self._next().to_bytes(3, "big")
        sock, count = self.socket, len(requests)
        answers: list[bytes] = [b""] * count
        sent = [0.0] * count
        took: list[float] = []
        asked = 0
        sock.settimeout(T1_S)
        start = time.perf_counter()
        while len(took) < count:
            while asked < count and asked - len(took) < window:
                sent[asked] = time.perf_counter()
                sock.send(requests[asked])
                asked += 1
            data = sock.recv(4096)
            place = _sequence(data) - first
            if data[1] == MessageType.HEARTBEAT_REQUEST:
                sock.send(write(HeartbeatResponse(STAMP), _sequence(data)))
            elif 0 <= place < count and not answers[place]:
                answers[place] = data
                took.append(time.perf_counter() - sent[place])
        seconds = time.perf_counter() - start
        for answer in answers:
            if answer[1] != MessageType.HEARTBEAT_RESPONSE and ACCEPTED not in answer:
                raise RuntimeError(f"refused: {answer.hex()}")
        return Run(seconds, took, answers)

    def answered(self, requests: Iterator[Octets], pause: float, over: threading.Event) -> Answered:
        """Send a request every `pause` seconds until told to end, whether or not those before are
        answered."""
        sock = self.socket
        sock.settimeout(pause)
        sent: dict[int, float] = {}
        found: Answered = []
        until = float("inf")
        due = time.perf_counter()
        while (now := time.perf_counter()) < until and (sent or until == float("inf")):
            if over.is_set():
                until = min(until, now + T1_S)
            elif now >= due:
                request, number = next(requests), self._next()
                at = 12 if request[0] & 1 else 4
                request[at : at + 3] = number.to_bytes(3, "big")
                due, sent[number] = now + pause, now
                _try_to_send(sock, request)
            try:
                data = sock.recv(4096)
            except (TimeoutError, ConnectionError):
                continue  # or nobody listens there at the moment
            asked = sent.pop(_sequence(data), None)
            if asked is not None:
                found.append((asked, time.perf_counter()))
        return found

    def reports(self, most: int, until: float) -> dict[int, float]:
        """Answer Session Report Requests until so many sessions are reported, or a time: when the
        first of each came, by our SEIDs."""
        sock, found = self.socket, dict[int, float]()
        answer = SessionReportResponse(Cause.ACCEPTED)
        while len(found) < most and (left := until - time.perf_counter()) > 0:
            sock.settimeout(left)
            try:
                data = sock.recv(4096)
            except TimeoutError:
                break
            now, sequence = time.perf_counter(), _sequence(data)
            if data[1] == MessageType.HEARTBEAT_REQUEST:
                sock.send(write(HeartbeatResponse(STAMP), sequence))
            elif data[1] == MessageType.SESSION_REPORT_REQUEST:
                seid = int.from_bytes(data[4:12], "big")
                found.setdefault(seid, now)
                sock.send(write(answer, sequence, seid))
        return found

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence


Answered = list[tuple[float, float]]
"""When a request was sent, and when it was answered, of those that were."""


def _try_to_send(sock: socket.socket, data: Octets) -> None:
    try:
        sock.send(data)
    except ConnectionError:
        sock.send(data)  # the error was of the one before


def _sequence(data: bytes) -> int:
    at = 12 if data[0] & 1 else 4
    return int.from_bytes(data[at : at + 3], "big")


@contextmanager
def asking(
    lab: site.Lab, requests: dict[str, Iterator[Octets]], pause: float
) -> Iterator[dict[str, Answered]]:
    """Have each kind of request asked all the time, while the block is being done; afterwards what
    was answered, and when."""
    found: dict[str, Answered] = {}
    over = threading.Event()
    clients = [Client(lab, PORT + place) for place in range(1, 1 + len(requests))]

    def ask(name: str, client: Client) -> None:
        found[name] = client.answered(requests[name], pause, over)

    threads = [
        threading.Thread(target=ask, args=pair) for pair in zip(requests, clients, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()


@contextmanager
def lab() -> Iterator[site.Lab]:
    """A lab with a link to control planes."""
    with site.lab() as made:
        n4(made)
        yield made


def established(client: Client, numbers: Iterable[int], window: int) -> list[int]:
    """Make sessions and activate them; the gateway's SEIDs."""
    numbers = list(numbers)
    made = client.run([establishment(number) for number in numbers], window)
    seids = [up_seid(answer) for answer in made.answers]
    pairs = zip(numbers, seids, strict=True)
    client.run([activation(number, seid) for number, seid in pairs], window)
    return seids
