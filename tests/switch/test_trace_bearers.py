"""`ofgtp trace` and `ofgtp capture` of sessions of several rules: what they say is what real
packets meet."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.sctp import SCTP
from scapy.packet import Packet

from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import ENB_IP, PDN_IP, Site, is_gtpu, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
FRAMED = "10.60.0.0/24"
ENB, OTHER = ENB_IP["enb"], ENB_IP["enb2"]
VOICE_FILTER = "permit out udp from 10.2.0.0/24 5004-5060 to assigned"
WEB_FILTERS = [
    "permit out tcp from any 8000-8080 to assigned",
    "permit out tcp from any 443 to assigned",
]
BEARERS: list[dict[str, Any]] = [
    {
        "id": "voice",
        "precedence": 10,
        "filters": [VOICE_FILTER],
        "uplink": {"teid": 0x1002},
        "downlink": {"teid": 0x2002, "remote_ip": ENB},
    },
    {
        "id": "web",
        "precedence": 20,
        "filters": WEB_FILTERS,
        "downlink": {"teid": 0x2003, "remote_ip": ENB},
    },
    {"id": "marked", "precedence": 5, "filters": [{"dscp": 46}]},
    {
        "id": "sleeps",
        "precedence": 30,
        "filters": ["permit out sctp from any to assigned"],
        "downlink": None,
        "gate": "downlink",
    },
]
RELAY_UP, RELAY_DOWN, CORE, CORE_UP = 0x3001, 0x2005, 0x5001, 0x6001


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        site = Site(lab)
        site.ready()
        site.session(UE, teid=UP, downlink=DOWN, bearers=BEARERS, framed_routes=[FRAMED])
        site.warm("enb", UE, DOWN)
        yield site


def run(site: Site, command: str) -> subprocess.CompletedProcess[str]:
    words = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", str(OFGTP), *shlex.split(command)]
    return site.lab.exec("gw", words, check=False, timeout=120)


def trace(
    site: Site, direction: str, more: str = "", session: str = UE, *, bad: bool = False
) -> dict[str, Any]:
    """What it tells of one direction; `bad`: symptoms beside it are as they should be."""
    done = run(site, f"trace {session} --{direction} --json {more}")
    assert done.stderr == "" and done.returncode in (0, 1), done
    found = json.loads(done.stdout)
    assert bad or [each["says"] for each in found["also"] if each["level"] == "bad"] == []
    (way,) = found["ways"]
    return dict(way)


def steps(way: dict[str, Any]) -> str:
    return "\n".join(each["says"] for each in way["steps"])


WAYS: list[tuple[str, Packet, str | None, str | None, int, int | None]] = [
    (
        "--proto udp --dport 5004",
        UDP(sport=40000, dport=5004),
        "voice",
        VOICE_FILTER,
        0x1002,
        0x2002,
    ),
    ("--proto udp --dport 5061", UDP(sport=40000, dport=5061), None, None, UP, DOWN),
    ("--dport 8001", TCP(sport=40000, dport=8001), "web", WEB_FILTERS[0], UP, 0x2003),
    ("--dport 443 --sport 5", TCP(sport=5, dport=443), "web", WEB_FILTERS[1], UP, 0x2003),
    ("--proto icmp", ICMP(), None, None, UP, DOWN),
    ("--proto 47", Packet(), None, None, UP, DOWN),
    ("--dport 443 --dscp 46", TCP(sport=40000, dport=443), "marked", "DSCP 46", UP, DOWN),
    (
        "--proto sctp --dport 9 --sport 40000",
        SCTP(sport=40000, dport=9),
        "sleeps",
        "permit out sctp from any to assigned",
        UP,
        None,
    ),
]
"""Options, what the packet has uplink, the bearer, its filter, its TEID uplink, and downlink."""


@pytest.mark.parametrize(("options", "layer", "bearer", "by", "teid", "out"), WAYS)
def test_which_bearer_and_why(
    site: Site,
    options: str,
    layer: Packet,
    bearer: str | None,
    by: str | None,
    teid: int,
    out: int | None,
) -> None:
    tos = 46 << 2 if "--dscp" in options else 0
    proto = {"proto": 47} if "47" in options else {}
    up = bytes(IP(src=UE, dst=PDN_IP, tos=tos, **proto) / layer / bytes(40))
    turned = layer.copy()
    if options.startswith(("--dport", "--proto udp", "--proto sctp")):
        turned.sport, turned.dport = layer.dport, layer.sport
    down = bytes(IP(src=PDN_IP, dst=UE, tos=tos, **proto) / turned / bytes(40))

    told = trace(site, "uplink", options)
    assert told["packet"]["teid"] == teid
    found = told["bearer"]
    assert (found and found["id"], found and found["filter"]) == (bearer, by)
    passes = bearer != "sleeps"
    assert told["reason"] == (None if passes else "gate_closed")
    assert [frame[14:] for frame in site.uplink(site.t_pdu(teid, up))] == [up] * passes
    if bearer is not None:
        precedence = next(each["precedence"] for each in BEARERS if each["id"] == bearer)
        assert found["precedence"] == precedence
        assert f"bearer {bearer}, precedence {precedence}, takes it" in steps(told)
        assert f"{by} matches" in steps(told)

    told = trace(site, "downlink", options)
    assert (told["bearer"] and told["bearer"]["id"]) == bearer
    assert told["reason"] == (None if passes else "idle_ue")
    got = [gtpu.decode(frame) for frame in site.downlink(site.to_ue(down))]
    assert [(each.teid, each.inner) for each in got] == ([(out, down)] if passes else [])
    if passes:
        assert f"in tunnel {out:#x}" in told["says"]
        assert (f"as bearer {bearer}'s" in told["says"]) == (bearer is not None)
        if bearer is None:
            assert "none of its bearers' filters matches" in steps(told)
    else:
        assert "bearer sleeps" in told["says"] and "is idle" in told["says"]


def test_rates_are_named(site: Site) -> None:
    """Of the session, and of the bearer that took the packet alone."""
    assert run(site, f"bearer set {UE} voice --mbr-uplink 5000 --mbr-downlink 6000").returncode == 0
    assert run(site, f"session set {UE} --ambr-downlink 9000").returncode == 0
    for options, wanted in (
        (
            "--proto udp --dport 5004",
            [
                "the session has at most 9,000 kbit/s down",
                "bearer voice has at most 5,000 kbit/s up, 6,000 kbit/s down",
            ],
        ),
        ("--proto icmp", ["the session has at most 9,000 kbit/s down"]),
    ):
        found = json.loads(run(site, f"trace {UE} --json {options}").stdout)
        named = [each["says"] for each in found["also"] if "rate_exceeded" in each["says"]]
        assert [each.partition(":")[0] for each in named] == wanted
        assert [way["reason"] for way in found["ways"]] == [None, None]
    assert run(site, f"bearer set {UE} voice --mbr-uplink none --mbr-downlink none").returncode == 0
    assert run(site, f"session set {UE} --ambr-downlink none").returncode == 0


def test_a_packet_in_the_wrong_bearer(site: Site) -> None:
    other = bytes(IP(src=UE, dst=PDN_IP) / UDP(sport=40000, dport=6000) / bytes(40))
    with site.counted(wrong_bearer=1):
        assert site.uplink(site.t_pdu(0x1002, other)) == []
    told = trace(site, "uplink", "--proto udp --dport 6000 --teid 0x1002")
    assert told["reason"] == "wrong_bearer"
    assert (
        "bearer voice" in told["says"]
        and f"the session's own: it should come with TEID {UP:#x}" in told["says"]
    )
    assert told["do"] and run(site, told["run"].removeprefix("ofgtp ")).stdout.startswith("BEARER")
    web = trace(site, "uplink", "--dport 443 --teid 0x1002")
    assert web["reason"] == "wrong_bearer" and "which is bearer web's" in web["says"]
    unknown = trace(site, "uplink", "--teid 0x7777")
    assert unknown["reason"] == "unknown_teid"
    assert f"{UP:#x} (or, of its bearers, 0x1002)" in unknown["says"]


def test_a_closed_gate_can_be_opened_as_it_is_said(site: Site) -> None:
    voice = bytes(IP(src=UE, dst=PDN_IP) / UDP(sport=40000, dport=5004) / bytes(40))
    options = "--proto udp --dport 5004"
    assert run(site, f"bearer set {UE} voice --gate closed").returncode == 0
    for direction in ("uplink", "downlink"):
        told = trace(site, direction, options)
        assert told["reason"] == "gate_closed" and told["do"]
        assert f"the gate of bearer voice of session ue-{UE} is closed" in told["says"]
    site.cache_follows(site.t_pdu(0x1002, voice), passes=False)
    assert run(site, told["run"].removeprefix("ofgtp ")).returncode == 0
    for direction in ("uplink", "downlink"):
        assert trace(site, direction, options)["delivered"]
    site.cache_follows(site.t_pdu(0x1002, voice), passes=True)


def test_a_bearer_whose_peer_does_not_know_its_tunnel(site: Site) -> None:
    """An Error Indication about it stops it alone, and all commands say so."""
    indicated = b"\x10" + (0x2002).to_bytes(4, "big") + b"\x85\x00\x04" + bytes([10, 1, 0, 2])
    message = gtpu.message(gtpu.ERROR_INDICATION, 0, indicated, flags=0x32)
    site.enb.send(site.from_enb(message))

    def listed() -> bool:
        return "error_indicated" in run(site, f"bearer list {UE}").stdout

    until(listed, "the bearer is error_indicated")
    told = trace(site, "downlink", "--proto udp --dport 5004", bad=True)
    assert (
        told["reason"] == "error_indicated" and "the base station of bearer voice" in told["says"]
    )
    assert trace(site, "downlink", "--proto icmp", bad=True)["delivered"]
    assert "its peer does not know the tunnel" in run(site, f"session show {UE}").stdout
    routes = run(site, f"route show {UE}").stdout.splitlines()
    assert [line.endswith(" error_indicated") for line in routes if "proto udp" in line] == [True]
    assert run(site, f"bearer set {UE} voice --peer {ENB} --teid 0x2002").returncode == 0
    assert trace(site, "downlink", "--proto udp --dport 5004")["delivered"]


def test_what_is_behind_the_ue(site: Site) -> None:
    told = trace(site, "uplink", "--source 10.60.0.9")
    assert told["delivered"]
    assert trace(site, "uplink", "--source 10.61.0.9")["reason"] == "spoofed_source"


def test_for_people(site: Site) -> None:
    assert site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, UE)))  # else there might be no answers lately
    site.lab.appctl("revalidator/purge")
    done = run(site, f"trace {UE} --proto udp --dport 5004 -v")
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    up = f"uplink: DELIVERED: it leaves by eth2 for the next hop {PDN_IP}, as bearer voice's "
    down = (
        "downlink: DELIVERED: it leaves by eth1 for 10.1.0.2, in tunnel 0x2002, as bearer voice's "
    )
    assert said.startswith(up + down)
    assert "bearer voice, precedence 10, takes it" in said
    assert "bearers marked, voice, web, sleeps" in said
    assert "in tunnel 0x1002 from 10.1.0.2" in said


def test_without_the_api(site: Site) -> None:
    """The switch alone knows the session's own tunnel from its bearers'."""
    done = run(site, f"trace {UE} --json --url http://127.0.0.1:9")
    found = json.loads(done.stdout)
    assert [way["reason"] for way in found["ways"]] == [None, None]
    assert found["ways"][0]["packet"]["teid"] == UP


def test_qfis_of_bearers(site: Site) -> None:
    """A base station sends the bearer's QFI, and gets it; what is checked is that one."""
    ue, up = "10.45.0.5", 0x1005
    voice = {"id": "voice", "precedence": 1, "filters": [VOICE_FILTER], "qfi": 1}
    qfis = {"qfi": 9, "qfi_check": True}
    name = site.session(ue, teid=up, downlink=0x2006, bearers=[voice], **qfis)
    packet = bytes(IP(src=ue, dst=PDN_IP) / UDP(sport=40000, dport=5004) / bytes(40))
    options = "--proto udp --dport 5004"
    for more, qfi, passes in (("", 1, True), ("--qfi 9", 9, False)):
        told = trace(site, "uplink", f"{options} {more}", session=name)
        assert told["packet"]["container"] == f"0110{qfi:02x}00"
        assert told["reason"] == (None if passes else "wrong_qfi")
        octets = bytes.fromhex(told["packet"]["container"])
        message = gtpu.t_pdu(up, octets + packet, flags=0x34, extension=0x85)
        with site.counted(wrong_qfi=not passes):
            assert len(site.uplink(site.from_enb(message))) == passes
    assert "takes QFI 1 alone" in told["says"]
    assert "with QFI 1, as bearer voice's" in trace(site, "downlink", options, session=name)["says"]
    for other in ("--proto 47", "--proto sctp"):
        told = trace(site, "uplink", other, session=name)
        assert told["delivered"] and told["packet"]["container"] == "01100900"
    site.delete(name)


# --- relays


@pytest.fixture
def relay(site: Site) -> Iterator[str]:
    yield from relay_of(site)


@pytest.fixture
def edge(site: Site) -> Iterator[str]:
    """A relay with a UE's address, and breakout to the core host."""
    yield from relay_of(site, ue_ip="10.45.0.9", breakout=["10.2.0.0/24"])


def relay_of(site: Site, **more: Any) -> Iterator[str]:
    body = {
        "uplink": {"teid": RELAY_UP},
        "downlink": {"teid": RELAY_DOWN, "remote_ip": ENB},
        "core": {"teid": CORE, "remote_teid": CORE_UP, "remote_ip": OTHER},
    }
    answer = site.lab.http("PUT", "/v1/sessions/sgw", body | more)
    assert answer.status == 201, answer.body
    far = gtpu.ipv4("10.45.0.9", "198.51.100.7")
    frame = site.t_pdu(RELAY_UP, far)

    def arrives() -> bool:
        site.enb.send(frame)
        return any(is_gtpu(each, CORE_UP) for each in site.enbs["enb2"].all(0.05))

    until(arrives, "the relay works")
    yield "sgw"
    site.delete("sgw")


def test_a_relay(site: Site, relay: str) -> None:
    up = trace(site, "uplink", session=relay)
    assert up["delivered"], up
    assert up["says"] == f"it leaves by eth1 for {OTHER}, in tunnel {CORE_UP:#x}"
    assert (up["packet"]["teid"], up["packet"]["peer"]) == (RELAY_UP, ENB)
    down = trace(site, "downlink", session=relay)
    assert down["delivered"], down
    assert down["says"] == f"it leaves by eth1 for {ENB}, in tunnel {RELAY_DOWN:#x}"
    assert (down["packet"]["teid"], down["packet"]["peer"]) == (CORE, OTHER)
    assert f"flow of session sgw: TEID {CORE:#x}: into tunnel {RELAY_DOWN:#x} to {ENB}" in steps(
        down
    )
    done = run(site, f"trace {relay}")
    assert done.returncode == 0 and f"a relay, uplink {RELAY_UP:#x}" in " ".join(
        done.stdout.split()
    )


def test_a_relay_that_is_idle(site: Site, relay: str) -> None:
    site.patch(relay, {"downlink": None})
    assert trace(site, "uplink", session=relay)["delivered"]
    told = trace(site, "downlink", session=relay)
    assert told["reason"] == "idle_ue" and told["do"]


def test_breakout(site: Site, edge: str) -> None:
    far = "--host 198.51.100.7"
    local_up, far_up = (trace(site, "uplink", more, session=edge) for more in ("", far))
    assert local_up["says"] == f"it leaves by eth2 for the next hop {PDN_IP}"
    assert "permit out ip from 10.2.0.0/24 to assigned matches" in steps(local_up)
    assert far_up["says"] == f"it leaves by eth1 for {OTHER}, in tunnel {CORE_UP:#x}"
    local_down, far_down = (trace(site, "downlink", more, session=edge) for more in ("", far))
    assert local_down["delivered"] and "teid" not in local_down["packet"]
    assert far_down["delivered"] and far_down["packet"]["teid"] == CORE


# --- capture


def captured(site: Site, session: str, count: int, *send: Any) -> list[dict[str, Any]]:
    """The T-PDUs, so many, that `ofgtp capture` shows while these are done."""
    words = f"capture {session} --json --seconds 30"
    argv = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", str(OFGTP), *words.split()]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = site.lab.spawn("gw", argv, **pipes)
    while "Ctrl-C ends it" not in (line := process.stderr.readline()):
        assert "Going by the switch" in line
    for each in send:
        each()
    seen: list[dict[str, Any]] = []
    while len(seen) < count and (line := process.stdout.readline()):
        each = json.loads(line)
        seen += [each] if each["kind"] == "T-PDU" else []
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    return seen + [each for each in map(json.loads, out.splitlines()) if each["kind"] == "T-PDU"]


def test_capture_finds_all_tunnels_of_bearers(site: Site) -> None:
    voice_up = bytes(IP(src=UE, dst=PDN_IP) / UDP(sport=40000, dport=5004) / bytes(40))
    voice_down = bytes(IP(src=PDN_IP, dst=UE) / UDP(sport=5004, dport=40000) / bytes(40))
    behind = bytes(IP(src="10.60.0.9", dst=PDN_IP) / ICMP() / bytes(40))
    stolen = bytes(IP(src="10.99.0.9", dst=PDN_IP) / UDP(sport=40000, dport=5004) / bytes(40))
    seen = captured(
        site,
        UE,
        5,
        lambda: site.uplink(site.t_pdu(0x1002, voice_up)),
        lambda: site.downlink(site.to_ue(voice_down)),
        lambda: site.downlink(site.to_ue(bytes(IP(src=PDN_IP, dst=UE) / ICMP() / bytes(40)))),
        lambda: site.uplink(site.t_pdu(UP, behind)),
        lambda: site.uplink(site.t_pdu(0x1002, stolen)),
    )
    t_pdus = [(each["way"], each["teid"], each["remark"]) for each in seen]
    assert t_pdus == [
        ("up", 0x1002, None),
        ("down", 0x2002, None),
        ("down", DOWN, None),
        ("up", UP, None),
        ("up", 0x1002, "not the UE's address"),
    ]


def test_capture_finds_them_without_the_api(site: Site) -> None:
    stolen = bytes(IP(src="10.99.0.9", dst=PDN_IP) / UDP(sport=40000, dport=5004) / bytes(40))
    frames = [site.t_pdu(teid, stolen) for teid in (UP, 0x1002)]
    seen = captured(site, f"{UE} --url http://127.0.0.1:9", 2, lambda: site.uplink(*frames))
    assert [each["teid"] for each in seen] == [UP, 0x1002]


def test_capture_finds_both_sides_of_a_relay(site: Site, relay: str) -> None:
    inner = gtpu.ipv4("172.16.0.1", "172.16.0.2")
    seen = captured(
        site,
        relay,
        4,
        lambda: site.uplink(site.t_pdu(RELAY_UP, inner)),
        lambda: site.uplink(site.t_pdu(CORE, inner, enb="enb2"), enb="enb2"),
    )
    t_pdus = [
        (each["way"], each["teid"], each["peer"], each["remark"]) for each in seen if each["inner"]
    ]
    assert t_pdus == [
        ("up", RELAY_UP, ENB, None),
        ("down", CORE_UP, OTHER, None),
        ("up", CORE, OTHER, None),
        ("down", RELAY_DOWN, ENB, None),
    ]
