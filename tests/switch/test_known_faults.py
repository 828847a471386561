"""The table of Open vSwitch's faults, against the switch at hand: it has those that the table gives
its version, and no other. Shown on a bare bridge, with none of ofgtp's remedies."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether

from ofgtp.core.flows import faults
from ofgtp.core.flows.faults import FAULTS, Fault
from ofgtp.core.flows.flow import Flow, Output, match
from ofgtp.southbound import openflow as of
from tests.support import gtpu
from tests.support.lab import Lab
from tests.support.site import ACCESS_IP, ENB_IP, PDN_IP, is_gtpu, until

pytestmark = pytest.mark.switch

BRIDGE, LOCAL_MAC = "br0", "02:00:00:00:00:01"
ACCESS, CORE, GTPU = 1, 2, 3
UE, TEID = "10.45.0.2", 7
DROP = f"in_port={GTPU},actions=drop"
MARK = 0x88B5
"""An Ethernet type for experiments (IEEE 802): its frames go from the access to the core port."""


class Bare:
    """A bridge with an access port, a core port, a gtpu port, and GTP-U's address at LOCAL."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.enb, self.pdn = lab, lab.port("enb"), lab.port("pdn")
        self.enb_mac, self.access_mac = lab.mac("enb"), lab.mac("gw", "eth1")
        bridge = ["datapath_type=netdev", "fail_mode=secure", "protocols=OpenFlow14"]
        hwaddr = f'other_config:hwaddr="{LOCAL_MAC}"'
        lab.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, *bridge, hwaddr)
        tunnel = [f"local_ip={ACCESS_IP}", "remote_ip=flow", "key=flow", "packet_type=ptap"]
        gtpu0 = ["type=gtpu", *(f"options:{option}" for option in tunnel)]
        for port, name, columns in (
            (ACCESS, "eth1", []),
            (CORE, "eth2", []),
            (GTPU, "gtpu0", gtpu0),
        ):
            request = f"ofport_request={port}"
            lab.vsctl("add-port", BRIDGE, name, "--", "set", "Interface", name, request, *columns)
        lab.exec("gw", ["ip", "addr", "add", f"{ACCESS_IP}/24", "dev", BRIDGE])
        lab.exec("gw", ["ip", "link", "set", BRIDGE, "up"])

    def flows(self, *flows: str) -> None:
        """These, and those that join the access port to LOCAL."""
        marks = f"priority=40000,in_port={ACCESS},dl_type={MARK:#x},actions={CORE}"
        joined = (f"in_port={ACCESS},actions=LOCAL", f"in_port=LOCAL,actions={ACCESS}", marks)
        self.lab.ofctl("del-flows", BRIDGE)
        for flow in (*joined, *flows):
            self.lab.ofctl("add-flow", BRIDGE, flow)
        self.lab.appctl("revalidator/purge")

    def packets(self, cookie: int) -> int:
        """How many packets the flow with that cookie has met."""
        self.lab.appctl("revalidator/purge")
        shown = self.lab.ofctl("dump-flows", BRIDGE, f"cookie={cookie}/-1")
        return int(re.findall(r"n_packets=(\d+)", shown)[0])

    def t_pdu(self, inner: bytes, **ip: int) -> bytes:
        return gtpu.datagram(
            gtpu.t_pdu(TEID, inner),
            source=ENB_IP["enb"],
            destination=ACCESS_IP,
            eth_src=self.enb_mac,
            eth_dst=LOCAL_MAC,
            **ip,
        )

    def passed(self, *packets: bytes) -> int:
        """How many of the packets come out at the core host, before the second of two marks: the
        first may overtake."""
        mark = bytes(Ether(src=self.enb_mac, dst=LOCAL_MAC, type=MARK)) + bytes(46)
        self.pdn.drain()
        self.enb.send(*packets)
        got: list[bytes] = []

        def marked() -> bool:
            got.extend(frames := self.pdn.receive(1))
            return mark in frames

        for _ in range(2):
            self.enb.send(mark)
            until(marked, "the mark comes")
        return sum(frame[12:14] == b"\x08\x00" for frame in got)

    def answered(self, frame: bytes, right: Callable[[Ether], bool]) -> bool:
        """Whether the base station gets such an answer to a frame."""
        self.enb.drain()
        self.enb.send(frame)
        return bool(self.enb.receive(1, want=lambda answer: right(Ether(answer))))


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    with Lab() as lab:
        yield Bare(lab)


def types_by_the_ttl(bare: Bare) -> bool:
    types = ("(1,0x800)", "(1,0x86dd)", "(0,0)")
    bare.flows(
        *(
            f"cookie={cookie},in_port={GTPU},packet_type={kind},actions=drop"
            for cookie, kind in enumerate(types, start=1)
        )
    )
    for ttl in (63, 64, 96):
        bare.enb.send(bare.t_pdu(gtpu.ipv4(UE, PDN_IP, ttl=ttl)))

    def met() -> list[int]:
        return [bare.packets(cookie) for cookie in (1, 2, 3)]

    until(lambda: sum(met()) == 3, "the switch has typed them")
    assert met() in ([1, 1, 1], [3, 0, 0])
    return met() == [1, 1, 1]


def judges_ecn_by_the_wrong_packet(bare: Bare) -> bool:
    """All are marked CE and capable of it; by the three TTLs each is typed as something else."""
    relabel = "encap(mpls),encap(ethernet),pop_mpls:0x800"
    bare.flows(
        *(
            f"in_port={GTPU},packet_type={kind},actions={relabel},resubmit(,1)"
            for kind in ("(0,0)", "(1,0x800)", "(1,0x86dd)")
        ),
        f"table=1,ip,nw_ecn=3,actions=output:{CORE}",
    )
    marked = {
        ttl: bare.passed(bare.t_pdu(gtpu.ipv4(UE, PDN_IP, ttl=ttl, tos=2), tos=3))
        for ttl in (63, 64, 96)
    }
    assert (marked[63], marked[64]) == (1, 1)
    return marked[96] == 0


def sends_wrong_checksums(bare: Bare) -> bool:
    tunnel = f"set_field:{TEID}->tun_id,set_field:{ENB_IP['enb']}->tun_dst,output:{GTPU}"
    bare.flows(f"in_port={CORE},ip,actions=decap(),{tunnel}")
    frame = Ether(dst=bare.lab.mac("gw", "eth2")) / IP(gtpu.ipv4(PDN_IP, UE))

    def arrived() -> list[bytes]:
        bare.pdn.send(frame)
        return bare.enb.receive(1, want=is_gtpu, timeout=0.5)

    packet = Ether(until(arrived, "the switch knows its peer's MAC")[0])
    sent = packet[UDP].chksum
    del packet[UDP].chksum
    return sent not in (0, Ether(bytes(packet))[UDP].chksum)


def sends_ipv6_without_a_right_checksum(_: Bare) -> bool:
    """From a gtpu port without local_ip, which has both versions, in a switch of its own."""
    with Lab() as lab:
        return _is_wrong_over_ipv6(Bare(lab))


def _is_wrong_over_ipv6(bare: Bare) -> bool:
    lab, peer = bare.lab, "fd01::2"
    for device in ("all", "default", BRIDGE):
        lab.exec("gw", ["sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=0"])
    lab.exec("gw", ["ip", "addr", "add", "fd01::1/64", "dev", BRIDGE, "nodad"])
    lab.vsctl("remove", "Interface", "gtpu0", "options", "local_ip")
    lab.appctl("tnl/neigh/set", BRIDGE, peer, bare.enb_mac)
    tunnel = f"set_field:{TEID}->tun_id,set_field:{peer}->tun_ipv6_dst,output:{GTPU}"
    bare.flows(f"in_port={CORE},ip,actions=decap(),{tunnel}")
    frame = Ether(dst=lab.mac("gw", "eth2")) / IP(gtpu.ipv4(PDN_IP, UE))

    def sent(octets: bytes) -> bool:
        return octets[12:14] == b"\x86\xdd" and octets[20] == 17

    def arrived() -> list[bytes]:
        bare.pdn.send(frame)
        return bare.enb.receive(1, want=sent, timeout=0.5)

    packet = Ether(until(arrived, "it goes out")[0])
    found = packet[UDP].chksum
    del packet[UDP].chksum
    return bool(found != Ether(bytes(packet))[UDP].chksum)


def aborts_at_a_label(bare: Bare) -> bool:
    bare.flows(
        f"in_port={GTPU},actions=encap(mpls),encap(ethernet),pop_mpls:0x800,resubmit(,1)",
        f"table=1,actions=output:{CORE}",
    )
    # its bytes 12 to 17, from the source address on, read as a type, 0x8847, and as the last label
    inner = gtpu.ipv4("136.71.0.1", "203.0.113.9", ttl=63)
    bare.pdn.drain()
    bare.enb.send(bare.t_pdu(inner))

    def passed() -> bool:
        return bool(bare.pdn.receive(1, want=lambda frame: frame.endswith(inner), timeout=0.1))

    until(lambda: passed() or not bare.lab.switch_alive(), "it passes, or ends the switch")
    if bare.lab.switch_alive():
        return False
    bare.lab.start_vswitchd()
    return True


def matches_by_bits(bare: Bare) -> bool:
    packet, asked, other = bare.t_pdu(gtpu.ipv4(UE, PDN_IP)), 1, 2
    taken = []
    # its own are 255 and 0x30
    for wrong in (f"tun_gtpu_msgtype={gtpu.ECHO_REQUEST}", "tun_gtpu_flags=0x10"):
        bare.flows(
            f"cookie={asked},priority=2,in_port={GTPU},{wrong},actions=drop",
            f"cookie={other},priority=1,in_port={GTPU},actions=drop",
        )
        bare.enb.send(packet)
        until(lambda: bare.packets(asked) + bare.packets(other), "a flow has met it")
        taken.append(bare.packets(asked) == 1)
    assert len(set(taken)) == 1, taken
    return all(taken)


def keeps_what_changed(bare: Bare) -> bool:
    """Two ways: a flow for packets as they come, and one for packets that were parsed anew."""
    out = f"output:{CORE}"
    relabel = f"in_port={GTPU},actions=encap(mpls),encap(ethernet),pop_mpls:0x800,resubmit(,1)"
    ways = {
        "at once": (DROP, f"in_port={GTPU},actions=encap(ethernet),{out}"),
        "anew": ("table=1,ip,actions=drop", f"table=1,ip,actions={out}"),
    }
    packets = [bare.t_pdu(gtpu.ipv4(UE, PDN_IP))] * 5
    kept = {}
    for way, (drop, forward) in ways.items():
        for before, after, right in ((forward, drop, 0), (drop, forward, 5)):
            bare.flows(*([relabel] if way == "anew" else []), before)
            assert bare.passed(*packets) == 5 - right
            bare.lab.ofctl("mod-flows", BRIDGE, after)
            bare.lab.appctl("revalidator/wait")
            kept[way, after] = bare.passed(*packets) != right
    assert len(set(kept.values())) == 1, kept
    return all(kept.values())


def commits_a_bundle_in_part(bare: Bare) -> bool:
    bare.flows()
    table, no_table = 9, 255
    good = Flow(
        table=table, priority=1, match=match(in_port=ACCESS), actions=(Output(CORE),), cookie=1
    )
    first = of.flow_mod(of.Command.ADD, good, 2)
    second = bytearray(of.flow_mod(of.Command.ADD, good, 3))
    second[24] = no_table
    with socket.socket(socket.AF_UNIX) as switch:
        switch.settimeout(5)
        switch.connect(str(bare.lab.dir / f"{BRIDGE}.mgmt"))
        switch.sendall(
            of.message(0, 0)
            + of.bundle_control(1, of.Bundle.OPEN, 1)
            + of.bundle_add(1, first, 2)
            + of.bundle_add(1, bytes(second), 3)
            + of.bundle_control(1, of.Bundle.COMMIT, 4)
            + of.barrier(5)
        )
        errors = list(errors_before_the_barrier(switch.makefile("rb")))
    assert any("BAD_TABLE_ID" in error for error in errors), errors
    return "n_packets" in bare.lab.ofctl("dump-flows", BRIDGE, f"table={table}")


def errors_before_the_barrier(answers: BinaryIO) -> Iterator[str]:
    kind = None
    while kind != of.Type.BARRIER_REPLY:
        _, kind, length, _ = struct.unpack("!BBHI", answers.read(8))
        body = answers.read(length - 8)
        if kind == of.Type.ERROR:
            yield of.decode_error(body)


def host_answers_by_icmp(bare: Bare) -> bool:
    """To the port's MAC, not to LOCAL's: a stack that reads the port itself would answer."""
    bare.flows()
    stray = IP(src=ENB_IP["enb"], dst=ACCESS_IP) / UDP(dport=gtpu.PORT)
    frame = bytes(Ether(src=bare.enb_mac, dst=bare.access_mac) / stray)
    return bare.answered(frame, lambda answer: ICMP in answer)


def host_answers_arp(bare: Bare) -> bool:
    bare.flows()
    asked = ARP(op=1, hwsrc=bare.enb_mac, psrc=ENB_IP["enb"], pdst=ACCESS_IP)
    frame = bytes(Ether(src=bare.enb_mac, dst="ff:ff:ff:ff:ff:ff") / asked)

    def answers_by(mac: str) -> bool:
        return bare.answered(
            frame, lambda answer: ARP in answer and (answer[ARP].op, answer[ARP].hwsrc) == (2, mac)
        )

    assert answers_by(LOCAL_MAC)
    return answers_by(bare.access_mac)


def takes_padding_along(bare: Bare) -> bool:
    tunnel = f"set_field:{TEID}->tun_id,set_field:{ENB_IP['enb']}->tun_dst,output:{GTPU}"
    bare.flows(f"in_port={CORE},ip,actions=decap(),{tunnel}")
    packet = gtpu.ipv4(PDN_IP, UE, size=40)
    frame = bytes(Ether(dst=bare.lab.mac("gw", "eth2")) / IP(packet)) + bytes(6)

    def arrived() -> list[bytes]:
        bare.pdn.send(frame)
        return bare.enb.receive(1, want=is_gtpu, timeout=0.5)

    got = until(arrived, "the switch knows its peer's MAC")[0]
    length = int.from_bytes(got[44:46], "big")
    assert length in (40, 46)
    return length == 46


def loses_what_is_behind_a_frame_too_long(bare: Bare) -> bool:
    """The switch reads the frames together, and sends them together."""
    bare.flows()
    bare.lab.exec("gw", ["ip", "link", "set", "eth2", "mtu", "1400"])

    def marked(number: int, size: int) -> bytes:
        head = Ether(src=bare.enb_mac, dst=LOCAL_MAC, type=MARK)
        return bytes(head) + number.to_bytes(2, "big") + bytes(size - 2)

    def numbers() -> list[int]:
        frames = bare.pdn.receive(quiet=0.5, want=lambda frame: frame[12:14] == b"\x88\xb5")
        return [int.from_bytes(frame[14:16], "big") for frame in frames]

    def sent_together(*sizes: int) -> list[int]:
        pid = int((bare.lab.dir / "ovs-vswitchd.pid").read_text())
        bare.pdn.drain()
        os.kill(pid, signal.SIGSTOP)
        bare.enb.send(*(marked(number, size) for number, size in enumerate(sizes)))
        os.kill(pid, signal.SIGCONT)
        return until(numbers, "the first comes through")

    until(lambda: sent_together(100, 100, 100) == [0, 1, 2], "the switch knows the new MTU")
    got = sent_together(100, 1401, 100)
    bare.lab.exec("gw", ["ip", "link", "set", "eth2", "mtu", "1500"])
    assert got in ([0], [0, 2])
    return got == [0]


def loses_an_interface(bare: Bare) -> bool:
    """It knows of the new one, and sends by it, but does not hear it until the port is new."""
    lab = bare.lab
    bare.flows(f"in_port={CORE},actions={ACCESS}", f"in_port={ACCESS},actions={CORE}")

    def number() -> str:
        return lab.vsctl("get", "Interface", "eth2", "ifindex")

    def hears() -> bool:
        bare.enb.drain()
        bare.pdn.send(bytes(Ether(src="02:00:00:00:00:99", dst=LOCAL_MAC, type=MARK)) + bytes(46))
        return bool(bare.enb.receive(1, want=lambda frame: b"\x99" in frame[6:12], timeout=0.3))

    until(hears, "the interface is read")
    before = number()
    lab.exec("gw", ["ip", "link", "del", "eth2"])
    lab.link("gw", "eth2", "pdn", "eth0")
    bare.pdn = lab.port("pdn")
    until(lambda: number() not in (before, "0\n", "[]\n"), "the switch knows of the new one")
    bare.passed()
    deaf = not any(hears() for _ in range(5))
    lab.vsctl("del-port", BRIDGE, "eth2")
    lab.vsctl("add-port", BRIDGE, "eth2", "--", "set", "Interface", "eth2", "ofport_request=2")
    until(hears, "it is heard by a port of its own")
    return deaf


SHOWN_BY: dict[Fault, Callable[[Bare], bool]] = {
    faults.INNER_VERSION: types_by_the_ttl,
    faults.OUTER_ECN: judges_ecn_by_the_wrong_packet,
    faults.UDP_CHECKSUM: sends_wrong_checksums,
    faults.UDP_CHECKSUM_IPV6: sends_ipv6_without_a_right_checksum,
    faults.MPLS_ABORT: aborts_at_a_label,
    faults.GTPU_BITS: matches_by_bits,
    faults.CACHE_KEPT: keeps_what_changed,
    faults.BUNDLE_IN_PART: commits_a_bundle_in_part,
    faults.KERNEL_SEES: host_answers_by_icmp,
    faults.ARP_TWICE: host_answers_arp,
    faults.PADDING: takes_padding_along,
    faults.BATCH_LOST: loses_what_is_behind_a_frame_too_long,
    faults.INTERFACE_LOST: loses_an_interface,
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_switch_has_what_the_table_says(bare: Bare, fault: Fault) -> None:
    version = faults.parse(bare.lab.switch_version)
    assert SHOWN_BY[fault](bare) is fault.affects(version)
