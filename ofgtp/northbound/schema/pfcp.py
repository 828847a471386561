"""Gateways as PFCP's user plane nodes, and their control planes."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from ofgtp.core.pfcp.node.associations import PeerState
from ofgtp.northbound.service import PfcpView
from ofgtp.northbound.shapes import Ipv4


class AnswersOutput(BaseModel):
    """How many requests were answered with a cause."""

    message: str = Field(description="As TS 29.244 calls the request")
    cause: int = Field(description="1: accepted; the others are in docs/pfcp.md")
    count: int


class RefusedOutput(BaseModel):
    """A request that was refused."""

    at: datetime
    reason: str


class AssociationOutput(BaseModel):
    """A control plane that is associated."""

    node_id: str
    ip: str = Field(description="Where it has set up its association from")
    state: PeerState = Field(description="Whether it answers heartbeats")
    recovery_time: datetime = Field(description="When it began")
    sessions: int
    heard_at: datetime | None = Field(description="The last heartbeat; null: none yet")
    answers: list[AnswersOutput] = Field(description="To its requests, since ofgtp has started")
    errors: list[RefusedOutput] = Field(description="The last requests that were refused")


class RefusedByOutput(RefusedOutput):
    """A request that was refused, and who sent it."""

    ip: str


class StrangerOutput(BaseModel):
    """An address outside `peers` that sends PFCP, and is not answered."""

    ip: str
    messages: int
    heard_at: datetime


class InstanceOutput(BaseModel):
    """A network instance that control planes have named since ofgtp has started."""

    name: str
    known: bool = Field(description="false: it is none of `network_instances`, and was refused")
    requests: int


class DroppedOutput(BaseModel):
    """How many messages were not answered for a reason."""

    reason: str = Field(description="As in docs/metrics.md")
    count: int


class ReceivedOutput(BaseModel):
    """How many messages of a type came from `peers`."""

    message: str
    count: int


class PfcpNodeOutput(BaseModel):
    """A gateway as a user plane node."""

    gateway: str
    node_id: str
    listen: Ipv4
    recovery_time: datetime = Field(description="Its sessions may be as old as that")
    problem: str | None = Field(description="What keeps it from being asked; null: nothing")
    associations: list[AssociationOutput]
    received: list[ReceivedOutput] = Field(description="Since ofgtp has started")
    dropped: list[DroppedOutput] = Field(description="Not answered, since ofgtp has started")
    refused: list[RefusedByOutput] = Field(
        description="The last requests that were refused, whoever asked; the last behind"
    )
    strangers: list[StrangerOutput] = Field(description="The one heard last is the first")
    network_instances: list[InstanceOutput]

    @classmethod
    def of(cls, view: PfcpView) -> PfcpNodeOutput:
        """The answer that shows it."""
        return cls.model_construct(
            gateway=view.gateway,
            node_id=view.node_id,
            listen=view.listen,
            recovery_time=view.recovery_time,
            problem=view.problem,
            associations=[
                AssociationOutput(
                    node_id=each.node_id,
                    ip=each.ip,
                    state=each.state,
                    recovery_time=each.recovery_time,
                    sessions=each.sessions,
                    heard_at=each.heard_at,
                    answers=[
                        AnswersOutput(message=message, cause=cause, count=count)
                        for (message, cause), count in sorted(each.answers.items())
                    ],
                    errors=[RefusedOutput(at=at, reason=reason) for at, reason in each.errors],
                )
                for each in view.associations
            ],
            received=[
                ReceivedOutput(message=message, count=count)
                for message, count in sorted(view.received.items())
            ],
            dropped=[
                DroppedOutput(reason=reason, count=count)
                for reason, count in sorted(view.dropped.items())
            ],
            refused=[
                RefusedByOutput(at=each.at, ip=each.ip, reason=each.text) for each in view.refused
            ],
            strangers=[
                StrangerOutput(ip=each.ip, messages=each.messages, heard_at=each.heard_at)
                for each in view.strangers
            ],
            network_instances=[
                InstanceOutput(name=each.name, known=each.known, requests=each.requests)
                for each in view.network_instances
            ],
        )


class PfcpList(BaseModel):
    """The gateways that speak PFCP."""

    items: list[PfcpNodeOutput]
    next: None = None
