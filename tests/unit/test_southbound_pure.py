"""The parts of the OVSDB and nftables adapters that need neither."""

import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from ofgtp.southbound import hostnet
from ofgtp.southbound.netfilter import ruleset
from ofgtp.southbound.ovsdb import derived_macs
from tests.support.lab import gateway as lab_gateway


@pytest.mark.parametrize(
    ("port", "local", "core"),
    [
        ("52:54:00:12:34:56", "02:54:00:12:34:56", "06:54:00:12:34:56"),
        ("02:54:00:12:34:56", "06:54:00:12:34:56", "0a:54:00:12:34:56"),
        ("06:54:00:12:34:56", "02:54:00:12:34:56", "0a:54:00:12:34:56"),
        ("46:54:00:12:34:56", "02:54:00:12:34:56", "06:54:00:12:34:56"),
    ],
)
def test_derived_macs(port: str, local: str, core: str) -> None:
    assert derived_macs(port) == (local, core)


@pytest.mark.parametrize("first", range(0, 256, 2))
def test_derived_macs_are_local_unicast_and_cannot_be_taken_for_ip(first: int) -> None:
    port = f"{first:02x}:11:22:33:44:55"
    macs = derived_macs(port)
    assert len({port, *macs}) == 3
    for mac in macs:
        assert int(mac[:2], 16) & 0b11 == 0b10
        assert mac[0] not in "46"


LENGTHS = range(20, 51)


def mapped(value: Callable[[int], int]) -> str:
    """A map of nft's, from the length of a UE's packet."""
    return f"map {{ {', '.join(f'{length} : {value(length)}' for length in LENGTHS)} }}"


def halves(flags: int, more: int) -> str:
    """UDP length, no checksum, flags, type and Length: the eight octets from UDP's fifth on."""
    return mapped(
        lambda length: int.from_bytes(
            struct.pack("!HHBBH", length + 16 + more, 0, flags, 255, length + more), "big"
        )
    )


PLAIN = (
    f"@th,144,16 < 0x33 @th,64,16 0x30ff @th,128,8 & 0xf0 == 0x40"
    f" ip length set @th,144,16 {mapped(lambda n: n + 36)}"
    f" @th,32,64 set @th,144,16 {halves(0x30, 0)} accept"
)
WITH_CONTAINER = (
    f"@th,208,16 < 0x33 @th,64,16 0x30ff @th,192,8 & 0xf0 == 0x40"
    f" ip length set @th,208,16 {mapped(lambda n: n + 44)}"
    f" @th,32,64 set @th,208,16 {halves(0x34, 8)}"
)
PHYSICAL = f"""\
table netdev ofgtp_br-ofgtp {{
	comment "ofgtp: keeps the host's stack off the gateway's ports"
	chain access_in {{
		type filter hook ingress device "eth1" priority 0; policy drop;
	}}
	chain core_in {{
		type filter hook ingress device "eth2" priority 0; policy drop;
	}}
	chain core_out {{
		type filter hook egress device "eth2" priority 0; policy accept;
		meta protocol ip6 drop
		ip daddr 224.0.0.0/3 drop
	}}
	chain contained {{
		{WITH_CONTAINER}
		@th,184,8 0x1 @th,176,8 set @th,176,8 ^ 0x1 @th,184,8 set 0x0
		ip id set @th,192,16 @nh,8,8 set @nh,40,8 @nh,40,8 set 0x0 ip id set 0
		@th,64,8 set 0x34 udp checksum set 0
	}}
	chain gtpu {{
		@th,64,16 0x30ff @th,128,16 0x0 @th,152,8 0x85 goto contained
		{PLAIN}
	}}
	chain access_out {{
		type filter hook egress device "eth1" priority 0; policy accept;
		meta protocol ip udp dport 2152 goto gtpu
		meta protocol ip6 drop
		ip daddr 224.0.0.0/3 drop
	}}
}}
"""
HOST = """\
table netdev ofgtp_br-ofgtp {
	comment "ofgtp: keeps the host's stack off the gateway's ports"
	chain access_in {
		type filter hook ingress device "eth1" priority 0; policy drop;
	}
	chain contained {
		@th,184,8 0x1 @th,176,8 set @th,176,8 ^ 0x1 @th,184,8 set 0x0
		ip id set @th,192,16 @nh,8,8 set @nh,40,8 @nh,40,8 set 0x0 ip id set 0
		@th,64,8 set 0x34 udp checksum set 0
	}
	chain gtpu {
		@th,64,16 0x30ff @th,128,16 0x0 @th,152,8 0x85 goto contained
		udp checksum set 0
	}
	chain access_out {
		type filter hook egress device "eth1" priority 0; policy accept;
		meta protocol ip udp dport 2152 goto gtpu
		meta protocol ip6 drop
		ip daddr 224.0.0.0/3 drop
	}
}

table ip ofgtp_br-ofgtp {
	comment "ofgtp: UEs leave with the host's addresses"
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		ip saddr 10.45.0.0/16 oifname != "br-ofgtp" oifname != "br-ofgtp-c" masquerade
	}
}
"""
SERVICES = """
table inet ofgtp_br-ofgtp {
	comment "ofgtp: UEs do not reach the host's own services"
	set asked {
		typeof ip saddr . meta l4proto . th sport . th dport
		size 65535
		flags dynamic,timeout
		timeout 2m
	}
	chain input {
		type filter hook input priority 0; policy accept;
		iifname "br-ofgtp-c" jump from_ues
	}
	chain from_ues {
		icmp type { echo-reply, destination-unreachable, echo-request, time-exceeded, \
parameter-problem } accept
		ip saddr . meta l4proto . th sport . th dport @asked accept
		counter drop
	}
	chain output {
		type filter hook output priority 0; policy accept;
		oifname "br-ofgtp-c" update @asked \
{ ip daddr . meta l4proto . tcp dport . tcp sport timeout 1d }
		oifname "br-ofgtp-c" update @asked { ip daddr . meta l4proto . udp dport . udp sport }
	}
}
"""


def test_ruleset_of_a_switch_with_right_checksums() -> None:
    assert ruleset(lab_gateway(), (3, 2)) == PHYSICAL
    assert ruleset(lab_gateway(), (4, 0)) == PHYSICAL


def test_ruleset_where_the_dscp_is_a_number() -> None:
    """Then the tunnel sets it, of all packets."""
    without = [line for line in PHYSICAL.splitlines(True) if "ip id set" not in line]
    assert ruleset(lab_gateway(dscp=34), (4, 0)) == "".join(without)


def test_ruleset_where_the_source_port_is_fixed() -> None:
    first = "\tchain gtpu {\n"
    line = "\t\tudp sport != 2152 udp sport set 2152 udp checksum set 0\n"
    assert ruleset(lab_gateway(source_port=2152), (4, 0)) == PHYSICAL.replace(first, first + line)


def test_ruleset_of_an_old_switch_before_a_masquerading_host() -> None:
    gateway = lab_gateway(core_port="host", next_hop=None, masquerade=True)
    assert ruleset(gateway, (3, 1)) == HOST + SERVICES
    assert ruleset(gateway, (2, 13)) == HOST + SERVICES
    assert ruleset(replace(gateway, host_services="allow"), (3, 1)) == HOST


SERVICES6 = """
table inet ofgtp_br-ofgtp {
	comment "ofgtp: UEs do not reach the host's own services"
	set asked {
		typeof ip saddr . meta l4proto . th sport . th dport
		size 65535
		flags dynamic,timeout
		timeout 2m
	}
	set asked6 {
		typeof ip6 saddr . meta l4proto . th sport . th dport
		size 65535
		flags dynamic,timeout
		timeout 2m
	}
	chain input {
		type filter hook input priority 0; policy accept;
		iifname "br-ofgtp-c" jump from_ues
	}
	chain from_ues {
		icmp type { echo-reply, destination-unreachable, echo-request, time-exceeded, \
parameter-problem } accept
		icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, \
parameter-problem, echo-request, echo-reply } accept
		ip saddr . meta l4proto . th sport . th dport @asked accept
		ip6 saddr . meta l4proto . th sport . th dport @asked6 accept
		counter drop
	}
	chain output {
		type filter hook output priority 0; policy accept;
		oifname "br-ofgtp-c" update @asked \
{ ip daddr . meta l4proto . tcp dport . tcp sport timeout 1d }
		oifname "br-ofgtp-c" update @asked { ip daddr . meta l4proto . udp dport . udp sport }
		oifname "br-ofgtp-c" update @asked6 \
{ ip6 daddr . meta l4proto . tcp dport . tcp sport timeout 1d }
		oifname "br-ofgtp-c" update @asked6 { ip6 daddr . meta l4proto . udp dport . udp sport }
	}
}
"""
NAT6 = """
table ip6 ofgtp_br-ofgtp {
	comment "ofgtp: UEs leave with the host's addresses"
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		ip6 saddr 2001:db8:a::/48 oifname != "br-ofgtp" oifname != "br-ofgtp-c" masquerade
	}
}
"""


STRANGERS = """
table inet ofgtp_br-ofgtp {
	comment "ofgtp: UEs are no neighbours of the host's"
	chain input {
		type filter hook input priority 0; policy accept;
		iifname "br-ofgtp-c" icmpv6 type { nd-router-solicit, nd-router-advert, \
nd-neighbor-solicit, nd-neighbor-advert, nd-redirect } counter drop
	}
}
"""


def test_ruleset_of_a_host_that_routes_ipv6() -> None:
    gateway = lab_gateway(
        core_port="host",
        next_hop=None,
        masquerade=True,
        masquerade6=True,
        core_ip6=IPv6Interface("2001:db8:c::1/64"),
        ue_pools6=(IPv6Network("2001:db8:a::/48"),),
    )
    assert ruleset(gateway, (3, 1)) == HOST + NAT6 + SERVICES6
    assert ruleset(replace(gateway, masquerade6=False), (3, 1)) == HOST + SERVICES6
    assert ruleset(replace(gateway, host_services="allow"), (3, 1)) == HOST + NAT6 + STRANGERS


# --- whether the host routes IPv6

GATEWAY6 = lab_gateway(core_port="host", next_hop=None, core_ip6=IPv6Interface("2001:db8:c::1/64"))


@pytest.mark.parametrize(
    ("settings", "routes", "commands"),
    [
        ({"all/forwarding": "1"}, "[]", None),
        ({"all/forwarding": "0", "br-ofgtp-c/force_forwarding": "1"}, "[]", None),
        ({"all/forwarding": "0"}, "[]", ["sysctl -w net.ipv6.conf.all.forwarding=1"]),
        (
            {"all/forwarding": "0", "br-ofgtp-c/force_forwarding": "0"},
            "[]",
            ["sysctl -w net/ipv6/conf/br-ofgtp-c/force_forwarding=1"],
        ),
        (
            {"all/forwarding": "0", "eth0/accept_ra": "1", "eth5/accept_ra": "2"},
            '[{"dev": "eth0", "protocol": "ra"}, {"dev": "eth5", "protocol": "ra"}, {}]',
            [
                "sysctl -w net/ipv6/conf/eth0/accept_ra=2",
                "sysctl -w net.ipv6.conf.all.forwarding=1",
            ],
        ),
    ],
)
def test_what_a_host_lacks_to_route_ipv6(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    routes: str,
    commands: list[str] | None,
) -> None:
    """To switch it on for all interfaces may take away the default route that a router has told."""
    for name, value in settings.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{value}\n")
    monkeypatch.setattr(hostnet, "IPV6_CONF", tmp_path)
    monkeypatch.setattr(hostnet, "run", lambda argv: routes)
    said = hostnet.unforwarded6(GATEWAY6)
    if commands is None:
        assert said is None
    else:
        assert (
            said
            == f"the host does not forward IPv6, so that of UEs ends there: {'; '.join(commands)}"
        )
    assert hostnet.unforwarded6(replace(GATEWAY6, core_port="eth2")) is None
    assert hostnet.unforwarded6(replace(GATEWAY6, core_ip6=None)) is None


def test_a_kernel_without_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostnet, "IPV6_CONF", tmp_path / "nothing")
    assert "ipv6.disable=1" in str(hostnet.ipv6_refusal(GATEWAY6))
    assert hostnet.ipv6_refusal(replace(GATEWAY6, core_ip6=None)) is None
