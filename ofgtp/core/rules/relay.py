"""Tables relay_form and relay: T-PDUs that may go from tunnel to tunnel as they came."""

from __future__ import annotations

from collections.abc import Iterator

from ofgtp.core.flows.flow import CheckBigger, Flow, Output, Port, match
from ofgtp.core.flows.pipeline import (
    NORMALISE,
    REFUSAL,
    RELAY,
    RELAY_FIT,
    RELAY_FORM,
    TOO_BIG_RELAYED_METER,
    DropReason,
)
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
)


def relay_form() -> Iterator[Flow]:
    """By the flags, of which only can be asked whether they are set: those of the more bits first.

    Packets with S are never relayed as they are: the switch has taken their number off, and sends
    the flag all the same.
    """
    for bits in (*LATER_VERSIONS, S):
        yield RELAY_FORM.flow(100, match(tun_gtpu_flags=bits), goto=NORMALISE)
    for priority, flags in ((90, E | PN), (80, E), (70, PN), (60, 0)):
        t_pdu = match(tun_gtpu_flags=GTP | flags, tun_gtpu_msgtype=T_PDU)
        yield RELAY_FORM.flow(priority, t_pdu, goto=RELAY)
    yield RELAY_FORM.flow(0, (), goto=NORMALISE)


def relay(links: Links) -> Iterator[Flow]:
    """What is no relay's, and how that of relays leaves.

    An interface takes frames that are some octets longer than its MTU, for VLAN tags, and sends
    none. What is left of a T-PDU here is all that stood behind the first 8 octets of its header.
    """
    yield RELAY.flow(0, match(**NO_RELAY), goto=NORMALISE)
    fits = CheckBigger(links.access_mtu - TUNNEL_HEADERS, "reg2", LONGER_THAN_ACCESS)
    for table in RELAY_TABLES.values():
        asked = ASKED[table.number]
        yield table.flow(100, match(reg5=0, **asked), fits, goto=RELAY_FIT)
        yield table.flow(50, match(**asked), goto=REFUSAL)
    bit = 1 << LONGER_THAN_ACCESS
    longer = match(reg2=(bit, bit))
    yield RELAY_FIT.drop(100, longer, DropReason.TOO_BIG, meter=TOO_BIG_RELAYED_METER)
    yield RELAY_FIT.flow(100, match(reg2=(0, bit)), Output(Port.IN_PORT))
