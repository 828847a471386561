"""What may become of a request to the switch but an answer."""

from __future__ import annotations

from ofgtp.core.errors import GatewayNotReady, SwitchRefused
from ofgtp.core.flows.flow import Flow


class NotConfirmed(GatewayNotReady):
    """The switch did not answer in time: what it has is not known until flows are read again."""


class Disconnected(GatewayNotReady):
    """The connection ended before the answer came."""


class FlowsRefused(SwitchRefused):
    """The switch refused flows of a plan; nothing of the plan was installed."""

    def __init__(self, refused: list[tuple[Flow | None, str]]) -> None:
        self.refused = refused
        super().__init__(refused[0][1])
