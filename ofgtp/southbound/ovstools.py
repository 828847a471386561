"""Open vSwitch's own tools: a look at a switch from outside, with the controller or without.

ovs-vswitchd is found without OVSDB or the controller, which may both be what is broken: by the run
directory, in which its sockets stand beside OVSDB's.
"""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.flows.flow import COOKIE_OWNER, COOKIE_OWNER_MASK, CookieKind, make_cookie
from ofgtp.core.flows.pipeline import LEASE, UPLINK
from ofgtp.core.model import Gateway
from ofgtp.southbound.command import attempt, run

KIND_MASK = 0xFF << 40
OURS = f"cookie={COOKIE_OWNER:#x}/{COOKIE_OWNER_MASK:#x}"
"""Matches our flows and no others."""
SESSIONS = f"cookie={make_cookie(CookieKind.SESSION):#x}/{COOKIE_OWNER_MASK | KIND_MASK:#x}"

DIFFERENT = 2
"""Exit code of `ovs-ofctl diff-flows` when there is a difference."""
REFUSED = 2
"""Exit code of `ovs-appctl` when the daemon answered with an error."""

CONTROL_S = 1.0
"""Longest silence of ovs-vswitchd's control socket, in seconds."""

_OURS = re.compile(rf"\bcookie={COOKIE_OWNER >> 48:#x}[0-9a-f]{{12}}\b")


class CommandRefused(GatewayNotReady):
    """ovs-vswitchd answered a command with an error, which is the text."""


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
        return next((at for at in places if _control_sockets(at)), places[0])

    @property
    def pid(self) -> int | None:
        """The process id of ovs-vswitchd; None if it is not known."""
        try:
            return int((self.rundir / "ovs-vswitchd.pid").read_text())
        except (OSError, ValueError):
            return None

    def vsctl(self, *words: str) -> str:
        """`ovs-vsctl`, for reading."""
        return run(["ovs-vsctl", f"--db={self.ovsdb}", "--timeout=5", "--no-wait", *words]).strip()

    def appctl(self, *words: str) -> str:
        """`ovs-appctl` to ovs-vswitchd.

        Raises:
            CommandRefused: the answer is an error.
        """
        code, out, error = attempt(self.appctl_command(*words))
        if code == 0:
            return out
        said = [line for line in error.splitlines() if not line.startswith("ovs-appctl:")]
        if code == REFUSED and any(said):
            raise CommandRefused("\n".join(said).strip())
        raise self._away()

    def appctl_command(self, *words: str) -> list[str]:
        """The command itself, as it can be typed."""
        return ["ovs-appctl", "-t", str(self._control()), *words]

    def coverage(self) -> str:
        """What `ovs-appctl coverage/show` prints, asked for without a process, and soon given up.

        Raises:
            GatewayNotReady: ovs-vswitchd does not answer.
        """
        asked = {"id": 0, "method": "coverage/show", "params": []}  # JSON-RPC 1.0
        said = b""
        try:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(CONTROL_S)
                control.connect(str(self._control()))
                control.sendall(json.dumps(asked).encode())
                while part := control.recv(1 << 16):
                    said += part
                    with suppress(ValueError):  # there is more to come
                        return str(json.loads(said)["result"])
        except OSError as error:
            raise self._away() from error
        raise self._away()

    def ofctl(self, command: str, bridge: str, *words: str, stdin: str | None = None) -> str:
        """`ovs-ofctl` to a bridge."""
        return run(_ofctl(command, self._management(bridge), *words), stdin)

    def flows(self, bridge: str, *which: str) -> list[str]:
        """The flows of a bridge that are within one of these matches, one a line, with counters
        and, since it is by OpenFlow 1.5, with the seconds since each was last hit (idle_age)."""
        have = self._management(bridge)
        found = [
            run(["ovs-ofctl", "-O", "OpenFlow15", "dump-flows", have, match]).splitlines()
            for match in which
        ]
        return [line.strip() for lines in found for line in lines if " actions=" in line]

    def difference(
        self, bridge: str, wanted: Iterable[str], installed: Iterable[str] | None = None
    ) -> tuple[list[str], list[str]]:
        """The wanted flows that the switch lacks, and those of ours that it has too many.

        Flows of others are not looked at. `installed` is for a session among many: what `flows`
        told of the switch, which is not asked again. ovs-ofctl does not read all base flows back
        (gtpu_flags), so not for those.
        """
        with tempfile.TemporaryDirectory(prefix="ofgtp-") as directory:
            have = self._management(bridge)
            if installed is not None:
                have = _written(Path(directory, "installed"), installed)
            argv = _ofctl("diff-flows", have, _written(Path(directory, "wanted"), wanted))
            code, out, error = attempt(argv)
        if code not in (0, DIFFERENT):
            raise GatewayNotReady(f"`{' '.join(argv)}`: {' '.join(error.split())}")
        return read_difference(out)

    def forwards(self, gateway: Gateway) -> int | None:
        """How many sessions' flows the switch forwards by; None if it lets nothing pass."""
        lease = self.flows(gateway.bridge, f"{OURS},table={LEASE.number}")
        if sum("priority=100," in line for line in lease) < 2:
            return None
        uplink = f"{SESSIONS},table={UPLINK.number}"
        aggregate = self.ofctl("dump-aggregate", gateway.bridge, uplink)
        _, _, count = aggregate.rpartition("flow_count=")
        return int(count.split()[0])

    def _management(self, bridge: str) -> str:
        return f"unix:{self.rundir / bridge}.mgmt"

    def _control(self) -> Path:
        """ovs-vswitchd's control socket; its name has the daemon's process id in it."""
        rundir = self.rundir
        usual = rundir / f"ovs-vswitchd.{self.pid}.ctl"
        if usual.exists():
            return usual
        found = _control_sockets(rundir)
        if not found:
            raise self._away()
        return found[-1]

    def _away(self) -> GatewayNotReady:
        return GatewayNotReady(
            f"ovs-vswitchd does not answer in {self.rundir}: is Open vSwitch running?"
            " (systemctl status openvswitch-switch)"
        )


def read_difference(shown: str) -> tuple[list[str], list[str]]:
    """What `ovs-ofctl diff-flows` shows of a switch and the wanted flows: missing, and surplus."""
    lines = [line for line in shown.splitlines() if _OURS.search(line)]
    # It names some matches of fragments on both sides although they are equal.
    surplus = [line[1:] for line in lines if line[0] == "-"]
    missing = [line[1:] for line in lines if line[0] == "+"]
    both = {*surplus} & {*missing}
    return [e for e in missing if e not in both], [e for e in surplus if e not in both]


def _control_sockets(rundir: Path) -> list[Path]:
    """None where the folder cannot be looked through."""
    try:
        return sorted(rundir.glob("ovs-vswitchd*.ctl"))
    except OSError:
        return []


def _ofctl(command: str, *words: str) -> list[str]:
    return ["ovs-ofctl", "-O", "OpenFlow14", command, *words]


def _written(path: Path, flows: Iterable[str]) -> str:
    path.write_text("".join(f"{flow}\n" for flow in flows))
    return str(path)
