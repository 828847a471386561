"""GTP-U over IPv6: configuration, peers, store, flows, frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from ofgtp.config import load
from ofgtp.core.errors import ConfigError, Conflict, InvalidSession
from ofgtp.core.flows.flow import Output, RuleError, SetField
from ofgtp.core.model import FTeid, Session
from ofgtp.core.packets import frames
from ofgtp.core.rules.access import access
from ofgtp.core.rules.base import protected_networks
from ofgtp.core.rules.session import session_flows
from ofgtp.core.sessions.check import check_session
from ofgtp.core.sessions.rules import peers_of
from ofgtp.core.sessions.shape import numbers_of, shape_of, with_numbers
from ofgtp.southbound import openflow as of
from ofgtp.southbound.templates import Templates
from ofgtp.store import SessionStore
from tests.support.lab import gateway
from tests.support.sample import LINKS, bearer, detailed, session

OURS, PEER = IPv6Interface("2001:db8:ac::1/64"), IPv6Address("2001:db8:ac::2")
FAR = FTeid(0x2001, PEER)
LINKS6 = replace(LINKS, gre=8)
GATEWAY = gateway(access_ip6=OURS)
WEB = bearer("web", 10, "permit out tcp from any 80 to assigned")


def config(tmp_path: Path, more: str) -> Path:
    path = tmp_path / "ofgtp.toml"
    path.write_text(f"""\
[[gateway]]
name = "gw1"
bridge = "br-ofgtp"
access_port = "eth1"
access_ip = "10.1.0.1/24"
core_port = "eth2"
core_ip = "10.2.0.1/24"
next_hop = "10.2.0.2"
ue_pools = ["10.45.0.0/16"]
{more}
""")
    return path


def test_configuration(tmp_path: Path) -> None:
    more = 'access_ip6 = "2001:db8:ac::1/64"\naccess_allow = ["10.1.0.0/24", "2001:db8:ac::/96"]'
    [found] = load(config(tmp_path, more)).gateways
    assert found.access_ip6 == OURS
    assert found.access_allow6 == (IPv6Network("2001:db8:ac::/96"),)
    assert load(config(tmp_path, "")).gateways[0].access_ip6 is None
    more = 'access_ip6 = "2001:db8:ac::1/64"\naccess_allow = ["::/0"]'
    assert load(config(tmp_path, more)).gateways[0].access_allow6 == (IPv6Network("::/0"),)


def test_access_routes(tmp_path: Path) -> None:
    """Of each IP version by a router of it; the most exact one counts."""
    more = """access_ip6 = "2001:db8:ac::1/64"
access_routes = [
    {to = "10.9.0.0/16", via = "10.1.0.254"},
    {to = "2001:db8:77::/48", via = "2001:db8:ac::9"},
    {to = "2001:db8:77:1::/64", via = "2001:db8:ac::a"},
]"""
    [found] = load(config(tmp_path, more)).gateways
    hops = {
        "10.9.0.7": "10.1.0.254",
        "2001:db8:77:2::5": "2001:db8:ac::9",
        "2001:db8:77:1::5": "2001:db8:ac::a",
        "2001:db8:ac::5": "2001:db8:ac::5",
    }
    assert {ip: str(found.access_next_hop(ip_address(ip))) for ip in hops} == hops
    assert found.access_next_hop(ip_address("2001:db8:78::5")) is None
    assert IPv6Network("2001:db8:77::/48") in protected_networks([found])
    with pytest.raises(InvalidSession, match="no access route leads there"):
        found.check_peer("", IPv6Address("2001:db8:78::5"))


@pytest.mark.parametrize(
    ("more", "key", "reason"),
    [
        ('access_ip6 = "10.1.0.1/24"', "access_ip6", "not an IPv6 address"),
        ('access_ip6 = "2001:db8:ac::1/128"', "access_ip6", "no room for a neighbour"),
        ('access_ip6 = "fe80::1/64"', "access_ip6", "link-local"),
        ('access_allow = ["2001:db8::/32"]', "access_allow", "needs access_ip6"),
        *(
            (
                f'access_ip6 = "2001:db8:ac::1/64"\naccess_allow = ["{net}"]',
                "access_allow",
                f"can hold no GTP-U peer .*{what}",
            )
            for net, what in (
                ("ff00::/8", "multicast"),
                ("ff05::/64", "multicast"),
                ("fe80::/10", "link-local"),
                ("::1/128", "loopback"),
                ("::ffff:10.1.0.0/120", "IPv4-mapped"),
                ("100::/64", "discard-only"),
            )
        ),
        (
            'access_routes = [{to = "2001:db8:77::/48", via = "2001:db8:ac::9"}]',
            "access_routes.to",
            "needs access_ip6",
        ),
        *(
            (
                'access_ip6 = "2001:db8:ac::1/64"\n'
                f'access_routes = [{{to = "{to}", via = "{via}"}}]',
                f"access_routes.{key}",
                why,
            )
            for to, via, key, why in (
                ("2001:db8:77::/48", "2001:db8:77::9", "via", "is neither in 2001:db8:ac::/64 nor"),
                ("2001:db8:77::/48", "2001:db8:ac::1", "via", "is access_ip6 itself"),
                ("2001:db8:77::/48", "2001:db8:ac::", "via", "anycast"),
                ("2001:db8:77::/48", "fe80::1%eth1", "via", "has a zone"),
                ("2001:db8:77::/48", "fe80::1", "via", "is link-local"),
                ("2001:db8:77::/48", "10.1.0.254", "via", "is not an IPv6 address"),
                ("10.9.0.0/16", "2001:db8:ac::9", "via", "is not an IPv4 address"),
                ("2001:db8:77::1/48", "2001:db8:ac::9", "to", "host bits"),
                ("2001:db8:ac::8/125", "2001:db8:ac::9", "to", "part of the access subnet"),
                ("fe80::/64", "2001:db8:ac::9", "to", "link-local"),
                ("ff05::/16", "2001:db8:ac::9", "to", "multicast"),
            )
        ),
        (
            'access_ip6 = "2001:db8:c::1/64"\ncore_ip6 = "2001:db8:c::9/64"\n'
            'next_hop6 = "2001:db8:c::2"',
            "access_ip6",
            "overlaps the core subnet",
        ),
    ],
)
def test_wrong_configurations(tmp_path: Path, more: str, key: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        load(config(tmp_path, more))
    assert key in str(caught.value.key)


@pytest.mark.parametrize(
    "ip", ("fe80::2", "::", "::1", "ff02::1", "2001:db8:ac::1", "::ffff:10.1.0.2", "2001:db8:ad::2")
)
def test_who_cannot_be_a_peer(ip: str) -> None:
    with pytest.raises(InvalidSession) as caught:
        GATEWAY.check_peer("downlink.remote_ip", IPv6Address(ip))
    assert caught.value.loc == "downlink.remote_ip"


def test_without_access_ip6_there_are_none() -> None:
    GATEWAY.check_peer("x", PEER)
    with pytest.raises(InvalidSession, match="access_ip6"):
        gateway().check_peer("x", PEER)


def test_the_tunnels_of_a_session_are_of_one_ip_version() -> None:
    check_session(GATEWAY, detailed(downlink=FAR, bearers=[WEB]), ())
    own = replace(WEB, downlink=FTeid(5, IPv4Address("10.1.0.2")), shares_downlink=False)
    with pytest.raises(InvalidSession) as caught:
        check_session(GATEWAY, detailed(downlink=FAR, bearers=[own]), ())
    assert caught.value.loc == "bearers.0.downlink.remote_ip"
    far = replace(own, downlink=FTeid(5, PEER))
    check_session(GATEWAY, detailed(downlink=FAR, bearers=[far]), ())
    check_session(GATEWAY, detailed(downlink=None, bearers=[far]), ())
    other = replace(own, id="other", precedence=2)
    with pytest.raises(InvalidSession) as caught:
        check_session(GATEWAY, detailed(downlink=None, bearers=[far, other]), ())
    assert caught.value.loc == "bearers.1.downlink.remote_ip"


# --- flows


def out_ports(made: Session) -> set[int]:
    flows = session_flows(made, LINKS6)
    actions = (action for flow in flows for action in flow.actions)
    return {action.port for action in actions if isinstance(action, Output)}


def test_packets_leave_by_the_gre_port() -> None:
    assert out_ports(detailed(downlink=FAR)) == {8}
    assert out_ports(detailed()) == {3}
    with pytest.raises(RuleError, match="access_ip6"):
        session_flows(detailed(downlink=FAR), LINKS)


def test_what_is_set() -> None:
    _, down = session_flows(detailed(downlink=FAR), LINKS6)
    written = {each.field: each.value for each in down.actions if isinstance(each, SetField)}
    assert written == {"tun_id": 0x2001, "tun_ipv6_dst": int(PEER)}


@pytest.mark.parametrize("made", (detailed(downlink=FAR), detailed(downlink=FAR, bearers=[WEB])))
def test_templates_make_the_same_bytes(made: Session) -> None:
    """Of another session of the shape, too; one with another peer has another shape."""
    assert made.detail is not None
    numbers = numbers_of(made, made.detail)
    other = with_numbers(made, made.detail, numbers._replace(number=7, slot=9))
    assert other.downlink is not None
    assert other.detail is not None
    assert other.downlink.ip == PEER
    template = Templates(LINKS6).of(made, made.detail)
    made_so = template.entries(numbers_of(other, other.detail))
    assert [each.content for each in made_so] == [
        of.reported(flow) for flow in session_flows(other, LINKS6)
    ]
    moved = replace(made, downlink=FTeid(0x2001, PEER + 1))
    assert shape_of(moved, made.detail) != shape_of(made, made.detail)


@pytest.mark.parametrize(
    ("allow", "allow6", "passed", "denied"),
    [
        ((), (), ["::/0"], False),
        (("10.1.0.0/24",), (), [], True),
        ((), ("2001:db8:ac::/96",), ["2001:db8:ac::/96"], True),
    ],
)
def test_who_may_send(
    allow: tuple[str, ...], allow6: tuple[str, ...], passed: list[str], denied: bool
) -> None:
    asked = replace(
        GATEWAY,
        access_allow=tuple(map(IPv4Network, allow)),
        access_allow6=tuple(map(IPv6Network, allow6)),
    )
    flows = [flow for flow in access(asked, LINKS6) if "udp_dst" in str(flow.match)]
    of_ipv6 = [flow for flow in flows if "ipv6_dst" in str(flow.match)]
    letting = [flow for flow in of_ipv6 if flow.goto is not None]
    assert len(letting) == len(passed)
    assert (len(of_ipv6) > len(letting)) is denied


# --- store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    store = SessionStore(tmp_path / "sessions.db")
    yield store
    store.close()


def test_what_is_stored_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SessionStore(path)
    with store.transaction() as tx:
        made = tx.insert(detailed(downlink=FAR, slot=0))
        tx.insert(session(2))
        bearers = [replace(WEB, downlink=FTeid(at, PEER), shares_downlink=False) for at in (6, 7)]
        bearers[1] = replace(bearers[1], id="other", precedence=2, index=1)
        own = replace(made.downlink or FAR, teid=FAR.teid + 1)
        of_bearers = tx.insert(detailed(3, downlink=own, bearers=bearers, slot=0))
    store.close()
    store = SessionStore(path)
    found = store.get(made.id)
    assert found is not None
    assert found.session.downlink == FAR
    far = [each.downlink for each in store.iterate("gw1")]
    assert far == [FAR, session(2).downlink, own]
    again = store.get(of_bearers.id)
    assert again is not None and again.session == of_bearers
    by_bearer = store.by_downlink("gw1", FTeid(7, PEER))
    assert by_bearer is not None and by_bearer.session.id == of_bearers.id
    tunnel = store.by_downlink("gw1", FAR)
    assert tunnel is not None
    assert tunnel.session.id == made.id
    assert store.by_downlink("gw1", FTeid(0x2001, PEER + 1)) is None
    assert store.peers("gw1") == {PEER: 2, IPv4Address("10.1.0.2"): 1}
    listed, _ = store.list(peer=PEER)
    assert [each.session.id for each in listed] == [made.id, of_bearers.id]
    store.close()


def test_a_tunnel_is_one_sessions(store: SessionStore) -> None:
    with store.transaction() as tx:
        tx.insert(detailed(downlink=FAR, slot=0))
    with pytest.raises(Conflict) as caught, store.transaction() as tx:
        tx.insert(detailed(2, downlink=FAR, slot=0))
    assert caught.value.loc == "downlink"


def test_peers_of_a_session() -> None:
    assert peers_of(detailed(downlink=FAR)) == {PEER}


# --- frames


def test_datagrams_are_read_as_they_are_made() -> None:
    mac, other = "02:00:00:00:00:01", "02:00:00:00:00:02"
    frame = frames.udp_frame(mac, other, OURS.ip, PEER, 2152, 40000, b"hello!!", dscp=46)
    read = Ether(frame)
    assert (read[IPv6].src, read[IPv6].dst, read[IPv6].tc) == (str(OURS.ip), str(PEER), 46 << 2)
    sum_ = read[UDP].chksum
    del read[UDP].chksum
    assert Ether(bytes(read))[UDP].chksum == sum_
    said = frames.parse_udp(frame)
    assert (said.src_ip, said.dst_ip, said.src_port, said.dst_port, said.dscp, said.payload) == (
        OURS.ip,
        PEER,
        2152,
        40000,
        46,
        b"hello!!",
    )


@pytest.mark.parametrize("place", range(14, 62))
def test_what_is_cut_off_is_no_datagram(place: int) -> None:
    frame = frames.udp_frame(
        "02:00:00:00:00:01", "02:00:00:00:00:02", OURS.ip, PEER, 2152, 2152, b"hello"
    )
    with pytest.raises(frames.FrameError):
        frames.parse_udp(frame[:place])


def test_other_headers_and_sources_are_refused() -> None:
    frame = bytearray(
        frames.udp_frame("02:00:00:00:00:01", "02:00:00:00:00:02", PEER, OURS.ip, 1, 2152, b"x")
    )
    fragment = bytes(frame[:20]) + b"\x2c" + bytes(frame[21:])
    group = bytes(frame[:22]) + b"\xff" + bytes(frame[23:])
    for wrong in (fragment, group):
        with pytest.raises(frames.FrameError):
            frames.parse_udp(wrong)
