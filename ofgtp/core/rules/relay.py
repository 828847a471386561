"""Tables relay_form and relay: T-PDUs that may go from tunnel to tunnel as they came."""

from __future__ import annotations

from collections.abc import Iterator

from ofgtp.core.flows.flow import Flow, Output, Port
from ofgtp.core.flows.pipeline import NORMALISE, REFUSAL, RELAY, RELAY_FORM
from ofgtp.core.rules.normalise import any_type
from ofgtp.core.rules.terms import (
    ASKED,
    GTP,
    LATER_VERSIONS,
    NO_RELAY,
    PN,
    RELAY_TABLES,
    T_PDU,
    E,
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


def relay() -> Iterator[Flow]:
    """What is no relay's, and how that of relays leaves."""
    for typed in each_type(**NO_RELAY):
        yield RELAY.flow(0, typed, goto=NORMALISE)
    for table in RELAY_TABLES.values():
        asked = ASKED[table.number]
        for typed in each_type(reg5=0, **asked):
            yield table.flow(100, typed, Output(Port.IN_PORT))
        for typed in each_type(**asked):
            yield table.flow(50, typed, goto=REFUSAL)
