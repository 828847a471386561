"""What a gateway says by GTP-U signalling: heard at the base stations, and held to the standard.

    hear = Hearing(site)
    [told] = hear.after(site.t_pdu(0x999, packet))
    assert told.kind == gtpu.ERROR_INDICATION

Nothing here waits for a fixed time to hear nothing: an Echo Request, which is always answered, is
sent behind, and what came before its answer is all there will be.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.support import gtpu, tshark
from tests.support.lab import Lab
from tests.support.site import Site, is_gtpu

NOTIFICATION = 31
_T_PDU, _ECHO_REQUEST, _ECHO_RESPONSE = gtpu.T_PDU, gtpu.ECHO_REQUEST, gtpu.ECHO_RESPONSE


@dataclass(frozen=True)
class Said:
    """A GTP-U message that is no T-PDU; `octets` is all of it, from its flags on."""

    to: str
    eth_dst: str
    source: str
    ports: tuple[int, int]
    octets: bytes

    @property
    def kind(self) -> int:
        return self.octets[1]

    @property
    def teid(self) -> int:
        return int.from_bytes(self.octets[4:8], "big")


def said(frames: Iterable[bytes], kinds: Iterable[int] = ()) -> list[Said]:
    """The signalling among frames, of these types; of any but Echo, if none are named."""
    wanted, found = set(kinds), []
    for frame in frames:
        if not is_gtpu(frame) or frame[43] == _T_PDU:
            continue
        if frame[43] not in wanted if wanted else frame[43] in (_ECHO_REQUEST, _ECHO_RESPONSE):
            continue
        packet = Ether(frame)
        outer, datagram = packet[IP], packet[UDP]
        octets = frame[42 : 14 + outer.len]
        ports = (datagram.sport, datagram.dport)
        found.append(Said(outer.dst, packet.dst, outer.src, ports, octets))
    return found


class Hearing:
    """A site's base stations, as those who hear what the gateway says."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._sequence = itertools.count(0x8000)

    def after(self, *frames: bytes, enb: str = "enb", at: str | None = None) -> list[Said]:
        """Send from a base station; what is said until all of it is dealt with, but Echo.

        `at` names the base station that listens, if it is another.
        """
        wire = self._site.enbs[at or enb]
        wire.all()
        for start in range(0, len(frames), 40):
            self._site.enbs[enb].send(*frames[start : start + 40])
            time.sleep(0.002)
        # The switch shows the controller what came in order, and it answers in order.
        return said(self.fence(enb, at or enb))

    def fence(self, enb: str = "enb", at: str = "enb") -> list[bytes]:
        """All frames that come before the answers to Echo Requests sent now.

        Two from each, the second when the first is answered: that may overtake within a batch.
        """
        got: list[bytes] = []
        for last in (enb, enb, at, at) if enb != at else (enb, enb):
            came = self._answered(last)
            got += came if last == at else []
        return got

    def _answered(self, enb: str) -> list[bytes]:
        """Send an Echo Request; what comes before its answer."""
        site, got = self._site, []
        number = next(self._sequence) & 0xFFFF
        octets = gtpu.message(_ECHO_REQUEST, 0, flags=0x32, sequence=number)
        site.enbs[enb].send(site.from_enb(octets, enb=enb))
        deadline = time.monotonic() + 20
        while frame := site.enbs[enb].next(max(deadline - time.monotonic(), 0.001)):
            if _answers(frame, number):
                return got
            got.append(frame)
        raise AssertionError("an Echo Request is not answered")

    def wait(self, count: int, kind: int, enb: str = "enb", timeout: float = 20.0) -> list[Said]:
        """The next so many messages of a type that come to a base station."""
        found: list[Said] = []
        deadline = time.monotonic() + timeout
        while len(found) < count:
            frame = self._site.enbs[enb].next(max(deadline - time.monotonic(), 0.001))
            assert frame is not None, f"{len(found)} of {count} messages of type {kind} came"
            found += said([frame], [kind])
        return found


def _answers(frame: bytes, number: int) -> bool:
    """Whether a frame is the Echo Response with that sequence number."""
    echo = is_gtpu(frame) and frame[43] == _ECHO_RESPONSE
    return echo and int.from_bytes(frame[50:52], "big") == number


def judge(site: Site) -> int:
    """Hold all signalling that came out so far to tshark's judgement; how much there was."""
    mac = bytes.fromhex(site.local_mac.replace(":", ""))
    seen = {
        frame: None
        for wire in site.enbs.values()
        for frame in wire.seen
        if frame[6:12] == mac and is_gtpu(frame) and frame[43] != _T_PDU
    }
    if seen:
        assert tshark.complaints(seen) == []
        assert len(tshark.rows(seen, ["gtp.message"], "gtp")) == len(seen)
    return len(seen)


# --- what it counts


def counts(lab: Lab, name: str) -> Counter[tuple[str, ...]]:
    """A metric's samples, by their labels' values in the order of their names, without gateway's.

    `name` is that of the family without `ofgtp_` and `_total`.
    """
    text = lab.http("GET", "/metrics").body.decode()
    found: Counter[tuple[str, ...]] = Counter()
    for labels, value in re.findall(rf"^ofgtp_{name}_total{{(.*)}} (\S+)$", text, re.MULTILINE):
        pairs = sorted(re.findall(r'(\w+)="([^"]*)"', labels))
        found[tuple(value for key, value in pairs if key != "gateway")] = int(float(value))
    return found


class Counted:
    """How much metrics have risen since this was made; those that did not are left out."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._start = {name: counts(lab, name) for name in _METRICS.values()}

    def _risen(self, what: str) -> dict[tuple[str, ...], int]:
        name = _METRICS[what]
        risen = counts(self._lab, name)
        risen.subtract(self._start[name])
        return {labels: count for labels, count in risen.items() if count}

    @property
    def received(self) -> dict[str, int]:
        """Messages received, by type."""
        return {kind: n for (way, kind), n in self._risen("messages").items() if way == "received"}

    @property
    def sent(self) -> dict[str, int]:
        """Messages sent, by type, but Echo."""
        return {
            kind: n
            for (way, kind), n in self._risen("messages").items()
            if way == "sent" and not kind.startswith("echo")
        }

    @property
    def ignored(self) -> dict[str, int]:
        """Messages ignored, by reason."""
        return {reason: count for (reason,), count in self._risen("ignored").items()}

    @property
    def extensions(self) -> dict[str, int]:
        """Extension headers, by type."""
        return {kind: count for (kind,), count in self._risen("extensions").items()}


_METRICS = {
    "messages": "gtpu_messages",
    "ignored": "gtpu_ignored",
    "extensions": "gtpu_extension_headers",
}


# --- more peers


def add_peers(lab: Lab, name: str = "enb") -> Iterator[str]:
    """Give a base station many addresses of the access network; each in turn."""
    addresses = [f"10.1.0.{last}" for last in range(20, 220)]
    lines = "".join(f"addr add {address}/24 dev eth0\n" for address in addresses)
    lab.exec(name, ["ip", "-batch", "-"], stdin=lines)
    return iter(addresses)
