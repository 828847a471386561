"""The switch's cache of packet classes ("megaflows"), where the switch does not keep it right.

Open vSwitch before 3.2 cannot change a cached class of packets that came in by a gtpu port: the
packets lack the mark that they have a key, the cache's own notation adds it wherever the key is not
0, and so the class is not found again (`failed to put[modify]` in the switch's log). While packets
of the class keep coming, at least one in 10 s, they are treated as before: those of a deleted
session are forwarded, those of a new one, which were a miss before, are dropped.
"""

from __future__ import annotations

from pathlib import Path

from ofgtp.core.errors import GatewayNotReady
from ofgtp.southbound.command import run

FIXED = (3, 2)
"""The first Open vSwitch that changes them."""


def purge(ovsdb: str) -> None:
    """Empty the cache of the ovs-vswitchd that works on this database. No packet is lost by it.

    Raises:
        GatewayNotReady: ovs-vswitchd does not answer.
    """
    run(["ovs-appctl", "--timeout=5", "-t", str(_control(ovsdb)), "revalidator/purge"])


def _control(ovsdb: str) -> Path:
    """The control socket of the ovs-vswitchd that runs beside the database's socket."""
    rundir = Path(ovsdb.removeprefix("unix:")).parent
    try:
        pid = (rundir / "ovs-vswitchd.pid").read_text().strip()
    except OSError as error:
        raise GatewayNotReady(f"{rundir}/ovs-vswitchd.pid: {error.strerror}") from error
    own = rundir / f"ovs-vswitchd.{pid}.ctl"
    return own if own.exists() else rundir / "ovs-vswitchd.ctl"
