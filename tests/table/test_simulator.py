"""The simulator refuses what a switch refuses, and tells what a gtpu port does."""

from __future__ import annotations

import pytest

from ofgtp.core.flow import (
    Decap,
    Encap,
    Flow,
    Header,
    Output,
    PopMpls,
    Port,
    match,
    set_field,
)
from tests.support.sample import LINKS
from tests.table.simulator import IPV4, IPV6, Aborted, Ambiguous, Refused, Switch
from tests.table.world import ACCESS_IP, PN, E, S, from_core, gtpu, inner, inner_ipv6


def made(*flows: Flow) -> Switch:
    return Switch(flows, LINKS.gtpu, ACCESS_IP, LINKS.local_mac)


@pytest.mark.parametrize(
    "flow",
    [
        Flow(5, 1, (), 0, goto=5),
        Flow(0, 1, match(nw_src=ACCESS_IP), 0),
        Flow(0, 1, match(dl_type=IPV4, udp_dst=1), 0),
        Flow(0, 1, match(dl_type=IPV6, nw_src=ACCESS_IP), 0),
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


def test_nothing_goes_back_by_its_own_port_unasked() -> None:
    frame = from_core(inner())
    assert made(Flow(0, 1, (), 0, (Output(1),))).receive(1, frame).sent == []
    assert made(Flow(0, 1, (), 0, (Output(1),))).receive(2, frame).sent == [(1, frame)]
    assert made(Flow(0, 1, (), 0, (Output(Port.IN_PORT),))).receive(1, frame).sent == [(1, frame)]


def test_no_packet_type_means_ethernet() -> None:
    switch = made(Flow(0, 1, (), 0))
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
