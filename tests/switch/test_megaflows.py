"""How many entries of the switch's cache the connections of one UE make.

Its own filters make some: each tells packets by leading bits of their ports and addresses. Those of
other UEs hardly any: see `ports_class`.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import Any, NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Packet

from tests.support.lab import Lab
from tests.support.site import ENB_IP, Site

pytestmark = pytest.mark.switch

PLAIN, FILTERED = "10.45.0.2", "10.45.0.3"
TEIDS = {PLAIN: 0x1001, FILTERED: 0x1002}
FILTERS: tuple[Any, ...] = (
    "permit out udp from any 5004-5060 to assigned",
    "permit out tcp from 10.0.0.0/8 443,8443 to assigned",
    "permit out ip from 172.16.0.0/12 to assigned",
    "permit out udp from any to assigned 40000-40999",
    {"protocol": "udp", "dscp": 46, "remote_ports": "1-1023"},
)
CONNECTIONS, OTHERS = 600, 400


class Counts(NamedTuple):
    up: int
    down: int


def resource(number: int, *filters: Any) -> dict[str, Any]:
    """A session with a bearer for each filter."""
    return {
        "id": f"ue-{number}",
        "ue_ip": str(IPv4Address("10.45.0.1") + number),
        "uplink": {"teid": 0x1000 + number},
        "downlink": {"teid": 0x20000 + number, "remote_ip": ENB_IP["enb"]},
        "bearers": [
            {"id": f"b{place}", "precedence": 10 + place, "filters": [each]}
            for place, each in enumerate(filters)
        ],
    }


def put(site: Site, *sessions: dict[str, Any]) -> None:
    body = b"".join(
        json.dumps({"op": "put", "session": each}).encode() + b"\n" for each in sessions
    )
    head = {"Content-Type": "application/x-ndjson"}
    answer = site.lab.http("POST", "/v1/sessions:batch", body, headers=head, timeout=120)
    assert answer.status == 200, answer.body


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        # Entries stay, however long nothing meets them, and however slow the machine is.
        stay = ("other_config:max-idle=600000", "other_config:max-revalidator=10000")
        lab.vsctl("set", "Open_vSwitch", ".", *stay)
        site = Site(lab)
        site.ready()
        put(site, resource(1), resource(2, *FILTERS))
        yield site
        site.alive()


def made_by(site: Site, ue: str, kinds: Iterable[tuple[str, dict[str, Any], Packet]]) -> Counts:
    """How many there are, uplink (of packets out of their tunnel) and downlink, after one packet of
    each kind each way: with this host, these fields of its IP header, this content."""
    site.lab.appctl("revalidator/purge")
    up, down = [], []
    for host, header, content in kinds:
        fields = {"ttl": 64} | header
        up.append(site.t_pdu(TEIDS[ue], bytes(IP(src=ue, dst=host, **fields) / content)))
        down.append(site.to_ue(bytes(IP(src=host, dst=ue, **fields) / content)))
    assert len(site.uplink(*up)) == len(up) and len(site.downlink(*down)) == len(down)
    shown = site.lab.appctl("dpctl/dump-flows")
    address = re.escape(ue)
    found = [
        len(re.findall(rf"\bipv4\((?:[^)]*,)?{end}={address}[,)]", shown)) for end in ("src", "dst")
    ]
    return Counts(*found)


def megaflows(site: Site, ue: str, hosts: list[str]) -> Counts:
    """Those of connections with these hosts, each at a port of its own."""
    chance = random.Random(1)
    ports = [chance.randrange(1024, 65536) for _ in hosts]
    udp = [UDP(sport=port, dport=port) for port in ports]
    return made_by(site, ue, ((host, {}, each) for host, each in zip(hosts, udp, strict=True)))


def anywhere() -> list[str]:
    """Hosts all over the address space, but where no UE may send."""
    chance, hosts = random.Random(2), set[str]()
    while len(hosts) < CONNECTIONS:
        address = IPv4Address(chance.getrandbits(32))
        if address.is_global and not address.is_multicast:
            hosts.add(str(address))
    return sorted(hosts)


def test_one_each_way_without_filters(site: Site) -> None:
    """Whatever the ports. Uplink, the leading bits of the destination count, by which table guard
    knows that it is no address that UEs may not reach: hosts that share them share an entry."""
    near = [str(IPv4Address("203.0.113.0") + number) for number in range(1, 201)]
    assert megaflows(site, PLAIN, near) == (1, 1)
    up, down = megaflows(site, PLAIN, anywhere())
    assert down == 1
    assert 1 < up <= 32, "as many as there are lengths of prefixes, and not as there are hosts"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([({}, UDP() / bytes(size)) for size in range(0, 1400, 50)], (1, 1)),
        ([({}, each) for each in (UDP(), TCP(), ICMP())], (1, 1)),
        # Uplink, one of packets that are typed rightly, and one of those that are parsed anew.
        ([({"ttl": ttl}, UDP()) for ttl in (2, 64, 70, 79, 100, 128, 255)], (2, 1)),
        ([({"ttl": ttl}, UDP()) for ttl in range(64, 80)], (1, 1)),
        ([({"ttl": ttl}, UDP()) for ttl in (*range(1, 64), *range(80, 256))], (1, 1)),
        # A tunnel's outer header has the TOS of its packet, ECN included.
        ([({"tos": tos}, UDP()) for tos in range(0, 256, 5)], (1, 52)),
        # None, the first, a later one: the switch always tells these apart.
        ([({"flags": mf, "frag": at}, UDP()) for mf, at in ((0, 0), (1, 0), (1, 9))], (3, 3)),
    ],
    ids=["sizes", "protocols", "TTL", "TTL 64 to 79", "other TTL", "TOS", "fragments"],
)
def test_what_makes_more_without_filters(
    site: Site, kinds: list[tuple[dict[str, Any], Packet]], expected: tuple[int, int]
) -> None:
    """Here `decrement_ttl` is false; where it is true, each TTL makes one more."""
    found = made_by(site, PLAIN, (("203.0.113.1", header, content) for header, content in kinds))
    assert found == expected


def test_ports_in_the_filters_of_others_make_few(site: Site) -> None:
    alone = megaflows(site, FILTERED, anywhere())
    chance = random.Random(3)

    def port() -> str:
        return f"permit out udp from any {chance.randrange(1, 65536)} to assigned"

    put(site, *(resource(3 + number, *(port() for _ in range(5))) for number in range(OTHERS)))
    beside = megaflows(site, FILTERED, anywhere())
    assert all(few <= 1.15 * own for few, own in zip(beside, alone, strict=True)), (alone, beside)
    assert megaflows(site, PLAIN, anywhere())[1] == 1
