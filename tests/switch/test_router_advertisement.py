"""The gateway as its UEs' router: what they ask, what they are told unasked, what they may not say,
and a control plane that answers in its place; with real packets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ofgtp.core.flows.pipeline import ROUTER_METERS
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action
from ofgtp.core.pfcp.wire.messages import read
from tests.support import gtpu, smf, tshark
from tests.support.flood import Flood
from tests.support.lab import Lab
from tests.support.pfcp import procedures, rewritten
from tests.support.site import Site, answer6, is_advertisement, is_gtpu, until
from tests.support.smf import ControlPlane
from tests.switch.test_ipv6 import CORE, HOP

pytestmark = pytest.mark.switch

POOLS, DNS = ("2001:db8:a::/48", "2001:db8:cafe::/48"), ("2001:db8:53::1", "2001:db8:53::2")
UE4, PREFIX, UE, UP, DOWN = "10.45.1.2", "2001:db8:a:1::/64", "2001:db8:a:1::7", 0x1001, 0x2001
OTHER4, OTHER, OTHER_DOWN = "10.45.1.3", "2001:db8:a:2::9", 0x2002
PDN, LINK, ROUTER = "2001:db8:ffff::1", "fe80::7", "fe80::1"
SMF_ON_N3, SMF_TEID = "10.1.0.4", 1
CORE_MTU = 1400
"""Less than may come out of a tunnel."""
RATE = ROUTER_METERS[0].rate


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        smf.n4(lab)
        lab.exec("gw", ["ip", "link", "set", "eth2", "mtu", str(CORE_MTU)])
        lab.exec("enb", ["ip", "addr", "add", f"{SMF_ON_N3}/24", "dev", "eth0"])
        pools = "".join(f', "{pool}"' for pool in POOLS)
        more = f'core_ip6 = "{CORE}/64"\nnext_hop6 = "{HOP}"\nue_to_ue = "route"\n'
        more += f"dns6 = {[*DNS]}"
        config = lab.config(gateway=smf.CONFIG).replace(
            'ue_pools = ["10.45.0.0/16"]', f'ue_pools = ["10.45.0.0/16"{pools}]\n{more}'
        )
        site = Site(lab, config)
        site.ready()
        answer6(site, HOP, CORE)
        site.session(UE4, teid=UP, downlink=DOWN, ue_ipv6=PREFIX)
        site.session(OTHER4, teid=0x1002, downlink=OTHER_DOWN, ue_ipv6="2001:db8:a:2::/64")
        until(lambda: told(site, DOWN) and told(site, OTHER_DOWN), "both are told")
        yield site
        site.alive()
        site.check_sent()


@pytest.fixture
def ue(site: Site) -> Iterator[None]:
    """The first UE's session is as at the start, and its UE has been told so."""
    yield
    site.session(UE4, teid=UP, downlink=DOWN, ue_ipv6=PREFIX)
    await_news(site, 1464)


def await_news(site: Site, mtu: int) -> None:
    """Wait until what the first UE was told last is the prefix of the start, and this MTU."""

    def heard() -> bool:
        last = inner(told(site, DOWN)[-1])
        prefixes = [last[ICMPv6NDOptPrefixInfo].prefix] if ICMPv6NDOptPrefixInfo in last else []
        return (prefixes, last[ICMPv6NDOptMTU].mtu) == ([PREFIX.split("/")[0]], mtu)

    until(heard, "the UE is told of its prefix and MTU")


def told(site: Site, teid: int) -> list[bytes]:
    """All Router Advertisements so far in a tunnel."""
    site.enb.all(0.05)
    return [frame for frame in site.enb.seen if is_advertisement(frame, teid)]


def inner(frame: bytes) -> Packet:
    packet = gtpu.decode(frame).inner
    return IPv6(packet if packet[0] >> 4 == 6 else packet[4:])


def judged(frame: bytes, prefix: str | None, mtu: int, to: str = "ff02::1") -> None:
    """An advertisement, by scapy and tshark."""
    read = inner(frame)
    router = read[ICMPv6ND_RA]
    assert (read.src, read.dst, read.hlim) == (ROUTER, to, 255)
    assert (router.chlim, router.M, router.O, router.routerlifetime) == (64, 0, 0, 64_800)
    assert (router.reachabletime, router.retranstimer) == (0, 0)
    assert read[ICMPv6NDOptMTU].mtu == mtu
    assert (read[ICMPv6NDOptRDNSS].dns, read[ICMPv6NDOptRDNSS].lifetime) == ([*DNS], 64_800)
    if prefix is None:
        assert ICMPv6NDOptPrefixInfo not in read
    else:
        option = read[ICMPv6NDOptPrefixInfo]
        assert (f"{option.prefix}/{option.prefixlen}", option.A, option.L) == (prefix, 1, 0)
        assert (option.validlifetime, option.preferredlifetime) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert tshark.complaints([frame]) == []
    names = ("icmpv6.checksum.status", "icmpv6.opt.rdnss", "icmpv6.opt.mtu")
    [row] = tshark.rows([frame], names, every=True)
    assert row == ["1", ",".join(DNS), str(mtu)]


def said(packet: Packet, source: str = LINK, to: str = "ff02::2", hops: int = 255) -> bytes:
    return bytes(IPv6(src=source, dst=to, hlim=hops) / packet)


def answers(site: Site, teid: int, octets: bytes, down: int, count: int) -> list[Packet]:
    """What comes in a tunnel when a UE says something: at least so much."""
    site.enb.all()
    site.enb.send(site.t_pdu(teid, octets))
    got: list[bytes] = []

    def come() -> bool:
        got.extend(frame for frame in site.enb.all(0.2) if is_gtpu(frame, down))
        return len(got) >= count

    until(come, f"{count} answers")
    assert tshark.complaints(got) == []
    return [inner(frame) for frame in got]


# --- what is asked


@pytest.mark.parametrize("source", (LINK, "::", UE))
@pytest.mark.parametrize("qfi", (None, 9, 10))
def test_a_ue_finds_its_router(site: Site, ue: None, source: str, qfi: int | None) -> None:
    site.session(UE4, teid=UP, downlink=DOWN, ue_ipv6=PREFIX, qfi=qfi, qfi_required=False)
    await_news(site, 1464 if qfi is None else 1456)
    site.enb.all()
    site.enb.send(site.t_pdu(UP, said(ICMPv6ND_RS(), source)))
    got: list[bytes] = []
    until(lambda: got.extend(f for f in site.enb.all(0.1) if is_gtpu(f, DOWN)) or got, "an answer")
    [frame] = got
    container = gtpu.decode(frame).inner[:4]
    assert (container == bytes((1, 0, qfi or 0, 0))) is (qfi is not None)
    to = source if source != "::" else "ff02::1"
    judged(frame, PREFIX, 1464 if qfi is None else 1456, to)


def test_whether_the_router_is_still_there(site: Site) -> None:
    """A UE may ask, by link-local addresses and by its own, and gets the answer."""
    asks = ICMPv6ND_NS(tgt=ROUTER)
    for source, to in ((LINK, ROUTER), (UE, ROUTER), (LINK, "ff02::1:ff00:1")):
        [read] = answers(site, UP, said(asks, source, to), DOWN, 1)
        advertised = read[ICMPv6ND_NA]
        assert (read.src, read.dst, read.hlim) == (ROUTER, source, 255)
        assert (advertised.tgt, advertised.R, advertised.S, advertised.O) == (ROUTER, 1, 1, 1)
        assert not advertised.payload, "a link without addresses"


RS = said(ICMPv6ND_RS())
LONG = said(ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01"))


def damaged(octets: bytes, at: int, value: int) -> bytes:
    """With another octet, and a right checksum if that is not it."""
    made = bytearray(octets)
    made[at] = value
    if at not in (42, 43):
        made[42:44] = bytes(2)
        read = IPv6(bytes(made))
        del read[ICMPv6ND_RS].cksum
        return bytes(read)
    return bytes(made)


NOT_ANSWERED = {
    "a wrong checksum": damaged(RS, 43, RS[43] ^ 1),
    "an option of length 0": said(ICMPv6ND_RS() / Raw(b"\x01\x00" + bytes(6))),
    "an option that is cut off": said(ICMPv6ND_RS() / Raw(b"\x01\x02" + bytes(6))),
    "half an option": said(ICMPv6ND_RS() / Raw(b"\x01\x01")),
    "cut off": RS[:-1],
    "no whole header": RS[:41],
    "a source of a group": said(ICMPv6ND_RS(), "ff02::9"),
    "from nobody, with an address": said(
        ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01"), "::"
    ),
    "of another prefix": said(ICMPv6ND_RS(), "2001:db8:a:7::1"),
    "probed from nobody": said(ICMPv6ND_NS(tgt=ROUTER), "::", "ff02::1:ff00:1"),
}


@pytest.mark.parametrize("name", NOT_ANSWERED)
def test_what_is_not_answered(site: Site, name: str) -> None:
    site.enb.all()
    site.enb.send(site.t_pdu(UP, NOT_ANSWERED[name]))
    [read] = answers(site, UP, RS, DOWN, 1)  # what is right, behind it, alone
    assert read.dst == LINK
    assert [f for f in site.enb.all(0.3) if is_gtpu(f, DOWN)] == []


def test_options_do_no_harm(site: Site) -> None:
    [read] = answers(site, UP, LONG, DOWN, 1)
    assert ICMPv6ND_RA in read


def test_a_teid_that_nobody_has(site: Site) -> None:
    """Its base station is told by an Error Indication, as of any other packet."""
    site.enb.all()
    site.enb.send(site.t_pdu(0x7777, RS))
    got: list[bytes] = []

    def come() -> bool:
        got.extend(f for f in site.enb.all(0.1) if is_gtpu(f) and f[43] == gtpu.ERROR_INDICATION)
        return bool(got)

    until(come, "an Error Indication")
    assert b"\x10\x00\x00\x77\x77" in got[0]


# --- what is told unasked


def test_news_are_told_once(site: Site, ue: None) -> None:
    """A link that is there, or there again, another prefix, another MTU; and nothing else. An idle
    UE is told nothing, and no packet waits for it."""
    count = len(told(site, DOWN))

    def change(body: dict[str, Any], prefix: str | None, mtu: int, teid: int = DOWN) -> None:
        nonlocal count
        site.patch(f"ue-{UE4}", body)
        until(lambda: len(told(site, teid)) > count, f"told of {body}")
        judged(told(site, teid)[-1], prefix, mtu)
        count += 1
        time.sleep(0.6)
        assert len(told(site, teid)) == count, "once"

    def silent(body: dict[str, Any]) -> None:
        site.enb.all(0.05)
        start = len(site.enb.seen)
        site.patch(f"ue-{UE4}", body)
        site.enb.all(0.8)
        assert not any(map(is_advertisement, site.enb.seen[start:])), body

    silent({"downlink": None, "buffer": 8})
    assert site.gateway()["buffer"]["packets"] == 0
    change({"downlink": {"teid": DOWN, "remote_ip": "10.1.0.2"}}, PREFIX, 1464)
    silent({"buffer": None})
    change({"ue_ipv6": "2001:db8:a:5::/64"}, "2001:db8:a:5::/64", 1464)
    change({"qfi": 9}, "2001:db8:a:5::/64", 1456)
    silent({"qfi": 10})
    silent({"ambr": {"uplink_kbps": 1000, "downlink_kbps": 1000}})
    silent({"downlink": {"teid": 0x2077, "remote_ip": "10.1.0.2"}})
    silent({"downlink": {"teid": DOWN, "remote_ip": "10.1.0.2"}})
    change({"ue_ipv6": "2001:db8:a:6600::/56"}, "2001:db8:a:6600::/64", 1456)
    change({"ue_ipv6": "2001:db8:a:5::9/128"}, None, 1456)


def test_the_mtu_of_the_access_port(site: Site) -> None:
    """All that are not idle are told."""
    counts = {teid: len(told(site, teid)) for teid in (DOWN, OTHER_DOWN)}

    def all_told(mtu: int) -> bool:
        last = [told(site, teid)[-1] for teid in counts]
        return all(inner(frame)[ICMPv6NDOptMTU].mtu == mtu for frame in last)

    site.lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", "1450"])
    try:
        until(lambda: all_told(1414), "told of the smaller MTU", 30)
    finally:
        site.lab.exec("gw", ["ip", "link", "set", "eth1", "mtu", "1500"])
    until(lambda: all_told(1464), "told of the former MTU", 30)
    assert {teid: len(told(site, teid)) - before for teid, before in counts.items()} == {
        DOWN: 2,
        OTHER_DOWN: 2,
    }


def test_a_batch(site: Site) -> None:
    """Each UE that is not idle is told once, a few at a time."""
    lines = [
        {
            "op": "put",
            "session": {
                "id": f"batch-{n}",
                "ue_ip": f"10.45.7.{n}",
                "ue_ipv6": f"2001:db8:a:7{n:02x}::/64",
                "uplink": {"teid": 0x7000 + n},
                "downlink": None if n % 4 == 0 else {"teid": 0x8000 + n, "remote_ip": "10.1.0.2"},
            },
        }
        for n in range(1, 161)
    ]
    body = "\n".join(map(json.dumps, lines)).encode()
    site.enb.all()
    start = len(site.enb.seen)
    head = {"Content-Type": "application/x-ndjson"}
    reply = site.lab.http("POST", "/v1/sessions:batch", body, headers=head)
    assert reply.status == 200, reply.body

    def teids() -> list[int]:
        site.enb.all(0.05)
        mine = (f for f in site.enb.seen[start:] if is_advertisement(f))
        return sorted(gtpu.decode(f).teid for f in mine)

    until(lambda: len(teids()) >= 120, "all are told")
    time.sleep(0.6)
    assert teids() == [0x8000 + n for n in range(1, 161) if n % 4]
    lines = [{"op": "delete", "id": f"batch-{n}"} for n in range(1, 161)]
    body = "\n".join(map(json.dumps, lines)).encode()
    assert site.lab.http("POST", "/v1/sessions:batch", body, headers=head).status == 200


# --- what no UE may say

SPOKEN = {
    "a router's": ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptPrefixInfo(prefix="2001:db8:bad::"),
    "a neighbour's": ICMPv6ND_NA(tgt=OTHER, R=1, S=1, O=1),
    "a redirect": ICMPv6ND_Redirect(tgt=LINK, dst=PDN),
    "a question for an address": ICMPv6ND_NS(tgt=UE),
}
FRONTS: dict[str, list[Packet]] = {
    "plain": [],
    "options": [IPv6ExtHdrHopByHop()],
    "more options": [IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(addresses=[]), IPv6ExtHdrDestOpt()],
    "fragment": [IPv6ExtHdrFragment(m=1, id=7)],
}
WAYS = [(UE, OTHER), (UE, PDN), (UE, "ff02::1"), (UE, ROUTER), (LINK, "ff02::1"), (LINK, OTHER)]


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("kind", SPOKEN)
def test_no_ue_advertises(site: Site, kind: str, front: str) -> None:
    """Not to another UE, either, though packets between UEs are routed."""
    frames = []
    for source, to in WAYS:
        packet: Packet = IPv6(src=source, dst=to, hlim=255)
        for header in FRONTS[front]:
            packet /= header
        frames.append(site.t_pdu(UP, bytes(packet / SPOKEN[kind])))
    # A fragment does not show what it is; but its source is not the UE's.
    spoofed = sum(source == LINK for source, _ in WAYS) if front == "fragment" else 0
    site.enb.all()
    with site.counted(
        neighbour_discovery=len(WAYS) - spoofed,
        no_uplink_session=spoofed,
        seen_spoofed_source=spoofed,
    ):
        assert site.uplink(*frames) == []
    assert [f for f in site.enb.all(0.05) if is_gtpu(f, OTHER_DOWN) or is_gtpu(f, DOWN)] == []


def test_headers_that_do_not_end(site: Site) -> None:
    """In the first fragment no message can be seen: it does not pass."""
    whole = IPv6(src=UE, dst=OTHER, hlim=255) / IPv6ExtHdrFragment(m=1, id=7, nh=60)
    whole /= Raw(b"\x3a\x02" + bytes(6))
    site.enb.all()
    with site.counted(bad_inner=1):
        assert site.uplink(site.t_pdu(UP, bytes(whole))) == []
    assert [f for f in site.enb.all(0.05) if is_gtpu(f, OTHER_DOWN)] == []


def test_what_is_for_the_link_stays_there(site: Site) -> None:
    """Link-local destinations and groups; from a link-local address, anywhere."""
    data = UDP(sport=5353, dport=5353) / Raw(b"x")
    owned = [said(data, UE, to) for to in ("fe80::9", "ff02::fb", "ff0e::1", "ff05::2")]
    owned.append(said(ICMPv6MLReport2(), UE, "ff02::16"))
    link = [said(data, source, to) for source in (LINK, "::") for to in (PDN, OTHER, "ff02::fb")]
    with site.counted(
        protected_destination=len(owned), no_uplink_session=len(link), seen_spoofed_source=len(link)
    ):
        assert site.uplink(*(site.t_pdu(UP, each) for each in owned + link)) == []


def test_between_ues_other_messages_pass(site: Site) -> None:
    ping = said(ICMPv6EchoRequest(data=b"hello"), UE, OTHER, 64)
    [read] = answers(site, UP, ping, OTHER_DOWN, 1)
    assert bytes(read) == ping


def test_one_ue_floods(site: Site) -> None:
    """It takes from no more than the sixteenth of the UEs that has its TEID's last bits."""
    site.session("10.45.1.4", teid=0x1012, downlink=0x2012, ue_ipv6="2001:db8:a:12::/64")
    site.enb.all(0.6)
    before, start, seconds = site.counters()["rate_limited_router"], len(site.enb.seen), 4.0
    with Flood(site.lab, "enb", [site.t_pdu(UP, RS)], rate=1000) as flood:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for teid, down in ((0x1002, OTHER_DOWN), (0x1012, 0x2012)):
                assert any(ICMPv6ND_RA in each for each in answers(site, teid, RS, down, 1))
            time.sleep(0.2)
    site.enb.all(0.3)
    answered = sum(is_advertisement(frame, DOWN) for frame in site.enb.seen[start:])
    print(f"{flood.sent} asked in {flood.seconds:.1f} s, {answered} answered")
    assert RATE * seconds * 0.5 < answered < RATE * (flood.seconds + 2)
    left = flood.sent - answered
    until(
        lambda: site.counters()["rate_limited_router"] - before > 0.9 * left, "the rest is counted"
    )


# --- a control plane that answers itself

CAPTURE, UPF = "suite-5g-ipv4v6-two-dnn-flow-rs-ra", "192.0.2.7"
ASKED = bytes(IPv6(src="fe80::2", dst="ff02::2", hlim=255) / ICMPv6ND_RS())
CP_RA = bytes(
    IPv6(src=ROUTER, dst="fe80::2", hlim=255)
    / ICMPv6ND_RA(routerlifetime=64800)
    / ICMPv6NDOptPrefixInfo(prefix="2001:db8:cafe:1::", prefixlen=64)
    / ICMPv6NDOptMTU(mtu=1400)
)


@pytest.fixture
def cp(site: Site) -> Iterator[ControlPlane]:
    with smf.associated(site.lab) as cp:
        yield cp
        assert cp.release().cause == 1


def test_a_control_plane_is_the_router(site: Site, cp: ControlPlane) -> None:
    """Open5GS, as it was captured: Router Solicitations reach its SMF, and what that answers
    reaches the UE. The gateway itself says nothing."""
    seids: dict[int, int] = {}
    made: list[dict[int, int]] = []
    tunnels: list[int] = []
    asked_at = [12, 23]
    site.enb.all()
    start = len(site.enb.seen)
    for seen in procedures()[CAPTURE]:
        header, request = read(seen.data)
        body: Any = request
        if header.type == 51:
            seids[body.up_fseid.seid] = made[-1][0]
        if str(seen.target) != UPF or not seen.from_control_plane:
            continue
        data = rewritten(seen.data, UPF, seids.get(header.seid or 0))
        if header.type == 54:
            break
        _, told_back = read(cp.ask_octets(data))
        reply: Any = told_back
        assert reply.cause == 1, (seen.frame, reply)
        if header.type == 50:
            teids = {each.pdr_id: each.local_fteid.teid for each in reply.created_pdrs}
            made.append({0: reply.up_fseid.seid, **teids})
        if seen.frame in asked_at:
            # The first session's default flow, then the second's, has its tunnel.
            _, changed = read(rewritten(seen.data, UPF, None))
            fars: Any = changed
            [far] = fars.update_fars
            tunnels.append(far.forwarding_parameters.outer_header_creation.teid)
            session = made[-1]
            # As its test programs send it for all UEs but the first.
            asks = damaged(ASKED, 43, ASKED[43] ^ 1) if len(tunnels) == 2 else ASKED
            assert by_smf(site, session[4], session[3], tunnels[-1], asks)
    assert len(tunnels) == 2
    mine = [f for f in site.enb.seen[start:] if is_advertisement(f)]
    ours = [f for f in mine if gtpu.decode(f).teid in tunnels]
    assert [gtpu.decode(f).inner for f in ours] == [CP_RA, CP_RA], "its own, and no other"


def test_a_control_plane_that_does_not_answer(site: Site, cp: ControlPlane) -> None:
    """The gateway does, and tells the UE of its prefix once it has its tunnel, and again once it is
    not idle any more."""
    ue = v.UeIpAddress(None, IPv6Address("2001:db8:a:9::"), destination=True)
    down = smf.downlink(UE4)
    down = down._replace(pdi=down.pdi._replace(ue_ip_address=ue), qer_ids=(1,))
    pdrs = smf.uplink(9, qer_ids=(1,)), down
    more = {"create_qers": (smf.qer(9),)}
    session = cp.establish(pdrs, (smf.to_core(), smf.idle()), **more)
    time.sleep(0.6)
    assert told(site, 0x3009) == []
    for count in (1, 2):
        assert session.modify(update_fars=(smf.moved(0x3009, "10.1.0.2"),)).cause == 1
        until(lambda: len(told(site, 0x3009)) == count, "told")  # noqa: B023
        judged(told(site, 0x3009)[-1], "2001:db8:a:9::/64", 1456)
        idle = g.UpdateFar(2, Action.BUFF | Action.NOCP)
        assert session.modify(update_fars=(idle,)).cause == 1
    container = bytes((1, 0x10, 9, 0))
    asks = gtpu.message(gtpu.T_PDU, session.teids[1], container + RS, flags=0x34, extension=0x85)
    site.enb.send(site.from_enb(asks))
    assert cp.receive(1.0) is None, "an idle UE is not paged"
    assert len(told(site, 0x3009)) == 2
    assert session.delete().cause == 1


def by_smf(site: Site, up: int, from_smf: int, down: int, asks: bytes) -> bool:
    """A solicitation goes to the SMF's tunnel as it was, be it right or not, and its answer to the
    UE's."""
    container = bytes((1, 0x10, 1, 0))
    t_pdu = gtpu.message(gtpu.T_PDU, up, container + asks, flags=0x36, extension=0x85)
    got: list[bytes] = []

    def reached() -> bool:
        site.enb.send(site.from_enb(t_pdu))
        here = (f for f in site.enb.all(0.3) if is_gtpu(f) and f[43] == gtpu.T_PDU)
        got.extend(f for f in here if gtpu.decode(f).destination == SMF_ON_N3)
        return bool(got)

    until(reached, "the SMF gets it")
    carried = gtpu.decode(got[0])
    assert (carried.inner, carried.flags) == (asks, gtpu.PLAIN)
    assert carried.teid in (SMF_TEID, 2, 3, 4)
    assert asks != ASKED or tshark.complaints(got) == []
    site.enb.all(0.3)
    site.enb.send(site.from_enb(gtpu.t_pdu(from_smf, CP_RA), source=SMF_ON_N3))
    answered: list[bytes] = []

    def come() -> bool:
        answered.extend(f for f in site.enb.all(0.2) if is_advertisement(f, down))
        return bool(answered)

    until(come, "the UE gets the answer")
    return [gtpu.decode(f).inner for f in answered] == [CP_RA]


# --- ICMPv6 on the way


def filled(size: int, source: str, to: str) -> bytes:
    made = bytes(IPv6(src=source, dst=to) / UDP(sport=1, dport=2) / Raw(bytes(size - 48)))
    assert len(made) == size
    return made


@pytest.mark.parametrize("qfi", (None, 9))
def test_too_big_uplink(site: Site, ue: None, qfi: int | None) -> None:
    """The UE is told what fits the core side."""
    site.session(UE4, teid=UP, downlink=DOWN, ue_ipv6=PREFIX, qfi=qfi, qfi_required=False)
    await_news(site, 1464 if qfi is None else 1456)
    [frame] = site.uplink(site.t_pdu(UP, filled(CORE_MTU, UE, PDN)))
    assert frame[14:] == filled(CORE_MTU, UE, PDN)
    sent = filled(CORE_MTU + 1, UE, PDN)
    with site.counted(too_big_uplink=1):
        [read] = answers(site, UP, sent, DOWN, 1)
    assert (read.src, read.dst, read[ICMPv6PacketTooBig].mtu) == (CORE, UE, CORE_MTU)
    assert bytes(read)[48:].startswith(sent[:40])


def test_those_who_send_much_that_is_too_big(site: Site) -> None:
    """100 a second are told."""
    frames = [site.t_pdu(UP, filled(CORE_MTU + 1, UE, PDN))] * 40
    site.enb.all()
    start = time.monotonic()
    for _ in range(25):
        site.enb.send(*frames)
        site.enb.all(0.01)
    site.enb.all(0.5)
    mine = [f for f in site.enb.seen if is_gtpu(f, DOWN) and f[43] == gtpu.T_PDU]
    reports = [f for f in mine if ICMPv6PacketTooBig in inner(f)]
    assert 50 < len(reports) < 100 * (time.monotonic() - start + 2)


def test_errors_pass_both_ways(site: Site) -> None:
    about = IPv6(src=PDN, dst=UE) / UDP(sport=1, dport=2) / Raw(bytes(40))
    up = said(ICMPv6DestUnreach(code=4) / about, UE, PDN, 64)
    [frame] = site.uplink(site.t_pdu(UP, up))
    assert frame[14:] == up
    sent = IPv6(src=UE, dst=PDN) / UDP(sport=2, dport=1) / Raw(bytes(40))
    down = said(ICMPv6PacketTooBig(mtu=1300) / sent, "2001:db8:9::9", UE, 64)
    head = bytes(Ether(src=site.pdn_mac, dst=site.core_mac, type=0x86DD))
    [got] = [gtpu.decode(f) for f in site.downlink(head + down)]
    assert (got.teid, got.inner) == (DOWN, down)
