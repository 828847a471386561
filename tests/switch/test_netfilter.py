"""nftables on a real gateway: what the packets look like with the rules and without."""

import time
from collections.abc import Callable, Iterator
from ipaddress import IPv6Interface, IPv6Network
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.flows import faults
from ofgtp.southbound import hostnet, netfilter
from ofgtp.southbound.ovsdb import BridgeFacts, Ovsdb
from tests.support.lab import Lab, RawPort

pytestmark = pytest.mark.switch

BROKEN, FIXED = (3, 1), (3, 2)


@pytest.fixture
def lab() -> Iterator[Lab]:
    netfilter._accepted.clear()
    with Lab() as lab, lab.inside("gw"):
        yield lab


@pytest.fixture
def facts(lab: Lab) -> BridgeFacts:
    """The bridge, with flows that join LOCAL to the access port and tunnel what comes from core."""
    gateway = lab.gateway()
    db = Ovsdb(lab.ovsdb)
    facts = db.ensure(gateway, nonce="a")
    db.close()
    hostnet.ensure_address(gateway.bridge, gateway.access_ip)
    lab.ofctl("add-flow", "br-ofgtp", "in_port=1,actions=LOCAL")
    lab.ofctl("add-flow", "br-ofgtp", "in_port=LOCAL,actions=1")
    tunnel = "set_field:0x2001->tun_id,set_field:10.1.0.2->tun_dst,output:3"
    lab.ofctl("add-flow", "br-ofgtp", f"in_port=2,ip,actions=decap(),{tunnel}")
    return facts


def listed(lab: Lab) -> str:
    return lab.exec("gw", ["nft", "list", "ruleset"]).stdout


def downlink(lab: Lab, facts: BridgeFacts, enb: RawPort, pdn: RawPort) -> Ether:
    """The GTP-U packet that the base station gets for a packet from the core."""
    inner = IP(src="10.2.0.2", dst="10.45.0.2") / UDP(dport=9) / (b"payload" * 8)
    frame = Ether(dst=facts.core_mac, src="02:00:00:00:00:99") / inner
    for _ in range(40):
        pdn.send(frame)
        if found := enb.receive(1, want=lambda data: data[36:38] == b"\x08\x68", timeout=0.5):
            return Ether(found[0])
    raise AssertionError("no GTP-U packet came")


def sum_of(packet: Ether) -> tuple[int, int]:
    """The UDP checksum as sent, and as scapy computes it."""
    again = packet.copy()
    del again[UDP].chksum
    return packet[UDP].chksum, Ether(bytes(again))[UDP].chksum


def test_checksums_are_remedied_for_the_versions_that_need_it(lab: Lab, facts: BridgeFacts) -> None:
    gateway, enb, pdn = lab.gateway(), lab.port("enb"), lab.port("pdn")
    netfilter.apply(gateway, FIXED)
    sent, right = sum_of(downlink(lab, facts, enb, pdn))
    assert listed(lab).count("checksum") == 1, "of T-PDUs with a container"
    version = faults.parse(facts.ovs_version)
    assert (sent not in (0, right)) is faults.UDP_CHECKSUM.affects(version)

    assert netfilter.apply(gateway, BROKEN)
    assert sum_of(downlink(lab, facts, enb, pdn))[0] == 0


def test_other_udp_keeps_its_checksum(lab: Lab, facts: BridgeFacts) -> None:
    netfilter.apply(lab.gateway(), BROKEN)
    enb = lab.port("enb")
    lab.exec("gw", ["socat", "-u", "-", "UDP-SENDTO:10.1.0.2:4000"], stdin="x")
    (frame,) = enb.receive(1, want=lambda data: data[36:38] == (4000).to_bytes(2, "big"))
    sent, right = sum_of(Ether(frame))
    assert sent == right != 0


def test_one_arp_answer_and_no_icmp_from_the_hosts_stack(lab: Lab, facts: BridgeFacts) -> None:
    enb = lab.port("enb")
    me = lab.mac("enb")
    who = Ether(src=me, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=me, psrc="10.1.0.2", pdst="10.1.0.1"
    )
    # not to LOCAL's MAC: only a stack that reads the access port itself would answer
    stray = Ether(src=me, dst=facts.access_mac) / IP(src="10.1.0.2", dst="10.1.0.1") / UDP(dport=7)

    def answers() -> tuple[set[str], int]:
        enb.drain()
        enb.send(who, stray)
        packets = [Ether(frame) for frame in enb.receive(quiet=1.0)]
        arps = [p[ARP].hwsrc for p in packets if ARP in p and p[ARP].op == 2]
        assert len(arps) == len(set(arps))
        return set(arps), sum(ICMP in p for p in packets)

    assert answers() == ({facts.local_mac, facts.access_mac}, 1)
    netfilter.apply(lab.gateway(), BROKEN)
    assert answers() == ({facts.local_mac}, 0)


IPV6_HOST = {
    "core_port": "host",
    "next_hop": None,
    "masquerade6": True,
    "core_ip6": IPv6Interface("2001:db8:c::1/64"),
    "ue_pools6": (IPv6Network("2001:db8:a::/48"),),
}


ALLOWED = {"host_services": "allow"}


@pytest.mark.parametrize(
    "changes",
    [{}, IPV6_HOST, IPV6_HOST | ALLOWED],
    ids=["port", "host with IPv6", "host with IPv6 and services"],
)
def test_apply_changes_only_what_differs(lab: Lab, changes: dict[str, Any]) -> None:
    gateway = lab.gateway(**changes)
    assert not netfilter.check(gateway, BROKEN)
    assert netfilter.apply(gateway, BROKEN)
    handles = lab.exec("gw", ["nft", "-a", "list", "ruleset"]).stdout
    assert not netfilter.apply(gateway, BROKEN)
    netfilter._accepted.clear()  # as in a new process
    assert netfilter.check(gateway, BROKEN)
    assert not netfilter.apply(gateway, BROKEN)
    assert lab.exec("gw", ["nft", "-a", "list", "ruleset"]).stdout == handles
    assert not netfilter.check(gateway, FIXED)


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "flush chain netdev ofgtp_br-ofgtp access_out",
        "delete chain netdev ofgtp_br-ofgtp core_in",
        "delete table ip ofgtp_br-ofgtp",
        "add rule netdev ofgtp_br-ofgtp access_in accept",
        "add chain netdev ofgtp_br-ofgtp access_in { policy accept; }",
    ],
)
def test_damage_is_seen_and_mended(lab: Lab, damage: str) -> None:
    gateway = lab.gateway(masquerade=True)
    netfilter.apply(gateway, BROKEN)
    whole = listed(lab)
    lab.exec("gw", ["nft", damage])
    assert not netfilter.check(gateway, BROKEN)
    assert netfilter.apply(gateway, BROKEN)
    assert listed(lab) == whole
    assert netfilter.check(gateway, BROKEN)


def test_port_that_was_away(lab: Lab) -> None:
    gateway = lab.gateway()
    netfilter.apply(gateway, BROKEN)
    whole = listed(lab)
    lab.exec("gw", ["ip", "link", "del", "eth1"])
    lab.link("gw", "eth1", "enb", "eth0")
    netfilter.apply(gateway, BROKEN)
    assert listed(lab) == whole
    lab.exec("gw", ["ip", "addr", "add", "10.1.0.1/24", "dev", "eth1"])
    lab.exec("enb", ["ip", "addr", "add", "10.1.0.2/24", "dev", "eth0"])
    ping = ["ping", "-c1", "10.1.0.1"]
    assert lab.exec("enb", [*ping, "-W1"], check=False).returncode == 1
    netfilter.remove(gateway)
    assert lab.exec("enb", [*ping, "-W20"], check=False).returncode == 0


def test_remove_takes_ours_and_leaves_others(lab: Lab) -> None:
    gateway = lab.gateway(masquerade=True)
    lab.exec("gw", ["nft", "table inet mine { chain c { type filter hook input priority 0; }; }"])
    before = listed(lab)
    netfilter.apply(gateway, BROKEN)
    netfilter.apply(lab.gateway(bridge="br+1"), BROKEN)
    assert netfilter.remove(gateway)
    assert "ofgtp_br.2b1" in listed(lab)
    assert netfilter.remove(lab.gateway(bridge="br+1"))
    assert listed(lab) == before
    assert not netfilter.remove(gateway)


@pytest.mark.parametrize("changes", [{"masquerade": True}, IPV6_HOST], ids=["IPv4", "IPv6"])
def test_masquerade_that_is_configured_away_goes(lab: Lab, changes: dict[str, Any]) -> None:
    netfilter.apply(lab.gateway(**changes), BROKEN)
    assert "masquerade" in listed(lab)
    assert not netfilter.check(lab.gateway(), BROKEN)
    netfilter.apply(lab.gateway(), BROKEN)
    assert "masquerade" not in listed(lab)


def test_nfts_own_words(lab: Lab) -> None:
    with pytest.raises(GatewayNotReady, match=r"^`nft -f -`: /dev/stdin:.* Error: "):
        netfilter.apply(lab.gateway(access_port="eth9" * 5), BROKEN)
    assert "ofgtp" not in listed(lab)


@pytest.mark.parametrize("masquerade", [True, False])
def test_host_core_routes_and_masquerades(lab: Lab, masquerade: bool) -> None:
    """A UE's packet through the host to a third network, and the answer back to the bridge."""
    gateway = lab.gateway(core_port="host", next_hop=None, masquerade=masquerade)
    lab.add_namespace("net")
    lab.link("gw", "eth9", "net", "eth0")
    lab.exec("gw", ["ip", "addr", "add", "192.0.2.1/24", "dev", "eth9"])
    lab.exec("gw", ["sysctl", "-qw", "net.ipv4.conf.eth9.forwarding=1"])
    lab.exec("net", ["ip", "addr", "add", "192.0.2.2/24", "dev", "eth0"])
    lab.exec("net", ["ip", "route", "add", "default", "via", "192.0.2.1"])
    db = Ovsdb(lab.ovsdb)
    facts = db.ensure(gateway, nonce="a")
    db.close()
    hostnet.ensure_address(gateway.core_device, gateway.core_ip)
    hostnet.ensure_device_settings(gateway.core_device, forward=True)
    hostnet.ensure_routes(gateway, "0e:00:00:00:00:01")
    netfilter.apply(gateway, BROKEN)
    lab.ofctl("add-flow", "br-ofgtp", "in_port=1,actions=2")
    lab.ofctl("add-flow", "br-ofgtp", "in_port=2,actions=1")

    ue = "10.45.200.9"
    enb, net = lab.port("enb"), lab.port("net")
    inner = IP(src=ue, dst="192.0.2.2", ttl=9) / ICMP(id=5) / b"x"
    ether = Ether(src="0e:00:00:00:00:01", dst=facts.core_mac)

    def round_trip() -> list[bytes]:
        enb.send(ether / inner)
        return enb.receive(1, want=lambda frame: frame[12:14] == b"\x08\x00", timeout=1.0)

    (reply,) = eventually(round_trip)
    packet = Ether(reply)
    assert packet.dst == "0e:00:00:00:00:01"
    assert (packet[IP].src, packet[IP].dst, packet[ICMP].type) == ("192.0.2.2", ue, 0)
    seen = [Ether(frame) for frame in net.receive()]
    (request, *_) = [p for p in seen if ICMP in p]
    assert request[IP].src == ("192.0.2.1" if masquerade else ue)
    assert request[IP].ttl == 8


def eventually(get: Callable[[], list[bytes]]) -> list[bytes]:
    deadline = time.monotonic() + 20
    while not (value := get()) and time.monotonic() < deadline:
        pass
    return value
