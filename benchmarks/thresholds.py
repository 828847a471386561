"""Thresholds of URRs: how late their reports come, while packets of all sessions pass."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import blast, control_plane, site, traffic
from benchmarks.control_plane import FIRST_UE, Client, Octets
from benchmarks.measure import Row, figure, quantile
from ofgtp.core.pfcp.wire.enums import Triggers
from ofgtp.core.pfcp.wire.messages import SessionEstablishmentRequest, read, write
from ofgtp.core.pfcp.wire.values import Bitrates, Volume

URRS = 10_000
PACKETS_A_SECOND, LENGTH = 50_000, 200
SHARE = 0.5
"""Of what the switch can forward, if that is less: with packets lost nobody knows when a threshold
was reached."""
MBR_KBPS = 10_000
FIRST_S, LAST_S = 5.0, 35.0
"""When the first and the last threshold is reached."""
MORE_S, WAIT_S, FLOOD_S = 2.0, 5.0, 1.5
"""Packets go on for so long, and reports are waited for so long behind them."""
WINDOW = 16


def run(
    sessions: int, *, first_s: float = FIRST_S, last_s: float = LAST_S, flood_s: float = FLOOD_S
) -> list[Row]:
    """Each session has a URR, whose threshold is reached at a time of its own."""
    count = min(URRS, sessions)
    with control_plane.lab() as lab:
        site.started(lab, "switch", control_plane.CONFIG)
        client = Client(lab)
        client.associate()
        traffic.pin(lab)
        rate = _rate(lab, client, count, flood_s)
        step = (last_s - first_s) / count
        packets = [int((first_s + step * number) * rate / count) + 1 for number in range(count)]
        _establish(client, range(count), packets)
        path = blast.write(lab.dir / "frames", _frames(lab, range(count)))
        before = traffic.counters(lab, "enb")[1]
        seconds = last_s + MORE_S
        with traffic.sending(lab, "downlink", path, rate=rate, seconds=seconds) as sender:
            start, busy = time.perf_counter(), _busy(lab)
            came = client.reports(count, start + seconds)
            share = (_busy(lab) - busy) / (time.perf_counter() - start)
            sent = int(sender.stdout.readline())  # type: ignore[union-attr]
            arrived = traffic.counters(lab, "enb")[1] - before
        came = client.reports(count - len(came), time.perf_counter() + WAIT_S) | came
        client.close()
    # Packets that were lost, if any, reach no threshold: each is reached later by as much.
    passed = rate * arrived / sent
    late = [
        at - start - ((packets[seid - 1] - 1) * count + seid - 1) / passed
        for seid, at in came.items()
    ]
    between = f"from {first_s:g} to {last_s:g} s on"
    return [_row(count, rate, between, late, share, arrived / sent)]


def _rate(lab: site.Lab, client: Client, number: int, seconds: float) -> int:
    """Packets a second to send: as many as the switch takes with ease."""
    _establish(client, [number], [1 << 40])
    frames = _frames(lab, [number])
    traffic.arrives(lab, "downlink", frames, inner=bytes(LENGTH - 28))
    path = blast.write(lab.dir / "frames", frames)
    with traffic.sending(lab, "downlink", path, rate=0, seconds=seconds + traffic.IDLE_S):
        run = traffic.window(lab, "downlink", seconds)
    return min(PACKETS_A_SECOND, int(SHARE * run.rate))


def _frames(lab: site.Lab, numbers: Iterable[int]) -> list[bytes]:
    there = traffic.ends(lab)
    return [
        traffic.frame(
            "downlink", there, {"ue_ip": site.ue(FIRST_UE + number)}, ttl=64, length=LENGTH
        )
        for number in numbers
    ]


def _establish(client: Client, numbers: Iterable[int], packets: Sequence[int]) -> None:
    """Sessions whose thresholds are so many packets."""
    numbers, requests = list(numbers), []
    for number, most in zip(numbers, packets, strict=True):
        _, body = read(bytes(control_plane.establishment(number)))
        assert isinstance(body, SessionEstablishmentRequest)
        [urr], [qer] = body.create_urrs, body.create_qers
        urr = urr._replace(
            reporting_triggers=Triggers.VOLTH, volume_threshold=Volume(total=most * LENGTH)
        )
        qer = qer._replace(mbr=Bitrates(MBR_KBPS, MBR_KBPS))
        body = body._replace(create_urrs=(urr,), create_qers=(qer,))
        requests.append(Octets(write(body, 0, 0)))
    made = client.run(requests, WINDOW)
    seids = [control_plane.up_seid(answer) for answer in made.answers]
    ways = [
        control_plane.activation(number, seid) for number, seid in zip(numbers, seids, strict=True)
    ]
    client.run(ways, WINDOW)


def _busy(lab: site.Lab) -> float:
    """Seconds of processor time that the controller has had."""
    assert lab.controller is not None
    fields = Path(f"/proc/{lab.controller.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _row(
    count: int, rate: int, between: str, late: Sequence[float], share: float, arrived: float
) -> Row:
    worst = max(late) if len(late) == count else float("inf")
    middle, most = quantile(late, 0.5), quantile(late, 0.99)
    return Row(
        f"reports of {count:,} URRs at their thresholds",
        f"{figure(middle)} s median, {figure(most)} s 99th percentile, {figure(max(late))} s",
        reach="1 s",
        reached=worst <= 1.0,
        notes=[
            f"{rate:,} packets/s of {LENGTH} octets, to all UEs in turn; each URR has a threshold "
            f"of its own, which is reached {between}. From the packet "
            "that reaches it until the Session Report Request is read by the control plane: "
            f"{len(late):,} reports. QERs: {MBR_KBPS / 1000:g} Mbit/s each way.",
            f"{arrived:.2%} of the packets arrive. The controller has {share:.0%} of a core.",
        ],
    )
