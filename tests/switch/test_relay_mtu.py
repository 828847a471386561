"""Relayed T-PDUs that do not fit the access MTU, and such as are cut off, on a real switch: all of
them are counted, and none of the others is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support import gtpu
from tests.support.gtpu import PN, E, S
from tests.support.lab import Lab
from tests.support.site import ENB_IP, Site, Wire, is_gtpu, until

pytestmark = pytest.mark.switch

MTU, SPARE = 1500, 4
"""Of the access port; and how much longer frames it takes, for VLAN tags, than it sends."""
LONGEST = 14 + MTU
UE, FAR_HOST = "10.45.0.9", "198.51.100.7"
UP, DOWN, CORE_UP, CORE = 0x1009, 0x2009, 0x6009, 0x5009
OTHER_UE, OTHER_UP, OTHER_DOWN, OTHER_CORE_UP, OTHER_CORE = (
    "10.45.0.8",
    0x1008,
    0x2008,
    0x6008,
    0x5008,
)
ECT_0, ECT_1, CE = 2, 1, 3
TAP = "tap"
ONE, TWO = bytes.fromhex("01100900"), bytes.fromhex("0210090011223300")
"""Containers of one and of two units."""


class Side(NamedTuple):
    """A direction of a relay: our TEID, who sends there, the TEID that it leads to."""

    teid: int
    sender: str
    out: int


SIDES = {
    "uplink": Side(UP, "enb", CORE_UP),
    "core": Side(CORE, "enb2", DOWN),
    "uplink, with breakout": Side(OTHER_UP, "enb", OTHER_CORE_UP),
}


class Form(NamedTuple):
    """Of a T-PDU: its flags, container, and the outer header's ECN; and the octets that what leaves
    is shorter."""

    flags: int = 0
    container: bytes = b""
    tos: int = 0
    less: int = 0


FORMS = {
    "plain": Form(),
    "PN": Form(PN),
    "E": Form(E, ONE),
    "E, two units": Form(E, TWO),
    "S": Form(S, less=4),
    "E and S": Form(E | S, ONE),
    "E and S, two units": Form(E | S, TWO, less=4),
    "ECT(1)": Form(tos=ECT_1),
    "CE": Form(tos=CE),
    "CE, E": Form(E, ONE, CE),
}
BROKEN_OUT = {"PN": 4, "E, two units": 4}
"""What is less of those that only a relay of a UE's packets unwraps."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        others = [("lan", dev) for dev in (*lab.enbs, "gw", "br0")]
        for name, dev in (*((enb, "eth0") for enb in lab.enbs), *others):
            lab.exec(name, ["ip", "link", "set", dev, "mtu", "1600"])
        site = Site(lab)
        # All that the gateway sends, what the LAN's own bridge would not pass on included.
        site.enbs[TAP] = Wire(lab.port("lan", "gw"))
        site.ready()
        put(site, "relay", UP, DOWN, CORE_UP, CORE)
        local = {"ue_ip": OTHER_UE, "breakout": ["10.2.0.0/24"]}
        put(site, "other", OTHER_UP, OTHER_DOWN, OTHER_CORE_UP, OTHER_CORE, **local)
        for side in SIDES:
            until(lambda side=side: through(site, side, t_pdu(site, side, 200)), f"{side} works")
        yield site
        site.alive()
        site.check_sent()


def put(site: Site, name: str, up: int, down: int, core_up: int, core: int, **members: Any) -> None:
    body = {
        "id": name,
        "uplink": {"teid": up},
        "downlink": {"teid": down, "remote_ip": ENB_IP["enb"]},
        "core": {"teid": core, "remote_teid": core_up, "remote_ip": ENB_IP["enb2"]},
        **members,
    }
    answer = site.lab.http("PUT", f"/v1/sessions/{name}", body)
    assert answer.status in (200, 201), answer.body
    assert answer.json()["state"] == "active", answer.body


def t_pdu(site: Site, side: str, size: int, form: Form = FORMS["plain"]) -> bytes:
    """A frame of that size, from whoever sends to that side."""
    ue = OTHER_UE if SIDES[side].teid == OTHER_UP else UE
    head = 14 + 20 + 8 + 8 + (4 if form.flags else 0) + len(form.container)
    inner = gtpu.ipv4(ue, FAR_HOST, size=size - head, ttl=128, tos=ECT_0)
    message = gtpu.message(
        gtpu.T_PDU,
        SIDES[side].teid,
        form.container + inner,
        flags=0x30 | form.flags,
        extension=0x85 if form.container else 0,
    )
    frame = site.from_enb(message, enb=SIDES[side].sender, tos=form.tos)
    assert len(frame) == size
    return frame


def through(site: Site, side: str, *frames: bytes) -> list[bytes]:
    """The T-PDUs that the gateway sends for these."""
    site.enbs[TAP].all()
    site.enbs[SIDES[side].sender].send(*frames)
    site.uplink()
    return [each for each in site.enbs[TAP].all(0.05) if is_gtpu(each) and each[43] == gtpu.T_PDU]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("side", SIDES)
def test_what_does_not_fit_is_counted(site: Site, side: str, form: str) -> None:
    """What does leaves whole, to the last octet, and as long as the MTU allows."""
    shape = FORMS[form]
    less = BROKEN_OUT.get(form, 0) if "breakout" in side else 0
    for size in range(LONGEST - 2, LONGEST + SPARE + 1):
        frame = t_pdu(site, side, size, shape)
        left = size - max(shape.less, less)
        if left > LONGEST:
            with site.counted(too_big=1):
                assert through(site, side, frame) == []
            continue
        with site.counted():
            [got] = through(site, side, frame)
        assert len(got) == left
        told = gtpu.decode(got)
        assert (told.teid, got[-1200:]) == (SIDES[side].out, frame[-1200:])


@pytest.mark.parametrize("form", ["plain", "E", "E and S", "CE, E"])
@pytest.mark.parametrize("side", SIDES)
def test_none_of_its_batch_is_lost(site: Site, side: str, form: str) -> None:
    """The kernel refuses a frame that is too long, and the switch then those behind it as well."""
    frames = [t_pdu(site, side, 200 + place, FORMS[form]) for place in range(20)]
    for place in (3, 4, 11):
        frames[place] = t_pdu(site, side, LONGEST + 1 + place % SPARE, FORMS[form])
    with site.counted(too_big=3):
        got = site.at_once(frames, site.enbs[SIDES[side].sender], site.enbs[TAP], 17)
    kept = [frame for frame in frames if len(frame) < LONGEST]
    assert [len(frame) for frame in got] == [len(frame) for frame in kept]
    for frame, one in zip(got, kept, strict=True):
        assert gtpu.decode(frame).teid == SIDES[side].out
        assert frame[-100:] == one[-100:]


def test_it_is_not_counted_as_forwarded(site: Site) -> None:
    def forwarded() -> int:
        site.counters()  # brings the flows' own up to date
        return int(site.gateway()["forwarded"]["uplink"]["packets"])

    for form in ("plain", "E and S"):
        fits = t_pdu(site, "uplink", LONGEST, FORMS[form])
        too_long = t_pdu(site, "uplink", LONGEST + 1, FORMS[form])
        before, lost = forwarded(), site.settled()["not_sent"]
        assert len(through(site, "uplink", *[fits, too_long] * 5)) == 5
        after = before + 5 + 2  # with the markers
        until(lambda after=after: forwarded() == after, "those that have left are counted")
        assert site.settled()["not_sent"] == lost, "the rest is not lost on top of that"


def test_octets_behind_a_packet_harm_no_other(site: Site) -> None:
    """As a network card hands them on: neither IP nor UDP says that they are there."""
    frames = [t_pdu(site, "uplink", 200 + place) for place in range(20)]
    frames[3] += bytes(LONGEST + SPARE - len(frames[3]))
    got = site.at_once(frames, site.enb, site.enbs[TAP], 20)
    whole = {frame[-100:] for frame in frames if len(frame) < LONGEST}
    assert whole <= {frame[-100:] for frame in got}


def test_another_mtu_under_traffic(site: Site) -> None:
    """On both ways; packets keep coming, and the switch's cache is never emptied by us."""
    size = 1400

    def sizes() -> list[int]:
        frames = [t_pdu(site, "uplink", size, FORMS[form]) for form in ("plain", "E and S")]
        return [len(each) for each in through(site, "uplink", *frames)]

    def access_mtu(mtu: int) -> None:
        site.lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", str(mtu)])

    assert sizes() == [size] * 2
    access_mtu(size - 16)  # so that it takes these, and sends none of them
    try:
        until(lambda: sizes() == [], "the smaller MTU holds", timeout=30)
    finally:
        access_mtu(MTU)
    until(lambda: sizes() == [size] * 2, "the larger one does", timeout=30)


# --- cut off


@pytest.mark.parametrize("flags", [S, S | PN, E | S, 0, E, PN])
@pytest.mark.parametrize("side", SIDES)
def test_nothing_leaves_of_what_ends_within_its_header(site: Site, side: str, flags: int) -> None:
    """With S the switch takes 12 octets off, whether they are there or not, and looks at what
    stands behind: what its buffer held before, a packet of this very relay."""
    teid, sender, out = SIDES[side]
    form = Form(flags, ONE if flags & E else b"")
    before = t_pdu(site, side, 300, form)
    whole = gtpu.message(gtpu.T_PDU, teid, flags=0x30 | flags, length=4, extension=0x85)
    for size in range(2, len(whole)):
        cut = site.from_enb(whole[:size], enb=sender)
        frames = [*[before] * 32, *[cut] * 8, *[before] * 24]
        got = site.at_once(frames, site.enbs[sender], site.enbs[TAP], 56)
        assert {(gtpu.decode(each).teid, each[-200:]) for each in got} == {(out, before[-200:])}
        assert len(got) == 56


@pytest.mark.parametrize("flags", [S, S | PN, E | S])
def test_what_is_cut_off_behind_its_teid_is_counted(site: Site, flags: int) -> None:
    """As whatever is read of it, once."""
    whole = gtpu.message(gtpu.T_PDU, UP, flags=0x30 | flags, length=4, extension=0x85)
    cut = [site.from_enb(whole[:size]) for size in (8, 9, 10, 11) for _ in range(5)]
    before = site.settled()
    assert through(site, "uplink", *cut) == []
    after = site.settled()
    reasons = ("tunnel_error", "not_ip", "bad_inner")
    assert sum(after[each] - before[each] for each in reasons) == len(cut)
