"""OpenFlow rules as values: fields, actions, flows. `str()` of each is ovs-ofctl's syntax.

Fields carry ovs-ofctl's names, so that what the code says, what the documentation shows and what
`ovs-ofctl dump-flows` prints is one vocabulary.
"""

from ofgtp.core.flows.flow.actions import (
    Action,
    Bits,
    CheckBigger,
    Decap,
    DecTtl,
    Encap,
    Header,
    Move,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Resubmit,
    SetField,
    SetInPort,
    Show,
    move,
    set_field,
)
from ofgtp.core.flows.flow.conditions import Condition, Match, RuleError, Value, condition, match
from ofgtp.core.flows.flow.cookies import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
    SESSION_NUMBER_MAX,
    CookieKind,
    cookie_kind,
    cookie_number,
    make_cookie,
)
from ofgtp.core.flows.flow.entries import OCTETS_A_KBIT, Flow, FlowKey, Meter, Unit
from ofgtp.core.flows.flow.fields import FIELDS, VALUE_IS_MASK, Port, mac_text, mac_to_int

__all__ = [
    "COOKIE_OWNER",
    "COOKIE_OWNER_MASK",
    "FIELDS",
    "OCTETS_A_KBIT",
    "SESSION_NUMBER_MAX",
    "VALUE_IS_MASK",
    "Action",
    "Bits",
    "CheckBigger",
    "Condition",
    "CookieKind",
    "DecTtl",
    "Decap",
    "Encap",
    "Flow",
    "FlowKey",
    "Header",
    "Match",
    "Meter",
    "Move",
    "Output",
    "PopMpls",
    "PopVlan",
    "Port",
    "PushMpls",
    "PushVlan",
    "Resubmit",
    "RuleError",
    "SetField",
    "SetInPort",
    "Show",
    "Unit",
    "Value",
    "condition",
    "cookie_kind",
    "cookie_number",
    "mac_text",
    "mac_to_int",
    "make_cookie",
    "match",
    "move",
    "set_field",
]
