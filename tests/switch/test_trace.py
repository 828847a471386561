"""`ofgtp trace` on a real switch, where one thing after the other is really wrong.

In order: what comes last breaks more than can be mended.
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import gtpu
from tests.support.command import at_switch
from tests.support.lab import Lab
from tests.support.site import BRIDGE, ENB_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
OTHER_UE = "10.45.0.3"
UE_5G, UP_5G, DOWN_5G = "10.45.0.5", 0x1005, 0x2005
BOTH = ("uplink", "downlink")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """With the shortest lease, so that a test can wait for its end."""
    with Lab() as lab:
        site = Site(lab, lab.config(controller="lease_seconds = 5"))
        site.ready()
        site.session(UE, teid=UP, downlink=DOWN)
        site.session(OTHER_UE, teid=0x1003, downlink=0x2003)
        site.session(UE_5G, teid=UP_5G, downlink=DOWN_5G, qfi=9, rqi=True, qfi_check=True)
        yield site


@dataclass
class Told:
    """What `ofgtp trace --json` printed."""

    code: int
    found: dict[str, Any]

    def reason(self, direction: str) -> str | None:
        return str(self.way(direction)["reason"] or "delivered")

    def way(self, direction: str) -> dict[str, Any]:
        (way,) = (each for each in self.found["ways"] if each["direction"] == direction)
        return dict(way)

    @property
    def also(self) -> str:
        return "\n".join(each["says"] for each in self.found["also"] if each["level"] == "bad")


def run(site: Site, *arguments: str) -> tuple[int, str, str]:
    """The command as a user runs it."""
    command = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", str(OFGTP), "trace", *arguments]
    done = site.lab.exec("gw", command, check=False)
    return done.returncode, done.stdout, done.stderr


def quick(site: Site, *arguments: str) -> tuple[int, str, str]:
    """The command within this process."""
    return at_switch(site.lab, "trace", *arguments)


def trace(site: Site, *arguments: str, session: str = UE) -> Told:
    code, out, err = quick(site, session, "--json", *arguments)
    assert err == "" and code in (0, 1), err
    told = Told(code, json.loads(out))
    happens = [each for each in told.found["lately"] if not each["over"]]
    assert (told.found["delivered"] and not happens) == (code == 0)
    return told


def reason(site: Site, direction: str, *arguments: str) -> str | None:
    return trace(site, f"--{direction}", *arguments).reason(direction)


def test_a_session_that_works(site: Site) -> None:
    up, down = gtpu.ipv4(UE, PDN_IP), gtpu.ipv4(PDN_IP, UE)
    assert len(site.uplink(site.t_pdu(UP, up))) == len(site.downlink(site.to_ue(down))) == 1
    told = trace(site)
    assert [told.reason(way) for way in BOTH] == ["delivered"] * 2
    assert (told.found["session"], told.found["known_by"]) == (f"ue-{UE}", "api")
    tables = [step["name"] for step in told.way("uplink")["steps"]]
    assert tables[:4] == ["ingress", "access", "outer_ecn", "lease"]
    assert tables[-5:] == ["epoch", "inner_ecn", "uplink", "guard", "route"]
    owners = [step["owner"] for step in told.way("downlink")["steps"] if step.get("table") == 70]
    assert owners == ["session"]
    wrapped = [step["says"] for step in told.way("downlink")["steps"] if "table" not in step]
    assert wrapped[0].startswith(f"wrapped: GTP-U, TEID {DOWN:#x}, 10.1.0.1 > 10.1.0.2")
    assert site.enb_mac["enb"] in wrapped[0], "to the address that ARP told"


def test_for_people(site: Site) -> None:
    code, out, err = run(site, f"ue-{UE}", "-v", "--raw")
    assert (code, err) == (0, "")
    first, second = out.splitlines()[:2]
    assert first == f"uplink:   DELIVERED: it leaves by eth2 for the next hop {PDN_IP}"
    assert second == f"downlink: DELIVERED: it leaves by eth1 for 10.1.0.2, in tunnel {DOWN:#x}"
    assert f"flow of session ue-{UE}: TEID {UP:#x}, from {UE}" in out
    assert "One flow a session: TEID, inner source" in out, "the table's purpose"
    assert "$ ovs-appctl -t" in out and "Datapath actions: tnl_pop(" in out
    _, out, _ = quick(site, UE)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("ttl", ["1", "64", "100", "128", "255"])
def test_a_packet_that_the_switch_mistypes(site: Site, ttl: str) -> None:
    packet = gtpu.ipv4(UE, PDN_IP, ttl=int(ttl))
    assert len(site.uplink(site.t_pdu(UP, packet))) == 1
    assert reason(site, "uplink", "--ttl", ttl) == "delivered"


def test_uplink_packets_that_are_not_the_session_s(site: Site) -> None:
    assert reason(site, "uplink", "--teid", "0x9999") == "unknown_teid"
    assert reason(site, "uplink", "--source", "192.168.1.2") == "spoofed_source"
    assert reason(site, "uplink", "--host", "10.1.0.77") == "protected_destination"
    assert reason(site, "uplink", "--host", OTHER_UE, "--dport", "80") == "ue_to_ue"
    site.patch(f"ue-{UE}", {"uplink": {"remote_ip": ENB_IP["enb"]}})
    assert reason(site, "uplink") == "delivered"
    assert reason(site, "uplink", "--peer", "10.1.0.77") == "wrong_peer"
    assert trace(site).also == ""
    site.patch(f"ue-{UE}", {"uplink": {"remote_ip": None}})


def test_an_uplink_that_is_pinned_to_another_than_the_downlink_goes_to(site: Site) -> None:
    """As after half a handover: the base station that gets the downlink may not send."""
    site.patch(f"ue-{UE}", {"uplink": {"remote_ip": ENB_IP["enb2"]}})
    site.lab.appctl("revalidator/purge")
    with site.counted(no_uplink_session=1, seen_wrong_peer=1):
        assert site.uplink(site.t_pdu(UP, gtpu.ipv4(UE, PDN_IP))) == []
    told = trace(site)
    assert [told.reason(way) for way in BOTH] == ["wrong_peer", "delivered"]
    up = told.way("uplink")
    assert f"pinned to {ENB_IP['enb2']}" in up["says"] and "where the downlink goes" in up["says"]
    pinned = trace(site, "--peer", ENB_IP["enb2"])
    assert pinned.reason("uplink") == "delivered"
    warned = f"accepted from {ENB_IP['enb2']} alone, and the downlink goes to {ENB_IP['enb']}"
    assert warned in pinned.also and warned in trace(site, "--downlink").also
    mend = up["run"].replace("ofgtp", str(OFGTP), 1)
    site.lab.exec("gw", ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", *mend.split()])
    assert trace(site).also == "" and reason(site, "uplink") == "delivered"
    site.patch(f"ue-{UE}", {"uplink": {"remote_ip": None}})


CONTAINERS = {
    "01100900": "delivered",
    "03180900a1a2a3a4a5a6a700": "delivered",
    "01100a00": "wrong_qfi",
    "04100900a1a2a3a4a5a6a7a8a9aaab00": "delivered",
    "071809" + "a5" * 24 + "00": "delivered",
    "081809" + "a5" * 28 + "00": "long_container",
    "01000900": "bad_container",
    "01200900": "bad_container",
    "07000900a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a500": "bad_container",
    "0110094001000000": "extension_chain",
    "": "container_missing",
}
"""What stands between GTP-U header and packet, and what becomes of it with QFI 9 checked."""


def test_containers(site: Site) -> None:
    """What is said of them is what real packets meet."""
    inner, dropped = gtpu.ipv4(UE_5G, PDN_IP), [w for w in CONTAINERS.values() if w != "delivered"]
    frames = [
        site.from_enb(
            gtpu.t_pdu(UP_5G, octets + inner, flags=0x34 if octets else 0x30, extension=0x85)
        )
        for octets in map(bytes.fromhex, CONTAINERS)
    ]
    with site.counted(**Counter(dropped)):
        assert [frame[14:] for frame in site.uplink(*frames)] == [inner] * 4
    for octets, why in CONTAINERS.items():
        asked = ("--container", octets) if octets else ("--no-qfi",)
        told = trace(site, "--uplink", *asked, session=UE_5G)
        assert told.reason("uplink") == why
        assert told.way("uplink")["packet"]["container"] == (octets or None)


def test_a_session_with_a_qfi(site: Site) -> None:
    """As its gNB sends, and what it gets."""
    told = trace(site, session=UE_5G)
    assert [told.reason(way) for way in BOTH] == ["delivered"] * 2
    up = told.way("uplink")
    assert up["packet"]["container"] == "01100900"
    names = [step["name"] for step in up["steps"]]
    assert names[10:13] == ["container", "container_end", "unwrap"]
    assert names[13:] == ["epoch", "inner_ecn", "uplink", "qfi", "guard", "route"]
    assert told.way("downlink")["says"].endswith(f"tunnel {DOWN_5G:#x}, with QFI 9 and RQI")
    nowhere = trace(site, "--url", "http://127.0.0.1:9", session=UE_5G)
    for told_by in (told, nowhere):
        assert told_by.way("uplink")["packet"]["container"] == "01100900"
    assert trace(site, "--uplink", "--qfi", "8", session=UE_5G).reason("uplink") == "wrong_qfi"
    assert trace(site, "--uplink", "--qfi", "8").reason("uplink") == "delivered", "one of 4G"
    fits = [site.to_ue(gtpu.ipv4(PDN_IP, UE_5G, size=size)) for size in (1456, 1457)]
    assert len(site.downlink(*fits)) == 1
    for size, why in ((1456, "delivered"), (1457, "too_big"), (1465, "too_big")):
        big = trace(site, "--downlink", "--size", str(size), session=UE_5G)
        assert big.reason("downlink") == why
        assert ("leaves 1456" in big.way("downlink")["says"]) == (why == "too_big")


def test_a_mark_of_a_router(site: Site) -> None:
    """What is said of all combinations is what real packets meet, whatever they were taken for."""
    names = (None, "ect1", "ect0", "ce")
    for ttl in (64, 100, 128):
        for outer, ecn in itertools.product(range(4), repeat=2):
            asked = ["--ttl", str(ttl)]
            asked += ["--outer-ecn", str(names[outer])] * bool(outer)
            asked += ["--ecn", str(names[ecn])] * bool(ecn)
            told = trace(site, "--uplink", *asked)
            frame = site.t_pdu(UP, gtpu.ipv4(UE, PDN_IP, ttl=ttl, tos=ecn), tos=outer)
            lost = (outer, ecn) == (3, 0)
            with site.counted(not_ecn_capable=lost):
                assert len(site.uplink(frame)) == (not lost)
            assert told.reason("uplink") == ("not_ecn_capable" if lost else "delivered")
            packet = told.way("uplink")["packet"]
            assert (packet["outer_ecn"], packet["ecn"]) == (outer, ecn)


def test_a_downlink_container_from_a_base_station(site: Site) -> None:
    name, octets = f"ue-{UE_5G}", ("--container", "01000900")
    refused = trace(site, "--uplink", *octets, session=UE_5G).way("uplink")
    assert refused["reason"] == "bad_container" and "--qfi-optional" in refused["do"]
    site.patch(name, {"qfi_required": False})
    assert trace(site, "--uplink", *octets, session=UE_5G).reason("uplink") == "delivered"
    site.patch(name, {"qfi_required": True})


def test_a_packet_that_is_too_big_for_the_core_port(site: Site) -> None:
    def narrow(mtu: int) -> None:
        site.lab.exec("gw", ["ip", "link", "set", "eth2", "mtu", str(mtu)])

    def compares() -> bool:
        return "check_pkt_larger" in site.lab.ofctl("dump-flows", BRIDGE, "table=40")

    assert not compares()
    narrow(1400)
    try:
        until(compares, "sizes are compared", timeout=30)
        for session in (UE, UE_5G):
            for size, why in ((1400, "delivered"), (1401, "too_big_uplink")):
                told = trace(site, "--uplink", "--size", str(size), session=session)
                assert told.reason("uplink") == why
                assert ("eth2 has an MTU of 1400" in told.way("uplink")["says"]) == (size == 1401)
        steps = [step["says"] for step in told.way("uplink")["steps"]]
        assert steps[-2:] == [
            "1401 octets do not fit the core side",
            "goes no further; its sender is told by ICMP",
        ]
        assert reason(site, "downlink", "--size", "1450") == "delivered"
    finally:
        narrow(1500)
    until(lambda: not compares(), "no sizes are compared any more", timeout=30)
    assert reason(site, "uplink", "--size", "1401") == "delivered"


def test_a_packet_that_is_too_big(site: Site) -> None:
    fits, not_ = site.to_ue(gtpu.ipv4(PDN_IP, UE, size=1464)), 1465
    assert len(site.downlink(fits, site.to_ue(gtpu.ipv4(PDN_IP, UE, size=not_)))) == 1
    assert reason(site, "downlink", "--size", "1464") == "delivered"
    told = trace(site, "--size", str(not_))
    assert [told.reason(way) for way in BOTH] == ["delivered", "too_big"]
    assert told.code == 1, "one direction is enough"


def test_an_idle_session(site: Site) -> None:
    site.patch(f"ue-{UE}", {"downlink": None})
    assert trace(site).reason("downlink") == "idle_ue"


@pytest.mark.parametrize(("peer", "why"), [("10.1.0.9", "no_arp"), ("172.16.0.9", "no_route")])
def test_a_base_station_that_cannot_be_reached(site: Site, peer: str, why: str) -> None:
    site.patch(f"ue-{UE}", {"downlink": {"teid": DOWN, "remote_ip": peer}})
    told = trace(site, "--downlink")
    assert told.reason("downlink") == why
    assert peer in told.way("downlink")["says"]


def test_a_base_station_that_has_lost_the_tunnel(site: Site) -> None:
    site.patch(f"ue-{UE}", {"downlink": {"teid": DOWN, "remote_ip": ENB_IP["enb"]}})
    assert trace(site).reason("downlink") == "delivered"
    teid, peer = b"\x10" + DOWN.to_bytes(4, "big"), b"\x85\x00\x04\x0a\x01\x00\x02"
    site.enb.send(site.from_enb(gtpu.message(26, 0, teid + peer, flags=0x32)))
    shown: dict[str, Any] = until(
        lambda: indicated if (indicated := _session(site))["state"] != "active" else None,
        "error_indicated",
    )
    told = trace(site)
    assert told.reason("downlink") == shown["state"] == "error_indicated"
    assert shown["reason"] in told.also
    site.patch(f"ue-{UE}", {"downlink": {"teid": DOWN, "remote_ip": ENB_IP["enb"]}})


def _session(site: Site) -> dict[str, Any]:
    return dict(site.lab.http("GET", f"/v1/sessions/ue-{UE}").json())


def test_a_flow_that_somebody_added(site: Site) -> None:
    key = f"table=30,priority=200,ip,nw_src={UE}"
    site.lab.ofctl("add-flow", BRIDGE, f"{key} actions=drop")
    told = trace(site)
    assert [told.reason(way) for way in BOTH] == ["foreign_flow", "delivered"]
    mend = told.way("uplink")["run"]
    site.lab.ofctl("add-flow", BRIDGE, f"{key} actions=goto_table:40")
    passed = trace(site)
    assert passed.reason("uplink") == "delivered" and mend in passed.also
    site.lab.exec("gw", ["sh", "-c", mend], check=True)
    assert "nw_src=10.45.0.2 actions=goto_table:40" in site.lab.ofctl("dump-flows", BRIDGE)
    assert trace(site).also == "", "what is said to help does help"


def test_a_link_that_is_down(site: Site) -> None:
    with _without_carrier(site):  # which the kernel tells of within a second
        told = until(
            lambda: found if not (found := trace(site)).found["delivered"] else None, "it is seen"
        )
        assert [told.reason(way) for way in BOTH] == ["link_down"] * 2
        assert "eth1 has no carrier" in told.way("uplink")["says"]
    until(lambda: trace(site).found["delivered"], "it is up again")


@contextmanager
def _without_carrier(site: Site) -> Iterator[None]:
    site.lab.exec("enb", ["ip", "link", "set", "eth0", "down"])
    try:
        yield
    finally:
        site.lab.exec("enb", ["ip", "link", "set", "eth0", "up"])


def test_nobody_of_that_name(site: Site) -> None:
    code, out, err = quick(site, "10.45.0.77")
    assert (code, out) == (4, "") and "no session with the UE address or id 10.45.0.77" in err
    code, _, err = quick(site, "phone-1")
    assert code == 4 and "phone-1" in err


def test_without_the_api(site: Site) -> None:
    """The switch and ofgtp.toml tell what can be told."""
    nowhere = ("--url", "http://127.0.0.1:9")
    site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, UE)))  # what has gone up before has its answer
    told = until(
        lambda: found if not (found := trace(site, *nowhere)).found["lately"] else None,
        "the flow has counted the answer",
    )
    assert told.code == 0
    assert (told.found["session"], told.found["known_by"]) == (None, "switch")
    assert "no answer at http://127.0.0.1:9" in told.also
    owners = [step.get("owner") for way in BOTH for step in told.way(way)["steps"]]
    assert owners.count("session") == 2
    code, out, err = quick(site, f"ue-{UE}", *nowhere)
    assert (code, out) == (3, "") and "found by the UE's address" in err


def test_a_flow_that_is_wanted_and_missing(site: Site) -> None:
    """While the controller is cut off from the switch, which it has not noticed yet."""
    drop = "chain in { type filter hook input priority 0; tcp dport 6653 drop; }"
    site.lab.exec("gw", ["nft", f"table ip cut {{ {drop}; }}"])
    site.lab.ofctl("--strict", "del-flows", BRIDGE, f"table=70,priority=100,ip,nw_dst={UE}")
    told = trace(site, "--downlink")
    # the lease ends soon, and stands before the flow
    assert told.reason("downlink") in ("not_installed", "lease_expired")
    assert "this flow is not in the switch, or is another there: table=70" in told.also


def test_the_controller_is_killed(site: Site) -> None:
    site.lab.stop_controller(signal.SIGKILL)
    told = until(
        lambda: found if not (found := trace(site)).found["delivered"] else None,
        "the lease runs out",
        30,
    )
    assert [told.reason(way) for way in BOTH] == ["lease_expired"] * 2
    assert (told.found["session"], told.found["known_by"]) == (None, "switch")
    assert "is ofgtp running?" in told.also


def test_the_flows_are_gone(site: Site) -> None:
    site.lab.ofctl("del-flows", BRIDGE)
    assert [trace(site).reason(way) for way in BOTH] == ["no_flows"] * 2
    site.lab.vsctl("del-port", site.lab.end("eth1"))
    until(lambda: trace(site, "--uplink").reason("uplink") == "no_port", "the port is gone")
    site.lab.vsctl("del-br", BRIDGE)
    assert [trace(site).reason(way) for way in BOTH] == ["no_bridge"] * 2


def test_the_switch_is_dead(site: Site) -> None:
    site.lab.stop_vswitchd()
    code, out, err = run(site, UE)
    assert (code, out) == (1, "") and "is Open vSwitch running?" in err
    assert err.count("\n") == 1
