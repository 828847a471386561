"""A lab's hosts as endpoints of packets: base stations with tunnels, and whoever is beyond.

    gw = World(lab)
    enb, pdn = Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", "10.2.0.2")
    gw.session("a", "10.45.0.2", teid=1, downlink=2, peer="10.1.0.2")
    gw.up(enb, 1, ip("10.45.0.2", "10.2.0.2"), pdn)

Packets are made and read by scapy, which shares nothing with the gateway.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.support.lab import Lab, Response
from tests.support.ownership import EPOCH

T = TypeVar("T")
GTPU_PORT = 2152
_marks = itertools.count(1)


def until(ask: Callable[[], T], what: str, *, timeout: float = 20.0, pause: float = 0.05) -> T:
    """Ask until the answer is true, and return it; AssertionError with the last one if late."""
    deadline = time.monotonic() + timeout
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what} (last: {answer!r})")
        time.sleep(pause)
    return answer


def ip(src: str, dst: str, *, ttl: int = 64, tos: int = 0, port: int = 4000) -> Packet:
    """A UDP packet with a payload of its own, by which it is known again."""
    mark = f"packet {next(_marks):08d} of the test".encode()
    return IP(src=src, dst=dst, ttl=ttl, tos=tos) / UDP(sport=4001, dport=port) / Raw(mark)


def mark(packet: Packet) -> bytes:
    """What makes a packet of `ip` recognisable."""
    return bytes(packet)[-len(b"packet 00000000 of the test") :]


class Host:
    """A namespace's interface as an endpoint of raw frames."""

    def __init__(self, lab: Lab, name: str, address: str, dev: str = "eth0") -> None:
        self.lab, self.name, self.address = lab, name, address
        self.port = lab.port(name, dev)
        self.mac = lab.mac(name, dev)

    def got(self, packet: Packet, timeout: float = 10.0) -> Packet | None:
        """The frame that carries the packet's mark; None if none comes in time."""
        wanted, here = mark(packet), bytes.fromhex(self.mac.replace(":", ""))
        frames = self.port.receive(
            1,
            # the lab's LAN floods what it has not learned yet: another's frame is none of ours
            want=lambda frame: frame[:6] == here and wanted in frame,
            timeout=timeout,
        )
        return Ether(frames[0]) if frames else None

    def reached(self, packet: Packet, send: Callable[[], None], timeout: float = 20.0) -> Packet:
        """Send again and again until it comes: the first ones are lost while ARP resolves."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            send()
            if (frame := self.got(packet, timeout=0.3)) is not None:
                return frame
        raise AssertionError(f"{self.name} never got {packet.summary()}")


def inner(frame: Packet) -> Packet:
    """The packet in a T-PDU."""
    found: Packet = frame[GTP_U_Header].payload
    return found


@dataclass
class World:
    """A running gateway of a lab: its REST API, its switch, its two sides."""

    lab: Lab
    name: str = "gw1"
    bridge: str = "br-ofgtp"

    # REST

    def report(self) -> dict[str, Any]:
        """The gateway as /v1/gateways shows it."""
        items = self.lab.http("GET", "/v1/gateways").json()["items"]
        (found,) = (item for item in items if item["name"] == self.name)
        return dict(found)

    def drops(self, reason: str) -> int:
        """Packets dropped for that reason."""
        return int(self.report()["drops"][reason])

    def session(
        self,
        session_id: str,
        ue_ip: str,
        teid: int,
        downlink: int | None = None,
        peer: str = "10.1.0.2",
        *,
        expect: tuple[int, ...] = (200, 201),
    ) -> dict[str, Any]:
        """PUT a session; its JSON."""
        answer = self.put(session_id, body(ue_ip, teid, downlink, peer, gateway=self.name))
        assert answer.status in expect, answer.body
        return dict(answer.json())

    def put(self, session_id: str, resource: dict[str, Any]) -> Response:
        """PUT whatever it is."""
        return self.lab.http("PUT", f"/v1/sessions/{session_id}", resource)

    def get(self, session_id: str) -> dict[str, Any]:
        """GET a session that is there."""
        answer = self.lab.http("GET", f"/v1/sessions/{session_id}")
        assert answer.status == 200, answer.body
        return dict(answer.json())

    def state(self, session_id: str) -> str:
        """A session's state."""
        return str(self.get(session_id)["state"])

    def sessions(self) -> list[dict[str, Any]]:
        """All sessions, page by page."""
        found: list[dict[str, Any]] = []
        path = "/v1/sessions?limit=500"
        while True:
            page = self.lab.http("GET", path).json()
            found += page["items"]
            if page["next"] is None:
                return found
            path = f"/v1/sessions?limit=500&cursor={page['next']}"

    def batch(self, *ops: dict[str, Any]) -> Response:
        """POST a batch."""
        lines = b"\n".join(json.dumps(op).encode() for op in ops)
        head = {"Content-Type": "application/x-ndjson"}
        return self.lab.http("POST", "/v1/sessions:batch", lines, headers=head)

    def clear(self) -> None:
        """Delete every session."""
        if found := self.sessions():
            answer = self.batch(*({"op": "delete", "id": each["id"]} for each in found))
            assert answer.status == 200, answer.body

    # the switch

    def flows(self, *only: str) -> list[str]:
        """The switch's flows, without counters, sorted; the epoch, a random number, is masked."""
        argv = ["dump-flows", "--no-stats", self.bridge, *only]
        lines = EPOCH.sub("epoch", self.lab.ofctl(*argv)).splitlines()
        return sorted(line.strip() for line in lines if "actions=" in line)

    def wanted(self) -> str:
        """The flows that ofgtp says it wants, as ovs-ofctl's text."""
        answer = self.lab.http("GET", f"/v1/flows?format=ovs-ofctl&gateway={self.name}")
        assert answer.status == 200, answer.body
        return answer.body.decode()

    def difference(self) -> list[str]:
        """What `ovs-ofctl diff-flows` finds between our flows in the switch and the wanted ones.

        It names some fragment matches on both sides although they are equal: those are left out.
        """
        text = self.lab.dir / "wanted.flows"
        text.write_text(self.wanted())
        argv = ["ovs-ofctl", "-O", "OpenFlow14", "diff-flows", self.bridge, str(text)]
        done = self.lab.exec("gw", argv, check=False)
        assert done.returncode in (0, 2), done.stderr
        lines = [line for line in done.stdout.splitlines() if "cookie=0xf67" in line]
        other = {"-": "+", "+": "-"}
        return [line for line in lines if other[line[0]] + line[1:] not in lines]

    def in_sync(self) -> bool:
        """Whether the gateway says so, and the switch has exactly what is wanted."""
        return bool(self.report()["in_sync"]) and not self.difference()

    # packets

    def tunnel(self, enb: Host, teid: int, packet: Packet, *, via: str | None = None) -> bytes:
        """A T-PDU from a base station to the gateway; `via` is a router's MAC."""
        access = self.report_access
        return bytes(
            Ether(src=enb.mac, dst=via or access["mac"])
            / IP(src=enb.address, dst=access["ip"].split("/")[0])
            / UDP(sport=GTPU_PORT, dport=GTPU_PORT)
            / GTP_U_Header(teid=teid, gtp_type=255)
            / packet
        )

    @property
    def report_access(self) -> dict[str, str]:
        """MAC and address of the access side; they stay while the gateway exists."""
        if not hasattr(self, "_access"):
            self._access = self.report()["access"]
        return dict(self._access)

    @property
    def core_mac(self) -> str:
        """MAC of the core side's device."""
        if not hasattr(self, "_core_mac"):
            self._core_mac = str(self.report()["core"]["mac"])
        return self._core_mac

    def up(
        self, enb: Host, teid: int, packet: Packet, to: Host, *, via: str | None = None
    ) -> Packet:
        """Send a packet from a UE until it has reached the core host; the frame it got."""
        frame = self.tunnel(enb, teid, packet, via=via)
        return to.reached(packet, lambda: enb.port.send(frame))

    def down(self, host: Host, packet: Packet, enb: Host, *, to_mac: str | None = None) -> Packet:
        """Send a packet from the core until it has reached the base station; the frame it got."""
        frame = bytes(Ether(src=host.mac, dst=to_mac or self.core_mac) / packet)
        return enb.reached(packet, lambda: host.port.send(frame))

    def ping(self, enb: Host, teid: int, ue_ip: str, to: str, *, via: str | None = None) -> Packet:
        """A UE's ping: the echo reply as it came back through the tunnel, outer headers too."""
        sign = f"ping {next(_marks):08d} of the tests".encode()
        echo = IP(src=ue_ip, dst=to) / ICMP(type=8, id=7, seq=1) / Raw(sign)
        frame = self.tunnel(enb, teid, echo, via=via)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            enb.port.send(frame)
            for answer in enb.port.receive(1, want=lambda got: sign in got, timeout=0.3):
                found = Ether(answer)
                assert inner(found)[ICMP].type == 0 and inner(found)[IP].dst == ue_ip
                return found
        raise AssertionError(f"UE {ue_ip} has no answer from {to}")


def body(
    ue_ip: str,
    teid: int,
    downlink: int | None = None,
    peer: str = "10.1.0.2",
    gateway: str | None = "gw1",
    **more: Any,
) -> dict[str, Any]:
    """A session as REST takes it."""
    down = None if downlink is None else {"teid": downlink, "remote_ip": peer}
    head = {} if gateway is None else {"gateway": gateway}
    return {**head, "ue_ip": ue_ip, "uplink": {"teid": teid}, "downlink": down, **more}
