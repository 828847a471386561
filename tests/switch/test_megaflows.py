"""How many entries of the switch's cache the connections of one UE make.

Its own filters make some: each tells packets by leading bits of their ports and addresses. Those of
other UEs hardly any: see `ports_class`. Nothing here depends on time, since entries stay.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

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
        lab.vsctl("set", "Open_vSwitch", ".", "other_config:max-idle=600000")
        site = Site(lab)
        site.ready()
        put(site, resource(1), resource(2, *FILTERS))
        yield site


def megaflows(site: Site, ue: str, hosts: list[str]) -> tuple[int, int]:
    """How many there are, uplink (of packets out of their tunnel) and downlink, after a packet each
    way of connections with these hosts, each at a port of its own."""
    chance = random.Random(1)
    ends = [(host, chance.randrange(1024, 65536)) for host in hosts]
    site.lab.cache_follows()
    site.lab.appctl("revalidator/purge")
    up = [IP(src=ue, dst=host, ttl=64) / UDP(sport=port, dport=port) for host, port in ends]
    down = [IP(src=host, dst=ue, ttl=64) / UDP(sport=port, dport=port) for host, port in ends]
    assert len(site.uplink(*(site.t_pdu(TEIDS[ue], bytes(each)) for each in up))) == len(ends)
    assert len(site.downlink(*(site.to_ue(bytes(each)) for each in down))) == len(ends)
    shown = site.lab.appctl("dpctl/dump-flows")
    address = re.escape(ue)
    found = [
        len(re.findall(rf"\bipv4\((?:[^)]*,)?{end}={address}[,)]", shown)) for end in ("src", "dst")
    ]
    return found[0], found[1]


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


def test_ports_in_the_filters_of_others_make_few(site: Site) -> None:
    alone = megaflows(site, FILTERED, anywhere())
    chance = random.Random(3)

    def port() -> str:
        return f"permit out udp from any {chance.randrange(1, 65536)} to assigned"

    put(site, *(resource(3 + number, *(port() for _ in range(5))) for number in range(OTHERS)))
    beside = megaflows(site, FILTERED, anywhere())
    assert all(few <= 1.15 * own for few, own in zip(beside, alone, strict=True)), (alone, beside)
    assert megaflows(site, PLAIN, anywhere())[1] == 1
