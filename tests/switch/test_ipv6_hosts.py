"""IPv6 between Linux hosts, a phone and one on the core side, through a real switch: each does what
its own stack does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network

import pytest

from tests.support import phone
from tests.support.phone import CORE, PDN, PREFIX, ROUTER, Phone
from tests.support.site import until

pytestmark = pytest.mark.switch

OCTETS = 4 << 20
PORT = 5001
WAYS = (("ue", "pdn"), ("pdn", "ue"))


@pytest.fixture(scope="module", params=(None, 9), ids=("4G", "5G"))
def host(request: pytest.FixtureRequest) -> Iterator[Phone]:
    members = {} if request.param is None else {"qfi": request.param}
    with phone.phone(**members) as made:
        yield made
        assert made.lab.switch_alive()
        assert not [name for name in made.stats() if name.startswith("drop")]


@pytest.fixture
def address(host: Phone) -> str:
    return host.switch_on(accept_ra_mtu=1)


def at(host: Phone, name: str) -> str:
    """The address of the phone or of the core host."""
    there = host.address() if name == "ue" else PDN
    assert there is not None
    return there


def fits(host: Phone) -> int:
    """What the phone's tunnel takes."""
    return 1464 if host.stats().get("downlink_qfi_9") is None else 1456


def test_its_kernel_forms_its_address(host: Phone, address: str) -> None:
    """From the gateway's Router Advertisement (RFC 4862, 5.5.3), for which it has asked."""
    assert IPv6Address(address) in IPv6Network(f"{PREFIX}/64")
    shown = host.lab.exec("ue", ["ip", "-json", "-6", "route", "show", "default"]).stdout
    [route] = json.loads(shown)
    assert (route["gateway"], route["protocol"]) == (ROUTER, "ra")
    assert [each["mtu"] for each in route["metrics"]] == [fits(host)]
    on_link = host.lab.exec("ue", ["ip", "-6", "route", "show", PREFIX + "/64"]).stdout
    assert on_link == "", "others of the prefix are reached by the router"


@pytest.mark.parametrize(("here", "there"), WAYS)
def test_ping(host: Phone, address: str, here: str, there: str) -> None:
    for size in (8, 1400):
        words = ["ping", "-6", "-n", "-c", "3", "-i", "0.1", "-w", "10", "-s", str(size)]
        said = host.lab.exec(here, [*words, at(host, there)]).stdout
        assert ", 0% packet loss" in said


@pytest.mark.parametrize(("here", "there"), WAYS)
def test_traceroute(host: Phone, address: str, here: str, there: str) -> None:
    """The gateway is the only hop between."""
    to = at(host, there)
    said = host.lab.exec(here, ["traceroute", "-6", "-n", "-q", "1", "-w", "5", to]).stdout
    assert [line.split()[:2] for line in said.splitlines()[1:]] == [["1", CORE], ["2", to]]


@pytest.mark.parametrize(("here", "there"), WAYS)
def test_tcp(host: Phone, address: str, here: str, there: str) -> None:
    assert transferred(host, here, there)


def test_too_big_for_the_tunnel(host: Phone) -> None:
    """A phone that takes more than a tunnel does: the core host learns by Packet Too Big."""
    to = host.switch_on(accept_ra_mtu=0)
    before = drops(host, "too_big")
    assert transferred(host, "pdn", "ue")
    assert cached(host, "pdn", to) == fits(host)
    assert drops(host, "too_big") > before


def test_too_big_for_the_core_link(host: Phone, address: str) -> None:
    """The phone learns by Packet Too Big in its tunnel."""
    narrow(host, 1400)
    try:
        assert transferred(host, "ue", "pdn")
        assert cached(host, "ue", PDN) == 1400
        assert drops(host, "too_big_uplink") > 0
    finally:
        narrow(host, 1500)


def narrow(host: Phone, mtu: int) -> None:
    """Give the gateway's core link an MTU, and wait until the gateway knows."""
    host.lab.exec("gw", ["ip", "link", "set", "eth2", "mtu", str(mtu)])

    def known() -> bool:
        gateway = host.lab.http("GET", "/v1/gateways").json()["items"][0]
        return bool(gateway["core"]["mtu"] == mtu and gateway["in_sync"])

    until(known, "the gateway knows the MTU")


def cached(host: Phone, name: str, to: str) -> int:
    """The path MTU that a host knows."""
    shown = host.lab.exec(name, ["ip", "-json", "-6", "route", "get", to]).stdout
    return int(json.loads(shown)[0]["metrics"][0]["mtu"])


def drops(host: Phone, reason: str) -> int:
    return int(host.lab.http("GET", "/v1/gateways").json()["items"][0]["drops"][reason])


def transferred(host: Phone, here: str, there: str) -> bool:
    """Whether all octets of a TCP connection arrive as they were sent."""
    to = at(host, there)
    with host.lab.inside(there):
        listener = socket.create_server((to, PORT), family=socket.AF_INET6)
    with host.lab.inside(here):
        sender = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sent = bytes(index * index >> 3 & 0xFF for index in range(4096)) * (OCTETS // 4096)
    got = bytearray()

    def receive() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(30)
            while part := connection.recv(1 << 16):
                got.extend(part)

    listener.settimeout(30)
    receiver = threading.Thread(target=receive)
    with listener, sender:
        receiver.start()
        sender.settimeout(30)
        sender.connect((to, PORT))
        sender.sendall(sent)
        sender.shutdown(socket.SHUT_WR)
        receiver.join(60)
    return bytes(got) == sent
