"""Ports that are read by AF_XDP, without a switch: names, rules, what nftables is told."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from ipaddress import IPv6Interface
from pathlib import Path

import pytest

from ofgtp.config import load
from ofgtp.core.errors import ConfigError
from ofgtp.core.flows.flow import SetInPort, match
from ofgtp.core.model import IFNAMSIZ, VethPair
from ofgtp.core.rules.access import ingress
from ofgtp.southbound import netfilter, veths
from ofgtp.southbound.ovsdb import cores_of
from tests.support.lab import gateway
from tests.support.sample import LINKS
from tests.unit.test_config import MINIMAL, SECOND, write


def test_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFGTP_TEST_NO_PMD", raising=False)
    [plain] = load(write(tmp_path, MINIMAL)).gateways
    assert (plain.port_type, plain.veths) == ("af_packet", ())
    cores = "[controller]\npmd_cores = [3, 2]\n"
    one, two = load(write(tmp_path, cores + MINIMAL + 'ports = "afxdp"\n' + SECOND)).gateways
    assert (one.port_type, one.pmd_cores) == ("afxdp", (2, 3))
    assert two.veths == ()
    assert one.access_ends == ("br1-a0", "br1-a1") and one.core_ends == ("br1-n0", "br1-n1")
    assert one.veths[1] == VethPair("eth1", 1, "br1-a1", "br1-a1h")
    assert [one.port_of(end) for end in ("br1-a1", "br1-n0", "br1-g")] == ["eth1", "eth2", "br1-g"]
    monkeypatch.setenv("OFGTP_TEST_NO_PMD", "1")
    [tested] = load(write(tmp_path, MINIMAL + 'ports = "afxdp"\n')).gateways
    assert tested.port_type == "afxdp-nonpmd"


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        (MINIMAL + 'ports = "dpdk"\n', "gateway.ports", "must be 'af_packet' or 'afxdp'"),
        ("[controller]\npmd_cores = [1024]\n" + MINIMAL, "controller.pmd_cores", "0 to 1023"),
        ("[controller]\npmd_cores = [true]\n" + MINIMAL, "controller.pmd_cores", "not True"),
        ("[controller]\npmd_cores = [1, 1]\n" + MINIMAL, "controller.pmd_cores", "stands twice"),
        (
            f"[controller]\npmd_cores = {[*range(17)]}\n" + MINIMAL,
            "controller.pmd_cores",
            "at most 16",
        ),
        (MINIMAL + "pmd_cores = [1]\n", "gateway.pmd_cores", "unknown key"),
        (
            MINIMAL.replace('"eth2"', '"br1-a0"') + 'ports = "afxdp"\n',
            "gateway.bridge",
            "'br1-a0' would be both the core port of gw1 and the veth of gw1",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert caught.value.key == key
    assert reason in caught.value.reason


def test_names_fit_an_interface() -> None:
    made = gateway(bridge="a-bridge-of-15-", port_type="afxdp", pmd_cores=tuple(range(16)))
    names = [name for pair in made.veths for name in (pair.end, pair.host_end)]
    assert len({*names}) == len(names) == 64
    assert max(map(len, names)) <= IFNAMSIZ


def test_a_host_core_has_no_veths_of_its_own() -> None:
    made = gateway(core_port="host", next_hop=None, port_type="afxdp")
    assert [pair.port for pair in made.veths] == ["eth1"]
    assert made.core_ends == ("br-ofgtp-c",)


def test_further_ways_stand_for_the_first() -> None:
    flows = [*ingress(replace(LINKS, more=((101, LINKS.access), (201, LINKS.core))))]
    by = {flow.match: flow for flow in flows}
    first = {port: by[match(in_port=port)] for port in (LINKS.access, LINKS.core)}
    for port, stands_for in ((101, LINKS.access), (201, LINKS.core)):
        flow = by[match(in_port=port)]
        assert flow.actions == (SetInPort(stands_for),)
        assert flow.goto == first[stands_for].goto


def test_what_nftables_is_told() -> None:
    two = gateway(port_type="afxdp", pmd_cores=(0, 1), leased=True)
    text = netfilter.ruleset(two, None)
    assert "set lease {" in text
    assert text.count("iif != @lease drop") == 2
    assert (
        'udp dport 2152 fwd to jhash @th,96,32 mod 2 map { 0 : "br-ofgtp-a0h", 1 : "br-ofgtp-a1h" }'
    ) in text
    assert 'jhash ip daddr mod 2 map { 0 : "br-ofgtp-n0h", 1 : "br-ofgtp-n1h" }' in text
    for number in range(2):
        assert f'device "br-ofgtp-n{number}h" priority 0; policy drop;\n\t\tfwd to "eth2"' in text
    assert "ip6" not in text.replace("meta protocol ip6 drop", "")
    with_ipv6 = netfilter.ruleset(replace(two, core_ip6=IPv6Interface("2001:db8::1/64")), None)
    by_ue = "meta protocol ip6 fwd to jhash @nh,192,64"
    assert f'{by_ue} mod 2 map {{ 0 : "br-ofgtp-n0h", 1 : "br-ofgtp-n1h" }}' in with_ipv6
    core = with_ipv6[with_ipv6.index("chain core_in ") :]
    assert core.index("iif != @lease drop") < core.index(by_ue), "the lease is for all of it"
    owned_by_switch = netfilter.ruleset(replace(two, leased=False), None)
    assert "fwd to" in owned_by_switch and "lease" not in owned_by_switch
    plain = netfilter.ruleset(gateway(leased=True), None)
    assert "fwd to" not in plain and "lease" not in plain


def test_a_kernel_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = gateway(port_type="afxdp")

    def no_such_family(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    assert veths.refusal(gateway()) is None
    monkeypatch.setattr(socket, "socket", no_such_family)
    said = veths.refusal(made)
    assert said is not None and 'ports = "af_packet"' in said
    assert said.startswith("this kernel has no AF_XDP sockets (Address family not supported")


@pytest.mark.parametrize(
    ("mask", "cores"), [("0x0", []), ("6", [1, 2]), ("0x10001", [0, 16]), ("", []), ("x", [])]
)
def test_masks(mask: str, cores: list[int]) -> None:
    assert cores_of(mask) == cores
