"""UEs with IPv6 by a real switch: what they use, what waits for them, how they are found."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Interface, Method, Triggers
from ofgtp.core.troubles import shown, troubles
from tests.support import balance, gtpu, smf
from tests.support import ownership as own
from tests.support.browser import NARROW, WIDE, chromium, shot, watched
from tests.support.gtpu import END_MARKER, ERROR_INDICATION
from tests.support.lab import Lab
from tests.support.paging import Arrived, buffer, inside
from tests.support.peer import events
from tests.support.site import (
    ENB_IP,
    PDN_IP,
    Site,
    answer6,
    is_advertisement,
    is_gtpu,
    until,
)
from tests.support.smf import ControlPlane
from tests.switch.test_ipv6 import CORE, HOP, PDN, POOL
from tests.switch.test_pfcp_paging import IDLE
from tests.switch.test_pfcp_paging import told as paged

pytestmark = pytest.mark.switch

BASE = "http://127.0.0.1:8080"
SIZE = 100
"""IP octets of each packet, of either version."""
ENB, ENB2 = ENB_IP["enb"], ENB_IP["enb2"]
HELD = Action.BUFF | Action.NOCP
_numbers = itertools.count(0x10)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        smf.n4(lab)
        site = Site(lab, config(lab))
        site.ready()
        answer6(site, HOP, CORE)
        site.session("10.45.0.3", teid=0x1003, downlink=0x2003, peer=ENB2)
        site.warm("enb2", "10.45.0.3", 0x2003)
        yield site
        site.alive()


@pytest.fixture(scope="module")
def cp(site: Site) -> Iterator[ControlPlane]:
    with smf.associated(site.lab) as cp:
        yield cp


def config(lab: Lab) -> str:
    return lab.config(controller=own.SWITCH, gateway=smf.CONFIG).replace(
        'ue_pools = ["10.45.0.0/16"]',
        f'ue_pools = ["10.45.0.0/16", "{POOL}"]\ncore_ip6 = "{CORE}/64"\nnext_hop6 = "{HOP}"',
    )


class Phone:
    """A UE with IPv6, alone or beside IPv4, and its packets."""

    def __init__(self, site: Site, *, ipv4: bool = False) -> None:
        self.number = next(_numbers)
        self.site = site
        self.prefix = f"2001:db8:a:{self.number:x}::/64"
        self.ip6, self.ip4 = f"2001:db8:a:{self.number:x}::7", f"10.45.2.{self.number}"
        self.ipv4 = ipv4
        self.teid, self.far = 0x5000 + self.number, 0x6000 + self.number
        self.tunnel = {"teid": self.far, "remote_ip": ENB}
        self.name = f"six-{self.number}"
        self.path = f"/v1/sessions/{self.name}"
        self.sent = {"uplink": 0, "downlink": 0}

    @property
    def body(self) -> dict[str, Any]:
        ue = {"ue_ipv6": self.prefix} | ({"ue_ip": self.ip4} if self.ipv4 else {})
        return {"id": self.name, **ue, "uplink": {"teid": self.teid}, "downlink": self.tunnel}

    def put(self, status: int = 201, **members: Any) -> dict[str, Any]:
        answer = self.site.lab.http("PUT", self.path, {**self.body, **members})
        assert answer.status == status, answer.body
        return dict(answer.json())

    def patch(self, change: dict[str, Any], status: int = 200) -> dict[str, Any]:
        answer = self.site.lab.http("PATCH", self.path, change)
        assert answer.status == status, answer.body
        self.site.lab.cache_follows()
        return dict(answer.json())

    def shown(self) -> dict[str, Any]:
        answer = self.site.lab.http("GET", self.path)
        assert answer.status == 200, answer.body
        return dict(answer.json())

    def packet(self, way: str, *, version: int = 6, port: int = 7000, number: int = 0) -> bytes:
        mine, other = (self.ip6, PDN) if version == 6 else (self.ip4, PDN_IP)
        ends = (mine, other) if way == "uplink" else (other, mine)
        ports = (6000, port) if way == "uplink" else (port, 6000)
        head: Packet = (IPv6 if version == 6 else IP)(src=ends[0], dst=ends[1])
        above = UDP(sport=ports[0], dport=ports[1])
        body = number.to_bytes(4, "big") + bytes(SIZE - len(head / above) - 4)
        return bytes(head / above / Raw(body))

    def frame(self, **which: Any) -> bytes:
        """A packet to the UE, from the core host."""
        packet = self.packet("downlink", **which)
        kind = 0x86DD if packet[0] >> 4 == 6 else 0x800
        return self.site.to_ue(packet)[:12] + kind.to_bytes(2, "big") + packet

    def up(self, count: int, **which: Any) -> int:
        """How many of so many packets of the UE's come out."""
        packet = self.packet("uplink", **which)
        came = self.site.uplink(*[self.site.t_pdu(self.teid, packet)] * count)
        got = sum(frame[14:] == packet for frame in came)  # the next hop may be asked for, too
        self.sent["uplink"] += got
        return got

    def down(self, count: int, **which: Any) -> int:
        """How many of so many packets to the UE the base station gets."""
        got = self.site.downlink(*[self.frame(**which)] * count)
        passed = sum(is_gtpu(frame, self.far) for frame in got)
        self.sent["downlink"] += passed
        return passed

    def both(self, count: int) -> None:
        """Packets each way, of each version, all of which pass."""
        for version in (6, 4) if self.ipv4 else (6,):
            passed = self.up(count, version=version), self.down(count, version=version)
            assert passed == (count, count)

    def counted(self, seen: dict[str, Any]) -> bool:
        return all(
            (seen[way]["packets"], seen[way]["bytes"]) == (count, SIZE * count)
            for way, count in self.sent.items()
        )

    def settled(self) -> None:
        """All that has passed is counted, and nothing else, octets as those of IP."""
        try:
            until(lambda: self.counted(self.shown()["counters"]), "all is counted")
        except AssertionError as error:
            raise AssertionError(f"sent {self.sent}, counted {self.shown()}") from error

    def hold(self, numbers: list[int], **which: Any) -> None:
        """Packets for the UE, which is idle: all are held."""
        before = buffer(self.site)["held"]
        frames = [self.frame(number=number, **which) for number in numbers]
        self.site.empty_cache()
        assert self.site.downlink(*frames) == []
        until(lambda: buffer(self.site)["held"] == before + len(numbers), "they are held")


def arrived(got: Arrived, teid: int) -> list[int]:
    """The numbers of packets that have come by a tunnel, in their order, of either version."""
    got.look()
    mine = (f for f in got.frames if is_gtpu(f, teid) and not is_advertisement(f))
    packets = [inside(frame)[1] for frame in mine]
    starts = (48 if packet[0] >> 4 == 6 else 28 for packet in packets)
    return [
        int.from_bytes(packet[start : start + 4], "big")
        for packet, start in zip(packets, starts, strict=True)
    ]


# --- found and changed


def test_found_by_an_address_of_the_prefix(site: Site) -> None:
    one, dual = Phone(site), Phone(site, ipv4=True)
    one.put()
    dual.put()
    for query, expected in (
        (f"ue_ipv6={one.ip6}", [one.name]),
        (f"ue_ip={one.ip6}", [one.name]),
        (f"ue_ipv6={dual.prefix}", [dual.name]),
        (f"ue_ip={dual.ip4}", [dual.name]),
        (f"ue_ipv6={dual.ip6}&gateway=gw1", [dual.name]),
        ("ue_ipv6=2001:db8:a:ffff::1", []),
        (f"ue_ipv6={POOL}&id=six", [one.name, dual.name]),
    ):
        listed = site.lab.http("GET", f"/v1/sessions?{query}").json()["items"]
        assert [each["id"] for each in listed] == expected, query
    assert one.shown()["ue_ip"] is None
    assert (dual.shown()["ue_ip"], dual.shown()["ue_ipv6"]) == (dual.ip4, dual.prefix)
    for phone in (one, dual):
        site.delete(phone.name)


def test_what_another_session_has_names_it(site: Site) -> None:
    one, other = Phone(site), Phone(site)
    one.put()
    other.put()
    for prefix in (one.prefix, f"{one.ip6}/128", POOL):
        for told, names in (
            (site.lab.http("PATCH", other.path, {"ue_ipv6": prefix}), [one.name]),
            (site.lab.http("PUT", other.path, {**other.body, "ue_ipv6": prefix}), [one.name]),
            (
                site.lab.http("POST", "/v1/sessions", {"ue_ipv6": prefix}),
                [one.name, other.name],
            ),
        ):
            assert told.status == 409, told.body
            [error] = told.json()["errors"]
            assert error["loc"] == "ue_ipv6"
            assert any(repr(name) in error["msg"] for name in names), error
    line = f'{{"op":"put","session":{{"ue_ipv6":"{one.prefix}"}}}}\n'.encode()
    ndjson = {"Content-Type": "application/x-ndjson"}
    batch = site.lab.http("POST", "/v1/sessions:batch", line, headers=ndjson)
    assert batch.status == 422
    assert batch.json()["errors"][0]["loc"] == "ue_ipv6"
    assert one.name in batch.json()["errors"][0]["msg"]
    one.both(2)
    other.both(2)
    for phone in (one, other):
        site.delete(phone.name)


@pytest.mark.parametrize(
    "prefix",
    [
        "2001:db8:a:1::7/64",
        "::ffff:10.45.0.2",
        "fe80::/64",
        "2001:db8:b::/64",
        "2001:db8::/32",
        "2001:db8:8847::/64",
        "10.45.0.0/24",
        "2001:db8:a:1::/200",
    ],
)
def test_what_cannot_be_a_prefix(site: Site, prefix: str) -> None:
    phone = Phone(site)
    phone.put()
    for told in (
        site.lab.http("PATCH", phone.path, {"ue_ipv6": prefix}),
        site.lab.http("POST", "/v1/sessions", {"ue_ipv6": prefix}),
    ):
        assert told.status == 422, told.body
        assert [each["loc"] for each in told.json()["errors"]] == ["ue_ipv6"]
    phone.both(1)
    site.delete(phone.name)


def test_addresses_come_and_go(site: Site) -> None:
    """As ue_ip does, ue_ipv6 may change: what was there is free, and does not pass."""
    phone, other = Phone(site, ipv4=True), Phone(site)
    phone.put()
    phone.both(2)
    phone.settled()
    moved = f"2001:db8:a:{phone.number + 0x800:x}"
    assert phone.patch({"ue_ipv6": f"{moved}::/64"})["ue_ipv6"] == f"{moved}::/64"
    assert (phone.up(1), phone.down(1), phone.up(2, version=4)) == (0, 0, 2)
    left, phone.ip6, phone.prefix = phone.prefix, f"{moved}::7", f"{moved}::/64"
    phone.both(2)
    other.prefix, other.ip6 = left, left.replace("/64", "7")
    other.put()
    site.empty_cache()
    other.both(2)
    phone.settled()
    # PUT says all of it: without ue_ipv6 there is none.
    assert "ue_ipv6" not in phone.put(200, ue_ipv6=None)
    site.lab.cache_follows()
    assert (phone.up(1), phone.down(1), phone.up(2, version=4)) == (0, 0, 2)
    phone.settled()
    assert phone.patch({"ue_ipv6": phone.prefix, "ue_ip": None})["ue_ip"] is None
    assert (phone.up(2), phone.down(2), phone.up(1, version=4)) == (2, 2, 0)
    phone.settled()
    refused = phone.patch({"ue_ipv6": None}, 422)
    assert [each["loc"] for each in refused["errors"]] == ["ue_ip"]
    for each in (phone, other):
        site.delete(each.name)


# --- used


@pytest.mark.parametrize("more", [{}, {"qfi": 9, "qfi_required": False}, {"buffer": 4}])
@pytest.mark.parametrize("ipv4", [False, True])
def test_octets_are_those_of_ip(site: Site, ipv4: bool, more: dict[str, Any]) -> None:
    phone = Phone(site, ipv4=ipv4)
    phone.put(**more)
    phone.both(3)
    phone.settled()
    usage = site.lab.http("GET", f"{phone.path}/usage").json()
    assert phone.counted(usage)
    assert (usage["ue_ip"], usage["ue_ipv6"]) == (phone.ip4 if ipv4 else None, phone.prefix)
    assert [rule["id"] for rule in usage["rules"]] == [None]
    flows = site.lab.http("GET", f"{phone.path}/flows").json()["items"]
    of_ipv6 = [each for each in flows if "ipv6" in each["flow"]]
    assert {each["direction"] for each in of_ipv6} == {"uplink", "downlink"}
    site.delete(phone.name)


def test_a_count_goes_on(site: Site) -> None:
    """Over a handover, a time without a tunnel, and the controller's restart."""
    phone = Phone(site, ipv4=True)
    phone.put(qfi=5, qfi_required=False)
    phone.both(2)
    phone.patch({"downlink": None})
    assert phone.down(2) == 0
    phone.patch({"downlink": phone.tunnel})
    phone.both(1)
    phone.settled()
    for how, meanwhile in ((signal.SIGTERM, 0), (signal.SIGKILL, 2)):
        site.lab.stop_controller(how)
        phone.both(meanwhile)
        site.lab.start_controller(config(site.lab))
        until(lambda: own.in_sync(site.lab), "all is in order")
        phone.both(3)
        phone.settled()
    site.delete(phone.name)


def test_limits(site: Site) -> None:
    """A threshold, a quota, and a time without packets, of IPv6 alone."""
    phone = Phone(site)
    with events(site.lab) as heard:
        phone.put(usage={"threshold_bytes": 300, "quota_bytes": 1000, "inactivity_seconds": 2})
        phone.both(2)
        until(lambda: heard.of("usage_threshold", session=phone.name), "400 octets of 300")
        until(lambda: heard.of("inactive", session=phone.name), "nothing has come for 2 s")
        phone.both(3)
        until(lambda: heard.of("quota_exhausted", session=phone.name), "1000 octets of 1000")
        until(lambda: phone.shown()["closed"] == "quota", "it is closed")
        site.lab.cache_follows()
        with site.counted(quota_exhausted=4):
            assert (phone.up(2), phone.down(2)) == (0, 0)
        phone.patch({"usage": {"quota_bytes": 10_000}})
        phone.both(1)
    phone.settled()
    site.delete(phone.name)


# --- waiting


def test_held_and_delivered_in_order(site: Site) -> None:
    phone = Phone(site)
    phone.put(downlink=None, buffer=8)
    got = Arrived(site)
    with events(site.lab) as heard:
        phone.hold([0, 1, 2])
        until(lambda: heard.of("downlink_data", session=phone.name), "it is told")
        phone.patch({"downlink": phone.tunnel})
        site.pdn.send(*[phone.frame(number=number) for number in (3, 4)])
        until(lambda: len(arrived(got, phone.far)) == 5, "five come")
        assert arrived(got, phone.far) == [0, 1, 2, 3, 4]
        assert len(heard.of("downlink_data", session=phone.name)) == 1
    phone.sent["downlink"] += 5
    phone.settled()
    site.delete(phone.name)


def test_held_of_both_versions_and_of_a_bearer(site: Site) -> None:
    """Which bearer's tunnel each goes to is told by its filters, of either version."""
    phone = Phone(site, ipv4=True)
    bearer = {
        "id": "voice",
        "precedence": 10,
        "filters": ["permit out udp from any 5004 to assigned"],
    }
    phone.put(downlink=None, buffer=8, bearers=[{**bearer, "downlink": None}])
    got = Arrived(site)
    phone.hold([0, 1])
    phone.hold([2], version=4)
    phone.hold([10], port=5004)
    phone.hold([11], version=4, port=5004)
    phone.hold([3])
    far = {"teid": phone.far + 0x1000, "remote_ip": ENB}
    phone.patch({"downlink": phone.tunnel, "bearers": [{**bearer, "downlink": far}]})
    until(lambda: len(arrived(got, phone.far)) == 4, "four come")
    assert arrived(got, phone.far) == [0, 1, 2, 3]
    until(lambda: len(arrived(got, phone.far + 0x1000)) == 2, "two come")
    assert arrived(got, phone.far + 0x1000) == [10, 11]
    site.delete(phone.name)


# --- control planes


def made(cp: ControlPlane, phone: Phone, far: g.CreateFar, **more: Any) -> smf.PfcpSession:
    ipv4 = IPv4Address(phone.ip4) if phone.ipv4 else None
    ue = v.UeIpAddress(ipv4, IPv6Address(phone.prefix[:-3]), destination=True)
    named = {"urr_ids": (1,)} if "create_urrs" in more else {}
    pdrs = smf.uplink(9, qer_ids=(1,), **named), smf.downlink(phone.ip4, qer_ids=(1,), **named)
    down = pdrs[1]._replace(pdi=pdrs[1].pdi._replace(ue_ip_address=ue))
    session = cp.establish(
        (pdrs[0], down),
        (smf.to_core(), far),
        create_qers=(smf.qer(9),),
        create_bars=(g.CreateBar(1),),
        **more,
    )
    phone.teid = session.teids[1]
    phone.name = f"pfcp-{session.up_seid:016x}"
    phone.path = f"/v1/sessions/{phone.name}"
    return session


@pytest.mark.parametrize("ipv4", [False, True])
def test_paging(site: Site, cp: ControlPlane, ipv4: bool) -> None:
    """An IPv6 packet for an idle UE is reported once each idle period, and delivered."""
    phone = Phone(site, ipv4=ipv4)
    session = made(cp, phone, smf.idle())
    got = Arrived(site)
    for period in range(2):
        phone.hold([2 * period])
        assert paged(cp, session) == (2, 9)
        phone.hold([2 * period + 1], version=4 if ipv4 else 6)
        assert session.modify(update_fars=(smf.moved(phone.far, ENB),)).cause == 1
        count = 2 * (period + 1)
        until(lambda: len(arrived(got, phone.far)) == count, f"{count} come")  # noqa: B023
        assert arrived(got, phone.far) == [*range(count)]
        assert session.modify(update_fars=(IDLE,)).cause == 1
    rules = site.lab.http("GET", f"{phone.path}/rules").json()
    down = next(each for each in rules["pdrs"] if each["id"] == 2)
    assert (down["ue_ip"], down["ue_ipv6"]) == (phone.ip4 if ipv4 else None, phone.prefix)
    assert session.delete().cause == 1


def test_filters_of_ipv6(site: Site, cp: ControlPlane) -> None:
    """A QoS flow that is told by one: its packets are told of, and go by their own tunnel."""
    phone = Phone(site)
    session = made(cp, phone, smf.idle())
    voice = v.SdfFilter(f"permit out udp from {PDN} 5004 to assigned")
    waiting = smf.to_tunnel(phone.far + 0x1000, ENB, 3)._replace(apply_action=HELD)
    added = session.modify(
        create_pdrs=(
            g.CreatePdr(3, 10, g.Pdi(Interface.CORE, sdf_filters=(voice,)), None, 3, (), (2,)),
        ),
        create_fars=(waiting,),
        create_qers=(smf.qer(1, 2),),
    )
    assert added.cause == 1
    got = Arrived(site)
    phone.hold([1])
    assert paged(cp, session) == (2, 9)
    phone.hold([2], port=5004)
    assert paged(cp, session) == (3, 1)
    phone.hold([3])
    woken = g.UpdateFar(3, Action.FORW), smf.moved(phone.far, ENB)
    assert session.modify(update_fars=woken).cause == 1
    site.empty_cache()
    until(lambda: len(arrived(got, phone.far)) == 2, "two come")
    until(lambda: len(arrived(got, phone.far + 0x1000)) == 1, "one comes")
    assert arrived(got, phone.far) == [1, 3]
    assert arrived(got, phone.far + 0x1000) == [2]
    assert phone.down(2) == 2
    far, phone.far = phone.far, phone.far + 0x1000
    assert phone.down(2, port=5004) == 2
    phone.far = far
    assert session.delete().cause == 1


def test_a_urr(site: Site, cp: ControlPlane) -> None:
    """Volumes are those of IP packets, each way; what is told in the end is all of it."""
    phone = Phone(site)
    urr = g.CreateUrr(
        1,
        Method.VOLUME,
        Triggers.VOLTH,
        volume_threshold=v.Volume(total=3 * SIZE),
    )
    session = made(cp, phone, smf.to_tunnel(phone.far, ENB), create_urrs=(urr,))
    sent = phone.packet("uplink")
    t_pdu = gtpu.message(
        gtpu.T_PDU, phone.teid, bytes((1, 0x10, 9, 0)) + sent, flags=0x34, extension=0x85
    )
    assert len(site.uplink(*[site.from_enb(t_pdu)] * 2)) == 2
    assert phone.down(3) == 3
    until(lambda: cp.usage(session), "the threshold is told")
    answer = session.delete()
    reports = [*cp.usage(session), *answer.usage_reports]
    told = [(each.volume.uplink, each.volume.downlink) for each in reports if each.volume]
    assert (sum(up for up, _ in told), sum(down for _, down in told)) == (2 * SIZE, 3 * SIZE)


# --- peers


def test_an_end_marker_and_an_error_indication(site: Site) -> None:
    """Of a session with IPv6 alone: a handover ends with a marker, and a tunnel that its peer does
    not know is sent to no more."""
    phone = Phone(site)
    phone.put()
    phone.both(1)
    site.enb.all()
    phone.patch({"downlink": {"teid": phone.far, "remote_ip": ENB2}})
    markers: list[bytes] = []

    def ended() -> bool:
        markers.extend(f for f in site.enb.all(0.1) if f[43:44] == bytes((END_MARKER,)))
        return bool(markers)

    until(ended, "an End Marker comes by the old tunnel")
    assert gtpu.decode(markers[0]).teid == phone.far
    phone.patch({"downlink": phone.tunnel})
    phone.both(1)
    teid = b"\x10" + phone.far.to_bytes(4, "big")
    address = b"\x85\x00\x04" + IPv4Address(ENB).packed
    site.enb.send(site.from_enb(gtpu.message(ERROR_INDICATION, 0, teid + address, flags=0x32)))
    until(lambda: phone.shown()["state"] == "error_indicated", "it is told")
    site.lab.cache_follows()
    with site.counted(error_indicated=2):
        assert (phone.down(2), phone.up(1)) == (0, 1)
    phone.patch({"downlink": {"teid": phone.far + 0x2000, "remote_ip": ENB}})
    phone.far += 0x2000
    assert phone.down(1) == 1
    site.delete(phone.name)


# --- behind UEs


BEHIND = "2001:db8:f:1::9"


@pytest.mark.parametrize("ipv4", [False, True])
def test_framed_routes(site: Site, ipv4: bool) -> None:
    """An IPv6 network behind a UE: both ways, counted, and until the session has it no more."""
    phone, other = Phone(site, ipv4=ipv4), Phone(site)
    phone.put(framed_routes=["2001:db8:f::/48"])
    assert phone.shown()["framed_routes"] == ["2001:db8:f::/48"]
    own = phone.ip6
    for phone.ip6 in (own, BEHIND):
        assert (phone.up(2), phone.down(2)) == (2, 2)
    phone.settled()
    body = {**other.body, "framed_routes": ["2001:db8:f:7::/64"]}
    taken = site.lab.http("PUT", other.path, body)
    assert taken.status == 422
    [error] = taken.json()["errors"]
    assert error["loc"] == "framed_routes.0" and repr(phone.name) in error["msg"]
    phone.patch({"framed_routes": []})
    with site.counted(core_other=1, no_uplink_session=1, seen_spoofed_source=1):
        assert (phone.up(1), phone.down(1)) == (0, 0)
    phone.ip6 = own
    phone.both(1)
    site.delete(phone.name)


def test_framed_routes_of_a_control_plane(site: Site, cp: ControlPlane) -> None:
    phone = Phone(site)
    ue = v.UeIpAddress(None, IPv6Address(phone.prefix[:-3]), destination=True)
    pdrs = smf.uplink(), smf.downlink(phone.ip4)
    routes = ("2001:db8:f::/48 :: 1",)
    pdi = pdrs[1].pdi._replace(ue_ip_address=ue, framed_ipv6_routes=routes)
    down = pdrs[1]._replace(pdi=pdi)
    session = cp.establish((pdrs[0], down), (smf.to_core(), smf.to_tunnel(phone.far, ENB)))
    phone.teid = session.teids[1]
    own = phone.ip6
    for phone.ip6 in (own, BEHIND):
        assert (phone.up(2), phone.down(2)) == (2, 2)
    name = f"pfcp-{session.up_seid:016x}"
    assert site.lab.http("GET", f"/v1/sessions/{name}").json()["framed_routes"] == [
        "2001:db8:f::/48"
    ]
    rules = site.lab.http("GET", f"/v1/sessions/{name}/rules").json()
    shown = next(each for each in rules["pdrs"] if each["id"] == 2)
    assert shown["framed_ipv6_routes"] == [*routes]
    assert session.delete().cause == 1
    with site.counted(core_other=1):
        assert phone.down(1) == 0


# --- what the gateway says


def test_every_frame_has_one_end(site: Site) -> None:
    """Packets of both versions, what UEs ask their router, and what the core side asks."""
    phone, idle = Phone(site, ipv4=True), Phone(site)
    phone.put()
    idle.put(downlink=None)  # or it would be answered by a packet that nobody had sent
    phone.both(1)
    before = balance.settled(site)
    phone.both(3)
    asked = bytes(IPv6(src="fe80::7", dst="ff02::2", hlim=255) / ICMPv6ND_RS())
    spoofed = phone.packet("uplink").replace(IPv6Address(phone.ip6).packed, IPv6Address(PDN).packed)
    t_pdus = *[site.t_pdu(idle.teid, asked)] * 2, site.t_pdu(phone.teid, spoofed)
    assert site.uplink(*t_pdus) == []
    head = Ether(src=site.pdn_mac, dst="33:33:ff:00:00:01")
    looked = head / IPv6(src=HOP, dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=CORE)
    probe = head / IPv6(src="::", dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=CORE)
    ping = Ether(src=site.pdn_mac, dst=site.core_mac) / IPv6(src=HOP, dst=CORE)
    ping /= ICMPv6EchoRequest()
    other = Ether(src=site.pdn_mac, dst="33:33:00:00:00:16") / IPv6(src=HOP, dst="ff02::16")
    nobody = Ether(src=site.pdn_mac, dst=site.core_mac) / IPv6(src=PDN, dst="2001:db8:a:fff::1")
    site.back(*map(bytes, (looked, probe, ping, ping, other, other, other, nobody)))
    expected = {"core_other": 3, "no_uplink_session": 1, "unknown_ue": 1}
    found = balance.balanced(site, before, **expected)
    markers = 2 * 8  # of each time that something was sent
    assert found["packets uplink"] + found["packets downlink"] <= 4 * 3 + 2 + markers
    assert (found["own router"], found["own ping"]) == (2, 2)
    drops = {name for name, count in found.items() if name.startswith("drops")}
    assert drops == {f"drops {name}" for name in expected}
    for each in (phone, idle):
        site.delete(each.name)


def test_the_next_hop_is_shown(site: Site) -> None:
    told = ICMPv6ND_NA(tgt=HOP, R=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=site.pdn_mac)
    ends = Ether(src=site.pdn_mac, dst=site.core_mac) / IPv6(src=HOP, dst=CORE, hlim=255)
    site.pdn.send(bytes(ends / told))
    until(lambda: site.gateway()["next_hop6"]["state"] == "resolved", "it is heard")
    shown = site.gateway()
    assert shown["next_hop6"] == {"ip": HOP, "mac": site.pdn_mac, "state": "resolved"}
    assert (shown["core"]["ip6"], shown["ue_pools"]) == (f"{CORE}/64", ["10.45.0.0/16", POOL])
    text = site.lab.http("GET", "/metrics").body.decode()
    for version in "46":
        assert f'ofgtp_next_hop_resolved{{gateway="gw1",ip_version="{version}"}} 1.0' in text


# --- the page


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_page(site: Site, tmp_path: Path, size: dict[str, int]) -> None:
    """UEs with IPv6 alone, with both and with IPv4 alone; what the core side is; and a search."""
    six, dual = Phone(site), Phone(site, ipv4=True)
    six.put()
    dual.put()
    six.both(2)
    with chromium(site.lab) as browser, watched(browser, BASE, viewport=size) as view:
        page = view.open()
        rows = page.locator("#listed tbody tr")
        row = rows.filter(has_text=six.name).locator("[data-name='UE address']")
        expect(row).to_have_text(six.prefix)
        row = rows.filter(has_text=dual.name).locator("[data-name='UE address']")
        assert row.inner_text().split() == [dual.ip4, dual.prefix]
        row = rows.filter(has_text="ue-10.45.0.3").locator("[data-name='UE address']")
        expect(row).to_have_text("10.45.0.3")
        picture = page.locator(".picture")
        for words in (f"{CORE}/64", "10.2.0.1/24", HOP, PDN_IP, site.pdn_mac):
            expect(picture).to_contain_text(words)
        expect(page.locator(".facts").first).to_contain_text(POOL)
        shot(page, tmp_path, f"ipv6-{size['width']}")
        inside = "(box) => box.scrollWidth <= box.clientWidth"
        cells = page.locator("#listed td[data-name='UE address']")
        assert all(each.evaluate(inside) for each in cells.all())
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        for words, found in (
            (six.ip6, [six.name]),
            (dual.ip6, [dual.name]),
            (dual.prefix, [dual.name]),
            (dual.ip4, [dual.name]),
            (POOL, [six.name, dual.name]),
        ):
            page.fill("#query", words)
            expect(rows).to_have_count(len(found))
            for name in found:
                expect(rows.filter(has_text=name)).to_have_count(1)
        page.fill("#query", "2001:db8:a:1")  # it is still being written
        expect(page.locator("#told")).to_have_text("None where the id contains 2001:db8:a:1.")
        page.fill("#query", dual.ip6)
        page.click(f"#listed >> text={dual.name}")
        expect(page.locator("#details dl")).to_contain_text(f"{dual.ip4}, {dual.prefix}")
        expect(page.locator("#details .flow pre").filter(has_text="ipv6_dst")).to_have_count(1)
        shot(page, tmp_path, f"ipv6-session-{size['width']}", whole=False)
        page.keyboard.press("Escape")
        script = "([g]) => verdict({store: 'ok'}, [g], [], () => false).map((each) => each.text)"
        gateway = site.gateway() | {"neighbours": {"resolved": 1, "unresolved": 0, "stale": 0}}
        gateway["paths"] = {"up": 1, "unknown": 0, "down": 0}
        for state, words in (
            ("unresolved", "has not answered neighbour discovery on eth2: no IPv6 packets leave"),
            ("stale", "does not answer neighbour discovery on eth2 any more; packets still go to"),
        ):
            hops = {
                name: {**gateway[name], "state": "resolved"} for name in ("next_hop", "next_hop6")
            }
            hops["next_hop6"]["state"] = state
            judged = {"troubles": shown(troubles(gateway | hops))}
            [said] = page.evaluate(script, [gateway | hops | judged])
            assert f"gw1: the next hop {HOP} {words}" in said
            assert troubles(gateway | hops | {"ue_pools": ["10.45.0.0/16"]}) == []
        view.clean("422")
    for phone in (six, dual):
        site.delete(phone.name)
