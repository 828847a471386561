"""Open vSwitch's own tools: a look at a switch from outside, with the controller or without."""

from __future__ import annotations

import os
from pathlib import Path

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.flow import COOKIE_OWNER, COOKIE_OWNER_MASK, CookieKind, make_cookie
from ofgtp.core.model import Gateway
from ofgtp.core.pipeline import LEASE, UPLINK
from ofgtp.southbound.command import attempt, run

KIND_MASK = 0xFF << 40
OURS = f"cookie={COOKIE_OWNER:#x}/{COOKIE_OWNER_MASK:#x}"
"""Matches our flows and no others."""
SESSIONS = f"cookie={make_cookie(CookieKind.SESSION):#x}/{COOKIE_OWNER_MASK | KIND_MASK:#x}"

DIFFERENT = 2
"""Exit code of `ovs-ofctl diff-flows` when there is a difference."""


class Tools:
    """The tools for the switch whose database is at `ovsdb`, a `unix:` remote.

    Raises:
        GatewayNotReady: from every call, when it failed; with the tool's own message.
    """

    def __init__(self, ovsdb: str) -> None:
        self.ovsdb = ovsdb
        self.socket = Path(ovsdb.removeprefix("unix:"))

    @property
    def rundir(self) -> Path:
        """Where ovs-vswitchd keeps its sockets: beside the database's, as a rule."""
        places = [self.socket.parent]
        if os.environ.get("OVS_RUNDIR"):
            places.append(Path(os.environ["OVS_RUNDIR"]))
        places.append(Path("/var/run/openvswitch"))
        return next((at for at in places if any(at.glob("ovs-vswitchd*.ctl"))), places[0])

    def vsctl(self, *words: str) -> str:
        """`ovs-vsctl`, for reading."""
        return run(["ovs-vsctl", f"--db={self.ovsdb}", "--timeout=5", "--no-wait", *words]).strip()

    def appctl(self, *words: str) -> str:
        """`ovs-appctl` to ovs-vswitchd."""
        return run(["ovs-appctl", "--timeout=5", "-t", str(self._control()), *words])

    def ofctl(self, command: str, bridge: str, *words: str, stdin: str | None = None) -> str:
        """`ovs-ofctl` to a bridge."""
        return run(self._ofctl(command, bridge, *words), stdin)

    def diff_flows(self, bridge: str, file: str) -> str:
        """`ovs-ofctl diff-flows` of a bridge and a file: `-` is only there, `+` only here."""
        argv = self._ofctl("diff-flows", bridge, file)
        code, out, error = attempt(argv)
        if code not in (0, DIFFERENT):
            raise GatewayNotReady(f"`{' '.join(argv)}`: {' '.join(error.split())}")
        return out

    def forwards(self, gateway: Gateway) -> int | None:
        """How many sessions' flows the switch forwards by; None if it lets nothing pass."""
        lease = self.ofctl("dump-flows", gateway.bridge, f"{OURS},table={LEASE.number}")
        if sum("priority=100," in line for line in lease.splitlines()) < 2:
            return None
        uplink = f"{SESSIONS},table={UPLINK.number}"
        aggregate = self.ofctl("dump-aggregate", gateway.bridge, uplink)
        _, _, count = aggregate.rpartition("flow_count=")
        return int(count.split()[0])

    def _ofctl(self, command: str, bridge: str, *words: str) -> list[str]:
        target = f"unix:{self.rundir / bridge}.mgmt"
        return ["ovs-ofctl", "-O", "OpenFlow14", "--timeout=30", command, target, *words]

    def _control(self) -> Path:
        """ovs-vswitchd's control socket; its name has the daemon's process id in it."""
        rundir = self.rundir
        try:
            pid = (rundir / "ovs-vswitchd.pid").read_text().strip()
        except OSError:
            pid = ""
        usual = rundir / f"ovs-vswitchd.{pid}.ctl"
        if usual.exists():
            return usual
        found = sorted(rundir.glob("ovs-vswitchd*.ctl"))
        if not found:
            raise GatewayNotReady(f"ovs-vswitchd has no control socket in {rundir}")
        return found[-1]
