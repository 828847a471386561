"""The bridge, ports and controller that ofgtp makes, in a real ovsdb-server and ovs-vswitchd."""

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from typing import TypeVar

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.southbound import hostnet, ovsdb
from ofgtp.southbound.ovsdb import Ovsdb, derived_macs
from ofgtp.southbound.ovsdb.connection import CONNECT_S
from tests.support.lab import Lab

pytestmark = pytest.mark.switch


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab, lab.inside("gw"):
        yield lab


@pytest.fixture
def db(lab: Lab) -> Iterator[Ovsdb]:
    connection = Ovsdb(lab.ovsdb)
    yield connection
    connection.close()


@pytest.fixture
def gateway(lab: Lab) -> Gateway:
    return lab.gateway()


def get(lab: Lab, table: str, record: str, column: str) -> str:
    return lab.vsctl("get", table, record, column).strip()


def next_cfg(lab: Lab) -> str:
    return get(lab, "Open_vSwitch", ".", "next_cfg")


def test_everything_is_made(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    facts = db.ensure(gateway, nonce="5eed")
    assert (facts.access_ofport, facts.core_ofport, facts.gtpu_ofport) == (1, 2, 3)
    assert (facts.ect_1_ofport, facts.ce_ofport) == (6, 7)
    assert facts.access_mac == lab.mac("gw", "eth1")
    assert facts.core_mac == lab.mac("gw", "eth2")
    assert facts.local_mac == lab.mac("gw", "br-ofgtp") == derived_macs(facts.access_mac)[0]
    assert facts.ovs_version == lab.appctl("version").split()[3]
    assert not facts.controller_connected

    shown = lab.ofctl("show", "br-ofgtp")
    assert f"dpid:{facts.datapath_id:016x}" in shown
    assert " 1(eth1)" in shown and " 2(eth2)" in shown and " 3(br-ofgtp-g)" in shown
    assert "DP Description: 5eed" in lab.ofctl("dump-desc", "br-ofgtp")
    for version in ("OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"):
        lab.ofctl("dump-flows", "br-ofgtp", version=version)
    assert get(lab, "Bridge", "br-ofgtp", "fail_mode") == "secure"
    assert get(lab, "Bridge", "br-ofgtp", "datapath_type") == "netdev"
    assert get(lab, "Interface", "br-ofgtp-g", "options") == (
        '{key=flow, local_ip="10.1.0.1", packet_type=ptap, remote_ip=flow, tos=inherit}'
    )
    for name, port in (("br-ofgtp-t", 61521), ("br-ofgtp-e", 61523)):
        assert f'dst_port="{port}"' in get(lab, "Interface", name, "options")
    for table in ("Bridge", "Port", "Interface", "Controller"):
        listing = json.loads(lab.vsctl("--format=json", "--columns=external_ids", "list", table))
        assert listing["data"]
        assert all(["ofgtp", "gw1"] in row[0][1] for row in listing["data"])
    for port in ("eth1", "eth2"):
        assert get(lab, "Interface", port, "external_ids:ofgtp-ifindex") == (
            f'"{hostnet.ifindex(port)}"'
        )


def test_nothing_is_written_when_nothing_differs(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    facts = db.ensure(gateway, nonce="a")
    before = next_cfg(lab)
    assert db.ensure(gateway, nonce="a") == facts
    other = Ovsdb(lab.ovsdb)
    assert other.ensure(gateway, nonce="a") == facts
    other.close()
    assert next_cfg(lab) == before


@pytest.mark.parametrize(
    ("break_it", "column"),
    [
        ("set Bridge br-ofgtp fail_mode=standalone", "Bridge br-ofgtp fail_mode"),
        ("set Bridge br-ofgtp protocols=OpenFlow13", "Bridge br-ofgtp protocols"),
        ("remove Bridge br-ofgtp other_config hwaddr", "Bridge br-ofgtp other_config"),
        ("set Interface br-ofgtp-g options:tos=4", "Interface br-ofgtp-g options"),
        ("remove Interface eth1 ofport_request 1", "Interface eth1 ofport_request"),
        ("set Controller br-ofgtp connection_mode=in-band", "Controller br-ofgtp connection_mode"),
        ("set Interface br-ofgtp-e options:dst_port=2152", "Interface br-ofgtp-e options"),
        ("del-port br-ofgtp br-ofgtp-g", "Interface br-ofgtp-g ofport"),
        ("del-port br-ofgtp br-ofgtp-e", "Interface br-ofgtp-e ofport"),
    ],
)
def test_what_differs_is_mended(
    lab: Lab, db: Ovsdb, gateway: Gateway, break_it: str, column: str
) -> None:
    facts = db.ensure(gateway, nonce="a")
    before = get(lab, *column.split())
    lab.vsctl(*break_it.split())
    assert db.ensure(gateway, nonce="a") == facts
    assert get(lab, *column.split()) == before


def test_other_settings_on_our_bridge_stay(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    db.ensure(gateway, nonce="a")
    lab.vsctl("set", "Bridge", "br-ofgtp", "other_config:mac-table-size=99")
    lab.vsctl("add", "Bridge", "br-ofgtp", "protocols", "OpenFlow11")
    db.ensure(gateway, nonce="b")
    assert get(lab, "Bridge", "br-ofgtp", "other_config:mac-table-size") == '"99"'
    assert get(lab, "Bridge", "br-ofgtp", "other_config:dp-desc") == "b"
    assert "OpenFlow11" in get(lab, "Bridge", "br-ofgtp", "protocols")


@pytest.mark.parametrize(
    "change",
    [
        lambda lab, gateway: None,
        lambda lab, gateway: lab.vsctl("set", "Controller", "br-ofgtp", "max_backoff=7000"),
        lambda lab, gateway: lab.vsctl("set", "Controller", "br-ofgtp", 'target="tcp:10.9.9.9:1"'),
        lambda lab, gateway: lab.vsctl(
            *("--id=@c", "create", "Controller", 'target="tcp:127.0.0.1:9"'),
            *("--", "add", "Bridge", "br-ofgtp", "controller", "@c"),
        ),
    ],
    ids=["new nonce", "controller setting", "controller target", "second controller"],
)
def test_flows_survive_every_change(
    lab: Lab, db: Ovsdb, gateway: Gateway, change: Callable[[Lab, Gateway], object]
) -> None:
    db.ensure(gateway, nonce="a")
    lab.ofctl("add-flow", "br-ofgtp", "table=7,cookie=0x77,actions=drop")
    change(lab, gateway)
    db.ensure(gateway, nonce="b")
    assert "cookie=0x77" in lab.ofctl("dump-flows", "br-ofgtp")
    assert lab.vsctl("get-controller", "br-ofgtp").split() == [gateway.openflow]


def test_each_process_is_another_controller_to_the_switch(lab: Lab, gateway: Gateway) -> None:
    """It connects to a new one at once; its flows stay, as it always has one."""
    targets = []
    for nonce in ("a", "b", "c"):
        with socket.create_server(("127.0.0.1", 6653)) as listener:
            listener.settimeout(30)
            db, log = Ovsdb(lab.ovsdb), lab.dir / "ovs-vswitchd.log"
            said = log.stat().st_size
            db.ensure(gateway, nonce=nonce)
            new = log.read_bytes()[said:].decode()  # a second later it would try again
            if nonce == "a":
                lab.ofctl("add-flow", "br-ofgtp", "table=7,cookie=0x77,actions=drop")
            targets.append(lab.vsctl("get-controller", "br-ofgtp").strip())
            assert new.count(f"<->{targets[-1]}: connecting...") == 1
            db.stir(gateway)
            listener.accept()[0].close()
            db.ensure(gateway, nonce=nonce)
            assert lab.vsctl("get-controller", "br-ofgtp").strip() == targets[-1]
            db.close()
    assert targets == ["tcp:127.0.0.1:6653", "tcp:127.0.0.1:06653", "tcp:127.0.0.1:6653"]
    assert "cookie=0x77" in lab.ofctl("dump-flows", "br-ofgtp")


def test_stirring_asks_for_nothing(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    db.ensure(gateway, nonce="a")
    before = int(next_cfg(lab))
    db.stir(gateway)
    assert int(next_cfg(lab)) > before
    assert eventually(lambda: get(lab, "Open_vSwitch", ".", "cur_cfg") == next_cfg(lab))


def test_macs_are_those_in_use(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    """ovs-vswitchd writes them a moment after it says that it has taken the configuration."""
    for number in range(5):
        lab.exec("gw", ["ip", "link", "set", "eth1", "address", f"52:54:00:00:00:0{number}"])
        facts = db.ensure(gateway, nonce="a")
        assert facts.access_mac == f"52:54:00:00:00:0{number}"
        assert facts.local_mac == f"02:54:00:00:00:0{number}" == lab.mac("gw", "br-ofgtp")


def test_version_that_nobody_wrote(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    lab.vsctl("clear", "Open_vSwitch", ".", "ovs_version")
    assert db.ensure(gateway, nonce="a").ovs_version is None


def test_host_mode_has_an_internal_core_port_with_a_stable_mac(lab: Lab, db: Ovsdb) -> None:
    gateway = lab.gateway(core_port="host", next_hop=None)
    facts = db.ensure(gateway, nonce="a")
    assert facts.core_ofport == 2
    assert facts.core_mac == lab.mac("gw", "br-ofgtp-c") == derived_macs(facts.access_mac)[1]
    lab.stop_vswitchd()
    lab.start_vswitchd()
    assert db.ensure(gateway, nonce="a") == facts
    assert lab.mac("gw", "br-ofgtp-c") == facts.core_mac


def test_changed_configuration_moves_the_port(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    db.ensure(gateway, nonce="a")
    lab.link("gw", "eth3", "pdn", "eth3")
    facts = db.ensure(lab.gateway(core_port="eth3"), nonce="a")
    assert facts.core_mac == lab.mac("gw", "eth3")
    assert facts.core_ofport == 2
    assert lab.vsctl("list-ports", "br-ofgtp").split() == [
        "br-ofgtp-e",
        "br-ofgtp-g",
        "br-ofgtp-i",
        "br-ofgtp-o",
        "br-ofgtp-t",
        "eth1",
        "eth3",
    ]


def test_missing_interface(lab: Lab, db: Ovsdb) -> None:
    for changes in ({"access_port": "eth7"}, {"core_port": "eth7"}):
        with pytest.raises(GatewayNotReady, match="interface eth7 does not exist"):
            db.ensure(lab.gateway(**changes), nonce="a")
    assert lab.vsctl("list-br") == ""


def test_interface_that_vanishes_and_comes_back(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    before = db.ensure(gateway, nonce="a")
    lab.exec("gw", ["ip", "link", "del", "eth1"])
    assert eventually(lambda: db.wait(0.5))
    with pytest.raises(GatewayNotReady, match="interface eth1 does not exist"):
        db.ensure(gateway, nonce="a")
    lab.link("gw", "eth1", "enb", "eth0")
    facts = eventually(lambda: attempt(db, gateway))
    assert facts is not None
    assert facts.access_mac == lab.mac("gw", "eth1") != before.access_mac
    assert facts.access_ofport == 1


def attempt(db: Ovsdb, gateway: Gateway) -> ovsdb.BridgeFacts | None:
    try:
        return db.ensure(gateway, nonce="a")
    except GatewayNotReady:
        return None


T = TypeVar("T")


def eventually(get: Callable[[], T]) -> T:
    deadline = time.monotonic() + 20
    while not (value := get()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return value


def test_foreign_bridge_is_refused_and_left_alone(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    lab.vsctl("add-br", "br-ofgtp", "--", "set", "Bridge", "br-ofgtp", "datapath_type=netdev")
    before = lab.vsctl("show")
    with pytest.raises(GatewayNotReady, match="was not made by ofgtp"):
        db.ensure(gateway, nonce="a")
    assert not db.remove(gateway)
    assert lab.vsctl("show") == before


def test_bridge_of_another_gateway_is_refused(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    db.ensure(gateway, nonce="a")
    before = next_cfg(lab)
    with pytest.raises(GatewayNotReady, match="belongs to gateway gw1"):
        db.ensure(lab.gateway(name="gw2"), nonce="a")
    assert not db.remove(lab.gateway(name="gw2"))
    assert next_cfg(lab) == before


def test_port_in_another_bridge_is_refused(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    lab.vsctl("add-br", "other", "--", "set", "Bridge", "other", "datapath_type=netdev")
    lab.vsctl("add-port", "other", "eth2")
    with pytest.raises(GatewayNotReady, match="port eth2 is in bridge other"):
        db.ensure(gateway, nonce="a")
    assert lab.vsctl("list-br").split() == ["other"]


def test_foreign_port_on_our_bridge(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    db.ensure(gateway, nonce="a")
    lab.vsctl("del-port", "eth1", "--", "add-port", "br-ofgtp", "eth1")
    with pytest.raises(GatewayNotReady, match="port eth1 of bridge br-ofgtp was not made by ofgtp"):
        db.ensure(gateway, nonce="a")
    with pytest.raises(GatewayNotReady, match="holds port eth1"):
        db.remove(gateway)
    lab.vsctl("del-port", "eth1")
    assert db.ensure(gateway, nonce="a").access_ofport == 1


def test_same_tunnel_address_on_two_bridges(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    db.ensure(gateway, nonce="a")
    lab.link("gw", "eth3", "pdn", "eth3")
    lab.link("gw", "eth4", "pdn", "eth4")
    second = lab.gateway(name="gw2", bridge="br2", access_port="eth3", core_port="eth4")
    with pytest.raises(GatewayNotReady, match="Open vSwitch refused port br2-g: "):
        db.ensure(second, nonce="a")
    db.remove(gateway)
    assert eventually(lambda: attempt(db, second)) is not None


def test_two_gateways(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    first = db.ensure(gateway, nonce="a")
    lab.link("gw", "eth3", "pdn", "eth3")
    lab.link("gw", "eth4", "pdn", "eth4")
    address = type(gateway.access_ip)("10.3.0.1/24")
    changes = {"bridge": "br2", "access_port": "eth3", "core_port": "eth4", "access_ip": address}
    second = db.ensure(lab.gateway(name="gw2", **changes), nonce="a")
    assert second.gtpu_ofport == 3
    assert second.datapath_id != first.datapath_id
    db.remove(gateway)
    assert lab.vsctl("list-br").split() == ["br2"]


def test_remove_leaves_nothing_of_ours_and_all_of_others(
    lab: Lab, db: Ovsdb, gateway: Gateway
) -> None:
    lab.vsctl("add-br", "other", "--", "set", "Bridge", "other", "datapath_type=netdev")
    before = lab.vsctl("show")
    db.ensure(gateway, nonce="a")
    assert db.remove(gateway)
    assert not hostnet.exists(gateway.bridge)
    assert lab.vsctl("show") == before
    assert lab.vsctl("list", "Controller") == ""
    assert not db.remove(gateway)


def test_facts_are_kept_for_a_later_process(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    assert db.recall(gateway) == {}
    with pytest.raises(GatewayNotReady, match="not on bridge"):
        db.remember(gateway, "eth1", {"gro": "on"})
    db.ensure(gateway, nonce="a")
    db.remember(gateway, "eth1", {"gro": "on"})
    db.remember(gateway, "eth1", {"lro": "on"})
    db.ensure(gateway, nonce="b")
    later = Ovsdb(lab.ovsdb)
    made_for = {name: {"ifindex": str(hostnet.ifindex(name))} for name in ("eth1", "eth2")}
    assert later.recall(gateway) == {
        **{name: {} for name in (gateway.bridge, gateway.gtpu_port)},
        **{name: {} for name in (*gateway.ecn_ports, *gateway.loop_ports)},
        "eth1": {**made_for["eth1"], "gro": "on", "lro": "on"},
        "eth2": made_for["eth2"],
    }
    later.close()


def test_no_server_is_said_quickly(lab: Lab, gateway: Gateway) -> None:
    db = Ovsdb(f"unix:{lab.dir}/nobody.sock")
    started = time.monotonic()
    with pytest.raises(GatewayNotReady, match="no ovsdb-server at unix:"):
        db.ensure(gateway, nonce="a")
    assert time.monotonic() - started < CONNECT_S + 8
    assert not db.connected
    assert not db.wait(0.2)


def test_server_that_does_not_answer(
    lab: Lab, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ofgtp.southbound.ovsdb.connection.CONNECT_S", 0.5)
    lab.spawn("gw", ["socat", f"UNIX-LISTEN:{lab.dir}/deaf.sock", "EXEC:sleep 60"])
    path = lab.dir / "deaf.sock"
    assert eventually(path.exists)
    with pytest.raises(GatewayNotReady, match="does not answer"):
        Ovsdb(f"unix:{path}").ensure(gateway, nonce="a")


def test_survives_a_restart_of_ovsdb_server(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    facts = db.ensure(gateway, nonce="a")
    before = next_cfg(lab)
    lab.stop_ovsdb()
    assert db.wait(20)
    with pytest.raises(GatewayNotReady):
        db.ensure(gateway, nonce="a")
    lab.start_ovsdb()
    assert db.wait(20)
    assert db.ensure(gateway, nonce="a") == facts
    assert next_cfg(lab) == before


def test_dead_vswitchd_is_said(
    lab: Lab, db: Ovsdb, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ofgtp.southbound.ovsdb.readback.COMMIT_S", 1.0)
    lab.stop_vswitchd()
    with pytest.raises(GatewayNotReady, match="ovs-vswitchd did not take the configuration"):
        db.ensure(gateway, nonce="a")
    assert db.remove(gateway)
    assert lab.vsctl("list-br") == ""
    monkeypatch.undo()
    lab.start_vswitchd()
    assert db.ensure(gateway, nonce="a").gtpu_ofport == 3


def test_wait_sees_changes_of_others(lab: Lab, db: Ovsdb, gateway: Gateway) -> None:
    db.ensure(gateway, nonce="a")
    while db.wait(0.5):
        pass
    lab.vsctl("del-port", "eth2")
    assert db.wait(20)


@pytest.mark.parametrize(("dscp", "tos"), [(None, 0xB8), (10, 0x28), (0, 0x00)])
def test_outer_dscp(lab: Lab, db: Ovsdb, dscp: int | None, tos: int) -> None:
    """A downlink packet of DSCP EF (46), and the outer header that the base station gets."""
    gateway = lab.gateway(dscp=dscp)
    facts = db.ensure(gateway, nonce="a")
    hostnet.ensure_address(gateway.bridge, gateway.access_ip)
    lab.ofctl("add-flow", "br-ofgtp", "in_port=1,actions=LOCAL")
    lab.ofctl("add-flow", "br-ofgtp", "in_port=LOCAL,actions=1")
    tunnel = "set_field:0x2001->tun_id,set_field:10.1.0.2->tun_dst,output:3"
    lab.ofctl("add-flow", "br-ofgtp", f"in_port=2,ip,actions=decap(),{tunnel}")
    enb, pdn = lab.port("enb"), lab.port("pdn")
    inner = IP(src="10.2.0.2", dst="10.45.0.2", tos=0xB8) / UDP(dport=9) / b"x"

    def outer() -> list[bytes]:
        pdn.send(Ether(dst=facts.core_mac, src="02:00:00:00:00:99") / inner)
        return enb.receive(1, want=lambda frame: frame[36:38] == b"\x08\x68", timeout=0.5)

    (frame,) = eventually(outer)
    packet = Ether(frame)[IP]
    assert (packet.src, packet.dst, packet.tos) == ("10.1.0.1", "10.1.0.2", tos)


GREEN = """
import eventlet
eventlet.monkey_patch(thread=False)
import time
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from ofgtp.core.model import Gateway
from ofgtp.southbound import hostnet, netfilter
from ofgtp.southbound.ovsdb import Ovsdb, derived_macs

ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        eventlet.sleep(0.001)
eventlet.spawn(tick)
eventlet.sleep(0)

def meanwhile(what, *arguments, **more):
    # how often the other green thread ran
    before = ticks
    what(*arguments, **more)
    print(what.__name__, ticks - before)

gateway = {gateway!r}
db = Ovsdb(gateway.ovsdb)
meanwhile(db.ensure, gateway, nonce="a")
while db.wait(0.5):
    pass
meanwhile(db.wait, 1)
meanwhile(hostnet.ensure_address, gateway.bridge, gateway.access_ip)
meanwhile(hostnet.offloads_off, gateway.access_port)
meanwhile(netfilter.apply, gateway, (3, 1))
"""


def test_green_threads_run_while_it_waits(lab: Lab, gateway: Gateway) -> None:
    argv = [sys.executable, "-c", GREEN.format(gateway=gateway)]
    told = dict(line.split() for line in lab.exec("gw", argv).stdout.splitlines())
    assert set(told) == {"ensure", "wait", "ensure_address", "offloads_off", "apply"}
    # where one blocks, no other runs at all
    assert all(int(ticks) > 0 for ticks in told.values()), told


def test_ipv6_prefixes_are_told_apart_by_their_leading_bits(
    lab: Lab, db: Ovsdb, gateway: Gateway
) -> None:
    """By flow tables of ours, beside those of others, as long as there is IPv6."""
    db.ensure(gateway, nonce="5eed")
    assert get(lab, "Bridge", "br-ofgtp", "flow_tables") == "{}"
    other = ["--id=@t", "create", "Flow_Table", "flow_limit=1000", "--"]
    lab.vsctl(*other, "set", "bridge", "br-ofgtp", "flow_tables:99=@t")
    both = replace(
        gateway,
        ue_pools6=(IPv6Network("2001:db8:a::/48"),),
        core_ip6=IPv6Interface("2001:db8:c::1/64"),
        next_hop6=IPv6Address("2001:db8:c::2"),
    )
    db.ensure(both, nonce="5eed")
    shown = json.loads(lab.vsctl("--format=json", "list", "Flow_Table"))
    place = shown["headings"].index("prefixes")
    told = [row[place][1] if row[place][0] == "set" else row[place] for row in shown["data"]]
    assert sorted(filter(None, told)) == sorted(map(sorted, ovsdb.PREFIXES.values()))
    numbers = get(lab, "Bridge", "br-ofgtp", "flow_tables")
    assert all(f"{number}=" in numbers for number in (99, *ovsdb.PREFIXES))
    before = next_cfg(lab)
    db.ensure(both, nonce="5eed")
    assert next_cfg(lab) == before, "nothing differs"
    db.ensure(gateway, nonce="5eed")
    assert get(lab, "Bridge", "br-ofgtp", "flow_tables").count("=") == 1
