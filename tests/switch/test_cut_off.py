"""T-PDUs that end where nobody ends one, behind whole ones that the switch's buffers still hold.

With the S flag the switch takes 12 octets of GTP-U off, whether they are there or not: then it has
fewer octets than none left, and takes what its buffer held before for the packet. What is put in
front of one must not be taken off again, or it aborts.
"""

from __future__ import annotations

from itertools import product

import pytest

from tests.support import gtpu
from tests.support.site import PDN_IP, Site

pytestmark = pytest.mark.switch

UE, UP = "10.45.0.2", 0x1001
E, S, PN = gtpu.E, gtpu.S, gtpu.PN
FLAGS = [0, S, PN, S | PN, E, E | S]
TTLS = (64, 100, 128)
"""Typed IPv4, IPv6 and Ethernet."""


@pytest.mark.parametrize(("flags", "ttl"), [*product(FLAGS, TTLS)])
def test_nothing_of_it_leaves_and_the_switch_lives(site: Site, flags: int, ttl: int) -> None:
    site.session(UE, teid=UP, downlink=0x2001)
    packet = gtpu.ipv4(UE, PDN_IP, size=300, ttl=ttl)
    body = bytes.fromhex("01100900") + packet if flags & E else packet
    whole = gtpu.message(
        gtpu.T_PDU,
        UP,
        body,
        flags=gtpu.PLAIN | flags,
        sequence=7 if flags & S else 0,
        extension=0x85 if flags & E else 0,
    )
    before = site.from_enb(whole)
    for size in [*range(2, 70), 200]:
        cut = site.from_enb(whole[:size])
        got = site.uplink(*[before] * 4, *[cut] * 4, *[before] * 4)
        assert [each[14:] for each in got] == [packet] * 8, size
    assert site.lab.switch_alive()
