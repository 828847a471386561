"""The simulator refuses what a switch refuses, and tells what a gtpu port does."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, UDP

from ofgtp.core.flows.flow import (
    Bits,
    Decap,
    DecTtl,
    Encap,
    Flow,
    Header,
    Output,
    PopMpls,
    PopVlan,
    Port,
    PushVlan,
    SetField,
    match,
    move,
    set_field,
)
from tests.support.sample import LINKS
from tests.table.simulator import IPV4, IPV6, Aborted, Ambiguous, Refused, Switch
from tests.table.world import ACCESS_IP, PN, E, S, from_core, gtpu, inner, inner_ipv6

PATCH = (4, 5)
PEER = IPv4Address("10.1.0.7")


def made(*flows: Flow) -> Switch:
    gtpu = {2152: LINKS.gtpu, 61523: LINKS.gtpu_ce}
    return Switch(flows, gtpu, ACCESS_IP, LINKS.local_mac, PATCH)


@pytest.mark.parametrize(
    "flow",
    [
        Flow(5, 1, (), 0, goto=5),
        Flow(0, 1, match(nw_src=ACCESS_IP), 0),
        Flow(0, 1, match(dl_type=IPV4, udp_dst=1), 0),
        Flow(0, 1, match(dl_type=IPV6, nw_src=ACCESS_IP), 0),
        Flow(0, 1, match(vlan_pcp=4), 0),
        Flow(0, 1, match(vlan_vid=0, vlan_pcp=4), 0),
    ],
)
def test_flows_that_openflow_forbids(flow: Flow) -> None:
    with pytest.raises(Refused):
        made(flow)


def test_the_same_flow_twice() -> None:
    with pytest.raises(Refused, match="second"):
        made(Flow(0, 1, (), 1), Flow(0, 1, (), 2))


def test_two_flows_that_compete() -> None:
    flows = (
        Flow(0, 1, match(in_port=1), 1, (Output(2),)),
        Flow(0, 1, match(dl_type=IPV4), 1, (Output(3),)),
    )
    with pytest.raises(Ambiguous):
        made(*flows).receive(1, from_core(inner()))


@pytest.mark.parametrize(
    "actions",
    [
        (Encap(Header.ETHERNET),),
        (PopMpls(IPV4),),
        (Decap(), Decap()),
        (Decap(), Output(2)),
        (Output(3),),
        (set_field("arp_op", 1),),
        (PopVlan(),),
        (PushVlan(), PopVlan(), PopVlan()),
        (PushVlan(), PopMpls(IPV4)),
        (SetField("vlan_pcp", 4),),
        (SetField("mpls_label", 4),),
        (SetField("ct_mark", 0),),
        (SetField("tun_gtpu_flags", 0),),
        (move(Bits("reg0", 0, 15), "arp_op"),),
        (move(Bits("vlan_pcp", 0, 2), Bits("reg0", 0, 2)),),
        (Decap(), Output(PATCH[0])),
        (Decap(), PushVlan()),
    ],
)
def test_actions_that_a_switch_cannot_do(actions: tuple) -> None:  # type: ignore[type-arg]
    with pytest.raises(Aborted):
        made(Flow(0, 1, (), 0, actions)).receive(1, from_core(inner()))


def test_a_label_on_what_reads_as_mpls_aborts() -> None:
    frame = bytearray(from_core(inner()))
    frame[12:14] = b"\x88\x47"
    with pytest.raises(Aborted):
        made(Flow(0, 1, (), 0, (Encap(Header.MPLS),))).receive(1, bytes(frame))


def test_a_tag_and_a_label_hold_bits() -> None:
    """Put 12 + 20 bits in, and take them out of it again; the frame is what it was."""
    number = 0xDEADBEEF
    write_ = (
        Encap(Header.MPLS),
        move(Bits("reg0", 0, 19), "mpls_label"),
        PushVlan(),
        move(Bits("reg0", 20, 31), Bits("vlan_vid", 0, 11)),
        SetField("vlan_pcp", 6),
    )
    read = (
        move("mpls_label", Bits("reg1", 0, 19)),
        move(Bits("vlan_vid", 0, 11), Bits("reg1", 20, 31)),
        PopVlan(),
        PopMpls(IPV4),
    )
    # A label goes below the Ethernet header of a packet that has none.
    ethernet = (Decap(), Encap(Header.MPLS), Encap(Header.ETHERNET))
    switch = made(
        Flow(0, 1, (), 1, (SetField("reg0", number), *ethernet, *write_[1:]), goto=1),
        Flow(1, 1, match(vlan_vid=(0x1000, 0x1000), vlan_pcp=6), 2, read, goto=2),
        Flow(2, 1, match(reg1=number), 3, (Output(2),)),
    )
    trace = switch.receive(1, from_core(inner()))
    [tagged] = trace.at(1)
    assert tagged.data[12:22].hex() == "8100cdea8847dbeef140"
    assert trace.sent == [(2, bytes(12) + b"\x08\x00" + inner())]


def test_a_move_of_bits_leaves_the_others() -> None:
    steps = (
        SetField("reg0", 0xABCD0123),
        SetField("reg1", 0x11111111),
        move(Bits("reg0", 16, 27), Bits("reg1", 4, 15)),
    )
    switch = made(Flow(0, 1, (), 1, steps, goto=1), Flow(1, 1, match(reg1=0x1111BCD1), 2))
    assert [flow.table for flow in switch.receive(1, from_core(inner())).flows] == [0, 1]


def test_a_patch_port_forgets_all_but_the_mark() -> None:
    known = {"tun_id": 5, "tun_src": 6, "tun_dst": 7, "reg0": 8, "reg1": 9, "pkt_mark": 10}
    steps = tuple(SetField(name, value) for name, value in known.items())
    for port, other in (PATCH, PATCH[::-1]):
        switch = made(
            Flow(0, 1, match(in_port=1), 1, (*steps, Output(port), Output(2))),
            Flow(0, 1, match(in_port=other), 2, (Output(6), Output(other))),
        )
        trace = switch.receive(1, from_core(inner()))
        _, packet = trace.seen
        assert (packet.in_port, packet.pkt_mark) == (other, 10)
        assert {getattr(packet, name) for name in known} == {0, 10}
        # What goes on after the patch is the packet as it was; nothing goes back by it unasked.
        assert [sent for sent, _ in trace.sent] == [6, 2]


def test_nothing_goes_back_by_its_own_port_unasked() -> None:
    frame = from_core(inner())
    assert made(Flow(0, 1, (), 0, (Output(1),))).receive(1, frame).sent == []
    assert made(Flow(0, 1, (), 0, (Output(1),))).receive(2, frame).sent == [(1, frame)]
    assert made(Flow(0, 1, (), 0, (Output(Port.IN_PORT),))).receive(1, frame).sent == [(1, frame)]


def test_no_packet_type_means_ethernet_but_of_metadata_alone() -> None:
    """As 3.1.0, 3.5.0 and 4.0.0 have it."""
    for asked in ((), match(reg0=0), match(in_port=7), match(tun_gtpu_flags=0x20)):
        switch = made(Flow(0, 1, asked, 0))
        for ttl in (63, 64, 96):
            assert switch.lookup(0, replace(switch.decapsulate(gtpu(inner(ttl=ttl))), in_port=7))
    switch = made(Flow(0, 1, match(dl_dst=(0, 1 << 41)), 0))
    assert switch.lookup(0, switch.decapsulate(gtpu(inner(ttl=64)))) is None
    assert switch.lookup(0, switch.decapsulate(gtpu(inner(ttl=63)))) is not None


@pytest.mark.parametrize("value", [0x01, 0x04, 0x80, 0xFF])
def test_message_types_are_matched_by_their_bits(value: int) -> None:
    switch = made(Flow(0, 1, match(tun_gtpu_msgtype=value), 0))
    assert switch.lookup(0, switch.decapsulate(gtpu(inner(ttl=63)))) is not None
    echo = switch.decapsulate(gtpu(b"", 0, kind=1))
    assert (switch.lookup(0, echo) is not None) == (value == 1)


@pytest.mark.parametrize(
    ("ttl", "packet_type"),
    [
        (1, 0),
        (63, 0),
        (64, 1 << 16 | IPV4),
        (79, 1 << 16 | IPV4),
        (80, 0),
        (96, 1 << 16 | IPV6),
        (111, 1 << 16 | IPV6),
        (112, 0),
        (255, 0),
    ],
)
@pytest.mark.parametrize("flags", [0, S, S | PN])
def test_what_a_gtpu_port_takes_a_t_pdu_for(ttl: int, packet_type: int, flags: int) -> None:
    packet = made().decapsulate(gtpu(inner(ttl=ttl), 5, flags=flags))
    assert packet.packet_type == packet_type
    assert packet.data == inner(ttl=ttl)
    assert (packet.tun_id, packet.tun_gtpu_flags) == (5, 0x30 | flags)


def test_what_a_gtpu_port_leaves_of_other_messages() -> None:
    assert made().decapsulate(gtpu(inner_ipv6())).packet_type == 0
    assert made().decapsulate(gtpu(inner(), flags=PN)).data == bytes.fromhex("00070900") + inner()
    left = made().decapsulate(gtpu(inner(), flags=E))
    assert left.packet_type == 1 << 16 | IPV4
    assert left.data == bytes.fromhex("0007098501100900") + inner()
    request = gtpu(b"", 0, kind=1, flags=S)
    assert made().decapsulate(request).data == request


@pytest.mark.parametrize("flags", [0, E, PN, E | PN])
@pytest.mark.parametrize("ttl", [63, 64, 96])
def test_what_goes_out_as_it_came_keeps_its_flags(flags: int, ttl: int) -> None:
    """But for TEID and peer, and whatever the switch has taken it for."""
    steps = set_field("tun_id", 9), set_field("tun_dst", PEER), Output(Port.IN_PORT)
    switch = made(
        Flow(0, 1, match(in_port=1), 1, (Output(Port.LOCAL),)),
        *(
            Flow(0, 1, match(in_port=LINKS.gtpu, **typed), 2, steps)
            for typed in ({}, {"packet_type": 1 << 16 | IPV4}, {"packet_type": 1 << 16 | IPV6})
        ),
        Flow(0, 1, match(in_port=Port.LOCAL), 3, (Output(1),)),
    )
    frame = gtpu(inner(ttl=ttl), 5, flags=flags)
    [(_, sent)] = switch.receive(1, frame).sent
    assert sent[30:34] == PEER.packed
    assert sent[42:] == frame[42:46] + bytes([0, 0, 0, 9]) + frame[50:]
    with pytest.raises(Aborted, match="sequence number"):
        switch.receive(1, gtpu(inner(ttl=ttl), 5, flags=flags | S))


@pytest.mark.parametrize("flags", [0, S, E])
def test_what_has_gone_by_a_patch_has_no_flags(flags: int) -> None:
    out, back = PATCH
    to_patch = Encap(Header.MPLS), Encap(Header.ETHERNET), Output(out)
    pop = PopMpls(IPV4), Decap(), set_field("tun_dst", PEER), Output(LINKS.gtpu)
    switch = made(
        Flow(0, 1, match(in_port=1), 1, (Output(Port.LOCAL),)),
        Flow(0, 1, match(in_port=LINKS.gtpu, packet_type=1 << 16 | IPV4), 2, to_patch),
        Flow(0, 1, match(in_port=back), 2, pop),
        Flow(0, 1, match(in_port=Port.LOCAL), 3, (Output(1),)),
    )
    packet = inner(ttl=64)
    [(_, sent)] = switch.receive(1, gtpu(packet, 5, flags=flags)).sent
    taken_off = 4 if flags & S else 0
    left = gtpu(packet, 5, flags=flags)[50 + taken_off :]
    assert sent[42:46] == bytes([0x30, 255]) + len(left).to_bytes(2, "big")
    assert sent[50:] == left


@pytest.mark.parametrize(
    ("change", "cut", "port"),
    [({}, 40, 5000), ({"flags": "MF"}, 40, 0), ({"frag": 3}, 40, 0), ({}, 4, 0)],
    ids=["whole", "first fragment", "later fragment", "too short"],
)
def test_what_has_no_ports_has_port_0(change: dict[str, object], cut: int, port: int) -> None:
    whole = bytes(IP(inner())[UDP])
    packet = IP(src="10.45.0.2", dst="10.2.0.9", proto=17, **change) / whole[:cut]
    asked = match(dl_type=IPV4, nw_proto=17, udp_dst=port)
    trace = made(Flow(0, 1, asked, 0)).receive(1, from_core(bytes(packet)))
    assert len(trace.flows) == 1


def test_dec_ttl() -> None:
    switch = made(Flow(0, 1, (), 0, (DecTtl(), Output(2))))
    for ttl in (2, 64, 255):
        [(_, frame)] = switch.receive(1, from_core(inner(ttl=ttl))).sent
        assert frame == from_core(inner(ttl=ttl - 1))
    for ttl in (0, 1):
        with pytest.raises(Aborted):
            switch.receive(1, from_core(inner(ttl=ttl)))
