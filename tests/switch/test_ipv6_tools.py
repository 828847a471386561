"""`ofgtp trace`, `capture` and `doctor` with UEs that have IPv6: what they say is what real packets
meet.

In order: what comes last breaks more than can be mended.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6ND_RS, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.support import gtpu, tshark
from tests.support.command import at_switch
from tests.support.lab import Lab
from tests.support.site import Site, answer6, is_gtpu, until

pytestmark = pytest.mark.switch

OFGTP = Path(sys.executable).parent / "ofgtp"
CORE, HOP, POOL = "2001:db8:c::1", "2001:db8:c::2", "2001:db8:a::/48"
UE, UE4, UP, DOWN = "2001:db8:a:1::7", "10.45.0.2", 0x1001, 0x2001
ALONE, UP_ALONE, DOWN_ALONE = "2001:db8:a:2::9", 0x1002, 0x2002
OLD4, UP_OLD, DOWN_OLD = "10.45.0.4", 0x1004, 0x2004
UE_5G, UP_5G, DOWN_5G = "2001:db8:a:5::1", 0x1005, 0x2005
BOTH = ("uplink", "downlink")
NO_API = ("--url", "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """UEs of both versions, of each alone, and one of 5G; the next hop for IPv6 is silent yet."""
    with Lab() as lab:
        config = lab.config(controller='ownership = "switch"').replace(
            'ue_pools = ["10.45.0.0/16"]',
            f'ue_pools = ["10.45.0.0/16", "{POOL}"]\ncore_ip6 = "{CORE}/64"\nnext_hop6 = "{HOP}"',
        )
        site = Site(lab, config)
        site.ready()
        site.session(UE4, teid=UP, downlink=DOWN, ue_ipv6="2001:db8:a:1::/64")
        alone(site)
        site.session(OLD4, teid=UP_OLD, downlink=DOWN_OLD)
        site.session("10.45.0.5", teid=UP_5G, downlink=DOWN_5G, qfi=9, ue_ipv6="2001:db8:a:5::/64")
        yield site


def alone(site: Site, downlink: bool = True) -> None:
    """A session of IPv6 alone, or the same idle."""
    far = {"teid": DOWN_ALONE, "remote_ip": "10.1.0.2"} if downlink else None
    body = {"id": "alone", "ue_ipv6": "2001:db8:a:2::/64", "uplink": {"teid": UP_ALONE}}
    answer = site.lab.http("PUT", "/v1/sessions/alone", {**body, "downlink": far})
    assert answer.status in (200, 201), answer.body


def quick(site: Site, *arguments: str) -> tuple[int, str, str]:
    """The command within this process."""
    return at_switch(site.lab, "trace", *arguments)


def trace(site: Site, session: str, *arguments: str) -> dict[str, Any]:
    code, out, err = quick(site, session, "--json", *arguments)
    assert err == "" and code in (0, 1), err
    return dict(json.loads(out))


def reasons(told: dict[str, Any]) -> list[str]:
    return [each["reason"] or "delivered" for each in told["ways"]]


def only(site: Site, session: str, *arguments: str) -> dict[str, Any]:
    (way,) = trace(site, session, *arguments)["ways"]
    return dict(way)


def reason(site: Site, session: str, *arguments: str) -> str:
    return str(only(site, session, *arguments)["reason"] or "delivered")


def packet(src: str = UE, dst: str = HOP, *, hops: int = 64, size: int = 104) -> bytes:
    return bytes(
        IPv6(src=src, dst=dst, hlim=hops) / UDP(sport=4000, dport=5000) / Raw(bytes(size - 48))
    )


def to_ue(site: Site, sent: bytes) -> bytes:
    return bytes(Ether(src=site.pdn_mac, dst=site.core_mac, type=0x86DD)) + sent


def doctor(site: Site) -> dict[str, dict[str, Any]]:
    """Its checks of the gateway, by name."""
    command = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", str(OFGTP), "doctor", "--json"]
    done = site.lab.exec("gw", command, check=False)
    assert done.stderr == "" and done.returncode in (0, 1), done.stderr
    checks = json.loads(done.stdout)["checks"]
    return {each["check"]: each for each in checks}


def failed(site: Site) -> set[str]:
    return {name for name, each in doctor(site).items() if each["verdict"] == "failed"}


def test_a_next_hop_that_does_not_answer(site: Site) -> None:
    assert failed(site) == {"next hop IPv6"}
    assert site.gateway()["next_hop6"] == {"ip": HOP, "mac": None, "state": "unresolved"}
    told = trace(site, f"ue-{UE4}")
    assert reasons(told) == ["delivered", "delivered", "next_hop_unresolved", "delivered"]
    assert [each["packet"]["version"] for each in told["ways"]] == [4, 4, 6, 6]
    assert HOP in told["ways"][2]["says"] and told["ways"][2]["run"] == "tcpdump -ni eth2 icmp6"
    answer6(site, HOP, CORE)
    assert reasons(trace(site, f"ue-{UE4}")) == ["delivered"] * 4
    found = doctor(site)
    assert found["next hop IPv6"]["text"] == f"{HOP} is at {site.pdn_mac}"
    assert {each["verdict"] for each in found.values()} == {"ok", "warning"}
    assert [name for name, each in found.items() if each["verdict"] == "warning"] == ["mtu"]


def test_an_address_that_the_host_has_too(site: Site) -> None:
    answer6(site, HOP, CORE)
    allowed = "echo 0 > /proc/sys/net/ipv6/conf/lo/disable_ipv6"
    site.lab.exec("gw", ["sh", "-c", f"{allowed} && ip addr add {CORE}/128 dev lo"])
    try:
        found = doctor(site)["addresses"]
    finally:
        site.lab.exec("gw", ["ip", "addr", "del", f"{CORE}/128", "dev", "lo"])
    assert found["verdict"] == "failed" and f"{CORE} (core_ip6) is on lo" in found["text"]
    assert doctor(site)["addresses"]["verdict"] == "ok"


def test_links_that_are_too_small_for_ipv6(site: Site) -> None:
    try:
        site.lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", "1323"])
        assert doctor(site)["mtu"]["remedy"] == ["ip link set dev eth1 mtu 1324"]
    finally:
        site.lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", "1500"])


@pytest.mark.parametrize("ue", [UE, "2001:db8:a:1::/64", ALONE, "alone", UE_5G])
def test_a_ue_by_its_address(site: Site, ue: str) -> None:
    told = trace(site, ue)
    assert reasons(told) == ["delivered"] * 2 and told["delivered"]
    up, down = told["ways"]
    own = {"2001:db8:a:1::/64": "2001:db8:a:1::1", "alone": "2001:db8:a:2::1"}.get(ue, ue)
    assert (up["packet"]["source"], up["packet"]["destination"]) == (own, HOP)
    assert (down["packet"]["source"], down["packet"]["destination"]) == (HOP, own)
    assert (up["packet"]["proto"], up["packet"]["octets"]) == ("icmpv6", 104)
    owners = [step["owner"] for step in down["steps"] if step.get("table") == 70]
    assert owners == ["session"]


def test_for_people(site: Site) -> None:
    code, out, err = quick(site, f"ue-{UE4}")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:6] == [
        f"IPv4, {UE4}:",
        "uplink:   DELIVERED: it leaves by eth2 for the next hop 10.2.0.2",
        f"downlink: DELIVERED: it leaves by eth1 for 10.1.0.2, in tunnel {DOWN:#x}",
        "IPv6, 2001:db8:a:1::/64:",
        f"uplink:   DELIVERED: it leaves by eth2 for the next hop {HOP}",
        f"downlink: DELIVERED: it leaves by eth1 for 10.1.0.2, in tunnel {DOWN:#x}",
    ]
    _, out, _ = quick(site, UE)
    assert "IPv6, " not in out and f"the UE has {UE4} too: trace it by -4" in out
    assert "UE 10.45.0.2 and 2001:db8:a:1::/64, uplink 0x1001" in " ".join(out.split())
    assert f"UE {UE4}" in quick(site, UE, "-4")[1]


@pytest.mark.parametrize("hops", ["1", "64", "100", "128", "255"])
def test_a_hop_limit(site: Site, hops: str) -> None:
    sent = packet(hops=int(hops))
    assert [frame[14:] for frame in site.uplink(site.t_pdu(UP, sent))] == [sent]
    assert reasons(trace(site, UE, "--ttl", hops)) == ["delivered"] * 2


@pytest.mark.parametrize("container", ["01100900", "071809" + "a5" * 24 + "00"])
def test_a_container(site: Site, container: str) -> None:
    octets, sent = bytes.fromhex(container), packet(src=UE_5G)
    frame = site.from_enb(gtpu.t_pdu(UP_5G, octets + sent, flags=0x34, extension=0x85))
    assert [frame[14:] for frame in site.uplink(frame)] == [sent]
    assert reason(site, UE_5G, "--uplink", "--container", container) == "delivered"


def test_what_does_not_pass(site: Site) -> None:
    """The same fate as that of real packets, and by which counter."""
    for src, dst, why, counted in (
        (UE, "ff02::1", "protected_destination", "protected_destination"),
        (UE, CORE, "protected_destination", "protected_destination"),
        (UE, ALONE, "ue_to_ue", "ue_to_ue"),
        (ALONE, HOP, "spoofed_source", "no_uplink_session"),
        ("fe80::7", HOP, "spoofed_source", "no_uplink_session"),
    ):
        seen = {"seen_spoofed_source": 1} if why == "spoofed_source" else {}
        with site.counted(**{counted: 1}, **seen):
            assert site.uplink(site.t_pdu(UP, packet(src, dst))) == []
        told = only(site, UE, "--uplink", "--source", src, "--host", dst)
        assert told["reason"] == why, told["says"]
    assert reason(site, UE, "--uplink", "--teid", "0x9999") == "unknown_teid"
    code, _, err = quick(site, "2001:db8:a:99::1")
    assert code == 4 and "no session with the UE address or id 2001:db8:a:99::1" in err
    code, _, err = quick(site, "2001:db8:a:1::/63")
    assert code == 4 and "no session" in err, "it has half of it"


def test_what_happened_to_real_packets(site: Site) -> None:
    """A phone speaks to neighbours: that is nothing wrong. A strange source is."""
    spoofed, silent = trace(site, UE)["lately"]
    assert spoofed["reason"] == "spoofed_source" and f"from {ALONE} come" in spoofed["says"]
    assert "fe80::7" not in spoofed["says"]
    assert silent["reason"] == "no_answers" and silent["run"].endswith("net 2001:db8:a:1::/64")
    assert f"does the next hop {HOP} route 2001:db8:a:1::/64 back to {CORE}?" in silent["do"]
    assert [each["direction"] for each in trace(site, UE, "-4")["lately"]] == ["uplink"]
    also = [each["says"] for each in trace(site, UE)["also"]]
    assert any("speaks to neighbours" in each and "fe80::7" in each for each in also)


def test_sizes(site: Site) -> None:
    sizes = (1464, 1465)
    frames = [to_ue(site, packet(HOP, UE, size=size)) for size in sizes]
    assert len([f for f in site.downlink(*frames) if is_gtpu(f, DOWN)]) == 1
    assert reason(site, UE, "--downlink", "--size", "1464") == "delivered"
    told = only(site, UE, "--downlink", "--size", "1465")
    assert told["reason"] == "too_big" and "Packet Too Big" in told["do"]
    code, _, err = quick(site, UE, "--size", "40")
    assert code == 2 and "of IPv6 48 is the least" in err


def test_a_session_without_ipv6(site: Site) -> None:
    code, _, err = quick(site, OLD4, "-6")
    assert code == 1 and f"has no IPv6, only {OLD4}" in err
    told = only(site, OLD4, "--source", UE)
    assert told["reason"] == "spoofed_source" and f"for {OLD4} alone" in told["says"]
    with site.counted(no_uplink_session=1, seen_spoofed_source=1):
        assert site.uplink(site.t_pdu(UP_OLD, packet())) == []
    assert reason(site, OLD4, "--router-solicitation") == "no_ipv6"


def test_bearers(site: Site) -> None:
    """A filter with a prefix is for its version; one without addresses for both."""
    voice, web = (
        "permit out udp from 2001:db8:c::/64 5004 to assigned",
        "permit out tcp from any to",
    )
    bearers = [
        {"id": "voice", "precedence": 10, "filters": [voice]},
        {"id": "web", "precedence": 20, "filters": [f"{web} assigned"]},
    ]
    site.patch(f"ue-{UE4}", {"bearers": bearers})

    def taken(*arguments: str) -> list[str | None]:
        ways = trace(site, f"ue-{UE4}", *arguments)["ways"]
        assert all(each["delivered"] for each in ways)
        return [each["bearer"] and each["bearer"]["id"] for each in ways]

    assert taken("--proto", "udp", "--dport", "5004") == [None, None, "voice", "voice"]
    assert taken("--dport", "80") == ["web"] * 4
    assert taken("-6") == [None, None]
    site.patch(f"ue-{UE4}", {"bearers": []})


def test_a_router_solicitation(site: Site) -> None:
    """Answered as it is said, of each kind of session; and not of one that is idle."""
    asked = bytes(IPv6(src="fe80::1:2:3:4", dst="ff02::2", hlim=255) / ICMPv6ND_RS())

    def answered(teid: int, down: int) -> bool:
        site.enb.all()
        site.enb.send(site.t_pdu(teid, asked))
        return any(is_gtpu(frame, down) for frame in site.enb.all(0.5))

    for ue, teid, down in (
        (UE, UP, DOWN),
        (UE_5G, UP_5G, DOWN_5G),
        ("alone", UP_ALONE, DOWN_ALONE),
    ):
        told = only(site, ue, "--router-solicitation")
        assert told["delivered"] and "(Router Advertisement)" in told["says"], told["says"]
        assert answered(teid, down)
    assert not answered(UP_OLD, DOWN_OLD)
    alone(site, downlink=False)
    assert reason(site, "alone", "--router-solicitation") == "idle_ue"
    assert reasons(trace(site, "alone")) == ["delivered", "idle_ue"]
    assert not answered(UP_ALONE, DOWN_ALONE)


@contextmanager
def capturing(site: Site, *arguments: str) -> Iterator[subprocess.Popen[Any]]:
    """The command at work: it takes packets from now on, and has ended after."""
    command = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", str(OFGTP), "capture", *arguments]
    running = site.lab.spawn("gw", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stderr is not None
    heading = iter(running.stderr.readline, b"")
    assert any(b"on eth1; Ctrl-C ends it" in line for line in heading)
    yield running
    assert running.wait(60) == 0


@pytest.mark.parametrize("ue", [UE, UE4, f"ue-{UE4}"])
@pytest.mark.parametrize("api", [(), NO_API])
def test_a_capture(site: Site, tmp_path: Path, ue: str, api: tuple[str, ...]) -> None:
    """All of the session's, of both versions, whichever address it is named by; no others'."""
    if api and ue.startswith("ue-"):
        return  # without the API nobody knows ids
    path = tmp_path / "phone.pcap"
    up, down, up4 = packet(), packet(HOP, UE), gtpu.ipv4(UE4, "10.2.0.2")
    solicits = bytes(IPv6(src="fe80::7", dst="ff02::2", hlim=255) / ICMPv6ND_RS())
    with capturing(site, ue, "-w", str(path), *api) as running:
        other = packet(src=UE_5G)
        container = site.from_enb(
            gtpu.t_pdu(UP_5G, bytes.fromhex("01100900") + other, flags=0x34, extension=0x85)
        )
        assert len(site.uplink(*(site.t_pdu(UP, each) for each in (up, up4)), container)) == 3
        site.enb.send(site.t_pdu(0x7777, up), site.t_pdu(UP, solicits))
        assert len(site.downlink(to_ue(site, down), to_ue(site, packet(HOP, UE_5G)))) >= 2
        wanted = (solicits, down, IPv6Address("fe80::1").packed + IPv6Address("fe80::7").packed)
        until(lambda: all(each in path.read_bytes() for each in wanted), "all is written")
        running.send_signal(signal.SIGINT)
    rows = tshark.rows(
        path, ("gtp.teid", "ipv6.src", "ipv6.dst", "udp.dstport"), "gtp.message == 0xff"
    )
    ends = [(int(teid, 16), src, dst) for teid, src, dst, _ in rows]
    assert (UP, UE, HOP) in ends and (DOWN, HOP, UE) in ends and (0x7777, UE, HOP) in ends
    assert (UP, "fe80::7", "ff02::2") in ends and (UP, "", "") in ends, "IPv4, too"
    assert {teid for teid, *_ in ends} == {UP, DOWN, 0x7777}
    assert any(src == "fe80::1" and dst == "fe80::7" for _, src, dst in ends), "and the answer"
    assert tshark.complaints(path) == []


def test_a_capture_in_words(site: Site) -> None:
    with capturing(site, "alone", "-c", "2", "--json") as running:
        site.session(UE4, teid=UP, downlink=DOWN, ue_ipv6="2001:db8:a:1::/64")
        alone(site)
        assert len(site.uplink(site.t_pdu(UP_ALONE, packet(src=ALONE)))) == 1
        assert len(site.downlink(to_ue(site, packet(HOP, ALONE)))) >= 1
        out, _ = running.communicate(timeout=60)
    shown = [json.loads(line) for line in out.splitlines()]
    inner = [each["inner"] for each in shown if each["teid"]]
    assert inner[0] == {
        "source": ALONE,
        "destination": HOP,
        "proto": 17,
        "source_port": 4000,
        "destination_port": 5000,
        "dscp": 0,
        "octets": 104,
        "detail": None,
    }


def test_without_the_api(site: Site) -> None:
    """By the address alone: the switch tells the prefix, and what else the UE has."""
    told = trace(site, UE, *NO_API)
    assert reasons(told) == ["delivered"] * 2
    assert (told["ue_ip"], told["ue_ipv6"]) == (UE4, "2001:db8:a:1::/64")
    assert (told["session"], told["known_by"]) == (None, "switch")
    assert reasons(trace(site, UE4, *NO_API)) == ["delivered"] * 2
    assert trace(site, UE4, *NO_API)["ue_ipv6"] == "2001:db8:a:1::/64"
    assert reasons(trace(site, UE_5G, *NO_API)) == ["delivered"] * 2
    alone(site, downlink=False)
    assert reasons(trace(site, ALONE, *NO_API)) == ["delivered", "idle_ue"]
    assert reasons(trace(site, "2001:db8:a:99::1", *NO_API)) == ["unknown_teid", "unknown_ue"]
    code, _, err = quick(site, "2001:db8:b::1", *NO_API)
    assert code == 4 and "2001:db8:b::1 is in no UE pool" in err


def test_a_flow_that_somebody_deleted(site: Site) -> None:
    """That of one version, while the controller is away."""
    site.lab.stop_controller(signal.SIGKILL)
    match = "table=70,priority=100,ipv6,ipv6_dst=2001:db8:a:1::/64"
    site.lab.ofctl("--strict", "del-flows", "br-ofgtp", match)
    assert reasons(trace(site, UE)) == ["delivered", "unknown_ue"]
    assert reasons(trace(site, UE4)) == ["delivered"] * 2
