"""A gateway to measure, its sessions, and a client that costs little."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.support.lab import ROOT, Lab
from tests.support.stream import SESSION

T = TypeVar("T")
BRIDGE = "br-ofgtp"
OURS = "cookie=0x0f67000000000000/0xffff000000000000"
SESSION_TABLES = (30, 70)
PEERS = 16
"""Addresses of base stations, 10.1.0.2 on. They resolve by ARP and answer no Echo."""

POOL6 = "2001:db8:a::/48"
"""Of UEs' prefixes, where the gateway has IPv6."""

RYU_MANAGER = Path(sys.executable).parent / "ryu-manager"


def until(ask: Callable[[], T], what: str, *, timeout: float = 60.0, pause: float = 0.02) -> T:
    """Ask until the answer is true; returns it.

    Raises:
        TimeoutError: it is not, in time.
    """
    deadline = time.monotonic() + timeout
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(pause)
    return answer


@contextmanager
def lab() -> Iterator[Lab]:
    """A lab whose base station has all the addresses, and whose hosts answer ARP alone."""
    with Lab() as made:
        for number in range(1, PEERS):
            made.exec("enb", ["ip", "addr", "add", f"10.1.0.{2 + number}/24", "dev", "eth0"])
        for name in ("enb", "pdn"):
            made.mute(name)
        yield made


def config(lab: Lab, ownership: str, more: str = "", controller: str = "") -> str:
    """The configuration of all that is measured: the defaults, with room for 131,072 UEs, and
    further lines of the gateway and of the controller."""
    text = lab.config(controller=f'ownership = "{ownership}"\n{controller}', gateway=more)
    pools = '"10.45.0.0/16", "10.46.0.0/16"'
    if "core_ip6" in more:
        pools += f', "{POOL6}"'
    return text.replace('["10.45.0.0/16"]', f"[{pools}]")


def session(number: int) -> dict[str, Any]:
    """Session `number`, from 0 on; the first is the one that the steady stream goes through."""
    if number == 0:
        return SESSION
    return {
        "id": f"imsi-{number:015d}-5",
        "ue_ip": ue(number),
        "uplink": {"teid": SESSION["uplink"]["teid"] + number},
        "downlink": {
            "teid": SESSION["downlink"]["teid"] + number,
            "remote_ip": f"10.1.0.{2 + number % PEERS}",
        },
    }


def ue(number: int) -> str:
    """The UE address of session `number`, if it is not the first."""
    number += 2
    return f"10.{45 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def puts(numbers: Iterable[int]) -> bytes:
    """The body of a batch that puts these sessions."""
    return ndjson({"op": "put", "session": session(number)} for number in numbers)


def deletes(numbers: Iterable[int]) -> bytes:
    """The body of a batch that deletes these sessions."""
    return ndjson({"op": "delete", "id": session(number)["id"]} for number in numbers)


def ndjson(operations: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in operations)


def batch(lab: Lab, body: bytes) -> dict[str, int]:
    """Post a batch, which must be done."""
    head = {"Content-Type": "application/x-ndjson"}
    answer = lab.http("POST", "/v1/sessions:batch", body, headers=head, timeout=120)
    if answer.status != 200:
        raise RuntimeError(f"batch: {answer.status} {answer.body[:500]!r}")
    return dict(answer.json())


# --- the controller


def environment(lab: Lab) -> dict[str, str]:
    """The environment of a controller: as anywhere, Python keeps what it has compiled."""
    return {name: value for name, value in lab.env.items() if name != "PYTHONDONTWRITEBYTECODE"}


def spawn(lab: Lab, ownership: str, more: str = "", controller: str = "") -> float:
    """Start the controller without waiting; when, by perf_counter."""
    path = lab.dir / "ofgtp.toml"
    path.write_text(config(lab, ownership, more, controller))
    with lab.controller_log.open("ab") as output:
        start = time.perf_counter()
        lab.controller = lab.spawn(
            "gw",
            [str(RYU_MANAGER), "ofgtp.app"],
            env={**environment(lab), "OFGTP_CONFIG": str(path)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return start


def started(lab: Lab, ownership: str, more: str = "", controller: str = "") -> dict[str, float]:
    """Start the controller; seconds until REST answered, the switch was there, all was in sync."""
    start = spawn(lab, ownership, more, controller)
    reached: dict[str, float] = {}

    def look() -> bool:
        shown = gateway(lab)
        if shown is not None:
            now = time.perf_counter() - start
            reached.setdefault("answers", now)
            if shown["connected"]:
                reached.setdefault("connected", now)
            if shown["in_sync"] and shown["next_hop"]["mac"]:
                reached["in_sync"] = now
        return "in_sync" in reached

    until(look, "in sync")
    return reached


def gateway(lab: Lab) -> dict[str, Any] | None:
    """The gateway as the API shows it; None while nobody answers."""
    try:
        return dict(lab.http("GET", "/v1/gateways").json()["items"][0])
    except OSError:
        return None


def stop(lab: Lab) -> float:
    """A clean stop; the seconds until the process is gone."""
    assert lab.controller is not None
    start = time.perf_counter()
    lab.controller.send_signal(signal.SIGTERM)
    lab.controller.wait(60)
    lab.controller = None
    return time.perf_counter() - start


def rss(lab: Lab) -> int:
    """The controller's resident memory, in bytes."""
    assert lab.controller is not None
    status = Path(f"/proc/{lab.controller.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def metric(lab: Lab, name: str) -> float:
    """A counter of /metrics, summed over its labels."""
    text = lab.http("GET", "/metrics", timeout=60).body.decode()
    lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(line.split()[-1]) for line in lines)


# --- the switch


def session_flows(lab: Lab) -> list[str]:
    """The sessions' flows as the API gives them for `ovs-ofctl add-flows`."""
    text = lab.http("GET", "/v1/flows?format=ovs-ofctl", timeout=60).body.decode()
    return [line for line in text.splitlines() if line.startswith("cookie=0x0f6703")]


def flow_count(lab: Lab, table: int | None = None) -> int:
    """Flows of ours in the switch."""
    only = OURS if table is None else f"{OURS},table={table}"
    return int(re.search(r"flow_count=(\d+)", lab.ofctl("dump-aggregate", BRIDGE, only))[1])  # type: ignore[index]


def installed(lab: Lab) -> set[str]:
    """The sessions' flows in the switch, without counters."""
    found: set[str] = set()
    for table in SESSION_TABLES:
        text = lab.ofctl("--no-stats", "dump-flows", BRIDGE, f"table={table}")
        found.update(line.strip() for line in text.splitlines() if "cookie=0xf6703" in line)
    return found


def add_bridge(lab: Lab, bridge: str, *, protocols: str = "OpenFlow14") -> None:
    """Another bridge in the same switch, without ports and flows."""
    row = ["datapath_type=netdev", "fail_mode=secure", f"protocols={protocols}"]
    lab.vsctl("add-br", bridge, "--", "set", "bridge", bridge, *row)


def vswitchd(lab: Lab) -> int:
    """The process id of ovs-vswitchd."""
    return int((lab.dir / "ovs-vswitchd.pid").read_text())


# --- requests


class Connection:
    """A kept-alive HTTP connection, and the requests that it is to send one after the other."""

    def __init__(self, lab: Lab, port: int) -> None:
        with lab.inside("gw"):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(30)
        self.sock.connect(("127.0.0.1", port))
        self._read = b""

    def send(self, request: bytes) -> None:
        self.sock.sendall(request)

    def answer(self) -> int | None:
        """Read what is there; the status once an answer is whole, else None."""
        got = self.sock.recv(65536)
        if not got:
            raise ConnectionError("the connection was closed")
        self._read += got
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found:
            return None
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if len(body) < size:
            return None
        self._read = body[size:]
        return int(head.split(b" ", 2)[1])

    def ask(self, request: bytes) -> int:
        """Send a request and wait for its status."""
        self.send(request)
        while (status := self.answer()) is None:
            pass
        return status

    def close(self) -> None:
        self.sock.close()


def request(method: str, path: str, body: object = None, *, port: int = 8080) -> bytes:
    """A request's bytes; the body is sent as JSON."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    if data:
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return head.encode() + b"\r\n" + data


def drive(
    lab: Lab, port: int, connections: int, jobs: Sequence[Sequence[bytes]]
) -> tuple[float, list[float], list[int]]:
    """Do jobs, each some requests one after the other, as many at once as there are connections.

    Returns the seconds for all, those of each job, and the answers' statuses.
    """
    waiting = iter(jobs)
    took: list[float] = []
    statuses: list[int] = []
    with selectors.DefaultSelector() as selector:
        busy = 0
        for _ in range(connections):
            connection = Connection(lab, port)
            selector.register(connection.sock, selectors.EVENT_READ, [connection, iter(()), 0.0])

        def more(state: list[Any]) -> bool:
            """Send the connection's next request: of its job, or the first of the next job."""
            nonlocal busy
            following = next(state[1], None)
            if following is None:
                if state[2]:
                    took.append(time.perf_counter() - state[2])
                job = next(waiting, None)
                if job is None:
                    return False
                state[1], state[2] = iter(job), time.perf_counter()
                following = next(state[1])
            state[0].send(following)
            return True

        start = time.perf_counter()
        states = [key.data for key in selector.get_map().values()]
        busy = sum(more(state) for state in states)
        while busy:
            for key, _ in selector.select(30):
                status = key.data[0].answer()
                if status is not None:
                    statuses.append(status)
                    busy -= not more(key.data)
        seconds = time.perf_counter() - start
        for state in states:
            state[0].close()
    return seconds, took, statuses


def file(lab: Lab, name: str, lines: Iterable[str]) -> str:
    """A file of the lab with these lines; its path."""
    path = lab.dir / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return os.fspath(path)
