"""What was lately seen to go wrong with a session's packets."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from ofgtp.core.observations import Seen
from ofgtp.northbound.service import SeenView
from ofgtp.northbound.shapes import Ip


class IcmpOutput(BaseModel):
    """What an ICMP error says."""

    type: int
    code: int


class SeenOutput(BaseModel):
    """Something that went wrong lately, as samples of what the switch drops show it."""

    what: Seen = Field(
        description="Why packets of the UE were dropped, by the names of `ofgtp_drops`; or"
        " `icmp_error`: what somebody said of packets to the peer"
    )
    peer: Ip = Field(description="Who sent the T-PDU; of `icmp_error`: to whom ours went")
    teid: int | None = Field(description="Of the T-PDU; of `icmp_error`: the one quoted, if any")
    source: Ip | None = Field(
        description="The T-PDU's inner source, if it was seen; of `icmp_error`: who says so"
    )
    qfi: int | None = Field(description="Of `wrong_qfi`: the one that came")
    icmp: IcmpOutput | None = Field(description="Of `icmp_error`: its type and code (RFC 792)")
    count: int = Field(description="Samples since `first_at`: what was dropped may be far more")
    first_at: datetime
    last_at: datetime

    @classmethod
    def of(cls, view: SeenView) -> SeenOutput:
        """The answer that shows `view`."""
        seen, detail = view.seen, view.seen.detail or 0
        is_icmp = seen.what is Seen.ICMP_ERROR
        icmp = IcmpOutput.model_construct(type=detail >> 8, code=detail & 0xFF)
        return cls.model_construct(
            what=seen.what,
            peer=seen.peer,
            teid=seen.teid,
            source=seen.source,
            qfi=None if is_icmp else seen.detail,
            icmp=icmp if is_icmp else None,
            count=view.count,
            first_at=view.first_at,
            last_at=view.last_at,
        )


class SeenList(BaseModel):
    """What was lately seen of a session, the latest first."""

    items: list[SeenOutput]
