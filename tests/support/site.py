"""A gateway at work between base stations and a core host, and what goes in and comes out of it.

    site = Site(lab)
    site.session("10.45.0.2", teid=0x1001, downlink=0x2001)
    with site.counted(ue_to_ue=1):
        assert site.uplink(site.t_pdu(0x1001, inner)) == []

Nothing here waits for a fixed time to see that nothing comes: a packet of a session that works,
the marker, is sent behind, and what came before it is all there will be.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from ofgtp.core.flows.balance import SETTLE_S
from ofgtp.core.flows.drops import LOST_DOWNLINK, LOST_UPLINK, NOT_TAKEN
from tests.support import gtpu, tshark
from tests.support.lab import Lab, RawPort

ACCESS_IP, CORE_IP, PDN_IP = "10.1.0.1", "10.2.0.1", "10.2.0.2"
ENB_IP = {"enb": "10.1.0.2", "enb2": "10.1.0.3", "enb3": "10.1.0.4"}
BRIDGE = "br-ofgtp"

MARKER_UE, MARKER_UP, MARKER_DOWN = "10.45.254.254", 0xFEED_0001, 0xFEED_0002
MARK = b"ofgtp-marker-"
LATE = (LOST_UPLINK, LOST_DOWNLINK, *NOT_TAKEN.values())
"""Counters that are reckoned from others, some seconds late."""
CHUNK = 40
"""Frames sent at once: fewer than a socket's receive buffer holds."""


def until(condition: Callable[[], Any], what: str, timeout: float = 20.0) -> Any:
    """Wait until the condition is true; its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return value


class Wire:
    """A raw port that remembers all that came in by it."""

    def __init__(self, port: RawPort) -> None:
        self._port = port
        self.seen: list[bytes] = []

    def send(self, *frames: Any) -> None:
        self._port.send(*frames)

    def next(self, timeout: float) -> bytes | None:
        """The next frame, None if none comes in time."""
        frames = self._port.receive(1, timeout=timeout)
        self.seen += frames
        return frames[0] if frames else None

    def all(self, quiet: float = 0.001) -> list[bytes]:
        """Frames that are there, or come until it was quiet for that time, in seconds."""
        frames = self._port.receive(quiet=quiet, timeout=max(10 * quiet, 1.0))
        self.seen += frames
        return frames


class Site:
    """A lab with a running controller; the hosts' own stacks answer nothing but ARP."""

    def __init__(self, lab: Lab, config: str | None = None, *, marker_ue: str = MARKER_UE) -> None:
        self.lab, self._marker_ue = lab, marker_ue
        for name in (*lab.enbs, "pdn"):
            lab.mute(name)
        self.enbs = {name: Wire(lab.port(name)) for name in lab.enbs}
        self.enb, self.pdn = self.enbs["enb"], Wire(lab.port("pdn"))
        self.enb_mac = {name: lab.mac(name) for name in lab.enbs}
        self.pdn_mac = lab.mac("pdn")
        lab.start_controller(config)
        self.local_mac = lab.mac("gw", BRIDGE)
        self.core_mac = lab.mac("gw", "eth2")
        self._marks = itertools.count(1)

    def ready(self) -> None:
        """Wait until both ways work: the next hop has answered ARP, and the first peer too."""
        until(lambda: self.gateway()["next_hop"]["state"] == "resolved", "the next hop answers")
        self.session(self._marker_ue, teid=MARKER_UP, downlink=MARKER_DOWN)
        self.warm("enb", self._marker_ue, MARKER_DOWN)

    def warm(self, enb: str, ue_ip: str, teid: int) -> None:
        """Send to a UE until its base station gets it: the switch resolves the peer meanwhile."""
        packet = gtpu.ipv4(PDN_IP, ue_ip)

        def arrived() -> bool:
            self.pdn.send(self.to_ue(packet))
            return any(is_gtpu(frame, teid) for frame in self.enbs[enb].all(0.05))

        until(arrived, f"downlink packets reach {enb}")

    # sessions

    def session(
        self,
        ue_ip: str,
        *,
        teid: int,
        downlink: int | None = None,
        peer: str = ENB_IP["enb"],
        pinned: str | None = None,
        **members: Any,
    ) -> str:
        """Make a session by REST; its id. `downlink` is its TEID at `peer`."""
        uplink: dict[str, Any] = {"teid": teid}
        if pinned is not None:
            uplink["remote_ip"] = pinned
        far = None if downlink is None else {"teid": downlink, "remote_ip": peer}
        name = f"ue-{ue_ip}"
        body = {"id": name, "ue_ip": ue_ip, "uplink": uplink, "downlink": far, **members}
        answer = self.lab.http("PUT", f"/v1/sessions/{name}", body)
        assert answer.status in (200, 201), answer.body
        assert answer.json()["state"] == "active", answer.body
        return name

    def patch(self, session: str, change: dict[str, Any]) -> None:
        """A merge patch, confirmed by the switch."""
        answer = self.lab.http("PATCH", f"/v1/sessions/{session}", change)
        assert answer.status == 200, answer.body
        assert answer.json()["state"] == "active", answer.body

    def delete(self, session: str) -> None:
        answer = self.lab.http("DELETE", f"/v1/sessions/{session}")
        assert answer.status == 204, answer.body

    def cache_follows(self, frame: bytes, *, passes: bool, enb: str = "enb") -> None:
        """Wait until the datapath's cache does with an uplink packet what the flows say: after the
        barrier it may lag for some milliseconds (docs/ovs-faults.md)."""
        until(lambda: bool(self.uplink(frame, enb=enb)) is passes, "the cache follows the flows")

    def empty_cache(self) -> None:
        """Have the switch empty its cache: what comes from now on goes by the flows as they are now
        (see `cache_follows`), and their counters are up to date.

        So what a change leaves in the cache is not to be tested across this.
        """
        self.lab.appctl("revalidator/purge")

    # packets in

    def from_enb(self, gtp: bytes, *, enb: str = "enb", **changes: Any) -> bytes:
        """A GTP-U packet from a base station to the gateway; `changes` are datagram's arguments."""
        frame: dict[str, Any] = {
            "source": ENB_IP[enb],
            "destination": ACCESS_IP,
            "eth_src": self.enb_mac[enb],
            "eth_dst": self.local_mac,
        }
        return gtpu.datagram(gtp, **(frame | changes))

    def t_pdu(
        self, teid: int, inner: bytes, *, flags: int = gtpu.PLAIN, enb: str = "enb", **changes: Any
    ) -> bytes:
        """A T-PDU from a base station."""
        return self.from_enb(gtpu.t_pdu(teid, inner, flags=flags), enb=enb, **changes)

    def to_ue(self, packet: bytes, *, eth_dst: str | None = None) -> bytes:
        """A packet from the core host to the gateway."""
        return bytes(Ether(src=self.pdn_mac, dst=eth_dst or self.core_mac, type=0x800)) + packet

    # packets through

    def uplink(self, *frames: bytes, enb: str = "enb") -> list[bytes]:
        """Send on the access side; what comes out at the core host, but ARP and what the gateway
        asks IPv6's next hop."""
        self.pdn.all()
        got: list[bytes] = []
        for chunk in _chunks(frames):
            self.enbs[enb].send(*chunk)
            got += self._until_marker(self._mark_uplink, self.pdn)
        return [frame for frame in got if frame[12:14] != b"\x08\x06" and not asks_neighbour(frame)]

    def downlink(self, *frames: bytes) -> list[bytes]:
        """Send on the core side; what comes out at the first base station, but ARP and what is
        unasked (`is_unasked`)."""
        for wire in self.enbs.values():
            wire.all()
        got: list[bytes] = []
        for chunk in _chunks(frames):
            self.pdn.send(*chunk)
            got += self._until_marker(self._mark_downlink, self.enb)
        return [frame for frame in got if frame[12:14] != b"\x08\x06" and not is_unasked(frame)]

    def back(self, *frames: bytes) -> list[bytes]:
        """Send on the core side; what comes back there, ARP too."""
        self.pdn.all()
        for chunk in _chunks(frames):
            self.pdn.send(*chunk)
            self._until_marker(self._mark_downlink, self.enb)
        return self.pdn.all()

    def at_once(
        self, frames: Sequence[bytes], sender: Wire, receiver: Wire, count: int
    ) -> list[bytes]:
        """What comes, `count` IPv4 packets at least, of frames that the switch reads together, and
        so sends together."""
        pid = int((self.lab.dir / "ovs-vswitchd.pid").read_text())
        receiver.all()
        os.kill(pid, signal.SIGSTOP)
        try:
            sender.send(*frames)
        finally:
            os.kill(pid, signal.SIGCONT)
        got: list[bytes] = []

        def there() -> bool:
            came = (frame for frame in receiver.all(0.02) if frame[12:14] == b"\x08\x00")
            got.extend(frame for frame in came if not is_echo(frame))
            return len(got) >= count

        until(there, f"{count} of {len(frames)} frames come through")
        return got

    def _mark_uplink(self, mark: bytes) -> None:
        packet = gtpu.ipv4(self._marker_ue, PDN_IP)[: -len(mark)] + mark
        self.enb.send(self.t_pdu(MARKER_UP, packet))

    def _mark_downlink(self, mark: bytes) -> None:
        packet = gtpu.ipv4(PDN_IP, self._marker_ue)[: -len(mark)] + mark
        self.pdn.send(self.to_ue(packet))

    def _until_marker(self, send: Callable[[bytes], None], wire: Wire) -> list[bytes]:
        """What comes before the second of two markers: the first may overtake within a batch."""
        got: list[bytes] = []
        for _ in range(2):
            mark = MARK + next(self._marks).to_bytes(4, "big")
            send(mark)
            deadline = time.monotonic() + 20
            while (frame := wire.next(max(deadline - time.monotonic(), 0.001))) is not None:
                if frame.endswith(mark):
                    break
                got.append(frame)
            assert frame is not None, "a session that works does not work any more"
        return [frame for frame in got if MARK not in frame]

    # what the gateway says

    def gateway(self) -> dict[str, Any]:
        answer = self.lab.http("GET", "/v1/gateways")
        assert answer.status == 200, answer.body
        gateway: dict[str, Any] = answer.json()["items"][0]
        return gateway

    def counters(self) -> dict[str, int]:
        """All drop counters, and under `seen_…` what the controller made of uplink misses."""
        self.empty_cache()
        gateway = self.gateway()
        return gateway["drops"] | {
            f"seen_{kind}": count for kind, count in gateway["uplink_misses_seen"].items()
        }

    def settled(self) -> dict[str, int]:
        """The same when all that is reckoned from them is known, too."""
        end = time.monotonic() + 2.5 * SETTLE_S
        while time.monotonic() < end:
            before = self.counters()
            time.sleep(SETTLE_S / 4)
        return before

    @contextmanager
    def counted(self, *, ignore: Sequence[str] = (), **expected: int) -> Iterator[None]:
        """Within, exactly these counters go up, by exactly so much, and no other. Those that are
        reckoned, and late, may if they are not among them."""
        late = [name for name in LATE if not expected.get(name)]
        ignore = [*ignore, *late]
        before = self.counters() if len(late) == len(LATE) else self.settled()
        yield
        wanted = {name: count for name, count in expected.items() if count}
        deadline = time.monotonic() + 10
        while (got := self._risen(before, ignore)) != wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        assert got == wanted, f"counters rose by {got}, not by {wanted}"

    def _risen(self, before: dict[str, int], ignore: Sequence[str]) -> dict[str, int]:
        risen = Counter(self.counters())
        risen.subtract(before)
        return {name: count for name, count in risen.items() if count and name not in ignore}

    def packets(self, *parts: str) -> int:
        """Packets counted by the flows whose text has all these parts."""
        self.empty_cache()
        lines = self.lab.ofctl("dump-flows", BRIDGE).splitlines()
        found = [line for line in lines if all(part in line for part in parts)]
        assert found, f"no flow with {parts}"
        return sum(int(re.search(r"n_packets=(\d+)", line)[1]) for line in found)  # type: ignore[index]

    def alive(self) -> None:
        """Switch and controller run, as started, and work together."""
        assert self.lab.switch_alive(), "Open vSwitch has ended"
        assert self.lab.controller is not None and self.lab.controller.poll() is None
        assert self.lab.http("GET", "/v1/health").status == 200

    # what it sent

    def check_sent(self) -> None:
        """Every packet that came out so far has right lengths and checksums, tshark agrees, and
        towards base stations it sent nothing but GTP-U, ARP and ping replies."""
        for wire in self.enbs.values():
            wire.all()
            mine = [frame for frame in wire.seen if frame[6:12] == _mac_bytes(self.local_mac)]
            for frame in mine:
                gtpu.check_frame(frame)
                assert _known_on_access(frame), f"on the access side: {Ether(frame).summary()}"
            tunnelled = f"eth.src == {self.local_mac} && udp.dstport == {gtpu.PORT}"
            fields = ["udp.checksum.status", "ip.checksum.status", "frame.number"]
            for udp, ip, number in tshark.rows(wire.seen, fields, tunnelled):
                right = (GOOD,) if not ip else UDP_CHECKSUM_RIGHT
                assert udp in right and ip in (GOOD, ""), f"tshark: frame {number}"


UNASKED = (gtpu.ECHO_REQUEST, gtpu.ECHO_RESPONSE, gtpu.ERROR_INDICATION)

GOOD, NOT_PRESENT = "1", "3"
UDP_CHECKSUM_RIGHT = (GOOD, NOT_PRESENT)
"""tshark's udp.checksum.status; bad is 0."""


def _known_on_access(frame: bytes) -> bool:
    packet = Ether(frame)
    if ARP in packet:
        return True
    if packet.type == 0x86DD:
        # neighbour discovery, ping replies, and GTP-U
        return frame[20] == 17 or (frame[20] == 58 and frame[54] in (129, 135, 136))
    if packet.type != 0x0800:
        return False
    proto = frame[23]
    if proto == 1:
        return frame[34] == 0
    # an Echo Response goes from this port to any that the request came from
    return proto == 17 and gtpu.PORT.to_bytes(2, "big") in (frame[34:36], frame[36:38])


def answer6(site: Site, hop: str, ours: str) -> None:
    """Be the next hop for IPv6 until the gateway knows it: say where it is, once it is asked."""

    def known() -> bool:
        for octets in site.pdn.all(0.2):
            read = Ether(octets)
            if ICMPv6ND_NS in read and read[ICMPv6ND_NS].tgt == hop:
                told = ICMPv6ND_NA(tgt=hop, R=1, S=1, O=1)
                told /= ICMPv6NDOptDstLLAddr(lladdr=site.pdn_mac)
                ends = Ether(src=site.pdn_mac, dst=read.src) / IPv6(src=hop, dst=ours, hlim=255)
                site.pdn.send(bytes(ends / told))
        return "set_field" in site.lab.ofctl("dump-flows", BRIDGE, "table=50,ipv6")

    until(known, "the next hop is known")
    until(lambda: site.gateway()["in_sync"], "in sync")


def is_gtpu(frame: bytes, teid: int | None = None) -> bool:
    """Whether a frame is GTP-U over IPv4 (of that tunnel)."""
    right = frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == b"\x08\x68"
    return right and teid in (None, int.from_bytes(frame[46:50], "big"))


def is_gtpu6(frame: bytes) -> bool:
    """Whether a frame is GTP-U over IPv6."""
    return frame[12:14] == b"\x86\xdd" and frame[20] == 17 and frame[56:58] == b"\x08\x68"


def is_advertisement(frame: bytes, teid: int | None = None) -> bool:
    """Whether a frame is a Router Advertisement in a tunnel (in that one)."""
    at = 50 + 8 * bool(frame[42:43] and frame[42] & gtpu.E)
    right = frame[at : at + 1] == b"\x60" and frame[at + 6 : at + 7] == b"\x3a"
    return is_gtpu(frame, teid) and right and frame[at + 40 : at + 41] == b"\x86"


def is_unasked(frame: bytes) -> bool:
    """Whether the gateway sends it to a base station when it likes, or as late as it likes."""
    kind = frame[43] if is_gtpu(frame) else frame[63] if is_gtpu6(frame) else None
    return kind in UNASKED or is_advertisement(frame) or asks_neighbour(frame)


def asks_neighbour(frame: bytes) -> bool:
    """Whether a frame is a Neighbour Solicitation to a group, as no UE's packet leaves."""
    asks = frame[12:14] == b"\x86\xdd" and frame[20:21] == b"\x3a" and frame[54:55] == b"\x87"
    return asks and frame[:2] == b"\x33\x33"


def is_echo(frame: bytes) -> bool:
    """Whether a frame is an Echo Request: the gateway sends those when it likes."""
    return is_gtpu(frame) and frame[43] == gtpu.ECHO_REQUEST


def _mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _chunks(frames: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    """The frames in chunks; one empty chunk if there are none."""
    return [frames[start : start + CHUNK] for start in range(0, max(len(frames), 1), CHUNK)]
