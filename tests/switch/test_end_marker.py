"""End Markers (TS 29.281, 7.3.2): one to the tunnel that a session leaves, after its last T-PDU."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from ofgtp.control.peers.end_markers import END_MARKER_S
from tests.support import gtpu, tshark
from tests.support import ownership as own
from tests.support.answers import Counted, Hearing, Said, judge, said
from tests.support.gtpu import END_MARKER, ERROR_INDICATION, T_PDU, E, S
from tests.support.lab import Lab
from tests.support.site import ACCESS_IP, ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

UE, UP, DOWN, SESSION = "10.45.0.2", 0x1001, 0x2001, "ue-10.45.0.2"
OTHER_UE, OTHER = "10.45.0.3", "ue-10.45.0.3"
MOVES = 20


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab, lab.config(controller=own.SWITCH))
        site.ready()
        site.session(OTHER_UE, teid=0x1003, downlink=0x2003, peer=ENB_IP["enb2"])
        site.warm("enb2", OTHER_UE, 0x2003)
        yield site
        site.alive()
        site.check_sent()
        assert judge(site)


@pytest.fixture(scope="module")
def hear(site: Site) -> Hearing:
    return Hearing(site)


@pytest.fixture(autouse=True)
def session(site: Site) -> None:
    """A session with a downlink, anew: a former one's End Marker is not for this test."""
    site.lab.http("DELETE", f"/v1/sessions/{SESSION}")
    site.session(UE, teid=UP, downlink=DOWN)
    markers(site)


def tunnel(teid: int, enb: str = "enb") -> dict[str, Any]:
    return {"teid": teid, "remote_ip": ENB_IP[enb]}


_fences = iter(range(0x70_0000, 0x80_0000))


def markers(site: Site) -> list[tuple[str, int]]:
    """Base station and TEID of each End Marker that is due or was sent already.

    Another session's tunnel is left at the end: its End Marker is later than all others.
    """
    fence = next(_fences)
    for teid in (fence, 0x2003):
        site.patch(OTHER, {"downlink": tunnel(teid, "enb2")})
    found: list[tuple[str, int]] = []
    deadline, last = time.monotonic() + 20, False
    while not last:
        assert time.monotonic() < deadline, "the other session's End Marker comes"
        # What has come to the other base station before may not have been read yet.
        last = ("enb2", fence) in found
        for name, wire in site.enbs.items():
            found += [(name, each.teid) for each in said(wire.all(), [END_MARKER])]
    return [each for each in found if each[1] not in (fence, 0x2003)]


def is_end_marker(message: Said, teid: int) -> bool:
    """Whether it is an End Marker as 5.1 and 7.3.2 have it: no flag is set, nothing follows."""
    return message.octets == b"\x30\xfe\x00\x00" + teid.to_bytes(4, "big")


# --- form, and occasions


@pytest.mark.parametrize("enb", ("enb", "enb2"))
def test_another_tunnel(site: Site, hear: Hearing, enb: str) -> None:
    """At the same base station and at another."""
    for wire in site.enbs.values():
        wire.all()
    count = Counted(site.lab)
    site.patch(SESSION, {"downlink": tunnel(0x3001, enb)})
    [told] = hear.wait(1, END_MARKER)
    assert is_end_marker(told, DOWN)
    assert (told.source, told.to, told.ports) == (ACCESS_IP, ENB_IP["enb"], (2152, 2152))
    assert told.eth_dst == site.enb_mac["enb"]
    assert count.sent == {"end_marker": 1}
    fields = ("gtp.message", "gtp.teid", "gtp.flags", "gtp.length")
    row = tshark.rows(site.enb.seen[-1:], fields)
    assert row == [["0xfe", f"0x{DOWN:08x}", "0x30", "0"]]
    assert markers(site) == []


def test_put(site: Site) -> None:
    site.session(UE, teid=UP, downlink=0x3001)
    assert markers(site) == [("enb", DOWN)]
    site.session(UE, teid=UP, downlink=0x3002, peer=ENB_IP["enb2"])
    assert markers(site) == [("enb", 0x3001)]
    site.session(UE, teid=UP, downlink=0x3003)
    assert markers(site) == [("enb2", 0x3002)]


def test_the_same_teid_at_another_base_station(site: Site) -> None:
    site.patch(SESSION, {"downlink": tunnel(DOWN, "enb2")})
    assert markers(site) == [("enb", DOWN)]


def test_none_without_a_move(site: Site) -> None:
    """Nothing new, only the uplink new, idle, awake again, gone."""
    site.session(UE, teid=UP, downlink=DOWN)
    site.patch(SESSION, {})
    site.patch(SESSION, {"downlink": tunnel(DOWN)})
    site.patch(SESSION, {"uplink": {"teid": 0x1010}})
    site.patch(SESSION, {"uplink": {"remote_ip": ENB_IP["enb2"]}})
    site.patch(SESSION, {"downlink": None})
    site.patch(SESSION, {"downlink": tunnel(0x3001)})
    site.delete(SESSION)
    assert markers(site) == []


def test_none_to_a_peer_that_does_not_know_the_tunnel(site: Site, hear: Hearing) -> None:
    body = b"\x10" + DOWN.to_bytes(4, "big") + b"\x85\x00\x04\x0a\x01\x00\x02"
    hear.after(site.from_enb(gtpu.message(ERROR_INDICATION, 0, body, flags=0x32)))

    def state() -> str:
        return str(site.lab.http("GET", f"/v1/sessions/{SESSION}").json()["state"])

    until(lambda: state() == "error_indicated", "error_indicated")
    site.patch(SESSION, {"downlink": tunnel(0x3001)})
    assert markers(site) == []
    site.patch(SESSION, {"downlink": tunnel(0x3002)})
    assert markers(site) == [("enb", 0x3001)]


def at_once(site: Site, change: Callable[[], object]) -> None:
    """Move the session, and change something before the End Marker for what it left is due.

    Again, from the start, where that took longer: a machine may have much else to do.
    """

    def in_time() -> bool:
        site.lab.http("DELETE", "/v1/sessions/ue-10.45.0.4")
        site.session(UE, teid=UP, downlink=DOWN)
        markers(site)
        start = time.monotonic()
        site.patch(SESSION, {"downlink": tunnel(0x3001)})
        change()
        return time.monotonic() - start < END_MARKER_S

    until(in_time, "before the End Marker is due", 60)


def test_none_for_a_tunnel_that_is_in_use_again(site: Site) -> None:
    """There and back at once: an End Marker would say that nothing comes any more."""
    at_once(site, lambda: site.patch(SESSION, {"downlink": tunnel(DOWN)}))
    assert markers(site) == [("enb", 0x3001)]


def test_none_for_a_tunnel_that_another_session_has_now(site: Site) -> None:
    at_once(site, lambda: site.session("10.45.0.4", teid=0x1004, downlink=DOWN))
    told = markers(site)
    site.delete("ue-10.45.0.4")
    assert told == []


def test_a_change_that_is_refused(site: Site) -> None:
    for change in ({"downlink": tunnel(0)}, {"downlink": tunnel(0x2003, "enb2")}):
        assert site.lab.http("PATCH", f"/v1/sessions/{SESSION}", change).status in (409, 422)
    assert markers(site) == []


def test_a_batch(site: Site) -> None:
    """50 move, 10 go idle, 10 go away, 10 stay, 1 moves twice."""
    lab = site.lab
    own.batch(lab, own.puts(range(81)))
    assert markers(site) == []

    def moved(number: int, teid: int) -> dict[str, Any]:
        session = own.nth_session(number) | {"downlink": tunnel(teid, "enb2")}
        return {"op": "put", "session": session}

    idle = [own.nth_session(number) | {"downlink": None} for number in range(50, 60)]
    lines = [moved(number, 0x40_0000 + number) for number in range(50)]
    lines += [{"op": "put", "session": session} for session in idle]
    lines += [{"op": "delete", "id": own.nth_session(number)["id"]} for number in range(60, 70)]
    lines += own.puts(range(70, 80))
    lines += [moved(80, 0x41_0000), moved(80, 0x42_0000)]
    own.batch(lab, lines)
    left = [own.nth_session(number)["downlink"]["teid"] for number in (*range(50), 80)]
    assert sorted(markers(site)) == sorted(("enb", teid) for teid in left)
    everything = [*range(60), *range(70, 81)]
    own.batch(lab, ({"op": "delete", "id": own.nth_session(n)["id"]} for n in everything))
    assert markers(site) == []


# --- after the last packet


class Downlink:
    """A steady stream to the UE from a thread, which also takes what base stations get."""

    def __init__(self, site: Site, rate: int) -> None:
        self._site, self._burst, self._pause = site, max(rate // 1000, 1), 1 / min(rate, 1000)
        self.came: dict[str, list[tuple[int, int]]] = {name: [] for name in site.enbs}
        """Type and TEID of the GTP-U packets of each base station, in order."""
        self.first: dict[tuple[int, int], float] = {}
        """When the first of a type and TEID was taken."""
        self.sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        for wire in self._site.enbs.values():
            wire.all()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        frame = self._site.to_ue(gtpu.ipv4(PDN_IP, UE))
        wires = {name: Taker(wire) for name, wire in self._site.enbs.items()}
        due = time.monotonic()
        while not self._stop.is_set():
            self._site.pdn.send(*[frame] * self._burst)
            self.sent += self._burst
            for name, wire in wires.items():
                took = wire.take()
                self.came[name] += took
                for each in {*took} - self.first.keys():
                    self.first[each] = time.monotonic()
            due += self._pause
            time.sleep(max(due - time.monotonic(), 0.0001))
        for name, wire in wires.items():
            self.came[name] += wire.take(0.2)

    def wait_for(self, enb: str, kind: int, teid: int) -> None:
        """Wait until such a packet has come."""
        until(lambda: self.arrived(enb, kind, teid), f"{enb} gets type {kind} of {teid:#x}", 30)

    def arrived(self, enb: str, kind: int, teid: int) -> bool:
        """Whether such a packet has come; the latest are looked at first."""
        return (kind, teid) in self.came[enb][:-2000:-1]


class Taker:
    """Takes what has come in by a wire."""

    def __init__(self, wire: Any) -> None:
        self._wire = wire

    def take(self, quiet: float = 0.0001) -> list[tuple[int, int]]:
        frames = self._wire.all(quiet)
        keep = [frame for frame in frames if not (is_gtpu(frame) and frame[43] == T_PDU)]
        self._wire.seen[-len(frames) or len(self._wire.seen) :] = keep
        return [
            (frame[43], int.from_bytes(frame[46:50], "big")) for frame in frames if is_gtpu(frame)
        ]


@pytest.mark.parametrize("rate", (200, 5000))
@pytest.mark.parametrize("far", ("enb", "enb2"), ids=["the same base station", "to and fro"])
def test_after_the_last_packet(site: Site, far: str, rate: int) -> None:
    """Under a stream, twenty times over: the old tunnel's last packet, its End Marker, no more."""
    here, teid = "enb", DOWN
    left, confirmed = [], []
    with Downlink(site, rate) as stream:
        for number in range(MOVES):
            stream.wait_for(here, T_PDU, teid)
            left.append((here, teid))
            here, teid = far if here == "enb" else "enb", 0x3000 + number
            site.patch(SESSION, {"downlink": tunnel(teid, here)})
            confirmed.append((time.monotonic(), teid))
            stream.wait_for(left[-1][0], END_MARKER, left[-1][1])
        stream.wait_for(here, T_PDU, teid)
    in_tunnels = in_time = 0
    for (enb, old_teid), (at, new_teid) in zip(left, confirmed, strict=True):
        kinds = [kind for kind, its in stream.came[enb] if its == old_teid]
        assert kinds.count(END_MARKER) == 1, f"{old_teid:#x}: one End Marker"
        in_tunnels += len(kinds) - 1
        # A switch that had to wait for a core went by what it had cached for longer.
        if stream.first[T_PDU, new_teid] - at < END_MARKER_S:
            in_time += 1
            assert kinds[-1] == END_MARKER, f"{old_teid:#x}: {len(kinds)}, not the last"
    assert in_tunnels > MOVES and in_time > MOVES / 2
    assert markers(site) == []


@pytest.mark.long
def test_after_the_last_packet_where_many_get_packets(site: Site) -> None:
    """The switch takes its time until no packet is forwarded by what it has cached."""
    count = 20_000
    own.batch(site.lab, own.puts(range(count)))
    ue_ips = [own.nth_session(number)["ue_ip"] for number in range(count)]

    def everybody() -> None:
        for place, ue_ip in enumerate(ue_ips):
            site.pdn.send(site.to_ue(gtpu.ipv4(PDN_IP, ue_ip)))
            if place % 20 == 19:
                time.sleep(0.002)

    here, teid, left = "enb", DOWN, []
    everybody()
    with Downlink(site, 1000) as stream:
        for number in range(MOVES):
            if number % 5 == 4:
                everybody()
            stream.wait_for(here, T_PDU, teid)
            left.append((here, teid))
            here, teid = "enb2" if here == "enb" else "enb", 0x3000 + number
            site.patch(SESSION, {"downlink": tunnel(teid, here)})
            stream.wait_for(left[-1][0], END_MARKER, left[-1][1])
    for enb, old_teid in left:
        kinds = [kind for kind, its in stream.came[enb] if its == old_teid]
        late = len(kinds) - 1 - kinds.index(END_MARKER)
        assert late == 0, f"{old_teid:#x}: {late} of {len(kinds)} after the End Marker"
    own.batch(site.lab, ({"op": "delete", "id": own.nth_session(n)["id"]} for n in range(count)))


# --- while the switch is away


def test_a_switch_that_is_cut_off(site: Site) -> None:
    """It forwards on by the old tunnel. The End Marker comes when the change has, and after it."""
    lab = site.lab
    with Downlink(site, 200) as stream:
        with own.openflow_cut(lab):
            answer = lab.http(
                "PATCH", f"/v1/sessions/{SESSION}", {"downlink": tunnel(0x3001, "enb2")}
            )
            assert (answer.status, answer.json()["state"]) == (200, "pending")
            many = len(stream.came["enb"]) + 50
            until(lambda: len(stream.came["enb"]) > many, "packets by the old tunnel")
            assert not stream.arrived("enb", END_MARKER, DOWN)
        until(lambda: own.in_sync(lab), "in sync", timeout=30)
        stream.wait_for("enb", END_MARKER, DOWN)
        stream.wait_for("enb2", T_PDU, 0x3001)
    kinds = [kind for kind, teid in stream.came["enb"] if teid == DOWN]
    assert kinds.count(END_MARKER) == 1 and kinds[-1] == END_MARKER
    assert markers(site) == []


def test_there_and_back_while_the_switch_is_away(site: Site) -> None:
    """The tunnel is in use as before; its peer is told nothing of the kind."""
    lab = site.lab
    lab.stop_vswitchd()
    try:
        until(lambda: not site.gateway()["connected"], "the switch is away")
        for teid in (0x3001, DOWN):
            answer = lab.http("PATCH", f"/v1/sessions/{SESSION}", {"downlink": tunnel(teid)})
            assert (answer.status, answer.json()["state"]) == (200, "pending")
    finally:
        lab.start_vswitchd()
    until(lambda: own.in_sync(lab), "in sync", timeout=30)
    site.warm("enb", "10.45.254.254", 0xFEED_0002)
    site.warm("enb2", OTHER_UE, 0x2003)
    assert ("enb", DOWN) not in markers(site)


# --- received


@pytest.mark.parametrize("flags", (gtpu.PLAIN, gtpu.PLAIN | S, gtpu.PLAIN | E | S))
def test_received(site: Site, hear: Hearing, flags: int) -> None:
    """Counted; of an unknown tunnel ignored; never answered, and never shown to the core side."""
    count = Counted(site.lab)
    frames = [site.from_enb(gtpu.message(END_MARKER, teid, flags=flags)) for teid in (UP, 0x999)]
    assert hear.after(*frames) == []
    assert count.received["end_marker"] == 2
    assert count.ignored == {"end_marker_unknown_tunnel": 1}
    assert count.sent == {}
    assert site.uplink(*frames) == []
    inner = gtpu.ipv4(UE, PDN_IP)
    assert len(site.uplink(site.t_pdu(UP, inner))) == 1, "the session goes on"


def test_received_without_a_tunnel(site: Site, hear: Hearing) -> None:
    count = Counted(site.lab)
    with site.counted(bad_teid=1):
        assert hear.after(site.from_enb(gtpu.message(END_MARKER, 0))) == []
    assert "end_marker" not in count.received
