"""What the peers of a relay say, on a real switch: End Markers go on to the other side, and what a
peer does not know is stopped, each side alone (TS 29.281, 7.3)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import gtpu
from tests.support import ownership as own
from tests.support.answers import Counted, Hearing, Said, judge, said
from tests.support.gtpu import END_MARKER, ERROR_INDICATION, E, S
from tests.support.lab import Lab
from tests.support.site import ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

RELAY, UE = "relay", "10.45.0.9"
UP, DOWN, CORE_UP, CORE = 0x1009, 0x2009, 0x6009, 0x5009
"""TEIDs: ours towards the base station, its; the core side peer's, ours towards it."""
SIDES: dict[str, tuple[int, str, int, str]] = {
    "uplink": (UP, "enb", CORE_UP, "enb2"),
    "core": (CORE, "enb2", DOWN, "enb"),
}
"""Our TEID and who sends there; the TEID that it leads to, and whose that is."""
OTHER = {"uplink": "core", "core": "uplink"}
CONTAINER = bytes.fromhex("01100900")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab, lab.config(controller=own.SWITCH))
        site.ready()
        put(site)
        yield site
        site.alive()
        site.check_sent()
        judge(site)


@pytest.fixture(scope="module")
def hear(site: Site) -> Hearing:
    return Hearing(site)


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest, site: Site) -> str:
    """Each side of a relay that works, both ways; a PUT makes it so, whatever was before."""
    put(site)
    return str(request.param)


def put(site: Site, **members: Any) -> None:
    body = {
        "id": RELAY,
        "uplink": {"teid": UP},
        "downlink": {"teid": DOWN, "remote_ip": ENB_IP["enb"]},
        "core": {"teid": CORE, "remote_teid": CORE_UP, "remote_ip": ENB_IP["enb2"]},
        **members,
    }
    answer = site.lab.http("PUT", f"/v1/sessions/{RELAY}", body)
    assert answer.status in (200, 201), answer.body
    assert answer.json()["state"] == "active", answer.body
    for each in SIDES if not members else ():
        until(lambda each=each: passes(site, each), f"{each} works")


def t_pdu(site: Site, side: str, flags: int = 0) -> bytes:
    teid, sender, _, _ = SIDES[side]
    container = CONTAINER if flags & E else b""
    body = container + gtpu.ipv4(UE, PDN_IP, ttl=128)
    message = gtpu.message(255, teid, body, flags=0x30 | flags, extension=0x85 if container else 0)
    return site.from_enb(message, enb=sender)


def sent_on(site: Site, side: str, *frames: bytes) -> list[int]:
    """The TEIDs of T-PDUs that leave on the other side for these."""
    _, sender, _, receiver = SIDES[side]
    site.enbs[receiver].all()
    site.enbs[sender].send(*frames)
    site.uplink()
    got = [each for each in site.enbs[receiver].all(0.05) if is_gtpu(each) and each[43] == 255]
    return [int.from_bytes(each[46:50], "big") for each in got]


def passes(site: Site, side: str) -> bool:
    return sent_on(site, side, t_pdu(site, side)) == [SIDES[side][2]]


# --- End Markers


def markers(hear: Hearing, side: str, *messages: bytes, site: Site) -> list[Said]:
    """The End Markers that the other side gets for these."""
    _, sender, _, receiver = SIDES[side]
    frames = [site.from_enb(each, enb=sender) for each in messages]
    return [
        each for each in hear.after(*frames, enb=sender, at=receiver) if each.kind == END_MARKER
    ]


@pytest.mark.parametrize("flags", [0, S])
def test_an_end_marker_goes_on(site: Site, hear: Hearing, side: str, flags: int) -> None:
    teid, _, out, receiver = SIDES[side]
    count = Counted(site.lab)
    message = gtpu.message(END_MARKER, teid, flags=gtpu.PLAIN | flags)
    [marker] = markers(hear, side, message, site=site)
    assert marker.octets == b"\x30\xfe\x00\x00" + out.to_bytes(4, "big")
    assert (marker.to, marker.ports) == (ENB_IP[receiver], (2152, 2152))
    assert marker.eth_dst == site.enb_mac[receiver]
    assert (count.received["end_marker"], count.sent, count.ignored) == (1, {"end_marker": 1}, {})
    assert passes(site, side), "it ends nothing here"


def test_its_container_goes_on(site: Site, hear: Hearing, side: str) -> None:
    teid, _, out, _ = SIDES[side]
    message = gtpu.message(
        END_MARKER, teid, CONTAINER, flags=gtpu.PLAIN | E, sequence=0, extension=0x85
    )
    [marker] = markers(hear, side, message, site=site)
    assert marker.octets == message[:4] + out.to_bytes(4, "big") + message[8:]


def test_it_is_the_last_of_its_tunnel(site: Site, side: str) -> None:
    """Behind all T-PDUs that came before it, those that take the long way included."""
    teid, sender, out, receiver = SIDES[side]
    marker = site.from_enb(gtpu.message(END_MARKER, teid), enb=sender)
    frames = [t_pdu(site, side, flags) for flags in (0, S, E, 0) * 5]
    for _ in range(10):
        site.enbs[receiver].all()
        site.enbs[sender].send(*frames, marker)
        got: list[bytes] = []
        until(lambda got=got: _more(site, receiver, got, out), "an End Marker")
        got += site.enbs[receiver].all(0.05)
        kinds = [each[43] for each in got if is_gtpu(each, out)]
        assert kinds == [255] * len(frames) + [END_MARKER]


def _more(site: Site, receiver: str, got: list[bytes], teid: int) -> list[Said]:
    got += site.enbs[receiver].all(0.01)
    return [each for each in said(got, [END_MARKER]) if each.teid == teid]


def test_a_flood_is_metered(site: Site, side: str) -> None:
    """As all signalling: 100 a second of an eighth of the addresses; T-PDUs go on."""
    teid, sender, _, receiver = SIDES[side]
    marker = site.from_enb(gtpu.message(END_MARKER, teid), enb=sender)
    before, count = site.counters()["rate_limited_signalling"], Counted(site.lab)
    site.enbs[receiver].all()
    for _ in range(20):
        site.enbs[sender].send(*[marker] * 40)
        assert passes(site, side)
    until(lambda: site.counters()["rate_limited_signalling"] - before > 100, "most are dropped")
    assert 0 < count.sent["end_marker"] < 700


def test_none_goes_on_from_another_than_its_peer(site: Site, hear: Hearing) -> None:
    put(site, uplink={"teid": UP, "remote_ip": ENB_IP["enb2"]})
    count = Counted(site.lab)
    assert markers(hear, "uplink", gtpu.message(END_MARKER, UP), site=site) == []
    assert count.ignored == {"end_marker_not_sent_on": 1}


def test_none_goes_on_to_no_tunnel(site: Site, hear: Hearing) -> None:
    put(site, downlink=None)
    count = Counted(site.lab)
    assert markers(hear, "core", gtpu.message(END_MARKER, CORE), site=site) == []
    assert (count.ignored, count.sent) == ({"end_marker_not_sent_on": 1}, {})
    [marker] = markers(hear, "uplink", gtpu.message(END_MARKER, UP), site=site)
    assert marker.teid == CORE_UP


# --- Error Indications


def unknown(site: Site, side: str) -> bytes:
    """The receiver of a side's T-PDUs says that it does not know their tunnel."""
    _, _, out, receiver = SIDES[side]
    packed = bytes(map(int, ENB_IP[receiver].split(".")))
    ies = b"\x10" + out.to_bytes(4, "big") + b"\x85\x00\x04" + packed
    return site.from_enb(gtpu.message(ERROR_INDICATION, 0, ies, flags=0x32), enb=receiver)


def told(site: Site) -> dict[str, Any]:
    return dict(site.lab.http("GET", f"/v1/sessions/{RELAY}").json())


def stop(site: Site, *sides: str) -> None:
    """Have sides stopped, in the order of these Error Indications, while their packets come."""
    for each in sides:
        assert passes(site, each)
    log = own.Log(site.lab)
    for each in sides:
        site.enbs[SIDES[each][3]].send(unknown(site, each))
    until(lambda: len(log.events("error_indicated")) == len(sides), "error_indicated")
    for each, event in zip(sides, log.events("error_indicated"), strict=True):
        _, _, out, receiver = SIDES[each]
        assert f"session={RELAY} peer={ENB_IP[receiver]} teid={out}" in event
    assert told(site)["state"] == "error_indicated"


def stopped(site: Site, side: str) -> None:
    """T-PDUs of a side are dropped and counted as what they are, on the short and the long way."""
    frames = [t_pdu(site, side, flags) for flags in (0, S, E, E | S, 0)]
    with site.counted(error_indicated=len(frames)):
        assert sent_on(site, side, *frames) == []


SAYS = {
    "uplink": "its core peer does not know core.remote_teid (Error Indication)",
    "core": "its peer does not know the downlink TEID (Error Indication)",
}


def test_one_side_is_stopped_and_the_other_goes_on(site: Site, hear: Hearing, side: str) -> None:
    count = Counted(site.lab)
    stop(site, side)
    until(lambda: not sent_on(site, side, t_pdu(site, side)), "packets under way see it")
    assert told(site)["reason"] == SAYS[side]
    stopped(site, side)
    other = OTHER[side]
    frames = [t_pdu(site, other, flags) for flags in (0, S, E)]
    assert sent_on(site, other, *frames) == [SIDES[other][2]] * len(frames)
    assert (count.received["error_indication"], count.ignored, count.sent) == (1, {}, {})
    site.enbs[SIDES[side][3]].send(unknown(site, side))
    until(lambda: count.ignored == {"error_indication_repeated": 1}, "the rest is counted")
    assert markers(hear, side, gtpu.message(END_MARKER, SIDES[side][0]), site=site) == []


@pytest.mark.parametrize("order", [("uplink", "core"), ("core", "uplink")])
def test_both_sides_at_once(site: Site, order: tuple[str, str]) -> None:
    """Under traffic: the switch must notice both, though each alone would move the rules."""
    put(site)
    stop(site, *order)
    for each in order:
        until(lambda each=each: not sent_on(site, each, t_pdu(site, each)), f"{each} stops")
        stopped(site, each)
    reason = str(told(site)["reason"])
    assert all(says.removesuffix(" (Error Indication)") in reason for says in SAYS.values())


def test_one_after_the_other(site: Site, side: str) -> None:
    stop(site, side)
    other = OTHER[side]
    stop(site, other)
    for each in SIDES:
        until(lambda each=each: not sent_on(site, each, t_pdu(site, each)), f"{each} stops")
        stopped(site, each)


def test_another_tunnel_ends_it(site: Site, side: str) -> None:
    stop(site, side)
    until(lambda: not sent_on(site, side, t_pdu(site, side)), "packets under way see it")
    _, _, out, receiver = SIDES[side]
    if side == "uplink":
        change: dict[str, Any] = {"core": {"remote_teid": out + 1}}
    else:
        change = {"downlink": {"teid": out + 1, "remote_ip": ENB_IP[receiver]}}
    site.patch(RELAY, change)
    assert (told(site)["state"], told(site)["reason"]) == ("active", None)
    frame = t_pdu(site, side)
    until(lambda: sent_on(site, side, frame) == [out + 1], "packets go to the new tunnel")
    assert passes(site, OTHER[side])
    # A late one for the tunnel that it has left stops nothing.
    count = Counted(site.lab)
    site.enbs[receiver].send(unknown(site, side))
    ignored = {"error_indication_unknown_tunnel": 1}
    until(lambda: count.ignored == ignored, "it is counted")
    assert sent_on(site, side, frame) == [out + 1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "crash"])
def test_over_a_restart(site: Site, side: str, how: signal.Signals) -> None:
    stop(site, side)
    before, lab, reason = own.our_flows(site.lab), site.lab, told(site)["reason"]
    lab.stop_controller(how)
    lab.start_controller(lab.dir.joinpath("ofgtp.toml").read_text())
    until(lambda: own.in_sync(lab), "in sync")
    assert own.our_flows(lab) == before
    assert (told(site)["state"], told(site)["reason"]) == ("error_indicated", reason)
    stopped(site, side)
    assert passes(site, OTHER[side])
    put(site)
