"""Two base stations: a session that moves between them, and tunnels that share a TEID number."""

import threading
import time

import pytest

from tests.support import gtpu
from tests.support.site import ENB_IP, PDN_IP, Site, is_gtpu

pytestmark = pytest.mark.switch

UE, UP = "10.45.0.2", 0x1001
OTHER_UE, OTHER_UP = "10.45.0.3", 0x1002


class Stream:
    """Numbered packets to a UE, about 200 a second, until told to stop: what the switch's socket
    holds is more than a second of it, so that none is lost while others have the cores."""

    def __init__(self, site: Site, ue: str, *, uplink: int | None = None) -> None:
        self._site, self._ue, self._uplink = site, ue, uplink
        self.sent = 0
        """How many have been sent; the next one has this number."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Stream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, count: int = 60) -> None:
        """Let so many more go out."""
        until, deadline = self.sent + count, time.monotonic() + 30
        while self.sent < until:
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def _run(self) -> None:
        packet = gtpu.ipv4(PDN_IP, self._ue, size=100)[:-4]
        while not self._stop.is_set():
            number = self.sent.to_bytes(4, "big")
            self._site.pdn.send(self._site.to_ue(packet + number))
            self.sent += 1
            time.sleep(0.005)


def numbers(frames: list[bytes], ue: str) -> list[tuple[int, int]]:
    """(number, TEID) of a stream's packets among frames."""
    found = []
    for frame in frames:
        if is_gtpu(frame):
            got = gtpu.decode(frame)
            if got.inner[16:20] == bytes(map(int, ue.split("."))):
                found.append((int.from_bytes(got.inner[-4:], "big"), got.teid))
    return found


def test_handover_under_a_stream(two_enbs: Site) -> None:
    site = two_enbs
    session = site.session(UE, teid=UP, downlink=0x2001)
    site.session(OTHER_UE, teid=OTHER_UP, downlink=0x2002, peer=ENB_IP["enb2"])
    site.warm("enb2", OTHER_UE, 0x2002)
    for wire in site.enbs.values():
        wire.all()
        wire.seen.clear()
    with Stream(site, UE) as stream:
        stream.wait()
        moves = []
        for peer, teid in (("enb2", 0x3001), ("enb", 0x4001), ("enb2", 0x5001)):
            asked = stream.sent
            site.patch(session, {"downlink": {"teid": teid, "remote_ip": ENB_IP[peer]}})
            site.lab.cache_follows()
            moves.append((asked, stream.sent + 1, peer, teid))
            stream.wait()
    site.downlink()
    for wire in site.enbs.values():
        wire.all(0.1)
    came = [
        (number, name, teid)
        for name, wire in site.enbs.items()
        for number, teid in numbers(wire.seen, UE)
    ]
    assert sorted(number for number, _, _ in came) == list(range(stream.sent)), "each comes once"
    before = ("enb", 0x2001)
    where = {number: (name, teid) for number, name, teid in came}
    for place, (asked, moved, peer, teid) in enumerate(moves):
        end = moves[place + 1][0] if place + 1 < len(moves) else stream.sent
        assert {where[number] for number in range(moved, end)} == {(peer, teid)}
        assert {where[number] for number in range(asked, moved)} <= {before, (peer, teid)}
        before = (peer, teid)


def test_uplink_from_the_new_base_station_works_before_and_after(two_enbs: Site) -> None:
    site = two_enbs
    session = site.session(UE, teid=UP, downlink=0x2001)
    inner = gtpu.ipv4(UE, PDN_IP, ttl=128)
    for _ in range(2):
        for enb in ("enb", "enb2"):
            assert len(site.uplink(site.t_pdu(UP, inner, enb=enb), enb=enb)) == 1
        site.patch(session, {"downlink": {"teid": 0x3001, "remote_ip": ENB_IP["enb2"]}})


@pytest.mark.parametrize("ttl", (1, 64, 100, 128))
def test_a_pinned_session_moves(two_enbs: Site, ttl: int) -> None:
    """The old peer is refused, though it never stopped sending."""
    site = two_enbs
    ue, teid = f"10.45.1.{ttl}", 0x1100 + ttl
    session = site.session(ue, teid=teid, pinned=ENB_IP["enb"])
    inner = gtpu.ipv4(ue, PDN_IP, ttl=ttl)

    def passes(enb: str) -> int:
        return len(site.uplink(*[site.t_pdu(teid, inner, enb=enb)] * 10, enb=enb))

    def settle(enb: str, *, passes: bool) -> None:
        site.cache_follows(site.t_pdu(teid, inner, enb=enb), passes=passes, enb=enb)

    assert (passes("enb"), passes("enb2")) == (10, 0)
    site.patch(session, {"uplink": {"remote_ip": ENB_IP["enb2"]}})
    settle("enb", passes=False)
    settle("enb2", passes=True)
    assert (passes("enb"), passes("enb2")) == (0, 10)
    site.patch(session, {"uplink": {"remote_ip": None}})
    settle("enb", passes=True)
    settle("enb2", passes=True)
    assert (passes("enb"), passes("enb2")) == (10, 10)


def test_one_teid_number_at_two_peers(two_enbs: Site) -> None:
    site, teid = two_enbs, 0x7777
    ues = {"enb": "10.45.0.10", "enb2": "10.45.0.11"}
    for enb, ue in ues.items():
        site.session(ue, teid=0x1010 + int(ue[-1]), downlink=teid, peer=ENB_IP[enb])
        site.warm(enb, ue, teid)
    site.downlink()
    for wire in site.enbs.values():
        wire.all(0.05)
        wire.seen.clear()
    packets = {ue: gtpu.ipv4(PDN_IP, ue, size=100) for ue in ues.values()}
    site.downlink(*[site.to_ue(packet) for packet in packets.values()] * 10)
    for enb, ue in ues.items():
        site.enbs[enb].all()
        got = [gtpu.decode(frame) for frame in site.enbs[enb].seen if is_gtpu(frame, teid)]
        assert [(each.destination, each.inner) for each in got] == [(ENB_IP[enb], packets[ue])] * 10
        assert {each.eth_dst for each in got} == {site.enb_mac[enb]}


def test_the_same_teid_at_the_same_peer_is_a_conflict(two_enbs: Site) -> None:
    site = two_enbs
    site.session("10.45.0.20", teid=0x1020, downlink=0x8888)
    body = {"ue_ip": "10.45.0.21", "downlink": {"teid": 0x8888, "remote_ip": ENB_IP["enb"]}}
    assert site.lab.http("POST", "/v1/sessions", body).status == 409
