"""From the packet data network to a base station, and what the gateway itself answers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether

from ofgtp.core.flows.flow import CookieKind, Flow, FlowKey, Port, cookie_kind, make_cookie
from ofgtp.core.flows.pipeline import TOO_BIG_METER, DropReason, Report
from ofgtp.core.flows.reconcile import plan
from ofgtp.core.model import FTeid
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import HEADER_SAMPLE
from tests.support.lab import gateway
from tests.support.sample import ENB, LINKS, OTHER_ENB, all_flows, session
from tests.table.world import (
    ACCESS_IP,
    CORE_IP,
    ENB_MAC,
    HOP_MAC,
    SERVER,
    arp,
    echo,
    from_core,
    gtpu,
    inner,
    made,
    only,
    switch,
    tunnelled,
    why,
)

HOP = IPv4Address("10.2.0.2")


def down(ue: object, **change: object) -> bytes:
    return inner(SERVER, ue, **change)  # type: ignore[arg-type]


def test_every_ue_has_its_teid_and_peer() -> None:
    sessions = [
        session(1),
        session(2, downlink=FTeid(0xFFFFFFFF, OTHER_ENB)),
        session(3, downlink=FTeid(0x2001, OTHER_ENB)),  # the TEID of the first, elsewhere
        session(4, downlink=FTeid(1, IPv4Address("10.9.9.9"))),
    ]
    gw = switch(*sessions)
    for each in sessions:
        assert each.downlink is not None
        for ttl in (1, 64, 255):
            packet = down(each.ue_ip, ttl=ttl)
            frame = only(gw.receive(LINKS.core, from_core(packet)), LINKS.access)
            assert tunnelled(frame) == (each.downlink.ip, each.downlink.teid, packet)


def test_what_fits_the_access_mtu() -> None:
    """To the octet: the outer packet is as large as the MTU, or the packet is dropped."""
    for mtu in (1280, 1500, 9000):
        links = replace(LINKS, access_mtu=mtu)
        gw = switch(session(), session(2), links=links, ue_to_ue="route")
        largest = mtu - (20 + 8 + 8) - (20 + 8)
        for ttl in (63, 64):
            for port, frame in (
                (LINKS.core, lambda size, ttl: from_core(down("10.45.0.2", size=size, ttl=ttl))),
                (LINKS.access, lambda size, ttl: gtpu(inner(dst="10.45.0.3", size=size, ttl=ttl))),
            ):
                fits = only(gw.receive(port, frame(largest, ttl)), LINKS.access)
                assert len(Ether(fits)[IP]) == mtu
                too_big = gw.receive(port, frame(largest + 1, ttl))
                assert too_big.sent == [] and too_big.flows[-2].meter == TOO_BIG_METER.number
                ((cookie, shown),) = too_big.reported
                assert cookie == make_cookie(CookieKind.REPORT, Report.TOO_BIG)
                packet = Ether(shown.data)[IP]
                assert (packet.len, len(shown.data)) == (largest + 1 + 28, HEADER_SAMPLE)
                assert (shown.in_port == LINKS.core) == (port == LINKS.core)


def test_several_pools() -> None:
    pools = (IPv4Network("10.45.0.0/16"), IPv4Network("10.47.0.0/24"))
    gw = switch(session(ue_ip=IPv4Address("10.47.0.9")), ue_pools=pools)
    frame = only(gw.receive(LINKS.core, from_core(down("10.47.0.9"))), LINKS.access)
    assert tunnelled(frame) == (ENB, 0x2001, down("10.47.0.9"))
    trace = gw.receive(LINKS.core, from_core(down("10.47.1.9")))
    assert why(trace) is DropReason.CORE_OTHER


def test_fragments_to_a_ue_pass() -> None:
    for change in ({"flags": "MF"}, {"frag": 100}):
        packet = down("10.45.0.2", **change)
        frame = only(switch(session()).receive(LINKS.core, from_core(packet)), LINKS.access)
        assert tunnelled(frame)[2] == packet


def test_handover_idle_and_back_change_only_the_downlink() -> None:
    before = session()
    installed: dict[FlowKey, Flow] = {f.key: f for f in all_flows(gateway(), before)}
    for downlink, expected in (
        (FTeid(0x3001, OTHER_ENB), (OTHER_ENB, 0x3001)),
        (None, None),
        (FTeid(0x2001, ENB), (ENB, 0x2001)),
    ):
        after = session(downlink=downlink)
        changes = plan(session_flows(after, LINKS), session_flows(before, LINKS))
        # An idle session's flow has another cookie: it counts as a drop, and begins at 0.
        anew = (before.downlink is None) != (after.downlink is None)
        assert (len(changes.delete), len(changes.add), len(changes.modify)) == (
            (1, 1, 0) if anew else (0, 0, 1)
        )
        assert {flow.key for flow in changes.all()} == {session_flows(before, LINKS)[1].key}
        for flow in changes.add + changes.modify:
            installed[flow.key] = flow
        before = after
        gw = made(installed.values())
        trace = gw.receive(LINKS.core, from_core(down("10.45.0.2")))
        if expected is None:
            assert why(trace) is DropReason.IDLE_UE
        else:
            assert tunnelled(only(trace, LINKS.access))[:2] == expected
        only(gw.receive(LINKS.access, gtpu(inner(), src=OTHER_ENB)), LINKS.core)


def test_a_deleted_session_leaves_nothing() -> None:
    gw = switch(session(2))
    trace = gw.receive(LINKS.core, from_core(down("10.45.0.2")))
    assert why(trace) is DropReason.UNKNOWN_UE
    assert all(cookie_kind(flow.cookie) is not CookieKind.SESSION for flow in trace.flows)


@pytest.mark.parametrize(
    "frame",
    [
        from_core(down("10.45.0.2"), mac="52:54:00:99:99:99"),
        from_core(down("10.46.0.2")),
        from_core(down(ACCESS_IP)),
        from_core(gtpu(inner("10.45.0.2"), dst=CORE_IP)[14:]),
        from_core(gtpu(inner("10.45.0.2"))[14:], mac=LINKS.local_mac),
    ],
)
def test_what_is_not_for_a_ue(frame: bytes) -> None:
    trace = switch(session()).receive(LINKS.core, frame)
    assert why(trace) is DropReason.CORE_OTHER


def test_host_core() -> None:
    gw = switch(session(), core_port="host", next_hop=None)
    frame = only(gw.receive(LINKS.core, from_core(down("10.45.0.2"))), LINKS.access)
    assert tunnelled(frame) == (ENB, 0x2001, down("10.45.0.2"))
    # The host itself answers for the core address, on the other end of this port.
    for asked in (arp(1, HOP_MAC, HOP, CORE_IP), from_core(echo(HOP, CORE_IP))):
        assert why(gw.receive(LINKS.core, asked)) is DropReason.CORE_OTHER


def test_arp_for_the_core_address_is_answered() -> None:
    frame = only(switch().receive(LINKS.core, arp(1, HOP_MAC, HOP, CORE_IP)), LINKS.core)
    answer = Ether(frame)
    assert (answer.src, answer.dst) == (LINKS.core_mac, HOP_MAC)
    said = answer[ARP]
    assert (said.op, said.hwsrc, said.psrc) == (2, LINKS.core_mac, str(CORE_IP))
    assert (said.hwdst, said.pdst) == (HOP_MAC, str(HOP))


def test_arp_for_others_is_not() -> None:
    for frame in (
        arp(1, HOP_MAC, HOP, "10.2.0.9"),
        arp(1, HOP_MAC, HOP, "10.45.0.2"),
        arp(2, "52:54:00:00:00:44", "10.2.0.9", CORE_IP),
    ):
        trace = switch(session()).receive(LINKS.core, frame)
        assert why(trace) is DropReason.CORE_OTHER
        assert not trace.reported


@pytest.mark.parametrize(
    "frame",
    [arp(2, HOP_MAC, HOP, CORE_IP, LINKS.core_mac), arp(1, HOP_MAC, HOP, HOP)],
    ids=["reply", "gratuitous"],
)
def test_what_the_next_hop_says_of_itself_reaches_the_controller(frame: bytes) -> None:
    trace = switch().receive(LINKS.core, frame)
    [(cookie, packet)] = trace.reported
    assert packet.data == frame
    assert cookie == make_cookie(CookieKind.REPORT, Report.NEXT_HOP)
    assert trace.sent == []


@pytest.mark.parametrize("ttl", [1, 64, 200])
def test_ping_to_the_core_address_is_answered(ttl: int) -> None:
    question = echo(SERVER, CORE_IP, ttl=ttl)
    answer = Ether(only(switch().receive(LINKS.core, from_core(question)), LINKS.core))
    assert (answer.src, answer.dst) == (LINKS.core_mac, HOP_MAC)
    ip = answer[IP]
    assert (ip.src, ip.dst, ip.ttl) == (str(CORE_IP), str(SERVER), 64)
    assert ip[ICMP].type == 0
    assert bytes(ip[ICMP])[4:] == bytes(IP(question)[ICMP])[4:]
    sums = ip.chksum, ip[ICMP].chksum
    del ip.chksum, ip[ICMP].chksum
    fresh = IP(bytes(ip))
    assert sums == (fresh.chksum, fresh[ICMP].chksum)


def test_fragments_of_pings_are_not_answered() -> None:
    for change in ({"flags": "MF"}, {"frag": 3}):
        trace = switch().receive(LINKS.core, from_core(echo(SERVER, CORE_IP, **change)))
        assert why(trace) is DropReason.CORE_OTHER


def test_from_the_host_to_the_access_network() -> None:
    gw = switch()
    head = bytes(Ether(src=LINKS.local_mac, dst=ENB_MAC, type=0x0800))
    echo_request = gtpu(b"", 0, kind=1, src=ACCESS_IP, dst=ENB)[14:]
    for frame in (
        arp(1, LINKS.local_mac, ACCESS_IP, ENB),
        arp(2, LINKS.local_mac, ACCESS_IP, ENB, ENB_MAC),
        head + echo_request,
        head + echo(ACCESS_IP, ENB, 8),
        head + echo(ACCESS_IP, ENB, 0),
    ):
        assert only(gw.receive(Port.LOCAL, frame), LINKS.access) == frame
    for packet in (
        echo(ACCESS_IP, ENB, 3),
        inner(ACCESS_IP, ENB),
        echo("192.0.2.1", ENB),
        gtpu(b"", 0, kind=1, src="192.0.2.1", dst=ENB)[14:],
    ):
        assert why(gw.receive(Port.LOCAL, head + packet)) is DropReason.LOCAL_OTHER
