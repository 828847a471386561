"""Packets for idle UEs: how soon somebody is told, and whether all of them arrive in order."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from benchmarks import control_plane, site
from benchmarks.control_plane import Client
from benchmarks.measure import Row, figure, quantile
from ofgtp.core.pfcp.wire.header import MessageType, parse_header
from ofgtp.core.pfcp.wire.messages import SessionReportResponse, write
from tests.support.paging import inside, number_of, numbered
from tests.support.site import is_echo, is_gtpu

ROUNDS = 200
"""UEs that are paged one after the other."""
UES, EACH = 1000, 3
"""UEs that are paged at once, and packets for each of them."""
RATE, CYCLES, PHASE_S = 1000, 20, 0.3
"""Packets a second to one UE, how often it sleeps, and how long it sleeps and wakes in turn."""
CHUNK, AT_ONCE = 40, 10_000
"""Frames that are sent in one piece, and packets a second where UEs get theirs at once."""
WINDOW = 64
SETTLE_S = 1.0


def run(
    sessions: int,
    *,
    rounds: int = ROUNDS,
    ues: int = UES,
    cycles: int = CYCLES,
    rate: int = RATE,
) -> list[Row]:
    """The rows `first packet`, `paging at once` and `one UE`."""
    del sessions  # it is not a matter of how many there are
    with control_plane.lab() as lab:
        site.started(lab, "switch", control_plane.CONFIG)
        client = Client(lab)
        client.associate()
        wires = _Wires(lab)
        # The base stations are known to the switch, as those of a network at work are.
        control_plane.established(client, range(site.PEERS), 1)
        rows = [
            _first(client, wires, range(100, 100 + rounds)),
            _at_once(client, wires, range(1000, 1000 + ues)),
            _one(client, wires, 5000, cycles, rate),
        ]
        client.close()
        return rows


class _Wires:
    """The core host's side, and that of the base stations."""

    def __init__(self, lab: site.Lab) -> None:
        self._pdn, self._enb = lab.port("pdn"), lab.port("enb")
        to, own = lab.mac("gw", "eth2"), lab.mac("pdn")
        self._head = b"".join(bytes.fromhex(mac.replace(":", "")) for mac in (to, own)) + b"\x08\0"
        self.came: dict[int, list[int]] = defaultdict(list)
        """By TEID the numbers of packets."""

    def frames(self, number: int, packets: Iterable[int]) -> list[bytes]:
        """Packets for the UE of a session."""
        ue = site.ue(control_plane.FIRST_UE + number)
        return [self._head + each for each in numbered(ue, packets)]

    def send(self, *frames: bytes) -> None:
        """In chunks, as a socket that is read by a switch holds no thousand frames."""
        for start in range(0, len(frames), CHUNK):
            self._pdn.send(*frames[start : start + CHUNK])
            if len(frames) > CHUNK:
                time.sleep(CHUNK / AT_ONCE)

    def look(self) -> None:
        """Take what has come."""
        for frame in self._enb.receive(quiet=0.02, timeout=5.0):
            if is_gtpu(frame) and not is_echo(frame):
                teid = int.from_bytes(frame[46:50], "big")
                self.came[teid].append(number_of(inside(frame)[1]))


def _idle(client: Client, numbers: Sequence[int]) -> list[int]:
    """Sessions whose UEs are idle; the gateway's SEIDs."""
    made = client.run([control_plane.establishment(number) for number in numbers], WINDOW)
    return [control_plane.up_seid(answer) for answer in made.answers]


def _reports(sock: socket.socket, count: int) -> Iterator[float]:
    """When each of so many Session Report Requests came; they are answered."""
    sock.settimeout(10.0)
    while count:
        data = sock.recv(4096)
        header = parse_header(data)
        if header.type is MessageType.SESSION_REPORT_REQUEST:
            count -= 1
            yield time.perf_counter()
            sock.send(write(SessionReportResponse(1), header.sequence, header.seid or 0))


def _first(client: Client, wires: _Wires, numbers: Sequence[int]) -> Row:
    seids = _idle(client, numbers)
    took = []
    for number in numbers:
        frames = wires.frames(number, [0])
        start = time.perf_counter()
        wires.send(*frames)
        [came] = _reports(client.socket, 1)
        took.append(came - start)
    client.run([control_plane.deletion(seid) for seid in seids], WINDOW)
    median, late = quantile(took, 0.5), quantile(took, 0.99)
    return Row(
        "first packet for an idle UE, until its control plane is told",
        f"{figure(median * 1e3)} ms median, {figure(late * 1e3)} ms 99th percentile",
        reach="median below 5 ms",
        reached=median < 5e-3,
        notes=[
            f"From the packet on the core host's wire to the Session Report Request at the control "
            f"plane's socket; {len(took)} UEs, one after the other."
        ],
    )


def _at_once(client: Client, wires: _Wires, numbers: Sequence[int]) -> Row:
    seids = _idle(client, numbers)
    packets = [wires.frames(number, range(EACH)) for number in numbers]
    start = time.perf_counter()
    sender = threading.Thread(
        target=lambda: [wires.send(*some) for some in zip(*packets, strict=True)]
    )
    sender.start()
    told = max(_reports(client.socket, len(numbers))) - start
    sender.join()
    time.sleep(SETTLE_S)
    woken = client.run(
        [control_plane.activation(*pair) for pair in zip(numbers, seids, strict=True)], WINDOW
    )
    time.sleep(SETTLE_S)
    wires.look()
    right = [wires.came[0x20000 + number] == [*range(EACH)] for number in numbers]
    client.run([control_plane.deletion(seid) for seid in seids], WINDOW)
    return Row(
        f"{len(numbers):,} idle UEs get packets at once, until all are told",
        f"{figure(told)} s; of {sum(right):,} UEs all packets delivered in order",
        reach="2 s, all of them",
        reached=told <= 2 and all(right),
        notes=[
            f"{EACH} packets for each of the UEs, one for each in turn, {AT_ONCE:,} a second. Once"
            f" all are told they are woken up in {figure(woken.seconds)} s, {WINDOW} requests under"
            " way."
        ],
    )


def _one(client: Client, wires: _Wires, number: int, cycles: int, rate: int) -> Row:
    [seid] = _idle(client, [number])
    over = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        due = time.perf_counter()
        while not over.is_set():
            wires.send(*wires.frames(number, [sent]))
            sent += 1
            due += 1 / rate
            time.sleep(max(due - time.perf_counter(), 0))

    sender = threading.Thread(target=send)
    sender.start()
    for _ in range(cycles):
        time.sleep(PHASE_S)
        client.ask(control_plane.activation(number, seid))
        time.sleep(PHASE_S)
        client.ask(control_plane.sleep(seid))
    time.sleep(PHASE_S)
    client.ask(control_plane.activation(number, seid))
    over.set()
    sender.join()
    time.sleep(SETTLE_S)
    wires.look()
    came = wires.came[0x20000 + number]
    lost = sent - len(set(came))
    late = sum(after < before for before, after in itertools.pairwise(came))
    client.run([control_plane.deletion(seid)], 1)
    return Row(
        f"one UE at {rate:,} packets a second, idle and active in turn {cycles} times",
        f"{lost} lost, {late} out of order, of {sent:,}",
        reach="0 and 0",
        reached=not lost and not late,
        notes=[
            f"{PHASE_S * 1e3:.0f} ms idle and as long active; what comes while it is idle is held,"
            " and sent on before the flow. Out of order is a packet with a lower number than the"
            " one before it."
        ],
    )
