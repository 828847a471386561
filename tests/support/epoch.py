"""The epoch in the switch's flows: bits drawn at random, all as good as others."""

from __future__ import annotations

import re

_ASKED = re.compile(r"pkt_mark=0(?:x0)?/0x[0-9a-f]+|ct_label=0(?:x0)?/0x[0-9a-f]{1,8}0{24}\b")


def hidden(flows: str) -> str:
    """The same flows in ovs-ofctl's words, whichever epoch they are of."""
    return _ASKED.sub("EPOCH", flows)


def asks(flow: str) -> bool:
    """Whether a flow asks for the epoch."""
    return _ASKED.search(flow) is not None
