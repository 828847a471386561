"""What was taken of a changed ofgtp.toml."""

from __future__ import annotations

from pydantic import BaseModel, Field

from ofgtp.northbound.service import Reloaded


class TakenOutput(BaseModel):
    """A setting that was taken."""

    gateway: str | None = Field(description="null: of the controller or the API")
    key: str = Field(description="As in ofgtp.toml")
    text: str = Field(description="What it is now")


class PendingOutput(BaseModel):
    """A gateway that is not as it should be yet."""

    gateway: str
    reason: str


class ReloadOutput(BaseModel):
    """What was taken of ofgtp.toml."""

    file: str
    taken: list[TakenOutput] = Field(description="Empty: nothing has changed")
    pending: list[PendingOutput] = Field(
        description="Gateways whose switch or host is away: it is done as soon as they are back"
    )

    @classmethod
    def of(cls, made: Reloaded) -> ReloadOutput:
        """The answer that shows it."""
        return cls(
            file=made.file,
            taken=[TakenOutput(gateway=t.gateway, key=t.key, text=t.text) for t in made.taken],
            pending=[PendingOutput(gateway=name, reason=r) for name, r in made.pending.items()],
        )
