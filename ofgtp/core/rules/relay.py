"""Tables relay_form and relay: T-PDUs that may go from tunnel to tunnel as they came."""

from __future__ import annotations

from collections.abc import Iterator

from ofgtp.core.flows.flow import CheckBigger, Flow, Output, Port
from ofgtp.core.flows.pipeline import (
    NORMALISE,
    REFUSAL,
    RELAY,
    RELAY_FIT,
    RELAY_FORM,
    TOO_BIG_RELAYED_METER,
    DropReason,
)
from ofgtp.core.rules.normalise import any_type
from ofgtp.core.rules.terms import (
    ASKED,
    GTP,
    LATER_VERSIONS,
    LONGER_THAN_ACCESS,
    NO_RELAY,
    PN,
    RELAY_TABLES,
    T_PDU,
    TUNNEL_HEADERS,
    E,
    Links,
    S,
    each_type,
)


def relay_form() -> Iterator[Flow]:
    """By the flags, of which only can be asked whether they are set: those of the more bits first.

    Packets with S are never relayed as they are: the switch has taken their number off, and sends
    the flag all the same.
    """
    for bits in (*LATER_VERSIONS, S):
        for asked in any_type(bits):
            yield RELAY_FORM.flow(100, asked, goto=NORMALISE)
    for priority, flags in ((90, E | PN), (80, E), (70, PN), (60, 0)):
        for asked in any_type(GTP | flags, tun_gtpu_msgtype=T_PDU):
            yield RELAY_FORM.flow(priority, asked, goto=RELAY)
    for asked in each_type():
        yield RELAY_FORM.flow(0, asked, goto=NORMALISE)


def relay(links: Links) -> Iterator[Flow]:
    """What is no relay's, and how that of relays leaves.

    An interface takes frames that are some octets longer than its MTU, for VLAN tags, and sends
    none. What is left of a T-PDU here is all that stood behind the first 8 octets of its header.
    """
    for typed in each_type(**NO_RELAY):
        yield RELAY.flow(0, typed, goto=NORMALISE)
    for table in RELAY_TABLES.values():
        asked = ASKED[table.number]
        for typed in each_type(reg5=0, **asked):
            fits = CheckBigger(links.access_mtu - TUNNEL_HEADERS, "reg2", LONGER_THAN_ACCESS)
            yield table.flow(100, typed, fits, goto=RELAY_FIT)
        for typed in each_type(**asked):
            yield table.flow(50, typed, goto=REFUSAL)
    bit = 1 << LONGER_THAN_ACCESS
    for typed in each_type(reg2=(bit, bit)):
        yield RELAY_FIT.drop(100, typed, DropReason.TOO_BIG, meter=TOO_BIG_RELAYED_METER)
    for typed in each_type(reg2=(0, bit)):
        yield RELAY_FIT.flow(100, typed, Output(Port.IN_PORT))
