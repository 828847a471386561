"""`ofgtp trace` and `ofgtp capture` where there is no switch: who may, and what is said."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path

import pytest

from ofgtp import cli
from ofgtp.cli import subject
from ofgtp.cli.trace.run import _to_host
from ofgtp.core.model import FTeid, Qos
from tests.support import traces

Run = Callable[..., tuple[object, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two gateways with one UE pool, and an API that does not answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "ofgtp.toml"
    gateways = "".join(
        f"""
[[gateway]]
name = "gw{number}"
ovsdb = "unix:{tmp_path}/db.sock"
bridge = "br-{number}"
access_port = "eth{number}"
access_ip = "10.{number}.0.1/24"
core_port = "core{number}"
core_ip = "10.2{number}.0.1/24"
next_hop = "10.2{number}.0.2"
ue_pools = ["10.45.0.0/16"]
"""
        for number in (1, 2)
    )
    path.write_text(f'[rest]\nlisten = "127.0.0.1:{port}"\n{gateways}')
    return path


@pytest.fixture
def ofgtp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path) -> Run:
    """Run the command as root; its code and what it says."""
    monkeypatch.setenv("OFGTP_CONFIG", str(config))
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def run(*arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["ofgtp", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1, printed
        return ended.value.code, printed.err

    return run


@pytest.mark.parametrize("command", ["trace", "capture"])
def test_who_may(ofgtp: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = ofgtp(command, "10.45.0.2")
    assert told == (1, "ofgtp: this needs root, on the switch's host\n")


@pytest.mark.parametrize("command", ["trace", "capture"])
def test_without_api_and_switch(ofgtp: Run, command: str) -> None:
    code, said = ofgtp(command, "phone-1")
    assert code == 3 and "no answer at" in said and "found by the UE's address" in said
    code, said = ofgtp(command, "10.99.0.2")
    assert code == 4 and "10.99.0.2 is in no UE pool" in said
    code, said = ofgtp(command, "10.45.0.2")
    assert code == 2 and "name one by --gateway: gw1 or gw2" in said
    code, said = ofgtp(command, "10.45.0.2", "--gateway", "gw9")
    assert code == 4 and "has the name 'gw9': there is gw1 and gw2" in said


def test_trace_without_ovs_vswitchd(ofgtp: Run) -> None:
    code, said = ofgtp("trace", "10.45.0.2", "--gateway", "gw2")
    assert (
        code == 1 and "ovs-vswitchd does not answer" in said and "is Open vSwitch running?" in said
    )


@pytest.mark.parametrize(
    "options, what",
    [
        ("--proto icmp --dport 80", "icmp has no ports"),
        ("--downlink --peer 10.1.0.3", "are for the uplink"),
        ("--downlink --qfi 0", "are for the uplink"),
        ("--downlink --no-qfi", "are for the uplink"),
        ("--downlink --outer-ecn ce", "are for the uplink"),
        ("--outer-ecn 3", "'3' is not one of 'ect1', 'ect0', 'ce'"),
        ("--qfi 64", "64 is not in the range 0<=x<=63"),
        ("--qfi 9 --no-qfi", "exclude each other"),
        ("--qfi 9 --container 01100900", "exclude each other"),
        ("--container 011", "'011' is not hexadecimal"),
        ("--container 01:10:09", "3 octets, not 4 to 64"),
        ("--size big", "'big' is not a valid number"),
        ("--size 27", "27 is not in the range 28<=x<=65535"),
        ("-4 -6", "--ipv4 and --ipv6: one is IPv4, one is IPv6"),
        ("-4 --host 2001:db8::1", "--ipv4 and --host: one is"),
        ("--source 10.45.0.2 --host 2001:db8::1", "--source and --host: one is"),
        ("--proto icmpv6 --dport 80", "icmpv6 has no ports"),
        ("--host 2001:db8::/64", "'2001:db8::/64' is not an address like 10.45.0.7 or 2001:db8::7"),
        ("--router-solicitation --downlink", "whose destination, protocol and size are"),
        ("--router-solicitation --size 100", "whose destination, protocol and size are"),
    ],
)
def test_options_that_are_wrong(ofgtp: Run, options: str, what: str) -> None:
    code, said = ofgtp("trace", "10.45.0.2", *options.split())
    assert code == 2 and what in said


def test_without_a_configuration(ofgtp: Run, config: Path) -> None:
    config.unlink()
    code, said = ofgtp("trace", "10.45.0.2")
    assert code == 2 and "cannot be read" in said


def test_capture_prints_json_or_writes_a_pcap(ofgtp: Run) -> None:
    code, said = ofgtp("capture", "10.45.0.2", "-w", "x.pcap", "--json")
    assert code == 2 and "--json is for what is printed" in said


def test_a_session_as_its_flows_tell() -> None:
    ue = IPv4Address("10.45.0.2")
    flows = [
        "cookie=0x0, duration=1s, table=30, n_packets=0, priority=200,ip,reg0=0x7,nw_src=10.45.0.2"
        " actions=drop",
        "cookie=0xf67030000000005, duration=1s, table=30, n_packets=0, n_bytes=0,"
        " priority=100,ip,reg0=0x1001,reg1=0xa010002,nw_src=10.45.0.2 actions=goto_table:40",
        "cookie=0xf67030000000005, duration=1s, table=70, n_packets=0, n_bytes=0,"
        " priority=100,ip,nw_dst=10.45.0.2"
        " actions=decap(),set_field:0x2001->tun_id,set_field:10.1.0.2->tun_dst,output:3",
    ]
    known = subject._told_by(flows, ue)
    assert (known.teid, known.pinned) == (0x1001, IPv4Address("10.1.0.2")), "not the foreign one's"
    assert known.downlink == FTeid(0x2001, IPv4Address("10.1.0.2"))
    assert known.cookie == 0x0F67_0300_0000_0005 and known.id is None
    assert subject._told_by([], ue).teid is None


@pytest.mark.parametrize(
    "uplink, downlink, qos",
    [
        (0, 0, None),
        (0x80, 0x09, Qos(9)),
        (0xC9, 0x49, Qos(9, rqi=True, check=True)),
        (0, 0x09, Qos(9, required=False)),
        (0xC9, None, Qos(9, check=True)),
        (0x80, None, Qos(0)),  # idle, and any will do
    ],
)
def test_a_qfi_as_the_flows_tell(uplink: int, downlink: int | None, qos: Qos | None) -> None:
    def flow(key: str, register: int, actions: str) -> str:
        marked = f"set_field:{register:#x}->reg4," if register else ""
        return f"cookie=0xf67030000000005, {key} actions={marked}{actions}"

    flows = [flow("table=30,ip,reg0=0x1001,nw_src=10.45.0.2", uplink, "goto_table:35")]
    if downlink is not None:
        tunnel = "set_field:0x2001->tun_id,set_field:10.1.0.2->tun_dst,goto_table:72"
        flows.append(flow("table=70,ip,nw_dst=10.45.0.2", downlink, tunnel))
    assert subject._told_by(flows, IPv4Address("10.45.0.2")).qos == qos


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("10.45.0.7", "10.45.0.7"),
        ("2001:db8:a:1::7", "2001:db8:a:1::7"),
        ("2001:db8:a:1::", "2001:db8:a:1::"),
        ("2001:db8:a:1::/64", "2001:db8:a:1::1"),
        ("2001:db8:a:1::7/64", "2001:db8:a:1::7"),
        ("10.45.0.7/32", None),
        ("fe80::1%eth0", None),
        ("phone-1", None),
        ("2001:db8", None),
    ],
)
def test_by_which_address_a_ue_is_named(name: str, address: str | None) -> None:
    found = subject.address_of(name)
    assert (found and str(found)) == address


@pytest.mark.parametrize("command", ["trace", "capture"])
def test_ipv6_where_no_gateway_has_it(ofgtp: Run, command: str) -> None:
    code, said = ofgtp(command, "2001:db8:a:1::7")
    assert code == 4 and "2001:db8:a:1::7 is in no UE pool" in said


def test_a_session_of_both_versions_as_its_flows_tell() -> None:
    cookie, tunnel = "cookie=0xf67030000000005,", "set_field:0x2001->tun_id,set_field:10.1.0.2"
    flows = [
        f"{cookie} table=30, priority=100,ip,reg0=0x1001,nw_src=10.45.0.2 actions=goto_table:31",
        f"{cookie} table=30, priority=100,ipv6,reg0=0x1001,ipv6_src=2001:db8:a:1::/64 actions=x",
        f"{cookie} table=70, priority=100,ip,nw_dst=192.168.0.0/16 actions={tunnel}->tun_dst",
        f"{cookie} table=70, priority=100,ip,nw_dst=10.45.0.2 actions={tunnel}->tun_dst",
        f"{cookie} table=70, priority=100,ipv6,ipv6_dst=2001:db8:f::/48 actions=decap()",
        f"{cookie} table=70, priority=100,ipv6,ipv6_dst=2001:db8:a:1::/64 actions=decap()",
    ]
    for ue, ue6 in ((IPv4Address("10.45.0.2"), None), (None, IPv6Network("2001:db8:a:1::/64"))):
        known = subject._told_by(flows, ue, ue6, [IPv6Network("2001:db8:a::/48")])
        assert known.who == "10.45.0.2 and 2001:db8:a:1::/64"
        assert (known.teid, known.versions) == (0x1001, (4, 6))
        assert known.downlink == FTeid(0x2001, IPv4Address("10.1.0.2"))


def test_what_the_host_is_to_route_on() -> None:
    """Not what the controller answers."""
    solicited, sent, got = (
        traces.story(each) for each in ("ipv6-solicits", "ipv6-up", "ipv6-down")
    )
    assert [_to_host(each) for each in (sent, solicited, got)] == [True, False, False]
