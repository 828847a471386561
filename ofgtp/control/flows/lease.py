"""The lease on which the switch forwards, where the controller owns the tunnels."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import eventlet

from ofgtp.core.rules.lease import lease_flows, lease_timeout
from ofgtp.core.rules.terms import Links
from ofgtp.northbound import service
from ofgtp.southbound.channel import Channel

log = logging.getLogger(__name__)

RENEWALS = 4
"""Renewals of the lease within its hard timeout: so many less one may be late or lost."""
SOON_S = 0.5
"""Seconds after which it looks again, while there is nothing to lease, or it could not."""


class Lease:
    """How long the tunnels outlive the controller: `seconds`."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.renewals = self.expiries = 0
        self.renewed_at: float | None = None
        """Seconds since the epoch."""

    def keep(
        self,
        channel: Channel,
        holds: Callable[[], bool],
        links: Callable[[], Links | None],
        ports: Callable[[float], None],
    ) -> None:
        """Renew it as long as this process lives and `holds`; to be spawned.

        `links` are what the lease's flows are made for; None while there is nothing to lease.
        `ports` has packets reach the switch at all for so many seconds, where it is the host that
        lets them.
        """
        timeout = lease_timeout(self.seconds)
        between = timeout / RENEWALS
        while holds():
            now, pause = links(), min(between, SOON_S)
            if now is not None:
                try:
                    channel.renew(lease_flows(now, self.seconds))
                    ports(timeout)
                except Exception:
                    # Who stopped here would end all tunnels, and nothing else would show it.
                    log.exception("the lease was not renewed")
                else:
                    pause = between
                    self.renewals += 1
                    self.renewed_at = time.time()
            eventlet.sleep(pause)

    def seconds_left(self) -> float | None:
        """Until the tunnels end if nothing more is heard; None if it was never renewed."""
        if self.renewed_at is None:
            return None
        return max(self.seconds - (time.time() - self.renewed_at), 0.0)

    def metrics(self) -> service.Lease:
        """It in numbers."""
        return service.Lease(self.seconds, self.renewed_at, self.renewals, self.expiries)
