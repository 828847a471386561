"""Packets with numbers for UEs that are idle, and what of them base stations get."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scapy.layers.inet import IP, UDP

from tests.support.site import PDN_IP, Site, is_echo, is_gtpu, until

SPORT = 4001


def numbered(
    ue: str, numbers: Iterable[int], *, sport: int = SPORT, size: int = 60, source: str = PDN_IP
) -> list[bytes]:
    """IP packets to a UE, each with its number."""
    head = IP(src=source, dst=ue) / UDP(sport=sport, dport=6000)
    return [bytes(head / (each.to_bytes(4, "big") + bytes(size - 4))) for each in numbers]


def number_of(packet: bytes) -> int:
    """The number of one of those."""
    return int.from_bytes(packet[28:32], "big")


def inside(frame: bytes) -> tuple[int | None, bytes]:
    """The QFI of a T-PDU's container, None without one, and the packet in it."""
    flags, body = frame[42], frame[50:]
    if not flags & 0x07:
        return None, body
    if not flags & 0x04:
        return None, body[4:]
    assert (body[3], body[4], body[7]) == (0x85, 1, 0), "one PDU Session Container of one unit"
    return body[6] & 0x3F, body[8:]


def buffer(site: Site) -> dict[str, int]:
    """What the gateway says of packets that wait."""
    made: dict[str, int] = site.gateway()["buffer"]
    return made


def told(site: Site, session: str) -> int:
    """How many packets the switch has told of for a session's downlink flows by now."""
    flows = site.lab.http("GET", f"/v1/sessions/{session}/flows").json()["items"]
    return sum(each["packets"] for each in flows if each["direction"] == "downlink")


def hold(site: Site, *packets: bytes) -> None:
    """Send packets to a UE that is idle, and wait until the gateway has them all."""
    before = buffer(site)["held"]
    site.empty_cache()  # its flow may have been another one until now
    assert site.downlink(*map(site.to_ue, packets)) == []
    until(lambda: buffer(site)["held"] == before + len(packets), "they are held")


class Arrived:
    """What comes at a base station of tunnels."""

    def __init__(self, site: Site, enb: str = "enb") -> None:
        self._wire = site.enbs[enb]
        self.frames: list[bytes] = []
        self._wire.all()

    def look(self) -> None:
        """Take what has come."""
        self.frames += [f for f in self._wire.all() if is_gtpu(f) and not is_echo(f)]

    def of(self, teid: int) -> list[int]:
        """The numbers of packets that have come by a tunnel, in their order."""
        self.look()
        mine = (frame for frame in self.frames if is_gtpu(frame, teid))
        return [number_of(inside(frame)[1]) for frame in mine]

    def until(self, teid: int, numbers: Sequence[int]) -> None:
        """Wait until so many have come; they must be these."""
        until(lambda: len(self.of(teid)) >= len(numbers), f"{len(numbers)} packets come")
        assert self.of(teid) == list(numbers)
