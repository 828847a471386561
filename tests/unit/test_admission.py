"""Whether a session fits a gateway, quickly: never where the gateway itself says no."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core import admission
from ofgtp.core.admission import Admission
from ofgtp.core.errors import InvalidSession
from ofgtp.core.model import BatchPut, FTeid, Gateway, Session, Uplink
from tests.support.lab import gateway

POOLS = ["10.45.0.0/16", "10.45.7.0/30", "10.46.0.8/32", "0.0.0.0/0", "192.0.2.0/31", "10.1.0.0/24"]
ACCESS = ["10.1.0.1/24", "10.1.0.0/31", "10.1.0.1/32", "10.45.0.1/16", "10.1.255.254/16"]
CORE = ["10.2.0.1/24", "10.45.0.7/16", "10.1.0.9/24"]
NEXT = ["10.2.0.2", "10.45.0.8", None]


@st.composite
def gateways(draw: st.DrawFn) -> Gateway:
    hop = draw(st.sampled_from(NEXT))
    pools = draw(st.lists(st.sampled_from(POOLS), min_size=1, max_size=3, unique=True))
    return gateway(
        access_ip=IPv4Interface(draw(st.sampled_from(ACCESS))),
        core_ip=IPv4Interface(draw(st.sampled_from(CORE))),
        next_hop=None if hop is None else IPv4Address(hop),
        ue_pools=tuple(IPv4Network(pool) for pool in pools),
    )


@st.composite
def addresses(draw: st.DrawFn, its: Gateway) -> int:
    """At and beside all edges, and others."""
    networks = [*its.ue_pools, its.access_ip.network, *map(IPv4Network, SPECIAL)]
    edges = {int(each.network_address) for each in networks}
    edges |= {int(each.broadcast_address) for each in networks}
    edges |= {int(its.access_ip.ip), int(its.core_ip.ip), int(its.next_hop or 0)}
    near = st.builds(lambda a, b: a + b, st.sampled_from(sorted(edges)), st.integers(-1, 1))
    value = draw(near | near | st.integers(0, 0xFFFFFFFF) | st.integers(0x0A010000, 0x0A0100FF))
    return min(max(value, 0), 0xFFFFFFFF)


SPECIAL = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"]
TEIDS = st.sampled_from([None, 0, 1, 2, -1, 0xFFFFFFFF, 1 << 32]) | st.integers(1, 0xFFFFFFFF)
IDS = st.sampled_from([None, "", "a", "a" * 128, "a" * 129, "a\n", "ü", "a b", "a@b"])


def says(its: Gateway, put: BatchPut) -> bool:
    """Whether the gateway lets the session pass, which has both or none of the downlink's two."""
    assert put.id is not None
    assert put.uplink_teid is not None
    peer = None if put.uplink_remote_ip is None else IPv4Address(put.uplink_remote_ip)
    far = None
    if put.downlink_teid is not None and put.downlink_ip is not None:
        far = FTeid(put.downlink_teid, IPv4Address(put.downlink_ip))
    uplink = Uplink(put.uplink_teid, peer)
    try:
        its.check_session(Session(0, put.id, its.name, IPv4Address(put.ue_ip), uplink, far))
    except InvalidSession:
        return False
    return True


@given(st.data())
def test_it_says_what_the_gateway_says(data: st.DataObject) -> None:
    its = data.draw(gateways())
    quick = Admission(its)
    address = addresses(its)
    for _ in range(data.draw(st.integers(1, 5))):
        far = data.draw(st.none() | st.tuples(TEIDS.filter(lambda x: x is not None), address))
        put = BatchPut(
            data.draw(st.just("ok") | IDS),
            data.draw(st.sampled_from([None, "gw1", "other"])),
            data.draw(address),
            data.draw(st.just(5) | TEIDS),
            data.draw(st.none() | address),
            None if far is None else far[0],
            None if far is None else far[1],
        )
        if put.id is None or put.uplink_teid is None:
            assert not quick.admits(put)
        else:
            assert quick.admits(put) == says(its, put)
            assert quick.admits(put) == says(its, put), "asked again"


GOOD = BatchPut("a", None, 0x0A2D0002, 1, None, 2, 0x0A010002)


def test_what_is_plain() -> None:
    quick = Admission(gateway())
    assert quick.admits(GOOD)
    assert quick.admits(GOOD._replace(downlink_teid=None, downlink_ip=None))
    assert quick.admits(GOOD._replace(uplink_remote_ip=0x0A010003))


@pytest.mark.parametrize("pool", POOLS)
def test_the_edges_of_a_pool(pool: str) -> None:
    net = IPv4Network(pool)
    its = gateway(ue_pools=(IPv4Network("10.99.0.0/16"), net), core_ip=IPv4Interface("10.2.0.1/24"))
    quick = Admission(its)
    bare = GOOD._replace(downlink_teid=None, downlink_ip=None)
    for edge in (int(net.network_address), int(net.broadcast_address)):
        assert quick.admits(bare._replace(ue_ip=edge))
        for beside in (edge - 1, edge + 1):
            if 0 <= beside < 1 << 32:
                put = bare._replace(ue_ip=beside)
                assert quick.admits(put) == says(its, put)


def test_a_gateways_own_addresses_are_no_ues() -> None:
    its = gateway(ue_pools=(IPv4Network("10.0.0.0/8"),), next_hop=IPv4Address("10.2.0.2"))
    bare = GOOD._replace(downlink_teid=None, downlink_ip=None)
    for own in ("10.1.0.1", "10.2.0.1", "10.2.0.2"):
        put = bare._replace(ue_ip=int(IPv4Address(own)))
        assert not Admission(its).admits(put)
        assert not says(its, put)
        assert Admission(its).admits(put._replace(ue_ip=put.ue_ip + 10))


@pytest.mark.parametrize(
    "changes", [{"downlink_teid": None}, {"downlink_ip": None}, {"uplink_teid": None}, {"id": None}]
)
def test_half_a_session(changes: dict[str, None]) -> None:
    assert not Admission(gateway()).admits(GOOD._replace(**changes))


def test_few_peers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PEERS_KEPT", 3)
    quick = Admission(gateway())
    for _ in range(2):
        for n in range(2, 12):
            assert quick.admits(GOOD._replace(downlink_ip=0x0A010000 + n))
            assert not quick.admits(GOOD._replace(downlink_ip=0x0A2D0000 + n))
            assert len(quick._peers) <= 3
