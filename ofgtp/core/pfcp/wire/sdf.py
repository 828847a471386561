"""An SDF Filter as a filter of packets (TS 29.244, 8.2.5; 5.2.1A.2A)."""

from __future__ import annotations

from dataclasses import replace

from ofgtp.core.filters import FilterError, PacketFilter
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.values import SdfFilter

DSCP_MASK = 0xFC


def packet_filter(sdf: SdfFilter) -> PacketFilter | None:
    """What it matches; None if it describes nothing, but is empty or only an SDF Filter ID.

    The text is the same for both directions: `PacketFilter` knows the two ends as remote and local.

    Raises:
        Refusal: the text is none that can be matched exactly (73), or something else is asked for
            that cannot be matched (76).
    """
    if sdf.spi is not None or sdf.flow_label is not None:
        raise Refusal(
            Cause.NOT_SUPPORTED, "an SPI or a flow label cannot be matched", Ie.SDF_FILTER
        )
    try:
        found = PacketFilter.parse(sdf.description) if sdf.description is not None else None
    except FilterError as error:
        raise Refusal(Cause.RULE_FAILURE, str(error), Ie.SDF_FILTER) from None
    if sdf.traffic_class is None:
        return found
    octet, mask = sdf.traffic_class
    if mask != DSCP_MASK:
        reason = f"of a traffic class the DSCP can be matched (mask 0xfc), not the mask {mask:#04x}"
        raise Refusal(Cause.NOT_SUPPORTED, reason, Ie.SDF_FILTER)
    return replace(found or PacketFilter(local=None), dscp=octet >> 2)
