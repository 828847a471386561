"""`ofgtp trace` where a packet as it should be would be delivered, and the real ones are not: one
fault after the other, each named first."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether

from ofgtp.core.trace.lately import FEW
from tests.support import gtpu
from tests.support.command import at_switch
from tests.support.lab import Lab
from tests.support.site import ACCESS_IP, ENB_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
UE_5G, UP_5G, DOWN_5G = "10.45.0.5", 0x1005, 0x2005
CONTAINER = b"\x01\x10\x09\x00"
NO_API = ("--url", "http://127.0.0.1:9")


@pytest.fixture
def site() -> Iterator[Site]:
    """A new one for each fault: what one has left to be seen is not another's."""
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        site.session(UE, teid=UP, downlink=DOWN)
        site.session(UE_5G, teid=UP_5G, downlink=DOWN_5G, qfi=9)
        yield site
        site.alive()


@dataclass
class Told:
    code: int
    text: str
    found: dict[str, Any]

    @property
    def first(self) -> dict[str, Any]:
        """What leads, of all that has happened."""
        return dict(self.found["lately"][0])

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def run(site: Site, *arguments: str) -> tuple[int, str]:
    """The command in the switch's namespace."""
    code, out, err = at_switch(site.lab, "trace", *arguments)
    assert err == ""
    return code, out


def trace(site: Site, session: str, *arguments: str) -> Told:
    """As people and as scripts see it; of what comes in between only one of them knows."""

    def both() -> Told | None:
        code, text = run(site, session, *arguments)
        again, shown = run(site, session, *arguments, "--json")
        return Told(code, text, json.loads(shown)) if again == code else None

    told: Told = until(both, "text and JSON end with the same code")
    return told


def happens(site: Site, session: str) -> bool:
    """Whether it is told that something does."""
    return bool(json.loads(run(site, session, "--json")[1])["lately"])


def wrong(site: Site, session: str, direction: str, reason: str, *says: str) -> Told:
    """Within some seconds it leads with this, and says that a right packet would be delivered."""
    deadline = time.monotonic() + 30
    while not ((told := trace(site, session)).found["lately"] and _says(told, *says)):
        assert time.monotonic() < deadline, told.text
    assert (told.first["direction"], told.first["reason"]) == (direction, reason), told.text
    assert not told.first["over"]
    assert told.code == 1
    assert told.found["delivered"], "as it should be it would"
    head = f"{direction}:".ljust(10) + "LATELY: "
    assert told.lines[0].startswith(head), told.text
    assert _says(told, "To do:"), told.text
    return told


def _says(told: Told, *parts: str) -> bool:
    lead = " ".join(told.text.partition("DELIVERED")[0].split())
    return all(part in lead for part in parts)


def well(site: Site, session: str = UE) -> None:
    told = trace(site, session)
    assert (told.code, told.found["lately"]) == (0, []), told.text
    assert told.lines[0].startswith("uplink:   DELIVERED")


def over(site: Site, session: str, up: bytes, down: bytes) -> Told:
    """What was told has been put right, and packets pass: soon it is said to be over."""
    deadline = time.monotonic() + 30
    time.sleep(2.1)
    while True:
        both_ways(site, up, down)
        told = trace(site, session)
        if told.code == 0 and told.first["over"]:
            return told
        assert time.monotonic() < deadline, told.text


def send_up(site: Site, frame: bytes, times: int = FEW + 2) -> None:
    for _ in range(times):
        site.enb.send(frame)
        time.sleep(0.02)


def both_ways(site: Site, up: bytes, down: bytes, times: int = 3) -> None:
    """Packets that pass; what the switch says of them is half a second late."""
    for _ in range(times):
        site.enb.send(up)
        site.pdn.send(down)
        time.sleep(0.3)
    time.sleep(0.7)


def good(site: Site) -> None:
    both_ways(site, site.t_pdu(UP, gtpu.ipv4(UE, PDN_IP)), site.to_ue(gtpu.ipv4(PDN_IP, UE)))


def n3(site: Site, octets: bytes) -> bytes:
    body = octets + gtpu.ipv4(UE_5G, PDN_IP)
    return site.from_enb(gtpu.t_pdu(UP_5G, body, flags=gtpu.PLAIN | gtpu.E, extension=0x85))


def test_another_teid_at_the_base_station(site: Site) -> None:
    well(site)
    good(site)
    well(site)
    send_up(site, site.t_pdu(0x9999, gtpu.ipv4(UE, PDN_IP)))
    says = ("10.1.0.2 sends packets of 10.45.0.2 with TEID 0x9999", "0x1001", "5 times")
    told = wrong(site, UE, "uplink", "unknown_teid", *says)
    assert told.first["run"] == f"ofgtp session set ue-{UE} --uplink-teid 0x9999"
    assert [way["reason"] for way in told.found["ways"]] == [None, None]
    well(site, UE_5G)
    # it is put right, and packets pass: what was is over
    up, down = gtpu.ipv4(UE, PDN_IP), gtpu.ipv4(PDN_IP, UE)
    told = over(site, UE, site.t_pdu(UP, up), site.to_ue(down))
    assert told.lines[0].startswith("uplink:   DELIVERED")
    assert "it is over: 10.1.0.2 sends packets" in told.text


def test_another_inner_source_address(site: Site) -> None:
    send_up(site, site.t_pdu(UP, gtpu.ipv4("192.168.7.7", PDN_IP)))
    says = ("packets from 192.168.7.7 come in its tunnel by 10.1.0.2", "for 10.45.0.2 alone")
    wrong(site, UE, "uplink", "spoofed_source", *says)


def test_a_qfi_and_a_base_station_that_sends_no_container(site: Site) -> None:
    send_up(site, site.t_pdu(UP_5G, gtpu.ipv4(UE_5G, PDN_IP)))
    says = ("without a PDU Session Container", "requires one", "--no-qfi")
    told = wrong(site, UE_5G, "uplink", "container_missing", *says)
    well(site, UE)
    # what it says to do, done
    done = cli_set(site, told.first["run"])
    assert done == 0
    up, down = gtpu.ipv4(UE_5G, PDN_IP), gtpu.ipv4(PDN_IP, UE_5G)
    over(site, UE_5G, site.t_pdu(UP_5G, up), site.to_ue(down))


def cli_set(site: Site, command: str) -> int:
    words = command.split()
    assert words[0] == "ofgtp"
    environment = f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml"
    ofgtp = f"{sys.prefix}/bin/ofgtp"
    return site.lab.exec("gw", ["env", environment, ofgtp, *words[1:]]).returncode


@pytest.mark.parametrize(
    ("octets", "reason", "says"),
    [
        (b"\x01\x10\x08\x00", "wrong_qfi", "with QFI 8, and it takes QFI 9 alone"),
        (b"\x01\x00\x09\x00", "bad_container", "no uplink one"),
        (b"\x08\x18\x09" + bytes(29), "long_container", "more than 28 octets"),
        (CONTAINER[:3] + b"\x40\x01\x00\x00\x00", "extension_chain", "another extension header"),
    ],
)
def test_other_containers(site: Site, octets: bytes, reason: str, says: str) -> None:
    site.patch(f"ue-{UE_5G}", {"qfi_check": True})
    send_up(site, n3(site, octets))
    wrong(site, UE_5G, "uplink", reason, says)


def test_another_base_station_than_the_uplink_is_pinned_to(site: Site) -> None:
    site.patch(f"ue-{UE}", {"uplink": {"remote_ip": ENB_IP["enb"]}})
    send_up(site, site.t_pdu(UP, gtpu.ipv4(UE, PDN_IP), source="10.1.0.9"))
    wrong(site, UE, "uplink", "wrong_peer", "come from 10.1.0.9", "pinned to 10.1.0.2")


@contextmanager
def own_stack(site: Site) -> Iterator[None]:
    """Within, the base station's own stack answers, and no program takes GTP-U there."""
    ruleset = site.lab.exec("enb", ["nft", "list", "ruleset"]).stdout
    site.lab.exec("enb", ["nft", "delete", "table", "netdev", "mute"])
    yield
    site.lab.exec("enb", ["nft", "-f", "-"], stdin=ruleset)


def test_a_base_station_without_its_gtp_u_program(site: Site) -> None:
    with own_stack(site):
        for _ in range(4):
            site.pdn.send(site.to_ue(gtpu.ipv4(PDN_IP, UE)))
            time.sleep(0.3)
        says = ("the base station 10.1.0.2 says that nobody takes GTP-U there", "port unreachable")
        wrong(site, UE, "downlink", "icmp_error", *says)
        wrong(site, UE_5G, "downlink", "icmp_error", "nobody takes GTP-U there")
        seen = site.lab.http("GET", f"/v1/sessions/ue-{UE}/seen").json()["items"]
        about = {(each["teid"], each["icmp"]["type"], each["icmp"]["code"]) for each in seen}
        assert (DOWN, 3, 3) in about, "the tunnel is quoted"
    assert trace(site, UE, "--uplink").code == 0, "that way is well"


def test_what_a_router_on_the_way_says(site: Site) -> None:
    outer = IP(src=ACCESS_IP, dst=ENB_IP["enb"]) / UDP(sport=5000, dport=2152, chksum=0)
    said = IP(src="10.1.0.254", dst=ACCESS_IP) / ICMP(type=3, code=13) / outer
    frame = bytes(Ether(src=site.enb_mac["enb"], dst=site.local_mac) / said)
    send_up(site, frame)
    says = "10.1.0.254, on the way to 10.1.0.2, lets no GTP-U pass"
    wrong(site, UE, "downlink", "icmp_error", says)
    good(site)
    assert trace(site, UE).code == 1, "packets that leave do not say that they arrive"


def test_forged_icmp_changes_nothing(site: Site) -> None:
    """Anybody in the access network can send it; it is told, and no more."""
    about = IP(src=ACCESS_IP, dst=ENB_IP["enb"]) / UDP(sport=5000, dport=2152, chksum=0)
    quoted = bytes(about)[:28]
    for body in (b"", quoted[:8], quoted[:20], quoted[:27], quoted, quoted + bytes(60)):
        said = IP(src="10.1.0.254", dst=ACCESS_IP) / ICMP(type=3, code=3) / body
        site.enb.send(bytes(Ether(src=site.enb_mac["enb"], dst=site.local_mac) / said))
    until(lambda: happens(site, UE), "it is told")
    assert site.lab.http("GET", f"/v1/sessions/ue-{UE}").json()["state"] == "active"
    up, down = gtpu.ipv4(UE, PDN_IP), gtpu.ipv4(PDN_IP, UE)
    assert len(site.uplink(site.t_pdu(UP, up))) == len(site.downlink(site.to_ue(down))) == 1


def test_no_route_back_in_the_packet_data_network(site: Site) -> None:
    send_up(site, site.t_pdu(UP, gtpu.ipv4(UE, PDN_IP)))
    says = ("packets of 10.45.0.2 go up", "none has come down yet", "route 10.45.0.2 back to 10.2")
    told = wrong(site, UE, "downlink", "no_answers", *says)
    assert told.first["run"] == f"tcpdump -ni eth2 host {UE}"
    without = trace(site, UE, *NO_API)
    assert without.code == 1 and without.first["reason"] == "no_answers", "the switch tells this"
    good(site)
    well(site)


def test_answers_that_have_stopped(site: Site) -> None:
    good(site)
    up = site.t_pdu(UP, gtpu.ipv4(UE, PDN_IP))
    until(lambda: site.enb.send(up) or happens(site, UE), "it is told", 40)
    send_up(site, up, 150)
    wrong(site, UE, "downlink", "no_answers", "none has come down for ")


def test_what_another_sends(site: Site) -> None:
    """T-PDUs of nobody from its base station are told, and are nothing that is wrong with it."""
    send_up(site, site.t_pdu(0x7777, gtpu.ipv4("10.45.0.99", PDN_IP)))
    until(lambda: site.gateway()["uplink_misses_seen"].get("unknown_teid"), "they are seen")
    told = trace(site, UE)
    assert (told.code, told.found["lately"]) == (0, [])
    assert "10.1.0.2 sends T-PDUs of TEIDs that no session has: 0x7777" in " ".join(
        told.text.split()
    )
