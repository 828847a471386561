"""What sessions have used, with real packets: each once, over all that becomes of their flows."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from tests.support import gtpu
from tests.support import ownership as own
from tests.support.gtpu import ERROR_INDICATION
from tests.support.lab import Lab
from tests.support.n3_steps import CONTAINER, CONTAINERS, FORMS
from tests.support.site import BRIDGE, ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

OWNED = f"{own.SWITCH}\nusage_round_seconds = 10"
SIZE = 100
LIMIT = 1500 - gtpu.OVERHEAD
"""The longest packet that fits the access side."""
ENB, ENB2 = ENB_IP["enb"], ENB_IP["enb2"]
VOICE = {"id": "voice", "precedence": 10, "filters": ["permit out udp from any 5004 to assigned"]}

_numbers = itertools.count(10)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab, lab.config(controller=OWNED))
        site.ready()
        site.session("10.45.0.3", teid=0x1003, downlink=0x2003, peer=ENB2)
        site.warm("enb2", "10.45.0.3", 0x2003)
        yield site
        site.alive()


class Ue:
    """A session, its packets, and what should be counted of them."""

    def __init__(self, site: Site, **members: Any) -> None:
        number = next(_numbers)
        self.site, self.ip = site, f"10.45.1.{number}"
        self.teid, self.far = 0x5000 + number, 0x6000 + number
        self.sent = {"uplink": 0, "downlink": 0}
        self.name = site.session(self.ip, teid=self.teid, downlink=self.far, **members)

    def packet(self, way: str, port: int = 7000) -> bytes:
        ends = (self.ip, PDN_IP) if way == "uplink" else (PDN_IP, self.ip)
        ports = (6000, port) if way == "uplink" else (port, 6000)
        body = bytes(SIZE - 28)
        return bytes(IP(src=ends[0], dst=ends[1]) / UDP(sport=ports[0], dport=ports[1]) / body)

    def up(self, count: int, port: int = 7000) -> int:
        """How many of so many packets of the UE's come out."""
        frame = self.site.t_pdu(self.teid, self.packet("uplink", port))
        got = len(self.site.uplink(*[frame] * count))
        self.sent["uplink"] += got
        return got

    def down(self, count: int, enb: str = "enb", port: int = 7000) -> int:
        """How many of so many packets to the UE a base station gets."""
        frame = self.site.to_ue(self.packet("downlink", port))
        self.site.enbs[enb].all()
        got = self.site.downlink(*[frame] * count)
        if enb != "enb":
            got = self.site.enbs[enb].all(0.1)
        passed = len([each for each in got if is_gtpu(each, self.far)])
        self.sent["downlink"] += passed
        return passed

    def both(self, count: int, enb: str = "enb") -> None:
        """Packets each way, all of which pass."""
        assert (self.up(count), self.down(count, enb)) == (count, count)

    def shown(self) -> dict[str, Any]:
        answer = self.site.lab.http("GET", f"/v1/sessions/{self.name}")
        assert answer.status == 200, answer.body
        return dict(answer.json())

    def counted(self) -> bool:
        """Whether all that has passed is counted, and nothing else, octets as those of IP."""
        seen = self.shown()["counters"]
        return all(
            (seen[way]["packets"], seen[way]["bytes"]) == (count, SIZE * count)
            for way, count in self.sent.items()
        )

    def patch(self, change: dict[str, Any]) -> None:
        """A change, when the switch goes by it: no packet takes the old way any more."""
        self.site.patch(self.name, change)
        self.site.lab.cache_follows()

    def settled(self) -> None:
        try:
            until(self.counted, "all is counted")
        except AssertionError as error:
            seen = {way: self.shown()["counters"][way] for way in self.sent}
            raise AssertionError(f"sent {self.sent}, counted {seen}") from error


def test_a_count_is_the_sessions(site: Site) -> None:
    ue = Ue(site)
    ue.both(3)
    ue.settled()
    listed = site.lab.http("GET", f"/v1/sessions?ue_ip={ue.ip}").json()["items"]
    assert listed[0]["counters"].keys() == {"uplink", "downlink"}
    assert {way: each["packets"] for way, each in listed[0]["counters"].items()} == ue.sent


@pytest.mark.parametrize("ttl", [64, 128])
@pytest.mark.parametrize(("form", "octets"), [("", 0), *itertools.product(FORMS, CONTAINERS)])
def test_octets_are_those_of_ip_behind_any_tunnel_header(
    site: Site, form: str, octets: int, ttl: int
) -> None:
    ue = Ue(site)
    inner = bytes.fromhex(CONTAINERS[octets]) if octets else b""
    inner += gtpu.ipv4(ue.ip, PDN_IP, size=SIZE, ttl=ttl)
    flags = gtpu.PLAIN | (FORMS[form] if octets else 0)
    t_pdu = gtpu.t_pdu(ue.teid, inner, flags=flags, extension=CONTAINER if octets else 0)
    ue.sent["uplink"] += len(site.uplink(*[site.from_enb(t_pdu)] * 5))
    assert ue.sent["uplink"] == 5
    ue.settled()


def test_over_an_error_indication(site: Site) -> None:
    ue = Ue(site)
    ue.both(3)
    ue.settled()
    ies = b"\x10" + ue.far.to_bytes(4, "big") + b"\x85\x00\x04" + IP(src=ENB).build()[12:16]
    octets = gtpu.message(ERROR_INDICATION, 0, ies, flags=0x32)
    site.enb.send(site.from_enb(octets))
    until(lambda: ue.shown()["state"] == "error_indicated", "it is indicated")
    site.lab.cache_follows()
    assert ue.counted()
    with site.counted(error_indicated=4):
        assert ue.down(4) == 0
    assert ue.up(2) == 2
    ue.settled()
    ue.far += 0x100
    ue.patch({"downlink": {"teid": ue.far, "remote_ip": ENB}})
    assert ue.counted(), "what was dropped meanwhile is not counted"
    assert ue.down(1) == 1
    ue.settled()


def test_over_idle_and_back(site: Site) -> None:
    ue = Ue(site)
    ue.both(5)
    ue.settled()
    for times in (1, 7):
        ue.patch({"downlink": None})
        assert ue.counted()
        with site.counted(idle_ue=times):
            assert ue.down(times) == 0
        assert ue.up(1) == 1
        ue.settled()
        ue.patch({"downlink": {"teid": ue.far, "remote_ip": ENB}})
        assert ue.counted()
        # More than before, and less.
        assert ue.down(1) == 1
        ue.both(times)
        ue.settled()


def test_over_a_handover_and_another_peer(site: Site) -> None:
    ue = Ue(site)
    ue.both(2)
    ue.settled()
    ue.far += 0x100
    ue.patch({"downlink": {"teid": ue.far, "remote_ip": ENB2}})
    assert ue.counted()
    assert ue.down(1, "enb2") == 1
    ue.settled()
    for pinned in (ENB, None):
        ue.patch({"uplink": {"remote_ip": pinned}})
        assert ue.counted(), "its uplink flow is another one"
        assert ue.up(1) == 1
        ue.settled()
    ue.teid += 0x100
    body = {"ue_ip": ue.ip, "uplink": {"teid": ue.teid}, "downlink": None}
    assert site.lab.http("PUT", f"/v1/sessions/{ue.name}", body).status == 200
    site.lab.cache_follows()
    assert ue.counted(), "it is replaced as a whole"
    assert ue.up(4) == 4
    ue.settled()


def test_in_a_batch(site: Site) -> None:
    ues = [Ue(site) for _ in range(3)]
    for ue in ues:
        ue.both(2)
    for ue in ues:
        ue.settled()
    lines = [
        {"op": "put", "session": {"id": ue.name, "ue_ip": ue.ip, "uplink": {"teid": ue.teid + 64}}}
        for ue in ues[:2]
    ]
    # The second one twice: the flow that is made first is never in the switch.
    again = {**lines[1]["session"], "uplink": {"teid": ues[1].teid + 128}}  # type: ignore[dict-item]
    lines += [{"op": "put", "session": again}, {"op": "delete", "id": ues[2].name}]
    assert own.batch(site.lab, lines)["replaced"] == 3
    site.lab.cache_follows()
    ues[0].teid += 64
    ues[1].teid += 128
    for ue in ues[:2]:
        assert ue.counted()
        assert ue.up(1) == 1
        ue.settled()


def test_bearers_that_come_and_go(site: Site) -> None:
    ue = Ue(site)
    ue.both(2)
    ue.settled()

    def voice() -> tuple[int, int]:
        [bearer] = ue.shown()["bearers"]
        counters = bearer["counters"]
        assert all(each["bytes"] == SIZE * each["packets"] for each in counters.values())
        return tuple(counters[way]["packets"] for way in ("uplink", "downlink"))

    ue.patch({"bearers": [VOICE]})
    assert ue.counted()
    assert ue.up(1) == 1
    assert ue.down(3, port=5004) == 3
    ue.both(1)
    ue.settled()
    before = voice()
    assert before[1] >= 3
    ue.patch({"bearers": [{**VOICE, "gate": "closed"}]})
    assert (ue.counted(), voice()) == (True, before)
    with site.counted(gate_closed=2):
        assert ue.down(2, port=5004) == 0
    assert (ue.counted(), voice()) == (True, before)
    ue.patch({"bearers": [VOICE]})
    assert ue.down(1, port=5004) == 1
    ue.settled()
    assert voice()[1] > before[1]
    ue.patch({"bearers": []})
    assert ue.counted(), "what a bearer has carried stays the session's"
    assert ue.up(1) == 1
    ue.settled()


def test_what_a_meter_drops_is_not_counted(site: Site) -> None:
    ue = Ue(site, ambr={"uplink_kbps": 8, "downlink_kbps": 8})
    # The bucket takes 25 kbit.
    up, down = ue.up(100), ue.down(100)
    assert 10 < up < 90
    assert 10 < down < 90
    ue.settled()
    ue.patch({"ambr": {"downlink_kbps": None}})
    assert ue.counted()
    assert ue.down(100) == 100
    ue.settled()


@pytest.mark.parametrize(
    ("members", "limit", "more"),
    [({}, LIMIT, 1), ({"bearers": [VOICE]}, LIMIT, 1), ({"qfi": 9}, LIMIT - 8, 9)],
)
def test_what_is_too_big_is_not_counted(
    site: Site, members: dict[str, Any], limit: int, more: int
) -> None:
    ue = Ue(site, **members)
    fits, longer = (
        site.to_ue(gtpu.ipv4(PDN_IP, ue.ip, size=size)) for size in (limit, limit + more)
    )
    with site.counted(too_big=20):
        assert len(site.downlink(*[fits, longer, longer] * 10)) == 10
    assert len(site.downlink(fits)) == 1
    _counts(ue, 11, 11 * limit)


def test_what_is_too_big_with_a_container_alone_is_counted(site: Site) -> None:
    """The exception of 8 octets, for which docs/usage.md gives the reasons."""
    ue = Ue(site, qfi=9)
    fits, longer = (site.to_ue(gtpu.ipv4(PDN_IP, ue.ip, size=LIMIT - 8 + more)) for more in (0, 8))
    with site.counted(too_big=2):
        assert len(site.downlink(fits, longer, longer)) == 1
    _counts(ue, 3, 3 * LIMIT - 8)


def _counts(ue: Ue, packets: int, octets: int) -> None:
    def counted() -> bool:
        seen = ue.shown()["counters"]["downlink"]
        return (seen["packets"], seen["bytes"]) == (packets, octets)

    until(counted, "all that passed is counted, and no more")


def test_over_a_repair(site: Site) -> None:
    """What was counted when somebody deleted a flow is kept as far as it was looked at, and what
    comes behind the repair is counted from its first packet, though it is more than before."""
    ue, beside = Ue(site), Ue(site, bearers=[VOICE])
    for each in (ue, beside):
        each.both(3)
        each.settled()
        each.patch({"downlink": None})  # looked at, and marked
        each.patch({"downlink": {"teid": each.far, "remote_ip": ENB}})
        assert each.down(1) == 1
        each.settled()
    for each in (ue, beside):
        repaired = site.gateway()["repairs"]
        site.lab.ofctl("del-flows", BRIDGE, f"table=30,reg0={each.teid}")
        until(lambda repaired=repaired: site.gateway()["repairs"] > repaired, "it is repaired")  # type: ignore[misc]
        until(lambda: own.in_sync(site.lab), "all is in order")
        site.lab.cache_follows()
        assert each.up(9) == 9
        each.settled()


def test_over_restarts(site: Site) -> None:
    """kill -9 of the controller, and of the switch: what was counted goes on."""
    ue, beside, other = Ue(site), Ue(site, bearers=[VOICE]), Ue(site)
    both = ue, beside
    for each in both:
        each.both(3)
        each.settled()
    site.lab.stop_controller(signal.SIGKILL)
    for each in both:
        each.both(2)
    site.lab.start_controller(site.lab.config(controller=OWNED))
    until(lambda: own.in_sync(site.lab), "all is in order")
    for each in both:
        each.settled()
    for each in both:
        each.patch({"uplink": {"remote_ip": ENB}})
        assert each.counted()
    site.lab.stop_vswitchd()
    for each in both:
        assert each.counted(), "as far as it was read"
    site.lab.start_vswitchd()
    until(lambda: own.in_sync(site.lab), "all is in order")
    site.warm("enb", other.ip, other.far)
    for each in both:
        each.both(9)
        each.settled()


def test_a_switch_that_is_started_again_has_lost_what_came_since_the_last_round(
    site: Site,
) -> None:
    """Nobody changes or looks at the sessions: what they have used is kept all the same."""
    ue, beside, other = Ue(site), Ue(site, bearers=[VOICE]), Ue(site)
    both = ue, beside
    for each in both:
        each.both(3)
        each.settled()
    made = rounds(site)
    # One more that has begun by now.
    until(lambda: rounds(site) >= made + 2 or not site.uplink(ue_frame(other)), "a round", 60)
    site.lab.stop_vswitchd()
    for each in both:
        assert each.counted()
    site.lab.start_vswitchd()
    until(lambda: own.in_sync(site.lab), "all is in order")
    site.warm("enb", other.ip, other.far)
    for each in both:
        each.both(9)
        each.settled()


def ue_frame(ue: Ue) -> bytes:
    return ue.site.t_pdu(ue.teid, ue.packet("uplink"))


def rounds(site: Site) -> int:
    """How many were made: one is, only if something has come in."""
    text = site.lab.http("GET", "/metrics").body.decode()
    return int(float(re.search(r"^ofgtp_usage_rounds_total{.*} (.*)$", text, re.M)[1]))  # type: ignore[index]
