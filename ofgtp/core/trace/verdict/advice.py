"""What is advised in several verdicts."""

from __future__ import annotations

from ofgtp.core.doctor.finding import ENDS
from ofgtp.core.model import Gateway

LOOK = "systemctl status ofgtp; journalctl -eu ofgtp"
OTHER_FILE = (
    "its flows may be of another ofgtp.toml than this one: ofgtp reload takes this one, or says"
    " what needs a restart"
)


def ends(gateway: Gateway) -> str:
    """What a restart does to the tunnels, to be said where one is advised."""
    return f"; {ENDS}" if gateway.leased else ""
