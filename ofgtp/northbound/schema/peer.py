"""GTP-U peers, and the paths to them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from ofgtp.core.peers.paths import PathState
from ofgtp.northbound.service import PeerView
from ofgtp.northbound.shapes import Ip


class NextHopOutput(BaseModel):
    """Where packets to a peer are sent on the access side: the peer itself, or a router."""

    ip: Ip
    mac: str | None = Field(
        description="null: it has not answered ARP, of IPv6 neighbour discovery"
    )


class PeerOutput(BaseModel):
    """A GTP-U peer that sessions name, and the path to it."""

    gateway: str
    ip: Ip
    state: PathState = Field(
        description="unknown: it has never answered an Echo Request, as some peers never do;"
        " down: it has stopped to answer"
    )
    sessions: int = Field(description="How many name it, as uplink.remote_ip or downlink.remote_ip")
    next_hop: NextHopOutput | None = Field(description="null: no route leads there")
    echo_sent_at: datetime | None = Field(description="Our last Echo Request")
    echo_answered_at: datetime | None = Field(description="Its last Echo Response")
    echo_heard_at: datetime | None = Field(description="Its last Echo Request to us")

    @classmethod
    def of(cls, view: PeerView) -> PeerOutput:
        """The answer that shows `view`."""
        hop = view.next_hop
        return cls.model_construct(
            gateway=view.gateway,
            ip=view.ip,
            state=view.state,
            sessions=view.sessions,
            next_hop=hop and NextHopOutput.model_construct(ip=hop, mac=view.mac),
            echo_sent_at=view.echo_sent_at,
            echo_answered_at=view.echo_answered_at,
            echo_heard_at=view.echo_heard_at,
        )


class PeerList(BaseModel):
    """Peers that match."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "gateway": "gw1",
                            "ip": "10.1.0.2",
                            "state": "up",
                            "sessions": 3,
                            "next_hop": {"ip": "10.1.0.2", "mac": "52:54:00:00:00:03"},
                            "echo_sent_at": "2026-01-02T03:04:05.678901Z",
                            "echo_answered_at": "2026-01-02T03:04:05.680112Z",
                            "echo_heard_at": None,
                        }
                    ],
                    "next": None,
                    "total": 1,
                }
            ]
        }
    )

    items: list[PeerOutput]
    next: None = Field(description="Always null: go on by offset")
    total: int = Field(description="How many match, with limit and offset or without")
