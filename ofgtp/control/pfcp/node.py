"""A gateway's endpoint of PFCP, as the sessions' service knows it."""

from __future__ import annotations

from typing import Protocol

from ofgtp.core.buffer.queue import Bounds
from ofgtp.core.model import Address, FTeid
from ofgtp.core.pfcp.session import PfcpSession
from ofgtp.core.sessions.rule import Rule
from ofgtp.northbound.service import PfcpView
from ofgtp.store.pfcp import Made


class PfcpNode(Protocol):
    """One gateway's."""

    def view(self) -> PfcpView:
        """What an operator should know of it."""

    def latest(self, made: Made) -> PfcpSession:
        """A session of the store with what was counted since."""

    def path_down(self, peer: Address) -> None:
        """A GTP-U peer does not answer any more."""

    def error_indicated(self, up_seid: int, tunnel: FTeid) -> bool:
        """A peer does not know a session's tunnel; whether that is news to the control plane."""

    def held_by(self, up_seid: int, rule: Rule) -> Bounds | None:
        """How many packets of a session's rule are held, and for how long; None: none."""

    def downlink_data(self, up_seid: int, rule: Rule) -> bool:
        """There is a packet that a session's rule holds; False if it cannot be told of yet."""

    def delivered(self, number: int) -> None:
        """Packets that were held for a session have gone on, and are counted by now."""
