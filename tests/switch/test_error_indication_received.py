"""Error Indications of base stations' (TS 29.281, 7.3.1): the session's downlink stops, and nobody
stops another's."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import gtpu
from tests.support import ownership as own
from tests.support.answers import Counted, Hearing, judge
from tests.support.gtpu import ERROR_INDICATION
from tests.support.lab import Lab
from tests.support.site import BRIDGE, ENB_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

UE, UP, DOWN, SESSION = "10.45.0.2", 0x1001, 0xDEADBEEF, "ue-10.45.0.2"
PEER = ENB_IP["enb"]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab, lab.config(controller=own.SWITCH))
        site.ready()
        site.session("10.45.0.3", teid=0x1003, downlink=0x2003, peer=ENB_IP["enb2"])
        site.warm("enb2", "10.45.0.3", 0x2003)
        yield site
        site.alive()
        site.check_sent()
        judge(site)


@pytest.fixture(scope="module")
def hear(site: Site) -> Hearing:
    return Hearing(site)


@pytest.fixture(autouse=True)
def session(site: Site) -> None:
    """A session that works; a PUT makes it so, whatever was before."""
    site.session(UE, teid=UP, downlink=DOWN)
    until(lambda: works(site), "the session works")


def ies(teid: int = DOWN, address: str = PEER) -> bytes:
    """TEID Data I and GTP-U Peer Address."""
    packed = bytes(map(int, address.split(".")))
    return b"\x10" + teid.to_bytes(4, "big") + b"\x85\x00\x04" + packed


def message(
    site: Site,
    body: bytes,
    teid: int = 0,
    *,
    enb: str = "enb",
    source: str | None = None,
    **gtp: Any,
) -> bytes:
    """An Error Indication from a base station."""
    octets = gtpu.message(ERROR_INDICATION, teid, body, **({"flags": 0x32} | gtp))
    return site.from_enb(octets, enb=enb, source=source or ENB_IP[enb])


def told(site: Site) -> dict[str, Any]:
    return dict(site.lab.http("GET", f"/v1/sessions/{SESSION}").json())


def indicated(site: Site) -> bool:
    return bool(told(site)["state"] == "error_indicated")


def works(site: Site) -> bool:
    packet = gtpu.ipv4(PDN_IP, UE)
    got = [gtpu.decode(frame) for frame in site.downlink(site.to_ue(packet))]
    return [(each.teid, each.inner, each.destination) for each in got] == [(DOWN, packet, PEER)]


def stopped(site: Site) -> None:
    """Downlink packets are dropped and counted as what they are; uplink goes on."""
    packets = [site.to_ue(gtpu.ipv4(PDN_IP, UE, size=size)) for size in (40, 100, 1400)]
    with site.counted(error_indicated=len(packets)):
        assert site.downlink(*packets) == []
    inner = [gtpu.ipv4(UE, PDN_IP, ttl=ttl) for ttl in (1, 64, 100, 128)]
    assert len(site.uplink(*(site.t_pdu(UP, each) for each in inner))) == len(inner)


FORMS: dict[str, dict[str, Any]] = {
    "as the standard has it": {"body": ies()},
    "IEs in the other order": {"body": ies()[5:] + ies()[:5]},
    "with a private extension": {"body": ies() + b"\xff\x00\x04\x00\x01\x02\x03"},
    "without S": {"body": ies(), "flags": 0x30},
    "no IE: the header's TEID": {"body": b"", "teid": DOWN},
    "srsENB": {"body": b"", "teid": DOWN, "length": 8},
    "Open5GS": {
        "body": b"\x01\x00\x00\x00" + ies(),
        "teid": DOWN,
        "flags": 0x36,
        "extension": 0x40,
    },
    "only the TEID": {"body": ies()[:5]},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_downlink_tunnel_that_its_peer_does_not_know(
    site: Site, hear: Hearing, form: dict[str, Any]
) -> None:
    log, count = own.Log(site.lab), Counted(site.lab)
    assert hear.after(message(site, **form)) == [], "nothing answers it"
    until(lambda: indicated(site), "error_indicated")
    shown = told(site)
    assert "Error Indication" in shown["reason"]
    assert shown["downlink"] == {"teid": DOWN, "remote_ip": PEER}
    [event] = log.has("error_indicated")
    assert f"session={SESSION} peer={PEER} teid={DOWN}" in event
    stopped(site)
    assert (count.received["error_indication"], count.ignored) == (1, {})
    site.session(UE, teid=UP, downlink=DOWN)
    assert told(site)["reason"] is None
    until(lambda: works(site), "a PUT of the same session clears it")


def test_it_is_listed(site: Site, hear: Hearing) -> None:
    def listed(state: str) -> list[str]:
        answer = site.lab.http("GET", f"/v1/sessions?state={state}")
        return [each["id"] for each in answer.json()["items"]]

    assert listed("error_indicated") == []
    hear.after(message(site, ies()))
    until(lambda: indicated(site), "error_indicated")
    assert listed("error_indicated") == [SESSION]
    assert SESSION not in listed("active") and listed("active")
    assert site.gateway()["sessions"]["error_indicated"] == 1
    text = site.lab.http("GET", "/metrics").body.decode()
    assert 'ofgtp_sessions{gateway="gw1",state="error_indicated"} 1.0' in text


def test_repeated(site: Site, hear: Hearing) -> None:
    """One event, and the rest is counted: a base station sends one for each packet."""
    log, count = own.Log(site.lab), Counted(site.lab)
    hear.after(*[message(site, ies())] * 5)
    until(lambda: indicated(site), "error_indicated")
    hear.after(*[message(site, ies())] * 5)
    until(lambda: count.ignored == {"error_indication_repeated": 9}, "the rest is counted")
    log.has("error_indicated")
    assert len(log.events("error_indicated")) == 1


@pytest.mark.parametrize(
    "change",
    [{}, {"downlink": {"teid": 0x3001, "remote_ip": PEER}}, {"downlink": None}],
    ids=["nothing", "another tunnel", "idle"],
)
def test_a_patch_clears_it(site: Site, hear: Hearing, change: dict[str, Any]) -> None:
    hear.after(message(site, ies()))
    until(lambda: indicated(site), "error_indicated")
    site.patch(SESSION, change)
    packet = site.to_ue(gtpu.ipv4(PDN_IP, UE))
    down = change.get("downlink", {"teid": DOWN})
    wanted = [] if down is None else [down["teid"]]

    def teids() -> list[int]:
        got = map(gtpu.decode, site.downlink(packet))
        return [each.teid for each in got if each.kind == gtpu.T_PDU]  # no End Marker of before

    until(lambda: teids() == wanted, "packets go where the change says")
    assert teids() == wanted
    assert told(site)["state"] == "active"


def test_it_may_come_again_after_it_was_cleared(site: Site, hear: Hearing) -> None:
    log = own.Log(site.lab)
    for times in (1, 2, 3):
        hear.after(message(site, ies()))
        until(lambda: indicated(site), "error_indicated")
        stopped(site)
        site.session(UE, teid=UP, downlink=DOWN)
        until(lambda: works(site), "the session works")
        until(lambda: len(log.events("error_indicated")) >= times, "each has its line")  # noqa: B023
        assert len(log.events("error_indicated")) == times


# --- what does not stop it


IGNORED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown TEID": ({"body": ies(0x777)}, "unknown_tunnel"),
    "its uplink TEID": ({"body": ies(UP)}, "unknown_tunnel"),
    "another base station": (
        {"body": ies(address=ENB_IP["enb2"]), "enb": "enb2"},
        "unknown_tunnel",
    ),
    "another, by the header": ({"body": b"", "teid": DOWN, "enb": "enb2"}, "unknown_tunnel"),
    "another, with a forged address": ({"body": ies(), "enb": "enb2"}, "unreadable"),
    "forged, header and address": ({"body": ies(), "teid": DOWN, "enb": "enb2"}, "unreadable"),
    "another's address in its own name": ({"body": ies(address=ENB_IP["enb2"])}, "unreadable"),
    "no TEID": ({"body": b""}, "unreadable"),
    "only the address": ({"body": ies()[5:]}, "unreadable"),
    "TEID 0": ({"body": ies(0)}, "unreadable"),
    "TEID 0 in the IE, right in the header": ({"body": ies(0), "teid": DOWN}, "unreadable"),
    "an IPv6 address": (
        {"body": b"\x10" + DOWN.to_bytes(4, "big") + b"\x85\x00\x10" + bytes(16)},
        "unreadable",
    ),
}


@pytest.mark.parametrize(("form", "reason"), IGNORED.values(), ids=IGNORED.keys())
def test_ignored(site: Site, hear: Hearing, form: dict[str, Any], reason: str) -> None:
    count, log = Counted(site.lab), own.Log(site.lab)
    assert hear.after(message(site, **form), enb=form.get("enb", "enb")) == []
    # What is handed on is carried out in order: this one behind it is another session's.
    site.enbs["enb2"].send(message(site, ies(0x2003, ENB_IP["enb2"]), enb="enb2"))
    until(lambda: log.events("error_indicated"), "the one behind it is carried out")
    [event] = log.events("error_indicated")
    assert "session=ue-10.45.0.3 " in event
    site.session("10.45.0.3", teid=0x1003, downlink=0x2003, peer=ENB_IP["enb2"])
    assert count.ignored == {f"error_indication_{reason}": 1}
    assert told(site)["state"] == "active"
    assert works(site)


def test_an_idle_session_has_no_tunnel(site: Site, hear: Hearing) -> None:
    site.patch(SESSION, {"downlink": None})
    count = Counted(site.lab)
    hear.after(message(site, ies()))
    assert count.ignored == {"error_indication_unknown_tunnel": 1}
    assert told(site)["state"] == "active"


def test_the_tunnel_that_a_session_has_left(site: Site, hear: Hearing) -> None:
    """An old base station may be late to say so: the new tunnel goes on."""
    site.patch(SESSION, {"downlink": {"teid": 0x3001, "remote_ip": ENB_IP["enb2"]}})
    count = Counted(site.lab)
    hear.after(message(site, ies()))
    assert count.ignored == {"error_indication_unknown_tunnel": 1}
    assert told(site)["state"] == "active"


# --- it lasts


def test_over_a_repair(site: Site, hear: Hearing) -> None:
    hear.after(message(site, ies()))
    until(lambda: indicated(site), "error_indicated")
    before, log = own.our_flows(site.lab), own.Log(site.lab)
    site.lab.ofctl("del-flows", BRIDGE)
    until(lambda: log.events("in_sync"), "the flows are back")
    until(lambda: own.our_flows(site.lab) == before, "the same flows")
    assert indicated(site)
    site.warm("enb", "10.45.254.254", 0xFEED_0002)
    stopped(site)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "crash"])
def test_over_a_restart(site: Site, hear: Hearing, how: signal.Signals) -> None:
    hear.after(message(site, ies()))
    until(lambda: indicated(site), "error_indicated")
    before, reason, lab = own.our_flows(site.lab), told(site)["reason"], site.lab
    lab.stop_controller(how)
    lab.start_controller(lab.dir.joinpath("ofgtp.toml").read_text())
    until(lambda: own.in_sync(lab), "in sync")
    assert own.our_flows(lab) == before
    assert indicated(site)
    assert told(site)["reason"] == reason
    stopped(site)
    site.session(UE, teid=UP, downlink=DOWN)
    until(lambda: works(site), "the session works")
