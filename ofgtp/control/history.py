"""Samples for the history of each gateway, every five seconds.

No switch is asked: frames and octets are what the kernel counts of the ports, sessions what the
store knows, drops what was last read for somebody else: the page, Prometheus, `ofgtp status`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

import eventlet

from ofgtp.control.gateway import GatewayAgent
from ofgtp.core.errors import OfgtpError
from ofgtp.core.history import INTERVAL_S, Sample
from ofgtp.core.model import SessionState
from ofgtp.southbound import portcounts

log = logging.getLogger(__name__)


class Sampler:
    """Fills the agents' histories."""

    def __init__(self, agents: Sequence[GatewayAgent]) -> None:
        self._agents = agents

    def run(self) -> None:
        """Take samples until the process ends; to be spawned."""
        while True:
            began = time.monotonic()
            for agent in self._agents:
                try:
                    agent.history.add(sample(agent, agent.store.count(agent.gateway.name)))
                except OfgtpError as error:
                    log.debug("gateway=%s: no sample: %s", agent.gateway.name, error)
                except Exception:
                    log.exception("gateway=%s: unexpected", agent.gateway.name)
            eventlet.sleep(max(INTERVAL_S - (time.monotonic() - began), 1.0))


def sample(agent: GatewayAgent, sessions: Mapping[SessionState, int]) -> Sample:
    """What is known of a gateway now."""
    unreadable = agent.signalling.unreadable()
    return Sample(
        steady=time.monotonic(),
        at=time.time(),
        ports=portcounts.traffic(agent.gateway),
        drops=agent.totals.drops.total() + sum(unreadable.values()),
        drops_read=agent.totals.read_at,
        sessions=sum(sessions.values()),
    )
