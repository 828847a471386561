"""ovs-vswitchd asked by its own tools: where packets go, and what flows it has.

It is found without OVSDB or the controller, which may both be what is broken: by the run directory,
in which its sockets stand beside OVSDB's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from ofgtp.core.errors import GatewayNotReady
from ofgtp.southbound.command import attempt, run

OFCTL = ("ovs-ofctl", "-O", "OpenFlow14")


class CommandRefused(GatewayNotReady):
    """ovs-vswitchd answered a command with an error, which is the text."""


class Vswitchd:
    """The ovs-vswitchd that belongs to an OVSDB remote, `unix:` and a path.

    Every call may raise GatewayNotReady: a tool is not installed, or nobody answers.
    """

    def __init__(self, ovsdb: str) -> None:
        self.rundir = Path(ovsdb.removeprefix("unix:")).parent

    def appctl(self, *arguments: str) -> str:
        """The answer to a command of ovs-appctl.

        Raises:
            CommandRefused: the answer is an error.
        """
        code, out, err = attempt(self.appctl_command(*arguments))
        if code == 0:
            return out
        said = [line for line in err.splitlines() if not line.startswith("ovs-appctl:")]
        if code == 2 and any(said):
            raise CommandRefused("\n".join(said).strip())
        raise self._away()

    def appctl_command(self, *arguments: str) -> list[str]:
        """The command itself, as it can be typed."""
        return ["ovs-appctl", "-t", str(self._control()), *arguments]

    def flows(self, bridge: str, *which: str) -> list[str]:
        """The flows of a bridge that are within one of these matches, one a line, with counters."""
        target = f"unix:{self.rundir}/{bridge}.mgmt"
        found: list[str] = []
        for match in which:
            lines = run([*OFCTL, "dump-flows", target, match]).splitlines()
            found += [line.strip() for line in lines if " actions=" in line]
        return found

    def missing(self, wanted: Iterable[str], installed: Iterable[str]) -> list[str]:
        """Those of the wanted flows that are not among the installed ones, or differ there."""
        with tempfile.TemporaryDirectory(prefix="ofgtp-") as directory:
            files = []
            for name, flows in (("wanted", wanted), ("installed", installed)):
                files.append(Path(directory, name))
                files[-1].write_text("".join(f"{flow}\n" for flow in flows))
            code, out, err = attempt([*OFCTL, "diff-flows", *map(str, files)])
        if code not in (0, 2):  # 2: they differ
            raise GatewayNotReady(f"ovs-ofctl diff-flows: {' '.join(err.split())}")
        return [line[1:] for line in out.splitlines() if line.startswith("-")]

    def _control(self) -> Path:
        """Its control socket: with its process id in the name, unless it was told another."""
        plain = self.rundir / "ovs-vswitchd.ctl"
        if plain.exists():
            return plain
        try:
            pid = (self.rundir / "ovs-vswitchd.pid").read_text().strip()
        except OSError as error:
            raise self._away() from error
        return self.rundir / f"ovs-vswitchd.{pid}.ctl"

    def _away(self) -> GatewayNotReady:
        return GatewayNotReady(
            f"ovs-vswitchd does not answer in {self.rundir}: is Open vSwitch running?"
            " (systemctl status openvswitch-switch)"
        )
