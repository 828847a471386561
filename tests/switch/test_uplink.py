"""Uplink: what a UE sent comes out at the core side, byte for byte; what is no session's does not.

The switch types a decapsulated packet by a nibble of the wrong byte (for plain IPv4 the TTL), so
every class of TTL and every form of header goes a way of its own through the tables.
"""

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import UDP, IPv6
from scapy.packet import Raw

from tests.support import gtpu
from tests.support.gtpu import PN, S
from tests.support.site import ENB_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

UE, TEID = "10.45.0.2", 0x1001
PINNED_UE, PINNED_TEID = "10.45.0.3", 0x1002
ACCESS_MTU = 1500

TTLS = (1, 32, 63, 64, 79, 80, 95, 96, 111, 112, 128, 255)
CLASSES = (1, 64, 100, 128)
"""TTLs with which the switch takes a packet for Ethernet, IPv4, IPv6, and Ethernet again."""
FORMS = {"plain": gtpu.PLAIN, "S": gtpu.PLAIN | S, "S+PN": gtpu.PLAIN | S | PN}
form = pytest.mark.parametrize("flags", FORMS.values(), ids=FORMS.keys())


@pytest.fixture(scope="module", autouse=True)
def sessions(site: Site) -> None:
    site.session(UE, teid=TEID, downlink=0x2001)
    site.session(PINNED_UE, teid=PINNED_TEID, downlink=0x2002, pinned=ENB_IP["enb"])


def routed(site: Site, inner: bytes) -> bytes:
    """The frame in which a UE's packet leaves on the core side."""
    macs = site.pdn_mac + site.core_mac
    return bytes.fromhex(macs.replace(":", "")) + b"\x08\x00" + inner


@form
@pytest.mark.parametrize("ttl", TTLS)
def test_every_ttl(site: Site, ttl: int, flags: int) -> None:
    inner = gtpu.ipv4(UE, PDN_IP, ttl=ttl)
    with site.counted():
        assert site.uplink(site.t_pdu(TEID, inner, flags=flags)) == [routed(site, inner)]


@form
@pytest.mark.parametrize("ttl", CLASSES)
@pytest.mark.parametrize("size", (20, 21, 27, 28, 46, 576, "mtu"))
def test_every_size(site: Site, size: int | str, ttl: int, flags: int) -> None:
    optional = 4 if flags != gtpu.PLAIN else 0
    fits = ACCESS_MTU - gtpu.OVERHEAD - optional if size == "mtu" else int(size)
    inner = gtpu.ipv4(UE, PDN_IP, size=fits, ttl=ttl)
    assert len(inner) == fits
    frame = site.t_pdu(TEID, inner, flags=flags)
    assert size != "mtu" or len(frame) == gtpu.ETHERNET + ACCESS_MTU
    assert site.uplink(frame) == [routed(site, inner)]


def test_every_byte_value_and_tos(site: Site) -> None:
    packets = [gtpu.ipv4(UE, PDN_IP, size=300, ttl=ttl, tos=ttl) for ttl in range(1, 256)]
    got = site.uplink(*(site.t_pdu(TEID, packet) for packet in packets))
    assert sorted(got) == sorted(routed(site, packet) for packet in packets)


@pytest.mark.parametrize("ttl", CLASSES)
@pytest.mark.parametrize(
    "header",
    (
        {"flags": "MF", "id": 7},
        {"frag": 100, "id": 7},
        {"frag": 100, "flags": "MF", "id": 7},
        {"flags": "DF", "id": 0xFFFF},
        {"options": [Raw(b"\x94\x04\x00\x00" * 10)]},
    ),
    ids=("first-fragment", "last-fragment", "fragment", "DF", "options"),
)
def test_inner_headers_of_every_kind(site: Site, header: dict[str, object], ttl: int) -> None:
    inner = gtpu.ipv4(UE, PDN_IP, size=200, ttl=ttl, **header)  # type: ignore[arg-type]
    assert site.uplink(site.t_pdu(TEID, inner)) == [routed(site, inner)]


@pytest.mark.parametrize("proto", (1, 6, 17, 41, 47, 50, 132, 255))
def test_every_inner_protocol(site: Site, proto: int) -> None:
    for ttl in CLASSES:
        inner = bytes(IP(src=UE, dst=PDN_IP, ttl=ttl, proto=proto) / Raw(bytes(range(64))))
        assert site.uplink(site.t_pdu(TEID, inner)) == [routed(site, inner)]


def test_inner_checksums_are_left_as_they_are(site: Site) -> None:
    inner = bytes(IP(src=UE, dst=PDN_IP, ttl=128) / TCP(chksum=0xBAD) / Raw(b"x" * 9))
    assert site.uplink(site.t_pdu(TEID, inner)) == [routed(site, inner)]


def test_session_counters(site: Site) -> None:
    def uplink() -> tuple[int, int]:
        shown = site.lab.http("GET", f"/v1/sessions/ue-{UE}").json()["counters"]["uplink"]
        return shown["packets"], shown["bytes"]

    site.counters()
    packets, octets = uplink()
    inner = gtpu.ipv4(UE, PDN_IP, size=500, ttl=128)
    site.uplink(*[site.t_pdu(TEID, inner)] * 10)
    until(lambda: uplink()[0] == packets + 10, "the packets are counted")
    assert 10 * 500 <= uplink()[1] - octets <= 10 * (500 + gtpu.ETHERNET)


@form
@pytest.mark.parametrize(
    "source", ("2001:db8::2", "fd00:45::2", "fe80::2", "::", "::1", "ff02::1", "8000::1")
)
def test_ipv6_is_typed_ipv6(site: Site, source: str, flags: int) -> None:
    packets = [
        bytes(IPv6(src=source, dst="2001:db8:1::1", hlim=hops, tc=hops) / UDP() / Raw(b"x" * 40))
        for hops in (1, 63, 64, 96, 128, 255)
    ]
    before = site.packets("table=30,", "ipv6")
    with site.counted(inner_ipv6=len(packets)):
        assert site.uplink(*(site.t_pdu(TEID, packet, flags=flags) for packet in packets)) == []
    assert site.packets("table=30,", "ipv6") == before + len(packets)


@form
@pytest.mark.parametrize("source", ("4000::1", "4a2d:2::1", "6000::1", "6fff::1"))
def test_ipv6_that_the_switch_takes_for_ipv4(site: Site, source: str, flags: int) -> None:
    """Sources that begin with 4 or 6 are no addresses in use (RFC 4291); they pass for IPv4."""
    inner = bytes(IPv6(src=source, dst="2001:db8:1::1") / UDP() / Raw(b"x" * 40))
    with site.counted(bad_inner=1):
        assert site.uplink(site.t_pdu(TEID, inner, flags=flags)) == []


@form
def test_spoofed_source(site: Site, flags: int) -> None:
    sources = ("10.45.0.4", PINNED_UE, "10.1.0.2", PDN_IP, "0.0.0.0", "255.255.255.255")
    packets = [gtpu.ipv4(source, PDN_IP, ttl=ttl) for source in sources for ttl in CLASSES]
    with site.counted(no_uplink_session=len(packets), seen_spoofed_source=len(packets)):
        assert site.uplink(*(site.t_pdu(TEID, packet, flags=flags) for packet in packets)) == []


@form
def test_unknown_teid(site: Site, flags: int) -> None:
    teids = (0, 1, TEID - 1, TEID + 0x1_0000, 0x8000_0000 + TEID, 0xFFFF_FFFF)
    frames = [
        site.t_pdu(teid, gtpu.ipv4(UE, PDN_IP, ttl=ttl), flags=flags)
        for teid in teids
        for ttl in CLASSES
    ]
    with site.counted(no_uplink_session=len(frames), seen_unknown_teid=len(frames)):
        assert site.uplink(*frames) == []


def test_wrong_peer(site: Site) -> None:
    inner = gtpu.ipv4(PINNED_UE, PDN_IP, ttl=128)
    assert site.uplink(site.t_pdu(PINNED_TEID, inner)) == [routed(site, inner)]
    with site.counted(no_uplink_session=1, seen_wrong_peer=1):
        assert site.uplink(site.t_pdu(PINNED_TEID, inner, source="10.1.0.77")) == []


def test_any_peer_may_use_a_session_that_is_not_pinned(site: Site) -> None:
    inner = gtpu.ipv4(UE, PDN_IP, ttl=128)
    assert site.uplink(site.t_pdu(TEID, inner, source="10.1.0.77")) == [routed(site, inner)]


@pytest.mark.parametrize("ttl", CLASSES)
def test_a_deleted_session_passes_nothing(site: Site, ttl: int) -> None:
    ue, teid = f"10.45.1.{ttl}", 0x1100 + ttl
    frame = site.t_pdu(teid, gtpu.ipv4(ue, PDN_IP, ttl=ttl))
    session = site.session(ue, teid=teid, downlink=teid)
    assert len(site.uplink(*[frame] * 20)) == 20
    site.delete(session)
    site.cache_follows(frame, passes=False)
    assert site.uplink(*[frame] * 20) == []
    with site.counted(no_uplink_session=20, seen_unknown_teid=20):
        assert site.uplink(*[frame] * 20) == []


@pytest.mark.parametrize("ttl", CLASSES)
def test_carrying_the_teid_costs_no_action(site: Site, ttl: int) -> None:
    """The mark is set and cleared among the flows alone; the datapath is told of neither."""
    assert len(site.uplink(*[site.t_pdu(TEID, gtpu.ipv4(UE, PDN_IP, ttl=ttl))] * 20)) == 20
    cached = site.lab.appctl("dpctl/dump-flows").splitlines()
    ways = [line.partition("actions:")[2] for line in cached if "tun_id=0x1001" in line]
    assert any("recirc(" in actions for actions in ways)
    assert not [actions for actions in ways if "skb_mark" in actions]


@pytest.mark.parametrize("ttl", CLASSES)
def test_a_session_works_though_its_ue_sent_before(site: Site, ttl: int) -> None:
    ue, teid = f"10.45.2.{ttl}", 0x1200 + ttl
    frame = site.t_pdu(teid, gtpu.ipv4(ue, PDN_IP, ttl=ttl))
    assert site.uplink(*[frame] * 20) == []
    site.session(ue, teid=teid, downlink=teid)
    site.cache_follows(frame, passes=True)
    assert len(site.uplink(*[frame] * 20)) == 20


@pytest.mark.parametrize("ttl", CLASSES)
def test_a_changed_teid_holds(site: Site, ttl: int) -> None:
    ue, old, new = f"10.45.3.{ttl}", 0x1300 + ttl, 0x1400 + ttl
    inner = gtpu.ipv4(ue, PDN_IP, ttl=ttl)
    session = site.session(ue, teid=old, downlink=old)
    assert len(site.uplink(*[site.t_pdu(old, inner)] * 20)) == 20
    assert site.uplink(*[site.t_pdu(new, inner)] * 20) == []
    site.patch(session, {"uplink": {"teid": new}})
    site.cache_follows(site.t_pdu(old, inner), passes=False)
    site.cache_follows(site.t_pdu(new, inner), passes=True)
    assert site.uplink(*[site.t_pdu(old, inner)] * 20) == []
    assert len(site.uplink(*[site.t_pdu(new, inner)] * 20)) == 20


def test_misses_beyond_the_controllers_share_are_counted_all_the_same(site: Site) -> None:
    """The controller sees some of a flood and tells what they were; the switch counts them all."""
    flood = [site.t_pdu(0x9999, gtpu.ipv4(UE, PDN_IP, ttl=128))] * 1000
    with site.counted(ignore=["seen_unknown_teid"], no_uplink_session=1000):
        assert site.uplink(*flood) == []
    site.alive()
