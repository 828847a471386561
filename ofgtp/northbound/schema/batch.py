"""The lines of a batch, and what it did."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from ofgtp.northbound.schema.session import SessionInput
from ofgtp.northbound.shapes import SessionId, Strict


class PutLine(Strict):
    """A line of a batch that creates or replaces a session."""

    op: Literal["put"]
    session: SessionInput


class DeleteLine(Strict):
    """A line of a batch that deletes a session."""

    op: Literal["delete"]
    id: SessionId


BATCH_LINE: TypeAdapter[PutLine | DeleteLine] = TypeAdapter(
    Annotated[PutLine | DeleteLine, Field(discriminator="op")]
)


class BatchOutput(BaseModel):
    """What a batch did."""

    created: int
    replaced: int
    deleted: int
