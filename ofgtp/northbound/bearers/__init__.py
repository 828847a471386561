"""What a session has beyond a tunnel pair, in JSON: bearers, rates, relays, prefixes."""

from ofgtp.northbound.bearers.filters import read_filter, show_filter
from ofgtp.northbound.bearers.inputs import BearerInput, MoreInput
from ofgtp.northbound.bearers.outputs import (
    BearerList,
    BearerOutput,
    CoreOutput,
    OwnerOutput,
    RatesOutput,
    UsageLimitsOutput,
    bearer_output,
    more,
)
from ofgtp.northbound.bearers.prefixes import AnyPrefix, Prefix, Prefix6
from ofgtp.northbound.bearers.resources import resource

__all__ = [
    "AnyPrefix",
    "BearerInput",
    "BearerList",
    "BearerOutput",
    "CoreOutput",
    "MoreInput",
    "OwnerOutput",
    "Prefix",
    "Prefix6",
    "RatesOutput",
    "UsageLimitsOutput",
    "bearer_output",
    "more",
    "read_filter",
    "resource",
    "show_filter",
]
