"""`ports = "afxdp"`: what is made for it on the host, kept, taken back; and who ends the tunnels.

Most of it has the switch read them in its main thread. Where it matters that it does not, a thread
of its own does: that polls, and takes a core.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ofgtp.core.errors import GatewayNotReady
from ofgtp.southbound.portlease import PortLease
from tests.support import ownership as own
from tests.support.lab import Lab
from tests.support.stream import Stream
from tests.support.traffic import Host, World, ip, until

pytestmark = pytest.mark.switch

UE, PDN = "10.45.0.2", "10.2.0.2"
ENDS = ("br-ofgtp-a0", "br-ofgtp-n0")
MASK = "other_config:pmd-cpu-mask"


def shown(lab: Lab, device: str) -> dict[str, Any]:
    text = lab.exec("gw", ["ip", "-json", "-d", "link", "show", "dev", device]).stdout
    return dict(json.loads(text)[0])


def devices(lab: Lab) -> set[str]:
    text = lab.exec("gw", ["ip", "-json", "link", "show"]).stdout
    return {each["ifname"] for each in json.loads(text) if each}


def problem(lab: Lab) -> str:
    return str(own.gateway(lab)["problem"])


def column(lab: Lab, table: str, record: str, name: str) -> str:
    return lab.vsctl("--if-exists", "get", table, record, name).strip().strip('"')


def passes(lab: Lab, gw: World) -> None:
    """A packet each way."""
    enb, pdn = Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN)
    gw.up(enb, 1, ip(UE, PDN), pdn)
    gw.down(pdn, ip(PDN, UE), enb)
    for host in (enb, pdn):
        host.port.close()


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Without a thread that polls."""
    with Lab() as lab:
        lab.ports, lab.environment["OFGTP_TEST_NO_PMD"] = "afxdp", "1"
        yield lab


@pytest.fixture
def polled() -> Iterator[Lab]:
    """With one."""
    with Lab() as lab:
        lab.ports, lab.environment["OFGTP_TEST_NO_PMD"] = "afxdp", ""
        yield lab


# --- on the host


def test_from_one_kind_to_the_other_and_back(lab: Lab) -> None:
    """By an edit and a restart. What the interfaces were before is not forgotten."""
    for port in ("eth1", "eth2"):
        lab.exec("gw", ["ethtool", "-K", port, "gro", "on"])
    before = devices(lab)
    for kind in ("", "afxdp", "af_packet", "afxdp"):
        lab.ports = kind
        own.start(lab, "switch")
        gw = World(lab)
        gw.session("a", UE, 1, 101)
        passes(lab, gw)
        assert own.gateway(lab)["ports"]["type"] == (kind or "af_packet")
        there = devices(lab) - before
        for port, end, number in zip(("eth1", "eth2"), ENDS, ("1", "2"), strict=True):
            assert lab.end(port) == (end if kind == "afxdp" else port)
            assert column(lab, "Interface", lab.end(port), "ofport") == number
            assert column(lab, "Interface", lab.end(port), "external_ids:ofgtp-gro") == "on"
            assert "PROMISC" in shown(lab, port)["flags"]
            if kind != "afxdp":
                assert there.isdisjoint({end, f"{end}h"})
                continue
            veth = shown(lab, end)
            assert (veth["address"], veth["mtu"]) == (lab.mac("gw", port), 1500)
            assert (veth["ifalias"], veth["link"]) == ("ofgtp gw1", f"{end}h")
            assert column(lab, "Interface", end, "type") == "afxdp-nonpmd"
        lab.stop_controller()


def test_what_is_changed_of_it_is_put_right(lab: Lab) -> None:
    own.start(lab, "switch")
    gw, log = World(lab), own.Log(lab)
    gw.session("a", UE, 1, 101)
    end = ENDS[0]
    for done in (
        f"ip link set {end} address 02:00:00:00:00:09",
        f"ip link set {end}h down",
        "ip link set eth1 promisc off",
        "nft delete table netdev ofgtp_br-ofgtp",
        f"ip link del {end}",
        f"ovs-vsctl --db={lab.ovsdb} set Interface {end} type=afxdp",
    ):
        seen = len(log.events("repaired"))
        lab.exec("gw", ["sh", "-c", done])
        own.until(lambda seen=seen: len(log.events("repaired")) > seen, f"{done}: event `repaired`")
        until(lambda: own.in_sync(lab), f"{done}: in sync", timeout=30)
        passes(lab, gw)
    assert column(lab, "Interface", end, "type") == "afxdp-nonpmd"
    assert "PROMISC" in shown(lab, "eth1")["flags"]


def test_another_mtu_and_mac_address(lab: Lab) -> None:
    own.start(lab, "switch")
    gw = World(lab)
    gw.session("a", UE, 1, 101)
    lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", "1400"])
    lab.exec("gw", ["ip", "link", "set", "eth2", "address", "02:00:00:00:02:02"])
    until(lambda: shown(lab, ENDS[0])["mtu"] == 1400, "its veth has it, too")
    until(lambda: shown(lab, ENDS[1])["address"] == "02:00:00:00:02:02", "its veth has it, too")
    until(lambda: own.gateway(lab)["access"]["mtu"] == 1400, "the MTU is known")
    until(lambda: own.in_sync(lab), "in sync")
    passes(lab, World(lab))


# --- what cannot be is said


def refused(lab: Lab, words: str) -> None:
    until(lambda: words in problem(lab), f"problem {words!r}")
    assert 'ports = "af_packet"' in problem(lab), "and what to do"
    assert lab.http("GET", "/v1/health").status == 503


def test_a_switch_without_it(lab: Lab) -> None:
    """Its build lists what it has."""
    kinds = json.loads(lab.vsctl("--format=json", "--columns=iface_types", "list", "Open_vSwitch"))[
        "data"
    ][0][0][1]
    without = ",".join(kind for kind in kinds if not kind.startswith("afxdp"))
    assert len(without.split(",")) == len(kinds) - 2
    daemon = lab._daemons["ovs-vswitchd"]
    daemon.send_signal(signal.SIGSTOP)  # it would write down what it has, again
    try:
        lab.vsctl("--no-wait", "set", "Open_vSwitch", ".", f"iface_types=[{without}]")
        lab.start_controller(lab.config(), status=503)
        refused(lab, "this Open vSwitch has no AF_XDP ports")
    finally:
        daemon.send_signal(signal.SIGCONT)
    lab.vsctl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:look=again")
    lab.wait_health()


def test_an_mtu_that_is_too_long(lab: Lab) -> None:
    for name, device in (("gw", "eth2"), ("pdn", "eth0")):
        lab.exec(name, ["ip", "link", "set", device, "mtu", "9000"])
    lab.start_controller(lab.config(), status=503)
    refused(lab, "the MTU of eth2 is 9000, and AF_XDP takes 3400 at most")
    for mtu in (3400, 1500):
        lab.exec("gw", ["ip", "link", "set", "eth2", "mtu", str(mtu)])
        lab.wait_health()
        gw = World(lab)
        gw.session("a", UE, 1, 101)
        until(lambda: own.in_sync(lab), "in sync")
        passes(lab, gw)


def test_somebody_elses_xdp_program(lab: Lab) -> None:
    """That of another bridge's port by AF_XDP, here."""
    other = ["add-br", "theirs", "--", "set", "Bridge", "theirs", "datapath_type=netdev"]
    lab.vsctl(*other, "--", "add-port", "theirs", "eth1")
    lab.vsctl("set", "Interface", "eth1", "type=afxdp-nonpmd")
    until(lambda: "xdp" in shown(lab, "eth1"), "it is there")
    lab.start_controller(lab.config(), status=503)
    refused(lab, "an XDP program is on eth1")
    lab.vsctl("del-br", "theirs")
    lab.wait_health()


def test_veths_of_which_the_maker_was_killed(lab: Lab) -> None:
    """They are made anew, and set as they should be."""
    half = ["ip", "link", "add", ENDS[0], "type", "veth", "peer", "name", f"{ENDS[0]}h"]
    lab.exec("gw", half)
    own.start(lab, "switch")
    assert shown(lab, ENDS[0])["ifalias"] == shown(lab, f"{ENDS[0]}h")["ifalias"] == "ofgtp gw1"
    assert "tx-checksumming: off" in lab.exec("gw", ["ethtool", "-k", f"{ENDS[0]}h"]).stdout
    gw = World(lab)
    gw.session("a", UE, 1, 101)
    passes(lab, gw)


def test_removal_after_an_edit(lab: Lab) -> None:
    """`ports = "af_packet"` again in the file, and the gateway removed instead of started."""
    before = devices(lab)
    own.start(lab, "switch")
    lab.stop_controller()
    lab.ports = "af_packet"
    (lab.dir / "ofgtp.toml").write_text(lab.config(controller=own.SWITCH))
    environment = ["env", f"OFGTP_CONFIG={lab.dir}/ofgtp.toml"]
    ofgtp = str(Path(sys.executable).parent / "ofgtp")
    lab.exec("gw", [*environment, ofgtp, "gateway", "remove", "gw1"])
    assert devices(lab) == before
    assert "PROMISC" not in shown(lab, "eth1")["flags"]
    assert lab.exec("gw", ["nft", "list", "ruleset"]).stdout == ""


def test_packets_pass_once_it_is_in_sync(lab: Lab) -> None:
    """The host lets them reach the switch by then, as the switch lets them pass."""
    lab.start_controller(lab.config())
    until(lambda: (own.gateway(lab) if answers(lab) else {}).get("in_sync"), "in sync", pause=0.005)
    listed = lab.exec("gw", ["nft", "list", "set", "netdev", "ofgtp_br-ofgtp", "lease"]).stdout
    assert '"eth1" timeout' in listed
    assert '"eth2" timeout' in listed


def answers(lab: Lab) -> bool:
    try:
        own.gateway(lab)
    except OSError:
        return False
    return True


def test_a_lease_that_has_no_set(lab: Lab) -> None:
    """It is said each time, and over as soon as there is one: no answer is taken for another's."""
    with lab.inside("gw"):
        lease = PortLease("theirs", "lease")
        for _ in range(3):
            with pytest.raises(GatewayNotReady, match="No such file or directory"):
                lease.renew([1], 5)
        lab.exec(
            "gw", ["nft", "table netdev theirs { set lease { type iface_index; flags timeout; }; }"]
        )
        for _ in range(3):
            lease.renew([1], 5)
        lease.close()
    elements = lab.exec("gw", ["nft", "list", "set", "netdev", "theirs", "lease"]).stdout
    assert '"lo" timeout 5s' in elements


def test_an_interface_in_the_way(lab: Lab) -> None:
    lab.exec("gw", ["ip", "link", "add", f"{ENDS[0]}h", "type", "bridge"])
    lab.start_controller(lab.config(), status=503)
    until(lambda: "was not made for gateway gw1" in problem(lab), "it is said")
    assert f"ip link del {ENDS[0]}h" in problem(lab)
    lab.exec("gw", ["ip", "link", "del", f"{ENDS[0]}h"])
    lab.wait_health()


# --- what a veth's other end leaves to be done


@pytest.mark.parametrize("kind", ["afxdp", "af_packet"])
def test_checksums_that_a_container_leaves_to_its_card(lab: Lab, kind: str) -> None:
    """A base station in a container sends by a veth, which has the checksum of UDP made by nobody:
    the switch drops such T-PDUs, unless the host completes them on their way."""
    lab.ports = kind
    own.start(lab, "switch")
    gw, pdn = World(lab), Host(lab, "pdn", PDN)
    gw.session("a", UE, 1, 101)
    inner = ip(UE, PDN)
    t_pdu = b"\x30\xff" + len(inner).to_bytes(2, "big") + bytes([0, 0, 0, 1]) + bytes(inner)
    lab.exec("enb", ["ethtool", "-K", "eth0", "tx", "on"])
    with lab.inside("enb"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as station:
        station.bind(("10.1.0.2", 2152))

        def sent() -> bool:
            station.sendto(t_pdu, ("10.1.0.1", 2152))
            return pdn.got(inner, timeout=0.2) is not None

        if kind == "afxdp":
            until(sent, "they pass")
        else:
            for _ in range(6):
                gw.report()  # what is lost is reckoned from the first looks on
                time.sleep(0.5)
            before = gw.drops("tunnel_error")
            assert not any(sent() for _ in range(10))
            until(lambda: gw.drops("tunnel_error") >= before + 10, "it is said")


# --- the lease


def test_the_lease_ends_without_controller_and_database(polled: Lab) -> None:
    """Flows run out in the switch's main thread, which waits for the database: its other threads
    would forward on. So the host's part has a lease of its own."""
    own.start(polled, "controller")
    own.put(polled)
    with Stream(polled) as stream:
        time.sleep(2 * own.LEASE_S)  # it is renewed
        polled.stop_ovsdb()
        own.crash(polled)
        crashed = time.monotonic()
        time.sleep(own.LEASE_S + 3)
        ended = time.monotonic()
        # The flows are there still, and whoever lets packets reach the switch sees them pass.
        letting = 'add element netdev ofgtp_br-ofgtp lease { "eth1", "eth2" }'
        polled.exec("gw", ["nft", letting])
        stream.wait_flowing(after=ended, timeout=10)
    for name, way in (("uplink", stream.up), ("downlink", stream.down)):
        arrived = [
            sent
            for sent, at in zip(way.sent, way.received, strict=True)
            if at is not None and sent < ended
        ]
        after = max(arrived) - crashed
        print(f"{name}: the last packet passed {after:.2f} s after the crash")
        assert after < own.LEASE_S, name
        assert after > 0.5, "not before, either"
        crashing = [n for n, sent in enumerate(way.sent) if sent < crashed]
        assert all(way.received[n] is not None for n in crashing), "it did not run out before"


def test_the_switchs_own_tunnels_go_on(polled: Lab) -> None:
    """With `ownership = "switch"` there is no lease; nor is anything lost while its database is
    away, since no thread that forwards asks it."""
    own.start(polled, "switch")
    own.put(polled)
    with Stream(polled) as stream:
        time.sleep(1)
        polled.stop_ovsdb()
        own.crash(polled)
        time.sleep(4)
        polled.start_ovsdb()
        own.start(polled, "switch")
        time.sleep(1)
    print(stream)
    assert stream.lost == 0


def test_from_one_owner_to_the_other(lab: Lab) -> None:
    """After a crash, and the end of its lease."""
    own.start(lab, "controller")
    own.crash(lab)
    time.sleep(own.LEASE_S)
    for mode in ("switch", "controller"):
        own.start(lab, mode)
        gw = World(lab)
        gw.session("a", UE, 1, 101)
        passes(lab, gw)
        own.crash(lab)
    lab.stop_ovsdb()
    time.sleep(own.LEASE_S)
    elements = lab.exec("gw", ["nft", "list", "set", "netdev", "ofgtp_br-ofgtp", "lease"]).stdout
    assert "elements" not in elements


@pytest.mark.parametrize("mode", ["controller", "switch"])
def test_a_clean_stop(lab: Lab, mode: str) -> None:
    own.start(lab, mode)
    gw = World(lab)
    gw.session("a", UE, 1, 101)
    passes(lab, gw)
    lab.stop_controller()
    listed = lab.exec("gw", ["nft", "list", "ruleset"]).stdout
    assert ("fwd to" in listed) == (mode == "switch")
    assert column(lab, "Interface", ENDS[0], "ofport") == "1", "what is made stays"


# --- cores


def cores_of(lab: Lab) -> str:
    return column(lab, "Open_vSwitch", ".", MASK)


def received(lab: Lab) -> dict[str, int]:
    """Frames that the switch has had by each port."""
    lab.cache_follows()
    found = re.findall(r"port +\"?([\w-]+)\"?: rx pkts=(\d+)", lab.ofctl("dump-ports", own.BRIDGE))
    names = dict(re.findall(r"(\d+)\(([\w-]+)\)", lab.ofctl("show", own.BRIDGE)))
    return {names.get(port, port): int(count) for port, count in found}


def test_several_cores_share_what_comes(polled: Lab) -> None:
    """One base station's tunnels, all of one outer 5-tuple, and the UEs behind the core's port."""
    lab = polled
    lab.start_controller(lab.config(controller='ownership = "switch"\npmd_cores = [0, 1]'))
    until(lambda: own.in_sync(lab), "in sync")
    assert cores_of(lab) == "0x3"
    assert own.gateway(lab)["ports"] == {"type": "afxdp", "pmd_cores": [0, 1], "ways": 2}
    gw, enb, pdn = World(lab), Host(lab, "enb", "10.1.0.2"), Host(lab, "pdn", PDN)
    # The kernel's hash has a seed by chance: of so many UEs one way has less than a fifth never.
    ues = [f"10.45.1.{number}" for number in range(1, 65)]
    for number, ue in enumerate(ues, 1):
        gw.session(f"s{number}", ue, number, 100 + number)
    before = received(lab)
    for number, ue in enumerate(ues, 1):
        for _ in range(2):
            gw.up(enb, number, ip(ue, PDN), pdn)
            gw.down(pdn, ip(PDN, ue), enb)
    now = received(lab)
    came = {port: now[port] - before[port] for port in now}
    for side in ("a", "n"):
        ways = [came[f"br-ofgtp-{side}{number}"] for number in range(2)]
        print(side, ways)
        assert min(ways) >= 0.2 * sum(ways) and sum(ways) >= 2 * len(ues), ways
    threads = re.findall(
        r"pmd thread numa_id 0 core_id (\d)", lab.appctl("dpif-netdev/pmd-rxq-show")
    )
    assert sorted(threads) == ["0", "1"]
    lab.stop_controller()

    # Fewer cores: fewer ways, and the rest is gone.
    lab.start_controller(lab.config(controller='ownership = "switch"\npmd_cores = [1]'))
    until(lambda: own.in_sync(lab), "in sync")
    assert cores_of(lab) == "0x2"
    assert "br-ofgtp-a1" not in devices(lab)
    passes_for(gw, enb, pdn, ues[3], 4)


def passes_for(gw: World, enb: Host, pdn: Host, ue: str, teid: int) -> None:
    gw.up(enb, teid, ip(ue, PDN), pdn)
    gw.down(pdn, ip(PDN, ue), enb)


def test_cores_that_somebody_else_has_chosen(lab: Lab) -> None:
    """The setting is the whole switch's, and theirs."""
    lab.vsctl("set", "Open_vSwitch", ".", f"{MASK}=0x1")
    lab.start_controller(lab.config(controller="pmd_cores = [1]"))
    until(lambda: own.in_sync(lab), "in sync")
    assert cores_of(lab) == "0x1"
    assert own.gateway(lab)["ports"]["pmd_cores"] == [0]
    lab.vsctl("remove", "Open_vSwitch", ".", "other_config", "pmd-cpu-mask")
    until(lambda: cores_of(lab) == "0x2", "nobody's any more: it is ours")
    lab.stop_controller()
    lab.ports = "af_packet"
    lab.start_controller(lab.config(controller="pmd_cores = [1]"))
    until(lambda: cores_of(lab) == "", "and is taken back")
